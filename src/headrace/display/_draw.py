"""Draw audio: a spectrogram as a PNG, a waveform as an SVG path. Needs NumPy only."""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import format_hertz
from headrace.dsp import LogMel, hz_to_mel, levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "AUDIBLE_RATE",
    "COLOURS",
    "WAVE_HEIGHT",
    "WAVE_WIDTH",
    "encode_png",
    "frequency_ticks",
    "spectrogram_height",
    "spectrogram_min_hz",
    "spectrogram_png",
    "time_ticks",
    "waveform_path",
]

WAVE_WIDTH: Final = 300
WAVE_HEIGHT: Final = 100
"""The size of a waveform's path, in SVG user units."""

_MEL_BANDS: Final = 96
_MAX_COLUMNS: Final = 320  # the width of a card in pixels
_MIN_FFT_S: Final = 0.04  # resolves 25 Hz, which separates low calls
_MIN_ULTRASOUND_FFT_S: Final = 0.004  # resolves 250 Hz and a bat's call, which lasts milliseconds
_MIN_RANGE_DB: Final = 30.0  # so that steady noise does not fill the whole scale
_MAX_RANGE_DB: Final = 80.0
_MIN_ULTRASOUND_HZ: Final = 5_000.0

AUDIBLE_RATE: Final = 96_000
"""Hz. Above this sample rate, recordings are about ultrasound: bats and insects."""

_TICK_HZ: Final = tuple(digit * 10**power for power in range(1, 6) for digit in (1, 2, 5))
_MIN_TICK_GAP: Final = 0.16  # of the height, so that the texts of two ticks stay apart
_TIME_TICKS: Final = 5  # at most, besides the one at zero

COLOURS: Final = bytes.fromhex(
    "08051c 090722 0a0a27 0b0d2c 0c1032 0c1337 0b163d 0a1a42"
    "081e47 05214d 002552 002a57 002e5b 003260 003765 003b69"
    "00406d 004470 004974 004e77 00537a 00587d 005d7f 006281"
    "006783 006b84 007085 007586 007a87 007f88 008388 008888"
    "008c88 009188 009587 009987 009d86 00a186 00a585 00a985"
    "24ad84 37b084 46b484 53b784 5fbb84 6bbe85 75c186 80c487"
    "8ac789 94ca8b 9dcd8d a6d090 afd393 b7d697 c0d99b c7dca0"
    "cfdfa5 d6e2aa dee6b0 e4e9b6 ebecbc f1f0c3 f7f3c9 fdf7d0"
)
"""The 64 colours of a spectrogram from dark to light, as bytes of red, green and blue.

Lightness rises in equal steps; the hue goes from indigo through teal to straw. With more colours
the picture looks the same and the PNG is a third larger.
"""


def spectrogram_png(audio: NDArray[np.float32], sample_rate: int) -> bytes:
    """Draw the log-mel spectrogram of the mean of the channels.

    Low frequencies are at the bottom. Each picture has a scale of its own, from the 5th to the
    99.9th percentile of its levels, limited to a range of 30 to 80 dB. Silence is dark.

    Parameters
    ----------
    audio : ndarray of float32, shape ``(samples,)`` or ``(channels, samples)``
    sample_rate : int
        Hz.

    Returns
    -------
    bytes
        A PNG.
    """
    decibel = _pool_columns(_log_mel(_mix(audio), sample_rate), _MAX_COLUMNS)
    quiet, high = np.percentile(decibel, [5, 99.9])
    low = np.clip(quiet, high - _MAX_RANGE_DB, high - _MIN_RANGE_DB)
    shade = np.clip((decibel - low) / (high - low), 0, 1)
    if levels(audio).silent:  # the scale would stretch rounding noise to full brightness
        shade[:] = 0
    brightest = len(COLOURS) // 3 - 1
    return encode_png(np.round(shade[::-1] * brightest).astype(np.uint8), COLOURS)


def spectrogram_min_hz(sample_rate: int) -> float:
    """Return the lowest frequency of a spectrogram, Hz.

    Below it are DC offset and wind, which are often louder than everything else.
    """
    if sample_rate > AUDIBLE_RATE:
        return _MIN_ULTRASOUND_HZ
    return min(50.0, sample_rate / 40)


