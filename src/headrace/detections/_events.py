"""Detections per window (ragged: as many as there are) -> detections in the recording's time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace._validation import arrow_errors_explained
from headrace.annotations import at_least
from headrace.errors import ResultsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from headrace.detections._result_batches import ResultBatch

__all__ = ["detections_of_events"]

_FIELDS: Final = "start_s, end_s, and label (or class, its number)"
_TYPES: Final = {
    "start_s": "double",
    "end_s": "double",
    "score": "float",
    "low_hz": "double",
    "high_hz": "double",
}


def detections_of_events(
    batches: Iterator[ResultBatch],
    type_: pa.DataType,
    classes: Sequence[str] | None,
    threshold: float | Mapping[str, float] | None,
    column: str,
) -> Iterator[dict[str, Any]]:
    """Yield the columns of the detections in lists of structs, a part of the windows at a time.

    Parameters
    ----------
    batches : iterator of ResultBatch
        Windows with a list of structs each: ``start_s`` and ``end_s`` in seconds from the start of
        the window; ``label``, or ``class``, a number; perhaps ``score``, ``low_hz``, ``high_hz``.
    type_ : Arrow type
        Of the column.
    classes : sequence of str or None
        The names of the numbers in ``class``.
    threshold : float, mapping of str to float, or None
        As in `at_least`.
    column : str
        The column's name, for messages.

    Raises
    ------
    ResultsError
        The structs do not have these fields, or a detection ends before it starts.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    fields = _check_fields(type_, column)
    named = "label" if "label" in fields else "class"
    for batch in batches:
        rows = pc.list_parent_indices(batch.values).to_numpy(zero_copy_only=False)
        structs = pc.list_flatten(batch.values)
        columns = {}
        with arrow_errors_explained(
            f"The detections in the column {column!r}", f"Give each {_FIELDS}.", ResultsError
        ):
            for name in _TYPES.keys() & fields:
                columns[name] = pc.struct_field(structs, name).cast(_TYPES[name])
            columns["label"] = _labels(pc.struct_field(structs, named), named, classes)
        start, end = (columns[name].to_numpy(zero_copy_only=False) for name in ("start_s", "end_s"))
        if len(wrong := np.flatnonzero(~((start <= end) & (end < np.inf) & (start > -np.inf)))):
            row = int(rows[wrong[0]])
            raise ResultsError(
                f"A detection in {batch.ids[row].as_py()!r}, in the window at "
                f"{batch.start_s[row]:g} s, is from {start[wrong[0]]:g} s to {end[wrong[0]]:g} s: "
                "a detection must not end before it starts."
            )
        channel = batch.channel[rows]
        columns |= {
            "id": batch.ids.take(pa.array(rows)),
            "channel": pa.array(channel, mask=channel < 0),
            "start_s": pa.array(batch.start_s[rows] + start),
            "end_s": pa.array(batch.start_s[rows] + end),
        }
        if threshold is None:
            yield columns
            continue
        scores = columns.get("score", pa.nulls(len(rows), pa.float32()))
        kept = pa.array(at_least(threshold, columns["label"], scores, classes, error=ResultsError))
        yield {name: values.filter(kept) for name, values in columns.items()}


def _check_fields(type_: pa.DataType, column: str) -> set[str]:
    """Return the fields of the structs."""
    fields = {field.name for field in type_.value_type}
    named = "label" if "label" in fields else "class"
    if missing := [name for name in ("start_s", "end_s", named) if name not in fields]:
        raise ResultsError(
            f"The detections in the column {column!r} have the fields "
            f"{', '.join(sorted(fields))}, and no {', '.join(missing)}: give each {_FIELDS}."
        )
    return fields


def _labels(values: pa.Array, field: str, classes: Sequence[str] | None) -> pa.Array:
    """Return labels as strings; numbers, also those written as texts, are indices of `classes`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(values.type):
        if classes is None:
            raise ResultsError(
                f"The detections have numbers as {field}: give as classes= the name of each number."
            )
        are_numbers = True
    else:
        values = values.cast(pa.string())
        present = pc.unique(values).drop_null()
        are_numbers = (
            classes is not None
            and len(present) > 0
            and pc.all(pc.utf8_is_decimal(present)).as_py()
            and not pc.any(pc.is_in(present, value_set=pa.array(classes))).as_py()
        )
    if not are_numbers:
        return values
    assert classes is not None
    numbers = values.cast(pa.int64())
    known = numbers.drop_null().to_numpy(zero_copy_only=False)
    if len(known) and not 0 <= known.min() <= known.max() < len(classes):
        raise ResultsError(
            f"The detections have a {field} of {known.max()}, but there are {len(classes)} "
            "classes, counted from 0: give as classes= the name of each number."
        )
    return pa.array(classes, pa.string()).take(numbers)
