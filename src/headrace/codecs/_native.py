"""What the native reader has to know of libsndfile and of a recording.

libsndfile's functions are had as addresses from the library that the soundfile package has loaded,
and called from native code without the GIL: no headers, no second copy.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from headrace.codecs._ffmpeg import CONTAINERS, Stream
from headrace.codecs._formats import sample_type, seeks_exactly
from headrace.codecs._libsndfile import format_code, function_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.codecs._recording import Recording

    Opener = Callable[[bytes], Stream]

__all__ = ["facts_of", "libsndfile_functions", "path_of"]

_CODES: Final = {"int16": 0, "int32": 1, "float32": 2, "float64": 3}  # source.h's SampleType
_PLAIN: Final = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")  # riff.h's Encoding


def libsndfile_functions() -> dict[str, int]:
    """Return the addresses of libsndfile's functions, by the names of source.h's Sndfile."""
    opening = "sf_wchar_open" if sys.platform == "win32" else "sf_open"
    names = ["close", "seek", "error", "strerror", "open_virtual"]
    names += [f"readf_{type_}" for type_ in ("short", "int", "float", "double")]
    symbols = {name: f"sf_{name}" for name in names} | {"open": opening}
    return {name: function_address(symbol) for name, symbol in symbols.items()}


def path_of(path: str) -> bytes:
    """Return `path` as the system's open function takes it."""
    return path.encode("utf-16-le") if sys.platform == "win32" else os.fsencode(path)


def facts_of(recording: Recording) -> tuple[int, int, int, int, bool, int, Opener | None]:
    """Return what the native reader wants to know of a kind of recording (source.h's Facts).

    Sample rate, channels, libsndfile's format, sample type, whether seeking is exact, and the
    encoding if it may be a WAV file of plain samples, else -1; what opens it, if that is Python.
    """
    if recording.format in CONTAINERS:
        code = _CODES[sample_type(recording).name]
        return recording.sample_rate, recording.channels, 0, code, False, -1, _opener(recording)
    plain = recording.format in {"WAV", "WAVEX", "RF64"}
    return (
        recording.sample_rate,
        recording.channels,
        format_code(recording.format, recording.subtype),
        _CODES[sample_type(recording).name],
        seeks_exactly(recording),
        _PLAIN.index(recording.subtype) if plain and recording.subtype in _PLAIN else -1,
        None,
    )


def _opener(kind: Recording) -> Opener:
    """Return what opens recordings of a kind that FFmpeg decodes, by their `path_of`."""
    return lambda path: Stream(
        path.decode("utf-16-le") if sys.platform == "win32" else os.fsdecode(path),
        kind.format,
        kind.subtype,
        kind.sample_rate,
        kind.channels,
    )
