"""Label files of several kinds -> the rows of one table, and what could not be understood.

A line that cannot be understood never costs its neighbours anything: it is kept, with the reason,
and the file still counts as annotated. An empty table is an annotated recording without events.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace._paths import join
from headrace._validation import arrow_errors_explained
from headrace.annotations._columns import COLUMNS, Malformed, chosen
from headrace.catalog import find
from headrace.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pyarrow as pa

__all__ = ["Reading", "anuraset", "audacity", "parquet", "raven", "read", "separated"]

_ENDINGS: Final = re.compile(r"(\.Table\.\d+)?(\.selections)?\.[^./]*$")
"""What Raven puts behind a recording's name, or any one extension."""

_RAVEN_LABELS: Final = ("Annotation", "Species", "Label")
"""Columns that are looked for where no label column is named. Raven itself has none that is fixed;
"Annotation" is its manual's example, "Species" the most common in public data sets."""


_NEEDED: Final = ("file", "start_s", "end_s", "label")
"""Columns without which a row of a table is cut short; in the others it may have nothing."""


@dataclass(eq=False)
class Reading:
    """What has been read so far.

    Attributes
    ----------
    columns : dict of str to list
        The values of `COLUMNS`.
    files : dict of str to None
        Every file that is annotated, also without events, in order.
    malformed : list of Malformed
        Lines left out.
    source, reference : str
        The label file being read, and the recording that it is about where no line says so; `parse`
        empties the latter if all lines do.
    """

    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    files: dict[str, None] = field(default_factory=dict)
    malformed: list[Malformed] = field(default_factory=list)
    source: str = ""
    reference: str = ""

    def bad(self, line: int, text: str, message: str) -> None:
        """Leave a line out."""
        self.malformed.append(Malformed(self.source, line, text, message))

    def event(
        self,
        line: int,
        text: str,
        times: tuple[Any, Any],
        label: str | None,
        band: tuple[Any, Any] = (None, None),
        quality: str | None = None,
        file: str | None = None,
    ) -> bool:
        """Add an event, unless its times are none; return whether it was added."""
        try:
            start, end = float(times[0]), float(times[1])
        except (TypeError, ValueError):
            self.bad(line, text, "start and end are not two numbers")
            return False
        if not (0 <= start < math.inf and start <= end):
            self.bad(line, text, "not 0 <= start <= end")
            return False
        file = self.reference if file is None else file
        self.files[file] = None
        values = (file, start, end, label, _hz(band[0]), _hz(band[1]), quality, self.source, line)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)
        return True


def _hz(value: Any) -> float | None:  # noqa: ANN401  whatever stands in a table
    """Return a frequency; None where there is none, as Audacity's -1."""
    if value is None:
        return None
    try:
        hz = float(value)
    except (TypeError, ValueError):
        return None
    return hz if 0 <= hz < math.inf else None


def read(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    parse: Callable[[Reading, str], None],
    extension: str,
    *,
    own: bool = True,
) -> Reading:
    """Read label files one after the other.

    Parameters
    ----------
    files : str, path, or several
        Files, globs, or folders. What does not spell out an extension is looked through for files
        with `extension`.
    parse : function
        Adds the events of one file's text to a `Reading`.
    extension : str
        As ``".txt"``, in lower case.
    own : bool
        Whether each file is about the recording of its name: its path relative to the common folder
        of `files`, without extensions.

    Raises
    ------
    NoRecordingsError
        A pattern matches nothing.
    AnnotationError
        A file is not of this kind at all.
    """
    found = find(files, extensions=frozenset({extension}))
    reading = Reading()
    for failure in found.failures:
        reading.source = failure.path
        reading.bad(0, "", failure.message)
    for name in found.ids:
        reading.source = join(found.root, name)
        reading.reference = _ENDINGS.sub("", name)
        try:
            text = _text(Path(reading.source))
        except OSError as error:  # its recording is then not annotated, for all one knows
            reading.bad(0, "", f"the file cannot be read: {error.strerror or error}")
            continue
        parse(reading, text)
        if own and reading.reference:
            reading.files[reading.reference] = None
    return reading


def _text(file: Path) -> str:
    """Return a file's text: UTF-8, or what old Windows programs wrote."""
    raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def anuraset(quality: str) -> Callable[[Reading, str], None]:
    """Return the reader of AnuraSet's strong labels: ``start end SPECIES_Q``, Q in `quality`."""

    def parse(reading: Reading, text: str) -> None:
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            fields = [one.strip() for one in line.strip().split(None, 2)]
            species, _, grade = fields[-1].rpartition("_")
            if len(fields) < 3 or not species or grade not in ("L", "M", "H"):  # noqa: PLR2004
                reading.bad(number, line, "not start, end and SPECIES_L, _M or _H")
            elif grade in quality:
                reading.event(number, line, (fields[0], fields[1]), species, quality=grade)
            else:  # left out on purpose, if it is an event at all
                _check_only(reading, number, line, fields)

    return parse


def _check_only(reading: Reading, number: int, line: str, fields: list[str]) -> None:
    probe = Reading(source=reading.source)
    if not probe.event(number, line, (fields[0], fields[1]), None):
        reading.malformed += probe.malformed


