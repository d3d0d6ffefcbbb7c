"""`Steps`: the time and memory of steps, one after the other."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Steps:
    """Measures steps, and prints each when it is done.

    Attributes
    ----------
    taken : list of dict
        The name of each, its seconds, and the process's peak memory (MB) so far.
    """

    def __init__(self) -> None:
        self.taken: list[dict[str, float | str]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what is done inside."""
        start = time.perf_counter()
        yield
        seconds, peak = time.perf_counter() - start, self.peak_mb()
        self.taken.append({"step": name, "s": seconds, "peak_mb": peak})
        print(f"{name:34}{seconds:8.3f} s   peak so far {peak:6.0f} MB")

    @staticmethod
    def peak_mb() -> float:
        """Return the most memory (MB) that the process has had so far."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
