"""A thread pool around soundfile and soxr HQ.

Tried: reading as int16 or as float32 (int16 is faster, but not for lossy files, which may be louder
than full scale); 2, 4 and 8 recordings or windows in flight for each worker; files kept open by
each thread or opened for each window (the same for short files); resampling whole recordings or
streaming them in pieces of 2^14, 2^16 and 2^17 frames (the last as fast for WAV, slower for FLAC).
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr
from tasks import rows

from rivals.shared import ordered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from tasks import Job, Task

DEPTH = 8  # times the workers

_open = threading.local()


def load(task: Task, job: Job) -> NDArray[np.float32]:
    """Return the windows of a job: a whole recording, or one window of it."""
    dtype = "int16" if job.path.endswith((".wav", ".flac")) else "float32"
    if job.whole:
        x, _ = soundfile.read(job.path, dtype=dtype)
    else:
        files = _open.__dict__
        if job.path not in files:
            files[job.path] = soundfile.SoundFile(job.path)
        files[job.path].seek(job.windows[0] * task.frames_in)
        x = files[job.path].read(task.frames_in, dtype=dtype)
    return resampled(task, x, len(job.windows))


def resampled(task: Task, x: NDArray[np.generic], count: int) -> NDArray[np.float32]:
    """Return `count` windows from decoded frames of any sample type."""
    if x.dtype == np.int16:
        x = x * np.float32(1 / 32_768)
    if x.ndim > 1:
        x = (x[:, 0] + x[:, 1]) * np.float32(0.5) if x.shape[1] == 2 else x.mean(axis=1)
    if task.rate_in != task.rate_out:
        x = soxr.resample(x, task.rate_in, task.rate_out, quality="HQ")
    return rows(x, count, task.size)


def run(task: Task, workers: int) -> Iterator[NDArray[np.float32]]:
    """Load whole recordings, or window by window if they are shuffled."""
    return ordered(partial(load, task), task.jobs(), workers, DEPTH * workers)


RIVALS = {"soundfile + soxr": run}
