"""Cut the recordings of a catalog: `Catalog.windows` and `Catalog.windows_at`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace._formatting import brief
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
    from numpy.typing import NDArray

    from headrace.catalog import Catalog

__all__ = ["cut_at_times", "cut_recordings"]

_MAX_JITTER = 1 << 31
"""In samples. A jitter is drawn from twice as many numbers, and `draw_below` allows 2^32."""


def cut_recordings(
    catalog: Catalog,
    sample_rate: int | None,
    window_s: float,
    hop_s: float | None,
    *,
    tail: Tail,
    min_tail_s: float | None,
    channel: Channel,
) -> Windows:
    """Cut the recordings into windows of one length: see `Catalog.windows`."""
    spec = _make_spec(catalog, sample_rate, window_s, hop_s, tail, min_tail_s, channel)
    geometry = Geometry.from_frames(spec, catalog.frames, catalog.sample_rates)
    windowless = np.flatnonzero(geometry.counts == 0)
    if len(windowless) == len(geometry.counts):
        longest = int(geometry.samples.max(initial=0)) / spec.sample_rate
        raise InvalidWindowsError(
            f"none of the {len(catalog)} recordings is as long as a window of {window_s} s (the "
            f'longest has {longest:.3f} s): give a smaller window_s, or tail="pad".'
        )
    if len(windowless):
        first, few = catalog[int(windowless[0])], len(windowless) == 1
        warnings.warn(
            f"{len(windowless)} of {len(catalog)} recordings {'has' if few else 'have'} no window, "
            f"because {'it is' if few else 'they are'} shorter than {window_s} s: the first is "
            f'{first.id} with {first.duration_s:.3f} s. Give tail="pad" to keep them.',
            HeadraceWarning,
            stacklevel=3,
        )
    return Windows(CutWindows(catalog, geometry))


def cut_at_times(
    catalog: Catalog,
    table: pa.Table | pd.DataFrame | Mapping[str, Any],
    sample_rate: int | None,
    window_s: float,
    *,
    jitter_s: float,
    seed: int,
    channel: Channel,
) -> Windows:
    """Return windows around given times: see `Catalog.windows_at`."""
    spec = _make_spec(catalog, sample_rate, window_s, None, "pad", 0.0, channel)
    rate = spec.sample_rate
    if not 0 <= jitter_s * rate < _MAX_JITTER:
        raise InvalidWindowsError(
            f"jitter_s must be 0 or more seconds, less than 2^31 samples, not {brief(jitter_s)}."
        )
    recording, at_s = _read_times(catalog, table)
    start = np.rint(at_s * rate).astype(np.int64) - spec.size // 2
    jitter = round(jitter_s * rate)
    return Windows(
        WindowsAtTimes(catalog, spec, recording, start, jitter, check_whole_number("seed", seed))
    )


def _make_spec(
    catalog: Catalog,
    sample_rate: int | None,
    window_s: float,
    hop_s: float | None,
    tail: Tail,
    min_tail_s: float | None,
    channel: Channel,
) -> WindowSpec:
    """Return the spec, checked against the recordings."""
    if not len(catalog):
        raise InvalidWindowsError(
            "the catalog has no recordings to cut: check the filter or slice that made it."
        )
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


def _check_channels(catalog: Catalog, channel: object) -> None:
    channels = catalog.channels
    if channel == "all" and channels.min() != channels.max():
        few, many = (catalog[int(i)] for i in (channels.argmin(), channels.argmax()))
        raise InvalidWindowsError(
            f'channel="all" needs the same number of channels in all recordings, but {few.id} has '
            f'{few.channels} and {many.id} has {many.channels}: give channel="mix", or filter.'
        )
    if isinstance(channel, int) and channel >= channels.min():
        few = catalog[int(channels.argmin())]
        raise InvalidWindowsError(
            f"channel={channel} is not in every recording: {few.id} has {few.channels} "
            "(the first is 0). Give another channel, or filter."
        )


def _read_times(
    catalog: Catalog, table: pa.Table | pd.DataFrame | Mapping[str, Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each row's recording and its time in seconds.

    Raises
    ------
    CatalogError
        See `Catalog.windows_at`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    with arrow_errors_explained(
        "The table of times cannot be read", "Give columns of one length, each of one type."
    ):
        arrow = pa.table(dict(table)) if isinstance(table, Mapping) else as_table(table)
    names = arrow.column_names
    needed = ["id", "at_s"] if "at_s" in names else ["id", "start_s", "end_s"]
    if missing := [name for name in needed if name not in names]:
        raise CatalogError(
            f"The table of times has no column {', '.join(missing)}: it needs id, and at_s or both "
            f"start_s and end_s. It has {names}."
        )
    times = []
    for name in needed[1:]:
        with arrow_errors_explained(
            f"The column {name} is not a number of seconds: {arrow[name].type}", "Give numbers."
        ):
            times.append(arrow[name].cast("float64").to_numpy())
    at_s = sum(times) / len(times)
    with arrow_errors_explained(
        f"The column id does not hold ids: {arrow['id'].type}", "Give ids of recordings."
    ):
        ids = arrow["id"].cast("string")
    found = pc.index_in(ids, value_set=catalog.ids)
    if found.null_count:
        row = pc.index(pc.is_null(found), value=True).as_py()
        raise CatalogError(
            f"Row {row} of the table of times: there is no recording {ids[row].as_py()!r} in the "
            f"catalog, nor for {found.null_count - 1} more rows. Drop these rows, or scan their "
            "files."
        )
    recording = found.to_numpy().astype(np.int64)
    lengths = (catalog.frames / catalog.sample_rates)[recording]
    outside = np.flatnonzero(~((at_s >= 0) & (at_s <= lengths)))  # NaN too
    if len(outside):
        row = int(outside[0])
        raise CatalogError(
            f"Row {row} of the table of times: {at_s[row]} s is not in {ids[row].as_py()!r}, which "
            f"has {lengths[row]:.3f} s; {len(outside) - 1} more rows have a time outside their "
            "recording. Give seconds from the start of the recording."
        )
    return recording, at_s
