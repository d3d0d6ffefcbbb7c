"""Random windows of long MP3 files: the time for each, and whether its samples are exact.

    python benchmarks/mp3_random.py FOLDER [--files 4] [--minutes 60] [--windows 200]

Every loader delivers the same windows of 5 s, in the same shuffled order, at the files' own sample
rate. In each round every loader is measured once. The result is the median over the rounds, in
milliseconds per window. "Exact" counts the windows that equal, to the bit, the slice of the whole
file decoded from its start. Loaders that are not installed are left out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import corpus
import numpy as np
import soundfile
from bare_libsndfile import Decoder

import headrace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Window = tuple[str, int]  # path and first sample
    Loader = Callable[[list[Window]], Iterator[NDArray[np.float32]]]

WINDOW_S = 5


def write_one(path: Path, seconds: int, rate: int, level: float, seed: int) -> None:
    """Write calls with pauses over background noise, like a recording from a forest."""
    rng = np.random.default_rng(seed)
    with soundfile.SoundFile(
        path, "w", rate, 1, "MPEG_LAYER_III", format="MP3", compression_level=level
    ) as file:
        for second in range(seconds):
            t = np.arange(rate) / rate
            calls = np.sin(2 * np.pi * rng.uniform(500, 6_000) * t + 40 * np.sin(2 * np.pi * 7 * t))
            gain = 0.2 * rng.random() * np.clip(np.sin(2 * np.pi * (t + second / 3)), 0, None)
            file.write((gain * calls + rng.normal(scale=0.003, size=rate)).astype(np.float32))


def headrace_windows(
    chosen: list[Window], catalog: headrace.Catalog, workers: int
) -> Iterator[NDArray[np.float32]]:
    """Yield windows in the shuffled order, from which `choose` takes those of the other loaders."""
    loader = shuffled(catalog).loader(batch_size=8, workers=workers)
    given = 0
    for batch in loader:
        for row in batch.audio:
            yield row
            given += 1
            if given == len(chosen):
                return


def shuffled(catalog: headrace.Catalog) -> headrace.Windows:
    """Return the windows, at the files' own rate."""
    return catalog.windows(None, WINDOW_S, tail="drop").shuffle(seed=0)


def choose(catalog: headrace.Catalog, count: int) -> list[Window]:
    """Return path and first sample of the first windows of the shuffled order."""
    windows = shuffled(catalog)
    rows = windows.rows(windows.order.epoch(0)(np.arange(count, dtype=np.int64)))
    return [
        (catalog[recording].path, start)
        for recording, start in zip(rows.recording.tolist(), rows.start.tolist(), strict=True)
    ]


def soundfile_windows(chosen: list[Window], size: int) -> Iterator[NDArray[np.float32]]:
    """Open, seek and read for each window, as `librosa.load` and `torchaudio.load` also do."""
    for path, start in chosen:
        yield soundfile.read(path, frames=size, start=start, dtype="float32")[0]


def kept_soundfile_windows(chosen: list[Window], size: int) -> Iterator[NDArray[np.float32]]:
    """Keep every file open, and seek for each window."""
    files = {path: soundfile.SoundFile(path) for path, _ in chosen}
    for path, start in chosen:
        files[path].seek(start)
        yield files[path].read(size, dtype="float32")


def from_start_windows(chosen: list[Window], size: int) -> Iterator[NDArray[np.float32]]:
    """Decode from the start to the window: exact, as headrace does without seek points."""
    scratch = np.empty(1 << 16, np.float32)
    for path, start in chosen:
        decoder = Decoder(path)
        decoder.move_to(start, scratch)
        audio = np.empty(size, np.float32)
        decoder.read_exactly(audio)
        decoder.close()
        yield audio


def torchcodec_windows(chosen: list[Window], size: int) -> Iterator[NDArray[np.float32]]:
    """Keep one decoder for each file."""
    from torchcodec.decoders import AudioDecoder

    decoders = {path: AudioDecoder(path) for path, _ in chosen}
    for path, start in chosen:
        rate = decoders[path].metadata.sample_rate
        begin = start / rate
        samples = decoders[path].get_samples_played_in_range(begin, begin + size / rate)
        yield samples.data[0].numpy()


