import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._formatting import (
    brief,
    brief_list,
    escape_controls,
    format_bytes,
    format_count,
    format_decibels,
    format_duration,
    format_hertz,
    format_time,
)
from headrace._validation import parse_bytes


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
def test_a_time_reads_as_on_a_clock(seconds: float, text: str) -> None:
    """Rounding carries over to the minute; hours are shown from one hour on."""
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (0.0001, "0.0001 s"), (60, "60.0 s"), (600, "10.0 min"), (36_000, "10.0 h")],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    """A duration above zero is never shown as zero."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(800, "800 Hz"), (22_050, "22.05 kHz"), (11_025 / 2, "5.5125 kHz"), (48_000, "48 kHz")],
)
def test_a_frequency_keeps_its_digits(rate: float, text: str) -> None:
    """22.05 kHz is not rounded to 22 kHz."""
    assert format_hertz(rate) == text


@pytest.mark.parametrize(
    ("level", "text"),
    [(-12.34, "\N{MINUS SIGN}12.3"), (-0.01, "0.0"), (0.5, "0.5"), (-math.inf, "\N{MINUS SIGN}∞")],
)
def test_a_level_has_a_real_minus_sign(level: float, text: str) -> None:
    """A level that rounds to zero has no sign at all."""
    assert format_decibels(level) == text


def test_a_count_of_one_is_singular() -> None:
    """It is 1 window, and 0 or 2 windows."""
    assert [format_count(n, "window") for n in (0, 1, 1_000)] == [
        "0 windows",
        "1 window",
        "1,000 windows",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_024, "1 KiB"),
        (1_536, "1.5 KiB"),
        (1_299_227_607, "1.21 GiB"),
        (64 << 20, "64 MiB"),
        (5 << 40, "5 TiB"),
        (5_000 << 40, "5000 TiB"),
    ],
)
def test_a_size_has_the_largest_unit_that_fits(count: int, text: str) -> None:
    """At most four digits are shown, in the largest unit of which there is at least one."""
    assert format_bytes(count) == text


@given(count=st.integers(1, 1 << 53))
def test_a_printed_size_can_be_parsed(count: int) -> None:
    """A size that headrace prints can be given as `memory`, exact to a thousandth."""
    assert abs(parse_bytes(format_bytes(count)) - count) <= count / 1_000


def test_control_characters_are_escaped() -> None:
    """What would move a terminal's cursor or turn its text is spelled out; all else stays."""
    assert escape_controls("a\x1b[2J\r\n\t\x9b\x7f\u202egpj.wav") == (
        "a\\x1b[2J\\r\\n\\t\\x9b\\x7f\\u202egpj.wav"
    )
    for name in ("plain.wav", "Tümpel, 3 Frösche.wav", "a\u200cb.wav", "🐸.wav", ""):
        assert escape_controls(name) == name
    assert escape_controls("\udcff.wav") == "\\udcff.wav"


@given(name=st.text())
def test_an_escaped_name_is_one_line_of_visible_text(name: str) -> None:
    """No character of any name acts on a terminal."""
    escaped = escape_controls(name)

    assert len(escaped.splitlines()) <= 1
    assert "\x1b" not in escaped
    escaped.encode()


ANYTHING = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(ANYTHING)
def test_a_value_is_shown_on_one_line(value: Any) -> None:
    """Whatever the value is, its text is one line of at most 120 characters."""
    text = brief(value)

    assert text.isprintable()
    assert len(text) <= 120


@pytest.mark.parametrize(
    "value",
    ["mix", 1.5, None, ["a", "b"], {"a": 0.5}, ("one", 2), b"x"],
    ids=repr,
)
def test_a_short_value_is_shown_whole(value: Any) -> None:
    """A value that fits on a line is shown as Python writes it."""
    assert brief(value) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10**6,
        list(range(10**6)),
        dict.fromkeys(range(10**4), "x" * 500),
        np.arange(10**6).reshape(1000, 1000),
        pd.DataFrame({"a": range(10**4), "b": "x" * 300}),
        pa.table({name: [1] for name in map(str, range(300))}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_large_value_is_cut_short(value: Any) -> None:
    """Texts, collections, arrays and tables of any size are shown on a line."""
    text = brief(value)

    assert text.isprintable()
    assert 20 < len(text) <= 120


def test_names_are_listed_while_they_fit() -> None:
    """A list of names says how many names did not fit."""
    assert brief_list(["id", "path"]) == "id, path"
    assert brief_list([]) == ""
    names = [f"column_{number}" for number in range(5_000)]
    text = brief_list(names)
    assert len(text) < 270
    shown = text.count("column_")
    assert text.startswith("column_0, column_1, ")
    assert text.endswith(f" and {5_000 - shown:,} more")
