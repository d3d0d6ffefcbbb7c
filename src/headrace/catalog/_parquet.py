"""A catalog on disk: one Parquet file, whole or not there.

The root, the failures and the version of this layout are JSON in the file's schema metadata.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace._validation import arrow_errors_explained, check_output_file
from headrace.errors import CatalogError, NoRecordingsError
from headrace.failures import failure_from_json, failure_to_json

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from headrace.failures import Failure

__all__ = [
    "DamagedError",
    "check_catalog_file",
    "describe",
    "described",
    "from_bytes",
    "read",
    "to_bytes",
    "write",
]

_KEY: Final = b"headrace"
_LAYOUT: Final = 1
_ROW_GROUP: Final = 1 << 17  # rows: as many are in memory a second time while they are written


class DamagedError(CatalogError):
    """The file was a Parquet file and cannot be read any more."""


def describe(table: pa.Table, root: str, failures: tuple[Failure, ...]) -> pa.Table:
    """Return the table with root and failures in its metadata."""
    told = {
        "layout": _LAYOUT,
        "root": root,
        "failures": [failure_to_json(one, omit_defaults=True) for one in failures],
    }
    return table.replace_schema_metadata({_KEY: json.dumps(told)})


def described(table: pa.Table) -> tuple[str, tuple[Failure, ...]] | None:
    """Return the root and the failures that the metadata holds, or None if it holds none.

    Raises
    ------
    CatalogError
        A later version of headrace wrote it.
    """
    told = (table.schema.metadata or {}).get(_KEY)
    if told is None:
        return None
    try:
        values = json.loads(told)
        layout = values["layout"]
        if layout == _LAYOUT:
            return values["root"], tuple(failure_from_json(one) for one in values["failures"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"its metadata cannot be understood ({error!r})") from None
    raise CatalogError(
        f"a later headrace wrote it (layout {layout}; this one reads {_LAYOUT}): upgrade headrace"
    )


def check_catalog_file(file: str | os.PathLike[str]) -> None:
    """Check before a scan that a catalog can be saved as `file`.

    Permission is not checked: `scan` writes its cache only if something has changed.

    Raises
    ------
    CatalogError
        The folder of `file` does not exist, or `file` is a folder.
    """
    check_output_file(file, error=CatalogError, permission=False)


def write(table: pa.Table, file: str | os.PathLike[str]) -> None:
    """Write the table; `file` is the old one or the new one, never half of it.

    Raises
    ------
    CatalogError
        There is no such folder, `file` is one, or a column has a type that Parquet does not know.
    OSError
        The system refuses.
    """
    import pyarrow.parquet as pq

    check_catalog_file(file)
    target = Path(os.path.realpath(file))  # behind a link, so that the link stays one
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    unique = ("id", "path")
    try:
        with temporary.open("xb") as sink:
            with arrow_errors_explained(
                f"The catalog cannot be saved as {os.fspath(file)!r}",
                "Change the type of that column, or drop it.",
            ):
                pq.write_table(
                    table,
                    sink,
                    compression="zstd",
                    row_group_size=_ROW_GROUP,
                    use_dictionary=[name for name in table.column_names if name not in unique],
                )
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def read(file: str | os.PathLike[str], *, but: tuple[str, ...] = ()) -> pa.Table:
    """Return the table, `described`, without the columns `but`.

    Raises
    ------
    NoRecordingsError
        There is no such file.
    DamagedError
        The file is empty, or a Parquet file that cannot be read.
    CatalogError
        The file is something else, and must not be overwritten.
    OSError, MemoryError
        The system does not let it be read, or has no room for it: the file may be whole.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = repr(os.fspath(file))
    try:
        with Path(file).open("rb") as source:
            magic = source.read(4)
            if magic not in (b"PAR1", b""):
                raise CatalogError(f"{name} is not a catalog, nor any Parquet file.")
            source.seek(0)
            with pq.ParquetFile(source) as parquet:
                table = _all_groups(parquet, but)
    except FileNotFoundError:
        raise NoRecordingsError(
            f"There is no catalog {name}: make one with headrace.scan(...).save({name})."
        ) from None
    except IsADirectoryError:
        raise CatalogError(f"{name} is a folder, not a catalog: scan it.") from None
    except (pa.ArrowException, OSError) as error:
        # Memory that is short and a disk that fails say nothing about the file.
        if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
            raise
        raise DamagedError(
            f"The catalog {name} is damaged: scan again. ({str(error).splitlines()[0]})"
        ) from error
    try:
        told = described(table)
    except CatalogError as error:
        raise type(error)(f"The catalog {name} cannot be read: {error}.") from None
    if told is None:
        raise CatalogError(
            f"{name} is a Parquet file, but not one that a catalog was saved in: "
            "make a catalog of such a table with Catalog.from_table."
        )
    return table


def _all_groups(parquet: pq.ParquetFile, but: tuple[str, ...]) -> pa.Table:
    import pyarrow as pa

    schema = parquet.schema_arrow
    columns = [name for name in schema.names if name not in but]
    # One after the other: read at once, all of them are in memory packed and unpacked.
    groups = [
        parquet.read_row_group(group, columns, use_threads=False)
        for group in range(parquet.num_row_groups)
    ]
    return pa.concat_tables(groups) if groups else schema.empty_table().select(columns)


def to_bytes(table: pa.Table) -> bytes:
    """Return the table as an Arrow stream, which of a slice holds the slice alone."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(stream: bytes) -> pa.Table:
    """Return the table that `to_bytes` was given."""
    import pyarrow as pa

    return pa.ipc.open_stream(stream).read_all()
