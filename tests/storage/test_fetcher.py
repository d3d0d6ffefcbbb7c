import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import SimpleNamespace

import pytest
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from headrace.storage import Fetcher, Stores, _fetcher, object_key
from headrace.storage._calls import Calls
from tests.support.object_server import Fault, ObjectServer, Request, first_times

DATA = os.urandom(300_000)
URL = "s3://bucket/a/x.wav"


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    """Serve one object."""
    with ObjectServer({"a/x.wav": DATA}) as serving:
        yield serving


@pytest.fixture
def fetcher(server: ObjectServer) -> Iterator[Fetcher]:
    """Return a fetcher for the server, which has no faults."""
    server.fault = lambda _: None
    one = Fetcher(Stores(server.options), stall_timeout_s=10)
    yield one
    one.close()


def key(server: ObjectServer, url: str = URL) -> str:
    """Return the name of the object in a fetched store."""
    etag = server._etag("a/x.wav", memoryview(DATA))
    return object_key(url, len(DATA), etag)


@pytest.mark.parametrize("name", ["endpoint", "ENDPOINT", "aws_endpoint_url", "AWS_ENDPOINT"])
def test_an_endpoint_without_encryption_is_used_in_any_spelling(
    server: ObjectServer, name: str
) -> None:
    """Its name has several spellings; options of other endpoints do not hide it."""
    server.fault = lambda _: None
    options = {
        "metadata_endpoint": "https://127.0.0.1:1",
        name: server.endpoint,
        "region": "x",
        "skip_signature": "true",
    }
    fetcher = Fetcher(Stores(options), stall_timeout_s=10)
    assert fetcher.store.read(key(server), 1000, 5000) == DATA[1000:6000]
    fetcher.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429),
        Fault(status=500),
        Fault(status=503),
        Fault(reset_after=0),
        Fault(reset_after=1000),
        Fault(short_by=10),
    ],
)
def test_faults_that_pass_are_not_noticed(
    server: ObjectServer, fetcher: Fetcher, fault: Fault
) -> None:
    """Errors of a busy server, broken connections and short answers are tried again."""
    server.fault = first_times(2, fault)
    assert fetcher.store.read(key(server), 1000, 5000) == DATA[1000:6000]
    assert fetcher.counts.retries == 2


