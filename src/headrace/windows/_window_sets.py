"""Sets of windows: which recording, first sample and valid samples are at each place of a set.

The sets are the windows that recordings are cut into, windows at given times, random crops, a slice
of a set, chosen windows of a set, and several sets one after the other. All are pure and
vectorised. They store nothing for each window, except for windows that were given one by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from headrace._formatting import format_count
from headrace.catalog import Recordings
from headrace.errors import InvalidWindowsError
from headrace.windows._geometry import Geometry
from headrace.windows._identity import (
    AllWindows,
    AudibleCutIdentity,
    CropsIdentity,
    CutIdentity,
    RecordingsIdentity,
    SetIdentity,
    SliceIdentity,
    TakenIdentity,
    TimesIdentity,
    concatenate_identities,
    digest_arrays,
)
from headrace.windows._intervals import concatenate_ranges
from headrace.windows._permutation import draw_below, epoch_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from headrace.catalog import Catalog
    from headrace.windows._spec import Coverage, WindowSpec

__all__ = [
    "ConcatenatedSet",
    "Crops",
    "CutWindows",
    "Runs",
    "WindowRows",
    "WindowSet",
    "WindowsAtTimes",
    "drop_empty_runs",
]

_ROWS_AT_ONCE = 1 << 16
"""Windows that are walked in one step: a few megabytes, and enough to hide the cost of NumPy's
calls."""


@dataclass(slots=True, eq=False)
class WindowRows:
    """Where some windows are: arrays with one row for each window.

    Attributes
    ----------
    index : ndarray of int64, shape ``(rows,)``
        Place in the set; for `Windows`, in the unshuffled set.
    source : ndarray of int64, shape ``(rows,)``
        Index of the concatenated set that the window is from; else 0.
    recording : ndarray of int64, shape ``(rows,)``
        Number of the recording.
    start : ndarray of int64, shape ``(rows,)``
        First sample, at the target rate.
    valid : ndarray of int64, shape ``(rows,)``
        Samples before the end of the recording, at the target rate.
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
    """The windows of a set, grouped by recording.

    Attributes
    ----------
    bounds : ndarray of int64, shape ``(runs + 1,)``
        Run i has the places ``bounds[i] .. bounds[i + 1] - 1`` of the set. No run is empty.
    places : ndarray of int64, shape ``(windows,)``, or None
        None if each recording's windows are neighbours in the set. Otherwise the places of the set,
        sorted by recording; `bounds` are then indices into this array.
    """

    bounds: NDArray[np.int64]
    places: NDArray[np.int64] | None = None


