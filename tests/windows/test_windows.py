import copy
import pickle
import warnings
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.catalog._scan import scan
from headrace.codecs import _libsndfile
from headrace.errors import HeadraceWarning, InvalidWindowsError
from headrace.windows._batch import AudioExample
from headrace.windows._spec import Channel, Coverage, Tail
from headrace.windows._windows import Windows
from tests.support.catalogs import fake_catalog, three_recordings
from tests.support.sounds import medley, write

CHANNELS: tuple[Channel, ...] = ("mix", 0, 1, "all")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    """Return 12 windows of a quarter of a second: 4 of a.wav, 1 of b.flac, 7 of c.wav."""
    return three_recordings(tmp_path_factory.mktemp("archive")).windows(8_000, 0.25, min_tail_s=0)


def _ten() -> Windows:
    """Return ten windows of 100 samples: 4, 1, 3 and 2 of their recordings."""
    return fake_catalog([400, 80, 300, 200]).windows(sample_rate=1_000, window_s=0.1)


def _places(windows: Windows) -> list[tuple[int, int]]:
    """Return recording and start of every window, unshuffled."""
    rows = windows.rows(np.arange(len(windows), dtype=np.int64))
    return list(zip(rows.recording.tolist(), rows.start.tolist(), strict=True))


def _order(windows: Windows, epoch: int = 0) -> list[int]:
    everything = np.arange(len(windows), dtype=np.int64)
    return [int(item) for item in windows.order.epoch(epoch)(everything)]


def _assert_same(one: AudioExample, two: AudioExample) -> None:
    np.testing.assert_array_equal(one.audio, two.audio)
    for name in ("file_id", "offset", "sample_rate", "path", "index", "end_s", "valid_samples"):
        assert getattr(one, name) == getattr(two, name), name


# Sequence


def test_an_example_says_where_it_is_from(recorded: Windows) -> None:
    """An example has the recording's id and path, its place, and its number of valid samples."""
    assert len(recorded) == 11

    example = recorded[10]
    audio, file_id, offset = example

    assert audio is example.audio
    assert audio.dtype == np.float32
    assert audio.shape == (2_000,)
    assert (file_id, offset, example.end_s) == ("c.wav", 1.25, 1.5)
    assert Path(example.path).name == "c.wav"
    assert (example.sample_rate, example.index, example.valid_samples) == (8_000, 10, 480)
    assert np.any(audio[:480])
    assert not np.any(audio[480:])


def test_an_index_may_be_of_any_integer_type(recorded: Windows) -> None:
    """Negative indices count from the end, and NumPy's integers are accepted."""
    _assert_same(recorded[-1], recorded[10])
    _assert_same(recorded[-11], recorded[0])
    _assert_same(recorded[np.int64(3)], recorded[3])  # type: ignore[call-overload]
    _assert_same(recorded[np.uint8(3)], recorded[3])  # type: ignore[call-overload]


@pytest.mark.parametrize("index", [11, -12, 2**70])
def test_a_window_that_is_not_there_is_an_index_error(recorded: Windows, index: int) -> None:
    """The error has the index and the number of windows."""
    with pytest.raises(IndexError, match=rf"no window {index}: there are 11\."):
        recorded[index]


def test_an_index_that_is_no_whole_number_is_a_type_error(recorded: Windows) -> None:
    """1.0 is not an index, as in a list."""
    with pytest.raises(TypeError):
        recorded[1.0]  # type: ignore[call-overload]


def test_windows_are_iterated_in_order(recorded: Windows) -> None:
    """A `for` over windows, without a loader, yields each of them, and so does a second one."""
    for _ in range(2):
        examples = list(recorded)
        assert [example.index for example in examples] == list(range(11))
        assert [example.file_id for example in examples] == ["a.wav"] * 4 + ["b.flac"] + [
            "c.wav"
        ] * 6


@pytest.mark.parametrize("view", [
    lambda windows: windows,
    lambda windows: windows[2:9],
    lambda windows: windows[1::3],
    lambda windows: windows.shuffle(seed=3),
    lambda windows: windows[1::2].shuffle(seed=3),
    lambda windows: windows[1:].shuffle(seed=3, by="file"),
])  # fmt: skip
def test_a_window_is_the_same_by_index_and_from_the_loader(
    recorded: Windows, view: Callable[[Windows], Windows]
) -> None:
    """Window i equals, bit for bit, the i-th that a loader delivers in its first epoch."""
    windows = view(recorded)

    delivered = list(windows.loader(workers=2))

    assert len(delivered) == len(windows)
    for i, example in enumerate(delivered):
        _assert_same(windows[i], example)


