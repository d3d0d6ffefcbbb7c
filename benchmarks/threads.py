"""The speed-up by threads: windows per second of one loader with and without workers.

    python benchmarks/threads.py FOLDER

Rounds are interleaved (0, 1, 2, ... workers, then again). The first round only fills the page
cache. Ratios are taken within a round. The consumer does nothing.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import corpus

import headrace


def run(windows: headrace.Windows, workers: int, batch_size: int | None) -> float:
    """Return windows per second of one epoch."""
    loader = windows.loader(workers=workers, batch_size=batch_size)
    began = time.perf_counter()
    for _ in loader:
        pass
    return len(windows) / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the corpus; made if missing")
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4, 16])
    arguments = parser.parse_args()
    folder = corpus.make(arguments.folder, files=arguments.files, seconds=arguments.seconds)
    windows = headrace.scan(folder).windows(sample_rate=16_000, window_s=5.0)
    print(corpus.machine())
    print(windows)
    for batch_size in (None, 64):
        for order, chosen in (("in order", windows), ("at random", windows.shuffle(seed=0))):
            rounds = [
                [run(chosen, workers, batch_size) for workers in arguments.workers]
                for _ in range(arguments.rounds + 1)
            ][1:]
            what = "examples" if batch_size is None else f"batches of {batch_size}"
            print(f"\n{what}, {order}: windows/s (median), times real time, ratio to the first")
            for i, workers in enumerate(arguments.workers):
                speed = statistics.median(one[i] for one in rounds)
                ratio = statistics.median(one[i] / one[0] for one in rounds)
                print(f"  workers={workers:<3} {speed:8,.0f}  {speed * 5:8,.0f} x   {ratio:5.2f}")


if __name__ == "__main__":
    main()
