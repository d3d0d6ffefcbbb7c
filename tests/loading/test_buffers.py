from __future__ import annotations

import gc
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.loading._buffers import BufferPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHAPE = (4, 6)


def _address(array: NDArray[np.float32]) -> int:
    return int(array.__array_interface__["data"][0])


CONSUMERS: dict[str, Callable[[NDArray[np.float32]], Any]] = {
    "the array": lambda buffer: buffer,
    "a row": lambda buffer: buffer[1],
    "some rows": lambda buffer: buffer[1:3],
    "a view of a view": lambda buffer: buffer[1:3][:, 2:].T[1:],
    "a memoryview": lambda buffer: buffer.data[1:2],
    "another array over the same memory": lambda buffer: np.asarray(buffer).T,
    "another type over the same memory": lambda buffer: buffer.view(np.int32),
    "an array made of the buffer": lambda buffer: np.frombuffer(buffer, np.float32),
    "an iterator over it": iter,
}


@pytest.mark.parametrize("keep", CONSUMERS.values(), ids=CONSUMERS)
def test_a_buffer_that_anything_refers_to_is_never_leased_again(
    keep: Callable[[NDArray[np.float32]], Any],
) -> None:
    """Whatever a consumer keeps of a buffer, the buffer is reused only after that is dropped."""
    pool = BufferPool(SHAPE, count=2)
    buffer = pool.lease()
    address = _address(buffer)
    kept = keep(buffer)
    del buffer

    others = [pool.lease() for _ in range(3)]
    assert address not in map(_address, others)

    del kept
    assert _address(pool.lease()) == address
    assert others


def test_a_lease_is_a_writable_contiguous_float32_array_of_the_shape() -> None:
    """A leased buffer can be written row by row, like any array."""
    buffer = BufferPool(SHAPE, count=1).lease()

    buffer[:] = 1.5

    assert buffer.shape == SHAPE
    assert buffer.dtype == np.float32
    assert buffer.flags.c_contiguous
    assert buffer.sum() == 1.5 * 24


def test_returned_buffers_are_leased_again_without_an_allocation() -> None:
    """A consumer that drops each buffer gets the same memory again and again."""
    pool = BufferPool(SHAPE, count=2)
    first = pool.lease()
    addresses = {_address(first)}

    for _ in range(100):
        second = pool.lease()
        addresses.add(_address(second))
        first = second

    assert len(addresses) == pool.peak == pool.allocated == 2
    assert pool.excess == 0


def test_buffers_that_the_consumer_keeps_are_counted_and_replaced() -> None:
    """A consumer that keeps everything still gets buffers. `excess` counts those beyond `count`."""
    pool = BufferPool(SHAPE, count=2)

    held = [pool.lease() for _ in range(5)]

    assert len({_address(buffer) for buffer in held}) == 5
    assert pool.excess == 3
    assert pool.buffer_bytes == 4 * 24

    held.clear()
    assert pool.excess == 0
    assert pool.allocated == 2
    assert pool.peak == 5


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=60), st.integers(1, 4))
@settings(deadline=None)
def test_held_buffers_never_share_memory(steps: list[int | None], count: int) -> None:
    """In any order of leases and drops, held buffers keep their contents, and `excess` is exact."""
    pool = BufferPool((3,), count)
    held: list[tuple[int, NDArray[np.float32]]] = []
    most = 0

    for i, step in enumerate(steps):
        if step is None:
            buffer = pool.lease()
            buffer[:] = i
            held.append((i, buffer[1:]))
            del buffer
        elif held:
            held.pop(step % len(held))
        most = max(most, len(held))
        assert all((buffer == written).all() for written, buffer in held)
        assert pool.excess == max(0, len(held) - count)
        assert len(held) <= pool.allocated <= max(count, most)


def test_a_buffer_may_be_returned_in_the_middle_of_a_lease() -> None:
    """A buffer that the collector returns inside `lease` causes no deadlock and is not lost."""
    pool = BufferPool(SHAPE, count=1)
    in_a_cycle: list[Any] = [pool.lease()]
    in_a_cycle.append(in_a_cycle)
    lease_of_cycle = in_a_cycle[0].__array_interface__["data"][0]
    del in_a_cycle
    queue = pool._returned

    class Collecting:
        """A queue that runs the collector before each get."""

        def get_nowait(self) -> Any:
            gc.collect()
            return queue.get_nowait()

        put = queue.put

    pool._returned = Collecting()  # type: ignore[assignment]

    assert _address(pool.lease()) == lease_of_cycle


def test_new_buffers_are_made_by_allocate() -> None:
    """A new `allocate` makes all new buffers. Existing buffers are still leased."""
    pool = BufferPool(SHAPE, count=2)
    first = pool.lease()
    address = _address(first)
    del first
    given: list[NDArray[np.float32]] = []

    def allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        given.append(np.empty(shape, dtype))
        return given[-1]

    pool.allocate = allocate

    assert _address(held := pool.lease()) == address
    assert _address(pool.lease()) == _address(given[0])
    assert held is not None


def test_buffers_alive_at_exit_are_left_to_the_interpreter() -> None:
    """When the interpreter exits, a buffer held by a global is not returned to its pool."""
    code = (
        "from headrace.loading._buffers import BufferPool; import atexit\n"
        "pool = BufferPool((2,), 1)\n"
        # Registered first, so run last: after weakref's own.
        "atexit.register(lambda: print(pool._returned.qsize()))\n"
        "buffer = pool.lease()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["0"]
    assert done.stderr == ""
