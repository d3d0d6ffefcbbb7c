"""Functions given to `map` and `batch_map`: their arguments, their results, their errors."""

from __future__ import annotations

import json
import pickle
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from headrace.bench._synthetic import write_archive
from headrace.windows._transforms import generator
from tests.support.deliveries import delivered_rows
from tests.support.sounds import medley, noise, write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace import AudioExample, Batch, Windows

RATE = 8_000


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    """Thirty windows of 0.5 s of three recordings, which need resampling."""
    folder = tmp_path_factory.mktemp("sounds")
    for place in range(3):
        write(folder / f"{place}.wav", medley(5 * 11_025, seed=place), 11_025, "WAV", "PCM_16")
    return headrace.scan(folder).windows(RATE, 0.5)


def halved(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the audio at half the level."""
    return np.float32(0.5) * audio


def noisy(audio: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Add noise in place."""
    audio += rng.standard_normal(audio.shape, np.float32) / 100
    return audio


def all_audio(loader: headrace.Loader) -> dict[int, bytes]:
    """Return the audio of one epoch by window index."""
    return {row.index: row.audio.tobytes() for row in delivered_rows(loader)}


@pytest.mark.parametrize("batch_size", [None, 7])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_function_is_called_on_each_windows_audio(
    windows: Windows, workers: int, batch_size: int | None
) -> None:
    """Each window is delivered as the function returned it, with any number of workers."""
    mapped = windows.map(halved).shuffle(seed=1)

    seen = all_audio(mapped.loader(workers=workers, batch_size=batch_size))

    assert seen == {i: halved(windows[i].audio).tobytes() for i in range(len(windows))}


def test_transforms_run_one_after_the_other(windows: Windows) -> None:
    """The second gets the result of the first, through views of every kind and by index."""
    mapped = windows.map(halved)[4:20].map(np.negative).shuffle(seed=0)

    for example in mapped.loader(workers=2):
        place = example.index + 4
        assert np.array_equal(example.audio, -halved(windows[place].audio))
    assert np.array_equal(windows.map(halved)[3].audio, halved(windows[3].audio))


def test_shape_and_type_come_from_a_trial_call(windows: Windows) -> None:
    """The shape and dtype that the function returns for noise decide buffers, bound and batches."""
    mapped = windows.map(lambda audio: audio.reshape(4, -1)[:, ::4].astype(np.float16))

    loader = mapped.loader(batch_size=6, workers=2, prefetch=2)

    assert mapped.shape == (4, 250)
    assert mapped.dtype == np.float16
    batch = next(iter(loader))
    assert batch.audio.dtype == np.float16
    assert batch.audio.shape == (6, 4, 250)
    less = loader.memory_bound - mapped.loader(batch_size=6, workers=2, prefetch=1).memory_bound
    assert less == 6 * 4 * 250 * 2


def test_the_bound_includes_memory_for_transforms(windows: Windows) -> None:
    """A worker's audio and the transform's result count, in addition to the rows of the batch."""
    plain = windows.loader(batch_size=6, workers=2, prefetch=2)
    mapped = windows.map(halved).loader(batch_size=6, workers=2, prefetch=2)

    row = 4 * windows.spec.size
    assert mapped.memory_bound - plain.memory_bound >= 2 * (6 * row + row)
    list(mapped)
    assert 0 < mapped.stats().peak_bytes <= mapped.memory_bound


def test_out_replaces_the_trial_call(windows: Windows) -> None:
    """With `out` the function is not called with noise."""
    calls: list[tuple[int, ...]] = []

    def pair(audio: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(audio.shape)
        return audio[:2].copy()

    mapped = windows.map(pair, out=((2,), np.float32))

    assert not calls
    assert mapped[0].audio.shape == (2,)


def test_a_function_may_ask_for_the_example(windows: Windows) -> None:
    """With `on="example"` it gets the window's place and the result of earlier transforms."""

    def marked(example: AudioExample) -> NDArray[np.float32]:
        return np.array([example.offset, example.index, abs(example.audio).max()], np.float32)

    mapped = windows.map(np.zeros_like).map(marked, on="example")

    for example in mapped.loader(workers=2):
        assert example.audio.tolist() == [np.float32(example.offset), example.index, 0]


@pytest.mark.parametrize("batch_size", [None, 4])
def test_randomness_is_a_function_of_seed_epoch_and_window(
    windows: Windows, batch_size: int | None
) -> None:
    """0, 1, 2 and 8 workers give the same augmented windows. The next epoch gives others."""
    mapped = windows.map(noisy, seed=5).shuffle(seed=2)
    epochs = []
    for workers in (0, 1, 2, 8):
        loader = mapped.loader(workers=workers, batch_size=batch_size)
        epochs.append((all_audio(loader), all_audio(loader)))

    assert all(epoch == epochs[0] for epoch in epochs)
    first, second = epochs[0]
    assert first.keys() == second.keys()
    assert all(first[index] != second[index] for index in first)
    other = all_audio(windows.map(noisy, seed=6).loader(batch_size=batch_size))
    assert all(first[index] != other[index] for index in first)


def test_a_window_that_is_drawn_twice_is_augmented_alike(windows: Windows) -> None:
    """Only within an epoch. Windows that are taken several times count as different windows."""
    mapped = windows.map(noisy, seed=1)

    loader = mapped.sample([0.0] * 4 + [1.0] + [0.0] * 25, n=3).loader(workers=1)
    epochs = [{example.audio.tobytes() for example in loader} for _ in range(2)]
    taken = [example.audio.tobytes() for example in mapped.take([4, 4, 4]).loader(workers=1)]

    assert [len(one) for one in epochs] == [1, 1]
    assert epochs[0] != epochs[1]
    assert len(set(taken)) == 3


def test_randomness_survives_a_resume(windows: Windows) -> None:
    """After resuming from a state that went through JSON, windows are augmented as before."""
    mapped = windows.map(noisy).map(noisy).shuffle(seed=2)
    expected = [batch.audio.tobytes() for batch in mapped.loader(batch_size=4).steps(14)]
    loader = mapped.loader(batch_size=4, workers=2)
    for batch in loader.steps(5):
        state = json.dumps(dict(batch.state))

    resumed = mapped.loader(batch_size=4, workers=3)
    resumed.load_state_dict(json.loads(state))

    assert [batch.audio.tobytes() for batch in resumed.steps(9)] == expected[5:]


def test_generators_of_different_places_differ() -> None:
    """The arguments are neither added up nor concatenated without a separator."""
    places = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (0, 12), (0, 1, 2, 0), (-1, 1, 2)]

    draws = {generator(*place).integers(1 << 62) for place in places}

    assert len(draws) == len(places)
    assert generator(0, 1, 2).integers(1 << 62) in draws


def test_a_factory_is_called_once_for_each_worker(windows: Windows) -> None:
    """The state of a transform belongs to one thread."""
    made: list[Counting] = []

    class Counting:
        def __init__(self) -> None:
            self.threads: set[int] = set()
            made.append(self)

        def __call__(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
            if not self.threads and len(made) > 1:  # not the trial
                all_present.wait(20)
            self.threads.add(threading.get_ident())
            return audio

    all_present = threading.Barrier(3)
    mapped = windows.map(factory=Counting)
    assert len(made) == 1  # the trial
    list(mapped.loader(workers=3, batch_size=4))

    assert len(made) == 1 + 3
    assert all(len(one.threads) == 1 for one in made)
    assert len({ident for one in made[1:] for ident in one.threads}) == 3


@pytest.mark.parametrize("on_error", ["raise", "skip", "mask"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_factory_that_raises_in_a_worker_is_named(
    windows: Windows, workers: int, on_error: Any
) -> None:
    """The factory succeeded in the trial. The error names the factory, the place and the cause."""
    made: list[int] = []

    def model() -> Any:
        made.append(1)
        if len(made) > 1:
            raise MemoryError("no room for another")
        return halved

    loader = windows.map(factory=model).loader(workers=workers, on_error=on_error)

    with pytest.raises(
        headrace.TransformError,
        match=r"map\(factory=model\) raised MemoryError in a worker.*: no room for another",
    ) as raised:
        list(loader)
    assert isinstance(raised.value.__cause__, MemoryError)


def test_a_window_whose_transform_raises_is_a_failure(windows: Windows) -> None:
    """`on_error` applies, and other windows are not affected."""

    def fussy(example: AudioExample) -> NDArray[np.float32]:
        if example.index % 10 == 3:
            raise ValueError("too quiet")
        return example.audio

    mapped = windows.map(fussy, on="example")
    masking = mapped.loader(workers=2, batch_size=8, on_error="mask")

    batches = list(masking)

    valid = {int(i): bool(v) for b in batches for i, v in zip(b.index, b.valid, strict=True)}
    assert [index for index, good in valid.items() if not good] == [3, 13, 23]
    assert [failure.index for failure in masking.failures] == [3, 13, 23]
    assert {failure.code for failure in masking.failures} == {headrace.Code.TRANSFORM}
    assert "too quiet" in masking.failures[0].message
    assert not batches[0].audio[3].any()
    assert np.array_equal(batches[0].audio[4], windows[4].audio)
    skipping = mapped.loader(workers=2, on_error="skip")
    assert [example.index for example in skipping] == [i for i in range(30) if i % 10 != 3]
    raising = mapped.loader(workers=2)
    with pytest.raises(
        headrace.TransformError, match=r"0\.wav, 1\.500 s.*fussy.*too quiet"
    ) as raised:
        list(raising)
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize("on_error", ["raise", "skip", "mask"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_programming_error_always_raises(windows: Windows, workers: int, on_error: Any) -> None:
    """A programming error would affect every window, so it raises at once."""

    def wrong(example: AudioExample) -> NDArray[np.float32]:
        if example.index == 12:
            raise TypeError("an int is no str")
        return example.audio

    mapped = windows.map(wrong, on="example")
    loader = mapped.loader(workers=workers, prefetch=3, on_error=on_error)  # one by one

    seen: list[int] = []

    def consume() -> None:
        seen.extend(example.index for example in loader)  # keeps what comes before the error

    with pytest.raises(headrace.TransformError, match=r"window 12.*an int is no str"):
        consume()
    assert seen == list(range(12))
    assert not any(thread.name.startswith("headrace") for thread in threading.enumerate())


def test_another_shape_is_an_error_that_names_the_window(windows: Windows) -> None:
    """Batches are allocated beforehand, so a result of another shape cannot be delivered."""

    def shrinking(example: AudioExample) -> NDArray[np.float32]:
        return example.audio[: -1 if example.index == 7 else None]

    with pytest.raises(
        headrace.TransformError, match=r"window 7.*shape \(3999,\), expected .* \(4000,\)"
    ):
        list(windows.map(shrinking, on="example").loader(workers=2, on_error="mask"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one function"),
        ({"function": halved, "factory": halved}, "one function"),
        ({"function": 3}, "one function"),
        ({"function": halved, "on": "batch"}, 'on must be "audio" or "example"'),
        ({"function": halved, "seed": 1.5}, "seed must be a whole number"),
        ({"function": halved, "out": (3, 4, 5)}, r"out must be \(shape, dtype\)"),
    ],
)
def test_bad_arguments_of_map_are_rejected(
    windows: Windows, arguments: dict[str, Any], message: str
) -> None:
    """The error says which arguments `map` takes."""
    with pytest.raises(headrace.InvalidWindowsError, match=message):
        windows.map(**arguments)


def test_a_function_that_fails_on_noise_raises_in_map(windows: Windows) -> None:
    """It raises immediately, not later in a worker, and the error says what to do."""

    def broken(_audio: NDArray[np.float32]) -> NDArray[np.float32]:
        raise ZeroDivisionError("no mean")

    with pytest.raises(headrace.TransformError, match=r"map\(broken\).*no mean.*out=\(shape"):
        windows.map(broken)
    with pytest.raises(
        headrace.TransformError, match="return an array of numbers, of the same shape"
    ):
        windows.map(lambda _: "loud")


def mixup(batch: Batch, rng: np.random.Generator) -> None:
    """Mix each row with another, in place."""
    share = rng.beta(0.4, 0.4, len(batch)).astype(np.float32)[:, None]
    batch.audio[:] = share * batch.audio + (1 - share) * batch.audio[rng.permutation(len(batch))]


def test_batch_map_works_on_whole_batches(windows: Windows) -> None:
    """Mixup is the same with 0, 1, 2, 8 workers and after a resume, and differs each epoch."""
    order = windows.shuffle(seed=3)
    plain = [batch.audio.copy() for batch in order.loader(batch_size=5)]
    runs = []
    for workers in (0, 1, 2, 8):
        loader = order.loader(batch_size=5, workers=workers, batch_map=mixup, seed=1)
        runs.append([batch.audio.tobytes() for batch in loader.steps(12)])

    assert all(run == runs[0] for run in runs)
    assert runs[0][:6] != runs[0][6:]
    rng = generator(1, -1, 0, 5, 0)
    share = rng.beta(0.4, 0.4, 5).astype(np.float32)[:, None]
    expected = share * plain[0] + (1 - share) * plain[0][rng.permutation(5)]
    assert runs[0][0] == expected.tobytes()
    loader = order.loader(batch_size=5, workers=2, batch_map=mixup, seed=1)
    for batch in loader.steps(4):
        state = batch.state
    resumed = order.loader(batch_size=5, workers=2, batch_map=mixup, seed=1)
    resumed.load_state_dict(state)
    assert [batch.audio.tobytes() for batch in resumed.steps(8)] == runs[0][4:]


def mixup_with_labels(batch: Batch, rng: np.random.Generator) -> None:
    """Mix each row and its labels with another row in the same proportion, in place."""
    share = rng.beta(0.4, 0.4, len(batch)).astype(np.float32)[:, None]
    other = rng.permutation(len(batch))
    for values in (batch.audio, batch.labels):
        assert values is not None
        values[:] = share * values + (1 - share) * values[other]


def test_labels_are_augmented_with_their_windows(tmp_path: Path) -> None:
    """Noise and mixup give the same bits with 0, 1, 2, 8 workers and after a resume."""
    archive = write_archive(tmp_path, recordings=4, seconds=12, sites=2)
    annotations = headrace.Annotations.read_anuraset(tmp_path / "strong_labels")
    labelled = headrace.scan(archive.pattern).windows(RATE, 0.5).label(annotations)
    plain: Any = {example.index: example.labels for example in labelled}
    windows = labelled.map(noisy, seed=4).shuffle(seed=3)

    def loader(workers: int) -> headrace.Loader:
        return windows.loader(batch_size=7, workers=workers, batch_map=mixup_with_labels, seed=1)

    def bits(batch: Batch) -> tuple[bytes, bytes, bytes]:
        assert batch.labels is not None
        return batch.index.tobytes(), batch.audio.tobytes(), batch.labels.tobytes()

    steps = len(loader(0)) + 3  # into the second epoch
    states = []
    expected = []
    for batch in loader(0).steps(steps):
        states.append(batch.state)
        expected.append(bits(batch))
    first = next(iter(loader(0)))
    rng = generator(1, -1, 0, 7, 0)
    share = rng.beta(0.4, 0.4, 7).astype(np.float32)[:, None]
    rows = np.stack([plain[int(index)] for index in first.index])
    mixed = share * rows + (1 - share) * rows[rng.permutation(7)]
    assert first.labels.tolist() == mixed.tolist()
    assert 0 < mixed.mean() < 1
    for workers in (1, 2, 8):
        assert [bits(batch) for batch in loader(workers).steps(steps)] == expected
    for step in (0, 4, len(loader(0)) - 1, len(loader(0))):
        resumed = loader(2)
        resumed.load_state_dict(json.loads(json.dumps(dict(states[step]))))
        assert [bits(batch) for batch in resumed.steps(steps - 1 - step)] == expected[step + 1 :]


def test_the_bound_includes_what_batch_map_allocates(windows: Windows) -> None:
    """The function may return another shape. Its bytes are counted beforehand."""

    def spectra(batch: Batch) -> Batch:
        return replace(batch, audio=np.abs(np.fft.rfft(batch.audio)).astype(np.float32))

    plain = windows.loader(batch_size=5, workers=2, prefetch=3)
    loader = windows.loader(batch_size=5, workers=2, prefetch=3, batch_map=spectra)

    assert loader.memory_bound - plain.memory_bound == 5 * (5 * 2_001 * 4)
    for batch in loader:
        assert batch.audio.shape == (5, 2_001)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda batch: batch.audio, "returned a ndarray.*Return the batch"),
        (lambda batch: batch.no_such, "AttributeError on noise"),
    ],
)
def test_a_wrong_batch_map_raises_when_the_loader_is_made(
    windows: Windows, function: Any, message: str
) -> None:
    """The function is tried on noise when the loader is made."""
    with pytest.raises(headrace.TransformError, match=message):
        windows.loader(batch_size=4, batch_map=function)


@pytest.mark.filterwarnings("ignore:.*[Ss]hape.*:DeprecationWarning")  # from NumPy 2.5 on
def test_a_batch_that_is_shaped_in_place_keeps_its_rows(windows: Windows) -> None:
    """Another axis is accepted, but another number of rows raises."""

    def shaped(*shape: int) -> Any:
        def function(batch: Batch) -> None:
            batch.audio.shape = shape

        return function

    (first, *_) = windows.loader(batch_size=5, batch_map=shaped(5, 1, -1))
    assert first.audio.shape == (5, 1, 4_000)
    with pytest.raises(headrace.TransformError, match=r"returned 10 rows for noise.* which has 5"):
        windows.loader(batch_size=5, batch_map=shaped(10, -1))


def test_batch_map_needs_batches(windows: Windows) -> None:
    """The error says which argument is missing or wrong."""
    with pytest.raises(ValueError, match=r"give batch_size, or use windows\.map"):
        windows.loader(batch_map=mixup)
    with pytest.raises(ValueError, match="batch_map must be a function"):
        windows.loader(batch_size=2, batch_map=3)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="seed must be a whole number"):
        windows.loader(batch_size=2, batch_map=mixup, seed=0.5)  # type: ignore[call-overload]


def test_a_batch_map_that_fails_later_names_the_batch(windows: Windows) -> None:
    """The error is raised in order, in the consumer's thread, and the threads end."""

    def late(batch: Batch) -> None:
        if 12 in batch.index:
            raise RuntimeError("twelve")

    seen: list[int] = []

    def consume() -> None:
        loader = windows.loader(batch_size=5, workers=2, batch_map=late)
        seen.extend(int(batch.index[0]) for batch in loader)  # keeps what comes before the error

    with pytest.raises(headrace.TransformError, match=r"late.*position 15 of epoch 0: twelve"):
        consume()
    assert seen == [0, 5]
    assert not any(thread.name.startswith("headrace") for thread in threading.enumerate())


def test_windows_with_functions_pickle(windows: Windows) -> None:
    """Functions of a module are pickled by name."""
    mapped = pickle.loads(pickle.dumps(windows.map(noisy, seed=4)))

    assert np.array_equal(mapped[2].audio, windows.map(noisy, seed=4)[2].audio)
    assert "map(noisy)" in repr(mapped)


def test_a_failed_window_is_not_transformed(tmp_path: Path) -> None:
    """Its row holds zeros, not the function's result for silence."""
    write(tmp_path / "good.wav", noise(RATE), RATE, "WAV", "PCM_16")
    write(tmp_path / "lost.wav", noise(RATE), RATE, "WAV", "PCM_16")
    windows = headrace.scan(tmp_path).windows(RATE, 0.5).map(lambda audio: audio + 1)
    (tmp_path / "lost.wav").unlink()

    batch = next(iter(windows.loader(batch_size=4, on_error="mask")))

    assert batch.valid.tolist() == [True, True, False, False]
    assert batch.audio[:2].mean() > 0.5
    assert not batch.audio[2:].any()


def spin(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Hold the GIL for some milliseconds."""
    total = 0
    for i in range(40_000):
        total += i
    return audio


def test_the_verdict_names_a_transform_that_holds_the_gil(windows: Windows) -> None:
    """Two workers' Python loops wait for the GIL. A function that sleeps is only slow."""
    loader = windows.map(spin).loader(batch_size=5, workers=2)
    for _ in loader.steps(60):
        pass
    assert "holds the GIL" in loader.stats().verdict, loader.stats()

    def sleepy(audio: NDArray[np.float32]) -> NDArray[np.float32]:
        time.sleep(0.02)  # a slow function: nothing beside it takes long, on a busy machine either
        return audio

    slow = windows.map(sleepy).loader(batch_size=5, workers=2)
    for _ in slow.steps(30):
        pass
    stats = slow.stats()
    assert stats.transform_s > stats.decode_s + stats.resample_s + stats.other_s
    assert "holds the GIL" not in stats.verdict, stats
    assert "mostly with transforms" in stats.verdict, stats
