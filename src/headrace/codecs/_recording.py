"""`Recording`: what the header of one audio file says."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Recording"]


@dataclass(frozen=True, slots=True)
class Recording:
    """What the header of one audio file says.

    Attributes
    ----------
    id : str
        POSIX path relative to the catalog's root: stays the same when the data moves.
    path : str
        Where the file is now.
    sample_rate : int
        Frames per second.
    channels, frames : int
        Channels, and frames (samples per channel).
    format, subtype : str
        libsndfile's names of container and sample format, as ``"WAV"``, ``"PCM_16"``.
    size : int
        Bytes.
    mtime_ns : int
        Time of last change, nanoseconds since 1970.
    seek_points : bytes or None
        Where decoding may begin, found by a scan of MP3 files: for the reader alone. Empty where it
        may begin at the start only, None where nobody looked.
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

    @property
    def duration_s(self) -> float:
        """Seconds of audio."""
        return self.frames / self.sample_rate
