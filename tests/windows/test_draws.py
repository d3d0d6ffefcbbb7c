from collections import Counter
from itertools import pairwise
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._apportion import apportion
from headrace.errors import InvalidWindowsError
from headrace.windows._draws import Mixed, Sampled, SampledOnce, _AliasTable, check_weights
from headrace.windows._permutation import draw_below
from tests.support.catalogs import fake_catalog
from tests.support.order_statistics import all_integers, chi_square_bound


def _sampled(weights: Any, n: int, seed: int = 0) -> Sampled:
    return Sampled(check_weights(weights, len(weights), "window"), n, seed)


# Numbers below n


@pytest.mark.parametrize("n", [1, 2, 3, 1_000, 2**31 + 5, 2**32])
def test_numbers_below_n_are_spread_evenly(n: int) -> None:
    """All tenths of the range are equally frequent, and no number is out of range."""
    numbers = draw_below(n, all_integers(50_000), key=7)

    assert numbers.min() >= 0
    assert int(numbers.max()) < n
    classes = min(n, 10)
    counts = np.bincount((numbers / n * classes).astype(int), minlength=classes)
    expected = 50_000 / classes
    assert np.sum((counts - expected) ** 2 / expected) < chi_square_bound(classes)


# Weights


@given(
    weights=st.lists(
        st.one_of(st.just(0.0), st.floats(1e-9, 1), st.floats(1e-300, 1e300)),
        min_size=1,
        max_size=50,
    ).filter(any)
)
@settings(deadline=None, max_examples=300)
def test_the_table_holds_each_weight(weights: list[float]) -> None:
    """The share that the table gives to an item is its weight, 0 included."""
    checked = check_weights(weights, len(weights), "window")
    table = _AliasTable(checked)

    share = np.zeros(len(weights))
    np.add.at(share, all_integers(len(weights)), table.keep)
    np.add.at(share, table.other, 1 - table.keep)

    np.testing.assert_allclose(
        share / len(weights), checked / checked.sum(), rtol=0, atol=1e-12 * len(weights)
    )
    assert not share[checked == 0].any()
    assert ((table.keep >= 0) & (table.keep <= 1)).all()


def test_draws_are_as_frequent_as_their_weights() -> None:
    """A chi-square over a million draws is as expected, and a weight of 0 is never drawn."""
    weights = np.array([0, 1, 2, 3, 0, 10, 0.5])
    items = _sampled(weights, 10**6).epoch(3)(all_integers(10**6))

    counts = np.bincount(items, minlength=7)
    expected = weights / weights.sum() * 10**6
    some = expected > 0

    assert np.sum((counts - expected)[some] ** 2 / expected[some]) < chi_square_bound(4)
    assert not counts[~some].any()


def test_draws_are_independent() -> None:
    """Neighbours, epochs and seeds are independent: pairs of draws are as frequent as by chance."""
    n = 100_000
    first, later = (_sampled([1] * 10, n).epoch(epoch)(all_integers(n)) for epoch in (0, 1))
    other = _sampled([1] * 10, n, seed=1).epoch(0)(all_integers(n))

    for a, b in ((first[:-1], first[1:]), (first, later), (first, other)):
        counts = np.bincount(10 * a + b, minlength=100)
        assert np.sum((counts - len(a) / 100) ** 2 / (len(a) / 100)) < chi_square_bound(99)


@given(weights=st.lists(st.floats(0.1, 9), min_size=1, max_size=30), data=st.data())
@settings(deadline=None)
def test_a_draw_is_the_same_wherever_it_is_asked(weights: list[float], data: st.DataObject) -> None:
    """A draw does not depend on those before it."""
    some = np.array(data.draw(st.lists(st.integers(0, 99), max_size=20)), np.int64)
    order = _sampled(weights, 100)

    np.testing.assert_array_equal(order.epoch(2)(some), order.epoch(2)(all_integers(100))[some])


def test_draws_never_change() -> None:
    """A saved position means the same window in every version: these values never change."""
    items = _sampled([1, 2, 3, 4, 5], 10, seed=1).epoch(2)(all_integers(10))
    assert items.tolist() == [1, 4, 4, 4, 4, 2, 1, 3, 2, 1]


