"""Recordings in tables: Hugging Face datasets, Arrow tables, Parquet files."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headrace
from headrace import Catalog, from_table, load_catalog
from headrace.errors import CatalogError, DamagedWarning, NoRecordingsError
from headrace.storage import _tables
from tests.support import sounds
from tests.support.deliveries import delivered_rows
from tests.support.object_server import ObjectServer

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator
    from pathlib import Path

RATE = 16_000
KINDS = {
    "0.wav": ("WAV", "PCM_16"),
    "1.flac": ("FLAC", "PCM_16"),
    "2.ogg": ("OGG", "VORBIS"),
    "3.mp3": ("MP3", "MPEG_LAYER_III"),
    "4.wav": ("WAV", "PCM_24"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of recordings in several formats."""
    (tmp_path / "folder").mkdir()
    for number, (name, kind) in enumerate(KINDS.items()):
        audio = sounds.medley(9_000 + 100 * number, 1, number)
        sounds.write(tmp_path / "folder" / name, audio, RATE, *kind)
    return tmp_path / "folder"


def structs(folder: Path) -> pa.Array:
    """Return the recordings as Hugging Face stores them."""
    rows = [{"bytes": (folder / name).read_bytes(), "path": name} for name in KINDS]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def table_of(folder: Path) -> pa.Table:
    """Return a table of recordings and labels."""
    labels = pa.array(["a", "b", "c", "d", "e"])
    return pa.table({"audio": structs(folder), "label": labels, "path": labels})


def audio_of(catalog: Catalog, **options: Any) -> list[tuple[str, float, bytes]]:
    """Return the audio of all windows in a shuffled order."""
    loader = catalog.windows(RATE, 0.1).shuffle(3).loader(batch_size=4, **options)
    found = delivered_rows(loader)
    return [(row.file_id, row.offset, row.audio.tobytes()) for row in found]


def assert_same(catalog: Catalog, plain: Catalog) -> None:
    """Compare ids, headers, orders and bits with those of the files."""
    assert catalog.failures == ()
    assert catalog.fingerprint == plain.fingerprint
    for name in ("frames", "sample_rate", "format", "subtype", "size", "seek_points"):
        assert catalog.to_arrow()[name].equals(plain.to_arrow()[name])
    assert audio_of(catalog, workers=2) == audio_of(plain)
    window, other = catalog.windows(RATE, 0.1)[3], plain.windows(RATE, 0.1)[3]
    assert np.array_equal(window.audio, other.audio)


def test_bytes_in_memory_are_the_recordings_of_the_folder(folder: Path) -> None:
    """Arrow's chunks and slices are read in place; other columns are the catalog's."""
    table = table_of(folder)
    plain = headrace.scan(folder)

    catalog = from_table(pa.concat_tables([table[:2], table[2:]]))

    assert_same(catalog, plain)
    assert catalog.columns[-2:] == ("label", "table_path")
    assert catalog.to_arrow()["label"].to_pylist() == list("abcde")
    assert_same(from_table(table, columns=[], verify="decode").filter([True] * 5), plain)
    assert from_table(table, columns=["label"]).columns[-1] == "label"
    part = from_table(table[1:4])
    assert [one.id for one in part] == ["1.flac", "2.ogg", "3.mp3"]
    assert len(audio_of(part)) == len(part.windows(RATE, 0.1))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_a_column_of_bytes_alone(folder: Path, kind: pa.DataType) -> None:
    """Rows have numbers of one width for ids."""
    data = pa.array([(folder / name).read_bytes() for name in KINDS] * 3, kind)

    catalog = from_table(pa.table({"sound": data}), audio="sound")

    assert [one.id for one in catalog][:2] == ["00", "01"]
    assert audio_of(catalog[:5], workers=0)


def test_paths_that_repeat_are_no_ids(folder: Path) -> None:
    """Two rows of one name have the numbers of their rows."""
    table = table_of(folder)
    repeated = from_table(pa.concat_tables([table, table]))

    assert [one.id for one in repeated] == [str(number) for number in range(10)]


