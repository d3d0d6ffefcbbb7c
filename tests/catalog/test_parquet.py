from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.catalog._catalog import Catalog, load_catalog
from headrace.codecs._recording import MAX_FRAMES, MAX_SAMPLE_RATE, Recording
from headrace.errors import CatalogError, NoRecordingsError
from headrace.failures import Code, Failure
from tests.support.catalog_tables import table, three_recordings


@pytest.fixture
def catalog() -> Catalog:
    """Return three recordings, with a root and two failures."""
    return three_recordings()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


class TestDisk:
    @given(
        rows=st.dictionaries(
            TEXT,
            st.tuples(
                st.integers(1, MAX_SAMPLE_RATE),
                st.integers(1, 64),
                st.integers(1, MAX_FRAMES),
                st.none() | TEXT,
                st.none() | st.floats(allow_nan=False),
            ),
            max_size=8,
        ),
        failures=st.lists(
            st.builds(
                Failure, TEXT, TEXT, st.sampled_from(Code), TEXT, st.floats(0, 9), st.floats(10, 99)
            ),
            max_size=3,
        ),
    )
    @settings(deadline=None, max_examples=60)
    def test_what_is_saved_is_loaded(self, rows: dict[str, Any], failures: list[Failure]) -> None:
        """Recordings, further columns, root, failures and fingerprint are unchanged."""
        values = list(rows.values())
        source = pa.table(
            {
                "id": pa.array(list(rows), pa.string()),
                "sample_rate": pa.array([row[0] for row in values], pa.int64()),
                "channels": pa.array([row[1] for row in values], pa.int64()),
                "frames": pa.array([row[2] for row in values], pa.int64()),
                "format": pa.array(["WAV"] * len(rows), pa.string()),
                "subtype": pa.array(["PCM_16"] * len(rows), pa.string()),
                "text": pa.array([row[3] for row in values], pa.string()),
                "number": pa.array([row[4] for row in values], pa.float64()),
            }
        )
        catalog = Catalog(Catalog.from_table(source, root="/r")._table, "/r", tuple(failures))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "c.parquet"
            catalog.save(file)
            loaded = load_catalog(file)

        assert loaded.to_arrow().equals(catalog.to_arrow(), check_metadata=True)
        assert loaded.failures == catalog.failures
        assert loaded.fingerprint == catalog.fingerprint

    def test_a_new_root_changes_only_the_paths(self, catalog: Catalog, tmp_path: Path) -> None:
        """Every path moves, also those of failures; the fingerprint stays."""
        catalog.with_columns(n=[1, 2, 3]).save(tmp_path / "c.parquet")

        moved = load_catalog(tmp_path / "c.parquet", root=tmp_path)

        assert moved.root == str(tmp_path)
        assert [one.path for one in moved] == [f"{tmp_path}/{one.id}" for one in catalog]
        assert moved.failures[0].path == f"{tmp_path}/d.wav"
        assert moved.column("n").tolist() == [1, 2, 3]
        assert moved.columns == (*catalog.columns, "n")
        assert moved.fingerprint == catalog.fingerprint

    def test_several_row_groups_are_one_catalog(
        self, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file is written and read in pieces, which changes nothing."""
        monkeypatch.setattr("headrace.catalog._parquet._ROW_GROUP", 2)
        catalog.save(tmp_path / "c.parquet")

        assert pq.ParquetFile(tmp_path / "c.parquet").num_row_groups == 2
        assert list(load_catalog(tmp_path / "c.parquet")) == list(catalog)

    def test_saving_replaces_the_file_and_leaves_no_other(
        self, catalog: Catalog, tmp_path: Path
    ) -> None:
        """The new file replaces the old one, also behind a link."""
        catalog.save(tmp_path / "c.parquet")
        (tmp_path / "link.parquet").symlink_to("c.parquet")

        catalog[:1].save(tmp_path / "link.parquet")

        assert len(load_catalog(tmp_path / "c.parquet")) == 1
        assert sorted(one.name for one in tmp_path.iterdir()) == ["c.parquet", "link.parquet"]

    @pytest.mark.parametrize(
        "step", ["pyarrow.parquet.write_table", "os.fsync", "pathlib.Path.replace"]
    )
    def test_a_save_that_fails_leaves_the_old_file(
        self, catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        """The old file is complete, and there is no other file."""
        catalog.save(tmp_path / "c.parquet")
        before = (tmp_path / "c.parquet").read_bytes()

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(step, fail)
        with pytest.raises(OSError, match="No space left"):
            catalog[:1].save(tmp_path / "c.parquet")

        assert (tmp_path / "c.parquet").read_bytes() == before
        assert [one.name for one in tmp_path.iterdir()] == ["c.parquet"]

    def test_a_column_that_parquet_does_not_support_is_an_error(
        self, catalog: Catalog, tmp_path: Path
    ) -> None:
        """No file is left behind."""
        union = pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [pa.array([1, 2, 3])])

        with pytest.raises(CatalogError, match=r"cannot be saved.*Change the type of that column"):
            catalog.with_columns(odd=union).save(tmp_path / "c.parquet")

        assert not list(tmp_path.iterdir())

    def test_saving_into_a_missing_folder_is_an_error(
        self, catalog: Catalog, tmp_path: Path
    ) -> None:
        """The message names the folder."""
        with pytest.raises(CatalogError, match=r"there is no folder '.*/typo'"):
            catalog.save(tmp_path / "typo" / "c.parquet")

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        """The message says how to create it."""
        with pytest.raises(NoRecordingsError, match=r"no catalog '.*c\.parquet': make one"):
            load_catalog(tmp_path / "c.parquet")
        with pytest.raises(CatalogError, match="is a folder"):
            load_catalog(tmp_path)

    @pytest.mark.parametrize("keep", [0, 4, 100, -1])
    def test_a_damaged_file_is_an_error(self, catalog: Catalog, tmp_path: Path, keep: int) -> None:
        """It does not matter where the file ends."""
        file = tmp_path / "c.parquet"
        catalog.save(file)
        file.write_bytes(file.read_bytes()[:keep])

        with pytest.raises(CatalogError, match=r"c\.parquet' is damaged: scan again"):
            load_catalog(file)

    @pytest.mark.parametrize(
        "error",
        [
            OSError(5, "Input/output error"),
            OSError(116, "Stale file handle"),
            PermissionError(13, "Permission denied"),
            MemoryError("no room"),
            pa.ArrowMemoryError("no room"),
        ],
    )
    def test_an_error_of_the_system_is_not_damage(
        self,
        catalog: Catalog,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        """The error is raised as it is: a good cache must not be renamed as damaged."""

        def fail(*_: Any, **__: Any) -> None:
            raise error

        catalog.save(tmp_path / "c.parquet")
        monkeypatch.setattr(pq.ParquetFile, "read_row_group", fail)

        with pytest.raises(type(error)) as raised:
            load_catalog(tmp_path / "c.parquet")

        assert raised.value is error

    def test_another_table_is_an_error(self, tmp_path: Path) -> None:
        """The message says how to make a catalog of such a table."""
        pq.write_table(table(), tmp_path / "other.parquet")
        (tmp_path / "text.parquet").write_text("id,path")

        with pytest.raises(CatalogError, match=r"Catalog\.from_table"):
            load_catalog(tmp_path / "other.parquet")
        with pytest.raises(CatalogError, match="nor any Parquet file"):
            load_catalog(tmp_path / "text.parquet")

    @pytest.mark.parametrize(
        ("told", "message"),
        [
            (b'{"layout": 2}', "a later version of headrace wrote it .*upgrade"),
            (b"{", "metadata cannot be parsed"),
            (b'{"layout": 1}', "metadata cannot be parsed"),
            (b'{"layout": 1, "root": "", "failures": [{"code": "?"}]}', "cannot be parsed"),
        ],
    )
    def test_unknown_metadata_is_an_error(self, tmp_path: Path, told: bytes, message: str) -> None:
        """Later layouts and nonsense have different messages."""
        odd = table().replace_schema_metadata({b"headrace": told})
        pq.write_table(odd, tmp_path / "c.parquet")

        with pytest.raises(CatalogError, match=message):
            load_catalog(tmp_path / "c.parquet")


def saved_by(version: str, folder: Path) -> Path:
    """Write a catalog as this version did, without headrace's code."""
    columns: dict[str, pa.Array] = {
        "id": pa.array(["S1/a.wav", "S1/b.mp3"]),
        "path": pa.array(["/data/S1/a.wav", "/data/S1/b.mp3"]),
        "sample_rate": pa.array([16_000, 22_050], pa.int32()),
        "channels": pa.array([1, 2], pa.int32()),
        "frames": pa.array([48_000, 2_646_000]),
        "format": pa.array(["WAV", "MP3"]),
        "subtype": pa.array(["PCM_16", "MPEG_LAYER_III"]),
        "size": pa.array([96_044, 961_297]),
        "mtime_ns": pa.array([1_700_000_000_123_456_789, 1_700_000_000_000_000_000]),
    }
    if version == "0.1":
        columns["seek_points"] = pa.array([None, b"\x01\x02"], pa.large_binary())
    columns["declared_frames"] = pa.array([48_000, None], pa.int64())
    columns["site"] = pa.array(["A", None])
    metadata = (
        '{"layout": 1, "root": "/data", "failures": ['
        '{"file_id": "c.wav", "path": "/data/c.wav", "code": "EMPTY", '
        '"message": "the file has 0 bytes"}, '
        '{"file_id": "S1/a.wav", "path": "/data/S1/a.wav", "code": "TRUNCATED", '
        '"message": "cut", "start_s": 1.5, "stop_s": 3.0}]}'
    )
    whole = pa.table(columns).replace_schema_metadata({"headrace": metadata})
    pq.write_table(whole, folder / "c.parquet", compression="zstd")
    return folder / "c.parquet"


@pytest.mark.parametrize("version", ["0.1 before MP3 had seek points", "0.1"])
def test_a_catalog_of_an_earlier_version_is_loaded(tmp_path: Path, version: str) -> None:
    """All recordings, further columns and failures are read, and saving keeps the fingerprint."""
    catalog = load_catalog(saved_by(version, tmp_path))

    assert list(catalog) == [
        Recording(
            "S1/a.wav", "/data/S1/a.wav", 16_000, 1, 48_000, "WAV", "PCM_16",
            96_044, 1_700_000_000_123_456_789,
        ),
        Recording(
            "S1/b.mp3", "/data/S1/b.mp3", 22_050, 2, 2_646_000, "MP3", "MPEG_LAYER_III",
            961_297, 1_700_000_000_000_000_000,
        ),
    ]  # fmt: skip
    assert catalog[1].seek_points == (b"\x01\x02" if version == "0.1" else None)
    assert catalog.columns[-2:] == ("declared_frames", "site")
    assert catalog.to_arrow()["site"].to_pylist() == ["A", None]
    assert catalog.root == "/data"
    assert catalog.failures == (
        Failure("c.wav", "/data/c.wav", Code.EMPTY, "the file has 0 bytes"),
        Failure("S1/a.wav", "/data/S1/a.wav", Code.TRUNCATED, "cut", start_s=1.5, stop_s=3.0),
    )
    assert catalog.fingerprint == "5343acaa1d1ca22fde5227bc65bfad0d"

    catalog.save(tmp_path / "again.parquet")
    again = load_catalog(tmp_path / "again.parquet")
    assert again.to_arrow().equals(catalog.to_arrow(), check_metadata=True)
