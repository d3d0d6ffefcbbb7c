"""Grain's reading threads around soundfile and soxr HQ.

Tried: 2, 4, 8 and 16 jobs in the prefetch buffer for each thread (best with 2 to 4).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import grain

from rivals.soundfile_soxr import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from tasks import Task

DEPTH = 4  # times the workers


def run(task: Task, workers: int) -> Iterator[NDArray[np.float32]]:
    """Load whole recordings, or window by window if they are shuffled."""
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=DEPTH * workers)
    yield from (
        grain.MapDataset.source(list(task.jobs())).map(partial(load, task)).to_iter_dataset(options)
    )


RIVALS = {"Grain": run}