# Views


@given(data=st.data())
@settings(deadline=None)
def test_a_slice_is_the_slice_of_a_list(data: st.DataObject) -> None:
    """Slices, and slices of slices, have the windows that those of a list would have."""
    windows = _ten()
    expected = _places(windows)
    bound = st.none() | st.integers(-12, 12)
    for _ in range(data.draw(st.integers(1, 3))):
        piece = slice(data.draw(bound), data.draw(bound), data.draw(st.none() | st.integers(1, 4)))
        windows, expected = windows[piece], expected[piece]

        assert len(windows) == len(expected)
        assert _places(windows) == expected


def test_an_index_counts_within_the_slice(recorded: Windows) -> None:
    """A window's index is its place in the `Windows` that it is from, whatever the order."""
    piece = recorded[3:9:2]
    assert [example.index for example in piece] == [0, 1, 2]
    assert [example.index for example in piece.shuffle(1)] == _order(piece.shuffle(1))
    np.testing.assert_array_equal(piece[1].audio, recorded[5].audio)


def test_slicing_leaves_the_windows_as_they_were() -> None:
    """Windows are immutable: a view is another object."""
    windows = _ten()
    fingerprint = windows.fingerprint

    windows[3:9].shuffle(5)

    assert len(windows) == 10
    assert windows.fingerprint == fingerprint
    assert windows.order.nbytes == 0


def test_views_are_built_in_one_direction() -> None:
    """An ambiguous sequence of views is an error that says which sequence works."""
    windows = _ten()
    with pytest.raises(
        InvalidWindowsError,
        match="needs a positive step, not -1: for another order, use take or shuffle",
    ):
        windows[::-1]
    with pytest.raises(InvalidWindowsError, match="cannot be sliced: choose windows first"):
        windows.shuffle()[2:4]
    with pytest.raises(InvalidWindowsError, match="cannot be shuffled again: choose windows first"):
        windows.shuffle(seed=1).shuffle(seed=1)


def test_an_empty_slice_has_no_windows_and_no_loader() -> None:
    """A slice may be empty, as that of a list, but it cannot be loaded."""
    nothing = _ten()[7:3]

    assert len(nothing) == 0
    assert list(nothing) == []
    assert nothing.table().num_rows == 0
    assert nothing.coverage == Coverage(0, 0, 0, 0.0, 0.0, 0.0, 0.0)
    assert _order(nothing.shuffle(by="file")) == []
    with pytest.raises(InvalidWindowsError, match="no windows to load"):
        nothing.loader()


# Order


def test_shuffled_windows_are_the_same_windows() -> None:
    """Every epoch has each window once, in its own reproducible order."""
    windows = _ten().shuffle(seed=4)
    epochs = [_order(windows, epoch) for epoch in range(4)]

    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert epochs == [_order(_ten().shuffle(seed=4, by="window"), epoch) for epoch in range(4)]
    assert epochs != [_order(_ten().shuffle(seed=5), epoch) for epoch in range(4)]


def test_shuffled_files_keep_their_windows_together() -> None:
    """by="file" keeps each file's windows in order, also in a slice."""
    whole = _order(_ten().shuffle(seed=1, by="file"))
    piece = _order(_ten()[2:9:2].shuffle(seed=1, by="file"))  # 2 | 4 | 6 | 8: of files 0, 1, 2, 3

    runs = [[0, 1, 2, 3], [4], [5, 6, 7], [8, 9]]
    starts = [run[0] for run in runs]
    assert sorted(whole) == list(range(10))
    assert [item for item in whole if item in starts] != starts
    for run in runs:
        begin = whole.index(run[0])
        assert whole[begin : begin + len(run)] == run
    assert sorted(piece) == [0, 1, 2, 3]


