"""The chunks of a WAV file, without its samples.

The format is that of the "Multimedia Programming Interface and Data Specifications 1.0" (IBM and
Microsoft, 1991); RF64 and BW64, for files above 4 GiB, are those of EBU Tech 3306 and ITU-R
BS.2088.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["MOST_BYTES", "decode_text", "info_texts", "read_chunks"]

MOST_BYTES: Final = 1 << 20
"""Read of one chunk: metadata have some kilobytes, and a damaged header may declare gigabytes."""

_MOST_CHUNKS: Final = 256
"""A damaged file may look as if it had millions. A guess."""

_LARGE: Final = 0xFFFFFFFF  # in RF64, the size stands in the chunk ds64
_HEAD: Final = struct.Struct("<4sI")


def read_chunks(file: BinaryIO, wanted: Collection[bytes]) -> dict[bytes, bytes]:
    """Return the contents of the chunks with these names; the first one if there are several.

    Parameters
    ----------
    file : binary file
        At its beginning. Chunks that are not wanted are skipped by seeking.
    wanted : collection of bytes
        Names of four bytes. Of ``LIST``, lists of other types than ``INFO`` do not count.

    Raises
    ------
    OSError, DecodeError
        The file cannot be read.
    """
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return {}
    found: dict[bytes, bytes] = {}
    data_bytes = 0
    for _ in range(_MOST_CHUNKS):
        head = file.read(_HEAD.size)
        if head[:1] == b"\0" and len(head) == _HEAD.size:
            head = head[1:] + file.read(1)
        elif len(head) == _HEAD.size and not head[:4].isascii():
            break
        if len(head) < _HEAD.size:
            break
        name, size = _HEAD.unpack(head)
        start = file.tell()
        if name == b"ds64":
            data_bytes = struct.unpack("<8xQ", file.read(16).ljust(16, b"\0"))[0]
        if name == b"data" and size == _LARGE:
            size = data_bytes
        if name in wanted and name not in found:
            content = file.read(min(size, MOST_BYTES))
            if name != b"LIST" or content[:4] == b"INFO":
                found[name] = content
        file.seek(start + size)  # the pad byte of an odd chunk, which some writers omit, is a NUL
    return found


def info_texts(content: bytes) -> dict[bytes, str]:
    """Return the texts of a chunk ``LIST`` of type ``INFO``, by their names of four bytes."""
    file = io.BytesIO(content[4:])
    texts: dict[bytes, str] = {}
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        name, size = _HEAD.unpack(head)
        texts.setdefault(name, decode_text(file.read(size)))
        file.seek(size & 1, io.SEEK_CUR)
    return texts


def decode_text(content: bytes) -> str:
    """Return text up to the first NUL: UTF-8, or else Latin-1."""
    content = content.partition(b"\0")[0]
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        return content.decode("latin-1").strip()
