"""`Ahead`: a loader's batches, put where they are used a few before their turn.

Guarantees
----------
- The state is that of the last batch that was handed out here, however many more have been taken
  from the loader.
- What a batch was put from is kept until that is done, `Put.settled`: neither the end of an
  iteration nor another one gives the loader its memory back before. At most ``ahead + 1`` batches
  are being put at once.
- A batch that could be handed out never waits for the loader: more is taken from it only while
  something is there.
- An error of the loader is raised when its turn has come, behind the batches before it.
- An iteration begins when its first batch is asked for. Until then nothing is loaded, and a state
  that is restored, or an epoch that is set, counts.
- There is no thread here: all is done by the one that asks for a batch, which is one at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import fields as fields_of
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

from headrace._validation import check_whole_number
from headrace.loading import make_state, read_state
from headrace.windows import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from typing import Self

    from headrace.loading import Allocate, Loader

__all__ = ["PLACED", "Ahead", "Put", "Ready", "checked", "chosen"]

PLACED = ("audio", "labels", "label_mask", "valid")
"""What a model is fed with. The rest is what people look things up by: it stays NumPy's, whose
numbers of eight bytes not every device can hold."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_Waiting: TypeAlias = "deque[tuple[Mapping[str, Any], int, Put[T]]]"
"""What has been put, each with the state behind it and its epoch."""

_KNOWN = tuple(field.name for field in fields_of(Batch))


def checked(fields: Sequence[str] | None, known: Sequence[str], whose: str) -> tuple[str, ...]:
    """Return `fields`, or all that are `known` to be of ``"a batch"`` or ``"an example"``.

    Raises
    ------
    ValueError
        A field is not one of them.
    """
    if isinstance(fields, str):
        raise ValueError(f'fields must be names, as in ("{fields}",), not one string.')  # noqa: TRY004
    if unknown := [name for name in fields or () if name not in known]:
        raise ValueError(f"{whose} has no {unknown[0]!r}: fields are {', '.join(known)}.")
    return tuple(known if fields is None else fields)


def chosen(record: object, fields: Sequence[str], *, asked: bool, whose: str) -> dict[str, Any]:
    """Return the values of a record's fields, by name.

    Raises
    ------
    ValueError
        One that was `asked` for is None here.
    """
    values = {name: getattr(record, name) for name in fields}
    if asked and (missing := [name for name, value in values.items() if value is None]):
        raise ValueError(f"{whose} no {missing[0]}: leave it out of fields, or label the windows.")
    return values


class Put(Protocol[T_co]):
    """A batch on its way to where it is used."""

    @property
    def settled(self) -> bool:
        """Whether nothing reads any more what it was put from."""

    def settle(self) -> None:
        """Wait until it is settled, and let go of what it was put from."""

    def take(self) -> T_co:
        """Return the batch, when its turn has come; called once."""


class Ready(Generic[T]):
    """A batch that is where it is used: it refers itself to whatever memory it needs."""

    settled = True

    def __init__(self, batch: T) -> None:
        self._batch = batch

    def settle(self) -> None:
        """Do nothing."""

    def take(self) -> T:
        """Return the batch."""
        return self._batch


