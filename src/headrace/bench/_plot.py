"""`plot`: a `Sweep` → a picture of it: throughput and wait against workers, where the time goes."""

from __future__ import annotations

import math
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace._formatting import format_count
from headrace._validation import check_output_file
from headrace.errors import HeadraceError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from headrace.bench._sweep import Row, Sweep
    from headrace.observe import Stats

__all__ = ["ENDINGS", "check_plot_file", "page", "plot"]

ENDINGS: Final = (".html", ".png")

_COLOURS: Final = ("#d55e00", "#0072b2", "#009e73", "#8a8f8d", "#cc79a7")
"""Of the parts of `Stats.parts`, in order: Okabe and Ito's (2008), which the colour-blind tell
apart, and a grey for the rest."""

_WIDTH, _HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 44


def check_plot_file(file: str | os.PathLike[str]) -> None:
    """Check before a measurement that its plot can be written to `file`.

    Raises
    ------
    ValueError
        The name ends in none of `ENDINGS`.
    HeadraceError
        The file is a PNG, and matplotlib is not installed.
    OSError
        `file` is a folder, its folder does not exist, or writing is not permitted.
    """
    check_output_file(file, endings=ENDINGS)
    if Path(file).suffix.lower() == ".png":
        _matplotlib()


def plot(measured: Sweep, file: str | os.PathLike[str]) -> None:
    """Draw a sweep into an HTML page that needs nothing else, or a PNG.

    Parameters
    ----------
    measured : Sweep
        What `sweep` returned.
    file : str or path
        Where to; ends in ``.html``, or in ``.png``, for which matplotlib is needed.

    Raises
    ------
    ValueError, HeadraceError, OSError
        As `check_plot_file`.
    """
    check_plot_file(file)
    if Path(file).suffix.lower() == ".html":
        Path(file).write_text(page(measured), "utf-8")
    else:
        _png(measured, file)


def page(measured: Sweep) -> str:
    """Return the HTML page."""
    rows = measured.rows
    parts = _parts(measured)
    names = list(rows[0].runs[0].parts)
    legend = "".join(
        f'<li><span style="background:{colour}"></span>{escape(name)}</li>'
        for name, colour in zip(names, _COLOURS, strict=True)
        if any(one[name] for one in parts)
    )
    head = ("workers", "windows/s", "consumer waited", *(f"{name}, ms" for name in names))
    table = "".join(
        f"<tr><td>{row.workers}</td><td>{row.windows_per_s:,.0f}</td><td>{row.wait_share:.1%}</td>"
        + "".join(f"<td>{one[name]:.3g}</td>" for name in names)
        + "</tr>"
        for row, one in zip(rows, parts, strict=True)
    )
    sections = (
        ("Windows per second", _lines(measured, lambda one: one.windows_per_s, "{:,.0f}")),
        (
            "Share of the run that the consumer waited",
            _lines(measured, lambda one: one.wait_share, "{:.0%}", most=1.0),
        ),
        (
            "Where the time goes: workers' milliseconds per window",
            f"{_bars(measured, parts)}<ul>{legend}</ul>",
        ),
        (
            "Figures",
            '<div class="scroll" tabindex="0" role="region" aria-label="Figures"><table><thead><tr>'
            + "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
            + f"</tr></thead><tbody>{table}</tbody></table></div>",
        ),
    )
    style = (files("headrace") / "templates" / "sweep.css").read_text("utf-8")
    body = "".join(f"<section><h2>{name}</h2>{drawn}</section>" for name, drawn in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>headrace bench</title><style>{style}</style></head><body>"
        f"<h1>How many workers?</h1><p><strong>{escape(measured.reason)}</strong> "
        f"{escape(measured.verdict)}</p><main>{body}</main>"
        f"<footer>{escape(_about(measured))}</footer></body></html>\n"
    )


def _about(measured: Sweep) -> str:
    rounds = len(measured.rows[0].runs)
    return (
        f"{format_count(measured.windows, 'window')} of {measured.window_s:g} s at "
        f"{measured.sample_rate:,} Hz, in batches of {measured.batch_size}; "
        f"{format_count(measured.processors, 'processor')}. Medians of {format_count(rounds, 'round')}; "
        "lines up and down lead to the least and the most."
    )


def _parts(measured: Sweep) -> list[dict[str, float]]:
    """Return milliseconds per window of each part, for each number of workers."""
    return [
        {
            name: 1e3
            * sum(run.parts[name] for run in row.runs)
            / max(1, sum(run.windows for run in row.runs))
            for name in row.runs[0].parts
        }
        for row in measured.rows
    ]


