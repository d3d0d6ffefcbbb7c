"""Tar shards among the objects of a scan: their members take their place, as in `_tars`.

The headers of a tar are read one after the other, in small ranges; an index beside it
(``shard.tar.idx``) saves that. Several tars are read at once.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace.catalog._objects import ScannedObjects
from headrace.catalog._tars import Members, is_tar, read_members
from headrace.failures import Code, DecodeError, Failure
from headrace.storage import INDEX_ENDING, ObjectInfo, StoreProblem

if TYPE_CHECKING:
    from headrace.catalog._tars import TarContent
    from headrace.storage import Fetcher

__all__ = ["open_object_tars"]

_AT_ONCE: Final = 16
"""Tars whose headers are read at the same time: reading waits for the store. A guess."""

_HEAD: Final = 64 << 10  # bytes that are fetched first
_INTERRUPTED: Final = StoreProblem(Code.IO, "the scan was ended")


def open_object_tars(objects: ScannedObjects, fetcher: Fetcher) -> ScannedObjects:
    """Return the objects with the members of tars in the place of the tars."""
    tars = [row for row, one in enumerate(objects.ids) if is_tar(one)]
    if not tars:
        return objects
    plain = [row for row, one in enumerate(objects.ids) if not is_tar(one)]
    members = Members(len(plain), list(objects.failures))
    versions: list[str | None] = []
    heads = _Heads(fetcher)

    def read(row: int) -> tuple[str | None, TarContent | StoreProblem]:
        return _read(objects.urls[row], fetcher, heads)

    executor = ThreadPoolExecutor(_AT_ONCE, "headrace-tars")
    try:
        for row, (version, content) in zip(tars, executor.map(read, tars), strict=True):
            if isinstance(content, StoreProblem):
                members.failures.append(
                    Failure(objects.ids[row], objects.urls[row], content.code, content.message)
                )
                continue
            members.add(objects.ids[row], objects.urls[row], 0, content)
            versions.append(version)
    except BaseException:
        heads.interrupt()  # so that the threads end
        raise
    finally:
        executor.shutdown(cancel_futures=True)
    ids, order, rows = members.in_order([objects.ids[row] for row in plain])
    urls = [objects.urls[row] for row in plain]
    plain_versions = [objects.versions[row] for row in plain]
    plain_sizes = objects.sizes[plain]
    return ScannedObjects(
        objects.root,
        ids,
        [
            urls[at] if tar < 0 else members.tars[tar]
            for at, tar in zip(order.tolist(), rows[:, 0].tolist(), strict=True)
        ],
        np.array(
            [
                plain_sizes[at] if tar < 0 else size
                for at, (tar, _, size, _) in zip(order.tolist(), rows.tolist(), strict=True)
            ],
            np.int64,
        ),
        [
            plain_versions[at] if tar < 0 else versions[tar]
            for at, tar in zip(order.tolist(), rows[:, 0].tolist(), strict=True)
        ],
        rows[:, 1].copy(),
        members.failures,
        members.sidecars.in_order(len(plain), order),
        members.pieces_in_order(order),
    )


def _read(
    url: str, fetcher: Fetcher, heads: _Heads
) -> tuple[str | None, TarContent | StoreProblem]:
    """Return the version of a tar and what is in it, or why it cannot be read."""
    info = heads.fetch(url)
    if isinstance(info, StoreProblem):
        return None, info
    index = None
    listed = heads.fetch(url + INDEX_ENDING)
    if isinstance(listed, ObjectInfo):
        place = fetcher.place(url + INDEX_ENDING, listed.size, listed.version, offset=None)
        with suppress(OSError, DecodeError, UnicodeDecodeError), place.open() as file:
            index = file.read().decode("utf-8")
        fetcher.release(place.path, 0, min(_HEAD, listed.size))
    place = fetcher.place(url, info.size, info.version, offset=None)
    try:
        with place.open() as file:
            return info.version, read_members(file, info.size, index)
    except OSError as error:
        return None, StoreProblem(Code.IO, str(error))
    except DecodeError as error:
        return None, StoreProblem(error.code, error.message)
    finally:
        fetcher.release(place.path, 0, min(_HEAD, info.size))


class _Heads:
    """The first bytes of objects, which threads wait for until they are interrupted."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._waiting: set[SimpleQueue[ObjectInfo | StoreProblem]] = set()
        self._interrupted = False

    def fetch(self, url: str) -> ObjectInfo | StoreProblem:
        """Fetch those of an object; return what the store says of it."""
        answer: SimpleQueue[ObjectInfo | StoreProblem] = SimpleQueue()
        self._waiting.add(answer)
        if self._interrupted:  # before or after the thread is among those that wait
            return _INTERRUPTED
        self._fetcher.expect_head(url, _HEAD, answer.put)
        info = answer.get()
        self._waiting.discard(answer)
        if isinstance(info, StoreProblem) and info.code is Code.CHANGED:  # HTTP status 416
            return StoreProblem(Code.EMPTY, "the file has 0 bytes")
        return info

    def interrupt(self) -> None:
        """Wake all threads, also those that read."""
        self._interrupted = True
        self._fetcher.interrupt()
        for answer in list(self._waiting):
            answer.put(_INTERRUPTED)
