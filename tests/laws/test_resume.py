"""A run that stops anywhere and resumes anywhere else continues exactly."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from headrace.errors import StateError
from tests.support.sounds import noise, write
from tests.support.window_kinds import (
    KINDS,
    in_a_fresh_process,
    load_epochs,
    rows_of,
    windows_of_kind,
    write_recordings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.window_kinds import Row

HERE: dict[str, Any] = {"batch_size": 3, "workers": 1}
THERE: list[dict[str, Any]] = [
    {"batch_size": 2, "workers": 2, "prefetch": 1},
    {"batch_size": None, "workers": 0},
    {"batch_size": 64, "workers": 8},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of recordings, one of which is damaged."""
    made = tmp_path_factory.mktemp("recordings")
    write_recordings(made)
    return made


def _stops(windows: headrace.Windows, **how: Any) -> list[tuple[dict[str, Any], list[Row]]]:
    """Return the state after each delivery of two epochs, and all rows delivered until then."""
    loader = windows.loader(**how)
    seen: list[Row] = []
    stops = [(json.loads(json.dumps(loader.state_dict())), list(seen))]
    for _ in range(2):
        for one in loader:
            seen += rows_of(one)
            state = loader.state_dict()
            assert not isinstance(one, headrace.Batch) or one.state == state
            stops.append((json.loads(json.dumps(state)), list(seen)))
    return stops


def _flat(epochs: list[list[Row]]) -> list[Row]:
    return [row for epoch in epochs for row in epoch]


def test_a_resumed_run_continues_exactly(folder: Path) -> None:
    """A resumed run continues exactly, from every delivery of two epochs, in a fresh process.

    This holds for every kind of order, with other workers and batch sizes, with failures masked and
    skipped. No window comes twice and none is lost.
    """
    jobs, before, expected = [], [], []
    for name in KINDS:
        windows = windows_of_kind(folder, name)
        for on_error in ("mask", "skip"):
            whole = _flat(load_epochs(windows, batch_size=1, workers=0, on_error=on_error))
            for how in (HERE, {"batch_size": None, "workers": 2}):
                for k, (state, seen) in enumerate(_stops(windows, on_error=on_error, **how)):
                    assert seen == whole[: len(seen)]
                    jobs.append((name, state, 1, THERE[k % 3] | {"on_error": on_error}))
                    before.append(seen)
                    expected.append(whole)

    after = in_a_fresh_process(folder, jobs)

    for (name, *_), seen, rest, whole in zip(jobs, before, after, expected, strict=True):
        assert seen + _flat(rest) == whole, name


def test_any_ranks_state_resumes_any_number_of_ranks(folder: Path) -> None:
    """At every step of two ranks, both have the same state, and 1, 2 or 3 ranks resume from it.

    This holds for every kind of order, in a fresh process. The windows of all ranks, in the order
    of positions, are those of one rank.
    """
    jobs, before, expected = [], [], []
    for name in KINDS:
        windows = windows_of_kind(folder, name)
        whole = _flat(load_epochs(windows, batch_size=1, workers=0, on_error="mask"))
        shards = [windows.shard(rank, 2, remainder="mask") for rank in range(2)]
        ranks = [_stops(shard, on_error="mask", **HERE) for shard in shards]
        for k, ((state, one), (other, two)) in enumerate(zip(*ranks, strict=True)):
            assert state == other
            steps = zip(one, two, strict=True)
            jobs.append((name, state, (3, 1, 2)[k % 3], THERE[k % 3] | {"on_error": "mask"}))
            before.append([row for step in steps for row in step if row[0] >= 0])
            expected.append(whole)

    after = in_a_fresh_process(folder, jobs)

    for (name, *_), seen, rest, whole in zip(jobs, before, after, expected, strict=True):
        assert seen + _flat(rest) == whole, name


def _dealt(epoch: list[Row], first: int, world: int, remainder: str) -> list[Row]:
    """Return what all ranks together deliver of an epoch from a position on."""
    if remainder == "mask" or world == 1:
        return epoch[first:]
    left = len(epoch) - first
    rows = left // world if remainder == "drop" else -(-left // world)
    return [epoch[position % len(epoch)] for position in range(first, first + rows * world)]


