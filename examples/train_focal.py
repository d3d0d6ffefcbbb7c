"""Train a detector on focal recordings, with all their windows or with balanced random crops.

    python examples/train_focal.py --seeds 5

The script makes a folder of synthetic focal recordings for each seed, as sound libraries have them:
`focal/SPECIES/NAME.wav`, of 1 to 40 seconds, many of a common species and few of a rare one. Each
is a clip around a call, and its folder is its only label. Three detectors are trained on it for the
same number of steps: on all windows of the recordings, on windows drawn so that species are equally
frequent, and on random crops of which that is true. All are tested on soundscapes of other seeds,
with all calls labelled.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import common
import numpy as np
import soundfile
from detector import Training

import headrace
from headrace.bench._synthetic import write_archive

WINDOW_S = 3.0
RECORDINGS = {"SYNTHA": 60, "SYNTHB": 20, "SYNTHC": 8, "SYNTHD": 4}
"""Focal recordings of each species: as unequal as those of common and rare birds."""

SHORTEST_S, LONGEST_S = 1.0, 40.0


def write_focal(folder, seed):
    """Write focal recordings, cut out of soundscapes that are deleted; return their folder."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as temporary:
        soundscapes = write_archive(temporary, recordings=24, seconds=90, seed=1_000 + seed)
        calls = {name: [] for name in RECORDINGS}
        for audio, labels in zip(soundscapes.audio, soundscapes.labels, strict=True):
            for line in labels.read_text("utf-8").splitlines():
                start, end, label = line.split("\t")
                calls[label.split("_")[0]].append((audio, (float(start) + float(end)) / 2))
        for species, count in RECORDINGS.items():
            (folder / species).mkdir(parents=True)
            for number in range(count):
                audio, middle_s = calls[species][rng.integers(len(calls[species]))]
                samples, rate = soundfile.read(audio, dtype="int16")
                seconds = SHORTEST_S * (LONGEST_S / SHORTEST_S) ** rng.random()
                first = max(0, round((middle_s - seconds * rng.random()) * rate))
                clip = samples[first : first + round(seconds * rate)]
                soundfile.write(folder / species / f"{number:03}.wav", clip, rate)
    return folder


def to_train(folder, seed):
    """Return the windows of each way, labelled and with features."""
    catalog = headrace.scan(folder / "**" / "*.wav", root=folder)
    catalog = catalog.with_columns(species=lambda row: row.id.split("/")[0])
    annotations = headrace.Annotations.from_folders(catalog)
    windows = catalog.windows(common.RATE, WINDOW_S).label(annotations)
    crops = catalog.crops(common.RATE, WINDOW_S, weights="species", seed=seed)
    ways = {
        "all windows": windows.shuffle(seed=seed),
        "balanced windows": windows.sample(windows.balanced_weights(), seed=seed),
        "balanced crops": crops.label(annotations),
    }
    return {
        way: some.map(common.augment, seed=seed).map(common.features) for way, some in ways.items()
    }


def to_test(folder, seed, recordings, classes):
    """Return the windows of soundscapes, labelled with all their calls."""
    write_archive(folder, recordings=recordings, seconds=60, seed=2_000 + seed)
    catalog = headrace.scan(folder / "raw_data" / "**" / "*.wav", root=folder / "raw_data")
    annotations = headrace.Annotations.read_anuraset(folder / "strong_labels").match(catalog)
    windows = catalog.windows(common.RATE, WINDOW_S)
    return windows.label(annotations, classes, min_overlap_s=0.2, min_fraction=0.5).map(
        common.features
    )


def compare(folder, seed, given):
    """Train each way on the archive of a seed; return each species's average precision."""
    training = to_train(write_focal(folder / "focal", seed), seed)
    held_out = to_test(folder / "soundscapes", seed, given.test_recordings, list(RECORDINGS))
    precision = {}
    for way, windows in training.items():
        run = Training(windows, batch_size=given.batch_size, workers=given.workers, seed=seed)
        run.run(given.steps)
        precision[way] = common.average_precision(*run.test(held_out))
        run.batches.close()
        each = "  ".join(f"{one:.3f}" for one in precision[way])
        print(f"seed {seed}  {way:16}  {np.nanmean(precision[way]):.3f}   {each}", flush=True)
    return precision


def main():
    """Parse the arguments, compare the ways for each seed, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--test-recordings", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()

    print(f"average precision: mean, then {', '.join(RECORDINGS)}")
    found = []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            precision = compare(Path(folder), seed, given)
            found.append([np.nanmean(one) for one in precision.values()])
    print(f"mean of {given.seeds}:")
    for way, mean in zip(precision, np.mean(found, axis=0), strict=True):
        print(f"  {way:16}  {mean:.3f}")


if __name__ == "__main__":
    main()
