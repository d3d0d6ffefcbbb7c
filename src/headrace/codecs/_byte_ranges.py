"""`byte_ranges`: which bytes of a file a span of its recording stands in.

Whoever fetches bytes asks here before they are read. An answer that is too short or too long costs
time and nothing else: a decoder that needs other bytes asks for them itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headrace import _kernel
from headrace.codecs._ends import SMALL_FILE
from headrace.codecs._formats import SAMPLE_BYTES, seeks_exactly
from headrace.codecs._ogg import lacks_index

if TYPE_CHECKING:
    from headrace.codecs._recording import Recording

__all__ = ["ByteRange", "byte_ranges"]

_GAP: Final = 32 << 10
"""Ranges closer than this are one. A guess, as the next ones."""

_HEAD: Final = 16 << 10
"""What a decoder reads of the beginning of a FLAC file, and of one with a long header."""


_MOST_WALKED: Final = 4 << 20
"""Of files whose index is still to be made, those up to this many bytes are fetched whole ahead of
the reader: minutes of audio. Larger ones would take room from other reads. A guess."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``[start, stop)`` of a recording's file.

    Attributes
    ----------
    start, stop : int
        Bytes.
    keep : bool
        Whether they are likely to be read again, after this span.
    """

    start: int
    stop: int
    keep: bool = False


def byte_ranges(
    recording: Recording, start: int, stop: int, found: tuple[int, int] | None = None
) -> list[ByteRange]:
    """Return the ranges that frames ``[start, stop)`` are decoded from, as far as that is known.

    Parameters
    ----------
    recording : Recording
        The recording.
    start, stop : int
        Frames.
    found : pair of int, optional
        Of FLAC, which has no index: the bytes where these frames are, as far as earlier reads tell.

    Returns
    -------
    list of ByteRange
        In order, without overlaps. Empty if it is not known before decoding.
    """
    size = recording.size
    if size <= SMALL_FILE:
        return [ByteRange(0, size)]
    data: list[tuple[int, int, bool]] = []
    head = 0
    width = SAMPLE_BYTES.get(recording.subtype, 0) * recording.channels
    if recording.format == "FLAC":
        head, data = _HEAD, [] if found is None else [(*found, False)]
    elif width and seeks_exactly(recording):
        # What is no sample: the header, and whatever stands behind the samples.
        extra = max(0, size - recording.frames * width)
        head = extra if extra <= SMALL_FILE else _HEAD
        if extra <= 1 << 20:
            data = [(start * width, min(size, extra + stop * width), False)]
    elif lacks_index(recording):  # it is read from beginning to end to make one
        return [ByteRange(0, size, keep=True)] if size <= _MOST_WALKED else []
    elif recording.seek_points:
        data = _kernel.byte_ranges(recording.seek_points, start, stop, size)
    ranges = [ByteRange(0, head, keep=True)] if head else []
    for begin, end, is_header in data:
        if begin >= end:
            continue
        if ranges and begin - ranges[-1].stop <= _GAP:
            last = ranges.pop()
            both = last.keep and is_header
            ranges.append(ByteRange(last.start, max(last.stop, end), keep=both))
        else:
            ranges.append(ByteRange(begin, end, keep=is_header))
    return ranges
