import warnings
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.annotations import Annotations
from headrace.catalog._catalog import Catalog
from headrace.errors import CatalogError, HeadraceWarning
from tests.support.catalogs import fake_catalog

SITES = ["OSE", "OSE", "INC", "INC", "PLA", "JAC"]


def _sited() -> Catalog:
    return fake_catalog([3_600_000] * 6, site=SITES)


def _ids(split: Any) -> dict[str, list[str]]:
    return {name: part.ids.to_pylist() for name, part in split.items()}


# Named values


def test_parts_have_the_values_that_name_them() -> None:
    """A part with a list has those values; "rest", or the parts with shares, have the others."""
    catalog = _sited()

    assert _ids(catalog.split({"test": ["OSE"]}, by="site")) == {
        "test": ["r0", "r1"],
        "rest": ["r2", "r3", "r4", "r5"],
    }
    assert _ids(catalog.split({"a": ("JAC", "OSE"), "b": {"INC", "PLA"}}, by="site")) == {
        "a": ["r0", "r1", "r5"],
        "b": ["r2", "r3", "r4"],
    }
    assert _ids(catalog.split({"test": np.array(["INC"]), "train": 1.0}, by="site")) == {
        "test": ["r2", "r3"],
        "train": ["r0", "r1", "r4", "r5"],
    }
    split = catalog.split({"train": 0.5, "test": ["OSE"], "val": 0.5}, by="site", seed=1)
    again = catalog.filter(catalog.column("site") != "OSE").split(
        {"train": 0.5, "val": 0.5}, by="site", seed=1
    )
    assert list(split) == ["train", "test", "val"]
    assert {name: part for name, part in _ids(split).items() if name != "test"} == _ids(again)


def test_values_of_any_type_name_parts() -> None:
    """Numbers, NumPy's numbers, bools and ids name recordings."""
    catalog = fake_catalog([100] * 3, year=[2020, 2021, 2022], night=[True, False, False])

    assert _ids(catalog.split({"new": [np.int64(2022)]}, by="year"))["new"] == ["r2"]
    assert _ids(catalog.split({"night": [True]}, by="night"))["rest"] == ["r1", "r2"]
    assert _ids(catalog.split({"one": ["r1"]}))["one"] == ["r1"]
    for values in (pd.Series([2022]), pa.array([2022]), iter([2022]), {2022: "x"}.keys()):
        assert _ids(catalog.split({"new": values}, by="year"))["new"] == ["r2"]


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"t": ["OES"]}, "No recording has site='OES', which the part 't' names: there are 'OSE'"),
        ({"t": ["OSE"], "u": ["INC", "OSE"]}, "site='OSE' is named twice, and can be in one part"),
        ({"t": [["OSE"]]}, r"No recording has site=\['OSE'\], which the part 't' names"),
        ({"t": []}, "The part 't' names no value: name some, or leave it out"),
        ({"t": "OSE"}, "sum to 1, not .* Values of the column stand in a list"),
        ({"t": ["OSE"], "u": 0.5}, "The shares must be positive numbers that sum to 1, not"),
        ({"rest": ["OSE"]}, "the part \"rest\" would also get the 3 values of 'site' that are not"),
        (
            {"t": ["OSE", "INC", "PLA"], "u": 0.5, "v": 0.5},
            "1 value of 'site' that is not named cannot be split into 2 parts",
        ),
        (["train", "test"], "a list of names is only for a split by time, with before="),
    ],
)
def test_wrong_names_are_one_sentence(parts: Any, sentence: str) -> None:
    """The error says what exists and what to write."""
    with pytest.raises(CatalogError, match=sentence):
        _sited().split(parts, by="site")


# Times


