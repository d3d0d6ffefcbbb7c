"""`Run`: the results of applying a model, read from their folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from headrace import detections
from headrace._formatting import format_count
from headrace.errors import ResultsError
from headrace.failures import Code, Failure, failure_to_json
from headrace.inference._generations import Generations
from headrace.inference._manifest import Manifest
from headrace.inference._parts import Part, list_parts, read_parts
from headrace.inference._result_folder import open_folder
from headrace.inference._work import ranges_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset

    from headrace.detections import Detections
    from headrace.inference._parts import PartName
    from headrace.inference._result_folder import ResultFolder
    from headrace.observe import Stats

__all__ = ["Run", "RunProgress", "load_run"]


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is. Always ``expected = written + failed + open``.

    Attributes
    ----------
    expected : int
        Windows of all recordings that the run was ever given.
    written, failed : int
        Windows that have a result, and windows that have a cause instead.
    open : int
        Windows of ranges that have no part yet.
    vanished_open : int
        How many of these are in ranges of vanished recordings only: no call makes them until one
        has the recordings again.
    parts, ranges : int
        Ranges that have a part, and all ranges.
    recordings, vanished : int
        Recordings, and those of them that the last call did not have.
    model_s : float
        Seconds that all processes together have worked on the parts.
    elapsed_s : float
        Seconds in which at least one process worked, by the clocks of their machines.
    windows_per_s : float
        Windows of all parts, divided by `elapsed_s`.
    """

    expected: int
    written: int
    failed: int
    open: int
    vanished_open: int
    parts: int
    ranges: int
    recordings: int
    vanished: int
    model_s: float
    elapsed_s: float
    windows_per_s: float

    @property
    def complete(self) -> bool:
        """Whether every window has a result or a cause, except in ranges of vanished recordings."""
        return bool(self.ranges) and self.open == self.vanished_open


