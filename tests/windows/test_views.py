import json
import pickle
from collections.abc import Hashable, Sequence
from itertools import groupby
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace
from headrace.errors import HeadraceWarning, InvalidWindowsError
from headrace.windows._identity import (
    AllWindows,
    CutIdentity,
    RecordingsIdentity,
    SetIdentity,
)
from headrace.windows._window_sets import WindowRows, WindowSet
from headrace.windows._windows import Windows
from tests.support.catalogs import fake_catalog

BY: tuple[Literal["window", "file", "block"], ...] = ("window", "file", "block")

Place = tuple[int, int]
Drawn = tuple[Windows, list[Place], list[int]]


def _ten() -> Windows:
    """Return ten windows of 100 samples: 4, 1, 3 and 2 of their recordings."""
    return fake_catalog([400, 80, 300, 200]).windows(sample_rate=1_000, window_s=0.1)


def _places(windows: Windows, epoch: int = 0) -> list[Place]:
    """Return recording and start of every window, unshuffled."""
    rows = windows.rows(np.arange(windows.table().num_rows), epoch)
    return list(zip(rows.recording.tolist(), rows.start.tolist(), strict=True))


def _order(windows: Windows, epoch: int = 0) -> list[int]:
    everything = np.arange(windows.positions, dtype=np.int64)
    return [int(item) for item in windows.order.epoch(epoch)(everything)]


def _shuffled(windows: Windows, seed: int, by: Literal["window", "file", "block"]) -> Windows:
    return windows.shuffle(seed, by, block=2 if by == "block" else None)


@st.composite
def _chosen(draw: st.DrawFn) -> Drawn:
    """Draw a set of windows, chosen in several steps, and the list that these steps would give.

    The list also has the part of a concatenation that each window is of: windows that are taken by
    index are one part.
    """
    catalogs = [
        fake_catalog([draw(st.integers(1, 600)) for _ in range(draw(st.integers(1, 5)))])
        for _ in range(2)
    ]
    windows = [catalog.windows(1_000, 0.1) for catalog in catalogs]
    chosen, expected = windows[0], [(place, 0) for place in _places(windows[0])]
    steps = draw(st.lists(st.sampled_from(["slice", "take", "filter", "concat"]), max_size=4))
    for part, step in enumerate(steps, 1):
        n = len(expected)
        if step == "slice":
            bound = st.none() | st.integers(-12, 12)
            piece = slice(draw(bound), draw(bound), draw(st.none() | st.integers(1, 3)))
            chosen, expected = chosen[piece], expected[piece]
        elif step == "take" and n:
            places = draw(st.lists(st.integers(-n, n - 1), max_size=12))
            chosen, expected = chosen.take(places), [(expected[at][0], part) for at in places]
        elif step == "filter" and n:
            mask = draw(st.lists(st.booleans(), min_size=n, max_size=n))
            chosen = chosen.filter(mask)
            expected = [(one, part) for (one, _), keep in zip(expected, mask, strict=True) if keep]
        elif step == "concat":
            other = [((r + len(catalogs[0]), start), part) for r, start in _places(windows[1])]
            chosen = headrace.concat([chosen, windows[1]])
            expected = expected + other
    return chosen, [place for place, _ in expected], [part for _, part in expected]


def _grouped(keys: Sequence[Hashable], size: int | None = None) -> list[list[int]]:
    """Return the items of each key in ascending order, in pieces of `size`."""
    groups: dict[Hashable, list[int]] = {}
    for item, key in enumerate(keys):
        groups.setdefault(key, []).append(item)
    return [
        group[at : at + (size or len(group))]
        for group in groups.values()
        for at in range(0, len(group), size or len(group))
    ]


def _is_made_of(order: list[int], groups: list[list[int]]) -> bool:
    """Return whether the order consists of whole groups, one after the other."""
    by_first = {group[0]: group for group in groups}
    at = 0
    while at < len(order) and (group := by_first.pop(order[at], None)):
        if order[at : at + len(group)] != group:
            return False
        at += len(group)
    return at == len(order) and not by_first


# Sets


@given(_chosen())
@settings(deadline=None, max_examples=100)
def test_a_choice_is_that_of_a_list(drawn: Drawn) -> None:
    """slice, take, filter and concat, in any sequence, work as on a list."""
    windows, expected, _ = drawn

    assert len(windows) == len(expected)
    assert _places(windows) == expected
    assert windows.table()["start"].to_pylist() == [start for _, start in expected]
    assert windows.table()["index"].to_pylist() == list(range(len(expected)))


