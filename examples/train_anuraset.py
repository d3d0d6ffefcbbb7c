"""Train a detector on a folder laid out like AnuraSet, with checkpoints.

    python examples/train_anuraset.py AnuraSet --checkpoint anuraset.pt --epochs 20

The folder contains ``raw_data/SITE/NAME.wav`` and ``strong_labels/SITE/NAME.txt`` with lines of
start, end and ``SPECIES_L``, ``_M`` or ``_H``, as published with J. S. Canas et al., "A dataset for
benchmarking Neotropical anuran calls identification in passive acoustic monitoring" (2023). To try
the script, use `headrace.bench.write_archive`, which writes an archive of this layout. If the
script is interrupted, the same command resumes after the last checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import common
import torch
from detector import Training


def main():
    """Parse the arguments, resume from the checkpoint if there is one, train and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder that contains raw_data and strong_labels")
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="file to write; resumed from if it exists"
    )
    parser.add_argument(
        "--save-every", type=int, default=100, help="steps between checkpoints; default 100"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--window-s", type=float, default=3.0)
    parser.add_argument(
        "--held-out",
        choices=("id", "site"),
        default="id",
        help="hold out whole recordings (id) or whole sites",
    )
    parser.add_argument("--quality", default="LMH", help="call qualities to use: any of L, M, H")
    parser.add_argument("--balanced", action="store_true", help="draw rare species more often")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()

    windows, held_out = common.to_train_and_test(
        given.folder,
        window_s=given.window_s,
        by=given.held_out,
        quality=given.quality,
        balanced=given.balanced,
    )
    print(f"{len(windows)} training windows, {len(held_out)} held-out windows")
    training = Training(
        windows, batch_size=given.batch_size, workers=given.workers, device=given.device
    )
    if given.checkpoint.exists():
        training.load(given.checkpoint)
        print(f"resuming after step {training.steps}")

    with training.batches:
        steps = given.epochs * len(training.batches)
        while training.steps < steps:
            training.run(min(given.save_every, steps - training.steps))
            training.save(given.checkpoint)
            print(f"step {training.steps} of {steps}: loss {training.loss:.4f}", flush=True)
        common.report_waiting(training.batches.loader.stats())
        common.report(windows.classes, *training.test(held_out))
    for failure in training.batches.loader.failures:
        print(failure)


if __name__ == "__main__":
    main()