def test_the_table_has_16_bytes_for_each_item() -> None:
    """Its size does not depend on the number of draws."""
    assert _sampled([1.0] * 1_000, 10**9).nbytes == 16_000


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ([1, 2], r"weights of shape \(2,\) for 3 windows: give one for each"),
        ([[1, 2, 3]], r"weights of shape \(1, 3\) for 3 windows"),
        ([1, -2, 3], "weight -2.0 of window 1 must be a finite number, not negative"),
        ([1, nan, 3], "weight nan of window 1 must be a finite number"),
        ([inf, 1, 3], "weight inf of window 0 must be a finite number"),
        ([0, 0, 0], "the weights of all 3 windows are zero"),
        (["a", "b", "c"], "weights must be numbers, one for each window"),
    ],
)
def test_invalid_weights_are_refused(weights: Any, sentence: str) -> None:
    """The error says which weight is wrong and what it may be."""
    with pytest.raises(InvalidWindowsError, match=sentence):
        check_weights(weights, 3, "window")


# Mixtures


@given(
    weights=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any),
    n=st.integers(0, 10**12),
)
@settings(deadline=None)
def test_shares_are_whole_and_to_the_nearest(weights: list[int], n: int) -> None:
    """Counts sum to n, and each differs from its exact share by less than one."""
    found = apportion(np.array(weights, float), n)

    assert int(found.sum()) == n
    for share, weight in zip(found.tolist(), weights, strict=True):
        assert abs(share - n * weight / sum(weights)) < 1
        assert weight or not share


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    data=st.data(),
    seed=st.integers(-5, 5),
)
@settings(deadline=None, max_examples=200)
def test_a_source_is_read_completely_before_it_repeats(
    sizes: list[int], data: st.DataObject, seed: int
) -> None:
    """Over all epochs, no item of a source comes two times more often than another."""
    counts = [data.draw(st.integers(0, 40)) for _ in sizes]
    mixed = Mixed(tuple(sizes), tuple(counts), seed)
    first = np.cumsum([0, *sizes])
    seen = np.zeros(sum(sizes), np.int64)

    for epoch in range(4):
        items = mixed.epoch(epoch)(all_integers(mixed.n))
        source = np.searchsorted(first, items, side="right") - 1
        assert np.bincount(source, minlength=len(sizes)).tolist() == counts
        seen += np.bincount(items, minlength=len(seen))
        for a, z in pairwise(first):
            assert seen[a:z].max() - seen[a:z].min() <= 1


@given(data=st.data(), epoch=st.integers(0, 2**62))
@settings(deadline=None)
def test_a_mixture_is_the_same_wherever_it_is_asked(data: st.DataObject, epoch: int) -> None:
    """No position depends on those before it, in any epoch."""
    mixed = Mixed((7, 1, 5_000), (40, 25, 35), 1)
    some = np.array(data.draw(st.lists(st.integers(0, 99), max_size=20)), np.int64)

    np.testing.assert_array_equal(
        mixed.epoch(epoch)(some), mixed.epoch(epoch)(all_integers(100))[some]
    )


def test_sources_are_mixed_evenly() -> None:
    """Each tenth of an epoch has its share of each source, and neighbours are independent."""
    mixed = Mixed((10, 10), (3_000, 7_000), 0)
    source = mixed.epoch(0)(all_integers(10_000)) // 10

    tenths = source.reshape(10, -1).sum(axis=1)
    pairs = Counter(zip(source[:-1].tolist(), source[1:].tolist(), strict=True))

    assert np.sum((tenths - 700) ** 2 / 210) < chi_square_bound(9)
    assert abs(pairs[0, 0] - 900) < 5 * 30


def test_a_source_has_a_new_order_each_time() -> None:
    """A small source has a new order each time it is read, in an epoch and between epochs."""
    mixed = Mixed((8,), (24,), 0)
    rounds = set()
    for epoch in range(2):
        turns = mixed.epoch(epoch)(all_integers(24))
        rounds.add(tuple(turns.tolist()))

    assert len(rounds) == 2


def test_mixtures_never_change() -> None:
    """A saved position means the same window in every version: these values never change."""
    items = Mixed((3, 5), (4, 6), 1).epoch(2)(all_integers(10))
    assert items.tolist() == [0, 3, 1, 4, 4, 2, 1, 7, 6, 6]
    items = Mixed((20, 300, 5_000), (3, 3, 4), 1).epoch(2)(all_integers(10))
    assert items.tolist() == [226, 4199, 15, 94, 838, 0, 18, 263, 1881, 4638]


