from __future__ import annotations

import gc
import json
import threading
import weakref
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headrace
from headrace.adapters._ahead import Ahead
from headrace.errors import ClosedError, ReadError, StateError
from tests.support.loading import our_threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace import Batch, Loader, Windows


@dataclass(eq=False)
class Copying:
    """A batch that is being copied, for as long as `world` says."""

    world: World
    batch: Batch | None
    index: list[int]
    done: bool = False

    @property
    def settled(self) -> bool:
        return self.done or self.batch is None

    def settle(self) -> None:
        if not self.settled:
            self.world.awaited += 1
        self.batch = None

    def take(self) -> list[int]:
        assert self.batch is not None, "let go of before its turn"
        return self.index


@dataclass
class World:
    """Copies, in the order in which they began; those end that `end` is called for."""

    begun: list[weakref.ref[Copying]] = field(default_factory=list)
    awaited: int = 0

    def alive(self) -> list[Copying]:
        return [copy for ref in self.begun if (copy := ref()) is not None]

    def under_way(self) -> list[Copying]:
        return [copy for copy in self.alive() if not copy.settled]


class Copied(Ahead[list[int]]):
    """A loader's windows' places, as if the batches were copied to a device."""

    def __init__(self, loader: Loader, ahead: int) -> None:
        super().__init__(loader, None, ahead)
        self.world = World()

    def _put(self, batch: Batch) -> Copying:
        copy = Copying(self.world, batch, batch.index.tolist())
        self.world.begun.append(weakref.ref(copy))
        return copy


def _epochs(windows: Windows, size: int, epochs: int = 2) -> list[list[list[int]]]:
    loader = windows.loader(batch_size=size, workers=0)
    return [[batch.index.tolist() for batch in loader] for _ in range(epochs)]


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    ahead=st.integers(0, 3),
    size=st.sampled_from([3, 7]),
    workers=st.sampled_from([0, 2]),
    stop=st.integers(0, 13),
    ends=st.lists(st.booleans(), max_size=40),
)
def test_batches_and_their_states_are_those_handed_out(
    windows: Windows, ahead: int, size: int, workers: int, stop: int, ends: list[bool]
) -> None:
    """However many are put ahead and however long that takes, a resumed run sees what is left."""
    first, second = _epochs(windows, size)
    batches = Copied(windows.loader(batch_size=size, workers=workers), ahead)
    world, fate = batches.world, iter(ends)
    seen: list[list[int]] = []
    for batch in batches:
        if len(seen) == stop:  # looked at, and then the process ends
            break
        seen.append(batch)
        state = json.loads(json.dumps(batches.state_dict()))
        assert len(world.under_way()) <= ahead + 1
        for copy in world.under_way():
            copy.done = next(fate, False)
        resumed = Copied(windows.loader(batch_size=size, workers=workers), ahead)
        resumed.load_state_dict(state)
        assert next(iter(resumed), second[0]) == [*first, second[0]][len(seen)]
        assert resumed.state_dict() != state
        resumed.close()

    assert seen == first[:stop]
    batches.close()
    assert not world.under_way()


def test_all_epochs_resume_at_every_step(windows: Windows) -> None:
    """After each batch of two epochs: what is left of the epoch follows, and then the next one."""
    first, second = _epochs(windows, 5)
    straight = [*first, *second]
    batches = Copied(windows.loader(batch_size=5, workers=1), 2)
    states = [batches.state_dict()]
    states += [batches.state_dict() for _ in range(2) for _ in batches]

    for step, state in enumerate(states[:-1]):
        with Copied(windows.loader(batch_size=5, workers=1), 2) as resumed:
            resumed.load_state_dict(state)
            rest = list(resumed)
            rest += list(resumed) if step < len(first) else []
        assert rest == straight[step:]


