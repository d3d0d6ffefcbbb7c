"""The compiled kernel: reads, decodes and resamples without the GIL.

Its source is in ``src/kernel/``.

Every class is immutable: it is made from keyword arguments, and has them as read-only attributes.

Units: frames are PCM frames, one sample for each channel. Inputs are frames of a recording, outputs
are samples at the rate of the windows, both counted from the recording's start. Ranges are
half-open.
"""

from array import array
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, BinaryIO, Protocol, final, type_check_only

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from headrace._kernel import testing as testing

LANES: int
"""Outputs computed side by side, on every instruction set."""
MOST_TAPS: int
"""A filter that halves the rate is computed from its nonzero coefficients if they are no more."""
MIX: int
"""In place of a channel's index: the mean of all channels."""
ALL: int
"""In place of a channel's index: all channels, each in a plane of its own."""

def instruction_sets() -> list[str]:
    """Return the instruction sets that this machine can run, best first."""

class ByteStore:
    """Named objects that are no files of the system; ``src/kernel/sources/place.h`` explains it.

    It cannot be made by itself.
    """

@final
class MemoryStore(ByteStore):
    """Objects in memory.

    Parameters
    ----------
    objects : dict of bytes to buffer
        By key: bytes, or anything else that gives its memory as one buffer. It is not copied, and
        must not be changed.

    Raises
    ------
    BufferError, TypeError
        A value gives no such memory.
    """

    def __init__(self, objects: dict[bytes, Buffer]) -> None: ...

@final
class LoadingStore(ByteStore):
    """Objects that a function makes when they are first read, one at a time.

    Parameters
    ----------
    load : callable
        Returns the memory of the object with a key, as one buffer. An error becomes a failure.
    capacity : int
        Bytes that are held at most, if no object is larger than `largest`.
    largest : int
        Bytes of the largest object.

    Raises
    ------
    ValueError
        `capacity` is less than `largest`, or `largest` negative.
    """

    def __init__(self, *, load: Callable[[bytes], Buffer], capacity: int, largest: int) -> None: ...
    @property
    def capacity(self) -> int:
        """When it is changed, objects are dropped until there is room for one."""
    @capacity.setter
    def capacity(self, value: int) -> None: ...

@final
class WatchedStore(ByteStore):
    """A store that keeps the first error of another one.

    Decoders report a store that does not answer as a damaged file.
    """

    def __init__(self, store: ByteStore) -> None: ...
    @property
    def error(self) -> tuple[str, str] | None:
        """Code and message of the first error so far, or None."""

@final
class BlockFiles:
    """Files of a disk cache; ``src/kernel/sources/block_files.h`` explains it.

    The folder is a path as the system's open function takes it. A key is one of a `FetchedStore`,
    whose third word is the name of the object's files. Offsets and counts are bytes. Not on
    Windows.
    """

    def __init__(self, folder: bytes) -> None: ...
    def open(self, key: str, create: bool = False) -> bool:
        """Return whether an object has files. With `create`, they are made, unless that fails."""
    def absent_blocks(self, key: str, offset: int, count: int) -> list[int]:
        """Return the sizes of the blocks that lie in a range and are absent."""
    def write(self, key: str, offset: int, data: Buffer, blocks: int) -> int:
        """Write the first `blocks` of these, and return the bytes that they take."""
    def stop_admitting(self) -> None: ...
    def close(self) -> None:
        """Close all files. What is read after that is not found."""
    @property
    def admits(self) -> bool:
        """Whether more may be written: until `stop_admitting`, or an error."""
    @property
    def error(self) -> int:
        """Number of the system's first error, or 0."""
    @property
    def bytes_read(self) -> int:
        """Given to readers."""

