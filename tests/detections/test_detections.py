from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace import Detections
from headrace.detections._result_batches import count_rows, each_batch
from headrace.detections._scores import detections_of_scores
from headrace.errors import ResultsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLASSES = ["Ant", "Bee", "Cat"]


def window_scores(
    scores: Any, ids: list[str] | None = None, *, hop_s: float = 3.0, **columns: Any
) -> pa.Table:
    """Return results of windows of 3 s: scores of shape (windows, classes)."""
    matrix = np.asarray(scores, np.float32)
    rows, size = matrix.shape
    names = ids or ["a.wav"] * rows
    starts = [names[:row].count(name) * hop_s for row, name in enumerate(names)]
    lists = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), size)
    return pa.table({
        "id": names,
        "start_s": np.array(starts),
        "end_s": np.array(starts) + 3,
        "scores": lists,
        **columns,
    })  # fmt: skip


def rows_of(detections: Detections, *names: str) -> list[tuple[Any, ...]]:
    """Return the detections as tuples."""
    table = detections.to_arrow()
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


def test_each_score_that_reaches_its_threshold_is_a_detection() -> None:
    """A detection has its window's recording and times, the class's name, and the score."""
    found = Detections.from_results(
        window_scores([[0.1, 0.5, 0.9], [0.5, 0.2, 0.4]]), threshold=0.5, classes=CLASSES
    )

    assert rows_of(found, "id", "start_s", "end_s", "label") == [
        ("a.wav", 0, 3, "Bee"),
        ("a.wav", 0, 3, "Cat"),
        ("a.wav", 3, 6, "Ant"),
    ]
    assert found.to_arrow()["score"].to_pylist() == [0.5, pytest.approx(0.9), 0.5]
    assert found.to_arrow().schema == pa.schema([
        ("id", pa.string()), ("channel", pa.int32()), ("start_s", pa.float64()),
        ("end_s", pa.float64()), ("label", pa.string()), ("score", pa.float32()),
        ("low_hz", pa.float64()), ("high_hz", pa.float64()),
    ])  # fmt: skip
    assert found.labels == ("Ant", "Bee", "Cat")
    assert repr(found) == "<Detections: 3 detections of 3 labels in 1 recording>"
    assert isinstance(found.to_pandas(), pd.DataFrame)


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), max_size=12),
    st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
)
def test_thresholds_are_those_of_a_loop(scores: list[list[float]], limits: list[float]) -> None:
    """With a threshold for each class, exactly the scores that reach theirs are detections."""
    table = window_scores(np.reshape(scores, (-1, 3)))
    found = Detections.from_results(
        table, threshold=dict(zip(CLASSES, limits, strict=True)), classes=CLASSES
    )

    expected = [
        (3.0 * row, CLASSES[column], score)
        for row, values in enumerate(scores)
        for column, score in enumerate(values)
        if score >= limits[column]
    ]
    assert rows_of(found, "start_s", "label", "score") == expected


def test_a_mapping_of_thresholds_chooses_classes() -> None:
    """Classes without a threshold of their own are left out, whatever their scores."""
    found = Detections.from_results(
        window_scores([[1, 1, 1]]), threshold={"Bee": 0.2}, classes=CLASSES
    )

    assert found.labels == ("Bee",)


def test_recordings_without_detections_are_remembered() -> None:
    """`recordings` has all that the model was applied to, in order; filters do not change it."""
    table = window_scores([[0.0], [0.9], [0.0]], ["c.wav", "a.wav", "b.wav"])
    found = Detections.from_results(table, threshold=0.5, classes=["x"])

    assert found.recordings == ("c.wav", "a.wav", "b.wav")
    assert found.filter([False]).recordings == found.recordings
    assert len(found.filter([False])) == 0
    assert rows_of(found.above(0.5), "id") == [("a.wav",)]
    assert len(found.above({"y": 0.1})) == 0


