from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.codecs import _probe
from headrace.codecs._formats import sample_type, seeks_exactly
from headrace.codecs._probe import probe
from headrace.codecs._recording import Recording
from headrace.failures import Code, DecodeError, Failure
from tests.support import reference_decoder, sounds
from tests.support.deliveries import DESCRIPTORS, open_files
from tests.support.processes import ROOT
from tests.support.reference_decoder import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SHARED = Path(__file__).parents[2].parent / "shared" / "audio"

TABLE = [kind for kind in sounds.KINDS if seeks_exactly(Recording("", "", 1, 1, 1, *kind))]
OTHERS = [kind for kind in sounds.KINDS if kind not in TABLE]
LOSSY = [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")]


def span(decoder: Decoder, start: int, stop: int) -> NDArray[Any]:
    """Return frames `start` to `stop`, reached in the way that `move_to` chooses."""
    channels = decoder.recording.channels
    scratch = np.empty(1024 * channels, sample_type(decoder.recording))
    audio = np.empty((stop - start) * channels, scratch.dtype)
    decoder.move_to(start, scratch)
    decoder.read_exactly(audio)
    return audio.reshape(-1, channels)


def random_spans(frames: int, count: int, seed: int) -> Iterator[tuple[int, int]]:
    """Yield spans of all lengths in random order, including empty spans and both ends."""
    rng = np.random.default_rng(seed)
    yield from ((0, min(frames, 10)), (frames - 1, frames), (frames, frames), (0, frames))
    for _ in range(count - 4):
        start = int(rng.integers(0, frames))
        yield start, min(frames, start + int(rng.integers(0, rng.choice([20, 1000, 9000]))))


def assert_spans_equal(recording: Recording, reference: NDArray[Any], count: int) -> None:
    """Compare random spans, read with one handle, with one decode from the start, bit by bit."""
    decoder = Decoder(recording)
    for start, stop in random_spans(recording.frames, count, seed=recording.frames):
        found = span(decoder, start, stop)
        assert found.tobytes() == reference[start:stop].tobytes(), (recording, start, stop)
    decoder.close()


def error_of(decoder: Decoder, start: int, stop: int) -> DecodeError | None:
    """Return the error of reading frames `start` to `stop`, or None."""
    try:
        span(decoder, start, stop)
    except DecodeError as fault:
        return fault
    return None


def failure_of(path: Path | str) -> Failure:
    """Return why the file at `path` cannot be used."""
    found = probe(str(path), "id")
    assert isinstance(found, Failure)
    assert (found.file_id, found.path) == ("id", str(path))
    return found


def test_the_reference_decodes_in_the_same_type_and_seeks_in_the_same_files() -> None:
    """The reference's tables are its own, so what they test is what headrace's tables say."""
    for kind, subtype in sounds.KINDS:
        recording = Recording("", "", 1, 1, 1, kind, subtype)
        assert reference_decoder.sample_type(recording) == sample_type(recording), recording
        exact = (kind, subtype) in TABLE
        assert reference_decoder.seeks_exactly(recording) == exact, recording


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(("kind", "subtype"), TABLE)
def test_every_seek_of_the_table_is_exact(
    tmp_path: Path, kind: str, subtype: str, channels: int
) -> None:
    """Random spans on a reused handle equal a decode from the start, for each pair that seeks."""
    audio = sounds.medley(24_001, channels, seed=channels)
    recording = sounds.write(tmp_path / "a", audio, 22_050, kind, subtype)
    reference = sounds.decode_whole(recording)
    assert len(reference) == recording.frames >= len(audio)
    assert_spans_equal(recording, reference, count=60)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("signal", sounds.SIGNALS)
def test_every_seek_in_a_longer_flac_is_exact(tmp_path: Path, signal: str, level: float) -> None:
    """FLAC, the only seekable format that has to search, is exact for every signal and level."""
    audio = sounds.SIGNALS[signal](200_000, 2)
    recording = sounds.write(
        tmp_path / "a.flac", audio, 96_000, "FLAC", "PCM_24", compression_level=level
    )
    assert_spans_equal(recording, sounds.decode_whole(recording), count=100)


@pytest.mark.parametrize(
    ("kind", "subtype", "endian"),
    [
        ("WAV", "PCM_24", "BIG"),
        ("AIFF", "PCM_16", "LITTLE"),
        ("AU", "PCM_32", "LITTLE"),
        ("CAF", "FLOAT", "LITTLE"),
        ("CAF", "DOUBLE", "BIG"),
    ],
)
def test_the_other_byte_order_seeks_as_well(
    tmp_path: Path, kind: str, subtype: str, endian: str
) -> None:
    """Seeking is exact for both byte orders of a container."""
    recording = sounds.write(
        tmp_path / "a", sounds.medley(9_000, 2), 48_000, kind, subtype, endian=endian
    )
    assert seeks_exactly(recording)
    assert_spans_equal(recording, sounds.decode_whole(recording), count=60)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(("kind", "subtype"), OTHERS)
def test_every_other_kind_is_exact_from_the_start(
    tmp_path: Path, kind: str, subtype: str, channels: int
) -> None:
    """Formats without exact seeking are exact when decoded from the start or onwards."""
    channels = min(channels, sounds.most_channels(kind, subtype))
    audio = 0.5 * sounds.medley(9_600, channels, seed=channels)
    recording = sounds.write(tmp_path / "a", audio, 8_000, kind, subtype)
    reference = sounds.decode_whole(recording)
    assert len(reference) == recording.frames
    assert_spans_equal(recording, reference, count=16)
    decoder = Decoder(recording)
    for start in (
        *range(0, recording.frames - 7, 997),
        *range(recording.frames - 7, recording.frames),
    ):
        stop = min(start + (997 if start + 997 <= recording.frames - 7 else 1), recording.frames)
        assert span(decoder, start, stop).tobytes() == reference[start:stop].tobytes()


@pytest.mark.parametrize(("kind", "subtype"), LOSSY)
@pytest.mark.parametrize("signal", sounds.SIGNALS)
def test_lossy_spans_are_exact(tmp_path: Path, kind: str, subtype: str, signal: str) -> None:
    """Spans of codecs whose seeking is inexact are exact, for every signal."""
    recording = sounds.write(
        tmp_path / "a", sounds.SIGNALS[signal](60_000, 1), 48_000, kind, subtype
    )
    assert_spans_equal(recording, sounds.decode_whole(recording), count=24)


@pytest.mark.parametrize(("kind", "subtype"), sounds.KINDS)
def test_the_reference_is_what_soundfile_reads_at_once(
    tmp_path: Path, kind: str, subtype: str
) -> None:
    """Sequential raw reads equal soundfile's one read of the whole file.

    Not `soundfile.read`: it seeks to frame 0 first, and MP3 then rounds differently.
    """
    channels = min(2, sounds.most_channels(kind, subtype))
    audio = 0.5 * sounds.medley(12_000, channels)
    recording = sounds.write(tmp_path / "a", audio, 16_000, kind, subtype)
    with soundfile.SoundFile(recording.path) as file:
        expected = file.read(recording.frames, dtype=sample_type(recording).name, always_2d=True)
    np.testing.assert_array_equal(sounds.decode_whole(recording), expected)


@pytest.fixture(scope="module")
def in_pieces(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Recording, NDArray[Any]]]:
    """Return files of every way to reach a frame, each with its reference."""
    folder = tmp_path_factory.mktemp("pieces")
    audio = sounds.speechlike(30_000, 2)
    kinds = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "MS_ADPCM"), *LOSSY]
    made = [sounds.write(folder / "-".join(kind), audio, 48_000, *kind) for kind in kinds]
    made += [
        sounds.write(
            folder / f"{level}.mp3",
            audio,
            48_000,
            *LOSSY[0],
            bitrate_mode="VARIABLE",
            compression_level=level,
        )
        for level in (0.1, 0.7)
    ]
    return [(recording, sounds.decode_whole(recording)) for recording in made]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    which=st.integers(0, 7),
    pieces=st.lists(st.integers(0, 7_000), min_size=1, max_size=30),
)
def test_any_pieces_equal_one_read(
    in_pieces: list[tuple[Recording, NDArray[Any]]], which: int, pieces: list[int]
) -> None:
    """Sequential reads of any sizes give what one read gives, also for MP3 of variable bitrate."""
    recording, reference = in_pieces[which]
    decoder, position = Decoder(recording), 0
    for piece in pieces:
        stop = min(recording.frames, position + piece)
        audio = np.empty((stop - position) * recording.channels, sample_type(recording))
        decoder.read_exactly(audio)
        assert audio.tobytes() == reference[position:stop].tobytes()
        position = stop
        assert decoder.position == position


