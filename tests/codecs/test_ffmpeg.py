from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import headrace
from headrace import _kernel
from headrace.codecs import libsndfile_functions
from headrace.codecs._ffmpeg import CONTAINERS, EXTENSIONS, Stream, container_of
from headrace.codecs._probe import probe
from headrace.codecs._recording import Recording
from headrace.failures import Code, DecodeError, Failure
from tests.support.sounds import medley

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BEGINS = {
    "AAC": b"\xff\xf1\x50\x80" + bytes(60),
    "AC3": b"\x0b\x77\x1e\xf8\x4c\x40" + bytes(60),
    "AMR": b"#!AMR\n" + bytes(60),
    "APE": b"MAC \x96\x0f" + bytes(60),
    "ASF": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(60),
    "AVI": b"RIFF\x40\0\0\0AVI LIST" + bytes(60),
    "CAFF": b"caff\0\1\0\0desc" + bytes(60),
    "DTS": b"\x7f\xfe\x80\x01\xfc" + bytes(60),
    "EAC3": b"\x0b\x77\x00\xcf\x72\x87" + bytes(60),
    "FLV": b"FLV\1\4" + bytes(60),
    "FORM": b"FORM\0\0\0\x50AIFC" + bytes(60),
    "LOAS": b"\x56\xe1\x0a\x20" + bytes(60),
    "MATROSKA": b"\x1a\x45\xdf\xa3" + bytes(60),
    "MP4": b"\0\0\0\x1cftypM4A " + bytes(60),
    "MPC7": b"MP+\x07" + bytes(60),
    "MPC8": b"MPCKSH" + bytes(60),
    "MPEG_PS": b"\0\0\1\xba\x21" + bytes(60),
    "MPEG_TS": (b"G\x40\x11\x10" + bytes(184)) * 3,
    "OGGS": b"OggS\0\2" + bytes(60),
    "RIFF": b"RIFF\x40\0\0\0WAVELIST" + bytes(60),
    "RM": b".RMF" + bytes(60),
    "SND": b".snd" + bytes(60),
    "TAK": b"tBaK" + bytes(60),
    "TTA": b"TTA1" + bytes(60),
    "WAVPACK": b"wvpk" + bytes(60),
}

KINDS = {  # file: container, codec, bits per second
    "a.m4a": ("ipod", "aac", 64_000),
    "low.m4a": ("ipod", "aac", 24_000),
    "a.mov": ("mov", "alac", 0),
    "pcm.mov": ("mov", "pcm_s24le", 0),
    "a.mkv": ("matroska", "aac", 256_000),
    "opus.webm": ("webm", "libopus", 48_000),
    "flac.mka": ("matroska", "flac", 0),
    "a.wma": ("asf", "wmav2", 64_000),
    "mp3.avi": ("avi", "libmp3lame", 96_000),
    "u8.avi": ("avi", "pcm_u8", 0),
    "a.aac": ("adts", "aac", 64_000),
    "a.wv": ("wv", "wavpack", 0),
}

needs_av = pytest.mark.usefixtures("av")


@pytest.fixture(scope="module", name="av")
def _av() -> Any:
    return pytest.importorskip("av")


