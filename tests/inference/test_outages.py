from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import headrace
from headrace.storage import _fetcher
from tests.support.models import expected_loudness, loudness, sorted_rows
from tests.support.object_server import Fault, ObjectServer
from tests.support.sounds import speechlike, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.object_server import Request

KINDS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "aiff": ("AIFF", "PCM_16"),
}
"""A format for each decoder: our own two, MP3 packet by packet, FFmpeg, libsndfile."""


@dataclass
class Clock:
    """A clock that runs on by what fetchers would wait before they try again, and as a test says.

    Attributes
    ----------
    now_s : float
        Seconds.
    """

    now_s: float = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of all fetchers of a test."""
    clock = Clock()

    async def pause(_core: object, wait_s: float) -> None:
        clock.now_s += wait_s

    monkeypatch.setattr(_fetcher._Core, "_pause", pause)
    return clock


def test_an_hour_of_503s_is_never_for_good(tmp_path: Path, clock: Clock) -> None:
    """Whatever decodes them, windows that a busy store did not give are made by a later call."""
    (tmp_path / "audio").mkdir()
    for seed, (name, kind) in enumerate(KINDS.items()):
        audio = speechlike(24_000 + 1_000 * seed, seed=seed)
        write(tmp_path / "audio" / f"{name}.{kind[0].lower()}", audio, 16_000, *kind)
    hour_s = 3_600.0
    begins_at = hour_s  # the store is away from then on, for an hour
    served_bytes = 0

    def fault(request: Request) -> Fault | None:
        is_away = begins_at <= clock.now_s < begins_at + hour_s
        if not is_away or request.stop <= served_bytes:
            return None
        return Fault(status=503, body="<Code>SlowDown</Code>")

    def apply() -> tuple[headrace.RunProgress, tuple[headrace.Failure, ...], set[str]]:
        run = windows.apply(loudness, output, batch_size=4, name="x", part_size=7)
        return run.progress, run.failures, {one.name for one in (output / "parts").iterdir()}

    output = tmp_path / "results"
    with ObjectServer(fault=fault) as server:
        server.add_folder(tmp_path / "audio")
        windows = headrace.scan("s3://bucket", store=server.options).windows(8_000, 0.25)
        clock.now_s = begins_at
        first, failures, names = apply()
        assert clock.now_s < begins_at + hour_s / 4  # each request is given up after seconds
        clock.now_s = begins_at + hour_s / 2
        second, more, names_again = apply()
        served_bytes = 20_000  # of each object: what fails are the reads behind its header
        third, others, _ = apply()
        assert clock.now_s < begins_at + hour_s
        clock.now_s = begins_at + hour_s
        fourth, none, _ = apply()

    assert first.failed == second.failed == len(windows)
    assert names_again == names  # a call that gains nothing leaves nothing
    assert 0 < third.failed < len(windows)
    assert {str(one.code) for one in (*failures, *more, *others)} == {"IO"}
    assert "503, Service Unavailable" in failures[0].message
    assert (fourth.failed, fourth.open, none) == (0, 0, ())
    local = headrace.scan(tmp_path / "audio").windows(8_000, 0.25)
    assert sorted_rows(headrace.load_run(output).to_arrow()) == expected_loudness(local)
