"""A progress bar on standard error."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["UpdateProgress", "announce", "progress_bar", "stderr_is_interactive"]


class UpdateProgress(Protocol):
    """What `progress_bar` yields."""

    def __call__(self, done: int, total: int, damaged: int | None = None, /) -> None:
        """Show how many items are done, of how many, and how many of them are damaged."""


def stderr_is_interactive() -> bool:
    """Return whether standard error is a terminal, and this is not CI."""
    return sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("CI")


def announce(sentence: str, show: bool | None = None) -> None:
    """Say what is about to be done: to the log ``headrace``, or else where a bar is drawn.

    Parameters
    ----------
    sentence : str
        What is shown.
    show : bool, optional
        As in `progress_bar`.
    """
    log = logging.getLogger("headrace")
    if log.isEnabledFor(logging.INFO):
        log.info(sentence)
    elif (stderr_is_interactive() if show is None else show) and sys.stderr is not None:
        sys.stderr.write(sentence + "\n")


@contextmanager
def progress_bar(description: str, show: bool | None = None) -> Iterator[UpdateProgress]:
    """Draw a progress bar on standard error, and remove it from a terminal at the end.

    Parameters
    ----------
    description : str
        What is being done: "Reading headers".
    show : bool, optional
        Whether to draw the bar. Default: where `stderr_is_interactive`.

    Yields
    ------
    UpdateProgress
        Call it whenever there is progress. It does nothing if no bar is drawn.
    """
    terminal = stderr_is_interactive()
    if not (terminal if show is None else show):
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=terminal,
    ) as bar:
        task = bar.add_task(description, total=None, note="")

        def update(done: int, total: int, damaged: int | None = None, /) -> None:
            note = "" if damaged is None else f"{damaged:,} damaged"
            bar.update(task, completed=done, total=total, note=note)

        yield update
