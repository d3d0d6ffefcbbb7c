"""Text for people: counts, durations, times, frequencies, levels, sizes, and names of files."""

from __future__ import annotations

import math
import reprlib
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "brief",
    "brief_list",
    "escape_controls",
    "format_bytes",
    "format_count",
    "format_decibels",
    "format_duration",
    "format_hertz",
    "format_time",
]

_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_KIB: Final = 1_024
_KHZ: Final = 1_000
_CONTROLS: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that are not shown but do something: control and format
characters, lone surrogates, and separators of lines and paragraphs."""
_JOINERS: Final = "\u200c\u200d"
"""Format characters that words of some languages are spelled with."""

_LINE: Final = 120
"""The most characters of a value that a message shows: one line."""

_NAMES: Final = 240
"""The most characters of a list of names: a catalog's built-in columns take half of them."""


class _Brief(reprlib.Repr):
    """`repr` that looks at a few elements of a collection only, however large it is."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxlong = self.maxother = _LINE
        self.maxlist = self.maxtuple = self.maxset = self.maxdict = 6


_BRIEF: Final = _Brief()


def brief(value: object) -> str:
    """Return the `repr` of a value for a message: at most one line, cut in the middle."""
    text = " ".join(_BRIEF.repr(value).split())
    if len(text) <= _LINE:
        return text
    half = (_LINE - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def brief_list(names: Iterable[object]) -> str:
    """Return names, separated by commas: those that fit, and how many more there are."""
    texts = [str(name) for name in names]
    shown: list[str] = []
    length = 0
    for text in texts:
        length += len(text) + 2
        if shown and length > _NAMES:
            break
        shown.append(text if len(text) <= _LINE else f"{text[: _LINE - 3]}...")
    more = len(texts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def escape_controls(text: str) -> str:
    r"""Return `text` with control characters as escapes, such as ``\x1b``.

    A file may have any name. On a terminal, control characters in it could move the cursor, change
    colours, or rewrite what stands there.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _CONTROLS and character not in _JOINERS
        else character
        for character in text
    )


def format_bytes(count: int) -> str:
    """Return `count` bytes to three or four digits, as ``"1.21 GiB"``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < _KIB:
            return f"{amount:.4g} {unit}"
        amount /= _KIB
    return f"{amount:.4g} TiB"


def format_count(number: int, noun: str) -> str:
    """Return a number and its noun, as ``"1 window"`` or ``"1,000 windows"``."""
    return f"{number:,} {noun}" + "s" * (number != 1)


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, whichever suits it: ``"10.0 min"``."""
    if 0 < seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.1f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.1f} min"
    return f"{seconds / _HOUR_S:,.1f} h"


def format_time(seconds: float) -> str:
    """Return a time in a recording to the millisecond, as ``"2:05"`` or ``"1:00:02.5"``."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:06.3f}".rstrip("0").rstrip(".")
    hours, minutes_of_hour = divmod(minutes, 60)
    return f"{hours}:{minutes_of_hour:02}:{text}" if hours else f"{minutes_of_hour}:{text}"


def format_hertz(rate: float) -> str:
    """Return a frequency in Hz, or in kHz from 1,000 Hz up: ``"22.05 kHz"``."""
    return f"{rate:g} Hz" if rate < _KHZ else f"{rate / _KHZ:.6g} kHz"


def format_decibels(level: float) -> str:
    """Return a level to a tenth, with a minus sign that is as wide as a plus sign."""
    text = "-∞" if math.isinf(level) else f"{round(level, 1) + 0.0:.1f}"
    return text.replace("-", "\N{MINUS SIGN}")
