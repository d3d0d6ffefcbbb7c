"""`ScanReads`: what a scan of objects in a store is about to read, by their names and sizes."""

from __future__ import annotations

from dataclasses import dataclass

from headrace._formatting import format_bytes, format_count
from headrace.codecs import SMALL_FILE, ends_of

__all__ = ["ScanReads"]


@dataclass(slots=True)
class ScanReads:
    """How many objects will be read, and how far.

    Attributes
    ----------
    unchanged : int
        Objects that are not read, because the catalog of an earlier scan has them.
    whole, heads, ends : int
        Objects that are read from begin to end; of which the first bytes tell everything; and of
        which the last ones are needed, too.
    nbytes : int
        Bytes that are read, about. Headers may need more.
    """

    unchanged: int = 0
    whole: int = 0
    heads: int = 0
    ends: int = 0
    nbytes: int = 0

    def add(self, name: str, size: int, *, all_of_ogg: bool = False) -> None:
        """Count an object; a size below 0 is not known yet."""
        if size < 0:
            self.heads += 1
            self.nbytes += SMALL_FILE
            return
        ends = ends_of(name, size)
        if ends.all or ends.head >= size or (ends.tail and all_of_ogg):
            self.whole += 1
            self.nbytes += size
        else:
            self.ends += bool(ends.tail)
            self.heads += not ends.tail
            self.nbytes += ends.head + ends.tail

    @property
    def objects(self) -> int:
        """Objects that are read."""
        return self.whole + self.heads + self.ends

    def __str__(self) -> str:
        parts = [
            f"{count:,} {how}"
            for count, how in (
                (self.heads, "by their first bytes"),
                (self.ends, "by their first and last bytes"),
                (self.whole, "whole"),
            )
            if count
        ]
        kept = f"; {self.unchanged:,} are known" if self.unchanged else ""
        if not parts:
            return f"Nothing is read{kept}."
        return (
            f"Reading {format_count(self.objects, 'object')}: {', '.join(parts)}; "
            f"about {format_bytes(self.nbytes)}{kept}."
        )
