from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import headrace
from tests.support.deliveries import delivered_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace import Failure, Windows


@pytest.mark.parametrize("batch_size", [None, 1, 4, 64])
@pytest.mark.parametrize("workers", [0, 2])
def test_windows_are_taken_list_by_list(
    windows: Windows, batch_size: int | None, workers: int
) -> None:
    """Windows come bit for bit in the order of the lists, whatever the order of the set."""
    lists = [np.array(places) for places in ([5, 6, 7, 30], [], [2], [*range(20, 9, -1)])]
    plain = windows.unordered
    with windows.loader(batch_size=batch_size, workers=workers) as loader:
        rows = [(row.index, row.audio.copy()) for row in delivered_rows(loader.take(iter(lists)))]

    assert [index for index, _ in rows] == [place for places in lists for place in places]
    assert all(np.array_equal(audio, plain[index].audio) for index, audio in rows)


def test_no_batch_has_windows_of_two_lists(windows: Windows) -> None:
    """A list ends with a batch that may be short."""
    with windows.loader(batch_size=4) as loader:
        sizes = [len(batch) for batch in loader.take([np.arange(6), np.arange(3)])]

    assert sizes == [4, 2, 3]


def test_a_list_is_taken_when_there_is_room(windows: Windows) -> None:
    """Lists are not taken ahead of the prefetch, so that they may depend on what was delivered."""
    taken: list[int] = []

    def lists() -> Iterator[NDArray[np.int64]]:
        for begin in range(0, 36, 4):
            taken.append(begin)
            yield np.arange(begin, begin + 4)

    with windows.loader(batch_size=4, workers=1, prefetch=2) as loader:
        batches = loader.take(lists())
        next(batches)
        assert len(taken) <= 4
        assert sum(len(batch) for batch in batches) == 32


def test_failures_are_told_before_their_batch(archive: str, tmp_path: Path) -> None:
    """Each window that cannot be read is told, with its place, before the batch that it is in."""
    windows = headrace.scan(archive).windows(8_000, 0.25)
    (tmp_path / "1.wav").unlink()
    told: list[Failure] = []
    with windows.loader(batch_size=4, on_error="mask") as loader:
        for batch in loader.take([np.arange(len(windows))], told.append):
            failed = batch.index[~batch.valid].tolist()
            assert {*failed} <= {one.index for one in told}

    places = [i for i in range(len(windows)) if windows.table()["id"][i].as_py() == "1.wav"]
    assert [one.index for one in told] == places


def test_an_epoch_begins_after_a_take(windows: Windows) -> None:
    """The state is the beginning of epoch 0, and the next iteration is that epoch."""
    with windows.loader(batch_size=8) as loader:
        list(loader.take([np.arange(3)]))
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (0, 0)
        assert sum(len(batch) for batch in loader) == len(windows)
        assert loader.epoch == 0
