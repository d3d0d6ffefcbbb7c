"""The members of a tar: their names, and where their bytes stand. Only headers are read.

Understood are the formats of POSIX (ustar, pax), of GNU tar (long names, large sizes) and of the
tar of Unix V7. Nothing is unpacked, and no name of a member is ever used as a path of the system.

An *index* beside a tar, ``shard.tar.idx``, saves reading the headers. It is UTF-8 text. The first
line is ``headrace tar index 1``, a tab, and the size of the tar in bytes. Each further line is a
member: the byte of the tar at which its content begins, its size in bytes, and its name, separated
by tabs. An index that does not fit its tar is not used.

Units: offsets and sizes are bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from headrace.failures import Code

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["INDEX_ENDING", "TarMember", "has_header", "index_text", "parse_index", "read_tar"]

INDEX_ENDING: Final = ".idx"
"""What the name of an index has behind that of its tar."""

_BLOCK: Final = 512
_RECORD: Final = 20 * _BLOCK  # what GNU tar fills a tar up to with zeros
_MOST_NAME: Final = 100  # bytes of a header's name
_ZEROS: Final = bytes(_BLOCK)
_MOST_EXTENDED: Final = 1 << 20  # bytes of a long name or of pax records; a guess
_INDEX_BEGIN: Final = "headrace tar index 1"
_REGULAR: Final = frozenset({b"0", b"\0", b"7"})
_WITHOUT_CONTENT: Final = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})
_LINKS: Final = frozenset({b"1", b"2"})
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class TarMember(NamedTuple):
    """A file in a tar, or what is wrong with the tar.

    Attributes
    ----------
    name : str
        Without ``./`` and ``/`` at its beginning. Empty if `fault` is about the tar itself. Bytes
        that are not UTF-8 are surrogates.
    offset, size : int
        Where its content stands.
    fault : tuple of Code and str, or None
        Why it cannot be used.
    """

    name: str
    offset: int
    size: int
    fault: tuple[Code, str] | None = None


class _Header(NamedTuple):
    name: str
    size: int
    kind: bytes
    is_extended: bool


class _DamagedError(Exception):
    pass


def read_tar(file: BinaryIO, size: int) -> Iterator[TarMember]:
    """Yield the files in a tar, in its order; folders, devices and the like are left out.

    Parameters
    ----------
    file : binary file
        The tar.
    size : int
        Its size.

    Raises
    ------
    OSError, DecodeError
        It cannot be read.
    """
    at = members = end = 0
    extended: dict[str, str] = {}
    while True:
        file.seek(at)
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or block == _ZEROS:
            if end <= size:  # else a member that is cut short has been reported
                yield from _end(file, at, block, size)
            return
        try:
            header = _parse(block)
            content, next_at = _extent(file, at, header, extended)
            more = _read_extended(file, header, content, size)
        except _DamagedError as error:
            message = f"{error} at byte {at}: the {members} members before it are used"
            yield (
                _fault(Code.TRUNCATED, message) if at else _fault(Code.NOT_AUDIO, _not_a_tar(block))
            )
            return
        if more is not None:
            extended |= more
        else:
            member = _member(header, extended, content, size)
            if member is not None:
                members += 1
                end = content + member.size
                yield member
            extended = {}
        at = next_at


def _fault(code: Code, message: str) -> TarMember:
    return TarMember("", 0, 0, (code, message))


def _not_a_tar(block: bytes) -> str:
    for magic, name in _COMPRESSED.items():
        if block.startswith(magic):
            return f"it is compressed with {name}: decompress it, so that any member can be reached"
    return "it is no tar" if block else "the file has 0 bytes"


def _end(file: BinaryIO, at: int, block: bytes, size: int) -> Iterator[TarMember]:
    """Yield what is wrong with the end of a tar: `block` is zeros, or too short."""
    if len(block) < _BLOCK and at == 0:
        yield _fault(Code.NOT_AUDIO if size else Code.EMPTY, _not_a_tar(block))
    elif len(block) < _BLOCK:
        message = "the tar is cut short: it has no end, and members may be missing"
        yield _fault(Code.TRUNCATED, message)
    elif len(block) == _BLOCK and size - at > _RECORD:
        file.seek(at)
        if any(file.read(2 * _RECORD)):
            yield _fault(
                Code.HEADER_MISMATCH,
                f"something follows the end of the tar, at byte {at}, and is not read: "
                "if it is another tar, make a file of it",
            )


def _number(field: bytes) -> int:
    """Return a number in octal digits, or in base 256."""
    if field[0] & 0x80:
        positive = not field[0] & 0x40
        return int.from_bytes(field, "big") & ((1 << 8 * len(field) - 1) - 1) if positive else -1
    digits = field.split(b"\0", 1)[0].strip(b" ")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise _DamagedError("the tar is damaged") from None


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _parse(block: bytes) -> _Header:
    checksum = _number(block[148:156])
    plain = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if checksum != plain:
        # Some old tars add the bytes up with signs.
        negative = sum(byte > 127 for byte in block[:148] + block[156:])  # noqa: PLR2004
        if checksum != plain - 256 * negative:
            raise _DamagedError("the tar is damaged: a header's checksum is wrong")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = f"{_text(block[345:500])}/{name}"
    size = _number(block[124:136])
    if size < 0:
        raise _DamagedError("the tar is damaged: a size is negative")
    return _Header(name, size, block[156:157], bool(block[482]))


def _extent(file: BinaryIO, at: int, header: _Header, extended: dict[str, str]) -> tuple[int, int]:
    """Return where the content of a member begins, and where the next header does."""
    content = at + _BLOCK
    if header.kind == b"S":
        more = header.is_extended
        while more:  # further blocks say where the holes are
            file.seek(content)
            block = file.read(_BLOCK)
            if len(block) < _BLOCK:
                raise _DamagedError("the tar is cut off")
            more = bool(block[504])
            content += _BLOCK
    stored = _size_of(header, extended)
    if header.kind in _WITHOUT_CONTENT:
        stored = 0
    return content, content + -(-stored // _BLOCK) * _BLOCK


def _size_of(header: _Header, extended: dict[str, str]) -> int:
    size = extended.get("size", "")
    return int(size) if size.isascii() and size.isdigit() and header.kind != b"x" else header.size


def _read_extended(
    file: BinaryIO, header: _Header, content: int, size: int
) -> dict[str, str] | None:
    """Return what a pax header or a long name says of the next member; None of a member."""
    if header.kind in {b"K", b"g"}:  # where a link leads, and what is said of all members
        return {}
    if header.kind not in {b"x", b"L"}:
        return None
    if header.size > _MOST_EXTENDED or content + header.size > size:
        raise _DamagedError("the tar is damaged: a member's name is cut off, or too long")
    file.seek(content)
    data = file.read(header.size)
    if header.kind != b"x":
        return {"path": _text(data)}
    found = {}
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            raise _DamagedError("the tar is damaged: its pax records cannot be read")
        record, data = data[: int(length)], data[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        if data.strip(b"\0") == b"":
            break
    return found


def _member(
    header: _Header, extended: dict[str, str], content: int, tar_size: int
) -> TarMember | None:
    """Return a member that is a file, or would be one."""
    name = extended.get("GNU.sparse.name") or extended.get("path") or header.name
    is_sparse = header.kind == b"S" or any(key.startswith("GNU.sparse.") for key in extended)
    is_file = header.kind in _REGULAR and not name.endswith("/")
    if not is_file and not is_sparse and header.kind not in _LINKS:
        return None
    size = _size_of(header, extended)
    name = _without_root(name)
    fault = None
    if header.kind in _LINKS:
        fault = Code.UNSUPPORTED, "it is a link: put the file itself into the tar"
    elif is_sparse:
        fault = Code.UNSUPPORTED, "it is stored with holes (sparse): make the tar without --sparse"
    elif ".." in name.split("/"):
        fault = Code.UNSUPPORTED, "its name in the tar leads out of the tar: rename it"
    elif content + size > tar_size:
        fault = (
            Code.TRUNCATED,
            f"the tar is cut short: it has {max(0, tar_size - content)} of the {size} bytes",
        )
    return TarMember(name, content, size, fault)


def _without_root(name: str) -> str:
    name = name.lstrip("/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def parse_index(text: str, tar_size: int) -> list[TarMember] | None:
    """Return the members that an index lists, or None if it is not one of a tar of this size."""
    lines = text.removesuffix("\n").split("\n")
    if lines[0] != f"{_INDEX_BEGIN}\t{tar_size}":
        return None
    members = []
    for line in lines[1:]:
        offset, _, rest = line.partition("\t")
        size, _, name = rest.partition("\t")
        if not (offset.isdecimal() and size.isdecimal() and name):
            return None
        member = TarMember(name, int(offset), int(size))
        if member.offset % _BLOCK or not 0 < member.offset <= tar_size - member.size:
            return None
        members.append(member)
    return members


def has_header(file: BinaryIO, member: TarMember) -> bool:
    """Return whether the header of a file of this size and name stands before its content.

    A name that is long or not ASCII may stand elsewhere, and is not compared.
    """
    file.seek(member.offset - _BLOCK)
    try:
        header = _parse(file.read(_BLOCK).ljust(_BLOCK, b"\0"))
    except _DamagedError:
        return False
    is_plain = member.name.isascii() and len(member.name) < _MOST_NAME
    if is_plain and _without_root(header.name) != member.name:
        return False
    return header.kind in _REGULAR and header.size in {member.size, 0}


def index_text(members: Iterable[TarMember], tar_size: int) -> str:
    """Return the index of a tar that has these members, whose names have no control characters."""
    lines = [f"{_INDEX_BEGIN}\t{tar_size}"]
    lines += [f"{one.offset}\t{one.size}\t{one.name}" for one in members]
    return "\n".join(lines) + "\n"
