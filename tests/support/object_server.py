"""An object store on loopback: byte ranges, ETags, If-Match, S3's listing, and faults on request.

As `ObjectServer` it runs in a thread of the test. As a script it runs in a process of its own, for
benchmarks: ``python -m tests.support.object_server FOLDER --latency 0.05`` prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.loopback import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

REASONS = {
    200: "OK",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    method: str
    key: str
    query: str
    start: int
    stop: int
    number: int
    """How many requests there were before."""
    authorization: str = ""
    path: str = ""
    """As it was sent, encoded."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens instead of a good answer."""

    status: int = 0
    """Answer with this status, if it is not 0."""
    body: str = ""
    reset_after: int = -1
    """Close the connection after this many bytes of the body."""
    short_by: int = 0
    """Answer with a smaller range, and say so."""
    stall: bool = False
    """Answer nothing, until the server ends."""
    corrupt_etag: bool = False
    ignore_range: bool = False
    location: str = ""
    """With a status that redirects: where to."""
    hide_range: bool = False
    """Do not say which bytes are sent."""


@dataclass
class ObjectServer(LoopbackServer):
    """Serves objects of one bucket as ``/bucket/key``, path-style S3 or plain HTTP."""

    objects: dict[str, bytes | Path] = field(default_factory=dict)
    latency_s: float = 0.0
    fault: Callable[[Request], Fault | None] = lambda _: None
    etags: bool = True
    dates: bool = True
    bucket: str = "bucket"
    requests: list[Request] = field(default_factory=list)
    log: bool = True
    connections: int = 0
    most_connections: int = 0
    bytes_sent: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    stalled: threading.Event = field(default_factory=threading.Event)
    """Set when a request stalls."""

    def __post_init__(self) -> None:
        self._known_etags: dict[int, str] = {}

    def add(self, objects: Mapping[str, bytes]) -> None:
        self.objects.update(objects)

    def add_folder(self, folder: Path, prefix: str = "") -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.objects[prefix + path.relative_to(folder).as_posix()] = path

    @property
    def url(self) -> str:
        """Of the bucket, over plain HTTP."""
        return f"{self.endpoint}/{self.bucket}"

    @property
    def options(self) -> dict[str, object]:
        """What to give as ``store=`` to use ``s3://bucket/...``."""
        return {
            "endpoint": self.endpoint,
            "access_key_id": "AKIASECRETNAME",
            "secret_access_key": "verysecretword",
            "region": "us-east-1",
            "client_options": {"allow_http": True},
        }

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.most_connections = max(self.most_connections, self.connections)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connections -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")
        method, target, _ = line.split(" ")
        headers = {}
        for one in lines:
            name, _, value = one.partition(":")
            headers[name.lower()] = value.strip()
        url = urlsplit(target)
        key = unquote(url.path).lstrip("/").removeprefix(self.bucket).lstrip("/")
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if not key and "list-type" in url.query:
            self.counts["LIST"] += 1
            await self._send(writer, 200, self._listing(parse_qs(url.query)), method, {})
            return True
        return await self._object(method, key, url, headers, writer)

    async def _object(
        self,
        method: str,
        key: str,
        url: SplitResult,
        headers: dict[str, str],
        writer: asyncio.StreamWriter,
    ) -> bool:
        self.counts[method] += 1
        data = self._read(key)
        start, stop = 0, 0 if data is None else len(data)
        asked = "range" in headers
        if asked and data is not None:
            first, _, last = headers["range"].removeprefix("bytes=").partition("-")
            start = int(first) if first else max(0, stop - int(last))
            stop = min(stop, int(last) + 1) if first and last else stop
        authorization = headers.get("authorization", "")
        number = len(self.requests)
        request = Request(method, key, url.query, start, stop, number, authorization, url.path)
        if self.log:
            self.requests.append(request)
        fault = self.fault(request) or Fault()
        if fault.stall:
            self.stalled.set()
            await self._ended
        if fault.status:
            where = {"Location": fault.location} if fault.location else {}
            await self._send(writer, fault.status, fault.body.encode(), method, where)
            return True
        if data is None:
            await self._send(writer, 404, b"<Error><Code>NoSuchKey</Code></Error>", method, {})
            return True
        etag = self._etag(key, data) if not fault.corrupt_etag else '"another"'
        fields = {"Last-Modified": "Sun, 01 Nov 2026 10:00:00 GMT"} if self.dates else {}
        if self.etags:
            fields["ETag"] = etag
            if headers.get("if-match", etag) != etag:
                await self._send(writer, 412, b"<Error/>", method, {})
                return True
        if asked and start >= len(data):
            await self._send(writer, 416, b"", method, {})
            return True
        if asked and not fault.ignore_range:
            stop -= fault.short_by
            place = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
            fields |= {} if fault.hide_range else place
            await self._send(writer, 206, data[start:stop], method, fields, fault.reset_after)
        else:
            await self._send(writer, 200, data, method, fields, fault.reset_after)
        return fault.reset_after < 0

    def _read(self, key: str) -> memoryview | None:
        data = self.objects.get(key)
        if isinstance(data, Path):
            data = self.objects[key] = data.read_bytes()
        return None if data is None else memoryview(data)

    def _etag(self, key: str, data: memoryview) -> str:
        name = id(self.objects[key])
        if name not in self._known_etags:
            self._known_etags[name] = f'"{hashlib.sha1(data).hexdigest()}"'
        return self._known_etags[name]

    async def _send(
        self,
        writer: asyncio.StreamWriter,
        status: int,
        body: bytes | memoryview,
        method: str,
        fields: Mapping[str, str],
        reset_after: int = -1,
    ) -> None:
        head = f"HTTP/1.1 {status} {REASONS.get(status, 'X')}\r\nContent-Length: {len(body)}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(head.encode("latin-1") + b"\r\n")
        if method == "HEAD":
            body = b""
        if reset_after >= 0:
            writer.write(body[:reset_after])
            await writer.drain()
            writer.transport.abort()
            return
        self.bytes_sent += len(body)
        writer.write(body)
        await writer.drain()

    def _listing(self, query: Mapping[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        after = query.get("continuation-token", [""])[0]
        most = int(query.get("max-keys", ["1000"])[0])
        contents: list[str] = []
        folders: list[str] = []
        last = more = ""
        for key in sorted(self.objects):
            if not key.startswith(prefix) or key <= after:
                continue
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folder = prefix + rest.partition(delimiter)[0] + delimiter
                if folder not in folders:
                    folders.append(folder)
                continue
            if len(contents) == most:
                more = last
                break
            data = self._read(key)
            assert data is not None
            contents.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size>"
                f"<ETag>{escape(self._etag(key, data))}</ETag>"
                "<LastModified>2026-11-01T10:00:00.000Z</LastModified></Contents>"
            )
            last = key
        tail = f"<NextContinuationToken>{escape(more)}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0"?><ListBucketResult>'
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{tail}"
            + "".join(contents)
            + "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>"
                      for one in folders)
            + "</ListBucketResult>"
        ).encode()  # fmt: skip


