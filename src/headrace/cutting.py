"""What a `Catalog` is made into: windows, and parts. These functions are its methods."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace import tables
from headrace.arguments import refused, whole_number
from headrace.cuts import At, Cut
from headrace.errors import CatalogError, HeadraceWarning, WindowsError
from headrace.geometry import Geometry
from headrace.records import Channel, Tail, WindowSpec
from headrace.sampling import shares

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from headrace.catalog import Catalog
    from headrace.windows import Windows

__all__ = ["split", "windows", "windows_at"]

_MOST_JITTER = 1 << 31
"""Samples: so that twice as many can be drawn from."""


def windows(
    self: Catalog,
    sample_rate: int | None = 16_000,
    window_s: float = 5.0,
    hop_s: float | None = None,
    *,
    tail: Tail = "pad",
    min_tail_s: float | None = None,
    channel: Channel = "mix",
) -> Windows:
    """Cut the recordings into windows of one length; reads nothing.

    Parameters
    ----------
    sample_rate : int or None
        Hz of the windows; None for the recordings' own, which must then be one.
    window_s, hop_s : float
        Seconds of a window, and between the starts of two; default one after the other.
    tail : {"pad", "shift", "drop"}
        What becomes of audio after the last full window: one more window filled up with zeros,
        one more that ends with the recording, or nothing.
    min_tail_s : float, optional
        With ``"pad"``, the least audio (s) that is worth one more window; default a quarter of
        `window_s`.
    channel : "mix", "all" or int
        The mean of all channels; every channel; or one, from 0.

    Raises
    ------
    WindowsError
        These recordings cannot be cut so.
    """
    from headrace.windows import Windows  # noqa: PLC0415  windows are made of catalogs

    spec = _spec(self, sample_rate, window_s, hop_s, tail, min_tail_s, channel)
    geometry = Geometry.of(spec, self.frames, self.sample_rates)
    windowless = np.flatnonzero(geometry.counts == 0)
    if len(windowless) == len(geometry.counts):
        longest = int(geometry.samples.max(initial=0)) / spec.sample_rate
        raise WindowsError(
            f"none of the {len(self)} recordings holds a window of {window_s} s (the "
            f'longest has {longest:.3f} s): give a smaller window_s, or tail="pad".'
        )
    if len(windowless):
        first = self[int(windowless[0])]
        warnings.warn(
            f"{len(windowless)} of {len(self)} recordings get no window, being shorter than "
            f"{window_s} s: the first is {first.id} with {first.duration_s:.3f} s. "
            'Give tail="pad" to keep them.',
            HeadraceWarning,
            stacklevel=2,
        )
    return Windows(Cut(self, geometry))


def windows_at(
    self: Catalog,
    table: pa.Table | pd.DataFrame | Mapping[str, Any],
    sample_rate: int | None = 16_000,
    window_s: float = 5.0,
    *,
    jitter_s: float = 0.0,
    seed: int = 0,
    channel: Channel = "mix",
) -> Windows:
    """Return windows around given times, as those of annotations; reads nothing.

    A window that would pass an end of its recording is moved inside; where the recording is shorter
    than a window, it begins with it and zeros follow.

    Parameters
    ----------
    table : Arrow table, pandas DataFrame, or mapping of columns
        ``id`` of the recording, and ``at_s``, seconds from its start to the window's middle; or
        ``start_s`` and ``end_s``, which that is half-way between. A window for each row, in their
        order; other columns are left alone.
    sample_rate, window_s, channel
        As in `windows`.
    jitter_s : float
        Seconds that a window is moved by, at most, to either side: newly in every epoch, by a hash
        of (seed, epoch, row). `Windows.table` and indexing tell of epoch 0.
    seed : int
        Of the jitter.

    Raises
    ------
    CatalogError
        A column is missing or of a wrong type, an id is not in the catalog, or a time is not in its
        recording.
    WindowsError
        These recordings cannot be cut so.
    """
    from headrace.windows import Windows  # noqa: PLC0415  windows are made of catalogs

    spec = _spec(self, sample_rate, window_s, None, "pad", 0.0, channel)
    rate = spec.sample_rate
    if not 0 <= jitter_s * rate < _MOST_JITTER:
        raise WindowsError(
            f"jitter_s must be 0 or more seconds, less than 2^31 samples, not {jitter_s!r}."
        )
    recording, at_s = _times(self, table)
    start = np.rint(at_s * rate).astype(np.int64) - spec.size // 2
    jitter = round(jitter_s * rate)
    return Windows(At(self, spec, recording, start, jitter, whole_number("seed", seed)))


def _spec(
    catalog: Catalog,
    sample_rate: int | None,
    window_s: float,
    hop_s: float | None,
    tail: Tail,
    min_tail_s: float | None,
    channel: Channel,
) -> WindowSpec:
    """Return how to cut, checked against the recordings."""
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
    return spec


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


def _times(catalog: Catalog, table: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:  # noqa: ANN401
    """Return the recording's number and the seconds of each row."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    with refused("The table of times cannot be a table", "Give columns of one length and type."):
        arrow = pa.table(dict(table)) if isinstance(table, Mapping) else tables.as_table(table)
    names = arrow.column_names
    wanted = ["id", "at_s"] if "at_s" in names else ["id", "start_s", "end_s"]
    if missing := [name for name in wanted if name not in names]:
        raise CatalogError(
            f"The table of times has no column {', '.join(missing)}: it needs id, and at_s or both "
            f"start_s and end_s. It has {names}."
        )
    times = []
    for name in wanted[1:]:
        with refused(f"The column {name} is not of seconds: {arrow[name].type}", "Give numbers."):
            times.append(arrow[name].cast("float64").to_numpy())
    at_s = sum(times) / len(times)
    with refused(f"The column id is not of ids: {arrow['id'].type}", "Give those of recordings."):
        ids = arrow["id"].cast("string")
    found = pc.index_in(ids, value_set=catalog.ids)
    if found.null_count:
        row = pc.index(pc.is_null(found), value=True).as_py()
        raise CatalogError(
            f"Row {row} of the table of times: there is no recording {ids[row].as_py()!r} in the "
            f"catalog, nor for {found.null_count - 1} more rows."
        )
    recording = found.to_numpy().astype(np.int64)
    lengths = (catalog.frames / catalog.sample_rates)[recording]
    outside = np.flatnonzero(~((at_s >= 0) & (at_s <= lengths)))  # NaN too
    if len(outside):
        row = int(outside[0])
        raise CatalogError(
            f"Row {row} of the table of times: {at_s[row]} s is not in {ids[row].as_py()!r}, which "
            f"has {lengths[row]:.3f} s; nor are the times of {len(outside) - 1} more rows in "
            "theirs."
        )
    return recording, at_s


