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
    "the array": lambda slab: slab,
    "a row": lambda slab: slab[1],
    "some rows": lambda slab: slab[1:3],
    "a view of a view": lambda slab: slab[1:3][:, 2:].T[1:],
    "a memoryview": lambda slab: slab.data[1:2],
    "another array over the same memory": lambda slab: np.asarray(slab).T,
    "another type over the same memory": lambda slab: slab.view(np.int32),
    "an array made of the buffer": lambda slab: np.frombuffer(slab, np.float32),
    "an iterator over it": iter,
}


@pytest.mark.parametrize("keep", CONSUMERS.values(), ids=CONSUMERS)
def test_a_slab_that_anything_refers_to_is_never_leased_again(
    keep: Callable[[NDArray[np.float32]], Any],
) -> None:
    """Whatever a consumer keeps of a slab, its memory is leased again only when that is gone."""
    slabs = BufferPool(SHAPE, count=2)
    slab = slabs.lease()
    address = _address(slab)
    kept = keep(slab)
    del slab

    others = [slabs.lease() for _ in range(3)]
    assert address not in map(_address, others)

    del kept
    assert _address(slabs.lease()) == address
    assert others


def test_a_lease_is_a_writable_contiguous_float32_array_of_the_shape() -> None:
    """What is leased can be written, row by row, like any array."""
    slab = BufferPool(SHAPE, count=1).lease()

    slab[:] = 1.5

    assert slab.shape == SHAPE
    assert slab.dtype == np.float32
    assert slab.flags.c_contiguous
    assert slab.sum() == 1.5 * 24


def test_returned_slabs_are_leased_again_without_an_allocation() -> None:
    """A consumer that lets go of each slab is served from the same memory for ever."""
    slabs = BufferPool(SHAPE, count=2)
    first = slabs.lease()
    addresses = {_address(first)}

    for _ in range(100):
        second = slabs.lease()
        addresses.add(_address(second))
        first = second

    assert len(addresses) == slabs.peak == slabs.allocated == 2
    assert slabs.kept == 0


def test_slabs_that_the_consumer_keeps_are_counted_and_replaced() -> None:
    """A consumer that keeps everything is served on; `kept` says how many are beyond the count."""
    slabs = BufferPool(SHAPE, count=2)

    held = [slabs.lease() for _ in range(5)]

    assert len({_address(slab) for slab in held}) == 5
    assert slabs.kept == 3
    assert slabs.slab_bytes == 4 * 24

    held.clear()
    assert slabs.kept == 0
    assert slabs.allocated == 2
    assert slabs.peak == 5


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=60), st.integers(1, 4))
@settings(deadline=None)
def test_held_slabs_never_share_memory(steps: list[int | None], count: int) -> None:
    """For any order of leases and drops, held slabs stay as they were written; `kept` is exact."""
    slabs = BufferPool((3,), count)
    held: list[tuple[int, NDArray[np.float32]]] = []
    most = 0

    for i, step in enumerate(steps):
        if step is None:
            slab = slabs.lease()
            slab[:] = i
            held.append((i, slab[1:]))
            del slab
        elif held:
            held.pop(step % len(held))
        most = max(most, len(held))
        assert all((slab == written).all() for written, slab in held)
        assert slabs.kept == max(0, len(held) - count)
        assert len(held) <= slabs.allocated <= max(count, most)


def test_a_slab_may_come_back_in_the_middle_of_a_lease() -> None:
    """A finalizer that the collector runs inside `lease` itself neither deadlocks nor is lost."""
    slabs = BufferPool(SHAPE, count=1)
    in_a_cycle: list[Any] = [slabs.lease()]
    in_a_cycle.append(in_a_cycle)
    lease_of_cycle = in_a_cycle[0].__array_interface__["data"][0]
    del in_a_cycle
    queue = slabs._returned

    class Collecting:
        """A queue whose every look is preceded by a collection."""

        def get_nowait(self) -> Any:
            gc.collect()
            return queue.get_nowait()

        put = queue.put

    slabs._returned = Collecting()  # type: ignore[assignment]

    assert _address(slabs.lease()) == lease_of_cycle


def test_memory_comes_from_whoever_is_said_to_have_it() -> None:
    """With another `allocate` new slabs are its memory; those there were are leased on."""
    slabs = BufferPool(SHAPE, count=2)
    first = slabs.lease()
    address = _address(first)
    del first
    given: list[NDArray[np.float32]] = []

    def allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        given.append(np.empty(shape, dtype))
        return given[-1]

    slabs.allocate = allocate

    assert _address(held := slabs.lease()) == address
    assert _address(slabs.lease()) == _address(given[0])
    assert held is not None


def test_slabs_alive_at_exit_are_left_to_the_interpreter() -> None:
    """At the interpreter's exit no finalizer runs for a slab that a global holds."""
    code = (
        "from headrace.loading._buffers import BufferPool; import atexit\n"
        "slabs = BufferPool((2,), 1)\n"
        # Registered first, so run last: after weakref's own.
        "atexit.register(lambda: print(slabs._returned.qsize()))\n"
        "slab = slabs.lease()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.split() == ["0"]
    assert done.stderr == ""
