"""`TorchLoader`: a loader's batches as PyTorch's tensors, and `Dataset`, its windows one by one.

Guarantees
----------
- On the CPU a tensor's memory is the loader's, without a copy. Whatever refers to it (a view, a
  NumPy array made of it, a graph of gradients) keeps it from being written again.
- Nothing touches a GPU unless `device` names one. Copies to CUDA are on a stream of their own; the
  stream that is current when a batch is handed out waits for them, the program does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from headrace._validation import check_whole_number
from headrace.adapters._ahead import PLACED, Ahead, Ready, checked, chosen
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
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from headrace.adapters._ahead import Put
    from headrace.loading import Loader
    from headrace.windows import Batch, Windows

__all__ = ["Dataset", "TorchBatch", "TorchLoader"]

Values: TypeAlias = dict[str, Any]
T = TypeVar("T")


# Not frozen: Lightning and others put converted tensors into a copy.
@dataclass(slots=True, eq=False, kw_only=True)
class TorchBatch:
    """A `Batch` whose audio and labels are tensors; unpacks to ``audio, file_id, offset``.

    Attributes
    ----------
    audio : Tensor of float32, shape ``(batch, samples)`` or ``(batch, channels, samples)``
        Or what `Windows.map` made. On the CPU the loader's memory: written again only after nothing
        refers to it any more.
    labels, label_mask : Tensor of float32 and of bool, shape ``(batch, classes)``, or None
        As in `Batch`.
    valid : Tensor of bool, shape ``(batch,)``
        False for rows that hold no window.
    file_id, path, offset, end_s, index, valid_samples, source, sample_rate, state
        As in `Batch`, NumPy's and on the CPU.
    """

    audio: torch.Tensor
    labels: torch.Tensor | None = None
    label_mask: torch.Tensor | None = None
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

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return this batch with its tensors on `device`, as `torch.Tensor.to` puts them there."""
        values = {field.name: getattr(self, field.name) for field in fields_of(self)}
        return replace(self, **_moved(values, torch.device(device), non_blocking=non_blocking))

    def __iter__(self) -> Iterator[Any]:
        return iter((self.audio, self.file_id, self.offset))

    def __len__(self) -> int:
        return len(self.audio)


class TorchLoader(Ahead[Any]):
    """A loader's batches as tensors; for a plain loop, Lightning, and Accelerate.

    Each ``iter()`` is the next epoch, after a ``break`` too; only `load_state_dict` resumes inside
    one. `state_dict` and `load_state_dict` are what torchdata calls stateful.

    Parameters
    ----------
    loader : Loader
        With a `batch_size`. It is used by nobody else meanwhile.
    fields : sequence of str, optional
        Attributes of `Batch`, as ``("audio", "labels")``: batches are tuples of these, arrays among
        them as tensors. By default a batch is a `TorchBatch`.
    device : torch.device or str, optional
        Where the tensors shall be. With CUDA, batches are made in pinned memory and copied ahead of
        use. By default, and with ``"cpu"``, they stay where they are made.
    ahead : int
        With CUDA: how many more batches are on the device, or on their way there, while one is
        worked with. The loader's `memory_bound` counts their pinned memory.

    Raises
    ------
    ValueError
        The loader makes no batches, a field is not one of a batch, `ahead` is no whole number from
        0 up, or `device` is not there.
    MemoryBudgetError
        The loader's `memory` has no room for so many batches ahead.
    """

    def __init__(
        self,
        loader: Loader,
        fields: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        ahead: int = 2,
    ) -> None:
        self.device = torch.device("cpu" if device is None else device)
        self._cuda = _Cuda(self.device) if self.device.type == "cuda" else None
        ahead = check_whole_number("ahead", ahead, 0)
        if self._cuda is None:  # nothing to do ahead
            super().__init__(loader, fields, 0)
        else:
            super().__init__(loader, fields, ahead, self._cuda.pinned)

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """Where Lightning looks for `set_epoch`: ``batch_sampler.sampler``."""
        return SimpleNamespace(sampler=self)

    def _put(self, batch: Batch) -> Put[Any]:
        values = self._chosen(batch)
        for name, value in values.items():
            if isinstance(value, np.ndarray) and (self.fields or name in PLACED):
                values[name] = _tensor(value)
        if self._cuda is not None:
            return _Copy(self._cuda, values, self._made)
        return Ready(self._made(_moved(values, self.device)))

    def _made(self, values: Values) -> Any:  # noqa: ANN401
        return TorchBatch(**values) if self.fields is None else tuple(values.values())


