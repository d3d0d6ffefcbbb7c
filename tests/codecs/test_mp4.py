"""MP4 by its tables: what they say equals a decode, and no other bytes are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import headrace
from headrace.codecs import _ffmpeg, _mp4, _native
from headrace.codecs._probe import probe
from headrace.codecs._recording import Recording
from headrace.errors import DamagedWarning
from headrace.failures import Code
from headrace.storage import as_place
from tests.support.ffmpeg_files import plain_decode, uninterrupted_decode, write
from tests.support.object_server import ObjectServer
from tests.support.scanned import check_ranges, index_of, only, whole_of
from tests.support.sounds import medley

if TYPE_CHECKING:
    from pathlib import Path


RATE = 48_000

CASES = [  # muxer, encoder, channels, rate, frames
    ("ipod", "aac", 1, 48_000, 1),
    ("ipod", "aac", 2, 44_100, 1_024),
    ("mp4", "aac", 1, 8_000, 1_025),
    ("mov", "aac", 2, 96_000, 25_000),
    ("3gp", "aac", 1, 22_050, 100_000),
    ("ipod", "aac", 2, 16_000, 199_999),
    ("ipod", "alac", 2, 48_000, 4_097),
    ("mov", "alac", 1, 44_100, 100_001),
]


def m4a(path: Path, frames: int = 11 * RATE, codec: str = "aac") -> Path:
    """Write noise, tones and pauses, in mono at 48 kHz."""
    write(path, medley(frames, 1).astype(np.float32), "ipod", codec, 64_000)
    return path


@pytest.mark.parametrize(
    ("case", "options"),
    [
        pytest.param(case, options, marks=[] if number % 3 == turn else pytest.mark.slow)
        for number, case in enumerate(CASES)
        for turn, options in enumerate(({}, {"movflags": "faststart"}, {"use_editlist": "0"}))
    ],
)
def test_the_tables_say_what_a_decode_gives(
    tmp_path: Path, case: tuple[str, str, int, int, int], options: dict[str, str]
) -> None:
    """Length, anchors and samples: with tables in front or behind, with edit lists or without."""
    muxer, codec, channels, rate, frames = case
    path = tmp_path / "a"
    audio = medley(frames, channels).astype(np.float32)
    write(path, audio, muxer, codec, 64_000, rate, muxer_options=options)
    try:
        decoded = uninterrupted_decode(path)
    except ValueError:  # a file of one packet, which is dropped, has no frames
        assert frames == 1
        return

    one, index = only(path), index_of(path)

    assert index.has_table
    assert (one.frames, one.channels) == decoded.shape
    assert (one.sample_rate, one.subtype) == (rate, codec)
    whole = whole_of(path)
    assert whole.tobytes() == plain_decode(path, index).tobytes()
    if index.forgets:
        assert whole.tobytes() == decoded.tobytes()


def test_the_walk_would_place_the_same_anchors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a file is read by its tables or decoded, the recording is the same."""
    path = m4a(tmp_path / "a.m4a")
    index, whole = index_of(path), whole_of(path)
    monkeypatch.setattr(_mp4, "scan_tables", lambda _: None)

    walked = index_of(path)

    assert index.has_table
    assert not walked.has_table
    assert walked.frames == index.frames
    for one, other in zip(index.anchors, walked.anchors, strict=True):
        assert (one.start, one.packets, one.offset) == (other.start, other.packets, other.offset)
    assert whole_of(path).tobytes() == whole.tobytes()


@pytest.mark.parametrize("codec", ["aac", "alac"])
def test_pyav_reads_the_same_from_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    """Where the kernel calls no function of FFmpeg's, the catalog and the samples are the same."""
    path = m4a(tmp_path / "a.m4a", codec=codec)
    native, whole = only(path), whole_of(path)
    for module in (_native, _ffmpeg, _mp4):
        monkeypatch.setattr(module, "library", lambda: None)

    assert only(path) == native
    assert index_of(path).has_table
    assert whole_of(path).tobytes() == whole.tobytes()


def test_a_scan_reads_no_audio(tmp_path: Path) -> None:
    """All of it may be missing: nothing of what the catalog says is read from it."""
    path = m4a(tmp_path / "a.m4a")
    before = only(path)
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)

    after = only(path)

    assert after.frames == before.frames
    assert after.seek_points == before.seek_points


@pytest.mark.parametrize("codec", ["aac", "alac"])
def test_a_window_needs_no_bytes_but_those_of_its_ranges(tmp_path: Path, codec: str) -> None:
    """All others may be gone, the tables too: what is to be fetched is known before."""
    path = m4a(tmp_path / "a.m4a", codec=codec)

    check_ranges(path, 0.9, count=2)


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
def test_a_store_is_asked_at_most_twice_a_file_and_a_window(
    tmp_path: Path, options: dict[str, str]
) -> None:
    """For the begin and the tables at the scan; for sizes and packets at each random window."""
    path = tmp_path / "a.m4a"
    audio = medley(30 * RATE, 1).astype(np.float32)
    write(path, audio, "ipod", "aac", 64_000, muxer_options=options)
    with ObjectServer() as server:
        server.add_folder(tmp_path, "data/")
        catalog = headrace.scan("s3://bucket/data/*.m4a", store=server.options)
        assert len(server.requests) <= 2
        assert sum(one.stop - one.start for one in server.requests) < path.stat().st_size / 4
        server.requests.clear()
        windows = catalog.windows(16_000, 5.0)
        alone = [windows[number : number + 1] for number in (4, 1, 3)]
        remote = [next(iter(one.loader(workers=1))).audio for one in alone]
        assert len(server.requests) <= 2 * len(alone)
    local = headrace.scan(path).windows(16_000, 5.0)
    for number, audio in zip((4, 1, 3), remote, strict=True):
        assert audio.tobytes() == local[number].audio.tobytes()


