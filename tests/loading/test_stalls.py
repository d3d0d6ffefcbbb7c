"""Reads that do not come back: what they cost, and what goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

import headrace
from headrace.concurrency._jobs import Job, Task
from headrace.concurrency._prefetcher import Prefetcher
from headrace.concurrency._stalls import StallWatch
from headrace.loading._work_results import WorkResult
from tests.support.loading import open_files, our_threads, rows
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator

    from headrace.concurrency._stalls import CancellationToken

PATIENCE_S = 20
STALL_S = 1.0
"""No healthy read takes so long, on a busy machine either: where they must survive."""

SHORT_S = 0.15
"""Where it does not matter whose reads are given up."""

BAD = 2
"""Which of the recordings is on a disk that does not answer."""

fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")


def let_go(fifo: Path) -> None:
    """Let all reads of a named pipe come back, with nothing, and wait for their threads."""
    end = time.monotonic() + PATIENCE_S
    while (threads := our_threads()) and time.monotonic() < end:
        try:
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # nobody reads
            threads[0].join(0.01)
    assert not our_threads()


@pytest.fixture(params=["WAV", "FLAC", "MP3"])
def stuck(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[headrace.Windows]:
    """Windows of five recordings, of which the third has become a pipe that nobody writes to."""
    subtype = "MPEG_LAYER_III" if request.param == "MP3" else "PCM_16"
    for number in range(5):
        audio = noise(16_000, seed=number)
        write(tmp_path / f"{number}.audio", audio, 16_000, request.param, subtype)
    windows = headrace.scan(sorted(tmp_path.glob("*.audio"))).windows(16_000, 0.1)
    fifo = tmp_path / f"{BAD}.audio"
    fifo.unlink()
    os.mkfifo(fifo)
    yield windows
    let_go(fifo)


@pytest.mark.slow
@fifos
@pytest.mark.parametrize(
    ("how", "shuffled"),
    [
        ({"workers": 1}, False),
        ({"workers": 3, "prefetch": 20}, True),
        ({"workers": 1, "batch_size": 7}, True),
        ({"workers": 2, "batch_size": 64}, False),
        ({"workers": 4, "batch_size": 16}, True),
    ],
)
def test_a_read_that_stalls_costs_its_own_recording(
    stuck: headrace.Windows, how: dict[str, Any], shuffled: bool
) -> None:
    """All other windows are delivered, to the bit; those of the recording are STALLED."""
    bad = f"{BAD}.audio"
    windows = stuck.shuffle(3) if shuffled else stuck
    ways: tuple[Literal["skip", "mask"], ...] = ("skip", "mask")
    loaders = [windows.loader(on_error=way, stall_timeout_s=STALL_S, **how) for way in ways]
    with ThreadPoolExecutor(len(loaders)) as pool:  # they wait at the same time
        both = list(pool.map(lambda loader: list(rows(loader)), loaders))

    for on_error, loader, kept in zip(ways, loaders, both, strict=True):
        for row in kept:
            assert row.valid == (row.file_id != bad)
            if row.valid:
                assert row.audio.tobytes() == stuck[row.index].audio.tobytes()
            else:
                assert on_error == "mask"
                assert not row.audio.any()
        lost = stuck.table()["id"].to_pylist().count(bad)
        assert len(kept) == len(windows) - (lost if on_error == "skip" else 0)
        table = loader.ledger().to_pylist()
        assert [one["failed"] == one["expected"] for one in table] == [i == BAD for i in range(5)]
        assert {failure.code for failure in loader.failures} == {"STALLED"}
        assert sum(one["expected"] for one in table) == len(windows)


@fifos
def test_a_stalled_read_raises_in_its_turn(stuck: headrace.Windows) -> None:
    """With ``on_error="raise"``, after all that was before it."""
    loader = stuck.loader(workers=2, batch_size=5, stall_timeout_s=STALL_S)
    got: list[headrace.Batch] = []
    with pytest.raises(headrace.ReadError, match=r"stall_timeout_s.*\[STALLED\]"):
        got.extend(loader)
    before = len([row for row in stuck.table()["id"].to_pylist() if row < f"{BAD}."])
    assert len(got) == before // 5


@pytest.mark.slow
@fifos
@pytest.mark.parametrize("size", [None, 8])
def test_memory_that_a_stalled_read_may_write_to_is_nobodys(
    stuck: headrace.Windows, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it comes back, that memory is neither delivered nor used again."""
    left: set[int] = set()
    settle = WorkResult.settle

    def noted(self: WorkResult) -> None:
        for group in self.unit.groups:
            if group.begin in self.moved:
                left.update(row.ctypes.data for row in self.rows[group.begin : group.stop])
        settle(self)

    monkeypatch.setattr(WorkResult, "settle", noted)
    loader = stuck.loader(
        workers=2, batch_size=size, prefetch=20, stall_timeout_s=SHORT_S, on_error="mask"
    )
    for _ in range(3):
        for one in loader:
            audio = one.audio if size else [one.audio]
            assert not left & {row.ctypes.data for row in audio}
    assert left


