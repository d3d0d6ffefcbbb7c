"""SPDL: its FFmpeg decoder, which also mixes and resamples, and its WAV reader before soxr HQ.

At random, FFmpeg's resampler begins where a packet does, so windows are up to half a sample off.
Tried: soxr HQ after SPDL's decoder (exact; the same speed for WAV, slower for FLAC); SPDL's own
pipeline in place of the thread pool (slower); 2, 4, 8 and 16 jobs in flight for each worker (best
with 4).
"""

from __future__ import annotations

import mmap
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import spdl.io
from tasks import WINDOW_S, UnsupportedError, rows

from rivals.shared import ordered
from rivals.soundfile_soxr import resampled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from tasks import Job, Task

DEPTH = 4  # times the workers

_mapped = threading.local()


def load(task: Task, job: Job) -> NDArray[np.float32]:
    """Return the windows of a job through FFmpeg."""
    count = len(job.windows)
    timestamp = None
    if not job.whole:
        start = job.windows[0] * WINDOW_S
        timestamp = (float(start), float(start + WINDOW_S))
    packets = spdl.io.demux_audio(job.path, timestamp=timestamp)
    frames = spdl.io.decode_packets(
        packets,
        filter_desc=spdl.io.get_audio_filter_desc(
            sample_rate=task.rate_out,
            num_channels=1,
            timestamp=timestamp,
            num_frames=count * task.size,
        ),
    )
    audio = spdl.io.to_numpy(spdl.io.convert_frames(frames))
    return rows(audio[0], count, task.size)


def load_wav(task: Task, job: Job) -> NDArray[np.float32]:
    """Return the windows of a job of WAV files: no copy before the conversion to float."""
    if job.whole:
        x = np.asarray(spdl.io.load_wav(Path(job.path).read_bytes()))
    else:
        maps = _mapped.__dict__
        if job.path not in maps:
            with Path(job.path).open("rb") as file:
                maps[job.path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        x = np.asarray(
            spdl.io.load_wav(maps[job.path], float(job.windows[0] * WINDOW_S), float(WINDOW_S))
        )
    return resampled(task, x[:, 0] if x.shape[1] == 1 else x, len(job.windows))


def run(
    load: Callable[[Task, Job], NDArray[np.float32]], task: Task, workers: int
) -> Iterator[NDArray[np.float32]]:
    """Load whole recordings, or window by window if they are shuffled."""
    if load is load_wav and not task.paths[0].endswith(".wav"):
        raise UnsupportedError("reads only WAV")
    return ordered(partial(load, task), task.jobs(), workers, DEPTH * workers)


RIVALS = {"SPDL": partial(run, load), "SPDL load_wav + soxr": partial(run, load_wav)}
