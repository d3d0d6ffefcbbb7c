"""`combine`: one answer from all that the sources say about a recording."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from headrace.metadata._zones import to_utc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

    from headrace.metadata._facts import Facts
    from headrace.metadata._zones import Occurrence

__all__ = ["Metadata", "combine"]

_SAME_TIME: Final = timedelta(seconds=2)
"""Recorders write a header and a name at moments that differ by a second."""

_YEARS: Final = range(1900, 2200)
"""Of times that can be meant; others cannot be converted between zones, either."""

_SAME_DEGREES: Final = 0.01
"""About a kilometre: one source may have a rounded position, or one of another fix."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """When, where and with what a recording was made; None is not known.

    Attributes
    ----------
    recorded_at : datetime, optional
        When it began, in UTC.
    recorded_from : str, optional
        The source of that time.
    latitude, longitude : float, optional
        Degrees (WGS 84).
    device, gain : str, optional
        As the recorder describes them.
    temperature_c : float, optional
        Degrees Celsius.
    metadata_conflict : str, optional
        What sources disagree about, and what each of them says.
    local : datetime, optional
        A time without a zone, if that is all that is known.
    occurrence : str
        ``"twice"`` or ``"never"`` if a local time is not unique or does not exist, as clocks are
        changed for summer. Else ``"once"``.
    """

    recorded_at: datetime | None = None
    recorded_from: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    device: str | None = None
    gain: str | None = None
    temperature_c: float | None = None
    metadata_conflict: str | None = None
    local: datetime | None = None
    occurrence: Occurrence = "once"


def combine(facts: Sequence[Facts], zone: tzinfo | None) -> Metadata:
    """Return what is taken from some sources.

    A time whose zone is known is preferred to one without. Apart from that, the first source that
    says something is taken.

    Parameters
    ----------
    facts : sequence of Facts
        The most exact source first.
    zone : tzinfo, optional
        The zone of times that name none.
    """
    facts = [_without_impossible_time(one) for one in facts]
    timed = [one for one in facts if one.time is not None]
    aware = [one for one in timed if one.time is not None and one.time.tzinfo is not None]
    chosen = next(iter([*aware, *timed]), None)
    utc, local, occurrence = None, None, "once"
    if chosen is not None and chosen.time is not None:
        if chosen.time.tzinfo is not None:
            utc = chosen.time.astimezone(UTC)
        elif zone is None:
            local = chosen.time
        else:
            utc, occurrence = to_utc(chosen.time, zone)
    position = next((one.position for one in facts if one.position), (None, None))
    return Metadata(
        recorded_at=utc,
        recorded_from=chosen.source if chosen is not None and utc is not None else None,
        latitude=position[0],
        longitude=position[1],
        device=next((one.device for one in facts if one.device), None),
        gain=next((one.gain for one in facts if one.gain), None),
        temperature_c=next(
            (one.temperature_c for one in facts if one.temperature_c is not None), None
        ),
        metadata_conflict=_conflicts(facts, chosen, zone) or None,
        local=local,
        occurrence=occurrence,
    )


def _without_impossible_time(facts: Facts) -> Facts:
    """Return the facts without a time that damaged bytes, or a clock that was not set, gave."""
    if facts.time is not None and facts.time.year not in _YEARS:
        return replace(facts, time=None)
    return facts


def _conflicts(facts: Sequence[Facts], chosen: Facts | None, zone: tzinfo | None) -> str:
    """Return what sources disagree about, as text."""
    conflicts = [
        f"time: {chosen.source} {_text(chosen.time)}, {one.source} {_text(one.time)}"
        for one in facts
        if chosen is not None and not _same_time(chosen.time, one.time, zone)
    ]
    placed = [one for one in facts if one.position]
    for one in placed[1:]:
        pairs = zip(placed[0].position or (), one.position or (), strict=True)
        if any(abs(a - b) > _SAME_DEGREES for a, b in pairs):
            first, other = (
                " ".join(map(str, source.position or ())) for source in (placed[0], one)
            )
            conflicts.append(f"position: {placed[0].source} {first}, {one.source} {other}")
    # A name may have the identifier of a deployment where others have that of the device.
    named = [one for one in facts if one.device and one.source not in ("name", "bext")]
    for one in named[1:]:
        names = [(source.device or "").casefold() for source in (named[0], one)]
        serials = [name.split()[-1] for name in names]
        # One may know the model only.
        if serials[0] != serials[1] and names[0] not in names[1] and names[1] not in names[0]:
            conflicts.append(
                f"device: {named[0].source} {named[0].device}, {one.source} {one.device}"
            )
    return "; ".join(conflicts)


def _same_time(first: datetime | None, other: datetime | None, zone: tzinfo | None) -> bool:
    """Return whether two times may be the same.

    A time without a zone is the same as another one if it is in `zone`, in the zone of the other
    one, or in UTC.
    """
    if first is None or other is None:
        return True
    if (first.tzinfo is None) == (other.tzinfo is None):
        return abs(first - other) <= _SAME_TIME
    aware, naive = (first, other) if first.tzinfo is not None else (other, first)
    views = [aware, aware.astimezone(UTC), *([aware.astimezone(zone)] if zone else [])]
    return any(abs(one.replace(tzinfo=None) - naive) <= _SAME_TIME for one in views)


def _text(time: datetime | None) -> str:
    return time.isoformat(" ") if time else ""
