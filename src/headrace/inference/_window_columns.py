"""`WindowColumns`: the columns of the results that say which window a row is of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import brief_list
from headrace.errors import ResultsError
from headrace.windows import as_utc, start_times

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.windows import Windows

__all__ = ["WindowColumns"]

_OWN: Final = ("id", "channel", "start_s", "end_s", "start_utc")
_RECORDED_AT: Final = "recorded_at"


class WindowColumns:
    """Where windows are, as columns, with columns of the catalog.

    Parameters
    ----------
    windows : Windows
        The windows, without order and shard.
    columns : sequence of str
        The catalog's columns to copy.

    Attributes
    ----------
    schema : Arrow schema
        ``id``, ``channel``, ``start_s``, ``end_s``, ``start_utc`` if the catalog has a column
        ``recorded_at``, and `columns`.
    columns : tuple of str
        As given.

    Raises
    ------
    ResultsError
        A column does not exist, or has a name that the results use themselves.
    CatalogError
        The column ``recorded_at`` does not hold times.
    """

    def __init__(self, windows: Windows, columns: tuple[str, ...]) -> None:
        import pyarrow as pa

        self._windows = windows
        catalogs = windows.recordings.catalogs
        for name in columns:
            if name in _OWN:
                raise ResultsError(f"the results have a column {name!r} anyway: leave it out.")
            if missing := [one for one in catalogs if name not in one.columns]:
                raise ResultsError(
                    f"the catalog has no column {name!r}: it has {brief_list(missing[0].columns)}."
                )
        if len(set(columns)) < len(columns):
            raise ResultsError(f"columns has a name twice: {brief_list(columns)}.")
        timed = all(_RECORDED_AT in one.columns for one in catalogs)
        wanted = [*columns, *((_RECORDED_AT,) if timed and _RECORDED_AT not in columns else ())]
        self._table = windows.recordings.table(wanted)
        self._recorded_at = as_utc(self._table[_RECORDED_AT]) if timed else None
        self.columns = columns
        fields = [
            ("id", pa.string()),
            ("channel", pa.int32()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
        ]
        if self._recorded_at is not None:
            fields.append(("start_utc", self._recorded_at.type))
        fields += [(name, self._table[name].type) for name in columns]
        self.schema = pa.schema(fields)

    def table(self, places: NDArray[np.int64]) -> pa.Table:
        """Return a row for each of the windows at these places of the set."""
        import pyarrow as pa

        rows = self._windows.rows(places)
        spec = self._windows.spec
        start_s = rows.start / spec.sample_rate
        channel = spec.channel if isinstance(spec.channel, int) else None
        recordings = pa.array(rows.recording)
        columns = {
            "id": self._windows.recordings.ids(rows.recording),
            "channel": pa.array([channel], pa.int32()).take(pa.array(np.zeros(len(places), int))),
            "start_s": start_s,
            "end_s": (rows.start + spec.size) / spec.sample_rate,
        }
        if self._recorded_at is not None:
            columns["start_utc"] = start_times(self._recorded_at, rows, spec.sample_rate)
        for name in self.columns:
            columns[name] = self._table[name].take(recordings)
        return pa.table(columns, schema=self.schema)
