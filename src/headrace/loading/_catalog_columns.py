"""`CatalogColumns`: the values of a catalog's columns for the windows of a batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace._formatting import brief, brief_list
from headrace._validation import arrow_errors_explained
from headrace.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog import Recordings

__all__ = ["CatalogColumns"]

_STRING_BYTES = 80
"""Of a Python string, beside its characters. Each of these takes at most 4 bytes."""

_ARRAY_BYTES = 128
"""Of a NumPy array, beside its elements."""

_OTHER_BYTES = 1024
"""Of a value of another type, such as a struct. A guess."""


class CatalogColumns:
    """Columns of the catalogs of some recordings, looked up by recording.

    Parameters
    ----------
    recordings : Recordings
        A column that only some of their catalogs have is null for the recordings of the others.
    names : sequence of str
        The columns.

    Raises
    ------
    CatalogError
        No catalog has such a column, or two have columns of that name with types that do not fit
        together.
    ValueError
        `names` are not several different names.

    Attributes
    ----------
    names : tuple of str
        As given.
    """

    def __init__(self, recordings: Recordings, names: Sequence[str]) -> None:
        if isinstance(names, str):
            raise ValueError(  # noqa: TRY004  as of other arguments of a loader
                f"columns must be names, as in [{brief(names)}], not one string."
            )
        if not isinstance(names, Iterable):
            raise ValueError(  # noqa: TRY004
                f'columns must be names, as in ["site"], not {brief(names)}.'
            )
        self.names = tuple(names)
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"columns has a name twice: {brief_list(self.names)}.")
        self._columns = {name: _make_column(_join(recordings, name)) for name in self.names}

    @property
    def nbytes(self) -> int:
        """Bytes of the columns."""
        return sum(one.values.nbytes for one in self._columns.values())

    @property
    def row_bytes(self) -> int:
        """The most bytes of one row's values."""
        return sum(one.row_bytes for one in self._columns.values())

    def rows(self, recording: NDArray[np.int64], padding_rows: int = 0) -> dict[str, NDArray[Any]]:
        """Return the values of some recordings, and of rows without one after them.

        Parameters
        ----------
        recording : ndarray of int64, shape ``(rows,)``
            Numbers of the recordings.
        padding_rows : int
            Rows to append: with NaN, 0, False, ``""`` or None.

        Returns
        -------
        dict of str to ndarray, each of shape ``(rows + padding_rows,)``
            Numbers and bools have their dtype, or float64 with NaN if the column has nulls; times
            are datetime64 in UTC. Others are objects: texts are str, and null is None.
        """
        return {
            name: np.concatenate([one.rows(recording), np.full(padding_rows, one.fill, one.dtype)])
            if padding_rows
            else one.rows(recording)
            for name, one in self._columns.items()
        }


@dataclass(frozen=True, eq=False)
class _Column:
    """A column of all recordings.

    Attributes
    ----------
    values : ndarray or Arrow array
        A value for each recording.
    dtype : numpy.dtype
        Of what `rows` returns.
    fill : object
        What rows without a recording have.
    row_bytes : int
        The most bytes of one value.
    """

    values: NDArray[Any] | pa.Array
    dtype: np.dtype[Any]
    fill: object
    row_bytes: int

    def rows(self, recording: NDArray[np.int64]) -> NDArray[Any]:
        """Return the values of some recordings."""
        if isinstance(self.values, np.ndarray):
            found: NDArray[Any] = self.values[recording]
            return found
        import pyarrow as pa

        some = self.values.take(pa.array(recording))
        objects = np.empty(len(recording), object)  # also where all values are lists of one length
        objects[:] = _objects(some)
        return objects


def _objects(array: pa.Array) -> list[Any]:
    """Return the values as Python objects, numbers in lists as NumPy arrays."""
    import pyarrow as pa

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if _is_list_of_numbers(array.type):
        return list(array.to_numpy(zero_copy_only=False))
    values: list[Any] = array.to_pylist()
    return values


def _is_list_of_numbers(type_: pa.DataType) -> bool:
    import pyarrow as pa

    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(type_) for test in lists) and pa.types.is_primitive(type_.value_type)


def _join(recordings: Recordings, name: str) -> pa.Array:
    """Return one column of all catalogs, with nulls for catalogs that do not have it."""
    import pyarrow as pa

    catalogs = recordings.catalogs
    if not any(name in one.columns for one in catalogs):
        known = dict.fromkeys(column for one in catalogs for column in one.columns)
        raise CatalogError(
            f"There is no column {brief(name)} to deliver: there are "
            f"{brief_list(known)}. Add it with catalog.with_columns."
        )
    parts = [
        one.to_arrow().select([name] if name in one.columns else []).replace_schema_metadata(None)
        for one in catalogs
    ]
    for number, (part, one) in enumerate(zip(parts, catalogs, strict=True)):
        if not part.num_columns:
            parts[number] = pa.table({name: pa.nulls(len(one))})
    with arrow_errors_explained(
        f"The column {name!r} has types that do not fit together: "
        f"{brief_list(dict.fromkeys(part[name].type for part in parts))}",
        "Give it one type in all catalogs.",
    ):
        column = pa.concat_tables(parts, promote_options="permissive")[name]
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    return column.combine_chunks()


def _make_column(array: pa.Array) -> _Column:
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = array.type
    is_number = pa.types.is_integer(type_) or pa.types.is_floating(type_)
    is_bool = pa.types.is_boolean(type_) and not array.null_count
    is_time = pa.types.is_timestamp(type_) or pa.types.is_date(type_) or pa.types.is_duration(type_)
    if is_number or is_bool or is_time:
        values = array.to_numpy(zero_copy_only=False)
        fill = {"f": np.nan, "M": np.datetime64("NaT"), "m": np.timedelta64("NaT")}
        return _Column(values, values.dtype, fill.get(values.dtype.kind, 0), values.dtype.itemsize)
    words = array.dictionary if pa.types.is_dictionary(type_) else array
    is_text = pa.types.is_string(words.type) or pa.types.is_large_string(words.type)
    if is_text or pa.types.is_binary(words.type) or pa.types.is_large_binary(words.type):
        longest = pc.max(pc.binary_length(words)).as_py() or 0
        row_bytes = _STRING_BYTES + 4 * longest
    elif _is_list_of_numbers(type_):
        longest = pc.max(pc.list_value_length(array)).as_py() or 0
        row_bytes = _ARRAY_BYTES + 8 * longest
    else:
        row_bytes = _OTHER_BYTES
    return _Column(array, np.dtype(object), "" if is_text else None, 8 + row_bytes)