# Without replacement


@given(
    weights=st.one_of(
        st.none(), st.lists(st.sampled_from([0, 1e-300, 0.1, 3, 1e300]), min_size=8).filter(any)
    ),
    data=st.data(),
)
@settings(deadline=None)
def test_no_item_is_drawn_twice(weights: list[float] | None, data: st.DataObject) -> None:
    """In an epoch all draws are different items, and none has the weight 0."""
    items = 8 if weights is None else len(weights)
    checked = None if weights is None else check_weights(weights, items, "window")
    drawable = range(8) if checked is None else np.flatnonzero(checked).tolist()
    n = data.draw(st.integers(1, len(drawable)))
    order = SampledOnce(checked, items, n, seed=3)
    drawn = order.epoch(data.draw(st.integers(0, 9)))(all_integers(n)).tolist()

    assert len(set(drawn)) == n
    assert set(drawn) <= set(drawable)


@pytest.mark.parametrize("weights", [[1.0, 2.0, 5.0], [1.0, 1.0, 1.0]])
def test_each_draw_leaves_the_weights_of_the_others(weights: list[float]) -> None:
    """Pairs are as frequent as if one item was drawn after the other, over 5,000 epochs."""
    order = SampledOnce(check_weights(weights, 3, "window"), 3, 2, seed=1)
    pairs = Counter(frozenset(order.epoch(e)(all_integers(2)).tolist()) for e in range(5_000))
    total = sum(weights)
    statistic = 0.0
    for pair in (frozenset(one) for one in ((0, 1), (0, 2), (1, 2))):
        a, b = (weights[item] for item in pair)
        expected = 5_000 * a * b / total * (1 / (total - a) + 1 / (total - b))
        statistic += (pairs[pair] - expected) ** 2 / expected

    assert statistic < chi_square_bound(2)


def test_equal_weights_need_no_table_over_the_items() -> None:
    """Without weights, a billion items are sampled without a table, and differ by epoch."""
    order = SampledOnce(None, 10**9, 1_000, seed=0)
    items = [order.epoch(epoch)(all_integers(1_000)) for epoch in (0, 1)]

    assert order.nbytes == 0
    assert len(set(items[0].tolist()) | set(items[1].tolist())) > 1_990
    for some in items:
        counts = np.bincount(some // 10**8, minlength=10)
        assert np.sum((counts - 100) ** 2 / 100) < chi_square_bound(9)


def test_draws_without_replacement_never_change() -> None:
    """A saved position means the same window in every version: these values never change."""
    weights = check_weights([1, 2, 3, 4, 5], 5, "window")

    assert SampledOnce(weights, 5, 4, 1).epoch(2)(all_integers(4)).tolist() == [2, 1, 3, 4]
    assert SampledOnce(None, 5, 4, 1).epoch(2)(all_integers(4)).tolist() == [1, 0, 4, 3]


@pytest.mark.parametrize(
    ("weights", "n", "sentence"),
    [
        (None, 4, "4 windows cannot be drawn without replacement from 3: give n=3 or less, or"),
        ([1, 0, 1], 3, "3 windows cannot be drawn without replacement from 2 with a positive"),
    ],
)
def test_more_draws_than_items_are_one_sentence(weights: Any, n: int, sentence: str) -> None:
    """The error says how many may be drawn."""
    with pytest.raises(InvalidWindowsError, match=sentence):
        fake_catalog([3_000]).windows(1_000, 1.0).sample(weights, n, replacement=False)


def test_all_windows_are_sampled_equally_without_weights() -> None:
    """sample(n=...) draws with equal weights, and sample(replacement=False) is a permutation."""
    windows = fake_catalog([10_000]).windows(1_000, 1.0)
    drawn = windows.sample(n=20_000).order.epoch(0)(all_integers(20_000))
    counts = np.bincount(drawn, minlength=10)
    once = windows.sample(replacement=False).order.epoch(0)(all_integers(10))

    assert np.sum((counts - 2_000) ** 2 / 2_000) < chi_square_bound(9)
    assert sorted(once.tolist()) == list(range(10))
    assert "sampled without replacement" in repr(windows.sample(n=2, replacement=False))
