"""A small convolutional detector in PyTorch, and its training with checkpoints."""

from __future__ import annotations

import math
import os
from itertools import islice
from pathlib import Path

import common
import numpy as np
import torch
from torch import nn

from headrace.adapters.torch import TorchLoader

_PARTS = ("model", "optimizer", "batches")


class Detector(nn.Module):
    """Maps spectrograms, shape (batch, 64, columns), to one logit per class."""

    def __init__(self, classes, width=32):
        super().__init__()

        def block(before, after):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1)
            return convolution, nn.BatchNorm2d(after), nn.ReLU()

        self.convolutions = nn.Sequential(*block(1, width), *block(width, 64), *block(64, 64))
        self.classifier = nn.Linear(64 * 8, classes)

    def forward(self, spectrograms):
        """Return the logits, from the maximum over time of each feature in each band."""
        maps = self.convolutions(spectrograms[:, None])  # (batch, 64, 8 bands, times)
        return self.classifier(maps.amax(dim=-1).flatten(1))


def mean_loss(logits, labels, known):
    """Return the mean cross-entropy over the known labels."""
    each = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


class Training:
    """A model, its optimizer and its batches. A checkpoint contains the state of all three."""

    def __init__(self, windows, *, batch_size=32, workers=2, device="cpu", seed=0, width=32):
        torch.manual_seed(seed)
        # Leave half of the processors to the loader. Threads slow each other down if they outnumber
        # the processors.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
        self.model = Detector(len(windows.classes), width).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3)
        loader = windows.loader(
            batch_size=batch_size,
            workers=workers,
            last="drop",
            on_error="mask",  # a window of a damaged file becomes a row without known labels
            batch_map=common.mixup,
            seed=seed,
        )
        self.batches = TorchLoader(loader, device=device)
        self._stream = self.batches.steps(None)  # starts when the first batch is requested
        self.steps = 0
        self.loss = math.nan  # of the last run

    def run(self, steps):
        """Train on the next `steps` batches, across epochs; return the indexes of their windows."""
        self.model.train()
        seen, losses = [], []
        for batch in islice(self._stream, steps):
            self.optimizer.zero_grad()
            logits = self.model(batch.audio)
            loss = mean_loss(logits, batch.labels, batch.label_mask)
            loss.backward()
            self.optimizer.step()
            self.steps += 1
            seen.extend(batch.index.tolist())
            losses.append(loss.detach())
        self.loss = float(torch.stack(losses).mean()) if losses else math.nan
        return seen

    def test(self, windows):
        """Return the labels and scores of windows, each of shape (windows, classes)."""
        self.model.eval()
        truth, scores = [], []
        device = self.batches.device
        with TorchLoader(windows.loader(batch_size=64, on_error="skip"), device=device) as batches:
            for batch in batches:
                with torch.inference_mode():
                    scores.append(self.model(batch.audio).cpu().numpy())
                truth.append(batch.labels.cpu().numpy())
        return np.concatenate(truth), np.concatenate(scores)

    def save(self, file):
        """Write a checkpoint from which training resumes exactly."""
        state = {name: getattr(self, name).state_dict() for name in _PARTS}
        temporary = Path(f"{file}.new")
        torch.save({**state, "steps": self.steps}, temporary)
        temporary.replace(file)  # atomic: if interrupted, the old checkpoint is still complete

    def load(self, file):
        """Resume from a checkpoint."""
        state = torch.load(file, map_location=self.batches.device)
        self.steps = state["steps"]
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])
        self._stream = self.batches.steps(None)
