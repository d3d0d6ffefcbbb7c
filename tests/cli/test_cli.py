import inspect
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from pyarrow import csv, parquet
from rich.console import Console

import headrace
from headrace import bench, catalog
from headrace.bench._synthetic import Archive, write_archive
from headrace.cli import _commands as cli
from headrace.cli import _console as console
from headrace.cli import watch_results
from headrace.cli._options import load_model
from headrace.errors import DamagedWarning, NoRecordingsError, ReadError
from headrace.failures import Code, Failure


@dataclass(frozen=True)
class Result:
    """What a command ended with and printed."""

    code: int | str | None
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs the console script on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["headrace", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return Result(exited.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Return three recordings of two seconds at one site."""
    return write_archive(tmp_path / "archive", recordings=3, seconds=2, sites=1)


def _sentence(text: str) -> str:
    """Return the only sentence of `text`, without the program's name."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("headrace: ")
    assert "Traceback" not in text
    return lines[0].removeprefix("headrace: ")


# help


def test_the_help_fits_a_screen_and_shows_examples(run: Run) -> None:
    """`headrace --help` fits 24 lines of 80 columns."""
    result = run("--help")

    assert result.code == 0
    assert len(result.out.rstrip().splitlines()) <= 24
    assert max(map(len, result.out.splitlines())) <= 80
    for command in ("demo", "scan", "preview"):
        assert re.search(rf"^ headrace {command}\b", result.out, re.MULTILINE)
    assert "Exit codes: 0 success; 1 data error; 2 usage error; 130 interrupted." in result.out


@pytest.mark.parametrize(
    "command", ["demo", "scan", "pack", "bench", "preview", "apply", "results", "export"]
)
def test_each_commands_help_shows_an_example(run: Run, command: str) -> None:
    """Each example has a line of its own, so that it can be copied."""
    result = run(command, "-h")

    assert result.code == 0
    assert re.search(rf"^ headrace {command}[^|]*$", result.out, re.MULTILINE)
    assert "hidden" not in result.out
    assert "--budget-s" not in result.out


def test_the_version_is_the_installed_one(run: Run) -> None:
    """`--version` prints the version of the installed package and nothing else."""
    assert run("--version").out == f"headrace {version('headrace')}\n"


# pack


def test_pack_writes_shards_and_lists_them(run: Run, archive: Archive, tmp_path: Path) -> None:
    """The report is that of a scan of the pack; a bad recording or argument is one sentence."""
    packed = tmp_path / "packed"
    arguments = ("pack", archive.pattern, "--sample-rate", "8000", "-o")

    result = run(*arguments, packed, "--format", "wav", "--channel", "0")

    assert (result.code, result.err) == (0, "")
    assert "3 recordings, 6.0 s" in result.out
    row = next(line for line in result.out.splitlines() if "FLOAT" in line)
    assert " ".join(row.split()) == "WAV FLOAT 8,000 Hz 1 3 6.0 s 2.0 s 2.0 s"
    assert len(catalog.scan(packed / "*.tar")) == 3
    other = run(*arguments, packed)
    assert other.code == 1
    assert "other settings: choose another one" in _sentence(other.err)
    assert run(*arguments, tmp_path / "b", "--bits", "12").code == 2
    archive.audio[1].write_bytes(b"")
    damaged = run(*arguments, tmp_path / "c", "--json", "-")
    assert damaged.code == 1
    assert json.loads(damaged.out)["clipped_samples"] == 0
    assert _sentence(damaged.err) == "1 recording could not be read whole."


# scan


def test_scan_lists_the_recordings(run: Run, archive: Archive) -> None:
    """Count, length, rate, format and channels are printed; standard error is empty."""
    result = run("scan", archive.pattern)

    assert result.code == 0
    assert result.err == ""
    assert "3 recordings, 6.0 s" in result.out
    row = next(line for line in result.out.splitlines() if "PCM_16" in line)
    assert " ".join(row.split()) == "WAV PCM_16 22,050 Hz 1 3 6.0 s 2.0 s 2.0 s"


def test_scan_shows_damaged_files_and_fails(run: Run, archive: Archive) -> None:
    """Each damaged file has its code and reason; one sentence counts them; the exit code is 1."""
    archive.audio[1].write_bytes(b"")
    archive.audio[2].write_bytes(b"no audio at all")

    result = run("scan", archive.folder / "raw_data")

    assert result.code == 1
    assert _sentence(result.err) == "2 files are damaged and were left out."
    assert "1 recording," in result.out
    lines = result.out.splitlines()
    assert any("EMPTY" in line and archive.audio[1].stem in line for line in lines)
    assert any("NOT_AUDIO" in line and archive.audio[2].stem in line for line in lines)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such names")
def test_names_cannot_act_on_the_terminal(
    run: Run, archive: Archive, recwarn: pytest.WarningsRecorder
) -> None:
    """Control characters in names are escaped in the table, sentences, warnings and errors."""
    folder = archive.folder / "\x1b[31mred"
    folder.mkdir()
    (folder / "a\x1b]0;title\x07\r\n\x9b2J.wav").write_text("no audio at all")

    table = run("scan", archive.folder)
    sentence = run("scan", folder)
    with pytest.raises(NoRecordingsError) as caught:
        catalog.scan(folder)
    found = catalog.scan(archive.folder)

    warning = str(recwarn.pop(DamagedWarning).message)
    texts = [table.out, table.err, sentence.out, sentence.err, str(caught.value), warning]
    texts += [str(failure) for failure in found.failures]
    for text in texts:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text), text
    for text in (sentence.err, warning, str(found.failures[0])):
        assert r"a\x1b]0;title\x07\r\n\x9b2J.wav" in text
        assert len(text.splitlines()) == 1


def test_one_long_path_does_not_widen_the_table(
    run: Run, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pipe, where nothing else limits a report's width, only its own line is longer."""
    monkeypatch.delenv("COLUMNS")
    deep = archive.folder.joinpath(*["x" * 100] * 5)
    deep.mkdir(parents=True)
    (deep / "a.wav").write_bytes(b"")
    (archive.folder / "short.wav").write_bytes(b"")

    lines = run("scan", archive.folder).out.splitlines()

    (wide,) = (line for line in lines if "xxx" in line)
    assert f"{'/'.join(['x' * 100] * 5)}/a.wav: the file has 0 bytes" in wide
    assert max(len(line) for line in lines[1:] if line is not wide) < 100


def test_scan_writes_figures_and_a_catalog(run: Run, archive: Archive, tmp_path: Path) -> None:
    """`--json` has the figures of the table, `--save` a catalog; ids are relative to `--root`."""
    archive.audio[1].write_bytes(b"")
    saved = tmp_path / "catalog.parquet"

    result = run("scan", archive.pattern, "--json", "-", "--save", saved, "--root", archive.folder)

    figures = json.loads(result.out)
    assert figures["recordings"] == 2
    assert figures["audio_s"] == 4.0
    assert figures["bytes"] == 2 * archive.audio[0].stat().st_size
    assert figures["root"] == str(archive.folder)
    assert [kind["recordings"] for kind in figures["kinds"]] == [2]
    (failure,) = figures["failures"]
    assert failure["code"] == "EMPTY"
    assert failure["file_id"] == archive.audio[1].relative_to(archive.folder).as_posix()
    loaded = catalog.load_catalog(saved)
    assert [recording.id for recording in loaded] == [
        archive.audio[place].relative_to(archive.folder).as_posix() for place in (0, 2)
    ]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_scan_decodes_and_lists_damaged_files(
    run: Run, archive: Archive, tmp_path: Path, ending: str
) -> None:
    """`--verify decode` finds damage that headers hide; `--failures` has a row for each."""
    cut, none, _ = archive.audio
    samples = np.random.default_rng(0).normal(scale=0.1, size=16_000)
    soundfile.write(cut, samples, 16_000, format="FLAC")
    data = cut.read_bytes()
    cut.write_bytes(data[:12_000] + bytes(300) + data[12_300:])
    none.write_bytes(b"")
    wanted = tmp_path / f"damaged.{ending}"

    assert "TRUNCATED" not in run("scan", archive.pattern).out
    result = run("scan", archive.pattern, "--verify", "decode", "--failures", wanted)

    assert result.code == 1
    assert _sentence(result.err) == "2 files are damaged and were left out, except for parts of 1."
    assert "2 damaged files: 1 EMPTY, 1 TRUNCATED" in result.out
    table = (csv.read_csv if ending == "csv" else parquet.read_table)(wanted)
    assert sorted(zip(*(table[name].to_pylist() for name in ("code", "path")), strict=True)) == [
        ("EMPTY", str(none)),
        ("TRUNCATED", str(cut)),
    ]


def test_scan_lists_damaged_files_if_all_are_damaged(run: Run, tmp_path: Path) -> None:
    """Without a usable file there is no catalog, but the list is written; its ending is checked."""
    (tmp_path / "a.wav").write_bytes(b"")

    assert run("scan", tmp_path, "--failures", tmp_path / "damaged.csv").code == 1
    assert csv.read_csv(tmp_path / "damaged.csv")["code"].to_pylist() == ["EMPTY"]
    result = run("scan", tmp_path, "--failures", tmp_path / "damaged.txt")
    assert "must end in .csv or .parquet" in _sentence(result.err)
    result = run("scan", tmp_path, "--failures", tmp_path / "no" / "damaged.csv")
    assert "create it first" in _sentence(result.err)


def test_file_names_are_printed_unchanged(run: Run, tmp_path: Path) -> None:
    """Brackets and colons in file names are not taken for styles and emoji."""
    names = ["site[red] b.wav", "call :bird:.wav", "x[/y].wav"]
    for name in names[:2]:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "x[").mkdir()
    (tmp_path / names[2]).write_bytes(b"no audio")
    soundfile.write(tmp_path / "a.wav", [0.0] * 800, 8_000)

    result = run("scan", tmp_path)

    assert result.code == 1
    assert all(name in result.out for name in names), result.out


def test_a_file_name_in_a_pipe_stays_on_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output that is no terminal is not wrapped, and lines end without spaces."""
    monkeypatch.delenv("COLUMNS")
    soundfile.write(tmp_path / "a.wav", [0.0] * 800, 8_000)
    name = "far " * 40 + "away.wav"
    (tmp_path / name).write_bytes(b"no audio")

    lines = run("scan", tmp_path).out.splitlines()

    assert any(name in line and "no decoder recognises it" in line for line in lines), lines
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_file_that_is_damaged_twice_counts_once(run: Run, tmp_path: Path) -> None:
    """JSON and report count one file, and list both failures with their spans."""
    samples = np.zeros(16_000, np.float32)
    samples[100] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 8_000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", samples[:8_000] * 0 + 0.5, 8_000, subtype="PCM_16")
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:50_000])

    result = run("scan", tmp_path, "--verify", "decode")
    figures = json.loads(run("scan", tmp_path, "--verify", "decode", "--json", "-").out)

    assert "1 damaged file: 1 NON_FINITE, 1 TRUNCATED" in result.out
    assert (figures["damaged"], figures["partly"]) == (1, 1)
    failures = {one["code"]: one for one in figures["failures"]}
    assert failures.keys() == {"NON_FINITE", "TRUNCATED"}
    for one in failures.values():
        assert one["windows"] == 0
        assert one["start_s"] >= 0
        assert one["stop_s"] is None or one["stop_s"] > one["start_s"]


def test_scan_caches_what_it_decoded(run: Run, archive: Archive, tmp_path: Path) -> None:
    """`--cache` writes the catalog with the column of declared frames."""
    kept = tmp_path / "kept.parquet"

    assert run("scan", archive.pattern, "--verify", "decode", "--cache", kept).code == 0
    assert catalog.load_catalog(kept).column("declared_frames").tolist() == [44_100] * 3


def test_scan_reads_metadata(run: Run, archive: Archive, tmp_path: Path) -> None:
    """The report says from when to when; the saved catalog has the columns."""
    saved = tmp_path / "a.parquet"
    result = run("scan", archive.pattern, "--metadata", "--tz", "+01:00", "--save", saved)
    assert result.code == 0, result.err
    count = len(headrace.load_catalog(saved))
    pattern = (
        rf"{count} with a time, from 20\d\d-\d\d-\d\d \d\d:\d\d to .* UTC; "
        "0 with a place"
    )
    assert re.search(pattern, result.out)
    assert headrace.load_catalog(saved).to_arrow()["recorded_at"].null_count == 0
    result = run("scan", archive.pattern, "--metadata", "--json", "-")
    assert json.loads(result.out)["recorded"]["timed"] == 0
    assert "give tz=" in result.err
    for options in (["--tz", "Europe/Berlin"], ["--metadata", "--tz", "Berlin"]):
        assert run("scan", archive.pattern, *options).code == 2


def test_scan_groups_recordings_by_kind(run: Run, tmp_path: Path) -> None:
    """Each format, sample rate and number of channels has its own row."""
    soundfile.write(tmp_path / "a.wav", [0.0] * 800, 8_000, subtype="PCM_16")
    soundfile.write(tmp_path / "b.wav", [[0.0, 0.0]] * 800, 8_000, subtype="PCM_16")
    soundfile.write(tmp_path / "c.flac", [0.0] * 1_600, 16_000, subtype="PCM_24")

    figures = json.loads(run("scan", tmp_path, "--json", "-").out)

    assert {
        (kind["format"], kind["subtype"], kind["sample_rate"], kind["channels"])
        for kind in figures["kinds"]
    } == {
        ("WAV", "PCM_16", 8_000, 1),
        ("WAV", "PCM_16", 8_000, 2),
        ("FLAC", "PCM_24", 16_000, 1),
    }
    assert figures["audio_s"] == pytest.approx(0.3)


# bench


def test_bench_recommends_by_its_own_figures(run: Run, archive: Archive, tmp_path: Path) -> None:
    """Table and JSON recommend the same number of workers, and the figures are consistent."""
    file = tmp_path / "bench.json"

    result = run(
        *("bench", archive.pattern, "--workers", "0,1,2", "--rounds", "2", "--window-s", "0.5"),
        *("--batch-size", "4", "--max-windows", "10", "--shuffle", "file", "--json", file),
    )

    assert result.code == 0
    assert result.err == ""
    figures = json.loads(file.read_text())
    assert figures["windows"] == 10
    assert [row["workers"] for row in figures["rows"]] == [0, 1, 2]
    for row in figures["rows"]:
        rates = [run["windows"] / run["wall_s"] for run in row["runs"]]
        assert len(rates) == 2
        assert row["windows_per_s"] == pytest.approx(sum(rates) / 2)
        assert row["times_real_time"] == pytest.approx(0.5 * row["windows_per_s"])
        assert row["spread"] == pytest.approx((max(rates) - min(rates)) / (sum(rates) / 2))
    marked = [line.split()[0] for line in result.out.splitlines() if "◀ recommended" in line]
    if figures["recommended"] is None:  # another program disturbed one of the rounds
        assert not marked
        assert "No number of workers is recommended" in result.out
    else:
        assert marked == [str(figures["recommended"])]
        assert f"workers={marked[0]}: " in result.out
    assert "after one that is not counted and brings the" in result.out


def test_bench_can_print_json_only(run: Run, archive: Archive) -> None:
    """With `--json -`, standard output is JSON from the first byte to the last."""
    result = run("bench", archive.pattern, "--workers", "1", "--rounds", "1", "--json", "-")

    assert result.code == 0
    assert json.loads(result.out)["recommended"] == 1


# demo


TINY = ("--recordings", "2", "--seconds", "10", "--rounds", "1", "--budget-s", "0")


def test_demo_compares_the_loaders(run: Run) -> None:
    """The table has the plain loader, then threaded loaders; a verdict follows."""
    result = run("demo", *TINY)

    assert result.code == 0
    assert result.err == ""
    assert re.search(r"^ +plain +[\d,]+ +[\d,]+ +\d+\.\d% *$", result.out, re.MULTILINE)
    assert re.search(r"^ +threaded, 1 worker +[\d,]+", result.out, re.MULTILINE)
    assert re.search(r"^ +threaded, 2 workers +[\d,]+", result.out, re.MULTILINE)
    assert "Verdict" in result.out


def test_demo_keeps_the_archive_when_asked(run: Run, tmp_path: Path) -> None:
    """`--keep` keeps recordings and labels; the JSON counts their windows."""
    result = run("demo", *TINY, "--keep", tmp_path / "kept", "--json", "-")

    assert json.loads(result.out)["windows"] == 4
    assert len(list((tmp_path / "kept").rglob("raw_data/*/*.wav"))) == 2
    assert len(list((tmp_path / "kept").rglob("strong_labels/*/*.txt"))) == 2


def test_demo_leaves_nothing_behind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--keep`, the temporary folder is removed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert run("demo", *TINY).code == 0
    assert not list(tmp_path.iterdir())


def test_demo_takes_the_users_recordings(run: Run, archive: Archive) -> None:
    """`--data` loads the user's recordings, and the report counts them."""
    result = run("demo", "--data", archive.pattern, "--rounds", "1", "--budget-s", "0")

    assert result.code == 0
    assert "3 recordings, 6.0 s of audio" in result.out


# errors


@pytest.mark.parametrize("command", [["scan"], ["bench"], ["demo", "--data"]])
def test_a_pattern_that_matches_nothing_is_a_data_error(
    run: Run, tmp_path: Path, command: list[str]
) -> None:
    """One sentence names the pattern; the exit code is 1."""
    result = run(*command, tmp_path / "*.wav")

    assert result.code == 1
    assert result.out == ""
    assert "*.wav" in _sentence(result.err)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--window-s", "0"], "window_s"),
        (["--hop-s", "-1"], "hop_s"),
        (["--memory", "1 KiB"], "memory"),
        (["--memory", "plenty"], "memory"),
    ],
)
def test_a_value_that_the_library_rejects_is_a_usage_error(
    run: Run, archive: Archive, options: list[str], named: str
) -> None:
    """The library's error message is printed; the exit code is 2."""
    result = run("bench", archive.pattern, *options)

    assert result.code == 2
    assert named in _sentence(result.err)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench"],
        ["scan"],
        ["bench", "x.wav", "--rounds", "0"],
        ["bench", "x.wav", "--workers", "two"],
        ["bench", "x.wav", "--workers", ","],
        ["bench", "x.wav", "--shuffle", "channels"],
        ["demo", "--data", "x.wav", "--keep", "folder"],
        ["unknown"],
    ],
)
def test_an_argument_that_cannot_be_parsed_is_a_usage_error(run: Run, arguments: list[str]) -> None:
    """Standard error says what is wrong, standard output is empty; the exit code is 2."""
    result = run(*arguments)

    assert result.code == 2
    assert result.out == ""
    assert "Traceback" not in result.err
    assert result.err


