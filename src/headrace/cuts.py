"""The sets that others are made of: recordings that are cut, and windows at given times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headrace.geometry import Geometry
from headrace.order import epoch_key
from headrace.recordings import Recordings
from headrace.sampling import below
from headrace.sets import Located, Runs, Told, WindowSet, digest_of, rising

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from headrace.catalog import Catalog
    from headrace.records import Coverage, WindowSpec

__all__ = ["At", "Cut"]


class Cut(WindowSet):
    """All windows that recordings are cut into."""

    def __init__(self, catalog: Catalog, geometry: Geometry) -> None:
        self.recordings = Recordings(catalog)
        self.spec = geometry.spec
        self.geometry = geometry
        self.overlap = max(0, self.spec.size - self.spec.hop)
        if self.spec.tail == "shift":
            self.overlap = self.spec.size

    def __len__(self) -> int:
        return self.geometry.total

    @property
    def told(self) -> Told:
        """Recordings and cut; the choice is all."""
        return Told(_told_of(self.recordings), _told_cut(self.spec), "all")

    @property
    def manner(self) -> str:
        """The hop and the tail."""
        return f"every {self.spec.hop / self.spec.sample_rate:g} s (tail={self.spec.tail!r})"

    def locate(self, places: NDArray[np.int64], epoch: int = 0) -> Located:
        """Return where windows are: the same in every epoch."""
        del epoch
        return Located(np.zeros(len(places), np.int64), *self.geometry.locate(places))

    def runs(self) -> Runs:
        """Return which windows are of one recording: those of recordings that have some."""
        return Runs(rising(self.geometry.first))

    def coverage(self, run: range) -> Coverage:
        """Return what a run of windows covers of its recordings."""
        if run.step != 1:
            return super().coverage(run)
        return self.geometry.coverage(run.start, run.start + len(run))


class At(WindowSet):
    """Windows around given times: moved into the recording where they would pass its ends.

    Parameters
    ----------
    catalog : Catalog
        The recordings.
    spec : WindowSpec
        Sample rate, length and channel.
    recording, start : ndarray of int64
        Of each window; a start may lie outside the recording.
    jitter : int
        Samples that a window is moved by, at most, to either side.
    seed : int
        Of the jitter, which is a hash of (seed, epoch, place).
    """

    def __init__(
        self,
        catalog: Catalog,
        spec: WindowSpec,
        recording: NDArray[np.int64],
        start: NDArray[np.int64],
        jitter: int,
        seed: int,
    ) -> None:
        self.recordings = Recordings(catalog)
        self.spec = spec
        self.overlap = spec.size
        samples = Geometry.of(spec, catalog.frames, catalog.sample_rates).samples
        self._samples = samples[recording]
        self._recording, self._start = recording, start
        self._jitter, self._seed = jitter, seed

    def __len__(self) -> int:
        return len(self._start)

    @property
    def told(self) -> Told:
        """Recordings, length, and a digest of the times."""
        choice = f"{len(self)} at times {digest_of(self._recording, self._start)}"
        if self._jitter:
            choice += f" give or take {self._jitter} samples, seed {self._seed}"
        return Told(_told_of(self.recordings), _told_cut(self.spec), choice)

    @property
    def manner(self) -> str:
        """Where they are."""
        jitter = self._jitter / self.spec.sample_rate
        return f"at given times{f' give or take {jitter:g} s' if jitter else ''}"

    def locate(self, places: NDArray[np.int64], epoch: int = 0) -> Located:
        """Return where windows are, in this epoch."""
        start, samples = self._start[places], self._samples[places]
        if self._jitter:
            key = epoch_key(self._seed, epoch, "jitter")
            start = start + below(2 * self._jitter + 1, places, key) - self._jitter
        start = np.clip(start, 0, np.maximum(0, samples - self.spec.size))
        return Located(
            np.zeros(len(places), np.int64),
            self._recording[places],
            start,
            np.minimum(self.spec.size, samples - start),
        )


def _told_of(recordings: Recordings) -> str:
    return " + ".join(f"{len(one)} recordings {one.fingerprint}" for one in recordings.catalogs)


def _told_cut(spec: WindowSpec) -> str:
    return (
        f"{spec.sample_rate} Hz, {spec.size} samples every {spec.hop}, {spec.tail} from "
        f"{spec.min_tail}, channel {spec.channel}"
    )
