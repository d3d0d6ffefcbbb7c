"""lhotse's recordings in a thread pool, before soxr HQ. lhotse chooses what decodes."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from lhotse import Recording
from tasks import WINDOW_S

from rivals.shared import ordered
from rivals.soundfile_soxr import resampled

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from tasks import Job, Task

DEPTH = 4  # times the workers


@cache
def _recording(path: str) -> Recording:
    return Recording.from_file(path)


def load(task: Task, job: Job) -> NDArray[np.float32]:
    """Return the windows of a job."""
    count = len(job.windows)
    audio = _recording(job.path).load_audio(
        offset=float(job.windows[0] * WINDOW_S), duration=float(count * WINDOW_S)
    )
    return resampled(task, audio[0] if len(audio) == 1 else audio.T, count)


def run(task: Task, workers: int) -> Iterator[NDArray[np.float32]]:
    """Load whole recordings, or window by window if they are shuffled."""
    return ordered(partial(load, task), task.jobs(), workers, DEPTH * workers)


RIVALS = {"lhotse": run}
