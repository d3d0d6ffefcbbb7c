"""Headers of many objects in a store, fetched ahead and read in threads.

Guarantees
----------
- Results come in the order of the objects, one for each.
- At most `_OBJECTS_AHEAD` objects are in progress or waiting to be consumed. Their first bytes are
  fetched by `Fetcher`, hundreds at once. A thread waits only for what a header says that it needs
  besides: chunks behind the samples, an index at the end, or, of formats whose length no header
  says, the whole object.
- However the iteration ends, the threads have ended before it returns, as in `_headers`.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from headrace._formatting import format_bytes, format_count
from headrace._progress import announce, progress_bar
from headrace.codecs import SMALL_FILE, ends_of, probe
from headrace.concurrency import Job, Prefetcher, Task
from headrace.failures import Code, Failure
from headrace.storage import ObjectInfo, Place, StoreProblem, object_key, stored_size, stored_span

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    from numpy.typing import NDArray

    from headrace.catalog._objects import ScannedObjects
    from headrace.codecs import Recording
    from headrace.concurrency import CancellationToken
    from headrace.storage import Fetcher

__all__ = ["ScanReads", "read_object_headers"]

_OBJECTS_AHEAD: Final = 512
_BATCH: Final = 8
"""Objects per task."""

_EMPTY: Final = "the file has 0 bytes"
_CLOSED: Final = StoreProblem(Code.IO, "the scan was ended")


@dataclass(slots=True)
class ScanReads:
    """What a scan is about to read, by the names and sizes of objects.

    Attributes
    ----------
    unchanged : int
        Objects that are not read, because the catalog of an earlier scan has them.
    whole, heads, ends : int
        Objects that are read whole; of which the first bytes tell everything; and of which the last
        ones are needed, too.
    unsized : int
        Objects that are read whole and whose size is not known, such as URLs of a web server.
    nbytes : int
        Bytes that are read, about. Headers may need more. Of `unsized`, the first ones.
    """

    unchanged: int = 0
    whole: int = 0
    heads: int = 0
    ends: int = 0
    unsized: int = 0
    nbytes: int = 0

    def add(self, name: str, size: int, *, all_of_ogg: bool = False) -> None:
        """Count an object; a size below 0 is not known yet."""
        is_known = size >= 0
        ends = ends_of(name, size if is_known else sys.maxsize)
        is_whole = ends.all or bool(ends.tail and all_of_ogg) or (is_known and ends.head >= size)
        self.whole += is_whole
        self.ends += bool(ends.tail) and not is_whole
        self.heads += not ends.tail and not is_whole
        self.unsized += is_whole and not is_known
        if is_whole and is_known:
            self.nbytes += size
        else:
            self.nbytes += ends.head if is_known else SMALL_FILE
            self.nbytes += 0 if is_whole else ends.tail

    @property
    def objects(self) -> int:
        """Objects that are read."""
        return self.whole + self.heads + self.ends

    def __str__(self) -> str:
        parts = [
            f"{count:,} {how}"
            for count, how in (
                (self.heads, "by their first bytes"),
                (self.ends, "by their first and last bytes"),
                (self.whole, "whole"),
            )
            if count
        ]
        kept = f"; {self.unchanged:,} are known" if self.unchanged else ""
        if not parts:
            return f"Nothing is read{kept}."
        return (
            f"Reading {format_count(self.objects, 'object')}: {', '.join(parts)}; "
            f"{'more than' if self.unsized else 'about'} {format_bytes(self.nbytes)}{kept}."
        )


@dataclass(slots=True, eq=False)
class _Head:
    """The first bytes of an object, on their way."""

    url: str
    file_id: str
    size: int
    version: str | None
    offset: int
    ranges: list[tuple[int, int]]
    """Bytes of the recording that its header is likely to need."""
    pieces: bytes | None = None
    """As in `Recording`."""
    answer: SimpleQueue[ObjectInfo | StoreProblem] = field(default_factory=SimpleQueue)
    """Gets one item where size and version are not known beforehand."""

    @property
    def key(self) -> str:
        """The name of the object in a `FetchedStore`."""
        stored = stored_size(self.size, self.pieces)
        return object_key(self.url, max(0, self.offset) + stored, self.version)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return where bytes of the recording stand in the object."""
        base = max(0, self.offset)
        first, end = stored_span(self.pieces, start, stop)
        return base + first, base + end


def read_object_headers(
    objects: ScannedObjects,
    fetcher: Fetcher,
    *,
    known: tuple[NDArray[np.int64], NDArray[np.int64], list[str | None]] | None = None,
    workers: int = 0,
    progress: bool | None = None,
    ogg_by_libsndfile: bool = False,
    from_ends: bool = True,
    inspect: Callable[[Place, Recording], None] | None = None,
) -> Generator[Recording | Failure | None]:
    """Read the header of each object.

    Parameters
    ----------
    objects : ScannedObjects
        The objects.
    fetcher : Fetcher
        What fetches their bytes. It is interrupted when the iteration ends early.
    known : two int64 arrays, shape ``(len(objects.ids),)``, and a list, optional
        Size, offset (-1 for a whole object) and version of each recording when it was read before;
        a size of -1 for one that was not.
    workers, progress, ogg_by_libsndfile, inspect
        As in `read_headers`.
    from_ends : bool
        As in `probe`.

    Yields
    ------
    Recording, Failure or None
        None for an object that has the size and the version given by `known`.
    """
    reader = _HeadReader(
        objects,
        fetcher,
        known,
        ogg_by_libsndfile=ogg_by_libsndfile,
        from_ends=from_ends,
        inspect=inspect,
    )
    count = len(objects.ids)
    announce(str(reader.reads()), progress)
    batches = (range(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH))
    prefetcher = Prefetcher(
        map(reader.job, batches),
        workers=workers,
        depth=_OBJECTS_AHEAD // _BATCH,
        name="headrace-scan",
        on_close=reader.interrupt,
    )
    done = damaged = 0
    with closing(prefetcher), progress_bar("Reading headers", progress) as update:
        for headers in prefetcher:
            yield from headers
            done += len(headers)
            damaged += sum(isinstance(one, Failure) for one in headers)
            update(done, count, damaged)


