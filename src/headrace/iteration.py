"""`Iteration`: the threads and files of one iteration over a loader, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import ClosedError

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

    @property
    def ready(self) -> bool:
        """Whether the next delivery is there."""
        return self.prefetcher is not None and self.prefetcher.ready

    def close(self) -> None:
        """Join the threads, close the files; again does nothing."""
        self._ended = True
        if self.prefetcher is not None:
            self.prefetcher.close()
        if self.reader is not None:
            self.reader.close()

    def refuse_ended(self) -> None:
        """Raise `ClosedError` after `close`."""
        if self._ended:
            raise ClosedError(
                "this iteration was closed, or ended by a newer one over the same loader: iterate "
                "over the loader again, or make a loader for each loop."
            )
