import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.errors import InvalidWindowsError
from tests.support.catalogs import fake_catalog, three_recordings
from tests.support.sounds import noise, write


def _two(folder: Path) -> tuple[headrace.Catalog, headrace.Catalog]:
    """Return catalogs of two folders that both have an ``a.wav``."""
    first = three_recordings(folder / "one")
    (folder / "two").mkdir()
    write(folder / "two" / "a.wav", noise(12_000, seed=9), 8_000, "WAV", "PCM_16")
    write(folder / "two" / "z.flac", noise(9_000, seed=8), 44_100, "FLAC", "PCM_16")
    return first, headrace.scan(folder / "two")


def _places(windows: headrace.Windows) -> list[tuple[int, str, int]]:
    """Return source, id and start of each window of a concatenation."""
    table = windows.table()
    return list(zip(*(table[name].to_pylist() for name in ("source", "id", "start")), strict=True))


def test_windows_are_from_the_source_that_they_name(tmp_path: Path) -> None:
    """With the same id in two catalogs, audio, path and offset are those of the window's source."""
    one, two = (catalog.windows(8_000, 0.25) for catalog in _two(tmp_path))
    both = headrace.concat([one, two])
    sources = [one, two]
    begins = [0, len(one)]

    for windows in (both, both.shuffle(1), headrace.mix([one, two], weights=[1, 3], n=40, seed=2)):
        seen = []
        for batch in windows.loader(batch_size=5, workers=2):
            for row, source in enumerate(batch.source.tolist()):
                index = int(batch.index[row])
                own = sources[source][index - begins[source]]
                assert batch.path[row] == own.path
                assert (batch.file_id[row], batch.offset[row]) == (own.file_id, own.offset)
                np.testing.assert_array_equal(batch.audio[row], own.audio)
                seen.append(index)
        singles = [(e.index, e.source) for e in windows.loader(workers=0)]
        assert [index for index, _ in singles] == seen
        assert [source for _, source in singles] == [int(i >= begins[1]) for i in seen]
        np.testing.assert_array_equal(windows[3].audio, both[seen[3]].audio)


def test_a_set_of_its_own_is_source_zero(tmp_path: Path) -> None:
    """Windows that were not concatenated have the source 0."""
    windows = three_recordings(tmp_path / "one").windows(8_000, 0.25)
    assert windows[1].source == 0
    assert {int(s) for batch in windows.loader(batch_size=4) for s in batch.source} == {0}


def test_the_outermost_source_counts() -> None:
    """A concatenation within a concatenation is one source, and slices keep their sources."""
    w = fake_catalog([400]).windows(1_000, 0.1)
    inner = headrace.concat([w, w])
    outer = headrace.concat([w, inner])[2:]

    assert inner.table()["source"].to_pylist() == [0] * 4 + [1] * 4
    assert outer.take([9, 0]).table()["source"].to_pylist() == [1, 0]
    assert outer.rows(np.arange(10)).source.tolist() == [0] * 2 + [1] * 8


def test_windows_of_several_catalogs_have_no_single_catalog() -> None:
    """The error says where the catalogs are; windows of one catalog return that one."""
    one, two = fake_catalog([400]), fake_catalog([300])
    both = headrace.concat([one.windows(1_000, 0.1), two.windows(1_000, 0.1)])

    assert headrace.concat([one.windows(1_000, 0.1)] * 2).catalog is one
    assert both.recordings.catalogs == (one, two)
    with pytest.raises(
        InvalidWindowsError, match=r"from 2 catalogs: use windows\.recordings\.catalogs"
    ):
        _ = both.catalog


def test_a_mixture_has_its_shares() -> None:
    """By weight, rounded to whole windows; by default, all windows of each source."""
    one, two = fake_catalog([400]).windows(1_000, 0.1), fake_catalog([1_200]).windows(1_000, 0.1)

    def counts(windows: headrace.Windows) -> list[int]:
        items = windows.order.epoch(0)(np.arange(windows.positions))
        source = windows.rows(items).source
        return [int(np.count_nonzero(source == one)) for one in (0, 1)]

    assert counts(headrace.mix([one, two])) == [4, 12]
    assert counts(headrace.mix([one, two], weights=[3, 1])) == [12, 4]
    assert counts(headrace.mix([one, two], weights=[3, 1], n=100)) == [75, 25]
    assert counts(headrace.mix([one, two], weights=[1, 0], n=7)) == [7, 0]


