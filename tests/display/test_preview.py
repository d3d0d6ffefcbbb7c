from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

import headrace
from headrace.display import _preview as preview_module
from headrace.display._draw import spectrogram_height
from headrace.dsp._levels import levels
from headrace.errors import (
    AnnotationError,
    CatalogError,
    HeadraceWarning,
    InvalidWindowsError,
    ReadError,
    ResultsError,
)
from tests.support.sounds import speechlike, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headrace.windows._windows import Windows


@pytest.fixture
def windows(archive: str) -> Windows:
    """Return 22 windows of half a second."""
    return headrace.scan(archive).windows(8_000, 0.5)


def _annotations(windows: Windows) -> headrace.Annotations:
    """Return three events in the first recording; every recording is annotated."""
    rows = [(0.9, 1.2, "frog"), (1.5, 1.7, "bird"), (0.0, math.inf, "rain")]
    start, end, label = zip(*rows, strict=True)
    table = pa.table({"file": ["0.wav"] * 3, "start_s": start, "end_s": end, "label": label})
    return headrace.Annotations.from_table(table, files=windows.catalog.column("id").tolist())


def _indices(shown: headrace.Preview) -> list[int]:
    return [one.index for one in shown.exhibits]


def test_a_seed_chooses_the_windows(windows: Windows) -> None:
    """The same seed chooses the same windows; if there are at most `n`, all are shown."""
    some = _indices(headrace.preview(windows, 5, seed=3))

    assert len(set(some)) == 5
    assert some == _indices(headrace.preview(windows, 5, seed=3, workers=0))
    assert some != _indices(headrace.preview(windows, 5, seed=4))
    assert sorted(_indices(headrace.preview(windows))) == list(range(len(windows)))


