"""What the kernel assumes of the MP3 decoder, checked against the one in use.

``src/kernel/sources/mp3_source.h`` lists the assumptions, which were verified with libsndfile 1.2.2
and libmpg123 1.32.3. If a test fails here, windows of MP3 files may no longer equal the decode from
the start with this version of libsndfile. Nothing of headrace is called: files are encoded and
decoded with soundfile's own libsndfile, and taken apart here.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.support.mp3_files import layer2
from tests.support.mp3_reference import EndlessFile, Mp3, decode

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="MP3 is decoded from the start there"
)

Audio = NDArray[np.float32]

KBPS = {
    1152: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    576: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
DECODER_DELAY = 529
RING = 16
ROUNDING = 1e-6
"""More than sums of another order differ by, and less than any missing audio does."""

STREAMS = [
    pytest.param(rate, channels, mode, id=f"{rate}-{channels}-{mode}")
    for rate in (22_050, 44_100)
    for channels in (1, 2)
    for mode in ("CONSTANT", "VARIABLE")
]


@dataclass(frozen=True)
class Stream:
    """An encoded recording: the encoder's tag, and the frames of audio after it."""

    rate: int
    channels: int
    tag: bytes
    frames: tuple[bytes, ...]

    @property
    def samples(self) -> int:
        """Samples in a frame."""
        return 1152 if self.rate >= 32_000 else 576

    @property
    def side(self) -> int:
        """Bytes of side information."""
        return {(1152, 1): 17, (1152, 2): 32, (576, 1): 9, (576, 2): 17}[
            self.samples, self.channels
        ]

    def reservoir(self, n: int) -> int:
        """Return how many bytes of frame `n` stand in the frames before it."""
        side = self.frames[n][4:]
        return side[0] if self.samples == 576 else side[0] << 1 | side[1] >> 7

    def data(self, n: int) -> bytes:
        """Return the audio data that frame `n` carries."""
        return self.frames[n][4 + self.side :]

    def silence(self, reservoir: bytes) -> bytes:
        """Return a frame of silence that ends with these bytes."""
        like, least = self.frames[0], 4 + self.side + 8 + len(reservoir)
        code = next(c for c in range(1, 15) if frame_bytes(self.samples, c, self.rate) >= least)
        head = bytes([0xFF, like[1] | 1, code << 4 | like[2] & 0x0C, like[3] & 0xC0])
        rest = frame_bytes(self.samples, code, self.rate) - len(head) - len(reservoir)
        return head + bytes(rest) + reservoir


def frame_bytes(samples: int, code: int, rate: int) -> int:
    """Return the bytes of a frame without padding."""
    return samples // 8 * 1000 * KBPS[samples][code] // rate


@cache
def stream(rate: int, channels: int, mode: str = "CONSTANT") -> Stream:
    """Encode three seconds of a rising tone, with noise in bursts."""
    t = np.arange(3 * rate)[:, None] / rate
    noise = np.random.default_rng(0).standard_normal((len(t), channels))
    tones = np.sin(2 * np.pi * (200 + 300 * np.arange(channels)) * t * (1 + t / 20))
    audio = 0.3 * tones + 0.1 * noise * (np.sin(2 * np.pi * 3 * t) > 0)
    file = io.BytesIO()
    soundfile.write(
        file,
        audio,
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode=mode,
        compression_level=0.5,
    )
    data, samples, frames = file.getvalue(), 1152 if rate >= 32_000 else 576, []
    while data:
        size = frame_bytes(samples, data[2] >> 4, rate) + (data[2] >> 1 & 1)
        frames.append(data[:size])
        data = data[size:]
    assert all(frame[0] == 0xFF and frame[1] & 1 for frame in frames)  # and no checksums
    return Stream(rate, channels, frames[0], tuple(frames[1:]))


@cache
def untagged(one: Stream) -> Audio:
    """Decode the frames of audio from the first one on."""
    return decode(EndlessFile(b"".join(one.frames)))


def shifted(one: Stream, first: int, *, silent: int, reservoir: bytes) -> Audio:
    """Decode from frame `first` on behind silent frames, and drop those."""
    before = [one.silence(bytes(len(reservoir)))] * (silent - 1) + [one.silence(reservoir)]
    return decode(EndlessFile(b"".join([*before, *one.frames[first:]])))[silent * one.samples :]


@pytest.mark.parametrize(("rate", "channels", "mode"), STREAMS)
def test_a_stream_without_a_tag_is_decoded_whole(rate: int, channels: int, mode: str) -> None:
    """Every frame gives its samples, none is dropped, and the file's size shortens nothing."""
    one = stream(rate, channels, mode)

    assert len(untagged(one)) == len(one.frames) * one.samples


@pytest.mark.parametrize(("rate", "channels", "mode"), STREAMS)
def test_decoding_begins_anywhere_behind_silence(rate: int, channels: int, mode: str) -> None:
    """A full reservoir and the ring's position are all that matters, two transforms later."""
    one = stream(rate, channels, mode)
    reference, warm_up = untagged(one), 2 * 576 // one.samples
    turns = one.samples // 32  # of the ring, by each frame
    period = RING // np.gcd(RING, turns)

    for first in range(40, 40 + 8):
        data = b"".join(one.data(n) for n in range(first))
        reservoir = data[len(data) - one.reservoir(first) :]
        silent = int((first - 1) % period + 1)
        for more in (0, period):
            got = shifted(one, first, silent=silent + int(more), reservoir=reservoir)
            exact = warm_up * one.samples
            expected = reference[first * one.samples :]
            assert len(got) == len(expected)
            assert got[exact:].tobytes() == expected[exact:].tobytes(), (first, silent)
            assert np.abs(got[:exact] - expected[:exact]).max() > ROUNDING  # the overlap is missing


