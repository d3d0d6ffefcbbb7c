from __future__ import annotations

import csv
import importlib
import importlib.util
import unicodedata
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace
from headrace import Annotations, Detections
from headrace.annotations._export_files import file_names
from headrace.detections import write_to_hoplite
from headrace.errors import ResultsError
from tests.support.catalogs import fake_catalog

if TYPE_CHECKING:
    from collections.abc import Callable

IDS = ("site 1/a.wav", "site 1/a.flac", "b.wav", "empty.wav")

FOUND = Detections.from_table(
    pa.table({
        "id": ["b.wav", "site 1/a.wav", "site 1/a.wav", "site 1/a.flac"],
        "start_s": [1 / 3, 3.0, 86_399.9999, 0.0],
        "end_s": [2.0, 6.0, 86_400.5, 1e-5],
        "label": ["Turdus merula_Eurasian Blackbird", 'say "a, b"', "frog", "frog"],
        "score": np.array([0.9, 0.123456789, 1e-7, 1], np.float32),
        "channel": pa.array([None, 1, 0, None], pa.int32()),
        "low_hz": [1200.5, None, None, None],
        "high_hz": [4800.25, None, None, None],
    }),
    recordings=IDS,
)  # fmt: skip


def events(annotations: Annotations) -> list[tuple[Any, ...]]:
    """Return the events of annotations, sorted."""
    names = ("file", "start_s", "end_s", "label", "low_hz", "high_hz")
    rows = annotations.to_arrow().select(names).to_pylist()
    return sorted((tuple(row.values()) for row in rows), key=str)