@final
class FetchedStore(ByteStore):
    """Objects whose bytes Python fetches; ``src/kernel/sources/fetched_store.h`` explains it.

    A key is the object's size in bytes, a space, and a name. Offsets and counts are bytes. Not on
    Windows.

    Parameters
    ----------
    cached_bytes : int
        The most bytes that are kept of what was read on demand.
    ahead : int
        The most bytes that are asked for at once on demand.
    files : BlockFiles, optional
        From which bytes are read that need not be fetched.

    Raises
    ------
    OSError
        The system has no more descriptors.
    """

    def __init__(self, cached_bytes: int, ahead: int, files: BlockFiles | None = None) -> None: ...
    def expect(
        self, key: str, offset: int, count: int, most: int, keep: bool = False
    ) -> list[tuple[int, int]]:
        """Announce a use; return what to fetch: offsets and counts of at most `most` bytes.

        These may begin before the range or end behind it, to be whole blocks of the files.
        """
    def hold(self, key: str, offset: int, count: int, data: Buffer) -> None:
        """Announce a use of a range whose bytes are known. They are not copied.

        Raises
        ------
        ValueError
            `data` has not `count` bytes.
        """
    def release(self, key: str, offset: int, count: int) -> list[tuple[int, int, bool]]:
        """End a use; return the announced parts that nobody uses any more.

        Of each, its offset, its count, and whether a reader waits for it, so that it has to be
        fetched all the same.
        """
    def give(self, key: str, offset: int, count: int, data: Buffer) -> None:
        """Give the bytes of a range that was asked for. They are not copied.

        Raises
        ------
        ValueError
            `data` has not `count` bytes.
        """
    def fail(self, key: str, offset: int, code: str, message: str) -> None:
        """Make reads of a range fail that was asked for."""
    def held(self, key: str, offset: int, count: int) -> int:
        """Return how many of these bytes are there, up to the first one that is not."""
    def wants(self, key: str, offset: int) -> bool:
        """Return whether a range that begins at `offset` was asked for and is not there."""
    def take(self) -> list[tuple[str, int, int, bool]]:
        """Return what readers wait for: key, offset, count, and whether it was announced."""
    def fileno(self) -> int:
        """Return a descriptor that is readable when `take` has something to return."""
    def close(self) -> None:
        """Wake every reader with an error."""
    def read(self, key: str, offset: int, count: int) -> bytes | tuple[str, str]:
        """Read as native readers do; return bytes, or code and message. The GIL is released."""
    @property
    def held_bytes(self) -> int: ...
    @property
    def most_held_bytes(self) -> int:
        """The maximum of `held_bytes` so far."""

def byte_ranges(
    seek_points: bytes, start: int, stop: int, size: int
) -> list[tuple[int, int, bool]]:
    """Return about which bytes ``[begin, end)`` frames ``[start, stop)`` are decoded from.

    In order; the third value says whether they are a header, which every new decoder reads. `size`
    is that of the file. Empty if the seek points do not tell. Not on Windows.
    """

class Place:
    """Where the bytes of a recording are.

    Parameters
    ----------
    path : bytes
        As the system's open function takes it; on Windows UTF-16. Or the key in `store`.
    offset : int
        Byte of the file or object at which the recording begins.
    length : int
        Bytes of the recording; -1 if it ends with the file or object.
    store : ByteStore, optional
        Default: a file of the system.
    pieces : bytes, optional
        What is stored of the recording from `offset` on, one piece behind the other; the rest is
        zeros. Of each piece its start in the recording and its size, as 8 bytes each, the lowest
        first. Default: all is stored.

    Raises
    ------
    ValueError
        A number is out of range, or there are pieces and no length.
    """

    def __init__(
        self,
        *,
        path: bytes,
        offset: int = 0,
        length: int = -1,
        store: ByteStore | None = None,
        pieces: bytes | None = None,
    ) -> None: ...
    @property
    def path(self) -> bytes: ...
    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def store(self) -> ByteStore | None: ...

@final
class PlaceBytes:
    """The bytes of a place. A call that fails sets `error`; the GIL is released."""

    def __init__(self, place: Place) -> None: ...
    def read(self, offset: int, count: int) -> bytes:
        """Return up to `count` bytes at `offset`: fewer only at the end, none on an error.

        Raises
        ------
        ValueError
            A number is negative, or the place could not be opened.
        """
    @property
    def size(self) -> int: ...
    @property
    def error(self) -> tuple[str, str] | None:
        """Code and message of what stopped the last call, or None."""

class FilterStage:
    """One stage of a `Filter`; ``src/kernel/arithmetic/resample.h`` explains the tables."""

    def __init__(
        self,
        *,
        coefficients: NDArray[np.float32],
        first: NDArray[np.int64],
        up: int,
        down: int,
        reach: int,
        phases: int = 0,
    ) -> None: ...
    @property
    def coefficients(self) -> NDArray[np.float32]:
        """By group of outputs, input and lane; flat."""
    @property
    def first(self) -> NDArray[np.int64]:
        """The first input of each group, relative to that of a block of outputs."""
    @property
    def up(self) -> int:
        """The stage multiplies the rate by `up` / `down`, in lowest terms."""
    @property
    def down(self) -> int:
        """See `up`."""
    @property
    def reach(self) -> int:
        """An output at position p of the input uses no input further than this from p."""
    @property
    def phases(self) -> int:
        """Parabolas per input by which coefficients are interpolated; 0 if they are not."""

