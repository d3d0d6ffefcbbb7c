from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.catalog._catalog import Catalog, load_catalog
from headrace.errors import CatalogError, InvalidWindowsError
from tests.support.catalogs import fake_catalog


def _sites(counts: list[int]) -> Catalog:
    """Return a catalog with the given number of recordings at each site."""
    sites = [f"S{i}" for i, count in enumerate(counts) for _ in range(count)]
    return fake_catalog([100] * len(sites), site=sites)


# Split


@given(
    counts=st.lists(st.integers(1, 5), min_size=3, max_size=30),
    shares=st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5), (1.0,), (0.34, 0.33, 0.33)]),
    seed=st.integers(-3, 3),
)
@settings(deadline=None)
@pytest.mark.filterwarnings("ignore:.* less than half of it")  # sites differ in size
def test_a_split_keeps_groups_together_and_loses_none(
    counts: list[int], shares: tuple[float, ...], seed: int
) -> None:
    """Each recording and each site is in one part, and shares are rounded to whole sites."""
    catalog = _sites(counts)
    parts = catalog.split({f"p{i}": s for i, s in enumerate(shares)}, by="site", seed=seed)
    ids = [recording.id for part in parts.values() for recording in part]
    sites = [set(part.column("site")) for part in parts.values()]

    assert list(parts) == [f"p{i}" for i in range(len(shares))]
    assert sorted(ids) == sorted(recording.id for recording in catalog)
    assert sum(map(len, sites)) == len(counts)
    for share, part in zip(shares, sites, strict=True):
        exact = share * len(counts)
        assert len(part) >= 1
        assert abs(len(part) - exact) < 1 or exact < 1 or len(counts) < 12


def test_a_split_is_the_same_every_time_and_another_by_another_seed() -> None:
    """It depends on a hash of seed and value, on any machine, and keeps the catalog's order."""
    catalog = _sites([1] * 40)
    one, again, other = (
        [r.id for r in catalog.split({"a": 0.5, "b": 0.5}, seed=seed)["a"]] for seed in (0, 0, 1)
    )

    assert one == again != other
    assert len(one) == 20
    assert [r.id for r in catalog if r.id in set(one)] == one


def test_new_recordings_of_known_groups_move_nothing() -> None:
    """A site stays in its part when it grows; a new site moves at most one site at each border."""
    parts = {"train": 0.8, "val": 0.1, "test": 0.1}

    def home(counts: list[int]) -> dict[str, str]:
        split = _sites(counts).split(parts, by="site")
        return {site: name for name, part in split.items() for site in part.column("site")}

    before = home([1] * 50)
    assert home([3] * 25 + [1] * 25) == before
    after = home([1] * 51)
    assert sum(after[site] != part for site, part in before.items()) <= 2


def test_groups_may_be_of_any_type() -> None:
    """A column of numbers or booleans can be split by, as one of names."""
    catalog = fake_catalog([100] * 6, year=[1, 1, 2, 2, 3, 3], night=[True, False] * 3)

    for column in ("year", "night", "recording"):
        parts = catalog.split({"a": 0.5, "b": 0.5}, by=column)
        assert sum(map(len, parts.values())) == 6
        if column != "recording":
            assert not set(parts["a"].column(column)) & set(parts["b"].column(column))


def test_a_category_that_no_recording_has_is_no_group() -> None:
    """Values that stay in a dictionary after their rows were filtered out do not count."""
    site = pa.array(["A", "B", "C", "C"]).dictionary_encode()
    rest = fake_catalog([100] * 4, site=site).filter([False, False, True, True])

    with pytest.raises(CatalogError, match="1 value of 'site' cannot be split into 2 parts"):
        rest.split({"a": 0.5, "b": 0.5}, by="site")


