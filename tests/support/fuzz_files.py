"""Fuzzing of scan and loader with mutated files of every format.

Run by hand, from the root of the project: python -m tests.support.fuzz_files --files 10000 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import os
import shutil
import tempfile
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from unittest import mock

import numpy as np
import pyarrow as pa

import headrace
from headrace.codecs import _ffmpeg
from headrace.codecs._anchors import anchor_rule
from tests.support import ffmpeg_files
from tests.support.deliveries import delivered_rows, lost_windows, open_files
from tests.support.sounds import KINDS, medley, most_channels, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.codecs._anchors import AnchorRule

__all__ = ["fuzz"]

_RATES = (8_000, 16_000, 48_000)  # that every format knows
_TIMES: Final[tuple[tuple[Literal["headers", "decode"], str], ...]] = (
    ("headers", "headers"),
    ("decode", "decode"),
    ("decode", "damaged since"),  # with the catalog of before
)
_SCAN_WORKERS = 4
_CHECKSUM_BYTES = 4  # at the end of packed seek points
_SPACING_S = 0.1  # between anchors: files this short have some
_Loss: TypeAlias = tuple[int, str, headrace.Code, str]
"""Of a window: its number, its file, and the reason."""
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


def _containers(folder: Path) -> list[bytes]:
    """Return files of the containers that FFmpeg reads, long enough for anchors."""
    made = []
    for number, (name, kind) in enumerate(ffmpeg_files.KINDS.items()):
        path = folder / name
        audio = medley(30_000, 1 + number % 2, seed=number).astype(np.float32)
        ffmpeg_files.write(path, audio, *kind)
        made.append(path.read_bytes())
        path.unlink()
    return made


def _claims(folder: Path) -> list[bytes]:
    """Return files whose headers declare too few samples, as of a recorder that was killed."""
    made = []
    for kind, mark in (("WAV", b"data"), ("AIFF", b"SSND"), ("CAF", b"data"), ("AU", b".snd")):
        path = folder / "original"
        write(path, medley(2_400, 1, seed=1), 16_000, kind, "PCM_16")
        data = bytearray(path.read_bytes())
        path.unlink()
        size = data.index(mark) + (8 if kind in {"AU", "CAF"} else 4)
        for declared in (0, 44, 1_000):
            wide, order = (8, "big") if kind == "CAF" else (4, "big")
            order = "little" if kind == "WAV" else order
            made.append(
                bytes(data[:size]) + declared.to_bytes(wide, order) + bytes(data[size + wide :])  # type: ignore[arg-type]
            )
    return made


@contextlib.contextmanager
def _close_anchors() -> Iterator[None]:
    """Place anchors so close that short files have some."""
    original = anchor_rule

    def rule(codec: str) -> AnchorRule:
        return dataclasses.replace(original(codec), spacing_s=_SPACING_S)

    with mock.patch.object(_ffmpeg, "anchor_rule", rule):
        yield


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


def _mutated_index(packed: bytes, rng: np.random.Generator) -> bytes:
    """Change the seek points of a recording; half of the time, their checksum holds again."""
    if len(packed) < _CHECKSUM_BYTES + 1:
        return rng.bytes(int(rng.integers(0, 40)))
    body = bytearray(packed)
    for _ in range(int(rng.integers(1, 4))):
        body[int(rng.integers(len(body)))] = int(rng.integers(256))
    if rng.random() < 0.2:
        del body[int(rng.integers(len(body))) :]
    if rng.random() < 0.5:
        return bytes(body)
    total = 0x811C9DC5
    for byte in body[:-_CHECKSUM_BYTES]:
        total = (total ^ byte) * 0x01000193 & 0xFFFFFFFF
    return bytes(body[:-_CHECKSUM_BYTES]) + total.to_bytes(_CHECKSUM_BYTES, "little")


def _with_mutated_indexes(
    catalog: headrace.Catalog, rng: np.random.Generator
) -> headrace.Catalog | None:
    """Return a catalog whose seek points are others, or None if it is refused."""
    table = catalog.to_arrow()
    points = [
        one and (_mutated_index(one, rng) if rng.random() < 0.7 else one)
        for one in table["seek_points"].to_pylist()
    ]
    column = pa.array(points, table.schema.field("seek_points").type)
    place = table.column_names.index("seek_points")
    table = table.set_column(place, "seek_points", column).drop_columns(["decoder"])
    try:
        return headrace.Catalog.from_table(table)
    except headrace.CatalogError:
        return None


def _check(
    windows: headrace.Windows,
    rng: np.random.Generator,
    unproved: set[str],
    *,
    indexes_are_true: bool = True,
) -> tuple[int, int]:
    """Load everything in two ways and compare them; return windows delivered, and windows lost.

    Windows of the MP3 files in `unproved` may differ in their last bits: nothing has decoded them
    since they were changed, so damage inside their audio data may be unnoticed. Where indexes are
    not true, anything may be delivered, but each window once.
    """
    outcomes = []
    for workers, size, shuffled in ((0, None, False), (int(rng.integers(1, 5)), 16, True)):
        some = windows.shuffle(int(rng.integers(1 << 30))) if shuffled else windows
        stall_s = _STALL_S if workers else None
        loader = some.loader(
            workers=workers, batch_size=size, on_error="skip", stall_timeout_s=stall_s
        )
        had = {row.index: (row.file_id, row.audio.copy()) for row in delivered_rows(loader)}
        gone = [
            (index, one.file_id, one.code, one.message)
            for index, one in lost_windows(loader.failures)
        ]
        assert not any(failure.code == "STALLED" for failure in loader.failures)
        lost = {index for index, *_ in gone}
        assert len(lost) == len(gone)
        assert set(had) | lost == set(range(len(windows)))
        assert len(had) + len(gone) == len(windows)
        expected = Counter(windows.table()["id"].to_pylist())
        for row in loader.ledger().to_pylist():
            assert row["expected"] == row["delivered"] + row["failed"] == expected[row["id"]]
        outcomes.append((had, sorted(gone)))
    (one, lost_by_one), (other, lost_by_other) = outcomes
    if not indexes_are_true:
        return len(one), len(lost_by_one)
    assert lost_by_one == lost_by_other, _first_difference(lost_by_one, lost_by_other)
    for index in one.keys() & other.keys():
        file_id, audio = one[index]
        again = other[index][1]
        if audio.tobytes() != again.tobytes():
            assert file_id in unproved, (file_id, float(np.abs(audio - again).max()))
            assert np.allclose(audio, again, rtol=1e-5, atol=1e-5)
    return len(one), len(lost_by_one)


def _first_difference(one: list[_Loss], other: list[_Loss]) -> str:
    return f"{sorted(set(one) - set(other))[:2]} and {sorted(set(other) - set(one))[:2]}"


def _scan(
    archive: Path, verify: Literal["headers", "decode"], rng: np.random.Generator
) -> headrace.Catalog:
    """Scan twice, with and without workers, and compare what they say."""
    decoder: Literal["auto", "ffmpeg"] = "ffmpeg" if rng.random() < 0.5 else "auto"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", headrace.HeadraceWarning)
        catalogs = [
            headrace.scan(archive, verify=verify, progress=False, decoder=decoder, workers=workers)
            for workers in (0, _SCAN_WORKERS)
        ]
    said = [
        {(one.file_id, one.code, one.message) for one in catalog.failures} for catalog in catalogs
    ]
    assert said[0] == said[1], (said[0] - said[1], said[1] - said[0])
    assert list(catalogs[0]) == list(catalogs[1])
    return catalogs[1]


def _cut(catalog: headrace.Catalog) -> headrace.Windows:
    """Cut windows; a header may declare any sample rate, so that most of a recording is lost."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "at sample_rate=", headrace.HeadraceWarning)
        return catalog.windows(16_000, 0.03)


