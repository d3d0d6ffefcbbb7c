"""What recorders write into headers, written by hand, by `guano`, FFmpeg and libsndfile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Self

import av
import guano
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.metadata import Facts, combine, read_facts
from headrace.storage import Place
from tests.support.recorder_files import (
    audiomoth_wav,
    bext_chunk,
    chunk,
    info_chunk,
    recorder_wav,
    wamd_chunk,
)

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = "AudioMoth 24F3190361DA3578"


def facts_of(folder: Path, content: bytes, name: str = "a.wav") -> tuple[Facts, ...]:
    """Return what the header of a file with this content says."""
    file = folder / name
    file.write_bytes(content)
    return read_facts(Place(str(file)))


def at(*parts: int, hours: float = 0.0) -> datetime:
    """Return a time this many hours ahead of UTC."""
    year, month, day, hour, minute, second = parts
    zone = timezone(timedelta(hours=hours))
    return datetime(year, month, day, hour, minute, second, tzinfo=zone)


@pytest.mark.parametrize(
    ("comment", "artist", "expected"),
    [
        (  # firmware 1.0
            (
                f"Recorded at 23:45:00 08/12/2017 by {DEVICE} at gain setting 2 while battery "
                "state was 3.70V"
            ),
            "",
            Facts("audiomoth", at(2017, 12, 8, 23, 45, 0), None, DEVICE, "medium"),
        ),
        (  # 1.2.2
            (
                f"Recorded at 09:32:00 04/05/2018 (UTC-3) by {DEVICE} at gain setting 4 while "
                "battery state was < 3.6V."
            ),
            DEVICE,
            Facts("audiomoth", at(2018, 5, 4, 9, 32, 0, hours=-3), None, DEVICE, "high"),
        ),
        (  # 1.4.4
            (
                f"Recorded at 05:00:00 01/02/2021 (UTC+5:30) by {DEVICE} at low-medium gain "
                "setting while battery state was greater than 4.9V and temperature was 22.1C."
            ),
            DEVICE,
            Facts(
                "audiomoth", at(2021, 2, 1, 5, 0, 0, hours=5.5), None, DEVICE, "low-medium", 22.1
            ),
        ),
        (  # 1.6.0, with a deployment's number in place of the device's
            (
                "Recorded at 19:30:00 12/11/2021 (UTC-0:30) during deployment 001A2B3C4D5E6F70 "
                "using external microphone at high gain while battery was 3.7V and temperature "
                "was -4.0C. Amplitude threshold was 512 with 5s minimum trigger duration."
            ),
            DEVICE,
            Facts("audiomoth", at(2021, 11, 12, 19, 30, 0, hours=-0.5), None, DEVICE, "high", -4.0),
        ),
    ],
)
@pytest.mark.parametrize("behind", [False, True])
def test_the_comment_of_every_audiomoth_firmware_is_read(
    tmp_path: Path, comment: str, artist: str, expected: Facts, *, behind: bool
) -> None:
    """Time with its zone, device, gain and temperature, in front of the samples or behind."""
    assert facts_of(tmp_path, audiomoth_wav(comment, artist, behind=behind)) == (expected,)


def test_guano_that_its_own_package_writes_is_read(tmp_path: Path) -> None:
    """The reference implementation's file gives all facts, behind the samples."""
    path = tmp_path / "a.wav"
    path.write_bytes(recorder_wav())
    file = guano.GuanoFile(str(path))
    file["GUANO|Version"] = 1.0
    file["Timestamp"] = datetime(2012, 3, 29, 3, 58, 1, tzinfo=guano.tzoffset("+04:00"))
    file["Make"], file["Model"], file["Serial"] = "Pettersson", "D1000X", "77"
    file["Loc Position"] = (37.187802, -86.105731)
    file["Temperature Ext"] = 12.5
    file["PET", "Gain"] = 80
    file["Note"] = "two\nlines"
    file.write(make_backup=False)
    assert read_facts(Place(str(path))) == (
        Facts(
            "guano",
            at(2012, 3, 29, 3, 58, 1, hours=4),
            (37.187802, -86.105731),
            "D1000X 77",
            "80",
            12.5,
        ),
    )


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ("Timestamp:2025-05-03T03:13:00Z", at(2025, 5, 3, 3, 13, 0)),
        ("Timestamp: 2017-02-20 19:04:03", datetime(2017, 2, 20, 19, 4, 3)),
        ("Timestamp:2025-05-03T03:13:00.250-03:00\r", at(2025, 5, 3, 3, 13, 0, hours=-3)),
        ("Timestamp:2015-12-31", None),  # no time of day
        ("Timestamp:yesterday", None),
        ("Timestamp:", None),
    ],
)
def test_guano_has_times_with_and_without_zone(
    tmp_path: Path, line: str, time: datetime | None
) -> None:
    """A time without a zone stays without one, and what is no time is none."""
    text = f"GUANO|Version: 1.0\n{line}\nLoc Position: 0 0\n\nno colon\n".encode() + b"\0 "
    (facts,) = facts_of(tmp_path, recorder_wav(after=[chunk(b"guan", text)]))
    found = facts.time.replace(microsecond=0) if facts.time else None
    assert (found, found.utcoffset() if found else None) == (
        time,
        time.utcoffset() if time else None,
    )
    assert facts.position is None  # 0, 0 is what recorders write without a fix


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (
            {
                0x01: "SM4",
                0x02: b"S4A03895\0",
                0x05: "2019-05-22 22:30:00-05:00",
                0x06: "WGS84,34.05000,S,118.25000,W,90",
                0x0D: bytes(5_000),  # a voice note
                0x15: "13.25C",
            },
            Facts(
                "wamd",
                at(2019, 5, 22, 22, 30, 0, hours=-5),
                (-34.05, -118.25),
                "SM4 S4A03895",
                None,
                13.25,
            ),
        ),
        (
            {0x01: "Echo Meter Touch", 0x05: "2014-04-02 22:59:14.500", 0x06: "WGS84, 12.5, -3.25"},
            Facts(
                "wamd",
                datetime(2014, 4, 2, 22, 59, 14, 500_000),
                (12.5, -3.25),
                "Echo Meter Touch",
            ),
        ),
        (
            {0x14: "WGS84,91.0,N,0.5,E", 0x15: "12.0C", 0x16: "50.0F", 0xFFFF: b"\0\0"},
            Facts("wamd", temperature_c=10.0),
        ),
    ],
)
def test_wamd_is_read(tmp_path: Path, items: dict[int, str | bytes], expected: Facts) -> None:
    """Times with and without zone, both forms of positions, and the ambient temperature first."""
    content = recorder_wav(before=[wamd_chunk(items)])
    assert facts_of(tmp_path, content) == (expected,)
    assert facts_of(tmp_path, recorder_wav(after=[wamd_chunk(items, version=2)])) == ()


