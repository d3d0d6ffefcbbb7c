"""Law 5, measured: how long a model waits that is slightly slower than the loader.

    python benchmarks/wait.py FOLDER

The stand-in model sleeps 1.3 times as long as the loader takes for a batch, which is measured in
the same round. The result is the share of the run, after the first batch, that the model waited.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import corpus

import headrace


def seconds_per_batch(loader: headrace.Loader) -> float:
    """Return the loader's time for a batch, without a model."""
    began = time.perf_counter()
    for _ in loader:
        pass
    return (time.perf_counter() - began) / len(loader)


def wait_share(loader: headrace.Loader, model_s: float) -> float:
    """Return the share of an epoch, after its first batch, that the model waited."""
    deliveries = iter(loader)
    next(deliveries)
    waited = 0.0
    began = time.perf_counter()
    while True:
        time.sleep(model_s)
        asked = time.perf_counter()
        try:
            next(deliveries)
        except StopIteration:
            return waited / (time.perf_counter() - began)
        waited += time.perf_counter() - asked


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the corpus; made if missing")
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--prefetch", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slower", type=float, default=1.3)
    arguments = parser.parse_args()
    folder = corpus.make(arguments.folder, files=arguments.files, seconds=arguments.seconds)
    windows = headrace.scan(folder).windows(sample_rate=16_000, window_s=5.0, hop_s=1.25)
    loader = windows.shuffle(seed=0).loader(
        batch_size=arguments.batch_size, prefetch=arguments.prefetch, workers=arguments.workers
    )
    print(corpus.machine())
    print(loader)
    seconds_per_batch(loader)  # fills the page cache
    shares = []
    for _ in range(arguments.rounds):
        batch_s = seconds_per_batch(loader)
        share = wait_share(loader, batch_s * arguments.slower)
        shares.append(share)
        print(f"  loader {batch_s * 1e3:6.2f} ms a batch, model waited {share:.3%} of the run")
    print(f"median of {arguments.rounds}: {statistics.median(shares):.3%}")


if __name__ == "__main__":
    main()
