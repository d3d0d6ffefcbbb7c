"""`DeviceLoader`: transfers a loader's batches to a device a few batches before they are used.

Guarantees
----------
- The state is that of the last batch handed out, however many more have been taken from the
  loader.
- The source of a transfer is kept until the transfer is done (`Transfer.done`), also when the
  iteration ends or a new one begins. At most ``ahead + 1`` transfers are under way at once.
- A transferred batch never waits for the loader: while there is one, more batches are taken from
  the loader only if they are ready.
- An error of the loader is raised after the batches that precede it.
- An iteration begins when its first batch is requested. Until then nothing is loaded, and the
  iteration follows any `load_state_dict` or `set_epoch`.
- There is no thread here: everything runs in the thread that requests a batch, one at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from dataclasses import fields as fields_of
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, cast

from headrace._formatting import brief
from headrace._validation import check_whole_number
from headrace.errors import InvalidWindowsError
from headrace.loading import make_state, read_state
from headrace.windows import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from headrace.failures import Failure
    from headrace.loading import Allocate, Loader

__all__ = [
    "DEVICE_FIELDS",
    "CompletedTransfer",
    "DeviceLoader",
    "Item",
    "Transfer",
    "check_fields",
    "select_fields",
]

DEVICE_FIELDS = ("audio", "labels", "label_mask", "valid")
"""The fields of a batch that a model needs. The others identify the windows. They stay NumPy
arrays, because not every device supports their 64-bit numbers."""

if TYPE_CHECKING:
    import typing_extensions  # of type checkers: they have it without the package

    Item = typing_extensions.TypeVar("Item", default=Any)
else:
    Item = TypeVar("Item")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_BATCH_FIELDS = tuple(field.name for field in fields_of(Batch))


def check_fields(fields: Sequence[str] | None, known: Sequence[str], owner: str) -> tuple[str, ...]:
    """Return `fields` as a checked tuple; for None, all `known` fields.

    Parameters
    ----------
    fields : sequence of str or None
        The user's argument; None: all.
    known : sequence of str
        The fields that exist.
    owner : str
        ``"a batch"`` or ``"an example"``: what has the fields.

    Raises
    ------
    ValueError
        `fields` is a string, or one of them is not known.
    """
    if isinstance(fields, str):
        raise ValueError(f'fields must be names, as in ("{fields}",), not one string.')  # noqa: TRY004
    if unknown := [name for name in fields or () if name not in known]:
        raise ValueError(f"{owner} has no {brief(unknown[0])}: fields are {', '.join(known)}.")
    return tuple(known if fields is None else fields)


def select_fields(
    record: object, fields: Sequence[str], *, required: bool, owners: str
) -> dict[str, Any]:
    """Return the values of a record's fields, by name.

    Parameters
    ----------
    record : Batch or AudioExample
        Has the fields.
    fields : sequence of str
        Their names.
    required : bool
        Whether None is an error, because the user asked for these fields.
    owners : str
        ``"these batches"`` or ``"these examples"``.

    Raises
    ------
    ValueError
        A required field is None.
    """
    values = {name: getattr(record, name) for name in fields}
    if required and (missing := [name for name, value in values.items() if value is None]):
        raise ValueError(
            f"{owners} have no {missing[0]}: leave it out of fields, or label the windows."
        )
    return values


class Transfer(Protocol[T_co]):
    """The transfer of one batch to a device."""

    @property
    def done(self) -> bool:
        """Whether the transfer no longer reads its source."""

    def wait(self) -> None:
        """Wait until the transfer is done, and drop the reference to its source."""

    def result(self) -> T_co:
        """Return the transferred batch; called once, when the batch is handed out.

        The transfer may still be under way if the device itself waits for it.
        """


class CompletedTransfer(Generic[T]):
    """The transfer of a batch that holds all references that it needs, so nothing is under way."""

    done = True

    def __init__(self, batch: T) -> None:
        self._batch = batch

    def wait(self) -> None:
        """Do nothing."""

    def result(self) -> T:
        """Return the batch."""
        return self._batch


@dataclass(frozen=True, slots=True)
class _Pending(Generic[T]):
    """A transfer whose batch has not been handed out.

    Attributes
    ----------
    transfer : Transfer
        The transfer.
    state : mapping
        The state of the loader after this batch.
    epoch : int
        The epoch of the batch.
    """

    transfer: Transfer[T]
    state: Mapping[str, Any]
    epoch: int


class DeviceLoader(ABC, Generic[T]):
    """A loader's batches in a framework's form, a few of them transferred before they are used.

    Each ``iter()`` is the next epoch, also after a ``break``; only `load_state_dict` resumes inside
    an epoch.

    Parameters
    ----------
    loader : Loader
        With a `batch_size`. Nothing else may use it meanwhile.
    fields : sequence of str or None
        Attributes of `Batch`: batches are tuples of these.
    ahead : int
        How many more batches are transferred while one is in use. The loader's `memory_bound`
        counts them.
    allocate : callable, optional
        Allocates the memory in which the loader assembles batches: see `Loader.lend`.

    Raises
    ------
    ValueError
        The loader yields single examples, a field is not one of a batch, or `ahead` is not a whole
        number from 0.
    MemoryBudgetError
        The loader's `memory` has no room for `ahead` more batches.
    """

    _distributed: ClassVar[str] = ""
    """The framework's module for several ranks, for `_world_size` over 1."""

    def __init__(
        self,
        loader: Loader[Batch],
        fields: Sequence[str] | None,
        ahead: int,
        allocate: Allocate | None = None,
    ) -> None:
        if loader.batch_size is None:
            raise ValueError(
                "this loader yields single examples: make one that yields batches with "
                "windows.loader(batch_size=...)."
            )
        self.loader = loader
        self.fields = None if fields is None else tuple(fields)
        self._fields = check_fields(fields, _BATCH_FIELDS, "a batch")
        if fields is not None and "columns" in self._fields and not loader.columns:
            raise ValueError(
                "these batches have no columns: leave them out of fields, or name the catalog's "
                "columns in windows.loader(columns=[...])."
            )
        self.ahead = check_whole_number("ahead", ahead, 0)
        loader.lend(self.ahead, allocate)
        self._state: Mapping[str, Any] = loader.state_dict()
        # The epoch of the last batch handed out; None if the loader itself is at the right place.
        self._epoch: int | None = None
        self._restored = False  # a state has been restored, and no iteration has begun since
        self._epoch_offset = 0  # epochs here minus the epochs that a framework counts
        self._pending: deque[_Pending[T]] = deque()
        self._unfinished: deque[Transfer[T]] = deque()  # handed out, but not done

    def _world_size(self) -> int:
        """Return the number of ranks of the framework; 1 if it is not distributed."""
        return 1

    @abstractmethod
    def _transfer(self, batch: Batch) -> Transfer[T]:
        """Begin to transfer a batch."""

    def _field_values(self, batch: Batch) -> dict[str, Any]:
        """Return the values of the batch's fields, by name."""
        required = self.fields is not None
        return select_fields(batch, self._fields, required=required, owners="these batches")

    # Iterating

    def __len__(self) -> int:
        """Return the planned batches of an epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[T]:
        """Begin the next epoch, or continue inside the one that `load_state_dict` restored."""
        return self._run(self._begin_epoch)

    def steps(self, n: int | None) -> Iterator[T]:
        """Yield `n` batches from where the last one left off, across epochs.

        Parameters
        ----------
        n : int or None
            How many; None: without end.
        """
        return self._run(partial(self._begin_steps, n))

    def take(
        self,
        indices: Iterable[NDArray[np.int64]],
        on_failure: Callable[[Failure], None] | None = None,
    ) -> Iterator[T]:
        """Yield the batches of windows that are named list by list: see `Loader.take`."""
        return self._run(lambda: self.loader.take(indices, on_failure))

    def _check_sharded(self) -> None:
        """Raise `InvalidWindowsError` if several ranks would all load all windows."""
        world = self._world_size()
        if world > 1 and self.loader.windows.share.assumed:
            raise InvalidWindowsError(
                f"there are {world} ranks, and these windows are not sharded, so that every rank "
                f"would load all of them: call windows.shard() after {self._distributed} is "
                "initialised, or shard(0, 1) if every rank should load all windows."
            )

    def _begin_epoch(self) -> Iterator[Any]:
        self._check_sharded()
        if self._epoch is not None and self._epoch != self.loader.epoch:
            # Prefetching took the loader into a later epoch than that of the last batch.
            self.loader.load_state_dict(make_state(self.loader.windows, self._epoch + 1, 0))
        return iter(self.loader)

    def _begin_steps(self, n: int | None) -> Iterator[Any]:
        self._check_sharded()
        self.loader.load_state_dict(self._state)  # the loader is ahead of the last batch
        return self.loader.steps(n)

    def _run(self, begin: Callable[[], Iterator[Any]]) -> Generator[T, None, None]:
        self._drop_transfers(self._pending)
        self._restored = False
        batches = cast("Generator[Batch, None, None]", begin())
        pending = self._pending = deque()
        end: Exception | None = None
        try:
            while True:
                end = end or self._prefetch(batches, pending)
                if not pending:
                    break
                # Without a local variable: only the consumer refers to the batch.
                yield self._hand_out(pending)
        finally:
            batches.close()
            self._drop_transfers(pending)
        self._epoch = None  # nothing is pending, so the loader is at the right place
        if isinstance(end, StopIteration):
            # The loader's state is also past failed windows that were left out at the end.
            self._state = self.loader.state_dict()
            return
        assert end is not None
        try:
            raise end
        finally:
            del end  # the error's traceback refers to this frame: break the reference cycle

    def _prefetch(self, batches: Iterator[Batch], pending: deque[_Pending[T]]) -> Exception | None:
        """Begin the transfers that may begin; return what ended `batches`, if it has ended."""
        while not pending or (len(pending) <= self.ahead and self.loader.ready):
            self._finish_transfers(len(pending))
            try:
                batch = next(batches)
            except Exception as end:  # noqa: BLE001  raised later, after the batches before it
                return end
            transfer = self._transfer(batch)
            pending.append(_Pending(transfer, batch.state, self.loader.epoch))
            del batch
        return None

    def _finish_transfers(self, pending: int) -> None:
        """Drop transfers that are done, and wait for the oldest if too many are under way."""
        unfinished = self._unfinished
        while unfinished and (unfinished[0].done or len(unfinished) + pending > self.ahead):
            unfinished[0].wait()
            unfinished.popleft()

    def _hand_out(self, pending: deque[_Pending[T]]) -> T:
        oldest = pending.popleft()
        batch = oldest.transfer.result()
        if not oldest.transfer.done:
            self._unfinished.append(oldest.transfer)
        self._state, self._epoch = oldest.state, oldest.epoch
        return batch

    def _drop_transfers(self, pending: deque[_Pending[T]]) -> None:
        """Wait until every transfer is done, and drop all of them."""
        while pending:
            pending.popleft().transfer.wait()
        while self._unfinished:
            self._unfinished.popleft().wait()

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch handed out, a small JSON-able dict.

        It is a loader's state: `Loader.load_state_dict` accepts it, and `load_state_dict` accepts a
        loader's.
        """
        return dict(self._state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Let the next iteration continue from `state_dict`.

        Raises
        ------
        StateError
            It is not a loader's state, or it belongs to other windows.
        """
        self.loader.load_state_dict(state_dict)
        self._drop_transfers(self._pending)
        self._state, self._epoch = dict(state_dict), None
        self._restored = True

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration begin `epoch`, unless it continues from a restored state.

        Frameworks that count epochs call this, as they do for PyTorch's samplers. A framework may
        count from 0 with a loader that has been used before. If its count differs from that of a
        restored state, the state's is used, and the difference is added to every later count.
        """
        windows = self.loader.windows
        if self._restored:
            self._epoch_offset = read_state(windows, self._state)[0] - epoch
        else:
            self.load_state_dict(make_state(windows, max(0, epoch + self._epoch_offset), 0))
            self._restored = False

    # Ending

    def close(self) -> None:
        """End the running iteration and close the loader; does nothing when called again."""
        self.loader.close()
        self._drop_transfers(self._pending)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.loader!r}>"
