"""`watch_results`: the report of a run on a terminal, drawn anew until the run is complete."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.live import Live

from headrace.cli._report import results_report

if TYPE_CHECKING:
    from headrace.inference import Run

__all__ = ["watch_results"]

_INTERVAL_S: Final = 2.0
"""Seconds between two looks at the results: each lists the parts and reads those that are new."""


def watch_results(run: Run, console: Console | None = None, interval: Event | None = None) -> Run:
    """Show a run until it is complete; return it as it is then.

    Parameters
    ----------
    run : Run
        The run.
    console : Console, optional
        Where it is drawn. Default: standard error.
    interval : Event, optional
        Ends the time between two looks early.
    """
    console = console or Console(stderr=True, highlight=False, markup=False, emoji=False)
    interval = interval or Event()
    with Live(console=console, auto_refresh=False, transient=True) as display:
        while True:
            display.update(results_report(run), refresh=True)
            if run.complete:
                return run
            interval.wait(_INTERVAL_S)
            run = run.reload()
