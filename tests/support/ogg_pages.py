"""Ogg files as lists of pages, to be taken apart, changed and written again."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CONTINUED", "FIRST", "LAST", "Page", "join", "packets", "paginate", "split"]

CONTINUED: Final = 1
FIRST: Final = 2
LAST: Final = 4
"""Flags of a page: it continues a packet; it begins a stream; it ends one."""

_POLYNOMIAL: Final = 0x04C11DB7
_HEADER: Final = struct.Struct("<4sBBqIIIB")


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 & 0xFFFFFFFF) ^ (_POLYNOMIAL if value >> 31 else 0)
        table.append(value)
    return table


_TABLE: Final = _table()


def _checksum(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ _TABLE[value >> 24 ^ byte]
    return value


@dataclass(frozen=True)
class Page:
    """One page; `lacing` are the sizes of its segments."""

    flags: int
    granule: int
    serial: int
    number: int
    lacing: bytes
    body: bytes

    def pack(self) -> bytes:
        """Return its bytes, with the right checksum."""
        fields = (b"OggS", 0, self.flags, self.granule, self.serial, self.number)
        head = _HEADER.pack(*fields, 0, len(self.lacing)) + self.lacing
        return (
            _HEADER.pack(*fields, _checksum(head + self.body), len(self.lacing))
            + self.lacing
            + self.body
        )

    @property
    def ended(self) -> int:
        """How many packets end on it."""
        return sum(size < 255 for size in self.lacing)


def split(data: bytes) -> list[Page]:
    """Return the pages of a file without damage."""
    pages, at = [], 0
    while at < len(data):
        mark, _, flags, granule, serial, number, _, count = _HEADER.unpack_from(data, at)
        assert mark == b"OggS"
        lacing = data[at + 27 : at + 27 + count]
        stop = at + 27 + count + sum(lacing)
        pages.append(Page(flags, granule, serial, number, lacing, data[at + 27 + count : stop]))
        at = stop
    return pages


def join(pages: Iterable[Page]) -> bytes:
    """Return the file that has these pages."""
    return b"".join(page.pack() for page in pages)


def packets(pages: Iterable[Page], serial: int | None = None) -> list[bytes]:
    """Return the packets of one stream: of the first page's, if no serial number is given."""
    found, held = [], b""
    for page in pages:
        serial = page.serial if serial is None else serial
        if page.serial != serial:
            continue
        at = 0
        for size in page.lacing:
            held += page.body[at : at + size]
            at += size
            if size < 255:
                found.append(held)
                held = b""
    return found


def paginate(
    groups: Iterable[tuple[list[bytes], int, int]], serial: int = 1, *, first: int = 0
) -> list[Page]:
    """Return pages for groups of whole packets, each with its granule position and flags.

    A group that takes several pages has them numbered on; all but the last have no granule
    position.
    """
    pages: list[Page] = []
    for group, granule, flags in groups:
        lacing = b"".join(b"\xff" * (len(one) // 255) + bytes([len(one) % 255]) for one in group)
        body = b"".join(group)
        for start in range(0, len(lacing), 255):
            part = lacing[start : start + 255]
            last = start + 255 >= len(lacing)
            its_flags = flags & ~(0 if last else LAST) & ~(FIRST if start else 0)
            if start and lacing[start - 1] == 255:
                its_flags |= CONTINUED
            position = granule if last else -1
            number = first + len(pages)
            pages.append(Page(its_flags, position, serial, number, part, body[: sum(part)]))
            body = body[sum(part) :]
    return pages
