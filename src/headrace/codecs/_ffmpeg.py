"""Files of containers that libsndfile does not read, through PyAV, which brings FFmpeg along.

FFmpeg is asked only about a file that libsndfile does not recognise and that begins like one of
`CONTAINERS`; and it is told which container that is. It would call a text a subtitle, and take
noise for audio.

Every file is decoded from its first packet on, never sought in: what a packet gives depends on
those before it, and on the state of the decoder's noise. The length is what decoding gives:
containers declare none, or a rounded one, or one with what the decoder cuts off. So a scan decodes
the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from headrace.failures import Code, DecodeError, describe_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from numpy.typing import NDArray

__all__ = [
    "CONTAINERS",
    "EXTENSIONS",
    "MOST_HZ",
    "Stream",
    "container_of",
    "decoder_bytes",
    "measure",
]

CONTAINERS: Final = {
    "AAC": "aac",
    "ASF": "asf",
    "AVI": "avi",
    "MATROSKA": "matroska",
    "MP4": "mov",
    "WAVPACK": "wv",
}
"""By our names, as the catalog has them: FFmpeg's demuxers."""

EXTENSIONS: Final = frozenset({".aac", ".m4a", ".m4b", ".mka", ".wma", ".wv"})
"""What a folder is searched for: audio, not video."""