class Filter:
    """The resampling from one rate to another: a chain of stages; none if the rates are equal.

    Raises
    ------
    ValueError
        The parts of a stage contradict each other.
    """

    def __init__(self, stages: Sequence[FilterStage]) -> None: ...
    @property
    def identity(self) -> bool:
        """Whether the rates are equal."""
    @property
    def nbytes(self) -> int:
        """Bytes of all tables."""
    def support(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of inputs that outputs [start, stop) depend on."""
    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of inputs that must be in memory for outputs [start, stop)."""
    def scratch(self, outputs: int) -> int:
        """Return how many floats of scratch memory that many outputs need."""
    def apply(
        self,
        x: NDArray[np.float32],
        x_start: int,
        y: NDArray[np.float32],
        y_start: int,
        instruction_set: str = "",
    ) -> None:
        """Write outputs ``y_start, y_start + 1, ...`` into `y`; the GIL is released.

        Raises
        ------
        ValueError
            `x` does not hold the span of these outputs, or there is no such instruction set here.
        """

class SampleType(Enum):
    """The type of decoded samples."""

    INT16 = 0
    INT32 = 1
    FLOAT32 = 2
    FLOAT64 = 3

class WavEncoding(Enum):
    """How plain samples stand in a WAV file, little-endian."""

    UINT8 = 0
    INT16 = 1
    INT24 = 2
    INT32 = 3
    FLOAT32 = 4
    FLOAT64 = 5

class LibsndfileFunctions:
    """Addresses of libsndfile's functions ``sf_open``, ``sf_close``, ...

    On Windows `open` is ``sf_wchar_open``, and `open_fd` is not called.

    Raises
    ------
    ValueError
        An address is 0.
    """

    def __init__(
        self,
        *,
        open: int,
        close: int,
        seek: int,
        readf_short: int,
        readf_int: int,
        readf_float: int,
        readf_double: int,
        error: int,
        strerror: int,
        open_virtual: int,
        open_fd: int,
    ) -> None: ...
    @property
    def open(self) -> int: ...
    @property
    def close(self) -> int: ...
    @property
    def seek(self) -> int: ...
    @property
    def readf_short(self) -> int: ...
    @property
    def readf_int(self) -> int: ...
    @property
    def readf_float(self) -> int: ...
    @property
    def readf_double(self) -> int: ...
    @property
    def error(self) -> int: ...
    @property
    def strerror(self) -> int: ...
    @property
    def open_virtual(self) -> int: ...
    @property
    def open_fd(self) -> int: ...

class LibsndfileHeader:
    """What `read_header` read."""

    @property
    def code(self) -> str:
        """Why the file cannot be opened: the name of a ``failures.Code``; "" if it can."""
    @property
    def message(self) -> str:
        """The reason of libsndfile or of the system."""
    @property
    def format(self) -> int:
        """Code of the container and the sample format, as in ``SF_INFO.format``."""
    @property
    def sample_rate(self) -> int:
        """Hz."""
    @property
    def channels(self) -> int:
        """Number of channels."""
    @property
    def frames(self) -> int:
        """Number of frames."""

def read_header(library: LibsndfileFunctions, *, place: Place) -> LibsndfileHeader:
    """Open a recording with libsndfile and return what it reads, unchecked; the GIL is released.

    The reason of a failure is that of this file, however many threads open files at the same time.
    """

FFMPEG_FUNCTIONS: tuple[str, ...]
"""The names of the functions of FFmpeg's that `FfmpegFunctions` holds."""

class FfmpegFunctions:
    """Addresses of FFmpeg's functions, by name.

    They must be of the major versions in ``codecs/_ffmpeg_library.py``.

    Raises
    ------
    KeyError, ValueError
        An address is missing or 0.
    """

    def __init__(self, addresses: dict[str, int | None]) -> None: ...

class FfmpegFormat:
    """How FFmpeg opens recordings of one format.

    Parameters
    ----------
    functions : FfmpegFunctions
        What decodes them.
    demuxer, codec : str
        FFmpeg's names of the container and the codec.
    byte_seek : bool
        Whether to seek by offsets: else by time stamps.
    """

    def __init__(
        self, *, functions: FfmpegFunctions, demuxer: str, codec: str, byte_seek: bool
    ) -> None: ...
    @property
    def functions(self) -> FfmpegFunctions: ...
    @property
    def demuxer(self) -> str: ...
    @property
    def codec(self) -> str: ...
    @property
    def byte_seek(self) -> bool: ...

class FfmpegWalk:
    """Decodes a file from its start and notes its anchors; not on Windows.

    A call that fails sets `error`; nothing but its attribute `error` may be used then.

    Parameters
    ----------
    library : FfmpegFunctions
        What decodes it.
    place : Place
        Where it is.
    demuxer : str
        FFmpeg's name of the container.
    """

    def __init__(self, library: FfmpegFunctions, *, place: Place, demuxer: str) -> None: ...
    def set_rules(
        self,
        *,
        spacing_s: float,
        pre_roll: int,
        pre_roll_s: float,
        forgets: bool,
        long_spacing_s: float,
        long_pre_roll: int,
        long_pre_roll_s: float,
    ) -> None:
        """Set where anchors are placed; the last three are for AAC with packets of 2,048 frames."""
    def advance(self, frames: int) -> int:
        """Decode `frames` frames or a few more; return how many: fewer at the end. No GIL."""
    @property
    def error(self) -> tuple[str, str] | None:
        """Code and message of what stopped the last call, or None."""
    @property
    def codec(self) -> str:
        """FFmpeg's name."""
    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def frames(self) -> int:
        """Frames so far."""
    @property
    def complaint(self) -> str:
        """FFmpeg's reason in brackets if decoding stopped before the end of the file, or ""."""
    @property
    def packed_index(self) -> bytes:
        """The packed `PacketIndex`."""

def decode_indexed(
    format: FfmpegFormat,
    *,
    place: Place,
    sample_rate: int,
    channels: int,
    frames: int,
    seek_points: bytes,
) -> bytes:
    """Decode a recording by the index in its seek points, without the GIL; not on Windows.

    Return float32 with channels interleaved: fewer than `frames` frames where decoding fails.
    """

class Anchor:
    """Where decoding may begin; ``src/kernel/sources/packet_index.h`` explains the fields."""

    def __init__(
        self, *, start: int, packets: int, offset: int, ordinal: int, time: int, check: int
    ) -> None: ...
    @property
    def start(self) -> int: ...
    @property
    def packets(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def ordinal(self) -> int: ...
    @property
    def time(self) -> int: ...
    @property
    def check(self) -> int: ...

class PacketIndex:
    """All anchors of a recording; ``src/kernel/sources/packet_index.h`` explains the fields."""

    def __init__(
        self,
        *,
        decoder_major: int,
        pre_roll: int,
        forgets: bool,
        frames: int,
        anchors: Sequence[Anchor],
        continuous: bool = False,
    ) -> None: ...
    @property
    def decoder_major(self) -> int: ...
    @property
    def pre_roll(self) -> int: ...
    @property
    def forgets(self) -> bool: ...
    @property
    def frames(self) -> int: ...
    @property
    def anchors(self) -> list[Anchor]: ...
    @property
    def continuous(self) -> bool:
        """Whether each packet's time stamp is where the packet before it ended."""
    @property
    def has_table(self) -> bool:
        """Whether it says where the sizes of all packets stand in the file."""
    @property
    def has_layout(self) -> bool:
        """Whether it says what the kernel has to know to find the packets by itself."""
    def pack(self) -> bytes:
        """Return it in a few bytes."""

class Mp4Scan:
    """What the tables of an MP4 file say; ``src/kernel/sources/mp4_scan.h`` explains it."""

    @property
    def codec(self) -> str:
        """FFmpeg's name."""
    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def packed_index(self) -> bytes:
        """The packed `PacketIndex`, with a table."""

def scan_mp4(
    library: FfmpegFunctions,
    *,
    place: Place,
    aac: tuple[float, int, bool],
    alac: tuple[float, int, bool],
) -> Mp4Scan | tuple[str, str] | None:
    """Read the tables of an MP4 file with AAC or ALAC, without the GIL; not on Windows.

    `aac` and `alac` are rules: seconds between anchors, packets of a pre-roll, whether the codec
    forgets. None if the tables do not prove what a decode would give; code and message if the file
    cannot be read.
    """

def index_mp4(
    *,
    packets: Sequence[tuple[int, int, bool]],
    skip: int,
    packet_frames: int,
    last_frames: int,
    sample_rate: int,
    extradata: bytes,
    rule: tuple[float, int, bool],
    moov: bytes,
    moov_offset: int,
    file_size: int,
    decoder_major: int,
) -> bytes | None:
    """Return the packed index of a track whose packets FFmpeg has listed, or None.

    `packets` has their offset, size and whether FFmpeg drops what they give; `moov` is the content
    of that atom. ``src/kernel/sources/mp4_table.h`` explains the rest.
    """

def read_aac_config(extradata: bytes) -> tuple[int, int, bool] | None:
    """Return sample rate, channels, and whether spectral band replication is ruled out.

    None if it is not plain AAC of low complexity.
    """

def read_alac_config(extradata: bytes) -> tuple[int, int, int] | None:
    """Return sample rate, channels and frames of a packet, or None beyond stereo."""

def unpack_packet_index(packed: bytes) -> PacketIndex | None:
    """Return what `PacketIndex.pack` packed, or None if the bytes are not that."""

def packet_check(packet: bytes) -> int:
    """Return a hash of 16 bits of a packet's bytes."""

class OggWalk:
    """Walks over the pages of Vorbis or Opus in Ogg; ``src/kernel/sources/ogg_walk.h`` explains it.

    A call that fails sets `error`; nothing but its attribute `error` may be used then. All but
    `usable` counts only if that is true.

    Parameters
    ----------
    file : Place or binary file
        A place, but not on Windows; or a file that Python has opened.
    vorbis, opus : tuple
        Where anchors are placed: seconds between them, and packets and seconds of a pre-roll, at
        least.
    """

    def __init__(
        self,
        file: Place | BinaryIO,
        *,
        vorbis: tuple[float, int, float],
        opus: tuple[float, int, float],
    ) -> None: ...
    def advance(self, bytes: int) -> bool:
        """Go on for so many bytes or a few more; return False at the end of the file. No GIL."""
    @property
    def can_skip(self) -> bool:
        """Whether the end of the file may tell how long it is: its pages so far are in order."""
    def skip_to(self, offset: int) -> None:
        """Go on at this byte, or at the first page behind it. There is no index then."""
    @property
    def is_continuous(self) -> bool:
        """At the end, after `skip_to`: whether the last pages go on from the first ones."""
    def packed_index(self, *, decoder_major: int) -> bytes:
        """Return the packed `OggIndex`."""
    @property
    def error(self) -> tuple[str, str] | None:
        """Code and message of what stopped the last call, or None."""
    @property
    def usable(self) -> bool:
        """Whether the first audio stream is Vorbis or Opus, with its headers."""
    @property
    def codec(self) -> str:
        """FFmpeg's name."""
    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def frames(self) -> int:
        """Frames of the recording, at the end of the file."""
    @property
    def extradata(self) -> bytes:
        """What a decoder of the first stream is given beside the packets."""
    @property
    def damaged_bytes(self) -> int:
        """Bytes that are not part of a page."""
    @property
    def damaged_packets(self) -> int:
        """Packets that cannot be decoded, or of which a part is missing."""
    @property
    def damaged_at(self) -> int:
        """The frame at which the first damage is; -1 if there is none."""
    @property
    def missing_frames(self) -> int:
        """Frames that the granule positions skip."""
    @property
    def missing_at(self) -> int:
        """The frame at which the first of them are missing; -1 if none is."""
    @property
    def tail_bytes(self) -> int:
        """Of the damaged bytes, those behind the last page."""
    @property
    def unended_links(self) -> int:
        """Streams of the recording, but the last, that lack their last page."""
    @property
    def unended_at(self) -> int:
        """The frame at which the first of them stops; -1 if there is none."""
    @property
    def cut_short(self) -> bool:
        """Whether the last stream lacks its last page, or the file ends within a page."""
    @property
    def foreign_codec(self) -> str:
        """The codec of the first stream that cannot be joined; "" if there is none."""
    @property
    def foreign_sample_rate(self) -> int: ...
    @property
    def foreign_channels(self) -> int: ...
    @property
    def foreign_s(self) -> float:
        """Seconds that are left out, as far as they can be counted."""

class OggAnchor:
    """A page at which decoding may begin; see ``src/kernel/sources/ogg_index.h``."""

    @property
    def start(self) -> int: ...
    @property
    def skip(self) -> int: ...
    @property
    def offset(self) -> int: ...

class OggLink:
    """One of the streams of a recording that follow each other; see `OggAnchor`."""

    @property
    def start(self) -> int: ...
    @property
    def trim(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def setup_offset(self) -> int: ...
    @property
    def audio_offset(self) -> int: ...
    @property
    def anchors(self) -> list[OggAnchor]: ...

class OggIndex:
    """Where the packets of a recording are, and what of their decode it consists of."""

    @property
    def decoder_major(self) -> int: ...
    @property
    def codec(self) -> str: ...
    @property
    def frames(self) -> int: ...
    @property
    def stop_offset(self) -> int: ...
    @property
    def links(self) -> list[OggLink]: ...
    def byte_range(self, start: int, stop: int) -> tuple[int, int]:
        """Return the bytes [offset, stop) that are read for the frames [start, stop).

        Beside them, the bytes of `header_ranges` are read once.

        Raises
        ------
        ValueError
            It is not a range of the recording's frames.
        """
    def header_ranges(self, frame: int) -> list[tuple[int, int]]:
        """Return the ranges of bytes with the headers of the stream that a frame is in."""
    def pack(self) -> bytes:
        """Return it in a few bytes."""

def unpack_ogg_index(packed: bytes) -> OggIndex | None:
    """Return what was packed, or None if the bytes are not that."""

class OggFed:
    """A packet for a decoder."""

    @property
    def data(self) -> bytes: ...
    @property
    def position(self) -> int:
        """The frame of the recording that its first one is."""
    @property
    def frames(self) -> int:
        """Frames that it holds."""
    @property
    def primes(self) -> bool:
        """Whether what the decoder gives for it is thrown away."""

class OggFeed:
    """The packets that a decoder has to be fed; ``src/kernel/sources/ogg_feed.h`` explains it.

    It begins with the first run. A call that fails sets `error`.
    """

    def __init__(self, file: Place | BinaryIO, index: OggIndex) -> None: ...
    def next_run(self) -> bool:
        """Go to the next run; return False if there is none."""
    def next(self) -> OggFed | None:
        """Return the next packet of the run; None at the end of its stream."""
    @property
    def error(self) -> tuple[str, str] | None:
        """Code and message of what stopped the last call, or None."""
    @property
    def run(self) -> tuple[int, int, int]:
        """The frame that the decoder gives first; and the recording's frames [begin, stop)."""
    @property
    def extradata(self) -> bytes:
        """What a new decoder for this run is given beside the packets."""
    @property
    def complaint(self) -> str:
        """Why there are no more packets before the end: " (reason)", or ""."""

@type_check_only
class _PythonStream(Protocol):
    """An open file that Python decodes."""

    @property
    def complaint(self) -> str:
        """Why decoding ended: " (reason)", or ""."""
    def read(self, out: memoryview, /) -> int:
        """Fill `out` with float32 frames; return how many: fewer only where decoding ends."""
    def close(self) -> None:
        """Close the file."""

class SourceFormat:
    """What recordings of one format have in common, as far as decoding them goes.

    Parameters
    ----------
    sample_rate, channels : int
        Hz, and a number from 1 on.
    sample_type : SampleType
        In which they are decoded.
    exact_seek : bool
        Whether libsndfile seeks to exactly the frame that it is asked for.
    sndfile_format : int
        libsndfile's container and sample format, without byte order.
    wav_encoding : WavEncoding, optional
        If they may be WAV files of plain samples, which the kernel reads itself.
    opener : callable, optional
        If Python decodes them: returns a stream for a path, or for a path and seek points if there
        are some. They are of float32, and seek if their attribute ``seekable`` is true.
    ffmpeg : FfmpegFormat, optional
        If the kernel calls FFmpeg for those that have a `PacketIndex` in their seek points.

    Raises
    ------
    ValueError
        There is no channel, or an opener with another sample type or with exact seeking.
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        channels: int,
        sample_type: SampleType,
        exact_seek: bool,
        sndfile_format: int = 0,
        wav_encoding: WavEncoding | None = None,
        opener: Callable[..., _PythonStream] | None = None,
        ffmpeg: FfmpegFormat | None = None,
    ) -> None: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def sample_type(self) -> SampleType: ...
    @property
    def exact_seek(self) -> bool: ...
    @property
    def sndfile_format(self) -> int: ...
    @property
    def wav_encoding(self) -> WavEncoding | None: ...
    @property
    def opener(self) -> Callable[..., _PythonStream] | None: ...
    @property
    def ffmpeg(self) -> FfmpegFormat | None: ...

class RecordingFormat:
    """How recordings of one format are read and resampled.

    Parameters
    ----------
    source : SourceFormat
        How they are decoded.
    filter : Filter
        From their rate to that of the windows.
    output_up, output_down : int
        A recording of n frames has ``ceil(n * output_up / output_down)`` outputs.
    chunk : int
        Outputs computed at a time.
    history : int
        Inputs kept where seeking is not exact, so that a window may overlap the last one.

    Raises
    ------
    ValueError
        A number is out of range.
    """

    def __init__(
        self,
        *,
        source: SourceFormat,
        filter: Filter,
        output_up: int,
        output_down: int,
        chunk: int,
        history: int,
    ) -> None: ...
    @property
    def source(self) -> SourceFormat: ...
    @property
    def filter(self) -> Filter: ...
    @property
    def output_up(self) -> int: ...
    @property
    def output_down(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    @property
    def history(self) -> int: ...

@final
class Landmarks:
    """Where frames of FLAC recordings in stores are, as far as readers have found them.

    Threads, and readers of the same recordings, may share them. At most 65,536 frames are kept.
    """

    def __init__(self) -> None: ...

@final
class FlacRangeKind(Enum):
    """What a range of `search_flac` is: not on Windows."""

    EXACT = 0
    """The bytes that are decoded."""
    LIKELY = 1
    """Probably these bytes are decoded."""
    UNSURE = 2
    """The same; who waits for other reads of the recording will know better."""
    PROBE = 3
    """A frame here tells more."""
    HEADER = 4
    """What stands before the first frame."""

def search_flac(
    recording: RecordingFile,
    start: int,
    stop: int,
    begin: int,
    end: int,
    *,
    steps: int,
    probed: bool,
) -> tuple[int, int, FlacRangeKind] | None:
    """Return what to fetch next to decode frames ``[start, stop)`` of FLAC: begin, end and kind.

    Bytes count from the beginning of the recording, which has `landmarks`. `steps` ranges have been
    fetched before; of these, ``[begin, end)`` is the last one but headers, and a probe if `probed`.
    Looks for frames in it without waiting for bytes, and without the GIL; not with 0 `steps`. None
    if nothing more has to be fetched, or it is not known what.

    Raises
    ------
    ValueError
        There are no such frames, or no landmarks.
    """

class RecordingFile:
    """The file of a recording that is read.

    Parameters
    ----------
    id : int
        Tells recordings apart; files that stay open are found by it.
    format : int
        Index into the formats of the `Reader`.
    frames : int
        Its length, from 0 to 2**44.
    file_bytes : int
        Size of the place at the scan.
    place : Place
        Where it is.
    seek_points : bytes, optional
        The recording's, from `scan_mp3`.
    landmarks : Landmarks, optional
        Where frames of FLAC are looked up and kept.
    name : str
        Of the recording in `landmarks`.

    Raises
    ------
    ValueError
        `frames` is out of range.
    """

    def __init__(
        self,
        *,
        id: int,
        format: int,
        frames: int,
        file_bytes: int,
        place: Place,
        seek_points: bytes | None = None,
        landmarks: Landmarks | None = None,
        name: str = "",
    ) -> None: ...
    @property
    def id(self) -> int: ...
    @property
    def format(self) -> int: ...
    @property
    def frames(self) -> int: ...
    @property
    def file_bytes(self) -> int: ...
    @property
    def place(self) -> Place: ...
    @property
    def seek_points(self) -> bytes | None: ...

class RecordingTable:
    """The recordings of catalogs, by number. Nothing is copied from the tables.

    Parameters
    ----------
    tables : list of Arrow table
        With the columns `TABLE_COLUMNS`, of the types that a catalog's have.
    kinds : list of (int, int, str, str)
        The kind of each format of a `Reader`: sample rate, channels, format, subtype.

    Raises
    ------
    ValueError
        A table has other columns.
    """

    def __init__(self, tables: list[Any], kinds: list[tuple[int, int, str, str]]) -> None: ...
    def __len__(self) -> int: ...
    def path(self, number: int) -> str:
        """Return the path of a recording. Raises `ValueError` if there is no such number."""
    def names(self, numbers: NDArray[np.int64]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the ids and the paths. Raises `ValueError` if a number does not exist."""

TABLE_COLUMNS: list[str]
"""Names of the columns of a `RecordingTable`, in order."""

UNREAD: int
"""In place of a recording's number: nothing is read, and the row is filled with zeros."""

def read_bounds(recordings: NDArray[np.int64], starts: NDArray[np.int64], size: int) -> list[int]:
    """Return the first row of each read.

    Windows of `size` samples, given by recording and start, that follow or overlap each other in
    order are one read. Raises `ValueError` if the arrays differ in length.
    """

@final
class LostWindow:
    """A window that could not be read; its row holds zeros."""

    @property
    def row(self) -> int: ...
    @property
    def code(self) -> str:
        """The value of a `headrace.failures.Code`."""
    @property
    def message(self) -> str: ...

@final
class ReadResult:
    """What `Reader.read` did."""

    @property
    def lost(self) -> list[LostWindow]:
        """Windows that could not be read."""
    @property
    def decode_s(self) -> float:
        """Seconds of decoding and mixing."""
    @property
    def resample_s(self) -> float:
        """Seconds of resampling."""
    @property
    def busy_s(self) -> float:
        """Seconds of everything."""
    @property
    def store_s(self) -> float:
        """Seconds of `decode_s` that were waiting for a `FetchedStore`."""
    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled on the way; then the rows are undefined."""

class ScratchSize:
    """Sizes of the memory that one call of `Reader.read` works in.

    Parameters
    ----------
    pcm_bytes : int
        For decoded samples.
    planes : int
        Channels of a row.
    inputs, outputs : int
        Floats for each plane before and after resampling.
    """

    def __init__(self, *, pcm_bytes: int, planes: int, inputs: int, outputs: int) -> None: ...
    @property
    def pcm_bytes(self) -> int: ...
    @property
    def planes(self) -> int: ...
    @property
    def inputs(self) -> int: ...
    @property
    def outputs(self) -> int: ...

class Reader:
    """Reads groups of windows into rows; the guarantees are in ``src/kernel/reader/reader.h``.

    Parameters
    ----------
    formats : list of RecordingFormat
        Of all recordings that will be read.
    table : RecordingTable
        The recordings.
    library : LibsndfileFunctions
        What decodes most of them.
    instruction_set : str
        One of `instruction_sets`, or "" for the best.
    size : int
        Length of a window, in outputs.
    channel : int
        A channel's index, `MIX` or `ALL`.
    scratch : ScratchSize
        For each call that runs at the same time.
    idle_limit : int
        Files that stay open beside those that calls are using.

    Raises
    ------
    ValueError
        There is no such instruction set here.
    """

    def __init__(
        self,
        *,
        formats: list[RecordingFormat],
        table: RecordingTable,
        library: LibsndfileFunctions,
        instruction_set: str,
        size: int,
        channel: int,
        scratch: ScratchSize,
        idle_limit: int,
    ) -> None: ...
    def read(
        self,
        recordings: NDArray[np.int64],
        starts: NDArray[np.int64],
        rows: NDArray[np.float32] | list[NDArray[np.float32]],
        cancel: bytearray,
        heartbeat: array[int] | None = None,
        find: Callable[[int], RecordingFile] | None = None,
    ) -> ReadResult:
        """Fill a row for each window; the GIL is released.

        Parameters
        ----------
        recordings : ndarray of int64, shape ``(windows,)``
            Number of each window's recording in the table, or `UNREAD`.
        starts : ndarray of int64, shape ``(windows,)``
            Where each window begins, in outputs.
        rows : ndarray or list of ndarray of float32
            The rows, shape ``(windows, size)`` or ``(windows, channels, size)``; or an array for
            each. There may be more rows than windows.
        cancel : bytearray
            Its first byte is checked on the way: not 0 cancels.
        heartbeat : array of 3 unsigned ints, optional
            Read: not 0 if nobody waits for this call any more. Written: a number that changes as
            long as the call is alive, and the id of the recording that it reads.
        find : callable, optional
            Describes a recording, given its number, where the table does not say all of it.

        Raises
        ------
        ValueError
            A number or a start is out of range, the lengths differ, or a row has another size.
        """

    def close(self) -> None:
        """Close the idle files, and from now on each file when its call is done with it."""
    @property
    def most_open(self) -> int:
        """The most files that were open at once."""

class VerifyResult:
    """What `verify` found."""

    def __init__(
        self,
        *,
        frames: int,
        lost: Sequence[tuple[int, int]] = (),
        non_finite_samples: int = 0,
        first_non_finite: int = 0,
        last_non_finite: int = 0,
        code: str = "",
        message: str = "",
        seek_points_exact: bool = True,
        cancelled: bool = False,
    ) -> None: ...
    @property
    def frames(self) -> int:
        """Frames up to which decoding got."""
    @property
    def lost(self) -> list[tuple[int, int]]:
        """Ranges of frames before that which cannot be decoded, ``[first, stop)``."""
    @property
    def non_finite_samples(self) -> int:
        """How many samples of those frames are NaN or infinite."""
    @property
    def first_non_finite(self) -> int:
        """The first frame with such a sample."""
    @property
    def last_non_finite(self) -> int:
        """The last frame with such a sample."""
    @property
    def code(self) -> str:
        """The value of a `headrace.failures.Code` if decoding stopped too early, else ""."""
    @property
    def message(self) -> str:
        """Why it stopped too early, or ""."""
    @property
    def seek_points_exact(self) -> bool:
        """Whether decoding from the seek points gave the same, wherever that was compared."""
    @property
    def cancelled(self) -> bool:
        """Whether it was cancelled on the way; then the rest is incomplete."""

def verify(
    format: SourceFormat,
    library: LibsndfileFunctions,
    *,
    place: Place,
    frames: int,
    seek_points: bytes | None = None,
    cancel: bytearray,
) -> VerifyResult:
    """Decode up to `frames` frames of a recording; the GIL is released.

    `place`, `seek_points` and `cancel` are as in `RecordingFile` and `Reader.read`.
    """

class Mp3Scan:
    """What `scan_mp3` finds in a file. A *packet* is what MP3 calls a frame."""

    @property
    def seek_points(self) -> bytes:
        """The packets of the recording, in a compact form; empty if there are none."""
    @property
    def layer(self) -> int:
        """1, 2 or 3."""
    @property
    def sample_rate(self) -> int:
        """Hz."""
    @property
    def channels(self) -> int: ...
    @property
    def frames(self) -> int:
        """PCM frames of the recording, counted."""
    @property
    def packets(self) -> int:
        """Packets of the recording."""
    @property
    def packet_frames(self) -> int:
        """PCM frames in each packet."""
    @property
    def declared_packets(self) -> int:
        """Packets that the encoder's tag declares; 0 if it declares none."""
    @property
    def foreign_packets(self) -> int:
        """Packets of another layer, sample rate or channel count. They are left out."""
    @property
    def foreign_frames(self) -> int:
        """Their duration, in frames at `sample_rate`."""
    @property
    def foreign_at(self) -> int:
        """The recording's frame at which the first of them stands."""
    @property
    def foreign_sample_rate(self) -> int:
        """Sample rate of the first of them, Hz."""
    @property
    def foreign_channels(self) -> int:
        """Channels of the first of them."""
    @property
    def damaged_bytes(self) -> int:
        """Bytes inside the recording that are no MP3 and no tag. They are left out."""
    @property
    def damaged_packets(self) -> int:
        """Packets with invalid side information. Silence is put in their place."""
    @property
    def damaged_at(self) -> int:
        """The recording's frame at which the first damage is."""

def scan_mp3(place: Place) -> Mp3Scan | None:
    """Walk over the packets of an MP3 file; the GIL is released.

    Returns None if the file is no MP3 file, or cannot be read.
    """

def only_from_start(seek_points: bytes) -> bytes:
    """Return seek points of which only the length is used, and no random access.

    Empty if they are of an earlier version, which libsndfile decodes from the start.
    """

def probe_header(
    place: Place, believe_flac: bool = False
) -> tuple[str, str, int, int, int, bool, bytes] | None:
    """Return what a file holds that the kernel itself reads: WAV of plain samples, or FLAC.

    The values are libsndfile's names of container and sample format, the sample rate (Hz), the
    channels, the frames that the file holds, whether the header claims nothing else, and the
    `seek_points` to read it with. None for any other file, for one that cannot be opened, and on
    Windows.
    """

def repaired_header(place: Place, library: LibsndfileFunctions) -> tuple[int, int, int, int] | None:
    """Return what libsndfile says of a file if its header declares all the samples that there are.

    The values are libsndfile's code of the format, the sample rate (Hz), the channels and the
    frames. None if the header needs no repair, of files other than AU, CAF, AIFF and WAV, if the
    file cannot be opened, and on Windows.
    """
