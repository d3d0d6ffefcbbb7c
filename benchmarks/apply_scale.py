"""A trivial model over ten million windows: memory, time, size, and how soon a run resumes.

    python benchmarks/apply_scale.py [--windows 10000000] [--json FILE]

The recordings are 8-bit WAV files of 8 kHz, cut into windows of 16 samples, so that ten million
windows are 160 MB. The model returns one number and one vector of four. A first process is killed
with -9 after a tenth of the windows, a second one goes on to the end, and a third one finds nothing
left. Memory is the largest resident size of the process, over what it was before the first window.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

import headrace

if TYPE_CHECKING:
    from headrace import Batch

RATE = 8_000
SAMPLES = 16  # of a window
WINDOWS = 10_000  # of a recording
BATCH = 4_096
MIB = 1 << 20


def write_archive(folder: Path, windows: int) -> None:
    """Write recordings with so many windows, and their catalog."""
    noise = np.random.default_rng(0).integers(-100, 100, WINDOWS * SAMPLES).astype(np.int16) << 8
    (folder / "audio").mkdir(parents=True)
    for number in range(windows // WINDOWS):
        file = folder / "audio" / f"{number:05}.wav"
        soundfile.write(file, np.roll(noise, number), RATE, "PCM_U8")
    headrace.scan(folder / "audio").save(folder / "catalog.parquet")


def resident() -> int:
    """Return the resident size of this process in bytes."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * resource.getpagesize()


def apply(folder: Path, *, pause: bool) -> None:
    """Apply the model here, and print figures as JSON after each tenth and at the end.

    With `pause`, the first tenth is followed by a wait: this process is to be killed.
    """
    began = time.monotonic()
    catalog = headrace.load_catalog(folder / "catalog.parquet")
    windows = catalog.windows(RATE, SAMPLES / RATE)
    loaded = time.monotonic()
    figures: dict[str, Any] = {"catalog_s": loaded - began}
    seen = 0

    def model(batch: Batch) -> dict[str, Any]:
        nonlocal seen
        if not seen:
            figures["first_batch_s"] = time.monotonic() - loaded
            figures["resident_first"] = resident()
        seen += len(batch)
        tenth = len(windows) // 10
        if seen // tenth > (seen - len(batch)) // tenth:
            print(json.dumps({"seen": seen, "resident": resident(), **figures}), flush=True)
            if pause:
                sys.stdin.read()
        return {"peak": np.abs(batch.audio).max(axis=1), "first": batch.audio[:, :4]}

    run = windows.apply(model, folder / "results", batch_size=BATCH, name="peak", workers=2)
    figures |= {"seen": seen, "resident": resident(), "apply_s": time.monotonic() - loaded}
    figures["complete"] = run.complete
    figures["peak_resident"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"end": True, **figures}), flush=True)


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a process that applies the model."""
    command = [sys.executable, __file__, "--in", str(folder), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(folder: Path, windows: int) -> dict[str, Any]:
    """Do what the module says, and return the figures."""
    write_archive(folder, windows)
    with start(folder, "--pause") as killed:
        assert killed.stdout is not None
        killed.stdout.readline()
        os.kill(killed.pid, signal.SIGKILL)
    with start(folder) as resumed:
        assert resumed.stdout is not None
        lines = [json.loads(line) for line in resumed.stdout]
    with start(folder) as nothing:
        assert nothing.stdout is not None
        (idle,) = [json.loads(line) for line in nothing.stdout]
    began, before = time.monotonic(), os.times()
    command = [sys.executable, "-m", "headrace", "results", str(folder / "results"), "--json", "-"]
    shown = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    results_s, after = time.monotonic() - began, os.times()
    results_cpu_s = sum(after[2:4]) - sum(before[2:4])  # of child processes that have ended
    last = lines[-1]
    files = [file.stat().st_size for file in (folder / "results").rglob("*.parquet")]
    return {
        "windows": windows,
        "written": shown["written"],
        "us_a_window": 1e6 * last["apply_s"] / last["seen"],
        "resumed_after_s": lines[0]["first_batch_s"],
        "nothing_left_s": idle["apply_s"],
        "results_s": results_s,
        "results_cpu_s": results_cpu_s,
        "output_mib": sum(files) / MIB,
        "bytes_a_window": sum(files) / windows,
        "files": len(files),
        "resident_mib": [round(line["resident"] / MIB) for line in lines],
        "peak_over_first_mib": (last["peak_resident"] - lines[0]["resident_first"]) / MIB,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--windows", type=int, default=10_000_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--in", dest="folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pause", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        apply(arguments.folder, pause=arguments.pause)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder) / "run", arguments.windows)
    figures["processor"] = platform.processor() or platform.machine()
    for name, value in figures.items():
        print(f"{name:20} {value:,.2f}" if isinstance(value, float) else f"{name:20} {value}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
