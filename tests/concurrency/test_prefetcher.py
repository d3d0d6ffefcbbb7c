from __future__ import annotations

import gc
import threading
import weakref
from collections import Counter
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.concurrency._jobs import Job, Task
from headrace.concurrency._prefetcher import _EAGER_THREADS, Prefetcher
from headrace.errors import ClosedError
from tests.support.deliveries import our_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    Cancelled = Callable[[], bool]
    Run = Callable[[Cancelled], None]

PATIENCE_S = 20
"""After this many seconds, a wait that should have ended fails the test instead of hanging."""


def _nothing(_cancelled: Cancelled) -> None:
    pass


def _until_cancelled(cancelled: Cancelled) -> None:
    while not cancelled():
        pass


def _await_event(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S), "the event did not happen in time"


def _job(value: Any, *runs: Run, key: Hashable = None) -> Job[Any]:
    return Job(value, [Task(run, key) for run in runs])


def _failing(error: BaseException) -> Run:
    def run(_cancelled: Cancelled) -> None:
        raise error

    return run


def _closer(prefetcher: Prefetcher[Any], when: threading.Event) -> threading.Thread:
    """Return a running thread that closes the prefetcher once `when` is set."""

    def close() -> None:
        _await_event(when)
        prefetcher.close()

    thread = threading.Thread(target=close)
    thread.start()
    return thread


