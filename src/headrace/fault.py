"""`DecodeFault`: audio that could not be had, on its way to becoming a `Failure`."""

from __future__ import annotations

from headrace.records import Code

__all__ = ["DecodeFault", "of_system"]


class DecodeFault(Exception):  # noqa: N818  not an error until the loader says so
    """Frames that could not be had."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def of_system(error: OSError) -> tuple[Code, str]:
    """Return what an error of the operating system means for a file."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Code.MISSING, "the file does not exist"
    if isinstance(error, PermissionError):
        return Code.PERMISSION, "permission denied: check the file's permissions"
    return Code.IO, f"the operating system reports: {error.strerror or error}"
