from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import headrace
from tests.support.processes import ROOT
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="the extra torch is not installed"
)


@pytest.mark.slow
def test_two_processes_train_two_epochs_in_step(tmp_path: Path) -> None:
    """With a damaged file and an odd number of windows, ranks see each good window once."""
    for seed in range(5):
        sound = noise(7_000, seed=seed)
        if seed == 3:
            sound[[4_500, 6_500]] = np.nan  # 2 of its 4 windows are good
        write(tmp_path / f"{seed}.wav", sound, 8_000, "WAV", "FLOAT")
    headrace.scan(tmp_path).save(tmp_path / "catalog.parquet")
    script = "tests.support.distributed_rank"
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}

    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", script, tmp_path, str(rank), tmp_path / "store"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        for rank in range(2)
    ]
    try:
        done = [rank.communicate(timeout=50) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()

    for rank, (_, errors) in zip(ranks, done, strict=True):
        assert rank.returncode == 0, errors
    (total, one, lost), (same, two, more) = (json.loads(out) for out, _ in done)
    assert total == same == 19
    bad = {13, 14}
    assert set(lost) | set(more) == bad
    for epoch in range(2):
        assert one[epoch][0] == two[epoch][0] == 3
        assert sorted(one[epoch][1] + two[epoch][1]) == sorted(set(range(total)) - bad)
    assert len(lost) + len(more) == 4
