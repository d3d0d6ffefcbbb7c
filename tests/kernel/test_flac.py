"""The native FLAC reader: from any position, the same samples as libsndfile's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from headrace._kernel.testing import flac_spans
from tests.support import sounds
from tests.support.flac_encoder import Frame, Residual, Subframe, header, random_stream, stream
from tests.support.native_fuzzing import fuzz
from tests.support.reference_loader import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace import Windows
    from headrace.codecs._recording import Recording

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="libsndfile reads FLAC there")


def square(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return samples of positive or negative full scale, shape ``(frames, channels)``."""
    del seed
    return np.where(np.arange(frames)[:, None] // 50 % 2, 1.0, -1.0) + np.zeros((1, channels))


def walk(frames: int, channels: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return a random walk, shape ``(frames, channels)``, in [-1, 1]."""
    steps = np.random.default_rng(seed).normal(scale=0.01, size=(frames, channels))
    audio: NDArray[np.float64] = np.sin(np.cumsum(steps, axis=0))
    return audio


SIGNALS = sounds.SIGNALS | {"square": square, "walk": walk}


def spans(frames: int, count: int, seed: int) -> list[tuple[int, int]]:
    """Return spans in random order, of all lengths, that reach both ends."""
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, frames, size=count)
    lengths = rng.integers(0, rng.choice([20, 1_000, 9_000], size=count))
    chosen = [(int(a), int(min(n, frames - a))) for a, n in zip(starts, lengths, strict=True)]
    return [(0, frames), (frames - 1, 1), (frames, 0), (0, 1), *chosen]


def expected(reference: NDArray[Any], places: list[tuple[int, int]]) -> list[bytes]:
    """Return the reference samples of the spans."""
    return [reference[start : start + count].tobytes() for start, count in places]


def natively(data: bytes, places: list[tuple[int, int]], frames: int | None = None) -> list[bytes]:
    """Return the spans as the native reader gives them, all from one open file."""
    found = flac_spans(data, places, frames)
    assert found is not None
    return found


def stored(folder: Path, data: bytes) -> Recording:
    """Write `data` to a file and return it as a recording."""
    path = folder / "a.flac"
    path.write_bytes(data)
    return sounds.recording_of(path)


@pytest.mark.parametrize("level", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("subtype", "channels"), [("PCM_S8", 1), ("PCM_16", 2), ("PCM_24", 3)])
@pytest.mark.parametrize("signal", SIGNALS)
def test_spans_are_those_of_the_decode_from_the_start(
    tmp_path: Path, signal: str, subtype: str, channels: int, level: float
) -> None:
    """Random spans equal libsndfile's decode to the bit, for every signal, bit depth and level."""
    path = tmp_path / "a.flac"
    audio = SIGNALS[signal](40_001, channels)
    recording = sounds.write(path, audio, 22_050, "FLAC", subtype, compression_level=level)
    reference, places = sounds.decode_whole(recording), spans(recording.frames, 40, seed=channels)

    assert natively(path.read_bytes(), places) == expected(reference, places)


@pytest.mark.parametrize("seed", range(50))
def test_every_feature_of_the_format_is_read_as_libsndfile_does(tmp_path: Path, seed: int) -> None:
    """Every subframe type, order, partition, escape, wasted bit, stereo mode and block size."""
    data = random_stream(seed)
    recording = stored(tmp_path, data)
    reference, places = sounds.decode_whole(recording), spans(recording.frames, 30, seed)

    assert natively(data, places) == expected(reference, places)


def verbatim(samples: NDArray[Any]) -> Frame:
    """Return a frame of uncompressed samples."""
    one = Subframe("verbatim")
    return Frame(samples.astype(np.int64), (one,) * samples.shape[1], explicit=False)


def with_false_headers(count: int, block: int) -> bytes:
    """Return a file whose samples contain as many valid frame headers as possible."""
    rng = np.random.default_rng(count)
    frames = []
    for _ in range(count):
        false = b""
        while len(false) < 2 * block:
            head = header(int(rng.integers(count)), block, 22_050, 16, 0, explicit=False)
            false += head + bytes(len(head) % 2)
        samples = np.frombuffer(false[: 2 * block], ">i2")
        frames.append(verbatim(samples[:, None]))
    return stream(frames)


def test_a_header_inside_the_samples_leads_nowhere() -> None:
    """Samples that look like valid headers of other frames are read as samples."""
    data = with_false_headers(count=40, block=4096)
    places = spans(40 * 4096, 60, seed=0)
    [whole] = natively(data, [(0, 40 * 4096)])
    reference = np.frombuffer(whole, np.int16)
    assert data.count(b"\xff\xf8") > 10_000

    assert natively(data, places) == expected(reference, places)
    assert [natively(data, [place])[0] for place in places] == expected(reference, places)


def test_a_long_file_is_sought_with_few_bytes(tmp_path: Path) -> None:
    """Seeking in a long file reads few bytes, at any position and with an uneven bitrate."""
    quiet, loud = sounds.silence(3_000_000), sounds.noise(1_000_000)
    path = tmp_path / "a.flac"
    audio = np.concatenate([quiet, loud, quiet])
    recording = sounds.write(path, audio, 22_050, "FLAC", "PCM_16")
    data, reference = path.read_bytes(), sounds.decode_whole(recording)
    places = [(start, count) for start, count in spans(recording.frames, 200, 1) if count < 10_000]

    assert natively(data, places) == expected(reference, places)
    assert [natively(data, [place])[0] for place in places] == expected(reference, places)


def good(bits: int = 16, **how: Any) -> bytes:
    """Return a good file of four blocks."""
    audio = (sounds.medley(4 * 576) * 2 ** (bits - 2)).round().astype(np.int64)
    coded = Subframe("fixed", 2, residual=Residual(3))
    frames = [Frame(audio[i : i + 576], (coded,), explicit=False) for i in range(0, 2304, 576)]
    return stream(frames, bits=bits, **how)


def patched(data: bytes, at: int, new: bytes) -> bytes:
    """Overwrite some bytes."""
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d[:0],
        lambda d: d[:41],
        lambda d: d[:42],  # no frame
        lambda d: patched(d, 0, b"OggS"),
        lambda d: b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10) + d,
        lambda d: patched(d, 4, b"\x81"),  # no STREAMINFO
        lambda d: patched(d, 4, b"\x00"),  # more metadata, which is not there
        lambda d: patched(d, 8, b"\x00\x10"),  # frames of one length, and of different ones
        lambda d: patched(d, 8, b"\xff\xff\xff\xff"),  # longer blocks than the format advises
        lambda d: patched(d, 18, b"\x00\x00\x00"),  # no sample rate
        lambda d: patched(d, 21, b"\x00\x00\x00\x00\x00"),  # of 1 bit
        lambda d: d[:42] + bytes(len(d) - 42),  # no frame anywhere
    ],
)
def test_what_is_not_wholly_understood_is_left_to_libsndfile(spoil: Any) -> None:
    """The native reader leaves contradictory and unknown headers to libsndfile."""
    assert flac_spans(good(), []) == []

    assert flac_spans(spoil(good()), []) is None
    assert flac_spans(good(bits=12), []) is None


