from __future__ import annotations

import subprocess
import sys
import tempfile
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace
from headrace.inference._generations import Generations
from headrace.inference._parts import FailedRun, PartName
from headrace.inference._result_folder import LocalFolder
from headrace.inference._work import ranges_of
from tests.support.catalogs import fake_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Catalog, Windows


@settings(deadline=None)
@given(
    total=st.integers(1, 10_000),
    part_size=st.integers(1, 3_000),
    generation=st.integers(0, 99_999),
)
def test_ranges_divide_a_generation(total: int, part_size: int, generation: int) -> None:
    """Every window is in exactly one range, and a name says which range it is."""
    names = list(ranges_of(generation, total, part_size))

    assert [names[0].begin, names[-1].stop] == [0, total]
    assert all(one.stop == other.begin for one, other in pairwise(names))
    assert all(0 < one.stop - one.begin <= part_size for one in names)
    assert [PartName.parse(f"{name.stem}.parquet") for name in names] == names
    assert names == sorted(names, key=lambda name: name.stem)


@pytest.mark.parametrize("name", ["00000-1-2.parquet", "run.json", "x.parquet", ".a.tmp"])
def test_other_files_are_no_parts(name: str) -> None:
    """A file that somebody put into the folder is not taken for a part."""
    assert PartName.parse(name) is None


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=30), st.data())
def test_neighbouring_failures_are_joined(ids: list[str], data: st.DataObject) -> None:
    """Runs of failures hold the same windows, with the same recording and code."""
    codes = data.draw(st.lists(st.sampled_from(["IO", "MODEL"]), min_size=30, max_size=30))
    numbers = sorted(data.draw(st.sets(st.integers(0, 60), min_size=len(ids), max_size=len(ids))))
    failed = [
        (number, headrace.Failure(one, one, headrace.Code(code), "why", number, number + 1.0, 1))
        for number, one, code in zip(numbers, ids, codes, strict=False)
    ]
    runs = FailedRun.join(failed)

    assert [
        (number, run.file_id, run.code) for run in runs for number in run.windows().tolist()
    ] == [(number, failure.file_id, str(failure.code)) for number, failure in failed]
    assert all(run.stop_s - run.start_s == run.count for run in runs)


def _located(windows: Windows, generations: Generations) -> dict[tuple[int, int], tuple[str, int]]:
    """Return the recording and the first sample of each window of each generation."""
    found = {}
    for one in generations.all:
        numbers = np.arange(one.total)
        places = generations.places(one.number, numbers)
        ids = generations.ids(one.number, numbers)
        rows = windows.rows(np.maximum(places, 0))
        names = windows.recordings.ids(rows.recording).to_pylist()
        for number in numbers.tolist():
            if places[number] >= 0:
                assert names[number] == ids[number]
                found[one.number, number] = names[number], int(rows.start[number])
    return found


def _catalog(names: set[int], order: int) -> Catalog:
    """Return recordings of 100 to 900 frames; some orders are not that of their names."""
    catalog = fake_catalog([100 * (1 + name % 9) for name in range(12)])
    rows = sorted(names, key=lambda name: (name * order) % 13)
    return headrace.Catalog.from_table(catalog.to_arrow().take(rows))


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.tuples(st.sets(st.integers(0, 11), min_size=1), st.sampled_from([1, 5])),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["all", "taken", "slice of one"]),
)
def test_a_window_keeps_its_number_while_the_archive_changes(
    calls: list[tuple[set[int], int]], choice: str
) -> None:
    """Whatever is added, removed or moved, a number means the same window, and each has one."""
    known: dict[tuple[int, int], tuple[str, int]] = {}
    seen: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        results = LocalFolder(folder)
        results.prepare()
        for names, order in calls:
            windows = _catalog(names, order).windows(1_000, 0.06, 0.03, tail="pad")
            if choice == "taken":  # the even windows of each recording, those of one time last
                starts = windows.rows(np.arange(len(windows))).start
                even = np.flatnonzero(starts % 60 == 0)
                windows = windows.take(even[np.argsort(starts[even], kind="stable")])
            elif choice == "slice of one":
                windows = windows[:]
            generations = Generations.update(results, windows)
            located = _located(windows, generations)
            again = Generations.read(results)

            assert len(again.all) == len(generations.all)
            assert len(located) == len(windows)
            assert len({*located.values()}) == len(windows)
            assert all(known.get(number, window) == window for number, window in located.items())
            known |= located
            seen |= names
            assert again.vanished() == {f"r{name}" for name in seen - names}
    assert len({*known.values()}) == len(known)


def test_vanished_recordings_are_those_of_the_last_call(tmp_path: Path) -> None:
    """A recording that comes back is not marked any more."""
    results = LocalFolder(tmp_path)
    results.prepare()
    for names, gone in [
        ({1, 2, 3}, set()),
        ({1, 3}, {"r2"}),
        ({2, 3, 4}, {"r1"}),
        ({1, 2, 3, 4}, set()),
    ]:
        Generations.update(results, _catalog(names, 1).windows(1_000, 0.06))
        assert Generations.read(results).vanished() == gone
    assert len(results.list("generations")) == 4


def test_two_recordings_of_one_id_are_refused(tmp_path: Path) -> None:
    """Results are kept by id, so that ids have to be unique, also of concatenated windows."""
    one, other = (_catalog({1}, 1).windows(1_000, 0.06) for _ in range(2))

    with pytest.raises(headrace.ResultsError, match="two recordings of these windows have the id"):
        Generations.update(LocalFolder(tmp_path), headrace.concat([one, other]))


_THREADS = """
import os
import pyarrow as pa
import pyarrow.parquet
from headrace.inference._generations import Generation
none = pa.array([], pa.string())
table = pa.table({"id": ["a"], "windows": [1]})
data = Generation(0, table, none, none, "").to_bytes()
before = {*os.listdir("/proc/self/task")}
assert Generation.from_bytes(0, data).total == 1
names = [open(f"/proc/self/task/{one}/comm").read() for one in os.listdir("/proc/self/task")
         if one not in before]
print([name for name in names if "jemalloc" not in name])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_a_generation_is_read_without_threads() -> None:
    """None of Arrow's threads holds Python's bytes while the interpreter exits: it would abort."""
    done = subprocess.run(
        [sys.executable, "-c", _THREADS], check=True, capture_output=True, text=True
    )

    assert done.stdout == "[]\n"
