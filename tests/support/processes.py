"""Python processes that tests start: from the project's root, where they find ``tests.support``."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ROOT", "interruptible", "no_file_beyond"]

ROOT = Path(__file__).parents[2]
"""The folder of the checkout. A process of ``-m tests.support.NAME`` must be started there."""

_RESTORED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def interruptible(code: str, *arguments: object) -> list[str]:
    """Return the command of a Python process that Ctrl-C interrupts, whatever started the tests.

    A shell starts a background job (``nohup python -m pytest &``) with SIGINT ignored. All its
    children inherit that, and Python then sets no handler of its own.
    """
    return [sys.executable, "-c", _RESTORED + code, *map(str, arguments)]


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let this process write no byte of a file beyond its first `size` bytes.

    What is written across that place is cut short, as on a full disk.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
