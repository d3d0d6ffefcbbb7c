"""Label files that are written, and read again."""

from __future__ import annotations

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import Annotations, Detections
from headrace.errors import AnnotationError, HeadraceWarning
from tests.support.annotation_rows import event_rows

if TYPE_CHECKING:
    from collections.abc import Callable

ALL = ("file", "start_s", "end_s", "label", "low_hz", "high_hz", "quality", "score")
FILES = ("S1/a.wav", "S1/b.wav", "S2/a.wav", "empty.wav")

LABELS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12
).filter(lambda one: one == one.strip())
HZ = st.none() | st.floats(0, 96_000)


@st.composite
def tables(draw: st.DrawFn, *, whole: bool = False) -> Annotations:
    """Draw annotations of some files, one of which has no events."""
    count = draw(st.integers(0, 5))
    starts = [draw(st.floats(0, 1e6)) for _ in range(count)]
    lengths = [draw(st.floats(0, 1e4)) for _ in range(count)]
    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    if whole and count:
        starts[0], ends[0] = 0.0, np.inf
    scores = [draw(st.none() | st.floats(0, 1, width=32)) for _ in range(count)]
    table = pa.table(
        {
            "file": pa.array([draw(st.sampled_from(FILES[:3])) for _ in range(count)], pa.string()),
            "start_s": pa.array(starts, pa.float64()),
            "end_s": pa.array(ends, pa.float64()),
            "label": pa.array([draw(st.none() | LABELS) for _ in range(count)], pa.string()),
            "low_hz": pa.array([draw(HZ) for _ in range(count)], pa.float64()),
            "high_hz": pa.array([draw(HZ) for _ in range(count)], pa.float64()),
            "quality": pa.array([draw(st.none() | LABELS) for _ in range(count)], pa.string()),
            "score": pa.array(scores, pa.float32()),
        }
    )
    return Annotations.from_table(table, files=FILES)


def content(annotations: Annotations, *names: str) -> tuple[list[Any], set[str]]:
    """Return the events in the order of their files, and all files."""
    return sorted(event_rows(annotations, *names), key=repr), set(annotations.files)


def written(write: Callable[[Path], object], read: Any) -> Annotations:
    """Return what is read of what was written."""
    with TemporaryDirectory() as folder:
        write(Path(folder) / "labels")
        with warnings.catch_warnings():  # of malformed lines there are none
            warnings.simplefilter("error")
            again: Annotations = read(Path(folder) / "labels")
    return again


@settings(max_examples=20, deadline=None)
@given(tables())
def test_raven_tables_come_back(annotations: Annotations) -> None:
    """Every value to the last bit: files, times, labels, frequencies, qualities and scores."""
    again = written(annotations.to_raven, Annotations.read_raven)
    assert content(again, *ALL) == content(annotations, *ALL)


@settings(max_examples=20, deadline=None)
@given(tables())
def test_audacity_tracks_come_back(annotations: Annotations) -> None:
    """Files, times, labels and frequencies; the format has no scores."""
    again = written(annotations.to_audacity, Annotations.read_audacity)
    assert content(again, *ALL[:6]) == content(annotations, *ALL[:6])


@settings(max_examples=20, deadline=None)
@given(tables(whole=True))
def test_csv_comes_back(annotations: Annotations) -> None:
    """Every value, labels of whole recordings, and files without events."""
    again = written(
        lambda file: annotations.to_csv(file.with_suffix(".csv")),
        lambda file: Annotations.read_csv(file.with_suffix(".csv")),
    )
    assert content(again, *ALL) == content(annotations, *ALL)


@settings(max_examples=20, deadline=None)
@given(tables(whole=True))
def test_parquet_comes_back(annotations: Annotations) -> None:
    """Every value, labels of whole recordings, and files without events."""
    again = written(annotations.to_parquet, Annotations.read_parquet)
    assert content(again, *ALL) == content(annotations, *ALL)


def test_labels_of_whole_recordings_have_no_end_to_write(tmp_path: Path) -> None:
    """Raven and Audacity need one; nothing is written."""
    annotations = Annotations.from_table(pa.table({"file": ["a.wav"], "label": ["frog"]}))
    for write in (annotations.to_raven, annotations.to_audacity):
        with pytest.raises(AnnotationError, match=r"1 label of whole recordings .*use to_csv"):
            write(tmp_path / "labels")
    assert not (tmp_path / "labels").exists()


def test_files_that_would_be_read_as_others_are_reported(tmp_path: Path) -> None:
    """A path from the root is no name of a label file; a Raven table with events has it inside."""
    annotations = Annotations.from_table(
        pa.table({"file": ["/d/a.wav"], "start_s": [0.0], "end_s": [1.0], "label": ["frog"]}),
        files=["/d/b.wav", "c.wav"],
    )
    for write, message in (
        (annotations.to_raven, r"read_raven will not know again 1 file, .* first: /d/b\.wav"),
        (annotations.to_audacity, r"read_audacity will not know again 2 files, .* /d/a\.wav"),
    ):
        with pytest.warns(HeadraceWarning, match=message) as caught:
            write(tmp_path / write.__name__)
        assert caught[0].filename == __file__
    again = Annotations.read_raven(tmp_path / "to_raven")
    assert "/d/a.wav" in again.files
    assert "/d/b.wav" not in again.files


def test_existing_files_are_kept(tmp_path: Path) -> None:
    """They are replaced only if that is asked for."""
    annotations = Annotations.from_table(
        pa.table({"file": ["a.wav"], "start_s": [0.0], "end_s": [1.0], "label": ["frog"]})
    )
    annotations.to_raven(tmp_path, root="/data")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        annotations.to_raven(tmp_path)
    (file,) = annotations.to_raven(tmp_path, root="/data", overwrite=True)
    assert "/data/a.wav" in file.read_text()
    annotations.to_csv(tmp_path / "a.csv")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        annotations.to_csv(tmp_path / "a.csv")


def test_detections_keep_their_scores_as_annotations() -> None:
    """The scores of a model become those of its events."""
    table = pa.table(
        {"id": ["a"], "start_s": [0.0], "end_s": [1.0], "label": ["frog"], "score": [0.25]}
    )
    annotations = Detections.from_table(table).to_annotations()
    assert event_rows(annotations, "label", "score") == [("frog", 0.25)]
