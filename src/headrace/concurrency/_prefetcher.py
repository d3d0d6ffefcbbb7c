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
  before it. An interrupt (Ctrl-C) while waiting loses nothing; one at another place in `__next__`
  closes, so that no job is missed silently.
- **Stalls.** With `stall_s`, a task that gives no sign of life for so long is given up while the
  consumer waits: its thread is left to itself, another takes its place and runs the task's `retry`.
  Whatever the stalled call holds and writes to stays with it, and nobody joins its thread.
- **End.** After the last job, after `close`, when the prefetcher is collected and at the
  interpreter's exit, waiting tasks are dropped, running ones are told (by the `CancellationToken` that they
  are given), and every thread has been joined when that returns. Only a worker cannot join itself:
  where it is the one that closes, the threads end on their own. With `stall_s`, a thread that has
  not ended after so long is left behind. In a forked child, which has no such thread, all is over.

The collector, and a signal's handler, may run `close` in any thread between any two instructions.
So the consumer and `close` take no lock; what they say to the workers, and are told, are tokens in
`SimpleQueue`s, which cannot get lost between a look and a wait. `wake_workers` holds one for each
task in the inbox, and one for ever once we are closing; one in `wake_consumer` means "a job has
ended, or we are closing". The lock is among workers. They are daemon threads, so that an exit never
waits for them unasked, and refer to the core only, never to the `Prefetcher`, so that a dropped one
is collected. Nothing here assumes a GIL.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, TypeVar

from headrace.concurrency._forks import notify_forked_children
from headrace.concurrency._jobs import Job, Task
from headrace.concurrency._stalls import CancellationToken, StallWatch
from headrace.errors import ClosedError, TooManyFailuresError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from headrace.concurrency._stalls import RunningTask

__all__ = ["Prefetcher"]

T = TypeVar("T")

_BEGINS_S = 1.0
"""A thread that has been started begins to run in some microseconds; this is out of the air."""

_MANY = 64
"""Threads that are started for the asking."""

_LOOK_S = 1.0
"""A signal that comes between the interpreter's last look for one and a wait is seen only after the
wait; on Windows, one that comes in a wait without end is never seen. So no wait is without end."""

_MOST_STALLED = 64
"""Threads left behind, at most: so many reads do not stall where anything is left to read."""


@dataclass(slots=True, eq=False)
class _Pending:
    """How many of a job's tasks have not ended: all that a worker knows of the job."""

    left: int


_Ticket = tuple[Task, _Pending]


