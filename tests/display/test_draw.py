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
    frequency_ticks,
    spectrogram_height,
    spectrogram_png,
    time_ticks,
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


def _tone(hz: float, seconds: float = 2.0, rate: int = RATE) -> NDArray[np.float32]:
    time = np.arange(round(rate * seconds)) / rate
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


@pytest.mark.parametrize(
    ("rate", "hz"),
    [(16_000, 300), (16_000, 1_000), (16_000, 6_000), (48_000, 12_000), (256_000, 40_000)],
)
def test_the_height_of_a_frequency_is_where_its_tone_is_drawn(rate: int, hz: float) -> None:
    """The brightest row of the picture contains the height, or is next to the row that does."""
    pixels, _ = _read(spectrogram_png(_tone(hz, 0.5, rate), rate))
    brightest = int(np.argmax(pixels.mean(axis=1)))

    row = (1 - spectrogram_height(hz, rate)) * len(pixels)

    assert brightest - 1 <= row <= brightest + 2


@given(st.integers(1_000, 600_000), st.floats(0, 1e6), st.floats(0, 1e6))
def test_heights_are_in_the_picture_and_in_order(rate: int, one: float, other: float) -> None:
    """A higher frequency is never lower in the picture; those outside are at its edges."""
    low, high = (spectrogram_height(hz, rate) for hz in sorted((one, other)))

    assert 0 <= low <= high <= 1
    assert spectrogram_height(0, rate) == 0
    assert spectrogram_height(rate / 2, rate) == 1


@pytest.mark.parametrize("rate", [4_000, 8_000, 16_000, 22_050, 48_000, 192_000, 384_000])
def test_axes_have_few_ticks_at_round_frequencies(rate: int) -> None:
    """There are two to six, from the bottom up, each at the height of its frequency."""
    ticks = list(frequency_ticks(rate))
    hertz = [float(text.split()[0]) * (1_000 if "kHz" in text else 1) for _, text in ticks]

    assert 2 <= len(ticks) <= 6
    assert [height for height, _ in ticks] == [spectrogram_height(hz, rate) for hz in hertz]
    assert np.all(np.diff([height for height, _ in ticks]) > 0.1)


@pytest.mark.parametrize(
    ("length_s", "texts"),
    [
        (5.0, ["0 s", "1 s", "2 s", "3 s", "4 s"]),
        (3.0, ["0 s", "1 s", "2 s"]),
        (0.5, ["0 s", "0.1 s", "0.2 s", "0.3 s", "0.4 s"]),
        (0.96, ["0 s", "0.2 s", "0.4 s", "0.6 s", "0.8 s"]),
        (60.0, ["0 s", "20 s", "40 s"]),
    ],
)
def test_times_have_round_ticks(length_s: float, texts: list[str]) -> None:
    """At most five, of which the first is at zero; the end has none."""
    ticks = list(time_ticks(length_s))

    assert [text for _, text in ticks] == texts
    assert [place for place, _ in ticks] == pytest.approx(
        [float(text.split()[0]) / length_s for text in texts]
    )
