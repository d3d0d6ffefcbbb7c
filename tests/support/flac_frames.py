"""Where the frames of a FLAC file are, found by walking them, and files whose frames differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tests.support.flac_encoder import crc8
from tests.support.sounds import write

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BLOCK", "frame_offsets", "write_uneven"]

BLOCK = 4096
"""Samples in a frame, as libsndfile's encoder makes them."""

_RATE_BYTES = {12: 1, 13: 2, 14: 2}
_BLOCK_BYTES = {6: 1, 7: 2}


def frame_offsets(data: bytes) -> list[int]:
    """Return where each frame of a file of libsndfile's begins, and the size of the file."""
    offsets: list[int] = []
    at = data.find(b"\xff\xf8")
    while at >= 0:
        coded = _coded(len(offsets))
        length = 4 + len(coded) + _BLOCK_BYTES.get(data[at + 2] >> 4, 0)
        length += _RATE_BYTES.get(data[at + 2] & 15, 0)
        has_number = data[at + 4 : at + 4 + len(coded)] == coded
        if has_number and crc8(data[at : at + length]) == data[at + length]:
            offsets.append(at)
        at = data.find(b"\xff\xf8", at + 1)
    return [*offsets, len(data)]


def _coded(number: int) -> bytes:
    """Return a frame's number as FLAC codes it, which is that of UTF-8."""
    return chr(number).encode("utf-8", "surrogatepass")


def write_uneven(path: Path, seconds: int, rate: int, seed: int = 0) -> bytes:
    """Write noise whose loudness changes each second, as FLAC, and return the file."""
    chance = np.random.default_rng(seed)
    loud = chance.permutation(np.geomspace(0.0005, 0.2, seconds))
    audio = (chance.normal(size=(seconds, rate)) * loud[:, None]).ravel().astype(np.float32)
    write(path, audio, rate, "FLAC", "PCM_16")
    return path.read_bytes()
