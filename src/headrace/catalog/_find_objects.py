"""Turn URLs and patterns of URLs into objects of a store.

Patterns mean what they mean for files (see `_find`). A store lists only what is below the folder
that a pattern begins with: folder by folder, and from a ``**`` on all at once. A web server
(``http://``, ``https://``) lists nothing: URLs of its files are given one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from headrace._formatting import format_count
from headrace._paths import join
from headrace.catalog._find import Search, as_list, search_below
from headrace.catalog._objects import ScannedObjects
from headrace.codecs import EXTENSIONS
from headrace.errors import CatalogError, NoRecordingsError
from headrace.storage import (
    find_object,
    is_url,
    list_folders,
    list_tree,
    parse_url,
    public_url,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from headrace.storage import Client, ObjectInfo, Stores, Url

__all__ = ["Addresses", "are_urls", "common_folder", "find_objects"]

_HTTP: Final = frozenset({"http", "https"})
_MAX_SHOWN: Final = 3  # keys in a message
_ENOUGH: Final = 1000
"""Objects that are counted for a message: what a store lists at once."""


def are_urls(patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    """Return the patterns if they are URLs; an empty list if none is.

    Raises
    ------
    CatalogError
        Some are and some are not.
    """
    texts = as_list(patterns)
    urls = [text for text in texts if is_url(text)]
    if urls and len(urls) < len(texts):
        raise CatalogError(
            "The patterns have no common folder that ids could be relative to: "
            "scan files and URLs separately."
        )
    return urls


class Addresses:
    """URLs as they were given, whose secrets are kept in the clients alone."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._queries: dict[str, str] = {}

    def add(self, text: str) -> Url:
        """Return the parts of a URL.

        Raises
        ------
        CatalogError
            It is none, or differs from an earlier one in its query only; or as
            `Stores.remember_secrets`.
        """
        url = parse_url(text)
        if self._queries.setdefault(url.text, url.query) != url.query:
            raise CatalogError(
                f"Two URLs {url.text!r} differ in their query only, which no id holds: "
                "scan them one by one."
            )
        self._stores.remember_secrets(url)
        return url


async def find_objects(
    urls: Iterable[str],
    stores: Stores,
    root: str | None = None,
    extensions: frozenset[str] = EXTENSIONS,
) -> ScannedObjects:
    """Find the objects that match one or more URLs; a coroutine for `Fetcher.run`.

    Parameters
    ----------
    urls : iterable of str
        URLs, folders, or patterns.
    stores : Stores
        The clients to list with.
    root : str, optional
        URL of the folder that ids are relative to. Default: the common folder of all URLs, each
        taken up to its first wildcard.
    extensions : frozenset of str
        As in `find`.

    Returns
    -------
    ScannedObjects
        At least one for each URL.

    Raises
    ------
    NoRecordingsError
        A URL matches nothing.
    CatalogError
        An object is outside of `root`, or the URLs are in several buckets or on several servers,
        or two of them differ in their query only.
    StoreError
        A store cannot be listed.
    """
    found: dict[str, ObjectInfo | None] = {}  # by URL
    folders: list[str] = []
    addresses = Addresses(stores)
    top = None if root is None else public_url(root).rstrip("/")
    for text in urls:
        url = addresses.add(text)
        folder, matches = await _find_one(url, stores, extensions)
        folders.append(folder)
        found.update(matches)
    top = common_folder(folders) if top is None else top
    prefix = join(top, "")
    for text in found:
        if not text.startswith(prefix):
            raise CatalogError(
                f"The object {text!r} lies outside root={top!r} and would have no id: "
                "give a root that contains all objects, or leave root out."
            )
    ordered = sorted(found)
    infos = [found[text] for text in ordered]
    return ScannedObjects(
        top,
        [text[len(prefix) :] for text in ordered],
        ordered,
        np.array([-1 if info is None else info.size for info in infos], np.int64),
        [None if info is None else info.version for info in infos],
        np.full(len(ordered), -1),
    )


