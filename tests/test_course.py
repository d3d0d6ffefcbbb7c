import inspect
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace import audio_chunk_dataloader, audio_chunk_dataloader_threaded, scan
from headrace.errors import NoRecordingsError
from headrace.windows._batch import AudioExample
from tests.support.sounds import noise, write

Course = Callable[..., Iterator[AudioExample]]

FUNCTIONS: list[Any] = [
    pytest.param(audio_chunk_dataloader, id="plain"),
    *(
        pytest.param(partial(audio_chunk_dataloader_threaded, max_workers=n), id=f"{n} workers")
        for n in (1, 2, 8)
    ),
    pytest.param(partial(audio_chunk_dataloader_threaded, prefetch=1), id="prefetch=1"),
]


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Nine recordings of 0.35 to 1.15 s."""
    folder = tmp_path_factory.mktemp("raw_data")
    for i in range(9):
        (folder / f"site {i % 2}").mkdir(exist_ok=True)
        audio = noise(2_800 + 800 * i, seed=i)
        write(folder / f"site {i % 2}" / f"{i}.wav", audio, 8_000, "WAV", "PCM_16")
    return f"{folder}/**/*.wav"


def _files(examples: list[AudioExample]) -> list[str]:
    """Return the files in the order of their first windows."""
    return list(dict.fromkeys(example.file_id for example in examples))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_plain_and_threaded_give_the_same_windows(
    pattern: str, function: Course, *, shuffle: bool
) -> None:
    """Audio, file and offset are equal, in the same order, for any number of workers."""
    plain = list(audio_chunk_dataloader(pattern, 4_000, 0.25, shuffle))

    threaded = list(function(pattern, 4_000, 0.25, shuffle))

    assert len(threaded) == len(plain) == 29
    for one, two in zip(plain, threaded, strict=True):
        (audio, file, offset), (other_audio, other_file, other_offset) = one, two
        np.testing.assert_array_equal(audio, other_audio)
        assert (file, offset) == (other_file, other_offset)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_example_is_audio_file_and_offset(pattern: str, function: Course) -> None:
    """Audio is float32 of one length, the file exists, and the offset is in seconds."""
    for audio, file, offset in function(pattern, 4_000, 0.25):
        assert audio.dtype == np.float32
        assert audio.shape == (1_000,)
        assert Path(file).is_file()
        assert offset % 0.25 == 0


def test_without_shuffle_files_are_sorted(pattern: str) -> None:
    """Files are in the order of their names, and windows in the order of time."""
    examples = list(audio_chunk_dataloader(pattern, 4_000, 0.25))

    places = [(example.file_id, example.offset) for example in examples]

    assert places == sorted(places)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_shuffle_shuffles_the_files(pattern: str, function: Course) -> None:
    """The order of files is another, but the same each time; windows of a file stay together."""
    examples = list(function(pattern, 4_000, 0.25, shuffle=True))

    again = list(function(pattern, 4_000, 0.25, shuffle=True))
    ordered = list(function(pattern, 4_000, 0.25))

    assert _files(examples) == _files(again) != _files(ordered)
    assert sorted(_files(examples)) == _files(ordered)
    for file in _files(examples):
        places = [i for i, example in enumerate(examples) if example.file_id == file]
        offsets = [examples[i].offset for i in places]
        assert places == list(range(places[0], places[0] + len(places)))
        assert offsets == sorted(offsets)


def test_the_windows_are_those_of_the_loader(pattern: str) -> None:
    """The functions yield what indexing the same `Windows` returns, with paths for ids."""
    windows = scan(pattern).windows(sample_rate=4_000, window_s=0.25)

    for one, two in zip(audio_chunk_dataloader(pattern, 4_000, 0.25), windows, strict=True):
        np.testing.assert_array_equal(one.audio, two.audio)
        assert (one.file_id, one.offset, one.index) == (two.path, two.offset, two.index)


def test_leaving_the_loop_ends_the_threads(pattern: str) -> None:
    """After a `break`, when the generator is deleted, no worker is left."""
    generator = audio_chunk_dataloader_threaded(pattern, 4_000, 0.25, max_workers=3)

    for _ in generator:
        during = _workers()
        break
    del generator

    assert during == 3
    assert _workers() == 0


def test_an_error_in_the_loop_ends_the_threads(pattern: str) -> None:
    """A consumer that raises gets its own exception, and no worker is left."""

    def consume() -> None:
        for example in audio_chunk_dataloader_threaded(pattern, 4_000, 0.25):
            assert _workers() == 2
            _ = 1 / example.index

    with pytest.raises(ZeroDivisionError) as caught:
        consume()
    del caught  # its traceback refers to the frame of the loop, which refers to the generator

    assert _workers() == 0


def _workers() -> int:
    return sum(thread.name.startswith("headrace") for thread in threading.enumerate())


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_pattern_that_matches_nothing_is_an_error(tmp_path: Path, function: Course) -> None:
    """The loop is not silently empty: the error names the pattern."""
    with pytest.raises(NoRecordingsError, match=r"nothing/\*\.wav"):
        next(function(f"{tmp_path}/nothing/*.wav", 16_000, 5.0))


def test_the_functions_have_the_signatures_of_the_notebook() -> None:
    """Names, order and defaults of the arguments are those that the notebook's cells use."""
    plain = inspect.signature(audio_chunk_dataloader).parameters.values()
    threaded = inspect.signature(audio_chunk_dataloader_threaded).parameters.values()

    names = ["file_glob", "target_sample_rate", "window_size_s", "shuffle"]
    assert [one.name for one in plain] == names
    assert [one.name for one in threaded] == [*names, "max_workers", "prefetch"]
    assert [one.default for one in threaded][3:] == [False, 2, "auto"]
