from __future__ import annotations

import copy
import ctypes
import gc
import pickle
from collections import deque
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from headrace.errors import ReadError
from tests.support.sounds import calls

torch = pytest.importorskip("torch")

from headrace.adapters.torch import Dataset, TorchBatch, TorchLoader  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace import Loader, Windows


@pytest.fixture
def labelled(windows: Windows) -> Windows:
    """Return the same windows with two classes, heard in some recordings."""
    return windows.label(calls())


@pytest.fixture
def loader(windows: Windows) -> Loader:
    """Batches of five of them, the last of three."""
    return windows.loader(batch_size=5, workers=2, prefetch=1)


def _address(batch: Any) -> int:
    return int(batch.audio.data_ptr())


# Batches


def test_a_batch_is_the_loaders_as_tensors(windows: Windows, loader: Loader) -> None:
    """Audio and `valid` are tensors, to the bit; places, seconds and names are as they were."""
    plain = list(windows.loader(batch_size=5, workers=1))
    batches = TorchLoader(loader)

    made = list(batches)

    assert len(batches) == len(made) == len(plain) == 8
    for batch, expected in zip(made, plain, strict=True):
        assert isinstance(batch, TorchBatch)
        assert isinstance(batch.audio, torch.Tensor)
        assert batch.audio.dtype is torch.float32
        assert batch.audio.numpy().tobytes() == expected.audio.tobytes()
        assert batch.valid.tolist() == expected.valid.tolist()
        for name in ("offset", "end_s", "index", "valid_samples"):
            ours, theirs = getattr(batch, name), getattr(expected, name)
            assert type(ours) is np.ndarray
            assert ours.dtype == theirs.dtype
            assert ours.tolist() == theirs.tolist()
        assert (batch.file_id, batch.path) == (expected.file_id, expected.path)
        assert (batch.sample_rate, batch.state) == (expected.sample_rate, expected.state)
        audio, file_id, offset = batch
        assert (audio is batch.audio, file_id is batch.file_id, offset is batch.offset) == (
            True,
        ) * 3
        assert len(batch) == len(expected)


def test_a_batch_has_all_fields_of_the_loaders() -> None:
    """What a `Batch` learns to carry, labels for instance, a `TorchBatch` carries too."""
    assert {f.name for f in fields(headrace.Batch)} <= {f.name for f in fields(TorchBatch)}


def test_audio_of_eight_bytes_is_a_tensor(windows: Windows) -> None:
    """What a transform makes is what a model is fed with, whatever its type."""
    wide = windows.map(lambda audio: audio.astype(np.float64))
    batch = next(iter(TorchLoader(wide.loader(batch_size=5))))

    assert batch.audio.dtype == torch.float64
    assert isinstance(batch.valid, torch.Tensor)
    assert isinstance(batch.index, np.ndarray)


def test_fields_are_tuples_of_tensors(windows: Windows, loader: Loader) -> None:
    """Named fields come in their order: arrays as tensors, of 8 bytes too, and names as names."""
    expected = next(iter(windows.loader(batch_size=5, workers=0)))

    with TorchLoader(loader, fields=("index", "audio", "offset", "file_id")) as batches:
        index, audio, offset, file_id = next(iter(batches))

    assert index.dtype is torch.int64
    assert offset.dtype is torch.float64
    assert index.tolist() == expected.index.tolist()
    assert offset.tolist() == expected.offset.tolist()
    assert audio.numpy().tobytes() == expected.audio.tobytes()
    assert file_id == expected.file_id


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("audio", "not one string"),
        (("audio", "sound"), "a batch has no 'sound': fields are audio"),
    ],
)
def test_fields_that_are_not_there_are_refused(loader: Loader, names: Any, message: str) -> None:
    """A name that no batch has is told at once, with those it has."""
    with pytest.raises(ValueError, match=message):
        TorchLoader(loader, fields=names)


def test_a_field_that_these_batches_lack_is_named(loader: Loader) -> None:
    """Labels of windows that have none are an error that says so, not a None in a tuple."""
    batches = TorchLoader(loader, fields=("audio", "labels"))

    with pytest.raises(ValueError, match="these batches have no labels: leave it out of fields"):
        next(iter(batches))


