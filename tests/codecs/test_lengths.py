"""The frames of a recording are those that its file holds, whatever its header says."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from tests.support.flac_encoder import Frame, Residual, Subframe, stream
from tests.support.sounds import noise, speechlike, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace import Catalog

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="libsndfile reads every file there"),
    pytest.mark.filterwarnings("ignore::headrace.errors.DamagedWarning"),
]

RATE, BLOCK = 16_000, 576
HOW = pytest.mark.parametrize("how", ["headers", "decode"])


def samples(seed: int = 0, blocks: int = 100) -> NDArray[np.int64]:
    """Return int16 samples, shape ``(blocks * BLOCK, 1)``."""
    audio = speechlike(blocks * BLOCK, seed=seed) * 2**14
    return audio.round().astype(np.int64)


def frames_of(audio: NDArray[np.int64]) -> list[Frame]:
    """Return FLAC frames of a block each."""
    coded = Subframe("fixed", 2, residual=Residual(3))
    return [
        Frame(audio[at : at + BLOCK], (coded,), explicit=False)
        for at in range(0, len(audio), BLOCK)
    ]


def flac(audio: NDArray[np.int64], declared: int | None = None, **how: Any) -> bytes:
    """Return a FLAC file whose header declares so many frames; by default, as many as it has."""
    data = bytearray(stream(frames_of(audio), rate=RATE, **how))
    return bytes(data if declared is None else declaring(data, declared))


def declaring(data: bytes | bytearray, frames: int) -> bytearray:
    """Return a FLAC file with another number of frames in its header."""
    data = bytearray(data)
    data[21] = data[21] & 0xF0 | frames >> 32
    data[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    return data


def delivered(catalog: Catalog) -> list[dict[int, bytes | None]]:
    """Return each window's audio, None where it is lost, for several orders and workers."""
    windows = catalog.windows(RATE, 0.25)
    found = []
    for order in (windows, windows.shuffle(0), windows.shuffle(1)):
        for workers in (0, 1, 3):
            loader = order.loader(workers=workers, batch_size=4, on_error="mask")
            found.append(
                {
                    int(index): audio.tobytes() if valid else None
                    for batch in loader
                    for index, audio, valid in zip(
                        batch.index, batch.audio, batch.valid, strict=True
                    )
                }
            )
    return found


