"""Views of `Windows`: some of them, in an order, one process's share.

These functions are its methods. Views are made in one direction, set -> order -> shard, and each at
most once; what would be ambiguous is refused.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Literal

import numpy as np

from headrace.arguments import whole_number
from headrace.arrangement import Shuffle
from headrace.errors import WindowsError
from headrace.sampling import Sampled, checked_weights
from headrace.shard import Shard, this_process
from headrace.transforms import Transform, noise

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

    from headrace.shard import Remainder
    from headrace.transforms import Function, On
    from headrace.windows import Windows

__all__ = ["filter", "map", "sample", "shard", "shuffle", "take"]


def take(self: Windows, indices: ArrayLike) -> Windows:
    """Return the windows at these places, in this order; 8 bytes each.

    Parameters
    ----------
    indices : sequence of int
        From 0 up, or from -1 down; the same one may stand there again.

    Raises
    ------
    WindowsError
        There is no such place, or these windows have an order already.
    """
    self._refuse_order("taken from")
    places = np.atleast_1d(np.asarray(indices))
    if places.ndim != 1 or (len(places) and places.dtype.kind not in "iu"):
        raise WindowsError(
            f"take wants whole numbers, one for each window, not {places.dtype} of shape "
            f"{places.shape}: for a bool for each window, say filter."
        )
    n = len(self)
    outside = np.flatnonzero((places < -n) | (places >= n))
    if len(outside):
        raise WindowsError(f"there is no window {places[outside[0]]}: there are {n}.")
    places = places.astype(np.int64)  # a copy: what is given may be changed later
    places[places < 0] += n
    return self._view(self._set.taken(places))


def filter(self: Windows, mask: ArrayLike) -> Windows:  # noqa: A001  it is a method
    """Return the windows for which `mask` is true, in the same order; 8 bytes each.

    Parameters
    ----------
    mask : sequence of bool
        One for each window, as by a comparison of columns of `table`.

    Raises
    ------
    WindowsError
        The mask is not of bools, not one for each window, or these have an order already.
    """
    self._refuse_order("filtered")
    keep = np.asarray(mask)
    if keep.dtype != np.bool_ or keep.shape != (len(self),):
        raise WindowsError(
            f"a mask has a bool for each of the {len(self)} windows, and this is {keep.dtype} "
            f"of shape {keep.shape}: for places, say take."
        )
    return self._view(self._set.taken(np.flatnonzero(keep)))


def shuffle(
    self: Windows,
    seed: int = 0,
    by: Literal["window", "file", "block"] = "window",
    *,
    block: int | None = None,
) -> Windows:
    """Return the same windows in a random order that is new in every epoch.

    Parameters
    ----------
    seed : int
        The order is a pure function of (windows, seed, epoch).
    by : {"window", "file", "block"}
        Shuffle all windows; or the files, leaving each file's windows in order; or blocks of
        neighbouring windows of a file. Where a seek is dear, as in codecs whose every seek is a
        decode from the start, files and blocks are faster.
    block : int, optional
        Windows in a block; each file's last one may be shorter.

    Raises
    ------
    WindowsError
        These windows have an order already.
    """
    order = Shuffle(whole_number("seed", seed), by, block)
    self._refuse_order("shuffled again" if isinstance(self._order, Shuffle) else "shuffled")
    return self._view(self._set, order)


def sample(self: Windows, weights: ArrayLike, n: int | None = None, seed: int = 0) -> Windows:
    """Return `n` draws in every epoch, each window as often as its weight says.

    Drawn with replacement, by a hash of (seed, epoch, position) and a table of 16 bytes for
    each window.

    Parameters
    ----------
    weights : sequence of float
        One for each window, not negative; they need not sum to 1.
    n : int, optional
        Draws in an epoch; default as many as there are windows.
    seed : int

    Raises
    ------
    WindowsError
        The weights are none, or these windows have an order already.
    """
    self._refuse_order("sampled")
    values = checked_weights(weights, len(self), "window")
    n = len(self) if n is None else whole_number("n", n, 1)
    return self._view(self._set, Sampled(values, n, whole_number("seed", seed)))


def shard(
    self: Windows,
    rank: int | Literal["auto"] = "auto",
    world: int | None = None,
    *,
    remainder: Remainder = "drop",
    by: Literal["window", "recording"] = "window",
) -> Windows:
    """Return one process's share of these windows; a view of a view like this is refused.

    Parameters
    ----------
    rank, world : int
        Which process, from 0, of how many. ``"auto"`` asks torch.distributed where it has been
        initialised, else the variables of torchrun, srun, Open MPI or MPICH; where there are
        none, this process is alone.
    remainder : {"drop", "repeat", "mask"}
        So that all processes take the same number of steps, what is left over at the end of an
        epoch is left out; or the epoch's first windows come once more; or rows of zeros do,
        whose ``valid`` is False and ``valid_samples`` 0.
    by : {"window", "recording"}
        ``"window"``: position p of the order belongs to rank p mod world. ``"recording"``, for
        inference: each recording's windows belong to one rank, with about as many frames for
        each; how many windows may differ, and a state is that rank's own.

    Raises
    ------
    WindowsError
        There is no such rank, or there is less than one window or recording for each.
    """
    if self._sharded:
        raise WindowsError("shards cannot be sharded again: shard once, last.")
    if rank == "auto":
        if world is not None:
            raise WindowsError('world is not said together with rank="auto".')
        rank, world = this_process()
    elif world is None:
        raise WindowsError(f"rank {rank} of how many? Say shard(rank, world).")
    share = Shard(whole_number("rank", rank), whole_number("world", world, 1), remainder, by)
    view = self._view(self._set, self._order, share)
    if by == "recording":
        view.order  # noqa: B018  now, so that what is refused is refused here
    elif self.positions < share.world and remainder == "drop":
        raise WindowsError(
            f"{self.positions} windows are less than one for each of {share.world} ranks: give "
            'remainder="repeat" or "mask".'
        )
    return view


def map(  # noqa: A001  it is a method
    self: Windows,
    function: Function | None = None,
    *,
    factory: Function | None = None,
    on: On = "audio",
    out: tuple[tuple[int, ...], DTypeLike] | None = None,
    seed: int = 0,
) -> Windows:
    """Return the same windows, each given to a function that runs in the workers.

    Parameters
    ----------
    function : callable
        ``function(audio)`` returns an array of numbers, which becomes the window's audio. It may
        work in place. If it has an argument ``rng`` it is handed a `numpy.random.Generator` keyed
        by (seed, epoch, window): the same for any number of workers, and after a resume.
    factory : callable, instead of `function`
        ``factory()`` returns the function: called once for each worker, for functions that keep
        state on themselves.
    on : {"audio", "example"}
        Call it with the audio alone or with the `AudioExample`, labels and all.
    out : (shape, dtype), optional
        Of the function's output, the same for all windows; else one call on noise tells.
    seed : int
        Keys `rng`.

    Raises
    ------
    TransformError
        The function raised on noise, or gave no array of numbers.
    WindowsError
        An argument is none of the above.
    """
    transform = Transform.checked(
        function,
        factory=factory,
        on=on,
        out=out,
        seed=seed,
        place=len(self.transforms),
        example=noise(self),
    )
    view = copy(self)
    view.transforms = (*self.transforms, transform)
    return view
