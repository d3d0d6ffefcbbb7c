"""Packs: what they hold, how they are resumed, and what is refused."""

from __future__ import annotations

import json
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from headrace import Catalog, from_table, load_catalog, scan
from headrace._kernel import testing
from headrace.errors import (
    CatalogError,
    DamagedWarning,
    HeadraceWarning,
    InvalidWindowsError,
    NoRecordingsError,
)
from headrace.packing import _encode as encoding
from headrace.packing import _pack as packing
from tests.support import sounds
from tests.support.deliveries import delivered_rows
from tests.support.processes import no_file_beyond

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RATE = 16_000
KINDS = {
    "a/0.wav": ("WAV", "PCM_16", 16_000),
    "a/1.flac": ("FLAC", "PCM_24", 22_050),
    "a/1.ogg": ("OGG", "VORBIS", 48_000),
    "b/3.mp3": ("MP3", "MPEG_LAYER_III", 44_100),
}
NAMES = ["a/0", "a/1.flac", "a/1.ogg", "b/3"]
"""Of members, without the extension that is added."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of stereo recordings in several formats and rates."""
    for number, (name, (kind, subtype, rate)) in enumerate(KINDS.items()):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio = 0.8 * sounds.medley(rate + 1_000 * number, 2, number)
        sounds.write(path, audio, rate, kind, subtype)
    return tmp_path / "folder"


@pytest.fixture
def catalog(folder: Path) -> Catalog:
    """Return a catalog with a column of the user's."""
    return scan(folder).with_columns(site=lambda row: row.id[0])


def audio_of(catalog: Catalog, channel: Any = "mix") -> list[tuple[int, NDArray[np.float32]]]:
    """Return the windows in a shuffled order."""
    windows = catalog.windows(RATE, 0.3, 0.2, channel=channel).shuffle(5)
    rows = delivered_rows(windows.loader(batch_size=4, workers=0))
    return [(row.index, row.audio.copy()) for row in rows]


def members(packed: Path) -> dict[str, bytes]:
    """Return what Python's tarfile reads of all shards."""
    found = {}
    for shard in sorted(packed.glob("*.tar")):
        with tarfile.open(shard) as tar:
            for one in tar.getmembers():
                file = tar.extractfile(one)
                assert file is not None
                found[f"{shard.name}/{one.name}"] = file.read()
    return found


@pytest.mark.parametrize("channel", ["mix", "all", 1])
def test_windows_of_a_wav_pack_are_those_of_the_originals(
    catalog: Catalog, tmp_path: Path, channel: Any
) -> None:
    """Bit for bit, at the same places of a shuffled order; the user's columns are kept."""
    pack = tmp_path / "pack"
    packed = catalog.pack(pack, RATE, format="wav", channel=channel, shard_size="200 kB")

    own = 0 if channel == 1 else channel
    originals = audio_of(catalog, channel)
    for (index, audio), (other, original) in zip(audio_of(packed, own), originals, strict=True):
        assert index == other
        assert np.array_equal(audio, original)
    assert packed.column("source_id").tolist() == catalog.ids.to_pylist()
    assert packed.column("site").tolist() == catalog.column("site").tolist()
    assert [one.id.split("/", 1)[1] for one in packed] == [f"{name}.wav" for name in NAMES]
    assert len(list(pack.glob("*.tar"))) > 1


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_other_programs_read_a_pack(catalog: Catalog, tmp_path: Path, form: Any) -> None:
    """Python's tarfile and soundfile do; a scan finds the same recordings; it can be moved."""
    pack = tmp_path / "pack"
    packed = catalog.pack(pack, RATE, format=form)

    for one in packed:
        (tmp_path / "a").write_bytes(members(pack)[one.id])
        info = soundfile.info(tmp_path / "a")
        assert (info.frames, info.samplerate, info.format) == (one.frames, RATE, form.upper())
        assert info.subtype == ("FLOAT" if form == "wav" else "PCM_24")
    assert scan(pack / "*.tar", verify="decode").ids.to_pylist() == packed.ids.to_pylist()
    expected = audio_of(packed)
    pack.rename(tmp_path / "moved")
    moved = load_catalog(tmp_path / "moved" / "catalog.parquet", root=tmp_path / "moved")
    for (_, audio), (_, other) in zip(audio_of(moved), expected, strict=True):
        assert np.array_equal(audio, other)


