"""Recordings that FFmpeg decodes from anchors: the kernel, PyAV, and a plain decode agree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import headrace
from headrace import _kernel
from headrace.codecs import _ffmpeg, _ffmpeg_library, _mp4, _native
from headrace.codecs._anchors import AnchorRule, anchor_rule
from headrace.codecs._probe import probe
from headrace.failures import Code, Failure
from tests.support.ffmpeg_files import (
    KINDS,
    PROGRAM_KINDS,
    RARE_KINDS,
    in_caf,
    plain_decode,
    uninterrupted_decode,
    write,
    write_by_program,
)
from tests.support.native_fuzzing import fuzz
from tests.support.scanned import index_of, only, whole_of, without_layout
from tests.support.sounds import medley

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.slow

RATE = 48_000
SIGNALS = ("medley", "noise", "tones", "syllables", "silence")
LONG = 11 * RATE + 777
"""Frames: a few segments of every codec."""


def sound(name: str, channels: int) -> NDArray[np.float32]:
    """Return a signal of shape ``(LONG, channels)``."""
    if name == "medley":
        return medley(LONG, channels).astype(np.float32)
    rng = np.random.default_rng(5)
    t = np.arange(LONG)[:, None] / RATE
    one = {
        "noise": rng.normal(scale=0.2, size=(LONG, channels)),
        "tones": 0.3 * np.sin(2 * np.pi * (440 + 37 * np.arange(channels)) * t),
        "syllables": np.sin(2 * np.pi * 3 * t) * rng.normal(scale=0.2, size=(LONG, channels)),
        "silence": np.zeros((LONG, channels)),
    }[name]
    if name == "syllables":
        one[(t[:, 0] % 1.0) > 0.6] = 0
    return one.astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for files that several tests read."""
    return tmp_path_factory.mktemp("anchors")


@pytest.fixture
def pyav_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel call no function of FFmpeg's."""
    monkeypatch.setattr(_native, "library", lambda: None)
    monkeypatch.setattr(_ffmpeg, "library", lambda: None)
    monkeypatch.setattr(_mp4, "library", lambda: None)


def make(folder: Path, kind: str, signal: str = "medley", channels: int = 2) -> Path:
    """Return a file, encoded when it is first asked for."""
    path = folder / f"{signal}{channels}-{kind}"
    if not path.exists():
        write(path, sound(signal, channels), *KINDS[kind])
    return path


def scan(path: Path) -> headrace.Catalog:
    """Return the catalog of one file."""
    return headrace.scan(path)


def anchors_of(index: _kernel.PacketIndex) -> bytes:
    """Return an index without what only the kernel's own readers of containers use, packed."""
    if index.has_table:
        return index.pack()
    return without_layout(index).pack()


def test_the_kernel_calls_ffmpeg_here() -> None:
    """The installed FFmpeg is one that the kernel knows: else PyAV is compared with PyAV."""
    assert sys.platform == "win32" or _ffmpeg_library.library() is not None


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_is_what_its_anchors_say(folder: Path, kind: str, channels: int) -> None:
    """It equals a decode by the definition, written here without the library; length as ever."""
    path = make(folder, kind, channels=channels)
    index = index_of(path)
    whole = whole_of(path)

    expected = plain_decode(path, index)
    assert len(index.anchors) > 1
    assert whole.tobytes() == expected.tobytes()
    uninterrupted = uninterrupted_decode(path)
    assert len(whole) == len(uninterrupted) == index.frames
    if index.forgets:
        assert whole.tobytes() == uninterrupted.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("signal", SIGNALS[1:])
def test_every_order_gives_the_same_windows(folder: Path, kind: str, signal: str) -> None:
    """In order and at random, with no, two and three workers: slices of the whole."""
    path = make(folder, kind, signal, 1)
    whole = whole_of(path)
    windows = scan(path).windows(RATE, 0.7, 0.41, channel="all")

    for workers, view in ((0, windows), (2, windows), (3, windows.shuffle(seed=1))):
        seen = 0
        for one in view.loader(workers=workers):
            start = round(one.offset * RATE)
            expected = whole[start : start + one.valid_samples].T
            assert one.audio[:, : one.valid_samples].tobytes() == expected.tobytes()
            seen += 1
        assert seen == len(windows)


