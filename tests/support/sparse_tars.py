"""Tars whose members are stored without their holes, in the four formats of GNU tar."""

from __future__ import annotations

import io
import re
import tarfile
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FORMATS", "holes_in", "sparse_member", "write_sparse_tar"]

FORMATS = ("gnu", "0.0", "0.1", "1.0")
"""GNU tar's old format, and its three ways to use pax records."""

Pieces = list[tuple[int, int]]


def sparse_member(name: str, content: bytes, pieces: Pieces, format_: str, **changes: Any) -> bytes:
    """Return a member of a tar that has only these pieces, each a start and a size.

    `changes` replace what is written: ``size``, the file's; ``stored``, the bytes that the header
    says; ``data``, the bytes that follow; ``records``, further pax records; ``map_`` the pieces
    that are told.
    """
    data: bytes = changes.get(
        "data", b"".join(content[start : start + size] for start, size in pieces)
    )
    told = changes.get("map_", pieces)
    size = changes.get("size", len(content))
    records: list[tuple[str, str]] = []
    if format_ == "1.0":
        lines = "".join(f"{number}\n" for number in (len(told), *chain(*told)))
        data = lines.encode().ljust(-(-len(lines) // 512) * 512, b"\0") + data
        records = [("major", "1"), ("minor", "0"), ("name", name), ("realsize", str(size))]
    elif format_ != "gnu":
        records = [("size", str(size)), ("numblocks", str(len(told)))]
        if format_ == "0.1":
            numbers = ",".join(str(number) for number in chain(*told))
            records += [("name", name), ("map", numbers)]
        else:
            for start, count in told:
                records += [("offset", str(start)), ("numbytes", str(count))]
    records += changes.get("records", [])
    stored = changes.get("stored", len(data))
    shown = name if format_ in {"gnu", "0.0"} else f"GNUSparseFile.1/{name}"
    kind = tarfile.GNUTYPE_SPARSE if format_ == "gnu" else tarfile.REGTYPE
    head = _header(shown, stored, kind, told if format_ == "gnu" else None, size)
    return _extended(records) + head + data + bytes(-len(data) % 512)


def _header(name: str, size: int, kind: bytes, pieces: Pieces | None, whole: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT)[-512:])
    more = b""
    if pieces is not None:
        entries = [f"{start:011o}\0{count:011o}\0".encode() for start, count in pieces]
        head[386 : 386 + 96] = b"".join(entries[:4]).ljust(96, b"\0")
        rest = [entries[at : at + 21] for at in range(4, len(entries), 21)]
        head[482] = bool(rest)
        head[483:495] = f"{whole:011o}\0".encode()
        for number, some in enumerate(rest, 1):
            block = b"".join(some).ljust(504, b"\0") + bytes([number < len(rest)])
            more += block.ljust(512, b"\0")
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return bytes(head) + more


def _extended(records: Sequence[tuple[str, str]]) -> bytes:
    """Return a pax header with records of which the names lack ``GNU.sparse.``."""
    if not records:
        return b""
    data = bytearray()
    for key, value in records:
        line = f" GNU.sparse.{key}={value}\n".encode()
        length = len(line) + len(str(len(line) + len(str(len(line)))))
        data += str(length).encode() + line
    head = _header("PaxHeaders/x", len(data), tarfile.XHDTYPE, None, 0)
    return head + bytes(data) + bytes(-len(data) % 512)


def holes_in(content: bytes, *, most: int = 1 << 20) -> Pieces:
    """Return the pieces of some bytes, in blocks of 512 bytes, that are not only zeros.

    None is larger than `most` bytes, so that there are several.
    """
    pieces: Pieces = []
    for start in range(0, len(content), 512):
        block = content[start : start + 512]
        if not re.search(rb"[^\0]", block):
            continue
        if pieces and sum(pieces[-1]) == start and pieces[-1][1] < most:
            pieces[-1] = pieces[-1][0], pieces[-1][1] + len(block)
        else:
            pieces.append((start, len(block)))
    return pieces


def write_sparse_tar(folder: Path, tar: Path, *, most: int = 8 << 10) -> None:
    """Write the files of a folder into a tar, without their holes, each in another format."""
    out = io.BytesIO()
    files = sorted(one for one in folder.rglob("*") if one.is_file())
    for number, file in enumerate(files):
        content = file.read_bytes()
        name = file.relative_to(folder).as_posix()
        pieces = holes_in(content, most=most)
        out.write(sparse_member(name, content, pieces, FORMATS[number % len(FORMATS)]))
    tar.write_bytes(out.getvalue() + bytes(1024))
