"""Tables as BirdNET-Analyzer 2.4 and the package birdnet 1.3 write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headrace import Annotations, scan
from headrace.errors import AnnotationError, HeadraceWarning
from tests.support.annotation_rows import event_rows
from tests.support.recorder_files import recorder_wav

if TYPE_CHECKING:
    from pathlib import Path

TABLE = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\t"
    "Common Name\tSpecies Code\tConfidence\tBegin Path\tFile Offset (s)\n"
)
CSV = "Start (s),End (s),Scientific name,Common name,Confidence,File\n"
KALEIDOSCOPE = (
    "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence,lat,lon,week,"
    "overlap,sensitivity\n"
)
PACKAGE = "input,start_time,end_time,species_name,confidence\n"

ROWS = [
    ("S1/a.wav", 0.0, 3.0, "Eurasian Blackbird", 0.9123),
    ("S1/a.wav", 3.0, 6.0, "Great Tit", 0.25),
]


def selection(number: int, begin: float, offset: float, name: str, score: str, path: str) -> str:
    """Return a row of a selection table."""
    code = {"Great Tit": "gretit1", "Eurasian Blackbird": "eurbla", "nocall": "nocall"}[name]
    return (
        f"{number}\tSpectrogram 1\t1\t{begin}\t{begin + 3}\t0\t15000\t{name}\t{code}\t{score}\t"
        f"{path}\t{offset}\n"
    )


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a folder with a recording ``S1/a.wav``, and one in which nothing calls."""
    for name in ("S1/a.wav", "S1/quiet.wav"):
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "archive" / name).write_bytes(recorder_wav(frames=72_000))
    return tmp_path / "archive"


def tables(archive: str) -> dict[str, dict[str, str]]:
    """Return the files of each kind of results, by their names."""
    path = f"{archive}/S1/a.wav"
    return {
        "selection tables": {
            "S1/a.BirdNET.selection.table.txt": TABLE
            + selection(1, 0.0, 0.0, "Eurasian Blackbird", "0.9123", path)
            + selection(2, 3.0, 3.0, "Great Tit", "0.2500", path),
            "S1/quiet.BirdNET.selection.table.txt": TABLE
            + selection(1, 0, 0, "nocall", "1.0", f"{archive}/S1/quiet.wav"),
        },
        "CSV": {
            "S1/a.BirdNET.results.csv": CSV
            + f"0.0,3.0,Turdus merula,Eurasian Blackbird,0.9123,{path}\n"
            + f"3.0,6.0,Parus major,Great Tit,0.2500,{path}\n",
            "S1/quiet.BirdNET.results.csv": CSV,
            "BirdNET_analysis_params.csv": "File splitting duration,Segment length\n600,3.0\n",
        },
        "CSV for Kaleidoscope": {
            "S1/a.BirdNET.results.kaleidoscope.csv": KALEIDOSCOPE
            + f"{archive},S1,a.wav,0.0,3.0,Turdus merula,Eurasian Blackbird,0.9123,-1,-1,-1,0,1\n"
            + f"{archive},S1,a.wav,3.0,3.0,Parus major,Great Tit,0.2500,-1,-1,-1,0,1\n",
            "S1/quiet.BirdNET.results.kaleidoscope.csv": KALEIDOSCOPE,
        },
        "Audacity labels": {
            "S1/a.BirdNET.results.txt": "0.0\t3.0\tTurdus merula, Eurasian Blackbird\t0.9123\n"
            "3.0\t6.0\tParus major, Great Tit\t0.2500\n",
            "S1/quiet.BirdNET.results.txt": "",
        },
        "the package's CSV": {
            "results.csv": PACKAGE
            + f'"{path}","00:00:00.00","00:00:03.00","Turdus merula_Eurasian Blackbird",0.912300\n'
            + f'"{path}","00:00:03.00","00:00:06.00","Parus major_Great Tit",0.250000\n',
        },
    }


