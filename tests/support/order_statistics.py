"""Bounds of what is expected by chance, for tests of orders and draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["all_integers", "chi_square_bound"]


def all_integers(n: int) -> NDArray[np.int64]:
    """Return all integers from 0 to `n`, as positions or items of an order."""
    return np.arange(n, dtype=np.int64)


def chi_square_bound(degrees: int) -> float:
    """Return a bound for a chi-square statistic: five standard deviations above its mean."""
    return degrees + 5 * math.sqrt(2 * degrees)
