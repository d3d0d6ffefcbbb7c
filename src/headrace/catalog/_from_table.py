"""`from_table`: a catalog of recordings whose bytes or paths are in a table's column."""

from __future__ import annotations

import os
import warnings
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from headrace._formatting import brief, brief_list
from headrace._paths import absolute, join
from headrace.catalog import _table
from headrace.catalog._catalog import Catalog
from headrace.catalog._damage import check_any_usable, describe_damage
from headrace.catalog._find import find
from headrace.catalog._find_objects import Addresses, common_folder
from headrace.catalog._headers import worker_count
from headrace.catalog._objects import ScannedObjects
from headrace.catalog._scan import check_scan_options, read_recordings
from headrace.catalog._verify import verify_recordings
from headrace.errors import CatalogError, DamagedWarning, NoRecordingsError
from headrace.failures import Code, Failure
from headrace.storage import (
    Fetcher,
    ParquetStore,
    Place,
    Stores,
    is_url,
    parse_url,
    read_cells,
    read_parquet_cells,
    redacted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.storage import Cells, Store

__all__ = ["from_table"]

_PARQUET: Final = frozenset({".parquet"})


@dataclass(frozen=True, slots=True)
class _Rows:
    """The recordings of a table, before their headers are read."""

    root: str
    ids: list[str]
    places: list[Place]
    rows: list[int]
    """In the table."""
    failures: list[Failure]
    columns: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    are_urls: bool = False
    """Whether the paths of the places are URLs as they were given, with what is secret in them."""

    def place(self, row: int) -> Place:
        return self.places[row]

    def paths(self) -> list[str]:
        return [one.path for one in self.places]

    def is_unchanged(self, *_: int) -> bool:
        return False


def from_table(
    table: Any,  # noqa: ANN401  a dataset, a table, paths
    audio: str = "audio",
    columns: Sequence[str] | None = None,
    *,
    verify: Literal["headers", "decode"] = "headers",
    decoder: Literal["auto", "ffmpeg", "libsndfile"] = "auto",
    workers: int | Literal["auto"] = "auto",
    progress: bool | None = None,
    store: object = None,
) -> Catalog:
    """Make a catalog of recordings whose bytes or paths are in a table's column.

    Bytes of a table in memory are read in place. Of Parquet files, the row group that holds a
    recording is read when it is needed, and `Loader.memory_bound` counts what is held of them.

    Parameters
    ----------
    table : dataset, table, path, or several paths
        A Hugging Face ``Dataset`` (its audio is not decoded by it), an Arrow table, a pandas
        DataFrame; or Parquet files: paths, globs or folders.
    audio : str
        The column of the recordings. It holds bytes, paths, or structs with the fields ``bytes``
        and ``path``, of which the bytes count where there are some. Relative paths begin at the
        folder of the Parquet file, else at the current one. Or all paths are URLs of single
        objects, such as ``"s3://bucket/a.wav"`` or ``"https://host/a.wav"``.
    columns : sequence of str, optional
        Columns that the catalog gets as well. Default: all others. One that has the name of a
        catalog's own column, such as ``path``, is called ``table_path``.
    verify, decoder, workers, progress, store
        As in `scan`.

    Returns
    -------
    Catalog
        In the order of the table. The id of a recording is its path in the column if each row has
        one and no two are equal: relative to their common folder, if they are absolute or URLs.
        Else it is the number of its row, behind the name of the Parquet file.

    Raises
    ------
    NoRecordingsError
        A pattern matches nothing, or no recording can be used.
    CatalogError
        `table` is no table, or lacks a column, or the column holds no recordings; or two URLs
        differ in their query only.
    ValueError, TypeError
        As in `scan`.
    StoreError
        A store cannot be read, or its package is missing.

    Warns
    -----
    DamagedWarning
        Some recordings are damaged.
    """
    threads = worker_count(workers)
    check_scan_options(verify, decoder)
    is_files = isinstance(table, str | os.PathLike) or (
        isinstance(table, list | tuple) and all(isinstance(one, str | os.PathLike) for one in table)
    )
    own: Store | None
    if is_files:
        rows, own, others = _of_parquet(table, audio, columns)
    else:
        rows, own, others = _of_memory(table, audio, columns)
    for name in others.column_names:
        is_taken = name in _table.BUILT_IN or name == "declared_frames"
        rows.columns[f"table_{name}" if is_taken else name] = others[name].take(
            np.array(rows.rows, np.int64)
        )
    place = Stores(store) if rows.are_urls else own
    if isinstance(place, Stores):
        objects = _objects(rows, Addresses(place))
        with closing(Fetcher(place)) as fetcher:
            found, failures = read_recordings(
                objects,
                None,
                threads,
                progress,
                decoder=decoder,
                fetcher=fetcher,
                with_indexes=verify == "decode",
            )
    else:
        found, failures = read_recordings(rows, None, threads, progress, decoder=decoder)
    if verify == "decode":
        found, failures = verify_recordings(
            found, rows.root, failures, None, workers, progress, place
        )
    check_any_usable(found, failures)
    catalog = Catalog(found, rows.root, failures, place)
    if failures:
        warnings.warn(describe_damage(failures, found), DamagedWarning, stacklevel=2)
    return catalog


def _of_memory(
    table: object, audio: str, columns: Sequence[str] | None
) -> tuple[_Rows, Store | None, pa.Table]:
    order = None
    if hasattr(table, "features") and hasattr(table, "with_format"):
        if not hasattr(table, "__len__") or not hasattr(table, "__getitem__"):
            raise CatalogError(
                "A dataset that is streamed has no rows to choose from: load it without "
                "streaming=True, or give its Parquet files."
            )
        table, order = _of_dataset(table)
    elif isinstance(table, dict):
        raise CatalogError(
            f"A {type(table).__name__} is no table: give one of its tables, for example that of "
            f"{brief(next(iter(table), None))}; or make one of its columns with pyarrow.table."
        )
    whole = _table.as_table(table)
    others = whole.select(_further(whole.column_names, audio, columns, "The table"))
    cells, store = read_cells(whole[audio])
    flat = _flat(cells, order)
    rows = _rows(flat, store, [("", len(flat.paths))], os.getcwd())
    if order is not None:
        others = others.take(order)
    in_memory = any(one.store is not None for one in rows.places)
    return rows, store if in_memory else None, others


def _of_parquet(
    patterns: Any,  # noqa: ANN401  as `find` takes them
    audio: str,
    columns: Sequence[str] | None,
) -> tuple[_Rows, Store | None, pa.Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = find(patterns, extensions=_PARQUET)
    cells: list[Cells] = []
    counts: list[tuple[str, int]] = []
    tables: list[pa.Table] = []
    for file_id in files.ids:
        path = join(files.root, file_id)
        try:
            found = read_parquet_cells(path, audio)
            names = pq.read_schema(path).names
            tables.append(pq.read_table(path, columns=_further(names, audio, columns, repr(path))))
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise CatalogError(f"The Parquet file {path!r} cannot be read: {reason}") from None
        cells += found
        counts.append((file_id, sum(len(one.sizes) for one in found)))
    store = ParquetStore(frozenset(one.part for one in cells))
    rows = _rows(_flat(cells), store, counts, files.root)
    rows.failures.extend(files.failures)
    in_parquet = any(one.store is not None for one in rows.places)
    return rows, store if in_parquet else None, _joined(tables)


def _joined(tables: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise CatalogError(
            f"The columns of the Parquet files do not fit together ({error}): "
            "name those that do with columns=."
        ) from None


def _further(
    names: Sequence[str], audio: str, columns: Sequence[str] | None, what: str
) -> list[str]:
    if isinstance(columns, str):
        raise TypeError(f"columns must be a list of names, not {brief(columns)}.")
    for name in [audio, *(columns or ())]:
        if name not in names:
            raise CatalogError(f"{what} has no column {name!r}: it has {brief_list(names)}.")
    return list(columns) if columns is not None else [name for name in names if name != audio]


class _Flat(NamedTuple):
    """All cells of a column, by row."""

    parts: list[str]
    offsets: list[int]
    sizes: list[int]
    paths: list[str | None]


def _flat(cells: Sequence[Cells], order: NDArray[np.int64] | None = None) -> _Flat:
    """Return the cells one after the other, or those in `order`."""
    parts = [one.part for one in cells for _ in range(len(one.sizes))]
    paths = [path for one in cells for path in one.paths]
    none = np.empty(0, np.int64)
    offsets = np.concatenate([none, *(one.offsets for one in cells)])
    sizes = np.concatenate([none, *(one.sizes for one in cells)])
    if order is None:
        return _Flat(parts, offsets.tolist(), sizes.tolist(), paths)
    rows = order.tolist()
    return _Flat(
        [parts[row] for row in rows],
        offsets[order].tolist(),
        sizes[order].tolist(),
        [paths[row] for row in rows],
    )


def _of_dataset(dataset: Any) -> tuple[pa.Table, NDArray[np.int64] | None]:  # noqa: ANN401
    """Return the table of a Hugging Face dataset, and the order of its rows if it has another.

    Its rows in that order would be a copy, of all audio.
    """
    chosen = getattr(dataset, "_indices", None)
    try:
        whole = dataset.data.table.select(dataset.column_names)
        order = None if chosen is None else chosen.table.column(0).to_numpy().astype(np.int64)
    except AttributeError:  # it keeps them elsewhere
        return dataset.with_format("arrow")[:], None
    return whole, order


def _rows(flat: _Flat, store: Store, counts: Sequence[tuple[str, int]], folder: str) -> _Rows:
    """Return the rows that have bytes, or the path of a file; the others are failures.

    If the rows have no bytes and all paths are URLs, those with URLs are returned.
    """
    if not flat.paths:
        raise NoRecordingsError("The table has no rows: give one with recordings.")
    ids, root = _ids(flat.paths, counts)
    folders = [
        join(folder, PurePath(name).parent.as_posix()) if name else folder
        for name, count in counts
        for _ in range(count)
    ]
    are_urls = _are_urls(flat.paths) and max(flat.sizes) < 0
    if not root and counts[0][0] and not are_urls:
        root = folder
    rows = _Rows(root, [], [], [], [], are_urls=are_urls)
    for number, (part, offset, size, path) in enumerate(zip(*flat, strict=True)):
        if size >= 0:
            place = Place(part, offset, size, store.native)
        elif path and is_url(path) and not are_urls:
            message = (
                "its path is a URL, and other rows have bytes or paths of files: make a table of "
                "the rows with URLs"
            )
            rows.failures.append(Failure(ids[number], redacted(path), Code.UNSUPPORTED, message))
            continue
        elif path and are_urls:
            try:
                parse_url(path)
            except CatalogError as error:
                rows.failures.append(Failure(ids[number], "", Code.UNSUPPORTED, str(error)))
                continue
            place = Place(path)
        elif path:
            place = Place(absolute(os.path.join(folders[number], path)))
        else:
            message = f"row {number} has neither bytes nor a path"
            rows.failures.append(Failure(ids[number], part, Code.EMPTY, message))
            continue
        rows.ids.append(ids[number])
        rows.places.append(place)
        rows.rows.append(number)
    return rows


def _are_urls(paths: Sequence[str | None]) -> bool:
    given = [path for path in paths if path]
    return bool(given) and all(map(is_url, given))


def _objects(rows: _Rows, addresses: Addresses) -> ScannedObjects:
    """Return rows with URLs as objects of a store, of which nothing is known yet."""
    urls = [addresses.add(one.path).text for one in rows.places]
    count = len(urls)
    return ScannedObjects(
        rows.root,
        rows.ids,
        urls,
        np.full(count, -1),
        [None] * count,
        np.full(count, -1),
        rows.failures,
        rows.columns,
    )


def _ids(paths: Sequence[str | None], counts: Sequence[tuple[str, int]]) -> tuple[list[str], str]:
    """Return an id for each row, and the folder that they are relative to, or ``""``."""
    given = [path for path in paths if path]
    if _are_urls(paths):
        with suppress(CatalogError):  # no URLs, or of several servers
            texts = [parse_url(path).text for path in given]
            root = common_folder([text.rpartition("/")[0] for text in texts])
            if len(texts) == len(paths) == len(set(texts)):
                return [text.removeprefix(join(root, "")) for text in texts], root
    elif len(given) == len(paths) == len(set(given)) and not any(map(is_url, given)):
        posix = [path.replace(os.sep, "/") for path in given]
        if all(os.path.isabs(path) for path in given):
            root = os.path.commonpath([os.path.dirname(path) for path in given])
            root = root.replace(os.sep, "/")
            return [path.removeprefix(join(root, "")) for path in posix], root
        if not any(os.path.isabs(path) or ".." in path.split("/") for path in posix):
            return [path.removeprefix("./") for path in posix], ""
    ids = []
    for name, count in counts:
        width = len(str(max(0, count - 1)))
        before = f"{name}/" if name else ""
        ids += [f"{before}{row:0{width}}" for row in range(count)]
    return ids, ""
