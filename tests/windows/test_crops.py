import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import headrace
from headrace.annotations import Annotations
from headrace.errors import CatalogError, HeadraceWarning, InvalidWindowsError
from headrace.windows._permutation import STEP, draw_below, scramble
from tests.support.catalogs import fake_catalog, three_recordings
from tests.support.order_statistics import all_integers, chi_square_bound
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS: dict[str, Any] = {"batch_size": 7}


def _starts(windows: headrace.Windows, epoch: int) -> Any:
    """Return the first samples of an epoch, in its order."""
    positions = all_integers(windows.positions)
    return windows.rows_at(positions, epoch, windows.order.epoch(epoch)).start


def _ids(windows: headrace.Windows, epoch: int) -> list[str]:
    """Return the recordings of an epoch, in its order."""
    rows = windows.rows(windows.order.epoch(epoch)(all_integers(windows.positions)), epoch)
    return [windows.recordings[number].id for number in rows.recording.tolist()]


# Places


@given(
    numbers=st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=20),
    key=st.integers(0, 2**64 - 1),
)
@settings(deadline=None)
def test_a_number_below_each_n_is_its_part_of_the_hash(numbers: list[int], key: int) -> None:
    """Each number is floor(hash * n / 2^64), as Python's unbounded integers compute it."""
    counters = all_integers(len(numbers))
    hashes = scramble(counters.astype(np.uint64) * STEP, key).tolist()
    drawn = draw_below(np.array(numbers, np.int64), counters, key).tolist()

    assert drawn == [h * n >> 64 for h, n in zip(hashes, numbers, strict=True)]


