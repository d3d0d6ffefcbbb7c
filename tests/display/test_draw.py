import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.display._draw import (
    COLOURS,
    WAVE_HEIGHT,
    WAVE_WIDTH,
    encode_png,
    spectrogram_png,
    waveform_path,
)
from tests.support.sounds import noise

RATE = 16_000


def _read(content: bytes) -> tuple[NDArray[np.uint8], bytes]:
    """Return the pixels and the palette of a PNG, and check it strictly."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks = {}
    at = 8
    while at < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        (check,) = struct.unpack_from(">I", content, at + 8 + size)
        assert check == zlib.crc32(name + body)
        chunks[name] = body
        at += 12 + size
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    columns, rows, depth, kind, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, kind, rest) == (8, 3, [0, 0, 0])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, columns + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], chunks[b"PLTE"]


def _tone(hz: float, seconds: float = 2.0) -> NDArray[np.float32]:
    time = np.arange(round(RATE * seconds)) / RATE
    return (0.5 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**32 - 1),
)
def test_a_png_holds_its_pixels(shape: tuple[int, int], seed: int) -> None:
    """Decoding returns the encoded pixels and palette."""
    pixels = np.random.default_rng(seed).integers(0, 64, shape).astype(np.uint8)

    found, palette = _read(encode_png(pixels, COLOURS))

    assert np.array_equal(found, pixels)
    assert palette == COLOURS


def test_colours_get_lighter_in_equal_steps() -> None:
    """The CIE 1976 lightness rises from each colour to the next, without large steps."""
    srgb = np.frombuffer(COLOURS, np.uint8).reshape(-1, 3) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(np.maximum(luminance, 216 / 24389)) - 16

    steps = np.diff(lightness[lightness > 8])  # below 8, CIE lightness is linear
    assert lightness[0] < 10
    assert lightness[-1] > 92
    assert steps.min() > 0
    assert steps.max() < 2 * np.median(steps)


def test_a_tone_is_a_bright_line_at_its_height() -> None:
    """Low frequencies are at the bottom, high ones at the top."""
    heights = []
    for hz in (200, 800, 3_000, 7_000):
        pixels, _ = _read(spectrogram_png(_tone(hz), RATE))
        loudest = pixels.mean(axis=1).argmax()
        assert pixels[loudest].min() > 55
        heights.append(len(pixels) - loudest)

    assert heights == sorted(heights)
    assert heights[0] < 20
    assert heights[-1] > 85


def test_time_goes_from_left_to_right() -> None:
    """A sound in the second half is in the right half."""
    audio = _tone(1_000)
    audio[: len(audio) // 2] *= 1e-4

    pixels, _ = _read(spectrogram_png(audio, RATE))
    middle = pixels.shape[1] // 2

    assert pixels[:, : middle - 10].max() < pixels[:, middle + 10 :].max() - 30


def test_silence_is_dark() -> None:
    """Zeros and noise in the last bit give a black picture."""
    for audio in (np.zeros(8_000), noise(8_000)[:, 0] * 1e-6):
        pixels, _ = _read(spectrogram_png(audio.astype(np.float32), RATE))
        assert not pixels.any()


def test_a_short_sound_is_seen_in_a_long_window() -> None:
    """Each column is the maximum of its span, so that no click is lost."""
    audio = (1e-4 * noise(120 * RATE)[:, 0]).astype(np.float32)
    audio[60 * RATE : 60 * RATE + 400] = _tone(2_000)[:400]

    pixels, _ = _read(spectrogram_png(audio, RATE))

    assert pixels.shape[1] <= 320
    assert pixels.mean(axis=0).argmax() == pytest.approx(160, abs=1)


@settings(max_examples=40, deadline=None)  # a busy machine may need longer than 200 ms
@given(
    st.integers(1, 3_000),
    st.sampled_from([1, 50, 1_000, 8_000, 22_050, 250_000, 655_350]),
    st.integers(0, 3),
)
def test_any_audio_at_any_rate_can_be_drawn(samples: int, rate: int, channels: int) -> None:
    """One sample is enough, at any sample rate."""
    audio = noise(samples, max(channels, 1)).T.astype(np.float32)

    pixels, _ = _read(spectrogram_png(audio if channels else audio[0], rate))

    assert pixels.size
    assert waveform_path(audio if channels else audio[0]).startswith("M")


def test_a_waveform_touches_both_ends_at_full_scale() -> None:
    """Peaks are drawn however many samples a column covers."""
    audio = np.zeros(100_000, np.float32)
    audio[30_000], audio[70_000] = 1.0, -1.0

    numbers = [float(n) for n in re.findall(r"[\d.]+", waveform_path(audio))]
    x, y = numbers[::2], numbers[1::2]

    assert (min(y), max(y)) == (0, WAVE_HEIGHT)
    assert x[y.index(0)] == pytest.approx(0.3 * WAVE_WIDTH, abs=1)
    assert x[y.index(WAVE_HEIGHT)] == pytest.approx(0.7 * WAVE_WIDTH, abs=1)
