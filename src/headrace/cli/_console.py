"""What every command shares: how it prints reports, messages and JSON, and ends after an error.

The result goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
import typer.core
import typer.main

from headrace._formatting import escape_controls
from headrace._validation import check_output_file
from headrace.errors import (
    AnnotationError,
    CatalogError,
    HeadraceError,
    HeadraceWarning,
    ModelError,
    ResultsError,
    StateError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

__all__ = [
    "build_command_line",
    "errors_exit_with_usage_code",
    "errors_printed_as_sentences",
    "print_message",
    "print_report",
    "write_json",
]

_PIPE_COLUMNS: Final = 10_000
"""Width of a report in a pipe: the name of a file stays on one line, so that `grep` finds it."""

_COMPLETION: Final = frozenset({"install_completion", "show_completion"})
"""Typer's own options, which docs/reference/cli.md explains."""


def build_command_line(app: typer.Typer) -> Callable[[], object]:
    """Return the function that runs the app, with a help that fits a screen."""
    command = typer.main.get_command(app)
    for option in command.params:
        if option.name in _COMPLETION and isinstance(option, typer.core.TyperOption):
            option.hidden = True
    return command


def print_message(sentence: str) -> None:
    """Print a sentence on standard error, after the program's name.

    Control characters, which the name of a file may hold, are escaped.
    """
    typer.echo(f"headrace: {escape_controls(sentence)}", err=True)


@contextmanager
def errors_printed_as_sentences(
    *outputs: str | Path | None, ignore: type[HeadraceWarning] | None = None
) -> Iterator[None]:
    """Print errors and warnings of the library as one sentence each; errors end the command.

    The exit code is 1 for a problem with data or files, 2 for a problem with arguments, and 130
    after an interrupt. Any other exception is a bug and keeps its traceback.

    Parameters
    ----------
    *outputs : str, path or None
        Files that the command will write. They are checked first, so that a wrong path is reported
        before the work. None and "-" (standard output) are not checked.
    ignore : type, optional
        Warnings that are not printed.
    """

    def print_warning(message: Warning | str, *_: object, **__: object) -> None:
        print_message(str(message))

    with warnings.catch_warnings(), _log_printed():
        warnings.simplefilter("always", HeadraceWarning)
        if ignore is not None:
            warnings.simplefilter("ignore", ignore)
        warnings.showwarning = print_warning
        try:
            for file in outputs:
                if file is not None and file != "-":
                    check_output_file(file)
            yield
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise
        except (
            AnnotationError,
            CatalogError,
            ModelError,
            ResultsError,
            StateError,
            OSError,
        ) as error:
            print_message(str(error))
            raise typer.Exit(1) from error
        except (HeadraceError, ValueError) as error:
            print_message(str(error))
            raise typer.Exit(2) from error


@contextmanager
def _log_printed() -> Iterator[None]:
    """Print what the library says to its log."""

    class Printer(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print_message(record.getMessage())

    log, printer = logging.getLogger("headrace"), Printer()
    level = log.level
    log.addHandler(printer)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(printer)


@contextmanager
def errors_exit_with_usage_code(kind: type[Exception]) -> Iterator[None]:
    """End with exit code 2 where an error that is usually about data is about an argument."""
    try:
        yield
    except kind as error:
        print_message(str(error))
        raise typer.Exit(2) from error


def write_json(figures: dict[str, Any], json_file: str | None) -> None:
    """Write figures as JSON to a file; to standard output for "-"; nowhere for None."""
    if json_file is None:
        return
    text = json.dumps(figures, indent=2) + "\n"
    if json_file == "-":
        typer.echo(text, nl=False)
    else:
        Path(json_file).write_text(text, encoding="utf-8")


def print_report(
    figures: dict[str, Any], report: Callable[[], RenderableType], json_file: str | None
) -> None:
    """Write the figures as JSON if asked to, and print the report unless JSON is printed.

    The report is printed even if the JSON cannot be written: it may have taken an hour.
    """
    try:
        write_json(figures, json_file)
    finally:
        if json_file != "-":
            _print(report())


def _print(report: RenderableType) -> None:
    """Print a report as wide as the terminal, or without wrapping where there is no terminal.

    File names are printed as they are: brackets and colons in them are not markup.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        console.print(report)
        return
    if "COLUMNS" not in os.environ:
        console.width = _PIPE_COLUMNS
    with console.capture() as captured:
        console.print(report)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