def _without_bands(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted((row[:4] for row in rows), key=str)


def test_annotations_have_the_same_events() -> None:
    """Detections as annotations keep times, labels, frequencies, and recordings without events."""
    annotations = FOUND.to_annotations()

    assert events(annotations) == sorted(
        (tuple(row[name] for name in ("id", "start_s", "end_s", "label", "low_hz", "high_hz"))
         for row in FOUND.to_arrow().to_pylist()),
        key=str,
    )  # fmt: skip
    assert set(annotations.files) == set(IDS)
    assert annotations.matched


def test_raven_tables_are_read_as_the_same_events(tmp_path: Path) -> None:
    """`read_raven` of the tables gives each event, to the last bit of its times."""
    files = FOUND.to_raven(tmp_path / "raven")
    read = Annotations.read_raven(tmp_path / "raven")

    assert [file.relative_to(tmp_path / "raven").as_posix() for file in files] == [
        f"{name}.selections.txt" for name in FOUND.recordings
    ]
    assert events(read) == events(FOUND.to_annotations())
    assert set(read.files) == set(IDS)


def test_a_raven_table_has_the_columns_of_raven(tmp_path: Path) -> None:
    """Selections are numbered, channels count from 1, the root completes the path."""
    FOUND.to_raven(tmp_path, root="/archive", band_hz=(0, 24_000))
    with (tmp_path / "site 1/a.wav.selections.txt").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

    assert rows[0] == {
        "Selection": "1",
        "View": "Spectrogram 1",
        "Channel": "2",
        "Begin Time (s)": "3.0",
        "End Time (s)": "6.0",
        "Low Freq (Hz)": "0.0",
        "High Freq (Hz)": "24000.0",
        "Begin Path": "/archive/site 1/a.wav",
        "File Offset (s)": "3.0",
        "Annotation": 'say "a, b"',
        "Score": "0.12345679",
    }
    assert [row["Selection"] for row in rows] == ["1", "2"]


def test_raven_tables_leave_out_frequencies_that_nobody_knows(tmp_path: Path) -> None:
    """If no detection has frequencies and no band is given, the tables have no such columns."""
    (file,) = FOUND.filter([False] * 4).to_raven(tmp_path)[:1]

    assert "Freq" not in file.read_text()
    assert file.read_text().startswith("Selection\tView\tChannel\tBegin Time (s)\t")


def test_audacity_tracks_are_read_as_the_same_events(tmp_path: Path) -> None:
    """`read_audacity` of the tracks gives each event, also frequencies and empty tracks."""
    files = FOUND.to_audacity(tmp_path)
    read = Annotations.read_audacity(tmp_path)

    assert len(files) == len(IDS)
    assert events(read) == events(FOUND.to_annotations())
    assert set(read.files) == set(IDS)
    assert (tmp_path / "empty.wav.txt").read_bytes() == b""


def test_csv_and_parquet_are_read_as_the_same_events(tmp_path: Path) -> None:
    """Both files have the columns of the table; `Annotations` reads them."""
    FOUND.to_csv(tmp_path / "found.csv")
    FOUND.to_parquet(tmp_path / "found.parquet")
    expected = events(FOUND.to_annotations())

    assert events(Annotations.read_csv(tmp_path / "found.csv", file="id")) == expected
    assert events(Annotations.read_parquet(tmp_path / "found.parquet", file="id")) == expected
    assert pq.read_table(tmp_path / "found.parquet").equals(FOUND.to_arrow())
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == FOUND.to_arrow().column_names
    assert [np.float32(row["score"]) for row in rows] == FOUND.to_arrow()["score"].to_pylist()


def test_birdnet_tables_are_in_one_file_or_one_a_recording(tmp_path: Path) -> None:
    """Both have BirdNET-Analyzer's columns, with a label's two names apart."""
    FOUND.to_birdnet_csv(tmp_path / "all.csv")
    files = FOUND.to_birdnet_csv(tmp_path / "each")
    names = {"start_s": "Start (s)", "end_s": "End (s)", "file": "File", "label": "Common name"}
    expected = sorted(
        ((*row[:3], str(row[3]).rpartition("_")[2])
        for row in events(FOUND.to_annotations())), key=str
    )  # fmt: skip

    for source in (tmp_path / "all.csv", tmp_path / "each"):
        assert _without_bands(events(Annotations.read_csv(source, **names))) == expected
    assert [file.name for file in files] == [
        f"{name.rpartition('/')[2]}.BirdNET.results.csv" for name in FOUND.recordings
    ]
    first = (tmp_path / "each/b.wav.BirdNET.results.csv").read_text()
    assert first == (
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
        "0.3333333333333333,2.0,Turdus merula,Eurasian Blackbird,0.9,b.wav\n"
    )


@settings(max_examples=25)  # each writes some files
@given(
    st.lists(
        st.tuples(
            st.sampled_from(IDS),
            st.floats(0, 1e6),
            st.floats(0, 1e3),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        ),
        max_size=8,
    )
)
def test_any_times_and_labels_survive(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float, float, str]]
) -> None:
    """Whatever the times and labels are, Raven, Audacity and CSV files give the same events.

    But for what separates lines and values there, and spaces around a label.
    """
    tmp_path = tmp_path_factory.mktemp("exports")
    table = pa.table({
        "id": pa.array([row[0] for row in rows], pa.string()),
        "start_s": pa.array([row[1] for row in rows], pa.float64()),
        "end_s": pa.array([row[1] + row[2] for row in rows], pa.float64()),
        "label": pa.array([row[3] for row in rows], pa.string()),
        "score": pa.array([0.5 for _ in rows], pa.float32()),
    })  # fmt: skip
    found = Detections.from_table(table)
    found.to_raven(tmp_path / "raven")
    found.to_audacity(tmp_path / "audacity")

    def cleaned(row: tuple[Any, ...]) -> tuple[Any, ...]:
        label = row[3] or ""
        for mark in "\t\r\n":
            label = label.replace(mark, " ")
        return (*row[:3], label.strip() or None)

    expected = sorted(map(cleaned, events(found.to_annotations())), key=str)
    if rows:
        for read, kind in (
            (Annotations.read_raven, "raven"),
            (Annotations.read_audacity, "audacity"),
        ):
            assert _without_bands(events(read(tmp_path / kind))) == expected


NASTY = [
    "a.wav", "A.wav", "x/../../etc/passwd", "/absolute.wav", "../up.wav", "c:\\d\\e.wav",
    "con.wav", "NUL", "dots...", "b/./c//d.wav", "tab\there.wav", "s3://bucket/key?x=1", "é.wav",
    "e\u0301.wav", "", "..", "/", "long" * 100 + ".wav", "long" * 100 + ".flac", "é" * 200,
    "shard.tar/member.wav", "new\nline", "trailing ", "*?.wav",
]  # fmt: skip


