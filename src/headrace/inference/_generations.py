"""`Generations`: which recordings a run has, and where their windows are in the current set.

A run is a list of generations. The first holds the recordings of the first call; each later one
those that were in none before. A generation's windows are numbered from 0: recording after
recording, in the order in which the generation lists them. So a window's number never changes,
whatever is added to the catalog, removed from it or moved in it.

A generation is a Parquet file with a row for each recording, created if absent.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import format_count
from headrace.errors import ResultsError
from headrace.inference._manifest import LAYOUT

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.inference._result_folder import ResultFolder
    from headrace.windows import Windows

__all__ = ["Generation", "Generations"]

_FOLDER: Final = "generations"
_KEY: Final = b"headrace"
_CHUNK: Final = 1 << 20
"""Windows whose places are hashed at once: some tens of megabytes."""

_IDENTITY: Final = ("frames", "sample_rate", "decoder", "windows", "digest")
"""The columns that must be the same for a recording to be the same."""


@dataclass(frozen=True, eq=False)
class Generation:
    """The recordings that one generation added.

    Attributes
    ----------
    number : int
        From 0.
    table : Arrow table
        Columns ``id``, ``frames``, ``sample_rate``, ``decoder``, ``windows`` (how many the
        recording has) and ``digest`` (of where they are; 0 where the cut decides it).
    vanished, returned : Arrow arrays of string
        Ids of recordings that were not among the windows any more, or were again.
    fingerprint : str
        That of all windows of the call that made the generation.
    """

    number: int
    table: pa.Table
    vanished: pa.Array
    returned: pa.Array
    fingerprint: str

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Number of each recording's first window, and the total: shape ``(recordings + 1,)``."""
        # Not `to_numpy`, which imports pandas where that is installed: a third of a second.
        counts = [np.from_dlpack(chunk) for chunk in self.table["windows"].chunks if len(chunk)]
        first: NDArray[np.int64] = np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
        return first

    @property
    def total(self) -> int:
        """Number of windows."""
        return int(self.first[-1])

    def has_any(self, chosen: NDArray[np.bool_], begin: int, stop: int) -> bool:
        """Return whether windows ``[begin, stop)`` are of any of the chosen recordings.

        Parameters
        ----------
        chosen : ndarray of bool, shape ``(recordings,)``
            One for each recording.
        begin, stop : int
            Numbers of windows.
        """
        low = int(np.searchsorted(self.first, begin, side="right")) - 1
        high = int(np.searchsorted(self.first, stop, side="left"))
        return bool(chosen[low:high].any())

    def to_bytes(self) -> bytes:
        """Return the generation as a Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        events = pa.array(["new"], pa.string()).take(pa.array(np.zeros(len(self.table), np.int64)))
        tables = [self.table.append_column("event", events)]
        for event, ids in (("vanished", self.vanished), ("returned", self.returned)):
            tables.append(pa.table({"id": ids, "event": pa.array([event] * len(ids), pa.string())}))
        table = pa.concat_tables(tables, promote_options="default")
        metadata = {"layout": LAYOUT, "fingerprint": self.fingerprint}
        sink = io.BytesIO()
        pq.write_table(
            table.replace_schema_metadata({_KEY: json.dumps(metadata)}), sink, compression="zstd"
        )
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, number: int, data: bytes) -> Generation:
        """Return the generation that `to_bytes` wrote."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # In this thread: one of Arrow's might let go of `data` while the interpreter exits, and
        # abort the process when it asks for the interpreter's lock.
        with pq.ParquetFile(
            pa.BufferReader(data), pre_buffer=False, read_dictionary=["event"]
        ) as file:
            table = file.read(use_threads=False)
        metadata = json.loads(table.schema.metadata[_KEY])
        events = table["event"].combine_chunks()
        codes = np.from_dlpack(events.indices) if len(events) else np.empty(0, np.int32)
        code_of = {event: code for code, event in enumerate(events.dictionary.to_pylist())}

        def rows(event: str) -> pa.Table:  # neighbours, as `to_bytes` wrote them; see also `first`
            found = np.flatnonzero(codes == code_of.get(event, -1))
            return table.slice(found[0] if len(found) else 0, len(found)).drop_columns("event")

        gone, back = (rows(event)["id"].combine_chunks() for event in ("vanished", "returned"))
        return cls(number, rows("new"), gone, back, metadata["fingerprint"])


