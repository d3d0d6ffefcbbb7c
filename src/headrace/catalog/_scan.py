"""`scan`: find recordings, read their headers, and put a catalog together.

With a cache, what an earlier scan found out about a file is used again if its size and time of
change are the same.
"""

from __future__ import annotations

import time
import warnings
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from headrace._formatting import brief
from headrace.catalog import _parquet, _table
from headrace.catalog._catalog import Catalog
from headrace.catalog._damage import check_any_usable, describe_damage
from headrace.catalog._find import find
from headrace.catalog._find_objects import are_urls, find_objects
from headrace.catalog._headers import Listed, read_headers, worker_count
from headrace.catalog._metadata import MetadataOptions, MetadataReader
from headrace.catalog._object_headers import read_object_headers
from headrace.catalog._object_tars import open_object_tars
from headrace.catalog._objects import ScannedObjects
from headrace.catalog._tars import open_tars
from headrace.catalog._verify import DECLARED, verify_recordings
from headrace.errors import DamagedWarning, HeadraceWarning, NoRecordingsError
from headrace.failures import TEMPORARY, Failure
from headrace.storage import DiskCache, Fetcher, Stores, check_cache, is_url

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Sequence
    from datetime import tzinfo

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.codecs import Recording

__all__ = ["check_metadata_options", "check_scan_options", "read_recordings", "scan"]

_KEEP_INTERVAL_S: Final = 60.0
"""Between two times that an unfinished scan of a store is saved, as decoding is. A guess."""