@pytest.fixture(scope="module")
def files(av: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a file of each kind, mono and stereo, and a film."""
    folder = tmp_path_factory.mktemp("ffmpeg")
    for name in KINDS:
        for channels in (1, 2):
            write(av, folder / f"{channels}{name}", medley(90_000, channels).astype(np.float32))
    write(av, folder / "film.mp4", medley(90_000, 1).astype(np.float32), "mp4", "aac", film=True)
    return folder


def write(
    av: Any,
    path: Path,
    audio: NDArray[np.float32],
    container: str = "",
    codec: str = "",
    *,
    rate: int = 48_000,
    film: bool = False,
) -> None:
    """Encode audio of shape ``(frames, channels)``."""
    bitrate = 64_000
    if not container:
        container, codec, bitrate = KINDS[path.name[1:]]
    layout = "mono" if audio.shape[1] == 1 else "stereo"
    with av.open(str(path), "w", format=container) as out:
        picture: Any = out.add_stream("mpeg4", rate=30) if film else None
        if film:
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        track = out.add_stream(codec, rate=rate)
        track.codec_context.layout = layout
        if bitrate:
            track.codec_context.bit_rate = bitrate
        given = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T), "fltp", layout)
        given.sample_rate, given.pts = rate, 0
        turned = av.AudioResampler(track.codec_context.format, layout, rate)
        for number in range(56 if film else 0):
            pixels = np.full((64, 64, 3), number, np.uint8)
            out.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        for frame in [*turned.resample(given), *turned.resample(None)]:
            out.mux(track.encode(frame))
        for stream in out.streams:
            out.mux(stream.encode(None))


def decoded(av: Any, path: Path) -> NDArray[np.float32]:
    """Decode the first audio track in one go: shape ``(frames, channels)``."""
    pieces = []
    with av.open(str(path)) as file:
        for frame in file.decode(audio=0):
            pcm = frame.to_ndarray()
            if not frame.format.is_planar:
                pcm = pcm.reshape(-1, frame.layout.nb_channels).T
            pieces.append(pcm.T)
    whole = np.concatenate(pieces)
    if whole.dtype == np.uint8:
        return ((whole.astype(np.float64) - 128) / 128).astype(np.float32)
    if whole.dtype.kind == "i":
        return (whole / float(1 << (8 * whole.itemsize - 1))).astype(np.float32)
    return whole.astype(np.float32)


@pytest.mark.parametrize("begin", BEGINS)
def test_what_begins_like_one_of_its_containers_is_for_ffmpeg(
    tmp_path: Path, begin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PyAV, such a file is a failure that says what to install, whatever its name."""
    (tmp_path / "a.wav").write_bytes(BEGINS[begin])
    monkeypatch.setitem(sys.modules, "av", None)

    found = probe(str(tmp_path / "a.wav"), "a")

    assert container_of(BEGINS[begin]) == begin
    assert isinstance(found, Failure)
    assert found.code is Code.UNSUPPORTED
    assert "pip install av" in found.message


@pytest.mark.parametrize("text", [b"", b"\xff", b"\xff\xfb\x90\x00", b"hello, world, hello, world"])
def test_a_file_that_begins_otherwise_is_not_for_ffmpeg(text: bytes) -> None:
    """Text, a fragment of a file, and MPEG audio layer III are not for FFmpeg."""
    assert container_of(text[:16]) is None


def test_every_container_is_tried() -> None:
    """The lists above are complete."""
    assert BEGINS.keys() | {"MPEG"} == CONTAINERS.keys()  # see test_bytes.py


@needs_av
@pytest.mark.parametrize("name", sorted({f"{c}{n}" for n in KINDS for c in (1, 2)} | {"film.mp4"}))
def test_windows_are_slices_of_what_decoding_gives(av: Any, files: Path, name: str) -> None:
    """In any order, with any number of workers, windows equal PyAV's decode of the whole file."""
    whole = decoded(av, files / name)
    catalog = headrace.scan(files / name)
    windows = catalog.windows(48_000, 0.1, 0.037, channel="all")

    assert [one.frames for one in catalog] == [len(whole)]
    for workers, view in ((0, windows), (2, windows), (2, windows.shuffle(seed=1))):
        seen = 0
        for one in view.loader(workers=workers):
            start = round(one.offset * 48_000)
            expected = whole[start : start + one.valid_samples].T
            assert one.audio[:, : one.valid_samples].tobytes() == expected.tobytes()
            seen += 1
        assert seen == len(windows)


@needs_av
@pytest.mark.parametrize("name", ["2a.m4a", "1opus.webm", "2a.wv"])
def test_resampled_windows_are_those_of_the_decoded_file(
    av: Any, files: Path, tmp_path: Path, name: str
) -> None:
    """At another rate, windows equal those of a WAV file with the same samples, bit by bit."""
    soundfile.write(tmp_path / "a.wav", decoded(av, files / name), 48_000, "FLOAT")
    theirs = headrace.scan(tmp_path).windows(16_000, 0.3, 0.1)
    ours = headrace.scan(files / name).windows(16_000, 0.3, 0.1)

    assert len(ours) == len(theirs) > 10
    for one, other in zip(
        ours.shuffle(seed=3).loader(workers=2), theirs.shuffle(seed=3).loader(), strict=True
    ):
        assert one.audio.tobytes() == other.audio.tobytes()


@needs_av
def test_a_catalog_keeps_what_decoding_found(files: Path, tmp_path: Path) -> None:
    """Names of format and codec are saved and loaded; a cached file is not decoded again."""
    found = headrace.scan(sorted(files.glob("2*")), cache=tmp_path / "cache.parquet")
    kinds = {one.id[1:]: (one.format, one.subtype) for one in found}

    def refuse(*_: Any) -> Any:
        raise AssertionError("a file was read again")

    assert kinds["a.m4a"] == ("MP4", "aac")
    assert kinds["a.wma"] == ("ASF", "wmav2")
    assert kinds["opus.webm"] == ("MATROSKA", "opus")
    assert kinds["u8.avi"] == ("AVI", "pcm_u8")
    assert list(headrace.load_catalog(tmp_path / "cache.parquet")) == list(found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.catalog._headers.probe", refuse)
        again = headrace.scan(sorted(files.glob("2*")), cache=tmp_path / "cache.parquet")
    assert list(again) == list(found)
    assert not headrace.scan(files, verify="decode").failures


@needs_av
def test_a_folder_is_searched_for_every_container(files: Path) -> None:
    """Films too have sound: the extensions of all containers that FFmpeg reads are found."""
    names = {Path(one.id).suffix for one in headrace.scan(files)}

    assert {".webm", ".mka", ".mkv", ".mov", ".mp4", ".avi"} <= names
    assert names == {Path(name).suffix for name in [*KINDS, "film.mp4"]} <= EXTENSIONS


@needs_av
@pytest.mark.parametrize("name", ["1a.m4a", "1a.mkv", "1a.aac", "1a.wma", "1a.wv", "film.mp4"])
def test_damage_after_the_scan_affects_no_other_file(
    files: Path, tmp_path: Path, name: str
) -> None:
    """A file cut short loses all windows, a damaged file only those behind the damage."""
    data = (files / name).read_bytes()
    half = len(data) // 2
    path = tmp_path / name
    path.write_bytes(data)
    (tmp_path / "z.wv").write_bytes((files / "1a.wv").read_bytes())
    windows = headrace.scan([path, tmp_path / "z.wv"]).windows(48_000, 0.1)
    whole = [(one.file_id, one.audio.tobytes()) for one in windows.loader(workers=0)]
    mine = [index for index, (file_id, _) in enumerate(whole) if file_id == name]

    def right() -> tuple[set[int], headrace.Loader]:
        loader = windows.shuffle(seed=0).loader(workers=2, on_error="skip")
        got = {one.index: one.audio.tobytes() for one in loader}
        lost = sum(one.windows for one in loader.failures)
        assert len(got) + lost == len(windows)
        return {index for index in got if got[index] == whole[index][1]}, loader

    path.write_bytes(data[:half])
    exact, loader = right()
    assert exact == set(range(len(windows))) - set(mine)
    assert {one.code for one in loader.failures} == {Code.CHANGED}

    path.write_bytes(data[:half] + bytes(len(data) - half))
    exact, _ = right()
    early = {index for index in mine if not name.endswith((".m4a", ".mp4"))} & set(mine[:5])
    assert exact >= set(range(len(windows))) - set(mine) | early  # MP4 has its index at the end


@needs_av
def test_a_file_that_cannot_be_decoded_to_its_end_is_a_failure(av: Any, tmp_path: Path) -> None:
    """If decoding stops early, the scan says where, and why in FFmpeg's words."""
    path = tmp_path / "a.mp4"
    write(av, path, medley(200_000, 1).astype(np.float32), "mp4", "libopus")
    data = path.read_bytes()
    at = data.index(b"mdat") + 4
    middle = at + (data.index(b"moov") - at) // 2
    path.write_bytes(data[:middle] + b"\xff" * 3_000 + data[middle + 3_000 :])

    found = probe(str(path), "a")

    assert isinstance(found, Failure)
    assert found.code is Code.TRUNCATED
    assert found.message.startswith("decoding stops at frame ")
    assert "FFmpeg: " in found.message


@needs_av
def test_a_file_that_only_begins_like_a_container_is_a_failure(av: Any, tmp_path: Path) -> None:
    """Noise behind a known beginning, and a film without sound, are failures with their codes."""
    for name, begin in BEGINS.items():
        noise = np.random.default_rng(0).integers(0, 256, 5_000, dtype=np.uint8).tobytes()
        (tmp_path / "a.m4a").write_bytes(begin[:16] + noise)
        found = probe(str(tmp_path / "a.m4a"), "a")
        assert isinstance(found, Failure), name
        assert found.code in {Code.NOT_AUDIO, Code.EMPTY, Code.TRUNCATED}, (name, found.message)
    with av.open(str(tmp_path / "silent.mp4"), "w") as out:
        picture = out.add_stream("mpeg4", rate=30)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        out.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        out.mux(picture.encode(None))
    found = probe(str(tmp_path / "silent.mp4"), "a")
    assert isinstance(found, Failure)
    assert (found.code, found.message) == (Code.EMPTY, "the file has no audio track")


@needs_av
@pytest.mark.parametrize(
    ("frames", "channels", "rate", "codec", "told"),
    [
        (90_000, 2, 48_000, "aac", "2 channels"),
        (90_000, 1, 44_100, "aac", "44100 Hz"),
        (90_000, 1, 48_000, "alac", "sample format alac"),
    ],
)
def test_a_file_replaced_by_another_is_changed(
    av: Any, tmp_path: Path, frames: int, channels: int, rate: int, codec: str, told: str
) -> None:
    """A file with another rate, channel count or codec than in the catalog is CHANGED."""
    # Matroska is read by FFmpeg's demuxer, M4A by the table of its packets' sizes.
    for container, message in (("matroska", told), ("ipod", "packets are not where they were")):
        path = tmp_path / container
        write(av, path, medley(9_000, 1).astype(np.float32), container, "aac")
        windows = headrace.scan(path).windows(48_000, 0.05)
        write(av, path, medley(frames, channels).astype(np.float32), container, codec, rate=rate)

        loader = windows.loader(on_error="skip")

        assert list(loader) == []
        assert {one.code for one in loader.failures} == {Code.CHANGED}
        assert message in loader.failures[0].message


@needs_av
def test_a_missing_file_is_missing(files: Path, tmp_path: Path) -> None:
    """A missing file has the same code as in other formats."""
    path = tmp_path / "a.m4a"
    path.write_bytes((files / "1a.m4a").read_bytes())
    windows = headrace.scan(path).windows(48_000, 0.1)
    path.unlink()

    loader = windows.loader(on_error="skip")

    assert list(loader) == []
    assert {one.code for one in loader.failures} == {Code.MISSING}


@needs_av
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_open_files_end_with_the_loader_and_have_no_threads(files: Path) -> None:
    """Decoders run only in the workers; after the last window no file is open."""
    windows = headrace.scan(f"{files}/*.m4a").windows(48_000, 0.1)
    list(windows.loader(workers=2))
    descriptors, threads = _count("fd"), threading.active_count()

    tasks = _count("task")
    with Stream(str(files / "1a.m4a"), "MP4") as stream:
        stream.skip(5_000)
        assert _count("task") <= tasks  # joined threads may still be listed
    for _ in range(3):
        list(windows.shuffle(seed=0).loader(workers=2))

    assert _count("fd") == descriptors
    assert threading.active_count() == threads


def _count(what: str) -> int:
    return len(list(Path("/proc/self", what).iterdir()))


MEASURE = """
import ctypes, gc, sys
from headrace.codecs import decoder_bytes, probe
from headrace.codecs._ffmpeg import Stream

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
gc.disable()

def taken():  # hblkhd + uordblks: bytes that malloc has mapped and allocated
    info = mallinfo2()
    return info.e + info.h

def used(one):
    stream = Stream(one.path, one.format)
    stream.skip(20_000)
    return stream

for path in sys.argv[1:]:
    recording = probe(path, "id")
    keep = [used(recording)]
    before = taken()
    keep += [used(recording) for _ in range(10)]
    print((taken() - before) // 10, decoder_bytes(recording), end=" ")
    for one in keep:
        one.close()
    del one
    before = taken()
    for _ in range(20):
        used(recording).close()
    print((taken() - before) // 20)
"""


@needs_av
@pytest.mark.skipif(
    sys.platform != "linux" or os.confstr("CS_GNU_LIBC_VERSION") is None,
    reason="asks glibc for allocated bytes",
)
def test_a_decoder_takes_no_more_memory_than_promised(files: Path) -> None:
    """A decoder stays under decoder_bytes, and frees its memory without a garbage collection."""
    paths = sorted(map(str, files.iterdir()))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True
    )
    figures = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]

    assert len(figures) == len(paths)
    for path, (taken, promised, left) in zip(paths, figures, strict=True):
        assert taken < promised, path
        assert left < 20_000, path
    assert max(taken for taken, _, _ in figures) > 100_000  # otherwise nothing was measured
    assert done.stderr == ""