@pytest.mark.parametrize("bits", [16, 24])
def test_windows_of_a_flac_pack_differ_by_half_a_step(
    catalog: Catalog, tmp_path: Path, bits: int
) -> None:
    """At most, and what is beyond full scale is clipped."""
    packed = catalog.pack(tmp_path / "pack", RATE, bits=bits, workers=2)

    assert packed.kinds == ((RATE, 1, "FLAC", f"PCM_{bits}"),)
    for (index, audio), (other, original) in zip(audio_of(packed), audio_of(catalog), strict=True):
        assert index == other
        most = 1 - 2.0 ** (1 - bits)
        assert np.abs(audio - original.clip(-1, most)).max() <= 2.0**-bits


def test_clipping_is_counted(tmp_path: Path) -> None:
    """By recording, in a warning that says what keeps the samples."""
    audio = np.array([0.5, 1.0, -1.0, 1.5, -1.25, 0.0] * 100)
    sounds.write(tmp_path / "loud.wav", audio, RATE, "WAV", "FLOAT")
    sounds.write(tmp_path / "soft.wav", audio / 2, RATE, "WAV", "FLOAT")
    catalog = scan(tmp_path / "*.wav")

    with pytest.warns(HeadraceWarning, match=r'300 samples in 1 recordings .* format="wav"'):
        packed = catalog.pack(tmp_path / "flac", RATE)
    assert packed.column("clipped_samples").tolist() == [300, 0]
    assert catalog.pack(tmp_path / "wav", RATE, format="wav").column("clipped_samples").sum() == 0


def test_recordings_that_fail_are_left_out_and_reported(folder: Path, tmp_path: Path) -> None:
    """The others are packed; if none is left, that is an error."""
    catalog = scan(folder)
    (folder / "a" / "1.flac").write_bytes(b"")

    with pytest.warns(DamagedWarning, match="1 of 4 files"):
        packed = catalog.pack(tmp_path / "pack", RATE)
    assert packed.column("source_id").tolist() == ["a/0.wav", "a/1.ogg", "b/3.mp3"]
    assert {(one.file_id, str(one.code)) for one in packed.failures} == {("a/1.flac", "CHANGED")}
    with pytest.raises(NoRecordingsError):
        catalog[1:2].pack(tmp_path / "none", RATE)


