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
from headrace.codecs._recording import MAX_FRAMES, MAX_SAMPLE_RATE
from headrace.errors import CatalogError, NoRecordingsError
from headrace.failures import Code, Failure
from tests.support.catalog_tables import table, three


@pytest.fixture
def catalog() -> Catalog:
    """Return three recordings, with a root and two failures."""
    return three()


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
        """Recordings, further columns, root, failures and fingerprint come back as they were."""
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

    def test_a_catalog_with_a_new_root_is_elsewhere_and_the_same(
        self, catalog: Catalog, tmp_path: Path
    ) -> None:
        """Every path moves, of failures too; the fingerprint stays."""
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
        """A file is written and read in pieces, which shows nowhere."""
        monkeypatch.setattr("headrace.catalog._parquet._ROW_GROUP", 2)
        catalog.save(tmp_path / "c.parquet")

        assert pq.ParquetFile(tmp_path / "c.parquet").num_row_groups == 2
        assert list(load_catalog(tmp_path / "c.parquet")) == list(catalog)

    def test_saving_replaces_and_leaves_nothing_else(
        self, catalog: Catalog, tmp_path: Path
    ) -> None:
        """The new file stands in the place of the old one, behind a link too."""
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
        """Whole, and nothing beside it."""
        catalog.save(tmp_path / "c.parquet")
        before = (tmp_path / "c.parquet").read_bytes()

        def fail(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(step, fail)
        with pytest.raises(OSError, match="No space left"):
            catalog[:1].save(tmp_path / "c.parquet")

        assert (tmp_path / "c.parquet").read_bytes() == before
        assert [one.name for one in tmp_path.iterdir()] == ["c.parquet"]

    def test_a_column_that_parquet_does_not_know_is_an_error(
        self, catalog: Catalog, tmp_path: Path
    ) -> None:
        """Nothing is left behind."""
        union = pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [pa.array([1, 2, 3])])

        with pytest.raises(CatalogError, match=r"cannot be saved.*Change the type of that column"):
            catalog.with_columns(odd=union).save(tmp_path / "c.parquet")

        assert not list(tmp_path.iterdir())

    def test_saving_into_no_folder_is_an_error(self, catalog: Catalog, tmp_path: Path) -> None:
        """The folder is named."""
        with pytest.raises(CatalogError, match=r"there is no folder '.*/typo'"):
            catalog.save(tmp_path / "typo" / "c.parquet")

    def test_no_file_is_an_error(self, tmp_path: Path) -> None:
        """One that says how to make it."""
        with pytest.raises(NoRecordingsError, match=r"no catalog '.*c\.parquet': make one"):
            load_catalog(tmp_path / "c.parquet")
        with pytest.raises(CatalogError, match="is a folder"):
            load_catalog(tmp_path)

    @pytest.mark.parametrize("keep", [0, 4, 100, -1])
    def test_a_damaged_file_is_an_error(self, catalog: Catalog, tmp_path: Path, keep: int) -> None:
        """Wherever it ends."""
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
    def test_a_system_that_fails_says_nothing_about_the_file(
        self,
        catalog: Catalog,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
    ) -> None:
        """The error is what it is: a cache that is whole must not be put aside as damaged."""

        def fail(*_: Any, **__: Any) -> None:
            raise error

        catalog.save(tmp_path / "c.parquet")
        monkeypatch.setattr(pq.ParquetFile, "read_row_group", fail)

        with pytest.raises(type(error)) as raised:
            load_catalog(tmp_path / "c.parquet")

        assert raised.value is error

    def test_another_table_is_an_error(self, tmp_path: Path) -> None:
        """One that says where such tables go."""
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
    def test_metadata_that_is_not_ours_is_an_error(
        self, tmp_path: Path, told: bytes, message: str
    ) -> None:
        """Later layouts and nonsense are told apart."""
        odd = table().replace_schema_metadata({b"headrace": told})
        pq.write_table(odd, tmp_path / "c.parquet")

        with pytest.raises(CatalogError, match=message):
            load_catalog(tmp_path / "c.parquet")