def test_rows_of_paths_are_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute ones have ids below their common folder; relative ones begin at the current one."""
    plain = headrace.scan(folder)
    absolute = from_table(pa.table({"audio": [str(folder / name) for name in KINDS]}))
    monkeypatch.chdir(folder.parent)
    relative = from_table(pa.table({"audio": [f"folder/{name}" for name in KINDS]}))

    assert_same(absolute, plain)
    assert absolute.root == str(folder)
    assert [one.path for one in relative] == [one.path for one in plain]
    assert [one.id for one in relative] == [f"folder/{name}" for name in KINDS]
    absolute.save(folder.parent / "catalog.parquet")  # as that of any files


def test_rows_may_have_bytes_or_paths(folder: Path) -> None:
    """Bytes count where there are some; rows without either, and damaged ones, are failures."""
    rows = [
        {"bytes": (folder / "0.wav").read_bytes(), "path": None},
        {"bytes": None, "path": str(folder / "1.flac")},
        {"bytes": None, "path": None},
        {"bytes": b"no audio at all", "path": "x.wav"},
    ]
    with pytest.warns(DamagedWarning):
        catalog = from_table(pa.table({"audio": rows, "n": [0, 1, 2, 3]}))

    assert [one.id for one in catalog] == ["0", "1"]
    assert catalog.column("n").tolist() == [0, 1]
    assert {(one.file_id, str(one.code)) for one in catalog.failures} == {
        ("2", "EMPTY"),
        ("3", "NOT_AUDIO"),
    }
    assert len({id_ for id_, *_ in audio_of(catalog)}) == 2


def test_parquet_files_are_read_by_row_group(folder: Path, tmp_path: Path) -> None:
    """As lists, globs and folders; the catalog is saved and pickled like one of files."""
    table = table_of(folder)
    (tmp_path / "old").mkdir()
    pq.write_table(table[:3], tmp_path / "old" / "a.parquet", row_group_size=2)
    pq.write_table(table[3:], tmp_path / "old" / "b.parquet", compression="none")
    plain = headrace.scan(folder)

    catalog = from_table(tmp_path / "old" / "*.parquet")

    assert_same(catalog, plain)
    assert catalog.column("label").tolist() == list("abcde")
    assert_same(from_table([tmp_path / "old"], columns=[], verify="decode"), plain)
    assert_same(pickle.loads(pickle.dumps(catalog)), plain)
    largest = max(len((folder / name).read_bytes()) for name in KINDS)
    loader = catalog.windows(RATE, 0.1).loader()
    assert loader.memory_bound > plain.windows(RATE, 0.1).loader().memory_bound + 2 * largest
    catalog.save(tmp_path / "catalog.parquet")
    assert_same(load_catalog(tmp_path / "catalog.parquet"), plain)


def test_row_groups_are_kept_in_the_memory_that_is_left(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shuffled windows read each row group once with enough `memory`, and often without."""
    pq.write_table(table_of(folder), tmp_path / "a.parquet", row_group_size=1)
    monkeypatch.setattr(_tables, "_LEAST_KEPT", 1)
    catalog = from_table(tmp_path / "a.parquet")
    groups = pq.read_metadata(tmp_path / "a.parquet").num_row_groups
    loads: list[str] = []
    load = _tables._load_row_group

    def counted(match: re.Match[str]) -> pa.Buffer:
        loads.append(match["group"])
        return load(match)

    monkeypatch.setattr(_tables, "_load_row_group", counted)
    windows = catalog.windows(RATE, 0.1).shuffle(3)
    plain = windows.loader(batch_size=4, workers=1, prefetch=2)
    expected = [batch.audio.copy() for batch in plain]
    assert len(loads) > 2 * groups

    del loads[:]
    rich = windows.loader(batch_size=4, workers=1, prefetch=2, memory="1 GiB")
    for one, other in zip(expected, rich, strict=True):
        np.testing.assert_array_equal(one, other.audio)
    assert sorted(loads) == sorted(set(loads))
    total = pq.read_table(tmp_path / "a.parquet").nbytes
    assert plain.memory_bound < rich.memory_bound <= plain.memory_bound + 2 * total
    assert rich.memory_bound <= 1 << 30

    del loads[:]
    least = windows.loader(batch_size=4, workers=1, prefetch=2, memory=plain.memory_bound)
    assert least.memory_bound == plain.memory_bound
    for _ in least:
        pass
    assert len(loads) > 2 * groups


def test_a_catalog_of_parquet_files_moves(folder: Path, tmp_path: Path) -> None:
    """Where ids are numbers of rows, root= says where the files are now."""
    (tmp_path / "old" / "d").mkdir(parents=True)
    data = pa.table({"audio": [(folder / name).read_bytes() for name in KINDS]})
    pq.write_table(data, tmp_path / "old" / "d" / "a.parquet", row_group_size=2)
    catalog = from_table(tmp_path / "old" / "**" / "*.parquet")
    assert [one.id for one in catalog] == [f"d/a.parquet/{number}" for number in range(5)]
    catalog.save(tmp_path / "catalog.parquet")
    (tmp_path / "old").rename(tmp_path / "new")

    moved = load_catalog(tmp_path / "catalog.parquet", root=tmp_path / "new")
    assert audio_of(moved)
    assert moved[4].path == str(tmp_path / "new" / "d" / "a.parquet#audio/2")
    lost = load_catalog(tmp_path / "catalog.parquet")
    loader = lost.windows(RATE, 0.1).loader(on_error="mask")
    for _ in loader:
        pass
    assert {str(one.code) for one in loader.failures} == {"MISSING"}


