from __future__ import annotations

import pickle
import runpy
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import scan
from headrace.catalog._catalog import Catalog
from headrace.codecs._recording import Recording
from headrace.errors import CatalogError, HeadraceWarning
from tests.support.catalog_tables import FAILURES, table, three_recordings
from tests.support.catalogs import fake_catalog
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from headrace.catalog._table import Row

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def catalog() -> Catalog:
    """Return three recordings, with a root and two failures."""
    return three_recordings()


class TestSequence:
    def test_an_index_gives_a_recording(self, catalog: Catalog) -> None:
        """Indices count from either end, and may be NumPy integers."""
        second = Recording(
            "b.wav", "/data/b.wav", 16_000, 2, 32_000, "WAV", "PCM_16", 45, 10**18 + 1
        )

        assert catalog[1] == catalog[-2] == catalog[np.int64(1)] == catalog.recording(1) == second
        assert second in catalog
        assert len(catalog) == 3

    @pytest.mark.parametrize("index", [3, -4])
    def test_an_index_beyond_the_ends_is_an_error(self, catalog: Catalog, index: int) -> None:
        """It is an IndexError, as for any sequence."""
        with pytest.raises(IndexError, match="the catalog has 3"):
            catalog[index]

    @given(slices=st.lists(st.slices(5), max_size=3))
    @settings(deadline=None)
    def test_a_slice_is_a_catalog_of_the_rows_of_a_list_slice(self, slices: list[slice]) -> None:
        """Slices of slices, with any step, keep rows, columns and fingerprint consistent."""
        view = Catalog.from_table(table(5, n=list(range(5))))
        rows = list(view)
        for one in slices:
            view, rows = view[one], rows[one]

        assert list(view) == rows == [view[row] for row in range(len(view))]
        assert view.frames.tolist() == [row.frames for row in rows]
        again = Catalog.from_table(
            pa.Table.from_pylist(view.to_arrow().to_pylist(), view._table.schema)
        )
        assert view.fingerprint == again.fingerprint

    def test_iterating_beyond_a_chunk_keeps_the_order(self) -> None:
        """Rows are created some thousands at a time, which changes nothing."""
        rows = 20_001
        ids = [f"{row:06}.wav" for row in range(rows)]
        many = Catalog.from_table(
            pa.table(
                {
                    "id": ids,
                    "sample_rate": np.full(rows, 8000),
                    "channels": np.full(rows, 1),
                    "frames": np.arange(1, rows + 1),
                    "format": ["WAV"] * rows,
                    "subtype": ["PCM_16"] * rows,
                }
            ),
            root="/r",
        )

        assert [one.id for one in many] == ids
        assert many.filter(lambda row: row.frames % 2 == 0).frames.tolist() == list(
            range(2, rows + 1, 2)
        )

    def test_numbers_are_int64_and_cannot_be_changed(self, catalog: Catalog) -> None:
        """Geometry is computed in int64, and a catalog is immutable."""
        for values in (catalog.frames, catalog.sample_rates, catalog.channels):
            assert values.dtype == np.int64
            with pytest.raises(ValueError, match="read-only"):
                values[0] = 7
        with pytest.raises(AttributeError):
            catalog.root = "/x"  # type: ignore[misc]
        assert catalog.sample_rates.tolist() == [8000, 16_000, 24_000]
        assert catalog.duration_s == 6.0

    def test_the_repr_describes_the_contents(self, catalog: Catalog) -> None:
        """It has files, hours, sample rates, formats, failures and further columns."""
        assert repr(catalog.with_columns(site=[1, 2, 3])) == (
            "<Catalog: 3 recordings; 0.00167 h; 8,000 Hz (1), 16,000 Hz (1), 24,000 Hz (1); "
            "WAV PCM_16; 2 failures; columns site; root '/data'>"
        )
        assert repr(catalog[:0]) == "<Catalog: 0 recordings; 0 h; 2 failures; root '/data'>"

    def test_a_pickle_of_a_view_is_as_small_as_the_view(self) -> None:
        """A slice does not carry the catalog that it is a slice of."""
        view = Catalog.from_table(table(5, note=["x" * 10_000] * 5))[2:3]

        pickled = pickle.dumps(view)

        assert len(pickled) < 15_000
        again = pickle.loads(pickled)
        assert again.to_arrow().equals(view.to_arrow(), check_metadata=True)

    def test_a_pickle_keeps_root_and_failures(self, catalog: Catalog) -> None:
        """Nothing is lost by pickling."""
        again = pickle.loads(pickle.dumps(catalog))

        assert (again.root, again.failures, list(again)) == ("/data", FAILURES, list(catalog))


