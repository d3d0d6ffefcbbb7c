"""`Transform`: a function of a window's audio, and the randomness it is given.

Pure: what a transform gives depends on the window, the seed and the epoch alone (law 3), as long as
the function draws from the generator that it is handed and from nothing else.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headrace._validation import check_whole_number
from headrace.errors import InvalidWindowsError, TransformError
from headrace.windows._examples import AudioExample

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from headrace.windows._windows import Windows

__all__ = ["PROGRAMMING_ERRORS", "Function", "On", "Transform", "generator", "noise", "takes_rng"]

Function = Callable[..., Any]
On = Literal["audio", "example"]

PROGRAMMING_ERRORS = (
    TypeError,
    NameError,
    AttributeError,
    ImportError,
    NotImplementedError,
    AssertionError,
    SyntaxError,
)
"""What says that the function is wrong and not the window: raised whatever `on_error` says."""


def generator(seed: int, *place: int) -> np.random.Generator:
    """Return a generator that is a pure function of its arguments.

    Philox keyed by a hash of them: generators whose arguments differ are independent, and making
    one takes microseconds, whatever was drawn before.
    """
    words = ",".join(map(str, (seed, *place))).encode()
    key = np.frombuffer(hashlib.blake2b(words, digest_size=16).digest(), "<u8")
    return np.random.Generator(np.random.Philox(key=key))


def noise(windows: Windows) -> AudioExample:
    """Return an example of noise, as these windows would deliver it, to try a function on."""
    audio = generator(0).uniform(-0.1, 0.1, windows.shape).astype(windows.dtype)
    first, spec = windows.recordings[0], windows.spec
    seconds = spec.size / spec.sample_rate
    example = AudioExample(
        audio, first.id, 0.0, spec.sample_rate, first.path, 0, seconds, spec.size
    )
    if windows.labels is None:
        return example
    classes = len(windows.classes)
    return replace(example, labels=np.zeros(classes, np.float32), label_mask=np.ones(classes, bool))


def takes_rng(function: Function) -> bool:
    """Return whether `function` has an argument named ``rng``."""
    try:
        return "rng" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions do not say
        return False


@dataclass(frozen=True, slots=True)
class Transform:
    """A function that runs in the workers on each window: see `Windows.map`.

    Attributes
    ----------
    source : callable
        The function, or what makes it.
    factory : bool
        Whether `source` makes the function, once for each worker.
    on : {"audio", "example"}
        What it is called with.
    seed, place : int
        Keys of its randomness: the user's, and its place among the transforms of its windows.
    shape : tuple of int
        Of its output.
    dtype : numpy.dtype
        Of its output.
    """

    source: Function
    factory: bool
    on: On
    seed: int
    place: int
    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = np.dtype(np.float32)  # noqa: RUF009  a constant

    @classmethod
    def checked(
        cls,
        function: Function | None,
        *,
        factory: Function | None,
        on: On,
        out: tuple[tuple[int, ...], DTypeLike] | None,
        seed: int,
        place: int,
        example: AudioExample,
    ) -> Transform:
        """Return a transform whose output is known: as `out` says, or from one call on `example`.

        Raises
        ------
        InvalidWindowsError
            An argument is not what `Windows.map` says.
        TransformError
            The call raised, or gave no array of numbers.
        """
        source = function if factory is None else factory
        if (function is None) == (factory is None) or not callable(source):
            raise InvalidWindowsError(
                "map needs one function: map(fn), or map(factory=make) where make() returns it."
            )
        if on not in ("audio", "example"):
            raise InvalidWindowsError(f'on must be "audio" or "example", not {on!r}.')
        transform = cls(source, factory is not None, on, check_whole_number("seed", seed), place)
        if out is not None:
            try:
                shape, dtype = out
                shape, dtype = tuple(int(n) for n in shape), np.dtype(dtype)
            except (TypeError, ValueError):
                raise InvalidWindowsError(
                    f"out must be (shape, dtype), as ((64, 501), np.float32), not {out!r}."
                ) from None
        else:
            result = transform.trial(example)
            shape, dtype = result.shape, result.dtype
        if dtype.kind not in "biufc":
            raise TransformError(
                f"{transform} gives {dtype}: an array of numbers is needed, whose shape does not "
                "change from window to window."
            )
        return replace(transform, shape=shape, dtype=dtype)

    def trial(self, example: AudioExample) -> NDArray[Any]:
        """Return what the function gives for `example`."""
        audio = example.audio
        try:
            function = self.function()
            rng = generator(self.seed, self.place, 0, 0) if takes_rng(function) else None
            return np.asarray(self.call(function, example, rng))
        except Exception as error:
            raise TransformError(
                f"{self} raised {type(error).__name__} when tried on noise, {audio.dtype} of shape "
                f"{audio.shape}: {error}. Mend it, or give out=(shape, dtype) if it is right "
                "to refuse noise."
            ) from error

    def function(self) -> Function:
        """Return the function, a new one from a factory."""
        return self.source() if self.factory else self.source

    def call(
        self, function: Function, example: AudioExample, rng: np.random.Generator | None
    ) -> Any:  # noqa: ANN401  what a user's function gives
        """Return what `function` gives; without `rng` it is not handed one."""
        what = example.audio if self.on == "audio" else example
        return function(what) if rng is None else function(what, rng=rng)

    def __str__(self) -> str:
        name = getattr(self.source, "__name__", type(self.source).__name__)
        return f"map(factory={name})" if self.factory else f"map({name})"
