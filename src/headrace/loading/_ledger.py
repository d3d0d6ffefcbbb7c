"""`Ledger`: what became of every window: expected = delivered + failed, per file and in total.

Its memory does not grow with the windows that are lost: counts are eight bytes a recording (and as
many again for each cause that occurs), and neighbours lost for one cause are one `Failure`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace.errors import ReadError, TooManyFailuresError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog import Recordings
    from headrace.failures import Code, Failure

__all__ = ["Ledger", "limit"]

_MOST_RUNS: Final = 1 << 16
"""Failures that are told one by one: some hundred bytes each. Out of the air; what is lost beyond
is counted all the same."""

_TOLD: Final = 3  # files in a message


@dataclass(slots=True, eq=False)
class _Run:
    """Windows of one file, each next to another, lost for one cause."""

    number: int  # in the order in which they were lost first
    first: int
    last: int
    windows: int
    failure: Failure  # of the first
    start_s: float  # of all: neighbours in a set that was taken may stand in any order in the file
    stop_s: float


class Ledger:
    """Counts what is delivered and what is lost, and says when that is too much.

    Parameters
    ----------
    recordings : Recordings
        Whose windows they are.
    raises : bool
        Whether the first loss is too much.
    most : int or None
        How many windows of an epoch may be lost.

    Attributes
    ----------
    delivered, failed : int
        Windows.
    last : Failure or None
        What was lost last.
    """

    def __init__(self, recordings: Recordings, *, raises: bool, most: int | None) -> None:
        self.delivered = 0
        self.failed = 0
        self.last: Failure | None = None
        self._recordings = recordings
        self._raises = raises
        self._most = most
        self._epoch, self._in_epoch = 0, 0
        self._of_file = np.zeros(len(recordings), np.int64)
        self._lost: dict[Code, Counter[int]] = {}  # by recording
        self._runs: dict[tuple[int, Code], list[_Run]] = {}  # by their first windows
        self._count = 0  # of runs
        self._number = 0

    @property
    def expected(self) -> int:
        """Windows whose turn has come."""
        return self.delivered + self.failed

    def deliver(self, recordings: NDArray[np.int64]) -> None:
        """Count windows delivered, given the number of each one's recording."""
        self.delivered += len(recordings)
        np.add.at(self._of_file, recordings, 1)

    def begin_again(self) -> None:
        """Forget what an epoch has lost that is gone back into, or left: it is counted anew."""
        self._in_epoch = 0

    def deliver_one(self, recording: int) -> None:
        """Count one window delivered."""
        self.delivered += 1
        self._of_file[recording] += 1

    def lose(self, epoch: int, recording: int, failure: Failure) -> None:
        """Count a window lost.

        Raises
        ------
        ReadError
            That is not to be.
        TooManyFailuresError
            It is one too many.
        """
        if epoch != self._epoch:
            self._epoch, self._in_epoch = epoch, 0
        self.failed += 1
        self._in_epoch += 1
        self.last = failure
        self._lost.setdefault(failure.code, Counter())[recording] += 1
        self._note(recording, failure)
        if self._raises:
            raise ReadError(failure)
        if self._most is not None and self._in_epoch > self._most:
            raise TooManyFailuresError(
                f"{self._in_epoch:,} windows of epoch {epoch} could not be read, and "
                f"max_failures allows {self._most:,}: {self._told()}."
            )

    def _note(self, recording: int, failure: Failure) -> None:
        """Put the window into the run that it belongs to, or begin one."""
        runs = self._runs.get((recording, failure.code)) or []
        at = bisect_left(runs, failure.index, key=lambda run: run.last + 1)
        if at < len(runs) and runs[at].first - 1 <= failure.index:
            run = runs[at]
        elif self._count < _MOST_RUNS:
            span = failure.start_s, failure.stop_s
            run = _Run(self._number, failure.index, failure.index, 0, failure, *span)
            runs.insert(at, run)
            self._runs[recording, failure.code] = runs
            self._count += 1
            self._number += 1
        else:
            return
        run.windows += 1
        if failure.index < run.first:
            run.first, run.failure = failure.index, failure
        run.last = max(run.last, failure.index)
        run.start_s = min(run.start_s, failure.start_s)
        run.stop_s = max(run.stop_s, failure.stop_s)
        after = runs[at + 1] if at + 1 < len(runs) else None
        if after is not None and after.first == run.last + 1:
            run.number = min(run.number, after.number)
            run.last = after.last
            run.start_s = min(run.start_s, after.start_s)
            run.stop_s = max(run.stop_s, after.stop_s)
            run.windows += after.windows
            del runs[at + 1]
            self._count -= 1

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What was lost, in the order of the first loss."""
        runs = sorted((run for some in self._runs.values() for run in some), key=_number)
        return tuple(
            replace(
                run.failure,
                index=run.first,
                start_s=run.start_s,
                stop_s=run.stop_s,
                windows=run.windows,
            )
            for run in runs
        )

    def table(self) -> pa.Table:
        """Return a row for each recording: see `Loader.ledger`."""
        import pyarrow as pa

        lost = {str(code): np.zeros_like(self._of_file) for code in sorted(self._lost)}
        for code, counts in self._lost.items():
            lost[str(code)][list(counts)] = list(counts.values())
        failed = sum(lost.values(), np.zeros_like(self._of_file))
        return pa.table(
            {
                "id": self._recordings.ids(np.arange(len(self._recordings))),
                "expected": self._of_file + failed,
                "delivered": self._of_file.copy(),
                "failed": failed,
                **lost,
            }
        )

    def _told(self) -> str:
        """Return what was lost most, by cause and by file."""
        codes = Counter({str(code): counts.total() for code, counts in self._lost.items()})
        files = Counter({key: sum(run.windows for run in runs) for key, runs in self._runs.items()})
        causes = ", ".join(f"{count:,} {code}" for code, count in codes.most_common())
        worst = "; ".join(
            f"{count:,} of {failure.file_id} ({failure.message}) [{failure.code}]"
            for failure, count in (
                (self._runs[key][0].failure, count) for key, count in files.most_common(_TOLD)
            )
        )
        return f"{causes}; most of them {worst}"


def limit(most: float | None, windows: int, *, raises: bool) -> int | None:
    """Return how many windows of an epoch may be lost.

    Parameters
    ----------
    most : int, float or None
        Windows, or a share of the epoch, from 0 and less than 1.
    windows : int
        In an epoch.
    raises : bool
        Whether the first loss raises anyway.

    Raises
    ------
    ValueError
        `most` is neither, or says nothing because the first loss raises.
    """
    if most is None:
        return None
    if raises:
        raise ValueError(
            'max_failures needs on_error="skip" or "mask": "raise" stops at the first.'
        )
    if isinstance(most, int | np.integer) and not isinstance(most, bool) and most >= 0:
        return int(most)
    if isinstance(most, float) and 0 <= most < 1:
        return int(most * windows)
    raise ValueError(
        f"max_failures must be a number of windows, or a share from 0 to less than 1, not {most!r}."
    )


def _number(run: _Run) -> int:
    return run.number
