"""The five laws of headrace, each as a property over a small archive of many formats."""

from __future__ import annotations

import gc
import shutil
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headrace
from headrace.concurrency._jobs import Job, Task
from headrace.concurrency._prefetcher import Prefetcher
from tests.support.deliveries import delivered_rows, lost_windows
from tests.support.reference_loader import Reference
from tests.support.sounds import medley, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace import AudioExample, Batch, Catalog, Windows

ARCHIVE = (
    # name, container, sample format, rate, channels, frames
    ("a/long.wav", "WAV", "PCM_16", 22_050, 1, 70_001),
    ("a/stereo.wav", "WAV", "PCM_16", 48_000, 2, 60_000),
    ("a/deep.WAV", "WAV", "PCM_24", 44_100, 1, 50_003),
    ("a/float.wav", "WAV", "FLOAT", 16_000, 3, 20_000),
    ("b/adpcm.wav", "WAV", "IMA_ADPCM", 22_050, 1, 40_000),
    ("b/loss.flac", "FLAC", "PCM_16", 32_000, 2, 50_000),
    ("b/old.aiff", "AIFF", "PCM_16", 11_025, 1, 17_777),
    ("c/song.ogg", "OGG", "VORBIS", 44_100, 1, 60_000),
    ("c/song.mp3", "MP3", "MPEG_LAYER_III", 22_050, 2, 50_000),
    ("c/tiny.wav", "WAV", "PCM_U8", 8_000, 1, 7),
)

# All examples share one archive, and none writes to it. So the fixture need not be made anew for
# each example, which is what the health check warns about.
laws = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one recording of each format that is read in its own way."""
    root = tmp_path_factory.mktemp("archive")
    for seed, (name, kind, subtype, rate, channels, frames) in enumerate(ARCHIVE):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        write(path, medley(frames, channels, seed), rate, kind, subtype)
    return root


@pytest.fixture(scope="module")
def catalog(folder: Path) -> Catalog:
    """Return the catalog of that folder."""
    return headrace.scan(folder)


@st.composite
def window_specs(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the arguments of `Catalog.windows`: windows touch, overlap, or leave gaps."""
    window_s = draw(st.floats(0.05, 1.5))
    return {
        "sample_rate": draw(st.sampled_from([8_000, 16_000, 22_050, 32_000])),
        "window_s": window_s,
        "hop_s": window_s * draw(st.sampled_from([0.3, 0.5, 1.0, 1.0, 1.7])),
        "tail": draw(st.sampled_from(["pad", "shift"])),
        "channel": draw(st.sampled_from(["mix", 0])),
    }


def orders(windows: Windows) -> st.SearchStrategy[Windows]:
    """Return a strategy of windows in order, or shuffled in any way."""
    return st.one_of(
        st.just(windows),
        st.builds(windows.shuffle, st.integers(0, 9), st.sampled_from(["window", "file"])),
        st.builds(
            windows.shuffle, st.integers(0, 9), st.just("block"), block=st.sampled_from([1, 3, 10])
        ),
    )


@st.composite
def selections(draw: st.DrawFn, windows: Windows) -> Windows:
    """Draw a selection, also with repeats, samples, windows at given times, or a mixture."""
    seed = draw(st.integers(0, 9))
    places = draw(st.lists(st.integers(0, len(windows) - 1), min_size=1, max_size=30))
    table = windows.take(places).table()
    spec = windows.spec
    times = {
        "id": table["id"],
        # Up to the end of a recording that is shorter than its last window.
        "at_s": [draw(st.floats(0, 7 / 8_000)) for _ in places],
    }
    at = windows.catalog.windows_at(
        times, spec.sample_rate, spec.size / spec.sample_rate, jitter_s=2.0, channel=spec.channel
    )
    return draw(
        st.sampled_from(
            [
                windows.take(places),
                windows.take(places).shuffle(seed, by="file"),
                windows.shuffle(seed, by="file", interleave=2),
                windows.sample([1 + i % 3 for i in range(len(windows))], 40, seed),
                at,
                headrace.concat([at, windows.take(places)]).shuffle(seed, by="block", block=3),
                headrace.mix([windows, at], weights=[1, 2], n=40, seed=seed),
            ]
        )
    )


LOADERS = st.fixed_dictionaries(
    {
        "batch_size": st.sampled_from([None, 1, 3, 16]),
        "workers": st.sampled_from([0, 1, 2, 8]),
        "prefetch": st.integers(1, 9),
    }
)


@pytest.mark.parametrize("drawn", [orders, selections])
@laws
@given(data=st.data(), spec=window_specs(), options=LOADERS)
def test_a_window_is_a_slice(
    catalog: Catalog, drawn: Any, data: st.DataObject, spec: dict[str, Any], options: dict[str, Any]
) -> None:
    """Law 1: however it is reached, a window is a slice of its whole recording, bit for bit."""
    windows = data.draw(drawn(catalog.windows(**spec)))
    reference = Reference(windows)

    for row in delivered_rows(windows.loader(**options)):
        expected = reference.slice(row.file_id, row.offset)
        assert row.audio.tobytes() == expected.tobytes(), (row.file_id, row.offset)


