"""Write events as files for other programs: Raven, Audacity, BirdNET-Analyzer, CSV, Parquet.

Names of files follow the recordings' ids. They are checked before the first file is written; each
file appears under its name only when it is complete.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import unicodedata
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace._paths import join
from headrace._validation import check_output_file
from headrace.storage import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

__all__ = [
    "check_new_file",
    "file_names",
    "write_audacity",
    "write_birdnet",
    "write_csv",
    "write_parquet",
    "write_raven",
]

_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices."""

_UNSAFE: Final = re.compile(r'[<>:"\\|?*\x00-\x1f\x7f]')
"""Characters that the file systems of Windows do not allow, and control characters."""

_MOST_BYTES: Final = 255
"""Of a file's name, on nearly all file systems."""

_BIRDNET: Final = (
    "Start (s)",
    "End (s)",
    "Scientific name",
    "Common name",
    "Confidence",
    "File",
)
"""Columns of BirdNET-Analyzer 2.4.0's CSV files."""

_OVERWRITE: Final = "replace it with overwrite=True (--overwrite on the command line)"

_Row = dict[str, Any]


def file_names(ids: Sequence[str], ending: str) -> list[str]:
    """Return a relative path for each recording: its id and `ending`, if that is safe.

    What is not allowed in names of files somewhere is replaced, and too long names are cut. A name
    that was changed, or that differs from another's only in case or Unicode normalisation, is made
    unique by a hash of the id. No name leads out of the folder.
    """
    names = [_safe_path(id_, ending) for id_ in ids]
    count: dict[str, int] = {}
    for name in names:
        key = _folded(name)
        count[key] = count.get(key, 0) + 1
    return [
        name + ending
        if name == id_ and count[_folded(name)] == 1
        else _with_hash(name, id_, ending)
        for name, id_ in zip(names, ids, strict=True)
    ]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _safe_path(id_: str, ending: str) -> str:
    parts = [part for part in id_.split("/") if part not in ("", ".")]
    safe = [_safe_part(part) for part in parts] or ["_"]
    safe[-1] = _cut(safe[-1], _MOST_BYTES - len(ending.encode()))
    return "/".join(safe)


def _safe_part(part: str) -> str:
    name = _UNSAFE.sub("_", part).encode("utf-8", "replace").decode()
    name = name.rstrip(". ") or "_"  # Windows drops these at the end
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    return _cut(name, _MOST_BYTES)


def _cut(name: str, most: int) -> str:
    return name.encode()[:most].decode("utf-8", "ignore")


