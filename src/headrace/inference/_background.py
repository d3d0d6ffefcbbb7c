"""`Background`: one thread that does what the model need not wait for.

Guarantees
----------
- Jobs run one at a time, in the order in which they are given.
- While there is no job for some seconds, `Background` calls a function again and again.
- The thread has ended when the ``with`` ends, also after an exception. Jobs that were given are
  done first, so that nothing already computed is lost.
"""

from __future__ import annotations

from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

__all__ = ["Background"]

T = TypeVar("T")


class Background:
    """A thread for writing results, looking for work, and renewing leases.

    Parameters
    ----------
    beat : callable
        Called every `beat_s` seconds, between jobs. What it raises is ignored: it writes hints.
    beat_s : float
        Seconds.
    """

    def __init__(self, beat: Callable[[], None], beat_s: float) -> None:
        self._beat, self._beat_s = beat, beat_s
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="headrace-results", daemon=True)

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run a function in the thread."""
        future: Future[T] = Future()
        self._jobs.put((job, future))
        return future

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        due = monotonic() + self._beat_s
        while True:
            try:
                item = self._jobs.get(timeout=max(0.0, due - monotonic()))
            except Empty:
                self._beat_quietly()
                due = monotonic() + self._beat_s
                continue
            if item is None:
                return
            job, future = item
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001  raised where the result is taken
                future.set_exception(error)
            del item, job, future
            if monotonic() >= due:
                self._beat_quietly()
                due = monotonic() + self._beat_s

    def _beat_quietly(self) -> None:
        try:
            self._beat()
        except Exception:  # noqa: BLE001  a hint; the thread must live on for the jobs
            return
