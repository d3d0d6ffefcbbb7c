from __future__ import annotations

import ctypes
import ctypes.util
import itertools
import math
import platform
import sys
import threading
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import _kernel
from headrace._kernel.testing import convert
from headrace.dsp._resampler import Stage, resampler, stages
from tests.support.reference_loader import in_float32
from tests.support.tolerances import assert_same_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

SETS = _kernel.instruction_sets()
PAIRS = [
    (22_050, 16_000),
    (48_000, 16_000),
    (32_000, 48_000),
    (8_000, 48_000),
    (384_000, 16_000),
    (48_000, 22_050),
    (44_101, 44_100),
    (7, 3),
    (97, 101),
]
POISON = np.float32(np.nan)


def c_library() -> ctypes.CDLL:
    """Return the C library with the mathematical functions of this platform."""
    return ctypes.CDLL(ctypes.util.find_library("m") or "ucrtbase")


@cache
def fused_multiply_add() -> Callable[[float, float, float], float]:
    """Return C's fmaf, which rounds once by definition."""
    fmaf = c_library().fmaf
    fmaf.restype = ctypes.c_float
    fmaf.argtypes = [ctypes.c_float] * 3
    return fmaf


def parts(stage: Stage) -> dict[str, Any]:
    """Return what `_kernel.FilterStage` is made of."""
    table, first = stage.table()
    return {
        "coefficients": table.reshape(-1),
        "first": first,
        "up": stage.up,
        "down": stage.down,
        "reach": stage.reach,
        "phases": stage.phases,
    }


def filter_of(stage: Stage) -> _kernel.Filter:
    """Return the filter of one stage."""
    return _kernel.Filter([_kernel.FilterStage(**parts(stage))])


