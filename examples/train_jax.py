"""Train a small network in plain JAX, interrupted in the middle of an epoch and resumed.

    python examples/train_jax.py

The archive, the windows and the score are the same as in `train_torch.py`.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from pathlib import Path

import common
import jax
import jax.numpy as jnp
import numpy as np

from headrace.adapters.jax import JaxLoader
from headrace.bench._synthetic import write_archive

FIELDS = ("audio", "labels", "label_mask")


def initial_state(classes, seed=0, hidden=64, bands=64):
    """Return weights, initialised as in He et al. (2015), and Adam's two moments of each."""
    keys = jax.random.split(jax.random.key(seed))
    weights = {
        "kernel": jax.random.normal(keys[0], (hidden, bands, 9)) * np.sqrt(2 / (bands * 9)),
        "kernel_bias": jnp.zeros((1, hidden, 1)),
        "classifier": jax.random.normal(keys[1], (hidden, classes)) * np.sqrt(2 / hidden),
        "classifier_bias": jnp.zeros(classes),
    }
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return {"weights": weights, "mean": zeros, "square": zeros, "steps": 0}


@jax.jit
def logits(weights, spectrograms):
    """Return the logits, from the maximum over time of features of 9 columns each."""
    features = jax.lax.conv(spectrograms, weights["kernel"], (2,), "SAME") + weights["kernel_bias"]
    return jax.nn.relu(features).max(axis=-1) @ weights["classifier"] + weights["classifier_bias"]


def loss(weights, audio, labels, known):
    """Return the mean cross-entropy over the known labels."""
    x = logits(weights, audio)
    each = jnp.maximum(x, 0) - x * labels + jnp.log1p(jnp.exp(-jnp.abs(x)))
    return (each * known).sum() / jnp.maximum(known.sum(), 1)


@jax.jit
def step(state, batch, rate=2e-3):
    """Return the state after one step of Adam (Kingma and Ba, 2015)."""
    gradient = jax.grad(loss)(state["weights"], *batch)
    n = state["steps"] + 1
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["mean"], gradient)
    square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g**2, state["square"], gradient)

    def updated(w, m, s):
        return w - rate * (m / (1 - 0.9**n)) / (jnp.sqrt(s / (1 - 0.999**n)) + 1e-8)

    weights = jax.tree.map(updated, state["weights"], mean, square)
    return {"weights": weights, "mean": mean, "square": square, "steps": n}


def make_loader(windows, batch_size, workers):
    """Return a loader of batches of one shape, put on the device ahead of use."""
    loader = windows.loader(
        batch_size=batch_size, workers=workers, last="drop", batch_map=common.mixup
    )
    return JaxLoader(loader, FIELDS)


def run(state, batches, steps):
    """Return the state after the next `steps` batches, across epochs."""
    for batch in batches.steps(steps):
        state = step(state, batch)
    return state


def scores(weights, windows, batch_size):
    """Return the labels and scores of windows, without the rows that pad the last batch."""
    loader = windows.loader(batch_size=batch_size, last="pad")
    truth, predicted = [], []
    with JaxLoader(loader, ("audio", "labels", "valid")) as batches:
        for audio, labels, valid in batches:
            truth.append(np.asarray(labels)[valid])
            predicted.append(np.asarray(logits(weights, audio))[valid])
    return np.concatenate(truth), np.concatenate(predicted)


def main():
    """Parse the arguments, generate the archive, train, interrupt, resume and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, help="folder for the archive; default: a temporary one"
    )
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60, help="length of each recording")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        write_archive(folder, recordings=given.recordings, seconds=given.seconds)
        windows, held_out = common.to_train_and_test(folder)
        print(f"{len(windows)} training windows, {len(held_out)} held-out windows")
        with make_loader(windows, given.batch_size, given.workers) as batches:
            epoch = len(batches)
            middle = given.epochs // 2 * epoch + epoch // 2
            print(f"training for {middle} steps, to the middle of epoch {given.epochs // 2}")
            state = run(initial_state(len(windows.classes)), batches, middle)
            saved = pickle.dumps((jax.device_get(state), batches.state_dict()))
            expected = run(state, batches, epoch)  # the result without an interruption

        # A new loader, as in a new process.
        with make_loader(windows, given.batch_size, given.workers) as batches:
            state, position = pickle.loads(saved)
            batches.load_state_dict(position)
            state = run(state, batches, epoch)
            same = jax.tree.all(jax.tree.map(jnp.array_equal, state, expected))
            print(f"resumed for {epoch} steps: same weights {bool(same)}")
            state = run(state, batches, given.epochs * epoch - middle - epoch)
            common.report_waiting(batches.loader.stats())
        common.report(windows.classes, *scores(state["weights"], held_out, given.batch_size))


if __name__ == "__main__":
    main()