def split(
    self: Catalog, parts: Mapping[str, float], by: str = "recording", *, seed: int = 0
) -> dict[str, Catalog]:
    """Split into catalogs that share no recording, or no value of a column.

    Windows of one recording, site or animal resemble each other, and overlapping ones hold the same
    audio: what a model is tested on must not be in what it learned from.

    Parameters
    ----------
    parts : mapping of str to float
        Name and share of each part, together 1. Shares are of groups, to the nearest; every part
        gets at least one.
    by : str
        ``"recording"``, or a column: recordings of one value stay together. Where a column has
        that name, ``"id"`` says the same.
    seed : int
        Groups are in the order of a hash of (seed, value), which is cut up. So recordings that are
        added to known groups change nothing, and a new group moves few others.

    Returns
    -------
    dict of str to Catalog
        In the order of `parts`; each in the order of the catalog.

    Raises
    ------
    CatalogError
        The shares are none, there is no such column, it is of a type that has no groups, it has no
        value somewhere, or there are fewer groups than parts; or `by` may be meant in two ways.
    WindowsError
        The seed is no whole number.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    try:
        share = np.array([float(parts[name]) for name in parts])
    except (TypeError, ValueError):
        share = np.array([math.nan])
    if not (share > 0).all() or not math.isclose(share.sum(), 1.0, abs_tol=1e-9):
        raise CatalogError(
            f"the shares must be positive numbers that sum to 1, not {dict(parts)!r}: what is to "
            "be left out is a part as well."
        )
    seed = whole_number("seed", seed)
    if by == "recording" and by in self.columns:
        raise CatalogError(
            'by="recording" keeps each recording whole, and there is a column "recording" as well: '
            'say by="id" for the recordings themselves, or rename the column to split by it.'
        )
    if by != "recording" and by not in self.columns:
        raise CatalogError(f"There is no column {by!r}: there are {', '.join(self.columns)}.")
    column = self.ids if by == "recording" else self._table[by]
    unsplit = f"The recordings cannot be split by {by!r}, which is {column.type}"
    with refused(unsplit, "Give a column of texts or numbers."):
        if pa.types.is_dictionary(column.type):  # it may have values that no row has
            column = column.cast(column.type.value_type)
        column = column.combine_chunks()
    if column.null_count:
        row = pc.index(pc.is_null(column), value=True).as_py()
        raise CatalogError(
            f"The column {by!r} has no value for {self[row].id}: fill it, or filter."
        )
    with refused(unsplit, "Give a column of texts or numbers."):
        groups = column.dictionary_encode()
        values = groups.dictionary.to_pylist()
    if len(values) < len(share):
        raise CatalogError(
            f"{len(values)} values of {by!r} cannot be split into {len(share)} parts: whole groups "
            "stay together. Give fewer parts, or split by something finer."
        )
    keys = b"".join(
        hashlib.blake2b(f"headrace:split:{seed}:{value}".encode(), digest_size=8).digest()
        for value in values
    )
    counts = shares(share, len(values))
    while (counts == 0).any():
        counts[counts.argmax()] -= 1
        counts[(counts == 0).argmax()] += 1
    part = np.empty(len(values), np.int64)
    part[np.argsort(np.frombuffer(keys, "<u8"), kind="stable")] = np.repeat(
        np.arange(len(share)), counts
    )
    mine = part[groups.indices.to_numpy()]
    return {name: self.filter(mine == place) for place, name in enumerate(parts)}
