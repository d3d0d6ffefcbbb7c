from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.catalog._catalog import Catalog
from headrace.errors import CatalogError
from tests.support.catalog_tables import FAILURES, columns, table, three_recordings


@pytest.fixture
def catalog() -> Catalog:
    """Return three recordings, with a root and two failures."""
    return three_recordings()


class TestFromTable:
    def test_pandas_and_arrow_give_the_same(self) -> None:
        """The type of the table does not matter."""
        arrow = Catalog.from_table(table(site=["A", None, "B"]))
        pandas = Catalog.from_table(pd.DataFrame(columns(site=["A", None, "B"])))

        assert list(arrow) == list(pandas)
        assert arrow.column("site").tolist() == pandas.column("site").tolist() == ["A", None, "B"]

    def test_to_pandas_and_back_is_the_same(self, catalog: Catalog) -> None:
        """All columns survive a DataFrame."""
        again = Catalog.from_table(catalog.with_columns(n=[3, 1, 2]).to_pandas())

        assert list(again) == list(catalog)
        assert again.column("n").tolist() == [3, 1, 2]

    def test_to_arrow_and_back_keeps_root_and_failures(self, catalog: Catalog) -> None:
        """They are in the table's metadata."""
        again = Catalog.from_table(catalog.to_arrow())

        assert (again.root, again.failures) == ("/data", FAILURES)

    def test_sizes_and_times_may_be_unknown(self) -> None:
        """If missing or null, they are 0."""
        assert Catalog.from_table(table(size=None, mtime_ns=None))[0].size == 0
        assert Catalog.from_table(table(size=[None, 1, 2]))[0].size == 0

    def test_whole_numbers_of_other_types_are_accepted(self) -> None:
        """A DataFrame easily turns integers into floats."""
        assert Catalog.from_table(table(frames=[1.0, 2.0, 3.0])).frames.tolist() == [1, 2, 3]
        with pytest.raises(CatalogError, match="column frames cannot be of type int64"):
            Catalog.from_table(table(frames=[1.5, 2.0, 3.0]))
        with pytest.raises(CatalogError, match="column sample_rate cannot be of type int32"):
            Catalog.from_table(table(sample_rate=["much", "2", "3"]))

    def test_paths_are_made_of_root_and_id(self) -> None:
        """Root decides where the files are, whether or not the table has paths."""
        for one in (table(), table(path=None)):
            moved = Catalog.from_table(one, root="/else/where/")

            assert moved[2].path == "/else/where/c.wav"
            assert moved.root == "/else/where"
        assert Catalog.from_table(table(), root="/")[0].path == "/a.wav"

    @pytest.mark.parametrize(
        ("paths", "root", "ids", "found"),
        [
            (["/d/x/1", "/d/x/2", "/d/xy/3"], None, ["x/1", "x/2", "xy/3"], "/d"),
            (["/d/x/1"], None, ["1"], "/d/x"),
            (["/a", "/b"], None, ["a", "b"], "/"),
            (["x/1", "y/2"], None, ["x/1", "y/2"], ""),
            (["s/1", "s/2"], None, ["1", "2"], "s"),
            (["s/1", "s/1/2"], None, ["1", "1/2"], "s"),
            (["/é/ü/1", "/é/ä/2"], None, ["ü/1", "ä/2"], "/é"),
            (["/d/x/1", "/d/x/2"], "/d/", ["x/1", "x/2"], "/d"),
            (["d/x/1"], Path("d"), ["x/1"], "d"),
        ],
    )
    def test_ids_are_made_of_paths(
        self, paths: list[str], root: str | None, ids: list[str], found: str
    ) -> None:
        """They are relative to root, or to the common folder of all paths."""
        catalog = Catalog.from_table(table(len(paths), id=None, path=paths), root)

        assert [one.id for one in catalog] == ids
        assert [one.path for one in catalog] == paths
        assert catalog.root == found

    def test_a_path_outside_root_is_refused(self) -> None:
        """It would have no id."""
        with pytest.raises(CatalogError, match=r"'/data/a\.wav' lies outside root='/data/b'"):
            Catalog.from_table(table(id=None), root="/data/b")

    @pytest.mark.parametrize("name", ["sample_rate", "channels", "frames", "format", "subtype"])
    def test_a_missing_column_is_named(self, name: str) -> None:
        """The message lists the existing columns."""
        with pytest.raises(CatalogError, match=rf"no column {name}\. It has id, path, "):
            Catalog.from_table(table(**{name: None}))

    def test_neither_id_nor_path_nor_root_is_an_error(self) -> None:
        """A recording needs a path."""
        with pytest.raises(CatalogError, match=r"no column id \(or path\)"):
            Catalog.from_table(table(id=None, path=None))
        with pytest.raises(CatalogError, match="give the folder of the files as root="):
            Catalog.from_table(table(path=None))

    @pytest.mark.parametrize("name", ["sample_rate", "channels", "frames"])
    @pytest.mark.parametrize("value", [0, -5])
    def test_values_must_be_positive(self, name: str, value: int) -> None:
        """The message names the recording."""
        with pytest.raises(
            CatalogError, match=rf"'b\.wav' has {name}={value}: it must be positive"
        ):
            Catalog.from_table(table(**{name: [1, value, 1]}))

    @pytest.mark.parametrize("name", ["id", "path", "frames", "format"])
    def test_null_is_refused(self, name: str) -> None:
        """The message names the row."""
        values = [*columns()[name][:2], None]
        with pytest.raises(CatalogError, match=f"The column {name} has no value in row 2"):
            Catalog.from_table(table(**{name: values}))

    @pytest.mark.parametrize("ids", [["x", "y", "x"], ["x", "x", "y"], ["y", "x", "x"]])
    def test_a_repeated_id_is_refused_naming_both_files(self, ids: list[str]) -> None:
        """The order of the rows does not matter."""
        with pytest.raises(CatalogError) as caught:
            Catalog.from_table(table(id=ids))

        files = [path for path, one in zip(columns()["path"], ids, strict=True) if one == "x"]
        assert "Two recordings have the id 'x'" in str(caught.value)
        assert all(file in str(caught.value) for file in files)

    def test_unsorted_ids_keep_their_order(self) -> None:
        """Order is the user's where the user made the table."""
        assert [one.id for one in Catalog.from_table(table(id=["z", "x", "y"]))] == ["z", "x", "y"]

    def test_what_is_no_table_is_refused(self) -> None:
        """And two columns with one name."""
        with pytest.raises(CatalogError, match="not dict"):
            Catalog.from_table(columns())
        twice = table().append_column("id", pa.array(["x", "y", "z"]))
        with pytest.raises(CatalogError, match="two columns with one name"):
            Catalog.from_table(twice)


