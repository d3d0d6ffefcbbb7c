"""A place in the epochs of some windows <-> a small dict that can be kept as JSON.

The dict has a few words for each part of what decides the order, so that it can be said which of
them has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.catalog import counted
from headrace.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headrace.windows import Windows

__all__ = ["place_of", "state_of"]

_VERSION = 2


def state_of(windows: Windows, epoch: int, position: int) -> dict[str, Any]:
    """Return the state of `windows` of which, in `epoch`, `position` have been delivered.

    Where positions are dealt to shards, `position` counts those of all of them.
    """
    return {"version": _VERSION, **windows.parts, "epoch": epoch, "position": position}


def place_of(windows: Windows, state: Mapping[str, Any]) -> tuple[int, int]:
    """Return the epoch and the position in it that `state` tells.

    Raises
    ------
    StateError
        It is no such state, or it belongs to other windows.
    """
    try:
        version, epoch, position = (int(state[k]) for k in ("version", "epoch", "position"))
    except (KeyError, OverflowError, TypeError, ValueError):
        raise StateError(f"this is no state of a loader: {state!r}.") from None
    if version != _VERSION:
        raise StateError(f"the state has version {version}, this headrace reads {_VERSION}.")
    for part, now in windows.parts.items():
        if part not in state:
            raise StateError(f"this is no state of a loader: {state!r}.")
        if (then := str(state[part])) != now:
            raise StateError(_SENTENCES[part](then, now))
    if epoch < 0 or not 0 <= position < windows.positions:
        raise StateError(f"the state's epoch {epoch}, position {position} does not exist.")
    return epoch, position


def _recordings(then: str, now: str) -> str:
    was, has = counted(then), counted(now)
    if was == has:
        what = (
            f"the {has:,} recordings are not the same as when it was saved: a file was renamed or "
            "replaced, or another one has come for one that is gone"
        )
    else:
        there = "there is 1 recording" if has == 1 else f"there are {has:,} recordings"
        more = f"{abs(has - was):,} {'more' if has > was else 'fewer'}"
        what = f"{there}, {more} than when it was saved"
    return (
        f"the state cannot be resumed from, because {what}. Load the catalog that it was saved "
        "with (catalog.save keeps one), or begin anew."
    )


def _differs(what: str, advice: str) -> Callable[[str, str], str]:
    return lambda then, now: (
        f"the state cannot be resumed from, because {what} differs: it was saved with {then!r}, "
        f"and this loader has {now!r}. {advice}, or begin anew."
    )


_SENTENCES: Mapping[str, Callable[[str, str], str]] = {
    "recordings": _recordings,
    "cut": _differs("how recordings are cut", "Cut them as before"),
    "choice": _differs("which windows are chosen", "Choose the same ones"),
    "order": _differs("their order", "Give the same seed and kind of order"),
}
