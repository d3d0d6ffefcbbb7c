"""`Application`: one process's share of applying a model to windows.

Guarantees
----------
- The model runs in the calling thread. A loader reads ahead of it, and one thread writes behind it.
- At most two parts are in memory: one that is being made, and one that is being written. The model
  waits where a part takes longer to write than the next takes to make.
- However it ends, the threads have been joined. Complete parts have been written; the part in the
  making is lost, and its range is open for the next run.
"""

from __future__ import annotations

import inspect
import math
import time
from collections import deque
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

import headrace
from headrace import adapters
from headrace._formatting import escape_controls, format_bytes, format_count
from headrace._progress import progress_bar
from headrace._validation import check_choice, check_count, check_whole_number, parse_bytes
from headrace.errors import InvalidWindowsError, MemoryBudgetError, ModelError, ResultsError
from headrace.failures import Code, Failure
from headrace.inference._background import Background
from headrace.inference._generations import Generations
from headrace.inference._leases import BEAT_S, Leases
from headrace.inference._manifest import Manifest, RunIdentity
from headrace.inference._model import Model, select_rows
from headrace.inference._outputs import Outputs, row_bytes
from headrace.inference._parts import FailedRun, Part
from headrace.inference._result_folder import open_folder
from headrace.inference._run import Run
from headrace.inference._window_columns import WindowColumns
from headrace.inference._work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace._progress import UpdateProgress
    from headrace.inference._parts import PartName
    from headrace.inference._result_folder import ResultFolder
    from headrace.inference._work import Claim, WorkSource
    from headrace.loading import Loader
    from headrace.observe import Stats
    from headrace.windows import Batch, Windows

__all__ = ["Application", "OnModelError"]

OnModelError = Literal["raise", "mask"]

_PART_WINDOWS: Final = 1 << 13
_PART_BYTES: Final = 64 << 20
_LEAST_PART: Final = 64
"""A part has at most so many windows and so many bytes. 8,192 windows of 3 s are some minutes of a
model on a processor, which is what a kill costs; ten million windows are 1,221 files."""

_PART_COPIES: Final = 4
"""Parts in memory, each at its full size: the one in the making, the one being written, and the
file that this is encoded to, for a moment twice."""

_MANY_WINDOWS: Final = 999_999_999_999
"""The most windows of a generation: names of parts have twelve digits."""


