from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.sounds import call_annotations

jax = pytest.importorskip("jax")

from headrace.adapters.jax import JaxBatch, JaxLoader
from headrace.errors import InvalidWindowsError

if TYPE_CHECKING:
    from headrace import Loader, Windows


@pytest.fixture
def loader(windows: Windows) -> Loader:
    """Return a loader of batches of five windows, the last batch padded."""
    return windows.loader(batch_size=5, workers=2, prefetch=1, last="pad")


def aligned(shape: tuple[int, ...], dtype: Any = np.float32, beside: int = 0) -> Any:
    """Return memory with an alignment that JAX uses without a copy on the CPU."""
    count = int(np.prod(shape))
    memory = np.empty(count + 32, dtype)
    first = -memory.ctypes.data % 64 // 4 + beside
    return memory[first : first + count].reshape(shape)


def unaligned(shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    """Return memory with an alignment that makes JAX copy it."""
    return aligned(shape, dtype, beside=1)


def test_batches_equal_the_loaders(windows: Windows, loader: Loader) -> None:
    """Audio and `valid` are JAX arrays of the same bits; fields of 8 bytes stay NumPy arrays."""
    plain = list(windows.loader(batch_size=5, workers=1, last="pad"))

    batches = list(JaxLoader(loader))

    assert len(batches) == len(plain) == 8
    for batch, expected in zip(batches, plain, strict=True):
        assert isinstance(batch, JaxBatch)
        assert isinstance(batch.audio, jax.Array)
        assert batch.audio.shape == (5, 2_000)
        assert np.asarray(batch.audio).tobytes() == expected.audio.tobytes()
        assert batch.valid.tolist() == expected.valid.tolist()
        for name in ("offset", "end_s", "index", "valid_samples"):
            ours, theirs = getattr(batch, name), getattr(expected, name)
            assert ours.dtype == theirs.dtype
            assert ours.tolist() == theirs.tolist()
        audio, file_id, offset = batch
        assert audio is batch.audio
        assert (file_id, offset.tolist()) == (expected.file_id, expected.offset.tolist())
        assert len(batch) == 5


def test_columns_are_those_of_the_batch(windows: Windows) -> None:
    """Columns stay NumPy arrays, with the values of each row, those of added rows too."""
    site = [f"S{row}" for row in range(len(windows.catalog))]
    sited = windows.catalog.with_columns(site=site, number=list(range(len(site))))
    how: dict[str, Any] = {"batch_size": 5, "last": "pad", "columns": ["site", "number"]}
    loader = sited.windows(8_000, 0.25).loader(**how)
    plain = list(loader)

    for batch, expected in zip(JaxLoader(loader), plain, strict=True):
        for name in ("site", "number"):
            np.testing.assert_array_equal(batch.columns[name], expected.columns[name])
    assert plain[-1].columns["site"].tolist()[-2:] == ["", ""]


def test_labels_are_arrays(windows: Windows) -> None:
    """Labels and their mask are JAX arrays."""
    labelled = windows.label(call_annotations())
    plain = list(labelled.loader(batch_size=5, workers=1, last="pad"))
    batches = list(JaxLoader(labelled.loader(batch_size=5, workers=1, last="pad")))

    assert sum(batch.labels.sum() for batch in batches) > 0
    for batch, expected in zip(batches, plain, strict=True):
        assert isinstance(batch.labels, jax.Array)
        assert batch.labels.tolist() == expected.labels.tolist()
        assert batch.label_mask.tolist() == expected.label_mask.tolist()


def test_fields_are_tuples_that_a_compiled_function_takes(loader: Loader) -> None:
    """A function of a tuple of arrays is compiled once in two epochs."""
    compiled = 0

    @jax.jit  # type: ignore[untyped-decorator]
    def energy(batch: Any) -> Any:
        nonlocal compiled
        compiled += 1
        audio, valid = batch
        return (audio**2).sum(axis=1) * valid

    batches = JaxLoader(loader, fields=("audio", "valid"))
    for _ in range(2):
        for batch in batches:
            assert energy(batch).shape == (5,)

    assert compiled == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"last": "keep"}, 'give the loader last="drop" or last="pad"'),
        ({"last": "drop", "on_error": "skip"}, 'give the loader on_error="mask"'),
    ],
)
def test_batches_of_several_shapes_raise(windows: Windows, options: Any, message: str) -> None:
    """Options that would make JAX compile again in the middle of a run raise at its start."""
    with pytest.raises(ValueError, match=message):
        JaxLoader(windows.loader(batch_size=5, **options))


