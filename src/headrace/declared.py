"""How many frames a header itself declares, where libsndfile says what the file has room for.

libsndfile trims an uncompressed recording to its file and does not tell; so a recording that was
cut short looks like one that was always so. Compressed ones are not trimmed.
"""

from __future__ import annotations

from pathlib import Path
from struct import error, unpack
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.records import Recording

__all__ = ["declared_frames"]

_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3}
_BYTES |= {"PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_MOST_CHUNKS: Final = 256  # as many as riff.cpp looks at
_UNKNOWN: Final = 0x7FFFF000
"""What writers to a pipe put for a length they cannot know is this (SoX) or more (FFmpeg: all
ones)."""
_ALL_ONES: Final = 0xFFFFFFFF


def declared_frames(recording: Recording) -> tuple[int, bool]:
    """Return the frames that the file's header declares, and whether audio seems to follow them.

    Parameters
    ----------
    recording : Recording
        As libsndfile sees it, which is the answer where the header does not say more.

    Returns
    -------
    frames : int
        0 where the header says that it does not know.
    more : bool
        Bytes follow that belong to nothing that the header declares.
    """
    width = _BYTES.get(recording.subtype, 0) * recording.channels
    known = recording.frames, False
    if not width:
        return known
    try:
        with Path(recording.path).open("rb") as file:
            return _declared(file, recording, width) or known
    except (OSError, ValueError, error):
        return known


def _declared(file: BinaryIO, recording: Recording, width: int) -> tuple[int, bool] | None:
    head = file.read(12)
    if head[:4] == b".snd":
        length = _u32(">", head[8:])
        return (0 if length >= _UNKNOWN else length // width), False
    if head[:4] in {b"RIFF", b"RF64"} and head[8:] == b"WAVE":
        return _data_chunk(file, recording, width)
    if head[:4] == b"FORM" and head[8:] in {b"AIFF", b"AIFC"}:
        for name, _ in _chunks(file, ">"):
            if name == b"COMM":
                return _u32(">", file.read(6)[2:]), False
    return None


def _data_chunk(file: BinaryIO, recording: Recording, width: int) -> tuple[int, bool] | None:
    long = 0
    for name, short in _chunks(file, "<"):
        if name == b"ds64":
            long = unpack("<Q", file.read(16)[8:])[0]
        if name != b"data":
            continue
        size = long if long and short == _ALL_ONES else short
        past = file.tell() + size
        if size == 0 or (past > recording.size and _UNKNOWN <= size <= _ALL_ONES):
            return 0, False
        file.seek(past + size % 2)
        after = file.read(4)
        # A chunk begins with four letters; zeros may fill up a block of the disk.
        return size // width, any(after) and not (after.isascii() and after.decode().isprintable())
    return None


def _chunks(file: BinaryIO, order: str) -> Iterator[tuple[bytes, int]]:
    """Yield name and size of each chunk, the file standing behind them."""
    at = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        name, size = file.read(4), file.read(4)
        if not size:
            return
        yield name, _u32(order, size)
        at += 8 + _u32(order, size) + _u32(order, size) % 2


def _u32(order: str, four: bytes) -> int:
    return int(unpack(f"{order}I", four[:4])[0])
