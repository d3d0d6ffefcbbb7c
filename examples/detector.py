"""A small convolutional detector in PyTorch, and all that its training has to remember."""

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
    """Spectrograms, shape (batch, 64, frames), to a logit for each class."""

    def __init__(self, classes, width=32):
        super().__init__()

        def block(before, after):
            convolution = nn.Conv2d(before, after, 3, stride=2, padding=1)
            return convolution, nn.BatchNorm2d(after), nn.ReLU()

        self.look = nn.Sequential(*block(1, width), *block(width, 64), *block(64, 64))
        self.tell = nn.Linear(64 * 8, classes)

    def forward(self, spectrograms):
        """Look for calls everywhere, keep each band's strongest, and tell who that is."""
        seen = self.look(spectrograms[:, None])  # (batch, 64, 8 bands, times)
        return self.tell(seen.amax(dim=-1).flatten(1))


def mean_loss(logits, labels, known):
    """Return the mean cross-entropy where labels are known."""
    each = nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


class Training:
    """A model, its optimizer and its batches: what is saved, is saved of all three."""

    def __init__(self, windows, *, batch_size=32, workers=2, device="cpu", seed=0, width=32):
        torch.manual_seed(seed)
        # The loader's threads have the other half: two that want one processor are both slow.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
        self.model = Detector(len(windows.classes), width).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3)
        loader = windows.loader(
            batch_size=batch_size,
            workers=workers,
            last="drop",
            on_error="mask",  # a damaged file costs its own windows: rows that count for nothing
            batch_map=common.mixup,
            seed=seed,
        )
        self.batches = TorchLoader(loader, device=device)
        self._stream = self.batches.steps(None)  # begins when its first batch is asked for
        self.steps = 0
        self.loss = math.nan  # of the last run

    def run(self, steps):
        """Learn from so many batches more, over epochs' ends; return the windows they held."""
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
        """Return labels and scores of windows, shape (windows, classes)."""
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
        """Write everything from which training goes on as if it had not stopped."""
        state = {name: getattr(self, name).state_dict() for name in _PARTS}
        beside = Path(f"{file}.new")
        torch.save({**state, "steps": self.steps}, beside)
        beside.replace(file)  # whoever stops this now finds the old file or the new one, whole

    def load(self, file):
        """Go on from what was saved."""
        state = torch.load(file, map_location=self.batches.device)
        self.steps = state["steps"]
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])
        self._stream = self.batches.steps(None)
