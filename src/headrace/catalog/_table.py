"""Arrow tables of recordings: built, validated, iterated, joined, filtered, fingerprinted.

A catalog may have a million rows, so nothing here makes a Python object for each row at once:
`each_recording` and `each_row` yield them, and the other functions work on columns.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from headrace._formatting import brief, brief_list, format_count
from headrace._paths import join
from headrace._validation import arrow_errors_explained
from headrace.codecs import (
    CONTAINERS,
    MAX_FRAMES,
    MAX_SAMPLE_RATE,
    Recording,
    decoder_name,
    libsndfile_names,
)
from headrace.errors import CatalogError, HeadraceError, HeadraceWarning
from headrace.storage import is_parquet_part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "BUILT_IN",
    "ROWS_AT_ONCE",
    "JoinKeys",
    "Missing",
    "Row",
    "as_table",
    "check_column",
    "distinct_kinds",
    "each_recording",
    "each_row",
    "filter_rows",
    "fingerprint",
    "from_recordings",
    "has_put_off",
    "integers",
    "is_one_of",
    "join_columns",
    "lookup",
    "make_column",
    "paths_under",
    "validate",
    "with_columns",
]

Missing = Literal["null", "warn", "raise"]
"""What is done for recordings that a table has no row for."""

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
    "decoder": "string",
    "offset": "int64",
    "version": "string",
    "pieces": "large_binary",
}
"""Columns that every catalog has, in order, and their Arrow types."""

_FEW: Final = 64
"""Rows that are sooner looked at one by one than grouped by Arrow's threads. A guess."""

_NULLABLE: Final = frozenset({"seek_points", "decoder", "offset", "version", "pieces"})

ROWS_AT_ONCE: Final = 8192
"""Rows that are Python objects at any one time."""

_TABLE_RULES: Final = "Give a table with unique column names and one type of values per column."

_REQUIRED: Final = ("sample_rate", "channels", "frames", "format", "subtype")


@dataclass(frozen=True, slots=True)
class Row(Recording):
    """A `Recording` together with the catalog's further columns.

    ``row.frames`` and ``row["frames"]`` are a built-in column, ``row["site"]`` is a further one.

    Attributes
    ----------
    further : mapping
        Column name to value.
    """

    further: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  columns hold values of any type
        if name in BUILT_IN:
            return getattr(self, name)
        if name not in self.further:
            raise KeyError(
                f"There is no column {name!r}: there are {brief_list([*BUILT_IN, *self.further])}."
            )
        return self.further[name]


def lookup(column: pa.ChunkedArray) -> Callable[[int], Any]:
    """Return a function that returns the value of a row, as fast as Python can."""
    import pyarrow as pa

    if column.null_count == len(column):
        return lambda row: None  # noqa: ARG005  the row does not matter
    if column.num_chunks == 1 and column.null_count == 0 and pa.types.is_integer(column.type):
        values: Callable[[int], Any] = integers(column.chunk(0)).item
        return values
    return lambda row: column[row].as_py()


def check_column(names: Sequence[str], name: str) -> None:
    """Check that `name` is one of the `names` of columns.

    Raises
    ------
    CatalogError
        It is not.
    """
    if name not in names:
        raise CatalogError(f"There is no column {name!r}: there are {brief_list(names)}.")


def each_recording(table: pa.Table) -> Iterator[Recording]:
    """Yield the rows of a catalog's table, without its further columns."""
    for batch in table.select(list(BUILT_IN)).to_batches(ROWS_AT_ONCE):
        yield from map(Recording, *(column.to_pylist() for column in batch.columns))


def each_row(table: pa.Table) -> Iterator[Row]:
    """Yield the rows of a catalog's table."""
    further_names = table.column_names[len(BUILT_IN) :]
    for batch in table.to_batches(ROWS_AT_ONCE):
        columns = [column.to_pylist() for column in batch.columns]
        further = dict(zip(further_names, columns[len(BUILT_IN) :], strict=True))
        for index, values in enumerate(zip(*columns[: len(BUILT_IN)], strict=True)):
            yield Row(*values, further={name: column[index] for name, column in further.items()})


