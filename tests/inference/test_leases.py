from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace.inference._leases import LEASE_S, Leases, Standing
from headrace.inference._owner import Owner
from headrace.inference._result_folder import LocalFolder
from tests.support.models import expected_loudness, loudness, sorted_rows

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    import headrace
    from headrace import Windows

PART = "00000-000000000000-000000000006"


@dataclass
class _Clock:
    """A clock that a test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def _write(folder: Path, owner: str, beat: int, stem: str = PART) -> None:
    """Write the lease of another machine's process."""
    text = json.dumps({"owner": owner, "beat": beat})
    LocalFolder(folder).replace(f"leases/{stem}.json", text.encode())


def _prepared(folder: Path) -> LocalFolder:
    made = LocalFolder(folder)
    made.prepare()
    return made


def test_a_lease_is_aged_by_the_observers_clock(tmp_path: Path) -> None:
    """It is unknown at first, alive when it changed, and dead when it did not for long."""
    clock = _Clock()
    leases = Leases(_prepared(tmp_path), clock)
    _write(tmp_path, "elsewhere-1-1", 0)

    assert leases.observe() == {PART: Standing.UNKNOWN}
    clock.now += LEASE_S / 2
    _write(tmp_path, "elsewhere-1-1", 1)
    assert leases.observe() == {PART: Standing.ALIVE}
    clock.now += LEASE_S - 1
    assert leases.observe() == {PART: Standing.ALIVE}
    clock.now += 1
    assert leases.observe() == {PART: Standing.DEAD}


def test_a_lease_of_this_machine_is_known_at_once(tmp_path: Path) -> None:
    """The number of its process tells whether it has ended."""
    leases = Leases(_prepared(tmp_path))
    me = Owner.current()
    _write(tmp_path, Owner(me.host, me.pid, "1").text, 0)  # an earlier process of this number
    assert leases.observe() == {PART: Standing.DEAD if me.started else Standing.ALIVE}


def test_one_of_two_acquires_a_free_range(tmp_path: Path) -> None:
    """The other one sees who has it, and may take it only if it is not free."""
    folder = _prepared(tmp_path)
    one, other = Leases(folder), Leases(folder)

    assert one.acquire(PART, Standing.FREE)
    assert not other.acquire(PART, Standing.FREE)
    assert one.observe() == {}
    assert other.observe() == {PART: Standing.UNKNOWN}  # of this very process
    one.beat()
    assert other.observe() == {PART: Standing.ALIVE}
    one.release_all()
    assert other.observe() == {}


def test_a_damaged_lease_is_only_a_hint(windows: Windows, tmp_path: Path) -> None:
    """A lease that cannot be read keeps no process from making the part."""
    _prepared(tmp_path / "results")
    (tmp_path / "results" / "leases" / f"{PART}.json").write_text("{")
    run = windows.apply(loudness, tmp_path / "results", batch_size=4, name="x", part_size=6)

    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


def test_leases_of_dead_processes_are_deleted(windows: Windows, tmp_path: Path) -> None:
    """A process killed after it made a part leaves a lease, which the next call deletes."""
    me = Owner.current()
    dead = Owner(me.host, me.pid, "1").text
    windows.apply(loudness, tmp_path / "results", batch_size=4, name="x", part_size=6)
    _write(tmp_path / "results", dead, 0)
    _write(tmp_path / "results", "elsewhere-1-1", 0, "00000-000000000006-000000000012")
    windows.apply(loudness, tmp_path / "results", batch_size=4, name="x", part_size=6)

    left = [file.stem for file in (tmp_path / "results" / "leases").iterdir()]
    if me.started:
        assert left == ["00000-000000000006-000000000012"]


def test_a_listing_that_lags(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that a network file system does not list yet are found to exist one by one."""
    windows.apply(loudness, tmp_path / "results", batch_size=4, name="x", part_size=6)
    with monkeypatch.context() as patch:
        patch.setattr("headrace.inference._work.list_parts", lambda _: [])
        run = windows.apply(_never, tmp_path / "results", batch_size=4, name="x", part_size=6)

    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


def _never(batch: headrace.Batch) -> object:
    raise AssertionError(f"nothing is left, and a batch of {len(batch)} windows came")


def test_a_range_that_another_process_makes_is_left_to_it(windows: Windows, tmp_path: Path) -> None:
    """A call ends while another process makes the last part, and says that it is not complete."""
    folder = _prepared(tmp_path / "results")

    class Elsewhere:
        """A model, during which another machine's lease changes."""

        beats = 0

        def __call__(self, batch: headrace.Batch) -> object:
            self.beats += 1
            _write(tmp_path / "results", "elsewhere-1-1", self.beats)
            return loudness(batch)

    _write(tmp_path / "results", "elsewhere-1-1", 0)
    run = windows.apply(Elsewhere(), tmp_path / "results", batch_size=4, name="x", part_size=6)

    assert not run.complete
    assert run.progress.open == 6
    assert [*folder.list("leases")] == [f"{PART}.json"]
    folder.delete(f"leases/{PART}.json")
    run = windows.apply(loudness, tmp_path / "results", batch_size=4, name="x", part_size=6)
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)
