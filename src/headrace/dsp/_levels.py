"""`Levels`: the peak and RMS of audio, and whether it is silent or clipped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLIPPED", "SILENT_DBFS", "Levels", "levels"]

CLIPPED: Final = 0.999
"""Magnitude from which a sample counts as clipped: a round number below full scale, because a
converter's rounding and a resampler's ripple can lower a clipped sample."""

SILENT_DBFS: Final = 20 * math.log10(2**-15)
"""One step of a 16-bit converter (-90.3 dBFS): audio of a lower RMS counts as silent."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels of audio. 0 dBFS is full scale (1.0), for the peak and for the RMS.

    Attributes
    ----------
    peak_dbfs, rms_dbfs : float
        The largest magnitude and the root mean square; minus infinity if all samples are zero.
    clipped : int
        Number of samples at full scale (magnitude `CLIPPED` or more), in all channels.
    """

    peak_dbfs: float
    rms_dbfs: float
    clipped: int

    @property
    def silent(self) -> bool:
        """Whether the RMS is below one step of a 16-bit converter."""
        return self.rms_dbfs < SILENT_DBFS


def levels(audio: NDArray[np.float32]) -> Levels:
    """Return the levels of all samples of `audio` together: float32 of any shape."""
    magnitude = np.abs(audio)
    peak = float(magnitude.max(initial=0.0))
    square = float(np.mean(np.square(magnitude, dtype=np.float64))) if audio.size else 0.0
    return Levels(
        peak_dbfs=_decibel(peak),
        rms_dbfs=_decibel(math.sqrt(square)),
        clipped=int(np.count_nonzero(magnitude >= CLIPPED)),
    )


def _decibel(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf
