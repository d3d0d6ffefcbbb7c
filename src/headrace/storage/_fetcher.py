"""`Fetcher`: fetches byte ranges of objects for native readers, on one event loop in one thread.

Guarantees
----------
- **One thread**, which has ended when `close` returns, with requests in flight or not. Collection
  and the interpreter's exit close it, too. `interrupt` wakes every reader and never waits. (A file
  system of fsspec without coroutines is called in further threads that nothing waits for.)
- **Order.** Ranges that were announced are fetched in the order in which they were announced. What
  a reader is waiting for goes first. If that takes unusually long, it is asked for once more, and
  the first answer is taken.
- **Bounds.** At most `planned_bytes` of announced ranges are held or in flight, except for those
  that a reader is waiting for, and of which one more copy may be in flight. Other bytes are
  bounded by the kernel (`FetchedStore`). At most `fetches` requests are in flight, in addition to
  those that readers wait for.
- **Retries.** A request that fails for a reason that may pass is repeated, each time after twice
  the wait, until `stall_timeout_s` has passed or it has been tried `_MOST_TRIES` times; or
  `_FEW_TRIES` times, if nothing was answered since a request was given up. A reader is woken with
  the last reason. An answer that is shorter than what was asked for is never passed on.
- **Identity.** Bytes of an object whose version is not the one in the key are not passed on.
- **Forks.** A child process that was forked after a `Fetcher` was started, or was in use, can start
  none: `StoreError`.
- Methods may be called from any thread. Nothing here refers to a loader.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import weakref
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from headrace import _kernel
from headrace.errors import CatalogError, StoreError
from headrace.failures import Code
from headrace.storage._cache import files_name
from headrace.storage._errors import MISSING, StoreProblem, describe_store_error
from headrace.storage._loop import ClientLoop
from headrace.storage._pieces import stored_size
from headrace.storage._places import Place
from headrace.storage._stores import FetchedBytes, ObjectInfo, Stores, has_changed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from headrace.storage._cache import DiskCache
    from headrace.storage._stores import Client

__all__ = ["FetchCounts", "Fetcher", "object_key"]

STALL_TIMEOUT_S: Final = 120.0
"""Seconds after which a reader gets an error, where the user gave no other limit. A guess: stores
that throttle recover within seconds."""

_MOST_TRIES: Final = 9
_FEW_TRIES: Final = 6
_FIRST_WAIT_S: Final = 0.1
"""Waits of 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4 and 12.8 s: 25 s, in which a network that was lost may
be back. The first five, 3 s, while nothing says that the server exists. A guess."""

_RECENT: Final = 64
_LEAST_KNOWN: Final = 16
_SLOWER: Final = 1.5
_LEAST_SLOW_S: Final = 0.03
_MOST_REPEATED: Final = 0.05
"""A request for which a reader waits is sent once more after 1.5 times what nine of ten of the last
64 of its size took, 16 at least, and after 30 ms. One of twenty requests, at most, is sent again.
Stores advise it: a few requests take many times as long as others (Dean and Barroso, The Tail at
Scale, Communications of the ACM 56:2, 2013, give 5 %). The other numbers are guesses."""

_MOST_BYTES: Final = 8 << 20
"""Of one request: what stores recommend for large objects."""

_LEAST_FETCHES: Final = 8
_FIRST_FETCHES: Final = 32
_MOST_FETCHES: Final = 256
_GROWTH: Final = 1.5
"""With ``fetches="auto"``, requests in flight: from how many to how many. A guess."""


def object_key(url: str, size: int, version: str | None, source: int = 0) -> str:
    """Return the name of an object in a `FetchedStore`: all that is needed to fetch it.

    `source` is the number of its `Stores` among those of the fetcher.
    """
    return f"{size} {source} {files_name(url, size, version)} {version or ''}\n{url}"


def _parse_key(key: str) -> tuple[str, int, int, str | None]:
    head, _, url = key.partition("\n")
    size, source, _, version = head.split(" ", 3)
    return url, int(size), int(source), version or None


@dataclass(slots=True)
class FetchCounts:
    """What was fetched so far.

    Attributes
    ----------
    requests : int
        Sent to the store.
    bytes : int
        Received from it.
    on_demand : int
        Requests that nobody had announced.
    retries : int
        Requests that were repeated because they failed.
    repeated : int
        Requests that were sent once more because they took unusually long.
    cached_bytes : int
        Read from the disk cache.
    in_flight, most_in_flight : int
        Requests.
    """

    requests: int = 0
    bytes: int = 0
    on_demand: int = 0
    retries: int = 0
    repeated: int = 0
    cached_bytes: int = 0
    in_flight: int = 0
    most_in_flight: int = 0


@dataclass(slots=True)
class _AutoLimit:
    """How many requests may be in flight: more as long as that makes it faster.

    It is lowered only by what happens while requests wait for it. What is fetched in the rest of
    the time says how much was wanted, not how much the store can give.
    """

    limit: int = _FIRST_FETCHES
    fixed: bool = False
    _began_s: float = field(default_factory=time.monotonic)
    _done: int = 0
    _bytes: int = 0
    _always_binding: bool = True
    _best: float = 0.0

    def count(self, count: int, *, binding: bool) -> None:
        """Count an answer of `count` bytes; `binding`: requests wait for the limit."""
        self._done += 1
        self._bytes += count + 4096  # small answers count as requests
        self._always_binding &= binding
        if self.fixed or self._done < self.limit:
            return
        now = time.monotonic()
        rate = self._bytes / max(1e-6, now - self._began_s)
        if binding and rate > 1.05 * self._best:
            self.limit = min(_MOST_FETCHES, int(self.limit * _GROWTH))
        elif self._always_binding and rate < 0.8 * self._best:
            self.limit = max(_LEAST_FETCHES, int(self.limit / _GROWTH))
            # Fewer requests may well be slower by that, which must not lower the limit again.
            rate, self._best = rate / _GROWTH, 0.0
        self._best = max(rate, 0.9 * self._best)
        self._began_s, self._done, self._bytes, self._always_binding = now, 0, 0, True

    def slow_down(self) -> None:
        """Halve the limit: the store asks for it."""
        if not self.fixed:
            self.limit = max(_LEAST_FETCHES, self.limit // 2)


class _Durations:
    """How long requests take, by the size of what they ask for."""

    def __init__(self) -> None:
        self._by_size: dict[int, deque[float]] = {}

    def add(self, count: int, seconds: float) -> None:
        """Count a request of `count` bytes that was answered."""
        known = self._by_size.setdefault(count.bit_length(), deque(maxlen=_RECENT))
        known.append(seconds)

    def longest(self, count: int) -> float | None:
        """Return after how many seconds a request is unusually slow; None if that is not known."""
        known = self._by_size.get(count.bit_length(), ())
        if len(known) < _LEAST_KNOWN:
            return None
        return max(_LEAST_SLOW_S, _SLOWER * sorted(known)[len(known) * 9 // 10])


_used_in: int | None = None
"""The process in which the clients' own threads run; a forked child has none of them."""


