from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace import Annotations
from headrace.bench._synthetic import write_archive
from headrace.errors import AnnotationError, HeadraceWarning, NoRecordingsError
from tests.support.annotation_rows import event_rows

RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def _write(file: Path, *lines: str, ending: str = "\n") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes("".join(line + ending for line in lines).encode())
    return file


class TestAnuraSet:
    def test_the_demo_archive_reads_as_it_was_written(self, tmp_path: Path) -> None:
        """Every line of every file is an event of the recording with that file's name."""
        archive = write_archive(tmp_path, recordings=6, seconds=20, sites=2)
        lines = [line for file in archive.labels for line in file.read_text().splitlines()]

        annotations = Annotations.read_anuraset(tmp_path / "strong_labels")

        assert len(annotations) == len(lines) > 20
        written = [
            (float(start), float(end), *name.split("_"))
            for start, end, name in (line.split("\t") for line in lines)
        ]
        assert event_rows(annotations, "start_s", "end_s", "label", "quality") == written
        stems = [f"{file.parent.name}/{file.stem}" for file in archive.labels]
        assert list(annotations.files) == stems
        assert annotations.malformed == ()

    def test_the_quality_chooses_events_and_not_files(self, tmp_path: Path) -> None:
        """A file without events of the wanted quality is annotated all the same."""
        _write(tmp_path / "a.txt", "1\t2\tBOAFAB_L", "3\t4\tBOA_FAB_H")
        _write(tmp_path / "b.txt", "1\t2\tBOAFAB_L")

        annotations = Annotations.read_anuraset(tmp_path, quality="MH")

        assert event_rows(annotations) == [("a", 3, 4, "BOA_FAB")]
        assert annotations.files == ("a", "b")
        with pytest.raises(AnnotationError, match='"L", "M" and "H"'):
            Annotations.read_anuraset(tmp_path, quality="high")

    def test_malformed_lines_are_skipped_and_reported(self, tmp_path: Path) -> None:
        """A malformed line is skipped with its file, line and reason; other lines are kept."""
        file = _write(
            tmp_path / "a.txt",
            "0.5\t1.5\tBOAFAB_M", "2\t3", "two\t3\tBOAFAB_M", "3\t2\tBOAFAB_M", "nan\t2\tX_L",
            "-1\t2\tX_L", "1\tinf\tX_L", "4\t5\tBOAFAB", "", "6 7 BOAFAB_H", "7\tx\tX_L",
        )  # fmt: skip

        with pytest.warns(
            HeadraceWarning, match=r"(?s)Skipped 7 malformed lines: .*a\.txt, line 2.*and 4 more"
        ):
            annotations = Annotations.read_anuraset(file, quality="MH")

        assert event_rows(annotations) == [("a", 0.5, 1.5, "BOAFAB"), ("a", 6, 7, "BOAFAB")]
        assert [one.line for one in annotations.malformed] == [2, 3, 4, 5, 6, 8, 11]
        assert annotations.malformed[2].text == "3\t2\tBOAFAB_M"
        assert str(annotations.malformed[2]) == (
            f"{file.as_posix()}, line 4: not 0 <= start <= end: '3\\t2\\tBOAFAB_M'"
        )

    def test_files_are_found_by_glob_folder_and_name(self, tmp_path: Path) -> None:
        """File names are relative to the common folder of all patterns."""
        one = _write(tmp_path / "x" / "SITE" / "a.txt", "1\t2\tA_L")
        other = _write(tmp_path / "x" / "OTHER" / "b.TXT", "1\t2\tA_L")
        _write(tmp_path / "x" / "notes.md", "not labels")

        assert Annotations.read_anuraset(tmp_path / "x").files == ("OTHER/b", "SITE/a")
        assert Annotations.read_anuraset(f"{tmp_path}/x/S*/*.txt").files == ("SITE/a",)
        assert Annotations.read_anuraset([one, str(other)]).files == ("OTHER/b", "SITE/a")
        assert Annotations.read_anuraset(one).files == ("a",)
        with pytest.raises(NoRecordingsError, match="Nothing matches"):
            Annotations.read_anuraset(tmp_path / "x" / "*.csv")

    def test_patterns_find_label_files_and_never_audio(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If labels are beside recordings, patterns without an extension match only labels."""
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        _write(tmp_path / "SITE" / "a.txt", "1\t2\tA_L")
        (tmp_path / "SITE" / "a.wav").write_bytes(b"1\t2\tWRONG_L")

        for pattern in ("~", "~/**", f"{tmp_path}/SITE/*", f"{tmp_path}/*/*.*", tmp_path / "**"):
            annotations = Annotations.read_anuraset(pattern)
            assert event_rows(annotations, "label") == [("A",)], pattern

    def test_an_unreadable_file_affects_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is reported, and its recording does not count as annotated."""
        _write(tmp_path / "a.txt", "1\t2\tA_L")
        closed = _write(tmp_path / "b.txt", "1\t2\tB_L")
        (tmp_path / "c.txt").mkdir()
        read = Path.read_bytes

        def refuse(file: Path) -> bytes:
            if file == closed:
                raise PermissionError(13, "Permission denied", str(file))
            return read(file)

        monkeypatch.setattr(Path, "read_bytes", refuse)

        with pytest.warns(HeadraceWarning, match=r"b\.txt: the file cannot be read: Permission"):
            annotations = Annotations.read_anuraset(tmp_path)

        assert event_rows(annotations) == [("a", 1, 2, "A")]
        assert annotations.files == ("a",)
        assert [Path(one.source).name for one in annotations.malformed] == ["b.txt", "c.txt"]


class TestRaven:
    def test_views_of_a_selection_are_one_event(self, tmp_path: Path) -> None:
        """The spectrogram's frequencies are the selection's, whichever row comes first."""
        file = _write(
            tmp_path / "rec.Table.1.selections.txt",
            f"{RAVEN}\tAnnotation",
            "1\tWaveform 1\t1\t1.0\t2.0\t0.0\t11025.0\tA",
            "1\tSpectrogram 1\t1\t1.0\t2.0\t500.0\t900.0\tA",
            "2\tSpectrogram 1\t1\t1.0\t2.0\t600.0\t700.0\tA",
            "2\tWaveform 1\t1\t1.0\t2.0\t0.0\t11025.0\tA",
            "3\tWaveform 1\t1\t4.0\t5.0\t0.0\t11025.0\tB",
        )

        annotations = Annotations.read_raven(file)

        assert annotations.files == ("rec",)
        assert event_rows(
            annotations, "start_s", "end_s", "label", "low_hz", "high_hz", "line"
        ) == [
            (1, 2, "A", 500, 900, 2),
            (1, 2, "A", 600, 700, 4),
            (4, 5, "B", 0, 11025, 6),
        ]

    def test_equal_selection_numbers_with_other_times_are_two_events(self, tmp_path: Path) -> None:
        """Tables that were joined by hand restart their numbering."""
        file = _write(
            tmp_path / "joined.txt",
            f"{RAVEN}\tSpecies",
            "1\tSpectrogram 1\t1\t1\t2\t5\t9\tA",
            "1\tSpectrogram 1\t1\t6\t7\t5\t9\tB",
        )

        assert event_rows(Annotations.read_raven(file), "label") == [("A",), ("B",)]

    def test_labels_are_in_the_column_that_is_named(self, tmp_path: Path) -> None:
        """Without a name the usual columns are tried; a missing column is refused."""
        file = _write(tmp_path / "a.txt", f"{RAVEN}\tSpecies\tdistance", "1\t\t1\t1\t2\t\t\tA\tfar")

        assert event_rows(Annotations.read_raven(file), "label", "low_hz") == [("A", None)]
        assert event_rows(Annotations.read_raven(file, label="distance"), "label") == [("far",)]
        with pytest.raises(AnnotationError, match=r"(?s)a\.txt.*'Code'.*Species, distance"):
            Annotations.read_raven(file, label="Code")

    def test_an_empty_table_is_an_annotated_recording(self, tmp_path: Path) -> None:
        """A header alone means that there are no events; a file without a header is refused."""
        _write(tmp_path / "a.Table.1.selections.txt", f"{RAVEN}\tSpecies\t")
        annotations = Annotations.read_raven(tmp_path)
        assert len(annotations) == 0
        assert annotations.files == ("a",)

        _write(tmp_path / "b.txt", "1\t2\tA")
        with pytest.raises(AnnotationError, match=r"b\.txt is not a Raven selection table"):
            Annotations.read_raven(tmp_path)

    def test_ragged_rows_are_read(self, tmp_path: Path) -> None:
        """Rows may be shorter or longer than the header; only rows without times are malformed."""
        file = _write(
            tmp_path / "a.txt",
            f"{RAVEN}\tSpecies\t",
            "1\tSpectrogram 1\t1\t1\t2",
            "2\tSpectrogram 1\t1\t3\t4\t5\t6\tA\t\tmore\tand more",
            "",
            "3\tSpectrogram 1",
            ending="\r\n",
        )

        with pytest.warns(HeadraceWarning, match="Skipped 1 malformed line: "):
            annotations = Annotations.read_raven(file)

        assert event_rows(annotations) == [("a", 1, 2, None), ("a", 3, 4, "A")]
        assert annotations.malformed[0].line == 5

    def test_a_table_may_name_many_files(self, tmp_path: Path) -> None:
        """Begin Path, else Begin File, names the recording; File Offset is the time in it."""
        header = f"{RAVEN}\tBegin Path\tBegin File\tFile Offset (s)\tSpecies"
        file = _write(
            tmp_path / "all.txt",
            header,
            "1\t\t1\t61.5\t63\t\t\t\tb.wav\t1.5\tA",
            "2\t\t1\t2\t3\t\t\tD:\\rec\\S1\\a.wav\ta.wav\t\tB",
            "3\t\t1\t2\t3\t\t\t\tc.wav\tsoon\tB",
        )

        with pytest.warns(HeadraceWarning, match="line 4"):
            annotations = Annotations.read_raven(file)

        assert event_rows(annotations) == [
            ("b.wav", 1.5, 3, "A"),
            ("D:\\rec\\S1\\a.wav", 2, 3, "B"),
        ]
        assert annotations.files == ("b.wav", "D:\\rec\\S1\\a.wav")

    def test_a_table_of_many_recordings_is_not_about_its_own_name(self, tmp_path: Path) -> None:
        """Another table with the same name still annotates the recording with that name."""
        header = "Begin Time (s)\tEnd Time (s)\tSpecies"
        _write(tmp_path / "a.Table.1.selections.txt", header, "1\t2\tA")
        _write(tmp_path / "a.txt", f"{header}\tBegin File", "1\t2\tB\tb.wav")
        _write(tmp_path / "c.selections.txt", header)
        _write(tmp_path / "c.txt", f"{header}\tBegin File", "1\t2\tB\tb.wav")

        annotations = Annotations.read_raven(tmp_path)

        assert set(annotations.files) == {"a", "b.wav", "c"}
        assert set(annotations.to_arrow()["file"].to_pylist()) <= set(annotations.files)
        assert (annotations.file_numbers >= 0).all()


class TestAudacity:
    def test_labels_have_frequencies_or_not(self, tmp_path: Path) -> None:
        """A line with a backslash belongs to the label before it; -1 is no frequency."""
        file = _write(
            tmp_path / "a.txt",
            "0.5\t1.5\tfrog",
            "\\\t100.5\t900.0",
            "2.0\t2.0\tclick here",
            "3\t4\t",
            "\\\t-1.0\t800.0",
        )

        annotations = Annotations.read_audacity(file)

        assert event_rows(annotations, "start_s", "end_s", "label", "low_hz", "high_hz") == [
            (0.5, 1.5, "frog", 100.5, 900),
            (2, 2, "click here", None, None),
            (3, 4, None, None, 800),
        ]

    def test_a_frequency_line_needs_a_label(self, tmp_path: Path) -> None:
        """Without a label it is malformed; after a malformed label it is skipped with it."""
        file = _write(
            tmp_path / "a.txt",
            "\\\t1\t2", "what?", "\\\t1\t2", "1\t2\tA", "x\t2\tB", "\\\t3\t4", "5\t6\tC",
        )  # fmt: skip

        with pytest.warns(HeadraceWarning, match="Skipped 3 malformed lines"):
            annotations = Annotations.read_audacity(file)

        assert [one.line for one in annotations.malformed] == [1, 2, 5]
        assert event_rows(annotations, "label", "low_hz") == [("A", None), ("C", None)]


class TestSeparated:
    def test_columns_are_found_by_name(self, tmp_path: Path) -> None:
        """Default names need not be given, others must be; further columns are ignored."""
        own = _write(
            tmp_path / "own.csv",
            "label,end_s,file,start_s,quality,low_hz,x",
            'A,2,a.wav,1,H,5,"',
            '"B, b",3.5,b.wav,0,,,',
        )
        with pytest.warns(HeadraceWarning, match="line 2"):
            annotations = Annotations.read_csv(own)
        assert event_rows(
            annotations, "file", "start_s", "end_s", "label", "quality", "low_hz"
        ) == [("b.wav", 0, 3.5, "B, b", None, None)]

        other = _write(tmp_path / "other.tsv", "name\tfrom\tto\tspecies", "a.wav\t1\t2\tA")
        annotations = Annotations.read_csv(
            other, file="name", start_s="from", end_s="to", label="species", delimiter="\t"
        )
        assert event_rows(annotations) == [("a.wav", 1, 2, "A")]
        assert event_rows(annotations, "source", "line") == [(other.as_posix(), 2)]

    def test_labels_without_times_are_of_whole_recordings(self, tmp_path: Path) -> None:
        """They begin at 0 and have no end."""
        file = _write(tmp_path / "clips.csv", "file,label", "a.wav,A", "a.wav,B", "b.wav,A")

        annotations = Annotations.read_csv(file)

        assert event_rows(annotations) == [
            ("a.wav", 0, float("inf"), "A"),
            ("a.wav", 0, float("inf"), "B"),
            ("b.wav", 0, float("inf"), "A"),
        ]

    @pytest.mark.parametrize(("header", "named", "message"), [
        (
            "path,label", {},
            r"clips\.csv has the columns path, label, and no 'file': give its name as file=",
        ),
        ("file,species", {}, "give its name as label="),
        ("file,label", {"start_s": "begin"}, "no 'begin': give its name as start_s="),
        ("file,label,start_s", {}, "an event has a start and an end"),
        ("file,label,start,end", {}, r"if 'start' is a time \(s\), give start_s="),
        ("file,label,Begin Time", {}, "if 'Begin Time' is a time"),
    ])  # fmt: skip
    def test_a_missing_column_is_refused(
        self, tmp_path: Path, header: str, named: dict[str, Any], message: str
    ) -> None:
        """Without named times, labels would be of whole recordings, which must be explicit."""
        file = _write(tmp_path / "clips.csv", header)

        with pytest.raises(AnnotationError, match=message):
            Annotations.read_csv(file, **named)

    def test_times_can_be_ignored(self, tmp_path: Path) -> None:
        """With None for the times, columns with names like times do not matter."""
        file = _write(tmp_path / "clips.csv", "file,label,start", "a.wav,A,2021")
        annotations = Annotations.read_csv(file, start_s=None, end_s=None)
        assert event_rows(annotations) == [("a.wav", 0, float("inf"), "A")]

    def test_a_malformed_row_affects_no_other(self, tmp_path: Path) -> None:
        """A quote that is never closed ends with its line; old encodings can be read."""
        file = tmp_path / "a.csv"
        file.write_bytes(
            b'file,start_s,end_s,label\na.wav,0,1,Rain\xe4\n,1,2,A\nb.wav,x,2,A\n"c.wav,1,2,A\n'
            b"d.wav,3\n\ne.wav,1,2,\n"
        )

        with pytest.warns(HeadraceWarning, match="Skipped 4 malformed lines"):
            annotations = Annotations.read_csv(file)

        assert event_rows(annotations) == [("a.wav", 0, 1, "Rainä"), ("e.wav", 1, 2, None)]
        assert [one.line for one in annotations.malformed] == [3, 4, 5, 6]

    @pytest.mark.parametrize("line", ["a.wav", '"a.wav,B', 'a.wav,"B', "a.wav,B,C", '"a.wav"x,B'])
    def test_a_row_with_a_wrong_number_of_values_is_malformed(
        self, tmp_path: Path, line: str
    ) -> None:
        """Without times to check, the number of values shows that a row is malformed."""
        file = _write(tmp_path / "clips.csv", "file,label", line, "b.wav,B,", "c.wav,")

        with pytest.warns(HeadraceWarning, match="Skipped 1 malformed line: "):
            annotations = Annotations.read_csv(file)

        assert event_rows(annotations, "file", "label") == [("b.wav", "B"), ("c.wav", None)]
        assert annotations.files == ("b.wav", "c.wav")
        assert [(one.line, one.text) for one in annotations.malformed] == [(2, line)]

    @pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029"])
    def test_only_newlines_end_lines(self, tmp_path: Path, odd: str) -> None:
        """A value may contain characters that other programs take for the end of a line."""
        file = _write(tmp_path / "clips.csv", "file,label", f"a{odd}b.wav,A", "c.wav,B")

        annotations = Annotations.read_csv(file)

        assert event_rows(annotations, "file", "label", "line") == [
            (f"a{odd}b.wav", "A", 2),
            ("c.wav", "B", 3),
        ]
