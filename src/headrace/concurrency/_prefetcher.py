"""`Prefetcher`: a bounded, ordered, closable map over jobs in threads, independent of audio.

Guarantees
----------
- **Order.** Jobs are delivered in the order of the iterator, in whatever order their tasks end. A
  job is delivered when all of its tasks have ended.
- **Bound.** Only the consumer takes jobs from the iterator, inside `__next__`, and only while
  fewer than `depth` jobs are in flight (taken but not delivered). So nothing accumulates behind a
  slow consumer: there is no producer thread, no queue between stages, no sentinel, no polling.
- **Keys.** Tasks of one key run one at a time, in order. A worker never waits for a key: it runs
  another task instead.
- **Errors.** An exception in a task is raised by `__next__` when its job is due. If several tasks
  of a job failed, the exception of the first one is raised. An exception of the iterator is raised
  after the jobs before it. An interrupt (Ctrl-C) during the wait loses no job. An interrupt
  anywhere else in `__next__` closes the prefetcher, so that no job is skipped silently.
- **Stalls.** With `stall_timeout_s`, a task without a heartbeat for that long is abandoned while
  the consumer waits. Another thread takes the place of its thread and runs the task's `retry`. The
  abandoned call keeps its files and memory, and its thread is not joined.
- **End.** The prefetcher ends after the last job, on `close`, when it is collected, and when the
  interpreter exits. Queued tasks are then dropped, running tasks are asked to stop (by their
  `CancellationToken`), and every thread has been joined when the call returns. There are three
  exceptions. A worker cannot join itself: if a worker closes the prefetcher, the threads end on
  their own. With `stall_timeout_s`, a thread that has not ended after that long is left behind.
  A forked child has no such threads: there the prefetcher is closed.

Design
------
The garbage collector or a signal handler may run `close` in any thread, between any two
instructions. Therefore the consumer and `close` take no lock. They communicate with the workers
through tokens in `SimpleQueue`s, which cannot get lost between a check and a wait. `wake_workers`
holds one token for each queued task, and one that stays for ever once the prefetcher is closed. A
token in `wake_consumer` means "a job has ended, or the prefetcher is closed". Only workers share
the lock. Workers are daemon threads, so that the interpreter's exit does not wait for them by
itself. They refer to the core and never to the `Prefetcher`, so that a dropped prefetcher is
collected. Nothing here relies on a GIL.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from headrace.concurrency._forks import register_fork_listener
from headrace.concurrency._jobs import Job, Task
from headrace.concurrency._stalls import CancellationToken, StallWatch
from headrace.errors import ClosedError, TooManyFailuresError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from headrace.concurrency._stalls import RunningTask

__all__ = ["Prefetcher"]

T = TypeVar("T")

_THREAD_START_S = 1.0
"""Seconds to wait for an interrupted start of a thread. A thread starts within microseconds, so
this number is an arbitrary choice."""

_EAGER_THREADS = 64
"""Up to this many threads are started at once. More are started only when there are tasks for
them."""

_MAX_WAIT_S = 1.0
"""The longest wait without a check for signals, in seconds. A signal that arrives between the
interpreter's last check and the wait is handled only after the wait. On Windows, a wait without
timeout cannot be interrupted at all."""

_MAX_STALLED = 64
"""The most threads that are abandoned. If more reads stall, further reads would stall, too."""


@dataclass(slots=True, eq=False)
class _Unfinished:
    """The number of a job's tasks that have not ended. Workers refer to this, not to the job."""

    tasks: int


_QueuedTask = tuple[Task, _Unfinished]


