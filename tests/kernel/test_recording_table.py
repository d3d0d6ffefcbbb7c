"""The kernel's table of recordings: what it says of them, and what it refuses."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

import headrace
from headrace import _kernel
from headrace.loading._plan import Plan
from headrace.loading._reader import Reader

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Catalog


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Return a catalog of nine files of two kinds, whose table has three chunks."""
    folder = tmp_path_factory.mktemp("table") / "a folder, größer"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(9):
        sound = rng.uniform(-0.5, 0.5, (1_000 + number, 1 + number % 2)).astype(np.float32)
        soundfile.write(folder / f"{number}ß.wav", sound, 8_000, "PCM_16")
    whole = headrace.scan(folder).to_arrow()
    table = pa.concat_tables([whole.slice(0, 2), whole.slice(1, 7).slice(1), whole.slice(8)])
    assert table["id"].num_chunks == 3
    return headrace.Catalog.from_table(table)


def _table(*catalogs: Catalog) -> _kernel.RecordingTable:
    kinds = sorted({kind for one in catalogs for kind in one.kinds})
    return _kernel.RecordingTable([one.native for one in catalogs], kinds)


def test_numbers_run_through_chunks_and_catalogs(catalog: Catalog) -> None:
    """Ids and paths of any numbers are those of the catalogs' rows, in the order asked for."""
    table = _table(catalog, catalog[:0], catalog[3:])
    ids = [one.id for one in catalog] + [one.id for one in catalog[3:]]
    paths = [one.path for one in catalog] + [one.path for one in catalog[3:]]
    numbers = np.random.default_rng(1).integers(0, len(ids), 50)

    assert len(table) == len(ids) == 15
    assert table.names(numbers) == (
        tuple(ids[n] for n in numbers),
        tuple(paths[n] for n in numbers),
    )
    assert [table.path(n) for n in range(15)] == paths
    assert table.names(numbers[:0]) == ((), ())


@pytest.mark.parametrize("number", [-1, 9])
def test_there_are_no_other_numbers(catalog: Catalog, number: int) -> None:
    """A number that no recording has is refused."""
    table = _table(catalog)

    with pytest.raises(ValueError, match=f"there is no recording {number}"):
        table.path(number)
    with pytest.raises(ValueError, match=f"there is no recording {number}"):
        table.names(np.array([0, number]))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.select(table.column_names[::-1]),
        lambda table: table.drop_columns(["offset"]),
        lambda table: table.set_column(4, "frames", table["frames"].cast(pa.int32())),
    ],
)
def test_other_columns_are_refused(catalog: Catalog, change: Any) -> None:
    """A table with other columns, or other types, is not read as if it had the right ones."""
    with pytest.raises(ValueError, match="columns of a catalog"):
        _kernel.RecordingTable([change(catalog.native)], [])


def test_rows_are_read_by_number(catalog: Catalog) -> None:
    """Rows hold the windows asked for, in any order; a row that is not to be read holds zeros."""
    windows = catalog.windows(8_000, 0.05)
    plan = Plan(windows, batch_size=4, workers=0, prefetch=1, memory=None, last="keep")
    native = Reader(plan)._native
    recordings = np.array([8, 2, 2, _kernel.UNREAD, 5])
    starts = np.array([400, 0, 400, 0, 800])
    rows = np.full((6, 400), 7, np.float32)

    result = native.read(recordings, starts, rows, bytearray(1), array("I", [0, 0, 0]))

    assert not result.lost
    for row, (number, start) in enumerate(zip(recordings, starts, strict=True)):
        if number == _kernel.UNREAD:
            assert not rows[row].any()
            continue
        sound, _ = soundfile.read(catalog[int(number)].path, dtype="float32", always_2d=True)
        expected = np.zeros(400, np.float32)
        mixed = sound[start : start + 400].mean(axis=1)
        expected[: len(mixed)] = mixed
        assert np.array_equal(rows[row], expected), row
    assert (rows[5] == 7).all()


@pytest.mark.parametrize(
    ("recordings", "starts", "rows", "message"),
    [
        ([9], [0], 1, "no recording 9"),
        ([0], [-1], 1, "from 0 on"),
        ([0, 0], [0], 2, "of one length"),
        ([0, 0], [0, 400], 1, "fewer rows"),
    ],
)
def test_reads_check_themselves(
    catalog: Catalog, recordings: list[int], starts: list[int], rows: int, message: str
) -> None:
    """What cannot be read is refused before anything is written."""
    windows = catalog.windows(8_000, 0.05)
    plan = Plan(windows, batch_size=4, workers=0, prefetch=1, memory=None, last="keep")
    memory = np.full((rows, 400), 7, np.float32)

    with pytest.raises(ValueError, match=message):
        Reader(plan)._native.read(np.array(recordings), np.array(starts), memory, bytearray(1))
    assert (memory == 7).all()


def test_a_part_of_a_file_is_found_in_the_table(tmp_path: Path) -> None:
    """Windows of the members of a tar are those of the files that were put into it."""
    import tarfile

    sounds = [np.random.default_rng(n).uniform(-1, 1, 500).astype(np.float32) for n in range(3)]
    for number, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{number}.wav", sound, 8_000, "FLOAT")
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for number in range(3):
            tar.add(tmp_path / f"{number}.wav", f"{number}.wav")
    catalog = headrace.scan(tmp_path / "all.tar")
    assert catalog.windows(8_000, 0.05).recordings.are_plain_files

    batch = next(iter(catalog.windows(8_000, 500 / 8_000).loader(batch_size=3, workers=0)))

    assert np.array_equal(batch.audio, np.array(sounds))
    assert set(batch.path) == {str(tmp_path / "all.tar")}
