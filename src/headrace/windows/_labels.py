"""`Labels`: targets of windows, computed from annotations when they are needed.

Times are rounded to whole samples at the windows' rate, and an event is at least one sample long.
An event of `length` samples counts in a window of `size` samples if at least `need` samples of it
lie inside. This holds if and only if the window starts in
[event - size + need, event + length - need]. So each event is an interval of window starts, and
between two ends of such intervals the labels are constant. The labels of a window are those of the
span that its start lies in, found by one binary search. Nothing is stored for each window, however
many there are and however much they overlap.
"""

# ruff: noqa: SLF001  join reads the tables of other Labels

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from headrace._formatting import brief, brief_list, format_count
from headrace.annotations import format_first, match, report_unmatched
from headrace.errors import AnnotationError, HeadraceWarning, InvalidWindowsError
from headrace.windows._geometry import Geometry
from headrace.windows._intervals import concatenate_ranges, constant_spans, largest_in_spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.annotations import Annotations
    from headrace.catalog import Catalog
    from headrace.windows._spec import WindowSpec
    from headrace.windows._window_sets import WindowSet

    Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

__all__ = ["Labels", "Targets", "Unannotated"]

Unannotated = Literal["error", "negative", "mask"]
Targets = Literal["presence", "score"]

_SPARSE_ROWS = 1 << 12
"""Windows that are dense at once while a sparse matrix is made."""