def fuzz(
    folder: Path, *, files: int, seed: int, first: int = 0, at_a_time: int = 250
) -> Iterator[Counter[str]]:
    """Yield counts of what happened, some hundred files at a time.

    Parameters
    ----------
    folder : Path
        For the files, which are deleted again.
    files : int
        Number of files.
    seed : int
        Determines all files and choices.
    first : int
        Number of the first file: a multiple of `at_a_time`, to make one archive again.
    at_a_time : int
        Number of files in each archive.

    Raises
    ------
    AssertionError
        A thread or file is left, a ledger does not add up, or windows depend on the loader.
    """
    originals, long = _originals(folder), _long(folder)
    containers, claims = _containers(folder), _claims(folder)
    gc.collect()  # what earlier work left to the collector may hold files
    threads, descriptors = threading.active_count(), open_files()
    for begin in range(first, first + files, at_a_time):
        rng = np.random.default_rng([seed, begin])  # each archive can be made again by itself
        archive = folder / f"{begin}"
        archive.mkdir()
        count = min(at_a_time, first + files - begin)
        for number in range(count):
            pool = (
                (long, containers, containers, containers, claims)[number % 10]
                if number % 10 < 5
                else originals
            )
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
                with _close_anchors():
                    catalog = _scan(archive, verify, rng)
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
            delivered, failed = _check(_cut(short), rng, unproved)
            counts[f"{when}: windows delivered"] += delivered
            counts[f"{when}: windows failed"] += failed
            false = _with_mutated_indexes(short, rng)
            if false is None:
                counts[f"{when}: catalogs refused"] += 1
            else:
                delivered, failed = _check(_cut(false), rng, unproved, indexes_are_true=False)
                counts["false indexes: windows delivered"] += delivered
                counts["false indexes: windows failed"] += failed
        shutil.rmtree(archive)
        assert threading.active_count() == threads
        assert open_files() == descriptors
        yield counts


def main() -> None:
    """Fuzz with the options of the command line, and print counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="go on with this file")
    asked = parser.parse_args()
    began = time.monotonic()
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for counts in fuzz(Path(folder), files=asked.files, seed=asked.seed, first=asked.first):
            total += counts
            os.write(1, f"\r{total['files']} files, {time.monotonic() - began:.0f} s".encode())
    print()
    for name in sorted(total):
        print(f"{name:<32} {total[name]:>9,}")


if __name__ == "__main__":
    main()
