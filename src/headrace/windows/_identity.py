"""The typed fields that decide an order: a saved state holds them, and resuming compares them.

`WindowsIdentity` has four parts: the recordings, how they are cut, which windows are chosen, and
their order. Each part is a frozen dataclass of integers, strings and digests that has a `kind`.
Its size is bounded: whatever grows with the data or the number of sources is stored as a digest.

`describe` writes a part out for people. No description is stored or compared, so its text may
change at any time. A change of the fields themselves needs a new version of the saved state
(`headrace.loading._state`).
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from operator import index
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex, get_args, get_origin, get_type_hints

import numpy as np

from headrace._formatting import brief, format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "AllWindows",
    "AudibleCutIdentity",
    "BalancedIdentity",
    "BlockShuffleIdentity",
    "ChoiceIdentity",
    "ConcatenationIdentity",
    "CropsIdentity",
    "CutIdentity",
    "CutsIdentity",
    "FileShuffleIdentity",
    "IdentityPart",
    "InOrderIdentity",
    "InterleavedShuffleIdentity",
    "LargeMixIdentity",
    "MixIdentity",
    "OrderIdentity",
    "RecordingShardIdentity",
    "RecordingsIdentity",
    "SampleIdentity",
    "SampleOnceIdentity",
    "SetIdentity",
    "SeveralCutsIdentity",
    "SliceIdentity",
    "TakenIdentity",
    "TimesIdentity",
    "WindowShuffleIdentity",
    "WindowsIdentity",
    "concatenate_identities",
    "digest_arrays",
    "mix_identity",
]

_DIGEST_BYTES = 16

_LISTED_SOURCES = 16
"""A mixture of more sources than this stores a digest of their counts. An arbitrary
choice: that many counts fit on a line of an error message."""


class IdentityPart(ABC):
    """A part of an identity: a frozen dataclass of plain values.

    Attributes
    ----------
    kind : str
        Distinguishes the parts that one field may hold.
    """

    __slots__ = ()

    kind: ClassVar[str]

    @abstractmethod
    def describe(self) -> str:
        """Return a description for people; it is never stored or compared."""


@dataclass(frozen=True, slots=True)
class RecordingsIdentity(IdentityPart):
    """Which recordings the windows are of.

    Attributes
    ----------
    count : int
        Number of recordings. A catalog that is used several times counts once.
    catalogs : int
        Number of different catalogs.
    fingerprint : str
        `Catalog.fingerprint`; of several catalogs, a digest of the fingerprint of each source.
    """

    kind: ClassVar[str] = "recordings"

    count: int
    catalogs: int
    fingerprint: str

    def describe(self) -> str:
        """Return a description for people."""
        several = f" of {self.catalogs:,} catalogs" if self.catalogs > 1 else ""
        return f"{format_count(self.count, 'recording')}{several} (fingerprint {self.fingerprint})"


@dataclass(frozen=True, slots=True)
class CutIdentity(IdentityPart):
    """How recordings are cut: the fields of `WindowSpec`, in samples at `sample_rate`."""

    kind: ClassVar[str] = "cut"

    sample_rate: int
    size: int
    hop: int
    tail: str
    min_tail: int
    channel: str | int

    def describe(self) -> str:
        """Return a description for people."""
        return (
            f"windows of {self.size:,} samples every {self.hop:,} samples at "
            f"{self.sample_rate} Hz, tail={self.tail!r} from {self.min_tail:,} samples, "
            f"channel={self.channel!r}"
        )


@dataclass(frozen=True, slots=True)
class AudibleCutIdentity(CutIdentity):
    """How recordings are cut where a window needs `min_audio` samples of audio."""

    kind: ClassVar[str] = "cut_with_min_audio"

    min_audio: int

    def describe(self) -> str:
        """Return a description for people."""
        cut = CutIdentity.describe(self)
        return f"{cut}, with at least {format_count(self.min_audio, 'sample')} of audio"


@dataclass(frozen=True, slots=True)
class SeveralCutsIdentity(IdentityPart):
    """How recordings are cut where the sources of a concatenation differ in it."""

    kind: ClassVar[str] = "several_cuts"

    sources: int
    digest: str

    def describe(self) -> str:
        """Return a description for people."""
        return f"{self.sources:,} sources that are cut in different ways (digest {self.digest})"


@dataclass(frozen=True, slots=True)
class AllWindows(IdentityPart):
    """Every window of the cut."""

    kind: ClassVar[str] = "all"

    def describe(self) -> str:
        """Return a description for people."""
        return "all windows"


@dataclass(frozen=True, slots=True)
class TimesIdentity(IdentityPart):
    """Windows at given times.

    Attributes
    ----------
    count : int
        Number of windows.
    digest : str
        Digest of each window's recording and first sample.
    jitter : int
        Largest distance in samples by which a window is moved in each epoch.
    seed : int
        Seed of the jitter; 0 without jitter.
    """

    kind: ClassVar[str] = "times"

    count: int
    digest: str
    jitter: int
    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        jitter = f", jitter {self.jitter:,} samples, seed {self.seed}" if self.jitter else ""
        return f"{format_count(self.count, 'window')} at given times (digest {self.digest}){jitter}"


@dataclass(frozen=True, slots=True)
class CropsIdentity(IdentityPart):
    """Windows at places that are drawn anew in each epoch.

    Attributes
    ----------
    per_recording : int
        Windows of each recording.
    seed : int
        Seed of the places.
    """

    kind: ClassVar[str] = "crops"

    per_recording: int
    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        crops = format_count(self.per_recording, "random crop")
        return f"{crops} of each recording, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class SliceIdentity(IdentityPart):
    """Windows ``start, start + step, ...``, `count` of them, of another choice."""

    kind: ClassVar[str] = "slice"

    start: int
    step: int
    count: int
    of: ChoiceIdentity

    def describe(self) -> str:
        """Return a description for people."""
        step = f" in steps of {self.step:,}" if self.step > 1 else ""
        base = _describe_base(self.of)
        return f"{format_count(self.count, 'window')} from {self.start:,}{step} of {base}"


@dataclass(frozen=True, slots=True)
class TakenIdentity(IdentityPart):
    """Windows of another choice that were taken by index; the indices are stored as a digest."""

    kind: ClassVar[str] = "taken"

    count: int
    digest: str
    of: ChoiceIdentity

    def describe(self) -> str:
        """Return a description for people."""
        return (
            f"{format_count(self.count, 'window')} taken by index (digest {self.digest}) from "
            f"{_describe_base(self.of)}"
        )


@dataclass(frozen=True, slots=True)
class ConcatenationIdentity(IdentityPart):
    """Several choices one after the other, stored as a digest."""

    kind: ClassVar[str] = "concatenation"

    sources: int
    count: int
    digest: str

    def describe(self) -> str:
        """Return a description for people."""
        return (
            f"{format_count(self.count, 'window')} of {format_count(self.sources, 'source')} "
            f"(digest {self.digest})"
        )


@dataclass(frozen=True, slots=True)
class InOrderIdentity(IdentityPart):
    """The windows in the order of the set."""

    kind: ClassVar[str] = "in_order"

    def describe(self) -> str:
        """Return a description for people."""
        return "in order"


@dataclass(frozen=True, slots=True)
class WindowShuffleIdentity(IdentityPart):
    """All windows, shuffled."""

    kind: ClassVar[str] = "shuffle_windows"

    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        return f"shuffled by window, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class FileShuffleIdentity(IdentityPart):
    """Files shuffled, the windows of each file in order."""

    kind: ClassVar[str] = "shuffle_files"

    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        return f"shuffled by file, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class InterleavedShuffleIdentity(IdentityPart):
    """Files shuffled, windows drawn from several at once, the windows of each file in order."""

    kind: ClassVar[str] = "shuffle_files_interleaved"

    interleave: int
    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        return f"shuffled by file, {self.interleave:,} at once, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class BlockShuffleIdentity(IdentityPart):
    """Blocks of `block` neighbouring windows of a file shuffled, each block in order."""

    kind: ClassVar[str] = "shuffle_blocks"

    block: int
    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        return f"shuffled by blocks of {self.block:,}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class SampleIdentity(IdentityPart):
    """`n` draws with replacement; the weights are stored as a digest."""

    kind: ClassVar[str] = "sample"

    n: int
    weights: str
    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        return f"{format_count(self.n, 'draw')} by weight (digest {self.weights}), seed {self.seed}"


@dataclass(frozen=True, slots=True)
class SampleOnceIdentity(IdentityPart):
    """`n` draws without replacement; the weights are stored as a digest, ``""`` for equal ones."""

    kind: ClassVar[str] = "sample_once"

    n: int
    weights: str
    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        weights = f"by weight (digest {self.weights}) " if self.weights else ""
        return f"{format_count(self.n, 'draw')} {weights}without replacement, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class BalancedIdentity(IdentityPart):
    """Draws of some values equally often; which window has which value is stored as a digest."""

    kind: ClassVar[str] = "balanced"

    values: int
    n: int
    digest: str
    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        return (
            f"{format_count(self.n, 'window')} balanced over {format_count(self.values, 'value')} "
            f"(digest {self.digest}), seed {self.seed}"
        )


@dataclass(frozen=True, slots=True)
class MixIdentity(IdentityPart):
    """A mixture of few sources: the windows of each source in an epoch."""

    kind: ClassVar[str] = "mix"

    counts: tuple[int, ...]
    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        return f"mixed {' : '.join(map(str, self.counts))}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class LargeMixIdentity(IdentityPart):
    """A mixture of many sources: the counts of each are stored as a digest."""

    kind: ClassVar[str] = "large_mix"

    sources: int
    n: int
    counts: str
    seed: int

    def describe(self) -> str:
        """Return a description for people."""
        return (
            f"{format_count(self.n, 'window')} mixed from {format_count(self.sources, 'source')} "
            f"(counts with digest {self.counts}), seed {self.seed}"
        )


@dataclass(frozen=True, slots=True)
class RecordingShardIdentity(IdentityPart):
    """One rank's recordings in an order of their own: ``shard(by="recording")``."""

    kind: ClassVar[str] = "shard_of_recordings"

    rank: int
    world: int
    of: OrderIdentity

    def describe(self) -> str:
        """Return a description for people."""
        return f"{self.of.describe()}, sharded by recording, rank {self.rank} of {self.world}"