class _Core:
    """The state that the workers and the consumer share."""

    def __init__(
        self, name: str, stall_timeout_s: float | None, on_close: Callable[[], None]
    ) -> None:
        self.name = name
        self.on_close = on_close
        self.watch: StallWatch[_QueuedTask] | None = (
            None if stall_timeout_s is None else StallWatch(stall_timeout_s)
        )
        self.stalled = 0
        self.queued: deque[_QueuedTask] = deque()  # the oldest task first
        self.wake_workers: SimpleQueue[None] = SimpleQueue()
        self.wake_consumer: SimpleQueue[None] = SimpleQueue()
        self.lock = threading.Lock()
        self.waiting_by_key: dict[Hashable, deque[_QueuedTask]] = {}  # of keys that are running
        self.token = CancellationToken()
        self.threads: list[threading.Thread] = []
        register_fork_listener(self)

    def after_fork_in_child(self) -> None:
        self.token.flag[0] = 1
        self.threads = []

    @property
    def closed(self) -> bool:
        return self.token()

    def submit(self, tasks: Sequence[Task]) -> _Unfinished:
        unfinished = _Unfinished(len(tasks))
        for task in tasks:
            self.queued.append((task, unfinished))
            self.wake_workers.put(None)
        return unfinished

    def run_worker(self, started: threading.Event, queued: _QueuedTask | None) -> None:
        started.set()
        while queued := queued or self._next_task():
            running = self.watch and self.watch.begin(queued, self.token)
            task, unfinished = queued
            error: BaseException | None = None
            result = None
            try:
                result = task.run(running.token if running else self.token)
            except BaseException as caught:  # noqa: BLE001  raised in the consumer's thread
                error = caught
            if self.watch and running and not self.watch.end(running):
                return  # abandoned: another thread has taken the place of this one
            try:
                if task.on_result is not None and error is None:
                    task.on_result(result)
            except BaseException as caught:  # noqa: BLE001  raised in the consumer's thread
                error = caught
            task.error = error
            # Before the consumer is woken: from then on, only it may refer to the task's memory.
            task.run, task.on_result, task.retry = _already_run, None, None
            key = task.key
            del task, result, error, running
            # A task that waited for this key is older than every queued task, so it is next.
            queued = self._finish(key, unfinished)

    def _next_task(self) -> _QueuedTask | None:
        """Return the oldest task that can run, or None when the prefetcher is closed."""
        while True:
            self.wake_workers.get()
            with self.lock:
                if self.closed:
                    self.wake_workers.put(None)  # for the next worker
                    return None
                queued = self.queued.popleft()
                key = queued[0].key
                if key is None:
                    return queued
                if key not in self.waiting_by_key:
                    self.waiting_by_key[key] = deque()
                    return queued
                queued[0].chained = True
                self.waiting_by_key[key].append(queued)

    def _finish(self, key: Hashable, unfinished: _Unfinished) -> _QueuedTask | None:
        """Count a task as ended, and return the task that waited for its key, if any."""
        with self.lock:
            unfinished.tasks -= 1
            if not unfinished.tasks and self.wake_consumer.empty():
                self.wake_consumer.put(None)
            if key is None or self.closed:
                return None
            if self.waiting_by_key[key]:
                return self.waiting_by_key[key].popleft()
            del self.waiting_by_key[key]
            return None

    def wait(self, unfinished: _Unfinished) -> None:
        while unfinished.tasks and not self.closed:
            wait_s = _MAX_WAIT_S
            if self.watch is not None:
                wait_s = min(wait_s, self.watch.seconds_to_next_check())
            try:  # noqa: SIM105  an interrupt inside contextlib.suppress would be chained to Empty
                self.wake_consumer.get(timeout=wait_s)
            except Empty:
                pass
            for running in () if self.watch is None else self.watch.find_stalled():
                try:
                    self._replace_stalled(running)
                except BaseException:  # an interrupt: the task may be lost
                    self.close()
                    raise

    def _replace_stalled(self, running: RunningTask[_QueuedTask]) -> None:
        """Abandon a task, and start another thread that runs its `retry`."""
        assert self.watch is not None
        task, _ = running.task
        if task.retry is None or not self.watch.abandon(running):
            return
        self.stalled += 1
        if self.stalled > _MAX_STALLED:
            raise TooManyFailuresError(
                f"{self.stalled} reads did not return within {self.watch.timeout_s} s each. Check "
                "the disk or network that holds the recordings."
            )
        task.run = task.retry(running.token)
        self.threads.remove(running.thread)
        self.start_worker(running.task)

    def start_worker(self, queued: _QueuedTask | None = None) -> None:
        """Start a worker, which runs `queued` first."""
        started = threading.Event()
        name = f"{self.name}-{len(self.threads) + self.stalled}"
        thread = threading.Thread(
            target=self.run_worker, args=(started, queued), name=name, daemon=True
        )
        try:
            thread.start()
        except BaseException:  # an interrupt, perhaps after the thread has started
            if started.wait(_THREAD_START_S):
                self.threads.append(thread)
            raise
        self.threads.append(thread)

    def close(self) -> None:
        self.token.flag[0] = 1
        self.on_close()
        self.wake_workers.put(None)
        self.wake_consumer.put(None)
        if threading.current_thread() in self.threads:
            return  # a thread cannot join itself, and the others may need a lock that it holds
        deadline = None if self.watch is None else time.monotonic() + self.watch.timeout_s
        for thread in list(self.threads):
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self.queued.clear()
        self.waiting_by_key.clear()


