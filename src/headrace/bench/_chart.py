"""The charts of a sweep, as shapes that SVG and matplotlib draw alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from headrace._formatting import format_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headrace.bench._worker_sweep import SweepResult, WorkerResult
    from headrace.observe import Stats

__all__ = ["HEIGHT", "WIDTH", "Bar", "Chart", "Dot", "Label", "Line", "charts", "ms_per_window"]

WIDTH, HEIGHT = 520, 250
"""The size of a chart; x grows to the right and y downwards."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 44  # margins around the plotted area
_BAR_SHARE: Final = 0.6  # of the distance between two bars

_COLOURS: Final = ("#d55e00", "#0072b2", "#009e73", "#8a8f8d", "#cc79a7", "#56b4e9")
"""The colours of `Stats.parts`, in order: from Okabe and Ito (2008), which colour-blind people can
tell apart, and a grey for the rest."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points `(x, y)`: of the grid, of the medians, or a range of rounds."""

    style: Literal["grid", "median", "range"]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Bar:
    """A filled rectangle; `x` and `y` are its top left corner, `title` its tooltip."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    title: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A marker, which is hollow for the recommended number of workers."""

    x: float
    y: float
    recommended: bool


@dataclass(frozen=True, slots=True)
class Label:
    """A text whose end or middle is at `x`, with its baseline at `y`."""

    x: float
    y: float
    anchor: Literal["end", "middle"]
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of `WIDTH` by `HEIGHT`; the shapes are drawn in the order of the attributes.

    Attributes
    ----------
    title : str
        The heading above the chart.
    description : str
        The figures in words, for screen readers.
    lines, bars, dots, labels : tuple
        The shapes.
    legend : tuple of (str, str)
        Name and colour of each kind of bar.
    """

    title: str
    description: str
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...] = ()
    dots: tuple[Dot, ...] = ()
    labels: tuple[Label, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()


def charts(result: SweepResult) -> tuple[Chart, Chart, Chart]:
    """Return the charts of a sweep: throughput, the consumer's wait, and the workers' time."""
    return (
        _line_chart(
            "Windows per second", result, lambda measured: measured.windows_per_s, "{:,.0f}"
        ),
        _line_chart(
            "Share of the run that the consumer waited",
            result,
            lambda measured: measured.wait_share,
            "{:.0%}",
            top=1.0,
        ),
        _bar_chart("Workers' time per window, milliseconds", result),
    )


def ms_per_window(row: WorkerResult) -> dict[str, float]:
    """Return the workers' milliseconds per window by `Stats.parts`, over all rounds."""
    windows = max(1, sum(run.windows for run in row.runs))
    return {
        name: 1e3 * sum(run.parts[name] for run in row.runs) / windows for name in row.runs[0].parts
    }


def _line_chart(
    title: str,
    result: SweepResult,
    value: Callable[[WorkerResult | Stats], float],
    number_format: str,
    *,
    top: float | None = None,
) -> Chart:
    """Plot a value against workers: the median of the rounds, and their range."""
    rows = result.rows
    rounds = [[value(run) for run in row.runs] for row in rows]
    medians = [value(row) for row in rows]
    top = _axis_top(max(map(max, rounds))) if top is None else top
    points = tuple((_x(i, len(rows)), _y(median, top)) for i, median in enumerate(medians))
    ranges = (
        Line("range", ((x, _y(min(values), top)), (x, _y(max(values), top))))
        for (x, _), values in zip(points, rounds, strict=True)
    )
    return Chart(
        title=title,
        description="; ".join(
            f"{format_count(row.workers, 'worker')}: {number_format.format(median)}"
            for row, median in zip(rows, medians, strict=True)
        ),
        lines=(*_grid(), Line("median", points), *ranges),
        dots=tuple(
            Dot(x, y, recommended=row.workers == result.recommended)
            for (x, y), row in zip(points, rows, strict=True)
        ),
        labels=tuple(_axis_labels(rows, top, number_format)),
    )


def _bar_chart(title: str, result: SweepResult) -> Chart:
    """Plot stacked bars of where the workers spend their time."""
    rows = result.rows
    parts = [ms_per_window(row) for row in rows]
    top = _axis_top(max(sum(part.values()) for part in parts))
    width = _BAR_SHARE * (WIDTH - _LEFT - _RIGHT) / len(rows)
    bars = []
    for i, part in enumerate(parts):
        below = 0.0
        for (name, ms), colour in zip(part.items(), _COLOURS, strict=True):
            y = _y(below + ms, top)
            left, height = _x(i, len(rows)) - width / 2, _y(below, top) - y
            bars.append(Bar(left, y, width, height, colour, f"{name}: {ms:.3g} ms"))
            below += ms
    return Chart(
        title=title,
        description="; ".join(
            f"{format_count(row.workers, 'worker')}: "
            + ", ".join(f"{name} {ms:.3g} ms" for name, ms in part.items() if ms)
            for row, part in zip(rows, parts, strict=True)
        ),
        lines=_grid(),
        bars=tuple(bars),
        labels=tuple(_axis_labels(rows, top, "{:.3g}")),
        legend=tuple(
            (name, colour)
            for name, colour in zip(parts[0], _COLOURS, strict=True)
            if any(part[name] for part in parts)
        ),
    )


def _grid() -> tuple[Line, ...]:
    """Return the lines at zero, half and the top of the y axis."""
    heights = [_y(share, 1.0) for share in (0.0, 0.5, 1.0)]
    return tuple(Line("grid", ((_LEFT, y), (WIDTH - _RIGHT, y))) for y in heights)


def _axis_labels(rows: Sequence[WorkerResult], top: float, number_format: str) -> Iterator[Label]:
    """Yield the numbers on both axes, and the name of the x axis."""
    for share in (0.0, 0.5, 1.0):
        yield Label(_LEFT - 8, _y(share, 1.0) + 4, "end", number_format.format(share * top))
    for i, row in enumerate(rows):
        yield Label(_x(i, len(rows)), HEIGHT - 24, "middle", f"{row.workers}")
    yield Label((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 5, "middle", "workers")


def _axis_top(value: float) -> float:
    """Return the least of 1, 2, 2.5, 5 and 10 times a power of ten that is at least `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    # A value just above a step, as by rounding, does not need the next one.
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= 0.999 * value)


def _x(index: int, count: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (index + 0.5) / count


def _y(value: float, top: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - value / top)
