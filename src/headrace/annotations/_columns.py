"""The columns of annotations: find them in a user's table, validate them, put them in order."""

from __future__ import annotations

import math
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace._formatting import brief, brief_list, format_count
from headrace._validation import arrow_errors_explained
from headrace.catalog import as_table, filter_rows
from headrace.errors import AnnotationError, CatalogError, HeadraceWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "COLUMNS",
    "RENAMABLE",
    "Malformed",
    "events_of_table",
    "filter_events",
    "find_columns",
    "make_table",
    "warn_of_malformed",
]

COLUMNS: Final = {
    "file": "string",
    "start_s": "double",
    "end_s": "double",
    "label": "string",
    "low_hz": "double",
    "high_hz": "double",
    "quality": "string",
    "score": "float",
    "source": "string",
    "line": "int64",
}
"""Columns of annotations, in order, and their Arrow types."""

RENAMABLE: Final = ("file", "start_s", "end_s", "label", "low_hz", "high_hz", "quality", "score")
"""Columns that may have another name in a user's table."""

_MAX_SHOWN: Final = 3  # malformed lines in a warning
_TIME_WORDS: Final = {"start", "begin", "onset", "end", "stop", "offset"}


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line of a label file, or a row of a table, that is not a valid event.

    Attributes
    ----------
    source : str
        The label file; ``""`` for a table in memory.
    line : int
        Line number from 1, or 0 for the file as a whole; for a table in memory, the row from 0.
    text, message : str
        The content of the line, and what is wrong with it.
    """

    source: str
    line: int
    text: str
    message: str

    def __str__(self) -> str:
        where = f"{self.source}, line {self.line}" if self.source else f"row {self.line}"
        if self.source and not self.line:
            return f"{self.source}: {self.message}"
        return f"{where}: {self.message}: {self.text!r}"


def warn_of_malformed(malformed: Sequence[Malformed], stacklevel: int) -> None:
    """Warn of malformed lines, if there are any; `stacklevel` 1 is this function."""
    if malformed:
        more = len(malformed) - _MAX_SHOWN
        warnings.warn(
            f"Skipped {format_count(len(malformed), 'malformed line')}: "
            + "; ".join(map(str, malformed[:_MAX_SHOWN]))
            + (f"; and {more} more, in annotations.malformed." if more > 0 else "."),
            HeadraceWarning,
            stacklevel=stacklevel,
        )


def make_table(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Return a table of valid values of all `COLUMNS`."""
    import pyarrow as pa

    return pa.table(columns, schema=pa.schema(list(_arrow_types().items())))


