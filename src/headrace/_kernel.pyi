"""The compiled arithmetic: see src/kernel/kernel.h for what each call computes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LANES: int
MIX: int

def instruction_sets() -> list[str]:
    """Return the instruction sets this machine can run, best first."""

def resample(
    coefficients: NDArray[np.float32],
    first: NDArray[np.int64],
    block_in: int,
    block_out: int,
    x: NDArray[np.float32],
    x_start: int,
    y: NDArray[np.float32],
    y_start: int,
    instruction_set: str = "",
) -> None:
    """Write outputs ``y_start, y_start + 1, ...`` into `y`; the GIL is released."""

def convert(
    pcm: NDArray[Any], channels: int, channel: int, out: NDArray[np.float32]
) -> bool:
    """Write one channel (or `MIX`) of interleaved `pcm` into `out`; return whether all is finite."""
