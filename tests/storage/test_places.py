"""Recordings are the same wherever their bytes are, and a store's errors are its own."""

from __future__ import annotations

import io
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pytest

from headrace import Catalog, Failure, Recording, _kernel
from headrace._kernel import testing
from headrace.catalog._table import from_recordings
from headrace.codecs import probe
from headrace.failures import Code, DecodeError
from headrace.storage import Place, pack_pieces
from tests.support import ffmpeg_files, sounds
from tests.support.deliveries import delivered_rows
from tests.support.mp3_files import layer3
from tests.support.native_fuzzing import fuzz
from tests.support.places import KeptStore, places_of, seen_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ONE_FILE = [pair for pair in sounds.KINDS if pair[0] != "SD2"]
"""The header of an SD2 file is in another file."""

OFTEN = {
    ("AIFF", "PCM_24"),
    ("AU", "FLOAT"),
    ("CAF", "ALAC_16"),
    ("FLAC", "PCM_24"),
    ("MP3", "MPEG_LAYER_III"),
    ("OGG", "VORBIS"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("WAV", "MS_ADPCM"),
    ("WAV", "PCM_24"),
    "a.m4a",
    "a.wma",
    "mp3.mka",
}
"""What is tested each time."""


def matrix(values: Any) -> list[Any]:
    """Return parameters, most of them slow."""
    marks = {False: [pytest.mark.slow], True: []}
    return [
        pytest.param(value, id=value if isinstance(value, str) else "-".join(value))
        if value in OFTEN
        else pytest.param(
            value, id=value if isinstance(value, str) else "-".join(value), marks=marks[False]
        )
        for value in values
    ]


def assert_same_everywhere(path: Path) -> None:
    """Compare what is found at each place."""
    seen = {name: seen_at(place, path.name) for name, place in places_of(path)}
    for name, other in seen.items():
        assert other == seen["file"], name


def damaged(data: bytes) -> list[bytes]:
    """Return a file cut short, and one wiped in the middle."""
    middle = len(data) // 2
    return [data[: len(data) * 2 // 3], data[:middle] + bytes(400) + data[middle + 400 :]]


@pytest.mark.parametrize("pair", matrix(ONE_FILE))
def test_every_format_of_libsndfile(tmp_path: Path, pair: tuple[str, str]) -> None:
    """Header, length, seek points, bits and failures are the same, of damaged files too."""
    kind, subtype = pair
    path = tmp_path / f"a.{kind.lower()}"
    audio = sounds.medley(9_000, min(2, sounds.most_channels(kind, subtype)), seed=1)
    assert isinstance(sounds.write(path, audio, 16_000, kind, subtype), Recording)

    assert_same_everywhere(path)
    for data in damaged(path.read_bytes()):
        path.write_bytes(data)
        assert_same_everywhere(path)


@pytest.mark.parametrize("name", matrix(ffmpeg_files.KINDS))
def test_every_format_of_ffmpeg(tmp_path: Path, name: str) -> None:
    """Header, length, index, bits and failures are the same, of damaged files too."""
    audio = sounds.medley(96_000, 2, seed=2).astype(np.float32)
    ffmpeg_files.write(tmp_path / name, audio, *ffmpeg_files.KINDS[name])

    assert_same_everywhere(tmp_path / name)
    for data in damaged((tmp_path / name).read_bytes()):
        (tmp_path / name).write_bytes(data)
        assert_same_everywhere(tmp_path / name)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "AU", "OGG"])
def test_a_tag_before_the_audio_changes_nothing(tmp_path: Path, kind: str) -> None:
    """What libsndfile or FFmpeg makes of a file with an ID3 tag, it makes of a part of one."""
    path = tmp_path / f"a.{kind.lower()}"
    sounds.write(path, sounds.noise(9_000), 16_000, kind, "VORBIS" if kind == "OGG" else "PCM_16")
    tag = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
    path.write_bytes(tag + path.read_bytes())

    assert_same_everywhere(path)


@pytest.mark.parametrize("size", [0, 1, 11, 44, 1000])
def test_what_is_no_audio_is_refused_for_the_same_reason(tmp_path: Path, size: int) -> None:
    """Empty files, texts and noise give one code and message."""
    rng = np.random.default_rng(size)
    for data in (b"a text, " * size, rng.integers(0, 256, size, np.uint8).tobytes()):
        (tmp_path / "a.wav").write_bytes(data[:size])
        assert_same_everywhere(tmp_path / "a.wav")


def recordings(folder: Path) -> Iterator[bytes]:
    """Yield a file for each of the kernel's ways to read one."""
    audio = sounds.tones(20_000, 1)
    for kind in ("WAV", "FLAC", "OGG", "W64"):
        sounds.write(folder / "a", audio, 16_000, kind, "VORBIS" if kind == "OGG" else "PCM_16")
        yield (folder / "a").read_bytes()
    sounds.write(folder / "a", audio, 16_000, "AU", "PCM_16")
    au = bytearray((folder / "a").read_bytes())
    au[8:12] = (1_000).to_bytes(4, "big")  # declares fewer bytes than there are
    yield bytes(au)
    yield layer3()
    for name in ("a.m4a", "a.aac"):
        stereo = sounds.tones(48_000, 2).astype(np.float32)
        ffmpeg_files.write(folder / name, stereo, *ffmpeg_files.KINDS[name])
        yield (folder / name).read_bytes()


def test_the_error_of_a_store_is_reported_whoever_reads(tmp_path: Path) -> None:
    """Its code and message come through libsndfile and FFmpeg, and no window is delivered wrong."""
    for data in recordings(tmp_path):
        faulty = partial(testing.FaultyStore, object=data, code="STALLED", message="no answer")
        found: Recording | Failure = probe(Place("k", store=faulty(reads=0)), "a")
        refused = 0
        while isinstance(found, Failure):
            assert (found.code, found.message) == ("STALLED", "no answer")
            refused += 1
            found = probe(Place("k", store=faulty(reads=refused)), "a")
        assert refused
        table = from_recordings([found])
        good: dict[int, bytes] = {}
        for reads in [1 << 30, *range(0, 60, 3)]:
            catalog = Catalog(table, "", (), KeptStore(faulty(reads=reads)))
            windows = catalog.windows(None, 0.1).shuffle(2)
            loader = windows.loader(batch_size=None, workers=0, on_error="skip")
            rows = {row.index: row.audio.tobytes() for row in delivered_rows(loader)}
            good = good or rows
            assert {good[index] == audio for index, audio in rows.items()} <= {True}
            assert len(rows) + sum(one.windows for one in loader.failures) == len(windows)
            reasons = {(one.code, one.message) for one in loader.failures}
            assert reasons <= {("STALLED", "no answer")}
            assert reads or not rows


@pytest.mark.parametrize(
    ("kind", "name"), [("part of a file", "larger"), ("pieces of a file", "pieces")]
)
def test_a_file_that_is_too_short_for_a_part_has_changed(
    tmp_path: Path, kind: str, name: str
) -> None:
    """A tar that was cut short after the scan gives no other audio."""
    path = tmp_path / "a.wav"
    sounds.write(path, sounds.noise(9_000), 16_000, "WAV", "PCM_16")
    found = probe(dict(places_of(path))[kind], "a")
    assert isinstance(found, Recording)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: -len(whole) // 2])

    windows = Catalog(from_recordings([found])).windows(None, 0.1)
    loader = windows.loader(workers=0, on_error="mask")
    for _ in loader:
        pass

    assert {str(one.code) for one in loader.failures} == {"CHANGED"}
    assert sum(one.windows for one in loader.failures) == len(windows)
    missing = probe(Place(str(tmp_path / "none"), 5, 10), "a")
    assert isinstance(missing, Failure)
    assert missing.code == "MISSING"


@pytest.mark.parametrize(
    "pieces",
    [
        pack_pieces([(0, 100), (99, 1)]),
        pack_pieces([(50, 1), (0, 1)]),
        pack_pieces([(0, 101)]),
        pack_pieces([(-1, 2)]),
        pack_pieces([(3, -1)]),
        pack_pieces([(1, 2**63 - 1)]),
        b"x",
    ],
)
def test_a_damaged_map_of_holes_is_refused(tmp_path: Path, pieces: bytes) -> None:
    """A catalog is data that may be damaged: nothing is read by pieces that do not fit."""
    (tmp_path / "a").write_bytes(bytes(1_000))
    for store in (None, _kernel.MemoryStore({str(tmp_path / "a").encode(): bytes(1_000)})):
        with pytest.raises(DecodeError, match="map of the file's holes is damaged: scan again"):
            Place(str(tmp_path / "a"), 3, 100, store, pieces).open()
    with pytest.raises(ValueError, match="length must be given"):
        Place(str(tmp_path / "a"), 3, None, None, b"").open()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="parts of files are not read there")
