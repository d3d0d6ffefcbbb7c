"""`Plan`: an order of windows -> the reads that make each delivery, and the memory that takes.

Pure: no file is opened and no thread is started here. What comes out is what a `Loader` carries
out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from headrace._kernel import LANES
from headrace._sizes import format_bytes
from headrace.codecs import Recording, decoder_bytes, decodes_from_start, sample_type, seeks_exactly
from headrace.dsp import resampler, table_bytes
from headrace.errors import InvalidWindowsError, MemoryBudgetError
from headrace.loading._work import ReadGroup, WorkItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.windows import WindowRows, Windows

__all__ = ["Plan", "ScratchSize", "chunk_outputs"]

_ROWS_AHEAD = 1 << 10
"""Windows whose places are worked out at once: the microseconds that array operations cost the
consumer are shared by so many."""

_GROUP_SAMPLES = 1 << 18
"""Output samples in a group of reads, at least. Some milliseconds of work: handing over pieces of a
tenth of that lost 13 to 32 % to Python, and ten times as long keeps workers from sharing a
batch."""

_LARGE_GROUP = 4
"""How many times as long a group may be where each worker gets two of a batch all the same."""

_CHUNK_INPUTS = 1 << 16
"""Frames decoded before they are resampled, about: two such buffers stay in a core's second
cache."""

_MOST_STAGES = 8
"""Stages of a filter, at most: room is left for their lanes."""

_AUTO_MEMORY = 1 << 30
"""What ``prefetch="auto"`` stays under, by making less of it, where no memory is given."""


@dataclass(frozen=True, slots=True)
class ScratchSize:
    """What one worker needs beside the rows it writes.

    Attributes
    ----------
    pcm : int
        Bytes of decoded samples.
    planes, inputs, outputs : int
        Channels side by side, and samples of each before and after resampling.
    between : int
        Samples between the stages of a filter.
    """

    pcm: int
    planes: int
    inputs: int
    outputs: int
    between: int

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return self.pcm + 4 * (self.planes * (self.inputs + self.outputs) + self.between)


def chunk_outputs(rate_in: int, rate_out: int) -> int:
    """Return how many outputs are made at a time, so that their input stays in the cache."""
    return max(1024, _CHUNK_INPUTS * rate_out // max(rate_in, rate_out))


class Plan:
    """How a set of windows will be loaded.

    Parameters
    ----------
    windows : Windows
        What.
    batch_size : int or None
        Windows in a batch; None for single examples.
    workers : int
        Threads; 0 for none.
    prefetch : int or "auto"
        Deliveries ready or in the making, at most.
    memory : int or None
        Bytes that `memory_bound` may not pass.
    last : {"keep", "drop", "pad"}
        What becomes of a last batch that is not full.
    batch_bytes : int
        Bytes of a batch that are not in its slab.
    lent : int
        Batches that an adapter keeps beside those that the bound has for the consumer.

    Raises
    ------
    MemoryBudgetError
        Even a prefetch of 1 passes `memory`.

    Attributes
    ----------
    prefetch : int
        What `memory` left of it; 0 without workers.
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
        batch_bytes: int = 0,
        lent: int = 0,
    ) -> None:
        self.windows = windows
        self._batch_bytes = batch_bytes
        self._lent = lent
        self.batch_size = batch_size
        self.workers = workers
        self.last = last
        self.row_bytes = windows.dtype.itemsize * int(np.prod(windows.shape))
        self.audio_bytes = 4 * int(np.prod(windows.audio_shape))
        self._group_rows = max(1, _GROUP_SAMPLES * 4 // self.audio_bytes)
        if batch_size is not None:
            share = -(-batch_size // (2 * max(1, workers)))
            self._group_rows = max(self._group_rows, min(share, _LARGE_GROUP * self._group_rows))
        self.prefetch = self._choose_prefetch(prefetch, memory)
        # Single examples are made a few at a time, so that a worker's task is worth its handing
        # over; few enough that there are two tasks for every worker within the prefetch.
        self.unit_rows = batch_size or max(
            1, min(self._group_rows, self.prefetch // (2 * max(1, workers)))
        )
        if batch_size is None:
            # Ready examples of the unit being handed out count against prefetch too.
            units = self.prefetch // self.unit_rows
            self.depth = units if self.unit_rows == 1 else units - 1
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
                    f"memory={format_bytes(memory)} is too small: the smallest that would do with "
                    f"workers={self.workers}{batches} is {needed} bytes. "
                    f'Give memory="{-(-needed >> 20)} MiB".',
                    needed=needed,
                )
            chosen = min(chosen, (memory - self.bound(0)) // self.delivery_bytes)
        return chosen

    @property
    def delivery_bytes(self) -> int:
        """Bytes of a batch, or of a single example."""
        rows = (self.row_bytes + self.windows.label_row_bytes) * (self.batch_size or 1)
        return rows + self._batch_bytes

    def refuse_nothing(self) -> None:
        """Raise `InvalidWindowsError` if an epoch has no deliveries."""
        if not self.deliveries():
            raise InvalidWindowsError(
                f'batch_size={self.batch_size} with last="drop" leaves nothing of '
                f'{len(self.windows)} windows: give a smaller batch_size, or last="keep".'
            )

    @property
    def held(self) -> int:
        """Deliveries that there may be at once, those with the consumer among them."""
        return self.prefetch + 2 + self._lent

    @property
    def memory_bound(self) -> int:
        """Bytes that loading takes at most: see `bound`."""
        return self.bound(self.prefetch)

    def bound(self, prefetch: int) -> int:
        """Return the bytes for `prefetch` deliveries.

        (prefetch + 2) deliveries + workers x scratch + open decoders + tables. The two more are the
        batch that the consumer is looking at and the one it is being handed: a ``for`` statement
        lets go of the old one only when it has the new one. What a transform allocates beyond its
        result is not in it.
        """
        return self.nbytes(prefetch + 2 + self._lent, self.open_files)

    def nbytes(self, deliveries: int, open_files: int) -> int:
        """Return the bytes that loading takes with so many deliveries and open files."""
        return (
            deliveries * self.delivery_bytes
            + max(1, self.workers) * (self.scratch.nbytes + self.transform_bytes)
            + open_files * self.stream_bytes
            + self.table_bytes
        )

    @cached_property
    def kinds(self) -> list[Recording]:
        """A stand-in for each kind of recording, as long as the longest; as in `Recordings`."""
        longest = self.windows.recordings.longest
        return [
            Recording("", "", rate, channels, longest, container, subtype)
            for rate, channels, container, subtype in self.windows.recordings.kinds
        ]

    @cached_property
    def scratch(self) -> ScratchSize:
        """The scratch of one worker: enough for every kind of recording."""
        target = self.windows.spec.sample_rate
        pcm = inputs = outputs = between = 0
        for kind in self.kinds:
            chunk = chunk_outputs(kind.sample_rate, target)
            table = resampler(kind.sample_rate, target)
            # The chunk, the filter's reach on both sides, and groups of lanes at both ends of each
            # of its stages.
            lanes = _MOST_STAGES * 2 * LANES * (1 + table.down // table.up)
            span = -(-chunk * table.down // table.up) + 2 * table.reach + lanes
            pcm = max(pcm, span * kind.channels * sample_type(kind).itemsize)
            inputs, outputs = max(inputs, span), max(outputs, chunk)
            between = max(between, table.filter.scratch(chunk))
        planes = self.windows.audio_shape[0] if self.windows.spec.channel == "all" else 1
        return ScratchSize(pcm, planes, inputs, outputs, between)

    @property
    def transform_bytes(self) -> int:
        """Bytes of the audio and of the results that wait for a worker's next transform."""
        transforms = self.windows.transforms
        if not transforms:
            return 0
        results = sum(t.dtype.itemsize * int(np.prod(t.shape)) for t in transforms)
        labels = self.windows.label_row_bytes if any(t.on == "example" for t in transforms) else 0
        return self._group_rows * (self.audio_bytes + labels) + results

    @property
    def open_files(self) -> int:
        """Files open at once: one for each worker, and as many and two more waiting to carry on."""
        return 2 * max(1, self.workers) + 2

    def keep(self, recording: Recording) -> int:
        """Return how many inputs a stream of `recording` remembers, where libsndfile cannot seek.

        The next group's first window begins up to `Windows.overlap` samples, and a filter's reach
        on both sides, before the end of this one's last.
        """
        if seeks_exactly(recording):
            return 0
        table = resampler(recording.sample_rate, self.windows.spec.sample_rate)
        return -(-self.windows.overlap * table.down // table.up) + 2 * table.reach + 2

    @cached_property
    def stream_bytes(self) -> int:
        """Bytes of the largest decoder and what its stream remembers."""
        planes = self.scratch.planes
        return max(  # twice, for the moment in which what is remembered moves up
            decoder_bytes(kind) + 2 * 4 * planes * self.keep(kind) for kind in self.kinds
        )

    @cached_property
    def table_bytes(self) -> int:
        """Bytes of the resamplers' coefficients, of the order and of the labels."""
        target = self.windows.spec.sample_rate
        tables = sum(table_bytes(rate, target) for rate in {one.sample_rate for one in self.kinds})
        return tables + self.windows.order.nbytes + self.windows.label_bytes

    def deliveries(self, position: int = 0) -> int:
        """Return how many deliveries an epoch has from `position` on."""
        rows = self.windows.share.rows(self.windows.positions - position)
        if self.batch_size is None:
            return rows
        return rows // self.batch_size if self.last == "drop" else -(-rows // self.batch_size)

    def units(self, epoch: int, position: int = 0) -> Iterator[WorkItem]:
        """Yield what is to be made in `epoch` from `position` of all shards on, in order."""
        order, share = self.windows.order.epoch(epoch), self.windows.share
        positions = self.windows.positions
        total = share.rows(positions - position)
        if self.last == "drop" and self.batch_size is not None:
            total = total // self.batch_size * self.batch_size
        stride = max(1, _ROWS_AHEAD // self.unit_rows) * self.unit_rows
        for begin in range(0, total, stride):
            end = min(begin + stride, total)
            at = position + begin * share.step
            ahead = self.windows.rows(order(share.positions(at, end - begin, positions)), epoch)
            for first in range(begin, end, self.unit_rows):
                stop = min(first + self.unit_rows, total)
                rows = ahead[first - begin : stop - begin]
                yield WorkItem(
                    epoch,
                    position + stop * share.step,
                    rows,
                    tuple(self._groups(rows)),
                    stop == total,
                    share.step,
                    stop - first - len(rows.index),
                )

    def _groups(self, rows: WindowRows) -> Iterator[ReadGroup]:
        """Cut rows into groups, each with a single key."""
        count, step, size = len(rows.index), self._group_rows, self.windows.spec.size
        if self.windows.jumps or self._all_seek:  # nothing carries on
            for begin in range(0, count, step):
                yield ReadGroup(rows, begin, min(begin + step, count), size, None)
            return
        keys = [self._key(recording) for recording in rows.recording.tolist()]
        begin = 0
        for row in range(1, count + 1):
            if row == count or row - begin >= step or keys[row] != keys[begin]:
                yield ReadGroup(rows, begin, row, size, keys[begin])
                begin = row

    def _key(self, recording: int) -> int | None:
        """Return what chains reads of `recording` to each other, None where each stands alone."""
        return recording if decodes_from_start(self.windows.recordings[recording]) else None

    @cached_property
    def _all_seek(self) -> bool:
        return all(map(seeks_exactly, self.kinds))
