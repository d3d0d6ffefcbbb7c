from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.fuzz_files import fuzz

if TYPE_CHECKING:
    from pathlib import Path

FILES = 1_500
"""Takes about a minute on two processors. tests/support/fuzz_files.py says how to try more."""


@pytest.mark.slow
def test_mutated_files_of_every_format_break_nothing(tmp_path: Path) -> None:
    """There is no crash, hang or leak, every ledger adds up, and reasons are as without workers."""
    total: Counter[str] = Counter()
    for counts in fuzz(tmp_path, files=FILES, seed=4):
        total += counts

    assert total["files"] == FILES
    assert total["headers: windows delivered"] > FILES
    for when in ("headers", "decode", "damaged since"):
        assert total[f"{when}: recordings with seek points"] > FILES / 40
        assert total[f"{when}: windows failed"]
    assert total["false indexes: windows delivered"] > FILES
    assert total["false indexes: windows failed"] > FILES
    assert sum(total[name] for name in total if name.startswith("headers: ")) > 2 * FILES
