import math

import numpy as np
import pytest

from headrace.dsp._levels import levels


def test_a_full_scale_sine_has_its_rms_3_db_below_its_peak() -> None:
    """0 dBFS is full scale for peak and RMS, unlike in AES17."""
    sine = np.sin(2 * np.pi * np.arange(16_000) / 160).astype(np.float32)

    found = levels(sine)

    assert found.peak_dbfs == pytest.approx(0, abs=1e-4)
    assert found.rms_dbfs == pytest.approx(-3.0103, abs=1e-4)


def test_zeros_are_silent() -> None:
    """The level of zeros is minus infinity, without a warning from NumPy."""
    found = levels(np.zeros((2, 100), np.float32))

    assert found.silent
    assert found.peak_dbfs == found.rms_dbfs == -math.inf
    assert levels(np.zeros(0, np.float32)).silent


def test_less_than_a_step_of_16_bits_is_silent() -> None:
    """Noise in a converter's last bit is silent; a constant offset of one bit is not."""
    step = np.full(1000, 2.0**-15, np.float32)

    assert levels(step * np.float32(0.9)).silent
    assert not levels(step * np.float32(1.1)).silent


def test_samples_at_full_scale_are_clipped_in_every_channel() -> None:
    """Both ends of the 16-bit range are clipped, also after resampling."""
    audio = np.zeros((2, 100), np.float32)
    audio[0, :3] = 32767 / 32768
    audio[1, :2] = -1.0
    audio[1, 50] = 1.05

    assert levels(audio).clipped == 6
    assert levels(audio * np.float32(0.99)).clipped == 1
