"""Decode whole recordings in threads, to find their true lengths and their damage.

Guarantees
----------
- Results are not lost: with a cache, they are saved every minute, and when decoding is interrupted
  (an exception, Ctrl-C).
- However decoding ends, the threads have ended before `verify_recordings` returns or raises.
"""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from headrace import _kernel
from headrace._cpu_count import available_processors
from headrace._formatting import format_bytes, format_count
from headrace._progress import announce, progress_bar
from headrace.catalog import _parquet
from headrace.catalog._objects import place_in
from headrace.catalog._table import each_recording, with_columns
from headrace.codecs import (
    false_claim,
    libsndfile_functions,
    read_declared_length,
    source_format,
)
from headrace.concurrency import Job, Prefetcher, Task
from headrace.failures import TEMPORARY, Code, Failure
from headrace.storage import DiskCache, Fetcher, Stores

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from headrace.codecs import Recording
    from headrace.concurrency import CancellationToken
    from headrace.storage import Place, Store

__all__ = ["DECLARED", "verify_recordings"]

DECLARED: Final = "declared_frames"
"""Column of the frames that headers declare: null for a recording that has not been decoded."""

_SAVE_INTERVAL_S: Final = 60.0
"""How much work a crash of the machine may cost."""

_BATCHES_AHEAD: Final = 4
_BATCH: Final = 8
"""Recordings per task: short ones decode in about the time that handing over a task takes."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What decoding finds in one recording."""

    declared: int
    """Frames that the header declares; -1 if decoding failed for a temporary reason."""
    frames: int
    """Frames that can be decoded."""
    failures: tuple[Failure, ...]
    seek_points_exact: bool
    """Whether decoding from its seek points, if it has any, equals decoding from the start."""


