"""A program for ``tests/adapters/test_launchers.py``: one of two processes that share windows.

Torchrun and mpirun start both processes. Lightning and Accelerate start from the first one.
``python -m tests.support.launched_rank LAUNCHER FOLDER`` loads two epochs of this process's shard
and writes ``FOLDER/RANK.json``: the indices of the windows, and the error for windows that are not
sharded.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import headrace

EPOCHS = 2


def load_windows(folder: Path) -> headrace.Windows:
    """Return the windows of the test, in an order that all processes share."""
    return headrace.load_catalog(folder / "catalog.parquet").windows(8_000, 0.25).shuffle(seed=3)


def load_epochs(windows: headrace.Windows) -> list[int]:
    """Return the indices of the windows of all epochs."""
    from headrace.adapters.torch import TorchLoader

    with TorchLoader(windows.loader(batch_size=2, workers=1), ("index",)) as batches:
        return [int(i) for _ in range(EPOCHS) for (index,) in batches for i in index]


def unsharded_error(windows: headrace.Windows) -> str:
    """Return what is raised for windows that are not sharded."""
    try:
        load_epochs(windows)
    except headrace.InvalidWindowsError as error:
        return str(error)
    return ""


def write_result(folder: Path, rank: int, seen: list[int], error: str) -> None:
    """Write the result of this process."""
    (folder / f"{rank}.json").write_text(json.dumps([seen, error]))


def run_torchrun(folder: Path) -> None:
    """Shard by the variables, and again by torch.distributed."""
    import torch.distributed as dist

    windows = load_windows(folder)
    early = windows.shard()
    dist.init_process_group("gloo")
    mine = windows.shard()
    assert early.share == mine.share
    write_result(folder, mine.share.rank, load_epochs(mine), unsharded_error(windows))
    dist.destroy_process_group()


def run_mpi(folder: Path) -> None:
    """Shard by the variables; there is no PyTorch."""
    mine = load_windows(folder).shard()
    with mine.loader(batch_size=2, workers=1) as loader:
        seen = [int(i) for _ in range(EPOCHS) for batch in loader for i in batch.index]
    write_result(folder, mine.share.rank, seen, "")


def launch_with_accelerate(folder: Path) -> None:
    """Start two processes as Accelerate does in notebooks and tests."""
    import accelerate

    accelerate.debug_launcher(run_accelerate, (folder,), num_processes=2)


def run_accelerate(folder: Path) -> None:
    """Shard when there is an `Accelerator`."""
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True)
    windows = load_windows(folder)
    mine = windows.shard()
    assert (accelerator.process_index, accelerator.num_processes) == (mine.share.rank, 2)
    write_result(folder, mine.share.rank, load_epochs(mine), unsharded_error(windows))
    accelerator.end_training()
    accelerator.state.destroy_process_group()


def run_lightning(folder: Path) -> None:
    """Shard in `train_dataloader`; Lightning starts the second process by itself."""
    import torch
    from lightning import pytorch as lightning

    from headrace.adapters.torch import TorchLoader

    windows = load_windows(folder)
    early = windows.shard()  # of the process that Lightning starts: already its rank
    child = "LOCAL_RANK" in os.environ
    assert (early.share.rank, early.share.world) == ((1, 2) if child else (0, 1))
    seen: list[int] = []
    error = ""

    class Model(lightning.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2_000, 1)

        def train_dataloader(self) -> TorchLoader:
            return TorchLoader(windows.shard().loader(batch_size=2, workers=1), ("audio", "index"))

        def training_step(self, batch: Any, _: int) -> Any:
            seen.extend(batch[1].tolist())
            return self.layer(batch[0]).square().mean()

        def on_train_end(self) -> None:
            nonlocal error
            # The first process sharded before there was a second one.
            error = unsharded_error(windows if child else early)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    trainer = lightning.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Model())
    write_result(folder, trainer.global_rank, seen, error)


RUNS = {
    "torchrun": run_torchrun,
    "mpi": run_mpi,
    "accelerate": launch_with_accelerate,
    "lightning": run_lightning,
}

if __name__ == "__main__":
    RUNS[sys.argv[1]](Path(sys.argv[2]))
