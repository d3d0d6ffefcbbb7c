from __future__ import annotations

import pickle
from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import Annotations
from headrace.errors import AnnotationError, HeadraceWarning
from tests.support.annotation_rows import event_rows
from tests.support.catalogs import fake_catalog

if TYPE_CHECKING:
    from pathlib import Path

TABLE = pa.table({
    "file": ["r0", "r0", "r2"],
    "start_s": [0.0, 1.5, 2.0],
    "end_s": [1.0, 2.5, 3.0],
    "label": ["B", "A", None],
    "quality": ["H", "L", None],
})  # fmt: skip


def test_a_table_is_arrow_or_pandas_or_parquet(tmp_path: Path) -> None:
    """All three give the same events with the same types, whatever their column names."""
    pq.write_table(TABLE, tmp_path / "events.parquet")
    renamed = TABLE.rename_columns(["name", "from", "to", "species", "grade"]).to_pandas()
    made = [
        Annotations.from_table(TABLE),
        Annotations.from_table(TABLE.to_pandas()),
        Annotations.from_table(
            renamed, file="name", start_s="from", end_s="to", label="species", quality="grade"
        ),
        Annotations.read_parquet(tmp_path / "events.parquet"),
    ]

    for one in made:
        assert one.to_arrow().equals(made[0].to_arrow())
        assert one.files == ("r0", "r2")
        assert one.labels == ("A", "B")
        assert len(one) == 3
    assert event_rows(made[0]) == [("r0", 0, 1, "B"), ("r0", 1.5, 2.5, "A"), ("r2", 2, 3, None)]
    assert repr(made[0]) == "<Annotations: 3 events of 2 labels in 2 files>"
    assert made[0].to_pandas()["low_hz"].isna().all()


def test_malformed_rows_are_skipped_and_reported() -> None:
    """A row without a file or with impossible times is skipped and reported with its number."""
    table = pd.DataFrame({
        "file": ["a", None, "c", "d", "e", "f"],
        "start_s": [0, 1, 2, nan, -1, inf],
        "end_s": [1, 2, 1, 4, 5, inf],
        "label": ["A"] * 6,
    })  # fmt: skip

    with pytest.warns(
        HeadraceWarning, match=r"Skipped 5 malformed lines: row 1: no file.*and 2 more"
    ) as warned:
        annotations = Annotations.from_table(table)

    assert warned[0].filename == __file__
    assert event_rows(annotations, "file") == [("a",)]
    assert [one.line for one in annotations.malformed] == [1, 2, 3, 4, 5]
    assert repr(annotations).endswith("in 1 file, 5 malformed lines>")


@pytest.mark.parametrize(("table", "message"), [
    (pa.table({"file": ["a"]}), "no 'label'"),
    (pa.table({"file": ["a"], "label": ["A"], "start_s": ["x"], "end_s": [1]}), "'start_s' cannot"),
    ([1, 2], "Give an Arrow table or a pandas DataFrame, not list"),
])  # fmt: skip
def test_a_table_without_events_is_refused(table: Any, message: str) -> None:
    """The message names the column."""
    with pytest.raises(AnnotationError, match=message):
        Annotations.from_table(table)


@pytest.mark.parametrize(
    ("own", "as_written"),
    [
        ({"source": ["x.txt"], "line": [4]}, ("x.txt", 4)),
        ({"source": pa.array(["x.txt"], pa.large_string()), "line": [4.0]}, ("x.txt", 4)),
        ({"source": [7], "line": ["seven"]}, (None, None)),
        ({"source": [["x.txt"]], "line": [1.5]}, (None, None)),
        ({"source": [True], "line": pa.array([2**63], pa.uint64())}, (None, None)),
    ],
)
def test_a_users_own_source_and_line_are_ignored(
    own: dict[str, Any], as_written: tuple[str | None, int | None]
) -> None:
    """These columns are used only with the types that `to_arrow` writes."""
    table = pa.table({"file": ["a"], "label": ["A"], **own})

    annotations = Annotations.from_table(table)

    assert event_rows(annotations, "source", "line") == [as_written]
    assert Annotations.from_table(annotations.to_arrow()).to_arrow().equals(annotations.to_arrow())
    assert Annotations.from_table(annotations.to_pandas()).to_arrow().equals(annotations.to_arrow())


def test_other_columns_do_not_matter_to_a_report() -> None:
    """A column that is not used, and that Python cannot represent, does not matter."""
    table = pa.table({
        "name": ["a", None],
        "label": ["A", "B"],
        "day": pa.array([0, 2**31 - 1], pa.int32()).cast(pa.date32()),
    })  # fmt: skip

    with pytest.warns(HeadraceWarning, match="row 1: no file") as warned:
        annotations = Annotations.from_table(table, file="name")

    assert annotations.malformed[0].text == "{'name': None, 'label': 'B'}"
    assert warned[0].filename == __file__


def test_read_parquet_warns_at_its_caller(tmp_path: Path) -> None:
    """The warning points to the caller; an unknown parameter is refused."""
    pq.write_table(pa.table({"name": ["a", None], "label": ["A"] * 2}), tmp_path / "x.parquet")

    with pytest.warns(HeadraceWarning, match="row 1: no file") as warned:
        annotations = Annotations.read_parquet(tmp_path / "x.parquet", file="name", files=["b"])

    assert warned[0].filename == __file__
    assert annotations.files == ("a", "b")
    with pytest.raises(TypeError, match="read_parquet has no parameter fyle"):
        Annotations.read_parquet(tmp_path / "x.parquet", fyle="name")


