"""Of a run that is slow, verdict, trace and plot each name what makes it so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from html import escape
from typing import TYPE_CHECKING, Any

import pytest

import culprits
from sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

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
    source.write_text(culprits.SLOW_PREAD)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)

    done = subprocess.run(
        [sys.executable, culprits.__file__, "disk", pattern],
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
    said = culprits.blamed(name, pattern)

    assert ("holds the GIL" in said["verdict"]) == (name == "gil"), said
    assert "transform" in said["verdict"]
    assert longest(said["trace"], WORK) == "transform"
    assert said["trace"]["wait"] > said["trace"]["work with it"]
    assert ("wait for the GIL" in said["trace"]) == (name == "gil")
    assert longest(said["plot"], said["plot"]) == "transforms"
    assert "transform" in said["page"]


def test_a_slow_consumer_is_named(pattern: str) -> None:
    """Nobody waits for the loader, and nothing that it does is blamed."""
    said = culprits.blamed("consumer", pattern)

    assert said["verdict"].startswith("The loader waited for the consumer"), said
    assert said["trace"]["work with it"] > 10 * said["trace"]["wait"]
    assert said["wait_share"] < 0.1
    assert escape("The loader waited for the consumer") in said["page"]
