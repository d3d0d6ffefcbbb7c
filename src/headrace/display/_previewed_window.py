"""`PreviewedWindow`: one window, measured, drawn and encoded for a page or a notebook card."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from headrace.display._draw import spectrogram_height, spectrogram_png
from headrace.display._encode import encode_sound
from headrace.dsp import levels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.display._encode import AudioFormat
    from headrace.dsp import Levels
    from headrace.windows import AudioExample

__all__ = ["Event", "PreviewedWindow", "has_window_audio"]


_LANES: Final = 5  # of labels over a spectrogram; further overlapping events have a box only


class Event(NamedTuple):
    """A labelled span of time, half-open, perhaps in a band of frequencies.

    Attributes
    ----------
    start_s, end_s : float
        Seconds.
    label : str
        Empty for an event without a label.
    low_hz, high_hz : float or None
        The band, Hz; None where it is not known.
    score : float or None
        Of a detection, finite; None if it is not known, and for an event that a person labelled.
    """

    start_s: float
    end_s: float
    label: str
    low_hz: float | None = None
    high_hz: float | None = None
    score: float | None = None


class Box(NamedTuple):
    """Where an event is in a spectrogram.

    Attributes
    ----------
    x, y, width, height : float
        Of the box, in percent of the picture; `y` is its top.
    lane : int or None
        Events whose labels would overlap are in lanes 0, 1, ...; None where all are taken.
    event : Event
    """

    x: float
    y: float
    width: float
    height: float
    lane: int | None
    event: Event


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
    sample_rate : int
        Hz.
    picture : bytes
        The spectrogram, a PNG.
    sound : pair of str and bytes, or None
        Media type and content of a sound file.
    slowdown : int
        How many times slower than in nature, and lower, the sound file is.
    events : tuple of Event
        The events in the window, cut at its ends, in seconds from its start.
    uncut_events : tuple of Event
        The same events in seconds from the start of the recording, not cut.
    """

    file_id: str
    index: int
    offset: float
    length_s: float
    padded_s: float
    levels: Levels
    sample_rate: int
    picture: bytes
    sound: tuple[str, bytes] | None
    slowdown: int
    events: tuple[Event, ...]
    uncut_events: tuple[Event, ...]

    @classmethod
    def from_example(
        cls,
        example: AudioExample,
        audio: AudioFormat | None,
        events: Iterable[Event] = (),
        *,
        slowdown: int = 1,
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
        slowdown : int
            How many times slower the sound is; by as much it is lower.

        Raises
        ------
        ValueError
            The audio format does not support the sample rate.
        """
        samples, rate = example.audio.astype(np.float32, copy=False), example.sample_rate
        length_s = samples.shape[-1] / rate
        uncut = sorted(
            (
                event
                for event in events
                if event.start_s < example.end_s and event.end_s > example.offset
            ),
            key=lambda event: (
                max(event.start_s, example.offset),
                min(event.end_s, example.offset + length_s),
                event.label,
            ),
        )
        inside = (
            event._replace(
                start_s=max(event.start_s - example.offset, 0.0),
                end_s=min(event.end_s - example.offset, length_s),
            )
            for event in uncut
        )
        return cls(
            file_id=example.file_id,
            index=example.index,
            offset=example.offset,
            length_s=length_s,
            padded_s=(samples.shape[-1] - example.valid_samples) / rate,
            levels=levels(samples[..., : example.valid_samples]),
            sample_rate=rate,
            picture=spectrogram_png(samples, rate),
            sound=None if audio is None else encode_sound(samples, round(rate / slowdown), audio),
            slowdown=slowdown,
            events=tuple(inside),
            uncut_events=tuple(uncut),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The distinct labels of the events, in the order in which they start."""
        return tuple(dict.fromkeys(event.label for event in self.events))

    @property
    def score(self) -> float | None:
        """The highest score of the events, or None where none has one."""
        return max((event.score for event in self.events if event.score is not None), default=None)

    @property
    def annotation_rows(self) -> list[list[float | str | None]]:
        """What the page saves of each event: the fields of `Event`, uncut, in seconds.

        An event without an end gets that of the window.
        """
        return [
            list(event if math.isfinite(event.end_s) else event._replace(end_s=self.stop))
            for event in self.uncut_events
        ]

    @property
    def boxes(self) -> Iterator[Box]:
        """The boxes of the events, but for those that fill the whole picture."""
        free_from = [-1.0] * _LANES
        for event in self.events:
            whole = event.end_s - event.start_s >= self.length_s - self.padded_s
            if whole and event.low_hz is None and event.high_hz is None:
                continue
            lane = next((n for n, time in enumerate(free_from) if time <= event.start_s), None)
            if lane is not None:
                free_from[lane] = event.end_s
            nyquist = self.sample_rate / 2
            top = spectrogram_height(event.high_hz or nyquist, self.sample_rate)
            bottom = spectrogram_height(event.low_hz or 0.0, self.sample_rate)
            yield Box(
                x=100 * event.start_s / self.length_s,
                y=100 * (1 - top),
                width=100 * (event.end_s - event.start_s) / self.length_s,
                height=100 * (top - bottom),
                lane=lane,
                event=event,
            )

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
