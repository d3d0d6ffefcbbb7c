"""`Detections`: what a model found in recordings, as an immutable table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from headrace._formatting import format_count
from headrace._validation import arrow_errors_explained, check_choice
from headrace.annotations import (
    Annotations,
    at_least,
    write_audacity,
    write_birdnet,
    write_csv,
    write_parquet,
    write_raven,
)
from headrace.catalog import as_table, filter_rows
from headrace.detections._events import detections_of_events
from headrace.detections._merging import merge_neighbours, sort_order
from headrace.detections._result_batches import count_rows, each_batch, find_column, results_schema
from headrace.detections._scores import detections_of_scores
from headrace.errors import CatalogError, ResultsError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

__all__ = ["Detections"]

_COLUMNS: Final = {
    "id": "string",
    "channel": "int32",
    "start_s": "double",
    "end_s": "double",
    "label": "string",
    "score": "float",
    "low_hz": "double",
    "high_hz": "double",
}
"""Columns of detections, in order, and their Arrow types."""

_OPTIONAL: Final = ("channel", "score", "low_hz", "high_hz")
_NULLABLE: Final = (*_OPTIONAL, "label")


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """What a model found: a recording, a time span, a label and a score for each detection.

    Created by `from_results` or `from_table`; immutable. Sorted by recording, start and channel.

    Attributes
    ----------
    recordings : tuple of str
        The ids of all recordings that the model was applied to, also those without detections.
    """

    _table: pa.Table
    recordings: tuple[str, ...]

    @classmethod
    def from_results(
        cls,
        results: Any,  # noqa: ANN401  tables and datasets of several libraries
        *,
        threshold: float | Mapping[str, float] | None = None,
        classes: Sequence[str] | None = None,
        column: str | None = None,
        smooth: int = 1,
    ) -> Detections:
        """Find the detections in what a model gave for each window.

        Parameters
        ----------
        results : Arrow table or dataset, pandas DataFrame
            A row for each window: ``id``, ``start_s``, ``end_s``, perhaps ``channel``, and a column
            of scores or of detections. A dataset is read piece by piece. Rows in which the column
            is null are windows without a result.
        threshold : float or mapping of str to float, optional
            The least score that counts. A mapping has one for each class that counts; other classes
            are left out. Required for scores. A score that is NaN or null never counts.
        classes : sequence of str, optional
            The names of the scores, in order; or of the numbers in ``class``.
        column : str, optional
            A column of lists with a score for each class, of single scores, or of lists of
            detections: structs with ``start_s`` and ``end_s`` in seconds from the start of the
            window, ``label`` (or ``class``, a number), and perhaps ``score``, ``low_hz`` and
            ``high_hz``. Default: the only such column.
        smooth : int
            An odd number: each score is replaced by the mean over this many neighbouring windows of
            its recording and channel, before thresholds. Fewer at the ends; windows do not count as
            neighbours if one between them is missing. The scores of a recording are kept until all
            its windows have been read, wherever they are in the results.

        Raises
        ------
        ResultsError
            A column is missing or does not have these types, the number of scores is not that of
            the classes, or a threshold is missing, not a number or of an unknown class.
        """
        results, schema = results_schema(results)
        classes = None if classes is None else _check_classes(classes)
        column = find_column(schema, column, None if classes is None else len(classes))
        if not isinstance(smooth, int) or smooth < 1 or smooth % 2 == 0:
            raise ResultsError(f"smooth must be an odd number of windows, not {smooth!r}.")
        seen: dict[str, None] = {}

        def batches() -> Iterator[Any]:
            for batch in each_batch(results, column):
                seen.update(dict.fromkeys(batch.rows_by_id))
                yield batch

        if _holds_structs(schema.field(column).type):
            if smooth > 1:
                raise ResultsError(
                    f"The column {column!r} holds detections: only scores can be smoothed."
                )
            type_ = schema.field(column).type
            parts = detections_of_events(batches(), type_, classes, threshold, column)
        else:
            if threshold is None:
                raise ResultsError(
                    f"The column {column!r} holds scores: give the least that counts as threshold=."
                )
            names = _names_of_scores(schema.field(column).type, classes, column)
            total = count_rows(results) if smooth > 1 else None
            parts = detections_of_scores(batches(), names, threshold, column, smooth, total)
        return cls._of_parts(parts, seen)

    @classmethod
    def from_table(
        cls, table: pa.Table | pd.DataFrame, *, recordings: Iterable[str] = ()
    ) -> Detections:
        """Create detections from an Arrow table or a pandas DataFrame.

        Parameters
        ----------
        table : Arrow table or pandas DataFrame
            A row for each detection: ``id``, ``start_s``, ``end_s``, ``label``, and perhaps
            ``score``, ``channel``, ``low_hz`` and ``high_hz``. Further columns are left out.
        recordings : iterable of str
            The ids of further recordings, in which nothing was found.

        Raises
        ------
        ResultsError
            A column is missing or of a wrong type, or a detection ends before it starts.
        """
        import pyarrow as pa

        try:
            arrow = as_table(table)
        except CatalogError as error:
            raise ResultsError(str(error)) from None
        if isinstance(recordings, str):
            raise ResultsError(f"recordings= takes several ids: use recordings=[{recordings!r}].")
        columns: dict[str, Any] = {}
        for name, type_ in _COLUMNS.items():
            if name not in arrow.column_names:
                if name in _OPTIONAL:
                    continue
                raise ResultsError(
                    f"The table has the columns {', '.join(arrow.column_names)}, and no {name!r}: "
                    "rename one."
                )
            with arrow_errors_explained(
                f"The column {name!r} cannot be a {type_}", "Convert it.", ResultsError
            ):
                columns[name] = arrow[name].cast(pa.type_for_alias(type_))
            if columns[name].null_count and name not in _NULLABLE:
                raise ResultsError(f"The column {name!r} has a null: remove such rows.")
        start, end = (columns[name].to_numpy() for name in ("start_s", "end_s"))
        if not ((-np.inf < start) & (start <= end) & (end < np.inf)).all():
            raise ResultsError("A detection must not end before it starts: remove such rows.")
        ids = dict.fromkeys([*columns["id"].unique().to_pylist(), *recordings])
        return cls._of_parts(iter([columns]), ids)

    @classmethod
    def _of_parts(cls, parts: Iterator[dict[str, Any]], ids: dict[str, None]) -> Detections:
        """Return the detections in all parts; `ids` is complete when the last part was taken."""
        import pyarrow as pa

        schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in _COLUMNS.items()])
        tables = []
        for columns in parts:
            rows = len(columns["id"])
            if rows:
                missing = {name: pa.nulls(rows, schema.field(name).type) for name in schema.names}
                tables.append(pa.table(missing | columns).select(schema.names).cast(schema))
        if not tables:
            return cls(schema.empty_table(), tuple(ids))
        table = pa.concat_tables(tables).combine_chunks()
        return cls(table.take(pa.array(sort_order(table))), tuple(ids))

    # Content

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        labels = format_count(len(self.labels), "label")
        recordings = format_count(len(self.recordings), "recording")
        return f"<Detections: {format_count(len(self), 'detection')} of {labels} in {recordings}>"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels, sorted."""
        return tuple(sorted(self._table["label"].unique().drop_null().to_pylist()))

    def label_counts(self) -> dict[str, int]:
        """Return the number of detections of each of `labels`."""
        pairs = self._table["label"].value_counts().to_pylist()
        counts = {pair["values"]: pair["counts"] for pair in pairs}
        return {label: counts[label] for label in self.labels}

    def to_arrow(self) -> pa.Table:
        """Return an Arrow table with a row for each detection.

        Columns: ``id`` of the recording; ``channel`` (int32, from 0; null unless windows have
        one each); ``start_s`` and ``end_s`` (float64, seconds from the start of the recording;
        half-open); ``label``; ``score`` (float32; null if the model gave none); ``low_hz`` and
        ``high_hz`` (float64; null if unknown). A window that is filled up with zeros ends after its
        recording, and so may a detection.
        """
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """Return `to_arrow` as a pandas DataFrame; needs pandas."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    # Choosing and joining

    def filter(self, mask: Any) -> Detections:  # noqa: ANN401  any sequence of bools
        """Return some of the detections; `recordings` stay the same.

        Parameters
        ----------
        mask : sequence of bool
            One for each detection, in NumPy, Arrow, pandas or a list. Null is not true.

        Raises
        ------
        ResultsError
            The mask does not have a bool for each detection.
        """
        table = filter_rows(self._table, mask, noun="detection", error=ResultsError)
        return Detections(table, self.recordings)

    def above(self, threshold: float | Mapping[str, float]) -> Detections:
        """Return the detections whose score is at least a threshold.

        Parameters
        ----------
        threshold : float or mapping of str to float
            As in `from_results`: for all labels, or for each that counts.

        Raises
        ------
        ResultsError
            A threshold is not a number.
        """
        labels, scores = (self._table[name].combine_chunks() for name in ("label", "score"))
        return self.filter(at_least(threshold, labels, scores, error=ResultsError))

    def merge(self, gap_s: float = 0.0, *, score: Literal["max", "mean"] = "max") -> Detections:
        """Join neighbouring detections of one recording, channel and label to events.

        Parameters
        ----------
        gap_s : float
            Largest silence (s) between two detections of one event. With 0, they overlap or touch.
        score : {"max", "mean"}
            The score of an event: the highest of its detections, or their mean. Detections without
            a score do not count.

        Returns
        -------
        Detections
            From the first start to the last end, and from the lowest to the highest frequency.

        Raises
        ------
        ValueError
            `gap_s` is negative or not a number, or `score` has another value.
        """
        check_choice("score", score, ("max", "mean"))
        if not 0 <= gap_s < float("inf"):
            raise ValueError(f"gap_s must be a number of seconds from 0 up, not {gap_s!r}.")
        return Detections(merge_neighbours(self._table, gap_s, score), self.recordings)

    def __add__(self, other: Detections) -> Detections:
        """Return the detections and recordings of both."""
        import pyarrow as pa

        table = pa.concat_tables([self._table, other._table]).combine_chunks()
        ids = tuple(dict.fromkeys([*self.recordings, *other.recordings]))
        return Detections(table.take(pa.array(sort_order(table))), ids)

    # Exports

    def to_annotations(self) -> Annotations:
        """Return the detections as annotations, whose annotated files are `recordings`.

        `Windows.label` makes targets of them, of scores if asked to. Channels are not kept.
        """
        named = Annotations.from_table(self._table, file="id", files=self.recordings)
        return replace(named, matched=True)

    def to_raven(
        self,
        folder: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        band_hz: tuple[float, float] | None = None,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write a Raven selection table for each recording, also for those without detections.

        Columns: ``Selection``, ``View``, ``Channel`` (from 1), ``Begin Time (s)``,
        ``End Time (s)``, ``Low Freq (Hz)`` and ``High Freq (Hz)``, ``Begin Path``,
        ``File Offset (s)``, ``Annotation`` and ``Score``. `Annotations.read_raven` reads the same
        events. Tabs and line breaks in labels become spaces.

        Parameters
        ----------
        folder : str or path
            Created if absent. The table of ``site/a.wav`` is ``site/a.wav.selections.txt``.
        root : str or path, optional
            The catalog's root: ``Begin Path`` is then the path of the file, so that Raven finds it.
            Default: the recording's id.
        band_hz : tuple of float, optional
            The frequencies of selections whose own are unknown. Without it, they are left empty,
            and the columns left out if none is known; Raven then shows the whole band.
        overwrite : bool
            Replace existing files.

        Returns
        -------
        list of Path
            The files, in the order of `recordings`.

        Raises
        ------
        FileExistsError
            One of the files exists; nothing has been written.
        OSError
            The system cannot write a file.
        """
        return write_raven(
            self._table, self.recordings, folder, root=root, band_hz=band_hz, overwrite=overwrite
        )

    def to_audacity(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Write an Audacity label track for each recording, also for those without detections.

        With frequencies where they are known. `Annotations.read_audacity` reads the same events.
        Tabs and line breaks in labels become spaces. Scores are not written.

        Parameters
        ----------
        folder : str or path
            Created if absent. The track of ``site/a.wav`` is ``site/a.wav.txt``.
        overwrite : bool
            Replace existing files.

        Returns
        -------
        list of Path
            The files, in the order of `recordings`.

        Raises
        ------
        FileExistsError
            One of the files exists; nothing has been written.
        OSError
            The system cannot write a file.
        """
        return write_audacity(self._table, self.recordings, folder, overwrite=overwrite)

    def to_csv(self, file: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write one CSV file with the columns of `to_arrow` and a header.

        ``Annotations.read_csv(file, file="id")`` reads the same events.

        Parameters
        ----------
        file : str or path
            The file to write.
        overwrite : bool
            Replace an existing file.

        Raises
        ------
        FileExistsError
            The file exists.
        OSError
            The system cannot write it.
        """
        write_csv(self._table, file, overwrite=overwrite)

    def to_birdnet_csv(
        self, file: str | os.PathLike[str], *, overwrite: bool = False
    ) -> list[Path]:
        """Write CSV in the columns of BirdNET-Analyzer.

        ``Start (s)``, ``End (s)``, ``Scientific name``, ``Common name``, ``Confidence`` and
        ``File``, which is the recording's id. A label is split into its two names at the first
        underscore, as in BirdNET's ``Turdus merula_Eurasian Blackbird``; a label without one is
        both.

        Parameters
        ----------
        file : str or path
            One file, if the name ends in ``.csv``. Else a folder, created if absent, with a file
            for each recording: of ``site/a.wav``, ``site/a.wav.BirdNET.results.csv``.
        overwrite : bool
            Replace existing files.

        Returns
        -------
        list of Path
            The files.

        Raises
        ------
        FileExistsError
            One of the files exists; nothing has been written.
        OSError
            The system cannot write a file.
        """
        return write_birdnet(self._table, self.recordings, file, overwrite=overwrite)

    def to_parquet(self, file: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write one Parquet file with the table of `to_arrow`.

        ``Annotations.read_parquet(file, file="id")`` reads the same events.

        Parameters
        ----------
        file : str or path
            The file to write.
        overwrite : bool
            Replace an existing file.

        Raises
        ------
        FileExistsError
            The file exists.
        OSError
            The system cannot write it.
        """
        write_parquet(self._table, file, overwrite=overwrite)


def _holds_structs(type_: Any) -> bool:  # noqa: ANN401  an Arrow type
    import pyarrow as pa

    return hasattr(type_, "value_type") and bool(pa.types.is_struct(type_.value_type))


def _check_classes(classes: Iterable[str]) -> list[str]:
    names = list(classes) if not isinstance(classes, str) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ResultsError(f"classes= must be a list of names, not {classes!r}.")
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ResultsError(f"classes= has {twice!r} twice: give each score a name of its own.")
    return names


def _names_of_scores(type_: Any, classes: list[str] | None, column: str) -> list[str]:  # noqa: ANN401
    """Return the names of the scores: of a single score a window, that of its column."""
    if classes is not None:
        return classes
    if not hasattr(type_, "value_type"):
        return [column]
    raise ResultsError(
        f"The scores in the column {column!r} need names: give as classes= the name of each, "
        "in order."
    )
