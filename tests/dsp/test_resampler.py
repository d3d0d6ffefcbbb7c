from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import _kernel
from headrace.dsp import _resampler as resample
from headrace.dsp._resampler import (
    PHASES,
    TABLE_LIMIT,
    Resampler,
    Stage,
    resampler,
    stages,
    table_bytes,
)
from tests.support.tolerances import (
    PARABOLA,
    PROMISED_DB,
    SERIES,
    UNIT_ROUNDOFF,
    assert_same_bits,
    chain_bound,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

STANDARD = [
    (22_050, 16_000),
    (44_100, 16_000),
    (48_000, 16_000),
    (48_000, 32_000),
    (32_000, 48_000),
    (8_000, 16_000),
    (8_000, 48_000),
    (96_000, 48_000),
    (384_000, 16_000),
    (250_000, 48_000),
]
AWKWARD = [(7, 3), (3, 7), (1, 17), (17, 1), (1_009, 1_000), (97, 101)]
COPRIME = [
    (44_099, 16_000),
    (44_101, 44_100),
    (47_999, 48_000),
    (11_025, 48_000),
    (399_989, 16_000),
]
rates = st.sampled_from([*STANDARD, *AWKWARD, *COPRIME, (16_000, 16_000)])


def place(signal: NDArray[np.float32], begin: int, end: int) -> NDArray[np.float32]:
    """Return inputs [begin, end) of the recording `signal`, with zeros outside it."""
    x = np.zeros(end - begin, np.float32)
    low, high = max(begin, 0), min(end, len(signal))
    if low < high:
        x[low - begin : high - begin] = signal[low:high]
    return x


def outputs(
    filtered: Resampler, signal: NDArray[np.float32], start: int, stop: int
) -> NDArray[np.float32]:
    """Return outputs [start, stop), computed from their span only."""
    begin, end = filtered.span(start, stop)
    y = np.full(stop - start, np.nan, np.float32)
    filtered(place(signal, begin, end), begin, y, start)
    return y


def response(stage: Stage, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a stage's h by its textbook formula, with SciPy's functions."""
    place = distance / stage.half_width
    window = scipy.special.i0(stage.beta * np.sqrt(np.maximum(0, 1 - place**2)))
    h = stage.cutoff * np.sinc(stage.cutoff * distance) * window / scipy.special.i0(stage.beta)
    return np.where(np.abs(distance) < stage.half_width, h, 0.0)


def parabola_bound(stage: Stage, distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest allowed error of interpolated coefficients at these distances."""
    from_edge = np.abs(np.abs(distance) - stage.half_width)
    # h steps to 0 at its end, and a parabola may end a phase further out.
    step = 1 / (np.pi * stage.half_width * scipy.special.i0(stage.beta))
    at_edge = np.where(from_edge <= 1 / stage.phases, 2 * step, 0.0)
    inside = np.abs(distance) < stage.half_width + 1 / stage.phases
    return np.where(inside, PARABOLA, 0.0) + at_edge


def stage_support(stage: Stage, start: int, stop: int) -> tuple[int, int]:
    """Return the inputs within a stage's reach of its outputs [start, stop)."""
    return (
        start * stage.down // stage.up - stage.reach + 1,
        (stop - 1) * stage.down // stage.up + stage.reach + 1,
    )


def exact(
    chain: tuple[Stage, ...], signal: NDArray[np.float32], start: int, stop: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return outputs [start, stop) as float64 sums, and each one's largest allowed error."""
    if not chain:
        x = place(signal, start, stop).astype(np.float64)
        return x, np.zeros(len(x))
    stage = chain[-1]
    begin, end = stage_support(stage, start, stop)
    x, before = exact(chain[:-1], signal, begin, end)
    m, n = np.arange(start, stop)[:, None], np.arange(begin, end)
    distance = (m * stage.down - n * stage.up) / stage.up  # one rounding: integers above
    h = response(stage, distance)
    weights, largest = np.abs(h), np.abs(x) + before
    if stage.phases:
        weights = weights + parabola_bound(stage, distance)
    # A parabola rounds each coefficient five times, not once.
    taps = int(np.count_nonzero(weights, axis=1).max()) + (4 if stage.phases else 0)
    near = (weights > 0).astype(np.float64)
    bound = weights @ before + chain_bound(taps, weights @ largest, near @ largest)
    return h @ x, bound + (weights - np.abs(h)) @ largest


@st.composite
def recordings(draw: st.DrawFn) -> NDArray[np.float32]:
    """Draw a recording of up to 600 samples of any level, with zeros and extreme values in it."""
    frames = draw(st.integers(1, 600))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    loudness = draw(st.sampled_from([1.0, 1e-4, 1e36, 1e-38, 1e-44]))
    signal = (generator.standard_normal(frames) * loudness).astype(np.float32)
    extremes = np.array([0.0, -0.0, 1e-45, -1e-45, 1.2e-38, 1.0, -1.0, 1e36], np.float32)
    strewn = generator.random(frames) < draw(st.sampled_from([0.0, 0.1, 0.9]))
    signal[strewn] = generator.choice(extremes, int(strewn.sum()))
    return signal


def test_sinc_is_the_textbooks() -> None:
    """The sinc from basic operations is sin(pi x) / (pi x), and exactly 0 at integers."""
    x = np.concatenate([np.linspace(-60, 60, 100_001), np.geomspace(1e-300, 1, 1_000)])

    np.testing.assert_allclose(resample._sinc(x), np.sinc(x), rtol=0, atol=SERIES)
    whole = np.arange(-60, 61, dtype=np.float64)
    np.testing.assert_array_equal(resample._sinc(whole), (whole == 0).astype(np.float64))


def test_bessel_is_the_textbooks() -> None:
    """The power series equals I0 over the whole range that the window uses."""
    x = np.linspace(0, max(12.1, resample._beta(resample.HELPER_DB)), 10_001)

    np.testing.assert_allclose(resample._bessel_i0(x), scipy.special.i0(x), rtol=SERIES, atol=0)


@pytest.mark.parametrize("pair", [*STANDARD, *AWKWARD, *COPRIME])
def test_tables_are_the_formula(pair: tuple[int, int]) -> None:
    """Every coefficient is h at its distance, rounded to float32, and +0 outside h's support."""
    for stage in stages(*pair):
        if stage.phases:
            continue
        table, first = stage.table()
        groups, span, lanes = table.shape
        output = np.arange(groups * lanes).reshape(groups, 1, lanes)
        position = output * stage.down / stage.up
        distance = position - (first[:, None, None] + np.arange(span)[None, :, None])

        h = response(stage, distance)

        # Positions are rounded here, so a distance is known to 1e-16 of the largest position; h's
        # slope is below 2.
        atol = SERIES + 2 * 2.0**-52 * float(position.max())
        edge = np.abs(np.abs(distance) - stage.half_width)  # itself it may fall to either side
        inside = edge > atol
        got = table.astype(np.float64)
        np.testing.assert_allclose(got[inside], h[inside], rtol=1.001 * UNIT_ROUNDOFF, atol=atol)
        beyond = table[np.abs(distance) > stage.half_width + atol]
        assert_same_bits(beyond, np.zeros_like(beyond))


@pytest.mark.parametrize("pair", [(44_101, 44_100), (399_989, 16_000)])
def test_parabolas_follow_the_formula(pair: tuple[int, int]) -> None:
    """Between two phases, a coefficient is h within the allowed error."""
    (stage,) = [stage for stage in stages(*pair) if stage.phases]
    table, first = stage.table()
    parabolas = table.astype(np.float64)
    lanes = np.arange(parabolas.shape[-1])
    inputs = first[0] + np.arange(stage.span)[:, None]
    for phase in range(stage.phases):
        for t in (0.0, 0.2, 0.5, 0.7, 1.0):
            distance = (phase + t) / stage.phases + lanes * stage.down / stage.up - inputs
            constant, slope, bend = np.moveaxis(parabolas[phase], 1, 0)

            got = constant + t * (slope + t * bend)

            allowed = parabola_bound(stage, distance) + 2 * UNIT_ROUNDOFF * np.abs(got)
            assert np.all(np.abs(got - response(stage, distance)) <= allowed)
            beyond = np.abs(distance) >= stage.reach
            assert np.all(table[phase].transpose(0, 2, 1)[beyond] == 0)


@pytest.mark.parametrize("pair", [*STANDARD, *AWKWARD, *COPRIME])
def test_a_chain_makes_the_ratio_and_has_one_narrow_stage(pair: tuple[int, int]) -> None:
    """The stages' ratios multiply to the whole ratio; one has the narrow transition band."""
    rate, narrow = Fraction(pair[0]), 0
    for stage in stages(*pair):
        assert math.gcd(stage.up, stage.down) == 1
        if stage.beta == pytest.approx(0.1102 * (105 - 8.7)):
            stretch = float(rate / min(pair))
            half_width = (105 - 8) / (2.285 * (1 - 0.913) * np.pi) / 2 * stretch
            assert stage.half_width == pytest.approx(half_width, rel=1e-12)
            assert stage.cutoff == pytest.approx((1 + 0.913) / 2 / stretch, rel=1e-12)
            narrow += 1
        rate = rate * stage.up / stage.down

    assert rate == pair[1]
    assert narrow == 1


def test_a_half_band_filter_leaves_every_second_coefficient_out() -> None:
    """Every second coefficient of a half-band filter is exactly 0, and `taps` counts the others."""
    halver = stages(48_000, 16_000)[0]
    table, _ = halver.table()

    assert np.count_nonzero(table[0, :, 0]) == halver.taps
    assert halver.taps < halver.half_width + 2


def test_table_is_made_once() -> None:
    """All threads share one table per pair of sample rates."""
    assert resampler(22_050, 16_000) is resampler(22_050, 16_000)


@pytest.mark.parametrize("pair", [*STANDARD, *AWKWARD, *COPRIME, (16_000, 16_000)])
def test_table_size_is_known_beforehand(pair: tuple[int, int]) -> None:
    """`table_bytes` is the size of the tables, before they are computed."""
    assert table_bytes(*pair) == resampler(*pair).nbytes


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400_000), st.integers(1, 400_000))
def test_tables_are_bounded_for_any_pair_of_rates(rate_in: int, rate_out: int) -> None:
    """Tables stay within the limit for any pair of sample rates."""
    assert table_bytes(rate_in, rate_out) <= TABLE_LIMIT


@given(
    st.integers(1, 400_000),
    st.integers(1, 400_000),
    st.integers(0, 2**50),
    st.sampled_from([0, 1, None]),
)
def test_output_frames_is_the_ceiling(
    rate_in: int, rate_out: int, frames: int, over: int | None
) -> None:
    """A recording has ceil(n R / r) outputs, exactly, however long it is."""
    divisor = math.gcd(rate_in, rate_out)
    if over is not None:  # at a whole number of outputs or one input over: where floats go wrong
        frames += over - frames % (rate_in // divisor)
    nothing = _kernel.Filter([])
    up, down = rate_out // divisor, rate_in // divisor
    no_table = Resampler(rate_in, rate_out, up, down, 0, nothing)

    assert no_table.output_frames(frames) == math.ceil(Fraction(frames * rate_out, rate_in))


@settings(deadline=None)
@given(rates, st.integers(-10_000, 10**12), st.integers(1, 500))
def test_support_holds_all_that_matters_and_span_holds_support(
    pair: tuple[int, int], start: int, count: int
) -> None:
    """`support` is the inputs within the stages' reach of the outputs, and `span` contains it."""
    filtered = resampler(*pair)
    begin, end = filtered.support(start, start + count)
    first = Fraction(start * filtered.down, filtered.up)
    last = Fraction((start + count - 1) * filtered.down, filtered.up)

    if filtered.identity:
        assert (begin, end) == (start, start + count)
    else:
        assert first - begin < filtered.reach
        assert end - 1 - last <= filtered.reach
    want = start, start + count
    for stage in reversed(stages(*pair)):
        want = stage_support(stage, *want)
        assert stage.half_width <= stage.reach < stage.half_width + 1 + 1 / PHASES
    assert (begin, end) == want
    span = filtered.span(start, start + count)
    assert span[0] <= begin
    assert end <= span[1]


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(rates, recordings(), st.data())
def test_output_is_the_sum_within_its_rounding(
    pair: tuple[int, int], signal: NDArray[np.float32], data: st.DataObject
) -> None:
    """A stage's output is the float64 sum of x[n] h(m M/L - n) within the bound of its rounding."""
    filtered = resampler(*pair)
    frames = filtered.output_frames(len(signal))
    start = data.draw(st.integers(0, frames - 1))
    stop = min(frames, start + 64)
    want, bound = exact(stages(*pair), signal, start, stop)

    got = outputs(filtered, signal, start, stop)

    assert np.all(np.abs(got - want) <= bound)


@settings(deadline=None, max_examples=150)
@given(rates, recordings(), st.data())
def test_any_part_is_the_slice_of_the_whole(
    pair: tuple[int, int], signal: NDArray[np.float32], data: st.DataObject
) -> None:
    """Outputs [start, stop) from their support only are a slice of the whole, to the bit."""
    filtered = resampler(*pair)
    frames = min(filtered.output_frames(len(signal)), 5_000)
    start = data.draw(st.integers(0, frames - 1))
    stop = data.draw(st.integers(start + 1, frames))
    whole = outputs(filtered, signal, 0, frames)
    begin, end = filtered.span(start, stop)
    support = filtered.support(start, stop)
    x = np.zeros(end - begin, np.float32)
    x[support[0] - begin : support[1] - begin] = place(signal, *support)

    part = np.full(stop - start, np.nan, np.float32)
    filtered(x, begin, part, start)

    assert_same_bits(part, whole[start:stop])


@settings(deadline=None, max_examples=60)
@given(rates, recordings(), st.data())
def test_any_chunks_are_one_shot(
    pair: tuple[int, int], signal: NDArray[np.float32], data: st.DataObject
) -> None:
    """Outputs in any number of calls equal one call, also before and after the recording."""
    filtered = resampler(*pair)
    first, last = -40, min(filtered.output_frames(len(signal)), 2_000) + 40
    cuts = data.draw(st.lists(st.integers(first, last), max_size=8))
    edges = [first, *sorted(cuts), last]

    chunks = [outputs(filtered, signal, a, b) for a, b in itertools.pairwise(edges) if a < b]

    assert_same_bits(np.concatenate(chunks), outputs(filtered, signal, first, last))


@settings(deadline=None, max_examples=100)
@given(rates, recordings(), st.integers(-100, 700), st.integers(1, 100), st.integers(0, 2**32))
def test_what_lies_outside_the_support_does_not_matter(
    pair: tuple[int, int], signal: NDArray[np.float32], start: int, count: int, seed: int
) -> None:
    """Any finite numbers outside `support` but inside `span` change nothing."""
    filtered = resampler(*pair)
    want = outputs(filtered, signal, start, start + count)
    begin, end = filtered.span(start, start + count)
    support = filtered.support(start, start + count)
    garbage = np.random.default_rng(seed).choice(
        np.array([3.4e38, -3.4e38, 1.0, -1.0, -0.0, 1e-45], np.float32), end - begin
    )
    garbage[support[0] - begin : support[1] - begin] = place(signal, *support)

    got = np.empty(count, np.float32)
    filtered(garbage, begin, got, start)

    assert_same_bits(got, want)


def test_an_underflowed_zero_has_no_sign_to_lose() -> None:
    """A sum that underflows is +0, whatever the inputs outside the filter's support are."""
    filtered = resampler(48_000, 32_000)
    begin, end = filtered.span(100, 101)
    support = filtered.support(100, 101)
    results = set()
    for beyond in (-1, 0, 1):
        for tap in range(*support):
            for tiny in (1e-45, -1e-45):
                x = np.zeros(end - begin, np.float32)
                x[support[1] - 2 - begin : support[1] - begin] = -1  # h is zero here, or nearly
                x[support[1] - begin :] = beyond
                x[tap - begin] = tiny
                y = np.empty(1, np.float32)
                filtered(x, begin, y, 100)
                results.add((tap, tiny, y.tobytes()))

    assert len(results) == 2 * (support[1] - support[0])


@pytest.mark.parametrize("pair", [(44_099, 16_000), (48_000, 32_000), (384_000, 16_000)])
def test_a_long_run_is_its_parts(pair: tuple[int, int]) -> None:
    """A call longer than the pieces between stages, and than a table's tiles, equals its parts."""
    filtered = resampler(*pair)
    signal = np.random.default_rng(1).standard_normal(12 * pair[0]).astype(np.float32)

    whole = outputs(filtered, signal, 0, filtered.output_frames(len(signal)))

    for start in range(0, len(whole) - 500, 9_973):
        assert_same_bits(outputs(filtered, signal, start, start + 500), whole[start : start + 500])


def test_equal_rates_copy() -> None:
    """At equal rates the samples are copied, including the sign of 0."""
    filtered = resampler(16_000, 16_000)
    signal = np.array([1, -0.0, 1e-45, 0.1], np.float32)

    got = outputs(filtered, signal, 0, 4)

    assert filtered.identity
    assert filtered.nbytes == table_bytes(16_000, 16_000) == 0
    assert_same_bits(got, signal)


@pytest.mark.parametrize("pair", [(22_050, 16_000), (8_000, 48_000), (16_000, 16_000)])
@pytest.mark.parametrize("cut", ["first", "last", "wrong start"])
def test_input_that_does_not_hold_the_span_is_refused(pair: tuple[int, int], cut: str) -> None:
    """One input too few at either end is an error, not a read out of bounds."""
    filtered = resampler(*pair)
    begin, end = filtered.span(-5, 100)
    x = np.zeros(end - begin, np.float32)
    y = np.zeros(105, np.float32)
    filtered(x, begin, y, -5)

    given_x, given_start = {
        "first": (x[1:], begin + 1),
        "last": (x[:-1], begin),
        "wrong start": (x, begin + 1),
    }[cut]

    with pytest.raises(ValueError, match="does not hold"):
        filtered(given_x, given_start, y, -5)


EVALUATED = np.arange(10_000, 14_096)
"""The outputs that are measured."""


def tone(hz: float, rate: int, samples: NDArray[Any]) -> NDArray[np.float64]:
    """Return a tone of amplitude 1 at these sample indices."""
    # Whole turns are taken away first: a large angle's rounding is a large error.
    turns = np.mod(samples * (hz / rate), 1.0)
    return np.asarray(np.cos(2 * np.pi * turns + 0.7))


def through(filtered: Resampler, hz: float) -> NDArray[np.float64]:
    """Return the outputs `EVALUATED` of a tone without beginning and end."""
    start, stop = int(EVALUATED[0]), int(EVALUATED[-1]) + 1
    begin, end = filtered.span(start, stop)
    x = tone(hz, filtered.rate_in, np.arange(begin, end)).astype(np.float32)
    y = np.empty(stop - start, np.float32)
    filtered(x, begin, y, start)
    return y.astype(np.float64)


def decibels(error: NDArray[np.float64]) -> float:
    """Return the RMS of `error` relative to that of a tone of amplitude 1."""
    return 10 * math.log10(2 * float(np.mean(error**2)) + 1e-30)


@pytest.mark.parametrize("pair", [*STANDARD, *COPRIME, (48_000, 22_050), (7_000, 3_000)])
def test_tones_in_the_pass_band_are_reproduced(pair: tuple[int, int]) -> None:
    """Up to 0.9 of the lower Nyquist frequency, gain, phase and noise are within -100 dB."""
    filtered = resampler(*pair)
    low = min(pair) / 2

    worst = max(
        decibels(through(filtered, f) - tone(f, pair[1], EVALUATED))
        for f in np.linspace(0, 0.9, 25) * low
    )

    assert worst <= PROMISED_DB


# (From 44,101 to 44,100 Hz there is half a hertz to be kept off.)
@pytest.mark.parametrize(
    "pair",
    [
        *(pair for pair in [*STANDARD, *COPRIME] if pair[0] > 1.01 * pair[1]),
        (48_000, 22_050),
        (7_000, 3_000),
    ],
)
def test_tones_beyond_the_new_nyquist_do_not_alias(pair: tuple[int, int]) -> None:
    """Tones at and above the new Nyquist frequency are attenuated by 100 dB."""
    filtered = resampler(*pair)
    low, high = pair[1] / 2, pair[0] / 2
    near = low * np.array([1, 1.001, 1.002, 1.005, 1.01, 1.02, 1.03, 1.05, 1.1])
    frequencies = [
        *near[near <= high],
        *np.linspace(low, high, 41)[:-1],
    ]  # (at high, it is its image)
    rate = float(pair[0])
    for stage in stages(*pair):  # what a stage folds to the ends of the pass band and of the band
        rate = rate * stage.up / stage.down
        folds = rate * np.arange(1, 30)[:, None] + low * np.array([-1, -0.9, 0, 0.9, 1])
        frequencies.extend(folds[(folds >= low) & (folds <= high)])

    worst = max(decibels(through(filtered, f)) for f in frequencies)

    assert worst <= PROMISED_DB


@pytest.mark.parametrize("pair", [pair for pair in [*STANDARD, *COPRIME] if pair[0] < pair[1]])
def test_upsampling_leaves_no_images(pair: tuple[int, int]) -> None:
    """Images of tones below the old Nyquist frequency are attenuated by 100 dB."""
    filtered = resampler(*pair)
    low = pair[0] / 2

    def besides(f: float) -> float:
        y = through(filtered, f)
        quarter = pair[1] / f / 4
        basis = np.stack(
            [tone(f, pair[1], EVALUATED), tone(f, pair[1], EVALUATED + quarter)], axis=1
        )
        fit, *_ = np.linalg.lstsq(basis, y)
        return decibels(y - basis @ fit)

    worst = max(besides(f) for f in low * np.array([0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99]))

    assert worst <= PROMISED_DB
