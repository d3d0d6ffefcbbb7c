"""MP3 with seek points: decoding begins anywhere and gives what decoding from the start gives."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headrace
from headrace import _kernel
from headrace.codecs import decodes_from_start
from headrace.failures import Code
from headrace.loading._plan import Plan
from headrace.storage import Place
from tests.support.deliveries import delivered_rows, lost_windows
from tests.support.mp3_reference import Mp3
from tests.support.native_fuzzing import fuzz
from tests.support.sounds import SIGNALS, decode_whole, medley, speechlike, write

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

EVERY = 64
"""Frames between two seek points (mp3.h)."""

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="MP3 is decoded from the start there"
)


def mp3(
    path: Path, audio: NDArray[np.float64], rate: int, mode: str = "CONSTANT", level: float = 0.5
) -> bytes:
    """Write an MP3 file, and return it."""
    kind = ("MP3", "MPEG_LAYER_III")
    write(path, audio, rate, *kind, bitrate_mode=mode, compression_level=level)
    return path.read_bytes()


def outcome(windows: headrace.Windows, seed: int | None, **how: Any) -> dict[int, Any]:
    """Return each window's audio, or the code of its failure, by index."""
    order = windows if seed is None else windows.shuffle(seed)
    loader = order.loader(batch_size=8, on_error="mask", **how)
    got: dict[int, Any] = {row.index: row.audio.copy() for row in delivered_rows(loader)}
    return got | {index: failure.code for index, failure in lost_windows(loader.failures)}


def assert_windows_are_slices(path: Path, *, size: int = 3_000, hop: int = 1_009) -> int:
    """Compare all windows, shuffled and in order, with the decode from the start; count them."""
    (recording,) = catalog = headrace.scan(path)
    rate = recording.sample_rate
    windows = catalog.windows(None, size / rate, hop / rate, channel="all", tail="drop")
    reference = Mp3(path.read_bytes()).audio
    assert recording.frames == len(reference)
    for seed, workers in ((None, 0), (None, 2), (0, 0), (1, 2)):
        for index, audio in outcome(windows, seed, workers=workers).items():
            start = index * hop
            expected = reference[start : start + size]
            assert audio.tobytes() == expected.T.tobytes(), (index, seed, workers)
    return len(windows)


@pytest.mark.parametrize("level", [("CONSTANT", 0.0), ("CONSTANT", 0.99), ("VARIABLE", 0.5)])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
def test_windows_at_random_are_exact(
    tmp_path: Path, rate: int, channels: int, level: tuple[str, float]
) -> None:
    """Exact on reused handles, for every MPEG version, at the lowest and highest bitrate."""
    frames = 70_000 if rate < 32_000 else 110_000
    mp3(tmp_path / "a.mp3", medley(frames, channels, seed=rate), rate, *level)

    assert headrace.scan(tmp_path)[0].seek_points
    assert assert_windows_are_slices(tmp_path / "a.mp3") > 60


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("signal", SIGNALS)
def test_windows_of_any_sound_are_exact(tmp_path: Path, signal: str, mode: str) -> None:
    """Exact for every signal, with constant, average and variable bitrate."""
    mp3(tmp_path / "a.mp3", SIGNALS[signal](110_000, 2), 44_100, mode, 0.7)

    assert headrace.scan(tmp_path)[0].seek_points
    assert assert_windows_are_slices(tmp_path / "a.mp3") > 60


def test_resampled_windows_are_exact(tmp_path: Path) -> None:
    """Resampled windows are exact in order and at random, with and without overlap."""
    mp3(tmp_path / "a.mp3", speechlike(200_000), 22_050)
    windows = headrace.scan(tmp_path).windows(16_000, 0.4, 0.15)
    from_start = without_seek_points(tmp_path).windows(16_000, 0.4, 0.15)
    expected = outcome(from_start, None, workers=0)

    for seed, workers in ((None, 2), (3, 0), (4, 2)):
        got = outcome(windows, seed, workers=workers)
        assert {i: audio.tobytes() for i, audio in got.items()} == {
            i: audio.tobytes() for i, audio in expected.items()
        }


def without_seek_points(path: Path) -> headrace.Catalog:
    """Return the catalog made from a table without the column of seek points."""
    table = headrace.scan(path).to_arrow().drop_columns(["seek_points"])
    return headrace.Catalog.from_table(table)