def _nice(most: float) -> float:
    """Return the least of 1, 2, 2.5, 5 and 10 times a power of ten that holds `most`."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= 0.999 * most)


def _x(place: int, count: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (place + 0.5) / count


def _y(value: float, most: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / most)


def _frame(rows: Sequence[Row], most: float, form: str) -> Iterator[str]:
    """Yield the lines and texts that all charts have."""
    for share in (0.0, 0.5, 1.0):
        y = _y(share * most, most)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield (
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{form.format(share * most)}</text>"
        )
    for place, row in enumerate(rows):
        x = _x(place, len(rows))
        yield f'<text x="{x:.1f}" y="{_HEIGHT - 24}" text-anchor="middle">{row.workers}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">workers</text>'


def _svg(told: str, parts: Iterator[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(told)}">'
        f"{''.join(parts)}</svg>"
    )


def _lines(
    measured: Sweep, value: Callable[[Row | Stats], float], form: str, most: float | None = None
) -> str:
    """Draw a value of rows against workers, and from the least to the most of their runs."""
    rows = measured.rows
    spans = [sorted(value(run) for run in row.runs) for row in rows]
    middles = [value(row) for row in rows]
    top = _nice(max(span[-1] for span in spans)) if most is None else most

    def parts() -> Iterator[str]:
        yield from _frame(rows, top, form)
        at = [(_x(i, len(rows)), _y(middle, top)) for i, middle in enumerate(middles)]
        yield f'<path class="line" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in at)}"/>'
        for (x, y), span, row in zip(at, spans, rows, strict=True):
            low, high = _y(span[0], top), _y(span[-1], top)
            yield f'<line class="span" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
            kind = "dot best" if row.workers == measured.recommended else "dot"
            yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'

    told = "; ".join(
        f"{row.workers} workers: {form.format(middle)}"
        for row, middle in zip(rows, middles, strict=True)
    )
    return _svg(told, parts())


def _bars(measured: Sweep, parts: Sequence[dict[str, float]]) -> str:
    rows = measured.rows
    top = _nice(max(sum(one.values()) for one in parts))

    def drawn() -> Iterator[str]:
        yield from _frame(rows, top, "{:.3g}")
        width = 0.6 * (_WIDTH - _LEFT - _RIGHT) / len(rows)
        for place, one in enumerate(parts):
            below = 0.0
            for (name, value), colour in zip(one.items(), _COLOURS, strict=True):
                y, under = _y(below + value, top), _y(below, top)
                below += value
                yield (
                    f'<rect x="{_x(place, len(rows)) - width / 2:.1f}" y="{y:.1f}" '
                    f'width="{width:.1f}" height="{under - y:.1f}" fill="{colour}">'
                    f"<title>{escape(name)}: {value:.3g} ms</title></rect>"
                )

    told = "; ".join(
        f"{row.workers} workers: " + ", ".join(f"{n} {v:.3g} ms" for n, v in one.items() if v)
        for row, one in zip(rows, parts, strict=True)
    )
    return _svg(told, drawn())


def _matplotlib() -> Any:  # noqa: ANN401  it has no types where it is not installed
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HeadraceError(
            "a .png is drawn by matplotlib, which is not installed: pip install 'headrace[plot]', "
            "or write a .html, which needs nothing."
        ) from error
    return Figure


def _png(measured: Sweep, file: str | os.PathLike[str]) -> None:
    rows = measured.rows
    figure = _matplotlib()(figsize=(13, 4.2), layout="constrained")
    speed, wait, where = figure.subplots(1, 3)
    places = range(len(rows))
    for axes, name, attribute in (
        (speed, "windows per second", "windows_per_s"),
        (wait, "share of the run that the consumer waited", "wait_share"),
    ):
        spans = [sorted(getattr(run, attribute) for run in row.runs) for row in rows]
        axes.vlines(places, [s[0] for s in spans], [s[-1] for s in spans], color="#0b6b66")
        axes.plot(places, [getattr(row, attribute) for row in rows], "o-", color="#0b6b66")
        axes.set_title(name)
        axes.set_ylim(bottom=0)
    wait.set_ylim(0, 1.05)
    parts = _parts(measured)
    below = [0.0] * len(rows)
    for name, colour in zip(parts[0], _COLOURS, strict=True):
        values = [one[name] for one in parts]
        if any(values):
            where.bar(places, values, bottom=below, color=colour, label=name, width=0.6)
        below = [a + b for a, b in zip(below, values, strict=True)]
    where.set_title("workers' milliseconds per window")
    where.legend(fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    for axes in (speed, wait, where):
        axes.set_xticks(places, [f"{row.workers}" for row in rows])
        axes.set_xlabel("workers")
    figure.suptitle(f"{measured.reason} {measured.verdict}", fontsize="small", wrap=True)
    figure.savefig(file, dpi=120)
