"""`Decoder`: what decoding must give, in Python over libsndfile, to compare the kernel with.

It shares no code with headrace: the library is called through the soundfile package's handles, and
the tables of sample types and of exact seeks are its own. `Recording`, `Code` and `DecodeError`
only carry values. `SoundFile.read` is not used, because it seeks after every read, and some
decoders do not return to the same place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import soundfile

from headrace.failures import Code, DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from headrace import Recording

__all__ = ["Decoder", "sample_type", "seeks_exactly"]

_ffi: Any = soundfile._ffi
_snd: Any = soundfile._snd

_FORMAT_MASK: Final = 0x0FFF0000  # SF_FORMAT_TYPEMASK of sndfile.h
_SUBTYPE_MASK: Final = 0x0000FFFF  # SF_FORMAT_SUBMASK of sndfile.h
_SYSTEM_ERROR: Final = 2  # SF_ERR_SYSTEM of sndfile.h

_SAMPLE_TYPES: Final = {
    **dict.fromkeys(("PCM_S8", "PCM_U8", "PCM_16", "ALAC_16"), "int16"),
    **dict.fromkeys(("PCM_24", "PCM_32", "ALAC_20", "ALAC_24", "ALAC_32"), "int32"),
    "DOUBLE": "float64",
}
"""The smallest type that holds every sample of a file; lossy codecs give float32."""

_SEEKS_EXACTLY: Final = {
    container: {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
    for container in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC")
}
"""By container, the sample formats for which `sf_seek` goes to exactly the frame asked for."""


def sample_type(recording: Recording) -> np.dtype[Any]:
    """Return the NumPy type in which a file that libsndfile reads is decoded."""
    return np.dtype(_SAMPLE_TYPES.get(recording.subtype, "float32"))


def seeks_exactly(recording: Recording) -> bool:
    """Return whether libsndfile's seeking is used in such a file, or decoding from its start."""
    return recording.subtype in _SEEKS_EXACTLY.get(recording.format, ())


