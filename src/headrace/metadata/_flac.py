"""The metadata blocks of a FLAC file that may describe the recording.

The format is that of RFC 9639. Comments are those of Vorbis; and ``flac --keep-foreign-metadata``
keeps the chunks of the WAV file that it encodes, each in an ``APPLICATION`` block named ``riff``.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from headrace.metadata._riff import MOST_BYTES

__all__ = ["read_blocks"]

_APPLICATION, _COMMENTS = 2, 4
_MOST_BLOCKS: Final = 256


def read_blocks(file: BinaryIO) -> tuple[dict[bytes, bytes], list[tuple[str, str]]]:
    """Return the chunks of the WAV file that was encoded, and the comments.

    Parameters
    ----------
    file : binary file
        At its beginning.

    Returns
    -------
    chunks : dict of bytes to bytes
        As `read_chunks` returns them.
    comments : list of tuple of str
        Names, in capitals, and values.

    Raises
    ------
    OSError, DecodeError
        The file cannot be read.
    """
    chunks: dict[bytes, bytes] = {}
    comments: list[tuple[str, str]] = []
    if file.read(4) != b"fLaC":
        return chunks, comments
    for _ in range(_MOST_BLOCKS):
        head = file.read(4)
        if len(head) < 4:  # noqa: PLR2004  bytes of a block's header
            break
        kind, size = head[0] & 0x7F, int.from_bytes(head[1:], "big")
        start = file.tell()
        if kind in (_APPLICATION, _COMMENTS):
            content = file.read(min(size, MOST_BYTES))
            if kind == _COMMENTS:
                comments += _parse_comments(content)
            elif content[:4] == b"riff":
                chunks.setdefault(content[4:8], content[12:])
        if head[0] & 0x80:  # the last block
            break
        file.seek(start + size)
    return chunks, comments


def _parse_comments(content: bytes) -> list[tuple[str, str]]:
    texts: list[tuple[str, str]] = []
    try:
        at = 4 + struct.unpack_from("<I", content)[0]
        count = struct.unpack_from("<I", content, at)[0]
        at += 4
        for _ in range(count):
            size = struct.unpack_from("<I", content, at)[0]
            name, _, value = (
                content[at + 4 : at + 4 + size].decode("utf-8", "replace").partition("=")
            )
            texts.append((name.upper(), value))
            at += 4 + size
    except struct.error:  # cut short, or damaged
        pass
    return texts
