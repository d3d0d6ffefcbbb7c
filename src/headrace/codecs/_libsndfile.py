"""libsndfile, found through the private handles of the soundfile package, and called by the kernel.

The kernel calls the functions of the libsndfile that soundfile has loaded, by their addresses and
without the GIL. So there is no second copy of the library. No other module uses these handles,
which are checked when this module is imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from headrace import _kernel
from headrace.codecs._recording import Header
from headrace.failures import Code, DecodeError

if TYPE_CHECKING:
    from headrace.storage import Place

__all__ = [
    "format_code",
    "libsndfile_functions",
    "libsndfile_names",
    "read_header",
    "read_repaired_header",
]

_FORMAT_MASK: Final = 0x0FFF0000  # SF_FORMAT_TYPEMASK of sndfile.h
_SUBTYPE_MASK: Final = 0x0000FFFF  # SF_FORMAT_SUBMASK of sndfile.h


def _find() -> tuple[dict[str, int], dict[str, int], _kernel.LibsndfileFunctions]:
    """Return soundfile's codes of containers and of sample formats, and the functions' addresses.

    Raises
    ------
    ImportError
        This version of soundfile has them under other names.
    """
    opening = "sf_wchar_open" if sys.platform == "win32" else "sf_open"
    names = ["close", "seek", "error", "strerror", "open_virtual", "open_fd"]
    names += [f"readf_{type_}" for type_ in ("short", "int", "float", "double")]
    symbols = {name: f"sf_{name}" for name in names} | {"open": opening}
    try:
        # soundfile has no public names for the raw calls and the format codes.
        from soundfile import _ffi, _formats, _snd, _subtypes

        addresses = {
            name: int(_ffi.cast("intptr_t", _ffi.addressof(_snd, symbol)))
            for name, symbol in symbols.items()
        }
        return dict(_formats), dict(_subtypes), _kernel.LibsndfileFunctions(**addresses)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        from importlib.metadata import version  # takes 10 ms to import

        raise ImportError(
            "headrace calls libsndfile through the soundfile package, and soundfile "
            f"{version('soundfile')} does not offer it as the versions before did ({error}): "
            "pip install 'soundfile>=0.13,<0.15'"
        ) from error


_FORMAT_CODES, _SUBTYPE_CODES, _FUNCTIONS = _find()
_FORMATS: Final = {code: name for name, code in _FORMAT_CODES.items()}
_SUBTYPES: Final = {code: name for name, code in _SUBTYPE_CODES.items()}


def libsndfile_functions() -> _kernel.LibsndfileFunctions:
    """Return the addresses of the functions of the libsndfile that soundfile has loaded."""
    return _FUNCTIONS


def libsndfile_names() -> tuple[frozenset[str], frozenset[str]]:
    """Return libsndfile's names of containers, and its names of sample formats."""
    return frozenset(_FORMAT_CODES), frozenset(_SUBTYPE_CODES)


def format_code(format_: str, subtype: str) -> int:
    """Return libsndfile's code of a container and a sample format, as in ``SF_INFO.format``."""
    return _FORMAT_CODES[format_] | _SUBTYPE_CODES[subtype]


def read_header(place: Place) -> Header:
    """Return what libsndfile reads from a file's header; the values are not checked.

    Raises
    ------
    DecodeError
        The system cannot open or read the file, or libsndfile does not recognise it
        (``NOT_AUDIO``).
    """
    found = _kernel.read_header(_FUNCTIONS, place=place.native)
    if found.code:
        raise DecodeError(Code(found.code), found.message)
    return _header(found.format, found.sample_rate, found.channels, found.frames)


def read_repaired_header(place: Place) -> Header | None:
    """Return what libsndfile reads if the file's header is given the size of the samples there are.

    Returns
    -------
    Header or None
        None if the header declares all samples, the format is another than AU, CAF, AIFF and WAV,
        or the file cannot be opened; and on Windows.
    """
    found = _kernel.repaired_header(place.native, _FUNCTIONS)
    return None if found is None else _header(*found)


def _header(code: int, sample_rate: int, channels: int, frames: int) -> Header:
    format_ = _FORMATS.get(code & _FORMAT_MASK, "?")
    return Header(format_, _SUBTYPES.get(code & _SUBTYPE_MASK, "?"), sample_rate, channels, frames)