def scan(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    verify: Literal["headers", "decode"] = "headers",
    decoder: Literal["auto", "ffmpeg", "libsndfile"] = "auto",
    workers: int | Literal["auto"] = "auto",
    progress: bool | None = None,
    store: object = None,
    metadata: bool = False,
    tz: str | tzinfo | None = None,
    time_pattern: str | None = None,
    disk_cache: str | os.PathLike[str] | None = None,
    disk_cache_size: str | int | None = None,
) -> Catalog:
    """Find recordings and read their headers in threads.

    Parameters
    ----------
    patterns : str, path, or several
        Recursive globs (``"raw_data/**/*.wav"``), files, or folders (all audio files below them).
        The members of a tar are recordings: of one that is named (``"shards/train-*.tar"``), not
        of those that a folder holds.
        Extensions match without regard to case. Hidden names match only a component that begins
        with a dot. Or URLs with the same patterns: ``"s3://bucket/2025/**/*.flac"``, ``gs://``,
        ``az://`` (needs ``pip install 'headrace[cloud]'``); and URLs of single files on a web
        server, ``https://``.
    root : str or path, optional
        Folder that ids are relative to. Default: the common folder of all patterns, each taken up
        to its first wildcard.
    cache : str or path, optional
        Parquet file with the catalog of the last scan. Only files that are new, have another size
        or time of change, or could not be used before are read. Files that no longer exist are
        dropped. Your own columns are kept, with null for new files. The cache is replaced as a
        whole, at the end. A scan of a store that is interrupted keeps what it has read, too;
        of one that is killed, what it had read up to a minute before is kept.
    verify : {"headers", "decode"}
        ``"headers"`` finds what each file holds as far as that takes no decoding. ``"decode"``
        decodes every file: ``frames`` is then the number of frames up to which decoding gets, and
        ``declared_frames`` what the header says. With `cache`, unchanged recordings are not decoded
        again, except files that cannot be used at all and files that could not be read at that
        moment.
    decoder : {"auto", "ffmpeg", "libsndfile"}
        What decodes Vorbis and Opus in Ogg. ``"ffmpeg"`` reads random windows without a decode from
        the start; the scan reads the whole file, and decodes nothing. ``"libsndfile"`` decodes as
        headrace 0.1 did: from the start of the file. ``"auto"`` is FFmpeg, except for
        unchanged files that `cache` has otherwise. The catalog names the decoder. Other files have
        one decoder, whatever is given here.
    workers : int or "auto"
        Threads; 0 reads in the calling thread.
    progress : bool, optional
        Whether to draw a progress bar on standard error. Default: if that is a terminal.
    store : optional
        How to reach what URLs name: a mapping with options of obstore's stores (``endpoint``,
        ``region``, ``skip_signature`` for a public bucket, ...), a store of obstore, or a file
        system of fsspec. Default: what obstore finds in the environment, such as
        ``AWS_ACCESS_KEY_ID``. It is kept in memory with the catalog, and neither saved nor pickled.
    metadata : bool
        Whether to add the columns of `Catalog.with_metadata`. With `cache`, those of unchanged
        files are kept, unless `tz` or `time_pattern` has changed.
    tz, time_pattern
        As in `Catalog.with_metadata`.
    disk_cache : str or path, optional
        Folder that keeps what is fetched from a store. A loader that is given it as its ``cache=``
        does not fetch that again.
    disk_cache_size : int or str
        The most bytes in that folder: a number, or such as ``"200 GiB"``.

    Returns
    -------
    Catalog
        Sorted by id. Damaged files are in ``catalog.failures``; files that can be used in part, or
        whose header declares another length than they have, are in both.

    Raises
    ------
    NoRecordingsError
        A pattern matches nothing, or all matching files are damaged.
    CatalogError
        A file lies outside `root`, the patterns have no common folder, or `cache` is a file other
        than a catalog.
    ValueError, TypeError
        `verify`, `decoder`, `workers` or `disk_cache_size` has another value, only one of
        `disk_cache` and `disk_cache_size` is given, a pattern is not a string or path, there is no
        such zone, or `time_pattern` is not as described.
    StoreError
        A store cannot be listed, or its package is missing.
    OSError, MemoryError
        The system cannot read or write the cache, or has no memory for it.

    Warns
    -----
    DamagedWarning
        Some files are damaged.
    HeadraceWarning
        The cache is damaged. It has been renamed. Or the disk cache cannot be used, or metadata are
        missing or contradictory.
    """
    threads = worker_count(workers)
    cache_bytes = check_cache(disk_cache, disk_cache_size, "disk_cache")
    check_scan_options(verify, decoder)
    wanted = check_metadata_options(tz, time_pattern, metadata=metadata)
    earlier, warning = _load_cache(cache)
    if warning:
        warnings.warn(warning, HeadraceWarning, stacklevel=2)
    urls = are_urls(patterns)
    stores = Stores(store) if urls else None
    with ExitStack() as stack:
        fetcher = None
        files: Listed
        if stores is None:
            files = open_tars(find(patterns, root))
        else:
            fetcher = Fetcher(stores, cache=_disk_cache(disk_cache, cache_bytes))
            stack.enter_context(closing(fetcher))
            found = fetcher.run(find_objects(urls, stores, None if root is None else str(root)))
            files = open_object_tars(found, fetcher)
        keep = None
        if cache is not None and fetcher is not None:
            keep = partial(_save_part, cache=cache, root=files.root, earlier=earlier, wanted=wanted)
        reader = None if wanted is None else MetadataReader(wanted)
        table, failures = read_recordings(
            files,
            earlier,
            threads,
            progress,
            decoder=decoder,
            fetcher=fetcher,
            keep=keep,
            metadata=reader,
            with_indexes=verify == "decode",
        )
        problem = None if fetcher is None else fetcher.problem
    if problem is not None:
        warnings.warn(problem[0].upper() + problem[1:], HeadraceWarning, stacklevel=2)
    if verify == "decode":
        table, failures = verify_recordings(
            table,
            files.root,
            failures,
            cache,
            workers,
            progress,
            stores,
            None if stores is None else _disk_cache(disk_cache, cache_bytes),
        )
    check_any_usable(table, failures)
    catalog = Catalog(table, files.root, failures, stores)
    if cache is not None and (
        earlier is None or not catalog.to_arrow().equals(earlier, check_metadata=True)
    ):
        catalog.save(cache)
    if catalog.failures:
        warnings.warn(describe_damage(catalog.failures, table), DamagedWarning, stacklevel=2)
    if reader is not None:
        reader.warn(stacklevel=3)
    return catalog


def check_metadata_options(
    tz: str | tzinfo | None, time_pattern: str | None, *, metadata: bool
) -> MetadataOptions | None:
    """Return the options of the columns that are wanted, or None if none are.

    Raises
    ------
    ValueError, TypeError
        An option is wrong, or of no use.
    """
    if metadata:
        return MetadataOptions.create(tz, time_pattern)
    for name, value in (("tz", tz), ("time_pattern", time_pattern)):
        if value is not None:
            raise ValueError(f"{name}= is about the times of metadata: give metadata=True, too.")
    return None


def _disk_cache(folder: str | os.PathLike[str] | None, size: int | None) -> DiskCache | None:
    return None if folder is None or size is None else DiskCache(folder, size)


