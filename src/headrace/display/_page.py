"""`Preview`: the chosen windows and the archive's levels, and the page that shows them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from headrace._formatting import format_count, format_decibels, format_duration
from headrace._html import render
from headrace.catalog import summarise
from headrace.display._draw import frequency_ticks, spectrogram_min_hz, time_ticks
from headrace.dsp import SILENT_DBFS, Levels
from headrace.errors import InvalidWindowsError
from headrace.failures import failure_to_json

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from headrace.display._encode import AudioFormat
    from headrace.display._previewed_window import PreviewedWindow
    from headrace.failures import Failure
    from headrace.windows import Windows

__all__ = ["Preview"]

_LEVEL_RANGES_DBFS: Final = ((-math.inf, -60), (-60, -40), (-40, -20), (-20, math.inf))
"""The RMS levels that the page can filter by, half-open."""

_FLOOR_DBFS: Final = -999  # replaces minus infinity, which JavaScript's `Number` does not parse

_DURATION_BARS: Final = 30
_LEVEL_BAR_DB: Final = 3
_LOG_SCALE_RATIO: Final = 20.0  # longest to shortest, from which durations are on a log scale
_MIN_BAR_PERCENT: Final = 1.5  # so that a single recording among thousands is seen
_MAX_TABLE_ROWS: Final = 200
_MAX_LABELS: Final = 40
_COLOURS: Final = 8  # of boxes and labels, in page.css; more labels share them with other dashes


@dataclass(frozen=True, eq=False, repr=False)
class Preview:
    """A page to look at windows and to listen to them; `preview` returns one.

    Attributes
    ----------
    windows : Windows
        The windows that were chosen from, before the functions that `Windows.map` added.
    exhibits : tuple of PreviewedWindow
        The windows that are shown, in the order of the page.
    levels : tuple of Levels
        The levels of all windows, or of those shown if there are more than 2,000 windows.
    failures : tuple of Failure
        Windows that could not be read. Damaged files are in the catalog's failures.
    choice : str
        How the windows were chosen.
    audio : {"flac", "mp3"} or None
        How sound is encoded.
    slowdown : int
        How many times slower, and lower, it plays.
    labels : mapping of str to int
        The count of each label; empty without labels.
    counted : {"events", "windows"}
        What `labels` counts: events in all recordings, or windows.
    """

    windows: Windows
    exhibits: tuple[PreviewedWindow, ...]
    levels: tuple[Levels, ...]
    failures: tuple[Failure, ...] = ()
    choice: str = "as chosen"
    audio: AudioFormat | None = "flac"
    slowdown: int = 1
    labels: Mapping[str, int] = field(default_factory=dict)
    counted: Literal["events", "windows"] = "events"

    @cached_property
    def html(self) -> str:
        """The page: one file that needs no network."""
        windows, catalog = self.windows, self.windows.catalog
        tried = len(self.levels) + sum(failure.windows for failure in self.failures)
        shown_labels = Counter(label for window in self.exhibits for label in window.labels)
        return render(
            "preview/page.html",
            version=version("headrace"),
            heading=PurePath(catalog.root).name or "Recordings",
            windows=windows,
            shown=self.exhibits,
            choice=self.choice,
            audio=self.audio,
            slowdown=self.slowdown,
            min_hz=spectrogram_min_hz(windows.spec.sample_rate),
            frequency_ticks=list(frequency_ticks(windows.spec.sample_rate)),
            time_ticks=list(time_ticks(windows.spec.size / windows.spec.sample_rate)),
            colour_of=_colours(shown_labels),
            has_scores=any(window.score is not None for window in self.exhibits),
            summary=summarise(catalog),
            left_out_s=_left_out_s(windows),
            levels=self.levels,
            measured_all=tried >= len(windows),
            durations=_duration_histogram(catalog.frames / catalog.sample_rates),
            loudness=_level_histogram(self.levels),
            counted=self.counted,
            label_counts=sorted(self.labels.items(), key=lambda item: (-item[1], item[0])),
            shown_labels=sorted(shown_labels.items()),
            level_choices=list(_level_choices(self.exhibits)),
            failures=(*catalog.failures, *self.failures),
            floor_dbfs=_FLOOR_DBFS,
            max_rows=_MAX_TABLE_ROWS,
            max_labels=_MAX_LABELS,
        )

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the page to a file, to be opened in a browser.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        Path(file).write_text(self.html, "utf-8", newline="\n")

    def as_json(self) -> dict[str, Any]:
        """Return what the page shows, without pictures and sound, in a form for `json.dump`."""

        def level(dbfs: float) -> float | None:
            return None if math.isinf(dbfs) else dbfs  # JSON has no infinity

        return {
            "windows": len(self.windows),
            "choice": self.choice,
            "labels": dict(self.labels),
            "shown": [
                {
                    "file_id": window.file_id,
                    "index": window.index,
                    "offset_s": window.offset,
                    "labels": list(window.labels),
                    "score": window.score,
                    "peak_dbfs": level(window.levels.peak_dbfs),
                    "rms_dbfs": level(window.levels.rms_dbfs),
                    "clipped": window.levels.clipped,
                }
                for window in self.exhibits
            ],
            "failures": [
                failure_to_json(failure, ("file_id", "code", "message"))
                for failure in (*self.windows.catalog.failures, *self.failures)
            ],
        }

    def __repr__(self) -> str:
        return (
            f"<Preview: {len(self.exhibits):,} of {format_count(len(self.windows), 'window')}, "
            f"{self.choice}; {sum(one.windows for one in self.failures):,} could not be read>"
        )


@dataclass(frozen=True, slots=True)
class _Histogram:
    """Counts in bars of equal width, and the texts under them.

    Attributes
    ----------
    name : str
        What is counted and by what: "Windows by RMS level".
    counts : ndarray of int64
        The count of each bar.
    low, middle, high : str
        The texts at the start, in the middle and at the end of the axis.
    """

    name: str
    counts: NDArray[np.int64]
    low: str
    middle: str
    high: str

    @property
    def bars(self) -> Iterator[tuple[float, float, float]]:
        """The left edge, width and height of each bar that is not empty, in percent."""
        most, step = int(self.counts.max()), 100 / len(self.counts)
        for index, count in enumerate(self.counts.tolist()):
            if count:
                height = max(100 * count / most, _MIN_BAR_PERCENT)
                yield (index + 0.06) * step, 0.88 * step, height


def _colours(labels: Mapping[str, int]) -> dict[str, str]:
    """Return the style class of each label: the most frequent ones have colours of their own."""
    ordered = sorted(labels, key=lambda label: (-labels[label], label))
    return {
        label: f"c{place % _COLOURS}" + (" again" if place >= _COLOURS else "")
        for place, label in enumerate(ordered)
    }


def _left_out_s(windows: Windows) -> float | None:
    """Return the seconds of audio that are in no window, or None for a subset of the windows."""
    try:
        return windows.coverage.left_out_s
    except InvalidWindowsError:
        return None


def _duration_histogram(durations_s: NDArray[np.float64]) -> _Histogram | None:
    """Return the recordings by duration, or None if all durations are the same."""
    low, high = float(durations_s.min()), float(durations_s.max())
    if low == high:
        return None
    logarithmic = high / low > _LOG_SCALE_RATIO
    space = np.geomspace if logarithmic else np.linspace
    edges = space(low, high, _DURATION_BARS + 1)
    edges[0], edges[-1] = low, high  # geomspace may round them inwards
    return _Histogram(
        name="Recordings by duration",
        counts=np.histogram(durations_s, edges)[0],
        low=format_duration(low),
        middle="logarithmic scale" if logarithmic else "",
        high=format_duration(high),
    )


def _level_histogram(levels: Sequence[Levels]) -> _Histogram | None:
    """Return the windows by RMS level without the silent ones, or None if all are silent."""
    rms = np.array([level.rms_dbfs for level in levels if not level.silent])
    if not len(rms):
        return None
    low = _LEVEL_BAR_DB * np.floor(max(rms.min(), SILENT_DBFS) / _LEVEL_BAR_DB)
    edges = np.arange(low, max(rms.max(), -_LEVEL_BAR_DB) + _LEVEL_BAR_DB, _LEVEL_BAR_DB)
    return _Histogram(
        name="Windows by RMS level",
        counts=np.histogram(rms, edges)[0],
        low=format_decibels(edges[0]),
        middle=f"median {format_decibels(float(np.median(rms)))}",
        high=f"{format_decibels(edges[-1])} dBFS",
    )


def _level_choices(shown: Sequence[PreviewedWindow]) -> Iterator[tuple[str, str, int]]:
    """Yield the value, text and number of windows of each level to filter by."""
    flags = Counter(flag for window in shown for flag in window.flags)
    for flag in sorted(flags):
        yield flag, flag, flags[flag]
    for low, high in _LEVEL_RANGES_DBFS:
        count = sum(low <= window.levels.rms_dbfs < high for window in shown)
        if not count:
            continue
        if low == -math.inf:
            text = f"below {format_decibels(high)} dBFS"
        elif high == math.inf:
            text = f"{format_decibels(low)} dBFS and above"
        else:
            text = f"{format_decibels(low)} to {format_decibels(high)} dBFS"
        yield f"{max(low, _FLOOR_DBFS):g} to {min(high, -_FLOOR_DBFS):g}", text, count
