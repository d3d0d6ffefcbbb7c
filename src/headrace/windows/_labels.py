"""`Labels`: annotations -> targets, made where they are asked for.

Times are rounded to whole samples at the windows' rate, and an event is at least one sample long.
An event of `length` samples counts in a window if at least `need` samples of it lie inside, and
that is so exactly if the window starts in [event - size + need, event + length - need]: each event
is an interval of window starts. Between two ends of such intervals nothing changes. So what has to
be known of any window, wherever it starts, is which of these spans its start lies in: one binary
search. Nothing is kept for each window, however many there are and however they overlap.
"""

# ruff: noqa: SLF001  several are joined to one

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from headrace.annotations import format_first, match, report_unmatched
from headrace.errors import AnnotationError, HeadraceWarning
from headrace.windows._geometry import Geometry
from headrace.windows._intervals import ranges, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.annotations import Annotations
    from headrace.windows._spec import WindowSpec
    from headrace.windows._windows import Windows

    Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

__all__ = ["Labels", "Unannotated"]

Unannotated = Literal["error", "negative", "mask"]

_ROWS_AT_ONCE = 1 << 16
"""Windows that are counted at once: some megabytes, and long enough that NumPy's calls are free."""


@dataclass(frozen=True, eq=False, repr=False)
class Labels:
    """What is known of any window of a catalog.

    Made by `Windows.label`. Pickles with the windows; some bytes for each event and recording.

    Attributes
    ----------
    classes : tuple of str
        Names of the columns of targets.
    """

    classes: tuple[str, ...]
    _size: int
    _base: NDArray[np.int64]
    """Where each recording begins on a line on which all follow each other, `_size` apart."""
    _span: NDArray[np.int64]
    """Where on that line spans begin, within which all windows have the same labels."""
    _first: NDArray[np.int64]
    """For each span the first of its entries in `_class`, and their number."""
    _class: NDArray[np.int32]
    """Places in `classes`; their number stands for whatever is not known."""
    _end: int
    """Where the line ends."""

    def __repr__(self) -> str:
        return f"<Labels: {len(self.classes)} classes, {format_first(self.classes)}>"

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return sum(one.nbytes for one in (self._base, self._span, self._first, self._class))

    @property
    def _content(self) -> tuple[int | bytes, ...]:
        """What is equal where all is: labels made twice of the same annotations are the same."""
        tables = (self._base, self._span, self._first, self._class)
        return self._size, self._end, *(one.tobytes() for one in tables)

    @property
    def row_bytes(self) -> int:
        """Bytes of one window's labels and mask."""
        return 5 * len(self.classes)

    def rows(
        self, recording: NDArray[np.int64], start: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the labels of some windows.

        Parameters
        ----------
        recording, start : ndarray of int64, shape ``(rows,)``
            Places in the catalog, and first samples at the windows' rate.

        Returns
        -------
        labels : ndarray of float32, shape ``(rows, classes)``
            1 where an event of the class counts in the window, else 0.
        mask : ndarray of bool, shape ``(rows, classes)``
            True where that is known.
        """
        row, number = self._pairs(recording, start)
        classes = len(self.classes)
        named = number < classes
        labels = np.zeros((len(recording), classes), np.float32)
        labels[row[named], number[named]] = 1
        mask = np.ones(labels.shape, bool)
        if not named.all():
            doubtful = row[~named]  # what somebody has heard there stays known
            mask[doubtful] = labels[doubtful] > 0
        return labels, mask

    def counts(self, windows: Windows) -> dict[str, int]:
        """Return the number of windows for each class: see `Windows.label_counts`."""
        return dict(zip(self.classes, self._totals(windows)[0].tolist(), strict=True))

    def balanced_weights(self, windows: Windows) -> NDArray[np.float64]:
        """Return a weight for each window: see `Windows.balanced_weights`."""
        totals, nothing = self._totals(windows)
        each = np.append(1 / np.maximum(totals, 1), 0.0)
        weights = np.zeros(windows.set_size)
        for begin, rows, (row, number) in self._blocks(windows):
            some = np.bincount(row, minlength=rows) > 0
            sums = np.bincount(row, each[number], minlength=rows)
            weights[begin : begin + rows] = np.where(some, sums, 1 / max(nothing, 1))
        total = weights.sum()
        return weights / total if total else weights

    def _totals(self, windows: Windows) -> tuple[NDArray[np.int64], int]:
        """Return the number of windows for each class, and of those in which nothing is."""
        totals = np.zeros(len(self.classes) + 1, np.int64)
        nothing = 0
        for _, rows, (row, number) in self._blocks(windows):
            totals += np.bincount(number, minlength=len(totals))
            nothing += rows - len(np.unique(row))
        return totals[:-1], nothing

    def _blocks(self, windows: Windows) -> Iterator[tuple[int, int, Pairs]]:
        """Yield the first of some windows, how many, and their pairs."""
        for begin in range(0, windows.set_size, _ROWS_AT_ONCE):
            end = min(begin + _ROWS_AT_ONCE, windows.set_size)
            rows = windows.rows(np.arange(begin, end, dtype=np.int64))
            yield begin, end - begin, self._pairs(rows.recording, rows.start)

    def _pairs(self, recording: NDArray[np.int64], start: NDArray[np.int64]) -> Pairs:
        """Return (row, class) of all labels of some windows, each once, by row."""
        at = self._base[recording] + np.maximum(start, -self._size)
        span = np.searchsorted(self._span, at, side="right") - 1
        first = self._first[span]
        many = self._first[span + 1] - first
        row = np.repeat(np.arange(len(recording)), many)
        return row, self._class[ranges(first, many)].astype(np.int64)

    @classmethod
    def of(
        cls,
        windows: Windows,
        annotations: Annotations,
        classes: Iterable[str] | None,
        *,
        min_overlap_s: float | None,
        min_fraction: float | None,
        unannotated: Unannotated,
        ignore: Iterable[str],
    ) -> Labels:
        """Make labels of annotations: see `Windows.label`."""
        if unannotated not in get_args(Unannotated):
            raise AnnotationError(
                f'unannotated must be "error", "negative" or "mask", not {unannotated!r}.'
            )
        names, ignored = _classes(annotations, classes, ignore)
        catalog, spec = windows.catalog, windows.spec
        places = match(annotations.files, catalog, _itself if annotations.matched else "path")
        if not annotations.matched or not np.any(places >= 0):
            report_unmatched(annotations.files, catalog, places, both=False, stacklevel=4)
        unknown = _unannotated(windows, places, unannotated)

        samples = Geometry.of(spec, catalog.frames, catalog.sample_rates).samples
        table = annotations.to_arrow()
        recording = places[annotations.file_numbers]
        number = _numbers(table["label"], names, ignored)
        begin, length, whole = _samples(table, spec.sample_rate)
        late = (recording >= 0) & (begin >= samples[recording])
        if late.any():
            warnings.warn(
                f"{late.sum()} of {len(late)} events begin behind the end of their recording and "
                f"are left out: the first in {catalog[int(recording[late.argmax()])].id} at "
                f"{table['start_s'][int(late.argmax())].as_py():g} s. Do labels and recordings "
                "belong together?",
                HeadraceWarning,
                stacklevel=3,
            )
        need = _need(length, spec, min_overlap_s, min_fraction)
        need[whole] = 1  # a label of the whole recording is every window's
        first, last = begin + need - spec.size, begin + length - need
        good = (recording >= 0) & (number >= 0) & ~late
        good &= whole | (need <= np.minimum(length, spec.size))
        first[whole], last[whole] = -spec.size, samples[recording[whole]]

        ends = np.append(0, np.cumsum(samples + spec.size + 1))
        base, end = ends[:-1] + spec.size, int(ends[-1])
        # From here on all is on the line: starts, and ends behind the last start.
        here = recording[good]
        begins = base[here] + np.maximum(first[good], -spec.size)
        ends = base[here] + np.minimum(last[good], samples[here]) + 1
        begins = np.concatenate([begins, base[unknown] - spec.size])
        ends = np.concatenate([ends, base[unknown] + samples[unknown] + 1])
        kinds = np.concatenate([number[good], np.full(len(unknown), len(names))])
        return cls(names, spec.size, base, *spans(begins, ends, kinds), end)

    @classmethod
    def joined(cls, labels: Sequence[Labels], numbers: Sequence[NDArray[np.int64]]) -> Labels:
        """Return the labels of several catalogs' windows.

        Parameters
        ----------
        labels : sequence of Labels
            Of windows of one length.
        numbers : sequence of ndarray of int64
            For each of them, the numbers that its recordings have among all.

        Raises
        ------
        AnnotationError
            They have other classes; or other labels of the same recordings.
        """
        first = labels[0]
        for one in labels:
            if one.classes != first.classes:
                raise AnnotationError(
                    f"labels of windows that are joined have the same classes, not {first!r} and "
                    f"{one!r}: say windows.label(annotations, classes=[...]) with the same for all."
                )
        tables = {id(one): one for one in labels}  # slices have theirs in common
        content = {key: one._content for key, one in tables.items()}
        distinct = list({content[key]: one for key, one in tables.items()}.values())
        place = {key: at for at, key in enumerate(dict.fromkeys(content.values()))}
        shift = np.append(0, np.cumsum([one._end for one in distinct])).tolist()
        entries = np.append(0, np.cumsum([len(one._class) for one in distinct])).tolist()
        base = np.full(1 + max(int(some.max(initial=-1)) for some in numbers), -1)
        for one, some in zip(labels, numbers, strict=True):
            mine = one._base + shift[place[content[id(one)]]]
            if np.any((base[some] >= 0) & (base[some] != mine)):
                raise AnnotationError(
                    "windows of one catalog that are joined have one set of labels: label all by "
                    "the same annotations, classes and rules, and join all at once."
                )
            base[some] = mine
        parts = list(zip(distinct, shift, entries, strict=False))
        firsts = [one._first[:-1] + at for one, _, at in parts]
        return cls(
            first.classes,
            first._size,
            base,
            np.concatenate([one._span + begin for one, begin, _ in parts]),
            np.append(np.concatenate(firsts), entries[-1]),
            np.concatenate([one._class for one in distinct]),
            shift[-1],
        )


def _itself(name: str) -> str:
    return name


def _classes(
    annotations: Annotations, classes: Iterable[str] | None, ignore: Iterable[str]
) -> tuple[tuple[str, ...], set[str]]:
    """Return the classes and the labels to ignore, checked."""
    for name, given in (("classes", classes), ("ignore", ignore)):
        if isinstance(given, str):
            raise AnnotationError(f"{name} is a list of labels, not {given!r}: say [{given!r}].")
    ignored = set(ignore)
    if strangers := sorted(ignored - set(annotations.labels)):
        raise AnnotationError(
            f"ignore={strangers!r}: there are no such labels. There are: "
            f"{', '.join(annotations.labels) or 'none'}."
        )
    if classes is None:
        names = tuple(one for one in annotations.labels if one not in ignored)
    else:
        names = tuple(classes)
    if not names or len(set(names)) < len(names) or ignored & set(names):
        raise AnnotationError(
            f"classes must be some labels, each once, and none that is ignored, not {names!r}. "
            f"The labels are {', '.join(annotations.labels) or 'none at all'}."
        )
    strangers = [one for one in names if one not in annotations.labels]
    others = [one for one in annotations.labels if one not in names and one not in ignored]
    if strangers and others:  # is it a slip? Without others, it is a class that is rare
        warnings.warn(
            f"{len(strangers)} of {len(names)} classes are no event's label "
            f"({format_first(strangers)}), while {len(others)} labels are no class "
            f"({format_first(others)}).",
            HeadraceWarning,
            stacklevel=4,
        )
    return names, ignored


def _unannotated(
    windows: Windows, places: NDArray[np.int64], unannotated: Unannotated
) -> NDArray[np.int64]:
    """Return the recordings of which nothing is known."""
    catalog = windows.catalog
    there = np.zeros(len(catalog), bool)
    there[places[places >= 0]] = True
    if unannotated == "mask":
        return np.flatnonzero(~there)
    if unannotated == "error" and not there.all():
        wanted = np.zeros(len(catalog), bool)
        for begin in range(0, windows.set_size, _ROWS_AT_ONCE):
            end = min(begin + _ROWS_AT_ONCE, windows.set_size)
            wanted[windows.rows(np.arange(begin, end, dtype=np.int64)).recording] = True
        missing = np.flatnonzero(wanted & ~there)
        if len(missing):
            names = [catalog[int(place)].id for place in missing[:4]]
            raise AnnotationError(
                f"{len(missing)} of {wanted.sum()} recordings are not annotated "
                f'({format_first(names)}). Say unannotated="negative" if nothing calls there, '
                '"mask" if that is not known, or leave them out with catalog.filter.'
            )
    return np.zeros(0, np.int64)


def _numbers(
    label: pa.ChunkedArray, names: tuple[str, ...], ignored: set[str]
) -> NDArray[np.int64]:
    """Return each event's class, their number if it is ignored or has no label, -1 if no class."""
    import pyarrow as pa
    import pyarrow.compute as pc

    every = pa.array([*names, *sorted(ignored)], pa.string())
    number = pc.fill_null(pc.index_in(label, value_set=every), -1).to_numpy().astype(np.int64)
    number[label.is_null().to_numpy()] = len(names)
    numbers: NDArray[np.int64] = np.minimum(number, len(names))
    return numbers


def _samples(
    table: pa.Table, rate: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return where events begin, how long they are, and which are of whole recordings."""
    start, end = table["start_s"].to_numpy(), table["end_s"].to_numpy()
    whole = (start == 0) & np.isinf(end)
    farthest = float(1 << 62)
    begin = np.minimum(np.rint(start * rate), farthest).astype(np.int64)
    stop = np.minimum(np.rint(np.where(whole, start, end) * rate), farthest).astype(np.int64)
    return begin, np.maximum(stop - begin, 1), whole


def _need(
    length: NDArray[np.int64],
    spec: WindowSpec,
    min_overlap_s: float | None,
    min_fraction: float | None,
) -> NDArray[np.int64]:
    """Return how many samples of each event must lie in a window in which it counts."""
    rules = []
    if min_overlap_s is not None:
        if not 0 <= min_overlap_s * spec.sample_rate <= spec.size:
            raise AnnotationError(
                f"min_overlap_s={min_overlap_s!r} must be between 0 and a window's "
                f"{spec.size / spec.sample_rate:g} s."
            )
        rules.append(np.full(len(length), round(min_overlap_s * spec.sample_rate)))
    if min_fraction is not None:
        if not 0 <= min_fraction <= 1:
            raise AnnotationError(f"min_fraction={min_fraction!r} must be between 0 and 1.")
        most = np.minimum(length, spec.size)
        rules.append(np.ceil(min_fraction * most - 1e-6))  # less than a millionth is rounding
    need = np.min(rules, axis=0) if rules else np.ones(len(length))
    return np.maximum(need, 1).astype(np.int64)
