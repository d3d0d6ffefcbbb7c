"""The saved state of a loader: a position in the epochs of some windows, as a small dict.

The dict is JSON: the version of its format, the fields that decide the order
(`headrace.windows.WindowsIdentity`), the epoch and the position in it. Resuming compares the
fields. Error messages are written from them and are never stored.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from headrace._formatting import brief, format_count
from headrace.errors import StateError
from headrace.windows import WindowsIdentity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.windows import IdentityPart, Windows

__all__ = ["make_state", "read_state"]

_VERSION = 3
_LAST_VERSION_OF_SENTENCES = 2
"""Up to this version, states stored sentences; headrace 0.1.0 was the last release to write one."""


def make_state(windows: Windows, epoch: int, position: int) -> dict[str, Any]:
    """Return the state after `position` positions of `epoch` have been delivered.

    On a shard of positions, `position` counts those of all ranks together.
    """
    return {
        "version": _VERSION,
        **pickle.loads(windows.pickled_identity),  # noqa: S301  made by this process
        "epoch": epoch,
        "position": position,
    }


def read_state(windows: Windows, state: Mapping[str, Any]) -> tuple[int, int]:
    """Return the epoch and the position in it from which `state` resumes.

    Raises
    ------
    StateError
        `state` is not a state of a loader, has another version, or belongs to other windows.
    """
    try:
        version, epoch, position = (int(state[k]) for k in ("version", "epoch", "position"))
    except (KeyError, OverflowError, TypeError, ValueError):
        raise _not_a_state(state) from None
    _check_version(version)
    try:
        saved = WindowsIdentity.from_json(
            {k: v for k, v in state.items() if k not in ("version", "epoch", "position")}
        )
    except (AttributeError, RecursionError, TypeError, ValueError):
        raise _not_a_state(state) from None
    _check_identity(saved, windows.identity)
    if epoch < 0 or not 0 <= position < windows.positions:
        raise StateError(
            f"the state's epoch {epoch}, position {position} does not exist: epochs count from 0, "
            f"and each has {format_count(windows.positions, 'position')}."
        )
    return epoch, position


def _not_a_state(state: object) -> StateError:
    return StateError(
        f"this is not a state of a loader: {brief(state)}. Pass what Loader.state_dict returned."
    )


def _check_version(version: int) -> None:
    if version == _VERSION:
        return
    if 1 <= version <= _LAST_VERSION_OF_SENTENCES:
        raise StateError(
            f"the state has version {version}, and headrace 0.1.0 is the last version that reads "
            "it: finish the run with headrace 0.1.0, or start over."
        )
    raise StateError(
        f"the state has version {version}, and this headrace reads version {_VERSION}: use the "
        "headrace that saved it, or start over."
    )


def _check_identity(saved: WindowsIdentity, current: WindowsIdentity) -> None:
    """Raise `StateError` for the first part of the identity that differs."""
    if saved.recordings != current.recordings:
        was, now = saved.recordings.count, current.recordings.count
        if was == now and saved.recordings.catalogs != current.recordings.catalogs:
            what = (
                f"the {format_count(now, 'recording')} are in "
                f"{format_count(current.recordings.catalogs, 'catalog')}, and were in "
                f"{saved.recordings.catalogs:,} when it was saved"
            )
        elif was == now:
            what = (
                f"the {format_count(now, 'recording')} are not the same as when it was saved: a "
                "file was renamed or replaced, or one was added and another removed"
            )
        else:
            there = "there is" if now == 1 else "there are"
            more = f"{abs(now - was):,} {'more' if now > was else 'fewer'}"
            what = f"{there} {format_count(now, 'recording')}, {more} than when it was saved"
        raise StateError(
            f"cannot resume from this state, because {what}. Load the catalog that it was saved "
            "with (catalog.save stores one), or start over."
        )
    _check_part(saved.cut, current.cut, "the way the recordings are cut", "Cut them as before")
    _check_part(saved.choice, current.choice, "the choice of windows", "Choose the same windows")
    _check_part(
        saved.order, current.order, "their order", "Use the same kind of order and the same seed"
    )


def _check_part(saved: IdentityPart, current: IdentityPart, what: str, advice: str) -> None:
    if saved != current:
        raise StateError(
            f"cannot resume from this state, because {what} differs: it was saved with "
            f"{saved.describe()!r}, and this loader has {current.describe()!r}. {advice}, or start "
            "over."
        )
