"""The order of an epoch: position -> item, a pure function of (seed, epoch) and how many there are.

Everything here is integer arithmetic modulo 2^64, so that the order is the same on every machine
and with every version of every library.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "ByBlock",
    "ByFile",
    "ByWindow",
    "EpochOrder",
    "InOrder",
    "Listed",
    "Order",
    "Permutation",
    "Through",
    "epoch_key",
    "permuted",
    "scramble",
]

_SORTED_UP_TO = 1 << 12
_FEW = 16
_ROUNDS = 8
_POWERS = np.uint64(1) << np.arange(63, dtype=np.uint64)
STEP = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's: the golden ratio, odd


class EpochOrder(Protocol):
    """The order of one epoch."""

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map positions, each in [0, n), to items, each in [0, n); a bijection."""
        ...


class Order(Protocol):
    """An order for every epoch."""

    @property
    def nbytes(self) -> int:
        """Bytes held while an epoch goes on."""
        ...

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`, counted from 0."""
        ...


def epoch_key(seed: int, epoch: int, purpose: str) -> int:
    """Return 64 bits that look independent for every (seed, epoch, purpose).

    A hash, not a sum: epoch 1 of seed 0 has nothing to do with epoch 0 of seed 1.
    """
    text = f"headrace:{purpose}:{seed}:{epoch}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def scramble(values: NDArray[np.uint64], key: int | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the finaliser of splitmix64 (Steele, Lea and Flood, 2014) of ``values + key``."""
    z = values + (np.uint64(key) if isinstance(key, int) else key)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Permutation:
    """A keyed permutation of ``range(n)``, evaluated where it is asked.

    Up to 4,096 items are sorted by a hash, which is uniform over all permutations. More go through
    a Feistel network over the next power of two, again and again until the result is below n
    (cycle walking: fewer than two rounds of it on average); no table, however large n is.

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
        self._network = _Network.over(n)
        self._keys = [epoch_key(key, i, "round") for i in range(_ROUNDS)]

    @staticmethod
    def table_bytes(n: int) -> int:
        """Return the bytes of the table for `n` items: none where there are many."""
        return 8 * n if n <= _SORTED_UP_TO else 0

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map positions in [0, n) to items in [0, n)."""
        if self._table is not None:
            return self._table[positions]
        return self._network.walk(positions, self._keys)

    def inverse(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map items in [0, n) to their positions in [0, n)."""
        if self._table is not None:
            return np.argsort(self._table)[items]
        return self._network.walk(items, self._keys, back=True)


class _Network(NamedTuple):
    """A Feistel network over the next power of two, walked until the result is below n.

    One for all values, or arrays: for each value one of its own.
    """

    n: NDArray[np.uint64]
    low_bits: NDArray[np.uint64]
    low_mask: NDArray[np.uint64]
    high_mask: NDArray[np.uint64]

    @classmethod
    def over(cls, n: int | NDArray[np.int64]) -> _Network:
        """Return the network over `n` items, or those over each of several n."""
        bits = np.searchsorted(_POWERS, np.asarray(n, np.uint64) - np.uint64(1), side="right")
        one = np.uint64(1)
        low, high = (half.astype(np.uint64) for half in (bits // 2, bits - bits // 2))
        return cls(np.asarray(n, np.uint64), low, (one << low) - one, (one << high) - one)

    def some(self, places: NDArray[np.int64]) -> _Network:
        """Return the networks of some of the values."""
        return self if not self.n.ndim else _Network(*(one[places] for one in self))

    def walk(
        self,
        values: NDArray[np.int64],
        keys: Sequence[int] | Sequence[NDArray[np.uint64]],
        *,
        back: bool = False,
    ) -> NDArray[np.int64]:
        """Map values in [0, n) to values in [0, n): a key for each round, of all or of each."""
        turn = _Network._backward if back else _Network._forward
        out = turn(self, values.astype(np.uint64), keys)
        while len(outside := np.flatnonzero(out >= self.n)):
            theirs = [key if isinstance(key, int) else key[outside] for key in keys]
            out[outside] = turn(self.some(outside), out[outside], theirs)
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


def permuted(
    n: int | NDArray[np.int64], keys: NDArray[np.uint64], positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Map each position in [0, n) to an item in [0, n) by the permutation of its own key and n.

    Positions of equal keys and n are permuted by one bijection. Up to 16 items are sorted by a
    hash, anew for each position: the network mixes few bits badly, and over 3 bits its 8 rounds
    leave some pairs of neighbours 40 % too frequent. More items go through the network, and nothing
    is made for a key: a table, as that of `Permutation`, would be as long as n.
    """
    many = np.broadcast_to(np.asarray(n, np.int64), positions.shape)
    items = np.empty(len(positions), np.int64)
    few, others = np.flatnonzero(many <= _FEW), np.flatnonzero(many > _FEW)
    if len(few):
        items[few] = _by_hash(many[few], keys[few], positions[few])
    if len(others):
        rounds = [scramble(keys[others], key) for key in _round_keys()]
        items[others] = _Network.over(many[others]).walk(positions[others], rounds)
    return items


def _by_hash(
    n: NDArray[np.int64], keys: NDArray[np.uint64], positions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the item at each position where range(n) is sorted by a hash of (key, item)."""
    every = np.arange(n.max(), dtype=np.uint64)
    hashes = scramble(every * STEP, keys[:, None])
    hashes[every >= n[:, None]] = ~np.uint64(0)  # behind all, by the stable sort too
    order = np.argsort(hashes, axis=1, kind="stable")
    return order[np.arange(len(n)), positions].astype(np.int64)


@cache
def _round_keys() -> list[int]:
    return [epoch_key(0, i, "permuted") for i in range(_ROUNDS)]


@dataclass(frozen=True, slots=True)
class InOrder:
    """Every epoch as it stands."""

    nbytes: int = 0

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the identity."""
        del epoch
        return lambda positions: positions


@dataclass(frozen=True, slots=True)
class ByWindow:
    """All `n` windows shuffled, newly in every epoch."""

    n: int
    seed: int

    @property
    def nbytes(self) -> int:
        """Bytes of the table that small sets have."""
        return Permutation.table_bytes(self.n)

    def epoch(self, epoch: int) -> EpochOrder:
        """Return a permutation keyed by (seed, epoch)."""
        return Permutation(self.n, epoch_key(self.seed, epoch, "window"))


@dataclass(frozen=True, slots=True, eq=False)
class ByFile:
    """Files shuffled, the windows of each in order.

    Attributes
    ----------
    bounds : ndarray of int64, shape ``(files + 1,)``
        The items of file f are ``bounds[f] .. bounds[f + 1] - 1``.
    seed : int
    """

    bounds: NDArray[np.int64]
    seed: int

    @property
    def nbytes(self) -> int:
        """Bytes: the bounds, and while an epoch goes on the shuffled files and their positions."""
        return 3 * self.bounds.nbytes

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`: one table of files, nothing for each window."""
        files = len(self.bounds) - 1
        permutation = Permutation(files, epoch_key(self.seed, epoch, "file"))
        shuffled = permutation(np.arange(files, dtype=np.int64))
        begins = np.zeros(files + 1, np.int64)
        np.cumsum(np.diff(self.bounds)[shuffled], out=begins[1:])

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            place = np.searchsorted(begins, positions, side="right") - 1
            return self.bounds[shuffled[place]] + (positions - begins[place])

        return order


@dataclass(frozen=True, slots=True, eq=False)
class ByBlock:
    """Blocks of neighbouring items of a file shuffled, the items of each block in order.

    All blocks but the last of each file are `block` long; those that are shorter have a table, the
    others need none.

    Attributes
    ----------
    bounds : ndarray of int64, shape ``(files + 1,)``
        The items of file f are ``bounds[f] .. bounds[f + 1] - 1``.
    block : int
        Items in a block.
    seed : int
    """

    bounds: NDArray[np.int64]
    block: int
    seed: int

    @property
    def nbytes(self) -> int:
        """Bytes: the bounds, each file's full blocks, and its short block's size and places."""
        return 7 * self.bounds.nbytes

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`: one permutation of all blocks, the short ones the last."""
        counts = np.diff(self.bounds)
        full = np.zeros(len(self.bounds), np.int64)
        np.cumsum(counts // self.block, out=full[1:])
        files = np.flatnonzero(counts % self.block)  # whose last block is short
        permutation = Permutation(
            int(full[-1]) + len(files), epoch_key(self.seed, epoch, f"block {self.block}")
        )
        slots = permutation.inverse(full[-1] + np.arange(len(files), dtype=np.int64))
        turn = np.argsort(slots)
        files, slots = files[turn], slots[turn]
        sizes = counts[files] % self.block
        before = np.zeros(len(files) + 1, np.int64)  # items in short blocks before each of them
        np.cumsum(sizes, out=before[1:])
        begins = (slots - np.arange(len(files))) * self.block + before[:-1]
        stops = self.bounds[files + 1]

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            passed = np.searchsorted(begins, positions, side="right")
            items = np.empty(len(positions), np.int64)
            short = np.zeros(len(positions), bool)
            if len(files):
                last = np.maximum(passed - 1, 0)
                short = (passed > 0) & (positions < begins[last] + sizes[last])
                last = last[short]
                items[short] = stops[last] - sizes[last] + (positions[short] - begins[last])
            turn, within = np.divmod((positions - before[passed])[~short], self.block)
            number = permutation(turn + passed[~short])
            file = np.searchsorted(full, number, side="right") - 1
            items[~short] = self.bounds[file] + (number - full[file]) * self.block + within
            return items

        return order


@dataclass(frozen=True, slots=True, eq=False)
class Through:
    """An order of items that stand elsewhere, in runs.

    Attributes
    ----------
    inner : Order
        Of the numbers of the items.
    begins : ndarray of int64, shape ``(runs,)``
        Where each run stands.
    first : ndarray of int64, shape ``(runs + 1,)``
        Number of each run's first item, and the total.
    """

    inner: Order
    begins: NDArray[np.int64]
    first: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes, those of the order included."""
        return self.inner.nbytes + self.begins.nbytes + self.first.nbytes

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`."""
        inner = self.inner.epoch(epoch)

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            number = inner(positions)
            run = np.searchsorted(self.first, number, side="right") - 1
            return self.begins[run] + (number - self.first[run])

        return order


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """An order of items that stand elsewhere, each where a list says.

    Attributes
    ----------
    inner : Order
        Of places in the list.
    items : ndarray of int64
        The list.
    """

    inner: Order
    items: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes, those of the order included."""
        return self.inner.nbytes + self.items.nbytes

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`."""
        inner = self.inner.epoch(epoch)
        return lambda positions: self.items[inner(positions)]
