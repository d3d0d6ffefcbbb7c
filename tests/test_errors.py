from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from headrace import errors
from headrace.failures import Code, Failure

FAILURE = Failure("a.wav", "/data/a.wav", Code.IO, "it says nothing", 1.0, 2.0, windows=3, index=7)
MADE_OF: dict[str, tuple[Any, ...]] = {
    "MemoryBudgetError": ("say so", 4_096),
    "ReadError": (FAILURE,),
}
"""Of the classes that take more than a sentence, or something else."""

CARRIED: dict[str, dict[str, Any]] = {
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
    """An exception that crosses to another process keeps its sentence and what it carries."""
    error = getattr(errors, name)(*MADE_OF.get(name, ("say so",)))
    if name == "NoRecordingsError":
        error.failures = (FAILURE,)

    other = again(error)

    assert type(other) is type(error)
    assert str(other) == (str(FAILURE) if name == "ReadError" else "say so")
    assert vars(other) == CARRIED.get(name, {})
