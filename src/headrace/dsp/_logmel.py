"""`LogMel`: audio to log-mel spectrograms, with NumPy only.

The definition is librosa's ``power_to_db(feature.melspectrogram(...))``, with the same parameter
names and defaults; ``tests/dsp/test_logmel.py`` compares both. The mel scales are those of
M. Slaney, "Auditory Toolbox" version 2, Interval Research report 1998-010, and of the HTK Book,
section 5.4.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from headrace._formatting import brief
from headrace.errors import HeadraceWarning

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["LogMel", "hz_to_mel"]

# Slaney's mel scale: linear up to 1 kHz, then logarithmic with 27 mel from 1 to 6.4 kHz.
_LINEAR_HZ: Final = 200 / 3  # per mel
_KNEE_HZ: Final = 1000.0
_LOG_STEP: Final = math.log(6.4) / 27  # per mel

_SQUARED: Final = 2.0  # the power of a magnitude

_MIN_POWER: Final = 1e-10
"""Lower powers are raised to this one, which is -100 dB: librosa's default for ``amin``."""

_BLOCK_SAMPLES: Final = 1 << 17
"""Samples of all columns that are transformed in one call: 1 MiB in float64, the size of a usual
second-level cache."""


@dataclass(frozen=True)
class LogMel:
    """A function from audio to log-mel spectrograms, in decibels.

    ``LogMel(16_000)(batch.audio)`` has the shape ``(batch, n_mels, columns)``. It keeps no state:
    any number of threads may share one, two with the same parameters are equal, and its pickle is
    small. The spectrogram of a clip does not depend on the rest of the batch.

    Parameters
    ----------
    sample_rate : int
        Sample rate of the audio, in Hz.
    n_fft : int
        Samples in the Hann window of a column.
    hop : int
        Samples between the starts of neighbouring columns.
    n_mels : int
        Number of mel bands.
    fmin, fmax : float
        Lowest and highest frequency of the bands, in Hz; `fmax` defaults to half the sample rate.
    power : float
        Exponent of the magnitudes: 2 gives powers.
    top_db : float or None
        Values lower than this many decibels below the spectrogram's maximum are raised to that
        level; None changes none.
    htk : bool
        Whether to use HTK's mel scale instead of Slaney's.
    norm : "slaney" or None
        "slaney" gives all bands the same area, None the same height.
    center : bool
        Whether column t is centred at sample ``t * hop``, with padding at both ends, or begins
        there.
    pad_mode : {"constant", "reflect"}
        The padding: zeros, or the reflected audio.

    Raises
    ------
    ValueError
        A parameter is out of range.

    Warns
    -----
    HeadraceWarning
        Some bands are so narrow that they contain no frequency of the transform.
    """

    sample_rate: int
    n_fft: int = 2048
    hop: int = 512
    n_mels: int = 128
    fmin: float = 0.0
    fmax: float | None = None
    power: float = 2.0
    top_db: float | None = 80.0
    htk: bool = False
    norm: Literal["slaney"] | None = "slaney"
    center: bool = True
    pad_mode: Literal["constant", "reflect"] = "constant"

    def __post_init__(self) -> None:
        for name, minimum in (("sample_rate", 1), ("n_fft", 2), ("hop", 1), ("n_mels", 1)):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < minimum:
                raise ValueError(
                    f"{name} must be a whole number from {minimum} up, not {brief(value)}."
                )
        top = self.sample_rate / 2 if self.fmax is None else self.fmax
        if not 0 <= self.fmin < top <= self.sample_rate / 2:
            raise ValueError(
                f"fmin={brief(self.fmin)} and fmax={brief(self.fmax)} must be between 0 and half "
                f"of sample_rate={self.sample_rate}, fmin below fmax."
            )
        if not self.power > 0 or not (self.top_db is None or self.top_db >= 0):
            raise ValueError(
                f"power={brief(self.power)} must be positive, and top_db={brief(self.top_db)} must "
                "be None or from 0 up."
            )
        if self.norm not in ("slaney", None) or self.pad_mode not in ("constant", "reflect"):
            raise ValueError(
                f'norm={brief(self.norm)} must be "slaney" or None, and '
                f'pad_mode={brief(self.pad_mode)} "constant" or "reflect".'
            )
        empty = int(np.sum(~self.filters.any(axis=1)))
        if empty:
            warnings.warn(
                f"{empty} of {self.n_mels} mel bands hold no frequency of n_fft={self.n_fft} "
                "and are always silent: use fewer n_mels or a larger n_fft.",
                HeadraceWarning,
                stacklevel=3,
            )

    @property
    def filters(self) -> NDArray[np.float32]:
        """Weight of each frequency in each band: shape ``(n_mels, n_fft // 2 + 1)``, read-only."""
        return _filters(*self._filter_parameters)

    @property
    def _filter_parameters(self) -> tuple[int, int, int, float, float, bool, str | None]:
        top = self.sample_rate / 2 if self.fmax is None else self.fmax
        return self.sample_rate, self.n_fft, self.n_mels, self.fmin, top, self.htk, self.norm

    def frames(self, samples: int) -> int:
        """Return the number of columns of a spectrogram of `samples` samples."""
        if self.center:
            samples += 2 * (self.n_fft // 2)
        return 1 + (samples - self.n_fft) // self.hop

    def __call__(self, audio: ArrayLike) -> NDArray[np.float32]:
        """Return the spectrograms of `audio`.

        Parameters
        ----------
        audio : array of float, shape ``(..., samples)``
            Any number of clips.

        Returns
        -------
        ndarray of float32, shape ``(..., n_mels, columns)``
            In decibels; 0 is a power of 1.

        Raises
        ------
        ValueError
            The audio is too short: for one column without `center`, or for reflection.
        """
        clips = np.asarray(audio, np.float32)
        samples = clips.shape[-1] if clips.ndim else 0
        half = self.n_fft // 2
        minimum = (half + 1 if self.pad_mode == "reflect" else 1) if self.center else self.n_fft
        if samples < minimum:
            raise ValueError(
                f"audio of shape {clips.shape} is too short for n_fft={self.n_fft}: it needs at "
                f"least {minimum} samples."
            )
        flat = clips.reshape(-1, samples)
        out = np.empty((len(flat), self.n_mels, self.frames(samples)), np.float32)
        for clip, mel in zip(flat, out, strict=True):
            self._powers(clip, mel)
            np.log10(np.maximum(mel, np.float32(_MIN_POWER), out=mel), out=mel)
            np.multiply(mel, np.float32(10), out=mel)
            if self.top_db is not None:
                np.maximum(mel, mel.max() - np.float32(self.top_db), out=mel)
        return out.reshape(*clips.shape[:-1], *out.shape[1:])

    def _powers(self, clip: NDArray[np.float32], mel: NDArray[np.float32]) -> None:
        """Write the mel spectrogram of one clip, before the logarithm."""
        if self.center:
            mode: Any = self.pad_mode
            clip = np.pad(clip, self.n_fft // 2, mode=mode)
        frames = np.lib.stride_tricks.sliding_window_view(clip, self.n_fft)[:: self.hop]
        window = _hann(self.n_fft)
        bands = _bands(*self._filter_parameters)
        step = max(1, _BLOCK_SAMPLES // self.n_fft)
        for begin in range(0, len(frames), step):
            spectrum = np.fft.rfft(frames[begin : begin + step] * window)
            # In float64 up to here: in float32, what is 100 dB below a column's maximum would be
            # rounding noise.
            powers = spectrum.real**2 + spectrum.imag**2
            if self.power != _SQUARED:
                powers **= self.power / _SQUARED
            # Not a matrix product: BLAS would distribute it over all processors, which are busy
            # with loading, and wait for the slowest.
            out = np.zeros((len(powers), self.n_mels))
            for band, begins, weights in bands:
                out[:, band] += np.add.reduceat(powers[:, : len(weights)] * weights, begins, axis=1)
            mel[:, begin : begin + step] = out.T


@lru_cache(maxsize=16)
def _hann(size: int) -> NDArray[np.float64]:
    """Return a periodic Hann window, shape ``(size,)``."""
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    window.flags.writeable = False
    return window


@lru_cache(maxsize=16)
def _filters(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float, htk: bool, norm: str | None
) -> NDArray[np.float32]:
    """Return the triangular filters of `LogMel.filters`."""
    ends = _corner_frequencies(n_mels, fmin, fmax, htk=htk)
    low, peak, high = ends[:-2, None], ends[1:-1, None], ends[2:, None]
    hz = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    triangles = np.minimum((hz - low) / (peak - low), (high - hz) / (high - peak)).clip(min=0)
    if norm == "slaney":
        triangles *= 2 / (high - low)
    filters = triangles.astype(np.float32)
    filters.flags.writeable = False
    return filters


@lru_cache(maxsize=16)
def _bands(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float, htk: bool, norm: str | None
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]], ...]:
    """Return the filters as the rising sides of all triangles, then the falling sides.

    A frequency is on the rising side of at most one band, and on the falling side of at most one.
    For each kind of side: the bands that have one, the first frequency of each, and the weight of
    every frequency.
    """
    filters = _filters(sample_rate, n_fft, n_mels, fmin, fmax, htk, norm)
    peak = _corner_frequencies(n_mels, fmin, fmax, htk=htk)[1:-1, None]
    rises = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft) <= peak
    sides = []
    for chosen in (rises, ~rises):
        side = np.where(chosen, filters, 0)
        band = np.flatnonzero(side.any(axis=1))
        if len(band):
            stop = int(np.flatnonzero(side.any(axis=0))[-1]) + 1
            weights = side.sum(axis=0, dtype=np.float64)[:stop]
            sides.append((band, (side[band] > 0).argmax(axis=1), weights))
    return tuple(sides)


def _corner_frequencies(n_mels: int, fmin: float, fmax: float, *, htk: bool) -> NDArray[np.float64]:
    """Return the corner frequencies of the triangles in Hz: shape ``(n_mels + 2,)``."""
    low, high = hz_to_mel(fmin, htk=htk), hz_to_mel(fmax, htk=htk)
    return _hz(np.linspace(low, high, n_mels + 2), htk=htk)


def hz_to_mel(hz: float, *, htk: bool = False) -> float:
    """Return a frequency on Slaney's mel scale, or HTK's."""
    if htk:
        return 2595 * math.log10(1 + hz / 700)
    if hz < _KNEE_HZ:
        return hz / _LINEAR_HZ
    return _KNEE_HZ / _LINEAR_HZ + math.log(hz / _KNEE_HZ) / _LOG_STEP


def _hz(mel: NDArray[np.float64], *, htk: bool) -> NDArray[np.float64]:
    if htk:
        return np.asarray(700 * (10 ** (mel / 2595) - 1))
    knee = _KNEE_HZ / _LINEAR_HZ
    above = _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mel, knee) - knee))
    return np.where(mel < knee, mel * _LINEAR_HZ, above)
