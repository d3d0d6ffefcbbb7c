"""`preview`: choose windows, read them, and measure, draw and encode them for a page."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from contextlib import closing
from copy import copy
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from headrace._formatting import brief, format_count
from headrace.annotations import match, report_unmatched
from headrace.display._draw import AUDIBLE_RATE
from headrace.display._encode import AudioFormat
from headrace.display._page import Preview
from headrace.display._previewed_window import Event, PreviewedWindow
from headrace.dsp import Levels, levels
from headrace.errors import CatalogError, InvalidWindowsError, ReadError, ResultsError
from headrace.loading import Loader
from headrace.windows import InOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from headrace.annotations import Annotations
    from headrace.catalog import Catalog
    from headrace.detections import Detections
    from headrace.failures import Failure
    from headrace.windows import AudioExample, Windows

    _Events = defaultdict[str, list[Event]]
    """Events by the id of their recording, in seconds from its start."""

__all__ = ["preview"]

_FIELDS: Final = ("start_s", "end_s", "label", "low_hz", "high_hz")
"""Columns of annotations and detections, in the order of the fields of `Event`."""

_MAX_MEASURED: Final = 2_000
"""All windows are measured if there are at most this many: nearly three hours of audio, and a few
seconds of work."""

_ULTRASOUND_SLOWDOWN: Final = 10
"""How many times slower: the usual time expansion of recordings of bats."""

_MAX_SLOWDOWN: Final = 100

_SEARCH_BLOCK: Final = 1 << 20  # windows searched at a time: tens of megabytes


def preview(
    windows: Windows,
    n: int = 500,
    *,
    seed: int | None = 0,
    at: Iterable[tuple[str, float]] | None = None,
    annotations: Annotations | None = None,
    detections: Detections | None = None,
    audio: AudioFormat | None = "flac",
    slowdown: int | Literal["auto"] = "auto",
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
    detections : Detections, optional
        What a model found, such as `Run.detections`: shown with scores, beside `annotations`. By
        default the page has the windows of the highest scores, each where the middle of a detection
        is, the highest first.
    audio : {"flac", "mp3"} or None
        The format of the sound: 16-bit FLAC (about 60 KB for 5 s at 16 kHz), MP3 (40 % of that) or
        none.
    slowdown : int or "auto"
        How many times slower, and lower, the sound plays. ``"auto"``: 10 for sample rates above
        96 kHz, so that ultrasound is heard, and 1 otherwise.
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
        An annotated or detected file matches several recordings, or none matches any.
    CatalogError
        `at` names no recording, or more than one.
    InvalidWindowsError
        `at` names a second that is in no window.
    ReadError
        None of the windows could be read.
    ResultsError
        There are no detections, or none of them is in a window.
    ValueError
        `n`, `audio` or `slowdown` is invalid, or MP3 does not support the sample rate.

    Examples
    --------
    >>> windows = headrace.scan("raw_data").windows()
    >>> headrace.preview(windows, n=200, seed=1).save("preview.html")
    """
    if audio not in (None, *get_args(AudioFormat)):
        raise ValueError(f'audio must be "flac", "mp3" or None, not {brief(audio)}.')
    slower = _check_slowdown(slowdown, windows.spec.sample_rate)
    named = at is not None or detections is not None
    windows = windows.unordered if named else windows  # named whatever their order
    cut = copy(windows)
    cut.transforms = ()
    catalog = windows.catalog
    annotated = None if annotations is None else _annotated_events(annotations, catalog)
    detected = None if detections is None else _detected_events(detections, catalog)
    events = _joined(annotated, detected)
    if at is not None:
        source, choice = cut, "as asked for"
        chosen = [_window_at(windows, name, second) for name, second in at]
    elif detected is not None:
        source, choice = cut, "highest score first"
        chosen = _windows_of_detections(windows, detected, _check_n(n))
    else:
        source, chosen, choice = _choose(cut, n, seed)
    wanted = set(chosen)
    shown: dict[int, PreviewedWindow] = {}
    measured: list[Levels] = []
    failures: list[Failure] = []
    if len(windows) <= _MAX_MEASURED:
        examples, total = _read_first(cut, len(windows), workers, failures), len(windows)
    elif named:
        examples, total = _read_each(cut, chosen, failures), len(chosen)
    else:
        examples, total = _read_first(source, len(chosen), workers, failures), len(chosen)
    with closing(examples):
        for done, example in enumerate(examples, 1):
            measured.append(levels(example.audio[..., : example.valid_samples]))
            if example.index in wanted and example.index not in shown:
                near = (
                    _label_events(example, windows) if events is None else events[example.file_id]
                )
                shown[example.index] = PreviewedWindow.from_example(
                    example, audio, near, slowdown=slower
                )
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
        slowdown=slower,
        labels=_count_labels(events, windows),
        counted="windows" if events is None else "events",
    )


