import dataclasses
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.codecs._recording import Recording
from headrace.errors import InvalidWindowsError
from headrace.failures import Code, Failure
from headrace.windows._batch import AudioExample, Batch
from headrace.windows._spec import WindowSpec

RECORDING = Recording("a.wav", "/data/a.wav", 8_000, 2, 12_000, "WAV", "PCM_16")
EXAMPLE = AudioExample(np.zeros(4, np.float32), "a.wav", 1.5, 8_000, "/data/a.wav", 3, 2.0, 4)
BATCH = Batch(
    audio=np.zeros((2, 4), np.float32),
    file_id=("a.wav", "b.wav"),
    offset=np.array([1.5, 0.0]),
    sample_rate=8_000,
    path=("/data/a.wav", "/data/b.wav"),
    index=np.array([3, 4]),
    end_s=np.array([2.0, 0.5]),
    valid_samples=np.array([4, 4]),
    source=np.array([0, 0]),
    valid=np.array([True, True]),
    state={},
)
FAILURE = Failure("a.wav", "/data/a.wav", Code.TRUNCATED, "it ends", 5.0, 10.0, windows=1, index=7)


@pytest.mark.parametrize("one", [EXAMPLE, BATCH])
def test_what_is_delivered_unpacks_to_audio_file_and_offset(one: AudioExample | Batch) -> None:
    """Examples and batches unpack to exactly three values, as in the course notebook."""
    audio, file_id, offset = one

    assert audio is one.audio
    assert file_id is one.file_id
    assert offset is one.offset


def test_a_batch_is_as_long_as_it_has_rows() -> None:
    """The length of a batch is its number of windows, not of fields."""
    assert len(BATCH) == 2


@pytest.mark.parametrize("value", [RECORDING, WindowSpec(8_000, 4, 2), FAILURE, EXAMPLE, BATCH])
def test_values_are_frozen_and_picklable(value: Any) -> None:
    """No field of a value can be set, and a pickled one has the same fields."""
    again = pickle.loads(pickle.dumps(value))

    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)
        np.testing.assert_equal(getattr(again, field.name), getattr(value, field.name))


def test_delivered_values_are_compared_by_identity() -> None:
    """`==` of two examples does not compare their arrays, which have no single truth value."""
    assert dataclasses.replace(EXAMPLE) != EXAMPLE
    assert dataclasses.replace(BATCH) != BATCH
    assert len({EXAMPLE, dataclasses.replace(EXAMPLE)}) == 2


def test_a_recording_lasts_its_frames_over_its_rate() -> None:
    """The number of channels does not change the duration."""
    assert RECORDING.duration_s == 1.5


def test_a_failure_says_where_and_why() -> None:
    """It has the path, the span in seconds, the cause and its code; no span for a whole file."""
    whole = Failure("a.wav", "/data/a.wav", Code.EMPTY, "the file has 0 bytes")

    assert str(FAILURE) == "/data/a.wav, 5.000 s to 10.000 s: it ends [TRUNCATED]"
    assert str(whole) == "/data/a.wav: the file has 0 bytes [EMPTY]"


def test_a_code_is_its_own_name() -> None:
    """A code that was written to a table can be read back."""
    assert all(Code(str(code)) is code and code.name == str(code) for code in Code)


@given(rate=st.integers(1, 400_000), size=st.integers(1, 10**7), hop=st.integers(1, 10**7))
@settings(deadline=None)
def test_whole_samples_survive_being_seconds(rate: int, size: int, hop: int) -> None:
    """A length given as samples / rate is that many samples, for any rate."""
    spec = WindowSpec.from_seconds(rate, size / rate, hop / rate, min_tail_s=hop / rate)

    assert (spec.size, spec.hop, spec.min_tail) == (size, hop, hop)


@given(rate=st.integers(1, 400_000), window_s=st.floats(0.001, 1_000))
@settings(deadline=None)
def test_seconds_become_the_nearest_number_of_samples(rate: int, window_s: float) -> None:
    """No window is more than half a sample off, nor are hop and tail."""
    if window_s * rate < 0.5:
        with pytest.raises(InvalidWindowsError, match="less than one sample"):
            WindowSpec.from_seconds(rate, window_s)
        return

    spec = WindowSpec.from_seconds(rate, window_s)

    assert abs(spec.size - Fraction(window_s) * rate) <= Fraction(500_001, 1_000_000)
    assert spec.hop == spec.size
    assert abs(spec.min_tail - Fraction(window_s) * rate / 4) <= Fraction(500_001, 1_000_000)


@pytest.mark.parametrize("name", ["window_s", "hop_s", "min_tail_s"])
@pytest.mark.parametrize("seconds", [1e12, 1e300, 1.7e308])
def test_more_samples_than_can_be_counted_are_refused(name: str, seconds: float) -> None:
    """The error names the argument before it overflows."""
    arguments: dict[str, Any] = {"window_s": 1.0, name: seconds}

    with pytest.raises(
        InvalidWindowsError, match=rf"{name}=1.*is more than 2\^44 samples at 8000 Hz"
    ):
        WindowSpec.from_seconds(8_000, **arguments)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"sample_rate": 0}, "sample_rate must be a whole number from 1 up, not 0"),
        ({"size": 0}, "size must be a whole number from 1 up, not 0"),
        ({"size": 1.0}, "size must be a whole number from 1 up, not 1.0"),
        ({"hop": -1}, "hop must be a whole number from 1 up, not -1"),
        ({"min_tail": -1}, "min_tail must be a whole number from 0 up, not -1"),
        ({"tail": "wrap"}, 'tail must be "pad", "shift" or "drop", not'),
        ({"channel": "left"}, 'channel must be "mix", "all" or a channel'),
    ],
)
def test_a_spec_checks_itself(changed: dict[str, Any], sentence: str) -> None:
    """A spec with values that cannot be cut is an error however it is made."""
    with pytest.raises(InvalidWindowsError, match=sentence):
        dataclasses.replace(WindowSpec(8_000, 4, 2), **changed)