@pytest.mark.parametrize(("rate", "channels", "mode"), STREAMS)
def test_a_frame_needs_its_reservoir(rate: int, channels: int, mode: str) -> None:
    """With other bytes in it, the first frame stays wrong by more than its overlap."""
    one = stream(rate, channels, mode)
    first = next(n for n in range(40, len(one.frames)) if one.reservoir(n) > 20)
    got = shifted(one, first, silent=8, reservoir=bytes(one.reservoir(first)))

    after_overlap = slice(576, one.samples + 576)
    expected = untagged(one)[first * one.samples :]
    assert np.abs(got[after_overlap] - expected[after_overlap]).max() > ROUNDING


@pytest.mark.parametrize("delay", [0, 576, 1_100, 1_775])
@pytest.mark.parametrize("padding", [100, 529, 900])
@pytest.mark.parametrize(("rate", "channels", "mode"), STREAMS)
def test_a_tag_drops_the_encoders_delay_and_529_samples(
    rate: int, channels: int, mode: str, delay: int, padding: int
) -> None:
    """What is left is as long as its tag says, and the same samples as without a tag."""
    one = stream(rate, channels, mode)
    at = one.tag.index(b"LAME") + 21
    tag = one.tag[:at] + (delay << 12 | padding).to_bytes(3, "big") + one.tag[at + 3 :]

    got = decode(io.BytesIO(tag + b"".join(one.frames)))

    skip = delay + DECODER_DELAY
    length = len(one.frames) * one.samples - delay - max(padding, DECODER_DELAY)
    assert got.tobytes() == untagged(one)[skip : skip + length].tobytes()


@pytest.mark.parametrize("channels", [1, 2])
def test_a_frame_with_wrong_side_information_is_dropped(channels: int) -> None:
    """Zeros stand in its place, and what follows is the same audio but for rounding."""
    one = stream(44_100, channels)
    frame, n = bytearray(one.frames[50]), 50
    first = 32 + 9 + (5 if channels == 1 else 3) + 4 * channels + 12  # the bit of big_values
    for bit, value in enumerate(f"{300:09b}", first):  # at most 288 are valid
        frame[bit // 8] &= ~(0x80 >> bit % 8)
        frame[bit // 8] |= int(value) << 7 - bit % 8

    got = decode(EndlessFile(b"".join([*one.frames[:n], frame, *one.frames[n + 1 :]])))

    expected = untagged(one)
    assert len(got) == len(expected)
    assert got[: n * 1152].tobytes() == expected[: n * 1152].tobytes()
    assert not got[n * 1152 : (n + 1) * 1152].any()
    assert np.abs(got[(n + 2) * 1152 :] - expected[(n + 2) * 1152 :]).max() < ROUNDING


def test_a_frame_with_damaged_audio_data_may_become_zeros() -> None:
    """What follows the damage is the same audio but for rounding, zeros or not."""
    one, n = stream(44_100, 1), 50
    expected, zeros = untagged(one), 0
    for seed in range(20):
        noise = np.random.default_rng(seed).bytes(len(one.data(n)))
        frame = one.frames[n][: 4 + one.side] + noise
        got = decode(EndlessFile(b"".join([*one.frames[:n], frame, *one.frames[n + 1 :]])))

        assert len(got) == len(expected)
        assert np.abs(got[(n + 4) * 1152 :] - expected[(n + 4) * 1152 :]).max() < ROUNDING
        zeros += not got[(n + 1) * 1152 : (n + 2) * 1152].any()

    assert zeros > 0


@pytest.mark.parametrize(("rate", "channels", "mode"), STREAMS)
def test_what_is_no_frame_is_skipped(rate: int, channels: int, mode: str) -> None:
    """The decoder looks for the next frame, so that the opening of a file needs its first byte."""
    one = stream(rate, channels, mode)
    data = [*one.frames[:50], b"no frame" * 10, *one.frames[50:]]

    got = decode(EndlessFile(b"".join(data)))

    assert len(got) == len(untagged(one))
    late = 56 * one.samples
    assert np.abs(got[late:] - untagged(one)[late:]).max() < ROUNDING


@pytest.mark.parametrize(("rate", "channels", "mode"), STREAMS)
def test_silence_before_the_first_frame_changes_nothing(
    rate: int, channels: int, mode: str
) -> None:
    """Behind a whole period of silent frames, the decoder is as it was when it was opened."""
    one = stream(rate, channels, mode)
    silent = RING // np.gcd(RING, one.samples // 32)

    got = shifted(one, 0, silent=int(silent), reservoir=b"")

    assert got.tobytes() == untagged(one).tobytes()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [22_050, 44_100])
def test_frames_of_layer_2_need_nothing_but_the_ring(rate: int, channels: int) -> None:
    """Behind silence, the second frame on is the same to the bit: there is no reservoir."""
    mp3 = Mp3(layer2(rate, channels))
    frames = [mp3.data[frame.at : frame.end] for frame in mp3.frames]
    head = bytes([frames[0][0], frames[0][1] | 1, frames[0][2] & 0xFD, frames[0][3] & 0xC0])
    silence = head.ljust(mp3.frames[0].size - (frames[0][2] >> 1 & 1), b"\0")
    whole = decode(EndlessFile(b"".join(frames)))
    assert len(whole) == len(frames) * 1_152

    for first in range(8):
        silent = (first + 3) % 4 + 1
        got = decode(EndlessFile(b"".join([silence] * silent + frames[first:])))[silent * 1_152 :]
        assert got[1_152:].tobytes() == whole[(first + 1) * 1_152 :].tobytes()
