"""Scores per window -> detections: smoothing over neighbours, then a threshold for each class."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from headrace.annotations import class_thresholds
from headrace.detections._result_batches import is_list
from headrace.errors import ResultsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.detections._result_batches import ResultBatch

__all__ = ["detections_of_scores", "score_matrix"]

_GAP: Final = 1.5
"""Windows whose starts are further apart than this many hops are no neighbours: between one hop
and two, where a window is missing."""


class _Scored(NamedTuple):
    """Windows of any recordings, with their scores as a matrix."""

    ids: pa.Array
    channel: NDArray[np.int32]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    scores: NDArray[np.float32]

    def slice(self, start: int, stop: int) -> _Scored:
        """Return the windows from `start` to before `stop`."""
        rows = slice(start, stop)
        return _Scored(
            self.ids.slice(start, stop - start),
            self.channel[rows],
            self.start_s[rows],
            self.end_s[rows],
            self.scores[rows],
        )

    def copy(self) -> _Scored:
        """Return the same windows, in memory of their own."""
        import pyarrow as pa

        return _Scored(
            pa.concat_arrays([self.ids]),
            self.channel.copy(),
            self.start_s.copy(),
            self.end_s.copy(),
            self.scores.copy(),
        )


def detections_of_scores(
    batches: Iterator[ResultBatch],
    classes: Sequence[str],
    threshold: float | Mapping[str, float],
    column: str,
    smooth: int = 1,
    total: Mapping[str, int] | None = None,
) -> Iterator[dict[str, pa.Array]]:
    """Yield the columns of the detections in scores, a part of the windows at a time.

    Parameters
    ----------
    batches : iterator of ResultBatch
        Windows with a list of scores each, or one score.
    classes : sequence of str
        The names of the scores.
    threshold : float or mapping of str to float
        The least score that counts, for all classes, or for each that counts.
    column : str
        The column's name, for messages.
    smooth : int
        Odd number of neighbouring windows whose mean replaces each score.
    total : mapping of str to int, optional
        The number of rows of each recording in all batches; needed to smooth.

    Raises
    ------
    ResultsError
        The scores are not as many as the classes.
    """
    import pyarrow as pa

    limits = class_thresholds(threshold, classes, ResultsError)
    names = pa.array(classes, pa.string())
    scored = (
        (
            batch.rows_by_id,
            _Scored(
                batch.ids,
                batch.channel,
                batch.start_s,
                batch.end_s,
                score_matrix(batch.values, len(classes), column),
            ),
        )
        for batch in batches
    )
    parts = (part for _, part in scored) if total is None else _smoothed(scored, total, smooth)
    for part in parts:
        rows, columns = np.nonzero(part.scores >= limits)
        channel = part.channel[rows]
        yield {
            "id": part.ids.take(pa.array(rows)),
            "channel": pa.array(channel, mask=channel < 0),
            "start_s": pa.array(part.start_s[rows]),
            "end_s": pa.array(part.end_s[rows]),
            "label": names.take(pa.array(columns)),
            "score": pa.array(part.scores[rows, columns]),
        }


def score_matrix(values: pa.Array, size: int, column: str) -> NDArray[np.float32]:
    """Return lists of numbers as a matrix of float32, shape ``(rows, size)``.

    Raises
    ------
    ResultsError
        The lists have another size, or no numbers.
    """
    import pyarrow as pa

    type_ = values.type
    numbers = values.flatten() if is_list(type_) else values
    item = numbers.type
    if not (pa.types.is_floating(item) or pa.types.is_integer(item)):
        raise ResultsError(
            f"The column {column!r} holds {type_}, not a list of scores or of detections: give "
            "another column=."
        )
    lengths = {type_.list_size} if pa.types.is_fixed_size_list(type_) else {1}
    if is_list(type_) and not pa.types.is_fixed_size_list(type_):
        lengths = set(np.unique(values.value_lengths().to_numpy(zero_copy_only=False)).tolist())
    if len(values) and lengths != {size}:
        given = " or ".join(str(length) for length in sorted(lengths)[:3])
        raise ResultsError(
            f"The column {column!r} has {given} scores a window, but there are {size} classes: "
            "give as classes= the name of each score, in order."
        )
    matrix: NDArray[np.float32] = numbers.to_numpy(zero_copy_only=False).astype(
        np.float32, copy=False
    )
    return matrix.reshape(len(values), size)


def _smoothed(
    parts: Iterator[tuple[Mapping[str, int], _Scored]], total: Mapping[str, int], size: int
) -> Iterator[_Scored]:
    """Yield the windows, recording by recording, with moving means of `size` scores.

    A recording's windows may be in several places: where windows failed at first and were tried
    again, they stand behind the others of their range.
    """
    left = Counter(total)
    pending: dict[str, list[_Scored]] = {}
    for rows_by_id, part in parts:
        left.subtract(rows_by_id)
        for piece in _pieces_of_one_recording(part):
            name = piece.ids[0].as_py()
            # A copy, if the recording goes on: a view would keep the whole part in memory.
            pending.setdefault(name, []).append(piece.copy() if left[name] else piece)
        for name in rows_by_id:
            if not left[name] and name in pending:
                yield _smooth_recording(_joined(pending.pop(name)), size)
    assert not pending


def _pieces_of_one_recording(part: _Scored) -> Iterator[_Scored]:
    codes = part.ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for start, stop in pairwise(edges):
        if start < stop:
            yield part.slice(start, stop)


def _joined(pieces: list[_Scored]) -> _Scored:
    import pyarrow as pa

    return _Scored(
        pa.concat_arrays([piece.ids for piece in pieces]),
        np.concatenate([piece.channel for piece in pieces]),
        np.concatenate([piece.start_s for piece in pieces]),
        np.concatenate([piece.end_s for piece in pieces]),
        np.concatenate([piece.scores for piece in pieces]),
    )


def _smooth_recording(one: _Scored, size: int) -> _Scored:
    """Return the windows of one recording, by channel and start, with means of neighbours."""
    order = np.lexsort((one.start_s, one.channel))
    channel, start = one.channel[order], one.start_s[order]
    scores = one.scores[order]
    steps = np.diff(start)
    same = np.diff(channel) == 0
    positive = steps[same & (steps > 0)]
    hop = positive.min() if len(positive) else np.inf
    edges = [0, *(np.flatnonzero(~same | (steps > _GAP * hop)) + 1).tolist(), len(start)]
    means = np.empty_like(scores)
    for first, stop in pairwise(edges):
        means[first:stop] = _moving_mean(scores[first:stop], size // 2)
    return _Scored(one.ids, channel, start, one.end_s[order], means)


def _moving_mean(scores: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Return means over as many as `reach` rows before and after each row."""
    rows = len(scores)
    sums = np.zeros_like(scores)
    counts = np.zeros((rows, 1), np.float32)
    for shift in range(-min(reach, rows - 1), min(reach, rows - 1) + 1):
        to = slice(max(0, -shift), rows - max(0, shift))
        of = slice(max(0, shift), rows - max(0, -shift))
        sums[to] += scores[of]
        counts[to] += 1
    sums /= counts
    return sums
