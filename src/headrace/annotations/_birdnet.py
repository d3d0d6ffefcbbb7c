"""Tables of BirdNET: those of BirdNET-Analyzer, and of the package birdnet.

The columns are those that BirdNET-Analyzer 2.4 and birdnet 1.3 write: Analyzer's Raven selection
tables (``X.BirdNET.selection.table.txt``), CSV (``X.BirdNET.results.csv``), Kaleidoscope's CSV, and
Audacity labels with a score; the combined tables of each; and birdnet's CSV, whose times are
``00:00:03.00``.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING, Final, Literal

from headrace._formatting import brief_list
from headrace.annotations._files import beside, split_rows, unquote
from headrace.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headrace.annotations._files import ParsedLabels

__all__ = ["Names", "birdnet_parser"]

Names = Literal["common", "scientific", "both"]

_COLUMNS: Final = {
    "start": ("begin time (s)", "start (s)", "start_time", "offset", "start"),
    "end": ("end time (s)", "end (s)", "end_time", "end"),
    "duration": ("duration",),
    "scientific": ("scientific name", "scientific_name"),
    "common": ("common name", "common_name"),
    "both": ("species_name",),
    "score": ("confidence",),
    "file": ("begin path", "file", "input", "filepath", "begin file"),
    "offset": ("file offset (s)",),
    "low_hz": ("low freq (hz)",),
    "high_hz": ("high freq (hz)",),
    "folder_of_folder": ("indir",),
    "folder": ("folder",),
    "name": ("in file",),
}
"""What the columns are called, in lower case."""

_OWN_FILES: Final = ("file splitting duration",)
"""What other files that BirdNET-Analyzer puts beside its tables begin with, in lower case."""

_NO_CALL: Final = "nocall"
"""What stands in a selection table of a recording without detections."""

_HOURS: Final = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_AUDACITY: Final = ("start", "end", "both", "score")
_AUDACITY_LINE: Final = re.compile(r"[\d.]+\t[\d.]+\t[^\t]*\t[\d.]+")

_Row = dict[str, str]


def birdnet_parser(names: Names) -> Callable[[ParsedLabels, str], None]:
    """Return a parser of BirdNET's tables; it leaves out what was added before from another table.

    Parameters
    ----------
    names : {"common", "scientific", "both"}
        Which names of species become labels.
    """
    seen: set[tuple[object, ...]] = set()
    named: dict[str, str] = {}  # the recording of tables with this name, as one of them gives it

    def parse(labels: ParsedLabels, text: str) -> None:
        if text.lower().startswith(_OWN_FILES):
            labels.default_file = ""
            return
        has_files, file = True, None
        found = cache(partial(beside, labels.source))  # a table may have thousands of rows
        own_name = labels.default_file
        labels.default_file = named.get(own_name, own_name)
        for line, raw, row in _rows(labels, text, names):
            file = _file(row)
            has_files &= file is not None
            file = labels.default_file if file is None else found(file)
            label = _label(row, names)
            if label == _NO_CALL:
                labels.files[file] = None
                continue
            times = _times(row)
            key = (file, *times, label)
            if key in seen:
                continue
            seen.add(key)
            band = row.get("low_hz"), row.get("high_hz")
            labels.add_event(line, raw, times, label, band, None, file, row.get("score"))
        if file is not None and has_files:  # the table's name is not a recording's
            named[own_name] = file
            labels.default_file = ""

    return parse


def _rows(labels: ParsedLabels, text: str, names: Names) -> Iterator[tuple[int, str, _Row]]:
    """Yield number, text and values of each row.

    Raises
    ------
    AnnotationError
        This is no table of BirdNET, or it does not have these names.
    """
    first = text.partition("\n")[0]
    if _AUDACITY_LINE.fullmatch(first) or not text.strip():
        yield from _audacity_rows(labels, text)
        return
    delimiter = "\t" if "\t" in first else ","
    header = [unquote(name).lower() for name in first.split(delimiter)]
    index = {
        name: header.index(column)
        for name, columns in _COLUMNS.items()
        for column in reversed(columns)
        if column in header
    }
    _check_header(labels, header, index, names)
    last = len(header) - 1
    for number, found in split_rows(text, delimiter):
        if number == 1:
            continue
        if isinstance(found, str):
            labels.skip_line(number, found, "a quote is not closed, or not at an end of a value")
            continue
        fields, raw = found, delimiter.join(found)
        if len(fields) > len(header) and header[last] == "file":
            # BirdNET-Analyzer writes the path, which is the last column, without quotes.
            fields = [*fields[:last], delimiter.join(fields[last:])]
        if len(fields) == len(header):
            yield number, raw, {name: unquote(fields[place]) for name, place in index.items()}
        else:
            labels.skip_line(number, raw, f"{len(fields)} values for {len(header)} columns")


def _audacity_rows(labels: ParsedLabels, text: str) -> Iterator[tuple[int, str, _Row]]:
    """Yield the rows of BirdNET's Audacity labels, which have a score as their last value."""
    for number, line in enumerate(text.split("\n"), 1):
        fields = line.split("\t")
        if len(fields) == len(_AUDACITY):
            row = dict(zip(_AUDACITY, fields, strict=True))
            yield number, line, row | {"both": row["both"].replace(", ", "_", 1)}
        elif line.strip():
            labels.skip_line(number, line, "not start, end, label and score")


def _check_header(
    labels: ParsedLabels, header: list[str], index: dict[str, int], names: Names
) -> None:
    has = f"{labels.source} has the columns {brief_list(header)}"
    needed = ("start", "score")
    if any(name not in index for name in needed) or not index.keys() & {"end", "duration"}:
        raise AnnotationError(
            f"{has}, which are not those of a table of BirdNET: give its results, and read other "
            "tables with read_raven or read_csv."
        )
    if (
        "both" not in index
        and names not in index
        and not (names == "both" and {"scientific", "common"} <= index.keys())
    ):
        known = [name for name in ("common", "scientific") if name in index]
        raise AnnotationError(
            f"{has}, and no {names} names: give names={(known or ['common'])[0]!r}, or BirdNET's "
            "results as CSV, which have all names."
        )


def _label(row: _Row, names: Names) -> str | None:
    if "both" in row:
        scientific, _, common = row["both"].partition("_")
        common = common or scientific
    else:
        scientific, common = row.get("scientific", ""), row.get("common", "")
    if _NO_CALL in (scientific, common):
        return _NO_CALL
    if names == "both":
        return f"{scientific}_{common}"
    return (scientific if names == "scientific" else common) or None


def _file(row: _Row) -> str | None:
    """Return the recording that a row is about, or None if it does not say."""
    if "name" in row:  # Kaleidoscope
        parts = (row.get(part, "") for part in ("folder_of_folder", "folder", "name"))
        return "/".join(part for part in parts if part)
    return row.get("file") or None


def _times(row: _Row) -> tuple[float | str, float | str]:
    """Return start and end in seconds; as they are, if they are no times."""
    start, end = _seconds(row["start"]), _seconds(row.get("end", ""))
    if isinstance(start, str):
        return start, end
    if "duration" in row:
        duration = _seconds(row["duration"])
        return start, duration if isinstance(duration, str) else start + duration
    offset = _seconds(row.get("offset", ""))
    if isinstance(offset, float) and isinstance(end, float):
        return offset, end - (start - offset)  # begin counts from the first of several files
    return start, end


def _seconds(text: str) -> float | str:
    if match := _HOURS.fullmatch(text):
        return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    try:
        return float(text)
    except ValueError:
        return text
