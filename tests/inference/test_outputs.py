from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headrace.errors import ModelError
from headrace.inference._outputs import Outputs, detection_type, row_bytes

NUMBERS = hnp.arrays(
    st.sampled_from(["?", "i1", "u2", "i8", "f2", "f4", "f8"]).map(np.dtype),
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
    elements={"allow_nan": False},
)


@settings(deadline=None)
@given(NUMBERS)
def test_numbers_come_back_as_they_were(array: Any) -> None:
    """Values, type and shape of any array of numbers are kept, and the memory is not shared."""
    outputs = Outputs(())
    column = outputs.convert(array, len(array))["output"]
    expected = array.copy()
    array[...] = 0
    back = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
    values = back.to_numpy(zero_copy_only=False).reshape(expected.shape)

    assert len(column) == len(expected)
    assert values.dtype == expected.dtype
    assert np.array_equal(values, expected)
    if expected.dtype != bool:
        assert row_bytes(outputs.fields) == expected[0].nbytes


STRUCTURED = np.array(
    [(0.5, 1.0, "wren", 0.25)],
    [("start_s", "f8"), ("end_s", "f8"), ("label", "U8"), ("score", "f4")],
)
WREN = {"start_s": 0.5, "end_s": 1.0, "label": "wren", "score": 0.25, "low_hz": None}


@pytest.mark.parametrize(
    "rows",
    [
        [STRUCTURED, []],
        [STRUCTURED, STRUCTURED[:0]],
        [[dict(zip(STRUCTURED.dtype.names or (), STRUCTURED[0], strict=True))], ()],
        [[{"start_s": 0.5, "end_s": 1, "class": np.str_("wren"), "score": 0.25}], []],
    ],
)
def test_detections_of_every_kind(rows: Any) -> None:
    """Structured rows and dicts, with NumPy's or Python's values, are the same detections."""
    given_rows = np.empty(2, object)
    given_rows[:] = rows
    for value in (rows, given_rows):
        column = Outputs(()).convert({"found": value}, 2)["found"]

        assert column.type == detection_type()
        assert column.to_pylist() == [[WREN | {"high_hz": None}], []]


def test_a_first_batch_without_detections() -> None:
    """Empty lists are lists of detections, so that a quiet start does not decide the column."""
    outputs = Outputs(())
    outputs.convert({"found": [[], []]}, 2)

    assert outputs.convert({"found": [STRUCTURED, []]}, 2)["found"][0].as_py()[0]["label"] == "wren"
    with pytest.raises(ModelError, match=r"returned 1\.5 for a window in 'found'"):
        outputs.convert({"found": [1.5]}, 1)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[{"start_s": "x", "end_s": 1, "label": "a"}]], "a value of a wrong type"),
        ([[3]], "a detection is a dict with"),
        ([[{"start_s": 0, "end_s": 1, "label": None}]], "a detection without label"),
        ([[{"start_s": 1, "end_s": 0.5, "label": "a"}]], "from 1 s to 0.5 s in 'found'"),
        ([[{"start_s": np.nan, "end_s": 1, "label": "a"}]], "from nan s to 1 s"),
    ],
)
def test_wrong_detections(value: Any, message: str) -> None:
    """A wrong detection is one sentence."""
    outputs = Outputs((), fields=pa.schema([("found", detection_type())]))

    with pytest.raises(ModelError, match=message):
        outputs.convert({"found": value}, 1)


def test_float16_has_a_largest_number() -> None:
    """What float16 cannot hold is an error, not infinity; the largest error is kept otherwise."""
    outputs = Outputs((), ("x",))
    outputs.convert({"x": np.array([1.0, 2049.0, np.inf, np.nan])}, 4)

    assert outputs.take_loss() == {"x": 1.0}
    assert outputs.take_loss() == {}
    with pytest.raises(ModelError, match="the value 70000, and float16 ends at 65504"):
        outputs.convert({"x": np.array([70_000.0])}, 1)
    with pytest.raises(ModelError, match="which is int64, not float"):
        Outputs((), ("x",)).convert({"x": np.array([1])}, 1)


def test_python_numbers_take_the_type_of_the_column() -> None:
    """A list of whole numbers fits a column of floats; a list of texts does not."""
    outputs = Outputs(())
    outputs.convert([0.5, 1.5], 2)

    assert outputs.convert([1, 2], 2)["output"].to_pylist() == [1.0, 2.0]
    with pytest.raises(ModelError, match="'output' as string, and these results have it as double"):
        outputs.convert(["a", "b"], 2)
