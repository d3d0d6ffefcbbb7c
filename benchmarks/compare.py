"""headrace beside other loaders: the same windows, the same number of workers, in one run.

    python benchmarks/compare.py FOLDER [--rounds 5] [--only NAME ...] [--tasks WORD ...]
    python benchmarks/compare.py --table RESULTS.json

Every loader has a process of its own, which sleeps while the others run. Rounds are interleaved:
each loader runs once a round, and the order rotates from round to round. Before the rounds, each
loader's first windows are compared with headrace's, which fills the page cache, and one run is
timed, which determines how many windows take about `--round-s` seconds. Ratios are taken within a
round; figures are medians.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corpus
import numpy as np
import tasks
from rivals import ours
from tasks import WINDOW_S, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    Run = Callable[[Task, int], Iterator[NDArray[np.float32]]]

RIVALS = {
    "headrace": "ours",
    "headrace, examples": "ours",
    "headrace, 16 workers": "ours",
    "soundfile + soxr": "soundfile_soxr",
    "librosa": "librosa_pool",
    "torchcodec": "torchcodec_pool",
    "torchcodec WavDecoder": "torchcodec_pool",
    "lhotse": "lhotse_pool",
    "DataLoader, soundfile": "torch_dataloader",
    "DataLoader, torchcodec": "torch_dataloader",
    "SPDL": "spdl_pipeline",
    "SPDL load_wav + soxr": "spdl_pipeline",
    "Grain": "grain_threads",
    "mlx-data": "mlx_data",
}
"""Name to module in `rivals`."""

PACKAGES = ("soxr", "librosa", "torch", "torchcodec", "lhotse", "spdl_io", "grain", "mlx-data")

COPIED = 64  # windows that the consumer has room for
CHECKED = 24  # windows whose audio is compared
TOLERANCE_DB = -40.0
"""The highest level of a difference. Audio from another position, or of another scale or sample
rate, differs by far more than this."""

COMPARED = 0.6  # of the lower Nyquist: libsamplerate's fastest filter falls off from there on
LONGEST_LAG = 1.0  # samples: after a seek, FFmpeg's resampler begins where a packet does
MP3_LAG = 2_500  # samples: MP3 decoders differ in how much of the encoder's delay they cut off


@dataclass(frozen=True)
class Checked:
    """The comparison before timing: the level of the difference, and the lag in samples."""

    worst_db: float
    lag: float
    windows_per_s: float


@dataclass
class Timings:
    """One loader at one task: windows and seconds of each round, or why it was skipped."""

    skipped: str = ""
    windows: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def speeds(self) -> list[float]:
        """Times real time, by round."""
        return [n * WINDOW_S / s for n, s in zip(self.windows, self.seconds, strict=True)]

    def ratio(self, other: Timings) -> float:
        """Return the median of the rounds' ratios of speed."""
        pairs = zip(self.speeds, other.speeds, strict=True)
        return statistics.median(a / b for a, b in pairs)


@dataclass
class Entry(Timings):
    """One loader at one task, and how its audio compares with headrace's."""

    worst_db: float = 0.0
    lag: float = 0.0


# In a loader's own process


def _run_of(name: str) -> Run:
    run: Run = importlib.import_module(f"rivals.{RIVALS[name]}").RIVALS[name]
    return run


def timed(name: str, task: Task, workers: int) -> tuple[int, float]:
    """Return the number of windows that were delivered, and the seconds that this took.

    The consumer copies each sample out, as a framework does that moves batches to a device. If it
    touched nothing, a loader could use one small array again and again, within the caches. It
    copies to the same places whether it is given one window at a time or many.
    """
    run = _run_of(name)
    count = 0
    copied = np.zeros((COPIED, task.size), np.float32)
    began = time.perf_counter()
    for windows in run(task, workers):
        done = 0
        while done < len(windows):
            place = (count + done) % COPIED
            some = windows[done : done + COPIED - place]
            copied[place : place + len(some)] = some
            done += len(some)
        count += done
    return count, time.perf_counter() - began


def checked(name: str, task: Task, workers: int, deadline_s: float) -> Checked:
    """Compare the first windows with headrace's, and estimate the speed."""
    run = _run_of(name)
    if name not in ours.RIVALS:
        worst_db, lag = _compared(task, run(task.cut(CHECKED), workers))
    else:
        worst_db, lag = 0.0, 0.0
    count = 0
    began = time.perf_counter()
    loading = run(task, workers)
    for windows in loading:
        count += len(windows)
        if time.perf_counter() - began > deadline_s:
            break
    seconds = time.perf_counter() - began
    del loading
    return Checked(float(worst_db), lag, count / seconds)