def events_of_table(
    source: object, names: Mapping[str, str | None], files: Iterable[str]
) -> tuple[pa.Table, tuple[str, ...], tuple[Malformed, ...]]:
    """Return the events in a user's table, all annotated files, and the malformed rows.

    Parameters
    ----------
    source : Arrow table or pandas DataFrame
        Its columns may have another order and other types than `COLUMNS`.
    names : mapping
        Names of `COLUMNS` to those of the table: see `find_columns`.
    files : iterable of str
        Further annotated files.

    Raises
    ------
    AnnotationError
        `source` is not a table, a column is missing or of a wrong type, or `files` are not strings.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(files, str):
        raise AnnotationError(f"files= takes several names: for one, use files=[{brief(files)}].")
    with arrow_errors_explained("files= must contain names", "Give strings.", AnnotationError):
        further_files = pa.array(files, pa.string()).to_pylist()

    try:
        table = as_table(source)
    except CatalogError as error:
        raise AnnotationError(str(error)) from None
    found = find_columns(names, table.column_names, "") | _find_source_columns(table)
    rows = len(table)
    columns = {name: pa.nulls(rows, type_) for name, type_ in _arrow_types().items()}
    columns["start_s"] = pa.array(np.zeros(rows))
    columns["end_s"] = pa.array(np.full(rows, math.inf))
    for name, table_name in found.items():
        what = f"The column {table_name!r} cannot be {name}, a {COLUMNS[name]}"
        with arrow_errors_explained(
            what, f"Convert it, or give the name of another column as {name}=.", AnnotationError
        ):
            columns[name] = table[table_name].cast(_arrow_types()[name])
    candidates = pa.table(columns)
    start, end = (candidates[name].to_numpy() for name in ("start_s", "end_s"))
    has_file = candidates["file"].is_valid().to_numpy()
    is_event = (start >= 0) & (start < math.inf) & (start <= end) & has_file
    # A row with nothing but a file is an annotated file without events.
    is_file = has_file & ("start_s" in found) & _all_null(candidates, found.keys() - {"file"})
    shown = candidates.select([*found]).rename_columns([*found.values()])
    malformed = tuple(
        Malformed(
            "", row, str(shown.slice(row, 1).to_pylist()[0]), "no file, or not 0 <= start <= end"
        )
        for row in np.flatnonzero(~is_event & ~is_file).tolist()
    )
    events = candidates.filter(pa.array(is_event & ~is_file))
    of_rows = pc.unique(candidates["file"].filter(pa.array(is_event | is_file))).to_pylist()
    all_files = dict.fromkeys([*of_rows, *further_files])
    return events, tuple(all_files), malformed


def _all_null(table: pa.Table, names: Iterable[str]) -> NDArray[np.bool_]:
    """Return the rows in which these columns are null; none if there are no columns."""
    rows = np.full(len(table), bool(names := list(names)))
    for name in names:
        rows &= table[name].is_null(nan_is_null=True).to_numpy()
    return rows


def _find_source_columns(table: pa.Table) -> dict[str, str]:
    """Return "source" and "line", if the table has them with the types that `make_table` gives.

    In a user's own table, columns with these names may have another meaning and are ignored.
    """
    import pyarrow as pa

    found = {}
    for name in ("source", "line"):
        if name not in table.column_names:
            continue
        type_ = table[name].type
        if name == "source":
            fits = pa.types.is_string(type_) or pa.types.is_large_string(type_)
        else:  # pandas turns integers with nulls into floats
            fits = pa.types.is_integer(type_) or pa.types.is_floating(type_)
        with suppress(pa.ArrowInvalid):
            if fits or pa.types.is_null(type_):
                table[name].cast(_arrow_types()[name])
                found[name] = name
    return found


def filter_events(table: pa.Table, mask: object) -> pa.Table:
    """Return the rows for which `mask` is true.

    Raises
    ------
    AnnotationError
        `mask` does not have a bool for each row.
    """
    return filter_rows(table, mask, noun="event", error=AnnotationError)


def _arrow_types() -> dict[str, Any]:
    import pyarrow as pa

    return {name: pa.type_for_alias(type_) for name, type_ in COLUMNS.items()}


def find_columns(names: Mapping[str, str | None], header: list[str], source: str) -> dict[str, str]:
    """Return which columns of a table hold which of `COLUMNS`.

    Parameters
    ----------
    names : mapping
        Names of `COLUMNS` to those of the table. None is a column that is not wanted. A column
        other than file and label may be missing if both names are the same.
    header : list of str
        The columns of the table.
    source : str
        The table's file, for messages.

    Raises
    ------
    AnnotationError
        A column is missing, or there seem to be times that are not named.
    """
    has = f"{source or 'The table'} has the columns {brief_list(header) or '(none)'}"
    found = {name: column for name, column in names.items() if column in header}
    for name, column in names.items():
        if column is None or name in found:
            continue
        if name != column or name in ("file", "label"):
            raise AnnotationError(f"{has}, and no {column!r}: give its name as {name}=.")
    if ("start_s" in found) != ("end_s" in found):
        raise AnnotationError(f"{has}: an event has a start and an end. Give start_s= and end_s=.")
    times = [name for name in header if set(re.split(r"[\W_]", name.lower())) & _TIME_WORDS]
    if "start_s" not in found and times and names["start_s"] is not None:
        raise AnnotationError(
            f"{has}: if {times[0]!r} is a time (s), give start_s= and end_s=; if labels are of "
            "whole recordings, give start_s=None and end_s=None."
        )
    return found
