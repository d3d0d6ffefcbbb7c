"""How long training waits: the detector of `examples/`, fed by headrace and by a `DataLoader`.

    python benchmarks/train_wait.py FOLDER

Both train the same model on the same windows of `headrace demo`'s archive. The windows are
shuffled, resampled, augmented and turned into log-mel spectrograms by the same functions, with two
workers each. The `DataLoader` reads a window with soundfile and resamples it with soxr HQ, in
persistent worker processes. Epochs are interleaved, and ratios are taken within a round. A model of
double width takes longer for a batch, so its loader has more time; without a model, an epoch takes
as long as loading.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import corpus
import numpy as np
import soundfile
import soxr
import torch
from torch.utils.data import DataLoader, Dataset

from headrace.adapters.torch import TorchLoader
from headrace.bench import write_archive

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import common
import detector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace import Windows

FIELDS = ("audio", "labels", "label_mask")


class Files(Dataset[Any]):
    """A dataset as a careful user writes it: reads a window with soundfile, resamples with soxr."""

    def __init__(self, windows: Windows) -> None:
        spans = windows.table()
        known = {recording.id: recording for recording in windows.catalog}
        self.recordings = [known[name] for name in spans["id"].to_pylist()]
        self.starts = spans["start"].to_numpy() / common.RATE
        self.labels = np.empty((len(windows), len(windows.classes)), np.float32)
        for batch in windows.loader(batch_size=64):
            self.labels[batch.index] = batch.labels
        self.seconds = windows.spec.size / common.RATE

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, ...]:
        recording = self.recordings[place]
        rate = recording.sample_rate
        first, frames = round(self.starts[place] * rate), round(self.seconds * rate)
        pcm, _ = soundfile.read(recording.path, frames, first, dtype="int16", fill_value=0)
        audio = soxr.resample(pcm * np.float32(1 / 32_768), rate, common.RATE, quality="HQ")
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        spectrogram = common.features(common.augment(audio, rng))
        labels = torch.from_numpy(self.labels[place])
        return torch.from_numpy(spectrogram), labels, torch.ones(len(labels), dtype=torch.bool)


class Model:
    """A detector that learns; the same for both."""

    def __init__(self, classes: int, width: int) -> None:
        torch.manual_seed(0)
        self.model = detector.Detector(classes, width)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3)

    def step(self, *batch: torch.Tensor) -> None:
        """Train on a batch: spectrograms, labels, and which labels are known."""
        spectrograms, labels, known = batch
        self.optimizer.zero_grad()
        detector.mean_loss(self.model(spectrograms), labels, known).backward()
        self.optimizer.step()


def epoch(model: Model | None, batches: Iterable[Any]) -> tuple[float, float, float]:
    """Return the seconds of an epoch, of waiting, and of waiting for the first batch."""
    waited = []
    began = asked = time.perf_counter()
    for batch in batches:
        waited.append(time.perf_counter() - asked)
        if model is not None:
            model.step(*batch)
        asked = time.perf_counter()
    return time.perf_counter() - began, sum(waited), waited[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the archive; made if missing")
    parser.add_argument("--files", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, nargs="+", default=[0, 32, 64], help="0: none")
    given = parser.parse_args()
    write_archive(given.folder, recordings=given.files, seconds=given.seconds)
    windows, _ = common.to_train_and_test(given.folder)
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))
    ours = TorchLoader(
        windows.loader(batch_size=given.batch_size, workers=given.workers, last="drop"), FIELDS
    )
    theirs = DataLoader(
        Files(windows),
        batch_size=given.batch_size,
        shuffle=True,
        num_workers=given.workers,
        persistent_workers=True,
        drop_last=True,
        multiprocessing_context="fork" if sys.platform == "linux" else None,
    )
    loaders: dict[str, Iterable[Any]] = {"headrace": ours, "DataLoader": theirs}
    print(corpus.machine() + f", torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    print(f"{len(windows)} windows, {len(ours)} batches an epoch, {given.workers} workers")
    for width in given.width:
        model = Model(len(windows.classes), width) if width else None
        for batches in loaders.values():  # starts processes, fills the page cache
            epoch(model, batches)
        rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in loaders}
        for number in range(given.rounds):
            for name in list(loaders)[:: 1 if number % 2 else -1]:
                rounds[name].append(epoch(model, loaders[name]))
        print(f"model of width {width}:" if width else "no model, loading alone:")
        for name, measured in rounds.items():
            seconds, share, later = (
                statistics.median(values)
                for values in zip(
                    *((s, w / s, (w - first) / s) for s, w, first in measured), strict=True
                )
            )
            print(
                f"  {name:10} {seconds:6.2f} s an epoch, training waited {share:6.2%}, "
                f"{later:6.2%} after the first batch"
            )
        pairs = zip(rounds["DataLoader"], rounds["headrace"], strict=True)
        ratio = statistics.median(theirs[0] / ours[0] for theirs, ours in pairs)
        print(f"  DataLoader's epoch / headrace's, median of {given.rounds} rounds: {ratio:.2f}")


if __name__ == "__main__":
    main()
