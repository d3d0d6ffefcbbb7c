"""Scans of tar shards: the same recordings as in a folder, with the columns of their sidecars."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

import headrace
from headrace import Catalog, load_catalog, scan
from headrace.catalog import _headers as headers
from headrace.catalog import _tars as tars
from headrace.codecs import probe
from headrace.errors import DamagedWarning, NoRecordingsError
from headrace.storage import index_text, read_tar
from tests.support import sounds
from tests.support.deliveries import delivered_rows
from tests.support.object_server import ObjectServer
from tests.support.sparse_tars import write_sparse_tar

if TYPE_CHECKING:
    from pathlib import Path

RATE = 16_000
KINDS = {
    "a/0.wav": ("WAV", "PCM_16"),
    "a/1.flac": ("FLAC", "PCM_16"),
    "a/2.ogg": ("OGG", "VORBIS"),
    "b/3.mp3": ("MP3", "MPEG_LAYER_III"),
    "b/4.aiff": ("AIFF", "PCM_24"),
    "b/5.wav": ("WAV", "PCM_24"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of recordings in several formats."""
    for number, (name, kind) in enumerate(KINDS.items()):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sounds.write(path, sounds.medley(9_000 + 100 * number, 1, number), RATE, *kind)
    return tmp_path / "folder"


def pack(folder: Path, tar: Path, names: list[str] | None = None) -> Path:
    """Write a tar of some files of a folder."""
    tar.parent.mkdir(exist_ok=True, parents=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with tarfile.open(tar, "w") as out:
        for path in files:
            name = path.relative_to(folder).as_posix()
            if names is None or name in names:
                out.add(path, name)
    return tar


def audio_of(catalog: Catalog, **options: Any) -> dict[tuple[str, float], bytes]:
    """Return the audio of all windows, by id and start."""
    loader = catalog.windows(RATE, 0.1).shuffle(3).loader(batch_size=4, **options)
    return {(row.file_id, row.offset): row.audio.tobytes() for row in delivered_rows(loader)}


def test_members_are_the_recordings_of_the_folder(folder: Path, tmp_path: Path) -> None:
    """Ids but for the tar, lengths, formats, bits and orders are those of the files."""
    shards = tmp_path / "shards"
    pack(folder, shards / "train-0.tar", ["a/0.wav", "a/1.flac", "a/2.ogg"])
    pack(folder, shards / "train-1.tar", ["b/3.mp3", "b/4.aiff", "b/5.wav"])

    plain, packed = scan(folder), scan(shards / "train-*.tar")

    assert packed.failures == ()
    assert [one.id for one in packed] == [
        *(f"train-0.tar/{name}" for name in list(KINDS)[:3]),
        *(f"train-1.tar/{name}" for name in list(KINDS)[3:]),
    ]
    assert packed[0].path == str(shards / "train-0.tar")
    assert packed[4].offset is not None
    for name in ("frames", "sample_rate", "format", "subtype", "size", "seek_points"):
        assert packed.to_arrow()[name].equals(plain.to_arrow()[name])
    wanted = audio_of(plain)
    found = audio_of(packed, workers=2)
    assert {(id_.split("/", 1)[1], at): audio for (id_, at), audio in found.items()} == wanted
    assert scan(shards / "train-*.tar", verify="decode").failures == ()
    window = packed.windows(RATE, 0.1)[2]
    assert np.array_equal(window.audio, plain.windows(RATE, 0.1)[2].audio)


def refuse(*_: object, **__: object) -> None:
    """Stand in for what must not be called."""
    raise AssertionError


@pytest.mark.parametrize("indexed", [False, True])
def test_members_without_their_holes_are_the_recordings_of_the_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, indexed: bool
) -> None:
    """Lengths, sizes and bits are those of the files, when the catalog is loaded again too."""
    for number, name in enumerate(("c/6.wav", "c/7.aiff")):
        sound = sounds.medley(30_000, 1, number)
        sound[5_000 + number :] = 0
        (folder / "c").mkdir(exist_ok=True)
        sounds.write(folder / name, sound, RATE, name[-4:].strip(".").upper(), "PCM_16")
    (folder / "c" / "6.txt").write_bytes(b"a" * 512 + bytes(1_024) + b"z")
    tar = tmp_path / "x.tar"
    write_sparse_tar(folder, tar)
    sounds.write(folder / "z.wav", sounds.noise(4_000), RATE, "WAV", "PCM_16")
    pack(folder, tmp_path / "plain.tar", ["z.wav"])
    tar.write_bytes(tar.read_bytes()[:-1_024] + (tmp_path / "plain.tar").read_bytes())
    if indexed:
        data = tar.read_bytes()
        members = list(read_tar(io.BytesIO(data), len(data)))
        (tmp_path / "x.tar.idx").write_text(index_text(members, len(data)))
        monkeypatch.setattr(tars, "read_tar", refuse)
    cache = tmp_path / "catalog.parquet"

    plain, packed = scan(folder), scan(tar, verify="decode", cache=cache)

    assert packed.failures == ()
    assert [one.id for one in packed] == [f"x.tar/{one.id}" for one in plain]
    for name in ("frames", "sample_rate", "format", "subtype", "size", "seek_points"):
        assert packed.to_arrow()[name].equals(plain.to_arrow()[name])
    assert [one.pieces is None for one in packed] == 8 * [False] + [True]
    assert list(packed.column("txt"))[6] == "a" * 512 + "\0" * 1_024 + "z"
    wanted = {(f"x.tar/{id_}", at): audio for (id_, at), audio in audio_of(plain).items()}
    packed.save(tmp_path / "saved.parquet")
    (tmp_path / "moved").mkdir()
    tar.rename(tmp_path / "moved" / "x.tar")
    moved = load_catalog(tmp_path / "saved.parquet", root=tmp_path / "moved")
    assert audio_of(moved, workers=2) == wanted
    assert moved.windows(RATE, 0.1).fingerprint == packed.windows(RATE, 0.1).fingerprint


