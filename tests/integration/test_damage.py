"""Files with damage inside: which windows fail depends only on the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from tests.support.deliveries import delivered_rows, lost_windows
from tests.support.sounds import medley, write

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Windows

KINDS = [
    ("FLAC", "PCM_16", 22_050),
    ("MP3", "MPEG_LAYER_III", 22_050),
    ("OGG", "VORBIS", 22_050),
    ("OGG", "OPUS", 24_000),
    ("WAV", "IMA_ADPCM", 22_050),
    ("WAV", "MS_ADPCM", 22_050),
    ("AIFF", "PCM_16", 22_050),
]


def cut_off(data: bytearray, at: int, rng: np.random.Generator) -> None:
    """Cut off the end of the file."""
    del rng, data[at:]


def wipe(data: bytearray, at: int, rng: np.random.Generator) -> None:
    """Overwrite a part with zeros."""
    stop = min(len(data), at + int(rng.integers(1, 3_000)))
    data[at:stop] = bytes(stop - at)


def scramble(data: bytearray, at: int, rng: np.random.Generator) -> None:
    """Overwrite a part with noise."""
    stop = min(len(data), at + int(rng.integers(1, 300)))
    data[at:stop] = rng.bytes(stop - at)


def take_out(data: bytearray, at: int, rng: np.random.Generator) -> None:
    """Remove a part."""
    del data[at : at + int(rng.integers(1, 3_000))]


def outcome(windows: Windows, **how: Any) -> dict[int, bytes | str]:
    """Return each window's audio, or why it failed, by index."""
    loader = windows.loader(on_error="mask", **how)
    out: dict[int, bytes | str] = {row.index: row.audio.tobytes() for row in delivered_rows(loader)}
    assert len(out) == len(windows)
    for index, failure in lost_windows(loader.failures):
        out[index] = str(failure.code)
    return out


@pytest.mark.parametrize("damage", [cut_off, wipe, scramble, take_out])
@pytest.mark.parametrize(("kind", "subtype", "rate"), KINDS)
def test_which_windows_fail_does_not_depend_on_loading(
    tmp_path: Path, kind: str, subtype: str, rate: int, damage: Any
) -> None:
    """In order or shuffled, with any batches and workers, the same windows fail."""
    path = tmp_path / "a.audio"
    write(path, medley(8 * rate), rate, kind, subtype)
    good = path.read_bytes()
    windows = headrace.scan(path).windows(16_000, 0.7, 0.4)
    rng = np.random.default_rng(len(good))
    for _ in range(3):
        data = bytearray(good)
        damage(data, int(rng.integers(400, len(data) - 10)), rng)
        path.write_bytes(data)

        alone = outcome(windows, workers=0, batch_size=1)

        assert outcome(windows, workers=2, batch_size=40) == alone
        assert outcome(windows.shuffle(1), workers=1) == alone
        assert outcome(windows.shuffle(2, by="file"), workers=3, prefetch=5) == alone
