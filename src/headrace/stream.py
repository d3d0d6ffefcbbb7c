"""`Stream`: one recording's inputs as float32 planes, read forwards from wherever it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from headrace import _kernel
from headrace.decode import DecodeFault, Decoder, sample_type, seeks
from headrace.records import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from headrace.records import Channel, Recording

__all__ = ["GaveUp", "Stream"]


class GaveUp(Exception):  # noqa: N818  nobody waits for the result
    """The work was cancelled on the way."""


class Stream:
    """An open decoder and the inputs that it gave last; used by one thread at a time.

    Parameters
    ----------
    recording : Recording
        What to open.
    channel : "mix", "all" or int
        Which planes come out: one, or every channel.
    keep : int
        Inputs last read that are remembered where seeking is not exact, so that going back by so
        many is not a decode from the start.

    Raises
    ------
    DecodeFault
        The file cannot be opened, or is not what was scanned.
    """

    def __init__(self, recording: Recording, channel: Channel, keep: int) -> None:
        self.recording = recording
        self._decoder = Decoder(recording)
        self._type = sample_type(recording)
        if channel == "all":
            self._channels = list(range(recording.channels))
        else:
            self._channels = [_kernel.MIX if channel == "mix" else channel]
        keep = 0 if seeks(recording) else keep
        self._kept = np.empty((len(self._channels), keep), np.float32)
        self._kept_count = 0

    @property
    def begin(self) -> int:
        """The first input that can be had without going back."""
        return self._decoder.position - self._kept_count

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    def read(
        self,
        start: int,
        out: NDArray[np.float32],
        pcm: NDArray[np.uint8],
        cancelled: Callable[[], bool],
    ) -> None:
        """Fill `out` with inputs ``start, start + 1, ...``.

        Parameters
        ----------
        start : int
            A frame of the recording.
        out : ndarray of float32, shape ``(planes, n)``
            Written; rows contiguous.
        pcm : ndarray of uint8
            Scratch for decoded samples.
        cancelled : callable
            Asked between pieces.

        Raises
        ------
        DecodeFault
            An input cannot be had, or is not finite.
        GaveUp
            `cancelled` said so.
        """
        try:
            self._read(start, out, pcm, cancelled)
        except BaseException:
            self._kept_count = 0
            raise

    def _read(
        self,
        start: int,
        out: NDArray[np.float32],
        pcm: NDArray[np.uint8],
        cancelled: Callable[[], bool],
    ) -> None:
        count = out.shape[1]
        channels = self.recording.channels
        done = 0
        if self.begin <= start < self._decoder.position:
            done = min(count, self._decoder.position - start)
            skip = self._kept.shape[1] - (self._decoder.position - start)
            out[:, :done] = self._kept[:, skip : skip + done]
            if done == count:
                return
        samples = pcm[: len(pcm) // self._type.itemsize * self._type.itemsize].view(self._type)
        self._decoder.move_to(start + done, samples, cancelled)
        room = len(samples) // channels
        fresh = done
        while done < count:
            if cancelled():
                raise GaveUp
            frames = min(room, count - done)
            piece = samples[: frames * channels]
            self._decoder.read_exactly(piece)
            self._convert(piece, out[:, done : done + frames], start + done)
            done += frames
        self._remember(out[:, fresh:])

    def _convert(self, piece: NDArray[Any], out: NDArray[np.float32], start: int) -> None:
        for plane, channel in zip(out, self._channels, strict=True):
            if not _kernel.convert(piece, self.recording.channels, channel, plane):
                bad = start + int(np.argmin(np.isfinite(plane)))
                raise DecodeFault(
                    Code.NON_FINITE,
                    f"the audio holds NaN or infinity at frame {bad}: repair or leave out the file",
                )

    def _remember(self, new: NDArray[np.float32]) -> None:
        """Keep the end of what was kept and `new`, at the end of the buffer."""
        room, count = self._kept.shape[1], new.shape[1]
        if count >= room:
            self._kept[:] = new[:, count - room :]
        else:
            self._kept[:, : room - count] = self._kept[:, count:]
            self._kept[:, room - count :] = new
        self._kept_count = min(room, self._kept_count + count)
