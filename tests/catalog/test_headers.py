from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest

from headrace.catalog import _headers as headers
from headrace.catalog._headers import read_headers, worker_count
from headrace.catalog._tars import ScannedFiles
from headrace.codecs._recording import Recording
from headrace.storage import Place, as_place
from tests.support.processes import interruptible

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.failures import Failure


def recording(path: str | Place, file_id: str, *_: object) -> Recording:
    """Return a recording, as `probe` does."""
    return Recording(file_id, as_place(path).path, 8000, 1, 100, "WAV", "PCM_16", 244, 1)


def names(count: int) -> list[str]:
    """Return `count` ids."""
    return [f"{number:06}.wav" for number in range(count)]


def scan_threads() -> list[str]:
    """Return the names of the threads that read headers."""
    return [one.name for one in threading.enumerate() if one.name.startswith("headrace-scan")]


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 31, 1000])
def test_results_come_in_the_order_of_the_files(
    monkeypatch: pytest.MonkeyPatch, workers: int, count: int
) -> None:
    """There is one result for each file, with any number of threads."""
    monkeypatch.setattr(headers, "probe", recording)

    found = list(read_headers(ScannedFiles("/r", names(count), []), workers=workers))

    assert found == [recording(f"/r/{name}", name) for name in names(count)]
    assert not scan_threads()


def test_work_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first result is consumed, only a few batches are read, not all files."""
    read: list[str] = []

    def count(path: str, file_id: str, *_: object) -> Recording:
        read.append(path)
        return recording(path, file_id)

    monkeypatch.setattr(headers, "probe", count)

    with closing(read_headers(ScannedFiles("/r", names(10_000), []), workers=2)) as results:
        next(results)

    assert len(read) <= 2 * headers._BATCHES_AHEAD * headers._BATCH


def test_closing_ends_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """An abandoned scan leaves no thread, and stops after the current headers."""
    monkeypatch.setattr(headers, "probe", recording)

    with closing(read_headers(ScannedFiles("/r", names(10_000), []), workers=4)) as results:
        next(results)
        running = scan_threads()

    assert running
    assert not scan_threads()


@pytest.mark.parametrize("cause", [KeyboardInterrupt, RuntimeError])
def test_an_exception_in_a_thread_is_raised_and_ends_the_threads(
    monkeypatch: pytest.MonkeyPatch, cause: type[BaseException]
) -> None:
    """A bug in reading is not a failure of a file: it is raised in the consumer."""

    def fail(path: str, file_id: str, *_: object) -> Recording:
        if file_id == "000500.wav":
            raise cause
        return recording(path, file_id)

    monkeypatch.setattr(headers, "probe", fail)

    with (
        pytest.raises(cause),
        closing(read_headers(ScannedFiles("/r", names(1000), []), workers=3)) as results,
    ):
        list(results)

    assert not scan_threads()


INTERRUPTED = """
import sys, threading
from headrace.catalog import _headers as headers, scan

begun = threading.Event()
probe = headers.probe

def slow(path, file_id, cancelled):
    if not begun.is_set():
        begun.set()
        print("begun", flush=True)
    threading.Event().wait(0.01)
    return probe(path, file_id, cancelled)

headers.probe = slow
try:
    scan(sys.argv[1], workers=4)
except KeyboardInterrupt:
    print([one.name for one in threading.enumerate()], flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_ends_a_scan_and_its_threads(tmp_path: Path) -> None:
    """After Ctrl-C during a scan only the main thread is left, and the process ends."""
    for name in names(3000):
        (tmp_path / name).touch()
    with subprocess.Popen(
        interruptible(INTERRUPTED, tmp_path), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"

        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=30)

    assert told == "['MainThread']\n"
    assert process.returncode == 0


def test_known_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with its known size and time of change is skipped; any other is read."""
    for name in names(3):
        (tmp_path / name).write_bytes(b"12345")
    status = [(tmp_path / name).stat() for name in names(3)]
    sizes = np.array([status[0].st_size, status[1].st_size + 1, status[2].st_size, 5, -1])
    times = np.array(
        [status[0].st_mtime_ns, status[1].st_mtime_ns, status[2].st_mtime_ns - 1, 0, 0]
    )
    monkeypatch.setattr(headers, "probe", recording)

    found = list(
        read_headers(
            ScannedFiles(str(tmp_path), names(5), []), known=(sizes, times, np.full(5, -1))
        )
    )

    assert [header is None for header in found] == [True, False, False, False, False]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "asked", "drawn"),
    [
        (Terminal, None, True),
        (Terminal, False, False),
        (io.StringIO, None, False),
        (io.StringIO, True, True),
    ],
)
def test_a_bar_is_drawn_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch,
    stream: type[io.StringIO],
    asked: bool | None,
    *,
    drawn: bool,
) -> None:
    """A file or a pipe gets no progress bar, unless asked for."""
    monkeypatch.delenv("CI", raising=False)  # in CI no bar is drawn, even on a terminal
    stderr = stream()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(headers, "probe", recording)

    results: list[Recording | Failure | None] = list(
        read_headers(ScannedFiles("/r", names(70), []), workers=2, progress=asked)
    )

    assert len(results) == 70
    assert ("Reading headers" in stderr.getvalue()) == drawn


def test_auto_workers_are_more_than_the_processors_and_bounded() -> None:
    """Threads that mostly wait may outnumber the processors, but not without limit."""
    assert 4 <= worker_count("auto") <= 32
    assert worker_count(0) == 0
    assert worker_count(7) == 7


@pytest.mark.parametrize("workers", [-1, 1.5, "many", True, None])
def test_a_wrong_number_of_workers_is_refused(workers: object) -> None:
    """The message names the argument."""
    with pytest.raises(ValueError, match="workers must be"):
        worker_count(workers)  # type: ignore[arg-type]
