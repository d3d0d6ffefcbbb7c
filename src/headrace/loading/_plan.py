"""`Plan`: which reads fill each delivery, and how much memory loading takes.

Pure: planning opens no file and starts no thread. A `Loader` carries the plan out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from headrace._formatting import format_bytes
from headrace._kernel import LANES
from headrace.codecs import Recording, decoder_bytes, decodes_from_start, sample_type, seeks_exactly
from headrace.dsp import resampler, table_bytes
from headrace.errors import InvalidWindowsError, MemoryBudgetError
from headrace.loading._work_items import ReadGroup, WorkItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from headrace.loading._catalog_columns import CatalogColumns
    from headrace.windows import WindowRows, Windows

__all__ = ["Plan", "ScratchSize", "chunk_outputs"]

_ROWS_AHEAD = 1 << 10
"""Windows that are located at once, so that they share the fixed cost of array operations, some
microseconds in the consumer's thread."""

_ITEMS_AHEAD = 64
"""Work items that are made at once, at most: one after the other, they take a quarter of the time
that each takes by itself, when nothing of the code is in the processor's caches."""

_GROUP_SAMPLES = 1 << 18
"""Output samples in a read group, at least: some milliseconds of work. Groups of a tenth of that
lost 13 to 32 % of the speed to Python. Groups of ten times that keep workers from sharing a
batch."""

_LARGE_GROUP = 16
"""How many times longer a group may be, as long as a batch still has two groups for each worker.
With 4, a batch of 64 windows of 5 s took twice the Python (12 and 7 us a window)."""

_CHUNK_INPUTS = 1 << 16
"""About how many frames are decoded before they are resampled. Two such buffers fit in a core's L2
cache."""

_MAX_STAGES = 8
"""The most stages of a resampling filter. Each needs room for its SIMD lanes."""

_FETCHED = 128 << 20
"""Bytes of object stores that may be in flight or wait to be decoded: at 600 MB/s, those of 0.2 s,
for which a slow answer stops nothing. With `memory`, they are a fifth of it."""

_CACHE_TABLES = 4 << 20  # checksums of blocks that the kernel keeps (`KNOWN_BLOCKS`), 8 bytes each
_CACHE_BLOCK = 32 << 10  # the last block of a disk cache that an open file has read

_MAP_COPIES = 8  # an open file has its map of holes packed, in up to 5 descriptions, and unpacked

_LEAST_FETCHED, _MOST_FETCHED = 1 << 20, 512 << 20
_MOST_CACHED = 32 << 20  # bytes that are kept of what was read on demand
_LEAST_AHEAD, _MOST_AHEAD = 128 << 10, 4 << 20

_AUTO_MEMORY = 1 << 30
"""``prefetch="auto"`` is lowered to keep the memory bound under this where no `memory` is given."""


@dataclass(frozen=True, slots=True)
class ScratchSize:
    """The memory that one worker needs in addition to the rows it writes.

    Attributes
    ----------
    pcm : int
        Bytes of decoded samples.
    planes : int
        Channels that are resampled separately.
    inputs, outputs : int
        Samples of each of these channels before and after resampling (float32).
    between : int
        Samples between the stages of a resampling filter (float32).
    """

    pcm: int
    planes: int
    inputs: int
    outputs: int
    between: int

    @property
    def nbytes(self) -> int:
        """Total bytes."""
        return self.pcm + 4 * (self.planes * (self.inputs + self.outputs) + self.between)


