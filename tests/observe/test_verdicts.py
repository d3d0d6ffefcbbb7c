"""Verdict, trace and plot each name the cause of a slow run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from html import escape
from typing import TYPE_CHECKING, Any

import pytest

import headrace
from headrace.loading._reader import Reader
from tests.support import slow_runs
from tests.support.processes import ROOT
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from headrace.loading._reader import GroupResult
    from headrace.loading._work_items import ReadGroup

WORK = ("wait for files or a processor", "decode", "resample", "transform")


@pytest.fixture
def pattern(tmp_path: Path) -> str:
    """Return the pattern of four recordings, 80 windows of a tenth of a second."""
    for number in range(4):
        write(tmp_path / f"{number}.wav", noise(16_000 * 2, seed=number), 16_000, "WAV", "PCM_16")
    return str(tmp_path / "*.wav")


class SignallingQueue(deque[Any]):
    """A queue that sets an event when three tasks or more wait in it."""

    def __init__(self, tasks: Iterable[Any]) -> None:
        super().__init__(tasks)
        self.has_three = threading.Event()
        self.signal()

    def append(self, task: Any) -> None:
        super().append(task)
        self.signal()

    def signal(self) -> None:
        if len(self) >= 3:
            self.has_three.set()


def longest(seconds: dict[str, float], among: Iterable[str]) -> str:
    """Return the name with the most seconds."""
    return max(among, key=lambda name: seconds.get(name, 0.0))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_slow_disk_is_named(pattern: str, tmp_path: Path) -> None:
    """A disk whose reads take five milliseconds each is named; it needs its own process."""
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(slow_runs.SLOW_PREAD)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)

    done = subprocess.run(
        [sys.executable, "-m", slow_runs.__name__, "disk", pattern],
        cwd=ROOT,
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)

    assert "waiting for files or a processor: the disk or network is slow" in found["verdict"], (
        found
    )
    assert found["verdict in the trace"] == found["verdict"]
    assert longest(found["trace"], WORK) == "wait for files or a processor"
    assert found["trace"]["wait"] > found["trace"]["work"]
    assert longest(found["plot"], found["plot"]) == "waiting for files or a processor"
    assert "the disk or network is slow" in found["page"]


@pytest.mark.parametrize("name", ["transform", "gil"])
def test_a_slow_transform_is_named(pattern: str, name: str) -> None:
    """A transform that sleeps and one that holds the GIL get different verdicts."""
    found = slow_runs.diagnose(name, pattern)

    assert ("holds the GIL" in found["verdict"]) == (name == "gil"), found
    assert "transform" in found["verdict"]
    assert longest(found["trace"], WORK) == "transform"
    assert found["trace"]["wait"] > found["trace"]["work"]
    assert ("wait for the GIL" in found["trace"]) == (name == "gil")
    assert longest(found["plot"], found["plot"]) == "transforms"
    assert "transform" in found["page"]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts these waits")
def test_a_machine_short_of_processors_is_named(pattern: str) -> None:
    """Eight workers on one processor, with a transform without the GIL: no transform is blamed."""
    done = subprocess.run(
        [sys.executable, "-m", slow_runs.__name__, "processors", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)

    assert found["queued"] > 0.5
    assert "mostly with a transform that holds the GIL" not in found["verdict"]
    assert longest(found["plot"], found["plot"]) == "transforms"


@pytest.mark.slow
def test_a_slow_consumer_is_named(pattern: str) -> None:
    """The verdict says that the loader waited, and names no work of the loader."""
    found = slow_runs.diagnose("consumer", pattern)

    assert found["verdict"].startswith("The loader waited for the consumer"), found
    assert found["trace"]["work"] > 10 * found["trace"]["wait"]
    assert found["wait_share"] < 0.1
    assert escape("The loader waited for the consumer") in found["page"]


@pytest.mark.slow
def test_a_consumer_that_holds_the_gil_is_named(tmp_path: Path) -> None:
    """Idle workers that wait for the GIL after their reads point to the consumer."""
    for number in range(2):
        audio = noise(16_000 * 12, seed=number)
        write(tmp_path / f"{number}.ogg", audio, 16_000, "OGG", "VORBIS")  # slow to reach: 10 ms

    found = slow_runs.diagnose("model", str(tmp_path / "*.ogg"))

    assert "Most likely the consumer holds the GIL" in found["verdict"], found
    assert found["verdict in the trace"] == found["verdict"]
    assert found["trace"]["wait for the GIL"] > 0
    assert found["trace"]["work"] > found["trace"]["wait"]


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("WAV", "PCM_16")])
def test_one_long_file_that_is_decoded_from_its_start_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, subtype: str
) -> None:
    """Groups of such a file wait for each other; groups of a format that seeks do not."""
    file = tmp_path / f"long.{container.lower()}"
    write(file, noise(16_000 * 60, seed=0), 16_000, container, subtype)
    catalog = headrace.scan(file, decoder="libsndfile")
    loader = catalog.windows(16_000, 1.0).loader(batch_size=60, workers=3)
    read = Reader.read

    def slow(self: Reader, group: ReadGroup, *rest: Any, **more: Any) -> GroupResult:
        """Delay the first of a batch's four groups until the other three wait for it."""
        running = loader._iteration()
        assert running is not None
        assert running.prefetcher is not None
        core = running.prefetcher._core
        if group.begin == 0:
            with core.lock:
                queue = SignallingQueue(core.waiting_by_key[group.key])
                core.waiting_by_key[group.key] = queue
            assert queue.has_three.wait(20), "the other groups do not wait"
        return read(self, group, *rest, **more)

    if subtype == "VORBIS":
        monkeypatch.setattr(Reader, "read", slow)
    with loader:
        for _ in loader.steps(4):
            pass

    chained = loader.stats().chained
    assert 0.7 < chained <= 1 if subtype == "VORBIS" else chained == 0


def test_an_absurd_number_of_workers_still_loads(pattern: str) -> None:
    """A number of workers that no machine can start loads every window."""
    windows = headrace.scan(pattern).windows(16_000, 0.1)

    for workers in (10**9, 10**30):
        with windows.loader(batch_size=4, workers=workers) as loader:
            assert sum(len(batch) for batch in loader) == len(windows)
