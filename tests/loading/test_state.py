from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from headrace.errors import StateError
from headrace.loading._state import make_state, read_state
from tests.support.catalog_tables import three_recordings

if TYPE_CHECKING:
    from headrace.windows._windows import Windows


@pytest.fixture
def windows() -> Windows:
    """Return windows of three recordings."""
    return three_recordings().windows(16_000, 0.001)


def test_a_state_survives_json(windows: Windows) -> None:
    """A state that went through JSON restores its epoch and position."""
    saved = json.dumps(make_state(windows, 3, 1))

    assert read_state(windows, json.loads(saved)) == (3, 1)


@pytest.mark.parametrize(
    "garbage",
    [
        None,
        [],
        "x",
        {},
        {"epoch": "x"},
        {"epoch": None},
        {"epoch": math.inf},
        {"version": None},
        {"cut": "0"},
        {"cut": {}},
        {"cut": None},
        {"cut": {"kind": "cut"}},
        {"cut": {"kind": "all"}},
        {"choice": {"kind": "all", "count": 3}},
        {"choice": {"kind": ["all"]}},
        {"order": {"kind": "shuffle_windows", "seed": "3"}},
        {"order": {"kind": "shuffle_windows", "seed": True}},
        {"order": {"kind": "shuffle_windows", "seed": 3.0}},
        {"order": {"kind": "mix", "counts": [1, "2"], "seed": 0}},
        {"order": {"kind": "mix", "counts": 3, "seed": 0}},
        {"order": {"kind": "in_order", 3: 4}},
        {"order": {"kind": "no such kind"}},
        {"recordings": {"kind": "recordings", "count": 3, "catalogs": 1, "fingerprint": 7}},
        {"unknown": 1},
    ],
)
def test_garbage_is_not_a_state(windows: Windows, garbage: Any) -> None:
    """Anything else than a state is an error that says so."""
    if garbage:
        garbage = {**make_state(windows, 0, 0), **garbage} if isinstance(garbage, dict) else garbage

    with pytest.raises(StateError, match="this is not a state of a loader"):
        read_state(windows, garbage)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"version": 4}, "has version 4, and this headrace reads version 3: use the headrace that"),
        ({"version": 0}, "has version 0, and this headrace reads version 3"),
        (
            {"cut": three_recordings().windows(8_000, 0.001).identity.to_json()["cut"]},
            "the way the recordings are cut differs",
        ),
        ({"epoch": -1}, "epoch -1, position 0 does not exist"),
        ({"position": -1}, "position -1 does not exist"),
        ({"position": 1 << 40}, "position 1099511627776 does not exist"),
    ],
)
def test_a_position_that_does_not_exist_is_refused(
    windows: Windows, changed: dict[str, Any], sentence: str
) -> None:
    """A state of another version, of other windows, or after the epoch's end is an error."""
    with pytest.raises(StateError, match=sentence):
        read_state(windows, {**make_state(windows, 0, 0), **changed})


@pytest.mark.parametrize("missing", ["version", "recordings", "cut", "choice", "order", "epoch"])
def test_a_missing_key_is_refused(windows: Windows, missing: str) -> None:
    """A missing key is an error; nothing is guessed."""
    state = make_state(windows, 0, 0)
    del state[missing]

    with pytest.raises(StateError, match="this is not a state of a loader"):
        read_state(windows, state)


OLD: dict[str, Any] = {
    "recordings": "3 recordings 36e8a3e2b2b5bf62a6d7a8c96e1cf4d0",
    "cut": "16000 Hz, 16 samples every 16, pad from 4, channel mix",
    "choice": "all",
    "order": "in order",
    "epoch": 0,
    "position": 1,
}
"""A state as headrace 0.1.0 saved it: sentences."""


@pytest.mark.parametrize("version", [1, 2])
def test_states_of_the_old_form_are_refused(windows: Windows, version: int) -> None:
    """One sentence names the last version that reads them."""
    with pytest.raises(StateError) as refused:
        read_state(windows, {"version": version, **OLD})

    assert str(refused.value) == (
        f"the state has version {version}, and headrace 0.1.0 is the last version that reads it: "
        "finish the run with headrace 0.1.0, or start over."
    )


def test_numbers_of_other_types_are_numbers(windows: Windows) -> None:
    """States with NumPy's integers and tuples, as some checkpoints hold, resume."""

    def numpys(plain: Any) -> Any:
        if isinstance(plain, dict):
            return {name: numpys(value) for name, value in plain.items()}
        if isinstance(plain, list):
            return tuple(numpys(value) for value in plain)
        return np.int64(plain) if isinstance(plain, int) else plain

    mixed = headrace.mix([windows, windows[1:]])

    assert read_state(mixed, numpys(make_state(mixed, 2, 1))) == (2, 1)


def test_a_refused_state_says_both_values_in_words(windows: Windows) -> None:
    """The error has the saved value, the current one, and what to do."""
    state = make_state(windows.shuffle(3), 0, 0)

    with pytest.raises(StateError) as refused:
        read_state(windows.shuffle(4, by="block", block=2), state)

    assert str(refused.value) == (
        "cannot resume from this state, because their order differs: it was saved with 'shuffled "
        "by window, seed 3', and this loader has 'shuffled by blocks of 2, seed 4'. Use the same "
        "kind of order and the same seed, or start over."
    )


def test_another_cut_or_seed_is_other_windows(windows: Windows) -> None:
    """A state of one order is an error for another order."""
    state = make_state(windows, 0, 0)

    for what, other in {
        "their order": windows.shuffle(),
        "the choice of windows": windows[1:],
        "the way the recordings are cut": three_recordings().windows(8_000, 0.001),
    }.items():
        with pytest.raises(StateError, match=f"because {what} differs: .*, or start over"):
            read_state(other, state)


def test_recordings_in_another_number_of_catalogs_are_named_as_such() -> None:
    """Where only the number of catalogs differs, no file is said to have been renamed."""
    catalog = three_recordings()
    state = make_state(catalog.windows(16_000, 0.001), 0, 0)
    parts = [catalog[:1].windows(16_000, 0.001), catalog[1:].windows(16_000, 0.001)]
    halves = headrace.concat(parts)

    with pytest.raises(StateError, match="the 3 recordings are in 2 catalogs, and were in 1 when"):
        read_state(halves, state)