@pytest.mark.slow
@pytest.mark.parametrize("remainder", ["drop", "repeat", "mask"])
@pytest.mark.parametrize("begun", [1, 2])
def test_any_number_of_ranks_resumes_any_other(folder: Path, begun: int, remainder: Any) -> None:
    """From every step of 1 or 2 ranks, 1, 2 and 3 ranks resume, in a fresh process.

    For every kind of order, all ranks together deliver the epoch from the state's position on. The
    last windows are dropped, or the first ones repeated, if they are fewer than ranks.
    """
    jobs: list[Any] = []
    expected: list[list[list[Row]]] = []
    for name in KINDS:
        windows = windows_of_kind(folder, name)
        epochs = load_epochs(windows, batch_size=1, workers=0, on_error="mask")
        shards = [windows.shard(rank, begun, remainder=remainder) for rank in range(begun)]
        ranks = [_stops(shard, on_error="mask", **HERE) for shard in shards]
        before = _flat([_dealt(epoch, 0, begun, remainder) for epoch in epochs])
        for k, stops in enumerate(zip(*ranks, strict=True)):
            state = stops[0][0]
            assert all(other == state for other, _ in stops)
            steps = zip(*(seen for _, seen in stops), strict=True)
            rows = [row for step in steps for row in step if row[0] >= 0]
            assert rows == before[: len(rows)]
            for world in (1, 2, 3):
                jobs.append((name, state, world, THERE[k % 3] | {"on_error": "mask"}, remainder))
                expected.append([[] for _ in epochs[: state["epoch"]]])
                left = epochs[state["epoch"] :]
                for first, epoch in zip((state["position"], 0), left, strict=False):
                    expected[-1].append(_dealt(epoch, first, world, remainder))
        assert rows == before

    after = in_a_fresh_process(folder, jobs)

    for (name, state, world, *_), rest, rows in zip(jobs, after, expected, strict=True):
        assert rest == rows, (name, state, world)


@pytest.mark.parametrize("remainder", ["drop", "repeat", "mask"])
@pytest.mark.parametrize("last", ["keep", "drop", "pad"])
@pytest.mark.parametrize("batch_size", [None, 1, 2, 3])
def test_all_ranks_take_the_same_steps(
    folder: Path, remainder: Any, last: Any, batch_size: int | None
) -> None:
    """All ranks make the same number of deliveries with as many rows, and have equal states."""
    windows = windows_of_kind(folder, "shuffled")
    how = {"batch_size": batch_size, "last": last, "on_error": "mask", "workers": 1}
    seen = []
    for rank in range(3):
        loader = windows.shard(rank, 3, remainder=remainder).loader(**how)
        steps = [(len(list(rows_of(one))), loader.state_dict()) for one in loader]
        assert len(steps) == len(loader)
        seen.append(steps)

    assert seen[0] == seen[1] == seen[2]
    assert seen[0][-1][1]["epoch"] == 1


def test_rows_that_fill_a_shard_up_are_zeros(folder: Path) -> None:
    """Added rows are zeros, not valid and of no file, and no statistic counts them."""
    windows = windows_of_kind(folder, "in order")[:4].shard(2, 3, remainder="mask")

    (batch,) = windows.loader(batch_size=8)
    single = list(windows.loader(workers=0))[-1]
    loader = windows.loader(batch_size=1)
    batches = list(loader)

    for row in (-1, 1):
        assert not batch.audio[row].any()
        assert (batch.file_id[row], batch.path[row], batch.index[row]) == ("", "", -1)
        assert (batch.valid[row], batch.valid_samples[row], batch.source[row]) == (False, 0, 0)
    for one in (single, windows[1], windows[-1]):
        assert not one.audio.any()
        assert (one.file_id, one.index, one.valid_samples, one.source) == ("", -1, 0, 0)
    assert [one.valid.tolist() for one in batches] == [[True], [False]]
    assert len(windows) == len(batch) == 2
    assert loader.stats().windows == 1


def test_a_rank_without_windows_takes_its_step(folder: Path) -> None:
    """With two windows for three ranks, the third rank delivers a batch of zeros."""
    windows = windows_of_kind(folder, "in order")[:2].shard(2, 3, remainder="mask")
    (batch,) = windows.loader(batch_size=4, last="pad")

    assert batch.valid.tolist() == [False] * 4
    assert not batch.audio.any()


def test_what_is_repeated_is_the_beginning(folder: Path) -> None:
    """remainder="repeat" delivers the epoch's first windows once more."""
    windows = windows_of_kind(folder, "shuffled")
    total = len(windows)
    order = windows.order.epoch(0)(np.arange(total)).tolist()
    world = total - 1
    shards = [windows.shard(rank, world, remainder="repeat") for rank in range(2)]
    indices = [[one.index for one in shard.loader(on_error="mask")] for shard in shards]

    assert indices == [[order[0], order[-1]], [order[1], order[0]]]


