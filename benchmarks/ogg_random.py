"""Windows of Vorbis and Opus in Ogg: at random of long files, and in order.

    python benchmarks/ogg_random.py FOLDER [--minutes 60] [--windows 40] [--rounds 5]

Writes one long file of each codec and some of a minute (synthesised speech with noise, 48 kHz,
stereo), unless they are there. Then it loads windows of 5 s at 16 kHz, mixed to mono, and prints
the median over the rounds of milliseconds for each window: on the clock, and of the processor.
Loaders take turns within a round. "Before" is libsndfile, which decodes from the start. "Slices"
counts the random windows that equal the same span of that loader's decode of the whole file.
torchcodec is measured if it is installed: as many threads as workers, each with a decoder that it
keeps.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

import headrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Run = Callable[[], list[NDArray[np.float32]]]

RATE, TARGET, WINDOW_S = 48_000, 16_000, 5
CODECS = {"Vorbis": ("VORBIS", 0.5), "Opus": ("OPUS", 0.75)}


def write(path: Path, seconds: int, subtype: str, level: float) -> None:
    """Write syllables of a gliding voice with pauses, over noise."""
    rng = np.random.default_rng(seconds)
    kind = {"subtype": subtype, "format": "OGG", "compression_level": level}
    with soundfile.SoundFile(path, "w", RATE, 2, **kind) as file:
        for second in range(seconds):
            t = second + np.arange(RATE) / RATE
            pitch = 2 * np.pi * (140 * t + 5 * np.sin(2 * np.pi * 0.7 * t))
            voice = sum(np.sin(k * pitch) / k for k in range(1, 20))
            gate = np.clip(np.sin(2 * np.pi * 3 * t), 0, 1) * (np.sin(0.6 * np.pi * t) > -0.3)
            left = 0.2 * voice * gate + rng.normal(scale=0.01, size=RATE)
            audio = np.stack([left, 0.8 * np.roll(left, 37)], 1).astype(np.float32)
            for start in range(0, RATE, 4_096):
                file.write(audio[start : start + 4_096])


def at_random(every: headrace.Windows, count: int) -> headrace.Windows:
    """Return some of the windows, in random order."""
    places = np.random.default_rng(1).permutation(len(every))[:count]
    return every.take(sorted(places.tolist())).shuffle(seed=0)


def ours(paths: list[Path], decoder: Any, workers: int, windows: int) -> Run:
    """Return what loads windows in order, or as many random ones of a few long files."""
    catalog = headrace.scan(paths, decoder=decoder, progress=False)
    every = catalog.windows(TARGET, WINDOW_S, tail="drop")
    chosen = at_random(every, windows) if windows else every
    loader = chosen.loader(batch_size=4, workers=workers)

    def run() -> list[NDArray[np.float32]]:
        return [row.copy() for batch in loader for row in batch.audio]

    return run


def torchcodec(paths: list[Path], workers: int, windows: int) -> Run:
    """Return the same for torchcodec, with random windows of its own choice."""
    from torchcodec.decoders import AudioDecoder

    kept = threading.local()
    rng = np.random.default_rng(0)

    def read(job: tuple[Path, float]) -> NDArray[np.float32]:
        path, start = job
        decoders = kept.__dict__.setdefault("decoders", {})
        if path not in decoders:
            decoders[path] = AudioDecoder(path, sample_rate=TARGET, num_channels=1)
        samples = decoders[path].get_samples_played_in_range(start, start + WINDOW_S)
        data: NDArray[np.float32] = samples.data[0].numpy()
        return data

    seconds = {path: int(soundfile.info(path).duration) for path in paths}
    jobs = [(path, float(at)) for path in paths for at in range(0, seconds[path] - 4, WINDOW_S)]
    if windows:
        places = rng.permutation(len(jobs))[:windows]
        jobs = [jobs[place] for place in places]
    pool = ThreadPoolExecutor(workers)
    return lambda: list(pool.map(read, jobs))


def measure(runs: dict[str, Run], rounds: int) -> dict[str, tuple[float, float]]:
    """Return milliseconds for each window: on the clock and of the processor."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for round_ in range(rounds + 1):
        for name, run in runs.items():
            clock, processor = time.perf_counter(), time.process_time()
            count = len(run())
            taken = time.perf_counter() - clock, time.process_time() - processor
            if round_:  # the first one opens decoders and fills the page cache
                found[name].append((1e3 * taken[0] / count, 1e3 * taken[1] / count))
    return {
        name: (statistics.median(a for a, _ in one), statistics.median(b for _, b in one))
        for name, one in found.items()
    }


def slices(path: Path, workers: int, windows: int) -> tuple[int, int]:
    """Return how many of our random windows equal the whole recording's slice, and how many."""
    catalog = headrace.scan(path, progress=False)
    (one,) = catalog
    whole = catalog.windows(TARGET, one.duration_s)[0].audio
    equal = count = 0
    every = at_random(catalog.windows(TARGET, WINDOW_S, tail="drop"), windows)
    for window in every.loader(workers=workers):
        start = round(window.offset * TARGET)
        equal += np.array_equal(window.audio, whole[start : start + WINDOW_S * TARGET])
        count += 1
    return equal, count


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--files", type=int, default=8, help="files of a minute")
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow", type=int, default=0, help="random windows of libsndfile's")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    print("codec, task, loader: ms a window on the clock, of the processor")
    for codec, (subtype, level) in CODECS.items():
        suffix = "ogg" if subtype == "VORBIS" else "opus"
        long = options.folder / f"long-{options.minutes}.{suffix}"
        short = [options.folder / f"{number}.{suffix}" for number in range(options.files)]
        for path in [long, *short]:
            if not path.exists():
                write(path, 60 * (options.minutes if path == long else 1), subtype, level)
        headrace.scan(long, progress=False)  # imports PyAV
        clock = time.process_time()
        headrace.scan(long, progress=False)
        scan = time.process_time() - clock
        clock = time.process_time()
        soundfile.info(long)
        info = time.process_time() - clock
        print(
            f"{codec}, scan of {long.name}: {1e3 * scan:.1f} ms; soundfile.info: {1e3 * info:.2f}"
        )
        for task, paths, windows in (
            ("random, long", [long], options.windows),
            ("in order, long", [long], 0),
            ("in order, a minute", short, 0),
        ):
            runs = {"headrace": ours(paths, "auto", options.workers, windows)}
            if not windows or options.slow:
                count = windows and options.slow
                runs["before"] = ours(paths, "libsndfile", options.workers, count)
            with contextlib.suppress(ImportError):
                runs["torchcodec"] = torchcodec(paths, options.workers, windows)
            for name, (clock, processor) in measure(runs, options.rounds).items():
                print(f"{codec}, {task}, {name}: {clock:.2f}, {processor:.2f}", flush=True)
        equal, count = slices(long, options.workers, options.windows)
        print(f"{codec}: {equal} of {count} random windows are slices")


if __name__ == "__main__":
    main()
