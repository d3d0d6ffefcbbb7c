"""The results of a model, batch by batch: whatever table holds them, in bounded memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from headrace._formatting import brief_list
from headrace._validation import arrow_errors_explained
from headrace.catalog import as_table
from headrace.errors import CatalogError, ResultsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "ResultBatch",
    "count_rows",
    "each_batch",
    "find_column",
    "is_list",
    "results_schema",
]

_ROWS_OF_SCHEMA: Final = ("id", "start_s", "end_s")

_BATCH_BYTES: Final = 32 << 20
"""Of values of the model's column that are read at once, about: an arbitrary choice. Parquet's
default of 131,072 rows would be 3 GB of BirdNET's 6,522 scores."""

_MOST_ROWS: Final = 1 << 16


class ResultBatch(NamedTuple):
    """Some rows of results, without those whose value is null.

    Attributes
    ----------
    ids : Arrow array of string, shape ``(rows,)``
        Of the recordings.
    rows_by_id : dict of str to int
        The number of rows of each recording, also of those whose value is null.
    channel : ndarray of int32, shape ``(rows,)``
        -1 where the channel is null or there is no such column.
    start_s, end_s : ndarray of float64, shape ``(rows,)``
        Of the windows.
    values : Arrow array, shape ``(rows,)``
        What the model gave for each window.
    """

    ids: pa.Array
    rows_by_id: dict[str, int]
    channel: NDArray[np.int32]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    values: pa.Array


def results_schema(results: Any) -> tuple[Any, pa.Schema]:  # noqa: ANN401  several libraries' types
    """Return the results as Arrow's dataset or table, and their schema.

    Raises
    ------
    ResultsError
        They are neither a table nor a dataset, or have no columns ``id``, ``start_s``, ``end_s``.
    """
    if not (hasattr(results, "scanner") and hasattr(results, "schema")):  # a pyarrow Dataset
        try:
            results = as_table(results)
        except CatalogError as error:
            raise ResultsError(str(error)) from None
    schema: pa.Schema = results.schema
    if missing := [name for name in _ROWS_OF_SCHEMA if name not in schema.names]:
        raise ResultsError(
            f"The results have the columns {brief_list(schema.names) or '(none)'}, and no "
            f"{', '.join(missing)}: give the results of Windows.apply, or a table with a row for "
            "each window and these columns."
        )
    return results, schema


def find_column(
    schema: pa.Schema, column: str | None, size: int | None, *, detections: bool = True
) -> str:
    """Return the column that has detections, scores or embeddings.

    Parameters
    ----------
    schema : Arrow schema
        Of the results.
    column : str or None
        The column's name, or None to find it: the only one of detections, or else the only one of
        lists of numbers.
    size : int or None
        How many numbers a row has, if that is known.
    detections : bool
        Whether the column may be one of detections.

    Raises
    ------
    ResultsError
        There is no such column, or more than one.
    """
    import pyarrow as pa

    if column is not None:
        if column not in schema.names:
            raise ResultsError(
                f"The results have no column {column!r}: there are {', '.join(schema.names)}."
            )
        return column
    lists: list[pa.Field] = [field for field in schema if is_list(field.type)]
    found: list[str] = []
    if detections:
        found = [field.name for field in lists if pa.types.is_struct(field.type.value_type)]
    if not found:
        found = [
            field.name
            for field in lists
            if not pa.types.is_nested(field.type.value_type)
            and size in (None, getattr(field.type, "list_size", size))
        ]
    if len(found) == 1:
        return found[0]
    candidates = found or [name for name in schema.names if name not in _ROWS_OF_SCHEMA]
    fitting = f" with {size} numbers a window" if size is not None else ""
    raise ResultsError(
        f"The results have {'several columns' if found else 'no column'}"
        f"{' of detections, or' if detections else ''} of lists{fitting}: give the one to use as "
        f"column=; there are {', '.join(candidates)}."
    )


def is_list(type_: pa.DataType) -> bool:
    """Return whether values of this Arrow type are lists."""
    import pyarrow as pa

    return bool(
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_fixed_size_list(type_)
    )


def each_batch(results: Any, column: str) -> Iterator[ResultBatch]:  # noqa: ANN401
    """Yield the results in their order; at most about 32 MiB of values at once.

    Raises
    ------
    ResultsError
        A column has a type or a null that it cannot have.
    """
    import pyarrow as pa

    results, schema = results_schema(results)
    names = list(dict.fromkeys(["id", "start_s", "end_s", "channel", column]))
    names = [name for name in names if name in schema.names]
    type_ = schema.field(column).type
    size = type_.list_size if pa.types.is_fixed_size_list(type_) else 64
    rows = max(1, min(_MOST_ROWS, _BATCH_BYTES // (4 * max(1, size))))
    if isinstance(results, pa.Table):
        batches = results.select(names).to_batches(rows)
    else:  # read ahead of by one, so that memory stays bounded
        batches = results.to_batches(
            columns=names, batch_size=rows, batch_readahead=1, fragment_readahead=1
        )
    for batch in batches:
        if batch.num_rows:
            yield _result_batch(batch, column)


def count_rows(results: Any) -> Counter[str]:  # noqa: ANN401  several libraries' types
    """Return the number of rows of each recording in all of the results.

    Raises
    ------
    ResultsError
        The ids have a type that they cannot have.
    """
    import pyarrow as pa

    results, _ = results_schema(results)
    total: Counter[str] = Counter()
    ids = results.select(["id"]) if isinstance(results, pa.Table) else results
    for batch in ids.to_batches() if ids is not results else results.to_batches(columns=["id"]):
        with _types_explained():
            names = batch["id"].cast(pa.string())
        total.update(_rows_by_id(names))
    return total


def _types_explained() -> Any:  # noqa: ANN401  a context
    return arrow_errors_explained(
        "id, start_s and end_s of results",
        "Give the results of Windows.apply, or columns of these types.",
        ResultsError,
    )


def _rows_by_id(ids: pa.Array) -> dict[str, int]:
    """Return the number of rows of each recording, in the order in which they appear."""
    import pyarrow.compute as pc

    counts = pc.value_counts(ids)
    names, numbers = counts.field("values").to_pylist(), counts.field("counts").to_pylist()
    return dict(zip(names, numbers, strict=True))


def _result_batch(batch: pa.RecordBatch, column: str) -> ResultBatch:
    import pyarrow as pa

    with _types_explained():
        ids = batch["id"].cast(pa.string())
        start, end = (batch[name].cast(pa.float64()) for name in ("start_s", "end_s"))
        channel = (
            batch["channel"].cast(pa.int32()).fill_null(-1)
            if "channel" in batch.schema.names
            else pa.array(np.full(len(ids), -1, np.int32))
        )
    if ids.null_count or start.null_count or end.null_count:
        raise ResultsError(
            "A window of the results has no id, start_s or end_s: remove these rows."
        )
    rows_by_id = _rows_by_id(ids)
    values = batch[column]
    if values.null_count:  # windows that failed
        kept = values.is_valid()
        ids, channel, start, end, values = (
            array.filter(kept) for array in (ids, channel, start, end, values)
        )
    return ResultBatch(
        ids,
        rows_by_id,
        channel.to_numpy(zero_copy_only=False),
        start.to_numpy(zero_copy_only=False),
        end.to_numpy(zero_copy_only=False),
        values,
    )
