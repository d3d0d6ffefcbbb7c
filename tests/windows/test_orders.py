import tracemalloc
from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headrace.windows._orders import (
    ByBlock,
    ByFile,
    ByWindow,
    InOrder,
    Interleaved,
    OrderOfPlaces,
    OrderOfRuns,
)
from headrace.windows._permutation import Permutation, epoch_key, permute_each
from tests.support.order_statistics import all_integers, chi_square_bound

KEYS = st.integers(0, 2**64 - 1)
SEEDS = st.integers(-(2**70), 2**70)


def _assert_bijection(items: NDArray[np.int64], n: int) -> None:
    assert items.dtype == np.int64
    np.testing.assert_array_equal(np.sort(items), all_integers(n))


def _chi_square(observed: NDArray[np.int64], expected: float) -> float:
    return float(np.sum(np.square(observed - expected) / expected))


def test_every_small_number_of_items_is_permuted() -> None:
    """For every n up to 300, each item has exactly one position."""
    for n in range(301):
        _assert_bijection(Permutation(n, 7 * n)(all_integers(n)), n)


@pytest.mark.parametrize(
    "n", [4_095, 4_096, 4_097, 4_098, 5_000, 8_191, 8_192, 8_193, 65_535, 65_536, 65_537, 131_073]
)
def test_items_are_permuted_around_the_change_of_method_and_powers_of_two(n: int) -> None:
    """With a table or a network, full or nearly empty, each item has exactly one position."""
    _assert_bijection(Permutation(n, 2**64 - 1)(all_integers(n)), n)


@given(n=st.integers(0, 20_000), key=KEYS)
@settings(deadline=None, max_examples=60)
def test_any_number_of_items_is_permuted_under_any_key(n: int, key: int) -> None:
    """A permutation is a bijection for any n and key."""
    _assert_bijection(Permutation(n, key)(all_integers(n)), n)


@given(
    n=st.one_of(
        st.sampled_from([2**31 + 1, 2**32, 2**40, 2**53 + 1, 2**62, 2**62 + 1, 2**63 - 1, 2**63]),
        st.integers(2**20, 2**63),
    ),
    key=KEYS,
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_huge_numbers_of_items_are_permuted(n: int, key: int, data: st.DataObject) -> None:
    """Distinct positions have distinct items in range, for n up to 2^63."""
    begin = data.draw(st.integers(0, n - 1_000))
    places = {*range(begin, begin + 1_000), 0, 1, n - 2, n - 1}
    positions = np.array(sorted(places), np.int64)

    items = Permutation(n, key)(positions)

    assert items.dtype == np.int64
    assert len(np.unique(items)) == len(positions)
    assert items.min() >= 0
    assert int(items.max()) < n


@given(n=st.integers(1, 10_000), key=KEYS, data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_permutation_is_the_same_wherever_it_is_asked(
    n: int, key: int, data: st.DataObject
) -> None:
    """A subset of positions, in any order and repeated, has the items that all positions have."""
    some = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), np.int64)

    alone = Permutation(n, key)(some)

    np.testing.assert_array_equal(alone, Permutation(n, key)(all_integers(n))[some])


def test_positions_are_not_modified() -> None:
    """The array of positions is not written to."""
    for n in (100, 10_000):
        positions = all_integers(n)
        Permutation(n, 3)(positions)
        np.testing.assert_array_equal(positions, all_integers(n))


def test_keys_never_change() -> None:
    """A saved seed and epoch mean the same order in every version: these values never change."""
    assert epoch_key(0, 0, "window") == 4_521_148_492_737_190_071
    assert epoch_key(-5, 2**40, "file") == 7_676_425_390_479_423_307


