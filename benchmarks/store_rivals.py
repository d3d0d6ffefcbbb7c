"""What else reads windows from a store: each function yields arrays of windows, in order.

All give float32 windows of 5 s at 16 kHz, mono, and resample with soxr HQ, except for torchcodec,
which resamples with FFmpeg. The settings are the best of those that are named.
"""

from __future__ import annotations

import io
import itertools
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import soxr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nginx import Nginx
    from numpy.typing import NDArray

    Windows = NDArray[np.float32]

RATE, WINDOW_S = 16_000, 5
SIZE = RATE * WINDOW_S
BLOCK = 1 << 19
"""Bytes that fsspec fetches at once at random. Tried: 128 KiB, 512 KiB, 2 MiB, its default of 50
MiB."""


@dataclass(frozen=True)
class Work:
    """Recordings of equal length in a bucket, and in which order their windows are read."""

    server: Nginx
    keys: tuple[str, ...]
    tars: tuple[str, ...]
    seconds: int
    own_rate: int
    at_random: bool

    @property
    def per_recording(self) -> int:
        """Windows of a recording."""
        return self.seconds // WINDOW_S

    def recordings(self, count: int) -> Iterator[str]:
        """Yield the keys of recordings that have `count` windows, one after the other."""
        return itertools.islice(itertools.cycle(self.keys), -(-count // self.per_recording))

    def order(self, count: int) -> Iterator[tuple[str, int]]:
        """Yield key and number of `count` windows at random."""
        rng = np.random.default_rng(0)
        pairs = list(itertools.product(self.keys, range(self.per_recording)))
        for _ in range(0, count, len(pairs)):
            for place in rng.permutation(len(pairs))[:count]:
                yield pairs[place]
            count -= len(pairs)

    def url(self, key: str) -> str:
        """Return the address of an object for clients of HTTP."""
        return f"{self.server.endpoint}/bucket/{key}"


def ordered(
    load: Callable[[Any], Windows], items: Iterable[Any], threads: int
) -> Iterator[Windows]:
    """Yield results in order, with four items in flight for each thread."""
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(pool.submit(load, item))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def rows(audio: Windows) -> Windows:
    """Cut a recording at 16 kHz."""
    return np.pad(audio, (0, -len(audio) % SIZE)).reshape(-1, SIZE)


def resampled(audio: Windows, rate: int) -> Windows:
    """Resample to 16 kHz."""
    result: Windows = soxr.resample(audio, rate, RATE)
    return result


def s3(work: Work) -> Any:
    """Return a file system of s3fs, which has no cache of listings."""
    import s3fs

    return s3fs.S3FileSystem(
        anon=True,
        endpoint_url=work.server.endpoint,
        client_kwargs={"region_name": "us-east-1"},
        use_listings_cache=False,
        config_kwargs={"max_pool_connections": 64},
    )


def soundfile_s3fs(work: Work, threads: int, count: int) -> Iterator[Windows]:
    """Read whole objects in order; at random, files that stay open in each thread."""
    files, opened = s3(work), threading.local()

    def whole(key: str) -> Windows:
        audio, rate = soundfile.read(io.BytesIO(files.cat_file(f"bucket/{key}")), dtype="float32")
        return rows(resampled(audio, rate))

    def one(job: tuple[str, int]) -> Windows:
        key, number = job
        known = opened.__dict__.setdefault("files", {})
        if key not in known:
            known[key] = soundfile.SoundFile(
                files.open(f"bucket/{key}", block_size=BLOCK, cache_type="readahead")
            )
        file = known[key]
        file.seek(number * WINDOW_S * file.samplerate)
        audio = file.read(WINDOW_S * file.samplerate, dtype="float32")
        return rows(resampled(audio, file.samplerate))

    if work.at_random:
        return ordered(one, work.order(count), threads)
    return ordered(whole, work.recordings(count), threads)


def torchcodec_fsspec(work: Work, threads: int, count: int) -> Iterator[Windows]:
    """Decode bytes of whole objects in order; at random, decoders that stay open in each thread."""
    from torchcodec.decoders import AudioDecoder

    files, opened = s3(work), threading.local()

    def whole(key: str) -> Windows:
        decoder = AudioDecoder(files.cat_file(f"bucket/{key}"), sample_rate=RATE, num_channels=1)
        return rows(decoder.get_all_samples().data[0].numpy())

    def one(job: tuple[str, int]) -> Windows:
        key, number = job
        known = opened.__dict__.setdefault("decoders", {})
        if key not in known:
            file = files.open(f"bucket/{key}", block_size=BLOCK, cache_type="readahead")
            known[key] = AudioDecoder(file, sample_rate=RATE, num_channels=1)
        begin = number * WINDOW_S
        samples = known[key].get_samples_played_in_range(begin, begin + WINDOW_S)
        return rows(samples.data[0].numpy()[:SIZE])

    if work.at_random:
        return ordered(one, work.order(count), threads)
    return ordered(whole, work.recordings(count), threads)


def decode_member(sample: dict[str, Any]) -> Windows:
    """Decode and resample a member of a tar."""
    data = next(value for key, value in sample.items() if not key.startswith("__"))
    audio, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    return rows(resampled(audio, rate))


def webdataset(work: Work, processes: int, count: int) -> Iterator[Windows]:
    """Read tars in order, in processes of PyTorch's DataLoader; their start is not timed."""
    import multiprocessing

    import torch
    import webdataset as wds

    urls = [work.url(tar) for tar in work.tars]
    dataset = wds.WebDataset(urls, shardshuffle=False).map(decode_member).repeat()
    multiprocessing.set_forkserver_preload(["torch", "webdataset", "store_rivals"])
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=None, num_workers=processes, multiprocessing_context="forkserver"
    )
    batches = iter(loader)
    for _ in range(processes):
        next(batches)
    yield np.empty((0, SIZE), np.float32)  # the clock starts here
    for _ in work.recordings(count):
        yield next(batches).numpy()


def lhotse(work: Work, threads: int, count: int) -> Iterator[Windows]:
    """Load recordings by URL, whole; lhotse has no other way to read a part of an object."""
    from lhotse import AudioSource, Recording

    def whole(key: str) -> Windows:
        recording = Recording(
            id=key,
            sources=[AudioSource(type="url", channels=[0], source=work.url(key))],
            sampling_rate=work.own_rate,
            num_samples=work.seconds * work.own_rate,
            duration=float(work.seconds),
        )
        return rows(resampled(recording.load_audio()[0], work.own_rate))

    return ordered(whole, work.recordings(count), threads)
