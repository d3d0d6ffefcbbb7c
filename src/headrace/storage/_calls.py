"""`Calls`: functions that block, called for an event loop in threads that nobody waits for.

Guarantees
----------
- **A thread lives for one call**, and has ended when the call returns. There are no idle threads.
- **Bounded.** A loop has at most `most` calls in progress. Further ones wait, and can be cancelled.
- **A call that is cancelled is given up.** No thread can be ended from outside, so its thread goes
  on until the function returns, counts as in progress until then, and what it returns is dropped.
  It keeps nothing but the function, its arguments and the loop.
- **Exit does not wait.** The threads are daemons: the interpreter ends though a function has not
  returned.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Calls"]

P = ParamSpec("P")
T = TypeVar("T")


class Calls:
    """Calls functions in threads; may be used by several loops, each in a thread of its own.

    Parameters
    ----------
    most : int
        Calls of one loop that may be in progress at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._of_thread = threading.local()

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns, or raise what it raises."""
        loop = asyncio.get_running_loop()
        places = self._places(loop)
        await places.acquire()
        answer: asyncio.Future[T] = loop.create_future()

        def finish(result: T | BaseException, *, failed: bool) -> None:
            thread.join()  # it ends: nothing comes after the call that brought this here
            places.release()
            if answer.done():  # cancelled
                return
            if failed:
                answer.set_exception(cast("BaseException", result))
            else:
                answer.set_result(cast("T", result))

        def run() -> None:
            result: T | BaseException
            try:
                result, failed = function(*args, **kwargs), False
            except BaseException as error:  # noqa: BLE001  raised where it is awaited
                result, failed = error, True
            with suppress(RuntimeError):  # the loop has been closed since
                loop.call_soon_threadsafe(lambda: finish(result, failed=failed))

        thread = threading.Thread(target=run, name="headrace-call", daemon=True)
        try:
            thread.start()
        except BaseException:
            places.release()
            raise
        return await answer

    def _places(self, loop: asyncio.AbstractEventLoop) -> asyncio.Semaphore:
        """Return the semaphore of the loop that runs in this thread."""
        known: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = getattr(
            self._of_thread, "known", None
        )
        if known is None or known[0] is not loop:
            known = self._of_thread.known = (loop, asyncio.Semaphore(self._most))
        return known[1]
