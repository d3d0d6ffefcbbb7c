"""Pieces of a file that a tar stores without its holes (sparse): one behind the other.

As bytes, of each piece its start in the file and its size, as int64 with the lowest byte first.
They are in order and do not overlap; what is between them is zeros. The kernel reads by them, too
(``src/kernel/sources/pieces.h``).

Units: starts and sizes are bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["pack_pieces", "stored_size", "stored_span", "unpack_pieces"]


def pack_pieces(pieces: Sequence[tuple[int, int]]) -> bytes:
    """Return pieces, each a start and a size, as bytes."""
    return np.array(pieces, "<i8").reshape(-1, 2).tobytes()


def unpack_pieces(pieces: bytes) -> NDArray[np.int64]:
    """Return starts and sizes, shape ``(pieces, 2)``."""
    return np.frombuffer(pieces, "<i8").reshape(-1, 2)


def stored_size(size: int, pieces: bytes | None) -> int:
    """Return how many bytes of a file of `size` bytes are stored; all if `pieces` is None."""
    return size if pieces is None else int(unpack_pieces(pieces)[:, 1].sum())


def stored_span(pieces: bytes | None, start: int, stop: int) -> tuple[int, int]:
    """Return what is stored of the bytes ``[start, stop)``: counted from the first piece on."""
    if pieces is None:
        return start, stop
    starts, sizes = unpack_pieces(pieces).T
    first, last = (int(np.clip(at - starts, 0, sizes).sum()) for at in (start, stop))
    return first, last
