"""The compiled arithmetic: see src/kernel/kernel.h for what each call computes."""

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

LANES: int
MIX: int
MOST_TAPS: int

def instruction_sets() -> list[str]:
    """Return the instruction sets this machine can run, best first."""

class Filter:
    """The resampling from one rate to another: see src/kernel/filter.h.

    Each stage is its coefficients, its groups' first inputs, up, down, reach and phases.
    """

    def __init__(
        self, stages: list[tuple[NDArray[np.float32], NDArray[np.int64], int, int, int, int]]
    ) -> None: ...
    @property
    def identity(self) -> bool:
        """Whether there is no stage: the rates are equal."""

    @property
    def nbytes(self) -> int:
        """Bytes of all tables."""

    def support(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of inputs that outputs [start, stop) depend on."""

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of inputs that must be in memory for outputs [start, stop)."""

    def scratch(self, outputs: int) -> int:
        """Return how many floats of scratch so many outputs need."""

    def apply(
        self,
        x: NDArray[np.float32],
        x_start: int,
        y: NDArray[np.float32],
        y_start: int,
        instruction_set: str = "",
    ) -> None:
        """Write outputs ``y_start, y_start + 1, ...`` into `y`; the GIL is released."""

def convert(pcm: NDArray[Any], channels: int, channel: int, out: NDArray[np.float32]) -> bool:
    """Write one channel (or `MIX`) of interleaved `pcm` into `out`; tell whether all is finite."""

ALL: int

def wav_layout(bytes: bytes) -> tuple[int, int, int, int, int] | None:  # noqa: A002
    """Return encoding, channels, sample rate, data offset and frames of a plain WAV, else None."""

def flac_spans(bytes: bytes, spans: list[tuple[int, int]]) -> list[bytes] | None:  # noqa: A002
    """Return the samples of spans (start, frames) of a FLAC file, read natively one by one.

    None if it is not understood; less of a span where the reading ends. Not on Windows.
    """

def verify(
    kind: tuple[int, int, int, int, bool, int, Any],
    library: dict[str, int],
    frames: int,
    path: bytes,
    seek_points: bytes,
    cancel: bytearray,
) -> tuple[int, int, int, int, str, str, bool, bool]:
    """Decode a file: see src/kernel/verify.h for what is returned, field by field."""

def seek_points(path: bytes, frames: int) -> bytes | None:
    """Return where decoding of an MP3 file with `frames` declared may begin, None if nowhere."""

class Reader:
    """Groups of reads -> rows of audio: see src/kernel/reader.h."""

    def __init__(
        self,
        kinds: list[tuple[int, int, int, int, bool, int, Any, Filter, int, int, int, int]],
        library: dict[str, int],
        instruction_set: str,
        size: int,
        channel: int,
        scratch: tuple[int, int, int, int],
        idle: int,
    ) -> None: ...
    def read(
        self,
        recordings: list[tuple[int, int, int, int, bytes, bytes | None]],
        reads: list[tuple[int, tuple[int, ...], int]],
        rows: NDArray[np.float32] | list[NDArray[np.float32]],
        cancel: bytearray,
        beat: array[int] | None = None,
    ) -> tuple[list[tuple[int, str, str]], float, float, float, bool]:
        """Fill rows; return what was lost, seconds of work, and whether it was cancelled."""

    def close(self) -> None:
        """Close the idle files."""

    @property
    def most_open(self) -> int:
        """The most files that were open at once."""