@pytest.mark.parametrize(
    ("n", "golden"),
    [
        (5, [3, 1, 4, 0, 2]),
        (4_096, [1099, 1733, 1082, 1897, 1452, 2313, 3326, 2994]),
        (4_097, [2707, 2342, 1298, 3632, 718, 1773, 1528, 659]),
        (
            2**40,
            [
                372_825_922_617,
                992_372_966_940,
                450_348_627_081,
                889_576_361_697,
                477_174_485_054,
                954_393_372_259,
                306_011_088_666,
                334_185_858_030,
            ],
        ),
        (
            2**63 - 1,
            [
                7_766_045_626_359_750_743,
                6_072_839_420_709_992_444,
                5_526_872_673_684_563_500,
                4_241_899_497_625_967_623,
                1_545_242_445_167_070_572,
                3_226_584_806_767_063_296,
                2_863_218_187_380_667_607,
                1_218_022_592_847_363_755,
            ],
        ),
    ],
)
def test_orders_never_change(n: int, golden: list[int]) -> None:
    """A saved position means the same window in every version: these values never change."""
    begin = np.arange(min(n, 8), dtype=np.int64)
    assert ByWindow(n, seed=1).epoch(2)(begin).tolist() == golden


def test_the_order_by_file_never_changes() -> None:
    """The order by file never changes between versions either."""
    bounds = np.array([0, 2, 3, 7, 8, 10], np.int64)
    order = ByFile(bounds, seed=1).epoch(2)
    assert order(all_integers(10)).tolist() == [8, 9, 0, 1, 2, 7, 3, 4, 5, 6]


@given(seed=SEEDS, epoch=st.integers(0, 2**62), other=SEEDS, later=st.integers(0, 2**62))
@settings(deadline=None)
def test_seeds_and_epochs_have_keys_of_their_own(
    seed: int, epoch: int, other: int, later: int
) -> None:
    """Different (seed, epoch, purpose) have different keys, unlike a sum of seed and epoch."""
    keys = {(s, e): epoch_key(s, e, "window") for s in (seed, other) for e in (epoch, later)}

    assert len(set(keys.values())) == len(keys)
    assert epoch_key(seed, epoch, "file") not in keys.values()
    assert all(0 <= key < 2**64 for key in keys.values())


@pytest.mark.parametrize("n", [1_000, 50_000])
@pytest.mark.parametrize(
    ("one", "two"), [((0, 1), (1, 0)), ((0, 0), (0, 1)), ((0, 0), (1, 0)), ((5, 5), (-5, 5))]
)
def test_orders_of_other_seeds_and_epochs_are_unrelated(
    n: int, one: tuple[int, int], two: tuple[int, int]
) -> None:
    """Two orders agree in about one place, also when one of them is shifted."""
    (seed, epoch), (other, later) = one, two

    a = ByWindow(n, seed).epoch(epoch)(all_integers(n))
    b = ByWindow(n, other).epoch(later)(all_integers(n))

    assert np.count_nonzero(a == b) < 10  # chance: 1 on average
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / n**0.5
    shifts = np.bincount((a - b) % n, minlength=n)
    assert shifts.max() < 15  # the other one, shifted: 1 each on average


def test_each_item_comes_first_as_often_as_any_other() -> None:
    """Over 4,000 epochs of eight items, each item is at each position equally often."""
    n, epochs = 8, 4_000
    counts = np.zeros((n, n), np.int64)
    for epoch in range(epochs):
        counts[all_integers(n), ByWindow(n, seed=0).epoch(epoch)(all_integers(n))] += 1

    assert _chi_square(counts, epochs / n) < chi_square_bound((n - 1) ** 2)


def test_each_of_the_orders_of_four_items_is_as_frequent() -> None:
    """Over 4,800 epochs, all 24 permutations of four items occur equally often."""
    seen: dict[bytes, int] = {}
    for epoch in range(4_800):
        order = ByWindow(4, seed=0).epoch(epoch)(all_integers(4)).tobytes()
        seen[order] = seen.get(order, 0) + 1

    assert len(seen) == 24
    assert _chi_square(np.array(list(seen.values())), 200) < chi_square_bound(23)


