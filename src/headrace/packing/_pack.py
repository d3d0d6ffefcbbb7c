"""`pack`: an archive, decoded and resampled once, as tar shards and a catalog.

Guarantees
----------
- A shard, its part of the catalog, and the note in ``pack.json`` that it is complete appear one
  after the other, each as a whole. Packing that was stopped goes on behind the last note.
- What is packed depends on the catalog and the settings alone, not on the number of threads.
- Of each recording in progress, at most `_IN_MEMORY` encoded bytes are in memory; those of longer
  ones are in a temporary file in the folder.
- However packing ends, its threads have ended before.
- One process packs into a folder at a time. Another one is refused.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, cast

import numpy as np

from headrace._cpu_count import available_processors
from headrace._paths import absolute
from headrace._progress import progress_bar
from headrace._validation import parse_bytes
from headrace.catalog import (
    BUILT_IN,
    Catalog,
    check_any_usable,
    describe_damage,
    from_recordings,
    load_catalog,
    worker_count,
)
from headrace.codecs import Recording, probe
from headrace.concurrency import Job, Prefetcher, Task
from headrace.errors import CatalogError, DamagedWarning, HeadraceError, HeadraceWarning
from headrace.packing._encode import encode
from headrace.packing._shards import ShardWriter
from headrace.storage import Place, is_url, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.concurrency import CancellationToken
    from headrace.failures import Failure
    from headrace.packing._encode import PackFormat

__all__ = ["pack"]

_VERSION: Final = 1  # of the state
_STATE: Final = "pack.json"
_CATALOG: Final = "catalog.parquet"
_UNSAVED: Final = f".{_STATE}.tmp"
_PARTS: Final = ".pack"
_IN_MEMORY: Final = 16 << 20
_AHEAD: Final = 2  # recordings in progress or waiting, for each thread
_NOT_KEPT: Final = frozenset({"declared_frames"})


@dataclass(slots=True)
class _Encoded:
    """A recording, encoded."""

    file: BinaryIO
    clipped: int = 0
    failures: tuple[Failure, ...] = ()


@dataclass(slots=True)
class _State:
    """What has been packed."""

    settings: dict[str, Any]
    shards: int = 0
    next_row: int = 0
    done: bool = False

    def save(self, folder: Path) -> None:
        temporary = folder / _UNSAVED
        with temporary.open("w", encoding="utf-8") as out:
            json.dump({"version": _VERSION, **asdict(self)}, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(folder / _STATE)


@dataclass(slots=True)
class _Shard:
    """The shard in progress."""

    writer: ShardWriter | None = None
    rows: list[int] = field(default_factory=list)
    clipped: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def pack(
    catalog: Catalog,
    folder: str | os.PathLike[str],
    form: PackFormat,
    *,
    shard_size: str | float,
    workers: int | Literal["auto"],
    progress: bool | None,
) -> Catalog:
    """Do what `Catalog.pack` says."""
    form.windows(catalog)  # refuses what cannot be cut before any work
    size = parse_bytes(shard_size, "shard_size")
    threads = available_processors() if workers == "auto" else worker_count(workers)
    if is_url(os.fspath(folder)):
        raise CatalogError(
            f"{redacted(os.fspath(folder))!r} is a URL: packs are written to this machine. Give a "
            "folder, and copy it to the bucket afterwards."
        )
    target = Path(absolute(folder))
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(
            f"The folder {str(target)!r} cannot be made ({error.strerror or error}): "
            "choose another one."
        ) from error
    settings = {"catalog": catalog.fingerprint, "shard_bytes": size, **asdict(form)}
    state = _saved_state(target, settings)
    if state is None or not state.done:
        try:
            with _locked(target):
                state = _saved_state(target, settings) or _begin(target, settings)
                if not state.done:
                    _Packer(catalog, target, form, size, state).run(threads, progress)
        except OSError as error:
            if isinstance(error, HeadraceError):
                raise
            raise CatalogError(
                f"Packing into {str(target)!r} has stopped ({error.strerror or error}). When that "
                "is mended, the same call goes on from there."
            ) from error
    packed = load_catalog(target / _CATALOG, root=target)
    known = set(catalog.failures)
    new = tuple(one for one in packed.failures if one not in known)
    if new:
        warnings.warn(describe_damage(new, packed.to_arrow()), DamagedWarning, stacklevel=3)
    _warn_of_clipping(packed)
    return packed


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from packing into a folder, where its file system has locks.

    Raises
    ------
    CatalogError
        Another one does it now.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CatalogError(
                    f"Another process is packing into {str(folder)!r}: wait until it has ended, or "
                    "choose another folder."
                ) from None
        yield
    finally:
        os.close(descriptor)


def _saved_state(folder: Path, settings: dict[str, Any]) -> _State | None:
    """Return the state of the pack in a folder, or None if there is no pack.

    Raises
    ------
    CatalogError
        It is damaged, or that of another pack.
    """
    try:
        values = json.loads((folder / _STATE).read_text("utf-8"))
        version = values.pop("version")
        state = _State(**values)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CatalogError(
            f"{str(folder / _STATE)!r} is damaged: remove the folder, and pack again."
        ) from None
    if version != _VERSION or state.settings != settings:
        raise CatalogError(
            f"The folder {str(folder)!r} holds a pack of other recordings, or with other settings: "
            "choose another one."
        )
    return state


def _begin(folder: Path, settings: dict[str, Any]) -> _State:
    """Return the state of a new pack in an empty folder.

    Raises
    ------
    CatalogError
        The folder holds something.
    """
    if any(path.name != _UNSAVED for path in folder.iterdir()):
        raise CatalogError(
            f"The folder {str(folder)!r} is not empty, and holds no pack that could be "
            "continued: choose another one."
        )
    state = _State(settings)
    state.save(folder)
    return state


class _Packer:
    """Packs what a state says is left."""

    def __init__(
        self, catalog: Catalog, folder: Path, form: PackFormat, shard_bytes: int, state: _State
    ) -> None:
        self._catalog = catalog
        self._folder = folder
        self._form = form
        self._shard_bytes = shard_bytes
        self._state = state
        self._shard = _Shard()
        self._files: set[BinaryIO] = set()
        self._names = _member_names(catalog.ids.to_pylist(), f".{form.container}")

    def run(self, workers: int, progress: bool | None) -> None:
        """Pack all, and write the catalog."""
        (self._folder / _PARTS).mkdir(exist_ok=True)
        for left in self._folder.glob(".shard-*.tmp*"):
            left.unlink()
        total = len(self._catalog)
        done, damaged = self._state.next_row, 0
        prefetcher = Prefetcher(
            self._jobs(), workers=workers, depth=_AHEAD * workers, name="headrace-pack"
        )
        try:
            with closing(prefetcher), progress_bar("Packing", progress) as update:
                for row, encoded in enumerate(prefetcher, done):
                    with encoded.file:
                        self._add(row, encoded)
                    self._files.discard(encoded.file)
                    damaged += bool(encoded.failures)
                    update(row + 1, total, damaged)
            self._finish_shard(total)
        finally:
            for file in self._files:
                file.close()
            if self._shard.writer is not None:
                self._shard.writer.discard()
        self._finish()

    def _jobs(self) -> Iterator[Job[_Encoded]]:
        for row in range(self._state.next_row, len(self._catalog)):
            file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._folder))  # noqa: SIM115
            encoded = _Encoded(cast("BinaryIO", file))
            self._files.add(encoded.file)
            one = self._catalog[row : row + 1]
            yield Job(encoded, [Task(partial(self._encode, one, encoded))])

    def _encode(self, one: Catalog, encoded: _Encoded, cancelled: CancellationToken) -> None:
        encoded.clipped, encoded.failures = encode(one, self._form, encoded.file, cancelled)

    def _add(self, row: int, encoded: _Encoded) -> None:
        shard = self._shard
        if encoded.failures:
            shard.failures.extend(encoded.failures)
            return
        size = encoded.file.seek(0, os.SEEK_END)
        encoded.file.seek(0)
        if shard.writer is not None and shard.writer.size + size > self._shard_bytes:
            self._finish_shard(row)
            shard = self._shard
        if shard.writer is None:
            name = f"shard-{self._state.shards:06}.tar"
            shard.writer = ShardWriter(self._folder / name)
        shard.writer.add(self._names[row], encoded.file, size)
        shard.rows.append(row)
        shard.clipped.append(encoded.clipped)

    def _finish_shard(self, next_row: int) -> None:
        """Complete the shard in progress, and its part of the catalog."""
        shard, state = self._shard, self._state
        recordings: list[Recording] = []
        if shard.writer is not None:
            path = shard.writer.file.as_posix()
            for member in shard.writer.finish():
                place = Place(path, member.offset, member.size)
                found = probe(place, f"{shard.writer.file.name}/{member.name}")
                if not isinstance(found, Recording):
                    raise OSError(f"{path!r} does not hold what was written to it: {found}")
                recordings.append(found)
        further = self._catalog.to_arrow().take(np.array(shard.rows, np.int64))
        columns: dict[str, Any] = {
            name: further[name]
            for name in further.column_names[len(BUILT_IN) :]
            if name not in _NOT_KEPT
        }
        columns |= {"source_id": further["id"], "clipped_samples": shard.clipped}
        part = Catalog(
            from_recordings(recordings), self._folder.as_posix(), tuple(shard.failures)
        ).with_columns(**columns)
        part.save(self._folder / _PARTS / f"{state.shards:06}.parquet")
        state.shards += 1
        state.next_row = next_row
        state.save(self._folder)
        self._shard = _Shard()

    def _finish(self) -> None:
        """Write the catalog of all parts."""
        import pyarrow as pa

        parts = [
            load_catalog(self._folder / _PARTS / f"{number:06}.parquet")
            for number in range(self._state.shards)
        ]
        table = pa.concat_tables(
            [part.to_arrow().replace_schema_metadata(None) for part in parts],
            promote_options="permissive",
        )
        failures = *self._catalog.failures, *(one for part in parts for one in part.failures)
        check_any_usable(table, failures)
        Catalog(table, self._folder.as_posix(), failures).save(self._folder / _CATALOG)
        self._state.done = True
        self._state.save(self._folder)
        shutil.rmtree(self._folder / _PARTS)


def _member_names(ids: Sequence[str], ending: str) -> list[str]:
    """Return names of members: ids with another extension, or with one more if two would be equal.

    No name leads out of the folder that a tar is unpacked in.
    """
    plain = ["/".join("_" if part == ".." else part for part in id_.split("/")) for id_ in ids]
    plain = [name.lstrip("/") for name in plain]
    replaced = [name.removesuffix(PurePosixPath(name).suffix) + ending for name in plain]
    counts = Counter(replaced)
    return [
        short if counts[short] == 1 else name + ending
        for name, short in zip(plain, replaced, strict=True)
    ]


def _warn_of_clipping(packed: Catalog) -> None:
    clipped = packed.column("clipped_samples")
    if clipped.any():
        warnings.warn(
            f"{int(clipped.sum()):,} samples in {int((clipped > 0).sum()):,} recordings were "
            "beyond full scale and have been clipped (column clipped_samples): pack with "
            'format="wav" to keep them.',
            HeadraceWarning,
            stacklevel=4,
        )
