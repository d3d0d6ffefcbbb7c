"""What `Catalog.windows` and `Catalog.windows_at` do: recordings -> `Windows`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace._validation import arrow_errors_explained, check_whole_number
from headrace.catalog import as_table
from headrace.errors import CatalogError, HeadraceWarning, InvalidWindowsError
from headrace.windows._geometry import Geometry
from headrace.windows._spec import Channel, Tail, WindowSpec
from headrace.windows._window_sets import CutWindows, WindowsAtTimes
from headrace.windows._windows import Windows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from headrace.catalog import Catalog

__all__ = ["cut_at_times", "cut_recordings"]

_MOST_JITTER = 1 << 31
"""Samples: so that twice as many can be drawn from."""


def cut_recordings(
    catalog: Catalog,
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
    InvalidWindowsError
        These recordings cannot be cut so.
    """
    spec = _spec(catalog, sample_rate, window_s, hop_s, tail, min_tail_s, channel)
    geometry = Geometry.of(spec, catalog.frames, catalog.sample_rates)
    windowless = np.flatnonzero(geometry.counts == 0)
    if len(windowless) == len(geometry.counts):
        longest = int(geometry.samples.max(initial=0)) / spec.sample_rate
        raise InvalidWindowsError(
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
    return Windows(CutWindows(catalog, geometry))


def cut_at_times(
    catalog: Catalog,
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
    InvalidWindowsError
        These recordings cannot be cut so.
    """
    spec = _spec(catalog, sample_rate, window_s, None, "pad", 0.0, channel)
    rate = spec.sample_rate
    if not 0 <= jitter_s * rate < _MOST_JITTER:
        raise InvalidWindowsError(
            f"jitter_s must be 0 or more seconds, less than 2^31 samples, not {jitter_s!r}."
        )
    recording, at_s = _times(catalog, table)
    start = np.rint(at_s * rate).astype(np.int64) - spec.size // 2
    jitter = round(jitter_s * rate)
    return Windows(
        WindowsAtTimes(catalog, spec, recording, start, jitter, check_whole_number("seed", seed))
    )


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
        raise InvalidWindowsError("there are no recordings to cut: the filter or slice left none.")
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
        raise InvalidWindowsError(
            f"sample_rate=None keeps the recordings' own rate, but they have {len(rates)}: "
            f"{', '.join(f'{rate} Hz' for rate in rates[:5])}. Give one sample_rate."
        )
    return int(rates[0])


def _check_channels(catalog: Catalog, channel: Any) -> None:  # noqa: ANN401  checked by WindowSpec
    channels = catalog.channels
    if channel == "all" and channels.min() != channels.max():
        few, many = (catalog[int(i)] for i in (channels.argmin(), channels.argmax()))
        raise InvalidWindowsError(
            f'channel="all" needs the same number of channels everywhere, but {few.id} has '
            f'{few.channels} and {many.id} has {many.channels}: give channel="mix", or filter.'
        )
    if isinstance(channel, int) and channel >= channels.min():
        few = catalog[int(channels.argmin())]
        raise InvalidWindowsError(
            f"channel={channel} is not in every recording: {few.id} has {few.channels} "
            "(the first is 0). Give another channel, or filter."
        )


def _times(catalog: Catalog, table: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:  # noqa: ANN401
    """Return the recording's number and the seconds of each row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with arrow_errors_explained(
        "The table of times cannot be a table", "Give columns of one length and type."
    ):
        arrow = pa.table(dict(table)) if isinstance(table, Mapping) else as_table(table)
    names = arrow.column_names
    wanted = ["id", "at_s"] if "at_s" in names else ["id", "start_s", "end_s"]
    if missing := [name for name in wanted if name not in names]:
        raise CatalogError(
            f"The table of times has no column {', '.join(missing)}: it needs id, and at_s or both "
            f"start_s and end_s. It has {names}."
        )
    times = []
    for name in wanted[1:]:
        with arrow_errors_explained(
            f"The column {name} is not of seconds: {arrow[name].type}", "Give numbers."
        ):
            times.append(arrow[name].cast("float64").to_numpy())
    at_s = sum(times) / len(times)
    with arrow_errors_explained(
        f"The column id is not of ids: {arrow['id'].type}", "Give those of recordings."
    ):
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
