"""The processes that a launcher starts share the windows, or say that they would not."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import headrace
from tests.support import launched_rank
from tests.support.processes import ROOT
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,  # two processes import PyTorch
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None, reason="the extra torch is not installed"
    ),
    pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes are ended as a group"),
]

RANK = ["-m", "tests.support.launched_rank"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *RANK]
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform.startswith("linux") else {}
"""By default, PyTorch's gloo looks for the network of the host's name."""

MPI = [{"OMPI_COMM_WORLD_RANK": str(rank), "OMPI_COMM_WORLD_SIZE": "2"} for rank in range(2)]


@pytest.mark.parametrize(
    ("launcher", "commands"),
    [
        ("torchrun", [(TORCHRUN, {})]),
        ("accelerate", [(RANK, {})]),
        ("lightning", [(RANK, {})]),
        ("mpi", [(RANK, variables) for variables in MPI]),
    ],
)
def test_two_ranks_load_every_window_once(
    tmp_path: Path, launcher: str, commands: list[tuple[list[str], dict[str, str]]]
) -> None:
    """Every epoch has each window once; a loader of windows that are not sharded raises."""
    if launcher in ("lightning", "accelerate"):
        pytest.importorskip(launcher)
    for seed in range(4):
        write(tmp_path / f"{seed}.wav", noise(7_000, seed=seed), 8_000, "WAV", "PCM_16")
    headrace.scan(tmp_path).save(tmp_path / "catalog.parquet")

    started = [
        subprocess.Popen(
            [sys.executable, *command, launcher, str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **LOOPBACK, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
            cwd=ROOT,
            start_new_session=True,
        )
        for command, variables in commands
    ]
    try:
        errors = [process.communicate(timeout=100)[1] for process in started]
    finally:
        for process in started:
            with suppress(ProcessLookupError):  # all of them have ended
                os.killpg(process.pid, signal.SIGKILL)  # what it has started, too
            process.communicate()

    assert not any(process.returncode for process in started), errors
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    seen = [index for windows, _ in results for index in windows]
    assert sorted(seen) == sorted([*range(16)] * launched_rank.EPOCHS)
    for windows, error in results:
        assert len(set(windows[:8])) == len(set(windows[8:])) == 8
        if launcher != "mpi":  # without torch.distributed, other processes are not known
            assert "there are 2 ranks, and these windows are not sharded" in error