def _check_n(n: int) -> int:
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n must be a whole number from 1 up, not {brief(n)}.")
    return int(n)


def _check_slowdown(slowdown: int | Literal["auto"], sample_rate: int) -> int:
    if slowdown == "auto":
        return _ULTRASOUND_SLOWDOWN if sample_rate > AUDIBLE_RATE else 1
    if not isinstance(slowdown, int | np.integer) or not 1 <= slowdown <= _MAX_SLOWDOWN:
        raise ValueError(
            f'slowdown must be "auto" or a whole number from 1 to {_MAX_SLOWDOWN}, not '
            f"{brief(slowdown)}."
        )
    return int(slowdown)


def _choose(windows: Windows, n: int, seed: int | None) -> tuple[Windows, list[int], str]:
    """Return the windows in the chosen order, the indices of the first `n`, and its name."""
    _check_n(n)
    choice = "in order"
    if seed is not None and isinstance(windows.order, InOrder):
        windows, choice = windows.shuffle(seed), f"at random, seed {seed}"
    indices = windows.order.epoch(0)(np.arange(min(n, len(windows))))
    return windows, indices.tolist(), choice


def _window_at(windows: Windows, name: str, second: float) -> int:
    """Return the index of the last window that starts at or before a second and contains it."""
    recording = _recording_named(windows, name)
    (found,) = _find_windows(windows, np.array([recording]), np.array([second])).tolist()
    if found >= 0:
        return int(found)
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
    with Loader(windows, workers=workers, on_error="mask", log_losses=False) as loader:
        for example in loader.steps(n):
            if example.valid_samples:
                yield example
        failures.extend(loader.failures)


def _read_each(
    windows: Windows, indices: Iterable[int], failures: list[Failure]
) -> Generator[AudioExample]:
    """Yield the windows at `indices` that can be read; append the others to `failures`.

    `windows` are in their own order.
    """
    for index in indices:
        try:
            yield windows[index]
        except ReadError as error:
            failures.append(error.failure)


def _annotated_events(annotations: Annotations, catalog: Catalog) -> _Events:
    """Return the events of each recording by its id; an event without a label has ``""``."""
    if not annotations.matched:
        annotations = annotations.match(catalog)
    events: _Events = defaultdict(list)
    table = annotations.to_arrow()
    columns = (table[name].to_pylist() for name in ("file", *_FIELDS))
    for file_id, start_s, end_s, label, *band in zip(*columns, strict=True):
        events[file_id].append(Event(start_s, end_s, label or "", *band))
    return events


def _detected_events(detections: Detections, catalog: Catalog) -> _Events:
    """Return the detections in each recording of the catalog by its id."""
    names = detections.recordings
    rows = match(names, catalog)
    report_unmatched(names, catalog, rows, warn_of_recordings=False, stacklevel=4)
    ids = catalog.column("id").tolist()
    id_of = {name: ids[row] for name, row in zip(names, rows.tolist(), strict=True) if row >= 0}
    events: _Events = defaultdict(list)
    table = detections.to_arrow()
    columns = (table[name].to_pylist() for name in ("id", *_FIELDS, "score"))
    for name, start_s, end_s, label, low_hz, high_hz, score in zip(*columns, strict=True):
        if name in id_of:
            known = score if score is not None and math.isfinite(score) else None
            event = Event(start_s, end_s, label or "", low_hz, high_hz, known)
            events[id_of[name]].append(event)
    if not events:
        raise ResultsError(
            f"There is no detection to show in {format_count(len(ids), 'recording')}: give a lower "
            "threshold, or other recordings."
        )
    return events


