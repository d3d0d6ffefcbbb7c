"""Every exception and warning that headrace raises on purpose.

::

    HeadraceError
    ├── AnnotationError      (ValueError)         labels cannot be read, or do not match recordings
    ├── CatalogError         (ValueError)         a table is not a catalog, or an id is not unique
    ├── ClosedError          (RuntimeError)       a loader is used after it was closed
    ├── InvalidWindowsError  (ValueError)         windows cannot be cut or combined as asked
    ├── MemoryBudgetError    (ValueError)         the memory budget is too small
    ├── ModelError           (RuntimeError)       a model given to `apply` fails
    ├── NoRecordingsError    (FileNotFoundError)  no file matches, or none can be read
    ├── ReadError            (OSError)            a window cannot be read
    ├── ResultsError         (ValueError)         results belong to another model or windows
    ├── StateError           (ValueError)         a saved state belongs to other windows
    ├── StoreError           (OSError)            an object store cannot be used
    ├── TooManyFailuresError (OSError)            more windows fail than `max_failures` allows
    └── TransformError       (RuntimeError)       a function given to `map` or `batch_map` fails

    HeadraceWarning          (UserWarning)        something was left out
    └── DamagedWarning                            a scan found damaged files

Each error also inherits the builtin exception in parentheses. Each message says what is wrong, with
the file or argument, and what to do next.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from headrace._formatting import escape_controls

if TYPE_CHECKING:
    from headrace.failures import Failure

__all__ = [
    "AnnotationError",
    "CatalogError",
    "ClosedError",
    "DamagedWarning",
    "HeadraceError",
    "HeadraceWarning",
    "InvalidWindowsError",
    "MemoryBudgetError",
    "ModelError",
    "NoRecordingsError",
    "ReadError",
    "ResultsError",
    "StateError",
    "StoreError",
    "TooManyFailuresError",
    "TransformError",
]


def _escape_lines(text: str) -> str:
    return "\n".join(map(escape_controls, text.split("\n")))


class HeadraceError(Exception):
    """Base of every exception that headrace raises on purpose.

    As text, it has no control characters: the names of files in a message may hold some.
    """

    def __str__(self) -> str:
        return _escape_lines(super().__str__())


class NoRecordingsError(HeadraceError, FileNotFoundError):
    """No file matches a pattern, or none of the files that match can be read.

    Attributes
    ----------
    failures : tuple of Failure
        What is wrong with the files that match.
    """

    failures: tuple[Failure, ...] = ()


class CatalogError(HeadraceError, ValueError):
    """A table or file is not a catalog, or two recordings have the same id."""


class AnnotationError(HeadraceError, ValueError):
    """Labels cannot be read, or cannot be matched to recordings."""


class InvalidWindowsError(HeadraceError, ValueError):
    """Windows cannot be cut, ordered, sharded or combined as asked."""


class MemoryBudgetError(HeadraceError, ValueError):
    """The memory budget is smaller than the smallest loader.

    Attributes
    ----------
    needed : int
        The smallest budget that suffices, in bytes.
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message, needed)
        self.needed = needed

    def __str__(self) -> str:
        return _escape_lines(str(self.args[0]))


class ReadError(HeadraceError, OSError):
    """A window cannot be read.

    Attributes
    ----------
    failure : Failure
        The file, the time span and the cause.
    advice : str
        How to go on, as a sentence; may be empty.
    """

    def __init__(self, failure: Failure, advice: str = "") -> None:
        super().__init__(failure)
        self.failure = failure
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.failure}. {self.advice}" if self.advice else str(self.failure)


class TooManyFailuresError(HeadraceError, OSError):
    """More windows fail than `max_failures` allows. The message names causes and files."""


class TransformError(HeadraceError, RuntimeError):
    """A function given to `Windows.map` or as ``batch_map`` raises, or returns a wrong value."""


class ModelError(HeadraceError, RuntimeError):
    """A model given to `Windows.apply` raises, or does not return a row for each window.

    Attributes
    ----------
    failures : tuple of Failure
        The windows of the batch on which it raised; empty if it returned a wrong value.
    """

    failures: tuple[Failure, ...] = ()


class ResultsError(HeadraceError, ValueError):
    """Results belong to another model or other windows, or cannot be used as asked."""


class StateError(HeadraceError, ValueError):
    """A saved state does not belong to this loader's windows."""


class StoreError(HeadraceError, OSError):
    """An object store cannot be used: no client, no permission to list, or a forked process."""


class ClosedError(HeadraceError, RuntimeError):
    """A loader, or an iteration over it, is used after it was closed."""


class HeadraceWarning(UserWarning):
    """Something was left out. Base of every warning that headrace gives on purpose."""

    def __str__(self) -> str:
        return _escape_lines(super().__str__())


class DamagedWarning(HeadraceWarning):
    """A scan found damaged files; `Catalog.failures` lists them."""


def renamed_windows_error() -> type[InvalidWindowsError]:
    """Return `InvalidWindowsError` for its old name, ``WindowsError``, which works until 0.3.

    The old name is that of a Python builtin on Windows. This is called by the module
    ``__getattr__`` of `headrace` and of this module, and nowhere else: the warning points at the
    line that uses the old name.

    Warns
    -----
    DeprecationWarning
        Always.
    """
    warnings.warn(
        "headrace.WindowsError was renamed: use headrace.InvalidWindowsError. The old name works "
        "until headrace 0.3.",
        DeprecationWarning,
        stacklevel=3,
    )
    return InvalidWindowsError


def __getattr__(name: str) -> object:
    if name == "WindowsError":
        return renamed_windows_error()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
