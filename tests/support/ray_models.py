"""Models and functions that run in processes of Ray."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.support.models import loudness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from headrace import Batch

__all__ = [
    "Peak",
    "appointed_loudness",
    "killed_factory",
    "killed_loudness",
    "make_loudness",
    "raising_loudness",
]


def make_loudness() -> Callable[[Batch], dict[str, Any]]:
    """Return the model `loudness`."""
    return loudness


def raising_loudness(file_id: str) -> Callable[[Batch], dict[str, Any]]:
    """Return a model that raises on one recording."""

    def model(batch: Batch) -> dict[str, Any]:
        if file_id in batch.file_id:
            raise ValueError("a bad window")
        return loudness(batch)

    return model


def killed_loudness(file_id: str, folder: Path, times: int) -> Callable[[Batch], dict[str, Any]]:
    """Return a model whose process is killed `times` times on one recording."""

    def model(batch: Batch) -> dict[str, Any]:
        killed = len(list(folder.iterdir()))
        if file_id in batch.file_id and killed < times:
            (folder / f"{killed}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return loudness(batch)

    return model


def killed_factory() -> Callable[[Batch], dict[str, Any]]:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def appointed_loudness(address: tuple[str, int]) -> Callable[[Batch], dict[str, Any]]:
    """Return a model that tells a test its node and process, and waits for an answer.

    It does not wait if the test does not listen any more.
    """
    import ray

    begun = False

    def model(batch: Batch) -> dict[str, Any]:
        nonlocal begun
        if not begun and batch.index.any():  # not the noise on which a model is tried
            begun = True
            with suppress(ConnectionError), socket.create_connection(address) as appointment:
                node = ray.get_runtime_context().get_node_id()
                appointment.sendall(f"{node} {os.getpid()}\n".encode())
                appointment.recv(1)
        return loudness(batch)

    return model


class Peak:
    """A function of batches of Ray Data, with a state."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the largest sample of each window, and which window it is."""
        self.calls += 1
        peak = np.abs(batch["audio"]).max(axis=1)
        return {name: batch[name] for name in ("index", "id", "start_s")} | {"peak": peak}
