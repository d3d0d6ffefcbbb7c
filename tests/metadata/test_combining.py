from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from headrace.metadata import Facts, combine

NOON = datetime(2025, 5, 3, 12)
AHEAD = timezone(timedelta(hours=2))
BERLIN = ZoneInfo("Europe/Berlin")


def test_a_time_with_a_zone_is_preferred() -> None:
    """A later source that knows its zone wins over an earlier one that does not."""
    row = combine(
        [Facts("wamd", NOON), Facts("bext"), Facts("name", NOON.replace(tzinfo=UTC))], None
    )
    assert (row.recorded_at, row.recorded_from) == (NOON.replace(tzinfo=UTC), "name")


def test_each_fact_is_that_of_the_first_source_that_has_it() -> None:
    """Sources complete each other."""
    row = combine(
        [
            Facts("guano", position=(1.5, 2.5)),
            Facts("audiomoth", NOON.replace(tzinfo=AHEAD), gain="high", temperature_c=0.0),
            Facts("name", NOON, device="AudioMoth 1"),
        ],
        None,
    )
    assert row.recorded_at == datetime(2025, 5, 3, 10, tzinfo=UTC)
    assert (row.latitude, row.longitude, row.device) == (1.5, 2.5, "AudioMoth 1")
    assert (row.gain, row.temperature_c, row.recorded_from) == ("high", 0.0, "audiomoth")
    assert row.metadata_conflict is None


def test_a_time_without_a_zone_needs_one() -> None:
    """Without tz=, it is no moment; with it, it is."""
    facts = [Facts("name", NOON)]
    row = combine(facts, None)
    assert (row.recorded_at, row.recorded_from, row.local) == (None, None, NOON)
    row = combine(facts, BERLIN)
    assert (row.recorded_at, row.recorded_from) == (datetime(2025, 5, 3, 10, tzinfo=UTC), "name")
    assert combine([Facts("name", datetime(2024, 10, 27, 2, 30))], BERLIN).occurrence == "twice"


@pytest.mark.parametrize(
    ("header", "name", "agree"),
    [
        (NOON.replace(tzinfo=AHEAD), NOON, True),  # the name is in the header's zone
        (NOON.replace(tzinfo=AHEAD), NOON - timedelta(hours=2), True),  # ... in UTC
        (NOON.replace(tzinfo=UTC), NOON + timedelta(hours=2), True),  # ... in tz=
        (NOON.replace(tzinfo=UTC), NOON + timedelta(seconds=1), True),
        (NOON.replace(tzinfo=UTC), NOON + timedelta(minutes=1), False),
        (NOON.replace(tzinfo=UTC), NOON - timedelta(hours=3), False),
        (NOON, NOON + timedelta(days=365), False),
        (NOON.replace(tzinfo=UTC), (NOON + timedelta(hours=2)).replace(tzinfo=AHEAD), True),
        (NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=AHEAD), False),
    ],
)
def test_times_that_disagree_are_reported(header: datetime, name: datetime, *, agree: bool) -> None:
    """A time without a zone agrees if there is a zone by which it does."""
    row = combine([Facts("guano", header), Facts("name", name)], BERLIN)
    expected = None if agree else f"time: guano {header}, name {name}"
    assert row.metadata_conflict == expected


@pytest.mark.parametrize("year", [1, 1899, 2200, 9999])
def test_impossible_times_are_no_times(year: int) -> None:
    """They are neither taken, nor compared, nor converted."""
    wrong = NOON.replace(year=year)
    for time in (wrong, wrong.replace(tzinfo=AHEAD)):
        row = combine([Facts("guano", time), Facts("name", NOON.replace(tzinfo=UTC))], BERLIN)
        assert (row.recorded_from, row.metadata_conflict) == ("name", None)


def test_other_facts_that_disagree_are_reported() -> None:
    """Positions that are far from each other, and serial numbers."""
    row = combine(
        [
            Facts("guano", position=(52.1, 4.4), device="AudioMoth 24aa"),
            Facts("wamd", position=(52.1001, 4.4), device="SM4 24AA"),
            Facts("audiomoth", position=(48.0, 4.4), device="AudioMoth 24BB"),
            Facts("name", device="AudioMoth 24CC"),  # may be the number of a deployment
        ],
        None,
    )
    assert row.metadata_conflict == (
        "position: guano 52.1 4.4, audiomoth 48.0 4.4; "
        "device: guano AudioMoth 24aa, audiomoth AudioMoth 24BB"
    )


def test_a_model_without_a_serial_number_does_not_disagree() -> None:
    """One source may know the model only, in either order."""
    facts = [Facts("guano", device="AudioMoth"), Facts("audiomoth", device="AudioMoth 24AA")]
    for sources in (facts, facts[::-1]):
        assert combine(sources, None).metadata_conflict is None
