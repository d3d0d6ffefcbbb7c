"""`PreviewedWindow`: one window, measured, drawn and encoded for a page or a notebook card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from headrace.display._draw import spectrogram_png
from headrace.display._encode import encode_sound
from headrace.dsp import levels

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.display._encode import AudioFormat
    from headrace.dsp import Levels
    from headrace.windows import AudioExample

__all__ = ["Event", "PreviewedWindow", "has_window_audio"]


class Event(NamedTuple):
    """A labelled span of time, half-open.

    Attributes
    ----------
    start_s, end_s : float
        Seconds.
    label : str
        Empty for an event without a label.
    """

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class PreviewedWindow:
    """One window, measured, drawn and encoded.

    Attributes
    ----------
    file_id : str
        The recording's id.
    index : int
        The window's index in its `Windows`, unshuffled.
    offset : float
        Seconds from the start of the recording to the start of the window.
    length_s : float
        Seconds in the window, padding included.
    padded_s : float
        Seconds of padding at its end.
    levels : Levels
        Without the padding.
    picture : bytes
        The spectrogram, a PNG.
    sound : pair of str and bytes, or None
        Media type and content of a sound file.
    events : tuple of Event
        The events in the window, cut at its ends, in seconds from its start.
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

    @classmethod
    def from_example(
        cls, example: AudioExample, audio: AudioFormat | None, events: Iterable[Event] = ()
    ) -> PreviewedWindow:
        """Measure, draw and encode a window.

        Parameters
        ----------
        example : AudioExample
            A window for which `has_window_audio` is true.
        audio : {"flac", "mp3"} or None
            How its sound is encoded; None leaves it out.
        events : iterable of Event
            The events of its recording, in seconds from the recording's start.

        Raises
        ------
        ValueError
            The audio format does not support the sample rate.
        """
        samples, rate = example.audio.astype(np.float32, copy=False), example.sample_rate
        length_s = samples.shape[-1] / rate
        inside = sorted(
            Event(
                max(event.start_s - example.offset, 0.0),
                min(event.end_s - example.offset, length_s),
                event.label,
            )
            for event in events
            if event.start_s < example.end_s and event.end_s > example.offset
        )
        return cls(
            file_id=example.file_id,
            index=example.index,
            offset=example.offset,
            length_s=length_s,
            padded_s=(samples.shape[-1] - example.valid_samples) / rate,
            levels=levels(samples[..., : example.valid_samples]),
            picture=spectrogram_png(samples, rate),
            sound=None if audio is None else encode_sound(samples, rate, audio),
            events=tuple(inside),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels of the events, in the order in which they start."""
        return tuple(dict.fromkeys(event.label for event in self.events))

    @property
    def stop(self) -> float:
        """Seconds from the start of the recording to the end of the window's audio."""
        return self.offset + self.length_s - self.padded_s

    @property
    def flags(self) -> tuple[str, ...]:
        """Which of "silent", "clipped" and "padded" the window is."""
        conditions = {
            "silent": self.levels.silent,
            "clipped": self.levels.clipped > 0,
            "padded": self.padded_s > 0,
        }
        return tuple(flag for flag, holds in conditions.items() if holds)


def has_window_audio(example: AudioExample) -> bool:
    """Return whether an example holds finite audio of its window's length.

    False if a function that `Windows.map` added returned something else, such as a spectrogram.
    """
    audio = example.audio
    return (
        audio.dtype.kind == "f"
        and audio.ndim in (1, 2)
        and audio.size > 0
        and audio.shape[-1] == round((example.end_s - example.offset) * example.sample_rate)
        and bool(np.isfinite(audio).all())
    )
