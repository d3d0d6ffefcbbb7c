"""How close the pipeline comes to its floor: bare decoding and the bare kernel on the same bytes.

    python benchmarks/limit.py FOLDER [--rounds 5] [--tasks WORD ...] [--json FILE]

The floor is the time of `--workers` processes that share nothing and transfer nothing. Each goes
through its part of the windows three times: once to decode into reused memory, once to convert to
float32 and mix, once to resample into the rows of a batch. The three times are added. Plain WAV is
read with `preadv`, FLAC is decoded by the kernel's own decoder from the bytes of the whole file,
and everything else by libsndfile: also Vorbis, which headrace decodes by FFmpeg. headrace runs in
the same rounds with as many threads. Efficiency is the floor's time divided by headrace's; the
median of the rounds. It can exceed 1 where steps of the pipeline overlap or find their bytes in a
faster cache.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corpus
import numpy as np
import tasks
from bare_libsndfile import Decoder
from rivals import ours

from headrace import _kernel
from headrace._kernel import testing
from headrace.codecs import probe, sample_type
from headrace.dsp import resampler
from headrace.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from tasks import Task

    Place = Callable[[int, NDArray[Any]], object]

ROWS = 64
LONGER = 8
"""Times as many windows where nothing is resampled: a run would be over in a tenth of a second."""


def _plain(path: str, frame_bytes: int, files: ExitStack) -> Place:
    """Return a function that reads frames from a given one on with one system call."""
    descriptor = os.open(path, os.O_RDONLY)
    files.callback(os.close, descriptor)
    data = os.pread(descriptor, 4_096, 0).index(b"data") + 8

    def read(frame: int, out: NDArray[Any]) -> None:
        if os.preadv(descriptor, [out], data + frame * frame_bytes) != out.nbytes:
            raise EOFError(path)

    return read


def _decoded(path: str, files: ExitStack) -> Place:
    decoder = Decoder(path)
    files.callback(decoder.close)

    def read(frame: int, out: NDArray[Any]) -> None:
        if frame != decoder.position:
            decoder.move_to(frame, out)
        decoder.read_exactly(out)

    return read


def _files(task: Task, files: ExitStack) -> Callable[[str], Place]:
    """Return a function that opens a recording; in random order, recordings stay open."""
    frame_bytes = 2 * task.channels
    wav = task.paths[0].endswith(".wav")
    known: dict[str, Place] = {}

    def opened(path: str) -> Place:
        if path in known:
            return known[path]
        if not task.at_random:
            files.close()
        place = _plain(path, frame_bytes, files) if wav else _decoded(path, files)
        if task.at_random:
            known[path] = place
        return place

    return opened


def _flac(task: Task, frames: int) -> None:
    """Decode the windows of each file in one call: in random order, less work than one by one."""
    windows: dict[str, list[tuple[int, int]]] = {}
    for job in task.jobs():
        windows.setdefault(job.path, []).extend((at * frames, frames) for at in job.windows)
    for path, spans in windows.items():
        if testing.flac_spans(Path(path).read_bytes(), spans) is None:
            raise EOFError(path)


def floor(task: Task) -> tuple[float, float, float]:
    """Return the seconds that decoding, converting and resampling take, each alone."""
    recording = probe(task.paths[0], "")
    if isinstance(recording, Failure):
        raise TypeError(recording)
    frames = task.frames_in
    table = resampler(task.rate_in, task.rate_out)
    begin, end = table.span(0, task.size)
    pcm = np.zeros(frames * task.channels, sample_type(recording))
    x = np.zeros(max(end - begin, frames), np.float32)
    y = np.zeros((ROWS, task.size), np.float32)
    channel = _kernel.MIX if task.channels > 1 else 0
    count = len(task.order)

    took = []
    with ExitStack() as files:
        opened = _files(task, files)
        began = time.perf_counter()
        if task.paths[0].endswith(".flac"):
            _flac(task, frames)
        else:
            for job in task.jobs():
                read = opened(job.path)
                for window in job.windows:
                    read(window * frames, pcm)
        took.append(time.perf_counter() - began)

    began = time.perf_counter()
    for number in range(count):  # equal rates: straight into the row
        out = y[number % ROWS] if table.identity else x[:frames]
        testing.convert(pcm, task.channels, channel, out)
    took.append(time.perf_counter() - began)

    began = time.perf_counter()
    if not table.identity:
        for number in range(count):
            table(x, begin, y[number % ROWS], 0)
    took.append(time.perf_counter() - began)
    return took[0], took[1], took[2]


def pipeline(task: Task, workers: int) -> float:
    """Return headrace's seconds per window."""
    count = 0
    began = time.perf_counter()
    for windows in ours.run(task, workers):
        count += len(windows)
    return (time.perf_counter() - began) / count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the corpora; made if missing")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=2_880, help="in each run, or more")
    parser.add_argument(
        "--tasks", "--works", nargs="+", metavar="WORD", help="tasks whose name holds it"
    )
    parser.add_argument("--files", type=int, default=60, help="short recordings")
    parser.add_argument("--seconds", type=int, default=60, help="length of a short recording")
    parser.add_argument("--long-s", type=int, default=3_600, help="length of a long recording")
    parser.add_argument("--json", type=Path, help="write every round's figure to this file")
    arguments = parser.parse_args()
    machine = corpus.machine()
    print(f"{machine}\n")
    print(f"Times real time, {arguments.workers} workers, medians of {arguments.rounds} rounds:\n")
    print("| task | decode | convert | resample | floor | headrace | efficiency |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    raw: dict[str, list[dict[str, float]]] = {}
    words = [word.lower() for word in arguments.tasks or [""]]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.workers, mp_context=context) as pool:
        for name in tasks.NAMES:
            if not any(word in name.lower() for word in words):
                continue
            task = tasks.make(
                name,
                arguments.folder,
                files=arguments.files,
                seconds=arguments.seconds,
                long_s=arguments.long_s,
            )
            windows = arguments.windows * (LONGER if task.rate_in == task.rate_out else 1)
            raw[name] = [
                _round(pool, task.cut(windows), arguments.workers)
                for _ in range(arguments.rounds + 1)
            ][1:]  # the first fills the page cache
            speeds = [
                tasks.WINDOW_S / max(1e-12, statistics.median(one[column] for one in raw[name]))
                for column in ("decode", "convert", "resample", "floor", "headrace")
            ]
            cells = [f"{speed:,.0f}" for speed in speeds]
            if task.rate_in == task.rate_out:
                cells[2] = "-"
            efficiency = statistics.median(one["floor"] / one["headrace"] for one in raw[name])
            print(f"| {name} | {' | '.join(cells)} | {efficiency:.2f} |", flush=True)
    if arguments.json:
        facts = {name: getattr(arguments, name) for name in ("workers", "rounds", "windows")}
        content = {"machine": machine, **facts, "seconds_per_window": raw}
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _round(pool: ProcessPoolExecutor, task: Task, workers: int) -> dict[str, float]:
    """Return the seconds per window of each step of the floor, and of headrace."""
    shares = [task.cut(len(task.order) // workers)] * workers
    parts = list(pool.map(floor, shares))
    count = sum(len(share.order) for share in shares)
    slowest = [max(step) / count for step in zip(*parts, strict=True)]
    seconds = dict(zip(("decode", "convert", "resample"), slowest, strict=True))
    seconds["floor"] = max(map(sum, parts)) / count
    seconds["headrace"] = pipeline(task, workers)
    return seconds


if __name__ == "__main__":
    main()
