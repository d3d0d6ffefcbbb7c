"""The commands: arguments → one library call → a printed report.

docs/reference/cli.md explains the exit codes. Docstrings of commands are their help: lines of
examples must fit a terminal of 80 columns.
"""

from __future__ import annotations

import os
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import headrace.annotations
from headrace import bench, catalog, cli, observe
from headrace._formatting import format_bytes, format_count, format_duration
from headrace._progress import progress_bar
from headrace.cli._console import (
    build_command_line,
    errors_exit_with_usage_code,
    errors_printed_as_sentences,
    print_message,
    print_report,
    write_json,
)
from headrace.cli._options import (
    Decoder,
    ExportTo,
    MatchBy,
    OnError,
    PackedAs,
    PreviewAudio,
    ShuffleBy,
    Tail,
    Verify,
    find_detections,
    load_model,
    parse_channel,
    parse_file_and_second,
    parse_local_path,
    parse_store_options,
    parse_thresholds,
    parse_worker_counts,
    place_of_results,
    read_annotations,
    refuse_options_about,
)
from headrace.errors import CatalogError, DamagedWarning, NoRecordingsError, ResultsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.loading import Loader
    from headrace.windows import Windows

__all__ = ["app", "main"]

app = typer.Typer(
    name="headrace",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a plain traceback is easier to copy into a bug report
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Patterns = Annotated[
    list[str],
    typer.Argument(
        metavar="PATTERN",
        help="Glob patterns, folders, files or URLs (s3://...). Quote a pattern, so that headrace "
        "expands it.",
        show_default=False,
    ),
]
StoreOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--store",
        metavar="KEY=VALUE",
        help="How to reach a bucket: endpoint=URL, region=NAME, skip_signature=true for a public "
        "one. Can be repeated. Credentials come from the environment.",
    ),
]
Root = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder or URL that recordings' ids are relative to. Default: their common folder.",
    ),
]
Metadata = Annotated[
    bool,
    typer.Option("--metadata", help="Read when, where and with what recordings were made."),
]
Zone = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="Zone of times that name none: Europe/Berlin, +01:00."),
]
TimePattern = Annotated[
    str | None,
    typer.Option(metavar="REGEX", help="Finds the time in ids, in groups date and time."),
]
DecodedBy = Annotated[
    Decoder,
    typer.Option("--decoder", help="What decodes Vorbis and Opus in Ogg."),
]
Json = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help='Write the result as JSON; "-" prints JSON instead of the report.',
    ),
]
SampleRate = Annotated[int, typer.Option(min=1, metavar="HZ", help="Target sample rate.")]
WindowS = Annotated[float, typer.Option(metavar="SECONDS", help="Length of a window.")]
HopS = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Time between window starts. Default: no overlap."),
]
Channel = Annotated[
    str, typer.Option(metavar="CHANNEL", help='"mix", "all", or the number of a channel.')
]
Threshold = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[LABEL=]NUMBER",
        help="Least score that counts, for all labels or for one. Can be repeated. "
        "With LABEL= alone, other labels are left out.",
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(
        parser=parse_local_path, metavar="FILE", help="Names of the scores, one a line, in order."
    ),
]
ResultColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The column of the results. Default: the only one."),
]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Windows per batch.")]
Rounds = Annotated[int, typer.Option(min=1, metavar="N", help="Measured rounds.")]


