"""Why files and windows fail: `Failure`, its `Code`, and the `DecodeError` that leads to one."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from headrace._formatting import escape_controls

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "TEMPORARY",
    "Code",
    "DecodeError",
    "Failure",
    "describe_os_error",
    "failure_from_json",
    "failure_to_json",
]


class Code(StrEnum):
    """Why a file or a window failed."""

    EMPTY = "EMPTY"
    """The file holds no audio frames."""
    NOT_AUDIO = "NOT_AUDIO"
    """No decoder recognises the file."""
    UNSUPPORTED = "UNSUPPORTED"
    """The file is audio, but headrace cannot use it (no declared length, no such channel)."""
    TRUNCATED = "TRUNCATED"
    """The file ends before the frames its header declares, or is damaged inside."""
    HEADER_MISMATCH = "HEADER_MISMATCH"
    """The header declares no length (``scan(verify="decode")``), or fewer frames than the file
    holds; or a part of an MP3 file has another format."""
    CHANGED = "CHANGED"
    """Since the scan, the file's format, sample rate or channel count has changed, or the file has
    become shorter; or it was replaced while a loader was reading it."""
    MISSING = "MISSING"
    """The file no longer exists."""
    PERMISSION = "PERMISSION"
    """Reading the file is not permitted."""
    IO = "IO"
    """The operating system or the decoder reported an error while reading."""
    STALLED = "STALLED"
    """A read did not return within ``stall_timeout_s``."""
    NON_FINITE = "NON_FINITE"
    """The window's samples include NaN or infinity."""
    TRANSFORM = "TRANSFORM"
    """A function given to `Windows.map` raised an error that the window may have caused."""
    MODEL = "MODEL"
    """A model given to `Windows.apply` raised an error that the window may have caused."""


TEMPORARY: Final = frozenset({Code.IO, Code.MISSING, Code.PERMISSION, Code.STALLED})
"""Failures of the disk or the network. They say nothing about the recording."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that cannot be used, or windows of it that could not be read.

    Attributes
    ----------
    file_id, path : str
        The file.
    code : Code
        The cause, in one word.
    message : str
        The cause, as the decoder or the operating system describes it.
    start_s, stop_s : float
        The failed audio, ``[start_s, stop_s)`` in seconds from the start of the file. `stop_s` is
        infinite where it is not known.
    windows : int
        Number of windows that failed; 0 for a failure that a scan found.
    index : int
        Position of the window in its `Windows`, or -1.
    """

    file_id: str
    path: str
    code: Code
    message: str
    start_s: float = 0.0
    stop_s: float = math.inf
    windows: int = 0
    index: int = -1

    def __str__(self) -> str:
        span = "" if not self.windows else f", {self.start_s:.3f} s to {self.stop_s:.3f} s"
        # Members of a tar, and values of a table, have one path in common.
        which = "" if self.path.endswith(self.file_id) else f" ({self.file_id})"
        return escape_controls(f"{self.path}{which}{span}: {self.message} [{self.code}]")


class DecodeError(Exception):
    """Frames of a file could not be decoded. Inside headrace only: users get a `Failure`.

    Attributes
    ----------
    code : Code
        The cause, in one word.
    message : str
        The cause, as the decoder or the operating system describes it.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def describe_os_error(error: OSError) -> tuple[Code, str]:
    """Return the code and the message of a `Failure` for an error of the operating system."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Code.MISSING, "the file does not exist"
    if isinstance(error, PermissionError):
        return Code.PERMISSION, "permission denied: check the file's permissions"
    return Code.IO, f"the operating system reports: {error.strerror or error}"


def failure_to_json(
    failure: Failure, names: Collection[str] | None = None, *, omit_defaults: bool = False
) -> dict[str, Any]:
    """Return a failure as a dict for `json.dump`. Infinity, which JSON lacks, becomes None.

    Parameters
    ----------
    failure : Failure
        The failure.
    names : collection of str, optional
        The attributes to return. Default: all.
    omit_defaults : bool
        Leave out attributes that have their default, or are infinite.
    """
    values = {
        field.name: (getattr(failure, field.name), field.default) for field in fields(failure)
    }
    return {
        name: None if value == math.inf else str(value) if name == "code" else value
        for name, (value, default) in values.items()
        if (names is None or name in names) and not (omit_defaults and value in (default, math.inf))
    }


def failure_from_json(values: dict[str, Any]) -> Failure:
    """Return the failure whose values `failure_to_json` returned, defaults omitted."""
    return Failure(**{**values, "code": Code(values["code"])})
