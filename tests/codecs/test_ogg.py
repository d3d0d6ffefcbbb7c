"""Vorbis and Opus in Ogg: true lengths, exact windows, chains, damage, and byte ranges."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
import soundfile

import headrace
from headrace import _kernel
from headrace.codecs import _ffmpeg, _native, _ogg
from headrace.codecs._probe import probe
from headrace.codecs._recording import Recording
from headrace.failures import Code, Failure
from tests.support.ffmpeg_files import uninterrupted_decode, write
from tests.support.native_fuzzing import fuzz
from tests.support.ogg_pages import FIRST, LAST, Page, join, packets, paginate, split
from tests.support.ogg_reference import decode, decode_by_index, links
from tests.support.sounds import SIGNALS, medley

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

pytestmark = pytest.mark.filterwarnings("ignore::headrace.errors.DamagedWarning")

VORBIS, OPUS = "vorbis", "opus"


def encoded(
    folder: Path,
    codec: str,
    frames: int,
    *,
    channels: int = 1,
    rate: int = 48_000,
    level: float = 0.5,
    signal: Callable[..., NDArray[Any]] = medley,
    seed: int = 0,
) -> list[Page]:
    """Return the pages of a file that libsndfile's encoders write."""
    path = folder / f"encoded-{seed}"
    audio = signal(frames, channels, seed).astype(np.float32).reshape(frames, channels)
    kind = {"subtype": codec.upper(), "format": "OGG", "compression_level": level}
    with soundfile.SoundFile(path, "w", rate, channels, **kind) as file:
        for start in range(0, frames, 4_096):
            file.write(audio[start : start + 4_096])
    return split(path.read_bytes())


def stored(folder: Path, pages: list[Page] | bytes, name: str = "a.ogg") -> Path:
    """Return a file with these pages."""
    path = folder / name
    path.write_bytes(pages if isinstance(pages, bytes) else join(pages))
    return path


def only(path: Path) -> Recording:
    """Return what a scan makes of a file."""
    found = probe(str(path), "a")
    assert isinstance(found, Recording), found
    assert (found.format, found.decoder) == ("OGGS", "libavcodec 62, ogg 1")
    return found


def index_of(path: Path) -> _kernel.OggIndex:
    """Return the index that a scan of the file gives."""
    index = _kernel.unpack_ogg_index(only(path).seek_points or b"")
    assert index is not None
    return index


def whole_of(path: Path, workers: int = 0) -> NDArray[np.float32]:
    """Return the whole recording, loaded in order: shape ``(frames, channels)``."""
    catalog = headrace.scan(path)
    (one,) = catalog
    windows = catalog.windows(one.sample_rate, one.frames / one.sample_rate, channel="all")
    (window,) = windows.loader(workers=workers)
    return np.ascontiguousarray(window.audio[:, : one.frames].T)


def assert_slices(path: Path, whole: NDArray[np.float32], size_s: float, hop_s: float) -> None:
    """Compare windows in every order with slices of the whole."""
    (one,) = catalog = headrace.scan(path)
    windows = catalog.windows(one.sample_rate, size_s, hop_s, channel="all")
    for workers, view in ((0, windows), (2, windows.shuffle(0)), (3, windows.shuffle(1))):
        seen = 0
        for window in view.loader(workers=workers):
            start = round(window.offset * one.sample_rate)
            expected = whole[start : start + window.valid_samples].T
            assert window.audio[:, : window.valid_samples].tobytes() == expected.tobytes()
            seen += 1
        assert seen == len(windows)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the program that the sanitizers watch."""
    return tmp_path_factory.mktemp("program")


@pytest.fixture
def pyav_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the kernel call no function of FFmpeg's."""
    monkeypatch.setattr(_native, "library", lambda: None)
    monkeypatch.setattr(_ffmpeg, "library", lambda: None)


