"""`Meter`: counts what `Stats` reports, while a loader runs.

Guarantees
----------
- Only the loader's own thread changes a meter; any thread may call `Meter.glance`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from headrace.observe._read_timing import ReadTotals
from headrace.observe._stats import Stats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.concurrency import Prefetcher
    from headrace.observe._read_timing import ReadTiming
    from headrace.observe._trace import Trace

__all__ = ["Meter"]


class _Delivery(Protocol):
    """The part of a delivery that a meter uses."""

    @property
    def epoch(self) -> int: ...

    @property
    def windows(self) -> int: ...

    @property
    def totals(self) -> ReadTotals: ...

    def timings(self) -> Sequence[ReadTiming]: ...


D = TypeVar("D", bound=_Delivery)


@dataclass(slots=True)
class Meter:
    """Counters, and a clock that runs while an iteration is under way.

    Attributes
    ----------
    wait_s : float
        Seconds that the consumer waited.
    first_wait_s : float
        Seconds of that before the first delivery of an iteration.
    peak_bytes : int
        The most memory that loading has taken.
    waiting_since : float or None
        When the consumer's current wait began, by `time.perf_counter`; None if it does not wait.
    traces : list of Trace
        The traces that record every delivery.
    """

    wait_s: float = 0.0
    first_wait_s: float = 0.0
    peak_bytes: int = 0
    waiting_since: float | None = None
    traces: list[Trace] = field(default_factory=list)
    _wall_s: float = 0.0
    _reads: ReadTotals = field(default_factory=ReadTotals)
    _chained: int = 0
    _last_tick: float | None = None  # while the clock runs: when it was last read

    def start(self) -> None:
        """Start the clock."""
        self._last_tick = time.perf_counter()

    def tick(self) -> None:
        """Add the time since the last tick to the run, if the clock is running."""
        if self._last_tick is not None:
            now = time.perf_counter()
            self._wall_s += now - self._last_tick
            self._last_tick = now

    def stop(self) -> None:
        """Stop the clock; does nothing if it is stopped."""
        self.tick()
        self._last_tick = None

    def deliveries(self, prefetcher: Prefetcher[D]) -> Iterator[D]:
        """Yield what the prefetcher yields; measure the consumer's waits and its work."""
        waited_s, chained = 0.0, 0
        while True:
            began = self.waiting_since = time.perf_counter()
            try:
                delivery = next(prefetcher)
            except StopIteration:
                return
            finally:
                self.waiting_since = None
                self.wait_s += prefetcher.waited_s - waited_s
                if not waited_s:
                    self.first_wait_s += prefetcher.waited_s
                waited_s = prefetcher.waited_s
            self._reads.add(delivery.totals)
            self._chained += prefetcher.chained - chained
            chained = prefetcher.chained
            self.tick()
            ended = time.perf_counter()
            for trace in self.traces:
                trace.delivered(delivery.timings(), delivery.epoch, delivery.windows, began, ended)
            try:
                yield delivery
            finally:
                for trace in self.traces:
                    trace.consumed(ended, time.perf_counter())

    def glance(self) -> Meter:
        """Return a copy for another thread, which includes the consumer's current wait."""
        since = self.waiting_since
        copy = replace(self, _reads=replace(self._reads))
        if since is not None:
            copy.wait_s += time.perf_counter() - since
        return copy

    def record_bytes(self, nbytes: int) -> None:
        """Record that loading has taken `nbytes` of memory at once."""
        self.peak_bytes = max(self.peak_bytes, nbytes)

    def stats(
        self,
        *,
        windows: int,
        failed: int,
        audio_s: float,
        workers: int,
        memory_bound: int,
        kept_bytes: int,
        since: tuple[int, int] = (0, 0),
        store_requests: int = 0,
        store_bytes: int = 0,
        cache_bytes: int = 0,
    ) -> Stats:
        """Return what has been counted so far, with the loader's own figures: see `Stats`."""
        self.tick()
        reads = self._reads
        return Stats(
            windows=windows,
            failed=failed,
            audio_s=audio_s,
            wall_s=self._wall_s,
            wait_s=self.wait_s,
            first_wait_s=self.first_wait_s,
            decode_s=reads.decode_s,
            resample_s=reads.resample_s,
            transform_s=reads.transform_s,
            blocked_s=max(0.0, reads.blocked_s),
            gil_waits=reads.gil_waits / reads.groups if reads.groups else 0.0,
            chained=self._chained / reads.groups if reads.groups else 0.0,
            queued=reads.queued_s / reads.sampled_s if reads.sampled_s else None,
            store_s=reads.store_s,
            other_s=max(
                0.0,
                reads.busy_s
                - reads.decode_s
                - reads.resample_s
                - reads.transform_s
                - reads.store_s,
            ),
            store_requests=store_requests,
            store_bytes=store_bytes,
            cache_bytes=cache_bytes,
            workers=workers,
            memory_bound=memory_bound,
            peak_bytes=self.peak_bytes,
            kept_bytes=kept_bytes,
            since=since,
        )
