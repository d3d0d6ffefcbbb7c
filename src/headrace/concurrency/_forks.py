"""Notify objects that own threads when their process is forked.

A fork copies the memory of a process but only one of its threads. In the child, waiting for any
other thread would never end.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["ForkListener", "register_fork_listener"]


class ForkListener(Protocol):
    """An object that owns threads."""

    def after_fork_in_child(self) -> None:
        """Handle being a copy in a forked child, where the object's threads do not exist."""


_listeners: WeakSet[ForkListener] = WeakSet()


def register_fork_listener(listener: ForkListener) -> None:
    """Call ``listener.after_fork_in_child()`` in each child forked while `listener` is alive."""
    _listeners.add(listener)


def _notify_listeners() -> None:
    for listener in list(_listeners):
        listener.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_notify_listeners)
