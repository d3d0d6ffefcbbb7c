"""The same archive as folder, tar, bucket, bucket of tars and table of a Parquet file.

Some tars are without the holes of their files: runs of zeros, of which the first recording has one.
"""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import headrace
from tests.support import ffmpeg_files
from tests.support.object_server import ObjectServer
from tests.support.sounds import medley, speechlike, write
from tests.support.sparse_tars import write_sparse_tar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace import Catalog, Windows

pytestmark = pytest.mark.filterwarnings("ignore::headrace.errors.DamagedWarning")

BY_SOUNDFILE = {
    "a.wav": ("WAV", "PCM_16"),
    "b.flac": ("FLAC", "PCM_24"),
    "c.mp3": ("MP3", "MPEG_LAYER_III"),
    "d.ogg": ("OGG", "VORBIS"),
    "e.opus": ("OGG", "OPUS"),
    "f.aiff": ("AIFF", "PCM_16"),
}
BY_FFMPEG = {"g.m4a": "a.m4a", "h.webm": "opus.webm", "i.wma": "a.wma", "j.mka": "mp3.mka"}
PLACES = (
    "folder",
    "tar",
    "bucket",
    "bucket of tars",
    "table",
    "tar without holes",
    "bucket of tars without holes",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a recording of each kind, and a damaged one."""
    top = tmp_path_factory.mktemp("places") / "archive"
    top.mkdir()
    for number, (name, kind) in enumerate(BY_SOUNDFILE.items()):
        speech = speechlike(60_000 + 7_001 * number, seed=number)
        if number == 0:
            speech[20_000:45_000] = 0
        write(top / name, speech, 16_000, *kind)
    sound = medley(120_000, 1, 5).astype(np.float32).reshape(-1, 1)
    for name, kind_name in BY_FFMPEG.items():
        ffmpeg_files.write(top / name, sound, *ffmpeg_files.KINDS[kind_name], 48_000)
    content = bytearray((top / "b.flac").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2_000] = bytes(2_000)
    (top / "k.flac").write_bytes(content)
    return top


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ObjectServer]:
    """Serve the folder, and a tar of it, as a bucket."""
    with tarfile.open(folder.parent / "shard.tar", "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    with ObjectServer() as serving:
        serving.add_folder(folder, "archive/")
        serving.objects["shards/shard.tar"] = (folder.parent / "shard.tar").read_bytes()
        sparse = folder.parent / "sparse" / "shard.tar"
        sparse.parent.mkdir()
        write_sparse_tar(folder, sparse)
        assert sparse.stat().st_size < (folder.parent / "shard.tar").stat().st_size - 45_000
        serving.objects["sparse/shard.tar"] = sparse.read_bytes()
        yield serving


def table_of(folder: Path) -> Path:
    """Return a Parquet file with the recordings as bytes, a few in each row group."""
    rows = [{"bytes": one.read_bytes(), "path": one.name} for one in sorted(folder.iterdir())]
    file = folder.parent / "table.parquet"
    parquet.write_table(pa.table({"audio": rows}), file, row_group_size=4)
    return file


@pytest.fixture(scope="module")
def catalogs(folder: Path, server: ObjectServer) -> dict[str, Catalog]:
    """Return the catalog of each place."""
    store = server.options
    tars = "s3://bucket/shards/shard.tar"
    return {
        "folder": headrace.scan(folder),
        "tar": headrace.scan(folder.parent / "shard.tar"),
        "bucket": headrace.scan("s3://bucket/archive", store=store),
        "bucket of tars": headrace.scan(tars, store=store),
        "table": headrace.from_table(table_of(folder)),
        "tar without holes": headrace.scan(folder.parent / "sparse/shard.tar"),
        "bucket of tars without holes": headrace.scan("s3://bucket/sparse/shard.tar", store=store),
    }


def windows_of(catalog: Catalog, *, shuffled: bool) -> Windows:
    """Return overlapping windows, in order or shuffled."""
    windows = catalog.windows(sample_rate=8_000, window_s=0.75, hop_s=0.5)
    return windows.shuffle(seed=4) if shuffled else windows


def plain(file_id: str) -> str:
    """Return an id without the tar in which the recording is."""
    return file_id.removeprefix("shard.tar/")


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("place", PLACES[1:])
def test_every_place_gives_what_the_folder_gives(
    catalogs: dict[str, Catalog], place: str, *, shuffled: bool
) -> None:
    """Ids but for the tar, orders, bits, validity and ledgers, a damaged recording included."""
    ours, theirs = (
        windows_of(catalogs[one], shuffled=shuffled).loader(
            batch_size=7, workers=2, on_error="mask"
        )
        for one in ("folder", place)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert list(one.file_id) == [plain(file_id) for file_id in other.file_id]
        np.testing.assert_array_equal(one.audio, other.audio)
        np.testing.assert_array_equal(one.valid, other.valid)
    ledgers = [loader.ledger().to_pydict() for loader in (ours, theirs)]
    for ledger in ledgers:
        ledger["id"] = [plain(one) for one in ledger["id"]]
    assert ledgers[0] == ledgers[1]
    assert ours.failures


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize(
    "places", [("folder", "bucket", "table"), ("tar", "bucket of tars without holes")], ids=str
)
def test_a_run_goes_from_place_to_place(
    catalogs: dict[str, Catalog], places: tuple[str, ...], *, shuffled: bool
) -> None:
    """A state of one place is one of every other with the same ids, half-way through an epoch."""
    first = windows_of(catalogs[places[0]], shuffled=shuffled)
    whole = [batch.audio.copy() for batch in first.loader(batch_size=6, on_error="mask")]
    done: list[object] = []
    state = None
    for turn in range(2 * len(places)):
        windows = windows_of(catalogs[places[turn % len(places)]], shuffled=shuffled)
        loader = windows.loader(batch_size=6, on_error="mask")
        if state is not None:
            loader.load_state_dict(state)
        for batch in loader:
            done.append(batch.audio.copy())
            if len(done) % 5 == 0:
                break
        state = loader.state_dict()
        loader.close()
    assert len(done) >= len(whole) // 2
    for one, other in zip(whole, done, strict=False):
        np.testing.assert_array_equal(one, other)
