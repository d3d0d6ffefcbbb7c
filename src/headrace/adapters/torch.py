"""`TorchLoader`: a loader's batches as PyTorch tensors; `Dataset`: windows one by one.

Guarantees
----------
- On the CPU a tensor uses the loader's memory, without a copy. The loader does not write that
  memory again while anything refers to it: a view, a NumPy array, a graph of gradients.
- Nothing touches a GPU unless `device` names one. Copies to CUDA run on a stream of their own. The
  stream that is current when a batch is handed out waits for its copy; the program does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from dataclasses import fields as fields_of
from multiprocessing.context import get_spawning_popen
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

import numpy as np

from headrace._validation import check_whole_number
from headrace.adapters._device_loader import (
    DEVICE_FIELDS,
    CompletedTransfer,
    DeviceLoader,
    Item,
    check_fields,
    select_fields,
)
from headrace.loading import CatalogColumns, read_one
from headrace.windows import AudioExample

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "headrace.adapters.torch needs PyTorch: pip install 'headrace[torch]'.", name="torch"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    from numpy.typing import NDArray

    from headrace.adapters._device_loader import Transfer
    from headrace.loading import Loader
    from headrace.windows import Batch, MaybeNone, Windows

__all__ = ["Dataset", "TorchBatch", "TorchLoader"]

FieldValues: TypeAlias = dict[str, Any]

_NOT_SET = -1
"""In place of an epoch: `Dataset.set_epoch` has not been called."""

_FIRST_UNCOUNTED_EPOCH = 1 << 62
"""Until `Dataset.set_epoch` is called, random numbers are those of epochs from this one on."""
T = TypeVar("T")


# Not frozen, because Lightning and others assign converted tensors to a copy. So it cannot inherit
# its fields from `Batch` or share a base class with `JaxBatch`, which are frozen: it repeats them,
# and tests/adapters/test_batch_fields.py compares them.
@dataclass(slots=True, eq=False, kw_only=True)
class TorchBatch:
    """A `Batch` with audio and labels as tensors; unpacks to ``audio, file_id, offset``.

    Attributes
    ----------
    audio : Tensor of float32, shape ``(batch, samples)`` or ``(batch, channels, samples)``
        Or what the function of `Windows.map` returned. On the CPU it is the loader's memory, which
        is not written again while anything refers to it.
    labels, label_mask : Tensor of float32 and of bool, shape ``(batch, classes)``, or None
        As in `Batch`.
    valid : Tensor of bool, shape ``(batch,)``
        False for rows that hold no window.
    columns : mapping of str to Tensor or list
        As in `Batch`: numbers and bools are tensors on the CPU, texts and others are lists. Times
        are `datetime.datetime`, in UTC.
    file_id, path, offset, end_s, index, valid_samples, source, sample_rate, state
        As in `Batch`: NumPy arrays, tuples and numbers on the CPU.
    """

    audio: torch.Tensor
    labels: torch.Tensor | MaybeNone = None
    label_mask: torch.Tensor | MaybeNone = None
    valid: torch.Tensor
    file_id: tuple[str, ...]
    path: tuple[str, ...]
    offset: NDArray[np.float64]
    end_s: NDArray[np.float64]
    index: NDArray[np.int64]
    valid_samples: NDArray[np.int64]
    source: NDArray[np.int64]
    sample_rate: int
    state: Mapping[str, Any]
    columns: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return this batch with its tensors on `device`, copied as `torch.Tensor.to` does."""
        values = {field.name: getattr(self, field.name) for field in fields_of(self)}
        return replace(self, **_to_device(values, torch.device(device), non_blocking=non_blocking))

    def __iter__(self) -> Iterator[Any]:
        return iter((self.audio, self.file_id, self.offset))

    def __len__(self) -> int:
        return len(self.audio)


