from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.bucket import serve_bucket
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 needs POSIX")


def _kill(folder: Path, output: str, kills: int, processes: int, **environment: str) -> None:
    """Run the kills, and check that they cost less than a part each."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.support.killed_apply",
            *map(str, (folder, output, kills, processes, 1)),
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["kills"] == kills
    assert figures["lost_windows_a_kill"] < figures["part_size"]


def test_kill_9(tmp_path: Path) -> None:
    """Two processes, killed and started again, make what an undisturbed one makes."""
    _kill(tmp_path, str(tmp_path / "results"), 4, 2)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_kill_9_at_many_moments(tmp_path: Path, processes: int) -> None:
    """Each window is in the results once, and a kill costs less than a part."""
    _kill(tmp_path, str(tmp_path / "results"), 20, processes)


@pytest.mark.parametrize(
    "processes",
    [pytest.param(n, marks=pytest.mark.slow if n == 2 else pytest.mark.soak) for n in (1, 2, 4)],
)
def test_kill_9_at_many_moments_with_a_bucket(tmp_path: Path, processes: int) -> None:
    """The same holds for a bucket."""
    with serve_bucket("results") as environment:
        _kill(tmp_path, "s3://results/run", 10, processes, **environment)
