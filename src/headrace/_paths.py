"""Paths as strings with forward slashes: a catalog has a million of them."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["absolute", "join"]


def absolute(path: str | os.PathLike[str]) -> str:
    """Return the absolute path, ``~`` expanded, links left as they are."""
    given = os.path.expanduser(os.fspath(path))  # noqa: PTH111  Path raises where there is no home
    head, tail = os.path.split(os.path.abspath(given))  # noqa: PTH100
    if ".." in Path(given).parts:  # only the file system knows where that leads behind a link
        head, tail = os.path.split(given) if Path(given).name != ".." else (given, "")
        head = os.path.realpath(head)
    return os.path.join(head, tail).rstrip(os.sep).replace(os.sep, "/") or "/"  # noqa: PTH118


def join(root: str, file_id: str) -> str:
    """Return the path of the file that has this id under `root`."""
    return root + file_id if root.endswith("/") or not root else f"{root}/{file_id}"
