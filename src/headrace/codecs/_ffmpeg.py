"""FFmpeg, called through PyAV: decodes containers that libsndfile does not read.

FFmpeg opens a file only if libsndfile refuses it and the file begins like one of `CONTAINERS`,
whatever its name, and gets the name of that container. Without the name, FFmpeg takes a text for a
subtitle, and noise for audio.

The length of a recording is the number of decoded frames, because containers declare no length, a
rounded one, or one that includes frames that the decoder drops. So a scan decodes the file, except
where the tables of MP4 prove what a decode would give (`_mp4`). It notes where decoding may begin
again (`_anchors`). The kernel calls FFmpeg's functions itself, by
their addresses in PyAV, and finds the packets of some containers without a demuxer
(``src/kernel/sources/container_packets.h``). Where it cannot, `measure_with_pyav` and `Stream` do
the same through PyAV's objects, and give the same anchors and the same bits.

A recording without such an index, of a catalog that an earlier version of headrace made, is decoded
from its first packet, without a break.
"""

from __future__ import annotations

import math
import os
import sys
from bisect import bisect_right
from collections import deque
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias

import numpy as np

from headrace import _kernel
from headrace.codecs import _mp4
from headrace.codecs._anchors import (
    DECODER,
    LONG_AAC,
    MOST_PRE_ROLL,
    OGG_DECODER,
    OGG_VERSION,
    VERSION,
    anchor_rule,
)
from headrace.codecs._ffmpeg_library import (
    check_major,
    decoder_major,
    import_pyav,
    interleaved,
    library,
    packet_of,
)
from headrace.codecs._recording import MAX_SAMPLE_RATE, Header
from headrace.failures import Code, DecodeError, describe_os_error
from headrace.storage import as_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from headrace.storage import Place

__all__ = [
    "BYTE_SEEK",
    "CONTAINERS",
    "EXTENSIONS",
    "Stream",
    "container_of",
    "decoder_bytes",
    "decoder_name",
    "has_ogg_index",
    "measure",
    "measure_with_pyav",
    "raise_error",
]

# PyAV's types; PyAV need not be installed.
_Container: TypeAlias = Any
_AudioStream: TypeAlias = Any
_AudioFrame: TypeAlias = Any
_CodecContext: TypeAlias = Any
_Packet: TypeAlias = Any

CONTAINERS: Final = {
    "AAC": "aac",
    "AC3": "ac3",
    "AMR": "amr",
    "APE": "ape",
    "ASF": "asf",
    "AVI": "avi",
    "CAFF": "caf",
    "DTS": "dts",
    "EAC3": "eac3",
    "FLV": "flv",
    "FORM": "aiff",
    "LOAS": "loas",
    "MATROSKA": "matroska",
    "MP4": "mov",
    "MPC7": "mpc",
    "MPC8": "mpc8",
    "MPEG": "mp3",
    "MPEG_PS": "mpeg",
    "MPEG_TS": "mpegts",
    "OGGS": "ogg",
    "RIFF": "wav",
    "RM": "rm",
    "SND": "au",
    "TAK": "tak",
    "TTA": "tta",
    "WAVPACK": "wv",
}
"""FFmpeg's demuxers, by the names of containers in a catalog. A container that libsndfile reads as
well, with other codecs, has the four letters with which its files begin for a name: RIFF beside
libsndfile's WAV, CAFF beside CAF, OGGS beside OGG, FORM beside AIFF, SND beside AU."""

BYTE_SEEK: Final = frozenset({"AAC", "OGGS", "WAVPACK"})
"""Containers in which FFmpeg seeks by offset: their packets stand one after the other."""