class WindowSet(ABC):
    """A sequence of windows, described by where each of them is.

    Attributes
    ----------
    recordings : Recordings
        The recordings that the windows are of.
    spec : WindowSpec
        Sample rate, length and channel.
    overlap : int
        Largest number of samples that two neighbouring windows may share.
    has_sources : bool
        Whether several sets were concatenated, so that `WindowRows.source` has a meaning.
    moves : bool
        Whether windows are at other places in other epochs.
    """

    recordings: Recordings
    spec: WindowSpec
    overlap: int
    has_sources: bool = False
    moves: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def identity(self) -> SetIdentity:
        """The fields that decide which windows these are, and where."""

    @property
    @abstractmethod
    def description(self) -> str:
        """How the set was made, for `repr`."""

    @abstractmethod
    def locate(
        self,
        places: NDArray[np.int64],
        epoch: int = 0,
        draws: NDArray[np.int64] | None = None,
    ) -> WindowRows:
        """Return where the windows at `places` are in this epoch.

        Parameters
        ----------
        places : ndarray of int64, shape ``(rows,)``
            Places in the set.
        epoch : int
            The epoch.
        draws : ndarray of int64, shape ``(rows,)``, optional
            The number of each draw, where an order may draw a place several times in an epoch:
            each draw is then a random crop of its own.
        """

    def chunks(self, most: int | None = None) -> Iterator[WindowRows]:
        """Yield where all windows are in epoch 0, in order: at most so many at once."""
        most = _ROWS_AT_ONCE if most is None else most
        for begin in range(0, len(self), most):
            yield self.locate(np.arange(begin, min(begin + most, len(self)), dtype=np.int64))

    def sliced(self, places: range) -> WindowSet:
        """Return the set of the windows at a range of places."""
        return self if places == range(len(self)) else _Slice(self, places)

    def taken(self, places: NDArray[np.int64]) -> WindowSet:
        """Return the set of the windows at given places; a place may occur several times."""
        return _Taken(self, places)

    def runs(self) -> Runs:
        """Return the windows grouped by recording."""
        return self._group_by_recording(np.arange(len(self) + 1, dtype=np.int64))

    def _group_by_recording(self, bounds: NDArray[np.int64]) -> Runs:
        """Return the runs, given bounds between which all windows are of one recording."""
        recording = self.locate(bounds[:-1]).recording
        new = np.flatnonzero(np.diff(recording, prepend=-1))
        bounds, recording = np.append(bounds[new], bounds[-1]), recording[new]
        if len(np.unique(recording)) == len(recording):
            return Runs(bounds)
        by_recording = np.argsort(recording, kind="stable")
        lengths = np.diff(bounds)[by_recording]
        first = np.flatnonzero(np.diff(recording[by_recording], prepend=-1))
        ends = np.append(0, np.cumsum(lengths))
        return Runs(
            ends[np.append(first, len(by_recording))],
            concatenate_ranges(bounds[by_recording], lengths),
        )

    def coverage(self, places: range) -> Coverage:
        """Return what the windows at a range of places cover of their recordings.

        Raises
        ------
        InvalidWindowsError
            These are not neighbouring windows that a catalog is cut into.
        """
        del places
        raise InvalidWindowsError(
            "coverage is only known for all windows of one catalog or a slice of neighbouring "
            "ones, not for slices with a step, windows taken one by one or at given times, "
            "random crops, or several sets."
        )


