"""What it costs to start Silero VAD anew in each window, as examples/speech.py does.

    python benchmarks/speech_state.py RECORDING [--speak 40]

For several warm-ups, the share of frames behind the first window that are decided otherwise than
in one uninterrupted run over the recording. With --speak, espeak-ng first writes RECORDING: so many
sentences with pauses and some noise. Needs the extra `test-examples`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

import headrace

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import speech

TEXT = "Hello, this is a test of a voice detector. It should find speech here. And some more words."


def speak(file: Path, sentences: int) -> None:
    """Write sentences with pauses of 0.5 to 4 s between them and noise at -66 dBFS."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder, "spoken.wav")
        subprocess.run(["espeak-ng", "-w", str(spoken), TEXT], check=True)  # noqa: S607
        audio, rate = soundfile.read(spoken, dtype="float32")
    parts = []
    for _ in range(sentences):
        parts += [0.6 * audio, np.zeros(round(rate * rng.uniform(0.5, 4)), np.float32)]
    whole = np.concatenate(parts)
    soundfile.write(file, whole + 0.0005 * rng.standard_normal(len(whole)), rate)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--speak", type=int, metavar="SENTENCES", help="write RECORDING first")
    parser.add_argument("--threshold", type=float, default=0.5)
    options = parser.parse_args()
    if options.speak:
        speak(options.recording, options.speak)
    recording = headrace.scan(options.recording)
    (window,) = recording.windows(speech.RATE, recording.duration_s).loader(workers=0)
    audio = window.audio[: len(window.audio) // speech.FRAME * speech.FRAME]
    model = speech.Silero()
    whole = model.scores(audio) >= options.threshold
    print(f"{recording.duration_s:.0f} s, {whole.mean():.0%} of the frames are speech")
    for warm_up in (0, 32, 64, 128, 256, 512):
        hop = speech.FRAMES - warm_up
        others = total = 0
        for first in range(hop, len(whole) - warm_up, hop):
            frames = slice(first * speech.FRAME, (first + speech.FRAMES) * speech.FRAME)
            decided = (model.scores(audio[frames]) >= options.threshold)[warm_up:]
            expected = whole[first + warm_up : first + speech.FRAMES]
            others += int((decided != expected).sum())
            total += len(expected)
        print(f"  warm-up {warm_up:3} frames: {others:4} of {total:,} frames decided otherwise")


if __name__ == "__main__":
    main()
