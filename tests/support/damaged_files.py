"""Functions that damage a file, before a scan or after it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Damage = Callable[[Path, np.random.Generator], None]

__all__ = ["AFTER_SCAN", "BEFORE_SCAN", "RATE", "growing"]

RATE = 16_000
"""Sample rate of the recordings that are damaged, Hz."""

_SIZE = 40  # where a plain WAV declares the bytes of its samples


def _edited(path: Path, at: int, *values: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack(f"<{len(values)}I", *values))


def _declared(path: Path) -> int:
    return int(struct.unpack_from("<I", path.read_bytes(), _SIZE)[0])


def truncated(path: Path, rng: np.random.Generator) -> None:
    """Truncate it at a random position."""
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(1, len(data)))])


def _cut(path: Path, rng: np.random.Generator, kind: str, subtype: str) -> None:
    write(path, noise(8 * RATE), RATE, kind, subtype)  # Ogg's pages are a second long
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * rng.uniform(0.4, 0.9))])


def cut_flac(path: Path, rng: np.random.Generator) -> None:
    """Replace it with a truncated FLAC file."""
    _cut(path, rng, "FLAC", "PCM_16")


def cut_vorbis(path: Path, rng: np.random.Generator) -> None:
    """Replace it with a truncated Ogg Vorbis file."""
    _cut(path, rng, "OGG", "VORBIS")


def cut_adpcm(path: Path, rng: np.random.Generator) -> None:
    """Replace it with a truncated ADPCM WAV file."""
    _cut(path, rng, "WAV", "IMA_ADPCM")


def wiped_flac(path: Path, rng: np.random.Generator) -> None:
    """Replace it with a FLAC file that has a run of zero bytes."""
    write(path, noise(2 * RATE), RATE, "FLAC", "PCM_16")
    data = bytearray(path.read_bytes())
    at = int(rng.integers(len(data) // 3, len(data) - 2_000))
    data[at : at + 500] = bytes(500)
    path.write_bytes(data)


def empty(path: Path, _: np.random.Generator) -> None:
    """Remove all bytes."""
    path.write_bytes(b"")


def header_only(path: Path, _: np.random.Generator) -> None:
    """Remove everything but the header."""
    path.write_bytes(path.read_bytes()[:44])


def declares_more(path: Path, rng: np.random.Generator) -> None:
    """Declare more frames than there are."""
    _edited(path, _SIZE, _declared(path) + 4 * int(rng.integers(1, 50_000)))


def declares_fewer(path: Path, rng: np.random.Generator) -> None:
    """Declare fewer frames than there are."""
    _edited(path, _SIZE, 4 * int(rng.integers(1, _declared(path) // 4)))


def size_zero(path: Path, _: np.random.Generator) -> None:
    """Declare 0 bytes, as a recorder that streams to a pipe does."""
    _edited(path, 4, 8)
    _edited(path, _SIZE, 0)


def size_ones(path: Path, _: np.random.Generator) -> None:
    """Declare 0xFFFFFFFF bytes, as a recorder that streams to a pipe does."""
    _edited(path, 4, 0xFFFFFFFF)
    _edited(path, _SIZE, 0xFFFFFFFF)


def random_bytes(path: Path, rng: np.random.Generator) -> None:
    """Replace it with random bytes."""
    path.write_bytes(b"\x00" + rng.bytes(20_000))


def text(path: Path, _: np.random.Generator) -> None:
    """Replace it with text."""
    path.write_text("recorder 7 was stolen\n" * 40)


def directory(path: Path, _: np.random.Generator) -> None:
    """Replace it with a folder of the same name."""
    path.unlink()
    path.mkdir()


def not_finite(path: Path, rng: np.random.Generator) -> None:
    """Replace it with float samples, some of which are NaN or infinite."""
    audio = noise(int(rng.integers(RATE, 3 * RATE))).astype(np.float32)
    places = rng.integers(0, len(audio), 5)
    audio[places] = rng.choice([np.nan, np.inf, -np.inf], (5, 1))
    write(path, audio, RATE, "WAV", "FLOAT")


def deleted(path: Path, _: np.random.Generator) -> None:
    """Delete it."""
    path.unlink()


def unreadable(path: Path, _: np.random.Generator) -> None:
    """Replace it with a link to itself, which not even root can open."""
    path.unlink()
    path.symlink_to(path.name)


def other_rate(path: Path, _: np.random.Generator) -> None:
    """Replace it with a recording at another sample rate."""
    write(path, noise(4 * RATE), RATE // 2, "WAV", "PCM_16")


def other_format(path: Path, _: np.random.Generator) -> None:
    """Replace it with a recording in another format."""
    write(path, noise(4 * RATE), RATE, "FLAC", "PCM_16")


def shorter(path: Path, _: np.random.Generator) -> None:
    """Replace it with a shorter recording."""
    write(path, noise(RATE // 4), RATE, "WAV", "PCM_16")


def growing(path: Path, rng: np.random.Generator) -> None:
    """Append samples, as a recorder that still runs does; sometimes update the header."""
    with path.open("ab") as file:
        file.write(rng.bytes(4 * int(rng.integers(1, 3 * RATE))))
    if rng.random() < 0.5:
        _edited(path, _SIZE, path.stat().st_size - 44)


BEFORE_SCAN: tuple[Damage, ...] = (
    truncated,
    empty,
    header_only,
    declares_more,
    declares_fewer,
    size_zero,
    size_ones,
    random_bytes,
    text,
    directory,
    not_finite,
    cut_flac,
    cut_vorbis,
    cut_adpcm,
    wiped_flac,
)
"""Damage that a file may have when it is scanned."""

AFTER_SCAN: tuple[Damage, ...] = (
    deleted,
    unreadable,
    other_rate,
    other_format,
    shorter,
    growing,
    empty,
)
"""Changes that may happen between scan and loading."""
