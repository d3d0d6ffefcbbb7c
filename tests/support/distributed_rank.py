"""One of the two processes of ``tests/adapters/test_distributed.py``: two epochs in step.

Every step ends with an all-reduce, in which each process waits for the other. If one took fewer
steps, the other would wait forever.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

import headrace


def main(folder: Path, rank: str, store: str) -> None:
    """Print the steps of each epoch, the indices of good windows, and the failures."""
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=int(rank),
        world_size=2,
        timeout=timedelta(seconds=40),
    )
    windows = headrace.load_catalog(folder / "catalog.parquet").windows(8_000, 0.25)[1:]
    mine = windows.shuffle(seed=5).shard("auto", remainder="mask")
    assert (mine.share.rank, mine.share.world) == (int(rank), 2)
    epochs, failed = [], []
    with mine.loader(batch_size=4, workers=2, on_error="mask") as loader:
        for _ in range(2):
            steps, good = 0, []
            for batch in loader:
                total = torch.tensor([len(batch.audio), loader.state_dict()["position"]])
                dist.all_reduce(total)
                assert (
                    total == 2 * torch.tensor([len(batch.audio), batch.state["position"]])
                ).all()
                steps += 1
                good += batch.index[batch.valid].tolist()
                failed += batch.index[~batch.valid & (batch.index >= 0)].tolist()
            epochs.append([steps, good])
        assert sum(failure.windows for failure in loader.failures) == len(failed)
        assert {failure.index for failure in loader.failures} <= set(failed)
    dist.barrier()
    dist.destroy_process_group()
    json.dump([len(windows), epochs, failed], sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
