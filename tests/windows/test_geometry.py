from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidWindowsError
from headrace.windows._geometry import Geometry
from headrace.windows._spec import Coverage, Tail, WindowSpec

RATES = st.one_of(st.integers(1, 60), st.sampled_from([8_000, 22_050, 44_100, 48_000]))


@dataclass(frozen=True)
class _Cut:
    """One recording, cut by a slow and simple loop."""

    samples: int
    starts: list[int]


def _cut(spec: WindowSpec, frames: int, rate: int) -> _Cut:
    """Cut a recording as the documentation says, one window after the other."""
    samples = ceil(Fraction(frames) * spec.sample_rate / rate)
    starts: list[int] = []
    while len(starts) * spec.hop + spec.size <= samples:
        starts.append(len(starts) * spec.hop)
    end = starts[-1] + spec.size if starts else 0
    if spec.tail == "shift" and end < samples:
        starts.append(max(0, samples - spec.size))
    while spec.tail == "pad" and end < samples and len(starts) * spec.hop < samples:
        start = len(starts) * spec.hop
        end = start + spec.size
        new = set(range(start, min(end, samples)))
        if starts:
            new -= set(range(starts[-1], starts[-1] + spec.size))
            if len(new) < spec.min_tail:
                break
        starts.append(start)
    audible = [start for start in starts if min(spec.size, samples - start) >= spec.min_audio]
    return _Cut(samples, audible)


@st.composite
def _specs(draw: st.DrawFn) -> WindowSpec:
    """Draw specs of small windows, with hops below, at and above the size."""
    size = draw(st.integers(1, 30))
    return WindowSpec(
        sample_rate=draw(RATES),
        size=size,
        hop=draw(st.one_of(st.just(size), st.integers(1, 45))),
        tail=draw(st.sampled_from(["pad", "shift", "drop"])),
        min_tail=draw(st.integers(0, size + 2)),
        min_audio=draw(st.one_of(st.just(0), st.integers(0, size))),
    )


