"""Measure what the pictures show of real runs, and write it to `measured.json` beside this file.

    python docs/pictures/measure.py            # all; a minute
    python docs/pictures/measure.py memory     # one, and the others stay as they are

Then draw them: `python docs/pictures/draw.py`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import headrace
from headrace import _kernel
from headrace.bench import sweep, write_archive

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE: Final = Path(__file__).parent / "measured.json"
BENCHMARKS: Final = Path(__file__).parents[2] / "benchmarks"
MODEL_S: Final = 0.016  # a batch of 16: a model that is slower than both ways to load
BOUND: Final = "64 MiB"


def memory(folder: Path) -> dict[str, Any]:
    """Resident memory while a slow consumer works, of a pool that runs ahead and of headrace."""
    write_archive(folder, recordings=120, seconds=60)
    ways = {}
    for way in (_pool, _loader):
        reader, writer = multiprocessing.get_context("spawn").Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=_watch, args=(way, folder, writer)
        )
        process.start()
        ways[way.__name__.strip("_")] = reader.recv()
        process.join()
    windows = headrace.scan(folder / "raw_data", progress=False).windows(16_000, 5.0)
    with windows.loader(batch_size=16, workers=2, memory=BOUND) as loader:
        bound = round(loader.memory_bound / 2**20, 1)
    return {"model_s": MODEL_S, "windows": len(windows), "bound": bound, **ways}


def _watch(way: Any, folder: Path, writer: Any) -> None:
    """Send the seconds and the growth of memory in MiB after every fourth batch."""
    windows = headrace.scan(folder / "raw_data", progress=False).windows(16_000, 5.0)
    windows[0].audio.copy()  # what is imported and kept for the first window is not counted
    began, before, seen = time.perf_counter(), _resident(), []
    for number, _ in enumerate(way(windows)):
        time.sleep(MODEL_S)
        if number % 4 == 0:
            grown = (_resident() - before) / 2**20
            seen.append((round(time.perf_counter() - began, 3), round(grown, 1)))
    writer.send(seen)


def _pool(windows: headrace.Windows) -> Iterator[Any]:
    """Yield batches of 16 from a pool whose results wait as long as nobody takes them."""
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(lambda i=i: windows[i].audio.copy()) for i in range(len(windows))]
        waiting.reverse()
        while waiting:
            yield [waiting.pop().result() for _ in range(min(16, len(waiting)))]


def _loader(windows: headrace.Windows) -> Iterator[Any]:
    with windows.loader(batch_size=16, workers=2, memory=BOUND) as loader:
        yield from loader


def _resident() -> int:
    """Return the bytes of memory that this process has, on Linux."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def workers(folder: Path) -> dict[str, Any]:
    """Windows per second and the consumer's wait with 0 to 4 workers, as `headrace bench` has."""
    write_archive(folder, recordings=60, seconds=60)
    windows = headrace.scan(folder / "raw_data", progress=False).windows(16_000, 5.0).shuffle(0)
    result = sweep(windows, (0, 1, 2, 4), consume=lambda batch: float(batch.audio.std()))
    return {
        "recommended": result.recommended,
        "rounds": len(result.rows[0].runs),
        "rows": [
            {
                "workers": row.workers,
                "windows_per_s": [round(run.windows_per_s, 1) for run in row.runs],
                "wait": round(row.wait_share, 4),
            }
            for row in result.rows
        ],
    }


def anchors(folder: Path) -> dict[str, Any]:
    """Where a scan placed the anchors of half a minute of AAC in M4A."""
    sys.path.insert(0, str(BENCHMARKS))
    from anchors import RATE, encode, signals

    file = folder / "music.m4a"
    encode(file, signals(30)["music"], "ipod", "aac", 64_000)
    (recording,) = headrace.scan(file, progress=False)
    index = _kernel.unpack_packet_index(recording.seek_points or b"")
    if index is None:
        raise SystemExit("the scan gave no index: is this PyAV's FFmpeg one that headrace knows?")
    return {
        "rate": RATE,
        "frames": index.frames,
        "packet": 1024,  # frames of an AAC packet
        "pre_roll": index.pre_roll,
        "starts": [anchor.start for anchor in index.anchors],
    }


MEASURED: Final = {"memory": memory, "workers": workers, "anchors": anchors}


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *MEASURED], help="default: all")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    options = parser.parse_args()
    found = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {}
    for name in options.names or MEASURED:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = {
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
                "machine": f"{os.cpu_count()} processors, {platform.machine()}",
                "note": options.note,
                **MEASURED[name](Path(folder)),
            }
        print(name)
    FILE.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
