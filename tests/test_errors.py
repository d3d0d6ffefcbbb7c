from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from headrace import errors
from headrace.failures import Code, Failure

FAILURE = Failure("a.wav", "/data/a.wav", Code.IO, "a disk error", 1.0, 2.0, windows=3, index=7)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "MemoryBudgetError": ("the message", 4_096),
    "ReadError": (FAILURE,),
}
"""Arguments of the classes that take more than a sentence, or something else."""

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "MemoryBudgetError": {"needed": 4_096},
    "NoRecordingsError": {"failures": (FAILURE,)},
    "ReadError": {"failure": FAILURE},
}


@pytest.mark.parametrize(
    "again",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
@pytest.mark.parametrize("name", errors.__all__)
def test_errors_survive_pickling(name: str, again: Any) -> None:
    """An exception that is sent to another process keeps its message and its attributes."""
    error = getattr(errors, name)(*ARGUMENTS.get(name, ("the message",)))
    if name == "NoRecordingsError":
        error.failures = (FAILURE,)

    other = again(error)

    assert type(other) is type(error)
    assert str(other) == (str(FAILURE) if name == "ReadError" else "the message")
    assert vars(other) == ATTRIBUTES.get(name, {})
