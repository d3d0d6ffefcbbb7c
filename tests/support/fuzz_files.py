"""Fuzzing of scan and loader with mutated files of every format.

Run by hand, from the root of the project: python -m tests.support.fuzz_files --files 10000 --seed 1
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

import headrace
from tests.support.deliveries import delivered_rows, lost_windows, open_files
from tests.support.sounds import KINDS, medley, most_channels, write

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["fuzz"]

_RATES = (8_000, 16_000, 48_000)  # that every format knows
_TIMES: Final[tuple[tuple[Literal["headers", "decode"], str], ...]] = (
    ("headers", "headers"),
    ("decode", "decode"),
    ("decode", "damaged since"),  # with the catalog of before
)
_STALL_S = 30.0  # no read of a file this short takes so long, unless it never ends


def _originals(folder: Path) -> list[bytes]:
    """Return a small file of every format, in mono and, where possible, in stereo."""
    made = []
    for number, (kind, subtype) in enumerate(KINDS):
        for channels in {1, min(2, most_channels(kind, subtype))}:
            path = folder / "original"
            rate = _RATES[number % len(_RATES)]
            write(path, medley(2_400, channels, seed=number), rate, kind, subtype)
            made.append(path.read_bytes())
            path.unlink()
    return made


def _long(folder: Path) -> list[bytes]:
    """Return MP3 files that are long enough for seek points."""
    made = []
    for number, rate in enumerate((16_000, 44_100)):
        path = folder / "original"
        frames = 70 * (576 if rate == _RATES[1] else 1_152)
        write(path, medley(frames, seed=number), rate, "MP3", "MPEG_LAYER_III")
        made.append(path.read_bytes())
        path.unlink()
    return made


def _mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a file at one to three positions, often near its beginning, where its header is."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if not out:
            break
        near = rng.random() < 0.35
        at = int(rng.integers(0, min(len(out), 120) if near else len(out)))
        stop = min(len(out), at + int(rng.integers(1, 9)))
        match rng.integers(0, 7):
            case 0:
                out[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                out[at:stop] = rng.bytes(stop - at)
            case 2:
                out[at:stop] = bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))]) * (stop - at)
            case 3:
                del out[at:]
            case 4:
                del out[at : at + int(rng.integers(1, 400))]
            case 5:
                out[at:at] = rng.bytes(int(rng.integers(1, 400)))
            case _:
                out[at:at] = out[at : at + int(rng.integers(1, 400))]
    return bytes(out)


def _check(
    windows: headrace.Windows, rng: np.random.Generator, unproved: set[str]
) -> tuple[int, int]:
    """Load everything in two ways and compare them; return windows delivered, and windows lost.

    Windows of the MP3 files in `unproved` may differ in their last bits: nothing has decoded them
    since they were changed, so damage inside their audio data may be unnoticed.
    """
    outcomes = []
    for workers, size, shuffled in ((0, None, False), (int(rng.integers(1, 4)), 16, True)):
        some = windows.shuffle(int(rng.integers(1 << 30))) if shuffled else windows
        stall_s = _STALL_S if workers else None
        loader = some.loader(
            workers=workers, batch_size=size, on_error="skip", stall_timeout_s=stall_s
        )
        had = {row.index: (row.file_id, row.audio.copy()) for row in delivered_rows(loader)}
        gone = Counter(index for index, _ in lost_windows(loader.failures))
        assert not any(failure.code == "STALLED" for failure in loader.failures)
        assert set(gone.values()) <= {1}
        assert set(had) | set(gone) == set(range(len(windows)))
        assert len(had) + len(gone) == len(windows)
        expected = Counter(windows.table()["id"].to_pylist())
        for row in loader.ledger().to_pylist():
            assert row["expected"] == row["delivered"] + row["failed"] == expected[row["id"]]
        outcomes.append((had, set(gone)))
    (one, lost_by_one), (other, lost_by_other) = outcomes
    assert lost_by_one == lost_by_other
    for index, (file_id, audio) in one.items():
        again = other[index][1]
        if audio.tobytes() != again.tobytes():
            assert file_id in unproved
            assert np.allclose(audio, again, rtol=1e-5, atol=1e-5)
    return len(one), len(lost_by_one)


def fuzz(folder: Path, *, files: int, seed: int, at_a_time: int = 250) -> Iterator[Counter[str]]:
    """Yield counts of what happened, some hundred files at a time.

    Parameters
    ----------
    folder : Path
        For the files, which are deleted again.
    files : int
        Number of files.
    seed : int
        Determines all files and choices.
    at_a_time : int
        Number of files in each archive.

    Raises
    ------
    AssertionError
        A thread or file is left, a ledger does not add up, or windows depend on the loader.
    """
    rng = np.random.default_rng(seed)
    originals, long = _originals(folder), _long(folder)
    gc.collect()  # what earlier work left to the collector may hold files
    threads, descriptors = threading.active_count(), open_files()
    for begin in range(0, files, at_a_time):
        archive = folder / f"{begin}"
        archive.mkdir()
        count = min(at_a_time, files - begin)
        for number in range(count):
            pool = long if number % 10 == 0 else originals
            data = pool[int(rng.integers(len(pool)))]
            # Half of the long files are undamaged when they are scanned.
            whole = pool is long and rng.random() < 0.5
            (archive / f"{number}.wav").write_bytes(data if whole else _mutated(data, rng))
        counts: Counter[str] = Counter(files=count)
        for verify, when in _TIMES:
            if when == "damaged since":
                for path in archive.iterdir():
                    if rng.random() < 0.6:
                        path.write_bytes(_mutated(path.read_bytes(), rng))
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", headrace.HeadraceWarning)
                    catalog = headrace.scan(archive, verify=verify, progress=False)
                ids = {*catalog.column("id"), *(one.file_id for one in catalog.failures)}
                assert len(ids) == count
                for failure in catalog.failures:
                    counts[f"{when}: {failure.code}"] += 1
            # A damaged header may declare hours.
            short = catalog.filter(catalog.frames <= 20 * catalog.sample_rates)
            counts[f"{when}: too long to load"] += len(catalog) - len(short)
            if not len(short):
                continue
            unproved = {one.id for one in short if one.seek_points and when != "decode"}
            counts[f"{when}: recordings with seek points"] += sum(
                bool(one.seek_points) for one in short
            )
            delivered, failed = _check(short.windows(16_000, 0.03), rng, unproved)
            counts[f"{when}: windows delivered"] += delivered
            counts[f"{when}: windows failed"] += failed
        shutil.rmtree(archive)
        assert threading.active_count() == threads
        assert open_files() == descriptors
        yield counts


def main() -> None:
    """Fuzz with the options of the command line, and print counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    began = time.monotonic()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for counts in fuzz(Path(folder), files=asked.files, seed=asked.seed):
            total += counts
            os.write(1, f"\r{total['files']} files, {time.monotonic() - began:.0f} s".encode())
    print()
    for name in sorted(total):
        print(f"{name:<32} {total[name]:>9,}")


if __name__ == "__main__":
    main()
