"""What the kernel has to know of libsndfile and of a recording.

The kernel calls the functions of the libsndfile that the soundfile package has loaded, by their
addresses and without the GIL. So there is no second copy of the library.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from headrace._kernel import (
    FfmpegFormat,
    LibsndfileFunctions,
    SampleType,
    SourceFormat,
    WavEncoding,
)
from headrace.codecs._ffmpeg import BYTE_SEEK, Stream, decodes_with_ffmpeg, demuxer_of
from headrace.codecs._ffmpeg_library import is_pyav_installed, library
from headrace.codecs._formats import sample_type, seeks_exactly
from headrace.codecs._libsndfile import format_code, function_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.codecs._recording import Recording

    Opener = Callable[..., Stream]

__all__ = ["libsndfile_functions", "path_of", "source_format"]

_WAV_ENCODINGS: Final = {
    "PCM_U8": WavEncoding.UINT8,
    "PCM_16": WavEncoding.INT16,
    "PCM_24": WavEncoding.INT24,
    "PCM_32": WavEncoding.INT32,
    "FLOAT": WavEncoding.FLOAT32,
    "DOUBLE": WavEncoding.FLOAT64,
}


def libsndfile_functions() -> LibsndfileFunctions:
    """Return the addresses of libsndfile's functions."""
    opening = "sf_wchar_open" if sys.platform == "win32" else "sf_open"
    names = ["close", "seek", "error", "strerror", "open_virtual"]
    names += [f"readf_{type_}" for type_ in ("short", "int", "float", "double")]
    symbols = {name: f"sf_{name}" for name in names} | {"open": opening}
    return LibsndfileFunctions(
        **{name: function_address(symbol) for name, symbol in symbols.items()}
    )


def path_of(path: str) -> bytes:
    """Return `path` as the system's open function takes it."""
    return path.encode("utf-16-le") if sys.platform == "win32" else os.fsencode(path)


def source_format(recording: Recording) -> SourceFormat:
    """Return what the kernel has to know to decode recordings of this format."""
    type_ = SampleType[sample_type(recording).name.upper()]
    if decodes_with_ffmpeg(recording.format, recording.subtype):
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
        demuxer=demuxer_of(kind.format),
        codec=kind.subtype,
        byte_seek=kind.format in BYTE_SEEK,
    )


def _opener(kind: Recording) -> Opener:
    """Return what opens recordings of a kind that FFmpeg decodes, by their `path_of`."""
    return lambda path, seek_points=None: Stream(
        path.decode("utf-16-le") if sys.platform == "win32" else os.fsdecode(path),
        kind.format,
        kind.subtype,
        kind.sample_rate,
        kind.channels,
        seek_points,
    )
