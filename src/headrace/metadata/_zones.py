"""Time zones: from names to UTC, and back to the local time of many moments at once."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Occurrence", "parse_zone", "to_utc", "utc_offsets"]

_OFFSET: Final = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2}):?(\d{2})?", re.IGNORECASE)
_MOST_HOURS: Final = 14  # east of Greenwich; west it is 12
_SPAN_US: Final = 15 * 60 * 1_000_000
"""Clocks are changed at multiples of a quarter of an hour of UTC, in all zones since 1972."""

Occurrence = str
"""How often a local time occurs: ``"once"``, ``"twice"`` or ``"never"``."""


def parse_zone(tz: str | tzinfo | None, name: str = "tz") -> tzinfo | None:
    """Return a time zone.

    Parameters
    ----------
    tz : str, tzinfo or None
        A name of the IANA database, such as ``"Europe/Berlin"``; an offset from UTC, such as
        ``"+02:00"`` or ``"UTC-3"``; ``"UTC"``; or a zone. None stays None.
    name : str
        The argument's name, for messages.

    Raises
    ------
    ValueError
        There is no such zone.
    TypeError
        `tz` is something else.
    """
    if tz is None or isinstance(tz, tzinfo):
        return tz
    if not isinstance(tz, str):
        raise TypeError(
            f'{name} must be a time zone, such as "Europe/Berlin" or "+02:00", not {tz!r}.'
        )
    if tz.upper() in ("UTC", "GMT", "Z"):
        return UTC
    match = _OFFSET.fullmatch(tz.strip())
    if match is not None:
        hours, minutes = int(match[2]), int(match[3] or 0)
        if hours <= _MOST_HOURS and minutes < 60:  # noqa: PLR2004  minutes in an hour
            offset = timedelta(hours=hours, minutes=minutes)
            return timezone(offset if match[1] == "+" else -offset)
    try:
        return ZoneInfo(tz)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    similar = difflib.get_close_matches(tz, available_timezones(), 1)
    suggestion = similar[0] if similar else "Europe/Berlin"
    raise ValueError(
        f"{name}={tz!r} is not a time zone: give a name of the IANA database, such as "
        f'"{suggestion}", or an offset from UTC, such as "+02:00".'
    )


def to_utc(local: datetime, zone: tzinfo) -> tuple[datetime, Occurrence]:
    """Return a local time without zone in UTC, and how often it occurs in the zone.

    When clocks are set back, an hour occurs twice: the first one is taken. When they are set
    forward, an hour is left out: a clock that shows it was not set, so that the time before the
    change goes on.
    """
    first = local.replace(tzinfo=zone, fold=0)
    second = local.replace(tzinfo=zone, fold=1)
    utc = first.astimezone(UTC)
    if first.utcoffset() == second.utcoffset():
        return utc, "once"
    exists = utc.astimezone(zone).replace(tzinfo=None) == local
    return utc, "twice" if exists else "never"


def utc_offsets(moments_us: NDArray[np.int64], zone: tzinfo) -> NDArray[np.int64]:
    """Return how far local time is ahead of UTC.

    Parameters
    ----------
    moments_us : ndarray of int64
        Microseconds since 1970, in UTC.
    zone : tzinfo
        The zone.

    Returns
    -------
    ndarray of int64
        Microseconds, of the same shape.
    """
    spans, place = np.unique(moments_us // _SPAN_US, return_inverse=True)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    microsecond = timedelta(microseconds=1)
    offsets = [
        (
            (epoch + timedelta(microseconds=int(span) * _SPAN_US)).astimezone(zone).utcoffset()
            or timedelta()
        )
        // microsecond
        for span in spans
    ]
    return np.array(offsets, np.int64)[place].reshape(moments_us.shape)
