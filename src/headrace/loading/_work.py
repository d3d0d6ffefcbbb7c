"""`WorkItem`: what is made together, as rows of windows and the reads that fill them.

Pure values: a plan makes them, workers carry them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.windows import WindowRows

__all__ = ["Read", "ReadGroup", "WorkItem", "limit_deliveries"]


@dataclass(frozen=True, slots=True)
class Read:
    """Windows of one file whose audio is continuous: decoded and resampled once.

    Attributes
    ----------
    recording : int
        Its number.
    starts : tuple of int
        Rising first samples of the windows, each not behind the end of the one before.
    row : int
        Row of the first window in its unit; the others follow.
    """

    recording: int
    starts: tuple[int, ...]
    row: int


@dataclass(eq=False)  # not frozen, like Unit: that would be most of what making one costs
class ReadGroup:
    """Rows of a unit that one worker reads in one go.

    Attributes
    ----------
    rows : Rows
        All rows of the unit.
    begin, stop : int
        Which of them: half-open.
    size : int
        Samples in a window.
    key : int or None
        Groups of the same key are made one after the other, in order: the decoder carries on.
    """

    rows: WindowRows
    begin: int
    stop: int
    size: int
    key: int | None

    @cached_property
    def reads(self) -> tuple[Read, ...]:
        """The reads that fill the rows, in order: rows whose audio is continuous are one read.

        Worked out by the worker that asks: the consumer has better things to do.
        """
        recordings = self.rows.recording[self.begin : self.stop].tolist()
        starts = self.rows.start[self.begin : self.stop].tolist()
        reads = []
        first = 0
        for row in range(1, len(starts) + 1):
            if (
                row < len(starts)
                and recordings[row] == recordings[first]
                and starts[row - 1] < starts[row] <= starts[row - 1] + self.size
            ):
                continue
            reads.append(Read(recordings[first], tuple(starts[first:row]), self.begin + first))
            first = row
        return tuple(reads)


@dataclass(slots=True, eq=False)
class WorkItem:
    """What is made together: a batch, or a few single examples.

    Attributes
    ----------
    epoch, stop : int
        Its epoch, and the position in the order of all shards behind its last row and those that
        other shards have beside it.
    rows : Rows
        Its windows, in the order of delivery.
    groups : tuple of Group
        What has to be read for it.
    final : bool
        Whether nothing of the epoch follows.
    step : int
        Positions from one row to the next.
    filler : int
        Rows of zeros behind the windows, where a shard has less than others.
    """

    epoch: int
    stop: int
    rows: WindowRows
    groups: tuple[ReadGroup, ...]
    final: bool
    step: int = 1
    filler: int = 0

    @property
    def count(self) -> int:
        """Rows, those of zeros included."""
        return len(self.rows.index) + self.filler

    @property
    def after(self) -> tuple[int, int]:
        """The epoch and the position in it from which what follows is delivered."""
        return (self.epoch + 1, 0) if self.final else (self.epoch, self.stop)


def limit_deliveries(units: Iterator[WorkItem], n: int, *, each: bool) -> Iterator[WorkItem]:
    """Yield units until they deliver `n`, so that nothing is loaded for nobody.

    A unit is one delivery, or with `each` as many as it has rows.
    """
    for unit in units:
        yield unit
        n -= unit.count if each else 1
        if n <= 0:
            return
