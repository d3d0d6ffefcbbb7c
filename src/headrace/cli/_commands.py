"""The command line: arguments → one library call → a printed table.

Exit codes: docs/reference/cli.md.

The examples in a command's docstring are printed line by line: no line is longer than a terminal of
80 columns shows.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headrace._sizes import format_bytes
from headrace.cli._console import answer, at_fault, bar, command_of, one_sentence, say, write_json
from headrace.cli._options import Shuffled, Sound, Verify, annotations_of, numbers_of, place_of
from headrace.errors import CatalogError, DamagedWarning, NoRecordingsError
from headrace.observe import Live

if TYPE_CHECKING:
    from headrace.catalog import Catalog
    from headrace.loading import Loader
    from headrace.windows import Windows

__all__ = ["app", "main"]

app = typer.Typer(
    name="headrace",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a bug's traceback is for its report, not for decoration
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Patterns = Annotated[
    list[str],
    typer.Argument(
        metavar="PATTERN",
        help="Globs, folders or files. Quote a glob, so that ** reaches headrace.",
        show_default=False,
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder that the recordings' ids are relative to. Default: the one they share.",
    ),
]
Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help='Write the raw figures as JSON; "-" writes them to standard output, without a table.',
    ),
]
SampleRate = Annotated[int, typer.Option(min=1, metavar="HZ", help="Target sample rate.")]
WindowS = Annotated[float, typer.Option(metavar="SECONDS", help="Length of a window.")]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Windows in a batch.")]
Rounds = Annotated[int, typer.Option(min=1, metavar="N", help="Rounds that count.")]


@app.callback()
def headrace(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda asked: _version() if asked else None,
            is_eager=True,
            help="Print the version and end.",
        ),
    ] = False,
) -> None:
    """From recordings to fixed-length windows for a model.

    [cyan]headrace demo                             [/cyan] see what it is for
    [cyan]headrace scan "recordings/**/*.wav"       [/cyan] find out what you have
    [cyan]headrace preview "recordings/**/*.wav"    [/cyan] look and listen

    Exit codes: 0 done; 1 the data are at fault; 2 the arguments; 130 interrupted.
    """


@app.command("demo")
def demo_command(
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Your own recordings instead; may be given several times.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the synthetic archive here and keep it. Default: a temporary folder.",
        ),
    ] = None,
    rounds: Rounds = 3,
    json_file: Json = None,
    recordings: Annotated[int, typer.Option(min=1, hidden=True)] = 60,
    seconds: Annotated[float, typer.Option(min=1, hidden=True)] = 60.0,
    budget_s: Annotated[float, typer.Option(min=0, hidden=True)] = 18.0,
) -> None:
    """Show what threads are good for.

    A stand-in model works on each batch of a synthetic archive, or of your
    own recordings, fed by the plain loader and by the threaded one. The
    table tells how long the model waited for them. Takes half a minute.

    [cyan]headrace demo
    headrace demo --data "recordings/**/*.wav"
    headrace demo --keep archive[/cyan]
    """
    with one_sentence(json_file), tempfile.TemporaryDirectory(prefix="headrace-") as temporary:
        if data and keep:
            raise typer.BadParameter(
                "--keep keeps the synthetic archive: leave it out with --data."
            )
        if data:
            patterns = data
        else:
            from headrace.bench import write_archive

            folder = temporary if keep is None else keep
            archive = write_archive(folder, recordings=recordings, seconds=seconds)
            patterns = [archive.pattern]
        windows = _scan(patterns, None).windows(sample_rate=16_000, window_s=5.0)

        from headrace._formatting import format_duration
        from headrace.bench import demo
        from headrace.cli._report import demo_report

        with Live() as live:
            result = demo(
                windows,
                rounds=rounds,
                budget_s=budget_s,
                progress=live.progress,
                watch=partial(_follow, live),
            )
        count = len(windows.catalog)
        source = (
            f"{count:,} recordings, {format_duration(windows.coverage.audio_s)} of audio"
            if data
            else f"{count:,} synthetic recordings, {format_duration(archive.audio_s)} of audio"
            + (f", kept in {keep}" if keep else "")
        )
        answer(result.as_json(), lambda: demo_report(result, source), json_file)


@app.command("scan")
def scan_command(
    patterns: Patterns,
    *,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.parquet",
            help="Save the catalog, for headrace.load_catalog.",
        ),
    ] = None,
    verify: Annotated[
        Verify, typer.Option(help="Believe headers, or decode every file to its end.")
    ] = Verify.HEADERS,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE.parquet", help="Catalog to bring up to date, or to go on with."),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what is damaged to FILE.csv or FILE.parquet."),
    ] = None,
    root: Root = None,
    json_file: Json = None,
) -> None:
    """Tell what recordings there are, and which files are damaged.

    Reads headers, or decodes everything. Ends with exit code 1 if a file is
    damaged.

    [cyan]headrace scan "recordings/**/*.wav"
    headrace scan recordings --verify decode --failures damaged.csv
    headrace scan site1 site2 --save catalog.parquet[/cyan]
    """
    with one_sentence(json_file, but=DamagedWarning):  # the answer tells more of them
        from headrace.catalog import (
            check_catalog_file,
            check_failure_file,
            summarise,
            write_failures,
        )
        from headrace.cli._report import scan_report

        if failures is not None:
            check_failure_file(failures)
        if save is not None:
            check_catalog_file(save)
        try:
            catalog = _scan(patterns, root, verify=verify.value, cache=cache)
        except NoRecordingsError as error:
            if failures is not None:
                write_failures(error.failures, failures)
            raise
        summary = summarise(catalog)
        if failures is not None:
            write_failures(catalog.failures, failures)
        if save is not None:
            catalog.save(save)
        answer(summary.as_json(), lambda: scan_report(summary), json_file)
        if save is not None:
            say(f"saved {len(catalog):,} recordings in {save}.")
        if summary.failures:
            count = summary.damaged
            are = "files are damaged and were" if count > 1 else "file is damaged and was"
            parts = f", but for parts of {summary.partly:,}" if summary.partly else ""
            say(f"{count:,} {are} left out{parts}.")
            raise typer.Exit(1)


@app.command("bench")
def bench_command(
    patterns: Patterns,
    *,
    sample_rate: SampleRate = 16_000,
    window_s: WindowS = 5.0,
    hop_s: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="From window to window. Default: no overlap."),
    ] = None,
    batch_size: BatchSize = 32,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Numbers of workers. Default: 0,1,2,4 ... to the first beyond the processors.",
        ),
    ] = None,
    rounds: Rounds = 3,
    max_windows: Annotated[
        int, typer.Option(min=1, metavar="N", help="Use at most the first N windows.")
    ] = 2_000,
    shuffle: Annotated[
        Shuffled | None, typer.Option(help="Shuffle windows, or files. Default: in order.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help='Limit for a loader, as "256 MiB". Default: none.'),
    ] = None,
    plot_file: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the result into FILE.html or FILE.png."),
    ] = None,
    root: Root = None,
    json_file: Json = None,
) -> None:
    """Measure how many workers are best.

    0, 1, 2, 4 ... are measured in turn, round after round. A first round
    brings the files into the page cache and is not counted.

    [cyan]headrace bench "recordings/**/*.wav"
    headrace bench recordings --workers 1,2,3 --shuffle window
    headrace bench recordings --plot sweep.html[/cyan]
    """
    counts = numbers_of(workers)
    with one_sentence(plot_file, json_file):
        from headrace.bench import check_plot_file, plot, sweep
        from headrace.cli._report import bench_report

        if plot_file is not None:
            check_plot_file(plot_file)
        catalog = _scan(patterns, root)
        windows: Windows = catalog.windows(sample_rate=sample_rate, window_s=window_s, hop_s=hop_s)
        windows = windows[:max_windows]
        if shuffle is not None:
            windows = windows.shuffle(by=shuffle.value)
        with Live() as live:
            measured = sweep(
                windows,
                counts,
                rounds=rounds,
                batch_size=batch_size,
                memory=memory,
                progress=live.progress,
                watch=partial(_follow, live),
            )
        if plot_file is not None:
            plot(measured, plot_file)
        answer(measured.as_json(), lambda: bench_report(measured), json_file)


@app.command("preview")
def preview_command(
    patterns: Patterns,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PAGE.html", help="The page to write.")
    ] = Path("preview.html"),
    windows: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N windows.")] = 500,
    seed: Annotated[int, typer.Option(help="Of their random choice.")] = 0,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE@SECONDS", help="Show this one; may be given several times."),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:FILES",
            help="Labels to show; KIND is anuraset, audacity, csv, parquet or raven. "
            "May be given several times.",
        ),
    ] = None,
    sample_rate: SampleRate = 16_000,
    window_s: WindowS = 5.0,
    audio: Annotated[Sound, typer.Option(help="What is played.")] = Sound.FLAC,
    root: Root = None,
    json_file: Json = None,
) -> None:
    """Make a page to look at windows and to listen to them.

    Windows chosen at random, or those that hold the seconds asked for,
    with spectrograms and players; and what the archive is like.

    [cyan]headrace preview "recordings/**/*.wav" -o page.html
    headrace preview recordings --at a.wav@12.5 --at b.wav@3[/cyan]
    """
    places = None if at is None else [place_of(text) for text in at]
    with one_sentence(output, json_file):
        from headrace.display import preview

        labels = annotations_of(annotations or [])
        cut = _scan(patterns, root).windows(sample_rate=sample_rate, window_s=window_s)
        with at_fault(CatalogError), bar("reading") as progress:  # what --at names is no recording
            made = preview(
                cut,
                windows,
                seed=seed,
                at=places,
                annotations=labels,
                audio={Sound.FLAC: "flac", Sound.MP3: "mp3", Sound.NONE: None}[audio],
                progress=progress,
            )
        made.save(output)
        size = output.stat().st_size
        shown, whole = len(made.exhibits), len(cut)
        if json_file != "-":
            typer.echo(
                f"{output}: {shown:,} of {whole:,} windows, {made.choice}; "
                f"{format_bytes(size)}. Open it in a browser."
            )
        write_json({"page": str(output), "bytes": size, **made.as_json()}, json_file)


def main() -> None:
    """Run the command line and exit; a reader that went away (``| head``) is no error message."""
    try:
        try:
            command_of(app)()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _scan(
    patterns: list[str],
    root: Path | None,
    *,
    verify: Literal["headers", "decode"] = "headers",
    cache: Path | None = None,
) -> Catalog:
    from headrace.catalog import scan

    return scan(patterns, root=root, verify=verify, cache=cache)


def _follow(live: Live, loader: Loader) -> None:
    """Show the loader's statistics; the run's number says how far it is."""
    live.follow(lambda: ("", loader.glance()))


def _version() -> None:
    from importlib.metadata import version

    typer.echo(f"headrace {version('headrace')}")
    raise typer.Exit
