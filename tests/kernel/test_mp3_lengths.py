"""The length of an MP3 file is counted, and all that its frames hold is delivered."""

from __future__ import annotations

import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

import headrace
from headrace import _kernel
from headrace.codecs import decodes_from_start
from headrace.failures import Code
from headrace.storage import Place
from tests.support import mp3_files
from tests.support.mp3_files import ODD_FILES, layer1, layer2, layer3, retagged, untagged, vbri
from tests.support.mp3_reference import Mp3
from tests.support.sounds import decode_whole

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="libsndfile's length is used there"),
]

RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
WINDOW, HOP = 3_000, 1_009
TAG_MAY_BE_WRONG_BY = 4_000
"""Samples by which ordinary encoders' tags are wrong: no reason for a report."""


def assert_delivered(catalog: headrace.Catalog, expected: NDArray[np.float32]) -> None:
    """Check that a default loader delivers every window, each one a slice of `expected`."""
    (recording,) = catalog
    assert recording.frames == len(expected)
    rate = recording.sample_rate
    windows = catalog.windows(None, WINDOW / rate, HOP / rate, channel="all", tail="pad")
    for order, workers in ((windows, 0), (windows.shuffle(1), 2)):
        seen = 0
        for row in order.loader(workers=workers):
            audio = expected[row.index * HOP : row.index * HOP + WINDOW].T
            assert row.audio[:, : audio.shape[1]].tobytes() == audio.tobytes(), row.index
            assert not row.audio[:, audio.shape[1] :].any()
            seen += 1
        assert seen == len(windows) > 0
    (row,) = catalog.windows(None, recording.duration_s, channel="all").loader()
    assert row.audio.tobytes() == expected.T.tobytes()


