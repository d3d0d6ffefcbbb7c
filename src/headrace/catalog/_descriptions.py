"""What is there, in a sentence: in a folder, in a catalog, among failures."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import format_count
from headrace.catalog._table import BUILT_IN
from headrace.errors import NoRecordingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from headrace.failures import Failure

__all__ = [
    "check_any_usable",
    "count_partly_usable",
    "damaged_files",
    "describe_contents",
    "describe_damage",
    "describe_failures",
    "describe_folder_tree",
    "list_folder",
]

_LOOKED_AT: Final = 10_000  # names: a fraction of a second on a local disk
_SHOWN: Final = 5  # names
_TOLD: Final = 3  # rates, formats, failures


def list_folder(folder: Path) -> str:
    """Return the first names in `folder`."""
    try:
        names = sorted(_quoted(path) for path in folder.iterdir() if path.name[0] != ".")
    except OSError as error:
        return f"what cannot be seen ({error.strerror})"
    if not names:
        return "nothing that is not hidden"
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def describe_folder_tree(folder: str) -> str:
    """Return how many files of which kinds are below `folder`, and some of them."""
    kinds: Counter[str] = Counter()
    examples: list[str] = []
    hidden = 0
    for where, folders, files in os.walk(folder):
        hidden += sum(name.startswith(".") for name in (*files, *folders))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            kinds[name[name.rfind(".") :].lower() if "." in name else "without extension"] += 1
            if len(examples) < _SHOWN:
                examples.append(repr(Path(where, name).relative_to(folder).as_posix()))
        if kinds.total() >= _LOOKED_AT:
            break
    aside = f" Hidden names, of which there are {hidden}, are left out." if hidden else ""
    if not kinds:
        return f"Below {folder!r} there are no files.{aside}"
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_SHOWN))
    least = "at least " if kinds.total() >= _LOOKED_AT else ""
    return f"Below {folder!r} there are {least}{counts}: {', '.join(examples)}.{aside}"


def _quoted(path: Path) -> str:
    return repr(f"{path.name}/" if path.is_dir() else path.name)


def describe_contents(table: pa.Table, failures: Sequence[Failure]) -> str:
    """Return how many recordings a catalog's table has, of what kinds."""
    seconds = float(np.sum(table["frames"].to_numpy() / table["sample_rate"].to_numpy()))
    parts = [f"{len(table):,} recordings", f"{seconds / 3600:,.3g} h"]
    if len(table):
        for columns, words in ((["sample_rate"], "{:,} Hz"), (["format", "subtype"], "{} {}")):
            groups = table.group_by(columns).aggregate([([], "count_all")]).to_pylist()
            kinds = [
                (words.format(*(group[name] for name in columns)), group["count_all"])
                for group in groups
            ]
            parts.append(_most_common(Counter(dict(kinds))))
    files = len(damaged_files(failures))
    of = "" if files == len(failures) else f" in {format_count(files, 'damaged file')}"
    parts.append(f"{len(failures):,} failures{of}")
    further = table.column_names[len(BUILT_IN) :]
    if further:
        parts.append(f"columns {', '.join(further)}")
    return "; ".join(parts)


def describe_damage(failures: Sequence[Failure], table: pa.Table) -> str:
    """Return how many files of a scan are damaged, and where to look; `table` has the usable."""
    codes = Counter(str(failure.code) for failure in failures)
    kinds = ", ".join(f"{count:,} {code}" for code, count in sorted(codes.items()))
    files = len(damaged_files(failures))
    partly = count_partly_usable(failures, table)
    what = (
        f"are damaged ({kinds}), {partly:,} of them are used as far as they go"
        if partly
        else f"cannot be used ({kinds})"
    )
    return (
        f"{files:,} of {files - partly + len(table):,} files {what}, "
        f"first: {describe_failures(failures[:1])}; see catalog.failures"
    )


def damaged_files(failures: Iterable[Failure]) -> set[str]:
    """Return the ids of the files that failures are about, of which one may have several."""
    return {failure.file_id for failure in failures}


def count_partly_usable(failures: Sequence[Failure], table: pa.Table) -> int:
    """Return how many damaged files are in a catalog's table all the same."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = pa.array(sorted(damaged_files(failures)), pa.string())
    return int(pc.sum(pc.is_in(table["id"], value_set=ids)).as_py() or 0)


def check_any_usable(table: pa.Table, failures: Sequence[Failure]) -> None:
    """Raise `NoRecordingsError` where a scan found nothing that can be used."""
    if not len(table):
        files = len(damaged_files(failures))
        error = NoRecordingsError(
            f"None of the {files} files that match can be used: {describe_failures(failures)}."
        )
        error.failures = tuple(failures)
        raise error


def describe_failures(failures: Sequence[Failure]) -> str:
    """Return the first failures, by id, and how many more there are."""
    first = [f"{one.file_id}: {one.message} [{one.code}]" for one in failures[:_TOLD]]
    more = len(failures) - _TOLD
    return "; ".join(first) + (f"; and {more:,} more" if more > 0 else "")


def _most_common(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    most = [f"{value} ({count:,})" for value, count in counts.most_common(_TOLD)]
    return ", ".join(most) + (", …" if len(counts) > _TOLD else "")
