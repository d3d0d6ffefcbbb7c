"""`StreamPool`: the open files, bounded in number, each leased to one read at a time.

Guarantees
----------
- A stream that is leased is in nobody else's hands.
- At most `idle` streams are open beside the leased ones; the one unused for longest is closed
  first.
- One lock, held for a few dictionary operations: never while a file is opened, read or closed. It
  is reentrant, because the collector, or a signal's handler, may run `close` inside a section that
  holds it; the read that was interrupted there is one that has been given up.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.stream import Stream

__all__ = ["StreamPool"]


class StreamPool:
    """Open streams, by recording.

    Parameters
    ----------
    make : callable
        Opens the stream of a recording, given by its place in the catalog.
    idle : int
        How many unleased streams stay open.
    """

    def __init__(self, make: Callable[[int], Stream], idle: int) -> None:
        self._make = make
        self._room = idle
        self._lock = threading.RLock()
        self._idle: OrderedDict[int, list[Stream]] = OrderedDict()  # least recently used first
        self._count = 0
        self._leased = 0
        self._closed = False
        self.peak = 0

    def lease(self, recording: int, start: int) -> Stream:
        """Return a stream of `recording`, if possible one that reaches `start` going forwards.

        Raises
        ------
        DecodeFault
            The file cannot be opened, or is not what was scanned.
        """
        with self._lock:
            self._leased += 1
            stream = None
            if streams := self._idle.get(recording):
                # The nearest that is not past it; else any, which will have to go back.
                stream = max(streams, key=lambda s: (s.begin <= start, s.begin))
                streams.remove(stream)
                self._count -= 1
                if not streams:
                    del self._idle[recording]
            self.peak = max(self.peak, self._count + self._leased)
        if stream is not None:
            return stream
        try:
            return self._make(recording)
        except BaseException:
            with self._lock:
                self._leased -= 1
            raise

    def give_back(self, recording: int, stream: Stream, *, reuse: bool) -> None:
        """End a lease; with ``reuse=False``, after a fault, the stream is closed."""
        closing = []
        with self._lock:
            self._leased -= 1
            if reuse and not self._closed:
                self._idle.setdefault(recording, []).append(stream)
                self._idle.move_to_end(recording)
                self._count += 1
                if self._count > self._room:
                    oldest, streams = next(iter(self._idle.items()))
                    closing.append(streams.pop(0))
                    self._count -= 1
                    if not streams:
                        del self._idle[oldest]
            else:
                closing.append(stream)
        for old in closing:
            old.close()

    def close(self) -> None:
        """Close every idle stream, and from now on each that is given back."""
        with self._lock:
            self._closed = True
            closing = [stream for streams in self._idle.values() for stream in streams]
            self._idle.clear()
            self._count = 0
        for stream in closing:
            stream.close()
