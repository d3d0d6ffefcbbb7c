"""`concat` and `mix`: several `Windows` as one, in one loader with one state."""

# ruff: noqa: SLF001  concat and mix read the sets of other Windows

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headrace._apportion import apportion
from headrace._formatting import brief
from headrace._validation import check_whole_number
from headrace.errors import InvalidWindowsError
from headrace.windows._draws import Mixed, check_weights
from headrace.windows._labels import Labels
from headrace.windows._window_sets import ConcatenatedSet
from headrace.windows._windows import Windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["concat", "mix"]


def concat(windows: Sequence[Windows]) -> Windows:
    """Return the windows of several `Windows`, one after the other.

    They may be of several catalogs. `AudioExample.source` and `Batch.source` are the index in
    `windows` that each window is from. The result can be sliced, shuffled, sampled and concatenated
    again; `source` is then the index in the outermost concatenation.

    Parameters
    ----------
    windows : sequence of Windows
        With the same sample rate, length, channel and transforms, and without order and shard.

    Raises
    ------
    InvalidWindowsError
        They differ, have an order or a shard, or there are none; or only some are labelled.
    AnnotationError
        Their labels have different classes, or differ for the same recording.
    """
    given = _check_list(windows, "concatenated")
    return _with_labels(Windows(_concatenate(given, "concatenated")), given)


def mix(
    windows: Sequence[Windows],
    *,
    weights: ArrayLike | None = None,
    n: int | None = None,
    seed: int = 0,
) -> Windows:
    """Return windows of several `Windows` in random order, each source in proportion to its weight.

    In every epoch, each source has its share of the `n` positions, rounded to whole windows. Each
    source is read in random order, and the next epoch continues where the last one stopped. No
    window of a source is repeated before all its windows have been read once. So a small source
    is repeated evenly, and a large one is read completely over several epochs.

    Parameters
    ----------
    windows : sequence of Windows
        As in `concat`. `AudioExample.source` and `Batch.source` are indices into it.
    weights : sequence of float, optional
        One for each of `windows`, not negative. They need not sum to 1. Default: the number of
        windows of each.
    n : int, optional
        Windows in an epoch. Default: the number of windows of all.
    seed : int
        Seed of the order.

    Raises
    ------
    InvalidWindowsError
        As in `concat`; or the weights are invalid, or the share of a source with a positive weight
        rounds to no window.
    """
    given = _check_list(windows, "mixed")
    joined = _concatenate(given, "mixed")
    sizes = [len(one) for one in joined.sets]
    if not all(sizes):
        raise InvalidWindowsError(
            f"source {sizes.index(0)} of the mixture has no windows: leave it out."
        )
    values = check_weights(sizes if weights is None else weights, len(sizes), "source")
    counts = apportion(values, sum(sizes) if n is None else check_whole_number("n", n, 1))
    _check_counts(values, counts)
    order = Mixed(tuple(sizes), tuple(counts.tolist()), check_whole_number("seed", seed))
    return _with_labels(Windows(joined, order), given)


def _check_counts(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
    """Raise `InvalidWindowsError` if a source has a positive weight but no window in an epoch."""
    absent = np.flatnonzero((weights > 0) & (counts == 0))
    if not len(absent):
        return
    least = float(weights[weights > 0].min())
    enough = np.ceil(float(weights.sum()) / least * (1 - 1e-12))  # allows for rounding errors
    advice = "Give the source a larger weight, or leave it out"
    if np.isfinite(enough):
        advice += f". Give n={enough:.0f} or more to keep the weights"
    raise InvalidWindowsError(
        f"source {absent[0]} of the mixture would have no window: its share of the {counts.sum()} "
        f"windows of an epoch rounds to 0. {advice}."
    )


def _check_list(windows: Sequence[Windows], participle: str) -> list[Windows]:
    if isinstance(windows, Windows):  # list() would decode all its windows
        raise InvalidWindowsError(
            f"only a list of Windows can be {participle}, and this is one Windows: give "
            "[first, second]."
        )
    return list(windows)


def _concatenate(given: list[Windows], participle: str) -> ConcatenatedSet:
    for number, one in enumerate(given):
        if not isinstance(one, Windows):
            raise InvalidWindowsError(
                f"only Windows can be {participle}, but number {number} is {brief(one)}."
            )
        one._check_unordered(participle)
        first = given[0]
        same = (one.spec.sample_rate, one.audio_shape, one.spec.channel)
        if same != (first.spec.sample_rate, first.audio_shape, first.spec.channel):
            raise InvalidWindowsError(
                f"windows that are {participle} must have the same sample rate, length and "
                f"channel, but number 0 has {_describe_audio(first)} and number {number} has "
                f"{_describe_audio(one)}: cut them alike."
            )
        if one.transforms != first.transforms:
            raise InvalidWindowsError(
                f"windows that are {participle} must have the same transforms, but those of "
                f"number {number} differ from those of number 0: call map on the result instead."
            )
    if not given:
        raise InvalidWindowsError(
            f"the list of Windows to be {participle} is empty: give one or more."
        )
    return ConcatenatedSet([one._set for one in given])


def _with_labels(joined: Windows, windows: Sequence[Windows]) -> Windows:
    """Give `joined` the labels of all `windows`, and their common transforms."""
    joined.transforms = windows[0].transforms
    labels = [one.labels for one in windows if one.labels is not None]
    if labels and len(labels) < len(windows):
        unlabelled = next(number for number, one in enumerate(windows) if one.labels is None)
        raise InvalidWindowsError(
            f"either all or none of the windows that are joined must be labelled, but number "
            f"{unlabelled} is not: call windows.label(annotations, classes=[...]) with the same "
            "classes for each."
        )
    if labels:
        numbers = [
            one.recordings.numbers_in(joined.recordings, np.arange(len(one.recordings)))
            for one in windows
        ]
        joined.labels = Labels.join(labels, numbers)
    return joined


def _describe_audio(windows: Windows) -> str:
    spec = windows.spec
    channels = f" of {windows.audio_shape[0]}" if spec.channel == "all" else ""
    return f"{spec.size} samples at {spec.sample_rate} Hz, channel={spec.channel!r}{channels}"
