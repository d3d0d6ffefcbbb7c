"""What a notebook shows: small cards of HTML that need nothing but themselves.

Colours are those of the page around, so that light and dark notebooks both look right.
"""

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
    format_time,
)
from headrace.catalog import summarise
from headrace.display._draw import WAVE_HEIGHT, WAVE_WIDTH, waveform
from headrace.display._encode import data_uri
from headrace.display._exhibit import holds_audio, preview_window
from headrace.errors import InvalidWindowsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headrace.catalog import Catalog
    from headrace.observe import Stats
    from headrace.windows import AudioExample, Windows

__all__ = ["catalog_card", "example_card", "stats_card", "windows_card"]

_MOST_ROWS: Final = 8

_STYLE: Final = """
.headrace{max-width:34rem;font:13px/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums;
border:1px solid;border-color:color-mix(in srgb,currentColor 22%,transparent);border-radius:8px;
overflow:hidden;overflow-wrap:anywhere}
.headrace-text{padding:.6rem .8rem}
.headrace p{margin:0;padding:0}
.headrace strong{font-weight:600}
.headrace table+p:not(:empty){margin-top:.4rem}
.headrace small{font-size:12px;opacity:.75}
.headrace svg,.headrace img{display:block;width:100%;margin:0}
.headrace audio{display:block;width:100%;height:40px}
.headrace-wave{height:44px;fill:currentColor;opacity:.7}
.headrace-picture{height:120px}
.headrace-bar{height:8px;margin:.35rem 0!important;border-radius:4px}
.headrace table{width:100%;margin:.5rem 0 0;border-collapse:collapse;font-size:12px}
.headrace th,.headrace td{padding:.2rem .8rem .2rem 0;border:0;text-align:left;font-weight:400;
vertical-align:top;background:none}
.headrace th{opacity:.75;white-space:nowrap}
"""


def example_card(example: AudioExample) -> str:
    """Return a window's card: waveform, spectrogram, player, and what it is.

    Of what is no audio of the window's length, as a spectrogram that `Windows.map` made, it tells
    shape and type.
    """
    name = f"<p><strong>{escape(example.file_id)}</strong></p>"
    if not holds_audio(example):
        shape = " x ".join(map(str, example.audio.shape)) or "a single number"
        details = [
            f"{format_time(example.offset)} to {format_time(example.end_s)}",
            format_hertz(example.sample_rate),
            f"{shape}, {example.audio.dtype}",
        ]
        return _card("", f"{name}{_small(details)}{_labels(example)}")
    try:
        one = preview_window(example, "flac")
    except ValueError:  # no browser plays that sample rate
        one = preview_window(example, None)
    span = f"{format_time(one.offset)} to {format_time(one.stop)}"
    what = escape(f"{one.file_id}, {span}")
    player = ""
    if one.sound is not None:
        player = (
            f'<audio controls preload="metadata" src="{data_uri(*one.sound)}" '
            f'aria-label="{what}"></audio>'
        )
    details = [
        span,
        format_hertz(example.sample_rate),
        f"RMS {format_decibels(one.levels.rms_dbfs)}, peak {format_decibels(one.levels.peak_dbfs)} dBFS",
    ]
    if one.levels.silent:
        details.append("silent")
    if one.levels.clipped:
        details.append(format_count(one.levels.clipped, "clipped sample"))
    if one.padded_s:
        details.append(f"{one.padded_s:.2f} s of padding")
    return _card(
        f'<svg class="headrace-wave" viewBox="0 0 {WAVE_WIDTH} {WAVE_HEIGHT}" '
        f'preserveAspectRatio="none" role="img" aria-label="Waveform of {what}">'
        f'<path d="{waveform(example.audio.astype(np.float32, copy=False))}"/></svg>'
        f'<img class="headrace-picture" src="{data_uri("image/png", one.picture)}" '
        f'alt="Log-mel spectrogram of {what}">{player}',
        f"{name}{_small(details)}{_labels(example)}",
    )


def _labels(example: AudioExample) -> str:
    if example.labels is None:
        return ""
    heard = ", ".join(f"{place}" for place in np.flatnonzero(example.labels)) or "none"
    return _small([f"classes: {heard} of {len(example.labels)}"])


