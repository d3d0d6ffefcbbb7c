"""Overlapping intervals with classes, as spans with a constant set of classes each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["concatenate_ranges", "constant_spans"]


def constant_spans(
    begins: NDArray[np.int64], ends: NDArray[np.int64], classes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Cut a line into spans within which no interval begins or ends; list each span's classes.

    Parameters
    ----------
    begins, ends : ndarray of int64, shape ``(intervals,)``
        Half-open intervals on a line; they may overlap.
    classes : ndarray of int64, shape ``(intervals,)``
        The class of each interval.

    Returns
    -------
    span : ndarray of int64, shape ``(spans,)``
        Where each span begins; the first is 0.
    first : ndarray of int64, shape ``(spans + 1,)``
        Index of each span's first entry, and the number of entries.
    entries : ndarray of int32, shape ``(entries,)``
        The classes of each span, each class once, one span after the other.
    """
    span = np.unique(np.concatenate([[0], begins, ends]))
    stride = len(span) + 1
    # Merge intervals of the same class that touch. Positions are indices of spans, offset by a
    # stride for each class, so that intervals of different classes never touch.
    begins = np.searchsorted(span, begins) + classes * stride
    ends = np.searchsorted(span, ends) + classes * stride
    order = np.argsort(begins, kind="stable")
    begins, reach = begins[order], np.maximum.accumulate(ends[order])
    new = np.flatnonzero(np.append(True, begins[1:] > reach[:-1])[: len(begins)])
    first, stop = begins[new], reach[np.append(new[1:] - 1, len(reach) - 1)[: len(new)]]
    entries = concatenate_ranges(first, stop - first)
    entries = np.stack([entries % stride, entries // stride])
    place, entry = entries[:, np.argsort(entries[0], kind="stable")]
    counts = np.bincount(place, minlength=len(span))
    return span, np.append(0, np.cumsum(counts)), entry.astype(np.int32)


def concatenate_ranges(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``arange(first, first + count)`` of each pair, one after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    ranges: NDArray[np.int64] = np.arange(total) + np.repeat(first - (ends - counts), counts)
    return ranges
