"""Tars that other programs wrote, tars that are damaged, and indexes of tars."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.storage import TarMember, index_text, parse_index, read_member, read_tar
from tests.support import sparse_tars

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def tar_of(members: Iterable[tuple[str, bytes]], format_: str = "gnu", **info: Any) -> bytes:
    """Return a tar that Python wrote."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=FORMATS[format_]) as tar:
        for name, content in members:
            one = tarfile.TarInfo(name)
            one.size = len(content)
            for key, value in info.items():
                setattr(one, key, value)
            tar.addfile(one, io.BytesIO(content))
    return out.getvalue()


def read(tar: bytes) -> list[TarMember]:
    """Return what our reader finds."""
    return list(read_tar(io.BytesIO(tar), len(tar)))


def faults(tar: bytes) -> list[tuple[str, str]]:
    """Return name and code of what is wrong."""
    return [(one.name, str(one.fault[0])) for one in read(tar) if one.fault]


names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=300)


@given(
    members=st.lists(st.tuples(names, st.binary(max_size=1_500)), max_size=6),
    format_=st.sampled_from(["gnu", "pax"]),
)
def test_members_stand_where_tarfile_finds_them(
    members: list[tuple[str, bytes]], format_: str
) -> None:
    """Names, places and sizes are those that the standard library reads, long names too."""
    members = [(name.replace("/", "_").replace("\\", "_") + "x", data) for name, data in members]
    tar = tar_of(members, format_)
    with tarfile.open(fileobj=io.BytesIO(tar)) as reference:
        expected = [(one.name, one.offset_data, one.size) for one in reference.getmembers()]

    found = read(tar)

    assert [(one.name, one.offset, one.size) for one in found] == expected
    assert [tar[one.offset : one.offset + one.size] for one in found] == [
        content for _, content in members
    ]
    assert not faults(tar)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", ["a.wav", "d/" * 60 + "a.wav", "ü" * 40 + "/b.wav"])
def test_long_names_of_every_format(name: str, format_: str) -> None:
    """A prefix field, a GNU long name and a pax record give the same name."""
    (one,) = read(tar_of([(name, b"123")], format_))

    assert (one.name, one.size, one.fault) == (name, 3, None)


def test_links_folders_and_devices_are_no_files() -> None:
    """Links are reported; what holds no audio is left out."""
    for kind, expected in (
        (tarfile.LNKTYPE, [("a.wav", "UNSUPPORTED")]),
        (tarfile.SYMTYPE, [("a.wav", "UNSUPPORTED")]),
        (tarfile.DIRTYPE, []),
        (tarfile.FIFOTYPE, []),
        (tarfile.CHRTYPE, []),
    ):
        tar = tar_of([("a.wav", b"")], type=kind)
        assert faults(tar) == expected
        assert len(read(tar)) == len(expected)


def test_sizes_of_more_than_eight_gigabytes() -> None:
    """Base 256 and pax records say what eleven octal digits cannot."""
    for format_ in ("gnu", "pax"):
        one = tarfile.TarInfo("a.wav")
        one.size = 9 << 30
        head = one.tobuf(tarfile.GNU_FORMAT if format_ == "gnu" else tarfile.PAX_FORMAT)
        found, *_ = read(head)
        assert (found.name, found.size, found.offset) == ("a.wav", 9 << 30, len(head))
        assert found.fault is not None  # it is not there
        assert found.fault[1] == f"the tar is cut short: it has 0 of the {9 << 30} bytes"


@st.composite
def files_with_holes(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """Draw the content of a file and pieces outside of which it is zeros."""
    pieces = []
    at = 0
    for hole, blocks in draw(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=60)
    ):
        pieces.append((at + hole * 512, blocks * 512))
        at += (hole + blocks) * 512
    last = draw(st.integers(0, 1_000))
    pieces.append((at, last))
    content = bytearray(at + last + draw(st.sampled_from([0, 1, 512, 5_000])))
    for number, (start, size) in enumerate(pieces):
        content[start : start + size] = bytes([1 + number]) * size
    return bytes(content), pieces