@given(st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=12)), unique=True))
def test_names_of_files_are_unique_and_stay_inside(ids: list[str]) -> None:
    """Any ids give different names, also where case does not count, and none leads outside."""
    names = file_names(ids, ".selections.txt")

    folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
    assert len(set(folded)) == len(ids)
    for name in names:
        parts = name.split("/")
        assert not {"", ".", ".."} & {*parts}
        assert all(len(part.encode()) <= 255 for part in parts)
        assert not set(name) & set('<>:"\\|?*\t\n\0')
        assert name.endswith(".selections.txt")


def test_ordinary_names_follow_the_ids() -> None:
    """An id without anything unusual is the name, in its folder."""
    ids = ["a.wav", "2024-05-01/Straße 7/b c.flac", "shard.tar/member.wav"]

    assert file_names(ids, ".txt") == [f"{name}.txt" for name in ids]


@pytest.mark.parametrize("name", NASTY)
def test_files_of_any_id_are_written(tmp_path: Path, name: str) -> None:
    """The true id stands in the Raven table whatever the file is called."""
    table = pa.table({
        "id": [name], "start_s": [0.0], "end_s": [1.0], "label": ["x"], "score": [1.0]
    })  # fmt: skip
    (file,) = Detections.from_table(table).to_raven(tmp_path / "out")

    assert file.resolve().is_relative_to(tmp_path / "out")
    assert name.replace("\t", " ").replace("\n", " ") in file.read_text("utf-8")


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (Detections.to_raven, "raven"),
        (Detections.to_audacity, "audacity"),
        (Detections.to_birdnet_csv, "each"),
        (Detections.to_birdnet_csv, "all.csv"),
        (Detections.to_csv, "found.csv"),
        (Detections.to_parquet, "found.parquet"),
    ],
)
def test_existing_files_are_kept_unless_asked(
    tmp_path: Path, write: Callable[..., object], name: str
) -> None:
    """A second export is refused before anything is written; with overwrite=True it replaces."""
    less = FOUND.filter([False] * len(FOUND))
    write(FOUND, tmp_path / name)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    with pytest.raises(FileExistsError, match=r"exists.*overwrite=True"):
        write(less, tmp_path / name)
    assert before == {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    write(less, tmp_path / name, overwrite=True)
    after = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert before.keys() == after.keys()
    assert before != after


def test_a_folder_for_a_file_and_a_file_for_a_folder_are_refused(tmp_path: Path) -> None:
    """The message names the path."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()

    with pytest.raises(NotADirectoryError, match="file' is a file: give a folder"):
        FOUND.to_raven(tmp_path / "file")
    with pytest.raises(IsADirectoryError, match=r"folder.csv' is a folder: name a file"):
        FOUND.to_csv(tmp_path / "folder.csv", overwrite=True)
    for write in (FOUND.to_raven, FOUND.to_csv):
        with pytest.raises(ValueError, match="'s3://bucket/x' is a URL: exports are written to"):
            write("s3://bucket/x")
    with pytest.raises(FileNotFoundError, match="create it first"):
        FOUND.to_parquet(tmp_path / "none/found.parquet")


def test_a_write_that_fails_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full, what stood there stays, and no part of a file is left."""
    FOUND.to_csv(tmp_path / "found.csv")
    before = (tmp_path / "found.csv").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        FOUND.to_csv(tmp_path / "found.csv", overwrite=True)
    assert [*tmp_path.iterdir()] == [tmp_path / "found.csv"]
    assert (tmp_path / "found.csv").read_bytes() == before


def test_exported_events_are_labels_of_windows(tmp_path: Path) -> None:
    """A Raven export, read again, labels the catalog's recordings without a warning."""
    catalog = fake_catalog([12_000] * 2)
    table = pa.table({
        "id": ["r1"], "start_s": [3.0], "end_s": [6.0], "label": ["x"], "score": [1.0]
    })  # fmt: skip
    found = Detections.from_table(table, recordings=catalog.ids.to_pylist())
    found.to_raven(tmp_path)
    windows = catalog.windows(1_000, 3.0)

    for named in (found.to_annotations(), Annotations.read_raven(tmp_path)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            labelled = windows.label(named)
        assert labelled.label_counts() == {"x": 1}


needs_crowsetta = pytest.mark.skipif(
    importlib.util.find_spec("crowsetta") is None, reason="crowsetta is not installed"
)
needs_hoplite = pytest.mark.skipif(
    importlib.util.find_spec("perch_hoplite") is None, reason="perch-hoplite is not installed"
)


@needs_crowsetta
def test_crowsetta_opens_a_raven_table(tmp_path: Path) -> None:
    """Its boxes have our times, labels, and the given band."""
    FOUND.to_raven(tmp_path, band_hz=(0, 24_000))
    boxes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own code
        raven = importlib.import_module("crowsetta").formats.bbox.Raven
        for name in ("b.wav", "site 1/a.flac"):
            boxes += raven.from_file(tmp_path / f"{name}.selections.txt").to_bbox()

    assert [(b.onset, b.offset, b.low_freq, b.high_freq, b.label) for b in boxes] == [
        (1 / 3, 2.0, 1200.5, 4800.25, "Turdus merula_Eurasian Blackbird"),
        (0.0, 1e-5, 0.0, 24_000.0, "frog"),
    ]


def _embeddings(count: int) -> pa.Table:
    """Return results of windows of two recordings, with embeddings of 4 numbers."""
    matrix = np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32)
    start = 3.0 * (np.arange(count) // 2)
    return pa.table({
        "id": [f"{row % 2}.wav" for row in range(count)],
        "start_s": start,
        "end_s": start + 3,
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), 4),
    })  # fmt: skip


