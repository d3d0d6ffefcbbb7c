"""GUANO, the text in which bat detectors and AudioMoths describe a recording.

The format is that of the GUANO specification 1.0 (Myotisoft, guano-md.org): UTF-8 lines of
``Key: value``, where vendors put ``Name|`` before keys of their own. WAV files have it in a chunk
``guan``.
"""

from __future__ import annotations

import re
from typing import Final

from headrace.metadata._audiomoth import gain_name
from headrace.metadata._facts import (
    Facts,
    parse_iso_time,
    parse_number,
    parse_position,
)

__all__ = ["parse_guano"]

_AUDIOMOTH_GAIN: Final = re.compile(r"\bGAIN (\d)\b")
_SONG_METER_GAIN: Final = re.compile(r'"gain"\s*:\s*"?(-?\d+(?:\.\d+)?)')


def parse_guano(text: str) -> Facts | None:
    """Return the facts in the text of a GUANO chunk, or None if it is none."""
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip("\0 \t\r"), value.strip("\0 \t\r"))
    if "GUANO|Version" not in fields:
        return None
    position = fields.get("Loc Position", "").replace(",", " ").split()
    model = fields.get("Model") or fields.get("Make", "")
    ambient = parse_number(fields.get("Temperature Ext"))
    return Facts(
        "guano",
        time=parse_iso_time(fields.get("Timestamp", "")),
        position=parse_position(*position) if len(position) == 2 else None,  # noqa: PLR2004  degrees
        device=f"{model} {fields.get('Serial', '')}".strip() or None,
        gain=_gain(fields),
        temperature_c=parse_number(fields.get("Temperature Int")) if ambient is None else ambient,
    )


def _gain(fields: dict[str, str]) -> str | None:
    """Return the gain, for which every vendor has a key of its own."""
    if match := _AUDIOMOTH_GAIN.search(fields.get("OAD|Recording Settings", "")):
        return gain_name(match[1])
    if match := _SONG_METER_GAIN.search(fields.get("WA|Song Meter|Audio settings", "")):
        return match[1]
    keys = (key for key in fields if key.rpartition("|")[2].casefold() == "gain")
    return next((fields[key] for key in keys if fields[key]), None)
