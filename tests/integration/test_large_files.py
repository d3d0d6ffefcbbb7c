"""Sparse files of more than 4 GiB."""

from __future__ import annotations

from pathlib import Path
from struct import pack
from typing import TYPE_CHECKING

import numpy as np
import pytest

import headrace

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 48_000
BYTES = 9 << 30
"""Bytes of audio: with two bytes per frame, frame numbers also exceed 2^32."""
FRAMES = BYTES // 2
ISLAND = 3 * RATE
PLACES = (0, (1 << 30) + 77, (1 << 31) - RATE, (1 << 32) - RATE, FRAMES - ISLAND)
"""Frames where the written parts start: at both ends, and across byte 2^32 and frame 2^32."""

GUIDS = {  # of Sony Wave64 chunks
    b"riff": bytes.fromhex("2e91cf11a5d628db04c10000"),
    b"wave": bytes.fromhex("f3acd3118cd100c04f8edb8a"),
    b"fmt ": bytes.fromhex("f3acd3118cd100c04f8edb8a"),
    b"data": bytes.fromhex("f3acd3118cd100c04f8edb8a"),
}


def rf64() -> bytes:
    """Return a header whose sizes are in its first chunk."""
    head = b"RF64" + b"\xff" * 4 + b"WAVEds64" + pack("<IQQQI", 28, BYTES + 72, BYTES, FRAMES, 0)
    return (
        head + b"fmt " + pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16) + b"data" + b"\xff" * 4
    )


def w64() -> bytes:
    """Return a header whose sizes include the header's own size."""

    def chunk(name: bytes, size: int) -> bytes:
        return name + GUIDS[name] + pack("<Q", size)

    body = chunk(b"fmt ", 40) + pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    body += chunk(b"data", 24 + BYTES)
    size = 40 + len(body) + BYTES
    return chunk(b"riff", size) + b"wave" + GUIDS[b"wave"] + body


def caf() -> bytes:
    """Return a header for little-endian samples."""
    head = b"caff" + pack(">HH", 1, 0) + b"desc" + pack(">Q", 32)
    head += pack(">d4sIIIII", RATE, b"lpcm", 2, 2, 1, 1, 16)  # 2: little-endian
    return head + b"data" + pack(">QI", BYTES + 4, 0)


def au() -> bytes:
    """Return a header that leaves the length to the size of the file."""
    return b".snd" + pack(">IIIII", 24, 0xFFFFFFFF, 3, RATE, 1)


def wav(size: int) -> bytes:
    """Return a header whose sizes have 32 bits, which cannot say how large the file is."""
    fmt = b"fmt " + pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return (
        b"RIFF"
        + pack("<I", min(size + 36, 0xFFFFFFFF))
        + b"WAVE"
        + fmt
        + b"data"
        + pack("<I", size)
    )


HEADS = {
    "RF64": rf64(),
    "BW64": b"BW64" + rf64()[4:],
    "W64": w64(),
    "CAF": caf(),
    "AU": au(),
    "WAV of the most that 32 bits hold": wav(0xFFFFFFFF),
    "WAV as libsndfile writes it": wav(0xFFFFFFFF - 44),
    "WAV of the remainder": wav(BYTES % (1 << 32)),
    "WAV of no size": wav(0),
}
CLAIMS = {"WAV of the remainder", "WAV of no size"}
"""Headers that say another length, and do not say that they do not know it."""


def noise(place: int) -> NDArray[np.int16]:
    """Return the audio at a position."""
    return np.random.default_rng(place).integers(-(1 << 15), 1 << 15, ISLAND).astype(np.int16)


def has_holes(path: Path) -> bool:
    """Return whether unwritten parts of a file take no disk space."""
    with path.open("wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
    return getattr(path.stat(), "st_blocks", 1 << 20) * 512 < 16 << 20


@pytest.fixture(params=HEADS)
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a file of 9 GiB that takes a megabyte of disk space."""
    if not has_holes(tmp_path / "hole"):
        pytest.skip("this file system has no holes")
    path = tmp_path / f"{request.param.lower()}.audio"
    order = ">i2" if request.param == "AU" else "<i2"
    with path.open("wb") as file:
        head = HEADS[request.param]
        file.write(head)
        for place in PLACES:
            file.seek(len(head) + 2 * place)
            file.write(noise(place).astype(order).tobytes())
    return path


def expected(start: int, size: int) -> NDArray[np.float32]:
    """Return the content of a span of the file."""
    samples = np.zeros(size, np.float32)
    for place in PLACES:
        low, high = max(start, place), min(start + size, place + ISLAND)
        if low < high:
            samples[low - start : high - start] = noise(place)[low - place : high - place] / 32_768
    return samples


def bytes_read() -> int:
    """Return how many bytes this process has read, if the system tells."""
    told = Path("/proc/self/io")
    return int(told.read_text().split()[1]) if told.exists() else 0


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore::headrace.errors.DamagedWarning")
def test_windows_past_4_gib_are_exact(large: Path, workers: int) -> None:
    """In order and at random, across byte and frame 2^32, without reading what is between."""
    before = bytes_read()
    catalog = headrace.scan(large)
    codes = [str(failure.code) for failure in catalog.failures]
    assert codes == ["HEADER_MISMATCH"] * any(large.stem.endswith(name.lower()) for name in CLAIMS)
    windows = catalog.windows(RATE, 0.5)
    size = windows.spec.size
    around = {place // size + step for place in PLACES for step in range(-1, 8)}
    chosen = windows.take([index for index in sorted(around) if 0 <= index < len(windows)])

    assert [one.frames for one in catalog] == [FRAMES]
    assert len(windows) == -(-FRAMES // size)
    for view in (chosen, chosen.shuffle(seed=0)):
        sounding = 0
        for one in view.loader(workers=workers):
            start = round(one.offset * RATE)
            assert one.audio.tobytes() == expected(start, size).tobytes(), start
            sounding += bool(one.audio.any())
        assert sounding >= 6 * len(PLACES)
    assert bytes_read() - before < 64 << 20