@given(file=files_with_holes(), format_=st.sampled_from(sparse_tars.FORMATS))
def test_members_without_their_holes_are_those_that_tarfile_reads(
    file: tuple[bytes, list[tuple[int, int]]], format_: str
) -> None:
    """Name, size and every byte are those of the standard library, and so is what follows."""
    content, pieces = file
    rest = tar_of([("b.wav", b"1234")])
    tar = sparse_tars.sparse_member("d/a.wav", content, pieces, format_) + rest
    with tarfile.open(fileobj=io.BytesIO(tar)) as reference:
        expected = []
        for one in reference:
            extracted = reference.extractfile(one)
            assert extracted is not None
            expected.append((one.name, extracted.read()))
    assert expected[0] == ("d/a.wav", content)

    found = read(tar)

    assert [one.fault for one in found] == [None, None]
    assert [(one.name, read_member(io.BytesIO(tar), one)) for one in found] == expected
    assert found[0].stored_size == sum(size for _, size in pieces)
    assert found[1].pieces is None


BAD_MAPS: dict[str, dict[str, Any]] = {
    "overlap": {"map_": [(0, 1024), (512, 512)]},
    "out of order": {"map_": [(4096, 512), (0, 1024)]},
    "beyond the file": {"size": 1_000},
    "more than is stored": {"map_": [(0, 1024), (4096, 1024)]},
    "less than is stored": {"map_": [(0, 1024)]},
    "negative": {"map_": [(0, -512), (4096, 2048)]},
    "huge": {"map_": [(0, 1024), ((1 << 33) - 1, 512)]},
    "no map": {"map_": []},
}


@pytest.mark.parametrize("format_", sparse_tars.FORMATS)
@pytest.mark.parametrize("what", BAD_MAPS)
def test_a_bad_map_of_holes_is_a_failure_of_its_member(what: str, format_: str) -> None:
    """It is never a wrong byte, and costs no neighbour."""
    content, rest = b"1" * 1024 + bytes(3072) + b"2" * 512, tar_of([("b.wav", b"1234")])
    pieces = [(0, 1024), (4096, 512)]
    (good, *_) = read(sparse_tars.sparse_member("a.wav", content, pieces, format_) + rest)
    assert good.fault is None
    tar = sparse_tars.sparse_member("a.wav", content, pieces, format_, **BAD_MAPS[what]) + rest

    first, second = read(tar)

    assert first.name == "a.wav"
    assert first.fault is not None
    assert str(first.fault[0]) == "HEADER_MISMATCH"
    assert "holes (sparse) is damaged: make the tar again" in first.fault[1]
    assert (second.name, second.fault) == ("b.wav", None)


@pytest.mark.parametrize("format_", sparse_tars.FORMATS)
@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([(0, 100), (4096, 512)], "do not begin at a block"),
        ([(512 * number, 0) for number in range(1 << 16)] + [(1 << 26, 512)], "65537 pieces"),
    ],
)
def test_maps_that_are_not_used_say_why(
    pieces: list[tuple[int, int]], said: str, format_: str
) -> None:
    """Pieces that programs read in two ways, and more of them than a catalog should keep."""
    content = bytes(sum(pieces[-1]))
    rest = tar_of([("b.wav", b"1234")])

    first, second = read(sparse_tars.sparse_member("a.wav", content, pieces, format_) + rest)

    assert first.fault is not None
    assert str(first.fault[0]) == "UNSUPPORTED"
    assert said in first.fault[1]
    assert first.fault[1].endswith("make the tar without --sparse")
    assert (second.name, second.fault) == ("b.wav", None)


def test_a_format_of_holes_that_is_not_known_is_named() -> None:
    """A later version of GNU tar may have one."""
    records = {"GNU.sparse.major": "2", "GNU.sparse.minor": "1"}
    rest = tar_of([("b.wav", b"1234")])
    first, second = read(tar_of([("a.wav", b"12")], "pax", pax_headers=records)[: 4 * 512] + rest)

    assert first.fault is not None
    assert "unknown format 2.1" in first.fault[1]
    assert (second.name, second.fault) == ("b.wav", None)


