from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._sizes import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("memory", "count"),
    [
        ("1 GiB", 1 << 30),
        ("1GiB", 1 << 30),
        ("  1.5 gib ", 3 << 29),
        ("500 MB", 500_000_000),
        ("500MB", 500_000_000),
        ("64 MiB", 64 << 20),
        (".5 KiB", 512),
        ("2 TiB", 2 << 40),
        ("3 kB", 3_000),
        ("12 b", 12),
        ("4096", 4_096),
        (4_096, 4_096),
        (1.9e3, 1_900),
        (np.int64(1 << 40), 1 << 40),
    ],
)
def test_memory_is_read_as_people_write_it(memory: Any, count: int) -> None:
    """Thousands and 1,024s, with and without a space, in any case; or a number of bytes."""
    assert parse_bytes(memory) == count
    assert type(parse_bytes(memory)) is int


@pytest.mark.parametrize(
    "memory",
    ["", " ", "GiB", "1 GiBi", "1 gigabyte", "-1 GiB", "1 2 GiB", "1,5 GiB", "1e9", "nan", "1.",
     "0", "0 MiB", "0.5", "9e99 GiB", "9" * 30, 0, -1, 0.5, nan, inf, -inf, 1 << 63, [1], b"1 GiB"],
)  # fmt: skip
def test_what_is_no_amount_of_memory_is_refused(memory: Any) -> None:
    """One sentence, which shows what was given and what may be."""
    with pytest.raises(
        ValueError, match='is not an amount of memory: write "1 GiB", "500 MB"'
    ) as e:
        parse_bytes(memory)
    assert repr(memory) in str(e.value)


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
def test_bytes_are_shown_to_a_few_digits(count: int, text: str) -> None:
    """In the largest unit of which there is one."""
    assert format_bytes(count) == text


@given(count=st.integers(1, 1 << 53))
def test_what_is_shown_can_be_given_back(count: int) -> None:
    """A printed amount is an amount of memory, right to a thousandth."""
    assert abs(parse_bytes(format_bytes(count)) - count) <= count / 1_000