def test_the_choice_is_the_same_for_large_archives(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not matter whether all windows are measured or only those shown."""
    small = headrace.preview(windows, 5)
    monkeypatch.setattr(preview_module, "_MAX_MEASURED", 10)
    large = headrace.preview(windows, 5)

    assert _indices(small) == _indices(large)
    assert len(small.levels) == len(windows)
    assert len(large.levels) == 5


def test_shuffled_windows_are_shown_in_their_order(windows: Windows) -> None:
    """The seed of `shuffle` takes precedence, and `seed=None` keeps the order of the files."""
    shuffled = windows.shuffle(seed=9)

    assert _indices(headrace.preview(shuffled, 4)) == [shuffled[i].index for i in range(4)]
    assert _indices(headrace.preview(windows, 4, seed=None)) == [0, 1, 2, 3]


@pytest.mark.parametrize("small", [10, 2_000])
def test_windows_can_be_chosen_by_file_and_second(
    windows: Windows, small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last window that starts before the second is shown, in the order of `at`."""
    monkeypatch.setattr(preview_module, "_MAX_MEASURED", small)

    shown = headrace.preview(windows, at=[("3.wav", 0.6), ("0.wav", 2.49)])

    assert [(one.file_id, one.offset) for one in shown.exhibits] == [("3.wav", 0.5), ("0.wav", 2.0)]


@pytest.mark.parametrize("small", [0, 2_000])
def test_named_windows_are_found_in_any_order(
    windows: Windows, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    """An order and a shard do not matter where seconds or detections name the windows."""
    monkeypatch.setattr(preview_module, "_MAX_MEASURED", small)
    found = _detections(windows, [("0.wav", 0.6, 0.9, "a", 0.5), ("0.wav", 1.1, 1.3, "b", 0.9)])
    for named in (
        windows.shuffle(seed=1),
        windows.sample([0.0] * (len(windows) - 1) + [1.0]),
        *(windows.shard(rank, 2) for rank in range(2)),
    ):
        assert _indices(headrace.preview(named, at=[("0.wav", 0.6), ("0.wav", 1.1)])) == [1, 2]
        assert _indices(headrace.preview(named, detections=found)) == [2, 1]


def test_the_end_of_a_path_names_a_recording(tmp_path: Path) -> None:
    """If it matches two or none, the error says so."""
    for name in ("a/x.wav", "b/x.wav", "b/y.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, speechlike(8_000), 8_000, "WAV", "PCM_16")
    windows = headrace.scan(tmp_path).windows(8_000, 1.0)

    assert headrace.preview(windows, at=[("y.wav", 0)]).exhibits[0].file_id == "b/y.wav"
    with pytest.raises(CatalogError, match=r"'x.wav' matches 'a/x.wav' and 'b/x.wav': give more"):
        headrace.preview(windows, at=[("x.wav", 0)])
    with pytest.raises(CatalogError, match=r"no recording 'z.wav': .*The first id is 'a/x.wav'"):
        headrace.preview(windows, at=[("z.wav", 0)])


def test_a_second_in_no_window_is_an_error(windows: Windows) -> None:
    """The message says how long the recording is."""
    with pytest.raises(
        InvalidWindowsError, match=r"no window contains second 2.5 of 0.wav, which is 2.500 s long"
    ):
        headrace.preview(windows, at=[("0.wav", 2.5)])
    with pytest.raises(InvalidWindowsError, match="no window contains second -1"):
        headrace.preview(windows, at=[("0.wav", -1)])


def test_levels_leave_out_the_padding(windows: Windows) -> None:
    """Padding does not lower the level of a window."""
    shown = headrace.preview(windows, at=[("3.wav", 0.6)])
    (one,) = shown.exhibits
    example = windows[one.index]

    assert one.padded_s == pytest.approx(0.3)
    assert one.levels == levels(example.audio[: example.valid_samples])


def test_events_are_cut_to_their_windows(windows: Windows) -> None:
    """Times are seconds from the window's start; an event that only touches is left out."""
    shown = headrace.preview(
        windows, at=[("0.wav", 1.0), ("1.wav", 0.0)], annotations=_annotations(windows)
    )
    inside, other = shown.exhibits

    assert [one.label for one in inside.events] == ["frog", "rain"]
    assert [one[:2] for one in inside.events] == [(0.0, pytest.approx(0.2)), (0.0, 0.5)]
    assert inside.labels == ("frog", "rain")
    assert other.events == ()
    assert shown.labels == {"frog": 1, "bird": 1, "rain": 1}
    assert shown.counted == "events"


def test_labelled_windows_show_their_labels(windows: Windows) -> None:
    """Each label is shown as an event that lasts as long as the window."""
    labelled = windows.label(_annotations(windows))

    shown = headrace.preview(labelled, at=[("0.wav", 1.0), ("1.wav", 0.0)])

    assert [one.labels for one in shown.exhibits] == [("frog", "rain"), ()]
    assert shown.labels == labelled.label_counts()
    assert "Windows with each label." in shown.html


def test_an_unreadable_window_is_a_failure_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways of reading report it; if nothing can be read, there is no page."""
    for name in ("a.wav", "b.wav"):
        write(tmp_path / name, speechlike(8_000), 8_000, "WAV", "PCM_16")
    windows = headrace.scan(tmp_path).windows(8_000, 0.5)
    (tmp_path / "a.wav").unlink()

    for small in (0, 2_000):
        monkeypatch.setattr(preview_module, "_MAX_MEASURED", small)
        shown = headrace.preview(windows, seed=None)
        assert _indices(shown) == [2, 3]
        assert {str(one.code) for one in shown.failures} == {"MISSING"}
        lost = [(one.index + i, one.code) for one in shown.failures for i in range(one.windows)]
        assert lost == [(0, headrace.Code.MISSING), (1, headrace.Code.MISSING)]
        assert {one.file_id for one in shown.failures} == {"a.wav"}
        assert "MISSING" in shown.html
        with pytest.raises(ReadError):
            headrace.preview(windows[:2] if not small else windows[:1])
    monkeypatch.setattr(preview_module, "_MAX_MEASURED", 0)
    with pytest.raises(ReadError):
        headrace.preview(windows, at=[("a.wav", 0)])


@pytest.mark.parametrize("options", [{"n": 0}, {"n": 2.5}, {"audio": "wav"}])
def test_a_wrong_argument_is_named(windows: Windows, options: dict[str, object]) -> None:
    """The error is raised before anything is read."""
    with pytest.raises(ValueError, match="must be"):
        headrace.preview(windows, **options)  # type: ignore[arg-type]


def test_progress_is_called_for_each_window(windows: Windows) -> None:
    """It counts from the first window to the last."""
    calls: list[tuple[int, int]] = []

    headrace.preview(windows, 3, progress=lambda done, total: calls.append((done, total)))

    assert calls == [(done, len(windows)) for done in range(1, len(windows) + 1)]


def test_the_repr_says_what_is_shown(windows: Windows) -> None:
    """It has the number of windows and how they were chosen."""
    assert repr(headrace.preview(windows, 3, seed=2)) == (
        f"<Preview: 3 of {len(windows)} windows, at random, seed 2; 0 could not be read>"
    )


def test_damaged_files_are_on_the_page(tmp_path: Path) -> None:
    """Each is listed with its cause."""
    write(tmp_path / "good.wav", speechlike(8_000), 8_000, "WAV", "PCM_16")
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    with pytest.warns(HeadraceWarning, match="1 of 2 files"):
        catalog = headrace.scan(tmp_path)

    html = headrace.preview(catalog.windows(8_000, 0.5)).html

    assert "bad.wav" in html
    assert "NOT_AUDIO" in html


def test_windows_of_several_channels_and_rates_have_a_page(tmp_path: Path) -> None:
    """The mean of the channels is drawn."""
    write(tmp_path / "four.wav", speechlike(8_000, 4), 8_000, "WAV", "PCM_16")
    windows = headrace.scan(tmp_path).windows(None, 0.5, channel="all")

    shown = headrace.preview(windows)

    assert np.isfinite([one.levels.peak_dbfs for one in shown.exhibits]).all()
    assert windows.shape == (4, 4_000)


def test_mapped_windows_are_shown_before_their_functions(windows: Windows) -> None:
    """Pictures, levels and sound are those of the windows without `map`; the page says so."""
    plain = headrace.preview(windows, 3)
    for mapped in (windows.map(headrace.LogMel(8_000)), windows.map(lambda audio: audio[:1] > 0)):
        shown = headrace.preview(mapped, 3)
        assert [one.picture for one in shown.exhibits] == [one.picture for one in plain.exhibits]
        assert shown.levels == plain.levels
        assert "You hear the windows before the functions of map, in 16 bits." in shown.html
        asked = headrace.preview(mapped, at=[(windows[0].file_id, 0.0)])
        assert asked.exhibits[0].picture
    assert "You hear what a model gets, in 16 bits." in plain.html


def _detections(
    windows: Windows, rows: Sequence[tuple[str, float, float, str, float | None]]
) -> headrace.Detections:
    """Return detections, each in the band from 1 to 2 kHz."""
    names = ("id", "start_s", "end_s", "label", "score")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns |= {"low_hz": [1_000.0] * len(rows), "high_hz": [2_000.0] * len(rows)}
    ids = windows.catalog.column("id").tolist()
    return headrace.Detections.from_table(pa.table(columns), recordings=ids)


def test_detections_choose_the_windows_with_the_highest_scores(windows: Windows) -> None:
    """Each window is shown once, at its highest score; detections without a score are last."""
    found = _detections(
        windows,
        [
            ("0.wav", 1.1, 1.2, "frog", 0.5),
            ("0.wav", 1.3, 1.4, "bird", 0.9),
            ("1.wav", 0.0, 0.5, "frog", 0.7),
            ("2.wav", 0.6, 0.7, "frog", None),
            ("3.wav", 0.2, 0.3, "frog", 0.95),
        ],
    )

    shown = headrace.preview(windows, detections=found)
    places = [(one.file_id, one.offset, one.score) for one in shown.exhibits]

    assert places == [
        ("3.wav", 0.0, pytest.approx(0.95)),
        ("0.wav", 1.0, pytest.approx(0.9)),
        ("1.wav", 0.0, pytest.approx(0.7)),
        ("2.wav", 0.5, None),
    ]
    assert shown.choice == "highest score first"
    assert shown.labels == {"frog": 4, "bird": 1}
    assert [one["score"] for one in shown.as_json()["shown"]] == [one[2] for one in places]
    assert _indices(headrace.preview(windows, 2, detections=found)) == _indices(shown)[:2]


def test_a_score_that_is_no_number_is_not_known(windows: Windows) -> None:
    """It is like a missing one, and what the page and its JSON hold is JSON."""
    rows = [
        ("0.wav", 0.1, 0.2, "frog", math.nan),
        ("0.wav", 0.3, 0.4, "frog", 0.5),
        ("1.wav", 0.1, 0.2, "frog", math.nan),
        ("2.wav", 0.1, 0.2, "frog", math.inf),
    ]
    shown = headrace.preview(windows, detections=_detections(windows, rows))

    assert [(one.file_id, one.score) for one in shown.exhibits] == [
        ("0.wav", 0.5),
        ("1.wav", None),
        ("2.wav", None),
    ]
    json.dumps(shown.as_json(), allow_nan=False)
    json.dumps([one.annotation_rows for one in shown.exhibits], allow_nan=False)


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_a_detection_as_long_as_a_window_shows_that_window(
    windows: Windows, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is where windows overlap, in every recording, and however many are searched at once."""
    monkeypatch.setattr(preview_module, "_SEARCH_BLOCK", block)
    overlapping = windows.catalog.windows(8_000, 0.5, hop_s=0.25)
    examples = [overlapping[index] for index in range(0, len(overlapping), 3)]
    rows = [
        (one.file_id, one.offset, one.end_s, "x", 1 - 0.01 * place)
        for place, one in enumerate(examples)
    ]

    shown = headrace.preview(overlapping, detections=_detections(overlapping, rows), audio=None)

    assert _indices(shown) == [one.index for one in examples]


def test_detections_in_no_window_or_of_no_recording_are_an_error(windows: Windows) -> None:
    """The message says what to do."""
    late = _detections(windows, [("0.wav", 99.0, 99.5, "x", 1.0)])
    with pytest.raises(ResultsError, match="None of the detections is in a window: cut the"):
        headrace.preview(windows, detections=late)
    with pytest.raises(ResultsError, match=r"no detection to show .*: give a lower threshold"):
        headrace.preview(windows, detections=late.filter([False]))
    other = headrace.Detections.from_table(
        pa.table({"id": ["z.wav"], "start_s": [0.0], "end_s": [1.0], "label": ["x"]})
    )
    with pytest.raises(AnnotationError, match=r"the first is 'z.wav', the catalog's first is"):
        headrace.preview(windows, detections=other)


def test_boxes_are_where_the_events_are(windows: Windows) -> None:
    """In percent of the picture; labels that would overlap are in different lanes."""
    rate = 8_000
    found = _detections(windows, [("0.wav", 0.1, 0.3, "a", 1.0), ("0.wav", 0.2, 0.4, "b", 0.5)])
    (one,) = headrace.preview(windows, detections=found).exhibits
    first, second = one.boxes

    assert first.x == pytest.approx(20)
    assert first.width == pytest.approx(40)
    assert first.y == pytest.approx(100 * (1 - spectrogram_height(2_000, rate)))
    assert first.y + first.height == pytest.approx(100 * (1 - spectrogram_height(1_000, rate)))
    assert (first.lane, second.lane) == (0, 1)


def test_ultrasound_plays_slower(tmp_path: Path) -> None:
    """Above 96 kHz ten times, or as often as asked for; the sound file has the lower rate."""
    write(tmp_path / "bat.wav", speechlike(76_800), 192_000, "WAV", "PCM_16")
    windows = headrace.scan(tmp_path).windows(192_000, 0.2)

    cases: tuple[tuple[Any, int], ...] = (("auto", 19_200), (4, 48_000), (1, 192_000))
    for slowdown, rate in cases:
        page = headrace.preview(windows, slowdown=slowdown)
        sound_file = page.exhibits[0].sound
        assert sound_file is not None
        _, content = sound_file
        sound, got_rate = soundfile.read(io.BytesIO(content))
        assert (got_rate, len(sound)) == (rate, 38_400)
        assert ("times slower" in page.html) == (slowdown != 1)
    assert "Spectrograms show 5 kHz to 96 kHz" in page.html
    with pytest.raises(ValueError, match='slowdown must be "auto" or a whole number from 1 to 100'):
        headrace.preview(windows, slowdown=0)
    with pytest.raises(ValueError, match="rate of 19,200 Hz, that of the windows divided by slow"):
        headrace.preview(windows.catalog.windows(192_000, 0.1), audio="mp3")