def _await_threads(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


class CallingQueue:
    """A queue that calls `before` once, in the waiting thread, just before the wait."""

    def __init__(self, queue: SimpleQueue[None], before: Callable[[], None]) -> None:
        self._queue = queue
        self._before: Callable[[], None] | None = before
        self.empty = queue.empty
        self.put = queue.put

    def get(self, timeout: float | None = None) -> None:
        before, self._before = self._before, None
        if before is not None:
            before()
        self._queue.get(timeout=timeout)


# Order


@given(st.permutations(range(4)))
@settings(deadline=None, max_examples=24)
def test_jobs_are_delivered_in_order_whatever_the_order_in_which_they_end(ends: list[int]) -> None:
    """Jobs are delivered in the iterator's order, in whatever order their tasks end."""
    ended = [threading.Event() for _ in ends]
    log: list[int] = []

    def make(i: int) -> Run:
        place = ends.index(i)

        def run(_cancelled: Cancelled) -> None:
            if place:
                _await_event(ended[ends[place - 1]])
            log.append(i)
            ended[i].set()

        return run

    delivered = list(Prefetcher((_job(i, make(i)) for i in range(4)), workers=4, depth=4))

    assert log == ends
    assert delivered == [0, 1, 2, 3]


def test_a_job_is_delivered_when_all_of_its_tasks_have_ended() -> None:
    """A job with several tasks is delivered after the last of them."""
    done: list[str] = []
    second = threading.Event()

    def late(_cancelled: Cancelled) -> None:
        _await_event(second)
        done.append("late")

    def early(_cancelled: Cancelled) -> None:
        done.append("early")
        second.set()

    prefetcher = Prefetcher(iter([_job("x", late, early)]), workers=2, depth=1)

    assert next(prefetcher) == "x"
    assert done == ["early", "late"]
    prefetcher.close()


def test_a_job_without_tasks_is_delivered() -> None:
    """A job without tasks is delivered in order, with workers and without."""
    for workers in (0, 1):
        jobs = [_job(0), _job(1, _nothing), _job(2)]
        assert list(Prefetcher(iter(jobs), workers=workers, depth=2)) == [0, 1, 2]


# Bound


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_at_most_depth_jobs_are_in_flight(depth: int) -> None:
    """The jobs taken are those delivered and `depth` more, even when all their tasks have ended."""
    taken = 0
    ended: SimpleQueue[None] = SimpleQueue()

    def jobs() -> Iterator[Job[int]]:
        nonlocal taken
        for i in range(10):
            taken += 1
            yield _job(i, lambda _: ended.put(None))

    prefetcher = Prefetcher(jobs(), workers=2, depth=depth)
    waited_for = 0
    for delivered, _ in enumerate(prefetcher, start=1):
        for _ in range(taken - waited_for):  # a slow consumer: nothing is left to run
            ended.get(timeout=PATIENCE_S)
        waited_for = taken
        assert taken == min(10, delivered + depth)


def test_with_a_depth_of_one_the_next_job_runs_while_the_consumer_works() -> None:
    """While the consumer uses a value, the next job runs, even with a depth of one."""
    running = threading.Event()
    jobs = [_job(0, _nothing), _job(1, lambda _: running.set()), _job(2, _nothing)]
    prefetcher = Prefetcher(iter(jobs), workers=1, depth=1)

    next(prefetcher)

    _await_event(running)
    prefetcher.close()


def test_when_a_job_is_delivered_no_worker_refers_to_what_its_tasks_used() -> None:
    """From delivery on, only the consumer refers to the memory of a task, even without the GC."""

    class Memory:
        pass

    refs: list[weakref.ref[Memory]] = []
    checked = threading.Event()

    class Pausing(SimpleQueue[None]):
        """Holds the worker that wakes the consumer until the consumer has checked."""

        def put(self, item: None, block: bool = True, timeout: float | None = None) -> None:
            super().put(item, block, timeout)
            _await_event(checked)

    def make(i: int) -> Job[int]:
        memory = Memory()
        refs.append(weakref.ref(memory))

        def run(_cancelled: Cancelled) -> None:
            assert memory

        return _job(i, run)

    prefetcher = Prefetcher(map(make, range(2)), workers=1, depth=1)
    core: Any = prefetcher._core
    core.wake_consumer = Pausing()
    gc.disable()
    try:
        next(prefetcher)
        assert refs[0]() is None
    finally:
        gc.enable()
        checked.set()
    prefetcher.close()


# Workers


@pytest.mark.parametrize(("workers", "started"), [(2, 2), (10**11, _EAGER_THREADS)])
def test_many_threads_are_started_only_for_as_many_tasks(workers: int, started: int) -> None:
    """With a huge number of workers, two jobs of two tasks start only a few threads."""
    free = threading.Event()

    def run(_cancelled: Cancelled) -> None:
        _await_event(free)

    def count() -> Iterator[Job[int]]:
        yield _job(0)
        yield _job(1, run, run)
        yield _job(2, run, run)

    prefetcher = Prefetcher(count(), workers=workers, depth=3)
    assert next(prefetcher) == 0
    assert len(our_threads()) == started
    free.set()
    assert list(prefetcher) == [1, 2]
    assert not our_threads()


# Keys


def test_a_worker_never_waits_for_a_key() -> None:
    """While tasks wait for their key, workers run other tasks."""
    free = threading.Event()
    log: list[str] = []

    def waiting(_cancelled: Cancelled) -> None:
        _await_event(free)
        log.append("a0")

    jobs = [
        _job(0, waiting, key="a"),
        _job(1, lambda _: log.append("a1"), key="a"),
        _job(2, lambda _: log.append("a2"), key="a"),
        _job(3, lambda _: free.set()),
    ]

    prefetcher = Prefetcher(iter(jobs), workers=2, depth=4)
    assert list(prefetcher) == [0, 1, 2, 3]
    assert log == ["a0", "a1", "a2"]
    assert prefetcher.chained == 2


def test_closing_while_a_keyed_task_runs_is_quiet() -> None:
    """A task that ends after `close`, while others of its key wait, raises nothing anywhere."""
    running = threading.Event()

    def run(cancelled: Cancelled) -> None:
        running.set()
        _until_cancelled(cancelled)

    jobs = [_job(0, _nothing), *(_job(i, run, key="k") for i in range(1, 4))]
    prefetcher = Prefetcher(iter(jobs), workers=1, depth=3)
    next(prefetcher)
    _await_event(running)

    prefetcher.close()  # an exception in a thread would be a warning, which is an error here

    assert not our_threads()


PLANS = st.lists(
    st.lists(st.tuples(st.sampled_from([None, None, "a", "b"]), st.integers(0, 9)), max_size=4),
    max_size=12,
)
"""For each task of each job: a key and a number. A task appends its number to its job's value. A
task with the number 9 then fails."""


class _Log:
    """Records which tasks ran, by key, and whether two of one key ran at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: Counter[str | None] = Counter()
        self.ran: dict[str | None, list[tuple[int, int]]] = {}
        self.overlaps = 0

    def task(self, place: tuple[int, int], key: str | None, number: int, value: list[int]) -> Task:
        def run(_cancelled: Cancelled) -> None:
            with self._lock:
                self.ran.setdefault(key, []).append(place)
                self._inside[key] += 1
                self.overlaps += key is not None and self._inside[key] > 1
            for _ in range(number * 20):  # gives other threads time to run
                pass
            value.append(number)
            with self._lock:
                self._inside[key] -= 1
            if number == 9:
                raise ValueError(place)

        return Task(run, key)


def _plain_loop(plan: list[list[tuple[str | None, int]]]) -> Iterator[Any]:
    for i, tasks in enumerate(plan):
        numbers = [number for _, number in tasks]
        yield (i, numbers.index(9)) if 9 in numbers else sorted(numbers)


@given(plan=PLANS, workers=st.integers(0, 4), depth=st.integers(1, 5))
@settings(deadline=None, max_examples=150)
def test_results_equal_those_of_a_plain_loop(
    plan: list[list[tuple[str | None, int]]], workers: int, depth: int
) -> None:
    """Any tasks, keys, failures, workers and depth give the same as a plain loop, in order."""
    log = _Log()
    taken = 0

    def jobs() -> Iterator[Job[list[int]]]:
        nonlocal taken
        for i, tasks in enumerate(plan):
            taken += 1
            value: list[int] = []
            yield Job(value, [log.task((i, p), *task, value) for p, task in enumerate(tasks)])

    prefetcher = Prefetcher(jobs(), workers=workers, depth=depth)
    outcomes: list[Any] = []
    for _ in plan:
        try:
            outcomes.append(sorted(next(prefetcher)))
        except ValueError as error:
            outcomes.append(error.args[0])
        assert taken <= len(outcomes) + (depth if workers else 0)

    assert next(prefetcher, "end") == "end"
    assert outcomes == list(_plain_loop(plan))
    assert not log.overlaps
    for key in ("a", "b"):
        assert log.ran.get(key, []) == sorted(log.ran.get(key, []))


# Errors


def test_an_error_is_raised_in_order_and_affects_no_other_job() -> None:
    """Jobs before a failed one are delivered before the error, jobs after it afterwards."""
    failed = threading.Event()

    def fail(_cancelled: Cancelled) -> None:
        failed.set()
        raise TypeError("second")

    jobs = [_job(0, lambda _: _await_event(failed)), _job(1, fail), _job(2, _nothing)]
    prefetcher = Prefetcher(iter(jobs), workers=2, depth=3)

    assert next(prefetcher) == 0
    with pytest.raises(TypeError, match="second"):
        next(prefetcher)
    assert next(prefetcher) == 2
    assert next(prefetcher, "end") == "end"


def test_of_several_errors_the_first_task_decides() -> None:
    """A job raises the error of its first failed task, not the error that happened first."""
    failed = threading.Event()

    def late(_cancelled: Cancelled) -> None:
        _await_event(failed)
        raise ValueError("first task")

    def early(_cancelled: Cancelled) -> None:
        failed.set()
        raise ValueError("second task")

    prefetcher = Prefetcher(iter([_job(0, late, early)]), workers=2, depth=1)

    with pytest.raises(ValueError, match="first task"):
        next(prefetcher)
    prefetcher.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_jobs_iterator_comes_after_the_jobs_before_it(workers: int) -> None:
    """An error of the iterator is raised once, after the last job. Then the iteration ends."""

    def jobs() -> Iterator[Job[int]]:
        yield _job(0, _nothing)
        yield _job(1, _nothing)
        raise LookupError("no third")

    prefetcher = Prefetcher(jobs(), workers=workers, depth=8)

    assert [next(prefetcher), next(prefetcher)] == [0, 1]
    with pytest.raises(LookupError, match="no third"):
        next(prefetcher)
    assert next(prefetcher, "end") == "end"
    assert not our_threads()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_tasks_stop_iteration_is_not_the_end(workers: int) -> None:
    """A `StopIteration` that escapes from a task raises an error instead of ending the loop."""
    jobs = [_job(0, _failing(StopIteration())), _job(1, _nothing)]
    prefetcher = Prefetcher(iter(jobs), workers=workers, depth=2)

    with pytest.raises(RuntimeError, match="StopIteration"):
        next(prefetcher)
    assert list(prefetcher) == [1]


# Without workers


def test_without_workers_each_job_runs_when_it_is_requested() -> None:
    """With ``workers=0``, a job is taken and run inside `__next__`, in the caller's thread."""
    log: list[Any] = []

    def jobs() -> Iterator[Job[int]]:
        for i in range(2):
            log.append(("taken", i))
            yield _job(i, lambda _: log.append(threading.current_thread()))

    prefetcher = Prefetcher(jobs(), workers=0, depth=9)

    here = threading.current_thread()
    assert log == []
    assert next(prefetcher) == 0
    assert log == [("taken", 0), here]
    assert next(prefetcher) == 1
    assert log[2:] == [("taken", 1), here]
    assert next(prefetcher, "end") == "end"


def test_without_workers_an_error_affects_no_other_job() -> None:
    """With ``workers=0``, a failed job raises and the next one is delivered."""
    jobs = [_job(0, _nothing), _job(1, _failing(TypeError()), _nothing), _job(2, _nothing)]
    prefetcher = Prefetcher(iter(jobs), workers=0, depth=1)

    assert next(prefetcher) == 0
    with pytest.raises(TypeError):
        next(prefetcher)
    assert list(prefetcher) == [2]


def test_without_workers_closing_stops_the_running_task() -> None:
    """With ``workers=0``, `close` in another thread stops the task and raises `ClosedError`."""

    class CancelledError(Exception):
        pass

    running = threading.Event()

    def run(cancelled: Cancelled) -> None:
        running.set()
        _until_cancelled(cancelled)
        raise CancelledError

    prefetcher = Prefetcher(iter([_job(0, run), _job(1, _nothing)]), workers=0, depth=1)
    closer = _closer(prefetcher, running)

    with pytest.raises(ClosedError):
        next(prefetcher)
    closer.join()
    with pytest.raises(ClosedError):
        next(prefetcher)


# The end


def test_after_the_last_job_there_is_no_thread_and_stop_iteration_again() -> None:
    """After the last job the threads are gone, and `__next__` keeps raising `StopIteration`."""
    prefetcher = Prefetcher((_job(i, _nothing) for i in range(3)), workers=2, depth=2)

    assert list(prefetcher) == [0, 1, 2]

    assert not our_threads()
    assert next(prefetcher, "end") == "end"


def test_close_wakes_the_consumer_and_stops_the_running_tasks() -> None:
    """`close` in another thread ends all threads, and the consumer's wait with `ClosedError`."""
    running = threading.Event()

    def run(cancelled: Cancelled) -> None:
        running.set()
        _until_cancelled(cancelled)

    jobs = [_job(0, run), _job(1, run), _job(2, _nothing)]
    prefetcher = Prefetcher(iter(jobs), workers=2, depth=3)
    closer = _closer(prefetcher, running)

    with pytest.raises(ClosedError):
        next(prefetcher)

    assert not our_threads()
    closer.join()
    with pytest.raises(ClosedError):
        next(prefetcher)


def test_closing_twice_or_before_the_first_use_does_nothing_more() -> None:
    """A second `close` does nothing. A prefetcher closed before its first use starts no thread."""
    ran: list[int] = []
    used = Prefetcher(iter([_job(0, _nothing), _job(1, _nothing)]), workers=1, depth=1)
    fresh = Prefetcher(iter([_job(0, lambda _: ran.append(0))]), workers=1, depth=1)
    next(used)

    for prefetcher in (used, fresh):
        prefetcher.close()
        prefetcher.close()

        with pytest.raises(ClosedError):
            next(prefetcher)
        assert not our_threads()
    assert ran == []


def test_a_close_just_before_the_wait_ends_the_wait() -> None:
    """A signal handler that closes just before its thread waits ends that wait."""
    jobs = [_job(0, _until_cancelled)]
    prefetcher = Prefetcher(iter(jobs), workers=1, depth=1)
    core: Any = prefetcher._core
    core.wake_consumer = CallingQueue(core.wake_consumer, prefetcher.close)

    with pytest.raises(ClosedError):
        next(prefetcher)

    assert not our_threads()


def test_an_interrupt_while_waiting_loses_no_job() -> None:
    """After a `KeyboardInterrupt` during the wait, the same job is delivered next."""
    go = threading.Event()
    jobs = [_job(0, lambda _: _await_event(go)), _job(1, _nothing)]
    prefetcher = Prefetcher(iter(jobs), workers=1, depth=1)

    def interrupt() -> None:
        raise KeyboardInterrupt

    core: Any = prefetcher._core
    core.wake_consumer = CallingQueue(core.wake_consumer, interrupt)

    with pytest.raises(KeyboardInterrupt):
        next(prefetcher)
    go.set()
    assert list(prefetcher) == [0, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupt_that_loses_a_job_closes(workers: int) -> None:
    """After a `KeyboardInterrupt` in the iterator, `ClosedError` is raised, not `StopIteration`."""

    def jobs() -> Iterator[Job[int]]:
        yield _job(0, _nothing)
        raise KeyboardInterrupt

    prefetcher = Prefetcher(jobs(), workers=workers, depth=1)

    if workers == 0:
        assert next(prefetcher) == 0
    with pytest.raises(KeyboardInterrupt):
        next(prefetcher)
    with pytest.raises(ClosedError):
        next(prefetcher)
    assert not our_threads()


def test_without_workers_an_interrupted_task_closes() -> None:
    """With ``workers=0``, `ClosedError` follows a `KeyboardInterrupt` in a task."""
    jobs = [_job(0, _failing(KeyboardInterrupt())), _job(1, _nothing)]
    prefetcher = Prefetcher(iter(jobs), workers=0, depth=1)

    with pytest.raises(KeyboardInterrupt):
        next(prefetcher)
    with pytest.raises(ClosedError):
        next(prefetcher)


# Collection


@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_a_half_used_prefetcher_that_is_dropped_joins_its_threads(in_a_cycle: bool) -> None:
    """A prefetcher that is dropped or collected stops its tasks and leaves no thread."""
    jobs = [_job(0, _nothing), _job(1, _until_cancelled), _job(2, _nothing)]
    prefetcher: Any = Prefetcher(iter(jobs), workers=2, depth=3)
    next(prefetcher)
    if in_a_cycle:
        prefetcher.itself = prefetcher

    del prefetcher
    gc.collect()

    assert not our_threads()


def test_a_prefetcher_may_be_collected_in_one_of_its_workers() -> None:
    """A task that drops the last reference causes no deadlock and leaves no thread."""
    held: list[Prefetcher[int]] = []
    go = threading.Event()

    def drop(_cancelled: Cancelled) -> None:
        _await_event(go)
        held.clear()

    jobs = [_job(0, _nothing), _job(1, drop), _job(2, _nothing)]
    held.append(Prefetcher(iter(jobs), workers=3, depth=3))
    next(held[0])
    threads = our_threads()
    alive = weakref.ref(held[0])

    go.set()

    _await_threads(threads)
    assert alive() is None


@pytest.mark.parametrize("where", ["holding the lock", "about to wait"])
def test_a_prefetcher_may_be_collected_at_any_point_of_a_worker(where: str) -> None:
    """The collector may run in a worker that holds the lock, or is about to wait."""
    held: list[Prefetcher[int]] = []
    armed = threading.Event()

    class CollectingLock:
        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            self._lock.acquire()
            if armed.is_set():
                held.clear()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    class CollectingQueue(SimpleQueue[None]):
        def get(self, block: bool = True, timeout: float | None = None) -> None:
            if armed.is_set():
                held.clear()
            super().get(block, timeout)

    def arm(_cancelled: Cancelled) -> None:
        armed.set()

    jobs = [_job(0, _nothing), _job(1, arm)]
    held.append(Prefetcher(iter(jobs), workers=3, depth=1))
    alive = weakref.ref(held[0])
    core: Any = held[0]._core
    if where == "holding the lock":
        core.lock = CollectingLock()
    else:
        core.wake_workers = CollectingQueue()
    next(held[0])

    _await_event(armed)
    _await_threads(list(core.threads))

    assert alive() is None
