"""`Trace`: when each read, transform, wait and delivery was, as a timeline to look at.

The file is in the Trace Event Format of chrome://tracing, which Perfetto reads as well:
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.

Guarantees
----------
- While loading, an event costs a tuple: nothing is formatted or written before the end.
- The newest `KEPT` reads and `KEPT` deliveries are kept, in some 60 MB; the file says how many
  older ones were not.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from contextlib import contextmanager
from threading import current_thread
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from headrace.observe._meter import GIL_WAIT_S
from headrace.observe._stats import OFTEN, unblocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.loading import WorkResult
    from headrace.observe._meter import Meter
    from headrace.observe._stats import Stats

__all__ = ["KEPT", "Trace", "traced"]

KEPT: Final = 50_000
"""Reads take some milliseconds: with two workers, these are some minutes."""

_BLOCKED: Final = "wait for files or a processor"

_GIL: Final = "wait for the GIL"

_Slice = tuple[str, str, str, float, float, dict[str, Any]]
"""Name, category, thread, begin and end (`time.perf_counter`), and what else is told of it."""


class _Read(NamedTuple):
    """What is kept of a `GroupResult`: not the names of all its windows."""

    thread: str
    began_s: float
    ended_s: float
    gil_s: float
    transforms: list[tuple[str, float, float]]
    file: str
    windows: int
    failed: int
    epoch: int
    decode_s: float
    resample_s: float
    transform_s: float
    cpu_s: float


class Trace:
    """What happened since it was made.

    Parameters
    ----------
    kept : int
        The most reads, and the most deliveries, that are kept.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._began = time.perf_counter()
        self._at = time.time()
        self._reads: deque[_Read] = deque(maxlen=kept)
        self._waits: deque[tuple[str, float, float, int, int]] = deque(maxlen=kept)
        self._works: deque[tuple[str, float, float]] = deque(maxlen=kept)
        self._count = 0
        self._waited = 0

    def delivered(self, made: WorkResult, began: float, ended: float) -> None:
        """Note what was made, and that the consumer was in the loader for it."""
        item = made.item
        for result in made.results:
            self._reads.append(
                _Read(
                    result.thread,
                    result.began_s,
                    result.ended_s,
                    result.gil_s,
                    result.transforms,
                    result.paths[0] if result.paths else "",
                    len(result.paths),
                    len(result.failures),
                    item.epoch,
                    result.decode_s,
                    result.resample_s,
                    result.transform_s,
                    result.cpu_s,
                )
            )
        self._count += len(made.results)
        self._waited += 1
        windows = len(item.rows.index)
        self._waits.append((current_thread().name, began, ended, item.epoch, windows))

    def consumed(self, began: float, ended: float) -> None:
        """Note that the consumer worked with what was delivered."""
        self._works.append((current_thread().name, began, ended))

    def write(self, file: IO[str], verdict: str) -> None:
        """Write the timeline as JSON."""
        threads: dict[str, int] = {}
        pid = os.getpid()
        about = {
            "verdict": verdict,
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._at)),
            "reads": self._count,
            "reads left out": self._count - len(self._reads),
            "deliveries": self._waited,
            "deliveries left out": self._waited - len(self._waits),
        }
        head = json.dumps({"displayTimeUnit": "ms", "otherData": about})
        file.write(f'{head[:-1]}, "traceEvents": [\n')
        naming = {"ph": "M", "pid": pid, "tid": 0, "name": "process_name"}
        file.write(json.dumps({**naming, "args": {"name": "headrace"}}))
        for name, category, thread, began, ended, args in self._slices():
            tid = threads.setdefault(thread, len(threads) + 1)
            # Whole nanoseconds: a slice that is within another stays so when rounded.
            begin, end = (round(1e9 * (at - self._began)) for at in (began, ended))
            # By hand: a whole dict through json takes as long as many a read.
            file.write(
                f',\n{{"name":"{name}","cat":"{category}","ph":"X","ts":{begin / 1e3},'
                f'"dur":{(end - begin) / 1e3},"pid":{pid},"tid":{tid},'
                f'"args":{json.dumps(args) if args else "{}"}}}'
            )
        consumers = {thread for thread, *_ in self._waits}
        for thread, tid in threads.items():
            name = f"consumer ({thread})" if thread in consumers else thread
            for what, args in (
                ("thread_name", {"name": name}),
                ("thread_sort_index", {"sort_index": tid}),
            ):
                event = {"ph": "M", "pid": pid, "tid": tid, "name": what, "args": args}
                file.write(",\n" + json.dumps(event))
        file.write("\n]}\n")

    def _slices(self) -> Iterator[_Slice]:
        for thread, began, ended, epoch, windows in self._waits:
            yield "wait", "consumer", thread, began, ended, {"epoch": epoch, "windows": windows}
        for thread, began, ended in self._works:
            yield "work with it", "consumer", thread, began, ended, {}
        # A worker that has lost its processor waits as one does for the GIL: not so often.
        waits = sum(read.gil_s > GIL_WAIT_S for read in self._reads)
        gil = _GIL if waits > OFTEN * len(self._reads) else f"{_GIL} or a processor"
        for read in self._reads:
            yield from _of_read(read, gil)


def _of_read(read: _Read, gil: str) -> Iterator[_Slice]:
    """Yield a read, what it was made of, and what followed it."""
    thread, began, ended = read.thread, read.began_s, read.ended_s
    yield (
        "read",
        "worker",
        thread,
        began,
        ended,
        dict(zip(_Read._fields[5:], read[5:], strict=True)),
    )
    # They take turns, many in one read; one after the other they are seen.
    blocked = ended - began - read.cpu_s
    rest = ended - began - read.decode_s - read.resample_s
    parts = unblocked(blocked, read.decode_s, read.resample_s, rest)
    for name, seconds in zip((_BLOCKED, "decode", "resample"), parts[:3], strict=True):
        stop = min(ended, began + seconds)
        if stop == began:
            continue
        yield name, "worker", thread, began, stop, {}
        began = stop
    if read.gil_s > GIL_WAIT_S:
        yield gil, "worker", thread, ended, ended + read.gil_s, {}
    for by, start, stop in read.transforms:
        yield "transform", "worker", by, start, stop, {}


@contextmanager
def traced(
    file: str | os.PathLike[str], meter: Meter, stats: Callable[[], Stats]
) -> Iterator[None]:
    """Write to `file` what `meter` counts meanwhile."""
    trace = Trace()
    with open(file, "w", encoding="utf-8") as written:  # noqa: PTH123  refused before the work, not after
        meter.traces.append(trace)
        try:
            yield
        finally:
            meter.traces.remove(trace)
            trace.write(written, stats().verdict)
