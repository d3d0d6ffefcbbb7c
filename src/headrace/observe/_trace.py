"""`Trace`: a timeline of reads, transforms, waits and deliveries, written as JSON.

The file is in the Trace Event Format of chrome://tracing, which Perfetto reads too:
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.

Guarantees
----------
- While loading, an event costs one append: nothing is formatted or written before the end.
- The newest `MOST_KEPT` reads and `MOST_KEPT` deliveries are kept, in about 60 MB. The file says
  how many older ones are left out.
- The file is written event by event: writing takes no memory that grows with the trace.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from headrace.observe._read_timing import GIL_WAIT_S
from headrace.observe._stats import GIL_WAITS_OFTEN, separate_blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from headrace.observe._read_timing import ReadTiming
    from headrace.observe._stats import Stats

__all__ = ["MOST_KEPT", "Trace", "record_trace"]

MOST_KEPT: Final = 50_000
"""Reads take a few milliseconds each: with two workers, these are a few minutes."""

_BLOCKED: Final = "wait for files or a processor"

_GIL: Final = "wait for the GIL"

_ARGS: Final = (
    "file",
    "windows",
    "failed",
    "epoch",
    "decode_s",
    "resample_s",
    "transform_s",
    "cpu_s",
)
"""Attributes of a `ReadTiming` that a viewer shows beside the read."""

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class _ConsumerWait(NamedTuple):
    """The consumer's wait for one delivery, until it was delivered."""

    thread: str
    began_s: float
    ended_s: float
    epoch: int
    windows: int


class _Slice(NamedTuple):
    """A bar of the timeline; times are by `time.perf_counter`."""

    name: str
    category: str
    thread: str
    began_s: float
    ended_s: float
    args: dict[str, Any]