class _Core:
    """What workers and consumer share."""

    def __init__(self, name: str, stall_s: float | None) -> None:
        self.name = name
        self.watch: StallWatch[_Ticket] | None = None if stall_s is None else StallWatch(stall_s)
        self.stalled = 0
        self.inbox: deque[_Ticket] = deque()  # the oldest task first
        self.wake_workers: SimpleQueue[None] = SimpleQueue()
        self.wake_consumer: SimpleQueue[None] = SimpleQueue()
        self.lock = threading.Lock()
        self.behind: dict[Hashable, deque[_Ticket]] = {}  # per running key, what waits for it
        self.is_closing = CancellationToken()
        self.threads: list[threading.Thread] = []
        notify_forked_children(self)

    def forked(self) -> None:
        self.is_closing.flag[0] = 1
        self.threads = []

    @property
    def closing(self) -> bool:
        return self.is_closing()

    def submit(self, tasks: Sequence[Task]) -> _Pending:
        pending = _Pending(len(tasks))
        for task in tasks:
            self.inbox.append((task, pending))
            self.wake_workers.put(None)
        return pending

    def work(self, begun: threading.Event, ticket: _Ticket | None) -> None:
        begun.set()
        while ticket := ticket or self._take():
            running = self.watch and self.watch.begin(ticket, self.is_closing)
            task, pending = ticket
            error: BaseException | None = None
            made = None
            try:
                made = task.run(running.closing if running else self.is_closing)
            except BaseException as caught:  # noqa: BLE001  it is the consumer's
                error = caught
            if self.watch and running and not self.watch.end(running):
                return  # another thread has taken this one's place
            try:
                if task.then is not None and error is None:
                    task.then(made)
            except BaseException as caught:  # noqa: BLE001
                error = caught
            task.error = error
            # Before the consumer hears of it: what the task wrote to is the consumer's alone.
            task.run, task.then, task.retry = _spent, None, None
            key = task.key
            del task, made, error, running
            # What waited for the key is older than all in the inbox.
            ticket = self._ended(key, pending)

    def _take(self) -> _Ticket | None:
        """Return the oldest task that can run; None when closing."""
        while True:
            self.wake_workers.get()
            with self.lock:
                if self.closing:
                    self.wake_workers.put(None)  # for the next worker
                    return None
                ticket = self.inbox.popleft()
                key = ticket[0].key
                if key is None:
                    return ticket
                if key not in self.behind:
                    self.behind[key] = deque()
                    return ticket
                ticket[0].chained = True
                self.behind[key].append(ticket)

    def _ended(self, key: Hashable, pending: _Pending) -> _Ticket | None:
        """Return what waited for the key, if anything did."""
        with self.lock:
            pending.left -= 1
            if not pending.left and self.wake_consumer.empty():
                self.wake_consumer.put(None)
            if key is None or self.closing:
                return None
            if self.behind[key]:
                return self.behind[key].popleft()
            del self.behind[key]
            return None

    def wait(self, pending: _Pending) -> None:
        while pending.left and not self.closing:
            look_s = _LOOK_S if self.watch is None else min(_LOOK_S, self.watch.patience())
            try:  # noqa: SIM105  no call where `Empty` is handled: a Ctrl-C in it would show both
                self.wake_consumer.get(timeout=look_s)
            except Empty:
                pass
            for running in () if self.watch is None else self.watch.overdue():
                try:
                    self._replace(running)
                except BaseException:  # an interrupt: the task may be in nobody's hands
                    self.close()
                    raise

    def _replace(self, running: RunningTask[_Ticket]) -> None:
        """Give up a task: another thread takes its place, and runs what there is to run instead."""
        assert self.watch is not None
        task, _ = running.ticket
        if task.retry is None or not self.watch.give_up(running):
            return
        self.stalled += 1
        if self.stalled > _MOST_STALLED:
            raise TooManyFailuresError(
                f"{self.stalled} reads have not come back after {self.watch.timeout_s} s each: "
                "is the disk or network that the recordings are on there?"
            )
        task.run = task.retry(running.closing)
        self.threads.remove(running.thread)
        self.start(running.ticket)

    def start(self, ticket: _Ticket | None = None) -> None:
        """Start a worker, which runs `ticket` first."""
        begun = threading.Event()
        name = f"{self.name}-{len(self.threads) + self.stalled}"
        thread = threading.Thread(target=self.work, args=(begun, ticket), name=name, daemon=True)
        try:
            thread.start()
        except BaseException:  # an interrupt, which may come after the thread has begun
            if begun.wait(_BEGINS_S):
                self.threads.append(thread)
            raise
        self.threads.append(thread)

    def close(self) -> None:
        self.is_closing.flag[0] = 1
        self.wake_workers.put(None)
        self.wake_consumer.put(None)
        if threading.current_thread() in self.threads:
            return  # and the others may need this one's lock to end
        end = None if self.watch is None else time.monotonic() + self.watch.timeout_s
        for thread in list(self.threads):
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        self.inbox.clear()
        self.behind.clear()