def write(folder: Path, files: dict[str, str]) -> Path:
    """Write some files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("kind", tables(""))
def test_the_results_of_both_makers_are_read(archive: Path, tmp_path: Path, kind: str) -> None:
    """Times, names and scores of each kind of table, and recordings without detections."""
    folder = write(tmp_path / "results", tables(str(archive))[kind])
    annotations = Annotations.read_birdnet(folder)
    with_quiet = kind != "the package's CSV"  # it does not list recordings without detections
    if with_quiet:
        matched = annotations.match(scan(archive))
    else:
        with pytest.warns(HeadraceWarning, match=r"1 of 2 recordings is not annotated"):
            matched = annotations.match(scan(archive))
    rows = event_rows(matched, "file", "start_s", "end_s", "label", "score")
    assert rows == [(*row[:4], pytest.approx(row[4], abs=1e-7)) for row in ROWS]
    assert matched.files == (("S1/a.wav", "S1/quiet.wav") if with_quiet else ("S1/a.wav",))


def test_all_results_together_count_once(archive: Path, tmp_path: Path) -> None:
    """BirdNET-Analyzer writes several kinds of tables into one folder."""
    for files in tables(str(archive)).values():
        write(tmp_path / "results", files)
    matched = Annotations.read_birdnet(tmp_path / "results").match(scan(archive))
    assert event_rows(matched) == [row[:4] for row in ROWS]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("common", ("Eurasian Blackbird", "Great Tit")),
        ("scientific", ("Parus major", "Turdus merula")),
        ("both", ("Parus major_Great Tit", "Turdus merula_Eurasian Blackbird")),
    ],
)
@pytest.mark.parametrize("kind", ["CSV", "Audacity labels", "the package's CSV"])
def test_labels_are_the_names_that_are_wanted(
    tmp_path: Path, kind: str, names: str, labels: tuple[str, ...]
) -> None:
    """Common or scientific names, or both as in BirdNET's own labels."""
    folder = write(tmp_path, tables("/data")[kind])
    assert Annotations.read_birdnet(folder, names=names).labels == labels  # type: ignore[arg-type]


def test_tables_beside_recordings_are_about_them(tmp_path: Path) -> None:
    """The paths in a table are those of another computer: the file beside the table is meant."""
    (tmp_path / "a.wav").write_bytes(recorder_wav(frames=72_000))
    write(
        tmp_path,
        {
            "a.BirdNET.selection.table.txt": TABLE
            + selection(1, 0.0, 0.0, "Great Tit", "0.5", "C:\\field\\2024\\a.wav")
        },
    )
    catalog = scan(tmp_path)
    for found in (Annotations.read_birdnet(tmp_path), Annotations.read_raven(tmp_path)):
        matched = found.match(catalog)
        assert event_rows(matched, "file", "label", "score") == [("a.wav", "Great Tit", 0.5)]


def test_a_path_that_cannot_be_looked_for_is_a_name(tmp_path: Path) -> None:
    """A name that is too long for this system, and a private folder, cost no table."""
    far = f"/{'x' * 300}/a.wav"
    write(
        tmp_path,
        {"t.BirdNET.selection.table.txt": TABLE + selection(1, 0, 0, "Great Tit", "1", far)},
    )
    for one in (Annotations.read_birdnet(tmp_path), Annotations.read_raven(tmp_path)):
        assert one.files == (far,)


def test_paths_relative_to_a_folder_are_not_looked_for(tmp_path: Path) -> None:
    """``S1/a.wav`` is not the ``a.wav`` beside a table of another site."""
    (tmp_path / "a.wav").write_bytes(recorder_wav(frames=72_000))
    row = selection(1, 0.0, 0.0, "Great Tit", "0.5", "S1/a.wav")
    write(tmp_path, {"a.BirdNET.selection.table.txt": TABLE + row})
    assert Annotations.read_birdnet(tmp_path).files == ("S1/a.wav",)


