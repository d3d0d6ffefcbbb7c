"""`JaxLoader`: a loader's batches as JAX arrays, transferred to their device ahead of use.

Guarantees
----------
- All batches have the same shapes, so that a function is compiled once.
- JAX may use the memory of a batch as an array's own (on the CPU it does if the alignment is
  right), or read it after `jax.device_put` returns. JAX refers to the memory in both cases, so the
  loader does not write it meanwhile.
- Nothing touches a device before the first batch is requested.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from headrace.adapters._device_loader import DEVICE_FIELDS, CompletedTransfer, DeviceLoader, Item

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

    import numpy as np
    from numpy.typing import NDArray

    from headrace.adapters._device_loader import Transfer
    from headrace.loading import Loader
    from headrace.windows import Batch, MaybeNone

__all__ = ["JaxBatch", "JaxLoader"]


# `JaxBatch` repeats the fields of `Batch`, because their order and the types of arrays differ;
# tests/adapters/test_batch_fields.py compares them.
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class JaxBatch:
    """A `Batch` with audio and labels as JAX arrays; unpacks to ``audio, file_id, offset``.

    Attributes
    ----------
    audio : Array of float32, shape ``(batch, samples)`` or ``(batch, channels, samples)``
        The windows.
    labels, label_mask : Array of float32 and of bool, shape ``(batch, classes)``, or None
        As in `Batch`.
    valid : Array of bool, shape ``(batch,)``
        False for rows that hold no window.
    file_id, path, offset, end_s, index, valid_samples, source, sample_rate, state, columns
        As in `Batch`: NumPy arrays, tuples and numbers on the CPU.
    """

    audio: jax.Array
    labels: jax.Array | MaybeNone = None
    label_mask: jax.Array | MaybeNone = None
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
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.audio, self.file_id, self.offset))

    def __len__(self) -> int:
        return len(self.audio)


class JaxLoader(DeviceLoader[Item]):
    """A loader's batches as JAX arrays of fixed shapes.

    Each ``iter()`` is the next epoch, also after a ``break``; only `load_state_dict` resumes inside
    an epoch. Where JAX has several processes and the windows are not sharded, ``iter()`` and
    `steps` raise `InvalidWindowsError` when the first batch is requested.

    Parameters
    ----------
    loader : Loader
        With a `batch_size`, ``last="drop"`` or ``"pad"``, and ``on_error="raise"`` or ``"mask"``.
        Nothing else may use it meanwhile.
    fields : sequence of str, optional
        Attributes of `Batch`, such as ``("audio", "labels")``: batches are tuples of these. By
        default a batch is a `JaxBatch`. In both, only audio, labels, label_mask and valid are JAX
        arrays.
    sharding : jax.sharding.Sharding, optional
        How the rows are distributed over devices, such as
        ``NamedSharding(mesh, PartitionSpec("data"))``. With several processes, each loads the rows
        of its own devices, and an array consists of the rows of all processes.
    device : jax.Device, optional
        The device of the arrays; default JAX's default device.
    ahead : int
        How many more batches are on the device, or on the way to it, while one is in use. The
        loader's `memory_bound` counts them.

    Raises
    ------
    ValueError
        The loader's batches may differ in shape, a field is not one of a batch, `ahead` is not a
        whole number from 0, or both `sharding` and `device` are given. Also, when the first batch
        is requested, if a field has a 64-bit dtype, which JAX truncates unless ``jax_enable_x64``
        is set.
    MemoryBudgetError
        The loader's `memory` has no room for `ahead` more batches.
    """

    _distributed = "jax.distributed"

    @overload
    def __init__(
        self: JaxLoader[JaxBatch],
        loader: Loader[Batch],
        fields: None = None,
        *,
        sharding: jax.sharding.Sharding | None = None,
        device: jax.Device | None = None,
        ahead: int = 2,
    ) -> None: ...
    @overload
    def __init__(
        self: JaxLoader[tuple[Any, ...]],
        loader: Loader[Batch],
        fields: Sequence[str],
        *,
        sharding: jax.sharding.Sharding | None = None,
        device: jax.Device | None = None,
        ahead: int = 2,
    ) -> None: ...
    def __init__(
        self,
        loader: Loader[Batch],
        fields: Sequence[str] | None = None,
        *,
        sharding: jax.sharding.Sharding | None = None,
        device: jax.Device | None = None,
        ahead: int = 2,
    ) -> None:
        if loader.last == "keep":
            raise ValueError(
                'last="keep" may make the last batch shorter, for which JAX compiles again: '
                'give the loader last="drop" or last="pad".'
            )
        if loader.on_error == "skip":
            raise ValueError(
                'on_error="skip" makes a batch with a failed window shorter, for which JAX '
                'compiles again: give the loader on_error="mask" or on_error="raise".'
            )
        if sharding is not None and device is not None:
            raise ValueError("give sharding or device, not both: a sharding includes its devices.")
        super().__init__(loader, fields, ahead)
        self.sharding = sharding
        self.device = device

    def _world_size(self) -> int:
        return int(jax.process_count())

    def _transfer(self, batch: Batch) -> Transfer[Any]:
        values = {
            name: self._array(name, value) if name in DEVICE_FIELDS and value is not None else value
            for name, value in self._field_values(batch).items()
        }
        return CompletedTransfer(
            JaxBatch(**values) if self.fields is None else tuple(values.values())
        )

    def _array(self, name: str, array: NDArray[Any]) -> jax.Array:
        if (truncated := jax.dtypes.canonicalize_dtype(array.dtype)) != array.dtype:
            raise ValueError(
                f"{name} is {array.dtype}, which JAX would truncate to {truncated}: end the "
                f"transform that returns it with .astype(np.{truncated}), or set jax_enable_x64."
            )
        if self.sharding is not None:
            return jax.make_array_from_process_local_data(self.sharding, array)
        return jax.device_put(array, self.device)
