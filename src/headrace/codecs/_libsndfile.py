"""libsndfile, called through the private handles of the soundfile package.

No other module uses these handles. Files are opened by path and never through a Python file object:
libsndfile would call back into Python for every read, which needs the GIL.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final, TypeAlias

# soundfile has no public names for the raw calls and the format codes.
from soundfile import _ffi, _formats, _snd, _subtypes

from headrace.codecs._recording import Header
from headrace.failures import Code, DecodeError, describe_os_error

__all__ = [
    "format_code",
    "format_name",
    "function_address",
    "libsndfile_names",
    "open_file",
    "read_header",
    "subtype_name",
    "text_of",
]

Handle: TypeAlias = Any  # SNDFILE *
Info: TypeAlias = Any  # SF_INFO *
CString: TypeAlias = Any  # const char *

_FORMAT_CODES: Final[dict[str, int]] = _formats
_SUBTYPE_CODES: Final[dict[str, int]] = _subtypes
_FORMATS: Final = {code: name for name, code in _FORMAT_CODES.items()}
_SUBTYPES: Final = {code: name for name, code in _SUBTYPE_CODES.items()}
_FORMAT_MASK: Final = 0x0FFF0000  # SF_FORMAT_TYPEMASK of sndfile.h
_SUBTYPE_MASK: Final = 0x0000FFFF  # SF_FORMAT_SUBMASK of sndfile.h


def libsndfile_names() -> tuple[frozenset[str], frozenset[str]]:
    """Return libsndfile's names of containers, and its names of sample formats."""
    return frozenset(_FORMAT_CODES), frozenset(_SUBTYPE_CODES)


def format_code(format_: str, subtype: str) -> int:
    """Return libsndfile's code of a container and a sample format, as in ``SF_INFO.format``."""
    return _FORMAT_CODES[format_] | _SUBTYPE_CODES[subtype]


def function_address(symbol: str) -> int:
    """Return the address of a function of the libsndfile that soundfile has loaded."""
    return int(_ffi.cast("intptr_t", _ffi.addressof(_snd, symbol)))


def read_header(path: str) -> Header:
    """Return what libsndfile reads from a file's header; the values are not checked.

    Raises
    ------
    DecodeError
        The system cannot open the file, or libsndfile does not recognise it (``NOT_AUDIO``).
    """
    handle, info = open_file(path)
    _ffi.release(handle)
    return Header(
        format_name(info), subtype_name(info), info.samplerate, info.channels, info.frames
    )


def open_file(path: str) -> tuple[Handle, Info]:
    """Return libsndfile's handle, which closes when released or collected, and its ``SF_INFO``.

    Raises
    ------
    DecodeError
        The system cannot open the file, or libsndfile does not recognise it (``NOT_AUDIO``).
    """
    info = _ffi.new("SF_INFO *")
    if sys.platform == "win32":
        handle = _snd.sf_wchar_open(path, _snd.SFM_READ, info)
    else:
        handle = _snd.sf_open(os.fsencode(path), _snd.SFM_READ, info)
    if handle == _ffi.NULL:
        # libsndfile reports every failure to open as "System error": open the file without it.
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise DecodeError(*describe_os_error(error)) from error
        reason = text_of(_snd.sf_strerror(_ffi.NULL)).rstrip(".")
        raise DecodeError(Code.NOT_AUDIO, f"no decoder recognises it ({reason})")
    return _ffi.gc(handle, _snd.sf_close), info


def format_name(info: Info) -> str:
    """Return the name of the container, ``"?"`` if soundfile has none."""
    return _FORMATS.get(info.format & _FORMAT_MASK, "?")


def subtype_name(info: Info) -> str:
    """Return the name of the sample format, ``"?"`` if soundfile has none."""
    return _SUBTYPES.get(info.format & _SUBTYPE_MASK, "?")


def text_of(message: CString) -> str:
    """Return a message of libsndfile."""
    return str(_ffi.string(message), "utf-8", "replace")
