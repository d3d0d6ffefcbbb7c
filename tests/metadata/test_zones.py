from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.metadata import parse_zone, utc_offsets
from headrace.metadata._zones import to_utc

BERLIN = ZoneInfo("Europe/Berlin")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("UTC", 0), ("Z", 0), ("+02:00", 2), ("-0330", -3.5), ("UTC+2", 2), ("utc-11", -11)],
)
def test_offsets_are_zones(text: str, hours: float) -> None:
    """An offset from UTC is a zone without summer time."""
    zone = parse_zone(text)
    assert zone is not None
    assert zone.utcoffset(datetime(2024, 7, 1)) == timedelta(hours=hours)


def test_zones_have_names() -> None:
    """Names of the IANA database and zones of Python's are taken; None is none."""
    assert parse_zone("Europe/Berlin") == BERLIN
    assert parse_zone(BERLIN) is BERLIN
    assert parse_zone(None) is None


@pytest.mark.parametrize("text", ["Europe/Berln", "+25:00", "+01:70", "", "../etc/passwd", "CEST2"])
def test_an_unknown_zone_is_refused(text: str) -> None:
    """The message names the argument and an example."""
    with pytest.raises(ValueError, match=r"tz='.*' is not a time zone: .* such as"):
        parse_zone(text)


def test_a_misspelt_zone_is_recognised() -> None:
    """The message has the name that was probably meant."""
    with pytest.raises(ValueError, match='"Europe/Berlin"'):
        parse_zone("Europe/Berln")
    with pytest.raises(TypeError, match="tz must be a time zone"):
        parse_zone(2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("local", "utc", "occurrence"),
    [
        (datetime(2024, 1, 15, 12), datetime(2024, 1, 15, 11), "once"),
        (datetime(2024, 7, 15, 12), datetime(2024, 7, 15, 10), "once"),
        # On 31 March 2024, 2:00 to 3:00 was left out: the clock was not set, 1 hour ahead of UTC.
        (datetime(2024, 3, 31, 2, 30), datetime(2024, 3, 31, 1, 30), "never"),
        (datetime(2024, 3, 31, 3, 0), datetime(2024, 3, 31, 1, 0), "once"),
        # On 27 October 2024, 2:00 to 3:00 occurred twice: the first one is in summer time.
        (datetime(2024, 10, 27, 2, 30), datetime(2024, 10, 27, 0, 30), "twice"),
        (datetime(2024, 10, 27, 3, 0), datetime(2024, 10, 27, 2, 0), "once"),
    ],
)
def test_local_times_around_a_change_of_clocks(
    local: datetime, utc: datetime, occurrence: str
) -> None:
    """An hour that occurs twice is the first one; one that is left out goes on as before."""
    assert to_utc(local, BERLIN) == (utc.replace(tzinfo=UTC), occurrence)


@given(
    st.lists(st.datetimes(datetime(1975, 1, 1), datetime(2037, 1, 1)), max_size=20),
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]),
)
def test_offsets_of_many_moments_are_those_of_each(times: list[datetime], name: str) -> None:
    """Also in zones whose offsets are not whole hours, and change by half an hour."""
    zone = ZoneInfo(name)
    moments = [(time.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1) for time in times]
    offsets = utc_offsets(np.array(moments, np.int64), zone)
    each = [time.replace(tzinfo=UTC).astimezone(zone).utcoffset() for time in times]
    assert [timedelta(microseconds=int(one)) for one in offsets] == each


def test_offsets_keep_the_shape() -> None:
    """Of a table of moments, a table of offsets comes back."""
    zone = timezone(timedelta(hours=2))
    assert utc_offsets(np.zeros((2, 3), np.int64), zone).tolist() == [[7_200_000_000] * 3] * 2
