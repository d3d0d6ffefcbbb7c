"""Draw the pictures of README and documentation, in light and dark, from figures of real runs.

    python docs/pictures/draw.py              # all of them
    python docs/pictures/draw.py compare      # one
    python docs/pictures/draw.py compare --results benchmarks/results/mine.json

What can be computed is computed here. What was measured is in `measured.json` beside this file,
which `measure.py` writes, and in `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from operator import truediv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

FOLDER: Final = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

from svg import SCHEMES, Drawing  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from svg import Scheme

RESULTS: Final = FOLDER.parents[1] / "benchmarks" / "results"
WINDOW_S: Final = 5  # of benchmarks/tasks.py
SHOWN: Final = 3  # other loaders in each panel: the fastest


def newest_comparison() -> Path:
    """Return the newest file that `benchmarks/compare.py` wrote; names begin with the date."""
    files = sorted(RESULTS.glob("*.json"), reverse=True)
    return next(file for file in files if "works" in json.loads(file.read_text("utf-8")))


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


def _compared(scheme: Scheme) -> Drawing:
    return compare(scheme, json.loads(newest_comparison().read_text("utf-8")))


PICTURES: Final[dict[str, Callable[[Scheme], Drawing]]] = {"compare": _compared}


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *PICTURES], help="default: all")
    parser.add_argument("--results", type=Path, help="of benchmarks/compare.py, for `compare`")
    options = parser.parse_args()
    if options.results:
        results = json.loads(options.results.read_text("utf-8"))
        PICTURES["compare"] = lambda scheme: compare(scheme, results)
    for name in options.names or PICTURES:
        for scheme in SCHEMES:
            file = FOLDER / f"{name}-{scheme}.svg"
            file.write_text(PICTURES[name](scheme).svg(), "utf-8")
            print(file)


if __name__ == "__main__":
    main()
