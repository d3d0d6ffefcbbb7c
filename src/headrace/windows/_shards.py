"""`Shard`: one process's share of an order, and which process this is."""

from __future__ import annotations

import heapq
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from headrace.errors import InvalidWindowsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Remainder", "Shard", "balanced", "this_process"]

Remainder = Literal["drop", "repeat", "mask"]

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),  # torchrun, accelerate, deepspeed
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; SLURM_NTASKS stands in a batch script too
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI
)


@dataclass(frozen=True, slots=True)
class Shard:
    """The positions of an order that are dealt to one process, as cards are: each world-th.

    Attributes
    ----------
    rank, world : int
        Which process, from 0, of how many.
    remainder : {"drop", "repeat", "mask"}
        What becomes of positions left over that are too few for all.
    by : {"window", "recording"}
        Whether positions are dealt, or recordings; then the positions are the process's own.
    """

    rank: int = 0
    world: int = 1
    remainder: Remainder = "drop"
    by: Literal["window", "recording"] = "window"

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise InvalidWindowsError(
                f"there is no rank {self.rank} of {self.world}: ranks count from 0 to world - 1."
            )
        if self.remainder not in get_args(Remainder):
            raise InvalidWindowsError(
                f'remainder must be "drop", "repeat" or "mask", not {self.remainder!r}.'
            )
        if self.by not in ("window", "recording"):
            raise InvalidWindowsError(f'by must be "window" or "recording", not {self.by!r}.')

    @property
    def step(self) -> int:
        """How far apart the positions of this process are."""
        return self.world if self.by == "window" else 1

    @property
    def alone(self) -> bool:
        """Whether every position is this process's."""
        return self.step == 1

    def refuse_skipping(self) -> None:
        """Raise `InvalidWindowsError` where ranks that skip windows would wait for each other for ever."""
        if not self.alone:
            raise InvalidWindowsError(
                'on_error="skip" would let ranks take different numbers of steps: give '
                'on_error="mask", whose rows of zeros keep them in step, or "raise".'
            )

    def rows(self, left: int) -> int:
        """Return how many rows this process, like any other, has of `left` positions."""
        return left // self.step if self.remainder == "drop" else -(-left // self.step)

    def positions(self, first: int, rows: int, total: int) -> NDArray[np.int64]:
        """Return the positions of the next `rows` rows where `first` is the next of all.

        One from `total` on, which only the last row can have, begins anew with ``"repeat"``, and
        with ``"mask"`` is left out.
        """
        if self.alone:
            return np.arange(first, first + rows, dtype=np.int64)
        positions = first + self.rank + self.step * np.arange(rows, dtype=np.int64)
        if rows and positions[-1] >= total:
            if self.remainder == "mask":
                return positions[:-1]
            positions[-1] %= total
        return positions

    def __str__(self) -> str:
        if self.by == "recording":
            return f"by recording, rank {self.rank} of {self.world}"
        return f"rank {self.rank} of {self.world}"


def balanced(frames: NDArray[np.int64], world: int) -> NDArray[np.int64]:
    """Return a rank for each recording, so that all have about as many frames.

    The longest first, each to the rank that has least so far (Graham, 1969: no rank has more than
    4/3 of the best there could be).
    """
    ranks = np.empty(len(frames), np.int64)
    loads = [(0, rank) for rank in range(world)]
    order = np.argsort(-frames, kind="stable")
    for recording, length in zip(order.tolist(), frames[order].tolist(), strict=True):
        load, rank = loads[0]
        ranks[recording] = rank
        heapq.heapreplace(loads, (load + length, rank))
    return ranks


def this_process(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return this process's rank and how many processes there are.

    torch.distributed says so where it has been initialised, else the variables that a launcher
    sets: torchrun, srun, Open MPI, MPICH. Where there are none, this process is alone.

    Raises
    ------
    InvalidWindowsError
        A launcher's variables are no such numbers.
    """
    torch = sys.modules.get("torch")  # who has not imported it has not initialised it
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    for names in _LAUNCHERS:
        if all(name in environment for name in names):
            rank, world = (environment[name] for name in names)
            if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
                raise InvalidWindowsError(
                    f"{names[0]}={rank} and {names[1]}={world} name no process: say shard(rank, "
                    "world), or unset them."
                )
            return int(rank), int(world)
    return 0, 1