def test_unreadable_audio_is_a_data_error(
    run: Run, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A window that cannot be read ends the command with one sentence and exit code 1."""
    failure = Failure("a.wav", "/data/a.wav", Code.IO, "the disk is gone")

    def fail(*_: object, **__: object) -> None:
        raise ReadError(failure)

    monkeypatch.setattr(bench, "sweep", fail)
    result = run("bench", archive.pattern)

    assert result.code == 1
    assert _sentence(result.err) == str(failure)


def test_a_file_that_cannot_be_written_is_one_sentence(
    run: Run, archive: Archive, tmp_path: Path
) -> None:
    """The sentence names the missing folder of the `--json` file."""
    result = run("scan", archive.pattern, "--json", tmp_path / "nowhere" / "x.json")

    assert result.code == 1
    assert "nowhere" in _sentence(result.err)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["scan", "--failures", "nowhere/x.csv"],
            "'nowhere/x.csv' cannot be written: there is no folder 'nowhere'; create it first.",
        ),
        (["scan", "--failures", "x.txt"], "'x.txt' must end in .csv or .parquet."),
        (["scan", "--failures", "x.csv"], "'x.csv' is a folder: name a file in it."),
        (["scan", "--save", "nowhere/x.parquet"], "there is no folder 'nowhere'; create it first"),
        (["scan", "--save", "x.csv"], "'x.csv' is a folder: name a file in it."),
        (
            ["scan", "--json", "nowhere/x"],
            "'nowhere/x' cannot be written: there is no folder 'nowhere'",
        ),
        (["scan", "--json", "x.csv"], "'x.csv' is a folder: name a file in it."),
        (["bench", "--json", "nowhere/x"], "there is no folder 'nowhere'"),
        (["bench", "--plot", "nowhere/x.html"], "there is no folder 'nowhere'"),
        (["preview", "-o", "nowhere/x.html"], "there is no folder 'nowhere'"),
        (["demo", "--json", "nowhere/x", "--data"], "there is no folder 'nowhere'"),
    ],
)
def test_output_paths_are_checked_before_the_scan(
    run: Run,
    archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    sentence: str,
) -> None:
    """A typo in a path must not be found after hours of decoding."""

    def scan(*_: object, **__: object) -> None:
        pytest.fail("it scanned first")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").mkdir()
    monkeypatch.setattr(catalog, "scan", scan)

    result = run(*arguments, archive.pattern)

    assert result.code == 1
    assert re.search(sentence, _sentence(result.err))


def test_scan_reports_a_damaged_cache(run: Run, archive: Archive, tmp_path: Path) -> None:
    """Of the warnings, only the one that the report repeats is not printed."""
    cache = tmp_path / "c.parquet"
    assert run("scan", archive.pattern, "--cache", cache).code == 0
    cache.write_bytes(cache.read_bytes()[:100])
    archive.audio[0].write_bytes(b"noise")

    result = run("scan", archive.pattern, "--cache", cache)

    assert result.code == 1
    first, second = result.err.splitlines()
    assert "is damaged: scan again" in first
    assert "c.parquet.damaged-1" in first
    assert second == "headrace: 1 file is damaged and was left out."


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("bench", "--plot", "x.html"),
        ("bench", "--json", "x.json"),
        ("preview", "-o", "x.html"),
        ("preview", "--json", "x.json"),
        ("scan", "--json", "x.json"),
        ("demo", "--json", "x.json"),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_wrong_output_path_is_found_before_the_recordings(
    run: Run, tmp_path: Path, command: str, option: str, name: str, *, there: bool
) -> None:
    """The folder is missing, or the path is a folder; the pattern, also wrong, is not used yet."""
    file = tmp_path / "nowhere" / name
    if there:
        file.mkdir(parents=True)
    patterns = [] if command == "demo" else [tmp_path / "none.wav"]

    result = run(command, *patterns, option, file)

    assert result.code == 1
    assert str(file) in _sentence(result.err)
    assert result.out == ""


def test_permission_to_write_is_checked_before_the_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An existing file must be writable; for a new file, its folder."""
    kept = tmp_path / "kept.json"
    kept.write_text("{}")
    refused: set[Path] = set()
    monkeypatch.setattr(os, "access", lambda path, _mode: path not in refused)

    for file, asked in ((kept, kept), (tmp_path / "new.json", tmp_path)):
        refused.clear()
        assert "none.wav" in _sentence(run("bench", tmp_path / "none.wav", "--json", file).err)
        refused.add(asked)
        result = run("bench", tmp_path / "none.wav", "--json", file)
        assert result.code == 1
        assert "cannot be written: permission denied" in _sentence(result.err)


def test_a_report_is_printed_even_if_its_json_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A disk error costs the JSON, but not the measurement."""
    with pytest.raises(OSError, match="nowhere"):
        console.print_report({}, lambda: "the report", str(tmp_path / "nowhere" / "x.json"))

    assert capsys.readouterr().out == "the report\n"


def test_an_interrupt_is_quiet(run: Run, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with exit code 130 and prints nothing."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "sweep", interrupt)

    assert run("bench", archive.pattern) == Result(130, "", "")


def test_a_bug_is_not_hidden(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that headrace does not raise on purpose keeps its traceback."""

    def stumble(*_: object, **__: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(bench, "sweep", stumble)
    monkeypatch.setattr(sys, "argv", ["headrace", "bench", archive.pattern])

    with pytest.raises(TypeError, match="a bug"):
        cli.main()


def test_a_closed_pipe_is_not_an_error_message(archive: Archive) -> None:
    """`headrace scan ... | head -0` prints nothing on standard error."""
    receive, send = os.pipe()
    os.close(receive)
    with os.fdopen(send, "wb") as closed:
        ended = subprocess.run(
            [sys.executable, "-m", "headrace", "scan", archive.pattern, "--json", "-"],
            stdout=closed,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )

    assert ended.stderr == b""
    assert ended.returncode == 1


def test_importing_headrace_imports_no_command_line() -> None:
    """Typer, rich and pyarrow are imported only where they are used."""
    code = (
        "import sys, headrace\n"
        "import headrace.bench._synthetic, headrace.bench._worker_sweep, headrace.bench._demo\n"
        "print([name for name in ('typer', 'rich', 'pyarrow', 'pandas') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert ended.stdout == "[]\n"


# preview


def test_preview_writes_a_page(run: Run, archive: Archive, tmp_path: Path) -> None:
    """The output says which windows the page shows, how they were chosen, and its size."""
    page = tmp_path / "page.html"

    result = run(
        "preview", archive.folder / "raw_data", "-o", page, "--windows", "4", "--window-s", "1"
    )

    assert result.code == 0, result.err
    assert result.out.startswith(f"{page}: 4 of 6 windows, at random, seed 0; ")
    assert page.read_text("utf-8").count('class="card"') == 4


def test_preview_shows_labels(run: Run, archive: Archive, tmp_path: Path) -> None:
    """Labels of several files are joined."""
    page = tmp_path / "page.html"
    labels = archive.folder / "strong_labels"
    next(labels.rglob("*.txt")).write_text("0.5\t1.0\tFROGGY_H\n", "utf-8")
    name = next((archive.folder / "raw_data").rglob("*.wav")).name
    (tmp_path / "more.csv").write_text(f"file,start_s,end_s,label\n{name},0,1,rain\n", "utf-8")

    result = run(
        "preview", archive.pattern, "-o", page, "--annotations", f"anuraset:{labels}",
        "--annotations", f"csv:{tmp_path / 'more.csv'}",
    )  # fmt: skip

    assert result.code == 0, result.err
    options = re.findall(r'<option value="=[^"]+">([^<]+)', page.read_text("utf-8"))
    assert options == ["FROGGY (1)", "rain (1)"]


def test_preview_takes_the_column_and_the_way_of_matching(
    run: Run, archive: Archive, tmp_path: Path
) -> None:
    """Labels in a column with another name, of files in other folders."""
    page = tmp_path / "page.html"
    name = next((archive.folder / "raw_data").rglob("*.wav")).name
    table = tmp_path / "table.csv"
    table.write_text(f"file,start_s,end_s,what\nelsewhere/{name},0,1,rain\n", "utf-8")
    options = ("preview", archive.pattern, "-o", page, "--annotations", f"csv:{table}")

    result = run(*options, "--label-column", "what")
    assert result.code == 1
    assert 'by="stem"' in result.err
    result = run(*options, "--label-column", "what", "--match", "stem")
    assert result.code == 0, result.err
    assert re.findall(r'<option value="=[^"]+">([^<]+)', page.read_text("utf-8")) == ["rain (1)"]
    result = run(*options[:-1], f"birdnet:{table}", "--label-column", "what")
    assert result.code == 2
    assert "labels of birdnet are in no column" in result.err


def test_preview_shows_the_windows_asked_for(run: Run, archive: Archive, tmp_path: Path) -> None:
    """The last @ separates file and second, so that a file name may contain one."""
    name = next((archive.folder / "raw_data").rglob("*.wav"))
    odd = name.rename(name.with_name("a@2.wav"))
    page = tmp_path / "page.html"

    result = run(
        "preview", archive.pattern, "-o", page, "--window-s", "0.5", "--audio", "none",
        "--at", f"{odd.name}@1.2", "--at", f"{odd.name}@0",
    )  # fmt: skip

    assert result.out.startswith(f"{page}: 2 of 12 windows, as asked for; ")
    assert [float(at) for at in re.findall(r'data-at="([\d.]+)"', page.read_text("utf-8"))] == [
        1.0,
        0.0,
    ]
    assert "audio/flac" not in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--at", "a.wav"], 2, "is not FILE@SECONDS"),
        (["--at", "a.wav@x"], 2, "is not FILE@SECONDS"),
        (["--at", "none.wav@1"], 2, "There is no recording 'none.wav'"),
        (["--annotations", "labels.txt"], 2, "is not KIND:FILES, where KIND is one of anuraset"),
        (["--annotations", "csv:none.csv"], 1, "none.csv"),
        (["--label-column", "Species"], 2, "--label-column: it is about --annotations: give that"),
        (["--match", "stem"], 2, "--match: it is about --annotations: give that, too"),
        (["--threshold", "0.5"], 2, "--threshold: it is about --results: give that, too"),
        (["--column", "scores"], 2, "--column: it is about --results"),
        (
            ["--audio", "mp3", "--sample-rate", "10000"],
            2,
            "MP3 does not support a sample rate of 10,000 Hz",
        ),
        (["-o", "/no/such/folder/page.html"], 1, "/no/such/folder/page.html"),
    ],
)
def test_preview_reports_what_is_wrong(
    run: Run, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    options: list[str], code: int, message: str,
) -> None:  # fmt: skip
    """The exit code is 2 for arguments and 1 for data; no page is written."""
    monkeypatch.chdir(tmp_path)

    result = run("preview", archive.pattern, *options)

    assert result.code == code
    assert message in " ".join(result.err.replace("│", " ").split())
    assert not (tmp_path / "preview.html").exists()


# all commands


@pytest.mark.parametrize("ending", ["html", "png"])
def test_bench_plots_its_result(run: Run, archive: Archive, tmp_path: Path, ending: str) -> None:
    """The plot is written in addition to the table."""
    if ending == "png":
        pytest.importorskip("matplotlib")
    file = tmp_path / f"sweep.{ending}"

    result = run(
        *("bench", archive.pattern, "--workers", "1,2", "--rounds", "1", "--window-s", "0.5"),
        *("--plot", file),
    )

    assert result.code == 0, result.err
    assert "recommended" in result.out
    assert file.stat().st_size > 2_000


def test_bench_checks_the_plot_file_before_it_measures(
    run: Run, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ending that cannot be plotted is a usage error."""
    monkeypatch.setattr(bench, "sweep", None)

    result = run("bench", archive.pattern, "--plot", "sweep.pdf")

    assert result.code == 2
    assert _sentence(result.err) == "'sweep.pdf' must end in .html or .png."


@pytest.mark.parametrize("command", ["demo", "scan", "bench", "preview"])
def test_every_command_has_json(
    run: Run, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """With `--json -`, standard output is JSON and nothing else."""
    monkeypatch.chdir(tmp_path)
    more = {
        "demo": ["--data", archive.pattern, "--rounds", "1", "--budget-s", "0"],
        "scan": [archive.pattern],
        "bench": [archive.pattern, "--rounds", "1", "--workers", "1"],
        "preview": [archive.pattern, "--windows", "2", "--window-s", "0.5"],
    }

    result = run(command, *more[command], "--json", "-")

    assert result.code == 0, result.err
    figures = json.loads(result.out)
    if command == "preview":
        assert figures["page"] == "preview.html"
        assert figures["bytes"] == (tmp_path / "preview.html").stat().st_size
        assert len(figures["shown"]) == 2
        assert figures["shown"][0]["rms_dbfs"] < 0
        assert figures["failures"] == []
    else:
        assert figures


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("headrace pre", "preview"), ("headrace bench --pl", "--plot"), ("headrace de", "demo")],
)
def test_a_shell_completes(words: str, wanted: str) -> None:
    """The script that `--show-completion` prints for bash gets commands and options."""
    ended = subprocess.run(
        [Path(sys.executable).parent / "headrace"],
        env={
            **os.environ,
            "_HEADRACE_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.stdout.split() == [wanted]


_COMPLETE = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_WORDS": "headrace pre", "COMP_CWORD": "1"}


def _imports(arguments: list[str], heavy: str, environment: dict[str, str]) -> tuple[str, str]:
    """Return what a command prints, and which of the heavy modules it has imported then."""
    code = (
        "import atexit, sys\n"
        "heavy, *sys.argv[1:] = sys.argv[1:]\n"
        "loaded = lambda: [name for name in heavy.split() if name in sys.modules]\n"
        "atexit.register(lambda: print('loaded', loaded(), file=sys.stderr))\n"
        "from headrace.cli import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, heavy, *arguments],
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return ended.stdout, ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "environment", "shown"),
    [
        (["--help"], {}, "preview"),
        ([], _COMPLETE, "preview"),
        (["apply", "--help"], {}, "--model"),
    ],
)
def test_help_and_completion_import_nothing_heavy(
    arguments: list[str], environment: dict[str, str], shown: str
) -> None:
    """Help and completion are fast: NumPy, pyarrow and soundfile are not imported."""
    heavy = "numpy pyarrow soundfile rich.progress headrace.loading._loader"
    out, loaded = _imports(arguments, heavy, environment)

    assert shown in out
    assert loaded == "loaded []"


def test_results_import_only_what_reads_footers(archive: Archive, tmp_path: Path) -> None:
    """A look at results is fast: pandas, which pyarrow uses where it can, is not imported."""
    windows = headrace.scan(archive.pattern).windows(16_000, 0.5)
    windows.apply(lambda batch: batch.audio[:, 0], tmp_path / "run", batch_size=4, name="first")
    heavy = "pandas pyarrow.compute pyarrow.dataset soundfile headrace.loading._loader"
    out, loaded = _imports(["results", str(tmp_path / "run")], heavy, {})

    assert "12 windows of 3 recordings, complete" in " ".join(out.split())
    assert loaded == "loaded []"


MODEL = """
from functools import partial

import numpy as np

def model(batch):
    return np.abs(batch.audio).max(axis=1)

def factory():
    return model

class Module:
    def __call__(self, *args, **kwargs):
        return model(*args, **kwargs)

module = Module()

def broken(batch):
    raise ValueError("no weights")

def optional(batch=None):
    return model(batch)

def make(path="weights"):
    assert path == "weights"
    return model

def needy(weights, rate):
    return model

class Needy:
    def __init__(self, weights):
        self.weights = weights

keyword = partial(make, path="weights")
bound = partial(lambda batch, scale: model(batch), scale=1)
number = 3
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a file with models."""
    file = tmp_path / "birds.py"
    file.write_text(MODEL, "utf-8")
    return file


@pytest.mark.parametrize(
    ("name", "is_factory"),
    [
        ("model", False),
        ("factory", True),
        ("factory()", True),
        ("make()", True),
        ("keyword", True),
        ("bound", False),
        ("Module", True),
        ("Module()", True),
        ("module", False),
    ],
)
def test_a_model_is_a_function_of_a_batch_or_a_factory(
    model: Path, name: str, *, is_factory: bool
) -> None:
    """What can only be called without a batch is a factory, and so are a class and `NAME()`."""
    function, seen = load_model(f"{model}:{name}")

    assert seen is is_factory
    audio = np.ones((2, 3), np.float32)
    called = function() if is_factory else function
    assert called(SimpleNamespace(audio=audio)).tolist() == [1, 1]


@pytest.mark.parametrize("name", ["model", "make()", "module"])
def test_apply_keeps_results_that_results_shows(
    run: Run, archive: Archive, model: Path, tmp_path: Path, name: str
) -> None:
    """A function, or a factory of one, is applied; both commands print the same."""
    options = ("--window-s", 0.5, "--part-size", 5, "-o", tmp_path / "results")
    applied = run("apply", archive.pattern, "--model", f"{model}:{name}", *options)
    shown = run("results", tmp_path / "results", "--watch")
    figures = json.loads(run("results", tmp_path / "results", "--json", "-").out)

    assert applied.code == shown.code == 0
    assert f"birds.py:{name.removesuffix('()')} in" in applied.out
    assert "12 windows of 3 recordings, complete" in " ".join(applied.out.split())
    assert shown.out == applied.out
    assert (figures["written"], figures["parts"], figures["complete"]) == (12, 3, True)


def test_apply_takes_channels_and_tails(
    run: Run, archive: Archive, model: Path, tmp_path: Path
) -> None:
    """`--channel`, `--min-tail-s` and `--min-audio-s` are those of `Catalog.windows`."""
    common = (archive.pattern, "--model", f"{model}:model", "--window-s", 1.5)
    for name, options in (
        ("short", ()),
        ("whole", ("--min-tail-s", 1.5, "--channel", 0)),
        ("audible", ("--min-audio-s", 0.6)),
    ):
        result = run("apply", *common, *options, "-o", tmp_path / name)
        assert result.code == 0
    recordings = headrace.scan(archive.pattern)

    for name, windows in (
        ("short", recordings.windows(16_000, 1.5)),
        ("whole", recordings.windows(16_000, 1.5, min_tail_s=1.5, channel=0)),
        ("audible", recordings.windows(16_000, 1.5, min_audio_s=0.6)),
    ):
        table = headrace.load_run(tmp_path / name).to_arrow()
        assert len(table) == len(windows)
        assert {*table["channel"].to_pylist()} == {0 if name == "whole" else None}
    assert run("apply", *common, "--channel", "left", "-o", tmp_path / "x").code == 2


def test_apply_reads_when_recordings_were_made(
    run: Run, archive: Archive, model: Path, tmp_path: Path
) -> None:
    """With `--metadata`, results have `start_utc`, and `--column` may name what was read."""
    common = (archive.pattern, "--model", f"{model}:model", "--window-s", 1.5)
    timed = ("--metadata", "--tz", "+01:00", "--column", "recorded_from")
    result = run("apply", *common, *timed, "-o", tmp_path / "timed")
    assert result.code == 0, result.err
    table = headrace.load_run(tmp_path / "timed").to_arrow()
    windows = headrace.scan(archive.pattern, metadata=True, tz="+01:00").windows(16_000, 1.5)
    starts = windows.table([])["start_at"].to_pylist()
    assert sorted(table["start_utc"].to_pylist()) == sorted(starts)
    assert table["recorded_from"].null_count == 0
    wrong = run("apply", *common, "--tz", "+01:00", "-o", tmp_path / "x")
    assert (wrong.code, (tmp_path / "x").exists()) == (2, False)


def test_apply_has_the_arguments_of_the_library(
    run: Run, archive: Archive, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each argument of `Windows.apply` and `Catalog.windows` has an option, and is handed on."""
    seen: dict[str, object] = {}

    def record(self: headrace.Windows, function: object, output: object, **options: object) -> None:
        seen.update(options, function=function, output=output, shape=self.shape, count=len(self))
        raise headrace.ResultsError("seen")

    monkeypatch.setattr(headrace.Windows, "apply", record)
    texts = "--name n --batch-size 3 --pad-batches --column path --float16 a --float16 b"
    more = "--device cpu --workers 1 --prefetch 2 --stall-timeout-s 5 --memory 1GiB --part-size 6"
    rest = "--on-error mask --retry-failed --sample-rate 8000 --window-s 1.5 --hop-s 1 --tail shift"
    given = [*texts.split(), *more.split(), *rest.split(), "--channel", "0", "-o", "out"]
    run("apply", archive.pattern, "--model", f"{model}:model", *given)

    expected = {
        "name": "n",
        "batch_size": 3,
        "pad_batches": True,
        "columns": ["path"],
        "float16": ["a", "b"],
        "device": "cpu",
        "workers": 1,
        "prefetch": 2,
        "stall_timeout_s": 5.0,
        "memory": "1GiB",
        "part_size": 6,
        "on_error": "mask",
        "retry_failed": True,
        "model": None,
        "output": "out",
    }
    assert {name: seen[name] for name in expected} == expected
    assert (seen["shape"], seen["count"]) == ((12_000,), 6)  # from 0 s and, shifted, from 0.5 s
    monkeypatch.undo()
    own = {"self", "function", "output", "progress"}  # drawn if there is a terminal
    assert {*inspect.signature(headrace.Windows.apply).parameters} - own <= {*seen}
    options = run("apply", "--help").out
    for name in {*inspect.signature(headrace.Catalog.windows).parameters} - {"self"}:
        assert f"--{name.replace('_', '-')}" in options


def test_apply_reports_recordings_that_are_gone(run: Run, archive: Archive, tmp_path: Path) -> None:
    """What failed is a table with the cause of each."""
    run("scan", archive.pattern, "--save", tmp_path / "catalog.parquet")
    recordings = catalog.load_catalog(tmp_path / "catalog.parquet")
    Path(recordings[1].path).unlink()
    recordings.windows(16_000, 0.5).apply(
        lambda batch: batch.audio[:, 0], tmp_path / "results", batch_size=2, name="x"
    )
    shown = run("results", tmp_path / "results")

    assert shown.code == 0
    assert re.search(rf"MISSING +{re.escape(recordings[1].id)} +the file does not exist", shown.out)
    assert "Apply the model again to try 4 failed windows again" in shown.out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("birds.py", "is not FILE.py:NAME"),
        ("birds.py:other", "has no function 'other'"),
        ("birds.py:number", "has no function 'number'"),
        ("birds.py:optional", "can be called with a batch and without: name optional() if"),
        ("birds.py:make", "or give its parameter no default if it is the model"),
        ("birds.py:needy", "cannot be called with one argument, the batch"),
        ("birds.py:Needy", "cannot be called without arguments"),
        ("birds.py:model()", "cannot be called without arguments"),
        ("fish.py:model", "there is no file"),
        ("no_such_module:model", "No module named"),
    ],
)
def test_a_model_that_does_not_exist_is_a_wrong_argument(
    run: Run, archive: Archive, model: Path, tmp_path: Path, name: str, message: str
) -> None:
    """The error names the option."""
    text = f"{model.parent}/{name}" if ".py" in name else name
    result = run("apply", archive.pattern, "--model", text, "-o", tmp_path / "results")

    assert result.code == 2
    assert "--model" in result.err
    assert message in " ".join(re.sub(r"[│\s]+", " ", result.err).split())


