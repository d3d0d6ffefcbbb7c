"""How much of a file a scan looks at, by its name and its size, where reading is expensive.

Nothing depends on it but time: a header that needs more bytes is read all the same.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Final, NamedTuple

from headrace.codecs import _ffmpeg, _mp3, _mp4, _ogg

__all__ = ["SMALL_FILE", "Ends", "ends_of"]

SMALL_FILE: Final = 64 << 10
"""Files up to this many bytes are read whole: a request of 64 KiB takes hardly longer than one of
no bytes. A guess."""

_HEAD: Final = 16 << 10
"""Bytes: more than most headers of WAV and FLAC have. A guess."""


class Ends(NamedTuple):
    """The parts of a file that a scan reads.

    Attributes
    ----------
    head, tail : int
        Bytes at the beginning and at the end that are read at first.
    all : bool
        Whether the whole file is read then, because no header says how long the recording is.
    """

    head: int
    tail: int = 0
    all: bool = False


def ends_of(name: str, size: int) -> Ends:
    """Return what a scan reads of a file of `size` bytes with this name."""
    if _ogg.has_ogg_extension(name):
        if size <= _ogg.HEAD_BYTES + _ogg.TAIL_BYTES:
            return Ends(size)
        return Ends(_ogg.HEAD_BYTES, _ogg.TAIL_BYTES)
    if size <= SMALL_FILE:
        return Ends(size)
    extension = PurePath(name).suffix.lower()
    walked = extension in _ffmpeg.EXTENSIONS - _mp4.AUDIO_EXTENSIONS
    return Ends(_HEAD, all=walked or _mp3.has_mp3_extension(name))
