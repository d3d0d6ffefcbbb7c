"""`Annotations`: labelled events in recordings, as an immutable table."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from headrace._formatting import brief, brief_list, format_count
from headrace.annotations import _export_files
from headrace.annotations._birdnet import Names, birdnet_parser
from headrace.annotations._columns import (
    RENAMABLE,
    Malformed,
    events_of_table,
    filter_events,
    make_table,
    warn_of_malformed,
)
from headrace.annotations._files import (
    ParsedLabels,
    anuraset_parser,
    csv_parser,
    parse_audacity,
    raven_parser,
    read_label_files,
    read_parquet_table,
)
from headrace.annotations._matching import Unmatched, match, report_unmatched, unmatched
from headrace.annotations._thresholds import at_least
from headrace.errors import AnnotationError, HeadraceWarning

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.annotations._matching import MatchBy
    from headrace.catalog import Catalog

    Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

__all__ = ["Annotations"]


@dataclass(frozen=True, eq=False, repr=False)
class Annotations:
    """Events in recordings, and the list of recordings that were annotated.

    Created by one of the readers or `from_table`; immutable. `Windows.label` makes targets of them.

    Attributes
    ----------
    files : tuple of str
        Every annotated file as the labels name it, without duplicates, including files without
        events.
    malformed : tuple of Malformed
        Lines that are not valid events and files that cannot be read, with file, line and reason.
        They are skipped with a warning.
    matched : bool
        Whether `files` are ids of a catalog. `Windows.label` then compares ids only, and does not
        warn of files that are not among its recordings.
    unlabelled : str
        A sentence on a table that has events and no known column of labels, and what to write;
        ``""`` if there is none.
    """

    _table: pa.Table
    files: tuple[str, ...]
    malformed: tuple[Malformed, ...] = ()
    matched: bool = False
    unlabelled: str = ""

    # Readers

    @classmethod
    def read_anuraset(cls, files: Files, *, quality: str = "LMH") -> Annotations:
        """Read strong labels in AnuraSet's format.

        One text file for each recording with a line for each event, without a header: start (s),
        end (s), ``<SPECIES>_<L|M|H>``.

        Parameters
        ----------
        files : str, path, or several
            Files, globs, or folders (all ``.txt`` files below them). A file is about the recording
            with the same path relative to the common folder, whatever the extension.
        quality : str
            The qualities to keep, such as ``"MH"``. A file without kept events still counts as
            annotated.

        Raises
        ------
        NoRecordingsError, CatalogError
            A pattern matches nothing, or patterns have no common folder.
        AnnotationError
            `quality` has other letters than L, M and H.

        Warns
        -----
        HeadraceWarning
            Some lines are malformed, or a file cannot be read; they are in `malformed`.
        """
        if not quality or set(quality) - set("LMH"):
            raise AnnotationError(
                f'quality must consist of "L", "M" and "H", not {brief(quality)}.'
            )
        return cls._from_parsed(read_label_files(files, anuraset_parser(quality), ".txt"))

    @classmethod
    def read_raven(
        cls, files: Files, *, label: str | None = None, score: str | None = None
    ) -> Annotations:
        """Read Raven selection tables.

        A selection's rows for several views are one event. ``Begin Path`` or ``Begin File`` names
        the recording, and ``File Offset (s)`` gives the time in it; without them, a table is about
        the recording with its own name. If ``Begin Path`` is that of another computer, and a file
        of its name is beside the table, that one is meant. A selection without a label is an event
        without a label. ``Quality`` is kept.

        Parameters
        ----------
        files : str, path, or several
            Files, globs, or folders (all ``.txt`` files below them).
        label : str, optional
            The column of labels. Default: the first of ``Annotation``, ``Species``, ``Label`` and
            ``Common Name`` that the table has.
        score : str, optional
            The column of scores. Default: the first of ``Score`` and ``Confidence`` that the table
            has.

        Raises
        ------
        NoRecordingsError, CatalogError
            A pattern matches nothing, or patterns have no common folder.
        AnnotationError
            A file has no columns of times, or no column `label` or `score`.

        Warns
        -----
        HeadraceWarning
            Some lines are malformed, or a file cannot be read; they are in `malformed`. Or a table
            has no column of labels that is known, or scores are no numbers.
        """
        return cls._from_parsed(read_label_files(files, raven_parser(label, score), ".txt"))

    @classmethod
    def read_birdnet(cls, files: Files, *, names: Names = "common") -> Annotations:
        """Read what BirdNET found: results of BirdNET-Analyzer, or CSV of the package birdnet.

        Of BirdNET-Analyzer: Raven selection tables (``X.BirdNET.selection.table.txt``), CSV,
        Kaleidoscope's CSV, Audacity labels, and the combined tables. The score is kept: see
        `above`. A detection that several tables have, as CSV and as selection table, counts once.
        A table without a column of files is about the recording with its name; so is one whose
        files are of another computer, if the recording is beside the table.

        Parameters
        ----------
        files : str, path, or several
            Files, globs, or folders (all ``.txt`` and ``.csv`` files below them).
        names : {"common", "scientific", "both"}
            What the labels are: ``Eurasian Blackbird``, ``Turdus merula``, or
            ``Turdus merula_Eurasian Blackbird``. Selection tables have only the first.

        Raises
        ------
        NoRecordingsError, CatalogError
            A pattern matches nothing, or patterns have no common folder.
        AnnotationError
            A file is none of these tables, or does not have these names.

        Warns
        -----
        HeadraceWarning
            Some lines are malformed, or a file cannot be read; they are in `malformed`. Or scores
            are no numbers.
        """
        if names not in get_args(Names):
            raise AnnotationError(f'names must be "common", "scientific" or "both", not {names!r}.')
        return cls._from_parsed(read_label_files(files, birdnet_parser(names), ".txt", ".csv"))

    @classmethod
    def read_audacity(cls, files: Files) -> Annotations:
        """Read Audacity label tracks, with frequencies where there are any.

        Parameters
        ----------
        files : str, path, or several
            Files, globs, or folders (all ``.txt`` files below them). A file is about the recording
            with the same path relative to the common folder, whatever the extension.

        Raises
        ------
        NoRecordingsError, CatalogError
            A pattern matches nothing, or patterns have no common folder.

        Warns
        -----
        HeadraceWarning
            Some lines are malformed, or a file cannot be read; they are in `malformed`.
        """
        return cls._from_parsed(read_label_files(files, parse_audacity, ".txt"))

    @classmethod
    def read_csv(
        cls,
        files: Files,
        *,
        file: str = "file",
        start_s: str | None = "start_s",
        end_s: str | None = "end_s",
        label: str = "label",
        low_hz: str | None = "low_hz",
        high_hz: str | None = "high_hz",
        quality: str | None = "quality",
        score: str | None = "score",
        delimiter: str = ",",
    ) -> Annotations:
        """Read tables of comma-separated values, with a header.

        In a table with times, a row with nothing but a file is an annotated recording without
        events.

        Parameters
        ----------
        files : str, path, or several
            Files, globs, or folders (all ``.csv`` files below them).
        file, start_s, end_s, label, low_hz, high_hz, quality, score : str or None
            The table's names of these columns. Without times, labels are of whole recordings.
        delimiter : str
            The character between values.

        Raises
        ------
        NoRecordingsError, CatalogError
            A pattern matches nothing, or patterns have no common folder.
        AnnotationError
            A column is missing, or there seem to be columns of times that are not named.

        Warns
        -----
        HeadraceWarning
            Some lines are malformed, or a file cannot be read; they are in `malformed`. Or scores
            are no numbers.
        """
        names = _column_names(file, start_s, end_s, label, low_hz, high_hz, quality, score)
        parser = csv_parser(names, delimiter)
        return cls._from_parsed(
            read_label_files(files, parser, ".csv", named_like_recordings=False)
        )

    @classmethod
    def read_parquet(
        cls,
        source: str | os.PathLike[str],
        *,
        files: Iterable[str] = (),
        **columns: str | None,
    ) -> Annotations:
        """Read a Parquet file: `from_table` of its table, with the same parameters.

        Raises
        ------
        FileNotFoundError
            There is no such file.
        AnnotationError
            The file is not a Parquet file, or as in `from_table`.
        """
        if unknown := columns.keys() - {*RENAMABLE}:
            raise TypeError(f"read_parquet has no parameter {', '.join(sorted(unknown))}.")
        names = _column_names(*RENAMABLE) | columns
        annotations = cls(*events_of_table(read_parquet_table(source), names, files))
        warn_of_malformed(annotations.malformed, 3)
        return annotations

    @classmethod
    def from_table(
        cls,
        table: pa.Table | pd.DataFrame,
        *,
        file: str = "file",
        start_s: str | None = "start_s",
        end_s: str | None = "end_s",
        label: str = "label",
        low_hz: str | None = "low_hz",
        high_hz: str | None = "high_hz",
        quality: str | None = "quality",
        score: str | None = "score",
        files: Iterable[str] = (),
    ) -> Annotations:
        """Create annotations from an Arrow table or a pandas DataFrame.

        In a table with times, a row with nothing but a file is an annotated recording without
        events.

        Parameters
        ----------
        table : Arrow table or pandas DataFrame
            A row for each event.
        file, start_s, end_s, label, low_hz, high_hz, quality, score : str or None
            The table's names of these columns. Without times, labels are of whole recordings.
        files : iterable of str
            Further annotated files, which have no events.

        Raises
        ------
        AnnotationError
            A column is missing or of a wrong type, there seem to be columns of times that are not
            named, or `files` are not strings.

        Warns
        -----
        HeadraceWarning
            Some rows have no file or impossible times; they are in `malformed`.
        """
        names = _column_names(file, start_s, end_s, label, low_hz, high_hz, quality, score)
        annotations = cls(*events_of_table(table, names, files))
        warn_of_malformed(annotations.malformed, 3)
        return annotations

    @classmethod
    def from_folders(cls, catalog: Catalog) -> Annotations:
        """Label each recording as a whole with the name of its folder.

        Recordings directly in the catalog's root are not annotated.

        Raises
        ------
        AnnotationError
            All recordings are directly in the catalog's root.
        """
        labels = ParsedLabels()
        ids: list[str] = catalog.ids.to_pylist()
        for row, name in enumerate(ids):
            folder = Path(name).parent.name
            if folder:
                labels.add_event(row, name, (0, math.inf), folder, file=name)
        if not labels.files:
            raise AnnotationError(
                f"No recording is in a folder below {catalog.root!r}; the first is "
                f"{ids[0] if ids else None!r}: scan the folder above, or give root= to scan."
            )
        return cls(make_table(labels.columns), tuple(labels.files), matched=True)

    @classmethod
    def _from_parsed(cls, labels: ParsedLabels) -> Annotations:
        warn_of_malformed(labels.malformed, 4)
        if labels.unlabelled:
            warnings.warn(labels.unlabelled, HeadraceWarning, stacklevel=3)
        if labels.lost_scores:
            warnings.warn(
                f"{format_count(labels.lost_scores, 'score')} cannot be read as a number (the "
                f"first: {labels.lost_score}), and these events have none: write scores as 0.85, "
                "or name another column as score=.",
                HeadraceWarning,
                stacklevel=3,
            )
        table = make_table(labels.columns)
        malformed = tuple(labels.malformed)
        return cls(table, tuple(labels.files), malformed, unlabelled=labels.unlabelled)

    # Content

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        malformed = (
            f", {format_count(len(self.malformed), 'malformed line')}" if self.malformed else ""
        )
        what = (
            f"{format_count(len(self), 'event')} of {format_count(len(self.labels), 'label')} in "
            f"{format_count(len(self.files), 'file')}"
        )
        return f"<Annotations: {what}{malformed}>"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels, sorted."""
        import pyarrow.compute as pc

        return tuple(sorted(pc.unique(self._table["label"]).drop_null().to_pylist()))

    def to_arrow(self) -> pa.Table:
        """Return an Arrow table with a row for each event.

        Columns: ``file`` (as the labels name it), ``start_s``, ``end_s`` (half-open; 0 and infinity
        for labels of whole recordings), ``label``, ``low_hz``, ``high_hz``, ``quality``, ``score``
        (float32; these are null if unknown), ``source`` and ``line`` (the label file, and the line
        in it).
        """
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """Return `to_arrow` as a pandas DataFrame; needs pandas."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    def filter(self, mask: Any) -> Annotations:  # noqa: ANN401  any sequence of bools
        """Return some of the events; all annotated files stay annotated.

        Parameters
        ----------
        mask : sequence of bool
            One for each event, in NumPy, Arrow, pandas or a list. Null is not true.

        Raises
        ------
        AnnotationError
            The mask does not have a bool for each event.
        """
        return replace(self, _table=filter_events(self._table, mask))

    def above(self, threshold: float | Mapping[str, float]) -> Annotations:
        """Return the events whose score is at least a threshold; all files stay annotated.

        Events without a score are left out.

        Parameters
        ----------
        threshold : float or mapping of str to float
            For all labels, or for each that counts: ``{"Eurasian Blackbird": 0.7}``.

        Raises
        ------
        AnnotationError
            A threshold is not a number.

        Warns
        -----
        HeadraceWarning
            None of the labels with a threshold is that of an event.
        """
        if isinstance(threshold, Mapping) and self.labels and not {*threshold} & {*self.labels}:
            warnings.warn(
                f"threshold= has {brief_list(threshold) or 'no label'}, and the labels are "
                f"{brief_list(self.labels)}, so that no event is left: write labels as they are "
                "read.",
                HeadraceWarning,
                stacklevel=2,
            )
        labels, scores = (self._table[name].combine_chunks() for name in ("label", "score"))
        return self.filter(at_least(threshold, labels, scores))

    def __add__(self, other: Annotations) -> Annotations:
        """Return the events and files of both, one after the other."""
        import pyarrow as pa

        return Annotations(
            pa.concat_tables([self._table, other._table]),
            tuple(dict.fromkeys([*self.files, *other.files])),
            self.malformed + other.malformed,
            self.matched and other.matched,
            self.unlabelled or other.unlabelled,
        )

    # Matching to recordings

    def match(self, catalog: Catalog, by: MatchBy = "path") -> Annotations:
        """Return the annotations of the catalog's recordings, with their ids as file names.

        If this has not been called, `Windows.label` matches by path.

        Parameters
        ----------
        catalog : Catalog
            The recordings.
        by : "path", "stem" or function
            ``"path"``: the recording's path ends with the file name, or else the file name ends
            with the recording's id, including at least one folder. ``"stem"``: the names are equal
            without folders and extensions. A function takes a file name and returns an id or None.

        Raises
        ------
        AnnotationError
            A file name may mean two recordings, or none of them means any.

        Warns
        -----
        HeadraceWarning
            Annotated files are not in the catalog, or recordings are not annotated: see
            `unmatched`.
        """
        import pyarrow as pa

        rows = match(self.files, catalog, by)
        report_unmatched(self.files, catalog, rows, warn_of_recordings=True, stacklevel=3)
        row_of_event = rows[self.file_numbers]
        ids = catalog.ids
        table = self._table.filter(pa.array(row_of_event >= 0))
        table = table.set_column(0, "file", ids.take(pa.array(row_of_event[row_of_event >= 0])))
        files = ids.take(pa.array(np.unique(rows[rows >= 0]))).to_pylist()
        return replace(self, _table=table, files=tuple(files), matched=True)

    def unmatched(self, catalog: Catalog, by: MatchBy = "path") -> Unmatched:
        """Return the annotated files without a recording, and the recordings not annotated.

        Parameters
        ----------
        catalog, by
            As in `match`.

        Raises
        ------
        AnnotationError
            A file name may mean two recordings.
        """
        return unmatched(self.files, catalog, match(self.files, catalog, by))

    # Files for other programs

    def to_raven(
        self,
        folder: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write a Raven selection table for each annotated file, also for those without events.

        `read_raven` reads the same events from it, with quality and score. Tabs and line breaks in
        labels become spaces, and spaces at their ends are lost.

        Parameters
        ----------
        folder : str or path
            Created if absent. The table of ``site/a.wav`` is ``site/a.wav.selections.txt``.
        root : str or path, optional
            Of annotations that are matched, the catalog's root: ``Begin Path`` is then the path of
            the recording, so that Raven finds it. Default: the file as the labels name it.
        overwrite : bool
            Replace existing files.

        Returns
        -------
        list of Path
            The tables, in the order of `files`.

        Raises
        ------
        AnnotationError
            Labels of whole recordings have no end that could be written.
        FileExistsError
            One of the files exists; nothing has been written.
        OSError
            The system cannot write a file.

        Warns
        -----
        HeadraceWarning
            A file has no events, and a name by which no table can be called, such as that of a
            path from the root: the table is read as one about another file. `match` before.
        """
        written = _export_files.write_raven(
            self._spans(), self.files, folder, root=root, band_hz=None, overwrite=overwrite
        )
        self._warn_of_renamed(self._empty_files, ".selections.txt", "read_raven")
        return written

    def to_audacity(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Write an Audacity label track for each annotated file, also for those without events.

        With frequencies. `read_audacity` reads the same events from it. Tabs and line breaks in
        labels become spaces, and spaces at their ends are lost. Scores and qualities are not
        written.

        Parameters
        ----------
        folder : str or path
            Created if absent. The track of ``site/a.wav`` is ``site/a.wav.txt``.
        overwrite : bool
            Replace existing files.

        Returns
        -------
        list of Path
            The tracks, in the order of `files`.

        Raises
        ------
        AnnotationError, FileExistsError, OSError
            As in `to_raven`.

        Warns
        -----
        HeadraceWarning
            As in `to_raven`, for files with events too.
        """
        written = _export_files.write_audacity(
            self._spans(), self.files, folder, overwrite=overwrite
        )
        self._warn_of_renamed(self.files, ".txt", "read_audacity")
        return written

    def to_csv(self, file: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write one CSV file with the columns of `to_arrow`, but for ``source`` and ``line``.

        `read_csv` reads the same events and annotated files from it: a file without events has a
        row of its own. Spaces at the ends of labels are lost.

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
        _export_files.write_csv(self._with_empty_files(), file, overwrite=overwrite)

    def to_parquet(self, file: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write one Parquet file with the table that `to_csv` writes; for `read_parquet`.

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
        _export_files.write_parquet(self._with_empty_files(), file, overwrite=overwrite)

    def _spans(self) -> pa.Table:
        """Return the events as `Detections` have them, for the writers."""
        import pyarrow as pa

        endless = np.isinf(self._table["end_s"].to_numpy())
        if endless.any():
            raise AnnotationError(
                f"{format_count(int(endless.sum()), 'label')} of whole recordings cannot be "
                "written, because they have no end: use to_csv, or leave them out with filter."
            )
        names = ["id" if name == "file" else name for name in self._table.column_names]
        table = self._table.rename_columns(names)
        return table.append_column("channel", pa.nulls(len(table), pa.int32()))

    def _with_empty_files(self) -> pa.Table:
        """Return the events, and a row for each file without any."""
        import pyarrow as pa

        table = self._table.drop_columns(["source", "line"])
        rows = pa.table({"file": pa.array(self._empty_files, pa.string())})
        return pa.concat_tables([table, rows], promote_options="default")

    @property
    def _empty_files(self) -> list[str]:
        """The files without events."""
        has_events = np.zeros(len(self.files), bool)
        has_events[self.file_numbers] = True
        return [file for file, has in zip(self.files, has_events, strict=True) if not has]

    def _warn_of_renamed(self, files: Sequence[str], ending: str, reader: str) -> None:
        """Warn of files that `reader` does not recognise by the names of what was written."""
        written = zip(self.files, _export_files.file_names(self.files, ending), strict=True)
        renamed = {file for file, name in written if name != file + ending}.intersection(files)
        if renamed:
            first = next(file for file in files if file in renamed)
            warnings.warn(
                f"{reader} will not know again {format_count(len(renamed), 'file')}, whose names "
                f"no label file can have (the first: {first}): write annotations that are matched, "
                "as in annotations.match(catalog).",
                HeadraceWarning,
                stacklevel=3,
            )

    @cached_property
    def file_numbers(self) -> NDArray[np.int64]:
        """Index in `files` of each event's file: int64, shape ``(len(annotations),)``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = pc.index_in(self._table["file"], value_set=pa.array(self.files, pa.string()))
        return np.asarray(numbers.to_numpy(), np.int64)


def _column_names(*names: str | None) -> dict[str, str | None]:
    """Return the name that each of the `RENAMABLE` columns has in a user's table."""
    return dict(zip(RENAMABLE, names, strict=True))
