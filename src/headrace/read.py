"""`Reader`: a group of reads -> rows of audio: decode, mix, resample.

It knows no threads, but may be called from many: what a call uses, streams and scratch, is its own
while the call lasts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import pairwise
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from headrace.decode import DecodeFault
from headrace.plan import chunk_outputs
from headrace.pool import StreamPool
from headrace.records import Failure
from headrace.resample import resampler
from headrace.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from headrace.plan import Group, Plan
    from headrace.resample import Resampler

__all__ = ["GroupResult", "Reader"]

_DIRECT = 1 << 14
"""Samples from which on a window that touches no other is resampled straight into its row; shorter
ones are made many at a time and copied, which costs less than their calls."""


@dataclass(slots=True)
class GroupResult:
    """What became of a group.

    Attributes
    ----------
    failures : dict of int to Failure
        By row of the unit; those rows hold zeros.
    decode_s, resample_s, busy_s : float
        Seconds of work: decoding and mixing, resampling, and everything.
    """

    failures: dict[int, Failure] = field(default_factory=dict)
    decode_s: float = 0.0
    resample_s: float = 0.0
    busy_s: float = 0.0


class _Scratch:
    """The memory of one call; bounded by `Plan.scratch`, however long a read is."""

    def __init__(self, plan: Plan) -> None:
        size = plan.scratch
        self.pcm = np.empty(size.pcm, np.uint8)
        self.x = np.empty((size.planes, size.inputs), np.float32)
        self.y = np.empty((size.planes, size.outputs), np.float32)


class Reader:
    """Reads what a plan says.

    Parameters
    ----------
    plan : Plan
        Whose groups will be read.
    """

    def __init__(self, plan: Plan) -> None:
        windows = plan.windows
        self._plan = plan
        self._catalog = windows.catalog
        self._spec = windows.spec
        self._scratch: SimpleQueue[_Scratch] = SimpleQueue()
        for _ in range(max(1, plan.workers)):  # one for every call that can be under way
            self._scratch.put(_Scratch(plan))
        self.pool = StreamPool(self._open, plan.open_decoders - max(1, plan.workers))

    def close(self) -> None:
        """Close the open files."""
        self.pool.close()

    def _open(self, index: int) -> Stream:
        recording = self._catalog[index]
        return Stream(recording, self._spec.channel, self._plan.keep(recording))

    def read(
        self, group: Group, rows: Sequence[NDArray[np.float32]], cancelled: Callable[[], bool]
    ) -> GroupResult:
        """Fill the rows of `group`.

        Parameters
        ----------
        group : Group
            What to read.
        rows : sequence of ndarray of float32, shape ``(samples,)`` or ``(channels, samples)``
            All rows of the unit; only the group's are written.
        cancelled : callable
            Asked between reads and within long ones.

        Returns
        -------
        GroupResult

        Raises
        ------
        GaveUp
            `cancelled` said so; the rows are undefined.
        """
        began = time.perf_counter()
        result = GroupResult()
        scratch = self._scratch.get()
        try:
            for read in group.reads:
                targets = rows[read.row : read.row + len(read.starts)]
                try:
                    self._read(read.recording, read.starts, targets, scratch, cancelled, result)
                except DecodeFault:
                    # One of the windows is lost; which ones, each has to find out for itself.
                    for i, start in enumerate(read.starts):
                        row = read.row + i
                        try:
                            self._read(
                                read.recording, (start,), rows[row : row + 1], scratch, cancelled,
                                result,
                            )  # fmt: skip
                        except DecodeFault as fault:
                            rows[row][...] = 0
                            result.failures[row] = self._failure(read.recording, start, fault)
        finally:
            self._scratch.put(scratch)
        result.busy_s = time.perf_counter() - began
        return result

    def _failure(self, index: int, start: int, fault: DecodeFault) -> Failure:
        recording, rate = self._catalog[index], self._spec.sample_rate
        return Failure(
            file_id=recording.id,
            path=recording.path,
            code=fault.code,
            message=fault.message,
            start_s=start / rate,
            stop_s=(start + self._spec.size) / rate,
            windows=1,
        )

    def _read(
        self,
        index: int,
        starts: tuple[int, ...],
        rows: Sequence[NDArray[np.float32]],
        scratch: _Scratch,
        cancelled: Callable[[], bool],
        result: GroupResult,
    ) -> None:
        """Read windows of one recording that follow or overlap each other."""
        stream = self.pool.lease(index, starts[0])
        whole = False
        try:
            recording = stream.recording
            table = resampler(recording.sample_rate, self._spec.sample_rate)
            total = table.output_frames(recording.frames)
            size = self._spec.size
            segments = [(start, min(start + size, total)) for start in starts]
            direct = size >= _DIRECT and all(
                this[1] <= following[0] for this, following in pairwise(segments)
            )
            pieces: list[tuple[int, int, NDArray[np.float32] | None]]
            if direct:
                pieces = [(b, e, row) for (b, e), row in zip(segments, rows, strict=True)]
            else:
                pieces = [(segments[0][0], segments[-1][1], None)]
            inputs = _Inputs(stream, table, scratch, segments[0][0], segments[-1][1])
            chunk = min(scratch.y.shape[1], chunk_outputs(table.rate_in, table.rate_out))
            for begin, end, row in pieces:
                for c in range(begin, end, chunk):
                    stop = min(c + chunk, end)
                    t0 = time.perf_counter()
                    inputs.load(c, stop, cancelled)
                    t1 = time.perf_counter()
                    if row is None:
                        y = scratch.y[:, : stop - c]
                    else:
                        y = row.reshape(-1, size)[:, c - begin : stop - begin]
                    for x_plane, y_plane in zip(scratch.x, y, strict=True):
                        table(x_plane, inputs.begin, y_plane, c)
                    if row is None:
                        _scatter(y, c, stop, segments, rows)
                    result.decode_s += t1 - t0
                    result.resample_s += time.perf_counter() - t1
            for (start, end), row in zip(segments, rows, strict=True):
                row[..., end - start :] = 0
            whole = True
        finally:
            self.pool.give_back(index, stream, reuse=whole)


class _Inputs:
    """The inputs of a rising sequence of outputs, sliding through ``scratch.x``."""

    def __init__(
        self, stream: Stream, table: Resampler, scratch: _Scratch, begin: int, stop: int
    ) -> None:
        self._stream = stream
        self._table = table
        self._scratch = scratch
        low, high = table.support(begin, stop)
        self._low, self._high = max(0, low), min(stream.recording.frames, high)
        self.begin = table.span(begin, begin + 1)[0]
        self._filled = self.begin  # x holds the inputs [begin, filled)

    def load(self, start: int, stop: int, cancelled: Callable[[], bool]) -> None:
        """Make ``scratch.x`` hold what outputs [start, stop) need, from input `begin` on.

        Zeros stand for what is outside the file, or outside what the whole read depends on.
        """
        x = self._scratch.x
        begin, end = self._table.span(start, stop)
        left = self._filled - begin
        if left > 0:
            x[:, :left] = x[:, begin - self.begin : self._filled - self.begin]
        self.begin = begin
        self._filled = max(self._filled, begin)
        low, high = max(self._low, self._filled), min(self._high, end)
        if low >= high:
            x[:, self._filled - begin : end - begin] = 0
        else:
            x[:, self._filled - begin : low - begin] = 0
            self._stream.read(low, x[:, low - begin : high - begin], self._scratch.pcm, cancelled)
            x[:, high - begin : end - begin] = 0
        self._filled = max(self._filled, end)


def _scatter(
    y: NDArray[np.float32],
    begin: int,
    stop: int,
    segments: Sequence[tuple[int, int]],
    rows: Sequence[NDArray[np.float32]],
) -> None:
    """Copy outputs [begin, stop) to every row that has some of them."""
    for (first, last), row in zip(segments, rows, strict=True):
        low, high = max(begin, first), min(stop, last)
        if low < high:
            row[..., low - first : high - first] = y[:, low - begin : high - begin]
