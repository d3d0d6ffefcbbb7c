from __future__ import annotations

import copy
import ctypes
import gc
import pickle
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.errors import CatalogError, InvalidWindowsError, ReadError
from tests.support.sounds import call_annotations

torch = pytest.importorskip("torch")

from headrace.adapters.torch import Dataset, TorchBatch, TorchLoader

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace import Loader, Windows


@pytest.fixture
def labelled(windows: Windows) -> Windows:
    """Return the same windows with labels of two classes."""
    return windows.label(call_annotations())


@pytest.fixture
def loader(windows: Windows) -> Loader:
    """Return a loader of batches of five windows, the last batch of three."""
    return windows.loader(batch_size=5, workers=2, prefetch=1)


def _address(batch: Any) -> int:
    return int(batch.audio.data_ptr())


# Batches


def test_batches_equal_the_loaders(windows: Windows, loader: Loader) -> None:
    """Audio and `valid` are tensors of the same bits; all other fields are unchanged."""
    plain = list(windows.loader(batch_size=5, workers=1))
    adapter = TorchLoader(loader)

    batches = list(adapter)

    assert len(adapter) == len(batches) == len(plain) == 8
    for batch, expected in zip(batches, plain, strict=True):
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


def test_audio_of_eight_bytes_is_a_tensor(windows: Windows) -> None:
    """Audio that a transform returns becomes a tensor of the same dtype."""
    wide = windows.map(lambda audio: audio.astype(np.float64))
    batch = next(iter(TorchLoader(wide.loader(batch_size=5))))

    assert batch.audio.dtype == torch.float64
    assert isinstance(batch.valid, torch.Tensor)
    assert isinstance(batch.index, np.ndarray)


def test_fields_are_tuples_of_tensors(windows: Windows, loader: Loader) -> None:
    """Fields come in the requested order, with arrays as tensors, also those of 8 bytes."""
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
    """An unknown field raises at once, with the list of known fields."""
    with pytest.raises(ValueError, match=message):
        TorchLoader(loader, fields=names)


def test_a_requested_field_that_is_none_raises(loader: Loader) -> None:
    """Labels of windows without labels raise an error that names them, and are not None."""
    batches = TorchLoader(loader, fields=("audio", "labels"))

    with pytest.raises(ValueError, match="these batches have no labels: leave it out of fields"):
        next(iter(batches))


def test_labels_are_tensors(labelled: Windows) -> None:
    """Labels and their mask are tensors, in batches and in single items."""
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


def test_columns_are_tensors_and_lists(windows: Windows) -> None:
    """Numbers and bools are tensors of the column's type; texts, times and nulls are lists."""
    count = len(windows.catalog)
    moment = datetime(2024, 5, 1, 4, 30, tzinfo=UTC)
    catalog = windows.catalog.with_columns(
        text=[f"word {row}" for row in range(count)],
        number=list(range(count)),
        gain=[None, *[0.5] * (count - 1)],
        night=[True] * count,
        at=[moment] * count,
        exact=pa.array([moment] * count, pa.timestamp("ns", "UTC")),
    )
    names = ["text", "number", "gain", "night", "at", "exact"]
    loader = catalog.windows(8_000, 0.25).loader(batch_size=5, columns=names)
    plain = list(loader)
    seen = []
    for batch, expected in zip(TorchLoader(loader), plain, strict=True):
        columns = batch.columns
        assert columns["text"] == expected.columns["text"].tolist()
        assert columns["number"].dtype is torch.int64
        assert columns["gain"].dtype is torch.float64
        assert columns["night"].dtype is torch.bool
        assert columns["number"].tolist() == expected.columns["number"].tolist()
        assert columns["at"] == columns["exact"] == [moment.replace(tzinfo=None)] * len(batch)
        seen += columns["number"].tolist()
    (fields, *_) = TorchLoader(loader, fields=("audio", "columns"))

    assert sorted(set(seen)) == list(range(count))
    assert fields[1]["text"] == plain[0].columns["text"].tolist()
    assert next(iter(TorchLoader(windows.loader(batch_size=5)))).columns == {}
    with pytest.raises(ValueError, match=r"these batches have no columns: .*columns=\[...\]"):
        TorchLoader(windows.loader(batch_size=5), fields=("audio", "columns"))


def test_a_missing_device_raises(loader: Loader) -> None:
    """Without a GPU, a CUDA device raises at once, and not in the middle of a run."""
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(
        ValueError, match=r'device="cuda:1" needs CUDA, but torch.cuda.is_available\(\)'
    ):
        TorchLoader(loader, device="cuda:1")


