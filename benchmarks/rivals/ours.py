"""headrace itself, in three forms."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from tasks import WINDOW_S

import headrace

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from tasks import Task

BATCH = 64


@lru_cache
def opened(folder: str, rate_out: int) -> headrace.Windows:
    """Return all windows of a folder; its headers are read once, before anything is timed."""
    return headrace.scan(folder).windows(sample_rate=rate_out, window_s=WINDOW_S)


def run(
    task: Task, workers: int, *, batch_size: int | None = BATCH, instead: int | None = None
) -> Iterator[NDArray[np.float32]]:
    """Load at least the task's windows, over several epochs; `instead` replaces `workers`."""
    windows = opened(task.folder, task.rate_out)
    if task.at_random:
        windows = windows.shuffle(seed=0)
    loader = windows.loader(batch_size=batch_size, workers=instead or workers)
    epochs, rest = divmod(len(task.order), len(windows))
    # No more than the others load: what is prefetched behind the last delivery would be in vain.
    for delivery in loader.steps(epochs * len(loader) + -(-rest // (batch_size or 1))):
        audio = delivery.audio if batch_size else delivery.audio[None]
        del delivery
        yield audio


RIVALS = {
    "headrace": run,
    "headrace, examples": partial(run, batch_size=None),
    "headrace, 16 workers": partial(run, instead=16),
}
