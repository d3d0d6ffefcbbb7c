"""`Job`: a value that a `Prefetcher` delivers once all of the job's `Task`s have ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from headrace.concurrency._stalls import CancellationToken

__all__ = ["Job", "Task"]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Task:
    """A piece of work that runs in one thread.

    Attributes
    ----------
    run : callable
        Called once, with a `CancellationToken` that says whether to stop.
    key : hashable or None
        Tasks of the same key run one at a time, in order.
    on_result : callable or None
        Called with the result of `run`, in the same thread, unless the task was abandoned.
    retry : callable or None
        Called when the task has stalled and is abandoned, with the `CancellationToken` that `run`
        was given. Returns the function to run instead of `run`. That function must not write to
        anything that the stalled `run` may still write to. Without `retry`, a task is never
        abandoned.
    error : BaseException or None
        The exception that `run` or `on_result` raised.
    chained : bool
        Whether a worker was free for the task before an earlier task of its key had ended.
    """

    run: Callable[[CancellationToken], Any]
    key: Hashable = None
    on_result: Callable[[Any], None] | None = None
    retry: Callable[[CancellationToken], Callable[[CancellationToken], Any]] | None = None
    error: BaseException | None = field(default=None, init=False)
    chained: bool = field(default=False, init=False)


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """A value, and the tasks that must end before it is delivered."""

    value: T
    tasks: Sequence[Task]
