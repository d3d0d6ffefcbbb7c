"""Headers of many files, read in threads.

Guarantees
----------
- Results come in the order of the files, one for each file.
- At most `_BATCHES_AHEAD` batches per thread are in progress or waiting to be consumed, however
  many files there are.
- However the iteration ends (exhausted, `close`, an exception, Ctrl-C), the threads have ended
  before it returns: each thread stops after its current header, or within a file that has to be
  decoded to find its length. If the generator is dropped without `close`, the threads end when it
  is collected: use `contextlib.closing`.
- Threads call only `codecs.probe` and `inspect`, and share nothing else.
"""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Protocol

from headrace._cpu_count import available_processors
from headrace._formatting import brief
from headrace._progress import progress_bar
from headrace.codecs import probe
from headrace.concurrency import Job, Prefetcher, Task
from headrace.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.codecs import Recording
    from headrace.concurrency import CancellationToken
    from headrace.storage import Place

__all__ = ["Listed", "read_headers", "worker_count"]


class Listed(Protocol):
    """Recordings whose headers are to be read: files, members of tars, values of a table."""

    @property
    def root(self) -> str:
        """Folder that the ids are relative to, or ``""``."""

    @property
    def ids(self) -> list[str]:
        """Unique."""

    @property
    def failures(self) -> list[Failure]:
        """What cannot be read."""

    @property
    def columns(self) -> dict[str, pa.ChunkedArray]:
        """Further columns, with a value for each id."""

    def place(self, row: int) -> Place:
        """Return where the recording with this id is."""

    def paths(self) -> list[str]:
        """Return the path of each recording."""

    def is_unchanged(self, row: int, size: int, changed_ns: int, offset: int) -> bool:
        """Return whether a recording has this size, time of change and offset (-1: a file)."""


_BATCHES_AHEAD: Final = 4
_BATCH: Final = 32
"""Headers per task. Reading one from a warm disk takes about 30 µs, about as long as handing over
a task."""


def worker_count(workers: int | Literal["auto"]) -> int:
    """Return how many threads read headers.

    Parameters
    ----------
    workers : int or "auto"
        0 reads in the calling thread. ``"auto"`` is four for each processor that this process may
        use, at most 32: on anything but a local disk, threads mostly wait.

    Raises
    ------
    ValueError
        `workers` has another value.
    """
    if workers == "auto":
        return min(32, 4 * available_processors())
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise ValueError(
            f'workers must be "auto" or a number of threads from 0, not {brief(workers)}.'
        )
    return workers


def read_headers(
    files: Listed,
    *,
    known: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None,
    workers: int = 0,
    progress: bool | None = None,
    ogg_by_libsndfile: bool = False,
    inspect: Callable[[Place, Recording], None] | None = None,
) -> Generator[Recording | Failure | None]:
    """Read the header of each file.

    Parameters
    ----------
    files : Listed
        What to read.
    known : three int64 arrays, shape ``(len(ids),)``, optional
        Size (bytes), time of last change (ns) and offset (-1 for a file) of each recording when it
        was read before; a size of -1 for one that was not.
    workers : int
        Threads; 0 reads in the calling thread.
    progress : bool, optional
        Whether to draw a progress bar on standard error. Default: if that is a terminal.
    ogg_by_libsndfile : bool
        As in `probe`.
    inspect : callable, optional
        Called by the threads with each recording that was read, and where it is.

    Yields
    ------
    Recording, Failure or None
        None for a file that has the size and the time of change given by `known`.
    """
    ids = files.ids
    read = partial(probe, ogg_by_libsndfile=True) if ogg_by_libsndfile else probe

    def read_batch(
        rows: range, headers: list[Recording | Failure | None], cancelled: CancellationToken
    ) -> None:
        for row in rows:
            if cancelled():
                break
            unchanged = known is not None and files.is_unchanged(
                row, *(int(values[row]) for values in known)
            )
            if unchanged:
                headers.append(None)
                continue
            place = files.place(row)
            header = read(place, ids[row], cancelled)
            if inspect is not None and not isinstance(header, Failure):
                inspect(place, header)
            headers.append(header)

    def job(rows: range) -> Job[list[Recording | Failure | None]]:
        headers: list[Recording | Failure | None] = []
        return Job(headers, [Task(partial(read_batch, rows, headers))])

    size = max(1, min(_BATCH, len(ids) // (_BATCHES_AHEAD * max(1, workers))))
    batches = (range(start, min(start + size, len(ids))) for start in range(0, len(ids), size))
    prefetcher = Prefetcher(
        map(job, batches), workers=workers, depth=_BATCHES_AHEAD * workers, name="headrace-scan"
    )
    done = damaged = 0
    with closing(prefetcher), progress_bar("Reading headers", progress) as update:
        for headers in prefetcher:
            yield from headers
            done += len(headers)
            damaged += sum(isinstance(one, Failure) for one in headers)
            update(done, len(ids), damaged)
