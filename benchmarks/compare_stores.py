"""headrace from a store beside a local folder and other ways to read a store, in one run.

    python benchmarks/compare_stores.py FOLDER [--round-s 1.5] [--rounds 3] [--json RESULTS.json]
    python benchmarks/compare_stores.py FOLDER --workers 1 --only order [--json RESULTS.json]
    python benchmarks/compare_stores.py FOLDER --uneven --only 50 [--json RESULTS.json]
    python benchmarks/compare_stores.py --table RESULTS.json

Writes recordings into FOLDER, unless they are there, and serves them on loopback by nginx, without
latency and with 50 ms for each request. headrace has two workers, or `--workers`; of the others,
which wait for the store in their threads, the better one of 2 and 8 threads is taken. Each is run
twice, to compare its audio and to find out how many windows take about `--round-s` seconds. In
order, all read whole epochs. Then rounds are interleaved: each runs once a round, and the order
rotates. Figures are medians. Requests and bytes are those in nginx's log.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tarfile
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corpus
import nginx
import numpy as np
import obstore.store
import soundfile
import store_rivals
import stores
from store_rivals import RATE, WINDOW_S, Work

import headrace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Windows = NDArray[np.float32]
    Run = Callable[[int], Iterator[Windows]]

FORMATS = ("WAV", "FLAC", "MP3", "Vorbis")
IN_ORDER = ("WAV", "FLAC")
TASKS = {0.0: FORMATS, 0.05: ("WAV", "FLAC")}
"""Formats that are read at random, by latency in seconds."""

BATCH = 16
THREADS = (2, 8)
TOLERANCE_DB = -40.0
"""The highest level of a difference below 0.6 of the Nyquist frequency, as in compare.py."""


def prepare(folder: Path, minutes: int, recordings: int) -> None:
    """Write recordings of each format, and two tars of those that are read in order."""
    for name in FORMATS:
        done = folder / name / "done"
        if done.exists() and done.read_text() == f"{minutes} {recordings}":
            continue
        if (folder / name).exists():
            raise SystemExit(f"{folder / name} holds other recordings: choose another folder.")
        print(f"writing {name} ...", flush=True)
        stores.make_recordings(folder, minutes, recordings, [name])
        if name in IN_ORDER:
            files = sorted((folder / name).iterdir())
            for half in range(2):
                with tarfile.open(folder / f"{name}-{half}.tar", "w") as tar:
                    for file in files[half::2]:
                        tar.add(file, file.name)
        done.write_text(f"{minutes} {recordings}")


def read_headrace(
    catalog: headrace.Catalog, workers: int, count: int, *, at_random: bool
) -> Iterator[Windows]:
    """Yield batches, epoch after epoch."""
    windows: headrace.Windows = catalog.windows(RATE, WINDOW_S)
    if at_random:
        windows = windows.shuffle(seed=0)
    for batch in windows.loader(batch_size=BATCH, workers=workers).steps(-(-count // BATCH)):
        yield batch.audio


def read_bare(work: Work, folder: Path, count: int) -> Iterator[Windows]:
    """Read the bytes of the same windows with obstore alone, 32 ranges at once; nothing is decoded.

    In order: objects in ranges of 8 MiB. At random, which only WAV allows without an index: the
    bytes of each window.
    """
    store = obstore.store.S3Store("bucket", **options(work.server))
    of_window = WINDOW_S * work.own_rate * 2
    if work.at_random:
        ranges = [
            (key, 44 + of_window * place, 44 + of_window * (place + 1))
            for key, place in work.order(count)
        ]
    else:
        ranges = [
            (key, start, min(start + (8 << 20), (folder / key).stat().st_size))
            for key in work.recordings(count)
            for start in range(0, (folder / key).stat().st_size, 8 << 20)
        ]

    async def read() -> None:
        free = asyncio.Semaphore(32)

        async def one(key: str, start: int, stop: int) -> None:
            async with free:
                await store.get_range_async(key, start=start, end=stop)

        await asyncio.gather(*(one(*each) for each in ranges))

    asyncio.run(read())
    yield np.empty((count, 0), np.float32)


def options(server: nginx.Nginx) -> dict[str, Any]:
    """Return what obstore, and `headrace.scan`, need to reach the bucket."""
    return {
        "endpoint": server.endpoint,
        "region": "us-east-1",
        "skip_signature": True,
        "client_options": {"allow_http": True},
    }


def contestants(work: Work, folder: Path, name: str, workers: int) -> dict[str, Run]:
    """Return what reads these windows, by name."""
    files = [str(folder / key) for key in work.keys]
    urls = [f"s3://bucket/{key}" for key in work.keys]
    at_random = work.at_random
    local = headrace.scan(files, progress=False)
    remote = headrace.scan(urls, store=options(work.server), progress=False)
    found: dict[str, Run] = {
        "folder": partial(read_headrace, local, workers, at_random=at_random),
        "headrace": partial(read_headrace, remote, workers, at_random=at_random),
    }
    if not at_random or name == "WAV":
        found["bare obstore"] = partial(read_bare, work, folder)
    for threads in THREADS:
        for other in ("soundfile_s3fs", "torchcodec_fsspec", *([] if at_random else ["lhotse"])):
            shown = f"{other.replace('_', ', ')}, {threads} threads"
            found[shown] = partial(getattr(store_rivals, other), work, threads)
    if not at_random:
        tars = headrace.scan(
            [f"s3://bucket/{tar}" for tar in work.tars], store=options(work.server), progress=False
        )
        found["headrace, tars"] = partial(read_headrace, tars, workers, at_random=False)
        found["webdataset, tars, 2 processes"] = partial(store_rivals.webdataset, work, 2)
    return found


def timed(run: Run, count: int) -> tuple[int, float, Windows]:
    """Return windows, seconds and the first windows of a run of about `count` windows."""
    began = time.perf_counter()
    done, first = 0, None
    for windows in run(count):
        if not done and not len(windows):
            began = time.perf_counter()
            continue
        first = windows[:4].copy() if first is None else first
        done += len(windows)
        del windows
    assert first is not None
    return done, time.perf_counter() - began, first


def difference_db(ours: Windows, theirs: Windows) -> float:
    """Return the level of the difference below 0.6 of the Nyquist frequency."""
    spectra = [np.fft.rfft(one)[:, : int(0.6 * (RATE * WINDOW_S // 2))] for one in (ours, theirs)]
    noise = np.abs(spectra[0] - spectra[1]).sum() / np.abs(spectra[0]).sum()
    return float(20 * np.log10(noise + 1e-12))


def measure(
    work: Work, folder: Path, name: str, given: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Return the figures of each contestant at one task."""
    runs = contestants(work, folder, name, given.workers)
    unit = BATCH if work.at_random else len(work.keys) * work.per_recording
    counts: dict[str, int] = {}
    results: dict[str, dict[str, Any]] = {}
    for who, run in list(runs.items()):
        try:
            done, seconds, first = timed(run, 64 if work.at_random else unit)
        except Exception as error:  # noqa: BLE001  reported, and the others run
            results[who] = {"skipped": f"{type(error).__name__}: {error}"[:200]}
            del runs[who]
            continue
        if not work.at_random and first.shape[1] and name in IN_ORDER:
            expected = np.stack([row.audio for row in _first_windows(work, folder, len(first))])
            if not who.startswith("webdataset"):  # which has begun elsewhere
                level = difference_db(expected, first)
                assert level < TOLERANCE_DB, f"{who}: other audio, {level:.0f} dB"
        done, seconds, _ = timed(run, unit * max(1, round(done / seconds * given.round_s / unit)))
        counts[who] = unit * max(1, round(done / seconds * given.round_s / unit))
        results[who] = {"windows": [], "seconds": [], "requests": [], "bytes": []}
        _keep_faster_threads(who, done / seconds, counts, runs, results)
    for number in range(given.rounds):
        order = list(runs)
        for who in order[number % len(order) :] + order[: number % len(order)]:
            work.server.sent()
            done, seconds, _ = timed(runs[who], counts[who])
            requests, sent = work.server.sent()
            for key, value in (
                ("windows", done), ("seconds", seconds), ("requests", requests), ("bytes", sent)
            ):  # fmt: skip
                results[who][key].append(value)
    return results


