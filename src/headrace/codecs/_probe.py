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
from headrace.storage import as_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace._kernel import Mp3Scan
    from headrace.storage import Place

__all__ = ["probe"]

_UNDECLARED: Final = frozenset({"MP3", "OGG", *_ffmpeg.CONTAINERS})
"""Formats whose headers declare no length. That an Ogg file is cut short, its last page says."""

_UNKNOWN_FORMAT: Final = "(Format not recognised)"
"""How libsndfile's reason ends where it knows nothing better to say."""

_UNKNOWN_LENGTH: Final = 1 << 62  # libsndfile says SF_COUNT_MAX, 2^63 - 1, if none is declared


def probe(
    path: str | Place,
    file_id: str,
    cancelled: Callable[[], bool] = lambda: False,
    *,
    ogg_with_ffmpeg: bool = False,
    version: str | None = None,
) -> Recording | Failure:
    """Read the header of a recording; decode the recording if FFmpeg has to read it.

    Parameters
    ----------
    path : str or Place
        The file, or where the recording is.
    file_id : str
        The id that the recording or the failure gets.
    cancelled : callable
        Called repeatedly while decoding; if it returns true, the result is meaningless.
    ogg_with_ffmpeg : bool
        Whether FFmpeg decodes Vorbis and Opus in Ogg; else libsndfile does.
    version : str, optional
        What identifies the bytes of an object in a store.

    Returns
    -------
    Recording or Failure
        A bad file gives a failure and never raises.
    """
    place, store = as_place(path).watched()
    try:
        recording = _probe(place, file_id, cancelled, ogg_with_ffmpeg=ogg_with_ffmpeg)
        code, message = store.error if store and store.error else ("", "")
    except OSError as error:
        code, message = describe_os_error(error)
    except DecodeError as error:
        code, message = (store and store.error) or (error.code, error.message)
    if code:
        return Failure(file_id, place.path, Code(code), message)
    return replace(recording, version=version) if version else recording


def _probe(
    place: Place, file_id: str, cancelled: Callable[[], bool], *, ogg_with_ffmpeg: bool
) -> Recording:
    agrees, seek_points = False, None
    mode, size, mtime_ns = _status(place)
    natively = sys.platform != "win32" and stat.S_ISREG(mode)
    own = _kernel.probe_header(place.native) if natively else None
    mp3 = None
    if own is not None:
        header, agrees, seek_points = Header(*own[:5]), own[5], own[6]
        _check_header(header)
    else:
        if not stat.S_ISREG(mode):
            raise DecodeError(Code.NOT_AUDIO, "not a regular file")
        if size == 0:
            raise DecodeError(Code.EMPTY, "the file has 0 bytes")
        named = has_mp3_extension(place.path if place.is_whole_file else file_id)
        header, mp3 = _read_header(place, cancelled, named=named)
    if ogg_with_ffmpeg and header.format == "OGG" and header.subtype in _ffmpeg.OGG_CODECS:
        header = _ffmpeg.measure_as(place, "OGGS", cancelled)
    recording = Recording(
        id=file_id,
        path=place.path,
        sample_rate=header.sample_rate,
        channels=header.channels,
        frames=header.frames,
        format=header.format,
        subtype=header.subtype,
        size=size,
        mtime_ns=mtime_ns,
        seek_points=seek_points or header.seek_points,
        decoder=_ffmpeg.decoder_name(header.seek_points),
        offset=place.offset,
    )
    if mp3 is not None:
        defects = defects_of(recording, mp3)
        return replace(recording, seek_points=mp3.seek_points, defects=defects)
    if recording.format == "MP3":
        return replace(recording, seek_points=b"")
    if agrees or recording.format in _UNDECLARED:
        return recording
    declared = read_declared_length(recording, place)
    claim = None if declared.is_unknown else false_claim(recording, declared)
    return replace(recording, defects=(claim,)) if claim else recording


def _status(place: Place) -> tuple[int, int, int]:
    """Return mode, size (bytes) and time of change (ns; 0 of what is no file of the system)."""
    if place.store is not None:
        return stat.S_IFREG, place.size(), 0
    status = os.stat(place.path)
    size = status.st_size if place.is_whole_file else place.size()
    return status.st_mode, size, status.st_mtime_ns


def _read_header(
    place: Place, cancelled: Callable[[], bool], *, named: bool
) -> tuple[Header, Mp3Scan | None]:
    """Return the header of a file, or raise `DecodeError` if the file cannot be used.

    The kernel recognises MP3 by its packets, whatever the name. It is asked first only where the
    file is `named` like one, so that other files are not opened once more.
    """
    mp3 = scan_mp3(place) if named else None
    if mp3 is None:
        try:
            header = _libsndfile.read_repaired_header(place) or _libsndfile.read_header(place)
        except DecodeError as error:
            mp3 = None if named or error.code is not Code.NOT_AUDIO else scan_mp3(place)
            if mp3 is None:
                return _measure_with_ffmpeg(place, error, cancelled), None
        else:
            mp3 = scan_mp3(place) if header.format == "MP3" and not named else None
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


def _measure_with_ffmpeg(
    place: Place, refusal: DecodeError, cancelled: Callable[[], bool]
) -> Header:
    """Ask FFmpeg, after libsndfile's `refusal`.

    Raises
    ------
    DecodeError
        FFmpeg cannot use the file either. The reason is libsndfile's if it knows the container.
    """
    if refusal.code is not Code.NOT_AUDIO:
        raise refusal
    try:
        measured = _ffmpeg.measure(place, cancelled)
    except DecodeError as error:
        known = not refusal.message.endswith(_UNKNOWN_FORMAT)
        if known and error.code in {Code.NOT_AUDIO, Code.EMPTY}:
            raise refusal from None
        raise
    if measured is None:
        raise refusal
    return measured
