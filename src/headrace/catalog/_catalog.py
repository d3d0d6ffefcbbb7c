"""`Catalog`: what the headers of many recordings say, as an immutable table."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, SupportsIndex, cast, get_args, overload

import numpy as np

from headrace import _kernel
from headrace._formatting import brief_list, format_count
from headrace._paths import absolute, join
from headrace._validation import arrow_errors_explained, check_choice, check_whole_number
from headrace.catalog import _parquet, _split, _table
from headrace.catalog._damage import damaged_file_ids
from headrace.catalog._headers import worker_count
from headrace.catalog._indexes import Indexes
from headrace.catalog._metadata import MetadataOptions, read_metadata
from headrace.catalog._table import Row
from headrace.codecs import Recording
from headrace.errors import CatalogError
from headrace.storage import (
    ParquetStore,
    Stores,
    TableStore,
    is_parquet_part,
    is_url,
    public_url,
    redacted,
)

if TYPE_CHECKING:
    import os
    from datetime import tzinfo

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import ArrayLike, NDArray

    from headrace.catalog._split import Balance
    from headrace.failures import Failure
    from headrace.storage import Store
    from headrace.windows import Channel, Tail, Windows

__all__ = ["Catalog", "Row", "Split", "load_catalog"]

_MAX_SHOWN: Final = 3  # sample rates and formats in a repr


@dataclass(frozen=True, eq=False, repr=False)
class Catalog(Sequence[Recording]):
    """Recordings in a fixed order, each with a unique id.

    Created by `scan`, `load_catalog` or `Catalog.from_table`; immutable. ``catalog[3]`` is a
    `Recording`, ``catalog[3:9]`` is a `Catalog`, and iteration yields `Recording`.

    Attributes
    ----------
    root : str
        Folder that the ids are relative to; ``""`` if the table did not say.
    failures : tuple of Failure
        What a scan could not use; slices and subsets of a catalog keep them.
    """

    _table: pa.Table
    root: str = ""
    failures: tuple[Failure, ...] = ()
    _store: Store | Stores | None = None
    _indexes: Indexes = field(default_factory=Indexes)

    @classmethod
    def from_table(
        cls, table: pa.Table | pd.DataFrame, root: str | os.PathLike[str] | None = None
    ) -> Catalog:
        """Create a catalog from a table; reads no audio file.

        Parameters
        ----------
        table : Arrow table or pandas DataFrame
            Columns ``id`` or ``path`` (or both), ``sample_rate`` (Hz), ``channels``, ``frames``,
            ``format`` and ``subtype`` (libsndfile's names, such as ``"WAV"`` and ``"PCM_16"``).
            Optional: ``size`` (bytes), ``mtime_ns``, and ``seek_points`` from a scan. Further
            columns are kept.
        root : str or path, optional
            If the table has a column ``id``, every path becomes ``root/id``. Otherwise, the folder
            that ids are relative to; default the common folder of all paths.

        Returns
        -------
        Catalog
            In the order of the table.

        Raises
        ------
        CatalogError
            A column is missing, a value is null, not positive or of a wrong type, or two rows have
            the same id.
        """
        arrow = _table.as_table(table)
        saved_root, failures = _parquet.read_metadata(arrow) or ("", ())
        if root is not None:
            has_ids = "id" in arrow.column_names  # else `root` is a part of the paths as they are
            if is_url(str(root)):
                root = public_url(str(root))
            else:
                root = absolute(root) if has_ids else Path(root).as_posix()
            failures = tuple(replace(one, path=join(root, one.file_id)) for one in failures)
        if "path" in arrow.column_names:
            _check_no_secrets(arrow["path"])
        complete, table_root = _table.validate(arrow, root)
        root = saved_root if table_root is None else table_root
        catalog = cls(complete, root, failures, _store_of(complete))
        # Computed now, so that the first loader starts at once: about 70 ms for a million
        # recordings, which is little beside loading them.
        _ = catalog.fingerprint, catalog.kinds
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
        return _table.each_recording(self._table)

    def __repr__(self) -> str:
        return f"<Catalog: {_describe_contents(self._table, self.failures)}; root {self.root!r}>"

    def _repr_html_(self) -> str:
        from headrace.display import catalog_card

        return catalog_card(self)

    def __reduce__(
        self,
    ) -> tuple[Callable[[bytes, Store | None], Catalog], tuple[bytes, Store | None]]:
        store = None if isinstance(self._store, Stores) else self._store  # credentials stay here
        return _unpickle, (_parquet.to_bytes(self.to_arrow()), store)

    def recording(self, row: int) -> Recording:
        """Return the recording in this row; rows count from 0."""
        return self._indexes.complete(Recording(*[value_at(row) for value_at in self._built_in]))

    @property
    def native(self) -> pa.Table:
        """The columns of which the kernel makes a `RecordingTable`: for headrace itself."""
        return self._table.select(_kernel.TABLE_COLUMNS)

    @property
    def indexes(self) -> Indexes:
        """What was found when recordings were read: for headrace itself."""
        return self._indexes

    @property
    def store(self) -> Store | Stores | None:
        """Where the recordings are, if they are no files: for headrace itself."""
        return self._store

    @cached_property
    def largest_map(self) -> int:
        """Bytes of the largest map of a recording's holes: for headrace itself."""
        import pyarrow.compute as pc

        return pc.max(pc.binary_length(self._table["pieces"])).as_py() or 0

    @cached_property
    def has_urls(self) -> bool:
        """Whether recordings are objects of a store."""
        import pyarrow.compute as pc

        return bool(pc.any(pc.match_substring(self._table["path"], "://")).as_py())

    @cached_property
    def has_put_off(self) -> bool:
        """Whether a scan has put off the index of some recording."""
        import pyarrow.compute as pc

        return bool(pc.any(_table.has_put_off(self._table)).as_py())

    @cached_property
    def _built_in(self) -> tuple[Callable[[int], Any], ...]:
        """For each built-in column, the function that returns the value of a row."""
        return tuple(_table.lookup(self._table[name]) for name in _table.BUILT_IN)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns; the built-in columns come first."""
        return tuple(self._table.column_names)

    @property
    def ids(self) -> pa.ChunkedArray:
        """The id of each recording, as an Arrow array of strings."""
        return self._table["id"]

    @cached_property
    def frames(self) -> NDArray[np.int64]:
        """Number of frames of each recording: int64, shape ``(len(catalog),)``, read-only."""
        return self._integers("frames")

    @cached_property
    def sample_rates(self) -> NDArray[np.int64]:
        """Sample rate (Hz) of each recording: int64, shape ``(len(catalog),)``, read-only."""
        return self._integers("sample_rate")

    @cached_property
    def channels(self) -> NDArray[np.int64]:
        """Number of channels of each recording: int64, shape ``(len(catalog),)``, read-only."""
        return self._integers("channels")

    def _integers(self, name: str) -> NDArray[np.int64]:
        chunks = [_table.integers(chunk) for chunk in self._table[name].chunks]
        values = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, np.int64), *chunks])
        values = values.astype(np.int64, copy=False)
        values.flags.writeable = False
        return values

    def column(self, name: str) -> NDArray[Any]:
        """Return a column as NumPy, shape ``(len(catalog),)``; null is NaN in numbers, else None.

        ``catalog.filter(catalog.column("site") == "A")`` compares all rows at once. For an Arrow
        array, use ``catalog.to_arrow()[name]``.

        Raises
        ------
        CatalogError
            There is no such column.
        """
        _table.check_column(self.columns, name)
        values: NDArray[Any] = self._table[name].to_numpy()
        return values

    @cached_property
    def duration_s(self) -> float:
        """Seconds of audio in all recordings together."""
        return float(np.sum(self.frames / self.sample_rates))

    @cached_property
    def kinds(self) -> tuple[tuple[int, int, str, str], ...]:
        """The distinct (sample rate, channels, format, subtype), sorted."""
        return _table.distinct_kinds(self._table)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of ids, frames and sample rates, in order: 32 hexadecimal digits.

        The same on every machine. Paths and times of change are not part of it.
        """
        return _table.fingerprint(self._table)

    def filter(self, rows: Callable[[Row], object] | Iterable[bool]) -> Catalog:
        """Return a catalog of some of these recordings, in the same order.

        Parameters
        ----------
        rows : function or mask
            A function that takes a `Row` (a `Recording` that also has ``row["site"]``) and returns
            true for rows to keep; or a bool for each row, in NumPy, Arrow, pandas or a list. Null
            is not true.

        Raises
        ------
        CatalogError
            The mask does not have a bool for each row.
        """
        if callable(rows):
            rows = [bool(rows(row)) for row in _table.each_row(self._table)]
        return self._view(_table.filter_rows(self._table, rows))

    def without(self, ids: Iterable[str] | pa.Array | pa.ChunkedArray) -> Catalog:
        """Return a catalog without the recordings that have these ids, in the same order.

        Parameters
        ----------
        ids : iterable of str, or Arrow array
            Ids; those that are not in the catalog are ignored.

        Raises
        ------
        CatalogError
            These are not texts.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(ids, str):
            raise CatalogError(f'ids must be several, as in ["{ids}"], not one text.')
        with arrow_errors_explained("The ids cannot be read", "Give texts."):
            values = ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(list(ids))
            if isinstance(values, pa.ChunkedArray):
                values = values.combine_chunks()
            known = pc.is_in(self.ids, value_set=values.cast(pa.string()))
        return self._view(self._table.filter(pc.invert(known)))

    def with_columns(
        self,
        table: pa.Table | pd.DataFrame | None = None,
        /,
        *,
        on: str = "id",
        missing: Literal["null", "warn", "raise"] = "null",
        **columns: Callable[[Row], Any] | Mapping[str, Any] | Any,  # noqa: ANN401
    ) -> Catalog:
        """Return the same catalog with columns added, or replaced.

        Parameters
        ----------
        table : Arrow table or pandas DataFrame, optional
            With the column `on`; all its other columns are joined on that.
        on : str
            The column by whose values tables and mappings are joined: ``"id"``, or another column
            of the catalog, such as ``"site"`` for a table with a row for each site.
        missing : {"null", "warn", "raise"}
            What to do if a table or a mapping has no row for some recordings: their values become
            null; or they do, with a warning; or raise.
        **columns
            Values of the column with that name: a function of a `Row` (a `Recording` that also has
            ``row["site"]``); a mapping from a value of `on`, such as an id; a table with the
            columns `on` and that name; or an array or list with a value for each row. Columns that
            are called ``on`` or ``missing`` can be given in a table.

        Raises
        ------
        CatalogError
            The name is that of a built-in column, the values cannot be one column, some times have
            a zone and others have none, a value of `on` occurs twice in a table, none of them is in
            the catalog, or the catalog has no column `on`. With ``missing="raise"``: a recording
            has no row.
        ValueError
            `missing` has another value.

        Warns
        -----
        HeadraceWarning
            With ``missing="warn"``: some recordings have no row.
        """
        check_choice("missing", missing, get_args(_table.Missing))
        if on not in self.columns:
            raise CatalogError(f"There is no column {on!r}: there are {brief_list(self.columns)}.")
        keys = _table.JoinKeys(on, self._table[on], self.ids, missing)
        new: dict[str, pa.ChunkedArray] = {}
        if table is not None:
            new = _table.join_columns(_table.as_table(table), keys)
        for name in (*new, *columns):
            if name in _table.BUILT_IN:
                raise CatalogError(
                    f"The column {name!r} is what the header says and cannot be replaced: "
                    "choose another name."
                )
        for name, values in columns.items():
            given = (
                [values(row) for row in _table.each_row(self._table)]
                if callable(values)
                else values
            )
            new[name] = _table.make_column(name, given, keys)
        return self._view(_table.with_columns(self._table, new))

    def with_metadata(
        self,
        *,
        tz: str | tzinfo | None = None,
        time_pattern: str | None = None,
        workers: int | Literal["auto"] = "auto",
        progress: bool | None = None,
    ) -> Catalog:
        r"""Return the same catalog with columns of when, where and with what recordings were made.

        They are read from GUANO, WAMD, the comment of AudioMoths and ``bext`` in WAV and FLAC
        files, and from the names of files. ``scan(..., metadata=True)`` does the same while it
        reads the headers. Columns of these names are replaced:

        - ``recorded_at``: when the recording began, in UTC, to the microsecond.
        - ``recorded_from``: what says so: ``"guano"``, ``"wamd"``, ``"audiomoth"``, ``"bext"`` or
          ``"name"``. The first of these that has a time with a zone; else the first with a time.
        - ``latitude``, ``longitude``: degrees (WGS 84).
        - ``device``: model and serial number. ``gain``: as the recorder describes it.
        - ``temperature_c``: degrees Celsius.
        - ``metadata_conflict``: what sources disagree about, and what they say.

        What is not known is null.

        Parameters
        ----------
        tz : str or tzinfo, optional
            The time zone of times that name none, as those in most names: of the IANA database
            (``"Europe/Berlin"``), or an offset from UTC (``"+01:00"``). Of an hour that occurs
            twice, when clocks are set back, the first one is taken.
        time_pattern : str, optional
            A regular expression that finds the time in an id, if names are not as the usual
            recorders write them. With the named groups ``date`` and ``time``
            (``r"(?P<date>\d{8})-(?P<time>\d{4})"``), or ``year``, ``month``, ``day``, ``hour``,
            ``minute`` and perhaps ``second``. A group ``zone`` is optional.
        workers : int or "auto"
            Threads; 0 reads in the calling thread.
        progress : bool, optional
            Whether to draw a progress bar on standard error. Default: if that is a terminal.

        Raises
        ------
        ValueError, TypeError
            There is no such zone, or `time_pattern` or `workers` is not as described.

        Warns
        -----
        HeadraceWarning
            Recordings have no time, or one without a zone; sources disagree; or a header cannot be
            read.
        """
        options = MetadataOptions.create(tz, time_pattern)
        found, reader = read_metadata(
            self._table, self._store, options, workers=worker_count(workers), progress=progress
        )
        reader.warn(stacklevel=3)
        columns = {name: found[name] for name in found.column_names}
        return self._view(options.mark(_table.with_columns(self._table, columns)))

    def windows(
        self,
        sample_rate: int | None = 16_000,
        window_s: float = 5.0,
        hop_s: float | None = None,
        *,
        tail: Tail = "pad",
        min_tail_s: float | None = None,
        min_audio_s: float = 0.0,
        channel: Channel = "mix",
    ) -> Windows:
        """Cut the recordings into windows of one length; reads no audio.

        Parameters
        ----------
        sample_rate : int or None
            Sample rate (Hz) of the windows. None keeps the recordings' own, which must all be the
            same.
        window_s, hop_s : float
            Length of a window, and distance between the starts of two windows, in seconds. Default
            of `hop_s`: `window_s`, so that windows do not overlap.
        tail : {"pad", "shift", "drop"}
            What to do with the audio after the last full window: ``"pad"`` adds a window filled up
            with zeros, ``"shift"`` adds a window that ends with the recording, ``"drop"`` drops
            the audio.
        min_tail_s : float, optional
            With ``"pad"``, the least remaining audio (s) that gets a window. Default: a quarter of
            `window_s`. A short recording has a window in any case.
        min_audio_s : float
            The least audio (s) that a window has: windows with more padding are left out, also
            those of short recordings.
        channel : "mix", "all" or int
            The mean of all channels, all channels, or the channel with this number, from 0.

        Raises
        ------
        InvalidWindowsError
            The recordings cannot be cut into such windows.

        Warns
        -----
        HeadraceWarning
            Some recordings are shorter than a window, or than `min_audio_s`, and have none; or are
            of ultrasound, of which `sample_rate` keeps less than a quarter.
        """
        from headrace.windows import cut_recordings

        return cut_recordings(
            self,
            sample_rate,
            window_s,
            hop_s,
            tail=tail,
            min_tail_s=min_tail_s,
            min_audio_s=min_audio_s,
            channel=channel,
        )

    def crops(
        self,
        sample_rate: int | None = 16_000,
        window_s: float = 5.0,
        per_recording: int = 1,
        weights: str | ArrayLike | None = None,
        seed: int = 0,
        *,
        min_audio_s: float = 0.0,
        channel: Channel = "mix",
    ) -> Windows:
        """Return windows at random places of their recordings, new in every epoch.

        The places are uniform over all places of a recording that a window fits in. A recording
        that is shorter than a window is filled up with zeros. A place is a hash of (seed, epoch,
        window), so that neither workers nor a resume change it. Reads no audio.

        Parameters
        ----------
        sample_rate, window_s, channel
            As in `windows`.
        per_recording : int
            Windows of each recording in an epoch. With `weights`, the windows of an epoch are as
            many, and are distributed by weight.
        weights : str or sequence of float, optional
            The name of a column: all its values are equally often in an epoch, to one window. The
            recordings of a value come in random order, and none comes again before all others
            have, across epochs too. Or a weight for each recording, not negative, by which they
            are drawn with replacement. In both cases the windows have their order: they cannot be
            shuffled or sampled. Default: each recording has as many windows, one recording after
            the other; `Windows.shuffle` them.
        seed : int
            Seed of the places and the draws.
        min_audio_s : float
            Recordings with less audio (s) than this are left out.

        Raises
        ------
        CatalogError
            There is no column `weights`, it has no value for a recording, or values that cannot be
            classes.
        InvalidWindowsError
            The recordings cannot be cut into such windows, the weights are invalid, or an epoch has
            fewer windows than the column has values.

        Warns
        -----
        HeadraceWarning
            As in `windows`.
        """
        from headrace.windows import crop_recordings

        return crop_recordings(
            self,
            sample_rate,
            window_s,
            per_recording=per_recording,
            weights=weights,
            min_audio_s=min_audio_s,
            seed=seed,
            channel=channel,
        )

    def windows_at(
        self,
        table: pa.Table | pd.DataFrame | Mapping[str, Any],
        sample_rate: int | None = 16_000,
        window_s: float = 5.0,
        *,
        jitter_s: float | str | ArrayLike = 0.0,
        seed: int = 0,
        channel: Channel = "mix",
    ) -> Windows:
        """Return windows around given times, such as those of annotations; reads no audio.

        A window that would extend past an end of its recording is moved inside. If the recording
        is shorter than a window, the window starts with it and is filled up with zeros.

        Parameters
        ----------
        table : Arrow table, pandas DataFrame, or mapping of columns
            ``id`` of the recording, and ``at_s``, the middle of the window in seconds from the
            start of the recording; or ``start_s`` and ``end_s``, whose midpoint is the middle of
            the window. One window for each row, in the order of the rows. Other columns are
            ignored.
        sample_rate, window_s, channel
            As in `windows`.
        jitter_s : float, sequence of float, or str
            Largest distance (s) that a window is moved by, in either direction: one number for all
            windows, one for each row, or the column that has them. The distance differs in every
            epoch and is a hash of (seed, epoch, row). `Windows.table` and indexing use epoch 0.
        seed : int
            Seed of the jitter.

        Raises
        ------
        CatalogError
            A column is missing or of a wrong type, an id is not in the catalog, or a time is
            outside its recording.
        InvalidWindowsError
            The recordings cannot be cut into such windows, or the jitter is not as described.

        Warns
        -----
        HeadraceWarning
            Some recordings are of ultrasound, of which `sample_rate` keeps less than a quarter.
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
        self,
        parts: Mapping[str, Any] | Sequence[str],
        by: str = "recording",
        *,
        before: object = None,
        balance: Balance = "groups",
        stratify: object = None,
        seed: int = 0,
    ) -> Split:
        """Split into catalogs that share no recording, or no value of a column.

        Windows of one recording, site or animal resemble each other, and overlapping windows
        contain the same audio. Data that a model is tested on must not resemble its training data
        in this way.

        Parameters
        ----------
        parts : mapping of str to float or to a list, or list of str
            The name of each part, and its share or the values of `by` that it has. The shares sum
            to 1, and are shares of what no part names. They apply to the number of groups, to the
            nearest, unless `balance` or `stratify` is given; every part gets at least one group.
            If no part has a share, the values that none names are a further part, ``"rest"``.
            With `before`, a list of names.
        by : str
            ``"recording"``, or a column: recordings with the same value form a group, which stays
            together. If a column is called ``"recording"``, use ``"id"`` to split by recording.
        before : time, number or text, or several, optional
            Split at this value of the column `by`, such as ``by="recorded_at"``: the first part has
            what is before it, and the last part what is not before the last one. Times are texts as
            ``"2024-05-01T00:00Z"``, or `datetime.datetime`. Needs `by`.
        balance : {"groups", "duration"}
            What the shares are of: the number of groups, or seconds of audio.
        stratify : str, Annotations or table, optional
            Labels, of which each part with a share gets its share as far as groups allow, and which
            are counted in `Split.table`: a column with a label or a list of labels for each
            recording, annotations that were matched with this catalog, or a table with the columns
            ``id`` and ``label``.
        seed : int
            Groups are sorted by a hash of (seed, value), and the sorted list is cut into parts. So
            adding recordings to known groups changes nothing, and a new group moves few others.
            With `balance` or `stratify`, the hash only decides between groups of one size, and a
            new group may move all others.

        Returns
        -------
        Split
            A dict of names to catalogs, in the order of `parts`; each in the order of the catalog.
            Printing it shows the hours and the labels of each part.

        Raises
        ------
        CatalogError
            The shares are not positive numbers that sum to 1, there is no such column or value, its
            type cannot be grouped or compared with `before`, a value is missing, there are fewer
            groups than parts, or `by` is ambiguous.
        InvalidWindowsError
            The seed is not a whole number.

        Warns
        -----
        HeadraceWarning
            A part has less than half of its share of the audio.
        """
        seed = check_whole_number("seed", seed)
        if before is None:
            rows = _split.split_by_shares(
                self._table,
                cast("Mapping[str, Any]", parts),
                by,
                balance=balance,
                stratify=stratify,
                seed=seed,
            )
        else:
            if balance != "groups":
                raise CatalogError(
                    f"balance={balance!r} is about shares, and before= has none: leave it out."
                )
            rows = _split.split_by_time(self._table, parts, by, before=before, stratify=stratify)
        split = {name: self.filter(rows.of_row == number) for number, name in enumerate(rows.names)}
        return Split(split, _split.table_of_parts(self._table, rows))

    def pack(
        self,
        folder: str | os.PathLike[str],
        sample_rate: int,
        *,
        format: Literal["flac", "wav"] = "flac",  # noqa: A002  what users call it
        bits: int | None = None,
        channel: Channel = "mix",
        shard_size: str | float = "1 GiB",
        workers: int | Literal["auto"] = "auto",
        progress: bool | None = None,
    ) -> Catalog:
        """Decode and resample all recordings once, into tar shards and a catalog of them.

        Packing that was stopped goes on where it was, if it is called again.

        Parameters
        ----------
        folder : str or path
            Where ``shard-000000.tar`` and so on, ``catalog.parquet`` and ``pack.json`` are written:
            a new or an empty folder, or one that an earlier call has begun to fill.
        sample_rate : int
            Hz.
        format : "flac" or "wav"
            ``"wav"`` is WAV of float32: windows are the same bits as those of the originals.
            ``"flac"`` takes less space, and differs by half a step of `bits`. Samples beyond full
            scale, which lossy formats have, are clipped and counted.
        bits : 16 or 24, optional
            Of a sample in FLAC. Default: 24.
        channel : "mix", "all" or int
            As in `windows`. Of a pack with ``"mix"``, windows are the same with ``"mix"``; of one
            with ``"all"``, with ``"all"`` and with single channels.
        shard_size : str or number
            Bytes of a shard at most, unless one recording is larger.
        workers : int or "auto"
            Threads; 0 works in the calling thread.
        progress : bool, optional
            Whether to draw a progress bar on standard error. Default: if that is a terminal.

        Returns
        -------
        Catalog
            In this catalog's order, with its further columns, and ``source_id`` and
            ``clipped_samples``. Its failures are those of this catalog, and recordings that could
            not be read.

        Raises
        ------
        CatalogError
            The folder holds other files, or a pack with other settings; another process packs into
            it; or it cannot be written, as on a full disk.
        InvalidWindowsError
            The recordings cannot be resampled or mixed so, or FLAC cannot hold them.
        NoRecordingsError
            No recording can be read.
        ValueError
            An argument has another value.
        OSError
            The system cannot write to the folder.

        Warns
        -----
        DamagedWarning
            Some recordings could not be read.
        HeadraceWarning
            Some samples were clipped.
        """
        from headrace.packing import PackFormat, pack

        return pack(
            self,
            folder,
            PackFormat.of(sample_rate, format, bits, channel),
            shard_size=shard_size,
            workers=workers,
            progress=progress,
        )

    def to_arrow(self) -> pa.Table:
        """Return all columns as an Arrow table; root and failures are in its metadata."""
        table = self._indexes.filled(self._table)
        return _parquet.with_metadata(table, self.root, self.failures)

    def to_pandas(self) -> pd.DataFrame:
        """Return all columns as a pandas DataFrame; needs pandas."""
        return cast("pd.DataFrame", self._table.to_pandas())

    def save(self, file: str | os.PathLike[str]) -> None:
        """Save to a Parquet file, which is replaced as a whole or not at all.

        Raises
        ------
        CatalogError
            The folder does not exist, `file` is a folder, Parquet does not support the type of a
            column, or the recordings are bytes of a table in memory.
        OSError
            The system cannot write the file.
        """
        if isinstance(self._store, TableStore):
            raise CatalogError(
                "The recordings of this catalog are bytes of a table in memory: save the table, "
                "and make the catalog of it again with headrace.from_table."
            )
        _parquet.write(self.to_arrow(), file)

    def _view(self, table: pa.Table) -> Catalog:
        return Catalog(table, self.root, self.failures, self._store, self._indexes)