@pytest.mark.parametrize("frames", [104, 150, 1_000, 86_400_000])
def test_places_are_uniform_over_the_recording(frames: int) -> None:
    """Every place that a window fits in is as frequent as every other, those at the ends too.

    Chi-square over tenths of the places, or over all if there are fewer, in 5,000 epochs; and over
    the places of 5,000 recordings in one epoch.
    """
    one = fake_catalog([frames]).crops(1_000, 0.1, seed=3)
    many = fake_catalog([frames] * 5_000).crops(1_000, 0.1, seed=3)
    places = frames - 100 + 1
    bins = min(places, 10)
    for starts in (
        np.array([_starts(one, epoch)[0] for epoch in range(5_000)]),
        _starts(many, 8),
    ):
        assert starts.min() >= 0
        assert starts.max() <= frames - 100
        counts = np.bincount(starts * bins // places, minlength=bins)
        # Of few places, a bin may have one more than another.
        sizes = np.diff(-(-np.arange(bins + 1) * places // bins))
        expected = sizes / places * 5_000
        assert np.sum((counts - expected) ** 2 / expected) < chi_square_bound(bins - 1)


def test_places_are_independent() -> None:
    """Epochs, neighbouring recordings and seeds have independent places."""
    crops = fake_catalog([1_099] * 20_000).crops(1_000, 0.1, seed=0)
    other = fake_catalog([1_099] * 20_000).crops(1_000, 0.1, seed=1)
    first = _starts(crops, 0) // 100
    pairs = (
        (first[:-1], first[1:]),
        (first, _starts(crops, 1) // 100),
        (first, _starts(other, 0) // 100),
    )
    for a, b in pairs:
        counts = np.bincount(10 * a + b, minlength=100)
        assert np.sum((counts - len(a) / 100) ** 2 / (len(a) / 100)) < chi_square_bound(99)


def test_places_never_change() -> None:
    """A saved position means the same crop in every version: these values never change."""
    catalog = fake_catalog([500, 90, 2_000], site=["a", "b", "b"])

    plain = catalog.crops(1_000, 0.1, 2, seed=4)
    balanced = catalog.crops(1_000, 0.1, 2, "site", seed=4)

    assert _starts(plain, 2).tolist() == [267, 118, 0, 0, 743, 502]
    assert _starts(balanced, 2).tolist() == [267, 118, 1544, 0, 0, 106]
    assert _ids(balanced, 2) == ["r0", "r0", "r2", "r1", "r1", "r0"]


def test_a_crop_is_a_slice_of_its_recording(tmp_path: Path) -> None:
    """Audio is that of the file at the crop's offset, and zeros after the end of a short one."""
    catalog = three_recordings(tmp_path)  # 22,050, 16,000 and 8,000 Hz; 1.0, 0.2 and 1.31 s
    for crops in (catalog[:1].crops(None, 0.3, 3), catalog[1:2].crops(None, 0.3, 2)):
        loader = crops.loader(workers=2)
        seen = set()
        for _ in range(3):
            for one in loader:
                samples, rate = soundfile.read(one.path, dtype="float32")
                start = round(one.offset * rate)
                piece = samples[start : start + len(one.audio)]
                assert one.valid_samples == len(piece)
                np.testing.assert_array_equal(one.audio[: len(piece)], piece)
                assert not one.audio[len(piece) :].any()
                seen.add(start)
        assert len(seen) == (9 if crops.recordings[0].id == "a.wav" else 1)


def test_short_recordings_are_whole() -> None:
    """A recording that is not longer than a window always starts with it."""
    crops = fake_catalog([1, 99, 100, 101]).crops(1_000, 0.1, seed=1)
    starts = np.array([_starts(crops, epoch) for epoch in range(50)])

    assert not starts[:, :3].any()
    assert set(starts[:, 3].tolist()) == {0, 1}
    assert crops.rows(all_integers(4)).valid.tolist() == [1, 99, 100, 100]


def test_any_workers_load_the_same_crops(tmp_path: Path) -> None:
    """0, 1 and 8 workers deliver the same audio in the same order, in three epochs."""
    catalog = three_recordings(tmp_path).with_columns(site=["x", "y", "y"])
    for crops in (catalog.crops(8_000, 0.25, 4).shuffle(2), catalog.crops(8_000, 0.25, 4, "site")):
        delivered = []
        for workers in (0, 1, 8):
            loader = crops.loader(workers=workers, **WORKERS)
            batches = [batch for _ in range(3) for batch in loader]
            audio = np.concatenate([batch.audio for batch in batches]).tobytes()
            delivered.append((audio, [batch.offset.tolist() for batch in batches]))
        assert delivered[0] == delivered[1] == delivered[2]


def test_indexing_is_the_first_epoch(tmp_path: Path) -> None:
    """crops[i] is what the loader delivers first, in every order; table() has the places."""
    catalog = three_recordings(tmp_path).with_columns(site=["x", "y", "y"])
    plain = catalog.crops(8_000, 0.25, 3)
    for crops in (
        plain,
        plain.shuffle(1),
        plain.sample(n=20),
        catalog.crops(8_000, 0.25, 3, "site"),
    ):
        singles = [crops[position] for position in range(len(crops))]
        for one, other in zip(singles, crops.loader(workers=0), strict=True):
            assert (one.index, one.offset, one.file_id) == (
                other.index,
                other.offset,
                other.file_id,
            )
            np.testing.assert_array_equal(one.audio, other.audio)
    assert plain.table()["start"].to_pylist() == _starts(plain, 0).tolist()


# Orders, sets, shards


def test_a_recording_that_is_drawn_twice_has_two_crops() -> None:
    """Draws by weight and mixtures give each draw a place of its own, new in every epoch."""
    catalog = fake_catalog([10**9, 10**9])
    crops = catalog.crops(1_000, 0.1)
    for drawn in (
        crops.sample([1, 0], n=50),
        crops.sample(n=50),
        headrace.mix([crops, fake_catalog([10**9] * 3).crops(1_000, 0.1)], n=50),
        fake_catalog([10**9] * 50, site=["a"] * 49 + ["b"]).crops(1_000, 0.1, 1, "site"),
        catalog.crops(1_000, 0.1, 25, weights=[1, 3]),
    ):
        starts = [start for epoch in range(3) for start in _starts(drawn, epoch).tolist()]
        assert len(set(starts)) == 150


def test_chosen_crops_are_the_same_crops() -> None:
    """A slice, a filter, take, concat and a shard keep the place of each window."""
    crops = fake_catalog([10**6] * 20).crops(1_000, 0.1, 2, seed=5)
    starts = _starts(crops, 3)
    order = crops.shuffle(1).order.epoch(3)(all_integers(40))

    assert _starts(crops[5:30:3], 3).tolist() == starts[5:30:3].tolist()
    assert _starts(crops.take([7, 1, 7]), 3).tolist() == starts[[7, 1, 7]].tolist()
    assert _starts(crops.filter(np.arange(40) % 2 == 1), 3).tolist() == starts[1::2].tolist()
    assert _starts(headrace.concat([crops, crops[:9]]), 3).tolist() == [*starts, *starts[:9]]
    assert _starts(crops.shuffle(1), 3).tolist() == starts[order].tolist()
    parts = [crops.shard(rank, 2, by="recording") for rank in range(2)]
    assert sorted(start for part in parts for start in _starts(part, 3)) == sorted(starts)


def test_the_state_of_crops_is_small() -> None:
    """A state is under a kilobyte, of 20,000 recordings and 300 classes, and names the seed."""
    sites = [str(i % 300) for i in range(20_000)]
    crops = fake_catalog([1_000] * 20_000, site=sites).crops(1_000, 0.1, 1, "site")

    assert len(str(crops.loader(workers=0).state_dict())) < 1_000
    other = fake_catalog([1_000] * 20_000, site=sites).crops(1_000, 0.1, 1, "site", seed=1)
    assert other.fingerprint != crops.fingerprint


def _calls(make: Any) -> int:
    """Return how many functions are called, of Python and of C."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        make()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("weights", [None, "site"])
def test_more_recordings_call_no_more_functions(weights: str | None) -> None:
    """Making crops of 20,000 recordings, and the first rows, is as many calls as of 5,000.

    So nothing is done for each recording in Python.
    """

    def make(recordings: int) -> Any:
        catalog = fake_catalog([1_000] * recordings, site=["a", "b"] * (recordings // 2))

        def begin() -> None:
            crops = catalog.crops(1_000, 0.1, 1, weights)
            next(crops.loader(workers=0, batch_size=64)._plan.work_items(0))

        return begin

    make(2_000)()  # imports, and caches that stay
    few, many = (_calls(make(recordings)) for recordings in (5_000, 20_000))

    assert many <= few + 100  # a permutation of more than 4,096 has rounds in place of a table


# Weights


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    per_recording=st.integers(1, 3),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=40)
def test_all_values_of_a_column_are_equally_frequent(
    sizes: list[int], per_recording: int, seed: int
) -> None:
    """In every epoch each value has as many windows, to one, and its recordings come in turn.

    No recording of a value comes again before all others of it have, also across epochs.
    """
    sites = [f"S{i}" for i, size in enumerate(sizes) for _ in range(size)]
    catalog = fake_catalog([500] * len(sites), site=sites)
    crops = catalog.crops(1_000, 0.1, per_recording, "site", seed=seed)
    site_of = dict(zip(catalog.ids.to_pylist(), sites, strict=True))
    total: Counter[str] = Counter()

    for epoch in range(3):
        ids = _ids(crops, epoch)
        total.update(ids)
        windows = Counter(site_of[one] for one in ids)
        assert len(ids) == len(crops) == per_recording * len(sites)
        assert max(windows.values()) - min(windows[site] for site in set(sites)) <= 1
    for site in set(sites):
        turns = [total[one] for one in site_of if site_of[one] == site]
        assert max(turns) - min(turns) <= per_recording


@pytest.mark.parametrize(
    "values",
    [
        [1, 1, 1, 2],
        [True, True, True, False],
        pa.array(["a", "a", "a", "b"]).dictionary_encode(),
        pa.array([10, 10, 10, 20], pa.timestamp("s")),
    ],
)
def test_a_column_of_any_type_is_balanced(values: Any) -> None:
    """Numbers that name a column's values are classes, never weights."""
    crops = fake_catalog([500] * 4, c=values).crops(1_000, 0.1, 10, "c")
    counts = Counter(_ids(crops, 0))

    assert len(crops) == 40
    assert counts["r3"] == 20


def test_crops_are_drawn_by_weight() -> None:
    """With a weight for each recording, frequencies are as the weights; 0 is never drawn."""
    weights = np.array([0, 1, 2, 5])
    crops = fake_catalog([500] * 4).crops(1_000, 0.1, 5_000, weights)
    counts = Counter(_ids(crops, 1))
    expected = weights[1:] / 8 * 20_000

    assert counts["r0"] == 0
    observed = np.array([counts[f"r{i}"] for i in (1, 2, 3)])
    assert np.sum((observed - expected) ** 2 / expected) < chi_square_bound(2)


def test_recordings_with_too_little_audio_are_left_out() -> None:
    """min_audio_s leaves out short recordings, warns of them, and balances what is left."""
    catalog = fake_catalog([500, 49, 50, 2_000, 10], site=["a", "b", "b", "b", "c"])
    sentence = (
        r"2 of 5 recordings have no window, .* shorter than min_audio_s=0.05: the first is r1"
    )
    with pytest.warns(HeadraceWarning, match=sentence):
        crops = catalog.crops(1_000, 0.1, 3, min_audio_s=0.05)
    with pytest.warns(HeadraceWarning, match=sentence):
        balanced = catalog.crops(1_000, 0.1, 2, "site", min_audio_s=0.05)
    with pytest.warns(HeadraceWarning, match=sentence):
        weighted = catalog.crops(1_000, 0.1, 2, [0, 1, 0, 1, 1], min_audio_s=0.05)

    assert _ids(crops, 0) == ["r0"] * 3 + ["r2"] * 3 + ["r3"] * 3
    assert Counter(_ids(balanced, 0))["r0"] == 3
    assert set(_ids(weighted, 0)) == {"r3"}
    assert crops.fingerprint != catalog[:4].crops(1_000, 0.1, 3).fingerprint
    with pytest.raises(InvalidWindowsError, match="the recording is shorter than min_audio_s"):
        catalog[1:2].crops(1_000, 0.1, min_audio_s=0.05)


def test_labels_are_those_of_the_place(tmp_path: Path) -> None:
    """In every epoch, a crop has a label if and only if the event is in it."""
    write(tmp_path / "a.wav", noise(8_000), 8_000, "WAV", "PCM_16")
    table = pa.table({"file": ["a.wav"], "start_s": [0.4], "end_s": [0.5], "label": ["wren"]})
    catalog = headrace.scan(tmp_path)
    annotations = Annotations.from_table(table).match(catalog)
    loader = catalog.crops(8_000, 0.25, 8).label(annotations).loader(batch_size=8, workers=1)
    seen = []
    for _ in range(4):
        for batch in loader:
            assert batch.labels is not None
            inside = (batch.offset < 0.5) & (batch.offset + 0.25 > 0.4)
            assert batch.labels[:, 0].tolist() == inside.tolist()
            seen += inside.tolist()

    assert set(seen) == {True, False}


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"per_recording": 0}, InvalidWindowsError, "per_recording must be a whole number from 1"),
        ({"seed": 1.5}, InvalidWindowsError, "seed must be a whole number"),
        ({"weights": "sites"}, CatalogError, "There is no column 'sites': there are id, "),
        ({"weights": "gap"}, CatalogError, "The column 'gap' has no value for r1: fill it"),
        (
            {"weights": "gain"},
            CatalogError,
            r"'gain' holds decimal numbers, .* give weights=catalog.column\('gain'\)",
        ),
        ({"weights": [1, 2]}, InvalidWindowsError, r"weights of shape \(2,\) for 3 recordings"),
        ({"weights": [0, 0, 0]}, InvalidWindowsError, "weights of all 3 recordings are zero"),
        ({"min_audio_s": 0.2}, InvalidWindowsError, "min_audio_s=0.2 is more than window_s=0.1"),
        ({"min_audio_s": -1}, InvalidWindowsError, "min_audio_s must be a finite number from 0"),
    ],
)
def test_what_cannot_be_cropped_is_one_sentence(
    arguments: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    """The error is one sentence that says what is wrong and what to do."""
    catalog = fake_catalog([500] * 3, gap=["x", None, "y"], gain=[0.5, 1.0, 2.0])
    with pytest.raises(error, match=sentence):
        catalog.crops(1_000, 0.1, **arguments)


def test_crops_that_have_their_order_get_no_other() -> None:
    """Crops with weights cannot be shuffled, sampled or sharded by recording; the error says so."""
    crops = fake_catalog([500] * 4, site=list("aabb")).crops(1_000, 0.1, 1, "site")

    with pytest.raises(InvalidWindowsError, match="balanced windows cannot be shuffled"):
        crops.shuffle()
    with pytest.raises(
        InvalidWindowsError, match="balanced windows cannot be sharded by recording"
    ):
        crops.shard(0, 2, by="recording")
    assert len(crops.shard(1, 2)) == 2
    with pytest.raises(InvalidWindowsError, match="coverage is only known"):
        _ = crops.coverage
    assert "4 of 0.1 s cropped at random at 1000 Hz" in repr(crops)
    assert "balanced over 2 values" in repr(crops)


# Rates


def test_ultrasound_that_is_thrown_away_is_reported() -> None:
    """A rate that keeps less than a quarter of ultrasound is a warning with both numbers."""
    bats = fake_catalog([256_000, 48_000], [256_000, 48_000])
    calls: list[Callable[[], object]] = [
        lambda: bats.windows(16_000, 1.0),
        lambda: bats.crops(16_000, 1.0),
        lambda: bats.windows_at({"id": ["r0"], "at_s": [0.5]}, 16_000, 1.0),
    ]
    for call in calls:
        with pytest.warns(
            HeadraceWarning, match="up to 8000 Hz, and 1 of 2 recordings have up to 128000 Hz"
        ) as caught:
            call()
        assert caught[0].filename == __file__
    bats.windows(64_000, 1.0)
    bats[1:].windows(8_000, 1.0)