CutsIdentity = CutIdentity | AudibleCutIdentity | SeveralCutsIdentity
ChoiceIdentity = (
    AllWindows
    | TimesIdentity
    | CropsIdentity
    | SliceIdentity
    | TakenIdentity
    | ConcatenationIdentity
)
OrderIdentity = (
    InOrderIdentity
    | WindowShuffleIdentity
    | FileShuffleIdentity
    | InterleavedShuffleIdentity
    | BlockShuffleIdentity
    | SampleIdentity
    | SampleOnceIdentity
    | BalancedIdentity
    | MixIdentity
    | LargeMixIdentity
    | RecordingShardIdentity
)


@dataclass(frozen=True, slots=True)
class SetIdentity:
    """What decides which windows a set has, and where each of them is."""

    recordings: RecordingsIdentity
    cut: CutsIdentity
    choice: ChoiceIdentity


@dataclass(frozen=True, slots=True)
class WindowsIdentity:
    """What decides the windows of every epoch, and their order.

    Neither paths nor modification times are part of it, nor is a shard of positions, because all
    ranks share one order.
    """

    recordings: RecordingsIdentity
    cut: CutsIdentity
    choice: ChoiceIdentity
    order: OrderIdentity

    def to_json(self) -> dict[str, Any]:
        """Return the parts as dicts of integers, strings and lists; a new one at each call."""
        return {name: _to_json(getattr(self, name)) for name in _field_types(WindowsIdentity)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> WindowsIdentity:
        """Return the identity that `to_json` wrote.

        Raises
        ------
        ValueError
            A part or a field is missing, unknown or of a wrong type.
        """
        types = _field_types(cls)
        _check_names(plain, types)
        return cls(**{name: _from_json(plain[name], types[name]) for name in types})

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of all fields: 32 digits, the same on every machine."""
        return _digest_json(self.to_json())


def concatenate_identities(
    sources: Sequence[SetIdentity], catalogs: Mapping[str, int], count: int
) -> SetIdentity:
    """Return the identity of several sets one after the other.

    Parameters
    ----------
    sources : sequence of SetIdentity
        Of each set; none is a concatenation itself.
    catalogs : mapping
        The number of recordings of each catalog, by its fingerprint.
    count : int
        Number of windows in all.
    """
    if len(sources) == 1:
        return sources[0]
    recordings = [one.recordings.fingerprint for one in sources]
    fingerprint = recordings[0] if len(set(recordings)) == 1 else _digest_json(recordings)
    cut: CutsIdentity = sources[0].cut
    if any(one.cut != cut for one in sources):
        cuts = [_to_json(one.cut) for one in sources]
        cut = SeveralCutsIdentity(len(sources), _digest_json(cuts))
    choices = [_to_json(one.choice) for one in sources]
    return SetIdentity(
        RecordingsIdentity(sum(catalogs.values()), len(catalogs), fingerprint),
        cut,
        ConcatenationIdentity(len(sources), count, _digest_json(choices)),
    )


def mix_identity(counts: tuple[int, ...], seed: int) -> MixIdentity | LargeMixIdentity:
    """Return the identity of a mixture: `counts` windows of each source in an epoch."""
    if len(counts) <= _LISTED_SOURCES:
        return MixIdentity(counts, seed)
    digest = digest_arrays(np.array(counts, np.int64))
    return LargeMixIdentity(len(counts), sum(counts), digest, seed)


def digest_arrays(*arrays: NDArray[np.int64] | NDArray[np.float64]) -> str:
    """Return 32 hexadecimal digits of some arrays of 8-byte numbers, the same on every machine."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for array in arrays:
        digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def _describe_base(choice: ChoiceIdentity) -> str:
    return f"({choice.describe()})" if isinstance(choice, SliceIdentity) else choice.describe()


def _digest_json(plain: object) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).hexdigest()


