"""Why files and windows fail: `Code`, `Failure`, and `DecodeError` before it becomes a `Failure`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Code", "DecodeError", "Failure", "describe_os_error"]


class Code(StrEnum):
    """Why a file or a window was lost."""

    EMPTY = "EMPTY"
    """The file holds no audio frames."""
    NOT_AUDIO = "NOT_AUDIO"
    """No decoder recognises the file."""
    UNSUPPORTED = "UNSUPPORTED"
    """The file is audio of a kind that cannot be used (no declared length, no such channel)."""
    TRUNCATED = "TRUNCATED"
    """The file ends before the frames its header declares."""
    HEADER_MISMATCH = "HEADER_MISMATCH"
    """The header declares no length, or less than the file holds (``scan(verify="decode")``)."""
    CHANGED = "CHANGED"
    """The file has another format, sample rate or channel count, or is shorter, than when it was
    scanned."""
    MISSING = "MISSING"
    """The file is not there any more."""
    PERMISSION = "PERMISSION"
    """The file may not be read."""
    IO = "IO"
    """The operating system or the decoder reported an error while reading."""
    STALLED = "STALLED"
    """A read had not come back after ``stall_timeout_s``."""
    NON_FINITE = "NON_FINITE"
    """The window's input holds NaN or infinity."""
    TRANSFORM = "TRANSFORM"
    """A function given to `Windows.map` raised an error that may be the window's fault."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file, or some windows of it, that could not be had.

    Attributes
    ----------
    file_id, path : str
        Which file.
    code : Code
        Why, in one word.
    message : str
        Why, in the words of whoever refused.
    start_s, stop_s : float
        Span of the lost audio in seconds from the start of the file; infinite where not known.
    windows : int
        How many windows were lost (0 for a file that never got into the catalog).
    index : int
        The lost window's place in its `Windows`, or -1.
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
        return f"{self.path}{span}: {self.message} [{self.code}]"


class DecodeError(Exception):
    """Frames that could not be had."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def describe_os_error(error: OSError) -> tuple[Code, str]:
    """Return what an error of the operating system means for a file."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Code.MISSING, "the file does not exist"
    if isinstance(error, PermissionError):
        return Code.PERMISSION, "permission denied: check the file's permissions"
    return Code.IO, f"the operating system reports: {error.strerror or error}"
