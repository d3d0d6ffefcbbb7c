"""Soft targets, and labels of all windows at once."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import Annotations, concat
from headrace.errors import AnnotationError, CatalogError, InvalidWindowsError
from headrace.windows._labels import Labels
from tests.support.catalogs import fake_catalog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from headrace import Windows

Event = tuple[str, int, int, str | None, float | None]

SECONDS = (4, 1, 3)


def windows_of(hop_s: float | None = None, **columns: Any) -> Windows:
    """Return windows of a second of r0, r1 and r2, at 10 Hz."""
    catalog = fake_catalog([10 * seconds for seconds in SECONDS], 10, **columns)
    return catalog.windows(None, 1.0, hop_s)


def annotations_of(*events: Event, files: tuple[str, ...] = ("r0", "r1", "r2")) -> Annotations:
    """Return annotations; times are in tenths of a second."""
    table = pa.table(
        {
            "file": pa.array([event[0] for event in events], pa.string()),
            "start_s": pa.array([event[1] / 10 for event in events], pa.float64()),
            "end_s": pa.array([event[2] / 10 for event in events], pa.float64()),
            "label": pa.array([event[3] for event in events], pa.string()),
            "score": pa.array([event[4] for event in events], pa.float32()),
        }
    )
    return Annotations.from_table(table, files=files)


def by_hand(windows: Windows, events: Sequence[Event]) -> NDArray[np.float32]:
    """Return the highest score of the events of each class in each window, one after the other."""
    rows = windows.rows(np.arange(len(windows), dtype=np.int64))
    targets = np.zeros((len(windows), len(windows.classes)), np.float32)
    for index, (recording, start) in enumerate(zip(rows.recording, rows.start, strict=True)):
        for file, first, last, label, score in events:
            if label not in windows.classes or file != f"r{recording}":
                continue
            if first < start + windows.spec.size and start < max(last, first + 1):
                at = index, windows.classes.index(label)
                targets[at] = max(targets[at], 1.0 if score is None else np.float32(score))
    return targets


EVENTS = st.tuples(
    st.sampled_from(["r0", "r1", "r2"]),
    st.integers(0, 9),
    st.integers(0, 15),
    st.sampled_from(["A", "B", "C"]),
    st.none() | st.floats(0, 1, width=32),
).map(lambda one: (one[0], one[1], one[1] + one[2], one[3], one[4]))


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=12), st.sampled_from([None, 0.3]))
def test_soft_targets_are_the_highest_scores(events: list[Event], hop_s: float | None) -> None:
    """Compared with one event at a time, also where events of a class overlap and touch."""
    windows = windows_of(hop_s)
    soft = windows.label(annotations_of(*events), targets="score")
    expected = by_hand(soft, events)
    np.testing.assert_array_equal(soft.label_matrix(), expected)
    np.testing.assert_array_equal(soft.label_matrix(sparse=True).toarray(), expected)
    hard = windows.label(annotations_of(*events))
    ones: list[Event] = [(*event[:4], None) for event in events]
    np.testing.assert_array_equal(hard.label_matrix(), by_hand(hard, ones))


def test_soft_targets_are_in_batches_and_examples() -> None:
    """And survive pickling, and slicing; what counts does not change."""
    annotations = annotations_of(("r0", 0, 5, "A", 0.25), ("r0", 2, 15, "A", 0.5))
    soft = windows_of().label(annotations, targets="score")
    hard = windows_of().label(annotations)
    again: Windows = pickle.loads(pickle.dumps(soft))
    for one in (soft, again, soft[:2]):
        assert one.label_matrix()[:2].tolist() == [[0.5], [0.5]]
    assert soft.label_counts() == hard.label_counts() == {"A": 2}
    assert soft.label_bytes > hard.label_bytes
    np.testing.assert_array_equal(soft.balanced_weights(), hard.balanced_weights())


def test_soft_and_hard_labels_can_be_joined() -> None:
    """A class that is present counts as 1."""
    annotations = annotations_of(("r0", 0, 5, "A", 0.25))
    soft = windows_of().label(annotations, targets="score")
    other = fake_catalog([40], 10, root="/other").windows(None, 1.0)
    hard = other.label(annotations_of(("r0", 0, 5, "A", 0.25), files=("r0",)))
    both = concat([soft, hard])
    assert both.label_matrix()[:, 0].tolist() == [0.25, *[0.0] * 7, 1.0, 0.0, 0.0, 0.0]


def test_an_ignored_event_hides_classes_without_a_score() -> None:
    """A class with a score of 0 is known; one without an event is not."""
    annotations = annotations_of(
        ("r0", 0, 5, "A", 0.0), ("r0", 0, 5, None, None), ("r1", 0, 5, "B", 0.5)
    )
    soft = windows_of().label(annotations, targets="score")
    assert soft.labels is not None
    labels, mask = soft.labels.rows(np.array([0]), np.array([0]))
    assert (labels.tolist(), mask.tolist()) == ([[0.0, 0.0]], [[True, False]])
    np.testing.assert_array_equal(soft.label_matrix()[0], [0.0, np.nan])


def test_unknown_labels_are_nan() -> None:
    """Of recordings that are not annotated, in both kinds of matrices."""
    annotations = annotations_of(("r0", 0, 5, "A", None), files=("r0", "r2"))
    labelled = windows_of().label(annotations, unannotated="mask")
    expected = [1, 0, 0, 0, np.nan, 0, 0, 0]
    np.testing.assert_array_equal(labelled.label_matrix()[:, 0], expected)
    sparse = labelled.label_matrix(sparse=True)
    assert (sparse.shape, sparse.dtype, sparse.format) == ((8, 1), np.float32, "csr")
    np.testing.assert_array_equal(sparse.toarray()[:, 0], expected)
    assert sparse.nnz == 2


def test_wrong_targets_are_refused() -> None:
    """A score beyond 0 to 1 is none, nor is another word."""
    with pytest.raises(AnnotationError, match=r"score 2 of an event in r0 .* targets=.presence"):
        windows_of().label(annotations_of(("r0", 0, 5, "A", 2.0)), targets="score")
    with pytest.raises(AnnotationError, match=r"must be .presence. or .score., not .soft."):
        windows_of().label(annotations_of(("r0", 0, 5, "A", 1.0)), targets="soft")  # type: ignore[arg-type]


def test_labels_are_counted_by_a_column() -> None:
    """Each value has the counts of its recordings, also if it has none; null comes last."""
    events = annotations_of(
        ("r0", 0, 15, "A", None), ("r1", 0, 5, "A", None), ("r2", 0, 5, "B", None)
    )
    windows = windows_of(site=["y", "x", None], year=[2, 2, 1]).label(events)
    assert windows.label_counts() == {"A": 3, "B": 1}
    assert windows.label_counts(by="site") == {
        "x": {"A": 1, "B": 0},
        "y": {"A": 2, "B": 0},
        None: {"A": 0, "B": 1},
    }
    assert [*windows.label_counts(by="site")] == ["x", "y", None]
    encoded = pa.array(["y", "x", None]).dictionary_encode()
    coded = windows_of(site=encoded).label(events)
    assert coded.label_counts(by="site") == windows.label_counts(by="site")
    assert windows.label_counts(by="year") == {1: {"A": 0, "B": 1}, 2: {"A": 3, "B": 0}}
    assert windows[:1].shuffle().label_counts(by="year") == {
        1: {"A": 0, "B": 0},
        2: {"A": 1, "B": 0},
    }
    with pytest.raises(CatalogError, match="There is no column 'place': there are id"):
        windows.label_counts(by="place")


def test_windows_without_labels_have_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says to label; without SciPy, what to install."""
    with pytest.raises(InvalidWindowsError, match=r"call windows\.label"):
        windows_of().label_matrix()
    with pytest.raises(InvalidWindowsError, match=r"call windows\.label"):
        windows_of(site=["x"] * 3).label_counts(by="site")
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    labelled = windows_of().label(annotations_of(("r0", 0, 5, "A", 1.0)))
    with pytest.raises(InvalidWindowsError, match="pip install scipy, or give sparse=False"):
        labelled.label_matrix(sparse=True)


def test_large_matrices_are_made_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of windows in a step, the matrix is the same."""
    windows = windows_of(0.1).label(annotations_of(("r0", 3, 9, "A", None)))
    whole = windows.label_matrix()
    monkeypatch.setattr("headrace.windows._window_sets._ROWS_AT_ONCE", 3)
    monkeypatch.setattr("headrace.windows._labels._SPARSE_ROWS", 3)
    np.testing.assert_array_equal(windows.label_matrix(), whole)
    np.testing.assert_array_equal(windows.label_matrix(sparse=True).toarray(), whole)
    assert isinstance(windows.labels, Labels)
    assert windows.label_counts(by="channels") == {1: windows.label_counts()}
