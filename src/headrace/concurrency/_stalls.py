"""`StallWatch`: which running tasks have given no sign of life for too long.

Guarantees
----------
- A task is ended once, by the thread that runs it or by whoever gives it up. The two may come at
  the same moment; `RunningTask.end` tells one of them that it was the first.
- A task that was given up is told so, by its `CancellationToken`; nothing waits for its thread.
- Nobody is woken to look: the consumer looks when it waits, and knows when to look next.
"""

from __future__ import annotations

import threading
import time
from array import array
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CancellationToken", "RunningTask", "StallWatch"]

T = TypeVar("T")

_LEAST_S: Final = 1e-3
"""The shortest wait for a task that is about to be overdue."""

_NOTHING: Final = 0xFFFFFFFF


class CancellationToken:
    """Tells a task whether to give up: called from Python, or read as a byte from native code.

    Attributes
    ----------
    flag : bytearray
        One byte: 0, or 1 once nobody waits for any result any more.
    beat : array of unsigned int, or None
        Where somebody watches: 1 once nobody waits for this task's result any more; a number that
        changes as long as the task is alive, or is `_NOTHING` while nobody need watch; and what it
        works on (reader.h's Heartbeat).
    """

    __slots__ = ("beat", "flag")

    def __init__(self, flag: bytearray | None = None, beat: array[int] | None = None) -> None:
        self.flag = bytearray(1) if flag is None else flag
        self.beat = beat

    def __call__(self) -> bool:
        """Return whether to give up."""
        return bool(self.flag[0]) or (self.beat is not None and bool(self.beat[0]))

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """Do what may take any time, because it is no read: a user's function."""
        if self.beat is None:
            yield
            return
        self.beat[1] = _NOTHING
        try:
            yield
        finally:
            self.beat[1] = 0

    @property
    def subject(self) -> int | None:
        """What the task works on, if it has said so."""
        return None if self.beat is None or self.beat[2] == _NOTHING else self.beat[2]


class RunningTask(Generic[T]):
    """A task in a thread.

    Attributes
    ----------
    ticket
        The task.
    closing : Closing
        What it is told by.
    thread : Thread
        Which runs it.
    """

    __slots__ = ("_ends", "closing", "pulse", "since", "thread", "ticket")

    def __init__(self, ticket: T, closing: CancellationToken) -> None:
        self.ticket = ticket
        self.closing = CancellationToken(closing.flag, array("I", [0, 0, _NOTHING]))
        self.thread = threading.current_thread()
        self.pulse = 0
        self.since = time.monotonic()
        self._ends: Iterator[int] = count()

    def end(self) -> bool:
        """Return whether nobody has ended it before: next() is one step, whatever thread."""
        return next(self._ends) == 0


class StallWatch(Generic[T]):
    """Looks after running tasks.

    Parameters
    ----------
    timeout_s : float
        Seconds without a sign of life after which a task is overdue.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._running: dict[threading.Thread, RunningTask[T]] = {}

    def begin(self, ticket: T, closing: CancellationToken) -> RunningTask[T]:
        """Note that this thread begins to run a task."""
        running = RunningTask(ticket, closing)
        self._running[running.thread] = running
        return running

    def end(self, running: RunningTask[T]) -> bool:
        """Note that it has ended; return False if it had been given up."""
        if running.end():
            del self._running[running.thread]
            return True
        return False

    def give_up(self, running: RunningTask[T]) -> bool:
        """Give a task up; return False if it has just ended."""
        if running.end():
            beat = running.closing.beat
            assert beat is not None
            beat[0] = 1
            del self._running[running.thread]
            return True
        return False

    def overdue(self) -> list[RunningTask[T]]:
        """Return what has given no sign of life for too long, taking note of those that have."""
        now = time.monotonic()
        late = []
        for running in list(self._running.values()):
            beat = running.closing.beat
            assert beat is not None
            if beat[1] != running.pulse or beat[1] == _NOTHING:
                running.pulse, running.since = beat[1], now
            elif now - running.since >= self.timeout_s:
                late.append(running)
        return late

    def patience(self) -> float:
        """Return the seconds until something may be overdue."""
        first = min((running.since for running in list(self._running.values())), default=None)
        if first is None:
            return self.timeout_s
        return max(_LEAST_S, first + self.timeout_s - time.monotonic())