def frames_of(data: bytes) -> list[tuple[int, int]]:
    """Return offset and size of each frame of an MP3 file: only for MPEG-2 at 22,050 Hz."""
    kbps = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    found, at = [], 0
    while data[at : at + 1] == b"\xff":
        size = 72_000 * kbps[data[at + 2] >> 4] // 22_050 + (data[at + 2] >> 1 & 1)
        found.append((at, size))
        at += size
    return found


ID3V2 = b"ID3\x03\x00\x00\x00\x00\x0f\x00" + b"TIT2\x00\x00\x00\x02\x00\x00\x00a" + bytes(1_908)
ID3V1 = b"TAG" + b"title".ljust(125, b"\x00")


def no_tag(data: bytes) -> bytes:
    """Remove the encoder's information frame."""
    return data[frames_of(data)[0][1] :]


def no_delay(data: bytes) -> bytes:
    """Remove LAME's delay, as other encoders do."""
    at = data.index(b"LAME")
    return data[:at] + bytes(36) + data[at + 36 :]


def another_delay(data: bytes) -> bytes:
    """Declare a delay of 1,100 samples."""
    at = data.index(b"LAME") + 21
    return data[:at] + (1_100 << 12 | 700).to_bytes(3, "big") + data[at + 3 :]


def cut_in(data: bytes) -> bytes:
    """Remove the first frames, which hold the bit reservoir of the next ones."""
    return data[frames_of(data)[11][0] :]


def junk(data: bytes) -> bytes:
    """Insert bytes that are no frame between two frames."""
    at = frames_of(data)[100][0]
    return data[:at] + b"no frame" * 10 + data[at:]


def no_checksums(data: bytes) -> bytes:
    """Set the bit that declares a checksum, without adding one."""
    changed = bytearray(data)
    for at, _ in frames_of(data)[1:]:
        changed[at + 1] &= 0xFE
    return bytes(changed)


@pytest.mark.filterwarnings("ignore::headrace.HeadraceWarning")
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize(
    ("change", "random_access"),
    [
        (lambda d: ID3V2 + d, True),
        (lambda d: d + ID3V1, True),
        (lambda d: ID3V2 + no_tag(d) + ID3V1, True),
        (no_tag, True),
        (no_delay, True),
        (another_delay, True),
        (lambda d: d[:-50], True),
        (lambda d: d + bytes(500), True),
        (lambda d: d + b"what is this?", True),
        (cut_in, True),
        (junk, False),
        (no_checksums, False),
        (lambda d: d + d, True),
        (lambda d: no_tag(d) + d, True),
        (lambda d: d[: frames_of(d)[EVERY][0]], True),
    ],
)
def test_files_of_every_make_are_exact(
    tmp_path: Path, mode: str, change: Any, *, random_access: bool
) -> None:
    """With tags, other encoders' headers or damage, windows are exact."""
    data = mp3(tmp_path / "a.mp3", speechlike(120_000), 22_050, mode, 0.6)
    (tmp_path / "a.mp3").write_bytes(change(data))

    (recording,) = headrace.scan(tmp_path)
    assert recording.seek_points
    assert decodes_from_start(recording) != random_access
    assert assert_windows_are_slices(tmp_path / "a.mp3") > 10


