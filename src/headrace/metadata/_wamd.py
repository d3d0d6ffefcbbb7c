"""WAMD, the chunk that Wildlife Acoustics' Song Meters and Echo Meters write.

The format is that of Wildlife Acoustics' header file ``wa_meta.h`` 1.0: items of a 16-bit tag, a
32-bit length and a value, in little-endian, the first of which is the version. WAV files have it as
``wamd``.
"""

from __future__ import annotations

import struct
from typing import Final

from headrace.metadata._facts import Facts, parse_iso_time, parse_position, parse_temperature
from headrace.metadata._riff import decode_text

__all__ = ["parse_wamd"]

_VERSION: Final = 1
_MODEL, _SERIAL, _START, _GPS_FIRST, _POSITION = 0x01, 0x02, 0x05, 0x06, 0x14
_TEMPERATURE_INT, _TEMPERATURE_EXT = 0x15, 0x16
_ITEM: Final = struct.Struct("<HI")
_HEMISPHERES: Final = {"N": 1, "S": -1, "E": 1, "W": -1}


def parse_wamd(content: bytes) -> Facts | None:
    """Return the facts in the content of a WAMD chunk, or None if it has another version."""
    items: dict[int, bytes] = {}
    at = 0
    while at + _ITEM.size <= len(content):
        tag, length = _ITEM.unpack_from(content, at)
        at += _ITEM.size
        items.setdefault(tag, content[at : at + length])
        at += length
    if items.get(0, b"")[:2] != struct.pack("<H", _VERSION):
        return None
    texts = {tag: decode_text(value) for tag, value in items.items() if tag}
    temperatures = (
        parse_temperature(texts.get(tag, "")) for tag in (_TEMPERATURE_EXT, _TEMPERATURE_INT)
    )
    positions = (_parse_gps(texts.get(tag, "")) for tag in (_GPS_FIRST, _POSITION))
    return Facts(
        "wamd",
        time=parse_iso_time(texts.get(_START, "")),
        position=next((one for one in positions if one), None),
        device=f"{texts.get(_MODEL, '')} {texts.get(_SERIAL, '')}".strip() or None,
        temperature_c=next((one for one in temperatures if one is not None), None),
    )


def _parse_gps(text: str) -> tuple[float, float] | None:
    """Return the position in ``WGS84,12.34567,N,123.45678,W``.

    The Echo Meter Touch writes signs instead of hemispheres.
    """
    numbers: list[str] = []
    for field in (one.strip() for one in text.split(",")[1:]):
        if field.upper() in _HEMISPHERES and numbers:
            if _HEMISPHERES[field.upper()] < 0:
                numbers[-1] = f"-{numbers[-1]}"
        else:
            numbers.append(field)
    return parse_position(numbers[0], numbers[1]) if len(numbers) > 1 else None
