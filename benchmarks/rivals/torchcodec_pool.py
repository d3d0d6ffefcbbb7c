"""torchcodec's `AudioDecoder` in a thread pool: FFmpeg decodes, mixes and resamples."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rivals.shared import ordered
from torchcodec.decoders import AudioDecoder
from work import WINDOW_S, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from work import Job, Work

DEPTH = 4  # times the workers


def load(work: Work, job: Job) -> NDArray[np.float32]:
    """Return the windows of a job."""
    decoder = AudioDecoder(job.path, sample_rate=work.rate_out, num_channels=1)
    if job.whole:
        samples = decoder.get_all_samples()
    else:
        start = job.windows[0] * WINDOW_S
        samples = decoder.get_samples_played_in_range(start, start + WINDOW_S)
    return rows(samples.data[0].numpy(), len(job.windows), work.size)


def run(work: Work, workers: int) -> Iterator[NDArray[np.float32]]:
    """Load whole recordings, or window by window if they are shuffled."""
    return ordered(partial(load, work), work.jobs(), workers, DEPTH * workers)


RIVALS = {"torchcodec": run}
