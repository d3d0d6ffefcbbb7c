"""Which recording a reference in somebody's label file means."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from headrace._validation import arrow_errors_explained
from headrace.codecs import EXTENSIONS
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
        An id means its recording, unless `by` is a function.
    catalog : Catalog
        The recordings.
    by : "path", "stem" or function
        With ``"path"``, a reference means the recording whose path ends with it, name by name; if
        there is none, the one whose id it ends with, folder and all: the longest such. ``"stem"``
        compares the last names without extensions, in whatever folder. A function returns the id
        for a reference, or None. Where a reference has no extension of an audio file, recordings
        are compared without theirs.

    Raises
    ------
    AnnotationError
        A reference may mean two recordings, or `by` is none of the above or returns what is no id.
    """
    if callable(by):
        return _equal([by(one) for one in references], catalog)
    if by not in ("path", "stem"):
        raise AnnotationError(f'by must be "path", "stem" or a function, not {by!r}.')
    places = _equal(references, catalog)
    left = np.flatnonzero(places < 0)
    if len(left):
        find = _by_path if by == "path" else _by_stem
        places[left] = find([references[row] for row in left.tolist()], catalog)
    return places


def _equal(references: Sequence[str | None], catalog: Catalog) -> NDArray[np.int64]:
    """Return the places of ids, -1 for what is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with arrow_errors_explained(
        "by= does not tell an id", "Return a string or None.", AnnotationError
    ):
        wanted = pa.array(references, pa.string())
    places = pc.fill_null(pc.index_in(wanted, value_set=catalog.ids), -1)
    return np.where(wanted.is_null(), -1, places).astype(np.int64)


def _by_stem(references: list[str], catalog: Catalog) -> list[int]:
    stems = [_stem(_names(one)[-1]) for one in references]
    index = _Index(stems)
    for place, path in enumerate(catalog.column("path").tolist()):
        index.add(_stem(path.rpartition("/")[2]), place)
    return [index.only(stem, one, catalog) for stem, one in zip(stems, references, strict=True)]


def _by_path(references: list[str], catalog: Catalog) -> list[int]:
    names = [_names(one) for one in references]
    ends = [_ends(one) for one in names]
    paths = _Index(one[0] for one in ends)
    ids = _Index(end for one in ends for end in one)
    lengths = sorted({len(one) for one in names})
    for place, (name, path) in enumerate(
        zip(catalog.ids.to_pylist(), catalog.column("path").tolist(), strict=True)
    ):
        for key in (_lowered(name), _stem(name)):
            ids.add(key, place)
        for many in lengths:
            end = "/".join(path.rsplit("/", many)[-many:])
            for key in (_lowered(end), _stem(end)):
                paths.add(key, place)
    found = []
    for reference, own in zip(references, ends, strict=True):
        place = ids.only(own[0], reference, catalog)  # exactly this, but for the extension
        if place < 0:
            place = paths.only(own[0], reference, catalog)
        for end in own[1:-1]:  # a bare name in another folder may be another recording
            if place < 0:
                place = ids.only(end, reference, catalog)
        found.append(place)
    return found


class _Index:
    """Names that are looked for, and the first two recordings of each."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self._first = dict.fromkeys(wanted, -1)
        self._second: dict[str, int] = {}

    def add(self, name: str, place: int) -> None:
        """Note a recording's name, if it is looked for."""
        first = self._first.get(name)
        if first == -1:
            self._first[name] = place
        elif first is not None and first != place:
            self._second.setdefault(name, place)

    def only(self, name: str, reference: str, catalog: Catalog) -> int:
        """Return the one recording of this name, or -1."""
        first = self._first[name]
        if name in self._second:
            one, other = catalog[first].id, catalog[self._second[name]].id
            raise AnnotationError(
                f"{reference!r} may mean {one!r} or {other!r}: give more of the path, leave one "
                "out with catalog.filter, or match by a function that says."
            )
        return first


def unmatched(references: Sequence[str], catalog: Catalog, places: NDArray[np.int64]) -> Unmatched:
    """Return what `match` left over on both sides; `places` is what it returned."""
    there = np.zeros(len(catalog), bool)
    there[places[places >= 0]] = True
    ids = catalog.ids.take(np.flatnonzero(~there)).to_pylist()
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


def _names(reference: str) -> list[str]:
    """Return a path's names, whatever machine it is of."""
    names = [one for one in reference.replace("\\", "/").split("/") if one not in ("", ".")]
    return names or [""]


def _ends(names: list[str]) -> list[str]:
    """Return what a path ends with: all its names, all but the first, ..., the last."""
    return [_lowered("/".join(names[first:])) for first in range(len(names))]


def _stem(path: str) -> str:
    """Return a path without an extension of audio."""
    stem, dot, extension = path.rpartition(".")
    return stem if dot and f".{extension.lower()}" in EXTENSIONS else path


def _lowered(path: str) -> str:
    """Return a path with an extension of audio in lower case, as which cases are compared."""
    stem = _stem(path)
    return stem + path[len(stem) :].lower()
