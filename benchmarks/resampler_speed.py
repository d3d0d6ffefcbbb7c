"""How fast the resamplers are: one thread, interleaved rounds, medians of its processor time.

    python benchmarks/resampler_speed.py [--rounds 15] [--seconds 5] [--json FILE]

Every round calls each resampler once on the same noise, in an order that turns from round to round,
so that a slow moment of the machine falls on all. headrace does what its reader does: the recording
is copied into scratch between zeros, and scratch and output are used again. The others allocate
their outputs, since they offer no other way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from resamplers import PAIRS, RESAMPLERS, machine

from headrace import _kernel
from headrace.resample import resampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def in_scratch(pair: tuple[int, int], frames: int, instruction_set: str) -> Callable[..., object]:
    """Return headrace's call for recordings of so many frames."""
    filtered = resampler(*pair)
    y = np.empty(filtered.output_frames(frames), np.float32)
    begin, end = filtered.span(0, len(y))
    scratch = np.zeros(max(end, frames) - begin, np.float32)

    def call(x: NDArray[np.float32], _rate_in: int, _rate_out: int) -> None:
        scratch[-begin : frames - begin] = x
        filtered(scratch, begin, y, 0, instruction_set=instruction_set)

    return call


def rounds(
    calls: dict[str, Callable[..., object]],
    x: NDArray[np.float32],
    pair: tuple[int, int],
    count: int,
) -> dict[str, list[float]]:
    """Return each resampler's processor seconds in each round."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for call in calls.values():  # tables, plans and caches are made once
        call(x, *pair)
    for number in range(count):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            begin = time.thread_time()
            calls[name](x, *pair)
            took[name].append(time.thread_time() - begin)
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the recording")
    parser.add_argument("--json", type=Path, help="write every round's figure to this file")
    arguments = parser.parse_args()
    print(machine() + "\n")

    sets = {f"headrace {name}": name for name in _kernel.instruction_sets()[1:]}
    others = [name for name in [*RESAMPLERS, *sets] if name != "headrace"]
    print("headrace: times real time on one thread. The others: how many times longer they took.\n")
    print("| Hz | headrace | " + " | ".join(others) + " |")
    print("|---" * (len(others) + 2) + "|")
    raw = {}
    for pair in PAIRS:
        frames = round(arguments.seconds * pair[0])
        x = np.random.default_rng(0).uniform(-0.5, 0.5, frames).astype(np.float32)
        calls: dict[str, Callable[..., object]] = {**RESAMPLERS}
        for name, instruction_set in {"headrace": "", **sets}.items():
            calls[name] = in_scratch(pair, frames, instruction_set)
        took = rounds(calls, x, pair, arguments.rounds)
        raw[f"{pair[0]} -> {pair[1]}"] = took
        speed = arguments.seconds / statistics.median(took["headrace"])
        ratios = [
            statistics.median(b / a for a, b in zip(took["headrace"], took[name], strict=True))
            for name in others
        ]
        figures = [f"{speed:,.0f}", *(f"{ratio:.1f}" for ratio in ratios)]
        print(f"| {pair[0]} → {pair[1]} | " + " | ".join(figures) + " |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "seconds": raw}, indent=1))


if __name__ == "__main__":
    main()
