"""`ResultFolder`: the few operations on a folder or a bucket that a run's correctness rests on.

Guarantees
----------
- `ResultFolder.create` makes a file with all its bytes, or does nothing because there is one. Of
  several processes that create one name, exactly one succeeds. After it returned, the file survives
  a loss of power.
- A reader never sees a part of a created file.
- All methods may be called from any thread.
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from headrace._formatting import escape_controls
from headrace.errors import CatalogError, ResultsError
from headrace.inference._owner import Owner
from headrace.storage import is_url, open_store, parse_url, redacted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    import pyarrow.dataset

    from headrace.storage import Url

__all__ = ["LocalFolder", "ObjectFolder", "ResultFolder", "open_bucket", "open_folder"]

_REASON: Final = re.compile("<Message>(.*?)</Message>", re.DOTALL)
"""Where the answer of a store says what is wrong."""

_QUERY: Final = re.compile(r"\?[^\s,)]+")
"""A query, which may be signed, also where no whole URL stands before it."""

_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
"""What link(2) reports where a file system has no hard links: EPERM on Linux, as for FAT and exFAT;
ENOTSUP on macOS; others on network file systems; EINVAL on Windows. A permission that is missing is
EACCES."""

_TIMEOUT: Final = "600 s"
"""For one request to a store. A part of 64 MiB takes 9 minutes at 1 Mbit/s. obstore's default of 30
s needs 18 Mbit/s."""

_URL_SCHEMES: Final = ("s3", "gs", "az", "s3a", "gcs", "azure", "abfs", "abfss", "adl")


class ResultFolder(ABC):
    """A folder that holds a run: a few folders of small names, each a file that never changes.

    Attributes
    ----------
    name : str
        Its path or URL, for people.
    """

    name: str

    @abstractmethod
    def prepare(self) -> None:
        """Create the folder, and check that `create` keeps its promise here.

        Raises
        ------
        ResultsError
            It does not.
        OSError
            The folder cannot be written.
        """

    @abstractmethod
    def list(self, folder: str) -> dict[str, str]:
        """Return the names in a folder, each with a text that changes when the file does."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Create a file if there is none of that name; return whether it was created."""

    @abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Write a file, or replace it. Only for hints: nothing correct rests on it."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises
        ------
        FileNotFoundError
            There is none.
        """

    @abstractmethod
    def read_end(self, name: str, count: int) -> bytes:
        """Return the last `count` bytes of a file, or all if it is shorter."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file if there is one."""

    @abstractmethod
    def dataset(self, names: Sequence[str], schema: pa.Schema) -> pyarrow.dataset.Dataset:
        """Return a dataset of Parquet files."""


class LocalFolder(ResultFolder):
    """A folder of a file system that has hard links, on this machine or on a network."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).expanduser()
        self.name = str(path)

    def prepare(self) -> None:
        """Create the folders, and remove what processes that were killed have left."""
        if self._path.exists() and not self._path.is_dir():
            raise ResultsError(f"{self.name!r} is a file: name a folder for the results.")
        for folder in ("generations", "leases", "parts"):
            (self._path / folder).mkdir(parents=True, exist_ok=True)
        _sync_folder(self._path)
        with suppress(PermissionError):  # the parent may be somebody else's
            _sync_folder(self._path.parent)
        for folder in (".", "generations", "leases", "parts"):
            for file in (self._path / folder).glob(".*.tmp"):
                if Owner.of_temporary(file.name).has_ended():
                    file.unlink(missing_ok=True)
        name = f"parts/.{Owner.current().text}.{uuid.uuid4().hex}.probe.tmp"
        try:
            if not self.create(name, b"") or self.create(name, b""):
                raise ResultsError(
                    f"the file system of {self.name!r} does not keep a file from being created "
                    "twice: choose another place for the results."
                )
        finally:
            self.delete(name)

    def list(self, folder: str) -> dict[str, str]:
        """Return the names in a folder, each with a text that changes when the file does."""
        found: dict[str, str] = {}
        with suppress(FileNotFoundError), os.scandir(self._path / folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        status = entry.stat() if folder == "leases" else None
                        found[entry.name] = (
                            "" if status is None else f"{status.st_mtime_ns} {status.st_ino}"
                        )
        return found

    def create(self, name: str, data: bytes) -> bool:
        """Create a file by a link to a complete one: atomic, also on network file systems."""
        target = self._path / name
        with self._written(target, data, sync=True) as temporary:
            try:
                os.link(temporary, target)
            except FileExistsError:
                # A network file system may make the link, lose the answer, and try again.
                if temporary.stat().st_nlink != 2:  # noqa: PLR2004  this name and the target's
                    return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise ResultsError(
                    f"the file system of {self.name!r} has no hard links, by which results are "
                    "written exactly once: choose a folder on another disk. "
                    f"({error.strerror or error})"
                ) from error
            _sync_folder(target.parent)
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Write a file, or replace it as a whole."""
        with self._written(self._path / name, data, sync=False) as temporary:
            temporary.replace(self._path / name)

    @contextmanager
    def _written(self, target: Path, data: bytes, *, sync: bool) -> Iterator[Path]:
        """Yield a temporary file beside `target` that holds the data."""
        temporary = target.parent / f".{Owner.current().text}.{uuid.uuid4().hex}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            yield temporary
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""
        return (self._path / name).exists()

    def read(self, name: str) -> bytes:
        """Return the bytes of a file."""
        return (self._path / name).read_bytes()

    def read_end(self, name: str, count: int) -> bytes:
        """Return the last `count` bytes of a file, or all if it is shorter."""
        with (self._path / name).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - count))
            return file.read()

    def delete(self, name: str) -> None:
        """Delete a file if there is one."""
        (self._path / name).unlink(missing_ok=True)

    def dataset(self, names: Sequence[str], schema: pa.Schema) -> pyarrow.dataset.Dataset:
        """Return a dataset of Parquet files."""
        import pyarrow.dataset as ds

        paths = [str(self._path / name) for name in names]
        return ds.dataset(paths, schema=schema, format="parquet")