@settings(laws, max_examples=12)
@given(spec=window_specs(), options=LOADERS, keep=st.booleans())
def test_memory_is_a_number_you_can_read_beforehand(
    catalog: Catalog, spec: dict[str, Any], options: dict[str, Any], keep: bool
) -> None:
    """Law 2: what Python and NumPy allocate while loading stays under the bound.

    Batches that the consumer keeps are subtracted. The constant is for the interpreter's own
    objects (threads, names, this test), which hold no audio.
    """
    windows = catalog.windows(**spec)
    windows[0]  # imports and caches do not belong to the loader
    kept: list[AudioExample | Batch] = []
    gc.collect()
    tracemalloc.start()
    try:
        loader = windows.loader(**options)
        for delivery in loader:
            if keep:
                kept.append(delivery)  # noqa: PERF401  one at a time, as a consumer does
        peak = tracemalloc.get_traced_memory()[1] - sum(one.audio.nbytes for one in kept)
    finally:
        tracemalloc.stop()

    assert peak <= loader.memory_bound + (1 << 20)


@laws
@given(data=st.data(), spec=window_specs(), options=LOADERS, other_options=LOADERS)
def test_order_is_a_pure_function(
    catalog: Catalog,
    data: st.DataObject,
    spec: dict[str, Any],
    options: dict[str, Any],
    other_options: dict[str, Any],
) -> None:
    """Law 3: neither workers, prefetch and batch size nor resuming change the order."""
    windows = data.draw(orders(catalog.windows(**spec)))
    loader = windows.loader(**options)
    first = [row.index for row in delivered_rows(loader)]
    second = [row.index for row in delivered_rows(loader)]
    assert sorted(first) == sorted(second) == list(range(len(windows)))

    other = windows.loader(**other_options)
    stop = data.draw(st.integers(0, len(other)))
    seen = [row.index for row in delivered_rows(other.steps(stop))]
    resumed = windows.loader(**options)
    resumed.load_state_dict(other.state_dict())

    if len(seen) < len(first):
        rest = [row.index for row in delivered_rows(resumed)]
        assert seen + rest == first
    rest = [row.index for row in delivered_rows(resumed)]
    assert rest == second


def truncate(path: Path, at: float) -> None:
    """Truncate the file."""
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * at))


def insert_nan(path: Path, at: float) -> None:
    """Write a NaN into a file of 32-bit floats."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(44 + 80 + int((size - 200) * at) // 4 * 4)
        file.write(np.float32(np.nan).tobytes())


def remove(path: Path, at: float) -> None:
    """Delete the file."""
    del at
    path.unlink()


def replace(path: Path, at: float) -> None:
    """Overwrite the file with another recording."""
    del at
    write(path, medley(9_000), 12_345, "WAV", "PCM_16")


DAMAGES = {
    "a/long.wav": truncate,
    "a/deep.WAV": remove,
    "a/float.wav": insert_nan,
    "a/stereo.wav": replace,
    "b/loss.flac": truncate,
    "c/song.mp3": truncate,
    "c/song.ogg": truncate,
}


@laws
@given(
    data=st.data(),
    spec=window_specs(),
    options=LOADERS,
    on_error=st.sampled_from(["skip", "mask"]),
    bad=st.sets(st.sampled_from(sorted(DAMAGES)), min_size=1),
    at=st.floats(0.2, 0.9),
)
def test_nothing_is_lost_silently(
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    spec: dict[str, Any],
    options: dict[str, Any],
    on_error: Any,
    bad: set[str],
    at: float,
) -> None:
    """Law 4: for every file, expected = delivered + failed, and delivered windows are exact."""
    copy = tmp_path_factory.mktemp("damaged") / "archive"
    shutil.copytree(folder, copy)
    catalog = headrace.scan(copy)
    windows = data.draw(orders(catalog.windows(**spec)))
    reference = Reference(windows)
    for name in windows.table()["id"].unique().to_pylist():
        reference.file(name)  # before the files are damaged
    for name in bad:
        DAMAGES[name](copy / name, at)

    loader = windows.loader(**options, on_error=on_error)
    delivered: Counter[str] = Counter()
    indices: list[int] = []
    for row in delivered_rows(loader):
        assert row.valid or on_error == "mask"
        if row.valid:
            expected = reference.slice(row.file_id, row.offset)
            assert row.audio.tobytes() == expected.tobytes()
            delivered[row.file_id] += 1
            indices.append(row.index)
    failed = Counter[str]()
    for failure in loader.failures:
        failed[failure.file_id] += failure.windows
    lost_indices = {index for index, _ in lost_windows(loader.failures)}
    expected_windows = Counter(windows.table()["id"].to_pylist())

    assert delivered + failed == expected_windows
    assert set(failed) <= bad
    assert set(indices) | lost_indices == set(range(len(windows)))
    assert all(f.message and f.code and f.path for f in loader.failures)
    assert loader.stats().windows == sum(delivered.values())
    assert loader.stats().failed == sum(failed.values())
    shutil.rmtree(copy)


@laws
@given(
    jobs=st.integers(0, 40),
    depth=st.integers(1, 6),
    workers=st.integers(1, 4),
    tasks=st.integers(1, 3),
)
def test_the_consumer_never_waits_for_what_could_have_been_ready(
    jobs: int, depth: int, workers: int, tasks: int
) -> None:
    """Law 5: while the consumer works, as many jobs are in flight as the bound allows.

    So the consumer never waits for a loader that is fast enough. The benchmarks measure how long it
    waits in practice.
    """
    taken = 0

    def source() -> Iterator[Job[int]]:
        nonlocal taken
        for number in range(jobs):
            taken += 1
            yield Job(number, [Task(lambda _: None) for _ in range(tasks)])

    prefetcher = Prefetcher(source(), workers=workers, depth=depth)
    in_flight = []
    got = []
    for value in prefetcher:
        got.append(value)
        in_flight.append(taken - len(got))

    assert got == list(range(jobs))
    assert in_flight == [min(depth, jobs - done) for done in range(1, jobs + 1)]
