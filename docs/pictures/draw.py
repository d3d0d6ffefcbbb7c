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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import charts
import diagrams
from svg import SCHEMES

FOLDER: Final = Path(__file__).parent
if TYPE_CHECKING:
    from collections.abc import Callable

    from svg import Drawing, Scheme

RESULTS: Final = FOLDER.parents[1] / "benchmarks" / "results"
MEASURED: Final = json.loads((FOLDER / "measured.json").read_text("utf-8"))


def newest_comparison() -> dict[str, Any]:
    """Return the newest results of `benchmarks/compare.py`; names of files begin with the date."""
    files = sorted(RESULTS.glob("*.json"), reverse=True)
    return next(
        found for file in files if "works" in (found := json.loads(file.read_text("utf-8")))
    )


PICTURES: Final[dict[str, Callable[[Scheme], Drawing]]] = {
    "compare": lambda scheme: charts.compare(scheme, newest_comparison()),
    "window": diagrams.window,
    "shuffles": diagrams.shuffles,
    "anchors": lambda scheme: diagrams.anchors(scheme, MEASURED["anchors"]),
    "memory": lambda scheme: charts.memory(scheme, MEASURED["memory"]),
    "workers": lambda scheme: charts.workers(scheme, MEASURED["workers"]),
}


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *PICTURES], help="default: all")
    parser.add_argument("--results", type=Path, help="of benchmarks/compare.py, for `compare`")
    options = parser.parse_args()
    if options.results:
        results = json.loads(options.results.read_text("utf-8"))
        PICTURES["compare"] = lambda scheme: charts.compare(scheme, results)
    for name in options.names or PICTURES:
        for scheme in SCHEMES:
            file = FOLDER / f"{name}-{scheme}.svg"
            file.write_text(PICTURES[name](scheme).svg(), "utf-8")
            print(file)


if __name__ == "__main__":
    main()
