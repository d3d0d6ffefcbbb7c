"""The reason of each failure is that file's own, whatever happens in other threads."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import headrace
from headrace import _kernel
from headrace.codecs import libsndfile_functions, probe
from headrace.errors import DamagedWarning
from headrace.failures import Code, Failure
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from pathlib import Path


def _damaged(folder: Path) -> dict[str, bytes]:
    """Return damaged files, each of which libsndfile refuses for another reason."""
    good = folder / "good.wav"
    write(good, noise(2_000), 8_000, "WAV", "PCM_16")
    wav = good.read_bytes()
    good.unlink()
    fmt = wav[12:36]
    return {
        "text": b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 40,
        "noise": b"\x00\x01" + os.urandom(3_000),
        "no-data": wav[:36] + struct.pack("<4sI", b"junk", 100) + bytes(100),
        "no-format": wav[:12] + struct.pack("<4sI", b"data", 100) + bytes(100),
        "channels": wav[:22] + struct.pack("<H", 2_000) + wav[24:],
        "unknown-codec": wav[:20] + struct.pack("<H", 0x1234) + wav[22:],
        "short": b"RIFF" + struct.pack("<I", 4) + b"WAVE",
        "flac": b"fLaC" + bytes(100),
        "ogg": b"OggS" + bytes(100),
        "aiff": b"FORM" + struct.pack(">I", 100) + b"AIFF" + bytes(100),
        "au": b".snd" + struct.pack(">5I", 24, 0, 99, 8_000, 1) + bytes(100),
        "caf": b"caff" + struct.pack(">HH", 9, 0) + bytes(100),
        "voc": b"Creative Voice File\x1a" + bytes(100),
        "fmt-only": wav[:12] + fmt,
    }


def _archive(folder: Path, copies: int) -> None:
    kinds = _damaged(folder)
    for n in range(copies):
        for kind, content in kinds.items():
            (folder / f"{kind}-{n:03}.wav").write_bytes(content)
        write(folder / f"good-{n:03}.flac", noise(500), 8_000, "FLAC", "PCM_16")


def _reasons(folder: Path, workers: int) -> dict[str, str]:
    with pytest.warns(DamagedWarning):
        catalog = headrace.scan(folder, workers=workers)
    return {failure.file_id: str(failure) for failure in catalog.failures}


def test_reasons_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    """The last reason is kept by libsndfile where all threads share it."""
    _archive(tmp_path, 15)
    alone = _reasons(tmp_path, 0)
    by_kind = {name.rpartition("-")[0]: text.rpartition(": ")[2] for name, text in alone.items()}
    assert len(set(by_kind.values())) > 5  # so that a mix-up is seen

    for _ in range(3):
        assert _reasons(tmp_path, 2) == alone
        assert _reasons(tmp_path, 8) == alone


def test_copies_of_a_file_have_one_reason(tmp_path: Path) -> None:
    """The reason depends on the bytes alone, also while loaders open files in other threads."""
    _archive(tmp_path, 8)
    stop = threading.Event()

    def keep_opening() -> None:
        while not stop.is_set():
            probe(str(tmp_path / "good-000.flac"), "good")

    openers = [threading.Thread(target=keep_opening) for _ in range(4)]
    for opener in openers:
        opener.start()
    try:
        found = _reasons(tmp_path, 4)
    finally:
        stop.set()
        for opener in openers:
            opener.join()

    reasons: dict[str, set[str]] = {}
    for name, text in found.items():
        reasons.setdefault(name.rpartition("-")[0], set()).add(text.partition(".wav: ")[2])
    assert len(reasons) == len(_damaged(tmp_path))
    assert all(len(texts) == 1 for texts in reasons.values()), reasons


def _failure(path: Path) -> Failure:
    found = probe(str(path), "x")
    assert isinstance(found, Failure), found
    return found


@pytest.mark.parametrize(
    "name", ["page.mp3", "page.au", "page.snd", "page.gsm", "page.vox", "page"]
)
def test_a_text_is_not_audio_whatever_its_name(tmp_path: Path, name: str) -> None:
    """By names, libsndfile takes any .au for headerless audio, and looks for MP3 in any .mp3."""
    (tmp_path / name).write_bytes(b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 99)

    failure = _failure(tmp_path / name)

    assert failure.code is Code.NOT_AUDIO
    assert failure.message == "no decoder recognises it (Format not recognised)"


def test_no_reason_is_ever_no_error(tmp_path: Path) -> None:
    """A file that cannot be used is never reported with "(No Error)"."""
    for name, content in _damaged(tmp_path).items():
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(content)

        assert "no error" not in _failure(path).message.lower()
        assert "pipe" not in _failure(path).message


@pytest.mark.skipif(sys.platform == "win32", reason="limits of open files are a Unix matter")
def test_out_of_file_handles_is_an_error_of_the_system(tmp_path: Path) -> None:
    """The file may be good: a process that has no handle left cannot know."""
    write(tmp_path / "good.wav", noise(500), 8_000, "WAV", "PCM_16")
    script = """
import os, resource, sys
from headrace.codecs import probe
probe(sys.argv[1], "x")
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    pass
failure = probe(sys.argv[1], "x")
os.close(held.pop())
print(failure.code, failure.message, sep="|")
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "good.wav")],
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout.strip() == "IO|the operating system reports: Too many open files"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_an_open_that_hangs_delays_others_and_never_stops_them(tmp_path: Path) -> None:
    """A pipe that is silent hangs like a disk that is gone; damaged files keep their code."""
    (tmp_path / "text.wav").write_text("recorder 7 was stolen\n" * 40)
    os.mkfifo(tmp_path / "pipe.wav")
    writer = os.open(tmp_path / "pipe.wav", os.O_RDWR)
    hanging = threading.Thread(
        target=_kernel.read_header,
        args=(libsndfile_functions(),),
        kwargs={"place": _kernel.Place(path=os.fsencode(tmp_path / "pipe.wav"))},
        daemon=True,
    )
    hanging.start()
    hanging.join(0.2)
    assert hanging.is_alive()

    assert _failure(tmp_path / "text.wav").code is Code.NOT_AUDIO

    os.close(writer)
    hanging.join(20)
    assert not hanging.is_alive()
    assert _failure(tmp_path / "text.wav").message.endswith("(Format not recognised)")


def test_another_soundfile_is_named_when_it_does_not_fit(tmp_path: Path) -> None:
    """Private names of soundfile are used: a version without them is reported at import."""
    (tmp_path / "soundfile.py").write_text("_ffi = _formats = _snd = None\n")

    run = subprocess.run(
        [sys.executable, "-c", "import headrace.codecs._libsndfile"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )

    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: headrace calls libsndfile through the soundfile package")
    assert "pip install 'soundfile>=0.13,<0.15'" in last