def test_parts_are_before_and_after_a_time() -> None:
    """The first part is before the limit, and the next has the rest, the limit included."""
    days = [datetime(2024, 5, day, tzinfo=UTC) for day in (1, 9, 3, 5, 7)]
    catalog = fake_catalog([100] * 5, recorded_at=pa.array(days), year=[1, 2, 3, 4, 5])
    names = ["train", "val", "test"]

    for limit in ("2024-05-05T02:00+02:00", days[3], days[3].astimezone()):
        split = catalog.split(["train", "test"], by="recorded_at", before=limit)
        assert _ids(split) == {"train": ["r0", "r2"], "test": ["r1", "r3", "r4"]}
    split = catalog.split(names, by="recorded_at", before=[days[2], "2024-05-08T00:00Z"])
    assert _ids(split) == {"train": ["r0"], "val": ["r2", "r3", "r4"], "test": ["r1"]}
    assert _ids(catalog.split(("a", "b"), by="year", before=3))["a"] == ["r0", "r1"]


def test_times_without_a_zone_and_dates_are_compared() -> None:
    """Naive timestamps, dates, and texts are compared with limits of their kind."""
    naive = [datetime(2024, 5, day) for day in (1, 2, 3)]  # noqa: DTZ001  what is tested
    catalog = fake_catalog(
        [100] * 3, at=pa.array(naive), day=[one.date() for one in naive], text=["a", "b", "c"]
    )
    for by, limit in (
        ("at", "2024-05-02"),
        ("at", date(2024, 5, 2)),
        ("at", naive[1]),
        ("day", date(2024, 5, 2)),
        ("text", "b"),
    ):
        assert _ids(catalog.split(["a", "b"], by=by, before=limit))["a"] == ["r0"]


@pytest.mark.parametrize(
    ("parts", "by", "before", "sentence"),
    [
        (["a", "b"], "utc", "2024-05-02", "'utc' have a time zone, and .* without one: give one"),
        (["a", "b"], "at", "2024-05-02T00:00Z", "'at' have no time zone, and .* with one: give a"),
        (["a", "b"], "at", "May", "before='May' is not a time: give one as 2024-05-01T00:00Z"),
        (["a", "b"], "at", 5.5, "before=5.5 cannot be compared with 'at', which holds times"),
        (["a", "b"], "year", "x", "before='x' cannot be compared with 'year', which is int64"),
        (["a", "b"], "year", 9, "The part 'b' would be empty: 'year' is from 1 to 3"),
        (["a", "b", "c"], "year", [3, 2], r"limits of before= must rise, unlike \[3, 2\]"),
        (["a", "b"], "recording", "2024-05-02", 'needs the column .*: give by=, such as by="rec'),
        (["a"], "year", 2, "a list of names of parts, one more than its 1 limit"),
        ({"a": 0.5, "b": 0.5}, "year", 2, "a list of names of parts, one more than"),
        (None, "year", 2, "a list of names of parts, one more than its 1 limit, not None"),
        (["a", "a"], "year", 2, "The parts need different names"),
    ],
)
def test_wrong_limits_are_one_sentence(parts: Any, by: str, before: Any, sentence: str) -> None:
    """The error says what the column holds and what to write."""
    naive = [datetime(2024, 5, day) for day in (1, 2, 3)]  # noqa: DTZ001  what is tested
    utc = pa.array(naive).cast(pa.timestamp("us", "UTC"))
    catalog = fake_catalog([100] * 3, at=pa.array(naive), utc=utc, year=[1, 2, 3])
    with pytest.raises(CatalogError, match=sentence):
        catalog.split(parts, by=by, before=before)


# Balance


@given(
    hours=st.lists(st.integers(1, 50), min_size=40, max_size=60),
    seed=st.integers(0, 5),
    shares=st.sampled_from([(0.8, 0.2), (0.7, 0.15, 0.15), (0.5, 0.5)]),
)
@settings(deadline=None, max_examples=50)
def test_parts_have_their_share_of_the_audio(
    hours: list[int], seed: int, shares: tuple[float, ...]
) -> None:
    """With balance="duration", the audio of each part differs from its share by half a group."""
    sites = [f"S{i}" for i in range(len(hours))]
    catalog = fake_catalog([3_600_000 * one for one in hours], site=sites)
    parts = {f"p{i}": share for i, share in enumerate(shares)}
    split = catalog.split(parts, by="site", balance="duration", seed=seed)
    total = sum(hours)

    assert sum(map(len, split.values())) == len(catalog)
    for name, share in parts.items():
        assert abs(split[name].duration_s / 3600 - share * total) <= max(hours) / 2