class Split(dict[str, Catalog]):
    """The parts of a catalog, by name: see `Catalog.split`. Printing it shows how large they are.

    Parameters
    ----------
    parts : mapping of str to Catalog
    table : Arrow table
        See `table`.
    """

    def __init__(self, parts: Mapping[str, Catalog], table: pa.Table) -> None:
        super().__init__(parts)
        self._parts_table = table

    def table(self) -> pa.Table:
        """Return an Arrow table with a row for each part.

        Columns: ``part``, ``share`` (null without one), ``recordings``, ``groups``, ``hours``, and
        with `stratify` the number of times that the part has each label, as ``label NAME``.
        """
        return self._parts_table

    def __repr__(self) -> str:
        return _split.describe_parts(self._parts_table)


def load_catalog(
    file: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    store: object = None,
) -> Catalog:
    """Load a saved catalog; reads no audio file.

    Parameters
    ----------
    file : str or path
        A file written by `Catalog.save`, or by `scan` with ``cache=``.
    root : str or path, optional
        Folder that contains the recordings now: every path becomes ``root/id``. May be a URL.
    store : optional
        How to reach recordings that are objects in a store, as in `scan`.

    Raises
    ------
    NoRecordingsError
        There is no such file.
    CatalogError
        The file is damaged, or is not a catalog, or names objects of another place than its root.
    OSError, MemoryError
        The system cannot read the file, or has no memory for it.
    """
    table = _parquet.read(file, without=() if root is None else ("path",))
    names = table.column_names
    if "path" not in names and "offset" in names and table["offset"].null_count < len(table):
        table = _parquet.read(file)  # the paths say which files hold the parts
    catalog = Catalog.from_table(table, root)
    if not catalog.has_urls:
        return catalog
    _check_below_root(catalog)
    return replace(catalog, _store=Stores(store))


