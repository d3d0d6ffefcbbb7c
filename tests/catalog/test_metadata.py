"""Scans with metadata: from files, tars and buckets, with a cache, and for existing catalogs."""

from __future__ import annotations

import tarfile
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

import headrace
from headrace import Catalog, HeadraceWarning, load_catalog, scan
from headrace.catalog import _metadata
from headrace.catalog._metadata import METADATA
from headrace.failures import Code, DecodeError
from headrace.metadata import read_facts
from tests.support.object_server import ObjectServer
from tests.support.recorder_files import (
    audiomoth_wav,
    bext_chunk,
    chunk,
    recorder_wav,
    wamd_chunk,
)

if TYPE_CHECKING:
    from pathlib import Path

    from headrace.storage import Place

GUANO = (
    b"GUANO|Version:1.0\nModel:AudioMoth\nSerial:24AA\nTimestamp:2025-05-03T03:13:00Z\n"
    b"Loc Position:52.5 4.25\nTemperature Int:13.1\nOAD|Recording Settings:48000 GAIN 2"
)
COMMENT = "Recorded at 03:13:00 03/05/2025 (UTC+2) by AudioMoth 24F3190361DA3578 at high gain"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a recording of each source; times without a zone are in Berlin's."""
    files = {
        "a/guano_20250503_051300.wav": recorder_wav(after=[chunk(b"guan", GUANO)], frames=50_000),
        "a/moth.WAV": audiomoth_wav(COMMENT, behind=True),
        "b/wamd.wav": recorder_wav([wamd_chunk({1: "SM4", 2: "S4A1", 5: "2019-05-22 22:30:00"})]),
        "b/bext.wav": recorder_wav([bext_chunk("F8", "2023-01-30", "04:59:58")]),
        "c/S4A03895_20190522_223000.wav": recorder_wav(),
        "c/none.wav": recorder_wav(),
    }
    for name, content in files.items():
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "archive" / name).write_bytes(content)
    soundfile.write(tmp_path / "archive/c/20190101_120000.flac", np.zeros(90), 8_000)
    return tmp_path / "archive"


def metadata_of(catalog: Catalog) -> dict[str, list[Any]]:
    """Return the columns of metadata of each recording, by the end of its name."""
    table = catalog.to_arrow()
    names = [one.rpartition("/")[2] for one in table["id"].to_pylist()]
    rows = table.select([*METADATA]).to_pylist()
    return {name: [*row.values()] for name, row in zip(names, rows, strict=True)}


def utc(*parts: int) -> datetime:
    """Return a time in UTC."""
    year, month, day, hour, minute, second = parts
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


EXPECTED: dict[str, list[Any]] = {
    "20190101_120000.flac": [utc(2019, 1, 1, 11, 0, 0), "name", None, None, None, None, None, None],
    "S4A03895_20190522_223000.wav": [
        *(utc(2019, 5, 22, 20, 30, 0), "name", None, None, "SM4 S4A03895", None, None, None)
    ],
    "bext.wav": [utc(2023, 1, 30, 3, 59, 58), "bext", None, None, "F8", None, None, None],
    "guano_20250503_051300.wav": [
        *(utc(2025, 5, 3, 3, 13, 0), "guano", 52.5, 4.25, "AudioMoth 24AA", "medium", 13.1, None)
    ],
    "moth.WAV": [
        *(utc(2025, 5, 3, 1, 13, 0), "audiomoth", None, None, "AudioMoth 24F3190361DA3578"),
        *("high", None, None),
    ],
    "none.wav": [None, None, None, None, None, None, None, None],
    "wamd.wav": [utc(2019, 5, 22, 20, 30, 0), "wamd", None, None, "SM4 S4A1", None, None, None],
}