def test_groups_stay_together_and_no_part_is_empty() -> None:
    """One large group takes its part; every other part still has a group."""
    catalog = fake_catalog([10**6] * 8 + [100] * 2, site=["A"] * 8 + ["B", "C"])
    with pytest.warns(HeadraceWarning, match="less than half of it: its groups cannot be divided"):
        split = catalog.split({"x": 0.4, "y": 0.3, "z": 0.3}, by="site", balance="duration", seed=2)

    assert sorted(len(part) for part in split.values()) == [1, 1, 8]


def test_a_part_with_less_than_half_of_its_share_is_reported() -> None:
    """Shares of groups that differ in length: the warning has the hours and what to write."""
    catalog = fake_catalog([3_600_000] * 9 + [3_600], [1_000] * 10)
    seed = next(
        seed for seed in range(100) if "r9" in _ids_quietly(catalog, {"a": 0.9, "b": 0.1}, seed)
    )
    with pytest.warns(
        HeadraceWarning,
        match=r"'b' has 0.001 h \(0.0%\) for a share of 10.0%, .* give balance=\"duration\"",
    ) as caught:
        catalog.split({"a": 0.9, "b": 0.1}, seed=seed)
    assert caught[0].filename == __file__


def _ids_quietly(catalog: Catalog, parts: dict[str, float], seed: int) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadraceWarning)
        ids: list[str] = catalog.split(parts, seed=seed)["b"].ids.to_pylist()
    return ids


@pytest.mark.parametrize("balance", ["groups", "duration"])
def test_parts_have_their_share_of_each_label(balance: Any) -> None:
    """With stratify, rare labels too are in each part by its share, as far as groups allow.

    200 sites of 1 to 5 recordings; labels from 20 % down to 2 % of the recordings. Without
    stratify, some part lacks the rarest label in most seeds.
    """
    rng = np.random.default_rng(0)
    sites = [f"S{i}" for i in range(200) for _ in range(rng.integers(1, 6))]
    share_of = np.array([0.2, 0.1, 0.05, 0.02])
    labels = [
        [name for name, share in zip("abcd", share_of, strict=True) if rng.random() < share]
        for _ in sites
    ]
    frames = rng.integers(10_000, 100_000, len(sites)).tolist()
    catalog = fake_catalog(frames, site=sites, labels=pa.array(labels, pa.list_(pa.string())))
    parts = {"train": 0.7, "val": 0.15, "test": 0.15}
    total = sum(map(len, labels))
    for seed in range(3):
        split = catalog.split(parts, by="site", balance=balance, stratify="labels", seed=seed)
        table = split.table()
        for name in "abcd":
            counts = table[f"label {name}"].to_numpy()
            exact = counts.sum() * np.array([0.7, 0.15, 0.15])
            assert np.abs(counts - exact).max() <= max(1.5, 0.06 * counts.sum())
        assert sum(table[f"label {name}"].to_numpy().sum() for name in "abcd") == total
        hours = table["hours"].to_numpy() / (sum(frames) / 3.6e6)
        assert np.abs(hours - [0.7, 0.15, 0.15]).max() < (0.02 if balance == "duration" else 0.06)


def test_labels_may_be_a_column_or_a_table() -> None:
    """A text for each recording, lists, and a table of events give the same parts."""
    names = ["a", "b", None, "a", "b", "a", "a", "b"]
    lists = [[one] if one else [] for one in names]
    catalog = fake_catalog([1_000] * 8, label=names, lists=lists)
    rows = [(f"r{i}", one) for i, one in enumerate(names) if one]
    events = pa.table({"file": [row for row, _ in rows], "label": [one for _, one in rows]})
    parts = {"x": 0.5, "y": 0.5}
    annotations = Annotations.from_table(events).match(
        catalog.filter([n is not None for n in names])
    )
    splits = [catalog.split(parts, stratify=one) for one in ("label", "lists", events, annotations)]

    assert _ids(splits[0]) == _ids(splits[1]) == _ids(splits[2]) == _ids(splits[3])
    assert splits[2].table()["label a"].to_pylist() == [2, 2]
    assert sorted(splits[2].table()["label b"].to_pylist()) == [1, 2]


