"""What Python costs: processor time of `next()`, and of everything that holds the GIL.

    python benchmarks/python_cost.py FOLDER

1. The processor time of the consumer's thread in one ``next()``, when the delivery is ready: median
   over the batches of an epoch; for single examples the mean.
2. With `workers=0`, the processor time of an epoch outside the native calls that read, which is
   all that holds the GIL in consumer and worker together, for each window; and its share of the
   native time. By Amdahl's law, no number of processors makes loading faster than by the inverse of
   ``share / (1 + share)``.

The best of the rounds counts: other programs only add to processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import corpus

import headrace
from headrace import _kernel


def next_batch_us(loader: headrace.Loader) -> float:
    """Return the median processor time of a ``next()`` that need not wait, in microseconds."""
    batches = iter(loader)
    next(batches)
    costs = []
    for _ in range(len(loader) - 1):
        while not loader.ready:
            time.sleep(1e-4)
        began = time.thread_time_ns()
        next(batches)
        costs.append(time.thread_time_ns() - began)
    return statistics.median(costs) / 1e3


def next_example_us(loader: headrace.Loader) -> float:
    """Return the mean processor time of the consumer for an example, in microseconds."""
    examples = iter(loader)
    next(examples)
    began = time.thread_time_ns()
    for _ in examples:
        pass
    return (time.thread_time_ns() - began) / (len(loader) - 1) / 1e3


def python_and_native_us(loader: headrace.Loader) -> tuple[float, float]:
    """Return the processor time of a window under the GIL, and in native reads: microseconds."""
    native = _NativeTime()
    batches = iter(loader)
    next(batches)
    native.seconds, began, windows = 0.0, time.thread_time(), 0
    with native:
        for batch in batches:
            windows += len(batch)
    total = time.thread_time() - began
    return (total - native.seconds) / windows * 1e6, native.seconds / windows * 1e6


class _NativeTime:
    """The processor time of native reads within a ``with`` block."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._read = read = _kernel.Reader.read

        def timed(*arguments: object) -> object:
            began = time.thread_time()
            try:
                return read(*arguments)  # type: ignore[arg-type]
            finally:
                self.seconds += time.thread_time() - began

        _kernel.Reader.read = timed  # type: ignore[method-assign,assignment]

    def __exit__(self, *_: object) -> None:
        _kernel.Reader.read = self._read  # type: ignore[method-assign]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the corpus; made if missing")
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    folder = corpus.make(arguments.folder, files=arguments.files, seconds=arguments.seconds)
    catalog = headrace.scan(folder)
    print(corpus.machine())
    short = catalog.windows(16_000, 1.0).shuffle(seed=0)
    with short.loader(batch_size=32, workers=2) as loader:
        batch_us = min(next_batch_us(loader) for _ in range(arguments.rounds))
    with short.loader(workers=2) as loader:
        example_us = min(next_example_us(loader) for _ in range(arguments.rounds))
    print(f"next(): {batch_us:.1f} us a batch of 32, {example_us:.2f} us an example")
    for rate in (catalog[0].sample_rate, 16_000):
        windows = catalog.windows(rate, 5.0).shuffle(seed=0)
        with windows.loader(batch_size=arguments.batch_size, workers=0) as loader:
            figures = [python_and_native_us(loader) for _ in range(arguments.rounds)]
        python_us, native_us = map(min, zip(*figures, strict=True))
        print(
            f"{catalog[0].sample_rate} to {rate} Hz: {python_us:.1f} us of Python and "
            f"{native_us:.0f} us of native code a window of 5 s: {python_us / native_us:.1%}"
        )


if __name__ == "__main__":
    main()
