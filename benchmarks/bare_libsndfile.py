"""`Decoder`: libsndfile alone, decoding a file in order, as a floor and as the right answer.

``SoundFile.read`` is not used: it seeks after every read, which costs time, and some decoders do
not return to the same place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import soundfile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Decoder"]


class Decoder:
    """A file that is decoded to float32 in order; for one thread at a time.

    Attributes
    ----------
    position : int
        The frame that is read next.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: Any = soundfile.SoundFile(path)
        self.position = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def move_to(self, frame: int, scratch: NDArray[np.float32]) -> None:
        """Decode up to `frame` into `scratch`, from the start of the file if need be."""
        if frame < self.position:
            self.close()
            self._file, self.position = soundfile.SoundFile(self._path), 0
        while self.position < frame:
            wanted = min(len(scratch) // self._file.channels, frame - self.position)
            self.read_exactly(scratch[: wanted * self._file.channels])

    def read_exactly(self, out: NDArray[np.float32]) -> None:
        """Fill `out` with the next frames, channels interleaved; `EOFError` if the file ends."""
        frames = len(out) // self._file.channels
        address = soundfile._ffi.cast("float *", out.ctypes.data)
        got = soundfile._snd.sf_readf_float(self._file._file, address, frames)
        self.position += got
        if got != frames:
            raise EOFError(self._path)
