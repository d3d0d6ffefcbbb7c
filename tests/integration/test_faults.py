"""In an archive with one damaged file in ten, nothing else is lost, and nothing silently."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import headrace
from tests.support.damaged_files import AFTER_SCAN, BEFORE_SCAN, RATE, growing
from tests.support.deliveries import delivered_rows, lost_windows
from tests.support.sounds import decode_whole, noise, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

pytestmark = pytest.mark.filterwarnings("ignore::headrace.HeadraceWarning")

WINDOW_S = 0.25
KINDS = (("WAV", "PCM_16"), ("WAV", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"))
CODES = {
    "truncated": {"TRUNCATED", "NOT_AUDIO", "EMPTY", "UNSUPPORTED"},
    "empty": {"EMPTY"},
    "header_only": {"EMPTY"},
    "declares_more": {"TRUNCATED"},
    "declares_fewer": {"HEADER_MISMATCH"},
    "size_zero": {"HEADER_MISMATCH"},
    "size_ones": {"HEADER_MISMATCH"},
    "random_bytes": {"NOT_AUDIO"},
    "text": {"NOT_AUDIO"},
    "directory": {"NOT_AUDIO"},
    "not_finite": {"NON_FINITE"},
    "cut_flac": {"TRUNCATED"},
    "cut_vorbis": {"TRUNCATED"},
    "cut_adpcm": {"TRUNCATED"},
    "wiped_flac": {"TRUNCATED"},
}
"""Codes of a scan with ``verify="decode"``, by kind of damage."""

LOST = {
    "deleted": {"MISSING"},
    "unreadable": {"IO"},
    "other_rate": {"CHANGED"},
    "other_format": {"CHANGED"},
    "shorter": {"CHANGED"},
    "growing": set[str](),
    "empty": {"CHANGED"},
}
"""Codes of a loader, by what happened to the file after the scan."""


class Archive:
    """Recordings, of which one in ten is damaged before the scan and one in ten after it."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(7)
        damages = [*BEFORE_SCAN, *AFTER_SCAN]
        self.folder = folder
        self.before: dict[str, str] = {}
        self.after: dict[str, str] = {}
        for number in range(10 * len(damages)):
            damaged = number % 10 == 0
            path = folder / f"{number:03}.wav"
            kind, subtype = KINDS[0] if damaged else KINDS[number % len(KINDS)]
            frames = int(rng.integers(RATE // 2, RATE * 3 // 2))
            write(path, noise(frames, seed=number), RATE, kind, subtype)
            if damaged and number // 10 < len(BEFORE_SCAN):
                damage = damages[number // 10]
                damage(path, rng)
                self.before[path.name] = damage.__name__
        self.catalog = headrace.scan(str(folder / "*.wav"), verify="decode")
        self.windows = self.catalog.windows(RATE, WINDOW_S)
        self.audio = dict(self._sliced())
        for number, damage in enumerate(AFTER_SCAN, len(BEFORE_SCAN)):
            path = folder / f"{10 * number:03}.wav"
            damage(path, rng)
            self.after[path.name] = damage.__name__

    def _spans_lost(self, file_id: str) -> list[tuple[int, int]]:
        """Return the frames that the scan found to be damaged, no more than 500 bytes can spoil."""
        spans = [
            (round(failure.start_s * RATE), round(failure.stop_s * RATE))
            for failure in self.catalog.failures
            if failure.file_id == file_id
        ]
        assert spans
        assert all(0 < stop - first <= 2 * 4096 for first, stop in spans)
        return spans

    def _sliced(self) -> Iterator[tuple[int, bytes]]:
        """Yield index and audio of each window that can be read, as soundfile reads it."""
        index = 0
        for recording in self.catalog:
            damage = self.before.get(recording.id, "")
            audio: NDArray[Any]
            if damage.startswith("cut_") or recording.format == "OGGS":
                audio = _floats(recording)  # soundfile cannot
            elif damage == "wiped_flac":
                path = self.folder / "good.flac"
                audio = _floats(write(path, noise(2 * RATE), RATE, "FLAC", "PCM_16"))
                for first, stop in self._spans_lost(recording.id):
                    audio[first:stop] = np.nan
            elif damage == "declares_fewer":  # soundfile trusts the header
                audio = np.fromfile(recording.path, "<i2", offset=44) / np.float32(1 << 15)
            else:
                audio, _ = soundfile.read(recording.path, recording.frames, dtype="float32")
            assert len(audio) == recording.frames
            size = round(RATE * WINDOW_S)
            ids = self.windows.table()["id"].to_pylist()
            for start in range(0, ids.count(recording.id) * size, size):
                window = np.zeros(size, np.float32)
                window[: len(audio) - start] = audio[start : start + size]
                if np.isfinite(window).all():
                    yield index, window.tobytes()
                index += 1


def _floats(recording: headrace.Recording) -> NDArray[np.float32]:
    """Return the samples of the first channel as headrace scales them."""
    pcm = decode_whole(recording)[:, 0]
    scale = -np.iinfo(pcm.dtype).min if pcm.dtype.kind == "i" else 1
    return (pcm / np.float32(scale)).astype(np.float32)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Return the archive; tests do not change it."""
    return Archive(tmp_path_factory.mktemp("archive"))


def test_a_scan_names_every_damage(archive: Archive) -> None:
    """`catalog.failures` has all damaged files, each with the right code, and no others."""
    codes: dict[str, set[str]] = {}
    for failure in archive.catalog.failures:
        codes.setdefault(failure.file_id, set()).add(str(failure.code))

    assert set(codes) == set(archive.before)
    for name, damage in archive.before.items():
        assert codes[name] <= CODES[damage], (name, damage, codes[name])


def test_the_archive_has_every_damage(archive: Archive) -> None:
    """There are more than twelve kinds, and files that can be used in part are in the catalog."""
    ids = set(archive.catalog.column("id"))

    assert len({*archive.before.values(), *archive.after.values()}) >= 21
    partly = {damage for name, damage in archive.before.items() if name in ids}
    assert partly >= {"declares_more", "declares_fewer", "size_zero", "size_ones", "not_finite"}
    assert partly >= {"cut_flac", "cut_vorbis", "cut_adpcm", "wiped_flac"}


@pytest.mark.parametrize("on_error", ["skip", "mask"])
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("order", [None, "window", "file"])
def test_good_windows_are_delivered_and_lost_ones_are_in_the_ledger(
    archive: Archive, order: Any, size: int | None, workers: int, on_error: Any
) -> None:
    """Good windows are delivered exactly, others are failures; for each file they add up."""
    windows = archive.windows if order is None else archive.windows.shuffle(5, by=order)
    loader = windows.loader(workers=workers, batch_size=size, on_error=on_error)
    expected = Counter(archive.windows.table()["id"].to_pylist())
    delivered: Counter[str] = Counter()
    seen = set()
    masked = 0
    for row in delivered_rows(loader):
        if not row.valid:
            masked += 1
            assert not row.audio.any()
            continue
        assert row.audio.tobytes() == archive.audio[row.index]
        delivered[row.file_id] += 1
        seen.add(row.index)

    bad = {name for name, damage in archive.after.items() if LOST[damage]}
    gone = dict(lost_windows(loader.failures))
    assert seen | set(gone) == set(range(len(windows)))
    assert not seen & set(gone)
    ids = archive.windows.table()["id"].to_pylist()
    assert seen == {index for index in archive.audio if ids[index] not in bad}
    for index, failure in gone.items():
        assert failure.file_id == ids[index]
        if ids[index] in bad:
            assert failure.code in LOST[archive.after[ids[index]]]
        else:
            wiped = archive.before[ids[index]] == "wiped_flac"
            assert failure.code == ("TRUNCATED" if wiped else "NON_FINITE")
    for told in loader.ledger().to_pylist():
        assert told["expected"] == expected[told["id"]]
        assert told["delivered"] == delivered[told["id"]]
        assert told["expected"] == told["delivered"] + told["failed"]
    stats = loader.stats()
    assert (stats.expected, stats.delivered, stats.failed) == (len(windows), len(seen), len(gone))
    assert masked == (len(gone) if on_error == "mask" else 0)


def test_apply_has_a_result_or_a_cause_for_every_window(archive: Archive, tmp_path: Path) -> None:
    """Good windows have a row, others the cause that a loader reports, and nothing is open."""

    def digests(batch: headrace.Batch) -> list[str]:
        return [hashlib.sha256(audio).hexdigest() for audio in batch.audio]

    run = archive.windows.apply(digests, tmp_path, batch_size=16, name="sha256", part_size=100)
    loader = archive.windows.loader(batch_size=16, on_error="skip")
    good = {row.index for row in delivered_rows(loader)}

    rows = {
        (row["id"], row["start_s"]): row["output"]
        for row in run.to_arrow(["id", "start_s", "output"]).to_pylist()
    }
    table = archive.windows.table().to_pylist()
    assert rows == {
        (table[index]["id"], table[index]["start"] / RATE): hashlib.sha256(
            archive.audio[index]
        ).hexdigest()
        for index in good
    }
    lost = {index: (one.file_id, one.code) for index, one in lost_windows(run.failures)}
    assert lost == {index: (one.file_id, one.code) for index, one in lost_windows(loader.failures)}
    assert len({code for _, code in lost.values()}) >= 5
    assert (run.progress.written, run.progress.failed, run.progress.open) == (
        len(good),
        len(table) - len(good),
        0,
    )


def test_max_failures_stops_a_run(archive: Archive) -> None:
    """It names the causes and the worst files, and stops before the delivery that exceeds it."""
    total = archive.windows.loader(on_error="skip")
    failed = sum(1 for _ in total) and total.stats().failed
    for most in (failed - 1, 0, 0.0, (failed - 0.5) / len(archive.windows)):
        loader = archive.windows.loader(on_error="mask", batch_size=8, max_failures=most)
        with pytest.raises(headrace.TooManyFailuresError, match=r"max_failures allows .*\.wav"):
            list(loader)
        stats = loader.stats()
        assert stats.expected == stats.delivered + stats.failed
        table = loader.ledger()
        assert sum(table["failed"].to_pylist()) == stats.failed
        assert sum(table["delivered"].to_pylist()) == stats.delivered
    enough = archive.windows.loader(on_error="skip", max_failures=failed)
    assert sum(1 for _ in enough) == total.stats().delivered
    assert sum(1 for _ in enough) == total.stats().delivered  # counted per epoch


@pytest.mark.parametrize("workers", [0, 2])
def test_a_recording_may_grow_while_it_is_read(tmp_path: Path, workers: int) -> None:
    """The scanned part is delivered exactly, and nothing that was appended later."""
    path = tmp_path / "a.wav"
    write(path, noise(4 * RATE), RATE, "WAV", "PCM_16")
    whole, _ = soundfile.read(path, dtype="float32")
    windows = headrace.scan(path).windows(RATE, WINDOW_S)
    loader = windows.loader(workers=workers, batch_size=2, prefetch=1)
    for batch in loader.steps(3 * len(windows) // 2):
        growing(path, np.random.default_rng(int(batch.index[0])))
        for index, audio in zip(batch.index, batch.audio, strict=True):
            start = int(index) * 4_000
            assert audio.tobytes() == whole[start : start + 4_000].tobytes()
    assert loader.failures == ()


FORBIDDEN = """
import json, os, sys, warnings
import headrace

warnings.simplefilter("ignore", headrace.HeadraceWarning)
windows = headrace.scan(sys.argv[1]).windows(16_000, 0.25)
whole = sum(len(batch) for batch in windows.loader(batch_size=3, workers=2))
os.chmod(os.path.join(sys.argv[1], "1.wav"), 0)
if os.geteuid() == 0:  # root can read everything
    os.setgroups([])
    os.setgid(65_534)
    os.setuid(65_534)
loader = windows.loader(batch_size=3, workers=2, on_error="skip")
left = sum(len(batch) for batch in loader)
told = [[one.file_id, one.code, one.windows] for one in loader.failures]
scanned = [[one.file_id, one.code] for one in headrace.scan(sys.argv[1]).failures]
json.dump([whole, left, told, scanned], sys.stdout)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs permissions")
def test_a_file_without_read_permission_is_a_failure() -> None:
    """It is one for a loader with an earlier catalog, and for a scan; root drops its privileges."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for number in range(3):
            write(Path(folder, f"{number}.wav"), noise(RATE), RATE, "WAV", "PCM_16")

        done = subprocess.run(
            [sys.executable, "-c", FORBIDDEN, folder],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )

    assert json.loads(done.stdout) == [
        12,
        8,
        [["1.wav", "PERMISSION", 4]],
        [["1.wav", "PERMISSION"]],
    ]
