"""Clients of object stores: obstore's, and fsspec's file systems where obstore knows none.

Guarantees
----------
- A client is made when it is first used, once for each bucket or server.
- Nothing here is secret in a representation, and `Stores` refuses to be pickled: a catalog that is
  sent to another process finds its credentials there.
- The text of a client's error is not passed on: see `_errors`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from headrace.errors import CatalogError, StoreError
from headrace.storage._calls import Calls
from headrace.storage._urls import HTTP, Url, parse_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Client", "FetchedBytes", "ObjectInfo", "Stores", "has_changed", "open_store"]

_OBSTORE: Final = (
    frozenset({"s3", "s3a", "gs", "gcs", "az", "azure", "abfs", "abfss", "adl"}) | HTTP
)

_TIMEOUTS: Final = {
    "timeout": "3600 s",  # a large range over a slow line takes long
    "connect_timeout": "10 s",
    "read_timeout": "30 s",  # without one byte
}
"""Unless the user gives others. The limit for a whole read is `Fetcher`'s."""

_MOST_EXACT: Final = 256
"""Clients that are kept for single URLs, and for folders with a query: each has connections of its
own, and takes 5 ms to make."""

_LEFT_BARE: Final = frozenset("!$&'()*+,/:;=@[\\]^|")
"""What obstore's client of web servers does not encode in a name, or may not."""

_ENDPOINTS: Final = {
    "aws": ("endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url"),
    "azure": ("endpoint", "azure_endpoint", "azure_storage_endpoint"),
    "google": ("base_url", "google_base_url"),
}
"""What obstore calls the address of a store: as options, and in upper case in the environment. It
takes options in upper case, too; others that have the word in them, such as ``metadata_endpoint``,
are addresses of something else."""

_SERVICE_ACCOUNTS: Final[dict[str, tuple[str, ...]]] = {
    "aws": (),
    "azure": (),
    "google": (
        *("service_account_key", "google_service_account_key"),
        *("service_account", "google_service_account"),
        *("service_account_path", "google_service_account_path"),
    ),
}
"""What obstore calls credentials that may have the address, too: JSON, or the file with it."""

_PROVIDERS: Final = {"s3": "aws", "s3a": "aws", "gs": "google", "gcs": "google"}
"""Of URLs, by scheme; the others that obstore knows are Azure's."""

_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")

_LIST: Final = 1000  # objects that a store lists at once

_MOST_CALLS: Final = 32
"""Of functions of an fsspec file system at once, each in a thread. A guess."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object.

    Attributes
    ----------
    key : str
        Its name in the store.
    size : int
        Bytes.
    version : str or None
        What identifies its bytes: its ETag, or else the time of its last change.
    """

    key: str
    size: int
    version: str | None


@dataclass(frozen=True, slots=True)
class FetchedBytes:
    """A part of an object, and what the store says of the object."""

    data: bytes
    info: ObjectInfo


class Client(Protocol):
    """One bucket or server."""

    async def get(self, key: str, start: int, stop: int, version: str | None) -> FetchedBytes:
        """Return the bytes ``[start, stop)``, cut at the end of the object.

        With `version`, of an object of another version the bytes are not returned, but an error
        is raised, or the other version is returned.
        """

    async def info(self, key: str) -> ObjectInfo | None:
        """Return what the store says of an object, or None if there is none."""

    def list_tree(self, prefix: str) -> AsyncGenerator[list[ObjectInfo]]:
        """Yield all objects below a folder, whose name has no slash at the end."""

    async def list_folder(self, prefix: str) -> tuple[list[ObjectInfo], list[str]]:
        """Return the objects in a folder, and the folders in it, as keys."""


