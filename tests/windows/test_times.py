"""When windows begin, compared with zoneinfo window by window, and another formula of the sun."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import concat
from headrace.errors import CatalogError, HeadraceWarning, InvalidWindowsError
from tests.support.catalogs import fake_catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headrace import Windows

BEGINS = [  # of recordings of an hour at 10 Hz, in UTC
    datetime(2024, 3, 31, 0, 30, tzinfo=UTC),  # clocks in Berlin are set forward at 1:00 UTC
    datetime(2024, 7, 1, 3, 15, tzinfo=UTC),
    datetime(2024, 10, 27, 0, 10, tzinfo=UTC),  # clocks in Berlin are set back at 1:00 UTC
    datetime(2024, 12, 31, 22, 45, tzinfo=UTC),
]
BERLIN = ZoneInfo("Europe/Berlin")


def windows_of(begins: Sequence[datetime | None], **columns: Any) -> Windows:
    """Return windows of one minute of recordings of an hour, which begin at these times."""
    recorded_at = pa.array(begins, pa.timestamp("us", "UTC"))
    catalog = fake_catalog([36_000] * len(begins), 10, recorded_at=recorded_at, **columns)
    return catalog.windows(None, 60.0)


def begins_of(windows: Windows) -> list[datetime]:
    """Return when each window begins."""
    times: list[datetime] = windows.table([])["start_at"].to_pylist()
    return times


def sun_elevation(moment: datetime, latitude: float, longitude: float) -> float:
    """Return how high the sun stands, by the Astronomical Almanac's formula for 1950 to 2050."""
    days = (moment - datetime(2000, 1, 1, 12, tzinfo=UTC)) / timedelta(days=1)
    anomaly = math.radians(357.528 + 0.9856003 * days)
    longitude_of_sun = math.radians(
        280.460 + 0.9856474 * days + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly)
    )
    obliquity = math.radians(23.439 - 0.0000004 * days)
    declination = math.asin(math.sin(obliquity) * math.sin(longitude_of_sun))
    ascension = math.atan2(
        math.cos(obliquity) * math.sin(longitude_of_sun), math.cos(longitude_of_sun)
    )
    sidereal = math.radians(280.46062 + 360.98564737 * days + longitude)
    angle, latitude = sidereal - ascension, math.radians(latitude)
    height = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(
        declination
    ) * math.cos(angle)
    return math.degrees(math.asin(height))


def test_the_table_has_times_and_columns() -> None:
    """Seconds, the time in UTC, and the catalog's columns, for each window."""
    windows = windows_of([BEGINS[1], None], site=["A", "B"])[58:62]
    table = windows.table(["site", "channels"])
    assert table.column_names == [
        *("index", "id", "start", "end", "start_s", "end_s", "start_at", "site", "channels")
    ]
    assert table["start_s"].to_pylist() == [3480.0, 3540.0, 0.0, 60.0]
    assert table["end_s"].to_pylist() == [3540.0, 3600.0, 60.0, 120.0]
    assert table["start_at"].to_pylist() == [
        BEGINS[1] + timedelta(minutes=58),
        BEGINS[1] + timedelta(minutes=59),
        None,
        None,
    ]
    assert table["site"].to_pylist() == ["A", "A", "B", "B"]
    assert windows.table().column_names == ["index", "id", "start", "end"]


def test_the_table_of_several_catalogs_has_their_columns() -> None:
    """Each window has the values of its own catalog."""
    both = concat([windows_of(BEGINS[:1], site=["A"])[:2], windows_of(BEGINS[1:2], site=["B"])[:1]])
    table = both.table(["site"])
    assert table["site"].to_pylist() == ["A", "A", "B"]
    assert table["start_at"].to_pylist() == [
        BEGINS[0],
        BEGINS[0] + timedelta(minutes=1),
        BEGINS[1],
    ]
    assert table["source"].to_pylist() == [0, 0, 1]


