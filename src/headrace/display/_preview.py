"""`preview`: windows chosen, read, measured and drawn, to be looked at before training."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from contextlib import closing
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from headrace.display._encode import AudioFormat
from headrace.display._exhibit import Event, PreviewedWindow, preview_window
from headrace.display._page import page
from headrace.dsp import Levels, levels
from headrace.errors import CatalogError, InvalidWindowsError, ReadError
from headrace.failures import failure_to_json
from headrace.windows import InOrder

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from headrace.annotations import Annotations
    from headrace.catalog import Catalog
    from headrace.failures import Failure
    from headrace.windows import AudioExample, Windows

__all__ = ["Preview", "preview"]

_SMALL: Final = 2_000
"""Windows that are all measured: nearly three hours of audio, and a few seconds of work."""

_AT_ONCE: Final = 1 << 20  # windows that are searched at once: tens of megabytes


@dataclass(frozen=True, eq=False, repr=False)
class Preview:
    """A page to look at windows and to listen to them; made by `preview`.

    Attributes
    ----------
    windows : Windows
        Of which some are shown, before the functions that `Windows.map` added.
    exhibits : tuple of Exhibit
        Those that are, in the order of the page.
    levels : tuple of Levels
        Of all windows where there are few, else of those shown.
    failures : tuple of Failure
        Windows that could not be read. Damaged files are in the catalog's.
    choice : str
        How the windows were chosen.
    audio : {"flac", "mp3"} or None
        How sound is encoded.
    labels : mapping of str to int
        How often each label is there; empty without any.
    counted : {"events", "windows"}
        What `labels` counts: events in all recordings, or windows.
    """

    windows: Windows
    exhibits: tuple[PreviewedWindow, ...]
    levels: tuple[Levels, ...]
    failures: tuple[Failure, ...] = ()
    choice: str = "as chosen"
    audio: AudioFormat | None = "flac"
    labels: Mapping[str, int] = field(default_factory=dict)
    counted: Literal["events", "windows"] = "events"

    @cached_property
    def html(self) -> str:
        """The page, which holds all that it shows and needs no network."""
        return page(self)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write the page to a file, to be opened in a browser.

        Raises
        ------
        OSError
            The system refuses.
        """
        Path(file).write_text(self.html, "utf-8", newline="\n")

    def as_json(self) -> dict[str, Any]:
        """Return what the page tells, without pictures and sound, as what `json.dump` takes."""

        def level(dbfs: float) -> float | None:
            return None if math.isinf(dbfs) else dbfs  # which JSON has no word for

        return {
            "windows": len(self.windows),
            "choice": self.choice,
            "labels": dict(self.labels),
            "shown": [
                {
                    "file_id": one.file_id,
                    "index": one.index,
                    "offset_s": one.offset,
                    "labels": list(one.labels),
                    "peak_dbfs": level(one.levels.peak_dbfs),
                    "rms_dbfs": level(one.levels.rms_dbfs),
                    "clipped": one.levels.clipped,
                }
                for one in self.exhibits
            ],
            "failures": [
                failure_to_json(one, ("file_id", "code", "message"))
                for one in (*self.windows.catalog.failures, *self.failures)
            ],
        }

    def __repr__(self) -> str:
        return (
            f"<Preview: {len(self.exhibits):,} of {len(self.windows):,} windows, {self.choice}; "
            f"{sum(one.windows for one in self.failures):,} could not be read>"
        )


