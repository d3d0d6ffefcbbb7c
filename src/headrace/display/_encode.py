"""A window's audio → a sound file that browsers play."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import soundfile

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AudioFormat", "data_uri", "encoded"]

AudioFormat = Literal["flac", "mp3"]

_MOST_CHANNELS: Final = 2  # that a pair of ears can be given; more are mixed

_KINDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "flac": ("audio/flac", {"format": "FLAC", "subtype": "PCM_16"}),
    "mp3": (
        "audio/mpeg",
        # Variable bitrate, a little above the middle: 40 kbit/s for a noisy forest at 16 kHz.
        {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.4},
    ),
}


def encoded(
    audio: NDArray[np.float32], sample_rate: int, kind: AudioFormat = "flac"
) -> tuple[str, bytes]:
    """Return the media type and the bytes of a sound file.

    Parameters
    ----------
    audio : ndarray of float32, shape ``(samples,)`` or ``(channels, samples)``
        What lies outside [-1, 1] is clipped.
    sample_rate : int
        Hz.
    kind : {"flac", "mp3"}
        16-bit FLAC is what the model gets, to a step of a 16-bit converter; MP3 takes 40 % of it.

    Raises
    ------
    ValueError
        The format does not know this sample rate.
    """
    media_type, options = _KINDS[kind]
    frames = audio.T if audio.ndim == 1 or len(audio) <= _MOST_CHANNELS else audio.mean(axis=0)
    file = io.BytesIO()
    try:
        soundfile.write(file, np.clip(frames, -1, 1), sample_rate, **options)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{kind.upper()} has no sample rate of {sample_rate:,} Hz: choose another audio format "
            "or sample rate."
        ) from error
    return media_type, file.getvalue()


def data_uri(media_type: str, content: bytes) -> str:
    """Return an address that holds its content."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
