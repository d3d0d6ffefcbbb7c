"""Orders in which a window may occur several times: draws by weight, and mixtures of sources.

A draw is a hash of (seed, epoch, position). So any draw is computed without those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from headrace._formatting import format_count
from headrace.errors import InvalidWindowsError
from headrace.windows._identity import (
    BalancedIdentity,
    SampleIdentity,
    SampleOnceIdentity,
    digest_arrays,
    mix_identity,
)
from headrace.windows._permutation import (
    STEP,
    Permutation,
    draw_below,
    epoch_key,
    permute_each,
    scramble,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from headrace.windows._identity import LargeMixIdentity, MixIdentity
    from headrace.windows._permutation import EpochOrder

__all__ = ["Balanced", "Draws", "Mixed", "Sampled", "SampledOnce", "check_weights"]

_SHOWN_COUNTS = 8
"""A mixture of more sources is described by their number, so that its `repr` stays one line."""


def check_weights(weights: ArrayLike, n: int, of: str) -> NDArray[np.float64]:
    """Return `n` weights as float64, divided by the largest.

    Parameters
    ----------
    weights : sequence of float
    n : int
        How many there must be.
    of : str
        What each weight belongs to, for error messages.

    Raises
    ------
    InvalidWindowsError
        The number is wrong, or a weight is not a finite number, or is negative, or all are 0.
    """
    try:
        values: NDArray[np.float64] = np.array(weights, np.float64)
    except (TypeError, ValueError):
        raise InvalidWindowsError(f"weights must be numbers, one for each {of}.") from None
    if values.shape != (n,):
        raise InvalidWindowsError(
            f"there are weights of shape {values.shape} for {n} {of}s: give one for each."
        )
    bad = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(bad):
        raise InvalidWindowsError(
            f"weight {values[bad[0]]} of {of} {bad[0]} must be a finite number, not negative."
        )
    largest = values.max(initial=0)
    if not largest:
        raise InvalidWindowsError(
            f"the weights of all {n} {of}s are zero: give at least one a positive weight."
        )
    values /= largest  # so that their sum does not overflow
    return values


class _AliasTable:
    """Draws an item by weight with two look-ups (Walker, 1977): 16 bytes for each item.

    Built without a loop, as prefix sums over Vose's sweep (1991). Items lighter than the mean are
    filled up to it by the heavier items, both in order. A heavy item that falls below the
    mean is itself filled up by the next heavy one.
    """

    def __init__(self, weights: NDArray[np.float64]) -> None:
        n = len(weights)
        # cumsum adds from left to right on every machine; np.sum need not.
        weights = weights / np.cumsum(weights)[-1] * n
        self.keep = np.ones(n)
        self.other = np.arange(n, dtype=np.int64)
        heavy, light = np.flatnonzero(weights > 1), np.flatnonzero(weights <= 1)
        if not len(heavy) or not len(light):  # all weights are equal, up to rounding
            return
        lacking, given = np.cumsum(1 - weights[light]), np.cumsum(weights[heavy] - 1)
        before = np.concatenate([[0.0], lacking[:-1]])[: len(light)]
        by = np.searchsorted(given, before, side="right")
        self.keep[light] = weights[light]
        self.other[light] = heavy[np.minimum(by, len(heavy) - 1)]
        # A heavy item is used up at the first light item at which the total given exceeds what the
        # heavy items so far had to give. The last heavy item keeps what rounding leaves.
        spent = np.searchsorted(lacking, given[:-1], side="left")
        left = 1 + given[:-1] - lacking[np.minimum(spent, len(light) - 1)]
        self.keep[heavy[:-1]] = np.clip(left, 0, 1)
        self.other[heavy[:-1]] = heavy[1:]


class Sampled:
    """`n` draws with replacement in every epoch.

    Parameters
    ----------
    weights : ndarray of float64, shape ``(items,)``
        As `check_weights` returns them.
    n : int
        Draws in an epoch.
    seed : int
    """

    jumps = True
    verb = "sample"
    participle = "sampled"
    description = "sampled by weight"

    def __init__(self, weights: NDArray[np.float64], n: int, seed: int) -> None:
        self.n = n
        self.seed = seed
        self._digest = digest_arrays(weights)
        self._table = _AliasTable(weights)

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self._table.keep.nbytes + self._table.other.nbytes

    @property
    def identity(self) -> SampleIdentity:
        """The fields that decide the draws."""
        return SampleIdentity(self.n, self._digest, self.seed)

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the draws of `epoch`."""
        draw_key, coin_key = (epoch_key(self.seed, epoch, name) for name in ("draw", "coin"))
        keep, other = self._table.keep, self._table.other

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            items = draw_below(len(keep), positions, draw_key)
            coins = scramble(positions.astype(np.uint64) * STEP, coin_key)
            stays = (coins >> np.uint64(11)) * 2.0**-53 < keep[items]
            items[~stays] = other[items[~stays]]
            return items

        return order


