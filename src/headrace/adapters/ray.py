"""`apply`: a model over an archive, on a Ray cluster; `read`: windows as a dataset of Ray Data.

Guarantees
----------
- `apply`: a part is assigned to one actor at a time. If an actor or its node is lost, its parts are
  assigned to others; each part is still in the results once, because creating it is what
  `Windows.apply` rests on too. The driver waits for Ray and never polls.
- `apply`: audio and results never pass through Ray's object store. It holds the windows (their
  catalog) once on each node, and names of parts and counts.
- However `apply` ends, its actors have been told to end.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from headrace._formatting import escape_controls
from headrace._progress import progress_bar
from headrace._validation import check_choice, check_count, check_whole_number
from headrace.errors import HeadraceWarning, ModelError, ResultsError
from headrace.inference import Application, AssignedParts
from headrace.loading import Loader, make_state
from headrace.storage import is_url

try:
    import ray
except ModuleNotFoundError as error:
    if error.name != "ray":
        raise
    raise ModuleNotFoundError(
        "headrace.adapters.ray needs Ray: pip install 'headrace[ray]'.", name="ray"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from headrace._progress import UpdateProgress
    from headrace.failures import Failure
    from headrace.inference import OnModelError, PartCounts, PartName, Run
    from headrace.windows import Batch, Windows

__all__ = ["apply", "read"]

_ASSIGNED: Final = 3
"""Parts that an actor has been assigned: the model is at one, the loader may already be at the
next, and looks for the one after it."""

_MOST_DEATHS: Final = 2
"""So many processes may end while they make one part and nothing else. An arbitrary number: one may
be bad luck. Processes that end with their node do not count."""

_MOST_FAILED_STARTS: Final = 3
"""So many actors may end one after another before they can make a part. An arbitrary number."""

_REASON: Final = 500
"""The most characters of Ray's account of why a process ended."""

_NOT_SHARED: Final = (
    "the {} is not in the output as this process sees it: give a folder that all nodes share, or a "
    "bucket."
)


