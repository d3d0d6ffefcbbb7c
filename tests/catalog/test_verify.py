from __future__ import annotations

import re
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import headrace
from headrace import _kernel, scan
from headrace.catalog import _verify as verify
from headrace.catalog._catalog import load_catalog
from headrace.codecs import decodes_from_start, place_of
from headrace.codecs._declared_length import DeclaredLength, false_claim, read_declared_length
from headrace.codecs._probe import probe
from headrace.errors import DamagedWarning
from headrace.failures import Code
from tests.support.mp3_reference import Mp3
from tests.support.processes import interruptible
from tests.support.sounds import KINDS, medley, noise, write

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Catalog

pytestmark = pytest.mark.filterwarnings("ignore::headrace.HeadraceWarning")


def codes_by_id(catalog: Catalog) -> dict[str, str]:
    """Return the code of each failure, by id."""
    return {one.file_id: str(one.code) for one in catalog.failures}


def actual_and_declared(catalog: Catalog, name: str) -> tuple[int, int]:
    """Return the actual and the declared frames of a recording."""
    row = catalog.column("id").tolist().index(name)
    return int(catalog.frames[row]), int(catalog.column("declared_frames")[row])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a complete recording of 8,000 frames in six formats."""
    for name, kind, subtype in (
        ("a.wav", "WAV", "PCM_16"),
        ("b.wav", "WAV", "PCM_24"),
        ("c.aiff", "AIFF", "PCM_16"),
        ("d.au", "AU", "PCM_16"),
        ("f.mp3", "MP3", "MPEG_LAYER_III"),
    ):
        write(tmp_path / name, medley(8_000), 16_000, kind, subtype)
    write(tmp_path / "e.flac", noise(8_000), 16_000, "FLAC", "PCM_16")
    return tmp_path


def test_damage_without_a_declared_length() -> None:
    """The message says how many frames can be used, and not of how many."""
    recording = headrace.Recording("a", "a", 16_000, 1, 5_000, "WAV", "PCM_16")

    failure = false_claim(recording, DeclaredLength(0), code="TRUNCATED", reason="it is damaged")

    assert failure is not None
    assert re.search(
        r": \d+ frames can be used; the header declares no number of frames$", failure.message
    )


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "subtype"), KINDS)
def test_a_whole_recording_of_any_kind_has_the_frames_that_it_declares(
    tmp_path: Path, kind: str, subtype: str
) -> None:
    """Decoding an undamaged file gives what its header declares, and no failure."""
    rate = 8_000 if subtype == "OPUS" else 16_000
    write(tmp_path / "a.audio", noise(3_000), rate, kind, subtype)

    believed = scan(tmp_path / "a.audio")
    decoded = scan(tmp_path / "a.audio", verify="decode")

    assert decoded.failures == ()
    assert decoded.frames.tolist() == believed.frames.tolist()
    assert actual_and_declared(decoded, "a.audio") == (believed.frames[0], believed.frames[0])


def test_a_recording_cut_short_keeps_the_frames_that_are_there(folder: Path) -> None:
    """It has a TRUNCATED failure with the lost span, and can be used before that span."""
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])

    catalog = scan(folder, verify="decode")

    assert codes_by_id(catalog) == dict.fromkeys(catalog.column("id"), "TRUNCATED")
    assert len(catalog) == 6
    for failure in catalog.failures:
        frames, declared = actual_and_declared(catalog, failure.file_id)
        assert 0 < frames < 7_000
        assert 8_000 <= declared < 12_000  # an MP3 file ends with padding
        assert (failure.start_s, failure.stop_s) == (frames / 16_000, declared / 16_000)
    windows = catalog.windows(16_000, 0.05, tail="drop")
    assert sum(1 for _ in windows.loader(on_error="raise")) == len(windows)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_recording_streamed_to_a_pipe_has_all_its_frames(folder: Path, size: int) -> None:
    """A WAV file whose writer did not know the length is read to its end: HEADER_MISMATCH."""
    data = bytearray((folder / "a.wav").read_bytes())
    struct.pack_into("<I", data, 4, size or 8)
    struct.pack_into("<I", data, 40, size)
    (folder / "a.wav").write_bytes(data)

    catalog = scan(folder / "a.wav", verify="decode")

    assert codes_by_id(catalog) == {"a.wav": "HEADER_MISMATCH"}
    assert actual_and_declared(catalog, "a.wav") == (8_000, 0)
    good = next(iter(scan(folder / "b.wav").windows(16_000, 0.5).loader())).audio
    (streamed,) = catalog.windows(16_000, 0.5).loader()
    assert np.allclose(streamed.audio, good, atol=1e-4)


@pytest.mark.parametrize("how", ["headers", "decode"])
@pytest.mark.filterwarnings("ignore::headrace.errors.DamagedWarning")
def test_audio_behind_the_declared_length_is_used_and_reported(folder: Path, how: Any) -> None:
    """A header that was not updated hides no audio, and HEADER_MISMATCH reports it."""
    data = bytearray((folder / "a.wav").read_bytes())
    struct.pack_into("<I", data, 40, 2 * 5_000)
    (folder / "a.wav").write_bytes(data)

    catalog = scan(folder / "a.wav", verify=how)

    assert codes_by_id(catalog) == {"a.wav": "HEADER_MISMATCH"}
    assert catalog.frames.tolist() == [8_000]
    assert how == "headers" or actual_and_declared(catalog, "a.wav") == (8_000, 5_000)
    assert "declares 5000 frames, the file holds 8000" in catalog.failures[0].message


def test_chunks_and_padding_behind_the_audio_are_no_audio(folder: Path) -> None:
    """Text behind the samples, and zeros that fill up a block, are not a mismatch."""
    data = (folder / "a.wav").read_bytes()
    (folder / "a.wav").write_bytes(data + b"LIST\x04\0\0\0INFO")
    (folder / "b.wav").write_bytes((folder / "b.wav").read_bytes() + bytes(500))

    assert scan(folder, verify="decode").failures == ()


@pytest.mark.parametrize(
    ("kind", "subtype", "endian"),
    [
        ("W64", "PCM_16", "FILE"),
        ("W64", "IMA_ADPCM", "FILE"),
        ("WAV", "PCM_16", "BIG"),
        ("WAV", "IMA_ADPCM", "FILE"),
        ("WAV", "MS_ADPCM", "FILE"),
        ("WAV", "GSM610", "FILE"),
        ("AIFF", "IMA_ADPCM", "FILE"),
        ("OGG", "VORBIS", "FILE"),
        ("OGG", "OPUS", "FILE"),
    ],
)
def test_a_file_that_ends_before_its_declared_end_is_cut_short(
    tmp_path: Path, kind: str, subtype: str, endian: str
) -> None:
    """It is reported even if libsndfile hides it, or nothing declares the full length."""
    path = tmp_path / "a.audio"
    soundfile.write(path, medley(80_000) * 0.5, 16_000, subtype, endian, kind)
    before = scan(path, verify="decode")
    assert before.failures == ()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])

    cut = scan(path, verify="decode")

    assert codes_by_id(cut) == {"a.audio": "TRUNCATED"}
    assert 0 < cut.frames[0] < before.frames[0]
    assert cut.failures[0].start_s == cut.frames[0] / cut.sample_rates[0]
    windows = cut.windows(16_000, 0.5, tail="drop")
    assert sum(1 for _ in windows.loader(on_error="raise")) == len(windows) > 0


@pytest.mark.parametrize("size", [0, 23, 2**63 - 1, 2**64 - 1])
def test_a_w64_streamed_to_a_pipe_has_all_its_frames(tmp_path: Path, size: int) -> None:
    """A size smaller than its own header, or the mark for unknown, declares no length."""
    path = tmp_path / "a.w64"
    write(path, noise(8_000), 16_000, "W64", "PCM_16")
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, data.index(b"data") + 16, size)
    path.write_bytes(data)
    if isinstance(probe(str(path), "a.w64"), headrace.Failure):
        return  # libsndfile does not read it

    catalog = scan(path, verify="decode")

    assert codes_by_id(catalog) == {"a.w64": "HEADER_MISMATCH"}
    assert actual_and_declared(catalog, "a.w64") == (8_000, 0)


@pytest.mark.parametrize("behind", [4, 5, 6, 20, 40, 900])
def test_an_ogg_cut_within_a_page_header_is_cut_short(tmp_path: Path, behind: int) -> None:
    """Only the name of the last page is left, and its flags are not."""
    path = tmp_path / "a.ogg"
    write(path, medley(160_000), 16_000, "OGG", "VORBIS")
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"OggS", 0, len(data) - 1_000) + behind])

    catalog = scan(path, verify="decode")

    assert codes_by_id(catalog) == {"a.ogg": "TRUNCATED"}
    assert 0 < catalog.frames[0] < 160_000


def test_an_impossible_length_counts_as_cut_short(tmp_path: Path) -> None:
    """A damaged 64-bit size is not a number of frames."""
    path = tmp_path / "a.w64"
    write(path, noise(8_000), 16_000, "W64", "PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 16
    data[at : at + 8] = b"\xff" * 7 + b"\x00"
    path.write_bytes(data)

    catalog = scan(path, verify="decode")

    assert codes_by_id(catalog) == {"a.w64": "TRUNCATED"}
    assert actual_and_declared(catalog, "a.w64") == (8_000, 8_000)


def test_a_temporary_error_changes_no_recording(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported, the length stays, and the recording is decoded again."""
    cache = folder.parent / "cache.parquet"
    real = _kernel.verify

    def failing(*arguments: Any, place: _kernel.Place, **others: Any) -> _kernel.VerifyResult:
        if place.path.endswith(b"a.wav"):
            message = "the operating system reports: Input/output error"
            return _kernel.VerifyResult(frames=3_000, code="IO", message=message)
        return real(*arguments, place=place, **others)

    monkeypatch.setattr(_kernel, "verify", failing)
    first = scan(folder, cache=cache, verify="decode")
    monkeypatch.setattr(_kernel, "verify", real)
    believed = scan(folder, cache=cache)
    decoded = count_decoded(monkeypatch)
    again = scan(folder, cache=cache, verify="decode")

    assert codes_by_id(first) == {"a.wav": "IO"}
    assert first.frames.tolist() == again.frames.tolist()
    assert believed.failures == again.failures == ()
    assert [path[-5:] for path in decoded] == [b"a.wav"]
    assert actual_and_declared(again, "a.wav") == (8_000, 8_000)