class TestFilter:
    @pytest.mark.parametrize(
        "mask",
        [
            [True, False, True],
            np.array([True, False, True]),
            pa.array([True, None, True]),
            pa.chunked_array([[True], [False, True]]),
            pd.Series([True, False, True]),
            lambda row: row.id != "b.wav",
            lambda row: row["site"] == "A",
            lambda row: row["sample_rate"] != 16_000,
        ],
    )
    def test_masks_and_functions_keep_the_rows_that_are_true(
        self, catalog: Catalog, mask: Any
    ) -> None:
        """Any type of mask will do; the order, the root and the failures stay."""
        kept = catalog.with_columns(site=["A", "B", "A"]).filter(mask)

        assert [one.id for one in kept] == ["a.wav", "c.wav"]
        assert (kept.root, kept.failures) == (catalog.root, catalog.failures)

    def test_a_column_makes_a_mask(self, catalog: Catalog) -> None:
        """Comparing a column gives a mask."""
        sited = catalog.with_columns(site=["A", "B", None])

        assert [one.id for one in sited.filter(sited.column("site") == "B")] == ["b.wav"]
        assert len(sited.filter(pc.equal(sited.to_arrow()["site"], "A"))) == 1

    def test_a_function_is_given_recordings_with_columns(self, catalog: Catalog) -> None:
        """A row is a Recording that also has the further columns by name."""
        rows: list[Row] = []

        catalog.with_columns(site=["A", "B", None]).filter(rows.append)

        assert all(isinstance(row, Recording) for row in rows)
        assert [row["site"] for row in rows] == ["A", "B", None]
        assert [row.duration_s for row in rows] == [1.0, 2.0, 3.0]
        with pytest.raises(KeyError, match=r"no column 'sight': there are .*, site\."):
            rows[0]["sight"]

    def test_a_wrong_mask_is_refused(self, catalog: Catalog) -> None:
        """A mask of another length or not of bools is an error."""
        with pytest.raises(CatalogError, match="2 values for 3 recordings"):
            catalog.filter([True, False])
        with pytest.raises(CatalogError, match="a bool for each row, not int64"):
            catalog.filter([0, 2, 1])  # type: ignore[list-item]

    def test_an_empty_catalog_can_be_filtered(self, catalog: Catalog) -> None:
        """The result is empty."""
        assert len(catalog.filter(lambda _: False).filter([])) == 0