class _Cuda:
    """A CUDA device, and the stream on which it is copied to."""

    def __init__(self, device: torch.device) -> None:
        if not torch.cuda.is_available():
            raise ValueError(f'device="{device}", but torch.cuda.is_available() is False here.')
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return memory from which can be copied while the program goes on."""
        nbytes = math.prod(shape) * dtype.itemsize
        memory: NDArray[np.uint8] = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True).numpy()
        return memory.view(dtype).reshape(shape)

    def copy(self, values: Values) -> tuple[Values, Any]:
        """Begin to copy tensors; return the copies, and the event of their being done."""
        with torch.cuda.stream(self.stream):
            copies = _moved(values, self.device, non_blocking=True)
            return copies, self.stream.record_event()

    def hand_over(self, copies: Values, done: Any) -> None:  # noqa: ANN401
        """Let the current stream, and whoever frees the copies' memory later, wait for them."""
        current = torch.cuda.current_stream(self.device)
        current.wait_event(done)
        for tensor in _tensors(copies):
            tensor.record_stream(current)


class _Copy:
    """A batch on its way to a CUDA device. Its source is referred to until the copy is done."""

    def __init__(self, cuda: _Cuda, source: Values, made: Any) -> None:  # noqa: ANN401
        self._cuda = cuda
        self._made = made
        self._source: Values | None = source
        self._copies, self._done = cuda.copy(source)

    @property
    def settled(self) -> bool:
        return self._source is None or bool(self._done.query())

    def settle(self) -> None:
        if self._source is not None:
            self._done.synchronize()
            self._source = None

    def take(self) -> Any:  # noqa: ANN401
        copies, self._copies = self._copies, {}
        self._cuda.hand_over(copies, self._done)
        return self._made(copies)


class Dataset(torch.utils.data.Dataset):  # type: ignore[type-arg,unused-ignore]
    """A map-style view of `Windows`, for a `torch.utils.data.DataLoader` that is there already.

    A window is decoded when it is asked for, by whoever asks: this has no threads, and pickles as
    small as the windows do. A `TorchLoader` is what keeps a model busy.

    Parameters
    ----------
    windows : Windows
        Whose windows. If they are shuffled, the order is that of epoch 0; let the `DataLoader`
        shuffle instead.
    fields : sequence of str, optional
        Attributes of `AudioExample`, as ``("audio", "labels")``: an item is a tuple of these. By
        default it is a dict of all that there are. Arrays are tensors.

    Raises
    ------
    ValueError
        A field is not one of an example.
    """

    def __init__(self, windows: Windows, fields: Sequence[str] | None = None) -> None:
        known = [field.name for field in fields_of(AudioExample)]
        self.windows = windows
        self.fields = None if fields is None else tuple(fields)
        self._fields = checked(fields, known, "an example")

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
            A field that was asked for is None: labels of windows that have none.
        """
        asked = self.fields is not None
        example = self.windows[int(index)]
        values = chosen(example, self._fields, asked=asked, whose="these examples have")
        item = {
            name: _tensor(value) if isinstance(value, np.ndarray) else value
            for name, value in values.items()
            if value is not None
        }
        return item if self.fields is None else tuple(item.values())


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return a tensor over the memory of `array`, or of a copy where PyTorch has none like it."""
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


def _tensors(values: Values) -> Iterator[torch.Tensor]:
    return (value for value in values.values() if isinstance(value, torch.Tensor))


def _moved(values: Values, device: torch.device, *, non_blocking: bool = False) -> Values:
    """Return the values, with what is a tensor on `device`."""
    return {
        name: value.to(device, non_blocking=non_blocking)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in values.items()
    }