@given(drawn=_chosen(), seed=st.integers(0, 9), by=st.sampled_from(BY), epoch=st.integers(0, 3))
@settings(deadline=None, max_examples=100)
def test_any_choice_is_shuffled_in_any_way(
    drawn: Drawn,
    seed: int,
    by: Literal["window", "file", "block"],
    epoch: int,
) -> None:
    """Each window comes once; files and blocks stay together, in the order of the set."""
    windows, places, parts = drawn
    order = _order(_shuffled(windows, seed, by), epoch)

    assert sorted(order) == list(range(len(places)))
    if by != "window":
        # A file in two parts of a concatenation is one file, or one in each part; this must be the
        # same for all files.
        files = [recording for recording, _ in places]
        size = 2 if by == "block" else None
        assert any(
            _is_made_of(order, _grouped(keys, size))
            for keys in (files, list(zip(parts, files, strict=True)))
        )


def test_a_window_may_be_taken_again() -> None:
    """A window that is taken twice has two places; indices may have any integer type."""
    windows = _ten().take(np.array([3, 3, 0, 255 - 246], np.uint8))

    assert _places(windows) == [(0, 300), (0, 300), (0, 0), (3, 100)]
    assert windows.table()["index"].to_pylist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "mask", [np.arange(10) > 6, pa.array(range(10)).to_pandas() > 6, [False] * 7 + [True] * 3]
)
def test_a_mask_may_come_from_anywhere(mask: Any) -> None:
    """A mask may be an array, a pandas column or a list of bools."""
    assert _places(_ten().filter(mask)) == _places(_ten()[7:])


def test_what_was_given_may_be_changed_later() -> None:
    """Windows hold a copy of the indices, so that they stay immutable."""
    places = np.array([1, 2])
    windows = _ten().take(places)
    places[:] = 9

    assert _places(windows) == _places(_ten()[1:3])


@pytest.mark.parametrize(
    ("do", "sentence"),
    [
        (lambda w: w.take([10]), "there is no window 10: there are 10"),
        (lambda w: w.take([-11]), "there is no window -11: there are 10"),
        (lambda w: w.take([0.5]), "take needs one row of whole numbers, not float64"),
        (lambda w: w.take([True] * 10), "take needs one row of whole numbers, .* use filter"),
        (lambda w: w.take([[1]]), r"take needs one row of whole numbers, .* shape \(1, 1\)"),
        (lambda w: w.filter([1, 0] * 5), "a mask needs a bool for each .* not int64 .* use take"),
        (lambda w: w.filter([True]), r"a bool for each of the 10 windows, .* shape \(1,\)"),
        (lambda w: w.shuffle(by="block"), "needs the number of windows in a block: give block="),
        (lambda w: w.shuffle(by="block", block=0), "block must be a whole number from 1 up, not 0"),
        (lambda w: w.shuffle(block=3), 'block is only used with by="block"'),
        (lambda w: w.shuffle(interleave=3), 'interleave is only used with by="file"'),
        (lambda w: w.shuffle(by="file", interleave=0), "interleave must be a whole number from 1"),
        (lambda w: w.sample([1] * 9), r"weights of shape \(9,\) for 10 windows"),
        (lambda w: w.sample([1] * 10, n=0), "n must be a whole number from 1 up, not 0"),
        (lambda w: w.sample([1] * 10, seed=0.5), "seed must be a whole number, not 0.5"),
        (lambda w: w.shard(2, 2), "there is no rank 2 of 2"),
        (lambda w: w.shard(1), "rank 1 needs the world size too"),
        (lambda w: w.shard(world=2), 'rank="auto" also finds the world size'),
        (lambda w: w.shard(0, 11), "there are fewer windows .10. than ranks .11."),
        (lambda w: w.shard(0, 5, by="recording"), "there are fewer recordings .4. than ranks .5."),
        (
            lambda w: w.sample([1] * 10).shard(0, 2, by="recording"),
            "sampled windows cannot be shar",
        ),
        (lambda w: w.shard(0, 2).loader(on_error="skip"), 'give on_error="mask"'),
    ],
)
def test_a_bad_argument_is_one_sentence(do: Any, sentence: str) -> None:
    """The error is one sentence that names the value and what is possible."""
    with pytest.raises(InvalidWindowsError, match=sentence):
        do(_ten())


# Sets, orders and shards, in this sequence


@pytest.mark.parametrize("ordered", ["shuffle", "sample", "mix"])
@pytest.mark.parametrize("then", ["slice", "take", "filter", "shuffle", "sample", "concat", "mix"])
def test_a_set_is_ordered_once_and_last(ordered: str, then: str) -> None:
    """Windows with an order cannot be chosen from or ordered again: the error says what to do."""
    windows = _THEN[ordered](_ten())

    with pytest.raises(
        InvalidWindowsError, match=f"{ordered.rstrip('e')}.*ed windows cannot be .*: choose"
    ):
        _THEN[then](windows)
    with pytest.raises(
        InvalidWindowsError,
        match=r"a shard of windows cannot be .*: choose windows first, then order",
    ):
        _THEN[then](windows.shard(0, 2))


