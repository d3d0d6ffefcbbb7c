"""Texts of arguments → what they mean; those that mean nothing are refused by name."""

from __future__ import annotations

from enum import StrEnum
from functools import reduce
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.annotations import Annotations

__all__ = ["Shuffled", "Sound", "Verify", "annotations_of", "numbers_of", "place_of"]


class Verify(StrEnum):
    """What `scan --verify` believes."""

    HEADERS = "headers"
    DECODE = "decode"


class Shuffled(StrEnum):
    """What `bench --shuffle` shuffles."""

    WINDOW = "window"
    FILE = "file"


class Sound(StrEnum):
    """What `preview --audio` has played."""

    FLAC = "flac"
    MP3 = "mp3"
    NONE = "none"


def numbers_of(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers in a list of them."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise typer.BadParameter(
            f'"{text}" is no list of whole numbers, as 0,1,2,4.', param_hint="--workers"
        )
    return tuple(int(word) for word in words)


def annotations_of(texts: list[str]) -> Annotations | None:
    """Return what the files that ``KIND:FILES`` names hold, together."""
    if not texts:
        return None
    from headrace.annotations import Annotations

    readers: dict[str, Callable[[str], Annotations]] = {
        "anuraset": Annotations.read_anuraset,
        "audacity": Annotations.read_audacity,
        "csv": Annotations.read_csv,
        "parquet": Annotations.read_parquet,
        "raven": Annotations.read_raven,
    }
    read: list[Annotations] = []
    for text in texts:
        kind, _, files = text.partition(":")
        if kind not in readers or not files:
            raise typer.BadParameter(
                f"{text!r} is not KIND:FILES with a KIND of {', '.join(readers)}.",
                param_hint="--annotations",
            )
        read.append(readers[kind](files))
    return reduce(Annotations.__add__, read)


def place_of(text: str) -> tuple[str, float]:
    """Return the file and the second that ``FILE@SECONDS`` names."""
    name, _, seconds = text.rpartition("@")
    try:
        return name, float(seconds)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not FILE@SECONDS.", param_hint="--at") from None
