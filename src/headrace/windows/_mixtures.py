"""Windows of several sets: one after the other, or mixed by weight. One loader, one state."""

# ruff: noqa: SLF001  windows are made of the sets of windows

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headrace._apportion import apportion
from headrace._validation import check_whole_number
from headrace.errors import InvalidWindowsError
from headrace.windows._labels import Labels
from headrace.windows._sampling import Mixed, checked_weights
from headrace.windows._window_sets import ConcatenatedSet
from headrace.windows._windows import Windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["concat", "mix"]


def concat(windows: Sequence[Windows]) -> Windows:
    """Return the windows of several `Windows`, one after the other.

    They may be of several catalogs: `AudioExample.source` and `Batch.source` tell which of
    `windows` each is from. What comes out is a set, to be sliced, shuffled, sampled or concatenated
    again (`source` then counts in the outermost).

    Parameters
    ----------
    windows : sequence of Windows
        Of one sample rate, length and channel; without order and shard.

    Raises
    ------
    InvalidWindowsError
        They differ, have an order, or are none; or some are labelled and some not.
    AnnotationError
        Their labels have other classes.
    """
    given = _listed(windows, "concatenated")
    return _like(given, Windows(_joined(given, "concatenated")))


def mix(
    windows: Sequence[Windows],
    *,
    weights: ArrayLike | None = None,
    n: int | None = None,
    seed: int = 0,
) -> Windows:
    """Return windows of several `Windows` in random order, of each as many as its weight says.

    In every epoch each source has its share of the `n` positions, to the nearest window. It is gone
    through in random order, and on in the next epoch; none of its windows comes again before all of
    them have come. So a small source is repeated evenly, and a large one is seen whole in time.

    Parameters
    ----------
    windows : sequence of Windows
        As in `concat`; `AudioExample.source` and `Batch.source` tell which of these each is from.
    weights : sequence of float, optional
        One for each of `windows`, not negative; they need not sum to 1. Default: as many windows as
        each has.
    n : int, optional
        Windows in an epoch; default as many as there are in all.
    seed : int

    Raises
    ------
    InvalidWindowsError
        As in `concat`; or the weights are none, or a source's share of `n` rounds to no window
        though its weight is not 0.
    """
    given = _listed(windows, "mixed")
    joined = _joined(given, "mixed")
    sizes = [len(part) for part in joined.parts]
    if not all(sizes):
        raise InvalidWindowsError(
            f"source {sizes.index(0)} of the mixture has no windows: leave it out."
        )
    values = checked_weights(sizes if weights is None else weights, len(sizes), "source")
    counts = apportion(values, sum(sizes) if n is None else check_whole_number("n", n, 1))
    _refuse_silent(values, counts)
    order = Mixed(tuple(sizes), tuple(counts.tolist()), check_whole_number("seed", seed))
    return _like(given, Windows(joined, order))


def _refuse_silent(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
    """Raise `InvalidWindowsError` where a source has a weight, and no window in any epoch."""
    silent = np.flatnonzero((weights > 0) & (counts == 0))
    if not len(silent):
        return
    least = float(weights[weights > 0].min())
    enough = np.ceil(float(weights.sum()) / least * (1 - 1e-12))  # what is more by rounding is not
    raise InvalidWindowsError(
        f"source {silent[0]} of the mixture would never be heard: its share of the {counts.sum()} "
        f"windows of an epoch rounds to none. Give n={enough:.0f} or more, or it a larger weight, "
        "or leave it out."
    )


def _like(given: list[Windows], joined: Windows) -> Windows:
    """Give windows that were joined the transforms of each and the labels of all."""
    joined.transforms = given[0].transforms
    return _labelled(joined, given)


def _listed(windows: Sequence[Windows], what: str) -> list[Windows]:
    if isinstance(windows, Windows):  # a sequence as well: of examples, each of which is decoded
        raise InvalidWindowsError(
            f"Windows are {what} in a list, as [one, other], and this is one."
        )
    return list(windows)


def _joined(given: list[Windows], what: str) -> ConcatenatedSet:
    for place, one in enumerate(given):
        if not isinstance(one, Windows):
            raise InvalidWindowsError(f"Windows are {what}, and number {place} is {one!r}.")
        one._refuse_order(what)
        first = given[0]
        same = (one.spec.sample_rate, one.audio_shape, one.spec.channel)
        if same != (first.spec.sample_rate, first.audio_shape, first.spec.channel):
            raise InvalidWindowsError(
                f"windows that are {what} have one sample rate, length and channel, but number 0 "
                f"is {_told(first)} and number {place} is {_told(one)}: cut them alike."
            )
        if one.transforms != first.transforms:
            raise InvalidWindowsError(
                f"windows that are {what} have the same transforms, but number {place} has others "
                "than number 0: call map on what comes out."
            )
    if not given:
        raise InvalidWindowsError(f"no windows to be {what}: the list is empty.")
    return ConcatenatedSet([one._set for one in given])


def _labelled(joined: Windows, windows: Sequence[Windows]) -> Windows:
    """Give windows that were joined the labels of all of them."""
    labels = [one.labels for one in windows if one.labels is not None]
    if labels and len(labels) < len(windows):
        bare = next(place for place, one in enumerate(windows) if one.labels is None)
        raise InvalidWindowsError(
            f"windows that are joined are all labelled or none, and number {bare} is not: say "
            "windows.label(annotations, classes=[...]) with the same classes for each."
        )
    if labels:
        every = joined.recordings
        numbers = [one.recordings.within(every, np.arange(len(one.recordings))) for one in windows]
        joined.labels = Labels.joined(labels, numbers)
    return joined


def _told(windows: Windows) -> str:
    spec = windows.spec
    planes = f" of {windows.audio_shape[0]}" if spec.channel == "all" else ""
    return f"{spec.size} samples at {spec.sample_rate} Hz, channel={spec.channel!r}{planes}"
