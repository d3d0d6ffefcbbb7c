from __future__ import annotations

import pickle
import threading
import warnings
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace
from headrace import Annotations
from headrace.bench._synthetic import write_archive
from headrace.errors import AnnotationError, HeadraceWarning, InvalidWindowsError
from headrace.windows._labels import Labels
from tests.support.catalogs import fake_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace.windows._windows import Windows

Event = tuple[str, float, float, str | None]

SECONDS = (4, 1, 3)
"""Of r0, r1 and r2, at 1,000 Hz."""


def _windows(window_s: float = 1.0, hop_s: float | None = None) -> Windows:
    catalog = fake_catalog([1_000 * seconds for seconds in SECONDS])
    return catalog.windows(1_000, window_s, hop_s)


def _annotations(*events: Event, files: tuple[str, ...] = ("r0", "r1", "r2")) -> Annotations:
    names = ("file", "start_s", "end_s", "label")
    types = ("string", "double", "double", "string")
    columns = {
        name: pa.array([event[at] for event in events], pa.type_for_alias(kind))
        for at, (name, kind) in enumerate(zip(names, types, strict=True))
    }
    return Annotations.from_table(pa.table(columns), files=files)


def _rows(windows: Windows) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the labels and the mask of all windows, unshuffled."""
    assert windows.labels is not None
    rows = windows.rows(np.arange(len(windows), dtype=np.int64))
    return windows.labels.rows(rows.recording, rows.start)


def _rows_of_set(windows: Windows) -> NDArray[np.float32]:
    """Return the labels of all windows of the set, whatever their order."""
    assert windows.labels is not None
    rows = windows.rows(np.arange(windows.set_size, dtype=np.int64))
    return windows.labels.rows(rows.recording, rows.start)[0]


def _heard(windows: Windows) -> list[str]:
    """Return the labels of each window, joined to a string."""
    labels, _ = _rows(windows)
    return ["".join(np.array(windows.classes)[row > 0]) for row in labels]


def _by_hand(
    windows: Windows,
    events: list[Event],
    least: Fraction | None = None,
    share: Fraction | None = None,
) -> list[set[str | None]]:
    """Return which labels count in each window: one event at a time, in exact arithmetic.

    Times must be whole numbers of samples.
    """
    rate, size = windows.spec.sample_rate, Fraction(windows.spec.size, windows.spec.sample_rate)
    rows = windows.rows(np.arange(len(windows), dtype=np.int64))
    found = []
    for recording, start in zip(rows.recording.tolist(), rows.start.tolist(), strict=True):
        begin = Fraction(start, rate)
        heard = set()
        for file, start_s, end_s, label in events:
            first, last = Fraction(str(start_s)), Fraction(str(end_s))
            last = max(last, first + Fraction(1, rate))  # an instant is one sample
            shared = min(last, begin + size) - max(first, begin)
            enough = [] if least is None else [shared >= least]
            enough += [] if share is None else [shared >= share * min(last - first, size)]
            if file == f"r{recording}" and shared > 0 and (any(enough) or not enough):
                heard.add(label)
        found.append(heard)
    return found


def test_an_event_counts_in_the_windows_it_shares_a_sample_with() -> None:
    """Both are half-open: an event that ends where a window begins is not in that window."""
    annotations = _annotations(
        ("r0", 0.5, 1.0, "A"), ("r0", 0.999, 1.001, "B"), ("r0", 1.0, 2.0, "C"),
        ("r0", 2.0, 2.0, "D"), ("r1", 0.2, 0.3, "E"), ("r2", 0.0, 3.0, "F"),
    )  # fmt: skip

    labelled = _windows().label(annotations)

    assert labelled.classes == ("A", "B", "C", "D", "E", "F")
    assert _heard(labelled) == ["AB", "BC", "D", "", "E", "F", "F", "F"]
    labels, mask = _rows(labelled)
    assert labels.dtype == np.float32
    assert labels.shape == mask.shape == (8, 6)
    assert mask.dtype == bool
    assert mask.all()


def test_times_that_are_no_binary_fractions_are_exact() -> None:
    """Events and windows on a grid of tenths of a second do not reach into the next window."""
    tenths = [round(0.1 * k, 1) for k in range(41)]
    events = [
        ("r0", start, end, "A") for start, end in zip(tenths[::2], tenths[1::2], strict=False)
    ]
    labelled = _windows(0.1).label(_annotations(*events), min_overlap_s=0.1)
    assert _heard(labelled)[:40] == ["A", ""] * 20
    assert _heard(_windows(0.1).label(_annotations(*events)))[:40] == ["A", ""] * 20


def test_overlapping_windows_share_events() -> None:
    """An event counts in each of several overlapping windows."""
    labelled = _windows(1.0, 0.25).label(_annotations(("r0", 1.1, 1.2, "A")))
    assert [index for index, heard in enumerate(_heard(labelled)) if heard] == [1, 2, 3, 4]


def test_the_overlap_can_be_required() -> None:
    """In seconds, as a fraction of the event or the window, or either of the two."""
    annotations = _annotations(("r0", 0.8, 2.5, "L"), ("r0", 2.9, 3.1, "S"))
    windows = _windows()

    def heard(**least: float) -> list[str]:
        return _heard(windows.label(annotations, **least))[:4]  # type: ignore[arg-type]

    assert heard() == ["L", "L", "LS", "S"]
    assert heard(min_overlap_s=0.2) == ["L", "L", "L", ""]
    assert heard(min_overlap_s=0.201) == ["", "L", "L", ""]
    assert heard(min_fraction=0.5) == ["", "L", "LS", "S"]
    assert heard(min_fraction=0.51) == ["", "L", "", ""]
    assert heard(min_overlap_s=0.2, min_fraction=0.5) == ["L", "L", "LS", "S"]
    assert heard(min_fraction=1) == ["", "L", "", ""]
    assert heard(min_overlap_s=0, min_fraction=0) == heard()


def test_labels_of_whole_recordings_are_every_windows() -> None:
    """They count whatever overlap is required, and also in the padded last window."""
    annotations = Annotations.from_table(pa.table({"file": ["r0", "r1"], "label": ["A", "B"]}))
    labelled = _windows(0.7).label(annotations, min_fraction=1.0, unannotated="negative")
    count = int(np.sum(labelled.rows(np.arange(len(labelled))).recording == 0))
    assert _heard(labelled)[: count + 2] == ["A"] * count + ["B"] * 2
    assert set(_heard(labelled)[count + 2 :]) == {""}


def test_an_event_without_an_end_lasts_to_the_recordings() -> None:
    """It lasts from its start to the end; only one that starts at 0 labels the whole recording."""
    events = _annotations(("r0", 1.9, float("inf"), "A"), ("r1", 0.0, float("inf"), "B"))
    assert _heard(_windows().label(events)) == ["", "A", "A", "A", "B", "", "", ""]
    assert _heard(_windows().label(events, min_fraction=0.2))[:4] == ["", "", "A", "A"]


_times = st.integers(0, 2_999).flatmap(
    lambda start: st.integers(start, 4_000).map(lambda end: (start / 1_000, end / 1_000))
)
_events = st.lists(
    st.builds(
        lambda file, times, label: (file, *times, label),
        st.sampled_from(["r0", "r2"]),
        _times,
        st.sampled_from(["A", "B", "C", None]),
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(
    events=_events,
    window=st.integers(1, 2_000),
    hop=st.integers(100, 1_500),
    least=st.none() | st.integers(0, 400),
    share=st.none() | st.integers(0, 4),
    ignored=st.booleans(),
    tail=st.sampled_from(["pad", "shift"]),
)
def test_rows_equal_a_computation_by_hand(
    events: list[Event],
    window: int,
    hop: int,
    least: int | None,
    share: int | None,
    ignored: bool,
    tail: Any,
) -> None:
    """For any events, windows and rules, labels, masks and counts equal the simple computation."""
    events = [("r1", 0.0, 0.5, "A"), ("r1", 0.0, 0.5, "C"), *events]
    if least is not None:
        least = min(least, window)
    catalog = fake_catalog([1_000 * seconds for seconds in SECONDS])
    windows = catalog.windows(1_000, window / 1_000, hop / 1_000, tail=tail)
    by_hand = _by_hand(
        windows,
        events,
        None if least is None else Fraction(least, 1_000),
        None if share is None else Fraction(share, 4),
    )

    labelled = windows.label(
        _annotations(*events),
        ["C", "A"],
        min_overlap_s=None if least is None else least / 1_000,
        min_fraction=None if share is None else share / 4,
        ignore=["B"] if ignored and any(event[3] == "B" for event in events) else (),
    )

    labels, mask = _rows(labelled)
    assert labels.tolist() == [[float(one in heard) for one in "CA"] for heard in by_hand]
    unknown = {None, "B"} if ignored else {None}
    assert mask.tolist() == [
        [one in heard or not heard & unknown for one in "CA"] for heard in by_hand
    ]
    assert labelled.label_counts() == {one: sum(one in heard for heard in by_hand) for one in "CA"}


@pytest.mark.parametrize("hop_s", [None, 1.0])
def test_the_demo_archive_equals_a_computation_by_hand(tmp_path: Path, hop_s: float | None) -> None:
    """The rows of each shuffled batch equal those of comparing seconds event by event."""
    archive = write_archive(tmp_path, recordings=8, seconds=21, sites=2)
    written = {
        f"{file.parent.name}/{file.stem}.wav": [
            line.split("\t") for line in file.read_text().splitlines()
        ]
        for file in archive.labels
    }
    windows = headrace.scan(archive.pattern).windows(16_000, 5.0, hop_s)
    labelled = windows.label(Annotations.read_anuraset(tmp_path / "strong_labels"))
    assert labelled.classes == ("SYNTHA", "SYNTHB", "SYNTHC", "SYNTHD")

    for view in (labelled, labelled.shuffle(seed=1), labelled[5:].shuffle(seed=2, by="file")):
        seen = []
        with view.loader(batch_size=7, workers=2) as loader:
            for batch in loader:
                assert batch.labels.shape == (len(batch), 4)
                assert batch.labels.dtype == np.float32
                assert batch.label_mask.all()
                for row, (name, offset) in enumerate(zip(batch.file_id, batch.offset, strict=True)):
                    heard = {
                        label[:-2]
                        for start, end, label in written[name]
                        if float(start) < offset + 5.0 and float(end) > offset
                    }
                    assert batch.labels[row].tolist() == [one in heard for one in view.classes]
                    seen.append(int(batch.index[row]))
        assert sorted(seen) == list(range(len(view)))


# Deliveries and views


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    """Return labelled windows of a quarter of a second of the demo's archive."""
    folder = tmp_path_factory.mktemp("archive")
    archive = write_archive(folder, recordings=2, seconds=10)
    annotations = Annotations.read_anuraset(folder / "strong_labels")
    return headrace.scan(archive.pattern).windows(16_000, 0.25).label(annotations)


