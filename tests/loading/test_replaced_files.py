"""Files that are replaced while a loader reads them."""

from __future__ import annotations

import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import headrace
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace import Catalog, Loader

RATE = 8_000
LATER_NS = 10**9


def recording(path: Path, seed: int) -> Path:
    """Write ten seconds of noise: each seed gives other samples and the same number of bytes."""
    write(path, noise(10 * RATE, 1, seed), RATE, "WAV", "PCM_16")
    return path


def by_another_file(path: Path) -> None:
    """Put another file in the place of one."""
    other = recording(path.with_name("other"), 2)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def in_place(path: Path) -> None:
    """Write other samples into a file, later."""
    before = path.stat()
    content = recording(path.with_name("other"), 2).read_bytes()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + LATER_NS))


def loader_of(catalog: Catalog) -> Loader:
    """Return a loader that reads each window when it is asked for."""
    return catalog.windows(RATE, 1.0).loader(workers=0, prefetch=1, on_error="skip")


@pytest.mark.parametrize("replace", [by_another_file, in_place])
def test_a_file_of_the_same_size_is_noticed(
    tmp_path: Path, replace: Callable[[Path], None]
) -> None:
    """What comes after the replacement fails as CHANGED; no window has samples of the other."""
    path = recording(tmp_path / "a.wav", 1)
    catalog = headrace.scan(path)
    expected = [one.audio for one in loader_of(catalog)]
    loader = loader_of(catalog)
    windows = iter(loader)
    got = [next(windows).audio]
    replace(path)
    got += [one.audio for one in windows]
    assert len(got) < len(expected) == 10
    for one, other in zip(expected, got, strict=False):
        np.testing.assert_array_equal(one, other)
    assert {(one.code, one.message) for one in loader.failures} == {
        ("CHANGED", "the file was replaced while it was being read: scan again")
    }
    ledger = loader.ledger()
    assert ledger["failed"][0].as_py() == 10 - len(got)


def test_a_tar_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    """Its members fail, too."""
    for seed, name in enumerate(("one.tar", "two.tar")):
        with tarfile.open(tmp_path / name, "w") as tar:
            tar.add(recording(tmp_path / "a.wav", seed), "a.wav")
    assert (tmp_path / "one.tar").stat().st_size == (tmp_path / "two.tar").stat().st_size
    loader = loader_of(headrace.scan(tmp_path / "one.tar"))
    windows = iter(loader)
    next(windows)
    (tmp_path / "two.tar").replace(tmp_path / "one.tar")
    list(windows)
    assert {one.code for one in loader.failures} == {"CHANGED"}


def test_a_parquet_file_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    """Row groups that were not read before the replacement are not read after it."""
    file = tmp_path / "table.parquet"
    sounds = [recording(tmp_path / "a.wav", seed).read_bytes() for seed in range(4)]
    options = {"row_group_size": 1, "compression": "none"}
    parquet.write_table(pa.table({"audio": sounds[:2]}), tmp_path / "new", **options)
    parquet.write_table(pa.table({"audio": sounds[2:]}), file, **options)
    assert file.stat().st_size == (tmp_path / "new").stat().st_size
    headrace.from_table(file).save(tmp_path / "catalog.parquet")
    # Loaded again, because the first catalog keeps in memory what the scan has read.
    loader = loader_of(headrace.load_catalog(tmp_path / "catalog.parquet"))
    windows = iter(loader)
    next(windows)
    (tmp_path / "new").replace(file)
    rest = list(windows)
    assert {one.file_id for one in rest} == {"table.parquet/0"}
    assert {one.code for one in loader.failures} == {"CHANGED"}


def test_a_file_that_grows_is_read(tmp_path: Path) -> None:
    """A recorder may go on writing: the frames of the scan are all there."""
    path = recording(tmp_path / "a.wav", 1)
    loader = loader_of(headrace.scan(path))
    windows = iter(loader)
    next(windows)
    with path.open("ab") as file:
        file.write(bytes(1_000))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + LATER_NS))
    assert len(list(windows)) == 9
    assert loader.failures == ()


def test_a_copy_of_an_archive_is_the_archive(tmp_path: Path) -> None:
    """Times of change are not those of the scan, elsewhere or restored in the same place."""
    (tmp_path / "old").mkdir()
    path = recording(tmp_path / "old" / "a.wav", 1)
    headrace.scan(tmp_path / "old").save(tmp_path / "catalog.parquet")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    os.utime(tmp_path / "new" / "a.wav", ns=(0, LATER_NS))
    shutil.copyfile(tmp_path / "new" / "a.wav", tmp_path / "restored")
    (tmp_path / "restored").replace(path)
    for root in (tmp_path / "new", tmp_path / "old"):
        moved = headrace.load_catalog(tmp_path / "catalog.parquet", root=root)
        assert len(list(loader_of(moved))) == 10