def test_audio_that_jax_would_truncate_raises(windows: Windows) -> None:
    """JAX truncates 8 bytes to 4 with at most a warning; here the error says what to do."""
    wide = windows.map(lambda audio: audio.astype(np.float64))
    with pytest.raises(ValueError, match=r"audio is float64, .* with \.astype\(np\.float32"):
        next(iter(JaxLoader(wide.loader(batch_size=5, last="drop"))))
    (audio,) = next(
        iter(
            JaxLoader(
                windows.map(lambda audio: np.fft.rfft(audio).astype(np.complex64)).loader(
                    batch_size=5, last="drop"
                ),
                fields=("audio",),
            )
        )
    )
    assert audio.dtype == np.complex64  # 8 bytes a number, which JAX supports


def test_sharding_and_device_together_raise(loader: Loader) -> None:
    """A sharding includes its devices."""
    device = jax.devices()[0]
    with pytest.raises(ValueError, match="sharding or device, not both"):
        JaxLoader(loader, sharding=jax.sharding.SingleDeviceSharding(device), device=device)


@pytest.mark.parametrize("memory", [aligned, unaligned])
def test_arrays_that_are_kept_never_change(windows: Windows, loader: Loader, memory: Any) -> None:
    """A kept array does not change, whether JAX shares the loader's memory or copies it."""
    expected = [b.audio.tobytes() for b in windows.loader(batch_size=5, workers=0, last="pad")]
    batches = JaxLoader(loader)
    loader.lend(2, memory)

    kept = [batch.audio for batch in batches]
    for _ in batches.steps(20):  # buffers that nothing refers to are reused
        pass

    assert [np.asarray(audio).tobytes() for audio in kept] == expected
    pool = loader._buffers
    assert pool is not None
    assert memory is unaligned or pool.allocated >= 8  # JAX shared the memory


def test_donating_an_array_does_not_overwrite_the_loaders_memory(loader: Loader) -> None:
    """A function that may overwrite its argument does not overwrite another batch."""
    batches = JaxLoader(loader, fields=("audio",))
    loader.lend(2, aligned)
    double = jax.jit(lambda audio: audio * 2, donate_argnums=0)

    seen = []
    for (audio,) in batches:
        before = np.array(audio)
        seen.append((before, double(audio)))

    for before, doubled in seen:
        assert np.asarray(doubled).tobytes() == (before * 2).tobytes()


def test_state_is_of_the_last_batch_handed_out(windows: Windows, loader: Loader) -> None:
    """A resumed run continues after the last batch seen, whatever was transferred ahead."""
    batches = JaxLoader(loader, fields=("index",), ahead=3)
    straight = [index.tolist() for (index,) in batches.steps(16)]
    batches.close()

    for stop in range(1, 16):
        first = JaxLoader(windows.loader(batch_size=5, workers=1, last="pad"), fields=("index",))
        seen = [index.tolist() for (index,) in first.steps(stop)]
        second = JaxLoader(windows.loader(batch_size=5, workers=1, last="pad"), fields=("index",))
        second.load_state_dict(first.state_dict())
        seen += [index.tolist() for (index,) in second.steps(16 - stop)]
        assert seen == straight


def test_several_processes_need_shards(
    windows: Windows, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several processes, windows that are not sharded raise."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(
        InvalidWindowsError, match=r"there are 2 ranks, .*after jax\.distributed is"
    ):
        next(iter(JaxLoader(loader)))
    sharded = windows.shard(1, 2).loader(batch_size=5, workers=0, last="pad")
    with JaxLoader(sharded, ("valid",)) as batches:
        assert sum(int(valid.sum()) for (valid,) in batches) == 19


def test_a_device_may_be_named(loader: Loader) -> None:
    """With `device=`, arrays are on that device."""
    device = jax.devices("cpu")[0]
    with JaxLoader(loader, device=device) as batches:
        assert next(iter(batches)).audio.devices() == {device}


SHARDED = """
import sys
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import headrace

def main():
    windows = headrace.scan(sys.argv[1]).windows(sample_rate=8_000, window_s=0.25)
    plain = [b.audio.copy() for b in windows.loader(batch_size=8, workers=0, last="pad")]
    sharding = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), PartitionSpec("data"))
    loader = windows.loader(batch_size=8, workers=2, last="pad")
    batches = headrace.adapters.jax.JaxLoader(loader, ("audio", "valid"), sharding=sharding)
    for (audio, valid), expected in zip(batches, plain, strict=True):
        assert audio.sharding == valid.sharding == sharding
        assert sorted(s.data.shape for s in audio.addressable_shards) == [(2, 2_000)] * 4
        assert np.asarray(audio).tobytes() == expected.tobytes()
    print(len(plain), len(jax.devices()))

main()
"""


def test_rows_are_distributed_over_devices(archive: str) -> None:
    """With a sharding, each of four devices has a quarter of the rows of every array."""
    done = subprocess.run(
        [sys.executable, "-c", SHARDED, archive],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "4"]
