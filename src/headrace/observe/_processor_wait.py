"""How long the current thread has waited for a processor, where the system says so."""

from __future__ import annotations

import math
import os
import threading

__all__ = ["seconds_queued"]

_SCHEDSTAT = "/proc/thread-self/schedstat"
"""Linux: the thread's nanoseconds on a processor, those of waiting for one, and its time slices.
https://docs.kernel.org/scheduler/sched-stats.html"""


class _OpenFile:
    """The statistics of one thread, open until the thread ends."""

    def __init__(self) -> None:
        self.descriptor = os.open(_SCHEDSTAT, os.O_RDONLY)

    def read(self) -> bytes:
        return os.pread(self.descriptor, 100, 0)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


_of_thread = threading.local()


def seconds_queued() -> float:
    """Return the seconds for which this thread was ready to run, but no processor was free.

    They are counted from the start of the thread. NaN where the system does not say: only Linux
    does. A call takes a microsecond, and releases the GIL. The first one in a thread opens a file,
    which is closed when the thread ends.
    """
    try:
        if not hasattr(_of_thread, "file"):
            _of_thread.file = _OpenFile()
        return int(_of_thread.file.read().split()[1]) * 1e-9
    except (AttributeError, OSError, ValueError, IndexError):  # AttributeError: no os.pread
        return math.nan