def test_a_tar_that_ends_within_a_member_without_its_holes() -> None:
    """The cut is reported for that member, with the bytes that are stored."""
    content = bytes(4096) + b"1" * 1024
    for format_ in sparse_tars.FORMATS:
        tar = sparse_tars.sparse_member("a.wav", content, [(4096, 1024)], format_)
        (one,) = read(tar[:-512])
        assert one.fault is not None
        assert str(one.fault[0]) == "TRUNCATED"
        assert f"of the {1536 if format_ == '1.0' else 1024} bytes" in one.fault[1]


def _has_gnu_tar() -> bool:
    if (program := shutil.which("tar")) is None:
        return False
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return "GNU tar" in said.stdout


@pytest.mark.skipif(not _has_gnu_tar(), reason="needs GNU tar")
@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    "options",
    [["gnu"], *(["posix", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))],
)
def test_files_with_holes_that_gnu_tar_has_written(
    tmp_path: Path, options: list[str], *, long: bool
) -> None:
    """In each of its four formats, every byte is the file's, and the tar is not unpacked."""
    folder = "d" * 90 + "/" + "e" * 90 if long else "d"
    (tmp_path / folder).mkdir(parents=True)
    contents = {f"{folder}/{name}.wav": bytes([number]) * 700 for number, name in enumerate("ac")}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with (tmp_path / folder / "b.wav").open("wb") as file:
        for position in range(0, 60 << 16, 1 << 16):  # more holes than one header has room for
            file.seek(position)
            file.write(b"x")
        file.truncate(8 << 20)
    contents[f"{folder}/b.wav"] = (tmp_path / folder / "b.wav").read_bytes()
    command = ["tar", f"--format={options[0]}", *options[1:], "--sparse", "--sort=name"]
    subprocess.run([*command, "-cf", "all.tar", folder], cwd=tmp_path, check=True)
    tar = (tmp_path / "all.tar").read_bytes()
    assert len(tar) < 4 << 20  # it has holes
    names = subprocess.check_output(["tar", "-tf", "all.tar"], cwd=tmp_path, text=True).split()
    found = read(tar)
    assert [one.name for one in found] == [name for name in names if not name.endswith("/")]
    assert not faults(tar)
    assert found[1].stored_size < 4 << 20
    for one in found:
        assert read_member(io.BytesIO(tar), one) == contents[one.name]


@pytest.mark.parametrize(
    ("name", "found"), [("./a.wav", "a.wav"), ("/a.wav", "a.wav"), (".//./d/a.wav", "d/a.wav")]
)
def test_names_are_relative(name: str, found: str) -> None:
    """What stands before the first folder is no part of a name."""
    assert [one.name for one in read(tar_of([(name, b"1")]))] == [found]


def test_a_name_that_leads_out_is_refused() -> None:
    """Nothing is written to disk, but whoever unpacks by our ids would."""
    assert faults(tar_of([("a/../../b.wav", b"1"), ("c..wav", b"")])) == [
        ("a/../../b.wav", "UNSUPPORTED")
    ]


def test_a_tar_that_is_cut_anywhere_gives_what_is_left() -> None:
    """Members before the cut are used; the one that it hits, or the lost end, is reported."""
    members = [(f"{i}.wav", bytes([i]) * 700) for i in range(4)]
    tar = tar_of(members)
    end = 4 * 3 * 512
    for cut in [0, 1, 511, *range(512, end + 1, 256), end + 512]:
        found = read(tar[:cut])
        good = [one for one in found if not one.fault]
        assert [tar[one.offset : one.offset + one.size] for one in good] == [
            content for _, content in members[: len(good)]
        ]
        complete = sum(cut >= 3 * 512 * i + 512 + 700 for i in range(4))
        assert len(good) == complete
        if cut <= end:  # one block of zeros is an end, too
            assert found[-1].fault
            assert found[-1].fault[0] in {"TRUNCATED", "EMPTY", "NOT_AUDIO"}


def test_damage_ends_a_tar_and_is_reported() -> None:
    """A header whose checksum is wrong says where it stands, and how many members are used."""
    tar = bytearray(tar_of([("a.wav", b"1"), ("b.wav", b"2")]))
    tar[1024 + 3] ^= 1

    first, second = read(bytes(tar))

    assert first.name == "a.wav"
    assert second.fault is not None
    assert second.fault[1] == (
        "the tar is damaged: a header's checksum is wrong at byte 1024: "
        "the 1 members before it are used"
    )


