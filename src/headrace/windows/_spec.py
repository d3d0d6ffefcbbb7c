"""`WindowSpec`: how recordings are cut, in whole samples; `Coverage`: what that covers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

from headrace.errors import InvalidWindowsError

__all__ = ["Channel", "Coverage", "Tail", "WindowSpec"]

Tail = Literal["pad", "shift", "drop"]
Channel = Literal["mix", "all"] | int

_MOST = 1 << 44
"""Samples in a window: years of audio, and far from the limit of int64."""


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
                raise InvalidWindowsError(
                    f"{name} must be a whole number from {least} up, not {value!r}."
                )
        if self.tail not in get_args(Tail):
            raise InvalidWindowsError(f'tail must be "pad", "shift" or "drop", not {self.tail!r}.')
        if isinstance(self.channel, bool) or not (
            self.channel in ("mix", "all") or (isinstance(self.channel, int) and self.channel >= 0)
        ):
            raise InvalidWindowsError(
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
        InvalidWindowsError
            An argument is not a positive number, or is less than one sample long, or too long.
        """
        rate = int(_number("sample_rate", sample_rate))
        if rate != sample_rate or rate < 1:
            raise InvalidWindowsError(
                f"sample_rate must be a positive whole number of Hz, not {sample_rate!r}."
            )
        window_s = _number("window_s", window_s)
        hop_s = window_s if hop_s is None else _number("hop_s", hop_s)
        min_tail_s = window_s / 4 if min_tail_s is None else _number("min_tail_s", min_tail_s)
        for name, seconds in (("window_s", window_s), ("hop_s", hop_s)):
            if seconds * rate < 0.5:  # noqa: PLR2004  what rounds to no sample
                raise InvalidWindowsError(
                    f"{name}={seconds!r} is less than one sample at {rate} Hz: give more seconds."
                )
        for name, seconds in (("window_s", window_s), ("hop_s", hop_s), ("min_tail_s", min_tail_s)):
            if seconds * rate > _MOST:
                raise InvalidWindowsError(
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
        raise InvalidWindowsError(
            f"{name} must be a finite number, not negative, and is {value!r}."
        )
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