class SampledOnce:
    """`n` draws without replacement in every epoch.

    With weights, an item is drawn as if one draw followed the other, each in proportion to the
    weights of the items that are left. This is done for a whole epoch at once: the items with the
    smallest of the numbers e / weight are drawn, where e is exponentially distributed (Efraimidis
    and Spirakis, 2006). Logarithms of these are compared, because a quotient might overflow. What
    is drawn then comes in random order.

    Parameters
    ----------
    weights : ndarray of float64, shape ``(items,)``, or None
        As `check_weights` returns them; None if all are equal.
    items : int
        Number of items.
    n : int
        Draws in an epoch.
    seed : int

    Raises
    ------
    InvalidWindowsError
        There are fewer items with a positive weight than draws.
    """

    jumps = True
    verb = "sample"
    participle = "sampled"
    description = "sampled without replacement"

    def __init__(self, weights: NDArray[np.float64] | None, items: int, n: int, seed: int) -> None:
        drawable = items if weights is None else int(np.count_nonzero(weights))
        if n > drawable:
            positive = "" if weights is None else " with a positive weight"
            raise InvalidWindowsError(
                f"{format_count(n, 'window')} cannot be drawn without replacement from "
                f"{drawable}{positive}: give n={drawable} or less, or replacement=True."
            )
        self.n = n
        self.seed = seed
        self._items = items
        self._weights = weights

    @property
    def nbytes(self) -> int:
        """Bytes of the weights, of what an epoch's draws need, and of the draws."""
        if self._weights is None:
            return Permutation.table_bytes(self._items)
        return 5 * self._weights.nbytes + 8 * self.n + Permutation.table_bytes(self.n)

    @property
    def identity(self) -> SampleOnceIdentity:
        """The fields that decide the draws."""
        digest = "" if self._weights is None else digest_arrays(self._weights)
        return SampleOnceIdentity(self.n, digest, self.seed)

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the draws of `epoch`; with weights, computed with a table over all items."""
        key = epoch_key(self.seed, epoch, "once")
        if self._weights is None:  # the first draws of a permutation
            return Permutation(self._items, key)
        hashes = scramble(np.arange(self._items, dtype=np.uint64) * STEP, key)
        uniform = ((hashes >> np.uint64(11)) + 0.5) * 2.0**-53
        with np.errstate(divide="ignore"):  # a weight of 0 sorts last
            numbers = np.log(-np.log(uniform)) - np.log(self._weights)
        # Sorted by item: another rounding of a logarithm then changes the order of no draws.
        drawn = np.sort(np.argpartition(numbers, self.n - 1)[: self.n])
        permutation = Permutation(self.n, epoch_key(self.seed, epoch, "once in order"))
        return lambda positions: drawn[permutation(positions)]


@dataclass(frozen=True, eq=False)
class Mixed:
    """Items of several sources at random positions, a fixed number of each source in an epoch.

    Each source is read in random order, and the next epoch continues where the last one stopped.
    After all its items, a source starts again in a new order. So no item of a source is repeated
    before all others have been read once.

    Attributes
    ----------
    sizes : tuple of int
        Items of each source. Items are numbered one source after the other.
    counts : tuple of int
        Items of each source in an epoch.
    seed : int
    """

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    seed: int

    jumps = True
    verb = "mix"
    participle = "mixed"

    @property
    def n(self) -> int:
        """Positions of an epoch."""
        return sum(self.counts)

    @property
    def nbytes(self) -> int:
        """Bytes of the permutation's table; 0 for large epochs."""
        return Permutation.table_bytes(self.n)

    @property
    def identity(self) -> MixIdentity | LargeMixIdentity:
        """The fields that decide the order, together with the sources."""
        return mix_identity(self.counts, self.seed)

    @property
    def description(self) -> str:
        """What was done to the windows, for `repr`."""
        if len(self.counts) > _SHOWN_COUNTS:
            return f"mixed {format_count(self.n, 'window')} of {len(self.counts):,} sources"
        return f"mixed {' : '.join(map(str, self.counts))}"

    @cached_property
    def _first_numbers(self) -> NDArray[np.int64]:
        return np.cumsum([0, *self.counts], dtype=np.int64)

    @cached_property
    def _first_items(self) -> NDArray[np.int64]:
        return np.cumsum([0, *self.sizes], dtype=np.int64)

    @cached_property
    def _keys(self) -> NDArray[np.uint64]:
        keys = [epoch_key(self.seed, source, "source") for source in range(len(self.sizes))]
        return np.array(keys, np.uint64)

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`."""
        permutation = Permutation(self.n, epoch_key(self.seed, epoch, "mix"))
        # How often each source has been read completely before this epoch, and where it is now.
        # Python's integers: an epoch's number times its count may exceed 63 bits.
        reads = [divmod(epoch * c, size) for c, size in zip(self.counts, self.sizes, strict=True)]
        complete = np.array([times % (1 << 64) for times, _ in reads], np.uint64)
        begin = np.array([place for _, place in reads], np.int64)
        sizes = np.array(self.sizes, np.int64)

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            number = permutation(positions)
            source = np.searchsorted(self._first_numbers, number, side="right") - 1
            place = number - self._first_numbers[source] + begin[source]
            times, place = np.divmod(place, sizes[source])
            times = times.astype(np.uint64) + complete[source]
            keys = scramble(times * STEP, self._keys[source])
            return self._first_items[source] + permute_each(sizes[source], keys, place)

        return order


class Balanced:
    """Items of several values, each value equally often in every epoch, up to one item.

    It is a mixture (`Mixed`) with a source for each value: no item of a value is repeated before
    all others of that value have been drawn once.

    Parameters
    ----------
    value : ndarray of int64, shape ``(items,)``
        The number of each item's value, from 0 without gaps.
    counts : ndarray of int64, shape ``(values,)``
        Items of each value in an epoch.
    seed : int
    """

    jumps = True
    verb = "draw"
    participle = "balanced"

    def __init__(self, value: NDArray[np.int64], counts: NDArray[np.int64], seed: int) -> None:
        self._items = np.argsort(value, kind="stable")
        self._value = value
        sizes = np.bincount(value, minlength=len(counts))
        self._mixed = Mixed(tuple(sizes.tolist()), tuple(counts.tolist()), seed)

    @property
    def n(self) -> int:
        """Positions of an epoch."""
        return self._mixed.n

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return self._items.nbytes + self._value.nbytes + self._mixed.nbytes

    @property
    def identity(self) -> BalancedIdentity:
        """The fields that decide the draws."""
        values = len(self._mixed.sizes)
        return BalancedIdentity(values, self.n, digest_arrays(self._value), self._mixed.seed)

    @property
    def description(self) -> str:
        """What was done to the windows, for `repr`."""
        return f"balanced over {format_count(len(self._mixed.sizes), 'value')}"

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`."""
        mixed = self._mixed.epoch(epoch)
        return lambda positions: self._items[mixed(positions)]


Draws = Sampled | SampledOnce | Mixed | Balanced
"""Orders whose positions are draws: an item may be at several of them, or at none."""
