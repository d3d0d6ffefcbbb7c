"""Overlapping intervals with classes, as spans with a constant set of classes each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["concatenate_ranges", "constant_spans", "largest_in_spans"]


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


def largest_in_spans(
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    classes: NDArray[np.int64],
    values: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Return `constant_spans` of intervals with values, and the largest value of each entry.

    Parameters
    ----------
    begins, ends, classes
        As in `constant_spans`.
    values : ndarray of float32, shape ``(intervals,)``
        The value of each interval.

    Returns
    -------
    span, first, entries
        As in `constant_spans`.
    largest : ndarray of float32, shape ``(entries,)``
        Of the intervals of the entry's class in its span.
    """
    pairs = np.stack([classes.astype(np.float64), -values.astype(np.float64)], axis=1)
    # Sorted by class, the largest value first: so an entry's pair is less than those after it.
    distinct, pair = np.unique(pairs, axis=0, return_inverse=True)
    span, first, entries = constant_spans(begins, ends, pair.reshape(-1).astype(np.int64))
    place = np.repeat(np.arange(len(span)), np.diff(first))
    order = np.lexsort((entries, place))
    place, entries = place[order], entries[order]
    number, value = distinct[entries, 0].astype(np.int32), -distinct[entries, 1]
    is_first = np.append(True, (place[1:] != place[:-1]) | (number[1:] != number[:-1]))
    is_first = is_first[: len(place)]
    counts = np.bincount(place[is_first], minlength=len(span))
    first = np.append(0, np.cumsum(counts))
    return span, first, number[is_first], value[is_first].astype(np.float32)


def concatenate_ranges(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``arange(first, first + count)`` of each pair, one after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    ranges: NDArray[np.int64] = np.arange(total) + np.repeat(first - (ends - counts), counts)
    return ranges
