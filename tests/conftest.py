from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import headrace
from tests.support.browser import CHROMIUM, OPTIONS
from tests.support.deliveries import our_threads
from tests.support.sounds import speechlike, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from headrace import Windows

# How long an example takes says more about the machine than about the code.
settings.register_profile("headrace", deadline=None)
settings.load_profile("headrace")

LENGTHS = ((8_000, 2.5), (11_025, 1.25), (16_000, 3.0), (22_050, 0.7), (22_050, 2.0))
"""Sample rate (Hz) and seconds of each recording of `archive`."""


@pytest.fixture(autouse=True)
def _no_thread_outlives_a_test() -> Iterator[None]:
    yield
    assert not our_threads()


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """Return the glob pattern of five short WAV files of several lengths and sample rates."""
    for i, (rate, seconds) in enumerate(LENGTHS):
        audio = speechlike(round(rate * seconds), seed=i)
        write(tmp_path / f"{i}.wav", audio, rate, "WAV", "PCM_16")
    return str(tmp_path / "*.wav")


@pytest.fixture
def windows(archive: str) -> Windows:
    """Return the 38 windows of 0.25 s of `archive`, shuffled."""
    return headrace.scan(archive).windows(sample_rate=8_000, window_s=0.25).shuffle(seed=3)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium, or the like")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(OPTIONS))
        yield chromium
        chromium.close()
