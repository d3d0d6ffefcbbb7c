"""Tar shards among the files of a scan: their members take their place.

A member is a recording if its name has one of the extensions of audio files. Others are left out,
but for WebDataset's sidecars: ``x/1.json``, ``x/1.txt`` and ``x/1.cls`` describe ``x/1.flac``; what
is equal are the names up to the first dot behind the last slash. They become columns.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace._paths import join
from headrace.catalog._table import BUILT_IN
from headrace.codecs import EXTENSIONS
from headrace.failures import Code, DecodeError, Failure, describe_os_error
from headrace.storage import (
    INDEX_ENDING,
    Place,
    has_header,
    parse_index,
    read_member,
    read_tar,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog._find import FoundFiles
    from headrace.storage import TarMember

__all__ = ["Members", "ScannedFiles", "TarContent", "is_tar", "open_tars", "read_members"]

_TARS: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""What names of tars end with. Of one that is compressed, the reader says so."""
_SIDECARS: Final = frozenset({"json", "txt", "cls"})
_MOST_SIDECAR: Final = 1 << 20  # bytes. A guess: labels and transcripts are smaller
_KEY: Final = re.compile(r"(?:.*/)?[^/.]*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ScannedFiles:
    """The recordings of a scan, before their headers are read: files, and members of tars.

    Attributes
    ----------
    root : str
        Absolute path of the folder that the ids are relative to.
    ids : list of str
        Sorted, without duplicates; of a member the id of its tar, a slash, and its name.
    failures : list of Failure
        What could not be listed, and what is wrong with tars.
    tars : list of str
        Paths of the tars.
    tar_of : ndarray of int32
        By id: index into `tars`, or -1 for a file.
    offsets, sizes, changed_ns : ndarray of int64
        By id: where the member stands, its size, and the time when its tar was last changed.
    columns : dict of str to Arrow array
        By id: what sidecars say.
    pieces : dict of int to bytes
        By id, of members that are stored without their holes.
    """

    root: str
    ids: list[str]
    failures: list[Failure]
    tars: list[str] = field(default_factory=list)
    tar_of: NDArray[np.int32] | None = None
    offsets: NDArray[np.int64] | None = None
    sizes: NDArray[np.int64] | None = None
    changed_ns: NDArray[np.int64] | None = None
    columns: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    pieces: dict[int, bytes] = field(default_factory=dict)

    def place(self, row: int) -> Place:
        """Return where the recording with this id is."""
        if self.tar_of is None or self.tar_of[row] < 0:
            return Place(join(self.root, self.ids[row]))
        assert self.offsets is not None
        assert self.sizes is not None
        return Place(
            self.tars[self.tar_of[row]],
            int(self.offsets[row]),
            int(self.sizes[row]),
            pieces=self.pieces.get(row),
        )

    def paths(self) -> list[str]:
        """Return the path of each recording's file."""
        if self.tar_of is None:
            return [join(self.root, one) for one in self.ids]
        return [
            join(self.root, one) if tar < 0 else self.tars[tar]
            for one, tar in zip(self.ids, self.tar_of.tolist(), strict=True)
        ]

    def is_unchanged(self, row: int, size: int, changed_ns: int, offset: int) -> bool:
        """Return whether a recording has this size, time of change and offset (-1: a file)."""
        if self.tar_of is not None and self.tar_of[row] >= 0:
            assert self.offsets is not None
            assert self.sizes is not None
            assert self.changed_ns is not None
            found = self.sizes[row], self.changed_ns[row], self.offsets[row]
            return bool(found == (size, changed_ns, offset))
        if size < 0 or offset >= 0:
            return False
        try:
            status = os.stat(join(self.root, self.ids[row]))
        except OSError:
            return False
        return bool(status.st_size == size and status.st_mtime_ns == changed_ns)


def open_tars(files: FoundFiles) -> ScannedFiles:
    """Return the files with the members of tars in the place of the tars."""
    plain = [one for one in files.ids if not is_tar(one)]
    if len(plain) == len(files.ids):
        return ScannedFiles(files.root, plain, list(files.failures))
    members = Members(len(plain), list(files.failures))
    for tar_id in filter(is_tar, files.ids):
        path = join(files.root, tar_id)
        try:
            changed_ns = Path(path).stat().st_mtime_ns
            with Place(path).open() as file:
                size = os.fstat(file.fileno()).st_size
                members.add(tar_id, path, changed_ns, read_members(file, size, _index_beside(path)))
        except OSError as error:
            members.failures.append(Failure(tar_id, path, *describe_os_error(error)))
        except DecodeError as error:
            members.failures.append(Failure(tar_id, path, error.code, error.message))
    ids, order, rows = members.in_order(plain)
    tar_of, offsets, sizes, changed = rows.T
    return ScannedFiles(
        files.root,
        ids,
        members.failures,
        members.tars,
        tar_of.astype(np.int32),
        offsets.copy(),
        sizes.copy(),
        changed.copy(),
        members.sidecars.in_order(len(plain), order),
        members.pieces_in_order(order),
    )


def is_tar(name: str) -> bool:
    """Return whether a file is a tar, by its name."""
    return name.lower().endswith(_TARS)


def _index_beside(path: str) -> str | None:
    try:
        return Path(path + INDEX_ENDING).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


@dataclass(slots=True)
class TarContent:
    """What is in one tar.

    Attributes
    ----------
    recordings : list of TarMember
        Members whose names are those of audio files.
    faults : list of TarMember
        What cannot be used.
    columns : dict of str to list
        What sidecars say of each recording.
    """

    recordings: list[TarMember]
    faults: list[TarMember]
    columns: dict[str, list[Any]]


def read_members(file: BinaryIO, size: int, index: str | None) -> TarContent:
    """Return what is in a tar of `size` bytes; `index` is the text of the index beside it.

    Raises
    ------
    OSError, DecodeError
        It cannot be read.
    """
    members, faults = _read(file, size, index)
    columns, bad = _read_sidecars(file, members)
    return TarContent([one for one in members if _is_audio(one.name)], [*faults, *bad], columns)


class Members:
    """The members of several tars, beside `plain` recordings that are none.

    Attributes
    ----------
    tars : list of str
        Path of each tar.
    failures : list of Failure
        What is wrong with them.
    """

    def __init__(self, plain: int, failures: list[Failure]) -> None:
        self.tars: list[str] = []
        self.failures = failures
        self.sidecars = _Columns()
        self._plain = plain
        self._ids: list[str] = []
        self._parts: list[tuple[int, int, int, int]] = []
        self._pieces: dict[int, bytes] = {}

    def add(self, tar_id: str, path: str, changed_ns: int, content: TarContent) -> None:
        """Add the members of a tar."""
        for one in content.faults:
            assert one.fault is not None
            file_id = f"{tar_id}/{one.name}" if one.name else tar_id
            self.failures.append(Failure(file_id, path, *one.fault))
        if not content.recordings and not content.faults:
            message = "no member of the tar has the extension of an audio file"
            self.failures.append(Failure(tar_id, path, Code.EMPTY, message))
        self._ids += [f"{tar_id}/{one.name}" for one in content.recordings]
        number = len(self.tars)
        self._parts += [(number, one.offset, one.size, changed_ns) for one in content.recordings]
        for place, one in enumerate(content.recordings, len(self._ids) - len(content.recordings)):
            if one.pieces is not None:
                self._pieces[self._plain + place] = one.pieces
        self.sidecars.add(len(content.recordings), content.columns)
        self.tars.append(path)

    def in_order(
        self, plain: Sequence[str]
    ) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
        """Return all ids, sorted; their places before they were; and a row for each.

        A row is the number of the tar (-1 for a plain recording), offset, size, time of change.
        """
        ids = [*plain, *self._ids]
        of_files = np.tile(np.array([[-1, -1, -1, 0]]), (self._plain, 1))
        rows = np.concatenate([of_files, np.array(self._parts, np.int64).reshape(-1, 4)])
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
        return [ids[row] for row in order], order, rows[order]

    def pieces_in_order(self, order: NDArray[np.int64]) -> dict[int, bytes]:
        """Return what is stored of members without their holes, by row in the order."""
        if not self._pieces:
            return {}
        row_of = np.argsort(order)
        return {int(row_of[place]): pieces for place, pieces in self._pieces.items()}


def _is_audio(name: str) -> bool:
    return name[name.rfind(".") :].lower() in EXTENSIONS if "." in name else False


def _read(file: BinaryIO, size: int, index: str | None) -> tuple[list[TarMember], list[TarMember]]:
    """Return the members that are recordings or sidecars, and what is wrong with the tar."""
    faults: list[TarMember] = []
    members: dict[str, TarMember] = {}
    repeated: set[str] = set()
    for one in _members(file, size, index):
        audio = _is_audio(one.name)
        if one.name and not audio and _sidecar(one.name) not in _SIDECARS:
            continue
        if one.fault is None and not _is_utf8(one.name):
            message = "its name in the tar is not UTF-8: rename it"
            name = one.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            faults.append(one._replace(name=name, fault=(Code.UNSUPPORTED, message)))
        elif one.fault is not None:
            if audio or not one.name:
                faults.append(one)
        elif one.name in members:
            repeated.add(one.name)
        else:
            members[one.name] = one
    for name in sorted(repeated):
        one = members.pop(name)
        if _is_audio(name):
            message = "the tar has more than one member of this name: rename or remove the others"
            faults.append(one._replace(fault=(Code.UNSUPPORTED, message)))
    return list(members.values()), faults


def _members(file: BinaryIO, size: int, index: str | None) -> Iterator[TarMember]:
    """Yield the members that the index lists, or those that the tar's headers name."""
    listed = None if index is None else parse_index(index, size)
    if listed is not None:
        plain = [one for one in listed if one.pieces is None]  # else a map may stand before it
        checked = plain[:: max(1, len(plain) - 1)]  # the first and the last
        if (checked or not listed) and all(has_header(file, one) for one in checked):
            yield from listed
            return
    yield from read_tar(file, size)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _key(name: str) -> str:
    """Return what a recording and its sidecars have in common: all up to the name's first dot."""
    match = _KEY.match(name)
    return match.group() if match else name


def _sidecar(name: str) -> str:
    """Return what follows the first dot of a member's name, such as ``json``."""
    return name[len(_key(name)) + 1 :].lower()


def _read_sidecars(
    file: BinaryIO, members: Sequence[TarMember]
) -> tuple[dict[str, list[Any]], list[TarMember]]:
    """Return columns with a value for each recording of a tar, and the sidecars that are bad."""
    rows: dict[str, list[int]] = {}
    count = 0
    for one in members:
        if _is_audio(one.name):
            rows.setdefault(_key(one.name), []).append(count)
            count += 1
    columns: dict[str, list[Any]] = {}
    bad = []
    for one in members:
        if _is_audio(one.name) or _key(one.name) not in rows:
            continue
        if one.size > _MOST_SIDECAR:
            message = f"a sidecar of {one.size} bytes is not read: the most are {_MOST_SIDECAR}"
            bad.append(one._replace(fault=(Code.UNSUPPORTED, message)))
            continue
        try:
            values = _parse_sidecar(_sidecar(one.name), read_member(file, one))
        except (ValueError, RecursionError) as error:
            message = f"the sidecar cannot be read: {str(error).splitlines()[0]}"
            bad.append(one._replace(fault=(Code.UNSUPPORTED, message)))
            continue
        for name, value in values.items():
            column = columns.setdefault(name, [None] * count)
            for row in rows[_key(one.name)]:
                column[row] = value
    return columns, bad


def _parse_sidecar(kind: str, data: bytes) -> dict[str, Any]:
    """Return columns and values."""
    text = data.decode("utf-8")
    if kind == "txt":
        return {"txt": text}
    if kind == "cls":
        return {"cls": int(text)}
    values = json.loads(text)
    if not isinstance(values, dict):
        return {"json": _plain(values)}
    return {_column_name(key): _plain(value) for key, value in values.items()}


def _column_name(key: str) -> str:
    return f"json_{key}" if key in {*BUILT_IN, *_SIDECARS, "declared_frames"} else key


def _plain(value: object) -> object:
    """Return a value of JSON that a column can hold; of lists and objects their JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


class _Columns:
    """The columns of one tar after the other."""

    def __init__(self) -> None:
        self._rows = 0
        self._arrays: dict[str, list[tuple[int, pa.Array]]] = {}

    def add(self, rows: int, columns: dict[str, list[Any]]) -> None:
        """Add a tar with so many recordings."""
        for name, values in columns.items():
            self._arrays.setdefault(name, []).append((self._rows, _as_array(values)))
        self._rows += rows

    def in_order(self, before: int, order: NDArray[np.int64]) -> dict[str, pa.ChunkedArray]:
        """Return the columns for `before` files, which have none, and all members, reordered."""
        import pyarrow as pa

        columns = {}
        for name, arrays in self._arrays.items():
            kinds = {array.type for _, array in arrays if not pa.types.is_null(array.type)}
            kind = kinds.pop() if len(kinds) == 1 else _common_type(kinds)
            chunks = []
            at = -before
            for start, array in arrays:
                chunks += [pa.nulls(start - at, kind), array.cast(kind)]
                at = start + len(array)
            chunks.append(pa.nulls(self._rows - at, kind))
            columns[name] = pa.chunked_array(chunks, kind).take(order)
        return columns


def _as_array(values: list[Any]) -> pa.Array:
    """Return values as an array; as their JSON if they have no type in common."""
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        texts = [one if one is None or isinstance(one, str) else json.dumps(one) for one in values]
        return pa.array(texts, pa.string())


def _common_type(kinds: set[pa.DataType]) -> pa.DataType:
    import pyarrow as pa

    if not kinds:
        return pa.string()
    return pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()
