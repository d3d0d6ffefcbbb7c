"""A thread pool around soundfile and soxr HQ."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr
from rivals.shared import ordered
from work import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from work import Job, Work

DTYPE = "float32"
DEPTH = 4  # times the workers
KEEP_OPEN = True

_open = threading.local()


def load(work: Work, job: Job) -> NDArray[np.float32]:
    """Return the windows of a job: a whole recording, or one window of it."""
    if job.whole:
        x, _ = soundfile.read(job.path, dtype=DTYPE)
    elif KEEP_OPEN:
        files = _open.__dict__
        if job.path not in files:
            files[job.path] = soundfile.SoundFile(job.path)
        files[job.path].seek(job.windows[0] * work.frames_in)
        x = files[job.path].read(work.frames_in, dtype=DTYPE)
    else:
        x, _ = soundfile.read(
            job.path, work.frames_in, job.windows[0] * work.frames_in, dtype=DTYPE
        )
    return resampled(work, x, len(job.windows))


def resampled(work: Work, x: NDArray[np.generic], count: int) -> NDArray[np.float32]:
    """Return `count` windows from decoded frames of any sample type."""
    if x.dtype == np.int16:
        x = x * np.float32(1 / 32_768)
    if x.ndim > 1:
        x = (x[:, 0] + x[:, 1]) * np.float32(0.5) if x.shape[1] == 2 else x.mean(axis=1)
    if work.rate_in != work.rate_out:
        x = soxr.resample(x, work.rate_in, work.rate_out, quality="HQ")
    return rows(x, count, work.size)


def run(work: Work, workers: int) -> Iterator[NDArray[np.float32]]:
    """Load whole recordings, or window by window if they are shuffled."""
    return ordered(partial(load, work), work.jobs(), workers, DEPTH * workers)


RIVALS = {"soundfile + soxr": run}
