from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from headrace.catalog import _headers as headers
from headrace.catalog._catalog import Catalog, load_catalog
from headrace.catalog._scan import scan
from headrace.codecs._probe import probe
from headrace.codecs._recording import Recording
from headrace.errors import CatalogError, HeadraceWarning, NoRecordingsError
from headrace.failures import Code

REAL = Path(__file__).parents[2].parent / "shared" / "audio"


def write_silence(path: Path, frames: int = 100, rate: int = 8000, channels: int = 1) -> Path:
    """Write a silent file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros((frames, channels), np.int16), rate)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Return a folder with three good recordings."""
    root = tmp_path / "archive"
    write_silence(root / "A" / "1.wav", 100)
    write_silence(root / "A" / "2.WAV", 200, rate=16_000, channels=2)
    write_silence(root / "B" / "3.flac", 300)
    return root


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the ids of the files whose headers are read."""
    ids: list[str] = []

    def spy(path: str, file_id: str, *_: object) -> object:
        ids.append(file_id)
        return probe(path, file_id)

    monkeypatch.setattr(headers, "probe", spy)
    return ids


def test_a_scan_says_what_the_headers_say(archive: Path) -> None:
    """Every column has the value of the header, or of the file."""
    catalog = scan(archive)

    status = (archive / "A" / "2.WAV").stat()
    assert [one.id for one in catalog] == ["A/1.wav", "A/2.WAV", "B/3.flac"]
    assert catalog[1] == Recording(
        "A/2.WAV",
        f"{archive}/A/2.WAV",
        sample_rate=16_000,
        channels=2,
        frames=200,
        format="WAV",
        subtype="PCM_16",
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
    )
    assert catalog[2].format == "FLAC"
    assert catalog.root == str(archive)
    assert catalog.failures == ()


@pytest.mark.parametrize("workers", [0, 1, 7, "auto"])
def test_the_number_of_workers_changes_nothing(archive: Path, workers: int) -> None:
    """Order and content do not depend on threads."""
    for number in range(100):
        shutil.copy(archive / "A" / "1.wav", archive / f"{number}.wav")

    assert list(scan(archive, workers=workers)) == list(scan(archive, workers=2))


def test_damaged_files_are_failures_and_one_warning(archive: Path) -> None:
    """Good files are not lost because of bad ones, and bad ones are reported."""
    (archive / "zero.wav").touch()
    write_silence(archive / "no_frames.wav", frames=0)
    (archive / "text.wav").write_text("To whom it may concern")
    (archive / "folder.wav").mkdir()
    (archive / "gone.wav").symlink_to("nowhere")
    (archive / "noise.flac").write_bytes(bytes(range(256)) * 20)

    with pytest.warns(HeadraceWarning) as caught:
        catalog = scan(f"{archive}/**")

    assert len(catalog) == 3
    assert [(one.file_id, one.code) for one in catalog.failures] == [
        ("folder.wav", Code.NOT_AUDIO),
        ("gone.wav", Code.MISSING),
        ("no_frames.wav", Code.EMPTY),
        ("noise.flac", Code.NOT_AUDIO),
        ("text.wav", Code.NOT_AUDIO),
        ("zero.wav", Code.EMPTY),
    ]
    (warning,) = caught
    assert str(warning.message).startswith(
        "6 of 9 files cannot be used (2 EMPTY, 1 MISSING, 3 NOT_AUDIO), first: folder.wav: "
    )
    assert str(warning.message).endswith("; see catalog.failures")
    assert "\n" not in str(warning.message)
    assert warning.filename == __file__


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can read everything"
)
def test_a_file_without_read_permission_is_a_failure(archive: Path) -> None:
    """Permissions have a code of their own."""
    (archive / "A" / "1.wav").chmod(0)

    with pytest.warns(HeadraceWarning, match="1 PERMISSION"):
        catalog = scan(archive)

    assert [one.code for one in catalog.failures] == [Code.PERMISSION]


def test_nothing_but_damaged_files_is_an_error(tmp_path: Path) -> None:
    """Instead of an empty catalog, there is an error that says why files cannot be used."""
    for number in range(5):
        (tmp_path / f"{number}.wav").touch()

    with pytest.raises(NoRecordingsError) as caught:
        scan(f"{tmp_path}/*.wav", cache=tmp_path / "c.parquet")

    assert str(caught.value) == (
        "None of the 5 files that match can be used: 0.wav: the file has 0 bytes [EMPTY]; "
        "1.wav: the file has 0 bytes [EMPTY]; 2.wav: the file has 0 bytes [EMPTY]; and 2 more."
    )
    assert not (tmp_path / "c.parquet").exists()


def test_a_second_scan_reads_no_header(archive: Path, probed: list[str]) -> None:
    """With a cache, unchanged files are not opened, and the catalog is the same."""
    cache = archive / "catalog.parquet"
    first = scan(archive, cache=cache)
    written = cache.stat().st_mtime_ns
    probed.clear()

    second = scan(archive, cache=cache)

    assert probed == []
    assert second.to_arrow().equals(first.to_arrow(), check_metadata=True)
    assert cache.stat().st_mtime_ns == written


def test_a_rescan_reads_new_and_changed_files_and_drops_deleted_ones(
    archive: Path, probed: list[str]
) -> None:
    """Size or time of change decides; the order is again that of a fresh scan."""
    cache = archive / "catalog.parquet"
    scan(archive, cache=cache)
    probed.clear()
    (archive / "B" / "3.flac").unlink()
    write_silence(archive / "A" / "0.wav", 50)
    write_silence(archive / "A" / "1.wav", 150)
    os.utime(archive / "A" / "2.WAV", ns=(0, 0))

    again = scan(archive, cache=cache)

    assert sorted(probed) == ["A/0.wav", "A/1.wav", "A/2.WAV"]
    assert list(again) == list(scan(archive))
    assert list(load_catalog(cache)) == list(again)


def test_a_rescan_keeps_the_users_columns(archive: Path) -> None:
    """Columns stay with their ids; new files have null."""
    cache = archive / "catalog.parquet"
    scan(archive).with_columns(site=lambda row: row.id[0], n=[1, 2, 3]).save(cache)
    write_silence(archive / "A" / "0.wav")
    write_silence(archive / "A" / "1.wav", 999)
    (archive / "A" / "2.WAV").unlink()

    again = scan(archive, cache=cache)

    expected = {
        "id": ["A/0.wav", "A/1.wav", "B/3.flac"],
        "site": [None, "A", "B"],
        "n": [None, 1, 3],
    }
    assert again.to_arrow().select(["id", "site", "n"]).to_pydict() == expected
    assert again[1].frames == 999
    assert load_catalog(cache).to_arrow().equals(again.to_arrow(), check_metadata=True)


def test_a_cache_of_other_patterns_is_used_by_path(archive: Path, probed: list[str]) -> None:
    """A file is known by its path, though its id is now relative to another folder."""
    cache = archive / "catalog.parquet"
    scan(archive).with_columns(n=[1, 2, 3]).save(cache)
    probed.clear()

    inner = scan(f"{archive}/A/*.wav", cache=cache)

    assert probed == []
    assert [one.id for one in inner] == ["1.wav", "2.WAV"]
    assert inner.column("n").tolist() == [1, 2]


def test_a_file_of_the_same_id_elsewhere_is_another_file(
    archive: Path, probed: list[str], tmp_path: Path
) -> None:
    """While the archive is still in its place, a copy in another folder is read."""
    cache = tmp_path / "catalog.parquet"
    scan(archive).with_columns(n=[1, 2, 3]).save(cache)
    shutil.copytree(archive, tmp_path / "twin")
    probed.clear()

    twin = scan(tmp_path / "twin", cache=cache)

    assert len(probed) == 3
    assert twin.to_arrow()["n"].to_pylist() == [None, None, None]


def test_an_archive_that_moved_is_known_by_its_ids(
    archive: Path, probed: list[str], tmp_path: Path
) -> None:
    """A move keeps sizes and times, so nothing is read; the paths are the new ones."""
    cache = tmp_path / "catalog.parquet"
    scan(archive).with_columns(n=[1, 2, 3]).save(cache)
    archive.rename(tmp_path / "moved")
    probed.clear()

    moved = scan(tmp_path / "moved", cache=cache)

    assert probed == []
    assert moved.column("n").tolist() == [1, 2, 3]
    assert moved[0].path == f"{tmp_path}/moved/A/1.wav"


def test_failed_files_are_read_again(archive: Path) -> None:
    """An unusable file is read in each scan, and its failure goes when it is repaired."""
    cache = archive / "catalog.parquet"
    (archive / "C.wav").touch()
    with pytest.warns(HeadraceWarning, match="1 of 4"):
        scan(archive, cache=cache)
    assert [one.file_id for one in load_catalog(cache).failures] == ["C.wav"]
    write_silence(archive / "C.wav")

    catalog = scan(archive, cache=cache)

    assert len(catalog) == 4
    assert catalog.failures == load_catalog(cache).failures == ()


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"PAR1 and then nothing that helps PAR1"])
def test_a_damaged_cache_is_renamed_with_a_warning(
    archive: Path, tmp_path: Path, damage: bytes
) -> None:
    """The scan goes on without it, and its bytes are kept, also the second time."""
    cache = tmp_path / "catalog.parquet"
    for number in (1, 2):
        cache.write_bytes(damage + bytes([number]) * bool(damage))

        with pytest.warns(HeadraceWarning, match=r"damaged: scan again.*damaged-" + str(number)):
            catalog = scan(archive, cache=cache)

        assert list(load_catalog(cache)) == list(catalog)
        aside = cache.with_name(f"catalog.parquet.damaged-{number}")
        assert aside.read_bytes() == damage + bytes([number]) * bool(damage)


def test_a_truncated_cache_is_renamed(archive: Path, tmp_path: Path) -> None:
    """Half a Parquet file is a damaged one."""
    cache = tmp_path / "catalog.parquet"
    scan(archive, cache=cache)
    cache.write_bytes(cache.read_bytes()[:500])

    with pytest.warns(HeadraceWarning, match="damaged"):
        assert len(scan(archive, cache=cache)) == 3


def test_a_cache_that_is_something_else_is_refused(archive: Path, tmp_path: Path) -> None:
    """Neither a recording nor another table is ever overwritten."""
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"id": ["A/1.wav"]}), other)
    before = other.read_bytes()

    with pytest.raises(CatalogError, match="not a catalog"):
        scan(archive, cache=archive / "A" / "1.wav")
    with pytest.raises(CatalogError, match="Parquet file, but not one"):
        scan(archive, cache=other)

    assert len(scan(archive)) == 3
    assert other.read_bytes() == before


def test_a_cache_in_a_missing_folder_is_refused_at_once(archive: Path, probed: list[str]) -> None:
    """A typo is reported before the scan, not after it."""
    with pytest.raises(CatalogError, match="there is no folder"):
        scan(archive, cache=archive / "typo" / "catalog.parquet")

    assert probed == []


def test_an_interrupted_scan_leaves_the_cache_as_it_was(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is replaced at the end, or not at all."""
    cache = archive / "catalog.parquet"
    scan(archive, cache=cache)
    before = cache.read_bytes()
    write_silence(archive / "new.wav")

    def interrupt(*_: object) -> Recording:
        raise KeyboardInterrupt

    monkeypatch.setattr(headers, "probe", interrupt)
    with pytest.raises(KeyboardInterrupt):
        scan(archive, cache=cache)

    assert cache.read_bytes() == before
    assert not list(archive.glob(".*"))


