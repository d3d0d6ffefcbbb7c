"""Law 2, measured: the memory that loading adds to a process stays under `memory_bound`."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ALLOWANCE = 16 << 20
"""Bytes that loading may add to a process in addition to the bound: the workers' stacks and malloc
arenas, pages that malloc keeps, the small objects of windows and batches, and code that is paged in
with the first window. These are a few MiB. Measured values were 1 MiB below the bound alone."""

STATUS = Path("/proc/self/status")

MEASURE = """
import json, sys
from pathlib import Path
import headrace
import headrace.loading

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

pattern, options, work = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
windows = headrace.scan(pattern).windows(sample_rate=16_000, window_s=5.0)
with windows.loader(**options) as loader:
    before = status("VmRSS")
    audio_bytes = 0
    for delivery in loader:
        sum(i * i for i in range(work))  # a slow model that needs no clock
        audio_bytes += delivery.audio.nbytes
    stats = loader.stats()
print(json.dumps({
    "added": status("VmHWM") - before,
    "bound": loader.memory_bound,
    "peak": stats.peak_bytes,
    "kept": stats.kept_bytes,
    "audio_bytes": audio_bytes,
    "windows": len(windows),
}))
"""


def _sparse_wav(path: Path, hours: float) -> None:
    """Write 16-bit silence at 22,050 Hz as a sparse file, which takes no space on the disk."""
    data = 2 * round(hours * 3_600 * 22_050)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 22_050, 44_100, 2, 16)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + data) + b"WAVE" + form)
        file.write(b"data" + struct.pack("<I", data))
        file.truncate(44 + data)


def _measured(pattern: Path, *, work: int, **options: Any) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, pattern, json.dumps(options), str(work)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    measured: dict[str, int] = json.loads(done.stdout)
    return measured


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "options",
    [{"batch_size": 16, "prefetch": 2, "work": 300_000}, {"prefetch": 32, "work": 20_000}],
    ids=["batches", "examples"],
)
def test_a_slow_consumer_does_not_make_the_process_grow(
    tmp_path: Path, options: dict[str, int]
) -> None:
    """With a consumer slower than the loader, a stream of many times the bound stays under it."""
    for i in range(8):
        _sparse_wav(tmp_path / f"{i}.wav", hours=0.15)

    measured = _measured(tmp_path / "*.wav", workers=2, memory="64 MiB", **options)

    assert measured["audio_bytes"] == measured["windows"] * 4 * 80_000
    assert measured["audio_bytes"] > 8 * measured["bound"]
    assert measured["peak"] <= measured["bound"]
    assert measured["added"] <= measured["bound"] + ALLOWANCE
    assert measured["kept"] == 0


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's /proc")
def test_a_long_recording_does_not_make_the_process_grow(tmp_path: Path) -> None:
    """A WAV file of six hours, 1.4 GB as float32, is loaded with ``memory="64 MiB"``."""
    _sparse_wav(tmp_path / "long.wav", hours=6)

    measured = _measured(tmp_path / "long.wav", work=0, workers=2, batch_size=32, memory="64 MiB")

    assert measured["windows"] == 4_320
    assert measured["audio_bytes"] == 4_320 * 4 * 80_000
    assert measured["bound"] <= 64 << 20
    assert measured["added"] <= measured["bound"] + ALLOWANCE
