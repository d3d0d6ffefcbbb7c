"""One recording, decoded, resampled, and written as WAV of float32 or as FLAC.

A recording is read in pieces, so that its length needs no memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

import numpy as np

from headrace._formatting import brief
from headrace.errors import InvalidWindowsError
from headrace.loading import Loader
from headrace.windows import check_sample_rate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from numpy.typing import NDArray

    from headrace.catalog import Catalog
    from headrace.concurrency import CancellationToken
    from headrace.failures import Failure
    from headrace.windows import Channel, Windows

__all__ = ["PackFormat", "encode"]

_PIECE_S: Final = 20.0  # seconds decoded at a time. A guess: some MB at high rates
_FLOAT_FORMAT: Final = 3  # WAVE_FORMAT_IEEE_FLOAT
_MOST_RIFF: Final = (1 << 32) - 1  # bytes that a size of 32 bits can declare
_MOST_FLAC_CHANNELS: Final = 8
_MOST_FLAC_HZ: Final = 65_535  # that a packet can declare; or ten times that, in steps of 10
_FLAC_BITS: Final = (16, 24)


@dataclass(frozen=True, slots=True)
class PackFormat:
    """How recordings are stored.

    Attributes
    ----------
    sample_rate : int
        Hz.
    container : "wav" or "flac"
        WAV of float32, which keeps every bit, or FLAC.
    bits : int
        Of a sample in FLAC: 16 or 24.
    channel : "mix", "all" or int
        As in `Catalog.windows`.

    Raises
    ------
    ValueError
        A value is none of these.
    InvalidWindowsError
        FLAC has no such sample rate.
    """

    sample_rate: int
    container: Literal["wav", "flac"] = "flac"
    bits: int = 24
    channel: Channel = "mix"

    def __post_init__(self) -> None:
        if self.container not in ("wav", "flac"):
            raise ValueError(f'format must be "flac" or "wav", not {brief(self.container)}.')
        if self.bits not in _FLAC_BITS:
            raise ValueError(f"bits must be 16 or 24, not {brief(self.bits)}.")
        rate = self.sample_rate
        stored = rate <= _MOST_FLAC_HZ or (rate <= 10 * _MOST_FLAC_HZ and rate % 10 == 0)
        if self.container == "flac" and not stored:
            raise InvalidWindowsError(
                f"FLAC cannot declare a sample rate of {rate} Hz (up to 65,535 Hz, and multiples "
                'of 10 Hz up to 655,350 Hz): pack with format="wav".'
            )

    @classmethod
    def of(
        cls,
        sample_rate: int,
        container: Literal["wav", "flac"],
        bits: int | None,
        channel: Channel,
    ) -> Self:
        """Return the format for the arguments of `Catalog.pack`, in which `bits` may be left out.

        Raises
        ------
        ValueError
            `bits` is given for WAV; or as the class.
        InvalidWindowsError
            The sample rate is not a positive whole number; or as the class.
        """
        if container == "wav" and bits is not None:
            raise ValueError(
                f'bits={bits!r} is for format="flac": WAV is stored as float32, which keeps every '
                "bit. Leave bits out."
            )
        rate = check_sample_rate(sample_rate)
        return cls(rate, container, 24 if bits is None else bits, channel)

    def windows(self, catalog: Catalog) -> Windows:
        """Return the pieces of all recordings, in order; the last of each is filled up.

        Raises
        ------
        InvalidWindowsError
            The recordings cannot be cut so, or FLAC cannot hold so many channels.
        """
        windows = catalog.windows(
            self.sample_rate,
            _PIECE_S,
            tail="pad",
            min_tail_s=1 / self.sample_rate,
            channel=self.channel,
        )
        if self.container == "flac" and self.channel == "all":
            channels = windows.audio_shape[0]
            if channels > _MOST_FLAC_CHANNELS:
                raise InvalidWindowsError(
                    f"FLAC has up to {_MOST_FLAC_CHANNELS} channels, and the recordings have "
                    f'{channels}: pack with format="wav".'
                )
        return windows


def encode(
    catalog: Catalog, form: PackFormat, out: BinaryIO, cancelled: CancellationToken
) -> tuple[int, tuple[Failure, ...]]:
    """Write the only recording of a catalog.

    Parameters
    ----------
    catalog : Catalog
        Of one recording.
    form : PackFormat
        How it is stored.
    out : binary file
        Where it is written; it can seek.
    cancelled : CancellationToken
        Checked between pieces; if it is cancelled, what was written is meaningless.

    Returns
    -------
    clipped : int
        Samples beyond full scale, which FLAC cannot hold.
    failures : tuple of Failure
        Why it could not be read. What was written is meaningless then.
    """
    import soundfile

    recording = catalog[0]
    windows = form.windows(catalog)
    channels = windows.audio_shape[0] if form.channel == "all" else 1
    samples = -(-recording.frames * form.sample_rate // recording.sample_rate)
    loader = Loader(windows, workers=0, on_error="skip", log_losses=False)
    left = samples

    def pieces() -> Iterator[NDArray[np.float32]]:
        """Yield shape ``(samples, channels)``."""
        nonlocal left
        for example in loader:
            piece = np.atleast_2d(example.audio).T[:left]
            left -= len(piece)
            yield piece
            if cancelled():
                return

    clipped = 0
    if form.container == "wav":
        out.write(_wav_header(samples, channels, form.sample_rate))
        out.writelines(np.ascontiguousarray(piece, "<f4").data for piece in pieces())
        if samples * channels * 4 % 2:
            out.write(b"\0")
        return 0, loader.failures
    with soundfile.SoundFile(
        out, "w", form.sample_rate, channels, f"PCM_{form.bits}", format="FLAC"
    ) as file:
        most = (1 << form.bits - 1) - 1
        for piece in pieces():
            scaled = np.rint(piece.astype(np.float64) * (most + 1))
            clipped += int(np.count_nonzero((scaled > most) | (scaled < -most - 1)))
            # libsndfile keeps the upper bits of 32.
            file.write((scaled.clip(-most - 1, most) * 2.0 ** (32 - form.bits)).astype(np.int32))
    return clipped, loader.failures


def _wav_header(samples: int, channels: int, sample_rate: int) -> bytes:
    """Return the header of a WAV file of float32; RF64's if sizes need more than 32 bits."""
    frame = 4 * channels
    content = samples * frame
    rates = sample_rate, sample_rate * frame
    form = struct.pack("<HHIIHHH", _FLOAT_FORMAT, channels, *rates, frame, 32, 0)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"fact" + struct.pack("<II", 4, min(samples, _MOST_RIFF))
    riff = 4 + len(chunks) + 8 + content
    if riff <= _MOST_RIFF:
        size = struct.pack("<I", content)
        return b"RIFF" + struct.pack("<I", riff) + b"WAVE" + chunks + b"data" + size
    sizes = b"ds64" + struct.pack("<IQQQI", 28, riff + 36, content, samples, 0)
    unknown = struct.pack("<I", _MOST_RIFF)
    return b"RF64" + unknown + b"WAVE" + sizes + chunks + b"data" + unknown
