"""A server on loopback, in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["LoopbackServer"]


class LoopbackServer:
    """Serves connections to a free port: `_serve_connection`, which a subclass has, is called.

    Attributes
    ----------
    port : int
        Where it listens, as soon as it runs.
    """

    @property
    def endpoint(self) -> str:
        """Its address, as a URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name=type(self).__name__)
        self._thread.start()
        assert ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set_result, None)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self.serve(lambda _: ready.set()))

    async def serve(self, started: Callable[[int], None]) -> None:
        """Serve until the ``with`` block ends; call `started` with the port."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started(self.port)
        await self._ended
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve_connection(reader, writer)
        except asyncio.CancelledError:
            pass  # the server ends
        finally:
            self._tasks.discard(task)

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection to its end, and close it."""
        raise NotImplementedError