def test_wrong_columns_are_refused() -> None:
    """Names that do not exist, that the table has anyway, and one text."""
    windows = windows_of(BEGINS[:1])
    for columns, message in (
        (["sites"], "There is no column 'sites': there are id, path"),
        (["id"], "has a column 'id' anyway"),
        ("site", r"columns=\['site'\]"),
    ):
        with pytest.raises(CatalogError, match=message):
            windows.table(columns)
    assert fake_catalog([10]).windows(None, 0.01).table([]).column_names[-1] == "end_s"


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.times().map(lambda one: one.replace(tzinfo=None)), min_size=2, max_size=2, unique=True
    )
)
def test_windows_during_hours_are_those_of_local_time(hours: list[time]) -> None:
    """Compared window by window, on days on which clocks are changed, and around midnight."""
    start, end = hours
    windows = windows_of(BEGINS)
    local = [moment.astimezone(BERLIN).time() for moment in begins_of(windows)]
    wanted = [start <= one < end if start <= end else one >= start or one < end for one in local]
    chosen = windows.during(start, end, tz="Europe/Berlin")
    assert begins_of(chosen) == [
        moment for moment, keep in zip(begins_of(windows), wanted, strict=True) if keep
    ]


def test_an_hour_that_occurs_twice_is_chosen_twice() -> None:
    """In the night when clocks are set back, 2:00 to 3:00 has 120 minutes."""
    windows = windows_of([BEGINS[2] - timedelta(minutes=10), BEGINS[2] + timedelta(minutes=50)])
    assert len(windows) == 120
    assert len(windows.during("02:00", "03:00", tz="Europe/Berlin")) == 120
    assert len(windows.during("02:00", "03:00", tz="+02:00")) == 60
    assert len(windows.during("00:00", "24:00", tz=BERLIN)) == 120


def test_filtered_windows_are_a_chosen_set() -> None:
    """They are the same windows as chosen by a mask, and take an order and a shard."""
    windows = windows_of(BEGINS)
    chosen = windows.during("05:00", "05:30", tz="Europe/Berlin")
    mask = [
        one.hour == 5 and one.minute < 30
        for one in (moment.astimezone(BERLIN) for moment in begins_of(windows))
    ]
    assert len(chosen) == sum(mask) == 15
    assert chosen.fingerprint == windows.filter(np.array(mask)).fingerprint
    assert len(chosen.shuffle(seed=0).shard(0, 2)) == 7
    with pytest.raises(InvalidWindowsError, match="shuffled windows cannot be filtered"):
        windows.shuffle().during("05:00", "06:00", tz="UTC")
    with pytest.raises(InvalidWindowsError, match="shuffled windows cannot be filtered"):
        windows.shuffle().sun((-6, 6), position=(0, 0))


def test_windows_that_move_are_chosen_with_a_warning() -> None:
    """Crops and windows with a jitter may begin at other times in later epochs."""
    catalog = windows_of(BEGINS[:2]).catalog
    times = {"id": [catalog[0].id], "at_s": [60.0]}
    for windows in (
        catalog.crops(None, 60.0),
        catalog.windows_at(times, None, 60.0, jitter_s=9.0),
    ):
        calls: list[Callable[[], Windows]] = [
            partial(windows.during, "00:00", "24:00", tz="UTC"),
            partial(windows.sun, (-90, 90.1), position=(0, 0)),
        ]
        for call in calls:
            with pytest.warns(HeadraceWarning, match="at other places in every epoch") as caught:
                assert len(call()) == len(windows)
            assert caught[0].filename == __file__
    assert len(catalog.windows_at(times, None, 60.0).during("00:00", "24:00", tz="UTC")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("5", "25:00", "UTC"), "end must be a time of day.*not '25:00'"),
        (("dawn", "06:00", "UTC"), "start must be a time of day"),
        (("05:00+02:00", "06:00", "UTC"), "give the zone as tz="),
        (("05:00", "06:00", "Berlin"), "tz='Berlin' is not a time zone"),
        (("05:00", "06:00", None), "tz must be a time zone"),
        (("06:00", "06:00", "UTC"), "no time is from 06:00 to 06:00"),
    ],
)
def test_wrong_hours_are_refused(arguments: tuple[str, str, Any], message: str) -> None:
    """The message has the argument and an example."""
    start, end, zone = arguments
    with pytest.raises(ValueError, match=message):
        windows_of(BEGINS[:1]).during("05:00" if start == "5" else start, end, tz=zone)


