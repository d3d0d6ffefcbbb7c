"""`Prefetcher`: a bounded, ordered, closable, threaded map over jobs. It knows nothing of audio.

Guarantees
----------
- **Order.** Jobs are delivered in the order in which they come, whatever the order in which their
  tasks end. A job is delivered when all of its tasks have ended.
- **Bound.** A job is taken from the iterator only by the consumer, inside `__next__`, and only
  while fewer than `depth` are taken and not delivered. Nothing happens behind a slow consumer's
  back: there is no producer thread, no queue between stages, no sentinel and no polling.
- **Keys.** Tasks of one key run one after the other, in order, never two at once; a worker never
  waits for a key, it takes another task.
- **Errors.** An exception in a task is raised in `__next__` when the job's turn has come; if
  several tasks failed, that of the first. One from the iterator of jobs is raised after the jobs
  before it.
- **End.** After the last job, after `close`, when the prefetcher is collected and at the
  interpreter's exit, waiting tasks are dropped, running ones are told (by the function that they
  are given), and every thread has been joined when that returns.

One reentrant lock guards the state: reentrant, because the collector may run `close` in any thread
at any allocation, also inside a section that holds it. Workers are daemon threads, so that an exit
never waits for them unasked, and refer to the core only, never to the `Prefetcher`, so that a
dropped one is collected. `wake_workers` means "a task is ready, or we are closing"; `wake_consumer`
means "a job has ended, or we are closing". Nothing here assumes a GIL.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Generic, TypeVar

from headrace.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

__all__ = ["Job", "Prefetcher", "Task"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Task:
    """A piece of work.

    Attributes
    ----------
    run : callable
        Called once, with a function that tells whether to give up.
    key : hashable or None
        Tasks of the same key run in order, one at a time.
    """

    run: Callable[[Callable[[], bool]], None]
    key: Hashable = None
    error: BaseException | None = field(default=None, init=False)


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """What is delivered once all of its tasks have ended."""

    value: T
    tasks: Sequence[Task]
    _left: int = field(default=0, init=False)


# A task with its job, and its number: the older goes first. A task does not refer to its job, or the
# two would live until the collector comes round, and the memory that the job fills with them.
_Numbered = tuple[int, Task, "Job[object]"]


class _Core:
    """What workers and consumer share."""

    def __init__(self) -> None:
        lock = threading.RLock()
        self.lock = lock
        self.wake_workers = threading.Condition(lock)
        self.wake_consumer = threading.Condition(lock)
        self.ready: list[_Numbered] = []  # a heap: the oldest task first
        self.behind: dict[Hashable, deque[_Numbered]] = {}  # per running or ready key
        self.submitted = 0
        self.closing = False
        self.threads: list[threading.Thread] = []

    def is_closing(self) -> bool:
        return self.closing

    def submit(self, job: Job[object]) -> None:
        with self.lock:
            job._left = len(job.tasks)  # noqa: SLF001  the one module that makes jobs run
            for task in job.tasks:
                numbered = (self.submitted, task, job)
                self.submitted += 1
                if task.key is None:
                    heappush(self.ready, numbered)
                elif task.key in self.behind:
                    self.behind[task.key].append(numbered)
                else:
                    self.behind[task.key] = deque()
                    heappush(self.ready, numbered)
            self.wake_workers.notify(len(job.tasks))

    def work(self) -> None:
        while True:
            with self.lock:
                while not self.ready and not self.closing:
                    self.wake_workers.wait()
                if self.closing:
                    return
                _, task, job = heappop(self.ready)
            try:
                task.run(self.is_closing)
            except BaseException as error:  # noqa: BLE001  it is the consumer's
                task.error = error
            with self.lock:
                if self.closing:
                    return
                self._ended(task, job)
            del task, job  # an idle worker refers to no job

    def _ended(self, task: Task, job: Job[object]) -> None:
        if task.key is not None:
            behind = self.behind[task.key]
            if behind:
                heappush(self.ready, behind.popleft())
                self.wake_workers.notify()
            else:
                del self.behind[task.key]
        job._left -= 1  # noqa: SLF001
        if not job._left:  # noqa: SLF001
            self.wake_consumer.notify_all()

    def wait(self, job: Job[object]) -> None:
        with self.lock:
            while job._left and not self.closing:  # noqa: SLF001
                self.wake_consumer.wait()
            if self.closing:
                raise ClosedError("this iteration was closed: iterate over the loader again.")

    def close(self) -> None:
        with self.lock:
            self.closing = True
            self.ready.clear()
            self.behind.clear()
            self.wake_workers.notify_all()
            self.wake_consumer.notify_all()
            threads = list(self.threads)
        for thread in threads:
            if thread is not threading.current_thread():  # collected inside a worker
                thread.join()


class Prefetcher(Generic[T]):
    """Iterate over the values of `jobs`, whose tasks run in threads ahead of their turn.

    Parameters
    ----------
    jobs : iterator of Job
        Asked for the next job in the consumer's thread, when there is room for it.
    workers : int
        Threads; 0 runs each job's tasks inside `__next__`.
    depth : int
        Jobs taken and not delivered, at most; at least 1 is meant.

    Attributes
    ----------
    waited_s : float
        Seconds that `__next__` waited for tasks (or, without workers, ran them).
    """

    def __init__(self, jobs: Iterator[Job[T]], *, workers: int, depth: int) -> None:
        self.waited_s = 0.0
        self._jobs = jobs
        self._workers = workers
        self._depth = max(1, depth)
        self._flight: deque[Job[T]] = deque()
        self._exhausted = False  # no more jobs to take
        self._finished = False  # and the last one is delivered
        self._error: BaseException | None = None
        self._core = _Core()
        # At exit too: finalize objects run then, after the interpreter stops waiting for threads.
        self._finalizer = weakref.finalize(self, self._core.close)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """Return the value of the next job.

        Raises
        ------
        ClosedError
            `close` was called.
        BaseException
            What a task of the job, or the iterator of jobs, raised.
        """
        if self._finished:
            raise StopIteration
        if self._core.closing:
            raise ClosedError("this iteration was closed: iterate over the loader again.")
        if self._workers == 0:
            return self._next_here()
        self._top_up()
        if not self._flight:
            self._finished = True
            self.close()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise StopIteration
        job = self._flight[0]
        began = time.perf_counter()
        try:
            self._core.wait(job)  # type: ignore[arg-type]  a job of any value
        finally:
            self.waited_s += time.perf_counter() - began
        self._flight.popleft()  # only now: an interrupt while waiting loses nothing
        self._top_up()  # and not at the next call only: the slot is free while the consumer works
        return self._value(job)

    def close(self) -> None:
        """Drop what waits, tell what runs, join every thread; again does nothing."""
        self._flight.clear()
        self._finalizer()
        self._core.close()  # a second caller comes back only when the threads are gone, too

    def _next_here(self) -> T:
        began = time.perf_counter()
        try:
            job = next(self._jobs)
            for task in job.tasks:
                task.run(self._core.is_closing)
        except StopIteration:
            self._finished = True
            raise
        finally:
            self.waited_s += time.perf_counter() - began
        return job.value

    def _top_up(self) -> None:
        while not self._exhausted and len(self._flight) < self._depth:
            try:
                job = next(self._jobs)
            except StopIteration:
                self._exhausted = True
                return
            except Exception as error:  # noqa: BLE001  raised when its turn has come
                self._exhausted = True
                self._error = error
                return
            if len(self._core.threads) < self._workers:
                self._start()
            self._flight.append(job)
            self._core.submit(job)  # type: ignore[arg-type]  a job of any value

    def _start(self) -> None:
        for i in range(self._workers):
            thread = threading.Thread(target=self._core.work, name=f"headrace-{i}", daemon=True)
            thread.start()
            self._core.threads.append(thread)

    def _value(self, job: Job[T]) -> T:
        for task in job.tasks:
            if task.error is not None:
                raise task.error
        return job.value
