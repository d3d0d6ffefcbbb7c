"""The FFmpeg libraries that PyAV ships: addresses of their functions, for the kernel.

Guarantees
----------
- The functions are those that PyAV itself calls: their addresses are looked up in one of PyAV's own
  extension modules. Another FFmpeg that another package has loaded is never called.
- Only the major versions of `MAJORS` are called: the kernel knows the beginnings of their structs.
- Before the first call for a recording, a process decodes two short files through the kernel and
  through PyAV. Where a sample differs, the kernel calls nothing, and PyAV decodes.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from headrace import _kernel
from headrace.failures import Code, DecodeError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

__all__ = [
    "MAJORS",
    "check_major",
    "decoder_major",
    "import_pyav",
    "interleaved",
    "is_pyav_installed",
    "library",
    "packet_of",
]

# PyAV's types; PyAV need not be installed.
_AudioFrame: TypeAlias = Any
_Packet: TypeAlias = Any

MAJORS: Final = {"libavformat": 62, "libavcodec": 62, "libavutil": 60}
"""FFmpeg 8: see src/kernel/sources/ffmpeg_library.h."""

SELF_CHECK: Final = Path(__file__).with_name("self_check.mka")
"""A quarter of a second of noise and tones, as FLAC in Matroska."""

SELF_CHECK_OGG: Final = Path(__file__).with_name("self_check.opus")
"""A fifth of a second of the same kind, as Opus in Ogg."""

_SCALES: Final = {"int16": 2.0**-15, "int32": 2.0**-31, "float32": 1.0, "float64": 1.0}
"""Of the types of PyAV's samples, to full scale 1."""

_RATE: Final = 48_000
_CHANNELS: Final = 2
"""Of both files."""


def import_pyav() -> ModuleType:
    """Return PyAV.

    Raises
    ------
    DecodeError
        It is not installed.
    """
    try:
        import av
        import av.error
    except ImportError:
        raise DecodeError(
            Code.UNSUPPORTED,
            "decoding it needs FFmpeg, which PyAV contains: pip install av, and scan again",
        ) from None
    return av


def is_pyav_installed() -> bool:
    """Return whether there is a PyAV: there is no wheel of it for some machines."""
    try:
        import_pyav()
    except DecodeError:
        return False
    return True


def decoder_major() -> int:
    """Return the major version of libavcodec."""
    return int(import_pyav().library_versions["libavcodec"][0])


def check_major(scanned: int) -> None:
    """Raise `DecodeError` if libavcodec has another major version than the one of a scan."""
    if scanned != decoder_major():
        raise DecodeError(
            Code.UNSUPPORTED,
            f"it was scanned with libavcodec {scanned}, and this machine has "
            f"{decoder_major()}, which may decode it otherwise: install the PyAV that it was "
            "scanned with, or scan again",
        )


def packet_of(data: bytes) -> _Packet:
    """Return a packet for a decoder.

    Decoders read a little behind the end of a packet, and what is there can change samples: FFmpeg
    demands zeros. Of ``av.Packet(data)`` that is whatever follows in memory; here it is zeros.
    """
    packet = import_pyav().Packet(len(data))
    packet.update(data)
    return packet


def interleaved(frame: _AudioFrame) -> NDArray[np.float32]:
    """Return float32 of shape ``(frames, channels)``, rounded at most once."""
    pcm = frame.to_ndarray()
    pcm = pcm.T if frame.format.is_planar else pcm.reshape(-1, frame.layout.nb_channels)
    if pcm.dtype == np.uint8:
        pcm = (pcm.astype(np.int16) - 128) << 8
    scale = _SCALES.get(pcm.dtype.name)
    if scale is None:
        raise DecodeError(
            Code.UNSUPPORTED,
            f"its samples have the type {pcm.dtype}: convert the file to WAV or FLAC",
        )
    samples: NDArray[np.float32] = (pcm if scale == 1.0 else pcm * scale).astype(np.float32)
    return samples


def library() -> _kernel.FfmpegFunctions | None:
    """Return the functions that the kernel calls, or None where PyAV has to decode.

    Raises
    ------
    DecodeError
        PyAV is not installed.
    """
    return _library(import_pyav())


@cache
def _library(av: ModuleType) -> _kernel.FfmpegFunctions | None:
    if sys.platform == "win32":  # the kernel opens no files by FFmpeg there
        return None
    majors = {name: av.library_versions[name][0] for name in MAJORS}
    if majors != MAJORS:
        return None
    try:
        module = ctypes.CDLL(av._core.__file__)  # noqa: SLF001  an extension module of PyAV's
        addresses = {
            name: ctypes.cast(getattr(module, name), ctypes.c_void_p).value
            for name in _kernel.FFMPEG_FUNCTIONS
        }
    except (OSError, AttributeError):
        return None
    functions = _kernel.FfmpegFunctions(addresses)
    return functions if _agrees(av, functions) else None


def _agrees(av: ModuleType, functions: _kernel.FfmpegFunctions) -> bool:
    """Return whether the kernel decodes the files of the self-check to the bits that PyAV gives."""
    return _decode_mka(functions) == _decode_with_pyav(av, SELF_CHECK, "matroska") and (
        _decode_opus(functions) == _decode_with_pyav(av, SELF_CHECK_OGG, "ogg")
    )


def _decode_with_pyav(av: ModuleType, path: Path, demuxer: str) -> bytes:
    """Return float32 with channels interleaved."""
    with av.open(str(path), format=demuxer) as file:
        return np.concatenate([interleaved(one) for one in file.decode(audio=0)]).tobytes()


def _decode_mka(functions: _kernel.FfmpegFunctions) -> bytes:
    place = _kernel.Place(path=os.fsencode(SELF_CHECK))
    walk = _kernel.FfmpegWalk(functions, place=place, demuxer="matroska")
    if walk.error or walk.codec != "flac":
        return b""
    walk.set_rules(
        spacing_s=0.05,
        pre_roll=1,
        pre_roll_s=0,
        forgets=True,
        long_spacing_s=1,
        long_pre_roll=1,
        long_pre_roll_s=0,
    )
    walk.advance(_RATE)
    found = (walk.error, walk.complaint, walk.sample_rate, walk.channels)
    if found != (None, "", _RATE, _CHANNELS):
        return b""
    kind = _kernel.FfmpegFormat(
        functions=functions, demuxer="matroska", codec="flac", byte_seek=False
    )
    return _kernel.decode_indexed(
        kind,
        place=place,
        sample_rate=_RATE,
        channels=_CHANNELS,
        frames=walk.frames,
        seek_points=walk.packed_index,
    )


def _decode_opus(functions: _kernel.FfmpegFunctions) -> bytes:
    place = _kernel.Place(path=os.fsencode(SELF_CHECK_OGG))
    walk = _kernel.OggWalk(place, vorbis=(1, 1, 0), opus=(1, 1, 0))
    while walk.error is None and walk.advance(1 << 16):
        pass
    if walk.error or (walk.usable, walk.channels) != (True, _CHANNELS):
        return b""
    kind = _kernel.FfmpegFormat(functions=functions, demuxer="ogg", codec="opus", byte_seek=True)
    return _kernel.decode_indexed(
        kind,
        place=place,
        sample_rate=_RATE,
        channels=_CHANNELS,
        frames=walk.frames,
        seek_points=walk.packed_index(decoder_major=decoder_major()),
    )