class Decoder:
    """One open file and a position in it, in frames; for one thread at a time.

    What a span gives never depends on the spans that were read before it. So a decoder that stopped
    or reported damage is not used again: after damage, libsndfile's FLAC refuses every frame of the
    file, and its MP3 may go on with audio from behind the damage. `move_to` opens the file afresh.

    Parameters
    ----------
    recording : Recording
        What the file was when it was scanned.

    Raises
    ------
    DecodeError
        The file cannot be opened, or is not what was scanned.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.position = 0
        self._type = sample_type(recording)
        self._c_type, self._read = {
            "int16": ("short *", _snd.sf_readf_short),
            "int32": ("int *", _snd.sf_readf_int),
            "float32": ("float *", _snd.sf_readf_float),
            "float64": ("double *", _snd.sf_readf_double),
        }[self._type.name]
        self._handle: Any = None
        self._stopped = False
        self._open()

    def _open(self) -> None:
        self.close()
        self._handle, info = _open(self.recording.path)
        self.position = 0
        self._stopped = False
        wanted = soundfile._formats[self.recording.format]
        wanted |= soundfile._subtypes[self.recording.subtype]
        for name, now, then in (
            ("format code {:#x}", info.format & (_FORMAT_MASK | _SUBTYPE_MASK), wanted),
            ("a sample rate of {} Hz", info.samplerate, self.recording.sample_rate),
            ("{} channels", info.channels, self.recording.channels),
        ):
            if now != then:
                self.close()
                raise DecodeError(
                    Code.CHANGED,
                    f"the file has {name.format(now)}, but had {name.format(then)} when it was "
                    "scanned: scan again",
                )

    def close(self) -> None:
        """Close the file; closing twice is fine. `move_to` opens it again."""
        if self._handle is not None:
            _ffi.release(self._handle)
            self._handle = None

    def move_to(
        self, frame: int, scratch: NDArray[Any], cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Go to `frame`: by a seek where that is exact in this format, else by decoding up to it.

        Parameters
        ----------
        frame : int
            From 0 to the length of the file.
        scratch : ndarray, shape ``(n,)``
            Memory of this recording's `sample_type` for at least one frame; overwritten.
        cancelled : callable
            Called before each piece that is decoded; if true, the move stops there.

        Raises
        ------
        DecodeError
            The file ends before `frame`, or the decoder reports an error.
        """
        exact = seeks_exactly(self.recording)
        if self._handle is None or (self._stopped if exact else frame < self.position):
            self._open()
        if self.position == frame:
            return
        if exact:
            if int(_snd.sf_seek(self._handle, frame, os.SEEK_SET)) != frame:
                self._stopped = True
                raise DecodeError(
                    Code.TRUNCATED,
                    f"the decoder cannot seek to frame {frame} of {self.recording.frames}"
                    f"{self._complaint()}",
                )
            self.position = frame
            return
        room = len(scratch) // self.recording.channels
        while self.position < frame and not cancelled():
            wanted = min(room, frame - self.position)
            if self.read(scratch[: wanted * self.recording.channels]) < wanted:
                self._ended()

    def read(self, out: NDArray[Any]) -> int:
        """Fill `out` with the next frames, channels interleaved; the GIL is released.

        Parameters
        ----------
        out : ndarray, shape ``(frames * channels,)``, contiguous
            Of this recording's `sample_type`.

        Returns
        -------
        int
            Frames read: fewer than asked for only where decoding stops, and 0 from there on.

        Raises
        ------
        DecodeError
            The decoder filled `out`, but reports that what it decoded is damaged.
        """
        wanted = len(out) // self.recording.channels
        if out.dtype != self._type or not out.flags.c_contiguous:
            raise TypeError(f"out must be contiguous {self._type}, not {out.dtype}")
        if self._handle is None:
            raise ValueError("the decoder is closed: move_to opens it again")
        if self._stopped:
            return 0
        got = int(self._read(self._handle, _ffi.cast(self._c_type, out.ctypes.data), wanted))
        self.position += got
        complaint = self._complaint()
        self._stopped = got < wanted or bool(complaint)
        if got == wanted and complaint:
            raise DecodeError(
                Code.TRUNCATED,
                f"damaged between frames {self.position - got} and {self.position}{complaint}",
            )
        return got

    def read_exactly(self, out: NDArray[Any]) -> None:
        """Fill `out` with the next frames, all of them.

        Raises
        ------
        DecodeError
            The file ends before.
        """
        if self.read(out) < len(out) // self.recording.channels:
            self._ended()

    def _ended(self) -> None:
        system = _snd.sf_error(self._handle) == _SYSTEM_ERROR
        raise DecodeError(
            Code.IO if system else Code.TRUNCATED,
            f"decoding stops at frame {self.position} of {self.recording.frames}"
            f"{self._complaint()}",
        )

    def _complaint(self) -> str:
        if not _snd.sf_error(self._handle):
            return ""
        return f" ({_text(_snd.sf_strerror(self._handle))})"


def _open(path: str) -> tuple[Any, Any]:
    """Return libsndfile's handle, which closes when it is released or collected, and SF_INFO."""
    info = _ffi.new("SF_INFO *")
    if sys.platform == "win32":
        handle = _snd.sf_wchar_open(path, _snd.SFM_READ, info)
    else:
        handle = _snd.sf_open(os.fsencode(path), _snd.SFM_READ, info)
    if handle != _ffi.NULL:
        return _ffi.gc(handle, _snd.sf_close), info
    why = _text(_snd.sf_strerror(_ffi.NULL))
    try:  # libsndfile calls all of these "System error"
        with Path(path).open("rb"):
            pass
    except FileNotFoundError as error:
        raise DecodeError(Code.MISSING, "the file does not exist") from error
    except PermissionError as error:
        raise DecodeError(Code.PERMISSION, "permission denied") from error
    except OSError as error:
        raise DecodeError(Code.IO, str(error)) from error
    raise DecodeError(Code.NOT_AUDIO, why)


def _text(message: Any) -> str:
    return str(_ffi.string(message), "utf-8", "replace").rstrip(".")
