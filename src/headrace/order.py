"""The order of an epoch: position -> item, a pure function of (seed, epoch) and how many there are.

Everything here is integer arithmetic modulo 2^64, so that the order is the same on every machine
and with every version of every library.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ByFile", "ByWindow", "EpochOrder", "InOrder", "Order", "Permutation", "epoch_key"]

_SORTED_UP_TO = 1 << 12
_ROUNDS = 8


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


def _scramble(values: NDArray[np.uint64], key: int) -> NDArray[np.uint64]:
    """Return the finaliser of splitmix64 (Steele, Lea and Flood, 2014) of ``values + key``."""
    z = values + np.uint64(key)
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
            hashes = _scramble(np.arange(n, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15), key)
            self._table = np.argsort(hashes, kind="stable").astype(np.int64)
            return
        bits = (n - 1).bit_length()
        self._low_bits = bits // 2
        self._low_mask = (1 << self._low_bits) - 1
        self._high_mask = (1 << (bits - self._low_bits)) - 1
        self._keys = [epoch_key(key, i, "round") for i in range(_ROUNDS)]

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Map positions in [0, n) to items in [0, n)."""
        if self._table is not None:
            return self._table[positions]
        out = self._encrypt(positions.astype(np.uint64))
        while (outside := out >= np.uint64(self.n)).any():
            out[outside] = self._encrypt(out[outside])
        return out.astype(np.int64)

    def _encrypt(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low = x & np.uint64(self._low_mask)
        high = x >> np.uint64(self._low_bits)
        for i in range(0, _ROUNDS, 2):
            low = low ^ (_scramble(high, self._keys[i]) & np.uint64(self._low_mask))
            high = high ^ (_scramble(low, self._keys[i + 1]) & np.uint64(self._high_mask))
        return (high << np.uint64(self._low_bits)) | low


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
        return 8 * self.n if self.n <= _SORTED_UP_TO else 0

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