def test_the_size_of_chunks_does_not_matter(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings are put into tables some at a time, which changes nothing."""
    monkeypatch.setattr("headrace.catalog._table.ROWS_AT_ONCE", 2)

    catalog = scan(archive, cache=tmp_path / "c.parquet")

    assert [one.id for one in catalog] == ["A/1.wav", "A/2.WAV", "B/3.flac"]
    assert catalog[2] == list(catalog)[2]
    assert catalog.fingerprint == load_catalog(tmp_path / "c.parquet").fingerprint


@pytest.mark.skipif(not REAL.is_dir(), reason="there are no real recordings")
def test_real_recordings_are_all_accounted_for() -> None:
    """Upper-case names are found, and the file without frames is a failure."""
    with pytest.warns(HeadraceWarning, match=r"1 of 60 .* field/empty_2c\.wav"):
        catalog = scan(f"{REAL}/**/*.wav")

    ids = {one.id for one in catalog}
    assert "field/242A2604603691DD_20250503_031300.WAV" in ids
    assert [(one.file_id, one.code) for one in catalog.failures] == [
        ("field/empty_2c.wav", Code.EMPTY)
    ]
    assert len(catalog.filter(lambda row: row.id.startswith("indices/"))) == 48


def test_a_scan_without_damage_does_not_warn(archive: Path) -> None:
    """A scan returns a catalog."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(scan(archive), Catalog)
