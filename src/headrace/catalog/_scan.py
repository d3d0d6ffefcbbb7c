"""Files and what an earlier scan knew of them → the table of a catalog."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headrace._paths import join
from headrace.catalog import _parquet, _table
from headrace.catalog._headers import read_headers
from headrace.catalog._rows import AT_ONCE
from headrace.catalog._verify import DECLARED, PASSING
from headrace.errors import NoRecordingsError
from headrace.failures import Failure

if TYPE_CHECKING:
    import os

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog._find import FoundFiles
    from headrace.codecs import Recording

__all__ = ["earlier_scan", "take_stock"]


def earlier_scan(cache: str | os.PathLike[str] | None) -> tuple[pa.Table | None, str]:
    """Return the table that `cache` holds, if any, and a warning, or an empty one.

    A damaged file is put aside, never overwritten: it may hold columns that the user made.

    Raises
    ------
    CatalogError
        `cache` is something else than a catalog, or lies in a folder that is not there.
    """
    if cache is None:
        return None, ""
    _parquet.parent_of(cache)
    try:
        table = _parquet.read(cache)
        whole, _ = _table.checked(table)
        return whole.replace_schema_metadata(table.schema.metadata), ""
    except NoRecordingsError:
        return None, ""
    except _parquet.DamagedError as error:
        aside = _free_name(Path(cache))
        Path(cache).rename(aside)
        return None, f"{error} It is now {str(aside)!r}, and every header is read anew."


def take_stock(
    found: FoundFiles, earlier: pa.Table | None, workers: int, progress: bool | None
) -> tuple[pa.Table, str, tuple[Failure, ...]]:
    """Read the headers that are not known, and put the table together.

    Parameters
    ----------
    found : FoundFiles
        The files.
    earlier : Arrow table, optional
        The catalog of an earlier scan, of these files or of others.
    workers, progress
        As `headers.read_headers`.

    Returns
    -------
    table : Arrow table
        The usable files in the order of `found`, with the further columns of `earlier`.
    failures : tuple of Failure
        The others, by id.
    """
    import pyarrow as pa

    rows = None if earlier is None else _earlier_rows(found, earlier)
    fresh: list[pa.Table] = []
    recordings: list[Recording] = []
    failures = list(found.failures)
    unchanged = np.zeros(len(found.ids), bool)
    usable = np.zeros(len(found.ids), bool)
    headers = read_headers(
        found.root,
        found.ids,
        known=None if earlier is None or rows is None else _sizes_and_times(earlier, rows),
        workers=workers,
        progress=progress,
    )
    with closing(headers):
        for place, header in enumerate(headers):
            if isinstance(header, Failure):
                failures.append(header)
                continue
            usable[place] = True
            if header is None:
                unchanged[place] = True
                continue
            recordings.append(header)
            if len(recordings) == AT_ONCE:
                fresh.append(_table.rows_of(recordings))
                recordings.clear()
    table = pa.concat_tables([*fresh, _table.rows_of(recordings)])
    if earlier is not None and rows is not None:
        failures += _still(found, earlier, rows, unchanged)
        table = _merged(table, earlier, found, rows=rows, unchanged=unchanged, usable=usable)
    failures.sort(key=lambda failure: failure.file_id)
    return table, found.root, tuple(failures)


def _still(
    found: FoundFiles, earlier: pa.Table, rows: NDArray[np.int64], unchanged: NDArray[np.bool_]
) -> list[Failure]:
    """Return what decoding had found to be wrong with files that have not changed since."""
    import pyarrow as pa

    told = _parquet.described(earlier)
    known: dict[str, list[Failure]] = {}
    for failure in () if told is None else told[1]:
        if failure.code in PASSING:
            continue
        known.setdefault(failure.file_id, []).append(failure)
    if not known:
        return []
    places = np.flatnonzero(unchanged)
    ids = earlier["id"].take(pa.array(rows[places])).to_pylist()
    return [
        replace(failure, file_id=found.ids[place], path=join(found.root, found.ids[place]))
        for place, was in zip(places, ids, strict=True)
        for failure in known.get(was, ())
    ]


def _merged(
    fresh: pa.Table,
    earlier: pa.Table,
    found: FoundFiles,
    *,
    rows: NDArray[np.int64],
    unchanged: NDArray[np.bool_],
    usable: NDArray[np.bool_],
) -> pa.Table:
    import pyarrow as pa

    kept = earlier.select(list(_table.BUILT_IN)).take(rows[unchanged])
    ids = pa.chunked_array([pa.array(found.ids, pa.string()).take(np.flatnonzero(unchanged))])
    kept = kept.set_column(0, "id", ids)
    kept = kept.set_column(1, "path", _table.paths_under(found.root, ids))
    places = np.concatenate([np.flatnonzero(unchanged), np.flatnonzero(usable & ~unchanged)])
    table = pa.concat_tables([kept, fresh]).take(np.argsort(places))
    of_usable = pa.array(rows[usable], mask=rows[usable] < 0)
    of_unchanged = pa.array(rows[usable], mask=~unchanged[usable])
    for name in earlier.column_names:
        if name not in _table.BUILT_IN:
            # What decoding found holds for the file that was decoded; a label is of the recording.
            taken = of_unchanged if name == DECLARED else of_usable
            table = table.append_column(name, earlier[name].take(taken))
    return table


def _earlier_rows(found: FoundFiles, earlier: pa.Table) -> NDArray[np.int64]:
    """Return for each file its row in the earlier catalog, or -1.

    A file is the same one if its path is. If the earlier root is not there any more, the archive
    has moved, and a file is the same one if its id is.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    told = _parquet.described(earlier)
    moved = told is not None and not Path(told[0]).is_dir()
    ids = pa.chunked_array([pa.array(found.ids, pa.string())])
    if moved:
        rows = pc.index_in(ids, value_set=earlier["id"])
    else:
        rows = pc.index_in(_table.paths_under(found.root, ids), value_set=earlier["path"])
    known: NDArray[np.int64] = pc.fill_null(rows, -1).to_numpy().astype(np.int64)
    return known


def _sizes_and_times(
    earlier: pa.Table, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    import pyarrow.compute as pc

    if not len(earlier):
        return np.full(len(rows), -1), np.zeros(len(rows), np.int64)
    size, mtime_ns = (earlier[name].to_numpy()[rows] for name in ("size", "mtime_ns"))
    # A scan of an earlier version did not look for seek points.
    unlooked = pc.and_(pc.equal(earlier["format"], "MP3"), pc.is_null(earlier["seek_points"]))
    return np.where((rows < 0) | unlooked.to_numpy()[rows], -1, size), mtime_ns


def _free_name(file: Path) -> Path:
    number = 1
    while (aside := file.with_name(f"{file.name}.damaged-{number}")).exists():
        number += 1
    return aside