def as_table(source: Any) -> pa.Table:  # noqa: ANN401  a table of several libraries
    """Return an Arrow table made from a pandas, polars or Arrow one.

    Raises
    ------
    CatalogError
        `source` is not a table, or has two columns with the same name.
    """
    import pyarrow as pa

    pandas = sys.modules.get("pandas")
    table: pa.Table
    if isinstance(source, pa.Table):
        table = source
    elif pandas is not None and isinstance(source, pandas.DataFrame):
        if "id" not in source.columns and source.index.name == "id":
            source = source.reset_index()
        for place, (name, type_) in enumerate(source.dtypes.items()):
            if type_.kind == "O":
                _check_zones(str(name), source.iloc[:, place])
        with arrow_errors_explained("The pandas DataFrame cannot be an Arrow table", _TABLE_RULES):
            table = pa.Table.from_pandas(source, preserve_index=False)
        table = table.replace_schema_metadata(None)
    elif isinstance(source, pa.RecordBatch):
        table = pa.Table.from_batches([source])
    elif hasattr(source, "__arrow_c_stream__"):
        with arrow_errors_explained(
            f"A {type(source).__name__} cannot be an Arrow table", _TABLE_RULES
        ):
            table = pa.table(source)
    else:
        raise CatalogError(
            f"Give an Arrow table or a pandas DataFrame, not {type(source).__name__}."
        )
    if len(set(table.column_names)) < table.num_columns:
        raise CatalogError(f"The table has two columns with one name: {table.column_names}.")
    return table


def from_recordings(recordings: Sequence[Recording]) -> pa.Table:
    """Return a table of at most some thousand recordings; concatenate tables for more."""
    return _from_columns(
        {name: [getattr(recording, name) for recording in recordings] for name in BUILT_IN}
    )


