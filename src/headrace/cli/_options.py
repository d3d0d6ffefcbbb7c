"""Parse the texts of command-line options. Each error names the option."""

from __future__ import annotations

from enum import StrEnum
from functools import reduce
from typing import TYPE_CHECKING

import typer

import headrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.annotations import Annotations

__all__ = [
    "Decoder",
    "PreviewAudio",
    "ShuffleBy",
    "Verify",
    "parse_file_and_second",
    "parse_worker_counts",
    "read_annotations",
]


class Verify(StrEnum):
    """How `scan --verify` checks files."""

    HEADERS = "headers"
    DECODE = "decode"


class Decoder(StrEnum):
    """What decodes Vorbis and Opus in Ogg."""

    AUTO = "auto"
    FFMPEG = "ffmpeg"
    LIBSNDFILE = "libsndfile"


class ShuffleBy(StrEnum):
    """What `bench --shuffle` shuffles."""

    WINDOW = "window"
    FILE = "file"


class PreviewAudio(StrEnum):
    """Audio format of the players that `preview` writes."""

    FLAC = "flac"
    MP3 = "mp3"
    NONE = "none"


def parse_worker_counts(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of workers in ``0,1,2``, or None for the default."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise typer.BadParameter(
            f"{text!r} is not a list of whole numbers, such as 0,1,2,4.", param_hint="--workers"
        )
    return tuple(int(word) for word in words)


def parse_file_and_second(text: str) -> tuple[str, float]:
    """Return the file and the second in ``FILE@SECONDS``."""
    name, _, seconds = text.rpartition("@")
    try:
        return name, float(seconds)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not FILE@SECONDS, such as a.wav@12.5.", param_hint="--at"
        ) from None


def read_annotations(texts: list[str]) -> Annotations | None:
    """Return the annotations of all files in ``KIND:FILES``, or None if `texts` is empty."""
    if not texts:
        return None
    annotations = headrace.Annotations
    readers: dict[str, Callable[[str], Annotations]] = {
        "anuraset": annotations.read_anuraset,
        "audacity": annotations.read_audacity,
        "csv": annotations.read_csv,
        "parquet": annotations.read_parquet,
        "raven": annotations.read_raven,
    }
    parts: list[Annotations] = []
    for text in texts:
        kind, _, files = text.partition(":")
        if kind not in readers or not files:
            raise typer.BadParameter(
                f"{text!r} is not KIND:FILES, where KIND is one of {', '.join(readers)}.",
                param_hint="--annotations",
            )
        parts.append(readers[kind](files))
    return reduce(annotations.__add__, parts)
