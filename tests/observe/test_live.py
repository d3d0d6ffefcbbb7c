from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import headrace
from headrace import _progress
from headrace.concurrency import _prefetcher as prefetch
from headrace.observe import _counters as counters
from headrace.observe import _live as live
from headrace.observe._live import Live, format_status
from headrace.observe._stats import Stats

if TYPE_CHECKING:
    from pathlib import Path

STATS = Stats(
    windows=1_000,
    failed=3,
    audio_s=5_000.0,
    wall_s=10.0,
    wait_s=0.0,
    first_wait_s=0.0,
    decode_s=1.0,
    resample_s=1.0,
    other_s=0.0,
    workers=2,
    memory_bound=300 << 20,
    peak_bytes=200 << 20,
    kept_bytes=0,
)

LOAD = """
import sys, threading, headrace
from headrace import _progress
from headrace.observe import _live as live
updates = threading.Semaphore(0)
text = live.Live.text
def counted_text(self):
    updates.release()
    return text(self)
live.Live.text, live._INTERVAL_S = counted_text, 0.01
loader = headrace.scan(sys.argv[1], progress=False).windows(16_000, 0.5).loader(batch_size=2)
with loader.live() as view:
    for batch in loader:
        assert not _progress.stderr_is_interactive() or updates.acquire(timeout=20)
        print(len(batch))
print("rich" in sys.modules, file=sys.stderr)
"""


def run_on_a_terminal(*command: str, **variables: str) -> str:
    """Return what a command of Python shows on a terminal of 80 columns."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")
    controller, terminal = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in {"CI", "NO_COLOR"}}
    environment |= {"TERM": "xterm", "COLUMNS": "80", **variables}
    shown = bytearray()

    def read() -> None:
        try:
            while some := os.read(controller, 4096):
                shown.extend(some)
        except OSError:  # the process has closed the terminal
            pass

    reading = threading.Thread(target=read)
    reading.start()
    with subprocess.Popen(
        [sys.executable, *command], env=environment, stderr=terminal, stdout=terminal
    ) as running:
        os.close(terminal)
        assert running.wait(60) == 0
    reading.join(10)
    os.close(controller)
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown.decode())


def test_two_lines_show_the_status() -> None:
    """They show progress, rates, memory, failures and who waits, and fit a terminal."""
    text = format_status("epoch 12, 45%", STATS)

    assert text.splitlines() == [
        "epoch 12, 45%: 1,000 windows, 100/s, 500 times real time",
        "200 MiB of at most 300 MiB, 3 failed, the loader waits",
    ]
    large = replace(STATS, windows=10**8, audio_s=10**8, wait_s=10.0)
    assert max(map(len, format_status("epoch 1,000, 100%", large).splitlines())) <= 80


def test_rates_and_waits_are_recent_ones() -> None:
    """A disk that becomes slow shows within seconds, because older rates are left out."""
    later = replace(STATS, windows=1_010, audio_s=5_050.0, wall_s=12.0, wait_s=1.0)

    text = format_status("x", later, STATS)

    assert "1,010 windows, 5/s, 25 times real time" in text
    assert text.endswith("the consumer waits 50%")


def test_nothing_is_shown_without_a_terminal(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe, and in CI, there is no thread and no text, and rich is not imported."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, archive], capture_output=True, text=True, check=True
    )
    assert done.stderr == "False\n"

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("CI", raising=False)
    assert _progress.stderr_is_interactive()
    monkeypatch.setenv("CI", "true")
    assert not _progress.stderr_is_interactive()
    with Live():
        assert "headrace-live" not in {thread.name for thread in threading.enumerate()}


def test_a_loader_shows_its_status_on_a_terminal(archive: str) -> None:
    """Lines printed meanwhile stay; the status is removed at the end."""
    shown = run_on_a_terminal("-c", LOAD, archive)

    assert re.search(r"epoch 0, \d+%: \d+ windows, \d+/s, \d+ times real time", shown)
    assert re.search(r"of at most [\d.]+ MiB, 0 failed, the (loader|consumer) waits", shown)
    assert len(re.findall(r"(?:^|\r)2\r*$", shown, re.MULTILINE)) == 10  # all batches
    assert shown.rstrip().endswith("True")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["bench", "demo"])
def test_commands_show_their_status(archive: str, command: str) -> None:
    """`bench` and `demo` show the number of the run, and the figures of its loader."""
    data = {
        "bench": [archive, "--rounds", "1", "--workers", "1", "--window-s", "0.1"],
        "demo": ["--data", archive, "--rounds", "1", "--budget-s", "2"],
    }

    shown = run_on_a_terminal("-m", "headrace", command, *data[command])

    assert re.search(r"run \d+ of \d+: [\d,]+ windows, [\d,]+/s, ", shown)


def test_scan_shows_its_progress(archive: str, tmp_path: Path) -> None:
    """A scan shows how many files were read, and how many of them are damaged."""
    (tmp_path / "bad.wav").write_bytes(b"no audio at all")
    code = "import headrace, sys; headrace.scan(sys.argv[1])"

    shown = run_on_a_terminal("-W", "ignore", "-c", code, archive)

    assert re.search(r"Reading headers.* 6/6 1 damaged", shown)


def test_glance_includes_the_current_wait(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`glance` from another thread counts a wait for a read that has not ended."""
    clock = [100.0]
    time = SimpleNamespace(perf_counter=lambda: clock[0], monotonic=lambda: clock[0])
    monkeypatch.setattr(counters, "time", time)
    monkeypatch.setattr(prefetch, "time", time)
    waiting, go_on = threading.Event(), threading.Event()
    wait = prefetch._Core.wait

    def waits(*args: Any) -> None:
        waiting.set()
        wait(*args)

    def slow(audio: object) -> object:
        assert go_on.wait(20)
        return audio

    windows = headrace.scan(archive).windows(16_000, 0.5).map(slow, out=((8_000,), "float32"))
    monkeypatch.setattr(prefetch._Core, "wait", waits)
    loader = windows.loader(batch_size=2, workers=1)
    consumer = threading.Thread(target=lambda: next(iter(loader)))
    consumer.start()
    assert waiting.wait(20)
    first = loader.glance()
    clock[0] += 7
    later = loader.glance()
    go_on.set()
    consumer.join()
    loader.close()

    assert (first.windows, first.wait_s) == (0, 0)
    assert (later.windows, later.wait_s) == (0, 7)
    assert loader.stats().wait_s == 7


def test_the_thread_ends_with_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """The view's thread is joined after an exception too."""
    monkeypatch.setattr(live, "_INTERVAL_S", 0.01)
    view = Live(show=True)

    def fail() -> None:
        with view:
            assert view._thread is not None
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert view._thread is not None
    assert not view._thread.is_alive()
