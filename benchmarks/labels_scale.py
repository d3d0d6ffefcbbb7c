"""A million windows and a hundred thousand events: seconds for each step, and peak memory.

    python benchmarks/labels_scale.py [--windows 1000000] [--events 100000] [--json FILE]

The catalog is synthetic: none of its recordings exists, and no file is opened.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import pyarrow as pa
from steps import Steps

from headrace import Annotations, Catalog

RATE = 22_050
MINUTE_S = 60
HOP_S = 2.5
EACH = MINUTE_S / HOP_S  # windows of a recording, about


def catalog_of(recordings: int) -> Catalog:
    """Return a catalog of recordings of one minute."""
    names = [f"SITE{row // 2000:03d}/REC_{row:07d}.wav" for row in range(recordings)]
    one = np.ones(recordings, np.int64)
    return Catalog.from_table(
        pa.table(
            {
                "id": names,
                "sample_rate": RATE * one,
                "channels": one,
                "frames": MINUTE_S * RATE * one,
                "format": pa.array(["WAV"] * recordings),
                "subtype": pa.array(["PCM_16"] * recordings),
            }
        ),
        root="/archive",
    )


def events_of(catalog: Catalog, count: int, labels: int) -> pa.Table:
    """Return events of up to 4 s, and the file reference that a label file's name would give."""
    random = np.random.default_rng(0)
    stems = pa.array([one.id.removesuffix(".wav") for one in catalog])
    start = random.uniform(0, MINUTE_S - 4, count)
    rank = np.minimum(random.geometric(0.08, count) - 1, labels - 1)  # some labels are rare
    return pa.table(
        {
            "file": stems.take(pa.array(random.integers(0, len(catalog), count))),
            "start_s": start,
            "end_s": start + random.uniform(0.2, 4, count),
            "label": pa.array([f"SPEC{label:02d}" for label in range(labels)]).take(pa.array(rank)),
        }
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--windows", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--labels", type=int, default=42, help="as many as AnuraSet has")
    parser.add_argument("--json", type=Path, help="where the figures are written as well")
    arguments = parser.parse_args()
    steps = Steps()

    with steps.step("the synthetic tables themselves"):
        catalog = catalog_of(max(1, round(arguments.windows / EACH)))
        events = events_of(catalog, arguments.events, arguments.labels)
    with steps.step("Annotations.from_table"):
        annotations = Annotations.from_table(events, files=())
    windows = catalog.windows(16_000, 5.0, HOP_S)
    with steps.step("windows.label"):
        labelled = windows.label(annotations, unannotated="negative")
    assert labelled.labels is not None
    with steps.step("label_counts"):
        counts = labelled.label_counts()
    with steps.step("balanced_weights"):
        weights = labelled.balanced_weights()
    rows = labelled.rows(np.random.default_rng(1).integers(0, len(labelled), 64 * 1_000))
    with steps.step("rows of 1,000 batches of 64"):
        for begin in range(0, len(rows.index), 64):
            batch = rows[begin : begin + 64]
            labelled.labels.rows(batch.recording, batch.start)
    dense = len(labelled) * len(labelled.classes) * 4 / 1e6
    print(
        f"{len(labelled):,} windows, {len(annotations):,} events, {len(labelled.classes)} classes, "
        f"{sum(counts.values()):,} labels; tables of {labelled.labels.nbytes / 1e6:.1f} MB "
        f"(a dense matrix: {dense:.0f} MB); weights sum to {weights.sum():.6f}; "
        f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}"
    )
    if arguments.json:
        facts = {"windows": len(labelled), "events": len(annotations), "steps": steps.taken}
        arguments.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