class Prefetcher(Generic[T]):
    """Iterate over the values of `jobs`, whose tasks run in threads ahead of their turn.

    Parameters
    ----------
    jobs : iterator of Job
        Asked for the next job in the consumer's thread, when there is room for it.
    workers : int
        Threads; of more than `_MANY` only as many are started as there are tasks for. 0 runs each
        job's tasks inside `__next__`.
    depth : int
        Jobs taken and not delivered, at most; at least 1 is meant.
    name : str
        What the threads' names begin with.
    stall_s : float, optional
        Seconds without a sign of life after which a task is given up; needs workers.

    Attributes
    ----------
    waited_s : float
        Seconds that `__next__` waited for tasks (or ran them).
    chained : int
        Tasks of the jobs delivered that waited for another of their key.
    """

    def __init__(
        self,
        jobs: Iterator[Job[T]],
        *,
        workers: int,
        depth: int,
        name: str = "headrace",
        stall_s: float | None = None,
    ) -> None:
        self.waited_s = 0.0
        self.chained = 0
        self._jobs = jobs
        self._workers = workers
        self._depth = max(1, depth)
        self._flight: deque[tuple[Job[T], _Pending]] = deque()
        self._exhausted = False  # no more jobs to take
        self._finished = False  # and the last one is delivered
        self._error: BaseException | None = None
        self._core = _Core(name, stall_s)
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
        if self._workers == 0:
            return self._next_here()
        flight = self._flight
        self._top_up(flight, self._depth)
        if not flight and not self._core.closing:
            self._finished = True
            self.close()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            raise StopIteration
        began = time.perf_counter()
        try:
            if flight:
                self._core.wait(flight[0][1])
        finally:
            self.waited_s += time.perf_counter() - began
        self._refuse_closed()
        # Not at the next call only: the job's place is free while the consumer works with it.
        self._top_up(flight, self._depth + 1)
        job, _ = flight.popleft()  # last: an interrupt before it loses nothing
        return self._value(job)

    @property
    def ready(self) -> bool:
        """Whether the next job has ended: `__next__` would not wait for it."""
        flight = self._flight
        return bool(flight) and not flight[0][1].left

    def close(self) -> None:
        """Drop what waits, tell what runs, join every thread; again does nothing."""
        self._flight = deque()  # a new one: the consumer may be looking at the old one
        self._core.close()  # a second caller comes back only when the threads are gone, too
        self._finalizer.detach()

    def _refuse_closed(self) -> None:
        if self._core.closing:
            self.close()  # a thread may have been started since
            raise ClosedError(
                "this iteration was closed, or forked: iterate over the loader again."
            )

    def _next_here(self) -> T:
        self._refuse_closed()
        began = time.perf_counter()
        try:
            job = self._job_here()
        except Exception:
            self._finished = True
            raise
        except BaseException:  # an interrupt: the job, or the rest of them, may be lost
            self.close()
            raise
        finally:
            self.waited_s += time.perf_counter() - began
        self._refuse_closed()
        return self._value(job)

    def _job_here(self) -> Job[T]:
        job = next(self._jobs)
        for task in job.tasks:
            try:
                made = task.run(self._core.is_closing)
                if task.then is not None:
                    task.then(made)
            except Exception as error:  # noqa: BLE001  raised as a worker's would be
                task.error = error
                break
        return job

    def _top_up(self, flight: deque[tuple[Job[T], _Pending]], depth: int) -> None:
        try:
            while len(flight) < depth and not self._exhausted and not self._core.closing:
                self._take(flight)
        except BaseException:  # an interrupt: a job, or the rest of them, may be lost
            self.close()
            raise

    def _take(self, flight: deque[tuple[Job[T], _Pending]]) -> None:
        try:
            job = next(self._jobs)
        except StopIteration:
            self._exhausted = True
        except Exception as error:  # noqa: BLE001  raised when its turn has come
            self._exhausted = True
            self._error = error
        else:
            tasks = len(job.tasks) + sum(pending.left for _, pending in flight)
            while len(self._core.threads) < min(self._workers, max(_MANY, tasks)):
                self._core.start()
            flight.append((job, self._core.submit(job.tasks)))

    def _value(self, job: Job[T]) -> T:
        for task in job.tasks:
            self.chained += task.chained
            if isinstance(task.error, StopIteration):  # as itself, it would look like the end
                raise RuntimeError("a task raised StopIteration") from task.error  # noqa: TRY004
            if task.error is not None:
                raise task.error
        return job.value


def _spent(_closing: CancellationToken) -> None:
    """Stand for a task that has run."""