def spdl_windows(chosen: list[Window], size: int) -> Iterator[NDArray[np.float32]]:
    """Demux and decode one time span for each window."""
    import spdl.io

    rates = {path: soundfile.info(path).samplerate for path, _ in chosen}
    for path, start in chosen:
        span = (start / rates[path], (start + size) / rates[path])
        frames = spdl.io.decode_packets(
            spdl.io.demux_audio(path, timestamp=span),
            filter_desc=spdl.io.get_audio_filter_desc(
                sample_rate=rates[path], num_channels=1, timestamp=span, num_frames=size
            ),
        )
        yield spdl.io.to_numpy(spdl.io.convert_frames(frames))[0]


def loaders(catalog: headrace.Catalog, size: int) -> dict[str, Loader]:
    """Return the loaders by name."""
    found: dict[str, Loader] = {
        f"headrace, {workers} workers": partial(headrace_windows, catalog=catalog, workers=workers)
        for workers in (0, 1, 2)
    }
    found["soundfile.read"] = partial(soundfile_windows, size=size)
    found["SoundFile kept open, seek"] = partial(kept_soundfile_windows, size=size)
    found["decoded from the start"] = partial(from_start_windows, size=size)
    for name, load in (("torchcodec", torchcodec_windows), ("SPDL", spdl_windows)):
        try:
            next(iter(load(choose(catalog, 1), size)))
        except ImportError:
            print(f"  {name} is not installed")
            continue
        found[name] = partial(load, size=size)
    return found


def references(catalog: headrace.Catalog, chosen: list[Window], size: int) -> list[bytes]:
    """Return each window as decoding from the start gives it."""
    wanted: dict[Window, bytes] = {}
    for recording in catalog:
        decoder = Decoder(recording.path)
        audio = np.empty(recording.frames, np.float32)
        decoder.read_exactly(audio)
        decoder.close()
        for path, start in chosen:
            if path == recording.path:
                wanted[path, start] = audio[start : start + size].tobytes()
    return [wanted[window] for window in chosen]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the files; made if missing")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=44_100)
    parser.add_argument("--level", type=float, default=0.75, help="of compression, 0 to 1")
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--slow", type=int, default=20, help="windows of those that decode much")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.files):
        path = arguments.folder / f"{number:04}.mp3"
        if not path.exists():
            write_one(
                path, round(60 * arguments.minutes), arguments.rate, arguments.level, seed=number
            )
    began = time.perf_counter()
    catalog = headrace.scan(arguments.folder, workers=0, progress=False)
    scan_s = time.perf_counter() - began
    size = WINDOW_S * arguments.rate
    chosen = choose(catalog, arguments.windows)
    right = references(catalog, chosen, size)
    print(corpus.machine())
    kbps = 8e-3 * sum(one.size for one in catalog) / catalog.duration_s
    points = sum(len(one.seek_points or b"") for one in catalog)
    print(f"{catalog}, {kbps:.0f} kbps; scan {scan_s:.3f} s, seek points {points:,} bytes")
    times: dict[str, list[float]] = {}
    exact: dict[str, str] = {}
    measured = loaders(catalog, size)
    for _ in range(arguments.rounds):
        for name, load in measured.items():
            slow = name in ("soundfile.read", "decoded from the start")
            some = chosen[: arguments.slow] if slow else chosen
            began = time.perf_counter()
            got = [audio.copy() for audio in load(some)]
            times.setdefault(name, []).append((time.perf_counter() - began) / len(some) * 1e3)
            same = sum(one.tobytes() == two for one, two in zip(got, right, strict=False))
            exact[name] = f"{same} of {len(some)}"
    first = statistics.median(times["soundfile.read"])
    print(f"{'':28} {'ms':>8} {'against soundfile.read':>24} {'exact':>12}")
    for name, took in times.items():
        median = statistics.median(took)
        print(f"{name:28} {median:8.2f} {first / median:23.1f}x {exact[name]:>12}")


if __name__ == "__main__":
    main()
