"""Encode a window's audio as a sound file that browsers play."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import soundfile

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AudioFormat", "encode_sound"]

AudioFormat = Literal["flac", "mp3"]

_MAX_CHANNELS: Final = 2  # what headphones play

_FORMATS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "flac": ("audio/flac", {"format": "FLAC", "subtype": "PCM_16"}),
    "mp3": (
        "audio/mpeg",
        # Variable bitrate, a little above the middle: 40 kbit/s for a noisy forest at 16 kHz.
        {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.4},
    ),
}
"""The media type of each format, and the options of `soundfile.write`."""


def encode_sound(
    audio: NDArray[np.float32], sample_rate: int, audio_format: AudioFormat = "flac"
) -> tuple[str, bytes]:
    """Encode audio as a sound file.

    Parameters
    ----------
    audio : ndarray of float32, shape ``(samples,)`` or ``(channels, samples)``
        Values outside [-1, 1] are clipped. More than two channels are mixed to one.
    sample_rate : int
        Hz.
    audio_format : {"flac", "mp3"}
        FLAC has 16 bits and is otherwise lossless. MP3 takes about 40 % of its size.

    Returns
    -------
    media_type : str
    content : bytes

    Raises
    ------
    ValueError
        The format does not support the sample rate.
    """
    media_type, options = _FORMATS[audio_format]
    frames = audio.T if audio.ndim == 1 or len(audio) <= _MAX_CHANNELS else audio.mean(axis=0)
    file = io.BytesIO()
    try:
        soundfile.write(file, np.clip(frames, -1, 1), sample_rate, **options)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{audio_format.upper()} does not support a sample rate of {sample_rate:,} Hz, that "
            "of the windows divided by slowdown: choose another audio format, sample rate or "
            "slowdown."
        ) from error
    return media_type, file.getvalue()
