from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.fuzz_files import fuzz

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "files",
    # 1,500 take about a minute on two processors. tests/support/fuzz_files.py says how to try more.
    [pytest.param(400, marks=pytest.mark.slow), pytest.param(1_500, marks=pytest.mark.soak)],
)
def test_mutated_files_of_every_format_break_nothing(tmp_path: Path, files: int) -> None:
    """There is no crash, hang or leak, every ledger adds up, and reasons are as without workers."""
    total: Counter[str] = Counter()
    for counts in fuzz(tmp_path, files=files, seed=4):
        total += counts

    assert total["files"] == files
    assert total["headers: windows delivered"] > files
    for when in ("headers", "decode", "damaged since"):
        assert total[f"{when}: recordings with seek points"] > files / 40
        assert total[f"{when}: windows failed"]
    assert total["false indexes: windows delivered"] > files
    assert total["false indexes: windows failed"] > files
    assert sum(total[name] for name in total if name.startswith("headers: ")) > 2 * files