class TorchLoader(DeviceLoader[Item]):
    """A loader's batches as tensors; for a plain loop, Lightning, and Accelerate.

    Each ``iter()`` is the next epoch, also after a ``break``; only `load_state_dict` resumes inside
    an epoch. `state_dict` and `load_state_dict` implement torchdata's protocol `Stateful`. Where
    torch.distributed has several ranks and the windows are not sharded, ``iter()`` and `steps`
    raise `InvalidWindowsError` when the first batch is requested.

    Parameters
    ----------
    loader : Loader
        With a `batch_size`. Nothing else may use it meanwhile.
    fields : sequence of str, optional
        Attributes of `Batch`, such as ``("audio", "labels")``: batches are tuples of these, with
        arrays as tensors. By default a batch is a `TorchBatch`.
    device : torch.device or str, optional
        The device of the tensors. With CUDA, batches are assembled in pinned memory and copied
        ahead of use. By default, and with ``"cpu"``, they are not copied.
    ahead : int
        With CUDA: how many more batches are on the device, or on the way to it, while one is in
        use. The loader's `memory_bound` counts their pinned memory.

    Raises
    ------
    ValueError
        The loader yields single examples, a field is not one of a batch, `ahead` is not a whole
        number from 0, or PyTorch cannot use `device` here.
    MemoryBudgetError
        The loader's `memory` has no room for `ahead` more batches.
    """

    _distributed = "torch.distributed"

    @overload
    def __init__(
        self: TorchLoader[TorchBatch],
        loader: Loader[Batch],
        fields: None = None,
        device: torch.device | str | None = None,
        ahead: int = 2,
    ) -> None: ...
    @overload
    def __init__(
        self: TorchLoader[tuple[Any, ...]],
        loader: Loader[Batch],
        fields: Sequence[str],
        device: torch.device | str | None = None,
        ahead: int = 2,
    ) -> None: ...
    def __init__(
        self,
        loader: Loader[Batch],
        fields: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        ahead: int = 2,
    ) -> None:
        self.device = _parse_device("cpu" if device is None else device)
        self._cuda = _CudaDevice(self.device) if self.device.type == "cuda" else None
        if self._cuda is None:
            _check_usable(self.device)
        ahead = check_whole_number("ahead", ahead, 0)
        if self._cuda is None:  # there is nothing to copy ahead
            super().__init__(loader, fields, 0)
        else:
            super().__init__(loader, fields, ahead, self._cuda.allocate_pinned)

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Has `set_epoch` where Lightning looks for it: at ``batch_sampler.sampler``."""
        return SimpleNamespace(sampler=self)

    def _world_size(self) -> int:
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return int(distributed.get_world_size())
        return 1

    def _transfer(self, batch: Batch) -> Transfer[Any]:
        values = self._field_values(batch)
        for name, value in values.items():
            if isinstance(value, np.ndarray) and (self.fields or name in DEVICE_FIELDS):
                values[name] = _as_tensor(value)
        if "columns" in values:
            values["columns"] = _as_torch_columns(values["columns"])
        if self._cuda is not None:
            return _CudaTransfer(self._cuda, values, self._pack)
        return CompletedTransfer(self._pack(_to_device(values, self.device)))

    def _pack(self, values: FieldValues) -> TorchBatch | tuple[Any, ...]:
        return TorchBatch(**values) if self.fields is None else tuple(values.values())


def inference_mode() -> AbstractContextManager[Any]:
    """Return a context in which PyTorch records nothing for gradients."""
    context: AbstractContextManager[Any] = torch.inference_mode()
    return context


def check_device(device: torch.device | str) -> None:
    """Check that PyTorch can make tensors on a device.

    Raises
    ------
    ValueError
        It cannot; the message says why.
    """
    _check_usable(_parse_device(device))


def _parse_device(device: torch.device | str) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(
            f"device={device!r} is not the name of a device of PyTorch, such as "
            '"cpu", "cuda", "cuda:1" or "mps".'
        ) from None


def _check_usable(device: torch.device) -> None:
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f'device="{device}" needs CUDA, but torch.cuda.is_available() is False: choose '
            "another device, or install PyTorch with CUDA."
        )
    try:
        torch.zeros(1).to(device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        raise ValueError(
            f'device="{device}" cannot be used here: choose another device, or install what '
            f"PyTorch needs for it. ({reason})"
        ) from error


def as_tensors(batch: Batch, device: torch.device | str) -> TorchBatch:
    """Return a batch as tensors on a device."""
    values = {one.name: getattr(batch, one.name) for one in fields_of(batch)}
    for name in DEVICE_FIELDS:
        if values[name] is not None:
            values[name] = _as_tensor(values[name])
    values["columns"] = _as_torch_columns(values["columns"])
    return TorchBatch(**_to_device(values, torch.device(device)))


class _CudaDevice:
    """A CUDA device, and the stream on which copies to it run."""

    def __init__(self, device: torch.device) -> None:
        _check_usable(device)
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def allocate_pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return pinned memory, from which CUDA copies without blocking the program."""
        nbytes = math.prod(shape) * dtype.itemsize
        memory: NDArray[np.uint8] = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True).numpy()
        return memory.view(dtype).reshape(shape)

    def begin_copy(self, values: FieldValues) -> tuple[FieldValues, torch.cuda.Event]:
        """Begin to copy tensors; return the copies, and an event that occurs when they are done."""
        with torch.cuda.stream(self.stream):
            copies = _to_device(values, self.device, non_blocking=True)
            return copies, self.stream.record_event()

    def make_current_stream_wait(self, copies: FieldValues, copied: torch.cuda.Event) -> None:
        """Make the current stream wait for the copies, and the allocator wait for that stream.

        Without `record_stream`, the memory of a copy could be reused while the stream reads it.
        """
        current = torch.cuda.current_stream(self.device)
        current.wait_event(copied)
        for value in copies.values():
            if isinstance(value, torch.Tensor):
                value.record_stream(current)


