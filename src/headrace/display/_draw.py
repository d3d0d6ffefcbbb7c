"""Audio → small pictures: a spectrogram as a PNG, a waveform as an SVG path. Needs NumPy only."""

from __future__ import annotations

import math
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace.dsp import LogMel, levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WAVE_HEIGHT", "WAVE_WIDTH", "colours", "lowest_hz", "png", "spectrogram", "waveform"]

WAVE_WIDTH: Final = 300
WAVE_HEIGHT: Final = 100
"""Units of a waveform's path, across and down."""

_BANDS: Final = 96  # rows of a spectrogram
_COLUMNS: Final = 320  # of a spectrogram at most: the width of a card
_FRAME_S: Final = 0.04  # seconds of a Fourier transform at least: 25 Hz tell low calls apart
_LEAST_RANGE_DB: Final = 30.0  # noise alone does not fill the scale
_MOST_RANGE_DB: Final = 80.0
_SHADES: Final = (
    64  # of a picture: the eye tells no more apart here, and the PNG is a third smaller
)


def spectrogram(audio: NDArray[np.float32], sample_rate: int) -> bytes:
    """Draw the log-mel spectrogram of `audio`, the mean of its channels, as a PNG.

    Low frequencies are at the bottom. The scale is the picture's own, from its quietest twentieth
    to its loudest thousandth, which are 30 to 80 dB apart. Silence is dark.

    Parameters
    ----------
    audio : ndarray of float32, shape ``(samples,)`` or ``(channels, samples)``
    sample_rate : int
        Hz.

    Returns
    -------
    bytes
    """
    decibel = _pooled(_log_mel(_mono(audio), sample_rate), _COLUMNS)
    quiet, high = np.percentile(decibel, [5, 99.9])
    low = np.clip(quiet, high - _MOST_RANGE_DB, high - _LEAST_RANGE_DB)
    shade = np.clip((decibel - low) / (high - low), 0, 1)
    if levels(audio).silent:  # there is no loudest part of nothing
        shade[:] = 0
    return png(np.round(shade[::-1] * (_SHADES - 1)).astype(np.uint8), colours(_SHADES))


def lowest_hz(sample_rate: int) -> float:
    """Return where a spectrogram begins: below are offsets and wind, often the loudest of all."""
    return min(50.0, sample_rate / 40)


def waveform(audio: NDArray[np.float32]) -> str:
    """Return the outline of a waveform as an SVG path, `WAVE_WIDTH` by `WAVE_HEIGHT`.

    Full scale fills the height.
    """
    audio = _mono(audio)
    columns = min(WAVE_WIDTH, len(audio))
    edges = np.arange(columns) * len(audio) // columns
    middle = WAVE_HEIGHT / 2
    top = middle - middle * np.clip(np.maximum.reduceat(audio, edges), -1, 1)
    bottom = middle - middle * np.clip(np.minimum.reduceat(audio, edges), -1, 1)
    x = (np.arange(columns) + 0.5) * (WAVE_WIDTH / columns)
    there = [f"{a:.4g} {b:.3g}" for a, b in zip(x, top, strict=True)]
    back = [f"{a:.4g} {b:.3g}" for a, b in zip(x[::-1], bottom[::-1], strict=True)]
    return f"M{'L'.join(there + back)}Z"


@cache
def colours(count: int) -> bytes:
    """Return a palette from dark to light, three bytes of sRGB a colour.

    Equal steps look equally far apart: in OKLCH lightness rises in a straight line, while the hue
    goes from indigo over teal to straw and chroma is least at both ends. OKLab and its matrices are
    Björn Ottosson's (2020), https://bottosson.github.io/posts/oklab/.
    """
    t = np.linspace(0, 1, count)
    light = 0.14 + 0.83 * t
    chroma = 0.05 + 0.085 * np.sin(np.pi * t)
    hue = np.radians(285 - 185 * t)
    lab = np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)])
    cones = _CONES_OF_LAB @ lab
    linear = np.clip(_RGB_OF_CONES @ cones**3, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)  # noqa: PLR2004  IEC 61966-2-1
    return np.round(255 * srgb.T).astype(np.uint8).tobytes()


_CONES_OF_LAB: Final = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
_RGB_OF_CONES: Final = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def png(pixels: NDArray[np.uint8], palette: bytes) -> bytes:
    """Encode a picture whose pixels are places in a palette.

    Parameters
    ----------
    pixels : ndarray of uint8, shape ``(rows, columns)``
        The first row is the top.
    palette : bytes
        Red, green and blue of each colour.
    """
    rows, columns = pixels.shape
    filters = np.zeros((rows, 1), np.uint8)  # each row is as it is: filters are for true colour
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    packed = zlib.compress(np.hstack([filters, pixels]).tobytes(), 9)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _mono(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    return audio if audio.ndim == 1 else audio.mean(axis=0)


def _log_mel(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    n_fft = 1 << math.ceil(math.log2(max(_FRAME_S * sample_rate, 16)))
    hop = min(max(len(audio) // _COLUMNS, n_fft // 8), n_fft // 2)
    n_mels = min(_BANDS, n_fft // 8)  # fewer at low rates, where more would be empty
    mel = LogMel(
        sample_rate,
        n_fft,
        hop,
        n_mels,
        fmin=lowest_hz(sample_rate),
        top_db=None,
        pad_mode="reflect",
    )  # zeros at the ends would sound as clicks
    return mel(np.pad(audio, (0, max(0, n_fft - len(audio)))))


def _pooled(picture: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Return at most `columns` columns, each the loudest of those that it stands for."""
    width = picture.shape[1]
    if width <= columns:
        return picture
    return np.maximum.reduceat(picture, np.arange(columns) * width // columns, axis=1)