@pytest.mark.parametrize("n", [4_000, 4_100, 60_000, 70_000])
def test_items_are_spread_evenly_over_positions(n: int) -> None:
    """An item's position does not depend on its number, and neighbours are not kept together."""
    tenth = n // 10
    items = ByWindow(n, seed=0).epoch(0)(all_integers(n))

    counts = np.zeros((10, 10), np.int64)
    np.add.at(counts, (all_integers(n) // tenth, items // tenth), 1)
    together = np.count_nonzero(np.abs(np.diff(items)) == 1)

    assert _chi_square(counts, n / 100) < chi_square_bound(81)
    assert together < 12  # chance: 2 on average
    assert abs(np.corrcoef(items[:-1], items[1:])[0, 1]) < 5 / n**0.5


def test_huge_orders_are_spread_evenly_in_high_and_low_bits() -> None:
    """Of 2^40 items, the first 64,000 fill 64 classes of high bits and of low bits equally."""
    items = ByWindow(2**40, seed=0).epoch(0)(all_integers(64_000))

    for classes in (items >> 34, items & 63, (items >> 17) & 63):
        counts = np.bincount(classes, minlength=64)
        assert _chi_square(counts, 1_000) < chi_square_bound(63)


def test_the_order_of_windows_needs_no_table() -> None:
    """A permutation of 2^62 windows is built and evaluated in a few kilobytes."""
    order = ByWindow(2**62, seed=0)
    order.epoch(0)(all_integers(1))  # imports and caches of the first call

    tracemalloc.start()
    order.epoch(1)(all_integers(64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert order.nbytes == 0
    assert peak < 64 << 10


def test_an_order_reports_the_bytes_of_its_tables() -> None:
    """Only small sets have a table of windows; the table of files does not grow with windows."""
    few, many = np.array([0, 1, 2, 3], np.int64), np.array([0, 2**60, 2**61, 2**62], np.int64)

    assert InOrder().nbytes == 0
    assert ByWindow(1_000, seed=0).nbytes == 8_000
    assert ByWindow(1_000_000, seed=0).nbytes == 0
    assert ByFile(few, seed=0).nbytes == ByFile(many, seed=0).nbytes == 3 * 4 * 8


def test_without_shuffle_an_item_stands_at_its_own_place() -> None:
    """Without a shuffle, every epoch is the identity."""
    for epoch in (0, 1, 99):
        assert InOrder().epoch(epoch)(all_integers(5)).tolist() == [0, 1, 2, 3, 4]


@given(counts=st.lists(st.integers(0, 7), max_size=40), seed=SEEDS, epoch=st.integers(0, 2**40))
@settings(deadline=None)
def test_by_file_keeps_the_windows_of_a_file_together_and_in_order(
    counts: list[int], seed: int, epoch: int
) -> None:
    """Each file's windows come one after the other in ascending order, and each file once."""
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    n = int(bounds[-1])
    files = [list(range(a, b)) for a, b in pairwise(bounds) if b > a]

    items = ByFile(bounds, seed).epoch(epoch)(all_integers(n)).tolist()

    runs = []
    while items:
        run = next(file for file in files if file[0] == items[0])
        assert items[: len(run)] == run
        runs.append(run)
        items = items[len(run) :]
    assert sorted(runs) == files


@given(counts=st.lists(st.integers(1, 7), min_size=1, max_size=40), data=st.data())
@settings(deadline=None)
def test_by_file_is_the_same_wherever_it_is_asked(counts: list[int], data: st.DataObject) -> None:
    """A subset of positions has the items that all positions have."""
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    n = int(bounds[-1])
    some = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), np.int64)

    order = ByFile(bounds, seed=3)

    np.testing.assert_array_equal(order.epoch(4)(some), order.epoch(4)(all_integers(n))[some])


def test_by_file_is_new_in_every_epoch() -> None:
    """The order of files differs between epochs and between seeds."""
    bounds = 3 * all_integers(50)
    orders = {
        tuple(ByFile(bounds, seed).epoch(epoch)(all_integers(147)).tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(orders) == 4


def _rounds_of_lanes(files: list[list[int]], lanes: int) -> list[list[int]]:
    """Return the items of each round, read from so many files at once, file by file."""
    waiting = deque(files)
    reading = [deque(waiting.popleft()) for _ in range(min(lanes, len(files)))]
    rounds = []
    while reading:
        rounds.append([lane.popleft() for lane in reading])
        for lane in reading:
            if not lane and waiting:
                lane.extend(waiting.popleft())
        reading = [lane for lane in reading if lane]
    return rounds


@given(counts=st.lists(st.integers(0, 7), max_size=40), lanes=st.integers(1, 50), seed=SEEDS)
@settings(deadline=None)
def test_interleaved_files_are_read_in_turn(counts: list[int], lanes: int, seed: int) -> None:
    """Each round has the next window of every open file, as a simulation with queues has it."""
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    items = Interleaved(bounds, lanes, seed).epoch(4)(all_integers(int(bounds[-1]))).tolist()
    files = np.flatnonzero(counts)
    permutation = Permutation(len(files), epoch_key(seed, 4, f"interleave {lanes}"))
    shuffled = files[permutation(all_integers(len(files)))].tolist()

    rounds = _rounds_of_lanes([list(range(*bounds[f : f + 2])) for f in shuffled], lanes)

    place = 0
    for expected in rounds:
        # In a round, the files take turns in a random order.
        assert sorted(items[place : place + len(expected)]) == sorted(expected)
        place += len(expected)
    assert place == len(items)


@given(counts=st.lists(st.integers(1, 7), min_size=1, max_size=40), data=st.data())
@settings(deadline=None)
def test_interleaving_is_the_same_wherever_it_is_asked(
    counts: list[int], data: st.DataObject
) -> None:
    """A subset of positions has the items that all positions have."""
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    n = int(bounds[-1])
    some = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), np.int64)

    order = Interleaved(bounds, 5, seed=3)

    np.testing.assert_array_equal(order.epoch(4)(some), order.epoch(4)(all_integers(n))[some])


def test_interleaving_is_new_in_every_epoch_and_never_changes() -> None:
    """The order differs between epochs and seeds, and is the same in every version."""
    bounds = np.array([0, 2, 3, 7, 8, 10], np.int64)
    orders = [
        Interleaved(bounds, 3, seed).epoch(epoch)(all_integers(10)).tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len(set(map(tuple, orders))) == 4
    assert orders[0] == [2, 3, 8, 9, 0, 4, 1, 5, 7, 6]


# Inverses, and a key for each position


@given(n=st.one_of(st.integers(1, 20_000), st.integers(2**20, 2**63)), key=KEYS, data=st.data())
@settings(deadline=None, max_examples=60)
def test_a_permutation_is_undone_by_its_inverse(n: int, key: int, data: st.DataObject) -> None:
    """The inverse maps items back to positions, by table or by network."""
    positions = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), np.int64)
    permutation = Permutation(n, key)

    np.testing.assert_array_equal(permutation.inverse(permutation(positions)), positions)
    np.testing.assert_array_equal(permutation(permutation.inverse(positions)), positions)


@given(n=st.integers(1, 300), keys=st.lists(KEYS, min_size=1, max_size=5, unique=True))
@settings(deadline=None)
def test_each_key_has_a_permutation_of_its_own(n: int, keys: list[int]) -> None:
    """Positions of many keys at once are permuted as those of each key alone."""
    places = np.tile(all_integers(n), len(keys))
    together = permute_each(n, np.repeat(np.array(keys, np.uint64), n), places).reshape(-1, n)

    for key, items in zip(keys, together, strict=True):
        _assert_bijection(items, n)
        one = np.full(n, key, np.uint64)
        np.testing.assert_array_equal(permute_each(n, one, all_integers(n)), items)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 13])
