from __future__ import annotations

import inspect
import os
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import obstore.store
import pytest

import headrace
from headrace.inference import Application
from tests.support.bucket import serve_bucket
from tests.support.models import expected_loudness, loudness, sorted_rows
from tests.support.ray_models import (
    Peak,
    appointed_loudness,
    killed_factory,
    killed_loudness,
    make_loudness,
    raising_loudness,
)
from tests.support.sounds import noise, write

pytest.importorskip("ray", reason="the extra ray is not installed")

import ray
import ray.data
import ray.train
from ray.cluster_utils import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headrace import Run, Windows

pytestmark = [
    pytest.mark.slow,  # Ray takes ten seconds to start
    # Ray Data reads its own outdated settings.
    pytest.mark.filterwarnings("ignore:`use_.*` is deprecated:DeprecationWarning:ray.data.context"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]

NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
"""A small node: 80 MB are the least that Ray takes."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Return a cluster of one node with one processor, to which this process is connected."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")  # no token in the home folder
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        running = Cluster(initialize_head=True, head_node_args=NODE)
        try:
            ray.init(address=running.address, log_to_driver=False)
            yield running
        finally:
            ray.shutdown()
            running.shutdown()


def apply(
    windows: Windows, output: Any, factory: Callable[[], Any] = make_loudness, **options: Any
) -> Run:
    """Apply a model on the cluster in small parts."""
    arguments: dict[str, Any] = {"batch_size": 4, "name": "loudness", "part_size": 6}
    return headrace.adapters.ray.apply(windows, factory, output, **{**arguments, **options})


def test_apply_has_the_arguments_of_a_local_call() -> None:
    """All of them but the function: actors make the model by a factory."""
    local = {*inspect.signature(headrace.Windows.apply).parameters} - {"self", "function", "model"}

    assert local <= {*inspect.signature(headrace.adapters.ray.apply).parameters}


class RecordedMetrics:
    """Takes the place of Ray's counters and gauges, and keeps what they show."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.shown: Counter[tuple[str, str]] = Counter()
        patch.setattr("ray.util.metrics.Counter", self._make)
        patch.setattr("ray.util.metrics.Gauge", self._make)

    def _make(self, name: str, _description: str, tag_keys: tuple[str, ...]) -> SimpleNamespace:
        def inc(value: float, tags: dict[str, str]) -> None:
            assert tuple(tags) == tag_keys
            self.shown[name, tags["run"]] += value  # type: ignore[assignment]

        def show(value: float, tags: dict[str, str]) -> None:
            self.shown[name, tags["run"]] = value  # type: ignore[assignment]

        return SimpleNamespace(inc=inc, set=show)


@pytest.mark.usefixtures("cluster")
def test_the_content_is_that_of_a_local_run(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, failures, ledger and metrics are the same, and a local call finds nothing left."""
    damaged = noise(4_000, seed=9)
    damaged[[900, 3_100]] = np.nan
    write(tmp_path / "damaged.wav", damaged, 8_000, "WAV", "FLOAT")
    windows = headrace.scan(tmp_path).windows(8_000, 0.25)
    local = windows.apply(loudness, tmp_path / "local", batch_size=4, name="loudness", part_size=6)

    with monkeypatch.context() as patch:
        metrics = RecordedMetrics(patch)
        run = apply(windows, tmp_path / "results")

    assert metrics.shown == {
        ("headrace_windows_written", "loudness"): local.progress.written,
        ("headrace_windows_failed", "loudness"): local.progress.failed,
        ("headrace_windows_open", "loudness"): 0,
    }
    assert run.complete
    assert sorted_rows(run.to_arrow()) == sorted_rows(local.to_arrow())
    assert run.failures == local.failures
    assert len(run.failures) > 0
    assert run.ledger() == local.ledger()
    assert not list((tmp_path / "results" / "leases").iterdir())
    assert apply(windows, tmp_path / "results").progress == run.progress


@pytest.mark.usefixtures("cluster", "archive")
def test_a_run_that_a_local_call_began_is_continued(tmp_path: Path) -> None:
    """New recordings of the archive are added on the cluster; what is there is kept."""
    write(tmp_path / "new.wav", noise(8_000, seed=1), 8_000, "WAV", "PCM_16")
    first = headrace.scan(str(tmp_path / "[0-3].wav")).windows(8_000, 0.25)
    more = headrace.scan(str(tmp_path / "*.wav")).windows(8_000, 0.25)
    first.apply(loudness, tmp_path / "grown", batch_size=4, name="loudness", part_size=6)

    run = apply(more, tmp_path / "grown")

    assert sorted_rows(run.to_arrow()) == expected_loudness(more)
    with pytest.raises(headrace.ResultsError, match="another run: part_size was 6"):
        apply(more, tmp_path / "grown", part_size=8)


@pytest.mark.usefixtures("cluster")
def test_a_model_that_raises_names_its_windows(windows: Windows, tmp_path: Path) -> None:
    """The error is that of a local run, complete parts are kept, and the next call goes on."""
    factory = partial(raising_loudness, "4.wav")
    with pytest.raises(
        headrace.ModelError, match=r"ValueError: a bad window .*4\.wav from"
    ) as seen:
        apply(windows, tmp_path / "results", factory)

    assert {failure.file_id for failure in seen.value.failures} >= {"4.wav"}
    assert headrace.load_run(tmp_path / "results").progress.parts > 0
    run = apply(windows, tmp_path / "results")
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


@pytest.mark.usefixtures("cluster")
def test_a_process_that_is_killed_costs_its_part(windows: Windows, tmp_path: Path) -> None:
    """Another actor makes the part again, and each window has one row."""
    (tmp_path / "kills").mkdir()
    factory = partial(killed_loudness, "3.wav", tmp_path / "kills", 2)

    run = apply(windows, tmp_path / "results", factory)

    assert len(list((tmp_path / "kills").iterdir())) == 2
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)
    assert not list((tmp_path / "results" / "leases").iterdir())


@pytest.mark.usefixtures("cluster")
def test_a_part_that_always_kills_its_process_is_named(windows: Windows, tmp_path: Path) -> None:
    """After a few deaths the call says which windows it was, and the other parts are kept."""
    (tmp_path / "kills").mkdir()
    factory = partial(killed_loudness, "3.wav", tmp_path / "kills", 1_000)

    with pytest.raises(
        headrace.ModelError, match=r"2 processes ended while they made only .* windows of .*3\.wav"
    ):
        apply(windows, tmp_path / "results", factory)

    assert len(list((tmp_path / "kills").iterdir())) in (2, 3)  # alone from the second on
    assert headrace.load_run(tmp_path / "results").progress.parts > 0


@pytest.mark.usefixtures("cluster")
def test_a_factory_that_ends_its_process_is_not_called_for_ever(
    windows: Windows, tmp_path: Path
) -> None:
    """If no actor can start, the call raises what Ray says; so does an error of the factory."""
    with pytest.raises(headrace.ModelError, match="3 actors ended one after another before"):
        apply(windows, tmp_path / "results", killed_factory)
    with pytest.raises(ValueError, match="invalid literal for int"):
        apply(windows, tmp_path / "results", partial(int, "model"))


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("as_url", [True, False])
def test_actors_write_to_a_bucket(
    windows: Windows, monkeypatch: pytest.MonkeyPatch, *, as_url: bool
) -> None:
    """A store is given to the actors as it is; a URL needs variables there, as Ray sets them."""
    with serve_bucket("archive") as variables:
        if as_url:
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            options = {"runtime_env": {"env_vars": variables}}
            run = apply(windows, "s3://archive/results", actor_options=options)
        else:
            store = obstore.store.S3Store(
                "archive",
                prefix="results",
                endpoint=variables["AWS_ENDPOINT_URL"],
                access_key_id="key",
                secret_access_key="secret",
                region="us-east-1",
                client_options={"allow_http": True},
            )
            run = apply(windows, store)

        assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("name", "seen", "what"),
    [
        ("exists", property(lambda _: False), "the run that an actor created is not in the output"),
        ("has_part", lambda *_: False, "the part that an actor made on node .* is not in the"),
    ],
)
def test_an_output_that_nodes_do_not_share_is_an_error(
    windows: Windows,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    seen: object,
    what: str,
) -> None:
    """If this process does not see what an actor wrote, the call ends and says so."""
    monkeypatch.setattr(Application, name, seen)  # of this process

    with pytest.raises(headrace.ResultsError, match=what):
        apply(windows, tmp_path / "results")


def test_nodes_come_and_go(cluster: Cluster, tmp_path: Path) -> None:
    """A node that is added is used; one of three that is killed costs its parts; same content."""
    for seed in range(6):
        write(tmp_path / f"{seed}.wav", noise(24_000, seed=seed), 8_000, "WAV", "PCM_16")
    windows = headrace.scan(tmp_path).windows(8_000, 0.25)
    second = cluster.add_node(**NODE)
    with ThreadPoolExecutor(1) as threads:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(60)
            factory = partial(appointed_loudness, server.getsockname())
            result = threads.submit(apply, windows, tmp_path / "results", factory, num_actors=3)
            actors = [_Appointment(server) for _ in range(2)]
            third = cluster.add_node(**NODE)
            actors.append(_Appointment(server))
        nodes = {one.node for one in actors}
        assert nodes == {cluster.head_node.node_id, second.node_id, third.node_id}

        cluster.remove_node(second, allow_graceful=False)
        for one in actors:
            if one.node == second.node_id:  # the actor goes with its node
                os.kill(one.pid, signal.SIGKILL)
            one.keep()
        run = result.result()
    cluster.remove_node(third)

    assert run.complete
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


class _Appointment:
    """A model of `appointed_loudness` that waits.

    Attributes
    ----------
    node : str
        The node that it is on.
    pid : int
        Its process.
    """

    def __init__(self, server: socket.socket) -> None:
        self._connection, _ = server.accept()
        self._connection.settimeout(60)
        with self._connection.makefile("r") as lines:
            self.node, pid = lines.readline().split()
        self.pid = int(pid)

    def keep(self) -> None:
        """Let it begin."""
        with self._connection, suppress(OSError):  # it may be dead
            self._connection.sendall(b"!")


def test_a_cluster_that_is_too_small_is_a_warning(
    cluster: Cluster, windows: Windows, tmp_path: Path
) -> None:
    """The call says what each actor needs, waits, and goes on when there is such a node."""
    options = {"resources": {"hydrophone": 1}}
    warning = pytest.warns(headrace.HeadraceWarning, match="no node .* CPU: 1, hydrophone: 1,")
    with ThreadPoolExecutor(1) as threads, warning:
        result = threads.submit(apply, windows, tmp_path / "results", actor_options=options)
        node = cluster.add_node(**NODE, resources={"hydrophone": 1})
        run = result.result()
    cluster.remove_node(node)

    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


@pytest.mark.usefixtures("cluster")
def test_read_gives_every_window_to_map_batches(windows: Windows) -> None:
    """A pool of actors gets each window once, with the audio of the loader."""
    dataset = headrace.adapters.ray.read(windows, batch_size=4, override_num_blocks=3)

    assert dataset.count() == len(windows)
    peaks = dataset.map_batches(
        Peak, batch_size=8, num_cpus=0, compute=ray.data.ActorPoolStrategy(size=1)
    ).take_all()

    expected = {
        (example.index, example.file_id, example.offset, float(np.abs(example.audio).max()))
        for example in windows.unordered
    }
    assert len(peaks) == len(windows)
    assert {tuple(row[name] for name in ("index", "id", "start_s", "peak")) for row in peaks} == (
        expected
    )


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("ranks", [1, 3])
def test_read_tasks_have_the_batches_of_an_epoch(windows: Windows, ranks: int) -> None:
    """The rows of all blocks are those of the loader in this epoch, in its order."""
    windows = windows.shard(ranks - 1, ranks, remainder="mask")
    dataset = headrace.adapters.ray.read(
        windows, batch_size=5, epoch=2, override_num_blocks=3, concurrency=1
    )
    rows = dataset.to_arrow_refs()
    index = np.concatenate([block["index"].to_numpy() for block in ray.get(rows)])
    with windows.loader(batch_size=5) as loader:
        for _ in range(2):
            list(loader)
        expected = np.concatenate([batch.index for batch in loader])

    expected = expected[expected >= 0]  # without the row that the shard adds
    assert index.tolist() == expected.tolist()


@pytest.mark.usefixtures("cluster")
def test_read_raises_or_masks_what_cannot_be_read(tmp_path: Path) -> None:
    """With mask, a lost window is a row with its cause; with raise, the task fails with it."""
    write(tmp_path / "good.wav", noise(8_000), 8_000, "WAV", "PCM_16")
    damaged = noise(8_000)
    damaged[3_000] = np.nan
    write(tmp_path / "damaged.wav", damaged, 8_000, "WAV", "FLOAT")
    windows = headrace.scan(tmp_path).windows(8_000, 0.25)

    rows = headrace.adapters.ray.read(windows, on_error="mask").take_all()
    (lost,) = (row for row in rows if not row["valid"])
    assert len(rows) == len(windows)
    assert (lost["id"], lost["start_s"]) == ("damaged.wav", 0.25)
    assert "damaged.wav, 0.250 s to 0.500 s" in lost["failure"]
    assert {row["failure"] for row in rows if row["valid"]} == {None}
    with pytest.raises(Exception, match=r"damaged\.wav"):
        headrace.adapters.ray.read(windows).take_all()


def test_workers_of_ray_train_know_their_rank(
    cluster: Cluster, windows: Windows, tmp_path: Path
) -> None:
    """Each worker's shard is that of its rank, without torch.distributed."""
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    def train() -> None:
        share = windows.shard().share
        (tmp_path / f"{share.rank} of {share.world}").touch()

    node = cluster.add_node(**NODE)
    trainer = DataParallelTrainer(
        train,
        scaling_config=ray.train.ScalingConfig(num_workers=2),
        run_config=ray.train.RunConfig(storage_path=str(tmp_path / "train")),
    )
    trainer.fit()
    cluster.remove_node(node)

    assert {one.name for one in tmp_path.glob("* of *")} == {"0 of 2", "1 of 2"}
    assert windows.shard().share.world == 1  # this process is none of the workers