def apply(
    windows: Windows,
    factory: Callable[[], Callable[[Any], object]],
    output: str | os.PathLike[str] | Any,  # noqa: ANN401  or a store of obstore
    *,
    batch_size: int,
    name: str,
    num_actors: int | None = None,
    num_cpus: float = 1,
    num_gpus: float = 0,
    actor_options: Mapping[str, Any] | None = None,
    device: object = None,
    columns: Sequence[str] = (),
    float16: Sequence[str] = (),
    on_error: OnModelError = "raise",
    pad_batches: bool = False,
    retry_failed: bool | None = None,
    part_size: int | None = None,
    workers: int | Literal["auto"] = "auto",
    prefetch: int | Literal["auto"] = "auto",
    memory: str | int | None = None,
    stall_timeout_s: float | None = None,
    progress: bool | None = None,
) -> Run:
    """Apply a model to every window on a Ray cluster, and keep the results, exactly once.

    The results are those of `Windows.apply`, in the same files: a run that one of the two began can
    be continued by the other, also at the same time. Ray schedules parts on a pool of actors. Each
    actor has the model, a loader of its own, and writes its parts itself. An actor for which the
    cluster has no room yet is started when it has, so that an autoscaler adds nodes; an actor
    without work is ended, so that it removes them. In Ray's dashboard, a part is a task with a name
    that says its windows, and `headrace_windows_written`, `headrace_windows_failed` and
    `headrace_windows_open` are metrics with the tag ``run``, the model's name.

    Parameters
    ----------
    windows : Windows
        The windows. Their files are read on all nodes, by the same paths.
    factory : callable
        ``factory()`` returns the model, a function of a batch as in `Windows.apply`. It is called
        at most once in each actor.
    output : str, path, or store of obstore
        A folder that all nodes share, or the URL of a bucket.
    batch_size : int
        The most windows in a batch.
    name : str
        What the model is: results of another name are refused.
    num_actors : int, optional
        The most actors at a time. Default: as many as there is room for on the nodes that the
        cluster has when the call begins.
    num_cpus, num_gpus : float
        Processors and GPUs that Ray reserves for each actor. Ray lets an actor see only its own
        GPUs: use ``device="cuda"``.
    actor_options : mapping, optional
        More options of Ray for the actors, such as ``{"resources": {"tpu": 1}}`` or
        ``{"runtime_env": {...}}``.
    workers : int or "auto"
        Threads of each actor's loader. ``"auto"`` is `num_cpus`, at least 1.
    memory : str or int, optional
        Limit on each actor's loader and parts, as in `Windows.apply`.
    device, columns, float16, on_error, pad_batches, retry_failed, part_size, prefetch
        As in `Windows.apply`.
    stall_timeout_s, progress
        As in `Windows.apply`.

    Returns
    -------
    Run
        The results.

    Raises
    ------
    ModelError
        The model raised, or actors end again and again while they make a part, or before they can
        make one. Parts that were complete are kept.
    ResultsError, MemoryBudgetError, ValueError, OSError
        As in `Windows.apply`.

    Warns
    -----
    HeadraceWarning
        No node of the cluster is large enough for an actor. The call waits until one is added.
    """
    num_actors = check_count("num_actors", num_actors, 1, None)
    if isinstance(output, str | os.PathLike) and not is_url(os.fspath(output)):
        output = Path(output).expanduser().absolute()  # actors have another working directory
    arguments: dict[str, Any] = {
        "batch_size": batch_size,
        "name": name,
        "model": factory,
        "device": None,
        "columns": columns,
        "float16": float16,
        "on_error": on_error,
        "pad_batches": pad_batches,
        "part_size": part_size,
        "workers": _threads(num_cpus) if workers == "auto" else workers,
        "prefetch": prefetch,
        "memory": memory,
        "stall_timeout_s": stall_timeout_s,
    }
    driver = _Driver(
        Application(windows, None, output, **arguments), name, retry_failed=retry_failed
    )
    if driver.is_complete():
        return driver.application.run()
    if not ray.is_initialized():
        ray.init()
    options = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "scheduling_strategy": "SPREAD",  # to use the disks and networks of all nodes
        **(actor_options or {}),
        "max_concurrency": _ASSIGNED + 1,
        "max_restarts": 0,  # the driver starts actors anew where there is room
        "max_task_retries": 0,
    }
    room = _room(options)
    if not room:
        warnings.warn(
            f"no node of the Ray cluster has {_describe_demand(options)}, which each actor needs: "
            "waiting until one is added.",
            HeadraceWarning,
            stacklevel=2,
        )
    arguments["device"] = device
    shared = ray.put(windows)
    start = partial(_start_actor, options, shared, output, arguments, retry_failed)
    pool = _Pool(driver, start, num_actors or max(1, room))
    try:
        with progress_bar("Applying the model", progress) as update:
            pool.make_all(update)
    finally:
        pool.close()
    return driver.application.run()


class _PartMaker:
    """The actor: one process's model, loader and writer."""

    def __init__(
        self,
        windows: Windows,
        output: object,
        arguments: dict[str, Any],
        retry_failed: bool | None,
    ) -> None:
        self._windows, self._output, self._arguments = windows, output, arguments
        self._retry_failed = retry_failed
        self._parts: AssignedParts | None = None

    def open(self) -> str:
        """Open the run, or create it; return the id of the node."""
        application = Application(self._windows, None, self._output, **self._arguments)
        application.open()
        self._parts = AssignedParts(application, retry_failed=self._retry_failed)
        node: str = ray.get_runtime_context().get_node_id()
        return node

    def make(self, name: PartName) -> PartCounts:
        """Make a part. Several calls run at once, so that the loader can read ahead."""
        assert self._parts is not None
        return self._parts.make(name)

    def __repr__(self) -> str:
        return f"headrace {self._arguments['name']}"  # how Ray's dashboard and logs call it


