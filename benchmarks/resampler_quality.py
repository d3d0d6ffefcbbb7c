"""The quality of resamplers for tones, and the difference from librosa for recordings.

    python benchmarks/resampler_quality.py [FOLDER ...]

Without a folder: the tones. With folders: for each, windows of its recordings (5 s at 16 kHz) from
headrace and from `librosa.load(path, sr=16000)`, and the difference.
"""

from __future__ import annotations

import argparse
import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
from resamplers import PAIRS, RESAMPLERS, machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Tone = tuple[float, float, float]

SILENCE_DB = -200.0
"""Printed for what is exactly zero."""


def tone(hz: float, rate: int, frames: int) -> NDArray[np.float64]:
    """Return a tone of amplitude 1 whose phase at 0 is neither a sine's nor a cosine's."""
    turns = np.mod(np.arange(frames) * (hz / rate), 1.0)
    return np.asarray(np.cos(2 * np.pi * turns + 0.7))


def decibels(ratio: float) -> float:
    """Return an amplitude ratio in dB."""
    return 20 * math.log10(ratio) if ratio > 1e-10 else SILENCE_DB


def rms(x: NDArray[np.float64]) -> float:
    """Return the root of the mean square."""
    return math.sqrt(float(np.mean(np.square(x))))


def measure(resample: Callable[..., NDArray[np.float32]], pair: tuple[int, int], hz: float) -> Tone:
    """Return RMS relative to the tone's: of the output, the error, and the error beside the tone.

    The ends are left out. The last is what remains after fitting the tone's gain and phase: noise,
    aliases and images.
    """
    rate_in, rate_out = pair
    y = resample(tone(hz, rate_in, rate_in).astype(np.float32), rate_in, rate_out)
    heard = slice(len(y) // 5, len(y) * 4 // 5)
    got = y[heard].astype(np.float64)
    ideal = tone(hz, rate_out, len(y))[heard]
    angle = 2 * np.pi * np.mod(np.arange(len(y)) * (hz / rate_out), 1.0)[heard]
    basis = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    fit, *_ = np.linalg.lstsq(basis, got)
    scale = math.sqrt(2)
    return rms(got) * scale, rms(got - ideal) * scale, rms(got - basis @ fit) * scale


def worst(name: str, pair: tuple[int, int]) -> tuple[float, float, float]:
    """Return the worst pass-band error, error beside the tone, and leakage, in dB."""
    low, high = min(pair) / 2, pair[0] / 2
    resample = RESAMPLERS[name]
    passed = [measure(resample, pair, f * low) for f in np.linspace(0.02, 0.9, 23)]
    if pair[0] > pair[1]:
        near = low * np.array([1, 1.001, 1.002, 1.005, 1.01, 1.02, 1.03, 1.05, 1.1])
        beyond = [*near[near < high], *np.linspace(low, high, 12)[1:-1]]
        leakage = max(measure(resample, pair, f)[0] for f in beyond)
    else:
        transition = low * np.array([0.9, 0.92, 0.94, 0.96, 0.98, 0.99, 0.995])
        leakage = max(measure(resample, pair, f)[2] for f in transition)
    return (
        decibels(max(error for _, error, _ in passed)),
        decibels(max(beside for _, _, beside in passed)),
        decibels(leakage),
    )


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(head) + " |")
    print("|---" * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def print_tones(pairs: list[tuple[int, int]]) -> None:
    """Print the three tables of the tones."""
    results = {(name, pair): worst(name, pair) for pair in pairs for name in RESAMPLERS}
    titles = [
        "Worst error of a tone up to 0.9 of the lower Nyquist frequency, dB",
        "The same without the tone's own gain and phase: what is added to it, dB",
        "Worst leakage: aliases of tones beyond the new Nyquist frequency, or images, dB",
    ]
    for column, title in enumerate(titles):
        print(title + "\n")
        rows = [
            [
                f"{pair[0]} → {pair[1]}",
                *(f"{results[name, pair][column]:.0f}" for name in RESAMPLERS),
            ]
            for pair in pairs
        ]
        print_table(["Hz", *RESAMPLERS], rows)


def differences(folder: str) -> dict[int, list[tuple[float, ...]]]:
    """Return for each sample rate, per window: one peak and four sums of squares.

    They are the largest difference from librosa's window; the squares of librosa's window, of the
    difference, of its part below 0.9 of the new Nyquist frequency, and of the difference between
    librosa's window and the same window with librosa's other high-quality filter.
    """
    import librosa

    import headrace

    rate = 16_000
    windows = headrace.scan(folder).windows(sample_rate=rate, window_s=5.0)
    found: dict[int, list[tuple[float, ...]]] = {}
    native = {recording.id: recording.sample_rate for recording in windows.catalog}
    loaded = ""
    for window in windows:
        if window.path != loaded:
            loaded = window.path
            usual, _ = librosa.load(loaded, sr=rate)
            other, _ = librosa.load(loaded, sr=rate, res_type="soxr_vhq")
        start = round(window.offset * rate)
        audio = window.audio[: window.valid_samples].astype(np.float64)
        theirs = usual[start : start + len(audio)].astype(np.float64)
        difference = audio - theirs
        # Hann's window keeps what lies above 7.2 kHz from leaking below it.
        power = np.abs(np.fft.rfft(difference * np.hanning(len(difference)))) ** 2
        below = float(power[: int(0.9 * len(power))].sum() / max(power.sum(), 1e-300))
        energy = float(np.sum(difference**2))
        among = float(np.sum((theirs - other[start : start + len(audio)]) ** 2))
        found.setdefault(native[window.file_id], []).append(
            (
                float(np.abs(difference).max()),
                float(np.sum(theirs**2)),
                energy,
                energy * below,
                among,
            )
        )
    return found


def print_differences(folders: list[str]) -> None:
    """Print how far headrace's windows are from librosa's."""
    rows = []
    for number, folder in enumerate(folders, 1):
        for rate, windows in sorted(differences(folder).items()):
            peak = max(window[0] for window in windows)
            signal, *parts = np.sum(np.array(windows), axis=0)[1:]
            ratios = [math.sqrt(part / max(signal, 1e-300)) for part in parts]
            rows.append(
                [
                    str(number),
                    str(rate),
                    str(len(windows)),
                    f"{decibels(peak):.1f}",
                    *(f"{decibels(ratio):.1f}" for ratio in ratios),
                ]
            )
    print("Difference between headrace's windows and librosa's (the last: soxr HQ from soxr VHQ)\n")
    head = ["folder", "Hz", "windows", "largest, dBFS", "RMS to RMS, dB", "of it below 7.2 kHz, dB"]
    print_table([*head, "HQ from VHQ, dB"], rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="*", help="recordings to compare with librosa")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="only the first so many")
    arguments = parser.parse_args()
    print(machine() + "\n")
    if arguments.folders:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged recordings among them
            print_differences(arguments.folders)
    else:
        print_tones(PAIRS[: arguments.pairs])


if __name__ == "__main__":
    main()