class _HeadReader:
    """Asks for the first bytes of objects, and reads headers from them."""

    def __init__(
        self,
        objects: ScannedObjects,
        fetcher: Fetcher,
        known: tuple[NDArray[np.int64], NDArray[np.int64], list[str | None]] | None,
        *,
        ogg_by_libsndfile: bool,
        from_ends: bool,
        inspect: Callable[[Place, Recording], None] | None,
    ) -> None:
        self._from_ends = from_ends
        self._objects = objects
        self._fetcher = fetcher
        self._known = known
        self._ogg_by_libsndfile = ogg_by_libsndfile
        self._inspect = inspect
        self._waiting: set[_Head] = set()

    def reads(self) -> ScanReads:
        """Return what will be read."""
        reads = ScanReads()
        sizes = self._objects.sizes.tolist()
        for row, (name, size) in enumerate(zip(self._objects.ids, sizes, strict=True)):
            if self._is_unchanged(row, size, self._objects.versions[row]):
                reads.unchanged += 1
            else:
                reads.add(name, size, all_of_ogg=not self._from_ends)
        return reads

    def job(self, rows: range) -> Job[list[Recording | Failure | None]]:
        """Return the job that reads the headers of some objects."""
        headers: list[Recording | Failure | None] = []
        heads = [self._begin(row) for row in rows]
        return Job(headers, [Task(partial(self._read_batch, rows, heads, headers))])

    def interrupt(self) -> None:
        """Wake all threads that wait for bytes."""
        self._fetcher.interrupt()
        for head in list(self._waiting):
            head.answer.put(_CLOSED)

    def _begin(self, row: int) -> _Head | None:
        """Ask for the first bytes of an object, unless its header is known."""
        size, version = int(self._objects.sizes[row]), self._objects.versions[row]
        if self._is_unchanged(row, size, version):
            return None
        offset = int(self._objects.offsets[row])
        file_id = self._objects.ids[row]
        head = _Head(
            self._objects.urls[row],
            file_id,
            size,
            version,
            offset,
            _ranges(file_id, size),
            self._objects.pieces.get(row),
        )
        if size < 0:
            self._waiting.add(head)
            self._fetcher.expect_head(head.url, SMALL_FILE, head.answer.put)
        elif size > 0:
            for first, stop in head.ranges:
                self._fetcher.expect(head.key, *head.span(first, stop))
        return head

    def _is_unchanged(self, row: int, size: int, version: str | None) -> bool:
        if self._known is None or version is None:
            return False
        sizes, offsets, versions = self._known
        offset = self._objects.offsets[row]
        return bool((sizes[row], offsets[row], versions[row]) == (size, offset, version))

    def _read_batch(
        self,
        rows: range,
        heads: list[_Head | None],
        headers: list[Recording | Failure | None],
        cancelled: CancellationToken,
    ) -> None:
        for row, head in zip(rows, heads, strict=True):
            if cancelled():
                break
            headers.append(None if head is None else self._read(row, head, cancelled))

    def _read(self, row: int, head: _Head, token: CancellationToken) -> Recording | Failure | None:
        if head.size < 0:
            answer = head.answer.get()
            self._waiting.discard(head)
            if isinstance(answer, StoreProblem):
                if answer.code is Code.CHANGED:  # HTTP status 416
                    answer = StoreProblem(Code.EMPTY, _EMPTY)
                return Failure(head.file_id, head.url, answer.code, answer.message)
            head.size, head.version = answer.size, answer.version
            head.ranges = [(0, min(SMALL_FILE, head.size))]
        if head.size == 0:
            return Failure(head.file_id, head.url, Code.EMPTY, _EMPTY)
        place = Place(head.key, store=self._fetcher.store)
        if head.offset >= 0:
            place = replace(place, offset=head.offset, length=head.size, pieces=head.pieces)
        try:
            if self._is_unchanged(row, head.size, head.version):
                return None
            header = probe(
                place,
                head.file_id,
                token,
                ogg_by_libsndfile=self._ogg_by_libsndfile,
                version=head.version,
                from_ends=self._from_ends and head.size > SMALL_FILE,
            )
            if self._inspect is not None and not isinstance(header, Failure):
                self._inspect(place, header)
        finally:
            for first, stop in head.ranges:
                self._fetcher.release(head.key, *head.span(first, stop))
        if isinstance(header, Failure):
            return replace(header, path=head.url)
        defects = tuple(replace(one, path=head.url) for one in header.defects)
        return replace(header, path=head.url, defects=defects)


def _ranges(name: str, size: int) -> list[tuple[int, int]]:
    """Return the bytes of an object that its header is likely to need."""
    ends = ends_of(name, size)
    return [(0, ends.head), *([(size - ends.tail, size)] if ends.tail else [])]
