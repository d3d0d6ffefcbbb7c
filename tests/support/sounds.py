"""Signals, and audio files of every format that soundfile can write and headrace reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import soundfile

from headrace import Recording
from headrace.annotations._annotations import Annotations
from headrace.codecs import probe
from tests.support.ffmpeg_files import uninterrupted_decode
from tests.support.reference_decoder import Decoder, sample_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = [
    "INEXACT",
    "KINDS",
    "SIGNALS",
    "WRONG",
    "call_annotations",
    "decode_whole",
    "medley",
    "most_channels",
    "noise",
    "recording_of",
    "silence",
    "speechlike",
    "tones",
    "write",
]

INEXACT = (
    ("AIFF", "DWVW_16"),
    ("AIFF", "DWVW_24"),
    ("PAF", "PCM_24"),
    ("SDS", "PCM_S8"),
    ("SDS", "PCM_16"),
    ("SDS", "PCM_24"),
)
"""Pairs of container and sample format that give other samples when read in other pieces."""

WRONG = (("CAF", "ALAC_32"),)
"""Pairs that libsndfile writes, and decodes wrongly where they are loud."""

_NOT_WRITTEN = {
    ("AIFF", "DWVW_12"),
    ("MP3", "MPEG_LAYER_I"),
    ("MP3", "MPEG_LAYER_II"),
    ("WAV", "MPEG_LAYER_III"),
}
_MONO = {"HTK", "SVX", "WVE", "XI", "GSM610", "G721_32", "G723_24", "G723_40", "NMS_ADPCM"}
_STEREO = {"AVR", "MPC2K", "VOC", "MP3", "IMA_ADPCM", "MS_ADPCM"}


def _kinds() -> Iterator[tuple[str, str]]:
    for kind in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(kind):
            pair = (kind, subtype)
            if kind != "RAW" and pair not in {*_NOT_WRITTEN, *INEXACT, *WRONG}:
                yield pair


KINDS = tuple(_kinds())
"""Pairs of container and sample format that headrace reads, as ``("WAV", "PCM_16")``."""


def call_annotations() -> Annotations:
    """Return annotations of the recordings of the fixture `archive`."""
    events = {
        "file": ["0.wav", "0.wav", "2.wav", "4.wav"],
        "start_s": [0.3, 1.2, 0.0, 0.6],
        "end_s": [0.9, 1.3, 3.0, 1.1],
        "label": ["one", "two", "two", "one"],
    }
    return Annotations.from_table(pa.table(events), files=[f"{i}.wav" for i in range(5)])


def most_channels(kind: str, subtype: str) -> int:
    """Return the largest number of channels of such a file; 8 stands for any number."""
    names = {kind, subtype, subtype[:-3]}
    if names & _MONO:
        return 1
    return 2 if names & _STEREO else 8


def noise(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return white noise, shape ``(frames, channels)``, mostly in [-0.6, 0.6]."""
    return np.random.default_rng(seed).normal(scale=0.2, size=(frames, channels)).clip(-1, 1)


def tones(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return three steady tones in each channel, shape ``(frames, channels)``, in [-0.9, 0.9]."""
    turns = np.random.default_rng(seed).uniform(0.001, 0.45, size=(3, channels))
    steps = np.arange(frames)[:, None, None]
    audio: NDArray[np.float64] = 0.3 * np.sin(2 * np.pi * steps * turns).sum(axis=1)
    return audio


def speechlike(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return buzzing syllables with pauses, shape ``(frames, channels)``."""
    rng = np.random.default_rng(seed)
    audio = np.zeros((frames, channels))
    start = 0
    while start < frames:
        length = int(rng.integers(800, 4000))
        steps = np.arange(min(length, frames - start))
        pitch = rng.uniform(0.003, 0.02)
        buzz = sum(np.sin(2 * np.pi * pitch * k * steps) / k for k in range(1, 12))
        buzz = buzz + rng.normal(scale=0.3, size=len(steps))
        audio[start : start + len(steps)] = (
            0.3 * buzz * np.sin(np.pi * steps / length) * rng.uniform(0.05, 1)
        )[:, None] * rng.uniform(0.5, 1, size=channels)
        start += length + int(rng.integers(100, 4000))
    return audio.clip(-1, 1)


def silence(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return zeros, shape ``(frames, channels)``."""
    del seed
    return np.zeros((frames, channels))


SIGNALS = {"noise": noise, "tones": tones, "speechlike": speechlike, "silence": silence}


def medley(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return all signals one after the other, `frames` in total, shape ``(frames, channels)``."""
    parts = np.array_split(np.arange(frames), len(SIGNALS))
    made = [
        make(len(part), channels, seed) for make, part in zip(SIGNALS.values(), parts, strict=True)
    ]
    return np.concatenate(made)


def write(
    path: Path, audio: NDArray[Any], rate: int, kind: str, subtype: str, **options: Any
) -> Recording:
    """Write `audio` in blocks, and return the recording that the header declares.

    Written in one call, a long Vorbis file overflows the stack of libsndfile's encoder.
    """
    channels = 1 if audio.ndim == 1 else audio.shape[1]
    with soundfile.SoundFile(path, "w", rate, channels, subtype, format=kind, **options) as file:
        for start in range(0, len(audio), 4096):
            file.write(audio[start : start + 4096])
    return recording_of(path)


def recording_of(path: Path) -> Recording:
    """Return the recording of a good file, of which libsndfile decodes Ogg, too."""
    found = probe(str(path), path.name, ogg_by_libsndfile=True)
    assert isinstance(found, Recording), found
    return found


def decode_whole(recording: Recording) -> NDArray[Any]:
    """Decode a file from its start to its end with the reference decoder.

    Shape ``(frames, channels)``, of the recording's sample type; fewer frames than declared where
    decoding stops.
    """
    if recording.format == "OGGS":
        # By FFmpeg, in one go: Opus has anchors only after 4 s. It does not cut off the end of a
        # file whose audio is one page.
        return uninterrupted_decode(Path(recording.path))[: recording.frames]
    decoder = Decoder(recording)
    audio = np.empty(recording.frames * recording.channels, sample_type(recording))
    frames = 0
    while frames < recording.frames:
        start = frames * recording.channels
        got = decoder.read(audio[start : start + 4096 * recording.channels])
        if not got:
            break
        frames += got
    decoder.close()
    return audio.reshape(-1, recording.channels)[:frames]
