"""Columns of the catalog, delivered with the windows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.errors import CatalogError
from headrace.loading._catalog_columns import CatalogColumns
from tests.support.catalogs import fake_catalog, three_recordings
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Catalog

FIRST = datetime(2024, 5, 1, 4, 30, tzinfo=UTC)
COLUMNS: dict[str, Any] = {
    "site": ["OSE", "INC", None],
    "text": ["wren", "ünter 🐦", ""],
    "speaker": [7, 2**40, -1],
    "gain": [0.5, None, 2.0],
    "count": [3, None, 5],
    "night": [True, False, True],
    "maybe": [True, None, False],
    "recorded_at": [FIRST, FIRST.replace(hour=9), None],
    "quality": pa.array(["A", "B", "A"]).dictionary_encode(),
    "embedding": [[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]],
    "tags": [["a"], [], ["b", "c"]],
}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Return three recordings with columns of all types."""
    return three_recordings(tmp_path / "sounds").with_columns(**COLUMNS)


def _row(catalog: Catalog, file_id: str) -> int:
    row: int = catalog.ids.to_pylist().index(file_id)
    return row


def _same(value: Any, expected: Any) -> bool:
    if expected is None:
        return value is None or bool(
            np.isnat(value) if isinstance(value, np.datetime64) else np.isnan(value)
        )
    if isinstance(expected, datetime):
        return bool(value == np.datetime64(expected.replace(tzinfo=None)))
    return list(value) == expected if isinstance(expected, list) else bool(value == expected)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("workers", [0, 2])
def test_each_window_has_the_values_of_its_recording(
    catalog: Catalog, batch_size: int | None, workers: int
) -> None:
    """In batches and examples, each row has its recording's value of every column, null as null."""
    windows = catalog.windows(8_000, 0.2).shuffle(3)
    loader = windows.loader(batch_size=batch_size, workers=workers, columns=[*COLUMNS, "frames"])
    seen = 0
    for one in loader:
        ids = [one.file_id] if batch_size is None else one.file_id
        for number, file_id in enumerate(ids):
            for name in (*COLUMNS, "frames"):
                value = one.columns[name]
                value = value if batch_size is None else value[number]
                expected = catalog.to_arrow()[name][_row(catalog, file_id)].as_py()
                assert _same(value, expected), (name, value, expected)
            seen += 1
    assert seen == len(windows)
    assert loader.columns == (*COLUMNS, "frames")


def test_a_column_has_one_dtype_in_all_batches(catalog: Catalog) -> None:
    """The dtype is the whole column's, whatever a batch holds: nulls make float64 with NaN."""
    loader = catalog.windows(8_000, 0.2).loader(batch_size=1, columns=[*COLUMNS])
    dtypes = {name: {batch.columns[name].dtype for batch in loader} for name in COLUMNS}
    numbers = {"speaker": "i8", "gain": "f8", "count": "f8", "night": "?", "recorded_at": "M8[us]"}

    for name, found in dtypes.items():
        assert found == {np.dtype(numbers.get(name, object))}, name


def test_a_column_can_be_compared(catalog: Catalog) -> None:
    """Texts are compared for all rows at once."""
    (batch,) = catalog.windows(8_000, 0.2).loader(batch_size=64, columns=["site"])

    assert (batch.columns["site"] == "OSE").tolist() == [one == "a.wav" for one in batch.file_id]


def test_without_columns_there_are_none(catalog: Catalog) -> None:
    """A loader delivers no columns unless it is asked to, and indexing has none."""
    windows = catalog.windows(8_000, 0.2)

    assert next(iter(windows.loader(batch_size=2))).columns == {}
    assert next(iter(windows.loader())).columns == windows[0].columns == {}


def test_added_rows_have_no_values(catalog: Catalog) -> None:
    """Rows that fill up a batch or a shard have 0, NaN, False, "" or None."""
    windows = catalog.windows(8_000, 0.2)
    (batch,) = windows.loader(batch_size=20, last="pad", columns=[*COLUMNS])
    sharded = windows[:4].shard(2, 3, remainder="mask")
    single = [*sharded.loader(columns=[*COLUMNS])][-1]
    (masked,) = sharded.loader(batch_size=2, columns=[*COLUMNS])

    assert not batch.valid[-1]
    for values in (
        {name: column[-1] for name, column in batch.columns.items()},
        {name: column[-1] for name, column in masked.columns.items()},
        single.columns,
    ):
        assert (values["site"], values["text"], values["quality"]) == ("", "", "")
        assert (values["speaker"], values["night"]) == (0, False)
        assert (values["maybe"], values["tags"], values["embedding"]) == (None, None, None)
        assert np.isnan(values["gain"])
        assert np.isnat(values["recorded_at"])
    assert all(len(column) == 20 for column in batch.columns.values())


