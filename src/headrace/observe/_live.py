"""`Live`: how loading goes, two lines on a terminal that are renewed while it does.

Guarantees
----------
- A thread of its own looks and draws; it has been joined when the ``with`` ends, in whatever way.
- It only reads what others count: the consumer and the workers never wait for it.
- Where nothing is shown there is no thread, and rich is not imported.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from headrace._formatting import format_bytes
from headrace._progress import on_terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from headrace.loading import Loader
    from headrace.observe._stats import Stats

    Look = Callable[[], tuple[str, Stats]]

__all__ = ["Live", "lines"]

_EVERY_S: Final = 0.5
"""Between two looks: each takes a tenth of a millisecond (docs/howto/diagnose.md)."""

_LOOKS: Final = 10
"""Rates are of the time since so many looks ago: 5 seconds."""

_WAITS: Final = 0.01
"""Share of the time below which nobody calls it waiting: law 5's figure."""


def lines(what: str, now: Stats, before: Stats | None = None) -> str:
    """Return what is shown.

    Parameters
    ----------
    what : str
        What is being done, and how far it is.
    now, before : Stats
        Newest and earlier: rates are of the time between them, all else is of the newest.
    """
    lately = now
    if before is not None and now.wall_s > before.wall_s:
        lately = replace(
            now,
            windows=now.windows - before.windows,
            audio_s=now.audio_s - before.audio_s,
            wall_s=now.wall_s - before.wall_s,
            wait_s=max(0.0, now.wait_s - before.wait_s),
        )
    share = min(1.0, lately.wait_share)
    who = f"the consumer waits {share:.0%}" if share >= _WAITS else "the loader waits"
    return (
        f"{what}: {now.windows:,} windows, {lately.windows_per_s:,.0f}/s, "
        f"{lately.times_real_time:,.0f} times real time\n"
        f"{format_bytes(now.peak_bytes)} of at most {format_bytes(now.memory_bound)}, "
        f"{now.failed:,} failed, {who}"
    )


class Live:
    """What is shown inside a ``with``.

    Parameters
    ----------
    show : bool, optional
        Whether it is; default where `on_terminal`.
    """

    def __init__(self, *, show: bool | None = None) -> None:
        self.shown = on_terminal() if show is None else show
        self._what = ""
        self._watched: tuple[Look, deque[Stats]] | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def progress(self, done: int, total: int) -> None:
        """Note how many of the runs are done."""
        self._what = f"run {min(done + 1, total)} of {total}"

    def watch(self, look: Look) -> None:
        """From now on, show what `look` returns: where loading is, and its figures."""
        self._watched = look, deque(maxlen=_LOOKS)

    def follow(self, loader: Loader) -> None:
        """From now on, show how this loader does."""
        self.watch(lambda: ("", loader.glance()))

    def text(self) -> str:
        """Look, and return what is to be seen."""
        watched = self._watched
        if watched is None:
            return self._what
        look, before = watched
        where, stats = look()
        text = lines(self._what or where, stats, before[0] if before else None)
        before.append(stats)
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
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live as Drawn
        from rich.text import Text

        console = Console(stderr=True)
        with Drawn(console=console, auto_refresh=False, transient=True) as drawn:
            over = False
            while not over:
                over = self._over.wait(_EVERY_S)
                drawn.update(Text(self.text(), no_wrap=True, overflow="ellipsis"), refresh=True)
