"""Catalogs to cut windows from: of files that do not exist, and of three short recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headrace.catalog._catalog import Catalog
from headrace.catalog._scan import scan
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["fake_catalog", "three_recordings"]


def fake_catalog(
    frames: Sequence[int],
    rates: Sequence[int] | int = 1_000,
    *,
    channels: Sequence[int] | int = 1,
    kinds: Sequence[tuple[str, str]] = (("WAV", "PCM_16"),),
    root: str = "/nowhere",
    **columns: Any,
) -> Catalog:
    """Return a catalog of files that do not exist: ``r0``, ``r1``, ... under `root`.

    One sample rate, number of channels or kind applies to all recordings.
    """
    count = len(frames)
    kinds = list(kinds) * (count if len(kinds) == 1 else 1)
    table = pa.table(
        {
            "id": pa.array([f"r{i}" for i in range(count)], pa.string()),
            "sample_rate": pa.array([rates] * count if isinstance(rates, int) else rates),
            "channels": pa.array([channels] * count if isinstance(channels, int) else channels),
            "frames": pa.array(frames, pa.int64()),
            "format": [container for container, _ in kinds],
            "subtype": [subtype for _, subtype in kinds],
            **columns,
        }
    )
    return Catalog.from_table(table, root)


def three_recordings(folder: Path) -> Catalog:
    """Write and scan three short recordings of 1.0 s, 0.2 s and 1.31 s; the last is stereo."""
    folder.mkdir(exist_ok=True)
    write(folder / "a.wav", noise(22_050, seed=1), 22_050, "WAV", "PCM_16")
    write(folder / "b.flac", noise(3_200, seed=2), 16_000, "FLAC", "PCM_16")
    write(folder / "c.wav", noise(10_480, 2, seed=3), 8_000, "WAV", "FLOAT")
    return scan(folder)
