"""What a model returns, as Arrow columns with one row for each window.

An array, or a dict of arrays, each with a row for each window:

- numbers, bools or texts, shape ``(rows,)``: a column of that type;
- vectors, shape ``(rows, n)`` or of more axes: a column of fixed-size lists, flattened. The shape
  is in the metadata of the column;
- detections, a list for each window of dicts or of structured rows: a column of lists of structs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace._formatting import brief, brief_list
from headrace.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection

    import pyarrow as pa

__all__ = ["DEFAULT_COLUMN", "Outputs", "detection_type", "row_bytes"]

DEFAULT_COLUMN: Final = "output"
"""Name of the column where a model returns an array and not a dict."""

_DETECTION_FIELDS: Final = {
    "start_s": "float64",
    "end_s": "float64",
    "label": "string",
    "score": "float32",
    "low_hz": "float32",
    "high_hz": "float32",
}
"""The fields of a detection, and their Arrow types. The first three are required."""

_REQUIRED_FIELDS: Final = ("start_s", "end_s", "label")
_ALIASES: Final = {"class": "label"}
_SHAPE_KEY: Final = b"shape"
_RAGGED_BYTES: Final = 256
"""Bytes that a window's detections are estimated to take. An arbitrary choice: some six of them."""


def detection_type() -> pa.DataType:
    """Return the type of a column of detections: times in seconds from the window's start."""
    import pyarrow as pa

    fields = [(name, pa.type_for_alias(type_)) for name, type_ in _DETECTION_FIELDS.items()]
    return pa.list_(pa.struct(fields))