class Trace:
    """Records events from its construction on.

    Parameters
    ----------
    kept : int
        The most reads, and the most deliveries, that are kept.
    """

    def __init__(self, kept: int = MOST_KEPT) -> None:
        self._began_s = time.perf_counter()
        self._began_at = time.time()
        self._reads: deque[ReadTiming] = deque(maxlen=kept)
        self._deliveries: deque[_ConsumerWait] = deque(maxlen=kept)
        self._work: deque[tuple[str, float, float]] = deque(maxlen=kept)
        self._reads_seen = 0
        self._deliveries_seen = 0

    def delivered(
        self,
        timings: Iterable[ReadTiming],
        epoch: int,
        windows: int,
        began_s: float,
        ended_s: float,
    ) -> None:
        """Record a delivery.

        Parameters
        ----------
        timings : iterable of ReadTiming
            The groups of reads that filled it. They are kept, and must not change afterwards.
        epoch, windows : int
            Epoch of the delivery, and windows in it.
        began_s, ended_s : float
            When the consumer asked for it and when it got it, by `time.perf_counter`.
        """
        for timing in timings:
            self._reads.append(timing)
            self._reads_seen += 1
        self._deliveries_seen += 1
        thread = current_thread().name
        self._deliveries.append(_ConsumerWait(thread, began_s, ended_s, epoch, windows))

    def consumed(self, began_s: float, ended_s: float) -> None:
        """Record that the consumer worked with a delivery."""
        self._work.append((current_thread().name, began_s, ended_s))

    def write(self, file: IO[str], verdict: str) -> None:
        """Write the timeline as JSON."""
        about = {
            "verdict": verdict,
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began_at)),
            "reads": self._reads_seen,
            "reads left out": self._reads_seen - len(self._reads),
            "deliveries": self._deliveries_seen,
            "deliveries left out": self._deliveries_seen - len(self._deliveries),
        }
        # The list is opened and closed by hand, so that no more than one event is in memory.
        file.write(f'{{"displayTimeUnit":"ms","otherData":{_encode(about)},"traceEvents":[')
        separator = "\n"
        for event in self._events():
            file.write(separator + _encode(event))
            separator = ",\n"
        file.write("\n]}\n")

    def _events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of the format: names first of the process, last of the threads."""
        pid = os.getpid()
        yield _name_event("process_name", pid, 0, {"name": "headrace"})
        threads: dict[str, int] = {}
        for name, category, thread, began_s, ended_s, args in self._slices():
            # Whole nanoseconds: rounding keeps a slice inside the slice that contains it.
            began_ns = round(1e9 * (began_s - self._began_s))
            ended_ns = round(1e9 * (ended_s - self._began_s))
            yield {
                "name": name,
                "cat": category,
                "ph": "X",
                "ts": began_ns / 1e3,
                "dur": (ended_ns - began_ns) / 1e3,
                "pid": pid,
                "tid": threads.setdefault(thread, len(threads) + 1),
                "args": args,
            }
        consumers = {delivery.thread for delivery in self._deliveries}
        for thread, tid in threads.items():
            name = f"consumer ({thread})" if thread in consumers else thread
            yield _name_event("thread_name", pid, tid, {"name": name})
            yield _name_event("thread_sort_index", pid, tid, {"sort_index": tid})

    def _slices(self) -> Iterator[_Slice]:
        for thread, began_s, ended_s, epoch, windows in self._deliveries:
            args = {"epoch": epoch, "windows": windows}
            yield _Slice("wait", "consumer", thread, began_s, ended_s, args)
        for thread, began_s, ended_s in self._work:
            yield _Slice("work", "consumer", thread, began_s, ended_s, {})
        # A worker that lost its processor looks like one that waits for the GIL, but is rarer.
        waits = sum(read.gil_s > GIL_WAIT_S for read in self._reads)
        often = waits > GIL_WAITS_OFTEN * len(self._reads)
        gil_wait = _GIL if often else f"{_GIL} or a processor"
        for read in self._reads:
            yield from _slices_of_read(read, gil_wait)


def _name_event(name: str, pid: int, tid: int, args: dict[str, Any]) -> dict[str, Any]:
    return {"ph": "M", "pid": pid, "tid": tid, "name": name, "args": args}


def _slices_of_read(read: ReadTiming, gil_wait: str) -> Iterator[_Slice]:
    """Yield a read, its parts, and the wait and the transforms that followed it."""
    thread, began_s, ended_s = read.thread, read.began_s, read.ended_s
    args = {name: getattr(read, name) for name in _ARGS}
    yield _Slice("read", "worker", thread, began_s, ended_s, args)
    # Decoding and resampling alternate many times in a read. Only their sums are known, so they
    # are drawn one after the other.
    rest_s = ended_s - began_s - read.decode_s - read.resample_s
    parts = separate_blocked(read.blocked_s, read.decode_s, read.resample_s, rest_s)
    part_began_s = began_s
    for name, seconds in zip((_BLOCKED, "decode", "resample"), parts[:3], strict=True):
        part_ended_s = min(ended_s, part_began_s + seconds)
        if part_ended_s != part_began_s:
            yield _Slice(name, "worker", thread, part_began_s, part_ended_s, {})
            part_began_s = part_ended_s
    if read.gil_s > GIL_WAIT_S:
        yield _Slice(gil_wait, "worker", thread, ended_s, ended_s + read.gil_s, {})
    for transform_thread, transform_began_s, transform_ended_s in read.transforms:
        yield _Slice(
            "transform", "worker", transform_thread, transform_began_s, transform_ended_s, {}
        )


@contextmanager
def record_trace(
    file: str | os.PathLike[str], traces: list[Trace], stats: Callable[[], Stats]
) -> Iterator[None]:
    """Record a trace inside the ``with``, and write it to `file` at the end.

    Parameters
    ----------
    file : str or path
        Opened before the trace begins, so that a file that cannot be written raises at once.
    traces : list of Trace
        `Meter.traces`; the new trace is in this list inside the ``with``.
    stats : callable
        Returns the statistics whose verdict is written.
    """
    trace = Trace()
    with Path(file).open("w", encoding="utf-8") as opened:
        traces.append(trace)
        try:
            yield
        finally:
            traces.remove(trace)
            trace.write(opened, stats().verdict)
