"""How many processors a process may use, by its affinity, cgroup quota and ranks on its node."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["available_processors", "processors_per_rank"]

_RANKS_ON_NODE = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
"""Variables with the number of ranks on this node: of torchrun, Open MPI, and MPICH or Intel MPI.

They take precedence over Slurm's variables, because Slurm may have started these launchers."""

_TASKS_PER_NODE = "SLURM_STEP_TASKS_PER_NODE"
"""Variable of srun: https://slurm.schedmd.com/srun.html. Variables of the job are not used: a batch
script without srun is one process, however many tasks its job has."""


def available_processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of processors that this process may use, at least 1.

    Parameters
    ----------
    cgroup : Path
        Folder where the control groups are mounted.
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity mask
        cpus = os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, min(cpus, int(quota))) if quota is not None else max(1, cpus)


def processors_per_rank(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return this rank's share of `available_processors`, at least 1.

    The number of ranks on this node comes from the variables of torchrun, Open MPI or MPICH, else
    from those of Slurm's srun. If srun also says how many processors a task has, that is the share.
    Variables that cannot be parsed are not used.
    """
    available = available_processors(cgroup)
    for name in _RANKS_ON_NODE:
        if ranks := _parse_count(os.environ.get(name, "")):
            return max(1, available // ranks)
    node = os.environ.get("SLURM_NODEID", "")
    ranks = _tasks_on_node(os.environ.get(_TASKS_PER_NODE, ""), node)
    per_task = _parse_count(os.environ.get("SLURM_CPUS_PER_TASK", ""))
    if ranks and per_task:  # the affinity mask has the processors of one task, or of all
        return min(available, per_task)
    return max(1, available // ranks) if ranks else available


def _parse_count(text: str) -> int:
    """Return a whole number, or 0 if the text is not one."""
    return int(text) if text.isdecimal() else 0


def _tasks_on_node(text: str, node: str) -> int:
    """Return the number of tasks on a node, or 0 if `text` cannot be parsed.

    `text` is a list such as ``4(x2),3``: 4 tasks on each of two nodes, 3 on the next.
    """
    nodes_before = _parse_count(node)
    tasks = 0
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not found:
            return 0
        tasks = int(found[1])
        nodes_before -= int(found[2] or 1)
        if nodes_before < 0:
            break
    return tasks


def _quota(cgroup: Path) -> float | None:
    """Return how many processors' time the control group grants; None if there is no limit."""
    for quota_file, period_file in (  # cgroup version 2, then version 1
        (cgroup / "cpu.max", None),
        (cgroup / "cpu" / "cpu.cfs_quota_us", cgroup / "cpu" / "cpu.cfs_period_us"),
    ):
        try:
            words = quota_file.read_text().split()
            if period_file is not None:
                words += period_file.read_text().split()
            quota, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):  # the file does not exist, or says "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None