def check_scan_options(verify: str, decoder: str) -> None:
    """Check two arguments of `scan`.

    Raises
    ------
    ValueError
        A value is not one of those that it takes.
    """
    if verify not in ("headers", "decode"):
        raise ValueError(f'verify must be "headers" or "decode", not {brief(verify)}.')
    if decoder not in ("auto", "ffmpeg", "libsndfile"):
        raise ValueError(f'decoder must be "auto", "ffmpeg" or "libsndfile", not {brief(decoder)}.')


def _load_cache(cache: str | os.PathLike[str] | None) -> tuple[pa.Table | None, str]:
    """Return the table in `cache` and ``""``, or None and a warning if the file is damaged.

    Without a file, the result is None and ``""``.

    A damaged file is renamed and never overwritten: it may hold columns that the user made.

    Raises
    ------
    CatalogError
        `cache` is a file other than a catalog, or its folder does not exist.
    """
    if cache is None:
        return None, ""
    _parquet.check_catalog_file(cache)
    try:
        table = _parquet.read(cache)
        complete, _ = _table.validate(table)
        return complete.replace_schema_metadata(table.schema.metadata), ""
    except NoRecordingsError:
        return None, ""
    except _parquet.DamagedError as error:
        renamed = _unused_name(Path(cache))
        Path(cache).rename(renamed)
        return None, f"{error} It was renamed to {str(renamed)!r}, and all headers are read again."


def read_recordings(
    files: Listed,
    earlier: pa.Table | None,
    workers: int,
    progress: bool | None,
    *,
    decoder: Literal["auto", "ffmpeg", "libsndfile"],
    fetcher: Fetcher | None = None,
    keep: Callable[[pa.Table, Sequence[Failure]], None] | None = None,
    metadata: MetadataReader | None = None,
    with_indexes: bool = False,
) -> tuple[pa.Table, tuple[Failure, ...]]:
    """Read the headers of new and changed files, and take those of other files from `earlier`.

    Parameters
    ----------
    files : Listed
        The files, objects in a store, members of tars, or values of a table.
    earlier : Arrow table, optional
        The catalog of an earlier scan of these or other files.
    workers, progress
        As in `read_headers`.
    decoder
        As in `scan`.
    fetcher : Fetcher, optional
        What fetches objects.
    keep : callable, optional
        Called each minute, and if reading is interrupted, by Ctrl-C or an error, with the
        recordings and the failures that have been found.
    metadata : MetadataReader, optional
        What makes the columns of metadata, if they are wanted.
    with_indexes : bool
        Do not put off the index of a recording.

    Returns
    -------
    table : Arrow table
        The usable files in the order of `files`, with the further columns of `earlier`.
    failures : tuple of Failure
        The other files, and those whose headers claim what they do not hold, by id.
    """
    import pyarrow as pa

    rows = None if earlier is None else _rows_in_earlier(files, earlier)
    tables: list[pa.Table] = []
    recordings: list[Recording] = []
    failures = list(files.failures)
    unchanged = np.zeros(len(files.ids), bool)
    usable = np.zeros(len(files.ids), bool)
    kept_at = time.monotonic()
    headers = _read_headers(
        files,
        earlier,
        rows,
        workers=workers,
        progress=progress,
        decoder=decoder,
        fetcher=fetcher,
        metadata=metadata,
        with_indexes=with_indexes,
    )

    try:
        with closing(headers):
            for index, header in enumerate(headers):
                if isinstance(header, Failure):
                    failures.append(header)
                    continue
                usable[index] = True
                if header is None:
                    unchanged[index] = True
                    continue
                failures += header.defects
                recordings.append(header)
                is_due = keep is not None and time.monotonic() - kept_at > _KEEP_INTERVAL_S
                if is_due or len(recordings) == _table.ROWS_AT_ONCE:
                    tables.append(_table_of(recordings, metadata))
                    recordings.clear()
                if is_due and keep is not None:
                    with suppress(OSError):  # a disk that is full now may have room at the end
                        keep(pa.concat_tables(tables), failures)
                    kept_at = time.monotonic()
    except BaseException:
        if keep is not None:
            keep(pa.concat_tables([*tables, _table_of(recordings, metadata)]), failures)
        raise
    table = pa.concat_tables([*tables, _table_of(recordings, metadata)])
    if earlier is not None and rows is not None:
        failures += _failures_of_unchanged(files, earlier, rows, unchanged)
        table = _add_unchanged(table, earlier, files, rows=rows, unchanged=unchanged, usable=usable)
    table = _table.with_columns(
        table, {name: column.filter(usable) for name, column in files.columns.items()}
    )
    if metadata is not None:
        table = metadata.options.mark(table)
    failures.sort(key=lambda failure: failure.file_id)
    return table, tuple(failures)


