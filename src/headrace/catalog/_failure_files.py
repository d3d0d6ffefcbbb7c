"""Failures as a table, and as a CSV or Parquet file for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace._validation import check_output_file
from headrace.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from headrace.failures import Failure

__all__ = ["check_failure_file", "failures_table", "write_failures"]

_ENDINGS = (".csv", ".parquet")

_COLUMNS = {
    "file_id": "string",
    "path": "string",
    "code": "string",
    "message": "string",
    "start_s": "float64",
    "stop_s": "float64",
    "windows": "int64",
    "index": "int64",
}


def failures_table(failures: Sequence[Failure]) -> pa.Table:
    """Return an Arrow table with a row for each failure and a column for each field."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in _COLUMNS.items()])
    values = {name: [getattr(one, name) for one in failures] for name in _COLUMNS}
    values["code"] = [str(one.code) for one in failures]
    return pa.table(values, schema=schema)


def check_failure_file(file: Path) -> None:
    """Check before a scan that failures can be written to `file`.

    Raises
    ------
    CatalogError
        The name ends in neither ``.csv`` nor ``.parquet``, `file` is a folder, or its folder does
        not exist.
    PermissionError
        The file, or the folder that it would be created in, is not writable.
    """
    check_output_file(file, endings=_ENDINGS, error=CatalogError)


def write_failures(failures: Sequence[Failure], file: Path) -> None:
    """Write failures to a CSV or Parquet file, by the extension of its name.

    Raises
    ------
    CatalogError
        As in `check_failure_file`.
    OSError
        The system cannot write the file.
    """
    check_failure_file(file)
    table = failures_table(failures)
    if file.suffix.lower() == ".csv":
        from pyarrow import csv

        csv.write_csv(table, file)
    else:
        from pyarrow import parquet

        parquet.write_table(table, file)
