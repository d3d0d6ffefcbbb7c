"""Containers whose packets the kernel finds itself: the same samples, from no other bytes."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
import soundfile

import headrace
from headrace import _kernel
from tests.support.ffmpeg_files import (
    in_caf,
    plain_decode,
    with_shared_payloads,
    write,
)
from tests.support.object_server import ObjectServer
from tests.support.scanned import (
    check_ranges,
    check_windows,
    index_of,
    only,
    whole_of,
    without_layout,
)
from tests.support.sounds import medley

if TYPE_CHECKING:
    from pathlib import Path


RATE = 48_000

ENCODED = {  # muxer, encoder, channels, rate, bits a second
    "mono.aac": ("adts", "aac", 1, 48_000, 64_000),
    "stereo.aac": ("adts", "aac", 2, 44_100, 128_000),
    "slow.aac": ("adts", "aac", 1, 8_000, 12_000),
    "fast.aac": ("adts", "aac", 2, 96_000, 256_000),
    "alac.caf": ("caf", "alac", 1, 48_000, 0),
    "alac2.caf": ("caf", "alac", 2, 44_100, 0),
    "flac.caf": ("caf", "flac", 2, 48_000, 0),
    "ima.caf": ("caf", "adpcm_ima_qt", 1, 48_000, 0),
    "ima2.caf": ("caf", "adpcm_ima_qt", 2, 22_050, 0),
    "mp3.caf": ("caf", "libmp3lame", 2, 44_100, 96_000),
    "ac3.caf": ("caf", "ac3", 1, 48_000, 96_000),
    "amr.caf": ("caf", "libopencore_amrnb", 1, 8_000, 12_200),
    "one.wma": ("asf", "wmav1", 1, 48_000, 96_000),
    "low.wma": ("asf", "wmav2", 1, 22_050, 24_000),
    "wide.wma": ("asf", "wmav2", 2, 44_100, 192_000),
    "mp3.asf": ("asf", "libmp3lame", 2, 44_100, 64_000),
    "aac.asf": ("asf", "aac", 1, 48_000, 64_000),
    "pcm.asf": ("asf", "pcm_s16le", 2, 16_000, 0),
    "adpcm.asf": ("asf", "adpcm_ima_wav", 2, 22_050, 0),
    "opus.webm": ("webm", "libopus", 1, 48_000, 64_000),
    "mp3.avi": ("avi", "libmp3lame", 1, 48_000, 96_000),
    "mp2.avi": ("avi", "mp2", 2, 44_100, 128_000),
    "aac.avi": ("avi", "aac", 2, 48_000, 96_000),
    "ac3.avi": ("avi", "ac3", 2, 48_000, 128_000),
    "adpcm.avi": ("avi", "adpcm_ima_wav", 1, 48_000, 0),
    "ms.avi": ("avi", "adpcm_ms", 2, 22_050, 0),
    "u8.avi": ("avi", "pcm_u8", 1, 8_000, 0),
    "pcm.avi": ("avi", "pcm_s16le", 2, 44_100, 0),
    "wma.avi": ("avi", "wmav2", 1, 48_000, 64_000),
}

MONO = ["mono.aac", "alac.caf", "ima.caf", "ac3.caf", "one.wma", "aac.asf", "aac.caf", "opus.caf"]
MONO += ["opus.webm", "mp3.avi", "adpcm.avi"]
"""In mono at 48 kHz."""


def make(folder: Path, kind: str, seconds: float = 11.3) -> Path:
    """Return a file of noise, tones and pauses."""
    path = folder / kind
    if kind in {"aac.caf", "opus.caf"}:
        in_caf(path, medley(round(seconds * RATE), 1).astype(np.float32), kind[:-4])
        return path
    muxer, codec, channels, rate, bitrate = ENCODED[kind]
    audio = medley(round(seconds * rate), channels).astype(np.float32)
    write(path, audio, muxer, codec, bitrate, rate)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind in MONO else pytest.mark.slow)
        for kind in sorted({*ENCODED, *MONO})
    ],
)
def test_the_kernel_finds_the_packets_of_the_demuxer(tmp_path: Path, kind: str) -> None:
    """Length, anchors and samples are those of a decode with FFmpeg's demuxer."""
    check_windows(make(tmp_path, kind))


def test_packets_of_asf_may_share_payloads(tmp_path: Path) -> None:
    """Short ones do, in files of other writers than FFmpeg."""
    path = tmp_path / "a.asf"
    audio = medley(16 * 8_000, 1).astype(np.float32)
    write(path, audio, "asf", "libmp3lame", 8_000, 8_000)
    apart = only(path)
    with_shared_payloads(path)

    assert only(path).frames == apart.frames
    check_windows(path)


