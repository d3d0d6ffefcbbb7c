from __future__ import annotations

import io
import json
import threading
from collections import Counter
from dataclasses import fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import headrace
from headrace.observe import _trace as trace
from headrace.observe._counters import Meter
from headrace.observe._read_timing import ReadTiming
from headrace.observe._trace import Trace

if TYPE_CHECKING:
    from pathlib import Path

Events = list[dict[str, Any]]


@pytest.fixture
def windows(archive: str) -> headrace.Windows:
    """Windows of half a second."""
    return headrace.scan(archive).windows(16_000, 0.5)


def read(file: Path) -> tuple[dict[str, Any], Events]:
    """Return a trace's metadata and its slices."""
    whole = json.loads(file.read_text("utf-8"))
    assert all({"name", "ph", "pid", "tid"} <= set(event) for event in whole["traceEvents"])
    return whole["otherData"], [event for event in whole["traceEvents"] if event["ph"] == "X"]


def names(file: Path) -> dict[int, str]:
    """Return the name of each thread, by its number."""
    events = json.loads(file.read_text("utf-8"))["traceEvents"]
    return {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_every_window_is_in_a_read_and_in_a_delivery(
    windows: headrace.Windows, tmp_path: Path, workers: int, batch_size: int | None
) -> None:
    """Reads have file, epoch and seconds, and are in the rows of the threads that ran them."""
    file = tmp_path / "trace.json"
    loader = windows.loader(batch_size=batch_size, workers=workers)
    with loader.trace(file):
        for _ in range(2):
            for _ in loader:
                pass

    about, slices = read(file)
    reads = [one for one in slices if one["name"] == "read"]
    for epoch in (0, 1):
        for kind in ("read", "wait"):
            of_epoch = [
                s["args"] for s in slices if s["name"] == kind and s["args"]["epoch"] == epoch
            ]
            assert sum(args["windows"] for args in of_epoch) == len(windows)
    assert {one["args"]["file"] for one in reads} <= {r.path for r in windows.catalog}
    assert sum(one["args"]["decode_s"] for one in reads) == pytest.approx(loader.stats().decode_s)
    assert about["verdict"] == loader.stats().verdict
    assert (about["reads"], about["reads left out"]) == (len(reads), 0)
    by = {names(file)[one["tid"]] for one in reads}
    consumer = f"consumer ({threading.current_thread().name})"
    assert by <= ({"headrace-0", "headrace-1"} if workers else {consumer})
    assert {names(file)[s["tid"]] for s in slices if s["cat"] == "consumer"} == {consumer}


def test_slices_of_a_thread_are_disjoint_or_nested(
    windows: headrace.Windows, tmp_path: Path
) -> None:
    """No slices overlap partly, to the nanosecond, because viewers drop such slices."""
    file = tmp_path / "trace.json"
    with windows.map(lambda audio: audio).loader(workers=0) as loader, loader.trace(file):
        for _ in loader:
            pass

    ns = [(round(s["ts"] * 1000), -round(s["dur"] * 1000), s["name"]) for s in read(file)[1]]
    assert {"wait", "read", "decode", "transform"} <= {name for _, _, name in ns}
    ends: list[int] = []
    for begin, minus, _ in sorted(ns):
        while ends and ends[-1] <= begin:
            ends.pop()
        assert not ends or begin - minus <= ends[-1]
        ends.append(begin - minus)


def test_waits_and_work_alternate(windows: headrace.Windows, tmp_path: Path) -> None:
    """The consumer either waits in the loader or works with a delivery."""
    file = tmp_path / "trace.json"
    with windows.loader(batch_size=4, workers=1) as loader, loader.trace(file):
        for _ in loader:
            pass

    own = sorted(
        (s["ts"], s["ts"] + s["dur"], s["name"]) for s in read(file)[1] if s["cat"] == "consumer"
    )
    for (_, end, name), (begin, _, following) in pairwise(own):
        assert end <= begin + 0.001
        assert name != following


@pytest.mark.parametrize("ended", ["raised", "left", "damaged"])
def test_an_iteration_that_ends_early_is_written(
    windows: headrace.Windows, tmp_path: Path, ended: str
) -> None:
    """The trace is written after an exception of the consumer or the loader, and a break."""
    file = tmp_path / "trace.json"
    if ended == "damaged":
        (tmp_path / "3.wav").unlink()
    loader = windows.loader(batch_size=2, workers=2)

    def run() -> None:
        with loader.trace(file):
            for _ in loader:
                if ended == "raised":
                    raise KeyError("the consumer's")
                if ended == "left":
                    break

    if ended == "left":
        run()
    else:
        with pytest.raises(KeyError if ended == "raised" else headrace.ReadError):
            run()
    assert [s for s in read(file)[1] if s["name"] == "read"]
    assert not loader._meter.traces
    loader.close()


def test_only_the_newest_are_kept(
    windows: headrace.Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trace of a long run has its newest events, and the number of those left out."""
    monkeypatch.setattr(trace, "Trace", lambda: Trace(kept=5))
    file = tmp_path / "trace.json"
    with windows.loader(batch_size=1, workers=1) as loader, loader.trace(file):
        for _ in loader:
            pass

    about, slices = read(file)
    kinds = Counter(one["name"] for one in slices)
    assert kinds["read"] == kinds["wait"] == kinds["work"] == 5
    assert about["deliveries"] == len(windows)
    assert about["deliveries left out"] == len(windows) - 5
    assert about["reads left out"] == about["reads"] - 5


def test_a_file_that_cannot_be_written_raises_before_loading_starts(
    windows: headrace.Windows, tmp_path: Path
) -> None:
    """The file is opened first, so that no work is lost at the end."""
    loader = windows.loader()
    with pytest.raises(OSError, match="nowhere"), loader.trace(tmp_path / "nowhere" / "t.json"):
        pytest.fail("the with block ran")
    assert not loader._meter.traces


def test_a_trace_keeps_one_file_name_per_read(windows: headrace.Windows) -> None:
    """A read of many windows takes as little memory in a trace as one of few."""
    meter, kept = Meter(), Trace()
    meter.traces.append(kept)
    loader = windows.loader(batch_size=16, workers=1)
    loader._meter = meter
    for _ in loader:
        pass

    assert len(kept._reads)
    for read in kept._reads:
        assert read.transforms == []
        others = {field.name for field in fields(read)} - {"transforms"}
        assert {type(getattr(read, name)) for name in others} <= {str, int, float}


@pytest.mark.parametrize(
    ("waiting", "name"),
    [(0, None), (1, "wait for the GIL or a processor"), (5, "wait for the GIL")],
)
def test_frequent_waits_for_the_gil_are_called_so(waiting: int, name: str | None) -> None:
    """One wait in ten reads may be for a processor; five are not. Short waits do not count."""
    reads = [
        ReadTiming(began_s=at, ended_s=at + 0.5, gil_s=2e-3 if at < waiting else 0.5e-3)
        for at in range(10)
    ]
    kept, file = Trace(), io.StringIO()
    kept.delivered(reads, epoch=0, windows=10, began_s=0.0, ended_s=10.0)
    kept.write(file, "")

    events = json.loads(file.getvalue())["traceEvents"]
    waits = [event for event in events if event["name"].startswith("wait for the GIL")]
    ends = {e["ts"] + e["dur"] for e in events if e["name"] == "read"}
    assert [(one["name"], one["dur"]) for one in waits] == [(name, 2_000)] * waiting
    assert {one["ts"] for one in waits} <= ends
