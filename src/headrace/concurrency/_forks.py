"""What a forked child has to be told of: threads that it does not have.

A fork copies the memory of a process and one of its threads. Whatever waits for another one would
wait for ever.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["ForkAware", "notify_forked_children"]


class ForkAware(Protocol):
    """Something that works with threads."""

    def forked(self) -> None:
        """Note that this is a child's copy, whose threads are not there."""


_told: WeakSet[ForkAware] = WeakSet()


def notify_forked_children(thing: ForkAware) -> None:
    """Call ``thing.forked()`` in each child that is forked while `thing` is alive."""
    _told.add(thing)


def _in_child() -> None:
    for thing in list(_told):
        thing.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
