"""Orders: which window is at which position of an epoch.

An `Order` is a pure function of the epoch. It maps positions to places in the unshuffled set and
keeps at most a few tables of the size of the number of files. `resolve_order` makes the order of a
set, an order and a shard.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from headrace._formatting import brief
from headrace._validation import check_whole_number
from headrace.errors import InvalidWindowsError
from headrace.windows._draws import Draws
from headrace.windows._identity import (
    BlockShuffleIdentity,
    FileShuffleIdentity,
    InterleavedShuffleIdentity,
    WindowShuffleIdentity,
)
from headrace.windows._permutation import STEP, Permutation, epoch_key, permute_each, scramble
from headrace.windows._shards import assign_ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.windows._identity import OrderIdentity
    from headrace.windows._permutation import EpochOrder
    from headrace.windows._shards import Shard
    from headrace.windows._window_sets import WindowSet

__all__ = [
    "ByBlock",
    "ByFile",
    "ByWindow",
    "InOrder",
    "Interleaved",
    "Order",
    "OrderOfPlaces",
    "OrderOfRuns",
    "Shuffle",
    "resolve_order",
]


class Order(Protocol):
    """An order for every epoch."""

    @property
    def nbytes(self) -> int:
        """Bytes that an epoch's order holds."""
        ...

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`, counted from 0."""
        ...


@dataclass(frozen=True, slots=True)
class InOrder:
    """The items in ascending order, in every epoch."""

    nbytes: int = 0

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the identity function."""
        del epoch
        return lambda positions: positions


@dataclass(frozen=True, slots=True)
class ByWindow:
    """All `n` windows, shuffled anew in every epoch."""

    n: int
    seed: int

    @property
    def nbytes(self) -> int:
        """Bytes of the permutation's table; 0 for large sets."""
        return Permutation.table_bytes(self.n)

    def epoch(self, epoch: int) -> EpochOrder:
        """Return a permutation keyed by (seed, epoch)."""
        return Permutation(self.n, epoch_key(self.seed, epoch, "window"))


@dataclass(frozen=True, slots=True, eq=False)
class ByFile:
    """Files shuffled, the windows of each file in order.

    Attributes
    ----------
    bounds : ndarray of int64, shape ``(files + 1,)``
        The items of file f are ``bounds[f] .. bounds[f + 1] - 1``.
    seed : int
    """

    bounds: NDArray[np.int64]
    seed: int

    @property
    def nbytes(self) -> int:
        """Bytes of the bounds, and of an epoch's shuffled files and their first positions."""
        return 3 * self.bounds.nbytes

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`: tables over the files, nothing for each window."""
        files = len(self.bounds) - 1
        permutation = Permutation(files, epoch_key(self.seed, epoch, "file"))
        shuffled = permutation(np.arange(files, dtype=np.int64))
        begins = np.zeros(files + 1, np.int64)
        np.cumsum(np.diff(self.bounds)[shuffled], out=begins[1:])

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            place = np.searchsorted(begins, positions, side="right") - 1
            return self.bounds[shuffled[place]] + (positions - begins[place])

        return order


@dataclass(frozen=True, slots=True, eq=False)
class Interleaved:
    """Files shuffled, windows drawn from several files at once, the windows of each file in order.

    There are as many lanes as files that are read at once. A lane reads one file after the other.
    When its file ends, it takes the next one of the shuffled files. In every round, each lane that
    still has a file gives one window, and the lanes take turns in a random order. So a lane is busy
    from the first round to its last one without a gap. That is why a position needs only the sum of
    each lane: lane j takes part in the first ``lengths[j]`` rounds.

    Attributes
    ----------
    bounds : ndarray of int64, shape ``(files + 1,)``
        The items of file f are ``bounds[f] .. bounds[f + 1] - 1``.
    lanes : int
        Files that are read at once.
    seed : int
    """

    bounds: NDArray[np.int64]
    lanes: int
    seed: int

    @property
    def nbytes(self) -> int:
        """Bytes of the bounds, of the files by lane, and of the lanes."""
        return 3 * self.bounds.nbytes + 32 * min(self.lanes, len(self.bounds))

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`: tables over the files, nothing for each window."""
        files = np.flatnonzero(np.diff(self.bounds))
        lanes = max(1, min(self.lanes, len(files)))
        key = epoch_key(self.seed, epoch, f"interleave {self.lanes}")
        shuffled = files[Permutation(len(files), key)(np.arange(len(files), dtype=np.int64))]
        sizes = np.diff(self.bounds)[shuffled]
        lane, begin, lengths = _assign_lanes(sizes, lanes)
        # Lanes from the longest to the shortest: those that take part in a round come first.
        rank = np.empty(lanes, np.int64)
        longest_first = np.argsort(-lengths, kind="stable")
        rank[longest_first] = np.arange(lanes)
        lengths = lengths[longest_first]
        base = np.cumsum(np.append(0, lengths))
        place = base[rank[lane]] + begin  # of each file's first window, lane after lane
        by_place = np.argsort(place)
        place, file = place[by_place], shuffled[by_place]
        # Stage i: the rounds in which exactly i + 1 of the lanes take part, the last stage first.
        rounds = np.append(0, lengths[::-1])
        taking_part = np.arange(lanes, 0, -1)
        positions_before = np.cumsum(np.append(0, np.diff(rounds) * taking_part))
        turn_key = epoch_key(self.seed, epoch, "turn")

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            stage = np.searchsorted(positions_before, positions, side="right") - 1
            count = taking_part[stage]
            later, turn = np.divmod(positions - positions_before[stage], count)
            number = rounds[stage] + later
            keys = scramble(number.astype(np.uint64) * STEP, turn_key)
            at = base[permute_each(count, keys, turn)] + number
            found = np.searchsorted(place, at, side="right") - 1
            items: NDArray[np.int64] = self.bounds[file[found]] + (at - place[found])
            return items

        return order