@needs_hoplite
def test_embeddings_are_found_in_a_hoplite_database(tmp_path: Path) -> None:
    """Each window has its embedding, recording and times; a second call adds only what is new."""
    hoplite = importlib.import_module("perch_hoplite.db.sqlite_usearch_impl")
    table = _embeddings(20)
    calls = [[{"start_s": 0.0, "end_s": 1.0, "label": "x", "score": 1.0}]] * 20
    table = table.append_column("calls", pa.array(calls))
    config = hoplite.get_default_usearch_config(embedding_dim=4)
    db = hoplite.SQLiteUSearchDB.create(str(tmp_path), config)

    assert write_to_hoplite(table.slice(0, 12), db) == 12
    assert write_to_hoplite(table, db) == 8
    assert db.count_embeddings() == 20
    names = {recording.id: recording.filename for recording in db.get_all_recordings()}
    rows = {(row["id"], row["start_s"]): row for row in table.to_pylist()}
    for window in db.get_all_windows():
        row = rows.pop((names[window.recording_id], window.offsets[0]))
        assert window.offsets == pytest.approx([row["start_s"], row["end_s"]])
        stored = db.get_embedding(window.id)
        assert stored == pytest.approx(np.array(row["embedding"]), abs=2e-3)  # float16
    assert not rows
    other = table.set_column(3, "embedding", pa.array([[1.0]] * 20, pa.list_(pa.float32())))
    with pytest.raises(ResultsError, match="embeddings of the database have 4 numbers"):
        write_to_hoplite(other, db)
    with pytest.raises(ResultsError, match="no column of lists with 4 numbers"):
        write_to_hoplite(table.drop_columns("embedding"), db)
    db.db.close()


@needs_hoplite
def test_embeddings_of_a_run_are_found_by_their_own_vector(tmp_path: Path) -> None:
    """`Run.to_hoplite` adds a window for each row, which a search for its embedding returns."""
    rng = np.random.default_rng(0)
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, 0.5 * rng.uniform(-1, 1, 32_000), 8_000)
    windows = headrace.scan(tmp_path).windows(8_000, 1.0)

    def model(batch: Any) -> Any:
        vectors = batch.audio[:, :16]
        return {"loud": batch.audio.max(axis=1), "vector": vectors / np.linalg.norm(vectors)}

    run = windows.apply(model, tmp_path / "out", batch_size=8, name="x", progress=False)
    hoplite = importlib.import_module("perch_hoplite.db.sqlite_usearch_impl")
    config = hoplite.get_default_usearch_config(embedding_dim=16)
    db = hoplite.SQLiteUSearchDB.create(str(tmp_path / "db"), config)

    assert run.to_hoplite(db) == len(windows) == 8
    assert run.to_hoplite(db) == 0
    names = {recording.id: recording.filename for recording in db.get_all_recordings()}
    for row in run.to_arrow().to_pylist():
        (key,) = db.ui.search(np.array(row["vector"], np.float16), 1).keys.tolist()
        window = db.get_window(key)
        assert (names[window.recording_id], window.offsets[0]) == (row["id"], row["start_s"])
    db.db.close()
