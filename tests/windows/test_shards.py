from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidWindowsError
from headrace.windows._shards import Remainder, Shard, assign_ranks, detect_rank

if TYPE_CHECKING:
    from headrace import Windows

LAUNCHERS = {
    "torchrun": ("RANK", "WORLD_SIZE"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    "Open MPI": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    "MPICH": ("PMI_RANK", "PMI_SIZE"),
    "MVAPICH": ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
}


def _dealt(total: int, world: int, remainder: Remainder, first: int = 0) -> list[list[int]]:
    """Return the positions of each rank, from `first` on."""
    shards = [Shard(rank, world, remainder) for rank in range(world)]
    rows = shards[0].rows(total - first)
    return [shard.positions(first, rows, total).tolist() for shard in shards]


# Positions


@given(
    total=st.integers(0, 60),
    world=st.integers(1, 9),
    remainder=st.sampled_from(["drop", "repeat", "mask"]),
    data=st.data(),
)
def test_positions_are_distributed_in_turn(
    total: int, world: int, remainder: Remainder, data: st.DataObject
) -> None:
    """From any position on, p belongs to rank (p - first) mod world, and all have as many rows."""
    first = data.draw(st.integers(0, total))
    left = list(range(first, total))
    dealt = _dealt(total, world, remainder, first)
    rows = Shard(0, world, remainder).rows(total - first)

    full = len(left) // world
    for rank, positions in enumerate(dealt):
        assert positions[:full] == left[rank::world][:full]
    rest = [positions[full:] for positions in dealt]
    over = left[full * world :]
    if remainder == "drop" or not over:
        assert rows == full
        assert rest == [[]] * world
    else:
        assert rows == full + 1
        expected = [[position] for position in over]
        missing = range(total, total + world - len(over))
        expected += [[] if remainder == "mask" else [p % total] for p in missing]
        assert rest == expected


@given(total=st.integers(1, 60), world=st.integers(1, 6), batch=st.integers(1, 5))
def test_the_global_batch_is_the_same_for_any_number_of_ranks(
    total: int, world: int, batch: int
) -> None:
    """The k-th batches of all ranks together are the k-th of one rank with larger batches."""
    dealt = _dealt(total, world, "mask")
    (alone,) = _dealt(total, 1, "mask")

    for k in range(-(-total // (batch * world))):
        together = [p for positions in dealt for p in positions[k * batch : (k + 1) * batch]]
        assert sorted(together) == alone[k * batch * world : (k + 1) * batch * world]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((2, 2), "there is no rank 2 of 2: give a rank from 0"),
        ((-1, 2), "there is no rank -1 of 2"),
        ((0, 2, "keep"), 'remainder must be "drop", "repeat" or "mask", not \'keep\''),
        ((0, 2, "drop", "file"), 'by must be "window" or "recording", not \'file\''),
    ],
)
def test_an_invalid_shard_is_refused(arguments: Any, sentence: str) -> None:
    """The error says which values are possible."""
    with pytest.raises(InvalidWindowsError, match=sentence):
        Shard(*arguments)


# Recordings


@given(frames=st.lists(st.integers(1, 10**9), min_size=1, max_size=50), world=st.integers(1, 8))
def test_recordings_are_balanced_by_frames(frames: list[int], world: int) -> None:
    """Ranks differ by at most the longest recording, and no rank is empty without need."""
    lengths = np.array(frames)
    ranks = assign_ranks(lengths, world)
    loads = np.bincount(ranks, lengths, minlength=world)

    assert set(ranks.tolist()) <= set(range(world))
    assert loads.max() - loads.min() <= lengths.max()
    if len(frames) >= world:
        assert loads.min() > 0


def test_balancing_is_the_same_every_time() -> None:
    """Of recordings of equal length, the first one goes to the first rank."""
    assert assign_ranks(np.array([5, 5, 9, 5, 5]), 2).tolist() == [1, 1, 0, 0, 1]


# Detecting the rank


@pytest.mark.parametrize("names", LAUNCHERS.values(), ids=LAUNCHERS)
def test_the_rank_comes_from_the_launcher(names: tuple[str, str]) -> None:
    """Rank and world size come from the launcher's variables, if both are set."""
    rank, world = names

    assert detect_rank({rank: "3", world: "8"}) == (3, 8)
    assert detect_rank({rank: "0"}) is detect_rank({world: "1"}) is detect_rank({}) is None


@pytest.mark.parametrize("names", LAUNCHERS.values(), ids=LAUNCHERS)
def test_half_of_a_rank_is_refused(names: tuple[str, str]) -> None:
    """A rank without a world size, or the reverse, is an error: not all windows on every rank."""
    rank, world = names

    with pytest.raises(InvalidWindowsError, match=f"^{world}=8 is set, but the rank is not known"):
        detect_rank({world: "8"})
    with pytest.raises(InvalidWindowsError, match=f"^{rank}=3 is set, but the world size is not"):
        detect_rank({rank: "3"})


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({"LOCAL_RANK": "1"}, 1),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, 1),
        ({"LOCAL_RANK": "1", "NODE_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, 3),
        ({"LOCAL_RANK": "0", "GROUP_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, 2),
        # An interactive step of Slurm, in which Lightning starts the processes.
        ({"LOCAL_RANK": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, 1),
        # The variables of an outer program with as many processes.
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}, 2),
    ],
)
def test_the_rank_on_the_node_is_enough(variables: dict[str, str], rank: int) -> None:
    """Without RANK, as under Lightning's launcher, the rank follows from the other variables."""
    assert detect_rank({"WORLD_SIZE": "4", **variables}) == (rank, 4)


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "4", "LOCAL_RANK": "1", "NODE_RANK": "1"},  # how many are on a node?
        {"WORLD_SIZE": "4", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"},
        {"LOCAL_RANK": "1"},
    ],
)
def test_a_rank_that_does_not_follow_is_refused(variables: dict[str, str]) -> None:
    """Variables from which no rank follows are an error that says what to do."""
    with pytest.raises(InvalidWindowsError, match=r"is not known: call shard after .* initialised"):
        detect_rank(variables)


