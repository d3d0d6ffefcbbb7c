"""Runs that are slow for one reason each, and the cause that verdict, trace and plot name.

``python -m tests.support.slow_runs NAME PATTERN`` prints the causes of one run as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import headrace
from headrace.bench._plot import sweep_page
from headrace.bench._worker_sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SLOW_PREAD", "diagnose"]

SLOW_PREAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/types.h>
#include <unistd.h>
static ssize_t slow(const char *name, int file, void *to, size_t bytes, off_t at) {
  usleep(5000);
  ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, name);
  return real(file, to, bytes, at);
}
ssize_t pread(int f, void *to, size_t n, off_t at) { return slow("pread", f, to, n, at); }
ssize_t pread64(int f, void *to, size_t n, off_t at) { return slow("pread64", f, to, n, at); }
"""
"""C source: a process that preloads it reads files as slowly as from a distant disk."""


def sleepy(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Be slow without the GIL."""
    time.sleep(0.003)
    return audio


def spin(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Be slow with the GIL."""
    total = 0
    for i in range(60_000):
        total += i
    return audio


def parallel(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Be slow on a processor, without the GIL."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 4_000)
    return audio


def _nothing() -> None:
    """Do no work with a batch; unlike `time.sleep(0)`, this never releases the GIL."""


class _Model:
    """Work with a batch for 3 to 30 milliseconds, in pieces of 3 that hold the GIL."""

    def __init__(self) -> None:
        self._pieces = cycle(range(1, 11))

    def __call__(self) -> None:
        for _ in range(next(self._pieces)):
            sum(range(200_000))


def diagnose(name: str, pattern: str) -> dict[str, Any]:
    """Return what is reported of a run: verdict, seconds by name in the trace, the plot's page."""
    windows = headrace.scan(pattern).windows(16_000, 0.1)
    how: Any = {"batch_size": 4}
    if name == "model":  # two reads a batch, which end while the model works, or later
        windows = headrace.scan(pattern).windows(44_100, 1.0, hop_s=0.5).shuffle()
        how = {"batch_size": 12, "prefetch": 1}
    if name == "transform":
        windows = windows.map(sleepy)
    if name == "gil":
        windows = windows.map(spin)
    if name == "processors":  # eight workers on one processor
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
        windows, how["workers"] = windows.map(parallel), 8
    works: dict[str, Callable[[], None]] = {
        "consumer": partial(time.sleep, 0.02),
        "model": _Model(),
    }
    work = works.get(name, _nothing)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        with windows.loader(**{"workers": 2, **how}) as loader, loader.trace(file):
            for _ in loader.steps(6 * len(loader)):
                work()
        events = json.loads(file.read_text("utf-8"))
    seconds: Counter[str] = Counter()
    for event in events["traceEvents"]:
        if event["ph"] == "X" and event["name"] != "read":
            seconds[event["name"]] += event["dur"] / 1e6
    workers = [how.pop("workers", 2)]
    measured = sweep(windows, workers, rounds=1, **how, consume=lambda _: work(), least_s=0.3)
    return {
        "verdict": loader.stats().verdict,
        "verdict in the trace": events["otherData"]["verdict"],
        "trace": dict(seconds),
        "page": sweep_page(measured),
        "plot": measured.rows[0].runs[0].parts,
        "wait_share": measured.rows[0].wait_share,
        "queued": loader.stats().queued,
    }


if __name__ == "__main__":
    json.dump(diagnose(*sys.argv[1:]), sys.stdout)
