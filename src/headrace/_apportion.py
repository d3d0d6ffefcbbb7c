"""Whole numbers in given proportions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["apportion"]


def apportion(weights: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Return how many of `n` each weight has, to the nearest: the largest remainders round up."""
    exact = weights / np.cumsum(weights)[-1] * n
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(counts - exact, kind="stable")
    counts[largest[: n - int(counts.sum())]] += 1
    return counts