def test_a_dataset_is_not_decoded(folder: Path) -> None:
    """Hugging Face's Audio gives its bytes; rows that were chosen keep their order."""
    import datasets

    rows = {"audio": structs(folder).to_pylist(), "label": list("abcde")}
    whole = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    plain = headrace.scan(folder)

    assert_same(from_table(whole), plain)
    for dataset in (whole, whole.cast_column("audio", datasets.Audio(sampling_rate=8_000))):
        chosen = from_table(dataset.select([4, 1]), columns=["label"])
        assert [one.id for one in chosen] == ["4.wav", "1.flac"]
        assert chosen.column("label").tolist() == ["e", "b"]
        assert chosen.sample_rates.tolist() == [RATE, RATE]
        shuffled = from_table(dataset.shuffle(seed=1))
        assert sorted(one.id for one in shuffled) == sorted(KINDS)
        assert [len(audio_of(shuffled)), *shuffled.failures] == [len(audio_of(from_table(whole)))]
        (held,) = shuffled.store.buffers  # type: ignore[union-attr]
        (column,) = dataset.data.table.column("audio").chunks
        assert held.address == column.field("bytes").buffers()[2].address  # not copied
    with pytest.raises(CatalogError, match=r"one of its tables, .* that of 'train'"):
        from_table(datasets.DatasetDict({"train": whole, "test": whole}))
    with pytest.raises(CatalogError, match="streamed"):
        from_table(whole.to_iterable_dataset())


def test_a_run_goes_on_from_files_to_tables_and_back(folder: Path, tmp_path: Path) -> None:
    """The state of a loader of files is one of a loader of the same recordings in a table."""
    pq.write_table(table_of(folder), tmp_path / "a.parquet", row_group_size=2)
    catalogs = [
        headrace.scan(folder),
        from_table(table_of(folder)),
        from_table(tmp_path / "a.parquet"),
    ]
    all_windows = [one.windows(RATE, 0.1).shuffle(3) for one in catalogs]
    first = all_windows[0].loader(batch_size=4, workers=1)
    state = first.state_dict()
    whole = [batch.audio.tobytes() for batch in first]

    found: list[bytes] = []
    for turn in range(len(whole)):
        with all_windows[turn % 3].loader(batch_size=4, workers=1) as loader:
            loader.load_state_dict(state)
            found.append(next(iter(loader)).audio.tobytes())
            state = loader.state_dict()

    assert found == whole


def test_memory_cannot_be_saved(folder: Path, tmp_path: Path) -> None:
    """A catalog of bytes in memory says so; it is pickled with them."""
    catalog = from_table(table_of(folder))

    with pytest.raises(CatalogError, match="bytes of a table in memory: save the table"):
        catalog.save(tmp_path / "catalog.parquet")
    with pytest.raises(CatalogError, match="bytes of another table in memory"):
        Catalog.from_table(catalog.to_arrow())
    assert audio_of(pickle.loads(pickle.dumps(catalog[:2]))) == audio_of(catalog[:2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pa.table({"x": [b"1"]}), "no column 'audio'"),
        (lambda: pa.table({"audio": [1, 2]}), "A column of int64 holds no recordings"),
        (lambda: pa.table({"audio": [{"array": [0.5]}]}), "holds no recordings"),
        (lambda: 3, "Give an Arrow table"),
        (lambda: {"audio": [b"RIFF"]}, r"A dict is no table: .* with pyarrow\.table"),
    ],
)
def test_what_is_no_table_of_recordings_is_refused(make: Any, message: str) -> None:
    """One sentence names what is wrong."""
    with pytest.raises(CatalogError, match=message):
        from_table(make())


def test_a_parquet_file_that_has_fewer_row_groups_since_is_a_failure(folder: Path) -> None:
    """Its windows fail with the reason, and those of other rows do not."""
    table = table_of(folder)
    file = folder.parent / "t.parquet"
    pq.write_table(table, file, row_group_size=1)
    from_table(file).save(folder.parent / "c.parquet")
    pq.write_table(table.slice(0, 2), file, row_group_size=1)
    catalog = load_catalog(folder.parent / "c.parquet")
    windows = catalog.windows(RATE, 0.25)
    loader = windows.loader(batch_size=None, on_error="skip")
    assert {one.file_id for one in loader} == set(catalog.ids.to_pylist()[:2])
    assert {str(one.code) for one in loader.failures} == {"CHANGED"}
    assert all(f"({one.file_id})" in str(one) for one in loader.failures)


