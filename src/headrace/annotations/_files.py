"""Parse label files of several formats into the rows of one table and a list of malformed lines.

A malformed line never affects its neighbours: it is skipped and reported with the reason, and the
file still counts as annotated. An empty table is an annotated recording without events.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
import re
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from headrace._formatting import brief, brief_list
from headrace._paths import join
from headrace._validation import arrow_errors_explained
from headrace.annotations._columns import COLUMNS, Malformed, find_columns
from headrace.catalog import find
from headrace.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pyarrow as pa

__all__ = [
    "ParsedLabels",
    "anuraset_parser",
    "beside",
    "csv_parser",
    "parse_audacity",
    "raven_parser",
    "read_label_files",
    "read_parquet_table",
    "split_rows",
    "unquote",
]

_ENDINGS: Final = re.compile(
    r"(\.Table\.\d+)?(\.selections)?"
    r"(\.BirdNET\.(selection\.table|results|results\.kaleidoscope|results\.r))?\.[^./]*$"
)
"""What Raven or BirdNET-Analyzer appends to a recording's name, or any one extension."""

_RAVEN_LABELS: Final = ("Annotation", "Species", "Label", "Common Name")
"""Columns to try if no label column is named. Raven has no fixed name; "Annotation" is the example
in its manual, "Species" is the most common in public data sets, and the last is BirdNET's."""

_RAVEN_SCORES: Final = ("Score", "Confidence")

_RAVEN_OWN: Final = frozenset(
    {
        "Selection",
        "View",
        "Channel",
        "Begin Time (s)",
        "End Time (s)",
        "Low Freq (Hz)",
        "High Freq (Hz)",
        "Begin Path",
        "Begin File",
        "File Offset (s)",
        "Quality",
        *_RAVEN_SCORES,
    }
)
"""Columns of selection tables that hold no labels."""

_NO_SCORES: Final = frozenset({"", "na", "nan", "n/a", "none", "null", "-"})
"""What tables have where a score is not known, in lower case."""

_ABSOLUTE: Final = re.compile(r"[/\\]|[A-Za-z]:[/\\]")
"""Paths of any system that begin at its root."""

_ANURASET_FIELDS: Final = 3  # start, end, label
_AUDACITY_FIELDS: Final = 2  # start and end; the label may be empty
_REQUIRED: Final = ("file", "start_s", "end_s", "label")
"""Columns that every row of a table must reach; rows may end before the others."""


@dataclass(eq=False)
class ParsedLabels:
    """The events and malformed lines of the label files that have been read so far.

    Attributes
    ----------
    columns : dict of str to list
        The values of `COLUMNS`.
    files : dict of str to None
        Every annotated file, in order, including files without events.
    malformed : list of Malformed
        Skipped lines.
    source : str
        The label file being read.
    default_file : str
        The recording that lines without a file of their own are about. A parser sets it to ``""``
        if every line has one.
    unlabelled : str
        A sentence on a table with events and without a column of labels; ``""`` if there is none.
    lost_scores : int
        Scores that are no numbers, such as ``0,85``; their events have none.
    lost_score : str
        The first of them, with its file and line.
    """

    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    files: dict[str, None] = field(default_factory=dict)
    malformed: list[Malformed] = field(default_factory=list)
    source: str = ""
    default_file: str = ""
    unlabelled: str = ""
    lost_scores: int = 0
    lost_score: str = ""

    def skip_line(self, line: int, text: str, message: str) -> None:
        """Skip a malformed line."""
        self.malformed.append(Malformed(self.source, line, text, message))

    def add_event(
        self,
        line: int,
        text: str,
        times: tuple[Any, Any],
        label: str | None,
        band: tuple[Any, Any] = (None, None),
        quality: str | None = None,
        file: str | None = None,
        score: str | None = None,
    ) -> bool:
        """Add an event, or skip the line if its times are invalid; return whether it was added."""
        try:
            start, end = float(times[0]), float(times[1])
        except (TypeError, ValueError):
            self.skip_line(line, text, "start and end are not two numbers")
            return False
        if not (0 <= start < math.inf and start <= end):
            self.skip_line(line, text, "not 0 <= start <= end")
            return False
        file = self.default_file if file is None else file
        self.files[file] = None
        low_hz, high_hz = map(_parse_hz, band)
        number = _parse_score(score)
        if number is None and score and score.strip().lower() not in _NO_SCORES:
            self.lost_scores += 1
            self.lost_score = self.lost_score or f"{brief(score)} in {self.source}, line {line}"
        values = (file, start, end, label, low_hz, high_hz, quality, number, self.source, line)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)
        return True


