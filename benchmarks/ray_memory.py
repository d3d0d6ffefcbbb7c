"""What Ray keeps in memory while a model is applied: the driver, and the object store.

    python benchmarks/ray_memory.py [--windows 100000] [--actors 2] [--json FILE]

Recordings of 16 kHz are cut into overlapping windows of 1 s, 64 kB each. `Windows.apply` and then
`headrace.adapters.ray.apply` give a number for each. The object store is as small as Ray allows.
Printed are the driver's largest resident size, all bytes that were ever put into the object store
and spilled from it, and windows per second of both. Needs the extra `ray`, and `grpcio`, with which
Ray tells what is in its store.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
import ray._private.internal_api
import soundfile

import headrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace import Batch, Windows

RATE = 16_000
HOP_S = 0.1
RECORDING = 5_000  # windows
PART = 2_048  # windows
MB = 1e6


def write_archive(folder: Path, windows: int) -> Windows:
    """Write recordings that have so many windows, and return these."""
    samples = round((RECORDING - 1) * HOP_S * RATE) + RATE
    noise = np.random.default_rng(0).integers(-(1 << 14), 1 << 14, samples).astype(np.int16)
    (folder / "audio").mkdir(parents=True)
    for number in range(-(-windows // RECORDING)):
        soundfile.write(folder / "audio" / f"{number:04}.wav", np.roll(noise, number), RATE)
    return headrace.scan(folder / "audio").windows(RATE, 1.0, hop_s=HOP_S)[:windows]


def make_model() -> Callable[[Batch], dict[str, Any]]:
    """Return the model: the largest sample of each window."""
    return lambda batch: {"peak": batch.audio.max(axis=1)}


def peak_bytes() -> int:
    """Return the largest resident size that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def store_stats() -> dict[str, int]:
    """Return what has gone through the object store of this node."""
    address = next(node for node in ray.nodes() if node["Alive"])
    stats = ray._private.internal_api.node_stats(
        address["NodeManagerAddress"], address["NodeManagerPort"], include_memory_info=False
    ).store_stats
    return {
        "put_bytes": stats.cumulative_created_bytes,
        "used_bytes": stats.object_store_bytes_used,
        "spilled_bytes": stats.spilled_bytes_total,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where the figures are written as well")
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    options: dict[str, Any] = {"batch_size": 64, "name": "peak", "part_size": PART}

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        windows = write_archive(folder, arguments.windows)
        began = time.monotonic()
        local = windows.apply(make_model(), folder / "local", workers=arguments.actors, **options)
        local_s = time.monotonic() - began

        ray.init(
            num_cpus=arguments.actors,
            object_store_memory=80 << 20,
            include_dashboard=False,
            log_to_driver=False,
        )
        try:
            before = peak_bytes()
            began = time.monotonic()
            run = headrace.adapters.ray.apply(
                windows, make_model, folder / "results", num_actors=arguments.actors, **options
            )
            ray_s = time.monotonic() - began
            figures = {
                "windows": len(windows),
                "audio_bytes": len(windows) * RATE * 4,
                "driver_peak_bytes": peak_bytes(),
                "driver_peak_before_bytes": before,
                **store_stats(),
                "local_windows_per_s": round(len(windows) / local_s),
                "ray_windows_per_s": round(len(windows) / ray_s),
            }
        finally:
            ray.shutdown()
        order = [("id", "ascending"), ("start_s", "ascending")]
        same = run.to_arrow().sort_by(order).equals(local.to_arrow().sort_by(order))
        assert run.complete
        assert same, "the results differ from those of a local run"

    print(f"Ray {ray.__version__}, Python {platform.python_version()}, {os.cpu_count()} processors")
    print(f"{figures['windows']:,} windows, {figures['audio_bytes'] / MB:,.0f} MB of audio")
    print(
        f"driver: {figures['driver_peak_bytes'] / MB:,.0f} MB at most, of which "
        f"{figures['driver_peak_before_bytes'] / MB:,.0f} MB before the call"
    )
    print(
        f"object store: {figures['put_bytes'] / MB:,.3f} MB were put into it in all, "
        f"{figures['spilled_bytes'] / MB:,.0f} MB spilled"
    )
    print(
        f"windows per second: {figures['local_windows_per_s']:,} in one process, "
        f"{figures['ray_windows_per_s']:,} with {arguments.actors} actors, their start included"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