class FakeStream:
    """A stream in Python, with samples of 1."""

    complaint = " (because)"

    def __init__(self, read: Callable[[int], int]) -> None:
        self._read = read
        self.closed = threading.Event()

    def read(self, out: memoryview) -> int:
        np.frombuffer(out, np.float32)[:] = 1
        return self._read(out.nbytes // 4)

    def close(self) -> None:
        self.closed.set()


def verify_stream(stream: Any, frames: int = 50_000) -> _kernel.VerifyResult:
    """Return what decoding a mono recording by a stream in Python finds."""
    kind = _kernel.SourceFormat(
        sample_rate=48_000,
        channels=1,
        sample_type=_kernel.SampleType.FLOAT32,
        exact_seek=False,
        opener=lambda _: stream,
    )
    return _kernel.verify(
        kind,
        libsndfile_functions(),
        place=_kernel.Place(path=b"nowhere"),
        frames=frames,
        cancel=bytearray(1),
    )


def test_a_stream_in_python_is_a_source() -> None:
    """Its frames are counted, the reason of an early end is reported, and it is closed."""
    whole, short = FakeStream(lambda frames: frames), FakeStream(lambda frames: frames - 1)

    found = verify_stream(whole)
    assert (found.frames, found.non_finite_samples) == (50_000, 0)
    assert verify_stream(short).frames == (1 << 14) - 1
    found = verify_stream(short)
    assert found.code == "TRUNCATED"
    assert found.message == "the file is cut short or damaged (because)"
    assert whole.closed.is_set()
    assert short.closed.is_set()


def test_decode_errors_are_values_and_other_exceptions_raise() -> None:
    """A DecodeError keeps code and message; an error in the program is raised as it is."""

    def raising(error: Exception) -> FakeStream:
        def read(_: int) -> int:
            raise error

        return FakeStream(read)

    faulty, broken = raising(DecodeError(Code.IO, "the disk")), raising(KeyError("a bug"))

    found = verify_stream(faulty)
    assert (found.code, found.message) == ("IO", "the disk")
    with pytest.raises(KeyError, match="a bug"):
        verify_stream(broken)
    with pytest.raises(IndexError, match="too many frames"):
        verify_stream(FakeStream(lambda frames: frames + 1))
    assert broken.closed.is_set()
    assert faulty.closed.is_set()


LATE = """
import sys, threading
import numpy as np
from headrace import _kernel
from headrace.codecs import libsndfile_functions

reading, go_on = threading.Event(), threading.Event()

class Late:
    def read(self, out):
        reading.set()
        {wait}
        return len(out) // 4
    def close(self):
        pass

kind = _kernel.SourceFormat(
    sample_rate=48_000, channels=1, sample_type=_kernel.SampleType.FLOAT32, exact_seek=False,
    opener=lambda path: Late(),
)
options = dict(place=_kernel.Place(path=b"nowhere"), frames=1 << 40, cancel=bytearray(1))
threading.Thread(
    target=_kernel.verify, args=(kind, libsndfile_functions()), kwargs=options, daemon=True
).start()
reading.wait()
print("bye")
"""


@pytest.mark.parametrize("wait", ["go_on.wait()", "go_on.wait(0.001)", "pass"])
def test_the_interpreter_ends_while_a_stream_reads(wait: str) -> None:
    """A read that nothing waits for neither delays the exit nor makes the process crash."""
    done = subprocess.run(
        [sys.executable, "-c", LATE.format(wait=wait)],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "bye\n", "")


@needs_av
def test_cancelling_a_scan_does_not_wait_for_a_long_file(files: Path) -> None:
    """Decoding in a scan stops when it is cancelled."""
    answers = iter([False, False, True])

    found = probe(str(files / "1a.mkv"), "a", lambda: next(answers))

    assert isinstance(found, Recording)
    assert found.frames == 2 * (1 << 14)
