"""`Ledger`: counts every window: expected = delivered + failed, for each recording and in total.

It counts from `Ledger.since` on: a saved state holds a position, and no counts.

Once an epoch, the logger ``headrace`` reports the windows that failed in it.

Its memory does not grow with each failed window. Counts take 8 bytes for each recording, and 8 more
for each failure code that occurs. Neighbouring windows that fail with the same code are one
`Failure`.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import brief, escape_controls, format_count
from headrace.errors import ReadError, TooManyFailuresError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog import Recordings
    from headrace.failures import Code, Failure

__all__ = ["Ledger", "parse_max_failures"]

_MAX_RUNS: Final = 1 << 16
"""The most failures that are listed, some hundred bytes each. Further ones are only counted. An
arbitrary choice."""

_FILES_IN_MESSAGE: Final = 3

_MAX_UNADDED: Final = 1 << 12
"""Delivered windows that are counted in total, and not yet for each recording: adding many at once
costs the consumer a tenth of adding each batch (40 us a batch of 32)."""

_SINCE: Final = ("since_epoch", "since_position")
"""The metadata of a ledger's table that say where counting began."""

_LOGGER: Final = logging.getLogger("headrace")

_HOW_TO_GO_ON: Final = (
    'To go on without such windows, give the loader on_error="mask" or "skip": loader.failures '
    "then lists them."
)


@dataclass(slots=True, eq=False)
class _FailureRun:
    """Neighbouring windows of one recording that failed with the same code."""

    number: int  # runs are numbered in the order of their first failure
    first: int
    last: int
    windows: int
    failure: Failure  # of the window `first`
    start_s: float  # of the whole run: neighbours in a chosen set may be in any order in the file
    stop_s: float


