"""Vorbis and Opus in Ogg in a bucket: the scan reads their ends, and reading makes their index."""

from __future__ import annotations

import pickle
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

import headrace
from headrace.errors import ClosedError
from tests.support.object_server import Fault, ObjectServer
from tests.support.ogg_pages import join, split
from tests.support.sounds import medley, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headrace import Catalog, Windows

KINDS = {"vorbis": "VORBIS", "opus": "OPUS"}
RATE = 24_000
SECONDS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recordings that are larger than what a scan reads of them."""
    top = tmp_path_factory.mktemp("ogg")
    for number, (name, subtype) in enumerate(KINDS.items()):
        audio = medley(SECONDS * RATE + 777, 1, number)
        write(top / f"{name}.ogg", audio, RATE, "OGG", subtype)
        assert (top / f"{name}.ogg").stat().st_size > 110_000
    return top


@pytest.fixture(scope="module")
def local(folder: Path) -> Catalog:
    """Scan the folder."""
    return headrace.scan(folder)


@pytest.fixture
def server(folder: Path) -> Iterator[ObjectServer]:
    """Serve the folder as a bucket."""
    with ObjectServer() as serving:
        serving.add_folder(folder)
        yield serving


def scanned(server: ObjectServer) -> Catalog:
    """Scan the bucket."""
    return headrace.scan("s3://bucket", store=server.options)


def views_of(catalog: Catalog) -> list[Windows]:
    """Return windows in order and shuffled."""
    windows = catalog.windows(16_000, 2.0, 1.5)
    return [windows, windows.shuffle(seed=3)]


def test_a_scan_reads_the_ends_of_an_object(server: ObjectServer, local: Catalog) -> None:
    """With two requests an object, the catalog says what the folder's says, but for the index."""
    bucket = scanned(server)
    gets = [one for one in server.requests if one.method == "GET"]
    assert len(gets) == 2 * len(bucket)
    assert sum(one.stop - one.start for one in gets) == len(bucket) * (96 << 10)
    same = [name for name in local.columns if name not in ("path", "mtime_ns", "version")]
    same.remove("seek_points")
    assert bucket.to_arrow().select(same).equals(local.to_arrow().select(same))
    assert bucket.fingerprint == local.fingerprint
    assert bucket.to_arrow()["seek_points"].null_count == len(bucket)


@pytest.mark.parametrize("kind", list(KINDS))
def test_random_windows_with_an_index_take_about_one_request(tmp_path: Path, kind: str) -> None:
    """Once the index is made, a window costs its own bytes and the rest of two blocks."""
    write(tmp_path / "a.ogg", medley(240 * RATE, 1, 5), RATE, "OGG", KINDS[kind])
    size = (tmp_path / "a.ogg").stat().st_size
    with ObjectServer({"a.ogg": (tmp_path / "a.ogg").read_bytes()}) as server:
        windows = scanned(server).windows(16_000, 5.0)
        few = windows[::4].shuffle(seed=1)
        loader = few.loader(batch_size=4, workers=2)
        ours = (
            headrace.scan(tmp_path).windows(16_000, 5.0)[::4].shuffle(seed=1).loader(batch_size=4)
        )
        for one, other in zip(ours, loader, strict=True):
            np.testing.assert_array_equal(one.audio, other.audio)
        server.requests.clear()
        for one, other in zip(ours, loader, strict=True):
            np.testing.assert_array_equal(one.audio, other.audio)
    assert len(server.requests) <= 1.3 * len(few)
    needed = size / len(windows) * len(few)
    assert sum(one.stop - one.start for one in server.requests) <= 1.9 * needed


@pytest.mark.parametrize("workers", [0, 2])
def test_windows_are_those_of_a_folder(server: ObjectServer, local: Catalog, workers: int) -> None:
    """Bits and ledgers are equal, in order and at random, while the index is made and after it."""
    bucket = scanned(server)
    for ours, theirs in zip(2 * views_of(local), 2 * views_of(bucket), strict=True):
        loaders = [one.loader(batch_size=4, workers=workers) for one in (ours, theirs)]
        for one, other in zip(*loaders, strict=True):
            assert one.file_id == other.file_id
            np.testing.assert_array_equal(one.audio, other.audio)
        assert loaders[0].ledger().equals(loaders[1].ledger())


def test_an_object_is_read_once_for_its_index(server: ObjectServer) -> None:
    """In order nothing is fetched twice; a random run afterwards needs about a request a window."""
    bucket = scanned(server)
    in_order, shuffled = views_of(bucket)
    server.requests.clear()
    list(in_order.loader(batch_size=4, workers=1))
    assert sum(one.stop - one.start for one in server.requests) == sum(one.size for one in bucket)
    loader = shuffled.loader(batch_size=4, workers=1)
    list(loader)
    assert loader.stats().store_requests <= 1.5 * len(shuffled)


