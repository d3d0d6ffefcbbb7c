"""`read_facts`: find what the header of a file says about the recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headrace.metadata._audiomoth import parse_audiomoth
from headrace.metadata._bext import parse_bext
from headrace.metadata._flac import read_blocks
from headrace.metadata._guano import parse_guano
from headrace.metadata._riff import info_texts, read_chunks
from headrace.metadata._wamd import parse_wamd

if TYPE_CHECKING:
    from headrace.metadata._facts import Facts
    from headrace.storage import Place

__all__ = ["read_facts"]

_CHUNKS: Final = frozenset({b"guan", b"wamd", b"LIST", b"bext"})
_MAGIC: Final = 4  # bytes


def read_facts(place: Place) -> tuple[Facts, ...]:
    """Return what the header of a WAV or FLAC file says, by source, the most exact one first.

    Parameters
    ----------
    place : Place
        Where the recording is. No sample is read.

    Returns
    -------
    tuple of Facts
        Empty for other formats, and for headers that say nothing.

    Raises
    ------
    OSError, DecodeError
        The file cannot be read.
    """
    comments: list[tuple[str, str]] = []
    with place.open() as file:
        magic = file.read(_MAGIC)
        file.seek(0)
        if magic == b"fLaC":
            chunks, comments = read_blocks(file)
        else:
            chunks = read_chunks(file, _CHUNKS)
    info = info_texts(chunks.get(b"LIST", b""))
    named = dict(reversed(comments))
    texts = [chunks.get(b"guan", b"").decode("utf-8", "replace")]
    texts += [value for name, value in comments if name == "GUANO" or "GUANO|Version" in value]
    remarks = [info.get(b"ICMT", ""), *(value for _, value in comments)]
    artist = info.get(b"IART", "") or named.get("ARTIST", "")
    sources = (
        (parse_guano(text) for text in texts),
        (parse_wamd(chunks.get(b"wamd", b"")),),
        (parse_audiomoth(text, artist) for text in remarks),
        (parse_bext(chunks.get(b"bext", b"")),),
    )
    first = (next((one for one in found if one is not None), None) for found in sources)
    return tuple(facts for facts in first if facts is not None)
