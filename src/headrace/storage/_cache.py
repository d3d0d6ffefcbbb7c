"""`DiskCache`: blocks of objects in a folder of a local disk, up to a number of bytes.

Guarantees
----------
- **Never a wrong byte.** A block is given only if it was written whole: a record with its checksum
  is appended after the block. The record is checked when it is read, and the block each time it is
  read from the disk. A process may be killed at any moment. A folder is named after the address,
  the version and the size of an object, so bytes of another version are never found.
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
``xxx/NAME.data``: blocks of 32 KiB at their places in the object, with holes. ``xxx/NAME.blocks``:
records of 12 bytes, little-endian: number of the block, CRC-32 of the block, CRC-32 of both. These
two are read and written by the kernel (`_kernel.BlockFiles`): by the threads of its readers,
without the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace import _kernel
from headrace._formatting import brief, format_bytes
from headrace._validation import parse_bytes
from headrace.errors import StoreError
from headrace.storage._urls import is_url, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

    Data = bytes | bytearray | memoryview

__all__ = ["DiskCache", "check_cache", "files_name"]

_RECORD: Final = 12  # bytes, of each block
_OVERHEAD: Final = 8 << 10  # bytes that the two files of an object may take beyond their blocks
_LEAST: Final = 1 << 20
"""Bytes. Blocks have 32 KiB, so that less is a mistake, such as a forgotten unit. A guess."""
_RESERVED_AT_ONCE: Final = 8 << 20
_UNWRITTEN: Final = 16 << 20  # bytes; a guess

_THREADS: Final = 4
NO_FILES: Final = "-"
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
        Only one of the two arguments is given, or the size is no number of bytes, or too small.
    """
    if (folder is None) != (size is None):
        raise ValueError(
            f'{name}= and {name}_size= belong together: {name}="/nvme/headrace", '
            f'{name}_size="200 GiB".'
        )
    if size is None:
        return None
    count = parse_bytes(size, f"{name}_size")
    if count < _LEAST:
        raise ValueError(
            f"{name}_size={brief(size)} is less than 1 MiB, which holds next to nothing: write the "
            'unit, as in "200 GiB".'
        )
    return count


def files_name(url: str, size: int, version: str | None) -> str:
    """Return the name of the files of an object: hashes of its address, and of what it is."""
    if not version:
        return NO_FILES
    address, content = (
        hashlib.sha256(one.encode()).hexdigest()[:32] for one in (url, f"{version} {size}")
    )
    return f"{address}-{content}"


def _files_of(key: str) -> str:
    return key.split(" ", 3)[2]


class DiskCache:
    """Blocks of objects in a folder.

    Parameters
    ----------
    folder : str or path
        Is created if it does not exist.
    size : int
        The most bytes that it may hold.
    unwritten : int
        The most bytes that may wait to be written. What comes when there are as many is not kept.

    Attributes
    ----------
    files : _kernel.BlockFiles
        What native readers read from.

    Raises
    ------
    StoreError
        The folder cannot be used, or holds something else.
    """

    def __init__(
        self, folder: str | os.PathLike[str], size: int, unwritten: int = _UNWRITTEN
    ) -> None:
        if is_url(os.fspath(folder)):
            raise StoreError(
                f"The disk cache {redacted(os.fspath(folder))!r} is a URL: give a folder "
                "on a local disk."
            )
        self._folder = Path(folder)
        self._size = size
        self._most_waiting_bytes = unwritten
        self._lock = threading.Lock()
        self._left = 0  # reserved and not written
        self._waiting_bytes = 0
        self._closed = False
        try:
            self._open_folder()
        except StoreError:
            raise
        except OSError as error:
            why = error.strerror or str(error)
            raise StoreError(
                f"The disk cache {str(folder)!r} cannot be used ({why}): give a folder on a local "
                "disk that can be written."
            ) from error
        self.files = _kernel.BlockFiles(os.fsencode(self._folder))
        self._error: OSError | None = None
        self._executor = ThreadPoolExecutor(_THREADS, "headrace-cache")

    def __repr__(self) -> str:
        return f"<DiskCache: {str(self._folder)!r}, at most {format_bytes(self._size)}>"

    @property
    def admits(self) -> bool:
        """Whether more blocks may be kept."""
        return self.files.admits

    @property
    def problem(self) -> str | None:
        """Why nothing more is kept, once the disk has failed."""
        error = self._error
        if error is None and self.files.error:
            error = OSError(self.files.error, os.strerror(self.files.error))
        if error is None:
            return None
        return (
            f"the disk cache {str(self._folder)!r} cannot be used "
            f"({error.strerror or error}): nothing more is kept in it."
        )

    def keep(self, key: str, offset: int, data: Data) -> None:
        """Write what is whole blocks of bytes that were fetched, in another thread.

        `key` is that of the object in a `FetchedStore`. Nothing is kept of an object without a
        version.
        """
        view = memoryview(data)
        waiting = self._waiting_bytes + len(view)
        if not self.admits or waiting > self._most_waiting_bytes or _files_of(key) == NO_FILES:
            return
        with self._lock:
            self._waiting_bytes += len(view)
        try:
            self._executor.submit(self._keep, key, offset, view)
        except RuntimeError:  # closed
            return

    def close(self) -> None:
        """Finish what is being written, and give back what is reserved. May be called again."""
        if self._closed:
            return
        self._closed = True
        self._executor.shutdown(wait=True)
        self.files.close()
        with contextlib.suppress(OSError), self._usage() as usage:
            usage.used -= self._left
            usage.open -= 1
        os.close(self._users)

    # In threads

    def _keep(self, key: str, offset: int, data: memoryview) -> None:
        try:
            if self.files.open(key) or self._create(key):
                reserved = blocks = 0
                for size in self.files.absent_blocks(key, offset, len(data)):
                    if not self._reserve(size + _RECORD):
                        break
                    reserved += size + _RECORD
                    blocks += 1
                written = self.files.write(key, offset, data, blocks)
                with self._lock:
                    self._left += reserved - written
        except OSError as error:
            self._error = self._error or error
            self.files.stop_admitting()
        finally:
            with self._lock:
                self._waiting_bytes -= len(data)

    def _create(self, key: str) -> bool:
        """Make the files of an object that has none, and remove those of its other versions."""
        name = _files_of(key)
        with self._lock:
            if self.files.open(key):  # another thread was faster
                return True
            if not self._reserve_locked(_OVERHEAD):
                return False
            folder = self._folder / name[:3]
            folder.mkdir(exist_ok=True)
            self._remove_other_versions(folder, name)
            return self.files.open(key, create=True)

    def _remove_other_versions(self, folder: Path, name: str) -> None:
        freed = 0
        address = name.partition("-")[0]
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
                    self.files.stop_admitting()
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
