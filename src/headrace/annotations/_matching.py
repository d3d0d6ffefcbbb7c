"""Match the file names in label files to the recordings of a catalog."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from headrace._formatting import brief, format_count
from headrace._validation import arrow_errors_explained
from headrace.codecs import EXTENSIONS
from headrace.errors import AnnotationError, HeadraceWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from headrace.catalog import Catalog

__all__ = ["MatchBy", "Unmatched", "format_first", "match", "report_unmatched", "unmatched"]

MatchBy = Literal["path", "stem"] | Callable[[str], str | None]

_MAX_SHOWN: Final = 3  # names in a message


class Unmatched(NamedTuple):
    """Annotated files without a recording, and recordings without annotations.

    Attributes
    ----------
    files : tuple of str
        Annotated files that are not recordings of the catalog.
    recordings : tuple of str
        Ids of recordings that are not annotated.
    """

    files: tuple[str, ...]
    recordings: tuple[str, ...]


def format_first(names: Sequence[str]) -> str:
    """Return the first names, and ``...`` if there are more."""
    more = ", ..." if len(names) > _MAX_SHOWN else ""
    return ", ".join(names[:_MAX_SHOWN]) + more


def match(references: Sequence[str], catalog: Catalog, by: MatchBy = "path") -> NDArray[np.int64]:
    """Return for each reference the catalog row of the recording that it names, or -1.

    Parameters
    ----------
    references : sequence of str
        File names, as in label files. An id names its recording, unless `by` is a function.
    catalog : Catalog
        The recordings.
    by : "path", "stem" or function
        With ``"path"``, a reference names the recording whose path ends with it, component by
        component. If there is none, it names the recording whose id the reference ends with,
        including at least one folder; the longest such id. ``"stem"`` compares file names without
        folders and extensions. A function takes a reference and returns an id or None. If a
        reference has no audio extension, recordings are compared without theirs.

    Returns
    -------
    ndarray of int64, shape ``(len(references),)``

    Raises
    ------
    AnnotationError
        A reference may name two recordings, `by` has another value, or the function returns
        something other than a string or None.
    """
    if callable(by):
        return _match_ids([by(reference) for reference in references], catalog)
    if by not in ("path", "stem"):
        raise AnnotationError(f'by must be "path", "stem" or a function, not {brief(by)}.')
    rows = _match_ids(references, catalog)
    remaining = np.flatnonzero(rows < 0)
    if len(remaining):
        match_names = _match_paths if by == "path" else _match_stems
        rows[remaining] = match_names([references[i] for i in remaining.tolist()], catalog)
    return rows


def _match_ids(ids: Sequence[str | None], catalog: Catalog) -> NDArray[np.int64]:
    """Return the rows of these ids, -1 for an id that is not in the catalog."""
    import pyarrow as pa
    import pyarrow.compute as pc

    with arrow_errors_explained(
        "by= must return an id", "Return a string or None.", AnnotationError
    ):
        wanted = pa.array(ids, pa.string())
    rows = pc.fill_null(pc.index_in(wanted, value_set=catalog.ids), -1)
    return np.where(wanted.is_null(), -1, rows).astype(np.int64)


def _match_stems(references: list[str], catalog: Catalog) -> list[int]:
    stems = [_stem(_components(reference)[-1]) for reference in references]
    index = _NameIndex(stems)
    for row, path in enumerate(catalog.column("path").tolist()):
        index.add(_stem(path.rpartition("/")[2]), row)
    return [
        index.find(stem, reference, catalog)
        for stem, reference in zip(stems, references, strict=True)
    ]


def _match_paths(references: list[str], catalog: Catalog) -> list[int]:
    components = [_components(reference) for reference in references]
    suffixes = [_suffixes(parts) for parts in components]
    paths = _NameIndex(longest for longest, *_ in suffixes)
    ids = _NameIndex(suffix for each in suffixes for suffix in each)
    lengths = sorted({len(parts) for parts in components})
    for row, (file_id, path) in enumerate(
        zip(catalog.ids.to_pylist(), catalog.column("path").tolist(), strict=True)
    ):
        for name in (_fold_extension(file_id), _stem(file_id)):
            ids.add(name, row)
        for length in lengths:
            end = "/".join(path.rsplit("/", length)[-length:])
            for name in (_fold_extension(end), _stem(end)):
                paths.add(name, row)
    rows = []
    for reference, (longest, *shorter) in zip(references, suffixes, strict=True):
        row = ids.find(longest, reference, catalog)  # the reference is an id, but for the extension
        if row < 0:
            row = paths.find(longest, reference, catalog)
        for suffix in shorter[:-1]:  # not the bare name: another folder may be another recording
            if row < 0:
                row = ids.find(suffix, reference, catalog)
        rows.append(row)
    return rows


class _NameIndex:
    """The rows of recordings by name, for names that are given beforehand.

    Two rows are kept for each name, so that an ambiguous name is noticed. All other names are
    ignored: a catalog may have a million recordings, and a label file few references.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._first = dict.fromkeys(names, -1)
        self._second: dict[str, int] = {}

    def add(self, name: str, row: int) -> None:
        """Add a recording's name."""
        first = self._first.get(name)
        if first == -1:
            self._first[name] = row
        elif first is not None and first != row:
            self._second.setdefault(name, row)

    def find(self, name: str, reference: str, catalog: Catalog) -> int:
        """Return the row of the recording with this name, or -1; raise if there are two."""
        row = self._first[name]
        if name in self._second:
            first_id, second_id = catalog[row].id, catalog[self._second[name]].id
            raise AnnotationError(
                f"{reference!r} may mean {first_id!r} or {second_id!r}: give more of the path, "
                "remove one of them with catalog.filter, or match by a function."
            )
        return row


