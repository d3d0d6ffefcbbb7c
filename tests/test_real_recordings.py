"""Real recordings, where there are some beside the checkout: see CONTRIBUTING.md.

Every behaviour here is also covered by audio that the tests make; these are the same claims about
files that recorders in the field have written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

import headrace
from headrace.errors import HeadraceWarning
from references import Reference
from sounds import write

if TYPE_CHECKING:
    from headrace import Catalog

ORDERS: tuple[Literal["window", "file"], ...] = ("window", "file")
AUDIO = Path(__file__).parents[1].parent / "shared" / "audio"

real = pytest.mark.skipif(not AUDIO.is_dir(), reason="no folder of real recordings is there")


def scan(folder: str) -> Catalog:
    """Return the catalog of one folder of the real recordings."""
    if folder == "field":  # holds a file that declares audio and has none
        with pytest.warns(HeadraceWarning, match=r"empty_2c\.wav"):
            return headrace.scan(AUDIO / folder)
    return headrace.scan(AUDIO / folder)


def assert_exact(windows: headrace.Windows) -> None:
    """Check all windows, plain and threaded, against each other and against whole files."""
    reference = Reference(windows)
    plain = list(windows.loader(workers=0))
    assert [one.index for one in plain] == list(range(len(windows)))
    for one in plain:
        assert one.audio.tobytes() == reference.window(one).tobytes(), (one.file_id, one.offset)
    for workers in (1, 2, 8):
        threaded = list(windows.loader(workers=workers))
        for a, b in zip(plain, threaded, strict=True):
            assert (a.file_id, a.offset) == (b.file_id, b.offset)
            assert a.audio.tobytes() == b.audio.tobytes()
        batches = list(windows.loader(workers=workers, batch_size=7))
        together = np.concatenate([batch.audio for batch in batches])
        assert together.tobytes() == b"".join(one.audio.tobytes() for one in plain)


@real
@pytest.mark.parametrize("folder", ["indices", "field", "events", "codecs"])
def test_real_windows_are_slices(folder: str) -> None:
    """Plain and threaded loaders give the same windows in the same order, each an exact slice."""
    windows = scan(folder).windows(sample_rate=16_000, window_s=5.0)
    assert_exact(windows)


@real
@pytest.mark.parametrize("folder", ["indices", "field", "events", "codecs"])
def test_real_windows_are_slices_however_they_are_cut(folder: str) -> None:
    """So do overlapping windows with shifted tails, at another rate, from one channel, shuffled."""
    windows = scan(folder).windows(32_000, 3.0, 1.3, tail="shift", channel=0)
    expected = {one.index: one.audio.tobytes() for one in windows.loader(workers=0)}
    for by in ORDERS:
        for one in windows.shuffle(seed=1, by=by).loader(workers=2):
            assert one.audio.tobytes() == expected[one.index]
    reference = Reference(windows)
    for one in windows[::5].loader(workers=0):
        assert one.audio.tobytes() == reference.window(one).tobytes()


@real
def test_real_counts() -> None:
    """48 recordings of exactly 10 s (220,000 frames at 22,000 Hz) hold two windows of 5 s each."""
    catalog = headrace.scan(AUDIO / "indices" / "*.wav")
    assert set(catalog.frames) == {220_000}
    assert set(catalog.sample_rates) == {22_000}
    assert len(catalog.windows(16_000, 5.0, tail="drop")) == 96
    assert len(catalog.windows(16_000, 5.0, tail="pad")) == 96
    assert len(catalog.windows(16_000, 5.0, 2.5, tail="drop")) == 144


def test_counts_where_the_tail_is_short(tmp_path: Path) -> None:
    """48 recordings of 220,000 frames at 22,050 Hz hold 48 full windows of 5 s, and 48 nearly full.

    The second window lacks 362 of its 80,000 samples: 220,000 frames are 159,638 samples at 16 kHz.
    """
    for number in range(48):
        write(tmp_path / f"{number}.wav", np.zeros((220_000, 1)), 22_050, "WAV", "PCM_16")
    catalog = headrace.scan(tmp_path)
    assert len(catalog.windows(16_000, 5.0, tail="drop")) == 48
    assert len(catalog.windows(16_000, 5.0, tail="pad")) == 96
    assert len(catalog.windows(16_000, 5.0, 2.5, tail="drop")) == 96
    assert catalog.windows(16_000, 5.0).coverage.padded_s == pytest.approx(48 * 362 / 16_000)


@real
def test_the_damaged_file_is_told() -> None:
    """A 45-byte WAV that declares 116 bytes is a failure of the catalog, not of the scan."""
    catalog = scan("field")
    assert [(one.file_id, one.code) for one in catalog.failures] == [
        ("empty_2c.wav", headrace.Code.EMPTY)
    ]
