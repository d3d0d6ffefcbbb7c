"""What the kernel has to know of a recording."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from headrace._kernel import FfmpegFormat, SampleType, SourceFormat, WavEncoding
from headrace.codecs._ffmpeg import BYTE_SEEK, CONTAINERS, Stream, has_ogg_index
from headrace.codecs._ffmpeg_library import is_pyav_installed, library
from headrace.codecs._formats import sample_type, seeks_exactly
from headrace.codecs._libsndfile import format_code
from headrace.codecs._ogg import OggStream
from headrace.storage import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.codecs._recording import Recording
    from headrace.storage import Store

    Opener = Callable[..., Stream | OggStream]

__all__ = ["place_of", "source_format"]

_WAV_ENCODINGS: Final = {
    "PCM_U8": WavEncoding.UINT8,
    "PCM_16": WavEncoding.INT16,
    "PCM_24": WavEncoding.INT24,
    "PCM_32": WavEncoding.INT32,
    "FLOAT": WavEncoding.FLOAT32,
    "DOUBLE": WavEncoding.FLOAT64,
}


def place_of(recording: Recording, store: Store | None = None) -> Place:
    """Return where the bytes of a recording are: in a file, or in the `store` of its catalog."""
    length = None if recording.offset is None else recording.size
    native = store.native if store is not None and store.has(recording.path) else None
    return Place(recording.path, recording.offset, length, native, recording.pieces)


def source_format(recording: Recording) -> SourceFormat:
    """Return what the kernel has to know to decode recordings of this format."""
    type_ = SampleType[sample_type(recording).name.upper()]
    if recording.format in CONTAINERS:
        return SourceFormat(
            sample_rate=recording.sample_rate,
            channels=recording.channels,
            sample_type=type_,
            exact_seek=False,
            opener=_opener(recording),
            ffmpeg=_ffmpeg_format(recording),
        )
    wav = recording.format in {"WAV", "WAVEX", "RF64"}
    code = format_code(recording.format, recording.subtype)
    return SourceFormat(
        sample_rate=recording.sample_rate,
        channels=recording.channels,
        sample_type=type_,
        exact_seek=seeks_exactly(recording),
        sndfile_format=code,
        wav_encoding=_WAV_ENCODINGS.get(recording.subtype) if wav else None,
    )


def _ffmpeg_format(kind: Recording) -> FfmpegFormat | None:
    """Return what the kernel opens recordings of this kind by, or None if Python has to."""
    functions = library() if is_pyav_installed() else None
    if functions is None:
        return None
    return FfmpegFormat(
        functions=functions,
        demuxer=CONTAINERS[kind.format],
        codec=kind.subtype,
        byte_seek=kind.format in BYTE_SEEK,
    )


def _opener(kind: Recording) -> Opener:
    """Return what opens recordings of a kind that FFmpeg decodes, by their `path_of`."""

    def opened(path: bytes, seek_points: bytes | None = None) -> Stream | OggStream:
        name = path.decode("utf-16-le") if sys.platform == "win32" else os.fsdecode(path)
        if seek_points is not None and has_ogg_index(seek_points):
            return OggStream(name, kind.subtype, kind.sample_rate, kind.channels, seek_points)
        return Stream(name, kind.format, kind.subtype, kind.sample_rate, kind.channels, seek_points)

    return opened