@pytest.mark.slow
@pytest.mark.parametrize("size", [400, 12_000])
def test_asf_may_hold_pictures_too(tmp_path: Path, size: int) -> None:
    """Packets are spread over data packets, between those of the pictures."""
    path = tmp_path / "a.wmv"
    if shutil.which("ffmpeg") is None:
        pytest.skip("the ffmpeg command is not installed")
    soundfile.write(tmp_path / "a.wav", medley(9 * RATE, 2), RATE)
    arguments = f"-c:v wmv2 -b:v 300k -c:a wmav2 -b:a 96k -packet_size {size} {path}"
    sources = f"-f lavfi -i testsrc=s=320x240:d=9 -i {tmp_path / 'a.wav'}"
    subprocess.run(f"ffmpeg -v error {sources} {arguments}".split(), check=True)

    check_windows(path)


@pytest.mark.parametrize("kind", MONO)
def test_a_window_needs_no_bytes_but_those_of_its_ranges(tmp_path: Path, kind: str) -> None:
    """All others may be gone, the header too: what is to be fetched is known before."""
    path = make(tmp_path, kind)

    check_ranges(path, 0.9)


@pytest.mark.parametrize("kind", MONO)
def test_a_store_is_asked_once_for_a_window(tmp_path: Path, kind: str) -> None:
    """Or twice, where a table of sizes stands apart from the audio."""
    path = make(tmp_path, kind, 30)
    with ObjectServer() as server:
        server.add_folder(tmp_path, "data/")
        catalog = headrace.scan("s3://bucket/data/*", store=server.options)
        server.requests.clear()
        windows = catalog.windows(16_000, 5.0)
        alone = [windows[number : number + 1] for number in (4, 1, 3)]
        remote = [next(iter(one.loader(workers=1))).audio for one in alone]
        assert len(server.requests) <= len(alone) * (1 + kind.endswith(".caf"))
    local = headrace.scan(path).windows(16_000, 5.0)
    for number, audio in zip((4, 1, 3), remote, strict=True):
        assert audio.tobytes() == local[number].audio.tobytes()


def test_tags_around_adts_are_no_packets(tmp_path: Path) -> None:
    """Tags before the first frame and behind the last one change nothing."""
    path = make(tmp_path, "mono.aac")
    whole, data = whole_of(path), path.read_bytes()
    begin = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    end = b"TAG" + b"title".ljust(125, b"\0")
    path.write_bytes(begin + data + end)

    assert index_of(path).has_layout
    assert whole_of(path).tobytes() == whole.tobytes()


@pytest.mark.parametrize("between", [b"ID3\4\0\0\0\0\0\40" + bytes(32), bytes(50)])
def test_adts_with_something_between_its_frames_is_left_to_the_demuxer(
    tmp_path: Path, between: bytes
) -> None:
    """A tag in the middle, or damage: FFmpeg finds the next frame, and the kernel does not try."""
    path = make(tmp_path, "mono.aac")
    data = path.read_bytes()
    place = index_of(path).anchors[0].offset
    path.write_bytes(data[:place] + between + data[place:])
    index, whole = index_of(path), whole_of(path)

    assert not index.has_layout
    assert whole.tobytes() == plain_decode(path, index).tobytes()


def place_of_damage(kind: str, data: bytes, index: _kernel.PacketIndex) -> tuple[int, bytes]:
    """Return where to damage what tells the packets of the second segment, and by which bytes."""
    if kind.endswith(".caf"):
        table = data.index(b"pakt") + 12 + 24
        entry = table + 2 * (sum(one.packets for one in index.anchors[:1]) + 20)
        return entry + 1, bytes([data[entry + 1] ^ 1])
    # The stream of the first payload, in a block without error correction data or with it.
    block = index.anchors[1].offset
    fields = 3 if data[block] & 0x80 else 0
    flags = data[block + fields]
    lengths = sum((0, 1, 2, 4)[flags >> shift & 3] for shift in (1, 3, 5))
    return block + fields + 2 + lengths + 6 + (flags & 1), b"\x85"


@pytest.mark.parametrize("kind", ["aac.caf", "opus.caf", "one.wma", "aac.asf"])
def test_no_packet_is_lost_unnoticed(tmp_path: Path, kind: str) -> None:
    """Where a table tells another size, or a payload another stream: no window is wrong."""
    path = make(tmp_path, kind, 21)
    whole, data, index = whole_of(path), bytearray(path.read_bytes()), index_of(path)
    windows = headrace.scan(path).windows(RATE, 0.25, channel="all")
    place, damage = place_of_damage(kind, bytes(data), index)
    assert data[place : place + len(damage)] != damage
    data[place : place + len(damage)] = damage
    path.write_bytes(data)

    outcomes = []
    for workers, view in ((0, windows), (2, windows.shuffle(seed=1))):
        loader = view.loader(workers=workers, on_error="skip")
        had = {one.index: one.audio[:, : one.valid_samples] for one in loader}
        for number, audio in had.items():
            start = number * RATE // 4
            assert audio.tobytes() == whole[start : start + audio.shape[1]].T.tobytes()
        assert len(windows) / 2 < len(had) < len(windows)
        outcomes.append(sorted(had))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("kind", MONO)
