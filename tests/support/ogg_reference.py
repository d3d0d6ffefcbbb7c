"""What Vorbis and Opus in Ogg hold: every packet decoded by PyAV, trimmed as the pages say.

It shares no code with headrace. How many frames a packet has, the decoder says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.support.ogg_pages import CONTINUED, FIRST, LAST, Page, packets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from headrace import _kernel

__all__ = ["Link", "decode", "decode_by_index", "links"]


@dataclass(frozen=True)
class Link:
    """One logical stream: its headers, and its pages with audio as lists of packets."""

    codec: str
    headers: list[bytes]
    pages: list[tuple[Page, list[bytes]]]

    def decoder(self) -> Any:
        """Return a new decoder."""
        import av

        decoder = av.CodecContext.create(self.codec, "r")
        decoder.thread_count = 1
        head = self.headers[0]
        if self.codec == "opus":
            decoder.extradata = head[:10] + b"\0\0" + head[12:]  # it is to skip nothing
            return decoder
        sizes = b"".join(
            b"\xff" * (len(one) // 255) + bytes([len(one) % 255]) for one in self.headers[:2]
        )
        decoder.extradata = b"\2" + sizes + b"".join(self.headers)
        return decoder

    def raw(self) -> tuple[NDArray[np.float32], list[int]]:
        """Return all frames that a decoder gives, and how many of them each page has."""
        decoder = self.decoder()
        pieces, counts = [], []
        late = 0
        for _, group in self.pages:
            found = [piece for packet in group for piece in _pieces(decoder, packet)]
            pieces += found
            count = sum(map(len, found))
            # What the decoder holds back belongs to this page: Opus has whole milliseconds.
            held = -(count - late) % 120 if self.codec == "opus" else 0
            counts.append(count - late + held)
            late = held
        pieces += _pieces(decoder, None)
        return np.concatenate(pieces), counts

    def trims(self, counts: Sequence[int]) -> tuple[int, int]:
        """Return the frames to be cut off at the start and at the end."""
        begin = self.headers[0][10] | self.headers[0][11] << 8 if self.codec == "opus" else 0
        end, known, since, total = 0, None, 0, 0
        for (page, group), count in zip(self.pages, counts, strict=True):
            since += count
            total += count
            if page.granule < 0 or not group:
                continue
            last = bool(page.flags & LAST)
            if known is None and not last and self.codec == "vorbis" and 0 < page.granule < total:
                begin = total - page.granule
            if last:
                expected = total if known is None else known + since
                end = min(max(0, expected - page.granule), since)
            known, since = page.granule, 0
        return begin, end


def _pieces(decoder: Any, data: bytes | None) -> list[NDArray[np.float32]]:
    import av

    packet = None
    if data is not None:  # av.Packet(data) has no zeros behind it, which decoders read
        packet = av.Packet(len(data))
        packet.update(data)
    return [frame.to_ndarray().T for frame in decoder.decode(packet)]


def links(pages: Sequence[Page]) -> list[Link]:
    """Return the audio streams of a file that follow each other, of undamaged pages."""
    groups: list[list[Page]] = []
    before = None
    for page in pages:
        if page.flags & FIRST and not (before is not None and before.flags & FIRST):
            groups.append([])
        groups[-1].append(page)
        before = page
    return [_link(group) for group in groups]


def _link(pages: list[Page]) -> Link:
    codecs = {b"\1vorbis": "vorbis", b"OpusHea": "opus"}
    first = next(page for page in pages if page.body[:7] in codecs)
    codec = codecs[first.body[:7]]
    own = [page for page in pages if page.serial == first.serial]
    wanted = 3 if codec == "vorbis" else 2
    count = next(n for n in range(1, len(own)) if len(packets(own[:n])) >= wanted)
    headers = packets(own[:count])
    found: list[tuple[Page, list[bytes]]] = []
    held, number = b"", own[count].number if len(own) > count else 0
    for page in own[count:]:
        if page.number != number or not page.flags & CONTINUED:
            held = b""
        group, at, skip = [], 0, bool(page.flags & CONTINUED) and not held
        for size in page.lacing:
            held += page.body[at : at + size]
            at += size
            if size < 255:
                if not skip and _is_audio(codec, held):
                    group.append(held)
                held, skip = b"", False
        found.append((page, group))
        number = page.number + 1
        if page.flags & LAST:
            break
    return Link(codec, headers, found)


def _is_audio(codec: str, packet: bytes) -> bool:
    return bool(packet) and not (codec == "vorbis" and packet[0] & 1)


def decode(pages: Sequence[Page]) -> NDArray[np.float32]:
    """Return the recording as one decode of each link gives it: shape ``(frames, channels)``."""
    whole = []
    for link in links(pages):
        raw, counts = link.raw()
        begin, end = link.trims(counts)
        whole.append(raw[begin : len(raw) - end])
    return np.concatenate(whole)


def decode_by_index(pages: Sequence[Page], index: _kernel.OggIndex) -> NDArray[np.float32]:
    """Return the recording as its anchors define it: only Opus differs from `decode`."""
    if index.codec == "vorbis":
        return decode(pages)
    whole = []
    offsets = {}
    at = 0
    for page in pages:
        offsets[page.serial, page.number, page.granule] = at
        at += len(page.pack())
    for number, (link, found) in enumerate(zip(links(pages), index.links, strict=True)):
        stop = [*index.links, None][number + 1]
        ends = [one.start for one in found.anchors] + [index.frames if stop is None else stop.start]
        begins = [(found.start, found.trim, found.audio_offset)]
        begins += [(one.start, one.skip, one.offset) for one in found.anchors]
        for (start, skip, offset), end in zip(begins, ends, strict=True):
            decoder = link.decoder()
            pieces: list[NDArray[np.float32]] = []
            for page, group in link.pages:
                if offsets[page.serial, page.number, page.granule] < offset:
                    continue
                if sum(map(len, pieces)) >= skip + end - start:
                    break
                pieces += [piece for packet in group for piece in _pieces(decoder, packet)]
            pieces += _pieces(decoder, None)
            whole.append(np.concatenate(pieces)[skip : skip + end - start])
    return np.concatenate(whole)