@dataclass(frozen=True, eq=False, repr=False)
class Labels:
    """The labels of any window of some recordings.

    `Windows.label` makes it. It is pickled with the windows, and has some bytes for each event and
    recording.

    Attributes
    ----------
    classes : tuple of str
        Names of the columns of labels.
    """

    classes: tuple[str, ...]
    _size: int
    _base: NDArray[np.int64]
    """Where each recording begins on a line that holds all recordings, `_size` samples apart."""
    _span: NDArray[np.int64]
    """Where the spans with constant labels begin on that line."""
    _first: NDArray[np.int64]
    """Index of each span's first entry in `_class`, and the number of entries."""
    _class: NDArray[np.int32]
    """Indices into `classes`. The number of classes stands for "not all classes are known"."""
    _end: int
    """Where the line ends."""
    _value: NDArray[np.float32] | None = None
    """The target of each entry in `_class`; None if all of them are 1."""

    def __repr__(self) -> str:
        return f"<Labels: {len(self.classes)} classes, {format_first(self.classes)}>"

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return sum(one.nbytes for one in self._tables)

    @property
    def _tables(self) -> tuple[NDArray[Any], ...]:
        values = () if self._value is None else (self._value,)
        return self._base, self._span, self._first, self._class, *values

    @property
    def _content(self) -> tuple[int | bytes, ...]:
        """What two `Labels` that label all windows alike have in common."""
        return self._size, self._end, *(one.tobytes() for one in self._tables)

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
            Numbers of the recordings, and first samples at the windows' rate.

        Returns
        -------
        labels : ndarray of float32, shape ``(rows, classes)``
            1, or the highest score, where an event of the class counts in the window, else 0.
        mask : ndarray of bool, shape ``(rows, classes)``
            True where it is known whether an event of the class is present.
        """
        row, entry = self._entries(recording, start)
        number = self._class[entry]
        classes = len(self.classes)
        named = number < classes
        labels = np.zeros((len(recording), classes), np.float32)
        labels[row[named], number[named]] = 1 if self._value is None else self._value[entry[named]]
        mask = np.ones(labels.shape, bool)
        if not named.all():
            mask[row[~named]] = False  # there, only the classes that were labelled are known
            mask[row[named], number[named]] = True
        return labels, mask

    def matrix(self, windows: WindowSet) -> NDArray[np.float32]:
        """Return the labels of all windows: see `Windows.label_matrix`."""
        matrix = np.empty((len(windows), len(self.classes)), np.float32)
        for rows in windows.chunks():
            labels, mask = self.rows(rows.recording, rows.start)
            labels[~mask] = np.nan
            matrix[rows.index] = labels
        return matrix

    def sparse_matrix(self, windows: WindowSet) -> Any:  # noqa: ANN401  scipy is not typed
        """Return the labels of all windows as SciPy's ``csr_array``.

        Raises
        ------
        InvalidWindowsError
            SciPy is not installed.
        """
        try:
            from scipy.sparse import csr_array, vstack
        except ModuleNotFoundError:
            raise InvalidWindowsError(
                "a sparse matrix needs the package scipy: pip install scipy, or give sparse=False."
            ) from None
        parts = [csr_array((0, len(self.classes)), dtype=np.float32)]
        for rows in windows.chunks(_SPARSE_ROWS):
            labels, mask = self.rows(rows.recording, rows.start)
            labels[~mask] = np.nan
            parts.append(csr_array(labels))
        return vstack(parts, format="csr")

    def count_windows_by(
        self, windows: WindowSet, group: NDArray[np.int64], groups: int
    ) -> NDArray[np.int64]:
        """Return the number of windows of each group of recordings and each class.

        Parameters
        ----------
        windows : WindowSet
            The windows.
        group : ndarray of int64, shape ``(recordings,)``
            The group of each recording.
        groups : int
            Number of groups.

        Returns
        -------
        ndarray of int64, shape ``(groups, classes)``
        """
        width = len(self.classes) + 1
        totals = np.zeros(groups * width, np.int64)
        for rows in windows.chunks():
            row, number = self._pairs(rows.recording, rows.start)
            at = group[rows.recording[row]] * width + number
            totals += np.bincount(at, minlength=len(totals))
        return totals.reshape(groups, width)[:, :-1]

    def count_windows(self, windows: WindowSet) -> dict[str, int]:
        """Return the number of windows of each class: see `Windows.label_counts`."""
        return dict(zip(self.classes, self._totals(windows)[0].tolist(), strict=True))

    def balanced_weights(self, windows: WindowSet) -> NDArray[np.float64]:
        """Return a weight for each window: see `Windows.balanced_weights`."""
        totals, unlabelled = self._totals(windows)
        class_weights = np.append(1 / np.maximum(totals, 1), 0.0)
        weights = np.zeros(len(windows))
        for rows in windows.chunks():
            row, number = self._pairs(rows.recording, rows.start)
            count = len(rows.index)
            labelled = np.bincount(row, minlength=count) > 0
            sums = np.bincount(row, class_weights[number], minlength=count)
            weights[rows.index] = np.where(labelled, sums, 1 / max(unlabelled, 1))
        total = weights.sum()
        return weights / total if total else weights

    def _totals(self, windows: WindowSet) -> tuple[NDArray[np.int64], int]:
        """Return the number of windows of each class, and of windows without any entry."""
        totals = np.zeros(len(self.classes) + 1, np.int64)
        unlabelled = 0
        for rows in windows.chunks():
            row, number = self._pairs(rows.recording, rows.start)
            totals += np.bincount(number, minlength=len(totals))
            unlabelled += len(rows.index) - len(np.unique(row))
        return totals[:-1], unlabelled

    def _pairs(self, recording: NDArray[np.int64], start: NDArray[np.int64]) -> Pairs:
        """Return the (row, class) pairs of some windows, each pair once, sorted by row."""
        row, entry = self._entries(recording, start)
        return row, self._class[entry].astype(np.int64)

    def _entries(self, recording: NDArray[np.int64], start: NDArray[np.int64]) -> Pairs:
        """Return the (row, index in `_class`) pairs of some windows, sorted by row."""
        at = self._base[recording] + np.maximum(start, -self._size)
        span = np.searchsorted(self._span, at, side="right") - 1
        first = self._first[span]
        counts = self._first[span + 1] - first
        row = np.repeat(np.arange(len(recording)), counts)
        return row, concatenate_ranges(first, counts)

    @classmethod
    def from_annotations(
        cls,
        windows: WindowSet,
        catalog: Catalog,
        annotations: Annotations,
        classes: Iterable[str] | None,
        *,
        min_overlap_s: float | None,
        min_fraction: float | None,
        unannotated: Unannotated,
        ignore: Iterable[str],
        targets: Targets,
    ) -> Labels:
        """Make the labels of `windows`, which are all of one `catalog`: see `Windows.label`."""
        if unannotated not in get_args(Unannotated):
            raise AnnotationError(
                f'unannotated must be "error", "negative" or "mask", not {brief(unannotated)}.'
            )
        if targets not in get_args(Targets):
            raise AnnotationError(f'targets must be "presence" or "score", not {targets!r}.')
        names, ignored = _check_classes(annotations, classes, ignore)
        spec = windows.spec
        file_rows = match(annotations.files, catalog, _as_id if annotations.matched else "path")
        if not annotations.matched or not np.any(file_rows >= 0):
            report_unmatched(
                annotations.files, catalog, file_rows, warn_of_recordings=False, stacklevel=4
            )
        unknown = _unknown_recordings(windows, catalog, file_rows, unannotated)

        samples = Geometry.from_frames(spec, catalog.frames, catalog.sample_rates).samples
        table = annotations.to_arrow()
        recording = file_rows[annotations.file_numbers]
        number = _class_numbers(table["label"], names, ignored)
        begin, length, whole = _event_samples(table, spec.sample_rate)
        late = (recording >= 0) & (begin >= samples[recording])
        if late.any():
            one = late.sum() == 1
            warnings.warn(
                f"{late.sum()} of {len(late)} events {'begins' if one else 'begin'} after the end "
                f"of {'its' if one else 'their'} recording and {'is' if one else 'are'} left out: "
                f"the first in {catalog[int(recording[late.argmax()])].id} at "
                f"{table['start_s'][int(late.argmax())].as_py():g} s. Check that the labels "
                "belong to these recordings.",
                HeadraceWarning,
                stacklevel=3,
            )
        need = _needed_samples(length, spec, min_overlap_s, min_fraction)
        need[whole] = 1  # a label of a whole recording counts in all its windows
        first, last = begin + need - spec.size, begin + length - need
        good = (recording >= 0) & (number >= 0) & ~late
        good &= whole | (need <= np.minimum(length, spec.size))
        first[whole], last[whole] = -spec.size, samples[recording[whole]]

        ends = np.append(0, np.cumsum(samples + spec.size + 1))
        base, end = ends[:-1] + spec.size, int(ends[-1])
        # From here on, positions are on the line of all recordings, and intervals are half-open.
        here = recording[good]
        begins = base[here] + np.maximum(first[good], -spec.size)
        ends = base[here] + np.minimum(last[good], samples[here]) + 1
        begins = np.concatenate([begins, base[unknown] - spec.size])
        ends = np.concatenate([ends, base[unknown] + samples[unknown] + 1])
        numbers = np.concatenate([number[good], np.full(len(unknown), len(names))])
        if targets == "presence":
            return cls(names, spec.size, base, *constant_spans(begins, ends, numbers), end)
        scores = np.append(_scores(table)[good], np.zeros(len(unknown), np.float32))
        span, first_entry, entries, values = largest_in_spans(begins, ends, numbers, scores)
        return cls(names, spec.size, base, span, first_entry, entries, end, values)

    @classmethod
    def join(cls, labels: Sequence[Labels], numbers: Sequence[NDArray[np.int64]]) -> Labels:
        """Return one `Labels` of the recordings of several.

        Parameters
        ----------
        labels : sequence of Labels
            Of windows of one length.
        numbers : sequence of ndarray of int64
            For each of the `labels`, the numbers of its recordings in the result.

        Raises
        ------
        AnnotationError
            Their classes differ, or they label the same recording differently.
        """
        first = labels[0]
        for one in labels:
            if one.classes != first.classes:
                raise AnnotationError(
                    f"labels of windows that are joined must have the same classes, not "
                    f"{brief(first)} and {brief(one)}: call windows.label(annotations, "
                    "classes=[...]) with the same classes for all."
                )
        tables = {id(one): one for one in labels}  # slices share one
        content = {key: one._content for key, one in tables.items()}
        distinct = list({content[key]: one for key, one in tables.items()}.values())
        place = {key: at for at, key in enumerate(dict.fromkeys(content.values()))}
        shift = np.append(0, np.cumsum([one._end for one in distinct])).tolist()
        entries = np.append(0, np.cumsum([len(one._class) for one in distinct])).tolist()
        base = np.full(1 + max(int(some.max(initial=-1)) for some in numbers), -1)
        for one, some in zip(labels, numbers, strict=True):
            moved = one._base + shift[place[content[id(one)]]]
            if np.any((base[some] >= 0) & (base[some] != moved)):
                raise AnnotationError(
                    "windows of one catalog that are joined must have the same labels: label all "
                    "of them by the same annotations, classes and rules, and join all at once."
                )
            base[some] = moved
        parts = list(zip(distinct, shift, entries, strict=False))
        firsts = [one._first[:-1] + at for one, _, at in parts]
        values = None
        if any(one._value is not None for one in distinct):
            ones = (np.ones(len(one._class), np.float32) for one in distinct)
            pairs = zip(distinct, ones, strict=True)
            values = np.concatenate(
                [own if one._value is None else one._value for one, own in pairs]
            )
        return cls(
            first.classes,
            first._size,
            base,
            np.concatenate([one._span + begin for one, begin, _ in parts]),
            np.append(np.concatenate(firsts), entries[-1]),
            np.concatenate([one._class for one in distinct]),
            shift[-1],
            values,
        )


def _as_id(name: str) -> str:
    """Return the file name of matched annotations, which is an id."""
    return name


def _check_classes(
    annotations: Annotations, classes: Iterable[str] | None, ignore: Iterable[str]
) -> tuple[tuple[str, ...], set[str]]:
    """Return the classes and the labels to ignore, checked.

    Raises
    ------
    AnnotationError
        See `Windows.label`.
    """
    for name, given in (("classes", classes), ("ignore", ignore)):
        if isinstance(given, str):
            raise AnnotationError(
                f"{name} is a list of labels, not {brief(given)}: give [{brief(given)}]."
            )
    ignored = set(ignore)
    if missing := sorted(ignored - set(annotations.labels)):
        raise AnnotationError(
            f"ignore={brief(missing)}: there are no such labels. There are: "
            f"{brief_list(annotations.labels) or 'none'}."
        )
    if classes is None and not annotations.labels:
        if not len(annotations):
            raise AnnotationError("There are no events, so that no class is known: give classes=.")
        raise AnnotationError(
            f"None of {format_count(len(annotations), 'event')} has a label, so that there is no "
            "class. " + (annotations.unlabelled or "Name the column of labels where they are read.")
        )
    if classes is None:
        names = tuple(one for one in annotations.labels if one not in ignored)
    else:
        names = tuple(classes)
    if not names or len(set(names)) < len(names) or ignored & set(names):
        raise AnnotationError(
            f"classes must be one or more labels, each once, and none that is ignored, not "
            f"{brief(names)}. The labels are: {brief_list(annotations.labels) or 'none'}."
        )
    unused = [one for one in names if one not in annotations.labels]
    others = [one for one in annotations.labels if one not in names and one not in ignored]
    if unused and others:  # perhaps a misspelt class; without others, only a rare one
        warnings.warn(
            f"{len(unused)} of {len(names)} classes {'is' if len(unused) == 1 else 'are'} not the "
            f"label of any event ({format_first(unused)}), while "
            f"{format_count(len(others), 'label')} {'is' if len(others) == 1 else 'are'} not a "
            f"class ({format_first(others)}).",
            HeadraceWarning,
            stacklevel=4,
        )
    return names, ignored


def _unknown_recordings(
    windows: WindowSet, catalog: Catalog, file_rows: NDArray[np.int64], unannotated: Unannotated
) -> NDArray[np.int64]:
    """Return the recordings for which no class is known.

    Raises
    ------
    AnnotationError
        With ``unannotated="error"``, windows are of recordings without annotations.
    """
    annotated = np.zeros(len(catalog), bool)
    annotated[file_rows[file_rows >= 0]] = True
    if unannotated == "mask":
        return np.flatnonzero(~annotated)
    if unannotated == "error" and not annotated.all():
        needed = np.zeros(len(catalog), bool)
        for rows in windows.chunks():
            needed[rows.recording] = True
        missing = np.flatnonzero(needed & ~annotated)
        if len(missing):
            names = [catalog[int(row)].id for row in missing[:4]]
            raise AnnotationError(
                f"{len(missing)} of {needed.sum()} recordings are not annotated "
                f'({format_first(names)}): give unannotated="negative" if they have no events, '
                '"mask" if that is not known, or leave them out with catalog.filter.'
            )
    return np.zeros(0, np.int64)


def _class_numbers(
    label: pa.ChunkedArray, names: tuple[str, ...], ignored: set[str]
) -> NDArray[np.int64]:
    """Return the index of each event's class.

    It is the number of classes if the label is ignored or missing, and -1 if it is not a class.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    all_labels = pa.array([*names, *sorted(ignored)], pa.string())
    number = pc.fill_null(pc.index_in(label, value_set=all_labels), -1).to_numpy().astype(np.int64)
    number[label.is_null().to_numpy()] = len(names)
    numbers: NDArray[np.int64] = np.minimum(number, len(names))
    return numbers