EXTENSIONS: Final = frozenset(
    {".3g2", ".3gp", ".aac", ".ac3", ".amr", ".ape", ".asf", ".avi", ".bw64", ".bwf", ".dts"}
    | {".eac3", ".flv", ".m4a", ".m4b", ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp4"}
    | {".mpc", ".mpeg", ".mpg", ".mpga", ".rm", ".spx", ".tak", ".tta", ".weba", ".webm"}
    | {".wma", ".wmv", ".wv"}
)
"""Extensions that a folder is searched for, beside libsndfile's. Not ``.ts``: most are texts."""

_BEGINS: Final = (
    (0, b"#!AMR", "AMR"),
    (0, b"MAC ", "APE"),
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "ASF"),  # the GUID of its header object
    (8, b"AVI ", "AVI"),
    (0, b"caff\x00\x01", "CAFF"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b"FLV\x01", "FLV"),
    (8, b"AIFF", "FORM"),
    (8, b"AIFC", "FORM"),
    (0, b"\x1a\x45\xdf\xa3", "MATROSKA"),  # EBML's
    *((4, atom, "MP4") for atom in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (0, b"MP+", "MPC7"),
    (0, b"MPCK", "MPC8"),
    (0, b"\x00\x00\x01\xba", "MPEG_PS"),
    (0, b"OggS", "OGGS"),
    (8, b"WAVE", "RIFF"),
    (0, b".RMF", "RM"),
    (0, b".snd", "SND"),
    (0, b"tBaK", "TAK"),
    (0, b"TTA1", "TTA"),
    (0, b"wvpk", "WAVPACK"),
)
"""Position, bytes there, container."""
_MASKED_BEGINS: Final = (
    (0xFFF6, 0xFFF0, "AAC"),  # ADTS: twelve ones, and two zeros where MPEG audio has its layer
    (0xFFE0, 0x56E0, "LOAS"),
)
"""Mask and value of the first 16 bits, container."""
_AC3: Final = b"\x0b\x77"
_AC3_LAST_VERSION: Final = 10  # of the bit stream; E-AC-3 has 11 to 16
_TS_PACKET: Final = 188
_MAX_BEGIN: Final = 2 * _TS_PACKET + 1
_ID3_HEADER: Final = 10
_ID3_FOOTER: Final = 0x10  # flag: the header is repeated at the end
_MAX_PADDING: Final = 1 << 16  # zeros behind a tag
_MAX_CHANNELS: Final = 1024  # libsndfile's SF_MAX_CHANNELS

_AAC: Final = frozenset({"aac", "aac_latm"})
_AAC_FRAMES: Final = 1024
"""Of a packet of AAC without spectral band replication."""
_NO_TIME: Final = -(1 << 63)
_WHOLE_FILES_ONLY: Final = (
    "this version of PyAV decodes whole files only: unpack it, or install PyAV with FFmpeg 8"
)
"""As src/kernel/sources/open_source.cpp says it."""
_NEAR: Final = 4
_STEPS_BACK_S: Final = (0, 1, 10)
_PACKETS_NEAR: Final = 4096
"""As in src/kernel/sources/ffmpeg_source.cpp and ffmpeg_file.cpp."""
_MEASURED_AT_ONCE: Final = 1 << 14
"""Frames: how often a scan checks whether it is cancelled."""


def container_of(begin: bytes) -> str | None:
    """Return which of `CONTAINERS` a file that begins with these bytes is, or None.

    Parameters
    ----------
    begin : bytes
        At least 16 bytes; 377 to recognise MPEG_TS.
    """
    for place, mark, container in _BEGINS:
        if begin[place : place + len(mark)] == mark:
            return container
    word = int.from_bytes(begin[:2], "big")
    for mask, value, container in _MASKED_BEGINS:
        if word & mask == value:
            return container
    if begin[:2] == _AC3 and len(begin) > len(_AC3) + 3:
        return "AC3" if begin[5] >> 3 <= _AC3_LAST_VERSION else "EAC3"
    if begin[:_MAX_BEGIN:_TS_PACKET] == b"GGG":
        return "MPEG_TS"
    return None


def _container_at(place: Place) -> str | None:
    """Return which of `CONTAINERS` a file is: what follows its ID3 tags, if it has any, tells."""
    with place.open() as file:
        begin = file.read(_MAX_BEGIN)
        tagged = False
        while begin[:3] == b"ID3" and len(begin) >= _ID3_HEADER:
            size = 0
            for byte in begin[6:_ID3_HEADER]:  # seven bits each
                size = size << 7 | byte & 0x7F
            size += _ID3_HEADER * (2 if begin[5] & _ID3_FOOTER else 1)
            file.seek(size - len(begin), os.SEEK_CUR)
            begin = file.read(_MAX_BEGIN)
            tagged = True
        if tagged and begin[:1] == b"\0":
            begin = (begin + file.read(_MAX_PADDING)).lstrip(b"\0")[:_MAX_BEGIN]
    if tagged and _begins_mpeg_audio(begin):
        return "MPEG"
    return container_of(begin)


def _begins_mpeg_audio(begin: bytes) -> bool:
    """Return whether these are a frame's sync, version, layer, bit rate and sample rate."""
    head = int.from_bytes(begin[:4], "big")
    return (
        head >> 21 == 0x7FF  # noqa: PLR2004  eleven ones
        and head >> 19 & 3 != 1
        and head >> 17 & 3 != 0
        and head >> 12 & 15 not in {0, 15}
        and head >> 10 & 3 != 3  # noqa: PLR2004  reserved
    )


def decoder_bytes(container: str, channels: int, frames: int, sample_rate: int) -> int:
    """Return an upper bound on the memory of one open decoder, in bytes.

    With FFmpeg 8, tests/codecs/test_ffmpeg.py measures 0.1 to 0.8 MiB and the current packet.
    Opening a file reads up to 5 MB of it, including pictures (FFmpeg's probesize). The index of an
    MP4 file, and possibly that of an AVI file, is kept in memory: about 64 bytes for each packet,
    which has 512 frames or more. For other containers FFmpeg limits the index to 1 MiB
    (max_index_size). The recording's own index, packed twice and unpacked, is at most 128 bytes for
    each second.
    """
    index = frames // 8 if container in {"MP4", "AVI"} else 1 << 20
    index += 128 * (frames // sample_rate)
    return (8 << 20) + (512 << 10) * channels + index


def measure(path: str | Place, cancelled: Callable[[], bool] = lambda: False) -> Header | None:
    """Decode a whole recording, if it begins like one of `CONTAINERS`.

    Returns
    -------
    Header or None
        The name in `CONTAINERS`, FFmpeg's name of the codec such as ``"aac"``, and what decoding
        gives; only the frames so far if `cancelled` returned true. None if the file begins like
        none of the containers.

    Raises
    ------
    DecodeError
        The file cannot be decoded to its end.
    """
    place = as_place(path)
    container = _container_at(place)
    if container is None:
        return None
    functions = library()
    if functions is None and not place.is_whole_file:
        raise DecodeError(Code.UNSUPPORTED, _WHOLE_FILES_ONLY)
    if container == _mp4.CONTAINER and (found := _mp4.scan_tables(place)):
        return found
    if functions is None:
        return measure_with_pyav(place.path, container, cancelled)
    walk = _kernel.FfmpegWalk(functions, place=place.native, demuxer=CONTAINERS[container])
    try:
        raise_error(walk.error)
        rule = anchor_rule(walk.codec)
        walk.set_rules(
            spacing_s=rule.spacing_s,
            pre_roll=rule.pre_roll,
            pre_roll_s=rule.pre_roll_s,
            forgets=rule.forgets,
            long_spacing_s=LONG_AAC.spacing_s,
            long_pre_roll=LONG_AAC.pre_roll,
            long_pre_roll_s=LONG_AAC.pre_roll_s,
        )
        raise_error(walk.error)
        while not cancelled():
            frames = walk.advance(_MEASURED_AT_ONCE)
            raise_error(walk.error)
            if frames < _MEASURED_AT_ONCE:
                break
        _check_measured(walk.frames, walk.complaint)
        return Header(
            container, walk.codec, walk.sample_rate, walk.channels, walk.frames, walk.packed_index
        )
    finally:
        del walk  # closes the file now: an error keeps this frame, and might keep it open


def has_ogg_index(seek_points: bytes | None) -> bool:
    """Return whether a recording is one of `_ogg`: its seek points are those of an Ogg file."""
    return seek_points is not None and _kernel.unpack_ogg_index(seek_points) is not None


def decoder_name(seek_points: bytes | None) -> str | None:
    """Return how a catalog names what decodes a recording with these seek points.

    None where they are not a packed index of FFmpeg's packets: then the format decides.
    """
    if seek_points is None:
        return None
    index = _kernel.unpack_packet_index(seek_points)
    if index is not None:
        return DECODER.format(major=index.decoder_major, version=VERSION)
    ogg = _kernel.unpack_ogg_index(seek_points)
    if ogg is not None:
        return OGG_DECODER.format(major=ogg.decoder_major, version=OGG_VERSION)
    return None


def raise_error(error: tuple[str, str] | None) -> None:
    """Raise what the kernel gives as an error's code and message."""
    if error is not None:
        code, message = error
        raise DecodeError(Code(code), message)


def _check_measured(frames: int, complaint: str) -> None:
    if complaint and not frames:
        raise DecodeError(Code.NOT_AUDIO, f"no decoder recognises it{complaint}")
    if complaint:
        raise DecodeError(
            Code.TRUNCATED,
            f"decoding stops at frame {frames}: the file is cut short or damaged"
            f"{complaint}. Convert it with FFmpeg to keep what can be decoded",
        )
    if not frames:
        raise DecodeError(Code.EMPTY, "the file holds no audio frames")


def measure_with_pyav(
    path: str, container: str, cancelled: Callable[[], bool] = lambda: False
) -> Header:
    """Do what `measure` does, through PyAV's objects."""
    anchors: list[_kernel.Anchor] = []
    with Stream(path, container) as stream:
        walk = _Walk(stream, anchors)
        stream.decode_by(walk.frames())
        total = 0
        while not cancelled():
            skipped = stream.skip(_MEASURED_AT_ONCE)
            total += skipped
            if skipped < _MEASURED_AT_ONCE:
                break
        _check_measured(total, stream.complaint)
        index = _kernel.PacketIndex(
            decoder_major=decoder_major(),
            pre_roll=walk.pre_roll,
            forgets=walk.rule.forgets,
            frames=total,
            anchors=anchors,
            continuous=walk.continuous,
        )
        return Header(
            container, stream.codec, stream.sample_rate, stream.channels, total, index.pack()
        )


class Stream:
    """The frames of a file's first audio track, in order; for one thread at a time.

    Parameters
    ----------
    path : str
        The file.
    container : str
        One of `CONTAINERS`.
    codec : str
        FFmpeg's name of the codec that the track must have; ``""`` for any.
    sample_rate, channels : int
        What every frame must have; 0 for that of the first frame.
    seek_points : bytes, optional
        The packed index of a scan: decode segment by segment. Default: without a break.

    Attributes
    ----------
    complaint : str
        FFmpeg's reason, in brackets, if decoding stopped before the end of the file; else ``""``.
    seekable : bool
        Whether it can seek: it has an index.

    Raises
    ------
    DecodeError
        The file cannot be opened, or is not what was scanned.
    """

    def __init__(
        self,
        path: str,
        container: str,
        codec: str = "",
        sample_rate: int = 0,
        channels: int = 0,
        seek_points: bytes | None = None,
    ) -> None:
        self._scanned = bool(codec)
        self._index: _kernel.PacketIndex | None = None
        self._anchors: list[_kernel.Anchor] = []  # the index makes a new list at each access
        self._segment = self._position = 0
        self._starts: list[int] = []  # of segments, but for the first
        self._is_moved = False  # whether packets have been read
        self.codec = codec
        self.sample_rate = sample_rate
        self.channels = channels
        self.complaint = ""
        self._av = import_pyav()
        self._path = path
        self._demuxer = CONTAINERS[container]
        self._by_byte = container in BYTE_SEEK
        self._rest: NDArray[np.float32] = np.empty((0, max(1, channels)), np.float32)
        self._opened: list[_Container] = []
        try:
            if seek_points is not None:
                self._index = self._unpack(seek_points)
                self._anchors = self._index.anchors
                self._starts = [anchor.start for anchor in self._anchors]
            self.container = self._open()
            self.track = self._select_track(self.container)
            self._frames = (
                _decode_frames(self.container, self.track)
                if self._index is None
                else self._decode_from(self._index, 0)
            )
        except BaseException:
            self.close()
            raise

    def _unpack(self, seek_points: bytes) -> _kernel.PacketIndex:
        index = _kernel.unpack_packet_index(seek_points)
        if index is None:
            raise DecodeError(
                Code.CHANGED, "the catalog's index of the file is damaged: scan again"
            )
        check_major(index.decoder_major)
        return index

    def _open(self) -> _Container:
        try:
            container: _Container = self._av.open(
                f"file:{self._path}",
                format=self._demuxer,
                metadata_errors="ignore",
                options={"protocol_whitelist": "file", "format_whitelist": self._demuxer},
            )
        except self._av.FFmpegError as error:
            # FFmpeg reports damage as "Operation not permitted": open the file without it.
            try:
                with open(self._path, "rb") as file:
                    file.read(1)
            except OSError as system_error:
                raise DecodeError(*describe_os_error(system_error)) from None
            raise DecodeError(
                Code.NOT_AUDIO, f"no decoder recognises it (FFmpeg: {error.strerror})"
            ) from None
        self._opened.append(container)
        return container

    def open_decoder(self) -> _CodecContext:
        """Return a new decoder for the track: that of the file, opened once more for a moment."""
        container = self._open()
        try:
            return self._select_track(container).codec_context
        finally:  # the decoder needs it no longer
            self._opened.remove(container)
            container.close()

    def decode_by(self, frames: Iterator[_AudioFrame]) -> None:
        """Take the audio from `frames`."""
        self._frames = frames

    def _select_track(self, container: _Container) -> _AudioStream:
        tracks = container.streams.audio
        if not tracks:
            raise DecodeError(Code.EMPTY, "the file has no audio track")
        track = tracks[0]
        for other in container.streams:
            if other.index != track.index:
                other.discard = type(other.discard).all
        if track.codec_context is None:
            raise DecodeError(
                Code.UNSUPPORTED, "FFmpeg has no decoder for the audio: convert the file to FLAC"
            )
        track.codec_context.thread_count = 1  # headrace's workers decode in parallel
        codec = track.codec_context.codec.canonical_name
        if self.codec and codec != self.codec:
            raise self._change_error(f"the sample format {codec}", self.codec)
        self.codec = codec
        return track

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        for container in self._opened:
            container.close()

    def read(self, out: memoryview) -> int:
        """Fill `out`, float32 with channels interleaved, with the next frames.

        Returns
        -------
        int
            Frames read: fewer than fit into `out` only if decoding stops.

        Raises
        ------
        DecodeError
            The system cannot read the file, or the audio is not what was scanned.
        """
        frames = np.frombuffer(out, np.float32).reshape(-1, self.channels)
        if self._index is not None and not self._left_of_segment():
            self._go_to(self._index, self._segment + 1)
        return self._advance(len(frames), frames)

    @property
    def seekable(self) -> bool:
        return self._index is not None

    def seek(self, frame: int) -> None:
        """Make `frame` the next one that `read` gives. Only if the stream is seekable.

        Raises
        ------
        DecodeError
            The frame cannot be reached.
        """
        assert self._index is not None
        segment = bisect_right(self._starts, frame)
        ahead = frame - self._position
        near = ahead >= 0 and (segment == self._segment or ahead < self.sample_rate // _NEAR)
        if near and self._goes_on_by(ahead) and segment == self._segment:
            return
        self._go_to(self._index, segment)
        ahead = frame - self._position
        if self.skip(ahead) < ahead:
            raise DecodeError(Code.TRUNCATED, f"the file is cut short or damaged{self.complaint}")

    def _go_to(self, index: _kernel.PacketIndex, segment: int) -> None:
        """Go to the start of a segment."""
        self._rest = self._rest[:0]
        self._position = self._starts[segment - 1] if segment else 0
        self._segment = segment
        self.complaint = ""
        self._frames = self._decode_from(index, segment)

    def _goes_on_by(self, frames: int) -> bool:
        """Skip frames; return false where damage is in the way, and an anchor may lead past it."""
        try:
            return self.skip(frames) == frames
        except DecodeError:
            return False

    def skip(self, frames: int) -> int:
        """Decode and discard `frames` frames; returns and raises as `read` does."""
        return self._advance(frames, None)

    def _advance(self, wanted: int, out: NDArray[np.float32] | None) -> int:
        done = 0
        while done < wanted:
            if not len(self._rest) and not self._decode():
                break
            count = min(wanted - done, len(self._rest), self._left_of_segment())
            if not count:  # damaged packets give more frames than they did at the scan
                break
            if out is not None:
                out[done : done + count] = self._rest[:count]
            self._rest = self._rest[count:]
            done += count
            self._position += count
        return done

    def _left_of_segment(self) -> int:
        """Return how many frames there are from here to the next anchor, if there is one."""
        if self._segment >= len(self._starts):
            return sys.maxsize
        return self._starts[self._segment] - self._position

    def _decode_from(self, index: _kernel.PacketIndex, segment: int) -> Iterator[_AudioFrame]:
        """Yield the frames from the start of a segment on, each segment by a decoder of its own.

        Ends where a segment does not end where it did at the scan.
        """
        anchors = self._anchors
        history: deque[_Packet] = deque(maxlen=index.pre_roll)
        packets = _in_turn(self._packets_from(index, segment), continuous=index.continuous)
        if segment:
            history.extend(islice(packets, index.pre_roll))
        decoder = self._decoder_behind(history)
        position = anchors[segment - 1].start if segment else 0
        count, leads_on = 0, False
        for packet in packets:
            if segment < len(anchors) and count == anchors[segment].packets:
                if position != anchors[segment].start:
                    return
                segment, count = segment + 1, 0
                self._segment = segment
                if not leads_on:
                    yield from self._decode_from(index, segment)
                    return
                if not index.forgets:
                    decoder = self._decoder_behind(history)
            if segment < len(anchors) and count == anchors[segment].packets - index.pre_roll:
                leads_on = _is_at(index, anchors[segment], packet)
            frames = decoder.decode(packet)
            position += sum(frame.samples for frame in frames)
            yield from frames
            history.append(packet)
            count += 1
        if segment == len(anchors):
            yield from decoder.decode(None)

    def _decoder_behind(self, history: Iterable[_Packet]) -> _CodecContext:
        """Return a decoder that is new at the first of these packets."""
        decoder = self.open_decoder() if self._is_moved else self.track.codec_context
        _discard(decoder, history)
        return decoder

    def _packets_from(self, index: _kernel.PacketIndex, segment: int) -> Iterator[_Packet]:
        """Yield the packets from the first one of a segment's pre-roll on."""
        if segment:
            anchor = self._anchors[segment - 1]
            before = sum(one.packets for one in self._anchors[:segment]) - index.pre_roll
            for seek in self._seeks(index, anchor, before):
                found = None
                with suppress(self._av.FFmpegError):
                    seek()
                    packets = self.container.demux(self.track)
                    found = self._find(index, anchor, islice(packets, _PACKETS_NEAR))
                if found is not None:
                    yield found
                    yield from packets
                    return
        self._rewind()
        packets = self.container.demux(self.track)
        if segment:
            packet = next(islice(packets, before, None), None)
            if packet is None or not packet.size or not _is_at(index, anchor, packet):
                raise DecodeError(
                    Code.CHANGED,
                    "the file's packets are not where they were when it was scanned: scan again",
                )
            yield packet
        yield from packets

    def _seeks(
        self, index: _kernel.PacketIndex, anchor: _kernel.Anchor, before: int
    ) -> Iterator[Callable[[], None]]:
        """Yield ways to come near to an anchor; `before` is how many packets precede it."""
        self._is_moved = True
        if self._by_byte:
            yield partial(self.container.seek, anchor.offset, unsupported_byte_offset=True)
            return
        time, base = anchor.time, self.track.time_base
        if index.has_table and before < len(self.track.index_entries):
            time = self.track.index_entries[before].timestamp
        if time != _NO_TIME and base:
            for back in _STEPS_BACK_S:
                yield partial(self.container.seek, time - int(back / base), stream=self.track)

    def _find(
        self, index: _kernel.PacketIndex, anchor: _kernel.Anchor, packets: Iterator[_Packet]
    ) -> _Packet | None:
        """Return the first packet of an anchor's pre-roll, if it is among these."""
        ordinal, offset = 0, -1
        for packet in packets:
            if not packet.size:
                return None
            ordinal = ordinal + 1 if packet.pos == offset else 0
            offset = packet.pos
            time = packet.pts if packet.dts is None else packet.dts
            alike = ordinal == anchor.ordinal if self._by_byte else time == anchor.time
            if (alike or index.has_table) and _is_at(index, anchor, packet):
                return packet
            if self._by_byte and offset is not None and offset > anchor.offset:
                return None
        return None

    def _rewind(self) -> None:
        """Begin again with the first packet."""
        if self._is_moved:
            self.close()
            self._opened.clear()
            self.container = self._open()
            self.track = self._select_track(self.container)
        self._is_moved = True

    def _change_error(self, now: str, then: str) -> DecodeError:
        if self._scanned:
            return DecodeError(
                Code.CHANGED,
                f"decoding gives {now}, but gave {then} when the file was scanned: scan again",
            )
        return DecodeError(
            Code.UNSUPPORTED,
            f"the audio changes from {then} to {now} within the file: convert the file",
        )

    def _decode(self) -> bool:
        """Decode the next FFmpeg frame; return whether there was one."""
        try:
            frame = next(self._frames, None)
        except self._av.FFmpegError as error:
            if self._scanned and isinstance(error, OSError):  # the scan could read the file
                raise DecodeError(Code.IO, f"FFmpeg says: {error.strerror}") from None
            self.complaint = f" (FFmpeg: {error.strerror})"
            return False
        if frame is None:
            return False
        self.sample_rate = self.sample_rate or frame.sample_rate
        self.channels = self.channels or frame.layout.nb_channels
        if frame.sample_rate != self.sample_rate:
            raise self._change_error(
                f"a sample rate of {frame.sample_rate} Hz", f"{self.sample_rate} Hz"
            )
        if frame.layout.nb_channels != self.channels:
            raise self._change_error(f"{frame.layout.nb_channels} channels", str(self.channels))
        if not 0 < self.sample_rate <= MAX_SAMPLE_RATE or not 0 < self.channels <= _MAX_CHANNELS:
            raise DecodeError(
                Code.UNSUPPORTED,
                f"decoding gives {self.channels} channels at {self.sample_rate} Hz, more than any "
                "recording has: it is damaged",
            )
        self._rest = interleaved(frame)
        return True


def _decode_frames(container: _Container, track: _AudioStream) -> Iterator[_AudioFrame]:
    """Yield the track's frames.

    Not a method of `Stream`: the generator would refer to the stream that refers to it, and memory
    would be freed only by a garbage collection.
    """
    for packet in container.demux(track):
        yield from packet.decode()


def _follows(packet: _Packet, before: _Packet | None) -> bool:
    """Return whether a packet's time stamp is where the one before it ended.

    True if that cannot be told: as ``FfmpegFile::follows``.
    """
    if before is None or not before.duration or not packet.time_base:
        return True
    time, then = (one.pts if one.dts is None else one.dts for one in (packet, before))
    base = packet.time_base
    tolerance = max(2, base.denominator // (400 * base.numerator))
    if time is None or then is None or before.duration <= 2 * tolerance:
        return True
    return bool(abs(time - then - before.duration) <= tolerance)


def _in_turn(packets: Iterator[_Packet], *, continuous: bool) -> Iterator[_Packet]:
    """Yield packets, but for the empty one at the end.

    Raises
    ------
    DecodeError
        Some are lost: demuxers go on behind damage with a later one.
    """
    before: _Packet | None = None
    for packet in packets:
        if not packet.size:
            return
        if continuous and not _follows(packet, before):
            raise DecodeError(Code.TRUNCATED, "the file is cut short or damaged: packets are lost")
        before = packet
        yield packet


def _is_at(index: _kernel.PacketIndex, anchor: _kernel.Anchor, packet: _Packet) -> bool:
    """Return whether a packet is where the scan found the one of an anchor, and the same.

    With a table only the place is compared: the anchor's check is of sizes, and not of the packet.
    """
    if packet.pos != anchor.offset:
        return False
    return index.has_table or _kernel.packet_check(bytes(packet)) == anchor.check


def _discard(decoder: _CodecContext, packets: Iterable[_Packet]) -> None:
    """Decode packets of a pre-roll: neither their audio nor their errors count."""
    av = import_pyav()
    for packet in packets:
        copy = packet_of(bytes(packet))  # without side data, such as a number of frames to skip
        copy.pts, copy.dts = packet.pts, packet.dts
        with suppress(av.FFmpegError):
            decoder.decode(copy)


class _Walk:
    """Decodes a file as the kernel's FfmpegWalk does, and notes the same anchors."""

    def __init__(self, stream: Stream, anchors: list[_kernel.Anchor]) -> None:
        self._stream = stream
        self._anchors = anchors
        self.rule = anchor_rule(stream.codec)
        self.pre_roll = self.rule.pre_roll
        self.continuous = True
        """Whether each packet's time stamp is where the packet before it ended."""

    def frames(self) -> Iterator[_AudioFrame]:
        """Yield the frames of the whole file."""
        stream = self._stream
        decoder = stream.track.codec_context
        history: deque[tuple[_Packet, _Place]] = deque(maxlen=1 + MOST_PRE_ROLL)
        total = segment_start = segment_packets = 0
        before: _Packet | None = None
        for packets, packet in enumerate(stream.container.demux(stream.track)):
            last = not packet.size
            self.continuous = self.continuous and (last or _follows(packet, before))
            before = packet
            rate = stream.sample_rate
            due = rate and not last and total - segment_start >= self.rule.spacing_s * rate
            if due and not self._anchors:
                in_roll = math.ceil(self.rule.pre_roll_s * (packets * rate / total))
                self.pre_roll = min(MOST_PRE_ROLL, max(self.rule.pre_roll, in_roll))
            frames = decoder.decode(None if last else packet)
            place = None
            if due and segment_packets >= self.pre_roll:
                place = _anchor_place([place for _, place in history], self.pre_roll)
            if place is not None:
                rolled = [old for old, _ in list(history)[-self.pre_roll :]]
                fresh = None if self.rule.forgets else self._try(packet, rolled, frames)
                if self.rule.forgets or fresh is not None:
                    self._anchors.append(_anchor(total, segment_packets, place))
                    segment_start, segment_packets = total, 0
                if fresh is not None:
                    decoder, frames = fresh
            for frame in frames:
                total += frame.samples
                if not self._anchors and stream.codec in _AAC and frame.samples > _AAC_FRAMES:
                    self.rule = LONG_AAC
                yield frame
            if not last:
                history.append((packet, _place_of(packet, history[-1][1] if history else None)))
            segment_packets += 1

    def _try(
        self, packet: _Packet, before: list[_Packet], frames: list[_AudioFrame]
    ) -> tuple[_CodecContext, list[_AudioFrame]] | None:
        """Decode a packet with a new decoder; return both if there are as many frames."""
        decoder = self._stream.open_decoder()
        _discard(decoder, before)
        try:
            found = decoder.decode(packet)
        except import_pyav().FFmpegError:
            return None
        kinds = {(one.sample_rate, one.layout.nb_channels) for one in [*frames, *found]}
        if len(kinds) > 1 or sum(one.samples for one in found) != sum(
            one.samples for one in frames
        ):
            return None
        return decoder, found


class _Place(NamedTuple):
    """`PacketPlace` of src/kernel/sources/packet_index.h."""

    offset: int
    ordinal: int
    time: int
    check: int

    def like(self, other: _Place) -> bool:
        """Return whether one could be taken for the other."""
        return self._replace(ordinal=0) == other._replace(ordinal=0)


def _place_of(packet: _Packet, before: _Place | None) -> _Place:
    offset = -1 if packet.pos is None else packet.pos
    again = before is not None and before.offset == offset
    time = packet.pts if packet.dts is None else packet.dts
    return _Place(
        offset,
        before.ordinal + 1 if before is not None and again else 0,
        _NO_TIME if time is None else time,
        _kernel.packet_check(bytes(packet)),
    )


def _anchor_place(places: list[_Place], pre_roll: int) -> _Place | None:
    """Return the place of the pre-roll's first packet, or None where a seek could miss it."""
    if len(places) <= pre_roll:
        return None
    place = places[-pre_roll]
    if place.offset < 0:  # FFmpeg does not know it
        return None
    if place.like(places[-pre_roll - 1]) or (pre_roll > 1 and place.like(places[-pre_roll + 1])):
        return None
    return place


def _anchor(start: int, packets: int, place: _Place) -> _kernel.Anchor:
    return _kernel.Anchor(
        start=start,
        packets=packets,
        offset=place.offset,
        ordinal=place.ordinal,
        time=place.time,
        check=place.check,
    )
