"""`WindowSpec`: how recordings are cut, in samples. `Coverage`: how much audio that covers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

from headrace._formatting import brief
from headrace.errors import InvalidWindowsError

__all__ = ["Channel", "Coverage", "Tail", "WindowSpec", "check_sample_rate"]

Tail = Literal["pad", "shift", "drop"]
Channel = Literal["mix", "all"] | int

_MAX_SAMPLES = 1 << 44
"""The longest window: years of audio, and far below the limit of int64."""


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How recordings are cut: integers, in samples at the target sample rate.

    Attributes
    ----------
    sample_rate : int
        Target sample rate in Hz.
    size, hop : int
        Samples in a window, and between the starts of neighbouring windows.
    tail : {"pad", "shift", "drop"}
        What is done with the audio after the last full window: fill one more window up with
        zeros, let one more window end with the recording, or leave the audio out.
    min_tail : int
        With ``"pad"``, one more window is added only if at least this many samples are in no other
        window.
    channel : "mix", "all" or int
        The mean of all channels, all channels, or the index of one.
    min_audio : int
        A window with fewer samples of audio than this is left out; the rest of it would be zeros.
    """

    sample_rate: int
    size: int
    hop: int
    tail: Tail = "pad"
    min_tail: int = 0
    channel: Channel = "mix"
    min_audio: int = 0

    def __post_init__(self) -> None:
        minima = {"sample_rate": 1, "size": 1, "hop": 1, "min_tail": 0, "min_audio": 0}
        for name, minimum in minima.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < minimum:
                raise InvalidWindowsError(
                    f"{name} must be a whole number from {minimum} up, not {brief(value)}."
                )
        if self.min_audio > self.size:
            raise InvalidWindowsError(
                f"min_audio={self.min_audio} is more than a window's {self.size} samples, so that "
                "no window would be left: give less."
            )
        if self.tail not in get_args(Tail):
            raise InvalidWindowsError(
                f'tail must be "pad", "shift" or "drop", not {brief(self.tail)}.'
            )
        if isinstance(self.channel, bool) or not (
            self.channel in ("mix", "all") or (isinstance(self.channel, int) and self.channel >= 0)
        ):
            raise InvalidWindowsError(
                f'channel must be "mix", "all" or a channel\'s index from 0, '
                f"not {brief(self.channel)}."
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
        min_audio_s: float = 0.0,
    ) -> WindowSpec:
        """Make a spec from seconds, rounded to whole samples at `sample_rate`.

        Parameters
        ----------
        sample_rate : int
            Target sample rate in Hz.
        window_s, hop_s : float
            Length of a window and distance between the starts of two, in seconds. `hop_s` defaults
            to `window_s`.
        tail, channel
            See the attributes.
        min_tail_s : float, optional
            Seconds; default: a quarter of `window_s`.
        min_audio_s : float
            Seconds, at most `window_s`.

        Raises
        ------
        InvalidWindowsError
            An argument is not a positive number, or is shorter than one sample or too long.
        """
        rate = check_sample_rate(sample_rate)
        window_s = _check_number("window_s", window_s)
        hop_s = window_s if hop_s is None else _check_number("hop_s", hop_s)
        min_tail_s = window_s / 4 if min_tail_s is None else _check_number("min_tail_s", min_tail_s)
        min_audio_s = _check_number("min_audio_s", min_audio_s)
        if min_audio_s > window_s:
            raise InvalidWindowsError(
                f"min_audio_s={min_audio_s!r} is more than window_s={window_s!r}, so that no "
                "window would be left: give less."
            )
        for name, seconds in (("window_s", window_s), ("hop_s", hop_s)):
            if 2 * seconds * rate < 1:  # rounds to no sample
                raise InvalidWindowsError(
                    f"{name}={brief(seconds)} is less than one sample at {rate} Hz: give more "
                    "seconds."
                )
        for name, seconds in (("window_s", window_s), ("hop_s", hop_s), ("min_tail_s", min_tail_s)):
            if seconds * rate > _MAX_SAMPLES:
                raise InvalidWindowsError(
                    f"{name}={brief(seconds)} is more than 2^44 samples at {rate} Hz: give less."
                )
        if isinstance(channel, Integral) and not isinstance(channel, bool):
            channel = int(channel)  # it may be a NumPy integer
        return cls(
            sample_rate=rate,
            size=max(1, round(window_s * rate)),
            hop=max(1, round(hop_s * rate)),
            tail=tail,
            min_tail=round(min_tail_s * rate),
            channel=channel,
            min_audio=round(min_audio_s * rate),
        )


def check_sample_rate(value: float) -> int:
    """Return a sample rate in Hz.

    Raises
    ------
    InvalidWindowsError
        It is not a positive whole number.
    """
    rate = int(_check_number("sample_rate", value))
    if rate != value or rate < 1:
        raise InvalidWindowsError(
            f"sample_rate must be a positive whole number of Hz, not {brief(value)}."
        )
    return rate


def _check_number(name: str, value: float) -> float:
    if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        raise InvalidWindowsError(f"{name} must be a finite number from 0 up, not {brief(value)}.")
    return float(value)


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the audio is in a window.

    Attributes
    ----------
    recordings, windows : int
        Number of recordings and of windows.
    without_windows : int
        Number of recordings that have no window.
    audio_s : float
        Duration of all audio, in seconds.
    covered_s, left_out_s : float
        Seconds of audio in at least one window, and in none. Their sum is `audio_s`.
    padded_s : float
        Seconds of zeros that were added after the ends of recordings to fill windows.
    """

    recordings: int
    windows: int
    without_windows: int
    audio_s: float
    covered_s: float
    left_out_s: float
    padded_s: float
