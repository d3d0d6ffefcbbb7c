"""How many frames a file itself declares, where libsndfile says what the file has room for.

libsndfile trims a recording to its file and does not tell; so one that was cut short looks like one
that was always so.
"""

from __future__ import annotations

from pathlib import Path
from struct import error, unpack
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from headrace.codecs._probe import MOST_FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.codecs._recording import Recording

__all__ = ["Declared", "declared_frames"]

_BYTES = {"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3}
_BYTES |= {"PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_MOST_CHUNKS: Final = 256  # as many as wav_layout.cpp reads
_UNKNOWN: Final = 0x7FFFF000
"""What writers to a pipe put for a length they cannot know is this (SoX) or more (FFmpeg: all
ones)."""
_ALL_ONES: Final = 0xFFFFFFFF
_W64_HEAD: Final = 24  # bytes of name and size
_W64_UNKNOWN: Final = (1 << 63) - 1  # and what of it is one bit more
_LONGEST_PAGE: Final = 27 + 255 + 255 * 255  # bytes of Ogg's: head, table, body (RFC 3533)
_PAGE_HEAD: Final = 23  # bytes behind its name, up to the table of its segments' lengths
_LAST_PAGE: Final = 4  # its flag


class Declared(NamedTuple):
    """What a file says of its length.

    Attributes
    ----------
    frames : int
        Those that its header declares, or as libsndfile sees it where that does not say; 0 where it
        says that it does not know.
    more : bool
        Bytes follow that belong to nothing that the header declares.
    cut : bool
        The file ends before it says that it does, by how many frames it does not say.
    """

    frames: int
    more: bool = False
    cut: bool = False


def declared_frames(recording: Recording) -> Declared:
    """Return what the file of a recording, as libsndfile sees it, declares."""
    known = Declared(recording.frames)
    try:
        with Path(recording.path).open("rb") as file:
            declared = _declared(file, recording) or known
    except (OSError, ValueError, error):
        return known
    # A damaged length of 64 bits is no number that anybody can count with.
    return declared if declared.frames <= MOST_FRAMES else known._replace(cut=True)


def _declared(file: BinaryIO, recording: Recording) -> Declared | None:
    width = _BYTES.get(recording.subtype, 0) * recording.channels
    head = file.read(12)
    if head[:4] == b".snd" and width:
        length = _u32(">", head[8:])
        return Declared(0 if length >= _UNKNOWN else length // width)
    if head[:4] in {b"RIFF", b"RF64", b"RIFX"} and head[8:] == b"WAVE":
        return _data_chunk(file, recording, width, ">" if head[:4] == b"RIFX" else "<")
    if head[:4] == b"FORM" and head[8:] in {b"AIFF", b"AIFC"}:
        return _sound_chunk(file, recording, width)
    if head[:4] == b"riff":
        return _w64(file, recording, width)
    if head[:4] == b"OggS":
        file.seek(max(0, recording.size - _LONGEST_PAGE))
        _, name, page = file.read().rpartition(b"OggS")
        return Declared(recording.frames, cut=not (name and _is_last(page)))
    return None


def _is_last(page: bytes) -> bool:
    """Return whether an Ogg page, without its name, is whole and says that it is the last."""
    if len(page) < _PAGE_HEAD:
        return False
    body = _PAGE_HEAD + page[_PAGE_HEAD - 1]
    whole = len(page) >= body and len(page) >= body + sum(page[_PAGE_HEAD:body])
    return whole and bool(page[1] & _LAST_PAGE)


def _data_chunk(file: BinaryIO, recording: Recording, width: int, order: str) -> Declared | None:
    long = 0
    for name, short in _chunks(file, order):
        if name == b"ds64":
            long = unpack("<Q", file.read(16)[8:])[0]
        if name != b"data":
            continue
        size = long if long and short == _ALL_ONES else short
        past = file.tell() + size
        if size == 0 or (past > recording.size and _UNKNOWN <= size <= _ALL_ONES):
            return Declared(0) if width else None
        if not width:
            return Declared(recording.frames, cut=past > recording.size)
        file.seek(past + size % 2)
        after = file.read(4)
        # A chunk begins with four letters; zeros may fill up a block of the disk.
        more = any(after) and not (after.isascii() and after.decode().isprintable())
        return Declared(size // width, more)
    return None


def _sound_chunk(file: BinaryIO, recording: Recording, width: int) -> Declared | None:
    for name, size in _chunks(file, ">"):
        if name == b"COMM" and width:
            return Declared(_u32(">", file.read(6)[2:]))
        if name == b"SSND" and not width:
            return Declared(recording.frames, cut=file.tell() + size > recording.size)
    return None


def _w64(file: BinaryIO, recording: Recording, width: int) -> Declared | None:
    """Look for Sony Wave64's data chunk: names of 16 bytes, sizes of 8 that count both."""
    at = 40
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        name, size = file.read(16), unpack("<Q", file.read(8))[0]
        if name[:4] == b"data" and (size < _W64_HEAD or size >= _W64_UNKNOWN):
            return Declared(0) if width else None
        if name[:4] == b"data" and width:
            return Declared((size - _W64_HEAD) // width)
        if name[:4] == b"data":
            return Declared(recording.frames, cut=at + size > recording.size)
        at += max(_W64_HEAD, size + -size % 8)
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