def test_bext_that_ffmpeg_writes_is_read(tmp_path: Path) -> None:
    """A Broadcast Wave file has a local time and who made it."""
    path = str(tmp_path / "a.wav")
    with av.open(path, "w", format="wav", options={"write_bext": "1"}) as out:
        out.metadata.update(
            {
                "originator": "F8n Pro",
                "origination_date": "2023-06-30",
                "origination_time": "04:59:58",
            }
        )
        stream = out.add_stream("pcm_s16le", rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.rate = 8_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert read_facts(Place(path)) == (
        Facts("bext", datetime(2023, 6, 30, 4, 59, 58), device="F8n Pro"),
    )


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("2023:06:30", "04-59-58", datetime(2023, 6, 30, 4, 59, 58)),
        ("0000-00-00", "00:00:00", None),
        ("", "", None),
    ],
)
def test_bext_may_have_other_separators_and_no_date(
    tmp_path: Path, date: str, time: str, expected: datetime | None
) -> None:
    """The separators that the standard allows are read; a recorder without a clock has no time."""
    content = recorder_wav(before=[bext_chunk("", date, time)])
    assert facts_of(tmp_path, content) == (Facts("bext", expected),)


def test_sources_come_in_the_order_of_their_precedence(tmp_path: Path) -> None:
    """GUANO, WAMD, AudioMoth, bext, whatever their order in the file."""
    comment = f"Recorded at 03:13:00 03/05/2025 (UTC) by {DEVICE} at medium gain"
    chunks = [
        bext_chunk("x", "2025-05-03", "03:13:00"),
        info_chunk({"ISFT": "odd", "ICMT": comment}),
        wamd_chunk({0x01: "SM4"}),
        chunk(b"guan", b"GUANO|Version:1.0\nModel:AudioMoth"),
    ]
    facts = facts_of(tmp_path, recorder_wav(before=chunks[:2], after=chunks[2:]))
    assert [one.source for one in facts] == ["guano", "wamd", "audiomoth", "bext"]


def test_a_missing_pad_byte_hides_nothing(tmp_path: Path) -> None:
    """Some programs write an odd chunk without the byte that makes it even."""
    odd = chunk(b"junk", b"abc", padded=False)
    guano_chunk = chunk(b"guan", b"GUANO|Version:1.0\nModel:M")
    for before in ([odd, guano_chunk], [chunk(b"junk", b"abc"), guano_chunk]):
        assert facts_of(tmp_path, recorder_wav(before=before)) == (Facts("guano", device="M"),)