@pytest.mark.parametrize(
    ("subtype", "dtype"),
    [
        ("PCM_U8", np.int16),
        ("PCM_16", np.int16),
        ("PCM_24", np.int32),
        ("PCM_32", np.int32),
        ("FLOAT", np.float32),
        ("DOUBLE", np.float64),
    ],
)
def test_a_file_is_decoded_in_its_own_type(tmp_path: Path, subtype: str, dtype: Any) -> None:
    """Every bit of a file is kept: PCM as left-aligned integers, float as float."""
    bits = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}.get(subtype)
    rng = np.random.default_rng(1)
    if bits is None:
        audio = rng.normal(scale=3, size=(5_000, 2)).astype(dtype)  # louder than full scale
    else:
        width = np.dtype(dtype).itemsize * 8
        values = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), size=(5_000, 2))
        audio = (values << (width - bits)).astype(dtype)
    recording = sounds.write(tmp_path / "a.wav", audio, 48_000, "WAV", subtype)
    assert sample_type(recording) == dtype
    assert sounds.decode_whole(recording).tobytes() == audio.tobytes()


@pytest.mark.parametrize(("kind", "subtype"), LOSSY)
def test_a_loud_lossy_file_does_not_wrap_around(tmp_path: Path, kind: str, subtype: str) -> None:
    """Overshoots of a lossy codec stay above full scale instead of changing sign."""
    square = np.where(np.arange(48_000) % 200 < 100, 1.0, -1.0)
    recording = sounds.write(tmp_path / "a", square, 48_000, kind, subtype)
    audio = sounds.decode_whole(recording)[:, 0]
    assert audio.dtype == np.float32
    assert np.abs(audio).max() > 1
    plateau = np.abs(np.arange(48_000) % 100 - 50) < 25
    kept = plateau & (np.arange(48_000) > 4_800) & (np.arange(48_000) < 43_200)
    assert (np.sign(audio[kept]) == np.sign(square[kept])).all()


