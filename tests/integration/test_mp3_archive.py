"""An archive of MP3 files as people have them: everything is delivered, and nothing raises."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

import headrace
from tests.support.mp3_files import ODD_FILES, layer2, layer3, retagged, untagged
from tests.support.mp3_reference import Mp3

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="libsndfile's length is used there")

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def _add(more: int, count: int) -> int:
    return max(0, count + more)


def encode(rng: np.random.Generator) -> tuple[bytes, bytes]:
    """Return two files of the same format, of any of an encoder's habits."""
    rate, channels = int(rng.choice(RATES)), int(rng.integers(1, 3))
    if rng.random() < 0.1 and rate >= 16_000:
        return layer2(rate, channels), layer2(rate, channels)
    mode = str(rng.choice(["CONSTANT", "VARIABLE", "AVERAGE"]))
    frames = int(rng.choice([2_000, 9_000, 20_000]))
    files = []
    for seed in range(2):
        if rng.random() < 0.4:
            files.append(untagged(rate, channels, mode, frames, seed))
            continue
        more = int(rng.integers(-2, 4)) if rng.random() < 0.3 else 0
        data = layer3(rate, channels, mode, frames, seed)
        files.append(retagged(data, partial(_add, more)))
    return files[0], files[1]


def make_archive(folder: Path, count: int, seed: int = 0) -> dict[str, bytes]:
    """Write `count` files of every make into folders, and return them by id."""
    rng = np.random.default_rng(seed)
    files = {}
    for n in range(count):
        name = f"{n % 7}/{n:04}.{rng.choice(['mp3', 'MP3'])}"
        files[name] = ODD_FILES[str(rng.choice(list(ODD_FILES)))](*encode(rng))
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(files[name])
    return files


@pytest.mark.filterwarnings("ignore::headrace.HeadraceWarning")
@pytest.mark.parametrize("count", [40, pytest.param(1_000, marks=pytest.mark.slow)])
def test_everything_in_an_archive_is_delivered(tmp_path: Path, count: int) -> None:
    """Each file's length is what its frames hold, and a default loader delivers every window."""
    files = make_archive(tmp_path, count)

    catalog = headrace.scan(tmp_path)

    lengths = {name: Mp3(data).length for name, data in files.items()}
    assert sum(length == 0 for length in lengths.values()) <= count // 500  # damaged to a frame
    assert {one.id: one.frames for one in catalog} == {n: x for n, x in lengths.items() if x}
    windows = catalog.windows(16_000, 0.1, tail="pad")
    for order in (windows, windows.shuffle(1)):
        loader = order.loader(batch_size=32)
        delivered = sum(len(batch.index) for batch in loader)
        assert delivered == len(windows)
        assert tuple(loader.failures) == ()
