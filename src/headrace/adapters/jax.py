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

from headrace.adapters._ahead import PLACED, Ahead, Ready

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

    from headrace.adapters._ahead import Put
    from headrace.loading import Loader
    from headrace.windows import Batch

__all__ = ["JaxBatch", "JaxLoader"]


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
        batch is a `JaxBatch`. Only audio, labels, label_mask and
        valid are JAX arrays, either way.
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
        The loader's batches are not all of one shape, a field is not one of a batch, `ahead` is no
        whole number from 0 up, or both `sharding` and `device` are given; with the first batch, if
        it has audio of 8 bytes a number, which JAX cuts unless ``jax_enable_x64`` is set.
    MemoryBudgetError
        The loader's `memory` has no room for so many batches ahead.
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
        super().__init__(loader, fields, ahead)
        self.sharding = sharding
        self.device = device

    def _put(self, batch: Batch) -> Put[Any]:
        values = {
            name: self._array(name, value) if name in PLACED and value is not None else value
            for name, value in self._chosen(batch).items()
        }
        return Ready(JaxBatch(**values) if self.fields is None else tuple(values.values()))

    def _array(self, name: str, array: NDArray[Any]) -> jax.Array:
        if (held := jax.dtypes.canonicalize_dtype(array.dtype)) != array.dtype:
            raise ValueError(
                f"{name} is {array.dtype} here, which JAX would cut to {held}: let the transform "
                f"that made it end with .astype(np.{held}), or set jax_enable_x64."
            )
        if self.sharding is not None:
            return jax.make_array_from_process_local_data(self.sharding, array)
        return jax.device_put(array, self.device)
