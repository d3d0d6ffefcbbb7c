"""`Part`: one range of windows in one Parquet file: its rows, its failures and its counts.

The file's name says generation, range and attempt: ``00000-000000000000-000000008192.parquet``,
and ``-r001`` behind the range for the first time that its failures were tried again. The schema
metadata holds what `Part` says, as JSON. An attempt's file has only the rows that it adds, and all
failures that the range still has. So the rows of a range are those of all its files, and its
failures are those of its last.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace._formatting import escape_controls
from headrace.errors import ResultsError
from headrace.failures import TEMPORARY
from headrace.inference._manifest import LAYOUT, check_layout

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.failures import Failure
    from headrace.inference._result_folder import ResultFolder

__all__ = ["FailedRun", "Part", "PartName", "list_parts", "read_parts"]

FOLDER: Final = "parts"
_KEY: Final = b"headrace"
_ROW_GROUP: Final = 1_024
"""Rows of a row group. Its statistics tell which recordings it has: reading one recording reads few
rows more. An arbitrary choice: a megabyte of embeddings of 256 numbers."""

_FOOTER: Final = 1 << 16
"""Bytes that are read for a footer at first; more if it is longer."""

_MESSAGE: Final = 500
"""The most characters of a failure's message: a model's error may be as long as a batch."""

_READERS: Final = 16
"""Threads that read footers, which wait for a disk or a store. An arbitrary choice."""

_NAME: Final = re.compile(r"(\d{5})-(\d{12})-(\d{12})(?:-r(\d{3}))?\.parquet")


@dataclass(frozen=True, slots=True, order=True)
class PartName:
    """What the name of a part says.

    Attributes
    ----------
    generation, begin, stop : int
        Windows ``[begin, stop)`` of this generation.
    attempt : int
        0, or how often the failures of the range have been tried again.
    """

    generation: int
    begin: int
    stop: int
    attempt: int = 0

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        retried = f"-r{self.attempt:03}" if self.attempt else ""
        return f"{self.generation:05}-{self.begin:012}-{self.stop:012}{retried}"

    @property
    def path(self) -> str:
        """The file's path in the run's folder."""
        return f"{FOLDER}/{self.stem}.parquet"

    @property
    def range(self) -> PartName:
        """The name of the range's first part."""
        return replace(self, attempt=0)

    @classmethod
    def parse(cls, name: str) -> PartName | None:
        """Return what a file's name says, or None if it is not that of a part."""
        match = _NAME.fullmatch(name)
        return None if match is None else cls(*(int(number or 0) for number in match.groups()))


@dataclass(frozen=True, slots=True)
class FailedRun:
    """Neighbouring windows of one recording that failed for one cause.

    Attributes
    ----------
    begin, count : int
        The first of them, as a number in its generation, and how many they are.
    file_id, code, message : str
        The recording, and the cause of the first window.
    start_s, stop_s : float
        The audio, in seconds from the start of the recording.
    """

    begin: int
    count: int
    file_id: str
    code: str
    message: str
    start_s: float
    stop_s: float

    @property
    def passing(self) -> bool:
        """Whether the cause may pass: the next run tries these windows again."""
        return self.code in TEMPORARY

    def windows(self) -> NDArray[np.int64]:
        """Return the numbers of the windows."""
        return np.arange(self.begin, self.begin + self.count)

    @classmethod
    def join(cls, failed: Sequence[tuple[int, Failure]]) -> list[FailedRun]:
        """Return the runs of failed windows, given by number in rising order."""
        runs: list[FailedRun] = []
        for number, failure in failed:
            last = runs[-1] if runs else None
            if (
                last is not None
                and last.begin + last.count == number
                and (last.file_id, last.code) == (failure.file_id, str(failure.code))
            ):
                runs[-1] = replace(
                    last,
                    count=last.count + 1,
                    start_s=min(last.start_s, failure.start_s),
                    stop_s=max(last.stop_s, failure.stop_s),
                )
                continue
            message = escape_controls(failure.message)[:_MESSAGE]
            runs.append(
                cls(
                    number,
                    1,
                    failure.file_id,
                    str(failure.code),
                    message,
                    failure.start_s,
                    failure.stop_s,
                )
            )
        return runs


@dataclass(frozen=True, slots=True)
class Part:
    """What a part says about itself.

    Attributes
    ----------
    name : PartName
        Its range and attempt.
    written : int
        Number of its rows: windows that have a result here.
    failures : list of FailedRun
        All windows of the range that still have no result.
    begun_s, seconds : float
        When the model began it (seconds since 1970 in UTC, by the clock of that machine), and how
        long it took.
    float16_loss : dict of str to float
        The largest error of each column that was stored as float16.
    """

    name: PartName
    written: int
    failures: list[FailedRun] = field(default_factory=list)
    begun_s: float = 0.0
    seconds: float = 0.0
    float16_loss: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Number of windows of the range that still have no result."""
        return sum(run.count for run in self.failures)

    def to_bytes(self, rows: pa.Table, version: str) -> bytes:
        """Return the part as a Parquet file.

        Parameters
        ----------
        rows : Arrow table
            The rows.
        version : str
            Of headrace.
        """
        import pyarrow.parquet as pq

        metadata = {"layout": LAYOUT, "headrace": version, **asdict(self)}
        sink = io.BytesIO()
        pq.write_table(
            rows.replace_schema_metadata({_KEY: json.dumps(metadata)}),
            sink,
            compression="zstd",
            row_group_size=_ROW_GROUP,
            use_dictionary=[
                one.name for one in rows.schema if str(one.type) in {"string", "large_string"}
            ],
        )
        return sink.getvalue()

    @classmethod
    def read(cls, folder: ResultFolder, name: PartName) -> Part:
        """Read what a part says, from the end of its file.

        Raises
        ------
        ResultsError
            The file is damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        data = folder.read_end(name.path, _FOOTER)
        try:
            length = int.from_bytes(data[-8:-4], "little") + 8
            if length > len(data):
                data = folder.read_end(name.path, length)
            footer = pq.read_metadata(pa.BufferReader(data))
            values: dict[str, Any] = json.loads(footer.metadata[_KEY])
            check_layout(values["layout"], f"{folder.name}/{name.path}")
            return cls(
                name,
                values["written"],
                [FailedRun(**one) for one in values["failures"]],
                values["begun_s"],
                values["seconds"],
                values["float16_loss"],
            )
        except ResultsError:
            raise
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise ResultsError(
                f"{folder.name}/{name.path} is damaged: delete it, and run again to make its "
                f"windows anew. ({str(error).partition(chr(10))[0]})"
            ) from error


def list_parts(folder: ResultFolder) -> list[PartName]:
    """Return the parts that there are, sorted."""
    names = (PartName.parse(name) for name in folder.list(FOLDER))
    return sorted(name for name in names if name is not None)


def read_parts(folder: ResultFolder, names: Collection[PartName]) -> Iterator[Part]:
    """Yield what parts say about themselves, in the order of `names`."""
    from concurrent.futures import ThreadPoolExecutor

    if len(names) < _READERS:
        yield from (Part.read(folder, name) for name in names)
        return
    with ThreadPoolExecutor(_READERS, thread_name_prefix="headrace-footers") as readers:
        yield from readers.map(lambda name: Part.read(folder, name), names)
