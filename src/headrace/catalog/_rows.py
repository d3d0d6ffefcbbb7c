"""One row of a catalog, as a function that the user wrote sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from headrace.catalog._table import BUILT_IN
from headrace.codecs import Recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

__all__ = ["AT_ONCE", "Row", "each_recording", "each_row"]

AT_ONCE: Final = 8192
"""Rows that are Python objects at any one time."""


@dataclass(frozen=True, slots=True)
class Row(Recording):
    """A `Recording` together with the catalog's further columns.

    ``row.frames`` and ``row["frames"]`` are a built-in column, ``row["site"]`` is a further one.

    Attributes
    ----------
    further : mapping
        Column name to value.
    """

    further: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  whatever the user put there
        if name in BUILT_IN:
            return getattr(self, name)
        if name not in self.further:
            raise KeyError(f"There is no column {name!r}: there are {[*BUILT_IN, *self.further]}.")
        return self.further[name]


def each_recording(table: pa.Table) -> Iterator[Recording]:
    """Yield the rows of a catalog's table without its further columns."""
    for batch in table.select(list(BUILT_IN)).to_batches(AT_ONCE):
        yield from map(Recording, *(column.to_pylist() for column in batch.columns))


def each_row(table: pa.Table) -> Iterator[Row]:
    """Yield the rows of a catalog's table."""
    further = table.column_names[len(BUILT_IN) :]
    for batch in table.to_batches(AT_ONCE):
        lists = [column.to_pylist() for column in batch.columns]
        extra = lists[len(BUILT_IN) :]
        for place, values in enumerate(zip(*lists[: len(BUILT_IN)], strict=True)):
            yield Row(
                *values,
                further={name: one[place] for name, one in zip(further, extra, strict=True)},
            )
