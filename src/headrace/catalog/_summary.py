"""`summarise`: what a catalog holds, in a few numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from headrace.catalog._descriptions import count_partly_usable, damaged_files
from headrace.failures import failure_to_json

if TYPE_CHECKING:
    from headrace.catalog._catalog import Catalog
    from headrace.failures import Failure

__all__ = ["Kind", "Summary", "summarise"]

_FAILURE_FIELDS = ("file_id", "path", "code", "message", "start_s", "stop_s", "windows")


@dataclass(frozen=True, slots=True)
class Kind:
    """The recordings of one format, sample rate and number of channels.

    Attributes
    ----------
    format, subtype : str
        libsndfile's names.
    sample_rate : int
        Hz.
    channels, recordings : int
        How many.
    audio_s, shortest_s, longest_s : float
        Seconds: of all these recordings together, and of two of them.
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
class Summary:
    """What a catalog holds.

    Attributes
    ----------
    root : str
        Folder that the recordings' ids are relative to.
    recordings : int
        How many.
    audio_s : float
        Seconds of audio in all.
    bytes : int
        Size of the files together.
    kinds : tuple of Kind
        The most audio first.
    failures : tuple of Failure
        What is wrong with which file.
    partly : int
        Files among these of which a part can be used.
    """

    root: str
    recordings: int
    audio_s: float
    bytes: int
    kinds: tuple[Kind, ...]
    failures: tuple[Failure, ...]
    partly: int

    @property
    def damaged(self) -> int:
        """How many files are damaged."""
        return len(damaged_files(self.failures))

    def as_json(self) -> dict[str, Any]:
        """Return the summary as what `json.dump` takes."""
        return {
            "root": self.root,
            "recordings": self.recordings,
            "audio_s": self.audio_s,
            "bytes": self.bytes,
            "kinds": [asdict(kind) for kind in self.kinds],
            "damaged": self.damaged,
            "partly": self.partly,
            "failures": [failure_to_json(one, _FAILURE_FIELDS) for one in self.failures],
        }


def summarise(catalog: Catalog) -> Summary:
    """Return what `catalog` holds; a million recordings take a fraction of a second."""
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
    )