def test_decoding_does_not_begin_at_the_start(tmp_path: Path) -> None:
    """Frames damaged after the scan cost only the windows close to them."""
    data = mp3(tmp_path / "a.mp3", speechlike(200_000), 22_050)
    windows = headrace.scan(tmp_path).windows(None, 2_000 / 22_050)
    good = outcome(windows, None, workers=0)
    at, stop = frames_of(data)[100][0], frames_of(data)[104][0]
    (tmp_path / "a.mp3").write_bytes(data[:at] + bytes(stop - at) + data[stop:])

    lost = set()
    for seed, workers in ((None, 0), (None, 2), (0, 1), (1, 2)):
        got = outcome(windows, seed, workers=workers)
        failed = {index for index, audio in got.items() if isinstance(audio, Code)}
        assert {got[index] for index in failed} == {Code.CHANGED}
        assert all(got[i].tobytes() == good[i].tobytes() for i in got if i not in failed)
        lost.add(frozenset(failed))

    (once,) = lost  # whatever was read before
    seen = {index * 2_000 // 576 for index in once}
    assert seen
    assert min(seen) > 100 - 10
    assert max(seen) < 2 * EVERY + 10


def test_a_file_that_was_replaced_is_decoded_as_it_is_now(tmp_path: Path) -> None:
    """Seek points are not used for a file whose size has changed and which is not shorter."""
    path = tmp_path / "a.mp3"
    mp3(path, speechlike(200_000), 22_050, "VARIABLE", 0.8)
    catalog = headrace.scan(path)
    mp3(path, speechlike(200_000, seed=5), 22_050)
    assert path.stat().st_size > catalog[0].size
    (now,) = headrace.scan(path)
    reference = decode_whole(now)[:, 0]

    got = outcome(catalog.windows(None, 0.2, tail="drop"), 0, workers=2)

    for index, audio in got.items():
        assert audio.tobytes() == reference[index * 4_410 : (index + 1) * 4_410].tobytes()


@pytest.mark.parametrize(("seed", "workers"), [(None, 0), (0, 2)])
def test_a_file_that_was_replaced_by_a_smaller_one_is_changed(
    tmp_path: Path, seed: int | None, workers: int
) -> None:
    """A smaller file is CHANGED, even if it has audio for every window."""
    path = tmp_path / "a.mp3"
    mp3(path, speechlike(200_000), 22_050)
    catalog = headrace.scan(path)
    mp3(path, speechlike(200_000, seed=5), 22_050, "VARIABLE", 0.8)
    assert path.stat().st_size < catalog[0].size
    assert headrace.scan(path)[0].frames >= catalog[0].frames

    got = outcome(catalog.windows(None, 0.2), seed, workers=workers)

    assert len(got) == 46
    assert {*map(repr, got.values())} == {repr(Code.CHANGED)}


def test_a_file_of_the_same_size_whose_frames_moved_is_changed(tmp_path: Path) -> None:
    """A file whose frames moved is CHANGED: no sample is decoded from a wrong offset."""
    path = tmp_path / "a.mp3"
    data = mp3(path, speechlike(200_000), 22_050)
    catalog = headrace.scan(path)
    path.write_bytes(b"\x00" * 7 + data[:-7])

    got = outcome(catalog.windows(None, 0.2), 0, workers=2)

    assert {got[index] for index in got if index > 4} == {Code.CHANGED}


@pytest.mark.parametrize("frame", [0, 1, 5, 17, 61, 62, 63, 64, 65])
def test_what_is_lost_does_not_depend_on_what_was_read_before(tmp_path: Path, frame: int) -> None:
    """With any one frame damaged, a window is exact in every order, or CHANGED in every order."""
    data = mp3(tmp_path / "a.mp3", speechlike(120_000), 22_050)
    windows = headrace.scan(tmp_path).windows(None, 3 * 576 / 22_050, 9 * 576 / 22_050)
    good = outcome(windows, None, workers=0)
    at, size = frames_of(data)[frame]
    (tmp_path / "a.mp3").write_bytes(data[:at] + bytes(size) + data[at + size :])

    lost = set()
    for seed, workers in ((None, 0), (None, 2), (0, 0), (1, 1), (3, 2)):
        got = outcome(windows, seed, workers=workers)
        failed = {index for index, audio in got.items() if isinstance(audio, Code)}
        assert {got[index] for index in failed} == {Code.CHANGED}
        assert all(got[i].tobytes() == good[i].tobytes() for i in got if i not in failed)
        lost.add(frozenset(failed))

    assert len(lost) == 1


# In the catalog


def test_seek_points_are_kept_with_the_catalog(tmp_path: Path) -> None:
    """Seek points are saved, loaded and reused by a second scan; fingerprints ignore them."""
    mp3(tmp_path / "a.mp3", speechlike(100_000), 22_050)
    write(tmp_path / "b.wav", speechlike(1_000), 22_050, "WAV", "PCM_16")
    cache = tmp_path / "catalog.parquet"

    catalog = headrace.scan(tmp_path, cache=cache)

    points = [one.seek_points for one in catalog]
    assert len(points[0] or b"") > 8
    assert points[1] is None
    assert [one.seek_points for one in headrace.load_catalog(cache)] == points
    assert [one.seek_points for one in headrace.scan(tmp_path, cache=cache)] == points
    assert without_seek_points(tmp_path / "a.mp3").fingerprint == catalog[:1].fingerprint


def test_a_catalog_of_before_there_were_seek_points_gets_them(tmp_path: Path) -> None:
    """A second scan makes seek points only for files that an older version scanned without them."""
    mp3(tmp_path / "a.mp3", speechlike(100_000), 22_050)
    mp3(tmp_path / "short.mp3", speechlike(10_000), 22_050)
    write(tmp_path / "b.wav", speechlike(1_000), 22_050, "WAV", "PCM_16")
    cache = tmp_path / "catalog.parquet"
    without_seek_points(tmp_path).save(cache)

    points = [one.seek_points for one in headrace.scan(tmp_path, cache=cache)]

    assert points == [one.seek_points for one in headrace.scan(tmp_path)]
    assert [None if one is None else bool(one) for one in points] == [True, None, True]


def test_an_hour_takes_a_few_kilobytes(tmp_path: Path) -> None:
    """About two bytes per second of audio, also with a variable bitrate."""
    mp3(tmp_path / "a.mp3", speechlike(1_000_000), 22_050, "VARIABLE")

    points = headrace.scan(tmp_path)[0].seek_points

    assert points is not None
    assert len(points) / (1_000_000 / 22_050) < 2


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[Any]]:
    """Return a file and its audio, decoded from the start."""
    path = tmp_path_factory.mktemp("mp3") / "a.mp3"
    mp3(path, speechlike(100_000), 22_050)
    return path, decode_whole(headrace.scan(path)[0])[:, 0]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_seek_points_are_not_trusted(one: tuple[Path, NDArray[Any]], data: st.DataObject) -> None:
    """With wrong seek points in the table, audio is exact or is not delivered."""
    path, reference = one
    table = headrace.scan(path).to_arrow()
    points = bytearray(table["seek_points"][0].as_py())
    if data.draw(st.booleans()):
        points = bytearray(data.draw(st.binary(max_size=60)))
    for at in data.draw(st.lists(st.integers(0, max(0, len(points) - 1)), max_size=3)):
        if at < len(points):
            points[at] = data.draw(st.integers(0, 255))
    column = pa.array([bytes(points)], pa.large_binary())
    where = table.schema.get_field_index("seek_points")
    catalog = headrace.Catalog.from_table(table.set_column(where, "seek_points", column))

    got = outcome(catalog.windows(None, 0.1, tail="drop"), 0, workers=0)

    for index, audio in got.items():
        expected = reference[index * 2_205 : (index + 1) * 2_205]
        assert isinstance(audio, Code) or audio.tobytes() == expected.tobytes()


