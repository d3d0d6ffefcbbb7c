from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.native_fuzzing import run_store_threads, run_threads

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ThreadSanitizer is set up for Linux")
def test_threads_share_the_reader_without_a_data_race(tmp_path: Path) -> None:
    """While calls are watched, abandoned and cancelled, and failed opens repeated alone."""
    assert shutil.which("setarch"), "util-linux belongs to every Linux"

    read, refused, mistaken, seen = run_threads("race_reader", tmp_path)

    assert read > 0
    assert refused > 100
    assert mistaken == 0
    assert seen == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ThreadSanitizer is set up for Linux")
def test_threads_share_a_fetched_store_without_a_data_race(tmp_path: Path) -> None:
    """Readers, announcements, answers, faults and closing at any time: no race, no wrong byte."""
    right, wrong, failed = run_store_threads("race_store", tmp_path)

    assert right > 1_000
    assert wrong == 0
    assert failed > 0
