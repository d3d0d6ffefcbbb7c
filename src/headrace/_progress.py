"""Progress on a terminal."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress_bar", "stderr_is_interactive"]


def stderr_is_interactive() -> bool:
    """Return whether standard error is a terminal, and this is not CI."""
    return sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("CI")


@contextmanager
def progress_bar(
    total: int, progress: bool | None, what: str
) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar on standard error: if asked to, or else if that is a terminal.

    Yields
    ------
    callable
        To be called with how many files more are done, and how many failures more there are.
    """
    terminal = stderr_is_interactive()
    if not (terminal if progress is None else progress):
        yield lambda _files, _failed: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]:,} damaged"),
        console=Console(stderr=True),
        transient=terminal,
    ) as drawn:
        task = drawn.add_task(what, total=total, failed=0)
        failed = 0

        def advance(files: int, more: int) -> None:
            nonlocal failed
            failed += more
            drawn.update(task, advance=files, failed=failed)

        yield advance