@given(data=st.data(), frames=st.lists(st.integers(1, 600), min_size=1, max_size=8))
@settings(deadline=None)
def test_any_choice_of_windows_is_shuffled_by_file(data: st.DataObject, frames: list[int]) -> None:
    """In any slice, the windows of a file come together and in order."""
    bound = st.none() | st.integers(-12, 12)
    piece = slice(data.draw(bound), data.draw(bound), data.draw(st.integers(1, 4)))
    windows = fake_catalog(frames).windows(1_000, 0.1)[piece]
    places = _places(windows)

    order = _order(windows.shuffle(data.draw(st.integers(0, 9)), by="file"))

    assert sorted(order) == list(range(len(windows)))
    files = list(dict.fromkeys(places[item][0] for item in order))
    assert [places[item] for item in order] == sorted(
        places, key=lambda place: (files.index(place[0]), place[1])
    )


def test_recordings_without_windows_do_not_change_the_order() -> None:
    """A file without windows neither shifts nor repeats the windows of others."""
    catalog = fake_catalog([30, 400, 20, 10, 300, 5])
    with pytest.warns(HeadraceWarning):
        windows = catalog.windows(1_000, 0.1, tail="drop")

    assert sorted(_order(windows.shuffle(by="file"))) == list(range(7))


@pytest.mark.parametrize("by", ["Window", "files", None, 1])
def test_an_unknown_way_to_shuffle_is_refused(by: Any) -> None:
    """The error for a misspelt `by` lists the possible values."""
    with pytest.raises(InvalidWindowsError, match='by must be "window", "file" or "block", not '):
        _ten().shuffle(by=by)


@pytest.mark.parametrize("seed", [0.5, "0", None])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    """A seed that is not an integer is an error; it is not rounded."""
    with pytest.raises(InvalidWindowsError, match="seed must be a whole number, not "):
        _ten().shuffle(seed)


def test_a_seed_may_be_a_numpy_integer() -> None:
    """NumPy's integers are the same seeds as Python's."""
    assert _ten().shuffle(np.int64(7)).fingerprint == _ten().shuffle(7).fingerprint  # type: ignore[arg-type]


# Coverage, tables and repr


def test_coverage_reports_what_is_left_out() -> None:
    """It is known for all windows and for slices of neighbours, not for slices with a step."""
    with pytest.warns(HeadraceWarning):
        windows = fake_catalog([450, 80, 300]).windows(1_000, 0.1, tail="drop")

    assert windows.coverage == Coverage(3, 7, 1, 0.83, 0.7, 0.13, 0.0)
    assert windows[2:6].coverage == Coverage(2, 4, 0, 0.75, 0.4, 0.35, 0.0)
    assert windows.shuffle().coverage == windows.coverage
    with pytest.raises(InvalidWindowsError, match="not for slices with a step"):
        _ = windows[::2].coverage


def test_the_table_has_a_row_for_each_window() -> None:
    """It has index, id, start and end in samples, unshuffled; of a slice, those of the slice."""
    windows = fake_catalog([250, 80]).windows(1_000, 0.1, 0.05)

    table = windows.table()

    assert table.schema.names == ["index", "id", "start", "end"]
    assert [str(kind) for kind in table.schema.types] == ["int64", "string", "int64", "int64"]
    assert table.to_pydict() == {
        "index": [0, 1, 2, 3, 4],
        "id": ["r0", "r0", "r0", "r0", "r1"],
        "start": [0, 50, 100, 150, 0],
        "end": [100, 150, 200, 250, 100],
    }
    assert windows.shuffle(1).table().equals(table)
    assert windows[1::2].table().to_pydict() == {
        "index": [0, 1],
        "id": ["r0", "r0"],
        "start": [50, 150],
        "end": [150, 250],
    }


def test_windows_say_what_they_are() -> None:
    """The repr has the numbers that describe the windows."""
    windows = (
        fake_catalog([400_000] * 3, 44_100).windows(window_s=2.5, channel=0).shuffle(by="file")
    )

    assert repr(windows) == (
        "<Windows: 12 of 2.5 s every 2.5 s (tail='pad') at 16000 Hz from 3 recordings, "
        "channel=0, shuffled by file>"
    )


# Pickling


@pytest.mark.parametrize(
    "view",
    [lambda w: w, lambda w: w[2:9:2], lambda w: w.shuffle(5), lambda w: w.shuffle(5, by="file")],
)
def test_pickled_windows_are_the_same_windows(
    recorded: Windows, view: Callable[[Windows], Windows]
) -> None:
    """Unpickled windows are the same windows, in the same order, with the same audio."""
    windows = view(recorded)

    again = pickle.loads(pickle.dumps(windows))

    assert again.fingerprint == windows.fingerprint
    assert again.spec == windows.spec
    assert _places(again) == _places(windows)
    assert _order(again, 3) == _order(windows, 3)
    _assert_same(again[1], windows[1])