class _Slice(WindowSet):
    """A slice of a set: the windows at a range of places."""

    def __init__(self, base: WindowSet, chosen: range) -> None:
        self.recordings, self.spec, self.overlap = base.recordings, base.spec, base.overlap
        self.has_sources, self.moves = base.has_sources, base.moves
        self._base, self._chosen = base, chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def identity(self) -> SetIdentity:
        """The identity of the base set, and which of its windows are chosen."""
        base, chosen = self._base.identity, self._chosen
        choice = SliceIdentity(chosen.start, chosen.step, len(chosen), base.choice)
        return replace(base, choice=choice)

    @property
    def description(self) -> str:
        """The description of the base set."""
        return self._base.description

    def locate(
        self,
        places: NDArray[np.int64],
        epoch: int = 0,
        draws: NDArray[np.int64] | None = None,
    ) -> WindowRows:
        """Return where the windows at `places` are in this epoch."""
        rows = self._base.locate(self._chosen.start + places * self._chosen.step, epoch, draws)
        rows.index = places
        return rows

    def sliced(self, places: range) -> WindowSet:
        """Return the slice of the base set that has the same windows."""
        return self._base.sliced(self._chosen[places.start : places.stop : places.step])

    def runs(self) -> Runs:
        """Return the runs of the base set, limited to the slice."""
        bounds, places = self._base.runs()
        if places is not None:
            return super().runs()
        chosen = self._chosen
        return Runs(
            drop_empty_runs(np.clip(-(-(bounds - chosen.start) // chosen.step), 0, len(self)))
        )

    def coverage(self, places: range) -> Coverage:
        """Return the base set's coverage of these windows."""
        return self._base.coverage(self._chosen[places.start : places.stop : places.step])


class _Taken(WindowSet):
    """The windows at given places of a set: 8 bytes for each."""

    def __init__(self, base: WindowSet, places: NDArray[np.int64]) -> None:
        self.recordings, self.spec, self.overlap = base.recordings, base.spec, base.spec.size
        self.has_sources, self.moves = base.has_sources, base.moves
        self._base, self._places = base, places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def identity(self) -> SetIdentity:
        """The identity of the base set, and a digest of the places."""
        base = self._base.identity
        choice = TakenIdentity(len(self), digest_arrays(self._places), base.choice)
        return replace(base, choice=choice)

    @property
    def description(self) -> str:
        """The size and the description of the base set."""
        return f"taken from {len(self._base):,} {self._base.description}"

    def locate(
        self,
        places: NDArray[np.int64],
        epoch: int = 0,
        draws: NDArray[np.int64] | None = None,
    ) -> WindowRows:
        """Return where the windows at `places` are in this epoch."""
        rows = self._base.locate(self._places[places], epoch, draws)
        rows.index = places
        return rows

    def sliced(self, places: range) -> WindowSet:
        """Return fewer windows of the same base set."""
        if places == range(len(self)):
            return self
        return _Taken(self._base, self._places[places.start : places.stop : places.step])

    def taken(self, places: NDArray[np.int64]) -> WindowSet:
        """Return some of these windows, as windows of the same base set."""
        return _Taken(self._base, self._places[places])


class ConcatenatedSet(WindowSet):
    """Several sets one after the other; `WindowRows.source` is the index of the set."""

    has_sources = True

    def __init__(self, sets: Sequence[WindowSet]) -> None:
        self.sets = tuple(sets)
        self.moves = any(one.moves for one in sets)
        self.recordings = Recordings(*(c for one in sets for c in one.recordings.catalogs))
        specs = {one.spec for one in sets}
        self.spec = sets[0].spec
        if len(specs) > 1:  # keep only what all of them share
            self.spec = replace(self.spec, hop=self.spec.size, tail="pad", min_tail=0, min_audio=0)
        # If no recording is in two sets, neighbours from two sets have no sample in common.
        catalogs = sum(len(one.recordings.catalogs) for one in sets)
        self._disjoint = catalogs == len(self.recordings.catalogs)
        self.overlap = max(one.overlap for one in sets) if self._disjoint else self.spec.size

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """Place of each set's first window, and the total; shape ``(sets + 1,)``."""
        return np.cumsum([0, *map(len, self.sets)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.first[-1])

    @property
    def identity(self) -> SetIdentity:
        """The fields of all sets; the same however concatenations are nested."""
        catalogs = {one.fingerprint: len(one) for one in self.recordings.catalogs}
        sources = [source.identity for source in self._sources()]
        return concatenate_identities(sources, catalogs, len(self))

    def _sources(self) -> Iterator[WindowSet]:
        """Yield the sets, those of nested concatenations one by one."""
        for one in self.sets:
            if isinstance(one, ConcatenatedSet):
                yield from one._sources()  # noqa: SLF001  of the same class
            else:
                yield one

    @property
    def description(self) -> str:
        """The number of sets."""
        return f"of {format_count(len(self.sets), 'source')}"

    def locate(
        self,
        places: NDArray[np.int64],
        epoch: int = 0,
        draws: NDArray[np.int64] | None = None,
    ) -> WindowRows:
        """Return where the windows at `places` are in this epoch."""
        source = np.searchsorted(self.first, places, side="right") - 1
        located = WindowRows(places, source, *(np.empty(len(places), np.int64) for _ in range(3)))
        for number in np.unique(source).tolist():
            one, here = self.sets[number], source == number
            numbers = None if draws is None else draws[here]
            found = one.locate(places[here] - self.first[number], epoch, numbers)
            located.recording[here] = one.recordings.numbers_in(self.recordings, found.recording)
            located.start[here], located.valid[here] = found.start, found.valid
        return located

    def runs(self) -> Runs:
        """Return the runs of all sets; a recording that is in several of them is one run."""
        runs = [one.runs() for one in self.sets]
        if any(run.places is not None for run in runs):
            return super().runs()
        begins = [run.bounds[:-1] + first for run, first in zip(runs, self.first, strict=False)]
        bounds = np.append(np.concatenate(begins), self.first[-1])
        return Runs(bounds) if self._disjoint else self._group_by_recording(bounds)


def drop_empty_runs(bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bounds of runs without those of empty runs."""
    return np.concatenate([bounds[:1], bounds[1:][np.diff(bounds) > 0]])


class CutWindows(WindowSet):
    """All windows that the recordings of a catalog are cut into."""

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
        """The recordings and how they are cut."""
        return SetIdentity(
            _recordings_identity(self.recordings), _cut_identity(self.spec), AllWindows()
        )

    @property
    def description(self) -> str:
        """The hop and the tail."""
        return f"every {self.spec.hop / self.spec.sample_rate:g} s (tail={self.spec.tail!r})"

    def locate(
        self,
        places: NDArray[np.int64],
        epoch: int = 0,
        draws: NDArray[np.int64] | None = None,
    ) -> WindowRows:
        """Return where the windows at `places` are: the same in every epoch."""
        del epoch, draws
        return WindowRows(places, np.zeros(len(places), np.int64), *self.geometry.locate(places))

    def runs(self) -> Runs:
        """Return the windows grouped by recording."""
        return Runs(drop_empty_runs(self.geometry.first))

    def coverage(self, places: range) -> Coverage:
        """Return what the windows at a range of places cover of their recordings."""
        if places.step != 1:
            return super().coverage(places)
        return self.geometry.coverage(places.start, places.start + len(places))


class WindowsAtTimes(WindowSet):
    """Windows around given times, moved so that they do not pass the ends of their recording.

    Parameters
    ----------
    catalog : Catalog
        The recordings.
    spec : WindowSpec
        Sample rate, length and channel.
    recording, start : ndarray of int64, shape ``(windows,)``
        Recording and first sample of each window; a start may lie outside the recording.
    jitter : ndarray of int64, shape ``(windows,)``
        Largest number of samples by which each window is moved to either side, anew in each epoch.
    seed : int
        Seed of the jitter, which is a hash of (seed, epoch, place).
    """

    def __init__(
        self,
        catalog: Catalog,
        spec: WindowSpec,
        recording: NDArray[np.int64],
        start: NDArray[np.int64],
        jitter: NDArray[np.int64],
        seed: int,
    ) -> None:
        self.recordings = Recordings(catalog)
        self.spec = spec
        self.overlap = spec.size
        samples = Geometry.from_frames(spec, catalog.frames, catalog.sample_rates).samples
        self._samples = samples[recording]
        self._recording, self._start = recording, start
        self._seed = seed
        self._most = int(jitter.max(initial=0))
        self.moves = self._most > 0
        # One number if all are the same, which takes no memory for each window.
        self._each = None if (jitter == self._most).all() else jitter

    def __len__(self) -> int:
        return len(self._start)

    @property
    def identity(self) -> SetIdentity:
        """The recordings, the length, and a digest of the times."""
        each = () if self._each is None else (self._each,)
        digest = digest_arrays(self._recording, self._start, *each)
        seed = self._seed if self._most else 0
        return SetIdentity(
            _recordings_identity(self.recordings),
            _cut_identity(self.spec),
            TimesIdentity(len(self), digest, self._most, seed),
        )

    @property
    def description(self) -> str:
        """That the windows are at given times, and the jitter."""
        jitter = self._most / self.spec.sample_rate
        return "at given times" + (f" with a jitter of up to {jitter:g} s" if jitter else "")

    def locate(
        self,
        places: NDArray[np.int64],
        epoch: int = 0,
        draws: NDArray[np.int64] | None = None,
    ) -> WindowRows:
        """Return where the windows at `places` are in this epoch."""
        del draws
        start, samples = self._start[places], self._samples[places]
        if self._most:
            key = epoch_key(self._seed, epoch, "jitter")
            jitter = self._most if self._each is None else self._each[places]
            start = start + draw_below(2 * jitter + 1, places, key) - jitter
        start = np.clip(start, 0, np.maximum(0, samples - self.spec.size))
        return WindowRows(
            places,
            np.zeros(len(places), np.int64),
            self._recording[places],
            start,
            np.minimum(self.spec.size, samples - start),
        )


class Crops(WindowSet):
    """Windows at random places of their recordings, which are new in every epoch.

    The places of a recording are uniform over all that a window fits in. A recording that is not
    longer than a window has one place, its start.

    Parameters
    ----------
    catalog : Catalog
        The recordings.
    spec : WindowSpec
        Sample rate, length and channel, and the audio that a recording needs.
    samples : ndarray of int64, shape ``(recordings,)``
        Samples of each recording at the target rate.
    per_recording : int
        Windows of each recording.
    seed : int
        Seed of the places, which are hashes of (seed, epoch, place in the set) or, where an order
        may draw a window several times, of (seed, epoch, number of the draw).

    Attributes
    ----------
    per_recording : int
        As given.
    """

    def __init__(
        self,
        catalog: Catalog,
        spec: WindowSpec,
        samples: NDArray[np.int64],
        per_recording: int,
        seed: int,
    ) -> None:
        self.recordings = Recordings(catalog)
        self.spec = spec
        self.overlap = spec.size
        self.moves = bool(samples.max(initial=0) > spec.size)
        self._samples = samples
        self._recording: NDArray[np.int64] | None = None  # None: all recordings
        if spec.min_audio and samples.min(initial=spec.size) < spec.min_audio:
            self._recording = np.flatnonzero(samples >= spec.min_audio)
        self.per_recording = per_recording
        self._seed = seed

    @property
    def recording(self) -> NDArray[np.int64]:
        """Number of each window's recording: int64, shape ``(windows,)``."""
        return self._recording_of(np.arange(len(self), dtype=np.int64))

    def __len__(self) -> int:
        recordings = self._samples if self._recording is None else self._recording
        return len(recordings) * self.per_recording

    @property
    def identity(self) -> SetIdentity:
        """The recordings, the length, and the seed."""
        return SetIdentity(
            _recordings_identity(self.recordings),
            _cut_identity(self.spec),
            CropsIdentity(self.per_recording, self._seed),
        )

    @property
    def description(self) -> str:
        """That the places are random."""
        return "cropped at random"

    def _recording_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        number = places // self.per_recording
        return number if self._recording is None else self._recording[number]

    def locate(
        self,
        places: NDArray[np.int64],
        epoch: int = 0,
        draws: NDArray[np.int64] | None = None,
    ) -> WindowRows:
        """Return where the windows at `places` are in this epoch."""
        recording = self._recording_of(places)
        samples = self._samples[recording]
        starts = np.maximum(samples - self.spec.size, 0) + 1
        counters = places if draws is None else draws
        start = draw_below(starts, counters, epoch_key(self._seed, epoch, "crop"))
        return WindowRows(
            places,
            np.zeros(len(places), np.int64),
            recording,
            start,
            np.minimum(self.spec.size, samples - start),
        )


def _recordings_identity(recordings: Recordings) -> RecordingsIdentity:
    (catalog,) = recordings.catalogs
    return RecordingsIdentity(len(catalog), 1, catalog.fingerprint)


def _cut_identity(spec: WindowSpec) -> CutIdentity:
    cut = (spec.sample_rate, spec.size, spec.hop, spec.tail, spec.min_tail, spec.channel)
    return AudibleCutIdentity(*cut, spec.min_audio) if spec.min_audio else CutIdentity(*cut)