def test_a_few_items_stand_anywhere_as_often_under_many_keys(n: int) -> None:
    """Over 4,000 keys, each of a few items is at each position equally often."""
    keys = np.arange(4_000, dtype=np.uint64)
    counts = np.zeros((n, n), np.int64)
    for position in range(n):
        items = permute_each(n, keys, np.full(len(keys), position, np.int64))
        counts[position] = np.bincount(items, minlength=n)

    assert _chi_square(counts, len(keys) / n) < chi_square_bound((n - 1) ** 2)


@pytest.mark.parametrize("n", [*range(2, 18), 20, 31, 32, 33])
def test_any_two_items_are_neighbours_as_often_under_many_keys(n: int) -> None:
    """Over 20,000 keys, each pair of a few items follows each other at each place equally often.

    The last place and the first one are neighbours too.
    """
    keys = np.arange(20_000, dtype=np.uint64)
    items = [permute_each(n, keys, np.full(len(keys), place, np.int64)) for place in range(n)]

    pairs = ~np.eye(n, dtype=bool)
    for one, other in pairwise([*items, items[0]]):
        counts = np.bincount(one * n + other, minlength=n * n).reshape(n, n)
        assert not counts[~pairs].any()
        expected = len(keys) / (n * (n - 1))
        assert _chi_square(counts[pairs], expected) < chi_square_bound(n * (n - 1) - 1)


