"""The scripts of `examples/` run as users run them, on very small archives."""

from __future__ import annotations

import importlib
import importlib.util
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from headrace.bench._synthetic import write_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = ("--recordings", 8, "--seconds", 24, "--batch-size", 8)

KILLED = """
import os, runpy, signal, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
import detector
save = detector.Training.save
def killed(self, file):
    save(self, file)
    if self.steps == 9:
        os.kill(os.getpid(), signal.SIGKILL)
detector.Training.save = killed
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script, which is killed at once when step 9 has been saved."""

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)


def _command(script: str, *arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / script), *map(str, arguments)]


def _run(script: str, *arguments: object) -> str:
    """Run an example and return its output."""
    done = subprocess.run(
        _command(script, *arguments), capture_output=True, check=False, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _check_report(printed: str) -> None:
    """Average precision is better than by chance, and the wait is between 0 and 100 %."""
    rows = re.findall(r"^  (\w+) +([\d.]+)  \(([\d.]+)\)$", printed, re.MULTILINE)
    assert [name for name, *_ in rows] == ["SYNTHA", "SYNTHB", "SYNTHC", "SYNTHD", "mean"]
    precisions, chances = ([float(row[column]) for row in rows] for column in (1, 2))
    assert all(0 <= chance < 1 for chance in chances)
    assert precisions[-1] > chances[-1] + 0.2
    (share,) = re.findall(r"training waited ([\d.]+)% of the time", printed)
    assert 0 <= float(share) <= 100


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that imports an example as if it were run."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
            del sys.modules[name]


@pytest.mark.slow
@needs_torch
def test_torch() -> None:
    """Training in PyTorch resumes exactly, and detects calls in recordings it did not see."""
    printed = _run("train_torch.py", *TINY, "--epochs", 8)

    assert "same windows True, same weights True" in printed
    _check_report(printed)


@pytest.mark.slow
@needs_torch
def test_focal_recordings() -> None:
    """Each way is trained and tested on the same recordings, and the means are of its rows."""
    printed = _run("train_focal.py", "--seeds", 1, "--steps", 12, "--test-recordings", 3)
    rows = re.findall(r"^seed 0  ([a-z ]+?) +([\d.]+)   (.+)$", printed, re.MULTILINE)

    assert [way for way, *_ in rows] == ["all windows", "balanced windows", "balanced crops"]
    for way, mean, each in rows:
        precisions = [float(one) for one in each.split()]
        assert len(precisions) == 4
        assert 0 < float(mean) == pytest.approx(np.nanmean(precisions), abs=0.001)
        assert re.search(rf"^  {way} +{mean}$", printed, re.MULTILINE)


@pytest.mark.slow
@needs_jax
def test_jax() -> None:
    """Training in JAX does the same."""
    printed = _run("train_jax.py", *TINY, "--epochs", 14)

    assert "same weights True" in printed
    _check_report(printed)


@pytest.mark.slow
@needs_torch
def test_anuraset_goes_on_after_it_was_killed(tmp_path: Path) -> None:
    """A run that is killed inside an epoch and started again ends with the same weights."""
    import torch

    write_archive(tmp_path, recordings=8, seconds=24)

    def arguments(checkpoint: str) -> list[object]:
        files = [tmp_path, "--checkpoint", tmp_path / checkpoint, "--save-every", 3]
        return [*files, "--epochs", 8, "--batch-size", 8, "--held-out", "site", "--balanced"]

    program = [sys.executable, "-c", KILLED, EXAMPLES / "train_anuraset.py"]
    killed = subprocess.run(
        [*map(str, [*program, *arguments("killed.pt")])],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = _run("train_anuraset.py", *arguments("killed.pt"))
    whole = _run("train_anuraset.py", *arguments("whole.pt"))

    (step,) = re.findall(r"resuming after step (\d+)", resumed)
    steps = int(re.findall(r"^step \d+ of (\d+):", resumed, re.MULTILINE)[-1])
    assert int(step) == 9
    assert 9 % (steps // 8) != 0  # inside an epoch
    assert "resuming" not in whole
    _check_report(resumed)
    ended, expected = (torch.load(tmp_path / name) for name in ("killed.pt", "whole.pt"))
    assert ended["batches"] == expected["batches"]
    assert ended["steps"] == expected["steps"] == steps > 9
    for name, weights in expected["model"].items():
        assert torch.allclose(ended["model"][name], weights, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@needs_torch
def test_training_resumes_at_any_step(tmp_path: Path, example: Any) -> None:
    """Resumed at any step, training sees the same windows and gets the same weights."""
    write_archive(tmp_path, recordings=4, seconds=18)
    detector = example("detector")
    windows, _ = example("common").to_train_and_test(tmp_path)
    options = {"batch_size": 4, "width": 4}
    whole = detector.Training(windows, **options)
    seen = []
    for step in range(10):
        whole.save(tmp_path / f"{step}.pt")
        seen.append(whole.run(1))
    whole.batches.close()
    assert len(whole.batches) == 4  # so there are an epoch's beginning, middle and end

    for step in range(10):
        resumed = detector.Training(windows, **options, workers=1)
        resumed.load(tmp_path / f"{step}.pt")
        assert resumed.run(10 - step) == [index for batch in seen[step:] for index in batch]
        resumed.batches.close()
        for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
            assert np.allclose(other.detach(), one.detach(), rtol=1e-4, atol=1e-6)


def test_average_precision(example: Any) -> None:
    """Equal to values by hand: perfect, reversed, a tie broken by position, and an absent class."""
    average_precision = example("common").average_precision
    truth = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]])
    scores = np.array([[3, 1, 0, 1], [1, 2, 0, 1], [2, 3, 0, 1]])

    found = average_precision(truth, scores)

    assert found[:3] == pytest.approx([1, (1 / 2 + 2 / 3) / 2, 1 / 2])
    assert np.isnan(found[3])


def test_sites_are_held_out_whole(tmp_path: Path, example: Any) -> None:
    """No recording and no site is in both parts, and both have the same classes."""
    write_archive(tmp_path, recordings=8, seconds=6)
    split = example("common").to_train_and_test

    for by, part in (("id", slice(None)), ("site", slice(0, 4))):
        parts = [
            {recording.id[part] for recording in windows.catalog}
            for windows in split(tmp_path, by=by)
        ]
        assert all(parts)
        assert not parts[0] & parts[1]
    train, test = split(tmp_path, balanced=True)
    assert train.classes == test.classes
    assert train.shape == test.shape == (64, 94)
