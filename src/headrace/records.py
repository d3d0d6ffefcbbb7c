"""Frozen values that the rest of headrace passes around; each checks itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, get_args

from headrace.errors import WindowsError
from headrace.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "AudioExample",
    "Batch",
    "Channel",
    "Code",
    "Coverage",
    "Failure",
    "Recording",
    "Tail",
    "WindowSpec",
]

Tail = Literal["pad", "shift", "drop"]
Channel = Literal["mix", "all"] | int

_MOST = 1 << 44
"""Samples in a window: years of audio, and far enough from what int64 holds."""


class Code(StrEnum):
    """Why a file or a window was lost."""

    EMPTY = "EMPTY"
    """The file holds no audio frames."""
    NOT_AUDIO = "NOT_AUDIO"
    """No decoder recognises the file."""
    UNSUPPORTED = "UNSUPPORTED"
    """The file is audio of a kind that cannot be used (no declared length, no such channel)."""
    TRUNCATED = "TRUNCATED"
    """The file ends before the frames its header declares."""
    HEADER_MISMATCH = "HEADER_MISMATCH"
    """The header declares no length, or less than the file holds (``scan(verify="decode")``)."""
    CHANGED = "CHANGED"
    """The file has another format, sample rate or channel count, or is shorter, than when it was
    scanned."""
    MISSING = "MISSING"
    """The file is not there any more."""
    PERMISSION = "PERMISSION"
    """The file may not be read."""
    IO = "IO"
    """The operating system or the decoder reported an error while reading."""
    STALLED = "STALLED"
    """A read had not come back after ``stall_timeout_s``."""
    NON_FINITE = "NON_FINITE"
    """The window's input holds NaN or infinity."""
    TRANSFORM = "TRANSFORM"
    """A function given to `Windows.map` raised an error that may be the window's fault."""


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


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How recordings are cut: integers, at the target rate.

    Attributes
    ----------
    sample_rate : int
        Target sample rate in Hz.
    size, hop : int
        Samples in a window, and between the starts of neighbouring windows.
    tail : {"pad", "shift", "drop"}
        What happens to audio after the last full window.
    min_tail : int
        With ``"pad"``, a last window is added only for at least this many samples that are not in
        the window before it.
    channel : "mix", "all" or int
        The mean of all channels, every channel, or one.
    """

    sample_rate: int
    size: int
    hop: int
    tail: Tail = "pad"
    min_tail: int = 0
    channel: Channel = "mix"

    def __post_init__(self) -> None:
        for name, least in (("sample_rate", 1), ("size", 1), ("hop", 1), ("min_tail", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise WindowsError(f"{name} must be a whole number from {least} up, not {value!r}.")
        if self.tail not in get_args(Tail):
            raise WindowsError(f'tail must be "pad", "shift" or "drop", not {self.tail!r}.')
        if isinstance(self.channel, bool) or not (
            self.channel in ("mix", "all") or (isinstance(self.channel, int) and self.channel >= 0)
        ):
            raise WindowsError(
                f'channel must be "mix", "all" or a channel\'s index from 0, not {self.channel!r}.'
            )

    @classmethod
    def from_seconds(
        cls,
        sample_rate: int,
        window_s: float,
        hop_s: float | None = None,
        *,
        tail: Tail = "pad",
        min_tail_s: float | None = None,
        channel: Channel = "mix",
    ) -> WindowSpec:
        """Round seconds to whole samples at `sample_rate`.

        Parameters
        ----------
        sample_rate : int
            Target rate, Hz.
        window_s, hop_s : float
            Seconds; `hop_s` defaults to `window_s`.
        tail, channel
            As the attributes.
        min_tail_s : float, optional
            Seconds; default a quarter of `window_s`.

        Raises
        ------
        WindowsError
            An argument is not a positive number, or is less than one sample long, or too long.
        """
        rate = int(_number("sample_rate", sample_rate))
        if rate != sample_rate or rate < 1:
            raise WindowsError(
                f"sample_rate must be a positive whole number of Hz, not {sample_rate!r}."
            )
        window_s = _number("window_s", window_s)
        hop_s = window_s if hop_s is None else _number("hop_s", hop_s)
        min_tail_s = window_s / 4 if min_tail_s is None else _number("min_tail_s", min_tail_s)
        for name, seconds in (("window_s", window_s), ("hop_s", hop_s)):
            if seconds * rate < 0.5:  # noqa: PLR2004  what rounds to no sample
                raise WindowsError(
                    f"{name}={seconds!r} is less than one sample at {rate} Hz: give more seconds."
                )
        for name, seconds in (("window_s", window_s), ("hop_s", hop_s), ("min_tail_s", min_tail_s)):
            if seconds * rate > _MOST:
                raise WindowsError(
                    f"{name}={seconds!r} is more than 2^44 samples at {rate} Hz: give less."
                )
        if isinstance(channel, Integral) and not isinstance(channel, bool):
            channel = int(channel)  # NumPy's integers too
        return cls(
            sample_rate=rate,
            size=max(1, round(window_s * rate)),
            hop=max(1, round(hop_s * rate)),
            tail=tail,
            min_tail=round(min_tail_s * rate),
            channel=channel,
        )


def _number(name: str, value: float) -> float:
    if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise WindowsError(f"{name} must be a finite number, not negative, and is {value!r}.")
    return float(value)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the audio is in a window, in seconds at the target rate.

    Attributes
    ----------
    recordings, windows : int
        How many there are.
    without_windows : int
        Recordings that got no window at all.
    audio_s : float
        All audio.
    covered_s, left_out_s : float
        Audio in at least one window, and in none; together `audio_s`.
    padded_s : float
        Silence added behind the ends of recordings to fill windows.
    """

    recordings: int
    windows: int
    without_windows: int
    audio_s: float
    covered_s: float
    left_out_s: float
    padded_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A file, or some windows of it, that could not be had.

    Attributes
    ----------
    file_id, path : str
        Which file.
    code : Code
        Why, in one word.
    message : str
        Why, in the words of whoever refused.
    start_s, stop_s : float
        Span of the lost audio in seconds from the start of the file; infinite where not known.
    windows : int
        How many windows were lost (0 for a file that never got into the catalog).
    index : int
        The lost window's place in its `Windows`, or -1.
    """

    file_id: str
    path: str
    code: Code
    message: str
    start_s: float = 0.0
    stop_s: float = math.inf
    windows: int = 0
    index: int = -1

    def __str__(self) -> str:
        span = "" if not self.windows else f", {self.start_s:.3f} s to {self.stop_s:.3f} s"
        return f"{self.path}{span}: {self.message} [{self.code}]"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AudioExample:
    """One window of audio; unpacks to exactly ``audio, file_id, offset``.

    Attributes
    ----------
    audio : ndarray of float32, shape ``(samples,)``
        With ``channel="all"`` of shape ``(channels, samples)``. In [-1, 1] for PCM (a resampler's
        overshoot may pass it slightly); zeros behind the end of the recording.
    file_id : str
        The recording's id; in the course functions its path.
    offset : float
        Seconds from the start of the recording to the window's first sample.
    sample_rate : int
        Hz.
    path : str
        The recording's path.
    index : int
        The window's place in its `Windows`' unshuffled set; -1 where a shard is filled up.
    end_s : float
        Seconds from the start of the recording to the window's end, padding included.
    valid_samples : int
        Samples that are of the recording, not padding; 0 for a failed window under
        ``on_error="mask"``, and where a shard is filled up.
    source : int
        Which of the `Windows` that were joined by `concat` or `mix`; else 0.
    labels : ndarray of float32, shape ``(classes,)``, or None
        1 for each of the windows' ``classes`` that is heard, else 0; None without labels.
    label_mask : ndarray of bool, shape ``(classes,)``, or None
        True where that is known; nowhere for a failed window.
    """

    audio: NDArray[np.float32]
    file_id: str
    offset: float
    sample_rate: int
    path: str
    index: int
    end_s: float
    valid_samples: int
    source: int = 0
    labels: NDArray[np.float32] | None = None
    label_mask: NDArray[np.bool_] | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.audio, self.file_id, self.offset))

    def __repr__(self) -> str:
        return (
            f"<AudioExample: {self.file_id} from {self.offset:g} s to {self.end_s:g} s at "
            f"{self.sample_rate} Hz, audio of shape {self.audio.shape}, "
            f"{self.valid_samples:,} samples valid, index {self.index}>"
        )

    def _repr_html_(self) -> str:
        from headrace.cards import example_card  # noqa: PLC0415  only notebooks ask

        return example_card(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Batch:
    """Windows side by side; unpacks to exactly ``audio, file_id, offset``.

    Attributes
    ----------
    audio : ndarray of float32, shape ``(batch, samples)`` or ``(batch, channels, samples)``
        The loader's memory: it is written again only after nothing refers to it any more.
    file_id, path : tuple of str
        As in `AudioExample`; ``""`` in the rows that ``last="pad"`` or a shard's
        ``remainder="mask"`` adds.
    offset, end_s : ndarray of float64, shape ``(batch,)``
        Seconds.
    index, valid_samples : ndarray of int64, shape ``(batch,)``
        As in `AudioExample`; -1 and 0 in added rows.
    source : ndarray of int64, shape ``(batch,)``
        As in `AudioExample`; 0 in added rows.
    valid : ndarray of bool, shape ``(batch,)``
        False for rows that hold no window: failed (``on_error="mask"``) or added.
    sample_rate : int
        Hz.
    state : mapping
        What follows this batch resumes from here: see `Loader.load_state_dict`.
    labels, label_mask : ndarray of float32 and of bool, shape ``(batch, classes)``, or None
        As in `AudioExample`: multi-hot rows, and where they are known.
    """

    audio: NDArray[np.float32]
    file_id: tuple[str, ...]
    offset: NDArray[np.float64]
    sample_rate: int
    path: tuple[str, ...]
    index: NDArray[np.int64]
    end_s: NDArray[np.float64]
    valid_samples: NDArray[np.int64]
    source: NDArray[np.int64]
    valid: NDArray[np.bool_]
    state: Mapping[str, Any]
    labels: NDArray[np.float32] | None = None
    label_mask: NDArray[np.bool_] | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter((self.audio, self.file_id, self.offset))

    def __len__(self) -> int:
        return len(self.audio)

    def __repr__(self) -> str:
        recordings = len({*self.file_id} - {""})
        return (
            f"<Batch: {counted(len(self), 'window')} at {self.sample_rate} Hz of "
            f"{counted(recordings, 'recording')}, audio of shape {self.audio.shape}, "
            f"{int(self.valid.sum())} valid>"
        )