class Application:
    """One call of `Windows.apply`, its arguments checked: what is applied to what, and how.

    Parameters
    ----------
    windows, function, output
        As in `Windows.apply`, like all the others.

    Raises
    ------
    ResultsError, ModelError, InvalidWindowsError, ValueError, OSError
        As in `Windows.apply`.
    """

    def __init__(
        self,
        windows: Windows,
        function: Callable[[Any], object] | None,
        output: object,
        *,
        batch_size: int,
        name: str,
        model: Callable[[], Callable[[Any], object]] | None,
        device: object,
        columns: Sequence[str],
        float16: Sequence[str],
        on_error: OnModelError,
        pad_batches: bool,
        part_size: int | None,
        workers: int | Literal["auto"],
        prefetch: int | Literal["auto"],
        memory: str | int | None,
        stall_timeout_s: float | None,
    ) -> None:
        check_choice("on_error", on_error, get_args(OnModelError))
        self._batch_size = batch_size = check_whole_number("batch_size", batch_size, 1)
        part_size = check_count("part_size", part_size, 1, None)
        _check_function(function, model)
        if not isinstance(name, str) or not name.strip():
            raise ValueError('name must say which model this is, such as name="birdnet-2.4".')
        self._windows = windows = windows.unordered
        if not len(windows):
            raise InvalidWindowsError("there are no windows: the slice or filter is empty.")
        if len(windows) > _MANY_WINDOWS:
            raise InvalidWindowsError(f"a run has at most {_MANY_WINDOWS:,} windows.")
        self._function, self._factory, self._on_error = function, model, on_error
        self._pad_batches = bool(pad_batches)
        self._memory = memory
        self._window_columns = WindowColumns(windows, _as_names("columns", columns))
        self._folder = open_folder(output)
        existing = Manifest.read(self._folder)
        halves = _as_names("float16", float16)
        self._outputs = Outputs(
            self._window_columns.schema.names,
            halves,
            None if existing is None else existing.outputs,
        )
        self._loaders = _Loaders(
            windows, device, batch_size, workers, prefetch, stall_timeout_s=stall_timeout_s
        )
        self._identity = RunIdentity(
            name, windows.identity.to_json()["cut"], self._window_columns.columns, halves, part_size
        )
        self._model: Model | None = None
        self._leases = Leases(self._folder)
        if existing is not None:
            existing.check_same(self._folder, self._identity, self._window_columns.schema)

    def apply(self, *, retry_failed: bool | None, progress: bool | None) -> Run:
        """Open the run, make what is left to this process, and return the results."""
        self.open()
        work = self.work(retry_failed=retry_failed)
        stats = None
        try:
            first = work.claim()
            if first is not None:
                with progress_bar("Applying the model", progress) as update:
                    stats = self.make_parts(work, first, update)
        finally:
            self.release_leases()
        return self.run(stats)

    @property
    def exists(self) -> bool:
        """Whether the run exists, so that `open` need not try the model."""
        return Manifest.read(self._folder) is not None

    def open(self) -> None:
        """Create the run, or open it if it exists, and add what is new in the windows.

        If it does not exist, the model is made and tried on noise.
        """
        self._folder.prepare()
        manifest = Manifest.read(self._folder)
        if manifest is None:
            self._model = self._make_model()
            self._model.try_on_noise(self._batch_size)
            manifest = _make_manifest(
                self._identity, self._windows, self._window_columns, self._model, self._batch_size
            )
            manifest = manifest.create(self._folder)
        manifest.check_same(self._folder, self._identity, self._window_columns.schema)
        self._outputs.fields = manifest.outputs  # of another process, where it was first
        self._manifest = manifest
        # A batch is kept as it was, for calls one by one; and copied where rows are added to it.
        copies = (self._on_error == "mask") + self._pad_batches
        batch_bytes = (
            self._batch_size * math.prod(self._windows.shape) * self._windows.dtype.itemsize
        )
        taken = _PART_COPIES * manifest.part_size * row_bytes(manifest.schema)
        taken += copies * batch_bytes
        self._loaders.limit(self._memory, taken)
        self._generations = Generations.update(self._folder, self._windows)

    def work(self, *, retry_failed: bool | None) -> Work:
        """Return what is left of the run; after `open`."""
        return Work(
            self._folder,
            self._generations,
            self._manifest.part_size,
            self._leases,
            retry_failed=retry_failed,
        )

    def make_parts(self, work: WorkSource, first: Claim, update: UpdateProgress) -> Stats:
        """Make parts until `work` has no claim more; return the loader's statistics.

        Parameters
        ----------
        work : WorkSource
            Where the next claims come from.
        first : Claim
            The first part.
        update : callable
            Called with the windows that are done, and all windows.
        """
        share = _Share(self._folder, self._manifest, self._window_columns, self._leases, work)
        with Background(self._leases.beat, BEAT_S) as background:
            self._model = self._model or self._make_model()
            return share.make(first, self._model, self._loaders, background, update)

    def has_part(self, name: PartName) -> bool:
        """Return whether a part has been made."""
        return self._folder.exists(name.path)

    def describe(self, name: PartName) -> str:
        """Return which recordings a part is of, for people; after `open`."""
        ends = np.array([name.begin, name.stop - 1])
        first, last = map(escape_controls, self._generations.ids(name.generation, ends))
        count = format_count(name.stop - name.begin, "window")
        return f"{count} of {first}" if first == last else f"{count} of {first} to {last}"

    def release_leases(self) -> None:
        """Give up all leases; where that fails, they age."""
        with suppress(OSError):
            self._leases.release_all()

    def run(self, stats: Stats | None = None) -> Run:
        """Return the results so far; after `open`."""
        return Run(self._folder, self._manifest, self._generations, stats=stats)

    def _make_model(self) -> Model:
        self._loaders.check_device()
        called = self._function if self._factory is None else self._factory()
        if not callable(called):
            raise ModelError(
                f"the factory returned {type(called).__name__}: return a function of a batch."
            )
        return Model(
            called,
            self._outputs,
            self._windows,
            on_error=self._on_error,
            context=self._loaders.context,
            prepare=self._loaders.prepare,
            pad_to=self._batch_size if self._pad_batches else 1,
        )