@pytest.mark.parametrize("by", ["window", "file", "block"])
def test_the_order_of_an_epoch_is_made_once_for_all_indices(
    recorded: Windows, monkeypatch: pytest.MonkeyPatch, by: Any
) -> None:
    """Indexing builds an epoch's tables once, and they are not pickled."""
    windows = recorded.shuffle(5, by=by, block=2 if by == "block" else None)
    made: list[int] = []
    kind = type(windows.order)
    epoch = kind.epoch

    def counting(self: Any, number: int) -> Any:
        made.append(number)
        return epoch(self, number)

    monkeypatch.setattr(kind, "epoch", counting)
    before = len(pickle.dumps(windows))
    examples = [windows[i] for i in range(len(windows))]
    assert made == [0]

    assert len(pickle.dumps(windows)) == before
    for again in (pickle.loads(pickle.dumps(windows)), copy.copy(windows)):
        for i in (0, 3):
            _assert_same(again[i], examples[i])
    assert made == [0, 0, 0]


def test_pickles_of_windows_are_small_and_open_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million windows are pickled in a few kilobytes, without opening a file."""
    monkeypatch.setattr(_libsndfile, "read_header", _refuse)
    windows = fake_catalog([1_000_000_000]).windows(1_000, 1.0).shuffle()
    list(windows.order.epoch(0)(np.arange(3, dtype=np.int64)))

    pickled = pickle.dumps(windows)

    assert len(windows) == 1_000_000
    assert len(pickled) < 10_000
    assert len(pickle.loads(pickled)) == 1_000_000


def _refuse(path: str) -> None:
    raise AssertionError(f"{path} was opened")


def test_the_fingerprint_is_of_what_decides_the_order() -> None:
    """Recordings, cut, choice, seed and kind of shuffle each change it."""
    frames = [400, 80, 300, 200]
    catalog = fake_catalog(frames)
    windows = catalog.windows(1_000, 0.1)

    others = [
        windows,
        windows[1:],
        windows[:9],
        windows[::2],
        windows.shuffle(0),
        windows.shuffle(1),
        windows.shuffle(0, by="file"),
        windows[1:].shuffle(0),
        catalog.windows(1_000, 0.1, 0.05),
        catalog.windows(1_000, 0.2),
        catalog.windows(2_000, 0.1),
        catalog.windows(1_000, 0.1, tail="shift"),
        catalog.windows(1_000, 0.1, min_tail_s=0.01),
        catalog.windows(1_000, 0.1, channel=0),
        catalog[:3].windows(1_000, 0.1),
        fake_catalog([400, 80, 300, 201]).windows(1_000, 0.1),
        fake_catalog(frames, [1_000, 1_000, 1_000, 1_001]).windows(1_000, 0.1),
        catalog.filter([True, False, True, True]).windows(1_000, 0.1),
    ]

    assert len({one.fingerprint for one in others}) == len(others)


def test_the_fingerprint_survives_moving() -> None:
    """Root, modification times, sizes and the user's columns do not change it."""
    here = fake_catalog([400, 80], root="/here", mtime_ns=[1, 2], size=[10, 20])
    there = fake_catalog(
        [400, 80], root="/mnt/there", mtime_ns=[3, 4], size=[11, 21], site=["A", "B"]
    )

    assert here[0].path != there[0].path
    assert here.windows(1_000, 0.1).fingerprint == there.windows(1_000, 0.1).fingerprint


def test_the_same_choice_has_the_same_fingerprint_however_it_was_made() -> None:
    """A slice of a slice has the fingerprint of the one slice with the same windows."""
    windows = _ten()

    assert windows[:].fingerprint == windows.fingerprint
    assert windows[2:][1:4].fingerprint == windows[3:6].fingerprint
    assert windows[:9][::2].fingerprint == windows[::2].fingerprint


# Cutting


