"""`Announcer`: tells a `Fetcher` which bytes a group of reads needs, before a worker reads it.

It is asked for each group when its work item is taken, in the consumer's thread. So how far ahead
bytes are fetched follows from the prefetch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.codecs import byte_ranges
from headrace.dsp import resampler
from headrace.storage import is_url, object_key

if TYPE_CHECKING:
    from headrace import _kernel
    from headrace.loading._plan import Plan
    from headrace.loading._work_items import ReadGroup
    from headrace.storage import Fetcher

__all__ = ["Announcer"]


class Announcer:
    """The byte ranges of groups that have not been read.

    Parameters
    ----------
    plan : Plan
        Whose groups are announced.
    fetcher : Fetcher
        Which fetches the ranges.
    reader : _kernel.Reader
        Which knows where it has found frames of FLAC.
    """

    def __init__(self, plan: Plan, fetcher: Fetcher, reader: _kernel.Reader) -> None:
        self._reader = reader
        self._recordings = plan.windows.recordings
        self._spec = plan.windows.spec
        self._fetcher = fetcher

    def announce(self, group: ReadGroup) -> None:
        """Announce what the reads of a group need. `release` has to follow."""
        announced: list[tuple[str, int, int]] = []
        for read in group.reads:
            recording = self._recordings[read.recording]
            if not is_url(recording.path):
                continue
            base = recording.offset or 0
            key = object_key(
                recording.path,
                base + recording.size,
                recording.version,
                self._recordings.source(read.recording),
            )
            converter = resampler(recording.sample_rate, self._spec.sample_rate)
            low, high = converter.support(read.starts[0], read.starts[-1] + self._spec.size)
            low, high = max(0, low), min(recording.frames, high)
            found = None
            if recording.format == "FLAC":
                found = self._reader.estimate(
                    recording=read.recording,
                    frames=recording.frames,
                    size=recording.size,
                    start=low,
                    stop=high,
                )
                if found is None:
                    run = recording.size * (high - low) // recording.frames
                    self._fetcher.store.hint(key, run)
                    announced.append((key, 0, 0))
            for one in byte_ranges(recording, low, high, found):
                self._fetcher.expect(key, base + one.start, base + one.stop, keep=one.keep)
                announced.append((key, base + one.start, base + one.stop))
        group.announced = announced

    def release(self, group: ReadGroup) -> None:
        """Say that a group has been read, successfully or not. May be called again."""
        announced, group.announced = group.announced, []
        for key, start, stop in announced:
            if start < stop:
                self._fetcher.release(key, start, stop)
            else:
                self._fetcher.store.hint(key, 0)
