"""Orders with repeats: draws by weight, and mixtures. Position -> item, from counters alone.

A draw is a hash of (seed, epoch, position), so that none has to be made to know a later one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import InvalidWindowsError
from headrace.windows._identity import SampleIdentity, digest_arrays, mix_identity
from headrace.windows._permutation import STEP, Permutation, epoch_key, permuted, scramble

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.windows._identity import LargeMixIdentity, MixIdentity
    from headrace.windows._permutation import EpochOrder

__all__ = ["Mixed", "Sampled", "below", "checked_weights"]

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MOST = 1 << 32
"""Items that can be drawn from: a product of two 32-bit halves fits into 64 bits."""


def below(n: int, counters: NDArray[np.int64], key: int) -> NDArray[np.int64]:
    """Return a number in [0, n) for each counter, all as likely to one in 2^32; n up to 2^32."""
    hashes = scramble(counters.astype(np.uint64) * STEP, key)
    many = np.uint64(n)
    # The upper 64 of the 96 bits of hash x n, of which the upper half is the number.
    return (((hashes >> _HALF) * many + ((hashes & _LOW) * many >> _HALF)) >> _HALF).astype(
        np.int64
    )


def checked_weights(weights: Any, n: int, of: str) -> NDArray[np.float64]:  # noqa: ANN401
    """Return `n` weights as float64.

    Raises
    ------
    InvalidWindowsError
        There are not that many, or they are no weights.
    """
    try:
        values: NDArray[np.float64] = np.array(weights, np.float64)
    except (TypeError, ValueError):
        raise InvalidWindowsError(f"weights must be numbers, one for each {of}.") from None
    if values.shape != (n,):
        raise InvalidWindowsError(
            f"there are weights of shape {values.shape} for {n} {of}s: give one each."
        )
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise InvalidWindowsError(
            f"weight {values[bad[0]]} of {of} {bad[0]} must be a finite number, not negative."
        )
    largest = values.max(initial=0)
    if not largest:
        raise InvalidWindowsError(f"the weights of all {n} {of}s are zero: nothing could be drawn.")
    values /= largest  # so that no sum of them overflows
    return values


class _Alias:
    """Draws an item by weight in two looks at a table (Walker, 1977): 16 bytes for each item.

    Made without a loop (Vose's sweep, 1991, told by prefix sums). Items lighter than the mean are
    filled up to it, in turn, by the heavier ones in turn; a heavy one that has given too much is
    filled up by the next.
    """

    def __init__(self, weights: NDArray[np.float64]) -> None:
        n = len(weights)
        # Sums from left to right, which are the same on every machine; np.sum's need not be.
        weights = weights / np.cumsum(weights)[-1] * n
        self.keep = np.ones(n)
        self.other = np.arange(n, dtype=np.int64)
        heavy, light = np.flatnonzero(weights > 1), np.flatnonzero(weights <= 1)
        if not len(heavy) or not len(light):  # all are the same, but for rounding
            return
        lacking, given = np.cumsum(1 - weights[light]), np.cumsum(weights[heavy] - 1)
        before = np.concatenate([[0.0], lacking[:-1]])[: len(light)]
        by = np.searchsorted(given, before, side="right")
        self.keep[light] = weights[light]
        self.other[light] = heavy[np.minimum(by, len(heavy) - 1)]
        # A heavy item is spent by the first light one with which more has been given than it had;
        # the last one keeps what rounding leaves.
        spent = np.searchsorted(lacking, given[:-1], side="left")
        left = 1 + given[:-1] - lacking[np.minimum(spent, len(light) - 1)]
        self.keep[heavy[:-1]] = np.clip(left, 0, 1)
        self.other[heavy[:-1]] = heavy[1:]


class Sampled:
    """`n` draws with replacement in every epoch.

    Parameters
    ----------
    weights : ndarray of float64, shape ``(items,)``
        What `checked_weights` returned.
    n : int
        Positions of an epoch.
    seed : int
    """

    jumps = True
    called = "sampled by weight"
    verb = "sample"

    def __init__(self, weights: NDArray[np.float64], n: int, seed: int) -> None:
        if len(weights) >= _MOST:
            raise InvalidWindowsError(
                "more than 2^32 windows cannot be sampled: take some of them first."
            )
        self.n = n
        self.seed = seed
        self._digest = digest_arrays(weights)
        self._alias = _Alias(weights)

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self._alias.keep.nbytes + self._alias.other.nbytes

    @property
    def identity(self) -> SampleIdentity:
        """What decides the draws."""
        return SampleIdentity(self.n, self._digest, self.seed)

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the draws of `epoch`."""
        column, coin = (epoch_key(self.seed, epoch, name) for name in ("draw", "coin"))
        keep, other = self._alias.keep, self._alias.other

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            items = below(len(keep), positions, column)
            tossed = scramble(positions.astype(np.uint64) * STEP, coin)
            stays = (tossed >> np.uint64(11)) * 2.0**-53 < keep[items]
            items[~stays] = other[items[~stays]]
            return items

        return order


@dataclass(frozen=True, eq=False)
class Mixed:
    """`n` items of several sets in every epoch, each set's share of them at random positions.

    A set is gone through in random order, over epochs too, and begun anew when it is through: no
    item of it comes a second time before all have come once.

    Attributes
    ----------
    sizes : tuple of int
        Items of each set; together they are numbered through.
    counts : tuple of int
        The share of each set in an epoch.
    seed : int
    """

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    seed: int

    jumps = True
    verb = "mix"

    @property
    def n(self) -> int:
        """Positions of an epoch."""
        return sum(self.counts)

    @property
    def nbytes(self) -> int:
        """Bytes of the table that a small epoch has."""
        return Permutation.table_bytes(self.n)

    @property
    def identity(self) -> MixIdentity | LargeMixIdentity:
        """What decides the order of windows of given sources."""
        return mix_identity(self.counts, self.seed)

    @property
    def called(self) -> str:
        """What was done, for `repr` and for sentences."""
        return f"mixed {' : '.join(map(str, self.counts))}"

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        return np.cumsum([0, *self.counts], dtype=np.int64)

    @cached_property
    def _items(self) -> NDArray[np.int64]:
        return np.cumsum([0, *self.sizes], dtype=np.int64)

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        keys = [epoch_key(self.seed, source, "source") for source in range(len(self.sizes))]
        return np.array(keys, np.uint64)

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`."""
        turns = Permutation(self.n, epoch_key(self.seed, epoch, "mix"))
        # In whole numbers of any length: an epoch's count times its number may pass 63 bits.
        rounds = [divmod(epoch * c, size) for c, size in zip(self.counts, self.sizes, strict=True)]
        begun = np.array([passed % (1 << 64) for passed, _ in rounds], np.uint64)
        at = np.array([place for _, place in rounds], np.int64)
        sizes = np.array(self.sizes, np.int64)

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            turn = turns(positions)
            source = np.searchsorted(self._first, turn, side="right") - 1
            number = turn - self._first[source] + at[source]
            passed, place = np.divmod(number, sizes[source])
            passed = passed.astype(np.uint64) + begun[source]
            keys = scramble(passed * STEP, self._keys[source])
            return self._items[source] + permuted(sizes[source], keys, place)

        return order
