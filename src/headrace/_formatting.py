"""Numbers as people read them."""

from __future__ import annotations

import math

__all__ = ["format_count", "format_decibels", "format_duration", "format_hertz", "format_time"]


def format_count(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural where it is not 1."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def format_duration(seconds: float) -> str:
    """Return a duration in the unit that suits it."""
    if 0 < seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 120:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    if seconds < 7_200:  # noqa: PLR2004
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3_600:,.1f} h"


def format_time(seconds: float) -> str:
    """Return a place in a recording, as ``2:05`` or ``1:00:02.5``; to a millisecond."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:06.3f}".rstrip("0").rstrip(".")
    big, small = divmod(minutes, 60)
    return f"{big}:{small:02}:{text}" if big else f"{small}:{text}"


def format_hertz(rate: float) -> str:
    """Return a frequency, in kHz from 1,000 Hz up."""
    return f"{rate:g} Hz" if rate < 1000 else f"{rate / 1000:.6g} kHz"  # noqa: PLR2004


def format_decibels(level: float) -> str:
    """Return a level to a tenth, with a minus sign that is as wide as a plus."""
    text = "-∞" if math.isinf(level) else f"{round(level, 1) + 0.0:.1f}"
    return text.replace("-", "\N{MINUS SIGN}")
