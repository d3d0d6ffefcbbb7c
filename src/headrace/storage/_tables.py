"""Recordings that are values of a table's column: of one in memory, or in Parquet files.

A recording in a table in memory has the path ``table:3``: the part of the column that holds it,
whose memory is read in place. One in a Parquet file has the path ``file.parquet#audio/3``: the
file, the column, and the row group. A row group's column is read when it is needed, one at a time,
and kept up to a limit.

Units: offsets count bytes of the values of such a part, one after the other.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from headrace import _kernel
from headrace._formatting import brief_list
from headrace.errors import CatalogError
from headrace.failures import Code, DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "Cells",
    "ParquetStore",
    "TableStore",
    "is_parquet_part",
    "read_cells",
    "read_parquet_cells",
]

_TABLE: Final = "table:"
_PARQUET_PART: Final = re.compile(r"(?P<file>.+)#(?P<column>[^#]*)/(?P<group>\d+)", re.DOTALL)
_REPLACED: Final = "the Parquet file was replaced after it was read: read it again"
_LEAST_KEPT: Final = 128 << 20  # bytes of row groups that are kept. A guess


class Cells(NamedTuple):
    """The recordings of a part of a column.

    Attributes
    ----------
    part : str
        The path that its recordings have.
    offsets, sizes : ndarray of int64
        Where the bytes of each stand in the part's values; a size of -1 for one without bytes.
    paths : list of str or None
        The path that stands beside the bytes, or in their place.
    """

    part: str
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    paths: list[str | None]


@dataclass(frozen=True)
class TableStore:
    """The values of a column in memory."""

    buffers: tuple[pa.Buffer, ...]

    held_bytes = 0
    """The user holds the table."""

    @cached_property
    def native(self) -> _kernel.ByteStore:
        """What the kernel reads from."""
        return _kernel.MemoryStore(
            {f"{_TABLE}{part}".encode(): one for part, one in enumerate(self.buffers)}
        )

    def has(self, path: str) -> bool:
        """Return whether this is the path of a value, and not that of a file."""
        return path.startswith(_TABLE)

    def __reduce__(self) -> tuple[type[TableStore], tuple[tuple[pa.Buffer, ...]]]:
        return TableStore, (self.buffers,)


@dataclass(frozen=True)
class ParquetStore:
    """The values of columns of Parquet files, by row group.

    Attributes
    ----------
    parts : frozenset of str
        Paths of the row groups' columns.
    """

    parts: frozenset[str]

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(_part_bytes(self.parts))

    @property
    def largest(self) -> int:
        """Bytes of the largest one's values, at most; 0 where no file can be read."""
        return max(self._sizes, default=0)

    @property
    def useful_bytes(self) -> int:
        """Bytes beyond `held_bytes` with which all row groups could be kept."""
        return max(0, sum(self._sizes) + self.largest - self._capacity)

    def keep_more(self, nbytes: int) -> None:
        """Keep so many bytes of row groups beyond `held_bytes` from now on."""
        if self.native.capacity != self._capacity + nbytes:  # setting it drops some
            self.native.capacity = self._capacity + nbytes

    @property
    def _capacity(self) -> int:
        return max(_LEAST_KEPT, 2 * self.largest)

    @property
    def held_bytes(self) -> int:
        """Bytes of row groups that are kept, and of one while it is read."""
        return self._capacity + 2 * self.largest

    @cached_property
    def native(self) -> _kernel.LoadingStore:
        """What the kernel reads from."""
        return _kernel.LoadingStore(
            load=_RowGroups(), capacity=self._capacity, largest=self.largest
        )

    def has(self, path: str) -> bool:
        """Return whether this is the path of a value, and not that of a file."""
        return is_parquet_part(path)

    def __reduce__(self) -> tuple[type[ParquetStore], tuple[frozenset[str]]]:
        return ParquetStore, (self.parts,)


def is_parquet_part(path: str) -> bool:
    """Return whether a path is that of a row group's column."""
    return _PARQUET_PART.fullmatch(path) is not None


