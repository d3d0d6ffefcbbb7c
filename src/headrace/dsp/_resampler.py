"""`Resampler`: which inputs an output depends on, and the output from these inputs.

A stage converts input x at sample rate r to output y at sample rate R, with r/R = M/L in lowest
terms:

    y[m] = sum over n of x[n] h(m M/L - n),        h(t) = c sinc(c t) w(t / H)

c is the cutoff as a fraction of the input's Nyquist frequency, w is the Kaiser window, and h is 0
for abs(t) > H. x is 0 outside the recording. Because h is finite, an output depends on a known,
short span of the input, and its value does not depend on how it is reached. `stages` chooses one
stage or a chain of several, whichever costs least. The signal between two stages is defined at
every integer, also at negative ones.

The coefficient tables are computed with additions, multiplications, divisions and square roots
only, which IEEE 754 defines to the last bit. No library's sine function is used, so every machine
has the same tables. ``docs/explanation/resampling.md`` has the reasons and measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from headrace import _kernel
from headrace.dsp._kernel_info import kernel_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Resampler", "Stage", "resampler", "stages", "table_bytes"]

STOP_BAND_DB = 105.0
"""Attenuation of the stop band in dB; with a Kaiser window also the error in the pass band.

The promised 100 dB plus a margin, because Kaiser's estimate of the length is about 1 dB too
optimistic. 16-bit audio has 98 dB. soxr HQ's 120 dB would cost 15 % more multiplications."""

HELPER_DB = 118.0
"""The same for the other stages of a chain, whose transition bands are wide. Their errors add to
those of the narrow stage, and a few more dB cost little. The margin of 13 dB is arbitrary."""

PASS_BAND = 0.913
"""End of the pass band as a fraction of the lower Nyquist frequency, as soxr HQ specifies it. The
stop band begins at 1, so aliases are attenuated by `STOP_BAND_DB`."""

TABLE_LIMIT = 4 * 2**20
"""Most bytes of the tables of one pair of sample rates. If no chain of plain
tables fits, the last stage interpolates its coefficients. The limit is arbitrary."""

PHASES = 64
"""Parabolas per input sample where coefficients are interpolated. Their error is the third
derivative of h times PHASES^-3 / 192, which is below -130 dB."""

_HALF_BAND = 0.5

_RATIOS = sorted({Fraction(p, q) for p in range(1, 13) for q in range(1, 13)})
"""Ratios that `stages` tries for the sample rate between two stages. The limit of 12 is
arbitrary."""

_CACHE_STRIDE = 1024
"""Floats (4 KiB): inputs this far apart compete for the same lines of the first-level cache."""

_LONG_BLOCK = 3000
"""Outputs: with longer blocks, a loaded coefficient is used for too few of them. Fitted."""

_NODES = (0.5 - math.sqrt(3) / 4, 0.5, 0.5 + math.sqrt(3) / 4)
"""Chebyshev's three nodes in [0, 1], where interpolation has the smallest largest error."""


def _beta(decibels: float) -> float:
    # Kaiser's estimates for attenuation A > 50 dB: beta = 0.1102 (A - 8.7), and a length of
    # (A - 8) / (2.285 dw) samples for a transition of dw radians per sample (Kaiser, "Nonrecursive
    # digital filter design using the I0-sinh window function", 1974; Oppenheim and Schafer,
    # section 7.6).
    return 0.1102 * (decibels - 8.7)


def _half_width(decibels: float, transition: float) -> float:
    """Return H in input samples for a transition given as a fraction of the input's Nyquist."""
    return (decibels - 8) / (2.285 * math.pi * transition) / 2