def _check_not_forked() -> None:
    global _used_in  # noqa: PLW0603  of the process
    if sys.platform == "win32":
        raise StoreError("Object stores cannot be read on Windows: use WSL, or copy the files.")
    if _used_in is None:
        _used_in = os.getpid()
    if _used_in != os.getpid():
        raise StoreError(
            "A forked process cannot read from a store, because its parent has read from one: "
            'start processes by "spawn" or "forkserver".'
        )


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


class Fetcher:
    """Fetches what is announced and what readers ask for.

    Parameters
    ----------
    *stores : Stores
        The clients, of one catalog each.
    fetches : int or "auto"
        The most requests in flight.
    planned_bytes : int
        The most bytes of announced ranges that are held or in flight.
    cached_bytes : int
        The most bytes that are kept of what was read on demand.
    ahead : int
        The most bytes that are fetched at once on demand.
    stall_timeout_s : float, optional
        Seconds after which a reader that waits gets an error.
    cache : DiskCache, optional
        Where bytes are looked for before they are fetched, and kept.

    Attributes
    ----------
    store : _kernel.FetchedStore
        What native readers read from.
    """

    def __init__(
        self,
        *stores: Stores,
        fetches: int | Literal["auto"] = "auto",
        planned_bytes: int = 64 << 20,
        cached_bytes: int = 32 << 20,
        ahead: int = 4 << 20,
        stall_timeout_s: float | None = None,
        cache: DiskCache | None = None,
    ) -> None:
        _check_not_forked()
        self._files = None if cache is None else cache.files
        self.store = _kernel.FetchedStore(cached_bytes, ahead, self._files)
        self._counts = FetchCounts()
        self._in_order = threading.Lock()  # the loop hears of ranges in the order of the store
        self._core = _Core(
            stores,
            self.store,
            self._counts,
            fetches=fetches,
            planned_bytes=planned_bytes,
            stall_timeout_s=stall_timeout_s or STALL_TIMEOUT_S,
            cache=cache,
        )
        self._finalizer = weakref.finalize(self, self._core.close)
        self._core.start()

    @property
    def counts(self) -> FetchCounts:
        """What was fetched so far."""
        if self._files is not None:
            self._counts.cached_bytes = self._files.bytes_read
        return self._counts

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return self._core.limit.limit

    def place(
        self,
        url: str,
        size: int,
        version: str | None,
        *,
        offset: int | None,
        source: int = 0,
        pieces: bytes | None = None,
    ) -> Place:
        """Return where a recording is, of which an object from `offset` on holds `size` bytes.

        With `pieces`, it holds only these of them.
        """
        key = object_key(url, (offset or 0) + stored_size(size, pieces), version, source)
        return Place(key, offset, None if offset is None else size, self.store, pieces)

    def expect(self, key: str, start: int, stop: int, *, keep: bool = False) -> None:
        """Announce that the bytes ``[start, stop)`` of an object will be read.

        With `keep`, they stay for a while after they are released: they will be read again.
        """
        if self._files is not None:
            self._files.open(key)  # this may take a while, and others must not wait for it
        with self._in_order:
            parts = self.store.expect(key, start, stop - start, _MOST_BYTES, keep)
            if parts:
                self._core.call(self._core.plan, key, parts)

    def release(self, key: str, start: int, stop: int) -> None:
        """Say that bytes that were announced have been read."""
        with self._in_order:
            ended = self.store.release(key, start, stop - start)
            if ended:
                self._core.call(self._core.forget, key, ended)

    def tell_arrivals(self, use: Callable[[str, int, int], None]) -> None:
        """Call a method, in the fetcher's thread, with the key, begin and end of what has come.

        It must not wait. Its object is not kept alive.
        """
        self._core.arrived = weakref.WeakMethod(use)

    def expect_head(
        self, url: str, count: int, use: Callable[[ObjectInfo | StoreProblem], None]
    ) -> None:
        """Fetch the first bytes of an object of which nothing is known.

        `use` is called in the fetcher's thread, with what the store says of the object, or with
        the reason why it says nothing. After that the bytes can be read without another request,
        until they are released as ``[0, min(count, size))``.
        """
        self._core.call(self._core.fetch_head, url, count, use)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  what the work returns
        """Run a coroutine in the fetcher's thread, and return its result."""
        future = asyncio.run_coroutine_threadsafe(work, self._core.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def interrupt(self) -> None:
        """Wake every reader, with an error. Reading ends, fetching does not."""
        self.store.close()

    def close(self) -> None:
        """Cancel all requests and join the thread. May be called again."""
        self._core.close()
        self._finalizer.detach()

    @property
    def problem(self) -> str | None:
        """What is wrong with the disk cache, if anything is."""
        return None if self._core.cache is None else self._core.cache.problem


class _Core:
    """The event loop, and what runs in it."""

    def __init__(
        self,
        stores: Sequence[Stores],
        store: _kernel.FetchedStore,
        counts: FetchCounts,
        *,
        fetches: int | Literal["auto"],
        planned_bytes: int,
        stall_timeout_s: float,
        cache: DiskCache | None,
    ) -> None:
        self._stores = stores
        self._store = store
        self._counts = counts
        self._planned_limit = planned_bytes
        self._stall_timeout_s = stall_timeout_s
        self.cache = cache
        self.limit = _AutoLimit()
        if isinstance(fetches, int):
            self.limit = _AutoLimit(fetches, fixed=True)
        # Only in the loop's thread:
        self._pending: OrderedDict[tuple[str, int], int] = OrderedDict()  # key, offset: bytes
        self._heads: deque[tuple[str, int, Callable[[Any], None]]] = deque()
        self._tasks: dict[tuple[str, int], list[asyncio.Task[None]]] = {}
        self._first_tries: dict[asyncio.Task[None], float] = {}  # when they began
        self._durations = _Durations()
        self._planned_bytes: dict[tuple[str, int], int] = {}  # held or in flight
        self._planned_total = 0
        self._limited = 0  # requests in flight that count towards the limit
        self._answers = False  # the last request that ended for good got an answer
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._process = os.getpid()
        self.arrived: Callable[[], Callable[[str, int, int], None] | None] = lambda: None
        self.loop: asyncio.AbstractEventLoop

    # From any thread

    def start(self) -> None:
        _check_not_forked()
        with self._lock:
            self.loop = ClientLoop()
            self.loop.add_reader(self._store.fileno(), self._on_requests)
            self._thread = threading.Thread(target=self._run, name="headrace-fetch", daemon=True)
            self._thread.start()

    def call(self, function: Callable[..., None], *arguments: Any) -> None:  # noqa: ANN401
        if self._closed:
            return
        with suppress(RuntimeError):  # the loop has been closed since
            self.loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        if os.getpid() != self._process:
            return  # the thread exists in the parent only
        self._store.close()
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        if thread is not threading.current_thread():
            thread.join()
        if self.cache is not None:
            self.cache.close()

    # In the loop's thread

    def _run(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.remove_reader(self._store.fileno())
            loop.close()

    def _on_requests(self) -> None:
        for key, offset, count, planned in self._store.take():
            name = (key, offset)  # for which a reader waits
            if not planned:
                self._begin(key, offset, count, limited=False)
            elif self._pending.pop(name, None) is not None or (
                name not in self._tasks and self._store.wants(key, offset)
            ):
                self._begin(key, offset, count, limited=False, planned=True)
            self._watch(key, offset, count)

    def plan(self, key: str, parts: Iterable[tuple[int, int]]) -> None:
        for offset, count in parts:
            name = (key, offset)
            # A reader may have been waiting for it before this call was made.
            if name not in self._tasks or self._planned_bytes.get(name) != count:
                self._pending[name] = count
        self._fill()

    def forget(self, key: str, parts: Iterable[tuple[int, int, bool]]) -> None:
        for offset, count, awaited in parts:
            name = (key, offset)
            if self._store.wants(key, offset) and not awaited:
                continue  # another thread has announced it again since
            if self._pending.pop(name, None) is None:
                self._planned_total -= self._planned_bytes.pop(name, 0)
                for task in () if awaited else self._tasks.get(name, ()):
                    task.cancel()
            elif awaited:
                self._begin(key, offset, count, limited=False)
        self._fill()

    def fetch_head(self, url: str, count: int, use: Callable[[Any], None]) -> None:
        self._heads.append((url, count, use))
        self._fill()

    def _fill(self) -> None:
        """Begin requests up to the limits."""
        while self._heads and self._limited < self.limit.limit:
            url, count, use = self._heads.popleft()
            self._limited += 1
            self._spawn((url, -1), self._fetch_head(url, count, use))
        while self._pending and self._limited < self.limit.limit:
            (key, offset), count = next(iter(self._pending.items()))
            if self._planned_total and self._planned_total + count > self._planned_limit:
                break
            del self._pending[key, offset]
            self._begin(key, offset, count, limited=True, planned=True)

    def _begin(
        self, key: str, offset: int, count: int, *, limited: bool, planned: bool = False
    ) -> None:
        name = (key, offset)
        if planned:
            self._planned_total += count - self._planned_bytes.get(name, 0)
            self._planned_bytes[name] = count
        else:
            self._counts.on_demand += 1
        self._limited += limited
        self._spawn(name, self._fetch(key, offset, count, limited=limited))

    def _spawn(self, name: tuple[str, int], work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        tasks = self._tasks.setdefault(name, [])
        tasks.append(task)
        self._first_tries[task] = self.loop.time()

        def ended(done: asyncio.Task[None]) -> None:
            self._first_tries.pop(done, None)
            tasks.remove(done)
            if not tasks:
                del self._tasks[name]
            if not done.cancelled():
                done.exception()

        task.add_done_callback(ended)

    def _watch(self, key: str, offset: int, count: int) -> None:
        """Send a request once more if it takes unusually long."""
        longest_s = self._durations.longest(count)
        if longest_s is None:
            return
        for task in self._tasks.get((key, offset), ()):
            began_s = self._first_tries.get(task)
            if began_s is not None:
                self.loop.call_at(began_s + longest_s, self._repeat, key, offset, count, task)

    def _repeat(self, key: str, offset: int, count: int, slow: asyncio.Task[None]) -> None:
        may_repeat = self._counts.repeated < _MOST_REPEATED * self._counts.requests
        tasks = self._tasks.get((key, offset), [])
        if may_repeat and tasks == [slow] and slow in self._first_tries:
            self._counts.repeated += 1
            self._spawn((key, offset), self._fetch(key, offset, count, limited=False))

    async def _fetch(self, key: str, offset: int, count: int, *, limited: bool) -> None:
        url, size, source, version = _parse_key(key)
        try:
            answer = await self._ask(source, url, offset, count, version, size)
        except Exception as error:
            # A defect of a client: a reader that waits must not wait for ever.
            if not self._others(key, offset):
                reason = f"fetching failed ({type(error).__name__})"
                self._store.fail(key, offset, Code.IO, reason)
            raise
        finally:
            self._end_request(limited=limited)
        others = self._others(key, offset)
        if isinstance(answer, StoreProblem) and answer.temporary and others:
            return  # one of these may get a better answer
        for other in others:
            other.cancel()
        if isinstance(answer, StoreProblem):
            self._store.fail(key, offset, answer.code, answer.message)
            return
        if self.cache is not None:
            self.cache.keep(key, offset, answer.data)
        self._store.give(key, offset, count, answer.data)
        if (use := self.arrived()) is not None:
            use(key, offset, offset + count)

    def _others(self, key: str, offset: int) -> list[asyncio.Task[None]]:
        """Return what fetches the same range besides the task that is running."""
        running = _current_task()
        tasks = self._tasks.get((key, offset), ())
        return [task for task in tasks if task is not running and not task.cancelling()]

    async def _fetch_head(self, url: str, count: int, use: Callable[[Any], None]) -> None:
        try:
            answer = await self._ask(0, url, 0, count, None, None)
        except BaseException:
            use(StoreProblem(Code.IO, "fetching was ended"))
            raise
        finally:
            self._end_request(limited=True)
        if isinstance(answer, StoreProblem):
            use(answer)
        else:
            info = answer.info
            key = object_key(url, info.size, info.version)
            held = min(count, info.size)
            if self.cache is not None:
                self.cache.keep(key, 0, answer.data)
            if held:
                self._store.hold(key, 0, held, answer.data)
            use(info)

    def _end_request(self, *, limited: bool) -> None:
        """Let others begin, however a request has ended."""
        self._limited -= limited
        if not self._closed:
            self._fill()

    async def _ask(
        self,
        source: int,
        url: str,
        offset: int,
        count: int,
        version: str | None,
        size: int | None,
    ) -> FetchedBytes | StoreProblem:
        """Ask the store, again and again where that may help."""
        try:
            client, name = self._stores[source].locate(url)
        except (StoreError, CatalogError) as error:
            return StoreProblem(Code.IO, str(error))
        deadline = self.loop.time() + self._stall_timeout_s
        problem = StoreProblem(Code.STALLED, "the store did not answer in time", temporary=True)
        for tries in range(_MOST_TRIES):
            if tries:
                self._first_tries.pop(_current_task(), None)
                self._counts.retries += 1
                wait_s = min(_FIRST_WAIT_S * 2 ** (tries - 1), deadline - self.loop.time())
                if wait_s <= 0:
                    break
                await self._pause(wait_s)
            answer = await self._try_once(client, name, offset, count, version, size, deadline)
            if not isinstance(answer, StoreProblem):
                self._answers = True
                return answer
            if tries and answer.code is Code.STALLED and not answer.temporary:
                break  # the reason why it was tried again says more
            problem = answer
            if problem.overloaded:
                self.limit.slow_down()
            is_there = self._answers or problem.overloaded
            if not problem.temporary or tries + 1 >= (_MOST_TRIES if is_there else _FEW_TRIES):
                break
        self._answers = not problem.temporary
        return problem

    async def _missing_or(
        self, problem: StoreProblem, client: Client, name: str, deadline: float
    ) -> StoreProblem:
        """Return another problem if there is no such object: some stores say 412 of both."""
        self._counts.requests += 1
        try:
            async with asyncio.timeout_at(deadline):
                found = await client.info(name)
        except Exception:  # noqa: BLE001  of whatever client
            return problem
        return StoreProblem(Code.MISSING, MISSING) if found is None else problem

    async def _pause(self, wait_s: float) -> None:
        woken = self.loop.create_future()
        timer = self.loop.call_later(wait_s, woken.set_result, None)
        try:
            await woken
        finally:
            timer.cancel()

    async def _try_once(
        self,
        client: Client,
        name: str,
        offset: int,
        count: int,
        version: str | None,
        size: int | None,
        deadline: float,
    ) -> FetchedBytes | StoreProblem:
        self._counts.requests += 1
        self._counts.in_flight += 1
        self._counts.most_in_flight = max(self._counts.most_in_flight, self._counts.in_flight)
        began_s = self.loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                answer = await client.get(name, offset, offset + count, version)
        except TimeoutError:
            limit = f"{self._stall_timeout_s:g} s"
            return StoreProblem(Code.STALLED, f"the store did not answer within {limit}")
        except Exception as error:  # noqa: BLE001  of whatever client
            problem = describe_store_error(error)
            if problem.code is Code.CHANGED and version is not None:
                problem = await self._missing_or(problem, client, name, deadline)
            return problem
        finally:
            self._counts.in_flight -= 1
        received = len(memoryview(answer.data))
        self._counts.bytes += received
        self._durations.add(received, self.loop.time() - began_s)
        is_full = self._limited >= self.limit.limit
        self.limit.count(received, binding=is_full and bool(self._pending or self._heads))
        info = answer.info
        if has_changed(version, info) or (size is not None and info.size < size):
            return StoreProblem(
                Code.CHANGED, "the object was replaced after it was scanned: scan again"
            )
        if received != min(count, (info.size if size is None else size) - offset):
            return StoreProblem(
                Code.IO, "the store's answer was shorter than asked for", temporary=True
            )
        return answer
