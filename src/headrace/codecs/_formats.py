"""What is known about formats: exact seeking, sample types, decoder memory, file extensions.

A span of a recording must equal the same span of one decode from the start. The tables here say for
which formats libsndfile's seeking gives that. tests/codecs/test_probe.py compares random spans for
every pair of container and sample format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace.codecs import _ffmpeg, _mp3

if TYPE_CHECKING:
    from headrace.codecs._recording import Recording

__all__ = [
    "EXTENSIONS",
    "INEXACT",
    "SAMPLE_BYTES",
    "WRONG",
    "decoder_bytes",
    "decodes_from_start",
    "sample_type",
    "seek_point_bytes",
    "seeks_exactly",
]

EXTENSIONS: Final = (
    frozenset(
        {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64"}
        | {".snd", ".w64", ".wav", ".wave", ".wavex"}
    )
    | _mp3.MP3_EXTENSIONS
    | _ffmpeg.EXTENSIONS
)
"""Extensions that a folder is searched for, in lower case."""

SAMPLE_BYTES: Final = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "ULAW": 1,
    "ALAW": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
}
"""By sample formats whose samples all have the same size."""

_INT16: Final = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "ALAC_16"})
_INT32: Final = frozenset({"PCM_24", "PCM_32", "ALAC_20", "ALAC_24", "ALAC_32"})

# Where sf_seek goes to the frame that it was asked for. All other files are decoded from the start,
# or from the decoder's current position.
_SEEKABLE_FORMATS: Final = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"})

INEXACT: Final = frozenset(
    {("AIFF", "DWVW_12"), ("AIFF", "DWVW_16"), ("AIFF", "DWVW_24"), ("PAF", "PCM_24")}
    | {("SDS", "PCM_S8"), ("SDS", "PCM_16"), ("SDS", "PCM_24")}
)
"""Formats for which sf_readf itself is wrong: its frames depend on the sizes of the reads."""

WRONG: Final = frozenset({("CAF", "ALAC_32")})
"""Formats that libsndfile decodes wrongly. It shifts loud packets of 32-bit ALAC, which are stored
without compression, by 8 bits."""


def seeks_exactly(recording: Recording) -> bool:
    """Return whether libsndfile's seeking in such a file is exact."""
    return recording.format in _SEEKABLE_FORMATS and recording.subtype in SAMPLE_BYTES


def decodes_from_start(recording: Recording) -> bool:
    """Return whether reaching a frame of the file takes decoding everything before it."""
    if recording.seek_points:
        return _mp3.decodes_from_start(recording.seek_points)
    return not seeks_exactly(recording)


def sample_type(recording: Recording) -> np.dtype[Any]:
    """Return the NumPy type in which the file is decoded: its own, or float32 for lossy codecs.

    As int16, a loud lossy file could wrap around. As float32, 16-bit PCM would take twice the
    memory.
    """
    if recording.format in _ffmpeg.CONTAINERS:
        return np.dtype(np.float32)
    if recording.subtype in _INT16:
        return np.dtype(np.int16)
    if recording.subtype in _INT32:
        return np.dtype(np.int32)
    return np.dtype(np.float64 if recording.subtype == "DOUBLE" else np.float32)


def decoder_bytes(recording: Recording) -> int:
    """Return an upper bound on the memory of one open decoder, in bytes.

    libsndfile 1.2.2 allocates (measured by tests/codecs/test_probe.py):

    - WAV and AIFF: 11 KiB; 27 KiB as ADPCM; more if the header holds long texts.
    - FLAC: 300 KiB per channel in blocks of 4,096 frames, 410 KiB in blocks of 16,384, the most
      that the format recommends. The kernel's own decoder may be open as well: at most 120 KiB per
      channel and 80 KiB more.
    - Opus: 80 KiB, and 33 KiB for each further channel.
    - MP3: 73 KiB; 36 KiB of the file; of the index, packed and unpacked, 26 bytes for each 64 MP3
      frames, and for a damaged file 32 bytes for each 32 more.
    - ALAC: 1.2 MiB, and 5 bytes for each 4,096 frames.
    - Vorbis: chosen by the encoder; 190 to 310 KiB here.
    """
    if recording.format in _ffmpeg.CONTAINERS:
        return _ffmpeg.decoder_bytes(
            recording.format, recording.channels, recording.frames, recording.sample_rate
        )
    if recording.format != "FLAC" and recording.subtype in SAMPLE_BYTES:
        return 64 << 10
    table = recording.frames // 512 if recording.subtype.startswith("ALAC") else 0
    if recording.format == "MP3":
        table = recording.frames // 256  # an MP3 frame has at least 384 samples
    return (1 << 20) + (512 << 10) * recording.channels + table


def seek_point_bytes(recording: Recording) -> int:
    """Return about how many bytes the seek points of such a recording take, packed."""
    if recording.format in _ffmpeg.CONTAINERS:  # an anchor each second or two
        return 16 * (recording.frames // recording.sample_rate)
    if recording.format == "MP3":  # 3 bytes for every 64th packet of 576 samples or more
        return recording.frames // 12_288
    return 0
