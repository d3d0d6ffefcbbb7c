"""`demo`: compare the plain and the threaded loader while they feed a stand-in model."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headrace.bench._worker_sweep import sweep
from headrace.errors import ReadError
from headrace.loading import Loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headrace.bench._worker_sweep import SweepResult
    from headrace.windows import Batch, Windows

__all__ = ["Demo", "StandInModel", "demo"]

_WIDTH: Final = 64
_ROWS: Final = 32  # of one matrix product: few, as `StandInModel` explains
_PRODUCTS: Final = 128  # at a time: 1 MiB, which fits in the cache of one processor

_LOAD_S: Final = 1.0  # seconds spent on measuring how long a batch takes to load
_MIN_BATCHES: Final = 4


class StandInModel:
    """A model for demonstrations: dense layers over blocks of 64 samples.

    Its weights are random and its output means nothing, but the work is real: matrix products on
    every sample of the batch, in the calling thread, without the GIL. Each product is 32 x 64 x 64,
    so small that a BLAS library does not start threads for it. So the model takes one processor and
    leaves the others to the loader.

    Parameters
    ----------
    depth : int
        Number of layers; the time of a call is proportional to it.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        random = np.random.default_rng(0)
        scale = np.sqrt(2 / _WIDTH)  # keeps the level from layer to layer (He et al., 2015)
        weights = scale * random.standard_normal((depth, _WIDTH, _WIDTH))
        self._weights = weights.astype(np.float32)
        self._scratch = np.zeros((2, _PRODUCTS, _ROWS, _WIDTH), np.float32)

    def __call__(self, batch: Batch) -> float:
        """Return the sum of the last layer's activations."""
        audio = batch.audio.reshape(-1)
        chunk = self._scratch[0].size
        total = 0.0
        for start in range(0, len(audio), chunk):
            x, y = self._scratch
            part = audio[start : start + chunk]
            x.reshape(-1)[: len(part)] = part
            x.reshape(-1)[len(part) :] = 0
            for weights in self._weights:
                np.matmul(x, weights, out=y)
                np.maximum(y, 0, out=y)
                x, y = y, x
            total += float(x.sum())
        return total


@dataclass(frozen=True, slots=True)
class Demo:
    """What `demo` measured.

    Attributes
    ----------
    sweep : SweepResult
        The measurements; the first row is the plain loader.
    depth : int
        Layers of the stand-in model.
    load_s, model_s : float
        Seconds per batch: to load it in the calling thread, and to run the model on it.
    """

    sweep: SweepResult
    depth: int
    load_s: float
    model_s: float

    @property
    def verdict(self) -> str:
        """The verdict on the last run with the recommended number of workers."""
        return self.sweep.verdict

    def as_json(self) -> dict[str, Any]:
        """Return all measurements in a form for `json.dump`."""
        model = {"depth": self.depth, "load_s": self.load_s, "model_s": self.model_s}
        return {"model": model, **self.sweep.as_json()}


def demo(
    windows: Windows,
    workers: Iterable[int] = (0, 1, 2),
    *,
    rounds: int = 3,
    batch_size: int = 32,
    ratio: float = 1.3,
    budget_s: float = 18.0,
    progress: Callable[[int, int], object] | None = None,
    watch: Callable[[Loader], object] | None = None,
) -> Demo:
    """Stream windows to a stand-in model with each number of workers.

    The model is sized for this machine and these recordings: a batch takes it `ratio` times as long
    as the plain loader. So a loader that works while the model runs can keep the model busy.

    Parameters
    ----------
    windows : Windows
        The windows to stream; only the first are used if `budget_s` does not allow more.
    workers : iterable of int
        Numbers of workers; 0 is the plain loader.
    rounds, batch_size, progress, watch
        As in `sweep`.
    ratio : float
        The model's time per batch, divided by the plain loader's.
    budget_s : float
        About how many seconds all runs take together; decides the number of windows.

    Returns
    -------
    Demo

    Raises
    ------
    ReadError
        None of the windows could be read.
    """
    counts = tuple(workers)
    load_s, batch = _time_loading(windows, batch_size)
    depth = 8
    for _ in range(2):  # the fixed cost of a call, copying the batch, makes the first guess wrong
        model_s = _time_model(StandInModel(depth), batch)
        depth = max(1, round(depth * ratio * load_s / model_s))
    model = StandInModel(depth)
    model_s = _time_model(model, batch)

    # A batch takes the plain loader the sum of both times, a threaded one the longer of the two.
    round_s = sum(model_s + load_s if not count else max(model_s, load_s) for count in counts)
    batches = max(_MIN_BATCHES, int(budget_s / ((rounds + 1) * round_s)))
    measured = sweep(
        windows[: batches * batch_size],
        counts,
        rounds=rounds,
        batch_size=batch_size,
        consume=model,
        least_s=budget_s / ((rounds + 1) * len(counts)),
        progress=progress,
        watch=watch,
    )
    return Demo(measured, model.depth, load_s, model_s)


def _time_loading(windows: Windows, batch_size: int) -> tuple[float, Batch]:
    """Return the median seconds to load a batch in the calling thread, and a batch."""
    times: list[float] = []
    loading = Loader(windows, batch_size=batch_size, workers=0, on_error="skip", log_losses=False)
    with loading as loader:
        batches = iter(loader)
        before = perf_counter()
        batch = next(batches, None)
        if batch is None:
            raise ReadError(loader.failures[0])
        # The first batch builds tables and opens files: it counts only if there is no other.
        times.append(perf_counter() - before)
        while sum(times) < _LOAD_S:
            before = perf_counter()
            following = next(batches, None)
            if following is None:
                break
            times.append(perf_counter() - before)
            if len(following) == batch_size:
                batch = following
    return median(times[1:] or times), batch


def _time_model(model: StandInModel, batch: Batch) -> float:
    """Return the seconds of the fastest of six calls: other programs can only slow a call down."""
    times = []
    for _ in range(6):
        before = perf_counter()
        model(batch)
        times.append(perf_counter() - before)
    return min(times)
