from __future__ import annotations

import inspect
import json
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace
from headrace.windows import Windows, WindowsIdentity, _identity
from headrace.windows._identity import BalancedIdentity, LargeMixIdentity, SampleOnceIdentity
from headrace.windows._window_sets import WindowSet
from tests.support.catalogs import fake_catalog

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDINGS: tuple[dict[str, Any], ...] = (
    {"frames": [400, 80, 300, 200]},
    {"frames": [400, 80, 300, 201]},
    {"frames": [400, 80, 300]},
)
CUTS: tuple[dict[str, Any], ...] = (
    {},
    {"hop_s": 0.05},
    {"tail": "shift"},
    {"channel": 0},
    {"min_audio_s": 0.01},
    {"min_audio_s": 0.02},
)
CHOICES: tuple[Callable[[Windows], Windows], ...] = (
    lambda w: w,
    lambda w: w[1:],
    lambda w: w[::2],
    lambda w: w.take([2, 0, -1]),
    lambda w: w.take([2, -1, 0]),
    lambda w: w[1:].take([2, 0, -1]),
    lambda w: headrace.concat([w, w]),
    lambda w: headrace.concat([w[:2], w[2:]]),
    lambda w: headrace.concat([w, w, w[1:]]),
    lambda w: headrace.concat([w, w])[1:],
    lambda w: w.catalog.crops(1_000, 0.1, 3),
    lambda w: w.catalog.crops(1_000, 0.1, 2),
    lambda w: w.catalog.crops(1_000, 0.1, 3, seed=1),
    lambda w: w.catalog.windows_at({"id": ["r0", "r1"], "at_s": [0.1, 0.05]}, 1_000, 0.1),
    lambda w: w.catalog.windows_at({"id": ["r0", "r1"], "at_s": [0.2, 0.05]}, 1_000, 0.1),
    lambda w: w.catalog.windows_at(
        {"id": ["r0", "r1"], "at_s": [0.1, 0.05]}, 1_000, 0.1, jitter_s=0.01
    ),
    lambda w: w.catalog.windows_at(
        {"id": ["r0", "r1"], "at_s": [0.1, 0.05]}, 1_000, 0.1, jitter_s=0.01, seed=1
    ),
)
ORDERS: tuple[Callable[[Windows], Windows], ...] = (
    lambda w: w,
    lambda w: w.shuffle(0),
    lambda w: w.shuffle(1),
    lambda w: w.shuffle(0, by="file"),
    lambda w: w.shuffle(0, by="file", interleave=2),
    lambda w: w.shuffle(0, by="file", interleave=3),
    lambda w: w.shuffle(0, by="block", block=2),
    lambda w: w.shuffle(0, by="block", block=3),
    lambda w: w.sample(np.ones(len(w))),
    lambda w: w.sample(np.arange(len(w)) + 1),
    lambda w: w.sample(np.ones(len(w)), n=1_000),
    lambda w: w.sample(np.ones(len(w)), seed=1),
    lambda w: w.sample(n=2, replacement=False),
    lambda w: w.sample(n=1, replacement=False),
    lambda w: w.sample(np.ones(len(w)), n=2, replacement=False),
    lambda w: w.sample(np.arange(len(w)) + 1, n=2, replacement=False),
    lambda w: w.sample(n=2, seed=1, replacement=False),
    lambda w: headrace.mix([w, w[1:]], n=12),
    lambda w: headrace.mix([w, w[1:]], n=12, weights=[1, 2]),
    lambda w: headrace.mix([w, w[1:]], n=12, seed=1),
    lambda w: headrace.mix([w[i % 2 :] for i in range(20)]),
    lambda w: w.shard(0, 2, by="recording"),
    lambda w: w.shuffle(0).shard(0, 2, by="recording"),
    lambda w: w.shuffle(0).shard(1, 2, by="recording"),
)

Recipe = tuple[int, int, int, int]
recipes = st.tuples(
    *(st.integers(0, len(all_) - 1) for all_ in (RECORDINGS, CUTS, CHOICES, ORDERS))
)


def _build(recipe: Recipe) -> Windows:
    recordings, cut, choice, order = recipe
    windows = fake_catalog(**RECORDINGS[recordings]).windows(1_000, 0.1, **CUTS[cut])
    return ORDERS[order](CHOICES[choice](windows))


