import base64
import io

import numpy as np
import pytest
import soundfile

from headrace.display._encode import AudioFormat, data_uri, encoded
from tests.support.sounds import speechlike

SPEECH = speechlike(16_000)[:, 0].astype(np.float32)


def test_flac_is_what_the_model_gets_to_16_bits() -> None:
    """Nothing else is lost, at any rate that FLAC knows."""
    for rate in (8_000, 16_000, 22_050, 250_000):
        media_type, content = encoded(SPEECH, rate)
        heard, heard_rate = soundfile.read(io.BytesIO(content), dtype="float32")

        assert (media_type, heard_rate) == ("audio/flac", rate)
        assert np.abs(heard - SPEECH).max() <= 2**-15


def test_mp3_is_smaller_and_much_alike() -> None:
    """Its sound is that of the window, at under half of what FLAC takes."""
    media_type, content = encoded(SPEECH, 16_000, "mp3")
    heard, rate = soundfile.read(io.BytesIO(content), dtype="float32")

    assert (media_type, rate) == ("audio/mpeg", 16_000)
    assert len(content) < 0.5 * len(encoded(SPEECH, 16_000)[1])
    alike = np.correlate(heard, SPEECH, "full").max() / np.sum(SPEECH**2)
    assert alike > 0.9


@pytest.mark.parametrize("kind", ["flac", "mp3"])
def test_channels_are_kept_up_to_two(kind: AudioFormat) -> None:
    """More than a pair of ears can take are mixed."""
    for channels, kept in ((1, 1), (2, 2), (12, 1)):
        audio = np.stack([SPEECH] * channels)
        heard, _ = soundfile.read(io.BytesIO(encoded(audio, 16_000, kind)[1]), always_2d=True)
        assert heard.shape[1] == kept


def test_overshoot_is_clipped_and_does_not_wrap() -> None:
    """A resampler may pass full scale slightly; 16 bits cannot."""
    _, content = encoded(np.array([1.2, -1.2, 0.5] * 100, np.float32), 16_000)
    heard, _ = soundfile.read(io.BytesIO(content))

    assert heard[:3] == pytest.approx([1, -1, 0.5], abs=1e-4)


def test_a_rate_that_a_format_does_not_know_is_told() -> None:
    """The sentence says what to do."""
    with pytest.raises(ValueError, match="MP3 has no sample rate of 250,000 Hz: choose another"):
        encoded(SPEECH, 250_000, "mp3")


def test_an_address_holds_its_content() -> None:
    """What a browser reads out of it is what was put in."""
    head, _, body = data_uri("image/png", b"\x00\xff").partition(",")

    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == b"\x00\xff"
