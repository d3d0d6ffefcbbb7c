"""`Reader`: decodes, mixes and resamples a group of reads into rows of audio.

Guarantees
----------
- A group is one native call. The call releases the GIL from opening the first file to writing the
  last row.
- `Reader.read` may be called by many threads at once. Open files and scratch memory belong to one
  call as long as it lasts (src/kernel/reader.h).
- `Reader.read` checks its `CancellationToken` between reads and within long reads.
- A recording whose read has stalled is not read again by the same `Reader`.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from headrace import _kernel
from headrace.codecs import facts_of, libsndfile_functions, path_of
from headrace.dsp import kernel_info, resampler
from headrace.failures import Code, Failure
from headrace.loading._plan import chunk_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from headrace.codecs import Recording
    from headrace.concurrency import CancellationToken
    from headrace.loading._plan import Plan
    from headrace.loading._work import ReadGroup

__all__ = ["GroupResult", "ReadCancelledError", "Reader"]

_CACHE_BYTES = 1 << 21
"""Bytes of the cache of recordings' facts: half a kilobyte and the seek points for each."""

_Facts = tuple[int, int, int, int, bytes, bytes | None]
"""Id, kind, frames, bytes, path and seek points, as the native reader takes them."""

_STALLED = "a read did not return within stall_timeout_s. Check the disk or network."


class ReadCancelledError(Exception):
    """The read was cancelled: nobody needs its result."""


@dataclass(slots=True)
class GroupResult:
    """The result of reading a group.

    Attributes
    ----------
    begin : int
        The group's first row.
    ids, paths : list of str
        Of the recording of each of its rows.
    failures : dict of int to Failure
        By row of the work item. These rows hold zeros.
    decode_s, resample_s, busy_s : float
        Seconds of work: decoding and mixing, resampling, and everything.
    transform_s : float
        Seconds in transforms.
    gil_s : float
        Seconds from the end of the native work to the moment when Python let this thread go on.
    thread : str
        The name of the thread that did the native work.
    began_s, ended_s : float
        When it did, by `time.perf_counter`.
    cpu_s : float
        Seconds of it on a processor; in the others it waited for the disk, or for a processor.
    transforms : list of (str, float, float)
        Thread, begin and end of each round of transforms.
    """

    begin: int = 0
    ids: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    decode_s: float = 0.0
    resample_s: float = 0.0
    busy_s: float = 0.0
    transform_s: float = 0.0
    gil_s: float = 0.0
    thread: str = ""
    began_s: float = 0.0
    ended_s: float = 0.0
    cpu_s: float = 0.0
    transforms: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def transforming(self) -> Iterator[None]:
        """Count the time of what is done inside."""
        began = time.perf_counter()
        yield
        ended = time.perf_counter()
        self.transform_s += ended - began
        self.busy_s += ended - began
        self.transforms.append((threading.current_thread().name, began, ended))


class Reader:
    """Reads the groups of a plan.

    Parameters
    ----------
    plan : Plan
        The plan whose groups will be read.
    instruction_set : str
        One of ``_kernel.instruction_sets()``. Default: that of `kernel_info`. All give the same
        bits.

    Raises
    ------
    ValueError
        This processor does not have the instruction set.
    """

    def __init__(self, plan: Plan, instruction_set: str = "") -> None:
        spec, scratch = plan.windows.spec, plan.scratch
        self._recordings = plan.windows.recordings
        self._spec = spec
        self._kinds = {kind: place for place, kind in enumerate(plan.windows.recordings.kinds)}
        kinds = []
        for kind in plan.kinds:
            table = resampler(kind.sample_rate, spec.sample_rate)
            chunk = chunk_outputs(kind.sample_rate, spec.sample_rate)
            kinds.append(
                (
                    *facts_of(kind),
                    table.filter,
                    table.up,
                    table.down,
                    chunk,
                    plan.kept_frames(kind),
                )
            )
        channel = {"mix": _kernel.MIX, "all": _kernel.ALL}.get(str(spec.channel), spec.channel)
        self._native = _kernel.Reader(
            kinds,
            libsndfile_functions(),
            instruction_set or kernel_info().instruction_set,
            spec.size,
            int(channel),
            (scratch.pcm, scratch.planes, scratch.inputs, scratch.outputs),
            min(plan.open_files - max(1, plan.workers), sys.maxsize),
        )
        self._stalled_recordings: set[int] = set()
        # A seek point takes 3 bytes. Points are at least 64 packets of 576 samples apart.
        points = max(
            (kind.frames // 12_288 for kind in plan.kinds if kind.format == "MP3"), default=0
        )
        self._facts = lru_cache(maxsize=max(64, _CACHE_BYTES // (512 + points)))(self._facts_of)

    @property
    def most_open(self) -> int:
        """The most files that have been open at once."""
        return self._native.most_open

    def close(self) -> None:
        """Close the open files."""
        self._native.close()

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
        failures: dict[int, Failure] = {}
        recordings: list[_Facts] = []
        places: dict[int, int] = {}
        reads = []
        ids: list[str] = []
        paths: list[str] = []
        for read in group.reads:
            recording, facts = self._facts(read.recording)
            ids += [recording.id] * len(read.starts)
            paths += [recording.path] * len(read.starts)
            if read.recording in self._stalled_recordings:
                for row in range(read.row, read.row + len(read.starts)):
                    rows[row - first][...] = 0
                    failures[row] = self._failure(group, row, Code.STALLED, _STALLED)
                continue
            if read.recording not in places:
                places[read.recording] = len(recordings)
                recordings.append(facts)
            reads.append((places[read.recording], read.starts, read.row - first))
        began, cpu_s = time.perf_counter(), time.thread_time()
        lost, decode_s, resample_s, busy_s, cancelled = self._native.read(
            recordings, reads, rows, token.flag, token.heartbeat
        )
        cpu_s = time.thread_time() - cpu_s
        gil_s = time.perf_counter() - began - busy_s
        if cancelled:
            raise ReadCancelledError
        for place, code, why in lost:
            row = place + first
            failures[row] = self._failure(group, row, Code(code), why)
        return GroupResult(
            group.begin,
            ids,
            paths,
            failures,
            decode_s,
            resample_s,
            busy_s,
            gil_s=gil_s,
            thread=threading.current_thread().name,
            began_s=began,
            ended_s=began + busy_s,
            cpu_s=cpu_s,
        )

    def exclude_stalled(self, group: ReadGroup, stalled: CancellationToken) -> None:
        """Stop reading the recording on which reading `group`, with the token `stalled`, hangs."""
        recordings = {read.recording for read in group.reads}
        if stalled.working_on is not None:
            recordings &= {stalled.working_on}
        self._stalled_recordings |= recordings

    def _facts_of(self, index: int) -> tuple[Recording, _Facts]:
        recording = self._recordings[index]
        kind = (
            recording.sample_rate,
            recording.channels,
            recording.format,
            recording.subtype,
        )
        path = path_of(recording.path)
        facts = (index, self._kinds[kind], recording.frames, recording.size)
        return recording, (*facts, path, recording.seek_points)

    def _failure(self, group: ReadGroup, row: int, code: Code, message: str) -> Failure:
        read = next(r for r in group.reads if r.row <= row < r.row + len(r.starts))
        recording, rate = self._recordings[read.recording], self._spec.sample_rate
        start = read.starts[row - read.row]
        return Failure(
            file_id=recording.id,
            path=recording.path,
            code=code,
            message=message,
            start_s=start / rate,
            stop_s=(start + self._spec.size) / rate,
            windows=1,
        )
