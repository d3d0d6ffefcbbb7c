"""A seeded corpus of recordings for the benchmarks: the same bytes on every machine."""

from __future__ import annotations

import argparse
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

import headrace
from headrace import _kernel

BLOCK = 1 << 16


def write_one(path: Path, frames: int, rate: int, channels: int, subtype: str, seed: int) -> None:
    """Write roughly pink noise whose level rises and falls, so that codecs have work to do."""
    rng = np.random.default_rng(seed)
    with soundfile.SoundFile(path, "w", rate, channels, subtype) as file:
        for start in range(0, frames, BLOCK):
            count = min(BLOCK, frames - start)
            white = rng.standard_normal((count + 7, channels)).astype(np.float32)
            pink = sum(white[i : i + count] / (i + 1) for i in range(8))
            swell = 0.05 + 0.04 * np.sin(np.arange(start, start + count) / rate)
            file.write(np.clip(pink * swell[:, None].astype(np.float32), -1, 1))


def make(
    folder: Path,
    *,
    files: int,
    seconds: float,
    rate: int = 22_050,
    channels: int = 1,
    extension: str = "wav",
    subtype: str = "PCM_16",
) -> Path:
    """Write `files` recordings into `folder`, unless they are there, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = round(seconds * rate)
    missing = [
        (folder / f"{number:04}.{extension}", number)
        for number in range(files)
        if not (folder / f"{number:04}.{extension}").exists()
    ]
    with ThreadPoolExecutor() as pool:
        for future in [
            pool.submit(write_one, path, frames, rate, channels, subtype, seed)
            for path, seed in missing
        ]:
            future.result()
    return folder


def machine() -> str:
    """Return one line on the machine and the libraries that results depend on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return (
        f"{os.cpu_count()} x {model}, {_kernel.instruction_sets()[0]}; Python "
        f"{platform.python_version()}, headrace {headrace.__version__}, numpy {np.__version__}, "
        f"soundfile {soundfile.__version__}, {soundfile.__libsndfile_version__}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=22_050)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--extension", default="wav")
    parser.add_argument("--subtype", default="PCM_16")
    arguments = vars(parser.parse_args())
    print(make(arguments.pop("folder"), **arguments))