def write(path: Path, data: bytes) -> Path:
    """Write a file, and return its path."""
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("more", [100, 576, 1_152, TAG_MAY_BE_WRONG_BY])
@pytest.mark.parametrize(("rate", "mode"), [(16_000, "VARIABLE"), (48_000, "CONSTANT")])
def test_a_tag_that_declares_a_little_more_costs_nothing(
    tmp_path: Path, rate: int, mode: str, more: int
) -> None:
    """No window is lost, nothing is reported, and nothing warns."""
    data = layer3(rate, 1, mode)
    samples = Mp3(data).samples
    lying = retagged(data, lambda count: count + -(-more // samples) - (more > samples))
    path = write(tmp_path / "a.mp3", lying)

    for verify in ("headers", "decode"):
        catalog = headrace.scan(path, verify=verify)
        assert catalog.failures == ()
        assert_delivered(catalog, Mp3(lying).audio)


def test_a_tag_of_fraunhofer_is_not_believed(tmp_path: Path) -> None:
    """Its frame is decoded, as libsndfile does, and the number in it is not used."""
    data = untagged(44_100, 2, "VARIABLE")
    path = write(tmp_path / "a.mp3", vbri(data, 1_000))

    catalog = headrace.scan(path, verify="decode")

    assert catalog.failures == ()
    assert_delivered(catalog, Mp3(path.read_bytes()).audio)
    assert catalog[0].frames == (len(Mp3(data).frames) + 1) * 1_152


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_frames_without_a_tag_are_counted(
    tmp_path: Path, rate: int, channels: int, mode: str
) -> None:
    """As many samples as FFmpeg decodes, and the same but for rounding; none is lost."""
    data = untagged(rate, channels, mode)
    path = write(tmp_path / "a.mp3", data)

    for verify in ("headers", "decode"):
        catalog = headrace.scan(path, verify=verify)
        assert catalog.failures == ()
        assert not decodes_from_start(catalog[0])
        assert_delivered(catalog, Mp3(data).audio)
    expected = mp3_files.computed_samples(data)
    assert expected.shape == (catalog[0].frames, channels)
    assert np.abs(Mp3(data).audio - expected).max() < 1e-4


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_frames_of_layer_2_are_counted(tmp_path: Path, rate: int, channels: int) -> None:
    """They are sought like those of layer III."""
    data = layer2(rate, channels)
    path = write(tmp_path / "a.mp2", data)

    catalog = headrace.scan(path, verify="decode")

    assert catalog.failures == ()
    assert catalog[0].subtype == "MPEG_LAYER_II"
    assert catalog[0].frames == len(Mp3(data).frames) * 1_152
    assert not decodes_from_start(catalog[0])
    assert_delivered(catalog, Mp3(data).audio)


@pytest.mark.parametrize("rate", [32_000, 44_100, 48_000])
def test_frames_of_layer_1_are_counted(tmp_path: Path, rate: int) -> None:
    """They have 384 samples."""
    path = write(tmp_path / "a.mp1", layer1(rate))

    catalog = headrace.scan(path, verify="decode")

    assert catalog.failures == ()
    assert catalog[0].subtype == "MPEG_LAYER_I"
    assert catalog[0].frames == 100 * 384
    assert not decodes_from_start(catalog[0])
    assert Mp3(layer1(rate)).audio.any()
    assert_delivered(catalog, Mp3(layer1(rate)).audio)


@pytest.mark.filterwarnings("ignore::headrace.HeadraceWarning")
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("name", ODD_FILES)
def test_all_that_one_stream_can_hold_is_delivered(
    tmp_path: Path, name: str, rate: int, *, tagged: bool
) -> None:
    """Whatever stands before, between and behind the frames, and however they were joined."""
    make = layer3 if tagged else untagged
    data = ODD_FILES[name](make(rate, 1, "CONSTANT"), make(rate, 1, "VARIABLE", seed=1))
    path = write(tmp_path / "a.mp3", data)
    expected = Mp3(data).audio

    for verify in ("headers", "decode"):
        assert_delivered(headrace.scan(path, verify=verify), expected)


@pytest.mark.filterwarnings("ignore::headrace.HeadraceWarning")
@pytest.mark.parametrize("name", ["joined", "cut and joined", "joined with ID3v2", "three"])
def test_joined_files_hold_the_audio_of_both(tmp_path: Path, name: str) -> None:
    """The first file's samples, and behind them the second one's."""
    a, b = layer3(22_050, 1), layer3(22_050, 1, "VARIABLE", seed=1)
    path = write(tmp_path / "a.mp3", ODD_FILES[name](a, b))
    (recording,) = catalog = headrace.scan(path)
    (window,) = catalog.windows(None, recording.duration_s).loader()
    first, second = Mp3(a).audio[:, 0], Mp3(b).audio[:, 0]

    assert window.audio[: len(first) - 1_152].tobytes() == first[:-1_152].tobytes()
    place = np.correlate(window.audio[len(first) :], second[5_000:9_000], "valid").argmax()
    start = len(first) + int(place) - 5_000
    assert (
        np.abs(window.audio[start + 2_000 :][: len(second) - 2_000] - second[2_000:]).max() < 1e-5
    )


@pytest.mark.parametrize("change", [lambda _: 0, lambda count: count // 2, lambda _: 1])
def test_a_tag_that_declares_less_hides_nothing(tmp_path: Path, change: Any) -> None:
    """A number that is wrong by much is reported; 0 stands for none."""
    data = retagged(layer3(22_050, 1, "VARIABLE"), change)
    path = write(tmp_path / "a.mp3", data)
    declared = Mp3(data).declared

    if not declared:
        catalog = headrace.scan(path)
        assert catalog.failures == ()
    else:
        with pytest.warns(headrace.HeadraceWarning, match="HEADER_MISMATCH"):
            catalog = headrace.scan(path)
        (failure,) = catalog.failures
        assert failure.code is Code.HEADER_MISMATCH
        assert "all are used" in failure.message
    assert catalog[0].frames >= len(Mp3(data).frames) * 576 - 2_000
    assert_delivered(catalog, Mp3(data).audio)


def test_a_file_of_which_half_is_missing_is_reported(tmp_path: Path) -> None:
    """What is there is used; what the tag declares beyond that is TRUNCATED, once."""
    data = layer3(22_050, 1)[:8_000]
    path = write(tmp_path / "a.mp3", data)

    for verify in ("headers", "decode"):
        with pytest.warns(headrace.HeadraceWarning, match="TRUNCATED"):
            catalog = headrace.scan(path, verify=verify)
        (failure,) = catalog.failures
        assert failure.code is Code.TRUNCATED
        assert failure.start_s == catalog[0].duration_s
        assert failure.stop_s * 22_050 == pytest.approx(30_000, abs=1_152)
        assert_delivered(catalog, Mp3(data).audio)


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (22_050, 2)])
def test_what_cannot_be_joined_is_reported(tmp_path: Path, rate: int, channels: int) -> None:
    """Frames of another sample rate or channel count are left out, and the rest is joined."""
    a, b = untagged(22_050, 1), untagged(rate, channels)
    path = write(tmp_path / "a.mp3", a + b + a)

    with pytest.warns(headrace.HeadraceWarning, match="HEADER_MISMATCH"):
        catalog = headrace.scan(path)

    (failure,) = catalog.failures
    assert failure.code is Code.HEADER_MISMATCH
    assert f"({rate} Hz, {channels} channels) cannot be joined" in failure.message
    assert failure.start_s == Mp3(a).length / 22_050
    assert failure.stop_s - failure.start_s == pytest.approx(Mp3(b).length / rate, abs=0.001)
    assert catalog[0].frames == 2 * Mp3(a).length
    assert_delivered(catalog, Mp3(a + b + a).audio)


@pytest.mark.filterwarnings("ignore::headrace.HeadraceWarning")
@pytest.mark.parametrize("name", ["zeros inside", "noise inside"])
def test_damage_inside_is_decoded_from_the_start(tmp_path: Path, name: str) -> None:
    """Nothing but decoding shows whether libmpg123 gives a damaged frame up."""
    data = ODD_FILES[name](untagged(), b"")
    (recording,) = headrace.scan(write(tmp_path / "a.mp3", data))

    assert decodes_from_start(recording)
    assert recording.frames == Mp3(data).length


def test_the_name_decides_nothing(tmp_path: Path) -> None:
    """MP3 is recognised by its frames, and what is no MP3 is not taken for it."""
    for name in ("a.wav", "b", "c.mp3", "d.flac"):
        write(tmp_path / name, ODD_FILES["noise first"](layer3(), b""))
        (recording,) = headrace.scan(tmp_path / name)
        assert (recording.format, recording.frames) == ("MP3", Mp3(layer3()).length)
    soundfile.write(tmp_path / "e.mp3", np.zeros(5_000), 8_000, format="WAV")
    assert headrace.scan(tmp_path / "e.mp3")[0].format == "WAV"


def test_an_mp3_inside_another_container_is_not_taken_out(tmp_path: Path) -> None:
    """A container that holds MP3 is left to whoever reads the container."""
    for begin in (b"RIFF\0\0\0\0AVI LIST", b"\0\0\0\x20ftypisom", b"\x1a\x45\xdf\xa3", b"FLV\x01"):
        path = write(tmp_path / "a.mp3", begin + bytes(50) + layer3())
        assert _kernel.scan_mp3(Place(str(path)).native) is None


# Catalogs of earlier versions


def packed_before(data: bytes) -> bytes:
    """Return the seek points of an earlier version: a file without gaps, of at least 64 frames."""
    one = Mp3(data)
    offsets = [frame.at for frame in one.frames[::64]]
    numbers = [len(data), one.frames[-1].end, len(one.frames), one.skip, offsets[0]]
    distance = 0
    for before, after in pairwise(offsets):
        change = after - before - distance
        distance = after - before
        numbers.append(2 * change if change >= 0 else -2 * change - 1)
    packed = bytearray([1])
    for number in numbers:
        left = number
        while left >= 128:
            packed.append(128 | left & 127)
            left >>= 7
        packed.append(left)
    checksum = 2_166_136_261
    for byte in packed:
        checksum = (checksum ^ byte) * 16_777_619 % 2**32
    return bytes(packed) + checksum.to_bytes(4, "little")


@pytest.mark.parametrize(("rate", "channels"), [(22_050, 1), (44_100, 2)])
@pytest.mark.parametrize("tagged", [True, False])
def test_seek_points_of_before_give_the_same_samples(
    tmp_path: Path, rate: int, channels: int, *, tagged: bool
) -> None:
    """A catalog that was saved by an earlier version keeps its lengths and its decode."""
    data = (layer3 if tagged else untagged)(rate, channels, "VARIABLE", 90_000)
    path = write(tmp_path / "a.mp3", data)
    frames = soundfile.info(path).frames if tagged else Mp3(data).length
    for points in (packed_before(data), b""):
        table = headrace.scan(path).to_arrow()
        for name, values in (
            ("seek_points", pa.array([points], pa.large_binary())),
            ("frames", pa.array([min(frames, soundfile.info(path).frames)], pa.int64())),
        ):
            table = table.set_column(table.schema.get_field_index(name), name, values)
        catalog = headrace.Catalog.from_table(table)
        assert catalog[0].seek_points == points
        assert_delivered(catalog, decode_whole(catalog[0]))