@dataclass(frozen=True, eq=False)
class _CurrentSet:
    """The recordings that the current windows are of.

    Attributes
    ----------
    table : Arrow table
        As in `Generation`: the recordings that have windows, in the order of the set.
    base : ndarray of int64, shape ``(recordings,)``
        Where each recording's windows begin, in the set or in `places`.
    places : ndarray of int64, or None
        The places of the set sorted by recording, where they are not so already.
    """

    table: pa.Table
    base: NDArray[np.int64]
    places: NDArray[np.int64] | None
    fingerprint: str

    @classmethod
    def from_windows(cls, windows: Windows) -> _CurrentSet:
        import pyarrow as pa
        import pyarrow.compute as pc

        bounds, places = windows.runs()
        firsts = bounds[:-1] if places is None else places[bounds[:-1]]
        numbers = windows.rows(firsts).recording
        recordings = windows.recordings
        ids = recordings.ids(numbers).combine_chunks()
        if pc.count_distinct(ids).as_py() < len(ids):
            repeated = pc.value_counts(ids)
            which = repeated.field("values")[
                pc.index(pc.greater(repeated.field("counts"), 1), True)
            ]
            raise ResultsError(
                f"two recordings of these windows have the id {which.as_py()!r}, and results are "
                "kept by id: scan both folders together, so that ids are unique."
            )
        chunks = [one.to_arrow().select(["sample_rate", "decoder"]) for one in recordings.catalogs]
        catalog = pa.concat_tables([one.replace_schema_metadata(None) for one in chunks]).take(
            pa.array(numbers)
        )
        table = pa.table(
            {
                "id": ids,
                "frames": recordings.frames[numbers],
                "sample_rate": catalog["sample_rate"],
                "decoder": catalog["decoder"],
                "windows": np.diff(bounds),
                "digest": _digests(windows, bounds, places),
            }
        )
        return cls(table, bounds[:-1], places, windows.fingerprint)


