"""What the top of a preview's page tells: numbers, histograms and tables of the archive."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import (
    format_bytes,
    format_count,
    format_decibels,
    format_duration,
    format_hertz,
)
from headrace.catalog import summarise
from headrace.dsp import SILENT_DBFS
from headrace.errors import InvalidWindowsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from headrace.catalog import Kind
    from headrace.display._preview import Preview
    from headrace.failures import Failure

__all__ = ["panels", "tiles"]

_BINS: Final = 30
_WIDE: Final = 20.0  # the ratio from which durations are shown on a logarithmic scale
_STEP_DB: Final = 3
_MOST_ROWS: Final = 200  # of a table: a page is no log file
_MOST_LABELS: Final = 40


def tiles(preview: Preview) -> Iterator[str]:
    """Yield the archive's figures."""
    catalog = preview.windows.catalog
    summary = summarise(catalog)
    yield _tile("Recordings", f"{len(catalog):,}", format_bytes(summary.bytes))
    yield _tile("Audio", format_duration(summary.audio_s), _rates(summary.kinds))
    yield _tile("Windows", f"{len(preview.windows):,}", _left_out(preview))
    damaged = summary.damaged
    yield _tile(
        "Damaged files", f"{damaged:,}", "listed below" if damaged else "none found", bad=damaged
    )
    of = f"of {format_count(len(preview.levels), 'window')}"
    silent = sum(one.silent for one in preview.levels)
    yield _tile("Silent", f"{silent:,}", of, bad=silent)
    clipped = sum(one.clipped > 0 for one in preview.levels)
    yield _tile("Clipped", f"{clipped:,}", of, bad=clipped)


def panels(preview: Preview) -> Iterator[str]:
    """Yield what takes more than a figure."""
    catalog = preview.windows.catalog
    lengths = catalog.frames / catalog.sample_rates
    note = f"{format_count(len(lengths), 'recording')} by duration."
    yield _panel("How long the recordings are", note, _durations(lengths))
    yield _panel("How loud the windows are", _measured(preview), _loudness(preview))
    yield _panel("Formats", "", _kinds(summarise(catalog).kinds), full=not preview.labels)
    if preview.labels:
        what = "Events in all recordings." if preview.counted == "events" else "Windows of each."
        yield _panel("Labels", what, _labels(preview.labels))
    failures = (*catalog.failures, *preview.failures)
    if failures:
        yield _panel("What cannot be read", "", _failures(failures), full=True)


def _tile(name: str, value: str, more: str, *, bad: int = 0) -> str:
    kind = ' class="bad"' if bad else ""
    small = f"<small>{escape(more)}</small>" if more else ""
    return f"<div{kind}><dt>{escape(name)}</dt><dd>{escape(value)}{small}</dd></div>"


def _panel(heading: str, note: str, body: str, *, full: bool = False) -> str:
    kind = "panel full" if full else "panel"
    note = f'<p class="note">{escape(note)}</p>' if note else ""
    return f'<div class="{kind}"><h3>{escape(heading)}</h3>{note}{body}</div>'


def _rates(kinds: Iterable[Kind]) -> str:
    rates = sorted({kind.sample_rate for kind in kinds})
    if len(rates) <= 2:  # noqa: PLR2004  both have room
        return " and ".join(format_hertz(rate) for rate in rates)
    return f"{len(rates)} rates, {format_hertz(rates[0])} to {format_hertz(rates[-1])}"


def _left_out(preview: Preview) -> str:
    try:
        coverage = preview.windows.coverage
    except InvalidWindowsError:  # of each nth window it is not told
        return ""
    return (
        f"{format_duration(coverage.left_out_s)} of audio in none"
        if coverage.left_out_s
        else "cover all audio"
    )


def _measured(preview: Preview) -> str:
    """Return which windows were measured, and how."""
    tried = len(preview.levels) + sum(one.windows for one in preview.failures)
    whole = tried >= len(preview.windows)
    some = format_count(len(preview.levels), "window")
    silent = sum(one.silent for one in preview.levels)
    which = f"all {some}" if whole else f"the {some} shown"
    but = f" but {silent:,} silent" if silent else ""
    return f"RMS of {which}{but}, mixed and resampled as a model gets them."


