"""Arguments checked, with a sentence that names what is wrong."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex, TypeVar

__all__ = ["number"]

T = TypeVar("T")


def number(name: str, value: int | T, least: int, automatic: T) -> int | T:
    """Return `value` as a whole number, or `automatic`, which stands for choosing one."""
    if type(value) is type(automatic) and value == automatic:
        return automatic
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        number = index(value)
        if number >= least:
            return number
    raise ValueError(
        f"{name} must be a whole number from {least} up, or {automatic!r}, not {value!r}."
    )
