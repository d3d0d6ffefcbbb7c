"""What a file is, and how a span of it is exactly what a decode from the start gives.

That is known here and nowhere else; `native` passes it on to the kernel, which loads. Files are
opened by path, never through a Python file object: libsndfile would call back into Python for every
read, and letting go of the GIL would be worth nothing.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import soundfile

from headrace.codecs import _ffmpeg
from headrace.codecs._recording import Recording
from headrace.failures import Code, DecodeError, Failure, describe_os_error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EXTENSIONS",
    "DecodeError",
    "carries_on",
    "decoder_bytes",
    "probe",
    "sample_type",
    "seeks",
]

_ffi: Any = soundfile._ffi  # noqa: SLF001  soundfile has no public name for the raw calls
_snd: Any = soundfile._snd  # noqa: SLF001
_FORMATS: Final = {code: name for name, code in soundfile._formats.items()}  # noqa: SLF001
_SUBTYPES: Final = {code: name for name, code in soundfile._subtypes.items()}  # noqa: SLF001
_FORMAT_MASK: Final = 0x0FFF0000  # SF_FORMAT_TYPEMASK of sndfile.h
_SUBTYPE_MASK: Final = 0x0000FFFF  # SF_FORMAT_SUBMASK of sndfile.h
_UNKNOWN_LENGTH: Final = 1 << 62  # a stream of no declared length reports SF_COUNT_MAX, 2^63 - 1

EXTENSIONS: Final = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64"}
    | {".snd", ".w64", ".wav", ".wave", ".wavex"}
    | _ffmpeg.EXTENSIONS
)
"""What a folder is searched for, in lower case."""

MOST_FRAMES: Final = 1 << 44
"""Frames of a recording, at most: years at any rate. `geometry` sees to what that is times one."""

MOST_HZ: Final = _ffmpeg.MOST_HZ
"""Sample rate of a recording, at most."""

_INT16: Final = frozenset({"PCM_S8", "PCM_U8", "PCM_16", "ALAC_16"})
_INT32: Final = frozenset({"PCM_24", "PCM_32", "ALAC_20", "ALAC_24", "ALAC_32"})

# Where sf_seek lands on the frame it was asked for, each pair earned by tests/codecs/test_probe.py, which
# compares random spans on reused handles with the decode from the start. Everything else is decoded
# from the start, or carries on from where its decoder stands.
_SEEKABLE_FORMATS: Final = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"})
_SEEKABLE_SUBTYPES: Final = frozenset(
    {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
)

# Where sf_readf itself is wrong: what it gives, or how much, depends on the sizes of the reads.
_INEXACT: Final = frozenset(
    {("AIFF", "DWVW_12"), ("AIFF", "DWVW_16"), ("AIFF", "DWVW_24"), ("PAF", "PCM_24")}
    | {("SDS", "PCM_S8"), ("SDS", "PCM_16"), ("SDS", "PCM_24")}
)


def names_of_kinds() -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of all of libsndfile's containers, and of all its sample formats."""
    return frozenset(_FORMATS.values()), frozenset(_SUBTYPES.values())


def seeks(recording: Recording) -> bool:
    """Return whether libsndfile's seeking in such a file is exact."""
    return recording.format in _SEEKABLE_FORMATS and recording.subtype in _SEEKABLE_SUBTYPES


def carries_on(recording: Recording) -> bool:
    """Return whether a far place in the file is reached by decoding all that stands before it."""
    return not (recording.seek_points or seeks(recording))


def sample_type(recording: Recording) -> np.dtype[Any]:
    """Return the NumPy type in which the file is decoded: its own, or float32 for lossy codecs.

    As int16, a loud lossy file can wrap around; as float32, 16-bit PCM costs twice as much.
    """
    if recording.format in _ffmpeg.CONTAINERS:
        return np.dtype(np.float32)
    if recording.subtype in _INT16:
        return np.dtype(np.int16)
    if recording.subtype in _INT32:
        return np.dtype(np.int32)
    return np.dtype(np.float64 if recording.subtype == "DOUBLE" else np.float32)


