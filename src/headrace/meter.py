"""`Meter`: what `Stats` is made of, counted while a loader runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.plan import Plan
    from headrace.read import GroupResult, Reader
    from headrace.slabs import Slabs

__all__ = ["Meter"]


@dataclass(slots=True)
class Meter:
    """Counts, and a clock that runs while an iteration is under way.

    Attributes
    ----------
    windows : int
        Windows delivered.
    wait_s : float
        Seconds that the consumer waited.
    first_wait_s : float
        Seconds of that before the first delivery of an iteration.
    peak_bytes : int
        The most memory that loading has taken.
    """

    windows: int = 0
    wait_s: float = 0.0
    first_wait_s: float = 0.0
    peak_bytes: int = 0
    _wall_s: float = 0.0
    _decode_s: float = 0.0
    _resample_s: float = 0.0
    _busy_s: float = 0.0
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
            self._busy_s += result.busy_s

    def note_peak(self, plan: Plan, slabs: Slabs | None, reader: Reader | None) -> None:
        """Note the most bytes that an iteration has used, as the bound counts them."""
        if reader is None:
            return
        if slabs is not None:
            rows = min(slabs.peak, slabs.count) * slabs.slab_bytes
        else:
            rows = (plan.prefetch + 2) * plan.row_bytes
        peak = (
            rows
            + max(1, plan.workers) * plan.scratch.nbytes
            + reader.most_open * plan.stream_bytes
            + plan.table_bytes
        )
        self.peak_bytes = max(self.peak_bytes, peak)

    def stats(
        self, *, window_s: float, failed: int, workers: int, memory_bound: int, kept_bytes: int
    ) -> Stats:
        """Return what has been counted up to now; `window_s` is a window's length."""
        self.tick()
        return Stats(
            windows=self.windows,
            failed=failed,
            audio_s=self.windows * window_s,
            wall_s=self._wall_s,
            wait_s=self.wait_s,
            first_wait_s=self.first_wait_s,
            decode_s=self._decode_s,
            resample_s=self._resample_s,
            other_s=max(0.0, self._busy_s - self._decode_s - self._resample_s),
            workers=workers,
            memory_bound=memory_bound,
            peak_bytes=self.peak_bytes,
            kept_bytes=kept_bytes,
        )
