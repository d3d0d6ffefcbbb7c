"""The cost of observing a loader: a trace and the live view, on and off in pairs.

    python benchmarks/watching.py FOLDER

Each pair is one run with and one run without; which comes first alternates. The results are the
medians of the ratios of processor time, which other programs affect little, and of wall time.
Writing the trace is included. Run it in a terminal, where the live view is drawn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import corpus

import headrace


def seconds(
    loader: headrace.Loader, watch: AbstractContextManager[None], batches: int
) -> tuple[float, float]:
    """Return the processor time and the wall time for some batches, in seconds."""
    processor, clock = time.process_time(), time.perf_counter()
    with watch:
        for _ in loader.steps(batches):
            pass
    return time.process_time() - processor, time.perf_counter() - clock


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the corpus; made if missing")
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--batches", type=int, default=200)
    arguments = parser.parse_args()
    folder = corpus.make(arguments.folder, files=arguments.files, seconds=arguments.seconds)
    windows = headrace.scan(folder).windows(sample_rate=16_000, window_s=5.0).shuffle(seed=0)
    loader = windows.loader(batch_size=32, workers=arguments.workers)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "trace.json"
        seconds(loader, loader.live(show=True), arguments.batches)  # imports, page cache
        for name in ("trace", "live"):
            ratios: list[tuple[float, float]] = []
            for pair in range(arguments.pairs):
                watch = loader.trace(file) if name == "trace" else loader.live(show=True)
                turns = [(True, watch), (False, nullcontext())]
                spent = {
                    on: seconds(loader, how, arguments.batches)
                    for on, how in (turns if pair % 2 else reversed(turns))
                }
                ratios.append((spent[True][0] / spent[False][0], spent[True][1] / spent[False][1]))
            processor, clock = (statistics.median(column) for column in zip(*ratios, strict=True))
            print(f"{name}: {processor - 1:+.2%} processor, {clock - 1:+.2%} clock")


if __name__ == "__main__":
    main()
