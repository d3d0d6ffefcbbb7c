"""Sets of windows: a place in the set -> the recording, the first sample, the valid samples.

Recordings that are cut, windows at given times, and what is made of those: a slice of a set, some of
its windows, several sets one after the other. Pure, and vectorised: nothing for each window but what was given for each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from headrace.catalog import Recordings
from headrace.errors import InvalidWindowsError
from headrace.windows._geometry import Geometry
from headrace.windows._identity import (
    AllWindows,
    CutIdentity,
    RecordingsIdentity,
    SetIdentity,
    SliceIdentity,
    TakenIdentity,
    TimesIdentity,
    concatenate_identities,
    digest_arrays,
)
from headrace.windows._intervals import ranges
from headrace.windows._permutation import epoch_key
from headrace.windows._sampling import below

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from headrace.catalog import Catalog
    from headrace.windows._spec import Coverage, WindowSpec

__all__ = [
    "ConcatenatedSet",
    "CutWindows",
    "Runs",
    "WindowRows",
    "WindowSet",
    "WindowsAtTimes",
    "rising",
]


@dataclass(slots=True, eq=False)
class WindowRows:
    """Where some windows are: one row each, all arrays of int64, shape ``(rows,)``.

    Attributes
    ----------
    index : ndarray
        Place in the set that was asked: of a `Windows`, in its unshuffled set.
    source : ndarray
        Which of several joined sets; 0 where nothing was joined.
    recording : ndarray
        Number of the recording.
    start, valid : ndarray
        First sample, and samples before the recording's end, at the target rate.
    """

    index: NDArray[np.int64]
    source: NDArray[np.int64]
    recording: NDArray[np.int64]
    start: NDArray[np.int64]
    valid: NDArray[np.int64]

    def __getitem__(self, rows: slice) -> WindowRows:
        """Return some of the rows."""
        return WindowRows(
            self.index[rows],
            self.source[rows],
            self.recording[rows],
            self.start[rows],
            self.valid[rows],
        )


class Runs(NamedTuple):
    """Windows that are of one recording each.

    Attributes
    ----------
    bounds : ndarray of int64, shape ``(runs + 1,)``
        Run i is the places ``bounds[i] .. bounds[i + 1] - 1``; none is empty.
    places : ndarray of int64 or None
        Where the windows do not stand together by recording: these places do, and the bounds are
        places in here.
    """

    bounds: NDArray[np.int64]
    places: NDArray[np.int64] | None = None


class WindowSet(ABC):
    """A set of windows, each at its place.

    Attributes
    ----------
    recordings : Recordings
        What they are windows of.
    spec : WindowSpec
        Their sample rate, length and channel.
    overlap : int
        Samples that two windows one after the other may share, at most.
    joined : bool
        Whether they are of several sources.
    """

    recordings: Recordings
    spec: WindowSpec
    overlap: int
    joined: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def identity(self) -> SetIdentity:
        """What decides which windows these are, and where."""

    @property
    @abstractmethod
    def manner(self) -> str:
        """How they were made, for `repr`."""

    @abstractmethod
    def locate(self, places: NDArray[np.int64], epoch: int = 0) -> WindowRows:
        """Return where windows are, in this epoch."""

    def sliced(self, places: range) -> WindowSet:
        """Return the set of the windows at these places."""
        return self if places == range(len(self)) else _Slice(self, places)

    def taken(self, places: NDArray[np.int64]) -> WindowSet:
        """Return the set of the windows at these places, of which some may be the same."""
        return _Taken(self, places)

    def runs(self) -> Runs:
        """Return which windows are of one recording."""
        return self._by_recording(np.arange(len(self) + 1, dtype=np.int64))

    def _by_recording(self, bounds: NDArray[np.int64]) -> Runs:
        """Return the runs where the windows between two bounds are of one recording already."""
        recording = self.locate(bounds[:-1]).recording
        new = np.flatnonzero(np.diff(recording, prepend=-1))
        bounds, recording = np.append(bounds[new], bounds[-1]), recording[new]
        if len(np.unique(recording)) == len(recording):
            return Runs(bounds)
        turn = np.argsort(recording, kind="stable")
        lengths = np.diff(bounds)[turn]
        first = np.flatnonzero(np.diff(recording[turn], prepend=-1))
        ends = np.append(0, np.cumsum(lengths))
        return Runs(ends[np.append(first, len(turn))], ranges(bounds[turn], lengths))

    def coverage(self, run: range) -> Coverage:
        """Return what the windows at these places cover of their recordings."""
        del run
        raise InvalidWindowsError(
            "coverage is told of all windows that a catalog is cut into or of a run of them, not "
            "of each nth, of windows taken one by one, at given times, or from several sets."
        )


class _Slice(WindowSet):
    """Each nth of a run of a set."""

    def __init__(self, base: WindowSet, chosen: range) -> None:
        self.recordings, self.spec, self.overlap = base.recordings, base.spec, base.overlap
        self.joined = base.joined
        self._base, self._chosen = base, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def identity(self) -> SetIdentity:
        """The base set's, and which windows of it."""
        base, chosen = self._base.identity, self._chosen
        choice = SliceIdentity(chosen.start, chosen.step, len(chosen), base.choice)
        return replace(base, choice=choice)

    @property
    def manner(self) -> str:
        """The set's."""
        return self._base.manner

    def locate(self, places: NDArray[np.int64], epoch: int = 0) -> WindowRows:
        """Return where windows are, in this epoch."""
        rows = self._base.locate(self._chosen.start + places * self._chosen.step, epoch)
        rows.index = places
        return rows

    def sliced(self, places: range) -> WindowSet:
        """Return the slice of the set that names the same windows."""
        return self._base.sliced(self._chosen[places.start : places.stop : places.step])

    def runs(self) -> Runs:
        """Return the set's runs, as far as they are chosen."""
        bounds, places = self._base.runs()
        if places is not None:
            return super().runs()
        chosen = self._chosen
        return Runs(rising(np.clip(-(-(bounds - chosen.start) // chosen.step), 0, len(self))))

    def coverage(self, run: range) -> Coverage:
        """Return what the set tells of these windows."""
        return self._base.coverage(self._chosen[run.start : run.stop : run.step])


class _Taken(WindowSet):
    """Windows of a set by their places: 8 bytes each."""

    def __init__(self, base: WindowSet, places: NDArray[np.int64]) -> None:
        self.recordings, self.spec, self.overlap = base.recordings, base.spec, base.spec.size
        self.joined = base.joined
        self._base, self._places = base, places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def identity(self) -> SetIdentity:
        """The base set's, and a digest of the places."""
        base = self._base.identity
        choice = TakenIdentity(len(self), digest_arrays(self._places), base.choice)
        return replace(base, choice=choice)

    @property
    def manner(self) -> str:
        """The set's."""
        return f"taken from {len(self._base):,} {self._base.manner}"

    def locate(self, places: NDArray[np.int64], epoch: int = 0) -> WindowRows:
        """Return where windows are, in this epoch."""
        rows = self._base.locate(self._places[places], epoch)
        rows.index = places
        return rows

    def sliced(self, places: range) -> WindowSet:
        """Return fewer of the same set's windows."""
        if places == range(len(self)):
            return self
        return _Taken(self._base, self._places[places.start : places.stop : places.step])

    def taken(self, places: NDArray[np.int64]) -> WindowSet:
        """Return some of these, of the same set."""
        return _Taken(self._base, self._places[places])


class ConcatenatedSet(WindowSet):
    """Several sets one after the other; `source` tells which."""

    joined = True

    def __init__(self, parts: Sequence[WindowSet]) -> None:
        self.parts = tuple(parts)
        self.recordings = Recordings(*(c for part in parts for c in part.recordings.catalogs))
        specs = {part.spec for part in parts}
        self.spec = parts[0].spec
        if len(specs) > 1:  # only what they have in common
            self.spec = replace(self.spec, hop=self.spec.size, tail="pad", min_tail=0)
        # Whether no recording is in two parts, so that neighbours from two of them share nothing.
        many = sum(len(part.recordings.catalogs) for part in parts)
        self._apart = many == len(self.recordings.catalogs)
        self.overlap = max(part.overlap for part in parts) if self._apart else self.spec.size

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Place of each part's first window, and the total."""
        return np.cumsum([0, *map(len, self.parts)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def identity(self) -> SetIdentity:
        """Those of all sources; the same however concatenations are nested."""
        catalogs = {one.fingerprint: len(one) for one in self.recordings.catalogs}
        sources = [source.identity for source in self._sources()]
        return concatenate_identities(sources, catalogs, len(self))

    def _sources(self) -> Iterator[WindowSet]:
        """Yield the sets that are no concatenations themselves."""
        for part in self.parts:
            if isinstance(part, ConcatenatedSet):
                yield from part._sources()  # noqa: SLF001  of the same class
            else:
                yield part

    @property
    def manner(self) -> str:
        """How many were joined."""
        return f"of {len(self.parts)} sources"

    def locate(self, places: NDArray[np.int64], epoch: int = 0) -> WindowRows:
        """Return where windows are, in this epoch."""
        source = np.searchsorted(self.first, places, side="right") - 1
        located = WindowRows(places, source, *(np.empty(len(places), np.int64) for _ in range(3)))
        for one in np.unique(source).tolist():
            part, mine = self.parts[one], source == one
            found = part.locate(places[mine] - self.first[one], epoch)
            located.recording[mine] = part.recordings.within(self.recordings, found.recording)
            located.start[mine], located.valid[mine] = found.start, found.valid
        return located

    def runs(self) -> Runs:
        """Return the runs of all parts; a recording that is in several of them is one run."""
        runs = [part.runs() for part in self.parts]
        if any(run.places is not None for run in runs):
            return super().runs()
        each = [run.bounds[:-1] + first for run, first in zip(runs, self.first, strict=False)]
        bounds = np.append(np.concatenate(each), self.first[-1])
        return Runs(bounds) if self._apart else self._by_recording(bounds)


def rising(bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rising bounds without those between which there is nothing."""
    return np.concatenate([bounds[:1], bounds[1:][np.diff(bounds) > 0]])


class CutWindows(WindowSet):
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
    def identity(self) -> SetIdentity:
        """The recordings and the cut; all windows are chosen."""
        return SetIdentity(
            _recordings_identity(self.recordings), _cut_identity(self.spec), AllWindows()
        )

    @property
    def manner(self) -> str:
        """The hop and the tail."""
        return f"every {self.spec.hop / self.spec.sample_rate:g} s (tail={self.spec.tail!r})"

    def locate(self, places: NDArray[np.int64], epoch: int = 0) -> WindowRows:
        """Return where windows are: the same in every epoch."""
        del epoch
        return WindowRows(places, np.zeros(len(places), np.int64), *self.geometry.locate(places))

    def runs(self) -> Runs:
        """Return which windows are of one recording: those of recordings that have some."""
        return Runs(rising(self.geometry.first))

    def coverage(self, run: range) -> Coverage:
        """Return what a run of windows covers of its recordings."""
        if run.step != 1:
            return super().coverage(run)
        return self.geometry.coverage(run.start, run.start + len(run))


class WindowsAtTimes(WindowSet):
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
    def identity(self) -> SetIdentity:
        """The recordings, the length, and a digest of the times."""
        digest = digest_arrays(self._recording, self._start)
        seed = self._seed if self._jitter else 0
        return SetIdentity(
            _recordings_identity(self.recordings),
            _cut_identity(self.spec),
            TimesIdentity(len(self), digest, self._jitter, seed),
        )

    @property
    def manner(self) -> str:
        """Where they are."""
        jitter = self._jitter / self.spec.sample_rate
        return f"at given times{f' give or take {jitter:g} s' if jitter else ''}"

    def locate(self, places: NDArray[np.int64], epoch: int = 0) -> WindowRows:
        """Return where windows are, in this epoch."""
        start, samples = self._start[places], self._samples[places]
        if self._jitter:
            key = epoch_key(self._seed, epoch, "jitter")
            start = start + below(2 * self._jitter + 1, places, key) - self._jitter
        start = np.clip(start, 0, np.maximum(0, samples - self.spec.size))
        return WindowRows(
            places,
            np.zeros(len(places), np.int64),
            self._recording[places],
            start,
            np.minimum(self.spec.size, samples - start),
        )


def _recordings_identity(recordings: Recordings) -> RecordingsIdentity:
    (catalog,) = recordings.catalogs
    return RecordingsIdentity(len(catalog), 1, catalog.fingerprint)


def _cut_identity(spec: WindowSpec) -> CutIdentity:
    return CutIdentity(
        spec.sample_rate, spec.size, spec.hop, spec.tail, spec.min_tail, spec.channel
    )
