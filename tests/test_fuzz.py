from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from fuzz_files import fuzz

if TYPE_CHECKING:
    from pathlib import Path

BUDGET_S = 20


def test_mutated_files_of_every_format_break_nothing(tmp_path: Path) -> None:
    """No crash, no hang, nothing left behind; every ledger adds up, whatever the workers."""
    total: Counter[str] = Counter()
    end = time.monotonic() + BUDGET_S
    for counts in fuzz(tmp_path, files=1_500, seed=4, at_a_time=100):
        total += counts
        if time.monotonic() > end:
            break

    assert total["files"] >= 100
    assert total["headers: windows delivered"] > 100
    assert sum(total[name] for name in total if name.startswith("headers: ")) > 200