def test_a_server_that_has_answered_is_asked_for_longer(
    server: ObjectServer, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network may come back; a server that asks for time is there; a wrong address is neither."""
    monkeypatch.setattr(_fetcher, "_FIRST_WAIT_S", 1e-4)
    tries: list[int] = []
    faults = [
        Fault(status=500),  # nothing was answered yet
        Fault(status=503),
        Fault(status=500),  # the last request was given up
        Fault(),
        Fault(reset_after=0),
        Fault(reset_after=0),  # the last request was given up
        Fault(status=404),
        Fault(status=500),
    ]
    server.fault = lambda _: faults[len(tries)]
    while len(tries) < len(faults):
        before = fetcher.counts.requests
        fetcher.store.read(key(server), 36_000 * len(tries), 10)
        tries.append(fetcher.counts.requests - before)
    few, many = 6, 9
    assert tries == [few, many, few, 1, many, few, 1, many]


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        (Fault(status=403, body="https://x/?sig=secret"), "PERMISSION", "HTTP status 403"),
        (Fault(status=404), "MISSING", "does not exist"),
        (Fault(status=400), "IO", "HTTP status 400, Bad Request"),
        (Fault(status=301), "IO", "in another region: set AWS_REGION"),
        (
            Fault(status=403, body="<Code>RequestTimeTooSkewed</Code>"),
            "PERMISSION",
            "set the clock",
        ),
        (
            Fault(status=403, body="<Code>InvalidObjectState</Code>secret"),
            "UNSUPPORTED",
            "in cold storage, such as S3 Glacier: restore it",
        ),
        (Fault(corrupt_etag=True), "CHANGED", "scan again"),
        (Fault(corrupt_etag=True, ignore_match=True), "CHANGED", "scan again"),
        (Fault(ignore_range=True), "UNSUPPORTED", "byte ranges"),
        (Fault(hide_range=True), "UNSUPPORTED", "does not say which bytes"),
        (Fault(status=302, location="?again=secret"), "IO", "redirects without an end"),
    ],
)
def test_faults_that_stay_have_their_codes(
    server: ObjectServer, fetcher: Fetcher, fault: Fault, code: str, words: str
) -> None:
    """Other faults are reported at once, by a sentence of our own without what the server said."""
    server.fault = lambda _: fault
    answer = fetcher.store.read(key(server), 0, 10)
    assert isinstance(answer, tuple)
    assert answer[0] == code
    assert words in answer[1]
    assert "secret" not in answer[1]
    assert fetcher.counts.retries == 0


def test_credentials_may_come_from_a_provider(server: ObjectServer) -> None:
    """As for keys that stand in a file of AWS: a function of the user is asked for them."""
    server.fault = lambda _: None
    named = ("endpoint", "region", "client_options")
    options = {name: server.options[name] for name in named}
    given = {"access_key_id": "FROMPROVIDER", "secret_access_key": "x", "expires_at": None}
    fetcher = Fetcher(Stores({**options, "credential_provider": lambda: given}))
    assert fetcher.store.read(key(server), 0, 10) == DATA[:10]
    fetcher.close()
    assert "Credential=FROMPROVIDER/" in server.requests[-1].authorization


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_machine_without_credentials_is_told_so(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """What the service of a cloud machine answers is not taken for an answer of the store."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    server.fault = lambda _: Fault(status=status)
    named = ("endpoint", "region", "client_options")
    options = {name: server.options[name] for name in named}
    fetcher = Fetcher(Stores({**options, "metadata_endpoint": server.endpoint}))
    answer = fetcher.store.read(key(server), 0, 10)
    fetcher.close()
    assert isinstance(answer, tuple)
    assert answer[0] == "PERMISSION"
    assert "no credentials for the store were found" in answer[1]


def test_every_request_asks_for_the_version_of_the_scan(
    server: ObjectServer, fetcher: Fetcher
) -> None:
    """So that a server which knows If-Match sends no byte of another version."""
    server.requests.clear()
    fetcher.expect(key(server), 0, 10)
    fetcher.store.read(key(server), 200_000, 10)
    fetcher.store.read(key(server), 0, 10)
    etag = server._etag("a/x.wav", memoryview(DATA))
    assert [one.if_match for one in server.requests] == [etag, etag]


def test_a_store_that_is_busy_gets_fewer_requests(server: ObjectServer, fetcher: Fetcher) -> None:
    """Each 429 or 503 halves the requests in flight, down to eight; other errors do not."""
    left: list[int] = []
    server.fault = lambda _: Fault(status=left.pop()) if left else None
    for offset, statuses, limit in (
        (0, [500], 32),
        (100_000, [429], 16),
        (200_000, [503, 503, 503], 8),
    ):
        left += statuses
        assert fetcher.store.read(key(server), offset, 10) == DATA[offset : offset + 10]
        assert fetcher.limit == limit


def test_a_server_that_stalls_is_reported(server: ObjectServer) -> None:
    """A request without an answer ends after `stall_timeout_s`."""
    server.fault = lambda _: Fault(stall=True)
    fetcher = Fetcher(Stores(server.options), stall_timeout_s=0.2)
    answer = fetcher.store.read(key(server), 0, 10)
    fetcher.close()
    assert answer == ("STALLED", "the store did not answer within 0.2 s")


def test_an_address_that_nobody_serves_is_reported() -> None:
    """A refused connection is tried again, and then reported."""
    fetcher = Fetcher(Stores(), stall_timeout_s=1.0)  # the first try may take half of that
    answer = fetcher.store.read(object_key("http://127.0.0.1:1/x.wav", 10, None), 0, 10)
    fetcher.close()
    assert answer == ("IO", "the store's server refuses connections: check the address")


def test_a_server_without_an_address_is_reported() -> None:
    """A name that cannot be resolved is tried again, and then reported."""
    fetcher = Fetcher(Stores(), stall_timeout_s=1.0)  # the first try may take half of that
    host = "a" * 64 + ".invalid"  # no resolver asks for such a name
    answer = fetcher.store.read(object_key(f"http://{host}/x.wav", 10, None), 0, 10)
    fetcher.close()
    assert answer == (
        "IO",
        "the name of the store's server cannot be resolved: check the URL and the network",
    )


def test_close_does_not_wait_for_requests(server: ObjectServer, fetcher: Fetcher) -> None:
    """Readers and the thread end at once, though the server never answers."""
    server.stalled.clear()
    server.fault = lambda _: Fault(stall=True)
    fetcher.expect(key(server), 0, 100_000)
    results: list[object] = []
    reader = threading.Thread(target=lambda: results.append(fetcher.store.read(key(server), 5, 5)))
    reader.start()
    assert server.stalled.wait(30)
    fetcher.close()
    reader.join()
    assert results == [("IO", "the loader that fetches was closed")]


def test_requests_in_flight_are_limited(server: ObjectServer) -> None:
    """No more requests are sent than `fetches` allows."""
    server.fault = lambda _: None
    fetcher = Fetcher(Stores(server.options), fetches=3)
    name = key(server)
    for start in range(0, 300_000, 10_000):
        fetcher.expect(name, start, start + 5_000)
    for start in range(0, 300_000, 10_000):
        assert fetcher.store.read(name, start, 5_000) == DATA[start : start + 5_000]
    fetcher.close()
    # What a reader waits for goes beside the limit.
    assert fetcher.counts.most_in_flight <= 3 + 1


def test_announced_bytes_are_limited(server: ObjectServer) -> None:
    """No more is fetched ahead than `planned_bytes` allows, and all arrives in the end."""
    server.fault = lambda _: None
    fetcher = Fetcher(Stores(server.options), planned_bytes=25_000)
    name = key(server)
    for start in range(0, 300_000, 10_000):
        fetcher.expect(name, start, start + 10_000)
    for start in range(0, 300_000, 10_000):
        assert fetcher.store.read(name, start, 10_000) == DATA[start : start + 10_000]
        fetcher.release(name, start, start + 10_000)
    assert fetcher.store.held_bytes == 0
    fetcher.close()
    assert fetcher.store.most_held_bytes <= 25_000 + 10_000


def test_ranges_that_are_announced_again_and_again_arrive(server: ObjectServer) -> None:
    """Threads that announce, read and release the same ranges never wait for ever."""
    server.fault = lambda _: None
    fetcher = Fetcher(Stores(server.options), planned_bytes=30_000, fetches=2)
    name = key(server)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for step in range(60):
            start = 10_000 * ((seed * step) % 7)
            fetcher.expect(name, start, start + 10_000)
            if fetcher.store.read(name, start, 10_000) != DATA[start : start + 10_000]:
                wrong.append(start)
            fetcher.release(name, start, start + 10_000)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    fetcher.close()
    assert not wrong
    assert fetcher.store.held_bytes == 0


class HeldFiles:
    """A file system like those of fsspec, whose answers wait for `gate`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.asked: SimpleQueue[int] = SimpleQueue()

    def _strip_protocol(self, url: str) -> str:
        return url.partition("://")[2]

    def info(self, key: str) -> dict[str, object]:
        return {"name": key, "size": len(DATA), "ETag": "1"}

    def cat_file(self, _key: str, start: int, end: int) -> bytes:
        self.asked.put(start)
        assert self.gate.wait(30)
        return DATA[start:end]


def test_a_reader_gets_bytes_whose_announcement_has_ended() -> None:
    """Who waits for a range that another one announced and released is not left waiting."""
    files = HeldFiles()
    fetcher = Fetcher(Stores(files), fetches=1)
    name = object_key("held://shelf/x.wav", len(DATA), "ETag 1")
    fetcher.expect(name, 0, 1000)
    fetcher.expect(name, 5000, 6000)
    assert files.asked.get(timeout=30) == 0
    results: list[object] = []
    reader = threading.Thread(target=lambda: results.append(fetcher.store.read(name, 5000, 10)))
    reader.start()
    assert files.asked.get(timeout=30) == 5000  # because the reader waits
    fetcher.release(name, 5000, 6000)
    fetcher.run(asyncio.sleep(0))  # the loop has heard of it
    files.gate.set()
    reader.join(30)
    fetcher.close()
    assert results == [DATA[5000:5010]]
    assert not fetcher._core._planned_bytes.keys() - {(name, 0)}  # its room is free again


def test_a_request_that_is_cancelled_makes_room_for_others() -> None:
    """What was announced is fetched though the requests before it were given up."""
    files = HeldFiles()
    fetcher = Fetcher(Stores(files), fetches=1)
    name = object_key("held://shelf/x.wav", len(DATA), "ETag 1")
    fetcher.expect(name, 0, 1000)
    fetcher.expect(name, 5000, 6000)
    assert files.asked.get(timeout=30) == 0
    fetcher.release(name, 0, 1000)
    assert files.asked.get(timeout=30) == 5000
    files.gate.set()
    fetcher.close()
    for one in threading.enumerate():  # given up, so nobody waits for them
        if one.name == "headrace-call":
            one.join(30)


def test_signed_urls_are_used_and_not_shown(server: ObjectServer) -> None:
    """The query of a URL reaches the server, and nothing else."""
    server.fault = lambda _: None
    stores = Stores()
    from headrace.storage import parse_url

    url = parse_url(f"{server.url}/a/x.wav?X-Sig=secretword")
    stores.remember_secrets(url)
    fetcher = Fetcher(stores)
    assert fetcher.store.read(key(server, url.text), 0, 5) == DATA[:5]
    fetcher.close()
    assert server.requests[-1].query == "X-Sig=secretword"
    assert "secretword" not in repr(stores) + repr(url) + repr(stores.locate(url.text))


def test_fsspec_file_systems_are_accepted() -> None:
    """A store that obstore does not know is read through fsspec."""
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe_file("/shelf/x.wav", DATA)
    fetcher = Fetcher(Stores(files))
    info = fetcher.run(Stores(files).locate("memory://shelf/x.wav")[0].info("/shelf/x.wav"))
    name = object_key("memory://shelf/x.wav", info.size, info.version)
    assert fetcher.store.read(name, 100, 50) == DATA[100:150]
    fetcher.close()
    files.rm("/shelf", recursive=True)


class _Blocking(AbstractFileSystem):  # type: ignore[misc]  # untyped
    """A file system whose reads block until they are let go."""

    protocol = "blocking"
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()
        self.ended = threading.Event()

    def info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "size": len(DATA), "type": "file", "mtime": 1}

    def cat_file(self, path: str, start: int, end: int, **_: object) -> bytes:
        del path
        self.begun.release()
        self.let_go.wait()
        self.ended.set()
        return DATA[start:end]


class _Waiting(AsyncFileSystem):  # type: ignore[misc]
    """A file system whose coroutines wait until they are cancelled."""

    protocol = "waiting"
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.ended = threading.Event()

    async def _info(self, path: str, **_: object) -> dict[str, object]:
        return {"name": path, "size": len(DATA), "type": "file", "mtime": 1}

    async def _cat_file(self, *_: object, **__: object) -> bytes:
        self.begun.release()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended.set()
        raise AssertionError


class _Replacing(AbstractFileSystem):  # type: ignore[misc]  # untyped
    """A file system whose object is replaced while it is read, or whose answers are short."""

    protocol = "replacing"
    cachable = False

    def __init__(self, short_by: int = 0, size_after: int = 0) -> None:
        super().__init__()
        self.short_by = short_by
        self.size_after = size_after
        self.changes = 0

    def info(self, path: str, **_: object) -> dict[str, object]:
        size = self.size_after if self.changes else len(DATA)
        return {"name": path, "size": size, "type": "file", "mtime": 1 + self.changes}

    def cat_file(self, path: str, start: int, end: int, **_: object) -> bytes:
        del path
        if self.size_after:
            self.changes += 1
            if end > self.size_after:
                raise ValueError("no such range")
        return bytes(end - start - self.short_by)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (_Replacing(size_after=len(DATA)), "CHANGED"),
        (_Replacing(size_after=50_000), "CHANGED"),
        (_Replacing(short_by=1), "IO"),
    ],
)
def test_fsspec_mixes_no_versions_and_cuts_no_answer(files: _Replacing, code: str) -> None:
    """Bytes of an object that was replaced between two calls of fsspec are not passed on."""
    fetcher = Fetcher(Stores(files), stall_timeout_s=1.0)
    name = object_key("replacing://x.wav", len(DATA), "mtime 1")
    answer = fetcher.store.read(name, 100_000, 10)
    fetcher.close()
    assert isinstance(answer, tuple)
    assert answer[0] == code


@pytest.mark.parametrize("kind", [_Blocking, _Waiting])
def test_close_does_not_wait_for_fsspec(kind: type[_Blocking | _Waiting]) -> None:
    """Requests are cancelled where that is possible, and given up where it is not."""
    files = kind()
    fetcher = Fetcher(Stores(files), fetches=40)
    name = object_key("blocking://x.wav", len(DATA), "mtime 1")
    for start in range(0, 300_000, 10_000):
        fetcher.expect(name, start, start + 5_000)
    for _ in range(30):
        assert files.begun.acquire(timeout=30)
    fetcher.close()
    assert "headrace-fetch" not in {thread.name for thread in threading.enumerate()}
    if isinstance(files, _Blocking):
        assert not files.ended.is_set()
        left = [one for one in threading.enumerate() if one.name == "headrace-call"]
        assert len(left) == 30
        files.let_go.set()
        for thread in left:
            thread.join(30)
    assert files.ended.wait(30)


def test_functions_that_block_are_bounded() -> None:
    """What was given up counts until it returns; the next call begins then."""
    calls = Calls(2)
    let_go = threading.Event()

    async def work() -> int:
        first = [asyncio.create_task(calls.call(let_go.wait)) for _ in range(2)]
        third = asyncio.create_task(calls.call(int, "7"))
        await asyncio.sleep(0)
        for task in first:
            task.cancel()
        await asyncio.gather(*first, return_exceptions=True)
        done, _ = await asyncio.wait([third], timeout=0)
        assert not done
        let_go.set()
        with pytest.raises(ValueError, match="invalid literal"):
            await calls.call(int, "x")
        return await third

    with ThreadPoolExecutor(1) as pool:  # this thread may have a loop: Playwright's
        assert pool.submit(asyncio.run, work()).result() == 7
    for one in threading.enumerate():  # given up, so nobody waits for them
        if one.name == "headrace-call":
            one.join(30)


def test_a_process_ends_though_a_file_system_does_not_answer() -> None:
    """The interpreter does not wait at exit for a call that never returns."""
    program = """
from tests.storage.test_fetcher import _Blocking, Fetcher, Stores, object_key, DATA
files = _Blocking()
fetcher = Fetcher(Stores(files))
fetcher.expect(object_key("blocking://x.wav", len(DATA), "mtime 1"), 0, 5)
files.begun.acquire()
print("blocked")
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout, ended.stderr) == ("blocked\n", "")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="the interpreter does not end threads")
@pytest.mark.parametrize("kind", ["delivery", "request"])
def test_exit_waits_for_threads_of_clients(kind: str) -> None:
    """A client that delivers an answer, or refers to a cancelled request, ends before exit does."""
    program = f"""
import threading
from headrace.storage import _loop
loop = _loop.ClientLoop()
begun, exit_waits = threading.Event(), threading.Event()
ended = _loop._ended
class Ended:
    put = ended.put
    def get(self, timeout):
        exit_waits.set()
        return ended.get(timeout=timeout)
_loop._ended = Ended()
write = loop._write_to_self
def slow_write():
    begun.set()
    exit_waits.wait()
    write()
    print("done", flush=True)
def refer(request):
    begun.set()
    exit_waits.wait()
    print("done", flush=True)
if {kind!r} == "delivery":
    loop._write_to_self = slow_write
    threading.Thread(target=loop.call_soon_threadsafe, args=[print], daemon=True).start()
else:
    threading.Thread(target=refer, args=[loop.create_future()], daemon=True).start()
begun.wait()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout, ended.stderr) == ("done\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_does_not_wait_for_threads_of_its_parent() -> None:
    """It has none of them, so that nothing would ever end what it waits for."""
    program = """