class Run:
    """The results of a model that was applied to windows.

    Made by `Windows.apply` and `load_run`. A property reads what is there when it is first used:
    `reload` returns what processes that still run have added.

    Attributes
    ----------
    folder : str
        The folder or URL of the results.
    name : str
        The model's name.
    stats : Stats or None
        What the loader of this process measured; None where nothing was left to do.
    """

    def __init__(
        self,
        folder: ResultFolder,
        manifest: Manifest,
        generations: Generations,
        *,
        stats: Stats | None = None,
        known: Mapping[PartName, Part] | None = None,
    ) -> None:
        self._known = known or {}
        self._folder = folder
        self._manifest = manifest
        self._generations = generations
        self.folder = folder.name
        self.name = manifest.name
        self.stats = stats

    @cached_property
    def _names(self) -> list[PartName]:
        return list_parts(self._folder)

    @cached_property
    def _parts(self) -> list[Part]:
        new = read_parts(self._folder, [name for name in self._names if name not in self._known])
        parts = {**self._known, **{part.name: part for part in new}}
        return [parts[name] for name in self._names]

    def reload(self) -> Run:
        """Return the run as it is now. Only what is new is read."""
        known = {part.name: part for part in self._parts}
        generations = Generations.read(self._folder)
        return Run(self._folder, self._manifest, generations, stats=self.stats, known=known)

    @cached_property
    def _last_parts(self) -> list[Part]:
        """The last part of each range: only its failures count."""
        return list({part.name.range: part for part in self._parts}.values())

    @property
    def schema(self) -> pa.Schema:
        """The columns, as an Arrow schema."""
        return self._manifest.schema

    @property
    def sample_rate(self) -> int | None:
        """Sample rate of the windows in Hz; None where several cuts were concatenated."""
        return self._manifest.sample_rate

    @property
    def window_s(self) -> float | None:
        """Length of the windows in seconds; None where several cuts were concatenated."""
        rate = self.sample_rate
        return None if rate is None else float(self._manifest.cut["size"] / rate)

    @property
    def hop_s(self) -> float | None:
        """Time between the starts of windows in seconds; None where cuts were concatenated."""
        rate = self.sample_rate
        return None if rate is None else float(self._manifest.cut["hop"] / rate)

    @cached_property
    def dataset(self) -> pyarrow.dataset.Dataset:
        """The results as a `pyarrow.dataset.Dataset`, which reads only what is asked for.

        DuckDB and Polars read it: ``polars.scan_pyarrow_dataset(run.dataset)``, and in DuckDB a
        Python variable that holds it is a table.
        """
        import pyarrow.dataset as ds

        if not self._names:
            return ds.dataset(self.schema.empty_table())
        return self._folder.dataset([name.path for name in self._names], self.schema)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the results as an Arrow table, with a row for each window that has a result.

        Parameters
        ----------
        columns : sequence of str, optional
            The columns to read. Default: all.
        """
        return self.dataset.to_table(columns=None if columns is None else list(columns))

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the results as a pandas DataFrame; needs pandas."""
        return cast("pd.DataFrame", self.to_arrow(columns).to_pandas())

    def detections(
        self,
        *,
        threshold: float | Mapping[str, float] | None = None,
        classes: Sequence[str] | None = None,
        column: str | None = None,
        smooth: int = 1,
    ) -> Detections:
        """Return the detections in the results: `Detections.from_results` of `dataset`.

        Parameters
        ----------
        threshold : float or mapping of str to float, optional
            The least score that counts, for all classes, or for each that counts. Required where
            the model returns scores and not detections.
        classes : sequence of str, optional
            The names of the scores, in order.
        column : str, optional
            The column of scores or of detections. Default: the only one.
        smooth : int
            Odd number of neighbouring windows whose mean replaces each score, before thresholds.

        Raises
        ------
        ResultsError
            There is no such column, or the arguments do not fit it.
        """
        return detections.Detections.from_results(
            self.dataset, threshold=threshold, classes=classes, column=column, smooth=smooth
        )

    def to_hoplite(self, db: Any, *, column: str | None = None) -> int:  # noqa: ANN401  optional
        """Add the embeddings of all windows to a perch-hoplite database, and return how many.

        Recordings are named by their ids. Windows that the database has are not added again. All
        are committed together at the end.

        Parameters
        ----------
        db : perch_hoplite.db.interface.HopliteDBInterface
            The open database, such as a ``SQLiteUSearchDB``.
        column : str, optional
            The column of embeddings. Default: the only one of vectors as long as the database's.

        Raises
        ------
        ResultsError
            There is no such column, or its vectors are not as long as those of the database.
        """
        return detections.write_to_hoplite(self.dataset, db, column=column)

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """The windows that have no result, with the cause.

        Neighbouring windows of one recording that failed with the same code are one `Failure`. Its
        `path` is the id, because the results do not hold paths, and its `index` counts the windows
        of the generation that the recording came with.
        """
        return tuple(
            Failure(
                run.file_id,
                run.file_id,
                Code(run.code),
                run.message,
                run.start_s,
                run.stop_s,
                run.count,
                run.begin,
            )
            for part in self._last_parts
            for run in part.failures
        )

    @cached_property
    def float16_loss(self) -> dict[str, float]:
        """The largest error of each column that is stored as float16."""
        losses: dict[str, float] = {}
        for part in self._parts:
            for name, loss in part.float16_loss.items():
                losses[name] = max(loss, losses.get(name, 0.0))
        return losses

    @cached_property
    def progress(self) -> RunProgress:
        """How far the run is, and how fast it was."""
        expected = sum(one.total for one in self._generations.all)
        written = sum(part.written for part in self._parts)
        failed = sum(part.failed for part in self._last_parts)
        size = self._manifest.part_size
        elapsed = _union_s([(part.begun_s, part.begun_s + part.seconds) for part in self._parts])
        return RunProgress(
            expected=expected,
            written=written,
            failed=failed,
            open=expected - written - failed,
            vanished_open=self._count_vanished_open(),
            parts=len(self._last_parts),
            ranges=sum(-(-one.total // size) for one in self._generations.all),
            recordings=sum(len(one.table) for one in self._generations.all),
            vanished=len(self._generations.vanished()),
            model_s=sum(part.seconds for part in self._parts),
            elapsed_s=elapsed,
            windows_per_s=written / elapsed if elapsed else 0.0,
        )

    def _count_vanished_open(self) -> int:
        """Return the windows of the ranges without a part whose recordings have all vanished."""
        done = {part.name.range for part in self._last_parts}
        return sum(
            name.stop - name.begin
            for one, present in self._generations.present()
            for name in ranges_of(one.number, one.total, self._manifest.part_size)
            if name not in done and not one.has_any(present, name.begin, name.stop)
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is left to a running process: see `RunProgress.complete`."""
        return self.progress.complete

    @property
    def vanished(self) -> tuple[str, ...]:
        """Ids of the recordings that the last call did not have. Their results are kept."""
        return tuple(sorted(self._generations.vanished()))

    def ledger(self) -> pa.Table:
        """Return the windows of each recording as an Arrow table.

        There is a row for each recording that the run was ever given, with the columns ``id``,
        ``expected``, ``written``, ``failed``, ``open`` (windows of ranges that have no part yet),
        ``vanished`` (whether the last call did not have the recording), and one with the number of
        failures for each `Code` that occurred. Always expected = written + failed + open. The
        written windows are counted from the rows themselves.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        none = pa.table({"id": pa.array([], pa.string()), "windows": pa.array([], pa.int64())})
        tables = [one.table.select(["id", "windows"]) for one in self._generations.all]
        recordings = pa.concat_tables([none, *tables]).combine_chunks()
        ids = recordings["id"].combine_chunks()
        expected = recordings["windows"].to_numpy()
        written = np.zeros(len(ids), np.int64)
        for batch in self.dataset.to_batches(columns=["id"]):
            counts = pc.value_counts(batch["id"])
            rows = pc.index_in(counts.field("values"), value_set=ids).to_numpy()
            np.add.at(written, rows, counts.field("counts").to_numpy())
        by_code: dict[str, Any] = {}
        for failure in self._failures_by_window():
            row, code, count = failure
            by_code.setdefault(code, np.zeros(len(ids), np.int64))[row] += count
        failed = sum(by_code.values(), np.zeros(len(ids), np.int64))
        gone = pa.array(sorted(self._generations.vanished()), pa.string())
        return pa.table(
            {
                "id": ids,
                "expected": expected,
                "written": written,
                "failed": failed,
                "open": expected - written - failed,
                "vanished": pc.is_in(ids, value_set=gone),
                **{code: by_code[code] for code in sorted(by_code)},
            }
        )

    def _failures_by_window(self) -> list[tuple[int, str, int]]:
        """Return the row in the ledger, the code and the number of windows of each failure."""
        offsets = np.cumsum([0, *(len(one.table) for one in self._generations.all)])
        found = []
        for part in self._last_parts:
            number = part.name.generation
            first = self._generations.all[number].first
            for run in part.failures:  # all of one recording, except for vanished ones
                rows = np.searchsorted(first, run.windows(), side="right") - 1
                for row, count in zip(*np.unique(rows, return_counts=True), strict=True):
                    found.append((int(offsets[number] + row), run.code, int(count)))
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the progress and the failures as plain values, for `json.dump`."""
        return {
            "folder": self.folder,
            "name": self.name,
            "complete": self.complete,
            **asdict(self.progress),
            "float16_loss": self.float16_loss,
            "failures": [failure_to_json(one) for one in self.failures],
        }

    def __repr__(self) -> str:
        now = self.progress
        left = f", {now.open:,} open" if now.open else ""
        return (
            f"<Run: {self.name!r} in {self.folder!r}, {format_count(now.written, 'window')} "
            f"written, {now.failed:,} failed{left}>"
        )


def load_run(output: object) -> Run:
    """Return the results in a folder, which `Windows.apply` or ``headrace apply`` wrote.

    Parameters
    ----------
    output : str, path, or store of obstore
        As given to `Windows.apply`.

    Raises
    ------
    ResultsError
        There are no results.
    """
    folder = open_folder(output)
    manifest = Manifest.read(folder)
    if manifest is None:
        raise ResultsError(
            f"there are no results in {folder.name!r}: windows.apply and headrace apply make some."
        )
    return Run(folder, manifest, Generations.read(folder))


def _union_s(spans: list[tuple[float, float]]) -> float:
    """Return the length of the union of time spans."""
    total, reached = 0.0, -np.inf
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return float(total)
