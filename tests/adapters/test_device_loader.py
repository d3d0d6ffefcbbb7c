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
from headrace.adapters._device_loader import DeviceLoader
from headrace.errors import ClosedError, ReadError, StateError
from tests.support.deliveries import our_threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace import Batch, Loader, Windows


@dataclass(eq=False)
class FakeTransfer:
    """A transfer that is done when a test says so; its result is the batch's indices."""

    device: FakeDevice
    source: Batch | None
    index: list[int]
    ended: bool = False

    @property
    def done(self) -> bool:
        return self.ended or self.source is None

    def wait(self) -> None:
        if not self.done:
            self.device.waits += 1
        self.source = None

    def result(self) -> list[int]:
        assert self.source is not None, "the source was dropped before the batch was handed out"
        return self.index


@dataclass
class FakeDevice:
    """Transfers in the order in which they began, and how many of them were waited for."""

    begun: list[weakref.ref[FakeTransfer]] = field(default_factory=list)
    waits: int = 0

    def alive(self) -> list[FakeTransfer]:
        return [transfer for ref in self.begun if (transfer := ref()) is not None]

    def under_way(self) -> list[FakeTransfer]:
        return [transfer for transfer in self.alive() if not transfer.done]


class FakeDeviceLoader(DeviceLoader[list[int]]):
    """Yields the indices of each batch, as if the batches were transferred to a device."""

    def __init__(self, loader: Loader, ahead: int) -> None:
        super().__init__(loader, None, ahead)
        self.device = FakeDevice()

    def _transfer(self, batch: Batch) -> FakeTransfer:
        transfer = FakeTransfer(self.device, batch, batch.index.tolist())
        self.device.begun.append(weakref.ref(transfer))
        return transfer


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
    """A resumed run continues after the last batch handed out, whatever is transferred ahead."""
    first, second = _epochs(windows, size)
    batches = FakeDeviceLoader(windows.loader(batch_size=size, workers=workers), ahead)
    device, ends_now = batches.device, iter(ends)
    seen: list[list[int]] = []
    for batch in batches:
        if len(seen) == stop:  # as if the process ended before this batch was used
            break
        seen.append(batch)
        state = json.loads(json.dumps(batches.state_dict()))
        assert len(device.under_way()) <= ahead + 1
        for transfer in device.under_way():
            transfer.ended = next(ends_now, False)
        resumed = FakeDeviceLoader(windows.loader(batch_size=size, workers=workers), ahead)
        resumed.load_state_dict(state)
        assert next(iter(resumed), second[0]) == [*first, second[0]][len(seen)]
        assert resumed.state_dict() != state
        resumed.close()

    assert seen == first[:stop]
    batches.close()
    assert not device.under_way()


def test_all_epochs_resume_at_every_step(windows: Windows) -> None:
    """After any batch of two epochs, the rest of the epoch follows, and then the next epoch."""
    first, second = _epochs(windows, 5)
    straight = [*first, *second]
    batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=1), 2)
    states = [batches.state_dict()]
    states += [batches.state_dict() for _ in range(2) for _ in batches]

    for step, state in enumerate(states[:-1]):
        with FakeDeviceLoader(windows.loader(batch_size=5, workers=1), 2) as resumed:
            resumed.load_state_dict(state)
            rest = list(resumed)
            rest += list(resumed) if step < len(first) else []
        assert rest == straight[step:]


