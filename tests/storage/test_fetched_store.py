import select
import threading
from collections.abc import Callable
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import _kernel

DATA = bytes(range(256)) * 4096  # 1 MiB
KEY = f"{len(DATA)} x"


def store(cached: int = 1 << 20, ahead: int = 1 << 18) -> _kernel.FetchedStore:
    """Return an empty store."""
    return _kernel.FetchedStore(cached, ahead)


class Server:
    """Answers what a store asks for, in a thread."""

    def __init__(self, store: _kernel.FetchedStore) -> None:
        self.store = store
        self.asked: list[tuple[int, int, bool]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.store.close()
        self._thread.join()

    def _serve(self) -> None:
        while not self._end.is_set():
            select.select([self.store.fileno()], [], [], 0.01)
            for key, offset, count, planned in self.store.take():
                self.asked.append((offset, count, planned))
                self.store.give(key, offset, count, DATA[offset : offset + count])


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Start a thread; its result is added to the list."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    return thread, results


@given(
    st.lists(
        st.tuples(st.integers(0, len(DATA)), st.integers(0, 1 << 17), st.booleans()), max_size=12
    )
)
def test_every_read_gives_the_bytes_of_the_object(reads: list[tuple[int, int, bool]]) -> None:
    """Announced or not, in any order, with a cache that is too small: the bytes are right."""
    with Server(store(cached=1 << 16)) as server:
        for offset, count, announced in reads:
            if announced:
                for at, size in server.store.expect(KEY, offset, count, 1 << 14):
                    server.store.give(KEY, at, size, DATA[at : at + size])
            assert server.store.read(KEY, offset, count) == DATA[offset : offset + count]
            if announced:
                server.store.release(KEY, offset, count)


def test_what_is_announced_twice_is_asked_for_once() -> None:
    """A second announcement returns only what the first one did not."""
    one = store()
    assert one.expect(KEY, 1000, 1000, 1 << 20) == [(1000, 1000)]
    assert one.expect(KEY, 500, 1000, 300) == [(500, 300), (800, 200)]
    assert one.expect(KEY, 0, len(DATA) + 5, 1 << 30) == [(0, 500), (2000, len(DATA) - 2000)]


def test_announced_bytes_are_dropped_with_their_last_use() -> None:
    """Memory is given back as soon as nobody needs it, and not before."""
    one = store()
    one.expect(KEY, 0, 1000, 1 << 20)
    one.expect(KEY, 0, 500, 1 << 20)
    one.give(KEY, 0, 1000, DATA[:1000])
    assert one.held_bytes == 1000
    assert one.release(KEY, 0, 1000) == []
    assert one.held_bytes == 1000
    assert one.release(KEY, 0, 500) == [(0, 1000, False)]
    assert one.held_bytes == 0


def test_who_releases_learns_that_a_reader_waits() -> None:
    """A range that is no longer announced, and that a reader waits for, is still to be fetched."""
    one = store()
    one.expect(KEY, 0, 1000, 1 << 20)
    thread, results = in_thread(lambda: one.read(KEY, 10, 5))
    select.select([one.fileno()], [], [], 30)  # it waits
    assert one.release(KEY, 0, 1000) == [(0, 1000, True)]
    one.give(KEY, 0, 1000, DATA[:1000])
    thread.join()
    assert results == [DATA[10:15]]


def test_bytes_to_keep_stay_after_their_last_use() -> None:
    """A header that was announced to be kept is read again without a request."""
    one = store()
    one.expect(KEY, 0, 1000, 1 << 20, keep=True)
    one.give(KEY, 0, 1000, DATA[:1000])
    assert one.release(KEY, 0, 1000) == [(0, 1000, False)]
    assert one.read(KEY, 0, 1000) == DATA[:1000]
    assert one.take() == []


def test_what_is_kept_on_demand_is_bounded() -> None:
    """Old bytes make room for new ones."""
    with Server(store(cached=100_000, ahead=1)) as server:
        for offset in range(0, len(DATA), 64 << 10):
            server.store.read(KEY, offset, 1)
        assert server.store.held_bytes <= 100_000
        assert server.store.most_held_bytes <= 100_000 + (32 << 10)


def test_who_reads_on_is_read_ahead_for() -> None:
    """The requests of a reader that goes on grow, up to the limit."""
    with Server(store(ahead=1 << 18)) as server:
        for offset in range(0, len(DATA), 16 << 10):
            server.store.expect(KEY, 0, 0, 1)
            assert server.store.read(KEY, offset, 16 << 10) == DATA[offset : offset + (16 << 10)]
    assert max(count for _, count, _ in server.asked) <= 1 << 18


def test_a_reader_that_waits_makes_announced_bytes_urgent() -> None:
    """What a reader waits for is reported, though it was announced before."""
    one = store()
    one.expect(KEY, 0, 4096, 1 << 20)
    thread, results = in_thread(lambda: one.read(KEY, 10, 20))
    select.select([one.fileno()], [], [], 30)
    assert one.take() == [(KEY, 0, 4096, True)]
    one.give(KEY, 0, 4096, DATA[:4096])
    thread.join()
    assert results == [DATA[10:30]]


def test_failures_reach_the_reader_and_are_forgotten() -> None:
    """A failed range gives its code and message; a later read asks again."""
    one = store()
    thread, results = in_thread(lambda: one.read(KEY, 0, 5))
    select.select([one.fileno()], [], [], 30)
    ((key, offset, count, _),) = one.take()
    one.fail(key, offset, "PERMISSION", "no")
    thread.join()
    assert results == [("PERMISSION", "no")]
    thread, results = in_thread(lambda: one.read(KEY, 0, 5))
    select.select([one.fileno()], [], [], 30)
    assert one.take()
    one.give(key, offset, count, DATA[offset : offset + count])
    thread.join()
    assert results == [DATA[:5]]


def test_an_announced_range_that_failed_fails_until_it_is_released() -> None:
    """Windows that are tried again one by one do not ask for the same bytes again and again."""
    one = store()
    one.expect(KEY, 0, 100, 1 << 20)
    one.fail(KEY, 0, "MISSING", "gone")
    assert one.read(KEY, 0, 5) == one.read(KEY, 50, 5) == ("MISSING", "gone")
    assert one.take() == []


def test_close_wakes_every_reader() -> None:
    """Readers that wait get an error at once, and later readers, too."""
    one = store()
    threads = [in_thread(lambda: one.read(KEY, 0, 5))[0] for _ in range(4)]
    select.select([one.fileno()], [], [], 30)
    one.close()
    for thread in threads:
        thread.join()
    answer = one.read(KEY, 0, 5)
    assert isinstance(answer, tuple)
    assert answer[0] == "IO"


def test_bytes_of_another_length_are_refused() -> None:
    """A short answer cannot be given by mistake."""
    one = store()
    one.expect(KEY, 0, 100, 1 << 20)
    with pytest.raises(ValueError, match="not as many bytes"):
        one.give(KEY, 0, 100, b"short")
