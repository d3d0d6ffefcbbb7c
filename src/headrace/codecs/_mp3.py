"""MP3 files: their true length, and what of them cannot be used.

The kernel walks the headers of all packets (MP3 calls them frames). So the length is counted, where
libsndfile takes it from the encoder's tag or estimates it from the size of the file.
"""

from __future__ import annotations

from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import soundfile

from headrace import _kernel
from headrace.codecs._recording import Header
from headrace.failures import Code, DecodeError, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.codecs._recording import Recording
    from headrace.storage import Place

__all__ = [
    "MP3_EXTENSIONS",
    "declared_frames",
    "decodes_from_start",
    "defects_of",
    "has_mp3_extension",
    "header_of",
    "scan_mp3",
]

MP3_EXTENSIONS: Final = frozenset({".mp1", ".mp2", ".mp3", ".mpa", ".mpga"})
"""Extensions of MPEG audio."""

_FROM_START: Final = 3
"""First byte of seek points that do not allow random access: VERSION_FROM_START in mp3_index.cpp"""

_SUBTYPES: Final = {1: "MPEG_LAYER_I", 2: "MPEG_LAYER_II", 3: "MPEG_LAYER_III"}
_TOLERANCE: Final = 4_608
"""Frames that a tag may be wrong by without a report. Ordinary encoders' tags are wrong by up to
4,000; this is 4 packets of 1,152 frames, and 8 of 576."""


def has_mp3_extension(path: str) -> bool:
    """Return whether a file is named like MPEG audio: then the kernel is asked first."""
    return PurePath(path).suffix.lower() in MP3_EXTENSIONS


def scan_mp3(place: Place) -> _kernel.Mp3Scan | None:
    """Return what the kernel finds in an MP3 file, or None if it is no MP3 file."""
    return _kernel.scan_mp3(place.native) if _is_decoded() else None


def header_of(scan: _kernel.Mp3Scan) -> Header:
    """Return the header of an MP3 file.

    Raises
    ------
    DecodeError
        It has no audio.
    """
    if scan.frames <= 0:
        raise DecodeError(Code.EMPTY, "the file holds no audio frames")
    return Header("MP3", _SUBTYPES[scan.layer], scan.sample_rate, scan.channels, scan.frames)


def declared_frames(scan: _kernel.Mp3Scan) -> int:
    """Return how many frames the tag declares; those that the file holds if it is about right."""
    if not scan.declared_packets:
        return scan.frames
    more = (scan.declared_packets - scan.packets) * scan.packet_frames
    return scan.frames if abs(more) <= _TOLERANCE else max(0, scan.frames + more)


def defects_of(recording: Recording, scan: _kernel.Mp3Scan) -> tuple[Failure, ...]:
    """Return what of an MP3 file cannot be used, and where its tag is wrong."""

    def failures() -> Iterator[Failure]:
        for code, message, start, stop in _defects(scan):
            seconds = start / scan.sample_rate, stop / scan.sample_rate
            yield Failure(recording.id, recording.path, code, message, *seconds)

    return tuple(failures())


def _defects(scan: _kernel.Mp3Scan) -> Iterator[tuple[Code, str, float, float]]:
    """Yield code, message, and first and last frame of each defect."""
    held, declared = scan.frames, declared_frames(scan)
    if declared > held:
        message = f"the file is cut short: its tag declares {declared} frames, it holds {held}"
        yield Code.TRUNCATED, message, held, declared
    if declared < held:
        message = f"the tag declares {declared} frames, the file holds {held}: all are used"
        yield Code.HEADER_MISMATCH, message, declared, held
    if scan.foreign_packets:
        seconds = scan.foreign_frames / scan.sample_rate
        message = (
            f"{seconds:.3f} s of another format ({scan.foreign_sample_rate} Hz, "
            f"{scan.foreign_channels} channels) cannot be joined to the "
            f"{scan.sample_rate} Hz and {scan.channels} channels before, and are left out"
        )
        yield Code.HEADER_MISMATCH, message, scan.foreign_at, scan.foreign_at + scan.foreign_frames
    if scan.damaged_bytes or scan.damaged_packets:
        message = (
            f"damaged: {scan.damaged_bytes} bytes that are no MP3 are left out, and "
            f"{scan.damaged_packets} damaged packets are replaced by silence"
        )
        yield Code.TRUNCATED, message, scan.damaged_at, scan.frames


def decodes_from_start(seek_points: bytes) -> bool:
    """Return whether these seek points give the length only, and no random access."""
    return seek_points[:1] == bytes([_FROM_START])


@cache
def _is_decoded() -> bool:
    """Return whether the libsndfile in use decodes MP3."""
    return "MP3" in soundfile.available_formats()
