"""Matroska and WebM by their blocks: what the kernel finds is what FFmpeg's demuxer gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import headrace
from headrace.failures import Code
from tests.support.ffmpeg_files import plain_decode, uninterrupted_decode, write
from tests.support.matroska_files import Style, remux
from tests.support.object_server import ObjectServer
from tests.support.scanned import check_ranges, check_windows, index_of, whole_of, without_layout
from tests.support.sounds import medley

if TYPE_CHECKING:
    from pathlib import Path


RATE = 48_000

CASES = [  # muxer, encoder, bits a second, channels, rate, seconds
    ("webm", "libopus", 48_000, 1, 48_000, 11),
    ("webm", "libvorbis", 96_000, 2, 44_100, 5),
    ("matroska", "aac", 64_000, 1, 44_100, 11),
    ("matroska", "libmp3lame", 96_000, 2, 48_000, 13),
    ("matroska", "flac", 0, 2, 48_000, 4),
    ("matroska", "pcm_s24le", 0, 2, 48_000, 5),
    ("matroska", "pcm_f32le", 0, 1, 22_050, 9),
    ("matroska", "alac", 0, 2, 44_100, 4),
    ("matroska", "ac3", 96_000, 2, 48_000, 7),
    ("matroska", "eac3", 96_000, 1, 44_100, 7),
]

STYLES = {
    "single": Style(),
    "groups": Style(groups=True, track=200),
    "live": Style(unknown_sizes=True, voids=True),
    "xiph": Style("xiph", 8, groups=True),
    "ebml": Style("ebml", 8, voids=True, other_track=True),
    "fixed": Style("fixed", 3, track=70_000),
    "laced alone": Style("xiph", 1),
    "others": Style(other_track=True, groups=True, discard_ns=3_000_000),
}


def opus(path: Path, seconds: int = 15) -> Path:
    """Write noise, tones and pauses as Opus in WebM, in mono at 48 kHz."""
    write(path, medley(seconds * RATE, 1).astype(np.float32), "webm", "libopus", 48_000)
    return path


@pytest.mark.parametrize(
    "case",
    [pytest.param(one, marks=pytest.mark.slow if n > 3 else []) for n, one in enumerate(CASES)],
    ids=lambda case: case[1],
)
@pytest.mark.parametrize("live", [False, True])
def test_files_of_ffmpeg_are_read_by_their_blocks(
    tmp_path: Path, case: tuple[str, str, int, int, int, int], live: bool
) -> None:
    """Samples are those of packets that FFmpeg's demuxer gives: files with sizes and without."""
    import av

    muxer, encoder, bitrate, channels, rate, seconds = case
    path, source = tmp_path / "a.mka", tmp_path / "source"
    audio = medley(seconds * rate, channels).astype(np.float32)
    options = {"live": "1"} if live else {}
    if encoder != "libvorbis":
        write(path, audio, muxer, encoder, bitrate, rate, muxer_options=options)
    else:  # PyAV cannot encode Vorbis: libsndfile does, in Ogg
        write(source, audio, "ogg", "vorbis", 0, rate)
        with (
            av.open(str(source)) as file,
            av.open(str(path), "w", format=muxer, options=options) as out,
        ):
            track = out.add_stream_from_template(file.streams.audio[0])
            for packet in file.demux(audio=0):
                if packet.dts is not None:
                    packet.stream = track
                    out.mux(packet)

    check_windows(path)


@pytest.mark.parametrize("codec", ["opus", "mp3", "vorbis"])
@pytest.mark.parametrize("style", STYLES)
def test_blocks_of_every_style_are_read(tmp_path: Path, style: str, codec: str) -> None:
    """Lacings, groups, unknown sizes, other tracks, large numbers of tracks, paddings."""
    source, path = tmp_path / "source", tmp_path / "a.mkv"
    audio = medley(11 * RATE, 1).astype(np.float32)
    muxer, encoder = {
        "opus": ("ogg", "libopus"),
        "mp3": ("mp3", "libmp3lame"),
        "vorbis": ("ogg", "vorbis"),
    }[codec]
    write(source, audio, muxer, encoder, 64_000)

    remux(source, path, STYLES[style], {"opus": 20, "mp3": 24, "vorbis": 21}[codec])

    check_windows(path)


def test_a_stripped_header_is_put_back(tmp_path: Path) -> None:
    """As in the files that mkvmerge wrote by default up to version 4: MP3 without its sync."""
    source, path = tmp_path / "source.mp3", tmp_path / "a.mka"
    write(source, medley(13 * RATE, 1).astype(np.float32), "mp3", "libmp3lame", 64_000)

    remux(source, path, Style("xiph", 4, prefix=b"\xff\xfb"), 24)

    check_windows(path)


def test_sound_of_a_film_is_read_past_its_pictures(tmp_path: Path) -> None:
    """Frames of video between the blocks of audio are passed over, in clusters of any size."""
    import av

    path = tmp_path / "a.mkv"
    audio = medley(9 * RATE, 2).astype(np.float32)
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", format="matroska") as out:
        video = out.add_stream("mjpeg", rate=10)
        video.width, video.height, video.pix_fmt = 160, 120, "yuvj420p"
        sound = out.add_stream("aac", rate=RATE)
        sound.codec_context.layout = "stereo"
        for number in range(90):
            picture = rng.integers(0, 255, (120, 160, 3), np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            piece = audio[number * RATE // 10 : (number + 1) * RATE // 10].T
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), "fltp", "stereo")
            frame.sample_rate, frame.pts = RATE, number * RATE // 10
            out.mux(sound.encode(frame))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))

    check_windows(path)


