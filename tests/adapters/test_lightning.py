"""Lightning trains on the same windows, stopped at any step and resumed, with a `TorchLoader`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
lightning = pytest.importorskip("lightning.pytorch")

from headrace.adapters.torch import TorchBatch, TorchLoader

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Windows

pytestmark = [  # what Lightning warns of, and no more
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # in its own code
        "Be aware that when using `ckpt_path`, callbacks used to create",  # resumed without them
        "The dirpath has changed from",  # a run is resumed in a folder of its own
    )
]

EPOCHS = 3


class KilledError(Exception):
    """Stands for the end of the process."""


class Model(lightning.LightningModule):  # type: ignore[name-defined]
    """A model of one layer that records the windows that it is trained on."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2_000, 1)
        self.stop_after = stop_after
        self.seen: list[list[int]] = []
        self.checked: list[list[int]] = []

    def training_step(self, batch: Any, _: int) -> Any:
        audio, index = (batch.audio, batch.index) if isinstance(batch, TorchBatch) else batch
        self.seen.append(index.tolist())
        loss = self.layer(audio).square().mean()
        self.log("loss", loss, batch_size=len(audio))
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        if len(self.seen) == self.stop_after:
            raise KilledError

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class CheckedModel(Model):
    """A model that also records the windows that it is validated on."""

    def validation_step(self, batch: Any, _: int) -> None:
        self.checked.append(batch[1].tolist())


@pytest.fixture
def epochs(windows: Windows) -> list[list[list[int]]]:
    """Return the windows of each batch, epoch by epoch, as the loader alone yields them."""
    loader = windows.loader(batch_size=10, workers=1)
    return [[batch.index.tolist() for batch in loader] for _ in range(EPOCHS)]


def _batches(windows: Windows, fields: Any = ("audio", "index")) -> TorchLoader:
    return TorchLoader(windows.loader(batch_size=10, workers=1), fields=fields)


def _trainer(folder: Path, **options: Any) -> Any:
    save = lightning.callbacks.ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=1, save_top_k=-1
    )
    at_ends = lightning.callbacks.ModelCheckpoint(
        folder, filename="end-of-{epoch}", every_n_epochs=1, save_top_k=-1
    )
    return lightning.Trainer(
        **{
            "max_epochs": EPOCHS,
            "callbacks": [save, at_ends],
            "num_sanity_val_steps": 0,
            **options,
        },
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@pytest.fixture
def checkpoints(windows: Windows, epochs: list[list[list[int]]], tmp_path: Path) -> Path:
    """Train without interruption, and return the folder with the checkpoints of all steps."""
    model = Model()
    with _batches(windows) as batches:
        _trainer(tmp_path / "saved").fit(model, batches)
    assert model.seen == [batch for epoch in epochs for batch in epoch]
    return tmp_path / "saved"


def test_training_resumes_at_every_step(
    windows: Windows, epochs: list[list[list[int]]], checkpoints: Path, tmp_path: Path
) -> None:
    """From a checkpoint of any step the windows seen are those of the uninterrupted run."""
    straight = [batch for epoch in epochs for batch in epoch]
    for step in range(1, len(straight)):
        model = Model()
        with _batches(windows) as batches:
            trainer = _trainer(tmp_path / f"from-{step}", callbacks=[])
            trainer.fit(model, batches, ckpt_path=checkpoints / f"step={step}.ckpt")
        assert model.seen == straight[step:], f"from step {step}"


@pytest.mark.parametrize("ended", range(EPOCHS - 1))
def test_training_resumes_between_epochs(
    windows: Windows, epochs: list[list[list[int]]], checkpoints: Path, tmp_path: Path, ended: int
) -> None:
    """Lightning does not restore the loader at an epoch's end; training resumes all the same."""
    model = Model()
    with _batches(windows) as batches:
        trainer = _trainer(tmp_path / "again", callbacks=[])
        trainer.fit(model, batches, ckpt_path=checkpoints / f"end-of-epoch={ended}.ckpt")

    assert model.seen == [batch for epoch in epochs[ended + 1 :] for batch in epoch]


@pytest.mark.parametrize("fields", [None, ("audio", "index")])
def test_a_run_killed_inside_an_epoch_resumes_there(
    windows: Windows, epochs: list[list[list[int]]], tmp_path: Path, fields: Any
) -> None:
    """Killed in the second epoch and resumed, training sees all windows once, in order."""
    straight = [batch for epoch in epochs for batch in epoch]
    killed = Model(stop_after=6)
    batches = _batches(windows, fields)
    with pytest.raises(KilledError):
        _trainer(tmp_path / "killed").fit(killed, batches)
    batches.close()
    resumed = Model()
    with _batches(windows, fields) as batches:
        _trainer(tmp_path / "resumed").fit(
            resumed, batches, ckpt_path=tmp_path / "killed" / "step=6.ckpt"
        )

    assert killed.seen + resumed.seen == straight


def test_training_stopped_by_max_steps_resumes_there(
    windows: Windows, epochs: list[list[list[int]]], tmp_path: Path
) -> None:
    """Training resumes after `max_steps`, inside an epoch and at its end."""
    straight = [batch for epoch in epochs for batch in epoch]
    for steps in (3, 4, 5):
        first, second = Model(), Model()
        folder = tmp_path / f"until-{steps}"
        with _batches(windows) as batches:
            _trainer(folder, max_epochs=-1, max_steps=steps).fit(first, batches)
        with _batches(windows) as batches:
            trainer = _trainer(folder / "on", max_epochs=-1, max_steps=12)
            trainer.fit(second, batches, ckpt_path=folder / f"step={steps}.ckpt")

        assert first.seen + second.seen == straight


def test_validation_sees_the_same_windows_each_time(
    windows: Windows, epochs: list[list[list[int]]], tmp_path: Path
) -> None:
    """Every partial validation sees the same windows, and does not change the training's."""
    held_out = windows.catalog.windows(sample_rate=8_000, window_s=0.25)[:30]
    model = CheckedModel()
    with _batches(windows) as batches, _batches(held_out) as checks:
        trainer = _trainer(
            tmp_path,
            callbacks=[],
            val_check_interval=2,
            limit_val_batches=2,
            num_sanity_val_steps=1,
        )
        trainer.fit(model, batches, checks)

    assert model.seen == [batch for epoch in epochs for batch in epoch]
    in_order = [list(range(10)), list(range(10, 20))]
    assert model.checked == in_order[:1] + in_order * 2 * EPOCHS


def test_two_fits_of_one_loader_begin_with_the_same_windows(
    windows: Windows, epochs: list[list[list[int]]], tmp_path: Path
) -> None:
    """A second trainer counts its epochs from 0, and so does the loader."""
    with _batches(windows) as batches:
        for fit in ("first", "second"):
            model = Model()
            _trainer(tmp_path / fit, callbacks=[], max_epochs=1, limit_train_batches=3).fit(
                model, batches
            )
            assert model.seen == epochs[0][:3]


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_a_batch_can_be_converted(windows: Windows, tmp_path: Path, precision: str) -> None:
    """Lightning converts the tensors of a `TorchBatch` where a precision asks for it."""
    model = Model()
    dtypes = []

    def note(_: Any, batch: Any) -> None:
        dtypes.append(batch[0].dtype)

    model.layer.register_forward_pre_hook(note)
    with _batches(windows, None) as batches:
        _trainer(tmp_path, callbacks=[], max_epochs=1, precision=precision).fit(model, batches)

    assert set(dtypes) == {torch.float64 if precision == "64-true" else torch.float32}
    assert sorted(i for batch in model.seen for i in batch) == list(range(38))