@st.composite
def signals(draw: st.DrawFn, length: int) -> NDArray[np.float32]:
    """Draw finite inputs whose sums stay finite: loud, faint, subnormal, zero of either sign."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    loudness = draw(st.sampled_from([1.0, 1e-4, 1e36, 1e-38, 1e-44]))
    x = (generator.standard_normal(length) * loudness).astype(np.float32)
    extremes = np.array([0.0, -0.0, 1e-45, -1e-45, 1.2e-38, 1.0, -1.0, 1e36], np.float32)
    strewn = generator.random(length) < draw(st.sampled_from([0.0, 0.1, 0.9]))
    x[strewn] = generator.choice(extremes, int(strewn.sum()))
    return x


def test_the_portable_set_is_always_there_and_last() -> None:
    """The best instruction set comes first and is the default; "portable" comes last."""
    assert SETS[-1] == "portable"
    assert len(set(SETS)) == len(SETS)


tables = cache(Stage.table)


def twin(stage: Stage, x: NDArray[np.float32], x_start: int, m: int) -> float:
    """Return output `m` of a stage by its definition: fmaf in order of the inputs, then + 0."""
    fmaf = fused_multiply_add()
    table, firsts = tables(stage)
    lane = m % _kernel.LANES
    if stage.phases:
        # How far the group's first output stands behind an input, in phases, as an exact fraction.
        position = Fraction((m - lane) * stage.down, stage.up)
        behind = (position - math.floor(position)) * stage.phases
        phase = math.floor(behind)
        t = float(np.float32(float(behind - phase)))
        first = math.floor(position) + int(firsts[0])
        coefficients = [
            fmaf(fmaf(float(row[2, lane]), t, float(row[1, lane])), t, float(row[0, lane]))
            for row in table[phase]
        ]
    else:
        block, group = divmod(m // _kernel.LANES, len(firsts))
        block_in = len(firsts) * _kernel.LANES * stage.down // stage.up
        first = block * block_in + int(firsts[group])
        coefficients = table[group, :, lane].tolist()
    total = 0.0
    for i, coefficient in enumerate(coefficients):
        at = first + i - x_start
        # What is not there is not within reach: its coefficient is 0.
        total = fmaf(float(x[at]) if 0 <= at < len(x) else 0.0, coefficient, total)
    return total + 0.0


@pytest.mark.parametrize("pair", PAIRS)
def test_each_output_is_one_chain_of_fused_multiply_adds(pair: tuple[int, int]) -> None:
    """Every instruction set gives the same bits as the scalar definition, for each stage."""
    filtered = resampler(*pair)
    start, stop = -3, _kernel.LANES + 5
    begin, end = filtered.span(start, stop)
    x = np.random.default_rng(3).standard_normal(end - begin).astype(np.float32)
    ranges = [(start, stop)]  # of outputs, last stage first
    for stage in reversed(stages(*pair)[1:]):
        low, high = ranges[-1]
        ranges.append(filter_of(stage).support(low, high))
    want, at = x, begin
    for stage, (low, high) in zip(stages(*pair), reversed(ranges), strict=True):
        want = np.array([twin(stage, want, at, m) for m in range(low, high)], np.float32)
        at = low

    for name in SETS:
        got = np.empty(stop - start, np.float32)
        filtered(x, begin, got, start, instruction_set=name)
        assert_same_bits(got, want)


@pytest.mark.parametrize("cutoff", [0.5, 0.45], ids=["every second tap", "every tap"])
@pytest.mark.parametrize("count", [1, 15, 300, 1_100])
def test_a_halving_stage_is_one_chain_of_fused_multiply_adds(cutoff: float, count: int) -> None:
    """Halving the sample rate gives the defined bits, with a half-band filter or another."""
    stage = Stage(1, 2, 9.5, cutoff, 9.0)
    halver = filter_of(stage)
    begin, end = halver.span(-7, count - 7)
    x = np.random.default_rng(4).standard_normal(end - begin).astype(np.float32)
    want = np.array([twin(stage, x, begin, m) for m in range(-7, count - 7)], np.float32)
    assert stage.taps == (11 if cutoff == 0.5 else 19)

    for name in SETS:
        got = np.empty(count, np.float32)
        halver.apply(x, begin, got, -7, name)
        assert_same_bits(got, want)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PAIRS), st.integers(-(10**9), 10**9), st.integers(1, 1_500), st.data())
def test_all_instruction_sets_agree_and_stay_within_their_arrays(
    pair: tuple[int, int], start: int, count: int, data: st.DataObject
) -> None:
    """Every set gives the same bits, reads nothing outside `x` and writes nothing outside `y`."""
    filtered = resampler(*pair)
    begin, end = filtered.span(start, start + count)
    sea = np.full(end - begin + 200, POISON)  # one NaN read would make an output NaN
    x = sea[100 : 100 + end - begin]
    x[:] = data.draw(signals(end - begin))
    results = []

    for name in SETS:
        shore = np.full(count + 200, POISON)
        filtered(x, begin, shore[100 : 100 + count], start, instruction_set=name)
        assert np.isnan(shore[:100]).all()
        assert np.isnan(shore[100 + count :]).all()
        results.append(shore[100 : 100 + count])
    best = np.empty(count, np.float32)
    filtered(x, begin, best, start)

    assert np.isfinite(best).all()
    for result in results:
        assert_same_bits(result, best)


@contextmanager
def rounding_upward() -> Iterator[None]:
    """Set the rounding mode to upward, as another library may leave it."""
    machine = platform.machine().lower()
    upward = {"x86_64": 0x800, "amd64": 0x800, "aarch64": 0x400000, "arm64": 0x400000}.get(machine)
    if upward is None or sys.platform == "win32":
        pytest.skip("FE_UPWARD is not known here")
    library = c_library()
    before = library.fegetround()
    assert library.fesetround(upward) == 0
    try:
        yield
    finally:
        library.fesetround(before)


@contextmanager
def flushing_subnormals() -> Iterator[None]:
    """Flush subnormal numbers to zero, as loading a library built with -ffast-math does."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("where fenv_t keeps the flush bits is known for Linux on x86-64 alone")
    library = c_library()
    before = (ctypes.c_uint32 * 8)()  # fenv_t: 28 bytes of x87 state, then MXCSR
    library.fegetenv(before)
    changed = (ctypes.c_uint32 * 8)(*before)
    changed[7] |= 0x8040
    library.fesetenv(changed)
    try:
        yield
    finally:
        library.fesetenv(before)


@pytest.mark.parametrize("strange_mode", [rounding_upward, flushing_subnormals])
@pytest.mark.parametrize("name", SETS)
def test_the_threads_floating_point_mode_does_not_matter(
    name: str, strange_mode: Callable[[], AbstractContextManager[None]]
) -> None:
    """A thread that rounds upward or flushes subnormals gets the same bits and keeps its mode."""
    filtered = resampler(22_050, 16_000)
    begin, end = filtered.span(0, 500)
    loud = np.random.default_rng(5).standard_normal(end - begin).astype(np.float32)
    faint = (loud * 1e-40).astype(np.float32)
    wide = loud.astype(np.float64) * 1e-40
    ordinary = np.array([1.0, 5e-310])

    def compute() -> list[NDArray[Any]]:
        results = [np.empty(500, np.float32) for _ in range(2)] + [np.empty(len(wide), np.float32)]
        filtered(loud, begin, results[0], 0, instruction_set=name)
        filtered(faint, begin, results[1], 0, instruction_set=name)
        convert(wide, 1, 0, results[2])
        return results

    want = compute()
    usual = (ordinary + 2.0**-60) * 0.5
    with strange_mode():
        got = compute()
        strange = (ordinary + 2.0**-60) * 0.5
        flushed = ordinary * 0.5

    for result, expected in zip(got, want, strict=True):
        assert_same_bits(result, expected)
    # The mode was strange indeed, and the kernel left it so.
    assert (strange[0] != usual[0]) or (flushed[1] == 0)