def _parse_hz(value: str | None) -> float | None:
    """Return a frequency in Hz, or None if the text is not one, such as Audacity's -1."""
    if value is None:
        return None
    try:
        hz = float(value)
    except ValueError:
        return None
    return hz if 0 <= hz < math.inf else None


def _parse_score(value: str | None) -> float | None:
    """Return a score, or None if the text is no number."""
    try:
        score = float(value or "")
    except ValueError:
        return None
    return None if math.isnan(score) else score


def read_label_files(
    files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    parse: Callable[[ParsedLabels, str], None],
    *extensions: str,
    named_like_recordings: bool = True,
) -> ParsedLabels:
    """Read label files one after the other.

    Parameters
    ----------
    files : str, path, or several
        Files, globs, or folders. A pattern that does not spell out an extension matches files with
        `extensions`.
    parse : function
        Adds the events in the text of one file to a `ParsedLabels`.
    *extensions : str
        In lower case, such as ``".txt"``.
    named_like_recordings : bool
        Whether each file is about the recording with its name: its path relative to the common
        folder of `files`, without extensions.

    Raises
    ------
    NoRecordingsError
        A pattern matches nothing.
    AnnotationError
        A file does not have this format at all.
    """
    found = find(files, extensions=frozenset(extensions))
    labels = ParsedLabels()
    for failure in found.failures:
        labels.source = failure.path
        labels.skip_line(0, "", failure.message)
    for name in found.ids:
        labels.source = join(found.root, name)
        labels.default_file = _ENDINGS.sub("", name)
        try:
            text = _read_text(Path(labels.source))
        except OSError as error:  # the recording does not count as annotated
            labels.skip_line(0, "", f"the file cannot be read: {error.strerror or error}")
            continue
        parse(labels, text)
        if named_like_recordings and labels.default_file:
            labels.files[labels.default_file] = None
    return labels