def test_windows_without_a_time_are_refused() -> None:
    """The message says how to leave them out, or how to get times."""
    with pytest.raises(
        InvalidWindowsError, match=r"have no recorded_at, such as r1: leave them out"
    ):
        windows_of([BEGINS[0], None]).during("05:00", "06:00", tz="UTC")
    assert len(windows_of([BEGINS[0], None])[:10].during("00:00", "24:00", tz="UTC")) == 10
    with pytest.raises(InvalidWindowsError, match="scan with metadata=True"):
        fake_catalog([10_000]).windows(None, 1.0).during("05:00", "06:00", tz="UTC")
    with pytest.raises(InvalidWindowsError, match="no column latitude"):
        windows_of(BEGINS[:1]).sun((-6, 6))
    with pytest.raises(InvalidWindowsError, match=r"have no latitude, such as r1"):
        windows_of(BEGINS[:2], latitude=[1.0, None], longitude=[1.0, 2.0]).sun((-6, 6))


@pytest.mark.parametrize("rising", [None, True, False])
def test_windows_by_the_sun_agree_with_another_formula(*, rising: bool | None) -> None:
    """At places from the equator to the polar night, up to the accuracy of the formulas."""
    places = [(0.0, 0.0), (-23.5, -46.6), (52.5, 13.4), (69.6, 18.9)]
    begins = [BEGINS[1] - timedelta(hours=3) + timedelta(hours=hour) for hour in range(0, 24, 3)]
    windows = windows_of(
        [begin for begin in begins for _ in places],
        latitude=[place[0] for _ in begins for place in places],
        longitude=[place[1] for _ in begins for place in places],
    )
    table = windows.table(["latitude", "longitude"])
    rows = list(
        zip(
            *(table[name].to_pylist() for name in ("start_at", "latitude", "longitude")),
            strict=True,
        )
    )
    heights = np.array([sun_elevation(*row) for row in rows])
    later = np.array([sun_elevation(row[0] + timedelta(minutes=1), *row[1:]) for row in rows])
    chosen = windows.sun((-6, 6), rising=rising)
    is_chosen = np.isin(table["index"].to_numpy(), _indices(windows, chosen))
    expected = (heights >= -6) & (heights < 6)
    turns = np.abs(later - heights) < 0.001
    if rising is not None:
        expected &= (later > heights) == rising
    near = (np.minimum(np.abs(heights - 6), np.abs(heights + 6)) < 0.03) | turns
    assert np.array_equal(is_chosen[~near], expected[~near])
    assert near.sum() < 10
    assert expected[~near].sum() > 20


def _indices(windows: Windows, chosen: Windows) -> list[int]:
    """Return the places of chosen windows, by recording and start."""
    keys = [windows.table()[name].to_pylist() for name in ("id", "start")]
    places = {key: place for place, key in enumerate(zip(*keys, strict=True))}
    of_chosen = [chosen.table()[name].to_pylist() for name in ("id", "start")]
    return [places[key] for key in zip(*of_chosen, strict=True)]


def test_one_position_may_be_given_for_all() -> None:
    """Recordings without positions are placed there; the first window after sunrise is found."""
    windows = windows_of([datetime(2024, 7, 1, 2, 15, tzinfo=UTC)])
    place = (52.52, 13.405)
    first = begins_of(windows.sun((-0.833, 90), position=place))[0]
    heights = [sun_elevation(first + timedelta(minutes=minute), *place) for minute in (-1, 0)]
    assert heights[0] - 0.01 < -0.833 < heights[1] + 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elevation": (6, -6)}, "lowest and the highest degrees"),
        ({"elevation": 6}, "lowest and the highest degrees"),
        ({"elevation": (-6, 6), "position": (95, 0)}, "latitude and longitude in degrees"),
        ({"elevation": (-6, 6), "position": (50,)}, "latitude and longitude in degrees"),
        ({"elevation": (-6, 6), "position": ("N", "E")}, "latitude and longitude in degrees"),
    ],
)
def test_wrong_heights_and_places_are_refused(options: dict[str, Any], message: str) -> None:
    """The message has an example."""
    with pytest.raises(InvalidWindowsError, match=message):
        windows_of(BEGINS[:1]).sun(**options)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without astral, the message says what to install."""
    monkeypatch.setitem(sys.modules, "astral", None)
    with pytest.raises(InvalidWindowsError, match=r"pip install 'headrace\[field\]'"):
        windows_of(BEGINS[:1]).sun((-6, 6), position=(0, 0))
