"""Every tolerance of the tests, with its reason.

All other comparisons are exact: `assert_same_bits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNIT_ROUNDOFF = 2.0**-24
"""Largest relative error of rounding to float32."""

HALF_SUBNORMAL = 2.0**-150
"""Largest error of rounding to float32 where the result is subnormal."""

SERIES = 4e-15
"""Between our sinc and I0 and the libraries', relative to 1 and to I0 itself: at most 30 terms,
each rounded by 1.1e-16, against library functions good to a few times that."""

PROMISED_DB = -100.0
"""The resampler's specification: error in the pass band and leakage, relative to the tone."""

PARABOLA = 2e-7
"""Largest error of an interpolated coefficient. Between Chebyshev's nodes a parabola misses h
by at most the third derivative times PHASES^-3 / 192. That of c sinc(c t) is at most pi^3 c^4 / 4,
which makes 1.6e-7 at c = 1; the window bends it a little more."""


LOGMEL_DB = 1e-4
"""Between our spectrograms and librosa's. Both transform in double precision; what is rounded to
float32 after that is good to some 2^-22 of the power, 1e-6 dB, and near -100 dB a float32 is
8e-6 dB from the next. The worst seen is 1.6e-5."""


def chain_bound(
    taps: int, magnitude: NDArray[np.float64], total: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the largest error of a float32 chain of fused multiply-adds for the sum of x h.

    A coefficient rounded to float32 is h (1 + d), and each of the n additions rounds once, so that
    a term of the sum carries at most n + 1 factors (1 + d) with abs(d) <= u. Their product is
    within g = (n + 1) u / (1 - (n + 1) u) of 1 (Higham, "Accuracy and Stability of Numerical
    Algorithms", lemma 3.1), which makes g sum(abs(x h)). Where a sum is subnormal, it is exact to
    HALF_SUBNORMAL instead; each such error is carried on by at most n roundings, hence the factor
    of two. The two h that are compared differ by SERIES; the float64 sum's own rounding is smaller
    still.

    Parameters
    ----------
    taps : int
        n, the number of inputs with a coefficient other than zero.
    magnitude : ndarray of float64
        sum(abs(x h)) of each output.
    total : ndarray of float64
        sum(abs(x)) of each output, over the same inputs.
    """
    growth = (taps + 1) * UNIT_ROUNDOFF
    return growth / (1 - growth) * magnitude + SERIES * total + 2 * taps * HALF_SUBNORMAL


def assert_same_bits(got: NDArray[Any], want: NDArray[Any]) -> None:
    """Fail unless both arrays have the same dtype, shape and bits; -0 differs from 0."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    unsigned = f"u{got.dtype.itemsize}"
    np.testing.assert_array_equal(
        np.ascontiguousarray(got).view(unsigned), np.ascontiguousarray(want).view(unsigned)
    )