def _assign_lanes(
    sizes: NDArray[np.int64], lanes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return each file's lane and first round, and the rounds of each lane.

    A file goes to the lane that is free first; of several, to the first of them.
    """
    lane, begin = np.empty(len(sizes), np.int64), np.empty(len(sizes), np.int64)
    free = [(0, number) for number in range(lanes)]  # already a heap
    for index, size in enumerate(sizes.tolist()):
        at, number = free[0]
        lane[index], begin[index] = number, at
        heapq.heapreplace(free, (at + size, number))
    lengths = np.empty(lanes, np.int64)
    for at, number in free:
        lengths[number] = at
    return lane, begin, lengths


@dataclass(frozen=True, slots=True, eq=False)
class ByBlock:
    """Blocks of neighbouring items of a file shuffled, the items of each block in order.

    The last block of a file may be shorter than the others. Only such short blocks need a table.

    Attributes
    ----------
    bounds : ndarray of int64, shape ``(files + 1,)``
        The items of file f are ``bounds[f] .. bounds[f + 1] - 1``.
    block : int
        Items in a block.
    seed : int
    """

    bounds: NDArray[np.int64]
    block: int
    seed: int

    @property
    def nbytes(self) -> int:
        """Bytes of the bounds, of each file's full blocks, and of the tables of short blocks."""
        return 7 * self.bounds.nbytes

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`: one permutation of all blocks.

        Full blocks have the first numbers, short blocks the last.
        """
        counts = np.diff(self.bounds)
        full = np.zeros(len(self.bounds), np.int64)
        np.cumsum(counts // self.block, out=full[1:])
        files = np.flatnonzero(counts % self.block)  # those with a short block
        permutation = Permutation(
            int(full[-1]) + len(files), epoch_key(self.seed, epoch, f"block {self.block}")
        )
        slots = permutation.inverse(full[-1] + np.arange(len(files), dtype=np.int64))
        by_slot = np.argsort(slots)
        files, slots = files[by_slot], slots[by_slot]
        sizes = counts[files] % self.block
        before = np.zeros(len(files) + 1, np.int64)  # items in the short blocks before each one
        np.cumsum(sizes, out=before[1:])
        begins = (slots - np.arange(len(files))) * self.block + before[:-1]
        stops = self.bounds[files + 1]

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            passed = np.searchsorted(begins, positions, side="right")
            items = np.empty(len(positions), np.int64)
            short = np.zeros(len(positions), bool)
            if len(files):
                last = np.maximum(passed - 1, 0)
                short = (passed > 0) & (positions < begins[last] + sizes[last])
                last = last[short]
                items[short] = stops[last] - sizes[last] + (positions[short] - begins[last])
            slot, within = np.divmod((positions - before[passed])[~short], self.block)
            number = permutation(slot + passed[~short])
            file = np.searchsorted(full, number, side="right") - 1
            items[~short] = self.bounds[file] + (number - full[file]) * self.block + within
            return items

        return order


@dataclass(frozen=True, slots=True, eq=False)
class OrderOfRuns:
    """An order of the items of several runs, numbered one run after the other.

    Attributes
    ----------
    inner : Order
        The order of the numbers.
    begins : ndarray of int64, shape ``(runs,)``
        The first item of each run.
    first : ndarray of int64, shape ``(runs + 1,)``
        The number of each run's first item, and the total.
    """

    inner: Order
    begins: NDArray[np.int64]
    first: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes, those of the inner order included."""
        return self.inner.nbytes + self.begins.nbytes + self.first.nbytes

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`."""
        inner = self.inner.epoch(epoch)

        def order(positions: NDArray[np.int64]) -> NDArray[np.int64]:
            number = inner(positions)
            run = np.searchsorted(self.first, number, side="right") - 1
            return self.begins[run] + (number - self.first[run])

        return order


@dataclass(frozen=True, slots=True, eq=False)
class OrderOfPlaces:
    """An order of the entries of a list of items.

    Attributes
    ----------
    inner : Order
        The order of the indices into the list.
    items : ndarray of int64
        The list.
    """

    inner: Order
    items: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes, those of the inner order included."""
        return self.inner.nbytes + self.items.nbytes

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of `epoch`."""
        inner = self.inner.epoch(epoch)
        return lambda positions: self.items[inner(positions)]


@dataclass(frozen=True, slots=True)
class Shuffle:
    """What `Windows.shuffle` was called with, checked.

    Attributes
    ----------
    seed : int
    by : {"window", "file", "block"}
        What is shuffled.
    block : int or None
        Windows in a block.
    interleave : int or None
        Files that are read at once.
    """

    seed: int
    by: Literal["window", "file", "block"] = "window"
    block: int | None = None
    interleave: int | None = None

    def __post_init__(self) -> None:
        if self.by not in ("window", "file", "block"):
            raise InvalidWindowsError(
                f'by must be "window", "file" or "block", not {brief(self.by)}.'
            )
        if self.by == "block":
            if self.block is None:
                raise InvalidWindowsError(
                    'by="block" needs the number of windows in a block: give block=.'
                )
            check_whole_number("block", self.block, 1)
        elif self.block is not None:
            raise InvalidWindowsError(
                f'block is only used with by="block", not with by={brief(self.by)}: leave it out.'
            )
        if self.interleave is not None:
            if self.by != "file":
                raise InvalidWindowsError(
                    f'interleave is only used with by="file", not with by={brief(self.by)}: leave '
                    "it out."
                )
            check_whole_number("interleave", self.interleave, 1)

    @property
    def jumps(self) -> bool:
        """Whether neighbours are mostly from different files."""
        return self.by == "window"

    @property
    def verb(self) -> str:
        """The method that made it, for error messages."""
        return "shuffle"

    @property
    def participle(self) -> str:
        """What was done to the windows, for error messages."""
        return "shuffled"

    @property
    def description(self) -> str:
        """What was done to the windows, for `repr`."""
        if self.interleave is not None:
            return f"shuffled by file, {self.interleave} at once"
        return f"shuffled by {self.by}" + (f" of {self.block}" if self.by == "block" else "")

    @property
    def identity(self) -> OrderIdentity:
        """The fields that decide the order."""
        if self.by == "window":
            return WindowShuffleIdentity(self.seed)
        if self.interleave is not None:
            return InterleavedShuffleIdentity(self.interleave, self.seed)
        if self.by == "file":
            return FileShuffleIdentity(self.seed)
        assert self.block is not None
        return BlockShuffleIdentity(self.block, self.seed)

    def order_of(self, n: int, bounds: NDArray[np.int64]) -> Order:
        """Return the order of `n` windows; those between two of the `bounds` are of one file."""
        if self.by == "window":
            return ByWindow(n, self.seed)
        if self.interleave is not None:
            return Interleaved(bounds, self.interleave, self.seed)
        if self.by == "file":
            return ByFile(bounds, self.seed)
        assert self.block is not None
        return ByBlock(bounds, self.block, self.seed)


def resolve_order(
    windows: WindowSet, order: Shuffle | Draws | None, shard: Shard
) -> tuple[Order, int]:
    """Return the order of positions as places in the set, and the number of positions.

    Positions are those of all ranks together. Only with a shard by recording are they the rank's.

    Raises
    ------
    InvalidWindowsError
        Draws cannot be sharded by recording, or there are fewer recordings than ranks.
    """
    n = len(windows)
    by_recording = shard.by == "recording" and shard.world > 1
    if isinstance(order, Draws):
        if by_recording:
            raise InvalidWindowsError(
                f"{order.participle} windows cannot be sharded by recording, because each draw may "
                'be from any recording: shard them by="window".'
            )
        return order, order.n
    if not by_recording and (order is None or order.by == "window"):
        return InOrder() if order is None else ByWindow(n, order.seed), n
    bounds, places = windows.runs()
    if by_recording:
        firsts = bounds[:-1] if places is None else places[bounds[:-1]]
        of_rank = _runs_of_rank(windows, firsts, shard)
        begins = bounds[:-1][of_rank]
        bounds = np.cumsum([0, *np.diff(bounds)[of_rank]], dtype=np.int64)
        n = int(bounds[-1])
    inner: Order = InOrder() if order is None else order.order_of(n, bounds)
    if by_recording:
        inner = OrderOfRuns(inner, begins, bounds)
    if places is not None:
        inner = OrderOfPlaces(inner, places)
    return inner, n


def _runs_of_rank(windows: WindowSet, firsts: NDArray[np.int64], shard: Shard) -> NDArray[np.bool_]:
    """Return which runs belong to the shard's rank, given the place of the first window of each."""
    recordings, recording_of_run = np.unique(windows.locate(firsts).recording, return_inverse=True)
    if len(recordings) < shard.world:
        raise InvalidWindowsError(
            f"there are fewer recordings ({len(recordings)}) than ranks ({shard.world}): start "
            'fewer ranks, or shard by="window".'
        )
    ranks = assign_ranks(windows.recordings.frames[recordings], shard.world)
    of_rank: NDArray[np.bool_] = ranks[recording_of_run] == shard.rank
    return of_rank
