"""`Job`: what a `Prefetcher` delivers, and the `Task`s that have to end before."""

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
    """A piece of work.

    Attributes
    ----------
    run : callable
        Called once, with a `CancellationToken` that tells whether to give up.
    key : hashable or None
        Tasks of the same key run in order, one at a time.
    then : callable or None
        Called with what `run` returned, unless the task was given up meanwhile.
    retry : callable or None
        Called when the task is given up, with the `CancellationToken` that `run` had: returns what is run in
        its place. It must write to nothing that `run` may still write to.
    chained : bool
        Whether a worker was free for it before another task of its key had ended.
    """

    run: Callable[[CancellationToken], Any]
    key: Hashable = None
    then: Callable[[Any], None] | None = None
    retry: Callable[[CancellationToken], Callable[[CancellationToken], Any]] | None = None
    error: BaseException | None = field(default=None, init=False)
    chained: bool = field(default=False, init=False)


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """What is delivered once all of its tasks have ended."""

    value: T
    tasks: Sequence[Task]