def test_every_channel_comes_out_as_asked(tmp_path: Path) -> None:
    """The mix is the mean, an index is one channel, and "all" has a row for each channel."""
    catalog = three_recordings(tmp_path).filter([False, False, True])

    mix, first, second, both = (
        catalog.windows(None, 0.5, channel=channel)[0].audio for channel in CHANNELS
    )

    assert both.shape == (2, 4_000)
    np.testing.assert_array_equal(both, np.stack([first, second]))
    np.testing.assert_allclose(mix, both.mean(axis=0), rtol=0, atol=1e-7)
    assert np.abs(first - second).max() > 0.1


def test_a_channel_that_is_not_everywhere_is_refused() -> None:
    """The error names a file that lacks the channel."""
    catalog = fake_catalog([400, 400, 400], channels=[2, 1, 4])

    with pytest.raises(
        InvalidWindowsError, match=r"channel=1 is not in every recording: r1 has 1 "
    ):
        catalog.windows(1_000, 0.1, channel=1)
    with pytest.raises(InvalidWindowsError, match=r'"all" needs .* r1 has 1 and r2 has 4: .*"mix"'):
        catalog.windows(1_000, 0.1, channel="all")
    assert catalog.windows(1_000, 0.1, channel=0).shape == (100,)
    assert catalog[2:].windows(1_000, 0.1, channel="all").shape == (4, 100)


def test_the_recordings_own_rate_is_kept_where_there_is_one() -> None:
    """sample_rate=None takes the rate of all recordings, and is an error if there are several."""
    assert fake_catalog([400, 300], 22_050).windows(None, 0.01).spec.sample_rate == 22_050
    with pytest.raises(
        InvalidWindowsError, match=r"they have 2: 8000 Hz, 22050 Hz\. Give one sample_rat"
    ):
        fake_catalog([400, 300, 200], [22_050, 8_000, 8_000]).windows(None, 0.01)


def test_an_empty_catalog_cannot_be_cut() -> None:
    """Cutting an empty catalog is an error that says so, whatever the arguments are."""
    empty = fake_catalog([400])[1:]
    for arguments in ({}, {"sample_rate": None}, {"channel": "all"}, {"channel": 0}):
        with pytest.raises(InvalidWindowsError, match="no recordings to cut"):
            empty.windows(**arguments)


def test_a_window_longer_than_every_recording_is_refused() -> None:
    """If there is no window at all, the error says how long the longest recording is."""
    catalog = fake_catalog([3_000, 4_500], 1_000)

    with pytest.raises(
        InvalidWindowsError, match=r"none of 2 .* window of 5 s \(.* 4\.500 s\): .*pad"
    ):
        catalog.windows(1_000, 5, tail="drop")


