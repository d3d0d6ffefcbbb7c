"""`BufferPool`: batch memory that is allocated once, leased, and reused when nothing refers to it.

Guarantees
----------
- **No sharing.** A buffer is never leased again while anything refers to it. Each lease is a new
  owner object behind the array, and every view of the array refers to the owner. The memory
  returns to the pool when the owner is collected.
- **No lock.** Returning a buffer is one `queue.SimpleQueue.put` and dropping a weak reference. It
  may happen in any thread and inside any other code of that thread, even inside this module.
- **No waiting.** `BufferPool.lease` never waits. If the consumer keeps buffers, new ones replace
  them, and a returned buffer beyond `count` is freed.
- `BufferPool.lease` is called by one thread at a time.
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
"""``allocate(shape, dtype)`` returns a new array."""

_Buffer = tuple["NDArray[Any]", dict[str, Any]]  # the memory, and NumPy's description of it


class _Lease:
    """One lease of one buffer. Lives as long as any array over the buffer."""

    __slots__ = ("__array_interface__", "__weakref__", "memory")

    def __init__(self, memory: NDArray[Any], interface: dict[str, Any]) -> None:
        self.memory = memory
        self.__array_interface__ = interface


class _LeaseReference(weakref.ref[_Lease]):
    """Returns a buffer to its pool when its lease is collected.

    `weakref.finalize` would do the same at four times the cost (1 µs, and more when the consumer's
    caches are cold), and would also run at the interpreter's exit, which this does not.
    """

    __slots__ = ("buffer", "returned")
    buffer: _Buffer
    returned: SimpleQueue[_Buffer]


_lease_references: dict[int, _LeaseReference] = {}
"""Keeps the weak references alive: one that is itself collected does not call its callback."""


def _return_buffer(reference: _LeaseReference) -> None:
    reference.returned.put(reference.buffer)
    _lease_references.pop(id(reference), None)


class BufferPool:
    """A pool of arrays of one shape and dtype.

    Parameters
    ----------
    shape : tuple of int
        Shape of every buffer.
    count : int
        How many buffers are kept for reuse.
    dtype : numpy.dtype
        Dtype of every buffer.

    Attributes
    ----------
    allocated : int
        Buffers that exist: free, being written, and held by the consumer.
    peak : int
        The most buffers that existed at once.
    allocate : callable
        ``allocate(shape, dtype)`` returns the memory of a new buffer.
    """

    def __init__(self, shape: tuple[int, ...], count: int, dtype: DTypeLike = np.float32) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.count = count
        self.allocated = 0
        self.peak = 0
        self.allocate: Allocate = np.empty
        self._returned: SimpleQueue[_Buffer] = SimpleQueue()
        self._free: list[_Buffer] = []

    @property
    def buffer_bytes(self) -> int:
        """Bytes of one buffer."""
        return self.dtype.itemsize * math.prod(self.shape)

    @property
    def excess(self) -> int:
        """Buffers beyond `count` that exist because the consumer keeps some."""
        self._reclaim()
        return max(0, self.allocated - self.count)

    def lease(self) -> NDArray[Any]:
        """Return an array of `shape` that nothing else refers to. Its contents are undefined."""
        self._reclaim()
        if self._free:
            buffer = self._free.pop()
        else:
            memory = self.allocate(self.shape, self.dtype)
            buffer = memory, memory.__array_interface__
            self.allocated += 1
            self.peak = max(self.peak, self.allocated)
        lease = _Lease(*buffer)
        reference = _LeaseReference(lease, _return_buffer)
        reference.buffer, reference.returned = buffer, self._returned
        _lease_references[id(reference)] = reference
        return np.asarray(lease)

    def _reclaim(self) -> None:
        """Take the returned buffers back, freeing those beyond `count`."""
        while True:
            try:
                buffer = self._returned.get_nowait()
            except Empty:
                return
            if self.allocated > self.count:
                self.allocated -= 1
            else:
                self._free.append(buffer)
