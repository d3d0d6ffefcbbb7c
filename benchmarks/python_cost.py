"""What Python costs: processor time of `next()`, and of everything that holds the GIL.

    python benchmarks/python_cost.py FOLDER

1. The processor time of the consumer's thread in one ``next()``, when the delivery is ready: median
   over the batches of an epoch; for single examples the mean.
2. The processor time of an epoch outside the native calls that read, which is all that holds the
   GIL, of consumer and workers together, for each window; and its share of the native time. With
   workers, it includes what the system takes to pass the GIL from thread to thread. By Amdahl's
   law, no number of processors makes loading faster than by the inverse of ``share / (1 + share)``.

The best of the rounds counts: other programs only add to processor time.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from pathlib import Path
from typing import Any, Self

import corpus

import headrace
from headrace import _kernel
from headrace.concurrency._prefetcher import _Core


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
    with _ThreadTimes() as times:
        batches = iter(loader)
        next(batches)
        times.restart()
        windows = 0
        for batch in batches:
            windows += len(batch)
        python_s, native_s = times.stop()
    return python_s / windows * 1e6, native_s / windows * 1e6


class _ThreadTimes:
    """Processor time of the threads of a loader, inside and outside of native reads."""

    def __enter__(self) -> Self:
        self._of_thread: dict[int, list[float]] = {}
        self._read, self._run = _kernel.Reader.read, _Core.run_worker
        read, run = self._read, self._run

        def timed(*arguments: object) -> object:
            began = time.thread_time()
            try:
                return read(*arguments)  # type: ignore[arg-type]
            finally:
                ended = time.thread_time()
                one = self._of_thread.setdefault(threading.get_ident(), [0.0, 0.0])
                one[0] += ended - began
                one[1] = ended

        def counted(core: _Core, *arguments: Any) -> None:
            try:
                run(core, *arguments)
            finally:
                self._of_thread.setdefault(threading.get_ident(), [0.0, 0.0])[1] = (
                    time.thread_time()
                )

        _kernel.Reader.read = timed  # type: ignore[method-assign,assignment]
        _Core.run_worker = counted  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        _kernel.Reader.read = self._read  # type: ignore[method-assign]
        _Core.run_worker = self._run  # type: ignore[method-assign]

    def restart(self) -> None:
        """Count from here on."""
        self._consumer = time.thread_time()
        self._before = {thread: tuple(times) for thread, times in self._of_thread.items()}

    def stop(self) -> tuple[float, float]:
        """Return seconds outside and inside of native reads. The workers have ended."""
        native = python = 0.0
        here = threading.get_ident()
        self._of_thread.setdefault(here, [0.0, 0.0])[1] = time.thread_time()
        for thread, (in_native, total) in self._of_thread.items():
            native_before, before = self._before.get(thread, (0.0, 0.0))
            if thread == here:
                before = self._consumer
            native += in_native - native_before
            python += total - before - (in_native - native_before)
        return python, native


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the corpus; made if missing")
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
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
    cases = [(rate, n) for rate in (catalog[0].sample_rate, 16_000) for n in arguments.workers]
    for rate, workers in cases:
        windows = catalog.windows(rate, 5.0).shuffle(seed=0)
        with windows.loader(batch_size=arguments.batch_size, workers=workers) as loader:
            figures = [python_and_native_us(loader) for _ in range(arguments.rounds)]
        python_us, native_us = map(min, zip(*figures, strict=True))
        print(
            f"{catalog[0].sample_rate} to {rate} Hz, {workers} workers: {python_us:.1f} us of "
            f"Python and {native_us:.0f} us of native code a window of 5 s: "
            f"{python_us / native_us:.1%}"
        )


if __name__ == "__main__":
    main()