def test_combined_selection_tables_have_times_in_each_file(tmp_path: Path) -> None:
    """Begin times count from the first file; the offset counts in the file."""
    text = (
        TABLE
        + selection(1, 0.0, 0.0, "Great Tit", "0.5", "/x/a.wav")
        + selection(2, 63.0, 3.0, "Great Tit", "0.6", "/x/b.wav")
    )
    write(tmp_path, {"BirdNET_SelectionTable.txt": text})
    annotations = Annotations.read_birdnet(tmp_path)
    assert event_rows(annotations, "file", "start_s", "end_s") == [
        ("/x/a.wav", 0.0, 3.0),
        ("/x/b.wav", 3.0, 6.0),
    ]
    assert annotations.files == ("/x/a.wav", "/x/b.wav")


def test_paths_with_commas_are_read(tmp_path: Path) -> None:
    """BirdNET-Analyzer does not quote them, and the path is the last column."""
    write(tmp_path, {"r.csv": CSV + "0.0,3.0,Parus major,Great Tit,0.5,/x/a, b.wav\n"})
    assert Annotations.read_birdnet(tmp_path).files == ("/x/a, b.wav",)


def test_malformed_lines_are_reported(tmp_path: Path) -> None:
    """A row of another length, and times that are none; a score that is none loses itself only."""
    lines = "0.0,3.0,Parus major,Great Tit\nx,3.0,Parus major,Great Tit,0.5,/x/a.wav\n"
    write(tmp_path, {"r.csv": CSV + lines + "0,3,Parus major,Great Tit,high,/x/a.wav\n"})
    write(tmp_path, {"b.BirdNET.results.txt": "0.0\t3.0\tA, B\t0.5\n1.0\t2.0\n"})
    with (
        pytest.warns(HeadraceWarning, match="Skipped 3 malformed lines"),
        pytest.warns(HeadraceWarning, match=r"1 score cannot .*'high' in .*r\.csv, line 4"),
    ):
        annotations = Annotations.read_birdnet(tmp_path)
    assert [(one.line, one.message) for one in annotations.malformed] == [
        (2, "not start, end, label and score"),
        (2, "4 values for 6 columns"),
        (3, "start and end are not two numbers"),
    ]
    assert event_rows(annotations, "label", "score") == [("B", 0.5), ("Great Tit", None)]


@pytest.mark.parametrize(
    ("name", "text", "names", "message"),
    [
        ("a.csv", "file,start,end,label\nx,1,2,frog\n", "common", "read_raven or read_csv"),
        ("a.txt", TABLE, "scientific", "no scientific names: give names='common'"),
        ("a.csv", CSV, "latin", '"common", "scientific" or "both", not \'latin\''),
    ],
)
def test_other_tables_are_refused(
    tmp_path: Path, name: str, text: str, names: str, message: str
) -> None:
    """The message has the columns and what to do."""
    write(tmp_path, {name: text})
    with pytest.raises(AnnotationError, match=message):
        Annotations.read_birdnet(tmp_path, names=names)  # type: ignore[arg-type]


def test_thresholds_leave_out_weak_detections(tmp_path: Path) -> None:
    """One for all labels, or one for each label that counts; recordings stay annotated."""
    found = Annotations.read_birdnet(write(tmp_path, tables("/data")["CSV"]))
    assert event_rows(found.above(0.5), "label") == [("Eurasian Blackbird",)]
    assert event_rows(found.above({"Great Tit": 0.25}), "label") == [("Great Tit",)]
    assert found.above(1.0).files == found.files
    with pytest.raises(AnnotationError, match="A threshold must be a number, not 'x'"):
        found.above("x")  # type: ignore[arg-type]
    with pytest.warns(HeadraceWarning, match=r"threshold= has Parus major, and .* Great Tit"):
        assert len(found.above({"Parus major": 0.25})) == 0
    without = Annotations.from_table(found.to_arrow().drop_columns(["score"]))
    assert len(without.above(0.0)) == 0