class Stores:
    """Clients by URL.

    Parameters
    ----------
    store : optional
        A store of obstore, a file system of fsspec, or a mapping with options for obstore's stores
        (such as ``endpoint``, ``region``, ``skip_signature``, ``credential_provider``). Default:
        what obstore finds in the environment.
    """

    def __init__(self, store: object = None) -> None:
        self._store = store
        self._options: Mapping[str, Any] = store if isinstance(store, Mapping) else {}
        self._clients: dict[str, Client] = {}
        self._signed: dict[str, str] = {}  # URL to query
        self._users: dict[str, str] = {}  # server to user and password
        self._exact_clients: OrderedDict[str, Client] = OrderedDict()  # by what they begin with

    def __repr__(self) -> str:
        return "<Stores>"

    def __reduce__(self) -> str:
        raise TypeError("clients of a store are not pickled: they hold credentials.")

    def remember_secrets(self, url: Url) -> None:
        """Use the query of this URL in requests for it, as long as this object exists.

        A user and a password are used for all URLs of the server.

        Raises
        ------
        CatalogError
            The store does not take a user or a password, or there are two of one server.
        """
        if url.user:
            if url.scheme not in HTTP or not isinstance(self._store, Mapping | None):
                raise CatalogError(
                    f"{url.text!r} was given with a user or a password, which such a store does "
                    "not take: leave it out, and give credentials in the environment or as store=."
                )
            if self._users.setdefault(url.base, url.user) != url.user:
                raise CatalogError(
                    f"Two users of {url.base} were given: scan the URLs of each by themselves."
                )
        if url.query:
            self._signed[url.text] = url.query

    def locate(self, text: str) -> tuple[Client, str]:
        """Return the client for a URL, and the object's key in it.

        Raises
        ------
        StoreError
            There is no client for such URLs, or its package is missing.
        """
        url = parse_url(text)
        query = self._signed.get(url.text)
        makes_clients = url.scheme in HTTP and isinstance(self._store, Mapping | None)
        if makes_clients and not _is_sent_as_written(url.key):
            return self._exact_client(url, url.text, query), ""
        if query is not None:
            folder, _, name = url.text.rpartition("/")
            return self._exact_client(url, folder, query), unquote(name)
        if url.base not in self._clients:
            self._clients[url.base] = self._make(url)
        client = self._clients[url.base]
        if isinstance(client, _Fsspec):
            return client, client.key(url)
        # Clients of web servers encode keys; a URL is encoded already.
        return client, unquote(url.key) if url.scheme in HTTP else url.key

    def _make(self, url: Url) -> Client:
        store = self._store
        if store is not None and not isinstance(store, Mapping):
            if hasattr(store, "cat_file"):
                return _Fsspec(store)
            if not hasattr(store, "get_async"):
                raise StoreError(
                    f"store= must be a store of obstore, a file system of fsspec, or a mapping of "
                    f"options, not a {type(store).__name__}."
                )
            config = getattr(store, "config", {})
            bucket = config.get("bucket", config.get("container_name"))
            if bucket is not None and bucket != url.host.partition("@")[0]:
                raise StoreError(
                    f"store= is the bucket {bucket!r}, but {url.text!r} is in {url.host!r}: give "
                    "the store of that bucket, or options for any bucket."
                )
            return _Obstore(store)
        if url.scheme in _OBSTORE:
            return self._make_obstore(url.base, self._users.get(url.base, ""))
        return _Fsspec(_fsspec_filesystem(url))

    def _make_obstore(self, base: str, user: str = "") -> Client:
        options = dict(self._options)
        given = options.pop("client_options", {})
        if not isinstance(given, Mapping):
            raise StoreError("client_options in store= must be a mapping of options.")
        client_options = {**_TIMEOUTS, **given}
        if user:  # obstore drops what stands before the server
            name, _, password = user.partition(":")
            words = f"{unquote(name)}:{unquote(password)}".encode()
            headers = client_options.get("default_headers", {})
            authorization = b"Basic " + base64.b64encode(words)
            client_options["default_headers"] = {**headers, "authorization": authorization}
        # Retries are the fetcher's: it knows the limit.
        retry = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}
        try:
            store = open_store(base, options, client_options, retry)
        except ImportError:
            raise StoreError(
                f"{base} needs the package obstore: pip install 'headrace[cloud]'."
            ) from None
        except Exception as error:  # noqa: BLE001  its text may quote what is secret
            raise StoreError(
                f"No client for {base.partition('?')[0]} can be made ({type(error).__name__}): "
                f"check store= (its options are {', '.join(sorted(options)) or 'none'}) and the "
                f"environment variables of the store.{_missing_account(base, options)}"
            ) from None
        return _Obstore(store)

    def _exact_client(self, url: Url, begin: str, query: str | None) -> Client:
        """Return the client whose requests begin with `begin`, as it is, and have this query."""
        base = begin if query is None else f"{begin}?{query}"
        client = self._exact_clients.pop(base, None)
        if client is None:
            client = self._make_obstore(base, self._users.get(url.base, ""))
        self._exact_clients[base] = client
        if len(self._exact_clients) > _MOST_EXACT:
            self._exact_clients.popitem(last=False)
        return client


def _is_sent_as_written(key: str) -> bool:
    """Return whether a client that is given the key of a URL decoded sends what was written.

    It encodes what has to be encoded, and nothing else: ``%2F`` would become a slash, and ``%2B`` a
    plus sign, which S3 takes for a space.
    """
    try:
        decoded = unquote(key, errors="strict")
    except UnicodeDecodeError:
        return False
    escaped = {chr(int(one, 16)) for one in _ESCAPE.findall(key)}
    parts = decoded.split("/")
    return (
        not escaped & _LEFT_BARE
        and all(char.isprintable() for char in decoded)
        and not any(part in {"", ".", ".."} for part in parts)
    )