def test_what_is_no_tar_is_refused() -> None:
    """A compressed tar is named; so is what follows the end of one."""
    (one,) = read(b"\x1f\x8b" + bytes(600))
    assert one.fault is not None
    assert "compressed with gzip" in one.fault[1]
    assert faults(b"text" * 400) == [("", "NOT_AUDIO")]
    assert faults(b"") == [("", "EMPTY")]
    two = tar_of([("a.wav", b"1")])
    assert faults(two + two) == [("", "HEADER_MISMATCH")]


@given(data=st.data())
def test_mutated_tars_give_members_inside_or_faults(data: st.DataObject) -> None:
    """No tar raises, and no member without a fault reaches beyond the end."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    tar = bytearray(tar_of([("a" * 120 + ".wav", b"1" * 900), ("b.wav", b"2" * 30)], "pax"))
    format_ = data.draw(st.sampled_from([None, *sparse_tars.FORMATS]))
    if format_ is not None:
        content = b"1" * 1024 + bytes(9_000) + b"2" * 512
        pieces = [(0, 512), (512, 512), (10_024, 512)]
        tar = bytearray(sparse_tars.sparse_member("a.wav", content, pieces, format_) + tar)
    for at in rng.integers(0, 4_000, rng.integers(1, 12)):
        tar[at] = rng.choice(np.frombuffer(b"\0 \x80\xff0177x", np.uint8))
    cut = bytes(tar[: data.draw(st.integers(0, len(tar)))])
    file = io.BytesIO(cut)
    for one in read(cut):
        assert one.fault or 0 < one.offset <= len(cut) - one.stored_size
        assert one.fault or one.pieces is None or len(read_member(file, one)) == one.size


def test_an_index_says_what_headers_say() -> None:
    """It comes back as it was; one that does not fit its tar, or is damaged, is not used."""
    tar = tar_of([("a b\u2028c.wav", b"1" * 600), ("d/e.json", b"{}")])
    members = read(tar)
    text = index_text(members, len(tar))

    assert parse_index(text, len(tar)) == members
    assert parse_index(text, len(tar) + 512) is None
    assert parse_index(text.replace("600", str(len(tar))), len(tar)) is None
    assert parse_index(text.replace("600", "-6"), len(tar)) is None
    assert parse_index("", 0) is None
    assert parse_index(index_text([], 1024), 1024) == []


def test_an_index_knows_holes() -> None:
    """Pieces of members come back as they were; those that do not fit are not used."""
    content = b"1" * 512 + bytes(2048) + b"2" * 600 + bytes(100)
    head = sparse_tars.sparse_member("a.wav", content, [(0, 512), (2560, 600)], "1.0")
    tar = head + sparse_tars.sparse_member("e.wav", bytes(700), [], "gnu")
    tar += tar_of([("b.wav", b"1234")])
    members = read(tar)
    text = index_text(members, len(tar))

    assert "\t3260=0+512,2560+600\ta.wav\n" in text
    assert "\t700=\te.wav\n" in text
    assert parse_index(text, len(tar)) == members
    for bad in ("0+512,100+600", "0+512,2560+6000", "0+512,2560", "1+512,2560+600,", "0+1,9+9"):
        assert parse_index(text.replace("0+512,2560+600", bad), len(tar)) is None


@pytest.mark.slow
def test_a_million_members_take_bounded_memory() -> None:
    """The reader holds one member at a time."""
    resource = pytest.importorskip("resource")

    class Endless(io.RawIOBase):
        """A tar of a million empty members, made as it is read."""

        at = 0
        header = tarfile.TarInfo("a.wav").tobuf()

        def seek(self, offset: int, _: int = 0, /) -> int:
            self.at = offset
            return offset

        def read(self, _: int = -1, /) -> bytes:
            return self.header if self.at < 512 * 1_000_000 else bytes(512)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file: Any = Endless()
    count = sum(1 for _ in read_tar(file, 512 * 1_000_002))

    assert count == 1_000_000
    # Kibibytes, or bytes on macOS.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10
