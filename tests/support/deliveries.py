"""The windows that a loader delivered and lost, and the threads and files that it left."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import headrace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from headrace import Failure

__all__ = ["DESCRIPTORS", "Row", "delivered_rows", "lost_windows", "open_files", "our_threads"]

DESCRIPTORS = Path("/proc/self/fd")
"""The files that this process has open; only on Linux."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A delivered window, from an example or a batch."""

    index: int
    source: int
    file_id: str
    offset: float
    valid: bool
    audio: NDArray[np.float32]


def delivered_rows(deliveries: Iterable[Any]) -> Iterator[Row]:
    """Yield each window of examples and batches; its audio is memory of the loader."""
    for one in deliveries:
        if isinstance(one, headrace.Batch):
            numbers = (each.tolist() for each in (one.index, one.source, one.offset, one.valid))
            for index, source, offset, valid, file_id, audio in zip(
                *numbers, one.file_id, one.audio, strict=True
            ):
                yield Row(index, source, file_id, offset, valid, audio)
        else:
            valid = one.valid_samples > 0
            yield Row(one.index, one.source, one.file_id, one.offset, valid, one.audio)


def lost_windows(failures: Iterable[Failure]) -> Iterator[tuple[int, Failure]]:
    """Yield the index and the failure of each lost window; a failure may cover several."""
    for failure in failures:
        for index in range(failure.index, failure.index + failure.windows):
            yield index, failure


def open_files() -> int:
    """Return the number of files that this process has open; 0 where it is unknown."""
    return len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.exists() else 0


def our_threads() -> list[threading.Thread]:
    """Return the running threads that headrace started."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("headrace-")]
