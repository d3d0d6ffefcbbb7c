"""Every exception headrace raises on purpose.

::

    HeadraceError
    ├── NoRecordingsError  (FileNotFoundError)  a pattern matched nothing, or nothing readable
    ├── CatalogError       (ValueError)         a table that is no catalog; an id that is not unique
    ├── AnnotationError    (ValueError)         labels that cannot be read, or matched to recordings
    ├── WindowsError       (ValueError)         windows that cannot be cut; views in a wrong order
    ├── MemoryBudgetError  (ValueError)         a budget that the smallest loader does not fit into
    ├── ReadError          (OSError)            a window that could not be read
    ├── TooManyFailuresError (OSError)          more windows lost than max_failures allows
    ├── TransformError     (RuntimeError)       a function given to map or batch_map went wrong
    ├── StateError         (ValueError)         a state that belongs to other windows
    └── ClosedError        (RuntimeError)       a loader used after its end

    HeadraceWarning        (UserWarning)        something was left out, and you should know
    └── DamagedWarning                          files that a scan found are damaged

Each message names the file or argument and says what to do next.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

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
    "NoRecordingsError",
    "ReadError",
    "StateError",
    "TooManyFailuresError",
    "TransformError",
]


class HeadraceError(Exception):
    """Base of every exception that headrace raises on purpose."""


class NoRecordingsError(HeadraceError, FileNotFoundError):
    """A pattern matched no file, or no file that could be read.

    Attributes
    ----------
    failures : tuple of Failure
        What is wrong with the files that it matched.
    """

    failures: tuple[Failure, ...] = ()


class CatalogError(HeadraceError, ValueError):
    """A table is not a catalog, or two recordings have the same id."""


class AnnotationError(HeadraceError, ValueError):
    """Labels that cannot be read, or cannot be matched to the recordings they are about."""


class InvalidWindowsError(HeadraceError, ValueError):
    """Windows that cannot be cut from these recordings, or views built in a refused order."""


class MemoryBudgetError(HeadraceError, ValueError):
    """The memory budget is smaller than the smallest loader.

    Attributes
    ----------
    needed : int
        The smallest budget, in bytes, that would do.
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message, needed)
        self.needed = needed

    def __str__(self) -> str:
        return str(self.args[0])


class ReadError(HeadraceError, OSError):
    """A window could not be read.

    Attributes
    ----------
    failure : Failure
        The file, the span, and the cause.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        return str(self.failure)


class TooManyFailuresError(HeadraceError, OSError):
    """More windows could not be read than `max_failures` allows; says which causes and files."""


class TransformError(HeadraceError, RuntimeError):
    """A function given to `Windows.map` or as ``batch_map`` raised, or gave what does not fit."""


class StateError(HeadraceError, ValueError):
    """A saved state belongs to other windows than this loader's."""


class ClosedError(HeadraceError, RuntimeError):
    """A loader, or an iteration over it, was used after its end."""


class HeadraceWarning(UserWarning):
    """Something was left out, and you should know."""


class DamagedWarning(HeadraceWarning):
    """Files that a scan found are damaged; `Catalog.failures` has all of them."""


def renamed_windows_error() -> type[InvalidWindowsError]:
    """Return `InvalidWindowsError` for its old name, ``WindowsError``, with a warning.

    The old name shadowed a builtin of Python on Windows. It works until headrace 0.3.

    Warns
    -----
    DeprecationWarning
        Always, at the line that used the old name.
    """
    warnings.warn(
        "headrace.WindowsError is called InvalidWindowsError now: the old name works until "
        "headrace 0.3.",
        DeprecationWarning,
        stacklevel=3,
    )
    return InvalidWindowsError


def __getattr__(name: str) -> object:
    if name == "WindowsError":
        return renamed_windows_error()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