def _table_of(recordings: Sequence[Recording], metadata: MetadataReader | None) -> pa.Table:
    """Return a table of recordings that were read, with their metadata, if they are wanted."""
    table = _table.from_recordings(recordings)
    if metadata is None:
        return table
    return _table.with_columns(table, metadata.columns([one.id for one in recordings]))


def _read_headers(
    files: Listed,
    earlier: pa.Table | None,
    rows: NDArray[np.int64] | None,
    *,
    workers: int,
    progress: bool | None,
    decoder: Literal["auto", "ffmpeg", "libsndfile"],
    fetcher: Fetcher | None,
    metadata: MetadataReader | None,
    with_indexes: bool,
) -> Generator[Recording | Failure | None]:
    """Return what reads the headers: see `read_recordings`. `rows` are those in `earlier`."""
    known = None
    made = metadata is None or (earlier is not None and metadata.options.made(earlier))
    if earlier is not None and rows is not None and made:
        known = _sizes_and_times(earlier, rows, decoder, with_indexes=with_indexes)
    inspect = None if metadata is None else metadata.read
    ogg_by_libsndfile = decoder == "libsndfile"
    if fetcher is not None and isinstance(files, ScannedObjects):
        return read_object_headers(
            files,
            fetcher,
            known=None if known is None else (known[0], known[2], _versions(earlier, rows)),
            workers=workers,
            progress=progress,
            ogg_by_libsndfile=ogg_by_libsndfile,
            from_ends=not with_indexes,
            inspect=inspect,
        )
    return read_headers(
        files,
        known=known,
        workers=workers,
        progress=progress,
        ogg_by_libsndfile=ogg_by_libsndfile,
        inspect=inspect,
    )


def _save_part(
    new: pa.Table,
    failures: Sequence[Failure],
    *,
    cache: str | os.PathLike[str],
    root: str,
    earlier: pa.Table | None,
    wanted: MetadataOptions | None,
) -> None:
    """Save what an unfinished scan has read, beside what the cache had."""
    import pyarrow as pa
    import pyarrow.compute as pc

    new_ids = set(new["id"].to_pylist())
    kept = [one for one in failures if one.file_id in new_ids]
    table = new
    if earlier is not None:
        earlier_root, known = _parquet.read_metadata(earlier) or ("", ())
        if earlier_root != root:  # other ids
            return
        others = earlier.filter(
            pc.invert(pc.is_in(earlier["id"], value_set=new["id"].combine_chunks()))
        )
        table = pa.concat_tables([others, new], promote_options="default")
        kept += [one for one in known if one.file_id not in new_ids]
    if wanted is not None and (earlier is None or wanted.made(earlier)):
        table = wanted.mark(table)
    if new_ids:
        _parquet.write(_parquet.with_metadata(table, root, tuple(kept)), cache)


def _failures_of_unchanged(
    files: Listed, earlier: pa.Table, rows: NDArray[np.int64], unchanged: NDArray[np.bool_]
) -> list[Failure]:
    """Return the failures that decoding found earlier in files that have not changed since."""
    import pyarrow as pa

    metadata = _parquet.read_metadata(earlier)
    by_id: dict[str, list[Failure]] = {}
    for failure in () if metadata is None else metadata[1]:
        if failure.code not in TEMPORARY:
            by_id.setdefault(failure.file_id, []).append(failure)
    if not by_id:
        return []
    indices = np.flatnonzero(unchanged)
    earlier_ids = earlier["id"].take(pa.array(rows[indices])).to_pylist()
    return [
        replace(failure, file_id=files.ids[index], path=files.place(index).path)
        for index, earlier_id in zip(indices.tolist(), earlier_ids, strict=True)
        for failure in by_id.get(earlier_id, ())
    ]