def test_to_moves_the_tensors_and_nothing_else(loader: Loader) -> None:
    """`to` returns a new batch with tensors on the device; its other fields are the same."""
    with TorchLoader(loader) as batches:
        batch = next(iter(batches))

    moved = batch.to("meta", non_blocking=True)

    assert moved.audio.device.type == moved.valid.device.type == "meta"
    assert batch.audio.device.type == "cpu"
    assert moved.index is batch.index
    assert moved.file_id is batch.file_id
    assert batch.to("cpu").audio is batch.audio


def test_device_moves_whole_batches(loader: Loader) -> None:
    """With `device=`, all tensors of a batch are on the device."""
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
    """A batch's memory is reused only after nothing of it is referred to."""
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
    """Keeping copies does not keep the loader's memory: the same few buffers are reused."""
    batches = TorchLoader(loader)
    kept = []
    addresses = set()
    for batch in batches.steps(40):
        kept.append(batch.audio.clone())
        addresses.add(_address(batch))

    assert len(addresses) <= loader.prefetch + 2
    assert loader.stats().kept_bytes == 0


def test_kept_batches_are_counted(loader: Loader) -> None:
    """Kept tensors are never overwritten, and `kept_bytes` counts them."""
    kept = [batch.audio for batch in TorchLoader(loader)]

    assert len({audio.data_ptr() for audio in kept}) == 8
    assert loader.stats().kept_bytes == (8 - 3) * 5 * 2_000 * 4