import os
from headrace.storage import _loop
request = _loop.ClientLoop().create_future()
known = len(_loop._requests)
child = os.fork()
if not child:
    os._exit(len(_loop._requests))
print(known, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    assert ended.stdout == "1 0\n"


def test_one_slow_moment_does_not_lower_the_limit_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more requests are faster, the limit is soon as high again as before the moment."""
    now_s = 0.0
    monkeypatch.setattr(_fetcher, "time", SimpleNamespace(monotonic=lambda: now_s))
    limit = _fetcher._AutoLimit(_began_s=now_s)

    def answers(latency_s: float, *, binding: bool = True) -> None:  # as many as may be in flight
        nonlocal now_s
        now_s += latency_s
        for _ in range(limit.limit):
            limit.count(100_000, binding=binding)

    for _ in range(3):
        answers(0.05)
    before = limit.limit
    assert before > 64
    answers(0.2)
    assert limit.limit < before
    for _ in range(3):
        answers(0.05)
    assert limit.limit >= before


def test_time_in_which_little_is_wanted_does_not_lower_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How fast answers come then says nothing of the store."""
    now_s = 0.0
    monkeypatch.setattr(_fetcher, "time", SimpleNamespace(monotonic=lambda: now_s))
    limit = _fetcher._AutoLimit(_began_s=now_s)
    for _ in range(10 * limit.limit):
        now_s += 0.001
        limit.count(100_000, binding=True)
    before = limit.limit
    for number in range(20 * limit.limit):
        waits = number % 4 > 0
        now_s += 0.001 if waits else 0.3
        limit.count(100_000, binding=waits)
    assert limit.limit == before


def faults_at(start: int, *faults: Fault) -> Callable[[Request], Fault | None]:
    """Return a function for `ObjectServer.fault`: the first requests of one range fail."""
    left = iter(faults)
    return lambda request: next(left, None) if request.start == start else None


def read_many(fetcher: Fetcher, name: str) -> None:
    """Read thirty ranges of 5,000 bytes, so that it is known how long they take."""
    for start in range(0, 150_000, 5_000):
        fetcher.expect(name, start, start + 5_000)
        assert fetcher.store.read(name, start, 5_000) == DATA[start : start + 5_000]
        fetcher.release(name, start, start + 5_000)


def test_a_request_that_takes_unusually_long_is_sent_once_more(server: ObjectServer) -> None:
    """The first answer is taken. The other request is given up."""
    server.fault = faults_at(200_000, Fault(stall=True))
    fetcher = Fetcher(Stores(server.options))
    name = key(server)
    read_many(fetcher, name)
    server.requests.clear()
    fetcher.expect(name, 200_000, 205_000)
    assert fetcher.store.read(name, 200_000, 5_000) == DATA[200_000:205_000]
    assert [(one.start, one.stop) for one in server.requests] == 2 * [(200_000, 205_000)]
    assert fetcher.counts.repeated == 1
    fetcher.release(name, 200_000, 205_000)
    fetcher.close()
    assert fetcher.counts.in_flight == fetcher.store.held_bytes == 0


def test_what_no_reader_waits_for_is_not_sent_once_more(server: ObjectServer) -> None:
    """However long it takes."""
    server.fault = faults_at(200_000, Fault(stall=True))
    fetcher = Fetcher(Stores(server.options))
    name = key(server)
    server.stalled.clear()
    fetcher.expect(name, 200_000, 205_000)
    assert server.stalled.wait(30)
    read_many(fetcher, name)
    assert fetcher.counts.repeated == 0
    fetcher.close()


def test_few_requests_are_sent_once_more(server: ObjectServer) -> None:
    """Not where one of twenty has been already: so a store that slows down gets little more."""
    server.fault = faults_at(200_000, Fault(stall=True))
    fetcher = Fetcher(Stores(server.options), stall_timeout_s=0.5)
    name = key(server)
    read_many(fetcher, name)
    fetcher.counts.repeated = 2
    fetcher.expect(name, 200_000, 205_000)
    answer = fetcher.store.read(name, 200_000, 5_000)
    assert answer == ("STALLED", "the store did not answer within 0.5 s")
    fetcher.close()


def test_the_reason_of_the_second_request_is_believed(server: ObjectServer) -> None:
    """An object that is gone is gone, though the first request for it has no answer."""
    server.fault = faults_at(200_000, Fault(stall=True), Fault(status=404))
    fetcher = Fetcher(Stores(server.options))
    name = key(server)
    read_many(fetcher, name)
    fetcher.expect(name, 200_000, 205_000)
    assert fetcher.store.read(name, 200_000, 5_000) == ("MISSING", "the object does not exist")
    fetcher.close()


def test_a_second_request_that_fails_leaves_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """If it fails for a reason that may pass, the slow answer is waited for."""
    monkeypatch.setattr(_fetcher, "_FEW_TRIES", 1)
    monkeypatch.setattr(_fetcher, "_MOST_TRIES", 1)
    failed = threading.Event()

    class Files(HeldFiles):
        def cat_file(self, key: str, start: int, end: int) -> bytes:
            if start == 200_000 and self.asked.qsize():
                failed.set()
                raise ConnectionResetError
            if start < 200_000:
                return DATA[start:end]
            return super().cat_file(key, start, end)

    files = Files()
    fetcher = Fetcher(Stores(files))
    name = object_key("held://shelf/x.wav", len(DATA), "ETag 1")
    read_many(fetcher, name)
    fetcher.expect(name, 200_000, 205_000)
    with ThreadPoolExecutor(1) as reader:
        answer = reader.submit(fetcher.store.read, name, 200_000, 5_000)
        assert failed.wait(30)
        fetcher.run(asyncio.sleep(0))
        files.gate.set()
        assert answer.result(30) == DATA[200_000:205_000]
    assert fetcher.counts.repeated == 1
    fetcher.close()
