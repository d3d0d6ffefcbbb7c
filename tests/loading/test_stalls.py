"""Reads that do not return: their recording fails, and everything else goes on."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

import headrace
from headrace.loading._work_results import WorkResult
from tests.support.deliveries import delivered_rows, open_files, our_threads
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Iterator


PATIENCE_S = 20
STALL_S = 1.0
"""No healthy read takes so long, even on a busy machine: for tests in which reads must succeed."""

SHORT_S = 0.15
"""For tests in which any read may be abandoned."""

BAD = 2
"""The number of the recording on a disk that does not answer."""

fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")


def release_reads(fifo: Path) -> None:
    """Let all reads of a named pipe return without data, and wait for their threads."""
    end = time.monotonic() + PATIENCE_S
    while (threads := our_threads()) and time.monotonic() < end:
        try:
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # no reader
            threads[0].join(0.01)
    assert not our_threads()


@pytest.fixture(params=["WAV", "FLAC", "MP3"])
def stuck(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[headrace.Windows]:
    """Windows of five recordings. The third has become a named pipe without a writer."""
    subtype = "MPEG_LAYER_III" if request.param == "MP3" else "PCM_16"
    for number in range(5):
        audio = noise(16_000, seed=number)
        write(tmp_path / f"{number}.audio", audio, 16_000, request.param, subtype)
    windows = headrace.scan(sorted(tmp_path.glob("*.audio"))).windows(16_000, 0.1)
    fifo = tmp_path / f"{BAD}.audio"
    fifo.unlink()
    os.mkfifo(fifo)
    yield windows
    release_reads(fifo)


@pytest.mark.slow
@fifos
@pytest.mark.parametrize(
    ("options", "shuffled"),
    [
        ({"workers": 1}, False),
        ({"workers": 3, "prefetch": 20}, True),
        ({"workers": 1, "batch_size": 7}, True),
        ({"workers": 2, "batch_size": 64}, False),
        ({"workers": 4, "batch_size": 16}, True),
    ],
)
def test_a_stalled_read_affects_only_its_recording(
    stuck: headrace.Windows, options: dict[str, Any], shuffled: bool
) -> None:
    """All other windows are delivered, bit for bit. Those of the recording are STALLED."""
    bad = f"{BAD}.audio"
    windows = stuck.shuffle(3) if shuffled else stuck
    ways: tuple[Literal["skip", "mask"], ...] = ("skip", "mask")
    loaders = [windows.loader(on_error=way, stall_timeout_s=STALL_S, **options) for way in ways]
    with ThreadPoolExecutor(len(loaders)) as pool:  # both wait at the same time
        both = list(pool.map(lambda loader: list(delivered_rows(loader)), loaders))

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
def test_a_stalled_read_raises_in_order(stuck: headrace.Windows) -> None:
    """With ``on_error="raise"``, the error comes after the deliveries before it."""
    loader = stuck.loader(workers=2, batch_size=5, stall_timeout_s=STALL_S)
    got: list[headrace.Batch] = []
    with pytest.raises(headrace.ReadError, match=r"stall_timeout_s.*\[STALLED\]"):
        got.extend(loader)
    before = len([row for row in stuck.table()["id"].to_pylist() if row < f"{BAD}."])
    assert len(got) == before // 5


@pytest.mark.slow
@fifos
@pytest.mark.parametrize("size", [None, 8])
def test_memory_that_a_stalled_read_may_write_to_is_not_used(
    stuck: headrace.Windows, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the read returns, its memory is neither delivered nor reused."""
    abandoned: set[int] = set()
    leave = WorkResult.leave_stalled_memory

    def recording_addresses(self: WorkResult) -> None:
        for group in self.item.groups:
            if group.begin in self.rereads:
                abandoned.update(row.ctypes.data for row in self.memory[group.begin : group.stop])
        leave(self)

    monkeypatch.setattr(WorkResult, "leave_stalled_memory", recording_addresses)
    loader = stuck.loader(
        workers=2, batch_size=size, prefetch=20, stall_timeout_s=SHORT_S, on_error="mask"
    )
    for _ in range(3):
        for one in loader:
            audio = one.audio if size else [one.audio]
            assert not abandoned & {row.ctypes.data for row in audio}
    assert abandoned


@fifos
def test_token_does_not_wait_for_a_stalled_read(stuck: headrace.Windows) -> None:
    """Neither `close` nor a ``break`` waits for a read that does not return."""
    began = time.monotonic()
    for _ in stuck.loader(workers=2, prefetch=60, stall_timeout_s=STALL_S):
        break
    with stuck.loader(workers=1, batch_size=5, stall_timeout_s=STALL_S) as loader:
        next(iter(loader))

    assert time.monotonic() - began < PATIENCE_S


@fifos
def test_a_stalled_read_releases_everything_when_it_returns(stuck: headrace.Windows) -> None:
    """The threads and files of abandoned reads are gone once the disk answers."""
    gc.collect()  # what tests before this one have left behind
    before = open_files()
    loader = stuck.loader(workers=3, batch_size=4, stall_timeout_s=SHORT_S, on_error="skip")
    for _ in loader.steps(30):
        pass

    release_reads(Path(stuck.catalog[BAD].path))
    assert open_files() == before


@pytest.mark.slow
@fifos
def test_the_interpreters_exit_does_not_wait_for_a_stalled_read(stuck: headrace.Windows) -> None:
    """Neither during an iteration, nor after a stall, nor before the stall is reported."""
    folder = stuck.catalog.root
    stuck.catalog.save(f"{folder}/catalog.parquet")
    code = f"""
import logging
import headrace
logging.getLogger("headrace").addHandler(logging.NullHandler())  # it reports losses
windows = headrace.load_catalog({folder!r} + "/catalog.parquet").windows(16_000, 0.1)
loader = windows.loader(workers=2, prefetch=60, stall_timeout_s={SHORT_S}, on_error="skip")
"""
    bodies = (
        "it = iter(loader); next(it)",
        "it = iter(loader); [next(it, None) for _ in range(30)]",
        "for one in loader: pass",
    )
    with ThreadPoolExecutor(len(bodies)) as pool:
        runs = list(pool.map(lambda body: python(code + body), bodies))

    assert [(done.returncode, done.stderr) for done in runs] == [(0, "")] * 3


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("value", [0, -1.0, True, "1", float("inf"), float("nan")])
def test_a_timeout_is_a_positive_number(archive: str, value: Any) -> None:
    """Anything else is rejected, and so is a timeout without workers."""
    windows = headrace.scan(archive).windows(16_000, 0.25)

    with pytest.raises(ValueError, match="stall_timeout_s must be a positive number of seconds"):
        windows.loader(stall_timeout_s=value)
    with pytest.raises(ValueError, match="stall_timeout_s needs workers"):
        windows.loader(stall_timeout_s=1, workers=0)
