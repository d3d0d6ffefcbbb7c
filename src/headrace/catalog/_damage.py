"""The failures of a scan: how many files are damaged, sentences, and files that list them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from headrace._formatting import escape_controls
from headrace._validation import check_output_file
from headrace.errors import CatalogError, NoRecordingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pyarrow as pa

    from headrace.failures import Failure

__all__ = [
    "check_any_usable",
    "check_failure_file",
    "count_partly_usable",
    "damaged_file_ids",
    "describe_codes",
    "describe_damage",
    "failures_table",
    "write_failures",
]

_MAX_SHOWN: Final = 3  # failures in a message
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


def damaged_file_ids(failures: Iterable[Failure]) -> set[str]:
    """Return the ids of the files that have failures; one file may have several failures."""
    return {failure.file_id for failure in failures}


def count_partly_usable(failures: Sequence[Failure], table: pa.Table) -> int:
    """Return how many damaged files are nevertheless in a catalog's table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = pa.array(sorted(damaged_file_ids(failures)), pa.string())
    return int(pc.sum(pc.is_in(table["id"], value_set=ids)).as_py() or 0)


def check_any_usable(table: pa.Table, failures: Sequence[Failure]) -> None:
    """Raise `NoRecordingsError` if a scan found no usable recording."""
    if not len(table):
        files = len(damaged_file_ids(failures))
        which = "The only file that matches cannot"
        if files > 1:
            which = f"None of the {files} files that match can"
        error = NoRecordingsError(
            f"{which} be used: {_describe_first(failures)}."
            if failures
            else "There are no recordings: the tar holds no audio files."
        )
        error.failures = tuple(failures)
        raise error


def describe_codes(failures: Iterable[Failure]) -> str:
    """Return how often each code occurs, as ``"2 EMPTY, 1 TRUNCATED"``."""
    counts = Counter(str(failure.code) for failure in failures)
    return ", ".join(f"{count:,} {code}" for code, count in sorted(counts.items()))


def describe_damage(failures: Sequence[Failure], table: pa.Table) -> str:
    """Return a sentence about the damaged files of a scan whose usable files are in `table`."""
    codes = describe_codes(failures)
    files = len(damaged_file_ids(failures))
    partly = count_partly_usable(failures, table)
    what = (
        f"are damaged ({codes}), {partly:,} of them can be used in part"
        if partly
        else f"cannot be used ({codes})"
    )
    return (
        f"{files:,} of {files - partly + len(table):,} files {what}, "
        f"first: {_describe_first(failures[:1])}; see catalog.failures"
    )


def _describe_first(failures: Sequence[Failure]) -> str:
    """Return the first failures, and how many more there are."""
    first = [
        escape_controls(f"{one.file_id}: {one.message} [{one.code}]")
        for one in failures[:_MAX_SHOWN]
    ]
    more = len(failures) - _MAX_SHOWN
    return "; ".join(first) + (f"; and {more:,} more" if more > 0 else "")


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
