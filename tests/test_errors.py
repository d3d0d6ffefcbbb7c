from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest

from headrace import errors
from headrace.failures import Code, Failure

FAILURE = Failure("a.wav", "/data/a.wav", Code.IO, "a disk error", 1.0, 2.0, windows=3, index=7)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "MemoryBudgetError": ("the message", 4_096),
    "ReadError": (FAILURE, "Give up."),
}
"""Arguments of the classes that take more than a sentence, or something else."""

ATTRIBUTES: dict[str, dict[str, Any]] = {
    "MemoryBudgetError": {"needed": 4_096},
    "NoRecordingsError": {"failures": (FAILURE,)},
    "ReadError": {"failure": FAILURE, "advice": "Give up."},
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
    assert str(other) == (f"{FAILURE}. Give up." if name == "ReadError" else "the message")
    assert vars(other) == ATTRIBUTES.get(name, {})


def test_the_tree_of_errors_is_complete() -> None:
    """The tree at the top of the module shows every class, with the builtin that it inherits."""
    line = re.compile(r"^ +(?:[├└]── )?(\w+) *(?:\((\w+)\))?", re.MULTILINE)
    drawn = dict(line.findall(errors.__doc__ or ""))

    assert set(drawn) == set(errors.__all__)
    for name, builtin in drawn.items():
        if builtin:
            bases = [base.__name__ for base in getattr(errors, name).__bases__]
            assert builtin in bases, name