def _part_bytes(parts: Iterable[str]) -> Iterator[int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups: dict[tuple[str, str], list[int]] = {}
    for part in parts:
        match = _PARQUET_PART.fullmatch(part)
        if match is not None:
            groups.setdefault((match["file"], match["column"]), []).append(int(match["group"]))
    for (file, column), numbers in groups.items():
        with suppress(pa.ArrowException, OSError), pq.ParquetFile(file) as parquet:
            for number in numbers:
                if number >= parquet.num_row_groups:
                    continue  # replaced by another file: reading says so
                group = parquet.metadata.row_group(number)
                chunks = [group.column(index) for index in range(group.num_columns)]
                yield from (
                    one.total_uncompressed_size for one in chunks if one.path_in_schema == column
                )


class _RowGroups:
    """Loads row groups of Parquet files, which stay what they were when they were first read."""

    def __init__(self) -> None:
        self._identities: dict[str, tuple[int, ...]] = {}

    def __call__(self, key: bytes) -> pa.Buffer:
        """Return the values of the part with this key.

        Raises
        ------
        DecodeError
            They cannot be read, or the file is another one now.
        """
        match = _PARQUET_PART.fullmatch(key.decode("utf-8", "surrogateescape"))
        if match is None:
            raise DecodeError(Code.MISSING, "there is no such part of a table")
        with suppress(OSError):  # reading says why
            found = Path(match["file"]).stat()
            identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if self._identities.setdefault(match["file"], identity) != identity:
                raise DecodeError(Code.CHANGED, _REPLACED)
        return _load_row_group(match)


def _load_row_group(match: re.Match[str]) -> pa.Buffer:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(match["file"]) as file:
            if int(match["group"]) >= file.num_row_groups:
                raise DecodeError(Code.CHANGED, _REPLACED)
            column = file.read_row_group(int(match["group"]), [match["column"]]).column(0)
    except FileNotFoundError:
        raise DecodeError(Code.MISSING, "the Parquet file does not exist") from None
    except PermissionError:
        raise DecodeError(
            Code.PERMISSION, "permission denied: check the file's permissions"
        ) from None
    except (pa.ArrowException, OSError, IndexError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise DecodeError(Code.IO, f"the Parquet file cannot be read: {reason}") from None
    return _values(_split(column.combine_chunks())[0])[0]


def _split(array: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the bytes and the paths of a column: what it lacks is null.

    Raises
    ------
    CatalogError
        It holds neither bytes nor paths.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    no_bytes, no_paths = pa.nulls(len(array), pa.binary()), pa.nulls(len(array), pa.string())
    if pa.types.is_dictionary(kind):
        return _split(array.cast(kind.value_type))
    if pa.types.is_struct(kind):
        names = {field.name for field in kind}
        data = pc.struct_field(array, "bytes") if "bytes" in names else no_bytes
        paths = pc.struct_field(array, "path") if "path" in names else no_paths
        if names & {"bytes", "path"} and _is_bytes(data.type) and _is_text(paths.type):
            return data, paths
    elif _is_bytes(kind):
        return array, no_paths
    elif _is_text(kind):
        return no_bytes, array
    raise CatalogError(
        f"A column of {kind} holds no recordings: give one of bytes, of paths, or of structs with "
        "the fields bytes and path, as Hugging Face's Audio(decode=False) has."
    )


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kinds = pa.types
    return bool(
        kinds.is_binary(kind)
        or kinds.is_large_binary(kind)
        or kinds.is_binary_view(kind)
        or kinds.is_null(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    kinds = pa.types
    return bool(
        kinds.is_string(kind)
        or kinds.is_large_string(kind)
        or kinds.is_string_view(kind)
        or kinds.is_null(kind)
    )


def _values(data: pa.Array) -> tuple[pa.Buffer, NDArray[np.int64]]:
    """Return the memory of an array of bytes, and where in it each value begins and ends."""
    import pyarrow as pa

    if not (pa.types.is_binary(data.type) or pa.types.is_large_binary(data.type)):
        data = data.cast(pa.large_binary())
    number = np.int32 if pa.types.is_binary(data.type) else np.int64
    _, ends, values = data.buffers()
    if not len(data) or values is None:
        return pa.py_buffer(b""), np.zeros(len(data) + 1, np.int64)
    found = np.frombuffer(ends, number)[data.offset : data.offset + len(data) + 1]
    begin, end = int(found[0]), int(found[-1])
    return values.slice(begin, end - begin), found.astype(np.int64) - begin


def _cells(part: str, data: pa.Array, paths: pa.Array) -> tuple[Cells, pa.Buffer]:
    buffer, bounds = _values(data)
    sizes = np.where(data.is_valid().to_numpy(zero_copy_only=False), np.diff(bounds), -1)
    return Cells(part, bounds[:-1], sizes, paths.to_pylist()), buffer


def read_cells(column: pa.ChunkedArray) -> tuple[list[Cells], TableStore]:
    """Return the recordings of a column in memory, by chunk.

    Raises
    ------
    CatalogError
        It holds neither bytes nor paths.
    """
    found = [_cells(f"{_TABLE}{part}", *_split(chunk)) for part, chunk in enumerate(column.chunks)]
    return [cells for cells, _ in found], TableStore(tuple(buffer for _, buffer in found))


def read_parquet_cells(file: str, column: str) -> list[Cells]:
    """Return the recordings of a Parquet file's column, by row group.

    Raises
    ------
    CatalogError
        There is no such column, or it holds neither bytes nor paths.
    ArrowException, OSError
        The file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    with pq.ParquetFile(file) as parquet:
        schema = parquet.schema_arrow
        if column not in schema.names:
            raise CatalogError(
                f"{file!r} has no column {column!r}: it has {brief_list(schema.names)}."
            )
        kind = schema.field(column).type
        leaf = column
        if pa.types.is_struct(kind) and "bytes" in {field.name for field in kind}:
            leaf = f"{column}.bytes"
        for group in range(parquet.num_row_groups):
            values = parquet.read_row_group(group, [column]).column(0).combine_chunks()
            found.append(_cells(f"{file}#{leaf}/{group}", *_split(values))[0])
    return found