def _joined(one: _Events | None, other: _Events | None) -> _Events | None:
    """Return the events of both, by recording; None if both are None."""
    if one is None or other is None:
        return other if one is None else one
    events: _Events = defaultdict(list)
    for file_id in {**one, **other}:
        events[file_id] = one.get(file_id, []) + other.get(file_id, [])
    return events


def _windows_of_detections(windows: Windows, events: _Events, n: int) -> list[int]:
    """Return the indices of the `n` windows with the highest scores, the highest first.

    The window of a detection is one that contains its middle: the last of those that reach as far
    before it as behind it or further.
    """
    half_s = windows.spec.size / windows.spec.sample_rate / 2
    row_of = {file_id: row for row, file_id in enumerate(windows.catalog.column("id").tolist())}
    recording = np.array([row_of[file_id] for file_id, those in events.items() for _ in those])
    detections = [event for those in events.values() for event in those]
    scores = np.array([math.nan if one.score is None else one.score for one in detections])
    middle = np.array([(one.start_s + one.end_s) / 2 for one in detections])
    order = np.argsort(-scores, kind="stable")  # without a score: last
    chosen: dict[int, None] = {}
    for begin in range(0, len(order), _SEARCH_BLOCK):
        part = order[begin : begin + _SEARCH_BLOCK]
        found = _find_windows(windows, recording[part], middle[part], lead_s=half_s)
        late = found < 0  # in a gap between windows, or less than half a window from the start
        found[late] = _find_windows(windows, recording[part][late], middle[part][late])
        chosen.update(dict.fromkeys(found[found >= 0].tolist()))
        if len(chosen) >= n:
            break
    if not chosen:
        raise ResultsError(
            "None of the detections is in a window: cut the windows as they were for the model."
        )
    return list(chosen)[:n]


def _find_windows(
    windows: Windows,
    recording: NDArray[np.int64],
    second: NDArray[np.float64],
    *,
    lead_s: float = 0.0,
) -> NDArray[np.int64]:
    """Return the index of the last window that contains each second of a recording, or -1.

    It starts at least `lead_s` seconds before that second.
    """
    rate = windows.spec.sample_rate
    sample = np.floor(second * rate).astype(np.int64)
    latest_start = np.round((second - lead_s) * rate).astype(np.int64) if lead_s else sample
    found = np.full(len(sample), -1, np.int64)
    for begin in range(0, len(windows), _SEARCH_BLOCK):
        end = min(begin + _SEARCH_BLOCK, len(windows))
        rows = windows.rows(np.arange(begin, end, dtype=np.int64))
        by_start = np.lexsort((rows.index, rows.start, rows.recording))
        starts = np.stack([rows.recording, rows.start])[:, by_start]
        last = _last_not_after(starts, np.stack([recording, latest_start]))
        row = by_start[last]
        inside = (last >= 0) & (rows.recording[row] == recording)
        inside &= sample < rows.start[row] + rows.valid[row]
        found[inside] = rows.index[row[inside]]
    return found


def _last_not_after(pairs: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of the last of sorted pairs that is not after each wanted pair, or -1."""
    both = np.concatenate([pairs, wanted], axis=1)
    order = np.lexsort((np.arange(both.shape[1]), both[1], both[0]))  # equal: `pairs` first
    is_pair = order < pairs.shape[1]
    before = np.cumsum(is_pair) - 1
    last = np.empty(wanted.shape[1], np.int64)
    last[order[~is_pair] - pairs.shape[1]] = before[~is_pair]
    return last


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
