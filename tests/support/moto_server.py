"""moto's server, which imitates S3, in a process of its own on a free port."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import obstore.store

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


class MotoServer:
    """A context in which the server runs."""

    def __enter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(600):
            assert self._process.poll() is None, "moto's server has ended"
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                threading.Event().wait(0.05)
            else:
                return self
        raise AssertionError("moto's server does not answer")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def options(self) -> dict[str, object]:
        """What to give as ``store=``."""
        return {
            "endpoint": f"http://127.0.0.1:{self.port}",
            "access_key_id": "x",
            "secret_access_key": "y",
            "region": "us-east-1",
        }

    def put_folder(self, bucket: str, folder: Path, prefix: str) -> None:
        """Make a bucket with the files of a folder."""
        url = f"http://127.0.0.1:{self.port}/{bucket}"
        with urllib.request.urlopen(urllib.request.Request(url, method="PUT")):
            pass
        options: dict[str, Any] = {**self.options, "client_options": {"allow_http": True}}
        store = obstore.store.from_url(f"s3://{bucket}", **options)
        for path in folder.rglob("*"):
            if path.is_file():
                store.put(prefix + path.relative_to(folder).as_posix(), path.read_bytes())