@pytest.mark.parametrize(
    "sites",
    [
        pa.array(["A", "B", "C", "D", "E", "F"] * 2).dictionary_encode(),
        pa.chunked_array([["A", "B", "C"] * 2, ["D", "E", "F"] * 2]).dictionary_encode(),
        pa.Array.from_pandas(pd.Categorical(list("ABCDEF") * 2, categories=list("ZFEDCBAY"))),
    ],
)
def test_categories_that_no_recording_has_are_no_groups(sites: Any, tmp_path: Path) -> None:
    """A categorical column from a split, a filter or pandas is split by the values in its rows."""
    catalog = fake_catalog([100] * 12, site=sites)
    named = fake_catalog([100] * 12, site=sites.cast("string"))

    for half in catalog.split({"a": 0.5, "b": 0.5}, by="site").values():
        half.save(tmp_path / "half.parquet")
        for again in (half, load_catalog(tmp_path / "half.parquet")):
            thirds = again.split({"x": 1 / 3, "y": 1 / 3, "z": 1 / 3}, by="site")
            assert [len(set(part.column("site"))) for part in thirds.values()] == [1, 1, 1]
            assert sum(map(len, thirds.values())) == len(half) == 6
            with pytest.raises(CatalogError, match="3 values of 'site' cannot be split into 4"):
                again.split(dict.fromkeys("abcd", 0.25), by="site")
    one, other = (
        [[r.id for r in part] for part in each.split({"a": 0.4, "b": 0.6}, by="site").values()]
        for each in (catalog, named)
    )
    assert one == other


@pytest.mark.parametrize(
    ("parts", "by", "sentence"),
    [
        (
            {"a": 0.5},
            "recording",
            "positive numbers that sum to 1, not .*'a': 0.5.* to leave recordings",
        ),
        ({"a": 1.5, "b": -0.5}, "recording", "positive numbers that sum to 1"),
        ({"a": "x"}, "recording", "positive numbers that sum to 1"),
        ({}, "recording", "positive numbers that sum to 1"),
        ({"a": 1}, "sites", "There is no column 'sites': there are id, "),
        ({"a": 1}, "gap", "The column 'gap' has no value for r1: fill it, or filter"),
        ({"a": 0.5, "b": 0.5}, "site", "1 value of 'site' cannot be split into 2 parts"),
    ],
)
def test_what_cannot_be_split_is_one_sentence(parts: Any, by: str, sentence: str) -> None:
    """The error is one sentence that says what is wrong and what to do."""
    catalog = fake_catalog([100] * 3, site=["A"] * 3, gap=["x", None, "y"])
    with pytest.raises(CatalogError, match=sentence):
        catalog.split(parts, by=by)


def test_a_column_named_recording_is_ambiguous() -> None:
    """by="recording" is ambiguous if a column has that name: the error gives both ways out."""
    parts = {"a": 0.5, "b": 0.5}
    catalog = fake_catalog([100] * 4, recording=["x", "x", "y", "y"])

    with pytest.raises(CatalogError, match=r'use by="id" .*, or rename the column'):
        catalog.split(parts)
    one, other = (
        [[r.id for r in part] for part in each.split(parts, by=by).values()]
        for each, by in ((catalog, "id"), (fake_catalog([100] * 4), "recording"))
    )
    assert one == other


@pytest.mark.parametrize("seed", [1.0, "1", True, None])
def test_the_seed_of_a_split_is_a_whole_number(seed: Any) -> None:
    """A seed that is not an integer is an error; NumPy's integers are accepted."""
    catalog, parts = fake_catalog([100] * 4), {"a": 0.5, "b": 0.5}
    seeds: list[Any] = [1, np.int64(1)]
    with pytest.raises(InvalidWindowsError, match="seed must be a whole number, not"):
        catalog.split(parts, seed=seed)
    one, other = (catalog.split(parts, seed=given)["a"] for given in seeds)
    assert [r.id for r in one] == [r.id for r in other]


# Windows at given times


TIMES: dict[str, Any] = {"id": ["r1", "r0", "r1", "r0"], "at_s": [0.15, 0.0, 0.29, 0.4]}


