"""The bytes that are announced for reads of FLAC, whose place in a file is looked for."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from headrace.catalog import Recordings
from headrace.loading._announcer import Announcer
from headrace.loading._plan import Plan
from tests.support.catalogs import fake_catalog

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from headrace import _kernel
    from headrace.storage import Fetcher

FRAMES, SIZE = 1_000_000, 20_000_000


class _Fetcher:
    """Counts the ranges that it is told of and that have not been released."""

    limit = 32

    def __init__(self) -> None:
        self.expected: Counter[tuple[str, int, int]] = Counter()
        self.store = SimpleNamespace(hint=lambda *_: None)
        self.on_release: Callable[[], None] = lambda: None

    def expect(self, key: str, start: int, stop: int, *, keep: bool = False) -> None:
        assert isinstance(keep, bool)
        self.expected[key, start, stop] += 1

    def release(self, key: str, start: int, stop: int) -> None:
        self.expected[key, start, stop] -= 1
        then, self.on_release = self.on_release, lambda: None
        then()


class _Reader:
    """Knows where frames are up to those next to the last probe that was read."""

    def __init__(self) -> None:
        self.known = 0
        self.probes = 0

    def estimate(
        self, *, recording: str, frames: int, size: int, start: int, stop: int
    ) -> tuple[int, int] | None:
        assert recording
        return (size * start // frames, size * stop // frames) if stop <= self.known else None

    def look(self, _: object, probes: list[int]) -> None:
        self.probes += len(probes)
        self.known = FRAMES * probes[-1] // SIZE + 50_000


def test_a_search_that_begins_while_another_ends_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has announced is read and released, though the earlier search ends after it began."""
    catalog = fake_catalog(
        [FRAMES], kinds=[("FLAC", "PCM_16")], root="s3://bucket", size=[SIZE], version=["one"]
    )
    windows = catalog.windows(sample_rate=1_000, window_s=10.0, hop_s=400.0)
    plan = Plan(windows, batch_size=1, workers=2, prefetch="auto", memory=None, last="keep")
    read, looking, late = (item.groups[0] for item in plan.work_items(0))
    fetcher, reader = _Fetcher(), _Reader()
    monkeypatch.setattr(Recordings, "landmarks", lambda *_: reader)
    announcer = Announcer(plan, cast("Fetcher", fetcher), cast("_kernel.Reader", reader))
    files: dict[int, Any] = {0: None}

    def end_and_begin() -> None:  # as other threads may, between two steps of `look`
        announcer.release(read)
        announcer.announce(late)

    announcer.announce(read)
    announcer.look(read, files)
    announcer.announce(looking)
    fetcher.on_release = end_and_begin
    announcer.look(looking, files)
    announcer.release(looking)
    announcer.look(late, files)
    announcer.release(late)

    assert reader.probes == 3
    assert not +fetcher.expected
