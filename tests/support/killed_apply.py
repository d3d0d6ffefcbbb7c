"""Apply a model in processes that are killed with -9 at random moments, and compare the results.

``python -m tests.support.killed_apply FOLDER OUTPUT KILLS PROCESSES SEED`` prints a line of JSON. A
killed process is started again at once. When a run is complete, its content is compared with that
of an undisturbed run, and the next run begins, until there were enough kills.

This process forks and uses no library itself: the children have all threads and connections.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import obstore
import obstore.fsspec
import pyarrow as pa
import pyarrow.compute as pc

import headrace
import headrace.inference
from tests.support.models import loudness, sorted_rows
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace import Batch, Run

PART = 16
BATCH = 8
RECORDINGS = 16
SECONDS = 6


def main() -> None:
    """Do what the module says."""
    folder, output = Path(sys.argv[1]), sys.argv[2]
    kills, processes, seed = map(int, sys.argv[3:])
    chance = random.Random(seed)
    assert _wait(_fork(partial(_write_archive, folder))) == 0
    log = folder / "undisturbed.log"
    began = time.monotonic()
    assert _wait(_fork(partial(_apply, folder, f"{output}/undisturbed", log))) == 0
    longest = time.monotonic() - began
    assert _wait(_fork(partial(_check, folder, f"{output}/undisturbed"))) == 0
    killed = runs = computed = 0
    began = time.monotonic()
    while killed < kills:
        place, log = f"{output}/{runs}", folder / f"{runs}.log"
        work = partial(_apply, folder, place, log)
        children = [_fork(work) for _ in range(processes)]
        while children:
            select.select([], [], [], chance.choice((0.2, 0.6, 1.5)) * chance.uniform(0, longest))
            _reap(children)
            if children and killed < kills:
                victim = children.pop(chance.randrange(len(children)))
                os.kill(victim, signal.SIGKILL)
                killed += _wait(victim) == -signal.SIGKILL
                children.append(_fork(work))
        assert _wait(_fork(work)) == 0  # goes on where a last one was killed
        assert _wait(_fork(partial(_check, folder, place))) == 0, place
        computed += log.stat().st_size
        runs += 1
    windows = (folder / "undisturbed.log").stat().st_size
    print(
        json.dumps(
            {
                "kills": killed,
                "processes": processes,
                "runs": runs,
                "windows": windows * runs,
                "lost_windows_a_kill": round((computed - windows * runs) / killed, 2),
                "part_size": PART,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _reap(children: list[int]) -> None:
    """Take out the children that have ended, none of them with an error."""
    for child in list(children):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            children.remove(child)


def _write_archive(folder: Path) -> None:
    (folder / "audio").mkdir(parents=True)
    for i in range(RECORDINGS):
        audio = noise(8_000 * SECONDS, seed=i)
        write(folder / "audio" / f"{i:02}.wav", audio, 8_000, "WAV", "PCM_16")
    headrace.scan(folder / "audio").save(folder / "catalog.parquet")


def _apply(folder: Path, output: str, log: Path) -> None:
    windows = headrace.load_catalog(folder / "catalog.parquet").windows(8_000, 0.25)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def model(batch: Batch) -> dict[str, Any]:
        if batch.state:  # not the trial on noise
            os.write(descriptor, b"x" * len(batch))
        return loudness(batch)

    windows.apply(model, output, batch_size=BATCH, name="loudness", part_size=PART, workers=1)


def _check(folder: Path, output: str) -> None:
    run = headrace.load_run(output)
    windows = headrace.load_catalog(folder / "catalog.parquet").windows(8_000, 0.25)
    _check_ledger(run, len(windows))
    rows = sorted_rows(run.to_arrow())
    undisturbed = headrace.load_run(str(output).rpartition("/")[0] + "/undisturbed")
    assert rows == sorted_rows(undisturbed.to_arrow())
    table = run.to_arrow(["id", "start_s"])
    assert len(table.group_by(["id", "start_s"]).aggregate([])) == len(table) == len(windows)


def _check_ledger(run: Run, windows: int) -> None:
    ledger = run.ledger()
    assert run.complete
    assert not run.failures
    assert ledger["expected"] == ledger["written"]
    assert pc.sum(ledger["written"]).as_py() == windows


if __name__ == "__main__":
    del np, obstore, pa  # imported so that no child has to
    main()
