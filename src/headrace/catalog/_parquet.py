"""A catalog on disk: one Parquet file, which is replaced as a whole or not at all.

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
from headrace.storage import check_no_url

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from headrace.failures import Failure

__all__ = [
    "DamagedError",
    "check_catalog_file",
    "from_bytes",
    "read",
    "read_metadata",
    "to_bytes",
    "with_metadata",
    "write",
]

_KEY: Final = b"headrace"
_LAYOUT: Final = 1
_ROW_GROUP: Final = 1 << 17  # rows; while it is written, a row group is in memory twice


class DamagedError(CatalogError):
    """The file is a damaged Parquet file."""


def with_metadata(table: pa.Table, root: str, failures: tuple[Failure, ...]) -> pa.Table:
    """Return the table with root and failures in its metadata."""
    metadata = {
        "layout": _LAYOUT,
        "root": root,
        "failures": [failure_to_json(failure, omit_defaults=True) for failure in failures],
    }
    return table.replace_schema_metadata({_KEY: json.dumps(metadata)})


def read_metadata(table: pa.Table) -> tuple[str, tuple[Failure, ...]] | None:
    """Return the root and the failures in the table's metadata, or None if there are none.

    Raises
    ------
    DamagedError
        The metadata cannot be parsed.
    CatalogError
        A later version of headrace wrote it.
    """
    metadata = (table.schema.metadata or {}).get(_KEY)
    if metadata is None:
        return None
    try:
        values = json.loads(metadata)
        layout = values["layout"]
        if layout == _LAYOUT:
            return values["root"], tuple(failure_from_json(one) for one in values["failures"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"its metadata cannot be parsed ({error!r})") from None
    raise CatalogError(
        f"a later version of headrace wrote it (layout {layout}; this version reads {_LAYOUT}): "
        "upgrade headrace"
    )


def check_catalog_file(file: str | os.PathLike[str]) -> None:
    """Check before a scan that a catalog can be saved as `file`.

    Permission is not checked: `scan` writes its cache only if something has changed.

    Raises
    ------
    CatalogError
        The folder of `file` does not exist, or `file` is a folder.
    """
    check_no_url(file)
    check_output_file(file, error=CatalogError, permission=False)


def write(table: pa.Table, file: str | os.PathLike[str]) -> None:
    """Write the table; at every moment, `file` is the complete old file or the complete new one.

    Raises
    ------
    CatalogError
        The folder does not exist, `file` is a folder, or Parquet does not support a column's type.
    OSError
        The system cannot write the file.
    """
    import pyarrow.parquet as pq

    check_catalog_file(file)
    target = Path(os.path.realpath(file))  # follows a link, so that the link stays
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


def read(file: str | os.PathLike[str], *, without: tuple[str, ...] = ()) -> pa.Table:
    """Return the table, with metadata, except for the columns `without`.

    Raises
    ------
    NoRecordingsError
        There is no such file.
    DamagedError
        The file is empty, or a Parquet file that cannot be read.
    CatalogError
        The file is something other than a catalog, and must not be overwritten.
    OSError, MemoryError
        The system cannot read the file or has no memory for it; the file may be good.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_no_url(file)
    name = repr(os.fspath(file))
    try:
        with Path(file).open("rb") as source:
            magic = source.read(4)
            if magic not in (b"PAR1", b""):
                raise CatalogError(f"{name} is not a catalog, nor any Parquet file.")
            source.seek(0)
            with pq.ParquetFile(source) as parquet:
                table = _read_row_groups(parquet, without)
    except FileNotFoundError:
        raise NoRecordingsError(
            f"There is no catalog {name}: make one with headrace.scan(...).save({name})."
        ) from None
    except IsADirectoryError:
        raise CatalogError(f"{name} is a folder, not a catalog: scan it.") from None
    except (pa.ArrowException, OSError) as error:
        # If memory is short or the disk fails, the file may be good.
        if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
            raise
        raise DamagedError(
            f"The catalog {name} is damaged: scan again. ({str(error).splitlines()[0]})"
        ) from error
    try:
        metadata = read_metadata(table)
    except CatalogError as error:
        raise type(error)(f"The catalog {name} cannot be read: {error}.") from None
    if metadata is None:
        raise CatalogError(
            f"{name} is a Parquet file, but not one that a catalog was saved in: "
            "make a catalog of such a table with Catalog.from_table."
        )
    return table


def _read_row_groups(parquet: pq.ParquetFile, without: tuple[str, ...]) -> pa.Table:
    import pyarrow as pa

    schema = parquet.schema_arrow
    columns = [name for name in schema.names if name not in without]
    # One at a time: read together, all of them would be in memory both compressed and decompressed.
    groups = [
        parquet.read_row_group(group, columns, use_threads=False)
        for group in range(parquet.num_row_groups)
    ]
    return pa.concat_tables(groups) if groups else schema.empty_table().select(columns)


def to_bytes(table: pa.Table) -> bytes:
    """Return the table as an Arrow stream; the stream of a slice holds only the slice."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(stream: bytes) -> pa.Table:
    """Return the table of a stream from `to_bytes`."""
    import pyarrow as pa

    return pa.ipc.open_stream(stream).read_all()