@pytest.mark.parametrize(
    "name", ["a.WAV", "a.raw", "a", "Mönchs grasmücke 鳥.wav", "-.wav", "%s.wav"]
)
def test_probe_reads_what_the_file_is_not_what_it_is_called(tmp_path: Path, name: str) -> None:
    """A header is read whatever the name of the file."""
    recording = sounds.write(tmp_path / name, sounds.noise(100, 3), 44_100, "WAV", "PCM_24")
    status = (tmp_path / name).stat()
    assert recording == Recording(
        id=name,
        path=str(tmp_path / name),
        sample_rate=44_100,
        channels=3,
        frames=100,
        format="WAV",
        subtype="PCM_24",
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )
    assert len(sounds.decode_whole(recording)) == 100


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux allows any bytes in names")
def test_probe_opens_a_name_that_is_not_text(tmp_path: Path) -> None:
    """A file whose name is not UTF-8 can be opened."""
    name = os.fsdecode(b"\xff\xfe.wav")
    recording = sounds.write(tmp_path / "a", sounds.noise(100), 44_100, "WAV", "PCM_16")
    Path(recording.path).rename(tmp_path / name)
    assert sounds.recording_of(tmp_path / name).frames == 100


def test_probe_of_no_bytes_is_empty(tmp_path: Path) -> None:
    """A file of 0 bytes is EMPTY."""
    (tmp_path / "a.wav").touch()
    assert failure_of(tmp_path / "a.wav").code == Code.EMPTY


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("AIFF", "FLOAT")])
def test_probe_of_a_header_alone_is_empty(tmp_path: Path, kind: str, subtype: str) -> None:
    """A header with no audio behind it is EMPTY."""
    with soundfile.SoundFile(tmp_path / "a", "w", 8_000, 1, subtype, format=kind):
        pass
    assert failure_of(tmp_path / "a").code == Code.EMPTY


