"""Accelerate trains on the same windows, stopped at any step and resumed, with a `TorchLoader`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")

from headrace.adapters.torch import TorchLoader

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Windows

EPOCHS = 3


class Training:
    """A program that trains a model of one layer, as in Accelerate's documentation."""

    def __init__(self, windows: Windows) -> None:
        self.accelerator = accelerate.Accelerator(cpu=True)
        model = torch.nn.Linear(2_000, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        batches = TorchLoader(
            windows.loader(batch_size=10, workers=1),
            fields=("audio", "index"),
            device=self.accelerator.device,
        )
        prepared = self.accelerator.prepare(model, optimizer, batches)
        self.model, self.optimizer, self.batches = prepared
        assert self.batches is batches  # Accelerate does not wrap it
        self.accelerator.register_for_checkpointing(batches)
        self.seen: list[list[int]] = []

    def run(self, until: int, folder: Path | None = None) -> None:
        """Train until `until` batches have been seen, saving after each one to `folder`."""
        while True:
            for audio, index in self.batches:
                self.step(audio)
                self.seen.append(index.tolist())
                if folder is not None:
                    self.accelerator.save_state(str(folder / str(len(self.seen))))
                if len(self.seen) == until:
                    self.batches.close()
                    return

    def step(self, audio: Any) -> None:
        self.optimizer.zero_grad()
        self.accelerator.backward(self.model(audio).square().mean())
        self.optimizer.step()

    def weights(self) -> list[float]:
        weights: list[float] = self.model.weight.flatten().tolist()
        return weights


def test_training_resumes_at_every_step(windows: Windows, tmp_path: Path) -> None:
    """Resumed after any step, windows and weights equal those of an uninterrupted run."""
    loader = windows.loader(batch_size=10, workers=1)
    straight = [batch.index.tolist() for _ in range(EPOCHS) for batch in loader]
    whole = Training(windows)
    whole.run(len(straight), tmp_path)
    assert whole.seen == straight

    for step in range(1, len(straight)):
        resumed = Training(windows)
        resumed.accelerator.load_state(str(tmp_path / str(step)))
        resumed.run(len(straight) - step)

        assert resumed.seen == straight[step:], f"from step {step}"
        assert resumed.weights() == whole.weights()


def test_a_run_killed_inside_an_epoch_resumes_there(windows: Windows, tmp_path: Path) -> None:
    """Stopped in the second epoch and resumed, training sees all windows once, in order."""
    loader = windows.loader(batch_size=10, workers=1)
    straight = [batch.index.tolist() for _ in range(EPOCHS) for batch in loader]
    killed = Training(windows)
    killed.run(6, tmp_path)
    resumed = Training(windows)
    resumed.accelerator.load_state(str(tmp_path / "6"))
    resumed.run(len(straight) - 6)

    assert killed.seen + resumed.seen == straight
