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
from headrace.observe import _live as live
from headrace.observe import _meter as meter
from headrace.observe._live import Live, lines
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
looked = threading.Semaphore(0)
text = live.Live.text
def look(self):
    looked.release()
    return text(self)
live.Live.text, live._EVERY_S = look, 0.01
loader = headrace.scan(sys.argv[1], progress=False).windows(16_000, 0.5).loader(batch_size=2)
with loader.live() as view:
    for batch in loader:
        assert not _progress.on_terminal() or looked.acquire(timeout=20)
        print(len(batch))
print("rich" in sys.modules, file=sys.stderr)
"""


def on_a_terminal(*command: str, **more: str) -> str:
    """Return what a command shows on a terminal of 80 columns."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals")
    ours, its = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in {"CI", "NO_COLOR"}}
    environment |= {"TERM": "xterm", "COLUMNS": "80", **more}
    shown = bytearray()

    def look() -> None:
        try:
            while some := os.read(ours, 4096):
                shown.extend(some)
        except OSError:  # nobody writes any more
            pass

    looking = threading.Thread(target=look)
    looking.start()
    with subprocess.Popen(
        [sys.executable, *command], env=environment, stderr=its, stdout=its
    ) as running:
        os.close(its)
        assert running.wait(60) == 0
    looking.join(10)
    os.close(ours)
    return re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown.decode())


def test_two_lines_say_all() -> None:
    """Progress, rates, memory, failures, and who waits; each fits a terminal."""
    text = lines("epoch 12, 45%", STATS)

    assert text.splitlines() == [
        "epoch 12, 45%: 1,000 windows, 100/s, 500 times real time",
        "200 MiB of at most 300 MiB, 3 failed, the loader waits",
    ]
    large = replace(STATS, windows=10**8, audio_s=10**8, wait_s=10.0)
    assert max(map(len, lines("epoch 1,000, 100%", large).splitlines())) <= 80


def test_rates_and_waits_are_those_of_late() -> None:
    """A disk that has become slow is seen at once, not after as long a time again."""
    later = replace(STATS, windows=1_010, audio_s=5_050.0, wall_s=12.0, wait_s=1.0)

    text = lines("x", later, STATS)

    assert "1,010 windows, 5/s, 25 times real time" in text
    assert text.endswith("the consumer waits 50%")


def test_nothing_is_shown_where_nobody_looks(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe there is neither a thread, nor rich, nor a word; on a CI's terminal neither."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, archive], capture_output=True, text=True, check=True
    )
    assert done.stderr == "False\n"

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("CI", raising=False)
    assert _progress.on_terminal()
    monkeypatch.setenv("CI", "true")
    assert not _progress.on_terminal()
    with Live():
        assert "headrace-live" not in {thread.name for thread in threading.enumerate()}


def test_long_loads_show_how_they_go(archive: str) -> None:
    """What is printed meanwhile is not lost; at the end the view is gone."""
    shown = on_a_terminal("-c", LOAD, archive)

    assert re.search(r"epoch 0, \d+%: \d+ windows, \d+/s, \d+ times real time", shown)
    assert re.search(r"of at most [\d.]+ MiB, 0 failed, the (loader|consumer) waits", shown)
    assert len(re.findall(r"(?:^|\r)2\r*$", shown, re.MULTILINE)) == 10  # all batches
    assert shown.rstrip().endswith("True")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["bench", "demo"])
def test_commands_show_how_they_go(archive: str, command: str) -> None:
    """Which run of how many, and the figures of its loader."""
    data = {
        "bench": [archive, "--rounds", "1", "--workers", "1", "--window-s", "0.1"],
        "demo": ["--data", archive, "--rounds", "1", "--budget-s", "2"],
    }

    shown = on_a_terminal("-m", "headrace", command, *data[command])

    assert re.search(r"run \d+ of \d+: [\d,]+ windows, [\d,]+/s, ", shown)


def test_scan_shows_how_it_goes(archive: str, tmp_path: Path) -> None:
    """Files, and how many of them are damaged."""
    (tmp_path / "bad.wav").write_bytes(b"no audio at all")
    code = "import headrace, sys; headrace.scan(sys.argv[1])"

    shown = on_a_terminal("-W", "ignore", "-c", code, archive)

    assert re.search(r"Reading headers.* 6/6 1 damaged", shown)


def test_a_wait_under_way_is_seen(archive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A glance from another thread sees a consumer that waits for a read that does not end."""
    clock = [100.0]
    time = SimpleNamespace(perf_counter=lambda: clock[0], monotonic=lambda: clock[0])
    monkeypatch.setattr(meter, "time", time)
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
    """After an exception too."""
    monkeypatch.setattr(live, "_EVERY_S", 0.01)
    view = Live(show=True)

    def fail() -> None:
        with view:
            assert view._thread is not None
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert view._thread is not None
    assert not view._thread.is_alive()