def check(path: Path, pages: list[Page]) -> NDArray[np.float32]:
    """Compare a recording, whole and in windows, with the reference; return it."""
    expected = decode_by_index(pages, index_of(path))
    assert only(path).frames == len(expected)
    assert whole_of(path).tobytes() == expected.tobytes()
    assert_slices(path, expected, 0.31, 0.17)
    return expected


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
@pytest.mark.parametrize("frames", [1, 100, 1_000, 5_000, 48_000, 400_000])
def test_a_recording_is_its_decode(tmp_path: Path, codec: str, frames: int) -> None:
    """It has the frames that were encoded, and the bits of every packet decoded in order."""
    pages = encoded(tmp_path, codec, frames)
    path = stored(tmp_path, pages)

    found = check(path, pages)
    assert len(found) == frames == soundfile.info(path).frames
    assert only(path).defects == ()
    if len(pages) == 3:  # FFmpeg trims a single page of audio in other ways
        return
    uninterrupted = uninterrupted_decode(path)
    assert len(uninterrupted) == frames
    if codec == VORBIS:
        assert found.tobytes() == uninterrupted.tobytes()
    else:
        assert np.abs(found - uninterrupted).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("signal", SIGNALS)
def test_every_vorbis_is_one_decode(
    tmp_path: Path, level: float, channels: int, rate: int, signal: str
) -> None:
    """At every quality, rate and number of channels, with long and short blocks."""
    pages = encoded(
        tmp_path, VORBIS, 5 * rate + 77, channels=channels, rate=rate, level=level,
        signal=SIGNALS[signal],
    )  # fmt: skip
    path = stored(tmp_path, pages)

    found = check(path, pages)
    assert len(found) == 5 * rate + 77
    if len(pages) > 3:  # FFmpeg trims a single page of audio, as of silence, in other ways
        assert found.tobytes() == uninterrupted_decode(path).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("bitrate", [6_000, 12_000, 24_000, 64_000, 160_000])
def test_every_opus_is_what_its_anchors_say(
    tmp_path: Path, signal: str, channels: int, bitrate: int
) -> None:
    """For speech and music modes and the changes between them; the length is that of one decode."""
    path = tmp_path / "a.opus"
    audio = SIGNALS[signal](11 * 48_000 + 77, channels, 1).reshape(-1, channels)
    write(path, audio.astype(np.float32), "ogg", "libopus", bitrate)

    found = check(path, split(path.read_bytes()))
    assert len(found) == len(uninterrupted_decode(path))
    assert len(index_of(path).links[0].anchors) == 3


@pytest.mark.parametrize("milliseconds", ["2.5", "5", "10", "40", "60", "120"])
def test_packets_of_opus_have_any_length(tmp_path: Path, milliseconds: str) -> None:
    """Packets of one frame, of several, and of the longest that there are."""
    path = tmp_path / "a.opus"
    audio = medley(2 * 48_000, 1).astype(np.float32).reshape(-1, 1)
    bitrate = 24_000
    write(path, audio, "ogg", "libopus", bitrate, options={"frame_duration": milliseconds})

    found = check(path, split(path.read_bytes()))
    assert len(found) == len(uninterrupted_decode(path))


def last(pages: list[Page], **changes: Any) -> list[Page]:
    """Return the pages with another last one."""
    return [*pages[:-1], replace(pages[-1], **changes)]


def empty(page: Page) -> Page:
    """Return a page without packets."""
    return replace(page, lacing=b"", body=b"", granule=-1)


def moved(pages: list[Page], frames: int) -> list[Page]:
    """Return the pages with other granule positions."""
    return [replace(one, granule=one.granule + frames) if one.granule > 0 else one for one in pages]


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("a live stream that began before", lambda p: moved(p, 1 << 40)),
        ("a cut whose start lies within a page", lambda p: moved(p, -500)),
        ("a cut whose start lies far within a page", lambda p: moved(p, -3_000)),
        ("an end within the last packet", lambda p: last(p, granule=p[-1].granule - 50)),
        ("an end before the last packet", lambda p: last(p, granule=p[-1].granule - 3_000)),
        ("an end before the last page", lambda p: last(p, granule=1)),
        ("an end behind the last packet", lambda p: last(p, granule=p[-1].granule + 400)),
        ("no position on the last page", lambda p: last(p, granule=-1)),
        ("no position on the first page", lambda p: [*p[:2], replace(p[2], granule=-1), *p[3:]]),
        ("a position of 0", lambda p: [*p[:2], replace(p[2], granule=0), *p[3:]]),
        ("an empty page behind it", lambda p: [*p, replace(p[-1], lacing=b"", body=b"")]),
        ("an empty page within it", lambda p: [*p[:3], empty(p[3]), *p[3:]]),
        ("all pages have one number", lambda p: [replace(one, number=0) for one in p]),
    ],
)  # fmt: skip
def test_granule_positions_trim_starts_and_ends(
    tmp_path: Path, codec: str, name: str, change: Callable[[list[Page]], list[Page]]
) -> None:
    """As the specifications say, by whole recordings and by windows."""
    pages = change(encoded(tmp_path, codec, 130_000))
    path = stored(tmp_path, pages)

    found = check(path, pages)
    if not name.startswith(("an end", "a cut", "a position", "no position")):
        assert len(found) == 130_000
    if name.startswith("a cut") and codec == VORBIS:
        assert len(found) == 130_000 + (-500 if "far" not in name else -3_000)
        assert len(found) == soundfile.info(path).frames
    if codec == OPUS and name.startswith(("a cut", "an end within", "an end before the last pac")):
        assert len(found) == len(uninterrupted_decode(path))


