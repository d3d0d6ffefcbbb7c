"""The order of a billion windows: time and memory to start anywhere in it.

    python benchmarks/order_scale.py [--rows 1000000] [--json FILE]

The script makes and loads a catalog of a million recordings of a thousand windows each. Then it
cuts, shuffles and shards windows, makes a loader, resumes it in the middle of an epoch, and asks
for the position of the first window. No recording exists, and no file is opened. Figures are the
minimum over some rounds: the work is arithmetic, so only other programs can make it slower.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace import Catalog, load_catalog

if TYPE_CHECKING:
    from headrace import Windows

RATE = 16_000
WINDOWS = 1_000  # of each recording
MILLION = 1_000_000


def synthetic(rows: int, mixed: int) -> pa.Table:
    """Return a table of recordings of a thousand windows of a second, of `mixed` sample rates."""
    rates = np.array([RATE, 22_050, 44_100, 48_000], np.int32)[np.arange(rows) % mixed]
    number = pc.utf8_lpad(pc.cast(pa.array(np.arange(rows)), "string"), 10, "0")
    return pa.table(
        {
            "id": pc.binary_join_element_wise("site/", number, ".wav", ""),
            "sample_rate": rates,
            "channels": np.ones(rows, np.int32),
            "frames": rates.astype(np.int64) * WINDOWS,
            "format": pa.array(["WAV"]).take(np.zeros(rows, np.int64)),
            "subtype": pa.array(["PCM_16"]).take(np.zeros(rows, np.int64)),
        }
    )


def begin(windows: Windows, state: dict[str, Any]) -> int:
    """Make the shuffled, sharded, resumed loader, and return the index of its first window."""
    loader = windows.shuffle(seed=1).shard(3, 8).loader(batch_size=64, workers=2)
    loader.load_state_dict(state)
    epoch, position = loader._resume_at or (0, 0)
    return int(next(loader._plan.work_items(epoch, position)).rows.index[0])


def measure(rows: int, mixed: int, rounds: int) -> dict[str, float]:
    """Return milliseconds and megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "catalog.parquet"
        Catalog.from_table(synthetic(rows, mixed), root="/archive").save(file)
        began = time.perf_counter()
        catalog = load_catalog(file)
        load_s = time.perf_counter() - began
    windows = catalog.windows(RATE, 1.0)
    total = len(windows)
    whole = windows.shuffle(seed=1)
    state = whole.loader(batch_size=1, workers=0).state_dict()
    state |= {"position": total // 3, "epoch": 7}
    begin(windows, state)  # imports, and what a process does once
    times, cut = [], []
    for _ in range(rounds):
        fresh = load_catalog_again(catalog)
        began = time.perf_counter()
        windows = fresh.windows(RATE, 1.0)
        cut.append(time.perf_counter() - began)
        begin(windows, state)
        times.append(time.perf_counter() - began)
    fresh = load_catalog_again(catalog)
    tracemalloc.start()
    begin(fresh.windows(RATE, 1.0), state)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    order = whole.order.epoch(5)
    mapped = []
    for round_ in range(rounds):
        positions = np.arange(round_ * MILLION, (round_ + 1) * MILLION, dtype=np.int64) % total
        began = time.perf_counter()
        whole.rows(order(positions))
        mapped.append(time.perf_counter() - began)
    return {
        "windows": total,
        "load_ms": 1e3 * load_s,
        "cut_ms": 1e3 * min(cut),
        "begin_ms": 1e3 * min(times),
        "begin_peak_mb": peak / 1e6,
        "million_ms": 1e3 * min(mapped),
    }


def load_catalog_again(catalog: Catalog) -> Catalog:
    """Return the catalog as it is right after loading, with nothing cached."""
    return Catalog.from_table(catalog.to_arrow())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=MILLION)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="where the figures are written as well")
    arguments = parser.parse_args()
    facts: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    print(f"{arguments.rows:,} recordings x {WINDOWS:,} windows; Python {facts['python']}")
    for name, mixed in (("one sample rate", 1), ("four sample rates", 4)):
        facts[name] = found = measure(arguments.rows, mixed, arguments.rounds)
        print(f"\n{name}: {found['windows']:,} windows")
        print(f"  loading the catalog                       {found['load_ms']:8.1f} ms")
        print(f"  cut, shuffled, sharded, resumed, first    {found['begin_ms']:8.1f} ms")
        print(f"    of which cutting                        {found['cut_ms']:8.1f} ms")
        print(f"    at its peak                             {found['begin_peak_mb']:8.1f} MB")
        print(f"  a million positions -> windows            {found['million_ms']:8.1f} ms")
    if arguments.json:
        arguments.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    sys.exit(main())
