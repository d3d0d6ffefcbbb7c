"""`PreviewedWindow`: one window measured, drawn and encoded, ready to be shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headrace.display._draw import spectrogram
from headrace.display._encode import encoded
from headrace.dsp import levels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.display._encode import AudioFormat
    from headrace.dsp import Levels
    from headrace.windows import AudioExample

__all__ = ["Event", "PreviewedWindow", "holds_audio", "preview_window"]

Event = tuple[float, float, str]
"""Start and end (s, half-open), and the label."""


@dataclass(frozen=True, slots=True, eq=False)
class PreviewedWindow:
    """One window, as it is shown.

    Attributes
    ----------
    file_id : str
        The recording's id.
    index : int
        The window's place in its `Windows`' unshuffled set.
    offset, length_s, padded_s : float
        Seconds: from the start of the recording, of the window, and of padding at its end.
    levels : Levels
        Without the padding.
    picture : bytes
        The spectrogram, a PNG.
    sound : pair of str and bytes, or None
        Media type and content of a sound file.
    events : tuple of Event
        What is heard, in seconds from the window's start, inside the window.
    """

    file_id: str
    index: int
    offset: float
    length_s: float
    padded_s: float
    levels: Levels
    picture: bytes
    sound: tuple[str, bytes] | None
    events: tuple[Event, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels of the events, in the order in which they begin."""
        return tuple(dict.fromkeys(label for _, _, label in self.events))

    @property
    def stop(self) -> float:
        """Seconds from the start of the recording to the end of the window's audio."""
        return self.offset + self.length_s - self.padded_s


def holds_audio(example: AudioExample) -> bool:
    """Return whether a window holds audio of its length, and not what `Windows.map` made of it."""
    audio = example.audio
    return (
        audio.dtype.kind == "f"
        and audio.ndim in (1, 2)
        and audio.size > 0
        and audio.shape[-1] == round((example.end_s - example.offset) * example.sample_rate)
        and bool(np.isfinite(audio).all())
    )


def preview_window(
    example: AudioExample, audio: AudioFormat | None, events: Iterable[Event] = ()
) -> PreviewedWindow:
    """Measure, draw and encode a window.

    Parameters
    ----------
    example : AudioExample
        The window, which is `holds_audio`.
    audio : {"flac", "mp3"} or None
        How its sound is encoded; None leaves it out.
    events : iterable of Event
        In its recording, in seconds from the recording's start.

    Raises
    ------
    ValueError
        The format of the sound does not know the sample rate.
    """
    samples, rate = example.audio.astype(np.float32, copy=False), example.sample_rate
    length = samples.shape[-1]
    heard = sorted(
        (max(start - example.offset, 0.0), min(end - example.offset, length / rate), label)
        for start, end, label in events
        if start < example.end_s and end > example.offset
    )
    return PreviewedWindow(
        file_id=example.file_id,
        index=example.index,
        offset=example.offset,
        length_s=length / rate,
        padded_s=(length - example.valid_samples) / rate,
        levels=levels(samples[..., : example.valid_samples]),
        picture=spectrogram(samples, rate),
        sound=None if audio is None else encoded(samples, rate, audio),
        events=tuple(heard),
    )
