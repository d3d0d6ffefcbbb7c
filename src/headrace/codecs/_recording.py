"""`Recording` and `Header`: what the header of one audio file says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from headrace.failures import Failure

__all__ = ["MAX_FRAMES", "MAX_SAMPLE_RATE", "Header", "Recording"]

MAX_FRAMES: Final = 1 << 44
"""Most frames of a recording: years at any sample rate. `windows` computes with frames times
sample rate, which must stay within int64."""

MAX_SAMPLE_RATE: Final = 10_000_000
"""Highest sample rate (Hz) of a recording. Ultrasound recorders reach 1 MHz. A damaged header can
declare anything, and scratch memory for it would exceed every bound."""


class Header(NamedTuple):
    """What a decoder reads from a file's header.

    Attributes
    ----------
    format, subtype : str
        Names of the container and the sample format.
    sample_rate : int
        Hz.
    channels, frames : int
        Number of channels, and of frames (samples per channel).
    seek_points : bytes or None
        See `Recording`.
    """

    format: str
    subtype: str
    sample_rate: int
    channels: int
    frames: int
    seek_points: bytes | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """What the header of one audio file says.

    Attributes
    ----------
    id : str
        POSIX path relative to the catalog's root: stays the same when the data moves.
    path : str
        Where the file is now, or the file that holds the recording.
    sample_rate : int
        Hz.
    channels, frames : int
        Number of channels, and of frames (samples per channel).
    format, subtype : str
        libsndfile's names of the container and the sample format, such as ``"WAV"`` and
        ``"PCM_16"``; for files that FFmpeg decodes, such as ``"MP4"`` and ``"aac"``.
    size : int
        Bytes of the recording.
    mtime_ns : int
        Time of last change, in nanoseconds since 1970.
    seek_points : bytes or None
        Positions in the file where decoding can start, found by a scan; opaque. Empty if it can
        start only at the beginning, None if no scan has looked for them. In a FLAC file that is
        followed by another: where the first one ends.
    decoder : str or None
        What decodes the file, if that is not decided by its format alone: FFmpeg's libavcodec with
        its major version, and the version of the rules by which decoding starts.
    offset : int or None
        Byte of the file at which the recording begins. None if the file holds nothing else.
    version : str or None
        What a store of objects says that identifies the bytes of one, such as its ETag. None for
        files.
    pieces : bytes or None
        Of a member that a tar stores without its holes: which pieces stand one behind the other
        from `offset` on; opaque. None if all of the recording is stored.
    defects : tuple of Failure
        What a scan found to be wrong with a file that can be used all the same; a catalog has them
        among its failures.
    """

    id: str
    path: str
    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    size: int = 0
    mtime_ns: int = 0
    seek_points: bytes | None = field(default=None, compare=False, repr=False)
    decoder: str | None = None
    offset: int | None = None
    version: str | None = None
    pieces: bytes | None = field(default=None, repr=False)
    defects: tuple[Failure, ...] = field(default=(), compare=False, repr=False)

    @property
    def duration_s(self) -> float:
        """Seconds of audio."""
        return self.frames / self.sample_rate