class TestWithColumns:
    @pytest.mark.parametrize(
        "site",
        [
            lambda row: {"a.wav": "A", "c.wav": "C"}.get(row.id),
            {"c.wav": "C", "a.wav": "A", "z.wav": "Z"},
            pa.table({"id": ["c.wav", "z.wav", "a.wav"], "site": ["C", "Z", "A"], "x": [1, 2, 3]}),
            pd.DataFrame({"id": ["c.wav", "a.wav"], "site": ["C", "A"]}),
            pd.DataFrame({"site": ["C", "A"]}, index=pd.Index(["c.wav", "a.wav"], name="id")),
            pa.table({"id": pa.array(["c.wav", "a.wav"]).dictionary_encode(), "site": ["C", "A"]}),
            ["A", None, "C"],
            np.array(["A", None, "C"], object),
            pa.array(["A", None, "C"]),
        ],
    )
    def test_values_come_from_functions_mappings_tables_and_arrays(
        self, catalog: Catalog, site: Any
    ) -> None:
        """Values with ids are joined on id: rows stay in order, and missing values are null."""
        sited = catalog.with_columns(site=site)

        assert sited.to_arrow()["site"].to_pylist() == ["A", None, "C"]
        assert list(sited) == list(catalog)
        assert sited.columns == (*catalog.columns, "site")
        assert (sited.root, sited.failures) == (catalog.root, catalog.failures)
        assert "site" not in catalog.columns

    def test_a_table_alone_adds_all_its_columns(self, catalog: Catalog) -> None:
        """They are joined on id."""
        more = catalog.with_columns(pd.DataFrame({"id": ["b.wav"], "x": [1], "y": ["é"]}))

        assert more.to_arrow()["x"].to_pylist() == [None, 1, None]
        assert more.to_arrow()["y"].to_pylist() == [None, "é", None]

    def test_a_function_sees_the_columns_before_it(self, catalog: Catalog) -> None:
        """A column may be computed from others, and replaced in its place."""
        more = catalog.with_columns(n=[1, 2, 3], m=[0, 0, 0]).with_columns(
            n=lambda row: row["n"] * 2
        )

        assert more.column("n").tolist() == [2, 4, 6]
        assert more.columns[-2:] == ("n", "m")

    def test_times_with_and_without_zone_are_not_mixed(self, catalog: Catalog) -> None:
        """Arrow would take the ones without a zone for UTC, and shift them silently."""
        naive = datetime(2024, 5, 1, 6)  # noqa: DTZ001
        aware = datetime(2024, 5, 1, 6, tzinfo=timezone(timedelta(hours=2)))
        mixed = [aware, None, naive]
        by_id = dict(zip(catalog.ids.to_pylist(), mixed, strict=True))
        frame = pd.DataFrame({"id": catalog.ids.to_pylist(), "at": pd.Series(mixed, dtype=object)})
        for columns in (
            {"at": mixed},
            {"at": np.array(mixed, object)},
            {"at": by_id},
            {"at": lambda row: by_id[row.id]},
            {"at": frame},
        ):
            with pytest.raises(CatalogError, match=r"'at' has times with a zone, such as 2024.*"):
                catalog.with_columns(**columns)
        with pytest.raises(CatalogError, match="give all of them a zone, or none"):
            catalog.with_columns(frame)
        for good in ([aware, None, aware], [naive, None, naive]):
            assert catalog.with_columns(at=good).to_arrow()["at"].null_count == 1
            assert (
                catalog.with_columns(frame.assign(at=pd.Series([*good[:2], pd.NaT], dtype=object)))
                .to_arrow()["at"]
                .null_count
                == 2
            )

    @pytest.mark.parametrize("name", ["id", "path", "frames", "mtime_ns"])
    def test_what_the_header_says_cannot_be_replaced(self, catalog: Catalog, name: str) -> None:
        """Neither a keyword nor a table can do it."""
        column: Any = {name: [1, 2, 3]}
        with pytest.raises(CatalogError, match=f"{name!r} is what the header says"):
            catalog.with_columns(**column)
        if name != "id":
            with pytest.raises(CatalogError, match=f"{name!r} is what the header says"):
                catalog.with_columns(pa.table({"id": ["a.wav"], name: [1]}))

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (pa.table({"id": ["a.wav", "a.wav"], "site": [1, 2]}), "id 'a.wav' twice"),
            (pa.table({"id": ["a.wav"], "sight": [1]}), "no column 'site'"),
            (pa.table({"site": [1]}), "no column id"),
            (pa.table({"id": ["/data/a.wav"], "site": [1]}), "has no id that is in the catalog"),
            ({"/data/a.wav": 1}, "'/data/a.wav', the catalog's first is 'a.wav'"),
            ([1, 2], "2 values for 3 recordings"),
            ("ABC", "not a str"),
            (pd.Series([1, 2, 3]), "series.to_dict"),
            (7, "not int"),
            ([1, "one", None], "cannot be one column"),
        ],
    )
    def test_values_that_do_not_fit_are_refused(
        self, catalog: Catalog, values: Any, message: str
    ) -> None:
        """Each error has its own message."""
        with pytest.raises(CatalogError, match=message):
            catalog.with_columns(site=values)

    def test_an_empty_mapping_is_a_column_of_nulls(self, catalog: Catalog) -> None:
        """It is not an error that nothing is known."""
        assert catalog.with_columns(site={}).to_arrow()["site"].null_count == 3

    @pytest.mark.parametrize(
        "table",
        [
            pa.table({"site": ["B", "A"], "biome": ["reef", "marsh"]}),
            pd.DataFrame({"site": pd.Categorical(["B", "A"]), "biome": ["reef", "marsh"]}),
        ],
    )
    def test_a_table_is_joined_on_any_column(self, catalog: Catalog, table: Any) -> None:
        """A row for each site gives its values to all recordings of the site."""
        sited = catalog.with_columns(site=["A", "B", "A"])
        expected = ["marsh", "reef", "marsh"]

        assert sited.with_columns(table, on="site").column("biome").tolist() == expected
        assert sited.with_columns(biome=table, on="site").column("biome").tolist() == expected
        of_site = {"A": "marsh", "B": "reef"}
        assert sited.with_columns(biome=of_site, on="site").column("biome").tolist() == expected
        coded = sited.with_columns(site=pa.array(["A", "B", "A"]).dictionary_encode())
        assert coded.with_columns(table, on="site").column("biome").tolist() == expected
        with pytest.raises(CatalogError, match="no column 'sight': there are id, path"):
            sited.with_columns(table, on="sight")
        with pytest.raises(CatalogError, match="has no column site to join on: it has biome"):
            sited.with_columns(pa.table({"biome": ["reef"]}), on="site")

    @pytest.mark.parametrize(
        "values",
        [{"A": 1}, {}, pa.table({"site": ["A"], "x": [1]})],
    )
    def test_recordings_without_a_row_may_be_an_error(self, catalog: Catalog, values: Any) -> None:
        """They are null, or are warned of at the caller's line, or raise, as `missing` says."""
        sited = catalog.with_columns(site=["A", "B", None])
        message = r"no row for . of 3 recordings: the first is ..wav \(site '.'\)\. Add the rows"

        first = 1 if len(values) else None
        assert sited.with_columns(x=values, on="site").to_arrow()["x"].to_pylist()[0] == first
        with pytest.warns(HeadraceWarning, match=message) as caught:
            warned = sited.with_columns(x=values, on="site", missing="warn")
        assert caught[0].filename == __file__
        assert warned.to_arrow()["x"].to_pylist() == [first, None, None]
        with pytest.raises(CatalogError, match=message):
            sited.with_columns(x=values, on="site", missing="raise")
        if isinstance(values, pa.Table):
            with pytest.warns(HeadraceWarning, match=message) as caught:
                sited.with_columns(values, on="site", missing="warn")
            assert caught[0].filename == __file__
        choices: Any = "drop"
        with pytest.raises(ValueError, match="missing must be one of null, warn, raise"):
            sited.with_columns(x=values, missing=choices)

    def test_nothing_is_missing_where_all_rows_have_values(self, catalog: Catalog) -> None:
        """With a value for each recording, `missing` changes nothing."""
        ids = catalog.ids.to_pylist()
        more = catalog.with_columns(x=dict.fromkeys(ids, 1), y=[1, None, 3], missing="raise")
        assert more.to_arrow()["y"].to_pylist() == [1, None, 3]

    def test_ids_are_those_of_the_table(self, catalog: Catalog) -> None:
        """They are an Arrow array, for joins; slices have their own."""
        assert catalog.ids.to_pylist() == [one.id for one in catalog]
        assert catalog[1:].ids.equals(catalog.to_arrow()["id"][1:])

    def test_a_missing_column_is_named(self, catalog: Catalog) -> None:
        """The message lists the existing columns."""
        with pytest.raises(
            CatalogError,
            match=r"no column 'site': there are id, path, .*offset, version, pieces\.",
        ):
            catalog.column("site")