def test_a_recording_is_one_file_in_whatever_parts_it_comes() -> None:
    """Shuffled by file, a recording's windows of all parts come together, in the order of the set.

    This does not depend on what else is joined: another catalog, or windows taken in any order.
    """
    w, other = fake_catalog([400, 300]).windows(1_000, 0.1), fake_catalog([300]).windows(1_000, 0.1)
    for parts in (
        [w, w],
        [w[5:], w[:5]],
        [w, other, w[2:]],
        [w, other.take([2, 0, 1]), w[1:3]],
        [w, w[7:]],
    ):
        joined = headrace.concat(parts)
        recording = joined.rows(np.arange(len(joined))).recording
        by_file = joined.shuffle(3, by="file")
        for epoch in range(3):
            order = by_file.order.epoch(epoch)(np.arange(len(joined)))
            begins = np.flatnonzero(np.diff(recording[order], prepend=-1))
            assert len(begins) == len(set(recording.tolist()))
            assert all((np.diff(run) > 0).all() for run in np.split(order, begins[1:]))
            assert sorted(order.tolist()) == list(range(len(joined)))
            taken = joined.take(np.arange(len(joined))).shuffle(3, by="file")  # known one by one
            assert order.tolist() == taken.order.epoch(epoch)(np.arange(len(joined))).tolist()


def test_sources_that_differ_in_how_they_are_cut_share_no_least_audio() -> None:
    """The spec of both says nothing that holds for one of them only."""
    catalog = fake_catalog([250, 900])
    audible = catalog.windows(1_000, 0.1, min_audio_s=0.08)
    joined = headrace.concat([audible, catalog.windows(1_000, 0.1, min_audio_s=0.02)])

    assert joined.spec.min_audio == 0
    assert headrace.concat([audible, audible[1:]]).spec == audible.spec


def test_parts_of_one_catalog_may_share_all_their_samples(tmp_path: Path) -> None:
    """`overlap` says so, and a file that cannot seek is read correctly."""
    write(tmp_path / "a.wav", noise(9_000, seed=3), 8_000, "WAV", "GSM610")
    w, other = headrace.scan(tmp_path).windows(8_000, 0.1), fake_catalog([900]).windows(8_000, 0.1)
    assert w.overlap == headrace.concat([w[:3], other]).overlap == 0

    for parts in ([w[:3], w[2:]], [w[2:], w[:4], w[3:]], [w, w]):
        joined = headrace.concat(parts)
        expected = np.concatenate([np.stack([one.audio for one in part]) for part in parts])
        assert joined.overlap == joined.spec.size
        for workers in (0, 2):
            loader = joined.loader(workers=workers, batch_size=4)
            audio = np.concatenate([batch.audio.copy() for batch in loader])
            np.testing.assert_array_equal(audio, expected)


@pytest.mark.parametrize(
    ("weights", "n", "source", "enough"),
    [
        ([1, 1, 1000], 100, 0, 1002),
        ([500, 0, 1], 50, 2, 501),
        ([1, 2, 3], 1, 0, 6),
        ([0.1, 0.2, 0.7], 3, 0, 10),
        ([3, 1, 1e-3], 40, 2, 4001),
    ],
)
def test_a_source_without_a_window_is_refused(
    weights: list[float], n: int, source: int, enough: int
) -> None:
    """A share that rounds to 0 does so in every epoch: the error says which n is enough."""
    sources = [fake_catalog([400]).windows(1_000, 0.1)] * 3

    with pytest.raises(
        InvalidWindowsError, match=f"source {source} of the mixture would have no window"
    ) as refused:
        headrace.mix(sources, weights=weights, n=n)

    assert f"Give n={enough} or more" in str(refused.value)
    order = headrace.mix(sources, weights=weights, n=enough).order.epoch(0)
    assert set((order(np.arange(enough)) // 4).tolist()) == {i for i in range(3) if weights[i]}


def test_a_tiny_weight_is_refused() -> None:
    """However small the weight is, the error is one sentence."""
    sources = [fake_catalog([400]).windows(1_000, 0.1)] * 2
    with pytest.raises(InvalidWindowsError, match="source 1 of the mixture would have no window"):
        headrace.mix(sources, weights=[1, 5e-324])


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (
            {"sample_rate": 2_000},
            "number 0 has 100 samples at 1000 Hz.* number 1 has 200 samples at 2",
        ),
        ({"window_s": 0.2}, "number 1 has 200 samples at 1000 Hz, channel='mix': cut them alike"),
        ({"channel": 0}, "channel='mix' and number 1 has 100 samples at 1000 Hz, channel=0"),
    ],
)
@pytest.mark.parametrize("join", [headrace.concat, headrace.mix])
def test_windows_that_differ_cannot_be_joined(
    join: Any, other: dict[str, Any], sentence: str
) -> None:
    """All windows of a batch have one length, one sample rate and one kind of channel."""
    catalog = fake_catalog([400])
    cut = {"sample_rate": 1_000, "window_s": 0.1} | other
    with pytest.raises(InvalidWindowsError, match=sentence):
        join([catalog.windows(1_000, 0.1), catalog.windows(**cut)])


