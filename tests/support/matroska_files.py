"""Matroska and WebM files, put together element by element as RFC 9559 says."""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["LACINGS", "Style", "packets_of", "remux"]

LACINGS: Final = ("none", "xiph", "fixed", "ebml")
"""As the flags of a block number them."""

_EBML, _SEGMENT, _INFO, _TRACKS, _TRACK = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE
_CLUSTER, _TIMESTAMP, _SIMPLE_BLOCK, _GROUP, _BLOCK = 0x1F43B675, 0xE7, 0xA3, 0xA0, 0xA1
_DISCARD_PADDING, _DURATION, _VOID = 0x75A2, 0x9B, 0xEC
_CODECS: Final = {"opus": "A_OPUS", "vorbis": "A_VORBIS", "mp3": "A_MPEG/L3", "aac": "A_AAC"}


@dataclass(frozen=True)
class Style:
    """How a file is written.

    Attributes
    ----------
    lacing : str
        One of `LACINGS`.
    together : int
        Packets of a block, at most. With fixed lacing, only packets of the same size are put
        together.
    groups : bool
        Whether blocks stand in groups, and not alone.
    unknown_sizes : bool
        Whether the segment and its clusters say that their sizes are unknown, as those of a live
        stream.
    prefix : bytes
        What all packets begin with, which is stripped.
    voids : bool
        Whether elements without a meaning stand between blocks.
    other_track : bool
        Whether blocks of subtitles stand between those of the audio.
    track : int
        The number of the audio's track.
    discard_ns : int
        What the last group says that the decoder has to drop.
    """

    lacing: str = "none"
    together: int = 1
    groups: bool = False
    unknown_sizes: bool = False
    prefix: bytes = b""
    voids: bool = False
    other_track: bool = False
    track: int = 1
    discard_ns: int = 0


def _number(value: int) -> bytes:
    """Return a number with the mark of its length; never the one that means unknown."""
    length = next(n for n in range(1, 9) if value < (1 << 7 * n) - 1)
    return (value | 1 << 7 * length).to_bytes(length, "big")


def _element(name: int, content: bytes, *, known: bool = True) -> bytes:
    head = name.to_bytes((name.bit_length() + 7) // 8, "big")
    return head + (_number(len(content)) if known else b"\x01" + b"\xff" * 7) + content


def _unsigned(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


def _text(name: int, value: str) -> bytes:
    return _element(name, value.encode())


def _float(name: int, value: float) -> bytes:
    return _element(name, struct.pack(">d", value))


def _laced(lacing: str, packets: Sequence[bytes]) -> bytes:
    """Return the number of packets, their sizes and themselves."""
    sizes = [len(one) for one in packets]
    head = bytes([len(packets) - 1])
    if lacing == "xiph":
        for size in sizes[:-1]:
            head += b"\xff" * (size // 255) + bytes([size % 255])
    elif lacing == "ebml":
        head += _number(sizes[0])
        for before, size in itertools.pairwise(sizes[:-1]):
            change = size - before
            length = next(n for n in range(1, 9) if abs(change) < (1 << (7 * n - 1)) - 1)
            biased = change + (1 << (7 * length - 1)) - 1
            head += (biased | 1 << 7 * length).to_bytes(length, "big")
    return head + b"".join(packets)


def packets_of(path: Path) -> tuple[list[bytes], Any]:
    """Return the packets of the first audio track, and what its decoder is opened with."""
    import av

    with av.open(str(path)) as file:
        track = file.streams.audio[0]
        return [bytes(one) for one in file.demux(track) if one.size], track.codec_context


def _blocks(packets: Sequence[bytes], style: Style) -> Iterator[list[bytes]]:
    block: list[bytes] = []
    for packet in packets:
        short = packet.removeprefix(style.prefix)
        assert len(short) + len(style.prefix) == len(packet), "they do not all begin alike"
        is_full = len(block) == style.together
        if block and (is_full or (style.lacing == "fixed" and len(block[0]) != len(short))):
            yield block
            block = []
        block.append(short)
    yield block


def remux(source: Path, path: Path, style: Style, packet_ms: int = 20) -> None:
    """Put the packets of a file's first audio track into a Matroska file.

    A cluster has 50 blocks. Packets are taken to be `packet_ms` long.
    """
    packets, decoder = packets_of(source)
    track = _unsigned(0xD7, style.track) + _unsigned(0x73C5, 7) + _unsigned(0x83, 2)
    track += _text(0x86, _CODECS[decoder.name.removesuffix("float")])
    if decoder.extradata:
        track += _element(0x63A2, decoder.extradata)
    track += _element(0xE1, _float(0xB5, decoder.sample_rate) + _unsigned(0x9F, decoder.channels))
    if style.prefix:  # content encoding: compression by a stripped header
        compression = _element(0x5034, _unsigned(0x4254, 3) + _element(0x4255, style.prefix))
        encoding = _unsigned(0x5031, 0) + _unsigned(0x5032, 1) + _unsigned(0x5033, 0) + compression
        track += _element(0x6D80, _element(0x6240, encoding))
    tracks = _element(_TRACK, track)
    if style.other_track:
        other = _unsigned(0xD7, style.track + 1) + _unsigned(0x73C5, 8) + _unsigned(0x83, 17)
        tracks += _element(_TRACK, other + _text(0x86, "S_TEXT/UTF8"))
    body = _element(_INFO, _unsigned(0x2AD7B1, 1_000_000)) + _element(_TRACKS, tracks)
    clusters: list[bytes] = []
    number = 0
    for count, block in enumerate(_blocks(packets, style)):
        if count % 50 == 0:
            begin = number * packet_ms
            clusters.append(_unsigned(_TIMESTAMP, begin))
        number += len(block)
        last = number == len(packets)
        time = (number - len(block)) * packet_ms - begin
        # EBML lacing says a first size that a single packet does not have.
        is_single = len(block) == 1 and style.lacing == "ebml"
        lacing = 0 if is_single else LACINGS.index(style.lacing)
        head = time.to_bytes(2, "big", signed=True) + bytes([lacing << 1])
        content = _laced(style.lacing, block) if lacing else block[0]
        content = _number(style.track) + head + content
        if style.voids:
            clusters[-1] += _element(_VOID, bytes(count % 7))
        if style.groups:
            group = _element(_BLOCK, content)
            if last and style.discard_ns:
                group += _element(_DISCARD_PADDING, style.discard_ns.to_bytes(4, "big"))
            clusters[-1] += _element(_GROUP, group)
        else:
            clusters[-1] += _element(_SIMPLE_BLOCK, content)
        if style.other_track and count % 5 == 0:
            words = _number(style.track + 1) + head[:2] + b"\0words"
            clusters[-1] += _element(_GROUP, _element(_BLOCK, words) + _unsigned(_DURATION, 10))
    known = not style.unknown_sizes
    body += b"".join(_element(_CLUSTER, one, known=known) for one in clusters)
    ebml = _text(0x4282, "matroska") + _unsigned(0x4287, 4) + _unsigned(0x4285, 2)
    path.write_bytes(_element(_EBML, ebml) + _element(_SEGMENT, body, known=known))
