"""`StallWatch` finds running tasks whose heartbeat has stopped.

Guarantees
----------
- **Ended once.** A task is ended either by the thread that runs it or by the thread that abandons
  it. If both try at the same moment, `RunningTask.claim_end` returns True to only one of them.
- **No waiting.** The `CancellationToken` of an abandoned task asks it to stop. Its
  thread is not waited for.
- **No watchdog thread.** The consumer checks while it waits, at the latest when the
  next check is due.
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

_MIN_WAIT_S: Final = 1e-3
"""The shortest wait before the next check. An arbitrary choice."""

_NONE: Final = 0xFFFFFFFF
"""As a heartbeat counter: the watch is paused. As the number of an item: none is reported yet."""


class CancellationToken:
    """Tells a task whether to stop: called from Python, or read as memory by native code.

    Attributes
    ----------
    flag : bytearray
        One byte: 0, or 1 once all tasks are asked to stop.
    heartbeat : array of unsigned int, or None
        None without a watch for stalls. Otherwise three numbers (``Heartbeat`` in reader.h): 1 once
        this task is abandoned, else 0; a counter that changes as long as the task makes progress,
        or `_NONE` while the watch is paused; and the number of the item that the task works on (a
        recording), or `_NONE`.
    """

    __slots__ = ("flag", "heartbeat")

    def __init__(self, flag: bytearray | None = None, heartbeat: array[int] | None = None) -> None:
        self.flag = bytearray(1) if flag is None else flag
        self.heartbeat = heartbeat

    def __call__(self) -> bool:
        """Return whether to stop."""
        return bool(self.flag[0]) or (self.heartbeat is not None and bool(self.heartbeat[0]))

    def begin_item(self, number: int) -> None:
        """Report the item that the task works on."""
        if self.heartbeat is not None:
            self.heartbeat[2] = number

    def beat(self) -> None:
        """Report progress."""
        if self.heartbeat is not None and self.heartbeat[1] != _NONE:
            self.heartbeat[1] = (self.heartbeat[1] + 1) & 0xFFFF

    @contextmanager
    def stall_watch_paused(self) -> Iterator[None]:
        """Pause the watch for stalls: a user's function may take any time."""
        if self.heartbeat is None:
            yield
            return
        self.heartbeat[1] = _NONE
        try:
            yield
        finally:
            self.heartbeat[1] = 0

    @property
    def working_on(self) -> int | None:
        """The number of the item that the task works on, if the task has reported it."""
        if self.heartbeat is None or self.heartbeat[2] == _NONE:
            return None
        return self.heartbeat[2]


class RunningTask(Generic[T]):
    """A task that runs in a thread.

    Attributes
    ----------
    task
        The task.
    token : CancellationToken
        The task's own token, with a heartbeat.
    thread : Thread
        The thread that runs the task.
    last_heartbeat : int
        The heartbeat's counter at the last check.
    alive_at : float
        When the counter was last seen to change, by `time.monotonic`, in seconds.
    """

    __slots__ = ("_end_claims", "alive_at", "last_heartbeat", "task", "thread", "token")

    def __init__(self, task: T, token: CancellationToken) -> None:
        self.task = task
        self.token = CancellationToken(token.flag, array("I", [0, 0, _NONE]))
        self.thread = threading.current_thread()
        self.last_heartbeat = 0
        self.alive_at = time.monotonic()
        self._end_claims: Iterator[int] = count()

    def claim_end(self) -> bool:
        """Return True to the first caller and False to every other: `next` is atomic."""
        return next(self._end_claims) == 0


class StallWatch(Generic[T]):
    """Records the running tasks and finds those that have stalled.

    Parameters
    ----------
    timeout_s : float
        Seconds without a heartbeat after which a task counts as stalled.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._running: dict[threading.Thread, RunningTask[T]] = {}

    def begin(self, task: T, token: CancellationToken) -> RunningTask[T]:
        """Record that this thread begins to run a task."""
        running = RunningTask(task, token)
        self._running[running.thread] = running
        return running

    def end(self, running: RunningTask[T]) -> bool:
        """Record that a task has ended. Return False if it was abandoned before."""
        if running.claim_end():
            del self._running[running.thread]
            return True
        return False

    def abandon(self, running: RunningTask[T]) -> bool:
        """Abandon a task and ask it to stop. Return False if it has just ended."""
        if running.claim_end():
            heartbeat = running.token.heartbeat
            assert heartbeat is not None
            heartbeat[0] = 1
            del self._running[running.thread]
            return True
        return False

    def find_stalled(self) -> list[RunningTask[T]]:
        """Check all heartbeats and return the tasks that have stalled."""
        now = time.monotonic()
        stalled = []
        for running in list(self._running.values()):
            heartbeat = running.token.heartbeat
            assert heartbeat is not None
            if heartbeat[1] != running.last_heartbeat or heartbeat[1] == _NONE:
                running.last_heartbeat, running.alive_at = heartbeat[1], now
            elif now - running.alive_at >= self.timeout_s:
                stalled.append(running)
        return stalled

    def seconds_to_next_check(self) -> float:
        """Return the seconds until a task can have stalled."""
        oldest = min((running.alive_at for running in list(self._running.values())), default=None)
        if oldest is None:
            return self.timeout_s
        return max(_MIN_WAIT_S, oldest + self.timeout_s - time.monotonic())