class TestFingerprint:
    def test_it_is_a_constant(self, catalog: Catalog) -> None:
        """It is the same on every machine and in every version: saved states depend on it."""
        digest = hashlib.blake2b(b"headrace catalog 1", digest_size=16)
        for number in (3, 5, 5, 5):
            digest.update(number.to_bytes(8, "little"))
        digest.update(b"a.wavb.wavc.wav")
        for number in (8000, 32_000, 72_000, 8000, 16_000, 24_000):
            digest.update(number.to_bytes(8, "little"))

        assert catalog.fingerprint == digest.hexdigest() == "e76673df24e7724e3217ce6d5e0905c3"

    def test_paths_and_times_are_not_in_it(self, catalog: Catalog) -> None:
        """Moving or copying an archive does not change it, nor do further columns."""
        moved = Catalog.from_table(table(mtime_ns=[1, 2, 3], size=[4, 5, 6]), root="/x")

        assert moved.with_columns(n=[1, 2, 3]).fingerprint == catalog.fingerprint

    @pytest.mark.parametrize(
        "changed",
        [
            {"id": ["a.wav", "b.wav", "d.wav"]},
            {"id": ["a.wavb", ".wav", "c.wav"]},
            {"frames": [8000, 32_000, 72_001]},
            {"sample_rate": [8000, 16_000, 24_001]},
        ],
    )
    def test_ids_frames_and_rates_are_in_it(
        self, catalog: Catalog, changed: dict[str, Any]
    ) -> None:
        """It changes even if only the border between two ids moves."""
        assert Catalog.from_table(table(**changed)).fingerprint != catalog.fingerprint

    def test_order_is_in_it(self, catalog: Catalog) -> None:
        """Windows are counted in the order of recordings."""
        assert catalog[::-1].fingerprint != catalog.fingerprint

    @given(cuts=st.lists(st.integers(0, 12), max_size=4).map(sorted), skip=st.integers(0, 5))
    @settings(deadline=None)
    def test_the_chunks_of_the_table_are_not_in_it(self, cuts: list[int], skip: int) -> None:
        """Slices, offsets, chunks and empty chunks do not change it."""
        plain = Catalog.from_table(table(12))
        padded = pa.concat_tables([table(12)[:skip], table(12)])[skip:]
        edges = [0, *cuts, 12]
        pieces = [padded[start:stop] for start, stop in pairwise(edges)]

        assert Catalog.from_table(pa.concat_tables(pieces)).fingerprint == plain.fingerprint