def _compared(task: Task, delivered: Iterator[NDArray[np.float32]]) -> tuple[float, float]:
    """Return the worst level of a window's difference, in dB, and the largest lag."""
    expected = ours.opened(task.folder, task.rate_out)
    order = iter(task.cut(CHECKED).order)
    longest = MP3_LAG if task.paths[0].endswith(".mp3") else LONGEST_LAG
    shown = []
    for windows in delivered:
        if windows.dtype != np.float32 or windows.ndim != 2 or windows.shape[1] != task.size:
            raise AssertionError(f"delivers {windows.dtype} of shape {windows.shape}")
        for got in windows:
            file, number = next(order)
            level, lag = _difference(got, expected[file * task.per_file + number].audio, task)
            shown.append((level, lag))
            if not (level <= TOLERANCE_DB and abs(lag) <= longest):  # NaN is neither
                raise AssertionError(
                    f"delivers other audio: window {number} of {Path(task.paths[file]).name} "
                    f"differs by {level:.1f} dB at a lag of {lag:.2f} samples"
                )
    if next(order, None) is not None:
        raise AssertionError("delivers too few windows")
    return max(level for level, _ in shown), max((lag for _, lag in shown), key=abs)


def _difference(
    got: NDArray[np.float32], reference: NDArray[np.float32], task: Task
) -> tuple[float, float]:
    """Return the level of the difference in dB, without the lag of `got`, and that lag in samples.

    Only the middle half of the window is compared, in the band that every resampler passes.
    """
    product = np.fft.irfft(np.fft.rfft(got) * np.conj(np.fft.rfft(reference)))
    lags = np.r_[0 : MP3_LAG + 1, -MP3_LAG:0]
    whole = int(lags[np.argmax(product[lags])])

    size = len(reference)
    middle = slice(size // 4, size - size // 4)
    count = size - 2 * (size // 4)
    band = int(COMPARED * min(task.rate_in, task.rate_out) / task.rate_out * count / 2)
    taper = np.hanning(count)
    a = np.fft.rfft(np.roll(got, -whole)[middle] * taper)[:band]
    b = np.fft.rfft(reference[middle] * taper)[:band]
    cross = a * np.conj(b)
    turns = np.arange(band) / count
    finer = np.arange(-1, 1.01, 0.05)  # of a sample
    part = finer[np.argmax([np.real(cross @ np.exp(2j * np.pi * turns * lag)) for lag in finer])]
    rest = np.angle(cross * np.exp(2j * np.pi * turns * part))
    weight = np.abs(cross) * turns
    part -= weight @ rest / max(1e-30, weight @ turns) / (2 * np.pi)
    difference = np.linalg.norm(a * np.exp(2j * np.pi * turns * part) - b)
    return float(20 * np.log10(difference / np.linalg.norm(b) + 1e-12)), float(whole + part)


# In the process that asks them


class LoaderProcesses:
    """A process for each loader; those with the same value in `processes` share one."""

    def __init__(self, processes: Mapping[str, object]) -> None:
        self._processes = processes
        self._pools: dict[object, ProcessPoolExecutor] = {}

    def ask(self, function: Callable[..., Any], name: str, *arguments: object) -> Any:
        """Call a function of a module in the loader's process."""
        process = self._processes[name]
        if process not in self._pools:
            self._pools[process] = ProcessPoolExecutor(
                1, mp_context=multiprocessing.get_context("spawn")
            )
        return self._pools[process].submit(function, name, *arguments).result()

    def close(self) -> None:
        """End the processes."""
        for pool in self._pools.values():
            pool.shutdown()


def compare(
    processes: LoaderProcesses,
    task: Task,
    names: list[str],
    *,
    workers: int,
    rounds: int,
    round_s: float,
) -> dict[str, Entry]:
    """Measure all loaders at one task."""
    entries: dict[str, Entry] = {}
    cuts: dict[str, Task] = {}
    for name in names:
        entries[name] = entry = Entry()
        try:
            shown = processes.ask(checked, name, task, workers, max(0.3, round_s))
        except Exception as error:  # noqa: BLE001  whatever stops a loader is printed
            lines = str(error).strip().splitlines() or [""]
            entry.skipped = f"{type(error).__name__}: {lines[0]}".removeprefix("UnsupportedError: ")
            print(f"  {name}: skipped, {entry.skipped}", flush=True)
            continue
        entry.worst_db, entry.lag = shown.worst_db, shown.lag
        cuts[name] = task.cut(max(1, round(shown.windows_per_s * round_s)))
    running = [name for name in names if name in cuts]
    for name in running:  # the first loader has filled the page cache for all of them
        count, seconds = processes.ask(timed, name, cuts[name], workers)
        cuts[name] = task.cut(max(1, round(count / seconds * round_s)))
    for number in range(rounds):
        turn = number % max(1, len(running))
        for name in running[turn:] + running[:turn]:
            count, seconds = processes.ask(timed, name, cuts[name], workers)
            entries[name].windows.append(count)
            entries[name].seconds.append(seconds)
    return entries


def report(task: str, entries: dict[str, Entry]) -> None:
    """Print one task."""
    print(f"\n{task}: times real time, its share of headrace's")
    base = entries.get("headrace")
    for name, entry in entries.items():
        if not entry.speeds:
            continue
        share = f"{entry.ratio(base):6.2f}" if base and base.speeds else "     -"
        lag = f", up to {entry.lag:.2f} samples off" if abs(entry.lag) > 0.01 else ""
        ours_or = "" if name in ours.RIVALS else f"   (differs by {entry.worst_db:.0f} dB{lag})"
        print(f"  {statistics.median(entry.speeds):9,.0f} {share}  {name}{ours_or}", flush=True)


def table(results: dict[str, Any]) -> None:
    """Print a run as Markdown: speeds, headrace's lead, and headrace's three forms."""
    loaders = {
        task: {name: Entry(**entry) for name, entry in entries.items()}
        for task, entries in results["works"].items()
    }
    names = list(dict.fromkeys(name for entries in loaders.values() for name in entries))
    rivals = [name for name in names if name not in ours.RIVALS]
    print(f"    {results['machine']}\n    {results['packages']}")
    print(
        f"\nTimes real time, {results['workers']} workers, median of {results['rounds']} rounds:\n"
    )
    _print_row("task", names)
    _print_row("---", ["---:"] * len(names))
    for task, entries in loaders.items():
        speeds = [entries[name].speeds if name in entries else [] for name in names]
        _print_row(task, [f"{statistics.median(one):,.0f}" if one else "-" for one in speeds])

    print("\nHow many times as fast headrace was, median of the rounds' ratios:\n")
    _print_row("task", ["fastest other", *rivals])
    _print_row("---", ["---"] + ["---:"] * len(rivals))
    for task, entries in loaders.items():
        leads = [_lead(entries, "headrace", name) for name in rivals]
        measured = {lead: name for lead, name in zip(leads, rivals, strict=True) if lead}
        least = min(measured, default=None)
        best = f"**{least:.2f}** ({measured[least]})" if least else "-"
        _print_row(task, [best, *(f"{lead:.2f}" if lead else "-" for lead in leads)])

    print("\nVariants of headrace:\n")
    forms = {
        "16 workers to the number above": ("headrace, 16 workers", "headrace"),
        "batches to single examples": ("headrace", "headrace, examples"),
    }
    _print_row("task", list(forms))
    _print_row("---", ["---:"] * len(forms))
    for task, entries in loaders.items():
        leads = [_lead(entries, *form) for form in forms.values()]
        _print_row(task, [f"{lead:.2f}" if lead else "-" for lead in leads])


def _print_row(first: str, cells: list[str]) -> None:
    print(f"| {first} | {' | '.join(cells)} |")


def _lead(entries: dict[str, Entry], one: str, other: str) -> float | None:
    """Return how many times as fast `one` was; None if either was not measured."""
    if not all(name in entries and entries[name].speeds for name in (one, other)):
        return None
    return entries[one].ratio(entries[other])


def packages() -> str:
    """Return the versions of the other loaders, in one line."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def named(names: Iterable[str], words: list[str] | None) -> list[str]:
    """Return the names that hold one of the words; all of them without words."""
    lower = [word.lower() for word in words or [""]]
    return [name for name in names if any(word in name.lower() for word in lower)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="of the corpora; made if missing")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--round-s", type=float, default=0.8, help="seconds of a loader's turn")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="loaders whose name holds it")
    parser.add_argument(
        "--tasks", "--works", nargs="+", metavar="WORD", help="tasks whose name holds it"
    )
    parser.add_argument("--files", type=int, default=60, help="short recordings")
    parser.add_argument("--seconds", type=int, default=60, help="length of a short recording")
    parser.add_argument("--long-s", type=int, default=3_600, help="length of a long recording")
    parser.add_argument("--json", type=Path, help="write every round's figure to this file")
    parser.add_argument("--table", type=Path, help="print the tables of such a file, and end")
    arguments = parser.parse_args()
    if arguments.table:
        table(json.loads(arguments.table.read_text(encoding="utf-8")))
        return
    if not arguments.folder:
        parser.error("name a folder for the corpora, or --table with a file of results.")
    names = named(RIVALS, arguments.only)
    results: dict[str, Any] = {
        "machine": corpus.machine(),
        "packages": packages(),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        **{name: getattr(arguments, name) for name in ("workers", "rounds", "round_s")},
        "works": {},
    }
    print(f"{results['machine']}\n{results['packages']}", flush=True)
    processes = LoaderProcesses(RIVALS)
    try:
        for name in named(tasks.NAMES, arguments.tasks):
            task = tasks.make(
                name,
                arguments.folder,
                files=arguments.files,
                seconds=arguments.seconds,
                long_s=arguments.long_s,
            )
            entries = compare(
                processes,
                task,
                names,
                workers=arguments.workers,
                rounds=arguments.rounds,
                round_s=arguments.round_s,
            )
            report(name, entries)
            results["works"][name] = {n: vars(entry) for n, entry in entries.items()}
            if arguments.json:
                arguments.json.parent.mkdir(parents=True, exist_ok=True)
                arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    finally:
        processes.close()


if __name__ == "__main__":
    main()
