"""`Windows`: what to load. A pure, lazy, immutable, random-access sequence of windows.

No threads, no open files; nothing for each window until it is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from headrace import views
from headrace.arrangement import arranged
from headrace.errors import WindowsError
from headrace.labelled import Labelled
from headrace.recordings import counted
from headrace.records import AudioExample
from headrace.shard import Shard
from headrace.units import Rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.arrangement import Shuffle
    from headrace.catalog import Catalog
    from headrace.loader import Loader
    from headrace.order import EpochOrder, Order
    from headrace.recordings import Recordings
    from headrace.records import Coverage, WindowSpec
    from headrace.sampling import Mixed, Sampled
    from headrace.sets import WindowSet
    from headrace.transforms import Function, Transform

__all__ = ["Windows"]

_LONG = 300
"""Characters of a state's part: longer ones are digested."""


class Windows(Labelled, Sequence[AudioExample]):
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
    """

    transforms: tuple[Transform, ...] = ()

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
        WindowsError
            There are several.
        """
        if len(self.recordings.catalogs) > 1:
            raise WindowsError(
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
        WindowsError
            A slice of ordered windows, or one that goes backwards.
        """
        if isinstance(index, slice):
            self._refuse_order("sliced")
            places = range(len(self))[index]
            if places.step < 1:
                raise WindowsError("a slice of windows goes forward: order is what shuffle is for.")
            return self._view(self._set.sliced(places))
        from headrace.single import read_one  # noqa: PLC0415  the door from what to how

        try:
            position = range(len(self))[index]
        except IndexError:
            raise IndexError(f"there is no window {index}: there are {len(self)}.") from None
        return read_one(self, position)

    take = views.take
    filter = views.filter
    shuffle = views.shuffle
    sample = views.sample
    shard = views.shard
    map = views.map

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
        from headrace.loader import Loader  # noqa: PLC0415  the door from what to how

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
        WindowsError
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
        import pyarrow as pa  # noqa: PLC0415  as heavy as numpy and soundfile together

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

    def rows(self, index: NDArray[np.int64], epoch: int = 0) -> Rows:
        """Return where the windows at places `index` of the unshuffled set are in this epoch."""
        return Rows(index, *self._set.locate(index, epoch))

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
    def parts(self) -> Mapping[str, str]:
        """What decides the order, in a few words for each part: recordings, cut, choice, order.

        Paths and times of change are not in it, nor is a shard of positions, since the order of all
        shards is one.
        """
        told = self._set.told
        recordings = _brief(told.recordings, f"{counted(told.recordings)} recordings")
        choice = _brief(told.choice, f"{len(self._set)} windows")
        order = "in order" if self._order is None else self._order.told
        if self.share.by == "recording" and self.share.world > 1:
            order += f", {self.share}"
        return {
            "recordings": recordings,
            "cut": _brief(told.cut, "several cuts"),
            "choice": choice,
            "order": order,
        }

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest of everything that decides the order: see `parts`."""
        text = "\n".join(self.parts.values())
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

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
        from headrace.cards import windows_card  # noqa: PLC0415  only notebooks ask

        return windows_card(self)

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
            raise WindowsError(
                f"a shard of windows cannot be {what}: choose windows, then order them, then shard."
            )
        if self._order is not None:
            raise WindowsError(
                f"{self._order.called.partition(' ')[0]} windows cannot be {what}: choose windows "
                f"first, {self._order.verb} once, last."
            )


def _brief(text: str, lead: str) -> str:
    """Return a text that is not long, or as of many joined sets a digest of it."""
    if len(text) <= _LONG:
        return text
    return f"{lead} {hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"
