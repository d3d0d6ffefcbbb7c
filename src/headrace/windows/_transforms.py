"""`Transform`: a user's function of a window, and the random generator that it is given.

The result of a transform depends only on the window, the seed and the epoch (law 3 in
docs/architecture.md), provided that the function takes all its random numbers from that generator.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headrace._formatting import brief
from headrace._validation import check_whole_number
from headrace.errors import InvalidWindowsError, TransformError
from headrace.windows._batch import AudioExample

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from headrace.codecs import Recording
    from headrace.windows._spec import WindowSpec

__all__ = [
    "PROGRAMMING_ERRORS",
    "Function",
    "On",
    "Transform",
    "generator",
    "noise_example",
    "takes_rng",
]

Function = Callable[..., Any]
On = Literal["audio", "example"]

_FLOAT32 = np.dtype(np.float32)

PROGRAMMING_ERRORS = (
    TypeError,
    NameError,
    AttributeError,
    ImportError,
    NotImplementedError,
    AssertionError,
    SyntaxError,
)
"""Errors of the function and not of a window: they are raised whatever `on_error` is."""


def generator(seed: int, *key: int) -> np.random.Generator:
    """Return a random generator that depends on the arguments alone.

    It is Philox, keyed by a hash of the arguments. Generators with different arguments are
    independent, and making one takes microseconds.
    """
    words = ",".join(map(str, (seed, *key))).encode()
    digest = np.frombuffer(hashlib.blake2b(words, digest_size=16).digest(), "<u8")
    return np.random.Generator(np.random.Philox(key=digest))


def noise_example(
    spec: WindowSpec,
    recording: Recording,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    classes: int | None,
) -> AudioExample:
    """Return an example with noise as its audio, on which a user's function is tried.

    Parameters
    ----------
    spec : WindowSpec
    recording : Recording
        Gives the example its id and path.
    shape, dtype : tuple of int, numpy.dtype
        Of the audio.
    classes : int or None
        Number of classes; None for an example without labels.
    """
    audio = generator(0).uniform(-0.1, 0.1, shape).astype(dtype)
    end_s = spec.size / spec.sample_rate
    labels = None if classes is None else np.zeros(classes, np.float32)
    mask = None if classes is None else np.ones(classes, bool)
    return AudioExample(
        audio,
        recording.id,
        0.0,
        spec.sample_rate,
        recording.path,
        0,
        end_s,
        spec.size,
        labels=labels,
        label_mask=mask,
    )


def takes_rng(function: Function) -> bool:
    """Return whether `function` has an argument named ``rng``."""
    try:
        return "rng" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return False


@dataclass(frozen=True, slots=True)
class Transform:
    """A function that the workers call on each window: see `Windows.map`.

    Attributes
    ----------
    source : callable
        The function, or the factory that returns it.
    factory : bool
        Whether `source` is a factory, which is called once for each worker.
    on : {"audio", "example"}
        What the function is called with.
    seed, index : int
        Keys of its random generator: the user's seed, and the transform's index among those of its
        windows.
    shape : tuple of int
        Shape of the function's output.
    dtype : numpy.dtype
        Type of the function's output.
    """

    source: Function
    factory: bool
    on: On
    seed: int
    index: int
    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = _FLOAT32

    @classmethod
    def create(
        cls,
        function: Function | None,
        *,
        factory: Function | None,
        on: On,
        out: tuple[tuple[int, ...], DTypeLike] | None,
        seed: int,
        index: int,
        example: AudioExample,
    ) -> Transform:
        """Check the arguments of `Windows.map` and find out the shape and type of the output.

        They are as `out` says, or those that one call on `example` returns.

        Raises
        ------
        InvalidWindowsError
            An argument is not as `Windows.map` needs it.
        TransformError
            The call raised, or did not return an array of numbers.
        """
        source = function if factory is None else factory
        if (function is None) == (factory is None) or not callable(source):
            raise InvalidWindowsError(
                "map needs one function: map(fn), or map(factory=make) where make() returns it."
            )
        if on not in ("audio", "example"):
            raise InvalidWindowsError(f'on must be "audio" or "example", not {brief(on)}.')
        transform = cls(source, factory is not None, on, check_whole_number("seed", seed), index)
        if out is not None:
            try:
                shape, dtype = out
                shape, dtype = tuple(int(n) for n in shape), np.dtype(dtype)
            except (TypeError, ValueError):
                raise InvalidWindowsError(
                    f"out must be (shape, dtype), as ((64, 501), np.float32), not {brief(out)}."
                ) from None
        else:
            result = transform.try_on(example)
            shape, dtype = result.shape, result.dtype
        if dtype.kind not in "biufc":
            raise TransformError(
                f"{transform} returns {dtype}: return an array of numbers, of the same shape for "
                "all windows."
            )
        return replace(transform, shape=shape, dtype=dtype)

    @property
    def is_random(self) -> bool:
        """Whether the function takes random numbers, or may do so."""
        return self.factory or takes_rng(self.source)

    def try_on(self, example: AudioExample) -> NDArray[Any]:
        """Return the function's output for `example`.

        Raises
        ------
        TransformError
            The function raised.
        """
        audio = example.audio
        try:
            function = self.make_function()
            rng = generator(self.seed, self.index, 0, 0) if takes_rng(function) else None
            return np.asarray(self.call(function, example, rng))
        except Exception as error:
            raise TransformError(
                f"{self} raised {type(error).__name__} when tried on noise, {audio.dtype} of shape "
                f"{audio.shape}: {error}. Fix it, or give out=(shape, dtype) if it cannot work on "
                "noise."
            ) from error

    def make_function(self) -> Function:
        """Return the function; from a factory, a new one at each call."""
        return self.source() if self.factory else self.source

    def call(
        self, function: Function, example: AudioExample, rng: np.random.Generator | None
    ) -> Any:  # noqa: ANN401  a user's function returns anything
        """Return the output of `function`, called with `rng` unless that is None."""
        argument = example.audio if self.on == "audio" else example
        return function(argument) if rng is None else function(argument, rng=rng)

    def __str__(self) -> str:
        name = getattr(self.source, "__name__", type(self.source).__name__)
        return f"map(factory={name})" if self.factory else f"map({name})"
