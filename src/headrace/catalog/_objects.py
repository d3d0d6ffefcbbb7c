"""Objects of a store: those of a scan, with members of tars among them, and their places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.codecs import place_of
from headrace.storage import Place, Stores, is_url

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.codecs import Recording
    from headrace.failures import Failure
    from headrace.storage import Fetcher, Store

__all__ = ["ScannedObjects", "place_in"]


def place_in(
    recording: Recording, store: Store | Stores | None, fetcher: Fetcher | None, source: int = 0
) -> Place:
    """Return where the bytes of a recording are.

    Parameters
    ----------
    recording : Recording
        The recording.
    store : Store or Stores, optional
        Its catalog's.
    fetcher : Fetcher, optional
        What fetches objects, if there are any.
    source : int
        The number of the catalog's `Stores` among those of the fetcher.
    """
    if fetcher is not None and is_url(recording.path):
        return fetcher.place(
            recording.path,
            recording.size,
            recording.version,
            offset=recording.offset,
            source=source,
            pieces=recording.pieces,
        )
    return place_of(recording, None if isinstance(store, Stores) else store)


@dataclass(frozen=True, slots=True)
class ScannedObjects:
    """The recordings of a scan of object stores, before their headers are read.

    Attributes
    ----------
    root : str
        URL of the folder that the ids are relative to.
    ids : list of str
        Without duplicates; sorted, except for those of a table.
    urls : list of str
        By id: the object that holds the recording.
    sizes : ndarray of int64
        By id: bytes of the recording; -1 if that is not known before it is read.
    versions : list of str or None
        By id: what identifies the bytes of the object, if that is known.
    offsets : ndarray of int64
        By id: where the member of a tar stands; -1 for a whole object.
    failures : list of Failure
        What is wrong with tars.
    columns : dict of str to Arrow array
        By id: what sidecars in tars say.
    pieces : dict of int to bytes
        By id, of members that are stored without their holes.
    """

    root: str
    ids: list[str]
    urls: list[str]
    sizes: NDArray[np.int64]
    versions: list[str | None]
    offsets: NDArray[np.int64]
    failures: list[Failure] = field(default_factory=list)
    columns: dict[str, pa.ChunkedArray] = field(default_factory=dict)
    pieces: dict[int, bytes] = field(default_factory=dict)

    def place(self, row: int) -> Place:
        """Return the address of a recording's object; a fetcher knows how to read it."""
        return Place(self.urls[row])

    def paths(self) -> list[str]:
        """Return the URL of each recording's object."""
        return self.urls

    def is_unchanged(self, row: int, size: int, changed_ns: int, offset: int) -> bool:
        """Return False: objects have no time of change. Their versions are compared instead."""
        del row, size, changed_ns, offset
        return False
