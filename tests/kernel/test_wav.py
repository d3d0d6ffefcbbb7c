"""The native WAV reader: which files it reads, and that it checks every field."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import headrace
from headrace._kernel import WavEncoding
from headrace._kernel.testing import WavLayout, wav_layout
from headrace.errors import DamagedWarning
from tests.support.native_fuzzing import fuzz
from tests.support.reference_loader import Reference
from tests.support.sounds import medley, write

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = [
    (kind, subtype)
    for kind in ("WAV", "WAVEX", "RF64")
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
]


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(("kind", "subtype"), PLAIN)
def test_plain_files_are_understood(tmp_path: Path, kind: str, subtype: str, channels: int) -> None:
    """Position and number of the samples are what libsndfile says of the file it wrote."""
    path = tmp_path / "a.wav"
    write(path, medley(1_001, channels), 22_050, kind, subtype)

    layout = wav_layout(path.read_bytes())

    assert layout is not None
    subtypes = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]
    assert layout.encoding == WavEncoding(subtypes.index(subtype))
    assert [layout.channels, layout.sample_rate] == [channels, 22_050]
    assert layout.frames == 1_001


@pytest.mark.parametrize("channel", ["mix", 0, 2])
@pytest.mark.parametrize(("kind", "subtype"), PLAIN)
def test_windows_of_plain_files_are_what_libsndfile_decodes(
    tmp_path: Path, kind: str, subtype: str, channel: Any
) -> None:
    """Windows read natively equal slices of the file decoded whole by libsndfile, bit for bit."""
    write(tmp_path / "a.wav", medley(30_000, 3), 22_050, kind, subtype)
    windows = headrace.scan(tmp_path).windows(16_000, 0.3, 0.2, channel=channel)
    reference = Reference(windows)

    for example in windows.shuffle(seed=0).loader(workers=2):
        assert example.audio.tobytes() == reference.window(example).tobytes()


@pytest.mark.parametrize(("channels", "channel"), [(1, "mix"), (2, "mix"), (3, 1), (3, "all")])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("size", [4_096, 5_001, 9_999])
def test_windows_at_the_files_own_rate_fill_rows_at_any_address(
    tmp_path: Path, size: int, subtype: str, channels: int, channel: Any
) -> None:
    """Streaming stores write all of a row and nothing else, also for rows of odd lengths."""
    write(tmp_path / "a.wav", medley(33_333, channels), 16_000, "WAV", subtype)
    catalog = headrace.scan(tmp_path)
    windows = catalog.windows(16_000, size / 16_000, channel=channel)
    planes = range(channels) if channel == "all" else [channel]
    references = [
        Reference(catalog.windows(16_000, size / 16_000, channel=plane)) for plane in planes
    ]

    for batch in windows.loader(batch_size=3, workers=2):
        for row, offset in enumerate(batch.offset):
            expected = [reference.slice("a.wav", offset) for reference in references]
            assert batch.audio[row].tobytes() == np.array(expected).tobytes()


def with_chunk(data: bytes, at: int, chunk: bytes) -> bytes:
    """Insert `chunk`."""
    return data[:at] + chunk + data[at:]


def fields(layout: WavLayout | None) -> tuple[WavEncoding, int, int, int, int]:
    """Return all that a layout says."""
    assert layout is not None
    whole = (layout.channels, layout.sample_rate, layout.data_offset, layout.frames)
    return (layout.encoding, *whole)


def test_chunks_around_the_samples_are_stepped_over(tmp_path: Path) -> None:
    """Other chunks before and after the samples change nothing, also those of odd length."""
    path = tmp_path / "a.wav"
    write(path, medley(100), 8_000, "WAV", "PCM_16")
    data = path.read_bytes()
    plain = fields(wav_layout(data))

    odd = with_chunk(data, 12, b"LIST\x03\x00\x00\x00abc\x00")
    behind = data + b"guan\x04\x00\x00\x00late"

    assert fields(wav_layout(odd)) == (*plain[:3], plain[3] + 12, plain[4])
    assert fields(wav_layout(behind)) == plain


def patched(data: bytes, at: int, new: bytes) -> bytes:
    """Overwrite some bytes."""
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d[:40],  # no samples
        lambda d: d[:0],
        lambda d: patched(d, 0, b"RIFX"),
        lambda d: patched(d, 8, b"AVI "),
        lambda d: patched(d, 20, b"\x11\x00"),  # ADPCM
        lambda d: patched(d, 22, b"\x00\x00"),  # no channels
        lambda d: patched(d, 24, b"\x00\x00\x00\x00"),  # no sample rate
        lambda d: patched(d, 32, b"\x03\x00"),  # a frame is not its samples
        lambda d: patched(d, 34, b"\x0c\x00"),  # 12 bits
        lambda d: d[:12] + d[36:],  # samples before any format
    ],
)
def test_what_is_not_wholly_understood_is_left_to_libsndfile(tmp_path: Path, spoil: Any) -> None:
    """The native reader leaves contradictory and unknown headers to libsndfile."""
    path = tmp_path / "a.wav"
    write(path, medley(100), 8_000, "WAV", "PCM_16")
    assert wav_layout(path.read_bytes()) is not None

    assert wav_layout(spoil(path.read_bytes())) is None


def test_a_wav_that_was_cut_short_is_loaded_all_the_same(tmp_path: Path) -> None:
    """A header that declares too many frames gives a shorter recording, as libsndfile says."""
    path = tmp_path / "a.wav"
    write(path, medley(20_000), 16_000, "WAV", "PCM_16")
    path.write_bytes(path.read_bytes()[:-2_001])
    with pytest.warns(DamagedWarning, match="18999 of the 20000 frames"):
        windows = headrace.scan(tmp_path).windows(16_000, 0.25)

    examples = list(windows.loader(workers=1))

    audio, _ = soundfile.read(path, dtype="float32")
    together = np.concatenate([example.audio for example in examples])
    assert together[: len(audio)].tobytes() == audio.tobytes()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the native WAV reader is not built there")
def test_mutated_files_are_read_within_their_bounds(tmp_path: Path) -> None:
    """20,000 mutated files raise nothing in the sanitizers, and no result breaks its contract."""
    count, understood = fuzz("fuzz_wav", tmp_path, 1, 20_000, tmp_path / "scratch.wav")

    assert count == 20_000
    assert 2_000 < understood < 18_000  # both ways are taken
