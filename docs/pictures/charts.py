"""Charts of figures that were measured."""

from __future__ import annotations

import statistics
from operator import truediv
from typing import TYPE_CHECKING, Any, Final

from svg import Drawing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from svg import Scheme

WINDOW_S: Final = 5  # of benchmarks/tasks.py
SHOWN: Final = 3  # other loaders in each panel: the fastest


def compare(scheme: Scheme, results: dict[str, Any]) -> Drawing:
    """Windows per second of headrace and the fastest other loaders, for each kind of recording."""
    tasks = {
        task: entries
        for task, entries in results["works"].items()
        if not task.startswith("one long ") and entries.get("headrace", {}).get("windows")
    }
    columns, panel, row, left = 2, 440, 18, 152
    height = 34 + (1 + SHOWN) * row + 8
    lines = -(-len(tasks) // columns)
    others = {
        name
        for entries in tasks.values()
        for name, entry in entries.items()
        if entry.get("windows") and not name.startswith("headrace")
    }
    drawing = Drawing(
        columns * panel,
        lines * height + 40,
        scheme,
        f"Windows per second: headrace and the {SHOWN} fastest of {len(others)} other loaders",
    )
    for place, (task, entries) in enumerate(tasks.items()):
        x, y = place % columns * panel, place // columns * height
        medians = {
            name: statistics.median(map(truediv, entry["windows"], entry["seconds"]))
            for name, entry in entries.items()
            if entry.get("windows")
        }
        fastest = sorted(set(medians) & others, key=medians.__getitem__, reverse=True)[:SHOWN]
        drawing.text(x + 8, y + 22, task, bold=True)
        if fastest:
            lead = medians["headrace"] / medians[fastest[0]]
            drawing.text(
                x + panel - 24, y + 22, f"{lead:.2f} x",
                anchor="end", bold=True, colour="accent" if lead >= 1 else "warm",
            )  # fmt: skip
        scale = (panel - left - 80) / max(medians[name] for name in ["headrace", *fastest])
        for at, name in enumerate(sorted(["headrace", *fastest], key=lambda one: -medians[one])):
            middle = y + 34 + row * at
            ours = name == "headrace"
            length = medians[name] * scale
            drawing.text(
                x + left - 8, middle + 12, name, size=12, anchor="end", bold=ours,
                colour="ink" if ours else "faint",
            )  # fmt: skip
            drawing.box(x + left, middle + 2, length, row - 6, fill="accent" if ours else "quiet")
            drawing.text(
                x + left + length + 6, middle + 12, f"{medians[name]:,.0f}", size=12, bold=ours,
                colour="ink" if ours else "faint",
            )  # fmt: skip
    machine = results["machine"].partition(";")[0]
    what = (
        f"Windows of {WINDOW_S} s per second, float32 at the model's rate; more is better. "
        f"Shown are the {SHOWN} fastest of {len(others)} other loaders."
    )
    where = (
        f"The ratio is to the fastest other. {results['workers']} workers on {machine}; medians of "
        f"{results['rounds']} interleaved rounds, {results['date']}."
    )
    for at, sentence in enumerate([what, where]):
        drawing.text(8, lines * height + 14 + 17 * at, sentence, size=12, colour="faint")
    return drawing


def memory(scheme: Scheme, found: dict[str, Any]) -> Drawing:
    """Memory over time, with a slow consumer: of a pool that runs ahead, and of headrace."""
    drawing = Drawing(
        720, 330, scheme, "Memory over time: a pool without a bound grows, headrace does not"
    )
    left, right, top, bottom = 56, 590, 40, 262
    seconds = max(found[way][-1][0] for way in ("pool", "loader"))
    most = max(grown for _, grown in found["pool"])

    def place(at: float, grown: float) -> tuple[float, float]:
        return left + at / seconds * (right - left), bottom - grown / most * (bottom - top)

    for mark in range(0, int(most) + 1, 100):
        _, y = place(0, mark)
        drawing.line([(left, y), (right, y)], colour="grid")
        drawing.text(left - 8, y + 4, str(mark), colour="faint", size=12, anchor="end")
    drawing.text(left - 8, 18, "MiB", colour="faint", size=12, anchor="end")
    for second in range(int(seconds) + 1):
        x, _ = place(second, 0)
        drawing.text(x, bottom + 20, f"{second} s", colour="faint", size=12, anchor="middle")
    _, y = place(0, found["bound"])
    drawing.line([(left, y), (right, y)], colour="accent", dashed=True)
    drawing.text(right + 8, y + 4, "memory_bound", colour="accent", size=12)
    for way, colour in (("pool", "warm"), ("loader", "accent")):
        points = [place(at, max(0, grown)) for at, grown in found[way]]
        drawing.line(points, colour=colour, width=2.5)
        name = "a pool that runs ahead" if way == "pool" else "headrace"
        x, y = points[len(points) * (1 if way == "pool" else 2) // 3]
        drawing.text(x - 14, y - 8, name, colour=colour, bold=True, anchor="end")
    drawing.text(
        8, 304,
        f"What the process gained while a consumer took {1000 * found['model_s']:.0f} ms for each "
        f"batch of 16, of {found['windows']:,} windows.",
        colour="faint", size=12,
    )  # fmt: skip
    drawing.text(8, 321, _measured(found), colour="faint", size=12)
    return drawing


def workers(scheme: Scheme, found: dict[str, Any]) -> Drawing:
    """Windows per second of each number of workers, with the range of the rounds."""
    rows = found["rows"]
    left, row, bar = 110, 30, 420
    drawing = Drawing(
        640, 34 + row * len(rows) + 30, scheme, "Windows per second for each number of workers"
    )
    most = max(max(each["windows_per_s"]) for each in rows)
    drawing.text(left, 18, "windows per second, median and range of the rounds", size=12)
    for at, each in enumerate(rows):
        y = 34 + row * at
        chosen = each["workers"] == found["recommended"]
        speeds = [speed / most * bar for speed in each["windows_per_s"]]
        _bar_with_range(drawing, left, y, speeds, "accent" if chosen else "quiet")
        count = each["workers"]
        name = "no threads" if count == 0 else f"{count} worker{'s' if count > 1 else ''}"
        drawing.text(left - 10, y + 14, name, size=12, anchor="end", bold=chosen)
        drawing.text(
            left + max(speeds) + 10, y + 14,
            f"{statistics.median(each['windows_per_s']):,.0f}", size=12, bold=chosen,
        )  # fmt: skip
    drawing.text(8, drawing.height - 8, _measured(found), colour="faint", size=12)
    return drawing


def _bar_with_range(
    drawing: Drawing, x: float, y: float, lengths: Sequence[float], fill: str
) -> None:
    """Draw the median as a bar, and a line from the least to the most."""
    drawing.box(x, y, statistics.median(lengths), 20, fill=fill)
    drawing.line([(x + min(lengths), y + 10), (x + max(lengths), y + 10)], colour="ink", width=1.5)
    for end in (min(lengths), max(lengths)):
        drawing.line([(x + end, y + 6), (x + end, y + 14)], colour="ink", width=1.5)


def _measured(found: dict[str, Any]) -> str:
    rounds = f", {found['rounds']} rounds" if "rounds" in found else ""
    note = f"; {found['note']}" if found["note"] else ""
    return f"{found['machine']}, {found['date']}{rounds}{note}."
