"""The columns of `scan(..., metadata=True)`: when, where and with what recordings were made.

`MetadataReader` keeps what headers say while a scan's threads read them, combines that with the
recordings' names, and reports in one warning what is missing or contradictory.
"""

from __future__ import annotations

import json
import warnings
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final

from headrace._formatting import format_count
from headrace._progress import progress_bar
from headrace.catalog._objects import place_in
from headrace.catalog._table import ROWS_AT_ONCE, each_recording
from headrace.concurrency import Job, Prefetcher, Task
from headrace.errors import HeadraceWarning
from headrace.failures import DecodeError, describe_os_error
from headrace.metadata import (
    Facts,
    Metadata,
    NamePattern,
    combine,
    facts_in_name,
    parse_zone,
    read_facts,
)
from headrace.storage import Fetcher, Stores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo

    import pyarrow as pa

    from headrace.codecs import Recording
    from headrace.concurrency import CancellationToken
    from headrace.storage import Place, Store

__all__ = ["METADATA", "MetadataOptions", "MetadataReader", "read_metadata"]

METADATA: Final = {
    "recorded_at": "timestamp[us]",  # in UTC
    "recorded_from": "string",
    "latitude": "double",
    "longitude": "double",
    "device": "string",
    "gain": "string",
    "temperature_c": "double",
    "metadata_conflict": "string",
}
"""The columns, in order, and their Arrow types."""

_KEY: Final = b"headrace.metadata"
"""In the metadata of the field recorded_at: the options by which the columns were made."""

_VERSION: Final = 1
"""Changes whenever the same files and options give other columns."""

_UNREADABLE: Final = "The headers of {} cannot be read for metadata (the first: {})."
_ZONELESS: Final = (
    "The time of {} names no zone, so that recorded_at is null (the first: {}): give tz=, such as "
    'tz="Europe/Berlin", or tz="+01:00" if the clock is not changed for summer.'
)
_TIMELESS: Final = (
    "There is no time in header and name of {} (the first: {}): give time_pattern=, or add a "
    "column recorded_at by with_columns."
)
_IRREGULAR: Final = (
    "The local time of {} occurs twice or never, because clocks are changed (the first: {}): if "
    'the recorder keeps its time, give an offset, such as tz="+01:00".'
)
_CONFLICTS: Final = (
    "The sources of {} disagree, and the first one is taken (the first: {}). The column "
    "metadata_conflict lists all of them."
)

_BATCH: Final = 32  # recordings per task, as in `_headers`
_BATCHES_AHEAD: Final = 4


@dataclass(frozen=True, slots=True)
class MetadataOptions:
    """What a user says about times.

    Attributes
    ----------
    zone : tzinfo, optional
        The zone of times that name none.
    pattern : NamePattern, optional
        How to find times in ids; by default, as the usual recorders write them.
    """

    zone: tzinfo | None = None
    pattern: NamePattern | None = None

    @classmethod
    def create(cls, tz: str | tzinfo | None, time_pattern: str | None) -> MetadataOptions:
        """Return the options of `scan`.

        Raises
        ------
        ValueError, TypeError
            See `parse_zone` and `NamePattern`.
        """
        pattern = None if time_pattern is None else NamePattern(time_pattern)
        return cls(parse_zone(tz), pattern)

    @property
    def key(self) -> dict[bytes, bytes]:
        """What is saved with the columns, to know whether they can be used again."""
        pattern = None if self.pattern is None else self.pattern.text
        text = json.dumps([_VERSION, None if self.zone is None else str(self.zone), pattern])
        return {_KEY: text.encode()}

    def made(self, table: pa.Table) -> bool:
        """Return whether the columns of a table were made by these options."""
        if not all(name in table.column_names for name in METADATA):
            return False
        found = table.schema.field("recorded_at").metadata or {}
        return bool(found.get(_KEY) == self.key[_KEY])

    def mark(self, table: pa.Table) -> pa.Table:
        """Return a table of these columns, among others, with the options."""
        index = table.column_names.index("recorded_at")
        marked = table.schema.field(index).with_metadata(self.key)
        return table.set_column(index, marked, table.column(index))


@dataclass(slots=True)
class _Remark:
    """How many recordings have a problem, and the first one that has it."""

    count: int = 0
    example: str = ""

    def add(self, example: str) -> None:
        """Count one more."""
        self.example = self.example or example
        self.count += 1


