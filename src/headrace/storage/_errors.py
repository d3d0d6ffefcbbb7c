"""What an error of a store means: a `Code`, a sentence, and whether to try again.

Errors of clients quote URLs, signatures and whole answers of servers. None of their text is passed
on, except the number and the name of an HTTP status, and a key that the client cannot read.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from headrace._formatting import brief
from headrace.failures import Code
from headrace.storage._urls import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MISSING", "StoreProblem", "describe_store_error"]

_STATUS: Final = re.compile(r"status(?: code)?:?\s*(\d{3})")
MISSING: Final = "the object does not exist"
_CHANGED: Final = "the object was replaced after it was scanned: scan again"
_TIMED_OUT: Final = re.compile(r"(?<!retry_)timed? ?out|deadline", re.IGNORECASE)
_NO_NAME: Final = re.compile(r"dns error|failed to lookup|name or service|resolve", re.IGNORECASE)
_NO_RANGES: Final = re.compile(r"non-partial response")
_NO_PLACE: Final = re.compile(
    r"Content-Length header missing|Content-Range header not present|value for CONTENT_RANGE",
    re.IGNORECASE,
)
_NO_KEY: Final = "Could not parse path"
_QUOTED_KEY: Final = re.compile(r'path "(.+?)"(?: contained|:)', re.IGNORECASE | re.DOTALL)
_CIRCLE: Final = re.compile(r"error following redirect")
_REFUSED: Final = re.compile(r"connection refused|ConnectionRefused", re.IGNORECASE)
_CLOCK: Final = re.compile(r"RequestTimeTooSkewed|RequestExpired")
_REGION: Final = re.compile(r"incorrectly configured region|AuthorizationHeaderMalformed")
_ARCHIVED: Final = re.compile(r"InvalidObjectState|BlobArchived")
_NO_BODY: Final = re.compile("Error performing HEAD")  # so it does not say if it was the clock
_CREDENTIALS: Final = re.compile(
    r"credential|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken", re.IGNORECASE
)
_METADATA: Final = re.compile(
    r"/latest/api/token|/latest/meta-data|computeMetadata|/metadata/identity|169\.254\.1"
)
"""Where clients ask a cloud machine for credentials if the environment has none."""


@dataclass(frozen=True, slots=True)
class StoreProblem:
    """Why a request was not answered.

    Attributes
    ----------
    code : Code
        The cause, in one word.
    message : str
        The cause, and what to do.
    temporary : bool
        Whether the same request may succeed later.
    overloaded : bool
        Whether the store asks for fewer requests.
    """

    code: Code
    message: str
    temporary: bool = False
    overloaded: bool = False


_NO_CREDENTIALS: Final = StoreProblem(
    Code.PERMISSION,
    "no credentials for the store were found: set them in the environment, give "
    'store={"credential_provider": ...}, or store={"skip_signature": True} for a public bucket',
)


def describe_store_error(error: BaseException) -> StoreProblem:
    """Return what an error of obstore or fsspec means."""
    names = {type(one).__name__ for one in _causes(error)}
    text = " ".join(str(one) for one in _causes(error))
    status = _status(error, text)
    refusal = _describe_refusal(names, text)
    if refusal is not None:
        return refusal
    if status == HTTPStatus.PRECONDITION_FAILED or "PreconditionError" in names:
        return StoreProblem(Code.CHANGED, _CHANGED)
    if status == HTTPStatus.NOT_FOUND or "FileNotFoundError" in names:
        return StoreProblem(Code.MISSING, MISSING)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} or names & {
        "PermissionDeniedError",
        "UnauthenticatedError",
        "PermissionError",
    }:
        said = f" (HTTP status {status})" if status else ""
        what = "the credentials and the permissions"
        if _NO_BODY.search(text):
            what = "the credentials, the permissions and this machine's clock"
        message = f"the store does not permit it{said}: check {what}"
        return StoreProblem(Code.PERMISSION, message)
    return _describe_connection_error(names, text) if status is None else _describe_status(status)


def _describe_refusal(names: set[str], text: str) -> StoreProblem | None:
    """Return what the client or the store has against the request itself, if it says so."""
    if _CLOCK.search(text):
        message = "the store refuses the request because this machine's clock is off: set the clock"
        return StoreProblem(Code.PERMISSION, message)
    if _REGION.search(text):
        message = (
            "the bucket is in another region: set AWS_REGION, or give "
            'store={"region": ...} with the region'
        )
        return StoreProblem(Code.IO, message)
    if _ARCHIVED.search(text):
        message = "the object is in cold storage, such as S3 Glacier: restore it, and scan again"
        return StoreProblem(Code.UNSUPPORTED, message)
    if _METADATA.search(text):
        return _NO_CREDENTIALS
    if "InvalidPathError" in names or text.startswith(_NO_KEY):
        return StoreProblem(Code.UNSUPPORTED, _describe_key(text))
    return None


def _describe_key(text: str) -> str:
    match = _QUOTED_KEY.search(text)
    named = f" {brief(redacted(match[1]))}" if match else ""
    return (
        f"the store has an object{named} whose name its client cannot read (an empty part as in "
        "a//b, a part . or .., or a control character): rename it, search a folder that it is not "
        "in, or give a file system of fsspec as store="
    )


def _describe_status(status: int) -> StoreProblem:
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return StoreProblem(Code.CHANGED, "the object is shorter than it was: scan again")
    slow = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
    temporary = (
        status in slow
        or status == HTTPStatus.REQUEST_TIMEOUT
        or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    )
    said = f"HTTP status {status}"
    if status in set(HTTPStatus):
        said += f", {HTTPStatus(status).phrase}"
    message = f"the store answered with an error ({said})"
    return StoreProblem(Code.IO, message, temporary, overloaded=status in slow)


def _describe_connection_error(names: set[str], text: str) -> StoreProblem:
    if "NotSupportedError" in names or _NO_RANGES.search(text):
        message = "the server does not serve byte ranges: copy the files, or use another server"
        return StoreProblem(Code.UNSUPPORTED, message)
    if _NO_PLACE.search(text):
        message = (
            "the server does not say which bytes of the file an answer holds (Content-Length, "
            "Content-Range): copy the files, or use another server"
        )
        return StoreProblem(Code.UNSUPPORTED, message)
    if _CIRCLE.search(text):
        message = "the server redirects without an end, or to no URL: check the URL"
        return StoreProblem(Code.IO, message)
    if _CREDENTIALS.search(text):
        return _NO_CREDENTIALS
    if names & {"TimeoutError"} or _TIMED_OUT.search(text):
        return StoreProblem(Code.STALLED, "the store did not answer in time", temporary=True)
    message = "the connection to the store broke, or the answer was not complete"
    if _NO_NAME.search(text) or "gaierror" in names:
        message = "the name of the store's server cannot be resolved: check the URL and the network"
    elif _REFUSED.search(text) or "ConnectionRefusedError" in names:
        message = "the store's server refuses connections: check the address"
    return StoreProblem(Code.IO, message, temporary=True)


def _status(error: BaseException, text: str) -> int | None:
    for one in _causes(error):  # aiohttp, botocore
        status = getattr(one, "status", None)
        if isinstance(status, int):
            return status
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if isinstance(status, int):
                return status
    match = _STATUS.search(text)
    return int(match[1]) if match else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    for _ in range(8):
        if one is None:
            return
        yield one
        if isinstance(one, socket.gaierror):
            return
        one = one.__cause__ or one.__context__
