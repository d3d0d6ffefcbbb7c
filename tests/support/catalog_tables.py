"""Tables and catalogs of recordings that do not exist."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from headrace.catalog._catalog import Catalog
from headrace.failures import Code, Failure

__all__ = ["FAILURES", "columns", "table", "three_recordings"]

FAILURES = (
    Failure("d.wav", "/data/d.wav", Code.EMPTY, "the file has 0 bytes"),
    Failure("é.wav", "/data/é.wav", Code.TRUNCATED, "ends", start_s=1.5, stop_s=2.0, windows=3),
)


def columns(rows: int = 3, /, **changed: Any) -> dict[str, Any]:
    """Return the columns of a table of recordings ``a.wav``, ``b.wav``, ...; None drops one."""
    made = {
        "id": [f"{chr(ord('a') + row)}.wav" for row in range(rows)],
        "path": [f"/data/{chr(ord('a') + row)}.wav" for row in range(rows)],
        "sample_rate": [8000 * (row + 1) for row in range(rows)],
        "channels": [1 + row % 2 for row in range(rows)],
        "frames": [8000 * (row + 1) ** 2 for row in range(rows)],
        "format": ["WAV"] * rows,
        "subtype": ["PCM_16"] * rows,
        "size": [44 + row for row in range(rows)],
        "mtime_ns": [10**18 + row for row in range(rows)],
    }
    made.update(changed)
    return {name: values for name, values in made.items() if values is not None}


def table(rows: int = 3, /, **changed: Any) -> pa.Table:
    """Return an Arrow table of `columns`."""
    return pa.table(columns(rows, **changed))


def three_recordings() -> Catalog:
    """Return a catalog of recordings of 1, 2 and 3 s, with a root and two failures."""
    return Catalog(Catalog.from_table(table())._table, "/data", FAILURES)
