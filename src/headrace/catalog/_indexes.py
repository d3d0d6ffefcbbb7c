"""`Indexes`: what is found about the places of packets when recordings are read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from headrace import _kernel
from headrace.codecs import lacks_index, make_index

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from headrace.codecs import Recording
    from headrace.storage import Place

__all__ = ["Indexes"]


class Indexes:
    """What reading has found about recordings without an index, or whose scan has put it off.

    A catalog shares it with its slices and subsets. Threads may use it at once: two that make the
    index of one recording both make it, and it is the same.

    Attributes
    ----------
    landmarks : _kernel.Landmarks
        Frames of FLAC in stores, by the ids of recordings. They say which bytes to fetch first, and
        are not saved.
    """

    def __init__(self) -> None:
        self.landmarks = _kernel.Landmarks()
        self._found: dict[str, bytes] = {}

    def complete(self, recording: Recording) -> Recording:
        """Return a recording with its index, if that has been made since the scan."""
        if not self._found or not lacks_index(recording):
            return recording
        return replace(recording, seek_points=self._found.get(recording.id))

    def make(self, recording: Recording, place: Place, cancelled: Callable[[], bool]) -> None:
        """Read a recording from beginning to end, and keep its index.

        Raises
        ------
        DecodeError
            It cannot be read, or is not what was scanned.
        """
        packed = make_index(recording, place, cancelled)
        if not cancelled():
            self._found[recording.id] = packed

    def filled(self, table: pa.Table) -> pa.Table:
        """Return a catalog's table with the indexes that have been made."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = dict(self._found)
        if not found:
            return table
        ids = pa.array(list(found), pa.string())
        made = pa.array(list(found.values()), pa.large_binary())
        rows = pc.index_in(table["id"], value_set=ids)
        points = pc.coalesce(table["seek_points"], made.take(rows.combine_chunks()))
        column = table.column_names.index("seek_points")
        return table.set_column(column, table.schema.field(column), points)