def test_packing_goes_on_where_it_was_stopped(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it stops, the result has the same bytes; no half shard has a shard's name."""
    whole, pack = tmp_path / "whole", tmp_path / "pack"
    catalog.pack(whole, RATE, shard_size="40 kB", workers=2)
    encoded: list[str] = []
    left = 0

    def stop_after_some(one: Catalog, *rest: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        encoded.append(one[0].id)
        return encoding.encode(one, *rest)

    monkeypatch.setattr(packing, "encode", stop_after_some)
    for attempt in range(20):
        left = 2 + attempt % 2
        try:
            catalog.pack(pack, RATE, shard_size="40 kB", workers=0)
            break
        except KeyboardInterrupt:
            assert not list(pack.glob("*.tar.*.tmp"))
    assert len(encoded) > len(catalog)
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in pack.iterdir())
    assert {"catalog.parquet", "pack.json", "shard-000000.tar", "shard-000000.tar.idx"} <= {*names}
    for name in names:
        if name.startswith("shard"):
            assert (whole / name).read_bytes() == (pack / name).read_bytes()
    again = catalog.pack(pack, RATE, shard_size="40 kB")
    assert again.fingerprint == load_catalog(whole / "catalog.parquet").fingerprint


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock")
def test_one_process_packs_into_a_folder(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one is refused while the first one works, and returns the pack when it is done."""
    refused = []

    def pack_again(*arguments: Any) -> Any:
        with pytest.raises(CatalogError, match="Another process is packing into") as told:
            catalog.pack(tmp_path / "pack", RATE)
        refused.append(told)
        return encoding.encode(*arguments)

    monkeypatch.setattr(packing, "encode", pack_again)
    packed = catalog.pack(tmp_path / "pack", RATE, workers=1)
    assert len(refused) == len(catalog)
    assert catalog.pack(tmp_path / "pack", RATE).fingerprint == packed.fingerprint
    assert len(refused) == len(catalog)


def test_a_full_disk_is_one_sentence_and_packing_goes_on(folder: Path, tmp_path: Path) -> None:
    """When there is room again, the same call makes the pack that it would have made."""
    sounds.write(folder / "z.wav", sounds.medley(3 * RATE), RATE, "WAV", "PCM_16")
    catalog = scan(folder)
    whole = catalog.pack(tmp_path / "whole", RATE, format="wav", shard_size="150 kB")
    with (
        no_file_beyond(150_000),
        pytest.raises(CatalogError, match=r"pack' has stopped \(File too large\)"),
    ):
        catalog.pack(tmp_path / "pack", RATE, format="wav", shard_size="150 kB")
    assert (tmp_path / "pack" / "shard-000000.tar").exists()
    assert not (tmp_path / "pack" / "catalog.parquet").exists()
    packed = catalog.pack(tmp_path / "pack", RATE, format="wav", shard_size="150 kB")
    assert packed.fingerprint == whole.fingerprint
    for shard in (tmp_path / "whole").glob("*.tar"):
        assert (tmp_path / "pack" / shard.name).read_bytes() == shard.read_bytes()


def test_what_cannot_be_packed_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    """Before any work, in one sentence."""
    catalog.pack(tmp_path / "pack", RATE)
    with pytest.raises(CatalogError, match="other recordings, or with other settings"):
        catalog.pack(tmp_path / "pack", RATE, bits=16)
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match=r"file' cannot be made \(File exists\)"):
        catalog.pack(tmp_path / "file", RATE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("1")
    with pytest.raises(CatalogError, match="is not empty"):
        catalog.pack(tmp_path / "full", RATE)
    (tmp_path / "full" / "pack.json").write_text(json.dumps({"version": 1, "other": 2}))
    with pytest.raises(CatalogError, match=r"pack\.json' is damaged"):
        catalog.pack(tmp_path / "full", RATE)
    for options, error, message in (
        ({"format": "mp3"}, ValueError, "format must be"),
        ({"bits": 20}, ValueError, "bits must be 16 or 24"),
        ({"bits": 24, "format": "wav"}, ValueError, "WAV is stored as float32"),
        ({"shard_size": "much"}, ValueError, "shard_size='much' is not"),
        ({"channel": 7}, InvalidWindowsError, "channel"),
    ):
        with pytest.raises(error, match=message):
            catalog.pack(tmp_path / "new", RATE, **options)
    with pytest.raises(CatalogError, match="is a URL: packs are written to this machine"):
        catalog.pack("s3://bucket/pack", RATE)
    for rate in (0, -1, 0.5, "16 kHz"):
        with pytest.raises(InvalidWindowsError, match="sample_rate must be a"):
            catalog.pack(tmp_path / "new", rate)  # type: ignore[arg-type]
    for rate in (70_001, 700_000):
        with pytest.raises(InvalidWindowsError, match=f"FLAC cannot declare .* {rate} Hz"):
            catalog.pack(tmp_path / "new", rate)
    sounds.write(tmp_path / "many.wav", sounds.noise(100, 9), RATE, "WAV", "PCM_16")
    with pytest.raises(InvalidWindowsError, match="up to 8 channels, and the recordings have 9"):
        scan(tmp_path / "many.wav").pack(tmp_path / "new", RATE, channel="all")
    assert not list((tmp_path / "new").glob("*"))


def test_a_long_wav_is_rf64() -> None:
    """Sizes of more than 32 bits stand in the ds64 chunk."""
    layout = testing.wav_layout(encoding._wav_header(1_000, 2, RATE) + bytes(8_000))
    assert layout is not None
    assert (layout.frames, layout.channels, layout.sample_rate) == (1_000, 2, RATE)
    head = encoding._wav_header(1 << 31, 1, RATE)
    assert head[:4] == b"RF64"
    assert int.from_bytes(head[28:36], "little") == 4 << 31


def test_tars_tables_and_packs_are_packed(catalog: Catalog, tmp_path: Path) -> None:
    """Wherever the originals are, and from every start, the windows are the same bits."""
    originals = audio_of(catalog)
    packed = catalog.pack(tmp_path / "pack", RATE, format="wav")
    again = packed.pack(tmp_path / "again", RATE, format="wav", workers=2)
    rows = [{"audio": (tmp_path / "folder" / name).read_bytes()} for name in KINDS]
    from_memory = from_table(pa.Table.from_pylist(rows)).pack(
        tmp_path / "memory", RATE, format="wav", workers=2
    )

    for one in (packed, again, from_memory):
        for (_, audio), (_, original) in zip(audio_of(one), originals, strict=True):
            assert np.array_equal(audio, original)
    assert [one.id for one in again] == [f"shard-000000.tar/{one.id}" for one in packed]


def test_names_lead_nowhere() -> None:
    """Ids of any catalog become names of members that are unique and stay inside."""
    names = packing._member_names(["../a.wav", "/b.wav", "c.d/e", "x.wav", "x.mp3"], ".flac")

    assert names == ["_/a.flac", "b.flac", "c.d/e.flac", "x.wav.flac", "x.mp3.flac"]
