"""`Owner`: which process holds a lease or wrote a temporary file, and whether it has ended."""

from __future__ import annotations

import os
import platform
import re
import uuid
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from headrace._formatting import escape_controls

__all__ = ["Owner"]

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, as far as other processes can recognise it.

    Attributes
    ----------
    host : str
        This boot of the machine, and the namespace that process numbers belong to.
    pid : int
        The process.
    started : str
        When it started, in the system's own unit: numbers of processes are used again. Empty
        where the system does not say.
    """

    host: str
    pid: int
    started: str

    @classmethod
    def current(cls) -> Owner:
        """Return this process."""
        return _current(os.getpid())

    @classmethod
    def from_text(cls, text: str) -> Owner:
        """Return the owner that `text` describes; an unknown one if it describes none."""
        host, _, rest = text.partition("-")
        pid, _, started = rest.partition("-")
        return cls(host, int(pid), started) if pid.isdecimal() else cls("", 0, "")

    @classmethod
    def of_temporary(cls, name: str) -> Owner:
        """Return the owner of a temporary file ``.OWNER.HEX.tmp``."""
        return cls.from_text(name.removeprefix(".").partition(".")[0])

    @property
    def text(self) -> str:
        """The fields as text that may be a part of a file's name."""
        return f"{self.host}-{self.pid}-{self.started}"

    def is_here(self) -> bool:
        """Return whether the process, if it runs, can be seen from this one."""
        return os.name == "posix" and bool(self.host) and self.host == Owner.current().host

    def has_ended(self) -> bool:
        """Return whether the process is known to have ended."""
        return self.is_here() and not self.runs()

    def runs(self) -> bool:
        """Return whether the process is known to run."""
        if not self.is_here():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        state, started = _state_and_start(self.pid)
        return state != "Z" and (not self.started or not started or started == self.started)


@lru_cache(maxsize=2)
def _current(pid: int) -> Owner:
    return Owner(_host(), pid, _state_and_start(pid)[1])


def _host() -> str:
    """Return a text that is the same for processes that see each other's numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  not a path
    except OSError:
        boot, namespace = f"{platform.node()}_{uuid.getnode():x}", ""
    return _UNSAFE.sub("", escape_controls(boot + namespace)) or "unknown"


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the state and the start time of a process as Linux tells them; else empty texts."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return "", ""
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return fields[0], fields[19]