def test_recordings_without_windows_are_warned_about_once() -> None:
    """There is one warning, at the caller's line, that says how many, which and what to do."""
    catalog = fake_catalog([500, 30, 400, 99], 1_000)

    with pytest.warns(HeadraceWarning) as seen:
        windows = catalog.windows(1_000, 0.1, tail="drop")

    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert str(seen[0].message) == (
        "2 of 4 recordings have no window, because they are shorter than 0.1 s: the first is r1 "
        "with 0.030 s. "
        'Give tail="pad" to keep them.'
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        windows[2:].shuffle().loader(workers=0).close()
        assert windows.coverage.without_windows == 2


def test_recordings_with_too_little_audio_are_told_the_argument() -> None:
    """With every tail that adds a window, it is min_audio_s that leaves short recordings out."""
    catalog = fake_catalog([500, 30, 400, 60], 1_000)

    tails: tuple[Tail, ...] = ("pad", "shift")
    for tail in tails:
        with pytest.warns(HeadraceWarning) as seen:
            windows = catalog.windows(1_000, 0.1, tail=tail, min_audio_s=0.05)
        assert str(seen[0].message) == (
            "1 of 4 recordings has no window, because it is shorter than min_audio_s=0.05: the "
            "first is r1 with 0.030 s. Give a smaller one to keep them."
        )
        assert windows.coverage.without_windows == 1
        with pytest.raises(
            InvalidWindowsError, match=r"is shorter than min_audio_s=0\.05 .*give le"
        ):
            catalog[1:2].windows(1_000, 0.1, tail=tail, min_audio_s=0.05)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sample_rate": 0}, "sample_rate must be a positive whole number of Hz, not 0"),
        ({"sample_rate": -1}, "sample_rate must be a finite number from 0 up, not -1"),
        ({"sample_rate": 16_000.5}, "sample_rate must be a positive whole number of Hz, not 16000"),
        ({"sample_rate": "16000"}, "sample_rate must be a finite number from 0 up, not '16000'"),
        ({"sample_rate": nan}, "sample_rate must be a finite number from 0 up, not nan"),
        ({"window_s": 0}, "window_s=0.0 is less than one sample at 1000 Hz: give more seconds"),
        ({"window_s": 0.0004}, "window_s=0.0004 is less than one sample at 1000 Hz"),
        ({"window_s": -5}, "window_s must be a finite number from 0 up, not -5"),
        ({"window_s": nan}, "window_s must be a finite number from 0 up, not nan"),
        ({"window_s": inf}, "window_s must be a finite number from 0 up, not inf"),
        ({"window_s": "5"}, "window_s must be a finite number from 0 up, not '5'"),
        ({"window_s": None}, "window_s must be a finite number from 0 up, not None"),
        ({"hop_s": 0}, "hop_s=0.0 is less than one sample at 1000 Hz: give more seconds"),
        ({"hop_s": -0.1}, "hop_s must be a finite number from 0 up, not -0.1"),
        ({"hop_s": nan}, "hop_s must be a finite number from 0 up, not nan"),
        ({"min_tail_s": -1}, "min_tail_s must be a finite number from 0 up, not -1"),
        ({"min_tail_s": nan}, "min_tail_s must be a finite number from 0 up, not nan"),
        ({"tail": "padd"}, 'tail must be "pad", "shift" or "drop", not \'padd\''),
        ({"tail": None}, 'tail must be "pad", "shift" or "drop", not None'),
        ({"channel": "left"}, 'channel must be "mix", "all" or a channel\'s index .* not \'left\''),
        ({"channel": -1}, 'channel must be "mix", "all" or a channel\'s index from 0, not -1'),
        ({"channel": True}, 'channel must be "mix", "all" or a channel\'s index from 0, not True'),
        ({"channel": 0.0}, 'channel must be "mix", "all" or a channel\'s index from 0, not 0.0'),
        ({"channel": None}, 'channel must be "mix", "all" or a channel\'s index from 0, not None'),
    ],
)
def test_a_bad_argument_is_one_sentence(arguments: dict[str, Any], sentence: str) -> None:
    """Every bad argument raises an InvalidWindowsError, a ValueError, that names it."""
    given_arguments = {"sample_rate": 1_000, "window_s": 0.1} | arguments
    catalog = fake_catalog([400])

    with pytest.raises(InvalidWindowsError, match=sentence) as caught:
        catalog.windows(**given_arguments)

    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [8_000.0, np.int64(8_000), np.int32(8_000), np.float32(8_000)])
def test_a_whole_sample_rate_may_be_of_any_type(rate: Any) -> None:
    """A rate from a table or a division makes the same windows as a literal."""
    windows = fake_catalog([400_000]).windows(rate, np.float32(0.5))  # type: ignore[arg-type]

    assert windows.fingerprint == fake_catalog([400_000]).windows(8_000, 0.5).fingerprint
    assert type(windows.spec.sample_rate) is int


def test_whole_numbers_may_be_numpy_integers(tmp_path: Path) -> None:
    """Windows and loaders accept any integer type, but not True."""
    write(tmp_path / "a.wav", medley(16_000, 2), 16_000, "WAV", "PCM_16")
    whole: Any = np.int64
    windows = scan(tmp_path).windows(whole(16_000), 0.25, channel=whole(1))

    loader = windows.loader(batch_size=whole(2), workers=whole(1), prefetch=whole(3))

    assert [len(batch) for batch in loader.steps(whole(2))] == [2, 2]
    with pytest.raises(ValueError, match="batch_size must be a whole number from 1"):
        windows.loader(batch_size=True)


def test_cutting_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of missing files can be made, sliced, shuffled, described and located."""
    monkeypatch.setattr(_libsndfile, "read_header", _refuse)

    catalog = fake_catalog([500, 400], [44_100, 8_000], kinds=[("WAV", "FLOAT"), ("OGG", "VORBIS")])
    windows = catalog.windows(16_000, 0.01)[2:].shuffle(by="file")

    assert len(windows) > 0
    assert windows.coverage.windows == windows.table().num_rows == len(_order(windows))
