"""What a loader's iteration fetches objects of a store with, and what that has cost so far."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headrace.errors import HeadraceWarning
from headrace.storage import DiskCache, FetchCounts, Fetcher

if TYPE_CHECKING:
    import os

    from headrace.catalog import Recordings
    from headrace.loading._plan import Plan

__all__ = ["FetchTotals", "make_fetcher"]


def make_fetcher(
    recordings: Recordings,
    plan: Plan,
    *,
    fetches: int | Literal["auto"] = "auto",
    stall_timeout_s: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    cache_size: int | None = None,
) -> Fetcher | None:
    """Return what fetches the recordings that are objects in a store, or None if all are files.

    Raises
    ------
    StoreError
        This process was forked from one that has read from a store.
    """
    memory = plan.fetch_memory
    if memory is None:
        return None
    return Fetcher(
        *recordings.clients,
        fetches=fetches,
        planned_bytes=memory.planned,
        cached_bytes=memory.cached,
        ahead=memory.ahead,
        # Before the read itself counts as stalled, so that the reason is the store's.
        stall_timeout_s=None if stall_timeout_s is None else 0.9 * stall_timeout_s,
        cache=(
            None
            if cache is None or cache_size is None
            else DiskCache(cache, cache_size, memory.unwritten)
        ),
    )


@dataclass(slots=True)
class FetchTotals:
    """What all iterations of a loader have fetched."""

    _ended: FetchCounts | None = None
    _fetcher: Fetcher | None = None
    _most_held: int = 0
    _warned: bool = False

    def begin(self, fetcher: Fetcher | None) -> None:
        """Count what this fetcher fetches, and no longer the one before."""
        self._most_held = self.most_held
        self._ended = self._sum()
        self._fetcher = fetcher

    def _sum(self) -> FetchCounts:
        ended = self._ended or FetchCounts()
        if self._fetcher is None:
            return ended
        now = self._fetcher.counts
        return FetchCounts(
            requests=ended.requests + now.requests,
            bytes=ended.bytes + now.bytes,
            cached_bytes=ended.cached_bytes + now.cached_bytes,
        )

    def warn_of_problem(self) -> None:
        """Warn once if the disk cache has failed."""
        problem = None if self._fetcher is None else self._fetcher.problem
        if problem is not None and not self._warned:
            self._warned = True
            warnings.warn(problem[0].upper() + problem[1:], HeadraceWarning, stacklevel=4)

    @property
    def most_held(self) -> int:
        """The most bytes that were held in memory."""
        held = 0 if self._fetcher is None else self._fetcher.store.most_held_bytes
        return max(self._most_held, held)

    def totals(self) -> dict[str, int]:
        """Return what `Stats` reports."""
        total = self._sum()
        return {
            "store_requests": total.requests,
            "store_bytes": total.bytes,
            "cache_bytes": total.cached_bytes,
        }
