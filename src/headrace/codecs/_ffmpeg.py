"""FFmpeg, called through PyAV: decodes containers that libsndfile does not read.

FFmpeg opens a file only if libsndfile does not recognise it and the file begins like one of
`CONTAINERS`, and gets the name of that container. Without the name, FFmpeg takes a text for a
subtitle, and noise for audio.

Every file is decoded from its first packet, without seeking: what a packet gives depends on the
packets before it, and on the state of the decoder's noise generator. The length of a recording is
the number of decoded frames, because containers declare no length, a rounded one, or one that
includes frames that the decoder drops. So a scan decodes the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import numpy as np

from headrace.codecs._recording import MAX_SAMPLE_RATE, Header
from headrace.failures import Code, DecodeError, describe_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from numpy.typing import NDArray

__all__ = [
    "CONTAINERS",
    "EXTENSIONS",
    "Stream",
    "container_of",
    "decoder_bytes",
    "measure",
]

# PyAV's types; PyAV need not be installed.
_Container: TypeAlias = Any
_AudioStream: TypeAlias = Any
_AudioFrame: TypeAlias = Any

CONTAINERS: Final = {
    "AAC": "aac",
    "ASF": "asf",
    "AVI": "avi",
    "MATROSKA": "matroska",
    "MP4": "mov",
    "WAVPACK": "wv",
}
"""FFmpeg's demuxers, by the names of containers in a catalog."""

EXTENSIONS: Final = frozenset({".aac", ".m4a", ".m4b", ".mka", ".wma", ".wv"})
"""Extensions that a folder is searched for: those of audio, not of video."""

_BEGINS: Final = (
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "ASF"),  # the GUID of its header object
    (8, b"AVI ", "AVI"),
    (0, b"\x1a\x45\xdf\xa3", "MATROSKA"),  # EBML's
    *((4, atom, "MP4") for atom in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (0, b"wvpk", "WAVPACK"),
)
"""Position, bytes there, container."""
_MAX_BEGIN: Final = 16
_ADTS: Final = 0xFFF6, 0xFFF0
"""Mask and value: twelve ones, a version bit, and two zeros where MPEG audio has its layer."""
_MAX_CHANNELS: Final = 1024  # libsndfile's SF_MAX_CHANNELS

_SCALES: Final = {"int16": 2.0**-15, "int32": 2.0**-31, "float32": 1.0, "float64": 1.0}
_MEASURED_AT_ONCE: Final = 1 << 14
"""Frames: how often a scan checks whether it is cancelled."""


def container_of(begin: bytes) -> str | None:
    """Return which of `CONTAINERS` a file that begins with these 16 bytes is, or None."""
    for place, mark, container in _BEGINS:
        if begin[place : place + len(mark)] == mark:
            return container
    mask, value = _ADTS
    return "AAC" if int.from_bytes(begin[:2], "big") & mask == value else None


def decoder_bytes(container: str, channels: int, frames: int) -> int:
    """Return an upper bound on the memory of one open decoder, in bytes.

    With FFmpeg 8, tests/codecs/test_ffmpeg.py measures 0.1 to 0.8 MiB and the current packet.
    Opening a file reads up to 5 MB of it, including pictures (FFmpeg's probesize). The index of an
    MP4 file, and possibly that of an AVI file, is kept in memory: about 64 bytes for each packet,
    which has 512 frames or more. For other containers FFmpeg limits the index to 1 MiB
    (max_index_size).
    """
    index = frames // 8 if container in {"MP4", "AVI"} else 1 << 20
    return (8 << 20) + (512 << 10) * channels + index


def measure(path: str, cancelled: Callable[[], bool] = lambda: False) -> Header | None:
    """Decode a whole file, if it begins like one of `CONTAINERS`.

    Returns
    -------
    Header or None
        The name in `CONTAINERS`, FFmpeg's name of the codec such as ``"aac"``, and what decoding
        gives; only the frames so far if `cancelled` returned true. None if the file begins like
        none of the containers.

    Raises
    ------
    DecodeError
        The file cannot be decoded to its end.
    """
    with open(path, "rb") as file:
        container = container_of(file.read(_MAX_BEGIN))
    if container is None:
        return None
    with Stream(path, container) as stream:
        frames = 0
        while not cancelled():
            skipped = stream.skip(_MEASURED_AT_ONCE)
            frames += skipped
            if skipped < _MEASURED_AT_ONCE:
                break
        if stream.complaint:
            raise DecodeError(
                Code.TRUNCATED,
                f"decoding stops at frame {frames}: the file is cut short or damaged"
                f"{stream.complaint}. Convert it with FFmpeg to keep what can be decoded",
            )
        if not frames:
            raise DecodeError(Code.EMPTY, "the file holds no audio frames")
        return Header(container, stream.codec, stream.sample_rate, stream.channels, frames)


