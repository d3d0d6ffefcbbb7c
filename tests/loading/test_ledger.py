from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace import Code, Failure, ReadError, TooManyFailuresError, scan
from headrace.catalog._recordings import Recordings
from headrace.loading import _ledger
from headrace.loading._ledger import Ledger, parse_max_failures
from tests.support.catalogs import fake_catalog
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CATALOG = fake_catalog([10_000, 10_000])
CODES = (Code.TRUNCATED, Code.IO)
EACH = 10  # windows of a second in each recording


def failure(index: int, code: Code = Code.IO) -> Failure:
    """Return the failure of one window."""
    row, second = divmod(index, EACH)
    return Failure(f"r{row}", f"/r{row}", code, f"at {second}", second, second + 1, 1, index)


def ledger_of(indices: Sequence[tuple[int, Code]], most: int | None = None) -> Ledger:
    """Return a ledger in which these windows of an epoch have failed."""
    ledger = Ledger(Recordings(CATALOG), raise_on_failure=False, max_failures=most)
    for index, code in indices:
        ledger.count_failed(0, index // EACH, failure(index, code))
    return ledger


@given(st.lists(st.tuples(st.integers(0, 2 * EACH - 1), st.sampled_from(CODES))))
def test_neighbours_that_fail_with_one_code_are_one_failure(
    indices: list[tuple[int, Code]],
) -> None:
    """In whatever order, and however often, windows fail: rows are merged, and none is missing."""
    ledger = ledger_of(indices)

    listed = [
        (index, one.code)
        for one in ledger.failures
        for index in range(one.index, one.index + round(one.stop_s - one.start_s))
    ]
    assert sorted(listed) == sorted(set(indices))
    assert sum(one.windows for one in ledger.failures) == ledger.failed == len(indices)
    for one in ledger.failures:
        assert one.message == f"at {one.index % EACH}"
        assert one.start_s == one.index % EACH
    ordered = sorted(ledger.failures, key=lambda one: (one.code, one.index))
    for one, other in pairwise(ordered):
        apart = (one.code, one.file_id) != (other.code, other.file_id)
        assert apart or one.file_id != other.file_id or one.stop_s < other.start_s


@given(
    st.lists(st.tuples(st.integers(0, 2 * EACH - 1), st.sampled_from(CODES))),
    st.lists(st.integers(0, 1)),
)
def test_the_table_adds_up(indices: list[tuple[int, Code]], delivered: list[int]) -> None:
    """For each file, expected = delivered + failed, and failed is the sum over the codes."""
    ledger = ledger_of(indices)
    ledger.count_delivered(np.array(delivered, np.int64), 7 * len(delivered))

    table = ledger.table()

    for row, one in enumerate(table.to_pylist()):
        assert one["id"] == f"r{row}"
        assert one["delivered"] == delivered.count(row)
        assert one["failed"] == sum(index // EACH == row for index, _ in indices)
        assert one["expected"] == one["delivered"] + one["failed"]
        assert one["failed"] == sum(one.get(str(code), 0) for code in CODES)
    assert set(table.column_names[4:]) == {str(code) for _, code in indices}
    assert ledger.expected == len(delivered) + len(indices)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("remainder", ["drop", "mask"])
def test_statistics_count_audio_and_no_padding(
    tmp_path: Path, batch_size: int | None, remainder: Any
) -> None:
    """`audio_s` is the audio before the recordings' ends: no padding, failed or added rows."""
    for name, seconds in (("a", 1.3), ("b", 2.0), ("c", 0.2)):
        write(tmp_path / f"{name}.wav", noise(round(8_000 * seconds)), 8_000, "WAV", "PCM_16")
    catalog = scan(tmp_path)
    with (tmp_path / "b.wav").open("r+b") as file:
        file.truncate(44 + 2 * 12_000)  # neither of its windows can be read
    windows = catalog.windows(8_000, 1.0).shard(0, 1, remainder=remainder)
    loader = windows.loader(batch_size=batch_size, on_error="mask", workers=1, last="keep")
    for _ in range(2):
        list(loader)
    stats = loader.stats()

    assert (stats.windows, stats.failed) == (6, 4)
    assert stats.audio_s == pytest.approx(2 * (1.3 + 0.2))


def test_the_number_of_listed_failures_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit, failures are counted but not listed."""
    monkeypatch.setattr(_ledger, "_MAX_RUNS", 3)

    ledger = ledger_of([(index, Code.IO) for index in (0, 2, 4, 6, 8, 5)])

    assert [(one.index, one.windows) for one in ledger.failures] == [(0, 1), (2, 1), (4, 2)]
    assert ledger.failed == 6
    assert ledger.table()["IO"].to_pylist() == [6, 0]


def test_too_many_failures_are_summarised() -> None:
    """The error names the limit, the codes and the files with the most failures."""
    ledger_of([(3, Code.IO)] * 3, most=3)

    with pytest.raises(TooManyFailuresError) as caught:
        ledger_of([(3, Code.IO), (4, Code.IO), (13, Code.TRUNCATED)], most=2)

    assert str(caught.value) == (
        "3 windows of epoch 0 could not be read, and max_failures allows 2: 2 IO, 1 TRUNCATED; "
        "most of them 2 of r0 (at 3) [IO]; 1 of r1 (at 3) [TRUNCATED]."
    )


def test_the_limit_applies_to_each_epoch() -> None:
    """Failures of earlier epochs do not count towards the limit."""
    ledger = Ledger(Recordings(CATALOG), raise_on_failure=False, max_failures=1)
    for epoch in range(5):
        ledger.count_failed(epoch, 0, failure(3))

    with pytest.raises(TooManyFailuresError):
        ledger.count_failed(4, 0, failure(3))
    assert [one.windows for one in ledger.failures] == [6]


def test_the_first_failure_raises_where_failures_raise() -> None:
    """The failure is counted as well."""
    ledger = Ledger(Recordings(CATALOG), raise_on_failure=True, max_failures=None)

    with pytest.raises(ReadError, match="at 3"):
        ledger.count_failed(0, 0, failure(3))
    assert ledger.failed == ledger.expected == 1


@pytest.mark.parametrize(
    ("most", "allowed"), [(None, None), (0, 0), (7, 7), (0.0, 0), (0.25, 5), (0.999, 19)]
)
def test_a_fraction_is_of_the_epoch(most: float | None, allowed: int | None) -> None:
    """A whole number is a number of windows. A float below 1 is a fraction of the epoch."""
    assert parse_max_failures(most, 20, raise_on_failure=False) == allowed


@pytest.mark.parametrize("most", [-1, 1.0, 2.5, True, "1", float("nan")])
def test_any_other_limit_is_rejected(most: float) -> None:
    """The error says which values are valid."""
    with pytest.raises(ValueError, match="max_failures must be a number of windows, or a fraction"):
        parse_max_failures(most, 20, raise_on_failure=False)
    with pytest.raises(ValueError, match="stops at the first"):
        parse_max_failures(3, 20, raise_on_failure=True)


# What a run reports of its losses


@pytest.fixture
def damaged(tmp_path: Path) -> headrace.Windows:
    """Return 12 windows of 3 recordings, of which one is gone since the scan."""
    for number in range(3):
        write(tmp_path / f"{number}.wav", noise(8_000, seed=number), 8_000, "WAV", "PCM_16")
    catalog = headrace.scan(tmp_path)
    (tmp_path / "1.wav").unlink()
    return catalog.windows(8_000, 0.25)


@pytest.mark.parametrize("batch_size", [None, 4, 12])
@pytest.mark.parametrize("on_error", ["skip", "mask"])
def test_losses_are_logged_once_an_epoch(
    damaged: headrace.Windows,
    caplog: pytest.LogCaptureFixture,
    batch_size: int | None,
    on_error: Literal["skip", "mask"],
) -> None:
    """One warning for each epoch says how many windows were lost, why, and where to look."""
    with damaged.loader(batch_size=batch_size, workers=1, on_error=on_error) as loader:
        for epoch in range(3):
            for _ in loader:
                pass
            assert len(caplog.records) == epoch + 1

    messages = [record.getMessage() for record in caplog.records]
    for epoch, message in enumerate(messages):
        assert message.startswith(
            f"4 windows of epoch {epoch} could not be read or transformed (4 MISSING). The first: "
        )
        assert message.endswith("[MISSING]. loader.failures lists all of them.")
    assert {(one.name, one.levelname) for one in caplog.records} == {("headrace", "WARNING")}


def test_losses_of_an_unfinished_epoch_are_logged(
    damaged: headrace.Windows, caplog: pytest.LogCaptureFixture
) -> None:
    """They are reported when the next epoch begins to lose windows, or when the loader ends."""
    with damaged.loader(batch_size=4, workers=0, on_error="mask") as loader:
        for _ in range(2):
            for batch in loader:
                if not batch.valid.all():
                    break
        assert [record.getMessage()[:20] for record in caplog.records] == ["4 windows of epoch 0"]
    assert [record.getMessage()[:20] for record in caplog.records[1:]] == ["4 windows of epoch 1"]


def test_nothing_is_logged_without_losses_or_where_they_are_reported(
    damaged: headrace.Windows, caplog: pytest.LogCaptureFixture
) -> None:
    """Good windows, errors that raise, and failures that are given to a function log nothing."""
    with damaged[:4].loader(batch_size=2, on_error="mask") as loader:
        list(loader)
    with damaged.loader(batch_size=4) as raising, pytest.raises(ReadError):
        list(raising)
    with damaged.loader(batch_size=4, on_error="mask") as loader:
        told: list[Failure] = []
        list(loader.take([np.arange(12)], told.append))
    assert len(told) == 4
    assert not caplog.records


def test_a_resumed_loader_says_since_when_it_counts(damaged: headrace.Windows) -> None:
    """A state holds no counts, so figures and ledger name the position that they begin at."""
    with damaged.loader(batch_size=4, workers=0, on_error="mask") as loader:
        next(iter(loader))
        state = loader.state_dict()
        assert loader.stats().since == (0, 0)
        assert "since" not in str(loader.stats())
    with damaged.loader(batch_size=4, workers=0, on_error="mask") as resumed:
        resumed.load_state_dict(state)
        list(resumed)
        stats, table = resumed.stats(), resumed.ledger()

    assert (stats.since, stats.windows, stats.failed) == ((0, 4), 4, 4)
    assert "4 failed, since epoch 0, position 4" in str(stats)
    assert "4 failed, since epoch 0, position 4" in repr(stats)
    assert table.schema.metadata == {b"since_epoch": b"0", b"since_position": b"4"}
    with damaged.loader(batch_size=4, workers=0, on_error="mask") as loader:
        list(loader)
        loader.load_state_dict(state)
        assert loader.stats().since == (0, 0)  # it has counted from the beginning