def test_seek_points_that_do_not_give_the_same_bits_are_not_kept(tmp_path: Path) -> None:
    """With damage inside MP3 frames, decoding from a seek point may differ."""
    path = tmp_path / "a.mp3"
    write(path, medley(22_050 * 8), 22_050, "MP3", "MPEG_LAYER_III")
    good = path.read_bytes()
    rng = np.random.default_rng(3)
    dropped = kept = 0
    for _ in range(60):
        data = bytearray(good)
        at = int(rng.integers(2_000, len(data) - 500))
        noise_bytes = rng.bytes(int(rng.integers(1, 40)))
        data[at : at + len(noise_bytes)] = noise_bytes
        path.write_bytes(data)
        if decodes_from_start(scan(path)[0]):
            continue
        catalog = scan(path, verify="decode")
        windows = catalog.windows(None, 0.1, tail="drop")
        expected = Mp3(bytes(data)).audio[:, 0]
        for window in windows.shuffle(1).loader(workers=1):
            start = round(window.offset * 22_050)
            assert np.array_equal(window.audio, expected[start : start + len(window.audio)])
        kept += not decodes_from_start(catalog[0])
        dropped += decodes_from_start(catalog[0])

    assert kept
    assert dropped


def test_frames_around_damage_can_be_used(folder: Path) -> None:
    """All frames are kept, and those that need the damaged bytes are reported as lost."""
    write(folder / "e.flac", medley(80_000), 16_000, "FLAC", "PCM_16")
    data = bytearray((folder / "e.flac").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    (folder / "e.flac").write_bytes(data)

    catalog = scan(folder / "e.flac", verify="decode")

    (failure,) = catalog.failures
    assert failure.code == "TRUNCATED"
    assert actual_and_declared(catalog, "e.flac") == (80_000, 80_000)
    assert "cannot be decoded" in failure.message
    windows = catalog.windows(16_000, 0.25)
    starts = windows.table()["start"].to_numpy() / 16_000
    whole_ones = (starts >= failure.stop_s) | (starts + 0.25 <= failure.start_s)
    assert len(starts) // 2 < whole_ones.sum() < len(starts)
    offsets = [example.offset for example in windows.loader(on_error="skip")]
    assert offsets == starts[whole_ones].tolist()


@pytest.mark.parametrize(("subtype", "dtype"), [("FLOAT", "float32"), ("DOUBLE", "float64")])
def test_nan_and_infinity_are_counted(tmp_path: Path, subtype: str, dtype: Any) -> None:
    """NON_FINITE says how many samples, and where; the recording stays in the catalog."""
    audio = noise(50_000, 2).astype(dtype)
    audio[[20_000, 20_001, 44_000], 1] = np.nan, np.inf, -np.inf
    soundfile.write(tmp_path / "a.wav", audio, 10_000, subtype)

    catalog = scan(tmp_path, verify="decode")

    (failure,) = catalog.failures
    assert failure.code == "NON_FINITE"
    assert failure.message == "3 samples are NaN or infinite, between frames 20000 and 44001"
    assert (failure.start_s, failure.stop_s) == (2.0, 4.4001)
    assert actual_and_declared(catalog, "a.wav") == (50_000, 50_000)


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that grows with the path of each decoded file."""
    decoded: list[bytes] = []
    real = _kernel.verify

    def count(*arguments: Any, place: _kernel.Place, **others: Any) -> _kernel.VerifyResult:
        decoded.append(place.path)
        return real(*arguments, place=place, **others)

    monkeypatch.setattr(_kernel, "verify", count)
    return decoded


def test_a_file_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cache only new and changed files are decoded; the results of others are kept."""
    cache = folder.parent / "cache.parquet"
    (folder / "a.wav").write_bytes((folder / "a.wav").read_bytes()[:9_000])
    decoded = count_decoded(monkeypatch)
    first = scan(folder, cache=cache, verify="decode")
    assert len(decoded) == 6

    again = scan(folder, cache=cache, verify="decode")
    believed = scan(folder, cache=cache)
    assert len(decoded) == 6
    for other in (again, believed, load_catalog(cache)):
        assert other.to_arrow().equals(first.to_arrow(), check_metadata=True)

    write(folder / "a.wav", medley(4_000), 16_000, "WAV", "PCM_16")
    write(folder / "g.wav", medley(4_000), 16_000, "WAV", "PCM_16")
    believed = scan(folder, cache=cache)
    assert believed.failures == ()
    assert np.isnan(believed.column("declared_frames")).tolist() == [1, 0, 0, 0, 0, 0, 1]
    assert len(decoded) == 6
    assert len(scan(folder, cache=cache, verify="decode")) == 7
    assert sorted(decoded[6:]) == [bytes(folder / "a.wav"), bytes(folder / "g.wav")]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_interrupted_scan_continues(
    folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Recordings decoded before Ctrl-C are in the cache, and are not decoded again."""
    cache = folder.parent / "cache.parquet"
    for number in range(60):
        write(folder / f"{number:02}.wav", noise(50), 16_000, "WAV", "PCM_16")
    decoded = count_decoded(monkeypatch)
    calls = iter(range(1_000))

    class Clock:
        @staticmethod
        def monotonic() -> float:
            if next(calls) == 5:  # after the results of four batches or more
                raise KeyboardInterrupt
            return 0.0

    with monkeypatch.context() as patched:
        patched.setattr(verify, "time", Clock)  # the threads keep their clock
        with pytest.raises(KeyboardInterrupt):
            scan(folder, cache=cache, verify="decode", workers=workers)
    kept = load_catalog(cache)
    known = int(np.isfinite(kept.column("declared_frames")).sum())
    assert len(kept) == 66
    assert known >= 32
    decoded.clear()

    whole = scan(folder, cache=cache, verify="decode", workers=workers)

    assert len(decoded) == 66 - known
    fresh = scan(folder, verify="decode")
    assert whole.to_arrow().equals(fresh.to_arrow(), check_metadata=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to a process")
@pytest.mark.parametrize("how", ["headers", "decode"])
def test_ctrl_c_ends_a_scan(folder: Path, how: str) -> None:
    """Ctrl-C during a scan raises `KeyboardInterrupt` at once, and leaves no thread."""
    write(folder / "z.flac", noise(3_000_000), 16_000, "FLAC", "PCM_16")
    code = f"""
import os, signal, threading, headrace
from headrace import _kernel
from headrace.catalog import _headers as headers
def then_interrupt(real, once=[1]):
    def call(*args, **kwargs):
        if once and once.pop():
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kwargs)
    return call
headers.probe = then_interrupt(headers.probe) if {how == "headers"} else headers.probe
_kernel.verify = then_interrupt(_kernel.verify)
try:
    headrace.scan({str(folder)!r}, verify={how!r}, workers=2)
except KeyboardInterrupt:
    left = [t for t in threading.enumerate() if t is not threading.main_thread()]
    print("interrupted", left)
"""
    done = subprocess.run(
        interruptible(code), capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted []\n", "")


def test_a_file_without_a_decodable_frame_is_in_no_catalog(tmp_path: Path) -> None:
    """If there is no other file, the scan raises."""
    write(tmp_path / "a.flac", noise(9_000), 16_000, "FLAC", "PCM_16")
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 50])

    with pytest.raises(headrace.NoRecordingsError, match=r"The only file .* cannot.*TRUNCATED"):
        scan(tmp_path, verify="decode")

    with pytest.raises(ValueError, match='verify must be "headers" or "decode"'):
        scan(tmp_path, verify="all")  # type: ignore[arg-type]


def test_rf64_declares_its_frames_in_its_own_chunk(tmp_path: Path) -> None:
    """The 64-bit size counts if the 32-bit size is all ones."""
    write(tmp_path / "a.rf64", noise(700), 16_000, "RF64", "PCM_16")
    recording = probe(str(tmp_path / "a.rf64"), "a.rf64")
    assert isinstance(recording, headrace.Recording)

    assert read_declared_length(recording, place_of(recording)) == (700, False, False, False)


@pytest.mark.parametrize(
    ("kind", "subtype", "in_header"),
    [("FLAC", "PCM_16", True), ("WAV", "PCM_16", True), ("OGG", "VORBIS", False)],
)
def test_only_what_a_header_declares_is_ascribed_to_it(
    tmp_path: Path, kind: str, subtype: str, *, in_header: bool
) -> None:
    """The length of an Ogg file stands in its last page, not in its header."""
    path = tmp_path / f"a.{kind.lower()}"
    write(path, noise(40_000), 8_000, kind, subtype)
    path.write_bytes(path.read_bytes()[:-3_000])

    with pytest.warns(DamagedWarning):
        catalog = headrace.scan(path, verify="decode")

    assert {one.code for one in catalog.failures} == {Code.TRUNCATED}
    for one in catalog.failures:
        assert ("header declares" in one.message) is in_header, one.message
