from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from headrace import LogMel
from headrace.errors import HeadraceWarning
from tests.support.logmel_golden import CASES, FILE, RATE, SIGNALS, signal
from tests.support.tolerances import LOGMEL_DB

LIBROSA = np.load(FILE)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", SIGNALS)
def test_a_spectrogram_is_librosas(name: str, case: str) -> None:
    """Equal to librosa's within 0.0001 dB, at any level below the maximum."""
    mel = LogMel(RATE, **CASES[case])
    expected = LIBROSA[f"{case} {name}"]

    got = mel(signal(name))

    assert got.dtype == np.float32
    assert got.shape == expected.shape == (mel.n_mels, mel.frames(len(signal(name))))
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(got, expected, rtol=0, atol=LOGMEL_DB)


def test_a_clip_does_not_depend_on_its_batch() -> None:
    """Equal to the bit with any leading dimensions; `top_db` is relative to each clip's maximum."""
    clips = np.stack([signal(name) for name in SIGNALS])
    mel = LogMel(RATE, 512, 200, 32)

    together = mel(clips.reshape(2, 2, -1))

    assert together.shape == (2, 2, 32, mel.frames(clips.shape[-1]))
    alone = np.stack([mel(clip) for clip in clips])
    np.testing.assert_array_equal(together.reshape(alone.shape), alone)
    np.testing.assert_array_equal(mel(clips.astype(np.float64)), alone)
    np.testing.assert_array_equal(mel(clips[:, ::2]), mel(np.ascontiguousarray(clips[:, ::2])))


def test_long_clips_are_transformed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of columns per call changes the result by rounding only."""
    audio = np.tile(signal("noise"), 20)
    mel = LogMel(RATE, 512, 100, 32)
    whole = mel(audio)
    monkeypatch.setattr("headrace.dsp._logmel._BLOCK_SAMPLES", 512 * 7)
    np.testing.assert_allclose(mel(audio), whole, rtol=0, atol=LOGMEL_DB)


@pytest.mark.filterwarnings("ignore:.*mel bands hold no frequency")
@pytest.mark.parametrize("n_fft", [64, 250, 1_024])
@pytest.mark.parametrize("n_mels", [1, 2, 17, 128])
@pytest.mark.parametrize(("fmin", "fmax"), [(0.0, None), (300.0, 3_400.0), (1_000.0, 8_000.0)])
@pytest.mark.parametrize("htk", [False, True])
def test_sides_of_triangles_are_the_filters(
    n_fft: int, n_mels: int, fmin: float, fmax: float | None, htk: bool
) -> None:
    """Sums over rising and falling sides equal the product with the filter matrix."""
    mel = LogMel(RATE, n_fft, n_fft // 2, n_mels, fmin, fmax, htk=htk, center=False, top_db=None)
    audio = signal("noise")[:n_fft].astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    powers = np.abs(np.fft.rfft(audio * window)) ** 2

    expected = 10 * np.log10(np.maximum(mel.filters.astype(np.float64) @ powers, 1e-10))

    np.testing.assert_allclose(mel(audio)[:, 0], expected, rtol=0, atol=LOGMEL_DB)


def test_it_is_a_value_that_threads_share() -> None:
    """Equal by parameters, hashable, with a readable repr and a small pickle, and without state."""
    mel = LogMel(RATE, n_mels=40)
    again = pickle.loads(pickle.dumps(mel))
    assert again == mel != LogMel(RATE)
    assert hash(again) == hash(mel)
    assert repr(mel).startswith("LogMel(sample_rate=16000, n_fft=2048, hop=512, n_mels=40, ")
    assert len(pickle.dumps(mel)) < 500
    expected = {name: mel(signal(name)) for name in SIGNALS}
    with ThreadPoolExecutor(4) as pool:
        for name, got in zip(SIGNALS * 8, pool.map(mel, map(signal, SIGNALS * 8)), strict=True):
            np.testing.assert_array_equal(got, expected[name])


def test_silence_is_the_floor() -> None:
    """Zeros are -100 dB, not minus infinity, and the input is not changed."""
    audio = np.zeros((2, 4_000), np.float32)
    audio.flags.writeable = False
    np.testing.assert_allclose(LogMel(RATE)(audio), -100, atol=LOGMEL_DB)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"sample_rate": 0}, "sample_rate must be a whole number from 1 up, not 0"),
    ({"n_fft": 1}, "n_fft"),
    ({"hop": 2.5}, "hop must be a whole number"),
    ({"n_mels": 0}, "n_mels"),
    ({"fmin": -1}, "fmin=-1"),
    ({"fmin": 5_000.0, "fmax": 4_000.0}, "must be between 0 and half of sample_rate=16000"),
    ({"fmax": 9_000.0}, "fmax=9000.0"),
    ({"power": 0}, "power=0 must be positive"),
    ({"top_db": -1}, "top_db=-1 must be None or from 0 up"),
    ({"norm": "l2"}, "norm='l2' must be"),
    ({"pad_mode": "edge"}, "pad_mode='edge'"),
])  # fmt: skip
def test_an_impossible_parameter_is_refused(arguments: dict[str, Any], message: str) -> None:
    """It is a ValueError when `LogMel` is made, not later; the message names the parameter."""
    with pytest.raises(ValueError, match=message):
        LogMel(**({"sample_rate": RATE} | arguments))


def test_bands_without_a_frequency_give_a_warning() -> None:
    """Bands that contain no frequency of the transform give a warning."""
    with pytest.warns(HeadraceWarning, match="of 128 mel bands hold no frequency") as warned:
        LogMel(RATE, n_fft=256)
    assert warned[0].filename == __file__


@pytest.mark.parametrize(("options", "least"), [
    ({}, 1), ({"pad_mode": "reflect"}, 257), ({"center": False}, 512),
])  # fmt: skip
def test_audio_that_is_too_short_is_refused(options: dict[str, Any], least: int) -> None:
    """The message says how many samples are needed, and that many are enough."""
    mel = LogMel(RATE, 512, 200, 32, **options)
    with pytest.raises(ValueError, match=f"at least {least} samples"):
        mel(np.zeros((3, least - 1), np.float32))
    assert mel(np.zeros((3, least), np.float32)).shape == (3, 32, mel.frames(least))
