"""However an iteration ends, it leaves no thread and no open file, and never hangs."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from headrace.catalog._scan import scan
from headrace.errors import ClosedError, ReadError
from headrace.loading._reader import Reader
from tests.support.deliveries import delivered_rows, open_files, our_threads
from tests.support.processes import interruptible
from tests.support.sounds import speechlike, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace.loading._loader import Loader
    from headrace.windows._windows import Windows


@pytest.fixture(autouse=True, scope="module")
def _collect_only_what_is_new() -> Iterator[None]:
    """Make the many collections below fast: they need not visit every module's objects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@contextmanager
def _nothing_left() -> Iterator[None]:
    """Check that the body of the ``with`` leaves no thread and no open file."""
    gc.collect()  # of the objects that other tests left
    before = open_files()
    yield
    assert not our_threads()
    assert open_files() == before


@pytest.fixture
def windows(archive: str, tmp_path: Path) -> Windows:
    """Windows of 0.25 s: 38 of files that can seek, and some of a file that cannot."""
    write(tmp_path / "z.mp3", speechlike(40_000), 16_000, "MP3", "MPEG_LAYER_III")
    return scan([archive, tmp_path / "z.mp3"]).windows(sample_rate=16_000, window_s=0.25)


@pytest.fixture(params=["examples", "batches"])
def make(windows: Windows, request: pytest.FixtureRequest) -> Callable[..., Loader]:
    """Return a function that makes a loader of examples or batches, with a small prefetch."""
    size = None if request.param == "examples" else 3

    def loader(workers: int = 2, **options: Any) -> Loader:
        return windows.loader(batch_size=size, workers=workers, prefetch=4, **options)

    return loader


class _ExpectedError(Exception):
    pass


def _exhausted(loader: Loader) -> None:
    for _ in loader:
        pass
    assert loader.stats().windows == len(loader.windows)


def _left_by_break(loader: Loader) -> None:
    for _ in loader:
        break


def _left_by_break_and_restarted(loader: Loader) -> None:
    for epoch in range(3):
        for i, _ in enumerate(loader):
            if i == epoch:
                break
        assert loader.epoch == epoch


def _exception_in_the_body(loader: Loader) -> None:
    def consume() -> None:
        for _ in loader:
            raise _ExpectedError

    with pytest.raises(_ExpectedError):
        consume()


def _closed_once(loader: Loader) -> None:
    half_used = iter(loader)
    next(half_used)
    loader.close()
    with _nothing_left(), pytest.raises(ClosedError):
        next(half_used)


def _closed_twice(loader: Loader) -> None:
    half_used = iter(loader)
    next(half_used)
    loader.close()
    loader.close()
    assert not our_threads()


def _left_by_with(loader: Loader) -> None:
    with loader:
        half_used = iter(loader)
        next(half_used)
    assert not our_threads()
    with pytest.raises(ClosedError):
        next(half_used)


def _left_by_with_and_exception(loader: Loader) -> None:
    def consume() -> None:
        with loader:
            for _ in loader:
                raise _ExpectedError

    with pytest.raises(_ExpectedError):
        consume()


def _never_started(loader: Loader) -> None:
    iter(loader)


def _superseded(loader: Loader) -> None:
    older, newer = iter(loader), None
    next(older)
    newer = iter(loader)
    first = next(newer)
    state = loader.state_dict()
    with pytest.raises(ClosedError):
        next(older)
    assert loader.state_dict() == state
    assert np.ravel(first.index)[0] == 0
    rest = sum(np.size(delivery.index) for delivery in newer)
    assert np.size(first.index) + rest == len(loader.windows)


def _superseded_before_its_first_use(loader: Loader) -> None:
    older, newer = iter(loader), iter(loader)
    next(newer)
    with pytest.raises(ClosedError):
        next(older)
    next(newer)


def _closed_before_its_first_use(loader: Loader) -> None:
    unused = iter(loader)
    loader.close()
    with pytest.raises(ClosedError):
        next(unused)


def _steps_all_taken(loader: Loader) -> None:
    assert len(list(loader.steps(len(loader) + 3))) == len(loader) + 3


def _endless_steps_left(loader: Loader) -> None:
    for _ in loader.steps(None):
        if loader.epoch == 2:
            break


ENDINGS = (
    _exhausted,
    _left_by_break,
    _left_by_break_and_restarted,
    _exception_in_the_body,
    _closed_once,
    _closed_twice,
    _left_by_with,
    _left_by_with_and_exception,
    _never_started,
    _superseded,
    _superseded_before_its_first_use,
    _closed_before_its_first_use,
    _steps_all_taken,
    _endless_steps_left,
)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__.strip("_"))
def test_however_an_iteration_ends_nothing_is_left(
    make: Callable[..., Loader], end: Callable[[Loader], None], workers: int
) -> None:
    """An iteration that ends in this way leaves no thread and no open file."""
    loader = make(workers=workers)

    with _nothing_left():
        end(loader)

    assert loader.workers == workers


