"""`Leases`: hints by which processes leave each other's ranges alone.

A lease is a small file with the name of a part that is being made. Its owner writes it anew every
few seconds. Another process that sees a lease change knows that its owner lives; if it has not
changed for `LEASE_S` by the observer's own clock, its owner is taken for dead. On one machine, the
number of the process tells at once.

Nothing correct rests on leases: if two processes make one part, the first to create it is right.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING, Final

from headrace.inference._owner import Owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.inference._result_folder import ResultFolder

__all__ = ["BEAT_S", "LEASE_S", "Leases", "Standing"]

_FOLDER: Final = "leases"
LEASE_S: Final = 60.0
"""Seconds after which a lease that does not change is that of a dead process."""

BEAT_S: Final = 15.0
"""Seconds between two writes of a lease: four of them fit into `LEASE_S`, so that one may be late.
"""


class Standing(Enum):
    """What is known of a range from its lease."""

    FREE = "no process makes it"
    DEAD = "its process has ended"
    UNKNOWN = "there is a lease that has not been seen to change"
    ALIVE = "another process makes it"


@dataclass(slots=True)
class _Seen:
    """A lease of another process, as it was seen.

    Attributes
    ----------
    version : str
        Differs when the lease was written anew.
    since : float
        When this version was first seen, by this process's monotonic clock.
    changed : bool
        Whether another version was seen before.
    owner : Owner
        Whose it is.
    """

    version: str
    since: float
    changed: bool
    owner: Owner


class Leases:
    """The leases that this process holds, and what it knows of others.

    Parameters
    ----------
    folder : ResultFolder
        Where the run is.
    clock : callable
        Returns seconds.
    """

    def __init__(self, folder: ResultFolder, clock: Callable[[], float] = monotonic) -> None:
        self._folder = folder
        self._clock = clock
        self._held: dict[str, int] = {}  # and how often it was written
        self._seen: dict[str, _Seen] = {}

    def observe(self) -> dict[str, Standing]:
        """Look at all leases; return the standing of each range that has one, except this one's."""
        names = self._folder.list(_FOLDER)
        now = self._clock()
        standings: dict[str, Standing] = {}
        for name, version in names.items():
            stem = name.removesuffix(".json")
            if stem in self._held:
                continue
            seen = self._seen.get(stem)
            if seen is None or seen.version != version:
                owner = self._read_owner(name)
                changed = seen is not None and seen.owner == owner
                seen = self._seen[stem] = _Seen(version, now, changed, owner)
            standings[stem] = self._standing(seen, now)
        self._seen = {stem: seen for stem, seen in self._seen.items() if stem in standings}
        return standings

    def _read_owner(self, name: str) -> Owner:
        try:
            return Owner.from_text(json.loads(self._folder.read(f"{_FOLDER}/{name}"))["owner"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return Owner("", 0, "")

    @staticmethod
    def _standing(seen: _Seen, now: float) -> Standing:
        if seen.owner.is_here() and seen.owner != Owner.current():
            return Standing.ALIVE if seen.owner.runs() else Standing.DEAD
        if now - seen.since >= LEASE_S:
            return Standing.DEAD
        return Standing.ALIVE if seen.changed else Standing.UNKNOWN

    def acquire(self, stem: str, standing: Standing) -> bool:
        """Take a lease, over that of another process unless the range is free."""
        name = f"{_FOLDER}/{stem}.json"
        if standing is Standing.FREE:
            if not self._folder.create(name, self._content(0)):
                return False
        else:
            self._folder.replace(name, self._content(0))
        self._held[stem] = 0
        return True

    def beat(self) -> None:
        """Write all leases that this process holds anew."""
        for stem in self._held:
            self._held[stem] += 1
            self._folder.replace(f"{_FOLDER}/{stem}.json", self._content(self._held[stem]))

    def release(self, stem: str) -> None:
        """Give up a lease."""
        if self._held.pop(stem, None) is not None:
            self._folder.delete(f"{_FOLDER}/{stem}.json")

    def release_all(self) -> None:
        """Give up all leases, and delete those of dead processes whose parts have been made."""
        for stem in list(self._held):
            self.release(stem)
        for stem, standing in self.observe().items():
            if standing is Standing.DEAD and self._folder.exists(f"parts/{stem}.parquet"):
                self._folder.delete(f"{_FOLDER}/{stem}.json")

    @staticmethod
    def _content(beat: int) -> bytes:
        return json.dumps({"owner": Owner.current().text, "beat": beat}).encode()
