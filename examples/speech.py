"""Find speech in an archive with Silero VAD, a model that remembers what came before.

    pip install headrace onnxruntime silero-vad
    python examples/speech.py "recordings/**/*.wav" results/speech --audacity labels

The model scores each frame of 32 ms, and its state depends on all frames before. Results that can
be resumed, and shared among processes, must not depend on other windows. So the model starts anew
in each window of 65.536 s. The first 4.096 s of a window are the last of the one before: they only
warm the state up, and their scores are left out. See docs/howto/speech.md for what that costs.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import headrace

RATE, FRAME, CONTEXT = 16_000, 512, 64  # samples; the model is given the end of the frame before
FRAMES, WARM_UP = 2_048, 128  # of a window; arbitrary choices, see docs/howto/speech.md


class Silero:
    """Silero VAD as a function of a batch: spans of frames that score at least `threshold`."""

    def __init__(self, threshold=0.5, threads=1):
        import onnxruntime

        folder = Path(find_spec("silero_vad").submodule_search_locations[0], "data")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(folder / "silero_vad_16k_sequence.onnx"),
            options,
            providers=["CPUExecutionProvider"],
        )
        self.threshold = threshold

    def scores(self, audio):
        """Return the score of each frame of a window, from a fresh state: shape (frames,)."""
        frames = audio.reshape(-1, FRAME)
        context = np.zeros((len(frames), CONTEXT), np.float32)
        context[1:] = frames[:-1, -CONTEXT:]
        state = np.zeros((1, 1, 128), np.float32)
        inputs = {"input": np.hstack([context, frames]), "h": state, "c": state}
        return self.session.run(["speech_probs"], inputs)[0].reshape(-1)

    def __call__(self, batch):
        """Return the spans of speech in each window."""
        rows = zip(batch.audio, batch.offset, batch.valid_samples, strict=True)
        return {"speech": [self.spans(*row) for row in rows]}

    def spans(self, audio, offset, valid_samples):
        """Return the spans of speech in one window."""
        scores = self.scores(audio)
        first = 0 if offset == 0 else WARM_UP  # nothing comes before a recording
        last = -(-valid_samples // FRAME)  # behind it is padding
        is_speech = np.zeros(FRAMES + 2, bool)
        is_speech[1 + first : 1 + last] = scores[first:last] >= self.threshold
        edges = np.flatnonzero(np.diff(is_speech))
        return [
            {
                "start_s": start * FRAME / RATE,
                "end_s": stop * FRAME / RATE,
                "label": "speech",
                "score": scores[start:stop].max(),
            }
            for start, stop in edges.reshape(-1, 2).tolist()
        ]


def cut(catalog):
    """Return windows that overlap by the warm-up; the last begins within the last frame."""
    return catalog.windows(
        RATE, FRAMES * FRAME / RATE, (FRAMES - WARM_UP) * FRAME / RATE, min_tail_s=1 / RATE
    )


def main():
    """Parse the arguments, apply the model, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="+", help="globs, folders or files")
    parser.add_argument("output", help="folder for the results; goes on with what is there")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--gap-s", type=float, default=0.1, help="pauses inside an utterance")
    parser.add_argument("--least-s", type=float, default=0.25, help="the shortest utterance")
    parser.add_argument("--audacity", metavar="FOLDER", help="write Audacity label tracks")
    options = parser.parse_args()

    run = cut(headrace.scan(options.patterns)).apply(
        Silero(options.threshold),
        options.output,
        batch_size=8,
        name=f"silero-vad from {options.threshold:g}",
    )
    print(run)
    found = run.detections().merge(options.gap_s)  # also across windows
    table = found.to_pandas()
    found = found.filter(table["end_s"] - table["start_s"] >= options.least_s)
    print(found)
    if options.audacity:
        files = found.to_audacity(options.audacity)
        print(f"{len(files)} label tracks in {options.audacity}")


if __name__ == "__main__":
    main()