def _sinc(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sin(pi x) / (pi x) to about 1e-16, by exact operations only."""
    nearest = np.rint(x)
    angle = (x - nearest) * math.pi  # in [-pi/2, pi/2], where Taylor's term 23 is below 1e-18
    square = angle * angle
    term = angle
    sine = angle
    for k in range(3, 23, 2):
        term = term * square / (-(k - 1) * k)
        sine = sine + term
    sine = np.where(np.mod(nearest, 2) == 0, sine, -sine)
    return np.where(x == 0, 1.0, sine / np.where(x == 0, 1.0, x * math.pi))


def _bessel_i0(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the modified Bessel function I0 for 0 <= x <= 12.1 by its power series."""
    quarter = x * x / 4
    term = np.ones_like(x)
    total = term
    for k in range(1, 30):  # (12.1/2)^60 / 30!^2 is 1e-18, and I0 is at least 1
        term = term * quarter / (k * k)
        total = total + term
    return total


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a resampling chain: a Kaiser-windowed sinc.

    Attributes
    ----------
    up, down : int
        L and M, in lowest terms.
    half_width : float
        H in samples of the stage's input.
    cutoff : float
        c, a fraction of the Nyquist frequency of the stage's input.
    beta : float
        Shape parameter of the Kaiser window.
    phases : int
        0, or the number of parabolas per input sample by which coefficients are interpolated.
    """

    up: int
    down: int
    half_width: float
    cutoff: float
    beta: float
    phases: int = 0

    @property
    def reach(self) -> int:
        """Input samples: an output at input position p depends on no input further from p."""
        return math.ceil(self.half_width + (1 / self.phases if self.phases else 0))

    @property
    def span(self) -> int:
        """Number of inputs that the 16 outputs of a group need together."""
        return 2 * self.reach + -(-(_kernel.LANES - 1) * self.down // self.up) + bool(self.phases)

    @property
    def taps(self) -> int:
        """Coefficients per output that are not 0, for a stage that halves the sample rate; else 0.

        Such a stage has code of its own, which skips the coefficients that are 0.
        """
        if (self.up, self.down, self.phases) != (1, 2, 0):
            return 0
        whole = math.ceil(self.half_width)
        # At a cutoff of a half (a half-band filter) every second coefficient is 0.
        taps = 1 + 2 * (whole // 2) if self.cutoff == _HALF_BAND else 2 * whole - 1
        return taps if taps <= _kernel.MOST_TAPS else 0

    @property
    def nbytes(self) -> int:
        """Bytes of the stage's tables."""
        row = _kernel.LANES * 4
        if self.phases:
            return self.phases * 3 * self.span * row + 64 + 8
        groups = self.up // math.gcd(self.up, _kernel.LANES)
        return groups * (self.span * row + 8) + 64 + 12 * self.taps

    @property
    def cost(self) -> float:
        """Time per output, in units of one multiplication.

        The numbers are fitted to measured times of stages. They only decide which chain is chosen.
        """
        ratio = self.down / self.up
        if self.taps:
            return 1.1 * self.taps + 11  # splitting the inputs, interleaving the outputs
        if self.phases:
            # Three multiplications for each coefficient, and loads.
            return 5.0 * (2 * self.half_width + (_kernel.LANES - 1) * ratio)
        cost = 1.02 * (2 * self.half_width + _kernel.LANES / 2 * ratio) + 6
        block = math.lcm(self.up, _kernel.LANES)
        if block // self.up * self.down % _CACHE_STRIDE == 0:
            cost *= 1.1
        return cost * max(1, block / _LONG_BLOCK)

    def table(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the coefficients, and the first input of each group of outputs.

        Returns
        -------
        ndarray of float32, shape ``(groups, span, 16)`` or ``(phases, span, 3, 16)``
            By group, input and lane. With phases: the three coefficients of a parabola in t,
            constant first, where t in [0, 1) is the position of a group's first output between its
            phase and the next.
        ndarray of int64, shape ``(groups,)`` or ``(1,)``
            Relative to the first input of a block of outputs; with phases, to the last input that
            is not after the group's first output.
        """
        lanes = np.arange(_kernel.LANES, dtype=np.int64)
        inputs = np.arange(self.span, dtype=np.int64)[:, None]
        if self.phases:
            first = np.array([1 - self.reach])
            parabolas = np.empty((self.phases, self.span, 3, _kernel.LANES), np.float32)
            for phase in range(self.phases):
                at = lanes * self.down / self.up - (first[0] + inputs) + phase / self.phases
                parabolas[phase] = self._parabola(at)
            return parabolas, first
        outputs = np.arange(0, math.lcm(self.up, _kernel.LANES), _kernel.LANES, dtype=np.int64)
        first = outputs * self.down // self.up - self.reach + 1
        table = np.empty((len(outputs), self.span, _kernel.LANES), np.float32)
        for group, output in enumerate(outputs):  # one by one, which keeps temporary arrays small
            at = ((output + lanes) * self.down - (first[group] + inputs) * self.up) / self.up
            table[group] = self._response(at, np.abs(at) < self.half_width)
        return table, first

    def _parabola(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        end = at + 1 / self.phases
        inside = (at < self.half_width) & (end > -self.half_width)
        low, middle, high = (self._response(at + t / self.phases, inside) for t in _NODES)
        t = _NODES[1]
        slope = (high - low) / (_NODES[2] - _NODES[0])
        bend = (high - 2 * middle + low) / (2 * (_NODES[2] - t) ** 2)
        return np.stack([middle - t * slope + t * t * bend, slope - 2 * t * bend, bend], axis=1)

    def _response(self, at: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return h where `inside`, else 0."""
        relative = np.where(inside, np.minimum(np.abs(at) / self.half_width, 1), 0.0)
        window = _bessel_i0(self.beta * np.sqrt(1 - relative * relative))
        window = window / _bessel_i0(np.array(self.beta))
        return np.where(inside, self.cutoff * _sinc(self.cutoff * at) * window, 0.0)


def _narrow(rate_in: Fraction, rate_out: Fraction, nyquist: Fraction) -> Stage:
    """Return the stage with the narrow transition band, which ends at `nyquist` (Hz)."""
    ratio, stretch = rate_out / rate_in, float(rate_in / 2 / nyquist)
    half_width = _half_width(STOP_BAND_DB, 1 - PASS_BAND) * stretch
    cutoff = (1 + PASS_BAND) / 2 / stretch
    beta = _beta(STOP_BAND_DB)
    return Stage(ratio.numerator, ratio.denominator, half_width, cutoff, beta)


def _wide(rate_in: Fraction, rate_out: Fraction, stop: Fraction, end: Fraction) -> Stage:
    """Return a stage with the pass band up to `end` and the stop band from `stop`, both in Hz."""
    ratio, half = rate_out / rate_in, rate_in / 2
    half_width = _half_width(HELPER_DB, float((stop - end) / half))
    cutoff = float((stop + end) / 2 / half)
    return Stage(ratio.numerator, ratio.denominator, half_width, cutoff, _beta(HELPER_DB))


def _chains(rate_in: Fraction, rate_out: Fraction) -> Iterator[tuple[Stage, ...]]:
    """Yield the chains that `stages` compares, simple ones first."""
    nyquist = min(rate_in, rate_out) / 2
    end = nyquist * Fraction(PASS_BAND)
    halvers: tuple[Stage, ...] = ()
    rate = rate_in
    while True:
        yield (*halvers, _narrow(rate, rate_out, nyquist))
        for between in [rate * ratio for ratio in _RATIOS]:
            # What is above `stop` would alias into the band below `nyquist`.
            stop = between - nyquist
            if rate_out < between < rate:
                first = _wide(rate, between, stop, end)
                yield (*halvers, first, _narrow(between, rate_out, nyquist))
            if stop > nyquist and between != rate_out:
                first, second = _narrow(rate, between, nyquist), _wide(between, rate_out, stop, end)
                yield (*halvers, first, second)
                yield (*halvers, first, replace(second, phases=PHASES))
        yield (*halvers, replace(_narrow(rate, rate_out, nyquist), phases=PHASES))
        rate /= 2
        if rate <= 2 * nyquist:
            return
        # Band edges symmetric around half the Nyquist frequency make a half-band filter.
        halvers = (*halvers, _wide(rate * 2, rate, rate - nyquist, nyquist))


@lru_cache(maxsize=256)
def stages(rate_in: int, rate_out: int) -> tuple[Stage, ...]:
    """Return the chain of stages from `rate_in` to `rate_out` Hz; none at equal rates.

    Of the chains whose tables fit into `TABLE_LIMIT`, it has the least `Stage.cost` per output.
    """
    if rate_in == rate_out:
        return ()

    def cost(chain: tuple[Stage, ...]) -> float:
        total, rate = 0.0, 1.0
        for stage in chain:
            rate = rate * stage.up / stage.down
            total += stage.cost * rate
        return total

    chains = _chains(Fraction(rate_in), Fraction(rate_out))
    small = (chain for chain in chains if sum(stage.nbytes for stage in chain) <= TABLE_LIMIT)
    return min(small, key=cost)


@dataclass(frozen=True, eq=False, slots=True)
class Resampler:
    """Converts one sample rate to another; immutable, shared by all threads.

    Use `resampler` to make one: it caches them.

    Attributes
    ----------
    rate_in, rate_out : int
        Hz.
    up, down : int
        L and M: `rate_out` and `rate_in` over their greatest common divisor.
    reach : int
        Input samples: an output at input position p depends on no input further from p. For a
        chain, this includes the groups in which its first stage computes.
    filter : _kernel.Filter
        The compiled filter, which native code calls directly.
    """

    rate_in: int
    rate_out: int
    up: int
    down: int
    reach: int
    filter: _kernel.Filter

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        return self.filter.nbytes

    @property
    def identity(self) -> bool:
        """Whether the sample rates are equal, so that there is no filter."""
        return self.filter.identity

    def output_frames(self, frames: int) -> int:
        """Return the number of outputs of a recording of `frames` samples: ceil(frames R / r)."""
        return -(-frames * self.up // self.down)

    def support(self, start: int, stop: int) -> tuple[int, int]:
        """Return the half-open range of inputs that outputs [start, stop) depend on.

        It is not clipped to the recording: it may begin below 0 and end after the last sample.
        """
        return self.filter.support(start, stop)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of inputs that must be in memory for outputs [start, stop).

        It contains `support` and some more inputs, because outputs are computed in groups. The
        inputs outside `support` change nothing, but must be finite.
        """
        return self.filter.span(start, stop)

    def __call__(
        self,
        x: NDArray[np.float32],
        x_start: int,
        y: NDArray[np.float32],
        y_start: int,
        *,
        instruction_set: str = "",
    ) -> None:
        """Write outputs [y_start, y_start + len(y)) into `y`; releases the GIL.

        Parameters
        ----------
        x : ndarray of float32, shape ``(inputs,)``
            Finite inputs that contain the `span` of the outputs.
        x_start : int
            Index of ``x[0]`` in the recording; may be negative.
        y : ndarray of float32, shape ``(outputs,)``
            Written.
        y_start : int
            Index of ``y[0]`` in the resampled recording.
        instruction_set : str
            One of ``_kernel.instruction_sets()``; the default is that of `kernel_info`. All of them
            give the same bits.

        Raises
        ------
        ValueError
            `x` does not contain the span of these outputs, or this machine does not have the
            instruction set.
        """
        chosen = instruction_set or kernel_info().instruction_set
        self.filter.apply(x, x_start, y, y_start, chosen)


@lru_cache(maxsize=32)
def resampler(rate_in: int, rate_out: int) -> Resampler:
    """Return the `Resampler` from `rate_in` to `rate_out` Hz; the last 32 pairs are cached."""
    divisor = math.gcd(rate_in, rate_out)
    up, down = rate_out // divisor, rate_in // divisor
    chain = stages(rate_in, rate_out)
    parts = []
    reach, step = Fraction(0), Fraction(1)  # step of a stage's input, in samples of the recording
    for stage in chain:
        table, first = stage.table()
        parts.append(
            _kernel.FilterStage(
                coefficients=table.reshape(-1),
                first=first,
                up=stage.up,
                down=stage.down,
                reach=stage.reach,
                phases=stage.phases,
            )
        )
        reach += stage.reach * step
        step *= Fraction(stage.down, stage.up)
    if len(chain) > 1:
        reach += Fraction(_kernel.LANES * chain[0].down, chain[0].up)
    return Resampler(rate_in, rate_out, up, down, math.ceil(reach), _kernel.Filter(parts))


def table_bytes(rate_in: int, rate_out: int) -> int:
    """Return the bytes of the tables from `rate_in` to `rate_out` Hz, without computing them."""
    return sum(stage.nbytes for stage in stages(rate_in, rate_out))
