"""Windows from a folder, tar shards and a Parquet file of the same recordings, in one run.

Writes recordings, reads all windows of 5 s at 16 kHz from each place, in order and shuffled, in
turns, and prints windows a second and milliseconds of processor time a window. Beside them, in
order: WebDataset with soundfile and soxr in two processes of PyTorch's DataLoader, if it is there.

    python benchmarks/shards.py --recordings 60 --seconds 60 --rounds 3
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import resource
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import soundfile
from pyarrow import parquet

import headrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace import Catalog

RATE, OWN_RATE, WINDOW_S = 16_000, 22_050, 5.0


def write(folder: Path, recordings: int, seconds: int, kind: str) -> dict[str, Catalog]:
    """Write recordings at each place; return catalogs by place."""
    rng = np.random.default_rng(0)
    (folder / "files").mkdir()
    for number in range(recordings):
        audio = 0.1 * rng.normal(size=seconds * OWN_RATE).cumsum().clip(-5, 5)
        soundfile.write(folder / "files" / f"{number:04}.{kind}", audio / 5, OWN_RATE, "PCM_16")
    files = sorted((folder / "files").iterdir())
    with tarfile.open(folder / "all.tar", "w") as tar:
        for file in files:
            tar.add(file, file.name)
    rows = [{"audio": {"bytes": file.read_bytes(), "path": file.name}} for file in files]
    parquet.write_table(pa.Table.from_pylist(rows), folder / "all.parquet", row_group_size=10)
    return {
        "folder": headrace.scan(folder / "files"),
        "tar": headrace.scan(folder / "all.tar"),
        "parquet": headrace.from_table(folder / "all.parquet"),
    }


def read(catalog: Catalog, *, shuffled: bool, memory: str | None) -> int:
    """Read all windows with two workers; return how many there are."""
    windows = catalog.windows(RATE, WINDOW_S)
    windows = windows.shuffle(0) if shuffled else windows
    loader = windows.loader(batch_size=32, workers=2, memory=memory)
    return sum(len(batch) for batch in loader)


def decode_sample(sample: dict[str, Any]) -> Any:
    """Decode and resample a whole member, and cut it."""
    import soxr

    data = next(value for key, value in sample.items() if key in ("wav", "flac"))
    audio, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    audio = soxr.resample(audio, rate, RATE)
    size = int(WINDOW_S * RATE)
    return np.pad(audio, (0, -len(audio) % size)).reshape(-1, size)


def read_webdataset(tar: Path) -> int:
    """Read the members in order, in two processes that have half of the shards each."""
    import torch
    import webdataset

    dataset = webdataset.WebDataset([str(tar), str(tar)], shardshuffle=False).map(decode_sample)
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2)
    return sum(len(windows) for windows in loader)


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Return windows a second, and milliseconds of processor time a window."""

    def cpu_s() -> float:
        usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    cpu, began = cpu_s(), time.perf_counter()
    count = work()
    return count / (time.perf_counter() - began), (cpu_s() - cpu) / count * 1e3


def main() -> None:
    """Measure, and print the best of all rounds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", help="what loaders may take, such as '512 MiB'")
    parser.add_argument("--kinds", nargs="+", default=["wav", "flac"])
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            catalogs = write(folder, arguments.recordings, arguments.seconds, kind)
            works: dict[str, Callable[[], int]] = {}
            for order in ("in order", "shuffled"):
                for place, catalog in catalogs.items():
                    works[f"{place}, {order}"] = partial(
                        read,
                        catalog,
                        shuffled=order == "shuffled",
                        memory=arguments.memory,
                    )
            if importlib.util.find_spec("webdataset") and importlib.util.find_spec("soxr"):
                works["webdataset, in order"] = partial(read_webdataset, folder / "all.tar")
            best: dict[str, tuple[float, float]] = {}
            for _ in range(arguments.rounds):
                for work, run in works.items():
                    speed, cost = timed(run)
                    before = best.get(work, (0.0, float("inf")))
                    best[work] = max(speed, before[0]), min(cost, before[1])
            for work, (speed, cost) in best.items():
                print(f"{kind}  {work:22} {speed:8,.0f} windows/s  {cost:6.3f} ms CPU a window")


if __name__ == "__main__":
    main()
