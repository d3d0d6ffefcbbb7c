"""`Annotations`: who calls when, as somebody has written it down; an immutable table of events."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.annotations._columns import NAMED, Malformed, checked, masked, of_lists, warn
from headrace.annotations._files import Reading, anuraset, audacity, parquet, raven, read, separated
from headrace.annotations._matching import Unmatched, match, told, unmatched
from headrace.errors import AnnotationError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.annotations._matching import By
    from headrace.catalog import Catalog

    Files = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

__all__ = ["Annotations"]


@dataclass(frozen=True, eq=False, repr=False)
class Annotations:
    """Events in recordings, and which recordings were annotated at all.

    Made by one of the readers or `from_table`; immutable. `Windows.label` makes targets of them.

    Attributes
    ----------
    files : tuple of str
        Every annotated file as the labels refer to it, each once; also those without an event.
    malformed : tuple of Malformed
        Lines that are no event, and files that cannot be read, with file, line and reason. They are
        left out, and warned of.
    matched : bool
        Whether `files` are ids of a catalog: `Windows.label` then takes them at their word, and
        those that its recordings do not have are not worth a warning.
    """

    _table: pa.Table
    files: tuple[str, ...]
    malformed: tuple[Malformed, ...] = ()
    matched: bool = False

    # Readers

    @classmethod
    def read_anuraset(cls, files: Files, *, quality: str = "LMH") -> Annotations:
        """Read strong labels as AnuraSet has them.

        One text file for each recording, a line for each event, without a header: start (s),
        end (s), ``<SPECIES>_<L|M|H>``.

        Parameters
        ----------
        files : str, path, or several
            Files, globs, or folders (all ``.txt`` below). A file is about the recording of the same
            path relative to the common folder, whatever the extension.
        quality : str
            The qualities to keep, as ``"MH"``. A file of which nothing is kept counts as annotated.

        Raises
        ------
        NoRecordingsError, CatalogError
            A pattern matches nothing, or patterns have no common folder.
        AnnotationError
            `quality` is of other letters.

        Warns
        -----
        HeadraceWarning
            Some lines are malformed, or a file cannot be read; they are in `malformed`.
        """
        if not quality or set(quality) - set("LMH"):
            raise AnnotationError(f'quality is made of "L", "M" and "H", not {quality!r}.')
        return cls._of(read(files, anuraset(quality), ".txt"))

    @classmethod
    def read_raven(cls, files: Files, *, label: str | None = None) -> Annotations:
        """Read Raven selection tables.

        A selection's rows for several views are one event. ``Begin Path`` or ``Begin File`` says
        which recording, and ``File Offset (s)`` where in it; without them a table is about the
        recording of its own name. A selection without a label is an event without one.

        Parameters
        ----------
        files : str, path, or several
            Files, globs, or folders (all ``.txt`` below).
        label : str, optional
            The column of labels; default ``Annotation``, ``Species`` or ``Label``, if there.

        Raises
        ------
        NoRecordingsError, CatalogError
            A pattern matches nothing, or patterns have no common folder.
        AnnotationError
            A file has no times, or not the column `label`.

        Warns
        -----
        HeadraceWarning
            Some lines are malformed, or a file cannot be read; they are in `malformed`.
        """
        return cls._of(read(files, raven(label), ".txt"))

    @classmethod
    def read_audacity(cls, files: Files) -> Annotations:
        """Read Audacity label tracks, with frequencies where there are any.

        Parameters
        ----------
        files : str, path, or several
            Files, globs, or folders (all ``.txt`` below). A file is about the recording of the same
            path relative to the common folder, whatever the extension.

        Raises
        ------
        NoRecordingsError, CatalogError
            A pattern matches nothing, or patterns have no common folder.

        Warns
        -----
        HeadraceWarning
            Some lines are malformed, or a file cannot be read; they are in `malformed`.
        """
        return cls._of(read(files, audacity, ".txt"))

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
        delimiter: str = ",",
    ) -> Annotations:
        """Read tables of comma-separated values, with a header.

        Parameters
        ----------
        files : str, path, or several
            Files, globs, or folders (all ``.csv`` below).
        file, start_s, end_s, label, low_hz, high_hz, quality : str or None
            The table's names of these columns. Without times, labels are of whole recordings.
        delimiter : str
            What stands between values.

        Raises
        ------
        NoRecordingsError, CatalogError
            A pattern matches nothing, or patterns have no common folder.
        AnnotationError
            A column is missing, or there seem to be times that none of the names is of.

        Warns
        -----
        HeadraceWarning
            Some lines are malformed, or a file cannot be read; they are in `malformed`.
        """
        names = _names(file, start_s, end_s, label, low_hz, high_hz, quality)
        return cls._of(read(files, separated(names, delimiter), ".csv", own=False))

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
            It is no Parquet file; and as `from_table`.
        """
        if unknown := columns.keys() - {*NAMED}:
            raise TypeError(f"read_parquet has no parameter {', '.join(sorted(unknown))}.")
        made = cls(*checked(parquet(source), _names(*NAMED) | columns, files))
        warn(made.malformed, 3)
        return made

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
        files: Iterable[str] = (),
    ) -> Annotations:
        """Make annotations of an Arrow table or a pandas DataFrame.

        Parameters
        ----------
        table : Arrow table or pandas DataFrame
            A row for each event.
        file, start_s, end_s, label, low_hz, high_hz, quality : str or None
            The table's names of these columns. Without times, labels are of whole recordings.
        files : iterable of str
            Further files that are annotated and have no event.

        Raises
        ------
        AnnotationError
            A column is missing or of a wrong type, there seem to be times that none of the names is
            of, or `files` are no names.

        Warns
        -----
        HeadraceWarning
            Some rows have no file or impossible times; they are in `malformed`.
        """
        names = _names(file, start_s, end_s, label, low_hz, high_hz, quality)
        made = cls(*checked(table, names, files))
        warn(made.malformed, 3)
        return made

    @classmethod
    def from_folders(cls, catalog: Catalog) -> Annotations:
        """Label each recording as a whole with the name of the folder that it lies in.

        Recordings that lie in no folder below the catalog's root are not annotated.

        Raises
        ------
        AnnotationError
            No recording lies in a folder.
        """
        reading = Reading()
        ids: list[str] = catalog.ids.to_pylist()
        for row, name in enumerate(ids):
            folder = Path(name).parent.name
            if folder:
                reading.event(row, name, (0, math.inf), folder, file=name)
        if not reading.files:
            raise AnnotationError(
                f"No recording lies in a folder below {catalog.root!r}, the first being "
                f"{ids[0] if ids else None!r}: scan the folder above, or give root= to scan."
            )
        return cls(of_lists(reading.columns), tuple(reading.files), matched=True)

    @classmethod
    def _of(cls, reading: Reading) -> Annotations:
        warn(reading.malformed, 4)
        return cls(of_lists(reading.columns), tuple(reading.files), tuple(reading.malformed))

    # What they are

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        bad = f", {len(self.malformed)} malformed lines" if self.malformed else ""
        what = f"{len(self):,} events of {len(self.labels)} labels in {len(self.files):,} files"
        return f"<Annotations: {what}{bad}>"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels, sorted."""
        import pyarrow.compute as pc

        return tuple(sorted(pc.unique(self._table["label"]).drop_null().to_pylist()))

    def to_arrow(self) -> pa.Table:
        """Return an Arrow table with a row for each event.

        Columns: ``file`` (as the labels refer to it), ``start_s``, ``end_s`` (half-open; 0 and
        infinity for labels of whole recordings), ``label``, ``low_hz``, ``high_hz``, ``quality``
        (null where not known), ``source`` and ``line`` (where it is written).
        """
        return self._table

    def to_pandas(self) -> pd.DataFrame:
        """Return `to_arrow` as a pandas DataFrame; needs pandas."""
        frame: pd.DataFrame = self._table.to_pandas()
        return frame

    def filter(self, mask: Any) -> Annotations:  # noqa: ANN401  whatever holds bools
        """Return some of the events; the files that were annotated stay so.

        Parameters
        ----------
        mask : sequence of bool
            One for each event, in NumPy, Arrow, pandas or a list. Null is not true.

        Raises
        ------
        AnnotationError
            The mask is not of bools, or not one for each event.
        """
        return Annotations(masked(self._table, mask), self.files, self.malformed, self.matched)

    def __add__(self, other: Annotations) -> Annotations:
        """Return both, one after the other."""
        import pyarrow as pa

        return Annotations(
            pa.concat_tables([self._table, other._table]),
            tuple(dict.fromkeys([*self.files, *other.files])),
            self.malformed + other.malformed,
            self.matched and other.matched,
        )

    # What they are about

    def match(self, catalog: Catalog, by: By = "path") -> Annotations:
        """Return the annotations of the catalog's recordings, referring to them by id.

        `Windows.label` does so itself, by path, where this has not been called.

        Parameters
        ----------
        catalog : Catalog
            The recordings.
        by : "path", "stem" or function
            By path, the recording's path ends with the reference, or else the reference with the
            recording's id, folder and all. By stem, only the name counts, without folder and
            extension. A function is given the reference and returns the id, or None.

        Raises
        ------
        AnnotationError
            A reference may mean two recordings, or none means any.

        Warns
        -----
        HeadraceWarning
            Annotated files are no recording, or recordings are not annotated: see `unmatched`.
        """
        import pyarrow as pa

        places = match(self.files, catalog, by)
        told(self.files, catalog, places, both=True, stacklevel=3)
        of_event = places[self.file_numbers]
        ids = catalog.ids
        table = self._table.filter(pa.array(of_event >= 0))
        table = table.set_column(0, "file", ids.take(pa.array(of_event[of_event >= 0])))
        files = ids.take(pa.array(np.unique(places[places >= 0]))).to_pylist()
        return Annotations(table, tuple(files), self.malformed, matched=True)

    def unmatched(self, catalog: Catalog, by: By = "path") -> Unmatched:
        """Return the annotated files that are no recording, and the recordings not annotated.

        Parameters
        ----------
        catalog, by
            As in `match`.

        Raises
        ------
        AnnotationError
            A reference may mean two recordings.
        """
        return unmatched(self.files, catalog, match(self.files, catalog, by))

    @cached_property
    def file_numbers(self) -> NDArray[np.int64]:
        """The place in `files` of each event's file: int64, shape ``(len(annotations),)``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = pc.index_in(self._table["file"], value_set=pa.array(self.files, pa.string()))
        return np.asarray(numbers.to_numpy(), np.int64)


def _names(*names: str | None) -> dict[str, str | None]:
    """Return the user's names of the columns that a user names, by ours."""
    return dict(zip(NAMED, names, strict=True))