def spectrogram_height(hz: float, sample_rate: int) -> float:
    """Return how far up in a spectrogram a frequency is: 0 is the bottom, 1 the top."""
    bands = _n_mels(_n_fft(sample_rate))
    low = hz_to_mel(spectrogram_min_hz(sample_rate))
    high = hz_to_mel(sample_rate / 2)
    # A band is as high as one of `bands` rows, and its frequency is in the middle of the row.
    band = (hz_to_mel(max(hz, 0.0)) - low) / (high - low) * (bands + 1) - 1
    return min(max((band + 0.5) / bands, 0.0), 1.0)


def frequency_ticks(sample_rate: int) -> Iterator[tuple[float, str]]:
    """Yield the height and the text of each tick of a spectrogram's axis, from the bottom up."""
    last = 0.0
    for hz in _TICK_HZ:
        height = spectrogram_height(hz, sample_rate)
        if last + _MIN_TICK_GAP <= height <= 1 - _MIN_TICK_GAP / 2 and hz < sample_rate / 2:
            yield height, format_hertz(hz)
            last = height


def time_ticks(length_s: float) -> Iterator[tuple[float, str]]:
    """Yield the place, from 0 to 1, and the text of each tick of a time axis, without its end."""
    rough = length_s / _TIME_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough * (1 - 1e-9))
    for number in range(math.ceil(length_s / step - 1e-9)):
        yield number * step / length_s, f"{number * step:.6g} s"


def waveform_path(audio: NDArray[np.float32]) -> str:
    """Return the outline of the channels' mean as an SVG path, `WAVE_WIDTH` by `WAVE_HEIGHT`.

    Full scale, from -1 to 1, fills the height.
    """
    audio = _mix(audio)
    columns = min(WAVE_WIDTH, len(audio))
    edges = np.arange(columns) * len(audio) // columns
    middle = WAVE_HEIGHT / 2
    top = middle - middle * np.clip(np.maximum.reduceat(audio, edges), -1, 1)
    bottom = middle - middle * np.clip(np.minimum.reduceat(audio, edges), -1, 1)
    x = (np.arange(columns) + 0.5) * (WAVE_WIDTH / columns)
    forward = [f"{a:.4g} {b:.3g}" for a, b in zip(x, top, strict=True)]
    backward = [f"{a:.4g} {b:.3g}" for a, b in zip(x[::-1], bottom[::-1], strict=True)]
    return f"M{'L'.join(forward + backward)}Z"


def encode_png(pixels: NDArray[np.uint8], palette: bytes) -> bytes:
    """Encode a picture with a palette as a PNG.

    Parameters
    ----------
    pixels : ndarray of uint8, shape ``(rows, columns)``
        Indices into the palette. The first row is the top.
    palette : bytes
        Red, green and blue of each colour.

    Returns
    -------
    bytes
    """
    rows, columns = pixels.shape
    filters = np.zeros((rows, 1), np.uint8)  # filter type 0, none: best for palettes
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    packed = zlib.compress(np.hstack([filters, pixels]).tobytes(), 9)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _mix(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    return audio if audio.ndim == 1 else audio.mean(axis=0)


def _log_mel(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    n_fft = _n_fft(sample_rate)
    hop = min(max(len(audio) // _MAX_COLUMNS, n_fft // 8), n_fft // 2)
    mel = LogMel(
        sample_rate,
        n_fft,
        hop,
        _n_mels(n_fft),
        fmin=spectrogram_min_hz(sample_rate),
        top_db=None,
        pad_mode="reflect",  # zeros would look like a click at each end
    )
    return mel(np.pad(audio, (0, max(0, n_fft - len(audio)))))


def _n_fft(sample_rate: int) -> int:
    least_s = _MIN_ULTRASOUND_FFT_S if sample_rate > AUDIBLE_RATE else _MIN_FFT_S
    return 1 << math.ceil(math.log2(max(least_s * sample_rate, 16)))


def _n_mels(n_fft: int) -> int:
    return min(_MEL_BANDS, n_fft // 8)  # fewer at low rates, where some would be empty


def _pool_columns(picture: NDArray[np.float32], columns: int) -> NDArray[np.float32]:
    """Return at most `columns` columns, each the maximum of those that it replaces."""
    width = picture.shape[1]
    if width <= columns:
        return picture
    return np.maximum.reduceat(picture, np.arange(columns) * width // columns, axis=1)