def _start_actor(
    options: dict[str, Any],
    windows: Any,  # noqa: ANN401  a reference to an object
    output: object,
    arguments: dict[str, Any],
    retry_failed: bool | None,
) -> Any:  # noqa: ANN401  a handle
    return (
        ray.remote(_PartMaker).options(**options).remote(windows, output, arguments, retry_failed)
    )


@dataclass(eq=False, slots=True)
class _Actor:
    """An actor, as the driver knows it.

    Attributes
    ----------
    handle : object
        Ray's.
    node : str or None
        The node that it is on; None until it has opened the run.
    making : list of PartName
        The parts that it has been assigned, in order.
    """

    handle: Any
    node: str | None = None
    making: list[PartName] = field(default_factory=list)


class _Driver:
    """What the driver knows of the run.

    Attributes
    ----------
    application : Application
        The call.
    name : str
        The model's name.
    left : deque of PartName
        Parts that no actor has been assigned.
    total, done : int
        Windows of the run, and those of the ranges that are done.
    opened : bool
        Whether these are known.
    """

    def __init__(self, application: Application, name: str, *, retry_failed: bool | None) -> None:
        self.application = application
        self.name = name
        self.left: deque[PartName] = deque()
        self.total = self.done = 0
        self._retry_failed = retry_failed
        self.opened = False

    def is_complete(self) -> bool:
        """Return whether nothing is left of a run that exists."""
        if self.application.exists:
            self.open()
        return self.opened and not self.left

    def open(self) -> None:
        """Look what is left, once; the run must exist."""
        if self.opened:
            return
        if not self.application.exists:
            raise ResultsError(_NOT_SHARED.format("run that an actor created"))
        self.application.open()
        work = self.application.work(retry_failed=self._retry_failed)
        self.left.extend(work.left())
        self.total, self.done = work.total, work.done
        self.opened = True