_THEN: dict[str, Any] = {
    "slice": lambda w: w[1:3],
    "take": lambda w: w.take([1]),
    "filter": lambda w: w.filter([True] * 10),
    "shuffle": lambda w: w.shuffle(),
    "sample": lambda w: w.sample([1] * 10),
    "concat": lambda w: headrace.concat([w, w]),
    "mix": lambda w: headrace.mix([w], n=10),
}


def test_a_shard_is_not_sharded_again() -> None:
    """A shard of a shard is an error, also with a world size of 1."""
    for world in (1, 2):  # a world size of 1 behaves as any other
        with pytest.raises(InvalidWindowsError, match="cannot be sharded again"):
            _ten().shard(0, world).shard(0, 2)
        with pytest.raises(InvalidWindowsError, match="a shard of windows cannot be sliced"):
            _ten().shard(0, world)[1:]


# Draws


def test_draws_are_of_the_set() -> None:
    """An index is the window's place; weights of 0 are never drawn; an epoch has n draws."""
    windows = _ten().sample([0, 1, 0, 0, 5, 0, 0, 0, 0, 0], n=1_000, seed=3)

    assert len(windows) == windows.positions == 1_000
    assert set(_order(windows)) == {1, 4}
    assert _order(windows, 1) != _order(windows, 0)
    assert len(_ten().sample([1] * 10)) == 10
    assert windows.jumps


# Shards


@given(
    drawn=_chosen(),
    by=st.sampled_from([None, *BY]),
    world=st.integers(1, 4),
    epoch=st.integers(0, 2),
)
@settings(deadline=None, max_examples=100)
def test_each_recording_is_on_one_rank(
    drawn: Drawn,
    by: Literal["window", "file", "block"] | None,
    world: int,
    epoch: int,
) -> None:
    """Sharded by recording, each window is delivered once, and each recording by one rank."""
    windows, places, _ = drawn
    if len({recording for recording, _ in places}) < world:
        return
    whole = windows if by is None else _shuffled(windows, 5, by)
    shards = [whole.shard(rank, world, by="recording") for rank in range(world)]
    orders = [_order(shard, epoch) for shard in shards]

    assert sorted(item for order in orders for item in order) == list(range(len(places)))
    owners = [{places[item][0] for item in order} for order in orders]
    assert sum(map(len, owners)) == len(set().union(*owners))
    assert [len(shard) for shard in shards] == [len(order) for order in orders]
    if by is None and world > 1:
        for order in orders:
            rank_of = [places[item][0] for item in order]
            assert len([*groupby(rank_of)]) <= len([*groupby(r for r, _ in places)])


def test_recordings_are_distributed_by_frames() -> None:
    """Each recording goes to the rank with the fewest frames: 400 and 200, 300 and 80."""
    shards = [_ten().shard(rank, 2, by="recording") for rank in range(2)]

    assert [_order(shard) for shard in shards] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_a_shard_knows_its_length() -> None:
    """The length depends on what is done with the remainder."""
    windows = _ten().shuffle()
    lengths = {
        remainder: [len(windows.shard(rank, 4, remainder=remainder)) for rank in range(4)]
        for remainder in ("drop", "repeat", "mask")
    }

    assert lengths == {"drop": [2] * 4, "repeat": [3] * 4, "mask": [3] * 4}


def test_sharding_by_itself_asks_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """shard() is shard("auto"), and without a launcher it is the whole."""
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert len(_ten().shard()) == 10
    assert len(_ten().shard("auto", by="recording")) == 10

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    share = _ten().shard().share
    assert (share.rank, share.world) == (1, 3)


# Fingerprints and descriptions


def test_the_fingerprint_is_of_what_was_chosen_and_how_it_is_ordered() -> None:
    """Each choice and order has its own; a shard of positions has that of the whole."""
    windows = _ten()
    others = [
        windows,
        windows.take([1, 2]),
        windows.take([2, 1]),
        windows.take([1, 2, 2]),
        windows[1:].take([1, 2]),
        windows.filter([True] * 9 + [False])[::2],
        windows.shuffle(0, by="block", block=2),
        windows.shuffle(0, by="block", block=3),
        windows.shuffle(0, by="file"),
        windows.sample([1] * 10),
        windows.sample([1] * 9 + [2]),
        windows.sample([1] * 10, seed=1),
        windows.sample([1] * 10, n=9),
        headrace.concat([windows, windows]),
        headrace.concat([windows[:4], windows[4:]]),
        headrace.mix([windows, windows]),
        headrace.mix([windows, windows], weights=[1, 2]),
        headrace.mix([windows, windows], seed=1),
        windows.shard(0, 2, by="recording"),
        windows.shard(1, 2, by="recording"),
    ]

    assert len({one.fingerprint for one in others}) == len(others)
    shuffled = windows.shuffle(3)
    assert shuffled.shard(1, 2).fingerprint == shuffled.fingerprint
    assert shuffled.shard(1, 3, remainder="mask").fingerprint == shuffled.fingerprint
    assert shuffled.shard(0, 1, by="recording").fingerprint == shuffled.fingerprint


