"""`Announcer`: tells a `Fetcher` which bytes a group of reads needs, before a worker reads it.

It is told of work items in the consumer's thread, before the loader takes them: as far ahead as
bytes may be held. The prefetch alone would be too short where a
request takes long.

FLAC has no index. Where too little is known of a recording to tell which bytes a read needs, a
*probe* is announced instead: a few KiB, in which a frame says where it belongs. Those of all such
groups are fetched at once. The first worker that comes to the recording reads them, and then the
other groups are announced.

Guarantees
----------
- Methods may be called by many threads at once. Only `look` waits for a store, or for another
  thread that reads the probes of the same recording; closing the fetcher wakes them.
- What is kept of a recording is dropped when nothing of it is looked for any more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from headrace.codecs import byte_ranges
from headrace.dsp import resampler
from headrace.storage import is_url, object_key, stored_size, stored_span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace import _kernel
    from headrace.codecs import Recording
    from headrace.loading._plan import Plan
    from headrace.loading._work_items import ReadGroup, WorkItem
    from headrace.storage import Fetcher

__all__ = ["Announcer"]

_MOST_ITEMS: Final = 64
"""Work items that wait to be taken, at most."""

_PROBE: Final = 32 << 10
"""Bytes: two frames of 16 bits and two channels, of which one is whole."""

_PROBE_SPACING: Final = 2 << 20
"""Bytes between probes, at least: some seconds to minutes of audio. A guess."""

_AT_THE_PLACE: Final = 2
"""Probes of a recording that are where the first reads probably are; those that follow are spread
over the file."""


@dataclass(slots=True)
class _Unplaced:
    """A read of which it is not known in which bytes it is."""

    group: ReadGroup
    low: int
    high: int


@dataclass(slots=True, eq=False)
class _Search:
    """What is looked for in one recording."""

    key: str
    recording: Recording
    number: int
    reading: threading.Lock = field(default_factory=threading.Lock)
    unplaced: list[_Unplaced] = field(default_factory=list)
    probes: list[int] = field(default_factory=list)  # bytes of the file that are being fetched
    asked: int = 0

    def next_probe(self, low: int) -> int | None:
        """Return where to probe for one more read that begins with frame `low`."""
        size = self.recording.size
        if self.asked >= max(1, size // _PROBE_SPACING):
            return None
        share = low / self.recording.frames
        if self.asked >= _AT_THE_PLACE:
            share = _spread(self.asked - _AT_THE_PLACE + 1)
        self.asked += 1
        return max(0, min(int(size * share), size - _PROBE))


def _spread(number: int) -> float:
    """Return a term of the sequence 1/2, 1/4, 3/4, 1/8, 5/8 ... (van der Corput's)."""
    share, weight = 0.0, 0.5
    while number:
        share += weight * (number & 1)
        number >>= 1
        weight /= 2
    return share


def _span_in(recording: Recording, start: int, stop: int) -> tuple[int, int]:
    """Return where bytes of a recording stand in its object."""
    base = recording.offset or 0
    first, end = stored_span(recording.pieces, start, stop)
    return base + first, base + end


class Announcer:
    """The byte ranges of groups that have not been read.

    Parameters
    ----------
    plan : Plan
        Whose groups are announced.
    fetcher : Fetcher
        Which fetches the ranges.
    reader : _kernel.Reader
        Which reads probes.
    """

    def __init__(self, plan: Plan, fetcher: Fetcher, reader: _kernel.Reader) -> None:
        self._reader = reader
        self._recordings = plan.windows.recordings
        self._spec = plan.windows.spec
        self._fetcher = fetcher
        memory = plan.fetch_memory
        self._most_bytes = 0 if memory is None else memory.planned
        self._lock = threading.Lock()  # of the searches
        self._count_lock = threading.Lock()
        self._bytes = 0  # that are announced and not released
        self._groups_read = 0
        self._searches: dict[int, _Search] = {}

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
            key = object_key(
                recording.path,
                (recording.offset or 0) + stored_size(recording.size, recording.pieces),
                recording.version,
                self._recordings.source(read.recording),
            )
            converter = resampler(recording.sample_rate, self._spec.sample_rate)
            low, high = converter.support(read.starts[0], read.starts[-1] + self._spec.size)
            low, high = max(0, low), min(recording.frames, high)
            found = None
            if recording.format == "FLAC":
                found = self._estimate(read.recording, recording, low, high)
                if found is None:
                    run = recording.size * (high - low) // recording.frames
                    self._fetcher.store.hint(key, run)
                    group.announced.append((key, 0, 0))
            for one in byte_ranges(recording, low, high, found):
                self._expect(group, key, *_span_in(recording, one.start, one.stop), keep=one.keep)
            if recording.format == "FLAC" and found is None:
                search = _Search(key, recording, read.recording)
                self._begin_search(search, _Unplaced(group, low, high))

    def _estimate(
        self, number: int, recording: Recording, low: int, high: int
    ) -> tuple[int, int] | None:
        return self._recordings.landmarks(number).estimate(
            recording=recording.id,
            frames=recording.frames,
            size=recording.size,
            start=low,
            stop=high,
        )

    def _expect(self, group: ReadGroup, key: str, start: int, stop: int, *, keep: bool) -> None:
        if start == stop:  # a hole of a member of a tar
            return
        self._fetcher.expect(key, start, stop, keep=keep)
        group.announced.append((key, start, stop))
        self._count(stop - start)

    def _count(self, nbytes: int) -> None:
        with self._count_lock:
            self._bytes += nbytes

    def _begin_search(self, new: _Search, read: _Unplaced) -> None:
        with self._lock:
            search = self._searches.setdefault(new.number, new)
            search.unplaced.append(read)
            probe = search.next_probe(read.low)
            if probe is not None:
                search.probes.append(probe)
                self._fetcher.expect(search.key, *_span_in(search.recording, probe, probe + _PROBE))

    def look(self, group: ReadGroup, files: dict[int, _kernel.RecordingFile]) -> float:
        """Read the probes of the recordings of a group, and announce what they have placed.

        `files` are descriptions of recordings, by number. To be called before the group is read.
        Returns how many seconds that took: 0 if there are no probes.
        """
        looked_s = 0.0
        for read in group.reads:
            search = self._searches.get(read.recording)
            if search is None:
                continue
            began = time.perf_counter()
            with search.reading:
                with self._lock:
                    probes, search.probes = search.probes, []
                if probes and read.recording in files:
                    self._reader.look(files[read.recording], probes)
                for probe in probes:
                    self._fetcher.release(
                        search.key, *_span_in(search.recording, probe, probe + _PROBE)
                    )
                with self._lock:
                    self._place(search)
                    search.unplaced = [one for one in search.unplaced if one.group is not group]
                    self._drop_if_ended(search)
            looked_s += time.perf_counter() - began
        return looked_s

    def _drop_if_ended(self, search: _Search) -> None:
        is_over = not search.unplaced and not search.probes
        # Another thread may have dropped it, and a later group begun the next one.
        if is_over and self._searches.get(search.number) is search:
            del self._searches[search.number]

    def _place(self, search: _Search) -> None:
        """Announce reads of which the place is known by now."""
        if search.probes:
            return  # more will be known soon
        unplaced = []
        for one in search.unplaced:
            found = self._estimate(search.number, search.recording, one.low, one.high)
            if found is None:
                unplaced.append(one)
                continue
            for span in byte_ranges(search.recording, one.low, one.high, found):
                if not span.keep:  # the head has been announced
                    start, stop = _span_in(search.recording, span.start, span.stop)
                    self._expect(one.group, search.key, start, stop, keep=False)
        search.unplaced = unplaced

    def release(self, group: ReadGroup) -> None:
        """Say that a group has been read, successfully or not. May be called again."""
        announced, group.announced = group.announced, []
        with self._count_lock:
            self._groups_read += 1
        for key, start, stop in announced:
            if start < stop:
                self._fetcher.release(key, start, stop)
                self._count(start - stop)
            else:
                self._fetcher.store.hint(key, 0)
        for read in group.reads:  # what it has found may place others
            search = self._searches.get(read.recording)
            if search is not None:
                with self._lock:
                    self._place(search)
                    self._drop_if_ended(search)
