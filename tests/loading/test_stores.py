import gc
import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

import headrace
from headrace import Catalog, Windows
from headrace.errors import StoreError
from tests.support import sparse_tars
from tests.support.object_server import Fault, ObjectServer, Request, first_times
from tests.support.processes import interruptible, no_file_beyond
from tests.support.slow_line import SlowLine
from tests.support.sounds import speechlike, write

KINDS = {
    "wav": ("WAV", "PCM_16"),
    "wav24": ("WAV", "PCM_24"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "aiff": ("AIFF", "PCM_16"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with recordings of several formats, one of them damaged."""
    top = tmp_path_factory.mktemp("archive")
    for number, (name, kind) in enumerate(KINDS.items()):
        for copy in range(2):
            path = top / str(copy) / f"{name}.{kind[0].lower()}"
            path.parent.mkdir(exist_ok=True)
            write(path, speechlike(90_000 + 7_001 * number, seed=number + copy), 16_000, *kind)
    damaged = top / "1" / "broken.flac"
    content = bytearray((top / "1" / "flac.flac").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    damaged.write_bytes(content)
    return top


@pytest.fixture(scope="module")
def local(folder: Path) -> Catalog:
    """Scan the folder."""
    return headrace.scan(str(folder))


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ObjectServer]:
    """Serve the folder as a bucket."""
    with ObjectServer() as serving:
        serving.add_folder(folder)
        yield serving


@pytest.fixture(scope="module")
def bucket(server: ObjectServer) -> Catalog:
    """Scan the bucket."""
    return headrace.scan("s3://bucket", store=server.options)


def order_of(catalog: Catalog, *, shuffled: bool) -> Windows:
    """Return overlapping windows, in order or shuffled."""
    windows = catalog.windows(sample_rate=8_000, window_s=0.75, hop_s=0.5)
    return windows.shuffle(seed=4) if shuffled else windows


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("workers", [0, 3])
def test_a_bucket_is_loaded_like_a_folder(
    local: Catalog, bucket: Catalog, workers: int, *, shuffled: bool
) -> None:
    """Ids, orders, bits and ledgers are the same, a damaged recording included."""
    loaders = [
        order_of(one, shuffled=shuffled).loader(batch_size=7, workers=workers, on_error="mask")
        for one in (local, bucket)
    ]
    for ours, theirs in zip(*loaders, strict=True):
        assert ours.file_id == theirs.file_id
        np.testing.assert_array_equal(ours.audio, theirs.audio)
        np.testing.assert_array_equal(ours.valid, theirs.valid)
    assert loaders[0].ledger().equals(loaders[1].ledger())
    assert loaders[0].failures


def test_a_run_is_resumed_from_a_folder_to_a_bucket_and_back(
    local: Catalog, bucket: Catalog
) -> None:
    """A state of one is a state of the other."""
    whole = [
        b.audio.copy() for b in order_of(local, shuffled=True).loader(batch_size=5, on_error="mask")
    ]
    done = []
    state = None
    for catalog in (local, bucket, local, bucket):
        loader = order_of(catalog, shuffled=True).loader(batch_size=5, on_error="mask")
        if state is not None:
            loader.load_state_dict(state)
        for batch in loader:
            done.append(batch.audio.copy())
            if len(done) % 9 == 0:
                break
        state = loader.state_dict()
        loader.close()
    assert len(done) == min(4 * 9, len(whole))
    for one, other in zip(whole, done, strict=False):
        np.testing.assert_array_equal(one, other)


def test_a_single_window_is_read_from_a_bucket(local: Catalog, bucket: Catalog) -> None:
    """Indexing fetches what one window needs."""
    for position in (0, 17, 40):
        ours, theirs = (order_of(one, shuffled=False)[position] for one in (local, bucket))
        np.testing.assert_array_equal(ours.audio, theirs.audio)


def test_faults_that_pass_cost_no_window(
    local: Catalog, bucket: Catalog, server: ObjectServer
) -> None:
    """Behind a server that fails each first request, all windows arrive, with the same bits."""
    server.fault = first_times(1, Fault(status=503))
    try:
        theirs = order_of(bucket, shuffled=True).loader(batch_size=8, on_error="mask")
        ours = order_of(local, shuffled=True).loader(batch_size=8, on_error="mask")
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.audio, other.audio)
    finally:
        server.fault = lambda _: None
    assert ours.ledger().equals(theirs.ledger())


def _through(line: SlowLine, server: ObjectServer, **client: str) -> dict[str, object]:
    client_options = {"allow_http": True, **client}
    return {**server.options, "endpoint": line.endpoint, "client_options": client_options}


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_line_that_breaks_costs_no_window(
    local: Catalog, server: ObjectServer, *, shuffled: bool
) -> None:
    """Scanned and loaded over a slow line that breaks two connections of three: the same bits."""
    with SlowLine(
        server.port,
        latency_s=0.001,
        bytes_per_s=20e6,
        breaks_after=lambda number: -1 if number % 3 == 0 else 5_000 * (number % 7),
    ) as line:
        far = headrace.scan("s3://bucket", store=_through(line, server))
        theirs = order_of(far, shuffled=shuffled).loader(batch_size=8, on_error="mask")
        ours = order_of(local, shuffled=shuffled).loader(batch_size=8, on_error="mask")
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.audio, other.audio)
    assert line.broken > 5
    assert theirs.ledger().equals(ours.ledger())


def test_connections_that_fall_silent_are_replaced(local: Catalog, server: ObjectServer) -> None:
    """A connection without a byte for `read_timeout` is given up, and its bytes asked for again."""
    loading = threading.Event()
    silent: set[int] = set()

    def stalls_after(number: int) -> int:
        if loading.is_set() and len(silent) < 2:  # those that answer, whichever they are
            silent.add(number)
        return 0 if number in silent else -1

    with SlowLine(server.port, stalls_after=stalls_after) as line:
        store = _through(line, server, read_timeout="1 s")
        far = headrace.scan("s3://bucket", store=store)
        loading.set()
        theirs = order_of(far, shuffled=True).loader(batch_size=8, on_error="mask")
        ours = order_of(local, shuffled=True).loader(batch_size=8, on_error="mask")
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.audio, other.audio)
    assert line.stalled == 2
    assert theirs.ledger().equals(ours.ledger())


def test_a_line_that_is_cut_for_good_is_reported_for_every_window(
    local: Catalog, server: ObjectServer
) -> None:
    """Of a run in which every connection breaks from some moment on, what arrives is right."""
    cut = threading.Event()
    with SlowLine(server.port, breaks_after=lambda _: 3_000 if cut.is_set() else 200_000) as line:
        far = headrace.scan("s3://bucket/0", store=_through(line, server))
        near = local.filter([one.startswith("0/") for one in local.ids.to_pylist()])
        ours, theirs = (
            one.windows(sample_rate=8_000, window_s=2.0)
            .shuffle(seed=4)
            .loader(batch_size=2, prefetch=1, fetches=1, on_error="mask", stall_timeout_s=0.2)
            for one in (near, far)
        )
        for one, other in zip(ours, theirs, strict=True):
            assert other.valid is not None
            np.testing.assert_array_equal(one.audio[other.valid], other.audio[other.valid])
            cut.set()
    table = theirs.ledger()
    expected, delivered, failed = (
        np.array(table[name].to_pylist()) for name in ("expected", "delivered", "failed")
    )
    assert {str(failure.code) for failure in theirs.failures} <= {"IO", "STALLED"}
    np.testing.assert_array_equal(expected, delivered + failed)
    assert delivered.sum() > 0
    assert failed.sum() > 0


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(status=403), "PERMISSION"),
        (Fault(status=404), "MISSING"),
        (Fault(corrupt_etag=True), "CHANGED"),
        (Fault(status=400), "IO"),
        (Fault(stall=True), "STALLED"),
    ],
)
def test_faults_that_stay_are_failures_of_their_windows(
    bucket: Catalog, server: ObjectServer, fault: Fault, code: str
) -> None:
    """Every window of every format fails with the store's reason; the ledger is exact."""
    some = bucket.filter([not one.endswith("broken.flac") for one in bucket.ids.to_pylist()])
    server.fault = lambda _: fault
    try:
        loader = some.windows(8_000, 3.0).loader(
            batch_size=8, on_error="skip", stall_timeout_s=0.5 if fault.stall else None
        )
        assert list(loader) == []
    finally:
        server.fault = lambda _: None
    assert {failure.code for failure in loader.failures} == {code}
    table = loader.ledger()
    assert sum(table["expected"].to_pylist()) == sum(table["failed"].to_pylist()) > 0


def _stall_but(keys: tuple[str, ...]) -> Callable[[Request], Fault | None]:
    return lambda request: None if request.key in keys else Fault(stall=True)


def test_threads_end_at_once_with_requests_in_flight(bucket: Catalog, server: ObjectServer) -> None:
    """close(), break, an exception and collection do not wait for a server that never answers."""
    windows = order_of(bucket, shuffled=True)
    first = next(iter(windows.loader(batch_size=2, on_error="mask"))).file_id
    for end in ("close", "break", "raise", "collect"):
        server.fault = _stall_but(first)
        loader = windows.loader(batch_size=2, on_error="mask", prefetch=30)
        batches = iter(loader)
        next(batches)
        assert server.stalled.wait(30)
        if end == "close":
            loader.close()
        elif end == "raise":
            with pytest.raises(RuntimeError, match="mine"):
                batches.throw(RuntimeError("mine"))  # type: ignore[attr-defined]
        del batches, loader
        gc.collect()
        names = [thread.name for thread in threading.enumerate()]
        assert not [name for name in names if name.startswith("headrace")], end
        server.stalled.clear()
    server.fault = lambda _: None


_IN_THIS_THREAD = {
    "a window": "windows[7]",
    "workers=0": "for batch in windows.loader(batch_size=4, workers=0): pass",
}


@pytest.mark.parametrize("body", _IN_THIS_THREAD.values(), ids=_IN_THIS_THREAD)
@pytest.mark.parametrize("handler", ["default_int_handler", "ask"])
def test_ctrl_c_ends_a_read_of_the_main_thread(
    bucket: Catalog, server: ObjectServer, tmp_path: Path, body: str, handler: str
) -> None:
    """It raises what the handler raises, though the server never answers; a handler may go on."""
    bucket.save(tmp_path / "catalog.parquet")
    program = f"""
import signal, sys, headrace
asked = []
def ask(*_):
    asked.append(1)
    print("asked", flush=True)
    if len(asked) > 1:
        raise InterruptedError("twice")
signal.signal(signal.SIGINT, signal.{handler} if {handler!r} != "ask" else ask)
windows = headrace.load_catalog("catalog.parquet", store={server.options}).windows(8_000, 3.0)
{body}
"""
    server.stalled.clear()
    server.fault = _stall_but(())
    try:
        with subprocess.Popen(
            interruptible(program),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert server.stalled.wait(60)
            process.send_signal(signal.SIGINT)
            if handler == "ask":
                assert process.stdout.readline() == "asked\n"
                process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    finally:
        server.fault = lambda _: None
    expected = "KeyboardInterrupt" if handler != "ask" else "InterruptedError: twice"
    assert errors.rstrip().endswith(expected)


def test_a_second_epoch_comes_from_the_disk_cache(
    bucket: Catalog, local: Catalog, tmp_path: Path
) -> None:
    """With a cache that holds everything, the second epoch asks the store for nothing."""
    windows = order_of(bucket, shuffled=True)
    sent = []
    for _ in range(2):
        loader = windows.loader(
            batch_size=8, on_error="mask", cache=tmp_path / "c", cache_size="100 MB"
        )
        ours = order_of(local, shuffled=True).loader(batch_size=8, on_error="mask")
        for one, other in zip(ours, loader, strict=True):
            np.testing.assert_array_equal(one.audio, other.audio)
        sent.append(loader.stats().store_requests)
        assert loader.stats().peak_bytes <= loader.memory_bound
    assert sent[0] > 0 == sent[1]
    assert loader.stats().cache_bytes > 0


def test_nothing_is_kept_of_an_object_without_an_identity(tmp_path: Path) -> None:
    """Where a server gives neither ETag nor date, the cache never delivers a replaced file."""
    contents, audio = [], []
    for seed in range(2):
        write(tmp_path / "a.wav", speechlike(24_000, seed=seed), 8_000, "WAV", "PCM_16")
        contents.append((tmp_path / "a.wav").read_bytes())
        audio.append(soundfile.read(tmp_path / "a.wav", dtype="float32")[0])
    with ObjectServer({"a.wav": contents[0]}, etags=False, dates=False) as web:
        windows = headrace.scan(f"{web.url}/a.wav").windows(8_000, 1.0)
        for content, expected in zip(contents, audio, strict=True):
            web.objects["a.wav"] = content
            loader = windows.loader(batch_size=3, cache=tmp_path / "c", cache_size="100 MB")
            (batch,) = loader
            np.testing.assert_array_equal(batch.audio.reshape(-1), expected)


def test_a_full_disk_is_one_warning_and_no_cache(bucket: Catalog, tmp_path: Path) -> None:
    """All windows arrive, and the reason is given once."""
    loader = order_of(bucket, shuffled=True).loader(
        batch_size=2, on_error="mask", cache=tmp_path / "c", cache_size="100 MB"
    )
    reason = "No space left on device|File too large"  # the second if a block far behind was first
    with (
        no_file_beyond(4096),
        pytest.warns(headrace.HeadraceWarning, match=reason) as told,
    ):
        assert len(list(loader)) == len(loader)
    assert len(told) == 1


def test_a_cache_needs_a_size(bucket: Catalog) -> None:
    """The two arguments belong together, and a number without its unit is taken for a mistake."""
    with pytest.raises(ValueError, match="belong together"):
        bucket.windows(8_000, 1.0).loader(cache="x")
    with pytest.raises(ValueError, match="belong together"):
        bucket.windows(8_000, 1.0).loader(cache_size="1 GB")
    for size in ("200", 200, "1023 KiB"):
        with pytest.raises(ValueError, match=f"cache_size={size!r} is less than 1 MiB, .* unit"):
            bucket.windows(8_000, 1.0).loader(cache="x", cache_size=size)
    with pytest.raises(ValueError, match="cache_size=True is not an amount"):
        bucket.windows(8_000, 1.0).loader(cache="x", cache_size=True)
    assert not Path("x").exists()


def test_the_memory_bound_covers_what_is_fetched(bucket: Catalog, local: Catalog) -> None:
    """A bucket needs more than a folder, `memory` limits it, and what is used stays below."""
    windows = order_of(bucket, shuffled=True)
    least = order_of(local, shuffled=True).loader(batch_size=4).memory_bound
    loader = windows.loader(batch_size=4, on_error="mask", memory="128 MiB")
    assert least < windows.loader(batch_size=4).memory_bound
    assert loader.memory_bound <= 128 << 20
    list(loader)
    assert loader.stats().peak_bytes <= loader.memory_bound


@pytest.mark.parametrize("format_", sparse_tars.FORMATS)
def test_only_what_a_tar_stores_of_a_member_is_fetched(tmp_path: Path, format_: str) -> None:
    """Random windows fetch each piece once; those of a hole need no request."""
    speech = speechlike(32_000 * 12, seed=1)
    speech[32_000 * 3 : 32_000 * 9] = 0
    write(tmp_path / "a.wav", speech, 32_000, "WAV", "PCM_16")
    content = (tmp_path / "a.wav").read_bytes()
    pieces = sparse_tars.holes_in(content)
    assert len(pieces) > 1
    tar = sparse_tars.sparse_member("a.wav", content, pieces, format_) + bytes(1_024)
    with ObjectServer({"shard.tar": tar}) as server:
        catalog = headrace.scan("s3://bucket/*.tar", store=server.options)
        server.requests.clear()
        windows = catalog.windows(32_000, 0.5).shuffle(1)
        loader = windows.loader(batch_size=2, workers=2)
        for one, other in zip(
            headrace.scan(tmp_path).windows(32_000, 0.5).shuffle(1).loader(batch_size=2),
            loader,
            strict=True,
        ):
            np.testing.assert_array_equal(one.audio, other.audio)
    assert catalog.failures == ()
    assert 12 <= len(server.requests) <= 14
    assert sum(one.stop - one.start for one in server.requests) <= 1.1 * len(tar)


def test_the_memory_bound_covers_maps_of_holes(local: Catalog) -> None:
    """Each open decoder has one."""
    table = local.to_arrow()
    pieces = [None] * (len(table) - 1) + [bytes(16 * 10_000)]
    at = table.column_names.index("pieces")
    with_map = Catalog.from_table(
        table.set_column(at, "pieces", pa.array(pieces, pa.large_binary()))
    )
    bounds = [
        one.windows(8_000, 0.5).loader(batch_size=4, workers=2).memory_bound
        for one in (local, with_map)
    ]
    assert bounds[1] - bounds[0] >= 4 * 8 * 16 * 10_000


def test_random_windows_of_flac_take_about_one_request(tmp_path: Path) -> None:
    """From the first epoch on, with two workers, where the bitrate changes all the time."""
    chance = np.random.default_rng(1)
    noise = chance.normal(size=(120, 32_000)) * np.geomspace(0.001, 0.2, 120)[:, None]
    audio = chance.permutation(noise).ravel().astype(np.float32)
    write(tmp_path / "a.flac", audio, 32_000, "FLAC", "PCM_16")
    with ObjectServer({"a.flac": (tmp_path / "a.flac").read_bytes()}) as server:
        windows = headrace.scan("s3://bucket", store=server.options).windows(32_000, 1.0)
        ours = headrace.scan(tmp_path).windows(32_000, 1.0).shuffle(1).loader(batch_size=8)
        server.requests.clear()
        theirs = windows.shuffle(1).loader(batch_size=8, workers=2)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.audio, other.audio)
    assert len(server.requests) <= 1.5 * len(windows)
    size = (tmp_path / "a.flac").stat().st_size
    assert size > 4 << 20
    # A part is fetched in vain at first, as the windows are so small.
    assert sum(one.stop - one.start for one in server.requests) <= 1.75 * size


def test_frames_of_flac_that_were_found_are_known_to_the_next_loader(tmp_path: Path) -> None:
    """Windows that were read once cost one request, though most of the recording is unknown.

    Also those of a subset of the catalog, which are cut anew.
    """
    chance = np.random.default_rng(1)
    noise = chance.normal(size=(240, 32_000)) * np.geomspace(0.001, 0.2, 240)[:, None]
    audio = chance.permutation(noise).ravel().astype(np.float32)
    write(tmp_path / "a.flac", audio, 32_000, "FLAC", "PCM_16")
    size = (tmp_path / "a.flac").stat().st_size
    with ObjectServer({"a.flac": (tmp_path / "a.flac").read_bytes()}) as server:
        server.add({"b.flac": (tmp_path / "a.flac").read_bytes()})
        catalog = headrace.scan("s3://bucket", store=server.options)
        sent = []
        for first in (0, 0, 1):  # the third one is of a recording that nobody has read
            windows = catalog[first : first + 1].windows(32_000, 4.0)
            few = windows[::4].shuffle(1)
            server.requests.clear()
            delivered = sum(len(batch) for batch in few.loader(batch_size=4, workers=2))
            needed = size / len(windows) * delivered
            nbytes = sum(one.stop - one.start for one in server.requests)
            sent.append((len(server.requests) / delivered, nbytes / needed))
    assert sent[1][0] <= 1.3
    assert sent[1][1] <= 1.5
    assert sent[1] < sent[0]
    assert sent[1] < sent[2]


def test_statistics_tell_requests_and_bytes(
    bucket: Catalog, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a window costs is reported."""
    monkeypatch.setattr(server, "latency_s", 0.05)  # so that nothing is there before a worker is
    loader = order_of(bucket, shuffled=False).loader(batch_size=8, on_error="mask")
    list(loader)
    stats = loader.stats()
    assert stats.store_requests > 0
    assert stats.store_bytes > 0
    assert stats.store_s > 0
    assert "a window" in str(stats)


def _load_in_child(catalog: Catalog, queue: "multiprocessing.Queue[str]") -> None:
    try:
        catalog.windows(8_000, 0.5)[0]
    except StoreError as error:
        queue.put(str(error))
    except BaseException as error:  # noqa: BLE001  reported to the parent
        queue.put(repr(error))
    else:
        queue.put("no error")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")  # JAX's, if other tests imported it
def test_a_forked_child_raises_one_sentence(bucket: Catalog) -> None:
    """The parent has read from a store, so its forked child says what to do, and does not hang."""
    bucket.windows(8_000, 0.5)[0]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_load_in_child, args=(bucket, queue))
    child.start()
    assert queue.get(timeout=30).startswith("A forked process cannot read from a store")
    child.join()


def test_a_spawned_child_reads_with_the_environment(
    bucket: Catalog, server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickled catalog has no credentials; a new process finds them in its environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_load_in_child, args=(bucket, queue))
    child.start()
    assert queue.get(timeout=60) == "no error"
    child.join()