def test_memory_that_pytorch_cannot_share_is_copied(
    loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read-only arrays and negative strides are copied, without a warning."""
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


# A CUDA device


class FakeCudaDevice:
    """A CUDA device whose copies are done when a test says so."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.log: list[str] = []
        self.events: deque[FakeEvent] = deque()
        self.allocated = 0

    def allocate_pinned(self, shape: tuple[int, ...], dtype: Any) -> Any:
        self.allocated += 1
        return np.zeros(shape, dtype)

    def begin_copy(self, values: Any) -> Any:
        event = FakeEvent(values["audio"], self.log)
        self.events.append(event)
        return {**values, "audio": event.copy}, event

    def make_current_stream_wait(self, copies: Any, copied: Any) -> None:
        assert copies["audio"] is copied.copy
        self.log.append("stream waits")


class FakeEvent:
    """The end of a copy, which reads its source as late as possible."""

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
    """Return an adapter that copies to a fake device."""
    monkeypatch.setattr("headrace.adapters.torch._CudaDevice", FakeCudaDevice)
    return TorchLoader(loader, device="cuda", ahead=2)


def _cuda(batches: TorchLoader) -> Any:
    return batches._cuda


def test_copies_are_right_however_late_they_read_their_source(
    windows: Windows, on_cuda: TorchLoader
) -> None:
    """A source is not overwritten before its copy is done, though nothing else refers to it."""
    expected = [b.audio.copy() for b in windows.loader(batch_size=5, workers=0)]

    copies = [batch.audio for batch in on_cuda]  # no copy ends by itself
    log = _cuda(on_cuda).log

    assert all(event.done for event in _cuda(on_cuda).events)  # they were waited for
    for copied, audio in zip(copies, expected, strict=True):
        assert copied.numpy().tobytes() == audio.tobytes()
    assert log.count("stream waits") == 8


def test_copies_begin_ahead_of_use_without_blocking_the_program(
    on_cuda: TorchLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a batch is in use, two more are copied, and finished copies are not waited for."""
    monkeypatch.setattr(type(on_cuda.loader), "ready", True)
    begun = []
    for _ in on_cuda:
        begun.append(len(_cuda(on_cuda).events))
        for event in _cuda(on_cuda).events:
            event.finish()

    assert begun == [3, 4, 5, 6, 7, 8, 8, 8]
    assert "program waits" not in _cuda(on_cuda).log


def test_batches_for_cuda_are_assembled_in_pinned_memory(on_cuda: TorchLoader) -> None:
    """All buffers come from the device's allocator, and no more of them than the bound counts."""
    for batch in on_cuda.steps(30):
        assert batch.audio.shape[1:] == (2_000,)

    pool = on_cuda.loader._buffers
    assert pool is not None
    assert 0 < _cuda(on_cuda).allocated == pool.peak <= on_cuda.loader.prefetch + 2 + 2
    assert on_cuda.loader.stats().kept_bytes == 0


def test_closing_waits_for_the_copies_under_way(on_cuda: TorchLoader) -> None:
    """`close` does not drop memory that a device still reads."""
    next(iter(on_cuda))
    on_cuda.close()
    gc.collect()

    assert _cuda(on_cuda).events
    assert all(event.done for event in _cuda(on_cuda).events)


def test_an_error_leaves_no_copy_under_way(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged file's error comes after the batches before it, and copies are waited for."""
    monkeypatch.setattr("headrace.adapters.torch._CudaDevice", FakeCudaDevice)
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


def test_nothing_is_prefetched_on_the_cpu(loader: Loader) -> None:
    """On the CPU no batch is taken from the loader before it is requested."""
    bound = loader.memory_bound
    batches = TorchLoader(loader, device="cpu", ahead=5)

    it = iter(batches)
    batch = next(it)

    assert batches.ahead == 0
    assert loader.memory_bound == bound
    assert batch.state == loader.state_dict() == batches.state_dict()
    batches.close()


# torchdata's protocol


def test_it_implements_torchdatas_stateful(windows: Windows) -> None:
    """The nodes of torchdata save its state and restore it, at every step."""
    nodes = pytest.importorskip("torchdata.nodes")
    stateful = pytest.importorskip("torchdata.stateful_dataloader.stateful").Stateful

    adapters = []

    def make() -> Any:
        loader = windows.loader(batch_size=5, workers=1)
        batches = TorchLoader(loader, fields=("index",))
        assert isinstance(batches, stateful)
        adapters.append(batches)
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
    for batches in adapters:
        batches.close()


def test_several_ranks_need_shards(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    """With several ranks, windows that are not sharded raise, unless ``shard(0, 1)`` says so."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    unsharded = TorchLoader(windows.loader(batch_size=5, workers=0), ("index",))

    error = pytest.raises(
        InvalidWindowsError, match=r"there are 2 ranks, .*: call windows\.shard\(\)"
    )
    with error:
        next(iter(unsharded))
    with error:
        next(unsharded.steps(1))
    for mine, count in ((windows.shard(), 19), (windows.shard(0, 1), 38)):
        with TorchLoader(mine.loader(batch_size=5, workers=0), ("index",)) as batches:
            assert sum(len(index) for (index,) in batches) == count


# The windows one by one


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")  # JAX's, if other tests imported it
@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_feeds_a_data_loader(windows: Windows, workers: int) -> None:
    """PyTorch's `DataLoader` collates its items to the same audio, in processes too."""
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


def test_items_are_tuples_of_the_requested_fields(windows: Windows) -> None:
    """With `fields`, an item is a tuple in the requested order."""
    audio, index = Dataset(windows, fields=("audio", "index"))[3]

    assert audio.numpy().tobytes() == windows[3].audio.tobytes()
    assert index == windows[3].index
    with pytest.raises(ValueError, match="an example has no 'sound'"):
        Dataset(windows, fields=("sound",))
    with pytest.raises(ValueError, match="not one string"):
        Dataset(windows, fields="audio")
    with pytest.raises(ValueError, match="these examples have no labels: leave it out of fields"):
        Dataset(windows, fields=("audio", "labels"))[0]


def test_a_dataset_has_columns_of_the_catalog(windows: Windows) -> None:
    """Each item has the values of its recording, in a pickle too; a `DataLoader` stacks numbers."""
    count = len(windows.catalog)
    catalog = windows.catalog.with_columns(
        text=[f"word {row}" for row in range(count)], number=list(range(count))
    )
    named = catalog.windows(8_000, 0.25)
    dataset = Dataset(named, ("index", "columns"), columns=["text", "number"])

    rows = named.rows(np.arange(len(named))).recording.tolist()
    for one in (dataset, pickle.loads(pickle.dumps(dataset))):
        assert [columns for _, columns in map(one.__getitem__, range(len(one)))] == [
            {"text": f"word {row}", "number": row} for row in rows
        ]
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=len(dataset))))
    assert batch[1]["text"] == [f"word {row}" for row in rows]
    assert batch[1]["number"].tolist() == rows
    assert Dataset(named, columns=["number"])[3]["columns"] == {"number": rows[3]}
    assert "columns" not in Dataset(named)[3]
    with pytest.raises(CatalogError, match="no column 'speaker'"):
        Dataset(named, columns=["speaker"])


def test_a_dataset_is_a_sequence_that_pickles_small(windows: Windows) -> None:
    """A dataset pickles as small as its windows, and ends where they end."""
    dataset = Dataset(windows, fields=("audio",))
    again = pickle.loads(pickle.dumps(dataset))

    assert again[5][0].numpy().tobytes() == dataset[5][0].numpy().tobytes()
    assert len(pickle.dumps(dataset)) < len(pickle.dumps(windows)) + 300
    assert len(list(dataset)) == len(windows)
    assert len(dataset + dataset) == 2 * len(dataset)
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def shifted(audio: Any, rng: Any) -> Any:
    """Add a random number to the audio."""
    return audio + rng.random(dtype="float32")


@pytest.fixture(params=["jitter", "crops"])
def augmented(windows: Windows, request: pytest.FixtureRequest) -> Windows:
    """Return 12 windows with a random function and a jitter, or 12 crops."""
    if request.param == "crops":
        longest = windows.catalog.filter(windows.catalog.frames == windows.catalog.frames.max())
        return longest[:1].crops(8_000, 0.25, per_recording=12, seed=4)
    ids = windows.catalog.ids.to_pylist()
    times = {"id": [ids[row % len(ids)] for row in range(12)], "at_s": [0.5] * 12}
    return windows.catalog.windows_at(times, 8_000, 0.25, jitter_s=0.2).map(shifted, seed=4)


def _epoch_of(batches: Any) -> dict[int, tuple[float, bytes]]:
    """Return the offset and the audio of each window."""
    return {
        int(index): (float(offset), audio.numpy().tobytes())
        for audios, indices, offsets in batches
        for audio, index, offset in zip(audios, indices, offsets, strict=True)
    }


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")  # JAX's, if other tests imported it
@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_is_that_of_the_epoch(augmented: Windows, workers: int) -> None:
    """After `set_epoch`, windows are those of a loader in that epoch, in lasting workers too."""
    dataset = Dataset(augmented, ("audio", "index", "offset"))
    batches = torch.utils.data.DataLoader(
        dataset, batch_size=5, num_workers=workers, persistent_workers=workers > 0
    )
    loader = augmented.loader(batch_size=12, workers=0)

    seen = []
    for epoch in range(2):
        dataset.set_epoch(epoch)
        seen.append(_epoch_of(batches))
        (batch,) = loader
        expected = zip(batch.index, batch.offset, batch.audio, strict=True)
        assert seen[-1] == {int(i): (float(at), one.tobytes()) for i, at, one in expected}
    assert all(seen[0][index] != seen[1][index] for index in range(12))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")  # JAX's, if other tests imported it
@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_is_new_without_set_epoch(augmented: Windows, workers: int) -> None:
    """Two epochs differ, and PyTorch's seed repeats both; the windows are the same."""
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        dataset = Dataset(augmented, ("audio", "index", "offset"))
        batches = torch.utils.data.DataLoader(dataset, batch_size=5, num_workers=workers)
        runs.append([_epoch_of(batches) for _ in range(2)])

    assert runs[0] == runs[1]
    assert runs[0][0].keys() == runs[0][1].keys() == set(range(12))
    assert all(runs[0][0][index] != runs[0][1][index] for index in range(12))


def test_windows_without_augmentation_take_no_random_numbers(windows: Windows) -> None:
    """PyTorch's generator is left alone, and `set_epoch` changes nothing."""
    dataset, before = Dataset(windows, ("audio",)), torch.get_rng_state()
    first = dataset[-1][0]
    dataset.set_epoch(3)

    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(dataset[len(dataset) - 1][0], first)
    with pytest.raises(InvalidWindowsError, match="epoch must be a whole number from 0 up"):
        dataset.set_epoch(-1)


def test_a_copy_of_a_dataset_keeps_its_epoch(augmented: Windows) -> None:
    """Pickled or copied, it has the epoch that was set, and changes it on its own."""
    dataset = Dataset(augmented, ("audio",))
    dataset.set_epoch(7)
    for again in (pickle.loads(pickle.dumps(dataset)), copy.copy(dataset)):
        assert torch.equal(again[3][0], dataset[3][0])
        again.set_epoch(8)
        assert not torch.equal(again[3][0], dataset[3][0])


def test_a_window_that_cannot_be_read_is_an_error(windows: Windows, tmp_path: Path) -> None:
    """A dataset raises for a window that cannot be read."""
    for path in tmp_path.glob("*.wav"):
        path.unlink()

    with pytest.raises(ReadError):
        Dataset(windows)[0]
