"""How many frames a file declares, read from the file itself, and what to say if it holds others.

libsndfile cuts a recording's length to what the file has room for and does not report that. Without
this module, a file that was cut short would look like one that was always that long.
"""

from __future__ import annotations

import math
from struct import error, unpack
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from headrace.codecs._ffmpeg import CONTAINERS, has_ogg_index
from headrace.codecs._formats import SAMPLE_BYTES
from headrace.codecs._mp3 import declared_frames, scan_mp3
from headrace.codecs._recording import MAX_FRAMES
from headrace.failures import Code, DecodeError, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.codecs._recording import Recording
    from headrace.storage import Place

__all__ = ["DeclaredLength", "false_claim", "read_declared_length"]

_DECLARED_ELSEWHERE: Final = frozenset({"MP3", "OGG"}) | CONTAINERS.keys()
"""Formats whose header declares no length: it is estimated, stands in the last page, or was found
by decoding."""

_MAX_CHUNKS: Final = 256  # as many as wav_layout.cpp reads
_UNKNOWN: Final = 0x7FFFF000
"""Writers to a pipe cannot know the length and write this (SoX) or more (FFmpeg: all ones)."""
_ALL_ONES: Final = 0xFFFFFFFF
_FLAC_SAMPLES: Final = 21  # offset of the number of samples, of 36 bits
_CAF_EDITS: Final = 4  # bytes before the samples
_W64_HEADER: Final = 24  # bytes of a Wave64 chunk's name and size
_LONG_UNKNOWN: Final = (1 << 63) - 1  # this, or more, is written for an unknown length
_MAX_OGG_PAGE: Final = 27 + 255 + 255 * 255  # bytes of header, segment table and body (RFC 3533)
_OGG_HEADER: Final = 23  # bytes of the header behind its name, up to the segment table
_OGG_LAST_PAGE: Final = 4  # flag: end of stream


class DeclaredLength(NamedTuple):
    """What a file declares about its length.

    Attributes
    ----------
    frames : int
        Frames that the header declares; libsndfile's number if the header has none; 0 if it says
        that the length is unknown.
    has_more : bool
        Whether bytes follow that belong to nothing that the header declares.
    is_cut_short : bool
        Whether the file ends before its declared end, by an unknown number of frames.
    is_unknown : bool
        Whether the header says that its writer did not know the length. `frames` is 0 then, unless
        the format provides for that.
    """

    frames: int
    has_more: bool = False
    is_cut_short: bool = False
    is_unknown: bool = False


def read_declared_length(recording: Recording, place: Place) -> DeclaredLength:
    """Return what the file of a recording that libsndfile reads declares."""
    unchanged = DeclaredLength(recording.frames)
    if recording.format == "MP3":
        mp3 = scan_mp3(place) if recording.seek_points else None
        return unchanged if mp3 is None else DeclaredLength(declared_frames(mp3))
    if has_ogg_index(recording.seek_points):
        return unchanged  # the scan has walked over all pages
    try:
        with place.open() as file:
            declared = _read(file, recording) or unchanged
    except (OSError, ValueError, DecodeError, error):
        return unchanged
    # A damaged length of 64 bits can exceed what any arithmetic here can hold.
    return declared if declared.frames <= MAX_FRAMES else unchanged._replace(is_cut_short=True)