@app.callback()
def headrace_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda given: _print_version() if given else None,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Turn recordings into fixed-length windows for a model.

    [cyan]headrace demo                             [/cyan] compare with and without threads
    [cyan]headrace scan "recordings/**/*.wav"       [/cyan] list recordings, find damaged files
    [cyan]headrace preview "recordings/**/*.wav"    [/cyan] look at windows and listen to them
    Exit codes: 0 success; 1 data error; 2 usage error; 130 interrupted.
    """


@app.command("demo")
def demo_command(
    *,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Use your own recordings. Can be repeated.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            parser=parse_local_path,
            metavar="FOLDER",
            help="Keep the synthetic archive in this folder. Default: a temporary folder.",
        ),
    ] = None,
    rounds: Rounds = 3,
    store: StoreOptions = None,
    json_file: Json = None,
    recordings: Annotated[int, typer.Option(min=1, hidden=True)] = 60,
    seconds: Annotated[float, typer.Option(min=1, hidden=True)] = 60.0,
    budget_s: Annotated[float, typer.Option(min=0, hidden=True)] = 18.0,
) -> None:
    """Show how much time threads save.

    A stand-in model works on batches of a synthetic archive, or of your own
    recordings. The plain loader feeds it first, then the threaded one. The
    table shows how long the model waits for data. Takes half a minute.

    [cyan]headrace demo
    headrace demo --data "recordings/**/*.wav"
    headrace demo --keep archive[/cyan]
    """
    if data and keep:
        raise typer.BadParameter("--keep keeps the synthetic archive: omit it with --data.")
    if store and not data:
        raise typer.BadParameter("--store says how to reach recordings in a bucket: give --data.")
    options = parse_store_options(store)
    with (
        errors_printed_as_sentences(json_file),
        tempfile.TemporaryDirectory(prefix="headrace-") as temporary,
    ):
        if data:
            patterns = data
        else:
            folder = temporary if keep is None else keep
            archive = bench.write_archive(folder, recordings=recordings, seconds=seconds)
            patterns = [archive.pattern]
        windows = catalog.scan(patterns, store=options).windows(sample_rate=16_000, window_s=5.0)
        with observe.Live() as live:
            result = bench.demo(
                windows,
                rounds=rounds,
                budget_s=budget_s,
                progress=live.progress,
                watch=partial(_follow, live),
            )
        count = len(windows.catalog)
        source = (
            f"{format_count(count, 'recording')}, "
            f"{format_duration(windows.coverage.audio_s)} of audio"
            if data
            else f"{format_count(count, 'synthetic recording')}, "
            f"{format_duration(archive.audio_s)} of audio" + (f", kept in {keep}" if keep else "")
        )
        print_report(result.as_json(), lambda: cli.demo_report(result, source), json_file)


@app.command("scan")
def scan_command(
    patterns: Patterns,
    *,
    save: Annotated[
        Path | None,
        typer.Option(
            parser=parse_local_path,
            metavar="FILE.parquet",
            help="Save the catalog, for headrace.load_catalog.",
        ),
    ] = None,
    verify: Annotated[
        Verify, typer.Option(help="Read only the headers, or decode every file to its end.")
    ] = Verify.HEADERS,
    cache: Annotated[
        Path | None,
        typer.Option(
            parser=parse_local_path,
            metavar="FILE.parquet",
            help="Update this catalog: read only new and changed files, or resume decoding.",
        ),
    ] = None,
    disk_cache: Annotated[
        Path | None,
        typer.Option(
            parser=parse_local_path,
            metavar="FOLDER",
            help="Keep what is fetched from a store, for loaders with this cache=.",
        ),
    ] = None,
    disk_cache_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help='The most bytes in that folder, such as "200 GiB".'),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(
            parser=parse_local_path,
            metavar="FILE",
            help="List the damaged files in FILE.csv or FILE.parquet.",
        ),
    ] = None,
    metadata: Metadata = False,
    tz: Zone = None,
    time_pattern: TimePattern = None,
    root: Root = None,
    store: StoreOptions = None,
    decoder: DecodedBy = Decoder.AUTO,
    json_file: Json = None,
) -> None:
    """List the recordings and report damaged files.

    Reads the headers, or decodes every file. The exit code is 1 if a file
    is damaged.

    [cyan]headrace scan "recordings/**/*.wav"
    headrace scan recordings --verify decode --failures damaged.csv
    headrace scan recordings --metadata --tz Europe/Berlin --save a.parquet
    headrace scan site1 site2 --save catalog.parquet[/cyan]
    """
    options = parse_store_options(store)
    # The report says more about damaged files than the warning does.
    with errors_printed_as_sentences(json_file, ignore=DamagedWarning):
        if failures is not None:
            catalog.check_failure_file(failures)
        if save is not None:
            catalog.check_catalog_file(save)
        try:
            with errors_exit_with_usage_code(ValueError):
                catalog.check_metadata_options(tz, time_pattern, metadata=metadata)
            found = catalog.scan(
                patterns,
                root=root,
                verify=verify.value,
                cache=cache,
                decoder=decoder.value,
                store=options,
                metadata=metadata,
                tz=tz,
                time_pattern=time_pattern,
                disk_cache=disk_cache,
                disk_cache_size=disk_cache_size,
            )
        except NoRecordingsError as error:
            if failures is not None:
                catalog.write_failures(error.failures, failures)
            raise
        summary = catalog.summarise(found)
        if failures is not None:
            catalog.write_failures(found.failures, failures)
        if save is not None:
            found.save(save)
        print_report(summary.as_json(), lambda: cli.scan_report(summary), json_file)
        if save is not None:
            print_message(f"saved {format_count(len(found), 'recording')} in {save}.")
        if summary.failures:
            count = summary.damaged
            are = "files are damaged and were" if count > 1 else "file is damaged and was"
            parts = f", except for parts of {summary.partly:,}" if summary.partly else ""
            print_message(f"{count:,} {are} left out{parts}.")
            raise typer.Exit(1)


@app.command("pack")
def pack_command(
    patterns: Patterns,
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="A new folder, or a pack to be continued."
        ),
    ],
    sample_rate: SampleRate,
    packed_as: Annotated[
        PackedAs, typer.Option("--format", help="FLAC, or WAV of float32, which keeps every bit.")
    ] = PackedAs.FLAC,
    bits: Annotated[
        int | None, typer.Option(metavar="16|24", help="Of a sample in FLAC. Default: 24.")
    ] = None,
    channel: Channel = "mix",
    shard_size: Annotated[str, typer.Option(metavar="SIZE", help="Of a shard, at most.")] = "1 GiB",
    cache: Annotated[
        Path | None,
        typer.Option(
            parser=parse_local_path,
            metavar="FILE.parquet",
            help="Update this catalog of the originals.",
        ),
    ] = None,
    root: Root = None,
    store: StoreOptions = None,
    decoder: DecodedBy = Decoder.AUTO,
    json_file: Json = None,
) -> None:
    """Decode and resample recordings once, into tar shards.

    Goes on where it was stopped. The exit code is 1 if a recording could
    not be packed.

    [cyan]headrace pack "recordings/**/*.mp3" -o packed --sample-rate 16000
    headrace pack recordings -o packed --sample-rate 32000 --format wav[/cyan]
    """
    options = parse_store_options(store)
    with errors_printed_as_sentences(json_file, ignore=DamagedWarning):
        found = catalog.scan(patterns, root=root, cache=cache, decoder=decoder.value, store=options)
        packed = found.pack(
            output,
            sample_rate,
            format=packed_as.value,
            bits=bits,
            channel=parse_channel(channel),  # type: ignore[arg-type]  # `pack` checks it
            shard_size=shard_size,
        )
        summary = catalog.summarise(packed)
        clipped = {"clipped_samples": int(packed.column("clipped_samples").sum())}
        print_report(summary.as_json() | clipped, lambda: cli.scan_report(summary), json_file)
        if packed.failures:
            noun = "recording" if summary.damaged == 1 else "recordings"
            print_message(f"{summary.damaged:,} {noun} could not be read whole.")
            raise typer.Exit(1)


@app.command("bench")
def bench_command(
    patterns: Patterns,
    *,
    sample_rate: SampleRate = 16_000,
    window_s: WindowS = 5.0,
    hop_s: HopS = None,
    batch_size: BatchSize = 32,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Numbers of workers to compare. Default: 0,1,2,4 ... up to the first that "
            "exceeds the processors.",
        ),
    ] = None,
    rounds: Rounds = 5,
    max_windows: Annotated[
        int, typer.Option(min=1, metavar="N", help="Use at most the first N windows.")
    ] = 2_000,
    shuffle: Annotated[
        ShuffleBy | None, typer.Option(help="Shuffle windows or files. Default: no shuffle.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help='Memory limit of a loader, such as "256 MiB". Default: none.'
        ),
    ] = None,
    plot_file: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            parser=parse_local_path,
            metavar="FILE",
            help="Plot the result to FILE.html or FILE.png.",
        ),
    ] = None,
    root: Root = None,
    store: StoreOptions = None,
    decoder: DecodedBy = Decoder.AUTO,
    json_file: Json = None,
) -> None:
    """Measure which number of workers is fastest.

    Measures 0, 1, 2, 4 ... workers in turn, round after round. A first
    round brings the files into the page cache and is not counted.

    [cyan]headrace bench "recordings/**/*.wav"
    headrace bench recordings --workers 1,2,3 --shuffle window
    headrace bench recordings --plot sweep.html[/cyan]
    """
    counts = parse_worker_counts(workers)
    options = parse_store_options(store)
    with errors_printed_as_sentences(plot_file, json_file):
        if plot_file is not None:
            bench.check_plot_file(plot_file)
        recordings = catalog.scan(patterns, root=root, decoder=decoder.value, store=options)
        windows: Windows = recordings.windows(
            sample_rate=sample_rate, window_s=window_s, hop_s=hop_s
        )
        windows = windows[:max_windows]
        if shuffle is not None:
            windows = windows.shuffle(by=shuffle.value)
        with observe.Live() as live:
            result = bench.sweep(
                windows,
                counts,
                rounds=rounds,
                batch_size=batch_size,
                memory=memory,
                progress=live.progress,
                watch=partial(_follow, live),
            )
        if plot_file is not None:
            bench.plot(result, plot_file)
        print_report(result.as_json(), lambda: cli.bench_report(result), json_file)


@app.command("preview")
def preview_command(
    patterns: Patterns,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            parser=parse_local_path,
            metavar="PAGE.html",
            help="The page to write.",
        ),
    ] = Path("preview.html"),
    windows: Annotated[int, typer.Option(min=1, metavar="N", help="Show at most N windows.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the random choice.")] = 0,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE@SECONDS", help="Show the window at this second. Can be repeated."
        ),
    ] = None,
    annotations: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:FILES",
            help="Labels to show. KIND is anuraset, audacity, birdnet, csv, parquet or raven. "
            "Can be repeated.",
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Column of labels in csv, parquet and raven files."),
    ] = None,
    match: Annotated[
        MatchBy,
        typer.Option(help="Match labels to recordings by path, or by name alone."),
    ] = MatchBy.PATH,
    results: Annotated[
        str | None,
        typer.Option(
            metavar="RESULTS",
            help="Show what a model found, highest score first: folder or URL of apply's results.",
        ),
    ] = None,
    results_store: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="As --store, for the bucket of the results. Can be repeated.",
        ),
    ] = None,
    threshold: Threshold = None,
    classes: Classes = None,
    column: ResultColumn = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="HZ", help="Target sample rate. Default: 16000, or that of the results."
        ),
    ] = None,
    window_s: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Length of a window. Default: 5, or that of the results."
        ),
    ] = None,
    audio: Annotated[
        PreviewAudio, typer.Option(help="Audio format of the players.")
    ] = PreviewAudio.FLAC,
    slowdown: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Play N times slower, and lower. Default: 10 above 96 kHz, else 1.",
        ),
    ] = None,
    root: Root = None,
    store: StoreOptions = None,
    decoder: DecodedBy = Decoder.AUTO,
    json_file: Json = None,
) -> None:
    """Make a page to look at windows and to listen to them.

    Shows random windows, or the windows at the seconds that you ask for,
    with spectrograms and players, and a summary of the archive. PATTERN may
    be a saved catalog (.parquet).

    [cyan]headrace preview "recordings/**/*.wav" -o page.html
    headrace preview recordings --at a.wav@12.5 --at b.wav@3
    headrace preview recordings --results results/birds --threshold 0.5[/cyan]
    """
    if annotations is None:
        refuse_options_about(
            "--annotations", {"--label-column": label_column, "--match": match is not MatchBy.PATH}
        )
    if results is None:
        refuse_options_about(
            "--results",
            {
                "--results-store": results_store,
                "--threshold": threshold,
                "--classes": classes,
                "--column": column,
            },
        )
    thresholds = parse_thresholds(threshold or [])  # refused before anything is read
    places = None if at is None else [parse_file_and_second(text) for text in at]
    options = parse_store_options(store)
    with errors_printed_as_sentences(output, json_file):
        labels = read_annotations(annotations or [], label_column)
        run = None
        if results is not None:
            place = place_of_results(results, results_store, "--results-store")
            run = headrace.load_run(place)
        found = None
        if run is not None:
            with errors_exit_with_usage_code(ResultsError):  # the options do not fit the results
                found = find_detections(run, thresholds, classes, column)
        recordings = (
            headrace.load_catalog(patterns[0], root, store=options)
            if len(patterns) == 1 and patterns[0].endswith(".parquet")
            else catalog.scan(patterns, root=root, decoder=decoder.value, store=options)
        )
        all_windows = recordings.windows(
            sample_rate or (run and run.sample_rate) or 16_000,
            window_s or (run and run.window_s) or 5.0,
            hop_s=run.hop_s if run and window_s is None else None,
        )
        if labels is not None and match is MatchBy.STEM:
            labels = labels.match(all_windows.catalog, by="stem")
        players: dict[PreviewAudio, Literal["flac", "mp3"] | None] = {
            PreviewAudio.FLAC: "flac",
            PreviewAudio.MP3: "mp3",
            PreviewAudio.NONE: None,
        }
        # A CatalogError here means that --at names no recording, or more than one.
        with errors_exit_with_usage_code(CatalogError), progress_bar("Reading windows") as update:
            page = headrace.preview(
                all_windows,
                windows,
                seed=seed,
                at=places,
                annotations=labels,
                detections=found,
                audio=players[audio],
                slowdown=slowdown or "auto",
                progress=update,
            )
        page.save(output)
        size = output.stat().st_size
        if json_file != "-":
            typer.echo(
                f"{output}: {len(page.exhibits):,} of {format_count(len(all_windows), 'window')}, "
                f"{page.choice}; {format_bytes(size)}. Open it in a browser."
            )
        write_json({"page": str(output), "bytes": size, **page.as_json()}, json_file)


@app.command("apply")
def apply_command(
    patterns: Patterns,
    *,
    model: Annotated[
        str,
        typer.Option(
            metavar="FILE.py:NAME",
            help="A function of a batch. Or NAME(), a class, or a function without parameters: "
            "it returns such a function.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder or URL of the results."),
    ],
    output_store: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="As --store, for the bucket of the results. Can be repeated.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the model is. Default: that of --model."),
    ] = None,
    sample_rate: SampleRate = 16_000,
    window_s: WindowS = 5.0,
    hop_s: HopS = None,
    tail: Annotated[
        Tail,
        typer.Option(help="Audio after the last full window: fill up, overlap, or leave out."),
    ] = Tail.PAD,
    min_tail_s: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Least audio at a recording's end that gets a window. Default: a quarter of one.",
        ),
    ] = None,
    min_audio_s: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Least audio of a window, in short recordings too."),
    ] = 0.0,
    channel: Channel = "mix",
    batch_size: BatchSize = 32,
    pad_batches: Annotated[
        bool,
        typer.Option(
            "--pad-batches", help="Give the model full batches only, for a fixed batch size."
        ),
    ] = False,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Column of the catalog to copy. Can be repeated."),
    ] = None,
    float16: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Model's column to store as float16. Can be repeated."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="NAME", help="PyTorch's device, such as cuda.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Threads that load.")
    ] = None,
    prefetch: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Batches that are loaded ahead.")
    ] = None,
    stall_timeout_s: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Give up a read that takes longer. Default: never."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help='Limit for audio and results, such as "1 GiB".'),
    ] = None,
    part_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Windows of a part.")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="If the model raises: end, or leave those windows out.")
    ] = OnError.RAISE,
    retry_failed: Annotated[
        bool | None,
        typer.Option(help="Try all failed windows again. Default: if the cause may pass."),
    ] = None,
    catalog_file: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            parser=parse_local_path,
            metavar="FILE.parquet",
            help="Catalog to update: see scan.",
        ),
    ] = None,
    metadata: Metadata = False,
    tz: Zone = None,
    time_pattern: TimePattern = None,
    root: Root = None,
    store: StoreOptions = None,
    decoder: DecodedBy = Decoder.AUTO,
    json_file: Json = None,
) -> None:
    """Apply a model to every window and keep the results.

    The same command goes on where an earlier one ended, adds what is new,
    and may run many times at once.

    [cyan]headrace apply "recordings/**/*.wav" --model birds.py:model -o results
    headrace results results --watch[/cyan]
    """
    function, is_factory = load_model(model)
    options = parse_store_options(store)
    with errors_printed_as_sentences(json_file):
        target = place_of_results(output, output_store, "--output-store")
        with errors_exit_with_usage_code(ValueError):
            catalog.check_metadata_options(tz, time_pattern, metadata=metadata)
        recordings = catalog.scan(
            patterns,
            root=root,
            cache=catalog_file,
            decoder=decoder.value,
            store=options,
            metadata=metadata,
            tz=tz,
            time_pattern=time_pattern,
        )
        windows: Windows = recordings.windows(
            sample_rate,
            window_s,
            hop_s,
            tail=tail.value,
            min_tail_s=min_tail_s,
            min_audio_s=min_audio_s,
            channel=parse_channel(channel),  # type: ignore[arg-type]  # `windows` checks it
        )
        run = windows.apply(
            None if is_factory else function,
            target,
            model=function if is_factory else None,
            batch_size=batch_size,
            name=name or _name_of(model),
            columns=column or (),
            float16=float16 or (),
            device=device,
            workers="auto" if workers is None else workers,
            prefetch="auto" if prefetch is None else prefetch,
            stall_timeout_s=stall_timeout_s,
            memory=memory,
            part_size=part_size,
            on_error=on_error.value,
            pad_batches=pad_batches,
            retry_failed=retry_failed,
        )
        print_report(run.as_json(), lambda: cli.results_report(run), json_file)
        if not run.complete:
            print_message("other processes make the last parts: see headrace results.")


def _name_of(model: str) -> str:
    """Return the name of a run that has none: ``birds.py:model``, wherever the file is."""
    place, _, function = model.rpartition(":")
    return f"{Path(place).name}:{function.removesuffix('()')}"


@app.command("results")
def results_command(
    output: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder or URL of the results.")],
    *,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show them anew every two seconds until they are complete."),
    ] = False,
    store: StoreOptions = None,
    json_file: Json = None,
) -> None:
    """Show how far a model is, how fast it was, and what failed.

    [cyan]headrace results results
    headrace results s3://bucket/results --watch[/cyan]
    """
    with errors_printed_as_sentences(json_file):
        run = headrace.load_run(place_of_results(output, store))
        if watch:
            run = cli.watch_results(run)
        print_report(run.as_json(), lambda: cli.results_report(run), json_file)


_EXPORTS = {
    ExportTo.RAVEN: "raven",
    ExportTo.AUDACITY: "audacity",
    ExportTo.CSV: "detections.csv",
    ExportTo.BIRDNET_CSV: "birdnet.csv",
    ExportTo.PARQUET: "detections.parquet",
}
"""Where exports are written by default."""


@app.command("export")
def export_command(
    results: Annotated[
        str,
        typer.Argument(metavar="RESULTS", help="Folder or URL of the results.", show_default=False),
    ],
    *,
    to: Annotated[ExportTo, typer.Option("--to", help="What to write.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=parse_local_path,
            metavar="PATH",
            help="Folder for raven and audacity; file for csv and parquet; either for birdnet-csv. "
            "Default: raven, audacity, detections.csv, birdnet.csv or detections.parquet.",
        ),
    ] = None,
    threshold: Threshold = None,
    classes: Classes = None,
    column: ResultColumn = None,
    smooth: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Replace scores by the mean over N (odd) windows first."
        ),
    ] = 1,
    merge_gap_s: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Join detections of a label with at most this pause. Default: do not join.",
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="The recordings' folder or URL, for the paths in Raven tables.",
        ),
    ] = None,
    band_hz: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH", help="Frequencies in Raven tables where the model gives none."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files.")] = False,
    store: StoreOptions = None,
    json_file: Json = None,
) -> None:
    """Write what a model found as files for other programs.

    Raven selection tables, Audacity labels, CSV as of BirdNET-Analyzer, plain
    CSV or Parquet. Files that exist are kept, unless you say --overwrite.

    [cyan]headrace export results/birdnet --to raven --threshold 0.5
    headrace export results/bats --to csv -o calls.csv --merge-gap-s 0.1
    headrace export results --to raven --classes names.txt --threshold 0.3[/cyan]
    """
    thresholds = parse_thresholds(threshold or [])
    target = Path(_EXPORTS[to]) if output is None else output
    with errors_printed_as_sentences(json_file):
        is_one_csv = to is ExportTo.BIRDNET_CSV and target.suffix.lower() == ".csv"
        if is_one_csv or to in (ExportTo.CSV, ExportTo.PARQUET):
            headrace.annotations.check_new_file(target, overwrite=overwrite)
        run = headrace.load_run(place_of_results(results, store))
        with errors_exit_with_usage_code(ResultsError):  # the options do not fit the results
            found = find_detections(run, thresholds, classes, column, smooth)
        if merge_gap_s is not None:
            found = found.merge(merge_gap_s)
        writers: dict[ExportTo, Callable[..., list[Path] | None]] = {
            ExportTo.RAVEN: partial(found.to_raven, root=root, band_hz=band_hz),
            ExportTo.AUDACITY: found.to_audacity,
            ExportTo.CSV: found.to_csv,
            ExportTo.BIRDNET_CSV: found.to_birdnet_csv,
            ExportTo.PARQUET: found.to_parquet,
        }
        written = writers[to](target, overwrite=overwrite)
        files = 1 if written is None else len(written)
        figures = {
            "output": str(target),
            "files": files,
            "detections": len(found),
            "recordings": len(found.recordings),
            "labels": found.label_counts(),
        }
        print_report(figures, lambda: cli.export_report(found, str(target), files), json_file)
        for label in thresholds[1].keys() - {*found.labels}:
            print_message(f"no detection is of {label!r}.")
        if not run.complete:
            left = run.progress.open - run.progress.vanished_open
            print_message(
                f"the results are not complete: {left:,} windows are open. Apply the model again "
                "to go on, and export again."
            )


def main() -> None:
    """Run the command line and exit.

    If the program that reads the output has ended (``| head``), the exit code is 1 and nothing is
    printed.
    """
    try:
        try:
            build_command_line(app)()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _follow(live: observe.Live, loader: Loader) -> None:
    """Show the loader's statistics. `Live.progress` shows the number of the run."""
    live.follow(lambda: ("", loader.glance()))


def _print_version() -> None:
    typer.echo(f"headrace {headrace.__version__}")
    raise typer.Exit