class Generations:
    """The generations of a run, mapped to the places of the current set.

    Attributes
    ----------
    all : tuple of Generation
        In the order in which they were made.
    """

    def __init__(self, generations: list[Generation], current: _CurrentSet | None = None) -> None:
        self.all = tuple(generations)
        self._current = current
        self._bases = [] if current is None else [_bases(one, current) for one in generations]

    @classmethod
    def read(cls, folder: ResultFolder) -> Generations:
        """Return the generations that a run has, without a set of windows."""
        return cls(_read_all(folder, []))

    @classmethod
    def update(cls, folder: ResultFolder, windows: Windows) -> Generations:
        """Return the generations of a run, after one is added for what is new in `windows`.

        Parameters
        ----------
        folder : ResultFolder
            Where the run is.
        windows : Windows
            The current windows, without order and shard.

        Raises
        ------
        ResultsError
            A recording has other windows than the run has results for.
        """
        current = _CurrentSet.from_windows(windows)
        known: list[Generation] = []
        while True:
            known = _read_all(folder, known)
            new = _next_generation(known, current)
            if new is None:
                return cls(known, current)
            folder.create(f"{_FOLDER}/{new.number:05}.parquet", new.to_bytes())

    def places(self, generation: int, windows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of a generation's windows in the current set; -1 for those not in it.

        Parameters
        ----------
        generation : int
            The generation's number.
        windows : ndarray of int64
            Numbers of its windows.
        """
        assert self._current is not None
        first = self.all[generation].first
        recording = np.searchsorted(first, windows, side="right") - 1
        base = self._bases[generation][recording]
        index = np.where(base < 0, 0, base + windows - first[recording])
        if self._current.places is not None:
            index = self._current.places[index]
        return np.where(base < 0, -1, index)

    def ids(self, generation: int, windows: NDArray[np.int64]) -> list[str]:
        """Return the recording of each of a generation's windows."""
        one = self.all[generation]
        recording = np.searchsorted(one.first, windows, side="right") - 1
        ids: list[str] = one.table["id"].take(recording).to_pylist()
        return ids

    def has_any(self, generation: int, begin: int, stop: int) -> bool:
        """Return whether the current set has any of a generation's windows ``[begin, stop)``."""
        return self.all[generation].has_any(self._bases[generation] >= 0, begin, stop)

    def vanished(self) -> set[str]:
        """Return the ids of the recordings that the last call did not have."""
        return _vanished(self.all)

    def present(self) -> list[tuple[Generation, NDArray[np.bool_]]]:
        """Return each generation that has vanished recordings, and which of its are present."""
        if not (ids := sorted(self.vanished())):
            return []
        import pyarrow as pa
        import pyarrow.compute as pc

        gone = pa.array(ids, pa.string())
        pairs = [(one, ~pc.is_in(one.table["id"], value_set=gone).to_numpy()) for one in self.all]
        return [(one, present) for one, present in pairs if not present.all()]


def _read_all(folder: ResultFolder, known: list[Generation]) -> list[Generation]:
    names = sorted(name for name in folder.list(_FOLDER) if name.endswith(".parquet"))
    return known + [
        Generation.from_bytes(number, folder.read(f"{_FOLDER}/{name}"))
        for number, name in enumerate(names)
        if number >= len(known)
    ]


def _vanished(generations: tuple[Generation, ...]) -> set[str]:
    gone: set[str] = set()
    for one in generations:
        gone |= {*one.vanished.to_pylist()}
        gone -= {*one.returned.to_pylist()}
    return gone


def _next_generation(known: list[Generation], current: _CurrentSet) -> Generation | None:
    """Return the generation that the current set adds, or None if it adds nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = current.table
    none = pa.array([], pa.string())
    if not known:
        return Generation(0, table, none, none, current.fingerprint)
    if known[-1].fingerprint == current.fingerprint:
        return None
    stored = pa.concat_tables([one.table for one in known]).combine_chunks()
    row = pc.index_in(table["id"], value_set=stored["id"].combine_chunks()).combine_chunks()
    _check_same(table.filter(pc.is_valid(row)), stored.take(row.drop_null()))
    new = table.filter(pc.is_null(row))
    gone = stored["id"].filter(
        pc.invert(pc.is_in(stored["id"], value_set=table["id"].combine_chunks()))
    )
    before = pa.array(sorted(_vanished(tuple(known))), pa.string())
    vanished = gone.filter(pc.invert(pc.is_in(gone, value_set=before))).combine_chunks()
    returned = before.filter(pc.is_in(before, value_set=table["id"].combine_chunks()))
    if not (len(new) or len(vanished) or len(returned)):
        return None
    return Generation(len(known), new, vanished, returned, current.fingerprint)


def _check_same(now: pa.Table, before: pa.Table) -> None:
    import pyarrow.compute as pc

    for name in _IDENTITY:
        values, stored = now[name], before[name]
        if name == "decoder":
            values, stored = values.fill_null(""), stored.fill_null("")
        different = pc.not_equal(values, stored)
        row = pc.index(different, value=True).as_py()
        if row < 0:
            continue
        count = pc.sum(different).as_py()
        which = now["id"][row].as_py()
        others = f" (and {count - 1:,} more)" if count > 1 else ""
        if name == "digest":
            what = "has windows at other times than"
        elif name == "windows":
            what = (
                f"has {format_count(values[row].as_py(), 'window')} here, and "
                f"{stored[row].as_py():,} in"
            )
        else:
            what = f"has {name} {values[row].as_py()!r} here, and {stored[row].as_py()!r} in"
        raise ResultsError(
            f"the recording {which!r}{others} {what} these results: a file that has changed needs "
            "another id, other windows need another output."
        )


def _bases(generation: Generation, current: _CurrentSet) -> NDArray[np.int64]:
    """Return where each recording's windows begin in the current set; -1 where they do not."""
    import pyarrow.compute as pc

    row = pc.index_in(generation.table["id"], value_set=current.table["id"].combine_chunks())
    found = row.fill_null(-1).to_numpy().astype(np.int64)
    bases: NDArray[np.int64] = np.where(found < 0, -1, current.base[found])
    return bases


def _digests(
    windows: Windows, bounds: NDArray[np.int64], places: NDArray[np.int64] | None
) -> NDArray[np.uint64]:
    """Return a digest of where each recording's windows are; 0 where the cut decides it."""
    identity = windows.identity
    digests = np.zeros(len(bounds) - 1, np.uint64)
    if identity.choice.kind == "all":
        return digests
    total = int(bounds[-1])
    for begin in range(0, total, _CHUNK):
        stop = min(begin + _CHUNK, total)
        chosen = np.arange(begin, stop) if places is None else places[begin:stop]
        start = windows.rows(chosen).start
        low = int(np.searchsorted(bounds, begin, side="right")) - 1
        high = int(np.searchsorted(bounds, stop, side="left"))
        firsts = np.maximum(bounds[low:high], begin)
        number = np.arange(begin, stop) - np.repeat(
            bounds[low:high], np.diff(np.append(firsts, stop))
        )
        mixed = _mix(start.astype(np.uint64) * np.uint64(2) + np.uint64(1))
        mixed = _mix(mixed ^ number.astype(np.uint64))
        digests[low:high] += np.add.reduceat(mixed, firsts - begin)
    return digests


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's finaliser of each number (Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
