"""Every kind of `Windows` over one small archive, and the windows that its loader delivers.

As a script, this reads jobs from standard input and prints what loaders deliver for them: in a new
process, which knows only the files.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import headrace
from tests.support.deliveries import delivered_rows
from tests.support.processes import ROOT
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace import AudioExample, Batch, Catalog, Windows
    from headrace.windows._shards import Remainder

__all__ = [
    "KINDS",
    "Row",
    "in_a_fresh_process",
    "load_epochs",
    "windows_of_kind",
    "write_recordings",
]

Row = tuple[int, int, str, float, bool, int]
"""Index, source, id, offset, whether it is valid, and a checksum of the audio."""


def _at(one: Windows) -> Windows:
    table = {"id": ["a.wav", "b.wav", "a.wav", "c.flac", "b.wav"] * 2, "at_s": [0.4, 0.2] * 5}
    return one.catalog.windows_at(table, 8_000, 0.25, jitter_s=0.1, seed=4)


def _sited(one: Windows) -> Catalog:
    """Return the catalog with the sites of its recordings."""
    return one.catalog.with_columns(site=["x", "y", "y"])


KINDS: dict[str, Callable[[Windows, Windows], Windows]] = {
    "in order": lambda one, _: one,
    "shuffled": lambda one, _: one.shuffle(3),
    "shuffled by file": lambda one, _: one.shuffle(3, by="file"),
    "shuffled by block": lambda one, _: one.shuffle(3, by="block", block=2),
    "sampled": lambda one, _: one.sample([1, 2, 3] * 3 + [0] * (len(one) - 9), 11, 5),
    "taken": lambda one, _: one.take([3, 3, 0, 8, 2, 5, 1]).shuffle(1),
    "filtered": lambda one, _: one.filter([i % 3 != 1 for i in range(len(one))]),
    "at times": lambda one, _: _at(one).shuffle(2),
    "sampled once": lambda one, _: one.sample(
        [1, 2, 3] * 3 + [0] * (len(one) - 9), 7, 5, replacement=False
    ),
    "crops": lambda one, _: one.catalog.crops(8_000, 0.25, 2, seed=5).shuffle(2),
    "balanced crops": lambda one, _: _sited(one).crops(8_000, 0.25, 2, "site", seed=5),
    "concatenated": lambda one, two: headrace.concat([two, one[2:7]]).shuffle(9, by="file"),
    "mixed": lambda one, two: headrace.mix([one, two], weights=[2, 1], n=13, seed=6),
}


def write_recordings(folder: Path) -> None:
    """Write recordings and two catalogs of them; then truncate ``b.wav``."""
    for part in ("one", "two"):
        (folder / part).mkdir()
    write(folder / "one" / "a.wav", noise(8_000, seed=1), 8_000, "WAV", "PCM_16")
    write(folder / "one" / "b.wav", noise(6_000, seed=2), 8_000, "WAV", "PCM_16")
    write(folder / "one" / "c.flac", noise(5_000, seed=3), 8_000, "FLAC", "PCM_16")
    write(folder / "two" / "a.wav", noise(12_000, seed=4), 16_000, "WAV", "PCM_16")
    for name in ("one", "two"):
        headrace.scan(folder / name).save(folder / f"{name}.parquet")
    with (folder / "one" / "b.wav").open("r+b") as file:
        file.truncate(44 + 2 * 3_500)


@cache
def windows_of_kind(folder: Path, name: str) -> Windows:
    """Return windows of this kind over the recordings of `folder`."""
    one, two = (
        headrace.load_catalog(folder / f"{part}.parquet", root=folder / part).windows(8_000, 0.25)
        for part in ("one", "two")
    )
    return KINDS[name](one, two)


def rows_of(delivery: AudioExample | Batch) -> Iterator[Row]:
    """Yield each window of what was delivered."""
    for row in delivered_rows([delivery]):
        checksum = zlib.crc32(row.audio.tobytes())
        yield row.index, row.source, row.file_id, row.offset, row.valid, checksum


def load_epochs(
    windows: Windows, state: dict[str, Any] | None = None, *, epochs: int = 2, **how: Any
) -> list[list[Row]]:
    """Return the windows from a state to the end of the last epoch, by epoch."""
    loader = windows.loader(**how)
    if state is not None:
        loader.load_state_dict(state)
    seen: list[list[Row]] = [[] for _ in range(epochs)]
    while True:
        iteration = iter(loader)
        if loader.epoch >= epochs:
            return seen
        seen[loader.epoch] += [row for one in iteration for row in rows_of(one)]


def job(
    folder: Path,
    name: str,
    state: dict[str, Any],
    world: int,
    how: Any,
    remainder: Remainder = "mask",
) -> list[list[Row]]:
    """Return the windows that all ranks deliver from a state, in the order of positions."""
    windows = windows_of_kind(folder, name)
    if world == 1:
        return load_epochs(windows, state, **how)
    ranks = [
        load_epochs(windows.shard(rank, world, remainder=remainder), state, **how)
        for rank in range(world)
    ]
    return [
        [row for step in zip(*epoch, strict=True) for row in step if row[0] >= 0]
        for epoch in zip(*ranks, strict=True)
    ]


def in_a_fresh_process(folder: Path, jobs: list[Any]) -> list[list[list[Row]]]:
    """Return the windows of each job, delivered in a new process."""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(folder)],
        cwd=ROOT,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return [[[tuple(row) for row in epoch] for epoch in one] for one in found]


if __name__ == "__main__":
    json.dump([job(Path(sys.argv[1]), *one) for one in json.load(sys.stdin)], sys.stdout)
