"""Tasks whose heartbeat stops: they are abandoned, and everything else goes on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from headrace.concurrency._jobs import Job, Task
from headrace.concurrency._prefetcher import Prefetcher
from headrace.concurrency._stalls import StallWatch
from headrace.errors import TooManyFailuresError
from tests.support.deliveries import our_threads

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    from headrace.concurrency._stalls import CancellationToken

PATIENCE_S = 20
"""After this many seconds, a wait that should have ended fails the test instead of hanging."""

TIMEOUT_S = 1.0
"""No other task takes so long, even on a busy machine: for tests in which other tasks succeed."""

SHORT_TIMEOUT_S = 0.15
"""For tests with only one task."""


def stalling(free: threading.Event) -> Callable[[CancellationToken], str]:
    """Return a task without a heartbeat, which ends once `free` is set."""

    def run(_token: CancellationToken) -> str:
        assert free.wait(PATIENCE_S)
        return "late"

    return run


def test_the_result_of_an_abandoned_task_is_dropped() -> None:
    """The result of its `retry` counts, once, and later tasks of its key follow in order."""
    free = threading.Event()
    log: list[tuple[int, str]] = []

    def job(number: int) -> Job[int]:
        run = stalling(free) if number in {1, 4} else lambda _: "run"
        task = Task(
            run,
            key="one",
            on_result=lambda result: log.append((number, result)),
            retry=lambda _: lambda _: "retry",
        )
        return Job(number, [task])

    prefetcher = Prefetcher(map(job, range(6)), workers=2, depth=3, stall_timeout_s=TIMEOUT_S)
    assert list(prefetcher) == list(range(6))
    stuck = our_threads()
    free.set()
    for thread in stuck:
        thread.join(PATIENCE_S)

    assert len(stuck) == 2
    assert log == [(i, "retry" if i in {1, 4} else "run") for i in range(6)]


def test_a_task_with_a_heartbeat_is_not_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task may take any time as long as its heartbeat changes between two checks."""
    checks = 0
    heartbeat: array[int] | None = None
    enough = threading.Event()
    find_stalled = StallWatch.find_stalled

    def check(self: StallWatch[Any]) -> list[Any]:
        nonlocal checks
        if heartbeat is not None:
            checks += 1
            heartbeat[1] += 1
            if checks == 3:
                enough.set()
        return find_stalled(self)

    def run(token: CancellationToken) -> str:
        nonlocal heartbeat
        heartbeat = token.heartbeat
        assert enough.wait(PATIENCE_S)
        return "run"

    monkeypatch.setattr(StallWatch, "find_stalled", check)
    results: list[str] = []
    task = Task(run, on_result=results.append, retry=lambda _: lambda _: "retry")
    assert list(
        Prefetcher(iter([Job(0, [task])]), workers=1, depth=1, stall_timeout_s=SHORT_TIMEOUT_S)
    ) == [0]
    assert results == ["run"]
    assert checks >= 3


def test_too_many_threads_left_behind_end_the_iteration() -> None:
    """If no read returns any more, it raises instead of starting threads without end."""
    free = threading.Event()

    def retry(_token: CancellationToken) -> Callable[[CancellationToken], str]:
        return stalling(free)

    job = Job(0, [Task(stalling(free), retry=retry)])
    prefetcher = Prefetcher(iter([job]), workers=1, depth=1, stall_timeout_s=0.005)
    with pytest.raises(TooManyFailuresError, match="65 reads did not return"):
        next(prefetcher)
    free.set()
    for thread in our_threads():
        thread.join(PATIENCE_S)
