"""When windows begin: in UTC, in local time, and by where the sun stands.

Times are those of the catalog's column ``recorded_at``, plus the window's start in its recording.
"""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import brief
from headrace._validation import arrow_errors_explained
from headrace.errors import CatalogError, InvalidWindowsError
from headrace.metadata import utc_offsets

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog import Recordings
    from headrace.windows._window_sets import WindowRows

__all__ = [
    "RECORDED_AT",
    "Begins",
    "Sun",
    "as_utc",
    "begins_between",
    "parse_time_of_day",
    "start_times",
]

RECORDED_AT: Final = "recorded_at"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_US: Final = 60_000_000
_GRID_US: Final = 10 * _MINUTE_US
_NODES: Final = (-1, 0, 1, 2)  # the ends of a cell of the grid, and one node beyond each
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

    recorded = recorded_at.take(pa.array(rows.recording))
    return pc.add(recorded, pa.array(_microseconds(rows, sample_rate)).cast("duration[us]"))


class Begins:
    """When windows of some recordings begin.

    Parameters
    ----------
    recordings : Recordings
        Their catalogs have the column ``recorded_at``.
    sample_rate : int
        Hz, of the windows.

    Raises
    ------
    InvalidWindowsError
        A catalog does not have the column.
    CatalogError
        The column does not hold times.
    """

    def __init__(self, recordings: Recordings, sample_rate: int) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        self._recordings = recordings
        self._rate = sample_rate
        recorded_at = as_utc(_columns(recordings, RECORDED_AT)[RECORDED_AT])
        self._unknown = recorded_at.is_null().to_numpy()
        self._us = pc.fill_null(recorded_at.cast(pa.int64()), 0).to_numpy()

    def us(self, rows: WindowRows) -> NDArray[np.int64]:
        """Return when windows begin, in microseconds since 1970 in UTC.

        Raises
        ------
        InvalidWindowsError
            That is not known of a window.
        """
        _check_known(self._recordings, rows, self._unknown, RECORDED_AT)
        microseconds: NDArray[np.int64] = self._us[rows.recording]
        return microseconds + _microseconds(rows, self._rate)


def _microseconds(rows: WindowRows, sample_rate: int) -> NDArray[np.int64]:
    """Return how long after their recordings windows begin."""
    return np.rint(rows.start / sample_rate * 1e6).astype(np.int64)


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
    """Raise `InvalidWindowsError` if a window is of a recording of which something is unknown."""
    without = unknown[rows.recording]
    if without.any():
        raise InvalidWindowsError(
            f"recordings of these windows have no {name}, such as "
            f"{recordings[int(rows.recording[without.argmax()])].id}: leave them out first, with "
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
        advice = ": give the zone as tz=" if isinstance(value, time) else ""
        raise InvalidWindowsError(
            f'{name} must be a time of day, such as "05:30", not {brief(value)}{advice}.'
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


class Sun:
    """How high the sun stands at some recordings.

    astral computes the elevation every ten minutes. Its sine is interpolated between by a cubic
    polynomial, which differs by less than a thousandth of a degree, and by 0.02 where the sun
    passes the zenith.

    Parameters
    ----------
    recordings : Recordings
        Their catalogs have the columns ``latitude`` and ``longitude``, without `position`.
    position : tuple of float, optional
        Latitude and longitude of all recordings.

    Raises
    ------
    InvalidWindowsError
        A catalog does not have the columns, they hold no degrees, `position` is none, or astral is
        not installed.
    """

    def __init__(self, recordings: Recordings, position: tuple[float, float] | None) -> None:
        self._recordings = recordings
        places = _positions(recordings, position)
        self._unknown: NDArray[np.bool_] = np.any(np.isnan(places), axis=1)
        distinct, place = np.unique(places, axis=0, return_inverse=True)
        self._place = place.reshape(-1)
        self._skies = [_sky(latitude, longitude) for latitude, longitude in distinct.tolist()]
        self._sines: list[dict[int, float]] = [{} for _ in self._skies]

    def elevations(self, rows: WindowRows, moments_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how high the sun stands at windows: the degrees of its middle, without refraction.

        Parameters
        ----------
        rows : WindowRows
            Where the windows are.
        moments_us : ndarray of int64
            When, in microseconds since 1970 in UTC.

        Raises
        ------
        InvalidWindowsError
            The position of a recording is not known.
        """
        _check_known(self._recordings, rows, self._unknown, "latitude")
        place = self._place[rows.recording]
        degrees = np.zeros(len(moments_us))
        for number in np.unique(place).tolist():
            here = np.flatnonzero(place == number)
            degrees[here] = self._at_place(number, moments_us[here])
        return degrees

    def is_rising(
        self, rows: WindowRows, moments_us: NDArray[np.int64], degrees: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Return whether the sun stands higher a minute later; `degrees` are the `elevations`."""
        return self.elevations(rows, moments_us + _MINUTE_US) > degrees

    def _at_place(self, place: int, moments_us: NDArray[np.int64]) -> NDArray[np.float64]:
        cell, part = np.divmod(moments_us, _GRID_US)
        cells, at = np.unique(cell, return_inverse=True)
        sines, sky = self._sines[place], self._skies[place]
        for node in np.unique(np.add.outer(cells, _NODES)).tolist():
            if node not in sines:
                moment = _EPOCH + timedelta(microseconds=node * _GRID_US)
                sines[node] = math.sin(math.radians(sky(moment)))
        nodes = np.array([[sines[one + node] for node in _NODES] for one in cells.tolist()])
        before, first, second, after = nodes.reshape(-1, len(_NODES))[at.reshape(-1)].T
        x = part / _GRID_US
        # Lagrange's polynomials for nodes at -1, 0, 1 and 2.
        sine = first * ((x + 1) * (x - 1) * (x - 2) / 2)
        sine -= second * ((x + 1) * x * (x - 2) / 2)
        sine -= before * (x * (x - 1) * (x - 2) / 6)
        sine += after * ((x + 1) * x * (x - 1) / 6)
        degrees: NDArray[np.float64] = np.degrees(np.arcsin(np.clip(sine, -1, 1)))
        return degrees


def _positions(recordings: Recordings, position: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return latitude and longitude of each recording, shape ``(recordings, 2)``."""
    if position is not None:
        try:
            latitude, longitude = map(float, position)
        except (TypeError, ValueError):
            latitude = longitude = math.nan
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # noqa: PLR2004  degrees
            raise InvalidWindowsError(
                f"position={brief(position)} must be latitude and longitude in degrees, such as "
                "(52.5, 13.4)."
            )
        return np.broadcast_to(np.array([latitude, longitude], float), (len(recordings), 2))
    names = ("latitude", "longitude")
    table = _columns(recordings, *names)
    with arrow_errors_explained(
        "latitude and longitude are not numbers", "Give degrees.", InvalidWindowsError
    ):
        columns = [table[name].cast("double").to_numpy() for name in names]
    return np.stack(columns, axis=1)


def _sky(latitude: float, longitude: float) -> Callable[[datetime], float]:
    """Return what tells how high the sun stands at a place, in degrees."""
    try:
        from astral import Observer
        from astral.sun import elevation
    except ModuleNotFoundError:
        raise InvalidWindowsError(
            "where the sun is needs the package astral: pip install 'headrace[field]'."
        ) from None
    observer = Observer(latitude, longitude)
    return partial(elevation, observer, with_refraction=False)