def _make_manifest(
    identity: RunIdentity,
    windows: Windows,
    window_columns: WindowColumns,
    model: Model,
    batch_size: int,
) -> Manifest:
    """Return the manifest of a new run, after the model has been tried."""
    import pyarrow as pa

    fields = model.outputs.fields
    assert fields is not None
    schema = pa.schema([*window_columns.schema, *fields])
    return Manifest(
        name=identity.name,
        cut=identity.cut,
        fingerprint=windows.fingerprint,
        columns=identity.columns,
        float16=identity.float16,
        part_size=identity.part_size or _choose_part_size(row_bytes(schema), batch_size),
        schema=schema,
        model_columns=len(fields),
        version=headrace.__version__,
    )


class _Loaders:
    """Makes the loader, and what turns its batches into those of a device.

    Parameters
    ----------
    windows : Windows
        The windows, without order and shard.
    device : object
        A device of PyTorch, or None for NumPy arrays.
    batch_size, workers, prefetch, stall_timeout_s
        As in `Windows.loader`.
    """

    def __init__(
        self,
        windows: Windows,
        device: object,
        batch_size: int,
        workers: int | Literal["auto"],
        prefetch: int | Literal["auto"],
        *,
        stall_timeout_s: float | None,
    ) -> None:
        self._windows = windows
        self._device = device
        self._memory: int | None = None
        self._arguments: dict[str, Any] = {
            "batch_size": batch_size,
            "workers": workers,
            "prefetch": prefetch,
            "stall_timeout_s": stall_timeout_s,
            "on_error": "mask",
        }
        self.context: Callable[[], Any] = nullcontext
        self.prepare: Callable[[Batch], Any] = lambda batch: batch
        if device is not None:
            self.context = adapters.torch.inference_mode
            self.prepare = lambda batch: adapters.torch.as_tensors(batch, device)

    def check_device(self) -> None:
        """Raise `ValueError` if PyTorch cannot use the device here."""
        if self._device is not None:
            adapters.torch.check_device(self._device)

    def limit(self, memory: str | int | None, part_bytes: int) -> None:
        """Leave `part_bytes` of `memory` to the results; the loader may take the rest.

        Raises
        ------
        MemoryBudgetError
            Nothing is left.
        """
        if memory is None:
            return
        given = parse_bytes(memory)
        try:
            self._make_loader(max(1, given - part_bytes)).close()
        except MemoryBudgetError as error:
            needed = error.needed + part_bytes
            raise MemoryBudgetError(
                f"memory={format_bytes(given)} is too small: loading needs at least "
                f"{error.needed} bytes, and the results take {part_bytes}. Give "
                f'memory="{-(-needed >> 20)} MiB", or a new output with a smaller part_size.',
                needed=needed,
            ) from None
        self._memory = given - part_bytes

    def make(self) -> tuple[Loader[Batch], Any]:
        """Return a loader, and what its batches are taken from."""
        loader = self._make_loader(self._memory)
        if self._device is None:
            return loader, loader
        return loader, adapters.torch.TorchLoader(loader, device=self._device)

    def _make_loader(self, memory: int | None) -> Loader[Batch]:
        loader: Loader[Batch] = self._windows.loader(memory=memory, **self._arguments)
        return loader