def test_metadata_is_stepped_over(tmp_path: Path) -> None:
    """Tags, pictures of any size and padding change nothing."""
    more = good(metadata=[(1, bytes(9_000)), (4, bytes(8)), (6, bytes(200_000)), (126, b"")])
    reference = sounds.decode_whole(stored(tmp_path, good()))

    assert natively(more, [(0, 2304), (1000, 700)]) == expected(reference, [(0, 2304), (1000, 700)])


def outcome(windows: Windows) -> dict[int, bytes | None]:
    """Return each window's audio by index; None if the window was lost."""
    loader = windows.loader(workers=2, batch_size=7, on_error="mask")
    return {
        int(index): audio.tobytes() if valid else None
        for batch in loader
        for index, audio, valid in zip(batch.index, batch.audio, batch.valid, strict=True)
    }


def test_libsndfile_takes_over_in_the_middle_of_a_file(tmp_path: Path) -> None:
    """After a valid frame that is larger than its samples, windows are what libsndfile decodes."""
    audio = (sounds.speechlike(40 * 576) * 2**13).round().astype(np.int64)
    coded = Subframe("fixed", 2)
    frames = [Frame(audio[i : i + 576], (coded,)) for i in range(0, len(audio), 576)]
    wasteful = Subframe("fixed", 0, residual=Residual(parameter=7), wasteful=True)
    for number in (7, 20, 21):
        loud = (sounds.noise(576, seed=number) * 2**15).round().astype(np.int64)
        frames[number] = Frame(loud.clip(-(1 << 15), (1 << 15) - 1), (wasteful,))
    data = stream(frames)
    recording = stored(tmp_path, data)
    assert recording.frames == 40 * 576
    assert len(natively(data, [(0, recording.frames)])[0]) == 2 * 7 * 576

    windows = headrace.scan(tmp_path).windows(16_000, 0.05, 0.03)
    reference = Reference(windows)

    for order in (windows, windows.shuffle(0)):
        for example in order.loader(workers=2):
            assert example.audio.tobytes() == reference.window(example).tobytes()