def false_claim(
    recording: Recording,
    declared: DeclaredLength,
    *,
    scanned: int = 0,
    code: str = "",
    reason: str = "",
) -> Failure | None:
    """Return the failure of a recording whose header declares another length than it has.

    Parameters
    ----------
    recording : Recording
        With the frames that can be used.
    declared : DeclaredLength
        What the file declares.
    scanned : int
        Frames that it had at the scan, if decoding finds others.
    code, reason : str
        Why decoding stopped before its end, if it did.
    """
    frames, known = recording.frames, declared.frames
    if code or frames < known:
        kind = Code(code) if code else Code.TRUNCATED
        reason = reason or "the file is cut short"
        message = f"{reason}: {frames} frames can be used; the header declares no number of frames"
        if known and recording.format in _DECLARED_ELSEWHERE:
            message = f"{reason}: {frames} of its {known} frames can be used"
        elif known:
            message = (
                f"{reason}: {frames} of the {known} frames that its header declares can be used"
            )
        start, stop = frames, float(max(known, frames, scanned))
    elif declared.is_cut_short:
        kind = Code.TRUNCATED
        lacks = "its header declares more than that"
        if recording.format in _DECLARED_ELSEWHERE:
            lacks = "has lost its last page"
        message = f"the file is cut short: it has {frames} frames, and {lacks}"
        start, stop = frames, math.inf
    elif frames > known:
        kind = Code.HEADER_MISMATCH
        message = f"the header declares {known or 'no'} frames, the file holds {frames}"
        start, stop = known, float(frames)
    elif declared.has_more:
        kind = Code.HEADER_MISMATCH
        message = f"audio seems to follow the {known} frames that the header declares"
        if recording.format == "FLAC":
            message = f"another FLAC file follows the {known} frames of the first: split the file"
        start, stop = known, math.inf
    else:
        return None
    rate = recording.sample_rate
    return Failure(
        recording.id, recording.path, kind, message, start_s=start / rate, stop_s=stop / rate
    )


def _read(file: BinaryIO, recording: Recording) -> DeclaredLength | None:
    frame_bytes = SAMPLE_BYTES.get(recording.subtype, 0) * recording.channels
    begin = file.read(12)
    if begin[:4] in _READERS:
        return _READERS[begin[:4]](file, recording, frame_bytes)
    if begin[:4] in {b"RIFF", b"RF64", b"BW64", b"RIFX"} and begin[8:] == b"WAVE":
        return _read_wav(file, recording, frame_bytes, ">" if begin[:4] == b"RIFX" else "<")
    if begin[:4] == b"FORM" and begin[8:] in {b"AIFF", b"AIFC"}:
        return _read_aiff(file, recording, frame_bytes)
    if begin[:4] == b"OggS":
        file.seek(max(0, recording.size - _MAX_OGG_PAGE))
        _, name, page = file.read().rpartition(b"OggS")
        return DeclaredLength(recording.frames, is_cut_short=not (name and _is_last_ogg_page(page)))
    return None


def _is_last_ogg_page(page: bytes) -> bool:
    """Return whether an Ogg page, without its name, is complete and has the end-of-stream flag."""
    if len(page) < _OGG_HEADER:
        return False
    body = _OGG_HEADER + page[_OGG_HEADER - 1]
    complete = len(page) >= body and len(page) >= body + sum(page[_OGG_HEADER:body])
    return complete and bool(page[1] & _OGG_LAST_PAGE)


