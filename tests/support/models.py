"""Models to apply: small, deterministic functions of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from headrace import Batch, Windows

__all__ = ["all_kinds", "expected_loudness", "loudness", "sorted_rows"]


def loudness(batch: Batch) -> dict[str, Any]:
    """Return a number and a vector for each window."""
    audio = batch.audio.astype(np.float64)
    return {
        "rms": np.sqrt((audio**2).mean(axis=1)),
        "first": batch.audio[:, :4],
    }


def all_kinds(batch: Batch) -> dict[str, Any]:
    """Return a column of every kind that results may have."""
    rows = len(batch)
    peak = np.abs(batch.audio).max(axis=1)
    return {
        "peak": peak,
        "loud": peak > 0.25,
        "count": np.arange(rows),
        "name": [f"{start:.2f}" for start in batch.offset],
        "vector": batch.audio[:, :8],
        "half": batch.audio[:, :8].astype(np.float16),
        "map": batch.audio[:, :6].reshape(rows, 2, 3),
        "found": [
            [{"start_s": 0.0, "end_s": 0.1, "class": 7, "score": np.float32(one)}] * (row % 3)
            for row, one in enumerate(peak)
        ],
    }


def expected_loudness(windows: Windows) -> list[tuple[str, float, float, tuple[float, ...]]]:
    """Return what `loudness` gives for each window, one at a time, sorted."""
    rows = []
    for example in windows:
        audio = example.audio.astype(np.float64)
        rms = float(np.sqrt((audio[None] ** 2).mean(axis=1))[0])
        rows.append((example.file_id, example.offset, rms, tuple(example.audio[:4].tolist())))
    return sorted(rows)


def sorted_rows(table: pa.Table) -> list[tuple[str, float, float, tuple[float, ...]]]:
    """Return the rows of the results of `loudness`, sorted."""
    columns = (table[name].to_pylist() for name in ("id", "start_s", "rms", "first"))
    return sorted(
        (name, start, rms, tuple(first)) for name, start, rms, first in zip(*columns, strict=True)
    )