def test_nothing_is_waited_for_that_can_be_handed_out(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch in place is handed out although the loader has no other; else both go on."""
    batches = Copied(windows.loader(batch_size=5, workers=1), 2)
    taken: list[int] = []
    ready: list[bool] = []
    monkeypatch.setattr(type(batches.loader), "ready", property(lambda _: ready[-1]))
    it = iter(batches)
    for has_another in (False, True, False, False, False):
        ready.append(has_another)
        next(it)
        taken.append(len(batches.world.begun))
    assert taken == [1, 4, 4, 4, 5]
    batches.close()


def test_a_loader_that_has_a_batch_says_so(windows: Windows) -> None:
    """`ready` is true when the next batch is there, and false before anything is asked for."""
    with windows.loader(batch_size=5, workers=2, prefetch=2) as loader:
        assert not loader.ready
        it = iter(loader)
        next(it)
        while not loader.ready:  # it comes without being asked for
            threading.Event().wait(0.001)
        assert list(it)
        assert not loader.ready


def test_what_is_being_copied_is_kept_until_it_is_done(windows: Windows) -> None:
    """A source is let go of only when its copy is done, and awaited where there are too many."""
    batches = Copied(windows.loader(batch_size=5, workers=1), 1)
    it = iter(batches)
    next(it)
    assert [copy.batch is not None for copy in batches.world.under_way()][:1] == [True]
    for _ in range(4):
        next(it)
        assert len(batches.world.under_way()) <= 2
    awaited = batches.world.awaited
    assert awaited >= 3  # none was ever done by itself

    for copy in batches.world.under_way():
        copy.done = True
    next(it)
    assert batches.world.awaited == awaited
    batches.close()


def _end_by_close(batches: Copied, it: Iterator[list[int]]) -> None:
    batches.close()
    with pytest.raises(ClosedError):
        next(it)


def _end_by_with(batches: Copied, _: Iterator[list[int]]) -> None:
    with batches:
        pass


def _end_by_another(batches: Copied, it: Iterator[list[int]]) -> None:
    next(iter(batches))
    with pytest.raises(ClosedError):
        next(it)
    batches.close()


def _end_by_state(batches: Copied, it: Iterator[list[int]]) -> None:
    batches.load_state_dict(batches.state_dict())
    with pytest.raises(ClosedError):
        next(it)


def _end_by_using_it_up(_: Copied, it: Iterator[list[int]]) -> None:
    assert list(it)


ENDS = [_end_by_close, _end_by_with, _end_by_another, _end_by_state, _end_by_using_it_up]


@pytest.mark.parametrize("end", ENDS)
def test_however_an_iteration_ends_copies_are_awaited(windows: Windows, end: Any) -> None:
    """When it is over no thread is left, and no source that is still being read is let go of."""
    batches = Copied(windows.loader(batch_size=5, workers=2), 2)
    it = iter(batches)
    next(it)
    under_way = batches.world.under_way()
    assert under_way

    end(batches, it)

    assert not batches.world.under_way()
    assert batches.world.awaited >= len(under_way)
    del it, under_way
    assert not our_threads()


def test_dropping_it_half_way_leaves_nothing(windows: Windows) -> None:
    """Without `close`: when nobody refers to it, its threads have ended; no collector is needed."""
    gc.disable()
    try:
        batches = Copied(windows.loader(batch_size=5, workers=2), 2)
        it = iter(batches)
        next(it)
        world = batches.world
        del batches, it
        assert not world.under_way()
        assert not our_threads()
    finally:
        gc.enable()


def test_an_error_has_its_turn(windows: Windows, tmp_path: Path) -> None:
    """The batches before a window that cannot be read come first, whatever was put ahead."""
    first, second = _epochs(windows, 1)
    (tmp_path / "2.wav").unlink()
    lost = {row for row, name in enumerate(windows.table()["id"].to_pylist()) if name == "2.wav"}
    good = next(n for n, batch in enumerate(first) if set(batch) & lost)
    batches = Copied(windows.loader(batch_size=1, workers=1), 3)
    seen: list[list[int]] = []

    with pytest.raises(ReadError, match=r"2\.wav"):
        seen.extend(batches)

    assert seen == first[:good]
    assert next(iter(batches)) == second[0]  # as after a `break`
    batches.close()


def test_an_epoch_whose_last_batches_fail_is_over(windows: Windows, tmp_path: Path) -> None:
    """Where failed windows are left out, an epoch's end is the next one's beginning too."""
    in_order = windows.catalog.windows(sample_rate=8_000, window_s=0.25)
    (tmp_path / "4.wav").unlink()  # its windows are the last eight
    batches = Copied(in_order.loader(batch_size=2, workers=1, on_error="skip"), 2)

    assert len(list(batches)) == 15
    state = batches.state_dict()

    assert (state["epoch"], state["position"]) == (1, 0)
    assert state == batches.loader.state_dict()


def test_an_iteration_begins_with_its_first_batch(windows: Windows) -> None:
    """Asking for an iterator twice, as trainers do, skips no epoch, and loads nothing."""
    first, second = _epochs(windows, 5)
    batches = Copied(windows.loader(batch_size=5, workers=1), 1)

    iter(batches)
    assert list(batches) == first
    iter(batches)
    state = batches.state_dict()
    assert list(batches) == second

    iter(batches)
    batches.load_state_dict(state)
    assert list(batches) == second


def test_an_epoch_can_be_set_but_not_over_a_restored_place(windows: Windows) -> None:
    """`set_epoch` begins that epoch; where a state was restored it changes nothing."""
    first, second, third = _epochs(windows, 5, 3)
    batches = Copied(windows.loader(batch_size=5, workers=1), 1)

    batches.set_epoch(1)
    it = iter(batches)
    assert [next(it), next(it)] == second[:2]
    inside = batches.state_dict()
    batches.set_epoch(0)
    assert list(batches) == first

    batches.load_state_dict(inside)
    batches.set_epoch(1)
    assert list(batches) == second[2:]
    batches.set_epoch(2)
    assert list(batches) == third
    batches.set_epoch(0)
    assert list(batches) == first


def test_who_counts_epochs_otherwise_keeps_the_difference(windows: Windows) -> None:
    """A framework that calls the restored epoch 1 by the number 2 calls the next one 3."""
    _, second, third = _epochs(windows, 5, 3)
    batches = Copied(windows.loader(batch_size=5, workers=1), 1)
    batches.set_epoch(1)
    next(iter(batches))
    inside = batches.state_dict()

    batches.load_state_dict(inside)
    batches.set_epoch(2)
    assert list(batches) == second[1:]
    batches.set_epoch(3)
    assert list(batches) == third


def test_steps_cross_epochs_and_count_what_was_handed_out(windows: Windows) -> None:
    """Steps go on behind the last batch handed out, not behind the last one put in place."""
    first, second = _epochs(windows, 5)
    straight = [*first, *second]
    batches = Copied(windows.loader(batch_size=5, workers=2), 2)

    seen = list(batches.steps(3))
    for batch in batches.steps(None):
        seen.append(batch)
        if len(seen) == 6:
            break
    seen += batches.steps(7)

    assert seen == straight[:13]
    assert len(batches) == len(first)
    batches.close()


@pytest.mark.parametrize("steps", [1, 6, 7, 8, 9, 17])
def test_the_epoch_after_steps_is_the_next_one(windows: Windows, steps: int) -> None:
    """Behind steps that were put in place into the next epoch, or left, that epoch is not lost."""
    epochs = _epochs(windows, 5, 4)
    with Copied(windows.loader(batch_size=5, workers=2), 2) as batches:
        seen = []
        for batch in batches.steps(None):
            seen.append(batch)
            if len(seen) == steps:
                break

        assert list(batches) == epochs[(steps - 1) // 8 + 1]
        assert seen == [batch for epoch in epochs for batch in epoch][:steps]


def test_an_epoch_that_hands_out_nothing_is_an_epoch(windows: Windows, tmp_path: Path) -> None:
    """Its first batch raised: the next iteration is the next epoch, as a loader's is."""
    for path in tmp_path.glob("*.wav"):
        path.unlink()

    with Copied(windows.loader(batch_size=5, workers=2), 2) as batches:
        for epoch in range(3):
            with pytest.raises(ReadError):
                next(iter(batches))
            assert batches.loader.epoch == epoch


def test_what_cannot_be_is_refused_at_once(windows: Windows) -> None:
    """Single examples, no batches; another's state; fewer than none ahead: a sentence each."""
    with pytest.raises(ValueError, match="batch_size"):
        Copied(windows.loader(), 1)
    with pytest.raises(ValueError, match="ahead must be a whole number from 0"):
        Copied(windows.loader(batch_size=2), -1)
    with pytest.raises(ValueError, match="ahead must be a whole number from 0"):
        Copied(windows.loader(batch_size=2), 1.5)  # type: ignore[arg-type]
    batches = Copied(windows.loader(batch_size=2), 1)
    choice = windows.catalog.windows(8_000, 0.25)[1:].identity.to_json()["choice"]
    other = windows.loader(batch_size=2).state_dict() | {"choice": choice}
    with pytest.raises(StateError, match="cannot resume from this state, because the choice of"):
        batches.load_state_dict(other)


def test_the_bound_counts_what_is_put_ahead(windows: Windows) -> None:
    """The loader's `memory_bound` grows by the batches that are ahead; no more memory is kept."""
    batches = Copied(windows.loader(batch_size=5, workers=2), 2)
    bound = windows.loader(batch_size=5, workers=2).memory_bound
    assert batches.loader.memory_bound == bound + 2 * 5 * 2_000 * 4

    kept = [batches.loader.stats().kept_bytes for _ in batches.steps(40)]

    slabs = batches.loader._slabs
    assert slabs is not None
    assert slabs.peak <= slabs.count == batches.loader.prefetch + 2 + 2
    assert set(kept) == {0}
    assert batches.loader.stats().peak_bytes <= batches.loader.memory_bound
    batches.close()


def test_the_bound_counts_labels_and_maps_of_what_is_put_ahead(windows: Windows) -> None:
    """A batch more has labels and what a batch map made of it, too; a budget is kept with them."""
    events = [(one.id, 0.1, 0.6, "frog") for one in windows.catalog]
    names = ["file", "start_s", "end_s", "label"]
    table = pa.table(dict(zip(names, map(list, zip(*events, strict=True)), strict=True)))
    labelled = windows.label(headrace.Annotations.from_table(table))

    def twice(batch: Batch) -> Batch:
        return replace(batch, audio=np.concatenate([batch.audio, batch.audio], axis=1))

    def loader(memory: int | None = None) -> Loader:
        return labelled.loader(batch_size=5, workers=2, batch_map=twice, memory=memory)

    plain = loader()
    one = 5 * (2_000 * 4 + 2 * 2_000 * 4 + (4 + 1))
    assert Copied(loader(), 3).loader.memory_bound >= plain.memory_bound + 3 * one
    batches = Copied(loader(plain.memory_bound), 2)
    assert batches.loader.prefetch == plain.prefetch - 2
    for _ in batches.steps(40):
        pass
    stats = batches.loader.stats()
    assert stats.peak_bytes <= batches.loader.memory_bound <= plain.memory_bound
    assert stats.kept_bytes == 0
    batches.close()