def copy_part(
    source: Path, path: Path, start_s: float, stop_s: float = math.inf, *, keep_times: bool = False
) -> None:
    """Copy the packets of a part as ``ffmpeg -ss START -to STOP -c copy`` does."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = read.streams.audio[0]
        copied = written.add_stream_from_template(stream)
        read.seek(round(start_s * av.time_base))
        for packet in read.demux(stream):
            if packet.pts is None or packet.pts * packet.time_base >= stop_s:
                break
            if not keep_times:
                packet.pts -= round(start_s / packet.time_base)
                packet.dts = packet.pts
            packet.stream = copied
            written.mux(packet)


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_a_copy_by_ffmpeg_is_what_its_positions_say(tmp_path: Path, codec: str) -> None:
    """A part of a recording, with times of its own or those of the whole."""
    source = stored(tmp_path, encoded(tmp_path, codec, 400_000), "source.ogg")
    for name, copy in {
        "part.ogg": partial(copy_part, start_s=2.3, stop_s=5.3),
        "rest.ogg": partial(copy_part, start_s=5.01),
        "from.ogg": partial(copy_part, start_s=3, keep_times=True),
    }.items():
        path = tmp_path / name
        copy(source, path)
        pages = split(path.read_bytes())
        found = check(path, pages)
        if codec == VORBIS:
            assert len(found) == soundfile.info(path).frames
        else:
            assert len(found) == len(uninterrupted_decode(path))


def without(pages: list[Page], *numbers: int) -> list[Page]:
    """Return the pages but some."""
    return [one for place, one in enumerate(pages) if place not in numbers]


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_lost_pages_are_reported(tmp_path: Path, codec: str) -> None:
    """What follows moves up, and the catalog says how much is missing."""
    pages = encoded(tmp_path, codec, 300_000)
    missing = pages[4].granule - pages[3].granule
    path = stored(tmp_path, without(pages, 4))

    check(path, without(pages, 4))
    (failure,) = only(path).defects
    assert failure.code is Code.TRUNCATED
    assert failure.message.startswith(f"{missing / 48_000:.3f} s are missing")
    assert failure.start_s == (pages[3].granule - (312 if codec == OPUS else 0)) / 48_000


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_pages_with_a_wrong_checksum_are_rejected(tmp_path: Path, codec: str) -> None:
    """They are left out, with the packets that they hold a part of, and reported."""
    pages = encoded(tmp_path, codec, 300_000)
    data = bytearray(join(pages))
    data[len(join(pages[:4])) + 100] ^= 1
    path = stored(tmp_path, bytes(data))

    if codec == VORBIS:  # anchors of Opus are elsewhere in a file without the page
        check(path, without(pages, 4))
    expected = decode(without(pages, 4))
    assert only(path).frames == len(expected)
    damaged, lost = only(path).defects
    assert damaged.code is lost.code is Code.TRUNCATED
    assert f"{len(pages[4].pack())} bytes that are no pages" in damaged.message


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_a_file_that_is_cut_short_keeps_what_is_there(tmp_path: Path, codec: str) -> None:
    """It is cut within a page, within its header, or between two; the scan reports it."""
    pages = encoded(tmp_path, codec, 200_000)
    data = join(pages)
    begin = len(join(pages[:-1]))
    for size in (len(data) - 20, begin + 5, begin + 26, begin):
        path = stored(tmp_path, data[:size])
        check(path, pages[:-1])
        (failure,) = only(path).defects
        assert failure.code is Code.TRUNCATED
        assert "cut short" in failure.message
        assert (failure.start_s, failure.stop_s) == (only(path).frames / 48_000, float("inf"))
        catalog = headrace.scan(path, verify="decode")
        assert len(catalog.failures) == 1
    path = stored(tmp_path, last(pages, flags=0))
    check(path, last(pages, flags=0))
    assert len(only(path).defects) == 1


def test_what_is_no_page_does_not_matter_around_it(tmp_path: Path) -> None:
    """A tag before it and padding behind it are no damage."""
    pages = encoded(tmp_path, VORBIS, 100_000)
    tag = b"ID3\4\0\0\0\0\1\0" + bytes(128)
    path = stored(tmp_path, tag + join(pages) + b"TAG" + bytes(125))

    assert only(path).defects == ()
    assert whole_of(path).tobytes() == decode(pages).tobytes()


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_packets_may_span_pages_and_be_no_audio(tmp_path: Path, codec: str) -> None:
    """Packets of no bytes, headers that come again, and pages of any size change no sample."""
    pages = encoded(tmp_path, codec, 150_000)
    (link,) = links(pages)
    headers, audio = link.headers, [one for _, group in link.pages for one in group]
    end = pages[-1].granule
    odd = [audio[0], b"", *([headers[1], headers[2]] if codec == VORBIS else [headers[1]])]
    first = [([headers[0]], 0, FIRST), (headers[1:], 0, 0)]
    for groups in (
        [*first, (odd + audio[1:], end, LAST)],
        [*first, *(([one], -1, 0) for one in audio[:-1]), (audio[-1:], end, LAST)],
    ):
        changed = paginate(groups)
        path = stored(tmp_path, changed)
        found = whole_of(path)
        # The positions say no more than where the last packet ends.
        expected = decode(pages)
        assert len(found) == len(expected)
        if codec == VORBIS or len(groups) == 3:
            assert found.tobytes() == expected.tobytes()
        assert_slices(path, found, 0.31, 0.17)


def test_packets_larger_than_a_page_are_put_together(tmp_path: Path) -> None:
    """The comment may hold a picture, over many pages; an audio packet may end on another page."""
    pages = encoded(tmp_path, VORBIS, 150_000)
    (link,) = links(pages)
    headers, audio = link.headers, [one for _, group in link.pages for one in group]
    picture = headers[1] + bytes(3 << 20)
    groups = [([headers[0]], 0, FIRST), ([picture, headers[2]], 0, 0)]
    changed = paginate([*groups, (audio, pages[-1].granule, LAST)])
    # Each page has but a few segments, so that packets continue.
    narrow: list[Page] = []
    for page in changed:
        if page.granule == 0 or page.flags & FIRST:
            narrow.append(replace(page, number=len(narrow)))
            continue
        at = 0
        for start in range(0, len(page.lacing), 4):
            part = page.lacing[start : start + 4]
            continues = narrow[-1].lacing[-1] == 255
            final = start + 4 >= len(page.lacing)
            narrow.append(
                Page(
                    (page.flags & LAST if final else 0) | continues,
                    page.granule if final else -1,
                    page.serial,
                    len(narrow),
                    part,
                    page.body[at : at + sum(part)],
                )
            )
            at += sum(part)
    path = stored(tmp_path, narrow)

    assert any(page.flags & 1 for page in narrow[60:])
    found = whole_of(path)
    assert found.tobytes() == decode(pages).tobytes()
    assert_slices(path, found, 0.31, 0.17)


def test_the_first_audio_stream_of_several_is_read(tmp_path: Path) -> None:
    """Pages of others stand between its own, as in a film; FFmpeg takes the same stream."""
    own = encoded(tmp_path, VORBIS, 150_000)
    other = [replace(one, serial=77) for one in encoded(tmp_path, OPUS, 150_000, seed=1)]
    film = [replace(own[0], serial=5, body=b"\x80theora" + bytes(own[0].lacing[0] - 7))]
    mixed = [*film, own[0], other[0], own[1], other[1]]
    for pair in zip(own[2:], other[2:], strict=False):
        mixed += pair
    mixed += own[2 + len(other[2:]) :]
    path = stored(tmp_path, mixed)

    assert only(path).defects == ()
    assert whole_of(path).tobytes() == decode(own).tobytes()
    assert_slices(path, decode(own), 0.31, 0.17)


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_chained_files_are_one_recording(tmp_path: Path, codec: str) -> None:
    """All links of one format are delivered whole, each decoded by a new decoder."""
    parts = [encoded(tmp_path, codec, n, seed=n, level=n % 3 / 2) for n in (70_001, 1_000, 250_000)]
    parts = [[replace(one, serial=n) for one in part] for n, part in enumerate([*parts, parts[0]])]
    pages = [one for part in parts for one in part]
    path = stored(tmp_path, pages)

    found = check(path, pages)
    assert only(path).defects == ()
    assert (
        found.tobytes() == np.concatenate([decode_alone(tmp_path, one) for one in parts]).tobytes()
    )
    assert len(found) == 70_001 + 1_000 + 250_000 + 70_001
    assert len(index_of(path).links) == 4


def decode_alone(folder: Path, pages: list[Page]) -> NDArray[np.float32]:
    """Return what a link gives as a file of its own."""
    return whole_of(stored(folder, pages, "alone.ogg"))


def test_links_of_another_format_are_reported(tmp_path: Path) -> None:
    """Another rate, other channels or another codec end the recording; the rest is a failure."""
    first = encoded(tmp_path, VORBIS, 100_000, seed=1)
    seconds = 100_000 / 48_000
    for other, rate, channels, name in (
        (encoded(tmp_path, VORBIS, 44_100, rate=44_100, seed=2), 44_100, 1, VORBIS),
        (encoded(tmp_path, VORBIS, 48_000, channels=2, seed=2), 48_000, 2, VORBIS),
        (encoded(tmp_path, OPUS, 48_000, seed=2), 48_000, 1, OPUS),
    ):
        path = stored(tmp_path, [*first, *other, *first])
        found = only(path)
        assert found.frames == 100_000
        assert whole_of(path).tobytes() == decode(first).tobytes()
        (failure,) = found.defects
        assert failure.code is Code.HEADER_MISMATCH
        assert (
            f"{1 + seconds:.3f} s of another stream ({name}, {rate} Hz, {channels} channels)"
            in (failure.message)
        )
        assert (failure.start_s, failure.stop_s) == (seconds, seconds + 1 + seconds)


def test_a_link_that_is_cut_short_does_not_end_the_recording(tmp_path: Path) -> None:
    """The links behind it are delivered, and the cut is reported."""
    first, other = (encoded(tmp_path, VORBIS, 100_000, seed=n) for n in (1, 2))
    path = stored(tmp_path, join(first)[:-40] + join(other))

    expected = np.concatenate([decode(first[:-1]), decode(other)])
    assert whole_of(path).tobytes() == expected.tobytes()
    assert {one.code for one in only(path).defects} == {Code.TRUNCATED}
    assert len(only(path).defects) == 2


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_pyav_gives_the_same_catalog_and_samples(
    tmp_path: Path, codec: str, request: pytest.FixtureRequest
) -> None:
    """Where the kernel calls no FFmpeg, and where it opens no file itself."""
    parts = [encoded(tmp_path, codec, n, channels=2, seed=n) for n in (270_001, 70_000)]
    path = stored(tmp_path, [one for part in parts for one in part])
    native, samples = only(path), whole_of(path)
    request.getfixturevalue("pyav_only")

    assert only(path) == native
    assert whole_of(path).tobytes() == samples.tobytes()
    assert_slices(path, samples, 0.31, 0.47)


def test_a_file_that_python_opens_is_walked_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """On systems where the kernel opens no files, Python does."""
    path = stored(tmp_path, encoded(tmp_path, OPUS, 270_001))
    native, samples = only(path), whole_of(path)
    monkeypatch.setattr(_ogg, "_opened", lambda place: io.BytesIO(Path(place.path).read_bytes()))
    request.getfixturevalue("pyav_only")

    assert only(path).seek_points == native.seek_points
    assert whole_of(path).tobytes() == samples.tobytes()


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_a_window_needs_no_bytes_but_those_of_its_ranges(tmp_path: Path, codec: str) -> None:
    """All others may be gone: what is to be fetched is known before."""
    parts = [encoded(tmp_path, codec, n, seed=n) for n in (700_000, 500_000)]
    path = stored(tmp_path, [one for part in parts for one in part])
    data, whole, index = path.read_bytes(), whole_of(path), index_of(path)
    windows = headrace.scan(path).windows(48_000, 1.0, 0.9, channel="all")

    for number in range(0, len(windows), 3):
        start = round(number * 0.9 * 48_000)
        stop = min(start + 48_000, len(whole))
        kept = bytearray(len(data))
        headers = [one for frame in (start, stop - 1) for one in index.header_ranges(frame)]
        for first, end in [*headers, index.byte_range(start, stop)]:
            assert 0 <= first < end <= len(data)
            kept[first:end] = data[first:end]
        assert index.byte_range(start, stop)[1] - index.byte_range(start, stop)[0] < len(data) * 0.8
        path.write_bytes(kept)
        (window,) = windows[number : number + 1].loader(workers=0)
        assert window.audio[0, : stop - start].tobytes() == whole[start:stop, 0].tobytes()
    with pytest.raises(ValueError, match="range of the recording"):
        index.byte_range(5, 5)


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_damage_after_the_scan_costs_the_windows_that_need_it(tmp_path: Path, codec: str) -> None:
    """They fail; all others are the samples that they were."""
    path = stored(tmp_path, encoded(tmp_path, codec, 1_200_000))
    whole = whole_of(path)
    windows = headrace.scan(path).windows(48_000, 0.5, channel="all")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    for view in (windows, windows.shuffle(1)):
        loader = view.loader(workers=2, on_error="skip")
        for window in loader:
            start = round(window.offset * 48_000)
            expected = whole[start : start + window.valid_samples, 0]
            assert window.audio[0, : window.valid_samples].tobytes() == expected.tobytes()
        assert 1 <= sum(one.windows for one in loader.failures) <= 12
        assert {one.code for one in loader.failures} == {Code.TRUNCATED}
    decoded = headrace.scan(path, verify="decode")
    assert 0 < decoded[0].frames < 1_200_000  # the damaged page is left out


def test_a_catalog_keeps_its_decoder(tmp_path: Path) -> None:
    """Libsndfile's is null in the catalog; a cache keeps what it has until another is asked for."""
    path = stored(tmp_path, encoded(tmp_path, VORBIS, 100_000))
    cache = tmp_path / "cache.parquet"

    (plain,) = headrace.scan(path, cache=cache, decoder="libsndfile")
    assert (plain.format, plain.subtype, plain.decoder) == ("OGG", "VORBIS", None)
    assert list(headrace.scan(path, cache=cache)) == [plain]
    (ours,) = headrace.scan(path, cache=cache, decoder="ffmpeg")
    assert (ours.format, ours.subtype) == ("OGGS", "vorbis")
    assert ours.decoder == "libavcodec 62, ogg 1"
    assert list(headrace.scan(path, cache=cache)) == [ours]
    assert list(headrace.load_catalog(cache)) == [ours]
    assert list(headrace.scan(path, cache=cache, decoder="libsndfile")) == [plain]
    assert list(headrace.scan(path)) == [ours]
    with pytest.raises(ValueError, match='"auto", "ffmpeg" or "libsndfile"'):
        headrace.scan(path, decoder="mine")  # type: ignore[arg-type]