def _keep_faster_threads(
    who: str,
    speed: float,
    counts: dict[str, int],
    runs: dict[str, Run],
    results: dict[str, dict[str, Any]],
) -> None:
    """Leave out a contestant that is slower than the same one with other threads."""
    results[who]["first_speed"] = speed
    base = who.rpartition(", ")[0]
    pair = [one for one in counts if who.endswith("threads") and one.startswith(base + ", ")]
    if len(pair) == len(THREADS):
        slower = min(pair, key=lambda one: float(results[one]["first_speed"]))
        for mapping in (counts, runs, results):
            mapping.pop(slower, None)


def _first_windows(work: Work, folder: Path, count: int) -> list[headrace.AudioExample]:
    windows = headrace.scan(folder / work.keys[0], progress=False).windows(RATE, WINDOW_S)
    return [windows[place] for place in range(count)]


def measure_cache(work: Work, folder: Path, rounds: int) -> dict[str, Any]:
    """Return speeds of whole epochs at random with caches that hold everything, and a half."""
    local = headrace.scan([str(folder / key) for key in work.keys], progress=False)
    urls = [f"s3://bucket/{key}" for key in work.keys]
    remote = headrace.scan(urls, store=options(work.server), progress=False)
    total = int(local.to_arrow()["size"].to_numpy().sum())

    def epoch(catalog: headrace.Catalog, **cache: Any) -> tuple[float, float, headrace.Stats]:
        windows = catalog.windows(RATE, WINDOW_S).shuffle(seed=0)
        loader = windows.loader(batch_size=BATCH, workers=2, **cache)
        began, used = time.perf_counter(), time.process_time()
        count = sum(len(batch) for batch in loader)
        speed = count / (time.perf_counter() - began)
        return speed, (time.process_time() - used) * 1e3 / count, loader.stats()

    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as half:
        full = {"cache": whole, "cache_size": 2 * total}
        part = {"cache": half, "cache_size": total // 2}
        epoch(local)
        first, _, _ = epoch(remote, **full)
        epoch(remote, **part)
        speeds: dict[str, list[float]] = {"folder": [], "full cache": [], "half cache": []}
        used: dict[str, list[float]] = {"folder": [], "full cache": []}
        shares = []
        for _ in range(rounds):
            speed, used_ms, _ = epoch(local)
            speeds["folder"].append(speed)
            used["folder"].append(used_ms)
            speed, used_ms, stats = epoch(remote, **full)
            assert stats.store_bytes < 0.01 * total
            speeds["full cache"].append(speed)
            used["full cache"].append(used_ms)
            speed, _, stats = epoch(remote, **part)
            speeds["half cache"].append(speed)
            shares.append(stats.cache_bytes / (stats.cache_bytes + stats.store_bytes))
    return {
        "first epoch": [first],
        **speeds,
        "share from the half cache": shares,
        "processor ms a window": used,
    }


def table(results: dict[str, Any]) -> None:
    """Print the results as Markdown."""
    print(f"\n{results['machine']}; {results['packages']}; {results.get('workers', 2)} workers")
    print("latency is uneven\n" if results.get("uneven") else "")
    by_task = {
        task: {name.partition(", 2 ")[0].partition(", 8 ")[0]: one for name, one in entries.items()}
        for task, entries in results["tasks"].items()
    }
    names = list(dict.fromkeys(name for entries in by_task.values() for name in entries))
    print(f"| windows/s | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for task, entries in by_task.items():
        cells = [_speed(entries.get(name)) for name in names]
        print(f"| {task} | {' | '.join(cells)} |")
    print(
        "\n| headrace from the store | of the folder | of obstore alone, or of the folder if that "
        "is slower | times the best other | requests a window | bytes / needed | those of the best "
        "other |"
    )
    print("|---|---|---|---|---|---|---|")
    for task, entries in by_task.items():
        ours = entries["headrace"]
        limits = [entries[name] for name in ("folder", "bare obstore") if name in entries]
        others = [
            one
            for name, one in entries.items()
            if name.partition(",")[0] not in {"folder", "headrace", "bare obstore"}
            and "skipped" not in one
        ]
        best = max(others, key=lambda one: statistics.median(_speeds(one)))
        needed = results["needed"][task.partition(",")[0]]
        cells = [
            f"{_ratio(ours, entries['folder']):.2f}",
            f"{max(_ratio(ours, one) for one in limits):.2f}",
            f"{_ratio(ours, best):.1f}",
            *_costs(ours, needed),
            ", ".join(_costs(best, needed)),
        ]
        print(f"| {task} | {' | '.join(cells)} |")
    print(
        "\n| second epoch with a cache | of everything: of the folder | processor ms a window: "
        "folder, cache | of a half: bytes from it |"
    )
    print("|---|---|---|---|")
    for task, entry in results["cache"].items():
        ratio = statistics.median(
            ours / local for ours, local in zip(entry["full cache"], entry["folder"], strict=True)
        )
        used = [
            f"{statistics.median(ms):.2f}" for ms in entry.get("processor ms a window", {}).values()
        ]
        share = min(entry["share from the half cache"])
        print(f"| {task} | {ratio:.2f} | {', '.join(used)} | {share:.0%} |")
    for task, entries in by_task.items():
        for name, entry in entries.items():
            if "skipped" in entry:
                print(f"{task}: {name} skipped, {entry['skipped']}")


def _speed(entry: dict[str, Any] | None) -> str:
    return "-" if not entry or "skipped" in entry else f"{statistics.median(_speeds(entry)):,.0f}"


def _ratio(ours: dict[str, Any], other: dict[str, Any]) -> float:
    return statistics.median(
        one / two for one, two in zip(_speeds(ours), _speeds(other), strict=True)
    )


def _costs(entry: dict[str, Any], needed: float) -> tuple[str, str]:
    windows = sum(entry["windows"])
    sent = sum(entry["bytes"]) / windows / needed
    return f"{sum(entry['requests']) / windows:.2f}", f"{sent:.2f}"


def _speeds(entry: dict[str, list[float]]) -> list[float]:
    return [count / s for count, s in zip(entry["windows"], entry["seconds"], strict=True)]


def make_work(
    server: nginx.Nginx, folder: Path, name: str, given: argparse.Namespace, *, at_random: bool
) -> Work:
    """Return the task of reading the recordings of a format."""
    keys = tuple(f"{name}/{n}.{stores.FORMATS[name][0]}" for n in range(given.recordings))
    return Work(
        server,
        keys,
        tuple(f"{name}-{half}.tar" for half in range(2)),
        60 * given.minutes,
        soundfile.info(folder / keys[0]).samplerate,
        at_random,
    )


def run_tasks(given: argparse.Namespace, results: dict[str, Any]) -> None:
    """Add the figures of each task to the results."""
    for latency_s, at_random in TASKS.items():
        with nginx.serve(given.folder, latency_s, uneven=given.uneven) as server:
            for order, names in (("in order", IN_ORDER), ("random", at_random)):
                for name in names:
                    task = f"{name}, {order}, {latency_s * 1e3:.0f} ms"
                    if given.only and not any(word in task for word in given.only):
                        continue
                    work = make_work(server, given.folder, name, given, at_random=order == "random")
                    has_cache = order == "random" and bool(latency_s) and name in IN_ORDER
                    if given.cache_only and not has_cache:
                        continue
                    sizes = [(given.folder / key).stat().st_size for key in work.keys]
                    results["needed"][name] = sum(sizes) / len(sizes) / work.per_recording
                    print(task, flush=True)
                    if not given.cache_only:
                        results["tasks"][task] = measure(work, given.folder, name, given)
                    if has_cache:
                        results["cache"][task] = measure_cache(work, given.folder, given.rounds)


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--round-s", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2, help="of headrace")
    parser.add_argument("--uneven", action="store_true", help="latency: see nginx.serve")
    parser.add_argument("--only", nargs="*", default=[], help="words of tasks, such as FLAC")
    parser.add_argument("--cache-only", action="store_true", help="only epochs with disk caches")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path)
    given = parser.parse_args()
    if given.table:
        table(json.loads(given.table.read_text("utf-8")))
        return
    if given.folder is None:
        parser.error("give a folder for the recordings")
    warnings.simplefilter("ignore", headrace.HeadraceWarning)
    given.folder.mkdir(parents=True, exist_ok=True)
    prepare(given.folder, given.minutes, given.recordings)
    results: dict[str, Any] = {
        "machine": corpus.machine(),
        "packages": _packages(),
        "workers": given.workers,
        "uneven": given.uneven,
        "tasks": {},
        "cache": {},
        "needed": {},
    }
    run_tasks(given, results)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    table(results)


def _packages() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("obstore", "s3fs", "torchcodec", "webdataset", "lhotse", "soxr"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


if __name__ == "__main__":
    main()
