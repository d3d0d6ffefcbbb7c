"""Notebook cards: what `_repr_html_` shows of a window, a catalog, windows and statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import format_count, format_duration, format_hertz
from headrace._html import render
from headrace.catalog import summarise
from headrace.display._draw import WAVE_HEIGHT, WAVE_WIDTH, waveform_path
from headrace.display._previewed_window import PreviewedWindow, has_window_audio
from headrace.errors import InvalidWindowsError

if TYPE_CHECKING:
    from headrace.catalog import Catalog
    from headrace.observe import Stats
    from headrace.windows import AudioExample, Windows

__all__ = ["catalog_card", "example_card", "stats_card", "windows_card"]

_MAX_ROWS: Final = 8


def example_card(example: AudioExample) -> str:
    """Return the card of a window: waveform, spectrogram, player, levels and labels.

    If `Windows.map` returned something other than audio, such as a spectrogram, the card shows its
    shape and dtype.
    """
    return render(
        "cards/example.html",
        example=example,
        window=_previewed(example) if has_window_audio(example) else None,
        waveform=waveform_path(example.audio.astype(np.float32, copy=False))
        if has_window_audio(example)
        else "",
        wave_width=WAVE_WIDTH,
        wave_height=WAVE_HEIGHT,
        classes=None if example.labels is None else np.flatnonzero(example.labels).tolist(),
    )


def catalog_card(catalog: Catalog) -> str:
    """Return the card of a catalog: files, hours, sample rates, formats, and damaged files."""
    summary = summarise(catalog)
    kinds = [
        (
            f"{kind.format} {kind.subtype}",
            format_hertz(kind.sample_rate),
            format_count(kind.channels, "channel"),
            format_count(kind.recordings, "file"),
            format_duration(kind.audio_s),
        )
        for kind in summary.kinds
    ]
    return render(
        "cards/catalog.html",
        catalog=catalog,
        summary=summary,
        kinds=kinds,
        failures=[(one.file_id, str(one.code), one.message) for one in summary.failures],
        max_rows=_MAX_ROWS,
    )


def windows_card(windows: Windows) -> str:
    """Return the card of windows: how many there are, how they are cut, and what is left out."""
    try:
        coverage = windows.coverage
    except InvalidWindowsError:  # a subset of the windows has no coverage
        coverage = None
    return render("cards/windows.html", windows=windows, coverage=coverage)


def stats_card(stats: Stats) -> str:
    """Return the card of a loader's statistics: the verdict, times and memory."""
    return render(
        "cards/stats.html",
        stats=stats,
        wait_percent=f"{stats.wait_share:.1%}",
        run=f"{stats.wall_s:.2f} s, {stats.windows_per_s:,.1f} windows/s, "
        f"{stats.times_real_time:,.0f} times real time",
    )


def _previewed(example: AudioExample) -> PreviewedWindow:
    try:
        return PreviewedWindow.from_example(example, "flac")
    except ValueError:  # no browser plays audio at this sample rate
        return PreviewedWindow.from_example(example, None)