def test_what_libsndfile_has_scanned_it_decodes(tmp_path: Path) -> None:
    """A catalog of the last version gives the samples that it gave."""
    path = stored(tmp_path, encoded(tmp_path, VORBIS, 100_000))
    catalog = headrace.scan(path, decoder="libsndfile")
    (window,) = catalog.windows(48_000, 100_000 / 48_000, channel="all").loader()

    expected, _ = soundfile.read(path, 100_000, dtype="float32")
    assert np.array_equal(window.audio[0], expected)


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_the_name_does_not_matter(tmp_path: Path, codec: str) -> None:
    """By any name it is the same recording."""
    pages = encoded(tmp_path, codec, 50_000)
    found = {
        replace(only(stored(tmp_path, pages, name)), path="", mtime_ns=0)
        for name in ("a.ogg", "a.wav", "a.mp3", "a")
    }
    assert len(found) == 1


def test_other_codecs_in_ogg_are_left_to_the_others(tmp_path: Path) -> None:
    """FLAC is read by libsndfile; a file with nothing but headers is no recording."""
    write(tmp_path / "flac.ogg", medley(9_000, 2).astype(np.float32), "ogg", "flac", 0)
    found = probe(str(tmp_path / "flac.ogg"), "a")
    assert isinstance(found, Recording)
    assert found.decoder != "libavcodec 62, ogg 1"

    pages = encoded(tmp_path, VORBIS, 9_000)
    for number in (1, 2):
        failure = probe(str(stored(tmp_path, pages[:number])), "a")
        assert isinstance(failure, Failure), failure


