"""PyTorch's `DataLoader` with worker processes, around two decoders.

Processes are forked on Linux: spawned, each would first import torch. Tried: prefetching 2, 4 and 8
items for each process; at random, items of 8, 16, 32 and 64 windows.
"""

from __future__ import annotations

import importlib
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from tasks import Job, Task

PREFETCH = 4  # items for each process
BATCH = 16  # windows in an item, if they are shuffled


class Windows(Dataset[torch.Tensor]):
    """The jobs of a task: an item is a recording's windows, or one window."""

    def __init__(self, task: Task, load: Callable[[Task, Job], NDArray[np.float32]]) -> None:
        self._task = task
        self._jobs = list(task.jobs())
        self._load = load

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, place: int) -> torch.Tensor:
        return torch.from_numpy(self._load(self._task, self._jobs[place]))


def run(decoder: str, task: Task, workers: int) -> Iterator[Any]:
    """Load in `workers` processes; tensors come back through shared memory."""
    load = importlib.import_module(f"rivals.{decoder}").load
    loader = DataLoader(
        Windows(task, load),
        batch_size=BATCH if task.at_random else None,
        num_workers=workers,
        prefetch_factor=PREFETCH,
        collate_fn=torch.cat if task.at_random else None,
        multiprocessing_context="fork" if sys.platform == "linux" else None,
    )
    for windows in loader:
        yield windows.numpy()


RIVALS = {
    "DataLoader, soundfile": partial(run, "soundfile_soxr"),
    "DataLoader, torchcodec": partial(run, "torchcodec_pool"),
}
