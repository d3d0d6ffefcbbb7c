from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import Code, Failure, ReadError, TooManyFailuresError
from headrace.catalog._recordings import Recordings
from headrace.loading import _ledger as ledger
from headrace.loading._ledger import Ledger, limit
from tests.support.cut_catalogs import made_up

if TYPE_CHECKING:
    from collections.abc import Sequence

CATALOG = made_up([10_000, 10_000])
CODES = (Code.TRUNCATED, Code.IO)
EACH = 10  # windows of a second in each recording


def failure(index: int, code: Code = Code.IO) -> Failure:
    """Return the loss of a window."""
    row, second = divmod(index, EACH)
    return Failure(f"r{row}", f"/r{row}", code, f"at {second}", second, second + 1, 1, index)


def lost(indices: Sequence[tuple[int, Code]], most: int | None = None) -> Ledger:
    """Return a ledger in which these windows of an epoch are lost."""
    kept = Ledger(Recordings(CATALOG), raises=False, most=most)
    for index, code in indices:
        kept.lose(0, index // EACH, failure(index, code))
    return kept


@given(st.lists(st.tuples(st.integers(0, 2 * EACH - 1), st.sampled_from(CODES))))
def test_neighbours_lost_for_one_cause_are_one_failure(indices: list[tuple[int, Code]]) -> None:
    """In whatever order they are lost, and how often: rows are few, and add up to what was lost."""
    kept = lost(indices)

    told = [
        (index, one.code)
        for one in kept.failures
        for index in range(one.index, one.index + round(one.stop_s - one.start_s))
    ]
    assert sorted(told) == sorted(set(indices))
    assert sum(one.windows for one in kept.failures) == kept.failed == len(indices)
    for one in kept.failures:
        assert one.message == f"at {one.index % EACH}"
        assert one.start_s == one.index % EACH
    ordered = sorted(kept.failures, key=lambda one: (one.code, one.index))
    for one, other in pairwise(ordered):
        apart = (one.code, one.file_id) != (other.code, other.file_id)
        assert apart or one.file_id != other.file_id or one.stop_s < other.start_s


@given(
    st.lists(st.tuples(st.integers(0, 2 * EACH - 1), st.sampled_from(CODES))),
    st.lists(st.integers(0, 1)),
)
def test_the_table_adds_up(indices: list[tuple[int, Code]], delivered: list[int]) -> None:
    """Per file, expected = delivered + failed, and failed is the sum over the causes."""
    kept = lost(indices)
    kept.deliver(np.array(delivered, np.int64))

    table = kept.table()

    for row, one in enumerate(table.to_pylist()):
        assert one["id"] == f"r{row}"
        assert one["delivered"] == delivered.count(row)
        assert one["failed"] == sum(index // EACH == row for index, _ in indices)
        assert one["expected"] == one["delivered"] + one["failed"]
        assert one["failed"] == sum(one.get(str(code), 0) for code in CODES)
    assert set(table.column_names[4:]) == {str(code) for _, code in indices}
    assert kept.expected == len(delivered) + len(indices)


def test_what_is_told_one_by_one_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of failures what is lost is counted, and no longer told."""
    monkeypatch.setattr(ledger, "_MOST_RUNS", 3)

    kept = lost([(index, Code.IO) for index in (0, 2, 4, 6, 8, 5)])

    assert [(one.index, one.windows) for one in kept.failures] == [(0, 1), (2, 1), (4, 2)]
    assert kept.failed == 6
    assert kept.table()["IO"].to_pylist() == [6, 0]


def test_one_too_many_says_what_and_where() -> None:
    """The sentence names the limit, the causes and the worst files."""
    lost([(3, Code.IO)] * 3, most=3)

    with pytest.raises(TooManyFailuresError) as caught:
        lost([(3, Code.IO), (4, Code.IO), (13, Code.TRUNCATED)], most=2)

    assert str(caught.value) == (
        "3 windows of epoch 0 could not be read, and max_failures allows 2: 2 IO, 1 TRUNCATED; "
        "most of them 2 of r0 (at 3) [IO]; 1 of r1 (at 3) [TRUNCATED]."
    )


def test_every_epoch_may_lose_as_many() -> None:
    """The limit is of an epoch, not of a loader's life."""
    kept = Ledger(Recordings(CATALOG), raises=False, most=1)
    for epoch in range(5):
        kept.lose(epoch, 0, failure(3))

    with pytest.raises(TooManyFailuresError):
        kept.lose(4, 0, failure(3))
    assert [one.windows for one in kept.failures] == [6]


def test_the_first_loss_raises_where_it_shall() -> None:
    """And is counted all the same."""
    kept = Ledger(Recordings(CATALOG), raises=True, most=None)

    with pytest.raises(ReadError, match="at 3"):
        kept.lose(0, 0, failure(3))
    assert kept.failed == kept.expected == 1


@pytest.mark.parametrize(
    ("most", "allowed"), [(None, None), (0, 0), (7, 7), (0.0, 0), (0.25, 5), (0.999, 19)]
)
def test_a_share_is_of_the_epoch(most: float | None, allowed: int | None) -> None:
    """A number stands for itself; less than 1, a float is a share."""
    assert limit(most, 20, raises=False) == allowed


@pytest.mark.parametrize("most", [-1, 1.0, 2.5, True, "1", float("nan")])
def test_any_other_limit_is_refused(most: float) -> None:
    """The sentence says what would do."""
    with pytest.raises(ValueError, match="max_failures must be a number of windows, or a share"):
        limit(most, 20, raises=False)
    with pytest.raises(ValueError, match="stops at the first"):
        limit(3, 20, raises=True)
