"""Tests of the thread that writes results."""

from __future__ import annotations

from threading import Event

from headrace.inference._background import Background


def test_jobs_are_done_whatever_the_beat_raises() -> None:
    """An error while leases are renewed, such as of a store's credentials, ends nothing."""
    beaten = Event()

    def beat() -> None:
        beaten.set()
        raise RuntimeError("no credentials")

    with Background(beat, 0.001) as background:
        assert beaten.wait(60)
        assert background.submit(lambda: 1).result(60) == 1
