"""Whole recordings decoded, in threads: how many frames they have, and what is wrong with them.

Guarantees
----------
- What has been found out is not lost: it is saved every minute, and when decoding ends before its
  time (an exception, Ctrl-C).
- However it ends, the threads have ended before it returns.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from headrace import _kernel
from headrace._processors import available_processors
from headrace._progress import progress_bar
from headrace.catalog import _parquet
from headrace.catalog._rows import each_recording
from headrace.codecs import declared_frames, libsndfile_functions, path_of, source_format
from headrace.concurrency import Job, Prefetcher, Task
from headrace.failures import Code, Failure

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from headrace.codecs import Recording
    from headrace.concurrency import CancellationToken

__all__ = ["DECLARED", "PASSING", "verify"]

DECLARED: Final = "declared_frames"
"""The column of what headers declare: null for a recording that has not been decoded."""

PASSING: Final = frozenset({Code.IO, Code.MISSING, Code.PERMISSION})
"""What is wrong with the disk or the network, and not with the recording: it is decoded again."""

_SAVED_S: Final = 60.0
"""Seconds between two savings: what a crash of the machine may cost."""

_AHEAD: Final = 4
_BATCH: Final = 8
"""Recordings in a task: short ones decode in about the time that handing one over takes."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    declared: int
    frames: int
    failures: tuple[Failure, ...]
    seeks: bool
    """Whether its seek points, if it has some, give what decoding in one go does."""


def verify(
    table: pa.Table,
    root: str,
    failures: Sequence[Failure],
    cache: str | os.PathLike[str] | None,
    workers: int | Literal["auto"],
    progress: bool | None,
) -> tuple[pa.Table, tuple[Failure, ...]]:
    """Decode each recording that has not been decoded before.

    Parameters
    ----------
    table : Arrow table
        A catalog's; where it has a value in the column `DECLARED`, a recording is known already.
    root : str
        The catalog's.
    failures : sequence of Failure
        What is known to be wrong.
    cache : str or path, optional
        A file to save to.
    workers : int or "auto"
        Threads; 0 decodes in the calling thread. ``"auto"`` is one for each processor.
    progress : bool, optional
        As `headers.read_headers`.

    Returns
    -------
    table : Arrow table
        Recordings of which at least one frame can be decoded, with the frames that can; and those
        that could not be read just now, as they were.
    failures : tuple of Failure
        By id.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    frames = table["frames"].to_numpy().copy()
    inexact = np.zeros(len(table), bool)
    declared = np.full(len(table), -1, np.int64)
    if DECLARED in table.column_names:
        declared[:] = table[DECLARED].fill_null(-1).to_numpy()
    todo = np.flatnonzero(declared < 0)
    found = list(failures)

    def known() -> tuple[pa.Table, tuple[Failure, ...]]:
        column = pa.array(declared, mask=declared < 0)
        whole = table.set_column(table.column_names.index("frames"), "frames", pa.array(frames))
        none = pa.scalar(b"", pa.large_binary())
        points = pc.if_else(pa.array(inexact), none, table["seek_points"])
        whole = whole.set_column(table.column_names.index("seek_points"), "seek_points", points)
        if DECLARED in table.column_names:
            whole = whole.set_column(table.column_names.index(DECLARED), DECLARED, column)
        else:
            whole = whole.append_column(DECLARED, column)
        by_id = tuple(sorted(dict.fromkeys(found), key=lambda failure: failure.file_id))
        return whole.filter(pa.array(frames > 0)), by_id

    def save() -> None:
        if cache is not None:
            whole, bad = known()
            _parquet.write(_parquet.describe(whole, root, bad), cache)

    workers = available_processors() if workers == "auto" else workers
    places = iter(todo.tolist())
    saved = time.monotonic()
    verdicts = Prefetcher(
        _jobs(table.take(todo)), workers=workers, depth=_AHEAD * workers, name="headrace-verify"
    )
    try:
        with closing(verdicts), progress_bar(len(todo), progress, "Decoding") as advance:
            for some in verdicts:
                for verdict, place in zip(some, places, strict=False):
                    found += verdict.failures  # first: without them, the row would count as whole
                    frames[place] = verdict.frames
                    declared[place] = verdict.declared
                    inexact[place] = not verdict.seeks
                advance(len(some), sum(bool(verdict.failures) for verdict in some))
                if time.monotonic() - saved > _SAVED_S:
                    save()
                    saved = time.monotonic()
    except BaseException:
        save()
        raise
    return known()


def _jobs(table: pa.Table) -> Iterator[Job[list[_Verdict]]]:
    library = libsndfile_functions()

    def decode(
        recordings: list[Recording], verdicts: list[_Verdict], cancelled: CancellationToken
    ) -> None:
        for recording in recordings:
            verdict = _decoded(recording, library, cancelled)
            if verdict is None:
                break
            verdicts.append(verdict)

    each = each_recording(table)
    while recordings := list(islice(each, _BATCH)):
        verdicts: list[_Verdict] = []
        yield Job(verdicts, [Task(partial(decode, recordings, verdicts))])


def _decoded(
    recording: Recording, library: _kernel.LibsndfileFunctions, cancelled: CancellationToken
) -> _Verdict | None:
    """Return what decoding finds, or None if it was given up."""
    declared = declared_frames(recording)
    found = _kernel.verify(
        source_format(recording),
        library,
        path=path_of(recording.path),
        frames=recording.frames,
        seek_points=recording.seek_points,
        cancel=cancelled.flag,
    )
    if found.cancelled:
        return None
    frames, code, why, bad = found.frames, found.code, found.message, found.non_finite_samples

    def failure(code: Code, message: str, start: int, stop: float) -> Failure:
        rate = recording.sample_rate
        return Failure(
            recording.id, recording.path, code, message, start_s=start / rate, stop_s=stop / rate
        )

    known = declared.frames
    if code in PASSING:
        message = f"{why}: it was not decoded to its end, and will be by the next scan that decodes"
        whole = failure(Code(code), message, 0, recording.frames)
        return _Verdict(-1, recording.frames, (whole,), seeks=True)
    failures = []
    if code or frames < known:
        kind = Code(code) if code else Code.TRUNCATED
        why = why or "the file is cut short"
        message = f"{why}: {frames} frames can be used, and the header declares no number"
        if known:
            message = f"{why}: {frames} of the {known} frames that its header declares can be used"
        failures.append(failure(kind, message, frames, max(known, recording.frames)))
    elif declared.cut:
        message = f"the file is cut short: its header declares more than the {frames} frames there"
        failures.append(failure(Code.TRUNCATED, message, frames, math.inf))
    elif frames > known:
        message = f"the header declares {known or 'no'} frames, decoding gives {frames}"
        failures.append(failure(Code.HEADER_MISMATCH, message, known, frames))
    elif declared.more:
        message = f"audio seems to follow the {known} frames that the header declares"
        failures.append(failure(Code.HEADER_MISMATCH, message, known, math.inf))
    if bad:
        first, last = found.first_non_finite, found.last_non_finite
        message = f"{bad} samples are NaN or infinite, between frames {first} and {last + 1}"
        failures.append(failure(Code.NON_FINITE, message, first, last + 1))
    return _Verdict(known, frames, tuple(failures), found.seek_points_exact)
