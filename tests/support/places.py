"""The same bytes at several places: a file, a part of one, an object in memory, a part of one.

Parts may be stored without runs of zeros, in pieces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from headrace import Catalog, Recording, _kernel
from headrace.catalog._table import from_recordings
from headrace.codecs import probe
from headrace.storage import Place, pack_pieces
from tests.support.deliveries import delivered_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace import Failure

__all__ = ["KeptStore", "Seen", "places_of", "seen_at"]

BEFORE = 1_537
"""Bytes before a part: an odd number, so that nothing is aligned by chance."""

MOST_PIECE = 3_001
"""Bytes of a piece: each header or packet may lie across two."""


@dataclass(frozen=True)
class KeptStore:
    """A store that a catalog can have."""

    native: _kernel.ByteStore
    held_bytes: int = 0

    def has(self, path: str) -> bool:
        """Return whether this is a key, and not the path of a file."""
        return not path.startswith("/")


def places_of(path: Path) -> Iterator[tuple[str, Place]]:
    """Yield a name and a place: the file itself first."""
    data = path.read_bytes()
    noise = np.random.default_rng(len(data)).integers(0, 256, 2 * BEFORE, np.uint8).tobytes()
    around = noise[:BEFORE] + data + noise[BEFORE:]
    larger = path.with_name("larger")
    larger.write_bytes(around)
    pieces = _pieces_of(data)
    stored = b"".join(data[start : start + size] for start, size in pieces)
    in_pieces = noise[:BEFORE] + stored + noise[BEFORE:]
    path.with_name("pieces").write_bytes(in_pieces)
    store = _kernel.MemoryStore({b"whole": data, b"larger": around, b"pieces": in_pieces})
    packed = pack_pieces(pieces)
    yield "file", Place(str(path))
    yield "part of a file", Place(str(larger), BEFORE, len(data))
    yield "object", Place("whole", store=store)
    yield "part of an object", Place("larger", BEFORE, len(data), store)
    name = str(path.with_name("pieces"))
    yield "pieces of a file", Place(name, BEFORE, len(data), pieces=packed)
    yield "pieces of an object", Place("pieces", BEFORE, len(data), store, packed)


def _pieces_of(data: bytes) -> list[tuple[int, int]]:
    """Return where some bytes have no long run of zeros: spans of odd sizes, many of them."""
    pieces = []
    for run in re.finditer(rb"(?:(?!\0{24}).)+", data, re.DOTALL):
        starts = range(run.start(), run.end(), MOST_PIECE)
        pieces += [(start, min(MOST_PIECE, run.end() - start)) for start in starts]
    return pieces


@dataclass(frozen=True)
class Seen:
    """What is found at a place, without the place."""

    found: Recording | Failure
    seek_points: bytes | None = None
    defects: tuple[Failure, ...] = ()
    audio: bytes = b""
    failures: tuple[tuple[str, str, float], ...] = ()


def seen_at(place: Place, name: str) -> Seen:
    """Probe a place and load all windows, in another order than they stand."""
    found = probe(place, name)
    if not isinstance(found, Recording):
        return Seen(replace(found, path=""))
    store = None if place.store is None else KeptStore(place.store)
    catalog = Catalog(from_recordings([found]), "", (), store)
    windows = catalog.windows(None, 700 / found.sample_rate, channel="all").shuffle(1)
    loader = windows.loader(batch_size=4, workers=0, on_error="mask")
    rows = sorted(delivered_rows(loader), key=lambda row: row.index)
    return Seen(
        replace(found, path="", offset=None, mtime_ns=0, pieces=None),
        found.seek_points,
        tuple(replace(one, path="") for one in found.defects),
        b"".join(row.audio.tobytes() for row in rows),
        tuple((str(one.code), one.message, one.start_s) for one in loader.failures),
    )