class ObjectFolder(ResultFolder):
    """A prefix of a bucket, through obstore. A put with ``If-None-Match: *`` creates.

    Parameters
    ----------
    store : obstore store
        Its prefix is the folder.
    scheme, name : str
        ``s3``, ``gs`` or ``az``, and the URL without credentials.
    """

    def __init__(self, store: Any, scheme: str, name: str) -> None:  # noqa: ANN401  one of obstore's
        self._store = store
        self._scheme = scheme
        self.name = name

    def prepare(self) -> None:
        """Try on a name of its own whether the store creates a name only once."""
        name = f"probes/{uuid.uuid4().hex}"
        try:
            if not self.create(name, b"1") or self.create(name, b"2"):
                raise ResultsError(
                    f"the store of {self.name} ignores If-None-Match, by which results are "
                    "written exactly once: choose another store, or a folder."
                )
        finally:
            self.delete(name)

    def list(self, folder: str) -> dict[str, str]:
        """Return the names in a folder, each with a text that changes when the object does."""
        import obstore

        with _store_errors(self.name):
            metas = obstore.list(self._store, f"{folder}/").collect()
        return {
            str(meta["path"]).rpartition("/")[2]: str(meta["e_tag"] or meta["last_modified"])
            for meta in metas
        }

    def create(self, name: str, data: bytes) -> bool:
        """Put an object if there is none of that name; return whether there was none."""
        import obstore

        with _store_errors(self.name):
            try:
                obstore.put(self._store, name, data, mode="create", use_multipart=False)
            except obstore.exceptions.AlreadyExistsError:
                return False
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Put an object."""
        import obstore

        with _store_errors(self.name):
            obstore.put(self._store, name, data, use_multipart=False)

    def exists(self, name: str) -> bool:
        """Return whether there is such an object."""
        import obstore

        with _store_errors(self.name):
            try:
                obstore.head(self._store, name)
            except FileNotFoundError:
                return False
        return True

    def read(self, name: str) -> bytes:
        """Return the bytes of an object."""
        import obstore

        with _store_errors(self.name):
            return bytes(obstore.get(self._store, name).bytes())

    def read_end(self, name: str, count: int) -> bytes:
        """Return the last `count` bytes of an object, or all if it is shorter."""
        import obstore

        with _store_errors(self.name):
            try:
                answer = obstore.get(self._store, name, options={"range": {"suffix": count}})
            except obstore.exceptions.NotSupportedError:  # Azure has no such ranges
                size = int(obstore.head(self._store, name)["size"])
                start = max(0, size - count)
                return bytes(obstore.get_range(self._store, name, start=start, end=size))
            return bytes(answer.bytes())

    def delete(self, name: str) -> None:
        """Delete an object if there is one."""
        import obstore

        with _store_errors(self.name), suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    def dataset(self, names: Sequence[str], schema: pa.Schema) -> pyarrow.dataset.Dataset:
        """Return a dataset of Parquet files."""
        import pyarrow.dataset as ds
        from obstore.fsspec import FsspecStore

        store, make_files = self._store, cast("Any", FsspecStore)
        files = make_files(
            self._scheme,
            config=store.config,
            client_options=store.client_options,
            retry_config=store.retry_config,
            credential_provider=getattr(store, "credential_provider", None),
        )
        place = _bucket_and_prefix(store)
        paths = [f"{place}/{name}" for name in names]
        return ds.dataset(paths, schema=schema, format="parquet", filesystem=files)


def open_folder(output: object) -> ResultFolder:
    """Return the folder for a path, the URL of a bucket, or a store of obstore.

    Raises
    ------
    ResultsError
        It is none of these, or obstore is not installed.
    """
    if isinstance(output, str) and is_url(output):
        scheme, _, path = output.partition("://")
        if scheme.lower() == "file":
            return LocalFolder(path)
        url, store = _parse(output), open_bucket(output, {})
        return ObjectFolder(store, _scheme_of(store), url.text.rstrip("/"))
    if isinstance(output, str | os.PathLike):
        return LocalFolder(output)
    if type(output).__module__.split(".")[0] == "obstore" and hasattr(output, "prefix"):
        scheme = _scheme_of(output)
        if scheme:
            return ObjectFolder(output, scheme, f"{scheme}://{_bucket_and_prefix(output)}")
    raise ResultsError(
        f"results cannot be written to {type(output).__name__}: give a folder, a URL such as "
        "s3://bucket/results, or a store of obstore."
    )


def open_bucket(output: str, options: Mapping[str, object]) -> Any:  # noqa: ANN401  one of obstore's
    """Return obstore's store for the URL of a folder of results.

    Raises
    ------
    ResultsError
        Results cannot be written there, or obstore is not installed.
    OSError
        obstore refuses the URL or an option.
    """
    url = _parse(output)
    with _store_errors(url.text):
        try:
            return open_store(output.rstrip("/"), options, {"timeout": _TIMEOUT})
        except ModuleNotFoundError:
            raise ResultsError(
                "results in a bucket need obstore: pip install 'headrace[cloud]'."
            ) from None


def _parse(output: str) -> Url:
    try:
        url = parse_url(output.partition("?")[0])
    except CatalogError as error:
        raise ResultsError(str(error)) from None
    if url.user:
        raise ResultsError(
            f"{url.text!r} was given with a user or a password, which a bucket does not take: "
            "leave it out, and give credentials in the environment or a store of obstore."
        )
    if url.scheme not in _URL_SCHEMES:
        raise ResultsError(
            f"results cannot be written to {url.scheme}://: give a folder, or a URL of "
            f"{', '.join(f'{one}://' for one in _URL_SCHEMES[:3])}."
        )
    return url


def _scheme_of(store: object) -> str:
    """Return the scheme that obstore and its file system have in common; empty of other stores."""
    schemes = {"S3Store": "s3", "GCSStore": "gs", "AzureStore": "az"}
    return schemes.get(type(store).__name__, "")


def _bucket_and_prefix(store: Any) -> str:  # noqa: ANN401  one of obstore's
    config = dict(store.config)
    bucket = config.get("bucket") or config.get("container_name")
    return f"{bucket}/{store.prefix}" if store.prefix else str(bucket)


@contextmanager
def _store_errors(place: str) -> Iterator[None]:
    """Replace an error of obstore, which is many lines long, by its first line."""
    try:
        yield
    except ResultsError:
        raise
    except Exception as error:
        kind: type[OSError] = OSError
        if isinstance(
            error, FileNotFoundError | PermissionError
        ):  # obstore raises builtin ones too
            kind = type(error)
        elif not type(error).__module__.startswith("obstore"):
            raise
        text = str(error).partition("Debug source")[0]
        said = text.partition("<?xml")[0].partition("\n")[0].rstrip(": ")
        if (reason := _REASON.search(text)) is not None:
            said = f"{said}: {reason[1]}"
        said = escape_controls(_QUERY.sub("", redacted(said)))
        raise kind(f"the store of {place} reports: {said}") from None


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power, where folders can be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
