"""The slow, obvious twin of loading: whole files, decoded, mixed and resampled in one go."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from headrace import _kernel
from headrace._kernel.testing import convert
from headrace.dsp._resampler import resampler
from tests.support.sounds import whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace import AudioExample, Windows

__all__ = ["Reference"]


class Reference:
    """What law 1 compares with.

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
        """Return the slice that `example` should be, with zeros behind the end of the file."""
        return self.slice(example.file_id, example.offset)

    def slice(self, file_id: str, offset: float) -> NDArray[np.float32]:
        """Return the window of a file that begins at `offset` seconds."""
        start = round(offset * self.spec.sample_rate)
        part = self.file(file_id)[start : start + self.spec.size]
        return np.pad(part, (0, self.spec.size - len(part)))

    def _file(self, file_id: str) -> NDArray[np.float32]:
        recording = self._recordings[file_id]
        pcm = whole(recording)
        table = resampler(recording.sample_rate, self.spec.sample_rate)
        total = table.output_frames(len(pcm))
        begin, end = table.span(0, total)
        x = np.zeros(end - begin, np.float32)
        assert self.spec.channel != "all"
        channel = _kernel.MIX if self.spec.channel == "mix" else self.spec.channel
        convert(pcm.reshape(-1), recording.channels, channel, x[-begin : len(pcm) - begin])
        y = np.empty(total, np.float32)
        table(x, begin, y, 0)
        return y
