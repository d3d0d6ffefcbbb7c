"""`Reader`: decodes, mixes and resamples a group of reads into rows of audio.

Guarantees
----------
- A group is one native call. The call releases the GIL from opening the first file to writing the
  last row.
- `Reader.read` may be called by many threads at once. Open files and scratch memory belong to one
  call as long as it lasts (src/kernel/reader/reader.h).
- `Reader.read` checks its `CancellationToken` between reads and within long reads.
- A recording whose read has stalled is not read again by the same `Reader`.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from headrace import _kernel
from headrace.codecs import libsndfile_functions, seek_point_bytes, source_format
from headrace.dsp import kernel_info, resampler
from headrace.failures import TEMPORARY, Code, DecodeError, Failure
from headrace.loading._announcer import Announcer
from headrace.loading._plan import chunk_outputs
from headrace.observe import ReadTiming, seconds_queued
from headrace.storage import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from headrace.concurrency import CancellationToken
    from headrace.loading._plan import Plan
    from headrace.loading._work_items import ReadGroup, WorkItem
    from headrace.storage import Fetcher

__all__ = ["GroupResult", "ReadCancelledError", "Reader"]

_CACHE_BYTES = 1 << 21
"""Bytes of the cache of `_kernel.RecordingFile` objects: half a KiB each, plus seek points. Only
recordings that the kernel does not find by itself are described by such an object."""

_SAMPLED = 4
"""In one of so many groups, the wait for a processor is measured. That releases the GIL, which a
busy thread may then keep for milliseconds. An arbitrary choice."""

_STALLED = "a read did not return within stall_timeout_s. Check the disk or network."


class ReadCancelledError(Exception):
    """The read was cancelled: its result is no longer needed."""


@dataclass(slots=True)
class GroupResult:
    """The result of reading a group.

    Attributes
    ----------
    failures : dict of int to Failure
        By row of the work item. These rows hold zeros.
    timing : ReadTiming
        When it was read, and where the time went.
    sampled : bool
        Whether waits for a processor are measured.
    """

    failures: dict[int, Failure] = field(default_factory=dict)
    timing: ReadTiming = field(default_factory=ReadTiming)
    sampled: bool = False

    @contextmanager
    def transforming(self) -> Iterator[None]:
        """Count the time inside the ``with`` as time of transforms."""
        timing = self.timing
        began = time.perf_counter()
        queued_s = seconds_queued() if self.sampled else math.nan
        yield
        queued_s = seconds_queued() - queued_s if self.sampled else math.nan
        ended = time.perf_counter()
        if not math.isnan(queued_s):
            timing.sampled_s += ended - began
            timing.queued_s += queued_s
        timing.add_transform(threading.current_thread().name, began, ended)


class Reader:
    """Reads the groups of a plan.

    Parameters
    ----------
    plan : Plan
        The plan whose groups will be read.
    fetcher : Fetcher, optional
        What fetches recordings that are objects in a store.
    instruction_set : str
        One of ``_kernel.instruction_sets()``. Default: that of `kernel_info`. All give the same
        bits.

    Raises
    ------
    ValueError
        This processor does not have the instruction set.
    """

    def __init__(
        self, plan: Plan, instruction_set: str = "", fetcher: Fetcher | None = None
    ) -> None:
        spec, scratch = plan.windows.spec, plan.scratch
        self._recordings = plan.windows.recordings
        self._spec = spec
        self._kinds = {kind: index for index, kind in enumerate(plan.windows.recordings.kinds)}
        formats = []
        for kind in plan.kinds:
            converter = resampler(kind.sample_rate, spec.sample_rate)
            chunk = chunk_outputs(kind.sample_rate, spec.sample_rate)
            formats.append(
                _kernel.RecordingFormat(
                    source=source_format(kind),
                    filter=converter.filter,
                    output_up=converter.up,
                    output_down=converter.down,
                    chunk=chunk,
                    history=plan.kept_frames(kind),
                )
            )
        channel = {"mix": _kernel.MIX, "all": _kernel.ALL}.get(str(spec.channel), spec.channel)
        self._native = _kernel.Reader(
            formats=formats,
            table=plan.windows.recordings.native,
            library=libsndfile_functions(),
            instruction_set=instruction_set or kernel_info().instruction_set,
            size=spec.size,
            channel=int(channel),
            scratch=_kernel.ScratchSize(
                pcm_bytes=scratch.pcm,
                planes=scratch.planes,
                inputs=scratch.inputs,
                outputs=scratch.outputs,
            ),
            idle_limit=min(plan.open_files - max(1, plan.workers), sys.maxsize),
        )
        self._fetcher = fetcher
        self._samples = plan.workers > 0
        self._groups = count()
        self._indexed: set[int] = set()
        self._unreadable: dict[int, tuple[Code, str]] = {}  # recordings, with the reason
        points = max(map(seek_point_bytes, plan.kinds), default=0)
        self._file = lru_cache(maxsize=max(64, _CACHE_BYTES // (512 + points)))(self._file_of)
        self._find = None if self._recordings.are_plain_files else self._file
        self._announcer = None if fetcher is None else Announcer(plan, fetcher, self._file)

    @property
    def most_open(self) -> int:
        """The most files that have been open at once."""
        return self._native.most_open

    def close(self) -> None:
        """Close the open files."""
        self._native.close()

    def announce(self, group: ReadGroup) -> None:
        """Begin to fetch what a group of reads needs, if it is in a store."""
        if self._announcer is not None:
            self._announcer.announce(group)

    def announced(self, items: Iterator[WorkItem], *, may_look_ahead: bool) -> Iterator[WorkItem]:
        """Yield work items; begin to fetch what they need, and what those behind them need."""
        if self._announcer is None:
            return items
        return self._announcer.announced(items, may_look_ahead=may_look_ahead)

    def read(
        self,
        group: ReadGroup,
        rows: NDArray[np.float32] | list[NDArray[np.float32]],
        token: CancellationToken,
        *,
        first: int = 0,
    ) -> GroupResult:
        """Fill the rows of `group`.

        Parameters
        ----------
        group : ReadGroup
            The group to read.
        rows : ndarray or list of ndarray of float32
            The rows of the work item from `first` on, shape ``(rows, samples)`` or
            ``(rows, channels, samples)``, or a list of that many arrays. Only the group's rows are
            written.
        token : CancellationToken
            Checked between reads and within long reads.
        first : int
            The row of the work item that `rows` begins with.

        Returns
        -------
        GroupResult

        Raises
        ------
        ReadCancelledError
            `token` was cancelled. The contents of the rows are undefined.
        """
        recordings = group.rows.recording[group.begin : group.stop]
        failures: dict[int, Failure] = {}
        indexing_s = 0.0
        if self._unreadable or self._find is not None:
            began = time.perf_counter()
            problems = self._problems(recordings, token)
            indexing_s = time.perf_counter() - began
            if problems:
                unread = [
                    row
                    for row, number in enumerate(recordings.tolist(), group.begin)
                    if number in problems
                ]
                for row in unread:
                    problem = problems[int(group.rows.recording[row])]
                    failures[row] = self._failure(group, row, *problem)
                recordings = recordings.copy()
                recordings[np.array(unread) - group.begin] = _kernel.UNREAD
        waited_s = indexing_s
        began, cpu_s = time.perf_counter(), time.thread_time()
        try:
            if self._announcer is not None:
                waited_s += self._announcer.settle(group, token)
            result = self._native.read(
                recordings,
                group.rows.start[group.begin : group.stop],
                rows[group.begin - first : group.stop - first],
                token.flag,
                token.heartbeat,
                self._find,
            )
        finally:
            if self._announcer is not None:
                self._announcer.release(group)
        cpu_s = time.thread_time() - cpu_s
        busy_s = result.busy_s + waited_s
        began -= indexing_s
        gil_s = time.perf_counter() - began - busy_s
        if result.cancelled:
            raise ReadCancelledError
        for window in result.lost:
            row = window.row + group.begin
            failures[row] = self._failure(group, row, Code(window.code), window.message)
        timing = ReadTiming(
            thread=threading.current_thread().name,
            began_s=began,
            ended_s=began + busy_s,
            cpu_s=cpu_s,
            busy_s=busy_s,
            decode_s=max(0.0, result.decode_s - result.store_s),
            resample_s=result.resample_s,
            store_s=result.store_s + (0.0 if self._fetcher is None else waited_s),
            gil_s=gil_s,
            file=self._recordings.native.path(int(group.rows.recording[group.begin])),
            windows=group.stop - group.begin,
        )
        sampled = self._samples and next(self._groups) % _SAMPLED == 0
        return GroupResult(failures, timing, sampled=sampled)

    def _problems(
        self, recordings: NDArray[np.int64], token: CancellationToken
    ) -> dict[int, tuple[Code, str]]:
        """Make the indexes of recordings that lack them, and return why some cannot be read.

        Raises
        ------
        ReadCancelledError
            `token` was cancelled.
        """
        problems = {}
        for number in dict.fromkeys(recordings.tolist()):
            problem = (
                self._make_index(number, token)
                if self._lacks_index(number)
                else self._unreadable.get(number)
            )
            if problem is not None:  # not kept: it may get its index later
                problems[number] = problem
        return problems

    def _lacks_index(self, number: int) -> bool:
        """Return whether the index of a recording has to be made, and may be."""
        if number in self._indexed or number in self._unreadable:
            return False
        if self._recordings.lacks_index(number):
            return True
        self._indexed.add(number)
        return False

    def _make_index(self, number: int, token: CancellationToken) -> tuple[Code, str] | None:
        """Make the index of a recording, or return why it cannot be read.

        Raises
        ------
        ReadCancelledError
            `token` was cancelled.
        """
        token.begin_item(number)

        def cancelled() -> bool:
            token.beat()
            return token()

        problem = None
        try:
            self._recordings.make_index(number, self._fetcher, cancelled)
        except DecodeError as error:
            problem = error.code, error.message
        if token():
            raise ReadCancelledError
        if problem is None:
            self._indexed.add(number)
        elif problem[0] not in TEMPORARY:
            self._unreadable[number] = problem
        return problem

    def exclude_stalled(self, group: ReadGroup, stalled: CancellationToken) -> None:
        """Do not read the recording again on which the read with the token `stalled` hangs."""
        recordings = set(group.rows.recording[group.begin : group.stop].tolist())
        if stalled.working_on is not None:
            recordings &= {stalled.working_on}
        self._unreadable.update(dict.fromkeys(recordings, (Code.STALLED, _STALLED)))

    def _file_of(self, index: int) -> _kernel.RecordingFile:
        """Return the description of a recording for the kernel."""
        recording = self._recordings[index]
        kind = (
            recording.sample_rate,
            recording.channels,
            recording.format,
            recording.subtype,
        )
        return _kernel.RecordingFile(
            id=index,
            format=self._kinds[kind],
            frames=recording.frames,
            file_bytes=recording.size,
            place=self._recordings.place(index, recording, self._fetcher).native,
            seek_points=recording.seek_points,
            landmarks=self._recordings.landmarks(index) if is_url(recording.path) else None,
            name=recording.id,
        )

    def _failure(self, group: ReadGroup, row: int, code: Code, message: str) -> Failure:
        recording = self._recordings[int(group.rows.recording[row])]
        start, rate = int(group.rows.start[row]), self._spec.sample_rate
        return Failure(
            file_id=recording.id,
            path=recording.path,
            code=code,
            message=message,
            start_s=start / rate,
            stop_s=(start + self._spec.size) / rate,
            windows=1,
        )
