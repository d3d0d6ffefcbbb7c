import math

import pytest

from headrace._formatting import (
    format_count,
    format_decibels,
    format_duration,
    format_hertz,
    format_time,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (5.25, "0:05.25"),
        (59.9996, "1:00"),
        (125, "2:05"),
        (3_602.5, "1:00:02.5"),
        (86_400, "24:00:00"),
    ],
)
def test_a_place_in_a_recording_reads_as_on_a_clock(seconds: float, text: str) -> None:
    """Rounding carries over to the minute, and an hour is told when there is one."""
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (0.0001, "0.0001 s"), (60, "60.0 s"), (600, "10.0 min"), (36_000, "10.0 h")],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    """What is there is never told as nothing."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(800, "800 Hz"), (22_050, "22.05 kHz"), (11_025 / 2, "5.5125 kHz"), (48_000, "48 kHz")],
)
def test_a_frequency_keeps_its_digits(rate: float, text: str) -> None:
    """22.05 kHz is not 22 kHz."""
    assert format_hertz(rate) == text


@pytest.mark.parametrize(
    ("level", "text"),
    [(-12.34, "\N{MINUS SIGN}12.3"), (-0.01, "0.0"), (0.5, "0.5"), (-math.inf, "\N{MINUS SIGN}∞")],
)
def test_a_level_has_a_real_minus_sign(level: float, text: str) -> None:
    """And nothing is below zero by less than what is shown."""
    assert format_decibels(level) == text


def test_one_thing_is_not_plural() -> None:
    """One window, two windows."""
    assert [format_count(n, "window") for n in (0, 1, 1_000)] == [
        "0 windows",
        "1 window",
        "1,000 windows",
    ]
