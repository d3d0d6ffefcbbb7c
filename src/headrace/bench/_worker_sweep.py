"""`sweep`: measure the loader with each number of workers, and recommend a number."""

from __future__ import annotations

import math
import platform
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Literal

from headrace._cpu_count import available_processors
from headrace._formatting import format_count
from headrace.errors import ReadError
from headrace.loading import Loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.observe import Stats
    from headrace.windows import Batch, Windows

__all__ = ["CLOSE_ENOUGH", "SweepResult", "WorkerResult", "default_workers", "sweep"]

CLOSE_ENOUGH: Final = 0.05
"""A number of workers that is at most this share slower than the fastest counts as equally fast.

Rounds on a quiet machine differ by about as much. Of equally fast numbers the smallest is
recommended, because each worker takes memory.

Whether the rounds tell is decided as in a sign test (Dixon and Mood, 1946). In every round, a
number is within this share of the round's fastest, or it is not. Only if all rounds agree does it
count as fast, or as slow. For a number just on the border, each round is a coin toss, and n rounds
agree by chance with probability 2^(1 - n): 6 % for 5 rounds, 25 % for 3. Numbers are compared
within a round only, so that a machine that slows down does not decide.
"""


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """The measurements of one number of workers.

    Attributes
    ----------
    workers : int
        0 is the plain loader, which loads in the calling thread.
    runs : tuple of Stats
        The statistics of each counted round, in order.
    """

    workers: int
    runs: tuple[Stats, ...]

    @property
    def windows_per_s(self) -> float:
        """Windows delivered per second, the median over the rounds."""
        return median(run.windows_per_s for run in self.runs)

    @property
    def times_real_time(self) -> float:
        """Seconds of audio delivered per second, the median over the rounds."""
        return median(run.times_real_time for run in self.runs)

    @property
    def wait_share(self) -> float:
        """Share of the run that the consumer waited, in [0, 1], the median over the rounds."""
        return median(run.wait_share for run in self.runs)

    @property
    def spread(self) -> float:
        """Fastest minus slowest round, as a share of the median."""
        rates = [run.windows_per_s for run in self.runs]
        return (max(rates) - min(rates)) / median(rates)

    @property
    def memory_bound(self) -> int:
        """The loader's `memory_bound`, bytes."""
        return self.runs[0].memory_bound


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What `sweep` measured.

    Attributes
    ----------
    rows : tuple of WorkerResult
        One per number of workers, ascending.
    windows, epochs : int
        Windows per epoch, and epochs per run.
    window_s : float
        Length of a window, seconds.
    sample_rate : int
        Target rate, Hz.
    batch_size : int
        Windows per batch.
    processors : int
        Number of processors that this process may use.
    failed : int
        Windows per run that could not be read and were left out.
    """

    rows: tuple[WorkerResult, ...]
    windows: int
    epochs: int
    window_s: float
    sample_rate: int
    batch_size: int
    processors: int
    failed: int

    @property
    def best(self) -> WorkerResult:
        """The row with the most windows per second."""
        return max(self.rows, key=lambda row: row.windows_per_s)

    @property
    def recommended(self) -> int | None:
        """The smallest number of workers within `CLOSE_ENOUGH` of the fastest in every round.

        None if the noise decides: a number is so in some rounds only, and no smaller one in all. 0
        is recommended only if nothing else was measured: it never loads while the model runs.
        """
        row, rounds = self._first_fast
        return row.workers if all(rounds) else None

    @property
    def _threaded(self) -> tuple[WorkerResult, ...]:
        """The rows that may be recommended."""
        return tuple(row for row in self.rows if row.workers) or self.rows

    @property
    def _first_fast(self) -> tuple[WorkerResult, list[bool]]:
        """The smallest number that is fast in any round, and in which rounds it is.

        If a number has more rounds than others, those are left out.
        """
        rates = [[run.windows_per_s for run in row.runs] for row in self._threaded]
        enough = [(1 - CLOSE_ENOUGH) * max(in_round) for in_round in zip(*rates, strict=False)]
        for row, own in zip(self._threaded, rates, strict=True):
            rounds = [rate >= least for rate, least in zip(own, enough, strict=False)]
            if any(rounds):
                return row, rounds
        raise AssertionError("the fastest of a round is fast in that round")

    @property
    def reason(self) -> str:
        """The recommendation and its reason, in a sentence or two."""
        if not any(row.workers for row in self.rows):
            return "Only the plain loader was measured: add other numbers of workers."
        threaded = self._threaded
        chosen, rounds = self._first_fast
        fastest = max(threaded, key=lambda row: row.windows_per_s)
        if not all(rounds):
            return (
                "No number of workers is recommended, because the differences are within the "
                f"noise: {format_count(chosen.workers, 'worker')} came within {CLOSE_ENOUGH:.0%} "
                f"of the fastest in {sum(rounds)} of {format_count(len(rounds), 'round')}. Stop "
                "other programs, or measure more rounds."
            )
        if len(threaded) == 1:
            why = "no other threaded loader was measured"
        elif chosen is not fastest:
            loss = 1 - chosen.windows_per_s / fastest.windows_per_s
            why = (
                f"within {max(loss, 0.001):.1%} of the fastest, which has {fastest.workers}; "
                "more workers only take more memory"
            )
        elif chosen is threaded[-1] and chosen.workers <= self.processors:
            why = "the fastest and the largest number measured, so more may be faster still"
        else:
            why = f"the fastest, on {format_count(self.processors, 'processor')}"
        plain = next((row for row in self.rows if not row.workers), None)
        if plain is not None:
            gain = chosen.windows_per_s / plain.windows_per_s
            why += f". {gain:.2f} times as fast as the plain loader"
        return f"workers={chosen.workers}: {why}."

    @property
    def verdict(self) -> str:
        """The verdict on the last run of the number that is, or might be, recommended."""
        return self._first_fast[0].runs[-1].verdict

    @property
    def noise_warning(self) -> str:
        """A warning if the rounds differ much, or if there is one round only; else empty."""
        if len(self.rows[0].runs) == 1 and len(self._threaded) > 1:
            return "One round does not show the noise: measure 3 or more to compare the numbers."
        widest = max(row.spread for row in self.rows)
        if widest <= 2 * CLOSE_ENOUGH:
            return ""
        return (
            f"The rounds differ by up to {widest:.0%}: another program may keep this machine busy. "
            "For a more precise result stop it, or measure more rounds."
        )

    def as_json(self) -> dict[str, Any]:
        """Return all measurements and facts about the machine, in a form for `json.dump`."""
        return {
            "headrace": version("headrace"),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.system(),
            "processors": self.processors,
            "windows": self.windows,
            "epochs": self.epochs,
            "window_s": self.window_s,
            "sample_rate": self.sample_rate,
            "batch_size": self.batch_size,
            "failed": self.failed,
            "recommended": self.recommended,
            "reason": self.reason,
            "verdict": self.verdict,
            "rows": [
                {
                    "workers": row.workers,
                    "windows_per_s": row.windows_per_s,
                    "times_real_time": row.times_real_time,
                    "wait_share": row.wait_share,
                    "spread": row.spread,
                    "memory_bound": row.memory_bound,
                    "runs": [asdict(run) for run in row.runs],
                }
                for row in self.rows
            ],
        }


def default_workers(processors: int | None = None) -> tuple[int, ...]:
    """Return 0, 1, 2, 4, ... up to the first number above `processors`.

    By default `processors` is the number that this process may use.
    """
    processors = available_processors() if processors is None else processors
    workers = [0, 1]
    while workers[-1] <= processors:
        workers.append(2 * workers[-1])
    return tuple(workers)


def sweep(
    windows: Windows,
    workers: Iterable[int] | None = None,
    *,
    rounds: int = 5,
    batch_size: int = 32,
    prefetch: int | Literal["auto"] = "auto",
    memory: str | int | None = None,
    consume: Callable[[Batch], object] | None = None,
    least_s: float = 0.5,
    progress: Callable[[int, int], object] | None = None,
    watch: Callable[[Loader], object] | None = None,
) -> SweepResult:
    """Measure the loader with each number of workers.

    Each round streams `windows` through one loader per number of workers. The order alternates
    (0, 1, 2, ..., then 2, 1, 0, ...), so that a machine that slows down slows all of them. A first
    round is not counted: it brings the files into the page cache. So the results are those of a
    second epoch over files that fit in memory.

    Parameters
    ----------
    windows : Windows
        The windows to stream; shuffled or not.
    workers : iterable of int, optional
        Numbers of workers; by default `default_workers`.
    rounds : int
        Number of counted rounds, at least 1.
    batch_size, prefetch, memory
        As in `Windows.loader`.
    consume : callable, optional
        Called with each batch, as a model would be.
    least_s : float
        About the shortest duration of the fastest run, in seconds. All runs stream as many epochs
        as that needs; a shorter run would mostly measure the start of the threads.
    progress : callable, optional
        Called before each run, and after the last one, with the number of runs done and in all.
    watch : callable, optional
        Called with the loader of each run before the run.

    Returns
    -------
    SweepResult

    Raises
    ------
    ValueError
        `rounds` or `workers` is out of range.
    MemoryBudgetError
        `memory` is too small for one of the loaders.
    ReadError
        None of the windows could be read.
    """
    counts = tuple(sorted(set(default_workers() if workers is None else workers)))
    if not counts or counts[0] < 0:
        raise ValueError(
            f"workers={counts} is invalid: give at least one whole number, none below 0."
        )
    if rounds < 1:
        raise ValueError(f"rounds={rounds} is invalid: give at least 1.")
    loaders = [
        partial(
            Loader,
            windows,
            batch_size=batch_size,
            workers=count,
            prefetch=prefetch,
            memory=memory,
            on_error="skip",
            log_losses=False,
        )
        for count in counts
    ]
    for loader in loaders:  # so that a memory limit that is too small is reported before any run
        loader().close()

    epochs = 1
    uncounted: list[Stats] = []
    runs: list[list[Stats]] = [[] for _ in counts]
    schedule = [
        (round_number, row)
        for round_number in range(rounds + 1)  # round 0 is not counted
        for row in range(len(counts))[:: -1 if round_number % 2 else 1]
    ]
    for done, (round_number, row) in enumerate(schedule):
        if progress is not None:
            progress(done, len(schedule))
        stats = _run(loaders[row], consume, epochs, watch)
        (runs[row] if round_number else uncounted).append(stats)
        if len(uncounted) == len(counts):
            epochs = max(1, math.ceil(least_s / min(run.wall_s for run in uncounted)))
    if progress is not None:
        progress(len(schedule), len(schedule))

    return SweepResult(
        rows=tuple(
            WorkerResult(count, tuple(counted)) for count, counted in zip(counts, runs, strict=True)
        ),
        windows=len(windows),
        epochs=epochs,
        window_s=windows.spec.size / windows.spec.sample_rate,
        sample_rate=windows.spec.sample_rate,
        batch_size=batch_size,
        processors=available_processors(),
        failed=max(stats.failed for stats in runs[0]),
    )


def _run(
    new_loader: Callable[[], Loader],
    consume: Callable[[Batch], object] | None,
    epochs: int,
    watch: Callable[[Loader], object] | None,
) -> Stats:
    """Stream `epochs` epochs through a new loader and return its statistics."""
    with new_loader() as loader:
        if watch is not None:
            watch(loader)
        for batch in loader.steps(epochs * len(loader)):
            if consume is not None:
                consume(batch)
        stats = loader.stats()
        if not stats.windows and loader.failures:
            raise ReadError(loader.failures[0])
    return stats
