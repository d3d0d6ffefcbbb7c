"""`AssignedParts`: makes the parts that a scheduler assigns to this process.

Guarantees
----------
- The model is called by one thread at a time, whichever threads assign parts.
- While a part is made, the loader reads ahead for those that are assigned after it. Threads run
  only while parts are assigned; `AssignedParts.close` waits until they have ended.
- `AssignedParts.make` returns when its part is in the results' folder, or raises what kept it from
  being made. After an error, the parts that were assigned and not made raise the same error.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    from headrace.inference._apply import Application
    from headrace.inference._parts import Part, PartName
    from headrace.inference._work import Claim

__all__ = ["AssignedParts", "PartCounts"]


@dataclass(frozen=True, slots=True)
class PartCounts:
    """How many windows a part has results for, and how many it has causes for.

    Attributes
    ----------
    written, failed : int
        Windows. Both are 0 if another process had made the part.
    """

    written: int = 0
    failed: int = 0


class AssignedParts:
    """A source of claims that other threads fill.

    Parameters
    ----------
    application : Application
        Opened.
    retry_failed : bool or None
        As in `Windows.apply`.

    Attributes
    ----------
    total, done : int
        Windows of the run, and those of the parts that were made here.
    """

    def __init__(self, application: Application, *, retry_failed: bool | None) -> None:
        self._application = application
        self._work = application.work(retry_failed=retry_failed)
        self.total = self._work.total
        self.done = 0
        self._lock = Lock()
        self._assigned: deque[PartName] = deque()
        self._results: dict[PartName, Future[PartCounts]] = {}
        self._thread: Thread | None = None  # the newest
        self._running = False

    def make(self, name: PartName) -> PartCounts:
        """Make a part; may be called by several threads at once. Waits until it is made."""
        with self._lock:
            result = self._results[name] = Future()
            self._assigned.append(name)
            if not self._running:
                self._running = True
                self._thread = Thread(target=self._run, name="headrace-model", daemon=True)
                self._thread.start()
        return result.result()

    def close(self) -> None:
        """Wait until the parts that were assigned are made, and the threads have ended."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def claim(self) -> Claim | None:
        """Return the next part that was assigned, or None if there is none now."""
        while True:
            with self._lock:
                if not self._assigned:
                    return None
                name = self._assigned.popleft()
            claim = self._work.claim_part(name)
            if claim is not None:
                return claim
            self._finish(name, PartCounts())

    def mark_done(self, part: Part) -> None:
        """Let `make` return."""
        self.done += part.name.stop - part.name.begin
        self._finish(part.name, PartCounts(part.written, part.failed))

    def _finish(self, name: PartName, counts: PartCounts) -> None:
        with self._lock:
            result = self._results.pop(name)
        result.set_result(counts)

    def _run(self) -> None:
        while True:
            try:
                while (first := self.claim()) is not None:
                    self._application.make_parts(self, first, lambda *_: None)
            except BaseException as error:  # noqa: BLE001  raised by `make`
                self._application.release_leases()
                with self._lock:
                    self._assigned.clear()
                    failed, self._results = self._results, {}
                    self._running = False
                for result in failed.values():
                    result.set_exception(error)
                return
            with self._lock:
                if not self._assigned:
                    self._running = False
                    return