def test_what_damage_costs_does_not_depend_on_the_order(tmp_path: Path, kind: str) -> None:
    """Wherever it is: the same windows are lost, for the same reasons, and the rest is the same."""
    path = make(tmp_path, kind, 13)
    whole, data = whole_of(path), path.read_bytes()
    windows = headrace.scan(path).windows(RATE, 0.25, channel="all")
    rng = np.random.default_rng(0)
    delivered = 0
    for _ in range(6):
        damaged = bytearray(data)
        at, size = int(rng.integers(len(data))), int(rng.integers(1, 400))
        damaged[at : at + size] = rng.bytes(len(damaged[at : at + size]))
        path.write_bytes(damaged)
        outcomes = []
        for workers, view in ((0, windows), (2, windows.shuffle(seed=1))):
            loader = view.loader(workers=workers, on_error="skip")
            had = {one.index: one.audio.tobytes() for one in loader}
            codes = sorted(one.code for one in loader.failures for _ in range(one.windows))
            assert len(had) + len(codes) == len(windows)
            outcomes.append((had, codes))
        assert outcomes[0] == outcomes[1]
        delivered += sum(
            audio == whole[number * RATE // 4 :][: RATE // 4, 0].tobytes()
            for number, audio in outcomes[0][0].items()
        )
    assert delivered > 2 * len(windows)


@pytest.mark.parametrize("kind", ["mono.aac", "ac3.caf", "one.wma"])
def test_catalogs_of_earlier_versions_are_read_by_the_demuxer(tmp_path: Path, kind: str) -> None:
    """Without what the kernel's reader has to know, the same anchors give the same samples."""
    path = make(tmp_path, kind)
    whole, index, table = whole_of(path), index_of(path), headrace.scan(path).to_arrow()
    earlier = without_layout(index)
    place = table.column_names.index("seek_points")
    column = pa.array([earlier.pack()], pa.large_binary())
    catalog = headrace.Catalog.from_table(table.set_column(place, "seek_points", column))
    windows = catalog.windows(RATE, 0.7, 0.41, channel="all").shuffle(seed=1)

    for window in windows.loader(workers=2):
        start = round(window.offset * RATE)
        expected = whole[start : start + window.valid_samples].T
        assert window.audio[:, : window.valid_samples].tobytes() == expected.tobytes()


def avi(
    path: Path, chunks: list[bytes], head: bytes, names: tuple[str, str] = ("movi", "AVI ")
) -> None:
    """Write an AVI file without an index, of one RIFF chunk."""
    data = names[0].encode() + b"".join(chunks)
    body = names[1].encode() + head + b"LIST" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def parts_of_avi(path: Path) -> tuple[bytes, list[bytes]]:
    """Return the lists before the data of an AVI file, and the chunks of data with their heads."""
    data = path.read_bytes()
    at = data.index(b"movi") + 4
    head, chunks = data[12 : at - 12], []
    while data[at : at + 4] == b"00wb":
        size = 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append(data[at : at + size + size % 2])
        at += size + size % 2
    return head, chunks


@pytest.mark.parametrize("kind", ["mp3.avi", "adpcm.avi", "pcm.avi"])
def test_avi_of_other_muxers_is_read_by_its_chunks(tmp_path: Path, kind: str) -> None:
    """Other streams and empty chunks between those of the audio, records, and no index at all."""
    path = make(tmp_path, kind)
    whole = whole_of(path)
    head, chunks = parts_of_avi(path)
    between = [b"JUNK\3\0\0\0abc\0", b"07dc\2\0\0\0xy", b"ix00\0\0\0\0"]
    mixed = [one + between[number % 3] for number, one in enumerate(chunks)]
    record = b"".join(mixed[: len(mixed) // 2])
    mixed = [b"LIST" + struct.pack("<I", len(record) + 4) + b"rec " + record]
    mixed += chunks[len(chunks) // 2 :]

    avi(path, mixed, head)

    check_windows(path)
    assert whole_of(path).tobytes() == whole.tobytes()


def test_avi_whose_chunks_are_no_packets_is_left_to_the_demuxer(tmp_path: Path) -> None:
    """MP3 in chunks that end inside its frames, which FFmpeg's parser joins."""
    path = make(tmp_path, "mp3.avi")
    head, chunks = parts_of_avi(path)
    audio = b"".join(one[8 : 8 + int.from_bytes(one[4:8], "little")] for one in chunks)
    cut = [audio[at : at + 1_000] for at in range(0, len(audio), 1_000)]

    avi(
        path,
        [b"00wb" + struct.pack("<I", len(one)) + one + bytes(len(one) % 2) for one in cut],
        head,
    )

    index = index_of(path)
    assert not index.has_layout
    assert whole_of(path).tobytes() == plain_decode(path, index).tobytes()