def test_a_model_that_raises_is_one_sentence(
    run: Run, archive: Archive, model: Path, tmp_path: Path
) -> None:
    """The error of the model is named, without a traceback."""
    text = f"{model}:broken"
    result = run("apply", archive.pattern, "--model", text, "-o", tmp_path / "results")

    assert result.code == 1
    assert "the model raised ValueError: no weights on a batch of noise" in _sentence(result.err)


def test_results_of_nothing_are_one_sentence(run: Run, tmp_path: Path) -> None:
    """A folder without results ends with exit code 1."""
    result = run("results", tmp_path)

    assert result.code == 1
    assert "there are no results in" in _sentence(result.err)


def test_watching_ends_when_the_run_is_complete(archive: Archive, tmp_path: Path) -> None:
    """The report is drawn anew after each interval, until nothing is open."""
    windows = catalog.scan(archive.pattern).windows(16_000, 0.5)

    def apply() -> headrace.Run:
        return windows.apply(
            lambda batch: batch.audio[:, 0],
            tmp_path / "results",
            batch_size=2,
            name="x",
            part_size=5,
        )

    apply()
    next((tmp_path / "results" / "parts").iterdir()).unlink()
    waits = []

    class Interval(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            if len(waits) == 2:
                apply()
            return False

    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    run = watch_results(headrace.load_run(tmp_path / "results"), console, Interval())

    assert run.complete
    assert len(waits) == 2
