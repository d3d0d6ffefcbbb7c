"""The compiled arithmetic: see src/kernel/kernel.h for what each call computes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LANES: int
MIX: int

def instruction_sets() -> list[str]:
    """Return the instruction sets this machine can run, best first."""

class Filter:
    """The resampling from one rate to another: see src/kernel/filter.h.

    Each stage is its coefficients, its groups' first inputs, up, down and reach.
    """

    def __init__(
        self, stages: list[tuple[NDArray[np.float32], NDArray[np.int64], int, int, int]]
    ) -> None: ...
    @property
    def identity(self) -> bool:
        """Whether there is no stage: the rates are equal."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tables."""

    def support(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of inputs that outputs [start, stop) depend on."""

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of inputs that must be in memory for outputs [start, stop)."""

    def scratch(self, outputs: int) -> int:
        """Return how many floats of scratch so many outputs need."""

    def apply(
        self,
        x: NDArray[np.float32],
        x_start: int,
        y: NDArray[np.float32],
        y_start: int,
        instruction_set: str = "",
    ) -> None:
        """Write outputs ``y_start, y_start + 1, ...`` into `y`; the GIL is released."""

def convert(pcm: NDArray[Any], channels: int, channel: int, out: NDArray[np.float32]) -> bool:
    """Write one channel (or `MIX`) of interleaved `pcm` into `out`; tell whether all is finite."""