def sliced(audio: NDArray[Any]) -> dict[int, bytes | None]:
    """Return the windows of known int16 samples."""
    size = RATE // 4
    floats = np.zeros(-(-len(audio) // size) * size, np.float32)
    floats[: len(audio)] = audio.reshape(-1) / 32_768
    return {i: floats[i * size : (i + 1) * size].tobytes() for i in range(len(floats) // size)}


def scan_of(folder: Path, data: bytes, how: Any, name: str = "a.flac") -> Catalog:
    """Write a file and scan it."""
    path = folder / name
    path.write_bytes(data)
    return headrace.scan(path, verify=how)


def claims(catalog: Catalog) -> list[tuple[str, str]]:
    """Return codes and messages."""
    return [(str(failure.code), failure.message) for failure in catalog.failures]


@HOW
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("declared", ["all", "part", "none"])
def test_a_flac_that_was_cut_out_of_another_has_its_frames_once(
    tmp_path: Path, declared: str, how: Any, *, fixed: bool
) -> None:
    """Frames whose numbers begin late are audio from 0 s on, in every order, with any workers."""
    audio = samples()
    frames = frames_of(audio)
    whole = stream(frames, rate=RATE, fixed=fixed)
    part = b"".join(
        frame.data(number if fixed else number * BLOCK, RATE, 16, fixed=fixed)
        for number, frame in enumerate(frames)
        if 30 <= number < 70
    )
    numbers = {"all": len(audio), "part": 40 * BLOCK, "none": 0}
    data = bytes(declaring(whole[:42], numbers[declared])) + part

    catalog = scan_of(tmp_path, data, how)

    assert catalog.frames.tolist() == [40 * BLOCK]
    message = f"{40 * BLOCK} of the {len(audio)} frames that its header declares can be used"
    expected = [("TRUNCATED", f"the file is cut short: {message}")] if declared == "all" else []
    assert claims(catalog) == expected
    for found in delivered(catalog):
        assert found == sliced(audio[30 * BLOCK : 70 * BLOCK])


@HOW
def test_a_flac_without_a_length_is_read_to_its_end(tmp_path: Path, how: Any) -> None:
    """An encoder that writes to a pipe declares 0 frames: that claims nothing."""
    audio = samples()

    catalog = scan_of(tmp_path, flac(audio, 0), how)

    assert (catalog.frames.tolist(), claims(catalog)) == ([len(audio)], [])
    for found in delivered(catalog):
        assert found == sliced(audio)


@HOW
@pytest.mark.parametrize("behind", [b"", b"TAG" + bytes(125), bytes(5_000), b"\xff\xf8" * 30_000])
def test_a_flac_longer_than_its_header_has_all_its_frames(
    tmp_path: Path, behind: bytes, how: Any
) -> None:
    """A header that declares too few is reported; what follows the last frame is no audio."""
    audio = samples()

    catalog = scan_of(tmp_path, flac(audio, 20 * BLOCK + 7) + behind, how)

    assert catalog.frames.tolist() == [len(audio)]
    message = f"the header declares {20 * BLOCK + 7} frames, the file holds {len(audio)}"
    assert claims(catalog) == [("HEADER_MISMATCH", message)]
    for found in delivered(catalog):
        assert found == sliced(audio)


@HOW
@pytest.mark.parametrize("declared", [None, 0])
@pytest.mark.parametrize("blocks", [(100, 100), (100, 30), (30, 100), (1, 1)])
def test_a_second_flac_in_one_file_is_reported(
    tmp_path: Path, blocks: tuple[int, int], declared: int | None, how: Any
) -> None:
    """Two files that were joined are the first one, and a word about the second."""
    first, second = (samples(seed, count) for seed, count in enumerate(blocks))

    catalog = scan_of(tmp_path, flac(first, declared) + flac(second, declared), how)

    assert catalog.frames.tolist() == [len(first)]
    message = f"another FLAC file follows the {len(first)} frames of the first: split the file"
    assert claims(catalog) == [("HEADER_MISMATCH", message)]
    for found in delivered(catalog):
        assert found == sliced(first)
    catalog.save(tmp_path / "kept.parquet")
    for found in delivered(headrace.load_catalog(tmp_path / "kept.parquet")):
        assert found == sliced(first)


@HOW
@pytest.mark.parametrize("cut", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("declared", [None, 0])
def test_a_flac_whose_recorder_was_killed_has_the_frames_that_are_there(
    tmp_path: Path, cut: float, declared: int | None, how: Any
) -> None:
    """The last frame that is whole ends it, and a header that declares more is reported."""
    audio = samples()
    data = flac(audio, declared)

    catalog = scan_of(tmp_path, data[: int(len(data) * cut)], how)

    (frames,) = catalog.frames.tolist()
    assert frames % BLOCK == 0
    assert abs(frames / len(audio) - cut) < 0.2
    assert [code for code, _ in claims(catalog)] == ([] if declared == 0 else ["TRUNCATED"])
    for found in delivered(catalog):
        assert found == sliced(audio[:frames])


@HOW
@pytest.mark.parametrize("block", [0, 1, 50, 98])
@pytest.mark.parametrize("count", [40, 200, 3_000])
def test_damage_in_a_flac_costs_the_windows_that_need_the_bytes(
    tmp_path: Path, block: int, count: int, how: Any
) -> None:
    """After either way of scanning, all other windows are what they were."""
    audio = samples()
    frames = frames_of(audio)
    sizes = [len(frame.data(number, RATE, 16, fixed=True)) for number, frame in enumerate(frames)]
    data = bytearray(flac(audio))
    at = 42 + sum(sizes[:block]) + 1
    count = min(count, len(data) - sizes[-1] - at)
    data[at : at + count] = bytes(count)
    ends = 42 + np.cumsum(sizes)
    last = int(np.searchsorted(ends, at + count))
    lost = range(block * BLOCK, (last + 1) * BLOCK)

    catalog = scan_of(tmp_path, bytes(data), how)

    assert catalog.frames.tolist() == [len(audio)]
    message = f"the file is damaged: frames {lost.start} to {lost.stop} cannot be decoded"
    assert claims(catalog) == ([("TRUNCATED", message)] if how == "decode" else [])
    size = RATE // 4
    expected = {
        index: None if index * size < lost.stop and (index + 1) * size > lost.start else window
        for index, window in sliced(audio).items()
    }
    for found in delivered(catalog):
        assert found == expected


def sizes_in_wav(data: bytes, size: int) -> bytes:
    """Return a WAV file that declares so many bytes of samples."""
    at = data.index(b"data") + 4
    small = struct.pack("<I", size)
    return data[:4] + small + data[8:at] + small + data[at + 4 :]


def sizes_in_rifx(data: bytes, size: int) -> bytes:
    """Return a big-endian WAV file that declares so many bytes of samples."""
    at = data.index(b"data") + 4
    small = struct.pack(">I", size)
    return data[:4] + small + data[8:at] + small + data[at + 4 :]


def size_in_au(data: bytes, size: int) -> bytes:
    """Return an AU file that declares so many bytes of samples."""
    return data[:8] + struct.pack(">I", size) + data[12:]


def size_in_caf(data: bytes, size: int) -> bytes:
    """Return a CAF file whose data chunk declares so many bytes."""
    at = data.index(b"data") + 4
    size = (1 << 64) - 1 if size == 0xFFFFFFFF else size
    return data[:at] + struct.pack(">Q", size) + data[at + 8 :]


def sizes_in_aiff(data: bytes, size: int) -> bytes:
    """Return an AIFF file that declares so many bytes, and none in its COMM chunk."""
    at, frames_at = data.index(b"SSND") + 4, data.index(b"COMM") + 10
    data = data[:at] + struct.pack(">I", size) + data[at + 4 :]
    return data[:frames_at] + bytes(4) + data[frames_at + 4 :]


def sizes_in_w64(data: bytes, size: int) -> bytes:
    """Return a Wave64 file that declares so many bytes of samples."""
    at = data.index(b"data") + 16
    return data[:at] + struct.pack("<Q", size) + data[at + 8 :]


SIZED: dict[str, Callable[[bytes, int], bytes]] = {
    "WAV": sizes_in_wav,
    "AU": size_in_au,
    "CAF": size_in_caf,
    "AIFF": sizes_in_aiff,
}


@HOW
@pytest.mark.parametrize("size", [0, 8, 44, 10_000, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "ULAW", "FLOAT"])
@pytest.mark.parametrize("kind", SIZED)
def test_a_recorder_that_was_killed_leaves_what_is_there(
    tmp_path: Path, kind: str, subtype: str, size: int, how: Any
) -> None:
    """Whatever size its header has, the samples of the good file are those of this one."""
    good = tmp_path / "good.audio"
    write(good, noise(30_000), RATE, kind, subtype)
    expected = delivered(headrace.scan(good))[0]

    catalog = scan_of(tmp_path, SIZED[kind](good.read_bytes(), size), how, "bad.audio")

    assert catalog.frames.tolist() == [30_000]
    codes = [code for code, _ in claims(catalog)]
    if size != 0xFFFFFFFF or kind == "AIFF":  # what a writer to a pipe puts; COMM declares 0
        assert codes == ["HEADER_MISMATCH"]
    elif how == "headers":
        assert codes == []
    for found in delivered(catalog):
        assert found == expected


@HOW
@pytest.mark.parametrize("size", [0, 44, 10_000, 0xFFFFFFFF])
def test_a_killed_recorder_of_big_endian_wav_leaves_what_is_there(
    tmp_path: Path, size: int, how: Any
) -> None:
    """RIFX files, which libsndfile reads, are treated as RIFF files."""
    good = tmp_path / "good.wav"
    write(good, noise(30_000), RATE, "WAV", "PCM_16", endian="BIG")
    assert good.read_bytes()[:4] == b"RIFX"
    expected = delivered(headrace.scan(good))[0]

    catalog = scan_of(tmp_path, sizes_in_rifx(good.read_bytes(), size), how, "bad.wav")

    assert catalog.frames.tolist() == [30_000]
    assert size > 10_000 or [code for code, _ in claims(catalog)] == ["HEADER_MISMATCH"]
    assert delivered(catalog)[0] == expected


@HOW
@pytest.mark.parametrize("size", [0, 44, 0xFFFFFFFF])
@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM"])
def test_a_killed_recorder_of_packed_wav_leaves_what_is_there(
    tmp_path: Path, subtype: str, size: int, how: Any
) -> None:
    """The sizes of blocks say how many frames there are."""
    good = tmp_path / "good.wav"
    write(good, noise(30_000), RATE, "WAV", subtype)
    reference = headrace.scan(good)

    catalog = scan_of(tmp_path, sizes_in_wav(good.read_bytes(), size), how, "bad.wav")

    assert catalog.frames.tolist() == reference.frames.tolist()
    assert size > 44 or [code for code, _ in claims(catalog)] == ["HEADER_MISMATCH"]
    assert delivered(catalog) == delivered(reference)


@HOW
@pytest.mark.parametrize("kind", ["WAV", "AIFF", "CAF", "AU"])
def test_what_is_behind_the_samples_of_a_good_file_is_no_audio(
    tmp_path: Path, kind: str, how: Any
) -> None:
    """Chunks and filling zeros add nothing and are not reported."""
    good = tmp_path / "good.audio"
    write(good, noise(30_000), RATE, kind, "PCM_16")
    behind = {
        "WAV": b"LIST\x04\0\0\0INFO",
        "AIFF": b"ANNO\0\0\0\x04INFO",
        "CAF": b"info\0\0\0\0\0\0\0\x04\0\0\0\0",
    }.get(kind, b"")

    for tail in (behind, bytes(4_000)):
        catalog = scan_of(tmp_path, good.read_bytes() + tail, how, "bad.audio")

        assert (catalog.frames.tolist(), claims(catalog)) == ([30_000], [])


def test_the_chunks_of_a_killed_wav_are_no_audio(tmp_path: Path) -> None:
    """Where the size says nothing, chunks at the end of the file still end the samples."""
    write(tmp_path / "a.wav", noise(30_000), RATE, "WAV", "PCM_16")
    data = sizes_in_wav((tmp_path / "a.wav").read_bytes(), 0xFFFFFFFF)

    catalog = scan_of(tmp_path, data + b"LIST\x04\0\0\0INFO", "headers", "a.wav")

    assert catalog.frames.tolist() == [30_000]


@HOW
def test_bw64_and_a_second_format_are_read_as_their_wav(tmp_path: Path, how: Any) -> None:
    """A BW64 file is an RF64 by another name; of two formats, the first counts."""
    for kind in ("WAV", "RF64"):
        write(tmp_path / f"good.{kind}", noise(30_000, 2), RATE, kind, "PCM_24")
    wav, rf64 = ((tmp_path / f"good.{kind}").read_bytes() for kind in ("WAV", "RF64"))
    at = wav.index(b"fmt ")
    chunk = wav[at : at + 8 + struct.unpack_from("<I", wav, at + 4)[0]]
    other = bytearray(chunk)
    struct.pack_into("<I", other, 12, 2 * RATE)
    reference = delivered(headrace.scan(tmp_path / "good.WAV"))[0]

    for name, data in (
        ("bw64.wav", b"BW64" + rf64[4:]),
        ("same.wav", wav[:at] + chunk + wav[at:]),
        ("other.wav", wav[:at] + chunk + bytes(other) + wav[at + len(chunk) :]),
    ):
        catalog = scan_of(tmp_path, data, how, name)

        assert (catalog.frames.tolist(), claims(catalog)) == ([30_000], []), name
        assert delivered(catalog)[0] == reference, name
