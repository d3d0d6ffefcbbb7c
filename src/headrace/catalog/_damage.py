"""Damaged files: how many there are among the failures of a scan, and sentences about them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from headrace._formatting import escape_controls
from headrace.errors import NoRecordingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from headrace.failures import Failure

__all__ = [
    "check_any_usable",
    "count_partly_usable",
    "damaged_file_ids",
    "describe_codes",
    "describe_damage",
]

_MAX_SHOWN: Final = 3  # failures in a message


def damaged_file_ids(failures: Iterable[Failure]) -> set[str]:
    """Return the ids of the files that have failures; one file may have several failures."""
    return {failure.file_id for failure in failures}


def count_partly_usable(failures: Sequence[Failure], table: pa.Table) -> int:
    """Return how many damaged files are nevertheless in a catalog's table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = pa.array(sorted(damaged_file_ids(failures)), pa.string())
    return int(pc.sum(pc.is_in(table["id"], value_set=ids)).as_py() or 0)


def check_any_usable(table: pa.Table, failures: Sequence[Failure]) -> None:
    """Raise `NoRecordingsError` if a scan found no usable recording."""
    if not len(table):
        files = len(damaged_file_ids(failures))
        error = NoRecordingsError(
            f"None of the {files} files that match can be used: {_describe_first(failures)}."
            if failures
            else "There are no recordings: the tar holds no audio files."
        )
        error.failures = tuple(failures)
        raise error


def describe_codes(failures: Iterable[Failure]) -> str:
    """Return how often each code occurs, as ``"2 EMPTY, 1 TRUNCATED"``."""
    counts = Counter(str(failure.code) for failure in failures)
    return ", ".join(f"{count:,} {code}" for code, count in sorted(counts.items()))


def describe_damage(failures: Sequence[Failure], table: pa.Table) -> str:
    """Return a sentence about the damaged files of a scan whose usable files are in `table`."""
    codes = describe_codes(failures)
    files = len(damaged_file_ids(failures))
    partly = count_partly_usable(failures, table)
    what = (
        f"are damaged ({codes}), {partly:,} of them can be used in part"
        if partly
        else f"cannot be used ({codes})"
    )
    return (
        f"{files:,} of {files - partly + len(table):,} files {what}, "
        f"first: {_describe_first(failures[:1])}; see catalog.failures"
    )


def _describe_first(failures: Sequence[Failure]) -> str:
    """Return the first failures, and how many more there are."""
    first = [
        escape_controls(f"{one.file_id}: {one.message} [{one.code}]")
        for one in failures[:_MAX_SHOWN]
    ]
    more = len(failures) - _MAX_SHOWN
    return "; ".join(first) + (f"; and {more:,} more" if more > 0 else "")