def catalog_card(catalog: Catalog) -> str:
    """Return a catalog's card: files, hours, rates, formats, and what is damaged."""
    summary = summarise(catalog)
    rows = [
        (
            f"{kind.format} {kind.subtype}",
            format_hertz(kind.sample_rate),
            format_count(kind.channels, "channel"),
            format_count(kind.recordings, "file"),
            format_duration(kind.audio_s),
        )
        for kind in summary.kinds
    ]
    bad = [(one.file_id, str(one.code), one.message) for one in summary.failures]
    return _card(
        "",
        f"<p><strong>{format_count(len(catalog), 'recording')}, {format_duration(summary.audio_s)}</strong></p>"
        + _small([format_bytes(summary.bytes), f"in {summary.root}" if summary.root else ""])
        + _table("What recordings there are", rows)
        + (
            f"<p><strong>{format_count(summary.damaged, 'damaged file')}</strong></p>"
            + _table("Damaged files", bad)
            if bad
            else _small(["no damaged files"])
        ),
    )


def windows_card(windows: Windows) -> str:
    """Return the card of windows: how many, how they are cut, what is left out."""
    spec = windows.spec
    rate = spec.sample_rate
    tails = {
        "pad": "the last window of a recording is filled up with zeros",
        "shift": "the last window of a recording ends with it",
        "drop": "only full windows",
    }
    channels = {"mix": "the mean of all", "all": "all"}
    facts = {
        "Length": f"{spec.size / rate:g} s ({format_count(spec.size, 'sample')})",
        "Every": f"{spec.hop / rate:g} s",
        "Rate": format_hertz(rate),
        "Channels": channels.get(str(spec.channel), f"number {spec.channel}, from 0"),
        "Tails": tails[spec.tail],
        "From": format_count(len(windows.recordings), "recording"),
    }
    try:
        coverage = windows.coverage
    except InvalidWindowsError:  # of each nth window it is not told
        pass
    else:
        facts["Audio"] = (
            f"{format_duration(coverage.covered_s)} of {format_duration(coverage.audio_s)} are in a window"
        )
        facts["Left out"] = format_duration(coverage.left_out_s)
        if coverage.without_windows:
            facts["Left out"] += (
                f"; {format_count(coverage.without_windows, 'recording')} altogether"
            )
        facts["Padding"] = format_duration(coverage.padded_s)
    return _card(
        "", f"<p><strong>{format_count(len(windows), 'window')}</strong></p>{_facts(facts)}"
    )


def stats_card(stats: Stats) -> str:
    """Return a loader's card: the verdict, where the time went, and the memory."""
    facts = {
        "Run": f"{stats.wall_s:.2f} s, {stats.windows_per_s:,.1f} windows/s, "
        f"{stats.times_real_time:,.0f} times real time",
        "The consumer waited": f"{stats.wait_s:.2f} s, {stats.wait_share:.1%}",
        format_count(stats.workers, "worker"): stats.work,
        "Memory": f"peak {format_bytes(stats.peak_bytes)} of at most "
        f"{format_bytes(stats.memory_bound)}; the consumer keeps {format_bytes(stats.kept_bytes)}",
    }
    return _card(
        "",
        f"<p><strong>{format_count(stats.windows, 'window')}, {stats.failed:,} failed</strong></p>"
        f"<p>{escape(stats.verdict)}</p>{_bar(stats)}{_facts(facts)}",
    )


def _bar(stats: Stats) -> str:
    """Draw the consumer's time: at work, and waiting."""
    if not stats.wall_s:
        return ""
    wait = 100 * min(1.0, stats.wait_share)
    return (
        '<svg class="headrace-bar" viewBox="0 0 100 1" preserveAspectRatio="none" role="img" '
        f'aria-label="Of its time the consumer waited {stats.wait_share:.1%}">'
        f'<rect width="{100 - wait:.2f}" height="1" fill="#3d9a92"/>'
        f'<rect x="{100 - wait:.2f}" width="{wait:.2f}" height="1" fill="#c8553d"/></svg>'
    )


def _card(pictures: str, text: str) -> str:
    return (
        f'<div class="headrace"><style>{_STYLE}</style>{pictures}'
        f'<div class="headrace-text">{text}</div></div>'
    )


def _small(parts: Iterable[str]) -> str:
    return f"<p><small>{escape(' · '.join(part for part in parts if part))}</small></p>"


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in facts.items()
    )
    return f"<table>{rows}</table>"


def _table(name: str, rows: Sequence[Sequence[str]]) -> str:
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows[:_MOST_ROWS]
    )
    more = len(rows) - _MOST_ROWS
    rest = _small([f"and {more:,} more"]) if more > 0 else ""
    return f'<table aria-label="{escape(name)}">{body}</table>{rest}'