class _Share:
    """What one process makes of a run."""

    def __init__(
        self,
        folder: ResultFolder,
        manifest: Manifest,
        window_columns: WindowColumns,
        leases: Leases,
        work: WorkSource,
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._window_columns = window_columns
        self._leases = leases
        self._work = work
        self._parts: deque[_PartInTheMaking] = deque()  # in the order of their windows
        self._unread: dict[int, Failure] = {}  # by place in the set
        self._writing: Future[None] | None = None
        self._began = 0.0  # when the part in the making was begun, by the monotonic clock

    def make(
        self,
        first: Claim,
        model: Model,
        loaders: _Loaders,
        background: Background,
        update: UpdateProgress,
    ) -> Stats:
        """Make parts until nothing is left to this process; return the loader's statistics."""
        loader, source = loaders.make()
        self._began = time.monotonic()
        done = self._work.done
        with loader:
            assert loader.batch_size is not None
            lists = self._lists(first, background, loader.batch_size)
            batches = source.take(lists, self._note_unread)
            try:
                for batch in batches:
                    done += self._add(batch, model)
                    del batch
                    update(min(done, self._work.total), self._work.total)
                    self._finish_parts(model, background)
            finally:
                batches.close()
            self._wait_for_writing()
            return loader.stats()

    def _lists(
        self, first: Claim, background: Background, batch_size: int
    ) -> Iterator[NDArray[np.int64]]:
        """Yield the places of each claim, in two lists.

        The next claim is looked for behind the model while the second list is loaded. Earlier, it
        would be kept from processes that have nothing left.
        """
        claim: Claim | None = first
        while claim is not None:
            part = _PartInTheMaking(claim)
            self._parts.append(part)
            batches = -(-len(part.places) // batch_size)
            cut = batches * 3 // 4 * batch_size
            yield part.places[:cut]
            upcoming = background.submit(self._work.claim)
            yield part.places[cut:]
            claim = upcoming.result()

    def _note_unread(self, failure: Failure) -> None:
        self._unread[failure.index] = failure

    def _add(self, batch: Any, model: Model) -> int:  # noqa: ANN401  any adapter's batch
        """Apply the model to a batch, and add what it returns to its part; return its windows."""
        part = self._parts[0]
        count = len(batch.file_id)
        places = part.next_places(count)
        unread = {
            row: self._unread.pop(place)
            for row, place in enumerate(places.tolist())
            if place in self._unread
        }
        readable = [row for row in range(count) if row not in unread]
        if unread and readable:
            batch = select_rows(batch, readable)
        failures = unread
        if readable:
            result = model(batch)
            failures |= {readable[row]: failure for row, failure in result.failures.items()}
            part.chunks += result.chunks
        part.add(places, failures)
        return count

    def _finish_parts(self, model: Model, background: Background) -> None:
        if self._writing is not None and self._writing.done():
            self._wait_for_writing()  # raises at once if a disk is full
        while self._parts and self._parts[0].complete:
            part = self._parts.popleft()
            part.end(model.outputs.take_loss(), self._began)
            self._began = time.monotonic()
            self._wait_for_writing()
            self._writing = background.submit(lambda part=part: self._write(part))  # type: ignore[misc]

    def _wait_for_writing(self) -> None:
        """Wait until the last part is written; raise what kept it from being written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, made: _PartInTheMaking) -> None:
        """Create a part; do nothing if another process has."""
        part = made.part
        if made.is_worth_writing():
            rows = self._rows(made)
            data = part.to_bytes(rows, headrace.__version__)
            del rows
            try:
                self._folder.create(part.name.path, data)
            except OSError as error:
                if isinstance(error, ResultsError):
                    raise
                message = (
                    f"a part of the results cannot be written to {self._folder.name!r} "
                    f"({error.strerror or error}). All parts before it are kept: make room or "
                    "correct the cause, and call apply again."
                )
                raise OSError(message) from error
        with suppress(OSError):  # a hint, which ages
            self._leases.release(part.name.stem)
        self._work.mark_done(part)

    def _rows(self, made: _PartInTheMaking) -> pa.Table:
        import pyarrow as pa

        table = self._window_columns.table(made.written_places())
        for field in self._manifest.outputs:
            arrays = [chunk.pop(field.name) for chunk in made.chunks]
            table = table.append_column(field, pa.chunked_array(arrays, field.type))
        return table


class _PartInTheMaking:
    """A claim, and what the model has returned for its windows so far.

    Attributes
    ----------
    places : ndarray of int64
        Places in the current set of the windows to load.
    chunks : list of dict of Arrow arrays
        What the model returned, in order.
    part : Part
        What the part says about itself; after `end`.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._present = claim.places >= 0
        self.places = claim.places[self._present]
        self._numbers = claim.windows[self._present]
        self._taken = 0
        self._written: list[NDArray[np.int64]] = []
        self._failed: list[tuple[int, Failure]] = [
            (int(number), replace(_VANISHED, file_id=file_id))
            for number, file_id in zip(claim.windows[~self._present], claim.absent, strict=True)
        ]
        self.chunks: list[dict[str, pa.Array]] = []
        self.part = Part(claim.name, 0)

    @property
    def complete(self) -> bool:
        """Whether all windows have been taken."""
        return self._taken == len(self.places)

    def next_places(self, count: int) -> NDArray[np.int64]:
        """Return the places of the next `count` windows."""
        return self.places[self._taken : self._taken + count]

    def add(self, places: NDArray[np.int64], failures: dict[int, Failure]) -> None:
        """Count windows as taken, and note which of them failed."""
        numbers = self._numbers[self._taken : self._taken + len(places)]
        self._taken += len(places)
        self._failed += [(int(numbers[row]), failures[row]) for row in sorted(failures)]
        self._written.append(np.delete(places, sorted(failures)) if failures else places)

    def end(self, loss: dict[str, float], began: float) -> None:
        """Make `part`, which was begun when the monotonic clock was at `began`."""
        failures = FailedRun.join(sorted(self._failed, key=lambda one: one[0]))
        failures += self._claim.kept
        self.part = Part(
            self._claim.name,
            sum(map(len, self._written)),
            sorted(failures, key=lambda run: run.begin),
            round(time.time() - (time.monotonic() - began), 3),
            round(time.monotonic() - began, 3),
            loss,
        )

    def written_places(self) -> NDArray[np.int64]:
        """Return the places of the windows that have a row."""
        return np.concatenate([*self._written, np.empty(0, np.int64)])

    def is_worth_writing(self) -> bool:
        """Return whether it says more than the range's last part."""
        before = self._claim.before
        if before is None or self.part.written:
            return True
        return _causes(self.part) != _causes(before)


_VANISHED: Final = Failure(
    "", "", Code.MISSING, "the recording is not among the windows of the last call", 0.0, 0.0, 1
)


def _causes(part: Part) -> list[tuple[int, str]]:
    return [(number, run.code) for run in part.failures for number in run.windows().tolist()]


def _check_function(function: object, model: object) -> None:
    if (function is None) == (model is None):
        raise ValueError(
            "give either a function of a batch, or model=, a factory that returns one: not "
            f"{'both' if function is not None else 'neither'}."
        )
    if not callable(function if model is None else model):
        raise ValueError(  # noqa: TRY004  an argument, as everywhere here
            f"{'function' if model is None else 'model'} must be callable, not "
            f"{type(function if model is None else model).__name__}."
        )
    if isinstance(function, type):
        raise ValueError(  # noqa: TRY004
            f"function is the class {function.__name__}: give model={function.__name__}, which is "
            "called once in each process, or an instance of it."
        )
    if callable(model) and not _takes_nothing(model):
        raise ValueError(
            "the factory needs arguments, but is called without any: give a function without "
            "parameters that returns the function of a batch. A function of a batch itself is "
            "given as function=, not as model=."
        )


def _takes_nothing(factory: Callable[..., object]) -> bool:
    try:
        inspect.signature(factory).bind()
    except TypeError:
        return False
    except ValueError:  # of a compiled function that does not say
        return True
    return True


def _as_names(argument: str, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise ValueError(f'{argument} must be names, as in ("{names}",), not one string.')  # noqa: TRY004
    return tuple(names)


def _choose_part_size(bytes_of_row: int, batch_size: int) -> int:
    """Return the windows of a part: whole batches, limited in number and in bytes."""
    windows = max(_LEAST_PART, min(_PART_WINDOWS, _PART_BYTES // bytes_of_row))
    return max(1, windows // batch_size) * batch_size
