"""`probe`: ask the decoders what a file is."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from headrace import _kernel
from headrace.codecs import _ffmpeg, _libsndfile, _ogg
from headrace.codecs._declared_length import false_claim, read_declared_length
from headrace.codecs._formats import INEXACT, WRONG
from headrace.codecs._mp3 import defects_of, has_mp3_extension, header_of, scan_mp3
from headrace.codecs._recording import MAX_FRAMES, MAX_SAMPLE_RATE, Header, Recording
from headrace.failures import Code, DecodeError, Failure, describe_os_error
from headrace.storage import as_place

if TYPE_CHECKING:
    from collections.abc import Callable

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
    ogg_by_libsndfile: bool = False,
    version: str | None = None,
    from_ends: bool = False,
) -> Recording | Failure:
    """Read the header of a recording; decode the recording if FFmpeg's containers have to be read.

    Parameters
    ----------
    path : str or Place
        The file, or where the recording is.
    file_id : str
        The id that the recording or the failure gets.
    cancelled : callable
        Called repeatedly while decoding; if it returns true, the result is meaningless.
    ogg_by_libsndfile : bool
        Whether libsndfile decodes Vorbis and Opus in Ogg; else FFmpeg does.
    version : str, optional
        What identifies the bytes of an object in a store.
    from_ends : bool
        Read as little as possible. Take the length that the header of a FLAC file declares, if the
        file can be that long, without looking for its last frame. Take the length of Vorbis and
        Opus in Ogg from the first and the last pages, if they can tell it, without an index.

    Returns
    -------
    Recording or Failure
        A bad file gives a failure and never raises.
    """
    place, store = as_place(path).watched()
    try:
        recording = _probe(
            place,
            file_id,
            cancelled,
            ogg_by_libsndfile=ogg_by_libsndfile,
            from_ends=from_ends,
        )
        code, message = store.error if store and store.error else ("", "")
    except OSError as error:
        code, message = describe_os_error(error)
    except DecodeError as error:
        code, message = (store and store.error) or (error.code, error.message)
    if code:
        return Failure(file_id, place.path, Code(code), message)
    return replace(recording, version=version) if version else recording


def _probe(
    place: Place,
    file_id: str,
    cancelled: Callable[[], bool],
    *,
    ogg_by_libsndfile: bool,
    from_ends: bool,
) -> Recording:
    mode, size, mtime_ns = _status(place)
    if not stat.S_ISREG(mode):
        raise DecodeError(Code.NOT_AUDIO, "not a regular file")
    found = _read_natively(place, from_ends=from_ends)
    if found is None:
        if size == 0:
            raise DecodeError(Code.EMPTY, "the file has 0 bytes")
        name = place.path if place.is_whole_file else file_id
        as_ogg = partial(_as_ogg, place, cancelled, from_ends=from_ends)
        found = _find(place, name, cancelled, as_ogg, ogg_by_libsndfile=ogg_by_libsndfile)
    header = found.header
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
        seek_points=header.seek_points,
        decoder=_decoder_name(header),
        offset=place.offset,
        pieces=place.pieces,
    )
    return replace(recording, defects=found.defects_of(recording))


def _decoder_name(header: Header) -> str | None:
    put_off = header.format == _ogg.CONTAINER and header.seek_points is None
    return _ogg.decoder_now() if put_off else _ffmpeg.decoder_name(header.seek_points)


class _Found(NamedTuple):
    """What a file is."""

    header: Header
    defects_of: Callable[[Recording], tuple[Failure, ...]]
    """What is wrong with it, once it is a recording."""


def _no_defects(_: Recording) -> tuple[Failure, ...]:
    return ()


def _false_claims(recording: Recording, place: Place) -> tuple[Failure, ...]:
    """Return in what the header contradicts what the file holds."""
    if recording.format in _UNDECLARED:
        return ()
    declared = read_declared_length(recording, place)
    claim = None if declared.is_unknown else false_claim(recording, declared)
    return () if claim is None else (claim,)


def _read_natively(place: Place, *, from_ends: bool) -> _Found | None:
    """Return what the kernel says of a WAV or FLAC file that it reads itself, else None."""
    own = None
    if sys.platform != "win32":
        own = _kernel.probe_header(place.native, believe_flac=from_ends)
    if own is None:
        return None
    header = Header(*own[:5], own[6] or None)
    _check_header(header)
    return _Found(header, _no_defects if own[5] else partial(_false_claims, place=place))


def _find(
    place: Place,
    name: str,
    cancelled: Callable[[], bool],
    as_ogg: Callable[[], _Found | None],
    *,
    ogg_by_libsndfile: bool,
) -> _Found:
    """Return what a file is, or raise `DecodeError` if the file cannot be used."""
    # The kernel recognises MP3 by its packets, and Ogg by its pages, whatever the name. It is asked
    # first only where the name suggests it, so that other files are not opened once more.
    asked: dict[str, Callable[[], _Found | None]] = {
        "MP3": partial(_as_mp3, place),
        "OGG": _nothing if ogg_by_libsndfile else as_ogg,
    }
    named = {"MP3": has_mp3_extension(name), "OGG": _ogg.has_ogg_extension(name)}
    for format_, ask in asked.items():
        if named[format_] and (found := ask()):
            return found
    try:
        header = _libsndfile.read_repaired_header(place) or _libsndfile.read_header(place)
    except DecodeError as error:
        if error.code is not Code.NOT_AUDIO:
            raise
        found = None if named["MP3"] else _as_mp3(place)
        return found or as_ogg() or _measure_with_ffmpeg(place, error, cancelled)
    if not named.get(header.format, True) and (found := asked[header.format]()):
        return found
    _check_header(header)
    if header.format == "MP3":
        header = header._replace(seek_points=b"")
    return _Found(header, partial(_false_claims, place=place))


def _nothing() -> None:
    return None


def _as_mp3(place: Place) -> _Found | None:
    """Return what the kernel finds in an MP3 file, or None if it is no MP3 file."""
    scan = scan_mp3(place)
    if scan is None:
        return None
    header = header_of(scan)._replace(seek_points=scan.seek_points)
    return _Found(header, partial(defects_of, scan=scan))


def _as_ogg(
    place: Place, cancelled: Callable[[], bool], *, from_ends: bool = False
) -> _Found | None:
    """Return what the kernel finds in an Ogg file, or None if it is not Vorbis or Opus."""
    if from_ends and (ends := _ogg.walk_ends(place)):
        return _Found(_ogg.header_of(ends, with_index=False), _no_defects)
    walk = _ogg.walk_ogg(place, cancelled)
    return (
        None if walk is None else _Found(_ogg.header_of(walk), partial(_ogg.defects_of, walk=walk))
    )


def _status(place: Place) -> tuple[int, int, int]:
    """Return mode, size (bytes) and time of change (ns; 0 of what is no file of the system)."""
    if place.store is not None:
        return stat.S_IFREG, place.size(), 0
    status = os.stat(place.path)
    size = status.st_size if place.is_whole_file else place.size()
    return status.st_mode, size, status.st_mtime_ns


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
) -> _Found:
    """Ask FFmpeg, after libsndfile's `refusal`.

    Raises
    ------
    DecodeError
        FFmpeg cannot use the file either. The reason is libsndfile's if it knows the container.
    """
    try:
        measured = _ffmpeg.measure(place, cancelled)
    except DecodeError as error:
        known = not refusal.message.endswith(_UNKNOWN_FORMAT)
        if known and error.code in {Code.NOT_AUDIO, Code.EMPTY}:
            raise refusal from None
        raise
    if measured is None:
        raise refusal
    return _Found(measured, _no_defects)
