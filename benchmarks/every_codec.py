"""Every codec: headrace beside other loaders, at random and in order, and whose windows are wrong.

    python benchmarks/every_codec.py FOLDER [--formats WORD ...] [--tasks WORD ...] [--json FILE]
    python benchmarks/every_codec.py --table FILE

All loaders deliver windows of 5 s, mono, float32, 16 kHz, of the same files, with two workers.
The recordings hold synthesised syllables with pauses, bursts of noise, and notes, 48 kHz, mono.
Each loader has a process of its own. Rounds are interleaved: in each, every loader runs once, and
the order rotates. Ratios are taken within a round; figures are medians. A loader that is very slow
is measured in the first round only.

Before that, each loader's random windows are compared with the same slices of one decode of the
whole file *by the same loader*. A window is wrong if a single bit differs. headrace's are compared
as they are delivered, those of the others before they are resampled, because a resampler that
starts at a window cannot know what was before it. A lag that most windows of a file have in common
is allowed, because decodes of a whole file may begin with the encoder's delay or without it.

The encoders are those of the `ffmpeg` command, which has to be there.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import statistics
import subprocess
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corpus
import numpy as np
import soundfile
import tasks
from compare import LoaderProcesses, Timings, named, packages
from tasks import WINDOW_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    Audio = NDArray[np.float32]
    Span = tuple[str, int, int]  # path, first second, seconds

RATE, RATE_OUT = 48_000, 16_000
MINUTE_S = 60
DEPTH = 4  # jobs in flight for each worker

FORMATS = {  # extension, and arguments for ffmpeg
    "WAV": ("wav", "-c:a pcm_s16le"),
    "FLAC": ("flac", "-c:a flac"),
    "MP3, 128 kb/s": ("cbr.mp3", "-c:a libmp3lame -b:a 128k"),
    "MP3, VBR": ("vbr.mp3", "-c:a libmp3lame -q:a 4"),
    "Vorbis, Ogg": ("vorbis.ogg", "-c:a libvorbis -q:a 4"),
    "Opus, Ogg": ("opus.ogg", "-c:a libopus -b:a 48k"),
    "Opus, WebM": ("opus.webm", "-c:a libopus -b:a 48k"),
    "AAC, M4A": ("m4a", "-c:a aac -b:a 64k"),
    "WMA 2": ("wma", "-c:a wmav2 -b:a 64k"),
}
RANDOM, MINUTES, HOURS = "random windows", "in order, one minute", "in order, one hour"
TASKS = (RANDOM, MINUTES, HOURS)
MOST_ROUNDS = {HOURS: 1}  # a turn takes seconds there
SLOW_S = 4.0  # a turn that takes longer is not repeated


# The recordings


def sound(seconds: int, seed: int) -> NDArray[np.int16]:
    """Return syllables with pauses, bursts of noise, and notes, over soft noise."""
    rng = np.random.default_rng(seed)
    audio = rng.normal(scale=0.002, size=seconds * RATE).astype(np.float32)
    at = 0
    while at < len(audio):
        size = min(int(rng.integers(RATE // 10, RATE // 2)), len(audio) - at)
        t = np.arange(size, dtype=np.float32) / RATE
        envelope = np.sin(np.pi * np.arange(size, dtype=np.float32) / size)
        kind = rng.random()
        if kind < 0.6:  # a syllable
            turns = np.cumsum(rng.uniform(90, 250) * (1 + 0.2 * np.sin(6 * t))) / RATE
            turns = turns.astype(np.float32)
            one = sum(np.sin(2 * np.pi * k * turns) / k for k in range(1, 16))
        elif kind < 0.8:  # a consonant, or rain
            one = rng.normal(scale=0.5, size=size).astype(np.float32)
        else:  # notes
            hz = 220 * 2 ** (rng.integers(0, 36, 3) / 12)
            one = sum(np.exp(-6 * t) * np.sin(2 * np.pi * f * t) for f in hz)
        audio[at : at + size] += 0.3 * rng.uniform(0.05, 1) * envelope * one
        at += size + int(rng.integers(0, RATE // 3))
    return (np.clip(audio, -1, 1) * 32_767).astype(np.int16)


def _encode(source: Path, to: Path, arguments: str, *span: str) -> None:
    if to.exists():
        return
    part = to.with_name(f"part-{to.name}")
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *span, "-i", str(source), "-vn"]
    subprocess.run([*command, *arguments.split(), str(part)], check=True)
    part.rename(to)


def make(root: Path, long_s: int, files: int) -> None:
    """Write two long recordings and `files` of one minute in every format, unless they are there.

    ``FOLDER/long/EXTENSION/`` has the long ones, ``FOLDER/short/EXTENSION/`` the others.
    """
    for number in range(2):
        source = root / f"source-{number}-{long_s}.wav"
        if not source.exists():
            root.mkdir(parents=True, exist_ok=True)
            part = source.with_name(f"part-{source.name}")
            with soundfile.SoundFile(part, "w", RATE, 1, "PCM_16") as file:
                for minute in range(-(-long_s // MINUTE_S)):
                    seconds = min(MINUTE_S, long_s - minute * MINUTE_S)
                    file.write(sound(seconds, 1_000 * number + minute))
            part.rename(source)
    pool = ThreadPoolExecutor(2)
    jobs = []
    for extension, arguments in FORMATS.values():
        for kind, count in (("long", 2), ("short", files)):
            folder = root / kind / f"{extension}-{long_s}"
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                source = root / f"source-{number % 2}-{long_s}.wav"
                begin = number // 2 * MINUTE_S % max(MINUTE_S, long_s - MINUTE_S)
                span = () if kind == "long" else ("-ss", str(begin), "-t", str(MINUTE_S))
                to = folder / f"{number:03}.{extension}"
                jobs.append(pool.submit(_encode, source, to, arguments, *span))
    for job in jobs:
        job.result()
    pool.shutdown()


@dataclass(frozen=True)
class Work:
    """What every loader has to deliver: windows of the files in a folder.

    Attributes
    ----------
    folder : str
    file_s : int
        Seconds of each recording.
    windows : tuple of (str, int)
        Path and first second; empty for all windows of all files in order.
    repeats : int
        How often.
    """

    folder: str
    file_s: int
    windows: tuple[tuple[str, int], ...] = ()
    repeats: int = 1

    @property
    def paths(self) -> list[str]:
        """The files."""
        return sorted(map(str, Path(self.folder).iterdir()))

    def spans(self) -> Iterator[Span]:
        """Yield what a loader loads in one call: a window, or a whole recording."""
        for _ in range(self.repeats):
            if self.windows:
                yield from ((path, start, WINDOW_S) for path, start in self.windows)
            else:
                yield from ((path, 0, self.file_s) for path in self.paths)

    def cut(self, count: int) -> Work:
        """Return work of about `count` windows."""
        if self.windows:
            some = tuple(itertools.islice(itertools.cycle(self.windows), max(2, count)))
            return Work(self.folder, self.file_s, some)
        each = len(self.paths) * (self.file_s // WINDOW_S)
        return Work(self.folder, self.file_s, (), max(1, round(count / each)))


# Loaders. Each yields arrays of windows, and gives a whole file and a window of it to compare.


@lru_cache
def cut(folder: str) -> Any:
    """Return headrace's windows of a folder; it is scanned once, before anything is timed."""
    import headrace

    catalog = headrace.scan(folder, progress=False)
    return catalog.windows(sample_rate=RATE_OUT, window_s=WINDOW_S, tail="drop")


