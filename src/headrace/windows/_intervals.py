"""Intervals on a line -> spans within which nothing changes, and the classes in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ranges", "spans"]


def spans(
    begins: NDArray[np.int64], ends: NDArray[np.int64], kinds: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Return spans within which nothing changes, and the classes in each.

    Parameters
    ----------
    begins, ends : ndarray of int64, shape ``(intervals,)``
        Of intervals on a line, half-open; they may overlap.
    kinds : ndarray of int64, shape ``(intervals,)``
        Their classes.

    Returns
    -------
    span : ndarray of int64
        Where spans begin, 0 included.
    first : ndarray of int64, shape ``(spans + 1,)``
        For each span the first of its entries, and their number.
    kind : ndarray of int32
        The classes of each span, each once, one span after the other.
    """
    span = np.unique(np.concatenate([[0], begins, ends]))
    stride = len(span) + 1
    # Intervals of one class that touch become one. Places of spans, a stride for each class, keep
    # the classes apart.
    begins = np.searchsorted(span, begins) + kinds * stride
    ends = np.searchsorted(span, ends) + kinds * stride
    order = np.argsort(begins, kind="stable")
    begins, reach = begins[order], np.maximum.accumulate(ends[order])
    new = np.flatnonzero(np.append(True, begins[1:] > reach[:-1])[: len(begins)])
    first, stop = begins[new], reach[np.append(new[1:] - 1, len(reach) - 1)[: len(new)]]
    entries = ranges(first, stop - first)
    entries = np.stack([entries % stride, entries // stride])
    place, kind = entries[:, np.argsort(entries[0], kind="stable")]
    counts = np.bincount(place, minlength=len(span))
    return span, np.append(0, np.cumsum(counts)), kind.astype(np.int32)


def ranges(first: NDArray[np.int64], many: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``first, first + 1, ...``, so `many`, for one after the other."""
    ends = np.cumsum(many)
    total = int(ends[-1]) if len(ends) else 0
    ranges: NDArray[np.int64] = np.arange(total) + np.repeat(first - (ends - many), many)
    return ranges
