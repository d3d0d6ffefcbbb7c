"""`Loader`: how to load. The only place where plan, threads and memory meet.

Guarantees
----------
- Between iterations a loader has no thread and no open file: both belong to the iteration. An
  iteration's threads are joined and its files closed when it is exhausted, closed, dropped, or
  ended by an exception, by a newer iteration of the same loader, or by the interpreter's exit.
- A loader and its iterations are used by one thread at a time; `close` and `glance` may be called
  from any.
- Two loaders over the same `Windows` share nothing but immutable values.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from headrace._processors import processors_per_rank
from headrace._sizes import parse_bytes
from headrace._validation import check_choice, check_count, check_stall_timeout
from headrace.concurrency import Prefetcher, notify_forked_children
from headrace.errors import ClosedError, InvalidWindowsError, ReadError
from headrace.loading._batch_map import BatchMap
from headrace.loading._buffers import BufferPool
from headrace.loading._collate import examples_of
from headrace.loading._ledger import Ledger, limit
from headrace.loading._plan import Plan
from headrace.loading._reader import Reader
from headrace.loading._state import make_state, read_state
from headrace.loading._transforming import reading
from headrace.loading._work import limit_deliveries
from headrace.loading._work_results import WorkResult, job_of
from headrace.observe import Live, Meter, record_trace

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import Self

    import pyarrow as pa

    from headrace.concurrency import Job
    from headrace.failures import Failure
    from headrace.loading._buffers import Allocate
    from headrace.loading._reader import GroupResult
    from headrace.loading._work import WorkItem
    from headrace.observe import Stats
    from headrace.windows import AudioExample, Batch, Function, Windows

__all__ = ["Loader"]

Last = Literal["keep", "drop", "pad"]
OnError = Literal["raise", "skip", "mask"]


class Loader:
    """An iterable over windows that are loaded ahead of their turn, within a memory bound.

    Made by `Windows.loader`, which tells what the parameters mean. Each ``iter()`` is the next
    epoch, after a ``break`` too; only `load_state_dict` resumes inside one.

    Attributes
    ----------
    windows : Windows
        What is loaded.
    batch_size : int or None
        Windows in a batch; None where single examples are delivered.
    last, on_error : str
        As they were given.
    epoch : int
        The epoch of the newest iteration; before the first, the one that it will be.
    failures : tuple of Failure
        Windows that could not be read, over all iterations; neighbours that were lost for one cause
        are one `Failure`, which says how many.
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
        seed: int = 0,
    ) -> None:
        check_choice("last", last, get_args(Last))
        check_choice("on_error", on_error, get_args(OnError))
        batch_size = check_count("batch_size", batch_size, 1, None)
        workers = check_count("workers", workers, 0, "auto")
        prefetch = check_count("prefetch", prefetch, 1, "auto")
        if not len(windows):
            raise InvalidWindowsError(
                "there are no windows to load: the slice or filter left none."
            )
        if on_error == "skip":
            windows.share.check_skip_allowed()
        self.windows = windows
        self.batch_size = batch_size
        self.epoch = 0
        self.last = last
        self.on_error = on_error
        mapped = BatchMap.given(batch_map, seed, windows, batch_size)
        self._planned = partial(
            Plan,
            windows,
            batch_size=batch_size,
            workers=processors_per_rank() if workers == "auto" else workers,
            prefetch=prefetch,
            memory=None if memory is None else parse_bytes(memory),
            last=last,
            batch_bytes=mapped.extra_bytes if mapped else 0,
        )
        self._plan = self._planned()
        self._plan.refuse_nothing()
        # Refers to the windows and not to the loader, which a worker must not keep alive.
        self._assemble = partial(
            WorkResult.assemble,
            windows=windows,
            on_error=on_error,
            pad=last == "pad",
            batch_map=mapped,
        )
        self._slabs = None
        if batch_size is not None:
            shape = (batch_size, *windows.shape)
            self._slabs = BufferPool(shape, self._plan.held, windows.dtype)
        raises = on_error == "raise"
        self._stall_s = check_stall_timeout(stall_timeout_s, self._plan.workers)
        most = limit(max_failures, len(windows), raises=raises)
        self._ledger = Ledger(windows.recordings, raises=raises, most=most)
        self._meter = Meter()
        self._resume: tuple[int, int] | None = (0, 0)
        self._state = (0, 0)  # epoch and position of what follows the last delivery
        self._running: weakref.ref[_Iteration] | None = None
        self._closed = False

    @property
    def workers(self) -> int:
        """Threads that load; 0: the caller's."""
        return self._plan.workers

    @property
    def prefetch(self) -> int:
        """Deliveries that are ready or being made, at most; 0 without workers."""
        return self._plan.prefetch

    @property
    def memory_bound(self) -> int:
        """Bytes that loading takes at most, beside the process, the catalog, and what you keep.

        (prefetch + 2) deliveries + workers x scratch + open decoders + tables. It depends neither
        on how slow the consumer is nor on how long the recordings are. With the catalog goes what
        is noted of its recordings: 8 bytes of counts each, up to 2 MiB of names and places, and
        a few hundred bytes for each of `failures`.
        """
        return self._plan.memory_bound

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Windows that could not be read."""
        return self._ledger.failures

    def ledger(self) -> pa.Table:
        """Return what became of every recording's windows, over all iterations, as an Arrow table.

        A row for each recording of the catalog, in its order: ``id``, ``expected`` (windows whose
        turn has come), ``delivered``, ``failed``, and how many of these for each `Code` that
        occurred. Always expected = delivered + failed.
        """
        return self._ledger.table()

    @property
    def ready(self) -> bool:
        """Whether the iteration under way has its next batch, and need not wait for it."""
        running = self._iteration()
        return running is not None and running.ready

    def lend(self, batches: int, allocate: Allocate | None = None) -> None:
        """Let an adapter keep so many batches more, in memory that `allocate` returns for a shape.

        They count in `memory_bound` from now on; where `memory` limits it, `prefetch` is lowered.

        Raises
        ------
        MemoryBudgetError
            `memory` is less than the smallest loader needs that keeps so many more.
        """
        if self._slabs is not None:
            self._plan = self._planned(lent=batches)
            self._slabs.count = self._plan.held
            self._slabs.allocate = allocate or self._slabs.allocate

    def stats(self) -> Stats:
        """Return what has been done since the loader was made; also during an iteration."""
        kept = self._slabs.kept * self._slabs.slab_bytes if self._slabs is not None else 0
        return self._stats(self._meter, kept)

    def glance(self) -> Stats:
        """Return the same for another thread than the loader's, at any time.

        A wait that is under way is in it; what the consumer keeps is not.
        """
        return self._stats(self._meter.glance(), 0)

    def trace(self, file: str | os.PathLike[str]) -> AbstractContextManager[None]:
        """Write a timeline of what this loader does inside a ``with``.

        It shows the reads of each worker, with decoding, resampling, transforms and waits for the
        GIL, and the consumer's waits and work. https://ui.perfetto.dev and chrome://tracing open
        it. The file is written when the ``with`` ends, in whatever way; of a long run it has the
        newest 50,000 reads and deliveries, which take some 60 MB beside `memory_bound`.

        Parameters
        ----------
        file : str or path
            The file to write, JSON.

        Raises
        ------
        OSError
            It cannot be written: told before anything is loaded.

        Examples
        --------
        >>> with loader.trace("trace.json"):  # doctest: +SKIP
        ...     for batch in loader:
        ...         ...
        """
        return record_trace(file, self._meter.traces, self.stats)

    @contextmanager
    def live(self, *, show: bool | None = None) -> Iterator[None]:
        """Show how loading goes, on a terminal, inside a ``with``.

        Two lines on standard error, renewed twice a second: how far the epoch is, windows per
        second, times real time, memory against its bound, failures, and who waits for whom. They
        go away at the end; what is printed meanwhile stands above them.

        Parameters
        ----------
        show : bool, optional
            Whether it is shown; default if standard error is a terminal, and not in CI.
        """

        def look() -> tuple[str, Stats]:
            epoch, position = self._state
            return f"epoch {epoch}, {position / self.windows.positions:.0%}", self.glance()

        with Live(show=show) as view:
            view.follow(look)
            yield

    def _stats(self, meter: Meter, kept_bytes: int) -> Stats:
        running = self._iteration()
        if running is not None and running.reader is not None:
            meter.note_bytes(self._used_bytes(self._plan, running.reader))
        spec, delivered = self.windows.spec, self._ledger.delivered
        return meter.stats(
            windows=delivered,
            failed=self._ledger.failed,
            audio_s=delivered * spec.size / spec.sample_rate,
            workers=self.workers,
            memory_bound=self.memory_bound,
            kept_bytes=kept_bytes,
        )

    def _used_bytes(self, plan: Plan, reader: Reader) -> int:
        """Return the most bytes that an iteration has used so far, as `memory_bound` counts."""
        held = plan.held if self._slabs is None else min(self._slabs.peak, self._slabs.count)
        return plan.nbytes(held, reader.most_open)

    def __len__(self) -> int:
        """Return the planned deliveries of an epoch; ``on_error="skip"`` may make fewer."""
        return self._plan.deliveries()

    def __repr__(self) -> str:
        what = "examples" if self.batch_size is None else f"batches of {self.batch_size}"
        return (
            f"<Loader: {len(self):,} {what} an epoch, workers={self.workers}, "
            f"prefetch={self.prefetch}, memory_bound={self.memory_bound:,} bytes, "
            f"epoch {self.epoch}>"
        )

    # Iterating

    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch, or go on inside the one that `load_state_dict` restored.

        An iteration of this loader that is still under way ends: its next use raises `ClosedError`.
        """
        if self._resume is not None:
            (self.epoch, position), self._resume = self._resume, None
        else:
            self.epoch, position = self.epoch + 1, 0
        return self._begin(iter([(self.epoch, position)]), None)

    def steps(self, n: int | None) -> Iterator[Any]:
        """Yield `n` deliveries from where the last one left off, across epochs.

        Parameters
        ----------
        n : int or None
            How many; None: without end.

        Yields
        ------
        AudioExample or Batch
        """
        n = check_count("n", n, 0, None)
        epoch, position = self._resume or self._state
        self.epoch, self._resume = epoch, None
        spans = ((e, position if e == epoch else 0) for e in count(epoch))
        return self._begin(spans, n)

    def _begin(self, spans: Iterator[tuple[int, int]], n: int | None) -> Iterator[Any]:
        if self._closed:
            raise ClosedError("the loader is closed: make another with windows.loader(...).")
        self._end_running()
        self._state = next_state = next(spans)
        iteration = _Iteration()
        self._running = weakref.ref(iteration)
        return self._deliver(iteration, chain([next_state], spans), n)

    def _deliver(
        self, iteration: _Iteration, spans: Iterator[tuple[int, int]], n: int | None
    ) -> Iterator[Any]:
        """Yield up to `n` deliveries of `spans`; owns the iteration's threads and files."""
        iteration.refuse_ended()
        if n == 0:
            return
        plan = self._plan
        iteration.reader = reader = Reader(plan)
        read = reading(reader, self.windows, lenient=self.on_error != "raise")
        units: Iterator[WorkItem]
        units = (unit for epoch, position in spans for unit in plan.units(epoch, position))
        if n is not None and self.on_error != "skip":  # then a unit may deliver less
            units = limit_deliveries(units, n, each=self.batch_size is None)
        iteration.prefetcher = prefetcher = Prefetcher(
            (self._job(read(unit.epoch), reader.give_up, unit) for unit in units),
            workers=plan.workers,
            depth=plan.depth,
            stall_s=self._stall_s,
        )
        self._meter.start()
        left = n
        lost = 0
        try:
            for made in self._meter.deliveries(prefetcher):
                for box in self._deliveries(made):
                    lost = 0
                    yield box.pop()  # leaving no reference here: the slab is the consumer's
                    iteration.refuse_ended()
                    if left is not None:
                        left -= 1
                        if left == 0:
                            return
                lost += len(made.unit.rows.index)
                if lost >= 2 * len(self.windows):  # steps() would go round for ever
                    assert self._ledger.last is not None
                    raise ReadError(self._ledger.last)
        finally:
            iteration.close()
            self._meter.note_bytes(self._used_bytes(plan, reader))
            if self._iteration() is iteration:
                self._meter.stop()
                self._running = None

    def _job(
        self, read: Callable[..., GroupResult], give_up: Callable[..., None], unit: WorkItem
    ) -> Job[WorkResult]:
        """Give a unit its memory, and each of its groups to a task."""
        if self._slabs is not None:
            return job_of(read, unit, self._slabs.lease(), give_up, self._assemble)
        # Single examples own their memory, each its own.
        shape, dtype = self.windows.shape, self.windows.dtype
        rows = [np.empty(shape, dtype) for _ in range(unit.count)]
        return job_of(read, unit, rows, give_up)

    def _deliveries(self, made: WorkResult) -> Iterator[list[AudioExample | Batch]]:
        """Turn what was made into what is delivered, each alone in a list; count at delivery."""
        unit = made.unit
        failures = made.failures
        self.epoch = unit.epoch
        if self.batch_size is None:
            examples = examples_of(self.windows, unit.rows, made.names(), made.let_go(), failures)
            for row, example in enumerate(examples):
                if row in failures:
                    self._ledger.lose(unit.epoch, int(unit.rows.recording[row]), failures[row])
                left = unit.count - 1 - row
                self._state = (unit.epoch, unit.stop - left * unit.step) if left else unit.after
                if row not in failures or self.on_error == "mask":
                    if row not in failures and row < len(unit.rows.index):
                        self._ledger.deliver_one(int(unit.rows.recording[row]))
                    yield [example]
            return
        recording = unit.rows.recording
        for row in sorted(failures):
            self._ledger.lose(unit.epoch, int(recording[row]), failures[row])
        self._state = unit.after
        assert made.batch is not None
        box: list[AudioExample | Batch] = [made.batch]
        made.batch = None  # from here on the consumer alone refers to the slab
        self._ledger.deliver(np.delete(recording, sorted(failures)) if failures else recording)
        if len(box[0].audio):
            yield box

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return from where what follows the last delivery resumes: a small JSON-able dict."""
        return make_state(self.windows, *(self._resume or self._state))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration go on from `state`, which any loader of these windows gave.

        It survives another number of workers, prefetch, batch size and place of the files. With
        `Windows.shard`, any rank's state resumes every rank, of another number of ranks too.

        Raises
        ------
        StateError
            It is no such state, or it belongs to other windows.
        """
        place = read_state(self.windows, state)
        self._end_running()
        self._resume = self._state = place
        self.epoch = place[0]
        self._ledger.begin_again()

    def close(self) -> None:
        """End the iteration under way, joining its threads; again does nothing."""
        self._closed = True
        self._end_running()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end_running(self) -> None:
        self._meter.stop()
        running, self._running = self._iteration(), None
        if running is not None:
            running.close()

    def _iteration(self) -> _Iteration | None:
        running = self._running  # once: another thread may be ending it
        return None if running is None else running()


class _Iteration:
    """What one iteration owns, from its first use on.

    Attributes
    ----------
    prefetcher : Prefetcher or None
        Its threads.
    reader : Reader or None
        Its open files.
    """

    def __init__(self) -> None:
        self.prefetcher: Prefetcher[WorkResult] | None = None
        self.reader: Reader | None = None
        self._ended = False
        self._forked = False
        notify_forked_children(self)

    def forked(self) -> None:
        """Note that this is the copy in a forked child, whose threads are the parent's."""
        self._ended = self._forked = True

    @property
    def ready(self) -> bool:
        """Whether the next delivery is there."""
        return self.prefetcher is not None and self.prefetcher.ready

    def close(self) -> None:
        """Join the threads, close the files; again does nothing."""
        self._ended = True
        if self.prefetcher is not None:
            self.prefetcher.close()
        if self.reader is not None and not self._forked:  # a thread may have held its lock
            self.reader.close()

    def refuse_ended(self) -> None:
        """Raise `ClosedError` after `close`."""
        if self._ended:
            raise ClosedError(
                "this iteration was closed, ended by a newer one over the same loader, or begun in "
                "the process that this one was forked from: iterate over the loader again, or make "
                "a loader for each loop."
            )
