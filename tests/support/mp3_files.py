"""MP3 files as people have them: tags, joins, cuts, and frames of layers I and II."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING

import av
import numpy as np
import soundfile

from tests.support.mp3_reference import Mp3
from tests.support.sounds import medley

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = [
    "APE",
    "ID3V1",
    "ID3V2",
    "LYRICS",
    "ODD_FILES",
    "layer1",
    "layer2",
    "layer3",
    "retagged",
    "untagged",
]

ID3V2 = b"ID3\x03\x00\x00\x00\x00\x0f\x00" + b"TIT2\x00\x00\x00\x02\x00\x00\x00a" + bytes(1_908)
PICTURE = b"ID3\x04\x00\x00\x00\x01\x00\x00" + np.random.default_rng(5).bytes(1 << 14)
ID3V1 = b"TAG" + b"title".ljust(125, b"\x00")
_WORDS = b"LYRICSBEGININD0000200LYR00005hello"
LYRICS = _WORDS + b"%06dLYRICS200" % len(_WORDS)


def _ape() -> bytes:
    item = b"\x05\x00\x00\x00\x00\x00\x00\x00Title\x00hello"

    def mark(flags: int) -> bytes:
        numbers = (2_000, 32 + len(item), 1, flags)
        return b"APETAGEX" + b"".join(n.to_bytes(4, "little") for n in numbers) + bytes(8)

    return mark(0xA0000000) + item + mark(0x80000000)


APE = _ape()


@cache
def layer3(
    rate: int = 22_050,
    channels: int = 1,
    mode: str = "CONSTANT",
    frames: int = 30_000,
    seed: int = 0,
) -> bytes:
    """Return an MP3 file with LAME's tag."""
    file = io.BytesIO()
    audio = medley(frames, channels, seed)
    soundfile.write(
        file,
        audio,
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode=mode,
        compression_level=0.6,
    )
    return file.getvalue()


@cache
def untagged(
    rate: int = 22_050,
    channels: int = 1,
    mode: str = "CONSTANT",
    frames: int = 30_000,
    seed: int = 0,
) -> bytes:
    """Return the same file without its tag, as ``ffmpeg -write_xing 0`` writes it."""
    data = layer3(rate, channels, mode, frames, seed)
    return data[Mp3(data).frames[0].at :]


@cache
def layer2(rate: int, channels: int = 1) -> bytes:
    """Return an MPEG layer II file, which FFmpeg's encoder writes."""
    file = io.BytesIO()
    layout = "mono" if channels == 1 else "stereo"
    audio = (medley(40_000, channels) * 32_000).astype(np.int16).reshape(1, -1)
    with av.open(file, "w", format="mp2") as container:
        stream = container.add_stream("mp2", rate=rate, layout=layout)
        stream.bit_rate = 64_000
        frame = av.AudioFrame.from_ndarray(audio, format="s16", layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def layer1(rate: int = 44_100, packets: int = 100) -> bytes:
    """Return an MPEG-1 layer I file of one channel: noise in eight bands."""
    rng = np.random.default_rng(0)
    size = 4 * (12_000 * 192 // rate)
    head = bytes([0xFF, 0xFF, 6 << 4 | {44_100: 0, 48_000: 1, 32_000: 2}[rate] << 2, 0xC0])
    frames = []
    for _ in range(packets):
        bits = "".join(["0011"] * 8 + ["0000"] * 24)  # samples of four bits in the lowest bands
        bits += "".join(f"{rng.integers(10, 20):06b}" for _ in range(8))
        bits += "".join(f"{rng.integers(0, 15):04b}" for _ in range(12 * 8))
        body = int(bits, 2).to_bytes(len(bits) // 8, "big")
        frames.append((head + body).ljust(size, b"\x00"))
    return b"".join(frames)


def retagged(data: bytes, change: Callable[[int], int]) -> bytes:
    """Return the file with another number of frames in its tag."""
    at = min(at for at in (data.find(b"Xing"), data.find(b"Info")) if at >= 0) + 8
    count = change(int.from_bytes(data[at : at + 4], "big"))
    return data[:at] + count.to_bytes(4, "big") + data[at + 4 :]


def vbri(data: bytes, count: int) -> bytes:
    """Put a Fraunhofer tag, which declares `count` frames, before an untagged file."""
    (first, *_) = Mp3(data).frames
    tag = b"VBRI" + bytes.fromhex("0001 0000 004b") + len(data).to_bytes(4, "big")
    tag += count.to_bytes(4, "big") + bytes(8)
    frame = data[: first.side.start] + bytes(32) + tag
    return frame.ljust(first.size, b"\x00")[: first.size] + data


def zeroed(data: bytes, at: int, count: int) -> bytes:
    """Overwrite bytes with zeros."""
    return data[:at] + bytes(count) + data[at + count :]


def inserted(data: bytes, what: bytes) -> bytes:
    """Insert bytes between the two frames in the middle."""
    frames = Mp3(data).frames
    at = frames[len(frames) // 2].at
    return data[:at] + what + data[at:]


def _noise(count: int) -> bytes:
    return np.random.default_rng(count).bytes(count)


ODD_FILES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "alone": lambda a, _: a,
    "ID3v2": lambda a, _: ID3V2 + a,
    "two ID3v2": lambda a, _: ID3V2 + PICTURE + a,
    "ID3v1": lambda a, _: a + ID3V1,
    "ID3v2 at the end": lambda a, _: a + ID3V2,
    "APE and ID3v1": lambda a, _: a + APE + ID3V1,
    "APE first": lambda a, _: APE + a,
    "Lyrics3 and ID3v1": lambda a, _: a + LYRICS + ID3V1,
    "zeros first": lambda a, _: bytes(3_000) + a,
    "HTTP header first": lambda a, _: b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + a,
    "noise first": lambda a, _: _noise(3_000) + a,
    "zeros last": lambda a, _: a + bytes(5_000),
    "noise last": lambda a, _: a + _noise(500),
    "last frame cut": lambda a, _: a[:-50],
    "last frame cut, ID3v1": lambda a, _: a[:-50] + ID3V1,
    "first third lost": lambda a, _: a[len(a) // 3 :],
    "joined": lambda a, b: a + b,
    "joined with ID3v2": lambda a, b: ID3V2 + a + ID3V2 + b,
    "joined with all tags": lambda a, b: ID3V2 + a + APE + ID3V1 + ID3V2 + b + ID3V1,
    "cut and joined": lambda a, b: a[:-50] + b,
    "cut and joined with ID3v2": lambda a, b: a[:-50] + ID3V2 + b,
    "joined in the middle": lambda a, b: a + b[len(b) // 3 :],
    "three": lambda a, b: a + b + a,
    "another stream between": lambda a, b: a + layer3(32_000, 2) + b,
    "ID3v2 inside": lambda a, _: inserted(a, ID3V2),
    "zeros inside": lambda a, _: zeroed(a, len(a) // 2, 900),
    "noise inside": lambda a, _: a[: len(a) // 2] + _noise(700) + a[len(a) // 2 :],
}
"""Files made of two files of the same format, by what was done to them."""


def computed_samples(data: bytes) -> NDArray[np.float32]:
    """Return what PyAV's FFmpeg decodes, all of it, shape ``(samples, channels)``."""
    with av.open(io.BytesIO(data), "r", format="mp3") as container:
        (stream,) = container.streams.audio
        stream.codec_context.flags2 |= 1 << 28  # AV_CODEC_FLAG2_SKIP_MANUAL
        parts = [frame.to_ndarray() for frame in container.decode(stream)]
    return np.concatenate(parts, axis=1, dtype=np.float32).T
