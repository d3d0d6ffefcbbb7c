"""When windows begin: in UTC, in local time, and by where the sun stands.

Times are those of the catalog's column ``recorded_at``, plus the window's start in its recording.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import format_count
from headrace._validation import arrow_errors_explained
from headrace.errors import CatalogError, InvalidWindowsError
from headrace.metadata import utc_offsets

if TYPE_CHECKING:
    from datetime import tzinfo

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog import Recordings
    from headrace.windows._window_sets import WindowRows

__all__ = [
    "RECORDED_AT",
    "as_utc",
    "begins_between",
    "parse_time_of_day",
    "start_times",
    "start_us",
    "sun_elevations",
]

RECORDED_AT: Final = "recorded_at"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_US: Final = 60_000_000
_DAY_US: Final = 24 * 60 * _MINUTE_US


def as_utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return times in UTC to the microsecond; times without a zone are in UTC.

    Raises
    ------
    CatalogError
        The column ``recorded_at`` does not hold times.
    """
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        with suppress(pa.ArrowInvalid):  # not all texts have a zone
            return column.cast(pa.timestamp("us", "UTC"))

    with arrow_errors_explained(
        "The column recorded_at does not hold times", "Give timestamps in UTC.", CatalogError
    ):
        if not pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us"))
        if column.type.tz is None:
            column = column.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
        return column.cast(pa.timestamp("us", "UTC"))


def start_times(
    recorded_at: pa.ChunkedArray, rows: WindowRows, sample_rate: int
) -> pa.ChunkedArray:
    """Return when windows begin, in UTC; null where that is not known.

    Parameters
    ----------
    recorded_at : Arrow array
        Of each recording, as `as_utc` returns it.
    rows : WindowRows
        Where the windows are.
    sample_rate : int
        Hz, of the windows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    offsets = np.rint(rows.start / sample_rate * 1e6).astype(np.int64)
    recorded = recorded_at.take(pa.array(rows.recording))
    return pc.add(recorded, pa.array(offsets).cast("duration[us]"))


def start_us(recordings: Recordings, rows: WindowRows, sample_rate: int) -> NDArray[np.int64]:
    """Return when windows begin, in microseconds since 1970 in UTC.

    Raises
    ------
    InvalidWindowsError
        That is not known of a window.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    recorded_at = as_utc(_columns(recordings, RECORDED_AT)[RECORDED_AT])
    times = start_times(recorded_at, rows, sample_rate)
    _check_known(recordings, rows, pc.is_null(times).to_numpy(), RECORDED_AT)
    microseconds: NDArray[np.int64] = times.cast(pa.int64()).to_numpy()
    return microseconds


def _columns(recordings: Recordings, *names: str) -> pa.Table:
    """Return columns of the catalogs, a row for each recording.

    Raises
    ------
    InvalidWindowsError
        A catalog does not have one.
    """
    for catalog in recordings.catalogs:
        for name in names:
            if name not in catalog.columns:
                raise InvalidWindowsError(
                    f"the catalog has no column {name}: scan with metadata=True, or add the column "
                    "with catalog.with_columns."
                )
    return recordings.table(names)


def _check_known(
    recordings: Recordings, rows: WindowRows, unknown: NDArray[np.bool_], name: str
) -> None:
    if unknown.any():
        numbers = np.unique(rows.recording[unknown])
        raise InvalidWindowsError(
            f"{format_count(len(numbers), 'recording')} of these windows have no {name}, such as "
            f"{recordings[int(numbers[0])].id}: leave them out first, with "
            f'catalog.filter(lambda row: row["{name}"] is not None).'
        )


def parse_time_of_day(name: str, value: str | time) -> int:
    """Return a time of day in microseconds since midnight; ``"24:00"`` is the end of the day.

    Raises
    ------
    InvalidWindowsError
        `value`, the argument `name`, is no time of day.
    """
    if value == "24:00":
        return _DAY_US
    if isinstance(value, str):
        with suppress(ValueError):
            value = time.fromisoformat(value)
    if not isinstance(value, time) or value.tzinfo is not None:
        raise InvalidWindowsError(
            f'{name} must be a time of day, such as "05:30", not {value!r}: give the zone as tz=.'
        )
    seconds = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second)
    return seconds // timedelta(microseconds=1) + value.microsecond