def test_a_shard_of_one_process_knows_whether_it_is_alone(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a rank that was found or given is certain."""
    monkeypatch.setattr("headrace.windows._windows.detect_rank", lambda: None)
    assert windows.share.assumed
    assert windows.shard().share.assumed
    assert not windows.shard(0, 1).share.assumed
    monkeypatch.setattr("headrace.windows._windows.detect_rank", lambda: (0, 1))
    assert not windows.shard().share.assumed


def test_a_step_of_slurm_counts_its_own_tasks() -> None:
    """The world size is the number of tasks of the step, not of the job."""
    job = {"SLURM_PROCID": "1", "SLURM_NTASKS": "8"}

    assert detect_rank(job | {"SLURM_STEP_NUM_TASKS": "2"}) == (1, 2)


def test_a_batch_script_of_slurm_is_one_process() -> None:
    """Started by sbatch without srun, the world size is 1, however many tasks the job has."""
    assert detect_rank({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_NPROCS": "8"}) is None


@pytest.mark.parametrize(("rank", "world"), [("8", "8"), ("-1", "8"), ("x", "8"), ("0", "")])
def test_invalid_launcher_variables_are_refused(rank: str, world: str) -> None:
    """Invalid variables are an error, so that no rank trains on a wrong share."""
    with pytest.raises(
        InvalidWindowsError, match=r"RANK=.* are not a rank and a world size: give shard"
    ):
        detect_rank({"RANK": rank, "WORLD_SIZE": world})


def test_torch_distributed_takes_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    """An initialised torch.distributed takes precedence over the environment."""
    running = True
    distributed = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: running,
        get_rank=lambda: 1,
        get_world_size=lambda: 4,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(distributed=distributed))

    assert detect_rank({"RANK": "2", "WORLD_SIZE": "3"}) == (1, 4)
    running = False
    assert detect_rank({"RANK": "2", "WORLD_SIZE": "3"}) == (2, 3)


def test_ray_train_takes_precedence_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's rank is that of Ray Train, also where srun has started the node."""
    context = SimpleNamespace(get_world_rank=lambda: 1, get_world_size=lambda: 4)
    monkeypatch.setitem(sys.modules, "ray.train", SimpleNamespace(get_context=lambda: context))
    node = {"SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "3"}

    assert detect_rank(node) == (1, 4)


def test_a_process_that_imports_ray_train_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of its workers, Ray Train raises, and the environment says the rank."""

    def raises() -> None:
        raise RuntimeError("`get_context` cannot be used outside of a training function.")

    monkeypatch.setitem(sys.modules, "ray.train", SimpleNamespace(get_context=raises))

    assert detect_rank({}) is None
    assert detect_rank({"RANK": "2", "WORLD_SIZE": "3"}) == (2, 3)


def test_an_initialised_jax_says_the_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rank is that of jax.distributed, if it is initialised."""
    running = True
    jax = SimpleNamespace(
        distributed=SimpleNamespace(is_initialized=lambda: running),
        process_index=lambda: 1,
        process_count=lambda: 4,
    )
    monkeypatch.setitem(sys.modules, "jax", jax)

    assert detect_rank({}) == (1, 4)
    running = False
    assert detect_rank({}) is None


def test_torch_is_not_imported_to_detect_the_rank() -> None:
    """Detecting the rank imports neither torch nor Ray."""
    code = (
        "import sys\n"
        "from headrace.windows._shards import *\n"
        "detect_rank()\n"
        "print('torch' in sys.modules or 'ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
