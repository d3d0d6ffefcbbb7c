"""The two functions of the course notebook that headrace began with.

Both are thin wrappers around `scan`, `Catalog.windows` and `Windows.loader`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from headrace.catalog import scan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.windows import AudioExample

__all__ = ["audio_chunk_dataloader", "audio_chunk_dataloader_threaded"]

_SEED = 0


def audio_chunk_dataloader(
    file_glob: str, target_sample_rate: int, window_size_s: float, shuffle: bool = False
) -> Iterator[AudioExample]:
    """Yield the windows of matching files, each loaded in the calling thread when it is asked for.

    Parameters
    ----------
    file_glob : str
        Glob pattern, such as ``"raw_data/**/*.wav"``.
    target_sample_rate : int
        Sample rate of the windows, in Hz.
    window_size_s : float
        Length of a window in seconds. The last window of a file is padded with zeros, or left out
        if the file fills less than a quarter of it.
    shuffle : bool
        Shuffle the files with a fixed seed. Windows of one file stay together and in order.

    Yields
    ------
    AudioExample
        Unpacks to ``(audio, file_id, offset)``: float32 of shape ``(samples,)``,
        the file's path, and the window's start in seconds.

    Raises
    ------
    NoRecordingsError
        No file matches, or none can be read.
    ReadError
        A window cannot be read.
    """
    yield from _examples(file_glob, target_sample_rate, window_size_s, shuffle, 0, "auto")


def audio_chunk_dataloader_threaded(
    file_glob: str,
    target_sample_rate: int,
    window_size_s: float,
    shuffle: bool = False,
    max_workers: int = 2,
    prefetch: int | Literal["auto"] = "auto",
) -> Iterator[AudioExample]:
    """Yield the same windows in the same order, loaded by threads before they are asked for.

    Parameters
    ----------
    file_glob, target_sample_rate, window_size_s, shuffle
        As in `audio_chunk_dataloader`.
    max_workers : int
        Number of threads.
    prefetch : int or "auto"
        Largest number of windows that are loaded or being loaded at any time.

    Yields
    ------
    AudioExample
        As in `audio_chunk_dataloader`.

    Raises
    ------
    NoRecordingsError, ReadError
        As in `audio_chunk_dataloader`.
    """
    yield from _examples(
        file_glob, target_sample_rate, window_size_s, shuffle, max_workers, prefetch
    )


def _examples(
    file_glob: str,
    sample_rate: int,
    window_s: float,
    shuffle: bool,
    workers: int,
    prefetch: int | Literal["auto"],
) -> Iterator[AudioExample]:
    windows = scan(file_glob).windows(sample_rate=sample_rate, window_s=window_s)
    if shuffle:
        windows = windows.shuffle(_SEED, by="file")
    with windows.loader(workers=workers, prefetch=prefetch) as loader:
        for example in loader:
            yield replace(example, file_id=example.path)
