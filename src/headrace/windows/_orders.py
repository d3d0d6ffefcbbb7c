"""A set, an order and a share -> the order of an epoch's positions, and how many there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from headrace._validation import check_whole_number
from headrace.errors import InvalidWindowsError
from headrace.windows._identity import (
    BlockShuffleIdentity,
    FileShuffleIdentity,
    WindowShuffleIdentity,
)
from headrace.windows._permutation import ByBlock, ByFile, ByWindow, InOrder, Listed, Through
from headrace.windows._sampling import Mixed, Sampled
from headrace.windows._shards import balanced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.windows._permutation import Order
    from headrace.windows._shards import Shard
    from headrace.windows._window_sets import WindowSet

__all__ = ["Shuffle", "arranged"]


@dataclass(frozen=True, slots=True)
class Shuffle:
    """All windows once in every epoch, in an order that is new.

    Attributes
    ----------
    seed : int
    by : {"window", "file", "block"}
        What is shuffled.
    block : int or None
        Windows in a block.
    """

    seed: int
    by: Literal["window", "file", "block"] = "window"
    block: int | None = None

    def __post_init__(self) -> None:
        if self.by not in ("window", "file", "block"):
            raise InvalidWindowsError(f'by must be "window", "file" or "block", not {self.by!r}.')
        if self.by == "block":
            if self.block is None:
                raise InvalidWindowsError(
                    'by="block" mixes blocks of how many windows? Say block=.'
                )
            check_whole_number("block", self.block, 1)
        elif self.block is not None:
            raise InvalidWindowsError(
                f'block is said with by="block" only, not with by={self.by!r}.'
            )

    @property
    def jumps(self) -> bool:
        """Whether neighbours are mostly from different files."""
        return self.by == "window"

    @property
    def called(self) -> str:
        """What was done, for `repr` and for sentences."""
        return f"shuffled by {self.by}" + (f" of {self.block}" if self.by == "block" else "")

    @property
    def verb(self) -> str:
        """What was done, as one would ask for it."""
        return "shuffle"

    @property
    def identity(self) -> WindowShuffleIdentity | FileShuffleIdentity | BlockShuffleIdentity:
        """What decides the order."""
        if self.by == "window":
            return WindowShuffleIdentity(self.seed)
        if self.by == "file":
            return FileShuffleIdentity(self.seed)
        assert self.block is not None
        return BlockShuffleIdentity(self.block, self.seed)

    def over(self, n: int, bounds: NDArray[np.int64]) -> Order:
        """Return the order of `n` windows, of which those between two bounds are of one file."""
        if self.by == "window":
            return ByWindow(n, self.seed)
        if self.by == "file":
            return ByFile(bounds, self.seed)
        assert self.block is not None
        return ByBlock(bounds, self.block, self.seed)


def arranged(
    chosen: WindowSet, order: Shuffle | Sampled | Mixed | None, share: Shard
) -> tuple[Order, int]:
    """Return positions -> places in the set, and the number of positions.

    Positions are of all shards together, except where recordings are dealt.

    Raises
    ------
    InvalidWindowsError
        Draws are to be dealt by recording, or there are fewer recordings than ranks.
    """
    n = len(chosen)
    by_recording = share.by == "recording" and share.world > 1
    if isinstance(order, Sampled | Mixed):
        if by_recording:
            raise InvalidWindowsError(
                f"{order.called.partition(' ')[0]} windows cannot be sharded by recording: draws "
                "are of any recording. Shard them by window."
            )
        return order, order.n
    if not by_recording and (order is None or order.by == "window"):
        return InOrder() if order is None else ByWindow(n, order.seed), n
    bounds, places = chosen.runs()
    if by_recording:
        mine = _mine(chosen, bounds[:-1] if places is None else places[bounds[:-1]], share)
        begins = bounds[:-1][mine]
        bounds = np.cumsum([0, *np.diff(bounds)[mine]], dtype=np.int64)
        n = int(bounds[-1])
    inner: Order = InOrder() if order is None else order.over(n, bounds)
    if by_recording:
        inner = Through(inner, begins, bounds)
    if places is not None:
        inner = Listed(inner, places)
    return inner, n


def _mine(chosen: WindowSet, begins: NDArray[np.int64], share: Shard) -> NDArray[np.bool_]:
    """Return which runs, told by the place of their first windows, are the rank's."""
    recordings, which = np.unique(chosen.locate(begins).recording, return_inverse=True)
    if len(recordings) < share.world:
        raise InvalidWindowsError(
            f"{len(recordings)} recordings are less than one for each of {share.world} ranks: "
            'start fewer, or shard by="window".'
        )
    mine: NDArray[np.bool_] = (
        balanced(chosen.recordings.frames[recordings], share.world)[which] == share.rank
    )
    return mine