@pytest.mark.parametrize("kind", ["fixed", "list", "float16", "double", "single"])
def test_scores_are_lists_of_any_kind_or_one_number(kind: str) -> None:
    """Fixed-size and other lists of any float, and a column with one score, are all scores."""
    fixed = window_scores([[0.25], [0.75]])
    types = {
        "fixed": pa.list_(pa.float32(), 1),
        "list": pa.list_(pa.float32()),
        "float16": pa.list_(pa.float16(), 1),
        "double": pa.large_list(pa.float64()),
    }
    column = (
        pa.chunked_array([[0.25, 0.75]])
        if kind == "single"
        else pa.array([[0.25], [0.75]], types[kind])
    )
    table = fixed.set_column(3, "scores", column)
    found = Detections.from_results(table, threshold=0.5, classes=["x"], column="scores")

    assert rows_of(found, "start_s", "label", "score") == [(3, "x", 0.75)]


def test_a_single_score_is_named_by_its_column() -> None:
    """Without names, a column of single scores is one class with the column's name."""
    table = window_scores([[0.25], [0.75]]).drop_columns("scores")
    table = table.append_column("speech", pa.array([0.25, 0.75]))

    assert Detections.from_results(table, threshold=0.5, column="speech").labels == ("speech",)


def test_windows_without_a_result_have_no_detections() -> None:
    """A null or NaN never reaches a threshold; its recording is one that was looked at."""
    table = window_scores([[0.9], [np.nan]], ["a.wav", "b.wav"])
    lists = pa.array([[0.9], None], pa.list_(pa.float32(), 1))
    null = table.set_column(3, "scores", lists)

    for one in (table, null):
        found = Detections.from_results(one, threshold=0.0, classes=["x"])
        assert rows_of(found, "id") == [("a.wav",)]
        assert found.recordings == ("a.wav", "b.wav")


def test_a_dataset_of_many_files_gives_the_same_as_its_table(tmp_path: Path) -> None:
    """Results that are read piece by piece give the same detections as a table in memory."""
    rng = np.random.default_rng(0)
    table = window_scores(rng.random((500, 3)), [f"{row // 50}.wav" for row in range(500)])
    for part in range(5):
        pq.write_table(table.slice(part * 100, 100), tmp_path / f"{part}.parquet", row_group_size=7)
    arguments: dict[str, Any] = {"threshold": 0.5, "classes": CLASSES, "smooth": 3}
    expected = Detections.from_results(table, **arguments)

    assert (
        Detections.from_results(ds.dataset(tmp_path), **arguments)
        .to_arrow()
        .equals(expected.to_arrow())
    )
    assert (
        Detections.from_results(table.to_pandas(), **arguments)
        .to_arrow()
        .equals(expected.to_arrow())
    )


