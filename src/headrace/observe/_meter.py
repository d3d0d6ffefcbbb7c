"""`Meter`: what `Stats` is made of, counted while a loader runs.

Guarantees
----------
- Only the loader's own thread counts; `Meter.glance` may be called from any other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from headrace.observe._stats import Stats

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.concurrency import Prefetcher
    from headrace.loading import BufferPool, GroupResult, Ledger, Plan, Reader, WorkResult
    from headrace.observe._trace import Trace

__all__ = ["GIL_WAIT_S", "Meter"]

GIL_WAIT_S = 1e-3
"""A wait for the GIL that somebody held: a free one is had in microseconds, and one that is asked
for is let go of after 5 ms (`sys.getswitchinterval`)."""


@dataclass(slots=True)
class Meter:
    """Counts, and a clock that runs while an iteration is under way.

    Attributes
    ----------
    wait_s : float
        Seconds that the consumer waited.
    first_wait_s : float
        Seconds of that before the first delivery of an iteration.
    peak_bytes : int
        The most memory that loading has taken.
    waits_since : float or None
        When the wait began that the consumer is in, by `time.perf_counter`.
    traces : list of Trace
        Which are told of everything that is delivered.
    """

    wait_s: float = 0.0
    first_wait_s: float = 0.0
    peak_bytes: int = 0
    waits_since: float | None = None
    traces: list[Trace] = field(default_factory=list)
    _wall_s: float = 0.0
    _decode_s: float = 0.0
    _resample_s: float = 0.0
    _transform_s: float = 0.0
    _groups: int = 0
    _gil_waits: int = 0
    _chained: int = 0
    _busy_s: float = 0.0
    _blocked_s: float = 0.0
    _since: float | None = None  # when the running clock was last read

    def start(self) -> None:
        """Let the clock run."""
        self._since = time.perf_counter()

    def tick(self) -> None:
        """Add the time since the last look to the run, if the clock is running."""
        if self._since is not None:
            now = time.perf_counter()
            self._wall_s += now - self._since
            self._since = now

    def stop(self) -> None:
        """Stop the clock; again does nothing."""
        self.tick()
        self._since = None

    def add(self, results: Iterable[GroupResult]) -> None:
        """Add the workers' busy seconds."""
        for result in results:
            self._decode_s += result.decode_s
            self._resample_s += result.resample_s
            self._transform_s += result.transform_s
            self._groups += 1
            self._gil_waits += result.gil_s > GIL_WAIT_S
            self._busy_s += result.busy_s
            self._blocked_s += result.ended_s - result.began_s - result.cpu_s

    def deliveries(self, prefetcher: Prefetcher[WorkResult]) -> Iterator[WorkResult]:
        """Yield what is made, counting how long the consumer waits for it."""
        waited, chained = 0.0, 0
        while True:
            began = self.waits_since = time.perf_counter()
            try:
                made = next(prefetcher)
            except StopIteration:
                return
            finally:
                self.waits_since = None
                self.wait_s += prefetcher.waited_s - waited
                if not waited:
                    self.first_wait_s += prefetcher.waited_s
                waited = prefetcher.waited_s
            self.add(made.results)
            self._chained += prefetcher.chained - chained
            chained = prefetcher.chained
            self.tick()
            ended = time.perf_counter()
            for trace in self.traces:
                trace.delivered(made, began, ended)
            try:
                yield made
            finally:
                for trace in self.traces:
                    trace.consumed(ended, time.perf_counter())

    def glance(self) -> Meter:
        """Return a copy that another thread may read: the wait that is under way is in it."""
        since = self.waits_since
        copy = replace(self)
        if since is not None:
            copy.wait_s += time.perf_counter() - since
        return copy

    def note_peak(self, plan: Plan, slabs: BufferPool | None, reader: Reader | None) -> None:
        """Note the most bytes that an iteration has used, as the bound counts them."""
        if reader is not None:
            held = plan.max_deliveries if slabs is None else min(slabs.peak, slabs.count)
            self.peak_bytes = max(self.peak_bytes, plan.nbytes(held, reader.most_open))

    def stats(self, plan: Plan, ledger: Ledger, kept_bytes: int, memory_bound: int) -> Stats:
        """Return what has been counted up to now."""
        self.tick()
        spec = plan.windows.spec
        delivered = ledger.delivered
        return Stats(
            windows=delivered,
            failed=ledger.failed,
            audio_s=delivered * spec.size / spec.sample_rate,
            wall_s=self._wall_s,
            wait_s=self.wait_s,
            first_wait_s=self.first_wait_s,
            decode_s=self._decode_s,
            resample_s=self._resample_s,
            transform_s=self._transform_s,
            blocked_s=max(0.0, self._blocked_s),
            gil_waits=self._gil_waits / self._groups if self._groups else 0.0,
            chained=self._chained / self._groups if self._groups else 0.0,
            other_s=max(0.0, self._busy_s - self._decode_s - self._resample_s - self._transform_s),
            workers=plan.workers,
            memory_bound=memory_bound,
            peak_bytes=self.peak_bytes,
            kept_bytes=kept_bytes,
        )
