"""`Transforming`: a group of reads -> rows of what the windows' transforms make of them.

Guarantees
----------
- `read` may be called by many threads at once. What a factory makes, and the memory that audio
  waits in, belong to one thread each.
- What a transform gives is a function of the window, its seed and the epoch: no thread, batch or
  order of calls has a part in it, if the transform itself lets none have one.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.errors import TransformError
from headrace.failures import Code, Failure
from headrace.loading._collate import examples_of
from headrace.loading._reader import ReadCancelled
from headrace.windows import PROGRAMMING_ERRORS, Transform, generator, takes_rng

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from headrace.concurrency import CancellationToken
    from headrace.loading._reader import GroupResult, Reader
    from headrace.loading._work import ReadGroup
    from headrace.windows import AudioExample, Function, Windows

__all__ = ["Transforming", "reading"]


class _Worker:
    """What one thread has for itself.

    Attributes
    ----------
    steps : list of (Transform, function, bool)
        The functions, and whether each draws.
    audio : ndarray of float32
        Audio before it is transformed.

    Raises
    ------
    TransformError
        A factory raised.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.steps: list[tuple[Transform, Function, bool]] = []
        for transform in transforms:
            try:
                function = transform.make_function()
            except Exception as error:
                raise TransformError(
                    f"{transform} raised {type(error).__name__} in a worker, of which each calls "
                    f"it once: {error}"
                ) from error
            self.steps.append((transform, function, takes_rng(function)))
        self.audio = np.empty(0, np.float32)

    def rows(self, count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return memory for `count` windows."""
        if len(self.audio) < count:
            self.audio = np.empty((count, *shape), np.float32)
        return self.audio[:count]


class Transforming:
    """Reads what a `Reader` reads, and calls the windows' transforms on it.

    Parameters
    ----------
    reader : Reader
        Reads the audio.
    windows : Windows
        With transforms.
    lenient : bool
        A window whose transform raises is a failure, as one that cannot be read is; otherwise, and
        for errors that are the function's, not the window's, `read` raises.
    """

    def __init__(self, reader: Reader, windows: Windows, *, lenient: bool) -> None:
        self._reader = reader
        self._windows = windows
        self._lenient = lenient
        self._labelled = any(transform.on == "example" for transform in windows.transforms)
        self._local = threading.local()

    def read(
        self,
        group: ReadGroup,
        rows: NDArray[Any] | list[NDArray[Any]],
        closing: CancellationToken,
        epoch: int,
    ) -> GroupResult:
        """Fill the rows of `group`: as `Reader.read` does, transformed.

        Raises
        ------
        ReadCancelled
            `closing` said so; the rows are undefined.
        TransformError
            A transform raised, or gave another shape or type than it did at first.
        """
        with closing.unwatched():
            worker = self._worker()
        audio = worker.rows(group.stop - group.begin, self._windows.audio_shape)
        result = self._reader.read(group, audio, closing, first=group.begin)
        part = group.rows[group.begin : group.stop]
        names = result.ids, result.paths
        examples = examples_of(self._windows, part, names, audio, labelled=self._labelled)
        with closing.unwatched(), result.transforming():
            for row, example in enumerate(examples, group.begin):
                if closing():
                    raise ReadCancelled
                if row in result.failures:
                    rows[row][...] = 0
                    continue
                try:
                    rows[row][...] = self._transformed(example, epoch)
                except _Refused as refused:
                    rows[row][...] = 0
                    result.failures[row] = refused.failure
        return result

    def _worker(self) -> _Worker:
        try:
            worker: _Worker = self._local.worker
        except AttributeError:
            worker = self._local.worker = _Worker(self._windows.transforms)
        return worker

    def _transformed(self, example: AudioExample, epoch: int) -> NDArray[Any]:
        for transform, function, draws in self._worker().steps:
            rng = (
                generator(transform.seed, transform.place, epoch, example.index) if draws else None
            )
            try:
                result = np.asarray(transform.call(function, example, rng))
            except Exception as error:
                said = f"{transform} raised {type(error).__name__}: {error}"
                if self._lenient and not isinstance(error, PROGRAMMING_ERRORS):
                    raise _Refused(_failure(example, said)) from error
                raise TransformError(f"{_where(example)}: {said}") from error
            if result.shape != transform.shape or result.dtype != transform.dtype:
                raise TransformError(
                    f"{_where(example)}: {transform} gave {result.dtype} of shape {result.shape}, "
                    f"where {transform.dtype} of shape {transform.shape} was to be expected: every "
                    "window has to give the same, because batches are allocated beforehand."
                )
            example = replace(example, audio=result)
        return example.audio


def reading(
    reader: Reader, windows: Windows, *, lenient: bool
) -> Callable[[int], Callable[..., GroupResult]]:
    """Return what gives, for an epoch, the function that reads a group: `Reader.read`, or more."""
    if not windows.transforms:
        return lambda _epoch: reader.read
    transforming = Transforming(reader, windows, lenient=lenient)
    return lambda epoch: partial(transforming.read, epoch=epoch)


class _Refused(Exception):  # noqa: N818  not an error: a failure on its way
    """A window that a transform could not take."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def _where(example: AudioExample) -> str:
    span = f"{example.offset:.3f} s to {example.end_s:.3f} s"
    return f"{example.path}, {span} (window {example.index})"


def _failure(example: AudioExample, message: str) -> Failure:
    return Failure(
        file_id=example.file_id,
        path=example.path,
        code=Code.TRANSFORM,
        message=message,
        start_s=example.offset,
        stop_s=example.end_s,
        windows=1,
    )