def test_a_transferred_batch_does_not_wait_for_the_loader(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is handed out while the loader has no other; if it has, more are transferred."""
    batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=1), 2)
    taken: list[int] = []
    ready: list[bool] = []
    monkeypatch.setattr(type(batches.loader), "ready", property(lambda _: ready[-1]))
    it = iter(batches)
    for has_another in (False, True, False, False, False):
        ready.append(has_another)
        next(it)
        taken.append(len(batches.device.begun))
    assert taken == [1, 4, 4, 4, 5]
    batches.close()


def test_a_loader_that_has_a_batch_says_so(windows: Windows) -> None:
    """`ready` is true when the next batch is there, and false before the first request."""
    with windows.loader(batch_size=5, workers=2, prefetch=2) as loader:
        assert not loader.ready
        it = iter(loader)
        next(it)
        while not loader.ready:  # the batch comes without a request
            threading.Event().wait(0.001)
        assert list(it)
        assert not loader.ready


def test_a_source_is_kept_until_its_transfer_is_done(windows: Windows) -> None:
    """A source is dropped only after its transfer, and too many transfers are waited for."""
    batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=1), 1)
    it = iter(batches)
    next(it)
    assert [transfer.source is not None for transfer in batches.device.under_way()][:1] == [True]
    for _ in range(4):
        next(it)
        assert len(batches.device.under_way()) <= 2
    waits = batches.device.waits
    assert waits >= 3  # no transfer was done by itself

    for transfer in batches.device.under_way():
        transfer.ended = True
    next(it)
    assert batches.device.waits == waits
    batches.close()


def _end_by_close(batches: FakeDeviceLoader, it: Iterator[list[int]]) -> None:
    batches.close()
    with pytest.raises(ClosedError):
        next(it)


def _end_by_with(batches: FakeDeviceLoader, _: Iterator[list[int]]) -> None:
    with batches:
        pass


def _end_by_another(batches: FakeDeviceLoader, it: Iterator[list[int]]) -> None:
    next(iter(batches))
    with pytest.raises(ClosedError):
        next(it)
    batches.close()


def _end_by_state(batches: FakeDeviceLoader, it: Iterator[list[int]]) -> None:
    batches.load_state_dict(batches.state_dict())
    with pytest.raises(ClosedError):
        next(it)


def _end_by_using_it_up(_: FakeDeviceLoader, it: Iterator[list[int]]) -> None:
    assert list(it)


ENDS = [_end_by_close, _end_by_with, _end_by_another, _end_by_state, _end_by_using_it_up]


@pytest.mark.parametrize("end", ENDS)
def test_transfers_are_waited_for_however_an_iteration_ends(windows: Windows, end: Any) -> None:
    """After the end no thread is left, and no source was dropped before its transfer was done."""
    batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=2), 2)
    it = iter(batches)
    next(it)
    under_way = batches.device.under_way()
    assert under_way

    end(batches, it)

    assert not batches.device.under_way()
    assert batches.device.waits >= len(under_way)
    del it, under_way
    assert not our_threads()


def test_dropping_an_iteration_ends_its_threads(windows: Windows) -> None:
    """Without `close` and the garbage collector, threads end with the last reference."""
    gc.disable()
    try:
        batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=2), 2)
        it = iter(batches)
        next(it)
        device = batches.device
        del batches, it
        assert not device.under_way()
        assert not our_threads()
    finally:
        gc.enable()


def test_an_error_is_raised_in_its_turn(windows: Windows, tmp_path: Path) -> None:
    """The batches before a window that cannot be read come first, whatever was transferred."""
    first, second = _epochs(windows, 1)
    (tmp_path / "2.wav").unlink()
    lost = {row for row, name in enumerate(windows.table()["id"].to_pylist()) if name == "2.wav"}
    good = next(n for n, batch in enumerate(first) if set(batch) & lost)
    batches = FakeDeviceLoader(windows.loader(batch_size=1, workers=1), 3)
    seen: list[list[int]] = []

    with pytest.raises(ReadError, match=r"2\.wav"):
        seen.extend(batches)

    assert seen == first[:good]
    assert next(iter(batches)) == second[0]  # as after a `break`
    batches.close()


def test_an_epoch_whose_last_batches_fail_is_over(windows: Windows, tmp_path: Path) -> None:
    """With failed windows left out, the state at an epoch's end is the next one's beginning."""
    in_order = windows.catalog.windows(sample_rate=8_000, window_s=0.25)
    (tmp_path / "4.wav").unlink()  # its windows are the last eight
    batches = FakeDeviceLoader(in_order.loader(batch_size=2, workers=1, on_error="skip"), 2)

    assert len(list(batches)) == 15
    state = batches.state_dict()

    assert (state["epoch"], state["position"]) == (1, 0)
    assert state == batches.loader.state_dict()


def test_an_iteration_begins_with_its_first_batch(windows: Windows) -> None:
    """Calling `iter` twice, as trainers do, skips no epoch and loads nothing."""
    first, second = _epochs(windows, 5)
    batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=1), 1)

    iter(batches)
    assert list(batches) == first
    iter(batches)
    state = batches.state_dict()
    assert list(batches) == second

    iter(batches)
    batches.load_state_dict(state)
    assert list(batches) == second


def test_set_epoch_does_not_override_a_restored_state(windows: Windows) -> None:
    """`set_epoch` sets the next epoch, but changes nothing after a state was restored."""
    first, second, third = _epochs(windows, 5, 3)
    batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=1), 1)

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


def test_set_epoch_keeps_the_offset_of_a_framework_that_counts_differently(
    windows: Windows,
) -> None:
    """If a framework counts the restored epoch 1 as 2, its epoch 3 is the one after that."""
    _, second, third = _epochs(windows, 5, 3)
    batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=1), 1)
    batches.set_epoch(1)
    next(iter(batches))
    inside = batches.state_dict()

    batches.load_state_dict(inside)
    batches.set_epoch(2)
    assert list(batches) == second[1:]
    batches.set_epoch(3)
    assert list(batches) == third


def test_steps_cross_epochs_and_count_what_was_handed_out(windows: Windows) -> None:
    """Steps continue after the last batch handed out, not after the last one transferred."""
    first, second = _epochs(windows, 5)
    straight = [*first, *second]
    batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=2), 2)

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
    """If transfers reached into the next epoch, that epoch is still complete."""
    epochs = _epochs(windows, 5, 4)
    with FakeDeviceLoader(windows.loader(batch_size=5, workers=2), 2) as batches:
        seen = []
        for batch in batches.steps(None):
            seen.append(batch)
            if len(seen) == steps:
                break

        assert list(batches) == epochs[(steps - 1) // 8 + 1]
        assert seen == [batch for epoch in epochs for batch in epoch][:steps]


def test_an_epoch_without_batches_counts_as_an_epoch(windows: Windows, tmp_path: Path) -> None:
    """After an error at the first batch, the next iteration is the next epoch."""
    for path in tmp_path.glob("*.wav"):
        path.unlink()

    with FakeDeviceLoader(windows.loader(batch_size=5, workers=2), 2) as batches:
        for epoch in range(3):
            with pytest.raises(ReadError):
                next(iter(batches))
            assert batches.loader.epoch == epoch


def test_wrong_arguments_raise_at_once(windows: Windows) -> None:
    """Single examples, a wrong number ahead and another loader's state raise an error each."""
    with pytest.raises(ValueError, match="batch_size"):
        FakeDeviceLoader(windows.loader(), 1)
    with pytest.raises(ValueError, match="ahead must be a whole number from 0"):
        FakeDeviceLoader(windows.loader(batch_size=2), -1)
    with pytest.raises(ValueError, match="ahead must be a whole number from 0"):
        FakeDeviceLoader(windows.loader(batch_size=2), 1.5)  # type: ignore[arg-type]
    batches = FakeDeviceLoader(windows.loader(batch_size=2), 1)
    choice = windows.catalog.windows(8_000, 0.25)[1:].identity.to_json()["choice"]
    other = windows.loader(batch_size=2).state_dict() | {"choice": choice}
    with pytest.raises(StateError, match="cannot resume from this state, because the choice of"):
        batches.load_state_dict(other)


def test_the_bound_counts_batches_ahead(windows: Windows) -> None:
    """The loader's `memory_bound` grows by the batches ahead, and no more memory is used."""
    batches = FakeDeviceLoader(windows.loader(batch_size=5, workers=2), 2)
    bound = windows.loader(batch_size=5, workers=2).memory_bound
    assert batches.loader.memory_bound == bound + 2 * 5 * 2_000 * 4

    kept = [batches.loader.stats().kept_bytes for _ in batches.steps(40)]

    pool = batches.loader._buffers
    assert pool is not None
    assert pool.peak <= pool.count == batches.loader.prefetch + 2 + 2
    assert set(kept) == {0}
    assert batches.loader.stats().peak_bytes <= batches.loader.memory_bound
    batches.close()


def test_the_bound_counts_labels_and_maps_of_batches_ahead(windows: Windows) -> None:
    """A batch ahead is counted with labels and the result of `batch_map`, within a budget."""
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
    assert FakeDeviceLoader(loader(), 3).loader.memory_bound >= plain.memory_bound + 3 * one
    batches = FakeDeviceLoader(loader(plain.memory_bound), 2)
    assert batches.loader.prefetch == plain.prefetch - 2
    for _ in batches.steps(40):
        pass
    stats = batches.loader.stats()
    assert stats.peak_bytes <= batches.loader.memory_bound <= plain.memory_bound
    assert stats.kept_bytes == 0
    batches.close()