@pytest.mark.parametrize(
    ("stratify", "sentence"),
    [
        ("labels", "There is no column 'labels': there are id, "),
        (pa.table({"id": ["r0"]}), "stratify= has no column label: it needs id"),
        (pa.table({"file": ["x"], "label": ["a"]}), "no file that is an id of the catalog: match"),
        (5, "Give an Arrow table or a pandas DataFrame, not int"),
    ],
)
def test_labels_that_cannot_be_used_are_one_sentence(stratify: Any, sentence: str) -> None:
    """The error names what is missing."""
    with pytest.raises(CatalogError, match=sentence):
        _sited().split({"a": 0.5, "b": 0.5}, stratify=stratify)


def test_labels_are_counted_where_no_part_has_a_share() -> None:
    """Named parts and parts by time have label counts, too; a balance of theirs is an error."""
    catalog = fake_catalog([100] * 4, year=[1, 2, 3, 4], label=["x", "x", "y", None])
    by_time = catalog.split(["old", "new"], by="year", before=3, stratify="label")
    named = catalog.split({"old": [1, 2]}, by="year", stratify="label")

    for split in (by_time, named):
        assert split.table()["label x"].to_pylist() == [2, 0]
        assert split.table()["label y"].to_pylist() == [0, 1]
    with pytest.raises(CatalogError, match="balance='duration' is about shares, and before= has"):
        catalog.split(["old", "new"], by="year", before=3, balance="duration")
    with pytest.raises(CatalogError, match='balance="duration" is about the parts that have a sh'):
        catalog.split({"old": [1, 2]}, by="year", balance="duration")


def test_an_unknown_balance_is_one_sentence() -> None:
    """The error lists the choices."""
    with pytest.raises(ValueError, match="balance must be one of groups, duration, not 'hours'"):
        _sited().split({"a": 1}, balance="hours")  # type: ignore[arg-type]


# What is printed


def test_a_split_prints_the_hours_and_labels_of_its_parts() -> None:
    """What is printed is a table of the parts, and `table()` has its numbers."""
    catalog = _sited().with_columns(label=["x", "y", "x", None, "x", "y"])
    split = catalog.split({"train": 0.5, "test": 0.5}, by="site", stratify="label", seed=1)
    lines = repr(split).splitlines()
    table = split.table()

    assert lines[0].split() == ["part", "share", "recordings", "groups", "hours", "x", "y"]
    assert [line.split()[0] for line in lines[1:]] == ["train", "test"]
    for line, row in zip(lines[1:], table.to_pylist(), strict=True):
        part = split[row["part"]]
        counts = [(part.column("label") == name).sum() for name in "xy"]
        assert row["recordings"] == len(part)
        assert row["groups"] == len(set(part.column("site")))
        assert row["hours"] == pytest.approx(part.duration_s / 3600)
        assert [row["label x"], row["label y"]] == counts
        assert line.split()[1:] == [
            "50%",
            str(row["recordings"]),
            str(row["groups"]),
            f"{row['hours']:.2f}",
            *map(str, counts),
        ]


def test_a_wide_table_is_shortened() -> None:
    """Of more than eight labels, some are printed and all are in `table()`."""
    labels = [f"L{i:02}" for i in range(12)]
    catalog = fake_catalog([3_600] * 12, label=labels, night=[True, False] * 6)
    split = catalog.split({"a": 0.5, "b": 0.5}, stratify="label")
    named = catalog.split({"night": [True]}, by="night")

    assert repr(split).splitlines()[-1] == "and 4 more labels: see table()"
    assert split.table().num_columns == 5 + 12
    assert repr(named).splitlines()[0].split() == ["part", "recordings", "groups", "hours"]
    assert timedelta(hours=float(named.table()["hours"][0].as_py())).total_seconds() == 21.6