def test_a_packed_index_is_what_was_packed(tmp_path: Path) -> None:
    """Whatever is cut or changed is not taken for an index."""
    rng = np.random.default_rng(0)
    parts = [encoded(tmp_path, OPUS, 500_000, seed=n) for n in (1, 2)]
    packed = only(stored(tmp_path, [one for part in parts for one in part])).seek_points
    assert packed is not None
    index = _kernel.unpack_ogg_index(packed)

    assert index is not None
    assert index.pack() == packed
    for size in range(len(packed)):
        assert _kernel.unpack_ogg_index(packed[:size]) is None
    for _ in range(2_000):
        changed = bytearray(packed)
        changed[int(rng.integers(len(packed)))] ^= int(rng.integers(1, 256))
        assert _kernel.unpack_ogg_index(bytes(changed)) is None


def test_an_index_is_small(tmp_path: Path) -> None:
    """An hour takes less than 20 KB."""
    for codec in (VORBIS, OPUS):
        path = stored(tmp_path, encoded(tmp_path, codec, 30 * 48_000))
        assert len(only(path).seek_points or b"") * 120 < 20_000, codec


FUZZ = """
import sys
import warnings
import av
import numpy as np
import headrace
from headrace.codecs import probe

warnings.simplefilter("ignore")
path, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = open(path, "rb").read()
good = headrace.scan(path, workers=0).windows(48_000, 0.5)
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
    found = [good]
    try:
        found.append(headrace.scan(path, workers=0).windows(48_000, 0.5))
    except headrace.NoRecordingsError:
        pass
    open(path, "wb").write(changed + bytes(max(0, len(data) - len(changed))))
    for windows in found:
        loader = windows.shuffle(seed=0).loader(workers=2, on_error="skip")
        delivered = sum(1 for _ in loader)
        failed = sum(one.windows for one in loader.failures)
        assert delivered + failed == len(windows), (delivered, failed, len(windows))
        lost += failed
print("lost", lost)
"""


