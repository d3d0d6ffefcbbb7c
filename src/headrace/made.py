"""`Made`: a unit of the plan, the memory it is made in, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from headrace.prefetch import Job, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from headrace.plan import Group, Unit
    from headrace.prefetch import Closing
    from headrace.read import GroupResult, Reader
    from headrace.records import Failure

__all__ = ["Made", "job_of"]


@dataclass(slots=True, eq=False)
class Made:
    """A unit, its memory, and what became of its groups.

    Attributes
    ----------
    unit : Unit
        What is made.
    rows : list of ndarray of float32, or one with a row for each window
        Where; nothing once it has been let go of.
    results : list of GroupResult
        One for each group that has been read, in any order.
    """

    unit: Unit
    rows: NDArray[np.float32] | list[NDArray[np.float32]]
    results: list[GroupResult] = field(default_factory=list)

    def failures(self) -> dict[int, Failure]:
        """Return what could not be read, by row of the unit."""
        return {
            row: replace(failure, index=int(self.unit.rows.index[row]))
            for result in self.results
            for row, failure in result.failures.items()
        }

    def let_go(self) -> Iterator[NDArray[np.float32]]:
        """Yield single rows, leaving none of those yielded here: they are the consumer's."""
        rows, self.rows = self.rows, []
        assert isinstance(rows, list)
        rows.reverse()
        while rows:
            yield rows.pop()


def job_of(
    reader: Reader, unit: Unit, rows: NDArray[np.float32] | list[NDArray[np.float32]]
) -> Job[Made]:
    """Return the job of making `unit` in `rows`, a task for each of its groups."""
    made = Made(unit, rows)
    return Job(made, [Task(_run(reader, group, made), group.key) for group in unit.groups])


def _run(reader: Reader, group: Group, made: Made) -> Callable[[Closing], None]:
    """Return a task that reads `group`; it refers to no `Loader`."""
    rows = made.rows

    def run(closing: Closing) -> None:
        made.results.append(reader.read(group, rows, closing))

    return run
