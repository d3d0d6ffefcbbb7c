"""Arrow tables of recordings: made, checked, joined, fingerprinted.

Nothing here makes a Python object for a row, except where a user's dictionary or function must be
asked row by row.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace._paths import join
from headrace._validation import arrow_errors_explained
from headrace.codecs import CONTAINERS, MAX_FRAMES, MAX_SAMPLE_RATE, libsndfile_names
from headrace.errors import CatalogError

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace.codecs import Recording

__all__ = [
    "BUILT_IN",
    "as_table",
    "checked",
    "column_of",
    "fingerprint",
    "from_recordings",
    "joined",
    "kinds",
    "masked",
    "paths_under",
    "rows_of",
    "with_columns",
]

BUILT_IN: Final = {
    "id": "string",
    "path": "string",
    "sample_rate": "int32",
    "channels": "int32",
    "frames": "int64",
    "format": "string",
    "subtype": "string",
    "size": "int64",
    "mtime_ns": "int64",
    "seek_points": "large_binary",
}
"""Columns that every catalog has, in order, and their Arrow types."""

_ONE_TYPE: Final = "Give a table whose columns have a name of their own and values of one type."

_REQUIRED: Final = ("sample_rate", "channels", "frames", "format", "subtype")


def as_table(source: Any) -> pa.Table:  # noqa: ANN401  whatever holds a table
    """Return an Arrow table of a pandas, polars or Arrow one.

    Raises
    ------
    CatalogError
        `source` is no table, or has two columns of one name.
    """
    import pyarrow as pa

    pandas = sys.modules.get("pandas")
    if isinstance(source, pa.Table):
        table = source
    elif pandas is not None and isinstance(source, pandas.DataFrame):
        if "id" not in source.columns and source.index.name == "id":
            source = source.reset_index()
        with arrow_errors_explained("The pandas DataFrame cannot be an Arrow table", _ONE_TYPE):
            table = pa.Table.from_pandas(source, preserve_index=False)
        table = table.replace_schema_metadata(None)
    elif isinstance(source, pa.RecordBatch):
        table = pa.Table.from_batches([source])
    elif hasattr(source, "__arrow_c_stream__"):
        with arrow_errors_explained(
            f"A {type(source).__name__} cannot be an Arrow table", _ONE_TYPE
        ):
            table = pa.table(source)
    else:
        raise CatalogError(
            f"An Arrow table or a pandas DataFrame is wanted, not {type(source).__name__}."
        )
    if len(set(table.column_names)) < table.num_columns:
        raise CatalogError(f"The table has two columns of one name: {table.column_names}.")
    return table


def from_recordings(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Return a table of the built-in columns, given as sequences of values."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in BUILT_IN.items()])
    return pa.table({name: columns[name] for name in BUILT_IN}, schema=schema)


def rows_of(recordings: Sequence[Recording]) -> pa.Table:
    """Return a table of recordings; for many, call it on some thousands at a time."""
    return from_recordings(
        {name: [getattr(recording, name) for recording in recordings] for name in BUILT_IN}
    )


def paths_under(root: str, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ``root/id`` for each id."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(join(root, "") if root else "", ids, "")


def checked(table: pa.Table, root: str | None = None) -> tuple[pa.Table, str | None]:
    """Return the table with all built-in columns, right in type and value, and the root if known.

    Parameters
    ----------
    table : Arrow table
        With ``id`` or ``path``, and the other required columns.
    root : str, optional
        Absolute path. Where there are ids, every path becomes ``root/id``.

    Raises
    ------
    CatalogError
        A column is missing, has values that are null, not positive or of a wrong type, or an id
        stands there twice.
    """
    import pyarrow as pa

    names = table.column_names
    missing = [name for name in _REQUIRED if name not in names]
    if "id" not in names and "path" not in names:
        missing.insert(0, "id (or path)")
    if missing:
        raise CatalogError(
            f"The table is no catalog: it has no column {', '.join(missing)}. It has {names}."
        )
    columns = {name: _cast(table, name, kind) for name, kind in BUILT_IN.items() if name in names}
    if "id" not in columns:
        columns["id"], root = _ids_of(columns["path"], root)
    elif root is not None:
        columns["path"] = paths_under(root, columns["id"])
    elif "path" not in columns:
        raise CatalogError("The table has no column path: say with root= where the files are.")
    for name in ("size", "mtime_ns"):
        if name not in columns:
            columns[name] = np.zeros(len(table), np.int64)
    if "seek_points" not in columns:
        columns["seek_points"] = pa.nulls(len(table), pa.large_binary())
    further = {name: table[name] for name in names if name not in BUILT_IN}
    whole = from_recordings(columns)
    _check_values(whole)
    for name, column in further.items():
        whole = whole.append_column(name, column)
    return whole, root


def _cast(table: pa.Table, name: str, kind: str) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    with arrow_errors_explained(f"The column {name} cannot be of type {kind}", "Convert it."):
        column = table[name].cast(kind)
    if column.null_count and name in ("size", "mtime_ns"):
        return pc.fill_null(column, 0)  # unknown, so that a rescan with a cache reads the header
    if column.null_count and name != "seek_points":
        row = pc.index(pc.is_null(column), value=True).as_py()
        raise CatalogError(
            f"The column {name} has no value in row {row}: fill it, or drop the row."
        )
    return column


def _ids_of(paths: pa.ChunkedArray, root: str | None) -> tuple[pa.ChunkedArray, str]:
    import pyarrow.compute as pc

    if os.name == "nt":
        paths = pc.replace_substring(paths, "\\", "/")
    ends = pc.min_max(paths)
    first, last = ends["min"].as_py() or "", ends["max"].as_py() or ""
    if root is None:
        # What the first and the last in order begin with, all between them begin with.
        pairs = enumerate(zip(first, last, strict=False))
        common = next((at for at, (a, b) in pairs if a != b), min(len(first), len(last)))
        root = first[:common].rpartition("/")[0]
        root = "/" if not root and first.startswith("/") else root
    prefix = join(root, "") if root else ""
    for path in (first, last):
        if not path.startswith(prefix):
            raise CatalogError(f"The path {path!r} lies outside root={root!r}: give another root.")
    return pc.utf8_slice_codeunits(paths, len(prefix)), root


def _check_values(table: pa.Table) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = table["id"]
    for name in ("sample_rate", "channels", "frames"):
        if len(table) and pc.min(table[name]).as_py() <= 0:
            row = pc.index(pc.less_equal(table[name], 0), value=True).as_py()
            raise CatalogError(
                f"{ids[row].as_py()!r} has {name}={table[name][row]}: it must be positive."
            )
    for name, most in (("sample_rate", MAX_SAMPLE_RATE), ("frames", MAX_FRAMES)):
        if len(table) and pc.max(table[name]).as_py() > most:
            row = pc.index(pc.greater(table[name], most), value=True).as_py()
            raise CatalogError(
                f"{ids[row].as_py()!r} has {name}={table[name][row]}: more than any recording has."
            )
    others = table  # FFmpeg's codecs have no list
    if CONTAINERS.keys() & set(pc.unique(table["format"]).to_pylist()):
        theirs = pc.is_in(table["format"], value_set=pa.array([*CONTAINERS]))
        others = table.filter(pc.invert(theirs))
    for name, known in zip(("format", "subtype"), libsndfile_names(), strict=True):
        for value in set(pc.unique(others[name]).to_pylist()) - known:
            row = pc.index(others[name], value=value).as_py()
            raise CatalogError(
                f"{others['id'][row].as_py()!r} has {name}={value!r}, which libsndfile does not "
                f"know: the names are {', '.join(sorted(known))}."
            )
    repeated = _repeated(ids)
    if repeated is not None:
        row = pc.index(ids, value=repeated).as_py()
        other = row + 1 + pc.index(ids.slice(row + 1), value=repeated).as_py()
        paths = [table["path"][at].as_py() for at in (row, other)]
        raise CatalogError(
            f"Two recordings have the id {repeated!r}: {paths[0]!r} (row {row}) and {paths[1]!r} "
            f"(row {other}). Ids must be unique: drop one, or take the ids from a higher folder."
        )


def _repeated(ids: pa.ChunkedArray) -> str | None:
    import pyarrow.compute as pc

    if len(ids) < 2 or pc.all(pc.less(ids[:-1], ids[1:])).as_py():  # noqa: PLR2004
        return None  # sorted, as a scan's are: seen without a hash table of all
    if pc.count_distinct(ids, mode="all").as_py() == len(ids):
        return None
    counts = pc.value_counts(ids)
    at = pc.index(pc.greater(counts.field("counts"), 1), value=True).as_py()
    repeated: str | None = counts.field("values")[at].as_py()
    return repeated


def column_of(name: str, values: Any, ids: pa.ChunkedArray) -> pa.ChunkedArray:  # noqa: ANN401
    """Return a new column for the rows `ids`: joined on id, or with one value for each row.

    Parameters
    ----------
    name : str
        For messages; also the column that is taken from a table.
    values : mapping, table, or sequence
        Id to value; a table with columns ``id`` and `name`; values in the order of the rows.
    ids : Arrow array of string
        The rows.

    Raises
    ------
    CatalogError
        The values cannot be a column, no id is known, or an id stands there twice.
    """
    import pyarrow as pa

    if isinstance(values, Mapping):
        wanted = ids.to_pylist()
        if len(wanted) and values and not any(key in values for key in wanted):
            raise _strangers(name, next(iter(values)), wanted[0])
        values = [values.get(key) for key in wanted]
    elif isinstance(values, str | bytes) or hasattr(values, "to_frame"):
        raise CatalogError(
            f"{name}= takes a function, a mapping from id, a table with a column id, or one value "
            f"for each row, not a {type(values).__name__}: say series.to_dict() for values joined "
            "on the index, series.to_numpy() for values in the order of the rows."
        )
    elif not isinstance(values, pa.Array | pa.ChunkedArray | np.ndarray | list | tuple):
        table = as_table(values)
        if name not in table.column_names:
            raise CatalogError(
                f"The table given as {name}= has no column {name!r}: it has {table.column_names}."
            )
        return joined(
            table.select([one for one in table.column_names if one in ("id", name)]), ids
        )[name]
    if len(values) != len(ids):
        raise CatalogError(f"{name}= has {len(values)} values for {len(ids)} recordings.")
    with arrow_errors_explained(
        f"The values of {name!r} cannot be one column", "Give values of one type."
    ):
        column = values if isinstance(values, pa.ChunkedArray) else pa.array(values)
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def joined(table: pa.Table, ids: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """Return the columns of `table`, other than id, for the rows `ids`; null where it has none.

    Raises
    ------
    CatalogError
        The table has no column id, an id twice, or none of `ids`.
    """
    import pyarrow.compute as pc

    if "id" not in table.column_names:
        raise CatalogError(f"The table has no column id to join on: it has {table.column_names}.")
    keys = _cast(table, "id", "string")
    repeated = _repeated(keys)
    if repeated is not None:
        raise CatalogError(
            f"The table has the id {repeated!r} twice: which row is meant? Keep one for each id."
        )
    rows = pc.index_in(ids, value_set=keys)
    if len(keys) and len(ids) and rows.null_count == len(ids):
        raise _strangers("The table", keys[0].as_py(), ids[0].as_py())
    return {name: table[name].take(rows) for name in table.column_names if name != "id"}


def masked(table: pa.Table, mask: Any) -> pa.Table:  # noqa: ANN401  whatever holds bools
    """Return the rows for which `mask` is true.

    Raises
    ------
    CatalogError
        `mask` is not of bools, or not one for each row.
    """
    import pyarrow as pa

    with arrow_errors_explained("The mask cannot be read", "Give a bool for each row."):
        mask = mask if isinstance(mask, pa.ChunkedArray) else pa.array(mask)
    if len(mask) and not pa.types.is_boolean(mask.type):
        raise CatalogError(
            f"A mask has a bool for each row, not {mask.type}: for places say catalog[3:9]."
        )
    if len(mask) != len(table):
        raise CatalogError(f"The mask has {len(mask)} values for {len(table)} recordings.")
    return table.filter(mask.cast(pa.bool_()))


def with_columns(table: pa.Table, columns: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """Return the table with these columns, replaced in place or added at the end."""
    for name, column in columns.items():
        place = table.schema.get_field_index(name)
        table = (
            table.append_column(name, column)
            if place < 0
            else table.set_column(place, name, column)
        )
    return table


def _strangers(what: str, theirs: object, ours: str) -> CatalogError:
    return CatalogError(
        f"{what}: no id of it is in the catalog. Its first is {theirs!r}, the catalog's {ours!r}."
    )


def fingerprint(table: pa.Table) -> str:
    """Return a hash of ids, frames and sample rates: 32 hexadecimal digits.

    BLAKE2b over the number of rows, the lengths of the ids in bytes, their UTF-8, the frames and
    the rates, all numbers as little-endian int64. How Arrow has cut the columns up does not matter.
    """
    digest = hashlib.blake2b(b"headrace catalog 1", digest_size=16)
    digest.update(np.array([len(table)], "<i8").data)
    chunks = [_strings(chunk) for chunk in table["id"].chunks]
    for offsets, _ in chunks:
        digest.update(np.diff(offsets.astype("<i8")).data)
    for _, text in chunks:
        digest.update(text)
    for name in ("frames", "sample_rate"):
        for chunk in table[name].chunks:
            digest.update(np.ascontiguousarray(chunk.to_numpy(), "<i8").data)
    return digest.hexdigest()


def kinds(table: pa.Table) -> tuple[tuple[int, int, str, str], ...]:
    """Return the distinct (sample rate, channels, format, subtype), sorted."""
    names = ["sample_rate", "channels", "format", "subtype"]
    distinct = table.select(names).group_by(names).aggregate([]).to_pylist()
    return tuple(sorted(tuple(row[name] for name in names) for row in distinct))


def _strings(chunk: pa.StringArray) -> tuple[np.ndarray[Any, Any], memoryview]:
    _, ends, text = chunk.buffers()
    if not len(chunk):
        return np.zeros(1, np.int64), memoryview(b"")
    offsets = np.frombuffer(ends, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    return offsets, memoryview(text or b"")[offsets[0] : offsets[-1]]