def mutate(path: Path, seed: int, rounds: int, timeout: int) -> None:
    """Load mutated files in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(path), str(seed), str(rounds)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lost ")


@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_mutated_files_end_in_samples_or_failures(tmp_path: Path, codec: str) -> None:
    """Damage before or after the scan neither crashes nor hangs; every window is accounted for."""
    parts = [encoded(tmp_path, codec, n, seed=n) for n in (150_000, 50_000)]
    mutate(stored(tmp_path, [one for part in parts for one in part]), 1, 100, 50)


@pytest.mark.soak
@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_many_mutated_files_end_in_samples_or_failures(tmp_path: Path, codec: str) -> None:
    """The same for more of them."""
    parts = [encoded(tmp_path, codec, n, seed=n, channels=2) for n in (300_000, 50_000)]
    mutate(stored(tmp_path, [one for part in parts for one in part]), 2, 600, 300)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="PyAV's wheel has its libraries elsewhere")
@pytest.mark.parametrize("codec", [VORBIS, OPUS])
def test_the_walk_stays_within_its_memory(program: Path, tmp_path: Path, codec: str) -> None:
    """The sanitizers find nothing with mutated files and indexes; good ones decode alike."""
    import av

    (library,) = Path(av.__file__).parents[1].glob("av.libs/libavformat-*")
    parts = [encoded(tmp_path, codec, n, seed=n, channels=2) for n in (200_000, 50_000)]
    path = stored(tmp_path, [one for part in parts for one in part])

    count, walked, different = fuzz(
        "fuzz_ogg", program, 1, 20, library, path, tmp_path / "scratch", codec, 2
    )
    assert (count, different) == (20, 0)
    assert walked > 0


def test_the_pages_of_the_tests_are_those_of_the_file(tmp_path: Path) -> None:
    """Taking a file apart and putting it together again gives the same bytes."""
    pages = encoded(tmp_path, VORBIS, 20_000)
    assert join(pages) == (tmp_path / "encoded-0").read_bytes()
    assert len(packets(pages)) > 3
