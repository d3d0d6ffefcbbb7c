"""`ReadTiming`: when one group of reads ran, and where its time went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["GIL_WAIT_S", "ReadTiming", "ReadTotals"]

GIL_WAIT_S: Final = 1e-3
"""Longer waits for the GIL, in seconds, are counted, because another thread held it. A thread
acquires a free GIL within microseconds. A GIL that is held is released 5 ms after it is requested
(`sys.getswitchinterval`)."""


@dataclass(slots=True, eq=False)
class ReadTiming:
    """Timing of one group of reads, measured by the worker that read it.

    All times are in seconds. Points in time are by `time.perf_counter`.

    Attributes
    ----------
    thread : str
        Name of the thread that ran the native code.
    began_s, ended_s : float
        When the native code began and ended.
    cpu_s : float
        Time of the native code on a processor. The rest was spent waiting for the disk or for a
        processor.
    busy_s : float
        Time of the native code and of transforms.
    decode_s, resample_s, transform_s : float
        Time in decoding and mixing, in resampling, and in transforms.
    store_s : float
        Time in which the native code waited for bytes of an object store. It is not a part of
        `decode_s`.
    gil_s : float
        Time from the end of the native code until Python let the thread continue.
    sampled_s, queued_s : float
        Of some groups: the time in transforms, and how much of it the thread waited for a
        processor. 0 for the other groups.
    transforms : list of (str, float, float)
        Thread, begin and end of each call of the transforms.
    file : str
        Path of the first recording of the group; empty if the group has none.
    windows, failed : int
        Windows in the group, and how many of them could not be read or transformed.
    epoch : int
        Epoch of the windows.
    """

    thread: str = ""
    began_s: float = 0.0
    ended_s: float = 0.0
    cpu_s: float = 0.0
    busy_s: float = 0.0
    decode_s: float = 0.0
    resample_s: float = 0.0
    transform_s: float = 0.0
    gil_s: float = 0.0
    store_s: float = 0.0
    sampled_s: float = 0.0
    queued_s: float = 0.0
    transforms: list[tuple[str, float, float]] = field(default_factory=list)
    file: str = ""
    windows: int = 0
    failed: int = 0
    epoch: int = 0

    @property
    def blocked_s(self) -> float:
        """Seconds of the native code in which the thread was on no processor; may be below 0.

        Waiting for an object store is not among them.
        """
        return self.ended_s - self.began_s - self.cpu_s - self.store_s

    def add_transform(self, thread: str, began_s: float, ended_s: float) -> None:
        """Record that `thread` called the transforms from `began_s` to `ended_s`."""
        self.transform_s += ended_s - began_s
        self.busy_s += ended_s - began_s
        self.transforms.append((thread, began_s, ended_s))


@dataclass(slots=True, eq=False)
class ReadTotals:
    """Sums over groups of reads; times are in seconds, and mean what they do in `ReadTiming`.

    Attributes
    ----------
    decode_s, resample_s, transform_s, store_s, busy_s, blocked_s, sampled_s, queued_s : float
        Sums of the groups' times.
    groups : int
        Number of groups.
    gil_waits : int
        How many of them waited long for the GIL.
    """

    decode_s: float = 0.0
    resample_s: float = 0.0
    transform_s: float = 0.0
    store_s: float = 0.0
    busy_s: float = 0.0
    blocked_s: float = 0.0
    sampled_s: float = 0.0
    queued_s: float = 0.0
    groups: int = 0
    gil_waits: int = 0

    def count(self, timing: ReadTiming) -> None:
        """Add one group."""
        self.decode_s += timing.decode_s
        self.resample_s += timing.resample_s
        self.transform_s += timing.transform_s
        self.store_s += timing.store_s
        self.busy_s += timing.busy_s
        self.blocked_s += timing.blocked_s
        self.sampled_s += timing.sampled_s
        self.queued_s += timing.queued_s
        self.groups += 1
        self.gil_waits += timing.gil_s > GIL_WAIT_S

    def add(self, other: ReadTotals) -> None:
        """Add the groups of other sums."""
        self.decode_s += other.decode_s
        self.resample_s += other.resample_s
        self.transform_s += other.transform_s
        self.store_s += other.store_s
        self.busy_s += other.busy_s
        self.blocked_s += other.blocked_s
        self.sampled_s += other.sampled_s
        self.queued_s += other.queued_s
        self.groups += other.groups
        self.gil_waits += other.gil_waits