@lru_cache
def chosen(folder: str) -> tuple[tuple[str, int], ...]:
    """Return headrace's windows in its shuffled order: path and first second."""
    windows = cut(folder).shuffle(seed=SEED)
    rows = windows.rows(windows.order.epoch(0)(np.arange(len(windows), dtype=np.int64)))
    paths = [recording.path for recording in windows.catalog]
    return tuple(
        (paths[recording], start // RATE_OUT)
        for recording, start in zip(rows.recording.tolist(), rows.start.tolist(), strict=True)
    )


class Headrace:
    """Batches of 64."""

    def __init__(self) -> None:
        self.loaded: dict[str, dict[tuple[str, int], Audio]] = {}

    def run(self, work: Work, workers: int) -> Iterator[Audio]:
        """Load in order, or shuffled."""
        windows = cut(work.folder)
        if work.windows:
            windows = windows.shuffle(seed=SEED)
        loader = windows.loader(batch_size=64, workers=workers)
        wanted = len(work.windows) or len(windows) * work.repeats
        epochs, rest = divmod(wanted, len(windows))
        for delivery in loader.steps(epochs * len(loader) + -(-rest // 64)):
            audio = delivery.audio
            del delivery
            yield audio

    def whole(self, path: str, file_s: int) -> Audio:
        """Return the whole recording as one window."""
        catalog = cut(str(Path(path).parent)).catalog
        one = catalog.filter(np.array([recording.path == path for recording in catalog]))
        audio: Audio = one.windows(RATE_OUT, file_s)[0].audio
        return audio

    def window(self, path: str, start: int) -> Audio:
        """Return a window as it came in a shuffled batch."""
        folder = str(Path(path).parent)
        if folder not in self.loaded:
            order = chosen(folder)[:CHECKED]
            batches = self.run(Work(folder, 0, order), 2)
            audio = [row.copy() for batch in batches for row in batch]
            self.loaded[folder] = dict(zip(order, audio, strict=False))
        return self.loaded[folder][path, start]


class Pool:
    """A bounded, ordered pool, whose threads live on, and keep what they have opened."""

    def __init__(self) -> None:
        self.kept = threading.local()
        self.threads: dict[int, ThreadPoolExecutor] = {}

    def load(self, span: Span) -> Audio:
        """Return the windows of a span."""
        raise NotImplementedError

    def run(self, work: Work, workers: int) -> Iterator[Audio]:
        """Load with at most `DEPTH` jobs ready or in flight for each worker."""
        if workers not in self.threads:
            self.threads[workers] = ThreadPoolExecutor(workers)
        waiting: deque[Future[Audio]] = deque()
        try:
            for span in work.spans():
                waiting.append(self.threads[workers].submit(self.load, span))
                if len(waiting) >= DEPTH * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


class Soundfile(Pool):
    """A pool around soundfile and soxr HQ; each thread keeps its files open."""

    def __init__(self) -> None:
        import soxr

        super().__init__()
        self.resample = partial(soxr.resample, in_rate=RATE, out_rate=RATE_OUT, quality="HQ")

    def load(self, span: Span) -> Audio:
        """Return the windows of a span."""
        path, start, seconds = span
        if seconds == WINDOW_S:
            audio = self.window(path, start)
        else:
            audio = soundfile.read(path, dtype="float32")[0]
        return rows(self.resample(audio), seconds)

    def whole(self, path: str, file_s: int) -> Audio:
        """Return the whole recording at its own rate."""
        del file_s
        audio: Audio = soundfile.read(path, dtype="float32")[0]
        return audio

    def window(self, path: str, start: int) -> Audio:
        """Return a window at the recording's own rate."""
        files = self.kept.__dict__
        if path not in files:
            files[path] = soundfile.SoundFile(path)
        files[path].seek(start * RATE)
        audio: Audio = files[path].read(WINDOW_S * RATE, dtype="float32")
        return audio


class Torchcodec(Pool):
    """A pool around `AudioDecoder`; each thread keeps its decoders. FFmpeg resamples."""

    def __init__(self) -> None:
        import torch
        from torchcodec.decoders import AudioDecoder

        torch.set_num_threads(1)
        super().__init__()
        self.open = AudioDecoder

    def load(self, span: Span) -> Audio:
        """Return the windows of a span."""
        path, start, seconds = span
        if seconds > WINDOW_S:
            audio = self.open(path, sample_rate=RATE_OUT).get_all_samples().data[0].numpy()
        else:
            audio = self._kept(path, RATE_OUT, start)
        return rows(audio, seconds)

    def _kept(self, path: str, rate: int, start: int) -> Audio:
        decoders = self.kept.__dict__.setdefault("decoders", {})
        if (path, rate) not in decoders:
            decoders[path, rate] = self.open(path, sample_rate=rate)
        samples = decoders[path, rate].get_samples_played_in_range(start, start + WINDOW_S)
        audio: Audio = samples.data[0].numpy()
        return audio

    def whole(self, path: str, file_s: int) -> Audio:
        """Return the whole recording at its own rate."""
        del file_s
        audio: Audio = self.open(path).get_all_samples().data[0].numpy()
        return audio

    def window(self, path: str, start: int) -> Audio:
        """Return a window at the recording's own rate."""
        return self._kept(path, RATE, start)


class Spdl(Pool):
    """A pool around SPDL's functions. FFmpeg resamples.

    It cannot seek to the beginning of an MP3 file, so it seeks to 30 ms behind it.
    """

    def __init__(self) -> None:
        import spdl.io

        super().__init__()
        self.io = spdl.io

    def decode(self, path: str, start: int, seconds: int, rate: int, *, whole: bool) -> Audio:
        """Demux, decode and convert."""
        span = None if whole else (float(start), float(start + seconds))
        seek = (0.03, span[1]) if span and not start and path.endswith("mp3") else span
        frames = self.io.decode_packets(
            self.io.demux_audio(path, timestamp=seek),
            filter_desc=self.io.get_audio_filter_desc(
                sample_rate=rate,
                num_channels=1,
                sample_fmt="fltp",
                timestamp=span,
                num_frames=None if whole else seconds * rate,
            ),
        )
        audio: Audio = self.io.to_numpy(self.io.convert_frames(frames))[0]
        return audio

    def load(self, span: Span) -> Audio:
        """Return the windows of a span."""
        path, start, seconds = span
        audio = self.decode(path, start, seconds, RATE_OUT, whole=seconds > WINDOW_S)
        return rows(audio, seconds)

    def whole(self, path: str, file_s: int) -> Audio:
        """Return the whole recording at its own rate."""
        return self.decode(path, 0, file_s, RATE, whole=True)

    def window(self, path: str, start: int) -> Audio:
        """Return a window at the recording's own rate."""
        return self.decode(path, start, WINDOW_S, RATE, whole=False)


def rows(audio: Audio, seconds: int) -> Audio:
    """Return the windows of a span, shape ``(count, samples)``."""
    return tasks.rows(audio, seconds // WINDOW_S, WINDOW_S * RATE_OUT)


LOADERS: dict[str, Callable[[], Any]] = {
    "headrace": Headrace,
    "torchcodec": Torchcodec,
    "soundfile": Soundfile,
    "SPDL": Spdl,
}
SEED = 0
CHECKED = 96  # windows, of which those of the first file are compared with slices
MOST_LAG, SNIPPET = 5_000, 256  # samples


# In a loader's own process


@lru_cache
def loader_of(name: str) -> Any:
    """Return a loader, which keeps what it has between calls, but for what threads keep."""
    return LOADERS[name]()


def prepared(name: str, work: Work, workers: int, deadline_s: float) -> float:
    """Fill caches and open files; return windows per second."""
    if name == "headrace":
        cut(work.folder)
    speed = 0.0
    # The second time, the page cache is full, and threads have opened the files that they keep.
    for _ in range(2):
        count = 0
        began = time.perf_counter()
        loading = loader_of(name).run(work, workers)
        for windows in loading:
            count += len(windows)
            if time.perf_counter() - began > deadline_s:
                break
        speed = count / (time.perf_counter() - began)
        del loading
    return speed


def timed(name: str, work: Work, workers: int) -> tuple[int, float]:
    """Return the number of windows that were delivered, and the seconds that this took."""
    count = 0
    began = time.perf_counter()
    for windows in loader_of(name).run(work, workers):
        if windows.shape[1] != WINDOW_S * RATE_OUT:
            raise AssertionError(f"delivers shape {windows.shape}")
        count += len(windows)
    return count, time.perf_counter() - began


def wrong(name: str, work: Work, deadline_s: float) -> tuple[int, int, float]:
    """Return how many windows differ from their slice, of how many, and the largest difference."""
    loader = loader_of(name)
    rate = RATE_OUT if name == "headrace" else RATE
    differences: list[float] = []
    for path in work.paths[:1]:
        whole = loader.whole(path, work.file_s)
        starts = [start for one, start in work.windows[:CHECKED] if one == path]
        loader.window(path, starts[0])  # headrace loads all of them here
        began = time.perf_counter()
        loaded: list[tuple[int, Audio]] = [
            (start * rate, loader.window(path, start))
            for start in starts
            if time.perf_counter() - began < deadline_s
        ]
        lags = Counter(_lag(whole, at, got) for at, got in loaded)
        lag = lags.most_common(1)[0][0] if lags else 0
        differences += [_difference(whole, at + lag, got, rate) for at, got in loaded]
    return sum(one != 0 for one in differences), len(differences), max(differences, default=0.0)


def _lag(whole: Audio, at: int, got: Audio) -> int:
    """Return how many samples later than at `at` a window is in the whole."""
    half = len(got) // 2
    begin = max(0, at + half - MOST_LAG)
    part = whole[begin : at + half + MOST_LAG + SNIPPET]
    snippet = got[half : half + SNIPPET]
    if len(part) < SNIPPET or len(snippet) < SNIPPET:
        return 0
    views = np.lib.stride_tricks.sliding_window_view(part, SNIPPET)
    return begin + int(np.abs(views - snippet).sum(axis=1).argmin()) - at - half


def _difference(whole: Audio, at: int, got: Audio, rate: int) -> float:
    """Return the largest difference, or 0 if not a bit differs; 1 where samples are missing."""
    size = min(WINDOW_S * rate, len(whole) - at)
    expected = whole[max(0, at) : at + size]
    got = got[max(0, len(got) - len(expected)) :] if at < 0 else got[: len(expected)]
    if len(got) != len(expected):
        return 1.0
    if got.tobytes() == expected.tobytes():
        return 0.0
    return max(1e-30, float(np.abs(got - expected).max()))


def chosen_windows(name: str, folder: str) -> tuple[tuple[str, int], ...]:
    """Return the windows of a folder in headrace's shuffled order."""
    del name
    return chosen(folder)


def scanned_s(name: str, folder: str) -> float:
    """Return how long a scan of a folder takes, in seconds."""
    import headrace

    del name
    began = time.perf_counter()
    headrace.scan(folder, progress=False)
    return time.perf_counter() - began


# In the process that asks them


@dataclass
class Entry(Timings):
    """One loader at one task, and how many of its windows are wrong."""

    wrong: int = 0
    compared: int = 0
    worst: float = 0.0


def measure(
    processes: LoaderProcesses, work: Work, rounds: int, options: argparse.Namespace
) -> dict[str, Entry]:
    """Measure all loaders at one task."""
    entries: dict[str, Entry] = {}
    cuts: dict[str, Work] = {}
    for name in options.only or LOADERS:
        entries[name] = entry = Entry()
        try:
            speed = processes.ask(prepared, name, work, options.workers, options.round_s)
            if work.windows and not options.no_check:
                found = processes.ask(wrong, name, work, options.round_s)
                entry.wrong, entry.compared, entry.worst = found
        except Exception as error:  # noqa: BLE001  whatever stops a loader is printed
            entry.skipped = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            continue
        cuts[name] = work.cut(round(speed * options.round_s))
    running = list(cuts)
    for number in range(rounds):
        turn = number % max(1, len(running))
        for name in running[turn:] + running[:turn]:
            entry = entries[name]
            if entry.seconds and entry.seconds[0] > SLOW_S:
                count, seconds = entry.windows[0], entry.seconds[0]
            else:
                count, seconds = processes.ask(timed, name, cuts[name], options.workers)
            entry.windows.append(count)
            entry.seconds.append(seconds)
    return entries


def table(results: dict[str, Any]) -> None:
    """Print a run as Markdown."""
    print(f"    {results['machine']}\n    {results['packages']}\n    {results['ffmpeg']}")
    names: list[str] = []
    for formats in results["tasks"].values():
        for entries in formats.values():
            names += [name for name in entries if name not in names]
    for task, formats in results["tasks"].items():
        print(f"\n{task}: times real time, {results['workers']} workers, {results['date']}\n")
        print(f"| format | {' | '.join(names)} | headrace / fastest other |")
        print(f"|---|{'---:|' * len(names)}---|")
        for kind, raw in formats.items():
            entries = {name: Entry(**one) for name, one in raw.items()}
            cells = [_cell(entries.get(name)) for name in names]
            print(f"| {kind} | {' | '.join(cells)} | {_lead(entries)} |")
        if task == RANDOM:
            print("\nWindows that are not the slice of the same loader's decode of the whole file:")
            print(f"\n| format | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
            for kind, raw in formats.items():
                entries = {name: Entry(**one) for name, one in raw.items()}
                cells = [_errors(entries.get(name)) for name in names]
                print(f"| {kind} | {' | '.join(cells)} |")
    scans = results.get("scan_s", {})
    if scans:
        print("\nScan of an hour, s:", ", ".join(f"{one} {s:.2f}" for one, s in scans.items()))


def _cell(entry: Entry | None) -> str:
    if entry is None or not entry.speeds:
        return "-"
    speed = statistics.median(entry.speeds)
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:,.1f}"


def _errors(entry: Entry | None) -> str:
    if entry is None or not entry.compared:
        return "-"
    by = f", by {entry.worst:.0e}" if entry.wrong else ""
    return f"{entry.wrong} of {entry.compared}{by}"


def _lead(entries: dict[str, Entry]) -> str:
    ours = entries.get("headrace")
    if ours is None or not ours.speeds:
        return "-"
    leads = {
        name: ours.ratio(entry)
        for name, entry in entries.items()
        if entry is not ours and entry.speeds
    }
    if not leads:
        return "-"
    name = min(leads, key=lambda one: leads[one])
    return f"**{leads[name]:.2f}** ({name})"


def _ffmpeg() -> str:
    command = ["ffmpeg", "-version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return "encoded by " + done.stdout.splitlines()[0].split(" Copyright")[0]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="of the recordings; made if missing")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round-s", type=float, default=0.5, help="seconds of a loader's turn")
    parser.add_argument("--long-s", type=int, default=3_600, help="length of a long recording")
    parser.add_argument("--files", type=int, default=16, help="recordings of a minute")
    parser.add_argument("--formats", nargs="+", metavar="WORD", help="whose name holds it")
    parser.add_argument("--tasks", nargs="+", metavar="WORD", help="whose name holds it")
    parser.add_argument("--only", nargs="+", choices=LOADERS, help="loaders")
    parser.add_argument("--no-check", action="store_true", help="do not compare with slices")
    parser.add_argument("--json", type=Path, help="write every round's figure to this file")
    parser.add_argument("--table", type=Path, help="print the tables of such a file, and end")
    options = parser.parse_args()
    if not options.folder and not options.table:
        parser.error("name a folder for the recordings, or --table with a file of results.")
    return options


def main() -> None:
    """Measure and print."""
    options = _options()
    if options.table:
        table(json.loads(options.table.read_text(encoding="utf-8")))
        return
    make(options.folder, options.long_s, options.files)
    results: dict[str, Any] = {
        "machine": corpus.machine(),
        "packages": packages(),
        "ffmpeg": _ffmpeg(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        **{name: getattr(options, name) for name in ("workers", "rounds", "round_s", "long_s")},
        "scan_s": {},
        "tasks": {},
    }
    processes = LoaderProcesses(LOADERS)
    try:
        for task in named(TASKS, options.tasks):
            for kind in named(FORMATS, options.formats):
                short = task == MINUTES
                name = f"{FORMATS[kind][0]}-{options.long_s}"
                folder = str(options.folder / ("short" if short else "long") / name)
                windows: tuple[tuple[str, int], ...] = ()
                if task == RANDOM:
                    windows = processes.ask(chosen_windows, "headrace", folder)
                    if not options.no_check:  # of both files
                        took = processes.ask(scanned_s, "headrace", folder)
                        results["scan_s"][kind] = took / 2 * 3_600 / options.long_s
                work = Work(folder, MINUTE_S if short else options.long_s, windows)
                rounds = min(options.rounds, MOST_ROUNDS.get(task, options.rounds))
                entries = measure(processes, work, rounds, options)
                for one, entry in entries.items():
                    if entry.skipped:
                        print(f"  {one}: skipped, {entry.skipped}")
                shown = "  ".join(f"{n} {_cell(e)} {_errors(e)}" for n, e in entries.items())
                print(f"{task}: {kind}: {shown}  {_lead(entries)}", flush=True)
                found = {n: vars(entry) for n, entry in entries.items()}
                results["tasks"].setdefault(task, {})[kind] = found
                if options.json:
                    options.json.parent.mkdir(parents=True, exist_ok=True)
                    options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    finally:
        processes.close()
    table(results)


if __name__ == "__main__":
    main()
