"""How to watch a `Loader` at work: these functions are its methods."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from headrace.loader import Loader
    from headrace.meter import Meter
    from headrace.stats import Stats

__all__ = ["glance", "live", "stats", "trace"]


def stats(self: Loader) -> Stats:
    """Return what has been done since the loader was made; also during an iteration."""
    _note_peak(self, self._meter)
    kept = self._slabs.kept * self._slabs.slab_bytes if self._slabs is not None else 0
    return self._meter.stats(self._plan, self._ledger, kept, self.memory_bound)


def glance(self: Loader) -> Stats:
    """Return the same for another thread than the loader's, at any time.

    A wait that is under way is in it; what the consumer keeps is not.
    """
    meter = self._meter.glance()
    _note_peak(self, meter)
    return meter.stats(self._plan, self._ledger, 0, self.memory_bound)


def trace(self: Loader, file: str | os.PathLike[str]) -> AbstractContextManager[None]:
    """Write a timeline of what this loader does inside a ``with``.

    It shows the reads of each worker, with decoding, resampling, transforms and waits for the
    GIL, and the consumer's waits and work. https://ui.perfetto.dev and chrome://tracing open
    it. The file is written when the ``with`` ends, in whatever way; of a long run it has the
    newest 50,000 reads and deliveries, which take some 60 MB beside `memory_bound`.

    Parameters
    ----------
    file : str or path
        The file to write, JSON.

    Raises
    ------
    OSError
        It cannot be written: told before anything is loaded.

    Examples
    --------
    >>> with loader.trace("trace.json"):  # doctest: +SKIP
    ...     for batch in loader:
    ...         ...
    """
    from headrace.trace import traced  # noqa: PLC0415  only who asks

    return traced(file, self._meter, self.stats)


@contextmanager
def live(self: Loader, *, show: bool | None = None) -> Iterator[None]:
    """Show how loading goes, on a terminal, inside a ``with``.

    Two lines on standard error, renewed twice a second: how far the epoch is, windows per
    second, times real time, memory against its bound, failures, and who waits for whom. They
    go away at the end; what is printed meanwhile stands above them.

    Parameters
    ----------
    show : bool, optional
        Whether it is shown; default if standard error is a terminal, and not in CI.
    """
    from headrace.live import Live  # noqa: PLC0415  only who asks

    def look() -> tuple[str, Stats]:
        epoch, position = self._state
        return f"epoch {epoch}, {position / self.windows.positions:.0%}", self.glance()

    with Live(show=show) as view:
        view.watch(look)
        yield


def _note_peak(self: Loader, meter: Meter) -> None:
    running = self._iteration()
    if running is not None:
        meter.note_peak(self._plan, self._slabs, running.reader)
