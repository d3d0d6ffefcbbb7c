"""`TransformingReader`: reads groups and calls the windows' transforms on the audio.

Guarantees
----------
- `TransformingReader.read` may be called by many threads at once. A function that a factory
  returned, and the memory of untransformed audio, belong to one thread each.
- The result of a transform depends only on the window, the transform's seed and the epoch. The
  thread, the batch and the order of calls have no influence, unless the transform itself keeps
  state.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from headrace.errors import TransformError
from headrace.failures import Code, Failure
from headrace.loading._collate import make_examples
from headrace.loading._reader import ReadCancelledError
from headrace.windows import PROGRAMMING_ERRORS, Transform, generator, takes_rng

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from headrace.concurrency import CancellationToken
    from headrace.loading._reader import GroupResult, Reader
    from headrace.loading._work_items import ReadGroup
    from headrace.windows import AudioExample, Function, Windows

__all__ = ["ReadFunction", "TransformingReader", "read_function"]

ReadFunction: TypeAlias = "Callable[[ReadGroup, Any, CancellationToken], GroupResult]"
"""``read(group, rows, token)`` fills the rows of a group, as `Reader.read` does."""


class _ThreadState:
    """The functions and the memory of one thread.

    Attributes
    ----------
    steps : list of (Transform, function, bool)
        The transforms, their functions, and whether each takes a random generator.
    audio : ndarray of float32
        Audio before it is transformed, shape ``(rows, *audio_shape)``.

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
                    f"{transform} raised {type(error).__name__} in a worker. Each worker calls it "
                    f"once: {error}"
                ) from error
            self.steps.append((transform, function, takes_rng(function)))
        self.audio = np.empty(0, np.float32)

    def rows(self, count: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return memory for `count` windows."""
        if len(self.audio) < count:
            self.audio = np.empty((count, *shape), np.float32)
        return self.audio[:count]


class TransformingReader:
    """Reads audio with a `Reader` and calls the windows' transforms on it.

    Parameters
    ----------
    reader : Reader
        Reads the audio.
    windows : Windows
        Windows that have transforms.
    tolerant : bool
        Whether a window whose transform raises becomes a failure, like a window that cannot be
        read. Otherwise `read` raises. Programming errors, such as `TypeError`, always raise.
    """

    def __init__(self, reader: Reader, windows: Windows, *, tolerant: bool) -> None:
        self._reader = reader
        self._windows = windows
        self._tolerant = tolerant
        self._with_labels = any(transform.on == "example" for transform in windows.transforms)
        self._local = threading.local()

    def read(
        self,
        group: ReadGroup,
        rows: NDArray[Any] | list[NDArray[Any]],
        token: CancellationToken,
    ) -> GroupResult:
        """Fill the rows of `group` as `Reader.read` does, with transformed audio.

        Raises
        ------
        ReadCancelledError
            `token` was cancelled. The contents of the rows are undefined.
        TransformError
            A transform raised, or returned another shape or dtype than in its trial.
        """
        with token.stall_watch_paused():
            state = self._thread_state()
        audio = state.rows(group.stop - group.begin, self._windows.audio_shape)
        result = self._reader.read(group, audio, token, first=group.begin)
        part = group.rows[group.begin : group.stop]
        examples = make_examples(self._windows, part, audio, with_labels=self._with_labels)
        with token.stall_watch_paused(), result.transforming():
            for row, example in enumerate(examples, group.begin):
                if token():
                    raise ReadCancelledError
                if row in result.failures:
                    rows[row][...] = 0
                    continue
                try:
                    rows[row][...] = self._transform(example, group.epoch)
                except _WindowFailedError as failed:
                    rows[row][...] = 0
                    result.failures[row] = failed.failure
        return result

    def _thread_state(self) -> _ThreadState:
        try:
            state: _ThreadState = self._local.state
        except AttributeError:
            state = self._local.state = _ThreadState(self._windows.transforms)
        return state

    def _transform(self, example: AudioExample, epoch: int) -> NDArray[Any]:
        for transform, function, random in self._thread_state().steps:
            rng = (
                generator(transform.seed, transform.index, epoch, example.index) if random else None
            )
            try:
                result = np.asarray(transform.call(function, example, rng))
            except Exception as error:
                message = f"{transform} raised {type(error).__name__}: {error}"
                if self._tolerant and not isinstance(error, PROGRAMMING_ERRORS):
                    raise _WindowFailedError(_failure(example, message)) from error
                raise TransformError(f"{_describe(example)}: {message}") from error
            if result.shape != transform.shape or result.dtype != transform.dtype:
                raise TransformError(
                    f"{_describe(example)}: {transform} returned {result.dtype} of shape "
                    f"{result.shape}, expected {transform.dtype} of shape {transform.shape}. "
                    "Return the same shape and dtype for every window: batches are allocated "
                    "beforehand."
                )
            example = replace(example, audio=result)
        return example.audio


def read_function(reader: Reader, windows: Windows, *, tolerant: bool) -> ReadFunction:
    """Return the function that reads a group: with transforms where `windows` have some."""
    if not windows.transforms:
        return reader.read
    return TransformingReader(reader, windows, tolerant=tolerant).read


class _WindowFailedError(Exception):
    """A transform raised for a window: the window becomes a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


def _describe(example: AudioExample) -> str:
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