def test_large_files_are_read_behind_their_samples(tmp_path: Path) -> None:
    """In RF64, the size of the samples stands in another chunk."""
    plain = recorder_wav(after=[chunk(b"guan", b"GUANO|Version:1.0\nModel:M")])
    at_data = plain.index(b"data")
    size = plain[at_data + 4 : at_data + 8]
    ds64 = chunk(b"ds64", bytes(8) + size + bytes(4) + bytes(12))
    large = b"RF64" + b"\xff" * 4 + b"WAVE" + ds64 + plain[12:at_data] + b"data" + b"\xff" * 4
    assert facts_of(tmp_path, large + plain[at_data + 8 :]) == (Facts("guano", device="M"),)


def test_flac_has_comments(tmp_path: Path) -> None:
    """The comment of an AudioMoth, and GUANO, survive the conversion to FLAC."""
    comment = f"Recorded at 03:13:00 03/05/2025 (UTC+1) by {DEVICE} at medium gain"
    path = str(tmp_path / "a.flac")
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16", format="FLAC") as file:
        file.comment = comment
        file.artist = DEVICE
        file.write(np.zeros(800))
    (facts,) = read_facts(Place(path))
    assert facts == Facts(
        "audiomoth", at(2025, 5, 3, 3, 13, 0, hours=1), None, DEVICE, "medium", None
    )
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16", format="FLAC") as file:
        file.comment = "GUANO|Version: 1.0\nModel: D1000X"
        file.write(np.zeros(800))
    assert read_facts(Place(path)) == (Facts("guano", device="D1000X"),)


def test_flac_may_keep_the_chunks_of_a_wav_file(tmp_path: Path) -> None:
    """``flac --keep-foreign-metadata`` keeps each chunk in a block of its own."""
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(800), 8_000, "PCM_16", format="FLAC")
    flac = path.read_bytes()
    content = b"riff" + wamd_chunk({0x01: "SM4", 0x02: "S4A1"})
    block = bytes([2]) + len(content).to_bytes(3, "big") + content
    end_of_info = 4 + 4 + 34  # the first block is always STREAMINFO, of 34 bytes
    assert facts_of(tmp_path, flac[:end_of_info] + block + flac[end_of_info:], "b.flac") == (
        Facts("wamd", device="SM4 S4A1"),
    )
    assert soundfile.info(tmp_path / "b.flac").frames == 800  # still a FLAC file


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=400), st.integers(0, 400))
def test_damaged_headers_give_no_error(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, cut: int
) -> None:
    """Whatever a header holds, and wherever a file is cut, nothing but facts comes of it."""
    folder = tmp_path_factory.getbasetemp()
    good = recorder_wav(
        before=[
            wamd_chunk({0x05: noise, 0x06: b"WGS84," + noise, 0x15: noise}),
            info_chunk({"ICMT": noise.decode("latin-1")}),
            bext_chunk("x", "2023-02-30", "25:00:00"),
        ],
        after=[chunk(b"guan", b"GUANO|Version:1\nTimestamp:" + noise), noise],
    )
    for content in (good[: len(good) - cut], b"fLaC" + noise, b"RIFF" + noise, noise):
        row = combine(facts_of(folder, content, "noise.wav"), UTC)
        assert row.recorded_at is None or row.recorded_at.tzinfo is UTC


def test_no_sample_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file with 4 MB of samples, some kilobytes are read."""
    guano_chunk = chunk(b"guan", b"GUANO|Version:1.0\nModel:M")
    path = tmp_path / "a.wav"
    path.write_bytes(recorder_wav(after=[guano_chunk], frames=2_000_000))
    with path.open("rb", buffering=0) as raw:
        read: list[int] = []

        class Counted:
            """Counts what is read of a file."""

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def read(self, count: int) -> bytes:
                data = raw.read(count)
                read.append(len(data))
                return data

            def __getattr__(self, name: str) -> object:
                return getattr(raw, name)

        monkeypatch.setattr(Place, "open", lambda _: Counted())
        assert read_facts(Place(str(path))) == (Facts("guano", device="M"),)
    assert 0 < sum(read) < 10_000


def test_utc_is_a_zone(tmp_path: Path) -> None:
    """A time with ``Z`` is known to be in UTC."""
    text = b"GUANO|Version:1.0\nTimestamp:2025-05-03T03:13:00Z"
    (facts,) = facts_of(tmp_path, recorder_wav(after=[chunk(b"guan", text)]))
    assert facts.time is not None
    assert (facts.time.replace(tzinfo=None), facts.time.utcoffset()) == (
        datetime(2025, 5, 3, 3, 13, 0),
        timedelta(0),
    )