def _add_unchanged(
    new: pa.Table,
    earlier: pa.Table,
    files: Listed,
    *,
    rows: NDArray[np.int64],
    unchanged: NDArray[np.bool_],
    usable: NDArray[np.bool_],
) -> pa.Table:
    """Return the new rows and the unchanged rows of `earlier`, in the order of `files`."""
    import pyarrow as pa

    from_headers = new.column_names  # the columns of metadata are among them, if they are wanted
    kept = earlier.select(from_headers if unchanged.any() else list(_table.BUILT_IN))
    kept = kept.take(rows[unchanged])
    ids = pa.chunked_array([pa.array(files.ids, pa.string()).take(np.flatnonzero(unchanged))])
    kept = kept.set_column(0, "id", ids)
    paths = pa.array(files.paths(), pa.string()).take(np.flatnonzero(unchanged))
    kept = kept.set_column(1, "path", pa.chunked_array([paths]))
    indices = np.concatenate([np.flatnonzero(unchanged), np.flatnonzero(usable & ~unchanged)])
    table = pa.concat_tables([kept, new] if len(kept) else [new]).take(np.argsort(indices))
    rows_of_usable = pa.array(rows[usable], mask=rows[usable] < 0)
    rows_of_unchanged = pa.array(rows[usable], mask=~unchanged[usable])
    for name in earlier.column_names:
        if name not in from_headers:
            # The declared length is that of the unchanged file. A user's column describes the
            # recording, so it is kept when the file changes.
            kept_rows = rows_of_unchanged if name == DECLARED else rows_of_usable
            table = table.append_column(name, earlier[name].take(kept_rows))
    return table


def _rows_in_earlier(files: Listed, earlier: pa.Table) -> NDArray[np.int64]:
    """Return for each file its row in the earlier catalog, or -1.

    Files are matched by path. If the earlier root no longer exists, the archive has moved, and
    files are matched by id.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    metadata = _parquet.read_metadata(earlier)
    has_moved = metadata is not None and not is_url(metadata[0]) and not Path(metadata[0]).is_dir()
    ids = pa.chunked_array([pa.array(files.ids, pa.string())])
    if has_moved:
        rows = pc.index_in(ids, value_set=earlier["id"])
    else:
        # Of a member of a tar, the path is that of the tar.
        root = "" if metadata is None else metadata[0]
        of_members = pc.is_valid(earlier["offset"])
        paths = pc.if_else(of_members, _table.paths_under(root, earlier["id"]), earlier["path"])
        rows = pc.index_in(_table.paths_under(files.root, ids), value_set=paths)
    earlier_rows: NDArray[np.int64] = pc.fill_null(rows, -1).to_numpy().astype(np.int64)
    return earlier_rows


def _sizes_and_times(
    earlier: pa.Table,
    rows: NDArray[np.int64],
    decoder: Literal["auto", "ffmpeg", "libsndfile"],
    *,
    with_indexes: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return size (-1 if unknown), time of change and offset (-1 for a file) of some rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(earlier):
        return np.full(len(rows), -1), np.zeros(len(rows), np.int64), np.full(len(rows), -1)
    size, mtime_ns = (earlier[name].to_numpy()[rows] for name in ("size", "mtime_ns"))
    offset = pc.fill_null(earlier["offset"], -1).to_numpy()[rows]
    # Scans of earlier versions did not look for seek points.
    without_seek_points = pc.and_(
        pc.equal(earlier["format"], "MP3"), pc.is_null(earlier["seek_points"])
    )
    is_unknown = (rows < 0) | without_seek_points.to_numpy()[rows]
    if with_indexes:
        is_unknown |= _table.has_put_off(earlier).to_numpy()[rows]
    if decoder != "auto":  # then Vorbis and Opus in Ogg that another one decodes are read again
        has_ogg_codec = pc.is_in(
            pc.utf8_lower(earlier["subtype"]), value_set=pa.array(["opus", "vorbis"])
        )
        other = pc.equal(earlier["format"], "OGG" if decoder == "ffmpeg" else "OGGS")
        is_unknown |= pc.and_(other, has_ogg_codec).to_numpy()[rows]
    return np.where(is_unknown, -1, size), mtime_ns, offset


def _versions(earlier: pa.Table | None, rows: NDArray[np.int64] | None) -> list[str | None]:
    """Return the versions of the objects in these rows of `earlier`; None in row -1."""
    import pyarrow as pa

    assert earlier is not None
    assert rows is not None
    versions: list[str | None] = earlier["version"].take(pa.array(rows, mask=rows < 0)).to_pylist()
    return versions


def _unused_name(file: Path) -> Path:
    number = 1
    while (name := file.with_name(f"{file.name}.damaged-{number}")).exists():
        number += 1
    return name