@pytest.mark.parametrize("style", ["single", "xiph", "live"])
def test_a_window_needs_no_bytes_but_those_of_its_range(tmp_path: Path, style: str) -> None:
    """All others may be gone, the headers too: what is to be fetched is known before."""
    source, path = tmp_path / "source", tmp_path / "a.mka"
    write(source, medley(15 * RATE, 1).astype(np.float32), "ogg", "libopus", 48_000)
    remux(source, path, STYLES[style])

    check_ranges(path, 0.7, count=1)


def test_a_store_is_asked_once_a_window(tmp_path: Path) -> None:
    """For the packets of a random window; the headers are not asked for."""
    path = opus(tmp_path / "a.webm", 40)
    with ObjectServer() as server:
        server.add_folder(tmp_path, "data/")
        catalog = headrace.scan("s3://bucket/data/*.webm", store=server.options)
        windows = catalog.windows(16_000, 5.0)
        alone = [windows[number : number + 1] for number in (4, 1, 6)]
        server.requests.clear()
        remote = [next(iter(one.loader(workers=1))).audio for one in alone]
        assert len(server.requests) == len(alone)
    local = headrace.scan(path).windows(16_000, 5.0)
    for number, audio in zip((4, 1, 6), remote, strict=True):
        assert audio.tobytes() == local[number].audio.tobytes()


def test_packets_that_are_not_in_the_file_as_they_are_decoded_are_left_to_ffmpeg(
    tmp_path: Path,
) -> None:
    """WavPack's, whose headers Matroska shortens: there is no layout, and the samples are right."""
    path = tmp_path / "a.mka"
    write(path, medley(4 * RATE, 1).astype(np.float32), "matroska", "wavpack", 0)

    assert not index_of(path).has_layout
    assert whole_of(path).tobytes() == uninterrupted_decode(path).tobytes()


def test_what_stands_between_elements_is_left_to_ffmpeg(tmp_path: Path) -> None:
    """Bytes that are no element: FFmpeg's demuxer searches for the next one, and not the kernel."""
    path = opus(tmp_path / "a.webm")
    data = path.read_bytes()
    cut = data.rindex(b"\x1f\x43\xb6\x75")  # the last cluster
    path.write_bytes(data[:cut] + bytes(40) + data[cut:])

    index = index_of(path)
    assert not index.has_layout
    assert whole_of(path).tobytes() == plain_decode(path, index).tobytes()


def head_of_a_block(data: bytes, behind: int) -> int:
    """Return where a simple block of track 1 begins whose size has two bytes."""
    at = data.index(b"\xa3", behind)
    while data[at + 1] >> 6 != 1 or data[at + 3] != 0x81 or data[at + 6] not in {0, 0x80}:
        at = data.index(b"\xa3", at + 1)
    return at


def test_damage_costs_the_windows_that_need_it(tmp_path: Path) -> None:
    """In a packet, or in any byte before it: the others are what they were, in every order."""
    path = opus(tmp_path / "a.webm", 20)
    whole, data = whole_of(path), path.read_bytes()
    windows = headrace.scan(path).windows(RATE, 0.5, channel="all")
    block = head_of_a_block(data, index_of(path).anchors[1].offset + 5_000)
    damages = [(block + 8, b"\xff" * 300)]
    damages += [(block + n, bytes([data[block + n] ^ bit])) for n in range(7) for bit in (1, 64)]

    for at, bytes_there in damages:
        damaged = bytearray(data)
        damaged[at : at + len(bytes_there)] = bytes_there
        path.write_bytes(damaged)
        delivered = []
        for workers, view in ((0, windows), (2, windows.shuffle(1))):
            loader = view.loader(workers=workers, on_error="skip")
            had = {one.index: one.audio[0, : one.valid_samples] for one in loader}
            for number, audio in had.items():
                start = number * RATE // 2
                assert audio.tobytes() == whole[start : start + len(audio), 0].tobytes(), at
            assert {one.code for one in loader.failures} <= {Code.TRUNCATED, Code.CHANGED}
            delivered.append(sorted(had))
        assert delivered[0] == delivered[1]
        assert len(delivered[0]) >= len(windows) - 9


def test_an_earlier_index_is_read_by_ffmpeg(tmp_path: Path) -> None:
    """A catalog whose index does not say how packets are found gives the same samples."""
    path = opus(tmp_path / "a.webm")
    index, table = index_of(path), headrace.scan(path).to_arrow()
    whole = whole_of(path)
    old = without_layout(index)
    import pyarrow as pa

    place = table.column_names.index("seek_points")
    packed = pa.array([old.pack()], pa.large_binary())
    catalog = headrace.Catalog.from_table(table.set_column(place, "seek_points", packed))
    (window,) = catalog.windows(RATE, len(whole) / RATE).loader(workers=0)

    assert not old.has_layout
    assert window.audio[: len(whole)].tobytes() == whole[:, 0].tobytes()
