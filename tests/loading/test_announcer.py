"""The bytes that are announced for reads of FLAC, whose places in a file are looked for."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, cast

import pytest

from headrace import _kernel
from headrace.concurrency import CancellationToken
from headrace.loading._announcer import Announcer
from headrace.loading._plan import Plan
from headrace.storage import object_key
from tests.support.catalogs import fake_catalog
from tests.support.flac_frames import BLOCK, frame_offsets, write_uneven

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.loading._work_items import ReadGroup
    from headrace.storage import Fetcher

RATE, SECONDS = 16_000, 240
MOST_ROUNDS = 6
"""Two waits for others, and then at most a few probes and parts that were missing."""


class _Fetcher:
    """Fetches when it is told to, and counts the ranges that have not been released."""

    limit = 32

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.store = _kernel.FetchedStore(1 << 24, 1 << 18)
        self.uses: Counter[tuple[int, int]] = Counter()
        self.on_its_way: list[tuple[int, int]] = []
        self.requests: list[tuple[int, int]] = []
        self.arrived: Callable[[str, int, int], None] = lambda *_: None
        self.key = ""

    def tell_arrivals(self, use: Callable[[str, int, int], None]) -> None:
        self.arrived = use

    def expect(self, key: str, start: int, stop: int, *, keep: bool = False) -> None:
        self.key = key
        self.uses[start, stop] += 1
        parts = self.store.expect(key, start, stop - start, 8 << 20, keep)
        self.on_its_way += parts
        self.requests += parts

    def release(self, key: str, start: int, stop: int) -> None:
        self.uses[start, stop] -= 1
        for offset, count, _ in self.store.release(key, start, stop - start):
            if (offset, count) in self.on_its_way:
                self.on_its_way.remove((offset, count))

    def answer(self) -> int:
        """Let all that is on its way come; return how many requests that were."""
        parts, self.on_its_way = self.on_its_way, []
        for offset, count in parts:
            self.store.give(self.key, offset, count, self.data[offset : offset + count])
        for offset, count in parts:
            self.arrived(self.key, offset, offset + count)
        return len(parts)

    def answer_all(self) -> int:
        """Return after how many rounds nothing more is on its way."""
        rounds = 0
        while self.answer():
            rounds += 1
        return rounds


class Archive:
    """One recording in a store, of which windows are announced."""

    def __init__(self, data: bytes, window_s: float = 3.0, batch_size: int = 1) -> None:
        catalog = fake_catalog(
            [RATE * SECONDS],
            RATE,
            kinds=[("FLAC", "PCM_16")],
            root="s3://bucket",
            size=[len(data)],
            version=["one"],
        )
        self.windows = catalog.windows(sample_rate=RATE, window_s=window_s).shuffle(seed=1)
        plan = Plan(
            self.windows,
            batch_size=batch_size,
            workers=2,
            prefetch="auto",
            memory=None,
            last="keep",
        )
        self.groups = [group for item in plan.work_items(0) for group in item.groups]
        self.fetcher = _Fetcher(data)
        self.offsets = frame_offsets(data)
        self.catalog = catalog
        self.announcer = Announcer(plan, cast("Fetcher", self.fetcher), self.file_of)

    def file_of(self, number: int) -> _kernel.RecordingFile:
        recording = self.catalog[number]
        key = object_key(recording.path, recording.size, recording.version)
        return _kernel.RecordingFile(
            id=number,
            format=0,
            frames=recording.frames,
            file_bytes=recording.size,
            place=_kernel.Place(path=key.encode(), store=self.fetcher.store),
            landmarks=self.catalog.indexes.landmarks,
            name=recording.id,
        )

    def needed(self, group: ReadGroup) -> tuple[int, int]:
        """Return the bytes of the frames of a group of one window."""
        (start,) = group.reads[0].starts
        stop = min(start + self.windows.spec.size, RATE * SECONDS)
        return self.offsets[start // BLOCK], self.offsets[(stop - 1) // BLOCK + 1]

    def holds(self, group: ReadGroup) -> bool:
        begin, end = self.needed(group)
        return self.fetcher.store.held(self.fetcher.key, begin, end - begin) == end - begin


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a recording whose bitrate changes each second."""
    return write_uneven(tmp_path_factory.mktemp("uneven") / "a.flac", SECONDS, RATE)