class _Pool:
    """The actors, and who makes what.

    Parameters
    ----------
    driver : _Driver
        What is left.
    start : callable
        Starts an actor, and returns its handle.
    size : int
        The most actors.
    """

    def __init__(self, driver: _Driver, start: Callable[[], Any], size: int) -> None:
        self._driver = driver
        self._start = start
        self._size = size
        self._actors: list[_Actor] = []
        self._calls: dict[Any, tuple[_Actor, PartName | None]] = {}  # by the result's reference
        self._suspects: set[PartName] = set()  # one of them may have ended a process: made alone
        self._deaths: Counter[PartName] = Counter()
        self._failed_starts = 0
        self._sharing: set[str | None] = set()  # nodes whose parts have been seen
        self._metrics = _Metrics(driver.name)

    def make_all(self, update: UpdateProgress) -> None:
        """Make all parts that are left."""
        driver = self._driver
        self._balance()
        while self._calls:
            (reference,), _ = ray.wait(list(self._calls), num_returns=1)
            actor, name = self._calls.pop(reference)
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayActorError as error:
                self._lose(actor, error)
            else:
                if name is None:
                    actor.node = answer
                    self._failed_starts = 0
                    driver.open()
                else:
                    self._check_shared(actor, name)
                    actor.making.remove(name)
                    if not name.attempt:
                        driver.done += name.stop - name.begin
                    self._metrics.count(answer, driver.total - driver.done)
                    update(min(driver.done, driver.total), driver.total)
            self._balance()

    def _check_shared(self, actor: _Actor, name: PartName) -> None:
        """Raise `ResultsError` if the first part of a node is not where it should be."""
        if name.attempt:  # is not written if it gains nothing
            return
        if actor.node not in self._sharing and not self._driver.application.has_part(name):
            raise ResultsError(_NOT_SHARED.format(f"part that an actor made on node {actor.node}"))
        self._sharing.add(actor.node)

    def _balance(self) -> None:
        """Start the actors that there is work for, end those that there is none for, assign."""
        driver = self._driver
        unfinished = len(driver.left) + sum(len(actor.making) for actor in self._actors)
        wanted = min(self._size, unfinished) if driver.opened else self._size
        while len(self._actors) < wanted:
            actor = _Actor(self._start())
            self._actors.append(actor)
            self._calls[actor.handle.open.remote()] = actor, None
        if not driver.opened:
            return
        ready = [actor for actor in self._actors if actor.node is not None]
        for assigned in range(min(_ASSIGNED, -(-unfinished // max(1, len(self._actors))))):
            for actor in ready:
                if len(actor.making) <= assigned and driver.left and self._may_take_next(actor):
                    self._assign(actor, driver.left.popleft())
        if not driver.left:
            idle = [actor for actor in self._actors if not actor.making]
            for actor in idle:
                self._end(actor)

    def _may_take_next(self, actor: _Actor) -> bool:
        """Return whether an actor may be assigned the next part: a suspect is made alone."""
        suspects = self._suspects
        return not actor.making or suspects.isdisjoint((actor.making[0], self._driver.left[0]))

    def _assign(self, actor: _Actor, name: PartName) -> None:
        windows = f"windows {name.begin:,} to {name.stop - 1:,}"
        if name.generation:
            windows += f" of generation {name.generation}"
        call = actor.handle.make.options(name=f"{self._driver.name}: {windows}")
        actor.making.append(name)
        self._calls[call.remote(name)] = actor, name

    def _lose(self, actor: _Actor, error: Exception) -> None:
        """Take back the parts of an actor that has ended, or cannot be reached.

        Raises
        ------
        ModelError
            It is one too many.
        """
        reason = escape_controls(" ".join(str(error).split()))[:_REASON]
        making = actor.making
        self._end(actor, kill=True)
        self._driver.left.extendleft(reversed(making))
        if actor.node is None:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise ModelError(
                    f"{self._failed_starts} actors ended one after another before they could make "
                    f"a part. Ray's last reason: {reason}"
                )
        elif making and actor.node in _nodes():
            self._suspects.update(making)
            self._deaths.update(making if len(making) == 1 else ())
            if self._deaths[making[0]] >= _MOST_DEATHS:
                raise ModelError(
                    f"{_MOST_DEATHS} processes ended while they made only the part of "
                    f"{self._driver.application.describe(making[0])}. All parts that were complete "
                    "are kept. The model crashes on these windows, or needs more memory than there "
                    f"is. Ray's last reason: {reason}"
                )

    def _end(self, actor: _Actor, *, kill: bool = False) -> None:
        """End an actor, and forget it and its calls."""
        self._actors.remove(actor)
        self._calls = {
            reference: call for reference, call in self._calls.items() if call[0] is not actor
        }
        if kill or actor.node is None:  # one that has not started cannot end by itself
            ray.kill(actor.handle)
        else:
            actor.handle.__ray_terminate__.remote()

    def close(self) -> None:
        """End all actors."""
        for actor in list(self._actors):
            self._end(actor, kill=True)


class _Metrics:
    """What Ray's dashboard and Prometheus show of the run."""

    def __init__(self, run: str) -> None:
        from ray.util import metrics

        tags = ("run",)
        self._written = metrics.Counter(
            "headrace_windows_written", "Windows that have a result.", tags
        )
        self._failed = metrics.Counter(
            "headrace_windows_failed", "Windows that have a cause instead of a result.", tags
        )
        self._open = metrics.Gauge("headrace_windows_open", "Windows that are left.", tags)
        self._tags = {"run": run}

    def count(self, counts: PartCounts, windows_left: int) -> None:
        """Count a part."""
        for counter, number in ((self._written, counts.written), (self._failed, counts.failed)):
            if number:
                counter.inc(number, self._tags)
        self._open.set(max(0, windows_left), self._tags)


def _threads(num_cpus: float) -> int:
    return max(1, int(num_cpus))


def _demand(options: Mapping[str, Any]) -> dict[str, float]:
    """Return the resources that an actor needs, by Ray's names."""
    demand = {
        "CPU": options["num_cpus"],
        "GPU": options["num_gpus"],
        "memory": options.get("memory") or 0,
        **(options.get("resources") or {}),
    }
    return {resource: amount for resource, amount in demand.items() if amount}


def _describe_demand(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{resource}: {amount:g}" for resource, amount in _demand(options).items())


def _nodes() -> dict[str, dict[str, float]]:
    """Return the resources of each node that is alive."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def _room(options: Mapping[str, Any]) -> int:
    """Return how many actors the cluster's nodes have room for, were they empty."""
    demand = _demand(options)
    if not demand:
        return len(_nodes())
    return sum(
        int(min(node.get(resource, 0.0) / amount for resource, amount in demand.items()))
        for node in _nodes().values()
    )


def read(
    windows: Windows,
    *,
    batch_size: int = 64,
    epoch: int = 0,
    on_error: Literal["raise", "mask"] = "raise",
    num_cpus: float = 1,
    workers: int | Literal["auto"] = "auto",
    prefetch: int | Literal["auto"] = "auto",
    memory: str | int | None = None,
    stall_timeout_s: float | None = None,
    **options: Any,  # noqa: ANN401  Ray's
) -> Any:  # noqa: ANN401  a dataset of Ray
    """Return the windows as a `ray.data.Dataset`, whose read tasks load them.

    A row is a window. Its columns are ``id`` of the recording, ``start_s`` and ``end_s`` (float64,
    seconds), ``index`` (int64, the window's place in the unshuffled set), ``valid_samples``,
    ``source``, ``audio`` (a tensor, as in `AudioExample`), with labels ``labels`` and
    ``label_mask``, and with ``on_error="mask"`` ``valid`` and ``failure`` (the cause as text, or
    null). The audio passes through Ray's object store: to keep only a model's results, `apply`
    needs neither its memory nor its copies.

    Parameters
    ----------
    windows : Windows
        The windows, in their order. Their files are read on all nodes, by the same paths. Ray Data
        keeps the order only if its option ``preserve_order`` is set; ``index`` says which window a
        row is.
    batch_size : int
        Windows that a loader delivers at once: the smallest blocks.
    epoch : int
        Whose order and random numbers.
    on_error : {"raise", "mask"}
        What to do with a window that cannot be read: raise `ReadError` in the read task, or give
        zeros with ``valid`` False and the cause. To leave these rows out, filter by ``valid``.
    num_cpus : float
        Processors that Ray reserves for each read task.
    workers : int or "auto"
        Threads of each read task's loader. ``"auto"`` is `num_cpus`, at least 1.
    prefetch, memory, stall_timeout_s
        As in `Windows.loader`, for each read task.
    **options
        As in `ray.data.read_datasource`: ``override_num_blocks``, ``concurrency``,
        ``ray_remote_args`` and others.

    Returns
    -------
    ray.data.Dataset

    Raises
    ------
    MemoryBudgetError, InvalidWindowsError, ValueError
        As in `Windows.loader`.
    """
    import ray.data

    check_choice("on_error", on_error, ("raise", "mask"))
    epoch = check_whole_number("epoch", epoch, 0)
    arguments: dict[str, Any] = {
        "batch_size": check_whole_number("batch_size", batch_size, 1),
        "on_error": on_error,
        "workers": _threads(num_cpus) if workers == "auto" else workers,
        "prefetch": prefetch,
        "memory": memory,
        "stall_timeout_s": stall_timeout_s,
    }
    Loader(windows, **arguments).close()  # raises here, and not in a task, what is wrong
    source = _make_datasource(windows, epoch, arguments)
    return ray.data.read_datasource(source, num_cpus=num_cpus, **options)


def _make_datasource(windows: Windows, epoch: int, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return a `ray.data.Datasource`; the class is made here because importing it takes seconds."""
    from ray.data import Datasource, ReadTask
    from ray.data.block import BlockMetadata

    batch_size = arguments["batch_size"]
    row_bytes = math.prod(windows.shape) * windows.dtype.itemsize

    class WindowsDatasource(Datasource):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._windows = ray.put(windows)

        def estimate_inmemory_data_size(self) -> int:
            return len(windows) * row_bytes

        def get_read_tasks(
            self,
            parallelism: int,
            per_task_row_limit: int | None = None,
            data_context: object = None,  # noqa: ARG002  later versions of Ray give it
        ) -> list[Any]:
            batches = -(-len(windows) // batch_size)
            edges = np.linspace(0, batches, min(parallelism, batches) + 1).astype(int).tolist()
            tasks = []
            for first, stop in pairwise(edges):
                rows = min(stop * batch_size, len(windows)) - first * batch_size
                metadata = BlockMetadata(
                    num_rows=rows, size_bytes=rows * row_bytes, input_files=None, exec_stats=None
                )
                read_task = partial(
                    _read_blocks, self._windows, epoch, first, stop - first, arguments
                )
                tasks.append(
                    ReadTask(
                        read_task,
                        metadata,
                        per_task_row_limit=per_task_row_limit,
                    )
                )
            return tasks

    return WindowsDatasource()


def _read_blocks(
    windows_reference: Any,  # noqa: ANN401  a reference to an object
    epoch: int,
    first: int,
    count: int,
    arguments: dict[str, Any],
) -> Iterator[pa.Table]:
    """Yield `count` batches of an epoch, from batch `first` on, as blocks."""
    windows: Windows = ray.get(windows_reference)
    with Loader(windows, **arguments) as loader:
        position = first * arguments["batch_size"] * windows.share.step
        loader.load_state_dict(make_state(windows, epoch, position))
        for batch in loader.steps(count):
            yield _block(batch, loader.failures if loader.on_error == "mask" else None)


def _block(batch: Batch, failures: Sequence[Failure] | None) -> pa.Table:
    """Return a batch as a block of Ray Data, without the rows that a shard adds.

    Parameters
    ----------
    batch : Batch
        The windows.
    failures : sequence of Failure, optional
        All that the loader has met; with these, there are columns for them.
    """
    import pyarrow as pa
    from ray.data.block import BlockAccessor

    tensors = {"audio": batch.audio, "labels": batch.labels, "label_mask": batch.label_mask}
    present = {name: array for name, array in tensors.items() if array is not None}
    table: pa.Table = BlockAccessor.batch_to_block(present)
    columns = {
        "id": pa.array(batch.file_id, pa.string()),
        "start_s": batch.offset,
        "end_s": batch.end_s,
        "index": batch.index,
        "valid_samples": batch.valid_samples,
        "source": batch.source,
    }
    if failures is not None:
        columns["valid"] = batch.valid
        causes = [
            None if ok else _cause(batch, row, failures) for row, ok in enumerate(batch.valid)
        ]
        columns["failure"] = pa.array(causes, pa.string())
    for place, (name, column) in enumerate(columns.items()):
        table = table.add_column(place, name, pa.array(column))
    real = batch.index >= 0
    return table if real.all() else table.filter(pa.array(real))


def _cause(batch: Batch, row: int, failures: Sequence[Failure]) -> str | None:
    """Return why a row is not valid; None for a row that a shard adds."""
    name, start_s = batch.file_id[row], batch.offset[row]
    found = (
        failure
        for failure in reversed(failures)
        if failure.file_id == name and failure.start_s <= start_s < failure.stop_s
    )
    failure = next(found, None)
    return None if failure is None else str(failure)
