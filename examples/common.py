"""Code that the examples share: windows, augmentation and a score. Needs only NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import headrace

RATE = 16_000
MEL = headrace.LogMel(RATE, n_fft=1024, hop=512, n_mels=64)


def features(audio):
    """Return a log-mel spectrogram, about -1 to 1: float32, shape (64, 94) for 3 s of audio."""
    return (MEL(audio) + 40) / 40


def augment(audio, rng):
    """Return a window with another gain and a little noise.

    `rng` is keyed by (seed, epoch, window), so a window is augmented in the same way with any
    number of workers, and in a resumed run.
    """
    gain = 10 ** (rng.uniform(-6, 6) / 20)
    level = 0.01 * rng.random()
    return np.float32(gain) * audio + np.float32(level) * rng.standard_normal(audio.shape, "f4")


def mixup(batch, rng):
    """Mix each row with another, and their labels in the same ratio (Zhang et al., 2018)."""
    other = rng.permutation(len(batch))
    share = rng.beta(0.2, 0.2, len(batch)).astype(np.float32)
    a, b = share[:, None, None], share[:, None]
    batch.audio[:] = a * batch.audio + (1 - a) * batch.audio[other]
    batch.labels[:] = b * batch.labels + (1 - b) * batch.labels[other]
    batch.label_mask[:] &= batch.label_mask[other]  # unknown in either row: unknown in the mix


def to_train_and_test(
    folder, *, window_s=3.0, held_out=0.25, by="id", quality="LMH", balanced=False
):
    """Return training windows, shuffled and augmented, and held-out windows, unchanged.

    `folder` is laid out like AnuraSet: ``raw_data/SITE/NAME.wav``,
    ``strong_labels/SITE/NAME.txt``. Windows of one recording resemble each other, so whole
    recordings are held out or, with ``by="site"``, whole sites.
    """
    folder = Path(folder)
    catalog = headrace.scan(folder / "raw_data" / "**" / "*.wav", root=folder / "raw_data")
    catalog = catalog.with_columns(site=lambda row: row.id.split("/")[0])
    annotations = headrace.Annotations.read_anuraset(folder / "strong_labels", quality=quality)
    annotations = annotations.match(catalog)  # before the split: both parts get the same classes
    parts = catalog.split({"train": 1 - held_out, "test": held_out}, by=by, seed=0)
    train, test = (
        parts[name].windows(RATE, window_s).label(annotations, min_overlap_s=0.2, min_fraction=0.5)
        for name in ("train", "test")
    )
    # Balanced: windows of rare classes are drawn more often, others less.
    train = train.sample(train.balanced_weights()) if balanced else train.shuffle(seed=0)
    return train.map(augment, seed=0).map(features), test.map(features)


def average_precision(truth, score):
    """Return each class's average precision, or nan for a class without positive windows.

    This is the mean, over the positive windows of a class, of the precision at their score: the
    fraction of positive windows among all windows with at least that score. Random scores get
    about the fraction of positive windows.
    """
    found = np.full(truth.shape[1], np.nan)
    for column in np.flatnonzero(truth.any(axis=0)):
        order = np.argsort(-score[:, column], kind="stable")
        hits = truth[order, column] > 0
        found[column] = (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()
    return found


def report(classes, truth, score):
    """Print the average precision of each class, and that of random scores."""
    found, chance = average_precision(truth, score), truth.mean(axis=0)
    print(f"average precision on {len(truth)} held-out windows (chance):")
    for name, precision, share in zip(classes, found, chance, strict=True):
        print(f"  {name}  {precision:.3f}  ({share:.3f})")
    heard = np.isfinite(found)
    print(f"  mean    {found[heard].mean():.3f}  ({chance[heard].mean():.3f})")


def report_waiting(stats):
    """Print how much of the time training waited for data, and why."""
    later = (stats.wait_s - stats.first_wait_s) / stats.wall_s
    print(f"training waited {stats.wait_share:.2%} of the time; {later:.2%} after the first batch")
    print(stats.verdict)
