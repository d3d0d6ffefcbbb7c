"""Of a run that is slow, verdict, trace and plot each name what makes it so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from html import escape
from typing import TYPE_CHECKING, Any

import pytest

import headrace
from headrace.loading._reader import Reader
from tests.support import slow_runs
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from headrace.loading._reader import GroupResult
    from headrace.loading._work import ReadGroup

WORK = ("wait for files or a processor", "decode", "resample", "transform")


@pytest.fixture
def pattern(tmp_path: Path) -> str:
    """Return the pattern of four recordings, 80 windows of a tenth of a second."""
    for number in range(4):
        write(tmp_path / f"{number}.wav", noise(16_000 * 2, seed=number), 16_000, "WAV", "PCM_16")
    return str(tmp_path / "*.wav")


def longest(seconds: dict[str, float], among: Iterable[str]) -> str:
    """Return the name that the most seconds are counted under."""
    return max(among, key=lambda name: seconds.get(name, 0.0))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_slow_disk_is_named(pattern: str, tmp_path: Path) -> None:
    """Reads that take five milliseconds each, in a process of its own."""
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(slow_runs.SLOW_PREAD)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)

    done = subprocess.run(
        [sys.executable, "-m", slow_runs.__name__, "disk", pattern],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said: dict[str, Any] = json.loads(done.stdout)

    assert "waiting for files or a processor: the disk or network is slow" in said["verdict"], said
    assert said["told in the trace"] == said["verdict"]
    assert longest(said["trace"], WORK) == "wait for files or a processor"
    assert said["trace"]["wait"] > said["trace"]["work with it"]
    assert longest(said["plot"], said["plot"]) == "waiting for files or a processor"
    assert "the disk or network is slow" in said["page"]


@pytest.mark.parametrize("name", ["transform", "gil"])
def test_a_slow_transform_is_named(pattern: str, name: str) -> None:
    """One that sleeps, and one that holds the GIL and is told apart by that."""
    said = slow_runs.blamed(name, pattern)

    assert ("holds the GIL" in said["verdict"]) == (name == "gil"), said
    assert "transform" in said["verdict"]
    assert longest(said["trace"], WORK) == "transform"
    assert said["trace"]["wait"] > said["trace"]["work with it"]
    assert ("wait for the GIL" in said["trace"]) == (name == "gil")
    assert longest(said["plot"], said["plot"]) == "transforms"
    assert "transform" in said["page"]


def test_a_slow_consumer_is_named(pattern: str) -> None:
    """Nobody waits for the loader, and nothing that it does is blamed."""
    said = slow_runs.blamed("consumer", pattern)

    assert said["verdict"].startswith("The loader waited for the consumer"), said
    assert said["trace"]["work with it"] > 10 * said["trace"]["wait"]
    assert said["wait_share"] < 0.1
    assert escape("The loader waited for the consumer") in said["page"]


def test_a_consumer_that_holds_the_gil_is_named(tmp_path: Path) -> None:
    """Workers that are mostly idle wait for it after their reads, and it waits for them."""
    for number in range(2):
        audio = noise(16_000 * 12, seed=number)
        write(tmp_path / f"{number}.ogg", audio, 16_000, "OGG", "VORBIS")  # slow to reach: 10 ms

    said = slow_runs.blamed("model", str(tmp_path / "*.ogg"))

    assert "Most likely the consumer holds it" in said["verdict"], said
    assert said["told in the trace"] == said["verdict"]
    assert said["trace"]["wait for the GIL"] > 0
    assert said["trace"]["work with it"] > said["trace"]["wait"]


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("WAV", "PCM_16")])
def test_one_long_file_that_is_decoded_from_its_start_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, subtype: str
) -> None:
    """Its groups wait for each other, whoever is free; those of a format that seeks do not."""
    file = tmp_path / f"long.{container.lower()}"
    write(file, noise(16_000 * 60, seed=0), 16_000, container, subtype)
    loader = headrace.scan(file).windows(16_000, 1.0).loader(batch_size=60, workers=3)
    read = Reader.read

    def slow(self: Reader, group: ReadGroup, *rest: Any, **more: Any) -> GroupResult:
        """Let the first of a batch's four groups take until the others wait for it."""
        running = loader._iteration()
        assert running is not None
        assert running.prefetcher is not None
        behind = running.prefetcher._core.waiting_by_key
        until = time.monotonic() + 20  # or the test would wait for ever for what it asserts
        while group.begin == 0 and len(behind[group.key]) < 3:
            assert time.monotonic() < until, "the others do not wait"
            time.sleep(1e-3)
        return read(self, group, *rest, **more)

    if subtype == "VORBIS":
        monkeypatch.setattr(Reader, "read", slow)
    with loader:
        for _ in loader.steps(4):
            pass

    chained = loader.stats().chained
    assert 0.7 < chained <= 1 if subtype == "VORBIS" else chained == 0


def test_nobody_can_start_so_many_threads_and_nobody_needs_them(pattern: str) -> None:
    """Numbers of workers beyond all sense load as few do."""
    windows = headrace.scan(pattern).windows(16_000, 0.1)

    for workers in (10**9, 10**30):
        with windows.loader(batch_size=4, workers=workers) as loader:
            assert sum(len(batch) for batch in loader) == len(windows)