def _canonical(recipe: Recipe) -> Recipe:
    """Return a recipe that is the same for two that build the same windows.

    Crops and windows at given times do not depend on the cut of the windows whose catalog they use.
    """
    recordings, cut, choice, order = recipe
    return recordings, 0 if choice >= len(CHOICES) - 7 else cut, choice, order


@settings(max_examples=150, deadline=None)
@given(recipes, recipes, st.sets(st.integers(0, 3), max_size=2))
def test_identities_are_equal_exactly_if_windows_are_built_alike(
    one: Recipe, replacement: Recipe, replaced: set[int]
) -> None:
    """`Windows` built by the same steps have equal identities; by other steps, different ones."""
    steps = [replacement[i] if i in replaced else one[i] for i in range(4)]
    other = (steps[0], steps[1], steps[2], steps[3])
    alike = _canonical(one) == _canonical(other)

    assert (_build(one).identity == _build(other).identity) is alike
    assert (_build(one).fingerprint == _build(other).fingerprint) is alike


@settings(max_examples=60, deadline=None)
@given(recipes)
def test_an_identity_survives_json(recipe: Recipe) -> None:
    """What JSON gives back is the identity that was written."""
    identity = _build(recipe).identity
    plain = json.loads(json.dumps(identity.to_json()))

    assert plain == identity.to_json()
    assert WindowsIdentity.from_json(plain) == identity
    assert WindowsIdentity.from_json(plain).fingerprint == identity.fingerprint


def test_all_choices_and_orders_of_one_cut_differ() -> None:
    """No two of these are ever taken for each other, as no state of one resumes the other."""
    built = [_build((0, 0, choice, 0)) for choice in range(len(CHOICES))]
    built += [_build((0, 0, 0, order)) for order in range(1, len(ORDERS))]

    for one, other in combinations(built, 2):
        assert one.identity != other.identity
        assert one.fingerprint != other.fingerprint


def test_every_value_of_an_identity_is_plain() -> None:
    """Integers, strings and lists of them, in dicts that have a kind: nothing else is stored."""

    def check(plain: Any) -> None:
        if isinstance(plain, dict):
            assert isinstance(plain["kind"], str)
            for value in plain.values():
                check(value)
        elif isinstance(plain, list):
            assert all(type(one) is int for one in plain)
        else:
            assert type(plain) in (int, str)

    for choice in range(len(CHOICES)):
        for order in range(len(ORDERS)):
            for part in _build((0, 3, choice, order)).identity.to_json().values():
                check(part)


def test_kinds_are_unique() -> None:
    """No two parts have the same kind, so that JSON leaves no doubt which one is meant."""
    parts = [
        part
        for _, part in inspect.getmembers(_identity, inspect.isclass)
        if issubclass(part, _identity.IdentityPart) and part is not _identity.IdentityPart
    ]

    assert len({part.kind for part in parts}) == len(parts) > 15


def test_nesting_and_joining_once_change_nothing() -> None:
    """A concatenation of one set is that set, and nested concatenations are one flat one."""
    one = fake_catalog([400, 80]).windows(1_000, 0.1)
    two = fake_catalog([300, 200]).windows(1_000, 0.1, 0.05)
    flat = headrace.concat([one, two, one[1:]])

    assert headrace.concat([one]).identity == one.identity
    assert headrace.concat([headrace.concat([one, two]), one[1:]]).identity == flat.identity
    assert headrace.concat([one, headrace.concat([two, one[1:]])]).identity == flat.identity
    assert headrace.concat([one, one[1:], two]).identity != flat.identity


