"""MP4 files (M4A, MOV, 3GP) by their tables: true length and index, without decoding the audio.

The kernel reads the file's ``moov`` atom and nothing of the audio, except one packet where the
tables leave a question open (`src/kernel/sources/mp4_scan.h`): the first one of AAC whose header
does not say whether it has spectral band replication, and the last one of ALAC. FFmpeg's demuxer
interprets the atom, edit lists included. The length is that of a decode: so many packets of so many
frames, less what the decoder drops at the start. Where the tables do not prove it, `scan_tables`
returns None, and the file is decoded to its end as other containers are.

Where the kernel calls no function of FFmpeg's, the same is done through PyAV's objects.
"""

from __future__ import annotations

from itertools import pairwise
from struct import error as struct_error
from struct import unpack
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, TypeAlias

from headrace import _kernel
from headrace.codecs._anchors import anchor_rule
from headrace.codecs._ffmpeg_library import decoder_major, import_pyav, library, packet_of
from headrace.codecs._recording import Header
from headrace.failures import Code, DecodeError

if TYPE_CHECKING:
    from headrace.storage import Place

__all__ = ["AUDIO_EXTENSIONS", "CONTAINER", "scan_tables"]

CONTAINER: Final = "MP4"
"""Format in a catalog."""

AUDIO_EXTENSIONS: Final = frozenset({".m4a", ".m4b", ".m4r"})
"""Of files whose tables nearly always prove the length. Videos and 3GP are often decoded."""

# PyAV's types; PyAV need not be installed.
_AudioStream: TypeAlias = Any
_Container: TypeAlias = Any
_Packet: TypeAlias = Any

_AAC_FRAMES: Final = 1024
_FRAGMENTED: Final = frozenset({b"moof", b"sidx", b"styp"})
_MOST_ATOMS: Final = 64
_MOST_MOOV: Final = 64 << 20


def scan_tables(place: Place) -> Header | None:
    """Return what the tables of an MP4 file say, or None where they do not prove it.

    Raises
    ------
    DecodeError
        The system cannot read the file.
    """
    functions = library()
    if functions is None:
        return _scan_with_pyav(place.path) if place.is_whole_file else None
    found = _kernel.scan_mp4(
        functions, place=place.native, aac=_rule_of("aac"), alac=_rule_of("alac")
    )
    if isinstance(found, tuple):
        code, message = found
        raise DecodeError(Code(code), message)
    if found is None:
        return None
    return Header(
        CONTAINER, found.codec, found.sample_rate, found.channels, found.frames, found.packed_index
    )


def _rule_of(codec: str) -> tuple[float, int, bool]:
    rule = anchor_rule(codec)
    return rule.spacing_s, rule.pre_roll, rule.forgets


def _scan_with_pyav(path: str) -> Header | None:
    """Do what `_kernel.scan_mp4` does."""
    av = import_pyav()
    try:
        with open(path, "rb") as file:
            found = _find_moov(file)
            size = file.seek(0, 2)
        if found is None:
            return None
        options = {
            "protocol_whitelist": "file", "format_whitelist": "mov", "ignore_chapters": "1"
        }  # fmt: skip
        with av.open(f"file:{path}", format="mov", options=options) as container:
            return _header_of(container, *found, size)
    except (OSError, ValueError, struct_error, av.FFmpegError):
        return None  # the decode says what is wrong


def _find_moov(file: BinaryIO) -> tuple[bytes, int] | None:
    """Return the content of the ``moov`` atom and its offset; None if the file is in fragments."""
    size = file.seek(0, 2)
    at, found, has_data = 0, None, False
    for _ in range(_MOST_ATOMS):
        if size - at < 16 or (found and has_data):  # noqa: PLR2004  the longest head of an atom
            break
        file.seek(at)
        length, name, wide = unpack(">I4sQ", file.read(16))
        head = 8
        if length == 1:
            length, head = wide, 16
        length = length or size - at
        if not head <= length <= size - at or name in _FRAGMENTED:
            return None
        has_data = has_data or name == b"mdat"
        if name == b"moov":
            if found or length > _MOST_MOOV:
                return None
            file.seek(at + head)
            found = file.read(length - head), at + head
        at += length
    return found if has_data else None


def _header_of(container: _Container, moov: bytes, moov_offset: int, size: int) -> Header | None:
    tracks: tuple[_AudioStream, ...] = container.streams.audio
    track: _AudioStream = tracks[0] if tracks else None
    packets = list(track.index_entries) if track and track.codec_context else []
    if not packets:
        return None
    first = next(container.demux(track))
    skip = _skipped_by(first)
    kind = _kind_of(track, first)
    if (first.pos, first.size) != (packets[0].pos, packets[0].size) or skip is None or kind is None:
        return None
    last_frames = kind.packet_frames
    if kind.codec == "alac":
        with open(container.name.removeprefix("file:"), "rb") as file:
            file.seek(packets[-1].pos)
            last_frames = _frames_of(track, file.read(packets[-1].size), kind)
    packed = _kernel.index_mp4(
        packets=[(one.pos, one.size, one.is_discard) for one in packets],
        skip=skip,
        packet_frames=kind.packet_frames,
        last_frames=last_frames,
        sample_rate=kind.sample_rate,
        extradata=track.codec_context.extradata,
        rule=_rule_of(kind.codec),
        moov=moov,
        moov_offset=moov_offset,
        file_size=size,
        decoder_major=decoder_major(),
    )
    index = packed and _kernel.unpack_packet_index(packed)
    if not index:
        return None
    return Header(CONTAINER, kind.codec, kind.sample_rate, kind.channels, index.frames, packed)


class _Kind(NamedTuple):
    """What the header of a track says."""

    codec: str
    sample_rate: int
    channels: int
    packet_frames: int


def _kind_of(track: _AudioStream, first: _Packet) -> _Kind | None:
    """Return None unless each packet but the last must have as many frames."""
    codec = track.codec_context.codec.canonical_name
    extradata = track.codec_context.extradata or b""
    if codec == "aac" and (aac := _kernel.read_aac_config(extradata)):
        kind = _Kind(codec, aac[0], aac[1], _AAC_FRAMES)
        is_plain = aac[2] or _frames_of(track, bytes(first), kind) == _AAC_FRAMES
        return kind if is_plain else None
    if codec == "alac" and (alac := _kernel.read_alac_config(extradata)):
        times = [one.timestamp for one in track.index_entries]
        base = (track.time_base.numerator, track.time_base.denominator)
        is_regular = all(b - a == alac[2] for a, b in pairwise(times)) and base == (1, alac[0])
        return _Kind(codec, *alac) if is_regular else None
    return None


def _skipped_by(packet: _Packet) -> int | None:
    """Return how many frames the decoder drops from this packet on; None if some at its end."""
    for data in packet.iter_sidedata():
        if data.data_type == "skip_samples":
            start, end = unpack("<II", bytes(data)[:8])
            return None if end else int(start)
    return 0


def _frames_of(track: _AudioStream, data: bytes, kind: _Kind) -> int:
    """Return how many frames a packet gives; 0 if it gives none, or not what the header says."""
    try:
        frames = track.codec_context.decode(packet_of(data))
    except import_pyav().FFmpegError:
        return 0
    if any((one.sample_rate, one.layout.nb_channels) != kind[1:3] for one in frames):
        return 0
    return sum(one.samples for one in frames)