# Moved and changed recordings


def _state(folder: Path, name: str = "shuffled") -> dict[str, Any]:
    loader = windows_of_kind(folder, name).loader(batch_size=2, on_error="mask")
    list(loader.steps(2))
    state: dict[str, Any] = json.loads(json.dumps(loader.state_dict()))
    return state


def test_moved_recordings_are_resumed(folder: Path, tmp_path: Path) -> None:
    """Another folder and other modification times do not change the windows."""
    state = _state(folder)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(folder, elsewhere)
    for file in elsewhere.rglob("*.*"):
        os.utime(file, (1, 1))

    before = load_epochs(windows_of_kind(folder, "shuffled"), state, on_error="mask")
    after = load_epochs(windows_of_kind(elsewhere, "shuffled"), state, on_error="mask")

    assert after == before
    assert len(json.dumps(state)) < 500


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda one: write(one / "new.wav", noise(9_000), 8_000, "WAV", "PCM_16"),
            "there are 3 recordings, 1 more than when it was saved",
        ),
        (
            lambda one: (one / "c.flac").unlink(),
            "there is 1 recording, 1 fewer than when it was saved",
        ),
        (
            lambda one: (one / "c.flac").rename(one / "d.flac"),
            "the 2 recordings are not the same as when it was saved: a file was renamed or ",
        ),
        (
            lambda one: write(one / "a.wav", noise(9_000), 8_000, "WAV", "PCM_16"),
            "the 2 recordings are not the same as when it was saved",
        ),
    ],
)
def test_other_files_are_refused(folder: Path, tmp_path: Path, change: Any, sentence: str) -> None:
    """If a file was added, removed or replaced, the error says which and what to do."""
    one = tmp_path / "one"
    shutil.copytree(folder / "one", one)
    (one / "b.wav").unlink()
    loader = headrace.scan(one).windows(8_000, 0.25).shuffle(3).loader(batch_size=2)
    state = loader.state_dict()
    change(one)
    changed = headrace.scan(one).windows(8_000, 0.25).shuffle(3).loader(batch_size=2)

    with pytest.raises(StateError, match=re.escape(sentence)) as refused:
        changed.load_state_dict(state)
    assert "start over" in str(refused.value)
    assert "catalog.save" in str(refused.value)


@pytest.mark.parametrize("times", [1, 2, 40])
def test_a_catalog_that_is_used_again_is_counted_once(
    folder: Path, tmp_path: Path, times: int
) -> None:
    """The error counts recordings once, however often their catalog is joined."""
    one = tmp_path / "one"
    shutil.copytree(folder / "one", one)
    (one / "b.wav").unlink()

    def joined() -> headrace.Windows:
        two = headrace.load_catalog(folder / "two.parquet", root=folder / "two")
        sets = [headrace.scan(one).windows(8_000, 0.25)] * times + [two.windows(8_000, 0.25)]
        return headrace.concat([*sets, headrace.concat(sets)])

    state = joined().loader().state_dict()
    write(one / "new.wav", noise(9_000), 8_000, "WAV", "PCM_16")

    with pytest.raises(StateError, match="there are 4 recordings, 1 more than when it was saved"):
        joined().loader().load_state_dict(state)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "shuffled"])
def test_another_kind_is_refused(folder: Path, name: str) -> None:
    """No state of one kind resumes another, and the error names a part that differs."""
    with pytest.raises(StateError, match=r"because (the|there are|their) .*start over\.$"):
        windows_of_kind(folder, name).loader().load_state_dict(_state(folder))


def test_a_shard_by_recording_has_a_state_of_its_own(folder: Path) -> None:
    """Sharded by recording, a state resumes the same rank and no other."""
    windows = windows_of_kind(folder, "shuffled")
    mine, other = (windows.shard(rank, 2, by="recording") for rank in range(2))
    whole = _flat(load_epochs(mine, on_error="skip"))
    for state, seen in _stops(mine, on_error="skip", **HERE):
        assert seen + _flat(load_epochs(mine, state, on_error="skip", workers=2)) == whole
    with pytest.raises(StateError, match=r"their order differs: .* rank 0 of 2.* rank 1 of 2"):
        other.loader().load_state_dict(state)