async def _find_one(
    url: Url, stores: Stores, extensions: frozenset[str]
) -> tuple[str, dict[str, ObjectInfo | None]]:
    """Return the folder that is searched for one URL, and the objects that match, by URL."""
    parts = url.key.split("/")
    if url.scheme in _HTTP:
        if "*" in url.key or url.key.endswith("/") or not url.key:
            raise CatalogError(
                f"{url.text!r} cannot be searched, because a web server lists no files: give the "
                "URLs of its files, as a list."
            )
        return url.text.rpartition("/")[0], {url.text: None}
    plain = 0
    while plain < len(parts) and not any(sign in parts[plain] for sign in "*?["):
        plain += 1
    folder, rest = "/".join(parts[:plain]).rstrip("/"), parts[plain:]
    if not any(sign in url.key for sign in "*?"):  # brackets may be a part of a name
        client, key = stores.locate(url.text.rstrip("/"))
        info = (
            None if not key or url.key.endswith("/") else await find_object(client, key, url.text)
        )
        if info is not None:
            return url.text.rpartition("/")[0], {url.text: info}
    where = f"{url.base}/{folder}".rstrip("/") if folder else url.base
    client, key = stores.locate(where + "/" if not folder else where)
    search = search_below(url.text, where, rest, extensions)
    matches = await _matches(search, client, key.rstrip("/"), where)
    if not matches:
        raise NoRecordingsError(await _describe_no_match(search, client, key.rstrip("/")))
    return where, {join(where, name): info for name, info in matches.items()}


async def _matches(search: Search, client: Client, top: str, shown: str) -> dict[str, ObjectInfo]:
    """Return the objects that match, by their names below the folder `top`."""
    matcher = _Matcher(search, top)
    level = [(top, matcher.entry_states[0])]
    while level:
        trees = [one for one in level if matcher.matches_any_depth(one[1])]
        lists = [one for one in level if one not in trees]
        for folder, states in trees:
            matcher.add_tree(folder, states, await list_tree(client, folder, shown))
        found = await list_folders(client, [folder for folder, _ in lists], shown)
        level = []
        for (_, states), (objects, subfolders) in zip(lists, found, strict=True):
            for info in objects:
                matcher.add(info, states)
            deeper = ((folder, matcher.inside(states, folder)) for folder in subfolders)
            level += [one for one in deeper if one[1]]
    return matcher.matches


class _Matcher:
    """Compares keys with a search, folder by folder: see `Search`."""

    def __init__(self, search: Search, top: str) -> None:
        self.entry_states = search.entry_states()
        self.matches: dict[str, ObjectInfo] = {}
        self._search = search
        self._prefix = f"{top}/" if top else ""

    def matches_any_depth(self, states: frozenset[int]) -> bool:
        """Return whether a ``**`` is to be compared with."""
        return any(self._search.components[state] is None for state in states)

    def inside(self, states: frozenset[int], folder: str) -> frozenset[int]:
        """Return the components to compare names inside a folder with."""
        name = folder.rpartition("/")[2]
        return self._search.advance(states, name, self.entry_states)[1]

    def add(self, info: ObjectInfo, states: frozenset[int]) -> None:
        """Keep an object if it matches; `states` are those of the folder that it is in."""
        name = info.key.removeprefix(self._prefix)
        last = name.rpartition("/")[2]
        matched, _ = self._search.advance(states, last, self.entry_states)
        if matched and self._search.has_wanted_extension(last, is_folder=False):
            self.matches[name] = info

    def add_tree(self, top: str, states: frozenset[int], objects: list[ObjectInfo]) -> None:
        """Keep what matches of all objects below a folder."""
        prefix = f"{top}/" if top else ""
        known = {"": states}  # of the folders below this one, by their names

        def states_in(folder: str) -> frozenset[int]:
            if folder not in known:
                above = states_in(folder.rpartition("/")[0])
                known[folder] = self.inside(above, folder) if above else above
            return known[folder]

        for info in objects:
            here = states_in(info.key.removeprefix(prefix).rpartition("/")[0])
            if here:
                self.add(info, here)


async def _describe_no_match(search: Search, client: Client, top: str) -> str:
    found = await list_tree(client, top, search.folder, enough=_ENOUGH)
    begin = f"Nothing matches {search.pattern!r}"
    if not found:
        return f"{begin}: there are no objects below {search.folder!r}. Check the pattern."
    prefix = f"{top}/" if top else ""
    names = ", ".join(repr(info.key.removeprefix(prefix)) for info in found[:_MAX_SHOWN])
    more = " or more" if len(found) >= _ENOUGH else ""
    dots = ", ..." if len(found) > _MAX_SHOWN else ""
    return (
        f"{begin}. Below {search.folder!r} there are {format_count(len(found), 'object')}{more}: "
        f"{names}{dots}. Check the pattern."
    )


def common_folder(folders: list[str]) -> str:
    """Return the URL of the folder that some folders have in common.

    Raises
    ------
    CatalogError
        They are in several buckets or on several servers.
    """
    urls = [parse_url(folder + "/") for folder in folders]
    if len({url.base for url in urls}) > 1:
        raise CatalogError(
            "The URLs have no common folder that ids could be relative to: scan each bucket or "
            "server separately."
        )
    keys = [url.key.strip("/").split("/") for url in urls]
    common = []
    for parts in zip(*keys, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return "/".join([urls[0].base, *common]).rstrip("/")
