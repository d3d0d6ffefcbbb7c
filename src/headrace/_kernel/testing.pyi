"""Parts of the kernel that only tests and benchmarks call by themselves."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from headrace._kernel import ByteStore, WavEncoding

def convert(pcm: NDArray[Any], channels: int, channel: int, out: NDArray[np.float32]) -> bool:
    """Convert interleaved PCM to float32; the GIL is released.

    Parameters
    ----------
    pcm : ndarray of int16, int32, float32 or float64, shape ``(frames * channels,)``
        Interleaved.
    channels : int
        Of `pcm`.
    channel : int
        Its index, or ``_kernel.MIX``.
    out : ndarray of float32, shape ``(frames,)``
        Written.

    Returns
    -------
    bool
        Whether every sample of `out` is finite.

    Raises
    ------
    ValueError
        There is no such channel, or the sizes do not fit.
    """

@final
class FaultyStore(ByteStore):
    """A store of one object, by any key, that fails after its first `reads` reads."""

    def __init__(self, *, object: bytes, reads: int, code: str, message: str) -> None: ...

@final
class WavLayout:
    """Where the samples of a WAV file are."""

    @property
    def encoding(self) -> WavEncoding: ...
    @property
    def channels(self) -> int: ...
    @property
    def sample_rate(self) -> int:
        """Hz."""
    @property
    def data_offset(self) -> int:
        """Bytes."""
    @property
    def frames(self) -> int: ...

def wav_layout(file: bytes) -> WavLayout | None:
    """Return the layout of a WAV file that the kernel reads itself, or None."""

def flac_spans(
    file: bytes, spans: Sequence[tuple[int, int]], frames: int | None = None
) -> list[bytes] | None:
    """Return the samples of spans (start, frames) of a FLAC file, decoded one after the other.

    The file is taken to hold `frames`, or is measured. None if the kernel does not understand the
    file; less of a span where decoding ends. Not on Windows.

    Raises
    ------
    ValueError
        A span is outside of the file.
    """

def crc32(data: bytes, checksum: int = 0, portable: bool = False) -> int:
    """Return the CRC-32 of bytes, behind those that have `checksum`. Not on Windows.

    With `portable`, it is computed by tables, and not by special instructions.
    """
