"""WAV files as field recorders write them: chunks made by hand from the makers' documents."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "audiomoth_wav",
    "bext_chunk",
    "chunk",
    "info_chunk",
    "recorder_wav",
    "wamd_chunk",
]


def chunk(name: bytes, content: bytes, *, padded: bool = True) -> bytes:
    """Return a chunk of a RIFF file; the pad byte of an odd one can be left out."""
    pad = b"\0" * (len(content) % 2) if padded else b""
    return name + struct.pack("<I", len(content)) + content + pad


def recorder_wav(
    before: Sequence[bytes] = (), after: Sequence[bytes] = (), *, frames: int = 800
) -> bytes:
    """Return a WAV file of mono PCM16 at 8 kHz, with chunks before and after the samples."""
    samples = np.random.default_rng(0).integers(-9_000, 9_000, frames, np.int16)
    fmt = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8_000, 16_000, 2, 16))
    body = b"".join([fmt, *before, chunk(b"data", samples.tobytes()), *after])
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def info_chunk(texts: Mapping[str, str]) -> bytes:
    """Return a chunk LIST of type INFO."""
    items = (chunk(name.encode(), text.encode() + b"\0") for name, text in texts.items())
    return chunk(b"LIST", b"INFO" + b"".join(items))


def audiomoth_wav(comment: str, artist: str = "", *, behind: bool = False) -> bytes:
    """Return a file with an AudioMoth's comment, in front of the samples or behind them."""
    texts = {"ICMT": comment, **({"IART": artist} if artist else {})}
    chunks = [info_chunk(texts)]
    return recorder_wav(*(((), chunks) if behind else (chunks, ())))


def wamd_chunk(items: Mapping[int, str | bytes], version: int = 1) -> bytes:
    """Return Wildlife Acoustics' chunk; `items` are values by tag."""
    values = {0: struct.pack("<H", version), **items}
    content = b""
    for tag, value in values.items():
        data = value.encode() if isinstance(value, str) else value
        content += struct.pack("<HI", tag, len(data)) + data
    return chunk(b"wamd", content)


def bext_chunk(originator: str, date: str, time: str) -> bytes:
    """Return the chunk of a Broadcast Wave file."""
    content = b"a description".ljust(256, b"\0") + originator.encode().ljust(32, b"\0")
    content += b"".ljust(32, b"\0") + date.encode().ljust(10, b"\0") + time.encode().ljust(8, b"\0")
    return chunk(b"bext", content + struct.pack("<QH", 0, 1) + bytes(254))
