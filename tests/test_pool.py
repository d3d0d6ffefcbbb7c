from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.pool import StreamPool


@dataclass(eq=False)
class FakeStream:
    recording: int
    begin: int = 0
    closed: int = 0

    def close(self) -> None:
        self.closed += 1


@dataclass
class Opener:
    opened: list[FakeStream] = field(default_factory=list)

    def __call__(self, recording: int) -> Any:
        stream = FakeStream(recording)
        self.opened.append(stream)
        return stream

    @property
    def open_now(self) -> int:
        return sum(not stream.closed for stream in self.opened)


def _idle_streams(pool: StreamPool, recording: int, begins: list[int]) -> list[Any]:
    """Put streams that stand at `begins` into the pool."""
    streams: list[Any] = [pool.lease(recording, 0) for _ in begins]
    for stream, begin in zip(streams, begins, strict=True):
        stream.begin = begin
        pool.give_back(recording, stream, reuse=True)
    return streams


def test_a_leased_stream_is_in_nobody_elses_hands() -> None:
    """Two leases of one recording are two streams; one given back is leased again."""
    opener = Opener()
    pool = StreamPool(opener, idle=4)

    first, second = pool.lease(7, 0), pool.lease(7, 0)
    pool.give_back(7, first, reuse=True)

    assert first is not second
    assert pool.lease(7, 0) is first
    assert len(opener.opened) == 2


@pytest.mark.parametrize(
    ("start", "chosen"), [(500, 300), (300, 300), (299, 100), (5_000, 900), (50, 900)]
)
def test_the_nearest_stream_that_is_not_past_the_start_is_preferred(
    start: int, chosen: int
) -> None:
    """The stream with the shortest way forward is leased; only if all are past, one of those."""
    pool = StreamPool(Opener(), idle=4)
    _idle_streams(pool, 0, [100, 900, 300])

    stream: Any = pool.lease(0, start)

    assert stream.begin == chosen


def test_beyond_the_bound_the_least_recently_used_recording_is_closed() -> None:
    """With room for two, a third recording's stream closes that of the one unused for longest."""
    opener = Opener()
    pool = StreamPool(opener, idle=2)
    a, b, c = (pool.lease(i, 0) for i in range(3))
    pool.give_back(0, a, reuse=True)
    pool.give_back(1, b, reuse=True)
    pool.give_back(0, pool.lease(0, 0), reuse=True)  # used again: now 1 is the oldest

    pool.give_back(2, c, reuse=True)

    assert [stream.closed for stream in opener.opened] == [0, 1, 0]
    assert pool.lease(0, 0) is a
    assert pool.lease(1, 0) is not b


def test_a_stream_that_failed_is_closed_and_not_leased_again() -> None:
    """After ``reuse=False`` the next lease opens the file afresh."""
    opener = Opener()
    pool = StreamPool(opener, idle=2)
    failed = pool.lease(0, 0)

    pool.give_back(0, failed, reuse=False)

    assert [stream.closed for stream in opener.opened] == [1]
    assert pool.lease(0, 0) is not failed


def test_a_file_that_cannot_be_opened_leaves_the_pool_as_it_was() -> None:
    """An opening that fails raises, and does not count as a lease."""

    class RefusedError(Exception):
        pass

    def refuse(_recording: int) -> Any:
        raise RefusedError

    pool = StreamPool(refuse, idle=1)

    for _ in range(3):
        with pytest.raises(RefusedError):
            pool.lease(0, 0)

    assert pool.peak == 1


def test_close_closes_all_and_what_is_given_back_later() -> None:
    """After `close` no stream stays open: neither idle ones nor those still leased."""
    opener = Opener()
    pool = StreamPool(opener, idle=4)
    _idle_streams(pool, 0, [0, 0])
    late = pool.lease(1, 0)

    pool.close()
    assert opener.open_now == 1
    pool.give_back(1, late, reuse=True)
    pool.close()

    assert [stream.closed for stream in opener.opened] == [1, 1, 1]


def test_close_may_interrupt_a_lease_in_the_same_thread() -> None:
    """A collector that runs `close` inside `lease` does not deadlock."""
    opener = Opener()
    pool = StreamPool(opener, idle=4)

    class Interrupting:
        closed = False

        @property
        def begin(self) -> int:
            pool.close()  # `begin` is looked at while the pool's lock is held
            return 0

        def close(self) -> None:
            self.closed = True

    stream: Any = Interrupting()
    pool.give_back(0, stream, reuse=True)
    pool.give_back(0, opener(0), reuse=True)
    done = threading.Event()

    def lease() -> None:
        try:
            pool.lease(0, 0)
        finally:
            done.set()

    threading.Thread(target=lease, daemon=True).start()

    assert done.wait(20)
    assert stream.closed


LEASES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.booleans()), max_size=80)


@given(steps=LEASES, idle=st.integers(0, 4), workers=st.integers(1, 3))
@settings(deadline=None)
def test_the_bounds_hold_for_any_leases(
    steps: list[tuple[int, int, bool]], idle: int, workers: int
) -> None:
    """However `workers` lease and give back, no stream has two holders and `idle` stay open."""
    opener = Opener()
    pool = StreamPool(opener, idle)
    held: list[tuple[int, Any]] = []

    for recording, number, reuse in steps:
        if len(held) == workers:
            pool.give_back(*held.pop(number % workers), reuse=reuse)
        stream: Any = pool.lease(recording, number)
        assert stream.recording == recording
        assert not stream.closed
        assert all(stream is not other for _, other in held)
        stream.begin = number
        held.append((recording, stream))
        assert opener.open_now <= idle + len(held)

    pool.close()
    for recording, stream in held:
        pool.give_back(recording, stream, reuse=True)
    assert [stream.closed for stream in opener.opened] == [1] * len(opener.opened)
    assert pool.peak <= idle + workers
