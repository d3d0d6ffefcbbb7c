from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

from headrace.errors import StateError
from headrace.loading._state import place_of, state_of
from tests.support.catalog_tables import three

if TYPE_CHECKING:
    from headrace.windows._windows import Windows


@pytest.fixture
def windows() -> Windows:
    """Return windows of three recordings."""
    return three().windows(16_000, 0.001)


def test_a_state_survives_json(windows: Windows) -> None:
    """What was saved is the place that is restored."""
    saved = json.dumps(state_of(windows, 3, 1))

    assert place_of(windows, json.loads(saved)) == (3, 1)


@pytest.mark.parametrize(
    "garbage", [None, [], "x", {}, {"epoch": "x"}, {"epoch": None}, {"epoch": math.inf}]
)
def test_garbage_is_no_state(windows: Windows, garbage: Any) -> None:
    """Whatever is given instead of a state is refused as such."""
    if garbage:
        garbage = {**state_of(windows, 0, 0), **garbage} if isinstance(garbage, dict) else garbage

    with pytest.raises(StateError, match="this is no state of a loader"):
        place_of(windows, garbage)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"version": 1}, "has version 1"),
        ({"cut": "0"}, "how recordings are cut differs"),
        ({"epoch": -1}, "epoch -1, position 0 does not exist"),
        ({"position": -1}, "position -1 does not exist"),
        ({"position": 1 << 40}, "position 1099511627776 does not exist"),
    ],
)
def test_a_place_that_is_not_there_is_refused(
    windows: Windows, changed: dict[str, Any], sentence: str
) -> None:
    """A state of another version, of other windows, or beyond the epoch's end cannot be resumed."""
    with pytest.raises(StateError, match=sentence):
        place_of(windows, {**state_of(windows, 0, 0), **changed})


def test_another_cut_or_seed_is_other_windows(windows: Windows) -> None:
    """A position in one order says nothing about another."""
    state = state_of(windows, 0, 0)

    for what, other in {
        "their order": windows.shuffle(),
        "which windows are chosen": windows[1:],
        "how recordings are cut": three().windows(8_000, 0.001),
    }.items():
        with pytest.raises(StateError, match=f"because {what} differs: .* or begin anew"):
            place_of(other, state)
