"""`DiskCache`: blocks of objects in a folder of a local disk, up to a number of bytes.

Guarantees
----------
- **Never a wrong byte.** A block is given only if it was written whole: a record with its checksum
  is appended after the block, and both are checked each time. A process may be killed at any
  moment. A folder is named after the address, the version and the size of an object, so bytes of
  another version are never found.
- **Bounded.** All processes that use the folder together write at most `size` bytes. Each reserves
  bytes before it writes them, under a lock of the file ``usage``. What a process that was killed
  had reserved is counted anew when the next one opens the folder alone.
- **What is in stays.** When it is full, nothing more is kept: under an order that visits each byte
  once an epoch, a cache that replaces what it has holds what is needed last. Only another version
  of an object replaces the older one.
- **A disk that fails** is a warning (`problem`), and nothing more is kept.

Files
-----
``usage``: bytes that are written or reserved, and how many processes have the folder open, as text.
``xxx/NAME.data``: blocks at their places in the object, with holes. ``xxx/NAME.blocks``: records of
12 bytes, little-endian: number of the block, CRC-32 of the block, CRC-32 of both.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import struct
import threading
import zlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace._formatting import format_bytes
from headrace._validation import parse_bytes
from headrace.errors import StoreError
from headrace.storage._urls import is_url, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

    Data = bytes | bytearray | memoryview

__all__ = ["CachedRange", "DiskCache", "check_cache"]

BLOCK: Final = 32 << 10
"""Bytes. Smaller blocks cost time to check, larger ones bytes that nobody asked for. A guess."""

_RECORD: Final = struct.Struct("<III")
_OVERHEAD: Final = 8 << 10  # bytes that the two files of an object may take beyond their blocks
_RESERVED_AT_ONCE: Final = 8 << 20
_MOST_WAITING: Final = 16 << 20
"""Bytes that may wait to be written. What comes when there are as many is not kept."""

_OPEN_ENTRIES: Final = 128
_THREADS: Final = 4
_MARK: Final = "headrace cache 1\n"
_MARKED: Final = "CACHE"  # the file with the mark
_USAGE: Final = "usage"


def check_cache(
    folder: str | os.PathLike[str] | None, size: str | int | None, name: str = "cache"
) -> int | None:
    """Return the size of a disk cache in bytes, or None without one.

    Parameters
    ----------
    folder, size
        What the user gave as the arguments `name` and ``name_size``.
    name : str
        Of the argument.

    Raises
    ------
    ValueError
        Only one of the two arguments is given, or the size is no number of bytes.
    """
    if (folder is None) != (size is None):
        raise ValueError(
            f'{name}= and {name}_size= belong together: {name}="/nvme/headrace", '
            f'{name}_size="200 GiB".'
        )
    return None if size is None else parse_bytes(size, f"{name}_size")


@dataclass(frozen=True, slots=True)
class CachedRange:
    """What the cache has of a range, and what is to be fetched.

    Attributes
    ----------
    offset, count : int
        The range.
    start, stop : int
        Bytes of the object to fetch; empty if the cache has all.
    pieces : list of (int, memoryview)
        What the cache has: offset in the object, and bytes.
    """

    offset: int
    count: int
    start: int
    stop: int
    pieces: list[tuple[int, memoryview]]

    @property
    def cached_bytes(self) -> int:
        """Bytes of the range that need not be fetched."""
        low, high = max(self.start, self.offset), min(self.stop, self.offset + self.count)
        return self.count - max(0, high - low)

    def join(self, fetched: Data) -> Data:
        """Return the bytes of the range, with those that were fetched."""
        if self.start <= self.offset and self.offset + self.count <= self.stop:
            begin = self.offset - self.start
            return memoryview(fetched)[begin : begin + self.count]
        if self.start == self.stop and len(self.pieces) == 1:
            at, piece = self.pieces[0]
            return piece[self.offset - at : self.offset - at + self.count]
        whole = bytearray(self.count)
        for at, piece in [*self.pieces, (self.start, memoryview(fetched))]:
            low, high = max(at, self.offset), min(at + len(piece), self.offset + self.count)
            if low < high:
                part = memoryview(piece)[low - at : high - at]
                whole[low - self.offset : high - self.offset] = part
        return whole


@dataclass(slots=True, eq=False)
class _Entry:
    """One object: descriptors, and the blocks that are there, with their checksums."""

    data: int
    records: int
    blocks: dict[int, int]
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    dropped: bool = False

    def close(self) -> None:
        os.close(self.data)
        os.close(self.records)


class DiskCache:
    """Blocks of objects in a folder.

    Parameters
    ----------
    folder : str or path
        Is created if it does not exist.
    size : int
        The most bytes that it may hold.

    Attributes
    ----------
    problem : str or None
        Why nothing more is kept, once the disk has failed.

    Raises
    ------
    StoreError
        The folder cannot be used, or holds something else.
    """

    def __init__(self, folder: str | os.PathLike[str], size: int) -> None:
        if is_url(os.fspath(folder)):
            raise StoreError(
                f"The disk cache {redacted(os.fspath(folder))!r} is a URL: give a folder "
                "on a local disk."
            )
        self._folder = Path(folder)
        self._size = size
        self.problem: str | None = None
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._left = 0  # reserved and not written
        self._full = False
        self._waiting_bytes = 0
        self._closed = False
        try:
            self._open_folder()
        except OSError as error:
            why = error.strerror or str(error)
            raise StoreError(
                f"The disk cache {str(folder)!r} cannot be used ({why}): give a folder on a local "
                "disk that can be written."
            ) from error
        self._executor = ThreadPoolExecutor(_THREADS, "headrace-cache")

    def __repr__(self) -> str:
        return f"<DiskCache: {str(self._folder)!r}, at most {format_bytes(self._size)}>"

    @property
    def admits(self) -> bool:
        """Whether more blocks may be kept."""
        return not self._full and self.problem is None

    async def find(self, url: str, version: str, size: int, offset: int, count: int) -> CachedRange:
        """Return what the cache has of a range of an object of `size` bytes."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._executor, self._find, url, version, size, offset, count
        )

    def keep(self, url: str, version: str, size: int, offset: int, data: Data) -> None:
        """Write what is whole blocks of bytes that were fetched, in another thread."""
        if not self.admits or self._waiting_bytes + len(data) > _MOST_WAITING:
            return
        with self._lock:
            self._waiting_bytes += len(data)
        try:
            self._executor.submit(self._keep, url, version, size, offset, memoryview(data))
        except RuntimeError:  # closed
            return

    def close(self) -> None:
        """Finish what is being written, and give back what is reserved. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._executor.shutdown(wait=True)
        for entry in self._entries.values():
            entry.close()
        self._entries.clear()
        with contextlib.suppress(OSError), self._usage() as usage:
            usage.used -= self._left
            usage.open -= 1
        os.close(self._users)

    # In threads

    def _find(self, url: str, version: str, size: int, offset: int, count: int) -> CachedRange:
        first, last = offset // BLOCK, (offset + count - 1) // BLOCK
        blocks = range(first, last + 1)
        pieces: list[tuple[int, memoryview]] = []
        missing: list[int] = []
        try:
            with self._entry(url, version, size, create=False) as entry:
                if entry is None:
                    missing = [*blocks]
                else:
                    pieces, missing = self._read(entry, blocks, size)
        except OSError as error:
            self._note(error)
            return CachedRange(offset, count, offset, offset + count, [])
        if not missing:
            return CachedRange(offset, count, 0, 0, pieces)
        start, stop = missing[0] * BLOCK, min(size, (missing[-1] + 1) * BLOCK)
        if not self.admits:
            start, stop = max(start, offset), min(stop, offset + count)
        return CachedRange(offset, count, start, stop, pieces)

    def _read(
        self, entry: _Entry, blocks: range, size: int
    ) -> tuple[list[tuple[int, memoryview]], list[int]]:
        """Return the bytes of blocks that are there and right, joined, and the other blocks."""
        checksums = [entry.blocks.get(block) for block in blocks]
        if None in checksums and not any(checksums):
            return [], [*blocks]
        begin, stop = blocks.start * BLOCK, min(size, blocks.stop * BLOCK)
        whole = memoryview(bytearray(stop - begin))
        try:
            got = os.preadv(entry.data, [whole], begin)  # once: holes cost little
        except OSError:
            return [], [*blocks]
        pieces: list[tuple[int, memoryview]] = []
        missing: list[int] = []
        joined = 0  # bytes of the piece that is being joined
        for block, checksum in zip(blocks, checksums, strict=True):
            at = block * BLOCK - begin
            count = min(BLOCK, stop - begin - at)
            is_right = (
                checksum is not None
                and at + count <= got
                and zlib.crc32(whole[at : at + count]) == checksum
            )
            if is_right:
                joined += count
                continue
            missing.append(block)
            entry.blocks.pop(block, None)
            if joined:
                pieces.append((begin + at - joined, whole[at - joined : at]))
            joined = 0
        if joined:
            pieces.append((stop - joined, whole[len(whole) - joined :]))
        return pieces, missing

    def _keep(self, url: str, version: str, size: int, offset: int, data: memoryview) -> None:
        try:
            with self._entry(url, version, size, create=True) as entry:
                if entry is not None:
                    self._write(entry, size, offset, data)
        except OSError as error:
            self._note(error)
        finally:
            with self._lock:
                self._waiting_bytes -= len(data)

    def _note(self, error: OSError) -> None:
        self.problem = (
            f"the disk cache {str(self._folder)!r} cannot be used "
            f"({error.strerror or error}): nothing more is kept in it."
        )

    def _write(self, entry: _Entry, size: int, offset: int, data: memoryview) -> None:
        stop = offset + len(data)
        for block in range(-(-offset // BLOCK), -(-stop // BLOCK)):
            at = block * BLOCK
            count = min(BLOCK, size - at)
            if at + count > stop:
                break
            with entry.lock:
                if block in entry.blocks:
                    continue
                if not self._reserve(count + _RECORD.size):
                    return
                piece = data[at - offset : at - offset + count]
                if os.pwrite(entry.data, piece, at) != count:
                    raise OSError(28, "No space left on device")
                checksum = zlib.crc32(piece)
                check = zlib.crc32(struct.pack("<II", block, checksum))
                # One call: with O_APPEND, records of several processes do not mix.
                os.write(entry.records, _RECORD.pack(block, checksum, check))
                entry.blocks[block] = checksum

    # Objects

    @contextlib.contextmanager
    def _entry(self, url: str, version: str, size: int, *, create: bool) -> Iterator[_Entry | None]:
        """Open an object's files, or take those that are open."""
        address = hashlib.sha256(url.encode()).hexdigest()[:32]
        name = f"{address}-{hashlib.sha256(f'{version} {size}'.encode()).hexdigest()[:32]}"
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                entry = self._open(address, name, create=create)
                if entry is None:
                    found = False
                else:
                    found = True
                    self._entries[name] = entry
            else:
                found = True
            if found and entry is not None:
                self._entries.move_to_end(name)
                entry.users += 1
                self._drop_idle()
        try:
            yield entry
        finally:
            if entry is not None:
                with self._lock:
                    entry.users -= 1

    def _drop_idle(self) -> None:
        for name, entry in list(self._entries.items()):
            if len(self._entries) <= _OPEN_ENTRIES:
                break
            if not entry.users:
                del self._entries[name]
                entry.close()

    def _open(self, address: str, name: str, *, create: bool) -> _Entry | None:
        folder = self._folder / name[:3]
        data, records = folder / f"{name}.data", folder / f"{name}.blocks"
        flags = os.O_RDWR | os.O_CLOEXEC
        if not records.exists():
            if not create or not self._reserve_locked(_OVERHEAD):
                return None
            folder.mkdir(exist_ok=True)
            self._remove_other_versions(folder, address, name)
        if create:
            flags |= os.O_CREAT
        try:
            data_descriptor = os.open(data, flags, 0o666)
        except FileNotFoundError:
            return None
        try:
            descriptor = os.open(records, flags | os.O_APPEND, 0o666)
        except FileNotFoundError:
            os.close(data_descriptor)
            return None
        except BaseException:
            os.close(data_descriptor)
            raise
        return _Entry(data_descriptor, descriptor, self._read_records(descriptor))

    def _read_records(self, descriptor: int) -> dict[int, int]:
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        if len(content) % _RECORD.size:  # a record that was torn: those behind it are shifted
            os.ftruncate(descriptor, len(content) - len(content) % _RECORD.size)
        whole = len(content) // _RECORD.size * _RECORD.size
        return {
            block: checksum
            for block, checksum, check in _RECORD.iter_unpack(content[:whole])
            if check == zlib.crc32(struct.pack("<II", block, checksum))
        }

    def _remove_other_versions(self, folder: Path, address: str, name: str) -> None:
        freed = 0
        for path in folder.glob(f"{address}-*"):
            if path.stem != name:
                with contextlib.suppress(FileNotFoundError):  # another process was faster
                    count = path.stat().st_blocks * 512
                    path.unlink()
                    freed += count
        if freed:
            with self._usage() as usage:
                usage.used -= freed

    # Bytes

    def _reserve(self, count: int) -> bool:
        with self._lock:
            return self._reserve_locked(count)

    def _reserve_locked(self, count: int) -> bool:
        """Return whether `count` more bytes may be written."""
        if self._left < count:
            with self._usage() as usage:
                for more in (_RESERVED_AT_ONCE, count - self._left):
                    if usage.used + more <= self._size and self._left + more >= count:
                        usage.used += more
                        self._left += more
                        break
                else:
                    self._full = True
                    return False
        self._left -= count
        return True

    def _open_folder(self) -> None:
        import fcntl

        self._folder.mkdir(parents=True, exist_ok=True)
        mark = self._folder / _MARKED
        names = {path.name for path in self._folder.iterdir()}
        if not mark.exists() and names - {_MARKED, _USAGE}:
            raise StoreError(
                f"The disk cache {str(self._folder)!r} holds other files: give an empty folder, or "
                "one that does not exist."
            )
        with self._usage():  # one process at a time
            content = mark.read_text() if mark.exists() else ""
            if not content:
                mark.write_text(_MARK)
            elif content != _MARK:
                raise StoreError(
                    f"The disk cache {str(self._folder)!r} was made by another version of "
                    "headrace: delete it."
                )
        self._users = os.open(self._folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                alone = False
            with self._usage() as usage:
                if alone and usage.open:  # a process was killed
                    usage.used = self._count_used()
                    usage.open = 0
                usage.open += 1
            fcntl.flock(self._users, fcntl.LOCK_SH)
        except BaseException:
            os.close(self._users)
            raise

    def _count_used(self) -> int:
        return sum(
            path.stat().st_blocks * 512
            for folder in self._folder.iterdir()
            if folder.is_dir()
            for path in folder.iterdir()
        )

    @contextlib.contextmanager
    def _usage(self) -> Iterator[_Usage]:
        """Change the file ``usage`` while no other process does."""
        import fcntl

        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._folder / _USAGE, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            words = os.pread(descriptor, 64, 0).split()
            try:
                usage = _Usage(*map(int, words))
            except (ValueError, TypeError):  # torn, or empty
                usage = _Usage(self._count_used(), 0)
            yield usage
            os.pwrite(
                descriptor, f"{max(0, usage.used):>20} {max(0, usage.open):>10}\n".encode(), 0
            )
        finally:
            os.close(descriptor)


@dataclass(slots=True)
class _Usage:
    used: int
    open: int