def _mean_of_neighbours(
    rows: list[tuple[str, int, float, float]], size: int
) -> dict[tuple[str, int, float], float]:
    """Return means over windows that are connected by windows one hop (3 s) apart."""
    at = {(name, channel, start): score for name, channel, start, score in rows}
    means = {}
    for (name, channel, start), score in at.items():
        values = [score]
        for direction in (-1, 1):
            for step in range(1, size // 2 + 1):
                key = (name, channel, start + direction * step * 3.0)
                if key not in at:
                    break
                values.append(at[key])
        means[name, channel, start] = float(np.mean(values))
    return means


@given(
    windows=st.sets(
        st.tuples(st.sampled_from("abc"), st.integers(0, 1), st.integers(0, 9)), max_size=40
    ),
    size=st.sampled_from([1, 3, 5, 9]),
    random=st.randoms(use_true_random=False),
    sorts=st.booleans(),
)
def test_smoothing_is_a_mean_over_neighbouring_windows(
    windows: set[tuple[str, int, int]], size: int, random: Any, *, sorts: bool
) -> None:
    """Neighbours are of the same recording and channel, with no window missing between them.

    The order of the rows does not matter.
    """
    # The hop is the smallest distance, so that every recording gets two windows that have it.
    windows = windows | {(name, channel, k) for name, channel, _ in windows for k in (20, 21)}
    rows = [(name, channel, 3.0 * k, random.random()) for name, channel, k in sorted(windows)]
    if not sorts:
        random.shuffle(rows)
    names, channels, starts, scores = zip(*rows, strict=True) if rows else ((), (), (), ())
    table = pa.table({
        "id": pa.array(names, pa.string()),
        "channel": pa.array(channels, pa.int16()),
        "start_s": pa.array(starts, pa.float64()),
        "end_s": pa.array([start + 3 for start in starts], pa.float64()),
        "x": pa.array(scores, pa.float64()),
    })  # fmt: skip
    found = Detections.from_results(table, threshold=0, column="x", smooth=size)

    expected = _mean_of_neighbours(rows, size)
    given_ = {row[:3]: row[3] for row in rows_of(found, "id", "channel", "start_s", "score")}
    assert given_ == pytest.approx(expected, abs=1e-6)


def test_smoothing_yields_a_recording_when_its_last_window_was_read() -> None:
    """Only recordings whose windows are still to come are kept, and their parts are let go."""
    names = ["a", "a", "b", "a", "b", "c"]
    table = window_scores([[row / 10] for row in range(6)], names)
    read: list[int] = []

    def batches() -> Iterator[Any]:
        for row in range(0, 6, 2):
            read.append(row)
            (batch,) = each_batch(table.slice(row, 2), "scores")
            yield batch

    found = detections_of_scores(batches(), ["x"], 0, "scores", 3, count_rows(table))
    seen = [(set(columns["id"].to_pylist()), len(read)) for columns in found]

    assert seen == [({"a"}, 2), ({"b"}, 3), ({"c"}, 3)]


def _ragged(rows: list[list[dict[str, Any]] | None], **fields: pa.DataType) -> pa.Table:
    base = window_scores(np.zeros((len(rows), 1))).drop_columns("scores")
    types = {"start_s": pa.float64(), "end_s": pa.float64(), "score": pa.float32()} | fields
    return base.append_column("found", pa.array(rows, pa.list_(pa.struct([*types.items()]))))


def test_detections_inside_windows_get_the_times_of_their_recording() -> None:
    """Lists of structs become rows: the window's start is added, frequencies are kept."""
    table = _ragged(
        [
            [],
            [
                {"start_s": 0.5, "end_s": 0.75, "score": 0.9, "label": "A", "low_hz": 100.0},
                {"start_s": 0.25, "end_s": 4.0, "score": 0.25, "label": "B", "low_hz": None},
            ],
            None,
        ],
        label=pa.string(),
        low_hz=pa.float64(),
    )
    found = Detections.from_results(table)

    assert rows_of(found, "id", "start_s", "end_s", "label", "score", "low_hz", "high_hz") == [
        ("a.wav", 3.25, 7.0, "B", 0.25, None, None),
        ("a.wav", 3.5, 3.75, "A", pytest.approx(0.9), 100.0, None),
    ]
    assert Detections.from_results(table, threshold=0.5).labels == ("A",)
    half: Any = np.float32(0.5)
    assert Detections.from_results(table, threshold=half).labels == ("A",)
    assert Detections.from_results(table, threshold={"B": 0.2}).labels == ("B",)
    assert found.above(half * 0).labels == ("A", "B")


def test_numbers_of_classes_become_names() -> None:
    """The field "class" is an index of the names."""
    table = _ragged([[{"start_s": 0, "end_s": 1, "score": 1, "class": 2}]], **{"class": pa.int16()})

    texts = _ragged([[{"start_s": 0, "end_s": 1, "score": 1, "label": "2"}]], label=pa.string())

    for one in (table, texts):
        assert Detections.from_results(one, classes=CLASSES).labels == ("Cat",)
    assert Detections.from_results(texts).labels == ("2",)
    assert Detections.from_results(texts, classes=["1", "2"]).labels == ("2",)
    with pytest.raises(ResultsError, match="give as classes= the name of each number"):
        Detections.from_results(table)
    with pytest.raises(ResultsError, match="a class of 2, but there are 1 classes"):
        Detections.from_results(table, classes=["x"])


def test_detections_may_have_no_score() -> None:
    """They are kept without a threshold, and never reach one; merging ignores them."""
    table = _ragged(
        [
            [
                {"start_s": 0, "end_s": 1, "score": None, "label": "A"},
                {"start_s": 1, "end_s": 2, "score": 0.5, "label": "A"},
                {"start_s": 2.5, "end_s": 3, "score": None, "label": "A"},
            ]
        ],
        label=pa.string(),
    )
    found = Detections.from_results(table)

    assert rows_of(found, "score") == [(None,), (0.5,), (None,)]
    assert len(Detections.from_results(table, threshold=0)) == 1
    assert len(found.above(0)) == 1
    for how in ("max", "mean"):
        assert rows_of(found.merge(score=how), "score") == [(0.5,), (None,)]
    bare = Detections.from_table(found.to_arrow().drop_columns("score"))
    assert rows_of(bare.merge(), "score") == [(None,), (None,)]


def _merged_by_a_loop(
    rows: list[tuple[str, int, str, float, float, float]], gap_s: float, how: str
) -> list[tuple[Any, ...]]:
    events: list[list[Any]] = []
    for name, channel, label, start, end, score in sorted(rows):
        last = events[-1] if events else None
        if last and last[:3] == [name, channel, label] and start <= last[4] + gap_s:
            last[4] = max(last[4], end)
            last[5].append(score)
        else:
            events.append([name, channel, label, start, end, [score]])
    score_of = max if how == "max" else np.mean
    return sorted((*event[:5], float(np.float32(score_of(event[5])))) for event in events)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 1), st.sampled_from("xy"),
            st.integers(0, 40), st.integers(0, 9), st.integers(0, 8),
        ),
        max_size=30,
    ),
    st.sampled_from([0, 1, 3]),
    st.sampled_from(["max", "mean"]),
)  # fmt: skip
def test_merging_is_that_of_a_loop(
    rows: list[tuple[str, int, str, int, int, int]], gap_s: int, how: Any
) -> None:
    """Neighbours of one recording, channel and label become one event, as if joined in order."""
    exact = [
        (name, channel, label, start / 8, (start + length) / 8, score / 8)
        for name, channel, label, start, length, score in rows
    ]
    names = ("id", "channel", "label", "start_s", "end_s", "score")
    columns = zip(*exact, strict=True) if exact else ((),) * 6
    types = ("string", "int32", "string", "double", "double", "float")
    table = pa.table({
        name: pa.array(values, pa.type_for_alias(kind))
        for name, kind, values in zip(names, types, columns, strict=True)
    })  # fmt: skip
    merged = Detections.from_table(table).merge(gap_s / 8, score=how)

    found = [tuple(row.values()) for row in merged.to_arrow().select(names).to_pylist()]
    assert sorted(found) == _merged_by_a_loop(exact, gap_s / 8, how)


