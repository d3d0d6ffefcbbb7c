"""How far anchored decoding is from one uninterrupted decode, by codec, bitrate, signal and rule.

Encodes signals with PyAV, scans them under several rules, and prints the largest and the RMS
difference (full scale is 1.0) and the packets and frames of a pre-roll.

    python benchmarks/anchors.py --seconds 20 --pre-roll 1 2 4 8 16 --codecs aac opus
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

import headrace
from headrace.codecs import _ffmpeg
from headrace.codecs._anchors import AnchorRule

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 48_000
CODECS = {  # muxer, encoder, bits a second
    "aac": ("ipod", "aac", (32_000, 64_000, 128_000, 256_000)),
    "opus": ("webm", "libopus", (8_000, 16_000, 32_000, 64_000, 128_000)),
    "mp3": ("matroska", "libmp3lame", (32_000, 64_000, 128_000)),
    "mp2": ("matroska", "mp2", (128_000,)),
    "wmav1": ("asf", "wmav1", (96_000,)),
    "wmav2": ("asf", "wmav2", (48_000, 96_000)),
    "ac3": ("mov", "ac3", (128_000,)),
    "eac3": ("matroska", "eac3", (96_000,)),
    "flac": ("matroska", "flac", (0,)),
    "alac": ("ipod", "alac", (0,)),
    "amr_nb": ("amr", "libopencore_amrnb", (12_200,)),
    "ra_144": ("rm", "real_144", (0,)),
}
TELEPHONE = {"amr_nb", "ra_144"}  # 8 kHz, mono


def signals(seconds: int, rate: int = RATE) -> dict[str, NDArray[np.float32]]:
    """Return mono signals by name."""
    rng = np.random.default_rng(0)
    t = np.arange(seconds * rate) / rate
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(np.pi * t)) / rate
    voice = sum(np.sin(k * pitch) / k for k in range(1, 25))
    speaking = np.clip(np.sin(6 * np.pi * t), 0, 1) * (np.sin(0.6 * np.pi * t) > -0.3)
    hiss = rng.normal(size=len(t)) * (np.sin(4 * np.pi * t) > 0.7)
    music = np.zeros(len(t))
    for begin in range(0, len(t), rate // 4):
        note = t[: min(2 * rate, len(t) - begin)]
        hz = 220 * 2 ** (rng.integers(0, 36) / 12)
        music[begin : begin + len(note)] += 0.15 * np.exp(-3 * note) * np.sin(2 * np.pi * hz * note)
    found = {
        "speech with pauses": 0.2 * voice * speaking + 0.02 * hiss,
        "noise": 0.2 * rng.normal(size=len(t)),
        "tones": 0.3 * np.sin(880 * np.pi * t) + 0.2 * np.sin(10_420 * np.pi * t),
        "silence": np.zeros(len(t)),
        "music": music + 0.005 * rng.normal(size=len(t)),
    }
    return {name: one.astype(np.float32) for name, one in found.items()}


def encode(
    path: Path, audio: NDArray[np.float32], muxer: str, codec: str, bitrate: int, rate: int = RATE
) -> None:
    """Write stereo audio of which one channel is the other, delayed and softer; 8 kHz as mono."""
    stereo = np.stack([audio, 0.8 * np.roll(audio, 37)])[: 2 if rate == RATE else 1]
    layout = "stereo" if rate == RATE else "mono"
    with av.open(str(path), "w", format=muxer) as out:
        track: Any = out.add_stream(codec, rate=rate)
        track.codec_context.layout = layout
        if bitrate:
            track.codec_context.bit_rate = bitrate
        turned = av.AudioResampler(track.codec_context.format, layout, rate)
        for begin in range(0, len(audio), rate):
            piece = np.ascontiguousarray(stereo[:, begin : begin + rate])
            frame = av.AudioFrame.from_ndarray(piece, "fltp", layout)
            frame.sample_rate, frame.pts = rate, begin
            for one in turned.resample(frame):
                out.mux(track.encode(one))
        for one in turned.resample(None):
            out.mux(track.encode(one))
        out.mux(track.encode(None))


def decode(path: Path) -> NDArray[np.float32]:
    """Return the recording as headrace loads it: shape ``(frames, channels)``."""
    catalog = headrace.scan(path, progress=False)
    (one,) = catalog
    windows = catalog.windows(one.sample_rate, one.frames / one.sample_rate, channel="all")
    (window,) = windows.loader(workers=0)
    return np.ascontiguousarray(window.audio[:, : one.frames].T)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--spacing", type=float, default=1.0, help="seconds between anchors")
    parser.add_argument("--pre-roll", type=int, nargs="+", default=[0], help="packets; 0: the rule")
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=list(CODECS))
    options = parser.parse_args()
    original = _ffmpeg.anchor_rule
    print("codec, bits a second, signal: packets of pre-roll: largest / RMS difference")
    with tempfile.TemporaryDirectory() as folder:
        for codec in options.codecs:
            muxer, encoder, bitrates = CODECS[codec]
            rate = 8_000 if codec in TELEPHONE else RATE
            audio = signals(options.seconds, rate)
            for bitrate in bitrates:
                for name, one in audio.items():
                    path = Path(folder, f"a.{'wma' if muxer == 'asf' else 'mka'}")
                    encode(path, one, muxer, encoder, bitrate, rate)
                    _ffmpeg.anchor_rule = lambda _: AnchorRule(1e9, 1)
                    whole = decode(path)
                    cells = []
                    for packets in options.pre_roll:
                        rule = AnchorRule(options.spacing, packets) if packets else original(codec)
                        _ffmpeg.anchor_rule = lambda _, rule=rule: rule
                        error = np.abs(decode(path).astype(np.float64) - whole)
                        rms = np.sqrt((error**2).mean())
                        cells.append(f"{packets or 'rule'}: {error.max():.1e} / {rms:.1e}")
                    print(f"{codec:6}{bitrate:8} {name:20}", "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
