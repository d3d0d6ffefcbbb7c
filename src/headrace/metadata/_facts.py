"""`Facts`: what one source says about a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final

__all__ = ["Facts", "parse_iso_time", "parse_number", "parse_position", "parse_temperature"]

_DATE_LENGTH: Final = len("2025-05-03")
_MOST_DEGREES: Final = (90, 180)


@dataclass(frozen=True, slots=True)
class Facts:
    """What one source says about a recording; None is not known.

    Attributes
    ----------
    source : str
        ``"guano"``, ``"wamd"``, ``"audiomoth"``, ``"bext"`` or ``"name"``.
    time : datetime, optional
        When the recording began. Without a zone if the source names none.
    position : tuple of float, optional
        Latitude and longitude in degrees (WGS 84).
    device : str, optional
        Model and serial number.
    gain : str, optional
        As the recorder describes it.
    temperature_c : float, optional
        Degrees Celsius.
    """

    source: str
    time: datetime | None = None
    position: tuple[float, float] | None = None
    device: str | None = None
    gain: str | None = None
    temperature_c: float | None = None


def parse_iso_time(text: str) -> datetime | None:
    """Return the time in ``2025-05-03 03:13:00.250+02:00``; a date alone is no time."""
    try:
        return datetime.fromisoformat(text) if len(text) > _DATE_LENGTH else None
    except ValueError:
        return None


def parse_number(text: str | None) -> float | None:
    """Return a finite number, or None."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse_position(latitude: str, longitude: str) -> tuple[float, float] | None:
    """Return a position in degrees, or None if it is impossible.

    0, 0 is none either: recorders write it as long as they have not found their position.
    """
    values = parse_number(latitude), parse_number(longitude)
    if values[0] is None or values[1] is None or values == (0, 0):
        return None
    if any(abs(value or 0) > most for value, most in zip(values, _MOST_DEGREES, strict=True)):
        return None
    return values[0], values[1]


def parse_temperature(text: str) -> float | None:
    """Return degrees Celsius, of ``13.1``, ``13.1C`` or ``55.6F``."""
    degrees = parse_number(text.rstrip("°CcFf \t"))
    if degrees is not None and text.rstrip()[-1:] in ("F", "f"):
        return (degrees - 32) / 1.8
    return degrees