def row_bytes(schema: pa.Schema) -> int:
    """Return about how many bytes a row takes: exact for numbers and vectors."""
    import pyarrow as pa

    total = 0
    for field in schema:
        if pa.types.is_fixed_size_list(field.type):
            total += field.type.list_size * field.type.value_type.bit_width // 8
        elif pa.types.is_primitive(field.type):
            total += max(1, field.type.bit_width // 8)
        else:
            total += _RAGGED_BYTES
    return total


class Outputs:
    """Turns what a model returns into Arrow arrays.

    Parameters
    ----------
    reserved : collection of str
        Names that the model's columns may not have.
    float16 : collection of str
        Columns of floats that are stored as float16.
    fields : schema, optional
        The columns that the run has already. Default: those of the first conversion.

    Attributes
    ----------
    fields : schema or None
        The columns, once they are known.
    """

    def __init__(
        self,
        reserved: Collection[str],
        float16: Collection[str] = (),
        fields: pa.Schema | None = None,
    ) -> None:
        self.fields = fields
        self._reserved = frozenset(reserved)
        self._float16 = frozenset(float16)
        self._loss: dict[str, float] = {}

    def take_loss(self) -> dict[str, float]:
        """Return the largest error of each float16 column since the last call."""
        loss, self._loss = self._loss, {}
        return loss

    def convert(self, value: object, rows: int) -> dict[str, pa.Array]:
        """Return the columns of a batch. They share no memory with `value`.

        Raises
        ------
        ModelError
            The value is not a row for each window, or has other columns than before.
        """
        import pyarrow as pa

        given = value if isinstance(value, Mapping) else {DEFAULT_COLUMN: value}
        columns: dict[str, pa.Array] = {}
        fields: list[pa.Field] = []
        for name, one in given.items():
            self._check_name(name)
            known = None
            if self.fields is not None and name in self.fields.names:
                known = self.fields.field(name)
            column, field = self._column(name, one, rows, known)
            columns[name] = column
            fields.append(field)
        schema = pa.schema(fields)
        if self.fields is None:
            self._check_first(schema)
            self.fields = schema
        self._check_same(schema)
        return {name: columns[name] for name in self.fields.names}

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str) or not name:
            raise ModelError(
                f"the model returned a dict with the key {name!r}: keys are names of columns."
            )
        if name in self._reserved:
            raise ModelError(
                f"the model returned a column {name!r}, which the results have already: choose "
                "another name."
            )

    def _check_first(self, schema: pa.Schema) -> None:
        import pyarrow as pa

        if not len(schema):
            raise ModelError("the model returned an empty dict: return at least one array.")
        for name in sorted(self._float16):
            if name not in schema.names:
                raise ModelError(
                    f"float16 names the column {name!r}, and the model returns "
                    f"{brief_list(schema.names)}."
                )
            type_ = schema.field(name).type
            inner = type_.value_type if pa.types.is_fixed_size_list(type_) else type_
            if not pa.types.is_floating(inner):
                raise ModelError(f"float16 names the column {name!r}, which is {type_}, not float.")

    def _check_same(self, schema: pa.Schema) -> None:
        assert self.fields is not None
        if {*schema.names} != {*self.fields.names}:
            raise ModelError(
                f"the model returned the columns {brief_list(schema.names)}, and these results "
                f"have {brief_list(self.fields.names)}."
            )
        for field in schema:
            before = self.fields.field(field.name)
            if field.type != before.type or _shape(field) != _shape(before):
                raise ModelError(
                    f"the model returned {field.name!r} as {_describe(field)}, and these results "
                    f"have it as {_describe(before)}."
                )

    def _column(
        self, name: str, value: object, rows: int, known: pa.Field | None
    ) -> tuple[pa.Array, pa.Field]:
        import pyarrow as pa

        value = _on_host(value)
        _check_rows(name, value, rows)
        if _is_detections(value, known):
            array = _detections(name, value)
            return array, pa.field(name, array.type)
        try:
            numbers = np.array(value)  # a copy: the model may use its memory again
        except ValueError as error:
            raise ModelError(
                f"the model returned {name!r} with rows of different lengths: return an array, or "
                f"for each window a list of detections (dicts). ({error})"
            ) from None
        if numbers.dtype.kind in "US":
            texts = pa.array(numbers.astype(str).tolist(), pa.string())
            return texts, pa.field(name, texts.type)
        if numbers.dtype.kind not in "biuf" or numbers.dtype.itemsize > 8:  # noqa: PLR2004  bytes
            raise ModelError(
                f"the model returned {name!r} as {numbers.dtype}: return numbers, bools or texts, "
                "or for each window a list of detections (dicts)."
            )
        if name in self._float16 and numbers.dtype.kind == "f":
            half = _as_float16(name, numbers)
            with np.errstate(invalid="ignore"):  # infinity is kept, and its error is none
                off = np.abs(numbers - half.astype(numbers.dtype))
            worst = float(np.max(off, initial=0.0, where=np.isfinite(off)))
            self._loss[name] = max(worst, self._loss.get(name, 0.0))
            numbers = half
        if numbers.ndim == 1:
            column = pa.array(numbers)
            if known is not None and column.type != known.type and isinstance(value, list | tuple):
                column = _cast(name, column, known)
            return column, pa.field(name, column.type)
        size = int(np.prod(numbers.shape[1:]))
        if not size:
            raise ModelError(
                f"the model returned {name!r} of shape {numbers.shape}: a vector needs a number."
            )
        column = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), size)
        metadata = None
        if numbers.ndim > 2:  # noqa: PLR2004  rows and one axis
            metadata = {_SHAPE_KEY: json.dumps(numbers.shape[1:]).encode()}
        return column, pa.field(name, column.type, metadata=metadata)


def _on_host(value: object) -> object:
    """Return a tensor of PyTorch as an array, from whatever device."""
    if isinstance(value, list | tuple | str | np.ndarray):
        return value
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        tensor: Any = value.detach().cpu()
        if "bfloat16" in str(tensor.dtype):  # which NumPy does not have
            tensor = tensor.float()
        return tensor.numpy()
    if isinstance(value, Sequence) or not hasattr(value, "__array__"):
        return value
    return np.asarray(value)


def _check_rows(name: str, value: object, rows: int) -> None:
    shape = getattr(value, "shape", None)
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__") or shape == ():
        raise ModelError(
            f"the model returned {name!r} as {type(value).__name__}: return an array, or a dict of "
            "arrays, with a row for each window."
        )
    count = len(value)
    if count != rows:
        raise ModelError(
            f"the model returned {count} rows of {name!r} for {rows} windows: return one for each."
        )


