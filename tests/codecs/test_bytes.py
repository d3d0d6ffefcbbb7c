"""What a file is, is decided by its bytes, and all decoders are asked before it is refused."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from headrace import _kernel
from headrace.codecs import EXTENSIONS, probe
from headrace.codecs._recording import Recording
from headrace.failures import Code, Failure
from tests.codecs.test_ffmpeg import decoded, write
from tests.support.ffmpeg_files import plain_decode
from tests.support.sounds import medley, noise
from tests.support.sounds import write as write_with_soundfile

if TYPE_CHECKING:
    from pathlib import Path

RATE = 16_000

KINDS = {  # PyAV's container and encoder: the names in a catalog
    ("adts", "aac"): ("AAC", "aac"),
    ("ac3", "ac3"): ("AC3", "ac3"),
    ("caf", "adpcm_ima_qt"): ("CAFF", "adpcm_ima_qt"),
    ("caf", "alac"): ("CAFF", "alac"),
    ("eac3", "eac3"): ("EAC3", "eac3"),
    ("flv", "aac"): ("FLV", "aac"),
    ("ipod", "aac"): ("MP4", "aac"),
    ("mpegts", "aac"): ("MPEG_TS", "aac"),
    ("ogg", "flac"): ("OGGS", "flac"),
    ("tta", "tta"): ("TTA", "tta"),
    ("wav", "ac3"): ("RIFF", "ac3"),
    ("wav", "flac"): ("RIFF", "flac"),
    ("wav", "g722"): ("RIFF", "adpcm_g722"),
    ("wav", "g726"): ("RIFF", "adpcm_g726"),
    ("wav", "mp2"): ("RIFF", "mp2"),
    ("wav", "wmav2"): ("RIFF", "wmav2"),
}
_RATES = {"ac3": 48_000, "eac3": 48_000, "g726": 8_000}

SPEEX = base64.b64decode(  # a fifth of a second of a tone, by libspeex, which PyAV lacks
    "T2dnUwACAAAAAAAAAAAAAAAAAAAAAPqOPzgBUFNwZWV4ICAgMS4yLjEAAAAAAAAAAAAAAAAAAAABAAAAUAAAAEAfAAAA"
    "AAAABAAAAAEAAAD/////oAAAAAEAAAABAAAAAAAAAAAAAAAAAAAAT2dnUwAAAAAAAAAAAAAAAAAAAQAAANnNLHsBJwYA"
    "AABmZm1wZWcBAAAAFQAAAGVuY29kZXI9TGF2YyBsaWJzcGVleE9nZ1MABBgGAAAAAAAAAAAAAAIAAADVp1O3ChQUFBQP"
    "DwoPFA8YVIkgADnOcBBT9BwMkXpST2/ZyhhUiOX8/+3S/gVknA7RWc9PhM4OGFSI6UdXNYweBKS6nxZ/h0+HZrYYVIjq"
    "fD82FT4y4bqfDnLtT4c4WRBUiZY87u7nH3c7u7hmfBBUiU48Pu7ndx8Mz7jd3EBUiZQicAEpwhQQVIgF0Kl4lUVGNjnl"
    "N24YVIjqfEQLnl4fCqQOFtnlT4dcTxBUiZY8Lu7nH3c7u7hmfA=="
)

OPUS_IN_CAF = base64.b64decode(  # a tenth of a second of a tone; PyAV does not write such files
    "Y2FmZgABAABkZXNjAAAAAAAAACBA53AAAAAAAG9wdXMAAAAAAAAAAAAAA8AAAAABAAAAAGNoYW4AAAAAAAAADABkAAEA"
    "AAAAAAAAAGRhdGEAAAAAAAAA/gAAAABIgi63bFa39AAB5c2d7Rqm6QXqFZBnYqQLkptcTJU3EEPryGUs8PyDMNiH21kI"
    "nX4kEqBIpIhXrJiFA1wmCo7BubzDsOGCMKYzAsvfCw40iJBDvB2yzqaKfBMhm4LYaEicG1dRXyWjj6+UBal3QwES9Ch6"
    "8B7OvNeuutRR6NIOAzAYTo/zpN0PoFa86EicG1JWzh/qEXnB9Ag+61xacL3DbMzJmSS17DhpIv3inyvXsNnvE7H7iPWY"
    "xz0wSJwbn3Wc/Ekzv8UeB9jh2ny0FCjBEIHfFuXYJoc0VM6AUeBIgoU2HrDJrnKvUkzj/88I29m1B2MaGGpLnzmxcGFr"
    "dAAAAAAAAAAeAAAAAAAAAAYAAAAAAAAWgAAAAAAAAAAAMywtLyMc"
)


@pytest.fixture(scope="module", name="av")
def _av() -> Any:
    return pytest.importorskip("av")


def _encode(av: Any, path: Path, container: str, codec: str) -> Path:
    rate = _RATES.get(codec, RATE)
    write(av, path, medley(3 * rate, 1).astype(np.float32), container, codec, rate=rate)
    return path


def _recording(path: Path) -> Recording:
    found = probe(str(path), "x")
    assert isinstance(found, Recording), found
    return found


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "a"])
def test_the_name_does_not_matter(
    av: Any, tmp_path: Path, kind: tuple[str, str], name: str
) -> None:
    """Whatever the file is called, it is decoded as what it is."""
    plain = _encode(av, tmp_path / "plain", *kind)
    whole = decoded(av, plain)
    plain.rename(tmp_path / name)

    found = _recording(tmp_path / name)

    assert (found.format, found.subtype) == KINDS[kind]
    assert found.frames == len(whole) > 0
    index = _kernel.unpack_packet_index(found.seek_points or b"")
    if index is not None and not index.forgets:  # how exact: see test_anchors.py
        whole = plain_decode(tmp_path / name, index)
    windows = headrace.scan(tmp_path / name).windows(found.sample_rate, 1.0)
    audio = np.concatenate([one.audio[: one.valid_samples] for one in windows.loader()])
    assert len(whole) - len(audio) < found.sample_rate
    assert np.abs(audio - whole[: len(audio), 0]).max() < 0.02


@pytest.mark.usefixtures("av")
@pytest.mark.parametrize("name", ["a.spx", "a.ogg", "a.mp3"])
def test_speex_in_ogg_is_read(tmp_path: Path, name: str) -> None:
    """To libsndfile, Ogg holds other codecs."""
    (tmp_path / name).write_bytes(SPEEX)

    found = _recording(tmp_path / name)

    assert (found.format, found.subtype) == ("OGGS", "speex")
    assert (found.sample_rate, found.channels, found.frames) == (8_000, 1, 1_600)


@pytest.mark.usefixtures("av")
@pytest.mark.parametrize("name", ["a.caf", "a.mp3"])
def test_opus_in_caf_is_read(tmp_path: Path, name: str) -> None:
    """To libsndfile, CAF holds other codecs."""
    (tmp_path / name).write_bytes(OPUS_IN_CAF)

    found = _recording(tmp_path / name)

    assert (found.format, found.subtype) == ("CAFF", "opus")
    assert (found.sample_rate, found.channels, found.frames) == (48_000, 1, 5_760)


@pytest.mark.parametrize("padding", [0, 700])
def test_an_id3_tag_does_not_hide_what_follows(av: Any, tmp_path: Path, padding: int) -> None:
    """Any file may begin with ID3 tags: of its size, with zeros in it or behind it."""
    plain = _encode(av, tmp_path / "a.aac", "adts", "aac").read_bytes()
    size = 150
    tag = b"ID3\4\0\0" + bytes([0, 0, size >> 7, size & 127]) + bytes(size)
    (tmp_path / "b.mp3").write_bytes(tag + tag + bytes(padding) + plain)

    found = _recording(tmp_path / "b.mp3")

    assert (found.format, found.subtype) == ("AAC", "aac")
    assert found.frames == _recording(tmp_path / "a.aac").frames


@pytest.mark.parametrize("name", ["a.mp3", "a.wav"])
def test_zeros_between_a_tag_and_mp3_do_not_hide_it(av: Any, tmp_path: Path, name: str) -> None:
    """Taggers leave room for longer tags."""
    write_with_soundfile(tmp_path / "plain", noise(RATE), RATE, "MP3", "MPEG_LAYER_III")
    tag = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
    (tmp_path / name).write_bytes(tag + bytes(1_000) + (tmp_path / "plain").read_bytes())

    found = _recording(tmp_path / name)

    assert av.__version__
    assert found.format in {"MP3", "MPEG"}
    assert abs(found.frames - RATE) <= 2 * 1_152


def test_a_wav_with_the_magic_of_bw64(av: Any, tmp_path: Path) -> None:
    """BW64 is RF64 with another name."""
    write_with_soundfile(tmp_path / "a.wav", noise(RATE), RATE, "RF64", "PCM_16")
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(b"BW64" + data[4:])

    whole = decoded(av, tmp_path / "a.wav")
    windows = headrace.scan(tmp_path / "b.wav").windows(RATE, 0.25)

    got = np.concatenate([one.audio[: one.valid_samples] for one in windows.loader()])
    assert got.tobytes() == whole.tobytes()


def test_when_all_refuse_a_wav_the_reason_is_libsndfiles(tmp_path: Path) -> None:
    """FFmpeg is asked too, and knows less about what is wrong with a WAV file."""
    write_with_soundfile(tmp_path / "a.wav", noise(99), RATE, "WAV", "PCM_16")
    data = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(data[:22] + struct.pack("<H", 0) + data[24:])

    found = probe(str(tmp_path / "a.wav"), "x")

    assert isinstance(found, Failure)
    assert (found.code, found.message) == (
        Code.NOT_AUDIO,
        "no decoder recognises it (Channel count is zero)",
    )


def test_folders_are_searched_for_webm_and_its_relatives() -> None:
    """Each container has its extensions."""
    wanted = ".webm .weba .mkv .mka .mp4 .m4a .mov .3gp .avi .wma .wmv .flv .ac3 .spx .mp2 .tta"
    assert set(wanted.split()) <= EXTENSIONS
    assert ".ts" not in EXTENSIONS
