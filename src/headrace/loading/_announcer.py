"""`Announcer`: tells a `Fetcher` which bytes a group of reads needs, before a worker reads it.

It is told of work items in the consumer's thread, before the loader takes them: as far ahead as
bytes may be held. The prefetch alone would be too short where a request takes long.

FLAC has no index. So bytes are announced where the read probably is, or, if that is too uncertain,
a *probe*: a few KiB, in which a frame says where it belongs. When they have come, the kernel looks
into them (`_kernel.search_flac`), and what is still missing is announced. That is done in the
fetcher's thread, before a worker needs the bytes, so that all reads that are announced are looked
for at once. It takes about 0.1 ms a step, most of it without the GIL. A worker that comes earlier
waits for the same bytes and takes the same steps.

Guarantees
----------
- Methods may be called by many threads at once. Only `settle` waits for a store; closing the
  fetcher wakes it.
- Whatever a search finds, a reader asks for the bytes that it lacks.
- Nothing is kept of a group that was released.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from headrace import _kernel
from headrace.codecs import byte_ranges
from headrace.dsp import resampler
from headrace.storage import is_url, object_key, stored_size, stored_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.concurrency import CancellationToken
    from headrace.loading._plan import Plan
    from headrace.loading._work_items import ReadGroup, WorkItem
    from headrace.storage import Fetcher

__all__ = ["Announcer"]

_MOST_ITEMS: Final = 64
"""Work items that wait to be taken, at most."""

_NEAR: Final = 24
"""A read that is not sure of its place waits for bytes of the same recording that are on their way,
if they are closer than so many times its own. Chosen by counting requests and bytes, as the next
one."""

_MOST_WAITS: Final = 2
"""With more, a tenth of the requests is saved where windows are far apart, and the first batch of a
recording comes half as late again, with 50 ms for each request."""


class _Arrival(NamedTuple):
    """The bytes that a search waits for in some step, which will tell others about their place."""

    search: _Search
    steps: int

    @property
    def is_on_its_way(self) -> bool:
        """Whether they are still waited for."""
        return self.search.awaited is not None and self.search.steps == self.steps


@dataclass(slots=True, eq=False)
class _Search:
    """A read of FLAC whose bytes are looked for.

    Attributes
    ----------
    low, high : int
        Its frames.
    head : pair of int
        Bytes of the object that every search looks into.
    range, kind
        Bytes of the recording that were announced for it last, and what they are; ``(0, 0)`` and
        None for none.
    awaited : pair of int
        Bytes of the object that have to come before it goes on; None if it waits for another one.
    waits_for : _Arrival, optional
        That.
    steps, waits : int
        Ranges that were announced so far, and how often it has waited for another one.
    is_over : bool
        Whether nothing more will be announced.
    """

    group: ReadGroup
    file: _kernel.RecordingFile
    key: str
    base: int
    low: int
    high: int
    head: tuple[int, int]
    range: tuple[int, int] = (0, 0)
    kind: _kernel.FlacRangeKind | None = None
    awaited: tuple[int, int] | None = None
    waits_for: _Arrival | None = None
    steps: int = 0
    waits: int = 0
    is_over: bool = False

    def needs(self, start: int, stop: int) -> bool:
        """Return whether it waits for some of these bytes of the object."""
        if self.awaited is None:
            return False
        return start < self.head[1] or (start < self.awaited[1] and self.awaited[0] < stop)


class Announcer:
    """The byte ranges of groups that have not been read.

    Parameters
    ----------
    plan : Plan
        Whose groups are announced.
    fetcher : Fetcher
        Which fetches the ranges.
    file_of : callable
        Describes a recording, of this number, for the kernel.
    """

    def __init__(
        self, plan: Plan, fetcher: Fetcher, file_of: Callable[[int], _kernel.RecordingFile]
    ) -> None:
        self._file_of = file_of
        self._recordings = plan.windows.recordings
        self._spec = plan.windows.spec
        self._fetcher = fetcher
        memory = plan.fetch_memory
        self._most_bytes = 0 if memory is None else memory.planned
        self._lock = threading.Lock()  # of the searches
        self._count_lock = threading.Lock()
        self._bytes = 0  # that are announced and not released
        self._groups_read = 0
        self._searches: dict[str, list[_Search]] = {}  # by object
        fetcher.tell_arrivals(self._go_on)

    def announced(self, items: Iterator[WorkItem], *, may_look_ahead: bool) -> Iterator[WorkItem]:
        """Yield work items after they were announced.

        With `may_look_ahead`, those that follow are announced, too, as long as there is memory for
        their bytes: one more item for each group that has been read, so that the first ones do not
        share the network with later ones. While the consumer waits for a slow answer, nothing can
        be announced; what is far ahead is fetched in that time.
        """
        ahead: deque[WorkItem] = deque()
        for item in items:
            for group in item.groups:
                self.announce(group)
            ahead.append(item)
            while ahead and not (may_look_ahead and self._wants_more(len(ahead))):
                yield ahead.popleft()
        yield from ahead

    def _wants_more(self, items: int) -> bool:
        return items < min(_MOST_ITEMS, self._groups_read) and self._bytes < self._most_bytes

    def announce(self, group: ReadGroup) -> None:
        """Announce what the reads of a group need. `release` has to follow."""
        group.announced = []
        for read in group.reads:
            recording = self._recordings[read.recording]
            if not is_url(recording.path):
                continue
            base = recording.offset or 0
            key = object_key(
                recording.path,
                base + stored_size(recording.size, recording.pieces),
                recording.version,
                self._recordings.source(read.recording),
            )
            converter = resampler(recording.sample_rate, self._spec.sample_rate)
            low, high = converter.support(read.starts[0], read.starts[-1] + self._spec.size)
            low, high = max(0, low), min(recording.frames, high)
            found = None
            # Where frames are is not known of a file with holes: its bytes are read on demand.
            if recording.format == "FLAC" and recording.pieces is None:
                file = self._file_of(read.recording)
                found = _kernel.search_flac(file, low, high, 0, 0, steps=0, probed=False)
            is_exact = found is not None and found[2] is _kernel.FlacRangeKind.EXACT
            ranges = byte_ranges(recording, low, high, found[:2] if found and is_exact else None)
            for one in ranges:
                start, stop = stored_span(recording.pieces, one.start, one.stop)
                self._expect(group, key, base + start, base + stop, keep=one.keep)
            if found is not None and not is_exact and ranges[-1].stop < recording.size:
                head = base, base + ranges[0].stop
                search = _Search(group, file, key, base, low, high, head)
                with self._lock:
                    self._searches.setdefault(key, []).append(search)
                    self._step(search)

    def _expect(self, group: ReadGroup, key: str, start: int, stop: int, *, keep: bool) -> None:
        if start == stop:  # a hole
            return
        self._fetcher.expect(key, start, stop, keep=keep)
        group.announced.append((key, start, stop))
        with self._count_lock:
            self._bytes += stop - start

    def _release(self, key: str, start: int, stop: int) -> None:
        self._fetcher.release(key, start, stop)
        with self._count_lock:
            self._bytes -= stop - start

    def _step(self, search: _Search) -> None:
        """Look into the bytes that have come for a search, and announce what it needs next.

        It may wait for another search of the recording. To be called with the lock.
        """
        kinds = _kernel.FlacRangeKind
        while not search.is_over:
            found = _kernel.search_flac(
                search.file,
                search.low,
                search.high,
                *search.range,
                steps=search.steps,
                probed=search.kind is kinds.PROBE,
            )
            if found is None:
                self._end(search)
                return
            begin, stop, kind = found
            start, end = search.base + begin, search.base + stop
            if kind is kinds.HEADER:
                self._expect(search.group, search.key, start, end, keep=True)
            else:
                if search.kind is kinds.PROBE:  # or reading around it would be two requests
                    self._drop(search)
                if kind in {kinds.PROBE, kinds.UNSURE} and search.waits < _MOST_WAITS:
                    search.waits_for = self._find_near(search, begin)
                    if search.waits_for is not None:
                        self._drop(search)
                        search.awaited = None
                        search.waits += 1
                        return
                self._expect(search.group, search.key, start, end, keep=False)
                self._drop(search)
                search.range, search.kind = (begin, stop), kind
            search.awaited = start, end
            search.steps += 1
            if not self._has_come(search):
                return

    def _find_near(self, search: _Search, begin: int) -> _Arrival | None:
        """Return what will tell about the place of a search, which is about at `begin`."""
        frames = search.high - search.low
        reach = _NEAR * search.file.file_bytes * frames // search.file.frames
        for one in self._searches[search.key]:
            is_other = one is not search and one.awaited is not None and one.base == search.base
            if is_other and abs(one.range[0] - begin) < reach:
                return _Arrival(one, one.steps)
        return None

    def _has_come(self, search: _Search) -> bool:
        store = self._fetcher.store
        return search.awaited is not None and all(
            store.held(search.key, start, stop - start) == stop - start
            for start, stop in (search.awaited, search.head)
        )

    def _drop(self, search: _Search) -> None:
        """Release what was announced for a search."""
        (begin, stop), search.range, search.kind = search.range, (0, 0), None
        if begin < stop:
            start, stop = search.base + begin, search.base + stop
            search.group.announced.remove((search.key, start, stop))
            self._release(search.key, start, stop)

    def _end(self, search: _Search) -> None:
        search.is_over, search.awaited = True, None
        rest = self._searches[search.key]
        rest.remove(search)
        if not rest:
            del self._searches[search.key]

    def _go_on(self, key: str, start: int, stop: int) -> None:
        """Take the next steps of the searches that need bytes which have come."""
        if key not in self._searches:
            return
        with self._lock:
            for search in tuple(self._searches.get(key, ())):
                if search.needs(start, stop) and self._has_come(search):
                    self._step(search)
            self._wake(key)

    def _wake(self, key: str) -> None:
        """Take the steps of searches that have waited for others. To be called with the lock."""
        for search in tuple(self._searches.get(key, ())):
            if search.awaited is None and not (search.waits_for and search.waits_for.is_on_its_way):
                self._step(search)

    def settle(self, group: ReadGroup, token: CancellationToken) -> float:
        """Wait until nothing more is looked for of a group, or `token` is cancelled.

        To be called before the group is read. Returns how many seconds that took.
        """
        keys = {one[0] for one in group.announced if one[0] in self._searches}
        if not keys:
            return 0.0
        began = time.perf_counter()
        with self._lock:
            own = [one for key in keys for one in self._searches.get(key, ()) if one.group is group]
        for search in own:
            while not (search.is_over or token()):
                self._wait(search)
                token.beat()
        return time.perf_counter() - began

    def _wait(self, search: _Search) -> None:
        """Wait until a search goes on; take its next step if nobody else has."""
        with self._lock:
            one = search
            if one.awaited is None and one.waits_for is not None:
                one = one.waits_for.search
            awaited, steps = one.awaited, one.steps
            if awaited is None:
                if not search.is_over:
                    self._step(search)
                return
        has_failed = False
        for start, stop in (one.head, awaited):
            answer = self._fetcher.store.read(one.key, start, stop - start)
            has_failed |= isinstance(answer, tuple)
        with self._lock:
            if not one.is_over and one.steps == steps:
                if has_failed or not self._has_come(one):
                    self._end(one)
                else:
                    self._step(one)
            self._wake(one.key)

    def release(self, group: ReadGroup) -> None:
        """Say that a group has been read, successfully or not. May be called again."""
        with self._lock:
            announced, group.announced = group.announced, []
            keys = {one[0] for one in announced if one[0] in self._searches}
            for key in keys:
                for search in tuple(self._searches[key]):
                    if search.group is group:
                        self._end(search)
        with self._count_lock:
            self._groups_read += 1
        for key, start, stop in announced:
            self._release(key, start, stop)
        with self._lock:
            for key in keys:  # what it has found may place others
                self._wake(key)
