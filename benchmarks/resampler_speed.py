"""The speed of resamplers: one thread, interleaved rounds, medians of processor time.

    python benchmarks/resampler_speed.py [--rounds 15] [--seconds 5] [--json FILE]

Every round calls each resampler on the same noise, fast ones up to ten times in a row. The order
rotates from round to round, so that a slow moment of the machine affects all of them. headrace gets
its recording with zeros on both sides, as its reader provides it, and reuses its output. The others
allocate their outputs, since they offer no other way. Every round also measures the peak of fused
multiply-adds, by a loop that needs a C compiler; headrace's share of it counts the coefficients
that are not zero.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from resampler_peak import peak
from resamplers import PAIRS, RESAMPLERS, machine

from headrace import _kernel
from headrace.dsp import resampler, stages

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


TURN_S = 0.01
"""A turn of a fast resampler: the first of its calls finds the caches full of others' data."""


def in_scratch(
    pair: tuple[int, int], x: NDArray[np.float32], instruction_set: str
) -> Callable[..., object]:
    """Return a call of headrace's resampler on this recording that reuses its memory."""
    filtered = resampler(*pair)
    y = np.empty(filtered.output_frames(len(x)), np.float32)
    begin, end = filtered.span(0, len(y))
    scratch = np.zeros(max(end, len(x)) - begin, np.float32)
    scratch[-begin : len(x) - begin] = x

    def call(_x: NDArray[np.float32], _rate_in: int, _rate_out: int) -> None:
        filtered(scratch, begin, y, 0, instruction_set=instruction_set)

    return call


def multiplications(pair: tuple[int, int]) -> float:
    """Return the number of coefficients other than zero that one second of the recording needs."""
    total, rate = 0.0, float(pair[0])
    for stage in stages(*pair):
        rate = rate * stage.up / stage.down
        total += (stage.taps or 2 * stage.half_width) * rate
    return total


def rounds(
    calls: dict[str, Callable[..., object]],
    x: NDArray[np.float32],
    pair: tuple[int, int],
    count: int,
) -> dict[str, list[float]]:
    """Return each resampler's processor seconds in each round."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    again = {}
    for name, call in calls.items():  # tables, plans and caches are made once
        call(x, *pair)
        begin = time.thread_time()
        call(x, *pair)
        again[name] = max(1, min(10, round(TURN_S / (time.thread_time() - begin))))
    for number in range(count):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            begin = time.thread_time()
            for _ in range(again[name]):
                calls[name](x, *pair)
            took[name].append((time.thread_time() - begin) / again[name])
        took.setdefault("peak", []).append(peak())
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
    print("| Hz | stages | headrace | share of the peak | " + " | ".join(others) + " |")
    print("|---" * (len(others) + 4) + "|")
    raw = {}
    for pair in PAIRS:
        frames = round(arguments.seconds * pair[0])
        x = np.random.default_rng(0).uniform(-0.5, 0.5, frames).astype(np.float32)
        calls: dict[str, Callable[..., object]] = {**RESAMPLERS}
        for name, instruction_set in {"headrace": "", **sets}.items():
            calls[name] = in_scratch(pair, x, instruction_set)
        took = rounds(calls, x, pair, arguments.rounds)
        raw[f"{pair[0]} -> {pair[1]}"] = took
        speed = arguments.seconds / statistics.median(took["headrace"])
        ratios = [
            statistics.median(b / a for a, b in zip(took["headrace"], took[name], strict=True))
            for name in others
        ]
        shares = [
            multiplications(pair) * arguments.seconds / seconds / most if most else float("nan")
            for seconds, most in zip(took["headrace"], took["peak"], strict=True)
        ]
        chain = ", ".join(f"{stage.up}/{stage.down}" for stage in stages(*pair))
        figures = [chain, f"{speed:,.0f}", f"{statistics.median(shares):.0%}"]
        figures += [f"{ratio:.1f}" for ratio in ratios]
        print(f"| {pair[0]} → {pair[1]} | " + " | ".join(figures) + " |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine(), "seconds": raw}, indent=1))


if __name__ == "__main__":
    main()
