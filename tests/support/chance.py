"""What chance gives: for tests of orders and draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["everything", "unlikely"]


def everything(n: int) -> NDArray[np.int64]:
    """Return all positions of `n`, or all of its items."""
    return np.arange(n, dtype=np.int64)


def unlikely(degrees: int) -> float:
    """Return five standard deviations above what chance gives a chi-square."""
    return degrees + 5 * math.sqrt(2 * degrees)
