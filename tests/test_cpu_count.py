import os
from pathlib import Path

import pytest

from headrace import _cpu_count


@pytest.fixture(autouse=True)
def _eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in (
        *_cpu_count._RANKS_ON_NODE,
        _cpu_count._TASKS_PER_NODE,
        "SLURM_CPUS_PER_TASK",
        "SLURM_NODEID",
    ):
        monkeypatch.delenv(name, raising=False)


def _version_2(folder: Path, text: str) -> Path:
    (folder / "cpu.max").write_text(text)
    return folder


def _version_1(folder: Path, quota: str, period: str) -> Path:
    (folder / "cpu").mkdir()
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (folder / "cpu" / "cpu.cfs_period_us").write_text(period)
    return folder


def test_processors_are_those_of_the_affinity_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is bound to some processors does not count the others."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert _cpu_count.available_processors(tmp_path) == 8


@pytest.mark.parametrize(("count", "available"), [(6, 6), (None, 1)])
def test_without_affinity_all_processors_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int | None, available: int
) -> None:
    """Systems without affinity masks count all processors; an unknown number is 1."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert _cpu_count.available_processors(tmp_path) == available


@pytest.mark.parametrize(
    ("text", "available"),
    [
        ("200000 100000\n", 2),
        ("350000 100000\n", 3),
        ("50000 100000\n", 1),
        ("6400000 100000\n", 8),
        ("max 100000\n", 8),
        ("0 0\n", 8),
        ("", 8),
        ("what\n", 8),
    ],
)
def test_the_quota_of_a_control_group_counts(tmp_path: Path, text: str, available: int) -> None:
    """Version 2: the quota in whole processors, at least 1; "max" and nonsense are no limit."""
    assert _cpu_count.available_processors(_version_2(tmp_path, text)) == available


@pytest.mark.parametrize(
    ("quota", "period", "available"),
    [("300000\n", "100000\n", 3), ("-1\n", "100000\n", 8), ("300000\n", "", 8), ("x", "y", 8)],
)
def test_the_quota_of_an_old_control_group_counts(
    tmp_path: Path, quota: str, period: str, available: int
) -> None:
    """Version 1: quota divided by period, where -1 is no limit."""
    assert _cpu_count.available_processors(_version_1(tmp_path, quota, period)) == available


def test_an_unlimited_version_2_group_leaves_version_1_in_force(tmp_path: Path) -> None:
    """On a machine with both versions, the one with a limit counts."""
    _version_2(tmp_path, "max 100000\n")
    assert _cpu_count.available_processors(_version_1(tmp_path, "200000\n", "100000\n")) == 2


@pytest.mark.parametrize(
    ("ranks", "share"),
    [("1", 8), ("2", 4), ("3", 2), ("8", 1), ("100", 1), ("0", 8), ("", 8), ("two", 8), ("²", 8)],
)
def test_ranks_on_one_node_share_its_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: str, share: int
) -> None:
    """The ranks of LOCAL_WORLD_SIZE divide the processors; nonsense is not used."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert _cpu_count.processors_per_rank(tmp_path) == share


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, 2),
        ({"MPI_LOCALNRANKS": "2"}, 4),
        ({"SLURM_NTASKS_PER_NODE": "4", "SLURM_CPUS_PER_TASK": "2"}, 8),  # sbatch without srun
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_NODEID": "1"}, 2),
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x2),2", "SLURM_NODEID": "2"}, 4),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,4(x2)", "SLURM_NODEID": "0"}, 4),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,4(x2)", "SLURM_NODEID": "1"}, 2),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,4", "SLURM_NODEID": "9"}, 2),  # the list has no such node
        ({"SLURM_STEP_TASKS_PER_NODE": "2"}, 4),
        ({"SLURM_STEP_TASKS_PER_NODE": "4(x", "SLURM_NODEID": "0"}, 8),
        ({"SLURM_STEP_TASKS_PER_NODE": "many"}, 8),
        ({"SLURM_STEP_TASKS_PER_NODE": "0"}, 8),
        ({"SLURM_CPUS_PER_TASK": "3", "SLURM_STEP_TASKS_PER_NODE": "2"}, 3),
        (
            {"SLURM_CPUS_PER_TASK": "16", "SLURM_STEP_TASKS_PER_NODE": "2"},
            8,
        ),  # affinity has only eight
        (  # torchrun in one task
            {
                "LOCAL_WORLD_SIZE": "2",
                "SLURM_CPUS_PER_TASK": "8",
                "SLURM_STEP_TASKS_PER_NODE": "1",
            },
            4,
        ),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "8", "SLURM_STEP_TASKS_PER_NODE": "1"}, 1),
    ],
)
def test_launchers_say_how_many_ranks_share_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], share: int
) -> None:
    """Variables of the launcher that started the ranks come before those of Slurm."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert _cpu_count.processors_per_rank(tmp_path) == share


def test_one_process_has_all_processors(tmp_path: Path) -> None:
    """Without ranks nothing is divided, but the control group's quota still limits."""
    assert _cpu_count.processors_per_rank(tmp_path) == 8
    assert _cpu_count.processors_per_rank(_version_2(tmp_path, "500000 100000")) == 5


def test_this_machine_has_a_processor() -> None:
    """The number that the loader uses is at least 1."""
    assert _cpu_count.processors_per_rank() >= 1