def _durations(lengths: NDArray[np.float64]) -> str:
    low, high = float(lengths.min()), float(lengths.max())
    if low == high:
        return f'<p class="only">All have {format_duration(low)}.</p>'
    wide = high / low > _WIDE
    edges = np.geomspace(low, high, _BINS + 1) if wide else np.linspace(low, high, _BINS + 1)
    edges[0], edges[-1] = low, high  # which geomspace may round to the wrong side
    counts = np.histogram(lengths, edges)[0]
    scale = "logarithmic scale" if wide else ""
    return _histogram(
        counts, f"{format_duration(low)}|{scale}|{format_duration(high)}", "Recordings by duration"
    )


def _loudness(preview: Preview) -> str:
    loud = np.array([one.rms_dbfs for one in preview.levels if not one.silent])
    if not len(loud):
        return '<p class="only">All are silent.</p>'
    low = _STEP_DB * np.floor(max(loud.min(), SILENT_DBFS) / _STEP_DB)
    edges = np.arange(low, max(loud.max(), -_STEP_DB) + _STEP_DB, _STEP_DB)
    counts = np.histogram(loud, edges)[0]
    middle = f"median {format_decibels(float(np.median(loud)))}"
    ends = f"{format_decibels(edges[0])}|{middle}|{format_decibels(edges[-1])} dBFS"
    return _histogram(counts, ends, "Windows by RMS level")


def _histogram(counts: NDArray[np.int64], ends: str, name: str) -> str:
    """Return bars above an axis, whose texts `ends` holds between ``|``."""
    most = int(counts.max())
    width = 100 / len(counts)
    bars = "".join(
        f'<rect x="{row * width + 0.06 * width:.2f}" y="{100 - height:.2f}" '
        f'width="{0.88 * width:.2f}" height="{height:.2f}"/>'
        for row, count in enumerate(counts)
        if (height := max(100 * count / most, 1.5 if count else 0))
    )
    texts = ends.split("|")
    told = f"{name}, from {texts[0]} to {texts[-1]}; at most {most:,} in one bar."
    axis = "".join(f"<span>{escape(text)}</span>" for text in texts)
    return (
        f'<svg class="hist" viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(told)}">{bars}</svg><div class="axis">{axis}</div>'
    )


def _kinds(kinds: Sequence[Kind]) -> str:
    columns = {"Format": "text", "Rate": "", "Channels": "", "Files": "", "Audio": ""}
    rows = [
        (
            escape(f"{kind.format} {kind.subtype}").replace("_", "_<wbr>"),
            format_hertz(kind.sample_rate),
            f"{kind.channels}",
            f"{kind.recordings:,}",
            format_duration(kind.audio_s),
        )
        for kind in kinds
    ]
    return _table("Formats", columns, rows)


def _failures(failures: Sequence[Failure]) -> str:
    columns = {"File": "text", "Cause": "text", "Why": "text"}
    rows = [
        (
            escape(one.file_id) + (f", from {one.start_s:.1f} s" if one.windows else ""),
            f'<span class="code">{escape(str(one.code))}</span>',
            escape(one.message),
        )
        for one in failures
    ]
    return _table("What cannot be read", columns, rows, "stacks")


def _table(
    name: str, columns: Mapping[str, str], rows: Sequence[Sequence[str]], kind: str = ""
) -> str:
    """Return a table of HTML; `columns` gives each heading's class."""
    kinds = [f' class="{kind}"' if kind else "" for kind in columns.values()]
    head = "".join(
        f'<th scope="col"{kind}>{escape(column)}</th>'
        for column, kind in zip(columns, kinds, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(f'<td{k}>{cell}</td>' for k, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows[:_MOST_ROWS]
    )
    more = len(rows) - _MOST_ROWS
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        + (f'<p class="note">and {more:,} more.</p>' if more > 0 else "")
    )


def _labels(labels: Mapping[str, int]) -> str:
    most = max(labels.values())
    ordered = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    bars = "".join(
        f"<div><dt>{escape(label) or 'without label'}</dt>"
        f'<dd class="bar"><svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{100 * count / most:.2f}" height="1"/></svg></dd>'
        f"<dd>{count:,}</dd></div>"
        for label, count in ordered[:_MOST_LABELS]
    )
    more = len(labels) - _MOST_LABELS
    rest = f'<p class="note">and {more:,} labels more.</p>' if more > 0 else ""
    return f'<dl class="bars">{bars}</dl>{rest}'