def test_pieces_are_read_within_their_bounds(tmp_path: Path) -> None:
    """20,000 maps, a third of them damaged, raise nothing in the sanitizers; no byte is wrong."""
    count, good = fuzz("fuzz_pieces", tmp_path, 1, 20_000)

    assert count == 20_000
    assert 13_000 < good < 19_000  # both ways are taken


def test_a_place_is_read_like_a_file(tmp_path: Path) -> None:
    """Positions, ends and errors are those of a file that is opened by Python."""
    data = np.random.default_rng(0).integers(0, 256, 20_000, np.uint8).tobytes()
    (tmp_path / "a").write_bytes(data)
    for _, place in places_of(tmp_path / "a"):
        with place.open() as file:
            assert (file.read(3), file.tell()) == (data[:3], 3)
            assert file.seek(-5, io.SEEK_END) == len(data) - 5
            assert file.read() == data[-5:]
            assert (file.read(), file.seek(7), file.read(2)) == (b"", 7, data[7:9])
        assert place.size() == len(data)
    with pytest.raises(ValueError, match="before the first byte"), place.open() as file:
        file.seek(-1 - len(data), io.SEEK_END)
    with pytest.raises(DecodeError, match="no such object"):
        Place("other", store=_kernel.MemoryStore({})).open()
    with pytest.raises(ValueError, match="negative numbers"):
        Place("a", -1)