def _event_samples(
    table: pa.Table, rate: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return each event's first sample and length, and whether it labels a whole recording."""
    start, end = table["start_s"].to_numpy(), table["end_s"].to_numpy()
    whole = (start == 0) & np.isinf(end)
    farthest = float(1 << 62)
    begin = np.minimum(np.rint(start * rate), farthest).astype(np.int64)
    stop = np.minimum(np.rint(np.where(whole, start, end) * rate), farthest).astype(np.int64)
    return begin, np.maximum(stop - begin, 1), whole


def _scores(table: pa.Table) -> NDArray[np.float32]:
    """Return the score of each event; 1 where it has none.

    Raises
    ------
    AnnotationError
        A score is no target: it is not between 0 and 1.
    """
    import pyarrow.compute as pc

    scores: NDArray[np.float32] = pc.fill_null(table["score"], 1.0).to_numpy()
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise AnnotationError(
            f"The score {scores[wrong[0]]:g} of an event in {table['file'][int(wrong[0])]} is not "
            'between 0 and 1, so that it is no target: use targets="presence".'
        )
    return scores.astype(np.float32)


def _needed_samples(
    length: NDArray[np.int64],
    spec: WindowSpec,
    min_overlap_s: float | None,
    min_fraction: float | None,
) -> NDArray[np.int64]:
    """Return how many samples of each event must lie in a window for the event to count.

    Raises
    ------
    AnnotationError
        `min_overlap_s` or `min_fraction` is out of range.
    """
    rules = []
    if min_overlap_s is not None:
        if not 0 <= min_overlap_s * spec.sample_rate <= spec.size:
            raise AnnotationError(
                f"min_overlap_s={brief(min_overlap_s)} must be between 0 and a window's "
                f"{spec.size / spec.sample_rate:g} s."
            )
        rules.append(np.full(len(length), round(min_overlap_s * spec.sample_rate)))
    if min_fraction is not None:
        if not 0 <= min_fraction <= 1:
            raise AnnotationError(f"min_fraction={brief(min_fraction)} must be between 0 and 1.")
        most = np.minimum(length, spec.size)
        rules.append(np.ceil(min_fraction * most - 1e-6))  # 1e-6: rounding errors
    need = np.min(rules, axis=0) if rules else np.ones(len(length))
    return np.maximum(need, 1).astype(np.int64)
