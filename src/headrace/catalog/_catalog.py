"""`Catalog`: what the headers of many recordings say, as an immutable table."""

from __future__ import annotations

import hashlib
import math
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, cast, overload

import numpy as np

from headrace._apportion import apportion
from headrace._paths import absolute, join
from headrace._validation import arrow_errors_explained, check_whole_number
from headrace.catalog import _parquet, _table
from headrace.catalog._descriptions import check_any_usable, describe_contents, describe_damage
from headrace.catalog._find import find
from headrace.catalog._headers import worker_count
from headrace.catalog._rows import Row, each_recording, each_row
from headrace.catalog._scan import earlier_scan, take_stock
from headrace.catalog._verify import verify as decode_all
from headrace.codecs import Recording
from headrace.errors import CatalogError, DamagedWarning, HeadraceWarning

if TYPE_CHECKING:
    import os

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.failures import Failure
    from headrace.windows import Channel, Tail, Windows

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
        arrow = _table.as_table(table)
        was, failures = _parquet.described(arrow) or ("", ())
        if root is not None:
            has_ids = "id" in arrow.column_names  # else it is a part of the paths as they are
            root = absolute(root) if has_ids else Path(root).as_posix()
            failures = tuple(replace(one, path=join(root, one.file_id)) for one in failures)
        whole, found = _table.checked(arrow, root)
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
        return f"<Catalog: {describe_contents(self._table, self.failures)}; root {self.root!r}>"

    def _repr_html_(self) -> str:
        from headrace.display import catalog_card

        return catalog_card(self)

    def __reduce__(self) -> tuple[Callable[[bytes], Catalog], tuple[bytes]]:
        return _unpickled, (_parquet.to_bytes(self.to_arrow()),)

    def recording(self, row: int) -> Recording:
        """Return the recording in this row, from 0."""
        return Recording(*(column[row].as_py() for column in self._built_in))

    @cached_property
    def _built_in(self) -> tuple[pa.ChunkedArray, ...]:
        return tuple(self._table[name] for name in _table.BUILT_IN)

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
        return _table.kinds(self._table)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids, frames and sample rates, in order: 32 hexadecimal digits.

        The same on every machine; paths and times of change are not in it.
        """
        return _table.fingerprint(self._table)

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
        return self._view(_table.masked(self._table, rows))

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
            new = _table.joined(_table.as_table(table), ids)
        for name in (*new, *columns):
            if name in _table.BUILT_IN:
                raise CatalogError(
                    f"The column {name!r} is what the header says and stays: choose another name."
                )
        for name, values in columns.items():
            given = [values(row) for row in each_row(self._table)] if callable(values) else values
            new[name] = _table.column_of(name, given, ids)
        return self._view(_table.with_columns(self._table, new))

    def windows(
        self,
        sample_rate: int | None = 16_000,
        window_s: float = 5.0,
        hop_s: float | None = None,
        *,
        tail: Tail = "pad",
        min_tail_s: float | None = None,
        channel: Channel = "mix",
    ) -> Windows:
        """Cut the recordings into windows of one length; reads nothing.

        Parameters
        ----------
        sample_rate : int or None
            Hz of the windows; None for the recordings' own, which must then be one.
        window_s, hop_s : float
            Seconds of a window, and between the starts of two; default one after the other.
        tail : {"pad", "shift", "drop"}
            What becomes of audio after the last full window: one more window filled up with zeros,
            one more that ends with the recording, or nothing.
        min_tail_s : float, optional
            With ``"pad"``, the least audio (s) that is worth one more window; default a quarter of
            `window_s`.
        channel : "mix", "all" or int
            The mean of all channels; every channel; or one, from 0.

        Raises
        ------
        InvalidWindowsError
            These recordings cannot be cut so.
        """
        from headrace.windows import cut_recordings

        return cut_recordings(
            self,
            sample_rate,
            window_s,
            hop_s,
            tail=tail,
            min_tail_s=min_tail_s,
            channel=channel,
        )

    def windows_at(
        self,
        table: pa.Table | pd.DataFrame | Mapping[str, Any],
        sample_rate: int | None = 16_000,
        window_s: float = 5.0,
        *,
        jitter_s: float = 0.0,
        seed: int = 0,
        channel: Channel = "mix",
    ) -> Windows:
        """Return windows around given times, as those of annotations; reads nothing.

        A window that would pass an end of its recording is moved inside; where the recording is shorter
        than a window, it begins with it and zeros follow.

        Parameters
        ----------
        table : Arrow table, pandas DataFrame, or mapping of columns
            ``id`` of the recording, and ``at_s``, seconds from its start to the window's middle; or
            ``start_s`` and ``end_s``, which that is half-way between. A window for each row, in their
            order; other columns are left alone.
        sample_rate, window_s, channel
            As in `windows`.
        jitter_s : float
            Seconds that a window is moved by, at most, to either side: newly in every epoch, by a hash
            of (seed, epoch, row). `Windows.table` and indexing tell of epoch 0.
        seed : int
            Of the jitter.

        Raises
        ------
        CatalogError
            A column is missing or of a wrong type, an id is not in the catalog, or a time is not in its
            recording.
        InvalidWindowsError
            These recordings cannot be cut so.
        """
        from headrace.windows import cut_at_times

        return cut_at_times(
            self,
            table,
            sample_rate,
            window_s,
            jitter_s=jitter_s,
            seed=seed,
            channel=channel,
        )

    def split(
        self, parts: Mapping[str, float], by: str = "recording", *, seed: int = 0
    ) -> dict[str, Catalog]:
        """Split into catalogs that share no recording, or no value of a column.

        Windows of one recording, site or animal resemble each other, and overlapping ones hold the same
        audio: what a model is tested on must not be in what it learned from.

        Parameters
        ----------
        parts : mapping of str to float
            Name and share of each part, together 1. Shares are of groups, to the nearest; every part
            gets at least one.
        by : str
            ``"recording"``, or a column: recordings of one value stay together. Where a column has
            that name, ``"id"`` says the same.
        seed : int
            Groups are in the order of a hash of (seed, value), which is cut up. So recordings that are
            added to known groups change nothing, and a new group moves few others.

        Returns
        -------
        dict of str to Catalog
            In the order of `parts`; each in the order of the catalog.

        Raises
        ------
        CatalogError
            The shares are none, there is no such column, it is of a type that has no groups, it has no
            value somewhere, or there are fewer groups than parts; or `by` may be meant in two ways.
        InvalidWindowsError
            The seed is no whole number.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            share = np.array([float(parts[name]) for name in parts])
        except (TypeError, ValueError):
            share = np.array([math.nan])
        if not (share > 0).all() or not math.isclose(share.sum(), 1.0, abs_tol=1e-9):
            raise CatalogError(
                f"the shares must be positive numbers that sum to 1, not {dict(parts)!r}: what is to "
                "be left out is a part as well."
            )
        seed = check_whole_number("seed", seed)
        if by == "recording" and by in self.columns:
            raise CatalogError(
                'by="recording" keeps each recording whole, and there is a column "recording" as well: '
                'say by="id" for the recordings themselves, or rename the column to split by it.'
            )
        if by != "recording" and by not in self.columns:
            raise CatalogError(f"There is no column {by!r}: there are {', '.join(self.columns)}.")
        column = self.ids if by == "recording" else self._table[by]
        unsplit = f"The recordings cannot be split by {by!r}, which is {column.type}"
        with arrow_errors_explained(unsplit, "Give a column of texts or numbers."):
            if pa.types.is_dictionary(column.type):  # it may have values that no row has
                column = column.cast(column.type.value_type)
            column = column.combine_chunks()
        if column.null_count:
            row = pc.index(pc.is_null(column), value=True).as_py()
            raise CatalogError(
                f"The column {by!r} has no value for {self[row].id}: fill it, or filter."
            )
        with arrow_errors_explained(unsplit, "Give a column of texts or numbers."):
            groups = column.dictionary_encode()
            values = groups.dictionary.to_pylist()
        if len(values) < len(share):
            raise CatalogError(
                f"{len(values)} values of {by!r} cannot be split into {len(share)} parts: whole groups "
                "stay together. Give fewer parts, or split by something finer."
            )
        keys = b"".join(
            hashlib.blake2b(f"headrace:split:{seed}:{value}".encode(), digest_size=8).digest()
            for value in values
        )
        counts = apportion(share, len(values))
        while (counts == 0).any():
            counts[counts.argmax()] -= 1
            counts[(counts == 0).argmax()] += 1
        part = np.empty(len(values), np.int64)
        part[np.argsort(np.frombuffer(keys, "<u8"), kind="stable")] = np.repeat(
            np.arange(len(share)), counts
        )
        mine = part[groups.indices.to_numpy()]
        return {name: self.filter(mine == place) for place, name in enumerate(parts)}

    def to_arrow(self) -> pa.Table:
        """Return all columns as an Arrow table; root and failures are in its metadata."""
        return _parquet.describe(self._table, self.root, self.failures)

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
        _parquet.write(self.to_arrow(), file)

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
    return Catalog.from_table(_parquet.read(file, but=() if root is None else ("path",)), root)


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
    check_any_usable(table, failures)
    catalog = Catalog(table, top, failures)
    if cache is not None and (
        earlier is None or not catalog.to_arrow().equals(earlier, check_metadata=True)
    ):
        catalog.save(cache)
    if catalog.failures:
        warnings.warn(describe_damage(catalog.failures, table), DamagedWarning, stacklevel=2)
    return catalog


def _unpickled(stream: bytes) -> Catalog:
    table = _parquet.from_bytes(stream)
    return Catalog(table, *(_parquet.described(table) or ("", ())))
