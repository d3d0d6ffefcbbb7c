"""Annotations as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace import Annotations

__all__ = ["event_rows"]


def event_rows(annotations: Annotations, *names: str) -> list[tuple[Any, ...]]:
    """Return the named columns of each event; by default file, start, end and label."""
    names = names or ("file", "start_s", "end_s", "label")
    columns = [annotations.to_arrow()[name].to_pylist() for name in names]
    return list(zip(*columns, strict=True))
