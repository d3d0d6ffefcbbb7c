"""`Iteration`: the threads and files of one iteration over a loader, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import ClosedError
from headrace.forks import tell_children

if TYPE_CHECKING:
    from headrace.made import Made
    from headrace.prefetch import Prefetcher
    from headrace.read import Reader

__all__ = ["Iteration"]


class Iteration:
    """What one iteration owns, from its first use on.

    Attributes
    ----------
    prefetcher : Prefetcher or None
        Its threads.
    reader : Reader or None
        Its open files.
    """

    def __init__(self) -> None:
        self.prefetcher: Prefetcher[Made] | None = None
        self.reader: Reader | None = None
        self._ended = False
        self._forked = False
        tell_children(self)

    def forked(self) -> None:
        """Note that this is the copy in a forked child, whose threads are the parent's."""
        self._ended = self._forked = True

    @property
    def ready(self) -> bool:
        """Whether the next delivery is there."""
        return self.prefetcher is not None and self.prefetcher.ready

    def close(self) -> None:
        """Join the threads, close the files; again does nothing."""
        self._ended = True
        if self.prefetcher is not None:
            self.prefetcher.close()
        if self.reader is not None and not self._forked:  # a thread may have held its lock
            self.reader.close()

    def refuse_ended(self) -> None:
        """Raise `ClosedError` after `close`."""
        if self._ended:
            raise ClosedError(
                "this iteration was closed, ended by a newer one over the same loader, or begun in "
                "the process that this one was forked from: iterate over the loader again, or make "
                "a loader for each loop."
            )