def test_labels_are_tensors(labelled: Windows) -> None:
    """Labels and their mask come along with the audio, in batches and in single items."""
    plain = list(labelled.loader(batch_size=5, workers=1))
    batches = list(TorchLoader(labelled.loader(batch_size=5, workers=1)))
    tuples = list(TorchLoader(labelled.loader(batch_size=5, workers=1), ("audio", "labels")))

    assert sum(batch.labels.sum() for batch in batches) > 0
    for batch, (_, labels), expected in zip(batches, tuples, plain, strict=True):
        assert batch.labels.dtype is labels.dtype is torch.float32
        assert batch.labels.tolist() == labels.tolist() == expected.labels.tolist()
        assert batch.label_mask.tolist() == expected.label_mask.tolist()
        assert batch.to("meta").labels.device.type == "meta"
    for item, example in zip(Dataset(labelled), labelled, strict=True):
        assert example.labels is not None
        assert item["labels"].tolist() == example.labels.tolist()


def test_a_device_that_is_not_there_is_refused(loader: Loader) -> None:
    """Without a GPU, asking for one is a sentence and not a crash in the middle of a run."""
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=r'device="cuda:1", but torch.cuda.is_available\(\)'):
        TorchLoader(loader, device="cuda:1")


def test_to_moves_the_tensors_and_nothing_else(loader: Loader) -> None:
    """`to` gives another batch, whose tensors are on the device and whose rest is the same."""
    with TorchLoader(loader) as batches:
        batch = next(iter(batches))

    moved = batch.to("meta", non_blocking=True)

    assert moved.audio.device.type == moved.valid.device.type == "meta"
    assert batch.audio.device.type == "cpu"
    assert moved.index is batch.index
    assert moved.file_id is batch.file_id
    assert batch.to("cpu").audio is batch.audio


def test_another_device_gets_whole_batches(loader: Loader) -> None:
    """With `device=` the tensors are there when a batch is handed out."""
    with TorchLoader(loader, fields=("audio", "valid", "path"), device="meta") as batches:
        audio, valid, path = next(iter(batches))

    assert audio.device.type == valid.device.type == "meta"
    assert audio.shape == (5, 2_000)
    assert len(path) == 5


# Memory


KEPT: dict[str, Callable[[Any], Any]] = {
    "the batch": lambda batch: batch,
    "its audio": lambda batch: batch.audio,
    "a row": lambda batch: batch.audio[1],
    "some rows, turned": lambda batch: batch.audio[1:3, ::7].T,
    "another shape": lambda batch: batch.audio.view(-1)[3:],
    "a detached tensor": lambda batch: batch.audio.detach(),
    "another type over the same memory": lambda batch: batch.audio.view(torch.int32),
    "an array of it": lambda batch: batch.audio.numpy()[2:],
    "its storage": lambda batch: batch.audio.untyped_storage(),
    "what DLPack makes of it": lambda batch: torch.from_dlpack(batch.audio),
    "rows that were unbound": lambda batch: batch.audio.unbind()[4],
    "a product's graph": lambda batch: batch.audio @ torch.ones(2_000, 1, requires_grad=True),
}


@pytest.mark.parametrize("keep", KEPT.values(), ids=KEPT)
def test_memory_that_anything_refers_to_is_never_written_again(
    loader: Loader, keep: Callable[[Any], Any]
) -> None:
    """Whatever a training loop keeps of a batch, its memory comes round only when that is gone."""
    batches = TorchLoader(loader)
    it = batches.steps(None)
    batch = next(it)
    address, audio = _address(batch), batch.audio.clone()
    assert address == batch.audio.numpy().__array_interface__["data"][0]
    kept = keep(batch)
    del batch

    for _ in range(12):
        assert _address(next(it)) != address
    here = np.ctypeslib.as_array(_floats(address), (5 * 2_000,))
    assert here.tobytes() == audio.numpy().tobytes()

    del kept
    assert address in [_address(next(it)) for _ in range(12)]
    batches.close()


def _floats(address: int) -> Any:
    return ctypes.cast(address, ctypes.POINTER(ctypes.c_float))


def test_a_clone_is_the_consumers_own(loader: Loader) -> None:
    """A copy keeps nothing of the loader: its batches come round in the same few slabs."""
    batches = TorchLoader(loader)
    kept = []
    addresses = set()
    for batch in batches.steps(40):
        kept.append(batch.audio.clone())
        addresses.add(_address(batch))

    assert len(addresses) <= loader.prefetch + 2
    assert loader.stats().kept_bytes == 0


def test_kept_batches_are_counted(loader: Loader) -> None:
    """A consumer that keeps every tensor gets each in memory of its own; the stats say so."""
    kept = [batch.audio for batch in TorchLoader(loader)]

    assert len({audio.data_ptr() for audio in kept}) == 8
    assert loader.stats().kept_bytes == (8 - 3) * 5 * 2_000 * 4