def test_importing_the_catalog_imports_no_tables() -> None:
    """Arrow, pandas and rich are imported when they are needed, not before."""
    code = (
        "import sys, headrace.catalog\n"
        "print([name for name in ('pyarrow', 'pandas', 'rich', 'typer') if name in sys.modules])"
    )

    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert told == "[]\n"


def test_kinds_of_many_rows_are_all_that_occur() -> None:
    """Each kind stands once, whatever the order of the rows and their chunks in memory."""
    rng = np.random.default_rng(0)
    rates, channels = rng.choice([8_000, 44_100, 48_000], 300), rng.integers(1, 4, 300)
    whole = pa.table(
        {
            "id": [f"{number:03d}.wav" for number in range(300)],
            "path": [f"/a/{number:03d}.wav" for number in range(300)],
            "sample_rate": pa.array(rates, pa.int32()),
            "channels": pa.array(channels, pa.int32()),
            "frames": np.arange(1, 301),
            "format": np.where(rates == 8_000, "FLAC", "WAV"),
            "subtype": ["PCM_16"] * 299 + ["PCM_24"],
        }
    )
    chunks = Catalog.from_table(pa.concat_tables([whole[:7], whole[7:200], whole[200:]]))

    rows = zip(*(whole[name].to_pylist() for name in whole.column_names[2:]), strict=True)
    expected = {(rate, count, kind, subtype) for rate, count, _, kind, subtype in rows}
    assert chunks.kinds == Catalog.from_table(whole).kinds == tuple(sorted(expected))
    assert chunks.frames.tolist() == list(range(1, 301))
    assert not chunks.frames.flags.writeable


