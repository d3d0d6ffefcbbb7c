"""Vorbis and Opus in Ogg: their true length, where decoding may begin, and what cannot be used.

The kernel walks over the pages of a file and reads the first bytes of its packets, which say how
many frames they hold (src/kernel/sources/ogg_walk.h). Nothing is decoded. To load a recording, the
kernel finds its packets by the index of the scan and hands them to FFmpeg's decoder. Where the
kernel cannot call FFmpeg, `OggStream` hands the same packets to PyAV, and gives the same bits.
"""

from __future__ import annotations

import math
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, TypeAlias

import numpy as np

from headrace import _kernel
from headrace.codecs._anchors import OGG_DECODER, OGG_RULES, OGG_VERSION
from headrace.codecs._ffmpeg import raise_error
from headrace.codecs._ffmpeg_library import (
    check_major,
    decoder_major,
    import_pyav,
    interleaved,
    packet_of,
)
from headrace.codecs._recording import MAX_FRAMES, MAX_SAMPLE_RATE, Header
from headrace.failures import Code, DecodeError, Failure, describe_os_error
from headrace.storage import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from numpy.typing import NDArray

    from headrace.codecs._recording import Recording

__all__ = [
    "CONTAINER",
    "HEAD_BYTES",
    "TAIL_BYTES",
    "OggStream",
    "decoder_now",
    "defects_of",
    "has_ogg_extension",
    "header_of",
    "lacks_index",
    "make_index",
    "walk_ends",
    "walk_ogg",
]

# PyAV's types; PyAV need not be installed.
_AudioFrame: TypeAlias = Any
_CodecContext: TypeAlias = Any

CONTAINER: Final = "OGGS"
"""Format in a catalog. That of what libsndfile decodes is ``"OGG"``."""

_EXTENSIONS: Final = frozenset({".oga", ".ogg", ".ogv", ".ogx", ".opus"})

_STEP: Final = 4 << 10  # bytes of the beginning of a file that are looked at together
_WALKED_AT_ONCE: Final = 1 << 18
"""Bytes: how often it is checked whether a walk is cancelled. A read that makes an index shows then
that it has not stalled, also where bytes come slowly."""

HEAD_BYTES: Final = 48 << 10
TAIL_BYTES: Final = 48 << 10
"""What usually shows how long a file is: headers and two pages of audio, and the last two pages.
Pages have 4 KiB (libvorbis) or a second of audio (opusenc, FFmpeg): 20 KiB at 160 kbps."""

_LARGE_TAIL_BYTES: Final = 192 << 10
"""For a second try: three of the largest pages, of 64 KiB."""


def has_ogg_extension(name: str) -> bool:
    """Return whether a file is named like Ogg: then the walk is tried first."""
    return PurePath(name).suffix.lower() in _EXTENSIONS


def _opened(place: Place) -> _kernel.Place | BinaryIO:
    """Return a place as the kernel takes it: it opens places itself, but not on Windows."""
    return place.open() if sys.platform == "win32" else place.native


def walk_ogg(place: Place, cancelled: Callable[[], bool] = lambda: False) -> _kernel.OggWalk | None:
    """Walk over a file, or over a part of it if `cancelled` returns true.

    Returns
    -------
    OggWalk or None
        None if its first audio stream is not Vorbis or Opus with its headers.

    Raises
    ------
    DecodeError
        The system cannot read the file.
    """
    walk = _begin_walk(place)
    while walk.advance(_WALKED_AT_ONCE) and not cancelled():
        pass
    raise_error(walk.error)
    return walk if walk.usable else None