def first_times(count: int, fault: Fault) -> Callable[[Request], Fault | None]:
    """Return a function for `ObjectServer.fault`: the first requests of each range fail."""
    seen: Counter[tuple[str, int]] = Counter()

    def decide(request: Request) -> Fault | None:
        seen[request.key, request.start] += 1
        return fault if seen[request.key, request.start] <= count else None

    return decide


def main(arguments: Iterable[str] | None = None) -> None:
    """Serve a folder until standard input has a line or ends, and print what was sent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--copies", type=int, default=1, help="of each file, in folders 0, 1, ...")
    options = parser.parse_args(None if arguments is None else list(arguments))
    server = ObjectServer(latency_s=options.latency, log=False)
    server.add_folder(options.folder)
    files = {key: Path(path).read_bytes() for key, path in server.objects.items()}  # type: ignore[arg-type]
    server.objects.clear()
    for copy in range(options.copies):
        for key, data in files.items():
            server.objects[key if options.copies == 1 else f"{copy:05}/{key}"] = data

    def started(port: int) -> None:
        print(port, flush=True)

    async def serve() -> None:
        serving = asyncio.ensure_future(server.serve(started))
        await asyncio.to_thread(sys.stdin.readline)  # the parent ends it by closing its pipe
        print({**server.counts, "bytes": server.bytes_sent}, flush=True)
        serving.cancel()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
