"""`librosa.load` in a thread pool, as in the course notebook; it resamples with soxr HQ.

Tried: 2, 4, 8 and 16 recordings or windows in flight for each worker (no difference in order; 4 at
random).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import librosa
from tasks import WINDOW_S, rows

from rivals.shared import ordered

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from tasks import Job, Task

DEPTH = 4  # times the workers


def load(task: Task, job: Job) -> NDArray[np.float32]:
    """Return the windows of a job."""
    if job.whole:
        x, _ = librosa.load(job.path, sr=task.rate_out, mono=True)
    else:
        x, _ = librosa.load(
            job.path,
            sr=task.rate_out,
            mono=True,
            offset=float(job.windows[0] * WINDOW_S),
            duration=float(WINDOW_S),
        )
    return rows(x, len(job.windows), task.size)


def run(task: Task, workers: int) -> Iterator[NDArray[np.float32]]:
    """Load whole recordings, or window by window if they are shuffled."""
    return ordered(partial(load, task), task.jobs(), workers, DEPTH * workers)


RIVALS = {"librosa": run}