@pytest.mark.parametrize("seed", range(25))
def test_a_damaged_file_gives_the_samples_of_the_good_one_or_none(
    tmp_path: Path, seed: int
) -> None:
    """Wherever bytes are changed, removed or inserted, a window is either unchanged or lost."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "a.flac"
    audio = SIGNALS[str(rng.choice(sorted(SIGNALS)))](60_000, 1 + seed % 2)
    sounds.write(path, audio, 22_050, "FLAC", "PCM_16")
    windows = headrace.scan(path).windows(16_000, 0.2, 0.15)
    whole, data = outcome(windows), bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        at, count = int(rng.integers(100, len(data))), int(rng.integers(1, 40))
        piece = rng.bytes(count) if rng.integers(2) else bytes(data[at + 100 : at + 100 + count])
        data[at : at + (count if rng.integers(2) else int(rng.integers(60)))] = piece
    path.write_bytes(data)

    found = outcome(windows)

    assert found.keys() == whole.keys()
    assert [index for index in found if found[index] not in (whole[index], None)] == []
    assert outcome(windows.shuffle(seed)) == found


def damaged(data: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Yield files with a changed byte, removed bytes, inserted bytes, and an early end."""
    at = int(rng.integers(60, len(data)))
    yield patched(data, at, bytes([data[at] ^ int(rng.integers(1, 256))]))
    yield data[:at] + data[at + int(rng.integers(1, 400)) :]
    yield data[:at] + rng.bytes(int(rng.integers(1, 400))) + data[at:]
    yield data[:at]


@pytest.mark.parametrize("seed", range(12))
def test_what_a_damaged_file_gives_depends_on_nothing_read_before(
    tmp_path: Path, seed: int
) -> None:
    """Each span is a prefix of the undamaged one, the same on an open file and on a new one."""
    data = random_stream(seed)
    whole = sounds.decode_whole(stored(tmp_path, data))
    rng = np.random.default_rng(seed)
    places = spans(len(whole), 20, seed)
    for bad in damaged(data, rng):
        if flac_spans(bad, [], len(whole)) is None:
            continue
        alone = [natively(bad, [place], len(whole))[0] for place in places]

        assert natively(bad, places, len(whole)) == alone
        for part, true in zip(alone, expected(whole, places), strict=True):
            assert true.startswith(part)


@pytest.mark.slow
def test_mutated_files_are_read_within_their_bounds(tmp_path: Path) -> None:
    """10,000 mutated files, some with corrected checksums, raise nothing in the sanitizers."""
    paths = []
    points = [
        (40 * i).to_bytes(8, "big") + (90 * i).to_bytes(8, "big") + bytes(2) for i in range(5)
    ]
    for seed in range(20):
        path = tmp_path / f"{seed}.flac"
        path.write_bytes(random_stream(seed, metadata=[(3, b"".join(points))]))
        paths.append(path)

    count, understood, whole = fuzz("fuzz_flac", tmp_path, 1, 500, *paths)

    assert count == 10_000
    assert 2_000 < understood < 9_500  # all ways are taken
    assert 200 < whole < understood
