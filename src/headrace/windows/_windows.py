"""`Windows`: what to load. A pure, lazy, immutable, random-access sequence of windows.

No threads, no open files; nothing for each window until it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from headrace._validation import check_whole_number
from headrace.errors import InvalidWindowsError
from headrace.windows._examples import AudioExample
from headrace.windows._identity import InOrderIdentity, RecordingShardIdentity, WindowsIdentity
from headrace.windows._labels import Labels
from headrace.windows._orders import Shuffle, arranged
from headrace.windows._sampling import Sampled, checked_weights
from headrace.windows._shards import Shard, this_process
from headrace.windows._transforms import Transform, noise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from headrace.annotations import Annotations
    from headrace.catalog import Catalog, Recordings
    from headrace.loading import Loader
    from headrace.windows._identity import OrderIdentity
    from headrace.windows._labels import Unannotated
    from headrace.windows._permutation import EpochOrder, Order
    from headrace.windows._sampling import Mixed
    from headrace.windows._shards import Remainder
    from headrace.windows._spec import Coverage, WindowSpec
    from headrace.windows._transforms import Function, On
    from headrace.windows._window_sets import WindowRows, WindowSet

__all__ = ["Windows"]


class Windows(Sequence[AudioExample]):
    """Fixed-length windows of recordings, at one sample rate.

    Made by `Catalog.windows`, `Catalog.windows_at`, `concat` and `mix`. Indexing with an integer
    decodes that window here and now. Views are built in one direction: a *set* (slice, `take`,
    `filter`, `concat`), then at most one *order* (`shuffle`, `sample`, `mix`), then at most one
    `shard`. A window's index is its place in the set, whatever the order and the shard.

    Attributes
    ----------
    spec : WindowSpec
        Sample rate, length and channel, and how recordings were cut.
    recordings : Recordings
        What they are windows of.
    share : Shard
        Which positions of the order are this process's; default all.
    transforms : tuple of Transform
        What `map` added: functions that run in the workers on each window, in order.
    labels : Labels or None
        Where batches and examples get their labels from; views of labelled windows keep it.
    """

    transforms: tuple[Transform, ...] = ()
    labels: Labels | None = None

    def __init__(
        self,
        chosen: WindowSet,
        order: Shuffle | Sampled | Mixed | None = None,
        share: Shard | None = None,
    ) -> None:
        self.spec: WindowSpec = chosen.spec
        self.recordings: Recordings = chosen.recordings
        self._set = chosen
        self._order = order
        self.share = share or Shard()
        self._sharded = share is not None

    @property
    def catalog(self) -> Catalog:
        """The catalog that all windows are from.

        Raises
        ------
        InvalidWindowsError
            There are several.
        """
        if len(self.recordings.catalogs) > 1:
            raise InvalidWindowsError(
                f"these windows are from {len(self.recordings.catalogs)} catalogs: see "
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
        """Return one window, decoded here and now, or a smaller `Windows`.

        Raises
        ------
        IndexError
            There is no such window.
        ReadError
            The window could not be read.
        InvalidWindowsError
            A slice of ordered windows, or one that goes backwards.
        """
        if isinstance(index, slice):
            self._refuse_order("sliced")
            places = range(len(self))[index]
            if places.step < 1:
                raise InvalidWindowsError(
                    "a slice of windows goes forward: order is what shuffle is for."
                )
            return self._view(self._set.sliced(places))
        from headrace.loading import read_one

        try:
            position = range(len(self))[index]
        except IndexError:
            raise IndexError(f"there is no window {index}: there are {len(self)}.") from None
        return read_one(self, position)

    def take(self, indices: ArrayLike) -> Windows:
        """Return the windows at these places, in this order; 8 bytes each.

        Parameters
        ----------
        indices : sequence of int
            From 0 up, or from -1 down; the same one may stand there again.

        Raises
        ------
        InvalidWindowsError
            There is no such place, or these windows have an order already.
        """
        self._refuse_order("taken from")
        places = np.atleast_1d(np.asarray(indices))
        if places.ndim != 1 or (len(places) and places.dtype.kind not in "iu"):
            raise InvalidWindowsError(
                f"take wants whole numbers, one for each window, not {places.dtype} of shape "
                f"{places.shape}: for a bool for each window, say filter."
            )
        n = len(self)
        outside = np.flatnonzero((places < -n) | (places >= n))
        if len(outside):
            raise InvalidWindowsError(f"there is no window {places[outside[0]]}: there are {n}.")
        places = places.astype(np.int64)  # a copy: what is given may be changed later
        places[places < 0] += n
        return self._view(self._set.taken(places))

    def filter(self, mask: ArrayLike) -> Windows:
        """Return the windows for which `mask` is true, in the same order; 8 bytes each.

        Parameters
        ----------
        mask : sequence of bool
            One for each window, as by a comparison of columns of `table`.

        Raises
        ------
        InvalidWindowsError
            The mask is not of bools, not one for each window, or these have an order already.
        """
        self._refuse_order("filtered")
        keep = np.asarray(mask)
        if keep.dtype != np.bool_ or keep.shape != (len(self),):
            raise InvalidWindowsError(
                f"a mask has a bool for each of the {len(self)} windows, and this is {keep.dtype} "
                f"of shape {keep.shape}: for places, say take."
            )
        return self._view(self._set.taken(np.flatnonzero(keep)))

    def shuffle(
        self,
        seed: int = 0,
        by: Literal["window", "file", "block"] = "window",
        *,
        block: int | None = None,
    ) -> Windows:
        """Return the same windows in a random order that is new in every epoch.

        Parameters
        ----------
        seed : int
            The order is a pure function of (windows, seed, epoch).
        by : {"window", "file", "block"}
            Shuffle all windows; or the files, leaving each file's windows in order; or blocks of
            neighbouring windows of a file. Where a seek is dear, as in codecs whose every seek is a
            decode from the start, files and blocks are faster.
        block : int, optional
            Windows in a block; each file's last one may be shorter.

        Raises
        ------
        InvalidWindowsError
            These windows have an order already.
        """
        order = Shuffle(check_whole_number("seed", seed), by, block)
        self._refuse_order("shuffled again" if isinstance(self._order, Shuffle) else "shuffled")
        return self._view(self._set, order)

    def sample(self, weights: ArrayLike, n: int | None = None, seed: int = 0) -> Windows:
        """Return `n` draws in every epoch, each window as often as its weight says.

        Drawn with replacement, by a hash of (seed, epoch, position) and a table of 16 bytes for
        each window.

        Parameters
        ----------
        weights : sequence of float
            One for each window, not negative; they need not sum to 1.
        n : int, optional
            Draws in an epoch; default as many as there are windows.
        seed : int

        Raises
        ------
        InvalidWindowsError
            The weights are none, or these windows have an order already.
        """
        self._refuse_order("sampled")
        values = checked_weights(weights, len(self), "window")
        n = len(self) if n is None else check_whole_number("n", n, 1)
        return self._view(self._set, Sampled(values, n, check_whole_number("seed", seed)))

    def shard(
        self,
        rank: int | Literal["auto"] = "auto",
        world: int | None = None,
        *,
        remainder: Remainder = "drop",
        by: Literal["window", "recording"] = "window",
    ) -> Windows:
        """Return one process's share of these windows; a view of a view like this is refused.

        Parameters
        ----------
        rank, world : int
            Which process, from 0, of how many. ``"auto"`` asks torch.distributed where it has been
            initialised, else the variables of torchrun, srun, Open MPI or MPICH; where there are
            none, this process is alone.
        remainder : {"drop", "repeat", "mask"}
            So that all processes take the same number of steps, what is left over at the end of an
            epoch is left out; or the epoch's first windows come once more; or rows of zeros do,
            whose ``valid`` is False and ``valid_samples`` 0.
        by : {"window", "recording"}
            ``"window"``: position p of the order belongs to rank p mod world. ``"recording"``, for
            inference: each recording's windows belong to one rank, with about as many frames for
            each; how many windows may differ, and a state is that rank's own.

        Raises
        ------
        InvalidWindowsError
            There is no such rank, or there is less than one window or recording for each.
        """
        if self._sharded:
            raise InvalidWindowsError("shards cannot be sharded again: shard once, last.")
        if rank == "auto":
            if world is not None:
                raise InvalidWindowsError('world is not said together with rank="auto".')
            rank, world = this_process()
        elif world is None:
            raise InvalidWindowsError(f"rank {rank} of how many? Say shard(rank, world).")
        share = Shard(
            check_whole_number("rank", rank), check_whole_number("world", world, 1), remainder, by
        )
        view = self._view(self._set, self._order, share)
        if by == "recording":
            view.order  # noqa: B018  now, so that what is refused is refused here
        elif self.positions < share.world and remainder == "drop":
            raise InvalidWindowsError(
                f"{self.positions} windows are less than one for each of {share.world} ranks: give "
                'remainder="repeat" or "mask".'
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
        """Return the same windows, each given to a function that runs in the workers.

        Parameters
        ----------
        function : callable
            ``function(audio)`` returns an array of numbers, which becomes the window's audio. It may
            work in place. If it has an argument ``rng`` it is handed a `numpy.random.Generator` keyed
            by (seed, epoch, window): the same for any number of workers, and after a resume.
        factory : callable, instead of `function`
            ``factory()`` returns the function: called once for each worker, for functions that keep
            state on themselves.
        on : {"audio", "example"}
            Call it with the audio alone or with the `AudioExample`, labels and all.
        out : (shape, dtype), optional
            Of the function's output, the same for all windows; else one call on noise tells.
        seed : int
            Keys `rng`.

        Raises
        ------
        TransformError
            The function raised on noise, or gave no array of numbers.
        InvalidWindowsError
            An argument is none of the above.
        """
        transform = Transform.checked(
            function,
            factory=factory,
            on=on,
            out=out,
            seed=seed,
            place=len(self.transforms),
            example=noise(self),
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
    ) -> Windows:
        """Return the same windows, whose batches and examples have labels.

        An event counts in a window if they share a sample: [start_s, end_s), rounded to samples,
        and [start, start + size). With `min_overlap_s` or `min_fraction` they must share so much;
        with both, one of the two is enough. A label of a whole recording counts in all its windows.

        Parameters
        ----------
        annotations : Annotations
            Matched to the recordings by path, unless `Annotations.match` has done it already.
        classes : iterable of str, optional
            The classes, in the order of the columns; default all labels of `annotations`, sorted.
            Events of other labels are as if they were not there.
        min_overlap_s : float, optional
            Seconds; at most those of a window.
        min_fraction : float, optional
            Between 0 and 1: of the event, or of the window where that is shorter.
        unannotated : {"error", "negative", "mask"}
            What recordings are of which `annotations` says nothing: refused, silent, or not known.
        ignore : iterable of str
            Labels that are no class. Where one counts, or an event without a label does, it is not
            known which classes are heard, beside those labelled.

        Raises
        ------
        AnnotationError
            An argument is none of the above; a recording is not annotated; a file may be two
            recordings, or none is any.

        Warns
        -----
        HeadraceWarning
            Annotated files are no recording; events lie behind the end of theirs; a class is no
            event's label, while other labels are no class.
        """
        view = copy(self)
        view.labels = Labels.of(
            self,
            annotations,
            classes,
            min_overlap_s=min_overlap_s,
            min_fraction=min_fraction,
            unannotated=unannotated,
            ignore=ignore,
        )
        return view

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of labels; none without labels."""
        return () if self.labels is None else self.labels.classes

    @property
    def label_row_bytes(self) -> int:
        """Bytes of one window's labels and mask."""
        return 0 if self.labels is None else self.labels.row_bytes

    @property
    def label_bytes(self) -> int:
        """Bytes of what labels are made from."""
        return 0 if self.labels is None else self.labels.nbytes

    def label_counts(self) -> dict[str, int]:
        """Return in how many of these windows each class is, counted without a matrix.

        Of the unshuffled set, whatever the order and the shard: of windows that are sampled or
        mixed, not how often they are drawn; on a shard, those of all ranks.

        Raises
        ------
        InvalidWindowsError
            The windows have no labels.
        """
        return self._need_labels().counts(self)

    def balanced_weights(self) -> NDArray[np.float64]:
        """Return weights by which windows may be drawn so that rare classes are drawn as often.

        A window's weight is the sum, over its classes, of 1 / the number of windows of that class:
        where no window has two classes, all are drawn equally often. Windows in which nothing is
        labelled are weighed like one more class; those of which nothing is known have 0.

        Returns
        -------
        ndarray of float64, one for each window
            In the order of the unshuffled set, as `sample` wants them; their sum is 1.

        Raises
        ------
        InvalidWindowsError
            The windows have no labels.
        """
        return self._need_labels().balanced_weights(self)

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
        seed: int = 0,
    ) -> Loader:
        """Return a `Loader` of these windows: threads, memory, progress and state.

        Parameters
        ----------
        batch_size : int, optional
            Windows in a `Batch`; without it the loader yields single `AudioExample`.
        workers : int or "auto"
            Threads that read, decode and resample; 0 does so in the calling thread. ``"auto"`` is
            the number of processors this process may use, shared among the ranks on this node.
        prefetch : int or "auto"
            Deliveries (batches or examples) that are ready or being made, at most.
        memory : str or int, optional
            Limit on `Loader.memory_bound`, as ``"1 GiB"`` or bytes; lowers `prefetch`.
        last : {"keep", "drop", "pad"}
            A last batch that is not full is delivered short, left out, or filled with rows of zeros
            whose ``valid`` is False.
        on_error : {"raise", "skip", "mask"}
            A window that cannot be read raises `ReadError` when its turn comes, is left out, or is
            delivered as zeros with ``valid`` False (``valid_samples`` 0). All are in
            `Loader.failures`.
        max_failures : int or float, optional
            With skip and mask: windows of an epoch (or, less than 1, the share of it) that may be
            lost; one more raises `TooManyFailuresError`. Default: any number.
        stall_timeout_s : float, optional
            Seconds after which a read that does not come back is given up: its windows fail with
            `STALLED`, and nothing waits for it. Default: never. For disks on a network.
        batch_map : callable, optional
            ``batch_map(batch)`` runs in the workers on each whole batch and returns a `Batch`, or
            None if it worked in place. If it has an argument ``rng`` it is handed a generator keyed
            by (seed, epoch, position of the batch).
        seed : int
            Keys that `rng`.

        Returns
        -------
        Loader

        Raises
        ------
        MemoryBudgetError
            `memory` is less than the smallest loader of this batch size needs.
        TransformError
            `batch_map` raised when tried on noise, or gave no batch.
        ValueError
            An argument is none of the above.
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
            seed=seed,
        )

    @cached_property
    def coverage(self) -> Coverage:
        """What these windows cover of their recordings, and what is left out.

        Of the set: an order and a shard change nothing.

        Raises
        ------
        InvalidWindowsError
            They are not a run of what a catalog is cut into.
        """
        return self._set.coverage(range(len(self._set)))

    def table(self) -> pa.Table:
        """Return an Arrow table with a row for each window, unshuffled, of all shards.

        Columns: ``index`` (int64), ``id`` (the recording's), and ``start``, ``end`` (int64, samples
        at `spec.sample_rate`, half-open; the end may lie behind the recording's, in the padding).
        Where sets were joined, ``source`` (int64) says which; where windows move from epoch to
        epoch, they are those of epoch 0.
        """
        import pyarrow as pa

        rows = self.rows(np.arange(len(self._set), dtype=np.int64))
        columns = {
            "index": rows.index,
            "id": self.recordings.ids(rows.recording),
            "start": rows.start,
            "end": rows.start + self.spec.size,
        }
        if self._set.joined:
            columns["source"] = rows.source
        return pa.table(columns)

    def rows(self, index: NDArray[np.int64], epoch: int = 0) -> WindowRows:
        """Return where the windows at places `index` of the unshuffled set are in this epoch."""
        return self._set.locate(index, epoch)

    @cached_property
    def _arranged(self) -> tuple[Order, int]:
        return arranged(self._set, self._order, self.share)

    @cached_property
    def _first_epoch(self) -> EpochOrder:
        """What indexing goes by: made once for all indices."""
        return self.order.epoch(0)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled and copied: not the tables of an epoch, which are made again."""
        return {name: value for name, value in self.__dict__.items() if name != "_first_epoch"}

    @property
    def order(self) -> Order:
        """The order of every epoch, of all shards: positions -> places in the unshuffled set."""
        return self._arranged[0]

    @property
    def positions(self) -> int:
        """How many positions an epoch's order has."""
        return self._arranged[1]

    @property
    def set_size(self) -> int:
        """How many windows the unshuffled set has, whatever the order and the shard."""
        return len(self._set)

    @property
    def jumps(self) -> bool:
        """Whether neighbours in the order are mostly from different files."""
        return self._order is not None and self._order.jumps

    @property
    def overlap(self) -> int:
        """Samples that neighbours in the order may share, at most."""
        return self._set.overlap

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window as it is delivered: `audio_shape`, or that of the last transform."""
        return self.transforms[-1].shape if self.transforms else self.audio_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of one window as it is delivered: float32, or that of the last transform."""
        return self.transforms[-1].dtype if self.transforms else np.dtype(np.float32)

    @property
    def audio_shape(self) -> tuple[int, ...]:
        """Shape of one window's audio: ``(samples,)`` or ``(channels, samples)``."""
        if self.spec.channel == "all":
            return self.recordings.kinds[0][1], self.spec.size
        return (self.spec.size,)

    @cached_property
    def identity(self) -> WindowsIdentity:
        """What decides the windows and their order: what a saved state holds and resuming compares.

        Neither paths nor modification times are part of it, nor is a shard of positions, because
        all ranks share one order.
        """
        chosen = self._set.identity
        order: OrderIdentity = InOrderIdentity() if self._order is None else self._order.identity
        if self.share.by == "recording" and self.share.world > 1:
            order = RecordingShardIdentity(self.share.rank, self.share.world, order)
        return WindowsIdentity(chosen.recordings, chosen.cut, chosen.choice, order)

    @property
    def parts(self) -> Mapping[str, str]:
        """Descriptions of what decides the order: of its recordings, cut, choice and order.

        For people: the text may change with any version. Compare `fingerprint` instead.
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
        """Hexadecimal digest of everything that decides the windows and their order."""
        return self.identity.fingerprint

    def __repr__(self) -> str:
        rate = self.spec.sample_rate
        order = "" if self._order is None else f", {self._order.called}"
        share = f", {self.share}" if self.share.world > 1 else ""
        maps = "".join(f", {transform}" for transform in self.transforms)
        return (
            f"<Windows: {len(self):,} of {self.spec.size / rate:g} s {self._set.manner} at {rate} "
            f"Hz from {len(self.recordings):,} recordings, channel={self.spec.channel!r}"
            f"{order}{share}{maps}>"
        )

    def _repr_html_(self) -> str:
        from headrace.display import windows_card

        return windows_card(self)

    def _need_labels(self) -> Labels:
        if self.labels is None:
            raise InvalidWindowsError(
                "these windows have no labels: say windows.label(annotations)."
            )
        return self.labels

    def _view(
        self,
        chosen: WindowSet,
        order: Shuffle | Sampled | Mixed | None = None,
        share: Shard | None = None,
    ) -> Windows:
        view = Windows(chosen, order, share)
        view.labels = self.labels
        view.transforms = self.transforms
        return view

    def _refuse_order(self, what: str) -> None:
        if self._sharded:
            raise InvalidWindowsError(
                f"a shard of windows cannot be {what}: choose windows, then order them, then shard."
            )
        if self._order is not None:
            raise InvalidWindowsError(
                f"{self._order.called.partition(' ')[0]} windows cannot be {what}: choose windows "
                f"first, {self._order.verb} once, last."
            )