def _is_detections(value: object, known: pa.Field | None) -> bool:
    """Return whether the rows are lists of detections; empty lists are, if nothing is known."""
    import pyarrow as pa

    if known is not None:
        return bool(pa.types.is_list(known.type))
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return False
    rows: list[Any] = list(value)  # type: ignore[call-overload]
    if not rows or not all(_is_list(row) for row in rows):
        return False
    filled = [row for row in rows if len(row)]
    return not filled or isinstance(filled[0][0], Mapping | np.void)


def _is_list(row: object) -> bool:
    if isinstance(row, np.ndarray):
        return row.dtype.names is not None or not len(row)
    return isinstance(row, list | tuple)


def _detections(name: str, value: Any) -> pa.Array:  # noqa: ANN401  lists of lists of dicts
    import pyarrow as pa

    rows = [[] if row is None else row for row in value]
    if wrong := [row for row in rows if not isinstance(row, list | tuple | np.ndarray)]:
        raise ModelError(
            f"the model returned {brief(wrong[0])} for a window in {name!r}: return a list of "
            "detections for each window, as before."
        )
    plain = [[_detection(name, one) for one in row] for row in rows]
    try:
        return pa.array(plain, detection_type())
    except (pa.ArrowException, TypeError, ValueError) as error:
        first = str(error).partition("\n")[0]
        raise ModelError(
            f"the model returned a detection in {name!r} with a value of a wrong type: {first}"
        ) from None


def _detection(name: str, one: Any) -> dict[str, Any]:  # noqa: ANN401  a dict or structured row
    if isinstance(one, np.void) and one.dtype.names:
        one = dict(zip(map(str, one.dtype.names), one.item(), strict=True))
    if not isinstance(one, Mapping):
        raise ModelError(
            f"the model returned {brief(one)} in {name!r}: a detection is a dict with "
            f"{', '.join(_DETECTION_FIELDS)}."
        )
    fields = {_ALIASES.get(key, str(key)): value for key, value in one.items()}
    if unknown := [key for key in fields if key not in _DETECTION_FIELDS]:
        raise ModelError(
            f"the model returned a detection with {brief(unknown[0])} in {name!r}: a detection has "
            f"{', '.join(_DETECTION_FIELDS)}."
        )
    if missing := [key for key in _REQUIRED_FIELDS if fields.get(key) is None]:
        raise ModelError(f"the model returned a detection without {missing[0]} in {name!r}: {one}.")
    values = {
        key: value.item() if hasattr(value, "item") else value for key, value in fields.items()
    }
    values["label"] = str(values["label"])
    start, end = values["start_s"], values["end_s"]
    are_numbers = isinstance(start, Real) and isinstance(end, Real)  # else the type is refused
    if are_numbers and not -np.inf < start <= end < np.inf:
        raise ModelError(
            f"the model returned a detection from {start} s to {end} s in {name!r}: a detection "
            "must not end before it starts."
        )
    return values


def _as_float16(name: str, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):
        half = numbers.astype(np.float16)
    if (np.isinf(half) & np.isfinite(numbers)).any():
        largest = np.abs(numbers[np.isfinite(numbers)]).max()
        raise ModelError(
            f"{name!r} has the value {largest:g}, and float16 ends at 65504: leave it out of "
            "float16, or scale it."
        )
    return half


def _cast(name: str, column: pa.Array, known: pa.Field) -> pa.Array:
    """Return a column of Python numbers in the type that the results have."""
    import pyarrow as pa

    try:
        return column.cast(known.type)
    except pa.ArrowException:
        raise ModelError(
            f"the model returned {name!r} as {column.type}, and these results have it as "
            f"{known.type}."
        ) from None


def _shape(field: pa.Field) -> list[int]:
    text = (field.metadata or {}).get(_SHAPE_KEY)
    return [] if text is None else list(json.loads(text))


def _describe(field: pa.Field) -> str:
    shape = _shape(field)
    return f"{field.type}" + (f" of shape {tuple(shape)}" if shape else "")
