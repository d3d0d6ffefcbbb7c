"""`Work`: which ranges of a run are left, and which of them this process makes next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from headrace.inference._leases import Standing
from headrace.inference._parts import FailedRun, PartName, list_parts, read_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from headrace.inference._generations import Generations
    from headrace.inference._leases import Leases
    from headrace.inference._parts import Part
    from headrace.inference._result_folder import ResultFolder

__all__ = ["Claim", "Work", "WorkSource", "ranges_of"]

_IN_TURN: Final = (Standing.FREE, Standing.DEAD, Standing.UNKNOWN)
"""Ranges with an unknown lease are made last: it may be made twice, but no process waits."""


@dataclass(frozen=True, eq=False)
class Claim:
    """A part that this process makes.

    Attributes
    ----------
    name : PartName
        Its name.
    windows : ndarray of int64
        The windows to apply the model to, as numbers in the generation, in rising order.
    places : ndarray of int64
        Their places in the current set; -1 for windows of recordings that are not in it.
    absent : tuple of str
        The recording of each of these.
    before : Part or None
        The range's last part, where its failures are tried again.
    kept : tuple of FailedRun
        Failures of it that are not tried again.
    """

    name: PartName
    windows: NDArray[np.int64]
    places: NDArray[np.int64]
    absent: tuple[str, ...] = ()
    before: Part | None = None
    kept: tuple[FailedRun, ...] = ()


class WorkSource(Protocol):
    """Where claims come from."""

    total: int

    @property
    def done(self) -> int:
        """Windows of the ranges that are done, as far as is known."""

    def claim(self) -> Claim | None:
        """Return what is made next, or None if there is nothing now. Does not wait."""

    def mark_done(self, part: Part) -> None:
        """Note that a part is in the folder."""


class Work:
    """What is left of a run.

    Parameters
    ----------
    folder : ResultFolder
        Where the run is.
    generations : Generations
        The generations, and the current set.
    part_size : int
        Windows of a range.
    leases : Leases
        What other processes make.
    retry_failed : bool or None
        Whether windows that failed before are tried again; None for those whose cause may pass.

    Attributes
    ----------
    total : int
        Windows of all generations.
    """

    def __init__(
        self,
        folder: ResultFolder,
        generations: Generations,
        part_size: int,
        leases: Leases,
        *,
        retry_failed: bool | None,
    ) -> None:
        self._folder = folder
        self._generations = generations
        self._leases = leases
        self._retry_failed = retry_failed
        self.total = sum(one.total for one in generations.all)
        self._at_start = list_parts(folder)
        self._done = {name.range for name in self._at_start}
        self._open = [
            name
            for one in generations.all
            for name in ranges_of(one.number, one.total, part_size)
            if name not in self._done
            and generations.has_any(name.generation, name.begin, name.stop)
        ]
        self._retries: list[Claim] | None = None  # looked for when all ranges are done

    @property
    def done(self) -> int:
        """Windows of the ranges that are done, as far as this process knows."""
        return sum(name.stop - name.begin for name in self._done)

    def claim(self) -> Claim | None:
        """Return what this process makes next, or None if nothing is left to it."""
        name = self._acquire(self._open)
        if name is not None:
            return self._claim(name, np.arange(name.begin, name.stop))
        if self._retries is None:
            self._retries = list(self._find_retries())
        claims = {claim.name: claim for claim in self._retries}
        names = list(claims)
        name = self._acquire(names)
        self._retries = [claims[one] for one in names]
        return None if name is None else claims[name]

    def mark_done(self, part: Part) -> None:
        """Note that a part is in the folder."""
        self._done.add(part.name.range)

    def left(self) -> list[PartName]:
        """Return the parts that are left. Those that may be in the making are last."""
        names = [*self._open, *(claim.name for claim in self._find_retries())]
        standings = self._leases.observe()

        def turn(name: PartName) -> bool:
            standing = standings.get(name.stem, Standing.FREE)
            return standing in (Standing.UNKNOWN, Standing.ALIVE)

        return sorted(names, key=turn)

    def claim_part(self, name: PartName) -> Claim | None:
        """Take a part that was assigned to this process, or return None if it is there already.

        Whatever its lease says: whoever assigns parts knows who makes them.
        """
        if self._folder.exists(name.path):
            return None
        standing = self._leases.observe().get(name.stem, Standing.FREE)
        if not self._leases.acquire(name.stem, standing):
            self._leases.acquire(name.stem, Standing.UNKNOWN)
        if not name.attempt:
            return self._claim(name, np.arange(name.begin, name.stop))
        before = replace(name, attempt=name.attempt - 1)
        return next((self._retry(part) for part in read_parts(self._folder, [before])), None)

    def _acquire(self, names: list[PartName]) -> PartName | None:
        """Take one of these parts out of the list, or return None if others make all of them."""
        while names:
            standings = self._leases.observe()
            chosen = None
            for wanted in _IN_TURN:
                chosen = next(
                    (
                        name
                        for name in names
                        if standings.get(name.stem, Standing.FREE) is wanted
                        and self._leases.acquire(name.stem, wanted)
                    ),
                    None,
                )
                if chosen is not None:
                    break
            if chosen is None:
                return None
            names.remove(chosen)
            if not self._folder.exists(chosen.path):
                return chosen
            self._leases.release(chosen.stem)
            self._done.add(chosen.range)  # a network file system may list it later
            self._forget_done(names)
        return None

    def _forget_done(self, names: list[PartName]) -> None:
        """Take out of the list what other processes have made meanwhile."""
        made = {*list_parts(self._folder)}
        self._done |= {name.range for name in made}
        names[:] = [name for name in names if name not in made]

    def _find_retries(self) -> Iterator[Claim]:
        """Yield the retries of ranges that were done when this process began."""
        if self._retry_failed is False:
            return
        last: dict[PartName, PartName] = {}
        for name in self._at_start:  # sorted, so that the last attempt is the last
            last[name.range] = name
        for part in read_parts(self._folder, [*last.values()]):
            claim = self._retry(part)
            if claim is not None:
                yield claim

    def _retry(self, part: Part) -> Claim | None:
        """Return what tries the failures of a part again; None if there is nothing to try."""
        tried = [run for run in part.failures if self._retry_failed or run.passing]
        if not tried:
            return None
        windows = np.concatenate([run.windows() for run in tried])
        name = replace(part.name, attempt=part.name.attempt + 1)
        claim = self._claim(name, windows)
        if not (claim.places >= 0).any():
            return None
        kept = tuple(run for run in part.failures if run not in tried)
        return replace(claim, before=part, kept=kept)

    def _claim(self, name: PartName, windows: NDArray[np.int64]) -> Claim:
        places = self._generations.places(name.generation, windows)
        absent = self._generations.ids(name.generation, windows[places < 0])
        return Claim(name, windows, places, tuple(absent))


def ranges_of(generation: int, total: int, part_size: int) -> Iterator[PartName]:
    """Yield the names of the first parts of all ranges of a generation."""
    for begin in range(0, total, part_size):
        yield PartName(generation, begin, min(begin + part_size, total))
