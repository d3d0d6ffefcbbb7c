"""The time to the first batch of a new process that loads a saved catalog, shuffled.

python benchmarks/first_batch.py FOLDER [--files 10000] [--rounds 9]

The files are links to one recording of 10 s, because only their number matters. Each round starts
an interpreter. Times are from before it starts to when the batch is there; processor time is that
of all its threads. The first round is not counted: it may compile modules.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import corpus

import headrace

CODE = """
import sys, time
import headrace
windows = headrace.load_catalog(sys.argv[1]).windows(16_000, 5.0)
with windows.shuffle(seed=0).loader(batch_size=32, workers=2) as loader:
    assert len(next(iter(loader)).audio) == 32
    print(time.time(), time.process_time())
"""


def make(folder: Path, files: int) -> Path:
    """Return a saved catalog of `files` recordings."""
    catalog = folder / f"{files}.parquet"
    if not catalog.exists():
        folder.mkdir(parents=True, exist_ok=True)
        one = folder / "one.wav"
        corpus.write_one(one, 160_000, 16_000, 1, "PCM_16", 0)
        links = folder / str(files)
        links.mkdir(exist_ok=True)
        for number in range(files):
            link = links / f"{number:06}.wav"
            if not link.exists():
                os.link(one, link)
        headrace.scan(links, progress=False).save(catalog)
    return catalog


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the recordings; made if missing")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    command = [sys.executable, "-c", CODE, str(make(arguments.folder, arguments.files))]
    walls, processor = [], []
    for _ in range(arguments.rounds + 1):
        began = time.time()
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        arrived, used = map(float, done.stdout.split())
        walls.append(arrived - began)
        processor.append(used)
    print(corpus.machine())
    for name, times in (("wall", walls[1:]), ("processor", processor[1:])):
        least, most = min(times) * 1e3, max(times) * 1e3
        print(f"{name:9} {statistics.median(times) * 1e3:7.1f} ms ({least:.1f} to {most:.1f})")


if __name__ == "__main__":
    main()