def open_store(
    url: str,
    options: Mapping[str, Any],
    client_options: Mapping[str, object],
    retry_config: Mapping[str, object] | None = None,
) -> Any:  # noqa: ANN401  one of obstore's
    """Return obstore's store for a URL. What is not in the options is taken from the environment.

    An endpoint that begins with ``http://`` is used as it is: obstore asks for leave to do so.
    ``gcs://`` is ``gs://``.

    Raises
    ------
    ModuleNotFoundError
        obstore is not installed.
    Exception
        obstore refuses the URL or an option. Its text may quote what is secret.
    """
    import obstore.store

    scheme, _, rest = url.partition("://")
    client: Any = dict(client_options)
    if scheme == "http" or (
        scheme != "https" and _endpoint(scheme, options).lower().startswith("http://")
    ):
        client.setdefault("allow_http", True)
    if scheme == "gcs":
        url = f"gs://{rest}"
    config: Any = dict(options)
    provider: Any = config.pop("credential_provider", None)  # obstore takes no None for "none"
    more = {} if provider is None else {"credential_provider": provider}
    retry: Any = retry_config
    if scheme in HTTP:
        return obstore.store.HTTPStore(url, client_options=client, retry_config=retry)
    return obstore.store.from_url(
        url, config=config or None, client_options=client, retry_config=retry, **more
    )


def _missing_account(url: str, options: Mapping[str, object]) -> str:
    """Return what to say where a container of Azure has no account."""
    scheme = url.partition("://")[0]
    names = {*options, *(name for name in os.environ if name.upper().startswith("AZURE"))}
    has_account = any("account" in name.lower() for name in names) or "@" in url
    if scheme in HTTP or scheme in _PROVIDERS or has_account:
        return ""
    return " It needs the name of the account: account_name=, or AZURE_STORAGE_ACCOUNT_NAME."


def _endpoint(scheme: str, options: Mapping[str, object]) -> str:
    """Return the address of a store that options or the environment give; empty if they do not."""
    provider = _PROVIDERS.get(scheme, "azure")
    given = {name.lower(): str(value) for name, value in options.items() if value}
    for name in (*_ENDPOINTS[provider], *_SERVICE_ACCOUNTS[provider]):
        if name.startswith(provider) and os.environ.get(name.upper()):
            given.setdefault(name, os.environ[name.upper()])
    names = sorted(_ENDPOINTS[provider], key=lambda name: name not in options)
    found = next((given[name] for name in names if name in given), "")
    for name in () if found else _SERVICE_ACCOUNTS[provider]:
        with suppress(OSError, ValueError, AttributeError):  # obstore says what is wrong with it
            text = given.get(name, "")
            account = json.loads(text if name.endswith("_key") else Path(text).read_text("utf-8"))
            found = found or str(account.get("gcs_base_url") or "")
    return found


def has_changed(expected: str | None, info: ObjectInfo) -> bool:
    """Return whether an object is another one than that of the version `expected`.

    Some stores list ETags without the quotes that they have in answers to reads.
    """
    return expected is not None and (info.version or "").strip('"') != expected.strip('"')


def _info_of(meta: Any, *, quoted: bool = False) -> ObjectInfo:  # noqa: ANN401  a mapping, or alike
    """Return what obstore says of an object; `quoted`: put the quotes around its ETag."""
    version, changed = meta.get("e_tag") or None, meta.get("last_modified")
    if quoted and version is not None and not version.endswith('"'):
        version = f'"{version}"'
    # Of an answer without a date, obstore says 1970: all versions of such an object would be one.
    if version is None and changed is not None and changed.timestamp() > 0:
        version = f"changed {changed.isoformat()}"
    return ObjectInfo(meta["path"], meta["size"], version)


class _Obstore:
    def __init__(self, store: Any) -> None:  # noqa: ANN401  one of several classes
        self._store = store
        # Azure, and an emulator of Google's store, list ETags without quotes. If-Match needs them.
        is_either = type(store).__name__ in {"AzureStore", "GCSStore"}
        self._info_of = partial(_info_of, quoted=is_either)

    def __repr__(self) -> str:
        return "<client of obstore>"

    async def get(self, key: str, start: int, stop: int, version: str | None) -> FetchedBytes:
        options: dict[str, Any] = {"range": (start, stop)}
        if version is not None and version.startswith('"'):  # weak ETags never match
            options["if_match"] = version
        result = await self._store.get_async(key, options=options)
        info = self._info_of(result.meta)
        return FetchedBytes(await result.bytes_async(), info)

    async def info(self, key: str) -> ObjectInfo | None:
        try:
            return self._info_of(await self._store.head_async(key))
        except FileNotFoundError:
            return None

    async def list_tree(self, prefix: str) -> AsyncGenerator[list[ObjectInfo]]:
        async for objects in self._store.list(prefix or None, chunk_size=_LIST):
            yield [self._info_of(meta) for meta in objects]

    async def list_folder(self, prefix: str) -> tuple[list[ObjectInfo], list[str]]:
        found = await self._store.list_with_delimiter_async(prefix or None)
        objects = [self._info_of(meta) for meta in found["objects"]]
        return objects, list(found["common_prefixes"])