@given(
    some=st.lists(
        st.one_of(st.integers(1, 40), st.integers(1, 2**63 - 1)).flatmap(
            lambda n: st.tuples(st.just(n), st.integers(0, n - 1), KEYS)
        ),
        max_size=30,
    )
)
@settings(deadline=None)
def test_many_numbers_of_items_are_permuted_at_once(some: list[tuple[int, int, int]]) -> None:
    """The result for an n, position and key does not depend on the others in the call."""
    n, positions = (np.array([one[k] for one in some], np.int64) for k in (0, 1))
    keys = np.array([key for *_, key in some], np.uint64)

    items = permute_each(n, keys, positions)

    assert items.dtype == np.int64
    for at in range(len(some)):
        piece = slice(at, at + 1)
        assert permute_each(some[at][0], keys[piece], positions[piece]) == items[piece]


def test_permutations_of_many_keys_never_change() -> None:
    """For few items and for many, these values never change."""
    n = np.array([1, 5, 16, 17, 300, 2**40, 2**63 - 1], np.int64)
    keys = np.arange(7, dtype=np.uint64)
    assert permute_each(n, keys, n // 2).tolist() == [
        0,
        1,
        3,
        0,
        259,
        845_960_936_045,
        8_150_541_681_671_867_398,
    ]


# Blocks


def _blocks(bounds: NDArray[np.int64], block: int) -> list[list[int]]:
    """Return the items of each block, cut from the start of each file."""
    files = pairwise(bounds.tolist())
    return [list(range(a, min(a + block, z))) for first, z in files for a in range(first, z, block)]


@given(
    counts=st.lists(st.integers(0, 9), max_size=40),
    block=st.integers(1, 12),
    seed=SEEDS,
    epoch=st.integers(0, 2**40),
)
@settings(deadline=None, max_examples=200)
def test_by_block_keeps_the_windows_of_a_block_together_and_in_order(
    counts: list[int], block: int, seed: int, epoch: int
) -> None:
    """Each block's windows come one after the other in ascending order, and each block once."""
    bounds = np.cumsum([0, *counts], dtype=np.int64)
    n = int(bounds[-1])
    blocks = {one[0]: one for one in _blocks(bounds, block)}

    items = ByBlock(bounds, block, seed).epoch(epoch)(all_integers(n)).tolist()

    seen = []
    while items:
        one = blocks[items[0]]
        assert items[: len(one)] == one
        seen.append(one)
        items = items[len(one) :]
    assert sorted(seen) == _blocks(bounds, block)


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=40), data=st.data())
@settings(deadline=None)
def test_by_block_is_the_same_wherever_it_is_asked(counts: list[int], data: st.DataObject) -> None:
    """A subset of positions has the items that all positions have."""
    bounds = np.cumsum([0, *counts], dtype=np.int64)
    n = int(bounds[-1])
    some = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), np.int64)
    order = ByBlock(bounds, data.draw(st.integers(1, 10)), seed=3)

    np.testing.assert_array_equal(order.epoch(4)(some), order.epoch(4)(all_integers(n))[some])