@pytest.mark.parametrize(
    "content", [b"Dear diary, no birds.\n", np.random.default_rng(0).bytes(9_000), b"RIFF", b"\0"]
)
def test_probe_of_anything_else_is_not_audio(tmp_path: Path, content: bytes) -> None:
    """Text and noise are NOT_AUDIO, whatever their name."""
    (tmp_path / "a.wav").write_bytes(content)
    assert failure_of(tmp_path / "a.wav").code == Code.NOT_AUDIO


def test_probe_of_a_folder_or_pipe_is_not_audio(tmp_path: Path) -> None:
    """A folder is NOT_AUDIO; so is a pipe, and probing it does not block."""
    paths = [tmp_path]
    if hasattr(os, "mkfifo"):
        paths.append(tmp_path / "pipe.wav")
        os.mkfifo(paths[-1])
    assert {failure_of(path).code for path in paths} == {Code.NOT_AUDIO}


def test_probe_of_a_missing_file_is_missing(tmp_path: Path) -> None:
    """No file, a broken link, and a file used as a folder are MISSING."""
    (tmp_path / "file").touch()
    paths = [tmp_path / "no.wav", tmp_path / "file" / "a.wav"]
    with contextlib.suppress(OSError):  # Windows may forbid links
        (tmp_path / "link.wav").symlink_to(tmp_path / "no.wav")
        paths.append(tmp_path / "link.wav")
    assert {failure_of(path).code for path in paths} == {Code.MISSING}


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Drop the superuser's privilege to read everything, if the process has it."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX")
@pytest.mark.parametrize("hidden", ["file", "folder"])
def test_a_file_without_read_permission_is_permission(
    tmp_path: Path, hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreadable file, or a file in a closed folder, is PERMISSION for probe and Decoder."""
    recording = sounds.write(tmp_path / "a.wav", sounds.noise(100), 8_000, "WAV", "PCM_16")
    path = Path(recording.path)
    status = path.stat()
    (path if hidden == "file" else tmp_path).chmod(0)
    if hidden == "file":  # only the open must fail, and folders above may be closed
        monkeypatch.setattr(_probe.os, "stat", lambda _: status)  # type: ignore[attr-defined]
    try:
        with without_privileges():
            failure = probe(recording.path, "id")
            with pytest.raises(DecodeError) as caught:
                Decoder(recording)
    finally:
        tmp_path.chmod(0o700)
    assert isinstance(failure, Failure)
    assert failure.code == caught.value.code == Code.PERMISSION
    assert "permissions" in failure.message


def test_an_error_of_the_system_is_io(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the file system is IO, with the system's message."""

    def broken(path: str) -> os.stat_result:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(_probe.os, "stat", broken)  # type: ignore[attr-defined]
    failure = failure_of(tmp_path / "a.wav")
    assert failure.code == Code.IO
    assert "Input/output error" in failure.message


def test_a_flac_without_a_length_has_the_frames_that_it_holds(tmp_path: Path) -> None:
    """A stream that declares no length is read to its end."""
    path = tmp_path / "a.flac"
    sounds.write(path, sounds.noise(5_000), 48_000, "FLAC", "PCM_16")
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of STREAMINFO's total_samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    found = probe(str(path), "id")
    assert isinstance(found, Recording)
    assert (found.frames, found.defects) == (5_000, ())


@pytest.mark.parametrize(("kind", "subtype"), sounds.WRONG)
def test_a_format_that_is_decoded_wrongly_is_unsupported(
    tmp_path: Path, kind: str, subtype: str
) -> None:
    """Loud samples come out wrong, so every such file is refused, not only those with loud ones."""
    loud = (sounds.noise(5_003) * 2**31).astype(np.int32)
    soundfile.write(tmp_path / "a", loud, 8_000, subtype, format=kind)
    assert not np.array_equal(soundfile.read(tmp_path / "a", dtype="int32")[0], loud[:, 0])
    failure = failure_of(tmp_path / "a")
    assert failure.code == Code.UNSUPPORTED
    assert f"{kind} {subtype}" in failure.message


@pytest.mark.parametrize(("kind", "subtype"), sounds.INEXACT)
def test_a_format_that_depends_on_read_sizes_is_unsupported(
    tmp_path: Path, kind: str, subtype: str
) -> None:
    """Formats whose frames depend on the sizes of reads are refused, not read wrongly."""
    path = tmp_path / "a"
    soundfile.write(path, sounds.noise(5_003), 8_000, subtype, format=kind)
    failure = failure_of(path)
    assert failure.code == Code.UNSUPPORTED
    assert f"{kind} {subtype}" in failure.message


def test_a_wav_cut_short_before_the_scan_has_the_frames_that_are_there(tmp_path: Path) -> None:
    """The size of a WAV file overrides its header, so every reported frame can be read."""
    recording = sounds.write(tmp_path / "a.wav", sounds.noise(1_000), 8_000, "WAV", "PCM_16")
    reference = sounds.decode_whole(recording)
    os.truncate(recording.path, 44 + 2 * 600)
    found = sounds.recording_of(Path(recording.path))
    assert found.frames == 600
    assert sounds.decode_whole(found).tobytes() == reference[:600].tobytes()


def test_no_header_makes_probe_raise(tmp_path: Path) -> None:
    """Each of 1,050 damaged headers is a Recording or a Failure."""
    rng = np.random.default_rng(2)
    kinds = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_24"), ("CAF", "ALAC_16"), *LOSSY]
    codes = set()
    for kind, subtype in kinds:
        path = tmp_path / subtype
        sounds.write(path, sounds.noise(1_000), 8_000, kind, subtype)
        content = path.read_bytes()
        for _ in range(150):
            damaged = bytearray(content)
            for place in rng.integers(0, 150, size=3):
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            found = probe(str(path), "id")
            codes.add(found.code if isinstance(found, Failure) else None)
            assert isinstance(found, Failure) or found.frames > 0 < found.sample_rate
    assert codes >= {None, Code.NOT_AUDIO}


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("AIFF", "FLOAT"), ("FLAC", "PCM_16"), ("W64", "MS_ADPCM"), *LOSSY],
)
def test_a_file_cut_short_says_where(tmp_path: Path, kind: str, subtype: str) -> None:
    """Frames behind the end are TRUNCATED with the position; all frames before it can be read."""
    audio = sounds.noise(200_000)
    recording = sounds.write(tmp_path / "a", audio, 48_000, kind, subtype)
    reference = sounds.decode_whole(recording)
    os.truncate(recording.path, recording.size // 2)
    there = sounds.decode_whole(recording)
    assert 40_000 < len(there) < 110_000  # an Ogg page is about a second
    start = len(there) - 500
    decoder = Decoder(recording)
    with pytest.raises(DecodeError) as caught:
        span(decoder, start, recording.frames)
    assert caught.value.code == Code.TRUNCATED
    assert f"frame {len(there)} of {recording.frames}" in caught.value.message
    assert "No Error" not in caught.value.message
    behind = error_of(decoder, recording.frames - 100, recording.frames)
    assert behind is not None
    assert behind.code == Code.TRUNCATED
    assert span(decoder, start, start + 400).tobytes() == there[start : start + 400].tobytes()
    assert there[:start].tobytes() == reference[:start].tobytes()


def damages(content: bytes, count: int) -> Iterator[bytes]:
    """Yield `content` with one bit flipped, with bytes removed, and with bytes zeroed."""
    rng = np.random.default_rng(7)
    for number in range(count):
        damaged = bytearray(content)
        place = int(rng.integers(len(content) // 8, len(content) - 1_000))
        length = min(int(rng.integers(1, 6_000)), len(content) - place)
        if number % 3 == 0:
            damaged[place] ^= 1 << int(rng.integers(8))
        elif number % 3 == 1:
            del damaged[place : place + length]
        else:
            damaged[place : place + length] = bytes(length)
        yield bytes(damaged)


def test_damage_in_a_flac_costs_only_the_windows_that_touch_it(tmp_path: Path) -> None:
    """Which spans of a damaged FLAC can be read does not depend on the order of reading."""
    path = tmp_path / "a.flac"
    audio = np.concatenate([sounds.noise(60_000), sounds.tones(60_000)])
    recording = sounds.write(path, audio, 48_000, "FLAC", "PCM_16")
    reference = sounds.decode_whole(recording)
    starts = np.arange(0, recording.frames - 1_000, 1_000)
    content = path.read_bytes()
    for number, damaged in enumerate(damages(content, 12)):
        path.write_bytes(damaged)
        lost = []
        for order in (starts, starts[::-1], np.random.default_rng(number).permutation(starts)):
            decoder = Decoder(recording)
            failed = set()
            for start in order.tolist():
                if error_of(decoder, start, start + 1_000):
                    failed.add(start)
                else:
                    found = span(decoder, start, start + 1_000)
                    assert found.tobytes() == reference[start : start + 1_000].tobytes()
            lost.append(failed)
        assert lost[0] == lost[1] == lost[2]
        assert lost[0]
        assert max(lost[0]) - min(lost[0]) < 40_000  # the tones have about 6,000 bytes


def test_a_flipped_bit_in_a_flac_never_gives_wrong_audio(tmp_path: Path) -> None:
    """A frame with a wrong checksum is an error, also if the decoder returns it."""
    path = tmp_path / "a.flac"
    recording = sounds.write(path, sounds.tones(30_000), 48_000, "FLAC", "PCM_16")
    reference = sounds.decode_whole(recording)
    starts = np.arange(0, recording.frames - 1_000, 1_000)
    content = path.read_bytes()
    rng = np.random.default_rng(7)
    codes = set()
    for _ in range(40):
        damaged = bytearray(content)
        damaged[rng.integers(1_000, len(content) - 1_000)] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        lost = []
        for order in (starts, rng.permutation(starts)):
            decoder, failed = Decoder(recording), set()
            for start in order.tolist():
                try:
                    found = span(decoder, start, start + 1_000)
                except DecodeError as fault:
                    failed.add(start)
                    codes.add(fault.code)
                else:
                    assert found.tobytes() == reference[start : start + 1_000].tobytes()
            lost.append(failed)
        assert lost[0] == lost[1]
        assert lost[0]
    assert codes == {Code.TRUNCATED}


@pytest.mark.parametrize(("kind", "subtype"), LOSSY)
def test_damage_in_a_lossy_file_gives_one_answer(tmp_path: Path, kind: str, subtype: str) -> None:
    """After damage, a reused handle gives what a fresh decode from the start gives, or nothing."""
    path = tmp_path / "a"
    recording = sounds.write(path, sounds.noise(96_000), 48_000, kind, subtype)
    content = path.read_bytes()
    stopped = 0
    for number, damaged in enumerate(damages(content, 9)):
        path.write_bytes(damaged)
        try:
            reference = sounds.decode_whole(recording)
        except DecodeError:  # no frame can be decoded
            continue
        stopped += len(reference) < recording.frames
        decoder = Decoder(recording)
        starts = np.random.default_rng(number).permutation(np.arange(0, 95_000, 8_000))
        for start in starts.tolist():
            fault = error_of(decoder, start, start + 1_000)
            assert (fault is None) == (start + 1_000 <= len(reference))
            if fault is None:
                found = span(decoder, start, start + 1_000)
                assert found.tobytes() == reference[start : start + 1_000].tobytes()
    assert stopped


def test_a_replaced_file_is_changed(tmp_path: Path) -> None:
    """Another sample rate, channel count, sample format or container than scanned is CHANGED."""
    path = tmp_path / "a"
    recording = sounds.write(path, sounds.noise(100, 2), 8_000, "WAV", "PCM_16")
    decoder = Decoder(recording)
    for rate, channels, kind, subtype in (
        (16_000, 2, "WAV", "PCM_16"),
        (8_000, 1, "WAV", "PCM_16"),
        (8_000, 2, "WAV", "PCM_24"),
        (8_000, 2, "AU", "PCM_16"),
    ):
        path.unlink()
        sounds.write(path, sounds.noise(100, channels), rate, kind, subtype)
        with pytest.raises(DecodeError, match="scan again") as caught:
            Decoder(recording)
        assert caught.value.code == Code.CHANGED
    assert len(span(decoder, 0, 100)) == 100  # its handle is of the scanned file


def test_a_deleted_file_is_missing(tmp_path: Path) -> None:
    """Opening a deleted file is MISSING, also if a decoder has to reopen it."""
    recording = sounds.write(tmp_path / "a", sounds.noise(9_000), 8_000, *LOSSY[0])
    decoder = Decoder(recording)
    span(decoder, 0, 5_000)
    Path(recording.path).unlink()
    for _ in range(2):
        fault = error_of(decoder, 100, 200)
        assert fault is not None
        assert fault.code == Code.MISSING
    with pytest.raises(DecodeError, match="does not exist"):
        Decoder(recording)


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_a_closed_decoder_is_not_read(tmp_path: Path, kind: str, subtype: str) -> None:
    """Closing twice is fine, reading then raises, and moving reopens the file."""
    recording = sounds.write(tmp_path / "a", sounds.noise(9_000), 8_000, kind, subtype)
    reference = sounds.decode_whole(recording)
    decoder = Decoder(recording)
    span(decoder, 500, 600)
    decoder.close()
    decoder.close()
    out = np.empty(10, sample_type(recording))
    with pytest.raises(ValueError, match="closed"):
        decoder.read(out)
    with pytest.raises(ValueError, match="closed"):
        decoder.read_exactly(out)
    assert span(decoder, 600, 700).tobytes() == reference[600:700].tobytes()


def test_memory_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Memory of another type, or with gaps, is a TypeError and is not written to."""
    recording = sounds.write(tmp_path / "a.wav", sounds.noise(100), 8_000, "WAV", "PCM_16")
    decoder = Decoder(recording)
    for out in (np.zeros(10, np.float32), np.zeros(20, np.int16)[::2], np.zeros(10, ">i2")):
        with pytest.raises(TypeError, match="contiguous int16"):
            decoder.read(out)
        assert not out.any()
    assert decoder.position == 0


def test_a_long_move_can_be_cancelled(tmp_path: Path) -> None:
    """A cancelled move stops between two reads, and the decoder knows its position."""
    recording = sounds.write(tmp_path / "a", sounds.noise(9_000), 8_000, *LOSSY[0])
    reference = sounds.decode_whole(recording)
    decoder = Decoder(recording)
    asked = iter([False, False, True])
    decoder.move_to(8_000, np.empty(1_000, np.float32), lambda: next(asked))
    assert decoder.position == 2_000
    assert span(decoder, 2_000, 2_500).tobytes() == reference[2_000:2_500].tobytes()


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="counts open files in /proc")
def test_no_file_stays_open(tmp_path: Path) -> None:
    """Closed, dropped and failed decoders, and probes, leave no file open."""
    kinds = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), *LOSSY]
    made = [
        sounds.write(tmp_path / "-".join(kind), sounds.noise(3_000), 8_000, *kind) for kind in kinds
    ]
    (tmp_path / "text").write_text("no audio in here")
    gc.collect()
    before = open_files()
    for number in range(200):
        recording = made[number % len(made)]
        decoder = Decoder(recording)
        span(decoder, 2_000, 2_100)
        span(decoder, 100, 200)
        if number % 2:
            decoder.close()
        del decoder
        with pytest.raises(DecodeError):
            Decoder(replace(recording, channels=7))
        probe(recording.path, "id")
        probe(str(tmp_path / "text"), "id")
    assert open_files() == before


def test_many_threads_may_open_files_at_once(tmp_path: Path) -> None:
    """Eight threads that open good and bad files at once all get the right result."""
    kinds = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("CAF", "ALAC_16"), *LOSSY]
    expected: dict[str, Recording | Code] = {}
    references = {}
    for kind in kinds:
        made = sounds.write(tmp_path / "-".join(kind), sounds.noise(2_000), 8_000, *kind)
        expected[made.path] = replace(made, id="id")
        references[made.path] = sounds.decode_whole(made).tobytes()
    for name, content, code in (
        ("text.wav", b"no audio", Code.NOT_AUDIO),
        ("head.wav", (tmp_path / "WAV-PCM_16").read_bytes()[:44], Code.EMPTY),
        ("empty.mp3", b"", Code.EMPTY),
    ):
        (tmp_path / name).write_bytes(content)
        expected[str(tmp_path / name)] = code
    expected[str(tmp_path / "no.flac")] = Code.MISSING
    together = threading.Barrier(8)

    def work(seed: int) -> int:
        together.wait(30)
        paths = np.random.default_rng(seed).choice(sorted(expected), size=50)
        for path in paths.tolist():
            found = probe(path, "id", ogg_by_libsndfile=True)
            assert expected[path] == (found.code if isinstance(found, Failure) else found), path
            if isinstance(found, Recording):
                assert sounds.decode_whole(found).tobytes() == references[path]
        return len(paths)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 400


MEASURE = """
import ctypes, sys
import numpy as np
from tests.support.reference_decoder import Decoder
from headrace.codecs import decoder_bytes, probe, sample_type

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info

def taken():  # hblkhd + uordblks: bytes that malloc has mapped and allocated
    info = mallinfo2()
    return info.e + info.h

def used(recording):
    decoder = Decoder(recording)
    out = np.ones(4800 * recording.channels, sample_type(recording))
    for frame in (20_000, 5, 30_000, 50):
        decoder.move_to(frame, out)
        decoder.read_exactly(out)
    return decoder

for path in sys.argv[1:]:
    recording = probe(path, "id", ogg_by_libsndfile=True)
    keep = [used(recording)]
    before = taken()
    keep += [used(recording) for _ in range(10)]
    print((taken() - before) // 10, decoder_bytes(recording))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.confstr("CS_GNU_LIBC_VERSION") is None,
    reason="asks glibc for allocated bytes",
)
def test_a_decoder_takes_no_more_memory_than_promised(tmp_path: Path) -> None:
    """For every codec, mono to 8 channels, an open decoder stays under decoder_bytes."""
    kinds = [("WAV", "PCM_16"), ("WAV", "DOUBLE"), ("AIFF", "PCM_24"), ("WAV", "MS_ADPCM")]
    kinds += [("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("CAF", "ALAC_16"), ("WAV", "GSM610"), *LOSSY]
    paths, names = [], []
    for kind, subtype in kinds:
        for channels in (1, 2, 8):
            if channels <= sounds.most_channels(kind, subtype):
                audio = sounds.speechlike(40_000, channels)
                path = tmp_path / f"{kind} {subtype} {channels}"
                paths.append(sounds.write(path, audio, 48_000, kind, subtype).path)
                names.append(path.name)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    figures = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    assert len(figures) == len(names)
    over = [(name, *pair) for name, pair in zip(names, figures, strict=True) if pair[0] > pair[1]]
    assert over == []
    assert min(taken for taken, _ in figures) > 1_000  # otherwise nothing was measured


@pytest.mark.skipif(not SHARED.is_dir(), reason="there are no real recordings")
@pytest.mark.parametrize("name", ["soundscape.flac", "soundscape.mp3", "soundscape.ogg"])
def test_real_recordings_give_exact_spans(name: str) -> None:
    """A hundred random seconds of a real soundscape equal one decode from the start."""
    recording = sounds.recording_of(SHARED / "codecs" / name)
    reference = sounds.decode_whole(recording)
    assert len(reference) == recording.frames
    rate = recording.sample_rate
    starts = np.random.default_rng(3).integers(0, recording.frames - rate, size=100)
    if not seeks_exactly(recording):
        starts = np.sort(starts.reshape(4, 25)).ravel()  # four passes; each begins at the start
    decoder = Decoder(recording)
    for start in starts.tolist():
        found = span(decoder, start, min(recording.frames, start + rate))
        assert found.tobytes() == reference[start : start + rate].tobytes()
