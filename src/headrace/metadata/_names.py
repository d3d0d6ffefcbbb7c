r"""Times in the names of recordings: those that the usual recorders give, or the user's own.

========================================  =======================================  =============
name                                      recorder                                 zone
========================================  =======================================  =============
``S4A03895_20190522_223000.wav``          Song Meters, Swift, AudioMoth,           not named
                                          AnuraSet: ``SITE_YYYYMMDD_HHMMSS``
``ARIZONA-1_20161023$195550.wav``         Song Meters that are set by GPS          not named
``SITE_20210305_052900+0200.wav``         Swift; a ``Z`` instead is UTC            named
``20170625T102105+1000_creek.flac``       Frontier Labs, Open Ecoacoustics         named
``2018-09-12_07-36-28.wav``               others                                   not named
``5AEC36E0.WAV``                          AudioMoth 1.0 and 1.1: seconds since     UTC
                                          1970, hexadecimal
``SOCAL34N_sitN_090722_012345.x.wav``     HARP                                     UTC
``5678.180912073628.wav``                 SoundTrap: ``SERIAL.YYMMDDHHMMSS``       not named
========================================  =======================================  =============

Sources: the manuals of the recorders (AudioMoth Operation Manual; Song Meter SM4 and SM3BAT User
Guides; SwiftOne User Guide; SoundTrap User Guide), the Triton documentation for HARP, and the Open
Ecoacoustics recommendation for file names.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final

from headrace.metadata._facts import Facts
from headrace.metadata._zones import parse_zone

__all__ = ["NamePattern", "facts_in_name"]

_ZONE: Final = r"(?P<zone>Z|[+-](?:0\d|1[0-4]):?(?:00|15|30|45)(?!\d))?"
_COMPACT: Final = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<month>\d\d)(?P<day>\d\d)[T_$ -]"
    r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(?!\d)" + _ZONE
)
_DASHED: Final = re.compile(
    r"(?<!\d)(?P<year>(?:19|20)\d\d)-(?P<month>\d\d)-(?P<day>\d\d)[T_ -]"
    r"(?P<hour>\d\d)[-:.](?P<minute>\d\d)(?:[-:.](?P<second>\d\d))?(?!\d)" + _ZONE
)
_HARP: Final = re.compile(
    r"(?<!\d)(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)_"
    r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(?!\d).*\.x\.(?:wav|flac)$",
    re.IGNORECASE,
)
_SOUNDTRAP: Final = re.compile(
    r"^(?P<serial>\d{3,10})\.(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)"
    r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)\."
)
_HEXADECIMAL: Final = re.compile(r"^(?P<seconds>[0-9A-F]{8})\.wav$", re.IGNORECASE)
_DEVICES: Final = (
    (re.compile(r"^([0-9A-F]{16})_\d{8}_"), "AudioMoth"),
    (re.compile(r"^(S4A\d{5})_"), "SM4"),  # Wildlife Acoustics' serial numbers of that model
)

_FIRST_HEXADECIMAL: Final = datetime(2016, 1, 1, tzinfo=UTC).timestamp()
_LAST_HEXADECIMAL: Final = datetime(2038, 1, 1, tzinfo=UTC).timestamp()
"""AudioMoths are sold since 2017. Read as such seconds, a date such as 20190101 is in 1987."""

_PARTS: Final = ("year", "month", "day", "hour", "minute", "second")
_CENTURY: Final = 2000  # of years with two digits
_SHORT_YEAR: Final = 100


def facts_in_name(file_id: str) -> Facts | None:
    """Return what the name of a recording says, if it is one that the usual recorders give.

    Parameters
    ----------
    file_id : str
        A name, or a path, whose last component counts.
    """
    name = file_id.rpartition("/")[2]
    if match := _HEXADECIMAL.search(name):
        seconds = int(match["seconds"], 16)
        if _FIRST_HEXADECIMAL <= seconds < _LAST_HEXADECIMAL:
            return Facts("name", time=datetime.fromtimestamp(seconds, UTC), device="AudioMoth")
    if match := _HARP.search(name):
        time = _time(match, UTC)
        if time is not None:
            return Facts("name", time=time)
    if match := _SOUNDTRAP.search(name):
        time = _time(match)
        if time is not None:
            return Facts("name", time=time, device=f"SoundTrap {match['serial']}")
    for pattern in (_COMPACT, _DASHED):
        for match in pattern.finditer(name):
            time = _time(match)
            if time is not None:
                return Facts("name", time=time, device=_device(name))
    return None


def _device(name: str) -> str | None:
    found = ((pattern.search(name), model) for pattern, model in _DEVICES)
    return next((f"{model} {match[1]}" for match, model in found if match), None)


@dataclass(frozen=True, slots=True)
class NamePattern:
    r"""A user's own regular expression for times in the ids of recordings.

    Attributes
    ----------
    text : str
        With the named groups ``year`` (two or four digits), ``month``, ``day``, ``hour``,
        ``minute`` and perhaps ``second``; or ``date`` (``YYYYMMDD``, ``YYMMDD``, with or without
        separators) and ``time`` (``HHMMSS`` or ``HHMM``). ``zone`` (``Z`` or ``+02:00``) is
        optional.

    Raises
    ------
    ValueError
        This is no regular expression, or has other groups.
    """

    text: str

    def __post_init__(self) -> None:
        try:
            groups = set(re.compile(self.text).groupindex)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"time_pattern={self.text!r} is not a regular expression: {error}."
            ) from None
        needed = {"date", "time"} if "date" in groups else {*_PARTS} - {"second"}
        if needed - groups or groups - needed - {"second", "zone"}:
            raise ValueError(
                f"time_pattern={self.text!r} has the named groups {sorted(groups)}: it needs date "
                "and time, or year, month, day, hour and minute; second and zone are optional. "
                r'An example is r"(?P<date>\d{8})_(?P<time>\d{6})".'
            )

    def facts(self, file_id: str) -> Facts | None:
        """Return the time in an id, or None if the expression finds none there."""
        for match in re.finditer(self.text, file_id):
            time = _time(match)
            if time is not None:
                return Facts("name", time=time)
        return None


_DATE_DIGITS: Final = re.compile(r"(?P<year>\d{4}|\d\d)(?P<month>\d\d)(?P<day>\d\d)")
_TIME_DIGITS: Final = re.compile(r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)?")


def _time(match: re.Match[str], zone: tzinfo | None = None) -> datetime | None:
    """Return the time in the named groups of a match, or None if there is no such time."""
    groups: dict[str, str | None] = match.groupdict()
    for name, digits in (("date", _DATE_DIGITS), ("time", _TIME_DIGITS)):
        if name in groups:
            parts = digits.fullmatch(re.sub(r"\D", "", groups[name] or ""))
            if parts is None:
                return None
            groups |= parts.groupdict()
    with suppress(ValueError):  # no such day, or no such zone
        if groups.get("zone"):
            zone = parse_zone((groups["zone"] or "").upper())
        year, month, day, hour, minute, second = (int(groups.get(part) or 0) for part in _PARTS)
        if year < _SHORT_YEAR:
            year += _CENTURY
        return datetime(year, month, day, hour, minute, second, tzinfo=zone)
    return None
