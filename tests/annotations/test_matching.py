from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from headrace.annotations._matching import match
from headrace.catalog._catalog import Catalog
from headrace.errors import AnnotationError
from tests.support.catalog_tables import columns

if TYPE_CHECKING:
    from headrace.annotations._matching import MatchBy

IDS = ("S1/x.wav", "S1/y.FLAC", "S2/x.wav", "z.wav", "deep/S2/x.wav", "rec.2024.01.wav")


def _catalog(ids: tuple[str, ...] = IDS, root: str = "/data/audio") -> Catalog:
    table = columns(len(ids), id=list(ids), path=[f"{root}/{name}" for name in ids])
    return Catalog.from_table(pa.table(table))


def _matched(reference: str, by: MatchBy = "path") -> str | None:
    (place,) = match([reference], _catalog(), by).tolist()
    return None if place < 0 else IDS[place]


@pytest.mark.parametrize(("reference", "recording"), [
    ("S1/x.wav", "S1/x.wav"),  # an id
    ("S1/x", "S1/x.wav"),  # a label file's name, without extension
    ("./S1/x.WAV", "S1/x.wav"),
    ("audio/S1/x.wav", "S1/x.wav"),  # begins above the root
    ("/data/audio/S1/x.wav", "S1/x.wav"),
    ("/elsewhere/S1/x.wav", "S1/x.wav"),  # the recordings were moved
    ("D:\\rec\\S1\\x.wav", "S1/x.wav"),
    ("S2/x", "S2/x.wav"),  # equal to an id
    ("audio/S2/x", "S2/x.wav"),
    ("/elsewhere/deep/S2/x", "deep/S2/x.wav"),  # the longest id that fits
    ("y", "S1/y.FLAC"),
    ("y.flac", "S1/y.FLAC"),
    ("rec.2024.01", "rec.2024.01.wav"),
    ("z", "z.wav"),
    ("audio/z", "z.wav"),
    ("S3/z", None),  # another folder is another recording
    ("/elsewhere/z.wav", None),
    ("S1/y.wav", None),  # another extension is another file
    ("xx", None),
    ("1/x", None),  # whole components are compared
    ("", None),
])  # fmt: skip
def test_a_path_matches_where_one_ends_with_the_other(
    reference: str, recording: str | None
) -> None:
    """Components are compared from the end, and extensions only if the reference has one."""
    assert _matched(reference) == recording


def test_ids_need_not_be_paths() -> None:
    """If a table gave recordings other ids, they are found by their paths."""
    table = columns(2, id=["one", "two"], path=["/data/S1/x.wav", "/data/S2/x.wav"])
    catalog = Catalog.from_table(pa.table(table))
    assert match(["S2/x", "one", "/data/S1/x.wav"], catalog).tolist() == [1, 0, 0]
    assert match(["x"], Catalog.from_table(pa.table(table).slice(1)), "stem").tolist() == [0]


def test_a_stem_matches_in_any_folder() -> None:
    """Folders and extensions do not matter."""
    assert _matched("somewhere/else/y.mp3", by="stem") == "S1/y.FLAC"
    assert _matched("S3/z", by="stem") == "z.wav"
    assert _matched("S3/none", by="stem") is None


@pytest.mark.parametrize(("reference", "by"), [("x", "path"), ("S9/x", "stem"), ("x.wav", "path")])
def test_an_ambiguous_reference_is_refused(reference: str, by: MatchBy) -> None:
    """The message names both recordings; labels never go to a guessed recording."""
    with pytest.raises(AnnotationError, match=f"'{reference}' may mean 'S1/x.wav' or 'S2/x.wav'"):
        _matched(reference, by)


def test_a_function_returns_ids() -> None:
    """It takes a reference and returns an id or None; an unknown id matches nothing."""
    table = {"a": "z.wav", "b": "gone.wav"}
    assert match(["a", "b", "S1/x.wav"], _catalog(), table.get).tolist() == [3, -1, -1]
    with pytest.raises(AnnotationError, match='by must be "path", "stem" or a function'):
        _matched("a", by="name")  # type: ignore[arg-type]
