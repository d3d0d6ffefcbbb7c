from __future__ import annotations

import io
import json
import threading
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import headrace
from headrace.loading._reader import GroupResult
from headrace.loading._work_results import WorkResult
from headrace.observe import _trace as trace
from headrace.observe._meter import Meter
from headrace.observe._trace import Trace

if TYPE_CHECKING:
    from pathlib import Path

Events = list[dict[str, Any]]


@pytest.fixture
def windows(archive: str) -> headrace.Windows:
    """Windows of half a second."""
    return headrace.scan(archive).windows(16_000, 0.5)


def read(file: Path) -> tuple[dict[str, Any], Events]:
    """Return what a trace says of itself, and its slices."""
    whole = json.loads(file.read_text("utf-8"))
    assert all({"name", "ph", "pid", "tid"} <= set(event) for event in whole["traceEvents"])
    return whole["otherData"], [event for event in whole["traceEvents"] if event["ph"] == "X"]


def names(file: Path) -> dict[int, str]:
    """Return the name of each thread."""
    events = json.loads(file.read_text("utf-8"))["traceEvents"]
    return {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_every_window_is_in_a_read_and_in_a_delivery(
    windows: headrace.Windows, tmp_path: Path, workers: int, batch_size: int | None
) -> None:
    """Their reads say file, epoch and seconds; they lie in the threads that did them."""
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


def test_slices_of_a_thread_are_one_after_the_other_or_one_in_another(
    windows: headrace.Windows, tmp_path: Path
) -> None:
    """To the nanosecond: viewers drop what overlaps in part."""
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


def test_waits_and_work_take_turns(windows: headrace.Windows, tmp_path: Path) -> None:
    """The consumer is in the loader, or works with what it got."""
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
def test_what_is_left_early_is_written(
    windows: headrace.Windows, tmp_path: Path, ended: str
) -> None:
    """After an exception of the consumer, a break, and an exception of the loader."""
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
    """A trace of a long run has its end, and says how much of its beginning it has not."""
    monkeypatch.setattr(trace, "Trace", lambda: Trace(kept=5))
    file = tmp_path / "trace.json"
    with windows.loader(batch_size=1, workers=1) as loader, loader.trace(file):
        for _ in loader:
            pass

    about, slices = read(file)
    kinds = Counter(one["name"] for one in slices)
    assert kinds["read"] == kinds["wait"] == kinds["work with it"] == 5
    assert about["deliveries"] == len(windows)
    assert about["deliveries left out"] == len(windows) - 5
    assert about["reads left out"] == about["reads"] - 5


def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    windows: headrace.Windows, tmp_path: Path
) -> None:
    """Nobody loads for an hour to hear of it."""
    loader = windows.loader()
    with pytest.raises(OSError, match="nowhere"), loader.trace(tmp_path / "nowhere" / "t.json"):
        pytest.fail("it went on")
    assert not loader._meter.traces


def test_nothing_is_kept_of_names_but_one(windows: headrace.Windows) -> None:
    """What a read with many windows leaves is as small as that of one with few."""
    meter, kept = Meter(), Trace()
    meter.traces.append(kept)
    loader = windows.loader(batch_size=16, workers=1)
    loader._meter = meter
    for _ in loader:
        pass

    assert len(kept._reads)
    for read in kept._reads:
        assert read.transforms == []
        assert set(map(type, read[:4] + read[5:])) <= {str, int, float}


@pytest.mark.parametrize(
    ("waiting", "name"),
    [(0, None), (1, "wait for the GIL or a processor"), (5, "wait for the GIL")],
)
def test_a_wait_for_the_gil_is_called_one_where_it_is_not_chance(
    windows: headrace.Windows, waiting: int, name: str | None
) -> None:
    """Of ten reads one may have lost its processor; five have not. A short wait is none."""
    results = [
        GroupResult(began_s=at, ended_s=at + 0.5, gil_s=2e-3 if at < waiting else 0.5e-3)
        for at in range(10)
    ]
    (item,) = windows.loader(batch_size=len(windows))._plan.work_items(0, 0)
    kept, file = Trace(), io.StringIO()
    kept.delivered(WorkResult(item, [], results), 0.0, 10.0)
    kept.write(file, "")

    events = json.loads(file.getvalue())["traceEvents"]
    waits = [event for event in events if event["name"].startswith("wait for the GIL")]
    ends = {e["ts"] + e["dur"] for e in events if e["name"] == "read"}
    assert [(one["name"], one["dur"]) for one in waits] == [(name, 2_000)] * waiting
    assert {one["ts"] for one in waits} <= ends