@pytest.mark.parametrize("of", [dict, pa.table, pd.DataFrame])
def test_windows_are_around_the_times(of: Any) -> None:
    """There is a window for each row, in the table's order, moved if it would pass an end."""
    catalog = fake_catalog([400, 300])
    windows = catalog.windows_at(of(TIMES), 1_000, 0.1)

    assert len(windows) == 4
    assert windows.table().to_pydict() == {
        "index": [0, 1, 2, 3],
        "id": ["r1", "r0", "r1", "r0"],
        "start": [100, 0, 200, 300],
        "end": [200, 100, 300, 400],
    }


def test_an_event_is_in_the_middle_of_its_window() -> None:
    """start_s and end_s are accepted instead of at_s, and other columns are ignored."""
    events = {"id": ["r0", "r0"], "start_s": [0.1, 0.2], "end_s": [0.2, 0.2], "label": ["a", "b"]}

    windows = fake_catalog([400]).windows_at(events, 1_000, 0.1)

    assert windows.table()["start"].to_pylist() == [100, 150]


def test_a_recording_shorter_than_a_window_is_filled_up_behind() -> None:
    """The window starts with the recording, and zeros follow it."""
    windows = fake_catalog([60]).windows_at({"id": ["r0"], "at_s": [0.05]}, 1_000, 0.1)
    rows = windows.rows(np.arange(1))

    assert (rows.start.tolist(), rows.valid.tolist()) == ([0], [60])


@given(jitter=st.integers(1, 300), seed=st.integers(-3, 3), epoch=st.integers(0, 2**40))
@settings(deadline=None, max_examples=50)
def test_jitter_moves_windows_within_their_recording(jitter: int, seed: int, epoch: int) -> None:
    """Windows move by at most `jitter` to either side and stay in their recording."""
    catalog = fake_catalog([1_000, 5_000])
    times = {"id": ["r0", "r1"] * 200, "at_s": [0.5, 2.5] * 200}
    windows = catalog.windows_at(times, 1_000, 0.1, jitter_s=jitter / 1_000, seed=seed)
    rows = windows.rows(np.arange(400), epoch)
    start, middle = rows.start, np.tile([450, 2450], 200)

    assert np.abs(start - middle).max() <= jitter
    assert (rows.valid == 100).all()
    assert start.min() >= 0
    some = windows.rows(np.array([7, 3]), epoch)
    np.testing.assert_array_equal(some.start, start[[7, 3]])


def test_jitter_is_even_and_new_in_every_epoch() -> None:
    """All offsets are equally likely, and epochs, seeds and windows are independent."""
    times = {"id": ["r0"] * 20_000, "at_s": [5.0] * 20_000}
    catalog = fake_catalog([10_000])

    def moved(epoch: int, seed: int = 0) -> Any:
        windows = catalog.windows_at(times, 1_000, 0.1, jitter_s=0.005, seed=seed)
        return windows.rows(np.arange(20_000), epoch).start - 4_950

    first, later, other = moved(0), moved(1), moved(0, seed=1)
    counts = np.bincount(first + 5)

    assert len(counts) == 11
    assert np.sum((counts - 20_000 / 11) ** 2 / (20_000 / 11)) < 10 + 5 * np.sqrt(20)
    for a, b in ((first, later), (first, other), (first[:-1], first[1:])):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / 20_000**0.5


