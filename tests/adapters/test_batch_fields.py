from __future__ import annotations

import importlib
from dataclasses import fields

import pytest

import headrace
from headrace.adapters._device_loader import DEVICE_FIELDS


@pytest.mark.parametrize(
    ("framework", "name", "others"),
    [("torch", "TorchBatch", {"columns"}), ("jax", "JaxBatch", set())],
)
def test_an_adapters_batch_has_the_fields_of_a_batch(
    framework: str, name: str, others: set[str]
) -> None:
    """`Batch`'s fields are an adapter's, of the same types except for the framework's arrays.

    The columns of PyTorch are tensors and lists, and those of JAX are NumPy's.
    """
    pytest.importorskip(framework)
    adapted = getattr(importlib.import_module(f"headrace.adapters.{framework}"), name)
    types = {field.name: field.type for field in fields(adapted)}
    expected = {field.name: field.type for field in fields(headrace.Batch)}

    assert set(types) == set(expected)
    assert {name for name in types if types[name] != expected[name]} == {*DEVICE_FIELDS, *others}