class Stream:
    """The frames of a file's first audio track, in order; for one thread at a time.

    Parameters
    ----------
    path : str
        The file.
    container : str
        One of `CONTAINERS`.
    codec : str
        FFmpeg's name of the codec that the track must have; ``""`` for any.
    sample_rate, channels : int
        What every frame must have; 0 for that of the first frame.

    Attributes
    ----------
    complaint : str
        FFmpeg's reason, in brackets, if decoding stopped before the end of the file; else ``""``.

    Raises
    ------
    DecodeError
        The file cannot be opened, or is not what was scanned.
    """

    def __init__(
        self, path: str, container: str, codec: str = "", sample_rate: int = 0, channels: int = 0
    ) -> None:
        self._scanned = bool(codec)
        self.codec = codec
        self.sample_rate = sample_rate
        self.channels = channels
        self.complaint = ""
        self._av = av = _import_pyav()
        self._rest: NDArray[np.float32] = np.empty((0, max(1, channels)), np.float32)
        try:
            self._container: _Container = av.open(
                f"file:{path}", format=CONTAINERS[container], metadata_errors="ignore"
            )
        except av.FFmpegError as error:
            # FFmpeg reports damage as "Operation not permitted": open the file without it.
            try:
                with open(path, "rb") as file:
                    file.read(1)
            except OSError as system_error:
                raise DecodeError(*describe_os_error(system_error)) from None
            raise DecodeError(
                Code.NOT_AUDIO, f"no decoder recognises it (FFmpeg: {error.strerror})"
            ) from None
        try:
            self._frames = _decode_frames(self._container, self._select_track())
        except BaseException:
            self.close()
            raise

    def _select_track(self) -> _AudioStream:
        tracks = self._container.streams.audio
        if not tracks:
            raise DecodeError(Code.EMPTY, "the file has no audio track")
        track = tracks[0]
        for other in self._container.streams:
            if other.index != track.index:
                other.discard = type(other.discard).all
        if track.codec_context is None:
            raise DecodeError(
                Code.UNSUPPORTED, "FFmpeg has no decoder for the audio: convert the file to FLAC"
            )
        track.codec_context.thread_count = 1  # headrace's workers decode in parallel
        codec = track.codec_context.codec.canonical_name
        if self.codec and codec != self.codec:
            raise self._change_error(f"the sample format {codec}", self.codec)
        self.codec = codec
        return track

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def read(self, out: memoryview) -> int:
        """Fill `out`, float32 with channels interleaved, with the next frames.

        Returns
        -------
        int
            Frames read: fewer than fit into `out` only if decoding stops.

        Raises
        ------
        DecodeError
            The system cannot read the file, or the audio is not what was scanned.
        """
        frames = np.frombuffer(out, np.float32).reshape(-1, self.channels)
        return self._advance(len(frames), frames)

    def skip(self, frames: int) -> int:
        """Decode and discard `frames` frames; returns and raises as `read` does."""
        return self._advance(frames, None)

    def _advance(self, wanted: int, out: NDArray[np.float32] | None) -> int:
        done = 0
        while done < wanted:
            if not len(self._rest) and not self._decode():
                break
            count = min(wanted - done, len(self._rest))
            if out is not None:
                out[done : done + count] = self._rest[:count]
            self._rest = self._rest[count:]
            done += count
        return done

    def _change_error(self, now: str, then: str) -> DecodeError:
        if self._scanned:
            return DecodeError(
                Code.CHANGED,
                f"decoding gives {now}, but gave {then} when the file was scanned: scan again",
            )
        return DecodeError(
            Code.UNSUPPORTED,
            f"the audio changes from {then} to {now} within the file: convert the file",
        )

    def _decode(self) -> bool:
        """Decode the next FFmpeg frame; return whether there was one."""
        try:
            frame = next(self._frames, None)
        except self._av.FFmpegError as error:
            if self._scanned and isinstance(error, OSError):  # the scan could read the file
                raise DecodeError(Code.IO, f"FFmpeg says: {error.strerror}") from None
            self.complaint = f" (FFmpeg: {error.strerror})"
            return False
        if frame is None:
            return False
        self.sample_rate = self.sample_rate or frame.sample_rate
        self.channels = self.channels or frame.layout.nb_channels
        if frame.sample_rate != self.sample_rate:
            raise self._change_error(
                f"a sample rate of {frame.sample_rate} Hz", f"{self.sample_rate} Hz"
            )
        if frame.layout.nb_channels != self.channels:
            raise self._change_error(f"{frame.layout.nb_channels} channels", str(self.channels))
        if not 0 < self.sample_rate <= MAX_SAMPLE_RATE or not 0 < self.channels <= _MAX_CHANNELS:
            raise DecodeError(
                Code.UNSUPPORTED,
                f"decoding gives {self.channels} channels at {self.sample_rate} Hz, more than any "
                "recording has: it is damaged",
            )
        self._rest = _interleaved(frame)
        return True


def _import_pyav() -> ModuleType:
    try:
        import av
        import av.error
    except ImportError:
        raise DecodeError(
            Code.UNSUPPORTED,
            "decoding it needs FFmpeg: pip install 'headrace[av]', and scan again",
        ) from None
    return av


def _decode_frames(container: _Container, track: _AudioStream) -> Iterator[_AudioFrame]:
    """Yield the track's frames.

    Not a method of `Stream`: the generator would refer to the stream that refers to it, and memory
    would be freed only by a garbage collection.
    """
    for packet in container.demux(track):
        yield from packet.decode()


def _interleaved(frame: _AudioFrame) -> NDArray[np.float32]:
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
