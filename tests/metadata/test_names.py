from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.metadata import NamePattern, facts_in_name

WHEN = datetime(2019, 5, 22, 22, 30, 5)


def ahead(hours: float) -> timezone:
    """Return the zone that is this many hours ahead of UTC."""
    return timezone(timedelta(hours=hours))


@pytest.mark.parametrize(
    ("name", "time", "device"),
    [
        ("S4A03895_20190522_223005.wav", WHEN, "SM4 S4A03895"),
        ("ARIZONA-1_0_20190522_223005.wav", WHEN, None),
        ("ARIZONA-1_20190522$223005.wac", WHEN, None),
        ("INCT41_20190522_223005.wav", WHEN, None),  # AnuraSet
        ("20190522_223005.WAV", WHEN, None),
        ("20190522_223005T.WAV", WHEN, None),  # an AudioMoth that was triggered
        ("242A2604603691DD_20190522_223005.WAV", WHEN, "AudioMoth 242A2604603691DD"),
        ("5CE5CF3D.WAV", datetime(2019, 5, 22, 22, 37, 49, tzinfo=UTC), "AudioMoth"),
        ("SWIFT3_20190522_223005Z.wav", WHEN.replace(tzinfo=UTC), None),
        ("S1_20190522_223005-0430_x.flac", WHEN.replace(tzinfo=ahead(-4.5)), None),
        ("20190522T223005+1000_creek_12.flac", WHEN.replace(tzinfo=ahead(10)), None),
        ("2019-05-22_22-30-05.wav", WHEN, None),
        ("rec 2019-05-22 22.30.wav", WHEN.replace(second=0), None),
        ("SOCAL34N_sitN_190522_223005.x.wav", WHEN.replace(tzinfo=UTC), None),
        ("Hawaii_K_01_190522_223005.d20.x.wav", WHEN.replace(tzinfo=UTC), None),
        ("5678.190522223005.wav", WHEN, "SoundTrap 5678"),
        ("1677738025.190522223005.d24.d8.wav", WHEN, "SoundTrap 1677738025"),
        ("a_20190522_223005_120_180.wav", WHEN, None),  # a piece that was cut out
        ("20190522_223005-233005.wav", WHEN, None),  # from and to: no zone
        # No times:
        ("20190101.wav", None, None),  # hexadecimal, this would be in 1987
        ("DEADBEEF.wav", None, None),
        ("12345678.wav", None, None),
        ("XC123456.mp3", None, None),
        ("a_20191322_223005.wav", None, None),
        ("a_20190522_246005.wav", None, None),
        ("190522_223005.wav", None, None),  # could be anything
        ("20190522.223005/a.wav", None, None),
        ("", None, None),
    ],
)
def test_names_of_the_usual_recorders_have_times(
    name: str, time: datetime | None, device: str | None
) -> None:
    """Each form is read with the zone that it names, and nothing else is taken for a time."""
    facts = facts_in_name(f"site/{name}")
    assert (facts.time if facts else None) == time
    assert (facts.device if facts else None) == device
    if facts and facts.time and time:
        assert facts.time.utcoffset() == time.utcoffset()


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (r"(?P<date>\d{8})-(?P<time>\d{6})", "x/20190522-223005.wav"),
        (r"^(?P<date>\d{4}-\d\d-\d\d)/(?P<time>\d\d-\d\d-\d\d)", "2019-05-22/22-30-05.wav"),
        (r"(?P<date>\d{6})(?P<time>\d{6})", "a190522223005.wav"),
        (
            (
                r"(?P<day>\d\d)\.(?P<month>\d\d)\.(?P<year>\d\d) "
                r"(?P<hour>\d\d)h(?P<minute>\d\d)m(?P<second>\d\d)"
            ),
            "22.05.19 22h30m05.wav",
        ),
    ],
)
def test_a_regular_expression_finds_other_times(pattern: str, name: str) -> None:
    """Dates and times in groups, in whatever order, also in folders."""
    facts = NamePattern(pattern).facts(name)
    assert facts is not None
    assert facts.time == WHEN


def test_a_regular_expression_may_name_the_zone() -> None:
    """A group ``zone`` is an offset; without a match of it, there is no zone."""
    pattern = NamePattern(r"(?P<date>\d{8})_(?P<time>\d{4})(?P<zone>[+-]\d{4}|Z)?")
    facts = pattern.facts("20190522_2230+0530")
    assert facts is not None
    assert facts.time == datetime(2019, 5, 22, 22, 30, tzinfo=ahead(5.5))
    facts = pattern.facts("20190522_2230")
    assert facts is not None
    assert facts.time == datetime(2019, 5, 22, 22, 30)
    assert pattern.facts("20191322_2230") is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "is not a regular expression"),
        (r"(\d{8})_(\d{6})", r"has the named groups \[\]: it needs date and time"),
        (r"(?P<date>\d{8})", "it needs date and time"),
        (r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)", "hour and minute"),
        (r"(?P<date>\d{8})(?P<time>\d{6})(?P<site>.*)", "second and zone are optional"),
    ],
)
def test_a_wrong_regular_expression_is_refused(pattern: str, message: str) -> None:
    """The message says what groups it needs."""
    with pytest.raises(ValueError, match=message):
        NamePattern(pattern)


@given(st.text(max_size=40))
def test_no_name_is_an_error(name: str) -> None:
    """Any text is a name, with or without a time."""
    facts = facts_in_name(name)
    assert facts is None or facts.time is not None


@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)))
def test_every_time_in_a_name_is_read(time: datetime) -> None:
    """What strftime writes comes back."""
    time = time.replace(microsecond=0)
    for form in ("X_%Y%m%d_%H%M%S.wav", "%Y-%m-%dT%H-%M-%S.flac", "777.%y%m%d%H%M%S.wav"):
        facts = facts_in_name(time.strftime(form))
        assert facts is not None
        assert facts.time == time