def preview(
    windows: Windows,
    n: int = 500,
    *,
    seed: int | None = 0,
    at: Iterable[tuple[str, float]] | None = None,
    annotations: Annotations | None = None,
    audio: AudioFormat | None = "flac",
    workers: int | Literal["auto"] = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Preview:
    """Make a page that shows windows: spectrogram, player, levels, labels; and the archive.

    Parameters
    ----------
    windows : Windows
        Where to choose from. All of them are measured if they are 2,000 or fewer. They are shown as
        they are cut, mixed and resampled: before the functions that `Windows.map` added.
    n : int
        How many to show, at most.
    seed : int or None
        Of the random choice; None: the first `n`. Windows that have an order already are shown in
        that order, and the seed is not used.
    at : iterable of (str, float), optional
        The windows to show instead: a recording's id, or the end of its path, and a second in it.
    annotations : Annotations, optional
        Whose events are shown, matched by path unless they are already. Without them, the labels of
        windows that have some.
    audio : {"flac", "mp3"} or None
        What is played: 16-bit FLAC (about 60 KB for 5 s at 16 kHz), MP3 (40 % of that) or nothing.
    workers : int or "auto"
        Threads that read.
    progress : function, optional
        Is called with the windows read and those to be read.

    Returns
    -------
    Preview
        ``preview(windows).save("page.html")`` writes the page.

    Raises
    ------
    AnnotationError
        An annotated file may be two recordings, or none is any.
    CatalogError
        `at` names no recording, or more than one.
    InvalidWindowsError
        `at` names a second that is in no window.
    ReadError
        None of the windows could be read.
    ValueError
        `n` or `audio` is none of the above, or MP3 does not know the sample rate.

    Examples
    --------
    >>> windows = headrace.scan("raw_data").windows()
    >>> headrace.preview(windows, n=200, seed=1).save("preview.html")
    """
    if audio not in (None, *get_args(AudioFormat)):
        raise ValueError(f'audio must be "flac", "mp3" or None, not {audio!r}.')
    cut = copy(windows)
    cut.transforms = ()
    if at is None:
        source, chosen, choice = _first(cut, n, seed)
    else:
        source, choice = cut, "as asked for"
        chosen = [_window_at(windows, name, second) for name, second in at]
    events = None if annotations is None else _events(annotations, windows.catalog)
    wanted = set(chosen)
    shown: dict[int, PreviewedWindow] = {}
    measured: list[Levels] = []
    failures: list[Failure] = []
    if len(windows) <= _SMALL:
        examples, total = _loaded(cut, len(windows), workers, failures), len(windows)
    elif at is None:
        examples, total = _loaded(source, len(chosen), workers, failures), len(chosen)
    else:
        examples, total = _each(cut, chosen, failures), len(chosen)
    with closing(examples):
        for done, example in enumerate(examples, 1):
            measured.append(levels(example.audio[..., : example.valid_samples]))
            if example.index in wanted and example.index not in shown:
                heard = _labels(example, windows) if events is None else events[example.file_id]
                shown[example.index] = preview_window(example, audio, heard)
            if progress is not None:
                progress(done, total)
    if not shown:
        raise ReadError(failures[0])
    return Preview(
        windows=windows,
        exhibits=tuple(shown[index] for index in chosen if index in shown),
        levels=tuple(measured),
        failures=tuple(failures),
        choice=choice,
        audio=audio,
        labels=_counts(events, windows),
        counted="windows" if events is None else "events",
    )


def _events(annotations: Annotations, catalog: Catalog) -> defaultdict[str, list[Event]]:
    """Return the events of each recording, by its id; of no label is ``""``."""
    if not annotations.matched:
        annotations = annotations.match(catalog)
    table = annotations.to_arrow()
    columns = (table[name].to_pylist() for name in ("file", "start_s", "end_s", "label"))
    events: defaultdict[str, list[Event]] = defaultdict(list)
    for file, start, end, label in zip(*columns, strict=True):
        events[file].append((start, end, label or ""))
    return events


def _labels(example: AudioExample, windows: Windows) -> list[Event]:
    """Return the classes of a window, each as an event that lasts as long as it does."""
    places = [] if example.labels is None else np.flatnonzero(example.labels).tolist()
    return [(example.offset, example.end_s, windows.classes[place]) for place in places]


def _counts(events: Mapping[str, Sequence[Event]] | None, windows: Windows) -> Mapping[str, int]:
    """Return how many events of each label the recordings have, or how many windows."""
    if events is not None:
        ids = windows.catalog.column("id").tolist()
        return Counter(label for one in ids for _, _, label in events.get(one, ()))
    return {} if windows.labels is None else windows.label_counts()


def _first(windows: Windows, n: int, seed: int | None) -> tuple[Windows, list[int], str]:
    """Return windows in some order, the places of the first `n`, and what that order is."""
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n must be a whole number from 1 up, not {n!r}.")
    choice = "in order"
    if seed is not None and isinstance(windows.order, InOrder):
        windows, choice = windows.shuffle(seed), f"at random, seed {seed}"
    places = windows.order.epoch(0)(np.arange(min(n, len(windows))))
    return windows, places.tolist(), choice


def _loaded(
    windows: Windows, n: int, workers: int | Literal["auto"], failures: list[Failure]
) -> Generator[AudioExample]:
    """Yield those of the first `n` windows that can be read; append to `failures` for the rest."""
    with windows.loader(workers=workers, on_error="mask") as loader:
        for example in loader.steps(n):
            if example.valid_samples:
                yield example
        failures.extend(loader.failures)


def _each(
    windows: Windows, chosen: Iterable[int], failures: list[Failure]
) -> Generator[AudioExample]:
    """Yield those of the windows at places `chosen` that can be read; the same."""
    for index in chosen:
        try:
            yield windows[index]
        except ReadError as error:
            failures.append(error.failure)


def _window_at(windows: Windows, name: str, second: float) -> int:
    """Return the place of the last window that begins at or before a second and holds it."""
    recording = _recording(windows, name)
    sample = second * windows.spec.sample_rate
    for begin in range(0, len(windows), _AT_ONCE):
        rows = windows.rows(np.arange(begin, min(begin + _AT_ONCE, len(windows)), dtype=np.int64))
        inside = (rows.start <= sample) & (sample < rows.start + rows.valid)
        found = rows.index[(rows.recording == recording) & inside]
        if len(found):
            return int(found[-1])
    one = windows.catalog[recording]
    raise InvalidWindowsError(
        f"no window holds second {second:g} of {one.id}, which has {one.duration_s:.3f} s: give "
        "another second, or cut other windows."
    )


def _recording(windows: Windows, name: str) -> int:
    """Return the place in the catalog of the recording whose id is, or ends with, a name."""
    ids = windows.catalog.column("id").tolist()
    found = [row for row, one in enumerate(ids) if one == name]
    found = found or [row for row, one in enumerate(ids) if one.endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CatalogError(f"There is no recording {name!r}: the first is {ids[0]!r}.")
    raise CatalogError(
        f"{name!r} may be {ids[found[0]]!r} or {ids[found[1]]!r}: give more of the path."
    )