def test_misjudged_places_cost_round_trips_side_by_side(data: bytes) -> None:
    """All reads are placed after a few round trips, not after some for each of them."""
    archive = Archive(data)
    for group in archive.groups:
        archive.announcer.announce(group)

    assert archive.fetcher.answer_all() <= MOST_ROUNDS
    assert len(archive.groups) == 80
    assert all(archive.holds(group) for group in archive.groups)


def test_reads_that_follow_cost_little(data: bytes) -> None:
    """With some announced at a time, few requests and bytes are in vain."""
    archive = Archive(data)
    for first in range(0, len(archive.groups), 16):
        groups = archive.groups[first : first + 16]
        for group in groups:
            archive.announcer.announce(group)
        archive.fetcher.answer_all()
        for group in groups:
            assert archive.holds(group)
            archive.announcer.release(group)
    sent = sum(count for _, count in archive.fetcher.requests)
    assert len(archive.fetcher.requests) <= 1.5 * len(archive.groups)
    assert sent <= 1.5 * len(data)


def test_nothing_is_kept_of_what_was_released(data: bytes) -> None:
    """Also where groups are released at any time of their search, some of them twice."""
    archive = Archive(data)
    for number, group in enumerate(archive.groups):
        archive.announcer.announce(group)
        if number % 3 == 0:
            archive.fetcher.answer()
        if number >= 5:
            archive.announcer.release(archive.groups[number - 5])
            archive.announcer.release(archive.groups[number - 5])
    for group in archive.groups[-5:]:
        archive.announcer.release(group)
    archive.fetcher.answer_all()

    assert not +archive.fetcher.uses
    assert not -archive.fetcher.uses
    assert archive.fetcher.store.held_bytes <= 16_384  # the head, which is kept


def _settle(archive: Archive, group: ReadGroup) -> threading.Thread:
    thread = threading.Thread(
        target=archive.announcer.settle, args=(group, CancellationToken()), daemon=True
    )
    thread.start()
    return thread


def test_a_worker_that_comes_early_takes_the_steps(data: bytes) -> None:
    """It waits until the bytes of its reads are there, though the fetcher does nothing for them."""
    archive = Archive(data)
    archive.fetcher.arrived = lambda *_: None
    for group in archive.groups[:12]:
        archive.announcer.announce(group)
    last = archive.groups[11]
    worker = _settle(archive, last)
    while worker.is_alive():
        archive.fetcher.answer()
        worker.join(0.01)

    assert archive.holds(last)


@pytest.mark.parametrize("how", ["closed", "failed", "released"])
def test_a_worker_that_waits_is_woken(data: bytes, how: str) -> None:
    """When the store is closed, when the bytes cannot be had, and when its group is released."""
    archive = Archive(data)
    for group in archive.groups[:12]:
        archive.announcer.announce(group)
    workers = [_settle(archive, group) for group in archive.groups[:12]]
    if how == "closed":
        archive.fetcher.store.close()
    elif how == "failed":
        while any(worker.is_alive() for worker in workers):
            for offset, _ in tuple(archive.fetcher.on_its_way):
                archive.fetcher.store.fail(archive.fetcher.key, offset, "MISSING", "it is gone")
            workers[0].join(0.01)
    else:
        for group in archive.groups[:12]:
            archive.announcer.release(group)
        while any(worker.is_alive() for worker in workers):
            for _, offset, count, _ in archive.fetcher.store.take():
                archive.fetcher.store.fail(archive.fetcher.key, offset, "IO", f"{count} too many")
            workers[0].join(0.01)
    for worker in workers:
        worker.join(30)
        assert not worker.is_alive()
