"""torchcodec's `AudioDecoder`, and its `WavDecoder` before soxr HQ, in a thread pool.

In order, FFmpeg decodes, mixes and resamples whole recordings. At random, each thread keeps its
decoders, and soxr HQ resamples. Tried there: a decoder for each window (slower), and letting
FFmpeg resample (as fast; but windows begin up to a sample off, and 17 early from a kept decoder).
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from tasks import WINDOW_S, UnsupportedError, rows
from torchcodec.decoders import AudioDecoder, WavDecoder

from rivals.shared import ordered
from rivals.soundfile_soxr import resampled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from tasks import Job, Task

DEPTH = 4  # times the workers

_open = threading.local()


def load(task: Task, job: Job) -> NDArray[np.float32]:
    """Return the windows of a job."""
    if job.whole:
        decoder = AudioDecoder(job.path, sample_rate=task.rate_out, num_channels=1)
        audio = decoder.get_all_samples().data[0].numpy()
        if task.channels > 1:
            audio *= task.channels**-0.5  # FFmpeg keeps the power; the others take the mean
        return rows(audio, len(job.windows), task.size)
    decoders = _open.__dict__
    if job.path not in decoders:
        decoders[job.path] = AudioDecoder(job.path)
    start = job.windows[0] * WINDOW_S
    samples = decoders[job.path].get_samples_played_in_range(start, start + WINDOW_S)
    return resampled(task, samples.data.numpy().T, 1)


def load_wav(task: Task, job: Job) -> NDArray[np.float32]:
    """Return the windows of a job of WAV files."""
    decoders = _open.__dict__.setdefault("wav", {})
    if job.path not in decoders:
        decoders[job.path] = WavDecoder(job.path)
    start = job.windows[0] * WINDOW_S
    stop = start + len(job.windows) * WINDOW_S
    samples = decoders[job.path].get_samples_played_in_range(start, stop).data.numpy()
    return resampled(task, samples[0] if len(samples) == 1 else samples.T, len(job.windows))


def run(
    load: Callable[[Task, Job], NDArray[np.float32]], task: Task, workers: int
) -> Iterator[NDArray[np.float32]]:
    """Load whole recordings, or window by window if they are shuffled."""
    if load is load_wav and not task.paths[0].endswith(".wav"):
        raise UnsupportedError("reads only WAV")
    return ordered(partial(load, task), task.jobs(), workers, DEPTH * workers)


RIVALS = {"torchcodec": partial(run, load), "torchcodec WavDecoder": partial(run, load_wav)}
