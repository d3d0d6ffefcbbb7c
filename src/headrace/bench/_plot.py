"""`plot`: write the charts of a sweep as an HTML page, or as a PNG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace._html import render
from headrace._validation import check_output_file
from headrace.bench._chart import HEIGHT, WIDTH, charts, ms_per_window
from headrace.errors import HeadraceError

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from headrace.bench._chart import Chart
    from headrace.bench._worker_sweep import SweepResult

__all__ = ["SUFFIXES", "check_plot_file", "plot", "sweep_page"]

SUFFIXES: Final = (".html", ".png")

_INK, _ACCENT, _GRID = "#55625f", "#0b6b66", "#dfe4e2"  # the page's colours in light mode
_LINE_STYLES: Final = {"grid": (_GRID, 1), "median": (_ACCENT, 2), "range": (_ACCENT, 1)}
"""Colour and width of each kind of line."""


def check_plot_file(file: str | os.PathLike[str]) -> None:
    """Check before a measurement that its plot can be written to `file`.

    Raises
    ------
    ValueError
        The name ends in none of `SUFFIXES`.
    HeadraceError
        The file is a PNG, and matplotlib is not installed.
    OSError
        `file` is a folder, its folder does not exist, or writing is not permitted.
    """
    check_output_file(file, endings=SUFFIXES)
    if Path(file).suffix.lower() == ".png":
        _import_figure()


def plot(result: SweepResult, file: str | os.PathLike[str]) -> None:
    """Plot a sweep: a self-contained HTML page, or a PNG.

    Parameters
    ----------
    result : SweepResult
        What `sweep` returned.
    file : str or path
        Ends in ``.html``, or in ``.png``, which needs matplotlib.

    Raises
    ------
    ValueError, HeadraceError, OSError
        As `check_plot_file`.
    OSError
        The file cannot be written.
    """
    check_plot_file(file)
    if Path(file).suffix.lower() == ".html":
        Path(file).write_text(sweep_page(result), "utf-8")
    else:
        _write_png(result, file)


def sweep_page(result: SweepResult) -> str:
    """Return the HTML page of a sweep."""
    return render(
        "sweep/page.html",
        result=result,
        charts=charts(result),
        parts=[ms_per_window(row) for row in result.rows],
        width=WIDTH,
        height=HEIGHT,
    )


def _write_png(result: SweepResult, file: str | os.PathLike[str]) -> None:
    """Write the charts side by side."""
    figure = _import_figure()(figsize=(13, 3.7), layout="constrained")
    three = charts(result)
    for axes, chart in zip(figure.subplots(1, len(three)), three, strict=True):
        _draw_chart(axes, chart)
    figure.suptitle(f"{result.reason} {result.verdict}", fontsize="small", wrap=True)
    figure.savefig(file, dpi=120)


def _draw_chart(axes: Axes, chart: Chart) -> None:
    """Draw the shapes of a chart, with the chart's own coordinates."""
    axes.set(title=chart.title, xlim=(0, WIDTH), ylim=(HEIGHT, 0), aspect="equal", anchor="N")
    axes.set_axis_off()
    for line in chart.lines:
        colour, width = _LINE_STYLES[line.style]
        axes.plot(*zip(*line.points, strict=True), color=colour, linewidth=width, zorder=1)
    for bar in chart.bars:
        axes.bar(bar.x, bar.height, bar.width, bar.y, align="edge", color=bar.colour)
    for dot in chart.dots:
        fill = "white" if dot.recommended else _ACCENT
        axes.plot(dot.x, dot.y, "o", color=_ACCENT, markerfacecolor=fill, markeredgewidth=2)
    for label in chart.labels:
        horizontal = "right" if label.anchor == "end" else "center"
        axes.text(label.x, label.y, label.text, ha=horizontal, color=_INK, fontsize="small")
    for name, colour in chart.legend:
        axes.bar(0, 0, color=colour, label=name)
    if chart.legend:
        axes.legend(fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, 0))


def _import_figure() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HeadraceError(
            "a .png needs matplotlib, which is not installed: run pip install 'headrace[plot]', "
            "or write a .html, which does not need it."
        ) from error
    return Figure