def test_the_gil_is_released() -> None:
    """Another thread sees the outputs partly written, so the kernel does not hold the GIL."""
    filtered = resampler(44_100, 16_000)
    count = 400_000
    begin, end = filtered.span(0, count)
    x = np.zeros(end - begin, np.float32)
    y = np.empty(count, np.float32)

    def seen_half_written() -> bool:
        y.fill(POISON)
        thread = threading.Thread(
            target=filtered, args=(x, begin, y, 0), kwargs={"instruction_set": "portable"}
        )
        thread.start()
        while np.isnan(y[0]) and thread.is_alive():
            pass
        half = bool(np.isnan(y[-1]))
        thread.join()
        return half

    # One attempt can miss: this thread may be off the processor for as long as the other computes.
    assert any(seen_half_written() for _ in range(50))


def call(**changes: Any) -> None:
    """Make a filter and 40 outputs as `Resampler` would, with some arguments changed."""
    begin, end = resampler(22_050, 16_000).span(0, 40)
    (stage,) = stages(22_050, 16_000)
    values = parts(stage)
    arguments: dict[str, Any] = {
        "x": np.zeros(end - begin, np.float32),
        "x_start": begin,
        "y": np.zeros(40, np.float32),
        "y_start": 0,
    }
    for name, value in changes.items():
        (values if name in values else arguments)[name] = value
    _kernel.Filter([_kernel.FilterStage(**values)]).apply(**arguments)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, made read-only."""
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "changes",
    [
        {"x": np.zeros(5_000)},
        {"x": np.zeros(5_000, ">f4")},
        {"x": np.zeros(5_000, np.int32)},
        {"x": np.zeros(10_000, np.float32)[::2]},
        {"x": np.zeros((100, 50), np.float32)},
        {"x": [0.0] * 5_000},
        {"y": np.zeros(40)},
        {"y": np.zeros(80, np.float32)[::2]},
        {"y": np.zeros((40, 1), np.float32)},
        {"y": read_only(np.zeros(40, np.float32))},
        {"first": np.zeros(20, np.int32)},
        {"coefficients": np.zeros(20 * 16 * 200)},
        {"x_start": 0.5},
        {"y_start": 2**63},
        {"instruction_set": None},
    ],
    ids=str,
)
def test_arguments_of_another_type_are_refused(changes: dict[str, Any]) -> None:
    """Arguments are not converted: a wrong dtype, layout or kind is a TypeError."""
    call()

    with pytest.raises(TypeError):
        call(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros(3, np.float32)}, "does not hold"),
        ({"x_start": 0}, "does not hold"),
        ({"y_start": -1}, "does not hold"),
        ({"y_start": 10**9}, "does not hold"),
        ({"y_start": -(10**9)}, "does not hold"),
        ({"y_start": 2**63 - 1}, "further away"),
        ({"y_start": -(2**63)}, "further away"),
        ({"x_start": 2**63 - 1}, "does not hold"),
        ({"x_start": -(2**63)}, "does not hold"),
        ({"up": 0}, "must be a ratio"),
        ({"down": 0}, "must be a ratio"),
        ({"down": 2**62}, "must be a ratio"),
        ({"down": 440}, "must be a ratio"),
        ({"up": 321}, "must be a ratio"),
        ({"up": 319}, "contradict each other"),
        ({"reach": 0}, "reach must be"),
        ({"phases": -1}, "phases and first"),
        ({"phases": 64}, "phases and first"),
        ({"phases": 64, "first": np.array([-107])}, "contradict each other"),
        ({"phases": 2**20, "first": np.array([-107])}, "phases and first"),
        ({"reach": 109}, "contradict each other"),
        ({"reach": 2**40}, "reach must be"),
        ({"coefficients": np.zeros(321, np.float32)}, "contradict each other"),
        ({"coefficients": np.zeros(320, np.float32)}, "contradict each other"),
        ({"coefficients": np.zeros(0, np.float32)}, "contradict each other"),
        ({"first": np.zeros(0, np.int64)}, "contradict each other"),
        ({"first": np.zeros(20, np.int64)}, "contradict each other"),
        ({"first": np.arange(20, 0, -1)}, "must not decrease"),
        ({"first": np.arange(20) * 10**6}, "must not decrease"),
        ({"first": np.full(20, 2**62)}, "must not decrease"),
        ({"instruction_set": "sse9"}, "no instruction set sse9"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    """Sizes and positions are checked before anything is read, also absurd ones."""
    with pytest.raises(ValueError, match=message):
        call(**changes)


def test_no_outputs_need_no_inputs() -> None:
    """An empty range of outputs is no error."""
    call(x=np.zeros(0, np.float32), y=np.zeros(0, np.float32))


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["float32", "float64", "int16", "int32"]),
    st.integers(0, 70),
    st.integers(1, 9),
    st.integers(0, 2**32),
    st.data(),
)
def test_convert_equals_numpy(
    dtype: str, frames: int, channels: int, seed: int, data: st.DataObject
) -> None:
    """`convert` equals NumPy to the bit, for every sample type, channel count and channel."""
    channel = data.draw(st.integers(_kernel.MIX, channels - 1))
    generator = np.random.default_rng(seed)
    if dtype.startswith("int"):
        limits = np.iinfo(dtype)
        pcm = generator.integers(limits.min, limits.max, (frames, channels), dtype, endpoint=True)
        extremes = np.array([limits.min, limits.max, 0, -1], dtype)
    else:
        pcm = generator.standard_normal((frames, channels)).astype(dtype)
        extremes = np.array([0.0, -0.0, 1e-45, -1e-40, 1.1, -3.4e38, 3.4e38], dtype)
    strewn = generator.random(pcm.shape) < 0.2
    pcm[strewn] = generator.choice(extremes, int(strewn.sum()))
    shore = np.full(frames + 20, 7, np.float32)
    want = in_float32(pcm, "mix" if channel == _kernel.MIX else channel)

    finite = convert(pcm.reshape(-1), channels, channel, shore[10 : 10 + frames])

    assert_same_bits(shore[10 : 10 + frames], want)
    assert finite == bool(np.isfinite(want).all())
    assert (shore[:10] == 7).all()
    assert (shore[10 + frames :] == 7).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_sample_that_is_not_finite_is_reported(dtype: str, bad: float, channels: int) -> None:
    """`convert` reports NaN and infinities at any position, but only in the channels it uses."""
    frames = 37
    out = np.empty(frames, np.float32)
    for frame, channel in itertools.product((0, 15, 36), range(channels)):
        pcm = np.zeros((frames, channels), dtype)
        pcm[frame, channel] = bad
        flat = pcm.reshape(-1)

        assert not convert(flat, channels, _kernel.MIX, out)
        for picked in range(channels):
            assert convert(flat, channels, picked, out) == (picked != channel)


def test_infinity_by_overflow_is_reported() -> None:
    """A sample, or a sum of channels, that overflows float32 is reported as not finite."""
    out = np.empty(1, np.float32)

    assert not convert(np.array([1e39]), 1, 0, out)
    assert not convert(np.array([3e38, 3e38], np.float32), 2, _kernel.MIX, out)
    assert convert(np.array([3e38, 3e38], np.float32), 2, 0, out)


@pytest.mark.parametrize(
    ("pcm", "channels", "channel", "frames"),
    [
        (np.zeros(6, np.int16), 2, 2, 3),
        (np.zeros(6, np.int16), 2, -2, 3),
        (np.zeros(6, np.int16), 0, -1, 3),
        (np.zeros(6, np.int16), -1, -1, 3),
        (np.zeros(6, np.int16), 2, 0, 4),
        (np.zeros(6, np.int16), 2, 0, 2),
        (np.zeros(7, np.int16), 2, 0, 3),
    ],
)
def test_convert_refuses_what_does_not_fit(
    pcm: NDArray[Any], channels: int, channel: int, frames: int
) -> None:
    """Channels that do not exist and sizes that contradict each other are errors."""
    with pytest.raises(ValueError, match="channel"):
        convert(pcm, channels, channel, np.zeros(frames, np.float32))


@pytest.mark.parametrize(
    ("pcm", "out"),
    [
        (np.zeros(6, np.uint8), np.zeros(6, np.float32)),
        (np.zeros(6, np.int64), np.zeros(6, np.float32)),
        (np.zeros(6, np.float16), np.zeros(6, np.float32)),
        (np.zeros(6, ">i2"), np.zeros(6, np.float32)),
        (np.zeros((3, 2), np.int16), np.zeros(6, np.float32)),
        (np.zeros(12, np.int16)[::2], np.zeros(6, np.float32)),
        (np.zeros(6, np.int16), np.zeros(6)),
        (np.zeros(6, np.int16), np.zeros(12, np.float32)[::2]),
        (np.zeros(6, np.int16), read_only(np.zeros(6, np.float32))),
    ],
)
def test_convert_refuses_other_types(pcm: NDArray[Any], out: NDArray[Any]) -> None:
    """Other dtypes and layouts are a TypeError, not a silent conversion."""
    with pytest.raises(TypeError):
        convert(pcm, 1, 0, out)