def test_a_cached_scan_keeps_what_it_knows_of_holes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second scan reads no header, and its recordings are those of the first."""
    tar = tmp_path / "x.tar"
    write_sparse_tar(folder, tar)
    first = scan(tar, cache=tmp_path / "cache.parquet")
    assert first.to_arrow()["pieces"].null_count == 0

    monkeypatch.setattr(headers, "probe", refuse)
    again = scan(tar, cache=tmp_path / "cache.parquet")

    assert again.to_arrow().equals(first.to_arrow())


def test_only_a_pattern_that_names_tars_finds_them(folder: Path) -> None:
    """A folder may hold backups of its recordings."""
    pack(folder, folder / "a" / "backup.TAR", ["a/0.wav"])

    assert len(scan(folder)) == len(KINDS)
    assert [one.id for one in scan(folder / "**/*.tar")] == ["a/backup.TAR/a/0.wav"]
    both = scan([folder / "a" / "*.wav", folder / "a" / "*.tar"])
    assert [one.id for one in both] == ["0.wav", "backup.TAR/a/0.wav"]


def test_sidecars_become_columns(folder: Path, tmp_path: Path) -> None:
    """WebDataset's convention: what has the same name up to its first dot describes the audio."""
    for name, values in {
        "a/0.json": {"species": "wren", "sample_rate": 1, "boxes": [1, 2], "n": 1},
        "a/1.json": {"species": None, "n": 2.5},
        "b/3.json": [1],
    }.items():
        (folder / name).write_text(json.dumps(values))
    (folder / "a" / "0.txt").write_text("Zaunkönig")
    (folder / "a" / "2.cls").write_text("7\n")
    (folder / "b" / "4.cls").write_text("seven")
    (folder / "b" / "readme.txt").write_text("left out")

    with pytest.warns(DamagedWarning, match="sidecar"):
        catalog = scan(pack(folder, tmp_path / "x.tar"))

    columns = catalog.to_arrow().select(["species", "json_sample_rate", "boxes", "n", "json"])
    none = [None] * 3
    assert columns.to_pydict() == {
        "species": ["wren", None, None, *none],
        "json_sample_rate": [1, None, None, *none],
        "boxes": ["[1, 2]", None, None, *none],
        "n": [1.0, 2.5, None, *none],
        "json": [None, None, None, "[1]", None, None],
    }
    assert catalog.to_arrow()["txt"].to_pylist() == ["Zaunkönig", *[None] * 5]
    assert catalog.to_arrow()["cls"].to_pylist() == [None, None, 7, *none]
    (bad,) = catalog.failures
    assert (bad.file_id, bad.code) == ("x.tar/b/4.cls", "UNSUPPORTED")
    assert set(catalog.split({"a": 0.5, "b": 0.5}, seed=1)) == {"a", "b"}