def test_objects_are_loaded_once_while_there_is_room() -> None:
    """Threads share them; those not read for longest are dropped before another is loaded."""
    loaded: list[bytes] = []

    def load(key: bytes) -> bytes:
        loaded.append(key)
        return key * 1_000

    store = _kernel.LoadingStore(load=load, capacity=3_000, largest=1_000)

    def read(key: str) -> bytes:
        return Place(key, 10, 500, store).open().read()

    threads = [threading.Thread(target=read, args=("a",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [b"a"]
    assert [read(key) for key in "abcab"] == [key * 500 for key in (b"a", b"b", b"c", b"a", b"b")]
    assert loaded == [b"a", b"b", b"c"]
    read("d")
    read("c")
    assert loaded == [b"a", b"b", b"c", b"d", b"c"]
    assert Place("e", store=store).size() == 1_000
    del loaded[:]
    store.capacity = 5_000
    for _ in range(2):
        assert [read(key) for key in "fghi"] == [key * 500 for key in (b"f", b"g", b"h", b"i")]
    assert loaded == [b"f", b"g", b"h", b"i"]
    store.capacity = 2_000
    read("i")
    assert loaded == [b"f", b"g", b"h", b"i"]
    read("h")
    assert loaded == [b"f", b"g", b"h", b"i", b"h"]
    with pytest.raises(ValueError, match="at least largest"):
        _kernel.LoadingStore(load=load, capacity=1, largest=2)
    with pytest.raises(ValueError, match="at least largest"):
        store.capacity = 999


def test_an_error_while_loading_is_a_reason() -> None:
    """Its code is kept; any other error is one of reading."""

    def load(key: bytes) -> NoReturn:
        if key == b"a":
            raise DecodeError(Code.PERMISSION, "not yours")
        raise KeyError(key)

    store = _kernel.LoadingStore(load=load, capacity=1, largest=1)
    for key, code in (("a", "PERMISSION"), ("b", "IO")):
        found = probe(Place(key, 0, 99, store), "x")
        assert isinstance(found, Failure)
        assert found.code == code


def test_objects_in_memory_are_released() -> None:
    """A store holds the memory that it was given, uncopied, and not after its end."""
    data = bytearray(b"abc")
    store = _kernel.MemoryStore({b"k": data})
    with pytest.raises(BufferError):
        data += b"d"
    opened = Place("k", store=store).open()
    del store
    assert opened.read() == b"abc"
    del opened
    data += b"d"

    with pytest.raises(TypeError):
        _kernel.MemoryStore({b"k": "text"})  # type: ignore[dict-item]
