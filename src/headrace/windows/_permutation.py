"""Keyed hashing: permutations and draws that are computed for any position without a table.

All arithmetic is on integers modulo 2^64. So the results are the same on every machine and with
every version of every library. Changing any constant here changes every order.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "STEP",
    "EpochOrder",
    "Permutation",
    "draw_below",
    "epoch_key",
    "permute_each",
    "scramble",
]

_SORTED_UP_TO = 1 << 12
"""Items that `Permutation` keeps in a table: 32 KiB."""

_EACH_SORTED_UP_TO = 16
"""Items that `permute_each` sorts anew for each position."""

_ROUNDS = 8
_POWERS = np.uint64(1) << np.arange(63, dtype=np.uint64)

STEP = np.uint64(0x9E3779B97F4A7C15)
"""The odd constant of splitmix64, 2^64 divided by the golden ratio: spreads counters."""

_LOW_32 = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


class EpochOrder(Protocol):
    """The order of one epoch: a function from positions to items."""

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the item at each position; positions are int64 in [0, n)."""
        ...


def epoch_key(seed: int, epoch: int, purpose: str) -> int:
    """Return a 64-bit key that is independent for every (seed, epoch, purpose).

    The key is a hash and not a sum, so that epoch 1 of seed 0 is unrelated to epoch 0 of seed 1.
    """
    text = f"headrace:{purpose}:{seed}:{epoch}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def scramble(values: NDArray[np.uint64], key: int | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash each value with `key`: the finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    z = values + (np.uint64(key) if isinstance(key, int) else key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def draw_below(
    n: int | NDArray[np.int64], counters: NDArray[np.int64], key: int
) -> NDArray[np.int64]:
    """Return a number in [0, n) for each counter, uniform to one in 2^64 / n.

    Parameters
    ----------
    n : int, or ndarray of int64 with one for each counter
        From 1 up.
    counters : ndarray of int64
    key : int
        64 bits; equal n, counters and keys give equal numbers.
    """
    hashes = scramble(counters.astype(np.uint64) * STEP, key)
    many = np.asarray(n).astype(np.uint64)
    # The upper 64 of the 128 bits of hash * n, from the products of 32-bit halves.
    high, low = hashes >> _32, hashes & _LOW_32
    many_high, many_low = many >> _32, many & _LOW_32
    first, second = high * many_low, low * many_high
    middle = (low * many_low >> _32) + (first & _LOW_32) + (second & _LOW_32)
    top = high * many_high + (first >> _32) + (second >> _32) + (middle >> _32)
    numbers: NDArray[np.int64] = top.astype(np.int64)
    return numbers


class Permutation:
    """A keyed permutation of ``range(n)``, computed for the positions that are asked for.

    Up to 4,096 items are sorted by a hash, which makes all permutations equally likely. More items
    go through a Feistel network over the next power of two, repeatedly until the result is below n
    (cycle walking, fewer than two passes on average). This needs no table, however large n is.

    Parameters
    ----------
    n : int
        Number of items, up to 2^63.
    key : int
        64 bits.
    """

    def __init__(self, n: int, key: int) -> None:
        self.n = n
        self._table: NDArray[np.int64] | None = None
        if n <= _SORTED_UP_TO:
            hashes = scramble(np.arange(n, dtype=np.uint64) * STEP, key)
            self._table = np.argsort(hashes, kind="stable").astype(np.int64)
            return
        self._network = _Network.for_sizes(n)
        self._keys = [epoch_key(key, i, "round") for i in range(_ROUNDS)]

    @staticmethod
    def table_bytes(n: int) -> int:
        """Return the bytes of the table for `n` items; 0 if `n` is large."""
        return 8 * n if n <= _SORTED_UP_TO else 0

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map positions in [0, n) to items in [0, n)."""
        if self._table is not None:
            return self._table[positions]
        return self._network.permute(positions, self._keys)

    def inverse(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map items in [0, n) to their positions in [0, n)."""
        if self._table is not None:
            return np.argsort(self._table)[items]
        return self._network.permute(items, self._keys, inverse=True)


