"""Whole numbers in given proportions, by the method of largest remainders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["apportion"]


def apportion(weights: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Divide `n` among weights, in whole numbers.

    Parameters
    ----------
    weights : float64 array, shape ``(k,)``
        Positive weights; they need not sum to 1.
    n : int
        The sum of the result.

    Returns
    -------
    int64 array, shape ``(k,)``
        Each exact share rounded down, and 1 more for those with the largest remainders.
    """
    exact = weights / np.cumsum(weights)[-1] * n
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    largest = np.argsort(counts - exact, kind="stable")
    counts[largest[: n - int(counts.sum())]] += 1
    return counts
