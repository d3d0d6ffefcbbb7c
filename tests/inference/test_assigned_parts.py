from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import headrace
from headrace.inference import Application, AssignedParts, PartCounts
from tests.support.models import expected_loudness, loudness, sorted_rows
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Batch, Windows
    from headrace.inference import PartName


def opened(windows: Windows, output: Path, function: Any = loudness, **options: Any) -> Application:
    """Return an opened application of a model in parts of 6 windows."""
    arguments: dict[str, Any] = {
        "batch_size": 4,
        "name": "loudness",
        "model": None,
        "device": None,
        "columns": (),
        "float16": (),
        "on_error": "raise",
        "pad_batches": False,
        "part_size": 6,
        "workers": 1,
        "prefetch": "auto",
        "memory": None,
        "stall_timeout_s": None,
    }
    application = Application(windows, function, output, **{**arguments, **options})
    application.open()
    return application


def left(application: Application) -> list[PartName]:
    """Return the parts that are left of a run."""
    return application.work(retry_failed=None).left()


def make(application: Application, name: PartName) -> PartCounts:
    """Make one part."""
    with AssignedParts(application, retry_failed=None) as parts:
        return parts.make(name)


def test_assigned_parts_are_those_of_a_local_run(windows: Windows, tmp_path: Path) -> None:
    """Parts assigned by several threads, in any order, have the content of `Windows.apply`."""
    application = opened(windows, tmp_path / "results")
    names = left(application)
    with AssignedParts(application, retry_failed=None) as parts, ThreadPoolExecutor(3) as threads:
        counts = list(threads.map(parts.make, reversed(names)))

    run = application.run()
    assert sum(one.written for one in counts) == parts.done == parts.total == len(windows)
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)
    assert run.complete
    assert not left(application)
    assert not list((tmp_path / "results" / "leases").iterdir())


def test_a_part_that_is_there_is_not_made_again(windows: Windows, tmp_path: Path) -> None:
    """Assigning a part twice calls the model once."""
    application = opened(windows, tmp_path / "results")
    name = left(application)[0]

    assert make(application, name) == PartCounts(6, 0)
    assert make(opened(windows, tmp_path / "results", _never), name) == PartCounts()


def _never(batch: Batch) -> object:
    raise AssertionError(f"nothing is left, and a batch of {len(batch)} windows came")


def test_a_part_that_another_process_holds_is_made_when_it_is_assigned(
    windows: Windows, tmp_path: Path
) -> None:
    """A lease is a hint: whoever assigns parts knows better."""
    first = opened(windows, tmp_path / "results")
    name = left(first)[0]
    assert first.work(retry_failed=None).claim_part(name) is not None
    second = opened(windows, tmp_path / "results")

    assert left(second)[-1] == name
    assert make(second, name).written == 6


def test_an_error_is_raised_for_all_assigned_parts(windows: Windows, tmp_path: Path) -> None:
    """None of the threads that assigned a part waits for ever, and all may be assigned again."""
    broken = threading.Event()
    arrived = threading.Barrier(3)

    def breaks(batch: Batch) -> object:
        if not broken.is_set():
            broken.set()
            raise RuntimeError("out of memory")
        return loudness(batch)

    opened(windows, tmp_path / "results")  # tries the model, which is good, on noise
    application = opened(windows, tmp_path / "results", breaks)
    names = left(application)[:3]

    def assign(name: PartName) -> str:
        arrived.wait()
        try:
            parts.make(name)
        except headrace.ModelError as error:
            return str(error)
        return ""

    with AssignedParts(application, retry_failed=None) as parts, ThreadPoolExecutor(3) as threads:
        errors = list(threads.map(assign, names))
        again = [parts.make(name) for name in names]

    assert any("RuntimeError: out of memory" in error for error in errors)
    assert all(counts in (PartCounts(6, 0), PartCounts()) for counts in again)


def test_failures_that_may_pass_are_assigned_again(tmp_path: Path) -> None:
    """A file that comes back is read by the next run, as an attempt of its own."""
    for seed in range(3):
        write(tmp_path / f"{seed}.wav", noise(8_000, seed=seed), 8_000, "WAV", "PCM_16")
    windows = headrace.scan(tmp_path).windows(8_000, 0.25)
    content = (tmp_path / "1.wav").read_bytes()
    (tmp_path / "1.wav").unlink()
    application = opened(windows, tmp_path / "results")
    first = [AssignedParts(application, retry_failed=None).make(name) for name in left(application)]
    (tmp_path / "1.wav").write_bytes(content)

    again = left(application)
    second = [make(application, name) for name in again]

    assert sum(one.failed for one in first) == 4
    assert {name.attempt for name in again} == {1}
    assert sum(one.written for one in second) == 4
    assert sorted_rows(application.run().to_arrow()) == expected_loudness(windows)


@pytest.mark.parametrize("count", [1, 2])
def test_a_part_is_described_by_its_recordings(
    windows: Windows, tmp_path: Path, count: int
) -> None:
    """A message about a part says which recordings it is of."""
    application = opened(windows, tmp_path / "results", part_size=10 * count)
    name = left(application)[0]

    assert application.has_part(name) is False
    assert application.describe(name).startswith(f"{10 * count} windows of 0.wav")
