"""`ShardWriter`: one tar shard, which appears under its name when it is complete, or not at all."""

from __future__ import annotations

import os
import tarfile
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from headrace.storage import INDEX_ENDING, index_text, read_tar

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.storage import TarMember

__all__ = ["ShardWriter"]


class ShardWriter:
    """Writes a tar in the format of POSIX (pax), and its index beside it.

    The bytes depend on the members alone: times and owners are zero.

    Parameters
    ----------
    file : Path
        The shard.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
        self._raw = self._temporary.open("x+b")
        self._tar = tarfile.open(fileobj=self._raw, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._raw.tell()

    def add(self, name: str, content: BinaryIO, size: int) -> None:
        """Add a member."""
        member = tarfile.TarInfo(name)
        member.size = size
        member.mode = 0o644
        self._tar.addfile(member, content)

    def finish(self) -> list[TarMember]:
        """Write the end and the index, give the shard its name, and return its members."""
        self._tar.close()
        size = self._raw.tell()
        self._raw.flush()
        members = list(read_tar(self._raw, size))
        os.fsync(self._raw.fileno())
        self._raw.close()
        index = self._temporary.with_name(self._temporary.name + INDEX_ENDING)
        try:
            index.write_text(index_text(members, size), "utf-8")
            self._temporary.replace(self.file)
            index.replace(self.file.with_name(self.file.name + INDEX_ENDING))
        finally:
            with suppress(FileNotFoundError):
                index.unlink()
        return members

    def discard(self) -> None:
        """Delete what was written, unless it is finished."""
        self._raw.close()
        with suppress(FileNotFoundError):
            self._temporary.unlink()
