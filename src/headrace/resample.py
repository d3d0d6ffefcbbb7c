"""`Resampler`: which input an output needs, and the output from that input.

For input at rate r and output at rate R, with r/R = M/L in lowest terms,

    y[m] = sum over n of x[n] h(m M/L - n),        h(t) = c sinc(c t) w(t / H)

where c is the cutoff as a fraction of the input's Nyquist frequency, w is Kaiser's window and h is
zero for abs(t) > H. x is zero outside the recording. h is finite, so an output needs a known, short
span of input and is the same however it is reached.

The table is built from additions, multiplications, divisions and square roots alone. IEEE 754 fixes
those to the last bit, and no C library's or SIMD library's idea of a sine is involved, so every
machine has the same table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from headrace import _kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Resampler", "resampler", "table_bytes"]

STOP_BAND_DB = 105.0
"""Rejection, and with a Kaiser window also the pass band's error, in dB: the 100 dB that are
promised and a margin, since Kaiser's estimate of the length falls about 1 dB short. 16-bit audio
has 98 dB. (soxr HQ is designed for 20 bits, 120 dB, which would cost 15 % more multiplications.)"""

PASS_BAND = 0.913
"""End of the pass band as a fraction of the lower Nyquist frequency: soxr HQ's specification. The
stop band begins at 1, so what aliases is `STOP_BAND_DB` down."""

_CUTOFF = (1 + PASS_BAND) / 2
# Kaiser's estimates for attenuation A > 50 dB: beta = 0.1102 (A - 8.7), and a length of
# (A - 8) / (2.285 dw) samples for a transition of dw radians per sample (Kaiser, "Nonrecursive
# digital filter design using the I0-sinh window function", 1974; Oppenheim and Schafer,
# section 7.6).
_BETA = 0.1102 * (STOP_BAND_DB - 8.7)
_HALF_WIDTH = (STOP_BAND_DB - 8) / (2.285 * math.pi * (1 - PASS_BAND)) / 2


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
    """Return the modified Bessel function I0 for 0 <= x <= 11 by its power series."""
    quarter = x * x / 4
    term = np.ones_like(x)
    total = term
    for k in range(1, 30):  # (11/2)^60 / 30!^2 is 1e-20, and I0 is at least 1
        term = term * quarter / (k * k)
        total = total + term
    return total


@dataclass(frozen=True, eq=False, slots=True)
class Resampler:
    """The resampling from one rate to another; immutable, shared by all threads.

    Make one with `resampler`, which caches the table.

    Attributes
    ----------
    rate_in, rate_out : int
        Hz.
    up, down : int
        L and M: `rate_out` and `rate_in` over their greatest common divisor.
    reach : int
        An output at position p of the input (in samples) uses no input further than this from p.
    filter : _kernel.Filter
        The compiled part, for native code.
    """

    rate_in: int
    rate_out: int
    up: int
    down: int
    reach: int
    filter: _kernel.Filter

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self.filter.nbytes

    @property
    def identity(self) -> bool:
        """Whether the rates are equal: then there is no filter."""
        return self.filter.identity

    def output_frames(self, frames: int) -> int:
        """Return how many output samples a recording of `frames` has: ceil(frames R / r)."""
        return -(-frames * self.up // self.down)

    def support(self, start: int, stop: int) -> tuple[int, int]:
        """Return the half-open range of inputs that outputs [start, stop) depend on.

        Not clipped to the recording: it may begin below 0 and end behind the last frame.
        """
        return self.filter.support(start, stop)

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of inputs that must be in memory for outputs [start, stop).

        It contains `support` and reaches a little further, since outputs are computed in groups;
        what lies outside `support` only has to be finite.
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
        """Write outputs ``y_start .. y_start + len(y)`` into `y`; releases the GIL.

        Parameters
        ----------
        x : ndarray of float32, shape ``(inputs,)``
            Finite inputs, at least `span` of the outputs.
        x_start : int
            The number in the recording of ``x[0]``; may be negative.
        y : ndarray of float32, shape ``(outputs,)``
            Written.
        y_start : int
            The number in the recording of ``y[0]``.
        instruction_set : str
            One of ``_kernel.instruction_sets()``; default the best. All agree to the bit.

        Raises
        ------
        ValueError
            `x` does not hold the span of these outputs.
        """
        self.filter.apply(x, x_start, y, y_start, instruction_set)


@lru_cache(maxsize=32)
def resampler(rate_in: int, rate_out: int) -> Resampler:
    """Return the `Resampler` from `rate_in` to `rate_out` Hz, made once per pair of rates."""
    divisor = math.gcd(rate_in, rate_out)
    up, down = rate_out // divisor, rate_in // divisor
    if up == down:
        return Resampler(rate_in, rate_out, 1, 1, 0, _kernel.Filter([]))
    table, first, reach = _table(up, down)
    stage = (table.reshape(-1), first, up, down, reach)
    return Resampler(rate_in, rate_out, up, down, reach, _kernel.Filter([stage]))


def _table(up: int, down: int) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Return coefficients by group, input and lane, each group's first input, and the reach."""
    stretch = max(1.0, down / up)  # the filter is as long as the lower rate needs
    half_width = _HALF_WIDTH * stretch
    reach = math.ceil(half_width)
    lanes = np.arange(_kernel.LANES, dtype=np.int64)
    outputs = np.arange(0, math.lcm(up, _kernel.LANES), _kernel.LANES, dtype=np.int64)
    first = outputs * down // up - reach + 1
    last = (outputs + _kernel.LANES - 1) * down // up - reach + 1
    span = 2 * reach + int((last - first).max())
    inputs = np.arange(span, dtype=np.int64)[:, None]

    table = np.empty((len(outputs), span, _kernel.LANES), np.float32)
    for group, output in enumerate(outputs):  # one group at a time, so that memory stays small
        distance = ((output + lanes) * down - (first[group] + inputs) * up) / up
        table[group] = _impulse_response(distance, half_width, _CUTOFF / stretch)
    return table, first, reach


def table_bytes(rate_in: int, rate_out: int) -> int:
    """Return the bytes of the table from `rate_in` to `rate_out` Hz without making it."""
    divisor = math.gcd(rate_in, rate_out)
    up, down = rate_out // divisor, rate_in // divisor
    if up == down:
        return 0
    reach = math.ceil(_HALF_WIDTH * max(1.0, down / up))
    longest = 2 * reach + (_kernel.LANES - 1) * down // up + 1
    groups = up // math.gcd(up, _kernel.LANES)
    return groups * (longest * _kernel.LANES * 4 + 8)


def _impulse_response(
    distance: NDArray[np.float64], half_width: float, cutoff: float
) -> NDArray[np.float64]:
    inside = np.abs(distance) < half_width
    place = np.where(inside, distance / half_width, 0.0)
    window = _bessel_i0(_BETA * np.sqrt(1 - place * place)) / _bessel_i0(np.array(_BETA))
    return np.where(inside, cutoff * _sinc(cutoff * distance) * window, 0.0)