@st.composite
def _recordings(draw: st.DrawFn, spec: WindowSpec) -> tuple[list[int], list[int]]:
    """Draw frames and rates of recordings of at most 200 samples at the target rate."""
    near = RATES.filter(lambda rate: 100 * rate >= spec.sample_rate)
    rates = draw(st.lists(near, min_size=1, max_size=6))
    longest = [max(1, 200 * rate // spec.sample_rate) for rate in rates]
    return [draw(st.integers(1, most)) for most in longest], rates


def _geometry(spec: WindowSpec, frames: list[int], rates: list[int]) -> Geometry:
    return Geometry.from_frames(spec, np.array(frames, np.int64), np.array(rates, np.int64))


def _masked(spec: WindowSpec, cuts: list[_Cut], begin: int, stop: int) -> Coverage:
    """Mark every sample that a window in [begin, stop) covers."""
    whole = begin == 0 and stop == sum(len(one.starts) for one in cuts)
    audio = covered = padded = count = empty = number = 0
    for one in cuts:
        mask = np.zeros(one.samples, bool)
        mine = 0
        for start in one.starts:
            if begin <= number < stop:
                mask[start : start + spec.size] = True
                padded += max(0, start + spec.size - one.samples)
                mine += 1
            number += 1
        if mine or whole:
            count += 1
            empty += mine == 0
            audio += one.samples
            covered += int(mask.sum())
    rate = spec.sample_rate
    return Coverage(
        recordings=count,
        windows=stop - begin,
        without_windows=empty,
        audio_s=audio / rate,
        covered_s=covered / rate,
        left_out_s=(audio - covered) / rate,
        padded_s=padded / rate,
    )


@given(data=st.data(), spec=_specs())
@settings(deadline=None, max_examples=400)
def test_recordings_are_cut_as_by_a_simple_loop(data: st.DataObject, spec: WindowSpec) -> None:
    """Counts, numbers, starts and valid samples are those of the slow and simple loop."""
    frames, rates = data.draw(_recordings(spec))
    cuts = [_cut(spec, n, rate) for n, rate in zip(frames, rates, strict=True)]
    expected = [
        (i, start, min(spec.size, one.samples - start))
        for i, one in enumerate(cuts)
        for start in one.starts
    ]

    made = _geometry(spec, frames, rates)
    located = made.locate(np.arange(made.total, dtype=np.int64))

    assert made.samples.tolist() == [one.samples for one in cuts]
    assert made.counts.tolist() == [len(one.starts) for one in cuts]
    assert made.total == len(expected)
    assert [tuple(row) for row in np.stack(located, axis=1).tolist()] == expected


@given(data=st.data(), spec=_specs())
@settings(deadline=None, max_examples=200)
def test_located_windows_do_not_depend_on_the_others(data: st.DataObject, spec: WindowSpec) -> None:
    """Windows that are located in any order are where they are among all windows."""
    made = _geometry(spec, *data.draw(_recordings(spec)))
    numbers = st.integers(0, max(0, made.total - 1))
    some = np.array(data.draw(st.lists(numbers, max_size=min(8, made.total))), np.int64)

    alone = made.locate(some)

    together = made.locate(np.arange(made.total, dtype=np.int64))
    for one, every in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, every[some])


@given(data=st.data(), spec=_specs())
@settings(deadline=None, max_examples=400)
def test_coverage_equals_a_mask_over_all_samples(data: st.DataObject, spec: WindowSpec) -> None:
    """Coverage of any range of windows, also an empty one, equals a mask over all samples."""
    frames, rates = data.draw(_recordings(spec))
    cuts = [_cut(spec, n, rate) for n, rate in zip(frames, rates, strict=True)]
    made = _geometry(spec, frames, rates)
    begin = data.draw(st.integers(0, made.total))
    stop = data.draw(st.integers(begin, made.total))

    assert made.coverage(0, made.total) == _masked(spec, cuts, 0, made.total)
    assert made.coverage(begin, stop) == _masked(spec, cuts, begin, stop)


@given(
    frames=st.integers(1, 2**40),
    rate=st.one_of(st.integers(1, 400_000), st.sampled_from([22_050, 44_100, 48_000])),
    target=st.one_of(st.integers(1, 400_000), st.sampled_from([16_000, 48_000])),
)
@settings(deadline=None)
def test_a_recording_has_as_many_samples_as_its_duration_rounded_up(
    frames: int, rate: int, target: int
) -> None:
    """N is exactly ceil(n R / r), also for a recording of a month at 384 kHz."""
    spec = WindowSpec(target, size=1, hop=1)

    made = _geometry(spec, [frames], [rate])

    assert made.samples.tolist() == [ceil(Fraction(frames) * target / rate)]


def test_a_recording_of_one_frame_is_one_padded_window() -> None:
    """With the default tail, the shortest recording has a window, however long min_tail is."""
    spec = WindowSpec(16_000, size=80_000, hop=80_000, min_tail=20_000)

    made = _geometry(spec, [1], [44_100])

    assert made.counts.tolist() == [1]
    assert made.coverage(0, 1) == Coverage(
        recordings=1,
        windows=1,
        without_windows=0,
        audio_s=1 / 16_000,
        covered_s=1 / 16_000,
        left_out_s=0.0,
        padded_s=79_999 / 16_000,
    )


def test_a_tail_of_exactly_min_tail_is_a_window_and_one_sample_less_is_not() -> None:
    """min_tail is inclusive, and counts only samples that are not in the window before."""
    frames = [100 + 24, 100 + 25, 100 + 50 + 24, 100 + 50 + 25]

    apart = _geometry(WindowSpec(10, 100, 100, min_tail=25), frames, [10] * 4)
    overlapping = _geometry(WindowSpec(10, 100, 50, min_tail=25), frames, [10] * 4)

    assert apart.counts.tolist() == [1, 2, 2, 2]
    assert overlapping.counts.tolist() == [1, 2, 2, 3]


def test_min_audio_also_holds_for_short_recordings() -> None:
    """A window of less audio is left out, whether the recording is short or it is the last one."""
    spec = WindowSpec.from_seconds(1_000, 0.1, min_tail_s=0.0, min_audio_s=0.05)
    frames = [5, 49, 50, 100, 149, 150, 249]

    assert _geometry(spec, frames, [1_000] * 7).counts.tolist() == [0, 0, 1, 1, 1, 2, 2]


def test_an_archive_without_windows_is_all_left_out() -> None:
    """With tail="drop", short recordings have no window, and coverage reports them."""
    tail: Tail = "drop"

    made = _geometry(WindowSpec(10, 100, 100, tail), [99, 3], [10, 10])

    assert made.total == 0
    assert made.coverage(0, 0) == Coverage(
        recordings=2,
        windows=0,
        without_windows=2,
        audio_s=10.2,
        covered_s=0.0,
        left_out_s=10.2,
        padded_s=0.0,
    )


def test_a_length_that_would_overflow_is_refused() -> None:
    """Frames times rate that exceed 63 bits are an error, not a wrong number."""
    with pytest.raises(
        InvalidWindowsError, match=r"1152921504606846976 frames cannot be cut at 16000 Hz"
    ):
        _geometry(WindowSpec(16_000, 100, 100), [99, 1 << 60], [8_000, 16_000])
