"""Train a detector of synthetic calls, interrupted half-way in an epoch and resumed.

    python examples/train_torch.py

Makes a small archive (the one of `headrace demo`), learns which of four invented species call in a
window, and prints how well it finds them in recordings that it has not heard.
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
    """Train, stop in the middle of an epoch, and train on with what was saved."""
    first = Training(windows, **options)
    epoch = len(first.batches)
    middle = epochs // 2 * epoch + epoch // 2
    print(f"training for {middle} steps, into the middle of epoch {epochs // 2}")
    first.run(middle)
    first.save(checkpoint)
    expected = first.run(epoch)  # had nothing happened, it would go on like this
    first.batches.close()

    second = Training(windows, **options)  # as in a new process
    second.load(checkpoint)
    seen = second.run(epoch)
    weights = zip(first.model.parameters(), second.model.parameters(), strict=True)
    same = all(torch.equal(one, other) for one, other in weights)
    print(f"resumed for {epoch} steps: same windows {seen == expected}, same weights {same}")
    second.run(epochs * epoch - second.steps)
    return second


def main():
    """Read the arguments, make the archive, train, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the archive is made; a temporary one")
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60, help="length of a recording")
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
        print(f"{len(windows)} windows to learn from, {len(held_out)} held out")
        began = time.perf_counter()
        training = train(windows, given.epochs, folder / "checkpoint.pt", **options)
        print(f"trained in {time.perf_counter() - began:.1f} s")
        common.report_waiting(training.batches.loader.stats())
        common.report(held_out.classes, *training.test(held_out))
        training.batches.close()


if __name__ == "__main__":
    main()
