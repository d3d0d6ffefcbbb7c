"""An account of Azure Blob Storage on loopback: what obstore asks of one.

As Azure and its emulator do, it lists ETags without their quotes. As the emulator, it answers 412
where a version is asked for of a blob that does not exist. Signatures are not checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tests.support.object_server import ObjectServer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AzureServer"]

ACCOUNT = "account"


@dataclass
class AzureServer(ObjectServer):
    """Serves blobs of one container, as ``/account/bucket/key``."""

    bucket: str = f"{ACCOUNT}/bucket"
    status_if_none_matches: int = 412
    status_if_it_exists: int = 409

    @property
    def options(self) -> dict[str, object]:
        """What to give as ``store=`` to use ``az://bucket/...``."""
        return {
            "account_name": ACCOUNT,
            "account_key": "dmVyeXNlY3JldHdvcmQ=",
            "endpoint": f"{self.endpoint}/{ACCOUNT}",
        }

    def _listing(self, query: Mapping[str, list[str]]) -> bytes:
        after = query.get("marker", [""])[0]
        most = int(query.get("maxresults", ["5000"])[0])
        keys, folders, more = self._keys_in(query, after, most)
        blobs = [
            f"<Blob><Name>{escape(key)}</Name><Properties>"
            "<Last-Modified>Sun, 01 Nov 2026 10:00:00 GMT</Last-Modified>"
            f"<Etag>{escape(etag.strip(chr(34)))}</Etag><Content-Length>{size}</Content-Length>"
            "<Content-Type>audio/wav</Content-Type><BlobType>BlockBlob</BlobType>"
            "</Properties></Blob>"
            for key, size, etag in keys
        ]
        blobs += [f"<BlobPrefix><Name>{escape(one)}</Name></BlobPrefix>" for one in folders]
        return (
            f'<?xml version="1.0"?><EnumerationResults><Blobs>{"".join(blobs)}</Blobs>'
            f"<NextMarker>{escape(more)}</NextMarker></EnumerationResults>"
        ).encode()

    def _change(
        self, method: str, key: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        if method != "POST":
            return super()._change(method, key, headers, body)
        # A batch: each part is a request to delete a blob.
        answers = b""
        for line in body.decode().splitlines():
            if line.startswith("DELETE "):
                name = unquote(line.split(" ")[1].partition("?")[0])
                self.objects.pop(name.removeprefix(f"/{self.bucket}/"), None)
                answers += (
                    b"--batch\r\nContent-Type: application/http\r\n"
                    b"Content-ID: %d\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n" % answers.count(b"HTTP/")
                )
        return 202, answers + b"--batch--", {"Content-Type": "multipart/mixed; boundary=batch"}
