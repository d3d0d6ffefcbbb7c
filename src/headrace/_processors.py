"""How many processors this process may use: affinity, cgroup quota, and the ranks on this node."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["available_processors", "processors_per_rank"]

_RANKS = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")
"""Of torchrun, Open MPI, and MPICH and Intel MPI. Before Slurm's, who may have started these."""

_STEP = "SLURM_STEP_TASKS_PER_NODE"
"""Of srun: https://slurm.schedmd.com/srun.html. A batch script without srun is one process,
whatever its job has asked for."""


def available_processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of processors that this process may keep busy, at least 1.

    Parameters
    ----------
    cgroup : Path
        Where the control groups are mounted.
    """
    try:
        cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity mask
        cpus = os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, min(cpus, int(quota))) if quota is not None else max(1, cpus)


def processors_per_rank(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return `available_processors` shared out among this node's ranks, at least 1.

    How many these are torchrun, Open MPI and MPICH say, else Slurm's srun; where that says how
    many processors a task has, that is the share. Nonsense shares nothing.
    """
    mine, told = available_processors(cgroup), os.environ.get
    for name in _RANKS:
        if ranks := _number(told(name, "")):
            return max(1, mine // ranks)
    ranks = _tasks(told(_STEP, ""), told("SLURM_NODEID", ""))
    own = _number(told("SLURM_CPUS_PER_TASK", ""))
    if ranks and own:  # the mask has these alone, or all
        return min(mine, own)
    return max(1, mine // ranks) if ranks else mine


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _tasks(text: str, node: str) -> int:
    """Return the tasks on this node of a list as ``4(x2),3``, which has a number for each node."""
    left = _number(node)
    tasks = 0
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not found:
            return 0
        tasks = int(found[1])
        left -= int(found[2] or 1)
        if left < 0:
            break
    return tasks


def _quota(cgroup: Path) -> float | None:
    """Return the processors' worth of time that the control group grants, None if unlimited."""
    for quota_file, period_file in (  # version 2, then version 1
        (cgroup / "cpu.max", None),
        (cgroup / "cpu" / "cpu.cfs_quota_us", cgroup / "cpu" / "cpu.cfs_period_us"),
    ):
        try:
            words = quota_file.read_text().split()
            if period_file is not None:
                words += period_file.read_text().split()
            quota, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):  # not there, or "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None