class _CudaTransfer(Generic[T]):
    """The copy of a batch to a CUDA device; refers to its source until the copy is done."""

    def __init__(
        self, cuda: _CudaDevice, source: FieldValues, pack: Callable[[FieldValues], T]
    ) -> None:
        self._cuda = cuda
        self._pack = pack
        self._source: FieldValues | None = source
        self._copies, self._copied = cuda.begin_copy(source)

    @property
    def done(self) -> bool:
        return self._source is None or bool(self._copied.query())

    def wait(self) -> None:
        if self._source is not None:
            self._copied.synchronize()
            self._source = None

    def result(self) -> T:
        copies, self._copies = self._copies, {}
        self._cuda.make_current_stream_wait(copies, self._copied)
        return self._pack(copies)


class Dataset(torch.utils.data.Dataset):  # type: ignore[type-arg,unused-ignore]
    """A map-style dataset of `Windows`, for programs that keep their `torch.utils.data.DataLoader`.

    A window is decoded when it is requested, in the process that requests it. A dataset has no
    threads, and its pickle is as small as that of its windows. To keep a model busy, use a
    `TorchLoader`.

    Augmentation (functions of `Windows.map` with an argument ``rng``, jitter, and crops) is new in
    every epoch. If `set_epoch` is called before each epoch, it is that of a `Loader` in that epoch,
    whatever the number of processes. Until it is called, augmentation follows PyTorch's random
    numbers: it is new at each request, and `torch.manual_seed` repeats it.

    Parameters
    ----------
    windows : Windows
        The windows. If they are shuffled, the order is that of epoch 0: let the `DataLoader`
        shuffle instead.
    fields : sequence of str, optional
        Attributes of `AudioExample`, such as ``("audio", "labels")``: an item is a tuple of these.
        By default it is a dict of all that are not None. Arrays are tensors.
    columns : sequence of str
        Columns of the catalog. The field ``columns`` is a dict of their values for the window:
        Python's own, or NumPy's scalars.

    Raises
    ------
    CatalogError
        There is no such column.
    ValueError
        A field is not one of an example, or ``columns`` is one and `columns` is empty.
    """

    def __init__(
        self,
        windows: Windows,
        fields: Sequence[str] | None = None,
        *,
        columns: Sequence[str] = (),
    ) -> None:
        known = [one.name for one in fields_of(AudioExample) if columns or one.name != "columns"]
        self.windows = windows
        self.columns = tuple(columns)
        self._columns = CatalogColumns(windows.recordings, columns) if columns else None
        self.fields = None if fields is None else tuple(fields)
        self._fields = check_fields(fields, known, "an example")
        # In shared memory, so that a `DataLoader`'s persistent workers see what `set_epoch` wrote.
        self._epoch = torch.full((1,), _NOT_SET).share_memory_() if windows.is_random else None

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401  a dict, or a tuple of the fields
        """Return a window.

        Raises
        ------
        IndexError
            There is no such window.
        ReadError
            The window could not be read.
        ValueError
            A field of `fields` is None: the windows have no labels.
        """
        required = self.fields is not None
        count = len(self.windows)
        if not -count <= index < count:
            raise IndexError(f"there is no window {index}: there are {count}.")
        if self.columns and self._columns is None:  # in a process that got a pickle
            self._columns = CatalogColumns(self.windows.recordings, self.columns)
        example = read_one(
            self.windows, int(index) % count, self._random_epoch(), columns=self._columns
        )
        values = select_fields(example, self._fields, required=required, owners="these examples")
        item = {
            name: _as_tensor(value) if isinstance(value, np.ndarray) else value
            for name, value in values.items()
            if value is not None
        }
        return item if self.fields is None else tuple(item.values())

    def set_epoch(self, epoch: int) -> None:
        """Use the augmentation of `epoch` from now on, in this process and its workers.

        Raises
        ------
        InvalidWindowsError
            The epoch is not a whole number from 0.
        """
        epoch = check_whole_number("epoch", epoch, 0)
        if self._epoch is not None:
            self._epoch[0] = epoch

    def _random_epoch(self) -> int:
        """Return the epoch whose random numbers the next window has."""
        if self._epoch is None:
            return 0
        epoch = int(self._epoch[0])
        if epoch != _NOT_SET:
            return epoch
        # Beyond every epoch that a program counts, so that no epoch of a loader is repeated.
        return _FIRST_UNCOUNTED_EPOCH + int(torch.randint(_FIRST_UNCOUNTED_EPOCH, ()))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the shared number only if a process is being started."""
        state = dict(self.__dict__) | {"_columns": None}  # looked up anew
        if self._epoch is not None and get_spawning_popen() is None:
            state["_epoch"] = int(self._epoch[0])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self._epoch, int):
            self._epoch = torch.full((1,), self._epoch).share_memory_()


def _as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return a tensor over the memory of `array`, or over a copy if PyTorch cannot share it."""
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def _as_torch_columns(
    columns: Mapping[str, NDArray[Any]],
) -> dict[str, torch.Tensor | list[Any]]:
    """Return a batch's columns as tensors of numbers and bools, and lists of others."""
    values: dict[str, torch.Tensor | list[Any]] = {}
    for name, column in columns.items():
        if column.dtype.kind in "biuf":
            values[name] = _as_tensor(column)
        elif column.dtype.kind in "mM":  # of nanoseconds, NumPy would make a list of numbers
            values[name] = column.astype(f"{column.dtype.kind}8[us]").tolist()
        else:
            values[name] = column.tolist()
    return values


def _to_device(
    values: FieldValues, device: torch.device, *, non_blocking: bool = False
) -> FieldValues:
    """Return the values, with their tensors on `device`."""
    return {
        name: value.to(device, non_blocking=non_blocking)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in values.items()
    }
