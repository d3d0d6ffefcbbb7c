"""The two functions of the course notebook that headrace began with.

Faces of the same machinery.
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
    """Yield windows of the files that match, loading each in the calling thread.

    Parameters
    ----------
    file_glob : str
        As ``"raw_data/**/*.wav"``.
    target_sample_rate : int
        Hz.
    window_size_s : float
        Seconds; the tail of a file is padded with zeros, and left out if it is less than a quarter
        of a window.
    shuffle : bool
        Shuffle the order of the files, with a fixed seed; the windows of a file stay in order.

    Yields
    ------
    AudioExample
        ``(audio, file_id, offset)``: float32 of shape ``(samples,)``, the file's path, seconds.

    Raises
    ------
    NoRecordingsError
        Nothing matches.
    ReadError
        A window could not be read.
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
    """Yield the same windows in the same order, loaded by threads ahead of their turn.

    Parameters
    ----------
    file_glob, target_sample_rate, window_size_s, shuffle
        As in `audio_chunk_dataloader`.
    max_workers : int
        Threads.
    prefetch : int or "auto"
        Windows that are ready or being loaded, at most.

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