def test_windows_of_files_with_seek_points_are_not_chained(tmp_path: Path) -> None:
    """Several workers share a long MP3 in order; without seek points only one at a time decodes."""
    mp3(tmp_path / "a.mp3", speechlike(100_000), 22_050)

    def keys(catalog: headrace.Catalog) -> set[int | None]:
        plan = Plan(
            catalog.windows(None, 0.2),
            batch_size=4,
            workers=2,
            prefetch=2,
            memory=None,
            last="keep",
        )
        return {group.key for item in plan.work_items(0) for group in item.groups}

    assert keys(headrace.scan(tmp_path)) == {None}
    assert keys(without_seek_points(tmp_path)) == {0}


@pytest.mark.slow
def test_mutated_files_are_read_within_their_bounds(tmp_path: Path) -> None:
    """8,000 mutated files raise nothing in the sanitizers, and no result breaks its contract."""
    count, understood = fuzz("fuzz_mp3", tmp_path, 1, 8_000, tmp_path / "scratch.mp3")

    assert count == 8_000
    assert 7_200 < understood < 8_000  # nearly all hold frames


def test_what_is_no_mp3_has_no_seek_points(tmp_path: Path) -> None:
    """Files of other formats, and files that do not exist, have no seek points."""
    (tmp_path / "a.mp3").write_bytes(b"\xff\xfb" * 10_000)

    assert _kernel.scan_mp3(Place(str(tmp_path / "a.mp3")).native) is None
    assert _kernel.scan_mp3(Place(str(tmp_path / "b.mp3")).native) is None
    assert _kernel.scan_mp3(Place(str(tmp_path)).native) is None