class _Network(NamedTuple):
    """A Feistel network over the next power of two, repeated until the result is below n.

    The fields are scalars, the same network for all values, or arrays with a network for each
    value.
    """

    n: NDArray[np.uint64]
    low_bits: NDArray[np.uint64]
    low_mask: NDArray[np.uint64]
    high_mask: NDArray[np.uint64]

    @classmethod
    def for_sizes(cls, n: int | NDArray[np.int64]) -> _Network:
        """Return the network over `n` items, or an array of networks for an array of n."""
        bits = np.searchsorted(_POWERS, np.asarray(n, np.uint64) - np.uint64(1), side="right")
        one = np.uint64(1)
        low, high = (half.astype(np.uint64) for half in (bits // 2, bits - bits // 2))
        return cls(np.asarray(n, np.uint64), low, (one << low) - one, (one << high) - one)

    def select(self, places: NDArray[np.int64]) -> _Network:
        """Return the networks of the values at `places`."""
        return self if not self.n.ndim else _Network(*(one[places] for one in self))

    def permute(
        self,
        values: NDArray[np.int64],
        keys: Sequence[int] | Sequence[NDArray[np.uint64]],
        *,
        inverse: bool = False,
    ) -> NDArray[np.int64]:
        """Map values in [0, n) to values in [0, n).

        `keys` has a key for each round: an int for all values, or an array with one for each.
        """
        one_pass = _Network._backward if inverse else _Network._forward
        out = one_pass(self, values.astype(np.uint64), keys)
        while len(outside := np.flatnonzero(out >= self.n)):
            outside_keys = [key if isinstance(key, int) else key[outside] for key in keys]
            out[outside] = one_pass(self.select(outside), out[outside], outside_keys)
        return out.astype(np.int64)

    def _forward(
        self, x: NDArray[np.uint64], keys: Sequence[int | NDArray[np.uint64]]
    ) -> NDArray[np.uint64]:
        low, high = x & self.low_mask, x >> self.low_bits
        for i in range(0, _ROUNDS, 2):
            low = low ^ (scramble(high, keys[i]) & self.low_mask)
            high = high ^ (scramble(low, keys[i + 1]) & self.high_mask)
        return (high << self.low_bits) | low

    def _backward(
        self, x: NDArray[np.uint64], keys: Sequence[int | NDArray[np.uint64]]
    ) -> NDArray[np.uint64]:
        low, high = x & self.low_mask, x >> self.low_bits
        for i in range(_ROUNDS - 1, 0, -2):
            high = high ^ (scramble(low, keys[i]) & self.high_mask)
            low = low ^ (scramble(high, keys[i - 1]) & self.low_mask)
        return (high << self.low_bits) | low


def permute_each(
    n: int | NDArray[np.int64], keys: NDArray[np.uint64], positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Map each position to an item by the permutation of that position's key and n.

    Positions with equal keys and equal n go through the same permutation. Nothing is stored for a
    key, because a table like that of `Permutation` would be as long as n. Up to 16 items are sorted
    by a hash, again for each position, because the network mixes few bits badly: over 3 bits, some
    pairs of neighbours are still 40 % too frequent after 8 rounds.

    Parameters
    ----------
    n : int or ndarray of int64, shape ``(positions,)``
        Number of items.
    keys : ndarray of uint64, shape ``(positions,)``
    positions : ndarray of int64, shape ``(positions,)``
        Each in [0, n).

    Returns
    -------
    ndarray of int64, shape ``(positions,)``
        Each in [0, n).
    """
    sizes = np.broadcast_to(np.asarray(n, np.int64), positions.shape)
    items = np.empty(len(positions), np.int64)
    few = np.flatnonzero(sizes <= _EACH_SORTED_UP_TO)
    others = np.flatnonzero(sizes > _EACH_SORTED_UP_TO)
    if len(few):
        items[few] = _sort_by_hash(sizes[few], keys[few], positions[few])
    if len(others):
        rounds = [scramble(keys[others], key) for key in _round_keys()]
        items[others] = _Network.for_sizes(sizes[others]).permute(positions[others], rounds)
    return items


def _sort_by_hash(
    n: NDArray[np.int64], keys: NDArray[np.uint64], positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the item at each position of range(n), sorted by a hash of (key, item)."""
    all_items = np.arange(n.max(), dtype=np.uint64)
    hashes = scramble(all_items * STEP, keys[:, None])
    hashes[all_items >= n[:, None]] = ~np.uint64(0)  # sorts last: the sort is stable
    order = np.argsort(hashes, axis=1, kind="stable")
    return order[np.arange(len(n)), positions].astype(np.int64)


@cache
def _round_keys() -> list[int]:
    return [epoch_key(0, i, "permuted") for i in range(_ROUNDS)]
