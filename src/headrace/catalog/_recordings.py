"""`Recordings`: those of one catalog, or of several, numbered through."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog._catalog import Catalog
    from headrace.codecs import Recording

__all__ = ["Recordings"]


class Recordings:
    """What a loader reads from.

    Ids of two catalogs may be the same; the numbers tell them apart.

    Parameters
    ----------
    catalogs : Catalog
        One or more; one that is given again is left out.
    """

    def __init__(self, *catalogs: Catalog) -> None:
        self.catalogs = tuple({id(catalog): catalog for catalog in catalogs}.values())

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        return np.cumsum([0, *map(len, self.catalogs)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, number: int) -> Recording:
        if len(self.catalogs) == 1:
            return self.catalogs[0].recording(number)
        catalog = int(np.searchsorted(self._first, number, side="right")) - 1
        return self.catalogs[catalog].recording(number - int(self._first[catalog]))

    def within(self, several: Recordings, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers in `several`, which has all of these catalogs, of recordings here."""
        places = {id(catalog): place for place, catalog in enumerate(several.catalogs)}
        begins = several._first[[places[id(catalog)] for catalog in self.catalogs]]
        if len(self.catalogs) == 1:
            return numbers + int(begins[0])
        catalog = np.searchsorted(self._first, numbers, side="right") - 1
        moved: NDArray[np.int64] = numbers - self._first[catalog] + begins[catalog]
        return moved

    @cached_property
    def kinds(self) -> tuple[tuple[int, int, str, str], ...]:
        """The distinct (sample rate, channels, format, subtype)."""
        return tuple(sorted({kind for catalog in self.catalogs for kind in catalog.kinds}))

    @cached_property
    def longest(self) -> int:
        """Frames of the longest."""
        return max(int(catalog.frames.max(initial=0)) for catalog in self.catalogs)

    @property
    def frames(self) -> NDArray[np.int64]:
        """Frames of each: int64."""
        return np.concatenate([catalog.frames for catalog in self.catalogs])

    def ids(self, numbers: NDArray[np.int64]) -> pa.ChunkedArray:
        """Return the ids of recordings given by number, as Arrow has them."""
        import pyarrow as pa

        chunks = [chunk for catalog in self.catalogs for chunk in catalog.ids.chunks]
        return pa.chunked_array(chunks, pa.string()).take(pa.array(numbers))