_BEGINS: Final = (
    (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "ASF"),  # the GUID of its header object
    (8, b"AVI ", "AVI"),
    (0, b"\x1a\x45\xdf\xa3", "MATROSKA"),  # EBML's
    *((4, atom, "MP4") for atom in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (0, b"wvpk", "WAVPACK"),
)
_LONGEST_BEGIN: Final = 16
_ADTS: Final = 0xFFF6, 0xFFF0
"""Mask and value: twelve ones, a bit of version, and two zeros where MPEG audio has its layer."""
_MOST_CHANNELS: Final = 1024  # libsndfile's SF_MAX_CHANNELS
MOST_HZ: Final = 10_000_000
"""Sample rate of a recording, at most. Ultrasound recorders reach 1 MHz; a damaged header reaches
anything, and scratch for it would take everybody's memory."""

_SCALES: Final = {"int16": 2.0**-15, "int32": 2.0**-31, "float32": 1.0, "float64": 1.0}
_PIECE: Final = 1 << 14


def container_of(begin: bytes) -> str | None:
    """Return which of `CONTAINERS` a file's first 16 bytes are of, or None."""
    for place, mark, container in _BEGINS:
        if begin[place : place + len(mark)] == mark:
            return container
    mask, value = _ADTS
    return "AAC" if int.from_bytes(begin[:2], "big") & mask == value else None


def decoder_bytes(container: str, channels: int, frames: int) -> int:
    """Return an upper bound on the memory of one open decoder.

    With FFmpeg 8 (tests/codecs/test_ffmpeg.py measures it): 0.1 to 0.8 MiB and the packet that is read;
    opening a file reads up to 5 MB of it, pictures and all (FFmpeg's probesize). The index of an
    MP4 file is in memory, and perhaps an AVI file's: some 64 bytes for each packet, which are of
    512 frames or more; FFmpeg bounds what others may keep to 1 MiB (max_index_size).
    """
    index = frames // 8 if container in {"MP4", "AVI"} else 1 << 20
    return (8 << 20) + (512 << 10) * channels + index


def measure(
    path: str, cancelled: Callable[[], bool] = lambda: False
) -> tuple[str, str, int, int, int] | None:
    """Decode a whole file, if it begins like one of `CONTAINERS`.

    Returns
    -------
    container, codec : str
        Of `CONTAINERS`; FFmpeg's name, as ``"aac"``.
    sample_rate, channels, frames : int
        What decoding gives: the frames so far, where `cancelled` said to give up.
    None
        It begins like none of them.

    Raises
    ------
    DecodeError
        It cannot be decoded to its end.
    """
    with open(path, "rb") as file:
        container = container_of(file.read(_LONGEST_BEGIN))
    if container is None:
        return None
    with Stream(path, container) as stream:
        frames = 0
        while not cancelled():
            got = stream.skip(_PIECE)
            frames += got
            if got < _PIECE:
                break
        if stream.complaint:
            raise DecodeError(
                Code.TRUNCATED,
                f"decoding stops at frame {frames}: the file is cut short or damaged"
                f"{stream.complaint}. Save what can be saved with FFmpeg",
            )
        if not frames:
            raise DecodeError(Code.EMPTY, "the file holds no audio frames")
        return container, stream.codec, stream.sample_rate, stream.channels, frames


class Stream:
    """The frames of a file's first audio track, from the first on; used by one thread at a time.

    Parameters
    ----------
    path : str
        The file.
    container : str
        One of `CONTAINERS`.
    codec : str
        FFmpeg's name; "" for any.
    sample_rate, channels : int
        What each frame has to have; 0 for what the first has.

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
        """Why decoding has stopped, in brackets, where it was not the end of the file."""
        self._av = av = _pyav()
        self._rest: NDArray[np.float32] = np.empty((0, max(1, channels)), np.float32)
        try:
            self._container: Any = av.open(
                f"file:{path}", format=CONTAINERS[container], metadata_errors="ignore"
            )
        except av.FFmpegError as error:
            try:  # FFmpeg calls damage "Operation not permitted": ask the system itself
                with open(path, "rb") as file:
                    file.read(1)
            except OSError as why:
                raise DecodeError(*describe_os_error(why)) from None
            raise DecodeError(
                Code.NOT_AUDIO, f"no decoder recognises it (FFmpeg: {error.strerror})"
            ) from None
        try:
            self._pieces = _pieces(self._container, self._track())
        except BaseException:
            self.close()
            raise

    def _track(self) -> Any:  # noqa: ANN401  an AudioStream
        tracks = self._container.streams.audio
        if not tracks:
            raise DecodeError(Code.EMPTY, "the file has no audio track")
        track = tracks[0]
        for other in self._container.streams:
            if other.index != track.index:
                other.discard = type(other.discard).all
        if track.codec_context is None:
            raise DecodeError(
                Code.UNSUPPORTED, "FFmpeg has no decoder for its audio: convert the file to FLAC"
            )
        track.codec_context.thread_count = 1  # the workers are the threads
        codec = track.codec_context.codec.canonical_name
        if self.codec and codec != self.codec:
            raise self._other(f"the sample format {codec}", self.codec)
        self.codec = codec
        return track

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def read(self, out: memoryview) -> int:
        """Fill `out`, float32 with channels interleaved, with the next frames.

        Returns
        -------
        int
            Frames read: fewer than asked for only where decoding stops.

        Raises
        ------
        DecodeError
            The system cannot read, or the audio is not what was scanned.
        """
        frames = np.frombuffer(out, np.float32).reshape(-1, self.channels)
        return self._next(len(frames), frames)

    def skip(self, frames: int) -> int:
        """Decode `frames` frames; return and raise as `read`."""
        return self._next(frames, None)

    def _next(self, wanted: int, out: NDArray[np.float32] | None) -> int:
        done = 0
        while done < wanted:
            if not len(self._rest) and not self._decode():
                break
            some = min(wanted - done, len(self._rest))
            if out is not None:
                out[done : done + some] = self._rest[:some]
            self._rest = self._rest[some:]
            done += some
        return done

    def _other(self, now: str, then: str) -> DecodeError:
        if self._scanned:
            return DecodeError(
                Code.CHANGED,
                f"decoding gives {now}, but gave {then} when the file was scanned: scan again",
            )
        return DecodeError(
            Code.UNSUPPORTED, f"the audio has {then} first, and then {now}: convert the file"
        )

    def _decode(self) -> bool:
        """Decode the next piece; return whether there was one."""
        try:
            frame = next(self._pieces, None)
        except self._av.FFmpegError as error:
            if self._scanned and isinstance(error, OSError):  # what could be read once
                raise DecodeError(Code.IO, f"FFmpeg says: {error.strerror}") from None
            self.complaint = f" (FFmpeg: {error.strerror})"
            return False
        if frame is None:
            return False
        self.sample_rate = self.sample_rate or frame.sample_rate
        self.channels = self.channels or frame.layout.nb_channels
        if frame.sample_rate != self.sample_rate:
            raise self._other(f"a sample rate of {frame.sample_rate} Hz", f"{self.sample_rate} Hz")
        if frame.layout.nb_channels != self.channels:
            raise self._other(f"{frame.layout.nb_channels} channels", str(self.channels))
        if not 0 < self.sample_rate <= MOST_HZ or not 0 < self.channels <= _MOST_CHANNELS:
            raise DecodeError(
                Code.UNSUPPORTED,
                f"decoding gives {self.channels} channels at {self.sample_rate} Hz, more than any "
                "recording has: it is damaged",
            )
        self._rest = _interleaved(frame)
        return True


def _pyav() -> ModuleType:
    try:
        import av
        import av.error
    except ImportError:
        raise DecodeError(
            Code.UNSUPPORTED,
            "its container needs FFmpeg: pip install 'headrace[av]', and scan again",
        ) from None
    return av


def _pieces(container: Any, track: Any) -> Iterator[Any]:  # noqa: ANN401  PyAV's
    """Yield AudioFrames. Not a method: it would refer to what refers to it."""
    for packet in container.demux(track):
        yield from packet.decode()


def _interleaved(frame: Any) -> NDArray[np.float32]:  # noqa: ANN401  an AudioFrame
    """Return float32 of shape (frames, channels), rounded once at most."""
    pcm = frame.to_ndarray()
    pcm = pcm.T if frame.format.is_planar else pcm.reshape(-1, frame.layout.nb_channels)
    if pcm.dtype == np.uint8:
        pcm = (pcm.astype(np.int16) - 128) << 8
    scale = _SCALES.get(pcm.dtype.name)
    if scale is None:
        raise DecodeError(
            Code.UNSUPPORTED, f"its samples are {pcm.dtype}: convert the file to WAV or FLAC"
        )
    samples: NDArray[np.float32] = (pcm if scale == 1.0 else pcm * scale).astype(np.float32)
    return samples