def test_files_without_events_can_be_given() -> None:
    """A table has no row for a recording without events: `files` names it."""
    assert Annotations.from_table(TABLE, files=["r1", "r0"]).files == ("r0", "r2", "r1")


def test_folders_are_labels() -> None:
    """A recording's label is the name of its folder; a recording in the root has none."""
    names = ["dog/1", "dog/2", "x/cat/1", "3"]
    catalog = fake_catalog([1_000] * 4).from_table(
        fake_catalog([1_000] * 4).to_arrow().set_column(0, "id", pa.array(names)), root="/there"
    )

    annotations = Annotations.from_folders(catalog)

    assert event_rows(annotations) == [
        ("dog/1", 0, inf, "dog"), ("dog/2", 0, inf, "dog"), ("x/cat/1", 0, inf, "cat"),
    ]  # fmt: skip
    assert annotations.unmatched(catalog) == ((), ("3",))
    with pytest.raises(AnnotationError, match="scan the folder above"):
        Annotations.from_folders(fake_catalog([1_000]))


def test_folder_labels_match_by_id_only() -> None:
    """A part of the catalog gets no labels of other recordings, and no warning."""
    table = (
        fake_catalog([1_000] * 2).to_arrow().set_column(0, "id", pa.array(["dog/1", "cat/dog/1"]))
    )
    catalog = fake_catalog([1_000]).from_table(table, root="/there")
    annotations = Annotations.from_folders(catalog)

    assert annotations.matched
    labelled = catalog[1:].windows(1_000, 0.5).label(annotations, ["dog", "cat"])
    assert labelled.label_counts() == {"dog": 2, "cat": 0}
    with pytest.raises(AnnotationError, match="None of 2 annotated files"):
        fake_catalog([1_000]).windows(1_000, 0.5).label(annotations)


def test_a_filter_keeps_the_annotated_files() -> None:
    """Events go and files stay, because a file without events is annotated, too."""
    annotations = Annotations.from_table(TABLE)

    some = annotations.filter(np.array(annotations.to_arrow()["quality"].to_pylist()) == "H")

    assert event_rows(some, "label") == [("B",)]
    assert some.files == annotations.files
    with pytest.raises(AnnotationError, match="2 values for 3 events"):
        annotations.filter([True, False])


def test_annotations_can_be_added() -> None:
    """The sum has the events of both, and each file once."""
    one = Annotations.from_table(TABLE, files=["r1"])
    other = Annotations.from_table(pa.table({"file": ["r1"], "label": ["C"]}))
    both = one + other
    assert both.labels == ("A", "B", "C")
    assert both.files == ("r0", "r2", "r1")
    assert len(both) == 4


def test_matching_warns_of_both_sides() -> None:
    """One warning counts what is unmatched and names the first; `unmatched` has all."""
    catalog = fake_catalog([1_000] * 6)
    annotations = Annotations.from_table(TABLE, files=["/old/r1.wav", "b", "c", "d"])

    with pytest.warns(HeadraceWarning) as warned:
        matched = annotations.match(catalog)

    (message,) = [str(one.message) for one in warned]
    assert message == (
        "4 of 6 annotated files are not recordings of the catalog (/old/r1.wav, b, c, ...); "
        "4 of 6 recordings are not annotated (r1, r3, r4, ...). See annotations.unmatched(catalog)"
        " for all of them, and annotations.match for other ways to match."
    )
    assert warned[0].filename == __file__
    assert annotations.unmatched(catalog) == (
        ("/old/r1.wav", "b", "c", "d"), ("r1", "r3", "r4", "r5"),
    )  # fmt: skip
    assert annotations.unmatched(catalog, by="stem").files == ("b", "c", "d")
    assert matched.files == ("r0", "r2")
    assert event_rows(matched, "file") == event_rows(annotations, "file")


def test_matched_annotations_have_the_recordings_ids() -> None:
    """File names become ids, in the order of the recordings; unmatched events are dropped."""
    catalog = fake_catalog([1_000] * 3)
    annotations = Annotations.from_table(
        pa.table({"file": ["two", "gone", "two", "one"], "label": list("ABCD")})
    )
    names = {"one": "r1", "two": "r0"}

    with pytest.warns(HeadraceWarning, match=r"\(gone\); 1 of 3 .* \(r2\)"):
        matched = annotations.match(catalog, by=names.get)

    assert event_rows(matched, "file", "label") == [("r0", "A"), ("r0", "C"), ("r1", "D")]
    with pytest.raises(
        AnnotationError, match=r"None of 3 .* first is 'two', the catalog's first is 'r0'"
    ):
        annotations.match(catalog)


def test_annotations_can_be_pickled() -> None:
    """The copy has the same events and files."""
    annotations = Annotations.from_table(TABLE, files=["r1"])
    again = pickle.loads(pickle.dumps(annotations))
    assert again.to_arrow().equals(annotations.to_arrow())
    assert again.files == annotations.files
