"""`Windows`: what to load. A pure, lazy, immutable, random-access sequence of windows.

No threads, no open files; nothing for each window until it is asked for.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from headrace.errors import HeadraceWarning, WindowsError
from headrace.geometry import Geometry
from headrace.labelled import Labelled
from headrace.order import ByFile, ByWindow, InOrder, Order
from headrace.records import AudioExample, Channel, Coverage, Tail, WindowSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog import Catalog
    from headrace.loader import Loader

__all__ = ["Rows", "Shuffle", "Windows"]


@dataclass(slots=True, eq=False)
class Rows:
    """Where some windows are: one row each, all arrays of int64, shape ``(rows,)``.

    Attributes
    ----------
    index : ndarray
        Place in the `Windows`' unshuffled set.
    recording : ndarray
        Place of the recording in the catalog.
    start, valid : ndarray
        First sample, and samples before the recording's end, at the target rate.
    """

    index: NDArray[np.int64]
    recording: NDArray[np.int64]
    start: NDArray[np.int64]
    valid: NDArray[np.int64]

    def __getitem__(self, rows: slice) -> Rows:
        """Return some of the rows."""
        return Rows(self.index[rows], self.recording[rows], self.start[rows], self.valid[rows])


@dataclass(frozen=True, slots=True)
class Shuffle:
    """An order that is new in every epoch."""

    seed: int
    by: Literal["window", "file"]


class Windows(Labelled, Sequence[AudioExample]):
    """Fixed-length windows of a catalog's recordings, at one sample rate.

    Made by `Catalog.windows`. Indexing with an integer decodes that window here and now; slicing
    gives a smaller `Windows`. An index is the window's place in this set, before shuffling.

    Attributes
    ----------
    catalog : Catalog
        The recordings.
    spec : WindowSpec
        How they are cut.
    """

    def __init__(
        self,
        catalog: Catalog,
        geometry: Geometry,
        chosen: range,
        order: Shuffle | None = None,
    ) -> None:
        self.catalog = catalog
        self.spec = geometry.spec
        self._geometry = geometry
        self._chosen = chosen
        self._order = order

    @classmethod
    def cut(
        cls,
        catalog: Catalog,
        *,
        sample_rate: int | None,
        window_s: float,
        hop_s: float | None = None,
        tail: Tail = "pad",
        min_tail_s: float | None = None,
        channel: Channel = "mix",
    ) -> Windows:
        """Cut the recordings of `catalog`: see `Catalog.windows`."""
        if not len(catalog):
            raise WindowsError("there are no recordings to cut: the filter or slice left none.")
        spec = WindowSpec.from_seconds(
            _native_rate(catalog) if sample_rate is None else sample_rate,
            window_s,
            hop_s,
            tail=tail,
            min_tail_s=min_tail_s,
            channel=channel,
        )
        _check_channels(catalog, channel)
        geometry = Geometry.of(spec, catalog.frames, catalog.sample_rates)
        windowless = np.flatnonzero(geometry.counts == 0)
        if len(windowless) == len(geometry.counts):
            longest = int(geometry.samples.max(initial=0)) / spec.sample_rate
            raise WindowsError(
                f"none of the {len(catalog)} recordings holds a window of {window_s} s (the "
                f'longest has {longest:.3f} s): give a smaller window_s, or tail="pad".'
            )
        if len(windowless):
            first = catalog[int(windowless[0])]
            warnings.warn(
                f"{len(windowless)} of {len(catalog)} recordings get no window, being shorter than "
                f"{window_s} s: the first is {first.id} with {first.duration_s:.3f} s. "
                'Give tail="pad" to keep them.',
                HeadraceWarning,
                stacklevel=3,
            )
        return cls(catalog, geometry, range(geometry.total))

    def __len__(self) -> int:
        return len(self._chosen)

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
            A slice of shuffled windows, or one that goes backwards.
        """
        if isinstance(index, slice):
            self._refuse_order("sliced")
            chosen = self._chosen[index]
            if chosen.step < 1:
                raise WindowsError("a slice of windows goes forward: order is what shuffle is for.")
            return self._view(chosen, None)
        from headrace.deliver import read_one  # noqa: PLC0415  the door from what to how

        try:
            position = range(len(self))[index]
        except IndexError:
            raise IndexError(f"there is no window {index}: there are {len(self)}.") from None
        order = self.order.epoch(0)
        return read_one(self, int(order(np.array([position], np.int64))[0]))

    def shuffle(self, seed: int = 0, by: Literal["window", "file"] = "window") -> Windows:
        """Return the same windows in a random order that is new in every epoch.

        Parameters
        ----------
        seed : int
            The order is a pure function of (windows, seed, epoch).
        by : {"window", "file"}
            Shuffle all windows, or the files, leaving each file's windows in order: for codecs
            whose every seek is a decode from the start.

        Raises
        ------
        WindowsError
            These windows have an order already.
        """
        if by not in ("window", "file"):
            raise WindowsError(f'by must be "window" or "file", not {by!r}.')
        if not isinstance(seed, int | np.integer):
            raise WindowsError(f"seed must be a whole number, not {seed!r}.")
        self._refuse_order("shuffled again")
        return self._view(self._chosen, Shuffle(int(seed), by))

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

        Returns
        -------
        Loader

        Raises
        ------
        MemoryBudgetError
            `memory` is less than the smallest loader of this batch size needs.
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
        )

    @cached_property
    def coverage(self) -> Coverage:
        """What these windows cover of their recordings, and what is left out."""
        if self._chosen.step != 1:
            raise WindowsError(
                "coverage is told of all windows or of a run of them, not of each nth."
            )
        return self._geometry.coverage(self._chosen.start, self._chosen.start + len(self))

    def table(self) -> pa.Table:
        """Return an Arrow table with a row for each window, unshuffled.

        Columns: ``index`` (int64), ``id`` (the recording's), and ``start``, ``end`` (int64, samples
        at `spec.sample_rate`, half-open; the end may lie behind the recording's, in the padding).
        """
        import pyarrow as pa  # noqa: PLC0415  as heavy as numpy and soundfile together

        rows = self.rows(np.arange(len(self), dtype=np.int64))
        return pa.table(
            {
                "index": rows.index,
                "id": self.catalog.to_arrow().column("id").take(pa.array(rows.recording)),
                "start": rows.start,
                "end": rows.start + self.spec.size,
            }
        )

    def rows(self, index: NDArray[np.int64]) -> Rows:
        """Return where the windows at places `index` of the unshuffled set are."""
        numbers = self._chosen.start + index * self._chosen.step
        return Rows(index, *self._geometry.locate(numbers))

    @cached_property
    def order(self) -> Order:
        """The order of every epoch, over places in the unshuffled set."""
        if self._order is None:
            return InOrder()
        if self._order.by == "window":
            return ByWindow(len(self), self._order.seed)
        chosen = self._chosen
        bounds = -(-(self._geometry.first - chosen.start) // chosen.step)
        bounds = np.unique(np.clip(bounds, 0, len(self)))  # files of no chosen window drop out
        return ByFile(bounds, self._order.seed)

    @property
    def jumps(self) -> bool:
        """Whether neighbours in the order are mostly from different files."""
        return self._order is not None and self._order.by == "window"

    @cached_property
    def kinds(self) -> tuple[tuple[int, int, str, str], ...]:
        """The distinct (sample rate, channels, format, subtype) among the recordings."""
        columns = ("sample_rate", "channels", "format", "subtype")
        table = self.catalog.to_arrow().select(columns).group_by(list(columns)).aggregate([])
        return tuple(sorted(tuple(row[name] for name in columns) for row in table.to_pylist()))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window's audio: ``(samples,)`` or ``(channels, samples)``."""
        if self.spec.channel == "all":
            return self.kinds[0][1], self.spec.size
        return (self.spec.size,)

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest of everything that decides the order: recordings, cut, choice, seed.

        Paths and times of change are not in it.
        """
        order = "in order" if self._order is None else f"{self._order.by} {self._order.seed}"
        chosen = f"{len(self)} from {self._chosen.start} by {self._chosen.step}"
        parts = (self.catalog.fingerprint, repr(self.spec), chosen, order)
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    def __repr__(self) -> str:
        spec = self.spec
        order = "" if self._order is None else f", shuffled by {self._order.by}"
        return (
            f"<Windows: {len(self):,} of {spec.size / spec.sample_rate:g} s every "
            f"{spec.hop / spec.sample_rate:g} s at {spec.sample_rate} Hz from "
            f"{len(self.catalog):,} recordings, "
            f"tail={spec.tail!r}, channel={spec.channel!r}{order}>"
        )

    def _view(self, chosen: range, order: Shuffle | None) -> Windows:
        view = Windows(self.catalog, self._geometry, chosen, order)
        view.labels = self.labels
        view.__dict__["kinds"] = self.kinds  # one look at the catalog serves every view
        return view

    def _refuse_order(self, what: str) -> None:
        if self._order is not None:
            raise WindowsError(
                f"shuffled windows cannot be {what}: choose windows first, shuffle once, last."
            )


def _native_rate(catalog: Catalog) -> int:
    rates = np.unique(catalog.sample_rates)
    if len(rates) != 1:
        raise WindowsError(
            f"sample_rate=None keeps the recordings' own rate, but they have {len(rates)}: "
            f"{', '.join(f'{rate} Hz' for rate in rates[:5])}. Give one sample_rate."
        )
    return int(rates[0])


def _check_channels(catalog: Catalog, channel: Any) -> None:  # noqa: ANN401  checked by WindowSpec
    channels = catalog.channels
    if channel == "all" and channels.min() != channels.max():
        few, many = (catalog[int(i)] for i in (channels.argmin(), channels.argmax()))
        raise WindowsError(
            f'channel="all" needs the same number of channels everywhere, but {few.id} has '
            f'{few.channels} and {many.id} has {many.channels}: give channel="mix", or filter.'
        )
    if isinstance(channel, int) and channel >= channels.min():
        few = catalog[int(channels.argmin())]
        raise WindowsError(
            f"channel={channel} is not in every recording: {few.id} has {few.channels} "
            "(the first is 0). Give another channel, or filter."
        )
