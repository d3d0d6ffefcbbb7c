"""`Loader`: carries out a `Plan` with threads and memory.

Guarantees
----------
- **No leftovers.** Threads and open files belong to an iteration; between iterations a loader has
  none. An iteration's threads are joined and its files are closed when it is exhausted, closed or
  dropped, and when it is ended by an exception, by a newer iteration of the same loader, or by the
  interpreter's exit.
- **Threads.** A loader and its iterations are used by one thread at a time. `Loader.close` and
  `Loader.glance` may be called from any thread.
- **Independence.** Two loaders over the same `Windows` share only immutable values.
"""

from __future__ import annotations

import sys
import weakref
from contextlib import contextmanager
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

import numpy as np

from headrace._cpu_count import processors_per_rank
from headrace._validation import check_choice, check_count, check_stall_timeout, parse_bytes
from headrace.concurrency import Prefetcher, register_fork_listener
from headrace.errors import ClosedError, InvalidWindowsError, ReadError
from headrace.loading._batch_map import BatchMap
from headrace.loading._buffers import BufferPool
from headrace.loading._catalog_columns import CatalogColumns
from headrace.loading._fetching import FetchTotals, make_fetcher
from headrace.loading._ledger import Ledger, parse_max_failures
from headrace.loading._plan import Plan
from headrace.loading._reader import Reader
from headrace.loading._state import make_state, read_state
from headrace.loading._transforming_reader import read_function
from headrace.loading._work_items import limit_deliveries
from headrace.loading._work_results import WorkResult, make_job
from headrace.observe import Live, Meter, record_trace
from headrace.storage import check_cache

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Self

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.concurrency import Job
    from headrace.failures import Failure
    from headrace.loading._buffers import Allocate
    from headrace.loading._transforming_reader import ReadFunction
    from headrace.loading._work_items import WorkItem
    from headrace.observe import Stats
    from headrace.storage import Fetcher
    from headrace.windows import AudioExample, Batch, Function, Windows

__all__ = ["Loader"]

if TYPE_CHECKING:
    import typing_extensions  # of type checkers: they have it without the package

    Item_co = typing_extensions.TypeVar("Item_co", default=Any, covariant=True)
else:
    Item_co = TypeVar("Item_co", covariant=True)

Last = Literal["keep", "drop", "pad"]
OnError = Literal["raise", "skip", "mask"]


