"""`WorkItem`: windows that are delivered together, and the reads that fill them.

Pure values: a `Plan` makes them, and workers carry them out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from headrace import _kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.windows import WindowRows

__all__ = ["Read", "ReadGroup", "WorkItem", "limit_deliveries"]


class Read(NamedTuple):
    """Windows of one recording without gaps between them: decoded and resampled once.

    Attributes
    ----------
    recording : int
        Number of the recording.
    starts : tuple of int
        First samples of the windows at the target rate, in rising order. Each window starts
        at or before the end of the one before it.
    row : int
        Row of the first window in its work item. The others follow it.
    """

    recording: int
    starts: tuple[int, ...]
    row: int


@dataclass(eq=False)  # not frozen, like WorkItem: freezing would be most of the cost of making one
class ReadGroup:
    """Rows of a work item that one worker reads in one call.

    Attributes
    ----------
    rows : WindowRows
        All rows of the work item.
    begin, stop : int
        The rows of this group: ``[begin, stop)``.
    size : int
        Samples in a window.
    key : int or None
        Groups of the same key are read one at a time, in order, so that the decoder need not seek.
    epoch : int
        The epoch that the work item belongs to.
    announced : list of (str, int, int)
        Key of an object, and bytes of it that are being fetched for this group.
    """

    rows: WindowRows
    begin: int
    stop: int
    size: int
    key: int | None
    epoch: int = 0
    announced: list[tuple[str, int, int]] = field(default_factory=list)

    @cached_property
    def reads(self) -> tuple[Read, ...]:
        """The reads that fill the rows, in order. Windows without a gap share one read.

        Only what plans requests to a store needs them: the kernel divides a group by itself.
        """
        recordings = self.rows.recording[self.begin : self.stop]
        starts = self.rows.start[self.begin : self.stop]
        bounds = _kernel.read_bounds(recordings, starts, self.size)
        return tuple(
            Read(int(recordings[first]), tuple(starts[first:stop].tolist()), self.begin + first)
            for first, stop in pairwise([*bounds, len(starts)])
        )


@dataclass(slots=True, eq=False)
class WorkItem:
    """The windows of a batch, or of a few single examples, and the reads that fill them.

    Attributes
    ----------
    epoch : int
        The epoch it belongs to.
    stop : int
        The epoch's position after the item's last row. Positions count the rows of all shards.
    rows : WindowRows
        The windows, in the order of delivery.
    groups : tuple of ReadGroup
        The reads to carry out.
    ends_epoch : bool
        Whether it is the last item of its epoch.
    step : int
        Positions from one row to the next: the number of shards.
    padding_rows : int
        Rows of zeros after the windows, where this shard has fewer windows than others.
    """

    epoch: int
    stop: int
    rows: WindowRows
    groups: tuple[ReadGroup, ...]
    ends_epoch: bool
    step: int = 1
    padding_rows: int = 0

    @property
    def row_count(self) -> int:
        """Number of rows, those of zeros included."""
        return len(self.rows.index) + self.padding_rows

    @property
    def resume_at(self) -> tuple[int, int]:
        """Epoch and position from which a loader resumes after this item."""
        return (self.epoch + 1, 0) if self.ends_epoch else (self.epoch, self.stop)


def limit_deliveries(
    items: Iterator[WorkItem], n: int, *, single_examples: bool
) -> Iterator[WorkItem]:
    """Yield work items until they make `n` deliveries, and load no more.

    An item is one delivery or, with `single_examples`, one delivery for each of its rows.
    """
    for item in items:
        yield item
        n -= item.row_count if single_examples else 1
        if n <= 0:
            return