def _from_columns(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Return a table of the built-in columns."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.type_for_alias(type_)) for name, type_ in BUILT_IN.items()])
    return pa.table({name: columns[name] for name in BUILT_IN}, schema=schema)


def paths_under(root: str, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ``root/id`` for each id."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(join(root, "") if root else "", ids, "")


def validate(table: pa.Table, root: str | None = None) -> tuple[pa.Table, str | None]:
    """Return the table with all built-in columns, each with valid types and values, and the root.

    Parameters
    ----------
    table : Arrow table
        With ``id`` or ``path``, and the other required columns.
    root : str, optional
        Absolute path. If the table has ids, every path becomes ``root/id``.

    Returns
    -------
    table : Arrow table
        The built-in columns first, in order, then the further ones.
    root : str or None
        `root`, or the common folder of the paths if the table has no ids; None if unknown.

    Raises
    ------
    CatalogError
        A column is missing, a value is null, not positive or of a wrong type, or two rows have the
        same id.
    """
    names = table.column_names
    missing = [name for name in _REQUIRED if name not in names]
    if "id" not in names and "path" not in names:
        missing.insert(0, "id (or path)")
    if missing:
        raise CatalogError(
            f"The table is not a catalog: it has no column {', '.join(missing)}. It has "
            f"{brief_list(names)}."
        )
    columns = {name: _cast(table, name, type_) for name, type_ in BUILT_IN.items() if name in names}
    if "id" not in columns:
        columns["id"], root = _ids_from_paths(columns["path"], root)
    elif root is not None:
        columns["path"] = _moved_paths(root, columns)
    elif "path" not in columns:
        raise CatalogError("The table has no column path: give the folder of the files as root=.")
    _add_optional(columns, len(table))
    complete = _from_columns(columns)
    _check_values(complete)
    for name in names:
        if name not in BUILT_IN:  # with the metadata of the field
            complete = complete.append_column(table.schema.field(name), table[name])
    return complete, root


def _moved_paths(root: str, columns: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray:
    """Return the paths below `root`: of a recording that is a part of a file, that of the file."""
    import pyarrow as pa
    import pyarrow.compute as pc

    paths = paths_under(root, columns["id"])
    if "offset" not in columns or columns["offset"].null_count == len(paths):
        return paths
    if "path" not in columns:
        raise CatalogError(
            "The table has parts of files and no column path, which says what the files are called."
        )
    # The id of a part begins with the last folders and the name of its file.
    mask = pc.is_valid(columns["offset"])
    rows = np.flatnonzero(mask.to_numpy())
    encoded = columns["path"].take(rows).combine_chunks().dictionary_encode()
    first = np.unique(encoded.indices.to_numpy(), return_index=True)[1]
    examples = columns["id"].take(rows[first]).to_pylist()
    files = []
    for path, file_id in zip(encoded.dictionary.to_pylist(), examples, strict=True):
        file, mark, part = path.partition("#") if is_parquet_part(path) else (path, "", "")
        parts = file.split("/")
        tails = ("/".join(parts[start:]) for start in range(len(parts)))
        tail = next((one for one in tails if one and file_id.startswith(f"{one}/")), None)
        if tail is None:
            raise CatalogError(
                f"{file_id!r} is a part of {path!r}, and its id does not begin with that name: "
                "give the table without root=."
            )
        files.append(join(root, tail) + mark + part)
    moved = pa.array(files, pa.string()).take(encoded.indices)
    return pa.chunked_array(
        [pc.replace_with_mask(paths.combine_chunks(), mask.combine_chunks(), moved)]
    )


def _add_optional(columns: dict[str, Any], rows: int) -> None:
    import pyarrow as pa

    for name in ("size", "mtime_ns"):
        if name not in columns:
            columns[name] = np.zeros(rows, np.int64)
    if "seek_points" not in columns:
        columns["seek_points"] = pa.nulls(rows, pa.large_binary())
    if "decoder" not in columns:
        columns["decoder"] = _decoders_of(columns["seek_points"])
    if "offset" not in columns:
        columns["offset"] = pa.nulls(rows, pa.int64())
    if "version" not in columns:
        columns["version"] = pa.nulls(rows, pa.string())
    if "pieces" not in columns:
        columns["pieces"] = pa.nulls(rows, pa.large_binary())


def _decoders_of(seek_points: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the decoders that the recordings' indexes name: null where there is none."""
    import pyarrow as pa

    if seek_points.null_count == len(seek_points):
        return pa.nulls(len(seek_points), pa.string())
    return pa.array([decoder_name(one) for one in seek_points.to_pylist()], pa.string())


def _cast(table: pa.Table, name: str, type_: str | pa.DataType) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    with arrow_errors_explained(f"The column {name} cannot be of type {type_}", "Convert it."):
        column = table[name].cast(type_)
    if column.null_count and name in ("size", "mtime_ns"):
        return pc.fill_null(column, 0)  # no file has this, so a scan with a cache reads the header
    if column.null_count and name not in _NULLABLE:
        row = pc.index(pc.is_null(column), value=True).as_py()
        raise CatalogError(
            f"The column {name} has no value in row {row}: fill it, or drop the row."
        )
    return column


def _ids_from_paths(paths: pa.ChunkedArray, root: str | None) -> tuple[pa.ChunkedArray, str]:
    """Return the paths relative to `root`, or to their common folder, and that folder."""
    import pyarrow.compute as pc

    if os.name == "nt":
        paths = pc.replace_substring(paths, "\\", "/")
    ends = pc.min_max(paths)
    first, last = ends["min"].as_py() or "", ends["max"].as_py() or ""
    if root is None:
        # The first and the last path in sorted order have the common prefix of all paths.
        pairs = enumerate(zip(first, last, strict=False))
        length = next((index for index, (a, b) in pairs if a != b), min(len(first), len(last)))
        root = first[:length].rpartition("/")[0]
        root = "/" if not root and first.startswith("/") else root
    prefix = join(root, "") if root else ""
    for path in (first, last):
        if not path.startswith(prefix):
            raise CatalogError(f"The path {path!r} lies outside root={root!r}: give another root.")
    return pc.utf8_slice_codeunits(paths, len(prefix)), root


def integers(chunk: pa.Array) -> NDArray[Any]:
    """Return a view of an array of integers without nulls.

    Arrow's own `to_numpy` imports pandas, which takes longer than all else before the first batch.
    """
    width = chunk.type.bit_width // 8
    data = np.frombuffer(chunk.buffers()[1], f"<i{width}")
    return data[chunk.offset : chunk.offset + len(chunk)]


def is_one_of(column: pa.ChunkedArray, values: Iterable[str]) -> pa.ChunkedArray:
    """Return whether each text is one of a few; null where it is null.

    By a pattern: Arrow imports pandas when it is given a Python value to compare with.
    """
    import pyarrow.compute as pc

    return pc.match_substring_regex(column, rf"\A(?:{'|'.join(map(re.escape, values))})\z")


def _check_values(table: pa.Table) -> None:
    import pyarrow.compute as pc

    ids = table["id"]
    for name in ("sample_rate", "channels", "frames"):
        if len(table) and pc.min(table[name]).as_py() <= 0:
            row = pc.index(pc.less_equal(table[name], 0), value=True).as_py()
            raise CatalogError(
                f"{ids[row].as_py()!r} has {name}={table[name][row]}: it must be positive. "
                "Correct the value, or drop the row."
            )
    _check_indexes(table)
    if len(table) and (pc.min(table["offset"]).as_py() or 0) < 0:
        row = pc.index(pc.less(table["offset"], 0), value=True).as_py()
        raise CatalogError(
            f"{ids[row].as_py()!r} has offset={table['offset'][row]}: it must not be negative. "
            "Correct the value, or drop the row."
        )
    for name, maximum in (("sample_rate", MAX_SAMPLE_RATE), ("frames", MAX_FRAMES)):
        if len(table) and pc.max(table[name]).as_py() > maximum:
            row = pc.index(pc.greater(table[name], maximum), value=True).as_py()
            raise CatalogError(
                f"{ids[row].as_py()!r} has {name}={table[name][row]}: the maximum is {maximum}. "
                "Correct the value, or drop the row."
            )
    by_libsndfile = table  # FFmpeg's codecs cannot be listed, so their names are not checked
    if CONTAINERS.keys() & set(pc.unique(table["format"]).to_pylist()):
        by_ffmpeg = is_one_of(table["format"], CONTAINERS)
        by_libsndfile = table.filter(pc.invert(by_ffmpeg))
    for name, known in zip(("format", "subtype"), libsndfile_names(), strict=True):
        for value in set(pc.unique(by_libsndfile[name]).to_pylist()) - known:
            row = pc.index(by_libsndfile[name], value=value).as_py()
            raise CatalogError(
                f"{by_libsndfile['id'][row].as_py()!r} has {name}={value!r}, which libsndfile does "
                f"not know: the names are {', '.join(sorted(known))}."
            )
    repeated = _find_repeated(ids)
    if repeated is not None:
        row = pc.index(ids, value=repeated).as_py()
        other = row + 1 + pc.index(ids.slice(row + 1), value=repeated).as_py()
        paths = [table["path"][index].as_py() for index in (row, other)]
        raise CatalogError(
            f"Two recordings have the id {repeated!r}: {paths[0]!r} (row {row}) and {paths[1]!r} "
            f"(row {other}). Ids must be unique: drop one, or use ids relative to a higher folder."
        )


def has_put_off(table: pa.Table) -> pa.ChunkedArray:
    """Return which recordings have an index that is made when they are first read.

    What `headrace.codecs.lacks_index` says of each recording.
    """
    import pyarrow.compute as pc

    walked = is_one_of(table["subtype"], ("opus", "vorbis"))
    of_ogg = pc.and_(walked, is_one_of(table["format"], ["OGGS"]))
    return pc.and_(of_ogg, pc.is_null(table["seek_points"]))


def _check_indexes(table: pa.Table) -> None:
    import pyarrow.compute as pc

    without = pc.and_(pc.is_valid(table["decoder"]), pc.is_null(table["seek_points"]))
    without = pc.and_not(without, has_put_off(table))
    if pc.any(without).as_py():
        row = pc.index(without, value=True).as_py()
        raise CatalogError(
            f"{table['id'][row].as_py()!r} has decoder={table['decoder'][row].as_py()!r} and no "
            "seek_points: keep that column, too."
        )


def _find_repeated(ids: pa.ChunkedArray) -> str | None:
    """Return an id that occurs more than once, or None."""
    import pyarrow.compute as pc

    # The ids of a scan are sorted; then no hash table of all ids is needed.
    if not len(ids) or pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        return None
    if pc.count_distinct(ids, mode="all").as_py() == len(ids):
        return None
    counts = pc.value_counts(ids)
    index = pc.index(pc.greater(counts.field("counts"), 1), value=True).as_py()
    repeated: str | None = counts.field("values")[index].as_py()
    return repeated


@dataclass(frozen=True, slots=True)
class JoinKeys:
    """The values by which tables and mappings are joined to the rows of a catalog.

    Attributes
    ----------
    name : str
        The column that has them.
    values : Arrow array
        One for each row; null is a row without a value.
    ids : Arrow array of string
        The ids of the rows, for messages.
    missing : {"null", "warn", "raise"}
        What to do for rows that a table or a mapping has nothing for.
    """

    name: str
    values: pa.ChunkedArray
    ids: pa.ChunkedArray
    missing: Missing = "null"

    def check(
        self, what: str, found: Sequence[bool] | pa.Array, first_other: object, stacklevel: int
    ) -> None:
        """Check whether `what` has something for each row.

        Parameters
        ----------
        what : str
            The table or the mapping.
        found : sequence of bool
            Whether it has something for each row.
        first_other : object
            Its first key, for the message; None if it is empty.
        stacklevel : int
            Of the warning, counted from this function.

        Raises
        ------
        CatalogError
            It has nothing for any row; or for one, with ``missing="raise"``.
        """
        rows = np.flatnonzero(~np.asarray(found, bool))
        if not len(rows):
            return
        if len(rows) == len(self.ids) and first_other is not None:
            raise CatalogError(
                f"{what} has no {self.name} that is in the catalog: its first is "
                f"{brief(first_other)}, the catalog's first is {self.values[0].as_py()!r}. Give "
                + ("ids as catalog.ids has them." if self.name == "id" else "the catalog's values.")
            )
        if self.missing == "null":
            return
        first = int(rows[0])
        where = "" if self.name == "id" else f" ({self.name} {self.values[first].as_py()!r})"
        message = (
            f"{what} has no row for {len(rows):,} of {format_count(len(self.ids), 'recording')}: "
            f"the first is {self.ids[first].as_py()}{where}. Add the rows, or give "
            'missing="null" for null.'
        )
        if self.missing == "raise":
            raise CatalogError(message)
        warnings.warn(message, HeadraceWarning, stacklevel=stacklevel)


def make_column(name: str, values: object, keys: JoinKeys) -> pa.ChunkedArray:
    """Return a new column for the rows with these keys.

    Parameters
    ----------
    name : str
        Name of the column, for messages and to take it from a table.
    values : mapping, table, or sequence
        Mapping from a key to a value; a table with columns for the key and `name`; or values in
        the order of the rows.
    keys : JoinKeys
        Those of the rows, in order.

    Raises
    ------
    CatalogError
        The values cannot be one column, or see `join_columns`.
    """
    import pyarrow as pa

    if isinstance(values, Mapping):
        wanted = keys.values.to_pylist()
        found = [key in values for key in wanted]
        keys.check(f"{name}=", found, next(iter(values), None), stacklevel=4)
        values = [values.get(key) for key in wanted]
    elif isinstance(values, str | bytes) or hasattr(values, "to_frame"):
        raise CatalogError(
            f"{name}= must be a function, a mapping from id, a table with a column id, or one "
            f"value for each row, not a {type(values).__name__}. For a pandas Series, use "
            "series.to_dict() to join on its index, or series.to_numpy() for values in the order "
            "of the rows."
        )
    elif not isinstance(values, pa.Array | pa.ChunkedArray | np.ndarray | list | tuple):
        table = as_table(values)
        if name not in table.column_names:
            raise CatalogError(
                f"The table given as {name}= has no column {name!r}: it has "
                f"{brief_list(table.column_names)}."
            )
        columns = [column for column in table.column_names if column in (keys.name, name)]
        return join_columns(table.select(columns), keys, stacklevel=5)[name]
    count = len(keys.ids)
    if len(values) != count:
        raise CatalogError(
            f"{name}= has {format_count(len(values), 'value')} for "
            f"{format_count(count, 'recording')}: give one for each."
        )
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        _check_zones(name, values)
    with arrow_errors_explained(
        f"The values of {name!r} cannot be one column", "Give values of one type."
    ):
        column = values if isinstance(values, pa.ChunkedArray) else pa.array(values)
    return column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])


def _check_zones(name: str, values: Iterable[object]) -> None:
    """Check that all of some values are times with a zone, or none is: Arrow would shift some.

    Raises
    ------
    CatalogError
        Some times have a zone and others have none.
    """
    examples: dict[bool, datetime] = {}
    for value in values:
        if not isinstance(value, datetime):
            if value is None or (isinstance(value, float) and math.isnan(value)):
                continue
            return  # a column of other values
        if value == value:  # noqa: PLR0124  pandas' NaT is none
            examples.setdefault(value.tzinfo is not None, value)
    if len(examples) > 1:
        raise CatalogError(
            f"The column {name!r} has times with a zone, such as {examples[True]}, and without, "
            f"such as {examples[False]}: give all of them a zone, or none."
        )


def join_columns(
    table: pa.Table, keys: JoinKeys, stacklevel: int = 4
) -> dict[str, pa.ChunkedArray]:
    """Return the other columns of `table` for the rows with these keys; null for other keys.

    Raises
    ------
    CatalogError
        The table has no column of that name, has a key twice, has none of the keys, or lacks some
        with ``missing="raise"``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    name = keys.name
    if name not in table.column_names:
        raise CatalogError(
            f"The table has no column {name} to join on: it has {brief_list(table.column_names)}."
        )
    wanted = keys.values
    if pa.types.is_dictionary(wanted.type):
        wanted = wanted.cast(wanted.type.value_type)
    given = _cast(table, name, wanted.type)
    repeated = _find_repeated(given)
    if repeated is not None:
        raise CatalogError(
            f"The table has the {name} {repeated!r} twice: keep one row for each {name}."
        )
    rows = pc.index_in(wanted, value_set=given, skip_nulls=True)
    first = given[0].as_py() if len(given) else None
    keys.check("The table", pc.is_valid(rows), first, stacklevel)
    return {other: table[other].take(rows) for other in table.column_names if other != name}


def filter_rows(
    table: pa.Table,
    mask: object,
    *,
    noun: str = "recording",
    error: type[HeadraceError] = CatalogError,
) -> pa.Table:
    """Return the rows for which `mask` is true; null is not true.

    Parameters
    ----------
    table : Arrow table
        Any table.
    mask : sequence of bool
        One for each row.
    noun : str
        What a row is, for messages.
    error : type
        The exception to raise.

    Raises
    ------
    HeadraceError
        Of the type `error`: `mask` does not have a bool for each row.
    """
    import pyarrow as pa

    with arrow_errors_explained("The mask cannot be read", "Give a bool for each row.", error):
        bools = mask if isinstance(mask, pa.ChunkedArray) else pa.array(mask)
    if len(bools) and not pa.types.is_boolean(bools.type):
        raise error(
            f"A mask must have a bool for each row, not {bools.type}: compare a column with a "
            "value to make one."
        )
    if len(bools) != len(table):
        raise error(
            f"The mask has {format_count(len(bools), 'value')} for "
            f"{format_count(len(table), noun)}: give one for each."
        )
    return table.filter(bools.cast(pa.bool_()))


def with_columns(table: pa.Table, columns: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """Return the table with these columns, replaced in place or added at the end."""
    for name, column in columns.items():
        index = table.schema.get_field_index(name)
        table = (
            table.append_column(name, column)
            if index < 0
            else table.set_column(index, name, column)
        )
    return table


def fingerprint(table: pa.Table) -> str:
    """Return a hash of ids, frames, sample rates and decoders: 32 hexadecimal digits.

    BLAKE2b over the number of rows, the lengths of the ids in bytes, their UTF-8, the frames and
    the sample rates; all numbers as little-endian int64. If a recording names its decoder, the
    decoders follow as the ids do. Arrow's chunks do not change it.
    """
    digest = hashlib.blake2b(b"headrace catalog 1", digest_size=16)
    digest.update(np.array([len(table)], "<i8").data)
    _update_with_text(digest, table["id"])
    for name in ("frames", "sample_rate"):
        for chunk in table[name].chunks:
            digest.update(np.ascontiguousarray(integers(chunk), "<i8").data)
    if table["decoder"].null_count < len(table):
        _update_with_text(digest, table["decoder"].fill_null(""))
    return digest.hexdigest()


def _update_with_text(digest: hashlib.blake2b, column: pa.ChunkedArray) -> None:
    chunks = [_offsets_and_text(chunk) for chunk in column.chunks]
    for offsets, _ in chunks:
        digest.update(np.diff(offsets.astype("<i8")).data)
    for _, text in chunks:
        digest.update(text)


def distinct_kinds(table: pa.Table) -> tuple[tuple[int, int, str, str], ...]:
    """Return the distinct (sample rate, channels, format, subtype), sorted."""
    names = ["sample_rate", "channels", "format", "subtype"]
    if len(table) <= _FEW:
        return tuple(sorted(set(zip(*(table[name].to_pylist() for name in names), strict=True))))
    codes = np.zeros(len(table), np.int64)  # Arrow's group_by would import pandas
    for name in names:
        encoded = table[name].combine_chunks().dictionary_encode()
        codes = codes * len(encoded.dictionary) + integers(encoded.indices)
    changes = np.flatnonzero(np.diff(codes, prepend=-1))
    rows = changes[np.unique(codes[changes], return_index=True)[1]].tolist()
    return tuple(sorted(tuple(table[name][row].as_py() for name in names) for row in rows))


def _offsets_and_text(chunk: pa.StringArray) -> tuple[np.ndarray[Any, Any], memoryview]:
    """Return where each string begins and ends, and the UTF-8 of all of them."""
    _, ends, text = chunk.buffers()
    if not len(chunk):
        return np.zeros(1, np.int64), memoryview(b"")
    offsets = np.frombuffer(ends, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    return offsets, memoryview(text or b"")[offsets[0] : offsets[-1]]
