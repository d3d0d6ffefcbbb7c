"""Law 1 to the bit, for all formats, signals, bitrates, sample rates, channels and workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from tests.support.deliveries import delivered_rows
from tests.support.sounds import KINDS, SIGNALS, decode_whole, medley, most_channels, write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LOSSY = [
    ("OGG", "VORBIS", 22_050),
    ("OGG", "VORBIS", 48_000),
    ("OGG", "OPUS", 24_000),
    ("OGG", "OPUS", 48_000),
    ("MP3", "MPEG_LAYER_III", 22_050),
    ("MP3", "MPEG_LAYER_III", 48_000),
]
SIZE, HOP = 1_500, 1_009


def floats(pcm: NDArray[Any]) -> NDArray[np.float32]:
    """Return samples as float32, rounded once."""
    scale = -float(np.iinfo(pcm.dtype).min) if pcm.dtype.kind == "i" else 1.0
    return (pcm / scale).astype(np.float32)


def assert_every_window_is_a_slice(path: Path) -> int:
    """Compare all windows, however they are loaded, with the decode from the start; count them."""
    (recording,) = catalog = headrace.scan(path, decoder="libsndfile")
    rate = recording.sample_rate
    windows = catalog.windows(None, SIZE / rate, HOP / rate, channel="all", tail="drop")
    reference = floats(decode_whole(recording))
    assert len(reference) == recording.frames
    compared = 0
    for order, workers in ((windows, 2), (windows.shuffle(0), 0), (windows.shuffle(1), 3)):
        for row in delivered_rows(order.loader(batch_size=8, workers=workers)):
            expected = reference[row.index * HOP : row.index * HOP + SIZE]
            assert np.array_equal(row.audio, expected.T), (row.index, workers)
            compared += 1
    assert compared == 3 * len(windows)
    return compared


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_windows_of_every_kind_are_slices(
    tmp_path: Path, kind: str, subtype: str, channels: int
) -> None:
    """Every format, with noise, tones, syllables with pauses and silence in one recording."""
    channels = min(channels, most_channels(kind, subtype))
    write(tmp_path / "a.audio", medley(24_000, channels, seed=channels), 16_000, kind, subtype)

    assert assert_every_window_is_a_slice(tmp_path / "a.audio") >= 3 * 22


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize(("kind", "subtype", "rate"), LOSSY)
def test_windows_of_lossy_files_are_slices(
    tmp_path: Path, kind: str, subtype: str, rate: int, signal: str, channels: int, level: float
) -> None:
    """Every lossy format and signal, at high, medium and low bitrates, mono and stereo."""
    audio = SIGNALS[signal](rate * 3 // 2, channels, seed=rate)
    write(tmp_path / "a.audio", audio, rate, kind, subtype, compression_level=level)

    assert assert_every_window_is_a_slice(tmp_path / "a.audio") >= 3 * 30