def test_an_identity_stays_small() -> None:
    """The state of hundreds of sources, chosen many times and mixed, has a few hundred bytes."""
    windows = headrace.concat([_ten()[i % 10 :] for i in range(300)])
    for _ in range(50):
        windows = windows.take([*range(0, len(windows), 2), 0])

    mixed = headrace.mix([_ten()[i % 10 :] for i in range(300)])

    assert sum(map(len, windows.parts.values())) < 1_000
    assert windows.parts != headrace.concat([_ten()] * 300).parts
    shard = headrace.concat([windows, _ten()])[1:].shard(0, 2, by="recording")
    for one in (windows, mixed, shard):
        assert len(json.dumps(one.loader().state_dict())) < 800


@pytest.mark.parametrize(
    ("view", "told"),
    [
        (lambda w: w.take([1, 1]), "2 of 0.1 s taken from 10 every 0.1 s (tail='pad') at 1000 Hz"),
        (lambda w: headrace.concat([w, w]), "20 of 0.1 s of 2 sources at 1000 Hz"),
        (lambda w: w.shuffle(by="block", block=3), "channel='mix', shuffled by block of 3>"),
        (lambda w: w.sample([1] * 10), "channel='mix', sampled by weight>"),
        (lambda w: headrace.mix([w, w], weights=[1, 3]), "mixed 5 : 15>"),
        (lambda w: w.shuffle().shard(1, 3), "channel='mix', shuffled by window, rank 1 of 3>"),
        (lambda w: w.shard(1, 2, by="recording"), "channel='mix', by recording, rank 1 of 2>"),
    ],
)
def test_views_say_what_they_are(view: Any, told: str) -> None:
    """The repr has the numbers that describe the view."""
    assert told in repr(view(_ten()))


@pytest.mark.parametrize(
    "view",
    [
        lambda w: w.take([3, 1, 3]),
        lambda w: headrace.concat([w[2:], w]),
        lambda w: headrace.mix([w[2:], w], weights=[1, 2], n=7),
        lambda w: w.sample([1] * 10, 7),
        lambda w: w.shuffle(by="block", block=2).shard(1, 2, by="recording"),
    ],
)
def test_pickled_views_are_the_same_views(view: Any) -> None:
    """Unpickled windows are the same windows, in the same order."""
    windows = view(_ten())
    again = pickle.loads(pickle.dumps(windows))

    assert again.fingerprint == windows.fingerprint
    assert _places(again) == _places(windows)
    assert _order(again, 3) == _order(windows, 3)
    assert len(again.recordings.catalogs) == 1


def test_coverage_is_of_runs_only() -> None:
    """Coverage is only known for slices of neighbouring windows, and the error says so."""
    windows = _ten()
    assert windows.shuffle().shard(0, 2).coverage == windows.coverage
    with pytest.warns(HeadraceWarning):
        short = fake_catalog([450, 80]).windows(1_000, 0.1, tail="drop")
    assert short[1:].sample([1] * 3).coverage == short[1:].coverage
    for refused in (windows.take([1]), headrace.concat([windows, windows]), windows[1:][::2]):
        with pytest.raises(InvalidWindowsError, match="coverage is only known for all windows"):
            _ = refused.coverage


def test_weights_may_come_from_a_table() -> None:
    """Weights may be a column of pandas."""
    table = _ten().table().to_pandas()
    weights = table["id"].map({"r0": 1.0, "r1": 0, "r2": 0, "r3": 0})
    assert isinstance(weights, pd.Series)

    assert set(_order(_ten().sample(weights, 100))) == {0, 1, 2, 3}


@pytest.mark.parametrize("forgotten", ["__len__", "identity", "description", "locate"])
def test_a_set_of_windows_without_one_of_its_methods_cannot_be_made(forgotten: str) -> None:
    """A set that lacks a method fails when it is made, not in the middle of a run."""
    methods: dict[str, object] = {
        "__len__": lambda _: 0,
        "identity": property(
            lambda _: SetIdentity(
                RecordingsIdentity(0, 1, ""), CutIdentity(1, 1, 1, "pad", 0, "mix"), AllWindows()
            )
        ),
        "description": property(lambda _: ""),
        "locate": lambda _, places, epoch=0: WindowRows(
            places, places, places, places, places + epoch
        ),
    }
    type("Whole", (WindowSet,), methods)()
    del methods[forgotten]

    with pytest.raises(TypeError, match=forgotten):
        type("Part", (WindowSet,), methods)()
