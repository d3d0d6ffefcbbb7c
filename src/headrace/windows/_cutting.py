"""Cut the recordings of a catalog: `Catalog.windows`, `windows_at` and `crops`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace._apportion import apportion
from headrace._formatting import brief, brief_list, format_count
from headrace._validation import arrow_errors_explained, check_whole_number
from headrace.catalog import as_table, group_rows
from headrace.errors import CatalogError, HeadraceWarning, InvalidWindowsError
from headrace.windows._draws import Balanced, Sampled, check_weights
from headrace.windows._geometry import Geometry
from headrace.windows._spec import Channel, Tail, WindowSpec
from headrace.windows._window_sets import Crops, CutWindows, WindowsAtTimes
from headrace.windows._windows import Windows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import ArrayLike, NDArray

    from headrace.catalog import Catalog

__all__ = ["crop_recordings", "cut_at_times", "cut_recordings"]

_MAX_JITTER = 1 << 31
"""In samples: half a day at 48 kHz, and far below the limit of int64. A choice."""


_HEARD_RATE = 96_000
"""Recordings of more than this rate (Hz) are made for ultrasound. Those of less are of what people
hear, too, of which models of speech and birds take a part on purpose."""

_MOST_LOST = 4
"""A target rate that keeps less than one part in this many of the frequencies is reported. A
choice: 192 kHz at 48 kHz keeps just enough."""


def cut_recordings(
    catalog: Catalog,
    sample_rate: int | None,
    window_s: float,
    hop_s: float | None,
    *,
    tail: Tail,
    min_tail_s: float | None,
    min_audio_s: float,
    channel: Channel,
) -> Windows:
    """Cut the recordings into windows of one length: see `Catalog.windows`."""
    spec = _make_spec(catalog, sample_rate, window_s, hop_s, tail, min_tail_s, min_audio_s, channel)
    geometry = Geometry.from_frames(spec, catalog.frames, catalog.sample_rates)
    windowless = geometry.counts == 0
    is_for_audio = tail != "drop" and min_audio_s > 0  # else any audio has a window
    if windowless.all() and not is_for_audio:
        longest = int(geometry.samples.max(initial=0)) / spec.sample_rate
        raise InvalidWindowsError(
            f"none of {format_count(len(catalog), 'recording')} is as long as a window of "
            f"{window_s} s (the longest has {longest:.3f} s): give a smaller window_s, or "
            'tail="pad".'
        )
    if is_for_audio:
        _report_short(catalog, windowless, f"min_audio_s={min_audio_s}", "Give a smaller one")
    else:
        _report_short(catalog, windowless, f"{window_s} s", 'Give tail="pad"')
    return Windows(CutWindows(catalog, geometry))


def crop_recordings(
    catalog: Catalog,
    sample_rate: int | None,
    window_s: float,
    *,
    per_recording: int,
    weights: str | ArrayLike | None,
    min_audio_s: float,
    seed: int,
    channel: Channel,
) -> Windows:
    """Return windows at random places of their recordings: see `Catalog.crops`."""
    spec = _make_spec(catalog, sample_rate, window_s, None, "pad", 0.0, min_audio_s, channel)
    per_recording = check_whole_number("per_recording", per_recording, 1)
    seed = check_whole_number("seed", seed)
    samples = Geometry.from_frames(spec, catalog.frames, catalog.sample_rates).samples
    _report_short(
        catalog, samples < spec.min_audio, f"min_audio_s={min_audio_s}", "Give a smaller one"
    )
    crops = Crops(catalog, spec, samples, per_recording, seed)
    if weights is None:
        return Windows(crops)
    if isinstance(weights, str):
        return Windows(crops, _balance(catalog, crops, weights, seed))
    values = check_weights(weights, len(catalog), "recording")[crops.recording]
    if not values.any():
        raise InvalidWindowsError(
            "the weights of all recordings that are long enough are zero: give at least one of "
            "them a positive weight, or a smaller min_audio_s."
        )
    return Windows(crops, Sampled(values, len(crops), seed))


def _balance(catalog: Catalog, crops: Crops, name: str, seed: int) -> Balanced:
    """Return draws of crops in which all values of a column are equally frequent.

    Raises
    ------
    CatalogError
        There is no such column, it holds no classes, or it has no value for a recording.
    InvalidWindowsError
        There are more values than crops.
    """
    import pyarrow as pa

    groups = group_rows(catalog.to_arrow(), name)
    if pa.types.is_floating(groups.distinct.type):
        raise CatalogError(
            f"The column {name!r} holds decimal numbers, which are no classes to balance: for "
            f"weights, give weights=catalog.column({name!r})."
        )
    present, value = np.unique(groups.numbers[crops.recording], return_inverse=True)
    if len(present) > len(crops):
        each = -(-len(present) * crops.per_recording // len(crops))
        raise InvalidWindowsError(
            f"the {len(present)} values of {name!r} cannot all be drawn in an epoch of "
            f"{format_count(len(crops), 'crop')}: give per_recording={each}."
        )
    counts = apportion(np.ones(len(present)), len(crops))
    return Balanced(value.astype(np.int64), counts, seed)


def _report_short(catalog: Catalog, short: NDArray[np.bool_], than: str, advice: str) -> None:
    """Warn of recordings that are shorter than a limit and have no window.

    Raises
    ------
    InvalidWindowsError
        All are.
    """
    count = int(np.count_nonzero(short))
    if count == len(short):
        longest = float((catalog.frames / catalog.sample_rates).max())
        raise InvalidWindowsError(
            f"{'the recording is' if count == 1 else f'all {count} recordings are'} shorter than "
            f"{than} (the longest has {longest:.3f} s): give less."
        )
    if count:
        first, one = catalog[int(short.argmax())], count == 1
        warnings.warn(
            f"{count} of {len(short)} recordings {'has' if one else 'have'} no window, because "
            f"{'it is' if one else 'they are'} shorter than {than}: the first is {first.id} with "
            f"{first.duration_s:.3f} s. {advice} to keep them.",
            HeadraceWarning,
            stacklevel=4,
        )


def cut_at_times(
    catalog: Catalog,
    table: pa.Table | pd.DataFrame | Mapping[str, Any],
    sample_rate: int | None,
    window_s: float,
    *,
    jitter_s: float | str | ArrayLike,
    seed: int,
    channel: Channel,
) -> Windows:
    """Return windows around given times: see `Catalog.windows_at`."""
    spec = _make_spec(catalog, sample_rate, window_s, None, "pad", 0.0, 0.0, channel)
    rate = spec.sample_rate
    arrow = _as_table_of_times(table)
    recording, at_s = _read_times(catalog, arrow)
    start = np.rint(at_s * rate).astype(np.int64) - spec.size // 2
    jitter = np.rint(_read_jitter(jitter_s, arrow, rate) * rate).astype(np.int64)
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
    min_audio_s: float,
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
        min_audio_s=min_audio_s,
        channel=channel,
    )
    _check_channels(catalog, channel)
    _report_lost_frequencies(catalog, spec.sample_rate)
    return spec


def _report_lost_frequencies(catalog: Catalog, sample_rate: int) -> None:
    """Warn of recordings of ultrasound of which the target rate keeps only a small part."""
    rates = catalog.sample_rates
    lost = (rates > _HEARD_RATE) & (rates > _MOST_LOST * sample_rate)
    if not lost.any():
        return
    highest = int(rates.max())
    warnings.warn(
        f"at sample_rate={sample_rate}, windows keep the frequencies up to {sample_rate / 2:g} Hz, "
        f"and {np.count_nonzero(lost)} of {len(rates)} recordings have up to {highest / 2:g} Hz: "
        f"give sample_rate={highest} or None to keep what they were recorded for.",
        HeadraceWarning,
        stacklevel=5,
    )


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


def _as_table_of_times(table: pa.Table | pd.DataFrame | Mapping[str, Any]) -> pa.Table:
    """Return the user's table as an Arrow table.

    Raises
    ------
    CatalogError
        It is not a table.
    """
    import pyarrow as pa

    with arrow_errors_explained(
        "The table of times cannot be read", "Give columns of one length, each of one type."
    ):
        return pa.table(dict(table)) if isinstance(table, Mapping) else as_table(table)


def _read_jitter(
    jitter_s: float | str | ArrayLike, table: pa.Table, rate: int
) -> NDArray[np.float64]:
    """Return the jitter of each row, in seconds.

    Raises
    ------
    CatalogError
        There is no such column, or it does not hold seconds.
    InvalidWindowsError
        The numbers are not as `Catalog.windows_at` needs them.
    """
    given: Any = jitter_s
    if isinstance(given, str):
        if given not in table.column_names:
            raise CatalogError(
                f"The table of times has no column {given!r} for jitter_s: it has "
                f"{brief_list(table.column_names)}."
            )
        with arrow_errors_explained(
            f"The column {given} is not a number of seconds: {table[given].type}", "Give numbers."
        ):
            given = table[given].cast("float64").to_numpy()
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if values.ndim and values.shape != (len(table),):
        raise InvalidWindowsError(
            f"jitter_s has the shape {values.shape} for {format_count(len(table), 'row')}: give "
            "one number, one for each row, or the name of a column."
        )
    wrong = np.atleast_1d(~((values >= 0) & (values * rate < _MAX_JITTER)))  # NaN too
    if wrong.any():
        which = f"{values[wrong.argmax()]} in row {wrong.argmax()}" if values.ndim else brief(given)
        raise InvalidWindowsError(
            f"jitter_s must be 0 or more seconds, less than 2^31 samples, not {which}."
        )
    return np.broadcast_to(values, len(table))


def _read_times(catalog: Catalog, arrow: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each row's recording and its time in seconds.

    Raises
    ------
    CatalogError
        See `Catalog.windows_at`.
    """
    import pyarrow.compute as pc

    names = arrow.column_names
    needed = ["id", "at_s"] if "at_s" in names else ["id", "start_s", "end_s"]
    if missing := [name for name in needed if name not in names]:
        raise CatalogError(
            f"The table of times has no column {', '.join(missing)}: it needs id, and at_s or both "
            f"start_s and end_s. It has {brief_list(names)}."
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