@pytest.mark.parametrize("on_error", ["mask", "skip"])
def test_rows_that_fail_keep_or_lose_their_values(tmp_path: Path, on_error: Any) -> None:
    """A masked row has its recording's values, and a skipped row's values go with it."""
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.wav", noise(4_000), 8_000, "WAV", "PCM_16")
    catalog = headrace.scan(tmp_path).with_columns(number=[1, 2, 3], name=["a", "b", "c"])
    with (tmp_path / "b.wav").open("r+b") as file:
        file.truncate(50)
    loader = catalog.windows(8_000, 0.5).loader(
        batch_size=3, on_error=on_error, columns=["number", "name"]
    )
    (batch,) = loader
    kept = [1, 2, 3] if on_error == "mask" else [1, 3]

    assert batch.columns["number"].tolist() == kept
    assert batch.columns["name"].tolist() == [name[0] for name in batch.file_id]


def test_columns_survive_a_resume_and_a_shard(catalog: Catalog) -> None:
    """After a resume, with other workers and on a shard, the values are those of the windows."""
    windows = catalog.windows(8_000, 0.2).shuffle(5)
    loader = windows.loader(batch_size=3, columns=["speaker"])
    next(iter(loader))
    rest = windows.loader(batch_size=2, workers=2, columns=["speaker"])
    rest.load_state_dict(loader.state_dict())
    parts = [windows.shard(rank, 2, remainder="mask") for rank in range(2)]
    sharded = [batch for part in parts for batch in part.loader(batch_size=2, columns=["speaker"])]

    for batch in (*rest, *sharded):
        for file_id, value in zip(batch.file_id, batch.columns["speaker"], strict=True):
            assert value == (COLUMNS["speaker"][_row(catalog, file_id)] if file_id else 0)


def test_a_column_that_some_catalogs_have_is_null_in_the_others(tmp_path: Path) -> None:
    """In mixtures and concatenations, recordings of catalogs without the column have null."""
    one = three_recordings(tmp_path / "one").with_columns(site=["A", "B", "C"], n=[1, 2, 3])
    two = three_recordings(tmp_path / "two").with_columns(n=[0.5, 1.5, 2.5], x=[True] * 3)
    three = three_recordings(tmp_path / "three")
    sets = [each.windows(8_000, 0.2) for each in (one, two, three)]
    names = ["site", "n", "x"]
    for windows in (headrace.concat(sets), headrace.mix(sets, n=40, seed=1)):
        for batch in windows.loader(batch_size=16, columns=names):
            for row, (source, file_id) in enumerate(zip(batch.source, batch.file_id, strict=True)):
                catalog = (one, two, three)[source]
                for name in names:
                    value = batch.columns[name][row]
                    known = name in catalog.columns
                    number = _row(catalog, file_id)
                    assert _same(value, catalog.column(name)[number] if known else None)


def test_a_batch_map_sees_the_columns(catalog: Catalog) -> None:
    """`batch_map` gets them, in its trial on noise too."""

    def scale(batch: headrace.Batch) -> None:
        batch.audio[:] *= batch.columns["speaker"][:, None] > 0

    windows = catalog.windows(8_000, 0.2)
    (batch,) = windows.loader(batch_size=64, batch_map=scale, columns=["speaker"])
    silent = ~batch.audio.any(axis=1)

    assert silent.tolist() == [one == "c.wav" for one in batch.file_id]


def test_the_memory_bound_has_the_columns() -> None:
    """The bound grows by the columns themselves and by the longest values of each batch."""
    words = ["a", "b" * 10_000, "c"]
    catalog = fake_catalog([8_000] * 3, 8_000, word=words, n=[1, 2, 3])
    windows = catalog.windows(8_000, 1.0)

    def bound(*columns: str) -> int:
        return windows.loader(batch_size=4, workers=1, prefetch=2, columns=columns).memory_bound

    assert bound("n") - bound() == 8 * 3 + (2 + 2) * 4 * 8
    assert bound("word") - bound() >= 10_002 + (2 + 2) * 4 * 10_000


def test_values_are_looked_up_in_any_number_of_chunks() -> None:
    """A column of Arrow chunks, also of categories, gives the values of the rows."""
    text = pa.chunked_array([["a", "b"], ["b", "c", None]])
    catalog = fake_catalog([100] * 5, text=text, kind=text.dictionary_encode())
    windows = catalog.windows(1_000, 0.1)
    columns = CatalogColumns(windows.recordings, ["text", "kind"])

    for values in columns.rows(np.array([4, 3, 0, 1])).values():
        assert values.tolist() == [None, "c", "a", "b"]


@pytest.mark.parametrize(
    ("columns", "error", "sentence"),
    [
        (["sites"], CatalogError, "There is no column 'sites' to deliver: there are id, path"),
        ("site", ValueError, r"columns must be names, as in \['site'\], not one string"),
        (None, ValueError, r"columns must be names, as in \[.site.\], not None"),
        (["site", "site"], ValueError, "columns has a name twice: site, site"),
        (["n"], CatalogError, "'n' has types that do not fit together: int64, string.* one type"),
    ],
)
def test_wrong_columns_are_one_sentence(
    columns: Any, error: type[Exception], sentence: str
) -> None:
    """The error comes when the loader is made, and says what exists."""
    one = fake_catalog([100] * 2, 1_000, site=["a", "b"], n=[1, 2]).windows(1_000, 0.1)
    two = fake_catalog([100] * 2, 1_000, site=["a", "b"], n=["1", "2"]).windows(1_000, 0.1)
    with pytest.raises(error, match=sentence):
        headrace.concat([one, two]).loader(columns=columns)