@fifos
def test_closing_does_not_wait_for_a_stalled_read(stuck: headrace.Windows) -> None:
    """Neither `close` nor a ``break`` hangs on a read under way that does not come back."""
    began = time.monotonic()
    for _ in stuck.loader(workers=2, prefetch=60, stall_timeout_s=STALL_S):
        break
    with stuck.loader(workers=1, batch_size=5, stall_timeout_s=STALL_S) as loader:
        next(iter(loader))

    assert time.monotonic() - began < PATIENCE_S


@fifos
def test_what_stalled_lets_go_of_everything_when_it_comes_back(stuck: headrace.Windows) -> None:
    """Threads and files of abandoned reads are gone once the disk answers."""
    before = open_files()
    loader = stuck.loader(workers=3, batch_size=4, stall_timeout_s=SHORT_S, on_error="skip")
    for _ in loader.steps(30):
        pass

    let_go(Path(stuck.catalog[BAD].path))
    assert open_files() == before


@pytest.mark.slow
@fifos
def test_the_interpreters_exit_does_not_wait_for_a_stalled_read(stuck: headrace.Windows) -> None:
    """Neither in the middle of an iteration, nor after a stall, nor before it is named."""
    folder = stuck.catalog.root
    stuck.catalog.save(f"{folder}/catalog.parquet")
    code = f"""
import headrace
windows = headrace.load_catalog({folder!r} + "/catalog.parquet").windows(16_000, 0.1)
loader = windows.loader(workers=2, prefetch=60, stall_timeout_s={SHORT_S}, on_error="skip")
"""
    bodies = (
        "it = iter(loader); next(it)",
        "it = iter(loader); [next(it, None) for _ in range(30)]",
        "for one in loader: pass",
    )
    with ThreadPoolExecutor(len(bodies)) as pool:
        ends = list(pool.map(lambda body: python(code + body), bodies))

    assert [(done.returncode, done.stderr) for done in ends] == [(0, "")] * 3


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("value", [0, -1.0, True, "1", float("inf"), float("nan")])
def test_a_timeout_is_a_positive_number(archive: str, value: Any) -> None:
    """Anything else is refused; so is one for the caller's own reads."""
    windows = headrace.scan(archive).windows(16_000, 0.25)

    with pytest.raises(ValueError, match="stall_timeout_s must be a positive number of seconds"):
        windows.loader(stall_timeout_s=value)
    with pytest.raises(ValueError, match="stall_timeout_s needs workers"):
        windows.loader(stall_timeout_s=1, workers=0)


# The prefetcher, without audio


def stalling(free: threading.Event) -> Callable[[CancellationToken], str]:
    """Return a task that gives no sign of life until `free`."""

    def run(_closing: CancellationToken) -> str:
        assert free.wait(PATIENCE_S)
        return "late"

    return run


def test_what_a_task_returns_after_it_was_given_up_is_dropped() -> None:
    """Its `retry` counts instead, once, and other jobs of its key follow in order."""
    free = threading.Event()
    log: list[tuple[int, str]] = []

    def job(number: int) -> Job[int]:
        run = stalling(free) if number in {1, 4} else lambda _: "run"
        task = Task(
            run,
            key="one",
            then=lambda made: log.append((number, made)),
            retry=lambda _: lambda _: "retry",
        )
        return Job(number, [task])

    prefetcher = Prefetcher(map(job, range(6)), workers=2, depth=3, stall_s=STALL_S)
    assert list(prefetcher) == list(range(6))
    stuck = our_threads()
    free.set()
    for thread in stuck:
        thread.join(PATIENCE_S)

    assert len(stuck) == 2
    assert log == [(i, "retry" if i in {1, 4} else "run") for i in range(6)]


def test_a_task_that_is_alive_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes, as long as its number changes between two looks."""
    looks = 0
    beat: array[int] | None = None
    enough = threading.Event()
    overdue = StallWatch.overdue

    def look(self: StallWatch[Any]) -> list[Any]:
        nonlocal looks
        if beat is not None:
            looks += 1
            beat[1] += 1
            if looks == 3:
                enough.set()
        return overdue(self)

    def run(closing: CancellationToken) -> str:
        nonlocal beat
        beat = closing.beat
        assert enough.wait(PATIENCE_S)
        return "run"

    monkeypatch.setattr(StallWatch, "overdue", look)
    made: list[str] = []
    task = Task(run, then=made.append, retry=lambda _: lambda _: "retry")
    assert list(Prefetcher(iter([Job(0, [task])]), workers=1, depth=1, stall_s=SHORT_S)) == [0]
    assert made == ["run"]
    assert looks >= 3


def test_too_many_threads_left_behind_end_the_iteration() -> None:
    """Where nothing comes back any more, it raises instead of starting threads without end."""
    free = threading.Event()

    def retry(_closing: CancellationToken) -> Callable[[CancellationToken], str]:
        return stalling(free)

    job = Job(0, [Task(stalling(free), retry=retry)])
    prefetcher = Prefetcher(iter([job]), workers=1, depth=1, stall_s=0.005)
    with pytest.raises(headrace.TooManyFailuresError, match="65 reads have not come back"):
        next(prefetcher)
    free.set()
    for thread in our_threads():
        thread.join(PATIENCE_S)