def test_an_index_that_was_made_is_saved_and_pickled(
    server: ObjectServer, local: Catalog, tmp_path: Path
) -> None:
    """It is that of the folder; subsets share it."""
    bucket = scanned(server)
    list(bucket[1:].windows(16_000, 2.0).loader())
    expected = local.to_arrow()["seek_points"].to_pylist()
    assert bucket.to_arrow()["seek_points"].to_pylist() == [None, expected[1]]
    list(bucket.windows(16_000, 2.0).loader())
    bucket.save(tmp_path / "catalog.parquet")
    saved = headrace.load_catalog(tmp_path / "catalog.parquet", store=server.options)
    for one in (bucket, saved, pickle.loads(pickle.dumps(bucket))):
        assert one.to_arrow()["seek_points"].to_pylist() == expected
    again = headrace.scan("s3://bucket", store=server.options, cache=tmp_path / "catalog.parquet")
    assert again.to_arrow()["seek_points"].to_pylist() == expected


def test_decoding_at_the_scan_makes_the_indexes(
    server: ObjectServer, local: Catalog, tmp_path: Path
) -> None:
    """So does a scan with a catalog that lacks them."""
    cache = tmp_path / "catalog.parquet"
    headrace.scan("s3://bucket", store=server.options, cache=cache)
    for given in (None, cache):
        bucket = headrace.scan("s3://bucket", store=server.options, verify="decode", cache=given)
        assert bucket.to_arrow()["seek_points"].equals(local.to_arrow()["seek_points"])


def test_an_archive_that_moves_to_a_disk_is_read_there(
    server: ObjectServer, folder: Path, local: Catalog, tmp_path: Path
) -> None:
    """A catalog of a bucket, without indexes, is that of a copy in a folder."""
    scanned(server).save(tmp_path / "catalog.parquet")
    moved = headrace.load_catalog(tmp_path / "catalog.parquet", root=folder)
    for ours, theirs in zip(views_of(local), views_of(moved), strict=True):
        for one, other in zip(ours.loader(), theirs.loader(), strict=True):
            np.testing.assert_array_equal(one.audio, other.audio)


def test_a_run_goes_on_at_the_other_place(server: ObjectServer, local: Catalog) -> None:
    """A state from the folder is one for the bucket that has no index yet, and back."""
    bucket = scanned(server)
    whole = [batch.audio.copy() for batch in views_of(local)[1].loader(batch_size=4)]
    done: list[object] = []
    state = None
    for catalog in (local, bucket, local, bucket):
        loader = views_of(catalog)[1].loader(batch_size=4)
        if state is not None:
            loader.load_state_dict(state)
        for batch in loader:
            done.append(batch.audio.copy())
            if len(done) % 3 == 0:
                break
        state = loader.state_dict()
        loader.close()
    for one, other in zip(whole, done, strict=False):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(status=403), "PERMISSION"),
        (Fault(corrupt_etag=True), "CHANGED"),
        (Fault(stall=True), "STALLED"),
    ],
)
def test_an_object_that_cannot_be_read_fails_its_windows(
    server: ObjectServer, fault: Fault, code: str
) -> None:
    """Each window has the store's reason, and the ledger is exact."""
    bucket = scanned(server)
    server.fault = lambda _: fault
    loader = bucket.windows(16_000, 10.0).loader(
        on_error="skip", stall_timeout_s=0.3 if fault.stall else None
    )
    assert list(loader) == []
    assert {one.code for one in loader.failures} == {code}
    table = loader.ledger()
    assert sum(table["expected"].to_pylist()) == sum(table["failed"].to_pylist()) > 0


def test_an_outage_costs_no_later_windows(server: ObjectServer, local: Catalog) -> None:
    """When the store gives a recording again, its windows have the samples of the folder."""
    bucket = scanned(server)[:1]
    server.fault = lambda _: Fault(status=403)
    windows = bucket.windows(16_000, 2.0)
    loader = windows.loader(batch_size=2, workers=0, prefetch=1, on_error="mask")
    batches = iter(loader)
    assert not next(batches).valid.any()
    server.fault = lambda _: None
    rest = list(batches)
    expected = list(local[:1].windows(16_000, 2.0).loader(batch_size=2, workers=0))[1:]
    assert len(rest) == len(expected) > 3
    for ours, theirs in zip(rest, expected, strict=True):
        assert ours.valid.all()
        np.testing.assert_array_equal(ours.audio, theirs.audio)


def test_closing_ends_a_reading_that_waits(server: ObjectServer) -> None:
    """Threads end while an index is being made and the store does not answer."""
    bucket = scanned(server)
    server.fault = lambda _: Fault(stall=True)
    loader = bucket.windows(16_000, 2.0).loader(workers=2)

    def consume() -> None:
        with pytest.raises(ClosedError):
            list(loader)

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    assert server.stalled.wait(30)
    loader.close()
    consumer.join(30)
    assert not [one for one in threading.enumerate() if one.name.startswith("headrace")]


def test_what_the_ends_did_not_show_is_not_lost_silently(folder: Path) -> None:
    """Of a file whose pages were joined under one number, windows fail and say what to do."""
    pages = split((folder / "opus.ogg").read_bytes())
    with ObjectServer({"a.ogg": join([*pages, *pages])}) as server:
        bucket = scanned(server)
        assert bucket[0].duration_s < 1.1 * SECONDS
        loader = bucket.windows(16_000, 2.0).loader(on_error="skip")
        assert list(loader) == []
        assert {one.code for one in loader.failures} == {"HEADER_MISMATCH"}
        assert 'verify="decode"' in loader.failures[0].message
        verified = headrace.scan("s3://bucket", store=server.options, verify="decode")
        assert verified[0].frames > 1.9 * bucket[0].frames
