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

from headrace import _kernel, resample
from headrace.resample import Resampler, resampler, table_bytes
from tolerances import (
    PROMISED_DB,
    SERIES,
    TABLE_BYTES_SLACK,
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
rates = st.sampled_from([*STANDARD, *AWKWARD, (16_000, 16_000)])


def place(signal: NDArray[np.float32], begin: int, end: int) -> NDArray[np.float32]:
    """Return inputs [begin, end) of the recording `signal`, which is zero outside itself."""
    x = np.zeros(end - begin, np.float32)
    low, high = max(begin, 0), min(end, len(signal))
    if low < high:
        x[low - begin : high - begin] = signal[low:high]
    return x


def outputs(
    filtered: Resampler, signal: NDArray[np.float32], start: int, stop: int
) -> NDArray[np.float32]:
    """Return outputs [start, stop) from their span alone."""
    begin, end = filtered.span(start, stop)
    y = np.full(stop - start, np.nan, np.float32)
    filtered(place(signal, begin, end), begin, y, start)
    return y


def response(
    filtered: Resampler, distance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return h by its textbook formula, and half its width, independently of the code."""
    stretch = max(1.0, filtered.rate_in / filtered.rate_out)
    cutoff = (1 + 0.913) / 2 / stretch
    beta = 0.1102 * (105 - 8.7)
    half = (105 - 8) / (2.285 * (1 - 0.913) * np.pi) / 2 * stretch
    window = scipy.special.i0(beta * np.sqrt(np.maximum(0, 1 - (distance / half) ** 2)))
    h = cutoff * np.sinc(cutoff * distance) * window / scipy.special.i0(beta)
    return np.where(np.abs(distance) < half, h, 0.0), half


@st.composite
def recordings(draw: st.DrawFn) -> NDArray[np.float32]:
    """Draw a recording of up to 600 samples, of any loudness, with zeros and extremes strewn in."""
    frames = draw(st.integers(1, 600))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    loudness = draw(st.sampled_from([1.0, 1e-4, 1e36, 1e-38, 1e-44]))
    signal = (generator.standard_normal(frames) * loudness).astype(np.float32)
    extremes = np.array([0.0, -0.0, 1e-45, -1e-45, 1.2e-38, 1.0, -1.0, 1e36], np.float32)
    strewn = generator.random(frames) < draw(st.sampled_from([0.0, 0.1, 0.9]))
    signal[strewn] = generator.choice(extremes, int(strewn.sum()))
    return signal


def test_sinc_is_the_textbooks() -> None:
    """The sinc made of exact operations is sin(pi x) / (pi x), and exactly 0 at whole numbers."""
    x = np.concatenate([np.linspace(-60, 60, 100_001), np.geomspace(1e-300, 1, 1_000)])

    np.testing.assert_allclose(resample._sinc(x), np.sinc(x), rtol=0, atol=SERIES)
    whole = np.arange(-60, 61, dtype=np.float64)
    np.testing.assert_array_equal(resample._sinc(whole), (whole == 0).astype(np.float64))


def test_bessel_is_the_textbooks() -> None:
    """The power series is I0 over all that the window asks of it."""
    x = np.linspace(0, max(11.0, resample._BETA), 10_001)

    np.testing.assert_allclose(resample._bessel_i0(x), scipy.special.i0(x), rtol=SERIES, atol=0)


@pytest.mark.parametrize("pair", [*STANDARD, *AWKWARD])
def test_table_is_the_formula(pair: tuple[int, int]) -> None:
    """Every coefficient is h of its distance, rounded to float32, and +0 beyond h's reach."""
    filtered = resampler(*pair)
    coefficients, first, _ = resample._table(filtered.up, filtered.down)
    groups, span, lanes = coefficients.shape
    output = np.arange(groups * lanes).reshape(groups, 1, lanes)
    position = output * filtered.rate_in / filtered.rate_out
    distance = position - (first[:, None, None] + np.arange(span)[None, :, None])

    h, half = response(filtered, distance)

    # Positions are rounded here, so a distance is known to 1e-16 of the largest position; h's slope
    # is below 2.
    atol = SERIES + 2 * 2.0**-52 * float(position.max())
    inside = np.abs(np.abs(distance) - half) > atol  # the edge itself may fall to either side
    got = coefficients.astype(np.float64)
    np.testing.assert_allclose(got[inside], h[inside], rtol=1.001 * UNIT_ROUNDOFF, atol=atol)
    beyond = coefficients[np.abs(distance) > half + atol]
    assert_same_bits(beyond, np.zeros_like(beyond))


def test_table_is_made_once() -> None:
    """All threads share one table per pair of rates."""
    assert resampler(22_050, 16_000) is resampler(22_050, 16_000)


@pytest.mark.parametrize("pair", [*STANDARD, *AWKWARD, (16_000, 16_000)])
def test_table_size_is_known_beforehand(pair: tuple[int, int]) -> None:
    """The size told before the table is made covers the table, closely."""
    told, real = table_bytes(*pair), resampler(*pair).nbytes

    assert real <= told <= TABLE_BYTES_SLACK * real


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
    no_table = Resampler(rate_in, rate_out, rate_out // divisor, rate_in // divisor, 0, nothing)

    assert no_table.output_frames(frames) == math.ceil(Fraction(frames * rate_out, rate_in))


@settings(deadline=None)
@given(rates, st.integers(-10_000, 10**12), st.integers(1, 500))
def test_support_holds_all_that_matters_and_span_holds_support(
    pair: tuple[int, int], start: int, count: int
) -> None:
    """No input outside `support` lies within h's reach of an output, and `span` contains it."""
    filtered = resampler(*pair)
    begin, end = filtered.support(start, start + count)
    first = Fraction(start * filtered.down, filtered.up)
    last = Fraction((start + count - 1) * filtered.down, filtered.up)

    if filtered.identity:
        assert (begin, end) == (start, start + count)
    else:
        assert first - (begin - 1) >= filtered.reach
        assert end - last >= filtered.reach
        _, half = response(filtered, np.zeros(1))
        assert half <= filtered.reach < half + 1
    span = filtered.span(start, start + count)
    assert span[0] <= begin
    assert end <= span[1]


@settings(deadline=None, max_examples=60)
@given(rates, recordings(), st.data())
def test_output_is_the_sum_within_its_rounding(
    pair: tuple[int, int], signal: NDArray[np.float32], data: st.DataObject
) -> None:
    """Each output is the float64 sum of x[n] h(m r/R - n), but for rounding, which is bounded."""
    filtered = resampler(*pair)
    frames = filtered.output_frames(len(signal))
    start = data.draw(st.integers(0, frames - 1))
    stop = min(frames, start + 64)
    m = np.arange(start, stop)[:, None]
    # Exact up to one rounding: integers in the numerator.
    distance = (m * filtered.down - np.arange(len(signal)) * filtered.up) / filtered.up
    h, _ = response(filtered, distance)
    if filtered.identity:
        h = (distance == 0).astype(np.float64)
    x = signal.astype(np.float64)

    got = outputs(filtered, signal, start, stop)

    weights = np.abs(h)
    taps = int(np.count_nonzero(h, axis=1).max())
    near = (weights > 0).astype(np.float64)
    bound = chain_bound(taps, weights @ np.abs(x), near @ np.abs(x))
    assert np.all(np.abs(got - h @ x) <= bound)


@settings(deadline=None, max_examples=150)
@given(rates, recordings(), st.data())
def test_any_part_is_the_slice_of_the_whole(
    pair: tuple[int, int], signal: NDArray[np.float32], data: st.DataObject
) -> None:
    """Outputs [start, stop) from their support alone are the slice of the whole, bit for bit."""
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
    """However the outputs are cut into calls, before the recording and behind it too."""
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
    """Any finite numbers may stand in the part of `span` that `support` does not name."""
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
    """A sum that underflows is +0, whatever stands beyond the filter's reach."""
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


def test_an_awkward_ratio_is_exact_too() -> None:
    """44,099 to 16,000 Hz: 16,000 phases, 30 MB told beforehand, and a part is still a slice."""
    filtered = resampler(44_099, 16_000)
    assert filtered.nbytes <= table_bytes(44_099, 16_000) < 2**25
    signal = np.random.default_rng(1).standard_normal(50_000).astype(np.float32)

    whole = outputs(filtered, signal, 0, filtered.output_frames(len(signal)))

    assert_same_bits(outputs(filtered, signal, 15_987, 16_021), whole[15_987:16_021])


def test_equal_rates_copy() -> None:
    """At equal rates there is no filter: the samples come out as they went in, to the sign of 0."""
    filtered = resampler(16_000, 16_000)
    signal = np.array([1, -0.0, 1e-45, 0.1], np.float32)

    got = outputs(filtered, signal, 0, 4)

    assert filtered.identity
    assert filtered.nbytes == table_bytes(16_000, 16_000) == 0
    assert_same_bits(got, signal)


@pytest.mark.parametrize("pair", [(22_050, 16_000), (8_000, 48_000), (16_000, 16_000)])
@pytest.mark.parametrize("cut", ["first", "last", "wrong start"])
def test_input_that_does_not_hold_the_span_is_refused(pair: tuple[int, int], cut: str) -> None:
    """One input too few on either side is an error, not a read of what is not there."""
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


HEARD = np.arange(10_000, 14_096)
"""The outputs that are measured."""


def tone(hz: float, rate: int, samples: NDArray[Any]) -> NDArray[np.float64]:
    """Return a tone of amplitude 1 at these sample numbers."""
    # Whole turns are taken away first: a large angle's rounding is a large error.
    turns = np.mod(samples * (hz / rate), 1.0)
    return np.asarray(np.cos(2 * np.pi * turns + 0.7))


def through(filtered: Resampler, hz: float) -> NDArray[np.float64]:
    """Return the outputs `HEARD` of a tone that has no beginning and no end."""
    start, stop = int(HEARD[0]), int(HEARD[-1]) + 1
    begin, end = filtered.span(start, stop)
    x = tone(hz, filtered.rate_in, np.arange(begin, end)).astype(np.float32)
    y = np.empty(stop - start, np.float32)
    filtered(x, begin, y, start)
    return y.astype(np.float64)


def decibels(error: NDArray[np.float64]) -> float:
    """Return the RMS of `error` relative to that of a tone of amplitude 1."""
    return 10 * math.log10(2 * float(np.mean(error**2)) + 1e-30)


@pytest.mark.parametrize("pair", STANDARD)
def test_tones_in_the_pass_band_are_reproduced(pair: tuple[int, int]) -> None:
    """From 0 to 0.9 of the lower Nyquist frequency: gain, phase and all that is added, -100 dB."""
    filtered = resampler(*pair)
    low = min(pair) / 2

    worst = max(
        decibels(through(filtered, f) - tone(f, pair[1], HEARD))
        for f in np.linspace(0, 0.9, 25) * low
    )

    assert worst <= PROMISED_DB


@pytest.mark.parametrize("pair", [pair for pair in STANDARD if pair[0] > pair[1]])
def test_tones_beyond_the_new_nyquist_do_not_alias(pair: tuple[int, int]) -> None:
    """What the new rate cannot carry is 100 dB down, from the new Nyquist frequency itself on."""
    filtered = resampler(*pair)
    low, high = pair[1] / 2, pair[0] / 2
    near = low * np.array([1, 1.001, 1.002, 1.005, 1.01, 1.02, 1.03, 1.05, 1.1])
    frequencies = [*near[near <= high], *np.linspace(low, high, 25)]

    worst = max(decibels(through(filtered, f)) for f in frequencies)

    assert worst <= PROMISED_DB


@pytest.mark.parametrize("pair", [pair for pair in STANDARD if pair[0] < pair[1]])
def test_upsampling_leaves_no_images(pair: tuple[int, int]) -> None:
    """All that a tone below the old Nyquist frequency leaves besides itself is 100 dB down."""
    filtered = resampler(*pair)
    low = pair[0] / 2

    def besides(f: float) -> float:
        y = through(filtered, f)
        quarter = pair[1] / f / 4
        basis = np.stack([tone(f, pair[1], HEARD), tone(f, pair[1], HEARD + quarter)], axis=1)
        fit, *_ = np.linalg.lstsq(basis, y)
        return decibels(y - basis @ fit)

    worst = max(besides(f) for f in low * np.array([0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.99]))

    assert worst <= PROMISED_DB