class Loader(Generic[Item_co]):
    """An iterable over windows that are loaded ahead, within a memory bound.

    Made by `Windows.loader`, which documents the parameters. (With ``log_losses=False``, failures
    are not logged.) Each ``iter()`` begins the next epoch, also after a ``break``. Only
    `load_state_dict` resumes within an epoch.

    For type checkers, ``Loader[Batch]`` yields batches, and ``Loader[AudioExample]`` examples.

    Attributes
    ----------
    windows : Windows
        The windows to load.
    batch_size : int or None
        Windows in a batch; None where single examples are delivered.
    last, on_error : str
        As given to `Windows.loader`.
    epoch : int
        The epoch of the newest iteration or, before the first one, the epoch it will have.
    failures : tuple of Failure
        Windows that could not be read, over all iterations. Neighbouring windows that failed with
        the same code are one `Failure`, which counts them.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        batch_size: int | None = None,
        workers: int | Literal["auto"] = "auto",
        prefetch: int | Literal["auto"] = "auto",
        memory: str | int | None = None,
        last: Last = "keep",
        on_error: OnError = "raise",
        max_failures: float | None = None,
        stall_timeout_s: float | None = None,
        batch_map: Function | None = None,
        columns: Sequence[str] = (),
        seed: int = 0,
        fetches: int | Literal["auto"] = "auto",
        cache: str | os.PathLike[str] | None = None,
        cache_size: str | int | None = None,
        log_losses: bool = True,
    ) -> None:
        check_choice("last", last, get_args(Last))
        check_choice("on_error", on_error, get_args(OnError))
        batch_size = check_count("batch_size", batch_size, 1, None)
        workers = check_count("workers", workers, 0, "auto")
        prefetch = check_count("prefetch", prefetch, 1, "auto")
        fetches = check_count("fetches", fetches, 1, "auto")
        if not len(windows):
            raise InvalidWindowsError("there are no windows to load: the slice or filter is empty.")
        if on_error == "skip":
            windows.share.check_skip_allowed()
        self.windows = windows
        self.batch_size = batch_size
        self.epoch = 0
        self.last = last
        self.on_error = on_error
        self._columns = CatalogColumns(windows.recordings, columns)
        checked_map = BatchMap.try_on_noise(batch_map, seed, windows, batch_size, self._columns)
        self._make_plan = partial(
            Plan,
            windows,
            batch_size=batch_size,
            workers=processors_per_rank() if workers == "auto" else workers,
            prefetch=prefetch,
            memory=None if memory is None else parse_bytes(memory),
            last=last,
            columns=self._columns,
            extra_batch_bytes=checked_map.extra_bytes if checked_map else 0,
        )
        self._plan = self._make_plan()
        self._plan.check_not_empty()
        # Refers to the windows and not to the loader: a worker must not keep the loader alive.
        self._build = partial(WorkResult.build_examples, windows=windows, columns=self._columns)
        self._buffers = None
        if batch_size is not None:
            self._build = partial(
                WorkResult.build_batch,
                windows=windows,
                on_error=on_error,
                pad=last == "pad",
                batch_map=checked_map,
                columns=self._columns,
            )
            shape = (batch_size, *windows.shape)
            self._buffers = BufferPool(shape, self._plan.max_deliveries, windows.dtype)
        self._stall_timeout_s = check_stall_timeout(stall_timeout_s, self._plan.workers)
        raises = on_error == "raise"
        self._make_fetcher = partial(
            make_fetcher,
            windows.recordings,
            fetches=fetches,
            stall_timeout_s=self._stall_timeout_s,
            cache=cache,
            cache_size=check_cache(cache, cache_size),
        )
        self._fetched = FetchTotals()
        self._ledger = Ledger(
            windows.recordings,
            raise_on_failure=raises,
            max_failures=parse_max_failures(max_failures, len(windows), raise_on_failure=raises),
        )
        self._meter = Meter()
        self._resume_at: tuple[int, int] | None = (0, 0)  # where the next iteration begins
        self._position = (0, 0)  # epoch, and position after the last delivery
        self._newest: weakref.ref[_Iteration] | None = None
        self._closed = False
        self._log_losses = log_losses

    @property
    def columns(self) -> tuple[str, ...]:
        """The catalog's columns that are delivered with the windows."""
        return self._columns.names

    @property
    def workers(self) -> int:
        """Number of threads that load. With 0, the calling thread loads."""
        return self._plan.workers

    @property
    def prefetch(self) -> int:
        """The most deliveries that are ready or being loaded; 0 without workers."""
        return self._plan.prefetch

    @property
    def memory_bound(self) -> int:
        """The most bytes that loading takes.

        (prefetch + 2) deliveries + workers x scratch + open decoders + tables. It depends neither
        on how slow the consumer is nor on how long the recordings are.

        Not included are the process itself, the catalog, and batches that you keep. Nor is
        what the loader records about the catalog's recordings: 8 bytes of counts for each, a cache
        of up to 2 MiB, and a few hundred bytes for each of `failures`.
        """
        return self._plan.memory_bound

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Windows that could not be read."""
        return self._ledger.failures

    def ledger(self) -> pa.Table:
        """Return the windows of each recording, delivered and failed, as an Arrow table.

        Counts all iterations of this loader. After a resume in a new process, what came before is
        not included: the table's metadata ``since_epoch`` and ``since_position`` say where counting
        began, as `Stats.since` does. There is a row for each recording of the catalog, in its
        order, with the columns ``id``, ``expected`` (windows that were due so far), ``delivered``,
        ``failed``, and one column with the number of failures for each `Code` that occurred. Always
        expected = delivered + failed.
        """
        return self._ledger.table()

    @property
    def ready(self) -> bool:
        """Whether the current iteration can deliver without waiting."""
        iteration = self._iteration()
        return iteration is not None and iteration.ready

    def lend(self, batches: int, allocate: Allocate | None = None) -> None:
        """Let an adapter hold more batches at a time.

        From now on `memory_bound` includes them. Where `memory` limits it, `prefetch` is lowered.

        Parameters
        ----------
        batches : int
            How many batches the adapter holds, in addition to the two of the consumer.
        allocate : callable, optional
            ``allocate(shape, dtype)`` returns the memory of a batch, for example in pinned memory.

        Raises
        ------
        MemoryBudgetError
            `memory` is too small for this many more batches.
        """
        if self._buffers is not None:
            self._plan = self._make_plan(lent_batches=batches)
            self._buffers.count = self._plan.max_deliveries
            self._buffers.allocate = allocate or self._buffers.allocate

    def stats(self) -> Stats:
        """Return the figures since the loader was made. May be called during an iteration."""
        kept = self._buffers.excess * self._buffers.buffer_bytes if self._buffers is not None else 0
        return self._stats(self._meter, kept)

    def glance(self) -> Stats:
        """Return the same figures as `stats`. May be called from any thread, at any time.

        A wait in progress is included. `Stats.kept_bytes` is 0.
        """
        return self._stats(self._meter.glance(), 0)

    def trace(self, file: str | os.PathLike[str]) -> AbstractContextManager[None]:
        """Write a timeline of what this loader does within a ``with`` block.

        The timeline shows the reads of each worker, with decoding, resampling, transforms and waits
        for the GIL, and the consumer's waits and work. Open it with https://ui.perfetto.dev or
        chrome://tracing. The file is written when the block ends, also by an exception. It holds
        the newest 50,000 reads and deliveries. They take about 60 MB in addition to `memory_bound`.

        Parameters
        ----------
        file : str or path
            The JSON file to write.

        Raises
        ------
        OSError
            The file cannot be written. Raised before anything is loaded.

        Examples
        --------
        >>> with loader.trace("trace.json"):  # doctest: +SKIP
        ...     for batch in loader:
        ...         ...
        """
        return record_trace(file, self._meter.traces, self.stats)

    @contextmanager
    def live(self, *, show: bool | None = None) -> Iterator[None]:
        """Show the progress of loading on a terminal within a ``with`` block.

        Two lines on standard error are updated twice a second: the progress of the epoch, windows
        per second, speed relative to real time, memory and its bound, failures, and whether the
        consumer or the loader waits. They disappear at the end of the block. Other output appears
        above them.

        Parameters
        ----------
        show : bool, optional
            Whether to show the lines. Default: if standard error is a terminal, and not in CI.
        """

        def position_and_stats() -> tuple[str, Stats]:
            epoch, position = self._position
            return f"epoch {epoch}, {position / self.windows.positions:.0%}", self.glance()

        with Live(show=show) as view:
            view.follow(position_and_stats)
            yield

    def _stats(self, meter: Meter, kept_bytes: int) -> Stats:
        running = self._iteration()
        if running is not None and running.reader is not None:
            meter.record_bytes(self._used_bytes(self._plan, running.reader))
        return meter.stats(
            windows=self._ledger.delivered,
            failed=self._ledger.failed,
            audio_s=self._ledger.delivered_samples / self.windows.spec.sample_rate,
            workers=self.workers,
            memory_bound=self.memory_bound,
            kept_bytes=kept_bytes,
            since=self._ledger.since,
            **self._fetched.totals(),
        )

    def _used_bytes(self, plan: Plan, reader: Reader) -> int:
        """Return the most bytes that an iteration has used so far, as `memory_bound` counts."""
        held = (
            plan.max_deliveries
            if self._buffers is None
            else min(self._buffers.peak, self._buffers.count)
        )
        return plan.nbytes(held, reader.most_open, self._fetched.most_held)

    def __len__(self) -> int:
        """Return the planned deliveries of an epoch: ``on_error="skip"`` may make fewer."""
        return self._plan.deliveries()

    def __repr__(self) -> str:
        what = "examples" if self.batch_size is None else f"batches of {self.batch_size}"
        return (
            f"<Loader: {len(self):,} {what} an epoch, workers={self.workers}, "
            f"prefetch={self.prefetch}, memory_bound={self.memory_bound:,} bytes, "
            f"epoch {self.epoch}>"
        )

    # Iterating

    def __iter__(self) -> Iterator[Item_co]:
        """Begin the next epoch, or resume within the one that `load_state_dict` restored.

        An unfinished iteration of this loader is ended: using it again raises `ClosedError`.
        """
        if self._resume_at is not None:
            (self.epoch, position), self._resume_at = self._resume_at, None
        else:
            self.epoch, position = self.epoch + 1, 0
        return self._begin(iter([(self.epoch, position)]), None)

    def steps(self, n: int | None) -> Iterator[Item_co]:
        """Yield `n` deliveries from after the last one, across epochs.

        Parameters
        ----------
        n : int or None
            Number of deliveries; None for no end.

        Yields
        ------
        AudioExample or Batch
        """
        n = check_count("n", n, 0, None)
        epoch, position = self._resume_at or self._position
        self.epoch, self._resume_at = epoch, None
        spans = ((e, position if e == epoch else 0) for e in count(epoch))
        return self._begin(spans, n)

    def take(
        self,
        indices: Iterable[NDArray[np.int64]],
        on_failure: Callable[[Failure], None] | None = None,
    ) -> Iterator[Item_co]:
        """Yield the deliveries of windows that are named list by list, while others are loaded.

        A list is taken from `indices` when there is room to load more. So the next list may depend
        on what has happened meanwhile. No batch has windows of two lists. The order and the shard
        of the windows do not matter. Afterwards, the loader's state is the beginning of epoch 0.

        Parameters
        ----------
        indices : iterable of ndarray of int64
            Places in the unshuffled set.
        on_failure : callable, optional
            Called with the `Failure` of each window that could not be read, before the delivery
            that the window would be in.

        Yields
        ------
        AudioExample or Batch
        """
        self._check_open()
        self._position = self._resume_at = (0, 0)
        return self._start(
            lambda plan: plan.work_items_at(indices), None, on_failure, may_look_ahead=False
        )

    def _begin(self, spans: Iterator[tuple[int, int]], n: int | None) -> Iterator[Any]:
        """Begin to deliver `spans`: an epoch, and the position in it to begin at."""
        self._check_open()
        self._position = first = next(spans)
        all_spans = chain([first], spans)

        def items(plan: Plan) -> Iterator[WorkItem]:
            return (item for span in all_spans for item in plan.work_items(*span))

        return self._start(items, n)

    def _check_open(self) -> None:
        """End the running iteration; raise `ClosedError` if the loader is closed."""
        if self._closed:
            raise ClosedError("the loader is closed. Make a new one with windows.loader(...).")
        self._end_iteration()

    def _start(
        self,
        items_of: Callable[[Plan], Iterator[WorkItem]],
        n: int | None,
        on_failure: Callable[[Failure], None] | None = None,
        *,
        may_look_ahead: bool = True,
    ) -> Iterator[Any]:
        iteration = _Iteration()
        self._newest = weakref.ref(iteration)
        return self._deliver(iteration, items_of, n, on_failure, may_look_ahead=may_look_ahead)

    def _deliver(
        self,
        iteration: _Iteration,
        items_of: Callable[[Plan], Iterator[WorkItem]],
        n: int | None,
        on_failure: Callable[[Failure], None] | None,
        *,
        may_look_ahead: bool,
    ) -> Iterator[Any]:
        """Yield up to `n` deliveries of work items, and own the iteration's threads and files."""
        iteration.raise_if_ended()
        if n == 0:
            return
        plan = self._plan
        self.windows.recordings.keep_more(plan.kept_bytes)
        iteration.fetcher = fetcher = self._make_fetcher(plan)
        iteration.reader = reader = Reader(plan, fetcher=fetcher)
        self._fetched.begin(fetcher)
        read = read_function(reader, self.windows, tolerant=self.on_error != "raise")
        items = items_of(plan)
        if n is not None and self.on_error != "skip":  # with "skip", an item may deliver less
            items = limit_deliveries(items, n, single_examples=self.batch_size is None)
        items = reader.announced(items, may_look_ahead=may_look_ahead)
        iteration.prefetcher = prefetcher = Prefetcher(
            (self._job(item, read, reader) for item in items),
            workers=plan.workers,
            depth=plan.depth,
            stall_timeout_s=self._stall_timeout_s,
            on_close=(lambda: None) if fetcher is None else fetcher.interrupt,
        )
        self._meter.start()
        left = n
        undelivered, most_undelivered = 0, 2 * len(self.windows)
        try:
            for result in self._meter.deliveries(prefetcher):
                self._fetched.warn_of_problem()
                for delivery in self._deliveries(result, on_failure):
                    undelivered = 0
                    yield delivery.pop()  # this frame keeps no reference to the batch
                    iteration.raise_if_ended()
                    if left is not None:
                        left -= 1
                        if left == 0:
                            return
                undelivered += len(result.item.rows.index)
                if undelivered >= most_undelivered:  # steps() would never end
                    assert self._ledger.last_failure is not None
                    raise ReadError(self._ledger.last_failure)
        finally:
            # At the interpreter's exit the threads have ended already, and modules are emptied.
            if not iteration.interpreter_ends():
                iteration.close()
                self._meter.record_bytes(self._used_bytes(plan, reader))
                if self._iteration() is iteration:
                    self._meter.stop()
                    self._newest = None

    def _job(self, item: WorkItem, read: ReadFunction, reader: Reader) -> Job[WorkResult]:
        """Return the job that loads a work item, with the memory that it is loaded into."""
        if self._buffers is not None:
            buffer = self._buffers.lease()
            return make_job(item, buffer, read, reader.exclude_stalled, self._build)
        shape, dtype = self.windows.shape, self.windows.dtype
        rows = [np.empty(shape, dtype) for _ in range(item.row_count)]  # each owns its memory
        return make_job(item, rows, read, reader.exclude_stalled, self._build)

    def _deliveries(
        self, result: WorkResult, on_failure: Callable[[Failure], None] | None
    ) -> Iterator[list[AudioExample | Batch]]:
        """Yield the examples or the batch of a work item, and count each when it is delivered.

        Each delivery is the only element of a list. The caller takes it out, so that only the
        consumer refers to it.
        """
        item = result.item
        if on_failure is not None:
            for row in sorted(result.failures):
                on_failure(result.failures[row])
        logged = self._log_losses and on_failure is None
        self.epoch = item.epoch
        if self.batch_size is None:
            yield from self._examples(result, logged=logged)
        else:
            yield from self._batch(result, logged=logged)
        if item.ends_epoch:
            self._ledger.report_losses()

    def _batch(self, result: WorkResult, *, logged: bool) -> Iterator[list[AudioExample | Batch]]:
        """Yield the batch of a work item, unless it is empty: see `_deliveries`."""
        item = result.item
        for row, failure in sorted(result.failures.items()):
            recording = int(item.rows.recording[row])
            self._ledger.count_failed(item.epoch, recording, failure, logged=logged)
        self._position = item.resume_at
        assert result.batch is not None
        batch: list[AudioExample | Batch] = [result.batch]
        result.batch = None
        self._ledger.count_delivered(result.delivered, result.delivered_samples)
        if len(batch[0].audio):
            yield batch

    def _examples(
        self, result: WorkResult, *, logged: bool
    ) -> Iterator[list[AudioExample | Batch]]:
        """Yield the single examples of a work item as `_deliveries` does."""
        item, failures = result.item, result.failures
        recordings, samples = item.rows.recording.tolist(), item.rows.valid.tolist()
        for row in range(item.row_count):
            if row in failures:
                self._ledger.count_failed(item.epoch, recordings[row], failures[row], logged=logged)
            left = item.row_count - 1 - row
            self._position = (item.epoch, item.stop - left * item.step) if left else item.resume_at
            delivery: list[AudioExample | Batch] = [result.examples.pop()]
            if row not in failures:
                if row < len(recordings):
                    self._ledger.count_one_delivered(recordings[row], samples[row])
                yield delivery
            elif self.on_error == "mask":
                yield delivery

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return a small dict that can be stored as JSON, to resume after the last delivery."""
        return make_state(self.windows, *(self._resume_at or self._position))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration resume from `state`, from any loader of the same windows.

        The number of workers, the prefetch, the batch size and the files' folder may differ. With
        `Windows.shard`, the state of any rank resumes every rank, also with another world size.

        Raises
        ------
        StateError
            `state` is not a loader's state, or belongs to other windows.
        """
        resume_at = read_state(self.windows, state)
        self._end_iteration()
        self._resume_at = self._position = resume_at
        self.epoch = resume_at[0]
        self._ledger.resume(*resume_at)

    def close(self) -> None:
        """End the current iteration and join its threads. May be called again."""
        self._closed = True
        self._end_iteration()
        self._ledger.report_losses()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_iteration(self) -> None:
        self._meter.stop()
        iteration, self._newest = self._iteration(), None
        if iteration is not None:
            iteration.close()

    def _iteration(self) -> _Iteration | None:
        newest = self._newest  # read once: another thread may be ending the iteration
        return None if newest is None else newest()


