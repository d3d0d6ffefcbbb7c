"""Headers of many files, read in threads.

Guarantees
----------
- Results come in the order of the files, one for each.
- At most `_AHEAD` batches a thread are submitted and not yet taken, however many files there are.
- However the iteration ends (its end, `close`, an exception, Ctrl-C), the threads have ended
  before it returns: each stops after the header it is reading, or within a file that has to be
  decoded to know its length. Abandoned without `close`, they end
  when the generator is collected: use `contextlib.closing`.
- Only `decode.probe` and `_kernel.seek_points` are called in threads, and they share nothing.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from headrace import _kernel
from headrace._paths import join
from headrace._processors import available_processors
from headrace._progress import progress_bar
from headrace.codecs import probe
from headrace.concurrency import Job, Prefetcher, Task
from headrace.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from headrace.codecs import Recording
    from headrace.concurrency import CancellationToken

__all__ = ["read_headers", "worker_count"]

_AHEAD: Final = 4
_BATCH: Final = 32
"""Headers in a task: one takes some 30 µs from a warm disk, about what handing it over costs."""


def worker_count(workers: int | Literal["auto"]) -> int:
    """Return how many threads read headers.

    Parameters
    ----------
    workers : int or "auto"
        0 reads in the calling thread. ``"auto"`` is four for each processor that this process may
        use, at most 32: on anything but a local disk they mostly wait.

    Raises
    ------
    ValueError
        `workers` is neither.
    """
    if workers == "auto":
        return min(32, 4 * available_processors())
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise ValueError(f'workers must be "auto" or a number of threads from 0, not {workers!r}.')
    return workers


def read_headers(
    root: str,
    ids: Sequence[str],
    *,
    known: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    workers: int = 0,
    progress: bool | None = None,
) -> Generator[Recording | Failure | None]:
    """Read the header of each file.

    Parameters
    ----------
    root, ids
        The files are at ``root/id``.
    known : pair of int64 arrays, shape ``(len(ids),)``, optional
        Size (bytes) and time of last change (ns) that a file had when it was read before; a size of
        -1 where it was not.
    workers : int
        Threads; 0 reads in the calling thread.
    progress : bool, optional
        Whether a bar is drawn on standard error; default if that is a terminal.

    Yields
    ------
    Recording, Failure or None
        None: the file is as `known` says.
    """

    def read(
        span: range, headers: list[Recording | Failure | None], cancelled: CancellationToken
    ) -> None:
        for row in span:
            if cancelled():
                break
            path = join(root, ids[row])
            unchanged = known is not None and _is_unchanged(path, known[0][row], known[1][row])
            headers.append(None if unchanged else _read(path, ids[row], cancelled))

    def job(span: range) -> Job[list[Recording | Failure | None]]:
        headers: list[Recording | Failure | None] = []
        return Job(headers, [Task(partial(read, span, headers))])

    size = max(1, min(_BATCH, len(ids) // (_AHEAD * max(1, workers))))
    spans = (range(at, min(at + size, len(ids))) for at in range(0, len(ids), size))
    prefetcher = Prefetcher(
        map(job, spans), workers=workers, depth=_AHEAD * workers, name="headrace-scan"
    )
    with closing(prefetcher), progress_bar(len(ids), progress, "Reading headers") as advance:
        for headers in prefetcher:
            yield from headers
            advance(len(headers), sum(isinstance(one, Failure) for one in headers))


def _read(path: str, file_id: str, cancelled: CancellationToken) -> Recording | Failure:
    header = probe(path, file_id, cancelled)
    if isinstance(header, Failure) or header.format != "MP3":
        return header
    points = _kernel.seek_points(os.fsencode(path), header.frames)
    return replace(header, seek_points=points or b"")


def _is_unchanged(path: str, size: np.int64, mtime_ns: np.int64) -> bool:
    if size < 0:
        return False
    try:
        status = os.stat(path)
    except OSError:
        return False
    return bool(status.st_size == size and status.st_mtime_ns == mtime_ns)