def test_columns_of_several_tars_have_one_type(folder: Path, tmp_path: Path) -> None:
    """Whole numbers and fractions are fractions; what has no type in common is text."""
    for number, values in enumerate([{"x": 1, "y": 1}, {"x": 0.5, "y": "one"}, {"y": True}]):
        (folder / "a" / f"{number}.json").write_text(json.dumps(values))
        names = [f"a/{number}.json", list(KINDS)[number]]
        pack(folder, tmp_path / "shards" / f"{number}.tar", names)

    table = scan(tmp_path / "shards" / "*.tar").to_arrow()

    assert table["x"].to_pylist() == [1.0, 0.5, None]
    assert table["y"].to_pylist() == ["1", "one", "true"]


def test_damage_costs_only_the_members_that_it_hits(folder: Path, tmp_path: Path) -> None:
    """A tar cut short, damaged audio inside, names that occur twice: each has its reason."""
    (folder / "a" / "bad.wav").write_bytes(b"no audio" * 20)
    tar = pack(folder, tmp_path / "x.tar")
    with tarfile.open(tar, "a") as out:
        out.add(folder / "a" / "0.wav", "./a/0.wav")
        out.add(folder / "b" / "5.wav", "c/last.wav")
    data = tar.read_bytes()
    with tarfile.open(tar) as members:
        last = members.getmembers()[-1]
    tar.write_bytes(data[: last.offset_data + 200])

    with pytest.warns(DamagedWarning):
        catalog = scan(tar)

    assert {(one.file_id, str(one.code)) for one in catalog.failures} == {
        ("x.tar/a/0.wav", "UNSUPPORTED"),
        ("x.tar/a/bad.wav", "NOT_AUDIO"),
        ("x.tar/c/last.wav", "TRUNCATED"),
    }
    assert [one.id for one in catalog] == [f"x.tar/{name}" for name in list(KINDS)[1:]]
    (tmp_path / "none.tar").write_bytes(b"")
    with pytest.raises(NoRecordingsError, match="0 bytes"):
        scan(tmp_path / "none.tar")
    (folder / "readme").write_text("no audio")
    with pytest.raises(NoRecordingsError, match="no member of the tar has the extension"):
        scan(pack(folder, tmp_path / "text.tar", ["readme"]))


@pytest.mark.parametrize(
    ("ending", "mode"),
    [("tar.gz", "w:gz"), ("tgz", "w:gz"), ("TAR.XZ", "w:xz"), ("tar.bz2", "w:bz2")],
)
def test_a_compressed_tar_is_reported_as_one(
    folder: Path, tmp_path: Path, ending: str, mode: Literal["w:gz", "w:xz", "w:bz2"]
) -> None:
    """The message says what to do with it, on a disk and in a bucket; its neighbour is used."""
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / f"x.{ending}", mode) as out:
        out.add(folder / "a", "a")
    pack(folder, tmp_path / "shards" / "y.tar")
    with ObjectServer() as server:
        server.add_folder(tmp_path / "shards")
        for top, store in ((tmp_path / "shards", None), ("s3://bucket", server.options)):
            with pytest.warns(DamagedWarning):
                catalog = scan([f"{top}/x.{ending}", f"{top}/*.tar"], store=store)
            (failure,) = catalog.failures
            assert failure.file_id == f"x.{ending}"
            assert "decompress it" in failure.message
            assert len(catalog) == len(KINDS)


