"""`Live`: two lines on a terminal that show the progress of loading, redrawn while it runs.

Guarantees
----------
- A thread of its own reads the figures and draws them. It is joined when the ``with`` ends, also
  after an exception.
- It only reads counters: the consumer and the workers never wait for it.
- Where nothing is shown there is no thread, and rich is not imported.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from headrace._formatting import format_bytes, format_count
from headrace._progress import stderr_is_interactive
from headrace.observe._stats import MIN_WAIT_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from headrace.observe._stats import Stats

    PositionAndStats = Callable[[], tuple[str, Stats]]

__all__ = ["Live", "format_status"]

_INTERVAL_S: Final = 0.5
"""Time between two updates: each takes a tenth of a millisecond (docs/howto/diagnose.md)."""

_UPDATES_AVERAGED: Final = 10
"""Rates are averaged over this many updates: 5 seconds."""


def format_status(position: str, now: Stats, before: Stats | None = None) -> str:
    """Return the two lines that are shown.

    Parameters
    ----------
    position : str
        The progress of the epoch or the run: ``"epoch 0, 45%"``.
    now, before : Stats
        The newest figures, and earlier ones. Rates and waits are of the time between them, or of
        the whole run without `before`; everything else is of `now`.
    """
    recent = now
    if before is not None and now.wall_s > before.wall_s:
        recent = replace(
            now,
            windows=now.windows - before.windows,
            audio_s=now.audio_s - before.audio_s,
            wall_s=now.wall_s - before.wall_s,
            wait_s=max(0.0, now.wait_s - before.wait_s),
        )
    share = min(1.0, recent.wait_share)
    consumer_waits = share >= MIN_WAIT_SHARE
    waiting = f"the consumer waits {share:.0%}" if consumer_waits else "the loader waits"
    return (
        f"{position}: {format_count(now.windows, 'window')}, {recent.windows_per_s:,.0f}/s, "
        f"{recent.times_real_time:,.0f} times real time\n"
        f"{format_bytes(now.peak_bytes)} of at most {format_bytes(now.memory_bound)}, "
        f"{now.failed:,} failed, {waiting}"
    )


class Live:
    """A context manager that shows the progress of loading inside its ``with``.

    Parameters
    ----------
    show : bool, optional
        Whether anything is shown; default `stderr_is_interactive`.
    """

    def __init__(self, *, show: bool | None = None) -> None:
        self.shown = stderr_is_interactive() if show is None else show
        self._run_text = ""
        self._followed: tuple[PositionAndStats, deque[Stats]] | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def progress(self, done: int, total: int) -> None:
        """Show that `done` of `total` runs are done, in place of the position."""
        self._run_text = f"run {min(done + 1, total)} of {total}"

    def follow(self, position_and_stats: PositionAndStats) -> None:
        """Show the progress of a loader from now on.

        Parameters
        ----------
        position_and_stats : callable
            Returns the position of loading, as text, and the loader's statistics. Called by the
            thread that draws.
        """
        self._followed = position_and_stats, deque(maxlen=_UPDATES_AVERAGED)

    def text(self) -> str:
        """Return what is to be shown now."""
        followed = self._followed
        if followed is None:
            return self._run_text
        position_and_stats, earlier = followed
        position, stats = position_and_stats()
        text = format_status(self._run_text or position, stats, earlier[0] if earlier else None)
        earlier.append(stats)
        return text

    def __enter__(self) -> Self:
        if self.shown:
            self._thread = threading.Thread(target=self._draw, name="headrace-live", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.text import Text

        console = Console(stderr=True)
        with RichLive(console=console, auto_refresh=False, transient=True) as display:
            ended = False
            while not ended:
                ended = self._ended.wait(_INTERVAL_S)
                text = Text(self.text(), no_wrap=True, overflow="ellipsis")
                display.update(text, refresh=True)
