"""`Decoder`: the kernel's oracle, written in Python over libsndfile's same calls.

`SoundFile.read` is not used, because it seeks after every read, and not every decoder comes back to
where it was.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from headrace.codecs._probe import _ffi, _format, _open, _snd, _subtype, _text, sample_type, seeks
from headrace.failures import Code, DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from headrace.codecs._recording import Recording

_SYSTEM_ERROR: Final = 2  # SF_ERR_SYSTEM of sndfile.h


class Decoder:
    """One open file, standing at one frame; used by one thread at a time.

    What one span gives never depends on the spans asked for before it. So a decoder that came to a
    stop, or complained, is done with: libsndfile's FLAC then refuses every frame of the file, and
    its MP3 may go on with audio from somewhere behind the damage. `move_to` opens the file afresh.

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
        for name, now, then in (
            ("the format {}", _format(info), self.recording.format),
            ("a sample rate of {} Hz", info.samplerate, self.recording.sample_rate),
            ("{} channels", info.channels, self.recording.channels),
            ("the sample format {}", _subtype(info), self.recording.subtype),
        ):
            if now != then:
                self.close()
                raise DecodeError(
                    Code.CHANGED,
                    f"the file has {name.format(now)}, but had {then} when it was scanned: "
                    "scan again",
                )

    def close(self) -> None:
        """Let go of the file; again does nothing. Only `move_to` opens it again."""
        if self._handle is not None:
            _ffi.release(self._handle)
            self._handle = None

    def move_to(
        self, frame: int, scratch: NDArray[Any], cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        """Stand at `frame`, by the exact way that this format has.

        Parameters
        ----------
        frame : int
            From 0 to the length of the file.
        scratch : ndarray, shape ``(n,)``
            Memory of this recording's `sample_type` for at least one frame; overwritten.
        cancelled : callable
            Asked now and then on a long way; if true, the way is given up.

        Raises
        ------
        DecodeError
            The file ends before `frame`, or the decoder refuses.
        """
        exact = seeks(self.recording)
        if self._handle is None or (self._stopped if exact else frame < self.position):
            self._open()
        if self.position == frame:
            return
        if exact:
            if int(_snd.sf_seek(self._handle, frame, os.SEEK_SET)) != frame:
                self._stopped = True
                raise DecodeError(
                    Code.TRUNCATED,
                    f"the decoder cannot seek to frame {frame} of {self.recording.frames}: "
                    f"the file is cut short or damaged{self._complaint()}",
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
            The decoder filled `out`, but says that what it decoded is damaged.
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
            f"decoding stops at frame {self.position} of {self.recording.frames}: "
            f"the file {'cannot be read' if system else 'is cut short or damaged'}"
            f"{self._complaint()}",
        )

    def _complaint(self) -> str:
        if not _snd.sf_error(self._handle):
            return ""
        return f" ({_text(_snd.sf_strerror(self._handle)).rstrip('.')})"