def _check_below_root(catalog: Catalog) -> None:
    """Raise `CatalogError` if a URL is not below the root, unless the root is that of no place.

    A scan makes no such catalog. Whoever changed it would have requests sent where they want.
    """
    import pyarrow.compute as pc

    if not catalog.root:
        return
    paths = catalog.to_arrow()["path"]
    below = pc.starts_with(paths, join(catalog.root, ""))
    urls = pc.match_substring_regex(paths, "^[a-zA-Z][a-zA-Z0-9+.-]+://")
    strange = paths.filter(pc.and_not(urls, below))
    if len(strange):
        raise CatalogError(
            f"The catalog names {redacted(strange[0].as_py())!r}, which is not below its root "
            f"{catalog.root!r}: give root=, or scan the recordings again."
        )


def _check_no_secrets(paths: pa.ChunkedArray) -> None:
    """Raise `CatalogError` if a URL has a user, a password or a query."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(paths.type) or pa.types.is_large_string(paths.type)):
        return
    for path in paths.filter(pc.match_substring_regex(paths, "://[^/]*@|://.*[?]")).to_pylist():
        public_url(path)


def _store_of(table: pa.Table) -> Store | None:
    """Return where the recordings of a table are, if their paths say that they are no files.

    Raises
    ------
    CatalogError
        They are bytes of a table that was in memory.
    """
    import pyarrow.compute as pc

    if table["offset"].null_count == len(table):
        return None
    parts = pc.unique(table["path"].filter(pc.is_valid(table["offset"]))).to_pylist()
    if any(TableStore(()).has(path) for path in parts):
        raise CatalogError(
            "The recordings of this table are bytes of another table in memory: make a catalog of "
            "that one with headrace.from_table."
        )
    in_parquet = frozenset(path for path in parts if is_parquet_part(path))
    return ParquetStore(in_parquet) if in_parquet else None


def _unpickle(stream: bytes, store: Store | None = None) -> Catalog:
    table = _parquet.from_bytes(stream)
    return Catalog(table, *(_parquet.read_metadata(table) or ("", ())), store)


def _describe_contents(table: pa.Table, failures: Sequence[Failure]) -> str:
    """Return how many recordings a catalog's table has, and their sample rates and formats."""
    seconds = float(np.sum(table["frames"].to_numpy() / table["sample_rate"].to_numpy()))
    parts = [format_count(len(table), "recording"), f"{seconds / 3600:,.3g} h"]
    if len(table):
        for columns, template in ((["sample_rate"], "{:,} Hz"), (["format", "subtype"], "{} {}")):
            groups = table.group_by(columns).aggregate([([], "count_all")]).to_pylist()
            counts = {
                template.format(*(group[name] for name in columns)): group["count_all"]
                for group in groups
            }
            parts.append(_most_common(Counter(counts)))
    files = len(damaged_file_ids(failures))
    in_files = "" if files == len(failures) else f" in {format_count(files, 'damaged file')}"
    parts.append(format_count(len(failures), "failure") + in_files)
    further = table.column_names[len(_table.BUILT_IN) :]
    if further:
        parts.append(f"columns {brief_list(further)}")
    return "; ".join(parts)


def _most_common(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    most = [f"{value} ({count:,})" for value, count in counts.most_common(_MAX_SHOWN)]
    return ", ".join(most) + (", …" if len(counts) > _MAX_SHOWN else "")
