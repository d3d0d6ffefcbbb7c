"""The members of a tar: their names, and where their bytes stand. Only headers are read.

Understood are the formats of POSIX (ustar, pax), of GNU tar (long names, large sizes, and files
without their holes in each of its four formats) and of the tar of Unix V7. Nothing is unpacked, and
no name of a member is ever used as a path of the system.

An *index* beside a tar, ``shard.tar.idx``, saves reading the headers. It is UTF-8 text. The first
line is ``headrace tar index 1``, a tab, and the size of the tar in bytes. Each further line is a
member: the byte of the tar at which its content begins, its size in bytes, and its name, separated
by tabs. Of a member without its holes, the size has behind it ``=`` and its pieces, separated by
commas, as ``START+SIZE``. An index that does not fit its tar is not used.

Units: offsets and sizes are bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, TypeAlias

from headrace.failures import Code
from headrace.storage._pieces import pack_pieces, stored_size, unpack_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "INDEX_ENDING",
    "TarMember",
    "has_header",
    "index_text",
    "parse_index",
    "read_member",
    "read_tar",
]

INDEX_ENDING: Final = ".idx"
"""What the name of an index has behind that of its tar."""

_BLOCK: Final = 512
_RECORD: Final = 20 * _BLOCK  # what GNU tar fills a tar up to with zeros
_MOST_NAME: Final = 100  # bytes of a header's name
_ZEROS: Final = bytes(_BLOCK)
_BAD_MAP: Final = "what the tar says of the file's holes (sparse) is damaged: make the tar again"
_MOST_EXTENDED: Final = 8 << 20  # bytes of a long name or of pax records: of the most pieces
_MOST_PIECES: Final = 1 << 16  # of one member: 1 MiB in a catalog. A guess
_MOST_NUMBER: Final = 1 << 62
_MOST_DIGITS: Final = 20  # of the length of a pax record
_RECORDS: Final = frozenset({b"path", b"size"})
_PIECE_RECORDS: Final = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
_ENTRY: Final = 24  # bytes of a piece in a header of GNU tar: start and size
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
    pieces : bytes or None
        Which pieces of it stand from `offset` on, if it is stored without its holes: see `_pieces`.
    """

    name: str
    offset: int
    size: int
    fault: tuple[Code, str] | None = None
    pieces: bytes | None = None

    @property
    def stored_size(self) -> int:
        """Bytes that it takes in the tar."""
        return stored_size(self.size, self.pieces)


class _Header(NamedTuple):
    name: str
    size: int
    kind: bytes
    is_extended: bool


class _DamagedError(Exception):
    pass


class _UnusableError(Exception):
    """Why a member cannot be used."""

    def __init__(self, message: str, code: Code = Code.UNSUPPORTED) -> None:
        super().__init__(message)
        self.code = code


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
            member = _member(file, at, header, extended, content, size)
            if member is not None:
                members += 1
                end = content + _size_of(header, extended)
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
    return _pax_records(data)


