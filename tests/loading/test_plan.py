import re
import threading
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._validation import parse_bytes
from headrace.codecs import _libsndfile
from headrace.dsp._resampler import resampler
from headrace.errors import MemoryBudgetError
from headrace.loading._plan import Plan, chunk_outputs
from headrace.loading._work_items import WorkItem
from headrace.windows._spec import Tail
from headrace.windows._windows import Windows
from tests.support.catalogs import fake_catalog

PCM, VORBIS, MP3 = ("WAV", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")


def _plan(windows: Windows, **options: Any) -> Plan:
    defaults = {"batch_size": None, "workers": 2, "prefetch": "auto", "memory": None}
    return Plan(windows, **(defaults | {"last": "keep"} | options))


def _windows(
    frames: list[int], *, kinds: tuple[tuple[str, str], ...] = (PCM,), hop: int = 100
) -> Windows:
    """Return windows of 100 samples at 1,000 Hz."""
    return fake_catalog(frames, kinds=kinds).windows(1_000, 0.1, hop / 1_000)


@st.composite
def _any_windows(draw: st.DrawFn) -> Windows:
    """Draw windows of a few recordings, some of which cannot seek, in any order."""
    count = draw(st.integers(1, 6))
    catalog = fake_catalog(
        [draw(st.integers(1, 900)) for _ in range(count)],
        [draw(st.sampled_from([1_000, 1_500])) for _ in range(count)],
        kinds=[draw(st.sampled_from([PCM, VORBIS])) for _ in range(count)],
    )
    windows = catalog.windows(
        1_000,
        0.1,
        draw(st.sampled_from([0.03, 0.1, 0.14])),
        tail=draw(st.sampled_from(["pad", "shift"])),
    )[:: draw(st.sampled_from([1, 1, 2]))]
    seed = draw(st.integers(0, 99))
    way = draw(st.sampled_from(["in order", "window", "file", "block", "sample", "take"]))
    if way == "take":
        places = st.integers(0, len(windows) - 1)
        return windows.take(draw(st.lists(places, min_size=1, max_size=30)))
    if way == "sample":
        return windows.sample([1.0] * len(windows), draw(st.integers(1, 60)), seed)
    if way == "block":
        return windows.shuffle(seed, by="block", block=draw(st.integers(1, 5)))
    return windows if way == "in order" else windows.shuffle(seed, by=way)  # type: ignore[arg-type]


# Work items, groups, reads


@given(
    windows=_any_windows(),
    batch_size=st.none() | st.integers(1, 30),
    group_rows=st.integers(1, 12),
    epoch=st.integers(0, 3),
)
@settings(deadline=None, max_examples=200)
def test_the_reads_of_a_work_item_are_its_rows(
    windows: Windows, batch_size: int | None, group_rows: int, epoch: int
) -> None:
    """Every row is in exactly one read, with the same recording and start."""
    plan = _plan(windows, batch_size=batch_size)
    plan._group_rows = group_rows

    for item in plan.work_items(epoch):
        reads = [read for group in item.groups for read in group.reads]
        assert [row for read in reads for row in range(read.row, read.row + len(read.starts))] == (
            list(range(len(item.rows.index)))
        )
        for read in reads:
            mine = slice(read.row, read.row + len(read.starts))
            assert set(item.rows.recording[mine].tolist()) == {read.recording}
            assert item.rows.start[mine].tolist() == list(read.starts)


@given(windows=_any_windows(), batch_size=st.none() | st.integers(1, 30), rows=st.integers(1, 12))
@settings(deadline=None, max_examples=200)
def test_a_read_has_no_gaps_and_is_as_long_as_possible(
    windows: Windows, batch_size: int | None, rows: int
) -> None:
    """Windows that touch or overlap share a read until the group is full; others never do."""
    plan = _plan(windows, batch_size=batch_size)
    plan._group_rows = rows
    size = windows.spec.size

    for item in plan.work_items(0):
        for group in item.groups:
            assert sum(len(read.starts) for read in group.reads) <= rows
            for read in group.reads:
                assert all(a < b <= a + size for a, b in pairwise(read.starts))
            for one, following in pairwise(group.reads):
                gap = following.starts[0] - one.starts[-1]
                assert one.recording != following.recording or not 0 < gap <= size


@given(
    windows=_any_windows(),
    batch_size=st.none() | st.integers(1, 30),
    last=st.sampled_from(["keep", "drop", "pad"]),
    epoch=st.integers(0, 3),
    data=st.data(),
)
@settings(deadline=None, max_examples=200)
def test_work_items_are_the_order_divided_into_deliveries(
    windows: Windows, batch_size: int | None, last: str, epoch: int, data: st.DataObject
) -> None:
    """From any position on, they hold the rest of the order in the planned deliveries."""
    plan = _plan(windows, batch_size=batch_size, last=last)
    position = data.draw(st.integers(0, len(windows)))
    everything = np.arange(position, len(windows), dtype=np.int64)
    expected = windows.order.epoch(epoch)(everything).tolist()
    if batch_size is not None and last == "drop":
        expected = expected[: len(expected) // batch_size * batch_size]

    items = list(plan.work_items(epoch, position))

    assert [index for item in items for index in item.rows.index.tolist()] == expected
    deliveries = len(expected) if batch_size is None else len(items)
    assert plan.deliveries(position) == deliveries
    assert [item.ends_epoch for item in items] == [False] * (len(items) - 1) + [True] * bool(items)
    for item in items:
        begin, position = position, item.stop
        assert item.epoch == epoch
        assert len(item.rows.index) == item.stop - begin
        assert item.ends_epoch or len(item.rows.index) == plan.item_rows


@pytest.mark.parametrize(
    ("batch_size", "last", "deliveries", "sizes"),
    [
        (4, "keep", 3, [4, 4, 2]),
        (4, "drop", 2, [4, 4]),
        (4, "pad", 3, [4, 4, 2]),
        (5, "drop", 2, [5, 5]),
        (5, "pad", 2, [5, 5]),
        (99, "keep", 1, [10]),
        (99, "drop", 0, []),
        (None, "drop", 10, [10]),
    ],
)
def test_ten_windows_make_these_deliveries(
    batch_size: int | None, last: str, deliveries: int, sizes: list[int]
) -> None:
    """`last` keeps or drops a batch that is not full. It has no effect on single examples."""
    plan = _plan(_windows([1_000]), batch_size=batch_size, last=last)

    assert plan.deliveries() == deliveries
    assert [len(item.rows.index) for item in plan.work_items(0)] == sizes


def test_windows_side_by_side_are_one_read() -> None:
    """A batch of three recordings is one group of three reads, each decoded and resampled once."""
    (item,) = _plan(_windows([400, 80, 300]), batch_size=8).work_items(0)

    assert [group.key for group in item.groups] == [None]
    assert [(read.recording, read.starts, read.row) for read in item.groups[0].reads] == [
        (0, (0, 100, 200, 300), 0),
        (1, (0,), 4),
        (2, (0, 100, 200), 5),
    ]


def test_a_long_work_item_is_several_groups() -> None:
    """A group holds 1 to 16 windows of 5 s at 48 kHz, so that each worker gets two of a batch."""
    windows = fake_catalog([48_000 * 320], 48_000).windows(48_000, 5.0)[:12]

    (few,) = _plan(windows, batch_size=12, workers=1).work_items(0)
    (item,) = _plan(windows, batch_size=12, workers=6).work_items(0)
    whole = fake_catalog([48_000 * 320], 48_000).windows(48_000, 5.0)
    (large,) = _plan(whole, batch_size=64, workers=1).work_items(0)

    assert len(few.groups) == 2
    assert [group.stop - group.begin for group in large.groups] == [16] * 4
    assert len(item.groups) == 12
    assert [read.row for group in item.groups for read in group.reads] == list(range(12))


def _keys(item: WorkItem) -> list[int | None]:
    return [group.key for group in item.groups]


def test_reads_of_a_file_that_cannot_seek_share_a_key() -> None:
    """The key is the recording. A group has only one key, and files that seek have none."""
    windows = _windows([400, 300, 200, 200], kinds=(VORBIS, PCM, PCM, MP3))

    (item,) = _plan(windows, batch_size=99).work_items(0)
    items = list(_plan(windows, batch_size=3).work_items(0))

    assert _keys(item) == [0, None, 3]
    assert [_keys(one) for one in items] == [[0], [0, None], [None], [3]]


def test_shuffled_windows_have_no_key() -> None:
    """A decoder can carry on only where the windows of a file stay in order."""
    windows = _windows([400, 300], kinds=(VORBIS,))

    (shuffled,) = _plan(windows.shuffle(3), batch_size=99).work_items(0)
    (by_file,) = _plan(windows.shuffle(3, by="file"), batch_size=99).work_items(0)

    assert set(_keys(shuffled)) == {None}
    assert sorted(key for key in _keys(by_file) if key is not None) == [0, 1]


def test_interleaved_files_stay_open() -> None:
    """All files that the order reads in turn may be open at once, and the bound includes them."""
    windows = _windows([400, 300, 200], kinds=(VORBIS,))
    plain = _plan(windows.shuffle(3, by="file"), batch_size=9, workers=2)
    interleaved = _plan(windows.shuffle(3, by="file", interleave=20), batch_size=9, workers=2)

    assert plain.open_files == 6
    assert interleaved.open_files == 24
    assert interleaved.memory_bound - plain.memory_bound >= 18 * plain.stream_bytes


# Pure


def test_planning_opens_no_file_and_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan needs only the catalog, down to the last read."""
    opened: list[Any] = []
    monkeypatch.setattr(_libsndfile, "read_header", opened.append)
    monkeypatch.setattr(soundfile, "SoundFile", opened.append)
    monkeypatch.setattr("builtins.open", opened.append)
    threads = threading.active_count()

    plan = _plan(_windows([4_000, 800], kinds=(VORBIS, PCM)).shuffle(1), batch_size=7)
    items = list(plan.work_items(0))

    assert plan.memory_bound > 0
    assert len(items) == plan.deliveries() == 7
    assert opened == []
    assert threading.active_count() == threads


def test_a_plan_is_the_same_every_time() -> None:
    """Work items depend on windows, batch size and epoch; not on workers, prefetch or memory."""
    windows = _windows([4_000, 800]).shuffle(1)

    one = _plan(windows, batch_size=7, workers=1, prefetch=1)
    two = _plan(windows, batch_size=7, workers=5, memory=1 << 30)

    def items(plan: Plan, epoch: int) -> list[tuple[int, list[int], list[Any]]]:
        return [
            (
                item.stop,
                item.rows.index.tolist(),
                [(group.begin, group.stop, group.key, group.reads) for group in item.groups],
            )
            for item in plan.work_items(epoch)
        ]

    assert items(one, 3) == items(two, 3)
    assert items(one, 3) != items(one, 4)


# Memory


@given(
    workers=st.integers(0, 8),
    batch_size=st.none() | st.integers(1, 64),
    prefetch=st.just("auto") | st.integers(1, 50),
    window_s=st.sampled_from([0.01, 1.0, 5.0]),
    memory=st.integers(1, 1 << 26),
)
@settings(deadline=None, max_examples=200)
def test_memory_limits_prefetch_or_the_error_names_the_least_that_works(
    workers: int,
    batch_size: int | None,
    prefetch: int | Literal["auto"],
    window_s: float,
    memory: int,
) -> None:
    """The bound never exceeds the budget, and the number of bytes in the error is exact."""
    windows = fake_catalog([10_000_000], 16_000).windows(16_000, window_s)
    options = {"workers": workers, "batch_size": batch_size, "prefetch": prefetch}
    free = _plan(windows, **options)

    with pytest.raises(MemoryBudgetError) as refused:
        _plan(windows, memory=1, **options)
    needed = refused.value.needed
    with pytest.raises(MemoryBudgetError, match=f"{needed} bytes") as again:
        _plan(windows, memory=min(memory, needed - 1), **options)
    advice = re.search(r'Give memory="(.+)"\.$', str(refused.value))
    assert advice is not None

    budget = max(memory, needed)
    plan = _plan(windows, memory=budget, **options)

    assert again.value.needed == needed
    assert _plan(windows, memory=needed, **options).memory_bound == needed
    assert _plan(windows, memory=parse_bytes(advice[1]), **options).memory_bound >= needed
    assert plan.memory_bound <= budget
    assert plan.prefetch == 0 if workers == 0 else plan.prefetch >= 1
    if prefetch != "auto":
        assert plan.prefetch <= prefetch
        assert plan.prefetch == free.prefetch or plan.bound(plan.prefetch + 1) > budget


@given(
    windows=_any_windows(),
    workers=st.integers(0, 8),
    batch_size=st.none() | st.integers(1, 64),
    prefetch=st.integers(1, 50),
)
@settings(deadline=None)
def test_the_bound_is_deliveries_scratch_decoders_and_tables(
    windows: Windows, workers: int, batch_size: int | None, prefetch: int
) -> None:
    """One more delivery costs its bytes. Nothing else depends on the prefetch."""
    plan = _plan(windows, workers=workers, batch_size=batch_size, prefetch=prefetch)
    delivery = 4 * 100 * (batch_size or 1)
    streams = plan.open_files * plan.stream_bytes
    rest = max(1, workers) * plan.scratch.nbytes + streams + plan.table_bytes

    assert plan.prefetch == (prefetch if workers else 0)
    assert plan.memory_bound == plan.bound(plan.prefetch) == (plan.prefetch + 2) * delivery + rest
    assert plan.table_bytes >= windows.order.nbytes


def test_the_bound_does_not_grow_with_the_recordings() -> None:
    """A day of audio takes no more than a minute, and twenty files no more than one."""
    short, long, many = (
        _plan(fake_catalog(frames, 48_000).windows(16_000, 5.0), batch_size=8).memory_bound
        for frames in ([48_000 * 60], [48_000 * 86_400], [48_000 * 60] * 20)
    )
    assert short == long == many


def test_automatic_prefetch_stays_below_a_gibibyte() -> None:
    """The prefetch is lowered to stay below, but not below two deliveries."""
    windows = fake_catalog([48_000 * 3_600], 48_000).windows(48_000, 60.0)

    fits = _plan(windows, batch_size=8, workers=8)
    less = _plan(windows, batch_size=16, workers=8)
    least = _plan(windows, batch_size=64, workers=8)

    assert fits.memory_bound <= 1 << 30
    assert less.memory_bound <= 1 << 30
    assert 2 <= less.prefetch < fits.prefetch
    assert least.prefetch == 2


@given(
    workers=st.integers(1, 16),
    prefetch=st.just("auto") | st.integers(1, 3_000),
    window_s=st.sampled_from([0.01, 0.1, 1.0, 5.0, 60.0]),
)
@settings(deadline=None)
def test_examples_ready_or_loading_are_at_most_prefetch(
    workers: int, prefetch: int | Literal["auto"], window_s: float
) -> None:
    """Examples of the item being delivered count too, and every worker has work."""
    windows = fake_catalog([10**9], 16_000).windows(16_000, window_s)

    plan = _plan(windows, workers=workers, prefetch=prefetch)

    being_delivered = 0 if plan.item_rows == 1 else plan.item_rows
    assert plan.depth * plan.item_rows + being_delivered <= plan.prefetch
    assert plan.depth >= 1
    if plan.prefetch >= workers:
        assert plan.depth >= workers
    if prefetch == "auto":
        assert plan.depth >= 2 * workers


def test_batches_ready_or_loading_are_prefetch() -> None:
    """A work item is a batch, and `prefetch` of them are in flight."""
    plan = _plan(_windows([4_000]), batch_size=7, prefetch=5)
    assert (plan.item_rows, plan.depth, plan.prefetch) == (7, 5, 5)


def test_without_workers_nothing_is_loaded_ahead() -> None:
    """With ``workers=0`` the prefetch is 0, whatever was given."""
    plan = _plan(_windows([4_000]), workers=0, prefetch=5)
    assert (plan.prefetch, plan.item_rows) == (0, 1)


# Scratch


@given(
    rate=st.sampled_from([8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]),
    target=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000]),
    channels=st.integers(1, 4),
    everything=st.booleans(),
    start=st.integers(0, 2**40),
    data=st.data(),
)
@settings(deadline=None, max_examples=150)
@pytest.mark.filterwarnings("ignore:at sample_rate=")  # also of ultrasound, at low rates
def test_scratch_holds_what_any_chunk_of_outputs_needs(
    *, rate: int, target: int, channels: int, everything: bool, start: int, data: st.DataObject
) -> None:
    """The input of a chunk fits, wherever it begins, for every channel."""
    catalog = fake_catalog([10**9], rate, channels=channels, kinds=(("WAV", "PCM_24"),))
    windows = catalog.windows(target, 1.0, channel="all" if everything else "mix")
    chunk = data.draw(st.integers(1, chunk_outputs(rate, target)))

    scratch = _plan(windows).scratch
    first, stop = resampler(rate, target).span(start, start + chunk)

    assert stop - first <= scratch.inputs
    assert (stop - first) * channels * 4 <= scratch.pcm
    assert chunk <= scratch.outputs
    assert scratch.planes == (channels if everything else 1)
    assert scratch.between >= resampler(rate, target).filter.scratch(chunk)
    floats = scratch.planes * (scratch.inputs + scratch.outputs) + scratch.between
    assert scratch.nbytes == scratch.pcm + 4 * floats


def test_scratch_is_enough_for_every_kind_of_recording() -> None:
    """A worker has the largest scratch that any recording of a mixed catalog needs."""
    rates, kinds = [8_000, 48_000, 96_000], [("WAV", "DOUBLE"), PCM, VORBIS]
    mixed = fake_catalog([10**6] * 3, rates, channels=[1, 8, 2], kinds=kinds)

    scratch = _plan(mixed.windows(16_000, 1.0)).scratch

    for i in range(3):
        alone = _plan(mixed[i : i + 1].windows(16_000, 1.0)).scratch
        assert alone.pcm <= scratch.pcm
        assert alone.inputs <= scratch.inputs
        assert alone.outputs <= scratch.outputs


@given(
    rate=st.sampled_from([8_000, 22_050, 48_000]),
    hop=st.sampled_from([400, 1_000, 3_999, 4_000, 4_001, 9_000]),
    tail=st.sampled_from(["pad", "shift"]),
    frames=st.integers(1, 10**6),
    data=st.data(),
)
@settings(deadline=None)
def test_a_stream_keeps_enough_frames_for_the_next_window(
    rate: int, hop: int, tail: Tail, frames: int, data: st.DataObject
) -> None:
    """Where a decoder cannot seek, the next window's first frame is kept, or not yet decoded."""
    catalog = fake_catalog([frames], rate, kinds=[VORBIS])
    windows = catalog.windows(16_000, 0.25, hop / 16_000, tail=tail)
    plan, table = _plan(windows), resampler(rate, 16_000)
    last = max(0, len(windows) - 2)
    number = data.draw(st.just(last) | st.integers(0, last))
    starts = windows.rows(np.arange(number, min(number + 2, len(windows)))).start.tolist()

    _, read_up_to = table.support(starts[0], starts[0] + windows.spec.size)
    first_needed, _ = table.support(starts[-1], starts[-1] + windows.spec.size)

    if len(starts) > 1:
        assert min(frames, read_up_to) - max(0, first_needed) <= plan.kept_frames(catalog[0])
    assert plan.kept_frames(fake_catalog([frames], rate)[0]) == 0
