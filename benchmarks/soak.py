"""Soak test: memory, threads and open files stay constant over millions of windows.

Loads some million windows of a small archive in random order, and prints at intervals what the
process uses. Exits with code 1 if the resident memory grows by more than 1 % over the last half of
the run.

    python benchmarks/soak.py --windows 2000000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

import headrace

RATE = 16_000
WINDOW_S = 0.05


def archive(folder: Path) -> None:
    """Write forty recordings of up to twenty seconds, of several formats and sample rates."""
    rng = np.random.default_rng(0)
    for number in range(40):
        kind = ("wav", "flac", "wav", "ogg")[number % 4]
        rate = RATE if number % 3 else 22_050
        noise = rng.normal(scale=0.1, size=20 * rate).astype(np.float32)
        soundfile.write(
            folder / f"{number:02}.{kind}", noise[: rate if kind == "ogg" else None], rate
        )


def resident() -> int:
    """Return the resident memory of the process, in bytes."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * 4096


def main() -> None:
    """Run the soak test."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=2_000_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archive(folder)
        windows = headrace.scan(folder).windows(RATE, WINDOW_S)
        for path in sorted(folder.iterdir())[::10]:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        loader = windows.shuffle(0).loader(
            batch_size=asked.batch_size,
            workers=asked.workers,
            on_error="mask",
            stall_timeout_s=60,
        )
        print(f"{loader}\n{'windows':>12} {'MiB':>8} {'threads':>8} {'files':>6} {'failures':>9}")
        began, held, seen, last = time.monotonic(), [], 0, 0
        for batch in loader.steps(-(-asked.windows // asked.batch_size)):
            seen += len(batch)
            if seen - last < asked.windows // 20:
                continue
            last = seen
            held.append(resident())
            files = len(list(Path("/proc/self/fd").iterdir()))
            print(
                f"{seen:>12,} {held[-1] / 2**20:>8.1f} {threading.active_count():>8} {files:>6} "
                f"{len(loader.failures):>9}",
                flush=True,
            )
        stats = loader.stats()
    print(f"{stats}\n{time.monotonic() - began:.0f} s")
    assert stats.expected == stats.delivered + stats.failed == seen
    half = held[len(held) // 2 :]
    sys.exit(max(half) > 1.01 * half[0])


if __name__ == "__main__":
    main()
