"""Find bat calls in an archive with BatDetect2, at 256 kHz.

    pip install headrace batdetect2
    python examples/bats.py "recordings/**/*.wav" results/bats --raven tables

Its model finds calls of some milliseconds, with their frequencies, in windows of a second. Windows
overlap by 0.1 s, so that a call at an edge is whole in one of them. Its licence is CC BY-NC 4.0.
"""

from __future__ import annotations

import argparse

import torch
from batdetect2 import api

import headrace

RATE, WINDOW_S, OVERLAP_S = 256_000, 1.0, 0.1


class BatDetect2:
    """BatDetect2 as a function of a batch: the calls in each window."""

    def __init__(self, least=0.1):
        self.config = api.get_config(detection_threshold=least)

    def calls(self, audio):
        """Return the calls in one window as BatDetect2 gives them."""
        with torch.inference_mode():
            return api.process_audio(audio, RATE, config=self.config)[0]

    def __call__(self, batch):
        """Return the calls in each window."""
        rows = zip(batch.audio, batch.valid_samples, strict=True)
        return {"calls": [[*map(call, self.calls(audio[:valid]))] for audio, valid in rows]}


def call(found):
    """Return a call of BatDetect2 as a detection."""
    return {
        "start_s": found["start_time"],
        "end_s": found["end_time"],
        "label": found["class"],
        "score": found["det_prob"],
        "low_hz": found["low_freq"],
        "high_hz": found["high_freq"],
    }


def main():
    """Parse the arguments, apply the model, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="+", help="globs, folders or files")
    parser.add_argument("output", help="folder for the results; goes on with what is there")
    parser.add_argument("--threshold", type=float, default=0.3)
    parser.add_argument("--raven", metavar="FOLDER", help="write Raven selection tables")
    options = parser.parse_args()

    catalog = headrace.scan(options.patterns)
    windows = catalog.windows(RATE, WINDOW_S, WINDOW_S - OVERLAP_S, min_tail_s=0.02)
    run = windows.apply(BatDetect2(), options.output, batch_size=8, name="batdetect2 from 0.1")
    print(run)
    found = run.detections(threshold=options.threshold).merge()  # calls that two windows have
    print(found)
    if options.raven:
        files = found.to_raven(options.raven, root=catalog.root)
        print(f"{len(files)} tables in {options.raven}")


if __name__ == "__main__":
    main()
