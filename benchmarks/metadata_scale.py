"""Metadata of many files, and windows by local time and by the sun: seconds for each step.

    python benchmarks/metadata_scale.py [--files 20000] [--hours 8760]

The files are written to a temporary folder: small WAV files with GUANO behind the samples. The
windows are those of recordings that do not exist, one for each hour.
"""

from __future__ import annotations

import argparse
import struct
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from steps import Steps

import headrace
from headrace import Catalog

GUANO = (
    b"GUANO|Version:1.0\nModel:AudioMoth\nSerial:24F3190361DA3578\n"
    b"Timestamp:2025-05-03T03:13:00Z\nLoc Position:52.146196 4.474776\nTemperature Int:13.1\n"
)


def wav() -> bytes:
    """Return a WAV file of half a second at 8 kHz, with GUANO."""
    guano = b"guan" + struct.pack("<I", len(GUANO)) + GUANO + b"\0" * (len(GUANO) % 2)
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 16_000, 2, 16)
    body = b"WAVE" + fmt + b"data" + struct.pack("<I", 8_000) + bytes(8_000) + guano
    return b"RIFF" + struct.pack("<I", len(body)) + body


def write_files(folder: Path, count: int) -> None:
    """Write files with the time in their names, a thousand in a folder."""
    content = wav()
    for number in range(count):
        site = folder / f"S{number // 1000:03d}"
        site.mkdir(exist_ok=True)
        (site / f"{number:07d}_20250503_031300.wav").write_bytes(content)


def hourly(hours: int) -> Catalog:
    """Return a catalog of recordings of an hour each, in Berlin, one after the other."""
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    one = np.ones(hours, np.int64)
    return Catalog.from_table(
        pa.table(
            {
                "id": [f"{hour:06d}.wav" for hour in range(hours)],
                "sample_rate": 16_000 * one,
                "channels": one,
                "frames": 3_600 * 16_000 * one,
                "format": pa.array(["WAV"] * hours),
                "subtype": pa.array(["PCM_16"] * hours),
                "recorded_at": pa.array(
                    [begin + timedelta(hours=hour) for hour in range(hours)],
                    pa.timestamp("us", "UTC"),
                ),
            }
        ),
        root="/archive",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--hours", type=int, default=8_760)
    arguments = parser.parse_args()
    steps = Steps()
    with tempfile.TemporaryDirectory() as name:
        write_files(Path(name), arguments.files)
        headrace.scan(name, workers=0)  # from here on, the files are in memory
        with steps.step("scan"):
            headrace.scan(name, workers=0)
        with steps.step("scan with metadata"):
            catalog = headrace.scan(name, workers=0, metadata=True)
        known = len(catalog) - catalog.to_arrow()["recorded_at"].null_count
    windows = hourly(arguments.hours).windows(16_000, 5.0)
    with steps.step("windows.during"):
        dawn = windows.during("05:00", "07:00", tz="Europe/Berlin")
    with steps.step("windows.sun"):
        sunrise = windows.sun((-6, 6), rising=True, position=(52.52, 13.405))
    print(
        f"{known:,} of {arguments.files:,} times known; of {len(windows):,} windows, "
        f"{len(dawn):,} between 5 and 7 and {len(sunrise):,} around sunrise"
    )


if __name__ == "__main__":
    main()