def scan_quietly(patterns: object, **options: object) -> Catalog:
    """Scan with metadata in Berlin's time, without the warnings, which other tests look at."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadraceWarning)
        return scan(patterns, **{"metadata": True, "tz": "Europe/Berlin", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 3])
def test_a_scan_reads_metadata(folder: Path, workers: int) -> None:
    """Every source is read, its times are in UTC, and the catalog is otherwise the same."""
    with pytest.warns(
        HeadraceWarning, match=r"no time in header and name of 1 recording \(the first: c/none.wav"
    ):
        catalog = scan(folder, metadata=True, tz="Europe/Berlin", workers=workers)
    assert metadata_of(catalog) == EXPECTED
    plain = scan(folder)
    assert plain.to_arrow().equals(catalog.to_arrow().select(plain.columns))
    assert plain.fingerprint == catalog.fingerprint
    assert catalog.to_arrow().schema.field("recorded_at").type == pa.timestamp("us", "UTC")


def test_a_catalog_gets_metadata(folder: Path, tmp_path: Path) -> None:
    """`with_metadata` adds what `scan` adds, and the columns are saved."""
    with pytest.warns(HeadraceWarning, match="no time in header"):
        catalog = scan(folder).with_columns(site=["x"] * 7).with_metadata(tz="Europe/Berlin")
    assert metadata_of(catalog) == EXPECTED
    assert catalog.column("site").tolist() == ["x"] * 7
    catalog.save(tmp_path / "catalog.parquet")
    assert metadata_of(load_catalog(tmp_path / "catalog.parquet")) == EXPECTED
    assert len(scan(folder)[:0].with_metadata()) == 0


def test_times_without_a_zone_are_reported(folder: Path) -> None:
    """Without tz=, they are null, and the warning says how many and what to write."""
    with pytest.warns(HeadraceWarning, match=r"time of 4 recordings names no zone.* give tz="):
        catalog = scan(folder, metadata=True)
    known = {name: row[0] for name, row in metadata_of(catalog).items() if row[0]}
    assert known == {name: EXPECTED[name][0] for name in ("guano_20250503_051300.wav", "moth.WAV")}


def test_sources_that_disagree_are_reported(folder: Path) -> None:
    """The first source is taken, and a column has what the others say."""
    (folder / "a/guano_20250503_051300.wav").rename(folder / "a/guano_20250503_041300.wav")
    with pytest.warns(HeadraceWarning, match=r"The sources of 1 recording disagree"):
        catalog = scan(folder, metadata=True, tz="Europe/Berlin")
    row = metadata_of(catalog)["guano_20250503_041300.wav"]
    assert row[:2] == [utc(2025, 5, 3, 3, 13, 0), "guano"]
    assert row[-1] == "time: guano 2025-05-03 03:13:00+00:00, name 2025-05-03 04:13:00"


def test_times_at_which_clocks_change_are_reported(tmp_path: Path) -> None:
    """An hour that occurs twice is the first one, unless the zone is an offset."""
    (tmp_path / "x_20241027_023000.wav").write_bytes(recorder_wav())
    with pytest.warns(HeadraceWarning, match=r"occurs twice or never.*00:30:00 UTC, occurs twice"):
        catalog = scan(tmp_path, metadata=True, tz="Europe/Berlin")
    assert metadata_of(catalog)["x_20241027_023000.wav"][0] == utc(2024, 10, 27, 0, 30, 0)
    catalog = scan(tmp_path, metadata=True, tz="+01:00")
    assert metadata_of(catalog)["x_20241027_023000.wav"][0] == utc(2024, 10, 27, 1, 30, 0)


def test_a_time_pattern_replaces_the_usual_names(tmp_path: Path) -> None:
    """The expression is searched in the id, so that folders count, too."""
    (tmp_path / "2024-05-01").mkdir()
    (tmp_path / "2024-05-01" / "at_0730.wav").write_bytes(recorder_wav())
    (tmp_path / "20190522_223000.wav").write_bytes(recorder_wav())
    pattern = r"(?P<date>\d{4}-\d\d-\d\d)/at_(?P<time>\d{4})"
    with pytest.warns(HeadraceWarning, match="no time in header and name of 1 recording"):
        catalog = scan(tmp_path, metadata=True, tz="UTC", time_pattern=pattern)
    assert metadata_of(catalog)["at_0730.wav"][:2] == [utc(2024, 5, 1, 7, 30, 0), "name"]


def test_wrong_arguments_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    """A zone that does not exist, a pattern without groups, and tz= without metadata."""
    with pytest.raises(ValueError, match="tz='Berlin' is not a time zone"):
        scan(tmp_path / "missing", metadata=True, tz="Berlin")
    with pytest.raises(ValueError, match="it needs date and time"):
        scan(tmp_path / "missing", metadata=True, time_pattern="x")
    with pytest.raises(ValueError, match="give metadata=True, too"):
        scan(tmp_path / "missing", tz="UTC")


def test_a_cache_keeps_metadata(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers of unchanged files are read once; a changed option reads all of them again."""
    read: list[str] = []
    original = read_facts

    def counted(place: Place) -> object:
        read.append(place.path)
        return original(place)

    monkeypatch.setattr(_metadata, "read_facts", counted)
    cache = tmp_path / "cache.parquet"
    scan_quietly(folder, cache=cache)
    assert len(read) == 7
    read.clear()
    assert metadata_of(scan_quietly(folder, cache=cache)) == EXPECTED
    assert read == []
    (folder / "c/new_20240101_000000.wav").write_bytes(recorder_wav())
    catalog = scan_quietly(folder, cache=cache)
    assert [one.rpartition("/")[2] for one in read] == ["new_20240101_000000.wav"]
    assert metadata_of(catalog)["new_20240101_000000.wav"][0] == utc(2023, 12, 31, 23, 0, 0)
    assert metadata_of(catalog).items() > EXPECTED.items()
    read.clear()
    catalog = scan_quietly(folder, cache=cache, tz="UTC")
    assert len(read) == 8
    assert metadata_of(catalog)["S4A03895_20190522_223000.wav"][0] == utc(2019, 5, 22, 22, 30, 0)
    read.clear()
    catalog = scan_quietly(folder, cache=cache, metadata=False, tz=None)
    assert catalog.columns[-len(METADATA) :] == tuple(METADATA)
    assert read == []
    (folder / "c/later_20240101_000000.wav").write_bytes(recorder_wav())
    scan(folder, cache=cache)  # gives the new file no metadata
    catalog = scan_quietly(folder, cache=cache, tz="UTC")
    assert metadata_of(catalog)["later_20240101_000000.wav"][0] == utc(2024, 1, 1, 0, 0, 0)


