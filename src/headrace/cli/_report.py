"""The printed reports: results → tables and sentences. Nothing is measured or decided here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from headrace import bench
from headrace._formatting import escape_controls, format_bytes, format_count, format_duration
from headrace.catalog import describe_codes
from headrace.failures import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from headrace.bench import Demo, SweepResult, WorkerResult
    from headrace.catalog import Recorded, Summary
    from headrace.detections import Detections
    from headrace.failures import Failure
    from headrace.inference import Run

__all__ = ["bench_report", "demo_report", "export_report", "results_report", "scan_report"]

_SHOWN_FAILURES: Final = 10
_FILE_COLUMNS: Final = 80
"""A file with a longer path stands below the table, so that it does not widen every line."""
_SHOWN_LABELS: Final = 20
_MUCH_WAITING: Final = 0.1
"""From this share of the run on, waiting is shown in red. An arbitrary choice."""


def scan_report(summary: Summary) -> RenderableType:
    """Return what `headrace scan` prints."""
    head = Text.assemble(
        (format_count(summary.recordings, "recording"), "bold"),
        f", {format_duration(summary.audio_s)}, {format_bytes(summary.bytes)}, in ",
        escape_controls(summary.root),
    )
    formats = _table("format", "rate", "channels", "files", "audio", "shortest", "longest")
    formats.columns[0].justify = "left"
    for kind in summary.kinds:
        formats.add_row(
            f"{kind.format} {kind.subtype}",
            f"{kind.sample_rate:,} Hz",
            f"{kind.channels}",
            f"{kind.recordings:,}",
            format_duration(kind.audio_s),
            format_duration(kind.shortest_s),
            format_duration(kind.longest_s),
        )
    parts: list[RenderableType] = [head, _indented(formats)]
    if summary.recorded is not None:
        parts.append(Text(_describe_recorded(summary.recorded)))
    if summary.failures:
        causes = describe_codes(summary.failures)
        parts.append(
            Text(f"{format_count(summary.damaged, 'damaged file')}: {causes}", style="bold red")
        )
        by_code = sorted(summary.failures, key=lambda failure: failure.code)
        parts += _failures(by_code[:_SHOWN_FAILURES])
        hidden = len(summary.failures) - _SHOWN_FAILURES
        if hidden > 0:
            parts.append(
                Text(f"  and {hidden:,} more: use --failures FILE to list all.", style="dim")
            )
    return Group(*parts)


def _describe_recorded(recorded: Recorded) -> str:
    """Return a line on when and where recordings were made."""
    first, last = (str(one)[:16].replace("T", " ") for one in (recorded.first, recorded.last))
    when = f", from {first} to {last} UTC" if recorded.timed else ""
    conflicts = ""
    if recorded.conflicts:
        conflicts = f"; sources disagree about {format_count(recorded.conflicts, 'recording')}"
    return f"{recorded.timed:,} with a time{when}; {recorded.placed:,} with a place{conflicts}"


def results_report(run: Run) -> RenderableType:
    """Return what `headrace results` prints."""
    now = run.progress
    share = (now.written + now.failed) / now.expected if now.expected else 1.0
    head = Text.assemble(
        (escape_controls(run.name), "bold"),
        f" in {escape_controls(run.folder)}: {format_count(now.expected, 'window')} of "
        f"{format_count(now.recordings, 'recording')}, ",
        ("complete" if run.complete else f"{share:.1%} done", "bold"),
    )
    if now.vanished:
        head.append(f"\n{format_count(now.vanished, 'recording')} vanished: the results are kept.")
    table = _table("written", "failed", "open", "parts", "windows/s", "time", "time left")
    to_make = now.open - now.vanished_open
    left = to_make / now.windows_per_s if now.windows_per_s else None
    table.add_row(
        f"{now.written:,}",
        Text(f"{now.failed:,}", style="red" if now.failed else ""),
        f"{now.open:,}",
        f"{now.parts:,} of {now.ranges:,}",
        f"{now.windows_per_s:,.1f}",
        format_duration(now.elapsed_s),
        "" if left is None else format_duration(left),
    )
    parts: list[RenderableType] = [head, _indented(table)]
    for name, loss in run.float16_loss.items():
        parts.append(Text(f"{escape_controls(name)} is float16: off by at most {loss:.2g}."))
    if run.failures:
        by_code = sorted(run.failures, key=lambda failure: (failure.code, -failure.windows))
        parts += _failures(by_code[:_SHOWN_FAILURES])
        hidden = len(run.failures) - _SHOWN_FAILURES
        if hidden > 0:
            parts.append(Text(f"  and {hidden:,} more: --json FILE lists all.", style="dim"))
        passing = sum(one.windows for one in run.failures if one.code in TEMPORARY)
        if passing:
            again = f"Apply the model again to try {format_count(passing, 'failed window')} again"
            parts.append(Text(f"\n{again}: the cause may pass."))
    return Group(*parts)


def _failures(failures: Sequence[Failure]) -> Iterator[RenderableType]:
    """Yield a table of failures, and a line for each whose path would widen the table."""
    table = _table("code", "file", "reason")
    for column in table.columns:
        column.justify = "left"
        column.overflow = "fold"
    lines = []
    for failure in failures:
        cells = str(failure.code), failure.file_id, failure.message
        code, file, reason = map(escape_controls, cells)
        if len(file) > _FILE_COLUMNS:
            lines.append(Text(f"{code} {file}: {reason}", overflow="fold"))
        else:
            table.add_row(code, file, reason)
    if table.rows:
        yield _indented(table)
    if lines:
        yield Padding(Group(*lines), (0 if table.rows else 1, 0, 1, 2))


def export_report(found: Detections, output: str, files: int) -> RenderableType:
    """Return what `headrace export` prints."""
    counts = sorted(found.label_counts().items(), key=lambda pair: -pair[1])
    head = Text.assemble(
        (format_count(len(found), "detection"), "bold"),
        f" of {format_count(len(counts), 'label')} in "
        f"{format_count(len(found.recordings), 'recording')}: "
        f"{format_count(files, 'file')} in {escape_controls(output)}",
    )
    table = _table("label", "detections")
    table.columns[0].justify = "left"
    table.columns[0].overflow = "fold"
    for label, count in counts[:_SHOWN_LABELS]:
        table.add_row(escape_controls(label), f"{count:,}")
    parts: list[RenderableType] = [head]
    if counts:
        parts.append(_indented(table))
    if len(counts) > _SHOWN_LABELS:
        parts.append(Text(f"  and {len(counts) - _SHOWN_LABELS:,} more labels.", style="dim"))
    return Group(*parts)


def demo_report(result: Demo, source: str) -> RenderableType:
    """Return what `headrace demo` prints; `source` describes the recordings."""
    measured = result.sweep
    head = Text(
        f"{source}\n{_describe_windows(measured)}.\n"
        f"Loading a batch takes {result.load_s * 1e3:,.0f} ms, the stand-in model "
        f"{result.model_s * 1e3:,.0f} ms."
    )
    table = _table("loader", "windows/s", "times real time", "the model waited")
    table.columns[0].justify = "left"
    for row in measured.rows:
        table.add_row(
            "plain" if not row.workers else f"threaded, {format_count(row.workers, 'worker')}",
            f"{row.windows_per_s:,.0f}",
            f"{row.times_real_time:,.0f}",
            Text(
                f"{row.wait_share:.1%}", style="red" if row.wait_share > _MUCH_WAITING else "green"
            ),
        )
    plain, *threaded = measured.rows
    best = max(threaded, key=lambda row: row.windows_per_s)
    gain = best.windows_per_s / plain.windows_per_s
    lesson = Text(
        "The plain loader and the model take turns: while one works, the other waits. "
        "The threaded loader prepares the next batches while the model works: "
        + (
            f"{gain:.2f} times as fast with {format_count(best.workers, 'worker')}."
            if gain > 1 + bench.CLOSE_ENOUGH
            else "no gain here, because no processor is idle."
        )
    )
    verdict = Text.assemble(("Verdict  ", "bold"), result.verdict)
    return Group(head, _indented(table), lesson, verdict, *_caveats(measured))


def bench_report(measured: SweepResult) -> RenderableType:
    """Return what `headrace bench` prints."""
    rounds = len(measured.rows[0].runs)
    head = Text(
        f"{_describe_windows(measured)}; {format_count(measured.processors, 'processor')}.\n"
        f"Median of {format_count(rounds, 'interleaved round')}, after one that is not counted "
        "and brings the files into the page cache."
    )
    table = _table("workers", "windows/s", "times real time", "spread", "memory bound", "")
    for row in measured.rows:
        chosen = row.workers == measured.recommended
        table.add_row(
            f"{row.workers}",
            f"{row.windows_per_s:,.0f}",
            f"{row.times_real_time:,.0f}",
            f"{row.spread:.0%}",
            format_bytes(row.memory_bound),
            _remark(row, chosen=chosen),
            style="bold" if chosen else "",
        )
    table.columns[-1].justify = "left"
    style = "yellow" if measured.recommended is None else "green"
    recommendation = Text(measured.reason, style=style)
    without_model = Text(
        "Measured without a model. A model that runs on the processor leaves less of it to the "
        "loader; a model on an accelerator does not.",
        style="dim",
    )
    return Group(head, _indented(table), recommendation, *_caveats(measured), without_model)


def _describe_windows(measured: SweepResult) -> str:
    times = f", {measured.epochs} times over" if measured.epochs > 1 else ""
    return (
        f"{format_count(measured.windows, 'window')} of {measured.window_s:g} s at "
        f"{measured.sample_rate:,} Hz, in batches of {measured.batch_size}{times}"
    )


def _remark(row: WorkerResult, *, chosen: bool) -> str:
    if chosen:
        return "◀ recommended"
    return "plain" if not row.workers else ""


def _caveats(measured: SweepResult) -> list[RenderableType]:
    notes = []
    if measured.failed:
        notes.append(
            f"{format_count(measured.failed, 'window')} could not be read and were left out: "
            "see `headrace scan`."
        )
    if measured.noise_warning:
        notes.append(measured.noise_warning)
    return [Text(note, style="yellow") for note in notes]


def _table(*columns: str) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="dim",
    )
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _indented(table: Table) -> RenderableType:
    return Padding(table, (1, 0, 1, 2))