@pytest.mark.parametrize("order", range(len(ORDERS)))
def test_descriptions_decide_nothing(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every word for people changed, states resume, and are refused, as before."""
    windows, other = _build((0, 0, 6, order)), _build((0, 0, 7, order))
    loader = windows.loader()
    saved = json.loads(json.dumps(loader.state_dict()))
    fingerprint = windows.fingerprint

    for _, part in inspect.getmembers(_identity, inspect.isclass):
        if hasattr(part, "describe"):
            monkeypatch.setattr(part, "describe", lambda _: "other words")
            monkeypatch.setattr(part, "__repr__", lambda _: "another repr")
    for kind in (Windows, *_subclasses(WindowSet)):
        monkeypatch.setattr(kind, "__repr__", lambda _: "another repr")
    for kind in _subclasses(WindowSet):
        monkeypatch.setattr(kind, "description", property(lambda _: "other words"))

    again = _build((0, 0, 6, order))
    again.loader().load_state_dict(saved)
    assert again.fingerprint == fingerprint
    with pytest.raises(headrace.StateError, match="cannot resume"):
        other.loader().load_state_dict(saved)


def _subclasses(kind: type) -> list[type]:
    children: list[type] = kind.__subclasses__()
    return [kind, *(one for child in children for one in _subclasses(child))]


def test_the_stored_fields_never_change() -> None:
    """Version 3 of a saved state has exactly these fields: a change needs another version."""
    windows = fake_catalog([400, 80]).windows(1_000, 0.1)
    mixed = headrace.mix([windows, windows[1:].take([2, 0])], weights=[2, 1], n=9, seed=6)
    shard = windows.shuffle(3, by="block", block=2).shard(1, 2, by="recording")

    assert windows[1:].identity.to_json() == {
        "recordings": {
            "kind": "recordings",
            "count": 2,
            "catalogs": 1,
            "fingerprint": windows.catalog.fingerprint,
        },
        "cut": {
            "kind": "cut",
            "sample_rate": 1_000,
            "size": 100,
            "hop": 100,
            "tail": "pad",
            "min_tail": 25,
            "channel": "mix",
        },
        "choice": {"kind": "slice", "start": 1, "step": 1, "count": 4, "of": {"kind": "all"}},
        "order": {"kind": "in_order"},
    }
    assert mixed.identity.to_json()["order"] == {"kind": "mix", "counts": [6, 3], "seed": 6}
    assert mixed.identity.to_json()["choice"] == {
        "kind": "concatenation",
        "sources": 2,
        "count": 7,
        "digest": "57255349aef5ded32a075db3edfba65b",
    }
    assert shard.identity.to_json()["order"] == {
        "kind": "shard_of_recordings",
        "rank": 1,
        "world": 2,
        "of": {"kind": "shuffle_blocks", "block": 2, "seed": 3},
    }
    assert windows.sample([1, 2, 3, 4, 5], n=7, seed=5).identity.to_json()["order"] == {
        "kind": "sample",
        "n": 7,
        "weights": "0f2a2ebb240c86cfde662604324c5384",
        "seed": 5,
    }
    assert windows.fingerprint == "5a2411c8cf4866378de1ed2a58ec1c32"
    once = windows.sample([1, 2, 3, 4, 5], n=2, seed=5, replacement=False)
    crops = windows.catalog.with_columns(site=["a", "b"]).crops(1_000, 0.1, 3, "site", seed=7)
    audible = windows.catalog.windows(1_000, 0.1, min_audio_s=0.08)
    assert once.identity.to_json()["order"] == {
        "kind": "sample_once",
        "n": 2,
        "weights": "0f2a2ebb240c86cfde662604324c5384",
        "seed": 5,
    }
    assert crops.identity.to_json()["choice"] == {"kind": "crops", "per_recording": 3, "seed": 7}
    assert crops.identity.to_json()["order"] == {
        "kind": "balanced",
        "values": 2,
        "n": 6,
        "digest": "6c326150674acda8f82b60b2271c62fa",
        "seed": 7,
    }
    assert audible.identity.to_json()["cut"] == {
        **windows.identity.to_json()["cut"],
        "kind": "cut_with_min_audio",
        "min_audio": 80,
    }


def test_a_single_draw_is_described_as_one() -> None:
    """Draws and windows are counted in the singular, too."""
    once, balanced = SampleOnceIdentity(1, "", 2), BalancedIdentity(1, 1, "x", 2)
    parts = once, balanced, LargeMixIdentity(1, 1, "x", 2)
    assert [part.describe() for part in parts] == [
        "1 draw without replacement, seed 2",
        "1 window balanced over 1 value (digest x), seed 2",
        "1 window mixed from 1 source (counts with digest x), seed 2",
    ]