def _read_text(file: Path) -> str:
    """Return a file's text: UTF-8, UTF-16, or else the encoding of old Windows programs."""
    raw = file.read_bytes()
    try:
        text = raw.decode(_encoding(raw))
    except UnicodeDecodeError:
        text = raw.decode("cp1252", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(raw: bytes) -> str:
    """Return the encoding that a byte order mark names, or that zeros between letters show."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if raw[1:4:2] == b"\0\0":
        return "utf-16-le"
    if raw[0:4:2] == b"\0\0":
        return "utf-16-be"
    return "utf-8-sig"


def unquote(field: str) -> str:
    """Return a value without the quotes around it, which R and spreadsheets write."""
    field = field.strip()
    inner = field[1:-1]
    is_quoted = len(field) > 1 and field[0] == field[-1] == '"'
    if is_quoted and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"').strip()
    return field


def beside(source: str, reference: str) -> str:
    """Return the recording that a label file names, or one of its name beside the label file.

    A table that was made on another computer names a path there. If nothing is at that path here,
    a file with the same name in the folder of the table is meant.
    """
    name = reference.replace("\\", "/").rpartition("/")[2]
    # Not Path.exists: it raises if a folder is private, or a name too long.
    if not name or not _ABSOLUTE.match(reference) or os.path.exists(reference):  # noqa: PTH110
        return reference
    here = Path(source).parent / name
    return here.as_posix() if os.path.exists(here) else reference  # noqa: PTH110


def anuraset_parser(quality: str) -> Callable[[ParsedLabels, str], None]:
    """Return a parser of AnuraSet's strong labels: ``start end SPECIES_Q``, with Q in `quality`."""

    def parse(labels: ParsedLabels, text: str) -> None:
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            fields = [value.strip() for value in line.strip().split(None, _ANURASET_FIELDS - 1)]
            species, _, grade = fields[-1].rpartition("_")
            if len(fields) < _ANURASET_FIELDS or not species or grade not in ("L", "M", "H"):
                labels.skip_line(number, line, "not start, end and SPECIES_L, _M or _H")
            elif grade in quality:
                labels.add_event(number, line, (fields[0], fields[1]), species, quality=grade)
            else:  # left out, but invalid times are still reported
                unwanted = ParsedLabels(source=labels.source)
                unwanted.add_event(number, line, (fields[0], fields[1]), species)
                labels.malformed += unwanted.malformed

    return parse


def parse_audacity(labels: ParsedLabels, text: str) -> None:
    r"""Parse an Audacity label track: ``start end label``, then perhaps ``\ low high``."""
    # Whether the label line above was added; None if there is no label line above.
    last_added: bool | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        fields = line.split("\t")
        if fields[0].strip() == "\\":
            if last_added is None:
                labels.skip_line(number, line, "frequencies without a label before them")
            elif last_added:
                for name, value in zip(("low_hz", "high_hz"), fields[1:3], strict=False):
                    labels.columns[name][-1] = _parse_hz(value)
            last_added = None
            continue
        if len(fields) < _AUDACITY_FIELDS:
            labels.skip_line(number, line, "not start, end and label, separated by tabs")
            last_added = False
            continue
        label = unquote("\t".join(fields[2:])) or None
        last_added = labels.add_event(number, line, (fields[0], fields[1]), label)


def raven_parser(
    label: str | None, score: str | None = None
) -> Callable[[ParsedLabels, str], None]:
    """Return a parser of Raven's selection tables, with labels and scores in these columns."""

    def parse(labels: ParsedLabels, text: str) -> None:
        lines = text.split("\n")
        header = [unquote(name) for name in lines[0].split("\t")]
        named = [name for name in (label, score) if name]
        for name in ("Begin Time (s)", "End Time (s)", *named):
            if name not in header:
                raise AnnotationError(
                    f"{labels.source} is not a Raven selection table with a column {name!r}: its "
                    f"columns are {brief_list(name for name in header if name) or 'none'}. Give "
                    "Raven selection tables, and as label= and score= columns that all have."
                )
        label_column = label or next((name for name in _RAVEN_LABELS if name in header), "")
        score_column = score or next((name for name in _RAVEN_SCORES if name in header), "")
        event_rows: dict[tuple[str | None, ...], int] = {}
        found = cache(partial(beside, labels.source))  # a table may have thousands of rows
        rows_with_file = rows_without_file = 0
        for number, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            # A row may be shorter or longer than the header. Empty cells are left out.
            fields = zip(header, line.split("\t"), strict=False)
            row = {name: value for name, field in fields if (value := unquote(field))}
            file = row.get("Begin Path") or row.get("Begin File")
            file = found(file) if file else None
            rows_with_file += file is not None
            rows_without_file += file is None
            values = (row.get(label_column), row.get(score_column))
            _add_selection(labels, number, line, row, file, values, event_rows)
        if not label_column and (rows_with_file or rows_without_file):
            others = [name for name in header if name and name not in _RAVEN_OWN]
            labels.unlabelled = (
                f"{labels.source} has no column {', '.join(_RAVEN_LABELS)}, and its further "
                f"columns are {brief_list(others) or 'none'}: name that of the labels, such as "
                f"label={(others or ['Species'])[0]!r}."
            )
        if rows_with_file and not rows_without_file:  # the table's name is not a recording's
            labels.default_file = ""

    return parse


def _add_selection(
    labels: ParsedLabels,
    line: int,
    text: str,
    row: Mapping[str, str],
    file: str | None,
    values: tuple[str | None, str | None],
    event_rows: dict[tuple[str | None, ...], int],
) -> None:
    """Add a row of a selection table as an event, or as another view of an event before it.

    `values` are label and score. Raven writes a row for each view of a selection. `event_rows` maps
    selections to their events.
    """
    begin, end = row.get("Begin Time (s)"), row.get("End Time (s)")
    times: tuple[Any, Any] = (begin, end)
    if offset := row.get("File Offset (s)"):  # begin and end count from the first of several files
        try:
            skipped = float(begin or "") - float(offset)  # exactly 0 in a table of one file
            times = (float(offset), float(end or "") - skipped)
        except ValueError:
            times = (None, None)
    band = (row.get("Low Freq (Hz)"), row.get("High Freq (Hz)"))
    key = (row.get("Selection"), file, begin, end)
    if row.get("Selection") and key in event_rows:
        if "spectrogram" in row.get("View", "").lower():  # a waveform view has the full band
            labels.columns["low_hz"][event_rows[key]] = _parse_hz(band[0])
            labels.columns["high_hz"][event_rows[key]] = _parse_hz(band[1])
        return
    label, score = values
    if labels.add_event(line, text, times, label, band, row.get("Quality"), file, score):
        event_rows[key] = len(labels.columns["line"]) - 1


def csv_parser(
    names: Mapping[str, str | None], delimiter: str
) -> Callable[[ParsedLabels, str], None]:
    """Return a parser of tables with a header; `names` maps `COLUMNS` to the table's names."""

    def parse(labels: ParsedLabels, text: str) -> None:
        rows = split_rows(text, delimiter)
        _, first = next(rows, (1, []))
        header = [name.strip() for name in ([first] if isinstance(first, str) else first)]
        found = find_columns(names, header, labels.source)
        index = {name: header.index(column) for name, column in found.items()}
        last_required = max(index[name] for name in _REQUIRED if name in index)
        for line, fields in rows:
            if isinstance(fields, str):
                labels.skip_line(line, fields, "a quote is not closed, or not at an end of a value")
                continue
            raw = delimiter.join(fields)
            if len(fields) <= last_required or any(map(str.strip, fields[len(header) :])):
                labels.skip_line(line, raw, f"{len(fields)} values for {len(header)} columns")
                continue
            row = {
                name: value
                for name, position in index.items()
                if position < len(fields) and (value := fields[position].strip())
            }
            times = (row.get("start_s"), row.get("end_s")) if "start_s" in index else (0, math.inf)
            if "file" not in row:
                labels.skip_line(line, raw, "no file")
                continue
            if len(row) == 1 and "start_s" in index:  # nothing but a file: it has no events
                labels.files[row["file"]] = None
                continue
            band = row.get("low_hz"), row.get("high_hz")
            further = row.get("quality"), row["file"], row.get("score")
            labels.add_event(line, raw, times, row.get("label"), band, *further)

    return parse


def split_rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the line number of each row's first line, and its fields, or the line if malformed.

    A quote that is not closed makes only its own line malformed, and not the lines that follow.
    """
    lines = io.StringIO(text).readlines()  # str.splitlines also splits at characters in values
    start = 0
    while start < len(lines):
        rows = csv.reader(lines[start:], delimiter=delimiter, strict=True)
        lines_read = 0
        try:
            for fields in rows:
                if any(value.strip() for value in fields):
                    yield start + lines_read + 1, fields
                lines_read = rows.line_num
            start = len(lines)
        except csv.Error:
            yield start + lines_read + 1, lines[start + lines_read].rstrip("\n")
            start += lines_read + 1


def read_parquet_table(source: str | os.PathLike[str]) -> pa.Table:
    """Return the table in a Parquet file.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    AnnotationError
        The file is not a Parquet file.
    """
    import pyarrow.parquet as pq

    what = f"The labels {os.fspath(source)!r} cannot be read"
    with arrow_errors_explained(
        what, "Give a Parquet file with a row for each event.", AnnotationError
    ):
        return pq.read_table(source)
