"""Train a detector of synthetic calls, interrupted in the middle of an epoch and resumed.

    python examples/train_torch.py

The script generates a small archive (the same as `headrace demo`) and trains a model to detect
which of four invented species call in a window. It then prints how well the model detects them in
held-out recordings.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import common
import torch
from detector import Training

from headrace.bench._synthetic import write_archive


def train(windows, epochs, checkpoint, **options):
    """Train, stop in the middle of an epoch, and resume from the checkpoint."""
    first = Training(windows, **options)
    epoch = len(first.batches)
    middle = epochs // 2 * epoch + epoch // 2
    print(f"training for {middle} steps, to the middle of epoch {epochs // 2}")
    first.run(middle)
    first.save(checkpoint)
    expected = first.run(epoch)  # the result without an interruption
    first.batches.close()

    second = Training(windows, **options)  # as in a new process
    second.load(checkpoint)
    seen = second.run(epoch)
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    same = all(torch.equal(one, other) for one, other in pairs)
    print(f"resumed for {epoch} steps: same windows {seen == expected}, same weights {same}")
    second.run(epochs * epoch - second.steps)
    return second


def main():
    """Parse the arguments, generate the archive, train and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, help="folder for the archive; default: a temporary one"
    )
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60, help="length of each recording")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    options = {"batch_size": given.batch_size, "workers": given.workers, "device": given.device}

    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        write_archive(folder, recordings=given.recordings, seconds=given.seconds)
        windows, held_out = common.to_train_and_test(folder)
        print(f"{len(windows)} training windows, {len(held_out)} held-out windows")
        began = time.perf_counter()
        training = train(windows, given.epochs, folder / "checkpoint.pt", **options)
        print(f"trained in {time.perf_counter() - began:.1f} s")
        common.report_waiting(training.batches.loader.stats())
        common.report(held_out.classes, *training.test(held_out))
        training.batches.close()


if __name__ == "__main__":
    main()
