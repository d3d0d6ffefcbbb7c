"""`Reference`: what loading must give, from whole files decoded, mixed and resampled in one go."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from headrace.dsp import resampler
from tests.support.sounds import decode_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace import AudioExample, Windows

__all__ = ["Reference", "in_float32"]

_FULL_SCALE: Final = {"int16": 2.0**15, "int32": 2.0**31, "float32": 1.0, "float64": 1.0}


class Reference:
    """The windows that law 1 promises: slices of the whole resampled recording.

    Decoding and mixing share no code with headrace. Resampling does: law 1 compares bits, and only
    the same filter gives the same bits. What is compared is the resampling of the whole recording
    in one call with that of each window alone. ``tests/dsp/test_resampler.py`` compares the filter
    itself with sums in double precision, ``tests/kernel/test_arithmetic.py`` with a chain of C's
    fused multiply-adds.

    Parameters
    ----------
    windows : Windows
        Whose files to decode whole; with one channel or the mix.
    """

    def __init__(self, windows: Windows) -> None:
        self.spec = windows.spec
        self._recordings = {recording.id: recording for recording in windows.catalog}
        self.file = cache(self._file)

    def window(self, example: AudioExample) -> NDArray[np.float32]:
        """Return the slice that `example` must be, with zeros behind the end of the file."""
        return self.slice(example.file_id, example.offset)

    def slice(self, file_id: str, offset: float) -> NDArray[np.float32]:
        """Return the window of a file that begins at `offset` seconds."""
        start = round(offset * self.spec.sample_rate)
        part = self.file(file_id)[start : start + self.spec.size]
        return np.pad(part, (0, self.spec.size - len(part)))

    def _file(self, file_id: str) -> NDArray[np.float32]:
        recording = self._recordings[file_id]
        assert self.spec.channel != "all"
        signal = in_float32(decode_whole(recording), self.spec.channel)
        rate_in, rate_out = recording.sample_rate, self.spec.sample_rate
        table = resampler(rate_in, rate_out)
        y = np.empty(-(-len(signal) * rate_out // rate_in), np.float32)
        begin, end = table.span(0, len(y))
        x = np.zeros(end - begin, np.float32)
        x[-begin : len(signal) - begin] = signal
        table(x, begin, y, 0)
        return y


def in_float32(pcm: NDArray[Any], channel: int | Literal["mix"]) -> NDArray[np.float32]:
    """Return one channel, or the "mix" of all, in float32, by NumPy alone.

    The definition of the conversion: each sample is rounded to float32 once; the mix is the sum in
    the order of the channels, divided by their number.

    Parameters
    ----------
    pcm : ndarray, shape ``(frames, channels)``
        int16, int32, float32 or float64.
    channel : int or "mix"
        Which channel.
    """
    with np.errstate(all="ignore"):
        samples = pcm.astype(np.float32) / np.float32(_FULL_SCALE[pcm.dtype.name])
        if channel != "mix":
            return np.asarray(samples[:, channel])
        total = samples[:, 0].copy()
        for number in range(1, pcm.shape[1]):
            total += samples[:, number]
        return np.asarray(total / np.float32(pcm.shape[1]), np.float32)