def test_memory_that_pytorch_cannot_refer_to_is_copied(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read-only arrays, and those that run backwards, come as copies, without a warning."""
    inner = type(loader).__iter__

    def changed(self: Loader) -> Any:
        for batch in inner(self):
            batch.valid.flags.writeable = False
            yield replace(batch, audio=batch.audio[:, ::-1])

    expected = next(inner(loader)).audio[:, ::-1].copy()
    loader.load_state_dict(loader.state_dict() | {"position": 0})
    monkeypatch.setattr(type(loader), "__iter__", changed)

    batches = TorchLoader(loader)
    batch = next(iter(batches))
    batch.valid[:] = False

    assert batch.audio.numpy().tobytes() == expected.tobytes()
    batches.close()


# A device that is copied to


class FakeCuda:
    """A CUDA device whose copies are done when a test says so."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.log: list[str] = []
        self.events: deque[FakeEvent] = deque()
        self.allocated = 0

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> Any:
        self.allocated += 1
        return np.zeros(shape, dtype)

    def copy(self, values: Any) -> Any:
        event = FakeEvent(values["audio"], self.log)
        self.events.append(event)
        return {**values, "audio": event.copy}, event

    def hand_over(self, copies: Any, done: Any) -> None:
        assert copies["audio"] is done.copy
        self.log.append("stream waits")


class FakeEvent:
    """A copy that takes its bytes at the last moment."""

    def __init__(self, source: Any, log: list[str]) -> None:
        self.address = source.data_ptr()
        self.shape = source.shape
        self.copy = torch.full_like(source, torch.nan)
        self.log = log
        self.done = False

    def finish(self) -> None:
        if not self.done:
            count = self.copy.numel()
            here = np.ctypeslib.as_array(_floats(self.address), (count,))
            self.copy[:] = torch.from_numpy(here.copy()).reshape(self.shape)
            self.done = True

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        if not self.done:
            self.log.append("program waits")
            self.finish()


@pytest.fixture
def on_cuda(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> TorchLoader:
    """Return batches that are copied to a device that is not there."""
    monkeypatch.setattr("headrace.adapters.torch._Cuda", FakeCuda)
    return TorchLoader(loader, device="cuda", ahead=2)


def _cuda(batches: TorchLoader) -> Any:
    return batches._cuda


def test_copies_are_of_what_was_loaded_however_late_they_read(
    windows: Windows, on_cuda: TorchLoader
) -> None:
    """A source is not written again before its copy is done, though nothing else refers to it."""
    expected = [b.audio.copy() for b in windows.loader(batch_size=5, workers=0)]

    copies = [batch.audio for batch in on_cuda]  # not one is done on its own
    log = _cuda(on_cuda).log

    assert all(event.done for event in _cuda(on_cuda).events)  # they were awaited
    for copied, audio in zip(copies, expected, strict=True):
        assert copied.numpy().tobytes() == audio.tobytes()
    assert log.count("stream waits") == 8


def test_copies_begin_ahead_of_use_and_the_program_need_not_wait(
    on_cuda: TorchLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a batch is worked with, two more are copied; a copy that is done is not waited for."""
    monkeypatch.setattr(type(on_cuda.loader), "ready", True)
    begun = []
    for _ in on_cuda:
        begun.append(len(_cuda(on_cuda).events))
        for event in _cuda(on_cuda).events:
            event.finish()

    assert begun == [3, 4, 5, 6, 7, 8, 8, 8]
    assert "program waits" not in _cuda(on_cuda).log


def test_batches_for_a_device_are_made_in_pinned_memory(on_cuda: TorchLoader) -> None:
    """All slabs come from the device's allocator, and no more of them than the bound says."""
    for batch in on_cuda.steps(30):
        assert batch.audio.shape[1:] == (2_000,)

    slabs = on_cuda.loader._buffers
    assert slabs is not None
    assert 0 < _cuda(on_cuda).allocated == slabs.peak <= on_cuda.loader.prefetch + 2 + 2
    assert on_cuda.loader.stats().kept_bytes == 0


def test_closing_waits_for_the_copies_under_way(on_cuda: TorchLoader) -> None:
    """Memory that a device still reads is not let go of at the end either."""
    next(iter(on_cuda))
    on_cuda.close()
    gc.collect()

    assert _cuda(on_cuda).events
    assert all(event.done for event in _cuda(on_cuda).events)


def test_an_error_leaves_no_copy_under_way(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged file's error comes behind the batches before it, and copies are awaited."""
    monkeypatch.setattr("headrace.adapters.torch._Cuda", FakeCuda)
    names = [example.file_id for example in windows]  # epoch 0's order
    last = max({*names}, key=names.index)  # the file whose first window stands last
    place = names.index(last)
    assert place > 0
    Path(next(one.path for one in windows.catalog if one.id == last)).unlink()
    batches = TorchLoader(windows.loader(batch_size=1, workers=2), device="cuda", ahead=2)
    seen = 0

    def consume() -> None:
        nonlocal seen
        for _ in batches:
            seen += 1

    with pytest.raises(ReadError):
        consume()

    assert seen == place
    assert len(_cuda(batches).events) == place
    assert all(event.done for event in _cuda(batches).events)


def test_the_cpu_is_never_copied_to(loader: Loader) -> None:
    """On the CPU nothing is taken from the loader before it is asked for."""
    bound = loader.memory_bound
    batches = TorchLoader(loader, device="cpu", ahead=5)

    it = iter(batches)
    batch = next(it)

    assert batches.ahead == 0
    assert loader.memory_bound == bound
    assert batch.state == loader.state_dict() == batches.state_dict()
    batches.close()


# torchdata's protocol


def test_it_is_what_torchdata_calls_stateful(windows: Windows) -> None:
    """The nodes of torchdata save and restore it by its own state, at every step."""
    nodes = pytest.importorskip("torchdata.nodes")
    stateful = pytest.importorskip("torchdata.stateful_dataloader.stateful").Stateful

    made = []

    def make() -> Any:
        loader = windows.loader(batch_size=5, workers=1)
        batches = TorchLoader(loader, fields=("index",))
        assert isinstance(batches, stateful)
        made.append(batches)
        return nodes.Loader(nodes.IterableWrapper(batches), restart_on_stop_iteration=False)

    straight = make()
    expected = [index.tolist() for (index,) in straight]
    for stop in range(1, len(expected)):
        first, seen = make(), []
        for (index,) in first:
            seen.append(index.tolist())
            if len(seen) == stop:
                break
        second = make()
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        seen += [index.tolist() for (index,) in second]
        assert seen == expected
    for batches in made:
        batches.close()


# The windows one by one


@pytest.mark.filterwarnings("ignore:.*fork")  # of threads, JAX's among them
@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_feeds_a_data_loader(windows: Windows, workers: int) -> None:
    """PyTorch's own loader collates its items, in processes too, to the windows' audio."""
    dataset = Dataset(windows)
    batches = torch.utils.data.DataLoader(dataset, batch_size=7, num_workers=workers)

    place = 0
    for batch in batches:
        for row, audio in enumerate(batch["audio"]):
            example = windows[place]
            assert audio.numpy().tobytes() == example.audio.tobytes()
            assert batch["file_id"][row] == example.file_id
            assert batch["index"][row] == example.index
            assert batch["offset"][row] == example.offset
            place += 1

    assert place == len(dataset) == len(windows)


def test_items_are_tuples_of_the_fields_asked_for(windows: Windows) -> None:
    """With `fields` an item is a tuple, in their order."""
    audio, index = Dataset(windows, fields=("audio", "index"))[3]

    assert audio.numpy().tobytes() == windows[3].audio.tobytes()
    assert index == windows[3].index
    with pytest.raises(ValueError, match="an example has no 'sound'"):
        Dataset(windows, fields=("sound",))
    with pytest.raises(ValueError, match="not one string"):
        Dataset(windows, fields="audio")
    with pytest.raises(ValueError, match="these examples have no labels: leave it out of fields"):
        Dataset(windows, fields=("audio", "labels"))[0]


def test_a_dataset_is_a_sequence_that_pickles_small(windows: Windows) -> None:
    """It goes to another process as the windows do, and ends where they end."""
    dataset = Dataset(windows, fields=("audio",))
    again = pickle.loads(pickle.dumps(dataset))

    assert again[5][0].numpy().tobytes() == dataset[5][0].numpy().tobytes()
    assert len(pickle.dumps(dataset)) < len(pickle.dumps(windows)) + 300
    assert len(list(dataset)) == len(windows)
    assert len(dataset + dataset) == 2 * len(dataset)
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_a_window_that_cannot_be_read_is_an_error(windows: Windows, tmp_path: Path) -> None:
    """A dataset loses nothing silently either."""
    for path in tmp_path.glob("*.wav"):
        path.unlink()

    with pytest.raises(ReadError):
        Dataset(windows)[0]
