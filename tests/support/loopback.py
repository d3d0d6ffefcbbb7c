"""A server on loopback, in a thread of the test."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

__all__ = ["LoopbackServer"]


class LoopbackServer(ABC):
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
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started(self.port)
        await self._ended
        server.close()
        await asyncio.sleep(0)  # what has been accepted connects
        tasks = list(self._connections)
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # sockets are closed

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve_connection(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)

    @abstractmethod
    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection to its end, and close it."""