class Ahead(ABC, Generic[T]):
    """A loader's batches in another form, a few of them put in place before their turn.

    Each ``iter()`` is the next epoch, after a ``break`` too; only `load_state_dict` resumes inside
    one.

    Parameters
    ----------
    loader : Loader
        With a `batch_size`. It is used by nobody else meanwhile.
    fields : sequence of str or None
        Attributes of `Batch`: batches are tuples of these.
    ahead : int
        How many more batches are put in place while one is worked with. The loader's
        `memory_bound` counts them.
    allocate : callable, optional
        Makes the memory in which the loader puts batches together, as `Loader.lend` says.

    Raises
    ------
    ValueError
        The loader makes no batches, a field is not one of a batch, or `ahead` is no whole number
        from 0 up.
    MemoryBudgetError
        The loader's `memory` has no room for so many batches ahead.
    """

    def __init__(
        self,
        loader: Loader,
        fields: Sequence[str] | None,
        ahead: int,
        allocate: Allocate | None = None,
    ) -> None:
        if loader.batch_size is None:
            raise ValueError(
                "this loader yields single examples: make one of batches, "
                "windows.loader(batch_size=...)."
            )
        self.loader = loader
        self.fields = None if fields is None else tuple(fields)
        self._fields = checked(fields, _KNOWN, "a batch")
        self.ahead = check_whole_number("ahead", ahead, 0)
        loader.lend(self.ahead, allocate)
        self._state: Mapping[str, Any] = loader.state_dict()
        self._epoch: int | None = None  # of the last batch handed out, unless another is wanted
        self._restored = False  # and not resumed yet
        self._offset = 0  # between the epochs here and those that a framework counts
        self._waiting: _Waiting[T] = deque()
        self._settling: deque[Put[T]] = deque()  # handed out, and not settled

    @abstractmethod
    def _put(self, batch: Batch) -> Put[T]:
        """Begin to put a batch in its place."""

    def _chosen(self, batch: Batch) -> dict[str, Any]:
        """Return the values of the batch's fields, by name."""
        asked = self.fields is not None
        return chosen(batch, self._fields, asked=asked, whose="these batches have")

    # Iterating

    def __len__(self) -> int:
        """Return the planned batches of an epoch."""
        return len(self.loader)

    def __iter__(self) -> Iterator[T]:
        """Begin the next epoch, or go on inside the one that `load_state_dict` restored."""
        return self._run(self._begin_epoch)

    def steps(self, n: int | None) -> Iterator[T]:
        """Yield `n` batches from where the last one left off, across epochs.

        Parameters
        ----------
        n : int or None
            How many; None: without end.
        """
        return self._run(partial(self._steps, n))

    def _begin_epoch(self) -> Iterator[Any]:
        if self._epoch not in (None, self.loader.epoch):  # that of what was put in place
            assert self._epoch is not None
            self.loader.load_state_dict(make_state(self.loader.windows, self._epoch + 1, 0))
        return iter(self.loader)

    def _steps(self, n: int | None) -> Iterator[Any]:
        self.loader.load_state_dict(self._state)  # it has gone on by what was put in place
        return self.loader.steps(n)

    def _run(self, begin: Callable[[], Iterator[Any]]) -> Generator[T, None, None]:
        self._let_go(self._waiting)
        self._restored = False
        batches = cast("Generator[Batch, None, None]", begin())
        waiting = self._waiting = deque()
        end: Exception | None = None
        try:
            while True:
                end = end or self._fill(batches, waiting)
                if not waiting:
                    break
                yield self._take(waiting)  # leaving no reference here: it is the consumer's
        finally:
            batches.close()
            self._let_go(waiting)
        self._epoch = None  # nothing was waiting: the loader is where this one is
        if isinstance(end, StopIteration):  # behind windows that were left out at the end, too
            self._state = self.loader.state_dict()
            return
        assert end is not None
        try:
            raise end
        finally:
            del end  # or it and this frame would refer to each other

    def _fill(self, batches: Iterator[Batch], waiting: _Waiting[T]) -> Exception | None:
        """Put what may be put; return what ends the batches, once they have."""
        while not waiting or (len(waiting) <= self.ahead and self.loader.ready):
            self._make_room(waiting)
            try:
                batch = next(batches)
            except Exception as end:  # noqa: BLE001  raised in its turn
                return end
            waiting.append((batch.state, self.loader.epoch, self._put(batch)))
            del batch
        return None

    def _make_room(self, waiting: _Waiting[T]) -> None:
        settling = self._settling
        while settling and (settling[0].settled or len(settling) + len(waiting) > self.ahead):
            settling[0].settle()
            settling.popleft()

    def _take(self, waiting: _Waiting[T]) -> T:
        state, epoch, put = waiting.popleft()
        batch = put.take()
        if not put.settled:
            self._settling.append(put)
        self._state, self._epoch = state, epoch
        return batch

    def _let_go(self, waiting: _Waiting[T]) -> None:
        """Wait until all that was put from is settled, and refer to none of it."""
        while waiting:
            waiting.popleft()[-1].settle()
        while self._settling:
            self._settling.popleft().settle()

    # State

    def state_dict(self) -> dict[str, Any]:
        """Return from where what follows the last batch handed out resumes: a small JSON-able dict.

        It is a loader's state: `Loader.load_state_dict` takes it too, and the other way round.
        """
        return dict(self._state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Make the next iteration go on from `state_dict`.

        Raises
        ------
        StateError
            It is no such state, or it belongs to other windows.
        """
        self.loader.load_state_dict(state_dict)
        self._let_go(self._waiting)
        self._state, self._epoch = dict(state_dict), None
        self._restored = True

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration begin `epoch`, unless it goes on from a state that was restored.

        Frameworks that count epochs themselves call this, as they do for PyTorch's samplers. Where
        one counts otherwise than the restored state, because it begins at 0 with a loader that has
        been used before, the state is believed and the difference kept.
        """
        windows = self.loader.windows
        if self._restored:
            self._offset = read_state(windows, self._state)[0] - epoch
        else:
            self.load_state_dict(make_state(windows, max(0, epoch + self._offset), 0))
            self._restored = False

    # Ending

    def close(self) -> None:
        """End the iteration under way, and close the loader; again does nothing."""
        self.loader.close()
        self._let_go(self._waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.loader!r}>"