def chunk_outputs(rate_in: int, rate_out: int) -> int:
    """Return how many samples are resampled at a time, so that their input stays in the cache."""
    return max(1024, _CHUNK_INPUTS * rate_out // max(rate_in, rate_out))


@dataclass(frozen=True, slots=True)
class FetchMemory:
    """The memory for bytes of object stores.

    Attributes
    ----------
    planned : int
        Bytes that are announced.
    cached : int
        Bytes that are kept of what was read on demand.
    ahead : int
        Bytes that a decoder asks for at once.
    urgent : int
        Bytes beyond these, of groups that workers are waiting for.
    disk_cache : int
        Bytes of what is known of a disk cache, and of blocks that workers check.
    unwritten : int
        Bytes that wait to be written to a disk cache.
    """

    planned: int
    cached: int
    ahead: int
    urgent: int
    disk_cache: int
    unwritten: int

    @property
    def nbytes(self) -> int:
        """Total bytes."""
        return self.planned + self.cached + self.urgent + self.disk_cache + self.unwritten


class Plan:
    """How some windows will be loaded.

    Parameters
    ----------
    windows : Windows
        The windows to load.
    batch_size : int or None
        Windows in a batch; None for single examples.
    workers : int
        Number of threads; 0 for none.
    prefetch : int or "auto"
        The most deliveries that are ready or being loaded.
    memory : int or None
        Limit on `memory_bound`, in bytes.
    last : {"keep", "drop", "pad"}
        What happens to a last batch that is not full.
    columns : CatalogColumns, optional
        The columns of the catalog that are delivered.
    extra_batch_bytes : int
        Bytes of a batch that are outside its buffer.
    lent_batches : int
        Batches that an adapter holds, in addition to those that the bound allows the consumer.

    Raises
    ------
    MemoryBudgetError
        Even with a prefetch of 1, `memory_bound` exceeds `memory`.

    Attributes
    ----------
    prefetch : int
        The prefetch that fits into `memory`; 0 without workers.
    row_bytes, audio_bytes : int
        Bytes of a window as it is delivered, and before its transforms.
    item_rows : int
        Rows of a work item, except the last one of an epoch.
    depth : int
        The most work items in flight.
    kept_bytes : int
        What is left of `memory`, as far as it can keep row groups of Parquet files.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        batch_size: int | None,
        workers: int,
        prefetch: int | Literal["auto"],
        memory: int | None,
        last: Literal["keep", "drop", "pad"],
        columns: CatalogColumns | None = None,
        extra_batch_bytes: int = 0,
        lent_batches: int = 0,
    ) -> None:
        self.windows = windows
        self._memory = memory
        self._columns = columns
        self._extra_batch_bytes = extra_batch_bytes
        self._lent_batches = lent_batches
        self.batch_size = batch_size
        self.workers = workers
        self.last = last
        self.row_bytes = windows.dtype.itemsize * int(np.prod(windows.shape))
        self.audio_bytes = 4 * int(np.prod(windows.audio_shape))
        self.kept_bytes = 0
        self._group_rows = max(1, _GROUP_SAMPLES * 4 // self.audio_bytes)
        if batch_size is not None:
            share = -(-batch_size // (2 * max(1, workers)))
            self._group_rows = max(self._group_rows, min(share, _LARGE_GROUP * self._group_rows))
        self.prefetch = self._choose_prefetch(prefetch, memory)
        if memory is not None:  # what is left keeps row groups of Parquet files
            left = memory - self.bound(self.prefetch)
            self.kept_bytes = max(0, min(left, windows.recordings.useful_bytes))
        # Single examples are loaded a few at a time, so that a task is worth its overhead, but few
        # enough that the prefetch holds two tasks for every worker.
        self.item_rows = batch_size or max(
            1, min(self._group_rows, self.prefetch // (2 * max(1, workers)))
        )
        if batch_size is None:
            # The examples of the item that is being delivered count as prefetched, too.
            items = self.prefetch // self.item_rows
            self.depth = items if self.item_rows == 1 else items - 1
        else:
            self.depth = self.prefetch

    def _choose_prefetch(self, prefetch: int | Literal["auto"], memory: int | None) -> int:
        if self.workers == 0:
            chosen = 0
        elif isinstance(prefetch, int):
            chosen = prefetch
        else:
            if self.batch_size is None:
                chosen = (2 * self.workers + 2) * self._group_rows
            else:
                groups = -(-self.batch_size // self._group_rows)
                chosen = 1 + max(1, -(-2 * self.workers // groups))
            if memory is None:
                fits = (_AUTO_MEMORY - self.bound(0)) // self.delivery_bytes
                return max(2, min(chosen, fits))
        if memory is not None:
            needed = self.bound(min(chosen, 1))
            if needed > memory:
                batches = f" and batch_size={self.batch_size}" if self.batch_size else ""
                raise MemoryBudgetError(
                    f"memory={format_bytes(memory)} is too small: a loader with "
                    f"workers={self.workers}{batches} needs at least {needed} bytes. "
                    f'Give memory="{-(-needed >> 20)} MiB".',
                    needed=needed,
                )
            chosen = min(chosen, (memory - self.bound(0)) // self.delivery_bytes)
        return chosen

    @property
    def delivery_bytes(self) -> int:
        """Bytes of a batch, or of a single example."""
        row = self.row_bytes + self.windows.label_row_bytes
        row += 0 if self._columns is None else self._columns.row_bytes
        return row * (self.batch_size or 1) + self._extra_batch_bytes

    def check_not_empty(self) -> None:
        """Raise `InvalidWindowsError` if an epoch has no deliveries."""
        if not self.deliveries():
            raise InvalidWindowsError(
                f'batch_size={self.batch_size} with last="drop" makes no batch of '
                f'{len(self.windows)} windows. Give a smaller batch_size, or last="keep".'
            )

    @property
    def max_deliveries(self) -> int:
        """The most deliveries that exist at once, including those that the consumer holds."""
        return self.prefetch + 2 + self._lent_batches

    @property
    def memory_bound(self) -> int:
        """The most bytes that loading takes: see `bound`."""
        return self.bound(self.prefetch)

    def bound(self, prefetch: int) -> int:
        """Return the most bytes that loading takes with a prefetch of `prefetch` deliveries.

        (prefetch + 2) deliveries + workers x scratch + open decoders + tables, and what is held of
        Parquet files. The 2 are the batch
        that the consumer holds and the next one: a ``for`` statement drops the old batch only after
        it has received the new one. Memory that a transform allocates, other than its result, is
        not included.
        """
        return self.nbytes(prefetch + 2 + self._lent_batches, self.open_files)

    @cached_property
    def fetch_memory(self) -> FetchMemory | None:
        """The memory for bytes of object stores; None if all recordings are files."""
        if not self.windows.recordings.has_urls:
            return None
        planned = _FETCHED
        if self._memory is not None:
            planned = min(_MOST_FETCHED, max(_LEAST_FETCHED, self._memory // 5))
        workers = max(1, self.workers)
        ahead = min(_MOST_AHEAD, max(_LEAST_AHEAD, planned // (8 * workers)))
        group = 0
        for kind in self.kinds:
            converter = resampler(kind.sample_rate, self.windows.spec.sample_rate)
            frames = self._group_rows * -(-self.windows.spec.size * converter.down // converter.up)
            group = max(group, (frames + 2 * converter.reach) * 4 * kind.channels)
        urgent = 2 * workers * (ahead + group)  # twice: a slow request is sent once more
        return FetchMemory(
            planned=planned,
            cached=min(planned // 2, _MOST_CACHED),
            ahead=ahead,
            urgent=urgent,
            disk_cache=_CACHE_TABLES + workers * _CACHE_BLOCK,
            unwritten=planned // 4,
        )

    def nbytes(self, deliveries: int, open_files: int, fetched: int | None = None) -> int:
        """Return the bytes of `deliveries`, `open_files`, `fetched` bytes, scratch and tables."""
        if fetched is None:
            fetched = 0 if self.fetch_memory is None else self.fetch_memory.nbytes
        return (
            fetched
            + deliveries * self.delivery_bytes
            + max(1, self.workers) * (self.scratch.nbytes + self.transform_bytes)
            + open_files * self.stream_bytes
            + self.table_bytes
            + self.windows.recordings.held_bytes
            + self.kept_bytes
        )

    @cached_property
    def kinds(self) -> list[Recording]:
        """An example of each kind of recording, in the order of `Recordings.kinds`.

        All are as long as the longest recording.
        """
        longest = self.windows.recordings.longest
        return [
            Recording("", "", rate, channels, longest, container, subtype)
            for rate, channels, container, subtype in self.windows.recordings.kinds
        ]

    @cached_property
    def scratch(self) -> ScratchSize:
        """The scratch memory of one worker, large enough for every kind of recording."""
        target = self.windows.spec.sample_rate
        pcm = inputs = outputs = between = 0
        for kind in self.kinds:
            chunk = chunk_outputs(kind.sample_rate, target)
            converter = resampler(kind.sample_rate, target)
            # The chunk, the filter's reach on both sides, and a group of SIMD lanes at both ends of
            # each of its stages.
            lanes = _MAX_STAGES * 2 * LANES * (1 + converter.down // converter.up)
            span = -(-chunk * converter.down // converter.up) + 2 * converter.reach + lanes
            pcm = max(pcm, span * kind.channels * sample_type(kind).itemsize)
            inputs, outputs = max(inputs, span), max(outputs, chunk)
            between = max(between, converter.filter.scratch(chunk))
        planes = self.windows.audio_shape[0] if self.windows.spec.channel == "all" else 1
        return ScratchSize(pcm, planes, inputs, outputs, between)

    @property
    def transform_bytes(self) -> int:
        """Bytes of audio and of results between one worker's transforms."""
        transforms = self.windows.transforms
        if not transforms:
            return 0
        results = sum(t.dtype.itemsize * int(np.prod(t.shape)) for t in transforms)
        labels = self.windows.label_row_bytes if any(t.on == "example" for t in transforms) else 0
        return self._group_rows * (self.audio_bytes + labels) + results

    @property
    def open_files(self) -> int:
        """The most open files: one for each worker, and as many idle ones and two more.

        An idle file is kept open so that its decoder can continue with a later window. If the order
        draws from several files in turn, all of them are kept open.
        """
        workers = max(1, self.workers)
        return workers + max(workers, self.windows.files_at_once) + 2

    def kept_frames(self, recording: Recording) -> int:
        """Return how many decoded frames a stream of `recording` keeps, where it cannot seek.

        The first window of the next group may begin before the last window of this group ends: by
        up to `Windows.overlap` samples and the filter's reach on both sides.
        """
        if seeks_exactly(recording):
            return 0
        converter = resampler(recording.sample_rate, self.windows.spec.sample_rate)
        overlap = -(-self.windows.overlap * converter.down // converter.up)
        return overlap + 2 * converter.reach + 2

    @cached_property
    def stream_bytes(self) -> int:
        """Bytes of the largest decoder and the frames that its stream keeps."""
        planes = self.scratch.planes
        block = _CACHE_BLOCK if self.windows.recordings.has_urls else 0
        block += _MAP_COPIES * self.windows.recordings.largest_map
        return block + max(  # twice, for the moment in which the kept frames are moved
            decoder_bytes(kind) + 2 * 4 * planes * self.kept_frames(kind) for kind in self.kinds
        )

    @cached_property
    def table_bytes(self) -> int:
        """Bytes of the resamplers' coefficients, the order, the labels and the columns."""
        target = self.windows.spec.sample_rate
        tables = sum(table_bytes(rate, target) for rate in {one.sample_rate for one in self.kinds})
        tables += 0 if self._columns is None else self._columns.nbytes
        return tables + self.windows.order.nbytes + self.windows.label_bytes

    def deliveries(self, position: int = 0) -> int:
        """Return the number of deliveries of an epoch from `position` on."""
        rows = self.windows.share.rows(self.windows.positions - position)
        if self.batch_size is None:
            return rows
        return rows // self.batch_size if self.last == "drop" else -(-rows // self.batch_size)

    def work_items(self, epoch: int, position: int = 0) -> Iterator[WorkItem]:
        """Yield the work of `epoch` from `position` on, in order. Positions count all shards."""
        order, share = self.windows.order.epoch(epoch), self.windows.share
        positions = self.windows.positions
        total = share.rows(positions - position)
        if self.last == "drop" and self.batch_size is not None:
            total = total // self.batch_size * self.batch_size
        stride = min(_ITEMS_AHEAD, max(1, _ROWS_AHEAD // self.item_rows)) * self.item_rows
        for begin in range(0, total, stride):
            end = min(begin + stride, total)
            at = position + begin * share.step
            ahead = self.windows.rows_at(share.positions(at, end - begin, positions), epoch, order)
            items = []
            for first in range(begin, end, self.item_rows):
                stop = min(first + self.item_rows, total)
                rows = ahead[first - begin : stop - begin]
                items.append(
                    WorkItem(
                        epoch,
                        position + stop * share.step,
                        rows,
                        tuple(self._groups(rows, epoch)),
                        stop == total,
                        share.step,
                        stop - first - len(rows.index),
                    )
                )
            yield from items

    def work_items_at(self, indices: Iterable[NDArray[np.int64]]) -> Iterator[WorkItem]:
        """Yield the work of lists of windows, given by their places in the unshuffled set.

        A list is taken from `indices` when its first work item is needed.
        """
        for places in indices:
            for begin in range(0, len(places), self.item_rows):
                rows = self.windows.rows(places[begin : begin + self.item_rows])
                yield WorkItem(0, 0, rows, tuple(self._groups(rows, 0)), ends_epoch=False)

    def _groups(self, rows: WindowRows, epoch: int) -> Iterator[ReadGroup]:
        """Divide rows into groups, each with one key."""
        count, step, size = len(rows.index), self._group_rows, self.windows.spec.size
        if self.windows.jumps or self._all_seek:  # no decoder continues where it stopped
            for begin in range(0, count, step):
                yield ReadGroup(rows, begin, min(begin + step, count), size, None, epoch)
            return
        keys = [self._key(recording) for recording in rows.recording.tolist()]
        begin = 0
        for row in range(1, count + 1):
            if row == count or row - begin >= step or keys[row] != keys[begin]:
                yield ReadGroup(rows, begin, row, size, keys[begin], epoch)
                begin = row

    def _key(self, recording: int) -> int | None:
        """Return the key of reads of `recording`, or None where they may run in any order."""
        return recording if decodes_from_start(self.windows.recordings[recording]) else None

    @cached_property
    def _all_seek(self) -> bool:
        return all(map(seeks_exactly, self.kinds))
