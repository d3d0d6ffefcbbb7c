"""`BatchMap`: the user's function of a whole batch, run in the worker that finished the batch."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace._formatting import brief
from headrace._validation import check_whole_number
from headrace.errors import TransformError
from headrace.windows import Batch, generator, takes_rng

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.loading._catalog_columns import CatalogColumns
    from headrace.windows import Function, Windows

__all__ = ["BatchMap"]

_GENERATOR_INDEX = -1
"""Distinguishes a batch's random generator from those of the transforms, whose indices count from
0."""


def _arrays(batch: Batch) -> list[NDArray[Any]]:
    values = (getattr(batch, field.name) for field in fields(batch))
    return [value for value in values if isinstance(value, np.ndarray)]


class BatchMap:
    """A function of a batch, and its source of randomness.

    Parameters
    ----------
    function : callable
        ``function(batch)`` or ``function(batch, rng=...)``. Returns a `Batch`, or None if it worked
        in place.
    seed : int
        Seed of `rng`.
    rank : int
        The rank of this process, which also keys `rng`: batches of different ranks have the same
        position.

    Attributes
    ----------
    extra_bytes : int
        Bytes of the arrays that the function adds to a batch's buffer, from a trial on noise.
    """

    def __init__(self, function: Function, seed: int, rank: int) -> None:
        if not callable(function):
            raise ValueError(f"batch_map must be a function, not {brief(function)}.")  # noqa: TRY004
        self._function = function
        self._takes_rng = takes_rng(function)
        self._seed = check_whole_number("seed", seed)
        self._rank = rank
        self.extra_bytes = 0
        self._name = f"batch_map={getattr(function, '__name__', type(function).__name__)}"

    def __call__(self, batch: Batch, epoch: int, position: int) -> Batch:
        """Call the function on the batch that ends at `position` of `epoch`.

        Raises
        ------
        TransformError
            The function raised, returned no `Batch`, or changed the number of rows.
        """
        what = f"the batch that ends at position {position} of epoch {epoch}"
        return self._call(batch, epoch, position, what)

    @classmethod
    def try_on_noise(
        cls,
        function: Function | None,
        seed: int,
        windows: Windows,
        batch_size: int | None,
        columns: CatalogColumns,
    ) -> BatchMap | None:
        """Return the map of the user's function after a trial on noise, or None without one.

        Raises
        ------
        TransformError
            The function fails in the trial.
        ValueError
            `function` cannot be called, or there are no batches.
        """
        if function is None:
            return None
        if batch_size is None:
            raise ValueError("batch_map works on batches: give batch_size, or use windows.map.")
        batch_map = cls(function, seed, windows.share.rank)
        batch_map.extra_bytes = batch_map._measure_extra_bytes(windows, batch_size, columns)
        return batch_map

    def _measure_extra_bytes(
        self, windows: Windows, batch_size: int, columns: CatalogColumns
    ) -> int:
        """Call the function on a batch of noise, and return the bytes of the arrays it added."""
        first_recording = np.zeros(batch_size, np.int64)
        batch = replace(windows.noise_batch(batch_size), columns=columns.rows(first_recording))
        noise = f"noise, {batch.audio.dtype} of shape {batch.audio.shape}"
        result = self._call(batch, 0, 0, noise)
        known = _arrays(batch)
        return sum(
            array.nbytes
            for array in _arrays(result)
            if not any(np.may_share_memory(array, other) for other in known)
        )

    def _call(self, batch: Batch, epoch: int, position: int, what: str) -> Batch:
        rows = len(batch)  # before the call, which may set the shape of an array in place
        try:
            if self._takes_rng:
                rng = generator(self._seed, _GENERATOR_INDEX, epoch, position, self._rank)
                result = self._function(batch, rng=rng)
            else:
                result = self._function(batch)
        except Exception as error:
            raise TransformError(
                f"{self._name} raised {type(error).__name__} on {what}: {error}"
            ) from error
        if result is None:
            result = batch
        if not isinstance(result, Batch):
            raise TransformError(
                f"{self._name} returned a {type(result).__name__} for {what}. Return the batch, "
                "changed with dataclasses.replace, or None after working in place."
            )
        if len(result) != rows:
            raise TransformError(
                f"{self._name} returned {len(result)} rows for {what}, which has {rows}. Keep all "
                "rows, and set valid to False in those that must not count, so that no window is "
                "lost silently."
            )
        return result