_FIELD_TYPES: dict[type, dict[str, Any]] = {}


def _field_types(kind: type[Any]) -> dict[str, Any]:
    """Return the type of each field of a dataclass."""
    if kind not in _FIELD_TYPES:
        hints = get_type_hints(kind)
        _FIELD_TYPES[kind] = {field.name: hints[field.name] for field in fields(kind)}
    return _FIELD_TYPES[kind]


def _to_json(value: object) -> object:
    if isinstance(value, IdentityPart):
        plain = {name: _to_json(getattr(value, name)) for name in _field_types(type(value))}
        return {"kind": value.kind, **plain}
    return list(value) if isinstance(value, tuple) else value


def _from_json(plain: object, expected: Any) -> Any:  # noqa: ANN401  a field of that type
    """Return a value of the type `expected`; raise `ValueError` if `plain` is none."""
    options = get_args(expected) if isinstance(expected, UnionType) else (expected,)
    if isinstance(plain, Mapping):
        for option in options:
            if getattr(option, "kind", None) == plain.get("kind", ""):
                types = _field_types(option)
                _check_names(plain, {"kind": str, **types})
                return option(**{name: _from_json(plain[name], types[name]) for name in types})
    elif isinstance(plain, str):
        if str in options:
            return plain
    elif isinstance(plain, list | tuple):
        if get_origin(expected) is tuple:
            return tuple(_from_json(one, int) for one in plain)
    elif int in options and not isinstance(plain, bool) and isinstance(plain, SupportsIndex):
        return index(plain)  # also NumPy's integers, which some checkpoints hold
    raise ValueError(f"{brief(plain)} is not of type {expected}")


def _check_names(plain: Mapping[str, Any], names: Mapping[str, Any]) -> None:
    if plain.keys() != names.keys():
        raise ValueError(f"the fields are {sorted(plain)}, not {sorted(names)}")