@pytest.mark.parametrize("kind", KINDS)
def test_pyav_gives_the_same_anchors_and_samples(
    folder: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """Where the kernel calls no FFmpeg, catalogs and samples are the same."""
    path = make(folder, kind)
    table, native, samples = scan(path).to_arrow(), only(path), whole_of(path)
    anchors = anchors_of(index_of(path))
    request.getfixturevalue("pyav_only")

    assert only(path) == native
    assert anchors_of(index_of(path)) == anchors
    assert whole_of(path).tobytes() == samples.tobytes()
    kept = headrace.Catalog.from_table(table)
    (window,) = kept.windows(RATE, native.frames / RATE, channel="all").loader(workers=0)
    assert window.audio[:, : native.frames].T.tobytes() == samples.tobytes()


@pytest.mark.parametrize("kind", ["a.m4a", "a.aac", "a.wma", "opus.webm", "mp3.mka"])
def test_damage_costs_the_same_in_every_order_and_no_more_than_with_pyav(
    folder: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """What PyAV delivers of a file that was damaged after the scan, the kernel does, too."""
    path = make(folder, kind, channels=1)
    copy = path.with_name("lost-" + path.name)
    data = bytearray(path.read_bytes())
    copy.write_bytes(data)
    windows = scan(copy).windows(RATE, 0.25, channel="all")
    middle = index_of(path).anchors[0].offset + 2_000
    data[middle : middle + 3_000] = b"\xff" * 3_000
    copy.write_bytes(data)

    def outcome(workers: int, seed: int | None) -> tuple[dict[int, bytes], list[Code]]:
        view = windows if seed is None else windows.shuffle(seed=seed)
        loader = view.loader(workers=workers, on_error="skip")
        had = {one.index: one.audio.tobytes() for one in loader}
        return had, sorted(one.code for one in loader.failures for _ in range(one.windows))

    native = outcome(0, None)
    whole = whole_of(path)
    assert native[1]
    start, stop = (round(middle / len(data) * len(whole)) + n * RATE for n in (-1, 1))
    for number, audio in native[0].items():  # what is delivered is at its place
        frames = slice(number * RATE // 4, (number + 1) * RATE // 4)
        if frames.stop < start or (frames.start > stop and frames.stop <= len(whole)):
            assert audio == whole[frames, 0].tobytes()
    assert outcome(2, 1) == native
    index = index_of(path)
    if index.has_layout:  # a demuxer may lose its way, and the kernel does not need it
        behind = range(-(-index.anchors[1].start * 4 // RATE), len(windows))
        assert native[0].keys() >= set(behind)
    request.getfixturevalue("pyav_only")
    by_pyav = outcome(0, None)
    assert outcome(2, 1) == by_pyav
    assert by_pyav[0].items() <= native[0].items()
    if not index.has_layout:
        assert by_pyav == native


@pytest.mark.parametrize("kind", ["aac.caf", *RARE_KINDS])
def test_rare_containers_keep_the_laws(
    folder: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """The whole is what the anchors say, windows at random are slices of it, PyAV agrees."""
    path = folder / f"rare-{kind}"
    if kind == "aac.caf":
        rate = RATE
        in_caf(path, sound("medley", 2), "aac")
    else:
        muxer, encoder, bitrate, rate = RARE_KINDS[kind]
        channels = 2 if rate == RATE else 1
        write(path, sound("medley", channels)[: 11 * rate], muxer, encoder, bitrate, rate)
    check_the_laws(path, rate, request)


@pytest.mark.parametrize("kind", PROGRAM_KINDS)
def test_what_other_programs_encode_keeps_the_laws(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    """DTS, MLP, Speex, G.723.1; and Musepack and HE-AAC, where their encoders are installed."""
    rate, channels, seconds, command = PROGRAM_KINDS[kind]
    program = command.split()[0]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    path = tmp_path / kind
    write_by_program(path, medley(seconds * rate, channels).astype(np.float32), command, rate)
    if kind.startswith(("he.", "two.")):  # its header is not in every packet of 2,048 frames
        assert index_of(path).pre_roll * 2_048 > 1.9 * rate
    check_the_laws(path, rate, request)


def check_the_laws(path: Path, rate: int, request: pytest.FixtureRequest) -> None:
    """Fail unless a recording is what its anchors say, in every order and by PyAV, too."""
    whole = whole_of(path)
    index = index_of(path)

    assert len(index.anchors) > 1
    assert whole.tobytes() == plain_decode(path, index).tobytes()
    assert len(whole) == len(uninterrupted_decode(path)) == index.frames
    windows = scan(path).windows(rate, 0.7, 0.41, channel="all").shuffle(seed=1)
    for one in windows.loader(workers=2):
        start = round(one.offset * rate)
        expected = whole[start : start + one.valid_samples].T
        assert one.audio[:, : one.valid_samples].tobytes() == expected.tobytes()
    request.getfixturevalue("pyav_only")
    assert anchors_of(index_of(path)) == anchors_of(index)
    assert whole_of(path).tobytes() == whole.tobytes()


@pytest.mark.parametrize("kind", ["a.m4a", "opus.webm", "a.wma"])
def test_a_window_far_behind_needs_little_decoding(folder: Path, kind: str) -> None:
    """Reaching the last window costs what its segment does: the first half may be damaged."""
    path = make(folder, kind)
    whole = whole_of(path)
    windows = scan(path).windows(RATE, 0.25, channel="all")
    last = windows[len(windows) - 1 :]
    data = bytearray(path.read_bytes())
    begin = index_of(path).anchors[0].offset
    data[begin : begin + 200] = bytes(200)
    damaged = path.with_name("damaged-" + path.name)
    damaged.write_bytes(data)

    (one,) = last.loader(workers=0)
    start = round(one.offset * RATE)
    expected = whole[start : start + one.valid_samples].T
    assert one.audio[:, : one.valid_samples].tobytes() == expected.tobytes()


def test_damage_in_a_gap_between_windows_costs_none_of_them(folder: Path) -> None:
    """Where going on leads into damage, the next segment is reached by its anchor."""
    path = make(folder, "a.aac", channels=1)
    anchor = index_of(path).anchors[1]
    whole = whole_of(path)
    steps = next(n for n in range(1, RATE) if anchor.start % n == 0 and anchor.start / n < RATE / 5)
    hop = anchor.start // steps
    copy = path.with_name("gap-" + path.name)
    data = bytearray(path.read_bytes())
    copy.write_bytes(data)
    windows = scan(copy).windows(RATE, 0.01, hop / RATE, channel="all")[steps - 1 : steps + 1]
    data[anchor.offset - 190 : anchor.offset - 10] = bytes(180)  # right before the pre-roll
    copy.write_bytes(data)

    before, behind = windows.loader(workers=0)
    for one, start in ((before, anchor.start - hop), (behind, anchor.start)):
        assert one.audio.tobytes() == whole[start : start + RATE // 100].T.tobytes()


def test_a_catalog_of_an_earlier_version_keeps_its_decode(folder: Path) -> None:
    """Without an index, a recording is one uninterrupted decode, as it was when it was scanned."""
    path = make(folder, "a.m4a")
    table = scan(path).to_arrow()
    old = headrace.Catalog.from_table(table.drop_columns(["seek_points", "decoder"]))
    (one,) = old
    (window,) = old.windows(RATE, one.frames / RATE, channel="all").loader()

    assert np.array_equal(window.audio[:, : one.frames].T, uninterrupted_decode(path))


def test_the_decoder_is_part_of_what_a_catalog_is(folder: Path) -> None:
    """It is named, it enters the fingerprint, and it does not stand without its index."""
    table = scan(make(folder, "a.m4a")).to_arrow()
    new = headrace.Catalog.from_table(table)
    old = headrace.Catalog.from_table(table.drop_columns(["seek_points", "decoder"]))
    derived = headrace.Catalog.from_table(table.drop_columns(["decoder"]))

    assert new[0].decoder == f"libavcodec {_ffmpeg_library.decoder_major()}, anchors 1"
    assert old[0].decoder is None
    assert derived.fingerprint == new.fingerprint != old.fingerprint
    with pytest.raises(headrace.CatalogError, match="no seek_points: keep that column"):
        headrace.Catalog.from_table(table.drop_columns(["seek_points"]))


def test_another_version_of_ffmpeg_is_refused(folder: Path) -> None:
    """Samples that another decoder would give are not passed off as those of the catalog."""
    path = make(folder, "a.m4a")
    table = scan(path).to_arrow()
    index = index_of(path)
    other = _kernel.PacketIndex(
        decoder_major=61,
        pre_roll=index.pre_roll,
        forgets=index.forgets,
        frames=index.frames,
        anchors=index.anchors,
    ).pack()
    place = table.column_names.index("seek_points")
    import pyarrow as pa

    table = table.set_column(place, "seek_points", pa.array([other], pa.large_binary()))
    loader = headrace.Catalog.from_table(table).windows(RATE, 1.0).loader(on_error="skip")

    assert list(loader) == []
    assert {one.code for one in loader.failures} == {Code.UNSUPPORTED}
    assert "scanned with libavcodec 61" in loader.failures[0].message


def test_unknown_versions_are_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel calls only FFmpeg versions whose structs it knows."""
    monkeypatch.setattr(_ffmpeg_library, "MAJORS", {"libavcodec": 61})
    _ffmpeg_library._library.cache_clear()
    try:
        assert _ffmpeg_library.library() is None
    finally:
        _ffmpeg_library._library.cache_clear()


def test_a_failed_self_check_leaves_decoding_to_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel and PyAV disagree about the short file, the kernel calls nothing."""
    monkeypatch.setattr(_ffmpeg_library, "_agrees", lambda *_: False)
    _ffmpeg_library._library.cache_clear()
    try:
        assert _ffmpeg_library.library() is None
    finally:
        _ffmpeg_library._library.cache_clear()


def test_an_index_is_small(folder: Path) -> None:
    """An hour of AAC takes less than 20 KB, and of a codec with an anchor a second 60 KB."""
    more = 4 * LONG
    for kind in KINDS:
        short, long = make(folder, kind), folder / f"long-{kind}"
        write(long, medley(more, 2).astype(np.float32), *KINDS[kind])
        first, second = (len(only(path).seek_points or b"") for path in (short, long))
        long.unlink()
        assert first < 300, kind
        assert (second - first) * 3600 * RATE / (more - LONG) < 60_000, kind
    path = make(folder, "a.m4a")
    index = index_of(path)
    step = index.anchors[-1].start // len(index.anchors)
    anchors = [
        _kernel.Anchor(
            start=step * (n + 1),
            packets=94,
            offset=16_000 * (n + 1) + n % 7,
            ordinal=0,
            time=step * (n + 1),
            check=n % 65_536,
        )
        for n in range(1_800)
    ]
    packed = _kernel.PacketIndex(
        decoder_major=62, pre_roll=4, forgets=False, frames=1 << 40, anchors=anchors
    ).pack()
    assert len(packed) < 20_000


def test_a_packed_index_is_what_was_packed() -> None:
    """Packing keeps every field; whatever is cut or changed is not taken for an index."""
    rng = np.random.default_rng(0)
    start = np.cumsum(rng.integers(1, 1 << 30, 200))
    anchors = [
        _kernel.Anchor(
            start=int(start[n]),
            packets=int(rng.integers(8, 1 << 20)),
            offset=int(rng.integers(0, 1 << 50)),
            ordinal=int(rng.integers(0, 9)),
            time=-(1 << 63) if n % 5 == 0 else int(rng.integers(-(1 << 40), 1 << 40)),
            check=int(rng.integers(0, 1 << 16)),
        )
        for n in range(200)
    ]
    packed = _kernel.PacketIndex(
        decoder_major=62, pre_roll=8, forgets=True, frames=int(start[-1]), anchors=anchors
    ).pack()
    back = _kernel.unpack_packet_index(packed)

    assert back is not None
    assert (back.decoder_major, back.pre_roll, back.forgets) == (62, 8, True)
    names = ("start", "packets", "offset", "ordinal", "time", "check")
    for one, other in zip(anchors, back.anchors, strict=True):
        assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
    for size in range(len(packed)):
        assert _kernel.unpack_packet_index(packed[:size]) is None
    for _ in range(2_000):
        changed = bytearray(packed)
        changed[int(rng.integers(len(packed)))] ^= int(rng.integers(1, 256))
        assert _kernel.unpack_packet_index(bytes(changed)) is None


def test_rules_are_by_codec() -> None:
    """Lossless codecs forget; what is not listed has a pre-roll of a tenth of a second."""
    assert anchor_rule("flac").forgets
    assert anchor_rule("pcm_s16le").forgets
    assert anchor_rule("vorbis").forgets
    assert not anchor_rule("aac").forgets
    assert anchor_rule("something") == AnchorRule(2.0, 4, 0.1)


FUZZ = """
import logging
import sys
import numpy as np
import headrace
from headrace.codecs import probe

logging.getLogger("headrace").addHandler(logging.NullHandler())  # it reports losses
path, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = open(path, "rb").read()
rng = np.random.default_rng(seed)
lost = 0
for _ in range(rounds):
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at, size = int(rng.integers(len(data))), int(rng.integers(1, 300))
        changed[at : at + size] = rng.bytes(len(changed[at : at + size]))
    if rng.random() < 0.3:
        del changed[int(rng.integers(len(changed))) :]
    open(path, "wb").write(changed)
    probe(path, "a")
    open(path, "wb").write(data)
    windows = headrace.scan(path, workers=0, decoder="ffmpeg").windows(48_000, 0.5)
    open(path, "wb").write(changed + bytes(max(0, len(data) - len(changed))))
    loader = windows.shuffle(seed=0).loader(workers=2, on_error="skip")
    delivered = sum(1 for _ in loader)
    failed = sum(one.windows for one in loader.failures)
    assert delivered + failed == len(windows), (delivered, failed, len(windows))
    lost += failed
    open(path, "wb").write(data)
print("lost", lost)
"""


@pytest.mark.parametrize(
    "kind",
    ["a.m4a", "opus.webm", "a.wma", "a.aac", "mp3.avi", "flac.mka", "alac.caf"],
)
def test_mutated_files_end_in_samples_or_failures(tmp_path: Path, kind: str) -> None:
    """Damage neither crashes nor hangs, and every window is delivered or fails."""
    path = tmp_path / kind
    write(path, sound("medley", 1)[: 5 * RATE], *{**KINDS, "alac.caf": ("caf", "alac", 0)}[kind])
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(path), "1", "12"],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("lost ")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="PyAV's wheel has its libraries elsewhere")
@pytest.mark.parametrize(
    "kind",
    ["a.m4a", "opus.webm", "flac.mka", "a.wma", "mp3.avi", "a.aac", "a.wv", "alac.caf", "ima.caf"],
)
def test_the_bridge_stays_within_its_memory(folder: Path, tmp_path: Path, kind: str) -> None:
    """The sanitizers find nothing with mutated files and indexes; good ones decode alike."""
    import av

    (library,) = Path(av.__file__).parents[1].glob("av.libs/libavformat-*")
    path = tmp_path / kind
    core_audio = {"alac.caf": ("caf", "alac", 0), "ima.caf": ("caf", "adpcm_ima_qt", 0)}
    write(path, sound("medley", 2)[: 2 * RATE], *{**KINDS, **core_audio}[kind])
    one = only(path)
    demuxer = _ffmpeg.CONTAINERS[one.format]
    by_byte = int(one.format in _ffmpeg.BYTE_SEEK)
    scratch = tmp_path / f"scratch-{kind}"

    count, walked, different = fuzz(
        "fuzz_ffmpeg", folder, 1, 12, library, path, scratch, demuxer, one.subtype, 2, by_byte
    )
    assert (count, different) == (12, 0)
    assert walked > 0


def test_playlists_and_other_containers_are_not_followed(tmp_path: Path) -> None:
    """A file opens no other file, whatever it says."""
    (tmp_path / "secret.aac").write_bytes(b"\xff\xf1" + bytes(100))
    begin = b"\0\0\0\x18ftypisom" + bytes(12)
    (tmp_path / "a.m4a").write_bytes(begin + b"#EXTM3U\nsecret.aac\n")

    found = probe(str(tmp_path / "a.m4a"), "a")

    assert isinstance(found, Failure)
    assert found.code in {Code.NOT_AUDIO, Code.EMPTY}