def walk_ends(place: Place) -> _kernel.OggWalk | None:
    """Walk over the beginning and the end of a file, to find its length, but no index.

    Returns
    -------
    OggWalk or None
        None where these do not show the length: the file is short, damaged, made of several
        streams, or its granule positions are not those of its packets. Then `walk_ogg` is needed.

    Raises
    ------
    DecodeError
        The system cannot read the file.
    """
    size = place.size()
    for tail_bytes in (TAIL_BYTES, _LARGE_TAIL_BYTES):
        if size <= HEAD_BYTES + tail_bytes:
            return None
        walk = _begin_walk(place)
        walk.advance(HEAD_BYTES // 2)
        raise_error(walk.error)
        steps = HEAD_BYTES // 2 // _STEP
        while steps and not walk.can_skip and walk.advance(_STEP):
            steps -= 1
        raise_error(walk.error)
        if not walk.can_skip:
            return None
        walk.skip_to(size - tail_bytes)
        while walk.advance(_WALKED_AT_ONCE):
            pass
        raise_error(walk.error)
        if walk.is_continuous:
            return walk
    return None


def _begin_walk(place: Place) -> _kernel.OggWalk:
    try:
        file = _opened(place)
    except OSError as error:
        raise DecodeError(*describe_os_error(error)) from None
    vorbis, opus = (OGG_RULES[codec] for codec in ("vorbis", "opus"))
    walk = _kernel.OggWalk(
        file,
        vorbis=(vorbis.spacing_s, vorbis.pre_roll, vorbis.pre_roll_s),
        opus=(opus.spacing_s, opus.pre_roll, opus.pre_roll_s),
    )
    raise_error(walk.error)
    return walk


def lacks_index(recording: Recording) -> bool:
    """Return whether the scan has put off the index of a recording: see `walk_ends`."""
    is_walked = recording.format == CONTAINER and recording.subtype in OGG_RULES
    return is_walked and recording.seek_points is None


def make_index(recording: Recording, place: Place, cancelled: Callable[[], bool]) -> bytes:
    """Return the packed index of a recording whose scan has put it off. The file is read once.

    If `cancelled` returns true, the result is meaningless.

    Raises
    ------
    DecodeError
        The file cannot be read, or is another one than its beginning and its end told the scan.
    """
    if recording.decoder is not None and recording.decoder != decoder_now():
        check_major(_major_in(recording.decoder))
    place, store = place.watched()
    try:
        walk = walk_ogg(place, cancelled)
    except DecodeError:
        _raise_error_of(store)
        raise
    _raise_error_of(store)
    if cancelled():
        return b""
    if walk is None or (walk.codec, walk.sample_rate, walk.channels) != (
        recording.subtype,
        recording.sample_rate,
        recording.channels,
    ):
        raise DecodeError(Code.CHANGED, "it is not the file that was scanned: scan again")
    if walk.frames > recording.frames:
        raise DecodeError(
            Code.HEADER_MISMATCH,
            f"it holds {walk.frames} frames, and its last page says {recording.frames}: scan it "
            'with verify="decode"',
        )
    return walk.packed_index(decoder_major=decoder_major())


def _raise_error_of(store: _kernel.WatchedStore | None) -> None:
    raise_error(None if store is None else store.error)


def decoder_now() -> str:
    """Return how a catalog names the decoder of this machine."""
    return OGG_DECODER.format(major=decoder_major(), version=OGG_VERSION)


def _major_in(decoder: str) -> int:
    digits = decoder.removeprefix("libavcodec ").partition(",")[0]
    return int(digits) if digits.isdecimal() else 0


def header_of(walk: _kernel.OggWalk, *, with_index: bool = True) -> Header:
    """Return the header of what has been walked over.

    Raises
    ------
    DecodeError
        It has no audio, or FFmpeg cannot decode it.
    """
    if walk.frames <= 0:
        raise DecodeError(Code.EMPTY, "the file holds no audio frames")
    if walk.frames > MAX_FRAMES or walk.sample_rate > MAX_SAMPLE_RATE:
        raise DecodeError(
            Code.UNSUPPORTED,
            f"the file declares {walk.frames} frames at {walk.sample_rate} Hz, more than any "
            "recording has: it is damaged",
        )
    _open_decoder(walk.codec, walk.extradata)
    packed = walk.packed_index(decoder_major=decoder_major()) if with_index else None
    return Header(CONTAINER, walk.codec, walk.sample_rate, walk.channels, walk.frames, packed)


def defects_of(recording: Recording, walk: _kernel.OggWalk) -> tuple[Failure, ...]:
    """Return what of a file cannot be used."""

    def failures() -> Iterator[Failure]:
        for code, message, start_s, stop_s in _defects(walk):
            yield Failure(recording.id, recording.path, code, message, start_s, stop_s)

    return tuple(failures())


def _defects(walk: _kernel.OggWalk) -> Iterator[tuple[Code, str, float, float]]:
    """Yield code, message, and first and last second of each defect."""
    rate, end_s = walk.sample_rate, walk.frames / walk.sample_rate
    damaged_bytes = walk.damaged_bytes - walk.tail_bytes
    if damaged_bytes or walk.damaged_packets:
        message = (
            f"damaged: {damaged_bytes} bytes that are no pages of Ogg with a right checksum, and "
            f"{walk.damaged_packets} packets that cannot be decoded, are left out"
        )
        yield Code.TRUNCATED, message, min(walk.damaged_at / rate, end_s), end_s
    if walk.unended_links:
        message = (
            f"{walk.unended_links} of the streams that are joined in it are cut short: they have "
            "lost their last page"
        )
        yield Code.TRUNCATED, message, walk.unended_at / rate, end_s
    if walk.cut_short:
        message = f"the file is cut short: it has {walk.frames} frames, and has lost its last page"
        yield Code.TRUNCATED, message, end_s, math.inf
    if walk.missing_frames:
        message = (
            f"{walk.missing_frames / rate:.3f} s are missing: the positions in the file skip them; "
            "what follows moves up"
        )
        yield Code.TRUNCATED, message, walk.missing_at / rate, end_s
    if walk.foreign_codec:
        what = f"{walk.foreign_codec}, {walk.foreign_sample_rate} Hz, {walk.foreign_channels}"
        message = (
            f"{walk.foreign_s:.3f} s of another stream ({what} channels) cannot be joined to the "
            f"{walk.codec}, {rate} Hz and {walk.channels} channels before, and are left out"
        )
        yield Code.HEADER_MISMATCH, message, end_s, end_s + walk.foreign_s


def _open_decoder(codec: str, extradata: bytes) -> _CodecContext:
    """Return a new decoder of PyAV's.

    Raises
    ------
    DecodeError
        FFmpeg does not take what the headers say.
    """
    av = import_pyav()
    decoder = av.CodecContext.create(codec, "r")
    decoder.extradata = extradata
    decoder.thread_count = 1  # headrace's workers decode in parallel
    try:
        decoder.open()
    except av.FFmpegError as error:
        raise DecodeError(
            Code.NOT_AUDIO, f"no decoder recognises it (FFmpeg: {error.strerror})"
        ) from None
    return decoder


class OggStream:
    """The frames of a recording, in order, decoded by PyAV; for one thread at a time.

    Parameters
    ----------
    path : str
        The file.
    codec : str
        FFmpeg's name.
    sample_rate, channels : int
        What every frame must have.
    seek_points : bytes
        The packed index of the scan.

    Attributes
    ----------
    complaint : str
        The reason, in brackets, if decoding stopped before the end of the recording; else ``""``.
    seekable : bool
        False: it gives frames in order.

    Raises
    ------
    DecodeError
        The file cannot be opened, or is not what was scanned.
    """

    seekable: Final = False

    def __init__(
        self, path: str, codec: str, sample_rate: int, channels: int, seek_points: bytes
    ) -> None:
        index = _kernel.unpack_ogg_index(seek_points)
        if index is None or index.codec != codec:
            raise DecodeError(
                Code.CHANGED, "the catalog's index of the file is damaged: scan again"
            )
        check_major(index.decoder_major)
        self.complaint = ""
        self._codec = codec
        self._kind = sample_rate, channels
        self._rest: NDArray[np.float32] = np.empty((0, channels), np.float32)
        try:
            self._feed = _kernel.OggFeed(_opened(Place(path)), index)
        except OSError as error:
            raise DecodeError(*describe_os_error(error)) from None
        raise_error(self._feed.error)
        self._pieces = self._decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._pieces.close()
        del self._feed

    def read(self, out: memoryview) -> int:
        """Fill `out`, float32 with channels interleaved, with the next frames.

        Returns
        -------
        int
            Frames read: fewer than fit into `out` only if decoding stops.

        Raises
        ------
        DecodeError
            The audio is not what was scanned.
        """
        frames = np.frombuffer(out, np.float32).reshape(-1, self._kind[1])
        done = 0
        while done < len(frames):
            if not len(self._rest):
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._rest = piece
                continue
            count = min(len(frames) - done, len(self._rest))
            frames[done : done + count] = self._rest[:count]
            self._rest = self._rest[count:]
            done += count
        return done

    def _decode(self) -> Generator[NDArray[np.float32]]:
        """Yield what each packet gives of the recording, run by run."""
        while True:
            if not (yield from self._decode_run()) or not self._feed.next_run():
                raise_error(self._feed.error)
                return

    def _decode_run(self) -> Generator[NDArray[np.float32], None, bool]:
        """Yield what a new decoder gives; return whether that is the whole run."""
        decoder = _open_decoder(self._codec, self._feed.extradata)
        position, begin, stop = self._feed.run
        while begin < stop:
            fed = self._feed.next()
            raise_error(self._feed.error)
            self.complaint = self._feed.complaint
            if self.complaint:
                return False
            found = self._decode_packet(decoder, fed)
            if found is None:
                return False
            # Of Vorbis the packet says where its frames belong. Opus may be late with them.
            position = fed.position if fed and self._codec == "vorbis" else position
            if position > begin:
                self.complaint = " (FFmpeg: frames are missing)"
                return False
            for piece in found:
                kept = piece[max(0, begin - position) : max(0, stop - position)]
                position += len(piece)
                begin += len(kept)
                yield kept
            if fed is None:
                break
        return begin >= stop

    def _decode_packet(
        self, decoder: _CodecContext, fed: _kernel.OggFed | None
    ) -> list[NDArray[np.float32]] | None:
        """Return what the recording has of a packet, or of what is left behind the last one."""
        av = import_pyav()
        try:
            frames = decoder.decode(None if fed is None else packet_of(fed.data))
        except av.FFmpegError as error:
            if fed is not None and fed.primes:
                return []
            self.complaint = f" (FFmpeg: {error.strerror})"
            return None
        if fed is not None and fed.primes:
            return []
        given = sum(frame.samples for frame in frames)
        if fed is not None and self._codec == "vorbis" and given != fed.frames:
            self.complaint = f" (FFmpeg: a packet gives {given} frames, and has {fed.frames})"
            return None
        return [self._checked(frame) for frame in frames]

    def _checked(self, frame: _AudioFrame) -> NDArray[np.float32]:
        found = frame.sample_rate, frame.layout.nb_channels
        if found != self._kind:
            raise DecodeError(
                Code.CHANGED,
                "decoding gives {} Hz and {} channels, but gave {} Hz and {} channels when the "
                "file was scanned: scan again".format(*found, *self._kind),
            )
        return interleaved(frame)
