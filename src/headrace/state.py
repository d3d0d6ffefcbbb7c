"""A place in the epochs of some windows <-> a small dict that can be kept as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.windows import Windows

__all__ = ["place_of", "state_of"]

_VERSION = 1


def state_of(windows: Windows, epoch: int, position: int) -> dict[str, Any]:
    """Return the state of `windows` of which, in `epoch`, `position` have been delivered."""
    return {
        "version": _VERSION,
        "windows": windows.fingerprint,
        "epoch": epoch,
        "position": position,
    }


def place_of(windows: Windows, state: Mapping[str, Any]) -> tuple[int, int]:
    """Return the epoch and the position in it that `state` tells.

    Raises
    ------
    StateError
        It is no such state, or it belongs to other windows.
    """
    try:
        version, epoch, position = (int(state[k]) for k in ("version", "epoch", "position"))
        fingerprint = state["windows"]
    except (KeyError, OverflowError, TypeError, ValueError):
        raise StateError(f"this is no state of a loader: {state!r}.") from None
    if version != _VERSION:
        raise StateError(f"the state has version {version}, this headrace reads {_VERSION}.")
    if fingerprint != windows.fingerprint:
        raise StateError(
            "the state belongs to other windows: the recordings, how they are cut or chosen, or "
            "the shuffle's seed have changed since it was saved. Restore those, or begin anew."
        )
    if epoch < 0 or not 0 <= position < len(windows):
        raise StateError(f"the state's epoch {epoch}, position {position} does not exist.")
    return epoch, position