def _read_au(file: BinaryIO, _: Recording, frame_bytes: int) -> DeclaredLength | None:
    """Read the length that the header declares in bytes; all ones are a good "unknown"."""
    file.seek(8)
    length = _u32(">", file.read(4))
    if not frame_bytes:
        return None
    if length >= _UNKNOWN:
        return DeclaredLength(0, is_unknown=True)
    return DeclaredLength(length // frame_bytes)


def _read_flac(file: BinaryIO, recording: Recording, _: int) -> DeclaredLength:
    """Read STREAMINFO, which every file begins with. A number of 0 is a good "unknown"."""
    file.seek(_FLAC_SAMPLES)
    frames = int.from_bytes(file.read(5), "big") & ((1 << 36) - 1)
    # Only a file that goes on with another stream has something in its seek points.
    return DeclaredLength(frames or recording.frames, has_more=bool(recording.seek_points))


def _read_wav(
    file: BinaryIO, recording: Recording, frame_bytes: int, byte_order: str
) -> DeclaredLength | None:
    """Read the data chunk's length, which in an RF64 file is in the ds64 chunk."""
    long_size = None
    for name, short_size in _chunks(file, byte_order):
        if name == b"ds64":
            long_size = unpack("<Q", file.read(16)[8:])[0]
        if name != b"data":
            continue
        size = short_size if long_size is None or short_size != _ALL_ONES else long_size
        start = file.tell()
        end = start + size
        unknown = end > recording.size and (_UNKNOWN <= size <= _ALL_ONES or size >= _LONG_UNKNOWN)
        if size == 0 or unknown:
            return DeclaredLength(0, is_unknown=unknown)
        if end > recording.size and not frame_bytes:
            return DeclaredLength(recording.frames, is_cut_short=True)
        file.seek(end + size % 2)
        after = file.read(4)
        # A chunk begins with four letters; zeros may fill up a block of the disk.
        has_more = any(after) and not (after.isascii() and after.decode().isprintable())
        if frame_bytes:
            return DeclaredLength(size // frame_bytes, has_more)
        if not has_more:
            return DeclaredLength(recording.frames)
        # Of compressed samples in proportion: their size in the file is what all frames take.
        return DeclaredLength(recording.frames * size // (recording.size - start))
    return None


def _read_aiff(file: BinaryIO, recording: Recording, frame_bytes: int) -> DeclaredLength | None:
    """Read the length of the COMM chunk, or that of the sound chunk if it is compressed."""
    for name, size in _chunks(file, ">"):
        if name == b"COMM" and frame_bytes:
            return DeclaredLength(_u32(">", file.read(6)[2:]))
        if name == b"SSND" and not frame_bytes:
            return DeclaredLength(
                recording.frames, is_cut_short=file.tell() + size > recording.size
            )
    return None


def _read_w64(file: BinaryIO, recording: Recording, frame_bytes: int) -> DeclaredLength | None:
    """Read the data chunk of Sony Wave64: names of 16 bytes, sizes of 8 that include both."""
    at = 40
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        name, size = file.read(16), unpack("<Q", file.read(8))[0]
        if name[:4] == b"data" and (size < _W64_HEADER or size >= _LONG_UNKNOWN):
            unknown = size >= _LONG_UNKNOWN
            return DeclaredLength(0, is_unknown=unknown) if frame_bytes else None
        if name[:4] == b"data" and frame_bytes:
            return DeclaredLength((size - _W64_HEADER) // frame_bytes)
        if name[:4] == b"data":
            return DeclaredLength(recording.frames, is_cut_short=at + size > recording.size)
        at += max(_W64_HEADER, size + -size % 8)
    return None


def _read_caf(file: BinaryIO, recording: Recording, frame_bytes: int) -> DeclaredLength | None:
    """Read the data chunk's length, of 64 bits. A length of -1 is a good "unknown"."""
    at = 8
    for _ in range(_MAX_CHUNKS if frame_bytes else 0):
        file.seek(at)
        name, size = file.read(4), unpack(">q", file.read(8))[0]
        if name == b"data" and size < 0:
            return DeclaredLength(recording.frames)
        if name == b"data":
            return DeclaredLength(max(0, size - _CAF_EDITS) // frame_bytes)
        at += 12 + size
    return None


def _chunks(file: BinaryIO, byte_order: str) -> Iterator[tuple[bytes, int]]:
    """Yield the name and size of each chunk, with the file positioned at the chunk's content."""
    at = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        name, size = file.read(4), file.read(4)
        if not size:
            return
        yield name, _u32(byte_order, size)
        at += 8 + _u32(byte_order, size) + _u32(byte_order, size) % 2


def _u32(byte_order: str, four: bytes) -> int:
    return int(unpack(f"{byte_order}I", four[:4])[0])


_READERS: Final = {b".snd": _read_au, b"caff": _read_caf, b"fLaC": _read_flac, b"riff": _read_w64}
"""By the first four bytes of a file."""