def audacity(reading: Reading, text: str) -> None:
    r"""Read an Audacity label track: ``start end label``, then perhaps ``\ low high``."""
    last: bool | None = None  # whether the label that a frequency line would belong to was added
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if fields[0].strip() == "\\":
            if last is None:
                reading.bad(number, line, "frequencies of no label")
            elif last:
                for name, value in zip(("low_hz", "high_hz"), fields[1:3], strict=False):
                    reading.columns[name][-1] = _hz(value)
            last = None
            continue
        if len(fields) < 2:  # noqa: PLR2004  a label may be empty, times may not
            reading.bad(number, line, "not start, end and label with tabs between")
            last = False
            continue
        label = "\t".join(fields[2:]).strip() or None
        last = reading.event(number, line, (fields[0], fields[1]), label)


def raven(label: str | None) -> Callable[[Reading, str], None]:
    """Return the reader of Raven's selection tables, with labels in the column `label`."""

    def parse(reading: Reading, text: str) -> None:
        lines = text.split("\n")
        header = [name.strip() for name in lines[0].split("\t")]
        for name in ("Begin Time (s)", "End Time (s)", *([label] if label else [])):
            if name not in header:
                raise AnnotationError(
                    f"{reading.source} is no Raven selection table with a column {name!r}: its "
                    f"columns are {', '.join(name for name in header if name) or 'none'}."
                )
        named = label or next((one for one in _RAVEN_LABELS if one in header), None)
        seen: dict[tuple[str | None, ...], int] = {}
        told = untold = False  # whether rows say which file they are of
        for number, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            # A row may be shorter than the header, or longer; an empty cell holds nothing.
            fields = zip(header, line.split("\t"), strict=False)
            row = {name: value for name, field in fields if (value := field.strip())}
            file = row.get("Begin Path") or row.get("Begin File")
            told, untold = told or file is not None, untold or file is None
            _selection(reading, number, line, row, file, row.get(named or ""), seen)
        if told and not untold:  # the table's own name is of no recording
            reading.reference = ""

    return parse


def _selection(
    reading: Reading,
    line: int,
    text: str,
    row: Mapping[str, str],
    file: str | None,
    label: str | None,
    seen: dict[tuple[str | None, ...], int],
) -> None:
    """Add a row of a selection table; a further view of a selection only completes it."""
    begin, end = row.get("Begin Time (s)"), row.get("End Time (s)")
    times: tuple[Any, Any] = (begin, end)
    if offset := row.get("File Offset (s)"):  # times count from the first of several files
        try:
            times = (float(offset), float(offset) + float(end or "") - float(begin or ""))
        except ValueError:
            times = (None, None)
    band = (row.get("Low Freq (Hz)"), row.get("High Freq (Hz)"))
    key = (row.get("Selection"), file, begin, end)
    if row.get("Selection") and key in seen:
        if "spectrogram" in row.get("View", "").lower():  # a waveform's band is all there is
            reading.columns["low_hz"][seen[key]] = _hz(band[0])
            reading.columns["high_hz"][seen[key]] = _hz(band[1])
        return
    if reading.event(line, text, times, label, band, file=file):
        seen[key] = len(reading.columns["line"]) - 1


def separated(names: Mapping[str, str | None], delimiter: str) -> Callable[[Reading, str], None]:
    """Return the reader of a table with a header; `names` are its names for `COLUMNS`."""

    def parse(reading: Reading, text: str) -> None:
        rows = _rows(text, delimiter)
        _, first = next(rows, (1, []))
        header = [name.strip() for name in ([first] if isinstance(first, str) else first)]
        found = chosen(names, header, reading.source)
        place = {name: header.index(column) for name, column in found.items()}
        needed = max(place[name] for name in _NEEDED if name in place)
        for line, fields in rows:
            if isinstance(fields, str):
                reading.bad(line, fields, "a quote is not closed, or not at an end of its value")
                continue
            raw = delimiter.join(fields)
            if len(fields) <= needed or any(map(str.strip, fields[len(header) :])):
                reading.bad(line, raw, f"{len(fields)} values for {len(header)} columns")
                continue
            row = {
                name: value
                for name, at in place.items()
                if at < len(fields) and (value := fields[at].strip())
            }
            times = (row.get("start_s"), row.get("end_s")) if "start_s" in place else (0, math.inf)
            if "file" not in row:
                reading.bad(line, raw, "it names no file")
                continue
            band = row.get("low_hz"), row.get("high_hz")
            reading.event(line, raw, times, row.get("label"), band, row.get("quality"), row["file"])

    return parse


def parquet(source: str | os.PathLike[str]) -> pa.Table:
    """Return the table in a Parquet file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    AnnotationError
        It is no Parquet file.
    """
    import pyarrow.parquet as pq

    what = f"The labels {os.fspath(source)!r} cannot be read"
    with arrow_errors_explained(
        what, "Give a Parquet file with a row for each event.", AnnotationError
    ):
        return pq.read_table(source)


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of the line where each row begins, and its fields: a line where it has none.

    A quote that is not closed costs its own line, not all that follow.
    """
    lines = io.StringIO(text).readlines()  # str.splitlines knows ends that a value may hold
    begin = 0
    while begin < len(lines):
        rows = csv.reader(lines[begin:], delimiter=delimiter, strict=True)
        read = 0
        try:
            for fields in rows:
                if any(field.strip() for field in fields):
                    yield begin + read + 1, fields
                read = rows.line_num
            begin = len(lines)
        except csv.Error:
            yield begin + read + 1, lines[begin + read].rstrip("\n")
            begin += read + 1
