"""Windows from an object store beside the same windows from a folder.

Makes recordings of some minutes in a folder, serves them on loopback by a process of its own
(tests/support/object_server.py, with or without latency), and prints for each format

- random 5 s windows, spread evenly: requests a window, and bytes beside those of the window in the
  file, in the first epoch and in the second, in which positions of packets are known;
- in order: windows per second from the store, from the folder, and the bytes per second beside
  those that obstore alone reads of the same objects in ranges of 8 MiB.

Folder and store are timed in turns in one run. With ``--scan``, each recording is served that many
times, and what is counted and timed is the scan.

    python benchmarks/stores.py --minutes 30 --latency 0 0.05
    python benchmarks/stores.py --minutes 2 --recordings 1 --latency 0.05 --scan 10000
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corpus
import numpy as np
import obstore.store
import soundfile

import headrace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace import Catalog, Loader

RATE = 48_000
FORMATS = {
    "WAV": ("wav", "WAV", "PCM_16"),
    "FLAC": ("flac", "FLAC", "PCM_16"),
    "MP3": ("mp3", "MP3", "MPEG_LAYER_III"),
    "Vorbis": ("ogg", "OGG", "VORBIS"),
    "Opus": ("ogg", "OGG", "OPUS"),
    "M4A": ("m4a", "", ""),
}


def make_recordings(folder: Path, minutes: int, count: int, formats: list[str]) -> None:
    """Write recordings whose loudness changes, so that their bitrate does."""
    for name in formats:
        extension, container, subtype = FORMATS[name]
        (folder / name).mkdir()
        for number in range(count):
            chance = np.random.default_rng(number)
            times = np.arange(60 * RATE) / RATE
            voice = sum(np.sin(2 * np.pi * 130 * k * times) / k for k in range(1, 20))
            bursts = np.clip(np.sin(2 * np.pi * 0.7 * times), 0, 1)
            minute = 0.2 * voice * bursts + 0.05 * bursts**4 * chance.normal(size=len(times))
            loud = chance.uniform(0.02, 1.0, minutes)
            path = folder / name / f"{number}.{extension}"
            if name == "M4A":
                path, container, subtype = path.with_suffix(".wav"), "WAV", "PCM_16"
            with soundfile.SoundFile(path, "w", RATE, 1, subtype, format=container) as file:
                for gain in loud:
                    for second in np.split((gain * minute).astype(np.float32), 60):
                        file.write(second)  # libsndfile crashes on long pieces of Vorbis
            if name == "M4A":
                encoded = path.with_suffix(".m4a")
                program = shutil.which("ffmpeg") or "ffmpeg"
                subprocess.run([program, "-v", "error", "-i", path, encoded], check=True)
                path.unlink()


@contextlib.contextmanager
def serve(folder: Path, latency_s: float, copies: int = 1) -> Iterator[dict[str, Any]]:
    """Serve copies of a folder in another process, and yield what to give as ``store=``.

    When that has ended, the mapping has what was sent, too: numbers of requests, and ``bytes``.
    """
    command = [sys.executable, "-m", "tests.support.object_server", str(folder.resolve())]
    with subprocess.Popen(
        [*command, "--latency", str(latency_s), "--copies", str(copies)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        options = {"endpoint": endpoint, "access_key_id": "x", "secret_access_key": "y"}
        yield options
        assert process.stdin is not None
        process.stdin.close()
        options.update(ast.literal_eval(process.stdout.read()))


def measure_scan(folder: Path, name: str, latency_s: float, copies: int) -> dict[str, float]:
    """Return the figures of a scan of `copies` copies of the recordings of one format."""
    with serve(folder / name, latency_s, copies) as options:
        store, used = dict(options), time.process_time()
        began = time.perf_counter()
        catalog = headrace.scan("s3://bucket", store=store, progress=False)
        seconds = time.perf_counter() - began
        used = time.process_time() - used
    return {
        "scan: objects": len(catalog),
        "scan: requests an object": options["GET"] / len(catalog),
        "scan: KiB an object": options["bytes"] / len(catalog) / 1024,
        "scan: s": seconds,
        "scan: processor ms an object": used * 1e3 / len(catalog),
    }


def load(catalog: Catalog, *, count: int | None) -> tuple[float, Loader]:
    """Return windows per second, and the loader."""
    windows = catalog.windows(16_000, 5.0)
    if count is not None:  # all of them are read, so that nothing is fetched and not delivered
        windows = windows[:: max(1, len(windows) // count)].shuffle(seed=1)
    loader = windows.loader(batch_size=16, workers=2)
    began = time.perf_counter()
    delivered = sum(len(batch) for batch in loader)
    return delivered / (time.perf_counter() - began), loader


async def read_bare(options: dict[str, Any], keys: list[str]) -> float:
    """Return the bytes per second at which obstore alone reads objects."""
    store = obstore.store.from_url("s3://bucket", client_options={"allow_http": True}, **options)
    sizes = [(await store.head_async(key))["size"] for key in keys]
    ranges = [
        (key, start, min(size, start + (8 << 20)))
        for key, size in zip(keys, sizes, strict=True)
        for start in range(0, size, 8 << 20)
    ]
    free = asyncio.Semaphore(16)

    async def read(key: str, start: int, stop: int) -> None:
        async with free:
            await store.get_range_async(key, start=start, end=stop)

    began = time.perf_counter()
    await asyncio.gather(*(read(*one) for one in ranges))
    return sum(sizes) / (time.perf_counter() - began)


def measure(
    folder: Path, options: dict[str, Any], name: str, repeats: int, count: int
) -> dict[str, float]:
    """Return the figures of one format: `count` windows at random, and all in order."""
    local = headrace.scan(str(folder / name), progress=False)
    # Each repeat scans anew: what reading finds is kept with a catalog.
    total = int(local.to_arrow()["size"].to_numpy().sum())
    needed = total / local.duration_s * 5.0
    speeds: dict[str, list[float]] = {}
    for _ in range(repeats):
        remote = headrace.scan(f"s3://bucket/{name}", store=options, progress=False)
        for shuffled in (True, False):
            for place, catalog in (("folder", local), ("store", remote)):
                speed, loader = load(catalog, count=count if shuffled else None)
                speeds.setdefault(f"{'random' if shuffled else 'in order'} {place}", []).append(
                    speed
                )
                if shuffled and place == "store":
                    random = loader.stats()
                    assert sum(len(batch) for batch in loader) == random.windows
                    both = loader.stats()
                elif place == "store":
                    in_order = loader.stats()
    bare = asyncio.run(
        read_bare(options, [path.removeprefix("s3://bucket/") for path in
                            remote.to_arrow()["path"].to_pylist()])
    )  # fmt: skip
    middle = {key: statistics.median(values) for key, values in speeds.items()}
    return {
        "random: windows": random.windows,
        "random: requests a window": random.store_requests / random.windows,
        "random: bytes / needed": random.store_bytes / random.windows / needed,
        "second epoch: requests a window": (both.store_requests - random.store_requests)
        / random.windows,
        "second epoch: bytes / needed": (both.store_bytes - random.store_bytes)
        / random.windows
        / needed,
        "random: store / folder": middle["random store"] / middle["random folder"],
        "in order: bytes / size": in_order.store_bytes / total,
        "in order: store / folder": middle["in order store"] / middle["in order folder"],
        "in order: store / bare obstore": middle["in order store"] * needed / bare,
        "in order: MB/s of the file": middle["in order store"] * needed / 1e6,
        **{f"windows/s, {key}": value for key, value in middle.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--recordings", type=int, default=4)
    parser.add_argument("--latency", type=float, nargs="*", default=[0.0, 0.05])
    parser.add_argument("--formats", nargs="*", default=list(FORMATS))
    parser.add_argument("--windows", type=int, default=400, help="at random")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scan", type=int, default=0, help="time a scan of so many copies instead")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {"machine": corpus.machine(), "arguments": vars(given) | {"json": ""}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_recordings(folder, given.minutes, given.recordings, given.formats)
        for latency_s in given.latency:
            for name in given.formats:
                if given.scan:
                    figures = measure_scan(folder, name, latency_s, given.scan)
                else:
                    with serve(folder, latency_s) as options:
                        figures = measure(folder, options, name, given.repeats, given.windows)
                results[f"{name}, {latency_s * 1e3:.0f} ms"] = figures
                print(f"{name}, latency {latency_s * 1e3:.0f} ms")
                for what, value in figures.items():
                    print(f"  {what:<34} {value:10.2f}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
