"""librosa's log-mel spectrograms of some signals, for ``tests/dsp/test_logmel.py``.

    python -m tests.support.logmel_golden

writes ``tests/support/logmel_golden.npz``. That needs librosa; the tests do not. The file was
made with librosa 0.11.0 and NumPy 2.4 on x86-64.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CASES", "FILE", "RATE", "SIGNALS", "signal"]

FILE = Path(__file__).with_suffix(".npz")
RATE = 16_000
SIGNALS = ("noise", "sweep", "tone", "faint")
CASES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "small": {"n_fft": 512, "hop": 200, "n_mels": 32, "fmin": 50.0, "fmax": 7_000.0},
    "htk": {"n_fft": 1_024, "hop": 400, "n_mels": 40, "htk": True, "norm": None, "top_db": None},
    "amplitude": {"n_fft": 1_000, "hop": 333, "n_mels": 24, "power": 1.0, "pad_mode": "reflect"},
    "uncentred": {"n_fft": 1_024, "hop": 700, "n_mels": 40, "center": False, "top_db": 40.0},
}


def signal(name: str) -> NDArray[np.float32]:
    """Return 0.3 s of audio, the same to the bit on every machine."""
    count = 4_800
    raw = np.random.PCG64(7).random_raw(count) >> 40
    noise = raw.astype(np.float64) / (1 << 23) - 1
    time = np.arange(count)
    turns = {
        "noise": None,
        "faint": None,
        "sweep": time * time % 9_600 / 9_600,  # up to half the sample rate
        "tone": time * 1_234 % RATE / RATE,
    }[name]
    if turns is None:
        audio = noise * (2e-5 if name == "faint" else 0.1)
    else:  # arcs of parabolas, without a library's sine
        audio = np.where(turns < 0.5, 1, -1) * 8 * (turns % 0.5) * (0.5 - turns % 0.5)
    return audio.astype(np.float32)


def main() -> None:
    """Write librosa's spectrograms to `FILE`."""
    import librosa

    golden = {}
    for case, given in CASES.items():
        options = {"hop_length" if name == "hop" else name: given[name] for name in given}
        top_db = options.pop("top_db", 80.0)
        for name in SIGNALS:
            mel = librosa.feature.melspectrogram(y=signal(name), sr=RATE, **options)
            golden[f"{case} {name}"] = librosa.power_to_db(mel, top_db=top_db)
    np.savez_compressed(FILE, **golden)


if __name__ == "__main__":
    main()