class Ledger:
    """Counts delivered and failed windows, and raises when too many fail.

    Parameters
    ----------
    recordings : Recordings
        The recordings whose windows are counted.
    raise_on_failure : bool
        Whether the first failure raises.
    max_failures : int or None
        The most windows of an epoch that may fail; None for any number.

    Attributes
    ----------
    delivered, failed : int
        Number of windows.
    delivered_samples : int
        Samples of audio in the delivered windows, without padding, at the windows' rate.
    last_failure : Failure or None
        The newest failure.
    since : (int, int)
        Epoch, and position in it, of the first window that was counted.
    """

    def __init__(
        self, recordings: Recordings, *, raise_on_failure: bool, max_failures: int | None
    ) -> None:
        self.delivered = 0
        self.delivered_samples = 0
        self.failed = 0
        self.last_failure: Failure | None = None
        self.since = (0, 0)
        self._recordings = recordings
        self._raise_on_failure = raise_on_failure
        self._max_failures = max_failures
        self._epoch, self._failed_in_epoch = 0, 0
        self._unreported: Counter[str] = Counter()  # failures of the epoch by code
        self._first_unreported: Failure | None = None
        self._delivered_by_recording = np.zeros(len(recordings), np.int64)  # but for `_unadded`
        self._unadded: list[NDArray[np.int64]] = []  # recordings of delivered windows
        self._unadded_windows = 0
        self._failed_by_code: dict[Code, Counter[int]] = {}  # by recording
        self._runs: dict[tuple[int, Code], list[_FailureRun]] = {}  # in the order of `first`
        self._run_count = 0
        self._next_number = 0

    @property
    def expected(self) -> int:
        """Windows that have been delivered or have failed."""
        return self.delivered + self.failed

    def count_delivered(self, recordings: NDArray[np.int64], samples: int) -> None:
        """Count delivered windows, given the recording of each and their samples of audio."""
        self.delivered += len(recordings)
        self.delivered_samples += samples
        self._unadded.append(recordings)
        self._unadded_windows += len(recordings)
        if self._unadded_windows >= _MAX_UNADDED:
            self._add_up()

    def _add_up(self) -> None:
        unadded, self._unadded, self._unadded_windows = self._unadded, [], 0
        if unadded:
            np.add.at(self._delivered_by_recording, np.concatenate(unadded), 1)

    def count_one_delivered(self, recording: int, samples: int) -> None:
        """Count one delivered window, with its samples of audio."""
        self.delivered += 1
        self.delivered_samples += samples
        self._delivered_by_recording[recording] += 1

    def resume(self, epoch: int, position: int) -> None:
        """Count the epoch's failures from 0 again: the loader resumes from a saved state."""
        self.report_losses()
        self._failed_in_epoch = 0
        if not self.expected:
            self.since = (epoch, position)

    def report_losses(self) -> None:
        """Log the failures since the last report, if there are any."""
        if self._first_unreported is None:
            return
        codes = ", ".join(f"{count:,} {code}" for code, count in self._unreported.most_common())
        _LOGGER.warning(
            "%s of epoch %d could not be read or transformed (%s). The first: %s. loader.failures "
            "lists all of them.",
            format_count(self._unreported.total(), "window"),
            self._epoch,
            codes,
            self._first_unreported,
        )
        self._unreported.clear()
        self._first_unreported = None

    def count_failed(
        self, epoch: int, recording: int, failure: Failure, *, logged: bool = True
    ) -> None:
        """Count one failed window.

        Parameters
        ----------
        epoch, recording : int
            Of the window.
        failure : Failure
            Why it failed.
        logged : bool
            Whether it is logged; otherwise it is reported in another way.

        Raises
        ------
        ReadError
            Failures raise.
        TooManyFailuresError
            More windows of the epoch have failed than `max_failures`.
        """
        if epoch != self._epoch:
            self.report_losses()
            self._epoch, self._failed_in_epoch = epoch, 0
        self.failed += 1
        self._failed_in_epoch += 1
        self.last_failure = failure
        self._failed_by_code.setdefault(failure.code, Counter())[recording] += 1
        self._add_to_runs(recording, failure)
        if self._raise_on_failure:
            raise ReadError(failure, _HOW_TO_GO_ON)
        if logged:
            self._unreported[str(failure.code)] += 1
            self._first_unreported = self._first_unreported or failure
        if self._max_failures is not None and self._failed_in_epoch > self._max_failures:
            raise TooManyFailuresError(
                f"{self._failed_in_epoch:,} windows of epoch {epoch} could not be read, and "
                f"max_failures allows {self._max_failures:,}: {self._summary()}."
            )

    def _add_to_runs(self, recording: int, failure: Failure) -> None:
        """Add the window to the run it belongs to, or begin a new one."""
        runs = self._runs.get((recording, failure.code)) or []
        index = bisect_left(runs, failure.index, key=lambda run: run.last + 1)
        if index < len(runs) and runs[index].first - 1 <= failure.index:
            run = runs[index]
        elif self._run_count < _MAX_RUNS:
            span = failure.start_s, failure.stop_s
            run = _FailureRun(self._next_number, failure.index, failure.index, 0, failure, *span)
            runs.insert(index, run)
            self._runs[recording, failure.code] = runs
            self._run_count += 1
            self._next_number += 1
        else:
            return
        run.windows += 1
        if failure.index < run.first:
            run.first, run.failure = failure.index, failure
        run.last = max(run.last, failure.index)
        run.start_s = min(run.start_s, failure.start_s)
        run.stop_s = max(run.stop_s, failure.stop_s)
        after = runs[index + 1] if index + 1 < len(runs) else None
        if (
            after is not None and after.first == run.last + 1
        ):  # the window fills the gap between two runs
            run.number = min(run.number, after.number)
            run.last = after.last
            run.start_s = min(run.start_s, after.start_s)
            run.stop_s = max(run.stop_s, after.stop_s)
            run.windows += after.windows
            del runs[index + 1]
            self._run_count -= 1

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The failures, in the order in which each run began."""
        all_runs = [run for runs in self._runs.values() for run in runs]
        return tuple(
            replace(
                run.failure,
                index=run.first,
                start_s=run.start_s,
                stop_s=run.stop_s,
                windows=run.windows,
            )
            for run in sorted(all_runs, key=attrgetter("number"))
        )

    def table(self) -> pa.Table:
        """Return an Arrow table with a row for each recording: see `Loader.ledger`."""
        import pyarrow as pa

        self._add_up()
        by_code = {
            str(code): np.zeros_like(self._delivered_by_recording)
            for code in sorted(self._failed_by_code)
        }
        for code, counts in self._failed_by_code.items():
            by_code[str(code)][list(counts)] = list(counts.values())
        failed = sum(by_code.values(), np.zeros_like(self._delivered_by_recording))
        return pa.table(
            {
                "id": self._recordings.ids(np.arange(len(self._recordings))),
                "expected": self._delivered_by_recording + failed,
                "delivered": self._delivered_by_recording.copy(),
                "failed": failed,
                **by_code,
            }
        ).replace_schema_metadata(
            {name: str(value) for name, value in zip(_SINCE, self.since, strict=True)}
        )

    def _summary(self) -> str:
        """Return the most frequent codes and the recordings with the most failures, as text."""
        codes = Counter(
            {str(code): counts.total() for code, counts in self._failed_by_code.items()}
        )
        files = Counter({key: sum(run.windows for run in runs) for key, runs in self._runs.items()})
        causes = ", ".join(f"{count:,} {code}" for code, count in codes.most_common())
        worst = "; ".join(
            f"{count:,} of {escape_controls(failure.file_id)} ({failure.message}) [{failure.code}]"
            for failure, count in (
                (self._runs[key][0].failure, count)
                for key, count in files.most_common(_FILES_IN_MESSAGE)
            )
        )
        return f"{causes}; most of them {worst}"


def parse_max_failures(
    max_failures: float | None, windows: int, *, raise_on_failure: bool
) -> int | None:
    """Return the most windows of an epoch that may fail.

    Parameters
    ----------
    max_failures : int, float or None
        A number of windows, or a float in [0, 1): a fraction of the epoch.
    windows : int
        Windows in an epoch.
    raise_on_failure : bool
        Whether the first failure raises anyway.

    Raises
    ------
    ValueError
        `max_failures` is neither, or has no effect because the first failure raises.
    """
    if max_failures is None:
        return None
    if raise_on_failure:
        raise ValueError(
            'max_failures needs on_error="skip" or "mask": "raise" stops at the first failure.'
        )
    whole = isinstance(max_failures, int | np.integer) and not isinstance(max_failures, bool)
    if whole and max_failures >= 0:
        return int(max_failures)
    if isinstance(max_failures, float) and 0 <= max_failures < 1:
        return int(max_failures * windows)
    raise ValueError(
        "max_failures must be a number of windows, or a fraction from 0 to less than 1, not "
        f"{brief(max_failures)}."
    )
