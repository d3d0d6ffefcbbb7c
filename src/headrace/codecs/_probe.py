"""`probe`: ask the decoders what a file is."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from headrace import _kernel
from headrace.codecs import _ffmpeg, _libsndfile
from headrace.codecs._declared_length import false_claim, read_declared_length
from headrace.codecs._formats import INEXACT, WRONG
from headrace.codecs._mp3 import defects_of, has_mp3_extension, header_of, scan_mp3
from headrace.codecs._recording import MAX_FRAMES, MAX_SAMPLE_RATE, Header, Recording
from headrace.failures import Code, DecodeError, Failure, describe_os_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace._kernel import Mp3Scan

__all__ = ["probe"]

_UNDECLARED: Final = frozenset({"MP3", "OGG", *_ffmpeg.CONTAINERS})
"""Formats whose headers declare no length. That an Ogg file is cut short, its last page says."""

_UNKNOWN_FORMAT: Final = "(Format not recognised)"
"""How libsndfile's reason ends where it knows nothing better to say."""

_UNKNOWN_LENGTH: Final = 1 << 62  # libsndfile says SF_COUNT_MAX, 2^63 - 1, if none is declared


def probe(
    path: str,
    file_id: str,
    cancelled: Callable[[], bool] = lambda: False,
    *,
    ogg_with_ffmpeg: bool = False,
) -> Recording | Failure:
    """Read the header of the file at `path`; decode the file if FFmpeg has to read it.

    Parameters
    ----------
    path : str
        The file.
    file_id : str
        The id that the recording or the failure gets.
    cancelled : callable
        Called repeatedly while decoding; if it returns true, the result is meaningless.
    ogg_with_ffmpeg : bool
        Whether FFmpeg decodes Vorbis and Opus in Ogg; else libsndfile does.

    Returns
    -------
    Recording or Failure
        A bad file gives a failure and never raises.
    """
    agrees, seek_points = False, None
    try:
        status = os.stat(path)
        own = _probe_natively(path, status)
        mp3 = None
        if own is not None:
            header, agrees, seek_points = Header(*own[:5]), own[5], own[6]
            _check_header(header)
        else:
            header, mp3 = _read_header(path, status, cancelled)
        if ogg_with_ffmpeg and header.format == "OGG" and header.subtype in _ffmpeg.OGG_CODECS:
            header = _ffmpeg.measure_as(path, "OGGS", cancelled)
    except OSError as error:
        return Failure(file_id, path, *describe_os_error(error))
    except DecodeError as error:
        return Failure(file_id, path, error.code, error.message)
    recording = Recording(
        id=file_id,
        path=path,
        sample_rate=header.sample_rate,
        channels=header.channels,
        frames=header.frames,
        format=header.format,
        subtype=header.subtype,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        seek_points=seek_points or header.seek_points,
        decoder=_ffmpeg.decoder_name(header.seek_points),
    )
    if mp3 is not None:
        defects = defects_of(recording, mp3)
        return replace(recording, seek_points=mp3.seek_points, defects=defects)
    if recording.format == "MP3":
        return replace(recording, seek_points=b"")
    if agrees or recording.format in _UNDECLARED:
        return recording
    declared = read_declared_length(recording)
    claim = None if declared.is_unknown else false_claim(recording, declared)
    return replace(recording, defects=(claim,)) if claim else recording


def _probe_natively(
    path: str, status: os.stat_result
) -> tuple[str, str, int, int, int, bool, bytes] | None:
    """Return what the kernel says of a WAV or FLAC file that it reads itself, else None."""
    if sys.platform == "win32" or not stat.S_ISREG(status.st_mode):
        return None
    return _kernel.probe_header(os.fsencode(path))


def _read_header(
    path: str, status: os.stat_result, cancelled: Callable[[], bool]
) -> tuple[Header, Mp3Scan | None]:
    """Return the header of a file, or raise `DecodeError` if the file cannot be used."""
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(Code.NOT_AUDIO, "not a regular file")
    if status.st_size == 0:
        raise DecodeError(Code.EMPTY, "the file has 0 bytes")
    # The kernel recognises MP3 by its packets, whatever the name. It is asked first only where the
    # name suggests it, so that other files are not opened once more.
    named = has_mp3_extension(path)
    mp3 = scan_mp3(path) if named else None
    if mp3 is None:
        try:
            header = _libsndfile.read_repaired_header(path) or _libsndfile.read_header(path)
        except DecodeError as error:
            mp3 = None if named or error.code is not Code.NOT_AUDIO else scan_mp3(path)
            if mp3 is None:
                return _measure_with_ffmpeg(path, error, cancelled), None
        else:
            mp3 = scan_mp3(path) if header.format == "MP3" and not named else None
            if mp3 is None:
                _check_header(header)
                return header, None
    return header_of(mp3), mp3


def _check_header(header: Header) -> None:
    """Raise `DecodeError` if a header of libsndfile's cannot be used."""
    if header.frames >= _UNKNOWN_LENGTH:
        raise DecodeError(
            Code.UNSUPPORTED, "the header declares no length: convert the file to WAV or FLAC"
        )
    if header.frames > MAX_FRAMES or header.sample_rate > MAX_SAMPLE_RATE:
        raise DecodeError(
            Code.UNSUPPORTED,
            f"the header declares {header.frames} frames at {header.sample_rate} Hz, more than any "
            "recording has: it is damaged",
        )
    if header.frames <= 0:
        raise DecodeError(Code.EMPTY, "the file holds no audio frames")
    if header.sample_rate <= 0:
        raise DecodeError(Code.UNSUPPORTED, "the header declares no sample rate")
    if (header.format, header.subtype) in INEXACT:
        raise DecodeError(
            Code.UNSUPPORTED,
            f"the decoder of {header.format} {header.subtype} gives different frames when the file "
            "is read in different pieces: convert the file to WAV or FLAC",
        )
    if (header.format, header.subtype) in WRONG:
        raise DecodeError(
            Code.UNSUPPORTED,
            f"libsndfile decodes loud samples of {header.format} {header.subtype} wrongly: convert "
            "the file to WAV or FLAC with another tool",
        )


def _measure_with_ffmpeg(path: str, refusal: DecodeError, cancelled: Callable[[], bool]) -> Header:
    """Ask FFmpeg, after libsndfile's `refusal`.

    Raises
    ------
    DecodeError
        FFmpeg cannot use the file either. The reason is libsndfile's if it knows the container.
    """
    if refusal.code is not Code.NOT_AUDIO:
        raise refusal
    try:
        measured = _ffmpeg.measure(path, cancelled)
    except DecodeError as error:
        known = not refusal.message.endswith(_UNKNOWN_FORMAT)
        if known and error.code in {Code.NOT_AUDIO, Code.EMPTY}:
            raise refusal from None
        raise
    if measured is None:
        raise refusal
    return measured
