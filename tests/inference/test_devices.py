from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import headrace
from tests.support.models import expected_loudness, sorted_rows

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Windows

torch = pytest.importorskip("torch", reason="no PyTorch: pip install '.[torch]'")


def test_a_torch_model_gets_tensors_in_inference_mode(windows: Windows, tmp_path: Path) -> None:
    """With a device, batches are tensors on it, also on noise, and no gradients are recorded."""
    seen: list[tuple[str, bool]] = []

    def factory() -> Any:
        scale = torch.nn.Parameter(torch.ones(1))

        def model(batch: Any) -> dict[str, Any]:
            audio = batch.audio.double() * scale
            seen.append((str(audio.device), audio.requires_grad))
            return {"rms": (audio**2).mean(1).sqrt(), "first": batch.audio[:, :4]}

        return model

    run = windows.apply(
        output=tmp_path / "results",
        model=factory,
        batch_size=4,
        name="x",
        part_size=6,
        device="cpu",
    )

    assert {*seen} == {("cpu", False)}
    table = run.to_arrow()
    expected = expected_loudness(windows)
    assert [row[:2] + row[3:] for row in sorted_rows(table)] == [
        row[:2] + row[3:] for row in expected
    ]
    assert [row[2] for row in sorted_rows(table)] == pytest.approx([row[2] for row in expected])


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:1", r'device="cuda:1" needs CUDA, but torch.cuda.is_available\(\) is False'),
        ("mps", r'device="mps" cannot be used here: choose another device, .* \(.+\)'),
        ("gpu", r"device='gpu' is not the name of a device of PyTorch, such as \"cpu\""),
    ],
)
def test_a_device_that_is_absent_is_named_before_the_model_is_made(
    windows: Windows, tmp_path: Path, device: str, message: str
) -> None:
    """It is an error in one sentence, and no blame on the model. A complete run needs none."""
    if device != "gpu" and (torch.cuda.is_available() or torch.backends.mps.is_available()):
        pytest.skip("there is one")
    made: list[int] = []

    def factory() -> Any:
        made.append(1)
        return lambda batch: batch.audio[:, 0]

    options: dict[str, Any] = {"model": factory, "batch_size": 4, "name": "x"}
    with pytest.raises(ValueError, match=message):
        windows.apply(output=tmp_path / "results", device=device, **options)
    assert not made
    run = windows.apply(output=tmp_path / "results", device="cpu", **options)
    again = windows.apply(output=tmp_path / "results", device=device, **options)
    assert again.progress == run.progress
    with windows.loader(batch_size=4) as loader, pytest.raises(ValueError, match=message):
        headrace.adapters.torch.TorchLoader(loader, device=device)


def test_half_precision_of_torch(windows: Windows, tmp_path: Path) -> None:
    """NumPy has no bfloat16: it becomes float32. Half precision stays."""
    table = windows.apply(
        lambda batch: {
            "brain": batch.audio[:, 0].bfloat16(),
            "half": batch.audio[:, :2].half(),
        },
        tmp_path / "results",
        batch_size=4,
        name="x",
        device="cpu",
    ).to_arrow()

    assert [str(table[name].type) for name in ("brain", "half")] == [
        "float",
        "fixed_size_list<item: halffloat>[2]",
    ]


@pytest.mark.parametrize("pad_batches", [False, True])
def test_rows_of_a_batch_of_tensors_that_failed(
    archive: str, tmp_path: Path, *, pad_batches: bool
) -> None:
    """Unreadable windows are taken out of the tensors, and a model is called one by one."""
    windows = headrace.scan(archive).windows(8_000, 0.25)
    expected = expected_loudness(windows)
    (tmp_path / "1.wav").unlink()

    def model(batch: Any) -> dict[str, Any]:
        assert batch.valid.all()
        assert not pad_batches or len(batch.audio) == 7
        if ("3.wav", 0.25) in zip(batch.file_id, batch.offset.tolist(), strict=True):
            raise RuntimeError("bad")
        audio = batch.audio.numpy().astype("float64")
        return {"rms": (audio**2).mean(axis=1) ** 0.5, "first": batch.audio[:, :4]}

    run = windows.apply(
        model,
        tmp_path / "results",
        batch_size=7,
        name="x",
        device="cpu",
        on_error="mask",
        pad_batches=pad_batches,
    )

    assert sorted_rows(run.to_arrow()) == [
        row for row in expected if row[0] != "1.wav" and row[:2] != ("3.wav", 0.25)
    ]
    assert {str(one.code) for one in run.failures} == {"MISSING", "MODEL"}
