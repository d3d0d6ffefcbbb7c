"""`preview`: choose windows, read them, and measure, draw and encode them for a page."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import closing
from copy import copy
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from headrace.display._encode import AudioFormat
from headrace.display._page import Preview
from headrace.display._previewed_window import Event, PreviewedWindow
from headrace.dsp import Levels, levels
from headrace.errors import CatalogError, InvalidWindowsError, ReadError
from headrace.windows import InOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from headrace.annotations import Annotations
    from headrace.catalog import Catalog
    from headrace.failures import Failure
    from headrace.windows import AudioExample, Windows

__all__ = ["preview"]

_MAX_MEASURED: Final = 2_000
"""All windows are measured if there are at most this many: nearly three hours of audio, and a few
seconds of work."""

_SEARCH_BLOCK: Final = 1 << 20  # windows searched at a time: tens of megabytes


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
    """Make a page that shows windows (spectrogram, player, levels, labels) and the whole archive.

    Parameters
    ----------
    windows : Windows
        The windows to choose from. All are measured if there are at most 2,000. They are shown as
        they are cut, mixed and resampled, before the functions that `Windows.map` added.
    n : int
        How many to show, at most.
    seed : int or None
        The seed of the random choice; None shows the first `n`. Windows that are already shuffled
        are shown in their own order, and the seed is ignored.
    at : iterable of (str, float), optional
        The windows to show instead: a recording's id, or its last components, and a second in it.
    annotations : Annotations, optional
        Their events are shown; unmatched ones are matched by path. By default the labels of the
        windows are shown, if they have labels.
    audio : {"flac", "mp3"} or None
        The format of the sound: 16-bit FLAC (about 60 KB for 5 s at 16 kHz), MP3 (40 % of that) or
        none.
    workers : int or "auto"
        Number of reading threads.
    progress : callable, optional
        Called with the number of windows read so far and the number to read.

    Returns
    -------
    Preview
        ``preview(windows).save("page.html")`` writes the page.

    Raises
    ------
    AnnotationError
        An annotated file matches several recordings, or none matches any.
    CatalogError
        `at` names no recording, or more than one.
    InvalidWindowsError
        `at` names a second that is in no window.
    ReadError
        None of the windows could be read.
    ValueError
        `n` or `audio` is invalid, or MP3 does not support the sample rate.

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
        source, chosen, choice = _choose(cut, n, seed)
    else:
        source, choice = cut, "as asked for"
        chosen = [_window_at(windows, name, second) for name, second in at]
    events = None if annotations is None else _events_by_recording(annotations, windows.catalog)
    wanted = set(chosen)
    shown: dict[int, PreviewedWindow] = {}
    measured: list[Levels] = []
    failures: list[Failure] = []
    if len(windows) <= _MAX_MEASURED:
        examples, total = _read_first(cut, len(windows), workers, failures), len(windows)
    elif at is None:
        examples, total = _read_first(source, len(chosen), workers, failures), len(chosen)
    else:
        examples, total = _read_each(cut, chosen, failures), len(chosen)
    with closing(examples):
        for done, example in enumerate(examples, 1):
            measured.append(levels(example.audio[..., : example.valid_samples]))
            if example.index in wanted and example.index not in shown:
                near = (
                    _label_events(example, windows) if events is None else events[example.file_id]
                )
                shown[example.index] = PreviewedWindow.from_example(example, audio, near)
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
        labels=_count_labels(events, windows),
        counted="windows" if events is None else "events",
    )


def _choose(windows: Windows, n: int, seed: int | None) -> tuple[Windows, list[int], str]:
    """Return the windows in the chosen order, the indices of the first `n`, and its name."""
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n must be a whole number from 1 up, not {n!r}.")
    choice = "in order"
    if seed is not None and isinstance(windows.order, InOrder):
        windows, choice = windows.shuffle(seed), f"at random, seed {seed}"
    indices = windows.order.epoch(0)(np.arange(min(n, len(windows))))
    return windows, indices.tolist(), choice


def _window_at(windows: Windows, name: str, second: float) -> int:
    """Return the index of the last window that starts at or before a second and contains it."""
    recording = _recording_named(windows, name)
    sample = second * windows.spec.sample_rate
    for begin in range(0, len(windows), _SEARCH_BLOCK):
        end = min(begin + _SEARCH_BLOCK, len(windows))
        rows = windows.rows(np.arange(begin, end, dtype=np.int64))
        inside = (rows.start <= sample) & (sample < rows.start + rows.valid)
        found = rows.index[(rows.recording == recording) & inside]
        if len(found):
            return int(found[-1])
    one = windows.catalog[recording]
    raise InvalidWindowsError(
        f"no window contains second {second:g} of {one.id}, which is {one.duration_s:.3f} s long: "
        "give another second, or cut other windows."
    )


def _recording_named(windows: Windows, name: str) -> int:
    """Return the catalog row of the recording whose id is, or ends with, a name."""
    ids = windows.catalog.column("id").tolist()
    found = [row for row, file_id in enumerate(ids) if file_id == name]
    found = found or [row for row, file_id in enumerate(ids) if file_id.endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CatalogError(
            f"There is no recording {name!r}: give an id, or its last components. The first id is "
            f"{ids[0]!r}."
        )
    raise CatalogError(
        f"{name!r} matches {ids[found[0]]!r} and {ids[found[1]]!r}: give more of the path."
    )


def _read_first(
    windows: Windows, n: int, workers: int | Literal["auto"], failures: list[Failure]
) -> Generator[AudioExample]:
    """Yield those of the first `n` windows that can be read; append the others to `failures`."""
    with windows.loader(workers=workers, on_error="mask") as loader:
        for example in loader.steps(n):
            if example.valid_samples:
                yield example
        failures.extend(loader.failures)


def _read_each(
    windows: Windows, indices: Iterable[int], failures: list[Failure]
) -> Generator[AudioExample]:
    """Yield the windows at `indices` that can be read; append the others to `failures`."""
    for index in indices:
        try:
            yield windows[index]
        except ReadError as error:
            failures.append(error.failure)


def _events_by_recording(
    annotations: Annotations, catalog: Catalog
) -> defaultdict[str, list[Event]]:
    """Return the events of each recording by its id; an event without a label has ``""``."""
    if not annotations.matched:
        annotations = annotations.match(catalog)
    table = annotations.to_arrow()
    columns = (table[name].to_pylist() for name in ("file", "start_s", "end_s", "label"))
    events: defaultdict[str, list[Event]] = defaultdict(list)
    for file_id, start_s, end_s, label in zip(*columns, strict=True):
        events[file_id].append(Event(start_s, end_s, label or ""))
    return events


def _label_events(example: AudioExample, windows: Windows) -> list[Event]:
    """Return an event as long as the window for each class that the window is labelled with."""
    classes = [] if example.labels is None else np.flatnonzero(example.labels).tolist()
    return [Event(example.offset, example.end_s, windows.classes[number]) for number in classes]


def _count_labels(
    events: Mapping[str, Sequence[Event]] | None, windows: Windows
) -> Mapping[str, int]:
    """Return the number of events, or else of windows, with each label."""
    if events is not None:
        ids = windows.catalog.column("id").tolist()
        return Counter(event.label for file_id in ids for event in events.get(file_id, ()))
    return {} if windows.labels is None else windows.label_counts()