def _with_config(path: Path, change: dict[bytes, bytes]) -> None:
    """Replace AAC's configuration in a file by one of the same size."""
    data = path.read_bytes()
    for old, new in change.items():
        assert data.count(old) == 1
        assert len(old) == len(new)
        data = data.replace(old, new)
    path.write_bytes(data)


def test_aac_that_may_hold_more_than_its_header_says_is_tried(tmp_path: Path) -> None:
    """Without a word about spectral band replication, the first packet decides."""
    path = m4a(tmp_path / "a.m4a")
    plain = whole_of(path)
    # 48 kHz, mono; then the extension that says that there is none, or a text that says nothing.
    _with_config(path, {bytes.fromhex("118856e500"): bytes.fromhex("1188000000")})

    assert index_of(path).has_table
    assert whole_of(path).tobytes() == plain.tobytes()


@pytest.mark.parametrize("config", ["118856e580", "2b098800a0", "118c000000"])
def test_other_kinds_of_aac_are_decoded_to_their_end(tmp_path: Path, config: str) -> None:
    """Spectral band replication in the header, as an extension or first, or packets of 960."""
    path = m4a(tmp_path / "a.m4a", 3 * RATE)
    _with_config(path, {bytes.fromhex("118856e500"): bytes.fromhex(config)})
    found = probe(str(path), "a")

    assert _mp4.scan_tables(as_place(str(path))) is None
    if isinstance(found, Recording):
        assert found.frames == len(uninterrupted_decode(path))


@pytest.mark.parametrize(
    ("muxer", "codec", "options"),
    [
        ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
        ("mp4", "libopus", {}),
        ("mov", "pcm_s24le", {}),
    ],
)
def test_what_the_tables_do_not_prove_is_decoded(
    tmp_path: Path, muxer: str, codec: str, options: dict[str, str]
) -> None:
    """Fragments, and codecs whose packets say how long they are, are walked as other containers."""
    path = tmp_path / "a.mp4"
    audio = medley(100_000, 1).astype(np.float32)
    write(path, audio, muxer, codec, 64_000, muxer_options=options)

    assert not index_of(path).has_table
    assert only(path).frames == len(uninterrupted_decode(path))


@pytest.mark.parametrize("workers", [0, 3])
def test_damage_costs_the_windows_that_need_it(tmp_path: Path, workers: int) -> None:
    """In the audio or in its sizes, before a segment or behind: the others are what they were."""
    path = m4a(tmp_path / "a.m4a", 20 * RATE)
    whole, data = whole_of(path), path.read_bytes()
    windows = headrace.scan(path).windows(RATE, 0.5, channel="all")
    anchors = index_of(path).anchors
    sizes = data.index(b"stsz") + 16
    packets = sum(one.packets for one in anchors[:2])  # of the first two segments
    places = {
        "audio": slice(anchors[1].offset + 3_000, anchors[1].offset + 3_300),
        "sizes": slice(sizes + 4 * packets + 80, sizes + 4 * packets + 88),
    }

    for what, place in places.items():
        damaged = bytearray(data)
        damaged[place] = b"\xff" * (place.stop - place.start)
        path.write_bytes(damaged)
        lost = set()
        for view in (windows, windows.shuffle(1)):
            loader = view.loader(workers=workers, on_error="skip")
            for one in loader:
                start = round(one.offset * RATE)
                expected = whole[start : start + one.valid_samples, 0]
                assert one.audio[0, : one.valid_samples].tobytes() == expected.tobytes(), what
            lost.add(sum(one.windows for one in loader.failures))
            assert {one.code for one in loader.failures} == {
                Code.CHANGED if what == "sizes" else Code.TRUNCATED
            }
        (count,) = lost  # the same in every order
        assert 1 <= count <= 9


def test_decoding_at_the_scan_finds_damage(tmp_path: Path) -> None:
    """The tables do not know of it: `verify="decode"` says which frames are lost."""
    path = m4a(tmp_path / "a.m4a", 20 * RATE)
    anchors = index_of(path).anchors
    data = bytearray(path.read_bytes())
    data[anchors[1].offset + 3_000 : anchors[1].offset + 3_300] = b"\xff" * 300
    path.write_bytes(data)

    assert not headrace.scan(path).failures
    with pytest.warns(DamagedWarning):
        verified = headrace.scan(path, verify="decode")

    (one,) = verified.failures
    assert one.code is Code.TRUNCATED
    assert one.start_s is not None
    assert anchors[1].start <= one.start_s * RATE < one.stop_s * RATE <= anchors[2].start
    assert verified[0].frames == 20 * RATE // 1_024 * 1_024 + 1_024
