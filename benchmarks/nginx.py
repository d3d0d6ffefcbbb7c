"""Debian's nginx as an object store on loopback: byte ranges of a folder, with latency if asked.

It answers GET and HEAD of ``/bucket/KEY``, which is all of S3 that reading by key needs. Latency is
added by the Lua module (``apt-get install nginx-light libnginx-mod-http-lua``). Its access log says
how many requests were made and how many bytes were sent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES: Final = Path("/usr/lib/nginx/modules")
LUA: Final = ("ndk_http_module.so", "ngx_http_lua_module.so")

CONFIGURATION: Final = """
{modules}
daemon off;
user {user};
worker_processes 1;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 1024; }}
http {{
  log_format sent '$bytes_sent';
  access_log {log} sent;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;
  scgi_temp_path t5;
  server {{
    listen 127.0.0.1:{port};
    location /bucket/ {{
      {delay}
      alias {folder}/;
    }}
  }}
}}
"""


@dataclass
class Nginx:
    """A server that runs."""

    port: int
    log: Path
    _read: int = 0

    @property
    def endpoint(self) -> str:
        """What clients of S3 are given."""
        return f"http://127.0.0.1:{self.port}"

    def sent(self) -> tuple[int, int]:
        """Return the requests and bytes since the last call."""
        with self.log.open() as file:
            file.seek(self._read)
            counts = [int(line) for line in file.read().split()]
            self._read = file.tell()
        return len(counts), sum(counts)


UNEVEN: Final = """local wait = {latency} * (0.6 - 0.4 * math.log(1 - math.random()))
if math.random() < 0.02 then wait = 6 * {latency} end
ngx.sleep(wait)"""


@contextlib.contextmanager
def serve(folder: Path, latency_s: float = 0.0, *, uneven: bool = False) -> Iterator[Nginx]:
    """Serve a folder as a bucket.

    Each request waits for `latency_s` seconds. With `uneven`, that is about the mean: 0.6 of it and
    a part that is distributed exponentially, and six times as long for one of fifty requests.
    """
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if latency_s and not all((MODULES / name).exists() for name in LUA):
        raise SystemExit("Latency needs nginx's Lua module: apt-get install libnginx-mod-http-lua")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        prefix = Path(name)
        server = Nginx(port, prefix / "access.log")
        wait = UNEVEN.format(latency=latency_s) if uneven else f"ngx.sleep({latency_s})"
        modules = [f"load_module {MODULES / one};" for one in LUA] if latency_s else []
        text = CONFIGURATION.format(
            modules="\n".join(modules),
            user=os.environ.get("USER", "root"),
            port=port,
            log=server.log,
            delay=f"access_by_lua_block {{ {wait} }}" if latency_s else "",
            folder=folder.resolve(),
        )
        (prefix / "nginx.conf").write_text(text)
        with subprocess.Popen(
            [program, "-p", name, "-c", "nginx.conf", "-e", "error.log"]
        ) as nginx:
            try:
                _wait_for(port, nginx)
                yield server
            finally:
                nginx.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
    raise SystemExit("nginx has ended: see its messages above.")