def test_a_table_without_rows_is_one_sentence() -> None:
    """The message does not speak of files that match."""
    with pytest.raises(NoRecordingsError, match="table has no rows"):
        from_table(pa.table({"audio": pa.array([], pa.binary())}))


def test_urls_in_a_table_are_failures_with_the_reason(folder: Path) -> None:
    """A URL is not reported as a file that is missing, and its query is not shown."""
    paths = [str(folder / "0.wav"), "https://host/x.wav?signature=secret"]
    with pytest.warns(DamagedWarning, match="its path is a URL"):
        catalog = from_table(pa.table({"audio": paths}))
    assert len(catalog) == 1
    assert "secret" not in repr(catalog.failures)


@pytest.fixture
def server(folder: Path) -> Iterator[ObjectServer]:
    """Serve the folder as a bucket."""
    with ObjectServer() as serving:
        serving.add_folder(folder)
        yield serving


@pytest.mark.parametrize("kind", ["bucket", "web", "parquet"])
def test_urls_in_a_table_are_read_like_paths(
    folder: Path, server: ObjectServer, kind: str, tmp_path: Path
) -> None:
    """Ids, order, further columns and audio are those of a table of paths."""
    names = ["4.wav", "0.wav", "3.mp3", "1.flac", "2.ogg"]
    base, query = ("s3://bucket", "") if kind == "bucket" else (server.url, "?sig=secret")
    urls: Any = pa.table({"audio": [f"{base}/{one}{query}" for one in names], "n": range(5)})
    if kind == "parquet":
        pq.write_table(urls, tmp_path / "t.parquet")
        urls = tmp_path / "t.parquet"
    remote = from_table(urls, store=server.options)
    local = from_table(pa.table({"audio": [str(folder / one) for one in names], "n": range(5)}))
    assert remote.ids.to_pylist() == local.ids.to_pylist() == names
    assert remote.root == base
    assert remote.fingerprint == local.fingerprint
    assert remote.column("n").tolist() == list(range(5))
    assert audio_of(remote) == audio_of(local)
    assert "secret" not in str(remote.to_arrow()) + repr(remote)


def test_urls_of_a_table_that_cannot_be_read_are_failures(
    folder: Path, server: ObjectServer
) -> None:
    """A missing object, no address and no path cost their rows only; a URL may occur twice."""
    urls = [f"{server.url}/{name}" for name in ("0.wav", "gone.wav", "4.wav", "0.wav")]
    with pytest.warns(DamagedWarning):
        catalog = from_table(pa.table({"audio": [*urls, "https:///x.wav", None]}))
    assert catalog.ids.to_pylist() == ["0", "2", "3"]
    assert [(one.file_id, str(one.code)) for one in catalog.failures] == [
        ("1", "MISSING"),
        ("4", "UNSUPPORTED"),
        ("5", "EMPTY"),
    ]
    local = from_table(
        pa.table({"audio": [str(folder / name) for name in ("0.wav", "4.wav", "0.wav")]})
    )
    assert [one[2] for one in audio_of(catalog)] == [one[2] for one in audio_of(local)]
    with pytest.raises(CatalogError, match="differ in their query only"):
        from_table(pa.table({"audio": [urls[0] + "?a", urls[0] + "?b"]}))


def test_urls_of_a_table_are_decoded_if_asked(tmp_path: Path) -> None:
    """Ogg in a store, too, whose index a scan by headers puts off."""
    audio = sounds.speechlike(480_000)
    sounds.write(tmp_path / "a.ogg", audio, 16_000, "OGG", "VORBIS")
    assert (tmp_path / "a.ogg").stat().st_size > 96 << 10
    table = pa.table({"audio": ["s3://bucket/a.ogg"]})
    with ObjectServer() as server:
        server.add_folder(tmp_path)
        found = from_table(table, store=server.options, verify="decode")
    assert (found[0].frames, found.column("declared_frames").tolist()) == (480_000, [480_000])


def test_damaged_parquet_files_are_named(tmp_path: Path) -> None:
    """So is a pattern that matches nothing, and a name that should be a list."""
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(CatalogError, match=r"a\.parquet' cannot be read"):
        from_table(tmp_path / "a.parquet")
    with pytest.raises(NoRecordingsError, match="Nothing matches"):
        from_table(os.fspath(tmp_path / "*.pq"))
    for rows in ([], [{"audio": {"bytes": None, "path": None}, "text": "a"}]):
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        schema = pa.schema([("audio", kind), ("text", pa.string())])
        with pytest.raises(NoRecordingsError):
            from_table(pa.Table.from_pylist(rows, schema))
    with pytest.raises(TypeError, match="must be a list of names"):
        from_table(pa.table({"audio": [b""]}), columns="label")
