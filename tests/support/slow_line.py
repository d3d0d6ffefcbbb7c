"""A line between a client and a server on loopback: latency, a bandwidth, breaks and stalls."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.loopback import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SlowLine"]

_PIECE = 16 << 10


@dataclass
class SlowLine(LoopbackServer):
    """Passes connections on to a port, answers as slowly as asked.

    Attributes
    ----------
    to_port : int
        Of the server.
    latency_s : float
        Seconds that each piece of a request is held back.
    bytes_per_s : float
        Of answers, for all connections together.
    breaks_after, stalls_after : callable
        Given the number of a connection, from 0 on: after how many bytes of its answers it is
        reset, or passes nothing more; -1 for never.
    """

    to_port: int
    latency_s: float = 0.0
    bytes_per_s: float = float("inf")
    breaks_after: Callable[[int], int] = lambda _: -1
    stalls_after: Callable[[int], int] = lambda _: -1
    connections: int = 0
    broken: int = 0
    stalled: int = 0
    bytes_passed: int = 0
    _free_at: float = 0.0

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        number = self.connections
        self.connections += 1
        upstream = None
        try:
            answers, upstream = await asyncio.open_connection("127.0.0.1", self.to_port)
            requests = asyncio.create_task(self._pass_requests(reader, upstream))
            try:
                await self._pass_answers(answers, writer, number)
            finally:
                requests.cancel()
                await asyncio.gather(requests, return_exceptions=True)
        except OSError:
            pass
        finally:
            writer.transport.abort()
            if upstream is not None:
                upstream.transport.abort()

    async def _pass_requests(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter
    ) -> None:
        while piece := await reader.read(_PIECE):
            await asyncio.sleep(self.latency_s)
            upstream.write(piece)
            await upstream.drain()
        upstream.write_eof()

    async def _pass_answers(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        passed = 0
        while piece := await answers.read(_PIECE):
            breaks, stalls = self.breaks_after(number), self.stalls_after(number)
            limits = [max(0, limit - passed) for limit in (breaks, stalls) if limit >= 0]
            piece = piece[: min(limits, default=len(piece))]
            await self._wait_for_line(len(piece))
            writer.write(piece)
            await writer.drain()
            passed += len(piece)
            self.bytes_passed += len(piece)
            if 0 <= stalls <= passed:
                self.stalled += 1
                await self._ended
                return
            if 0 <= breaks <= passed:
                self.broken += 1
                return

    async def _wait_for_line(self, count: int) -> None:
        """Wait until the line has passed all before these bytes."""
        now = self._loop.time()
        self._free_at = max(now, self._free_at) + count / self.bytes_per_s
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)
