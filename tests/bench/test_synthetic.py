import hashlib
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from headrace.bench._synthetic import SPECIES, write_archive

# Of samples and labels. If either changes, old and new measurements on the demo's archive cannot be
# compared.
DIGEST = "61a60f320f932ab59549367ff814081884e0447a972dfdefc51639c4f71ea3f0"


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _labels(path: Path) -> list[tuple[float, float, str, str]]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        start, end, label = line.split("\t")
        species, quality = label.split("_")
        rows.append((float(start), float(end), species, quality))
    return rows


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    """Two archives with one seed are equal to the byte, whichever threads wrote them."""
    for name in ("one", "two"):
        write_archive(tmp_path / name, recordings=5, seconds=4, sites=2, seed=3)

    assert _files(tmp_path / "one") == _files(tmp_path / "two")


def test_another_seed_gives_other_audio(tmp_path: Path) -> None:
    """The seed changes the samples of every recording."""
    one = write_archive(tmp_path / "one", recordings=3, seconds=2, seed=0)
    two = write_archive(tmp_path / "two", recordings=3, seconds=2, seed=1)

    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(one.audio, two.audio, strict=True))
    assert len({path.read_bytes() for path in one.audio}) == 3


def test_the_samples_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """The digest is fixed: neither the machine nor the NumPy version changes a sample or label."""
    archive = write_archive(tmp_path, recordings=3, seconds=10, sites=2, seed=0)

    digest = hashlib.sha256()
    for audio, labels in zip(archive.audio, archive.labels, strict=True):
        digest.update(soundfile.read(audio, dtype="int16")[0].astype("<i2").tobytes())
        digest.update(labels.read_bytes())
    assert digest.hexdigest() == DIGEST


def test_the_layout_is_anurasets(tmp_path: Path) -> None:
    """It has site folders, names with date and time, and a label file per recording."""
    archive = write_archive(tmp_path, recordings=5, seconds=2, sites=2)

    names = [path.relative_to(tmp_path).as_posix() for path in archive.audio]
    assert names == sorted(names)
    assert [name.split("/")[1] for name in names] == ["SYN1", "SYN1", "SYN1", "SYN2", "SYN2"]
    for name, audio, labels in zip(names, archive.audio, archive.labels, strict=True):
        assert re.fullmatch(r"raw_data/(SYN\d)/\1_\d{8}_\d{6}\.wav", name)
        assert labels == tmp_path / "strong_labels" / audio.parent.name / f"{audio.stem}.txt"
        assert labels.is_file()
        info = soundfile.info(audio)
        assert (info.samplerate, info.channels, info.subtype) == (22_050, 1, "PCM_16")
        assert info.frames == 2 * 22_050
    assert archive.audio_s == 10
    assert len(_files(tmp_path)) == 10


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 48_000])
def test_the_labels_match_the_audio(tmp_path: Path, sample_rate: int) -> None:
    """During a call its band has ten times the power that it has without calls of the species."""
    archive = write_archive(tmp_path, recordings=6, seconds=20, sample_rate=sample_rate)
    bands = {species.code: species for species in SPECIES}
    checked = set()

    for audio, labels in zip(archive.audio, archive.labels, strict=True):
        samples = soundfile.read(audio)[0]
        spectrum = np.fft.rfft(samples)
        hz = np.fft.rfftfreq(len(samples), 1 / sample_rate)
        rows = _labels(labels)
        for code, species in bands.items():
            inside = (hz >= species.low_hz) & (hz <= species.high_hz)
            band = np.fft.irfft(np.where(inside, spectrum, 0), len(samples)) ** 2
            spans = [
                slice(round(start * sample_rate), round(end * sample_rate))
                for start, end, species_code, _ in rows
                if species_code == code
            ]
            silent = np.ones(len(samples), bool)
            for span in spans:
                silent[span] = False
            for span in spans:
                assert band[span].mean() > 10 * band[silent].mean()
                checked.add(code)
    assert checked == set(bands)


def test_labels_are_sorted_and_calls_of_a_species_are_apart(tmp_path: Path) -> None:
    """Rows are sorted by start and inside the recording; calls of one species never overlap."""
    archive = write_archive(tmp_path, recordings=4, seconds=60)
    codes = {species.code for species in SPECIES}
    overlaps = 0

    for path in archive.labels:
        rows = _labels(path)
        assert rows == sorted(rows, key=lambda row: row[0])
        assert all(0 <= start < end <= 60 for start, end, _, _ in rows)
        assert {species for *_, species, _ in rows} <= codes
        assert {quality for *_, quality in rows} <= set("LMH")
        overlaps += sum(later[0] < earlier[1] for earlier, later in pairwise(rows))
        for code in codes:
            own = [row for row in rows if row[2] == code]
            assert all(later[0] > earlier[1] for earlier, later in pairwise(own))
    assert overlaps > 0


def test_the_audio_is_never_clipped(tmp_path: Path) -> None:
    """Wind and all species at once stay inside full scale."""
    archive = write_archive(tmp_path, recordings=6, seconds=30)

    for path in archive.audio:
        samples = soundfile.read(path, dtype="int16")[0].astype(np.int32)
        assert 1_000 < np.abs(samples).max() < 32_767


@pytest.mark.parametrize(
    "arguments",
    [{"recordings": 0}, {"seconds": 0.5}, {"sample_rate": 8_000}, {"sites": 0}, {"seed": -1}],
)
def test_arguments_out_of_range_are_errors(tmp_path: Path, arguments: dict[str, int]) -> None:
    """The error names the argument, and nothing is written."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        write_archive(tmp_path / "archive", **arguments)

    assert not (tmp_path / "archive").exists()