def test_the_first_batch_needs_no_pandas(tmp_path: Path) -> None:
    """From a saved catalog to the first batch, nothing imports pandas, which is slow."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for number in range(80):  # more than are looked at one by one
        write(recordings / f"{number:02d}.wav", noise(800), 8_000, "WAV", "PCM_16")
    scan(recordings).save(tmp_path / "catalog.parquet")
    code = (
        "import sys, headrace\n"
        f"catalog = headrace.load_catalog({str(tmp_path / 'catalog.parquet')!r})\n"
        "loader = catalog.windows(8_000, 0.1).shuffle(seed=0).loader(batch_size=32)\n"
        "print(len(next(iter(loader))), 'pyarrow' in sys.modules, 'pandas' in sys.modules)"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert shown.stdout.split() == ["32", "True", "False"]


def test_the_benchmark_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It runs with few rows, so that changes cannot break it unnoticed."""
    result = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["catalog_rows.py", "--rows", "50", "--json", str(result)])
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # as if run as a script

    runpy.run_path(str(BENCHMARKS / "catalog_rows.py"), run_name="__main__")

    assert '"rows": 50' in result.read_text()


def test_without_leaves_recordings_out() -> None:
    """Ids in any kind of sequence are left out; those that are unknown do not matter."""
    catalog = fake_catalog([10, 20, 30])

    for ids in (["r1", "x"], {"r1"}, pa.array(["r1"]), pa.chunked_array([["r1"], []], pa.string())):
        assert catalog.without(ids).ids.to_pylist() == ["r0", "r2"]
    assert len(catalog.without([])) == 3
    with pytest.raises(CatalogError, match="ids must be several"):
        catalog.without("r1")
    with pytest.raises(CatalogError, match="The ids cannot be read"):
        catalog.without([object()])
