"""Which recording a reference in somebody's label file means."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from headrace.decode import EXTENSIONS
from headrace.errors import AnnotationError, HeadraceWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from headrace.catalog import Catalog

__all__ = ["By", "Unmatched", "first_few", "match", "told", "unmatched"]

By = Literal["path", "stem"] | Callable[[str], str | None]

_SHOWN = 3  # names in a message


class Unmatched(NamedTuple):
    """What has no counterpart on the other side.

    Attributes
    ----------
    files : tuple of str
        Annotated files that are no recording of the catalog.
    recordings : tuple of str
        Ids of recordings that nobody has annotated.
    """

    files: tuple[str, ...]
    recordings: tuple[str, ...]


def first_few(names: Sequence[str]) -> str:
    """Return the first names, and that there are more."""
    more = ", ..." if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def match(references: Sequence[str], catalog: Catalog, by: By = "path") -> NDArray[np.int64]:
    """Return the place in the catalog of the recording that each reference means, or -1.

    Parameters
    ----------
    references : sequence of str
        An id, with or without its extension, means its recording, unless `by` is a function.
    catalog : Catalog
        The recordings.
    by : "path", "stem" or function
        With ``"path"`` one of the reference and the recording's path must end with the other, name
        by name, or the reference with the recording's id, folder and all; if several do, the one
        with most names in common is meant. ``"stem"`` compares the last names without extensions,
        in whatever folder.
        A function returns the id for a reference, or None. References without the extension of an
        audio file are compared without.

    Raises
    ------
    AnnotationError
        A reference may mean two recordings, or `by` is none of the above.
    """
    if by not in ("path", "stem") and not callable(by):
        raise AnnotationError(f'by must be "path", "stem" or a function, not {by!r}.')
    table = catalog.to_arrow()
    ids: list[str] = table["id"].to_pylist()
    if callable(by):
        number = {name: place for place, name in enumerate(ids)}
        wanted = [by(one) for one in references]
        return np.array([-1 if one is None else number.get(one, -1) for one in wanted], np.int64)
    places = _by_id(references, ids)
    tails = {row: _tail(references[row]) for row in np.flatnonzero(places < 0).tolist()}
    named: dict[str, list[int]] = {_stem(tail[-1]): [] for tail in tails.values()}
    for place, name in enumerate(ids if tails else ()):
        stem = _stem(name.rpartition("/")[2])
        if stem in named:
            named[stem].append(place)
    for row, tail in tails.items():
        some = named[_stem(tail[-1])]
        if by == "path":
            common = [_common(tail, ids[at], table["path"][at].as_py()) for at in some]
            most = max(common, default=0)
            some = [at for at, names in zip(some, common, strict=True) if names == most > 0]
        if len(some) > 1:
            raise AnnotationError(
                f"{references[row]!r} may mean {ids[some[0]]!r} or {ids[some[1]]!r}: give more of "
                "the path, leave one out with catalog.filter, or match by a function that says."
            )
        places[row] = some[0] if some else -1
    return places


def _by_id(references: Sequence[str], ids: list[str]) -> NDArray[np.int64]:
    """Return the places of references that are ids, or those of one recording without extension."""
    number = {name: place for place, name in enumerate(ids)}
    places = np.array([number.get(one, -1) for one in references], np.int64)
    if np.any(places < 0):
        bare: dict[str, int] = {}
        for place, name in enumerate(ids):
            stem = _stem(name)
            bare[stem] = -1 if stem in bare else place
        places = np.where(places < 0, [bare.get(one, -1) for one in references], places)
    return places


def unmatched(references: Sequence[str], catalog: Catalog, places: NDArray[np.int64]) -> Unmatched:
    """Return what `match` left over on both sides; `places` is what it returned."""
    there = np.zeros(len(catalog), bool)
    there[places[places >= 0]] = True
    ids = catalog.to_arrow()["id"].take(np.flatnonzero(~there)).to_pylist()
    files = (references[row] for row in np.flatnonzero(places < 0).tolist())
    return Unmatched(tuple(files), tuple(ids))


def told(
    references: Sequence[str],
    catalog: Catalog,
    places: NDArray[np.int64],
    *,
    both: bool,
    stacklevel: int,
) -> None:
    """Warn once of what `match` left over: among the references, or on both sides.

    Raises
    ------
    AnnotationError
        It left everything.
    """
    if len(places) and len(catalog) and not np.any(places >= 0):
        raise AnnotationError(
            f"None of {len(places)} annotated files is a recording of the catalog: the first is "
            f"{references[0]!r}, the catalog's {catalog[0].id!r}. Say "
            'annotations.match(catalog, by="stem") if folders differ, or give a function.'
        )
    left = unmatched(references, catalog, places)
    sides = []
    if left.files:
        sides.append(
            f"{len(left.files)} of {len(references)} annotated files are no recording of the "
            f"catalog ({first_few(left.files)})"
        )
    if both and left.recordings:
        sides.append(
            f"{len(left.recordings)} of {len(catalog)} recordings are not annotated "
            f"({first_few(left.recordings)})"
        )
    if sides:
        warnings.warn(
            "; ".join(sides) + ". See annotations.unmatched(catalog), and annotations.match for "
            "other ways to match.",
            HeadraceWarning,
            stacklevel=stacklevel,
        )


def _tail(reference: str) -> list[str]:
    """Return a path's names, whatever machine it is of."""
    names = [one for one in reference.replace("\\", "/").split("/") if one not in ("", ".")]
    return names or [""]


def _stem(name: str) -> str:
    """Return a file's name without an extension of audio."""
    stem, dot, extension = name.rpartition(".")
    return stem if dot and f".{extension.lower()}" in EXTENSIONS else name


def _common(tail: list[str], file_id: str, path: str) -> int:
    """Return how many names at their ends a reference and a recording share; 0 if they differ."""
    best = 0
    for whole, is_id in ((file_id.split("/"), True), (_tail(path), False)):
        theirs = list(whole)
        if _stem(tail[-1]) == tail[-1]:
            theirs[-1] = _stem(theirs[-1])
        names = min(len(tail), len(theirs))
        if is_id and (names < len(theirs) or names == 1 < len(tail)):
            continue  # a bare name in another folder may be another recording
        mine, theirs = tail[-names:], theirs[-names:]
        if mine[:-1] == theirs[:-1] and _same(mine[-1], theirs[-1]):
            best = max(best, names)
    return best


def _same(one: str, other: str) -> bool:
    """Compare names, the case of their extensions apart."""
    return one == other or (_stem(one), one.lower()) == (_stem(other), other.lower())
