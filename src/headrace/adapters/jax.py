"""`JaxLoader`: a loader's batches as JAX arrays, put on their device before their turn.

Guarantees
----------
- All batches have the same shapes, so that a function is compiled once.
- JAX may take a slab's memory as an array's own (on the CPU it does, where the alignment suits
  it), or read it later than it says. It refers to the slab as long as either lasts, so the slab is
  not written meanwhile.
- Nothing touches a device before the first batch is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.adapters.ahead import Ahead, Ready

try:
    import jax
except ModuleNotFoundError as error:
    if error.name != "jax":
        raise
    raise ModuleNotFoundError(
        "headrace.adapters.jax needs JAX: pip install 'headrace[jax]'.", name="jax"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from headrace.adapters.ahead import Put
    from headrace.loader import Loader
    from headrace.records import Batch

__all__ = ["JaxBatch", "JaxLoader"]

_WIDE = 8
"""Bytes of a number that stays NumPy's: JAX would cut it to 4, and with it places and seconds."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class JaxBatch:
    """A `Batch` whose audio and labels are JAX arrays; unpacks to ``audio, file_id, offset``.

    Attributes
    ----------
    audio : Array of float32, shape ``(batch, samples)`` or ``(batch, channels, samples)``
        The windows.
    labels, label_mask : Array of float32 and of bool, shape ``(batch, classes)``, or None
        As in `Batch`.
    valid : Array of bool, shape ``(batch,)``
        False for rows that hold no window.
    file_id, path, offset, end_s, index, valid_samples, source, sample_rate, state
        As in `Batch`, NumPy's and on the CPU.
    """

    audio: jax.Array
    labels: jax.Array | None = None
    label_mask: jax.Array | None = None
    valid: jax.Array
    file_id: tuple[str, ...]
    path: tuple[str, ...]
    offset: NDArray[np.float64]
    end_s: NDArray[np.float64]
    index: NDArray[np.int64]
    valid_samples: NDArray[np.int64]
    source: NDArray[np.int64]
    sample_rate: int
    state: Mapping[str, Any]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.audio, self.file_id, self.offset))

    def __len__(self) -> int:
        return len(self.audio)


class JaxLoader(Ahead[Any]):
    """A loader's batches as JAX arrays of fixed shapes.

    Each ``iter()`` is the next epoch, after a ``break`` too; only `load_state_dict` resumes inside
    one.

    Parameters
    ----------
    loader : Loader
        With a `batch_size`, ``last="drop"`` or ``"pad"``, and ``on_error="raise"`` or ``"mask"``.
        It is used by nobody else meanwhile.
    fields : sequence of str, optional
        Attributes of `Batch`, as ``("audio", "labels")``: batches are tuples of these. By default a
        batch is a `JaxBatch`. Numbers of 8 bytes (`index`, `offset`, ...) stay NumPy's either way.
    sharding : jax.sharding.Sharding, optional
        How the rows are spread over devices, as
        ``NamedSharding(mesh, PartitionSpec("data"))``. Where there are several processes, each
        loads the rows of its own devices, and an array is made of all of them.
    device : jax.Device, optional
        Where the arrays shall be, if it is one device and not JAX's default.
    ahead : int
        How many more batches are on the device, or on their way there, while one is worked with.
        The loader's `memory_bound` counts them.

    Raises
    ------
    ValueError
        The loader's batches are not all of one shape, a field is not one of a batch, `ahead` is
        less than 0, or both `sharding` and `device` are given.
    """

    def __init__(
        self,
        loader: Loader,
        fields: Sequence[str] | None = None,
        *,
        sharding: jax.sharding.Sharding | None = None,
        device: jax.Device | None = None,
        ahead: int = 2,
    ) -> None:
        super().__init__(loader, fields, ahead)
        if loader.last == "keep":
            raise ValueError(
                'JAX compiles anew for a last batch that is shorter: give the loader last="drop" '
                'or last="pad".'
            )
        if loader.on_error == "skip":
            raise ValueError(
                "JAX compiles anew for a batch that lacks a failed window: give the loader "
                'on_error="mask" or on_error="raise".'
            )
        if sharding is not None and device is not None:
            raise ValueError("give sharding or device, not both: a sharding names its devices.")
        self.sharding = sharding
        self.device = device

    def _put(self, batch: Batch) -> Put[Any]:
        values = {
            name: self._array(value)
            if isinstance(value, np.ndarray) and value.itemsize < _WIDE
            else value
            for name, value in self._chosen(batch).items()
        }
        return Ready(JaxBatch(**values) if self.fields is None else tuple(values.values()))

    def _array(self, array: NDArray[Any]) -> jax.Array:
        if self.sharding is not None:
            return jax.make_array_from_process_local_data(self.sharding, array)
        return jax.device_put(array, self.device)