def _with_hash(name: str, id_: str, ending: str) -> str:
    mark = "~" + hashlib.sha256(id_.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    folder, slash, last = name.rpartition("/")
    return folder + slash + _cut(last, _MOST_BYTES - len((mark + ending).encode())) + mark + ending


def write_raven(
    table: pa.Table,
    ids: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None,
    band_hz: tuple[float, float] | None,
    overwrite: bool,
) -> list[Path]:
    """Write the files of `Detections.to_raven` and `Annotations.to_raven`."""
    has_bands = band_hz is not None or any(
        table[name].null_count < len(table) for name in ("low_hz", "high_hz")
    )
    band = ("Low Freq (Hz)", "High Freq (Hz)") if has_bands else ()
    low, high = band_hz or (None, None)
    names = set(table.column_names)
    has_quality = "quality" in names and table["quality"].null_count < len(table)
    quality = ("Quality",) if has_quality else ()
    header = (
        "Selection",
        "View",
        "Channel",
        "Begin Time (s)",
        "End Time (s)",
        *band,
        "Begin Path",
        "File Offset (s)",
        "Annotation",
        "Score",
        *quality,
    )
    folder_of_audio = None if root is None else os.fspath(root)

    def text(id_: str, rows: list[_Row]) -> str:
        path = _one_line(id_ if folder_of_audio is None else join(folder_of_audio, id_))
        lines = ["\t".join(header)]
        for number, row in enumerate(rows, 1):
            limits = [
                _number(default if row[name] is None else row[name])
                for name, default in (("low_hz", low), ("high_hz", high))
            ]
            fields = [
                str(number),
                "Spectrogram 1",
                str((row["channel"] or 0) + 1),
                _number(row["start_s"]),
                _number(row["end_s"]),
                *(limits if band else ()),
                path,
                _number(row["start_s"]),
                _quoted(_one_line(row["label"] or "")),
                _score(row["score"]),
                *([_quoted(_one_line(row["quality"] or ""))] if quality else []),
            ]
            lines.append("\t".join(fields))
        return "\n".join(lines) + "\n"

    return _write_folder(table, ids, folder, ".selections.txt", text, overwrite=overwrite)


def write_audacity(
    table: pa.Table, ids: Sequence[str], folder: str | os.PathLike[str], *, overwrite: bool
) -> list[Path]:
    """Write the files of `Detections.to_audacity` and `Annotations.to_audacity`."""

    def text(_: str, rows: list[_Row]) -> str:
        lines = []
        for row in rows:
            times = f"{_number(row['start_s'])}\t{_number(row['end_s'])}"
            lines.append(f"{times}\t{_quoted(_one_line(row['label'] or ''))}\n")
            band = row["low_hz"], row["high_hz"]
            if band != (None, None):  # Audacity writes -1 for a limit that is not set
                limits = ("-1" if hz is None else _number(hz) for hz in band)
                lines.append("\\\t" + "\t".join(limits) + "\n")
        return "".join(lines)

    return _write_folder(table, ids, folder, ".txt", text, overwrite=overwrite)


def write_birdnet(
    table: pa.Table, ids: Sequence[str], file: str | os.PathLike[str], *, overwrite: bool
) -> list[Path]:
    """Write the files of `Detections.to_birdnet_csv`."""

    def text(_: str, rows: list[_Row]) -> str:
        sink = io.StringIO()
        writer = csv.writer(sink, lineterminator="\n")
        writer.writerow(_BIRDNET)
        for row in rows:
            scientific, _, common = (row["label"] or "").partition("_")
            times = _number(row["start_s"]), _number(row["end_s"])
            names = scientific, common or scientific
            writer.writerow((*times, *names, _score(row["score"]), row["id"]))
        return sink.getvalue()

    if Path(file).suffix.lower() == ".csv":
        _write_one(file, text("", table.to_pylist()), overwrite=overwrite)
        return [Path(file)]
    return _write_folder(table, ids, file, ".BirdNET.results.csv", text, overwrite=overwrite)


def write_csv(table: pa.Table, file: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write the file of `Detections.to_csv` and `Annotations.to_csv`."""
    from pyarrow import csv as arrow_csv

    with _new_file(file, overwrite=overwrite) as temporary:
        options = arrow_csv.WriteOptions(quoting_style="needed")
        arrow_csv.write_csv(table, temporary, options)


def write_parquet(table: pa.Table, file: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Write the file of `Detections.to_parquet` and `Annotations.to_parquet`."""
    from pyarrow import parquet

    with _new_file(file, overwrite=overwrite) as temporary:
        parquet.write_table(table, temporary, compression="zstd")


def _write_folder(
    table: pa.Table,
    ids: Sequence[str],
    folder: str | os.PathLike[str],
    ending: str,
    text: Callable[[str, list[_Row]], str],
    *,
    overwrite: bool,
) -> list[Path]:
    """Write a file for each recording: what `text` returns for its id and its events."""
    _check_local(folder)
    base = Path(folder)
    if base.exists() and not base.is_dir():
        raise NotADirectoryError(f"{os.fspath(folder)!r} is a file: give a folder to write to.")
    files = [base / name for name in file_names(ids, ending)]
    if not overwrite and (existing := [file for file in files if file.exists()]):
        raise FileExistsError(
            f"{str(existing[0])!r} exists, and {len(existing) - 1} more of the files to write: "
            f"choose another folder, or {_OVERWRITE}."
        )
    for file, (id_, rows) in zip(files, _by_recording(table, ids), strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_one(file, text(id_, rows), overwrite=overwrite)
    return files


def _by_recording(table: pa.Table, ids: Sequence[str]) -> Iterator[tuple[str, list[_Row]]]:
    """Yield each recording's id and its events, in the order of `ids`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pc.index_in(table["id"], value_set=pa.array(ids, pa.string())).to_numpy()
    order = np.argsort(numbers, kind="stable")
    edges = np.searchsorted(numbers[order], np.arange(len(ids) + 1))
    rows = table.take(pa.array(order))
    for index, id_ in enumerate(ids):
        start, stop = int(edges[index]), int(edges[index + 1])
        yield id_, rows.slice(start, stop - start).to_pylist()


def _write_one(file: str | os.PathLike[str], text: str, *, overwrite: bool) -> None:
    with _new_file(file, overwrite=overwrite) as temporary:
        temporary.write_bytes(text.encode("utf-8", "surrogatepass"))


def check_new_file(file: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Check, before the work whose result is to be written there, that a file may be written.

    Raises
    ------
    FileExistsError
        It exists, and is not to be replaced.
    OSError
        It is a folder, its folder does not exist, or it is not writable.
    ValueError
        It is a URL.
    """
    _check_local(file)
    check_output_file(file)
    if Path(file).exists() and not overwrite:
        raise FileExistsError(f"{os.fspath(file)!r} exists: choose another name, or {_OVERWRITE}.")


def _check_local(path: str | os.PathLike[str]) -> None:
    if is_url(os.fspath(path)):
        raise ValueError(
            f"{os.fspath(path)!r} is a URL: exports are written to this machine. Copy them there "
            "afterwards."
        )


@contextmanager
def _new_file(file: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary path in the same folder, which gets its name when the block is done."""
    check_new_file(file, overwrite=overwrite)
    target = Path(os.path.realpath(file))
    temporary = target.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        temporary.replace(target)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _number(value: float | None) -> str:
    """Return the shortest decimal text that is this float64, without an exponent."""
    return "" if value is None else np.format_float_positional(float(value), trim="0")


def _score(value: float | None) -> str:
    """Return the shortest decimal text that is this float32."""
    return "" if value is None else np.format_float_positional(np.float32(value), trim="0")


def _quoted(text: str) -> str:
    """Return `text` in quotes if it has quotes at both ends, which readers would take away."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return '"' + text.replace('"', '""') + '"'
    return text


def _one_line(text: str) -> str:
    """Return `text` without tabs and line breaks, which separate values in these formats."""
    return re.sub(r"[\t\r\n]", " ", text)
