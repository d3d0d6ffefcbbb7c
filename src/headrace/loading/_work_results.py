"""`WorkResult`: a work item, the memory it is loaded into, and the results of its groups."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headrace.concurrency import Job, Task
from headrace.loading._collate import collate, make_examples
from headrace.loading._reader import GroupResult
from headrace.loading._state import make_state
from headrace.observe import ReadTotals

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from headrace.concurrency import CancellationToken
    from headrace.failures import Failure
    from headrace.loading._batch_map import BatchMap
    from headrace.loading._catalog_columns import CatalogColumns
    from headrace.loading._transforming_reader import ReadFunction
    from headrace.loading._work_items import ReadGroup, WorkItem
    from headrace.observe import ReadTiming
    from headrace.windows import AudioExample, Batch, Windows

__all__ = ["WorkResult", "make_job"]


@dataclass(eq=False)
class WorkResult:
    """A work item, the memory it is loaded into, and the results of its groups.

    Attributes
    ----------
    item : WorkItem
        The work.
    memory : ndarray with a row for each window, or list of ndarray
        The buffer of a batch, or the arrays of single examples. Empty once handed over.
    results : list of GroupResult
        One for each group that has been read, in any order.
    batch : Batch or None
        Set once all groups have been read; None for single examples.
    examples : list of AudioExample
        Single examples, the first one last: set once all groups have been read.
    failures : dict of int to Failure
        The failures by row of the work item: set once all groups have been read.
    delivered : ndarray of int64
        Recordings of the windows that have not failed: set once all groups have been read.
    delivered_samples : int
        Samples of audio in these windows.
    totals : ReadTotals
        Sums of the groups' timings: set last.
    rereads : dict of int to ndarray, or list of ndarray
        For each group whose read has stalled, by its first row: the memory it is read into again.
        The stalled read may still write to `memory`.
    """

    item: WorkItem
    memory: NDArray[Any] | list[NDArray[Any]]
    results: list[GroupResult] = field(default_factory=list)
    batch: Batch | None = None
    examples: list[AudioExample] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    delivered: NDArray[np.int64] = field(init=False)
    delivered_samples: int = 0
    totals: ReadTotals = field(default_factory=ReadTotals)
    rereads: dict[int, NDArray[Any] | list[NDArray[Any]]] = field(default_factory=dict)

    def count(self) -> None:
        """Work out, once all groups have been read, what is counted when they are delivered."""
        rows = self.item.rows
        delivered, samples = rows.recording, rows.valid
        for result in self.results:
            for row, failure in sorted(result.failures.items()):
                self.failures[row] = replace(failure, index=int(rows.index[row]))
        if self.failures:
            failed = list(self.failures)
            delivered, samples = np.delete(delivered, failed), np.delete(samples, failed)
        self.delivered, self.delivered_samples = delivered, int(samples.sum())

    @property
    def epoch(self) -> int:
        """The epoch of the work item."""
        return self.item.epoch

    @property
    def windows(self) -> int:
        """Windows in the work item, without rows of zeros that fill it up."""
        return len(self.item.rows.index)

    def timings(self) -> list[ReadTiming]:
        """Return the timing of each group, complete once all groups have been read."""
        for result in self.results:
            result.timing.failed = len(result.failures)
            result.timing.epoch = self.item.epoch
        return [result.timing for result in self.results]

    def leave_stalled_memory(self) -> None:
        """Move to memory that no stalled read may write to. The old memory stays with that read."""
        if not self.rereads:
            return
        if isinstance(self.memory, list):
            self.memory = list(self.memory)
        else:
            self.memory = self.memory.copy()
        for group in self.item.groups:
            if group.begin in self.rereads:
                reread = self.rereads[group.begin]
                self.memory[group.begin : group.stop] = reread[group.begin : group.stop]
        self.rereads.clear()

    def build_examples(self, windows: Windows, *, columns: CatalogColumns) -> None:
        """Make the examples, each of which takes over its array."""
        rows, self.memory = self.memory, []
        self.examples = list(
            make_examples(
                windows,
                self.item.rows,
                rows,
                self.failures,
                columns=columns,
            )
        )
        self.examples.reverse()  # so that they can be popped in order

    def build_batch(
        self,
        windows: Windows,
        *,
        on_error: Literal["raise", "skip", "mask"],
        pad: bool,
        batch_map: BatchMap | None,
        columns: CatalogColumns,
    ) -> None:
        """Collate the batch, which takes over the buffer, and call the user's `batch_map`."""
        item, buffer, self.memory = self.item, self.memory, []
        assert not isinstance(buffer, list)
        fill = pad and item.ends_epoch
        self.batch = collate(
            windows,
            item.rows,
            buffer,
            self.failures,
            make_state(windows, *item.resume_at),
            drop_failed=on_error == "skip",
            padding_rows=len(buffer) - len(item.rows.index) if fill else item.padding_rows,
            columns=columns,
        )
        if batch_map is None or not len(self.batch.audio):
            return
        if self.failures and on_error == "raise":
            return  # the failure is raised, not what `batch_map` may raise for its zeros
        if not self.results:  # a batch of padding alone
            self.results.append(GroupResult())
        with self.results[-1].transforming():
            self.batch = batch_map(self.batch, item.epoch, item.stop)


def make_job(
    item: WorkItem,
    memory: NDArray[Any] | list[NDArray[Any]],
    read: ReadFunction,
    exclude_stalled: Callable[[ReadGroup, CancellationToken], None],
    build: Callable[[WorkResult], None],
) -> Job[WorkResult]:
    """Return the job that loads `item` into `memory`, with one task for each of its groups.

    Each task calls `read` and, if that stalls, `exclude_stalled`. The task that ends last calls
    `build`, so that the consumer need not. The job does not refer to the `Loader`.
    """
    work = WorkResult(item, memory)
    groups_left = count(len(item.groups) - 1, -1)  # `next` is atomic, whichever thread calls it

    def finish() -> None:
        work.count()
        build(work)
        for result in work.results:
            work.totals.count(result.timing)

    def task(group: ReadGroup) -> Task:
        def run(token: CancellationToken) -> GroupResult:
            return read(group, memory, token)

        def on_result(result: GroupResult) -> None:
            work.results.append(result)
            if next(groups_left) == 0:
                work.leave_stalled_memory()
                finish()

        def retry(stalled: CancellationToken) -> Callable[[CancellationToken], GroupResult]:
            exclude_stalled(group, stalled)
            fresh = (
                [np.empty_like(row) for row in memory]
                if isinstance(memory, list)
                else np.empty_like(memory)  # only the pages of the group's rows are ever touched
            )
            work.rereads[group.begin] = fresh
            return lambda token: read(group, fresh, token)

        return Task(run, group.key, on_result, retry)

    if not item.groups:  # padding alone
        finish()
    return Job(work, [task(group) for group in item.groups])
