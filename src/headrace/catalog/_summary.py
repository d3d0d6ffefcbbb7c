"""`summarise`: the contents of a catalog in a few numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from headrace.catalog._damage import count_partly_usable, damaged_file_ids
from headrace.catalog._metadata import METADATA
from headrace.failures import failure_to_json

if TYPE_CHECKING:
    from headrace.catalog._catalog import Catalog
    from headrace.failures import Failure

__all__ = ["Kind", "Summary", "summarise"]

_FAILURE_FIELDS = ("file_id", "path", "code", "message", "start_s", "stop_s", "windows")


@dataclass(frozen=True, slots=True)
class Kind:
    """The recordings with one format, sample rate and number of channels.

    Attributes
    ----------
    format, subtype : str
        Names of the container and the sample format.
    sample_rate : int
        Hz.
    channels, recordings : int
        Number of channels, and of recordings.
    audio_s, shortest_s, longest_s : float
        Durations in seconds: of all recordings together, of the shortest, of the longest.
    """

    format: str
    subtype: str
    sample_rate: int
    channels: int
    recordings: int
    audio_s: float
    shortest_s: float
    longest_s: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """When and where recordings were made, as far as their metadata say.

    Attributes
    ----------
    timed, placed, conflicts : int
        Number of recordings whose time and whose position is known, and of those whose sources
        disagree.
    first, last : str or None
        When the first and the last of them began, in UTC, in ISO 8601; None if no time is known.
    """

    timed: int
    placed: int
    conflicts: int
    first: str | None
    last: str | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The contents of a catalog.

    Attributes
    ----------
    root : str
        Folder that the recordings' ids are relative to.
    recordings : int
        Number of recordings.
    audio_s : float
        Seconds of audio in all recordings together.
    bytes : int
        Size of all files together.
    kinds : tuple of Kind
        Sorted by `Kind.audio_s`, the most first.
    failures : tuple of Failure
        What is wrong with the damaged files.
    partly : int
        Number of damaged files that can be used in part.
    recorded : Recorded or None
        None if the catalog has no metadata.
    """

    root: str
    recordings: int
    audio_s: float
    bytes: int
    kinds: tuple[Kind, ...]
    failures: tuple[Failure, ...]
    partly: int
    recorded: Recorded | None = None

    @property
    def damaged(self) -> int:
        """Number of damaged files."""
        return len(damaged_file_ids(self.failures))

    def as_json(self) -> dict[str, Any]:
        """Return the summary as values for `json.dump`."""
        recorded = {} if self.recorded is None else {"recorded": asdict(self.recorded)}
        return {
            "root": self.root,
            "recordings": self.recordings,
            "audio_s": self.audio_s,
            "bytes": self.bytes,
            "kinds": [asdict(kind) for kind in self.kinds],
            **recorded,
            "damaged": self.damaged,
            "partly": self.partly,
            "failures": [failure_to_json(one, _FAILURE_FIELDS) for one in self.failures],
        }


def summarise(catalog: Catalog) -> Summary:
    """Summarise `catalog`; a million recordings take a fraction of a second."""
    keys = ["format", "subtype", "sample_rate", "channels"]
    groups = (
        catalog.to_arrow()
        .group_by(keys)
        .aggregate([("frames", how) for how in ("count", "sum", "min", "max")] + [("size", "sum")])
        .to_pylist()
    )
    kinds = (
        Kind(
            **{key: group[key] for key in keys},
            recordings=group["frames_count"],
            audio_s=group["frames_sum"] / group["sample_rate"],
            shortest_s=group["frames_min"] / group["sample_rate"],
            longest_s=group["frames_max"] / group["sample_rate"],
        )
        for group in groups
    )
    ordered = tuple(sorted(kinds, key=lambda kind: (-kind.audio_s, kind.format, kind.sample_rate)))
    return Summary(
        root=str(catalog.root),
        recordings=len(catalog),
        audio_s=sum(kind.audio_s for kind in ordered),
        bytes=sum(group["size_sum"] for group in groups),
        kinds=ordered,
        failures=tuple(catalog.failures),
        partly=count_partly_usable(catalog.failures, catalog.to_arrow()),
        recorded=_recorded(catalog),
    )


def _recorded(catalog: Catalog) -> Recorded | None:
    import pyarrow.compute as pc

    if not all(name in catalog.columns for name in METADATA):
        return None
    table = catalog.to_arrow().select([*METADATA])
    known = {name: len(table) - table[name].null_count for name in METADATA}
    ends = pc.min_max(table["recorded_at"]).as_py()
    first, last = (None if one is None else one.isoformat() for one in ends.values())
    return Recorded(
        known["recorded_at"], known["latitude"], known["metadata_conflict"], first, last
    )
