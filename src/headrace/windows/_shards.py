"""`Shard`: one process's share of an order, and which rank this process has."""

from __future__ import annotations

import heapq
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from headrace.errors import InvalidWindowsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["Remainder", "Shard", "assign_ranks", "detect_rank"]

Remainder = Literal["drop", "repeat", "mask"]

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),  # torchrun, accelerate, deepspeed
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; SLURM_NTASKS is also set in a batch script
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI
)


@dataclass(frozen=True, slots=True)
class Shard:
    """The positions of an order that one rank reads.

    Attributes
    ----------
    rank, world : int
        The rank, from 0, and the world size.
    remainder : {"drop", "repeat", "mask"}
        What is done with the last positions of an epoch if they are fewer than ranks.
    by : {"window", "recording"}
        ``"window"``: the rank reads each `world`-th position of the common order. ``"recording"``:
        the rank reads whole recordings, and every position of their order.
    """

    rank: int = 0
    world: int = 1
    remainder: Remainder = "drop"
    by: Literal["window", "recording"] = "window"

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise InvalidWindowsError(
                f"there is no rank {self.rank} of {self.world}: give a rank from 0 to world - 1."
            )
        if self.remainder not in get_args(Remainder):
            raise InvalidWindowsError(
                f'remainder must be "drop", "repeat" or "mask", not {self.remainder!r}.'
            )
        if self.by not in ("window", "recording"):
            raise InvalidWindowsError(f'by must be "window" or "recording", not {self.by!r}.')

    @property
    def step(self) -> int:
        """Distance between neighbouring positions of this rank."""
        return self.world if self.by == "window" else 1

    @property
    def has_all_positions(self) -> bool:
        """Whether this rank reads every position of its order."""
        return self.step == 1

    def check_skip_allowed(self) -> None:
        """Raise `InvalidWindowsError` if skipped windows would put the ranks out of step.

        In distributed training, ranks that take different numbers of steps wait for each other
        without end.
        """
        if not self.has_all_positions:
            raise InvalidWindowsError(
                'on_error="skip" would let ranks take different numbers of steps: give '
                'on_error="mask", whose rows of zeros keep them in step, or "raise".'
            )

    def rows(self, left: int) -> int:
        """Return the number of rows of each rank when `left` positions of all ranks are left.

        Rows that `remainder` adds are included.
        """
        return left // self.step if self.remainder == "drop" else -(-left // self.step)

    def positions(self, first: int, rows: int, total: int) -> NDArray[np.int64]:
        """Return this rank's positions of the next `rows` rows.

        Parameters
        ----------
        first : int
            The next position of all ranks together.
        rows : int
            Rows of this rank.
        total : int
            Positions of the epoch. Only the last row can be at or after it: with ``"repeat"``, its
            position counts from the start of the epoch; with ``"mask"``, it is left out.
        """
        if self.has_all_positions:
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


def assign_ranks(frames: NDArray[np.int64], world: int) -> NDArray[np.int64]:
    """Return a rank for each recording, so that all ranks have about as many frames.

    Recordings are assigned from the longest to the shortest, each to the rank with the fewest
    frames so far. No rank then has more than 4/3 of the optimum (Graham, 1969).
    """
    ranks = np.empty(len(frames), np.int64)
    loads = [(0, rank) for rank in range(world)]
    order = np.argsort(-frames, kind="stable")
    for recording, length in zip(order.tolist(), frames[order].tolist(), strict=True):
        load, rank = loads[0]
        ranks[recording] = rank
        heapq.heapreplace(loads, (load + length, rank))
    return ranks


def detect_rank(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Return this process's rank and the world size.

    They are taken from torch.distributed if it is initialised, else from Ray Train in one of its
    workers, else from the environment variables of torchrun, srun, Open MPI or MPICH. Without any
    of these, the result is ``(0, 1)``.

    Raises
    ------
    InvalidWindowsError
        A launcher's variables are not a rank and a world size.
    """
    torch = sys.modules.get("torch")  # if it is not imported, it is not initialised either
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    train = sys.modules.get("ray.train")  # a worker of Ray Train has imported it
    if train is not None:
        # Before the variables: srun may have started the node, whose rank is not the worker's.
        with suppress(RuntimeError):  # this process is not a worker
            context = train.get_context()
            return int(context.get_world_rank()), int(context.get_world_size())
    for names in _LAUNCHERS:
        if all(name in environment for name in names):
            rank, world = (environment[name] for name in names)
            if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
                raise InvalidWindowsError(
                    f"{names[0]}={rank} and {names[1]}={world} are not a rank and a world size: "
                    "give shard(rank, world), or unset them."
                )
            return int(rank), int(world)
    return 0, 1