def _pax_records(data: bytes) -> dict[str, str]:
    """Return those of the records that are used here, each piece of a file with holes in order."""
    found: dict[str, str] = {}
    pieces: list[str] = []
    at = 0
    while at < len(data) and (data[at] or data[at:].strip(b"\0")):
        digits = data.find(b" ", at, at + _MOST_DIGITS)
        length = data[at:digits] if digits >= 0 else b""
        end = at + int(length) if length.isdigit() else 0
        if not digits + 1 < end <= len(data):
            raise _DamagedError("the tar is damaged: its pax records cannot be read")
        key, _, value = data[digits + 1 : end - 1].partition(b"=")
        at = end
        if key in _PIECE_RECORDS:
            if key != _PIECE_RECORDS[len(pieces) % 2]:
                pieces.append("")  # no number
            pieces.append(value.decode("ascii", "replace"))
        elif key in _RECORDS or key.startswith(b"GNU.sparse."):
            found[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
    if pieces:
        found["GNU.sparse.map"] = ",".join(pieces)
    return found


def _member(
    file: BinaryIO,
    at: int,
    header: _Header,
    extended: dict[str, str],
    content: int,
    tar_size: int,
) -> TarMember | None:
    """Return a member that is a file, or would be one; its header stands `at` this byte."""
    name = extended.get("GNU.sparse.name") or extended.get("path") or header.name
    is_file = header.kind in {*_REGULAR, b"S"} and not name.endswith("/")
    if not is_file and header.kind not in _LINKS:
        return None
    member = TarMember(_without_root(name), content, _size_of(header, extended))
    try:
        _check_usable(header, member, tar_size)
        if header.kind == b"S":
            file.seek(at)
            head = file.read(min(content - at, _MOST_EXTENDED))
            return _with_pieces(member, *_gnu_pieces(head))
        if any(key.startswith("GNU.sparse.") for key in extended):
            return _with_pieces(member, *_pax_pieces(file, member, extended))
    except _UnusableError as error:
        return member._replace(fault=(error.code, str(error)))
    return member


def _check_usable(header: _Header, member: TarMember, tar_size: int) -> None:
    if header.kind in _LINKS:
        raise _UnusableError("it is a link: put the file itself into the tar")
    if ".." in member.name.split("/"):
        raise _UnusableError("its name in the tar leads out of the tar: rename it")
    if member.offset + member.size > tar_size:
        has = max(0, tar_size - member.offset)
        message = f"the tar is cut short: it has {has} of the {member.size} bytes"
        raise _UnusableError(message, Code.TRUNCATED)


_Pieces: TypeAlias = "Sequence[tuple[int, int]]"


def _gnu_pieces(head: bytes) -> tuple[int, _Pieces, int]:
    """Return the size of a file whose header has its pieces, the pieces, and 0.

    `head` is the header and the blocks behind it, which have further pieces.
    """
    try:
        fields = [(386, 4), *((block, 21) for block in range(_BLOCK, len(head), _BLOCK))]
        pieces: list[tuple[int, int]] = []
        for first, count in fields:
            for entry in range(first, first + count * _ENTRY, _ENTRY):
                start, size = head[entry : entry + 12], head[entry + 12 : entry + _ENTRY]
                if not start[0] and not size[0]:
                    break
                pieces.append((_number(start), _number(size)))
        return _number(head[483:495]), pieces, 0
    except _DamagedError:
        raise _UnusableError(_BAD_MAP, Code.HEADER_MISMATCH) from None


def _pax_pieces(
    file: BinaryIO, member: TarMember, extended: dict[str, str]
) -> tuple[int, _Pieces, int]:
    """Return the size of a file whose pax records tell of holes, its pieces, and their place.

    That is the number of bytes of the member that stand before them.
    """
    version = extended.get("GNU.sparse.major", "0"), extended.get("GNU.sparse.minor", "0")
    if version[0] == "0":
        size = _decimal(extended.get("GNU.sparse.size", ""))
        text = extended.get("GNU.sparse.map", "")
        numbers = list(map(_decimal, text.split(","))) if text else []
        if 2 * _decimal(extended.get("GNU.sparse.numblocks", "")) != len(numbers):
            raise _UnusableError(_BAD_MAP, Code.HEADER_MISMATCH)
        before = 0
    elif version == ("1", "0"):
        size = _decimal(extended.get("GNU.sparse.realsize", ""))
        numbers, before = _read_map(file, member)
    else:
        message = f"it is stored with holes (sparse), in the unknown format {'.'.join(version)}"
        raise _UnusableError(f"{message}: make the tar without --sparse")
    return size, list(zip(numbers[::2], numbers[1::2], strict=True)), before


def _read_map(file: BinaryIO, member: TarMember) -> tuple[list[int], int]:
    """Return the numbers in lines of text that a member begins with, and the bytes of its blocks.

    The first line says how many pairs of numbers follow.
    """
    file.seek(member.offset)
    text = bytearray()
    lines = 0
    wanted = 1
    while lines < wanted:
        block = file.read(_BLOCK)
        if len(block) < _BLOCK or len(text) + _BLOCK > member.size:
            raise _UnusableError(_BAD_MAP, Code.HEADER_MISMATCH)
        text += block
        lines += block.count(b"\n")
        if wanted == 1 and lines:
            count = _decimal(text.partition(b"\n")[0].decode("ascii", "replace"))
            _check_number(count)
            wanted = 1 + 2 * count
        elif not lines:
            raise _UnusableError(_BAD_MAP, Code.HEADER_MISMATCH)
    numbers = text.decode("ascii", "replace").split("\n")[1:wanted]
    return list(map(_decimal, numbers)), len(text)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):  # noqa: PLR2004  digits of 64 bits
        raise _UnusableError(_BAD_MAP, Code.HEADER_MISMATCH)
    return int(text)


