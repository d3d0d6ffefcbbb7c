import base64
import io

import numpy as np
import pytest
import soundfile

from headrace._html import data_uri
from headrace.display._encode import AudioFormat, encode_sound
from tests.support.sounds import speechlike

SPEECH = speechlike(16_000)[:, 0].astype(np.float32)


def test_flac_is_lossless_to_16_bits() -> None:
    """It is, at any sample rate that FLAC supports."""
    for rate in (8_000, 16_000, 22_050, 250_000):
        media_type, content = encode_sound(SPEECH, rate)
        heard, heard_rate = soundfile.read(io.BytesIO(content), dtype="float32")

        assert (media_type, heard_rate) == ("audio/flac", rate)
        assert np.abs(heard - SPEECH).max() <= 2**-15


def test_mp3_is_smaller_and_similar() -> None:
    """It correlates with the audio and takes under half of the size of FLAC."""
    media_type, content = encode_sound(SPEECH, 16_000, "mp3")
    heard, rate = soundfile.read(io.BytesIO(content), dtype="float32")

    assert (media_type, rate) == ("audio/mpeg", 16_000)
    assert len(content) < 0.5 * len(encode_sound(SPEECH, 16_000)[1])
    alike = np.correlate(heard, SPEECH, "full").max() / np.sum(SPEECH**2)
    assert alike > 0.9


@pytest.mark.parametrize("kind", ["flac", "mp3"])
def test_at_most_two_channels_are_kept(kind: AudioFormat) -> None:
    """More channels are mixed to one."""
    for channels, kept in ((1, 1), (2, 2), (12, 1)):
        audio = np.stack([SPEECH] * channels)
        heard, _ = soundfile.read(io.BytesIO(encode_sound(audio, 16_000, kind)[1]), always_2d=True)
        assert heard.shape[1] == kept


def test_samples_beyond_full_scale_are_clipped() -> None:
    """A resampler may overshoot full scale; in 16 bits it must not wrap around."""
    _, content = encode_sound(np.array([1.2, -1.2, 0.5] * 100, np.float32), 16_000)
    heard, _ = soundfile.read(io.BytesIO(content))

    assert heard[:3] == pytest.approx([1, -1, 0.5], abs=1e-4)


def test_an_unsupported_sample_rate_is_an_error() -> None:
    """The message says what to do."""
    with pytest.raises(
        ValueError, match="MP3 does not support a sample rate of 250,000 Hz, that of the windows"
    ):
        encode_sound(SPEECH, 250_000, "mp3")


def test_a_data_uri_holds_its_content() -> None:
    """Decoding it returns the content."""
    head, _, body = data_uri(b"\x00\xff", "image/png").partition(",")

    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == b"\x00\xff"
