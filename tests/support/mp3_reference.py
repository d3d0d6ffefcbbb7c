"""What an MP3 file holds, found in Python: the oracle of the kernel's index.

The frames of a file are taken out, one by one, and decoded by soundfile's own libsndfile in one go,
behind no tag. No code is shared with headrace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["EndlessFile", "Mp3", "decode", "parse_frame"]

DECODER_DELAY = 529

_LOW_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_KBPS = {
    (3, False): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, False): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, False): tuple(range(0, 449, 32)),
    (3, True): _LOW_KBPS,
    (2, True): _LOW_KBPS,
    (1, True): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
}


class EndlessFile:
    """A file that seems to have 2**40 bytes: some data, nothing, and 128 zeros at its end.

    So libsndfile's estimate of the length, by the size of the file, cuts nothing off.
    """

    SIZE = 1 << 40

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self.SIZE)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int) -> bytes:
        read = self._data[self._at : self._at + count]
        if self._at >= self.SIZE - 128:
            read = bytes(min(count, self.SIZE - self._at))
        self._at += len(read)
        return read

    def readinto(self, memory: memoryview) -> int:
        read = self.read(len(memory))
        memory[: len(read)] = read
        return len(read)

    def write(self, _: bytes) -> int:
        return 0


def decode(file: Any, piece: int = 5_000) -> NDArray[np.float32]:
    """Decode a file in order, without the seek that `SoundFile.read` does after each read."""
    pieces: list[NDArray[np.float32]] = []
    with soundfile.SoundFile(file) as opened:
        while not pieces or len(pieces[-1]) == piece:
            audio = np.zeros((piece, opened.channels), np.float32)
            to = soundfile._ffi.cast("float *", audio.ctypes.data)
            pieces.append(audio[: soundfile._snd.sf_readf_float(opened._file, to, piece)])
    return np.concatenate(pieces)


@dataclass(frozen=True)
class Frame:
    """The header and the side information of a frame that begins at `at`."""

    at: int
    layer: int
    rate: int
    channels: int
    samples: int
    size: int
    side: slice = field(compare=False)
    reservoir: int
    valid: bool

    @property
    def stream(self) -> tuple[int, int, int]:
        """What all frames of one recording have in common."""
        return self.layer, self.rate, self.channels

    @property
    def end(self) -> int:
        return self.at + self.size


def parse_frame(data: bytes, at: int) -> Frame | None:
    """Return the frame whose header is at `at`, or None. It may reach beyond the end of `data`."""
    if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] < 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    code, rate_code = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or layer == 4 or rate_code == 3 or code in {0, 15}:
        return None
    low = version != 3
    rate = (44_100, 48_000, 32_000)[rate_code] // {3: 1, 2: 2, 0: 4}[version]
    kbps, padding = _KBPS[layer, low][code], data[at + 2] >> 1 & 1
    channels = 1 if data[at + 3] >> 6 == 3 else 2
    samples = {1: 384, 2: 1152, 3: 576 if low else 1152}[layer]
    size = 4 * (12_000 * kbps // rate + padding)
    if layer != 1:
        size = samples // 8 * 1000 * kbps // rate + padding
    start = at + (4 if data[at + 1] & 1 else 6)
    side = slice(start, start)
    if layer != 3:
        return Frame(at, layer, rate, channels, samples, size, side, 0, valid=True)
    side = slice(start, start + {(0, 1): 17, (0, 2): 32, (1, 1): 9, (1, 2): 17}[low, channels])
    bits = "".join(f"{byte:08b}" for byte in data[side].ljust(32, b"\0"))
    reservoir = int(bits[: 8 if low else 9], 2)
    left = 8 * (reservoir + at + size - side.stop)
    valid = _valid_side(bits, channels, left, low=low)
    return Frame(at, 3, rate, channels, samples, size, side, reservoir, valid)


def _valid_side(bits: str, channels: int, left: int, *, low: bool) -> bool:
    """Return whether a decoder accepts side information."""
    at = 8 + channels if low else 9 + (5 if channels == 1 else 3) + 4 * channels
    for _ in range(channels * (1 if low else 2)):
        left -= int(bits[at : at + 12], 2)
        big = int(bits[at + 12 : at + 21], 2)
        at += 29 + (9 if low else 4)
        switched, block = bits[at] == "1", bits[at + 1 : at + 3]
        if left < 0 or big > 288 or (switched and block == "00"):
            return False
        at += 23 + (2 if low else 3)
    return True


class Mp3:
    """An MP3 file: its frames and what decoding them gives.

    Parameters
    ----------
    data : bytes
        The file. Damage and foreign frames may be anywhere; the first frame is a good one.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data[: self._end(data)]
        self.after_loss: set[int] = set()
        self.start = next(at for at in range(len(data)) if self._chain(at, parse_frame(data, at)))
        frames = list(self._walk())
        self.declared, self.delay, self.padding = self._tag(frames[0])
        self.frames = frames if self.declared is None else frames[1:]

    @staticmethod
    def _end(data: bytes) -> int:
        """Return where the tags at the end begin."""
        tag = rb"((?<=.)LYRICSBEGIN.*)?(APETAGEX.{8}.*APETAGEX.{24})?(TAG.{125})?$"
        last = list(re.finditer(tag, data[-4_000:], re.DOTALL))
        return len(data) - max(len(one.group()) for one in last)

    def _skip_tag(self, at: int) -> int:
        if self.data[at : at + 3] == b"ID3":
            size = 0
            for byte in self.data[at + 6 : at + 10]:
                size = size << 7 | byte
            return at + 10 + size
        if self.data[at : at + 8] == b"APETAGEX":
            return at + 32 + int.from_bytes(self.data[at + 12 : at + 16], "little")
        return at + 128 if self.data[at : at + 3] == b"TAG" else at

    def _chain(self, at: int, like: Frame | None) -> Frame | None:
        """Return the frame at `at` if it is one of a chain: of 2 like another frame, else of 3.

        A chain may end early, at the end of the audio or at a tag, and its last frame may be cut.
        """
        first = parse_frame(self.data, at)
        if first is None or not first.valid or first.end > len(self.data):
            return None
        if like is not None and first.stream != like.stream:
            return None
        last = first
        for _ in range(1 if like else 2):
            if last.end >= len(self.data) or self._skip_tag(last.end) > last.end:
                return first
            after = parse_frame(self.data, last.end)
            if after is None or after.stream != first.stream:
                return None
            last = after
        return first

    def _begins(self, at: int, like: Frame) -> bool:
        """Return whether a frame, or a tag and a frame, begin at `at`."""
        if self.data[at : at + 3] == b"ID3":
            return parse_frame(self.data, self._skip_tag(at)) is not None
        chains = self.data[at] == 0xFF and (self._chain(at, like) or self._chain(at, None))
        return bool(chains)

    def _walk(self) -> Iterator[Frame]:
        """Yield the frames of the stream that the first frame begins."""
        at, last, lost = self.start, None, False
        like = parse_frame(self.data, at)
        assert like is not None
        while at < len(self.data):
            frame = parse_frame(self.data, at)
            if frame is not None and frame.stream == like.stream and frame.end <= len(self.data):
                if last is not None:
                    yield last
                if lost:
                    self.after_loss.add(at)
                at, last, lost = frame.end, frame, False
                continue
            tag = self._skip_tag(at)
            if (
                tag == at
                and frame is not None
                and frame.stream != like.stream
                and self._chain(at, None)
            ):
                tag, lost = frame.end, True
            if tag == at and last is not None and self.data[at] and last.end == at:
                inside = next((i for i in range(last.at + 4, at) if self._begins(i, like)), at)
                if inside < at:
                    at, last, lost = inside, None, True
                    continue
            if tag == at:
                places = (i for i in range(at + 1, len(self.data)) if self._begins(i, like))
                tag, lost = next(places, len(self.data)), True
            at = tag
        if last is not None:
            yield last

    def _tag(self, frame: Frame) -> tuple[int | None, int, int]:
        """Return what an encoder's tag in the first frame declares: frames, delay and padding."""
        at, data = frame.side.stop, self.data
        if frame.layer != 3 or data[at : at + 4] not in {b"Xing", b"Info"}:
            return None, 0, 0
        flags = data[at + 7]
        count = int.from_bytes(data[at + 8 : at + 12], "big") if flags & 1 else 0
        lame = at + 8 + 4 * bool(flags & 1) + 4 * bool(flags & 2) + 100 * bool(flags & 4)
        lame += 4 * bool(flags & 8)
        if lame + 24 > frame.end or not data[lame]:
            return count, 0, 0
        both = int.from_bytes(data[lame + 21 : lame + 24], "big")
        return count, both >> 12, both & 0xFFF

    @property
    def samples(self) -> int:
        """Samples in each frame."""
        return self.frames[0].samples

    @property
    def skip(self) -> int:
        """Samples that are dropped at the start."""
        return self.delay + DECODER_DELAY if self.declared else 0

    @property
    def length(self) -> int:
        """Samples of the recording."""
        exact = self.declared == len(self.frames)
        end = max(0, self.padding - DECODER_DELAY) if exact else 0
        return max(0, len(self.frames) * self.samples - self.skip - end)

    @property
    def stream(self) -> bytes:
        """The frames alone; silence stands for those that no decoder can decode."""
        parts, before = [], 0
        for frame in self.frames:
            before = 0 if frame.at in self.after_loss else before
            part, reservoir = bytearray(self.data[frame.at : frame.end]), frame.reservoir
            if frame.layer == 3 and (not frame.valid or reservoir > before):
                side = slice(frame.side.start - frame.at, frame.side.stop - frame.at)
                part[side] = bytes(side.stop - side.start)
                reservoir = before
                if frame.samples == 576:
                    part[side.start] = before
                else:
                    part[side.start : side.start + 2] = (before << 7).to_bytes(2, "big")
            before = min(
                reservoir + frame.end - frame.side.stop, 255 if frame.samples == 576 else 511
            )
            parts.append(bytes(part))
        return b"".join(parts)

    @cached_property
    def audio(self) -> NDArray[np.float32]:
        """One decode of all frames, shape ``(length, channels)``."""
        stream = bytearray(self.stream)
        at = self.frames[0].side.stop - self.frames[0].at
        if bytes(stream[at : at + 4]) in {b"Xing", b"Info"}:
            stream[at : at + 4] = bytes(4)  # a tag that is not the first is silence
        if len(self.frames) == 1:
            stream *= 2  # libsndfile does not open a file of one frame
        whole = decode(EndlessFile(bytes(stream)))[: len(self.frames) * self.samples]
        assert len(whole) == len(self.frames) * self.samples
        return whole[self.skip : self.skip + self.length]
