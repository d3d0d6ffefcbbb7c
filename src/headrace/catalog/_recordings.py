"""`Recordings`: the recordings of one or more catalogs, numbered consecutively."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from headrace import _kernel
from headrace._validation import arrow_errors_explained
from headrace.catalog._objects import place_in
from headrace.catalog._table import check_column
from headrace.codecs import lacks_index
from headrace.storage import ParquetStore, Stores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.catalog._catalog import Catalog
    from headrace.codecs import Recording
    from headrace.storage import Fetcher, Place

__all__ = ["Recordings"]


class Recordings:
    """The recordings that a loader reads from.

    Two catalogs may contain the same id, so recordings are identified by number.

    Parameters
    ----------
    catalogs : Catalog
        One or more. A catalog that is given twice counts once.
    """

    def __init__(self, *catalogs: Catalog) -> None:
        self.catalogs = tuple({id(catalog): catalog for catalog in catalogs}.values())

    def __reduce__(self) -> tuple[type[Recordings], tuple[Catalog, ...]]:
        """Pickle and copy the catalogs only, and nothing that is computed from them."""
        return Recordings, self.catalogs

    @cached_property
    def _first_numbers(self) -> NDArray[np.int64]:
        """Number of each catalog's first recording, and the number of recordings."""
        return np.cumsum([0, *map(len, self.catalogs)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._first_numbers[-1])

    def __getitem__(self, number: int) -> Recording:
        if len(self.catalogs) == 1:
            return self.catalogs[0].recording(number)
        catalog = int(np.searchsorted(self._first_numbers, number, side="right")) - 1
        return self.catalogs[catalog].recording(number - int(self._first_numbers[catalog]))

    @cached_property
    def native(self) -> _kernel.RecordingTable:
        """The recordings, as the kernel looks them up by their numbers."""
        return _kernel.RecordingTable([one.native for one in self.catalogs], list(self.kinds))

    @cached_property
    def are_plain_files(self) -> bool:
        """Whether `native` says all of each recording: all are files or parts of files."""
        return (
            not self.has_urls
            and not self._have_put_off
            and all(one.store is None or isinstance(one.store, Stores) for one in self.catalogs)
            and sys.platform != "win32"  # where names of files are UTF-16
            and sys.getfilesystemencoding() == "utf-8"
        )

    @cached_property
    def has_urls(self) -> bool:
        """Whether some are objects of a store, so that a `Fetcher` is needed."""
        return any(catalog.has_urls for catalog in self.catalogs)

    @cached_property
    def clients(self) -> tuple[Stores, ...]:
        """What reaches the objects of each catalog."""
        stores = (catalog.store for catalog in self.catalogs)
        return tuple(one if isinstance(one, Stores) else Stores() for one in stores)

    def landmarks(self, number: int) -> _kernel.Landmarks:
        """Return where reading has found frames of FLAC of a recording in a store, by its id."""
        return self.catalogs[self.source(number)].indexes.landmarks

    def source(self, number: int) -> int:
        """Return the number of the catalog that a recording is from."""
        if len(self.catalogs) == 1:
            return 0
        return int(np.searchsorted(self._first_numbers, number, side="right")) - 1

    def lacks_index(self, number: int) -> bool:
        """Return whether the index of a recording has to be made before it is read."""
        return self._have_put_off and lacks_index(self[number])

    @cached_property
    def _have_put_off(self) -> bool:
        return any(catalog.has_put_off for catalog in self.catalogs)

    def make_index(
        self, number: int, fetcher: Fetcher | None, cancelled: Callable[[], bool]
    ) -> None:
        """Read recording `number` from beginning to end, for its index; raises `DecodeError`."""
        recording = self[number]
        place = self.place(number, recording, fetcher)
        self.catalogs[self.source(number)].indexes.make(recording, place, cancelled)

    def place(self, number: int, recording: Recording, fetcher: Fetcher | None) -> Place:
        """Return where the bytes of recording `number` are."""
        source = self.source(number)
        return place_in(recording, self.catalogs[source].store, fetcher, source)

    @cached_property
    def held_bytes(self) -> int:
        """Bytes that the catalogs' stores may hold."""
        stores = {id(one.store): one.store for one in self.catalogs}
        return sum(
            one.held_bytes
            for one in stores.values()
            if one is not None and not isinstance(one, Stores)
        )

    @cached_property
    def _parquet_stores(self) -> list[ParquetStore]:
        stores = {id(one.store): one.store for one in self.catalogs}
        return [one for one in stores.values() if isinstance(one, ParquetStore)]

    @property
    def useful_bytes(self) -> int:
        """Bytes beyond `held_bytes` that spare reading again."""
        return sum(one.useful_bytes for one in self._parquet_stores)

    def keep_more(self, nbytes: int) -> None:
        """Let stores keep so many bytes beyond `held_bytes`, until another loader begins."""
        for store in self._parquet_stores:
            some = min(nbytes, store.useful_bytes)
            store.keep_more(some)
            nbytes -= some

    def numbers_in(self, other: Recordings, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers that some recordings have in `other`, which has all these catalogs."""
        positions = {id(catalog): index for index, catalog in enumerate(other.catalogs)}
        starts = other._first_numbers[[positions[id(catalog)] for catalog in self.catalogs]]
        if len(self.catalogs) == 1:
            return numbers + int(starts[0])
        catalog = np.searchsorted(self._first_numbers, numbers, side="right") - 1
        renumbered: NDArray[np.int64] = numbers - self._first_numbers[catalog] + starts[catalog]
        return renumbered

    @cached_property
    def kinds(self) -> tuple[tuple[int, int, str, str], ...]:
        """The distinct (sample rate, channels, format, subtype), sorted."""
        return tuple(sorted({kind for catalog in self.catalogs for kind in catalog.kinds}))

    @cached_property
    def longest(self) -> int:
        """Number of frames of the longest recording."""
        return max(int(catalog.frames.max(initial=0)) for catalog in self.catalogs)

    @cached_property
    def largest_map(self) -> int:
        """Bytes of the largest map of a recording's holes in a tar: see `Recording.pieces`."""
        return max(catalog.largest_map for catalog in self.catalogs)

    @property
    def frames(self) -> NDArray[np.int64]:
        """Number of frames of each recording: int64, shape ``(len(recordings),)``."""
        return np.concatenate([catalog.frames for catalog in self.catalogs])

    def table(self, names: Iterable[str]) -> pa.Table:
        """Return columns of the catalogs, with a row for each recording.

        Raises
        ------
        CatalogError
            A catalog has no such column, or it has another type in another catalog.
        """
        import pyarrow as pa

        wanted = list(names)
        for catalog in self.catalogs:
            for name in wanted:
                check_column(catalog.columns, name)
        tables = [one.to_arrow().select(wanted) for one in self.catalogs]
        with arrow_errors_explained(
            f"The columns {', '.join(wanted)} differ between catalogs", "Give them one type."
        ):
            return pa.concat_tables([one.replace_schema_metadata(None) for one in tables])

    def ids(self, numbers: NDArray[np.int64]) -> pa.ChunkedArray:
        """Return the ids of the recordings with these numbers, as an Arrow array of strings."""
        import pyarrow as pa

        chunks = [chunk for catalog in self.catalogs for chunk in catalog.ids.chunks]
        return pa.chunked_array(chunks, pa.string()).take(pa.array(numbers))