class _Iteration:
    """The threads and files of one iteration, from its first use on.

    Attributes
    ----------
    prefetcher : Prefetcher or None
        The iteration's threads.
    reader : Reader or None
        The iteration's open files.
    interpreter_ends : callable
        `sys.is_finalizing`. It is kept here because `sys` is gone when its answer is True.
    fetcher : Fetcher or None
        What fetches objects of a store.
    """

    def __init__(self) -> None:
        self.prefetcher: Prefetcher[WorkResult] | None = None
        self.reader: Reader | None = None
        self.fetcher: Fetcher | None = None
        self.interpreter_ends = sys.is_finalizing
        self._ended = False
        self._forked = False
        register_fork_listener(self)

    def after_fork_in_child(self) -> None:
        """End this copy of the iteration: its threads exist only in the parent process."""
        self._ended = self._forked = True

    @property
    def ready(self) -> bool:
        """Whether the next delivery is ready."""
        return self.prefetcher is not None and self.prefetcher.ready

    def close(self) -> None:
        """Join the threads and close the files. May be called again."""
        self._ended = True
        if self.prefetcher is not None:
            self.prefetcher.close()
        # In a forked child, a thread of the parent may have held the reader's lock for ever.
        if self.reader is not None and not self._forked:
            self.reader.close()
        if self.fetcher is not None and not self._forked:
            self.fetcher.close()

    def raise_if_ended(self) -> None:
        """Raise `ClosedError` if the iteration has ended."""
        if self._ended:
            raise ClosedError(
                "this iteration was closed, was ended by a newer iteration over the same loader, "
                "or began in the process that this one was forked from. Iterate over the loader "
                "again, or make a loader for each loop."
            )
