"""`WorkResult`: a unit of the plan, the memory it is made in, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headrace.concurrency import Job, Task
from headrace.loading._collate import collate
from headrace.loading._reader import GroupResult
from headrace.loading._state import make_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from headrace.concurrency import CancellationToken
    from headrace.failures import Failure
    from headrace.loading._batch_map import BatchMap
    from headrace.loading._work import ReadGroup, WorkItem
    from headrace.observe import ReadTiming
    from headrace.windows import Batch, Windows

__all__ = ["WorkResult", "job_of"]


@dataclass(eq=False)
class WorkResult:
    """A unit, its memory, and what became of its groups.

    Attributes
    ----------
    unit : Unit
        What is made.
    rows : list of ndarray, or one with a row for each window
        Where; nothing once it has been let go of.
    results : list of GroupResult
        One for each group that has been read, in any order.
    batch : Batch or None
        What is delivered, once all groups have been read; None where single examples are.
    moved : dict of int to ndarray, or list of ndarray
        By the first row of a group whose reading stalled: where it was read again. What stalled
        may still write to `rows`.
    """

    unit: WorkItem
    rows: NDArray[Any] | list[NDArray[Any]]
    results: list[GroupResult] = field(default_factory=list)
    batch: Batch | None = None
    moved: dict[int, NDArray[Any] | list[NDArray[Any]]] = field(default_factory=dict)

    @cached_property
    def failures(self) -> dict[int, Failure]:
        """What could not be read, by row of the unit; asked for once all groups have been read."""
        return {
            row: replace(failure, index=int(self.unit.rows.index[row]))
            for result in self.results
            for row, failure in result.failures.items()
        }

    @property
    def epoch(self) -> int:
        """The epoch of the unit."""
        return self.unit.epoch

    @property
    def windows(self) -> int:
        """Windows in the unit, without rows of zeros that fill it up."""
        return len(self.unit.rows.index)

    def timings(self) -> list[ReadTiming]:
        """Return the timing of each group, complete once all groups have been read."""
        for result in self.results:
            result.timing.failed = len(result.failures)
            result.timing.epoch = self.unit.epoch
        return [result.timing for result in self.results]

    def names(self) -> tuple[list[str], list[str]]:
        """Return the ids and the paths of the recordings of all rows."""
        ids: list[str] = []
        paths: list[str] = []
        for result in sorted(self.results, key=lambda result: result.begin):
            ids += result.ids
            paths += result.paths
        return ids, paths

    def let_go(self) -> Iterator[NDArray[Any]]:
        """Yield single rows, leaving none of those yielded here: they are the consumer's."""
        rows, self.rows = self.rows, []
        assert isinstance(rows, list)
        rows.reverse()
        while rows:
            yield rows.pop()

    def settle(self) -> None:
        """Leave the memory that a stalled read may still write to: it stays with that read."""
        if not self.moved:
            return
        if isinstance(self.rows, list):
            self.rows = list(self.rows)
        else:
            self.rows = self.rows.copy()
        for group in self.unit.groups:
            if group.begin in self.moved:
                memory = self.moved[group.begin]
                self.rows[group.begin : group.stop] = memory[group.begin : group.stop]
        self.moved.clear()

    def assemble(
        self,
        windows: Windows,
        *,
        on_error: Literal["raise", "skip", "mask"],
        pad: bool,
        batch_map: BatchMap | None,
    ) -> None:
        """Make the batch, to which alone the slab then belongs."""
        unit, slab, self.rows = self.unit, self.rows, []
        assert not isinstance(slab, list)
        self.batch = collate(
            windows,
            unit.rows,
            self.names(),
            slab,
            self.failures,
            make_state(windows, *unit.after),
            skip=on_error == "skip",
            added=len(slab) - len(unit.rows.index) if pad and unit.final else unit.filler,
        )
        if batch_map is None or not len(self.batch.audio):
            return
        if self.failures and on_error == "raise":
            return  # what was lost is raised, and not what a function makes of its zeros
        if not self.results:  # nothing but rows of zeros
            self.results.append(GroupResult())
        with self.results[-1].transforming():
            self.batch = batch_map(self.batch, unit.epoch, unit.stop)


def job_of(
    read: Callable[[ReadGroup, Any, CancellationToken], GroupResult],
    unit: WorkItem,
    rows: NDArray[Any] | list[NDArray[Any]],
    give_up: Callable[[ReadGroup, CancellationToken], None],
    assemble: Callable[[WorkResult], None] | None = None,
) -> Job[WorkResult]:
    """Return the job of making `unit` in `rows`, a task for each of its groups.

    Each calls `read`, as `Reader.read`, and where that stalls `give_up`. The task that ends last
    calls `assemble`, so that the consumer need not. Nothing here refers to a `Loader`.
    """
    made = WorkResult(unit, rows)
    left = count(len(unit.groups) - 1, -1)  # next() is one step, whatever thread takes it

    def task(group: ReadGroup) -> Task:
        def run(closing: CancellationToken) -> GroupResult:
            return read(group, rows, closing)

        def then(result: GroupResult) -> None:
            made.results.append(result)
            if next(left) == 0:
                made.settle()
                if assemble is not None:
                    assemble(made)

        def retry(stalled: CancellationToken) -> Callable[[CancellationToken], GroupResult]:
            give_up(group, stalled)
            fresh = (
                [np.empty_like(row) for row in rows]
                if isinstance(rows, list)
                else np.empty_like(rows)  # only the group's rows become memory
            )
            made.moved[group.begin] = fresh
            return lambda closing: read(group, fresh, closing)

        return Task(run, group.key, then, retry)

    if assemble is not None and not unit.groups:  # nothing but rows of zeros
        assemble(made)
    return Job(made, [task(group) for group in unit.groups])
