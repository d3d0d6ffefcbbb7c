"""The resamplers that are compared, each as one function, and a description of the machine."""

from __future__ import annotations

import math
import platform
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import samplerate
import soxr
from scipy.signal import resample_poly

from headrace import _kernel
from headrace.dsp import resampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

PAIRS = [
    (22_050, 16_000),
    (44_100, 16_000),
    (48_000, 16_000),
    (48_000, 32_000),
    (32_000, 48_000),
    (48_000, 22_050),
    (16_000, 22_050),
    (8_000, 16_000),
    (8_000, 48_000),
    (44_100, 48_000),
    (96_000, 48_000),
    (256_000, 48_000),
    (384_000, 16_000),
    (250_000, 48_000),
    (11_025, 48_000),
    (44_099, 16_000),
    (44_101, 44_100),
    (399_989, 16_000),
]


def headrace(x: Samples, rate_in: int, rate_out: int, instruction_set: str = "") -> Samples:
    """Resample a whole recording, copying it between the zeros that surround it."""
    filtered = resampler(rate_in, rate_out)
    frames = filtered.output_frames(len(x))
    begin, end = filtered.span(0, frames)
    padded = np.zeros(end - begin, np.float32)
    held = min(len(x), end)
    padded[-begin : held - begin] = x[:held]
    y = np.empty(frames, np.float32)
    filtered(padded, begin, y, 0, instruction_set=instruction_set)
    return y


def _soxr(x: Samples, rate_in: int, rate_out: int, quality: str) -> Samples:
    return np.asarray(soxr.resample(x, rate_in, rate_out, quality=quality))


def _scipy(x: Samples, rate_in: int, rate_out: int) -> Samples:
    divisor = math.gcd(rate_in, rate_out)
    return np.asarray(resample_poly(x, rate_out // divisor, rate_in // divisor))


def _libsamplerate(x: Samples, rate_in: int, rate_out: int) -> Samples:
    return np.asarray(samplerate.resample(x, rate_out / rate_in, "sinc_best"))


RESAMPLERS: dict[str, Callable[[Samples, int, int], Samples]] = {
    "headrace": headrace,
    "soxr HQ": partial(_soxr, quality="HQ"),
    "soxr VHQ": partial(_soxr, quality="VHQ"),
    "scipy resample_poly": _scipy,
    "libsamplerate best": _libsamplerate,
}
"""Each takes and gives float32, one channel, at its library's defaults."""


def machine() -> str:
    """Return what results depend on: processor, instruction sets, versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = named[0].partition(":")[2].strip() if named else model
    packages = ["headrace", "numpy", "scipy", "soxr", "samplerate"]
    return "\n".join(
        [
            f"processor: {model}, {platform.machine()}, {platform.system()}",
            f"instruction sets: {', '.join(_kernel.instruction_sets())} (the first is used)",
            f"Python {platform.python_version()}, "
            + ", ".join(f"{name} {version(name)}" for name in packages)
            + f" (libsoxr {soxr.__libsoxr_version__},"
            + f" libsamplerate {samplerate.__libsamplerate_version__})",
        ]
    )
