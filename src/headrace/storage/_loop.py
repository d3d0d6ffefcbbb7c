"""`ClientLoop`: an event loop whose clients have threads of their own, which exit waits for.

obstore delivers each answer from a thread of its runtime, which needs the interpreter's lock for
that. Before Python 3.14, a thread that asks for the lock when the interpreter has begun to end is
ended by force, and as obstore is no C, that aborts the process: after all is done, its exit code is
that of a crash.

Guarantees
----------
- When the interpreter exits, it first waits until no answer is being delivered, and no request that
  was cancelled is still known to its client; at most `_LONGEST_S`.
- Nothing waits for that while the program runs, and a forked process never waits for the threads
  of its parent.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
import weakref
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

__all__ = ["ClientLoop"]

Ts = TypeVarTuple("Ts")

_LONGEST_S: Final = 1.0
"""What is not delivered by then waits for something else than the processor. A guess."""

# Sets, because adding to one and discarding from it are single steps of the interpreter.
_deliveries: set[object] = set()
_requests: set[weakref.ref[asyncio.Future[Any]]] = set()
_ended: SimpleQueue[None] = SimpleQueue()
_exiting = False


def _forget(request: weakref.ref[asyncio.Future[Any]]) -> None:
    _requests.discard(request)
    if _exiting:
        _ended.put(None)


class ClientLoop(asyncio.SelectorEventLoop):
    """A loop for coroutines of obstore."""

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future: a client refers to that of a request until it is done with it."""
        future = super().create_future()
        _requests.add(weakref.ref(future, _forget))
        return future

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call a function in the loop's thread: so a client delivers an answer."""
        delivery = object()
        _deliveries.add(delivery)
        try:
            return super().call_soon_threadsafe(callback, *args, context=context)
        finally:
            _deliveries.discard(delivery)
            if _exiting:
                _ended.put(None)


def _wait_for_clients() -> None:
    global _exiting  # noqa: PLW0603  of the process
    _exiting = True
    deadline = time.monotonic() + _LONGEST_S
    if _requests:
        gc.collect()  # those in cycles are nobody's
    while _deliveries or _requests:
        try:
            _ended.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            return


def _forget_all() -> None:
    _deliveries.clear()
    _requests.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)

if sys.version_info < (3, 14):
    # At exit, finalizers run in the reverse order of their creation: this one behind those of all
    # fetchers.
    weakref.finalize(ClientLoop, _wait_for_clients)
