"""The columns of annotations: found in a table, checked, in one order and of one type."""

from __future__ import annotations

import math
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace._validation import arrow_errors_explained
from headrace.catalog import as_table, filter_rows
from headrace.errors import AnnotationError, CatalogError, HeadraceWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pyarrow as pa

__all__ = ["COLUMNS", "NAMED", "Malformed", "checked", "chosen", "masked", "of_lists", "warn"]

COLUMNS: Final = {
    "file": "string",
    "start_s": "double",
    "end_s": "double",
    "label": "string",
    "low_hz": "double",
    "high_hz": "double",
    "quality": "string",
    "source": "string",
    "line": "int64",
}
"""Columns of annotations, in order, and their Arrow types."""

NAMED: Final = ("file", "start_s", "end_s", "label", "low_hz", "high_hz", "quality")
"""Those that a user's table may call otherwise."""


_TOLD: Final = 3  # malformed lines in a warning


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line of a label file, or a row of a table, that is no event.

    Attributes
    ----------
    source : str
        The label file; ``""`` for a table in memory.
    line : int
        From 1, or 0 for the file as a whole; the row, from 0, of a table in memory.
    text, message : str
        What stands there, and what is wrong with it.
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


def warn(malformed: Sequence[Malformed], stacklevel: int) -> None:
    """Warn of malformed lines, if there are any, at this `stacklevel`: this function is 1."""
    if malformed:
        more = len(malformed) - _TOLD
        warnings.warn(
            f"{len(malformed)} lines are no events and are left out: "
            + "; ".join(map(str, malformed[:_TOLD]))
            + (f"; and {more} more, in annotations.malformed." if more > 0 else "."),
            HeadraceWarning,
            stacklevel=stacklevel,
        )


def of_lists(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Return a table of columns that are good."""
    import pyarrow as pa

    return pa.table(columns, schema=pa.schema(list(_types().items())))


def checked(
    source: Any,  # noqa: ANN401  whatever holds a table
    names: Mapping[str, str | None],
    files: Iterable[str],
) -> tuple[pa.Table, tuple[str, ...], tuple[Malformed, ...]]:
    """Return the rows of a user's table that are events, all annotated files, and the other rows.

    Parameters
    ----------
    source : Arrow table or pandas DataFrame
        In which no column need have our order or type.
    names : mapping
        Our names to the table's: see `chosen`.
    files : iterable of str
        Further files that are annotated.

    Raises
    ------
    AnnotationError
        It is no table, a column is missing or of a wrong type, or `files` are no names.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(files, str):
        raise AnnotationError(f"files= is several names: say files=[{files!r}] for one.")
    with arrow_errors_explained("files= is not of names", "Give strings.", AnnotationError):
        further = pa.array(files, pa.string()).to_pylist()

    try:
        table = as_table(source)
    except CatalogError as error:
        raise AnnotationError(str(error)) from None
    found = chosen(names, table.column_names, "")
    found |= _as_written(table)
    rows = len(table)
    columns = {name: pa.nulls(rows, kind) for name, kind in _types().items()}
    columns["start_s"] = pa.array(np.zeros(rows))
    columns["end_s"] = pa.array(np.full(rows, math.inf))
    for name, theirs in found.items():
        what = f"The column {theirs!r} cannot be {name}, a {COLUMNS[name]}"
        with arrow_errors_explained(
            what, f"Convert it, or say {name}= with another's name.", AnnotationError
        ):
            columns[name] = table[theirs].cast(_types()[name])
    whole = pa.table(columns)
    start, end = (whole[name].to_numpy() for name in ("start_s", "end_s"))
    good = (start >= 0) & (start < math.inf) & (start <= end) & whole["file"].is_valid().to_numpy()
    shown = whole.select([*found]).rename_columns([*found.values()])
    malformed = tuple(
        Malformed(
            "", row, str(shown.slice(row, 1).to_pylist()[0]), "no file, or not 0 <= start <= end"
        )
        for row in np.flatnonzero(~good).tolist()
    )
    events = whole.filter(pa.array(good))
    every = dict.fromkeys([*pc.unique(events["file"]).to_pylist(), *further])
    return events, tuple(every), malformed


def _as_written(table: pa.Table) -> dict[str, str]:
    """Return those columns that no user names, where a table has them as `of_lists` does.

    In a table of the user's own, a column of that name means something else: it is left alone.
    """
    import pyarrow as pa

    known = [name for name in ("source", "line") if name in table.column_names]
    found = {}
    for name in known:
        kind = table[name].type
        if name == "source":
            good = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        else:
            good = pa.types.is_integer(kind) or pa.types.is_floating(kind)  # pandas' way with nulls
        with suppress(pa.ArrowInvalid):
            if good or pa.types.is_null(kind):
                table[name].cast(_types()[name])
                found[name] = name
    return found


def masked(table: pa.Table, mask: Any) -> pa.Table:  # noqa: ANN401  whatever holds bools
    """Return the rows for which `mask` is true.

    Raises
    ------
    AnnotationError
        `mask` is not of bools, or not one for each row.
    """
    try:
        return filter_rows(table, mask)
    except CatalogError as error:
        raise AnnotationError(str(error).replace("recordings", "events")) from None


def _types() -> dict[str, Any]:
    import pyarrow as pa

    return {name: pa.type_for_alias(kind) for name, kind in COLUMNS.items()}


_TIMES: Final = {"start", "begin", "onset", "end", "stop", "offset"}


def chosen(names: Mapping[str, str | None], header: list[str], source: str) -> dict[str, str]:
    """Return which of a table's columns hold what, by our names.

    Parameters
    ----------
    names : mapping
        Our name to the table's. Where both are the same, a column that is not there is done
        without, but for file and label; None does without it too.
    header : list of str
        The columns that there are.
    source : str
        Where, for messages.

    Raises
    ------
    AnnotationError
        A column is missing, or there seem to be times that nobody named.
    """
    has = f"{source or 'The table'} has the columns {', '.join(header) or '(none)'}"
    found = {ours: theirs for ours, theirs in names.items() if theirs in header}
    for ours, theirs in names.items():
        if theirs is None or ours in found:
            continue
        if ours != theirs or ours in ("file", "label"):
            raise AnnotationError(f"{has}, and no {theirs!r}: say {ours}= with its name.")
    if ("start_s" in found) != ("end_s" in found):
        raise AnnotationError(f"{has}: an event has a start and an end. Say start_s= and end_s=.")
    times = [one for one in header if set(re.split(r"[\W_]", one.lower())) & _TIMES]
    if "start_s" not in found and times and names["start_s"] is not None:
        raise AnnotationError(
            f"{has}: if {times[0]!r} is a time (s), say start_s= and end_s=; if labels are of "
            "whole recordings, say start_s=None and end_s=None."
        )
    return found