def test_blocks_stand_anywhere_as_often() -> None:
    """Over 3,000 epochs, each of six long and short blocks is at each place equally often."""
    bounds = np.array([0, 7, 8, 14], np.int64)  # 0-2 3-5 6 | 7 | 8-10 11-13
    starts = [one[0] for one in _blocks(bounds, 3)]
    counts = np.zeros((6, 6), np.int64)
    for epoch in range(3_000):
        items = ByBlock(bounds, 3, seed=0).epoch(epoch)(all_integers(14)).tolist()
        order = [starts.index(item) for item in items if item in starts]
        counts[range(6), order] += 1

    assert _chi_square(counts, 500) < chi_square_bound(25)


def test_neighbouring_blocks_are_independent() -> None:
    """After a block, the next one of its file comes no more often than any other."""
    bounds = 64 * all_integers(1_001)
    items = ByBlock(bounds, 8, seed=1).epoch(0)(all_integers(64_000))

    jumps = np.diff(items)[7::8]

    assert np.count_nonzero(jumps == 1) < 10  # chance: 1 on average
    assert abs(np.corrcoef(items[:-8:8], items[8::8])[0, 1]) < 5 / 8_000**0.5


def test_blocks_are_new_in_every_epoch_and_for_every_length() -> None:
    """The order of blocks differs between epochs, seeds and block lengths."""
    bounds = 12 * all_integers(20)
    orders = {
        tuple(ByBlock(bounds, block, seed).epoch(epoch)(all_integers(228))[::12].tolist())
        for seed in (0, 1)
        for epoch in (0, 1)
        for block in (2, 3)
    }
    assert len(orders) == 8


def test_blocks_need_nothing_for_each_window() -> None:
    """Blocks of 2^60 windows are ordered with a few numbers for each file."""
    bounds = np.array([0, 2**58 + 5, 2**59, 2**60], np.int64)
    order = ByBlock(bounds, 1_000, seed=0)

    items = order.epoch(0)(np.array([0, 1, 2**59, 2**60 - 1], np.int64))

    assert items[1] == items[0] + 1
    assert order.nbytes == 7 * 4 * 8


def test_the_order_by_block_never_changes() -> None:
    """The order by block never changes between versions either."""
    bounds = np.array([0, 5, 6, 10], np.int64)
    items = ByBlock(bounds, 2, seed=1).epoch(2)(all_integers(10))
    assert items.tolist() == [2, 3, 8, 9, 6, 7, 5, 4, 0, 1]


# Orders of runs and of lists


def test_orders_of_runs_and_lists_return_their_items() -> None:
    """Items in runs or in a list are returned as the items that they stand for."""
    runs = OrderOfRuns(InOrder(), np.array([10, 3, 7], np.int64), np.array([0, 2, 3, 6], np.int64))
    listed = OrderOfPlaces(InOrder(), np.array([9, 9, 4], np.int64))
    shuffled = OrderOfPlaces(ByWindow(3, 5), np.array([9, 8, 4], np.int64))

    assert runs.epoch(0)(all_integers(6)).tolist() == [10, 11, 3, 7, 8, 9]
    assert listed.epoch(1)(all_integers(3)).tolist() == [9, 9, 4]
    assert sorted(shuffled.epoch(2)(all_integers(3)).tolist()) == [4, 8, 9]
    assert (runs.nbytes, listed.nbytes, shuffled.nbytes) == (56, 24, 48)
