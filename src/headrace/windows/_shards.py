"""`Shard`: one process's share of an order, and which rank this process has."""

from __future__ import annotations

import heapq
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from headrace._formatting import brief
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
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),  # MVAPICH
)
_COUNTERPARTS = {
    **{world: "rank" for _, world in _LAUNCHERS},
    **{rank: "world size" for rank, _ in _LAUNCHERS},
    "LOCAL_RANK": "world size",
}
"""What is missing where only the variable of this name is set."""


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
    assumed : bool
        Whether the rank is 0 of 1 only because no other process was found.
    """

    rank: int = 0
    world: int = 1
    remainder: Remainder = "drop"
    by: Literal["window", "recording"] = "window"
    assumed: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise InvalidWindowsError(
                f"there is no rank {self.rank} of {self.world}: give a rank from 0 to world - 1."
            )
        if self.remainder not in get_args(Remainder):
            raise InvalidWindowsError(
                f'remainder must be "drop", "repeat" or "mask", not {brief(self.remainder)}.'
            )
        if self.by not in ("window", "recording"):
            raise InvalidWindowsError(f'by must be "window" or "recording", not {brief(self.by)}.')

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


def detect_rank(environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Return this process's rank and the world size; None if it seems to be the only process.

    They are taken from torch.distributed or jax.distributed if it is initialised, else from Ray
    Train in one of its workers, else from the environment variables of a launcher.

    Raises
    ------
    InvalidWindowsError
        The variables are not a rank and a world size, or only one of the two is known.
    """
    return _rank_of_framework() or _rank_of_launcher(environment)


def _rank_of_framework() -> tuple[int, int] | None:
    """Return what a framework that this process has initialised says; imports none of them."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank()), int(distributed.get_world_size())
    jax = sys.modules.get("jax")
    initialised = getattr(getattr(jax, "distributed", None), "is_initialized", None)
    if jax is not None and initialised is not None and initialised():
        return int(jax.process_index()), int(jax.process_count())
    train = sys.modules.get("ray.train")  # a worker of Ray Train has imported it
    if train is not None:
        # Before the variables: srun may have started the node, whose rank is not the worker's.
        with suppress(RuntimeError):  # this process is not a worker
            context = train.get_context()
            return int(context.get_world_rank()), int(context.get_world_size())
    return None


def _rank_of_launcher(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """Return what the variables of a launcher say; None if there are none."""
    pairs = [
        (rank, world) for rank, world in _LAUNCHERS if rank in environment and world in environment
    ]
    ranks = [_parse_rank(environment, *names) for names in pairs]
    if "WORLD_SIZE" in environment and "RANK" not in environment:
        # It may be set for other ranks than those of the launcher that started this node.
        ranks = [
            rank for rank in ranks if str(rank[1]) == environment["WORLD_SIZE"]
        ] or _rank_on_node(environment)
    if ranks:
        return ranks[0]
    for name, other in _COUNTERPARTS.items():
        alone = ("0", "1") if other == "rank" else ("0",)  # what a single process may have
        if environment.get(name, "0") not in alone:
            raise InvalidWindowsError(
                f"{name}={environment[name]} is set, but the {other} is not known: call shard "
                "after torch.distributed is initialised (with Lightning, in train_dataloader), "
                f"give shard(rank, world), or unset {name}."
            )
    return None


def _rank_on_node(environment: Mapping[str, str]) -> list[tuple[int, int]]:
    """Return the rank that follows from the one on this node, or nothing.

    Lightning's own launcher sets no other one: its processes have LOCAL_RANK, WORLD_SIZE and
    NODE_RANK.
    """
    if "LOCAL_RANK" not in environment:
        return []
    node = environment.get("NODE_RANK", environment.get("GROUP_RANK", "0"))
    on_node = environment.get("LOCAL_WORLD_SIZE")
    if node == "0":
        return [_parse_rank(environment, "LOCAL_RANK", "WORLD_SIZE")]
    if on_node is None or not node.isdecimal():
        return []
    local, each = _parse_rank(environment, "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank = {"RANK": str(int(node) * each + local), "WORLD_SIZE": environment["WORLD_SIZE"]}
    return [_parse_rank(rank, "RANK", "WORLD_SIZE")]


def _parse_rank(environment: Mapping[str, str], rank_name: str, world_name: str) -> tuple[int, int]:
    """Return two variables as a rank and a world size."""
    rank, world = environment[rank_name], environment[world_name]
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise InvalidWindowsError(
            f"{rank_name}={rank} and {world_name}={world} are not a rank and a world size: "
            "give shard(rank, world), or unset them."
        )
    return int(rank), int(world)