def test_a_catalog_of_tars_is_saved_and_moved(folder: Path, tmp_path: Path) -> None:
    """With root= the tars are looked for below it, whatever their members are called."""
    pack(folder, tmp_path / "old" / "d.tar" / "x.tar")
    catalog = scan([tmp_path / "old" / "**/*.tar"])
    catalog.save(tmp_path / "catalog.parquet")
    (tmp_path / "old").rename(tmp_path / "new")

    moved = load_catalog(tmp_path / "catalog.parquet", root=tmp_path / "new")

    assert moved[0].path == str(tmp_path / "new" / "d.tar" / "x.tar")
    assert moved.fingerprint == catalog.fingerprint
    assert len(audio_of(moved)) == len(moved.windows(RATE, 0.1))
    again = Catalog.from_table(catalog.to_arrow(), root=tmp_path / "new")
    assert [one.path for one in again] == [one.path for one in moved]


def test_a_cache_spares_unchanged_members(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only tars that have changed are read again; your columns and sidecars stay."""
    probed: list[str] = []

    def spy(place: Any, file_id: str, *rest: Any, **options: Any) -> Any:
        probed.append(file_id)
        return probe(place, file_id, *rest, **options)

    monkeypatch.setattr(headers, "probe", spy)
    (folder / "a" / "0.txt").write_text("one")
    names = ["a/0.wav", "a/0.txt", "a/1.flac"]
    tars = [pack(folder, tmp_path / f"{number}.tar", names) for number in range(2)]
    cache = tmp_path / "cache.parquet"
    first = scan(tars, cache=cache)
    first.with_columns(site=lambda row: row.id[0]).save(cache)
    assert len(probed) == 4

    assert scan(tars, cache=cache).to_arrow()["site"].to_pylist() == ["0", "0", "1", "1"]
    assert len(probed) == 4
    pack(folder, tars[1], ["a/0.wav", "b/5.wav"])
    again = scan(tars, cache=cache)
    assert set(probed[4:]) == {"1.tar/a/0.wav", "1.tar/b/5.wav"}
    assert again.to_arrow()["txt"].to_pylist() == ["one", None, None, None]
    for tar in tars:
        tar.rename(tmp_path / "folder" / tar.name)
    assert len(scan(tmp_path / "folder" / "*.tar", cache=cache)) == 4


def test_an_index_beside_a_tar_is_used(folder: Path, tmp_path: Path) -> None:
    """What it does not list is not looked for; one that does not fit the tar is not used."""
    tar = pack(folder, tmp_path / "x.tar")
    with tar.open("rb") as file:
        members = list(read_tar(file, tar.stat().st_size))
    index = tmp_path / "x.tar.idx"
    index.write_text(index_text(members[:2], tar.stat().st_size), "utf-8")
    assert len(scan(tar)) == 2

    wrong = [one._replace(offset=one.offset + 512) for one in members[:2]]
    for text in (index_text(wrong, tar.stat().st_size), index_text(members[:2], 512), "\xff"):
        index.write_text(text, "latin-1")
        assert len(scan(tar)) == len(KINDS)

    # Of another tar with members of the same sizes:
    renamed = [one._replace(name=f"z{one.name}") for one in members]
    index.write_text(index_text(renamed, tar.stat().st_size), "utf-8")
    assert not any("/z" in one for one in scan(tar).ids.to_pylist())


def test_a_preview_shows_members(folder: Path, tmp_path: Path) -> None:
    """A tar is previewed like a folder."""
    catalog = scan(pack(folder, tmp_path / "x.tar"))

    headrace.preview(catalog.windows(RATE, 0.1), 20).save(tmp_path / "page.html")

    assert "x.tar/a/0.wav" in (tmp_path / "page.html").read_text("utf-8")
