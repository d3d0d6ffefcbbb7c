"""Checks of arguments: each error says what is wrong with a value and what to write instead."""

from __future__ import annotations

import math
import os
import re
from contextlib import contextmanager
from numbers import Real
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Final, SupportsIndex, TypeVar

from headrace._formatting import brief
from headrace.errors import CatalogError, HeadraceError, InvalidWindowsError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = [
    "arrow_errors_explained",
    "check_choice",
    "check_count",
    "check_output_file",
    "check_stall_timeout",
    "check_whole_number",
    "parse_bytes",
]

T = TypeVar("T")

_BYTES_IN: Final = {
    "b": 1,
    "": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Check an argument that has a fixed list of values.

    Raises
    ------
    ValueError
        `value` is not one of `choices`.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {brief(value)}.")


def check_count(name: str, value: int | T, minimum: int, automatic: T) -> int | T:
    """Return a loader's argument: a whole number, or the value that leaves the choice to headrace.

    Parameters
    ----------
    name : str
        The argument's name.
    value : int or `automatic`
        The argument.
    minimum : int
        The smallest number allowed.
    automatic : object
        The only other value that is allowed, such as ``"auto"`` or None.

    Raises
    ------
    ValueError
        `value` is neither.
    """
    if type(value) is type(automatic) and value == automatic:
        return automatic
    number = _as_int(value)
    if number is not None and number >= minimum:
        return number
    raise ValueError(
        f"{name} must be a whole number from {minimum} up, or {automatic!r}, not {brief(value)}."
    )


def check_whole_number(name: str, value: object, minimum: int | None = None) -> int:
    """Return an argument that must be a whole number, as an int.

    Raises
    ------
    InvalidWindowsError
        `value` is not a whole number, or it is less than `minimum`.
    """
    number = _as_int(value)
    if number is not None and (minimum is None or number >= minimum):
        return number
    limit = "" if minimum is None else f" from {minimum} up"
    raise InvalidWindowsError(f"{name} must be a whole number{limit}, not {brief(value)}.")


def _as_int(value: object) -> int | None:
    """Return an integer of Python or NumPy as an int; None for anything else, such as a bool."""
    if not isinstance(value, SupportsIndex) or isinstance(value, bool):
        return None
    try:
        return index(value)
    except TypeError:  # arrays, and NumPy's bools in some versions
        return None


def check_stall_timeout(value: float | None, workers: int) -> float | None:
    """Return `stall_timeout_s` in seconds, or None for no timeout.

    Raises
    ------
    ValueError
        `value` is not a positive number, or there are no workers.
    """
    if value is None:
        return None
    if not workers:
        raise ValueError(
            "stall_timeout_s needs workers=1 or more: without workers, the calling thread reads "
            "and cannot stop waiting."
        )
    if isinstance(value, Real) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    raise ValueError(
        f"stall_timeout_s must be a positive number of seconds, or None, not {brief(value)}."
    )


def parse_bytes(memory: str | float, name: str = "memory") -> int:
    """Return the number of bytes in ``"1 GiB"``, ``"500MB"`` or ``1 << 30``.

    Raises
    ------
    ValueError
        The argument called `name` is not a positive number of bytes.
    """
    if isinstance(memory, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", memory)
        amount = float(match[1]) * _BYTES_IN.get(match[2].lower(), 0) if match else 0.0
    else:
        is_number = isinstance(memory, Real) and not isinstance(memory, bool)
        amount = float(memory) if is_number else 0.0
    if not 1 <= amount < 1 << 63:
        raise ValueError(
            f"{name}={brief(memory)} is not an amount of bytes: "
            'write "1 GiB", "500 MB", or a number of bytes.'
        )
    return int(amount)


def check_output_file(
    file: str | os.PathLike[str],
    *,
    endings: Collection[str] = (),
    error: type[HeadraceError] | None = None,
    permission: bool = True,
) -> None:
    """Check a path before the work whose result is to be written there.

    Parameters
    ----------
    file : str or path
        The file to write.
    endings : collection of str, optional
        Endings that the name may have, in lower case and with their dots. Default: any.
    error : type, optional
        Raised instead of `ValueError`, `IsADirectoryError` and `FileNotFoundError`.
    permission : bool
        Ask the operating system for permission too.

    Raises
    ------
    ValueError
        The name has another ending.
    IsADirectoryError
        `file` is a folder.
    FileNotFoundError
        The folder of `file` does not exist.
    PermissionError
        The file, or the folder that it would be created in, is not writable.
    """
    name, path = repr(os.fspath(file)), Path(file)
    if endings and path.suffix.lower() not in endings:
        raise (error or ValueError)(f"{name} must end in {' or '.join(endings)}.")
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if path.is_dir():
        raise (error or IsADirectoryError)(f"{name} is a folder: name a file in it.")
    if not path.parent.is_dir():
        raise (error or FileNotFoundError)(
            f"{name} cannot be written: there is no folder {str(path.parent)!r}; create it first."
        )
    if permission and not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{name} cannot be written: permission denied; choose another place.")


@contextmanager
def arrow_errors_explained(
    what: str, advice: str, kind: type[HeadraceError] = CatalogError
) -> Iterator[None]:
    """Replace an error that Arrow raises for a user's values: the message says what to do.

    Arrow's errors inherit builtin ones. Those that values can cause are replaced. A lack of memory,
    a disk error and headrace's own errors pass unchanged.

    Parameters
    ----------
    what : str
        The argument or column, and what it cannot be: "The column x cannot be seconds".
    advice : str
        What to do next, as a sentence.
    kind : type
        The exception to raise instead.
    """
    try:
        yield
    except HeadraceError:
        raise
    except (ValueError, TypeError, NotImplementedError, OverflowError, KeyError) as error:
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise kind(f"{what}: {why.rstrip('.')}. {advice}") from error