def unmatched(references: Sequence[str], catalog: Catalog, rows: NDArray[np.int64]) -> Unmatched:
    """Return what `match`, which returned `rows`, did not match on either side."""
    is_annotated = np.zeros(len(catalog), bool)
    is_annotated[rows[rows >= 0]] = True
    ids = catalog.ids.take(np.flatnonzero(~is_annotated)).to_pylist()
    files = (references[index] for index in np.flatnonzero(rows < 0).tolist())
    return Unmatched(tuple(files), tuple(ids))


def report_unmatched(
    references: Sequence[str],
    catalog: Catalog,
    rows: NDArray[np.int64],
    *,
    warn_of_recordings: bool,
    stacklevel: int,
) -> None:
    """Warn once of what `match`, which returned `rows`, did not match.

    Parameters
    ----------
    references, catalog
        As in `match`.
    rows : ndarray of int64
        What `match` returned.
    warn_of_recordings : bool
        Whether to warn of recordings without annotations, too.
    stacklevel : int
        As in `warnings.warn`; 1 is this function.

    Raises
    ------
    AnnotationError
        Nothing matched.
    """
    if len(rows) and len(catalog) and not np.any(rows >= 0):
        raise AnnotationError(
            f"None of {format_count(len(rows), 'annotated file')} is a recording of the catalog: "
            f"the first is {references[0]!r}, the catalog's first is {catalog[0].id!r}. "
            + _other_ways(references, catalog)
        )
    left_over = unmatched(references, catalog, rows)
    sentences = []
    if left_over.files:
        sentences.append(
            f"{len(left_over.files)} of {len(references)} annotated files "
            f"{'is not a recording' if len(left_over.files) == 1 else 'are not recordings'} of "
            f"the catalog ({format_first(left_over.files)})"
        )
    if warn_of_recordings and left_over.recordings:
        sentences.append(
            f"{len(left_over.recordings)} of {len(catalog)} recordings "
            f"{'is' if len(left_over.recordings) == 1 else 'are'} not annotated "
            f"({format_first(left_over.recordings)})"
        )
    if sentences:
        warnings.warn(
            "; ".join(sentences) + ". See annotations.unmatched(catalog) for all of them, and "
            "annotations.match for other ways to match.",
            HeadraceWarning,
            stacklevel=stacklevel,
        )


def _other_ways(references: Sequence[str], catalog: Catalog) -> str:
    """Return a sentence on how references that do not match by path may match."""
    try:
        found = int(np.count_nonzero(match(references, catalog, "stem") >= 0))
    except AnnotationError:  # a name may mean two recordings
        found = 0
    if found:
        return (
            f"Without folders and extensions, {found} of {len(references)} are: use "
            'annotations.match(catalog, by="stem").'
        )
    return (
        "Their names differ, too: give annotations.match a function that returns the id for a "
        "file, as in by=lambda file: ...; or if these are no names of recordings, name another "
        "column as file= where they are read."
    )


def _components(reference: str) -> list[str]:
    """Return a path's components, with slashes or backslashes between them."""
    parts = [part for part in reference.replace("\\", "/").split("/") if part not in ("", ".")]
    return parts or [""]


def _suffixes(components: list[str]) -> list[str]:
    """Return all components joined, all but the first, ..., the last."""
    return [_fold_extension("/".join(components[first:])) for first in range(len(components))]


def _stem(path: str) -> str:
    """Return a path without its audio extension."""
    stem, dot, extension = path.rpartition(".")
    return stem if dot and f".{extension.lower()}" in EXTENSIONS else path


def _fold_extension(path: str) -> str:
    """Return a path with its audio extension in lower case."""
    stem = _stem(path)
    return stem + path[len(stem) :].lower()