def decoder_bytes(recording: Recording) -> int:
    """Return an upper bound on the memory of one open decoder.

    What libsndfile 1.2.2 takes from malloc for one (tests/codecs/test_probe.py): WAV and AIFF 11 KiB, 27
    as ADPCM, more with long texts in the header; FLAC 300 KiB a channel in blocks of 4,096 frames
    and 410 in the 16,384 that the format advises at most, beside which the kernel's own decoder may
    stand, with 120 a channel at most and 80 more; Opus 80 KiB and 33 for each
    further channel; MP3 73 KiB, and with seek points 8 bytes for each 64 of its frames and up to
    184 KiB of the file; ALAC 1.2 MiB and 5 bytes for each 4,096 frames. A Vorbis
    decoder's size is its encoder's choice, 190 to 310 KiB here.
    """
    if recording.format in _ffmpeg.CONTAINERS:
        return _ffmpeg.decoder_bytes(recording.format, recording.channels, recording.frames)
    if recording.format != "FLAC" and recording.subtype in _SEEKABLE_SUBTYPES:
        return 64 << 10
    table = recording.frames // 512 if recording.subtype.startswith("ALAC") else 0
    if recording.format == "MP3":
        table = recording.frames // 2048  # packed and unpacked, of 576 samples the frame
    return (1 << 20) + (512 << 10) * recording.channels + table


def probe(
    path: str, file_id: str, cancelled: Callable[[], bool] = lambda: False
) -> Recording | Failure:
    """Read the header of the file at `path`; decode it, if it is for FFmpeg.

    Parameters
    ----------
    path : str
        The file.
    file_id : str
        The id that the recording, or the failure, shall have.
    cancelled : callable
        Asked now and then while decoding; if true, what is returned is nobody's.

    Returns
    -------
    Recording or Failure
        Never raises for a bad file.
    """
    try:
        status = os.stat(path)
        kind, subtype, sample_rate, channels, frames = _header(path, status, cancelled)
    except OSError as error:
        return Failure(file_id, path, *describe_os_error(error))
    except DecodeError as fault:
        return Failure(file_id, path, fault.code, fault.message)
    return Recording(
        id=file_id,
        path=path,
        sample_rate=sample_rate,
        channels=channels,
        frames=frames,
        format=kind,
        subtype=subtype,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )


def _header(
    path: str, status: os.stat_result, cancelled: Callable[[], bool]
) -> tuple[str, str, int, int, int]:
    """Return format, subtype, sample rate, channels and frames of a file that can be used."""
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(Code.NOT_AUDIO, "not a regular file")
    if status.st_size == 0:
        raise DecodeError(Code.EMPTY, "the file has 0 bytes")
    try:
        handle, info = _open(path)
    except DecodeError as fault:
        measured = _ffmpeg.measure(path, cancelled) if fault.code is Code.NOT_AUDIO else None
        if measured is None:
            raise
        return measured
    _ffi.release(handle)
    if info.frames >= _UNKNOWN_LENGTH:
        raise DecodeError(
            Code.UNSUPPORTED, "the header declares no length: convert the file to WAV or FLAC"
        )
    if info.frames > MOST_FRAMES or info.samplerate > MOST_HZ:
        raise DecodeError(
            Code.UNSUPPORTED,
            f"the header declares {info.frames} frames at {info.samplerate} Hz, more than any "
            "recording has: it is damaged",
        )
    if info.frames <= 0:
        raise DecodeError(Code.EMPTY, "the file holds no audio frames")
    if info.samplerate <= 0:
        raise DecodeError(Code.UNSUPPORTED, "the header declares no sample rate")
    kind = (_format(info), _subtype(info))
    if kind in _INEXACT:
        raise DecodeError(
            Code.UNSUPPORTED,
            f"the decoder of {kind[0]} {kind[1]} gives other frames when read in other pieces: "
            "convert the file to WAV or FLAC",
        )
    return (*kind, info.samplerate, info.channels, info.frames)


def _open(path: str) -> tuple[Any, Any]:
    """Return libsndfile's handle, closed when released or collected, and the SF_INFO."""
    info = _ffi.new("SF_INFO *")
    if sys.platform == "win32":
        handle = _snd.sf_wchar_open(path, _snd.SFM_READ, info)
    else:
        handle = _snd.sf_open(os.fsencode(path), _snd.SFM_READ, info)
    if handle == _ffi.NULL:
        try:  # libsndfile calls everything "System error": ask the system itself
            with open(path, "rb"):
                pass
        except OSError as error:
            raise DecodeError(*describe_os_error(error)) from error
        why = _text(_snd.sf_strerror(_ffi.NULL)).rstrip(".")
        raise DecodeError(Code.NOT_AUDIO, f"no decoder recognises it ({why})")
    return _ffi.gc(handle, _snd.sf_close), info


def _format(info: Any) -> str:  # noqa: ANN401  a C struct
    return str(_FORMATS.get(info.format & _FORMAT_MASK, "?"))


def _subtype(info: Any) -> str:  # noqa: ANN401  a C struct
    return str(_SUBTYPES.get(info.format & _SUBTYPE_MASK, "?"))


def _text(message: Any) -> str:  # noqa: ANN401  a C string
    return str(_ffi.string(message), "utf-8", "replace")
