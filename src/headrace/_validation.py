"""Arguments that users give, checked: one sentence says what is wrong with one."""

from __future__ import annotations

import math
from contextlib import contextmanager
from numbers import Real
from operator import index
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

import numpy as np

from headrace.errors import CatalogError, HeadraceError, InvalidWindowsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = [
    "arrow_errors_explained",
    "check_choice",
    "check_count",
    "check_stall_timeout",
    "check_whole_number",
]

T = TypeVar("T")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")


def check_count(name: str, value: int | T, least: int, automatic: T) -> int | T:
    """Return `value` as a whole number, or `automatic`, which stands for choosing one."""
    if type(value) is type(automatic) and value == automatic:
        return automatic
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        check_count = index(value)
        if check_count >= least:
            return check_count
    raise ValueError(
        f"{name} must be a whole number from {least} up, or {automatic!r}, not {value!r}."
    )


@contextmanager
def arrow_errors_explained(
    what: str, do: str, kind: type[HeadraceError] = CatalogError
) -> Iterator[None]:
    """Say in one sentence why Arrow will not have what a user gave.

    Arrow's exceptions are of these builtins, or are Python's own that it lets through.

    Parameters
    ----------
    what : str
        Names the argument or column, and what it cannot be: "The column x cannot be seconds".
    do : str
        What to do next, as a sentence.
    kind : type
        Of the exception that is raised instead.
    """
    try:
        yield
    except HeadraceError:
        raise
    except (ValueError, TypeError, NotImplementedError, OverflowError, KeyError) as error:
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise kind(f"{what}: {why.rstrip('.')}. {do}") from error


def check_stall_timeout(value: float | None, workers: int) -> float | None:
    """Return `value` as seconds, None standing for never."""
    if value is None:
        return None
    if not workers:
        raise ValueError("stall_timeout_s needs workers=1 or more: they can be left.")
    if isinstance(value, Real) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise ValueError(
        f"stall_timeout_s must be a positive number of seconds, or None, not {value!r}."
    )


def check_whole_number(name: str, value: Any, least: int | None = None) -> int:  # noqa: ANN401
    """Return `value` as an int.

    Raises
    ------
    InvalidWindowsError
        It is no whole number, or less than `least`.
    """
    if isinstance(value, SupportsIndex) and not isinstance(value, bool | np.bool_):
        check_count = index(value)
        if least is None or check_count >= least:
            return check_count
    since = "" if least is None else f" from {least} up"
    raise InvalidWindowsError(f"{name} must be a whole number{since}, not {value!r}.")