def test_windows_that_touch_are_one_event_despite_rounding() -> None:
    """Windows 100,000 s into a recording whose times are sums of 0.1 s touch."""
    starts = 100_000 + 0.1 * np.arange(50)
    table = pa.table({
        "id": ["a"] * 50, "start_s": starts, "end_s": starts + 0.1, "label": ["x"] * 50,
        "score": np.linspace(0, 1, 50),
    })  # fmt: skip

    assert len(Detections.from_table(table).merge()) == 1


def test_merged_frequencies_span_those_that_are_known() -> None:
    """An event reaches from the lowest to the highest frequency; unknown stays unknown."""
    table = pa.table({
        "id": ["a"] * 3, "start_s": [0.0, 1, 9], "end_s": [1.0, 2, 10], "label": ["x"] * 3,
        "score": [0.5] * 3, "low_hz": [200.0, None, None], "high_hz": [400.0, 300, None],
    })  # fmt: skip
    merged = Detections.from_table(table).merge()

    assert rows_of(merged, "end_s", "low_hz", "high_hz") == [(2, 200, 400), (10, None, None)]


def test_detections_are_added() -> None:
    """The sum has the rows and recordings of both."""
    one, two = (
        Detections.from_results(window_scores([[1]], [name]), threshold=0.5, classes=["x"])
        for name in ("a.wav", "b.wav")
    )

    assert rows_of(one + two, "id") == [("a.wav",), ("b.wav",)]
    assert (one + two).recordings == ("a.wav", "b.wav")


def test_nothing_found_is_an_empty_table() -> None:
    """Results without windows, or without detections, give a table of the same columns."""
    table = window_scores([[0.1]])
    for results in (table, table.slice(0, 0)):
        found = Detections.from_results(results, threshold=0.5, classes=["x"])
        assert len(found) == 0
        assert found.merge(1.0).to_arrow().schema == found.to_arrow().schema
        assert len(found + found) == 0
        assert found.labels == ()
        assert len(found.above(0.5)) == 0


