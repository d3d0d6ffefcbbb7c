"""URLs of objects, without what is secret in them.

Guarantees
----------
- `Url.text` and `Url.key` have no user name, password, query or fragment: they can be stored and
  shown. These stay in `Url.user` and `Url.query`, which are in no representation.
- `redacted` takes these parts out of every URL in a text.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final

from headrace.errors import CatalogError

__all__ = ["Url", "check_no_url", "is_url", "parse_url", "public_url", "redacted"]

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")  # two letters: C:// is a drive
_IN_TEXT: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://[^\s\"'<>(){}]+")
_USER: Final = re.compile(
    r"^(?!abfss?://[^/@:]+@[^/@]+(?:/|$))"  # not the container in container@account, of Azure
    r"([a-z][a-z0-9+.-]+://)[^/]*@",
    re.IGNORECASE,
)

_SERVER: Final = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")  # name or address, and port

_SIGNATURE: Final = re.compile(
    r"\?([^/]*&)?[\w-]*(sig|signature|token|credential|password|secret|key|keyid)=", re.IGNORECASE
)
"""What a query with a signature holds. In keys, a ``?`` is a wildcard or a sign like any other."""

HTTP: Final = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Url:
    """The address of an object, of a folder of objects, or of a pattern.

    Attributes
    ----------
    scheme : str
        In lower case, such as ``"s3"``.
    host : str
        The bucket, the container (``container@account`` where the URL says so), or the server.
    key : str
        What follows the slash after `host`, as it is written.
    query : str
        Of an ``http`` or ``https`` URL: what follows the question mark. May be a signature.
    user : str
        What stands before the server: ``USER`` or ``USER:PASSWORD``, percent-encoded.
    """

    scheme: str
    host: str
    key: str
    query: str = field(default="", repr=False, compare=False)
    user: str = field(default="", repr=False, compare=False)

    @property
    def text(self) -> str:
        """The URL without its query."""
        return f"{self.scheme}://{self.host}/{self.key}"

    @property
    def base(self) -> str:
        """The URL up to its key, without a slash at the end."""
        return f"{self.scheme}://{self.host}"


def is_url(text: str) -> bool:
    """Return whether `text` begins with a scheme: ``s3://``, ``https://``."""
    return _SCHEME.match(text) is not None


def parse_url(text: str) -> Url:
    """Return the parts of a URL.

    Raises
    ------
    CatalogError
        The URL names no bucket or server, or has a password that ends it too early, or a signature
        that such a URL does not take.
    """
    match = _SCHEME.match(text)
    if match is None:
        raise CatalogError(f"{redacted(text)!r} is not a URL: begin it with a scheme, as s3://.")
    scheme, rest, query = match[1].lower(), text[match.end() :], ""
    if scheme in HTTP:
        rest = rest.partition("#")[0]
        rest, _, query = rest.partition("?")
    elif _SIGNATURE.search(rest):
        raise CatalogError(
            f"{redacted(text)!r} was given with a query that looks like a signature, which such a "
            "URL does not take: leave it out, and give credentials in the environment or as "
            'store=, such as {"sas_token": ...} for Azure.'
        )
    host, _, key = rest.partition("/")
    before = host
    host = _USER.sub(r"\1", f"{scheme}://{host}").removeprefix(f"{scheme}://")
    if scheme in HTTP and not _SERVER.fullmatch(host):
        raise CatalogError(
            f"A URL that begins with {scheme}:// names no server: if a user or a password stands "
            "before it, write / ? # in these as %2F %3F %23."
        )
    if not host and scheme not in {"memory", "file", "store"}:
        raise CatalogError(f"{redacted(text)!r} names no bucket or server: write {scheme}://NAME/.")
    return Url(scheme, host, key, query, before.removesuffix(host).removesuffix("@"))


def public_url(text: str) -> str:
    """Return a URL that may be stored, without a slash at its end. A path comes back as it is.

    Raises
    ------
    CatalogError
        It has a user, a password or a query.
    """
    if not is_url(text):
        return text
    url = parse_url(text)
    if url.user or url.query:
        raise CatalogError(
            f"{url.text!r} was given with a user, a password or a query, which a catalog does not "
            "keep: leave it out, and give credentials as store=, or scan the URLs."
        )
    return url.text.rstrip("/")


def check_no_url(path: str | os.PathLike[str]) -> None:
    """Raise `CatalogError` if a path is a URL, for files that are read and written here only."""
    text = os.fspath(path)
    if is_url(text):
        raise CatalogError(
            f"{redacted(text)!r} is a URL, and such files are on this machine: give a path, and "
            "copy the file."
        )


def redacted(text: str) -> str:
    """Return a text in which no URL has a user, a password, a query or a fragment."""

    def clean(match: re.Match[str]) -> str:
        plain = _USER.sub(r"\1", match[0])
        return plain.partition("?")[0].partition("#")[0]

    return _IN_TEXT.sub(clean, text)
