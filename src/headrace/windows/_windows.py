"""`Windows`: which windows are loaded, in which order and with which labels.

It is a pure, lazy, immutable, random-access sequence. It has no threads and no open files, and
computes where a window is only when that window is needed.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

import numpy as np

from headrace._formatting import format_count
from headrace._validation import arrow_errors_explained, check_whole_number
from headrace.errors import CatalogError, HeadraceWarning, InvalidWindowsError
from headrace.metadata import parse_zone
from headrace.windows._batch import AudioExample, Batch
from headrace.windows._draws import Draws, Sampled, SampledOnce, check_weights
from headrace.windows._identity import InOrderIdentity, RecordingShardIdentity, WindowsIdentity
from headrace.windows._labels import Labels
from headrace.windows._orders import Shuffle, resolve_order
from headrace.windows._shards import Shard, detect_rank
from headrace.windows._times import (
    RECORDED_AT,
    Begins,
    Sun,
    as_utc,
    begins_between,
    parse_time_of_day,
    start_times,
)
from headrace.windows._transforms import Transform, noise_example

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from datetime import time, tzinfo

    import pyarrow as pa
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from headrace.annotations import Annotations
    from headrace.catalog import Catalog, Recordings
    from headrace.inference import Run
    from headrace.loading import Loader
    from headrace.windows._identity import OrderIdentity
    from headrace.windows._labels import Targets, Unannotated
    from headrace.windows._orders import Order
    from headrace.windows._permutation import EpochOrder
    from headrace.windows._shards import Remainder
    from headrace.windows._spec import Coverage, WindowSpec
    from headrace.windows._transforms import Function, On
    from headrace.windows._window_sets import Runs, WindowRows, WindowSet

__all__ = ["Windows"]


class LoaderOptions(TypedDict, total=False):
    """The arguments of `Windows.loader` that do not decide what it yields, for type checkers."""

    workers: int | Literal["auto"]
    prefetch: int | Literal["auto"]
    memory: str | int | None
    last: Literal["keep", "drop", "pad"]
    on_error: Literal["raise", "skip", "mask"]
    max_failures: float | None
    stall_timeout_s: float | None
    batch_map: Function | None
    seed: int
    fetches: int | Literal["auto"]
    cache: str | os.PathLike[str] | None
    cache_size: str | int | None
    columns: Sequence[str]


class Windows(Sequence[AudioExample]):
    """Fixed-length windows of recordings, at one sample rate.

    `Catalog.windows`, `windows_at`, `crops`, `concat` and `mix` return them. Indexing with an
    integer decodes that window in the calling thread. Methods return new `Windows`. Call them in
    this sequence: first those that choose a *set* (slice, `take`, `filter`, `during`, `sun`,
    `concat`), then at most one *order* (`shuffle`, `sample`, `mix`), then at most one `shard`.
    `label` and `map` may be called at any point. A window's index is its place in the set, whatever
    the order and the shard.

    Attributes
    ----------
    spec : WindowSpec
        Sample rate, length and channel, and how the recordings are cut.
    recordings : Recordings
        The recordings that the windows are of.
    share : Shard
        The positions of the order that this process reads; all of them by default.
    transforms : tuple of Transform
        The functions that `map` added. The workers call them on each window, in this order.
    labels : Labels or None
        The labels of batches and examples. Windows derived from these keep them.
    """

    transforms: tuple[Transform, ...] = ()
    labels: Labels | None = None

    def __init__(
        self,
        chosen: WindowSet,
        order: Shuffle | Draws | None = None,
        share: Shard | None = None,
    ) -> None:
        self.spec: WindowSpec = chosen.spec
        self.recordings: Recordings = chosen.recordings
        self._set = chosen
        self._order = order
        self.share = share or Shard(assumed=True)
        self._sharded = share is not None

    @property
    def catalog(self) -> Catalog:
        """The catalog that all windows are from.

        Raises
        ------
        InvalidWindowsError
            The windows are from several catalogs.
        """
        if len(self.recordings.catalogs) > 1:
            raise InvalidWindowsError(
                f"these windows are from {len(self.recordings.catalogs)} catalogs: use "
                "windows.recordings.catalogs."
            )
        return self.recordings.catalogs[0]

    def __len__(self) -> int:
        return self.share.rows(self.positions)

    @overload
    def __getitem__(self, index: int) -> AudioExample: ...
    @overload
    def __getitem__(self, index: slice) -> Windows: ...
    def __getitem__(self, index: int | slice) -> AudioExample | Windows:
        """Return one window, decoded in the calling thread, or for a slice, fewer `Windows`.

        Raises
        ------
        IndexError
            The index is out of range.
        ReadError
            The window could not be read.
        InvalidWindowsError
            A slice of windows that have an order, or a slice with a negative step.
        """
        if isinstance(index, slice):
            self._check_unordered("sliced")
            places = range(len(self))[index]
            if places.step < 1:
                raise InvalidWindowsError(
                    f"a slice of windows needs a positive step, not {places.step}: for another "
                    "order, use take or shuffle."
                )
            return self._derive(self._set.sliced(places))
        from headrace.loading import read_one

        try:
            position = range(len(self))[index]
        except IndexError:
            raise IndexError(f"there is no window {index}: there are {len(self)}.") from None
        return read_one(self, position)

    def take(self, indices: ArrayLike) -> Windows:
        """Return the windows at given indices, in the given sequence; 8 bytes for each.

        Parameters
        ----------
        indices : sequence of int
            From 0, or negative to count from the end. An index may occur several times.

        Raises
        ------
        InvalidWindowsError
            An index is out of range or not an integer, or the windows already have an order.
        """
        self._check_unordered("taken from")
        places = np.atleast_1d(np.asarray(indices))
        if places.ndim != 1 or (len(places) and places.dtype.kind not in "iu"):
            raise InvalidWindowsError(
                f"take needs one row of whole numbers, not {places.dtype} of shape {places.shape}: "
                "for a bool for each window, use filter."
            )
        n = len(self)
        outside = np.flatnonzero((places < -n) | (places >= n))
        if len(outside):
            raise InvalidWindowsError(f"there is no window {places[outside[0]]}: there are {n}.")
        places = places.astype(np.int64)  # a copy: the caller may change the original
        places[places < 0] += n
        return self._derive(self._set.taken(places))

    def filter(self, mask: ArrayLike) -> Windows:
        """Return the windows for which `mask` is true, in the same order; 8 bytes for each.

        Parameters
        ----------
        mask : sequence of bool
            One for each window, for example a comparison of columns of `table`.

        Raises
        ------
        InvalidWindowsError
            The mask does not have one bool for each window, or the windows already have an order.
        """
        self._check_unordered("filtered")
        keep = np.asarray(mask)
        if keep.dtype != np.bool_ or keep.shape != (len(self),):
            raise InvalidWindowsError(
                f"a mask needs a bool for each of the {len(self)} windows, not {keep.dtype} of "
                f"shape {keep.shape}: for indices, use take."
            )
        return self._derive(self._set.taken(np.flatnonzero(keep)))

    def during(self, start: str | time, end: str | time, *, tz: str | tzinfo) -> Windows:
        """Return the windows that begin at some hours of the day, in local time.

        The catalog has a column ``recorded_at``, as `scan` adds it with ``metadata=True``. Summer
        time is taken into account. 8 bytes for each window.

        Parameters
        ----------
        start, end : str or time
            ``"05:00"``, ``"07:30"``: half-open. If `start` is later than `end`, the hours from
            `start` to midnight and from midnight to `end`.
        tz : str or tzinfo
            The time zone: a name of the IANA database (``"Europe/Berlin"``), or an offset from UTC
            (``"+01:00"``).

        Raises
        ------
        InvalidWindowsError
            `start` or `end` is no time of day, both are the same, it is not known when a recording
            was made, or the windows already have an order.
        ValueError
            There is no such zone.

        Warns
        -----
        HeadraceWarning
            The windows have a jitter, or are crops: they are chosen by where they are in epoch 0.
        """
        span = parse_time_of_day("start", start), parse_time_of_day("end", end)
        if span[0] == span[1]:
            raise InvalidWindowsError(
                f"no time is from {start} to {end}, which is left out: give a later end, such as "
                '"24:00".'
            )
        zone = parse_zone(tz)
        if zone is None:
            raise InvalidWindowsError('tz must be a time zone, such as "Europe/Berlin", not None.')
        self._check_unordered("filtered")
        begins = Begins(self.recordings, self.spec.sample_rate)
        return self._filter_rows(lambda rows: begins_between(begins.us(rows), *span, zone))

    def sun(
        self,
        elevation: tuple[float, float],
        *,
        rising: bool | None = None,
        position: tuple[float, float] | None = None,
    ) -> Windows:
        """Return the windows that begin while the sun stands at some height.

        ``sun((-6, 6), rising=True)`` is from civil dawn until the sun stands 6 degrees high. The
        catalog has columns ``recorded_at``, ``latitude`` and ``longitude``, as `scan` adds them
        with ``metadata=True``. Needs ``pip install 'headrace[field]'``. 8 bytes for each window.

        Parameters
        ----------
        elevation : tuple of float
            Lowest and highest elevation in degrees, half-open: of the middle of the sun above the
            horizon, without refraction. Negative before sunrise and after sunset.
        rising : bool, optional
            Only while the sun is rising, or only while it is setting. Default: both.
        position : tuple of float, optional
            Latitude and longitude in degrees of all recordings, instead of the columns.

        Raises
        ------
        InvalidWindowsError
            An argument is not as described, it is not known when or where a recording was made,
            astral is not installed, or the windows already have an order.

        Warns
        -----
        HeadraceWarning
            As in `during`.
        """
        try:
            low, high = map(float, elevation)
        except (TypeError, ValueError):
            low, high = 0.0, 0.0
        if not low < high:
            raise InvalidWindowsError(
                f"elevation must be the lowest and the highest degrees, such as (-6, 6), not "
                f"{elevation!r}."
            )
        self._check_unordered("filtered")
        begins = Begins(self.recordings, self.spec.sample_rate)
        sun = Sun(self.recordings, position)

        def keep(rows: WindowRows) -> NDArray[np.bool_]:
            moments = begins.us(rows)
            degrees = sun.elevations(rows, moments)
            inside = (low <= degrees) & (degrees < high)
            if rising is not None:
                inside &= sun.is_rising(rows, moments, degrees) == rising
            return inside

        return self._filter_rows(keep)

    def _filter_rows(self, keep: Callable[[WindowRows], NDArray[np.bool_]]) -> Windows:
        """Return the windows that `keep` keeps; it is called with some of them at a time."""
        if self._set.moves:
            warnings.warn(
                "these windows are at other places in every epoch, and are chosen by those of "
                "epoch 0, so that some begin at other times later: choose recordings with "
                "catalog.filter, or windows without jitter and crops.",
                HeadraceWarning,
                stacklevel=3,
            )
        kept = [keep(rows) for rows in self._set.chunks()]
        return self.filter(np.concatenate([np.zeros(0, bool), *kept]))

    def shuffle(
        self,
        seed: int = 0,
        by: Literal["window", "file", "block"] = "window",
        *,
        block: int | None = None,
        interleave: int | None = None,
    ) -> Windows:
        """Return the same windows in a random order that is new in every epoch.

        Parameters
        ----------
        seed : int
            The order is a pure function of (windows, seed, epoch).
        by : {"window", "file", "block"}
            Shuffle all windows; or the files, each file's windows in order; or blocks of
            neighbouring windows of a file. Files and blocks are faster where a seek is slow, as in
            codecs that decode from the start of the file at each seek.
        block : int, optional
            With ``by="block"``, windows in a block. The last block of a file may be shorter.
        interleave : int, optional
            With ``by="file"``, how many files are read at once: windows are drawn from them in
            turn, each file's windows in order. So a batch has windows of that many recordings, and
            every file is still read from its beginning to its end.

        Raises
        ------
        InvalidWindowsError
            The windows already have an order, or `by`, `block` and `interleave` do not fit
            together.
        """
        order = Shuffle(check_whole_number("seed", seed), by, block, interleave)
        self._check_unordered("shuffled again" if isinstance(self._order, Shuffle) else "shuffled")
        return self._derive(self._set, order)

    def sample(
        self,
        weights: ArrayLike | None = None,
        n: int | None = None,
        seed: int = 0,
        *,
        replacement: bool = True,
    ) -> Windows:
        """Return `n` draws in every epoch, in proportion to weights.

        Every epoch has new draws. With replacement, a draw is a hash of (seed, epoch, position),
        and the table of the weights has 16 bytes for each window. Of `Catalog.crops`, each draw is
        a crop of its own, also where a recording is drawn several times.

        Parameters
        ----------
        weights : sequence of float, optional
            One for each window, not negative. They need not sum to 1. Default: all are equal.
        n : int, optional
            Draws in an epoch. Default: the number of windows.
        seed : int
            Seed of the draws.
        replacement : bool
            Whether a window may be drawn several times in an epoch. Without replacement, a window
            is drawn at most once: after each draw, the others keep their weights. Then the tables
            of the weights have 40 bytes for each window, and none if all are equal.

        Raises
        ------
        InvalidWindowsError
            The weights are invalid, the windows already have an order, or there are fewer windows
            with a positive weight than draws without replacement.
        """
        self._check_unordered("sampled")
        n = len(self) if n is None else check_whole_number("n", n, 1)
        seed = check_whole_number("seed", seed)
        if not replacement:
            once = None if weights is None else check_weights(weights, len(self), "window")
            return self._derive(self._set, SampledOnce(once, len(self), n, seed))
        values = check_weights(
            np.ones(len(self)) if weights is None else weights, len(self), "window"
        )
        return self._derive(self._set, Sampled(values, n, seed))

    def shard(
        self,
        rank: int | Literal["auto"] = "auto",
        world: int | None = None,
        *,
        remainder: Remainder = "drop",
        by: Literal["window", "recording"] = "window",
    ) -> Windows:
        """Return one rank's share of these windows. A shard cannot be sharded again.

        Parameters
        ----------
        rank, world : int
            The rank, from 0, and the world size. ``"auto"`` takes them from torch.distributed or
            jax.distributed if it is initialised, else from Ray Train in one of its workers, else
            from the environment variables of torchrun, Accelerate, Lightning, srun, Open MPI, MPICH
            or MVAPICH. Without any of these, the rank is 0 of 1.
        remainder : {"drop", "repeat", "mask"}
            What is done with the last windows of an epoch if they are fewer than ranks, so that all
            ranks take the same number of steps: leave them out, fill up with the epoch's first
            windows, or fill up with rows of zeros whose ``valid`` is False and ``valid_samples`` 0.
        by : {"window", "recording"}
            ``"window"``: position p of the order belongs to rank p mod world. ``"recording"``, for
            inference: all windows of a recording belong to one rank, and all ranks have about as
            many frames. The ranks may then have different numbers of windows, and each has its own
            state.

        Raises
        ------
        InvalidWindowsError
            The rank is out of range, there are fewer windows or recordings than ranks, or the
            windows are a shard already. With ``"auto"``: the variables say that there are several
            ranks, and not which one this is.
        """
        if self._sharded:
            raise InvalidWindowsError(
                "these windows are a shard and cannot be sharded again: shard once, last."
            )
        assumed = False
        if rank == "auto":
            if world is not None:
                raise InvalidWindowsError(
                    'rank="auto" also finds the world size: leave world out, or give both numbers.'
                )
            found = detect_rank()
            assumed = found is None
            rank, world = found or (0, 1)
        elif world is None:
            raise InvalidWindowsError(
                f"rank {rank} needs the world size too: give shard(rank, world)."
            )
        share = Shard(
            check_whole_number("rank", rank),
            check_whole_number("world", world, 1),
            remainder,
            by,
            assumed=assumed,
        )
        view = self._derive(self._set, self._order, share)
        if by == "recording":
            _ = view.order  # raises here instead of at the first use
        elif self.positions < share.world and remainder == "drop":
            raise InvalidWindowsError(
                f"there are fewer windows ({self.positions}) than ranks ({share.world}): give "
                'remainder="repeat" or "mask", or start fewer ranks.'
            )
        return view

    def map(
        self,
        function: Function | None = None,
        *,
        factory: Function | None = None,
        on: On = "audio",
        out: tuple[tuple[int, ...], DTypeLike] | None = None,
        seed: int = 0,
    ) -> Windows:
        """Return the same windows, with a function that the workers call on each of them.

        Parameters
        ----------
        function : callable
            ``function(audio)`` returns an array of numbers, which becomes the window's audio. It
            may work in place. If it has an argument ``rng``, it is called with a
            `numpy.random.Generator` keyed by (seed, epoch, window). Its numbers do not depend on
            the number of workers, and are the same after a resume.
        factory : callable, instead of `function`
            ``factory()`` returns the function. It is called once for each worker, for functions
            that have a state of their own.
        on : {"audio", "example"}
            Whether the function is called with the audio or with the `AudioExample`.
        out : (shape, dtype), optional
            Shape and type of the function's output, the same for all windows. Default: those of one
            call on noise.
        seed : int
            Seed of `rng`.

        Raises
        ------
        TransformError
            The function raised on noise, or did not return an array of numbers.
        InvalidWindowsError
            An argument is not as described above.
        """
        transform = Transform.create(
            function,
            factory=factory,
            on=on,
            out=out,
            seed=seed,
            index=len(self.transforms),
            example=self.noise_example(),
        )
        view = copy(self)
        view.transforms = (*self.transforms, transform)
        return view

    def label(
        self,
        annotations: Annotations,
        classes: Iterable[str] | None = None,
        *,
        min_overlap_s: float | None = None,
        min_fraction: float | None = None,
        unannotated: Unannotated = "error",
        ignore: Iterable[str] = (),
        targets: Targets = "presence",
    ) -> Windows:
        """Return the same windows, with labels in their batches and examples.

        An event counts in a window if they share a sample: [start_s, end_s), rounded to samples,
        and [start, start + size). With `min_overlap_s` or `min_fraction`, they must share at least
        that much; with both, one of the two is enough. A label of a whole recording counts in all
        its windows.

        Parameters
        ----------
        annotations : Annotations
            They are matched to the recordings by path, unless `Annotations.match` has matched them.
        classes : iterable of str, optional
            The classes, in the order of the columns. Default: all labels of `annotations`, sorted.
            Events with other labels are left out.
        min_overlap_s : float, optional
            Seconds, at most the length of a window.
        min_fraction : float, optional
            Between 0 and 1, of the event or of the window, whichever is shorter.
        unannotated : {"error", "negative", "mask"}
            What to do with recordings without annotations: raise, take all classes as absent, or
            mask all classes as not known.
        ignore : iterable of str
            Labels that are not classes. In a window in which such an event counts, or an event
            without a label, only the classes of its other events are known.
        targets : {"presence", "score"}
            What stands for a class whose event counts in a window: 1, or the highest score of these
            events, between 0 and 1. An event without a score has 1.

        Raises
        ------
        AnnotationError
            An argument is not as described above, a recording is not annotated, an annotated file
            matches two recordings, or none matches any.

        Warns
        -----
        HeadraceWarning
            Some annotated files match no recording; events begin after the end of their recording;
            or a class is not the label of any event, while other labels are not a class.
        """
        view = copy(self)
        view.labels = Labels.from_annotations(
            self._set,
            self.catalog,
            annotations,
            classes,
            min_overlap_s=min_overlap_s,
            min_fraction=min_fraction,
            unannotated=unannotated,
            ignore=ignore,
            targets=targets,
        )
        return view

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of labels; empty without labels."""
        return () if self.labels is None else self.labels.classes

    @property
    def label_row_bytes(self) -> int:
        """Bytes of one window's labels and mask."""
        return 0 if self.labels is None else self.labels.row_bytes

    @property
    def label_bytes(self) -> int:
        """Bytes of the tables that labels are computed from."""
        return 0 if self.labels is None else self.labels.nbytes

    @overload
    def label_counts(self, by: None = None) -> dict[str, int]: ...
    @overload
    def label_counts(self, by: str) -> dict[Any, dict[str, int]]: ...
    def label_counts(self, by: str | None = None) -> dict[str, int] | dict[Any, dict[str, int]]:
        """Return the number of windows of each class; no audio is read.

        The windows are those of the unshuffled set, whatever the order and the shard: each sampled
        or mixed window counts once, and those of all ranks count. Crops are those of epoch 0.

        Parameters
        ----------
        by : str, optional
            A column of the catalog. The result is then a mapping from each of its values, sorted,
            to the numbers of the windows of these recordings.

        Raises
        ------
        InvalidWindowsError
            The windows have no labels.
        CatalogError
            There is no such column, or its values cannot be grouped.
        """
        import pyarrow as pa

        labels = self._require_labels()
        if by is None:
            return labels.count_windows(self._set)
        column = self.recordings.table([by])[by]
        with arrow_errors_explained(
            f"The recordings cannot be grouped by {by!r}", "Give a column of texts or numbers."
        ):
            if pa.types.is_dictionary(column.type):  # may contain values that no row has
                column = column.cast(column.type.value_type)
            encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
            values = encoded.dictionary.to_pylist()
        group = encoded.indices.to_numpy().astype(np.int64)
        counts = labels.count_windows_by(self._set, group, len(values))
        order = sorted(range(len(values)), key=lambda one: (values[one] is None, values[one]))
        return {
            values[one]: dict(zip(labels.classes, counts[one].tolist(), strict=True))
            for one in order
        }

    def label_matrix(self, *, sparse: bool = False) -> Any:  # noqa: ANN401  SciPy's, if sparse
        """Return the labels of all windows as one matrix; no audio is read.

        Parameters
        ----------
        sparse : bool
            Whether to return a ``csr_array`` of SciPy instead of an array of NumPy.

        Returns
        -------
        ndarray or csr_array of float32, shape ``(windows, classes)``
            As the labels of batches, in the order of the unshuffled set. NaN where it is not known
            whether the class is present.

        Raises
        ------
        InvalidWindowsError
            The windows have no labels, or SciPy is not installed.
        """
        labels = self._require_labels()
        return labels.sparse_matrix(self._set) if sparse else labels.matrix(self._set)

    def balanced_weights(self) -> NDArray[np.float64]:
        """Return weights for `sample` by which rare classes are drawn as often as common ones.

        The weight of a window is the sum over its classes of 1 / (number of windows of that class).
        If no window has two classes, all classes are drawn equally often. Windows without any class
        count as one more class. Windows whose classes are all
        unknown have the weight 0. Crops are those of epoch 0: their weights hold for all epochs if
        labels are of whole recordings.

        Returns
        -------
        ndarray of float64, shape ``(windows,)``
            In the order of the unshuffled set. The sum is 1.

        Raises
        ------
        InvalidWindowsError
            The windows have no labels.
        """
        return self._require_labels().balanced_weights(self._set)

    @overload
    def loader(self, *, batch_size: int, **options: Unpack[LoaderOptions]) -> Loader[Batch]: ...
    @overload
    def loader(
        self, *, batch_size: None = None, **options: Unpack[LoaderOptions]
    ) -> Loader[AudioExample]: ...
    @overload
    def loader(
        self, *, batch_size: int | None, **options: Unpack[LoaderOptions]
    ) -> Loader[Any]: ...
    def loader(
        self,
        *,
        batch_size: int | None = None,
        workers: int | Literal["auto"] = "auto",
        prefetch: int | Literal["auto"] = "auto",
        memory: str | int | None = None,
        last: Literal["keep", "drop", "pad"] = "keep",
        on_error: Literal["raise", "skip", "mask"] = "raise",
        max_failures: float | None = None,
        stall_timeout_s: float | None = None,
        batch_map: Function | None = None,
        columns: Sequence[str] = (),
        seed: int = 0,
        fetches: int | Literal["auto"] = "auto",
        cache: str | os.PathLike[str] | None = None,
        cache_size: str | int | None = None,
    ) -> Loader[Any]:
        """Return a `Loader` of these windows: threads, memory, progress and state.

        Parameters
        ----------
        batch_size : int, optional
            Windows in a `Batch`. Without it, the loader yields single `AudioExample` objects.
        workers : int or "auto"
            Threads that read, decode and resample; with 0, the calling thread does it. ``"auto"``
            is the number of processors that this process may use, shared among the ranks on this
            node.
        prefetch : int or "auto"
            Largest number of deliveries (batches or examples) that are ready or in progress.
        memory : str or int, optional
            Limit on `Loader.memory_bound`, in bytes or as ``"1 GiB"``. It lowers `prefetch`, and
            what is left keeps row groups of Parquet files, if there are any.
        last : {"keep", "drop", "pad"}
            What to do with a last batch that is not full: deliver it short, leave it out, or fill
            it up with rows of zeros whose ``valid`` is False.
        on_error : {"raise", "skip", "mask"}
            What to do with a window that cannot be read: raise `ReadError` when its turn comes,
            leave it out, or deliver zeros with ``valid`` False and ``valid_samples`` 0.
            `Loader.failures` lists all of them.
        max_failures : int or float, optional
            With ``"skip"`` and ``"mask"``, how many windows of an epoch may fail: a number, or a
            fraction less than 1. One more raises `TooManyFailuresError`. Default: any number.
        stall_timeout_s : float, optional
            Seconds after which a read that does not return is given up, for network disks. Its
            windows fail with `STALLED`, and nothing waits for it. Default: never.
        batch_map : callable, optional
            ``batch_map(batch)``, which the workers call on each whole batch. It returns a `Batch`,
            or None if it worked in place. If it has an argument ``rng``, it is called with a random
            generator keyed by (seed, epoch, position of the batch).
        columns : sequence of str
            Columns of the catalog, such as ``["site", "text"]``: `Batch.columns` and
            `AudioExample.columns` have their values for each window. Of several catalogs, a column
            that one does not have is null for its recordings.
        seed : int
            Seed of `rng`.
        fetches : int or "auto"
            For recordings in an object store: most requests in flight. ``"auto"`` adapts to the
            store's latency and bandwidth.
        cache : str or path, optional
            For recordings in an object store: a folder on a local disk, in which what was fetched
            is kept for later epochs and other processes. It is created if it does not exist.
            (`scan` has another ``cache``: the catalog of the last scan.)
        cache_size : str or int, optional
            The most bytes that the folder may hold: ``"200 GiB"``. Needed with `cache`. What is in
            stays until the folder is deleted; when it is full, nothing more is kept.

        Returns
        -------
        Loader

        Raises
        ------
        MemoryBudgetError
            `memory` is less than the smallest loader of this batch size needs.
        TransformError
            `batch_map` raised on noise, or did not return a batch.
        CatalogError
            There is no such column, or catalogs have it with types that do not fit together.
        ValueError
            An argument is not as described above.
        """
        from headrace.loading import Loader

        return Loader(
            self,
            batch_size=batch_size,
            workers=workers,
            prefetch=prefetch,
            memory=memory,
            last=last,
            on_error=on_error,
            max_failures=max_failures,
            stall_timeout_s=stall_timeout_s,
            batch_map=batch_map,
            columns=columns,
            seed=seed,
            fetches=fetches,
            cache=cache,
            cache_size=cache_size,
        )

    def apply(
        self,
        function: Callable[[Any], object] | None = None,
        output: str | os.PathLike[str] | Any = None,  # noqa: ANN401  or a store of obstore
        *,
        batch_size: int,
        name: str,
        model: Callable[[], Callable[[Any], object]] | None = None,
        device: object = None,
        columns: Sequence[str] = (),
        float16: Sequence[str] = (),
        on_error: Literal["raise", "mask"] = "raise",
        pad_batches: bool = False,
        retry_failed: bool | None = None,
        part_size: int | None = None,
        workers: int | Literal["auto"] = "auto",
        prefetch: int | Literal["auto"] = "auto",
        memory: str | int | None = None,
        stall_timeout_s: float | None = None,
        progress: bool | None = None,
    ) -> Run:
        """Apply a model to every window and keep the results, exactly once.

        The windows are cut into ranges, and each range becomes one Parquet file in `output`. The
        same call goes on where an earlier one ended, however that ended. Any number of processes
        may make the same call at once: they share what is left. With new recordings in the catalog,
        it adds theirs. An order and a shard are ignored: the windows are those of the set.

        Parameters
        ----------
        function : callable
            ``function(batch)`` is called with a `Batch` of windows that could all be read, in the
            thread that calls `apply`. It returns an array, or a dict of arrays, with a row for each
            window: numbers, bools or texts; vectors; or for each window a list of detections, which
            are dicts with ``start_s`` and ``end_s`` (in the window), ``label``, and optionally
            ``score``, ``low_hz`` and ``high_hz``.
        output : str, path, or store of obstore
            A folder, or the URL of a bucket such as ``"s3://bucket/results"``.
        batch_size : int
            The most windows in a batch.
        name : str
            What the model is: results of another name are refused. Functions, also those of `map`,
            are not compared: give another name if they do something else.
        model : callable, instead of `function`
            ``model()`` returns the function. It is called at most once, and not if nothing is left.
        device : torch.device or str, optional
            Batches are `adapters.torch.TorchBatch` with tensors on this device, and the function
            is called in PyTorch's inference mode. Checked before the model is made; not needed if
            nothing is left.
        columns : sequence of str
            Columns of the catalog to copy to the results.
        float16 : sequence of str
            Columns of the model that are stored as float16; `Run.float16_loss` is the error.
        on_error : {"raise", "mask"}
            What to do if the model raises: raise `ModelError`, which names the windows; or call it
            for each window of the batch alone, and leave out those on which it raises. If it also
            raises on noise, `ModelError` is raised in any case.
        pad_batches : bool
            Whether every batch has exactly `batch_size` rows, for a model that is compiled for so
            many: rows that are missing are copies of the last one, and what the function returns
            for them is left out. Batches have fewer windows at the end of a part, and where some
            could not be read.
        retry_failed : bool, optional
            Which windows that failed in an earlier call are tried again: all, or none. Default:
            those whose cause may pass, `STALLED`, `IO`, `PERMISSION` and `MISSING`.
        part_size : int, optional
            Windows of a range. Default: that of the existing results; for new ones 8,192, or fewer
            where they take more than 64 MiB.
        workers, prefetch, stall_timeout_s
            As in `loader`.
        memory : str or int, optional
            Limit in bytes, or as ``"1 GiB"``, on the loader's `Loader.memory_bound` and the parts
            in memory together. Lists of detections are estimated.
        progress : bool, optional
            Whether to draw a progress bar on standard error. Default: if that is a terminal.

        Returns
        -------
        Run
            The results. It is not `Run.complete` while other processes make the last parts.

        Raises
        ------
        ResultsError
            `output` has results of another model or other windows, or cannot be used.
        ModelError
            The model raised, or returned something else than a row for each window. Parts that were
            complete are kept.
        MemoryBudgetError
            `memory` is too small.
        ValueError
            An argument is not as described above.
        OSError
            A part cannot be written, as on a full disk. Parts before it are kept.
        """
        from headrace.inference import Application

        application = Application(
            self,
            function,
            output,
            batch_size=batch_size,
            name=name,
            model=model,
            device=device,
            columns=columns,
            float16=float16,
            on_error=on_error,
            pad_batches=pad_batches,
            part_size=part_size,
            workers=workers,
            prefetch=prefetch,
            memory=memory,
            stall_timeout_s=stall_timeout_s,
        )
        return application.apply(retry_failed=retry_failed, progress=progress)

    @cached_property
    def coverage(self) -> Coverage:
        """How much of the recordings these windows cover, and how much they leave out.

        An order and a shard do not change it.

        Raises
        ------
        InvalidWindowsError
            These are not neighbouring windows that one catalog is cut into.
        """
        return self._set.coverage(range(len(self._set)))

    def table(self, columns: Iterable[str] | None = None) -> pa.Table:
        """Return an Arrow table with a row for each window of the unshuffled set.

        Columns: ``index`` (int64), ``id`` of the recording (string), and ``start``, ``end`` (int64,
        in samples at `spec.sample_rate`, half-open; the end may be after that of the recording).
        Concatenated and mixed windows also have ``source`` (int64). Windows with a jitter and crops
        are those of epoch 0.

        Parameters
        ----------
        columns : iterable of str, optional
            Columns of the catalog to add. Then, also if there are none, the table has ``start_s``
            and ``end_s`` (float64, seconds), and if the catalog has a column ``recorded_at``,
            ``start_at`` (when the window begins, in UTC; null if that is not known).

        Raises
        ------
        CatalogError
            A catalog has no such column, the table has a column of that name anyway, or
            ``recorded_at`` does not hold times.
        """
        import pyarrow as pa

        if isinstance(columns, str):
            raise CatalogError(f"columns= takes several names: for one, use columns=[{columns!r}].")
        rows = self.rows(np.arange(len(self._set), dtype=np.int64))
        table = {
            "index": rows.index,
            "id": self.recordings.ids(rows.recording),
            "start": rows.start,
            "end": rows.start + self.spec.size,
        }
        if self._set.has_sources:
            table["source"] = rows.source
        if columns is None:
            return pa.table(table)
        rate, recordings = self.spec.sample_rate, pa.array(rows.recording)
        table["start_s"], table["end_s"] = rows.start / rate, table["end"] / rate
        if all(RECORDED_AT in one.columns for one in self.recordings.catalogs):
            recorded_at = as_utc(self.recordings.table([RECORDED_AT])[RECORDED_AT])
            table["start_at"] = start_times(recorded_at, rows, rate)
        further = self.recordings.table(dict.fromkeys(columns))
        for name in further.column_names:
            if name in table:
                raise CatalogError(
                    f"The table of windows has a column {name!r} anyway: leave it out."
                )
            table[name] = further[name].take(recordings)
        return pa.table(table)

    def rows(self, index: NDArray[np.int64], epoch: int = 0) -> WindowRows:
        """Return where windows are in an epoch.

        Parameters
        ----------
        index : ndarray of int64, shape ``(rows,)``
            Places in the unshuffled set.
        epoch : int
            Matters only for windows with a jitter, and for crops.
        """
        return self._set.locate(index, epoch)

    def rows_at(self, positions: NDArray[np.int64], epoch: int, order: EpochOrder) -> WindowRows:
        """Return where the windows at some positions of an epoch's order are.

        Parameters
        ----------
        positions : ndarray of int64, shape ``(rows,)``
            Positions in `order`.
        epoch : int
            The epoch.
        order : EpochOrder
            ``windows.order.epoch(epoch)``, computed once for many calls.
        """
        draws = positions if isinstance(self._order, Draws) else None
        return self._set.locate(order(positions), epoch, draws)

    def first_epoch_rows(self, positions: NDArray[np.int64], epoch: int = 0) -> WindowRows:
        """Return where the windows at some positions of epoch 0 are: what indexing returns.

        Another `epoch` is that of the random numbers: of jitter and crops.
        """
        return self.rows_at(positions, epoch, self._first_epoch)

    @cached_property
    def _resolved(self) -> tuple[Order, int]:
        return resolve_order(self._set, self._order, self.share)

    @cached_property
    def _first_epoch(self) -> EpochOrder:
        """The order of epoch 0, by which indexing works; computed once."""
        return self.order.epoch(0)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled and copied: all but the tables of an epoch, which are rebuilt."""
        return {name: value for name, value in self.__dict__.items() if name != "_first_epoch"}

    @property
    def order(self) -> Order:
        """The order of every epoch, as positions mapped to places in the unshuffled set.

        Positions are those of all ranks together, except on a shard by recording.
        """
        return self._resolved[0]

    @property
    def positions(self) -> int:
        """Number of positions of an epoch's order."""
        return self._resolved[1]

    @property
    def unordered(self) -> Windows:
        """The whole set that these windows are chosen from, in its own order, without a shard."""
        return self._derive(self._set)

    def runs(self) -> Runs:
        """Return the windows of the unshuffled set, grouped by recording."""
        return self._set.runs()

    @property
    def set_size(self) -> int:
        """Number of windows of the unshuffled set, whatever the order and the shard."""
        return len(self._set)

    @property
    def jumps(self) -> bool:
        """Whether neighbours in the order are mostly from different files."""
        return self._order is not None and self._order.jumps

    @property
    def is_random(self) -> bool:
        """Whether a window is different in another epoch, by jitter, crop or random transform.

        A factory counts as random, because its functions are not known.
        """
        return self._set.moves or any(one.is_random for one in self.transforms)

    @property
    def files_at_once(self) -> int:
        """How many files the order reads in turn, each from its beginning to its end."""
        return (self._order.interleave or 1) if isinstance(self._order, Shuffle) else 1

    @property
    def overlap(self) -> int:
        """Largest number of samples that neighbours in the order may share."""
        return self._set.overlap

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one delivered window: `audio_shape`, or that of the last transform's output."""
        return self.transforms[-1].shape if self.transforms else self.audio_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one delivered window: float32, or that of the last transform's output."""
        return self.transforms[-1].dtype if self.transforms else np.dtype(np.float32)

    @property
    def audio_shape(self) -> tuple[int, ...]:
        """Shape of one window's audio: ``(samples,)`` or ``(channels, samples)``."""
        if self.spec.channel == "all":
            return self.recordings.kinds[0][1], self.spec.size
        return (self.spec.size,)

    @cached_property
    def identity(self) -> WindowsIdentity:
        """The fields that decide the windows and their order.

        A saved state holds them, and `Loader.load_state_dict` compares them. Paths and modification
        times are not among them, nor is a shard of positions, because all ranks share one order.
        """
        chosen = self._set.identity
        order: OrderIdentity = InOrderIdentity() if self._order is None else self._order.identity
        if self.share.by == "recording" and self.share.world > 1:
            order = RecordingShardIdentity(self.share.rank, self.share.world, order)
        return WindowsIdentity(chosen.recordings, chosen.cut, chosen.choice, order)

    @cached_property
    def pickled_identity(self) -> bytes:
        """The same fields as JSON has them, pickled: the fastest way to make one copy of many."""
        return pickle.dumps(self.identity.to_json(), pickle.HIGHEST_PROTOCOL)

    @property
    def parts(self) -> Mapping[str, str]:
        """What decides the windows and their order, described for people.

        The keys are ``recordings``, ``cut``, ``choice`` and ``order``. The texts may change with
        any version: compare `fingerprint` instead.
        """
        identity = self.identity
        return {
            "recordings": identity.recordings.describe(),
            "cut": identity.cut.describe(),
            "choice": identity.choice.describe(),
            "order": identity.order.describe(),
        }

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest of everything that decides the windows and their order: 32 digits."""
        return self.identity.fingerprint

    def noise_example(self) -> AudioExample:
        """Return an example with noise as its audio, on which functions of windows are tried."""
        classes = None if self.labels is None else len(self.classes)
        return noise_example(self.spec, self.recordings[0], self.shape, self.dtype, classes)

    def noise_batch(self, rows: int) -> Batch:
        """Return a batch of `noise_example`, on which functions of batches are tried."""
        example = self.noise_example()
        labels, mask = example.labels, example.label_mask
        return Batch(
            audio=np.repeat(example.audio[None], rows, axis=0),
            file_id=(example.file_id,) * rows,
            offset=np.zeros(rows),
            sample_rate=example.sample_rate,
            path=(example.path,) * rows,
            index=np.zeros(rows, np.int64),
            end_s=np.full(rows, example.end_s),
            valid_samples=np.full(rows, example.valid_samples),
            valid=np.ones(rows, bool),
            source=np.zeros(rows, np.int64),
            state={},
            labels=None if labels is None else np.repeat(labels[None], rows, axis=0),
            label_mask=None if mask is None else np.repeat(mask[None], rows, axis=0),
        )

    def __repr__(self) -> str:
        rate = self.spec.sample_rate
        order = "" if self._order is None else f", {self._order.description}"
        share = f", {self.share}" if self.share.world > 1 else ""
        maps = "".join(f", {transform}" for transform in self.transforms)
        return (
            f"<Windows: {len(self):,} of {self.spec.size / rate:g} s {self._set.description} at "
            f"{rate} Hz from {format_count(len(self.recordings), 'recording')}, "
            f"channel={self.spec.channel!r}"
            f"{order}{share}{maps}>"
        )

    def _repr_html_(self) -> str:
        from headrace.display import windows_card

        return windows_card(self)

    def _require_labels(self) -> Labels:
        if self.labels is None:
            raise InvalidWindowsError(
                "these windows have no labels: call windows.label(annotations) first."
            )
        return self.labels

    def _derive(
        self,
        chosen: WindowSet,
        order: Shuffle | Draws | None = None,
        share: Shard | None = None,
    ) -> Windows:
        view = Windows(chosen, order, share)
        view.labels = self.labels
        view.transforms = self.transforms
        return view

    def _check_unordered(self, participle: str) -> None:
        """Raise `InvalidWindowsError` if the windows have an order or a shard."""
        if self._sharded:
            raise InvalidWindowsError(
                f"a shard of windows cannot be {participle}: choose windows first, then order "
                "them, then shard."
            )
        if self._order is not None:
            raise InvalidWindowsError(
                f"{self._order.participle} windows cannot be {participle}: choose windows first, "
                f"then {self._order.verb} them once."
            )