_SCORES = window_scores([[0.5, 0.5]])
_TWO = _SCORES.append_column("embedding", _SCORES["scores"])


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (_SCORES, {"classes": ["x", "y"]}, "'scores' holds scores: .* threshold="),
        (_SCORES, {"threshold": 0.5}, "'scores' need names: give as classes="),
        (
            _SCORES,
            {"threshold": 0.5, "classes": ["x"], "column": "scores"},
            "'scores' has 2 scores a window, but there are 1 classes",
        ),
        (_SCORES, {"threshold": 0.5, "classes": ["x"]}, "no column .* with 1 numbers a window"),
        (_TWO, {"threshold": 0.5, "classes": ["x", "y"]}, "several columns .* scores, embedding"),
        (_SCORES, {"threshold": 0.5, "column": "score"}, "no column 'score': there are id"),
        (_SCORES, {"threshold": "0.5", "classes": ["x", "y"]}, "must be a number, not '0.5'"),
        (_SCORES, {"threshold": float("nan"), "classes": ["x", "y"]}, "must be a number, not nan"),
        (_SCORES, {"threshold": {"z": 1}, "classes": ["x", "y"]}, "'z', which is not one of the 2"),
        (_SCORES, {"threshold": 0.5, "classes": "xy"}, "must be a list of names, not 'xy'"),
        (_SCORES, {"threshold": 0.5, "classes": ["x", "x"]}, "has 'x' twice"),
        (_SCORES, {"threshold": 0.5, "classes": ["x", "y"], "smooth": 2}, "odd number .* not 2"),
        (
            _SCORES.set_column(0, "id", pa.array([["a.wav"]])),
            {"threshold": 0.5, "classes": ["x", "y"], "smooth": 3, "column": "scores"},
            "id, start_s and end_s of results: .* Give the results of Windows.apply",
        ),
        (_SCORES, {"threshold": 0.5, "column": "id"}, "'id' holds string, not a list of scores"),
        (_SCORES.drop_columns("id"), {}, "and no id: give the results of Windows.apply"),
        ([1], {}, "Give an Arrow table or a pandas DataFrame, not list"),
        (
            _ragged([[{"start_s": 2.0, "end_s": 1.0, "score": 1.0}]], label=pa.string()),
            {},
            "in 'a.wav', in the window at 0 s, is from 2 s to 1 s",
        ),
        (_ragged([]), {}, "the fields end_s, score, start_s, and no class: give each start_s"),
        (_ragged([], label=pa.string()), {"smooth": 3}, "only scores can be smoothed"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(table: Any, arguments: dict[str, Any], message: str) -> None:
    """One sentence says what is wrong and what to give."""
    with pytest.raises(ResultsError, match=message):
        Detections.from_results(table, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "and no 'label': rename one"),
        ({"start_s": [9.0]}, "must not end before it starts"),
        ({"start_s": [-np.inf]}, "must not end before it starts"),
        ({"score": ["high"]}, "'score' cannot be a float"),
        ({"id": pa.array([None], pa.string())}, "'id' has a null"),
    ],
)
def test_wrong_tables_are_refused(change: dict[str, Any], message: str) -> None:
    """A table of one's own needs all columns, of the right types."""
    good = {"id": ["a"], "start_s": [0.0], "end_s": [1.0], "label": ["x"], "score": [0.5]}
    columns = {name: values for name, values in (good | change).items() if values is not None}

    with pytest.raises(ResultsError, match=message):
        Detections.from_table(pa.table(columns))


def test_wrong_choices_are_refused() -> None:
    """A gap must be a length of time, a score max or mean, a mask a bool for each detection."""
    found = Detections.from_results(window_scores([[1]]), threshold=0.5, classes=["x"])

    for gap_s in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="gap_s must be a number of seconds"):
            found.merge(gap_s)
    with pytest.raises(ValueError, match="score must be one of max, mean"):
        found.merge(score="median")  # type: ignore[arg-type]
    with pytest.raises(ResultsError, match="2 values for 1 detection:"):
        found.filter([True, False])
    with pytest.raises(ResultsError, match="takes several ids"):
        Detections.from_table(found.to_arrow(), recordings="b.wav")


def test_detections_are_a_public_name() -> None:
    """Users find the class in headrace itself."""
    assert headrace.Detections is Detections
