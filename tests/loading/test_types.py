"""What a type checker knows of what a loader yields; mypy checks this file in strict mode.

A line with ``type: ignore`` shows that mypy refuses it: a comment that ignores nothing is an error.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, assert_type

import numpy as np
import pytest

import headrace
from headrace.windows._windows import LoaderOptions

if TYPE_CHECKING:
    from headrace import Windows


def test_a_loader_of_batches_yields_batches(windows: Windows) -> None:
    """With a batch size, each way to iterate yields a `Batch`, whose misspelt field is an error."""
    with windows.loader(batch_size=2, workers=0, last="drop") as loader:
        assert_type(loader, headrace.Loader[headrace.Batch])
        batch = assert_type(next(iter(loader)), headrace.Batch)
        assert isinstance(batch, headrace.Batch)
        assert_type(next(loader.steps(1)), headrace.Batch)
        assert_type(next(loader.take([np.arange(2)])), headrace.Batch)
    with pytest.raises(AttributeError):
        _ = batch.audoi  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        windows.loader(batch_sise=2)  # type: ignore[call-overload]


def test_a_loader_of_examples_yields_examples(windows: Windows) -> None:
    """Without a batch size it yields an `AudioExample`; an unknown batch size yields anything."""
    loader = windows.loader(workers=0)
    example = assert_type(next(iter(loader)), headrace.AudioExample)
    assert isinstance(example, headrace.AudioExample)
    with pytest.raises(AttributeError):
        _ = example.ofset  # type: ignore[attr-defined]
    size: int | None = 2 if len(windows) > 1 else None
    assert_type(windows.loader(batch_size=size), headrace.Loader[Any])
    plain: headrace.Loader = windows.loader(batch_size=2)
    assert len(plain) == 19


def test_a_type_checker_knows_all_arguments_of_a_loader() -> None:
    """`LoaderOptions` has those of `Windows.loader`, so that none is refused, or missed."""
    arguments = {*inspect.signature(headrace.Windows.loader).parameters}

    assert {*LoaderOptions.__annotations__} == arguments - {"self", "batch_size"}


def test_an_adapter_knows_its_batches(windows: Windows) -> None:
    """A `TorchLoader` yields a `TorchBatch`, or with `fields` a tuple."""
    pytest.importorskip("torch")
    from headrace.adapters.torch import TorchBatch, TorchLoader

    batch = assert_type(
        next(iter(TorchLoader(windows.loader(batch_size=2, workers=0)))), TorchBatch
    )
    assert isinstance(batch, TorchBatch)
    with pytest.raises(AttributeError):
        _ = batch.lables  # type: ignore[attr-defined]
    rows = TorchLoader(windows.loader(batch_size=2, workers=0), ("index",))
    assert_type(next(iter(rows)), tuple[Any, ...])
    with pytest.raises(ValueError, match="yields single examples"):
        TorchLoader(windows.loader())  # type: ignore[arg-type]