def test_times_decide_the_fingerprint() -> None:
    """Other times, another order of rows, another jitter or its seed change the fingerprint."""
    catalog = fake_catalog([400, 300])
    turned = {name: values[::-1] for name, values in TIMES.items()}
    others = [
        catalog.windows_at(TIMES, 1_000, 0.1),
        catalog.windows_at(turned, 1_000, 0.1),
        catalog.windows_at(TIMES, 1_000, 0.1, jitter_s=0.01),
        catalog.windows_at(TIMES, 1_000, 0.1, jitter_s=0.01, seed=1),
        catalog.windows_at(TIMES | {"at_s": [0.15, 0.0, 0.29, 0.3]}, 1_000, 0.1),
        catalog.windows_at(TIMES, 1_000, 0.05),
    ]

    assert len({one.fingerprint for one in others}) == len(others)
    assert others[0].fingerprint == catalog.windows_at(TIMES, 1_000, 0.1, seed=9).fingerprint
    assert "4 of 0.1 s at given times with a jitter of up to 0.01 s at 1000 Hz" in repr(others[2])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"id": None}, "The table of times has no column id: it needs id, and at_s or both"),
        ({"at_s": None}, "has no column start_s, end_s"),
        (
            {"id": ["r0", "x", "y", "r0"]},
            "Row 1 .* no recording 'x' in the catalog, nor for 1 more",
        ),
        (
            {"at_s": [0.1, 0.1, 0.1, 0.5]},
            r"Row 3 .* 0\.5 s is not in 'r0', which has 0\.400 s; 0 more rows",
        ),
        ({"at_s": [0.1, -0.1, 0.1, 0.1]}, r"Row 1 .* -0\.1 s is not in 'r0'"),
        ({"at_s": [0.1, None, 0.1, 0.1]}, "Row 1 .* nan s is not in 'r0'"),
        ({"at_s": ["a", "b", "c", "d"]}, "The column at_s is not a number of seconds: string"),
    ],
)
def test_an_invalid_table_of_times_is_one_sentence(changed: dict[str, Any], sentence: str) -> None:
    """The error is one sentence that names the row and what it holds."""
    table = {name: values for name, values in (TIMES | changed).items() if values is not None}
    with pytest.raises(CatalogError, match=sentence):
        fake_catalog([400, 300]).windows_at(table, 1_000, 0.1)


@pytest.mark.parametrize("jitter_s", [-0.1, float("nan"), 1e9])
def test_an_invalid_jitter_is_refused(jitter_s: float) -> None:
    """A jitter that is negative, too large or not a number is an error."""
    with pytest.raises(InvalidWindowsError, match="jitter_s must be 0 or more seconds"):
        fake_catalog([400, 300]).windows_at(TIMES, 1_000, 0.1, jitter_s=jitter_s)


def test_each_row_may_have_a_jitter_of_its_own() -> None:
    """A number, a column and an array of the same jitter give the same windows in every epoch."""
    catalog = fake_catalog([4_000])
    count = 200
    times = {"id": ["r0"] * count, "at_s": [2.0] * count}
    each = [0.0 if row % 2 else 0.005 * (row % 8) for row in range(count)]
    alone = catalog.windows_at({**times, "spread": each}, 1_000, 0.1, jitter_s="spread")
    array = catalog.windows_at(times, 1_000, 0.1, jitter_s=each)
    index = np.arange(count, dtype=np.int64)

    assert alone.fingerprint == array.fingerprint
    largest = np.zeros(count)
    for epoch in range(30):
        moved = alone.rows(index, epoch).start - (2_000 - 50)
        np.testing.assert_array_equal(moved, array.rows(index, epoch).start - (2_000 - 50))
        assert (np.abs(moved) <= np.rint(np.array(each) * 1_000)).all()
        largest = np.maximum(largest, np.abs(moved))
    for width in (10, 20, 30):  # samples: windows of the same jitter reach its end
        assert largest[np.rint(np.array(each) * 1_000) == width].max() == width
    same = [catalog.windows_at(times, 1_000, 0.1, jitter_s=j) for j in (0.02, [0.02] * count)]
    assert same[0].fingerprint == same[1].fingerprint != alone.fingerprint
    np.testing.assert_array_equal(same[0].rows(index, 3).start, same[1].rows(index, 3).start)


@pytest.mark.parametrize(
    ("jitter_s", "message"),
    [
        ([0.1, 0.2, 0.3], r"the shape \(3,\) for 4 rows: give one number, one for each row"),
        ([0.1, 0.2, -0.3, 0.1], r"less than 2\^31 samples, not -0.3 in row 2"),
        ("spread", "no column 'spread' for jitter_s: it has id, at_s"),
        ("id", "The column id is not a number of seconds"),
    ],
)
def test_an_invalid_jitter_of_rows_is_refused(jitter_s: Any, message: str) -> None:
    """Another number of rows, a negative number and a missing column are errors."""
    with pytest.raises((InvalidWindowsError, CatalogError), match=message):
        fake_catalog([400, 300]).windows_at(TIMES, 1_000, 0.1, jitter_s=jitter_s)
