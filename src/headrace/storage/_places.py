"""`Place`: where the bytes of one recording are."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from headrace import _kernel
from headrace.failures import Code, DecodeError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Place", "Store", "as_place"]


class Store(Protocol):
    """Where the bytes of a catalog's recordings are, if they are no files of the system."""

    @property
    def native(self) -> _kernel.ByteStore:
        """What the kernel reads from, by a recording's path."""

    def has(self, path: str) -> bool:
        """Return whether it has the recordings with this path; else they are files."""

    @property
    def held_bytes(self) -> int:
        """Bytes that it may hold in memory while a loader reads, beside what the user holds."""


@dataclass(frozen=True, slots=True)
class Place:
    """A whole file, a part of one, or an object of a store or a part of it.

    Attributes
    ----------
    path : str
        The file; or the object's key in `store`.
    offset : int or None
        Byte at which the recording begins. None for a whole file or object.
    length : int or None
        Bytes of the recording. None if it ends with the file or object.
    store : ByteStore or None
        Where `path` is a key. None for a file of the system.
    pieces : bytes or None
        What is stored of the recording, from `offset` on: see `_pieces`. None if all is.

    Raises
    ------
    ValueError
        A number is negative.
    """

    path: str
    offset: int | None = None
    length: int | None = None
    store: _kernel.ByteStore | None = None
    pieces: bytes | None = None

    def __post_init__(self) -> None:
        if (self.offset or 0) < 0 or (self.length or 0) < 0:
            raise ValueError(f"A place must not have negative numbers: {self!r}.")

    @property
    def is_whole_file(self) -> bool:
        """Whether this is all of a file of the system."""
        return self.store is None and self.offset is None and self.length is None

    @property
    def native(self) -> _kernel.Place:
        """What the kernel is given."""
        is_key = self.store is not None
        return _kernel.Place(
            path=self.path.encode("utf-8", "surrogateescape") if is_key else _path_of(self.path),
            offset=self.offset or 0,
            length=-1 if self.length is None else self.length,
            store=self.store,
            pieces=self.pieces,
        )

    def open(self) -> BinaryIO:
        """Open the bytes for reading by Python.

        Raises
        ------
        OSError
            The system cannot open the file.
        DecodeError
            A part of a file, or an object, cannot be opened; reading raises it, too.
        """
        if self.is_whole_file:
            return Path(self.path).open("rb")
        return cast("BinaryIO", io.BufferedReader(_Bytes(self)))

    def size(self) -> int:
        """Return the number of bytes; raises as `open`."""
        return Path(self.path).stat().st_size if self.is_whole_file else _Bytes(self).size

    def watched(self) -> tuple[Self, _kernel.WatchedStore | None]:
        """Return the same place with a store that keeps its first error, and that store."""
        if self.store is None:
            return self, None
        store = _kernel.WatchedStore(self.store)
        return replace(self, store=store), store


def as_place(path: str | Place) -> Place:
    """Return a place; of a path, that of the whole file."""
    return path if isinstance(path, Place) else Place(path)


def _path_of(path: str) -> bytes:
    """Return `path` as the system's open function takes it."""
    return path.encode("utf-16-le") if sys.platform == "win32" else os.fsencode(path)


class _Bytes(io.RawIOBase):
    """The bytes of a place as a file of Python's."""

    def __init__(self, place: Place) -> None:
        self._bytes = _kernel.PlaceBytes(place.native)
        self._raise_error()
        self._at = 0

    @property
    def size(self) -> int:
        return self._bytes.size

    def _raise_error(self) -> None:
        if self._bytes.error is not None:
            code, message = self._bytes.error
            raise DecodeError(Code(code), message)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"There is nothing before the first byte: {base + offset}.")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, to: memoryview, /) -> int:  # type: ignore[override]  # a buffer of any type
        data = self._bytes.read(self._at, len(to))
        self._raise_error()
        to[: len(data)] = data
        self._at += len(data)
        return len(data)