def verify_recordings(
    table: pa.Table,
    root: str,
    failures: Sequence[Failure],
    cache: str | os.PathLike[str] | None,
    workers: int | Literal["auto"],
    progress: bool | None,
    store: Store | Stores | None = None,
    disk_cache: DiskCache | None = None,
) -> tuple[pa.Table, tuple[Failure, ...]]:
    """Decode each recording that has not been decoded before.

    Parameters
    ----------
    table : Arrow table
        A catalog's table. Recordings with a value in the column `DECLARED` are not decoded.
    root : str
        The catalog's root.
    failures : sequence of Failure
        Failures that are known already.
    cache : str or path, optional
        A file to save results to.
    workers : int or "auto"
        Threads; 0 decodes in the calling thread. ``"auto"`` is one for each processor.
    progress : bool, optional
        As in `read_headers`.
    store : Store or Stores, optional
        Where the recordings are, if they are no files.
    disk_cache : DiskCache, optional
        What keeps bytes of objects that are fetched. It is closed.

    Returns
    -------
    table : Arrow table
        Recordings of which at least one frame can be decoded, with the number of these frames; and
        unchanged, recordings that could not be read for a temporary reason.
    failures : tuple of Failure
        Sorted by id.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    frames = table["frames"].to_numpy().copy()
    seeks_inexactly = np.zeros(len(table), bool)
    declared = np.full(len(table), -1, np.int64)
    if DECLARED in table.column_names:
        declared[:] = table[DECLARED].fill_null(-1).to_numpy()
    rows_to_decode = np.flatnonzero(declared < 0)
    all_failures = list(failures)

    def results() -> tuple[pa.Table, tuple[Failure, ...]]:
        points = table["seek_points"]
        from_start = [
            _kernel.only_from_start(points[row].as_py()) for row in np.flatnonzero(seeks_inexactly)
        ]
        columns = {
            "frames": pa.chunked_array([pa.array(frames)]),
            "seek_points": pc.replace_with_mask(
                points, pa.array(seeks_inexactly), pa.array(from_start, pa.large_binary())
            ),
            DECLARED: pa.chunked_array([pa.array(declared, mask=declared < 0)]),
        }
        verified = with_columns(table, columns).filter(pa.array(frames > 0))
        # Decoding may find what the scan has found: the first failure of each span is kept.
        distinct = {
            (one.file_id, one.code, one.start_s, one.stop_s): one for one in reversed(all_failures)
        }
        return verified, tuple(sorted(distinct.values(), key=lambda failure: failure.file_id))

    def save() -> None:
        if cache is not None:
            verified, known_failures = results()
            _parquet.write(_parquet.with_metadata(verified, root, known_failures), cache)

    workers = available_processors() if workers == "auto" else workers
    rows = iter(rows_to_decode.tolist())
    saved_at = time.monotonic()
    done = damaged = 0
    fetcher = Fetcher(store, cache=disk_cache) if isinstance(store, Stores) else None
    if fetcher is not None and len(rows_to_decode):
        nbytes = int(table["size"].to_numpy()[rows_to_decode].sum())
        count = format_count(len(rows_to_decode), "recording")
        announce(f"Decoding {count}: reading {format_bytes(nbytes)}.", progress)
    prefetcher = Prefetcher(
        _jobs(table.take(rows_to_decode), store, fetcher),
        workers=workers,
        depth=_BATCHES_AHEAD * workers,
        name="headrace-verify",
        on_close=(lambda: None) if fetcher is None else fetcher.interrupt,
    )
    try:
        with (
            nullcontext() if fetcher is None else closing(fetcher),
            closing(prefetcher),
            progress_bar("Decoding", progress) as update,
        ):
            for verdicts in prefetcher:
                for verdict, row in zip(verdicts, rows, strict=False):
                    # Failures first: an interrupt must not leave a row without its failures.
                    all_failures += verdict.failures
                    frames[row] = verdict.frames
                    declared[row] = verdict.declared
                    seeks_inexactly[row] = not verdict.seek_points_exact
                done += len(verdicts)
                damaged += sum(bool(verdict.failures) for verdict in verdicts)
                update(done, len(rows_to_decode), damaged)
                if time.monotonic() - saved_at > _SAVE_INTERVAL_S:
                    save()
                    saved_at = time.monotonic()
    except BaseException:
        save()
        raise
    return results()


def _jobs(
    table: pa.Table, store: Store | Stores | None, fetcher: Fetcher | None
) -> Iterator[Job[list[_Verdict]]]:
    library = libsndfile_functions()

    def decode(
        recordings: list[Recording], verdicts: list[_Verdict], cancelled: CancellationToken
    ) -> None:
        for recording in recordings:
            verdict = _decoded(recording, place_in(recording, store, fetcher), library, cancelled)
            if verdict is None:
                break
            verdicts.append(verdict)

    recordings = each_recording(table)
    while batch := list(islice(recordings, _BATCH)):
        verdicts: list[_Verdict] = []
        yield Job(verdicts, [Task(partial(decode, batch, verdicts))])


def _decoded(
    recording: Recording,
    place: Place,
    library: _kernel.LibsndfileFunctions,
    cancelled: CancellationToken,
) -> _Verdict | None:
    """Return what decoding finds, or None if it was cancelled."""
    declared = read_declared_length(recording, place)
    found = _kernel.verify(
        source_format(recording),
        library,
        place=place.native,
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

    if code in TEMPORARY:
        message = f"{why}: decoding did not finish; the next scan that decodes tries again"
        temporary = failure(Code(code), message, 0, recording.frames)
        return _Verdict(-1, recording.frames, (temporary,), seek_points_exact=True)
    failures = [
        failure(
            Code.TRUNCATED,
            f"the file is damaged: frames {first} to {stop} cannot be decoded",
            first,
            stop,
        )
        for first, stop in found.lost
    ]
    decoded = replace(recording, frames=frames)
    claim = false_claim(decoded, declared, scanned=recording.frames, code=code, reason=why)
    if claim is not None:
        failures.append(claim)
    if bad:
        first, last = found.first_non_finite, found.last_non_finite
        message = f"{bad} samples are NaN or infinite, between frames {first} and {last + 1}"
        failures.append(failure(Code.NON_FINITE, message, first, last + 1))
    return _Verdict(declared.frames, frames, tuple(failures), found.seek_points_exact)
