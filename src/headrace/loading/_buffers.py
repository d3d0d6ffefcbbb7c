"""`BufferPool`: batch memory, allocated once, leased, and returned by whoever lets go of it last.

Guarantees
----------
- A slab to which anything still refers is never leased again: each lease is a new owner object
  behind the array, every view of the array refers to the owner, and the memory comes back when the
  owner is collected.
- Coming back is one `queue.SimpleQueue.put`, and forgetting a weak reference, which may run in any
  thread, inside any other code of that thread, even inside this module; no lock is taken there.
- `lease` never waits. If the consumer keeps slabs, fresh ones replace them; what exceeds `count`
  is let go of when it comes back.
- `lease` is called by one thread at a time.
"""

from __future__ import annotations

import math
import weakref
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

__all__ = ["Allocate", "BufferPool"]

Allocate: TypeAlias = "Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]]"


_Slab = tuple["NDArray[Any]", dict[str, Any]]  # memory and how NumPy describes it


class _Owner:
    """One lease of one slab: lives as long as any array over it."""

    __slots__ = ("__array_interface__", "__weakref__", "memory")

    def __init__(self, memory: NDArray[Any], interface: dict[str, Any]) -> None:
        self.memory = memory
        self.__array_interface__ = interface


class _Watch(weakref.ref[_Owner]):
    """Puts a slab back when its owner is collected.

    `weakref.finalize` does that too, at four times the price (1 µs, and more where the consumer
    comes back to cold caches), and does something at the interpreter's exit, which this does not.
    """

    __slots__ = ("returned", "slab")
    slab: _Slab
    returned: SimpleQueue[_Slab]


_watching: dict[int, _Watch] = {}  # a weak reference that is itself collected calls nobody


def _give_back(watch: _Watch) -> None:
    watch.returned.put(watch.slab)
    _watching.pop(id(watch), None)


class BufferPool:
    """A supply of arrays of one shape and type.

    Parameters
    ----------
    shape : tuple of int
        Shape of every slab.
    count : int
        How many are kept for reuse.
    dtype : numpy.dtype
        Type of every slab.

    Attributes
    ----------
    allocated : int
        Slabs that exist: waiting, being written, and with the consumer.
    peak : int
        The most that existed at once.
    allocate : callable
        Returns the memory of a new slab, an array of the shape and type that it is given.
    """

    def __init__(self, shape: tuple[int, ...], count: int, dtype: DTypeLike = np.float32) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.count = count
        self.allocated = 0
        self.peak = 0
        self.allocate: Allocate = np.empty
        self._returned: SimpleQueue[_Slab] = SimpleQueue()
        self._waiting: list[_Slab] = []

    @property
    def slab_bytes(self) -> int:
        """Bytes of one slab."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def kept(self) -> int:
        """Slabs beyond `count` that the consumer keeps."""
        self._collect()
        return max(0, self.allocated - self.count)

    def lease(self) -> NDArray[Any]:
        """Return an array of `shape` that nothing else refers to; its contents are undefined."""
        self._collect()
        if self._waiting:
            slab = self._waiting.pop()
        else:
            memory = self.allocate(self.shape, self.dtype)
            slab = memory, memory.__array_interface__
            self.allocated += 1
            self.peak = max(self.peak, self.allocated)
        owner = _Owner(*slab)
        watch = _Watch(owner, _give_back)
        watch.slab, watch.returned = slab, self._returned
        _watching[id(watch)] = watch
        return np.asarray(owner)

    def _collect(self) -> None:
        while True:
            try:
                slab = self._returned.get_nowait()
            except Empty:
                return
            if self.allocated > self.count:
                self.allocated -= 1
            else:
                self._waiting.append(slab)
