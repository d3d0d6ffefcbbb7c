"""A catalog of a million recordings: seconds for each step, and the process's peak memory.

    python benchmarks/catalog_rows.py [--rows 1000000] [--json FILE]

The catalog is synthetic: none of its recordings exists, and no file is opened.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from steps import Steps

from headrace import Catalog, load_catalog


def synthetic(rows: int) -> pa.Table:
    """Return a table of recordings of one minute, named as field recorders name them."""
    numbers = pa.array(np.arange(rows))
    site = pc.utf8_lpad(pc.cast(pa.array(np.arange(rows) // 2000), "string"), 5, "0")
    number = pc.utf8_lpad(pc.cast(numbers, "string"), 10, "0")
    return pa.table(
        {
            "id": pc.binary_join_element_wise("SITE_", site, "/REC_", number, ".wav", ""),
            "sample_rate": np.full(rows, 22_050, np.int32),
            "channels": np.ones(rows, np.int32),
            "frames": 1_323_000 + np.arange(rows) % 1000,
            "format": pa.array(["WAV"]).take(np.zeros(rows, np.int64)),
            "subtype": pa.array(["PCM_16"]).take(np.zeros(rows, np.int64)),
            "size": 2_646_044 + 2 * (np.arange(rows) % 1000),
            "mtime_ns": 1_700_000_000_000_000_000 + np.arange(rows),
            "site": pc.binary_join_element_wise("SITE_", site, ""),
        }
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="where the figures are written as well")
    arguments = parser.parse_args()
    steps = Steps()

    print(
        f"{arguments.rows:,} recordings; Python "
        f"{platform.python_version()}, pyarrow {pa.__version__}, {platform.machine()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "catalog.parquet"
        with steps.step("the synthetic table itself"):
            table = synthetic(arguments.rows)
        with steps.step("Catalog.from_table"):
            catalog = Catalog.from_table(table, root="/archive")
        del table
        with steps.step("catalog.save"):
            catalog.save(file)
        with steps.step("catalog.fingerprint"):
            before = catalog.fingerprint
        del catalog
        with steps.step("load_catalog"):
            catalog = load_catalog(file)
        del catalog
        with steps.step("load_catalog(root=...)"):
            catalog = load_catalog(file, root="/elsewhere")
        with steps.step("fingerprint of the loaded one"):
            after = catalog.fingerprint
        with steps.step("catalog.windows"):
            windows = catalog.windows(sample_rate=16_000, window_s=5.0)
        with steps.step("a look at 1,000 recordings"):
            for row in range(0, len(catalog), max(1, len(catalog) // 1000)):
                catalog.recording(row)
        with steps.step("filter(mask)"):
            catalog.filter(catalog.frames % 2 == 0)
    if before != after:
        raise SystemExit("the fingerprint did not survive saving and loading")
    total = sum(float(step["s"]) for step in steps.taken)
    peak = steps.peak_mb()
    print(f"{'together':34}{total:8.3f} s   peak {peak:13.0f} MB   {len(windows):,} windows")
    if arguments.json:
        facts = {"rows": arguments.rows, "python": platform.python_version(), "steps": steps.taken}
        arguments.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
