"""List the objects of a store, with retries. Which of them are wanted is decided elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeVar

from headrace.errors import StoreError
from headrace.failures import Code
from headrace.storage._errors import describe_store_error
from headrace.storage._urls import redacted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headrace.storage._stores import Client, ObjectInfo

__all__ = ["find_object", "list_folders", "list_tree"]

T = TypeVar("T")

_FEW_TRIES: Final = 5
_MOST_TRIES: Final = 8
_FIRST_WAIT_S: Final = 0.2
"""Doubled each time: 3 s in all; 25 s if the store asks for fewer requests. A guess."""

_AT_ONCE: Final = 64
"""Folders that are listed at the same time. A guess."""


async def list_tree(
    client: Client, prefix: str, shown: str, *, enough: int | None = None
) -> list[ObjectInfo]:
    """Return all objects below a folder of which `shown` is the URL.

    With `enough`, listing ends when there are as many.

    Raises
    ------
    StoreError
        The store does not list them.
    """

    async def listed() -> list[ObjectInfo]:
        found: list[ObjectInfo] = []
        async with aclosing(client.list_tree(prefix)) as pages:
            async for some in pages:
                found += some
                if enough is not None and len(found) >= enough:
                    break
        return found

    return await _with_retries(listed, shown)


async def list_folders(
    client: Client, prefixes: list[str], shown: str
) -> list[tuple[list[ObjectInfo], list[str]]]:
    """Return the objects and the folders in each of some folders; raises as `list_tree`."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def listed(prefix: str) -> tuple[list[ObjectInfo], list[str]]:
        async with free:
            return await _with_retries(lambda: client.list_folder(prefix), shown)

    return list(await asyncio.gather(*map(listed, prefixes)))


async def find_object(client: Client, key: str, shown: str) -> ObjectInfo | None:
    """Return what the store says of an object, or None if there is none; raises as `list_tree`."""
    return await _with_retries(lambda: client.info(key), shown)


async def _with_retries(work: Callable[[], Awaitable[T]], shown: str) -> T:
    wait_s = _FIRST_WAIT_S
    for tries in range(_MOST_TRIES):
        try:
            return await work()
        except Exception as error:  # noqa: BLE001  of whatever client
            problem = describe_store_error(error)
            most = _MOST_TRIES if problem.overloaded else _FEW_TRIES
            if not problem.temporary or tries + 1 >= most:
                why = problem.message
                if problem.code is Code.MISSING:
                    why = "there is no such bucket, container or folder: check the URL"
                raise StoreError(f"Cannot list {redacted(shown)!r}: {why}.") from None
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        timer = loop.call_later(wait_s, woken.set_result, None)
        try:
            await woken
        finally:
            timer.cancel()
        wait_s *= 2
    raise AssertionError
