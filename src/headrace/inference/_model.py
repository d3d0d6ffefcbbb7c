"""`Model`: calls the user's function on batches, and finds the windows that it fails on."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from headrace._formatting import escape_controls, format_count
from headrace.errors import ModelError
from headrace.failures import Code, Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from headrace.inference._outputs import Outputs
    from headrace.windows import Batch, Windows

__all__ = ["Model", "ModelResult", "select_rows"]

_TRIAL_ROWS: Final = 2
"""Windows of noise on which a model is tried: with one, a row and a batch look alike."""

_NAMED: Final = 3
"""Recordings that an error message names."""


@dataclass(slots=True)
class ModelResult:
    """What a model returned for a batch.

    Attributes
    ----------
    chunks : list of dict of Arrow arrays
        The columns, for the rows that did not fail, in order.
    failures : dict of int to Failure
        The rows on which the model fails.
    """

    chunks: list[dict[str, pa.Array]] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)


class Model:
    """The user's function of a batch.

    Parameters
    ----------
    function : callable
        ``function(batch)`` returns an array or a dict of arrays.
    outputs : Outputs
        Turns them into columns.
    windows : Windows
        What it is applied to.
    on_error : {"raise", "mask"}
        What to do if it raises: raise `ModelError`, or call it for each window alone.
    context : callable
        Returns a context in which it is called.
    prepare : callable
        Turns a `Batch` into what the function is given, for the trial on noise.
    pad_to : int
        The least rows of a batch that the function is given: copies of the last row are added, and
        what it returns for them is left out.
    """

    def __init__(
        self,
        function: Callable[[Any], object],
        outputs: Outputs,
        windows: Windows,
        *,
        on_error: Literal["raise", "mask"],
        context: Callable[[], AbstractContextManager[object]],
        prepare: Callable[[Batch], Any],
        pad_to: int = 1,
    ) -> None:
        self._function = function
        self.outputs = outputs
        self._windows = windows
        self._on_error = on_error
        self._context = context
        self._prepare = prepare
        self._pad_to = pad_to

    def __call__(self, batch: Any) -> ModelResult:  # noqa: ANN401  a Batch, or one of an adapter
        """Call the model on a batch whose rows are all valid.

        Raises
        ------
        ModelError
            It raised, and `on_error` is ``"raise"`` or it also raises on noise; or it returned
            something else than a row for each window.
        """
        rows = len(batch.file_id)
        masks = self._on_error == "mask"
        unchanged = select_rows(batch, range(rows)) if masks else batch  # it may change its batch
        try:
            returned = self._call(batch)
        except Exception as error:
            if not masks:
                raise self._error(batch, error) from error
            return self._one_by_one(unchanged, rows, error)
        return ModelResult([self._convert(returned, rows)])

    def try_on_noise(self, rows: int) -> None:
        """Call the model on noise, so that what it returns is known before anything is loaded.

        Raises
        ------
        ModelError
            The model raised, or returned something else than a row for each window.
        """
        rows = min(rows, _TRIAL_ROWS)
        noise = self._windows.noise_batch(rows)
        try:
            returned = self._call(self._prepare(noise))
        except Exception as error:
            shape = noise.audio.shape
            raise ModelError(
                f"the model raised {_describe(error)} on a batch of noise, {noise.audio.dtype} of "
                f"shape {shape}, on which it is tried first."
            ) from error
        self._convert(returned, rows)
        self.outputs.take_loss()

    def _call(self, batch: Any) -> object:  # noqa: ANN401  a Batch, or one of an adapter
        rows = len(batch.file_id)
        if rows < self._pad_to:
            batch = select_rows(batch, [*range(rows), *[rows - 1] * (self._pad_to - rows)])
        with self._context():
            return self._function(batch)

    def _convert(self, returned: object, rows: int) -> dict[str, pa.Array]:
        """Return the columns of `rows` windows, of what the function returned for a full batch."""
        columns = self.outputs.convert(returned, max(rows, self._pad_to))
        return {name: column.slice(0, rows) for name, column in columns.items()}

    def _one_by_one(self, batch: Any, rows: int, first: Exception) -> ModelResult:  # noqa: ANN401
        """Call the model for each window alone; those on which it raises have failed."""
        result = ModelResult()
        for row in range(rows):
            one = select_rows(batch, [row])
            try:
                returned = self._call(one)
            except Exception as error:  # noqa: BLE001  it becomes the window's failure
                result.failures[row] = self._failure(batch, row, _describe(error))
            else:
                result.chunks.append(self._convert(returned, 1))
        if not result.chunks:
            self._check_alive(batch, first)
        return result

    def _check_alive(self, batch: Any, first: Exception) -> None:  # noqa: ANN401
        """Raise `ModelError` if the model fails on noise too: no window is to blame then."""
        try:
            self._call(self._prepare(self._windows.noise_batch(1)))
        except Exception as error:
            raise ModelError(
                f"{self._error(batch, first)} It also raised {_describe(error)} on noise, so the "
                "windows are not the cause: their ranges stay open for the next run.",
            ) from error

    def _error(self, batch: Any, error: Exception) -> ModelError:  # noqa: ANN401
        rows = range(len(batch.file_id))
        message = _describe(error)
        failures = tuple(self._failure(batch, row, message) for row in rows)
        named: dict[str, list[Failure]] = {}
        for failure in failures:
            named.setdefault(failure.file_id, []).append(failure)
        where = "; ".join(
            f"{escape_controls(name)} from {some[0].start_s:g} s to {some[-1].stop_s:g} s"
            for name, some in list(named.items())[:_NAMED]
        )
        more = f" and {len(named) - _NAMED:,} more recordings" if len(named) > _NAMED else ""
        result = ModelError(
            f"the model raised {message} on a batch of {format_count(len(rows), 'window')}: "
            f"{where}{more}. Call apply again to go on after the last complete part, or give "
            'on_error="mask" to leave out the windows on which it raises.'
        )
        result.failures = failures
        return result

    @staticmethod
    def _failure(batch: Any, row: int, message: str) -> Failure:  # noqa: ANN401
        return Failure(
            batch.file_id[row],
            batch.path[row],
            Code.MODEL,
            message,
            float(batch.offset[row]),
            float(batch.end_s[row]),
            1,
            int(batch.index[row]),
        )


def select_rows(batch: Any, rows: Sequence[int]) -> Any:  # noqa: ANN401  any adapter's batch
    """Return a batch of some of the rows, copied."""
    values = {}
    for one in fields(batch):
        value = getattr(batch, one.name)
        if isinstance(value, tuple):
            values[one.name] = tuple(value[row] for row in rows)
        elif hasattr(value, "shape"):
            values[one.name] = value[list(rows)]
    return replace(batch, **values)


def _describe(error: Exception) -> str:
    text = escape_controls(str(error).strip().partition("\n")[0])
    name = type(error).__name__
    return f"{name}: {text}" if text else name
