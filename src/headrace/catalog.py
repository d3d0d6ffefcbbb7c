"""`Catalog`: what the headers of many recordings say, as an immutable table."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, cast, overload

import numpy as np

from headrace import cutting, storage, tables
from headrace.errors import CatalogError, DamagedWarning, HeadraceWarning
from headrace.finder import find
from headrace.headers import worker_count
from headrace.paths import absolute, join
from headrace.records import Failure, Recording
from headrace.rows import Row, each_recording, each_row
from headrace.scanner import earlier_scan, take_stock
from headrace.survey import contents, damaged, refuse_none
from headrace.verify import verify as decode_all

if TYPE_CHECKING:
    import os

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Catalog", "Row", "load_catalog", "scan"]


@dataclass(frozen=True, eq=False, repr=False)
class Catalog(Sequence[Recording]):
    """Recordings, in a fixed order, each with a unique id.

    Made by `scan`, `load_catalog` or `Catalog.from_table`; immutable. ``catalog[3]`` is a
    `Recording`, ``catalog[3:9]`` a `Catalog`, iteration yields `Recording`.

    Attributes
    ----------
    root : str
        Folder that the ids are relative to; ``""`` where a table did not say.
    failures : tuple of Failure
        What a scan found and could not use; views of a catalog keep them.
    """

    _table: pa.Table
    root: str = ""
    failures: tuple[Failure, ...] = ()

    @classmethod
    def from_table(
        cls, table: pa.Table | pd.DataFrame, root: str | os.PathLike[str] | None = None
    ) -> Catalog:
        """Make a catalog of a table; touches no audio file.

        Parameters
        ----------
        table : Arrow table or pandas DataFrame
            Columns ``id`` or ``path`` (or both), ``sample_rate`` (Hz), ``channels``, ``frames``,
            ``format`` and ``subtype`` (libsndfile's names, as ``"WAV"``, ``"PCM_16"``); optional
            ``size`` (bytes), ``mtime_ns``, a scan's ``seek_points``; any further ones are kept.
        root : str or path, optional
            Every path becomes ``root/id``. Without a column ``id``: what ids are relative to,
            default the common folder of all paths.

        Returns
        -------
        Catalog
            In the order of the table.

        Raises
        ------
        CatalogError
            A column is missing, a value is null, not positive or of a wrong type, or an id stands
            there twice.
        """
        arrow = tables.as_table(table)
        was, failures = storage.described(arrow) or ("", ())
        if root is not None:
            has_ids = "id" in arrow.column_names  # else it is a part of the paths as they are
            root = absolute(root) if has_ids else Path(root).as_posix()
            failures = tuple(replace(one, path=join(root, one.file_id)) for one in failures)
        whole, found = tables.checked(arrow, root)
        catalog = cls(whole, was if found is None else found, failures)
        # Now and not when the first loader is made, which then begins at once: some 70 ms for a
        # million recordings, beside the rest of loading them.
        catalog.fingerprint, catalog.kinds  # noqa: B018
        return catalog

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Recording: ...
    @overload
    def __getitem__(self, index: slice) -> Catalog: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Recording | Catalog:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._view(self._table.slice(start, max(0, stop - start)))
            return self._view(self._table.take(np.arange(start, stop, step, dtype=np.int64)))
        row = operator.index(index)
        if not -len(self) <= row < len(self):
            raise IndexError(f"there is no recording {row}: the catalog has {len(self)}")
        return self.recording(row % len(self))

    def __iter__(self) -> Iterator[Recording]:
        return each_recording(self._table)

    def __repr__(self) -> str:
        return f"<Catalog: {contents(self._table, self.failures)}; root {self.root!r}>"

    def _repr_html_(self) -> str:
        from headrace.cards import catalog_card  # noqa: PLC0415  only notebooks ask

        return catalog_card(self)

    def __reduce__(self) -> tuple[Callable[[bytes], Catalog], tuple[bytes]]:
        return _unpickled, (storage.to_bytes(self.to_arrow()),)

    def recording(self, row: int) -> Recording:
        """Return the recording in this row, from 0."""
        return Recording(*(column[row].as_py() for column in self._built_in))

    @cached_property
    def _built_in(self) -> tuple[pa.ChunkedArray, ...]:
        return tuple(self._table[name] for name in tables.BUILT_IN)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns; the ten built-in ones come first."""
        return tuple(self._table.column_names)

    @property
    def ids(self) -> pa.ChunkedArray:
        """The id of each recording, as an Arrow array of strings."""
        return self._table["id"]

    @cached_property
    def frames(self) -> NDArray[np.int64]:
        """Frames of each recording: int64, shape ``(len(catalog),)``, read-only."""
        return self._integers("frames")

    @cached_property
    def sample_rates(self) -> NDArray[np.int64]:
        """Hz of each recording: int64, shape ``(len(catalog),)``, read-only."""
        return self._integers("sample_rate")

    @cached_property
    def channels(self) -> NDArray[np.int64]:
        """Channels of each recording: int64, shape ``(len(catalog),)``, read-only."""
        return self._integers("channels")

    def _integers(self, name: str) -> NDArray[np.int64]:
        values: NDArray[np.int64] = self._table[name].to_numpy().astype(np.int64, copy=False)
        values.flags.writeable = False
        return values

    def column(self, name: str) -> NDArray[Any]:
        """Return a column as NumPy, shape ``(len(catalog),)``; null is NaN in numbers, else None.

        ``catalog.filter(catalog.column("site") == "A")`` compares all rows at once. For Arrow, say
        ``catalog.to_arrow()[name]``.

        Raises
        ------
        CatalogError
            There is no such column.
        """
        if name not in self.columns:
            raise CatalogError(f"There is no column {name!r}: there are {', '.join(self.columns)}.")
        values: NDArray[Any] = self._table[name].to_numpy()
        return values

    @cached_property
    def duration_s(self) -> float:
        """Seconds of audio, all together."""
        return float(np.sum(self.frames / self.sample_rates))

    @cached_property
    def kinds(self) -> tuple[tuple[int, int, str, str], ...]:
        """The distinct (sample rate, channels, format, subtype), sorted."""
        return tables.kinds(self._table)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids, frames and sample rates, in order: 32 hexadecimal digits.

        The same on every machine; paths and times of change are not in it.
        """
        return tables.fingerprint(self._table)

    def filter(self, rows: Callable[[Row], object] | Iterable[bool]) -> Catalog:
        """Return the catalog of some of these recordings, in the same order.

        Parameters
        ----------
        rows : function or mask
            A function of a `Row` (a `Recording` that also has ``row["site"]``) that is true for
            rows to keep; or a bool for each row, in NumPy, Arrow, pandas or a list. Null is
            not true.

        Raises
        ------
        CatalogError
            The mask is not of bools, or not one for each row.
        """
        if callable(rows):
            rows = [bool(rows(row)) for row in each_row(self._table)]
        return self._view(tables.masked(self._table, rows))

    def with_columns(
        self,
        table: pa.Table | pd.DataFrame | None = None,
        /,
        **columns: Callable[[Row], Any] | Mapping[str, Any] | Any,  # noqa: ANN401
    ) -> Catalog:
        """Return the same catalog with columns added, or replaced.

        Parameters
        ----------
        table : Arrow table or pandas DataFrame, optional
            With a column ``id``; all its other columns are joined on that.
        **columns
            For the column of that name: a function of a `Row` (a `Recording` that also has
            ``row["site"]``); a mapping from id; a table with the columns ``id`` and that name; or
            an array or list with a value for each row. Rows whose id is not there become null.

        Raises
        ------
        CatalogError
            The name is a built-in column's, the values cannot be one column, an id stands in a
            table twice, or no id is the catalog's.
        """
        ids = self._table["id"]
        new: dict[str, pa.ChunkedArray] = {}
        if table is not None:
            new = tables.joined(tables.as_table(table), ids)
        for name in (*new, *columns):
            if name in tables.BUILT_IN:
                raise CatalogError(
                    f"The column {name!r} is what the header says and stays: choose another name."
                )
        for name, values in columns.items():
            given = [values(row) for row in each_row(self._table)] if callable(values) else values
            new[name] = tables.column_of(name, given, ids)
        return self._view(tables.with_columns(self._table, new))

    split = cutting.split
    windows = cutting.windows
    windows_at = cutting.windows_at

    def to_arrow(self) -> pa.Table:
        """Return all columns as an Arrow table; root and failures are in its metadata."""
        return storage.describe(self._table, self.root, self.failures)

    def to_pandas(self) -> pd.DataFrame:
        """Return all columns as a pandas DataFrame; needs pandas."""
        return cast("pd.DataFrame", self._table.to_pandas())

    def save(self, file: str | os.PathLike[str]) -> None:
        """Save to a Parquet file, which is replaced as a whole or left as it was.

        Raises
        ------
        CatalogError
            There is no such folder, `file` is one, or a column has a type that Parquet does not
            know.
        OSError
            The system refuses.
        """
        storage.write(self.to_arrow(), file)

    def _view(self, table: pa.Table) -> Catalog:
        return Catalog(table, self.root, self.failures)


def load_catalog(
    file: str | os.PathLike[str], root: str | os.PathLike[str] | None = None
) -> Catalog:
    """Load a saved catalog; touches no audio file.

    Parameters
    ----------
    file : str or path
        What `Catalog.save`, or `scan` with ``cache=``, wrote.
    root : str or path, optional
        Where the recordings are now: every path becomes ``root/id``.

    Raises
    ------
    NoRecordingsError
        There is no such file.
    CatalogError
        The file is damaged, or something else.
    OSError, MemoryError
        The system does not let it be read, or has no room for it.
    """
    return Catalog.from_table(storage.read(file, but=() if root is None else ("path",)), root)


def scan(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    cache: str | os.PathLike[str] | None = None,
    verify: Literal["headers", "decode"] = "headers",
    workers: int | Literal["auto"] = "auto",
    progress: bool | None = None,
) -> Catalog:
    """Find recordings and read their headers, in threads.

    Parameters
    ----------
    patterns : str, path, or several
        Recursive globs (``"raw_data/**/*.wav"``), files, or folders: all audio below them. Case
        does not matter in extensions; hidden names match a component that begins with a dot.
    root : str or path, optional
        What ids are relative to; default the common folder of all patterns, each taken up to its
        first wildcard.
    cache : str or path, optional
        A Parquet file that holds the catalog of the last scan. Only files that are new, have
        another size or time of change, or could not be used, are read; those gone are dropped;
        further columns are kept, null for new files. It is replaced as a whole, at the end.
    verify : {"headers", "decode"}
        Whether headers are believed, or every file is decoded: ``frames`` is then what decoding
        gives, ``declared_frames`` what the header says. With `cache`, a recording that has not
        changed is not decoded again; a file of which nothing can be used, or that could not be
        read just then, is.
    workers : int or "auto"
        Threads; 0 reads in the calling thread.
    progress : bool, optional
        Whether a bar is drawn on standard error; default if that is a terminal.

    Returns
    -------
    Catalog
        Sorted by id. Damaged files are in ``catalog.failures``; with ``verify="decode"`` those of
        which a part can be used are in both.

    Raises
    ------
    NoRecordingsError
        A pattern matches nothing, or all that match are damaged.
    CatalogError
        A file lies outside `root`, patterns have no common folder, or `cache` is something else
        than a catalog.
    ValueError, TypeError
        `verify` or `workers` is none of the above, or a pattern is no string.
    OSError, MemoryError
        The system does not let the cache be read or written, or has no room for it.

    Warns
    -----
    DamagedWarning
        Some files are damaged.
    HeadraceWarning
        The cache was damaged: it has been put aside.
    """
    threads = worker_count(workers)
    if verify not in ("headers", "decode"):
        raise ValueError(f'verify must be "headers" or "decode", not {verify!r}.')
    earlier, warning = earlier_scan(cache)
    if warning:
        warnings.warn(warning, HeadraceWarning, stacklevel=2)
    table, top, failures = take_stock(find(patterns, root), earlier, threads, progress)
    if verify == "decode":
        table, failures = decode_all(table, top, failures, cache, workers, progress)
    refuse_none(table, failures)
    catalog = Catalog(table, top, failures)
    if cache is not None and (
        earlier is None or not catalog.to_arrow().equals(earlier, check_metadata=True)
    ):
        catalog.save(cache)
    if catalog.failures:
        warnings.warn(damaged(catalog.failures, table), DamagedWarning, stacklevel=2)
    return catalog


def _unpickled(stream: bytes) -> Catalog:
    table = storage.from_bytes(stream)
    return Catalog(table, *(storage.described(table) or ("", ())))
