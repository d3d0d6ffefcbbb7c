"""`Levels`: how loud some audio is, and whether it is silent or clipped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLIPPED", "SILENT_DBFS", "Levels", "levels"]

CLIPPED: Final = 0.999
"""Full scale, less what a converter's rounding and a resampler's ripple take off it."""

SILENT_DBFS: Final = 20 * math.log10(2**-15)
"""The RMS (dBFS) of one step of a 16-bit converter: below it, nothing has been recorded."""


@dataclass(frozen=True, slots=True)
class Levels:
    """How loud some audio is; 0 dBFS is the full scale, 1.0, for the peak as for the RMS.

    Attributes
    ----------
    peak_dbfs, rms_dbfs : float
        The greatest magnitude and the root of the mean square; minus infinity where all is zero.
    clipped : int
        Samples at full scale, in all channels.
    """

    peak_dbfs: float
    rms_dbfs: float
    clipped: int

    @property
    def silent(self) -> bool:
        """Whether there is less in it than one step of a 16-bit converter."""
        return self.rms_dbfs < SILENT_DBFS


def levels(audio: NDArray[np.float32]) -> Levels:
    """Measure `audio`, float32 of any shape, together."""
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