def _as_number(value: object) -> object:
    """Return a time in seconds: some file systems list a number and describe a datetime."""
    return value.timestamp() if isinstance(value, datetime) else value


def _fsspec_filesystem(url: Url) -> object:
    if url.scheme in {"file", "local"}:
        raise CatalogError(
            f"{url.text!r} is a URL of this machine's own files: give the path, without "
            f"{url.scheme}://."
        )
    try:
        import fsspec
    except ImportError:
        fsspec = None
    if fsspec is not None:
        try:
            filesystem: object = fsspec.filesystem(url.scheme)
        except (ValueError, ImportError):
            pass
        except Exception as error:  # noqa: BLE001  of whatever file system
            raise CatalogError(
                f"fsspec cannot make a file system for {url.scheme}:// URLs without more being "
                f"said ({type(error).__name__}): make one, and give it as store=."
            ) from None
        else:
            return filesystem
    raise CatalogError(
        f"headrace knows no store for {url.scheme}:// URLs: give one as store=, write s3://, "
        "gs://, az:// or https://, or install fsspec with the package that this scheme needs."
    )


class _Fsspec:
    """A file system of fsspec.

    Coroutines of one that has some run in fsspec's own loop, where they can be cancelled; functions
    of one that has none run in threads.
    """

    def __init__(self, filesystem: Any) -> None:  # noqa: ANN401  not typed
        self._files = filesystem
        self._calls = Calls(_MOST_CALLS)
        self._has_coroutines = (
            getattr(filesystem, "async_impl", False)
            and not getattr(filesystem, "asynchronous", False)  # bound to a loop of the user
            and not hasattr(filesystem, "fs")  # it may wrap one without coroutines
        )

    def __repr__(self) -> str:
        return "<file system of fsspec>"

    def key(self, url: Url) -> str:
        """Return what the file system calls an object."""
        return str(self._files._strip_protocol(url.text))  # noqa: SLF001  what fsspec's users call

    async def get(self, key: str, start: int, stop: int, version: str | None) -> FetchedBytes:
        if version is None:
            info = self._as_info(await self._ask("info", key))
            stop = min(stop, info.size)
            data = await self._ask("cat_file", key, start=start, end=stop) if stop > start else b""
            return FetchedBytes(data, info)
        # fsspec cannot ask for a version. Asked for after the bytes, it is theirs or a newer one.
        try:
            data = await self._ask("cat_file", key, start=start, end=stop)
        except FileNotFoundError:
            raise
        except Exception:
            info = self._as_info(await self._ask("info", key))
            if info.version == version:
                raise
            return FetchedBytes(b"", info)  # it may have become shorter
        return FetchedBytes(data, self._as_info(await self._ask("info", key)))

    async def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if not self._has_coroutines:
            return await self._calls.call(getattr(self._files, name), *args, **kwargs)
        work = getattr(self._files, f"_{name}")(*args, **kwargs)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._files.loop))

    def _as_info(self, info: dict[str, Any]) -> ObjectInfo:
        version = next(
            (
                f"{name} {_as_number(info[name])}"
                for name in ("ETag", "etag", "generation", "mtime", "LastModified", "created")
                if info.get(name) is not None
            ),
            None,
        )
        # A slash at the beginning belongs to the name, as in `key`.
        return ObjectInfo(str(info["name"]).rstrip("/"), int(info.get("size") or 0), version)

    async def info(self, key: str) -> ObjectInfo | None:
        try:
            if await self._ask("isdir", key):
                return None
            return self._as_info(await self._ask("info", key))
        except FileNotFoundError:
            return None

    async def list_tree(self, prefix: str) -> AsyncGenerator[list[ObjectInfo]]:
        found = await self._ask("find", prefix, detail=True)
        yield [self._as_info(info) for info in found.values()]

    async def list_folder(self, prefix: str) -> tuple[list[ObjectInfo], list[str]]:
        found = await self._ask("ls", prefix, detail=True)
        objects = [self._as_info(info) for info in found if info["type"] != "directory"]
        folders = [str(info["name"]).rstrip("/") for info in found if info["type"] == "directory"]
        return objects, folders
