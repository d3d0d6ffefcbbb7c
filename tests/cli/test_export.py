from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

import headrace
from headrace import Annotations
from headrace.cli import _commands as cli

Export = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture
def export(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Export:
    """Return a function that runs `headrace export` in `tmp_path`: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["headrace", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return (exited.value.code, *capsys.readouterr())

    return run


def _scores(batch: Any) -> Any:
    """Score "hiss" 0.9, "hum" 0.4 in the first window of a recording, else 0.6."""
    late = np.asarray(batch.offset) > 0
    return np.stack([np.full(len(late), 0.9), np.where(late, 0.6, 0.4)], axis=1).astype("f4")


def _found(batch: Any) -> Any:
    return {"calls": [[{"start_s": 0.25, "end_s": 0.5, "label": "a", "score": 0.5}]] * len(batch)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with results of two models on two recordings, of 2 and 3 windows."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "raw/site").mkdir(parents=True)
    for name, seconds in (("a.wav", 2), ("site/b.wav", 3)):
        soundfile.write(folder / "raw" / name, np.zeros(8_000 * seconds), 8_000)
    windows = headrace.scan(folder / "raw").windows(8_000, 1.0)
    for name, function in (("scores", _scores), ("calls", _found)):
        windows.apply(function, folder / name, batch_size=4, name=name, progress=False)
    (folder / "names.txt").write_text("hiss\nhum\n\n", encoding="utf-8")
    return folder


def test_scores_become_raven_tables(export: Export, archive: Path, tmp_path: Path) -> None:
    """With names and a threshold, each window's detections are in the table of its recording."""
    code, printed, errors = export(
        archive / "scores", "--to", "raven", "--classes", archive / "names.txt",
        "--threshold", "0.5", "--root", archive / "raw", "--band-hz", "0", "4000",
    )  # fmt: skip

    assert (code, errors) == (0, "")
    assert "8 detections of 2 labels in 2 recordings: 2 files in raven" in printed
    assert "hiss" in printed
    table = (tmp_path / "raven/site/b.wav.selections.txt").read_text("utf-8")
    assert f"\t{archive}/raw/site/b.wav\t" in table
    assert len(Annotations.read_raven("raven")) == 8


@pytest.mark.parametrize(
    ("thresholds", "labels"),
    [
        (["0.5"], {"hiss": 5, "hum": 3}),
        (["0.3"], {"hiss": 5, "hum": 5}),
        (["0.5", "hum=0.3"], {"hiss": 5, "hum": 5}),
        (["0.5", "hiss=0.95"], {"hum": 3}),
        (["hum=0.5"], {"hum": 3}),
    ],
)
def test_thresholds_are_for_all_labels_or_for_one(
    export: Export, archive: Path, thresholds: list[str], labels: dict[str, int]
) -> None:
    """`--threshold` is repeated; a label's own counts more than that of all."""
    options = [word for text in thresholds for word in ("--threshold", text)]
    code, printed, _ = export(
        archive / "scores", "--to", "parquet", "--classes", archive / "names.txt", *options,
        "--json", "-",
    )  # fmt: skip

    assert code == 0
    figures = json.loads(printed)
    assert figures == {
        "output": "detections.parquet",
        "files": 1,
        "detections": sum(labels.values()),
        "recordings": 2,
        "labels": labels,
    }
    assert len(pq.read_table("detections.parquet")) == sum(labels.values())


def test_a_label_that_is_not_found_is_named(export: Export, archive: Path) -> None:
    """A threshold for a label that nothing has is reported, because it may be misspelt."""
    code, _, errors = export(
        archive / "calls", "--to", "csv", "--threshold", "0", "--threshold", "b=0.1"
    )

    assert (code, errors) == (0, "headrace: no detection is of 'b'.\n")


@pytest.mark.parametrize(
    ("to", "output"),
    [
        ("raven", "raven/a.wav.selections.txt"),
        ("audacity", "audacity/a.wav.txt"),
        ("csv", "detections.csv"),
        ("birdnet-csv", "birdnet.csv"),
        ("parquet", "detections.parquet"),
    ],
)
def test_detections_become_every_format(
    export: Export, archive: Path, tmp_path: Path, to: str, output: str
) -> None:
    """Each format has a place by default, and what is there is replaced only when asked."""
    assert export(archive / "calls", "--to", to)[0] == 0
    assert (tmp_path / output).exists()

    code, printed, errors = export(archive / "calls", "--to", to)
    assert (code, printed) == (1, "")
    assert "exists" in errors
    assert "--overwrite" in errors
    assert export(archive / "calls", "--to", to, "--overwrite")[0] == 0


def test_neighbours_are_merged_and_smoothed(export: Export, archive: Path) -> None:
    """`--merge-gap-s` joins calls with at most this pause; `--smooth` takes means of scores."""
    export(archive / "calls", "--to", "csv", "--merge-gap-s", "0.75", "-o", "merged.csv")
    rows = Path("merged.csv").read_text("utf-8").splitlines()[1:]
    assert rows == ['"a.wav",,0.25,1.5,"a",0.5,,', '"site/b.wav",,0.25,2.5,"a",0.5,,']

    _, printed, _ = export(
        archive / "scores", "--to", "csv", "--classes", archive / "names.txt",
        "--threshold", "hum=0.55", "--smooth", "3", "--json", "-",
    )  # fmt: skip
    assert json.loads(printed)["labels"] == {"hum": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["scores", "--to", "csv"], 2, "give the least that counts as threshold="),
        (["scores", "--to", "csv", "--threshold", "1"], 2, "need names: give as classes="),
        (["calls", "--to", "csv", "--threshold", "high"], 2, "neither a number"),
        (["calls", "--to", "csv", "--threshold", "=0.5"], 2, "neither a number"),
        (["calls", "--to", "csv", "--column", "x"], 2, "no column 'x'"),
        (["calls", "--to", "csv", "-o", "none/x.csv"], 1, "create it first"),
        (["nothing", "--to", "csv"], 1, "no results in"),
        (["calls", "--to", "tsv"], 2, "'tsv' is not one of"),
        (["calls", "--to", "csv", "--classes", "none.txt"], 1, "none.txt"),
        (["calls", "--to", "csv", "--classes", "latin.txt"], 2, "'latin.txt' is not text in UTF-8"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    export: Export, archive: Path, arguments: list[str], code: int, sentence: str
) -> None:
    """Wrong options end with 2, files that cannot be used with 1, and no traceback."""
    Path("latin.txt").write_bytes(b"m\xf6we\n")
    result, printed, errors = export(archive / arguments[0], *arguments[1:])

    assert (result, printed) == (code, "")
    assert sentence in " ".join(errors.replace("│", " ").split())
    assert "Traceback" not in errors


def test_incomplete_results_are_exported_with_a_warning(
    export: Export, archive: Path, tmp_path: Path
) -> None:
    """What is there is exported, and the number of open windows is printed."""
    windows = headrace.scan(archive / "raw").windows(8_000, 1.0)

    def stop(batch: Any) -> Any:
        if "site/b.wav" in batch.file_id:
            raise KeyboardInterrupt
        return _found(batch)

    with pytest.raises(KeyboardInterrupt):
        windows.apply(stop, tmp_path / "half", batch_size=2, name="half", part_size=2,
                      progress=False)  # fmt: skip
    code, printed, errors = export(tmp_path / "half", "--to", "csv")

    assert code == 0
    assert "2 detections of 1 label in 1 recording" in printed
    assert "3 windows are open" in errors


def test_a_preview_shows_what_a_model_found(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows are cut as for the model and sorted by score; a saved catalog is read, too."""
    monkeypatch.chdir(tmp_path)
    headrace.scan(archive / "raw").save(tmp_path / "catalog.parquet")
    for patterns in (archive / "raw", tmp_path / "catalog.parquet"):
        monkeypatch.setattr(
            "sys.argv",
            ["headrace", "preview", str(patterns), "--results", str(archive / "scores"),
             "--classes", str(archive / "names.txt"), "--threshold", "0.5", "--audio", "none",
             "--json", "shown.json"],
        )  # fmt: skip
        with pytest.raises(SystemExit) as exited:
            cli.main()
        assert exited.value.code == 0
        shown = json.loads(Path("shown.json").read_text("utf-8"))
        assert (shown["windows"], shown["choice"]) == (5, "highest score first")
        assert [one["score"] for one in shown["shown"]] == pytest.approx([0.9] * 5)
        assert shown["labels"] == {"hiss": 5, "hum": 3}


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--threshold", "0.95", "--classes", "names.txt"], 1, "give a lower threshold"),
        (["--threshold", "x"], 2, "neither a number"),
        (["--threshold", "0.5"], 2, "need names: give as classes="),
    ],
)
def test_a_preview_of_nothing_is_one_sentence(
    archive: Path, options: list[str], code: int, sentence: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """It says what to give; no page is written."""
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_bytes((archive / "names.txt").read_bytes())
    monkeypatch.setattr(
        "sys.argv",
        ["headrace", "preview", str(archive / "raw"), "--results", str(archive / "scores"),
         *options],
    )  # fmt: skip
    with pytest.raises(SystemExit) as exited:
        cli.main()
    errors = capsys.readouterr().err
    assert exited.value.code == code
    assert sentence in " ".join(errors.replace("│", " ").split())
    assert "Traceback" not in errors
    assert not (tmp_path / "preview.html").exists()