def test_all_channels_are_joined_where_there_are_as_many() -> None:
    """channel="all" needs the same number of channels; hops and tails may differ."""
    two, three = fake_catalog([400], channels=2), fake_catalog([400], channels=3)
    cut: dict[str, Any] = {"sample_rate": 1_000, "window_s": 0.1, "channel": "all"}

    assert headrace.concat([two.windows(**cut), two.windows(**cut, hop_s=0.05)]).shape == (2, 100)
    with pytest.raises(
        InvalidWindowsError, match=r"channel='all' of 2 and number 1 has .*'all' of 3"
    ):
        headrace.mix([two.windows(**cut), three.windows(**cut)])


@pytest.mark.parametrize("join", [headrace.concat, headrace.mix])
def test_empty_lists_and_other_objects_cannot_be_joined(join: Any) -> None:
    """An empty list and other objects are errors that name them."""
    with pytest.raises(InvalidWindowsError, match=r"the list of Windows to be .* is empty"):
        join([])
    with pytest.raises(InvalidWindowsError, match="number 0 is 'abc'"):
        join(["abc"])


@pytest.mark.parametrize("join", [headrace.concat, headrace.mix])
def test_a_single_windows_object_cannot_be_joined(join: Any) -> None:
    """Windows are themselves a sequence of examples: the error comes before any is read."""
    with pytest.raises(
        InvalidWindowsError, match=r"only a list of Windows can be .*, and this is one Windows"
    ):
        join(fake_catalog([400]).windows(1_000, 0.1))


def test_an_empty_source_cannot_be_mixed() -> None:
    """An empty source cannot be mixed, but it can be concatenated."""
    windows = fake_catalog([400]).windows(1_000, 0.1)
    with pytest.raises(InvalidWindowsError, match="source 1 of the mixture has no windows"):
        headrace.mix([windows, windows[4:]])
    assert len(headrace.concat([windows, windows[4:], windows])) == 8


def test_joined_windows_keep_their_labels(tmp_path: Path) -> None:
    """Each source keeps its labels through every choice, order and shard; added rows have none."""
    sources = []
    for catalog in _two(tmp_path):
        events = {"file": ["a.wav"] * 2, "start_s": [0.0, 0.6], "end_s": [0.1, 0.7]}
        annotations = headrace.Annotations.from_table(pa.table(events | {"label": ["A", "B"]}))
        cut = catalog.windows(8_000, 0.25)
        sources.append(cut.label(annotations, ["A", "B"], unannotated="negative"))
    both = headrace.concat(sources)
    truth = [example.labels for one in sources for example in one]
    assert {str(row) for row in truth} == {"[0. 0.]", "[1. 0.]", "[0. 1.]"}

    for windows in (
        both.take([3, 3, 0, -1]),
        both.filter([True, False] * (len(both) // 2) + [True] * (len(both) % 2)).shuffle(1),
        both.sample(both.balanced_weights(), n=30),
        headrace.mix(sources, weights=[1, 2], n=30, seed=3),
        both.shuffle(2).shard(1, 3, remainder="mask"),
        both.shuffle(2).shard(1, 2, by="recording"),
    ):
        assert windows.classes == ("A", "B")
        places = _places(windows)
        known = dict(zip(_places(both), truth, strict=True))
        for batch in windows.loader(batch_size=4, workers=1):
            for row, index in enumerate(batch.index.tolist()):
                if index < 0:
                    assert not batch.labels[row].any()
                    assert not batch.label_mask[row].any()
                    continue
                assert (batch.labels[row] == known[places[index]]).all()
                assert batch.label_mask[row].all()
        assert [example.labels.tolist() for example in windows.loader()] == [
            row.tolist() for batch in windows.loader(batch_size=3) for row in batch.labels.copy()
        ]
    assert both.label_counts() == {
        name: sum(one.label_counts()[name] for one in sources) for name in ("A", "B")
    }
    with pytest.raises(
        InvalidWindowsError, match=r"either all or none .* must be labelled, but number 1 is not"
    ):
        headrace.concat([sources[0], three_recordings(tmp_path / "one").windows(8_000, 0.25)])


@pytest.mark.parametrize("sources", [2, 16, 20_000])
def test_a_mixture_has_a_small_state_and_a_short_text(sources: int) -> None:
    """However many sources, the state is under a kilobyte of JSON and `repr` is one line."""
    catalog = fake_catalog([10_000] * 20_000)
    cut = catalog.windows(1_000, 1.0, hop_s=0.5)
    each = len(cut) // sources
    parts = [cut[first : first + each] for first in range(0, sources * each, each)]
    mixture = headrace.mix(parts, n=2**52, seed=2**62).shard(998, 999)
    loader = mixture.loader(batch_size=4, workers=0)
    state = {**loader.state_dict(), "epoch": 10**6, "position": 2**52}

    assert len(json.dumps(state)) < 1_000
    for text in (repr(mixture), repr(loader)):
        assert len(text) < 250
        assert text.isprintable()
