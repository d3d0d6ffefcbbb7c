"""Neighbouring detections -> events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["merge_neighbours", "sort_order"]

_ROUNDING_S: Final = 1e-6
"""Times of neighbours that should be equal may differ by the rounding of float64 sums: about 1e-11
s a day into a recording. A microsecond is less than a sample up to 1 MHz."""


def merge_neighbours(table: pa.Table, gap_s: float, score: Literal["max", "mean"]) -> pa.Table:
    """Return a row for each run of detections of one recording, channel and label.

    Parameters
    ----------
    table : Arrow table
        Of `Detections`.
    gap_s : float
        Largest silence (s) between two detections of one event.
    score : "max" or "mean"
        What the event's score is of theirs.
    """
    import pyarrow as pa

    if not table.num_rows:
        return table
    start, end = (table[name].to_numpy() for name in ("start_s", "end_s"))
    groups = _group_numbers(table)
    order = np.lexsort((end, start, groups))
    start, end, groups = start[order], end[order], groups[order]
    # The latest end so far within the group: of the ranks of ends, which are exact integers.
    ranks = np.empty(len(end), np.int64)
    by_end = np.argsort(end, kind="stable")
    ranks[by_end] = np.arange(len(end))
    latest = np.maximum.accumulate(groups * len(end) + ranks) - groups * len(end)
    reached = end[by_end[latest]]
    begins = np.ones(len(start), bool)
    begins[1:] = (np.diff(groups) != 0) | (start[1:] > reached[:-1] + gap_s + _ROUNDING_S)
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts[1:], len(start)) - 1

    scores = table["score"].to_numpy()[order]  # null is NaN
    if score == "max":
        merged_scores = np.fmax.reduceat(scores, firsts)
    else:
        known = ~np.isnan(scores)
        sums = np.add.reduceat(np.where(known, scores, 0).astype(np.float64), firsts)
        with np.errstate(invalid="ignore"):  # 0 / 0 where no score is known
            merged_scores = sums / np.add.reduceat(known.astype(np.int64), firsts)
    low, high = (table[name].to_numpy()[order] for name in ("low_hz", "high_hz"))
    rows = order[firsts]
    columns = {
        "start_s": start[firsts],
        "end_s": reached[lasts],
        "score": merged_scores.astype(np.float32),
        "low_hz": np.fmin.reduceat(low, firsts),
        "high_hz": np.fmax.reduceat(high, firsts),
    }
    merged = table.take(pa.array(rows))
    for name, values in columns.items():
        array = pa.array(
            values, merged.schema.field(name).type, from_pandas=not name.endswith("_s")
        )
        merged = merged.set_column(merged.schema.get_field_index(name), name, array)
    return merged.take(pa.array(sort_order(merged)))


def _group_numbers(table: pa.Table) -> NDArray[np.int64]:
    """Return a number for each row: the same for the same recording, channel and label."""
    ids, labels = (_codes(table[name]) for name in ("id", "label"))
    channels = table["channel"].fill_null(-1).to_numpy().astype(np.int64) + 1
    width, height = int(labels.max()) + 1, int(channels.max()) + 1
    _, numbers = np.unique((ids * height + channels) * width + labels, return_inverse=True)
    return numbers.astype(np.int64)


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a number for each distinct value, in order of first appearance."""
    indices = column.combine_chunks().dictionary_encode(null_encoding="encode").indices
    codes: NDArray[np.int64] = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def sort_order(table: pa.Table) -> NDArray[np.int64]:
    """Return the rows by recording (in order of first appearance), start and channel.

    Rows that are equal in these keep their order.
    """
    channel = table["channel"].fill_null(-1).to_numpy()
    return np.lexsort((channel, table["start_s"].to_numpy(), _codes(table["id"])))