def _check_number(pieces: int) -> None:
    if pieces > _MOST_PIECES:
        message = f"it is stored in {pieces} pieces (sparse), and the most are {_MOST_PIECES}"
        raise _UnusableError(f"{message}: make the tar without --sparse")


def _with_pieces(member: TarMember, size: int, pieces: _Pieces, before: int) -> TarMember:
    """Return a member of `size` bytes, of which pieces are stored behind the first `before` bytes.

    Raises
    ------
    _UnusableError
        They do not fit each other, the size, or what is stored.
    """
    _check_number(len(pieces))
    end = 0
    for start, count in pieces:
        if start < end or count < 0:
            raise _UnusableError(_BAD_MAP, Code.HEADER_MISMATCH)
        end = start + count
    counts = [count for _, count in pieces if count]
    if not end <= size < _MOST_NUMBER or sum(counts) != member.size - before:
        raise _UnusableError(_BAD_MAP, Code.HEADER_MISMATCH)
    if any(count % _BLOCK for count in counts[:-1]):
        message = "it is stored with holes (sparse) that do not begin at a block of 512 bytes"
        raise _UnusableError(
            f"{message}, which programs read in two ways: make the tar without --sparse"
        )
    packed = pack_pieces([one for one in pieces if one[1]])
    return member._replace(offset=member.offset + before, size=size, pieces=packed)


def _without_root(name: str) -> str:
    name = name.lstrip("/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def read_member(file: BinaryIO, member: TarMember) -> bytes:
    """Return what is in a member; raises as `file`."""
    file.seek(member.offset)
    stored = file.read(member.stored_size)
    if member.pieces is None:
        return stored
    whole = bytearray(member.size)
    at = 0
    for start, count in unpack_pieces(member.pieces).tolist():
        whole[start : start + count] = stored[at : at + count]
        at += count
    return bytes(whole)


def parse_index(text: str, tar_size: int) -> list[TarMember] | None:
    """Return the members that an index lists, or None if it is not one of a tar of this size."""
    lines = text.removesuffix("\n").split("\n")
    if lines[0] != f"{_INDEX_BEGIN}\t{tar_size}":
        return None
    members = []
    for line in lines[1:]:
        offset, _, rest = line.partition("\t")
        size, _, name = rest.partition("\t")
        size, mark, pieces = size.partition("=")
        if not (offset.isdecimal() and size.isdecimal() and name):
            return None
        member = TarMember(name, int(offset), int(size))
        if mark:
            try:
                member = _with_listed_pieces(member, pieces)
            except _UnusableError:
                return None
        if member.offset % _BLOCK or not 0 < member.offset <= tar_size - member.stored_size:
            return None
        members.append(member)
    return members


def _with_listed_pieces(member: TarMember, text: str) -> TarMember:
    pieces = []
    for one in text.split(",") if text else ():
        start, _, count = one.partition("+")
        pieces.append((_decimal(start), _decimal(count)))
    stored = sum(count for _, count in pieces)
    return _with_pieces(member._replace(size=stored), member.size, pieces, 0)


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
    lines += [f"{one.offset}\t{one.size}{_listed_pieces(one)}\t{one.name}" for one in members]
    return "\n".join(lines) + "\n"


def _listed_pieces(member: TarMember) -> str:
    if member.pieces is None:
        return ""
    pieces = unpack_pieces(member.pieces).tolist()
    return "=" + ",".join(f"{start}+{count}" for start, count in pieces)
