"""Paths as strings with forward slashes.

A catalog may have a million paths: as `Path` objects they would take too much time and memory.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["absolute", "join"]


def absolute(path: str | os.PathLike[str]) -> str:
    """Return the absolute path, with ``~`` expanded. Symbolic links are not resolved."""
    given = os.path.expanduser(os.fspath(path))  # unlike Path's, keeps a ~ without a home
    head, tail = os.path.split(os.path.abspath(given))
    if ".." in Path(given).parts:  # after a link, ".." depends on its target
        head, tail = os.path.split(given) if Path(given).name != ".." else (given, "")
        head = os.path.realpath(head)
    return os.path.join(head, tail).rstrip(os.sep).replace(os.sep, "/") or "/"


def join(root: str, file_id: str) -> str:
    """Return the path of the file whose id is relative to `root`."""
    return root + file_id if root.endswith("/") or not root else f"{root}/{file_id}"
