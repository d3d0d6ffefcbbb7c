"""`Geometry`: where the windows of every recording are, in samples at the target rate.

A recording of n frames at rate r has N = ceil(n R / r) samples at rate R. Window k starts at sample
k * hop. Only the last window may start elsewhere, with tail="shift": at max(0, N - size).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from headrace.errors import InvalidWindowsError
from headrace.windows._spec import Coverage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.windows._spec import WindowSpec

__all__ = ["Geometry"]


@dataclass(frozen=True, eq=False)
class Geometry:
    """The windows of many recordings, numbered one recording after the other.

    Stores a few integers for each recording and nothing for each window.

    Attributes
    ----------
    spec : WindowSpec
        How the recordings are cut.
    samples : ndarray of int64, shape ``(recordings,)``
        Samples of each recording at the target rate.
    counts : ndarray of int64, shape ``(recordings,)``
        Windows of each recording.
    """

    spec: WindowSpec
    samples: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def from_frames(
        cls, spec: WindowSpec, frames: NDArray[np.int64], sample_rates: NDArray[np.int64]
    ) -> Geometry:
        """Cut recordings of `frames` frames at `sample_rates` Hz.

        Raises
        ------
        InvalidWindowsError
            A recording's frames times the sample rate exceed 63 bits.
        """
        longest = int(frames.max(initial=0))
        if longest * spec.sample_rate >= 1 << 63:
            raise InvalidWindowsError(
                f"a recording of {longest} frames cannot be cut at {spec.sample_rate} Hz: leave it "
                "out with catalog.filter, or give a lower sample_rate."
            )
        if (sample_rates == sample_rates[:1]).all():  # the usual case, ten times faster
            sample_rates = sample_rates[:1]
        divisor = np.gcd(sample_rates, spec.sample_rate)
        samples = -(-frames * (spec.sample_rate // divisor) // (sample_rates // divisor))
        full = np.where(samples >= spec.size, (samples - spec.size) // spec.hop + 1, 0)
        covered = np.where(full > 0, (full - 1) * spec.hop + spec.size, 0)
        if spec.tail == "pad":
            # Samples that only one more window would hold. If hop <= size, it reaches the end.
            new = samples - np.maximum(full * spec.hop, covered)
            more = (new > 0) & ((new >= spec.min_tail) | (full == 0))
        elif spec.tail == "shift":
            more = covered < samples
        else:
            more = np.zeros(len(samples), bool)
        if spec.min_audio:
            start = full * spec.hop if spec.tail == "pad" else np.maximum(samples - spec.size, 0)
            more &= samples - start >= spec.min_audio
        return cls(spec, samples, full + more)

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Number of each recording's first window, and the total: shape ``(recordings + 1,)``."""
        first = np.zeros(len(self.counts) + 1, np.int64)
        np.cumsum(self.counts, out=first[1:])
        return first

    @property
    def total(self) -> int:
        """Number of windows of all recordings."""
        return int(self.first[-1])

    def locate(
        self, windows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return where windows are, by binary search over the recordings.

        Parameters
        ----------
        windows : ndarray of int64, shape ``(rows,)``
            Their numbers.

        Returns
        -------
        recording, start, valid : ndarray of int64, shape ``(rows,)``
            The recording's number, the first sample, and the samples before the recording's end.
        """
        recording = np.searchsorted(self.first, windows, side="right") - 1
        start = (windows - self.first[recording]) * self.spec.hop
        samples = self.samples[recording]
        if self.spec.tail == "shift":
            start = np.minimum(start, np.maximum(0, samples - self.spec.size))
        return recording, start, np.minimum(self.spec.size, samples - start)

    def coverage(self, begin: int, stop: int) -> Coverage:
        """Return what the windows numbered [begin, stop) cover of their recordings.

        Recordings without windows count only if the range is that of all windows. Takes a few
        operations for each recording and none for each window.
        """
        first = np.maximum(self.first[:-1], begin)
        last = np.minimum(self.first[1:], stop) - 1
        some = np.flatnonzero(first <= last)
        chosen = np.arange(len(first)) if begin == 0 and stop == self.total else some
        first, last = first[some], last[some]
        size, hop = self.spec.size, self.spec.hop
        # All windows of a recording but the last are full, and one hop apart.
        before = last - first
        covered = np.where(before > 0, (before - 1) * min(hop, size) + size, 0)
        _, start, valid = self.locate(last)
        reached = (last - 1 - self.first[some]) * hop + size
        overlap = np.where(before > 0, np.maximum(0, reached - start), 0)
        audio, rate = int(self.samples[chosen].sum()), self.spec.sample_rate
        total = int((covered + valid - overlap).sum())
        return Coverage(
            recordings=len(chosen),
            windows=stop - begin,
            without_windows=len(chosen) - len(some),
            audio_s=audio / rate,
            covered_s=total / rate,
            left_out_s=(audio - total) / rate,
            padded_s=int((size - valid).sum()) / rate,
        )
