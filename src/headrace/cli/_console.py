"""What every command shares: its answer, its sentences, its progress.

What was asked for goes to standard output, everything else to standard error.
"""

from __future__ import annotations

import json
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
import typer.core
import typer.main

from headrace._progress import stderr_is_interactive
from headrace.errors import (
    AnnotationError,
    CatalogError,
    HeadraceError,
    HeadraceWarning,
    StateError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType

__all__ = [
    "answer",
    "at_fault",
    "bar",
    "command_of",
    "one_sentence",
    "say",
    "write_json",
]

_WIDE: Final = 10_000
"""Columns where nobody looks: a name stays on one line, for `grep` to find."""

_OPTIONS: Final = {
    "install_completion": "Let Tab complete commands.",
    "show_completion": "Print the script for it.",
}


def command_of(app: typer.Typer) -> Any:  # noqa: ANN401  a command of click, or of typer's copy of it
    """Return the whole command line, with typer's own options told in a line each."""
    command = typer.main.get_command(app)
    for option in command.params:
        if option.name in _OPTIONS and isinstance(option, typer.core.TyperOption):
            option.help = _OPTIONS[option.name]
    return command


def say(sentence: str) -> None:
    """Print a sentence on standard error."""
    typer.echo(f"headrace: {sentence}", err=True)


@contextmanager
def one_sentence(
    *written: str | Path | None, but: type[HeadraceWarning] | None = None
) -> Iterator[None]:
    """Turn what the library raises and warns of into a sentence on standard error.

    Parameters
    ----------
    written : str, path or None
        Files that are to be written in the end: where one could not be, nothing begins.
        None and "-" are no files.
    but : type
        Of warnings that are left out.
    """

    def tell(message: Warning | str, *_: object, **__: object) -> None:
        say(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", HeadraceWarning)
        if but is not None:
            warnings.simplefilter("ignore", but)
        warnings.showwarning = tell
        try:
            for file in written:
                _refuse(file)
            yield
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise
        except (AnnotationError, CatalogError, StateError, OSError) as error:
            say(str(error))
            raise typer.Exit(1) from error
        except (HeadraceError, ValueError) as error:
            say(str(error))
            raise typer.Exit(2) from error


def _refuse(file: str | Path | None) -> None:
    if file is None or file == "-":
        return
    if Path(file).is_dir():
        raise IsADirectoryError(f"{str(file)!r} is a folder: name a file in it.")
    if not (folder := Path(file).parent).is_dir():
        raise FileNotFoundError(
            f"{str(file)!r} cannot be written: there is no folder {str(folder)!r}; make it first."
        )
    if not os.access(Path(file) if Path(file).exists() else folder, os.W_OK):
        raise PermissionError(f"{str(file)!r} may not be written: name another place.")


@contextmanager
def at_fault(kind: type[HeadraceError]) -> Iterator[None]:
    """Blame the arguments for an error that elsewhere the data are at fault for."""
    try:
        yield
    except kind as error:
        say(str(error))
        raise typer.Exit(2) from error


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal while it runs, and nothing elsewhere."""
    if not stderr_is_interactive():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(what, total=None)
        yield lambda done, total: drawn.update(task, completed=done, total=total)


def write_json(figures: dict[str, Any], json_file: str | None) -> None:
    """Write figures where they were asked for: to a file, or with "-" to standard output."""
    if json_file is None:
        return
    text = json.dumps(figures, indent=2) + "\n"
    if json_file == "-":
        typer.echo(text, nl=False)
    else:
        Path(json_file).write_text(text, encoding="utf-8")


def answer(
    figures: dict[str, Any], report: Callable[[], RenderableType], json_file: str | None
) -> None:
    """Print the report, or the raw figures, and write the latter where they were asked for.

    The report is printed too where they cannot be written: it took its time.
    """
    try:
        write_json(figures, json_file)
    finally:
        if json_file != "-":
            _show(report())


def _show(report: RenderableType) -> None:
    """Print a report as wide as the terminal is, or where there is none, as its longest line.

    Names of files are names: nothing in them is taken for a style, or for a picture.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        console.print(report)
        return
    if "COLUMNS" not in os.environ:
        console.width = _WIDE
    with console.capture() as captured:
        console.print(report)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