@pytest.mark.parametrize("workers", [0, 2])
def test_closing_closes_the_files_of_an_iteration_that_is_still_referred_to(
    make: Callable[..., Loader], workers: int
) -> None:
    """`close` and a newer iteration close the files of an iteration that is still referenced."""
    loader = make(workers=workers)
    before = open_files()
    older = iter(loader)
    next(older)

    newer = iter(loader)
    assert open_files() == before
    next(newer)
    loader.close()

    assert not our_threads()
    assert open_files() == before
    del older, newer


def test_dropping_a_half_used_loader_leaves_nothing(make: Callable[..., Loader]) -> None:
    """Threads and files end with the last reference, without the garbage collector."""
    with _nothing_left():
        gc.disable()
        try:
            loader = make()
            half_used = iter(loader)
            next(half_used)
            del loader, half_used
            assert not our_threads()
        finally:
            gc.enable()


def test_a_half_used_iterator_in_a_cycle_is_collected(make: Callable[..., Loader]) -> None:
    """The garbage collector ends an iteration that is only in a reference cycle."""
    with _nothing_left():
        half_used = iter(make())
        cycle: list[Any] = [half_used]
        cycle.append(cycle)
        next(half_used)
        del half_used, cycle
        gc.collect()


def test_an_iterator_may_be_collected_in_one_of_its_workers(
    make: Callable[..., Loader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector may end an iteration in one of its workers, between two reads."""
    held: list[Iterator[Any]] = []
    ended_by: list[str] = []
    delivered = threading.Event()
    read = Reader.read

    def after_the_first(self: Reader, group: Any, *args: Any) -> Any:
        if (group.reads[0].recording, group.reads[0].starts[0]) != (0, 0):
            assert delivered.wait(20)
            while held:
                ended_by.append(threading.current_thread().name)
                held.clear()
        return read(self, group, *args)

    monkeypatch.setattr(Reader, "read", after_the_first)
    with _nothing_left():
        held.append(iter(make(workers=3)))
        next(held[0])
        threads = our_threads()
        delivered.set()
        for thread in threads:
            thread.join(20)

    assert len(ended_by) == 1
    assert ended_by[0].startswith("headrace-")


# Errors


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_programming_error_in_a_worker_is_raised_in_order(
    make: Callable[..., Loader], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """A `TypeError` while reading is raised unchanged, after the deliveries before it."""
    read = Reader.read
    bad = 2  # the recording

    def fail(self: Reader, group: Any, *args: Any) -> Any:
        if any(part.recording == bad for part in group.reads):
            raise TypeError("a bug")
        return read(self, group, *args)

    monkeypatch.setattr(Reader, "read", fail)
    loader = make(workers=workers, on_error="skip")
    first = loader.windows.rows(np.arange(len(loader.windows))).recording.tolist().index(bad)
    delivered: list[int] = []

    def consume() -> None:
        for delivery in loader:
            delivered.extend(np.ravel(delivery.index).tolist())

    with _nothing_left(), pytest.raises(TypeError, match="a bug"):
        consume()

    together = loader._plan.item_rows
    assert delivered == list(range(first // together * together))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_raises_in_order(
    make: Callable[..., Loader], tmp_path: Path, workers: int
) -> None:
    """With ``on_error="raise"``, a truncated file raises after the deliveries before it."""
    loader = make(workers=workers)
    path = tmp_path / "2.wav"
    os.truncate(path, path.stat().st_size // 2)
    delivered: list[int] = []

    def consume() -> None:
        for delivery in loader:
            delivered.extend(np.ravel(delivery.index).tolist())

    with _nothing_left(), pytest.raises(ReadError, match=r"2\.wav") as caught:
        consume()

    assert str(caught.value).startswith(str(caught.value.failure))
    assert 'To go on without such windows, give the loader on_error="mask"' in str(caught.value)
    index = caught.value.failure.index
    size = loader.batch_size or 1
    assert delivered == list(range(index // size * size))


def test_a_closed_loader_raises(make: Callable[..., Loader]) -> None:
    """`iter` and `steps` of a closed loader raise `ClosedError`. Its stats can still be read."""
    loader = make()
    loader.close()

    with pytest.raises(ClosedError, match=r"Make a new one with windows\.loader"):
        iter(loader)
    with pytest.raises(ClosedError, match=r"Make a new one with windows\.loader"):
        loader.steps(1)
    assert loader.stats().windows == 0


def test_close_from_another_thread_ends_the_iteration(
    make: Callable[..., Loader], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`close` in another thread ends a consumer's wait for a read that never ends."""
    loader = make()
    reading = threading.Event()

    def read(_self: Reader, _group: Any, _rows: Any, cancelled: Callable[[], bool]) -> None:
        reading.set()
        while not cancelled():
            pass

    def close() -> None:
        reading.wait(20)
        loader.close()

    monkeypatch.setattr(Reader, "read", read)
    closer = threading.Thread(target=close)
    closer.start()

    with _nothing_left():
        with pytest.raises(ClosedError):
            next(iter(loader))
        closer.join()


# Several at once


@pytest.mark.parametrize("size", [None, 3])
def test_two_loaders_over_the_same_windows_are_independent(
    windows: Windows, size: int | None
) -> None:
    """Two loaders over the same `Windows`, used in turn, both deliver the whole sequence."""
    expected = [(i, windows[i].audio.tobytes()) for i in range(len(windows))]

    one = windows.loader(batch_size=size, workers=2, prefetch=2)
    other = windows.loader(batch_size=size, workers=1, prefetch=3)
    got: tuple[list[Any], list[Any]] = ([], [])
    with _nothing_left():
        for deliveries in zip(one, other, strict=True):
            for rows_of, delivery in zip(got, deliveries, strict=True):
                rows_of.extend(
                    (row.index, row.audio.tobytes()) for row in delivered_rows([delivery])
                )

    assert got == (expected, expected)


def test_a_consumer_may_keep_every_batch(windows: Windows) -> None:
    """Kept batches do not change, and the stats report their memory."""
    loader = windows.loader(batch_size=3, workers=2, prefetch=1)

    kept = list(loader)

    assert loader.stats().kept_bytes == (len(kept) - 3) * 3 * 4_000 * 4
    for batch in kept:
        for index, audio in zip(batch.index, batch.audio, strict=True):
            assert np.array_equal(audio, windows[int(index)].audio)
    kept.clear()
    del batch, audio
    assert loader.stats().kept_bytes == 0


# Processes

PRELUDE = r"""
import faulthandler, os, sys, threading
faulthandler.dump_traceback_later(50, exit=True)
import headrace
from headrace.loading._reader import Reader
windows = headrace.scan(sys.argv[1]).windows(sample_rate=16_000, window_s=0.25)
loader = windows.loader(batch_size=3, workers=2, prefetch=4)
def ready():
    os.write(1, b"ready\n")  # unbuffered and in one piece, from any thread
"""

WAITING = """
def read(self, group, rows, cancelled):
    ready()
    while not cancelled():
        pass
Reader.read = read
for batch in loader:
    pass
"""

WORKING = """
for batch in loader:
    ready()
    while True:
        pass
"""

CLOSING = """
begun, go_on = threading.Event(), threading.Event()
real, join = Reader.read, threading.Thread.join
def read(self, group, *args):
    if group.rows.index[0] == 0:  # of the first batch
        return real(self, group, *args)
    begun.set()
    go_on.wait()  # without checking the token
Reader.read = read
it = iter(loader)
next(it)
begun.wait()
threading.Thread.join = lambda *args: (ready(), join(*args))
try:
    loader.close()
except KeyboardInterrupt:
    go_on.set()
    raise
"""

EXITS = {
    "the iterator in a global": "it = iter(loader); next(it)",
    "an iterator of examples in a global": (
        "it = iter(windows.loader(workers=2, prefetch=8)); next(it)"
    ),
    "the iterator in a cycle": "c = [iter(loader)]; c.append(c); next(c[0])",
    "the consumer's thread died": """
def consume():
    for batch in loader:
        raise SystemExit  # ends a thread without a message
thread = threading.Thread(target=consume); thread.start(); thread.join()
it = iter(loader); next(it)
""",
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a process")
@pytest.mark.parametrize("body", [WAITING, WORKING, CLOSING], ids=["waiting", "working", "closing"])
def test_ctrl_c_ends_the_process(archive: str, body: str) -> None:
    """Ctrl-C raises `KeyboardInterrupt` in a wait, in the consumer's own code, and in `close`."""
    with subprocess.Popen(
        interruptible(PRELUDE + body, archive),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "ignored" not in errors
    assert errors.count("Traceback") == 1


@pytest.mark.parametrize("body", EXITS.values(), ids=EXITS)
def test_the_interpreter_exits_quietly_beside_a_half_used_loader(archive: str, body: str) -> None:
    """The interpreter exits with status 0 and no message during an iteration."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + body, archive],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_exception_in_a_consumers_thread_ends_its_threads(archive: str) -> None:
    """When an exception ends the consumer's thread, the loader's threads end too."""
    body = """
def consume():
    for batch in loader:
        raise LookupError("mine")
thread = threading.Thread(target=consume); thread.start(); thread.join()
print([t.name for t in threading.enumerate() if t.name.startswith("headrace-")])
"""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + body, archive],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "[]\n"
    assert done.stderr.rstrip().endswith("LookupError: mine")
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_loads_nothing_in_vain(
    make: Callable[..., Loader], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """`steps(n)` reads only what it delivers, rounded up to whole work items."""
    read = Reader.read
    rows: list[int] = []  # appended to by workers, read after they have been joined

    def counting(self: Reader, group: Any, *args: Any) -> Any:
        rows.append(group.stop - group.begin)
        return read(self, group, *args)

    monkeypatch.setattr(Reader, "read", counting)
    loader = make(workers=workers)
    n = (
        2 * loader._plan.item_rows + 1
    )  # ends within a work item, where an item has several examples

    delivered = sum(np.size(one.index) for one in loader.steps(n))

    together = loader._plan.item_rows
    assert sum(rows) == -(-delivered // together) * together
