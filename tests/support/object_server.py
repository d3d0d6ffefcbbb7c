"""An object store on loopback: byte ranges, ETags, If-Match, S3's listing, and faults on request.

Google's store is asked in the same way. Objects are put and deleted, too; conditions are those of a
put that creates.

As `ObjectServer` it runs in a thread of the test. As a script it runs in a process of its own, for
benchmarks: ``python -m tests.support.object_server FOLDER --latency 0.05`` prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
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
    201: "Created",
    202: "Accepted",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
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
    if_match: str = ""


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
    ignore_match: bool = False
    """Answer though the object is not the one that If-Match asks for."""
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
    status_if_none_matches: int = 404
    """Of an object that does not exist, and of which a version is asked for."""
    status_if_it_exists: int = 412
    status_of_lists: int = 200

    def __post_init__(self) -> None:
        self._known_etags: dict[int, tuple[object, str]] = {}

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
    def google_options(self) -> dict[str, object]:
        """What to give as ``store=`` to use ``gs://bucket/...``."""
        account = {"gcs_base_url": self.endpoint, "disable_oauth": True, "client_email": "me"}
        keys = {"private_key": "verysecretword", "private_key_id": "AKIASECRETNAME"}
        return {"service_account_key": json.dumps(account | keys)}

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
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET" and not key and url.query:
            self.counts["LIST"] += 1
            status = self.status_of_lists
            body = self._listing(parse_qs(url.query)) if status == 200 else b"<Error/>"
            await self._send(writer, status, body, method, {})
            return True
        if method in {"PUT", "DELETE", "POST"}:
            self.counts[method] += 1
            status, answer, fields = self._change(method, key, headers, body)
            await self._send(writer, status, answer, method, fields)
            return True
        return await self._object(method, key, url, headers, writer)

    def _change(
        self, method: str, key: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        """Put or delete an object; return status, body and fields of the answer."""
        if method == "DELETE":
            self.objects.pop(key, None)
            return 204, b"", {}
        creates = headers.get("if-none-match") == "*"
        creates |= headers.get("x-goog-if-generation-match") == "0"
        if creates and key in self.objects:
            return self.status_if_it_exists, b"<Error/>", {}
        self.objects[key] = body
        return 201, b"", {"ETag": self._etag(key, memoryview(body))}

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
        said = headers.get("authorization", ""), url.path, headers.get("if-match", "")
        request = Request(method, key, url.query, start, stop, len(self.requests), *said)
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
            status = self.status_if_none_matches if "if-match" in headers else 404
            await self._send(writer, status, b"<Error><Code>NoSuchKey</Code></Error>", method, {})
            return True
        etag = self._etag(key, data) if not fault.corrupt_etag else '"another"'
        fields = {"Last-Modified": "Sun, 01 Nov 2026 10:00:00 GMT"} if self.dates else {}
        if self.etags:
            fields["ETag"] = etag
            if headers.get("if-match", etag) != etag and not fault.ignore_match:
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
        content = self.objects[key]
        name = id(content)  # which is held, so that no other object gets this number
        if name not in self._known_etags:
            self._known_etags[name] = content, f'"{hashlib.sha1(data).hexdigest()}"'
        return self._known_etags[name][1]

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
        after = query.get("continuation-token", [""])[0]
        most = int(query.get("max-keys", ["1000"])[0])
        keys, folders, more = self._keys_in(query, after, most)
        contents = [
            f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>"
            f"<ETag>{escape(etag)}</ETag>"
            "<LastModified>2026-11-01T10:00:00.000Z</LastModified></Contents>"
            for key, size, etag in keys
        ]
        tail = f"<NextContinuationToken>{escape(more)}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0"?><ListBucketResult>'
            f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>{tail}"
            + "".join(contents)
            + "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>"
                      for one in folders)
            + "</ListBucketResult>"
        ).encode()  # fmt: skip

    def _keys_in(
        self, query: Mapping[str, list[str]], after: str, most: int
    ) -> tuple[list[tuple[str, int, str]], list[str], str]:
        """Return keys, sizes and ETags; folders; and the last key if there are more."""
        prefix = query.get("prefix", [""])[0]
        delimiter = query.get("delimiter", [""])[0]
        keys: list[tuple[str, int, str]] = []
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
            if len(keys) == most:
                more = last
                break
            data = self._read(key)
            assert data is not None
            keys.append((key, len(data), self._etag(key, data)))
            last = key
        return keys, folders, more


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