def test_examples_and_batches_have_the_same_labels(labelled: Windows) -> None:
    """Indexing and both kinds of loader agree, and deliveries still unpack to three values."""
    everything, _ = _rows(labelled)
    with labelled.loader(workers=1) as loader:
        for example in loader:
            audio, _, _ = example
            assert example.labels.tolist() == everything[example.index].tolist()
            assert example.label_mask.all()
            assert audio is example.audio
    one = labelled[33]
    assert one.labels is not None
    assert one.labels.tolist() == everything[33].tolist()
    for batch in labelled.loader(batch_size=32, workers=2):
        assert len(list(batch)) == 3
        assert batch.labels.tolist() == everything[batch.index].tolist()


def test_labels_of_batches_are_made_by_workers(
    labelled: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each batch, in the worker that finishes it, not in the consumer's thread."""
    made = []
    rows = Labels.rows

    def spy(self: Labels, recording: Any, start: Any) -> Any:
        made.append((threading.current_thread().name, len(start)))
        return rows(self, recording, start)

    monkeypatch.setattr(Labels, "rows", spy)
    with labelled.loader(batch_size=16, workers=2) as loader:
        sizes = [len(batch) for batch in loader]

    assert sorted(size for _, size in made) == sorted(sizes)
    assert all(name.startswith("headrace-") for name, _ in made)


def test_every_view_keeps_its_labels(labelled: Windows) -> None:
    """Slices, shuffles and pickles of labelled windows are labelled; the original is not."""
    everything, _ = _rows(labelled)
    np.testing.assert_array_equal(_rows(labelled[7:30:3])[0], everything[7:30:3])
    np.testing.assert_array_equal(_rows(labelled.shuffle(3))[0], everything)
    np.testing.assert_array_equal(_rows(pickle.loads(pickle.dumps(labelled)))[0], everything)
    assert labelled.label_counts() == labelled.shuffle(3).label_counts()
    assert labelled[40:].label_counts() != labelled.label_counts()

    plain = labelled.catalog.windows(16_000, 0.25)
    assert plain.labels is None
    assert plain.classes == ()
    assert plain[0].labels is None
    assert plain[0].label_mask is None
    assert next(iter(plain.loader(batch_size=2, workers=0))).labels is None
    assert plain.fingerprint == labelled.fingerprint  # labels do not decide the order
    with pytest.raises(InvalidWindowsError, match="no labels"):
        plain.label_counts()
    with pytest.raises(InvalidWindowsError, match="no labels"):
        plain.balanced_weights()


def test_labels_survive_every_view(labelled: Windows) -> None:
    """After filter, take, sample and shard, each window has its own labels."""
    everything, _ = _rows(labelled)
    some = np.arange(len(labelled)) % 3 == 1
    chosen = np.flatnonzero(some)
    views = [
        (labelled.filter(some), chosen),
        (labelled.take(chosen[::-1]), chosen[::-1]),
        (labelled.filter(some).shuffle(3), chosen),
        (labelled.sample(labelled.balanced_weights(), 40, seed=1), np.arange(len(labelled))),
        (labelled.shuffle(1).shard(1, 2), np.arange(len(labelled))),
        (labelled.shard(1, 2, by="recording"), np.arange(len(labelled))),
    ]
    for view, places in views:
        for batch in view.loader(batch_size=8, workers=1):
            assert batch.labels.tolist() == everything[places[batch.index]].tolist()
        np.testing.assert_array_equal(_rows_of_set(view), everything[places])
    masked = labelled[:9].shard(1, 2, remainder="mask")
    *_, last = masked.loader(workers=0)
    assert last.index == -1
    assert last.labels.shape == last.label_mask.shape == (len(labelled.classes),)
    assert not last.labels.any()
    assert not last.label_mask.any()
    (batch,) = masked.loader(workers=0, batch_size=5)
    assert batch.label_mask.any(axis=1).tolist() == batch.valid.tolist() == [True] * 4 + [False]


def test_labels_survive_joining(labelled: Windows) -> None:
    """After concat and mix, each window has its own labels; all or none must be labelled."""
    other = fake_catalog([500]).windows(16_000, 0.25)  # at 1,000 Hz, nowhere
    whole = Annotations.from_table(pa.table({"file": ["r0"], "label": ["SYNTHB"]}))
    other = other.label(whole, labelled.classes)
    everything, _ = _rows(labelled)
    joined = headrace.concat([headrace.concat([labelled[5:20], labelled[30:]]), other, other])
    one_hot = np.tile([one == "SYNTHB" for one in labelled.classes], (2, 1))
    expected = np.concatenate([everything[5:20], everything[30:], one_hot, one_hot])
    np.testing.assert_array_equal(_rows_of_set(joined), expected)
    assert list(joined.label_counts().values()) == expected.sum(axis=0).tolist()

    mixed = headrace.mix([labelled[5:20], labelled[30:]], seed=3)
    places = np.r_[5:20, 30 : len(labelled)]
    for batch in mixed.loader(batch_size=8, workers=1):
        assert batch.labels.tolist() == everything[places[batch.index]].tolist()

    plain = labelled.catalog.windows(16_000, 0.25)
    with pytest.raises(InvalidWindowsError, match="number 1 is not"):
        headrace.concat([labelled, plain])
    with pytest.raises(AnnotationError, match="the same classes"):
        headrace.mix([labelled, fake_catalog([500]).windows(16_000, 0.25).label(whole)])
    with pytest.raises(InvalidWindowsError, match="2 catalogs"):
        joined.label(whole)


def test_rows_without_a_window_have_unknown_labels(tmp_path: Path) -> None:
    """Added, failed and masked rows are 0 and unknown; skipped windows have no row."""
    archive = write_archive(tmp_path, recordings=2, seconds=10)
    samples, rate = soundfile.read(archive.audio[0])
    samples[int(4.5 * rate) :] = np.nan
    soundfile.write(archive.audio[0], samples, rate, "FLOAT")
    catalog = headrace.scan(archive.pattern)
    whole = Annotations.from_table(
        pa.table({"file": [one.id for one in catalog], "label": ["A", "B"]})
    )
    windows = catalog.windows(16_000, 2.0).label(whole)

    (masked,) = windows.loader(batch_size=12, last="pad", on_error="mask", workers=1)
    assert masked.valid.tolist() == [True, True, *[False] * 3, *[True] * 5, False, False]
    assert masked.labels[:, 0].tolist() == [1, 1, *[0] * 10]
    assert masked.labels[:, 1].tolist() == [0] * 5 + [1] * 5 + [0, 0]
    assert masked.label_mask.tolist() == [[one, one] for one in masked.valid.tolist()]

    (skipped,) = windows.loader(batch_size=12, on_error="skip", workers=1)
    assert skipped.labels.tolist() == [[1, 0]] * 2 + [[0, 1]] * 5
    examples = list(windows.loader(on_error="mask", workers=1))
    assert [one.label_mask.tolist() for one in examples] == [
        [one.valid_samples > 0] * 2 for one in examples
    ]


def test_the_bound_counts_labels() -> None:
    """The memory bound includes a batch's labels and mask, and the tables behind them."""
    windows = _windows()
    labelled = windows.label(_annotations(("r0", 0, 1, "A"), ("r0", 0, 1, "B")))
    assert labelled.labels is not None
    plain = windows.loader(batch_size=4, workers=1, prefetch=2)
    more = labelled.loader(batch_size=4, workers=1, prefetch=2).memory_bound - plain.memory_bound
    assert more == (2 + 2) * 4 * 2 * (4 + 1) + labelled.labels.nbytes


# Unknown labels


def test_unannotated_recordings_are_an_error_negative_or_masked() -> None:
    """By default the error counts and names them; only recordings that have windows matter."""
    annotations = _annotations(("r1", 0, 1, "A"), files=())
    windows = _windows()

    with pytest.raises(AnnotationError, match=r"2 of 3 recordings are not annotated \(r0, r2\)"):
        windows.label(annotations)
    assert _heard(windows[4:5].label(annotations)) == ["A"]

    labels, mask = _rows(windows.label(annotations, unannotated="negative"))
    assert labels[:, 0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
    assert mask.all()
    labels, mask = _rows(windows.label(annotations, unannotated="mask"))
    assert labels[:, 0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0]
    assert mask[:, 0].tolist() == [False] * 4 + [True] + [False] * 3


def test_an_ignored_label_leaves_the_others_unknown() -> None:
    """So does an event without a label; the classes that were labelled beside it stay known."""
    annotations = _annotations(
        ("r0", 0, 1.5, "A"), ("r0", 1.2, 2.5, "noise"), ("r1", 0, 1, None), ("r1", 0, 1, "B")
    )

    labelled = _windows().label(annotations, ignore=["noise"])

    assert labelled.classes == ("A", "B")
    labels, mask = _rows(labelled)
    assert labels[:5].tolist() == [[1, 0], [1, 0], [0, 0], [0, 0], [0, 1]]
    assert mask[:5].tolist() == [
        [True, True], [True, False], [False, False], [True, True], [False, True],
    ]  # fmt: skip


# Classes and counts


def test_classes_are_chosen_and_ordered() -> None:
    """Events whose label is not a class are left out."""
    annotations = _annotations(("r0", 0, 1, "A"), ("r0", 0, 2, "B"), ("r0", 1, 2, "C"))
    labelled = _windows().label(annotations, ["C", "A"])
    assert labelled.classes == ("C", "A")
    assert _heard(labelled)[:3] == ["A", "C", ""]
    assert labelled.label_counts() == {"C": 1, "A": 1}
    warning = r"1 of 2 classes .* label of any event \(D\), while 2 labels are not a class \(B, C\)"
    with pytest.warns(HeadraceWarning, match=warning) as warned:
        labelled = _windows().label(annotations, ["A", "D"])
    assert warned[0].filename == __file__
    assert labelled.label_counts() == {"A": 1, "D": 0}
    rare = _windows().label(annotations, ["A", "B", "C", "D"])  # no warning
    assert rare.label_counts()["D"] == 0


@pytest.mark.parametrize(("arguments", "message"), [
    ({"classes": "A"}, r"classes is a list of labels, not 'A': give \['A'\]"),
    ({"ignore": "A"}, "ignore is a list of labels"),
    ({"classes": ["A", "A"]}, "each once"),
    ({"classes": []}, "must be one or more labels, each once"),
    ({"classes": ["A"], "ignore": ["A"]}, "none that is ignored"),
    ({"ignore": ["Z"]}, r"ignore=\['Z'\]: there are no such labels. There are: A, B"),
    ({"unannotated": "unknown"}, 'unannotated must be "error"'),
    ({"min_overlap_s": 1.5}, "between 0 and a window's 1 s"),
    ({"min_fraction": 1.5}, "between 0 and 1"),
    ({"min_fraction": float("nan")}, "between 0 and 1"),
])  # fmt: skip
def test_an_impossible_argument_is_refused(arguments: dict[str, Any], message: str) -> None:
    """The error names the argument and says what there is."""
    annotations = _annotations(("r0", 0, 1, "A"), ("r0", 0, 2, "B"))
    with pytest.raises(AnnotationError, match=message):
        _windows().label(annotations, **arguments)


def test_unmatched_files_cause_one_warning() -> None:
    """Labelling warns of unmatched files, unless the annotations were matched beforehand."""
    annotations = _annotations(("r0", 0, 1, "A"), ("other", 0, 1, "B"))
    with pytest.warns(HeadraceWarning, match=r"1 of 4 .* \(other\)") as warned:
        _windows().label(annotations)
    assert warned[0].filename == __file__
    with pytest.warns(HeadraceWarning, match="1 of 4"):
        matched = annotations.match(_windows().catalog)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _windows().label(matched).classes == ("A",)
        part = _windows().catalog[:1].windows(1_000, 1.0)  # of a split, as for validation
        assert _heard(part.label(matched)) == ["A", "", "", ""]
    elsewhere = fake_catalog([1_000], root="/n").with_columns()
    assert len(elsewhere) == 1
    with pytest.raises(AnnotationError, match="None of 1 annotated file is"):
        _windows().label(_annotations(("other", 0, 1, "B"), files=()))


def test_events_after_the_end_cause_a_warning() -> None:
    """Events after the end of their recording are left out with a warning."""
    annotations = _annotations(("r1", 0.9, 2, "A"), ("r1", 1.0, 1.1, "B"), ("r2", 3.5, 4, "B"))
    with pytest.warns(
        HeadraceWarning, match=r"2 of 3 events begin after .* in r1 at 1 s"
    ) as warned:
        labelled = _windows().label(annotations)
    assert warned[0].filename == __file__
    assert _heard(labelled)[4] == "A"


def test_counts_are_of_the_set(labelled: Windows) -> None:
    """Counts on a shard are those of all ranks, and sampling does not change them."""
    counts = labelled.label_counts()

    assert labelled.shuffle(1).shard(1, 3).label_counts() == counts
    assert labelled.sample(labelled.balanced_weights(), n=5).label_counts() == counts
    assert sum(counts.values())


def test_weights_draw_classes_equally_often() -> None:
    """Rare classes weigh more, no class is one more class, and unknown windows weigh nothing."""
    annotations = _annotations(
        ("r0", 0, 3, "A"), ("r0", 0, 1, "B"), ("r1", 0, 1, "noise"), ("r2", 1, 2, "A"),
    )  # fmt: skip
    labelled = _windows().label(annotations, ignore=["noise"])
    assert _heard(labelled) == ["AB", "A", "A", "", "", "", "A", ""]

    weights = labelled.balanced_weights()

    expected = np.array([1 / 4 + 1, 1 / 4, 1 / 4, 1 / 3, 0, 1 / 3, 1 / 4, 1 / 3])
    np.testing.assert_allclose(weights, expected / 3, rtol=1e-12)
    alone = _windows().label(_annotations(("r0", 0, 3, "A"), ("r2", 1, 2, "B")))
    np.testing.assert_allclose(alone.balanced_weights() @ _rows(alone)[0], [1 / 3, 1 / 3])


def test_counts_and_weights_do_not_depend_on_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of windows that are counted in one step does not change the result."""
    labelled = _windows(0.3, 0.1).label(_annotations(("r0", 0.35, 2, "A"), ("r2", 1, 1.2, "B")))
    counts, weights = labelled.label_counts(), labelled.balanced_weights()
    labels, _ = _rows(labelled)
    assert list(counts.values()) == labels.sum(axis=0).tolist()
    monkeypatch.setattr("headrace.windows._window_sets._ROWS_AT_ONCE", 3)
    assert labelled.label_counts() == counts
    np.testing.assert_array_equal(labelled.balanced_weights(), weights)


def test_labels_of_several_catalogs_are_joined() -> None:
    """Each recording keeps its labels and its mask in the joined labels."""
    parts = [
        _windows().label(_annotations(("r0", 3, 4, "B"), ("r2", 0, 3, "A"))),
        _windows().label(_annotations(("r1", 0, 1, "A"), files=()), ["A", "B"], unannotated="mask"),
        _windows().label(_annotations(("r0", 0, 1, "B"), ("r2", 1, 2, "A"))),
    ]  # fmt: skip
    rows = parts[0].rows(np.arange(len(parts[0]), dtype=np.int64))
    labels = [part.labels for part in parts if part.labels is not None]

    joined = Labels.join(labels, [np.arange(3) + 3 * at for at in range(3)])
    got = joined.rows(
        np.concatenate([rows.recording + 3 * at for at in range(3)]), np.tile(rows.start, 3)
    )

    for at, which in enumerate(got):
        np.testing.assert_array_equal(which, np.concatenate([_rows(part)[at] for part in parts]))
    other = _windows().label(_annotations(("r0", 0, 1, "C"))).labels
    assert other is not None
    with pytest.raises(AnnotationError, match="same classes, not <Labels: 2 classes, A, B> and"):
        Labels.join([labels[0], other], [np.arange(3), np.arange(3, 6)])
    with pytest.raises(AnnotationError, match="must have the same labels"):
        Labels.join(labels[:2], [np.arange(3), np.arange(2, 5)])
    again = Labels.join([labels[0]] * 2, [np.arange(3)] * 2)  # two slices of the same windows
    np.testing.assert_array_equal(again.rows(rows.recording, rows.start)[0], _rows(parts[0])[0])


def test_windows_of_one_catalog_that_are_labelled_alike_are_joined() -> None:
    """Labels that were made twice from the same annotations count as the same."""
    catalog = fake_catalog([1_000 * seconds for seconds in SECONDS])
    events = _annotations(("r0", 3, 4, "B"), ("r2", 0, 3, "A"), ("r1", 0.2, 0.4, "B"))
    cut = catalog.windows(1_000, 1.0)
    calls = catalog.windows_at({"id": ["r0", "r2", "r1"], "at_s": [3.4, 1.7, 0.5]}, 1_000, 1.0)
    elsewhere = _windows().label(_annotations(("r2", 1, 2, "A"), ("r0", 0, 1, "B")))
    parts = [cut.label(events), calls.label(events), elsewhere, cut.label(events)[2:]]

    for joined in (headrace.concat(parts), headrace.mix(parts, seed=2)):
        expected = np.concatenate([_rows_of_set(part) for part in parts])
        np.testing.assert_array_equal(_rows_of_set(joined), expected)
        assert joined.labels is not None
        assert joined.labels.nbytes == _nbytes(parts[0]) + _nbytes(elsewhere) - 8  # one total
    for other in (
        cut.label(_annotations(("r0", 3, 4, "B"), ("r2", 0, 3, "A"))),
        cut.label(events, min_fraction=0.9),
        cut.label(_annotations(("r0", 3, 4, "A"), ("r2", 0, 3, "B"), ("r1", 0.2, 0.4, "A"))),
    ):
        with pytest.raises(
            AnnotationError, match="have the same labels: label all of them by the same"
        ):
            headrace.concat([calls.label(events), other])


def _nbytes(windows: Windows) -> int:
    assert windows.labels is not None
    return windows.labels.nbytes


def test_a_window_may_start_before_its_recording() -> None:
    """Such a window does not get the labels of the recording before on the line."""
    labels = _windows().label(_annotations(("r0", 3.9, 4, "A"), ("r1", 0, 0.2, "B"))).labels
    assert labels is not None
    rows, _ = labels.rows(np.array([1, 1, 1]), np.array([-1_000, -999, -5_000]))
    assert rows.tolist() == [[0, 0], [0, 1], [0, 0]]


def test_annotations_without_any_event_have_classes_that_are_given() -> None:
    """An archive without events can be labelled if the classes are given."""
    labelled = _windows().label(_annotations(), ["A"])
    assert labelled.label_counts() == {"A": 0}
    np.testing.assert_allclose(labelled.balanced_weights(), 1 / 8)
    with pytest.raises(AnnotationError, match="There are no events, so that no class is known"):
        _windows().label(_annotations())
