"""Text as spreadsheets, R and Windows programs write it."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

import pytest

from headrace import Annotations, scan
from headrace.errors import AnnotationError, HeadraceWarning
from tests.support.annotation_rows import event_rows
from tests.support.recorder_files import recorder_wav

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "Selection\tBegin Time (s)\tEnd Time (s)\tSpecies\tScore\n"
RAVEN = HEADER + "1\t1.5\t2\tVögel\t0.5\n"
QUOTED = (
    '"Selection"\t"Begin Time (s)"\t"End Time (s)"\t"Species"\n'
    '"1"\t"1.5"\t"2"\t"say ""hi"""\n"2"\t"3"\t"4"\t"5"" rain\n3\t5\t6\t"x" or "y"\n'
)


@pytest.mark.parametrize(
    "encoded",
    [
        RAVEN.encode("utf-8"),
        RAVEN.encode("utf-8-sig"),
        RAVEN.encode("cp1252"),
        codecs.BOM_UTF16_LE + RAVEN.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + RAVEN.replace("\n", "\r\n").encode("utf-16-be"),
        RAVEN.encode("utf-16-le"),
        RAVEN.encode("utf-16-be"),
    ],
)
def test_encodings_are_recognised(tmp_path: Path, encoded: bytes) -> None:
    """UTF-8 and UTF-16, with and without a byte order mark, and that of old Windows programs."""
    (tmp_path / "a.txt").write_bytes(encoded)
    annotations = Annotations.read_raven(tmp_path)
    assert event_rows(annotations, "file", "start_s", "end_s", "label", "score") == [
        ("a", 1.5, 2.0, "Vögel", 0.5)
    ]


def test_csv_may_be_utf_16(tmp_path: Path) -> None:
    """As Excel saves "Unicode text", with tabs."""
    text = 'file\tstart_s\tend_s\tlabel\tscore\na.wav\t0\t1\t"a, b"\t1\nb.wav\t\t\t\t\n'
    (tmp_path / "a.csv").write_text(text, "utf-16")
    annotations = Annotations.read_csv(tmp_path / "a.csv", delimiter="\t")
    assert event_rows(annotations, "file", "label", "score") == [("a.wav", "a, b", 1.0)]
    assert annotations.files == ("a.wav", "b.wav")  # a row with nothing but a file


def test_quotes_around_values_are_taken_away(tmp_path: Path) -> None:
    """Of headers and values; quotes inside a value stay."""
    (tmp_path / "a.txt").write_text(QUOTED, "utf-8")
    labels = event_rows(Annotations.read_raven(tmp_path), "label")
    assert labels == [('say "hi"',), ('"5"" rain',), ('"x" or "y"',)]
    (tmp_path / "audacity").mkdir()
    (tmp_path / "audacity/a.txt").write_text('0\t1\t"frog"\n', "utf-8")
    assert Annotations.read_audacity(tmp_path / "audacity").labels == ("frog",)


def test_a_table_without_known_labels_says_what_it_has(tmp_path: Path) -> None:
    """The warning, and the error where classes are needed, name its columns and what to write."""
    text = "Selection\tBegin Time (s)\tEnd Time (s)\tSp.\tType\n1\t0\t1\tfrog\tcall\n"
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "a.wav").write_bytes(recorder_wav(frames=16_000))
    expected = r"a\.txt has no column Annotation, .* columns are Sp\., Type: .* label='Sp\.'"
    with pytest.warns(HeadraceWarning, match=expected):
        annotations = Annotations.read_raven(tmp_path / "a.txt")
    assert len(annotations) == 1
    windows = scan(tmp_path / "*.wav").windows(8_000, 1.0)
    with pytest.raises(AnnotationError, match=f"None of 1 event has a label.*{expected}"):
        windows.label(annotations)
    assert Annotations.read_raven(tmp_path / "a.txt", label="Sp.").labels == ("frog",)
    named = Annotations.from_table(annotations.to_arrow())
    with pytest.raises(AnnotationError, match="Name the column of labels where they are read"):
        windows.label(named)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("elsewhere/a.wav", r'Without folders and extensions, 1 of 1 are: .* by="stem"'),
        ("b.wav", r"Their names differ, too: give annotations.match a function .* file="),
    ],
)
def test_when_nothing_matches_the_message_says_what_would(
    tmp_path: Path, name: str, sentence: str
) -> None:
    """It tries the other way of matching, and says if that helps."""
    (tmp_path / "S1").mkdir()
    (tmp_path / "S1/a.wav").write_bytes(recorder_wav(frames=16_000))
    (tmp_path / "labels.csv").write_text(f"file,start_s,end_s,label\n{name},0,1,frog\n")
    annotations = Annotations.read_csv(tmp_path / "labels.csv")
    with pytest.raises(AnnotationError, match=sentence):
        scan(tmp_path).windows(8_000, 1.0).label(annotations)


def test_wrong_columns_of_raven_tables_are_named(tmp_path: Path) -> None:
    """A column of scores that is not there is an error, as one of labels."""
    (tmp_path / "a.txt").write_text(RAVEN, "utf-8")
    with pytest.raises(AnnotationError, match=r"'Conf': its columns are Selection, .* score="):
        Annotations.read_raven(tmp_path, score="Conf")
    found = Annotations.read_raven(tmp_path, label="Score", score="Selection")
    assert event_rows(found, "label", "score") == [("0.5", 1.0)]
