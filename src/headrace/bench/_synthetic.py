"""`write_archive`: a small synthetic soundscape archive, the same to the bit on every machine.

Nothing is a recording: the "species" are invented, pulsed tones over noise that sounds like wind.
Layout and label format are those of AnuraSet, so that code for one reads the other.

The samples come from the raw bits of PCG64 (which NumPy guarantees never to change), integer
phases, a sine table rounded to 16 bits, and single float32 operations, which IEEE 754 defines to
the last bit. They do not depend on a library's sine or normal distribution.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import soundfile

from headrace._formatting import brief

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SPECIES", "Archive", "Call", "Species", "write_archive"]


@dataclass(frozen=True, slots=True)
class Species:
    """An invented species, whose call is a train of pulses; each pulse is a frequency sweep.

    Attributes
    ----------
    code : str
        Six capital letters like AnuraSet's codes, but of no animal.
    low_hz, high_hz : int
        The frequency band of its calls.
    from_hz, to_hz : int
        The frequencies at which each pulse's sweep starts and ends, inside the band.
    pulses_per_s : int
        Pulses per second.
    shortest_s, longest_s : float
        Range of the duration of a call, seconds.
    """

    code: str
    low_hz: int
    high_hz: int
    from_hz: int
    to_hz: int
    pulses_per_s: int
    shortest_s: float
    longest_s: float


SPECIES: Final = (
    Species("SYNTHA", 600, 1_000, 750, 850, 20, 0.6, 2.5),  # a low trill
    Species("SYNTHB", 1_300, 2_100, 1_500, 1_900, 3, 0.7, 2.0),  # rising whistles
    Species("SYNTHC", 2_500, 3_700, 3_400, 2_800, 9, 0.4, 1.5),  # falling chirps
    Species("SYNTHD", 4_300, 5_500, 4_900, 4_900, 60, 1.0, 4.0),  # a buzz
)
"""The species of every archive; their frequency bands do not touch."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as its label describes it.

    Attributes
    ----------
    start, stop : int
        Span in samples, half-open.
    species : Species
        The calling species.
    quality : {"L", "M", "H"}
        Level: low, medium or high.
    """

    start: int
    stop: int
    species: Species
    quality: str


@dataclass(frozen=True, slots=True)
class Archive:
    """What `write_archive` wrote.

    Attributes
    ----------
    folder : Path
        The folder with ``raw_data`` and ``strong_labels``.
    audio, labels : tuple of Path
        The recordings and their label files, in the same order.
    sample_rate : int
        Hz.
    audio_s : float
        Total seconds of audio.
    """

    folder: Path
    audio: tuple[Path, ...]
    labels: tuple[Path, ...]
    sample_rate: int
    audio_s: float

    @property
    def pattern(self) -> str:
        """The glob that matches the recordings and nothing else."""
        return str(self.folder / "raw_data" / "**" / "*.wav")


_FIRST_START: Final = datetime.fromisoformat("2024-01-01T18:00")
_RECORDING_INTERVAL: Final = timedelta(minutes=15)

# Chosen by ear and by the tests: even soft calls are twice the noise in their band.
_CALL_PEAK: Final = {"L": 0.06, "M": 0.12, "H": 0.24}
_NOISE_LEVEL: Final = 0.015
_OCTAVES: Final = 10
_GUST_OCTAVE: Final = 5  # below 22,050 / 2^5 Hz the level varies, as wind does in a microphone
_RAMP_S: Final = 0.02
_ABSENT_IN_ONE_OF: Final = 4  # a species is absent from one in four recordings
_SHORTEST_GAP_S, _LONGEST_GAP_S = 1.0, 9.0

_TABLE_BITS: Final = 12
_PHASES: Final = np.arange(1 << _TABLE_BITS) * (2 * np.pi / (1 << _TABLE_BITS))
_SINE: Final = (np.rint(np.sin(_PHASES) * 32_767) / 32_768).astype(np.float32)


def write_archive(
    folder: str | Path,
    *,
    recordings: int = 60,
    seconds: float = 60.0,
    sample_rate: int = 22_050,
    sites: int = 4,
    seed: int = 0,
) -> Archive:
    """Write synthetic recordings and their strong labels.

    The layout is ``raw_data/<SITE>/<SITE>_<YYYYMMDD>_<HHMMSS>.wav`` (PCM16, mono) beside
    ``strong_labels/<SITE>/<same name>.txt``, tab-separated without a header: start in seconds, end
    in seconds, ``<SPECIES>_<L|M|H>``. Calls of one species never overlap; those of two may.

    Parameters
    ----------
    folder : str or Path
        Created if missing; existing files of the same names are replaced.
    recordings : int
        Number of recordings, spread evenly over the sites.
    seconds : float
        Duration of each recording.
    sample_rate : int
        Hz; at least 11,025, so that every species fits under the Nyquist frequency.
    sites : int
        Number of sites.
    seed : int
        Not negative. The same arguments give the same bytes.

    Returns
    -------
    Archive
        The files, sorted by name.

    Raises
    ------
    ValueError
        An argument is out of its range.
    OSError
        The folder cannot be written.
    """
    highest = max(species.high_hz for species in SPECIES)
    for name, value, minimum in (
        ("recordings", recordings, 1),
        ("seconds", seconds, 1),
        ("sample_rate", sample_rate, 2 * highest + 25),
        ("sites", sites, 1),
        ("seed", seed, 0),
    ):
        if value < minimum:
            raise ValueError(f"{name}={brief(value)} is too small: give at least {minimum}.")

    folder = Path(folder)
    frames = round(seconds * sample_rate)
    jobs = []
    for index in range(recordings):
        # Consecutive recordings go to one site, so that names sort like indices.
        site = index * sites // recordings
        slot = index - -(-site * recordings // sites)
        name = f"SYN{site + 1:0{len(str(sites))}d}"
        stem = f"{name}_{_FIRST_START + slot * _RECORDING_INTERVAL:%Y%m%d_%H%M%S}"
        audio = folder / "raw_data" / name / f"{stem}.wav"
        labels = folder / "strong_labels" / name / f"{stem}.txt"
        audio.parent.mkdir(parents=True, exist_ok=True)
        labels.parent.mkdir(parents=True, exist_ok=True)
        jobs.append((audio, labels, (seed, index), sample_rate, frames))

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(lambda job: _write_recording(*job), jobs))
    return Archive(
        folder=folder,
        audio=tuple(job[0] for job in jobs),
        labels=tuple(job[1] for job in jobs),
        sample_rate=sample_rate,
        audio_s=recordings * frames / sample_rate,
    )


def _write_recording(
    audio: Path, labels: Path, key: tuple[int, int], sample_rate: int, frames: int
) -> None:
    bits = _RandomBits(key)
    signal = _wind(bits, frames, sample_rate)
    calls = _random_calls(bits, frames, sample_rate)
    for call in calls:
        signal[call.start : call.stop] += _call_audio(call, sample_rate)
    pcm = np.rint(np.clip(signal, -1, 1) * np.float32(32_767)).astype(np.int16)
    soundfile.write(audio, pcm, sample_rate, subtype="PCM_16", format="WAV")
    lines = (
        f"{call.start / sample_rate:.6f}\t{call.stop / sample_rate:.6f}"
        f"\t{call.species.code}_{call.quality}\n"
        for call in calls
    )
    labels.write_text("".join(lines), encoding="utf-8", newline="\n")


class _RandomBits:
    """Random numbers made from the raw bits of PCG64 only; slightly biased."""

    def __init__(self, key: tuple[int, int]) -> None:
        self._generator = np.random.PCG64(np.random.SeedSequence(key))

    def between(self, low: int, high: int) -> int:
        """Return a whole number in [low, high]."""
        return low + int(self._generator.random_raw()) % (high - low + 1)

    def noise(self, count: int) -> NDArray[np.float32]:
        """Return uniform noise in [-1, 1), shape ``(count,)``."""
        raw = self._generator.random_raw(-(-count // 4)).astype("<u8")
        return raw.view("<i2")[:count].astype(np.float32) / np.float32(32_768)


def _wind(bits: _RandomBits, frames: int, sample_rate: int) -> NDArray[np.float32]:
    """Return noise that falls with frequency: a sum of octaves, interpolated from low to high."""
    signal = bits.noise((frames >> _OCTAVES) + 3)
    for octave in reversed(range(_OCTAVES)):
        finer = np.empty(2 * (len(signal) - 1), np.float32)
        finer[::2] = signal[:-1]
        finer[1::2] = (signal[:-1] + signal[1:]) * np.float32(0.5)
        signal = finer[: (frames >> octave) + 3]
        if octave == _GUST_OCTAVE:
            signal *= _gusts(bits, len(signal), sample_rate >> octave)
        signal += bits.noise(len(signal))
    return signal[:frames] * np.float32(_NOISE_LEVEL)


def _gusts(bits: _RandomBits, frames: int, sample_rate: int) -> NDArray[np.float32]:
    """Return a gain between 0.5 and 2.5 that reaches a new random value each second."""
    levels = bits.noise(frames // sample_rate + 2) + np.float32(1.5)
    time = np.arange(frames)
    second, within = time // sample_rate, time % sample_rate
    share = within.astype(np.float32) * np.float32(1 / sample_rate)
    gains: NDArray[np.float32] = levels[second] + (levels[second + 1] - levels[second]) * share
    return gains


def _random_calls(bits: _RandomBits, frames: int, sample_rate: int) -> list[Call]:
    """Return random calls of all species, sorted by start."""
    calls = []
    for species in SPECIES:
        if bits.between(1, _ABSENT_IN_ONE_OF) == 1:
            continue
        start = bits.between(0, round(_LONGEST_GAP_S * sample_rate))
        while True:
            stop = start + bits.between(
                round(species.shortest_s * sample_rate), round(species.longest_s * sample_rate)
            )
            if stop > frames:
                break
            calls.append(Call(start, stop, species, "LMH"[bits.between(0, 2)]))
            start = stop + bits.between(
                round(_SHORTEST_GAP_S * sample_rate), round(_LONGEST_GAP_S * sample_rate)
            )
    return sorted(calls, key=lambda call: (call.start, call.species.code))


def _call_audio(call: Call, sample_rate: int) -> NDArray[np.float32]:
    species = call.species
    time = np.arange(call.stop - call.start, dtype=np.int64)

    # Phases are integers: a full turn is 2^32.
    def step(hz: int) -> int:
        return (hz << 32) // sample_rate

    pulse = (time * step(species.pulses_per_s)) & 0xFFFFFFFF
    sweep = step(species.to_hz) - step(species.from_hz)
    phase = np.cumsum(step(species.from_hz) + ((sweep >> 16) * pulse >> 16))

    envelope = np.float32(0.5) - np.float32(0.5) * _sine(pulse + (1 << 30))  # a raised cosine
    ramp = round(_RAMP_S * sample_rate)
    edge = np.minimum(np.minimum(time + 1, time[::-1] + 1), ramp).astype(np.float32)
    gain = edge * np.float32(_CALL_PEAK[call.quality] / ramp)
    sound: NDArray[np.float32] = _sine(phase) * envelope * gain
    return sound


def _sine(phase: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return sin(2 pi phase / 2^32) from the table."""
    sine: NDArray[np.float32] = _SINE[(phase >> (32 - _TABLE_BITS)) & ((1 << _TABLE_BITS) - 1)]
    return sine