class Prefetcher(Generic[T]):
    """An iterator over the values of jobs, whose tasks run ahead in threads.

    Parameters
    ----------
    jobs : iterator of Job
        Asked for its next job in the consumer's thread, when there is room in flight.
    workers : int
        Number of threads. Beyond `_EAGER_THREADS`, threads are started only when there are tasks
        for them. With 0, each job's tasks run inside `__next__`.
    depth : int
        The most jobs in flight, that is, taken but not delivered. Values below 1 count as 1.
    name : str
        Prefix of the threads' names.
    stall_timeout_s : float, optional
        Seconds without a heartbeat after which a task is abandoned. Needs workers.
    on_close : callable
        Called when the prefetcher is closed, before its threads are joined, in any thread and
        perhaps more than once: wakes tasks that wait for something. It must not wait itself.

    Attributes
    ----------
    waited_s : float
        Seconds for which `__next__` waited for tasks, or ran them.
    chained : int
        Number of tasks, of the jobs delivered, that had to wait for another task of their key.
    """

    def __init__(
        self,
        jobs: Iterator[Job[T]],
        *,
        workers: int,
        depth: int,
        name: str = "headrace",
        stall_timeout_s: float | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.waited_s = 0.0
        self.chained = 0
        self._jobs = jobs
        self._workers = workers
        self._depth = max(1, depth)
        self._in_flight: deque[tuple[Job[T], _Unfinished]] = deque()
        self._exhausted = False  # the iterator has no more jobs
        self._finished = False  # and the last one has been delivered
        self._error: BaseException | None = None
        self._core = _Core(name, stall_timeout_s, on_close)
        # Also closes at exit: finalizers run after the interpreter has stopped waiting for threads.
        self._finalizer = weakref.finalize(self, self._core.close)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """Return the value of the next job.

        Raises
        ------
        ClosedError
            The prefetcher is closed.
        BaseException
            Any exception that a task of the job, or the iterator of jobs, raised.
        """
        if self._finished:
            raise StopIteration
        if self._workers == 0:
            return self._next_without_workers()
        in_flight = self._in_flight
        self._submit_jobs(in_flight, self._depth)
        if not in_flight and not self._core.closed:
            self._finished = True
            self.close()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise StopIteration
        began = time.perf_counter()
        try:
            if in_flight:
                self._core.wait(in_flight[0][1])
        finally:
            self.waited_s += time.perf_counter() - began
        self._raise_if_closed()
        # Submit now, so that the workers continue while the consumer uses this value.
        self._submit_jobs(in_flight, self._depth + 1)
        job, _ = in_flight.popleft()  # last: an interrupt before this line loses no job
        return self._value_or_error(job)

    @property
    def ready(self) -> bool:
        """Whether `__next__` would return the next value without waiting."""
        in_flight = self._in_flight
        return bool(in_flight) and not in_flight[0][1].tasks

    def close(self) -> None:
        """Drop queued tasks, ask running ones to stop, join every thread. May be called again."""
        self._in_flight = deque()  # a new one: the consumer may be reading the old one
        self._core.close()  # a second caller, too, returns only when the threads have ended
        self._finalizer.detach()

    def _raise_if_closed(self) -> None:
        if self._core.closed:
            self.close()  # a thread may have been started since
            raise ClosedError(
                "this iteration is closed, or belongs to the process that this one was forked "
                "from. Iterate over the loader again."
            )

    def _next_without_workers(self) -> T:
        self._raise_if_closed()
        began = time.perf_counter()
        try:
            job = self._run_next_job()
        except Exception:
            self._finished = True
            raise
        except BaseException:  # an interrupt: this job, or those after it, may be lost
            self.close()
            raise
        finally:
            self.waited_s += time.perf_counter() - began
        self._raise_if_closed()
        return self._value_or_error(job)

    def _run_next_job(self) -> Job[T]:
        job = next(self._jobs)
        for task in job.tasks:
            try:
                result = task.run(self._core.token)
                if task.on_result is not None:
                    task.on_result(result)
            except Exception as error:  # noqa: BLE001  raised later, as in a worker
                task.error = error
                break
        return job

    def _submit_jobs(self, in_flight: deque[tuple[Job[T], _Unfinished]], depth: int) -> None:
        """Take jobs from the iterator until `depth` are in flight."""
        try:
            while len(in_flight) < depth and not self._exhausted and not self._core.closed:
                self._submit_next(in_flight)
        except BaseException:  # an interrupt: a job, or those after it, may be lost
            self.close()
            raise

    def _submit_next(self, in_flight: deque[tuple[Job[T], _Unfinished]]) -> None:
        try:
            job = next(self._jobs)
        except StopIteration:
            self._exhausted = True
        except Exception as error:  # noqa: BLE001  raised after the jobs before it
            self._exhausted = True
            self._error = error
        else:
            if len(self._core.threads) < self._workers:
                tasks = len(job.tasks) + sum(unfinished.tasks for _, unfinished in in_flight)
                while len(self._core.threads) < min(self._workers, max(_EAGER_THREADS, tasks)):
                    self._core.start_worker()
            in_flight.append((job, self._core.submit(job.tasks)))

    def _value_or_error(self, job: Job[T]) -> T:
        for task in job.tasks:
            self.chained += task.chained
            match task.error:
                case None:
                    pass
                case StopIteration():  # if it were raised, it would end the consumer's loop
                    raise RuntimeError("a task raised StopIteration") from task.error
                case error:
                    raise error
        return job.value


def _already_run(_token: CancellationToken) -> None:
    """Replace the function of a task that has run."""