class MetadataReader:
    """Reads headers in threads, and makes the columns of recordings in the thread that asks.

    Parameters
    ----------
    options : MetadataOptions
        What the user says about times.
    """

    def __init__(self, options: MetadataOptions) -> None:
        self.options = options
        self._found: dict[str, tuple[Facts, ...] | str] = {}
        self._unreadable = _Remark()
        self._timeless = _Remark()
        self._zoneless = _Remark()
        self._irregular = _Remark()
        self._conflicts = _Remark()

    def read(self, place: Place, recording: Recording) -> None:
        """Keep what a header says, or why it cannot be read; threads may call this at once."""
        try:
            self._found[recording.id] = read_facts(place)
        except OSError as error:
            self._found[recording.id] = describe_os_error(error)[1]
        except DecodeError as error:
            self._found[recording.id] = error.message

    def columns(self, ids: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        """Return the columns of recordings whose headers were read, and forget what those say."""
        import pyarrow as pa

        rows = [self._row(file_id, self._found[file_id]) for file_id in ids]
        types = {**METADATA, "recorded_at": pa.timestamp("us", "UTC")}
        columns = {
            name: pa.chunked_array([pa.array([getattr(row, name) for row in rows], type_)])
            for name, type_ in types.items()
        }
        for file_id in ids:
            del self._found[file_id]
        return columns

    def _row(self, file_id: str, found: tuple[Facts, ...] | str) -> Metadata:
        if isinstance(found, str):
            self._unreadable.add(f"{file_id}: {found}")
            found = ()
        pattern = self.options.pattern
        named = facts_in_name(file_id) if pattern is None else pattern.facts(file_id)
        row = combine([*found, *([named] if named else [])], self.options.zone)
        if row.local is not None:
            self._zoneless.add(f"{file_id} at {row.local}")
        elif row.recorded_at is None:
            self._timeless.add(file_id)
        if row.occurrence != "once" and row.recorded_at is not None:
            utc = row.recorded_at.replace(tzinfo=None)
            self._irregular.add(f"{file_id}, taken for {utc} UTC, occurs {row.occurrence}")
        if row.metadata_conflict:
            self._conflicts.add(f"{file_id}: {row.metadata_conflict}")
        return row

    def warn(self, stacklevel: int) -> None:
        """Warn once of all that is missing or contradictory; `stacklevel` 1 is this method."""
        remarks = (
            (self._unreadable, _UNREADABLE),
            (self._zoneless, _ZONELESS),
            (self._timeless, _TIMELESS),
            (self._irregular, _IRREGULAR),
            (self._conflicts, _CONFLICTS),
        )
        texts = [
            text.format(format_count(remark.count, "recording"), remark.example)
            for remark, text in remarks
            if remark.count
        ]
        if texts:
            warnings.warn(" ".join(texts), HeadraceWarning, stacklevel=stacklevel)


def read_metadata(
    table: pa.Table,
    store: Store | Stores | None,
    options: MetadataOptions,
    *,
    workers: int,
    progress: bool | None,
) -> tuple[pa.Table, MetadataReader]:
    """Read the headers of a catalog's recordings in threads, for their metadata.

    Parameters
    ----------
    table : Arrow table
        The catalog's.
    store : Store or Stores, optional
        Where the recordings are, if they are no files.
    options : MetadataOptions
        What the user says about times.
    workers : int
        Threads; 0 reads in the calling thread.
    progress : bool, optional
        Whether to draw a progress bar on standard error. Default: if that is a terminal.

    Returns
    -------
    columns : Arrow table
        `METADATA`, a row for each row of the table.
    reader : MetadataReader
        What can warn.
    """
    import pyarrow as pa

    reader = MetadataReader(options)
    parts: list[pa.Table] = []
    ids: list[str] = []
    fetcher = Fetcher(store) if isinstance(store, Stores) else None

    def read(recordings: list[Recording], cancelled: CancellationToken) -> None:
        for recording in recordings:
            if cancelled():
                break
            reader.read(place_in(recording, store, fetcher), recording)

    def jobs() -> Iterator[Job[list[Recording]]]:
        remaining = each_recording(table)
        while batch := list(islice(remaining, _BATCH)):
            yield Job(batch, [Task(partial(read, batch))])

    prefetcher = Prefetcher(
        jobs(),
        workers=workers,
        depth=_BATCHES_AHEAD * workers,
        name="headrace-metadata",
        on_close=(lambda: None) if fetcher is None else fetcher.interrupt,
    )
    done = 0
    with (
        nullcontext() if fetcher is None else closing(fetcher),
        closing(prefetcher),
        progress_bar("Reading metadata", progress) as update,
    ):
        for recordings in prefetcher:
            ids += [one.id for one in recordings]
            if len(ids) >= ROWS_AT_ONCE:
                parts.append(pa.table(reader.columns(ids)))
                ids.clear()
            done += len(recordings)
            update(done, len(table), 0)
    return pa.concat_tables([*parts, pa.table(reader.columns(ids))]), reader
