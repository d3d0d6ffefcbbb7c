"""The tasks of the comparison: recordings, and the windows that every loader must deliver."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING

import corpus
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

WINDOW_S = 5
"""Every recording is a whole number of windows long, so tails do not matter."""


class UnsupportedError(Exception):
    """A loader cannot do a task; the message says why."""


@dataclass(frozen=True)
class Job:
    """Windows of one recording that a loader may load in one call.

    Attributes
    ----------
    path : str
    windows : tuple of int
        Numbers of the windows; window k begins at ``k * WINDOW_S`` seconds.
    whole : bool
        Whether these are all windows of the recording, in order.
    """

    path: str
    windows: tuple[int, ...]
    whole: bool


@dataclass(frozen=True)
class Task:
    """Windows of recordings that are all alike.

    Attributes
    ----------
    name : str
    folder : str
        Holds nothing but the recordings.
    paths : tuple of str
        The recordings, sorted.
    rate_in, channels, rate_out : int
        Of the recordings, and the rate of the windows (Hz), which are mono.
    per_file : int
        Windows in a recording.
    order : tuple of (int, int)
        The windows in the order of delivery: place in `paths`, number of the window.
    at_random : bool
        Whether that order is shuffled; otherwise it is the order of the files.
    """

    name: str
    folder: str
    paths: tuple[str, ...]
    rate_in: int
    channels: int
    rate_out: int
    per_file: int
    order: tuple[tuple[int, int], ...]
    at_random: bool

    @property
    def size(self) -> int:
        """Samples in a window."""
        return WINDOW_S * self.rate_out

    @property
    def frames_in(self) -> int:
        """Frames of the recording in a window."""
        return WINDOW_S * self.rate_in

    def cut(self, windows: int) -> Task:
        """Return a task of at least this many windows; they repeat if there are fewer.

        Whole recordings if they are in order.
        """
        if not self.at_random:
            windows = -(-windows // self.per_file) * self.per_file
        return replace(self, order=tuple(islice(cycle(self.order), windows)))

    def jobs(self) -> Iterator[Job]:
        """Yield one job for each recording, or for each window of a shuffled order."""
        if self.at_random:
            for file, window in self.order:
                yield Job(self.paths[file], (window,), whole=False)
        else:
            every = tuple(range(self.per_file))
            for file, _ in self.order[:: self.per_file]:
                yield Job(self.paths[file], every, whole=True)


def rows(audio: NDArray[np.float32], count: int, size: int) -> NDArray[np.float32]:
    """Return mono `audio` as ``(count, size)``: a decoder may give a few samples more or fewer."""
    wanted = count * size
    if len(audio) < wanted:
        audio = np.pad(audio, (0, wanted - len(audio)))
    return audio[:wanted].reshape(count, size)


@dataclass(frozen=True)
class _Kind:
    """One corpus and its target rate."""

    extension: str
    subtype: str
    rate_in: int
    channels: int
    rate_out: int
    share: float = 1.0  # of the number of files
    long: bool = False  # one long recording instead of many short ones


_WAV = _Kind("wav", "PCM_16", 22_050, 1, 16_000)
_FLAC = _Kind("flac", "PCM_16", 22_050, 1, 16_000)
_KINDS = {
    "WAV 22.05 to 16 kHz, in order": (_WAV, False),
    "WAV 22.05 to 16 kHz, at random": (_WAV, True),
    "one long WAV 22.05 to 16 kHz, at random": (replace(_WAV, long=True), True),
    "WAV stereo 48 to mono 32 kHz, in order": (
        _Kind("wav", "PCM_16", 48_000, 2, 32_000, share=0.5),
        False,
    ),
    "FLAC 22.05 to 16 kHz, in order": (_FLAC, False),
    "FLAC 22.05 to 16 kHz, at random": (_FLAC, True),
    "one long FLAC 22.05 to 16 kHz, at random": (replace(_FLAC, long=True), True),
    "WAV at 16 kHz already, in order": (_Kind("wav", "PCM_16", 16_000, 1, 16_000), False),
    "WAV at 16 kHz already, at random": (_Kind("wav", "PCM_16", 16_000, 1, 16_000), True),
    "Vorbis 22.05 to 16 kHz, in order": (
        _Kind("ogg", "VORBIS", 22_050, 1, 16_000, share=0.5),
        False,
    ),
    "MP3 22.05 to 16 kHz, in order": (
        _Kind("mp3", "MPEG_LAYER_III", 22_050, 1, 16_000, share=0.5),
        False,
    ),
}
NAMES = tuple(_KINDS)


def make(name: str, root: Path, *, files: int, seconds: int, long_s: int) -> Task:
    """Write the recordings of a task below `root`, unless they are there.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    root : Path
        Each kind of recording gets a folder of its own in it.
    files, seconds : int
        How many short recordings, and how long they are.
    long_s : int
        Seconds of the long recording.
    """
    kind, at_random = _KINDS[name]
    seconds = long_s if kind.long else seconds
    files = 1 if kind.long else max(1, round(files * kind.share))
    if seconds % WINDOW_S:
        raise ValueError(f"recordings have to be whole windows of {WINDOW_S} s, not {seconds} s.")
    folder = corpus.make(
        root / f"{kind.extension}-{kind.rate_in}-{kind.channels}ch-{files}x{seconds}s",
        files=files,
        seconds=seconds,
        rate=kind.rate_in,
        channels=kind.channels,
        extension=kind.extension,
        subtype=kind.subtype,
    )
    per_file = seconds // WINDOW_S
    order = [(file, window) for file in range(files) for window in range(per_file)]
    if at_random:
        np.random.default_rng(0).shuffle(order)
    return Task(
        name=name,
        folder=str(folder),
        paths=tuple(sorted(map(str, folder.iterdir()))),
        rate_in=kind.rate_in,
        channels=kind.channels,
        rate_out=kind.rate_out,
        per_file=per_file,
        order=tuple((int(file), int(window)) for file, window in order),
        at_random=at_random,
    )