def begins_between(
    moments_us: NDArray[np.int64], start: int, end: int, zone: tzinfo
) -> NDArray[np.bool_]:
    """Return which moments are in ``[start, end)`` of a day's local time.

    Parameters
    ----------
    moments_us : ndarray of int64
        Microseconds since 1970, in UTC.
    start, end : int
        Microseconds since midnight. If `start` is later, the span includes midnight.
    zone : tzinfo
        The zone of local time.
    """
    of_day = (moments_us + utc_offsets(moments_us, zone)) % _DAY_US
    if start <= end:
        return (start <= of_day) & (of_day < end)
    return (start <= of_day) | (of_day < end)


def sun_elevations(
    recordings: Recordings,
    rows: WindowRows,
    moments_us: NDArray[np.int64],
    position: tuple[float, float] | None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return how high the sun stands when windows begin, and whether it is rising.

    The elevation is computed by astral once a minute, and interpolated between: it differs by less
    than a thousandth of a degree, and by 0.06 where the sun passes the zenith.

    Parameters
    ----------
    recordings : Recordings
        Their catalogs have the columns ``latitude`` and ``longitude``, without `position`.
    rows : WindowRows
        Where the windows are.
    moments_us : ndarray of int64
        When they begin, as `start_us` returns it.
    position : tuple of float, optional
        Latitude and longitude of all recordings.

    Returns
    -------
    degrees : ndarray of float64
        Of the middle of the sun above the horizon, without refraction.
    rising : ndarray of bool
        Whether it is higher a minute later.

    Raises
    ------
    InvalidWindowsError
        The position of a recording is not known, or astral is not installed.
    """
    places = _positions(recordings, rows, position)
    distinct, place = np.unique(places, axis=0, return_inverse=True)
    place = place.reshape(-1)
    degrees = np.zeros(len(moments_us))
    rising = np.zeros(len(moments_us), bool)
    for number, (latitude, longitude) in enumerate(distinct):
        here = np.flatnonzero(place == number)
        minute, part = np.divmod(moments_us[here], _MINUTE_US)
        known, at = np.unique(np.concatenate([minute, minute + 1]), return_inverse=True)
        elevation = _elevations(known, float(latitude), float(longitude))[at]
        first, second = elevation[: len(here)], elevation[len(here) :]
        degrees[here] = first + (second - first) * (part / _MINUTE_US)
        rising[here] = second > first
    return degrees, rising


def _positions(
    recordings: Recordings, rows: WindowRows, position: tuple[float, float] | None
) -> NDArray[np.float64]:
    """Return latitude and longitude of each window, shape ``(windows, 2)``."""
    if position is not None:
        latitude, longitude = position
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # noqa: PLR2004  degrees
            raise InvalidWindowsError(
                f"position={position!r} must be latitude and longitude in degrees."
            )
        return np.broadcast_to(np.array([latitude, longitude], float), (len(rows.recording), 2))
    names = ("latitude", "longitude")
    table = _columns(recordings, *names)
    with arrow_errors_explained(
        "latitude and longitude are not numbers", "Give degrees.", InvalidWindowsError
    ):
        columns = [table[name].cast("double").to_numpy() for name in names]
    places = np.stack([column[rows.recording] for column in columns], axis=1)
    _check_known(recordings, rows, np.isnan(places).any(axis=1), "latitude")
    return places


def _elevations(
    minutes: NDArray[np.int64], latitude: float, longitude: float
) -> NDArray[np.float64]:
    """Return how high the sun stands at a place, in degrees, in these minutes since 1970."""
    try:
        from astral import Observer
        from astral.sun import elevation
    except ModuleNotFoundError:
        raise InvalidWindowsError(
            "where the sun is needs the package astral: pip install 'headrace[field]'."
        ) from None
    observer = Observer(latitude, longitude)
    moments = (_EPOCH + timedelta(minutes=int(minute)) for minute in minutes)
    return np.array([elevation(observer, moment, with_refraction=False) for moment in moments])
