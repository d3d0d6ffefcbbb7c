"""How many processors this process may use: affinity, cgroup quota, and the ranks on this node."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["available", "per_rank"]


def available(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
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


def per_rank(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return `available` shared out among this node's ranks (``LOCAL_WORLD_SIZE``), at least 1."""
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, available(cgroup) // (int(ranks) if ranks.isdecimal() and int(ranks) else 1))


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