def test_a_cache_without_metadata_gets_them(folder: Path, tmp_path: Path) -> None:
    """Headers are read again, and the user's columns are kept."""
    cache = tmp_path / "cache.parquet"
    scan(folder, cache=cache).with_columns(site=list("abcdefg")).save(cache)
    catalog = scan_quietly(folder, cache=cache)
    assert metadata_of(catalog) == EXPECTED
    assert catalog.column("site").tolist() == list("abcdefg")
    assert metadata_of(load_catalog(cache)) == EXPECTED


def test_metadata_stay_with_verified_recordings(folder: Path, tmp_path: Path) -> None:
    """A scan that decodes keeps them, with and without a cache."""
    cache = tmp_path / "cache.parquet"
    for _ in range(2):
        assert metadata_of(scan_quietly(folder, cache=cache, verify="decode")) == EXPECTED


def test_members_of_tars_have_metadata(folder: Path, tmp_path: Path) -> None:
    """Chunks behind the samples of a member are those of that member."""
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for path in sorted(folder.rglob("*.*")):
            tar.add(path, path.relative_to(folder).as_posix())
    assert metadata_of(scan_quietly(tmp_path / "shard.tar")) == EXPECTED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadraceWarning)
        again = scan(tmp_path / "shard.tar").with_metadata(tz="Europe/Berlin")
    assert metadata_of(again) == EXPECTED


def test_objects_of_a_bucket_have_metadata(folder: Path) -> None:
    """The scan makes the same requests as one without metadata."""
    with ObjectServer() as server:
        server.add_folder(folder, "data/")
        scan("s3://bucket/data/", store=server.options)
        plain = {(one.key, one.start, one.stop) for one in server.requests}
        server.requests.clear()
        catalog = scan_quietly("s3://bucket/data/", store=server.options)
        assert metadata_of(catalog) == EXPECTED
        assert {(one.key, one.start, one.stop) for one in server.requests} == plain
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HeadraceWarning)
            again = scan("s3://bucket/data/", store=server.options).with_metadata(
                tz="Europe/Berlin"
            )
        assert metadata_of(again) == EXPECTED


def test_a_table_of_recordings_gets_metadata(folder: Path) -> None:
    """Values of a table in memory have headers as files have."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    values = [{"bytes": (folder / name).read_bytes(), "path": name} for name in names]
    catalog = headrace.from_table(pa.table({"audio": values}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeadraceWarning)
        assert metadata_of(catalog.with_metadata(tz="Europe/Berlin")) == EXPECTED


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), DecodeError(Code.IO, "the store is gone")]
)
def test_a_header_that_cannot_be_read_is_reported(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The recording stays, with what its name says."""
    original = read_facts

    def failing(place: Place) -> object:
        if place.path.endswith("moth.WAV"):
            raise error
        return original(place)

    monkeypatch.setattr(_metadata, "read_facts", failing)
    with pytest.warns(HeadraceWarning, match=r"headers of 1 recording cannot be read .*moth.WAV"):
        catalog = scan(folder, metadata=True, tz="Europe/Berlin")
    assert metadata_of(catalog)["moth.WAV"] == [None] * 8
    assert metadata_of(catalog).keys() == EXPECTED.keys()


def test_what_an_interrupted_scan_has_read_is_kept(tmp_path: Path) -> None:
    """The next scan of a store reads only the rest, metadata and all."""
    cache = tmp_path / "cache.parquet"
    names = [f"x_20240101_0000{number:02}.wav" for number in range(20)]
    with ObjectServer() as server:
        server.add({name: recorder_wav() for name in names})
        with pytest.MonkeyPatch.context() as patch:

            def interrupted(place: Place) -> object:
                if place.path.endswith(names[-1]):
                    raise KeyboardInterrupt
                return read_facts(place)

            patch.setattr(_metadata, "read_facts", interrupted)
            with pytest.raises(KeyboardInterrupt):
                scan("s3://bucket/", metadata=True, tz="UTC", cache=cache, store=server.options)
        server.requests.clear()
        catalog = scan("s3://bucket/", metadata=True, tz="UTC", cache=cache, store=server.options)
    seconds = [row[0].second for row in metadata_of(catalog).values()]
    assert seconds == list(range(20))
    assert names[-1] in {request.key for request in server.requests}
    assert len(server.requests) < 20


def test_many_recordings_are_taken_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are Python objects at once, each has its own metadata."""
    for number in range(50):
        (tmp_path / f"x_20240101_0000{number:02}.wav").write_bytes(recorder_wav(frames=10))
    monkeypatch.setattr(_metadata, "ROWS_AT_ONCE", 33)
    monkeypatch.setattr("headrace.catalog._table.ROWS_AT_ONCE", 33)
    for catalog in (
        scan(tmp_path, metadata=True, tz="UTC"),
        scan(tmp_path).with_metadata(tz="UTC"),
    ):
        seconds = [row[0].second for row in metadata_of(catalog).values()]
        assert seconds == list(range(50))
